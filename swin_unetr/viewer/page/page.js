"use strict";
// The controls around the viewer. Knows nothing of NiiVue.

const $ = (id) => document.getElementById(id);
// Lower and upper bound in HU; level and width as radiology textbooks give them.
const CT_WINDOWS = { "soft tissue, abdomen": [-160, 240], liver: [-45, 105], lung: [-1350, 150], mediastinum: [-125, 225], bone: [-500, 1300],
  brain: [0, 80], stroke: [20, 60], subdural: [-50, 150] };
const KIND_NAMES = { reference: "Reference", prediction: "Prediction", errors: "Errors" };
const ERROR_NAMES = ["missed", "invented", "another structure"];
const hidden = new Set();
let scene, viewer, toggles = [], presets = {};

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) key in made ? (made[key] = value) : made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function swatch(colour) {
  const made = element("span", { className: "swatch" });
  made.style.background = colour;
  return made;
}

/** For every number of a layer: what it means. */
function entries(layer) {
  const nothing = { name: "", colour: "#000000", class: 0 };
  const classes = scene.classes.map((one, index) => ({ ...one, class: index + 1 }));
  if (layer.kind !== "errors") return [nothing, ...classes];
  return [nothing, ...ERROR_NAMES.flatMap((kind, index) =>
    classes.map((one) => ({ class: one.class, name: `${one.name}: ${kind}`, colour: scene.errorColours[index] })))];
}

function place({ mm, values }) {
  const side = (value, positive, negative) => `${value >= 0 ? positive : negative} ${Math.abs(value).toFixed(1)}`;
  $("position").textContent = `${side(mm[0], "R", "L")} · ${side(mm[1], "A", "P")} · ${side(mm[2], "S", "I")} mm`;
  $("value").textContent = `${Number(values[0]?.toPrecision(5))}${scene.ct ? " HU" : ""}`;
  $("found").replaceChildren(...scene.layers.map((layer, index) => {
    const entry = layer.entries[Math.round(values[index + 1])];
    return element("div", {}, element("dt", {}, layer.title),
      element("dd", {}, entry?.class ? swatch(entry.colour) : "", ` ${entry?.name || "–"}`));
  }));
}

function showWindow(low, high) {
  const rounded = (value) => Number(value.toPrecision(4));
  $("level").value = rounded((low + high) / 2);
  $("width").value = rounded(high - low);
  const found = Object.keys(presets).find((name) => presets[name].every((value, index) => Math.abs(value - [low, high][index]) < 1e-6 * (high - low)));
  $("preset").value = found ?? "";
}

function setWindow(low, high) { viewer.setWindow(low, high); showWindow(low, high); }

function windows() {
  const { min, max, low, high } = viewer.range;
  scene.ct = scene.modality === "CT" || (scene.modality !== "MR" && min <= -500);
  const general = { automatic: [low, high], "whole range": [min, max] };
  // A scan that is not named MR may be a CT without air: CT windows can be chosen, but are not the first.
  const fitting = scene.ct ? { ...CT_WINDOWS, ...general } : scene.modality === "MR" ? general : { ...general, ...CT_WINDOWS };
  presets = { ...(scene.window && scene.ct ? { "the task's": scene.window } : {}), ...fitting };
  $("preset").replaceChildren(...Object.entries(presets).map(([name, [from, to]]) =>
    element("option", { value: name }, name in CT_WINDOWS ? `${name} (${(from + to) / 2} / ${to - from})` : name)),
    element("option", { value: "", hidden: true }, "by hand"));
  setWindow(...Object.values(presets)[0]);
}

function layerControls(layer, index) {
  const errors = layer.kind === "errors";
  const one = scene.layers.filter((other) => other.kind === layer.kind).length === 1;
  layer.title = KIND_NAMES[layer.kind] + (one ? "" : ` ${layer.name}`);
  const opacity = element("input", { type: "range", min: 0, max: 100, value: layer.fill, "aria-label": `${layer.title}: opacity` });
  const outline = element("input", { type: "checkbox", checked: layer.outlined });
  const show = element("input", { type: "checkbox", checked: layer.visible });
  const update = () => {
    viewer.setOpacity(index, show.checked ? opacity.value / 100 : 0);
    viewer.setOutline(index, show.checked && outline.checked);
  };
  for (const control of [opacity, outline, show]) control.addEventListener("input", update);
  // Errors have colours of their own that fills of the prediction would be mistaken for.
  if (errors) show.addEventListener("input", () => toggles.filter(({ kind }) => kind === "prediction").forEach((other) => { other.show.checked = !show.checked; other.update(); }));
  toggles.push({ kind: layer.kind, show, update });
  const made = element("div", { className: "layer", id: `layer-${index}` },
    element("label", {}, show, element("b", { title: layer.name }, layer.title)),
    element("label", {}, "Opacity ", opacity), element("label", {}, outline, "Outline"));
  if (errors) {
    made.append(element("div", { className: "key" }, ...ERROR_NAMES.map((name, kind) => element("span", {}, swatch(scene.errorColours[kind]), ` ${name}`))));
  }
  $("layers").append(made);
  update();
}

