// A chart over time as SVG: stacked areas or lines, with the newest values at the right and a tooltip at the pointer.

import { axisTop, runs, short } from "./scale.js";

const SVG = "http://www.w3.org/2000/svg";
const LEFT = 44, BOTTOM = 20, TOP = 8;

function make(name, attributes = {}, text = null) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== null) element.textContent = text;
  return element;
}

export class Chart {
  // series: [{name, label, look}]; look: CSS class that sets the colour. stacked: stacked areas instead of lines.
  // soft: fill the area below a line. least: the axis reaches at least this value. empty: text if there is nothing to draw.
  constructor(figure, series, { stacked = false, soft = false, least = 1, empty = "Nothing in this span." } = {}) {
    Object.assign(this, { stacked, soft, least, empty, times: [], columns: {}, span: 120 });
    this.legend = document.createElement("ul");
    this.legend.className = "legend";
    figure.querySelector("figcaption").append(this.legend);
    this.setSeries(series);
    this.plot = document.createElement("div");
    this.plot.className = "plot";
    this.svg = make("svg", { role: "img", "aria-label": figure.querySelector("figcaption").firstChild.textContent.trim() });
    this.tip = document.createElement("div");
    this.tip.className = "tip";
    this.tip.hidden = true;
    this.plot.append(this.svg, this.tip);
    figure.append(this.plot);
    new ResizeObserver(() => this.draw()).observe(this.plot);
    this.plot.addEventListener("pointermove", (event) => { this.pointer = event.offsetX; this.point(); });
    this.plot.addEventListener("pointerleave", () => { this.pointer = null; this.point(); });
  }

  setSeries(series) {
    this.series = series;
    this.legend.replaceChildren(...(series.length > 1 ? series : []).map(({ label, look }) => {
      const item = document.createElement("li");
      item.className = look;
      item.textContent = label;
      return item;
    }));
  }

  // times: whole seconds; columns: values by name of the series, null for no value.
  show(times, columns, span, now) {
    Object.assign(this, { times, columns, span, now });
    this.draw();
  }

  x(time) { return LEFT + (1 - (this.now - time) / this.span) * (this.width - LEFT - 4); }
  y(value) { return this.height - BOTTOM - (Math.min(value, this.top) / this.top) * (this.height - BOTTOM - TOP); }

