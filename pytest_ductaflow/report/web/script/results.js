// The view "results": a chart of two columns, parallel coordinates, what inputs matter, and all values in a table.

const MOST_LINES = 1000;
const MOST_POINTS = 3000;
const MOST_AXES = 9;
const CHART = { width: 560, height: 300, left: 70, top: 24, right: 16, bottom: 44 };

let resultList = null;
let drawnHead = "";

function makeResults() {
  resultList = new WindowedList($("result-rows"), drawResultRow, $("result-box"));
  $("chart-choices").addEventListener("change", ({ target }) => {
    view[target.dataset.choice] = target.value;
    applyView();
  });
  $("result-head").addEventListener("click", ({ target }) => { if (target.dataset.order != null) orderBy(target.dataset.order); });
  $("result-head").addEventListener("input", ({ target }) => setCondition(target.dataset.where, target.value));
  $("result-choices").addEventListener("change", ({ target }) => {
    const hidden = new Set(view.hidden);
    if (target.checked) hidden.delete(target.value);
    else hidden.add(target.value);
    view.hidden = [...hidden];
    applyView();
  });
  $("download").addEventListener("click", download);
}

function setCondition(name, text) {
  const { [name]: _, ...others } = view.where;
  view.where = text.trim() ? { ...others, [name]: text } : others;
  applyView();
}

function orderBy(name) {
  if (view.order !== name) Object.assign(view, { order: name, down: false });
  else if (!view.down) view.down = true;
  else Object.assign(view, { order: "", down: false });
  applyView();
}

const resultColumns = () =>
  ["step", "instance", "status", "duration"].map((name) => columns.get(name)).concat(varying(), ofKind("result"));
const visibleColumns = () => resultColumns().filter((column) => !view.hidden.includes(column.name));
const resultRows = () =>
  (columns.has(view.order) ? sorted(shownRows, orderOf(columns.get(view.order)), view.down) : shownRows);

// Among numbers, what is none comes last.
const orderOf = ({ get, numeric }) => (numeric ? (row) => (Number.isNaN(numberIn(get(row))) ? null : numberIn(get(row)) ?? get(row)) : get);

const TYPING = 150; // milliseconds after a key in which the next one may come

let isDrawing = false; // charts wait until nobody types, so that keys are not kept waiting
let chartTimer = 0;
let chartsOf = null; // the data of which charts, and what inputs matter, are shown

function showResults() {
  showResultTable();
  const isNew = chartsOf !== data;
  if (isNew) $("result-importance").replaceChildren(importancePart(100) ?? "");
  chartsOf = data;
  isDrawing = true;
  clearTimeout(chartTimer);
  chartTimer = setTimeout(() => {
    showChart();
    showParallel();
    isDrawing = false;
  }, isNew ? 0 : TYPING);
}

// ---- The chart

function chartAxes() {
  const numbers = numericColumns().map((column) => column.name);
  const results = numbers.filter((name) => name !== "duration");
  const told = (data.importance ?? []).map(({ target }) => target).find((name) => results.includes(name));
  const y = numbers.includes(view.cy) ? view.cy : told ?? results[0] ?? "duration";
  const best = (data.importance ?? []).find(({ target }) => target === y)?.inputs[0]?.[0];
  const names = [...varying().map((column) => column.name), ...numbers, "step"];
  const x = names.includes(view.cx) ? view.cx : best ?? names[0];
  return { names, numbers, x, y, by: names.includes(view.by) || view.by === "status" ? view.by : "" };
}

function showChart() {
  const { names, numbers, x, y, by } = chartAxes();
  const kinds = [["scatter", "points"], ["line", "line of means"], ["box", "boxes"]];
  $("chart-choices").replaceChildren(
    choice("result", numbers, y, { "data-choice": "cy" }),
    choice("against", names, x, { "data-choice": "cx" }),
    choice("colour", [["", "—"], "status", ...names], by, { "data-choice": "by" }),
    choice("chart", kinds, view.chart, { "data-choice": "chart" }));
  const [xColumn, yColumn] = [columns.get(x), columns.get(y)];
  const rows = shownRows.filter((row) => number(yColumn.get(row)) !== undefined);
  $("chart").replaceChildren(...(rows.length ? drawChart(rows, xColumn, yColumn, by ? columns.get(by) : null) : [el("p", { class: "empty" }, "No instance has a value of this result yet")]));
}

