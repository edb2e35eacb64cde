// The page writes with `fetch` and follows with `EventSource`, and the two never meet: no line here
// increments a number on the screen. A number moves once its change has been all the way round.
import { follow } from "./follow.js"

const COUNTERS = ["followings", "followers", "likes"]
const LANES = 4 // concurrent requests: a browser opens six connections, and the stream needs one of them
const BURST = 1000
const FRAME = 16 // ms between two repaints, however many events come in
const OVERDUE = 2000 // ms until the page says that a change is overdue

const username = new URLSearchParams(location.search).get("username") || "ada"
const find = (selector) => document.querySelector(selector)
const numbers = COUNTERS.map((counter) => find(`.rd-count-${counter}`))
const words = find(".rd-words")

// What the stream brings

let row, painting, speaking
let seen = 0n // version of the last event
let awaited = 0n // newest version that this page has written
let overdue

function hear({ state, version, row: text }) {
  if (state) show(state, state === "live" ? "live" : "connection lost")
  if (text === undefined) return
  row = parse(text)
  seen = BigInt(version || 0)
  painting ??= setTimeout(paint, FRAME)
  if (seen >= awaited) arrived()
}

// Numbers become text, with all their digits: a number of JavaScript's is exact to 2^53 only.
function parse(text) {
  const quoted = text.replace(/"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g, (token) => (token[0] === '"' ? token : `"${token}"`))
  return JSON.parse(quoted)
}

function paint() {
  painting = undefined
  numbers.forEach((number, index) => {
    const text = String(row?.[`${COUNTERS[index]}_count`] ?? "–")
    if (number.textContent === text) return
    number.textContent = text
    number.style.setProperty("--digits", text.length)
    number.classList.remove("rd-moved")
    void number.offsetWidth // restarts the animation
    number.classList.add("rd-moved")
  })
  speaking ??= setTimeout(speak, 1000) // tells a screen reader once a second, not for each number
}

function speak() {
  speaking = undefined
  const counts = COUNTERS.map((counter, index) => `${numbers[index].textContent} ${counter}`)
  find(".rd-spoken").textContent = row ? counts.join(", ") : "There is no such profile yet."
}

function show(state, text) {
  const label = find(".rd-state")
  if (label.textContent !== text) label.textContent = text
  label.dataset.state = find(".rd-card").dataset.state = state
}

// What the buttons write

async function increment(counter) {
  const path = `v1/profile/${encodeURIComponent(username)}?action=inc_${counter}`
  const response = await fetch(path, { method: "POST" })
  const answer = await response.json().catch(() => ({ error: response.statusText }))
  if (!response.ok) throw new Error(answer.error)
  return BigInt(answer.version ?? 0)
}

function expect(version) {
  if (version > awaited) awaited = version
  clearTimeout(overdue)
  if (seen < awaited) overdue = setTimeout(wonder, OVERDUE)
}

function wonder() {
  words.textContent = `Version ${awaited} is in the database, and the cache has not followed yet. Is a listener running?`
}

function arrived() {
  clearTimeout(overdue)
  if (words.textContent.includes("not followed")) words.textContent = `Version ${seen} is in the cache.`
}

function complain(error) {
  const box = find(".rd-error")
  box.hidden = !error
  if (error) box.textContent = error instanceof TypeError ? "The server does not answer." : error.message
}

async function click(counter) {
  const begun = performance.now()
  try {
    expect(await increment(counter))
    words.textContent = `Written in ${Math.round(performance.now() - begun)} ms, as version ${awaited}.`
    if (seen < awaited) overdue ??= setTimeout(wonder, OVERDUE)
    complain()
  } catch (error) {
    complain(error)
  }
}

// As fast as the browser can

let burst // the one that is running

async function fast() {
  if (burst) {
    burst.stopped = true
    return
  }
  const mine = (burst = { sent: 0, done: 0, stopped: false })
  const begun = performance.now()
  const bar = find("progress")
  bar.hidden = false
  find(".rd-go").textContent = "Stop"
  complain()
  const tell = () => {
    const seconds = (performance.now() - begun) / 1000
    bar.value = mine.done
    const rate = Math.round(mine.done / seconds).toLocaleString("en")
    words.textContent = `${mine.done.toLocaleString("en")} of ${BURST.toLocaleString("en")} written, ${rate} a second.`
  }
  const telling = setInterval(tell, 100)
  const lane = async () => {
    while (mine.sent < BURST && !mine.stopped) {
      mine.sent += 1
      expect(await increment("likes"))
      mine.done += 1
    }
  }
  try {
    await Promise.all(Array.from({ length: LANES }, lane))
  } catch (error) {
    mine.stopped = true
    complain(error)
  }
  clearInterval(telling)
  tell()
  bar.hidden = true
  find(".rd-go").textContent = `Fast: ${BURST.toLocaleString("en")} likes`
  burst = undefined
}

// Start

document.title = `@${username}`
find(".rd-name").textContent = `@${username}`
find(".rd-avatar").textContent = [...username][0].toUpperCase()
find("#username").value = username
find(".rd-second").href = `?username=${encodeURIComponent(username)}`
for (const button of document.querySelectorAll("[data-counter]"))
  button.addEventListener("click", () => click(button.dataset.counter))
find(".rd-go").addEventListener("click", fast)
for (const button of document.querySelectorAll("[disabled]")) button.disabled = false // now they work

// What no profile can be called would have the stream of all tabs refused.
if ([...username].length > 50) complain(new Error("A username has 1 to 50 characters."))
else if (username.includes("\0")) complain(new Error("A username has no NUL character."))
else {
  const again = follow(username, hear)
  // An idle stream does not show that the network went away or came back, so open a new one.
  for (const change of ["online", "offline"]) addEventListener(change, again)
}
