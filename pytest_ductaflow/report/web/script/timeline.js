// The view "timeline": what ran when, on a lane for each worker or each instance, with the times in which workers
// had nothing to do. Thousands of bars are a path for each light; those that would overlap are one.

const MOST_LANES = 200; // instances, with a lane each
const LANE = { workers: 36, instances: 24 };
const STRIP = 46; // height of the number of instances that wait
const MOST_SIGNS = 400; // bars with a sign and a name
const SIGN = { success: "✓", warning: "!", error: "×", running: "…" };
const BAR = { success: 16, warning: 20, error: 24, running: 12 }; // heights tell lights apart, too
const IDLE = {
  upstreams: "upstreams were running",
  order: "order only",
  cores: "too few cores were free",
  memory: "too little memory was free",
  retry: "what was left waited to be tried again",
  "nothing left": "nothing was left",
};
const HELD_BY = { cores: "free cores", memory: "free memory" };
const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400]; // seconds

let chart = null; // what is drawn: see drawTimeline
let pointed = null; // the bar or the idle time that is described
let dragged = null; // where a drag began, in pixels

function makeTimeline() {
  const place = $("timeline");
  place.addEventListener("pointerdown", (event) => { dragged = event.button === 0 && inChart(event) ? placeIn(event).x : null; });
  place.addEventListener("pointermove", onMove);
  place.addEventListener("pointerleave", () => { dragged = null; drawBrush(null); });
  place.addEventListener("pointerup", onRelease);
  place.addEventListener("keydown", onTimelineKey);
  place.addEventListener("focus", () => { if (chart && !pointed) point(chart.bars[0] ?? null); });
  $("timeline-choices").addEventListener("change", ({ target }) => {
    view[target.name] = target.value;
    if (target.name === "stretch") view.span = "";
    applyView();
  });
  window.addEventListener("resize", () => {
    if (view.view === "timeline") showTimeline();
    if (view.view === "graph") showGraph();
  });
}

// ---- Drawing

function showTimeline() {
  if (!stretchesByRows.has(data.rows)) stretchesByRows.set(data.rows, stretchesOf(barsOf(data.rows)));
  const stretches = stretchesByRows.get(data.rows);
  const stretch = stretches.find(({ start }) => String(start) === view.stretch) ?? stretches[0];
  const within = (bar) => bar.start <= stretch.end && bar.end >= stretch.start && !(stretch.name && bar.row.earlier);
  const bars = stretch ? barsOf(shownRows).filter(within) : [];
  const canBeInstances = bars.length <= MOST_LANES;
  const isByInstance = view.lanes === "instances" && canBeInstances;
  drawTimelineChoices(stretches, stretch, isByInstance, canBeInstances);
  const lanes = bars.length ? makeLanes(bars, stretch, isByInstance) : [];
  pointed = null;
  $("timeline").hidden = $("timeline-legend").hidden = !lanes.length;
  if (lanes.length) drawTimeline(lanes, bars, stretch, isByInstance);
  else chart = null;
  describe(null);
  drawWorkers(isByInstance ? [] : lanes, stretch);
  const unchanged = shownRows.filter((row) => row.unchanged).length;
  const byHand = "Drag over a part of the time to enlarge it; a click opens an instance. By keyboard: arrows, Enter, + and −, 0 for the whole time. ";
  $("timeline-note").replaceChildren(
    lanes.length ? `Times are in ${zone()}. ` : "Nothing has run that passes the filters. ",
    lanes.length ? el("span", { class: "by-hand" }, byHand) : "",
    unchanged ? `${count(unchanged, "unchanged instance")} did not run.` : "");
}

function drawTimelineChoices(stretches, stretch, isByInstance, canBeInstances) {
  const whole = button("whole time", { id: "whole-time" });
  whole.hidden = !view.span;
  whole.addEventListener("click", () => { view.span = ""; applyView(); $("timeline").focus(); });
  const made = [
    stretches.length > 1 ? choice("time", stretches.map((each) => [String(each.start), stretchName(each)]), String(stretch.start), { name: "stretch" }) : null,
    stretches.length && (canBeInstances || isByInstance) ? choice("a lane for each", [["workers", "worker"], ["instances", "instance"]], isByInstance ? "instances" : "workers", { name: "lanes" }) : null,
    whole,
  ].filter(Boolean);
  const text = made.map((each) => each.outerHTML).join("") + view.span;
  if ($("timeline-choices").dataset.made === text) return;
  const name = document.activeElement?.name;
  $("timeline-choices").dataset.made = text;
  $("timeline-choices").replaceChildren(...made);
  if (name) $("timeline-choices").querySelector(`[name="${name}"]`)?.focus();
}

