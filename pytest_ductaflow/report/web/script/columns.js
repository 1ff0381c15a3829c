// The columns of the rows: config keys and results under the names that results() gives them, and what
// every row has.

const EVERY_ROW = {
  step: { get: (row) => row.step },
  instance: { get: (row) => row.instance },
  status: { get: statusOf },
  duration: { get: (row) => secondsOf(row) ?? undefined, numeric: true, unit: "s" },
};
const FEW = 12; // values that need no classes
const CLASSES = 8;

let columns = new Map(); // name -> {name, kind, numeric, get(row)}
let shared = new Map(); // step -> parts of names that all its instances have

function makeColumns() {
  const found = Object.entries(EVERY_ROW).map(([name, column]) => [name, { name, kind: "row", ...column }]);
  for (const { name, key, distinct, numeric } of data.columns?.config ?? []) {
    const get = (row) => row.config[row.shape.index.get(key)];
    found.push([name, { name, kind: "config", key, distinct, numeric, get }]);
  }
  for (const { name, place, numeric } of data.columns?.results ?? []) {
    const get = (row) => row.results[row.set.index.get(place)];
    found.push([name, { name, kind: "result", place, numeric, get }]);
  }
  columns = new Map(found);
  shared = sharedParts(data.rows);
}

const ofKind = (kind) => [...columns.values()].filter((column) => column.kind === kind);
const varying = () => ofKind("config").filter((column) => column.distinct > 1);
const numericColumns = () => [columns.get("duration"), ...ofKind("result").filter((column) => column.numeric)];
const number = (value) => (typeof value === "number" && Number.isFinite(value) ? value : undefined);

const namesRows = ({ distinct }) => distinct > Math.max(FEW, data.rows.length * 0.8);

// Config keys that tell instances apart, the telling ones first: those with one value for each row say
// no more than its name does.
function tellingKeys() {
  const rank = (column) => (namesRows(column) ? 2 : (data.axes ?? []).includes(column.name) ? 0 : 1);
  return varying().map((column, n) => [rank(column), n, column])
    .sort((a, b) => a[0] - b[0] || a[1] - b[1]).map(([, , column]) => column);
}

// ---- Classes: what a chart or pivot puts side by side

// Returns the classes of a column for these rows, in order: [{label, test(row), condition}].
function classesOf(column, rows) {
  const values = new Map();
  for (const row of rows) {
    const value = column.get(row);
    values.set(valueKey(value), value);
  }
  const known = [...values.values()].filter((value) => value !== undefined);
  const isNumber = (value) => number(value) !== undefined;
  const isMany = column.numeric && known.filter(isNumber).length > FEW;
  const classes = isMany ? [...ranges(known.filter(isNumber)), ...single(known.filter((value) => !isNumber(value)))] : single(known);
  return values.has(valueKey(undefined)) ? [...classes, { label: "not set", has: (v) => v === undefined, condition: "unset" }] : classes;
}

// Equal values have equal keys, and a text never that of a list.
const valueKey = (value) => (value && typeof value === "object" ? `\0${JSON.stringify(value)}` : value);

function single(values) {
  values.sort((a, b) => (typeof a === "number" && typeof b === "number" ? a - b : collator.compare(exactText(a), exactText(b))));
  return values.map((value) => {
    const key = valueKey(value);
    return { label: valueText(value), key, has: (v) => valueKey(v) === key, condition: `= ${exactText(value)}`, isSingle: true };
  });
}

function ranges(numbers) {
  const [low, high] = extent(numbers);
  const step = high / CLASSES - low / CLASSES;
  return Array.from({ length: CLASSES }, (_, n) => {
    const from = low + n * step;
    const to = n === CLASSES - 1 ? high : low + (n + 1) * step;
    const isLast = n === CLASSES - 1;
    const has = (v) => number(v) !== undefined && v >= from && (isLast ? v <= to : v < to);
    const label = `${numberText(Number(from.toPrecision(3)))} – ${numberText(Number(to.toPrecision(3)))}`;
    return { label, from, to, has, condition: `${from}..${isLast ? "" : "<"}${to}` };
  });
}

// Returns a function that gives the number of a value's class; -1 if it has none.
function classifier(classes) {
  const numbered = classes.map((each, n) => [each, n]);
  const byKey = new Map(numbered.filter(([each]) => each.isSingle).map(([{ key }, n]) => [key, n]));
  const others = numbered.filter(([each]) => !each.isSingle);
  return (value) => byKey.get(valueKey(value)) ?? others.find(([each]) => each.has(value))?.[1] ?? -1;
}

// ---- Names

const LONG_NAME = 26;
const partsOf = (name) => name.split(",");

function sharedParts(rows) {
  const counts = new Map();
  for (const { step, instance } of rows) {
    if (!counts.has(step)) counts.set(step, { rows: 0, parts: new Map() });
    const known = counts.get(step);
    known.rows += 1;
    for (const part of new Set(partsOf(instance))) known.parts.set(part, (known.parts.get(part) ?? 0) + 1);
  }
  return new Map([...counts].map(([step, { rows: all, parts }]) =>
    [step, new Set([...parts].filter(([, n]) => all > 1 && n === all).map(([part]) => part))]));
}

// A long name without the parts that all names of its step have.
function shortName(row) {
  if (row.instance.length <= LONG_NAME) return row.instance;
  const common = shared.get(row.step) ?? new Set();
  const parts = partsOf(row.instance).map((part) => (common.has(part) ? "…" : part));
  const told = parts.filter((part, n) => part !== "…" || parts[n - 1] !== "…").join(",");
  return shortened(told, 44);
}

const BACK = 14; // characters at the end of a name that are seen however narrow its column is

// The name in two parts, of which the first one gives way.
function nameSpan(row) {
  const name = shortName(row);
  const comma = name.indexOf(",", name.length - BACK);
  const cut = comma < 0 ? name.length - BACK + 4 : comma;
  const parts = name.length > 2 * BACK
    ? [el("span", { class: "front" }, name.slice(0, cut)), el("span", { class: "back" }, name.slice(cut))] : [name];
  return el("span", { class: "name", title: row.instance }, parts);
}
