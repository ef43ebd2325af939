"use strict";
// The page of an evaluation. Its numbers are those of results.json; nothing is computed here but the order of rows.

const ALL = data.all_structures;
const metricOf = (name) => data.metrics.find((metric) => metric.name === name);
const state = { metric: data.metrics[0].name, hidden: new Set(), query: "", order: null, open: new Set() };
const metric = () => metricOf(state.metric);
const structures = () => data.structures.filter((name) => !state.hidden.has(name));
const structureIndex = new Map(data.structures.map((name, index) => [name, index]));
const caseIndex = new Map(data.cases.map((id, index) => [id, index]));
const valueOf = (id, structure, name) => data.values[name || state.metric][structure][caseIndex.get(id)];
const matches = (id) => id.toLowerCase().includes(state.query.toLowerCase());
const summaryOf = (structure, name) =>
  data.summary.find((item) => item.structure === structure && item.metric === name);
const worstFirst = () => ({ key: ALL, up: metric().higher_is_better });
const single = data.structures.length === 1;

/** The interval is below its mean, so that all measures are seen side by side. */
function drawOverview() {
  const groups = [data.metrics.filter((item) => item.kind !== "lesion"), data.metrics.filter((item) => item.kind === "lesion")];
  ["overview", "lesion-overview"].forEach((id, index) => { byId(id).hidden = !groups[index].length; drawMeans(byId(id), groups[index]); });
}
function drawMeans(table, metrics) {
  const names = single ? data.structures : [...data.structures, ALL];
  const head = el("tr", {}, el("th", { scope: "col" }, "Structure"),
    metrics.map((item) => el("th", { scope: "col", class: item.name === state.metric ? "chosen" : null }, item.title)));
  const rows = names.filter((name) => !state.hidden.has(name)).map((name) => el("tr",
    { class: name === ALL ? "total" : null, "data-structure": name }, el("td", {}, name),
    metrics.map((item) => {
      const summary = summaryOf(name, item.name);
      if (!summary) return el("td", {}, "–");
      const interval = summary.ci_low === null ? "" : `${show(summary.ci_low, item.digits)} – ${show(summary.ci_high, item.digits)}`;
      const infinite = summary.infinite ? `+ ${summary.infinite} × ∞` : "";
      return el("td", { class: item.name === state.metric ? "chosen" : null, "data-metric": item.name, "data-value": summary.mean },
        show(summary.mean, item.digits), el("span", { class: "ci" }, interval), infinite ? el("span", { class: "ci" }, infinite) : null);
    })));
  table.replaceChildren(el("thead", {}, head), el("tbody", {}, rows));
}

const COLUMNS = [["mean", "Mean"], ["ci_low", "95 % CI, from"], ["ci_high", "95 % CI, to"], ["std", "SD"], ["median", "Median"],
  ["quartile1", "Lower quartile"], ["quartile3", "Upper quartile"], ["minimum", "Lowest"], ["maximum", "Highest"]];
const COUNTS = [["evaluated", "Cases"], ["patients", "Patients"], ["both_empty", "In neither mask"], ["infinite", "Infinite"], ["not_looked_for", "Not looked for"], ["failed", "Failed"]];

function drawSummary() {
  const shown = data.summary.filter((item) => item.metric === state.metric && !(single && item.structure === ALL)
    && !state.hidden.has(item.structure));
  const counts = COUNTS.filter(([key]) => key === "evaluated" || (key === "patients" ? Object.keys(data.patients).length
    : shown.some((item) => item[key] > 0)));
  const columns = shown.some((item) => item.failed > 0) ? [...COLUMNS, ["mean_with_failures", `Mean, failed counted as ${show(metric().failure, 0)}`]] : COLUMNS;
  byId("summary").replaceChildren(
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, metric().title),
      [...columns, ...counts].map(([, title]) => el("th", { scope: "col" }, title)))),
    el("tbody", {}, shown.map((item) => el("tr", { "data-structure": item.structure,
      class: item.structure === ALL ? "total" : null }, el("td", {}, item.structure),
    columns.map(([key]) => cell(item[key], metric().digits, { "data-key": key })),
    counts.map(([key]) => cell(item[key], 0, { "data-key": key }))))));
}

