// Charts as SVG, drawn by hand: lines over steps, and differences with intervals.

import { h, s } from "./dom.js";
import { signed } from "./format.js";

/** Round numbers between two ends, about `wanted` of them. */
export function ticks(low, high, wanted = 5) {
  const span = high - low || Math.abs(high) || 1;
  const rough = span / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-6; value += step)
    found.push(Math.abs(value) < step * 1e-9 ? 0 : value);
  return found;
}

const plain = (value) => (Math.abs(value) >= 1000 ? value.toLocaleString("en") : String(Number(value.toPrecision(4))));

/** Units of a chart's width: as many as it has pixels, so that its text is never shrunk. */
const wide = () => (matchMedia("(max-width: 860px)").matches ? Math.max(280, Math.min(560, innerWidth - 70)) : 560);

function frame(caption, label, width, height, parts, extra) {
  return h(
    "figure",
    { class: "chart" },
    h("figcaption", {}, caption),
    s("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, parts),
    extra,
  );
}

/** A label cut to what fits beside a chart: the whole of it stands in its title. */
function clipped(text, pixels) {
  const most = Math.floor((pixels - 10) / 6.3);
  return text.length > most ? [`${text.slice(0, most - 1)}…`, s("title", {}, text)] : text;
}

const swatch = (n) =>
  s(
    "svg",
    { viewBox: "0 0 14 8", "aria-hidden": "true" },
    s("line", { class: `line c${n}`, x1: 0, y1: 4, x2: 14, y2: 4 }),
  );

/** What colours stand for. */
export const legend = (names) =>
  h(
    "p",
    { class: "legend" },
    names.map((name, n) => h("span", {}, swatch(n + 1), name)),
  );

/** A running mean over `width` points: single steps are noisy. */
function smooth(points, width) {
  const found = [];
  let sum = 0;
  points.forEach(([x, y], n) => {
    sum += y - (n >= width ? points[n - width][1] : 0);
    found.push([x, sum / Math.min(n + 1, width)]);
  });
  return found;
}

/**
 * Lines over steps: series are {name, points: [[x, y]]}. With many points a running mean stands over the raw line.
 * @param {string} caption
 * @param {{ name: string, points: number[][] }[]} series
 * @param {{ unit?: string, x?: string, low?: number, high?: number }} [options]
 */
export function lineChart(caption, series, { unit = "", x = "step", low, high } = {}) {
  const shown = series.filter((one) => one.points.length);
  const all = shown.flatMap((one) => one.points);
  if (!all.length)
    return h(
      "figure",
      { class: "chart" },
      h("figcaption", {}, caption),
      h("p", { class: "muted small" }, "Nothing has been measured yet."),
    );
  const [width, height, left, right, top, bottom] = [wide(), 240, 50, 12, 10, 34];
  const xs = all.map((point) => point[0]),
    ys = all.map((point) => point[1]);
  const ends = [Math.min(...xs), Math.max(...xs)];
  const yTicks = ticks(low ?? Math.min(...ys), high ?? Math.max(...ys));
  const yEnds = [
    Math.min(low ?? Infinity, Math.min(...ys), yTicks[0]),
    Math.max(high ?? -Infinity, Math.max(...ys), yTicks.at(-1)),
  ];
  const px = (value) => left + ((value - ends[0]) / (ends[1] - ends[0] || 1)) * (width - left - right);
  const py = (value) => height - bottom - ((value - yEnds[0]) / (yEnds[1] - yEnds[0] || 1)) * (height - top - bottom);
  const path = (points) =>
    points.map((point, n) => `${n ? "L" : "M"}${px(point[0]).toFixed(1)} ${py(point[1]).toFixed(1)}`).join("");
  const parts = [
    yTicks.map((value) => [
      s("line", { class: "gridline", x1: left, x2: width - right, y1: py(value), y2: py(value) }),
      s("text", { class: "label", x: left - 8, y: py(value) + 4, "text-anchor": "end" }, plain(value) + unit),
    ]),
    ticks(...ends, 6)
      .filter((value) => Number.isInteger(value) || x !== "step")
      .map((value) =>
        s("text", { class: "label", x: px(value), y: height - bottom + 17, "text-anchor": "middle" }, plain(value)),
      ),
    s("text", { class: "label", x: width - right, y: height - 4, "text-anchor": "end" }, x),
    shown.map((one, n) => {
      const many = one.points.length > 40;
      const mean = many ? smooth(one.points, Math.ceil(one.points.length / 20)) : one.points;
      const dots =
        !many &&
        one.points.map((point) => s("circle", { class: `f${n + 1}`, cx: px(point[0]), cy: py(point[1]), r: 2.2 }));
      return [
        many && s("path", { class: `line c${n + 1} soft`, d: path(one.points) }),
        s("path", { class: `line c${n + 1}`, d: path(mean) }),
        dots,
      ];
    }),
  ];
  const last = shown
    .map((one) => `${one.name} ${plain(one.points.at(-1)[1])}${unit} at ${x} ${plain(one.points.at(-1)[0])}`)
    .join("; ");
  return frame(
    caption,
    `${caption}: ${last}`,
    width,
    height,
    parts,
    shown.length > 1 && legend(shown.map((one) => one.name)),
  );
}

/** Differences in points around zero with intervals: rows are {name, value, low, high}. */
export function forestChart(caption, rows) {
  const [width, line, right] = [wide(), 30, 48];
  const labels = width < 420 ? 138 : 236;
  const height = rows.length * line + 26;
  const most =
    Math.max(1, ...rows.flatMap((row) => [Math.abs(row.value), Math.abs(row.low ?? 0), Math.abs(row.high ?? 0)])) *
    1.06;
  const px = (value) => labels + ((value + most) / (2 * most)) * (width - labels - right);
  const parts = [
    ticks(-most, most, 4).map((value) => [
      s("line", { class: value === 0 ? "zero" : "gridline", x1: px(value), x2: px(value), y1: 4, y2: height - 22 }),
      s("text", { class: "label", x: px(value), y: height - 6, "text-anchor": "middle" }, signed(value, 0)),
    ]),
    rows.map((row, n) => {
      const y = 4 + n * line + 15;
      return [
        s("text", { class: "label strong", x: labels - 10, y: y + 4, "text-anchor": "end" }, clipped(row.name, labels)),
        row.low !== undefined &&
          row.low !== null &&
          s("line", { class: "line c1", x1: px(row.low), x2: px(row.high), y1: y, y2: y }),
        s("circle", { class: "f1", cx: px(row.value), cy: y, r: 4.5 }),
        s("text", { class: "label strong", x: width, y: y + 4, "text-anchor": "end" }, signed(row.value)),
      ];
    }),
  ];
  return frame(
    caption,
    `${caption}: ${rows.map((row) => `${row.name} ${signed(row.value)} points`).join("; ")}`,
    width,
    height,
    parts,
  );
}
