// The view "pivot": two columns as axes, a third one as small multiples; each cell sums up its instances.

const MOST_CLASSES = 40;
const MEASURES = {
  mean: (values) => sum(values) / values.length,
  min: (values) => extent(values)[0],
  max: (values) => extent(values)[1],
  count: (values) => values.length,
};

function makePivot() {
  $("pivot-choices").addEventListener("change", ({ target }) => {
    view[target.dataset.choice] = target.value;
    applyView();
  });
}

// Axes that were chosen, else those that explain failing best.
function pivotAxes() {
  const names = [...varying().map((column) => column.name), "step"];
  const usable = (name) => names.includes(name);
  const wanted = (data.axes ?? []).filter(usable);
  const facet = usable(view.facet) ? view.facet : "";
  const first = (...taken) => [...wanted, ...names].find((name) => !taken.includes(name)) ?? "step";
  const x = usable(view.x) ? view.x : first(view.y, facet);
  const y = usable(view.y) ? view.y : first(x, facet);
  return { names, x, y, facet };
}

function showPivot() {
  const { names, x, y, facet } = pivotAxes();
  const numbers = numericColumns().map((column) => column.name);
  const colour = view.colour === "status" || numbers.includes(view.colour) ? view.colour : "status";
  $("pivot-choices").replaceChildren(
    choice("columns", names, x, { "data-choice": "x" }),
    choice("rows", names, y, { "data-choice": "y" }),
    choice("one table for each", [["", "—"], ...names], facet, { "data-choice": "facet" }),
    choice("colour", ["status", ...numbers], colour, { "data-choice": "colour" }),
    ...(colour === "status" ? [] : [choice("measure", Object.keys(MEASURES), view.measure, { "data-choice": "measure" })]));
  const rows = pivotRows(x, y);
  const facets = facet ? classesOf(columns.get(facet), rows).slice(0, MOST_CLASSES) : [null];
  const made = { rows, x: axisClasses(x, rows), y: axisClasses(y, rows), colour, facet };
  const left = shownRows.length - rows.length;
  put("pivot-note", left ? `${count(left, "instance")} without ${x} and ${y} not shown` : "");
  const tables = facets.map((each) => pivotCells(made, each));
  const scale = extent(tables.flatMap(({ cells }) => [...cells.values()].map((rows) => measureOf(rows, colour))).filter((value) => value !== undefined));
  $("pivot-legend").replaceChildren(colour === "status" || !Number.isFinite(scale[0]) ? "" : legend(scale, colour));
  $("pivot-tables").replaceChildren(...tables.map((each) => pivotTable(made, each, scale)));
}

// Rows of steps that know neither axis would be a corner of their own.
function pivotRows(x, y) {
  const axes = [columns.get(x), columns.get(y)];
  return shownRows.filter((row) => axes.some((column) => column.get(row) !== undefined));
}

function axisClasses(name, rows) {
  const column = columns.get(name);
  const classes = classesOf(column, rows);
  return { column, classes: classes.slice(0, MOST_CLASSES), left: Math.max(0, classes.length - MOST_CLASSES), at: classifier(classes) };
}

// Returns the rows of each cell, by "row column".
function pivotCells({ rows, x, y, facet }, only) {
  const cells = new Map();
  for (const row of rows) {
    if (only && !only.has(columns.get(facet).get(row))) continue;
    const key = `${y.at(y.column.get(row))} ${x.at(x.column.get(row))}`;
    if (!cells.has(key)) cells.set(key, []);
    cells.get(key).push(row);
  }
  return { only, cells };
}

function measureOf(rows, colour) {
  if (colour === "status") return undefined;
  const column = columns.get(colour);
  const values = rows.map((row) => number(column.get(row))).filter((value) => value !== undefined);
  return values.length ? (MEASURES[view.measure] ?? MEASURES.mean)(values) : undefined;
}

function pivotTable({ x, y, colour, facet }, { only, cells }, scale) {
  const body = y.classes.map((yClass, row) => el("tr", {},
    el("th", { scope: "row", title: yClass.label }, shortened(yClass.label, 24)),
    x.classes.map((xClass, column) => {
      const rows = cells.get(`${row} ${column}`);
      return el("td", {}, rows ? pivotCell(rows, { colour, scale, picks: [[x.column, xClass], [y.column, yClass], ...(only ? [[columns.get(facet), only]] : [])] }) : null);
    })));
  const left = [[x, "columns"], [y, "rows"]].filter(([axis]) => axis.left).map(([axis, what]) => `${axis.left} more ${what}`);
  return el("figure", { class: "pivot" },
    only ? el("figcaption", {}, `${facet} = ${only.label}`) : null,
    el("div", { class: "pivot-scroll", ...scrollable("Pivot table") }, el("table", {},
      el("thead", {},
        el("tr", {}, el("td", {}), el("th", { colspan: x.classes.length, class: "axis" }, x.column.name)),
        el("tr", {}, el("th", { class: "axis" }, y.column.name), x.classes.map(({ label }) => el("th", { scope: "col", title: label }, shortened(label, 16))))),
      el("tbody", {}, body))),
    left.length ? el("p", { class: "muted" }, `not shown: ${left.join(", ")}`) : null);
}

function pivotCell(rows, { colour, scale, picks }) {
  const where = Object.fromEntries(picks.map(([column, { condition }]) => [column.name, condition]));
  const place = picks.map(([column, { label }]) => `${column.name} ${label}`).join(", ");
  const counts = countStatuses(rows);
  const present = WORST_FIRST.filter((status) => counts[status]);
  const told = present.map((status) => `${counts[status]} ${labelOf(status)}`).join(", ");
  const value = measureOf(rows, colour);
  const isStatus = colour === "status";
  const text = isStatus ? present.map((status) => el("span", { class: "pivot-count" }, light(status), String(counts[status]))) : value === undefined ? "–" : numberText(Number(value.toPrecision(4)));
  const made = toInstances(text, { where: { ...view.where, ...where } }, {
    class: `pivot-cell ${isStatus ? present[0] : "measured"}`,
    "aria-label": `${place}: ${isStatus ? told : `${view.measure} of ${colour} ${value === undefined ? "unknown" : numberText(value)}`}`,
    title: `${place}\n${told}`,
  });
  if (isStatus) made.append(statusBar(counts, present));
  else if (value !== undefined) {
    const shade = colourAt(scale[1] > scale[0] ? shareOf(value, ...scale) : 0.5);
    Object.assign(made.style, { background: css(shade), color: inkOn(shade) });
  }
  return made;
}

function legend([low, high], colour) {
  const bar = el("span", { class: "scale", role: "img", "aria-label": "from dark blue, low, to yellow, high" });
  bar.style.background = `linear-gradient(90deg, ${SCALE.map(css).join(", ")})`;
  const unit = columns.get(colour).unit ?? "";
  return el("p", { class: "legend" }, `${view.measure} of ${colour}: ${numberText(low)} `, bar, ` ${numberText(high)} ${unit}`);
}
