"use strict";
// The page of a study. Its numbers are those of study.json; nothing is computed here but where they are drawn.

const ALL = data.all_structures;
const names = Object.keys(data.data);
const arms = Object.keys(data.study.arms).sort((a, b) => (b === data.baseline) - (a === data.baseline));
const shares = [...new Set(data.cells.map((item) => item.labels))].sort((a, b) => a - b);
const state = { data: names[0], metric: data.metrics[0].name, structure: ALL, labels: shares[shares.length - 1] };
const metric = () => data.metrics.find((item) => item.name === state.metric);
const armColour = (arm) => colour(arms.indexOf(arm));
const percent = (share) => `${+(100 * share).toPrecision(6)} %`;
const signed = (value, digits) => (real(value) > 0 ? "+" : "") + show(value, digits);
const inOrder = (items) => items.slice().sort((a, b) => a.labels - b.labels || arms.indexOf(a.arm) - arms.indexOf(b.arm));
const shownLevels = () => inOrder(data.levels.filter((item) => item.data === state.data && item.metric === state.metric && item.structure === state.structure));
const shownGains = () => inOrder(data.gains.filter((item) => item.data === state.data && item.difference.metric === state.metric
  && item.difference.structure === state.structure));
const cellsOf = (item) => data.cells.filter((one) => one.status === "done" && one.data === state.data && one.arm === item.arm && one.labels === item.labels);
const armTitle = (item) => (shares.length > 1 ? `${item.arm}, ${percent(item.labels)}` : item.arm);
const span = (values, digits) => {
  const known = values.filter((value) => value !== null && value !== undefined);
  if (!known.length) return "–";
  const [low, high] = [Math.min(...known).toFixed(digits), Math.max(...known).toFixed(digits)];
  return low === high ? low : `${low} to ${high}`;
};
const between = (low, high, form) => (low === null || low === undefined ? "–" : `${form(low)} to ${form(high)}`);

function drawFailures() {
  const failed = data.cells.filter((item) => item.status === "failed");
  if (!failed.length) return;
  byId("failures").append(el("div", { class: "warning" }, el("p", {}, `${counted(failed.length, "training")} failed; the same command tries again.`),
    failed.map((item) => el("details", { open: failed.length <= 3 }, el("summary", {}, `${item.arm} on ${item.data}, fold ${item.fold}, seed ${item.seed}, ${percent(item.labels)} of the labels`),
      el("p", {}, item.cause), el("pre", {}, (item.tail || []).slice(-8).join("\n")), el("p", {}, el("code", {}, item.log))))));
}

function drawArms() {
  const digits = metric().digits;
  const form = (value) => show(value, digits);
  const lost = shownLevels().some((item) => item.infinite);
  const rows = shownLevels().map((item) => {
    const cells = cellsOf(item);
    return el("tr", { class: item.arm === data.baseline ? "total" : null },
      el("td", {}, el("span", { class: "swatch", style: `background:${armColour(item.arm)}` }), armTitle(item)),
      cell(item.mean, digits, { "data-key": "mean" }), el("td", {}, between(item.ci_low, item.ci_high, form)),
      lost ? cell(item.infinite, 0) : null, el("td", {}, item.by_seed.map(form).join(", ")), cell(item.patients, 0),
      el("td", {}, span(cells.map((one) => one.training.length), 0)), el("td", {}, span(cells.map((one) => one.steps), 0)),
      el("td", {}, span(cells.map((one) => one.seconds / 60), 1)));
  });
  byId("arms").replaceChildren(el("thead", {}, el("tr", {}, ["Arm", metric().title, "95 % over patients", ...(lost ? ["∞"] : []), "By seed", "Patients", "Training cases", "Steps", "Minutes"]
    .map((title) => el("th", { scope: "col" }, title)))), el("tbody", {}, rows));
}

