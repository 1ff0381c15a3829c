// What the reader has chosen. It is in the address, so that a view can be sent to others, and in the
// tab's storage with what is unfolded, so that it survives a reload.

const DEFAULTS = {
  view: "groups", // also: instances, pivot, results, gallery, graph, timeline
  search: "",
  statuses: [],
  step: "",
  session: false,
  among: "", // rows of a cause or a change: see `among` in filters.js
  where: {}, // conditions by column: {"year": "≥ 2040"}
  sort: "order",
  reverse: false,
  x: "",
  y: "",
  facet: "",
  colour: "status",
  measure: "mean",
  chart: "scatter",
  cx: "",
  cy: "",
  by: "",
  order: "", // column that sorts the results
  down: false,
  hidden: [], // columns that the results do not show
  figure: "",
  gx: "",
  gy: "",
  tile: "medium",
  pair: [], // ids of the instances whose figures are compared
  stretch: "", // the part of the time that the timeline shows, by its beginning
  lanes: "workers", // also: instances
  span: "", // what is enlarged of it: "12.5..40" seconds
};
// Names in the address, where they are not those above.
const ADDRESS = { search: "q", statuses: "status" };
const STORE = `ductaflow-2:${location.pathname}`; // 2: the shape of what is kept

let view = structuredClone(DEFAULTS);
let unfolded = new Set();

function addressOf(state) {
  const parts = new URLSearchParams();
  for (const [name, usual] of Object.entries(DEFAULTS)) {
    const value = state[name];
    if (JSON.stringify(value) === JSON.stringify(usual) && name !== "view") continue;
    if (name === "where") {
      for (const [column, condition] of Object.entries(value)) parts.append(`where.${column}`, condition);
    } else if (Array.isArray(usual)) {
      for (const each of value) parts.append(ADDRESS[name] ?? name, each);
    } else {
      parts.set(ADDRESS[name] ?? name, String(value));
    }
  }
  return `#${parts}`;
}

// Unknown names and values of an address are left out: it may have been typed.
function stateOf(address) {
  const parts = new URLSearchParams(address.replace(/^#/, ""));
  const state = structuredClone(DEFAULTS);
  for (const [name, usual] of Object.entries(DEFAULTS)) {
    const given = parts.getAll(ADDRESS[name] ?? name);
    if (Array.isArray(usual)) state[name] = given;
    else if (!given.length || name === "where") continue;
    else state[name] = typeof usual === "boolean" ? given[0] === "true" : given[0];
  }
  for (const [name, condition] of parts) {
    if (name.startsWith("where.")) state.where[name.slice("where.".length)] = condition;
  }
  state.statuses = state.statuses.filter((status) => STATUSES.includes(status));
  if (!VIEWS.includes(state.view)) state.view = DEFAULTS.view;
  if (!(state.sort in SORT_KEYS)) state.sort = DEFAULTS.sort;
  return state;
}

function save() {
  const address = addressOf(view);
  try {
    if (location.hash !== address) history.replaceState(null, "", address);
    sessionStorage.setItem(STORE, JSON.stringify({ view, unfolded: [...unfolded] }));
  } catch { /* storage is full or forbidden: nothing is kept */ }
}

// An address goes before what is kept.
function restore() {
  try {
    const saved = JSON.parse(sessionStorage.getItem(STORE));
    view = { ...view, ...saved.view };
    unfolded = new Set(saved.unfolded);
  } catch { /* nothing was kept */ }
  if (location.hash.includes("=")) view = stateOf(location.hash);
  $("search").value = view.search;
}
