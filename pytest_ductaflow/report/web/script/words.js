// Words and numbers as readers see them. Times are shown in the reader's time zone.

const STATUSES = ["success", "warning", "error", "blocked", "running", "waiting", "not-run"];
const WORST_FIRST = ["error", "blocked", "warning", "running", "waiting", "success", "not-run"];
const LABELS = { "not-run": "not run" };
const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

const labelOf = (status) => LABELS[status] ?? status;
const statusOf = (row) => (row.earlier && row.status === "waiting" ? "not-run" : row.status);
const pad = (number) => String(number).padStart(2, "0");
const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

// Each limit is where rounding would already show the next unit: 59.97 s is "1 min 00 s".
function duration(seconds) {
  if (seconds < 9.995) return `${seconds.toFixed(2)} s`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${pad(whole % 60)} s`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)} h ${pad(minutes % 60)} min`;
}

// For values updated once per second: no decimals.
const wholeDuration = (seconds) =>
  seconds < 60 ? `${Math.floor(seconds)} s` : duration(Math.floor(seconds));

// For estimates: minutes without seconds.
function roundDuration(seconds) {
  if (seconds < 100) return `${Math.ceil(seconds)} s`;
  return seconds < 3540 ? `${Math.round(seconds / 60)} min` : duration(seconds);
}

function memory(bytes) {
  if (bytes < 9.95e6) return `${(bytes / 1e6).toFixed(1)} MB`;
  return bytes < 999.5e6 ? `${Math.round(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

// A difference between two values. Numbers that JSON lacks, such as NaN, arrive as text.
function amount(number) {
  if (typeof number !== "number") return number ?? "";
  if (number && (number < 1e-3 || number >= 1e6)) return number.toExponential(2);
  return number < 1000 ? String(Number(number.toPrecision(4))) : number.toFixed(0);
}

const percent = (share) => (typeof share === "number" ? `${amount(100 * share)} %` : amount(share));

const since = (iso, end = Date.now()) => Math.max(0, (end - Date.parse(iso)) / 1000);

// The Swedish locale writes local time as "2031-05-17 14:05:09".
const timestamp = (iso) => new Date(iso).toLocaleString("sv");

const zone = () => Intl.DateTimeFormat().resolvedOptions().timeZone ?? "local time";

// A value of a config or a result, as text. A number has six digits at most.
function valueText(value) {
  if (value === undefined) return "";
  if (typeof value === "number") return numberText(value);
  return typeof value === "string" ? value : JSON.stringify(value);
}

function numberText(number) {
  if (Number.isInteger(number) && Math.abs(number) < 1e9) return String(number);
  const size = Math.abs(number);
  if (size && (size < 1e-4 || size >= 1e9)) return number.toExponential(3);
  return String(Number(number.toPrecision(6)));
}

// A long text keeps its beginning and its end, since names often differ there.
function shortened(text, most) {
  if (text.length <= most) return text;
  const tail = Math.floor((most - 1) / 2);
  return `${text.slice(0, most - 1 - tail)}…${text.slice(text.length - tail)}`;
}
