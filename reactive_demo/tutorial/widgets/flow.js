// Draws what a FlowView sends: stations, a dot for each change, numbers, the wire.

const STATIONS = [
  ["app", "the app", "writes, once"],
  ["database", "PostgreSQL", "the truth"],
  ["listener", "listener", "a thread"],
  ["cache", "Redis", "the copy"],
  ["label", "label", "what you see"],
];
const HOPS = [
  ["write", "For writes by this notebook: from the call to the answer."],
  ["announce", "From the change, before its commit, until the listener has heard of it."],
  ["apply", "From then until it is in Redis."],
  ["show", "From then until a label of this notebook shows it."],
];
const SHORTEST = 200, LONGEST = 1600, UNKNOWN = 400; // ms on the screen
const MAX_DOTS = 60; // at once: more could not be told apart
const MAX_GLOWING = 8; // with more dots at once, the stops they pass do not light up
const MAX_LINES = 40; // of the wire
const SPEECH_INTERVAL = 4000; // ms between two announcements to screen readers

function element(tag, className, text = "", attributes = {}) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function ms(time) {
  if (time === null || time === undefined) return "–";
  const words = time < 0.1 ? "< 0.1 ms"
    : time >= 1000 ? `${(time / 1000).toFixed(1)} s` : `${time.toFixed(time < 10 ? 1 : 0)} ms`;
  return words.replaceAll(" ", "\u00a0"); // no line ends between a number and its unit
}

const number = (count) => count.toLocaleString("en");

// The picture: stations, and between two of them a hop with its numbers.
function makePicture(root) {
  const picture = element("div", "rd-flow-picture", "", { role: "group", "aria-label": "The path of a change" });
  const stops = [], hops = [];
  STATIONS.forEach(([id, name, role], i) => {
    const station = element("div", `rd-flow-station rd-flow-${id}`);
    station.style.setProperty("--place", 2 * i + 1);
    const stop = element("i", "rd-flow-stop");
    station.append(element("b", "", name), element("span", "", role), stop);
    picture.append(station);
    stops.push(stop);
    if (i === HOPS.length) return;
    const hop = element("div", "rd-flow-hop", "", { title: HOPS[i][1] });
    const last = element("b", "rd-flow-last", "–"), median = element("span", "rd-flow-median", "median –");
    hop.style.setProperty("--place", 2 * i + 2);
    hop.append(element("span", "rd-flow-hop-name", HOPS[i][0]), last, median);
    picture.append(hop);
    hops.push([last, median]);
  });
  const dots = element("div", "rd-flow-dots", "", { "aria-hidden": "true" });
  picture.append(dots);
  root.append(picture);
  return { picture, stops, hops, dots };
}

// The centres of the stops, in pixels of the picture, whether it is laid out across or down.
function centres({ picture, stops }) {
  const origin = picture.getBoundingClientRect();
  return stops.map((stop) => {
    const box = stop.getBoundingClientRect();
    return [box.left + box.width / 2 - origin.left, box.top + box.height / 2 - origin.top];
  });
}

// A dot; with a number, it stands for so many changes. Where the listener conflates, the number shrinks.
function makeDot({ heard, applied }, listener) {
  const shape = element("div", `rd-flow-dot${heard > 1 ? " rd-flow-many" : ""}`);
  const until = [{ opacity: 1 }, { opacity: 1, offset: listener }, { opacity: 0, offset: listener }, { opacity: 0 }];
  const after = until.map((frame) => ({ ...frame, opacity: 1 - frame.opacity }));
  const counts = heard > 1 ? [[heard, until], [applied, after]] : [];
  shape.counts = counts.map(([count, shown]) => [element("span", "", number(count)), shown]);
  shape.append(...shape.counts.map(([count]) => count));
  return shape;
}