function scaleOf(values) {
  const finite = values.filter(Number.isFinite);
  let [low, high] = finite.length ? [Math.min(...finite), Math.max(...finite)] : [0, 1];
  if (metric().kind !== "overlap" && low > 0 && !metric().higher_is_better) low = 0;
  const marks = ticks(low, high === low ? low + 0.1 : high, 5);
  const capped = metric().kind === "overlap" ? marks.filter((value) => value <= 1.0001) : marks;
  return { marks: capped, low: capped[0], high: capped[capped.length - 1], infinite: values.some((value) => value === Infinity) };
}
const tick = (value) => String(value).replace("-", "−");
function focusCase(id) {
  byId("query").value = state.query = id;
  state.open.add(id);
  draw();
  byId("cases-heading").scrollIntoView({ behavior: "smooth" });
}
function point(node, id, structure, extra) {
  node.append(svg("title", {}, `${id}, ${structure}: ${show(valueOf(id, structure), metric().digits)}${extra || ""}`));
  node.addEventListener("click", () => focusCase(id));
  return node;
}

function drawDistribution() {
  const names = structures();
  const ids = data.cases.filter(matches);
  const box = byId("distribution");
  const width = Math.max(300, box.clientWidth);
  const left = Math.min(width * 0.38, 24 + 7.6 * Math.max(...names.map((name) => name.length), 4));
  const right = width - 20;
  const lines = names.map((name) => wrapped(name, left - 12));
  const step = Math.max(names.length > 8 ? 34 : 52, 8 + LINE * Math.max(...lines.map((of) => of.length), 1));
  const height = names.length * step + 58;
  const values = names.flatMap((name) => data.cases.map((id) => real(valueOf(id, name)))).filter((value) => !Number.isNaN(value));
  const axis = scaleOf(values);
  const end = axis.infinite ? right - 34 : right;
  const x = (value) => value === Infinity ? right - 8
    : left + 10 + (Math.min(Math.max(value, axis.low), axis.high) - axis.low) / (axis.high - axis.low || 1) * (end - left - 10);
  const canvas = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${metric().title} of every case by structure` });
  const bottom = height - 44;
  for (const value of axis.marks) canvas.append(svg("line", { class: "grid", x1: x(value), x2: x(value), y1: 4, y2: bottom }),
    svg("text", { x: x(value), y: bottom + 18, "text-anchor": "middle" }, tick(value)));
  if (axis.infinite) canvas.append(svg("text", { x: right - 8, y: bottom + 18, "text-anchor": "middle" }, "∞"));
  canvas.append(svg("text", { x: (left + right) / 2, y: height - 6, "text-anchor": "middle" }, metric().title));
  names.forEach((name, row) => {
    const y = 4 + step * (row + 0.5);
    const summary = summaryOf(name, state.metric);
    canvas.append(textLines(left - 8, y, lines[row], { "text-anchor": "end" }));
    ids.forEach((id, index) => {
      const value = real(valueOf(id, name));
      if (Number.isNaN(value)) return;
      canvas.append(point(svg("circle", { class: "point", cx: x(value), cy: y + jitter(index + 1) * step * 0.62, r: 3.6,
        fill: "#0072B2", "data-case": id }), id, name));
    });
    if (summary.median === null) return;
    const [q1, q2, q3] = [summary.quartile1, summary.median, summary.quartile3].map((value) => x(real(value)));
    const half = Math.min(12, step * 0.3);
    canvas.append(svg("rect", { x: q1, y: y - half, width: Math.max(q3 - q1, 1), height: 2 * half, fill: "none",
      stroke: "#1b1f24", "stroke-width": 1.6, "pointer-events": "none" }),
    svg("line", { x1: q2, x2: q2, y1: y - half, y2: y + half, stroke: "#1b1f24", "stroke-width": 3.2, "pointer-events": "none" }));
  });
  box.replaceChildren(canvas);
}

function drawVolumes() {
  const names = structures();
  const box = byId("volumes");
  const width = Math.max(300, box.clientWidth);
  const height = Math.max(330, Math.min(460, width * 0.62));
  const [left, right, top, bottom] = [58, width - 14, 10, height - 50];
  const dots = names.flatMap((name) => data.cases.filter(matches).map((id) => ({ id, name, value: real(valueOf(id, name)),
    volume: real(data.volumes[name][caseIndex.get(id)]) }))).filter((dot) => !Number.isNaN(dot.value) && !Number.isNaN(dot.volume));
  const logs = dots.filter((dot) => dot.volume > 0).map((dot) => Math.log10(dot.volume));
  let [low, high] = logs.length ? [Math.min(...logs), Math.max(...logs)] : [0, 1];
  [low, high] = [low - 0.08, Math.max(high + 0.08, low + 0.4)];
  const absent = dots.some((dot) => dot.volume === 0);
  const start = left + (absent ? 40 : 8);
  const x = (volume) => (volume === 0 ? left + 12 : start + (Math.log10(volume) - low) / (high - low) * (right - start));
  const axis = scaleOf(dots.map((dot) => dot.value));
  const y = (value) => (value === Infinity ? top + 4 : bottom - (value - axis.low) / (axis.high - axis.low || 1) * (bottom - top - (axis.infinite ? 26 : 4)));
  const canvas = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${metric().title} against volume` });
  for (const value of axis.marks) canvas.append(svg("line", { class: "grid", x1: left, x2: right, y1: y(value), y2: y(value) }),
    svg("text", { x: left - 8, y: y(value) + 5, "text-anchor": "end" }, tick(value)));
  if (axis.infinite) canvas.append(svg("text", { x: left - 8, y: top + 9, "text-anchor": "end" }, "∞"));
  const few = high - low > 2.5;
  for (let power = Math.floor(low) - 1; power <= high; power += 1) for (const factor of few ? [1] : [1, 2, 5]) {
    const volume = +(factor * 10 ** power).toPrecision(3);
    if (Math.log10(volume) < low || Math.log10(volume) > high) continue;
    canvas.append(svg("line", { class: "grid", x1: x(volume), x2: x(volume), y1: top, y2: bottom }),
      svg("text", { x: x(volume), y: bottom + 18, "text-anchor": "middle" }, String(volume)));
  }
  if (absent) canvas.append(svg("text", { x: left + 12, y: bottom + 18, "text-anchor": "middle" }, "none"));
  canvas.append(svg("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }),
    svg("text", { x: (left + right) / 2, y: height - 6, "text-anchor": "middle" }, "volume in the reference, millilitres (log scale)"));
  for (const dot of dots) canvas.append(point(mark(x(dot.volume), y(dot.value), structureIndex.get(dot.name), 4,
    { class: "point", "data-case": dot.id }), dot.id, dot.name, `, ${dot.volume.toPrecision(3)} ml`));
  const legend = el("div", { class: "legend" }, single ? [] : names.map((name) => el("span", {},
    svg("svg", { viewBox: "0 0 16 16" }, mark(8, 8, structureIndex.get(name), 5.5)), name)));
  box.replaceChildren(canvas, legend);
}

