"use strict";
// The one file that knows NiiVue. It shows a scan and label maps on its grid; outlines of labels are drawn by hand on a
// second canvas, since NiiVue can only thicken whole voxels.

class Viewer {
  /** `onPlace({mm, values})` tells where the crosshair is and the value there of the scan and of every layer. */
  constructor(canvas, outlines, onPlace, onWindow) {
    this.outlines = outlines;
    this.layers = [];
    this.nv = new niivue.Niivue({
      backColor: [0, 0, 0, 1], crosshairColor: [0.85, 0.85, 0.85, 0.6], crosshairWidthUnit: "percent", crosshairWidth: 0.25,
      isRadiologicalConvention: true, sagittalNoseLeft: true,
      isOrientationTextVisible: false, multiplanarShowRender: 0, tileMargin: 4, dragMode: 9,
      dragAndDropEnabled: false, logLevel: "error", loadingText: "",
      viewModeHotKey: "", clipPlaneHotKey: "", cycleClipPlaneHotKey: "", isForceMouseClickToVoxelCenters: true,
    });
    this.nv.onLocationChange = (place) => onPlace({ mm: place.mm, values: place.values.map((value) => value.value) });
    this.nv.onIntensityChange = (volume) => onWindow(volume.cal_min, volume.cal_max);
    const draw = this.nv.drawScene.bind(this.nv);
    this.nv.drawScene = () => { const text = draw(); this.#drawOver(); return text; };
    this.ready = this.nv.attachToCanvas(canvas);
  }

  /** Show a scan with layers, each `{url, name}` with `entries`: for every number its colour, and the class that shows it. */
  async show(scan, layers) {
    await this.ready;
    this.layers = layers.map((layer) => ({ ...layer, opacity: 0, outline: false, hidden: new Set(), slices: new Map() }));
    await this.nv.loadVolumes([
      { url: scan.url, name: scan.url.split("?")[0], colormap: "gray" },
      ...layers.map((layer) => ({ url: layer.url, name: layer.url.split("?")[0], opacity: 0 })),
    ]);
    this.layers.forEach((layer, index) => {
      const volume = this.nv.volumes[index + 1];
      layer.voxels = volume.img2RAS();
      layer.size = volume.dimsRAS.slice(1, 4);
      this.#colour(index);
    });
    this.nv.updateGLVolume();
  }

  get range() { const scan = this.nv.volumes[0]; return { min: scan.global_min, max: scan.global_max, low: scan.robust_min, high: scan.robust_max }; }

  setWindow(low, high) {
    Object.assign(this.nv.volumes[0], { cal_min: low, cal_max: high });
    this.nv.updateGLVolume();
  }

  setPlanes(planes) {
    if (planes !== "all") {
      this.nv.clearCustomLayout();
      this.nv.setSliceType({ axial: 0, coronal: 1, sagittal: 2 }[planes]);
      return;
    }
    this.nv.setCustomLayout([
      { sliceType: 0, position: [0, 0, 0.6, 1] },
      { sliceType: 1, position: [0.6, 0, 0.4, 0.5] },
      { sliceType: 2, position: [0.6, 0.5, 0.4, 0.5] },
    ]);
  }

  setOpacity(index, opacity) {
    this.layers[index].opacity = opacity;
    this.nv.setOpacity(index + 1, opacity);
  }

  setOutline(index, on) { this.layers[index].outline = on; this.nv.drawScene(); }

  /** Hide classes by their number, in every layer. */
  hide(classes) {
    this.layers.forEach((layer, index) => {
      layer.hidden = new Set(layer.entries.flatMap((entry, number) => (number && classes.has(entry.class) ? [number] : [])));
      layer.slices.clear();
      this.#colour(index);
    });
    this.nv.updateGLVolume();
  }

  goTo(mm) {
    this.nv.scene.crosshairPos = this.nv.mm2frac(mm, 0, true);
    this.move(0, 0, 0);
  }

  /** Move by voxels towards the patient's right, front and head. */
  move(x, y, z) {
    this.nv.moveCrosshairInVox(x, y, z);
    this.nv.createOnLocationChange();
    this.nv.drawScene();
  }

  #colour(index) {
    const { entries, hidden } = this.layers[index];
    // NiiVue lifts everything to 2/256 of a table: of a long one that is past the entry of 0, so empty ones go before it.
    const before = Array(Math.ceil(entries.length / 100)).fill(0);
    const channel = (start) => [...before, ...entries.map((entry) => parseInt(entry.colour.slice(start, start + 2), 16))];
    this.nv.volumes[index + 1].setColormapLabel({
      R: channel(1), G: channel(3), B: channel(5),
      A: [...before, ...entries.map((_, number) => (number === 0 || hidden.has(number) ? 0 : 255))],
      I: [...before, ...entries].map((_, place) => place - before.length),
      labels: [...before.map(() => ""), ...entries.map((entry) => entry.name)],
    });
  }

