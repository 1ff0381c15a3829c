// Which rows are shown, and in which order.

const SIGNS = {
  "=": (a, b) => a === b,
  "≠": (a, b) => a !== b,
  ">": (a, b) => a > b,
  "<": (a, b) => a < b,
  "≥": (a, b) => a >= b,
  "≤": (a, b) => a <= b,
};
const TYPED = { "==": "=", "!=": "≠", ">=": "≥", "<=": "≤" };

let shownRows = []; // what passes the filters, in the order of the data

// All searchable text of a row, built at the first search.
const haystacks = new WeakMap();

function haystack(row) {
  let found = haystacks.get(row);
  if (!found) {
    const config = configOf(row);
    const files = row.differences?.map((difference) => difference.file) ?? [];
    const words = [row.instance, row.step, row.source, row.message ?? "", ...files];
    found = {
      words: [...words, ...config.map(([, value]) => value)].join("\n").toLowerCase(),
      pairs: config.map((pair) => pair.join("=")).join("\n").toLowerCase(),
    };
    haystacks.set(row, found);
  }
  return found;
}

const AT_A_TIME = 500; // rows: a few milliseconds

// Builds the texts while nothing else is to be done, so that the first key is as quick as the others.
function prepareSearch(rows, from = 0) {
  if (rows !== data.rows || from >= rows.length) return;
  rows.slice(from, from + AT_A_TIME).forEach(haystack);
  setTimeout(() => prepareSearch(rows, from + AT_A_TIME), 10);
}

// Numbers that JSON lacks arrive as text.
const UNWRITTEN = new Map([["nan", NaN], ["inf", Infinity], ["-inf", -Infinity]]);
const numberIn = (value) => (typeof value === "number" ? value : UNWRITTEN.get(value));

// Returns a test for a condition such as "> 0.4", "= rail", "2030..2040", "2030..<2040" (without its end), "unset",
// or a part of a text.
function conditionOf(text) {
  const typed = text.trim();
  if (typed === "unset") return (value) => value === undefined;
  if (typed === "set") return (value) => value !== undefined;
  const range = /^(-?[\d.]+(?:e[-+]?\d+)?)\s*\.\.(<?)\s*(-?[\d.]+(?:e[-+]?\d+)?)$/i.exec(typed);
  if (range) {
    const [low, high] = [Number(range[1]), Number(range[3])];
    const isBelow = range[2] ? SIGNS["<"] : SIGNS["≤"];
    return (value) => {
      const known = numberIn(value) ?? (typeof value === "string" && value.trim() ? Number(value) : NaN);
      return known >= low && isBelow(known, high);
    };
  }
  const [, sign, operand] = /^(==|!=|>=|<=|[=≠<>≥≤])\s*(.*)$/s.exec(typed) ?? [];
  if (!sign) return (value) => value !== undefined && exactText(value).toLowerCase().includes(typed.toLowerCase());
  const test = SIGNS[TYPED[sign] ?? sign];
  const wanted = Number(operand);
  const isNumber = operand !== "" && !Number.isNaN(wanted);
  return (value) => {
    if (value === undefined) return sign === "≠" || sign === "!=";
    const known = isNumber ? numberIn(value) : undefined;
    return known === undefined ? test(exactText(value).trim(), operand) : test(known, wanted);
  };
}

// "cause:…" and "change:…" name rows that Python has put together.
function among(name) {
  if (name.startsWith("cause:")) {
    const cause = (data.causes ?? []).find((each) => causeKey(each) === name);
    return new Set(cause?.rows ?? []);
  }
  const { rows = {}, moved = [] } = data.changes ?? {};
  if (name.startsWith("moved:")) return new Set(moved.find((each) => `moved:${each.name}` === name)?.rows ?? []);
  return new Set(new Map(Object.entries(rows)).get(name.replace(/^change:/, "")) ?? []);
}

const causeKey = ({ status, step, flow, cell, type, message }) =>
  `cause:${[status, step, flow, cell ?? "", type, message].join("|")}`;

function filterRows() {
  shownRows = passing(view.step);
}

// Returns the rows that pass the filters, of one step or of all.
function passing(step) {
  const wanted = view.search.toLowerCase().split(/\s+/).filter(Boolean);
  const picked = view.among ? among(view.among) : null;
  const conditions = Object.entries(view.where).filter(([name]) => columns.has(name))
    .map(([name, text]) => [columns.get(name), conditionOf(text)]);
  const statuses = new Set(view.statuses);
  return data.rows.filter((row) => {
    if (statuses.size && !statuses.has(statusOf(row))) return false;
    if (view.session && row.earlier) return false;
    if (step && step !== stepKey(row)) return false;
    if (picked && !picked.has(row.index)) return false;
    if (!conditions.every(([column, test]) => test(column.get(row)))) return false;
    if (!wanted.length) return true;
    const { words, pairs } = haystack(row);
    return wanted.every((word) => words.includes(word) || (word.includes("=") && pairs.includes(word)));
  });
}

const SORT_KEYS = {
  order: () => 0,
  status: (row) => WORST_FIRST.indexOf(statusOf(row)),
  step: (row) => row.step,
  name: (row) => row.instance,
  duration: (row) => (secondsOf(row) == null ? null : -secondsOf(row)),
};

// Rows without a value come last in either direction.
function sorted(rows, keyOf, reverse) {
  const keyed = rows.map((row) => [keyOf(row) ?? null, row]);
  keyed.sort(([x, a], [y, b]) => {
    if (x === null || y === null) return (x === null) - (y === null) || a.index - b.index;
    const order = typeof x === "number" && typeof y === "number" ? x - y : collator.compare(exactText(x), exactText(y));
    return order * (reverse ? -1 : 1) || a.index - b.index;
  });
  return keyed.map(([, row]) => row);
}

function isPressed(filter) {
  if (filter === "all") return !view.statuses.length && !view.session;
  return filter === "session" ? view.session : view.statuses.includes(filter);
}

function toggleFilter(filter) {
  if (filter === "all") Object.assign(view, { statuses: [], session: false });
  else if (filter === "session") view.session = !view.session;
  else if (isPressed(filter)) view.statuses = view.statuses.filter((status) => status !== filter);
  else view.statuses = [...view.statuses, filter];
  applyView();
}

function clearFilters() {
  const { search, statuses, step, session, where } = structuredClone(DEFAULTS);
  Object.assign(view, { search, statuses, step, session, where, among: "" });
  $("search").value = $("step").value = "";
  applyView();
  $("search").focus();
}

// The conditions on columns, each with a button that drops it.
function drawConditions() {
  const named = Object.entries(view.where).map(([name, text]) => [`${name} ${text}`, () => { delete view.where[name]; }]);
  if (view.among) named.unshift([amongText(view.among), () => { view.among = ""; }]);
  $("conditions").replaceChildren(...named.map(([text, drop]) => {
    const chip = button(el("span", {}, text), { class: "condition", "aria-label": `Drop the filter ${text}` });
    chip.addEventListener("click", () => { drop(); applyView(); });
    return chip;
  }));
}

function amongText(name) {
  if (name.startsWith("moved:")) return `${name.slice("moved:".length)} has moved`;
  if (name.startsWith("change:")) return name.slice("change:".length);
  const cause = (data.causes ?? []).find((each) => causeKey(each) === name);
  return cause ? shortened(causeTitle(cause), 70) : "a cause that is no more";
}