function drawGains() {
  const items = shownGains();
  byId("gaintitle").textContent = `Difference from ${data.baseline}`;
  for (const id of ["gaintitle", "gainwords", "gains"]) byId(id).hidden = !items.length;
  const digits = metric().digits;
  const form = (value) => signed(value, digits);
  const p = (value) => (value !== null && value < 0.0001 ? "< 0.0001" : show(value, 4));
  byId("gains").replaceChildren(el("thead", {}, el("tr", {}, ["Arm", "Difference", "95 % over patients", "With other seeds", "By seed", "Patients", "Better", "Equal", "Worse", "p", "p (Holm)"]
    .map((title) => el("th", { scope: "col" }, title)))), el("tbody", {}, items.map((item) => {
    const of = item.difference;
    return el("tr", {}, el("td", {}, el("span", { class: "swatch", style: `background:${armColour(item.arm)}` }), armTitle(item)),
      el("td", { "data-value": of.mean === null ? "" : of.mean, "data-key": "difference" }, form(of.mean)), el("td", {}, between(of.ci_low, of.ci_high, form)),
      el("td", {}, between(item.both_low, item.both_high, form)), el("td", {}, item.by_seed.map(form).join(", ")), cell(of.patients, 0),
      cell(of.first_wins, 0), cell(of.ties, 0), cell(of.second_wins, 0), el("td", {}, p(of.p)),
      el("td", { class: of.p_holm !== null && of.p_holm < 0.05 ? "sure" : null }, p(of.p_holm)));
  })));
}

/** Means with their intervals, one below the other; small points are the seeds. */
function forest(id, items, title, caption, zero) {
  const host = byId(id);
  const known = items.filter((item) => Number.isFinite(real(item.mean)));
  if (!known.length) { host.replaceChildren(); return; }
  const width = Math.min(620, Math.max(300, host.clientWidth || 480));
  const narrow = width < 440;
  const left = narrow ? 8 : Math.min(240, 24 + Math.max(...known.map((item) => widthOf(armTitle(item)))));
  const step = narrow ? 50 : 34;
  const values = known.flatMap((item) => [item.mean, item.low, item.high, ...item.by_seed]).map(real).filter(Number.isFinite);
  const marks = ticks(Math.min(...values, ...(zero ? [0] : [])), Math.max(...values, ...(zero ? [0] : [])), narrow ? 3 : 5);
  const [low, high] = [marks[0], marks[marks.length - 1]];
  const x = (value) => left + 14 + (value - low) / (high - low) * (width - left - 40);
  const bottom = 6 + known.length * step;
  const parts = marks.flatMap((value) => [svg("line", { x1: x(value), x2: x(value), y1: 4, y2: bottom, class: zero && value === 0 ? "zero" : "grid" }),
    svg("text", { x: x(value), y: bottom + 20, "text-anchor": "middle" }, String(value).replace("-", "−"))]);
  known.forEach((item, index) => {
    const y = 6 + index * step + (narrow ? 34 : step / 2);
    parts.push(narrow ? svg("text", { x: left, y: y - 14 }, wrapped(armTitle(item), width - 20)[0])
      : textLines(left, y, wrapped(armTitle(item), left - 10).slice(0, 2), { "text-anchor": "end" }));
    if (Number.isFinite(real(item.low))) parts.push(svg("line", { x1: x(item.low), x2: x(item.high), y1: y, y2: y, class: "mean" }));
    item.by_seed.map(real).filter(Number.isFinite).forEach((value) => parts.push(svg("circle", { cx: x(value), cy: y, r: 4, class: "point", fill: armColour(item.arm) })));
    parts.push(svg("path", { d: `M${x(item.mean)} ${y - 8}l7 8l-7 8l-7-8z`, fill: armColour(item.arm), stroke: "#111", "data-value": item.mean },
      svg("title", {}, `${armTitle(item)}: ${show(item.mean, metric().digits)}`)));
  });
  host.replaceChildren(el("figure", {}, el("figcaption", {}, title), svg("svg", { viewBox: `0 0 ${width} ${bottom + 30}`, role: "img", "aria-label": title }, parts),
    el("figcaption", {}, caption)));
}

