"use strict";
// Small helpers of both pages. Text reaches the page as text nodes only, so that no file name can become markup.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}
const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

// Numbers: null is undefined, "inf" and "-inf" are infinite (JSON has neither NaN nor infinity).
const real = (value) => (value === null || value === undefined ? NaN : value === "inf" ? Infinity
  : value === "-inf" ? -Infinity : value);
function show(value, digits) {
  const number = real(value);
  if (Number.isNaN(number)) return "–";
  if (!Number.isFinite(number)) return number > 0 ? "∞" : "−∞";
  return number.toFixed(digits).replace(/^-(?=.*[1-9])/, "−").replace(/^-/, "");
}
const counted = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
/** A cell with a number: rounded for people, whole in `data-value`. */
const cell = (value, digits, attributes) =>
  el("td", { "data-value": value === null || value === undefined ? "" : value, ...attributes }, show(value, digits));

const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#3a3a3a"];
const colour = (index) => COLOURS[index % COLOURS.length];

/** A mark whose shape changes when the colours are used up. */
function mark(x, y, index, size, attributes) {
  const shape = Math.floor(index / COLOURS.length) % 4;
  const look = { fill: colour(index), ...attributes };
  if (shape === 0) return svg("circle", { cx: x, cy: y, r: size, ...look });
  const s = size * 1.15;
  const path = [null, `M${x - s} ${y - s}h${2 * s}v${2 * s}h${-2 * s}z`,
    `M${x} ${y - 1.3 * s}L${x + 1.2 * s} ${y + s}H${x - 1.2 * s}z`,
    `M${x} ${y - 1.4 * s}L${x + 1.4 * s} ${y}L${x} ${y + 1.4 * s}L${x - 1.4 * s} ${y}z`][shape];
  return svg("path", { d: path, ...look });
}

/** About `wanted` round numbers that cover low..high. */
function ticks(low, high, wanted) {
  const rough = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough * 0.999);
  const first = Math.floor(low / step + 1e-9);
  const last = Math.ceil(high / step - 1e-9);
  return Array.from({ length: Math.max(last - first, 1) + 1 }, (_, index) => +((first + index) * step).toPrecision(12));
}

/** The lines of a text that is no wider than so many pixels, broken after a blank or a mark where it can be. */
const ruler = document.createElement("canvas").getContext("2d");
ruler.font = "14px system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif";
const widthOf = (text) => ruler.measureText(text).width;
function wrapped(text, width) {
  const lines = [];
  let rest = text;
  while (widthOf(rest) > width && rest.length > 1) {
    let fits = 1;
    while (fits < rest.length - 1 && widthOf(rest.slice(0, fits + 1)) <= width) fits += 1;
    const mark = Math.max(...[" ", "_", "-", "/", ".", ","].map((sign) => rest.lastIndexOf(sign, fits - 1)));
    const end = mark > fits / 3 ? mark + 1 : fits;
    lines.push(rest.slice(0, end).trimEnd());
    rest = rest.slice(end);
  }
  return [...lines, rest];
}
const LINE = 18;
/** Lines of text on one another, the middle of them at y. */
const textLines = (x, y, lines, attributes) => svg("text", attributes, lines.map((line, index) =>
  svg("tspan", { x, y: y + 5 + (index - (lines.length - 1) / 2) * LINE }, line)));

/** Same every time: points must not dance when the page is drawn again. */
const jitter = (index) => ((index * 0.618034) % 1) - 0.5;

/** Headings that sort; `sort(key)` is called on a click. */
const heading = (title, key, order, sort, attributes) =>
  el("th", { scope: "col", "aria-sort": order.key === key ? (order.up ? "ascending" : "descending") : "none",
    ...attributes }, el("button", { type: "button", onclick: () => sort(key) }, title));

/** Sorts by number or text; what has no value is last either way. */
function ordered(rows, value, up) {
  return rows.slice().sort((one, other) => {
    const [a, b] = [value(one), value(other)];
    if (typeof a === "string") return up ? a.localeCompare(b, "en", { numeric: true }) : b.localeCompare(a, "en", { numeric: true });
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
    return a === b ? 0 : (a < b) === up ? -1 : 1;
  });
}

function definitions(pairs) {
  return el("dl", {}, ...pairs.flatMap(([term, text]) => [el("dt", {}, term), el("dd", {}, text)]));
}
const provenance = () => [
  ["Command", el("code", {}, data.command)],
  ["Written", data.provenance.written],
  ["Versions", Object.entries(data.provenance.versions).map((pair) => pair.join(" ")).join(", ")],
  ["Commit", data.provenance.commit || "installed package"],
];

let drawAgain = null;
addEventListener("resize", () => { clearTimeout(drawAgain); drawAgain = setTimeout(() => drawPlots(), 150); });