  /** Outlines of labels and the letters of the sides. */
  #drawOver() {
    const { width, height } = this.nv.canvas;
    if (this.outlines.width !== width || this.outlines.height !== height) Object.assign(this.outlines, { width, height });
    const context = this.outlines.getContext("2d");
    context.clearRect(0, 0, width, height);
    if (!this.nv.volumes.length) return;
    const shown = this.layers.filter((layer) => layer.outline && layer.voxels);
    this.nv.screenSlices.forEach((tile, number) => {
      if (tile.axCorSag > 2) return;
      const [u, v, cut] = [[0, 1, 2], [0, 2, 1], [1, 2, 0]][tile.axCorSag];
      const toScreen = this.#toScreen(number, tile.leftTopWidthHeight, u, v);
      context.save();
      context.beginPath();
      context.rect(...tile.leftTopWidthHeight);
      context.clip();
      context.lineWidth = 1.6 * (window.devicePixelRatio || 1);
      for (const layer of shown) {
        const at = Math.min(layer.size[cut] - 1, Math.max(0, Math.floor(this.nv.scene.crosshairPos[cut] * layer.size[cut])));
        for (const [label, path] of this.#outline(layer, u, v, cut, at)) {
          const scaled = new Path2D();
          scaled.addPath(path, toScreen.scale(1 / layer.size[u], 1 / layer.size[v]));
          context.strokeStyle = layer.entries[label].colour;
          context.stroke(scaled);
        }
      }
      context.restore();
      this.#nameSides(context, tile.leftTopWidthHeight, toScreen, u, v);
    });
  }

  /** Letters of the sides, read off the way the plane is drawn, with a dark rim that bright tissue does not swallow. */
  #nameSides(context, [left, top, width, height], toScreen, u, v) {
    const ends = (axis, positive) => (positive ? ["LPI"[axis], "RAS"[axis]] : ["RAS"[axis], "LPI"[axis]]);
    const [leftmost, rightmost] = ends(u, toScreen.a > 0), [highest, lowest] = ends(v, toScreen.d > 0);
    const size = 17 * (window.devicePixelRatio || 1), rim = 0.8 * size;
    Object.assign(context, { font: `600 ${size}px system-ui, sans-serif`, textAlign: "center", textBaseline: "middle", lineWidth: size / 5, strokeStyle: "#000", fillStyle: "#fff", lineJoin: "round" });
    const middle = [left + width / 2, top + height / 2];
    const places = [[leftmost, left + rim, middle[1]], [rightmost, left + width - rim, middle[1]], [highest, middle[0], top + rim], [lowest, middle[0], top + height - rim]];
    for (const place of places) { context.strokeText(...place); context.fillText(...place); }
  }

  /** From fractions of the plane to pixels, out of where NiiVue says that three pixels inside lie. */
  #toScreen(number, [left, top, width, height], u, v) {
    const [x, y, w, h] = [left + width / 4, top + height / 4, width / 2, height / 2];
    const [p, q, r] = [[x, y], [x + w, y], [x, y + h]].map((point) => this.nv.screenXY2TextureFrac(...point, number, false));
    const linear = [(q[u] - p[u]) / w, (q[v] - p[v]) / w, (r[u] - p[u]) / h, (r[v] - p[v]) / h];
    const shift = [p[u] - linear[0] * x - linear[2] * y, p[v] - linear[1] * x - linear[3] * y];
    return new DOMMatrix([...linear, ...shift]).inverse();
  }

  /** Edges of the labels of a slice in voxels of its plane: a path for each label. */
  #outline(layer, u, v, cut, at) {
    const key = `${cut}:${at}`;
    if (layer.slices.has(key)) return layer.slices.get(key);
    const step = [1, layer.size[0], layer.size[0] * layer.size[1]];
    const label = (i, j) => {
      if (i < 0 || j < 0 || i >= layer.size[u] || j >= layer.size[v]) return 0;
      const value = layer.voxels[i * step[u] + j * step[v] + at * step[cut]];
      return layer.hidden.has(value) ? 0 : value;
    };
    const paths = new Map();
    const edge = (value, ...line) => {
      if (!value) return;
      if (!paths.has(value)) paths.set(value, new Path2D());
      paths.get(value).moveTo(line[0], line[1]);
      paths.get(value).lineTo(line[2], line[3]);
    };
    for (let j = 0; j <= layer.size[v]; j++) {
      for (let i = 0; i <= layer.size[u]; i++) {
        const here = label(i, j), before = label(i - 1, j), below = label(i, j - 1);
        if (here !== before) edge(here || before, i, j, i, j + 1);
        if (here !== below) edge(here || below, i, j, i + 1, j);
      }
    }
    if (layer.slices.size > 60) layer.slices.clear();
    layer.slices.set(key, paths);
    return paths;
  }
}
