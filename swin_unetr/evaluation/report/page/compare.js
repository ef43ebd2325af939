"use strict";
// The page of a comparison. Its numbers are those of compare.json; only differences of single cases are taken here.

const ALL = data.all_structures;
const EVERY = "all structures";
const pairs = data.methods.flatMap((first, index) => data.methods.slice(index + 1).map((second) => [first, second]));
const state = { metric: data.ranked_by[0] || data.metrics[0].name, pair: 0, structure: EVERY, query: "",
  differences: { key: null, up: true }, cases: { key: null, up: true } };
const metric = () => data.metrics.find((item) => item.name === state.metric);
const pair = () => pairs[state.pair];
const shownStructures = () => (state.structure === EVERY ? data.structures : [state.structure]);
const shownDifferences = () => data.differences.filter((item) => item.metric === state.metric
  && item.first === pair()[0] && item.second === pair()[1] && (state.structure === EVERY || item.structure === state.structure));
const valueOf = (method, structure, index) => real(data.values[state.metric][structure][method][index]);
const minus = (a, b) => (a === b ? 0 : a - b);
const signed = (value, digits) => (real(value) > 0 && Number.isFinite(real(value)) ? "+" : "") + show(value, digits);
const lacks = new Set(Object.entries(data.lacking).flatMap(([method, items]) => items.map((item) => JSON.stringify([method, item.case]))));
const held = (method, index) => !lacks.has(JSON.stringify([method, data.cases[index]]));
const grouped = data.differences.some((item) => item.pairs !== item.patients);

/** Of one structure: where one has invented what is in no other mask, the other is right. */
function structureDelta(structure, index) {
  if (!pair().every((name) => held(name, index))) return NaN;
  const values = pair().map((name) => valueOf(name, structure, index));
  if (values.every(Number.isNaN)) return NaN;
  const [one, two] = values.map((value) => (Number.isNaN(value) ? metric().correct_rejection : value));
  return minus(one, two);
}
/** The difference of a case: for the mean of structures, infinite to the side that has more infinite ones. */
function delta(structure, index) {
  if (structure !== ALL) return structureDelta(structure, index);
  const values = data.structures.map((name) => structureDelta(name, index)).filter((value) => !Number.isNaN(value));
  const finite = values.filter(Number.isFinite);
  const more = values.filter((value) => value === Infinity).length - values.filter((value) => value === -Infinity).length;
  if (more) return more * Infinity;
  return finite.length ? finite.reduce((sum, value) => sum + value, 0) / finite.length : values.length ? 0 : NaN;
}

function drawLacking() {
  const lines = Object.entries(data.lacking).flatMap(([method, items]) => items.map((item) => [method, item.case, item.message]));
  if (!lines.length) return;
  byId("lacking").append(el("div", { class: "warning" }, el("details", { open: lines.length <= 8 },
    el("summary", {}, Object.entries(data.lacking).filter(([, items]) => items.length)
      .map(([method, items]) => `${method} lacks ${items.length} of ${counted(data.cases.length, "case")}`).join("; ")),
    el("p", {}, data.texts[2]),
    el("div", { class: "scroll" }, el("table", { id: "lackingcases" }, el("tbody", {}, lines.map(([method, id, message]) =>
      el("tr", {}, el("td", {}, id), el("td", { class: "text" }, method), el("td", { class: "text" }, message)))))))));
}