function drawChart(rows, xColumn, yColumn, byColumn) {
  const [width, height] = [CHART.width - CHART.left - CHART.right, CHART.height - CHART.top - CHART.bottom];
  const x = view.chart === "box" ? boxAxis(xColumn, rows, width) : axisOf(xColumn, rows, width);
  const y = axisOf(yColumn, rows, height, { isReverse: true });
  const groups = chartGroups(rows, byColumn);
  const marks = { scatter: scatterMarks, line: lineMarks, box: boxMarks }[view.chart] ?? scatterMarks;
  const label = `${yColumn.name} against ${xColumn.name}, ${count(rows.length, "instance")}`;
  const picture = svg("svg", { viewBox: `0 0 ${CHART.width} ${CHART.height}`, role: "img", "aria-label": label, "data-points": rows.length },
    svg("g", { transform: `translate(${CHART.left} ${CHART.top})` },
      drawAxes(width, height, x, y, xColumn.name, yColumn.name),
      groups.map((group) => marks(group, xColumn, yColumn, x, y))));
  picture.addEventListener("click", (event) => openNearest(event, picture, rows, (row) => [x.at(xColumn.get(row)), y.at(yColumn.get(row))]));
  const key = byColumn ? el("p", { class: "legend" }, groups.map(({ label: name, colour }) => legendItem(name, colour))) : null;
  const isSample = marks === scatterMarks && rows.length > MOST_POINTS;
  const note = isSample ? el("p", { class: "muted" }, `An even sample of ${MOST_POINTS.toLocaleString("en")} of ${rows.length.toLocaleString("en")} points; lines and boxes have all.`) : null;
  return [picture, key, note].filter(Boolean);
}

function boxAxis(column, rows, width) {
  const classes = classesOf(column, rows);
  const classify = classifier(classes);
  const place = (n) => (n + 0.5) * (width / Math.max(1, classes.length));
  return { at: (value) => (classify(value) < 0 ? undefined : place(classify(value))), ticks: classes.map(({ label }, n) => [place(n), label]), classes };
}

function chartGroups(rows, column) {
  const share = Math.min(1, MOST_POINTS / rows.length);
  if (!column) return [{ label: "", colour: 0, rows, n: 0, of: 1, share }];
  const classes = classesOf(column, rows);
  const at = classifier(classes);
  const groups = classes.map(({ label }, n) => ({ label, colour: Math.min(n, GROUPS - 1), rows: [], n, of: classes.length, share }));
  for (const row of rows) groups[at(column.get(row))]?.rows.push(row);
  return groups.filter((group) => group.rows.length);
}

function legendItem(name, colour) {
  return el("span", { class: "legend-item" }, el("span", { class: `dot group-${colour}` }), name);
}

function placesOf(group, xColumn, yColumn, x, y) {
  return group.rows.map((row) => [x.at(xColumn.get(row)), y.at(yColumn.get(row))]).filter((place) => place.every((each) => each !== undefined));
}

// Of many points an even sample is drawn: more would only cover each other.
function scatterMarks(group, ...axes) {
  const places = placesOf({ rows: sampled(group.rows, group.share) }, ...axes);
  return svg("path", { class: `dots group-${group.colour}`, d: dots(places) });
}

function sampled(rows, share) {
  const many = Math.ceil(rows.length * share);
  return many >= rows.length ? rows : Array.from({ length: many }, (_, n) => rows[Math.floor((n * rows.length) / many)]);
}

