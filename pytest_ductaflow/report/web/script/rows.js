// The rows of the data: unpacked (see packed_rows.py), and what they hold under one name.

const TEXTS = [
  "id", "source", "step", "kind", "status", "directory", "flow", "command",
  "message", "traceback", "code", "reason", "last_good",
  "worker", "waited_for", "held_by", "debug", "design", "lineage",
];
const TEXT_LISTS = ["inputs", "outputs", "upstreams"];
const NUMBERS = ["shard", "started", "duration", "peak_memory", "ready"];
const NAME = "\0"; // in a text: the name of the instance

function unpack(data) {
  const shapes = (data.shapes ?? []).map((paths) => shapeOf(paths.map((path) => path.join("."))));
  const sets = (data.sets ?? []).map((places) => ({ places, index: new Map(places.map((p, n) => [p, n])) }));
  const named = (data.texts ?? []).map((text) => text.includes(NAME));
  data.rows = data.rows.map((row) =>
    (Array.isArray(row) ? unpackRow(row, data, shapes, sets, named) : plainRow(row)));
  data.rows.forEach((row, index) => { row.index = index; });
  return data;
}

const shapeOf = (keys) => ({ keys, index: new Map(keys.map((key, n) => [key, n])) });
const NO_SHAPE = shapeOf([]);
const NO_SET = { places: [], index: new Map() };

function unpackRow(packed, data, shapes, sets, named) {
  const [name, texts, lists, linked, marks, numbers, shape, codes, set, results, rest] = packed;
  const text = (n) => (n < 0 ? null : named[n] ? data.texts[n].replaceAll(NAME, () => name) : data.texts[n]);
  const row = { instance: name, earlier: Boolean(marks & 1), unchanged: Boolean(marks & 2), links: {} };
  TEXTS.forEach((key, n) => { row[key] = text(texts[n] ?? -1); });
  TEXT_LISTS.forEach((key, n) => { row[key] = lists[n].map(text); });
  NUMBERS.forEach((key, n) => { row[key] = numbers[n] ?? null; });
  for (let n = 0; n < linked.length; n += 2) row.links[text(linked[n])] = text(linked[n + 1]);
  row.shape = shapes[shape] ?? NO_SHAPE;
  row.config = codes.map((code) => data.values[code]);
  row.set = sets[set] ?? NO_SET;
  row.results = results;
  return rest ? Object.assign(row, rest) : row;
}

// A row that was not packed, as it lacks what others have.
function plainRow(row) {
  const pairs = flatten(row.config);
  return {
    ...row,
    shape: shapeOf(pairs.map(([key]) => key)),
    config: pairs.map(([, value]) => value),
    set: NO_SET,
    results: [],
  };
}

// {"model": {"degree": 2}} -> [["model.degree", 2]]
function flatten(value, key = "") {
  if (value && typeof value === "object" && !Array.isArray(value) && Object.keys(value).length) {
    return Object.entries(value).flatMap(([k, v]) => flatten(v, key ? `${key}.${k}` : k));
  }
  return key ? [[key, value]] : [];
}

// An empty group has no values of its own, and an empty config none at all.
const configOf = (row) =>
  row.shape.keys.map((key, n) => [key, exactText(row.config[n])]);

const exactText = (value) => (typeof value === "string" ? value : JSON.stringify(value));

const isSettled = (row) => row.status !== "waiting" && row.status !== "running";
const isTicking = (row) => row.status === "running" && row.started && !data.finished && !hasEndedEarly();
const secondsOf = (row) => (isTicking(row) ? since(row.started) : row.duration);

function timeText(row) {
  if (isTicking(row)) return wholeDuration(since(row.started));
  return row.duration == null ? "" : duration(row.duration);
}

const stepKey = (row) => (row.stepKey ??= JSON.stringify([row.source, row.step]));
