// The view "gallery": the same figure of many instances side by side, two of them on top of each other, and
// each in full size. Entries of rows are as in figures/entries.py: [key, small copy, own file, reason].

const FIGURE_FOLDER = ".figures";
const TILE_WIDTHS = { small: 160, medium: 240, large: 400 }; // pixels
const TILE_GAP = 10;
const SIDE_HEAD = 120; // pixels of the head of a line, if lines are classes
const MOST_LABELS = 5; // config keys below a figure
const MOST_IN_CELL = 4; // figures
const OUR_NAME = /^[\w-]+\.\w+$/;

let galleryList = null; // the WindowedList of lines
let galleryItems = []; // figures that are shown: [{row, entry}], in the order of the view
let drawnLines = new Map(); // id -> what the line shows
let galleryLabels = []; // columns that tell these instances apart
let tileLabels = []; // of these, the ones that no axis tells
let divider = 50; // percent of the comparison that show the first figure
let figuresByKey = { data: null, keys: new Map() };

function makeGallery() {
  galleryList = new WindowedList($("gallery"), drawLine);
  $("gallery-choices").addEventListener("change", ({ target }) => {
    view[target.dataset.choice] = target.value;
    applyView();
  });
  $("view-gallery").addEventListener("click", ({ target }) => {
    const pressed = target.closest("[data-open], [data-compare]");
    if (pressed?.dataset.open) openFigure(pressed.dataset.open);
    else if (pressed) toggleCompared(pressed.dataset.compare);
  });
  window.addEventListener("resize", () => { if (view.view === "gallery") showGallery(); });
  $("figure-dialog").addEventListener("keydown", onDialogKey);
  $("figure-dialog").addEventListener("click", ({ target }) => { if (target === $("figure-dialog")) target.close(); });
}

// ---- Which figures there are

// Returns, for each key, the entries by number of the row.
function figureKeys() {
  if (figuresByKey.data === data) return figuresByKey.keys;
  const found = new Map();
  for (const row of data.rows) {
    for (const entry of Array.isArray(row.figures) ? row.figures.filter(isEntry) : []) {
      if (!found.has(entry[0])) found.set(entry[0], new Map());
      found.get(entry[0]).set(row.index, entry);
    }
  }
  const isInNotebook = ([, entries]) => Boolean(entries.values().next().value[2]);
  const ordered = [...found].sort((a, b) =>
    b[1].size - a[1].size || isInNotebook(a) - isInNotebook(b) || collator.compare(a[0], b[0]));
  figuresByKey = { data, keys: new Map(ordered) };
  return figuresByKey.keys;
}

const isEntry = (each) => Array.isArray(each) && each.length > 0 && each.every((part) => typeof part === "string");

function chosenFigure(keys) {
  return keys.has(view.figure) ? view.figure : keys.keys().next().value;
}

const labelOfFigure = (row) => `${row.step}/${row.instance}`;

function showGallery() {
  const keys = figureKeys();
  const key = chosenFigure(keys);
  const entries = keys.get(key) ?? new Map();
  const axes = galleryAxes();
  const rows = shownRows.filter((row) => entries.has(row.index));
  galleryLabels = labelColumns(rows);
  tileLabels = galleryLabels.filter((column) => column !== axes.x && column !== axes.y);
  const width = TILE_WIDTHS[view.tile] ?? TILE_WIDTHS.medium;
  $("view-gallery").style.setProperty("--tile", `${width}px`);
  drawGalleryChoices(keys, key, axes);
  const items = rows.map((row) => ({ row, entry: entries.get(row.index) }));
  const lines = axes.x || axes.y ? classLines(items, axes) : wrappedLines(items, width);
  galleryItems = lines.flatMap((line) => line.cells.flatMap((cell) => cell.all));
  const left = shownRows.length - rows.length;
  put("gallery-note", keys.size && left ? `${count(left, "instance")} without this figure` : "");
  $("gallery-empty").hidden = items.length > 0;
  put("gallery-empty", keys.size ? "No instance with this figure matches" : "No instance has a figure yet");
  drawPair(entries);
  galleryList.show(lines, (id) => drawnLines.get(id) !== lineTexts.get(id));
}

// ---- Choices