function lineMarks(group, ...axes) {
  const sums = new Map();
  for (const [x, y] of placesOf(group, ...axes)) {
    const [total, many] = sums.get(x) ?? [0, 0];
    sums.set(x, [total + y, many + 1]);
  }
  const means = [...sums].map(([x, [total, many]]) => [x, total / many]).sort((a, b) => a[0] - b[0]);
  const path = means.map(([x, y], n) => `${n ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
  return svg("g", { class: `group-${group.colour}` }, svg("path", { class: "line", d: path }), svg("path", { class: "dots", d: dots(means) }));
}

function boxMarks(group, ...axes) {
  const byPlace = new Map();
  for (const [x, y] of placesOf(group, ...axes)) {
    if (!byPlace.has(x)) byPlace.set(x, []);
    byPlace.get(x).push(y);
  }
  const half = 12 / Math.sqrt(group.of);
  const shift = (group.n - (group.of - 1) / 2) * half * 2.2;
  return svg("g", { class: `box group-${group.colour}` }, [...byPlace].map(([place, values]) => {
    const [low, first, middle, third, high] = quartiles(values).map((value) => value.toFixed(1));
    const x = place + shift;
    return svg("path", { d: `M${x} ${low}V${first}M${x} ${third}V${high}M${x - half} ${first}H${x + half}V${third}H${x - half}ZM${x - half} ${middle}H${x + half}` });
  }));
}

// A click on a chart opens the instance whose point is nearest.
function openNearest(event, picture, rows, placeOf) {
  const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(picture.getScreenCTM().inverse());
  let [nearest, least] = [null, 15 ** 2];
  for (const row of rows) {
    const [x, y] = placeOf(row);
    const away = (x + CHART.left - at.x) ** 2 + (y + CHART.top - at.y) ** 2;
    if (away < least) [nearest, least] = [row, away];
  }
  if (nearest) openInstance(nearest);
}

// ---- Parallel coordinates: a line for each instance; dragging along an axis keeps those that cross there

function parallelColumns() {
  const config = tellingKeys().filter((column) => column.numeric || !namesRows(column)).slice(0, 5);
  const results = ownResults().slice(0, MOST_AXES - config.length);
  return [...config, ...results].filter((column) => !view.hidden.includes(column.name));
}

// Numeric results that are no mere copies of a config key, those first that no single input determines.
function ownResults() {
  const told = (data.importance ?? []).map(({ target }) => columns.get(target)).filter((column) => column?.kind === "result");
  return told.length ? told : ofKind("result").filter((column) => column.numeric);
}

function showParallel() {
  const axesShown = parallelColumns();
  const isUseful = axesShown.length > 1 && shownRows.length > 1;
  $("parallel-part").hidden = !isUseful;
  if (!isUseful) return;
  const [width, height] = [Math.max(320, 120 * axesShown.length), 240];
  const axes = axesShown.map((column, n) => ({
    column, x: 60 + n * ((width - 120) / (axesShown.length - 1)), ...parallelScale(column, height),
  }));
  const all = data.rows.slice(0, MOST_LINES);
  const shown = new Set(shownRows.slice(0, MOST_LINES).map((row) => row.index));
  const isFiltered = shownRows.length < data.rows.length;
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height + 60}`, role: "img", "aria-label": `Parallel coordinates of ${count(shownRows.length, "instance")}`, "data-lines": shown.size },
    isFiltered ? svg("path", { class: "lines rest", d: linesOf(all.filter((row) => !shown.has(row.index)), axes) }) : null,
    svg("path", { class: "lines", d: linesOf(shownRows.slice(0, MOST_LINES), axes) }),
    axes.map((axis) => parallelAxis(axis, height)));
  $("parallel").replaceChildren(picture);
  const cut = shownRows.length > MOST_LINES ? ` (the first ${MOST_LINES.toLocaleString("en")} of ${shownRows.length.toLocaleString("en")} lines)` : "";
  put("parallel-note", `Drag along an axis to keep the instances that cross it there${cut}.`);
}

const PARALLEL_TOP = 34;
const scales = new WeakMap(); // by column: they stay while rows are filtered

function parallelScale(column, height) {
  if (!scales.has(column)) scales.set(column, axisOf(column, data.rows, height, { isReverse: true }));
  return scales.get(column);
}

function linesOf(rows, axes) {
  return rows.map((row) => {
    let path = "";
    for (const { column, x, at } of axes) {
      const y = at(column.get(row));
      if (y !== undefined) path += `${path ? "L" : "M"}${x.toFixed(1)} ${(y + PARALLEL_TOP).toFixed(1)}`;
    }
    return path;
  }).join("");
}

function parallelAxis(axis, height) {
  const { column, x, ticks: marks } = axis;
  const grip = svg("rect", { class: "grip", x: x - 14, y: PARALLEL_TOP, width: 28, height });
  const brush = svg("rect", { class: "brush", x: x - 6, y: 0, width: 12, height: 0 });
  const kept = Math.ceil(marks.length / 9);
  grip.addEventListener("pointerdown", (event) => startBrush(event, axis, grip, brush, height));
  return svg("g", { class: "axes", "data-axis": column.name },
    svg("path", { d: `M${x} ${PARALLEL_TOP}V${PARALLEL_TOP + height}` }),
    svg("text", { class: "label", x, y: 16, "text-anchor": "middle" }, shortened(column.name, 16)),
    marks.filter((_, n) => n % kept === 0).map(([at, label]) => svg("text", { x: x + 6, y: at + PARALLEL_TOP + 4 }, shortened(label, 10))),
    brush, grip);
}

function startBrush(event, axis, grip, brush, height) {
  const picture = grip.ownerSVGElement;
  const placeOf = ({ clientX, clientY }) =>
    Math.min(height, Math.max(0, new DOMPoint(clientX, clientY).matrixTransform(picture.getScreenCTM().inverse()).y - PARALLEL_TOP));
  const from = placeOf(event);
  const move = (next) => {
    const to = placeOf(next);
    brush.setAttribute("y", Math.min(from, to) + PARALLEL_TOP);
    brush.setAttribute("height", Math.abs(to - from));
  };
  grip.setPointerCapture(event.pointerId);
  grip.addEventListener("pointermove", move);
  grip.addEventListener("pointerup", (last) => {
    grip.removeEventListener("pointermove", move);
    setCondition(axis.column.name, brushed(axis, from, placeOf(last)));
  }, { once: true });
}

