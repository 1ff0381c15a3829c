// The view "graph": the steps as boxes with their lights, and arrows from what they wait for. Below, the same of
// the instances that are shown, if they are few.

const MOST_IN_GRAPH = 300; // instances
const MOST_NEIGHBOURS = 200; // further ones, that those need or that need them
const BOX = { width: 216, height: 74, gap: 64, space: 18, passing: 14 };
const CHIP = { width: 248, height: 28, gap: 56, space: 6, passing: 8, isBeside: true };
const GRAPH_NARROW = 640; // pixels, below which the layers of steps stand one below the other

let drawnGraphs = new Map(); // id of the element -> what it shows, as text

function makeGraph() {
  for (const place of [$("graph-steps"), $("graph-instances")]) {
    place.addEventListener("keydown", (event) => walk(event, [...place.querySelectorAll(".node")]));
    for (const name of ["focusin", "mouseover"]) place.addEventListener(name, ({ target }) => mark(place, target.closest(".node")?.dataset.node));
    for (const name of ["focusout", "mouseleave"]) place.addEventListener(name, () => mark(place, undefined));
  }
  window.addEventListener("beforeprint", () => fitToPaper(true));
  window.addEventListener("afterprint", () => fitToPaper(false));
}

const PAPER = 660; // pixels across a page in portrait

// On paper nothing can be scrolled: a wide graph is made smaller.
function fitToPaper(isPaper) {
  for (const sheet of document.querySelectorAll(".sheet")) {
    sheet.style.zoom = isPaper ? Math.min(1, PAPER / parseFloat(sheet.style.width)) : 1;
  }
}

function showGraph() {
  const steps = stepsOf(view.step ? passing("") : shownRows);
  if (!edgesOfRows.has(data.rows)) edgesOfRows.set(data.rows, stepEdges());
  const edges = edgesOfRows.get(data.rows);
  if (isOther("graph-steps", [steps, edges, view.step, $("view-graph").clientWidth])) drawStepGraph(steps, edges);
  drawInstanceGraph();
}

// Whether an element is to be drawn anew; live data often changes nothing in it.
function isOther(id, shown) {
  const text = JSON.stringify(shown);
  if (drawnGraphs.get(id) === text) return false;
  drawnGraphs.set(id, text);
  return true;
}

// ---- Steps

// Returns the steps in the order of the data, each with the numbers of what passes the other filters.
function stepsOf(rows) {
  if (!stepsOfRows.has(data.rows)) stepsOfRows.set(data.rows, allSteps());
  const found = new Map(stepsOfRows.get(data.rows).map((step) => [step.key, { ...step, counts: countStatuses([]) }]));
  for (const row of rows) found.get(stepKey(row)).counts[statusOf(row)] += 1;
  return [...found.values()];
}

const stepsOfRows = new WeakMap(); // data.rows -> its steps
const edgesOfRows = new WeakMap(); // data.rows -> the edges between them

function allSteps() {
  const found = new Map();
  const several = new Set(data.rows.map((row) => row.source)).size > 1;
  for (const row of data.rows) {
    const key = stepKey(row);
    if (!found.has(key)) found.set(key, { key, step: row.step, source: several ? row.source : "", flow: row.flow, all: 0 });
    found.get(key).all += 1;
  }
  return [...found.values()];
}

const rowsByLabel = new WeakMap(); // data.rows -> label -> row

function rowOfLabel(label) {
  if (!rowsByLabel.has(data.rows)) rowsByLabel.set(data.rows, new Map(data.rows.map((row) => [labelOfRow(row), row])));
  return rowsByLabel.get(data.rows).get(label);
}

