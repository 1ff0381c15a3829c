// The view "groups": what is the state, why did instances fail, what has changed, what was slow, what matters.

const MOST_SLOW = 8;

function showGroups() {
  const shown = new Set(shownRows.map((row) => row.index));
  const parts = [
    causesPart("error", shown),
    causesPart("blocked", shown),
    stepsPart(),
    causesPart("warning", shown),
    changesPart(shown),
    runningPart(),
    slowPart(),
    importancePart(),
  ].filter(Boolean);
  const open = new Set([...document.querySelectorAll("#view-groups details[open]")].map((each) => each.dataset.key));
  $("view-groups").replaceChildren(...(data.rows.length ? parts : [el("p", { class: "empty" }, "Nothing was collected yet")]));
  for (const each of document.querySelectorAll("#view-groups details")) each.open = open.has(each.dataset.key);
}

function card(heading, note, ...content) {
  return el("section", { class: "card" },
    el("h2", {}, heading, note ? el("span", { class: "muted" }, ` ${note}`) : null), content);
}

// A button that shows some rows in the list; `change` is what becomes of the filters.
function toInstances(text, change, attributes = {}) {
  const made = button(text, { class: "to", ...attributes });
  made.addEventListener("click", () => {
    Object.assign(view, { view: "instances" }, change);
    $("step").value = view.step;
    applyView();
  });
  return made;
}

// ---- Status by step

function stepsPart() {
  const bySteps = new Map();
  for (const row of shownRows) {
    const key = stepKey(row);
    if (!bySteps.has(key)) bySteps.set(key, []);
    bySteps.get(key).push(row);
  }
  const several = new Set(shownRows.map((row) => row.source)).size > 1;
  return card("Status by step", "", el("table", { class: "steps" },
    [...bySteps].map(([key, rows]) => {
      const counts = countStatuses(rows);
      const present = STATUSES.filter((status) => counts[status]);
      return el("tr", {},
        el("th", { scope: "row" }, rows[0].step, several ? el("span", { class: "muted" }, ` ${rows[0].source}`) : null),
        el("td", { class: "number" }, rows.length.toLocaleString("en")),
        el("td", { class: "bar-cell" }, statusBar(counts, present)),
        el("td", {}, el("div", { class: "counts" }, present.map((status) =>
          toInstances([light(status), ` ${counts[status].toLocaleString("en")}`],
            { step: key, statuses: [status] }, { "aria-label": `${count(counts[status], "instance")} of ${rows[0].step}: ${labelOf(status)}` })))));
    })));
}

function statusBar(counts, present) {
  const bar = el("div", { class: "bar", "aria-hidden": "true" }, present.map((status) => el("span", { class: status })));
  present.forEach((status, n) => { bar.children[n].style.flexGrow = counts[status]; });
  return bar;
}

// ---- Causes

const CAUSE_WORDS = { error: "failure", blocked: "blocked instance", warning: "warning" };

function causesPart(status, shown) {
  const causes = (data.causes ?? []).filter((cause) => cause.status === status)
    .map((cause) => ({ ...cause, numbers: cause.rows.filter((n) => shown.has(n)) }))
    .filter((cause) => cause.numbers.length);
  if (!causes.length) return null;
  const all = sum(causes.map((cause) => cause.numbers.length));
  const more = status === "error" && data.more_causes ? `; ${data.more_causes} more causes are not shown` : "";
  return card(`${count(all, CAUSE_WORDS[status])} = ${count(causes.length, "cause")}`, more,
    el("ol", { class: "causes" }, causes.map(causeItem)));
}

const causeTitle = ({ type, message }) => (type && !message.startsWith(type) ? `${type}: ${message}` : message) || "no message";

function causeItem(cause) {
  const place = [cause.step, cause.flow && cause.flow !== cause.step ? cause.flow : "", cause.cell == null ? "" : `cell ${cause.cell}`];
  const first = data.rows[cause.numbers[0]];
  return el("li", { class: `cause ${cause.status}` },
    el("div", { class: "cause-head" },
      light(cause.status),
      el("b", { class: "cause-count" }, cause.numbers.length.toLocaleString("en")),
      el("span", { class: "cause-title" }, causeTitle(cause)),
      el("span", { class: "muted" }, place.filter(Boolean).join(" · "))),
    commonLine(cause),
    first.traceback ? el("details", { "data-key": causeKey(cause) },
      el("summary", {}, "traceback of ", el("span", { class: "name", title: first.instance }, shortName(first))),
      el("pre", { class: cause.status, tabindex: 0 }, first.traceback)) : null,
    toInstances(cause.numbers.length === 1 ? "show it" : `show all ${cause.numbers.length}`, { among: causeKey(cause) }));
}

// "All have mode = rail and year ≥ 2040; none of the 969 others has."
function commonLine({ common, numbers }) {
  if (!common?.conditions.length) return null;
  const { conditions, also, others } = common;
  const told = conditions.map((condition, n) => [n ? " and " : "", conditionButton(condition)]);
  const rest = also ? `so have ${also} of the ${others} others` : others === 1 ? "the other has not" : `none of the ${others} others has`;
  return el("p", { class: "common" }, numbers.length === 2 ? "Both have " : "All have ", told, `; ${rest}.`);
}

function conditionText({ column, sign, values }) {
  if (sign === "unset") return `${column} not set`;
  return `${column} ${sign} ${values.map(valueText).join(", ")}`;
}