// The part of a stretch that is shown: "12.5..40" in seconds from its beginning.
function shownSpan(stretch) {
  const [from, to] = view.span.split("..").map(Number);
  const whole = Math.max(50, stretch.end - stretch.start);
  if (!(to > from)) return [stretch.start - whole * 0.005, stretch.start + whole * 1.005];
  return [stretch.start + 1000 * from, stretch.start + 1000 * to];
}

function drawTimeline(lanes, bars, stretch, isByInstance) {
  const width = Math.max(280, $("timeline").clientWidth);
  const left = isByInstance ? Math.min(220, width * 0.35) : Math.min(110, width * 0.24);
  const [from, to] = shownSpan(stretch);
  const scale = (width - left - 8) / (to - from);
  const height = isByInstance ? LANE.instances : LANE.workers;
  const waits = bars.filter((bar) => bar.ready !== undefined);
  const top = waits.length && !isByInstance ? STRIP + 18 : 6;
  const x = (time) => Math.min(width + 20, Math.max(left - 20, left + (time - from) * scale));
  chart = { lanes, stretch, from, to, left, top, width, height, scale, x, isByInstance, bars: lanes.flatMap((lane) => lane.bars) };
  lanes.forEach((lane, n) => { for (const bar of [...lane.bars, ...lane.idle]) bar.lane = n; });
  const bottom = top + lanes.length * height;
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${bottom + 40}`, role: "img", "aria-label": labelOfChart(lanes, bars, stretch) },
    svg("clipPath", { id: "timeline-clip" }, svg("rect", { x: left, y: 0, width: width - left, height: bottom })),
    drawTimeAxis(bottom),
    waits.length && !isByInstance ? drawStrip(waits) : null,
    lanes.map((lane, n) => svg("text", { class: "lane-name", x: left - 8, y: top + n * height + height / 2 + 4, "text-anchor": "end" }, shortened(lane.name, Math.floor(left / 7.2)))),
    svg("g", { "clip-path": "url(#timeline-clip)" }, drawIdle(lanes), isByInstance ? drawWaiting(lanes) : null, drawBars(lanes), drawSigns(lanes),
      svg("rect", { class: "brush", y: 0, height: bottom, width: 0 }), svg("rect", { class: "cursor", width: 0, height: 0, rx: 3 })));
  $("timeline").replaceChildren(drawing);
  $("timeline").setAttribute("aria-label", `Timeline of ${count(bars.length, "instance")}; arrow keys lead from one to the next, Enter opens it`);
  drawTimelineLegend(bars, lanes, waits.length > 0);
}

function labelOfChart(lanes, bars, stretch) {
  const counts = countStatuses(bars.map((bar) => bar.row));
  const told = STATUSES.filter((status) => counts[status]).map((status) => `${counts[status]} ${labelOf(status)}`);
  return `${count(bars.length, "instance")} on ${count(lanes.length, "lane")} within ${duration((stretch.end - stretch.start) / 1000)}: ${told.join(", ")}`;
}

function drawTimeAxis(bottom) {
  const { from, to, left, width, x, top } = chart;
  const most = Math.max(2, Math.floor((width - left) / 110));
  const step = 1000 * (STEPS.find((seconds) => (to - from) / (1000 * seconds) <= most) ?? Math.ceil((to - from) / 1000 / most));
  const offset = 60000 * new Date(from).getTimezoneOffset();
  const ticks = [];
  for (let at = Math.ceil((from - offset) / step) * step + offset; at <= to; at += step) ticks.push(at);
  const label = (at) => {
    const text = timestamp(new Date(at).toISOString());
    return step < 1000 ? `${text.slice(11)}.${Math.round((at % 1000) / 100)}` : step >= 86400000 ? text.slice(5, 16) : text.slice(11);
  };
  return svg("g", { class: "axes" },
    ticks.map((at) => [svg("path", { class: "grid", d: `M${x(at).toFixed(1)} ${top - 4}V${bottom}` }),
      svg("text", { x: x(at), y: bottom + 16, "text-anchor": x(at) > width - 40 ? "end" : "middle" }, label(at))]),
    svg("path", { d: `M${left} ${bottom}H${width}` }),
    svg("text", { class: "label", x: left + (width - left) / 2, y: bottom + 34, "text-anchor": "middle" }, `time in ${zone()}`));
}

// How many instances are ready and wait for a worker or for cores, over the time.
function drawStrip(waits) {
  const { left, width, x } = chart;
  const events = waits.flatMap(({ ready, start }) => (start > ready ? [[ready, 1], [start, -1]] : [])).sort((a, b) => a[0] - b[0]);
  let [now, most] = [0, 0];
  const steps = events.map(([time, change]) => {
    now += change;
    most = Math.max(most, now);
    return [time, now];
  });
  const y = (number) => STRIP - (number / Math.max(1, most)) * (STRIP - 18);
  let path = `M${left} ${STRIP}`;
  let [lastX, peak, last] = [-1, 0, 0];
  for (const [time, number] of steps) { // the largest number within a pixel
    const at = Math.round(x(time));
    if (at !== lastX && lastX >= 0) path += `H${lastX}V${y(Math.max(peak, last)).toFixed(1)}V${y(last).toFixed(1)}`;
    if (at !== lastX) peak = 0;
    peak = Math.max(peak, number);
    [lastX, last] = [at, number];
  }
  if (lastX >= 0) path += `H${lastX}V${y(peak).toFixed(1)}V${y(last).toFixed(1)}`;
  return svg("g", { class: "strip" },
    svg("path", { class: "strip-area", d: `${path}V${STRIP}Z`, "clip-path": "url(#timeline-clip)" }),
    svg("path", { class: "grid-line", d: `M${left} ${STRIP}H${width}` }),
    svg("text", { class: "lane-name", x: left - 8, y: STRIP - 4, "text-anchor": "end" }, "waiting"),
    svg("text", { class: "note", x: left + 4, y: 11 }, `ready, and waiting for a worker: up to ${most.toLocaleString("en")}`));
}

function drawIdle(lanes) {
  const { x, top, height } = chart;
  const paths = new Map();
  const labels = [];
  lanes.forEach((lane, n) => {
    const y = top + n * height + height / 2;
    for (const { start, end, reason } of lane.idle) {
      const [a, b] = [x(start), x(end)];
      if (b - a < 0.5) continue;
      paths.set(reason, `${paths.get(reason) ?? ""}M${a.toFixed(1)} ${y}H${b.toFixed(1)}`);
      if (b - a > 90 && labels.length < 60) labels.push(svg("text", { class: "note", x: (a + b) / 2, y: y - 5, "text-anchor": "middle" }, reason === "order" ? "order only" : reason));
    }
  });
  return [[...paths].map(([reason, d]) => svg("path", { class: `idle ${reason.replace(" ", "-")}`, d })), labels];
}

function drawWaiting(lanes) {
  const { x, top, height } = chart;
  const d = lanes.flatMap(({ bars }, n) => bars.filter((bar) => bar.ready < bar.start).map((bar) =>
    `M${x(bar.ready).toFixed(1)} ${top + n * height + height / 2}H${x(bar.start).toFixed(1)}`)).join("");
  return svg("path", { class: "waited", d });
}

const heightOf = (bar, room) => Math.min(room - 4, (BAR[bar.status] ?? 16) * Math.min(1, room / 28));

// One path for each light; the worst is drawn last. Bars closer than half a pixel become one.
function drawBars(lanes) {
  const { x, top, height, from, to } = chart;
  const paths = Object.fromEntries(["running", "success", "warning", "error"].map((status) => [status, []]));
  lanes.forEach((lane, n) => {
    const open = {}; // light -> [left, right] of the bar that may still grow
    const close = (status) => {
      const [a, b] = open[status];
      const high = heightOf({ status }, height);
      const y = top + n * height + (height - high) / 2;
      paths[status].push(`M${a.toFixed(1)} ${y.toFixed(1)}H${Math.max(b, a + 1.5).toFixed(1)}V${(y + high).toFixed(1)}H${a.toFixed(1)}Z`);
    };
    for (const bar of lane.bars) {
      if (bar.end < from || bar.start > to || !paths[bar.status]) continue;
      const [a, b] = [x(bar.start), x(bar.end)];
      const last = open[bar.status];
      const isNear = last && a <= last[1] + 0.5 && b - a < 3;
      if (isNear) last[1] = Math.max(last[1], b);
      else {
        if (last) close(bar.status);
        open[bar.status] = [a, Math.max(a + 0.5, b - (b - a > 4 ? 1 : 0))];
      }
    }
    Object.keys(open).forEach(close);
  });
  return Object.entries(paths).filter(([, d]) => d.length).map(([status, d]) => svg("path", { class: `bars ${status}`, d: d.join("") }));
}

function drawSigns(lanes) {
  const { x, top, height, from, to, left, width } = chart;
  const signs = [];
  lanes.forEach((lane, n) => {
    for (const bar of lane.bars) {
      if (bar.end < from || bar.start > to || signs.length >= MOST_SIGNS) continue;
      const [a, b] = [Math.max(left, x(bar.start)), Math.min(width, x(bar.end))];
      if (b - a < 14) continue;
      const room = Math.floor((b - a - 18) / 7);
      const name = !chart.isByInstance && room > 5 ? ` ${shortened(`${bar.row.step}/${shortName(bar.row)}`, room)}` : "";
      signs.push(svg("text", { class: `sign ${bar.status}`, x: a + 4, y: top + n * height + height / 2 + 4 }, `${SIGN[bar.status] ?? ""}${name}`));
    }
  });
  return signs;
}

function drawTimelineLegend(bars, lanes, hasWaits) {
  const statuses = STATUSES.filter((status) => bars.some((bar) => bar.status === status));
  const reasons = Object.keys(IDLE).filter((reason) => lanes.some((lane) => lane.idle.some((idle) => idle.reason === reason)));
  $("timeline-legend").replaceChildren(
    ...statuses.map((status) => el("span", {}, light(status), ` ${labelOf(status)} `)),
    ...reasons.map((reason) => el("span", {}, svg("svg", { class: "sample", viewBox: "0 0 30 8", width: 30, height: 8, "aria-hidden": "true" }, svg("path", { class: `idle ${reason.replace(" ", "-")}`, d: "M0 4H30" })), ` idle: ${IDLE[reason]} `)),
    ...(hasWaits && chart.isByInstance ? [el("span", {}, svg("svg", { class: "sample", viewBox: "0 0 30 8", width: 30, height: 8, "aria-hidden": "true" }, svg("path", { class: "waited", d: "M0 4H30" })), " ready, and waiting ")] : []),
    el("span", {}, "Higher bars are worse lights."));
}

// ---- What is pointed at

function placeIn(event) {
  const box = $("timeline").querySelector("svg").getBoundingClientRect();
  return { x: event.clientX - box.left, y: event.clientY - box.top };
}

const inChart = (event) => chart && placeIn(event).x >= chart.left;
const timeAt = (x) => chart.from + (x - chart.left) / chart.scale;

// The bar or idle time at a place: of several in one pixel, the worst light.
function thingAt({ x, y }) {
  const lane = chart.lanes[Math.floor((y - chart.top) / chart.height)];
  if (!lane || x < chart.left) return null;
  const near = (each) => chart.x(each.start) - 2 <= x && x <= Math.max(chart.x(each.end), chart.x(each.start) + 2) + 1;
  const bars = lane.bars.filter(near);
  if (!bars.length) return lane.idle.find(near) ?? null;
  const inside = bars.find((bar) => chart.x(bar.end) - chart.x(bar.start) > 4 && chart.x(bar.start) <= x && x <= chart.x(bar.end));
  const best = inside ?? bars.reduce((a, b) => (WORST_FIRST.indexOf(b.status) < WORST_FIRST.indexOf(a.status) ? b : a));
  best.others = inside ? 0 : bars.length - 1;
  return best;
}

function onMove(event) {
  if (!chart) return;
  const here = placeIn(event);
  if (dragged !== null && Math.abs(here.x - dragged) > 4) return drawBrush([dragged, here.x]);
  point(thingAt(here));
}

function onRelease(event) {
  if (!chart || dragged === null) return;
  const { x, y } = placeIn(event);
  const [a, b] = [Math.min(dragged, x), Math.max(dragged, x)];
  dragged = null;
  drawBrush(null);
  if (b - a > 6) return zoom(timeAt(Math.max(a, chart.left)), timeAt(b));
  const thing = thingAt({ x, y });
  if (thing?.row) openInstance(thing.row);
}

function drawBrush(ends) {
  const brush = $("timeline").querySelector(".brush");
  brush?.setAttribute("x", ends ? Math.min(...ends) : 0);
  brush?.setAttribute("width", ends ? Math.abs(ends[1] - ends[0]) : 0);
}

function zoom(from, to) {
  const { stretch } = chart;
  const seconds = (time) => Number(((time - stretch.start) / 1000).toFixed(3));
  const isWhole = from <= stretch.start && to >= stretch.end;
  view.span = isWhole || to - from < 20 ? (isWhole ? "" : view.span) : `${seconds(from)}..${seconds(to)}`;
  const kept = pointed;
  applyView();
  if (kept?.row) point(chart?.bars.find((bar) => bar.row === kept.row) ?? null);
}

function onTimelineKey(event) {
  if (!chart || event.ctrlKey || event.metaKey || event.altKey) return;
  const middle = pointed ? (pointed.start + pointed.end) / 2 : (chart.from + chart.to) / 2;
  const width = chart.to - chart.from;
  const actions = {
    ArrowRight: () => step(1), ArrowLeft: () => step(-1), ArrowDown: () => changeLane(1), ArrowUp: () => changeLane(-1),
    Home: () => point(chart.lanes[pointed?.lane ?? 0].bars[0]), End: () => point(chart.lanes[pointed?.lane ?? 0].bars.at(-1)),
    "+": () => zoom(middle - width / 4, middle + width / 4), "-": () => zoom(middle - width, middle + width),
    0: () => zoom(-Infinity, Infinity), Enter: () => { if (pointed?.row) openInstance(pointed.row); },
  };
  const action = actions[event.key === "=" ? "+" : event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

function step(sign) {
  const lane = chart.lanes[pointed?.lane ?? 0];
  const things = [...lane.bars, ...lane.idle].sort((a, b) => a.start - b.start);
  const place = things.indexOf(pointed);
  point(things[Math.min(things.length - 1, Math.max(0, place + sign))] ?? null);
}

function changeLane(sign) {
  const time = pointed?.start ?? chart.from;
  for (let n = (pointed?.lane ?? -1) + sign; n >= 0 && n < chart.lanes.length; n += sign) {
    const { bars } = chart.lanes[n];
    if (bars.length) return point(bars.reduce((a, b) => (Math.abs(b.start - time) < Math.abs(a.start - time) ? b : a)));
  }
}

function point(thing) {
  if (thing === pointed) return;
  pointed = thing;
  const cursor = $("timeline").querySelector(".cursor");
  if (cursor && thing) {
    const y = chart.top + thing.lane * chart.height + 1;
    const [a, b] = [chart.x(thing.start), chart.x(thing.end)];
    for (const [name, value] of Object.entries({ x: a - 2, y, width: Math.max(4, b - a + 4), height: chart.height - 2 })) cursor.setAttribute(name, value);
    if (thing.end < chart.from || thing.start > chart.to) moveTo(thing);
  } else cursor?.setAttribute("width", 0);
  describe(thing);
}

function moveTo(thing) {
  const half = (chart.to - chart.from) / 2;
  zoom(thing.start - half, thing.start + half);
}

const clock = (time) => timestamp(new Date(time).toISOString()).slice(11);

function describe(thing) {
  const place = $("timeline-readout");
  if (!thing) return place.replaceChildren(el("span", { class: "muted" }, chart ? "Point at a bar, or go to one with the arrow keys." : ""));
  const took = duration((thing.end - thing.start) / 1000);
  if (!thing.row) {
    return place.replaceChildren(el("b", {}, `${thing.worker} was idle`), ` ${took}, ${clock(thing.start)} to ${clock(thing.end)}: ${IDLE[thing.reason] ?? thing.reason}`);
  }
  const { row } = thing;
  const facts = [
    thing.isOpen ? `since ${clock(thing.start)}` : `${clock(thing.start)} to ${clock(thing.end)}, ${took}`,
    row.worker ? `on ${row.worker}` : "",
    row.cores ? `${count(row.cores, "core")} booked` : "",
    row.peak_memory != null ? `peak memory ${memory(row.peak_memory)}` : "",
    waitText(row, thing),
    row.message ? shortened(row.message, 160) : row.last_line && thing.isOpen ? shortened(row.last_line, 160) : "",
    thing.others ? `${thing.others} more at this place` : "",
  ].filter(Boolean);
  place.replaceChildren(light(thing.status), el("b", {}, ` ${labelOfRow(row)}`), el("span", { class: "visually-hidden" }, ` ${labelOf(thing.status)}`), ` ${facts.join(" · ")}`);
}

function waitText(row, { ready, start }) {
  const [, kind, label] = /^(upstream|order) (.*)$/s.exec(row.waited_for ?? "") ?? [];
  const after = kind === "upstream" ? `its upstream ${label} ended last` : kind === "order" ? `${label} came before, for order only` : "";
  if (ready === undefined) return after;
  const waited = (start - ready) / 1000;
  const held = waited < 0.05 ? "" : `and waited ${duration(waited)} for ${HELD_BY[row.held_by] ?? "a worker"}`;
  return [`ready at ${clock(ready)}`, after && `(${after})`, held].filter(Boolean).join(" ");
}