function galleryAxes() {
  const names = [...varying().map((column) => column.name), "step"];
  const usable = (name) => (names.includes(name) ? columns.get(name) : null);
  return { names, x: usable(view.gx), y: usable(view.gy) };
}

// A choice that is not another one is not touched: it may be open.
function drawGalleryChoices(keys, key, { names, x, y }) {
  const figures = [...keys].map(([name, entries]) => [name, `${shortened(name, 60)} (${entries.size.toLocaleString("en")})`]);
  const text = JSON.stringify([figures, key, names, x?.name, y?.name, view.tile]);
  const box = $("gallery-choices");
  if (box.dataset.made === text) return;
  box.dataset.made = text;
  const sizes = Object.keys(TILE_WIDTHS);
  box.replaceChildren(...(keys.size ? [
    choice("figure", figures, key, { "data-choice": "figure" }),
    choice("columns", [["", "—"], ...names], x?.name ?? "", { "data-choice": "gx" }),
    choice("rows", [["", "—"], ...names], y?.name ?? "", { "data-choice": "gy" }),
    choice("size", sizes, sizes.includes(view.tile) ? view.tile : "medium", { "data-choice": "tile" }),
  ] : []));
}

// The config keys that differ between these rows.
function labelColumns(rows) {
  const differs = (column) => {
    const first = rows.length ? valueKey(column.get(rows[0])) : undefined;
    return rows.some((row) => valueKey(column.get(row)) !== first);
  };
  return [columns.get("step"), ...tellingKeys()].filter(differs).slice(0, MOST_LABELS);
}

// ---- Lines: what the windowed list shows, each with cells of figures

let lineTexts = new Map(); // id -> what the line is to show

function madeLines(lines) {
  const labels = tileLabels.map((column) => column.name);
  lineTexts = new Map(lines.map((line) => [line.id, JSON.stringify([line.label, labels, line.cells.map((cell) => [
    cell.left, cell.shown.map(({ row, entry }) => [row.id, statusOf(row), row.started, entry, view.pair.includes(row.id)]),
  ])])]));
  return lines;
}

function wrappedLines(items, width) {
  const room = $("gallery").clientWidth || window.innerWidth;
  const each = Math.max(1, Math.floor((room + TILE_GAP) / (width + TILE_GAP)));
  $("gallery-head").replaceChildren();
  $("gallery-scroll").style.setProperty("--line", `repeat(${each}, minmax(0, 1fr))`);
  return madeLines(Array.from({ length: Math.ceil(items.length / each) }, (_, n) => {
    const cells = items.slice(n * each, (n + 1) * each).map((item) => ({ all: [item], shown: [item], left: 0 }));
    return { id: `line ${n} of ${each}`, label: null, cells };
  }));
}

function classLines(items, { x, y }) {
  const rows = items.map(({ row }) => row);
  const across = x ? axisClasses(x.name, rows) : null;
  const down = y ? axisClasses(y.name, rows) : null;
  const width = across ? "var(--across)" : "minmax(0, 1fr)";
  const head = down ? `${SIDE_HEAD}px ` : "";
  $("gallery-scroll").style.setProperty("--line", `${head}repeat(${across?.classes.length ?? 1}, ${width})`);
  drawGalleryHead(across, down);
  const cells = new Map();
  for (const item of items) {
    const place = `${down ? down.at(y.get(item.row)) : 0} ${across ? across.at(x.get(item.row)) : 0}`;
    if (!cells.has(place)) cells.set(place, []);
    cells.get(place).push(item);
  }
  return madeLines((down?.classes ?? [null]).map((yClass, n) => ({
    id: `class ${n}`,
    label: yClass ? yClass.label : null,
    cells: (across?.classes ?? [null]).map((xClass, m) => {
      const all = cells.get(`${n} ${m}`) ?? [];
      const most = across ? MOST_IN_CELL : 3 * MOST_IN_CELL;
      const picks = [[x, xClass], [y, yClass]].filter(([, each]) => each);
      return { all, shown: all.slice(0, most), left: Math.max(0, all.length - most), picks };
    }),
  })));
}

