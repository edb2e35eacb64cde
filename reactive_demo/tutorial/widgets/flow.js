// Draws what a FlowView sends: stations, a dot for each change, numbers, the wire.

const STATIONS = [
  ["app", "the app", "writes, once"],
  ["database", "PostgreSQL", "the truth"],
  ["listener", "listener", "a thread"],
  ["cache", "Redis", "the copy"],
  ["label", "label", "what you see"],
];
const HOPS = [
  ["write", "Of the writes that this notebook makes: from the call to the answer."],
  ["announce", "From the change, before its commit, until the listener has heard it."],
  ["apply", "From there until it is in Redis."],
  ["show", "From there until a label of this notebook is painted."],
];
const SHORTEST = 200, LONGEST = 1600, UNKNOWN = 400; // ms on the screen
const ALIVE = 60; // dots at once: more could not be told apart
const CALM = 8; // dots at once up to which the stops they pass light up
const LINES = 40; // of the wire
const SPOKEN = 4000; // ms between two announcements to those who listen

function element(tag, className, text = "", attributes = {}) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function ms(time) {
  if (time === null || time === undefined) return "–";
  if (time < 0.1) return "< 0.1 ms";
  return time >= 1000 ? `${(time / 1000).toFixed(1)} s` : `${time.toFixed(time < 10 ? 1 : 0)} ms`;
}

const number = (count) => count.toLocaleString("en");

// The picture: stations, and between two of them a hop with its numbers.
function makePicture(root) {
  const picture = element("div", "rd-flow-picture", "", { role: "group", "aria-label": "The way of a change" });
  const stops = [], hops = [];
  STATIONS.forEach(([id, name, role], i) => {
    const station = element("div", `rd-flow-station rd-flow-${id}`);
    const stop = element("i", "rd-flow-stop");
    station.append(element("b", "", name), element("span", "", role), stop);
    picture.append(station);
    stops.push(stop);
    if (i === HOPS.length) return;
    const hop = element("div", "rd-flow-hop", "", { title: HOPS[i][1] });
    const last = element("b", "rd-flow-last", "–"), median = element("span", "rd-flow-median", "median –");
    hop.append(element("span", "rd-flow-hop-name", HOPS[i][0]), element("i", "rd-flow-line"), last, median);
    picture.append(hop);
    hops.push([last, median]);
  });
  const dots = element("div", "rd-flow-dots", "", { "aria-hidden": "true" });
  picture.append(dots);
  root.append(picture);
  return { picture, stops, hops, dots };
}

// The way from station to station, in pixels of the picture, whichever way it is laid out.
function centres({ picture, stops }) {
  const origin = picture.getBoundingClientRect();
  return stops.map((stop) => {
    const box = stop.getBoundingClientRect();
    return [box.left + box.width / 2 - origin.left, box.top + box.height / 2 - origin.top];
  });
}

function animate(parts, dot, slower, motionless) {
  const unseen = document.hidden || !parts.picture.clientWidth;
  if (unseen || motionless.matches || parts.dots.childElementCount >= ALIVE) return;
  const points = centres(parts);
  const first = dot.hops[0] === null ? 1 : 0, last = dot.shown ? 4 : 3;
  const times = dot.hops.map((time) =>
    time === null ? UNKNOWN : Math.min(LONGEST, Math.max(SHORTEST, time * slower)));
  const total = times.slice(first, last).reduce((sum, time) => sum + time, 0);
  const size = 12 + 3.5 * Math.log2(Math.min(dot.heard, 64));
  const many = dot.heard > 1;
  const shape = element("div", `rd-flow-dot${many ? " rd-flow-many" : ""}`, many ? `${number(dot.heard)}` : "");
  shape.style.height = `${Math.max(size, many ? 20 : 0)}px`;
  shape.style.minWidth = shape.style.height;
  let passed = 0;
  const frames = points.slice(first, last + 1).map(([x, y], i) => {
    const frame = {
      transform: `translate(${x}px, ${y}px) translate(-50%, -50%)`,
      offset: Math.min(1, passed / total),
      easing: "ease-in-out",
    };
    if (parts.dots.childElementCount < CALM) {
      const glow = { boxShadow: "0 0 0 7px var(--rd-flow-glow)" };
      parts.stops[first + i].animate([{}, glow, {}], { delay: dot.after + passed, duration: 600 });
    }
    passed += times[first + i] || 0;
    return frame;
  });
  parts.dots.append(shape);
  const moving = shape.animate(frames, { delay: dot.after, duration: total, fill: "both" });
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
  const follow = list.scrollTop + list.clientHeight >= list.scrollHeight - 8;
  for (const line of lines) {
    const item = element("li", `rd-flow-from-${line.from.toLowerCase()}`);
    item.append(element("b", "", line.from), element("code", "", line.text));
    list.append(item);
  }
  while (list.childElementCount > LINES) list.firstElementChild.remove();
  if (follow) list.scrollTop = list.scrollHeight;
}

