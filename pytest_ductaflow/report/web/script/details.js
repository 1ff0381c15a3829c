// The details of an instance.

function details(row) {
  const facts = [
    ["instance", row.instance.length > LONG_NAME ? row.instance : null],
    ["source", row.source],
    [row.unchanged ? "unchanged since it ran for" : "ran for", row.reason],
    ["read without saying so", row.undeclared?.join(", ")],
    ["started", row.started && timestamp(row.started)],
    ["peak memory", row.peak_memory != null ? memory(row.peak_memory) : null],
    ["worker", row.worker],
    ["before that", row.unchanged ? null : waitingOf(row)],
    ["directory", row.directory ? link(`${row.directory}/`, row.directory) : null],
    ["design", row.design],
    ["from", row.lineage],
    ["last good run", row.last_good ? link(`${row.last_good}/`, row.last_good) : null],
  ].filter(([, value]) => value);
  const config = configOf(row);
  const results = resultsOf(row);
  const tells = new Set(config.length > 1 ? varying().map((column) => column.key) : []);
  const parts = [
    el("dl", { class: "facts" }, facts.map(([name, value]) =>
      el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    commandLine("repeat", row.command),
    commandLine("debug", row.debug),
    row.differences?.length
      ? section("Differences", row.differences.map((difference) => differenceOf(row, difference))) : null,
    row.code ? section("Code", el("pre", { class: "plain", tabindex: 0 }, row.code)) : null,
    row.traceback ? section("Traceback", el("pre", { class: "error", tabindex: 0 }, row.traceback)) : null,
    row.tail?.length ? section(["Last output", row.links?.log ? [" ", link(row.links.log, "all of it")] : null], lines("plain", row.tail)) : null,
    row.last_line ? section("Last output", lines("plain", [row.last_line])) : null,
    row.before ? section("Before this session", beforeOf(row)) : null,
    row.failed_attempts?.length
      ? section("Failed attempts", lines("plain", row.failed_attempts.map((why, n) => `${n + 1}: ${why}`))) : null,
    row.warnings?.length ? section("Warnings", lines("warning", row.warnings)) : null,
    row.python_warnings?.length ? section("Python warnings", lines("plain", row.python_warnings)) : null,
    row.flows?.length ? section("Flows", flowList(row.flows)) : null,
    historyOf(row),
    related("Needs", upstreamsOf(row)),
    related("Is needed by", downstreamsOf(row)),
    files("Wrote", row.outputs, (name) => `${row.directory}/${name}`),
    files("Read", row.inputs, (name) => (isAbsolute(name) ? null : `../${name}`)),
  ];
  const settings = config.length
    ? el("table", {}, config.map(([key, value]) =>
        el("tr", { class: tells.has(key) ? "tells" : null },
          el("th", { scope: "row" }, key), el("td", {}, value))))
    : el("p", {}, "empty");
  return el("div", { class: "details", role: "row" },
    el("div", { role: "cell", "aria-colspan": 6 },
      el("div", { class: "config" }, section("Config", settings), results.length ? section("Results", resultTable(row, results)) : null),
      el("div", { class: "parts" }, parts)));
}

function commandLine(what, command) {
  if (!command) return null;
  return el("div", { class: "repeat" }, el("span", { class: "muted" }, what), el("code", {}, command),
    el("button", { type: "button", class: "copy", title: `Copy the command to ${what}` }, "copy"));
}

function waitingOf(row) {
  const times = timesOf(row);
  return times && (row.ready || row.waited_for) ? waitText(row, times) : null;
}

// ---- Earlier runs

const MOST_IN_HISTORY = 6; // results, each a column

// A line for each of the last runs, the last one first, and a small chart of each column.
function historyOf(row) {
  const { runs = [], places = [], kept = 0 } = row.history ?? {};
  if (!runs.length || (runs.length === 1 && runs[0][0] === row.started)) return null; // the run that is shown
  const named = places.slice(0, MOST_IN_HISTORY).map(([stem, key], n) => ({ name: resultName(stem, key), of: (run) => run[3 + n] }));
  const series = [{ name: "seconds", of: (run) => run[2] }, ...named];
  const more = [
    kept > runs.length ? `the last ${runs.length} of ${kept} that are kept` : "",
    places.length > named.length ? `${places.length - named.length} more results are not shown` : "",
  ].filter(Boolean).join("; ");
  const steps = [...runs].reverse();
  return section(["Runs", more ? ` (${more})` : ""], el("div", { class: "wide", ...scrollable("The last runs") }, el("table", { class: "history" },
    el("thead", {}, el("tr", {}, ["when", "light", ...series.map(({ name }) => name)].map((head, n) => el("th", { scope: "col", class: n > 1 ? "number" : null }, head))),
      el("tr", { "aria-hidden": "true" }, el("td", {}, zone()), el("td", {}), series.map(({ of }) => el("td", { class: "number" }, sparkline(runs.map(of)))))),
    el("tbody", {}, steps.map((run) => el("tr", {}, el("th", { scope: "row" }, timestamp(run[0])), el("td", {}, light(run[1]), ` ${labelOf(run[1])}`),
      series.map(({ of }) => el("td", { class: "number" }, of(run) == null ? "" : valueText(of(run))))))))));
}

// The column of a result, under the name that results() gives it.
function resultName(stem, key) {
  const place = (data.places ?? []).findIndex((each) => each[0] === stem && each[1] === key);
  return ofKind("result").find((column) => column.place === place)?.name ?? key;
}

// Numbers as a line from the oldest to the latest, which has a dot.
function sparkline(values) {
  const known = values.map((value, n) => [n, value]).filter(([, value]) => number(value) !== undefined);
  if (known.length < 2) return null;
  const [low, high] = extent(known.map(([, value]) => value));
  const places = known.map(([n, value]) => [3 + (n / (values.length - 1)) * 64, high > low ? 15 - shareOf(value, low, high) * 12 : 9]);
  return svg("svg", { class: "sparkline", viewBox: "0 0 70 18", width: 70, height: 18 },
    svg("path", { class: "lines", d: `M${places.map((place) => place.map((each) => each.toFixed(1)).join(" ")).join("L")}` }),
    svg("path", { class: "last", d: dots([places[places.length - 1]]) }));
}

// ---- Neighbours and files

const labelOfRow = (row) => `${row.step}/${row.instance}`;
const upstreamsOf = (row) => row.upstreams ?? [];
const MOST_DOWNSTREAMS = 100;

function downstreamsOf(row) {
  const found = data.rows.filter((other) => other.upstreams?.includes(labelOfRow(row))).map(labelOfRow);
  const more = found.length - MOST_DOWNSTREAMS;
  return more > 0 ? [...found.slice(0, MOST_DOWNSTREAMS), `… and ${more} more`] : found;
}

// How many there are of names, of which the last one may say how many more there are.
function manyOf(names) {
  const more = /^… and (\d+) more$/.exec(names.at(-1))?.[1];
  return more ? names.length - 1 + Number(more) : names.length;
}

function related(heading, labels) {
  if (!labels.length) return null;
  const known = new Map(data.rows.map((row) => [labelOfRow(row), row]));
  return folded(`${heading} ${count(manyOf(labels), "instance")}`, el("ul", { class: "names" }, labels.map((label) => {
    const row = known.get(label);
    if (!row) return el("li", {}, label);
    const open = button(label, { class: "to" });
    open.addEventListener("click", () => openInstance(row));
    return el("li", {}, light(statusOf(row)), open);
  })));
}

// The last name may say how many more there are: that is no file.
function files(heading, names, pathOf) {
  if (!names?.length) return null;
  return folded(`${heading} ${count(manyOf(names), "file")}`, el("ul", { class: "names" }, names.map((name) =>
    el("li", {}, name.startsWith("… and ") || !pathOf(name) ? name : link(pathOf(name), name)))));
}

const isAbsolute = (path) => /^([A-Za-z]:)?[\\/]/.test(path) || path.includes("://");

const folded = (heading, body) => el("details", { class: "more" }, el("summary", {}, heading), body);

const resultsOf = (row) =>
  ofKind("result").map((column) => [column, column.get(row)]).filter(([, value]) => value !== undefined);

// The results, and what they were before this session where that was something else.
function resultTable(row, results) {
  const before = new Map(Object.entries(row.before?.results ?? {}).flatMap(([stem, values]) =>
    Object.entries(values).map(([key, value]) => [`${stem}\n${key}`, value])));
  return el("table", { class: "results" }, results.map(([{ name, place }, value]) => {
    const was = before.get((data.places?.[place] ?? []).join("\n"));
    const isOther = was !== undefined && exactText(was) !== exactText(value);
    return el("tr", {}, el("th", { scope: "row" }, name), el("td", { title: exactText(value) }, valueText(value)),
      el("td", { class: "muted" }, isOther ? `before: ${valueText(was)}` : null));
  }));
}

function beforeOf(row) {
  const { status, duration: took } = row.before;
  return el("p", {}, light(status), ` ${labelOf(status)}`, took == null ? "" : `, ${duration(took)}`);
}

function differenceOf(row, { file, is_there, message, notes, worst, figures }) {
  const shown = FIGURES.filter((kind) => figures[kind]);
  return el("div", { class: "difference" },
    el("h3", {}, is_there ? link(`${row.directory}/${file}`, file) : file),
    el("p", {}, message),
    notes.length ? el("pre", { class: "plain", ...scrollable(`Notes on ${file}`) }, noteLines(notes)) : null,
    worst.length ? el("div", { class: "worst", ...scrollable(`Worst values of ${file}`) }, worstValues(worst)) : null,
    shown.length ? el("div", { class: "figures" }, shown.map((kind) => figure(row, file, kind, figures[kind]))) : null);
}

const FIGURES = ["expected", "found", "difference"];

// In a unified diff, lines that begin with + or - after the first @@ are coloured.
function noteLines(notes) {
  const first = notes.findIndex((line) => line.startsWith("@@"));
  const kindOf = (line, index) =>
    first >= 0 && index > first ? { "+": "added", "-": "removed" }[line[0]] : null;
  return notes.map((line, index) => el("span", { class: kindOf(line, index) }, line || el("br", {})));
}

function worstValues(worst) {
  const heads = ["where", "expected", "found", "difference", "relative"];
  const kindOf = (text) => (text.length > 32 ? "long" : null);
  return el("table", {},
    el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, worst.map(({ where, expected, found, absolute, relative }) =>
      el("tr", {},
        el("th", { scope: "row", class: kindOf(where) }, where),
        [expected, found, amount(absolute), percent(relative)].map((text) =>
          el("td", { class: kindOf(text) }, text))))));
}

// Another run writes other figures with the same names: the time distinguishes them in the browser's cache.
function figure(row, file, kind, path) {
  const target = `${row.directory}/${path}`;
  const source = `${href(target)}?${encodeURIComponent(row.started ?? "")}`;
  const image = el("img", { src: source, alt: `${kind}: ${file}`, loading: "lazy" });
  return el("figure", {}, el("figcaption", {}, kind), link(target, image));
}

function flowList(flows) {
  return el("ul", { class: "flows" }, flows.map((flow) =>
    el("li", {},
      el("div", { class: "flow" },
        light(flow.status),
        el("span", { class: "flow-name" }, flow.flow,
          flow.instance && flow.instance !== flow.flow ? el("span", { class: "muted" }, ` ${flow.instance}`) : null),
        el("span", { class: "muted" }, flow.duration == null ? "" : duration(flow.duration)),
        el("span", { class: "flow-links" }, links(flow.links)),
        flow.message ? el("span", { class: "flow-message" }, flow.message) : null),
      flow.flows?.length ? flowList(flow.flows) : null)));
}

// The clipboard API is not available over plain http: there the old command still works.
async function copy(button) {
  const code = button.previousElementSibling;
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch {
    getSelection().selectAllChildren(code);
    document.execCommand("copy");
  }
  button.textContent = "copied";
  setTimeout(() => { button.textContent = "copy"; }, 1500);
}