function picture(plane, layer, title) {
  const inner = el("div", { class: "inner", style: `aspect-ratio:${plane.width}/${plane.height};max-width:${plane.width}px` },
    plane.scan ? el("img", { src: plane.scan, alt: "" }) : null,
    el("img", { src: plane[layer], alt: `${plane.name} plane: ${title}` }),
    ["left", "right", "top", "bottom"].map((side, index) => el("span", { class: `side ${side}` }, plane.sides[index])));
  return el("div", { class: "stack" }, inner);
}
const swatch = (shade, text) => el("span", {}, el("span", { class: "swatch", style: `background:${shade}` }), text);

function viewer(id) {
  if (location.protocol !== "file:") return el("p", {}, el("a", { href: `view.html?case=${encodeURIComponent(id)}` }, "Open this case in the viewer"));
  const folder = decodeURIComponent(location.pathname).replace(/\/[^/]*$/, "");
  return el("p", {}, "To look at the scan itself: ", el("code", {}, `swin-unetr view --report '${folder.replace(/'/g, "'\\''")}'`));
}

const fold = (title, open, table) => el("details", { class: "fold", open: open ? "" : null }, el("summary", {}, title), el("div", { class: "scroll" }, table));

function lesionTable(id) {
  const lesions = data.lesions.filter((item) => item.case === id && !state.hidden.has(item.structure));
  if (!lesions.length) return null;
  const counts = ["found", "missed", "invented", "small"].map((status) => [lesions.filter((item) => item.status === status).length, status])
    .filter(([count]) => count).map((pair) => pair.join(" ")).join(", ");
  const letters = ["RL", "AP", "SI"];
  const place = (mm) => {
    const words = mm.map((value, axis) => `${letters[axis][value < 0 ? 1 : 0]} ${Math.abs(value).toFixed(0)}`).join(", ");
    return location.protocol === "file:" ? words : el("a", { href: `view.html?case=${encodeURIComponent(id)}&at=${mm.join(",")}` }, words);
  };
  const rows = ordered(lesions, (item) => Math.max(real(item.reference_ml) || 0, real(item.predicted_ml) || 0), false);
  const heads = ["Structure", "Lesion", "Centre (mm)", "Reference (ml)", "Prediction (ml)", "Dice", "HD95 (mm)", "NSD"];
  return fold(`Lesions: ${counts}`, false, el("table", { class: "dense lesions" },
    el("thead", {}, el("tr", {}, heads.map((title) => el("th", { scope: "col" }, title)))),
    el("tbody", {}, rows.map((item) => el("tr", { "data-status": item.status }, el("td", {}, item.structure), el("td", {}, item.status), el("td", {}, place(item.centre_mm)),
      [[item.reference_ml, 3], [item.predicted_ml, 3], [item.dice, 3], [item.hd95_mm, 2]].map(([value, digits]) => el("td", {}, show(value, digits))),
      el("td", {}, [item.nsd].flat().map((value) => show(value, 3)).join(" / ")))))));
}