/** Blue for the first place, paler for each further one; the text on it stays readable. */
function placeColour(index, number) {
  const share = number > 1 ? index / (number - 1) : 0;
  return { background: `hsl(205 ${80 - 45 * share}% ${32 + 56 * share}%)`, color: share < 0.5 ? "#fff" : "#1b1f24" };
}
function placesBar(item) {
  return el("div", { class: "places" }, item.stability.map((share, index) => {
    const look = placeColour(index, item.stability.length);
    const words = `place ${index + 1}: ${(share * 100).toFixed(1)} %`;
    return el("span", { "data-place": index + 1, "data-value": share, title: words,
      style: `width:${(share * 100).toFixed(3)}%;background:${look.background};color:${look.color}` },
    share >= 0.3 ? words : share >= 0.07 ? `${(share * 100).toFixed(0)} %` : "");
  }));
}
function drawRankings() {
  byId("ranked").textContent = `By ${data.ranked_by.map((name) => data.metrics.find((item) => item.name === name).title).join(", ")}; `
    + `${counted(data.ranked.length, "case")}.`
    + (data.rankings.some((of) => of.kendall_tau) ? " The bars show how often each place is held when other patients of the same kind are drawn." : "");
  byId("rankings").append(...data.rankings.map((ranking) => {
    const tau = ranking.kendall_tau;
    const head = [["Method"], ["Place"], ["Mean rank"], ...(tau ? [["95 % of resamples", "wide"], ["Places in the resamples", "text"]] : [])];
    const agreement = tau === null ? "Not resampled." : tau.mean === null ? "All methods tie."
      : `Kendall's tau of the resamples with it: mean ${show(tau.mean, 2)}, median ${show(tau.median, 2)} (quartiles ${show(tau.quartile1, 2)} to ${show(tau.quartile3, 2)}).`;
    return el("div", { "data-scheme": ranking.scheme }, el("h3", {}, ranking.title), el("div", { class: "scroll" }, el("table", {},
      el("thead", {}, el("tr", {}, head.map(([title, kind]) => el("th", { scope: "col", class: kind }, title)))),
      el("tbody", {}, ranking.places.map((item) => el("tr", {}, el("td", {}, item.method), cell(item.place, 0, { "data-key": "place" }),
        cell(item.mean_rank, 3, { "data-key": "mean_rank" }),
        ...(tau ? [el("td", { class: "wide" }, item.place_low === item.place_high ? `${item.place_low}` : `${item.place_low} to ${item.place_high}`),
          el("td", { class: "text" }, placesBar(item))] : [])))))),
    el("p", { class: "soft" }, agreement));
  }));
}