function conditionButton(condition) {
  const { column, sign, values } = condition;
  if (sign === "in") return el("b", {}, conditionText(condition));
  const text = sign === "unset" ? "unset" : `${sign} ${exactText(values[0])}`;
  return toInstances(conditionText(condition), { where: { ...view.where, [column]: text } }, { class: "to term", title: "Show all instances with this" });
}

// ---- What has changed

const CHANGE_LIGHTS = { "newly red": "error", "newly blocked": "blocked", "newly orange": "warning", "newly green": "success" };
const CHANGE_ORDER = ["newly red", "newly blocked", "newly orange", "newly green", "with fewer results", "with more results", "new"];
const TIME_ORDER = ["slower", "faster"];

function changesPart(shown) {
  const { rows = {}, moved: all = [], compared = 0 } = data.changes ?? {};
  if (!compared) return null;
  const moved = all.map((each) => movedOf(each, shown)).filter((each) => each.rows.length);
  const changed = (order) => order.map((kind) => [kind, (rows[kind] ?? []).filter((n) => shown.has(n))]).filter(([, n]) => n.length);
  const kinds = changed(CHANGE_ORDER), times = changed(TIME_ORDER);
  const since = data.previous ? `since ${timestamp(data.previous)}` : "since the session before";
  const isSame = !all.length && !sum(Object.values(rows).map((each) => each.length));
  const nothing = el("p", {}, isSame ? `Nothing: ${count(compared, "instance")} ended as before, with the same results.` : "Nothing of what is shown.");
  return card("What has changed", since,
    kinds.length || moved.length || times.length ? null : nothing,
    changeList(kinds),
    moved.length ? el("h3", {}, "Results that have moved") : null,
    moved.length ? el("ul", { class: "changes" }, moved.slice(0, 20).map(movedItem)) : null,
    times.length ? el("h3", {}, "Durations") : null,
    changeList(times));
}

function changeList(kinds) {
  if (!kinds.length) return null;
  return el("ul", { class: "changes" }, kinds.map(([kind, numbers]) => el("li", {},
    CHANGE_LIGHTS[kind] ? light(CHANGE_LIGHTS[kind]) : null,
    toInstances(`${numbers.length} ${kind}`, { among: `change:${kind}` }),
    el("span", { class: "muted" }, examples(numbers)))));
}

const examples = (numbers) =>
  numbers.slice(0, 2).map((n) => `${data.rows[n].step}/${shortName(data.rows[n])}`).join(", ") + (numbers.length > 2 ? ", …" : "");

// Of a result, the rows that are shown; the largest change if it is one of these.
const movedOf = ({ name, rows, largest }, shown) =>
  ({ name, rows: rows.filter((n) => shown.has(n)), largest: shown.has(rows[0]) ? largest : null });

function movedItem({ name, rows, largest }) {
  const row = data.rows[rows[0]];
  const column = columns.get(name);
  const [stem, key] = data.places[column.place];
  const was = row.before?.results?.[stem]?.[key];
  const most = largest == null ? "" : `, by ${percent(largest)} at most`;
  return el("li", {},
    toInstances(name, { among: `moved:${name}` }),
    `in ${count(rows.length, "instance")}${most}: `,
    el("span", { class: "muted" }, `${row.step}/${shortName(row)} ${valueText(was)} → ${valueText(column.get(row))}`));
}

// ---- What runs, what is slow

function runningPart() {
  const running = shownRows.filter(isTicking);
  return running.length ? card("Running now", "", rowList(running.slice(0, 20), timeText)) : null;
}

function slowPart() {
  const timed = shownRows.filter((row) => row.duration != null);
  if (timed.length < 2) return null;
  const slow = [...timed].sort((a, b) => b.duration - a.duration).slice(0, MOST_SLOW);
  const all = sum(timed.map((row) => row.duration));
  return card("Slowest", `of ${duration(all)} in all, ${duration(all / timed.length)} on average`, rowList(slow, timeText));
}

function rowList(rows, textOfRow) {
  return el("table", { class: "slow" }, rows.map((row) => {
    const open = button(`${row.step}/${shortName(row)}`, { class: "to", title: row.instance });
    open.addEventListener("click", () => openInstance(row));
    return el("tr", {}, el("td", {}, light(statusOf(row))), el("td", {}, open, isTicking(row) && row.last_line ? el("div", { class: "muted" }, shortened(row.last_line, 120)) : null), el("td", { class: "number" }, textOfRow(row)));
  }));
}

// ---- Which inputs matter

const MOST_TARGETS = 6;

function importancePart(most = MOST_TARGETS) {
  const told = (data.importance ?? []).filter(({ inputs }) => inputs.length).slice(0, most);
  if (!told.length) return null;
  return card("Which inputs matter", "share of the variance that each explains alone (η², corrected for the number of groups)",
    el("div", { class: "importance" }, told.map(({ target, rows, inputs }) =>
      el("div", {}, el("h3", {}, target, el("span", { class: "muted" }, ` ${count(rows, "instance")}`)),
        el("table", {}, inputs.slice(0, 5).map(([name, share]) => shareRow(target, name, share)))))));
}

function shareRow(target, name, share) {
  const bar = el("span", { class: "share" });
  bar.style.width = `${Math.max(1, 100 * share)}%`;
  const open = button(name, { class: "to", title: `Draw ${target} against ${name}` });
  open.addEventListener("click", () => {
    if (target === "failing") Object.assign(view, { view: "pivot", x: name, colour: "status" });
    else Object.assign(view, { view: "results", cx: name, cy: target });
    applyView();
  });
  return el("tr", {}, el("th", { scope: "row" }, open), el("td", { class: "share-cell" }, bar), el("td", { class: "number" }, `${Math.round(100 * share)} %`));
}