function drawGalleryHead(across, down) {
  const left = [[across, "columns"], [down, "rows"]].filter(([axis]) => axis?.left).map(([axis, what]) => `${axis.left} more ${what} not shown`);
  $("gallery-head").replaceChildren(
    ...(down ? [el("div", { class: "axis" }, down.column.name)] : []),
    ...(across ? across.classes.map(({ label }) => el("div", { class: "axis", title: label }, el("span", { class: "muted" }, `${across.column.name} = `), shortened(label, 24))) : []),
    ...(left.length ? [el("div", { class: "muted" }, left.join(", "))] : []));
}

function drawLine(line, node) {
  drawnLines.set(line.id, lineTexts.get(line.id));
  node.className = "gallery-line";
  node.setAttribute("role", "list");
  node.replaceChildren(
    ...(line.label === null ? [] : [el("div", { class: "side", title: line.label }, line.label)]),
    ...line.cells.map((cell) => el("div", { class: "gallery-cell", role: "presentation" },
      cell.shown.map(drawTile), cell.left ? moreOf(cell) : null)));
}

function moreOf({ left, picks }) {
  const more = button(`and ${left.toLocaleString("en")} more`, { class: "to" });
  more.addEventListener("click", () => {
    const where = Object.fromEntries(picks.map(([column, { condition }]) => [column.name, condition]));
    Object.assign(view, { gx: "", gy: "", where: { ...view.where, ...where } });
    applyView();
  });
  return more;
}

// ---- A figure

function drawTile({ row, entry }) {
  const name = labelOfFigure(row);
  const isCompared = view.pair.includes(row.id);
  return el("figure", { class: "tile", role: "listitem" },
    el("button", { type: "button", class: "tile-open", "data-open": row.id, "aria-label": `Show ${entry[0]} of ${name}` },
      picture(row, entry, true)),
    el("figcaption", { title: name }, light(statusOf(row)), el("span", { class: "tile-label" }, labelText(row, tileLabels)),
      button("compare", { class: "compare", "data-compare": row.id, "aria-pressed": isCompared, "aria-label": `Compare ${name}` })));
}

function labelText(row, labels = galleryLabels) {
  const told = labels.map((column) => [column.key ?? column.name, column.get(row)]).filter(([, value]) => value !== undefined);
  if (!told.length) return galleryLabels.length ? [] : [shortName(row)]; // the axes tell all
  return told.map(([key, value], n) => el("span", {}, n ? " " : "", el("span", { class: "muted" }, `${key}=`), shortened(valueText(value), 30)));
}

// Where the image itself is. Another run writes other images with the same names: the time distinguishes them.
function sourceOf(row, [key, , own = ""]) {
  if (OUR_NAME.test(own)) return href(`${FIGURE_FOLDER}/${own}`);
  return `${href(`${row.directory}/${key}`)}?${encodeURIComponent(row.started ?? "")}`;
}

// An image, small or in full. One that cannot be shown, or loaded, is a text.
function picture(row, entry, isSmall) {
  const [key, small = "", , reason = ""] = entry;
  const text = (why) => el("span", { class: "no-picture" }, `${shortened(key, 80)}: ${why}`);
  if (reason) return text(reason);
  const whole = sourceOf(row, entry);
  const first = isSmall && OUR_NAME.test(small) ? href(`${FIGURE_FOLDER}/${small}`) : whole;
  const image = el("img", { src: first, alt: `${key} of ${labelOfFigure(row)}`, loading: isSmall ? "lazy" : null, decoding: "async", draggable: "false" });
  image.addEventListener("error", () => {
    if (first !== whole && image.getAttribute("src") === first) image.src = whole;
    else image.replaceWith(text("could not be shown"));
  });
  return image;
}

// ---- Two figures, compared

function toggleCompared(id) {
  view.pair = view.pair.includes(id) ? view.pair.filter((each) => each !== id) : [...view.pair.slice(-1), id];
  applyView();
  const again = [...document.querySelectorAll("[data-compare]")].find((each) => each.dataset.compare === id);
  again?.focus({ preventScroll: true }); // its line was drawn anew
  if (view.pair.length === 2) $("gallery-pair").scrollIntoView({ block: "nearest" });
}

