"use strict";
// The page of a comparison; its numbers are those of compare.json.

let order = { key: null, up: true };
const COLUMNS = [["metric", "Measure"], ["structure", "Structure"], ["first", "First"], ["second", "Second"], ["pairs", "Cases", 0],
  ["mean", "Mean difference", 4], ["ci_low", "95 % CI from", 4], ["ci_high", "to", 4], ["median", "Median", 4],
  ["first_wins", "First better", 0], ["ties", "Equal", 0], ["second_wins", "Second better", 0], ["p", "p", 4],
  ["p_holm", "p (Holm)", 4]];
const shown = (item, key, digits) => (key.startsWith("p_") || key === "p") && item[key] !== null && item[key] < 0.0001
  ? el("td", { "data-key": key, "data-value": item[key] }, "< 0.0001") : cell(item[key], digits, { "data-key": key });

function drawDifferences() {
  const sort = (key) => { order = { key, up: order.key === key ? !order.up : true }; drawDifferences(); };
  const value = (item) => (typeof item[order.key] === "string" && !/^-?inf$/.test(item[order.key]) ? item[order.key] : real(item[order.key]));
  const items = order.key ? ordered(data.differences, value, order.up) : data.differences;
  byId("differences").replaceChildren(
    el("thead", {}, el("tr", {}, COLUMNS.map(([key, title]) => heading(title, key, order, sort)))),
    el("tbody", {}, items.map((item) => el("tr", {}, COLUMNS.map(([key, , digits]) => (digits === undefined
      ? el("td", { class: "text" }, item[key]) : shown(item, key, digits)))))));
}
function drawRanking() {
  const head = ["Method", "Place", "Mean rank", ...data.methods.map((_, index) => `Place ${index + 1}`)];
  byId("ranking").replaceChildren(el("thead", {}, el("tr", {}, head.map((title) => el("th", { scope: "col" }, title)))),
    el("tbody", {}, data.ranking.map((item) => el("tr", {}, el("td", {}, item.method), cell(item.place, 0), cell(item.mean_rank, 3),
      item.stability.map((share) => el("td", { "data-value": share, class: "text" },
        el("span", { class: "bar", style: `width:${(share * 5).toFixed(2)}rem` }), `${(share * 100).toFixed(1)} %`))))));
}
function drawPlots() {}
byId("lead").textContent = data.lead;
byId("methods").append(definitions([["Method", data.method], ["Ranked by", data.ranked_by.join(", ")],
  ...Object.entries(data.sources), ...Object.entries(data.inputs).filter(([, value]) => value !== null).map(([key, value]) => [key, String(value)]),
  ...provenance()]));
drawRanking();
drawDifferences();
document.body.dataset.ready = "yes";