  draw() {
    this.width = this.plot.clientWidth;
    this.height = this.svg.clientHeight || 190;
    if (!this.width || !this.now) return;
    const first = this.times.findIndex((time) => time >= this.now - this.span - 1);
    this.from = first < 0 ? this.times.length : first;
    const layers = this.layers();
    // The top layer of stacked areas has the sums.
    const drawn = this.stacked ? layers.slice(-1) : layers;
    const { step, top } = axisTop(drawn.flatMap(({ tops }) => tops.filter((value) => value !== null)), this.least);
    this.top = top;
    this.svg.replaceChildren();
    for (let value = 0; value <= this.top + step / 1e6; value += step) {
      const y = Math.round(this.y(value)) + 0.5;
      this.svg.append(make("line", { class: "grid", x1: LEFT, x2: this.width, y1: y, y2: y }));
      this.svg.append(make("text", { x: LEFT - 7, y: y + 4, "text-anchor": "end" }, short(value)));
    }
    const ticks = this.width < 420 ? 2 : 4;
    for (let tick = 0; tick <= ticks; tick += 1) {
      const ago = this.span * (1 - tick / ticks);
      const label = ago === 0 ? "now" : ago >= 120 && ago % 60 === 0 ? `−${ago / 60} min` : `−${ago} s`;
      const anchor = tick === 0 ? "start" : tick === ticks ? "end" : "middle";
      this.svg.append(make("text", { x: this.x(this.now - ago), y: this.height - 4, "text-anchor": anchor }, label));
    }
    const moving = make("g");
    for (const layer of layers) this.append(moving, layer);
    this.markSpikes(moving, drawn);
    if (!layers.some(({ tops, bottoms }) => tops.some((top, at) => top !== null && (!bottoms || top > bottoms[at])))) {
      const middle = { x: (LEFT + this.width) / 2, y: this.height / 2, "text-anchor": "middle" };
      this.svg.append(make("text", { class: "empty", ...middle }, this.empty));
    }
    const clip = make("svg", { x: LEFT, y: 0, width: this.width - LEFT, height: this.height, viewBox: `${LEFT} 0 ${this.width - LEFT} ${this.height}` });
    clip.append(moving);
    this.svg.append(clip);
    this.cursor = make("line", { class: "cursor", y1: TOP, y2: this.height - BOTTOM, visibility: "hidden" });
    this.svg.append(this.cursor);
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) {
      const shift = (this.width - LEFT - 4) / this.span;
      moving.animate([{ transform: `translateX(${shift}px)` }, { transform: "none" }], { duration: 1000 });
    }
    this.point();
  }

  layers() {
    let below = this.times.slice(this.from).map(() => 0);
    return this.series.map(({ name, look }) => {
      const column = this.columns[name] || [];
      const values = this.times.slice(this.from).map((_, at) => column[this.from + at] ?? null);
      if (!this.stacked) return { look, tops: values, bottoms: null };
      const bottoms = below, tops = values.map((value, at) => below[at] + (value || 0));
      below = tops;
      return { look, tops, bottoms };
    });
  }

  append(group, { look, tops, bottoms }) {
    const at = (index) => this.x(this.times[this.from + index]).toFixed(1);
    const over = (index) => `${at(index)},${this.y(tops[index]).toFixed(1)}`;
    if (bottoms) {
      const under = (index) => `${at(index)},${this.y(bottoms[index]).toFixed(1)}`;
      for (let [first, last] of runs(tops.length, (index) => tops[index] > bottoms[index])) {
        // Include the sample before and the one after, between which the area rises and falls.
        [first, last] = [Math.max(0, first - 1), Math.min(tops.length - 1, last + 1)];
        const indexes = Array.from({ length: last - first + 1 }, (_, place) => first + place);
        // A single sample has no width, so draw it as a bar of one second.
        const bar = first === last ? `h${((this.width - LEFT) / this.span).toFixed(1)}V${this.y(bottoms[first]).toFixed(1)}` : "";
        const outline = `M${indexes.map(over).join("L")}${bar}L${indexes.map(under).reverse().join("L")}Z`;
        group.append(make("path", { class: `area ${look}`, d: outline }));
      }
      return;
    }
    const ground = this.y(0).toFixed(1);
    for (const [first, last] of runs(tops.length, (index) => tops[index] !== null && tops[index] !== undefined)) {
      const line = tops.slice(first, last + 1).map((_, place) => over(first + place)).join("L");
      if (first === last) {
        group.append(make("circle", { class: `dot ${look}`, cx: at(first), cy: this.y(tops[first]).toFixed(1), r: 3 }));
        continue;
      }
      if (this.soft) {
        const outline = `M${at(first)},${ground}L${line}L${at(last)},${ground}Z`;
        group.append(make("path", { class: `area soft ${look}`, d: outline }));
      }
      group.append(make("path", { class: `line ${look}`, d: `M${line}` }));
    }
  }

  // Mark values that are cut off at the top; of neighbours only the highest.
  markSpikes(group, layers) {
    const highest = this.times.slice(this.from).map((_, index) => Math.max(...layers.map(({ tops }) => tops[index] ?? 0)));
    let lastX = -Infinity;
    for (const [first, last] of runs(highest.length, (index) => highest[index] > this.top * 1.0001)) {
      const value = Math.max(...highest.slice(first, last + 1)), x = this.x(this.times[this.from + highest.indexOf(value, first)]);
      if (x - lastX < 52) continue;
      lastX = x;
      const [anchor, shift] = x > this.width - 60 ? ["end", -4] : ["start", 4];
      group.append(make("text", { class: "spike", x: x + shift, y: TOP + 9, "text-anchor": anchor }, `▲ ${short(value)}`));
    }
  }

  point() {
    const shown = this.pointer !== null && this.pointer !== undefined && this.times.length > this.from;
    this.tip.hidden = !shown;
    if (!this.cursor) return;
    this.cursor.setAttribute("visibility", shown ? "visible" : "hidden");
    if (!shown) return;
    const wanted = this.now - (1 - (this.pointer - LEFT) / (this.width - LEFT - 4)) * this.span;
    let index = this.from;
    for (let at = this.from; at < this.times.length; at += 1) {
      if (Math.abs(this.times[at] - wanted) < Math.abs(this.times[index] - wanted)) index = at;
    }
    const x = this.x(this.times[index]);
    this.cursor.setAttribute("x1", x);
    this.cursor.setAttribute("x2", x);
    this.tip.replaceChildren(new Date(this.times[index] * 1000).toLocaleTimeString("en-GB"));
    for (const { name, label, look } of this.series) {
      const line = document.createElement("div"), value = document.createElement("b"), key = document.createElement("span");
      key.className = look;
      key.textContent = label;
      value.textContent = short((this.columns[name] || [])[index]);
      line.append(value, key);
      this.tip.append(line);
    }
    const rightwards = x < this.width / 2;
    this.tip.style.left = rightwards ? `${x + 10}px` : "auto";
    this.tip.style.right = rightwards ? "auto" : `${this.width - x + 10}px`;
  }
}
