// Follow a profile on a stream that all tabs of this browser share: in a SharedWorker; where there
// is none (Chrome on Android), in one of the tabs, which holds a lock; and where a browser forbids
// both (a frame with no storage, plain HTTP from another machine), in each tab.
import { Streams } from "./streams.js"

const PLACE = new URL(".", import.meta.url).href // behind a proxy, several apps share an origin

// Call `tell` with `{ state }` and `{ version, row }`; return how to have the stream opened anew.
export function follow(name, tell) {
  const ways = [inWorker, inOneOfTheTabs, inThisTab]
  let again
  const next = () => {
    try {
      again = ways.shift()(name, tell, next)
    } catch {
      next()
    }
  }
  next()
  return () => again()
}

function inWorker(name, tell, failed) {
  const worker = new SharedWorker(`${PLACE}worker.js`, { type: "module" })
  worker.addEventListener("error", failed, { once: true })
  worker.port.onmessage = ({ data }) => tell(data)
  const join = () => worker.port.postMessage({ join: name })
  join()
  addEventListener("pagehide", () => worker.port.postMessage({ leave: true }))
  addEventListener("pageshow", ({ persisted }) => persisted && join()) // back from the browser's cache
  return () => worker.port.postMessage({ again: true })
}

function inOneOfTheTabs(name, tell, failed) {
  const me = crypto.randomUUID()
  const channel = new BroadcastChannel(PLACE)
  let streams // if this tab leads

  const hear = ({ data }) => {
    if (data.to === me) tell(data.told)
    else if (data.newLeader) join()
    else if (streams && data.join !== undefined) admit(data.from, data.join)
    else if (streams && data.again) streams.open()
  }
  const post = (message) => {
    channel.postMessage(message)
    hear({ data: message }) // a channel tells all others
  }
  const join = () => post({ from: me, join: name })
  const admit = (tab, name) => {
    const known = streams.has(tab)
    streams.join(tab, name, (told) => post({ to: tab, told }))
    if (!known && tab !== me) navigator.locks.request(tab, () => streams.leave(tab)) // once it is gone
  }
  const lead = () => {
    streams = new Streams()
    post({ newLeader: true })
    return forever
  }
  const begin = () => {
    channel.onmessage = hear
    join()
    navigator.locks.request(PLACE, lead)
    return forever
  }
  navigator.locks.request(me, begin).catch(failed)
  return () => post({ again: true })
}

function inThisTab(name, tell) {
  const streams = new Streams()
  streams.join("this", name, tell)
  return () => streams.open()
}

const forever = new Promise(() => {})