function animate(parts, dot, slower, motionless) {
  const unseen = document.hidden || !parts.picture.clientWidth;
  if (unseen || motionless.matches || parts.dots.childElementCount >= MAX_DOTS) return;
  const points = centres(parts);
  const first = dot.hops[0] === null ? 1 : 0, last = dot.shown ? 4 : 3;
  const times = dot.hops.map((time) =>
    time === null ? UNKNOWN : Math.min(LONGEST, Math.max(SHORTEST, time * slower)));
  const total = times.slice(first, last).reduce((sum, time) => sum + time, 0);
  const shape = makeDot(dot, times.slice(first, 2).reduce((sum, time) => sum + time, 0) / total);
  let passed = 0;
  const frames = points.slice(first, last + 1).map(([x, y], i) => {
    const frame = {
      transform: `translate(${x}px, ${y}px) translate(-50%, -50%)`,
      offset: Math.min(1, passed / total),
      easing: "ease-in-out",
    };
    if (parts.dots.childElementCount < MAX_GLOWING) {
      const glow = { boxShadow: "0 0 0 7px var(--rd-flow-glow)" };
      parts.stops[first + i].animate([{}, glow, {}], { delay: dot.after + passed, duration: 600 });
    }
    passed += times[first + i] || 0;
    return frame;
  });
  parts.dots.append(shape);
  const timing = { delay: dot.after, duration: total, fill: "both" };
  const moving = shape.animate(frames, timing);
  for (const [count, shown] of shape.counts) count.animate(shown, timing);
  const fading = shape.animate([{ opacity: 1 }, { opacity: 0 }],
    { delay: dot.after + total, duration: 250, fill: "forwards" });
  moving.oncancel = fading.onfinish = () => shape.remove();
}

// The last minute's latency: a bar for each second, the newest at the right.
function drawMinute(svg, minute, ago) {
  const values = [...minute.slice(ago), ...Array(Math.min(ago, minute.length)).fill(null)];
  const worst = Math.max(1, ...values.filter((value) => value !== null));
  const bars = values.map((value, x) =>
    value === null ? "" : `M${x * 4 + 2} 40V${(40 - Math.max(2, 36 * value / worst)).toFixed(1)}`);
  svg.querySelector("path").setAttribute("d", bars.join(""));
  const known = values.some((value) => value !== null);
  return known ? `worst of the last minute: ${ms(worst)}` : "nothing measured in the last minute";
}

function makeMinute(root) {
  const figure = element("figure", "rd-flow-minute");
  figure.innerHTML = '<svg viewBox="0 0 240 42" preserveAspectRatio="none" aria-hidden="true">'
    + '<line x1="0" x2="240" y1="41" y2="41"></line><path></path></svg>';
  const caption = element("figcaption", "");
  figure.append(caption);
  root.append(figure);
  return { svg: figure.querySelector("svg"), caption };
}

function addLines(list, lines) {
  if (!lines.length) return;
  list.querySelector(".rd-flow-silence")?.remove();
  for (const line of lines) {
    const item = element("li", `rd-flow-from-${line.from.toLowerCase()}`);
    item.append(element("b", "", line.from), element("code", "", line.text));
    list.append(item);
  }
  while (list.childElementCount > MAX_LINES) list.firstElementChild.remove();
}