// The edges between steps: those of the plan, and those that the rows tell. [from, to, dependents, order only]
function stepEdges() {
  const known = new Set(data.rows.map(stepKey));
  const found = new Map();
  for (const [source, step, laterSource, later, dependents, isOrder] of data.edges ?? []) {
    const [from, to] = [JSON.stringify([source, step]), JSON.stringify([laterSource, later])];
    if (known.has(from) && known.has(to)) found.set(`${from}\n${to}`, [from, to, dependents, isOrder]);
  }
  const told = new Map();
  for (const row of data.rows) {
    const earlier = new Set(upstreamsOf(row).map(rowOfLabel).filter(Boolean).map(stepKey));
    for (const from of earlier) told.set(`${from}\n${stepKey(row)}`, (told.get(`${from}\n${stepKey(row)}`) ?? 0) + 1);
  }
  for (const [pair, dependents] of told) {
    const edge = found.get(pair);
    if (!edge || edge[3] || edge[2] < dependents) found.set(pair, [...pair.split("\n"), dependents, false]);
  }
  return [...found.values()].filter(([from, to]) => from !== to);
}

function drawStepGraph(steps, edges) {
  const byKey = new Map(steps.map((step) => [step.key, step]));
  const arrows = edges.map(([from, to, dependents, isOrder]) => {
    const { all } = byKey.get(to);
    return { from, to, isOrder, label: !isOrder && dependents < all ? `${dependents.toLocaleString("en")} of ${all.toLocaleString("en")}` : "" };
  });
  drawGraph("graph-steps", steps.map((step) => step.key), arrows, BOX, (key) => stepNode(byKey.get(key), arrows, byKey));
  $("graph-step-table").replaceChildren(...(steps.length ? [stepTable(steps, arrows, byKey)] : []));
  $("graph-legend").hidden = !arrows.length;
}

const namesOf = (arrows, side, key, byKey, isOrder) =>
  arrows.filter((arrow) => arrow[side === "from" ? "to" : "from"] === key && arrow.isOrder === isOrder).map((arrow) => byKey.get(arrow[side]).step);

function stepNode(step, arrows, byKey) {
  const { key, counts, all } = step;
  const present = STATUSES.filter((status) => counts[status]);
  const shown = sum(Object.values(counts));
  const isChosen = view.step === key;
  const needs = namesOf(arrows, "from", key, byKey, false);
  const needed = namesOf(arrows, "to", key, byKey, false);
  const label = [
    `${step.step}: ${shown === all ? count(all, "instance") : `${shown.toLocaleString("en")} of ${count(all, "instance")}`}`,
    present.map((status) => `${counts[status]} ${labelOf(status)}`).join(", "),
    needs.length ? `needs ${needs.join(", ")}` : "",
    needed.length ? `is needed by ${needed.join(", ")}` : "",
  ].filter(Boolean).join("; ");
  const node = el("button", { type: "button", class: `node step-node${shown ? "" : " muted"}`, "aria-pressed": isChosen, "aria-label": label, title: isChosen ? "Show all steps" : "Show only this step" },
    el("span", { class: "node-title" }, step.step),
    el("span", { class: "node-note" }, [shown === all ? all.toLocaleString("en") : `${shown.toLocaleString("en")} of ${all.toLocaleString("en")}`, step.flow !== step.step ? step.flow : "", step.source].filter(Boolean).join(" · ")),
    statusBar(counts, present),
    el("span", { class: "node-counts" }, present.map((status) => el("span", {}, light(status), ` ${counts[status].toLocaleString("en")}`))));
  node.addEventListener("click", () => {
    view.step = isChosen ? "" : key;
    $("step").value = view.step;
    applyView();
  });
  return node;
}