/** Where a class is looked at: at its largest error, else where it is. */
function centre(number) {
  const count = scene.classes.length;
  for (const layer of scene.layers.filter(({ kind }) => kind === "errors")) {
    for (const kind of [0, 1, 2]) if (layer.centres[kind * count + number]) return layer.centres[kind * count + number];
  }
  return scene.layers.map(({ centres }) => centres[number]).find(Boolean);
}

function classControls() {
  const boxes = scene.classes.map((one, index) => {
    const number = index + 1;
    const box = element("input", { type: "checkbox", checked: true, id: `class-${number}`, "aria-label": `show ${one.name}` });
    box.addEventListener("input", () => { box.checked ? hidden.delete(number) : hidden.add(number); viewer.hide(hidden); });
    const go = element("button", { type: "button", title: "go there" }, one.name);
    go.addEventListener("click", () => { const mm = centre(number); if (mm) viewer.goTo(mm); });
    $("classes").append(element("li", {}, box, swatch(one.colour), go));
    return box;
  });
  const set = (on) => { boxes.forEach((box, index) => { box.checked = on; on ? hidden.delete(index + 1) : hidden.add(index + 1); }); viewer.hide(hidden); };
  $("all").addEventListener("click", () => set(true));
  $("none").addEventListener("click", () => set(false));
  $("structures").hidden = !scene.classes.length;
}

function keys(event) {
  const moves = { ArrowLeft: [1, 0, 0], ArrowRight: [-1, 0, 0], ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0], PageUp: [0, 0, 1], PageDown: [0, 0, -1] };
  const kind = { r: "reference", p: "prediction", e: "errors" }[event.key.toLowerCase()];
  if (event.ctrlKey || event.metaKey || event.altKey || !(moves[event.key] || kind)) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  if (moves[event.key]) viewer.move(...moves[event.key]);
  for (const toggle of toggles.filter((one) => one.kind === kind)) toggle.show.click();
}

async function start() {
  const query = location.search;
  const answer = await fetch(`case.json${query}`);
  if (!answer.ok) throw new Error("no such case");
  scene = await answer.json();
  if (scene.error) throw new Error(scene.error);
  document.title = `${scene.case} – viewer`;
  $("case").textContent = scene.case;
  $("back").hidden = !scene.report;
  $("notes").append(...scene.notes.map((note) => element("li", {}, note)));
  const withErrors = scene.layers.some(({ kind }) => kind === "errors");
  const onlyReference = !scene.layers.some(({ kind }) => kind === "prediction");
  for (const layer of scene.layers) {
    layer.entries = entries(layer);
    layer.url += query;
    layer.outlined = layer.kind === "reference";
    layer.fill = { reference: onlyReference ? 35 : 0, prediction: 40, errors: 75 }[layer.kind];
    layer.visible = layer.kind !== "errors";
  }
  $("scan").addEventListener("keydown", keys);
  viewer = new Viewer($("scan"), $("outlines"), place, showWindow);
  await viewer.show({ url: scene.scans[0].url + query }, scene.layers);
  windows();
  scene.layers.forEach(layerControls);
  classControls();
  $("layers").hidden = !scene.layers.length;
  $("preset").addEventListener("input", () => presets[$("preset").value] && setWindow(...presets[$("preset").value]));
  for (const id of ["level", "width"]) $(id).addEventListener("change", () => {
    const level = Number($("level").value), width = Math.max(Number($("width").value), 1e-6);
    setWindow(level - width / 2, level + width / 2);
  });
  $("planes").addEventListener("input", () => viewer.setPlanes($("planes").value));
  $("scans").hidden = scene.scans.length < 2;
  $("scan-choice").append(...scene.scans.map((scan, index) => element("option", { value: index }, scan.name)));
  $("scan-choice").addEventListener("input", async () => {
    await viewer.show({ url: scene.scans[$("scan-choice").value].url + query }, scene.layers);
    windows();
    viewer.hide(hidden);
    toggles.forEach((toggle) => toggle.update());
  });
  const asked = (new URLSearchParams(query).get("at") || "").split(",").map(Number);
  const first = asked.length === 3 && asked.every(Number.isFinite) ? asked : scene.classes.map((_, index) => centre(index + 1)).find(Boolean);
  viewer.setPlanes("all");
  first ? viewer.goTo(first) : viewer.move(0, 0, 0);
  $("message").textContent = "";
  document.body.dataset.ready = withErrors ? "errors" : "yes";
}

start().catch((error) => {
  $("message").textContent = `This case cannot be shown: ${error.message}`;
  document.body.dataset.ready = "failed";
});