function render({ model, el }) {
  const motionless = window.matchMedia("(prefers-reduced-motion: reduce)");
  const compact = model.get("compact");
  const root = element("section", `rd-flow${compact ? " rd-flow-compact" : ""}`, "", { "aria-label": `Flow of changes ${model.get("name")}`.trim() });
  if (model.get("name")) root.append(element("h4", "rd-flow-name", model.get("name")));
  const parts = makePicture(root);

  const below = element("div", "rd-flow-below");
  const facts = element("div", "rd-flow-facts");
  const state = element("p", "rd-flow-state"), counts = element("p", "rd-flow-counts");
  const dots = element("p", "rd-flow-dot-count"), latency = element("p", "rd-flow-latency");
  facts.append(state, counts, dots, latency);
  const minute = makeMinute(facts); // hidden in a compact view, as are the facts that its neighbours tell
  const wire = element("div", "rd-flow-wire");
  const list = element("ol");
  // The style sheet keeps its end in sight, also after it was hidden with its tab.
  const end = element("div", "rd-flow-end", "", { tabindex: "0", role: "group", "aria-label": "The wire: what was said, newest last" });
  end.append(list);
  list.append(element("li", "rd-flow-silence", "Nothing yet: change something."));
  wire.append(element("b", "", "The wire"), end);
  below.append(facts, ...(compact ? [] : [wire]));
  const slower = model.get("slower");
  const note = element("p", "rd-flow-note");
  const spoken = element("p", "rd-flow-spoken", "", { "aria-live": "polite" });
  root.append(below, ...(compact ? [] : [note]), spoken);
  el.append(root);

  let received = performance.now(), lastSpoken = -SPEECH_INTERVAL, speaking = 0;

  function speak() {
    clearTimeout(speaking);
    speaking = setTimeout(() => {
      const { words, counts: { applied }, latency: [last] } = model.get("frame");
      spoken.textContent = `Listener ${words}. ${number(applied)} changes applied`
        + (last === null ? "." : `, the last after ${ms(last)}.`);
      lastSpoken = performance.now();
    }, Math.max(500, lastSpoken + SPEECH_INTERVAL - performance.now()));
  }

  function drawNote() {
    note.textContent = motionless.matches
      ? "Your system asks for reduced motion, so no dots move; the numbers tell the story."
      : `Dots move ${slower} times slower than the changes, ${SHORTEST / 1000} to ${LONGEST / 1000} s for a hop. `
        + "The numbers are measured; write and announce both include the commit.";
  }

  function draw() {
    const frame = model.get("frame"), n = frame.counts;
    root.dataset.state = frame.state;
    state.replaceChildren(element("b", "", `Listener: ${frame.words}.`), ` ${frame.waits}`);
    counts.textContent = (compact ? "" : `${number(n.written)} written here · `) + `${number(n.heard)} heard · `
      + `${number(n.applied)} applied` + (n.conflated ? ` · ${number(n.conflated)} conflated` : "")
      + (n.quarantined ? ` · ${number(n.quarantined)} in quarantine` : "");
    counts.title = "Conflated: heard, and not written, because a newer row of the same key came with it.";
    dots.textContent = `${number(n.dots)} ${n.dots === 1 ? "dot" : "dots"}`
      + (n.grouped ? ` for ${number(n.dots + n.grouped)} changes: a number in a dot says for how many it stands` : "");
    const [last, median] = frame.latency;
    latency.textContent = last === null && median === null
      ? "From the change to the cache: not known yet"
      : `From the change to the cache: ${ms(last)}, median ${ms(median)}`;
    frame.hops.forEach(([last, median], i) => {
      parts.hops[i][0].textContent = ms(last);
      parts.hops[i][1].textContent = `median ${ms(median)}`;
    });
    minute.caption.textContent = drawMinute(minute.svg, frame.minute, 0);
    received = performance.now();
  }

  function onFrame() {
    draw();
    const frame = model.get("frame");
    addLines(list, frame.lines);
    for (const dot of frame.dots) animate(parts, dot, slower, motionless);
    if (frame.dots.length || root.dataset.said !== frame.words) speak();
    root.dataset.said = frame.words;
  }

  const second = setInterval(() => {
    const ago = Math.floor((performance.now() - received) / 1000);
    if (ago > 0 && ago <= 61) minute.caption.textContent = drawMinute(minute.svg, model.get("frame").minute, ago);
  }, 1000);

  // A dot knows its path in pixels: where the picture is laid out anew, it would lead astray.
  const laidOut = new ResizeObserver(() => parts.dots.replaceChildren());
  laidOut.observe(parts.picture);

  drawNote();
  draw();
  addLines(list, model.get("frame").lines);
  model.on("change:frame", onFrame);
  motionless.addEventListener("change", drawNote);
  return () => {
    laidOut.disconnect();
    clearInterval(second);
    clearTimeout(speaking);
    model.off("change:frame", onFrame);
    motionless.removeEventListener("change", drawNote);
  };
}

export default { render };
