"use strict";

// Show the JSON embedded in the page. While the page is open, it follows the file on disk: see
// "Following the session". Data enters the page as text nodes and attributes only, so that nothing in
// it can be taken for markup.

const STATUSES = ["success", "warning", "error", "blocked", "running", "waiting", "not-run"];
const WORST_FIRST = ["error", "blocked", "warning", "running", "waiting", "success", "not-run"];
const LABELS = { "not-run": "not run" };

const $ = (id) => document.getElementById(id);
const page = document.documentElement;
const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

let data = { rows: [] }; // what is shown
let entries = new Map(); // id -> {row, text, index, node, haystack}: one per row of the table
let view = { search: "", statuses: [], step: "", session: false, sort: "order", reverse: false };
let unfolded = new Set();

// ---------------------------------------------------------------- building elements

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value != null) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child != null));
  return node;
}

// Equal text is not set again: that would drop a selection and make screen readers repeat it.
function put(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

const cell = (name, ...children) => el("div", { role: "cell", class: `${name}-cell` }, ...children);

function light(status, remark = "") {
  const label = labelOf(status) + remark;
  return el("span", { class: `light ${status}`, role: "img", "aria-label": label, title: label });
}

// "./" keeps a path relative whatever it begins with. A name that is not valid Unicode (a lone
// surrogate) gives a broken link rather than an error.
function href(path) {
  const encode = (part) => encodeURIComponent(part.replace(/\p{Surrogate}/gu, "\ufffd"));
  return "./" + path.split("/").map(encode).join("/");
}

const link = (path, text) => el("a", { href: href(path), target: "_blank", rel: "noopener" }, text);

const links = (paths) =>
  Object.entries(paths ?? {}).filter(([, path]) => path).map(([name, path]) => link(path, name));

// ---------------------------------------------------------------- words and numbers

const labelOf = (status) => LABELS[status] ?? status;
const statusOf = (row) => (row.earlier && row.status === "waiting" ? "not-run" : row.status);
const pad = (number) => String(number).padStart(2, "0");
const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

// Each limit is where rounding would already show the next unit: 59.97 s is "1 min 00 s".
function duration(seconds) {
  if (seconds < 9.995) return `${seconds.toFixed(2)} s`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${pad(whole % 60)} s`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)} h ${pad(minutes % 60)} min`;
}

// For values updated once per second: no decimals.
const wholeDuration = (seconds) =>
  seconds < 60 ? `${Math.floor(seconds)} s` : duration(Math.floor(seconds));

function memory(bytes) {
  if (bytes < 9.95e6) return `${(bytes / 1e6).toFixed(1)} MB`;
  return bytes < 999.5e6 ? `${Math.round(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

// A difference between two values. Numbers that JSON lacks, such as NaN, arrive as text.
function amount(number) {
  if (typeof number !== "number") return number ?? "";
  if (number && (number < 1e-3 || number >= 1e6)) return number.toExponential(2);
  return number < 1000 ? String(Number(number.toPrecision(4))) : number.toFixed(0);
}

const percent = (share) => (typeof share === "number" ? `${amount(100 * share)} %` : amount(share));

const since = (iso, end = Date.now()) => Math.max(0, (end - Date.parse(iso)) / 1000);

// The Swedish locale writes local time as "2031-05-17 14:05:09".
const timestamp = (iso) => new Date(iso).toLocaleString("sv");

const isTicking = (row) => row.status === "running" && row.started && !data.finished;
const secondsOf = (row) => (isTicking(row) ? since(row.started) : row.duration);

function timeText(row) {
  if (isTicking(row)) return wholeDuration(since(row.started));
  return row.duration == null ? "" : duration(row.duration);
}

// {"model": {"degree": 2}} -> [["model.degree", "2"]]
function flatten(value, key = "") {
  if (value && typeof value === "object" && !Array.isArray(value) && Object.keys(value).length) {
    return Object.entries(value).flatMap(([k, v]) => flatten(v, key ? `${key}.${k}` : k));
  }
  return key ? [[key, typeof value === "string" ? value : JSON.stringify(value)]] : [];
}

// ---------------------------------------------------------------- rows

function drawEntry(entry) {
  const { row, node } = entry;
  const open = unfolded.has(row.id);
  const status = statusOf(row);
  const remark = row.earlier && status !== "not-run" ? ", from an earlier session" : "";
  node.className = `entry ${status}${row.earlier ? " earlier" : ""}${open ? " open" : ""}`;
  node.dataset.id = row.id;
  node.replaceChildren(
    el("div", { class: "row", role: "row" },
      cell("light",
        el("button", { type: "button", class: "fold", "aria-expanded": open,
                       "aria-label": `Details of ${row.step} ${row.instance}` }),
        light(status, remark)),
      cell("step", row.step, el("span", { class: "source" }, row.source)),
      cell("name",
        el("span", { class: "name", title: row.instance }, row.instance),
        row.unchanged ? el("span", { class: "badge" }, "unchanged") : null),
      cell("time", timeText(row)),
      cell("message",
        row.flows?.length ? el("span", { class: "lights" }, row.flows.map(flowLight)) : null,
        row.message ? el("span", { class: "message", title: row.message }, row.message) : null),
      cell("links", links(row.links))));
  if (open) node.append(details(row));
}

function flowLight(flow) {
  return light(flow.status, `: ${flow.flow} ${flow.instance ?? ""}`);
}

function details(row) {
  const facts = [
    ["source", row.source],
    [row.unchanged ? "unchanged since it ran for" : "ran for", row.reason],
    ["read without saying so", row.undeclared?.join(", ")],
    ["started", row.started && timestamp(row.started)],
    ["peak memory", row.peak_memory != null ? memory(row.peak_memory) : null],
    ["directory", row.directory ? link(`${row.directory}/`, row.directory) : null],
    ["last good run", row.last_good ? link(`${row.last_good}/`, row.last_good) : null],
  ].filter(([, value]) => value);
  const config = flatten(row.config);
  const parts = [
    el("dl", { class: "facts" }, facts.map(([name, value]) =>
      el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    row.command ? el("div", { class: "repeat" }, el("code", {}, row.command),
      el("button", { type: "button", class: "copy", title: "Copy the command" }, "copy")) : null,
    row.differences?.length
      ? section("Differences", row.differences.map((difference) => differenceOf(row, difference))) : null,
    row.traceback ? section("Traceback", el("pre", { class: "error", tabindex: 0 }, row.traceback)) : null,
    row.failed_attempts?.length
      ? section("Failed attempts", lines("plain", row.failed_attempts.map((why, n) => `${n + 1}: ${why}`))) : null,
    row.warnings?.length ? section("Warnings", lines("warning", row.warnings)) : null,
    row.python_warnings?.length ? section("Python warnings", lines("plain", row.python_warnings)) : null,
    row.flows?.length ? section("Flows", flowList(row.flows)) : null,
  ];
  const settings = config.length
    ? el("table", {}, config.map(([key, value]) =>
        el("tr", {}, el("th", { scope: "row" }, key), el("td", {}, value))))
    : el("p", {}, "empty");
  return el("div", { class: "details", role: "row" },
    el("div", { role: "cell", "aria-colspan": 6 },
      el("div", { class: "config" }, section("Config", settings)),
      el("div", { class: "parts" }, parts)));
}

const section = (heading, body) => el("section", {}, el("h2", {}, heading), body);

const lines = (kind, texts) => el("pre", { class: kind, tabindex: 0 }, texts.join("\n"));

function differenceOf(row, { file, is_there, message, notes, worst, figures }) {
  const shown = FIGURES.filter((kind) => figures[kind]);
  return el("div", { class: "difference" },
    el("h3", {}, is_there ? link(`${row.directory}/${file}`, file) : file),
    el("p", {}, message),
    notes.length ? el("pre", { class: "plain", ...scrollable(`Notes on ${file}`) }, noteLines(notes)) : null,
    worst.length ? el("div", { class: "worst", ...scrollable(`Worst values of ${file}`) }, worstValues(worst)) : null,
    shown.length ? el("div", { class: "figures" }, shown.map((kind) => figure(row, file, kind, figures[kind]))) : null);
}

const FIGURES = ["expected", "found", "difference"];

// Makes content that may be too wide or too high scrollable by keyboard, too.
const scrollable = (label) => ({ tabindex: 0, role: "group", "aria-label": label });

// In a unified diff, lines that begin with + or - after the first @@ are coloured.
function noteLines(notes) {
  const first = notes.findIndex((line) => line.startsWith("@@"));
  const kindOf = (line, index) =>
    first >= 0 && index > first ? { "+": "added", "-": "removed" }[line[0]] : null;
  return notes.map((line, index) => el("span", { class: kindOf(line, index) }, line || el("br", {})));
}

function worstValues(worst) {
  const heads = ["where", "expected", "found", "difference", "relative"];
  const kindOf = (text) => (text.length > 32 ? "long" : null);
  return el("table", {},
    el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, worst.map(({ where, expected, found, absolute, relative }) =>
      el("tr", {},
        el("th", { scope: "row", class: kindOf(where) }, where),
        [expected, found, amount(absolute), percent(relative)].map((text) =>
          el("td", { class: kindOf(text) }, text))))));
}

// Another run writes other figures with the same names: the time distinguishes them in the browser's cache.
function figure(row, file, kind, path) {
  const target = `${row.directory}/${path}`;
  const source = `${href(target)}?${encodeURIComponent(row.started ?? "")}`;
  const image = el("img", { src: source, alt: `${kind}: ${file}`, loading: "lazy" });
  return el("figure", {}, el("figcaption", {}, kind), link(target, image));
}

function flowList(flows) {
  return el("ul", { class: "flows" }, flows.map((flow) =>
    el("li", {},
      el("div", { class: "flow" },
        light(flow.status),
        el("span", { class: "flow-name" }, flow.flow,
          flow.instance && flow.instance !== flow.flow ? el("span", { class: "muted" }, ` ${flow.instance}`) : null),
        el("span", { class: "muted" }, flow.duration == null ? "" : duration(flow.duration)),
        el("span", { class: "flow-links" }, links(flow.links)),
        flow.message ? el("span", { class: "flow-message" }, flow.message) : null),
      flow.flows?.length ? flowList(flow.flows) : null)));
}

function fold(entry, open) {
  if (open) unfolded.add(entry.row.id);
  else unfolded.delete(entry.row.id);
  entry.node.classList.toggle("open", open);
  entry.node.querySelector(".fold").setAttribute("aria-expanded", open);
  entry.node.querySelector(".details")?.remove();
  if (open) entry.node.append(details(entry.row));
}

// ---------------------------------------------------------------- filtering and sorting

// All searchable text of a row, built at the first search.
function haystack(entry) {
  if (!entry.haystack) {
    const { row } = entry;
    const config = flatten(row.config);
    const files = row.differences?.map((difference) => difference.file) ?? [];
    const values = config.map(([, value]) => value);
    const words = [row.instance, row.step, row.source, row.message ?? "", ...files, ...values];
    entry.haystack = {
      words: words.join("\n").toLowerCase(),
      pairs: config.map((pair) => pair.join("=")).join("\n").toLowerCase(),
    };
  }
  return entry.haystack;
}

const stepKey = (row) => JSON.stringify([row.source, row.step]);

function matches(entry, wanted) {
  const { row } = entry;
  if (view.statuses.length && !view.statuses.includes(statusOf(row))) return false;
  if (view.session && row.earlier) return false;
  if (view.step && view.step !== stepKey(row)) return false;
  if (!wanted.length) return true;
  const { words, pairs } = haystack(entry);
  return wanted.every((word) => words.includes(word) || (word.includes("=") && pairs.includes(word)));
}

const SORT_KEYS = {
  order: () => 0,
  status: (row) => WORST_FIRST.indexOf(statusOf(row)),
  step: (row) => row.step,
  name: (row) => row.instance,
  duration: (row) => (secondsOf(row) == null ? null : -secondsOf(row)),
};

// Rows without a value come last in either direction.
function compare(a, b) {
  const [x, y] = [SORT_KEYS[view.sort](a), SORT_KEYS[view.sort](b)];
  if (x === null || y === null) return (x === null) - (y === null);
  return (typeof x === "string" ? collator.compare(x, y) : x - y) * (view.reverse ? -1 : 1);
}

// Rows already in place are not touched: moving one would lose its text selection.
function arrange() {
  const order = [...entries.values()].sort((a, b) => compare(a.row, b.row) || a.index - b.index);
  let next = $("table").firstElementChild.nextElementSibling;
  for (const { node } of order) {
    if (node === next) next = next.nextElementSibling;
    else $("table").insertBefore(node, next);
  }
}

function applyView() {
  const wanted = view.search.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const entry of entries.values()) {
    const match = matches(entry, wanted);
    shown += match;
    if (entry.node.hidden === match) entry.node.hidden = !match;
  }
  put("shown", `${shown} of ${entries.size}`);
  $("nothing").hidden = entries.size > 0;
  $("no-match").hidden = shown > 0 || !entries.size;
  for (const chip of $("chips").children) chip.setAttribute("aria-pressed", isPressed(chip.dataset.filter));
  for (const button of document.querySelectorAll("[data-sort]")) {
    const direction = view.reverse ? "descending" : "ascending";
    button.parentElement.ariaSort = button.dataset.sort === view.sort ? direction : "none";
  }
  showFolding();
  save();
}

function showFolding() {
  $("collapse").hidden = ![...unfolded].some((id) => entries.has(id));
}

function isPressed(filter) {
  if (filter === "all") return !view.statuses.length && !view.session;
  return filter === "session" ? view.session : view.statuses.includes(filter);
}

// ---------------------------------------------------------------- header

const isSettled = (row) => row.status !== "waiting" && row.status !== "running";

const countStatuses = (rows) =>
  Object.fromEntries(STATUSES.map((status) => [status, rows.filter((row) => statusOf(row) === status).length]));

// Throughput of what really ran, at the last update: unchanged and blocked rows cost no time.
function secondsLeft(rows) {
  const ran = rows.filter((row) => isSettled(row) && !row.unchanged && row.status !== "blocked").length;
  const left = rows.filter((row) => !isSettled(row)).length;
  if (data.finished || !ran || !left) return null;
  return (since(data.started, Date.parse(data.updated)) / ran) * left;
}

function drawHeader() {
  const rows = data.rows.filter((row) => !row.earlier);
  const counts = countStatuses(rows);
  const done = rows.filter(isSettled).length;
  const state = data.finished ? data.outcome ?? "finished" : "running";
  const worst = WORST_FIRST.slice(0, 3).find((status) => counts[status]) ?? "success";
  const tone = state === "running" ? "running" : state === "interrupted" && worst === "success" ? "warning" : worst;

  put("title", data.title);
  put("command", data.command);
  put("state", state);
  $("state").className = `state ${tone}`;
  page.classList.toggle("over", state !== "running");
  drawProgress(counts, done, rows.length);

  const left = secondsLeft(rows);
  const earlier = data.rows.length - rows.length;
  const failed = counts.error ? `${counts.error} failed` : "";
  put("done", `${done} of ${rows.length} done${failed && `, ${failed}`}`);
  put("outlook", [
    left == null ? "" : `about ${wholeDuration(left)} left`,
    data.finished || !data.workers ? "" : `${data.workers} ${data.workers === 1 ? "worker" : "workers"}`,
    earlier ? `${earlier} not part of this session` : "",
  ].filter(Boolean).map((text) => ` · ${text}`).join(""));

  const mark = { running: "●", interrupted: "■", finished: failed ? "✗" : "✓" }[state];
  document.title = `${mark} ${done}/${rows.length}${failed && ` (${failed})`} ${data.title}`;
  drawIcon(tone === "running" && counts.error ? "error" : tone);
}

function drawProgress(counts, done, total) {
  const bar = $("progress");
  bar.setAttribute("aria-valuemax", total);
  bar.setAttribute("aria-valuenow", done);
  bar.setAttribute("aria-valuetext", `${done} of ${total} done`);
  bar.replaceChildren(...STATUSES.filter((status) => counts[status]).map((status) => {
    const part = el("span", { class: status, title: `${counts[status]} ${labelOf(status)}` });
    part.style.flexGrow = counts[status];
    return part;
  }));
}

// The tab shows the light, too.
function drawIcon(status) {
  const colour = getComputedStyle(page).getPropertyValue(`--${status}`).trim();
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7" fill="${colour}"/></svg>`;
  $("icon").href = `data:image/svg+xml,${encodeURIComponent(svg)}`;
}

// Updates what changes with the clock.
function drawTimes() {
  const end = data.finished ? Date.parse(data.finished) : Date.now();
  put("started", timestamp(data.started));
  put("elapsed", wholeDuration(since(data.started, end)));
  put("last-label", data.finished ? "finished" : "updated");
  put("last", data.finished ? timestamp(data.finished) : `${wholeDuration(since(data.updated))} ago`);
}

function tick() {
  drawTimes();
  for (const { row, node } of entries.values()) {
    if (isTicking(row)) node.querySelector(".time-cell").textContent = timeText(row);
  }
}

// A chip's number is the number of rows it shows, from any session.
function drawChips() {
  const counts = countStatuses(data.rows);
  const earlier = data.rows.filter((row) => row.earlier).length;
  const numbers = { all: data.rows.length, ...counts, session: data.rows.length - earlier };
  for (const chip of $("chips").children) {
    const { filter } = chip.dataset;
    chip.querySelector("b").textContent = numbers[filter];
    chip.classList.toggle("none", !numbers[filter]);
    const rare = (filter === "not-run" && !numbers[filter]) || (filter === "session" && !earlier);
    chip.hidden = rare && !isPressed(filter);
  }
}

function makeChips() {
  const names = { all: "all", session: "this session" };
  $("chips").append(...["all", ...STATUSES, "session"].map((filter) =>
    el("button", { type: "button", class: "chip", "data-filter": filter },
      STATUSES.includes(filter) ? el("span", { class: `light ${filter}`, "aria-hidden": "true" }) : null,
      el("b", {}), ` ${names[filter] ?? labelOf(filter)}`)));
}

// One group per source if there are several. An unchanged list is not touched: it may be open.
function drawSteps() {
  const sources = new Map();
  for (const row of data.rows) {
    if (!sources.has(row.source)) sources.set(row.source, new Map());
    sources.get(row.source).set(stepKey(row), row.step);
  }
  const several = sources.size > 1;
  $("table").classList.toggle("several-sources", several);
  const made = JSON.stringify([...sources].map(([source, steps]) => [source, [...steps]]));
  if ($("step").dataset.made === made) return;
  $("step").dataset.made = made;
  const groups = [...sources].map(([source, steps]) => {
    const options = [...steps].map(([key, step]) => el("option", { value: key }, step));
    return several ? el("optgroup", { label: source }, options) : options;
  });
  $("step").replaceChildren(el("option", { value: "" }, "all steps"), ...groups.flat());
  if (![...$("step").options].some((option) => option.value === view.step)) view.step = "";
  $("step").value = view.step;
}

// ---------------------------------------------------------------- showing data, new or again

// Rows are compared as text and only changed ones are drawn. Focus returns to the same button or link if
// its row was redrawn or moved.
function show(next) {
  const focused = document.activeElement;
  const home = focused.closest(".entry");
  const finishing = !data.finished !== !next.finished;
  data = next;
  const gone = new Map(entries);
  data.rows.forEach((row, index) => {
    const text = JSON.stringify(row);
    const entry = entries.get(row.id) ?? { node: el("div", { role: "rowgroup" }) };
    gone.delete(row.id);
    entries.set(row.id, entry);
    entry.index = index;
    if (entry.text === text && !(finishing && row.status === "running")) return;
    if (entry.row && compare(entry.row, row) !== 0) entry.node.remove();
    Object.assign(entry, { row, text, haystack: null });
    drawEntry(entry);
  });
  for (const [id, entry] of gone) {
    entry.node.remove();
    entries.delete(id);
  }
  drawHeader();
  drawTimes();
  drawChips();
  drawSteps();
  arrange();
  applyView();
  if (home && document.activeElement !== focused) {
    const isTwin = (other) =>
      ["className", "href", "ariaLabel"].every((name) => other[name] === focused[name]);
    const twin = home.contains(focused) ? focused : [...home.querySelectorAll("a, button, [tabindex]")].find(isTwin);
    twin?.focus({ preventScroll: true });
  }
}

// ---------------------------------------------------------------- state over a reload

const STORE = `ductaflow-1:${location.pathname}`; // 1: the shape of what is kept

function save() {
  try {
    sessionStorage.setItem(STORE, JSON.stringify({ view, unfolded: [...unfolded] }));
  } catch { /* storage is full or forbidden: nothing is kept */ }
}

function restore() {
  try {
    const saved = JSON.parse(sessionStorage.getItem(STORE));
    view = { ...view, ...saved.view };
    unfolded = new Set(saved.unfolded);
  } catch { /* nothing was kept */ }
  $("search").value = view.search;
}

// ---------------------------------------------------------------- following the session

// A page opened from disk may not fetch() itself, but it may load itself in a frame. In there the
// page shows nothing and posts its data, as text, to the page around it.
const POLL_HASH = "#ductaflow-poll";
const RUNNING_PAUSE = 2000;
const FINISHED_PAUSE = 15000; // another session may begin
const LOAD_SHARE = 20; // at most 1/20 of the time goes into loading
const PATIENCE = 30000;
const GRACE = 1000; // an error page "loads" as well, but it never answers

let frame = null;
let frameSince = 0;
let timer = 0;
let shownText = "";

const isPolled = () => window.parent !== window && location.hash === POLL_HASH;

// A page from a web server answers only its own origin; pages from disk have none.
function answerPoll(text) {
  window.parent.postMessage(text, location.protocol === "file:" ? "*" : location.origin);
}

function poll() {
  if (frame || document.hidden) return;
  clearTimeout(timer);
  const url = new URL(location.href);
  url.searchParams.set("ductaflow", Date.now()); // past any cache
  url.hash = POLL_HASH;
  frame = el("iframe", { src: url.href, hidden: "", title: "New data" });
  frame.addEventListener("load", () => endPollIn(GRACE));
  frameSince = performance.now();
  document.body.append(frame);
  endPollIn(PATIENCE);
}

function endPollIn(milliseconds) {
  clearTimeout(timer);
  timer = setTimeout(endPoll, milliseconds);
}

const pollPause = (finished, loadTime) =>
  Math.max(finished ? FINISHED_PAUSE : RUNNING_PAUSE, LOAD_SHARE * loadTime);

function endPoll(loadTime = 0) {
  clearTimeout(timer);
  frame.remove();
  frame = null;
  timer = setTimeout(poll, pollPause(data.finished, loadTime));
}

function receive(event) {
  if (!frame || event.source !== frame.contentWindow) return;
  endPoll(performance.now() - frameSince);
  if (event.data !== shownText) showText(event.data);
}

function showText(text) {
  let next;
  try {
    next = JSON.parse(text);
  } catch {
    return; // half a file: the next load brings the rest
  }
  shownText = text;
  show(next);
}

// ---------------------------------------------------------------- events

function onTableClick({ target }) {
  const sort = target.dataset.sort;
  if (sort) return sortBy(sort);
  const node = target.closest(".entry");
  if (!node) return;
  if (target.classList.contains("copy")) return copy(target);
  const isRow = target.closest(".row") && !target.closest("a");
  const isSelecting = !target.closest("button") && String(getSelection());
  if (!isRow || isSelecting) return;
  fold(entries.get(node.dataset.id), !unfolded.has(node.dataset.id));
  showFolding();
  save();
}

// First click: the useful direction; second: reversed; third: order of declaration again.
function sortBy(column) {
  if (view.sort !== column) Object.assign(view, { sort: column, reverse: false });
  else if (!view.reverse) view.reverse = true;
  else Object.assign(view, { sort: "order", reverse: false });
  arrange();
  applyView();
}

// The clipboard API is not available over plain http: there the old command still works.
async function copy(button) {
  const code = button.previousElementSibling;
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch {
    getSelection().selectAllChildren(code);
    document.execCommand("copy");
  }
  button.textContent = "copied";
  setTimeout(() => { button.textContent = "copy"; }, 1500);
}

function toggleFilter(filter) {
  if (filter === "all") Object.assign(view, { statuses: [], session: false });
  else if (filter === "session") view.session = !view.session;
  else if (isPressed(filter)) view.statuses = view.statuses.filter((status) => status !== filter);
  else view.statuses.push(filter);
  drawChips();
  applyView();
}

function clearFilters() {
  Object.assign(view, { search: "", statuses: [], step: "", session: false });
  $("search").value = $("step").value = "";
  drawChips();
  applyView();
  $("search").focus();
}

function foldAll(open) {
  for (const entry of entries.values()) {
    const isMeant = open ? entry.row.status === "error" && !entry.node.hidden : true;
    if (isMeant && open !== unfolded.has(entry.row.id)) fold(entry, open);
  }
  showFolding();
  save();
}

function listen() {
  $("table").addEventListener("click", onTableClick);
  $("chips").addEventListener("click", ({ target }) => {
    const chip = target.closest(".chip");
    if (chip) toggleFilter(chip.dataset.filter);
  });
  $("search").addEventListener("input", () => { view.search = $("search").value; applyView(); });
  $("step").addEventListener("change", () => { view.step = $("step").value; applyView(); });
  $("expand").addEventListener("click", () => foldAll(true));
  $("collapse").addEventListener("click", () => foldAll(false));
  $("clear").addEventListener("click", clearFilters);
  window.addEventListener("message", receive);
  document.addEventListener("visibilitychange", poll);
}

function start() {
  const text = $("ductaflow-data").textContent;
  if (isPolled()) return answerPoll(text);
  restore();
  makeChips();
  listen();
  showText(text);
  setInterval(tick, 1000);
  timer = setTimeout(poll, pollPause(data.finished, 0));
}

start();