function render({ model, el }) {
  const motionless = window.matchMedia("(prefers-reduced-motion: reduce)");
  const root = element("section", "rd-flow", "", { "aria-label": `Flow of changes ${model.get("name")}`.trim() });
  if (model.get("name")) root.append(element("h4", "rd-flow-name", model.get("name")));
  const parts = makePicture(root);

  const below = element("div", "rd-flow-below");
  const facts = element("div", "rd-flow-facts");
  const state = element("p", "rd-flow-state"), counts = element("p", "rd-flow-counts");
  const dots = element("p", "rd-flow-dot-count"), latency = element("p", "rd-flow-latency");
  facts.append(state, counts, dots, latency);
  const minute = makeMinute(facts);
  const wire = element("div", "rd-flow-wire");
  const list = element("ol", "", "", { tabindex: "0", "aria-label": "The wire: what was said, newest last" });
  list.append(element("li", "rd-flow-silence", "Nothing yet: change something."));
  wire.append(element("b", "", "The wire"), list);
  below.append(facts, wire);
  const slower = model.get("slower");
  const note = element("p", "rd-flow-note");
  const spoken = element("p", "rd-flow-spoken", "", { "aria-live": "polite" });
  root.append(below, note, spoken);
  el.append(root);

  let received = performance.now(), lastSpoken = -SPOKEN, speaking = 0;

  function speak() {
    clearTimeout(speaking);
    speaking = setTimeout(() => {
      const { words, counts: { applied }, latency: [last] } = model.get("frame");
      spoken.textContent = `Listener ${words}. ${number(applied)} changes applied`
        + (last === null ? "." : `, the last after ${ms(last)}.`);
      lastSpoken = performance.now();
    }, Math.max(500, lastSpoken + SPOKEN - performance.now()));
  }

  function drawNote() {
    note.textContent = motionless.matches
      ? "Your system asks for little motion: no dots move, the numbers tell it."
      : `The dots are ${slower} times slower than life, for the eye no hop under ${SHORTEST / 1000} s or `
        + `over ${LONGEST / 1000} s. The numbers are measured; write and announce both contain the commit.`;
  }

  function draw() {
    const frame = model.get("frame"), n = frame.counts;
    root.dataset.state = frame.state;
    state.replaceChildren(element("b", "", `Listener: ${frame.words}.`), ` ${frame.waits}`);
    counts.textContent = `${number(n.written)} written here · ${number(n.heard)} heard · `
      + `${number(n.applied)} applied` + (n.aside ? ` · ${number(n.aside)} set aside` : "");
    dots.textContent = `${number(n.dots)} ${n.dots === 1 ? "dot" : "dots"}`
      + (n.conflated ? `, the thick ones for ${number(n.conflated)} changes more` : "");
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

  drawNote();
  draw();
  addLines(list, model.get("frame").lines);
  model.on("change:frame", onFrame);
  motionless.addEventListener("change", drawNote);
  return () => {
    clearInterval(second);
    clearTimeout(speaking);
    model.off("change:frame", onFrame);
    motionless.removeEventListener("change", drawNote);
  };
}

export default { render };
