// The view "instances": a list with the config keys that tell them apart, and details to unfold.

let list = null; // the WindowedList
let shownKeys = []; // columns of config keys in the list
let drawnTexts = new Map(); // id -> what its element shows

const MOST_KEYS = 8;

function makeInstances() {
  list = new WindowedList($("rows"), drawEntry);
  $("table").addEventListener("click", onTableClick);
  $("expand").addEventListener("click", () => foldAll(true));
  $("collapse").addEventListener("click", () => foldAll(false));
  window.addEventListener("resize", () => { if (chooseKeys()) showInstances(true); });
}

// As many config keys as there is room for. Returns whether they are others than before.
function chooseKeys() {
  const width = $("table").clientWidth || window.innerWidth;
  let room = width < NARROW ? Infinity : width - (hasMessages() ? OTHERS + MESSAGE : OTHERS);
  const keys = tellingKeys().slice(0, MOST_KEYS).filter((column) => {
    room -= DIGIT * widthOf(column) + GAP;
    return room >= 0;
  });
  const isOther = keys.map((key) => key.name).join("\n") !== shownKeys.map((key) => key.name).join("\n");
  shownKeys = keys;
  drawHead();
  return isOther;
}

const NARROW = 896; // pixels: as in media.css
const OTHERS = 720; // pixels of the other columns
const MESSAGE = 130; // pixels of a message at least
const [DIGIT, GAP] = [8.5, 12];

const hasMessages = () => shownRows.some((row) => messageOf(row) || row.flows?.length);

function drawHead() {
  const widths = shownKeys.map((column) => `${widthOf(column)}ch`).join(" ");
  const step = new Set(shownRows.map((row) => row.step)).size > 1 || shownRows.some((row) => row.step.length > 9)
    ? "clamp(5.5rem, 9vw, 13rem)" : "5rem";
  const name = hasMessages() ? "minmax(10rem, 1fr)" : "minmax(10rem, 3fr)";
  const message = hasMessages() ? "minmax(0, 1.6fr)" : "0";
  $("table").style.setProperty("--columns", `3.9rem ${step} ${widths} ${name} 6.2rem ${message} 13.5rem`);
  $("head-keys").replaceChildren(...shownKeys.map((column) =>
    el("div", { role: "columnheader", class: column.numeric ? "config-cell number" : "config-cell", title: column.name }, column.key)));
}

// Characters that a column needs: a mono-spaced digit is one wide.
function widthOf(column) {
  const texts = shownRows.slice(0, 300).map((row) => valueText(column.get(row)).length);
  return Math.min(16, Math.max(5, column.key.length + 1, ...texts.map((length) => length + 1)));
}

function drawEntry(row, node) {
  const open = unfolded.has(row.id);
  const status = statusOf(row);
  const remark = row.earlier && status !== "not-run" ? ", from an earlier session" : "";
  node.className = `entry ${status}${row.earlier ? " earlier" : ""}${open ? " open" : ""}`;
  node.dataset.id = row.id;
  drawnTexts.set(row.id, textOf(row));
  node.replaceChildren(
    el("div", { class: "row", role: "row", "aria-rowindex": row.index + 2 },
      cell("light",
        el("button", { type: "button", class: "fold", "aria-expanded": open,
                       "aria-label": `Details of ${row.step} ${row.instance}` }),
        light(status, remark)),
      cell("step", row.step, el("span", { class: "source" }, row.source)),
      el("div", { class: "keys", role: "presentation" }, shownKeys.map((column) => keyCell(column, row))),
      cell("name",
        nameSpan(row),
        row.unchanged ? el("span", { class: "badge" }, "unchanged") : null),
      cell("time", timeText(row)),
      cell("message",
        row.flows?.length ? el("span", { class: "lights" }, row.flows.map(flowLight)) : null,
        messageOf(row) ? el("span", { class: "message", title: messageOf(row) }, messageOf(row)) : null),
      cell("links", links(row.links))));
  if (open) node.append(details(row));
}