function stepTable(steps, arrows, byKey) {
  const list = (key, isOrder) => namesOf(arrows, "from", key, byKey, isOrder).join(", ");
  return el("details", {}, el("summary", {}, "As a table"), el("div", { class: "wide", ...scrollable("Steps and what they wait for") }, el("table", { class: "steps" },
    el("thead", {}, el("tr", {}, ["step", "instances", "needs", "comes after, for order only"].map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, steps.map(({ key, step, all }) => el("tr", {}, el("th", { scope: "row" }, step),
      el("td", { class: "number" }, all.toLocaleString("en")), el("td", {}, list(key, false)), el("td", {}, list(key, true))))))));
}

// ---- Instances

function drawInstanceGraph() {
  const isFew = shownRows.length <= MOST_IN_GRAPH;
  const rows = isFew ? shownRows : [];
  const mine = new Set(rows);
  const near = isFew ? nearRows(rows, mine) : [];
  const all = [...rows, ...near];
  const told = all.map((row) => [row.id, statusOf(row), upstreamsOf(row), mine.has(row)]);
  if (!isOther("graph-instances", [told, shownRows.length, $("view-graph").clientWidth])) return;
  const inside = new Set(all);
  const arrows = all.flatMap((row) => upstreamsOf(row).map(rowOfLabel).filter((other) => inside.has(other) && other !== row)
    .map((other) => ({ from: String(other.index), to: String(row.index), isOrder: false, label: "" })));
  const tied = new Set(arrows.flatMap(({ from, to }) => [from, to]));
  const make = (id) => instanceNode(data.rows[Number(id)], mine);
  const ids = all.map((row) => String(row.index));
  drawGraph("graph-instances", ids.filter((id) => tied.has(id)), arrows, CHIP, make);
  $("graph-loose").replaceChildren(...ids.filter((id) => !tied.has(id)).map(make));
  put("graph-note", instanceNote(rows, near, ids.length - tied.size, isFew));
}

// What the shown instances need, and what needs them.
function nearRows(rows, mine) {
  const found = new Set();
  for (const row of rows) {
    for (const label of upstreamsOf(row)) {
      const other = rowOfLabel(label);
      if (other && !mine.has(other)) found.add(other);
    }
  }
  const labels = new Set(rows.map(labelOfRow));
  for (const row of data.rows) {
    if (!mine.has(row) && upstreamsOf(row).some((label) => labels.has(label))) found.add(row);
    if (found.size >= MOST_NEIGHBOURS) break;
  }
  return [...found].slice(0, MOST_NEIGHBOURS);
}

function instanceNote(rows, near, loose, isFew) {
  if (!isFew) return `${count(shownRows.length, "instance")} are too many to be drawn: choose a step, a light, or search, until ${MOST_IN_GRAPH} or fewer are shown.`;
  const more = rows.filter((row) => upstreamsOf(row).some((label) => label.startsWith("… and "))).length;
  return [
    count(rows.length, "instance"),
    near.length ? `with a dashed border ${near.length} more that they need, or that need them` : "",
    loose ? `${loose} without dependencies, at the end` : "",
    more ? `${more} need more instances than are drawn` : "",
  ].filter(Boolean).join("; ") + ".";
}

function instanceNode(row, mine) {
  const status = statusOf(row);
  const step = new Set([...mine].map((each) => each.step)).size === 1 && mine.has(row) ? null : el("span", { class: "muted" }, row.step);
  const node = el("button", { type: "button", class: `node chip-node${mine.has(row) ? "" : " beside"}`, title: labelOfRow(row), "aria-label": `${labelOfRow(row)}: ${labelOf(status)}` },
    light(status), step, nameSpan(row));
  node.addEventListener("click", () => openInstance(row));
  return node;
}

// ---- Drawing

// Draws nodes, which `make` returns, and arrows between them.
function drawGraph(id, ids, arrows, size, make) {
  const place = $(id);
  const focused = place.contains(document.activeElement) ? document.activeElement.dataset.node : null;
  const isDown = place.clientWidth < GRAPH_NARROW && !size.isBeside;
  const across = isDown ? size.width : size.height;
  const found = layered(ids, arrows.map(({ from, to }) => [from, to]), (node) => (node === null ? size.passing : across), size.space);
  const step = (isDown ? size.height : size.width) + size.gap;
  const spot = (at) => {
    const [start, middle] = [8 + at.layer * step, 8 + at.at];
    return isDown ? { x: middle - size.width / 2, y: start } : { x: start, y: middle - size.height / 2 };
  };
  const along = 16 + Math.max(0, found.layers * step - size.gap);
  const [wide, high] = isDown ? [16 + found.across, along] : [along, 16 + found.across];
  const nodes = ids.map((each, n) => {
    const node = make(each);
    const { x, y } = spot(found.places.get(each));
    Object.assign(node.style, { left: `${x}px`, top: `${y}px`, width: `${size.width}px`, height: `${size.height}px` });
    Object.assign(node.dataset, { node: each, layer: found.places.get(each).layer });
    node.tabIndex = (focused ? each === focused : n === 0) ? 0 : -1;
    return node;
  });
  const sheet = el("div", { class: "sheet" }, arrowsOf(found, arrows, size, isDown, step, wide, high), nodes);
  Object.assign(sheet.style, { width: `${wide}px`, height: `${ids.length ? high : 0}px` });
  place.replaceChildren(sheet);
  if (focused) nodes.find((node) => node.dataset.node === focused)?.focus({ preventScroll: true });
}

function arrowsOf(found, arrows, size, isDown, step, wide, high) {
  const byPair = new Map(arrows.map((arrow) => [`${arrow.from}\n${arrow.to}`, arrow]));
  const point = (along, at) => (isDown ? `${(8 + at).toFixed(1)} ${along.toFixed(1)}` : `${along.toFixed(1)} ${(8 + at).toFixed(1)}`);
  const length = isDown ? size.height : size.width;
  return svg("svg", { class: "arrows", viewBox: `0 0 ${wide} ${high}`, width: wide, height: high, "aria-hidden": "true" }, found.chains.map((chain, n) => {
    const arrow = byPair.get(found.edges[n].join("\n"));
    let along = 8 + chain[0].layer * step + length;
    let path = `M${point(along, chain[0].at)}`;
    for (let k = 1; k < chain.length; k += 1) {
      const next = along + size.gap;
      const middle = (along + next) / 2;
      path += `C${point(middle, chain[k - 1].at)} ${point(middle, chain[k].at)} ${point(next - (k === chain.length - 1 ? 5 : 0), chain[k].at)}`;
      along = next;
      if (k < chain.length - 1) {
        along += length;
        path += `L${point(along, chain[k].at)}`;
      }
    }
    const end = chain[chain.length - 1].at;
    const head = `M${point(along - 8, end - 4)}L${point(along, end)}L${point(along - 8, end + 4)}Z`;
    const [x, y] = isDown ? [8 + end + 6, along - 12] : [along - 12, 8 + end - 6];
    return svg("g", { class: arrow.isOrder ? "arrow order" : "arrow", "data-from": arrow.from, "data-to": arrow.to },
      svg("path", { d: path }), svg("path", { class: "head", d: head }),
      arrow.label ? svg("text", { x, y, "text-anchor": isDown ? "start" : "end" }, arrow.label) : null);
  }));
}

// Arrow keys lead from node to node: along a layer, or to the nearest one of the next.
function walk(event, nodes) {
  const here = document.activeElement;
  if (!event.key.startsWith("Arrow") || !nodes.includes(here)) return;
  const from = here.getBoundingClientRect();
  const isAcross = event.key === "ArrowUp" || event.key === "ArrowDown";
  const sign = event.key === "ArrowDown" || event.key === "ArrowRight" ? 1 : -1;
  const distance = (node) => {
    const box = node.getBoundingClientRect();
    const [x, y] = [box.left - from.left, box.top - from.top];
    const [ahead, aside] = isAcross ? [y, x] : [x, y];
    return ahead * sign > 1 ? ahead * sign + 3 * Math.abs(aside) : Infinity;
  };
  const best = nodes.reduce((one, other) => (distance(other) < distance(one) ? other : one), here);
  event.preventDefault();
  if (best === here) return;
  here.tabIndex = -1;
  best.tabIndex = 0;
  best.focus();
}

// Shows the arrows of a node before all others.
function mark(place, node) {
  for (const arrow of place.querySelectorAll(".arrow")) {
    arrow.classList.toggle("near", node !== undefined && (arrow.dataset.from === node || arrow.dataset.to === node));
  }
}
