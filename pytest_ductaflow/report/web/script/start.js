// The views, and how the page begins.

const VIEWS = ["groups", "instances", "pivot", "results", "gallery", "graph", "timeline"];
const SHOW = {
  groups: showGroups, instances: showInstances, pivot: showPivot, results: showResults, gallery: showGallery,
  graph: showGraph, timeline: showTimeline,
};

let data = { rows: [] }; // what is shown

// Shows data, new or again. Focus returns to the same button or link if its row was drawn anew or moved.
function show(next) {
  const focused = document.activeElement;
  const home = focused.closest(".entry");
  data = next;
  makeColumns();
  drawHeader();
  drawTimes();
  drawSteps();
  applyView();
  setTimeout(() => prepareSearch(next.rows), 500);
  if (home && document.activeElement !== focused) {
    const isTwin = (other) =>
      ["className", "href", "ariaLabel"].every((name) => other[name] === focused[name]);
    const twin = home.contains(focused) ? focused : [...home.querySelectorAll("a, button, [tabindex]")].find(isTwin);
    twin?.focus({ preventScroll: true });
  }
}

// Shows what passes the filters in the view that is chosen.
function applyView() {
  filterRows();
  put("shown", `${shownRows.length} of ${data.rows.length}`);
  drawChips();
  drawConditions();
  for (const name of VIEWS) {
    $(`view-${name}`).hidden = name !== view.view;
    document.querySelector(`[data-view="${name}"]`).setAttribute("aria-current", name === view.view ? "page" : "false");
  }
  page.dataset.shown = view.view;
  SHOW[view.view]();
  save();
}

function openView(name) {
  view.view = name;
  applyView();
}

function tick() {
  drawTimes();
  if (hasEndedEarly() && $("state").textContent === "running") drawHeader();
  for (const { row, node } of list.drawn.values()) {
    if (isTicking(row)) node.querySelector(".time-cell").textContent = timeText(row);
  }
}

// Takes what was sent with an address, or what "back" leads to.
function onAddress() {
  if (location.hash === addressOf(view) || !location.hash.includes("=")) return;
  view = stateOf(location.hash);
  $("search").value = view.search;
  $("step").value = view.step;
  applyView();
}

function listen() {
  makeInstances();
  makePivot();
  makeResults();
  makeGallery();
  makeGraph();
  makeTimeline();
  $("chips").addEventListener("click", ({ target }) => {
    const chip = target.closest(".chip");
    if (chip) toggleFilter(chip.dataset.filter);
  });
  $("views").addEventListener("click", ({ target }) => {
    if (target.dataset.view) openView(target.dataset.view);
  });
  $("search").addEventListener("input", () => { view.search = $("search").value; applyView(); });
  $("step").addEventListener("change", () => { view.step = $("step").value; applyView(); });
  $("clear").addEventListener("click", clearFilters);
  window.addEventListener("message", receive);
  window.addEventListener("hashchange", onAddress);
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