/** Lines with x and y axes; series are {name, colour, points: [[x, y, low, high, title]]}. */
function chart(title, series, wantedX, labelX, logarithmic) {
  const points = series.flatMap((of) => of.points);
  const room = byId("title").clientWidth;
  const [width, height, left, top] = [Math.min(620, Math.max(300, room > 1000 ? room / 2 - 12 : room)), 300, 56, 10];
  const ys = points.flatMap((point) => point.slice(1, 4)).filter((value) => Number.isFinite(real(value)));
  const marks = ticks(Math.min(...ys), Math.max(...ys), 5);
  const [low, high] = [marks[0], marks[marks.length - 1]];
  const scale = (value) => (logarithmic ? Math.log(value) : value);
  const [first, last] = [scale(wantedX[0]), scale(wantedX[wantedX.length - 1])];
  const x = (value) => left + (last === first ? 0.5 : (scale(value) - first) / (last - first)) * (width - left - 24);
  const y = (value) => top + (high - value) / (high - low) * (height - top - 46);
  const parts = marks.flatMap((value) => [svg("line", { x1: left, x2: width - 20, y1: y(value), y2: y(value), class: "grid" }),
    svg("text", { x: left - 6, y: y(value) + 5, "text-anchor": "end" }, String(value).replace("-", "−"))]);
  wantedX.forEach((value) => parts.push(svg("text", { x: x(value), y: height - 24, "text-anchor": "middle" }, logarithmic ? percent(value) : String(value))));
  parts.push(svg("text", { x: (left + width - 20) / 2, y: height - 5, "text-anchor": "middle" }, labelX));
  for (const of of series) {
    if (of.points.length > 1) parts.push(svg("path", { class: "course", stroke: of.colour, d: of.points.map(([px, py], index) => `${index ? "L" : "M"}${x(px)} ${y(py)}`).join("") }));
    for (const [px, py, from, to, words] of of.points) {
      if (Number.isFinite(real(from)) && from !== to) parts.push(svg("line", { x1: x(px), x2: x(px), y1: y(from), y2: y(to), stroke: of.colour, "stroke-width": 1.5 }));
      parts.push(svg("circle", { cx: x(px), cy: y(py), r: 3.5, fill: of.colour, class: "point" }, svg("title", {}, words)));
    }
  }
  return el("figure", {}, el("figcaption", {}, title), svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title }, parts));
}
const legend = (used) => el("div", { class: "legend" }, used.map((arm) => el("span", {}, svg("svg", { viewBox: "0 0 16 16" },
  svg("rect", { x: 1, y: 5, width: 14, height: 6, fill: armColour(arm) })), arm)));

function drawShares() {
  const several = new Set(shownLevels().map((item) => item.labels)).size > 1;
  byId("sharetitle").hidden = byId("shareplots").hidden = !several;
  byId("shareplots").replaceChildren();
  if (!several) return;
  const digits = metric().digits;
  const lines = (items) => arms.map((arm) => ({ name: arm, colour: armColour(arm), points: items.filter((item) => item.arm === arm && Number.isFinite(real(item.mean)))
    .map((item) => [item.labels, item.mean, item.low, item.high, `${armTitle(item)}: ${show(item.mean, digits)}`]) })).filter((of) => of.points.length);
  const present = shares.filter((share) => shownLevels().some((item) => item.labels === share));
  const level = lines(levelItems());
  const gain = lines(gainItems());
  byId("shareplots").append(el("div", {}, legend(level.map((of) => of.name)), chart(`${metric().title}, 95 % over patients`, level, present, "share of the labels", true)),
    ...(gain.length ? [el("div", {}, legend(gain.map((of) => of.name)), chart(`difference from ${data.baseline}`, gain, present, "share of the labels", true))] : []));
}

function drawCourses() {
  const runs = data.cells.filter((item) => item.status === "done" && item.data === state.data && item.labels === state.labels && item.curve.length);
  byId("coursetitle").hidden = byId("courses").hidden = !runs.length;
  byId("courses").replaceChildren();
  if (!runs.length) return;
  const drawn = (title, at, unit) => {
    const series = runs.map((run) => ({ name: run.arm, colour: armColour(run.arm), points: run.curve.filter((point) => at(point) !== null && point[2] !== null)
      .map((point) => [at(point), point[2], null, null, `${run.arm}, fold ${run.fold}, seed ${run.seed}: Dice ${point[2].toFixed(4)} after ${+at(point).toPrecision(4)} ${unit}`]) }))
      .filter((of) => of.points.length);
    if (!series.length) return null;
    const most = Math.max(...series.flatMap((of) => of.points.map((point) => point[0])));
    return el("div", {}, legend(arms.filter((arm) => runs.some((run) => run.arm === arm))), chart(title, series, ticks(0, most, 5), unit, false));
  };
  byId("courses").append(...[drawn("Dice of some test cases against time", (point) => point[1] / 60, "minutes"),
    drawn("Dice of some test cases against steps", (point) => point[0], "steps")].filter((figure) => figure !== null));
}

