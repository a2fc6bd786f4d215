// Draws plots as SVG. What is drawn differs in place, dash and shape, never in colour alone.

const NS = "http://www.w3.org/2000/svg";
const LANE = { label: 16, bars: 34, gap: 4 }, LINES_HEIGHT = 152, AXIS = 22, RIGHT = 14, TOP = 10, LETTER = 7.2;
const QUARTER_S = 900, HALF_LABEL = 18;

function draw(name, attributes = {}, ...children) {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const text = (x, y, words, more = {}) => draw("text", { x, y, ...more }, words);
const near = (value) => Math.round(value * 10) / 10;

// Round steps of an axis from 0 to at least `most`, at most four of them: 1, 2 or 5 times a power of ten.
export function ticks(most, smallest = 1) {
  const rough = Math.max(most / 4, smallest), power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((times) => times * power).find((size) => size >= rough * 0.999);
  const count = Math.max(1, Math.ceil(most / step));
  return Array.from({ length: count + 1 }, (_, place) => place * step);
}

function timeAxis(plot, left, right, y) {
  const count = plot.lines[0].values.length, until = plot.from + count * plot.step;
  const x = (seconds) => left + (right - left) * (seconds - plot.from) / (until - plot.from);
  const group = draw("g", { class: "axis" }, draw("line", { x1: left, x2: right, y1: y, y2: y }));
  // Every zone differs from UTC by quarters of an hour.
  for (let at = Math.ceil(plot.from / QUARTER_S) * QUARTER_S; at <= until; at += QUARTER_S) {
    const place = near(x(at)), label = Math.min(Math.max(place, HALF_LABEL), right + RIGHT - HALF_LABEL);
    group.append(draw("line", { x1: place, x2: place, y1: y, y2: y + 4 }), text(label, y + 17, plot.atMoment(at), { "text-anchor": "middle" }));
  }
  return { group, middle: (place) => x(plot.from + (place + 0.5) * plot.step), wide: x(plot.from + plot.step) - left };
}

function gridLine(left, right, y, words) {
  return draw("g", { class: "grid" }, draw("line", { x1: left, x2: right, y1: y, y2: y }), text(left - 6, y + 4, words, { "text-anchor": "end" }));
}

const leftOf = (labels) => Math.ceil(Math.max(...labels.map((words) => words.length)) * LETTER) + 8;

// One lane for each outcome, all on the same scale: a lane is known by its label.
function lanes(plot, width) {
  const top = ticks(Math.max(...plot.lines.flatMap((line) => line.values))).at(-1);
  const left = leftOf([plot.format(top)]), right = width - RIGHT, each = LANE.label + LANE.bars + LANE.gap;
  const bottom = each * plot.lines.length - LANE.gap, time = timeAxis(plot, left, right, bottom);
  const parts = plot.lines.map((line, place) => {
    const base = place * each + LANE.label + LANE.bars, bar = Math.max(1.5, time.wide - 1);
    const lane = draw("g", { class: line.level }, gridLine(left, right, base - LANE.bars, plot.format(top)),
      draw("line", { class: "base", x1: left, x2: right, y1: base, y2: base }),
      text(left, base - LANE.bars - 4, `${line.name}: ${plot.format(line.total)}`, { class: "lane" }));
    line.values.forEach((value, minute) => {
      // One request among thousands is seen too.
      const tall = Math.max(value / top * LANE.bars, 3);
      if (value) lane.append(draw("rect", { x: near(time.middle(minute) - bar / 2), y: near(base - tall), width: near(bar), height: near(tall) }));
    });
    return lane;
  });
  return { height: bottom + AXIS, parts: [...parts, time.group] };
}

const shapes = [
  (x, y) => draw("circle", { cx: near(x), cy: near(y), r: 3 }),
  (x, y) => draw("path", { d: `M${near(x)} ${near(y - 4.5)}l4.5 4.5l-4.5 4.5l-4.5 -4.5z` }),
];

// The picture of a line in the key.
export function sample(place) {
  return draw("svg", { class: "sample", width: 34, height: 12, "aria-hidden": "true" },
    draw("g", { class: `line line-${place}` }, draw("path", { class: "stroke", d: "M1 6H33" }), shapes[place](17, 6)));
}

function lineOf(values, place, x, y) {
  const group = draw("g", { class: `line line-${place}` });
  const isAt = (minute) => (values[minute] ?? null) !== null;
  let path = "";
  const marks = [];
  values.forEach((value, minute) => {
    if (!isAt(minute)) return;
    const isFirst = !isAt(minute - 1), isLast = !isAt(minute + 1);
    // A gap stays a gap.
    path += `${isFirst ? "M" : "L"}${near(x(minute))} ${near(y(value))}`;
    if (isFirst || isLast || minute % 10 === 5 * place) marks.push(shapes[place](x(minute), y(value)));
  });
  group.append(draw("path", { class: "stroke", d: path }), ...marks);
  return group;
}

function lines(plot, width) {
  const most = Math.max(...plot.lines.flatMap((line) => line.values.filter((value) => value !== null)), 0);
  const steps = ticks(most), top = steps.at(-1), bottom = TOP + LINES_HEIGHT;
  const left = leftOf(steps.map(plot.format)), right = width - RIGHT;
  const y = (value) => bottom - value / top * LINES_HEIGHT, time = timeAxis(plot, left, right, bottom);
  const grid = steps.map((value) => gridLine(left, right, near(y(value)), value || !plot.isTime ? plot.format(value) : "0"));
  const drawnLines = plot.lines.map(({ values }, place) => lineOf(values, place, time.middle, y));
  return { height: bottom + AXIS, parts: [...grid, time.group, ...drawnLines] };
}

// The picture of a plot, as wide as its place: letters are as large in a narrow one.
export function drawn(plot, width) {
  const { height, parts } = plot.kind === "lanes" ? lanes(plot, width) : lines(plot, width);
  return draw("svg", { role: "img", width, height, viewBox: `0 0 ${width} ${height}` }, draw("title", {}, plot.gist), ...parts);
}