/** Points of all cases, and the mean with its interval, one row per structure. Names are wrapped, never cut. */
function drawPlots() {
  const items = shownDifferences();
  const width = Math.max(300, Math.min(byId("plot").clientWidth, 1190));
  const narrow = width < 640;
  const longest = Math.max(...items.map((item) => widthOf(item.structure)), 60);
  const left = narrow ? 26 : Math.min(longest + 30, Math.max(210, width * 0.34));
  const right = narrow ? 52 : 70;
  const names = items.map((item) => wrapped(item.structure, narrow ? width - 10 : left - 22));
  const heights = names.map((lines) => (narrow ? 56 + LINE * lines.length : Math.max(52, 16 + LINE * lines.length)));
  const tops = heights.map((_, index) => 8 + heights.slice(0, index).reduce((sum, height) => sum + height, 0));
  const points = new Map(items.map((item) => [item.structure, data.cases.map((id, index) => [id, delta(item.structure, index)])
    .filter(([id, value]) => !Number.isNaN(value) && id.toLowerCase().includes(state.query.toLowerCase()))]));
  const finite = [0, ...items.flatMap((item) => [item.ci_low, item.ci_high].filter((value) => value !== null)),
    ...[...points.values()].flat().map(([, value]) => value).filter(Number.isFinite)];
  const marks = ticks(Math.min(...finite), Math.max(...finite), narrow ? 4 : 8);
  const [low, high] = [marks[0], marks[marks.length - 1]];
  const x = (value) => left + (value - low) / (high - low) * (width - left - right);
  const bottom = 8 + heights.reduce((sum, height) => sum + height, 0);
  const height = bottom + 34;
  const parts = marks.flatMap((value) => [svg("line", { x1: x(value), x2: x(value), y1: 8, y2: bottom + 4,
    class: value === 0 ? "zero" : "grid" }), svg("text", { x: x(value), y: height - 10, "text-anchor": "middle" }, String(value).replace("-", "−"))]);
  items.forEach((item, index) => {
    const lines = names[index];
    const middle = tops[index] + (narrow ? LINE * lines.length + 30 : heights[index] / 2);
    parts.push(narrow ? textLines(4, tops[index] + 4 + LINE * lines.length / 2, lines, {})
      : textLines(left - 12, middle, lines, { "text-anchor": "end" }));
    const infinite = points.get(item.structure).filter(([, value]) => !Number.isFinite(value));
    points.get(item.structure).filter(([, value]) => Number.isFinite(value)).forEach(([id, value], number) => {
      const gain = metric().higher_is_better ? value : -value;
      parts.push(svg("circle", { cx: x(value), cy: middle + jitter(number) * 22, r: 4.5, class: "point", "data-case": id, "data-value": value,
        fill: Math.abs(gain) < 1e-9 ? "#8c959f" : colour(gain > 0 ? 0 : 1) },
      svg("title", {}, `${id}, ${item.structure}: ${signed(value, metric().digits)}`)));
    });
    if (item.ci_low !== null) parts.push(svg("line", { x1: x(item.ci_low), x2: x(item.ci_high), y1: middle, y2: middle, class: "mean" }));
    if (item.mean !== null) parts.push(svg("path", { d: `M${x(item.mean)} ${middle - 9}l7 9l-7 9l-7-9z`, fill: "#111", stroke: "#fff" },
      svg("title", {}, `mean ${signed(item.mean, metric().digits)}`)));
    if (infinite.length) parts.push(svg("text", { x: width - right + 8, y: middle + 5 }, `${infinite.length} × ∞`));
  });
  const [better, worse] = metric().higher_is_better ? [pair()[0], pair()[1]] : [pair()[1], pair()[0]];
  const lost = items.some((item) => item.infinite) ? " “1 × ∞” counts cases whose difference is infinite, which are in no mean." : "";
  const unit = grouped ? " Diamond and bar: mean over patients and its 95 % interval." : " Diamond and bar: mean and its 95 % interval.";
  byId("plot").replaceChildren(el("figure", {}, el("div", { class: "sides", style: `padding-left:${narrow ? 0 : left}px` },
    el("span", {}, `← ${worse} better`), el("span", {}, `${better} better →`)),
  svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Differences in ${metric().title}` }, parts),
  el("figcaption", {}, `One point per case: blue where ${pair()[0]} is better, orange where ${pair()[1]} is, grey where they tie.${unit}${lost}`)));
}

const COLUMNS = [["structure", "Structure"], ["pairs", "Cases", 0], ["patients", "Patients", 0], ["mean", "Mean difference", "s"], ["ci_low", "95 % CI from", "s"],
  ["ci_high", "to", "s"], ["median", "Median", "s"], ["first_wins", "better", 0], ["ties", "Equal", 0], ["second_wins", "better", 0],
  ["undefined", "No value", 0], ["lacking", "Lacking", 0], ["first_infinite", "infinite", 0], ["second_infinite", "infinite", 0], ["p", "p", "p"], ["p_holm", "p (Holm)", "p"]];
function differenceCell(item, key, form) {
  const attributes = { "data-key": key, class: key === "p_holm" && item.p_holm !== null && item.p_holm < 0.05 ? "sure" : null };
  if (form === undefined) return el("td", {}, item[key]);
  if (form === 0) return cell(item[key], 0, attributes);
  const value = item[key] === null ? "" : item[key];
  const text = form === "s" ? signed(item[key], metric().digits) : value !== "" && value < 0.0001 ? "< 0.0001" : show(item[key], 4);
  return el("td", { "data-value": value, ...attributes }, text);
}
function drawDifferences() {
  const items = shownDifferences();
  const order = state.differences;
  const sort = (key) => { state.differences = { key, up: order.key === key ? !order.up : true }; drawDifferences(); };
  const rare = ["undefined", "lacking", "first_infinite", "second_infinite"];
  const used = COLUMNS.filter(([key]) => (key === "patients" ? grouped : !rare.includes(key) || items.some((item) => item[key] > 0)));
  const title = (key, text) => (key.startsWith("first_") ? `${pair()[0]} ${text}` : key.startsWith("second_") ? `${pair()[1]} ${text}` : text);
  const value = (item) => (order.key === "structure" ? item.structure : real(item[order.key]));
  byId("differences").replaceChildren(
    el("thead", {}, el("tr", {}, used.map(([key, text]) => heading(title(key, text), key, order, sort, { class: key === "mean" ? "wider" : null })))),
    el("tbody", {}, (order.key ? ordered(items, value, order.up) : items).map((item) => el("tr", { class: item.structure === ALL ? "total" : null },
      used.map(([key, , form]) => differenceCell(item, key, form))))));
}

function drawCases() {
  const digits = metric().digits;
  const one = state.structure === EVERY || state.structure === ALL ? null : state.structure;
  const columns = one === null
    ? [...(data.structures.length > 1 ? [ALL] : []), ...data.structures].filter((name) => state.structure !== ALL || name === ALL)
      .map((name) => [name, (index) => delta(name, index), true])
    : [...pair().map((name) => [name, (index) => valueOf(name, one, index), false]), ["Difference", (index) => delta(one, index), true]];
  const order = state.cases;
  const sort = (key) => { state.cases = { key, up: order.key === key ? !order.up : true }; drawCases(); };
  const column = columns.find(([name]) => name === order.key);
  const asked = data.cases.map((id, index) => [id, index]).filter(([id]) => id.toLowerCase().includes(state.query.toLowerCase()));
  const rows = asked.filter(([, index]) => columns.some(([, of]) => !Number.isNaN(of(index))));
  byId("unpaired").textContent = asked.length > rows.length ? `Without a value to compare here: ${asked.length - rows.length}.` : "";
  const sorted = order.key === null || (order.key !== "Case" && !column) ? rows
    : ordered(rows, ([id, index]) => (order.key === "Case" ? id : column[1](index)), order.up);
  byId("casetitle").textContent = one === null ? `Differences by case (${rows.length})` : `Values by case, ${one} (${rows.length})`;
  byId("cases").replaceChildren(
    el("thead", {}, el("tr", {}, heading("Case", "Case", order, sort), columns.map(([name]) => heading(name, name, order, sort)))),
    el("tbody", {}, sorted.map(([id, index]) => el("tr", {}, el("td", {}, id), columns.map(([, of, sign]) => {
      const value = of(index);
      return el("td", { "data-value": Number.isNaN(value) ? "" : value }, sign ? signed(value, digits) : show(value, digits));
    })))));
}

function draw() {
  const sides = metric().higher_is_better ? "higher is better" : "lower is better";
  byId("title").textContent = `${metric().title}: ${pair()[0]} minus ${pair()[1]}`;
  byId("definition").textContent = `${metric().title}: ${metric().definition}; ${sides}.`;
  drawPlots();
  drawDifferences();
  drawCases();
}
function choose(id, options, key) {
  byId(id).append(...options.map(([value, text]) => el("option", { value }, text)));
  byId(id).value = state[key];
  byId(id).addEventListener("change", () => { state[key] = key === "pair" ? Number(byId(id).value) : byId(id).value; draw(); });
}

byId("lead").textContent = data.lead;
byId("few").textContent = data.too_few;
drawLacking();
drawRankings();
choose("metric", data.metrics.map((item) => [item.name, item.title]), "metric");
choose("pair", pairs.map(([first, second], index) => [index, `${first} − ${second}`]), "pair");
choose("structure", [[EVERY, EVERY], ...(data.structures.length > 1 ? [[ALL, ALL]] : []), ...data.structures.map((name) => [name, name])], "structure");
byId("pairbox").hidden = pairs.length === 1;
byId("query").addEventListener("input", () => { state.query = byId("query").value; drawPlots(); drawCases(); });
byId("texts").append(...data.texts.map((text) => el("p", {}, text)));
byId("methods").append(definitions([
  ...Object.entries(data.sources).map(([name, source]) => [name, el("code", {}, source.path)]),
  ["References", [...new Set(Object.values(data.sources).map((source) => source.references))].join(", ")],
  ["Policy", Object.entries(data.policy).map(([key, value]) => `${key}: ${typeof value === "object" ? JSON.stringify(value) : value}`).join(", ")],
  ...Object.entries(data.resampled).filter(([, of]) => Object.keys(of).length).map(([name, of]) => [`Resampled, ${name}`,
    Object.entries(of).map(([id, how]) => `${id}: ${how}`).join("; ")]),
  ["Seed", String(data.seed)], ...provenance()]));
byId("hashes").append(el("tbody", {}, data.methods.flatMap((method) => Object.entries(data.sha256[method]).map(([id, of]) =>
  el("tr", {}, el("td", {}, id), el("td", { class: "text" }, method), el("td", { class: "text" }, el("code", {}, of.prediction)))))));
draw();
document.body.dataset.ready = "yes";
