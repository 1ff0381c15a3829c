// The head of the page: state, progress, numbers by status, steps.

const countStatuses = (rows) =>
  rows.reduce((counts, row) => {
    counts[statusOf(row)] += 1;
    return counts;
  }, Object.fromEntries(STATUSES.map((status) => [status, 0])));

// By the known durations of instances (see time_left.py); without these by the throughput of what really ran, at
// the last update: unchanged and blocked rows cost no time.
function secondsLeft(rows) {
  if (data.finished || hasEndedEarly()) return null;
  if (typeof data.left === "number") return Math.max(0, data.left - since(data.updated));
  const ran = rows.filter((row) => isSettled(row) && !row.unchanged && row.status !== "blocked").length;
  const left = rows.filter((row) => !isSettled(row)).length;
  if (data.finished || !ran || !left) return null;
  return (since(data.started, Date.parse(data.updated)) / ran) * left;
}

function drawHeader() {
  const rows = data.rows.filter((row) => !row.earlier);
  const counts = countStatuses(rows);
  const done = rows.filter(isSettled).length;
  const state = data.finished ? data.outcome ?? "finished" : hasEndedEarly() ? "ended early" : "running";
  const worst = WORST_FIRST.slice(0, 3).find((status) => counts[status]) ?? "success";
  const tone = state === "running" ? "running" : state !== "finished" && worst === "success" ? "warning" : worst;

  put("title", data.title);
  put("command", data.command);
  put("state", state);
  $("state").className = `state ${tone}`;
  page.classList.toggle("over", state !== "running");
  drawProgress(counts, done, rows.length);

  const left = secondsLeft(rows);
  const earlier = data.rows.length - rows.length;
  const failed = counts.error ? `${counts.error} failed` : "";
  put("done", `${done} of ${rows.length} done${failed && `, ${failed}`}`);
  put("outlook", [
    left == null ? "" : left < 1 ? "nearly done" : `about ${roundDuration(left)} left`,
    state === "ended early" ? `the session has written nothing since ${timestamp(data.updated)}; the same command goes on with what has not ended` : "",
    data.finished || !data.workers ? "" : `${data.workers} ${data.workers === 1 ? "worker" : "workers"}`,
    earlier ? `${earlier} not part of this session` : "",
  ].filter(Boolean).map((text) => ` · ${text}`).join(""));

  const mark = { running: "●", interrupted: "■", "ended early": "■", finished: failed ? "✗" : "✓" }[state];
  document.title = `${mark} ${done}/${rows.length}${failed && ` (${failed})`} ${data.title}`;
  drawIcon(tone === "running" && counts.error ? "error" : tone);
}

// A session writes at least every 30 s, later where a write takes long, and says by when: see live.py.
const SILENCE = 300; // seconds

const hasEndedEarly = () => !data.finished && data.updated != null && since(data.updated) > (data.patience ?? SILENCE);

const MOST_RUNNING = 4; // named in the header

// What runs now, each with the last line that it has printed.
function drawRunning() {
  const running = data.rows.filter(isTicking);
  const more = running.length - MOST_RUNNING;
  const text = JSON.stringify(running.map((row) => [row.id, row.last_line, row.worker]));
  if ($("running").dataset.made !== text) {
    $("running").dataset.made = text;
    $("running").replaceChildren(...running.slice(0, MOST_RUNNING).map(runningItem), ...(more > 0 ? [el("li", { class: "muted" }, `and ${more} more`)] : []));
  }
  for (const [n, row] of running.slice(0, MOST_RUNNING).entries()) $("running").children[n].querySelector(".ran").textContent = timeText(row);
}

function runningItem(row) {
  const open = button(`${row.step}/${shortName(row)}`, { class: "to", title: row.instance });
  open.addEventListener("click", () => openInstance(row));
  return el("li", {}, light("running"), open, el("span", { class: "muted ran" }), row.worker ? el("span", { class: "muted" }, row.worker) : null,
    row.last_line ? el("code", { class: "muted", title: row.last_line }, shortened(row.last_line, 120)) : null);
}

function drawProgress(counts, done, total) {
  const bar = $("progress");
  bar.setAttribute("aria-valuemax", total);
  bar.setAttribute("aria-valuenow", done);
  bar.setAttribute("aria-valuetext", `${done} of ${total} done`);
  bar.replaceChildren(...STATUSES.filter((status) => counts[status]).map((status) => {
    const part = el("span", { class: status, title: `${counts[status]} ${labelOf(status)}` });
    part.style.flexGrow = counts[status];
    return part;
  }));
}

// The tab shows the light, too.
function drawIcon(status) {
  const colour = getComputedStyle(page).getPropertyValue(`--${status}`).trim();
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7" fill="${colour}"/></svg>`;
  $("icon").href = `data:image/svg+xml,${encodeURIComponent(svg)}`;
}

// Updates what changes with the clock.
function drawTimes() {
  const end = data.finished ? Date.parse(data.finished) : Date.now();
  put("started", data.started ? timestamp(data.started) : "");
  put("zone", zone());
  put("elapsed", wholeDuration(since(data.started, end)));
  put("last-label", data.finished ? "finished" : "updated");
  drawRunning();
  put("last", data.finished ? timestamp(data.finished) : `${wholeDuration(since(data.updated))} ago`);
}


// A chip's number is the number of rows it shows, from any session.
function drawChips() {
  const counts = countStatuses(data.rows);
  const earlier = data.rows.filter((row) => row.earlier).length;
  const numbers = { all: data.rows.length, ...counts, session: data.rows.length - earlier };
  for (const chip of $("chips").children) {
    const { filter } = chip.dataset;
    chip.querySelector("b").textContent = numbers[filter];
    chip.classList.toggle("none", !numbers[filter]);
    const rare = (filter === "not-run" && !numbers[filter]) || (filter === "session" && !earlier);
    chip.hidden = rare && !isPressed(filter);
    chip.setAttribute("aria-pressed", isPressed(filter));
  }
}

function makeChips() {
  const names = { all: "all", session: "this session" };
  $("chips").append(...["all", ...STATUSES, "session"].map((filter) =>
    el("button", { type: "button", class: "chip", "data-filter": filter },
      STATUSES.includes(filter) ? el("span", { class: `light ${filter}`, "aria-hidden": "true" }) : null,
      el("b", {}), ` ${names[filter] ?? labelOf(filter)}`)));
}

// One group per source if there are several. An unchanged list is not touched: it may be open.
function drawSteps() {
  const sources = new Map();
  for (const row of data.rows) {
    if (!sources.has(row.source)) sources.set(row.source, new Map());
    sources.get(row.source).set(stepKey(row), row.step);
  }
  const several = sources.size > 1;
  $("table").classList.toggle("several-sources", several);
  const made = JSON.stringify([...sources].map(([source, steps]) => [source, [...steps]]));
  if ($("step").dataset.made === made) return;
  $("step").dataset.made = made;
  const groups = [...sources].map(([source, steps]) => {
    const options = [...steps].map(([key, step]) => el("option", { value: key }, step));
    return several ? el("optgroup", { label: source }, options) : options;
  });
  $("step").replaceChildren(el("option", { value: "" }, "all steps"), ...groups.flat());
  if (![...$("step").options].some((option) => option.value === view.step)) view.step = "";
  $("step").value = view.step;
}
