// Charts in SVG: scales, axes, colours. All points of one colour are one path, so that thousands are drawn
// at once.

// A scale for numbers that is even in lightness, and read the same by those who see no red or green
// (dark blue to yellow): red, green and blue at equal distances.
const SCALE = [[0, 32, 77], [42, 63, 109], [87, 92, 109], [121, 119, 119], [160, 148, 118], [203, 180, 103], [253, 229, 92]];
const GROUPS = 7; // colours, as in views.css; further groups share the last one

function colourAt(share) {
  const place = Math.min(1, Math.max(0, share || 0)) * (SCALE.length - 1);
  const low = Math.min(SCALE.length - 2, Math.floor(place));
  return SCALE[low].map((part, n) => Math.round(part + (SCALE[low + 1][n] - part) * (place - low)));
}

const css = ([r, g, b]) => `rgb(${r}, ${g}, ${b})`;
const inkOn = ([r, g, b]) => (0.299 * r + 0.587 * g + 0.114 * b > 125 ? "#111111" : "#ffffff");

function extent(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

// The place of a value between two others, from 0 to 1; halves, where their difference is no number any more.
const shareOf = (value, low, high) =>
  (Number.isFinite(high - low) ? (value - low) / (high - low) : (value / 2 - low / 2) / (high / 2 - low / 2));

// About `many` round numbers from low to high.
function ticks(low, high, many = 5) {
  if (!(high > low)) return [low];
  const rough = high / many - low / many;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((each) => each * power).find((each) => each >= rough);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, n) => Number(((first + n) * step).toPrecision(12)))
    .filter(Number.isFinite);
}

// The place of a column's values on an axis: numbers as they are, all else side by side.
function axisOf(column, rows, length, { isReverse = false } = {}) {
  const numbers = column.numeric ? rows.map((row) => number(column.get(row))).filter((value) => value !== undefined) : [];
  if (numbers.length) return numberAxis(numbers, length, isReverse);
  const classes = classesOf(column, rows);
  const classify = classifier(classes);
  const place = (n) => ((isReverse ? classes.length - 1 - n : n) + 0.5) * (length / Math.max(1, classes.length));
  return {
    at: (value) => (classify(value) < 0 ? undefined : place(classify(value))),
    ticks: classes.map(({ label }, n) => [place(n), label]),
    isNumeric: false,
    classes,
  };
}

function numberAxis(numbers, length, isReverse) {
  let [low, high] = extent(numbers);
  const least = Math.max(1, Math.abs(low) * 1e-9); // around a large number, 1 would be nothing
  if (low === high) [low, high] = [low - least, high + least];
  const margin = high * 0.04 - low * 0.04;
  const within = (value) => Math.min(Number.MAX_VALUE, Math.max(-Number.MAX_VALUE, value));
  const [from, to] = [within(low - margin), within(high + margin)];
  const turned = (share) => (isReverse ? 1 - share : share);
  const place = (value) => turned(shareOf(value, from, to)) * length;
  const valueAt = (at) => from * (1 - turned(at / length)) + to * turned(at / length);
  return {
    at: (value) => (typeof value === "number" ? place(value) : undefined),
    ticks: ticks(low, high).map((value) => [place(value), numberText(value)]),
    isNumeric: true,
    valueAt,
  };
}

function drawAxes(width, height, x, y, xName, yName) {
  const skip = Math.ceil(x.ticks.length / Math.max(2, Math.floor(width / 70)));
  return svg("g", { class: "axes" },
    svg("path", { d: `M0 0V${height}H${width}` }),
    x.ticks.filter((_, n) => n % skip === 0).map(([at, label]) =>
      svg("text", { x: at, y: height + 16, "text-anchor": "middle" }, shortened(label, 14))),
    y.ticks.slice(0, 40).map(([at, label]) => [
      svg("path", { class: "grid", d: `M0 ${at}H${width}` }),
      svg("text", { x: -8, y: at + 4, "text-anchor": "end" }, shortened(label, 12))]),
    svg("text", { class: "label", x: width / 2, y: height + 36, "text-anchor": "middle" }, xName),
    svg("text", { class: "label", x: -60, y: -10 }, yName));
}

// Dots as one path: a line of no length with round ends.
const dots = (places) => places.map(([x, y]) => `M${x.toFixed(1)} ${y.toFixed(1)}h0`).join("");

// The five numbers of a box: lowest, quartiles, highest.
function quartiles(values) {
  const ordered = [...values].sort((a, b) => a - b);
  const at = (share) => {
    const place = share * (ordered.length - 1);
    const low = Math.floor(place);
    return ordered[low] + (ordered[Math.min(low + 1, ordered.length - 1)] - ordered[low]) * (place - low);
  };
  return [0, 0.25, 0.5, 0.75, 1].map(at);
}