// The comparison is not drawn anew while it shows the same: somebody may be moving the divider.
function drawPair(entries) {
  const box = $("gallery-pair");
  const rows = view.pair.map((id) => data.rows.find((row) => row.id === id)).filter((row) => row && entries.has(row.index));
  const text = JSON.stringify([rows.map((row) => [row.id, row.started, entries.get(row.index)]), galleryLabels.map((column) => column.name)]);
  box.hidden = !rows.length;
  if (box.dataset.made === text) return;
  box.dataset.made = text;
  const close = button("end the comparison");
  close.addEventListener("click", () => { view.pair = []; applyView(); });
  if (rows.length < 2) {
    box.replaceChildren(...rows.map((row) => el("p", {}, "Choose a second figure to compare with ", el("b", {}, labelText(row)), ". ", close)));
    return;
  }
  const swap = button("swap");
  swap.addEventListener("click", () => { view.pair = [...view.pair].reverse(); applyView(); });
  const sides = rows.map((row) => el("span", { class: "side-label", title: labelOfFigure(row) }, light(statusOf(row)), " ", labelText(row)));
  box.replaceChildren(el("div", { class: "pair-head" }, ...sides), overlay(rows, entries), el("div", { class: "pair-tools" }, swap, close));
}

// The first figure on the left of a divider, the second one on its right. The divider is a slider, so that the
// arrow keys move it, too.
function overlay(rows, entries) {
  const [first, second] = rows.map((row) => picture(row, entries.get(row.index), false));
  const line = el("span", { class: "divider", "aria-hidden": "true" });
  const slider = el("input", { type: "range", min: 0, max: 100, step: 1, value: divider, "aria-label": `Divider between ${rows.map(labelOfFigure).join(" and ")}` });
  const upper = el("div", { class: "upper" }, first);
  const move = () => {
    divider = Number(slider.value);
    upper.style.clipPath = `inset(0 ${100 - divider}% 0 0)`;
    line.style.left = `${divider}%`;
  };
  slider.addEventListener("input", move);
  move();
  return el("div", { class: "overlay" }, el("div", { class: "lower" }, second), upper, line, slider);
}

// ---- A figure in full size

let openedFigure = null; // id of its row

function openFigure(id) {
  const dialog = $("figure-dialog");
  const at = galleryItems.findIndex(({ row }) => row.id === id);
  if (at < 0) return;
  openedFigure = id;
  const { row, entry } = galleryItems[at];
  const toInstance = button(labelOfFigure(row), { class: "to" });
  toInstance.addEventListener("click", () => { dialog.close(); openInstance(row); });
  const tools = [["previous", -1], ["next", 1]].map(([name, step]) => {
    const made = button(name, { disabled: galleryItems[at + step] ? null : "" });
    made.addEventListener("click", () => stepFigure(step));
    return made;
  });
  const whole = button("actual size", { "aria-pressed": dialog.classList.contains("whole") });
  whole.addEventListener("click", () => whole.setAttribute("aria-pressed", dialog.classList.toggle("whole")));
  const close = button("close");
  close.addEventListener("click", () => dialog.close());
  const focused = document.activeElement?.closest("#figure-dialog") ? document.activeElement.textContent : "";
  dialog.replaceChildren(
    el("div", { class: "dialog-head" }, light(statusOf(row)), toInstance, el("span", { class: "muted" }, `${shortened(entry[0], 60)}, ${at + 1} of ${galleryItems.length}`),
      el("span", { class: "dialog-tools" }, ...tools, whole, close)),
    el("p", { class: "dialog-label" }, labelText(row)),
    el("div", { class: "dialog-picture", ...scrollable(`${entry[0]} of ${labelOfFigure(row)}`) }, picture(row, entry, false)));
  if (!dialog.open) dialog.showModal();
  const again = [...dialog.querySelectorAll("button:not([disabled])")].find((each) => each.textContent === focused);
  (again ?? close).focus();
}

function stepFigure(step) {
  const at = galleryItems.findIndex(({ row }) => row.id === openedFigure);
  const next = galleryItems[at + step];
  if (next) openFigure(next.row.id);
}

function onDialogKey(event) {
  const isMoving = $("figure-dialog").classList.contains("whole") && event.target.closest(".dialog-picture");
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step || isMoving) return; // the arrows scroll a figure that does not fit
  event.preventDefault();
  stepFigure(step);
}
