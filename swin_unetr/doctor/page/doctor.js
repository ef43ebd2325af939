"use strict";
// The page of a diagnosis. Its numbers are those of diagnosis.json and survey.json; only the order of rows is made here.

const state = { query: "", only: false, order: { key: "id", up: true } };
const of = (id) => data.findings.filter((finding) => finding.case === id);
const many = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
const short = (value) => (value === null || value === undefined ? "–" : Number(value.toPrecision(4)).toString().replace("-", "−"));
const percents = ["0.5 %", "5 %", "median", "95 %", "99.5 %"].map((name) => name.replace(" ", "\u00a0"));
const number = (value) => el("td", { "data-value": value === null || value === undefined ? "" : value }, short(value));
/** Values of a channel; those that are tiny compared with the width of its percentiles are shown as 0. */
const rounded = (values, percentiles = values) => {
  const least = 1e-3 * (Math.max(...percentiles) - Math.min(...percentiles));
  return values.map((value) => (value !== null && Math.abs(value) < least ? 0 : value));
};
const by = (values) => (values ? values.map(short).join(" × ") : "–");

function drawFindings() {
  if (!data.findings.length) return byId("findings").replaceChildren(el("p", {}, "No defects were found."));
  const codes = [...new Set(data.findings.map((finding) => finding.code))];
  byId("findings").replaceChildren(...codes.map((code) => {
    const [severity, title, remedy] = data.kinds[code];
    const found = data.findings.filter((finding) => finding.code === code);
    return el("details", { style: `border-left: 5px solid ${severity === "error" ? "#b3261e" : "#e69f00"}; padding: .1rem 1rem; margin: .7rem 0`,
      "data-code": code, open: found.length <= 12 },
      el("summary", {}, `${severity === "error" ? "Error" : "Warning"}: ${title} (${found.length})`),
      el("p", {}, `What to do: ${remedy}.`),
      el("ul", {}, found.map((finding) => el("li", { "data-file": finding.file },
        finding.file ? el("code", {}, finding.file) : null, finding.file ? ": " : "", finding.words))));
  }));
}

function drawHeld() {
  byId("grids").replaceChildren(definitions(data.grids));
  const heads = (titles) => el("thead", {}, el("tr", {}, titles.map((title) => el("th", { scope: "col" }, title))));
  const partly = data.structures.some((row) => row.looked_for !== null);
  if (data.structures.length) byId("structures").replaceChildren(
    heads(["Structure", "Label values", ...(partly ? ["Looked for in"] : []), "Cases", "Smallest, ml", "Median", "Largest"]),
    el("tbody", {}, data.structures.map((row, index) => el("tr", { "data-structure": row.name }, el("td", {}, row.name),
      el("td", {}, row.values.join(", ")), partly ? number(row.looked_for) : null, number(data.cases.filter((item) => item.volumes && item.volumes[index] !== null).length),
      [0, 1, 2].map((at) => number(row.spread && row.spread[at]))))));
  byId("channels").replaceChildren(
    heads(["Channel", "Lowest", ...percents, "Highest", "Mean", "SD", ...percents.map((name) => `In labels, ${name}`)]),
    el("tbody", {}, data.channels.map((row) => el("tr", {}, el("td", {}, row.name), rounded(row.all, row.all.slice(1, 1 + percents.length)).map(number),
      rounded(row.foreground || percents.map(() => null)).map(number)))));
}

/** Round numbers from below low to above high for a logarithmic axis: 1, 2, 5 in each decade, or 1 for many decades. */
function decades(low, high) {
  const [first, last] = [Math.max(low, 1e-6), Math.max(high, 1e-6)].map((value) => Math.floor(Math.log10(value) + 1e-9));
  const steps = last - first > 2 ? [1] : [1, 2, 5];
  const all = Array.from({ length: last - first + 2 }, (_, at) => steps.map((step) => Number((step * 10 ** (first + at)).toPrecision(1)))).flat();
  const from = all.findLastIndex((value) => value <= low * (1 + 1e-9));
  const to = all.findIndex((value, at) => value >= high && at > from);
  return all.slice(Math.max(from, 0), to + 1);
}