/** Every measure of the case; the volumes beside them, since the measures depend on them. */
function caseTable(id) {
  const index = caseIndex.get(id);
  const measures = data.metrics.filter((item) => item.kind !== "lesion");
  return fold("Every measure of this case", structures().length <= 8, el("table", { class: "dense" }, el("thead", {}, el("tr", {}, el("th", {}, "Structure"),
    ["Reference (ml)", "Prediction (ml)", ...measures.map((item) => item.title)].map((title) => el("th", { scope: "col" }, title)))),
  el("tbody", {}, structures().map((name) => el("tr", {}, el("td", {}, name),
    [data.volumes, data.predicted_volumes].map((of) => el("td", {}, show(of[name][index], 2))),
    measures.map((item) => el("td", {}, show(valueOf(id, name, item.name), item.digits))))))));
}

function more(id) {
  const planes = data.pictures[id];
  const layers = [["reference", "Reference"], ["prediction", "Prediction"], ["difference", "Where they differ"]];
  const files = data.files[id] || {};
  const hashes = data.sha256[id] || {};
  const seen = planes ? [...new Set(planes.flatMap((plane) => plane.structures))].sort((a, b) => a - b) : [];
  const facts = el("div", { class: "facts" },
    planes ? el("div", { class: "legend" }, seen.map((place) => swatch(data.colours[place % data.colours.length], data.structures[place]))) : null,
    planes && data.nested ? el("p", {}, "Regions are nested: each is outlined, and filled where no inner one is.") : null,
    planes ? el("p", { class: "legend" }, "Where they differ: ", swatch(data.difference[0], "missed"), swatch(data.difference[1], "invented"),
      single ? null : swatch(data.difference[2], data.nested ? "another region" : "another structure"),
      el("span", {}, el("span", { class: "swatch line" }), "outline of the reference")) : null,
    planes && !planes[0].scan ? el("p", {}, files.image ? "The scan lies on another grid than the labels, so they are shown on black." : "No scan was given (--images), so the labels are shown on black.") : null,
    viewer(id),
    ["prediction", "reference", "image"].filter((side) => files[side]).map((side) => el("p", {}, `${side}: `, el("code", {}, files[side]),
      hashes[side] ? el("span", {}, el("br", {}), "sha256 ", el("code", {}, hashes[side])) : null)));
  const grid = !planes ? null : el("div", { class: "pictures" }, el("span", { class: "corner" }),
    planes.map((plane) => el("span", { class: "plane" }, plane.name)),
    layers.flatMap(([layer, title]) => [el("span", { class: "what" }, title), ...planes.map((plane) => picture(plane, layer, title))]));
  return el("tr", { class: "more" }, el("td", { colspan: structures().length + 3 }, el("div", { class: "sheet" }, grid, facts, caseTable(id), lesionTable(id))));
}

