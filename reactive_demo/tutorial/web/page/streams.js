// What several tabs follow, on one connection: a browser opens six to a server, and each stream of
// its own would keep one of them busy.

const MAX_NAMES = 50 // profiles on one stream, as the server has it
const PAUSE = 1000 // ms until a stream that was refused is tried again

export class Streams {
  #tabs = new Map() // tab -> { name, tell }
  #told = new Map() // name -> what its tabs were told last: state, and row
  #sources = []
  #opening

  // Tell a tab of a profile: `{ state }` of the stream, and `{ version, row }` with the row as text.
  join(tab, name, tell) {
    this.#tabs.set(tab, { name, tell })
    const told = this.#told.get(name)
    if (told) tell(told)
    else this.open()
  }

  leave(tab) {
    const name = this.#tabs.get(tab)?.name
    this.#tabs.delete(tab)
    if (name !== undefined && !this.#names().includes(name)) {
      this.#told.delete(name)
      this.open()
    }
  }

  has(tab) {
    return this.#tabs.has(tab)
  }

  // Open new streams soon: once for all tabs that come, go or complain at the same time.
  open(pause = 0) {
    this.#opening ??= setTimeout(() => {
      this.#opening = undefined
      const old = this.#sources
      const replace = () => old.splice(0).forEach((source) => source.close())
      const names = this.#names()
      this.#sources = []
      for (let n = 0; n < names.length; n += MAX_NAMES)
        this.#sources.push(this.#follow(names.slice(n, n + MAX_NAMES), replace))
      if (!names.length) replace()
    }, pause)
  }

  #names() {
    return [...new Set([...this.#tabs.values()].map((tab) => tab.name))]
  }

  // The old streams go on until the new one is there, so that no tab misses anything.
  #follow(names, replace) {
    const query = new URLSearchParams(names.map((name) => ["username", name]))
    const source = new EventSource(`stream?${query}`)
    const all = (told) => names.forEach((name) => this.#tell(name, told))
    source.onopen = () => {
      replace()
      all({ state: "live" })
    }
    source.onerror = () => {
      replace()
      all({ state: "lost" })
      // Usually the browser reconnects by itself; after a refusal, it leaves that to us.
      if (source.readyState === EventSource.CLOSED) this.open(PAUSE)
    }
    for (const name of names) {
      const kind = names.length > 1 ? encodeURIComponent(`profile:${name}`) : "message"
      source.addEventListener(kind, (event) => this.#tell(name, { version: event.lastEventId, row: event.data }))
    }
    return source
  }

  #tell(name, told) {
    const tabs = [...this.#tabs.values()].filter((tab) => tab.name === name)
    if (tabs.length) this.#told.set(name, { ...this.#told.get(name), ...told })
    for (const tab of tabs) tab.tell(told)
  }
}