function drawPlots() {
  const box = byId("volumes");
  const shown = data.structures.map((row, index) => ({ row, index })).filter((item) => item.row.spread);
  box.parentElement.hidden = !shown.length;
  if (!shown.length) return;
  const width = Math.max(300, box.clientWidth);
  const left = Math.min(width * 0.38, 24 + 7.6 * Math.max(...shown.map((item) => item.row.name.length), 4));
  const step = shown.length > 10 ? 26 : 44;
  const height = shown.length * step + 40;
  const marks = decades(Math.min(...shown.map((item) => item.row.spread[0])), Math.max(...shown.map((item) => item.row.spread[2])));
  const [low, high] = [marks[0], marks[marks.length - 1]].map(Math.log10);
  const x = (value) => left + 10 + (Math.log10(Math.max(value, marks[0])) - low) / (high - low) * (width - left - 40);
  const canvas = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Volumes by structure" });
  for (const mark of marks) canvas.append(
    svg("line", { class: "grid", x1: x(mark), x2: x(mark), y1: 2, y2: height - 28 }),
    svg("text", { x: x(mark), y: height - 8, "text-anchor": "middle" }, String(mark)));
  shown.forEach(({ row, index }, place) => {
    const y = step * (place + 0.5);
    const most = Math.floor((left - 8) / 7.4);
    canvas.append(svg("text", { x: left - 8, y: y + 5, "text-anchor": "end" },
      row.name.length > most ? `${row.name.slice(0, most - 1)}…` : row.name));
    data.cases.forEach((item, at) => {
      const value = item.volumes ? item.volumes[index] : null;
      if (value === null) return;
      const point = svg("circle", { class: "point", cx: x(value), cy: y + jitter(at + 1) * step * 0.6, r: 3.6, fill: "#0072B2" },
        svg("title", {}, `${item.id}: ${short(value)} ml`));
      point.addEventListener("click", () => { byId("query").value = state.query = item.id; drawCases(); byId("cases-heading").scrollIntoView(); });
      canvas.append(point);
    });
  });
  box.replaceChildren(canvas);
}

const COLUMNS = [["Case", "id"], ["Defects", "defects"], ["Shape", "shape"], ["Voxel size, mm", "spacing"], ["Orientation", "orientation"],
  ["File", "kind"], [percents[0], "p0"], ["Median", "p2"], [percents[4], "p4"]];
function valueOf(item, key) {
  if (key === "defects") return of(item.id).length;
  if (key === "shape") return item.shape ? item.shape.reduce((a, b) => a * b) : NaN;
  if (key === "spacing") return item.spacing ? item.spacing.reduce((a, b) => a * b) : NaN;
  if (/^p\d$/.test(key)) return item.percentiles ? item.percentiles[Number(key[1])] : NaN;
  if (key.startsWith("v")) return item.volumes ? real(item.volumes[Number(key.slice(1))]) : NaN;
  return item[key] || "";
}
function sort(key) {
  state.order = { key, up: state.order.key === key ? !state.order.up : key === "id" };
  drawCases();
}
function drawCases() {
  const matching = data.cases.filter((item) => item.id.toLowerCase().includes(state.query.toLowerCase())
    && (!state.only || of(item.id).length));
  const columns = [...COLUMNS, ...data.structures.map((row, index) => [row.name, `v${index}`])];
  byId("case-count").textContent = `${matching.length} of ${many(data.cases.length, "case")}.`;
  byId("cases").replaceChildren(
    el("thead", {}, el("tr", {}, columns.map(([title, key]) => heading(title, key, state.order, sort)))),
    el("tbody", {}, ordered(matching, (item) => valueOf(item, state.order.key), state.order.up).map((item) => {
      const found = of(item.id);
      return el("tr", { class: found.some((finding) => finding.severity === "error") ? "failed" : null, "data-case": item.id },
        el("td", {}, item.id),
        el("td", { title: found.map((finding) => `${finding.title}: ${finding.words}`).join("\n") },
          found.length ? [...new Set(found.map((finding) => finding.code))].join(", ") : "–"),
        el("td", {}, by(item.shape)), el("td", {}, by(item.spacing)), el("td", {}, item.orientation || "–"), el("td", {}, item.kind || "–"),
        rounded(item.percentiles || percents.map(() => null)).filter((_, at) => at % 2 === 0).map(number),
        data.structures.map((row, index) => number(item.volumes && item.volumes[index])));
    })));
}

function setUp() {
  byId("lead").textContent = data.lead;
  byId("notes").replaceChildren(...data.notes.map((note) => el("p", { class: "soft" }, note)));
  byId("machine").replaceChildren(...(data.machine.length ? data.machine.map((line) => el("div", {}, line)) : [el("p", {}, "Not checked.")]));
  byId("query").addEventListener("input", (event) => { state.query = event.target.value; drawCases(); });
  byId("only").addEventListener("change", (event) => { state.only = event.target.checked; drawCases(); });
  byId("methods").replaceChildren(definitions(provenance()));
  drawFindings();
  drawHeld();
  drawPlots();
  drawCases();
  document.body.dataset.ready = "yes";
}
setUp();