function drawRuns() {
  const several = (key) => new Set(data.cells.map((item) => item[key])).size > 1;
  const rates = data.cells.some((item) => item.rate !== null && item.rate !== undefined);
  const columns = [...(several("data") ? [["Data", (item) => item.data]] : []), ["Arm", (item) => item.arm], ["Fold", (item) => item.fold], ["Seed", (item) => item.seed],
    ...(several("labels") ? [["Labels", (item) => percent(item.labels)]] : []), ["Dice", (item) => (item.status === "done" ? show(item.dice, 4) : item.status)],
    ["Steps", (item) => (item.steps === undefined || item.steps === null ? "–" : item.steps)], ["Minutes", (item) => (item.seconds === undefined ? "–" : (item.seconds / 60).toFixed(1))],
    ...(rates ? [["Learning rate", (item) => (item.rate ? `${item.rate} (${Object.entries(item.tried).map(([rate, dice]) => `${rate}: ${show(dice, 3)}`).join(", ")})` : "–")]] : [])];
  byId("runs").replaceChildren(el("thead", {}, el("tr", {}, columns.map(([title]) => el("th", { scope: "col" }, title)))),
    el("tbody", {}, data.cells.map((item) => el("tr", { class: item.status === "failed" ? "failed" : null, "data-cell": item.id }, columns.map(([, of]) => el("td", {}, of(item)))))));
}

const levelItems = () => shownLevels().map((item) => ({ ...item, low: item.ci_low, high: item.ci_high }));
const gainItems = () => shownGains().map((item) => {
  const both = item.both_low !== null;
  return { ...item, mean: item.difference.mean, low: both ? item.both_low : item.difference.ci_low, high: both ? item.both_high : item.difference.ci_high };
});
function drawPlots() {
  const both = shownGains().some((item) => item.both_low !== null);
  forest("levelplot", levelItems(), metric().title, "Diamond and bar: mean and its 95 % interval over patients; points: the seeds.", false);
  forest("gainplot", gainItems(), `Difference from ${data.baseline}`, `Diamond and bar: mean and its 95 % interval over patients${both ? " and seeds" : ""}; points: the seeds.`, true);
  drawShares();
  drawCourses();
}

function fillStructures() {
  const own = data.data[state.data].structures;
  byId("structure").replaceChildren(...[ALL, ...(own.length > 1 ? own : [])].map((name) => el("option", { value: name }, name)));
  if (state.structure !== ALL && !own.includes(state.structure)) state.structure = ALL;
  byId("structure").value = state.structure;
  byId("structurebox").hidden = own.length < 2;
}
function draw() {
  byId("title").textContent = `${state.data}: ${data.data[state.data].test_cases}`;
  byId("definition").textContent = `${metric().title}: ${metric().definition}; ${metric().higher_is_better ? "higher" : "lower"} is better.`;
  drawArms();
  drawGains();
  drawPlots();
}
function choose(id, options, key, of) {
  byId(id).append(...options.map(([value, text]) => el("option", { value }, text)));
  byId(id).value = state[key];
  byId(id).addEventListener("change", () => { state[key] = of(byId(id).value); if (key === "data") fillStructures(); draw(); });
}

byId("lead").textContent = data.lead;
byId("fair").append(...data.fairness.map((line) => el("li", {}, line)));
drawFailures();
choose("data-set", names.map((name) => [name, name]), "data", String);
choose("metric", data.metrics.map((item) => [item.name, item.title]), "metric", String);
choose("labels", shares.map((share) => [share, `${percent(share)} (curves)`]), "labels", Number);
byId("structure").addEventListener("change", () => { state.structure = byId("structure").value; draw(); });
byId("databox").hidden = names.length < 2;
byId("labelsbox").hidden = shares.length < 2;
fillStructures();
drawRuns();
byId("texts").append(...data.texts.map((text) => el("p", {}, text)));
byId("made").append(definitions([...names.map((name) => [name, el("code", {}, data.data[name].folder)]),
  ["Baseline", data.baseline], ...provenance()]));
draw();
document.body.dataset.ready = "yes";