function drawCases() {
  const order = state.order || worstFirst();
  const sort = (key) => {
    state.order = { key, up: order.key === key ? !order.up : key === "case" || metric().higher_is_better };
    drawCases();
  };
  const names = structures();
  const value = (id) => (order.key === "case" ? id : real(order.key === ALL ? data.means[state.metric][caseIndex.get(id)] : valueOf(id, order.key)));
  const ids = ordered(data.cases.filter(matches), value, order.up);
  const columns = single ? names : [ALL, ...names];
  const bodies = ids.map((id) => {
    const body = el("tbody", { "data-case": id });
    const toggle = () => {
      if (!state.open.delete(id)) state.open.add(id);
      drawCases();
    };
    const open = state.open.has(id);
    body.append(el("tr", {}, el("td", {}, id),
      el("td", {}, el("button", { class: "plain", type: "button", "aria-expanded": String(open), onclick: toggle },
        `${open ? "Hide" : "Show"} ${data.pictures[id] ? "pictures" : "files"}`)),
      columns.map((name) => cell(name === ALL ? data.means[state.metric][caseIndex.get(id)] : valueOf(id, name), metric().digits,
        { "data-structure": name }))));
    if (open) body.append(more(id));
    return body;
  });
  const failed = data.failures.filter((item) => matches(item.case));
  const lost = failed.map((item) => el("tbody", { "data-failed": item.case }, el("tr", { class: "failed" }, el("td", {}, item.case),
    el("td", {}, "failed"), el("td", { class: "text", colspan: columns.length }, el("span", { class: "pinned" }, item.message)))));
  byId("cases").replaceChildren(el("thead", {}, el("tr", {}, heading("Case", "case", order, sort), el("th", {}),
    columns.map((name) => heading(name, name, order, sort)))), ...lost, ...bodies);
  byId("case-count").textContent = `${ids.length} of ${counted(data.cases.length, "evaluated case")}${data.failures.length ? ` and ${failed.length} of ${data.failures.length} failed ones` : ""}. ${Object.keys(data.pictures).length} ${Object.keys(data.pictures).length === 1 ? "has" : "have"} pictures.`;
}

function drawPlots() { drawDistribution(); drawVolumes(); }
function draw() { drawOverview(); drawSummary(); drawPlots(); drawCases(); }

function hashes() {
  const heads = ["Case", "Side", "File", "SHA-256"].map((title) => el("th", { scope: "col", class: "text" }, title));
  const left = (content) => el("td", { class: "text" }, content);
  const rows = data.cases.filter((id) => data.sha256[id]).flatMap((id) => ["prediction", "reference"].map((side) =>
    el("tr", {}, el("td", {}, id), left(side), left((data.files[id]?.[side] || "").replace(/^.*[\\/]/, "")), left(el("code", {}, data.sha256[id][side])))));
  return el("details", { id: "hashes" }, el("summary", {}, "SHA-256 of every file that was evaluated"),
    el("div", { class: "scroll" }, el("table", { class: "dense" }, el("thead", {}, el("tr", {}, heads)), el("tbody", {}, rows))));
}

function setUp() {
  fill(byId("metric"), { onchange: (event) => { state.metric = event.target.value; state.order = null; draw(); } },
    data.metrics.map((item) => el("option", { value: item.name }, item.title)));
  byId("query").addEventListener("input", (event) => { state.query = event.target.value.trim(); drawPlots(); drawCases(); });
  if (single) byId("class-filter").hidden = true;
  byId("classes").append(...data.structures.map((name) => el("label", {}, el("input", { type: "checkbox", checked: "", value: name,
    onchange: (event) => { state.hidden[event.target.checked ? "delete" : "add"](name); draw(); } }), " ", name)));
  const warnings = [...data.failures.map((item) => `${item.case}: ${item.message}`)];
  if (warnings.length) byId("warnings").append(el("div", { class: "warning", id: "failures" },
    el("p", {}, el("strong", {}, `${warnings.length} of ${counted(warnings.length + data.cases.length, "case")} could not be evaluated and ${warnings.length === 1 ? "is" : "are"} in no mean${warnings.length < 6 ? ":" : "."}`)),
    el("details", { open: warnings.length < 6 ? "" : null }, el("summary", {}, "Which, and why"), warnings.map((line) => el("p", {}, line)))));
  if (data.notes.length) byId("warnings").append(el("div", { class: "warning" }, data.notes.map((line) => el("p", {}, line))));
  byId("lead").textContent = data.lead;
  byId("methods").append(definitions([["Empty structures", data.policy], ["Statistics", data.definitions],
    ...data.metrics.filter((item) => item.definition).map((item) => [item.title, item.definition]),
    ...data.inputs, ...provenance()]), hashes());
  const worst = ordered(data.cases.filter((id) => data.pictures[id]), (id) => real(data.means[state.metric][caseIndex.get(id)]), worstFirst().up);
  worst.slice(0, 3).forEach((id) => state.open.add(id));
  draw();
  document.body.dataset.ready = "yes";
}
setUp();
