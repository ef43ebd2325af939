"use strict";
// The part of the report about how sure each result was. All numbers come from results.json.

function trustPlot(box, label, axes, draw) {
  const width = Math.max(300, box.clientWidth);
  const height = Math.max(300, Math.min(400, width * 0.62));
  const [left, right, top, bottom] = [58, width - 14, 10, height - 50];
  const x = (value) => left + (value - axes.x[0]) / (axes.x[1] - axes.x[0] || 1) * (right - left);
  const y = (value) => bottom - (value - axes.y[0]) / (axes.y[1] - axes.y[0] || 1) * (bottom - top);
  const canvas = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  const within = (marks, [low, high]) => marks.filter((value) => value >= low - 1e-9 && value <= high + 1e-9);
  for (const value of within(ticks(...axes.y, 5), axes.y)) canvas.append(svg("line", { class: "grid", x1: left, x2: right, y1: y(value), y2: y(value) }),
    svg("text", { x: left - 8, y: y(value) + 5, "text-anchor": "end" }, String(value)));
  for (const value of within(ticks(...axes.x, 5), axes.x)) canvas.append(svg("text", { x: x(value), y: bottom + 18, "text-anchor": "middle" }, String(value)));
  canvas.append(svg("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }),
    svg("text", { x: (left + right) / 2, y: height - 6, "text-anchor": "middle" }, axes.title));
  draw(canvas, x, y);
  box.replaceChildren(canvas, ...(axes.legend ? [axes.legend] : []));
}
const trustLine = (points, x, y, look) => svg("polyline", { fill: "none", "stroke-width": 2.4, ...look,
  points: points.map(([one, other]) => `${x(one)},${y(other)}`).join(" ") });
const trustRange = (values) => { const low = Math.min(...values, 0.9); return [Math.max(0, Math.floor(low * 10) / 10), 1]; };
const trustKey = (pairs) => el("div", { class: "legend" }, pairs.map(([shade, text]) => el("span", {}, el("span", { class: "swatch", style: `background:${shade}` }), text)));

function drawTrust() {
  const trust = data.trust;
  const both = trust.points.flatMap((point) => [point.predicted, point.true]);
  const range = both.length ? trustRange(both) : [0, 1];
  trustPlot(byId("trust-points"), "Predicted against true Dice", { x: range, y: range, title: "predicted Dice (true Dice upwards)",
    legend: single ? null : el("div", { class: "legend" }, data.structures.map((name, index) => el("span", {}, svg("svg", { viewBox: "0 0 16 16" }, mark(8, 8, index, 5.5)), name))) }, (canvas, x, y) => {
    canvas.append(trustLine([[range[0], range[0]], [1, 1]], x, y, { stroke: "#8a929c", "stroke-dasharray": "5 5" }));
    for (const point of trust.points) {
      const node = mark(x(point.predicted), y(point.true), structureIndex.get(point.structure), 4, { class: "point", "data-case": point.case });
      node.append(svg("title", {}, `${point.case}, ${point.structure}: predicted ${show(point.predicted, 3)} (at least ${show(point.bound, 3)}), true ${show(point.true, 3)}`));
      node.addEventListener("click", () => focusCase(point.case));
      canvas.append(node);
    }
  });
  if (!trust.risk) return;
  const number = trust.cases;
  const covered = (risks) => risks.map((risk, index) => [(index + 1) / number, risk]);
  const most = Math.max(...trust.risk, trust.aurc_random) * 1.1 || 0.1;
  trustPlot(byId("trust-risk"), "Risk against coverage", { x: [0, 1], y: [0, most], title: "share of the cases that is accepted, the surest first",
    legend: trustKey([["#0072B2", "by predicted Dice"], ["#009E73", "best possible"], ["#8a929c", "random order"]]) }, (canvas, x, y) => canvas.append(
    trustLine([[0, trust.aurc_random], [1, trust.aurc_random]], x, y, { stroke: "#8a929c", "stroke-dasharray": "5 5" }),
    trustLine(covered(trust.risk_best), x, y, { stroke: "#009E73" }), trustLine(covered(trust.risk), x, y, { stroke: "#0072B2" })));
  const bins = trust.reliability;
  const span = trustRange(bins.flatMap(([predicted, found]) => [predicted, found]));
  trustPlot(byId("trust-reliability"), "Reliability of the predicted Dice", { x: span, y: span, title: "mean predicted Dice (mean true Dice upwards)" }, (canvas, x, y) => {
    canvas.append(trustLine([[span[0], span[0]], [1, 1]], x, y, { stroke: "#8a929c", "stroke-dasharray": "5 5" }),
      trustLine(bins, x, y, { stroke: "#0072B2" }));
    for (const [predicted, found, size] of bins) {
      const node = svg("circle", { cx: x(predicted), cy: y(found), r: 5.5, fill: "#0072B2" });
      node.append(svg("title", {}, `${counted(size, "case")}: predicted ${show(predicted, 3)}, true ${show(found, 3)}`));
      canvas.append(node);
    }
  });
  trustPlot(byId("trust-left"), "Poor cases that are left", { x: [0, 100], y: [0, trust.poor], title: "cases looked at, the worst first (%)",
    legend: trustKey([["#0072B2", "in the order of triage.csv"], ["#8a929c", "random order"]]) }, (canvas, x, y) => canvas.append(
    trustLine([[0, trust.poor], [100, 0]], x, y, { stroke: "#8a929c", "stroke-dasharray": "5 5" }),
    trustLine(trust.poor_left.map((left, looked) => [100 * looked / number, left]), x, y, { stroke: "#0072B2" })));
}

function setUpTrust() {
  const trust = data.trust;
  const figure = (id, caption) => el("figure", {}, el("figcaption", {}, caption), el("div", { id }));
  const facts = [`${counted(Object.keys(trust.decisions).length, "case")} ${Object.keys(trust.decisions).length === 1 ? "has" : "have"} a record of how sure the result was.`];
  if (trust.bounds) facts.push(`${trust.bounds_held} of ${trust.bounds} lower bounds of a Dice hold (${show(100 * trust.bounds_held / trust.bounds, 0)} %; meant: about ${show(100 * trust.confidence, 0)} %).`);
  if (trust.risk) facts.push(`Mean Dice of a case: correlation of predicted and true ${show(trust.correlation, 2)}, mean absolute error ${show(trust.mean_absolute_error, 3)}, calibration error ${show(trust.ece, 3)}.`,
    `Area under the risk-coverage curve ${show(trust.aurc, 3)} (best possible ${show(trust.aurc_best, 3)}, random ${show(trust.aurc_random, 3)}). AUROC of finding the poor cases, the lowest ${show(100 * trust.poor_share, 0)} % by true Dice: ${show(trust.auroc, 2)}.`);
  if (!trust.points.length) facts.push("No Dice was predicted: the model is not calibrated, or on too few cases (swin-unetr calibrate).");
  byId("trust").append(el("h2", {}, "How sure it was"), el("p", { class: "soft" }, facts.join(" ")), el("div", { class: "plots" },
    figure("trust-points", "Predicted against true Dice of every structure. Click a point to see the case."),
    ...(trust.risk ? [figure("trust-risk", "Mean of 1 − Dice over the accepted cases: lower is better."),
      figure("trust-reliability", "Mean Dice of a case: groups of equally many cases by their predicted Dice."),
      figure("trust-left", "Poor cases that nobody has seen when a share of the cases was looked at.")] : [])));
  drawTrust();
  addEventListener("resize", () => setTimeout(drawTrust, 150));
}
setUpTrust();
