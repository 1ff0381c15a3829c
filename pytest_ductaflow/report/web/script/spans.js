// What ran when, in which stretches of time, and on which lanes of the timeline; and the table of workers.

const MOST_PROCESSES = 64; // lanes of workers that are not known
const QUIET = 600000; // milliseconds in which nothing runs, after which another stretch of time begins

const timesOfRow = new WeakMap();

// Returns when an instance was ready, began and ended, in milliseconds; null if it did not run.
function timesOf(row) {
  if (!row.started || row.unchanged || row.status === "blocked" || row.status === "waiting") return null;
  let found = timesOfRow.get(row);
  if (!found) {
    const start = Date.parse(row.started);
    if (Number.isNaN(start)) return null;
    const isOpen = row.duration == null;
    const end = isOpen ? Math.max(start, lastNews()) : start + 1000 * row.duration;
    found = { start, end, isOpen, ready: row.ready ? Math.min(start, Date.parse(row.ready)) : readyAfter(row, start) };
    timesOfRow.set(row, found);
  }
  return found;
}

const lastNews = () => (data.finished ? Date.parse(data.finished) : hasEndedEarly() ? Date.parse(data.updated) : Date.now());

// Of older records it is not known when they were ready: when the last of what they need had ended.
function readyAfter(row, start) {
  const ends = upstreamsOf(row).map(rowOfLabel)
    .filter((other) => other?.started && other.duration != null && !other.unchanged)
    .map((other) => Date.parse(other.started) + 1000 * other.duration)
    .filter((end) => end <= start);
  return ends.length ? Math.max(...ends) : undefined;
}

// Returns the bars of rows, in the order of their beginning.
function barsOf(rows) {
  const bars = [];
  for (const row of rows) {
    const times = timesOf(row);
    if (times) bars.push({ row, ...times, status: statusOf(row) });
  }
  return bars.sort((a, b) => a.start - b.start);
}

// Returns the stretches of time between which nothing ran, the last one first: this session, then earlier ones.
function stretchesOf(bars) {
  const found = [];
  const mine = bars.filter((bar) => !bar.row.earlier);
  for (const { start, end } of bars.filter((bar) => bar.row.earlier)) {
    const last = found[found.length - 1];
    if (last && start - last.end < QUIET) Object.assign(last, { end: Math.max(last.end, end), count: last.count + 1 });
    else found.push({ start, end, count: 1 });
  }
  if (mine.length && bars.length > mine.length) {
    return [{ name: "this session", start: mine[0].start, end: largest(mine.map((bar) => bar.end)), count: mine.length }, ...found.reverse()];
  }
  return (mine.length ? stretchesOf(mine.map((bar) => ({ ...bar, row: { earlier: true } }))) : found.reverse());
}

const largest = (numbers) => numbers.reduce((one, other) => Math.max(one, other), -Infinity);

const stretchesByRows = new WeakMap();

const stretchName = ({ name, start, count: number }) => `${name ? `${name}, ` : ""}${timestamp(new Date(start).toISOString())}, ${count(number, "instance")}`;

// ---- Lanes

// Puts bars on lanes: of their workers, or, where these are not known, so that few overlap.
function workerLanes(bars) {
  const lanes = new Map();
  const ends = [];
  for (const bar of bars) {
    let name = bar.row.worker;
    if (!name) {
      let n = ends.findIndex((end) => end <= bar.start + 1);
      if (n < 0) n = ends.length < MOST_PROCESSES ? ends.length : ends.indexOf(Math.min(...ends));
      ends[n] = bar.end;
      name = n ? `process ${n + 1}` : "process";
    }
    if (!lanes.has(name)) lanes.set(name, { name, bars: [], idle: [] });
    lanes.get(name).bars.push(bar);
  }
  return lanes;
}

function makeLanes(bars, stretch, isByInstance) {
  if (isByInstance) {
    const several = new Set(bars.map((bar) => bar.row.step)).size > 1;
    return bars.map((bar) => ({ name: several ? `${bar.row.step}/${shortName(bar.row)}` : shortName(bar.row), bars: [bar], idle: [] }));
  }
  const lanes = workerLanes(bars);
  for (const [name, from, to, reason] of data.idle ?? []) {
    const [start, end] = [Date.parse(from), Date.parse(to)];
    if (!(end >= stretch.start && start <= stretch.end && end > start)) continue;
    if (!lanes.has(name)) lanes.set(name, { name, bars: [], idle: [] });
    lanes.get(name).idle.push({ start, end, reason, worker: name });
  }
  return [...lanes.values()].sort((a, b) => collator.compare(a.name, b.name));
}

// ---- The workers as a table

function drawWorkers(lanes, stretch) {
  const place = $("timeline-workers");
  place.hidden = !lanes.length;
  if (!lanes.length) return;
  const whole = (stretch.end - stretch.start) / 1000;
  const reasons = Object.keys(IDLE).filter((reason) => lanes.some((lane) => lane.idle.some((idle) => idle.reason === reason)));
  const seconds = (spans) => sum(spans.map(({ start, end }) => (end - start) / 1000));
  const heads = ["worker", "instances", "ran", "share of the time", ...reasons.map((reason) => `idle: ${IDLE[reason]}`), "largest memory"];
  place.replaceChildren(el("h2", {}, "Workers", el("span", { class: "muted" }, ` what is shown, within ${duration(whole)}`)),
    el("div", { class: "wide", ...scrollable("Workers") }, el("table", { class: "workers" },
      el("thead", {}, el("tr", {}, heads.map((head, n) => el("th", { scope: "col", class: n ? "number" : null }, head)))),
      el("tbody", {}, lanes.map(({ name, bars, idle }) => {
        const ran = seconds(bars);
        const peak = largest([0, ...bars.map(({ row }) => row.peak_memory ?? 0)]);
        return el("tr", {}, el("th", { scope: "row" }, name),
          [bars.length.toLocaleString("en"), duration(ran), whole ? `${Math.round((100 * ran) / whole)} %` : "",
            ...reasons.map((reason) => duration(seconds(idle.filter((each) => each.reason === reason)))), peak ? memory(peak) : ""]
            .map((text) => el("td", { class: "number" }, text)));
      })))));
}