// A number with the digits that tell a thousandth of a stretch.
function rounded(value, stretch) {
  const digits = Math.ceil(Math.log10(Math.abs(value) / stretch)) + 3;
  return Number(value.toPrecision(Math.min(17, Math.max(1, digits))));
}

// The condition for a stretch of an axis; a mere click drops it.
function brushed(axis, from, to) {
  const [low, high] = [Math.min(from, to), Math.max(from, to)];
  if (axis.isNumeric) {
    if (high - low < 3) return "";
    const [a, b] = [axis.valueAt(high), axis.valueAt(low)];
    return `${rounded(a, b - a)}..${rounded(b, b - a)}`;
  }
  const inside = axis.classes.filter((_, n) => axis.ticks[n][0] >= low - 8 && axis.ticks[n][0] <= high + 8);
  return inside.length === 1 ? inside[0].condition : "";
}

// ---- The table

function showResultTable() {
  const shown = visibleColumns();
  const widths = shown.map((column) => `${column.name === "instance" ? 28 : Math.min(24, Math.max(9, column.name.length + 3))}ch`);
  $("result-table").style.setProperty("--columns", widths.join(" "));
  drawResultHead(shown);
  const rows = resultRows();
  $("result-table").setAttribute("aria-rowcount", rows.length + 1);
  put("result-count", count(rows.length, "row"));
  const isOther = isOtherTable(shown);
  if (isOther) {
    $("result-choices").replaceChildren(...resultColumns().map(({ name }) => el("label", {},
      el("input", { type: "checkbox", value: name, checked: view.hidden.includes(name) ? null : "" }), name)));
  }
  resultList.show(rows, () => isOther);
}

let tableOf = { data: null, names: "" }; // what the rows that are drawn show

// Filters and orders leave rows as they are.
function isOtherTable(shown) {
  const names = shown.map((column) => column.name).join("\n");
  const isOther = tableOf.data !== data || tableOf.names !== names;
  tableOf = { data, names };
  return isOther;
}

// The head is not drawn anew while somebody types into it.
function drawResultHead(shown) {
  const text = JSON.stringify([shown.map((column) => column.name), view.order, view.down]);
  if (text !== drawnHead) {
    drawnHead = text;
    const direction = view.down ? "descending" : "ascending";
    $("result-head").replaceChildren(...shown.map((column) =>
      el("div", { role: "columnheader", class: "result-cell", "aria-sort": column.name === view.order ? direction : "none" },
        button(column.name, { "data-order": column.name, title: `Sort by ${column.name}` }),
        el("input", { type: "text", "data-where": column.name, "aria-label": `Filter ${column.name}`, placeholder: column.numeric ? "> 0.4" : "text", spellcheck: "false" }))));
  }
  for (const input of $("result-head").querySelectorAll("input")) {
    const condition = view.where[input.dataset.where] ?? "";
    if (input !== document.activeElement && input.value !== condition) input.value = condition;
  }
}

function drawResultRow(row, node) {
  node.className = `result-row ${row.earlier ? "earlier" : ""}`;
  node.replaceChildren(el("div", { role: "row", class: "result-line", "aria-rowindex": row.index + 2 }, visibleColumns().map((column) => {
    const value = column.get(row);
    const kind = typeof value === "number" ? "result-cell number" : "result-cell";
    if (column.name === "status") return el("div", { role: "cell", class: kind }, light(value), ` ${labelOf(value)}`);
    if (column.name !== "instance") return el("div", { role: "cell", class: kind, title: value === undefined ? null : exactText(value) }, valueText(value));
    const open = button(nameSpan(row), { class: "to" });
    open.addEventListener("click", () => openInstance(row));
    return el("div", { role: "cell", class: kind }, open);
  })));
}

// ---- Download

// A text that a spreadsheet would take for a formula gets a ' in front.
function csvText(value) {
  if (value === undefined || value === null) return "";
  if (typeof value === "number") return String(value);
  const text = exactText(value).replace(/^([=+\-@\t\r])/, "'$1");
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function csvOf(rows, shown) {
  const table = [shown.map((column) => csvText(column.name)), ...rows.map((row) => shown.map((column) => csvText(column.get(row))))];
  return table.map((line) => line.join(",")).join("\r\n") + "\r\n";
}

function download() {
  const url = URL.createObjectURL(new Blob([csvOf(resultRows(), visibleColumns())], { type: "text/csv" }));
  el("a", { href: url, download: `${data.title || "results"}.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