function keyCell(column, row) {
  const text = valueText(column.get(row));
  const kind = text ? "config-cell" : "config-cell unset";
  return el("div", { role: "cell", class: column.numeric ? `${kind} number` : kind, title: `${column.name} = ${text}` },
    el("span", { class: "key" }, `${column.key}=`), text);
}

// Of a running instance, what it has printed last.
const messageOf = (row) => row.message ?? (row.status === "running" ? (hasEndedEarly() ? "was running when the session ended" : row.last_line) : null);

function flowLight(flow) {
  return light(flow.status, `: ${flow.flow} ${flow.instance ?? ""}`);
}

// What an element shows, as text: equal texts need no new element.
const textOf = (row) =>
  JSON.stringify([{ ...row, index: 0, set: 0 }, shownKeys.map((key) => key.name), isTicking(row)]);

function showInstances(isNew = false) {
  const order = view.sort === "order" ? shownRows : sorted(shownRows, SORT_KEYS[view.sort], view.reverse);
  const byId = new Map(order.map((row) => [row.id, row]));
  chooseKeys();
  $("table").setAttribute("aria-rowcount", order.length + 1);
  $("nothing").hidden = data.rows.length > 0;
  $("no-match").hidden = order.length > 0 || !data.rows.length;
  for (const head of document.querySelectorAll("[data-sort]")) {
    const direction = view.reverse ? "descending" : "ascending";
    head.parentElement.ariaSort = head.dataset.sort === view.sort ? direction : "none";
  }
  list.show(order, (id) => isNew || (byId.has(id) && drawnTexts.get(id) !== textOf(byId.get(id))));
  showFolding();
}

function showFolding() {
  const known = new Set(data.rows.map((row) => row.id));
  $("collapse").hidden = ![...unfolded].some((id) => known.has(id));
}

function onTableClick({ target }) {
  const sort = target.dataset.sort;
  if (sort) return sortBy(sort);
  const node = target.closest(".entry");
  if (!node) return;
  if (target.classList.contains("copy")) return copy(target);
  const isRow = target.closest(".row") && !target.closest("a");
  const isSelecting = !target.closest("button") && String(getSelection());
  if (!isRow || isSelecting) return;
  fold(node.dataset.id, !unfolded.has(node.dataset.id));
  list.render();
  showFolding();
  save();
}

function fold(id, open) {
  if (open === unfolded.has(id)) return;
  if (open) unfolded.add(id);
  else unfolded.delete(id);
  list.heights.delete(id);
  const each = list.drawn.get(id);
  if (!each) return;
  each.node.classList.toggle("open", open);
  each.node.querySelector(".fold").setAttribute("aria-expanded", open);
  each.node.querySelector(".details")?.remove();
  if (open) each.node.append(details(each.row));
}

function foldAll(open) {
  const meant = open ? shownRows.filter((row) => row.status === "error").map((row) => row.id) : [...unfolded];
  for (const id of meant) {
    if (open !== unfolded.has(id)) fold(id, open);
  }
  list.measureOffsets();
  list.render();
  showFolding();
  save();
}

// First click: the useful direction; second: reversed; third: order of declaration again.
function sortBy(column) {
  if (view.sort !== column) Object.assign(view, { sort: column, reverse: false });
  else if (!view.reverse) view.reverse = true;
  else Object.assign(view, { sort: "order", reverse: false });
  applyView();
}

// Opens the list at one instance, unfolded.
function openInstance(row) {
  fold(row.id, true);
  Object.assign(view, { view: "instances", search: "", statuses: [], step: "", session: false, where: {}, among: "" });
  $("search").value = "";
  applyView();
  const place = list.rows.findIndex((each) => each.id === row.id);
  window.scrollTo(0, $("rows").getBoundingClientRect().top + window.scrollY + list.offsets[place] - 150);
  list.render();
}
