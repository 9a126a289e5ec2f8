// A chart over time as SVG: stacked areas or lines, the newest at the right, with a pointer that reads values.

const SVG = "http://www.w3.org/2000/svg";
const LEFT = 44, BOTTOM = 20, TOP = 8;

function make(name, attributes = {}, text = null) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== null) element.textContent = text;
  return element;
}

export function short(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size >= 1e9) return (value / 1e9).toFixed(1) + "G";
  if (size >= 1e6) return (value / 1e6).toFixed(size >= 1e7 ? 0 : 1) + "M";
  if (size >= 1e4) return (value / 1e3).toFixed(size >= 1e5 ? 0 : 1) + "k";
  if (size >= 100 || Number.isInteger(value)) return Math.round(value).toLocaleString("en");
  return value.toFixed(size >= 10 ? 1 : 2);
}

// The smallest of 1, 2, 5 × 10^n steps of which four at most reach `max`.
function niceStep(max) {
  const raw = max / 4, power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= raw - 1e-12);
}

export class Chart {
  // series: [{name, label, look}], look: a class that gives the colour. stacked: areas one upon the other, else lines.
  constructor(figure, series, { stacked = false, soft = false, least = 1 } = {}) {
    Object.assign(this, { series, stacked, soft, least, times: [], columns: {}, span: 120 });
    const legend = document.createElement("ul");
    legend.className = "legend";
    if (series.length > 1) {
      for (const { label, look } of series) {
        const item = document.createElement("li");
        item.className = look;
        item.textContent = label;
        legend.append(item);
      }
    }
    figure.querySelector("figcaption").append(legend);
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

  // times: whole seconds; columns: values by the series' names, null where there is none.
  show(times, columns, span, now) {
    Object.assign(this, { times, columns, span, now });
    this.draw();
  }

  x(time) { return LEFT + (1 - (this.now - time) / this.span) * (this.width - LEFT - 4); }
  y(value) { return this.height - BOTTOM - (value / this.top) * (this.height - BOTTOM - TOP); }

  draw() {
    this.width = this.plot.clientWidth;
    this.height = this.svg.clientHeight || 190;
    if (!this.width || !this.now) return;
    const first = this.times.findIndex((time) => time >= this.now - this.span - 1);
    this.from = first < 0 ? this.times.length : first;
    const layers = this.layers();
    const highest = Math.max(this.least, ...layers.flatMap(({ tops }) => tops.filter((top) => top !== null)));
    const step = niceStep(highest);
    this.top = Math.ceil(highest / step - 1e-9) * step;
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
      const values = (this.columns[name] || []).slice(this.from);
      if (!this.stacked) return { look, tops: values, bottoms: null };
      const bottoms = below, tops = values.map((value, at) => below[at] + (value || 0));
      below = tops;
      return { look, tops, bottoms };
    });
  }

  append(group, { look, tops, bottoms }) {
    const at = (index) => this.x(this.times[this.from + index]).toFixed(1);
    if (bottoms) {
      const over = tops.map((top, index) => `${at(index)},${this.y(top).toFixed(1)}`);
      const under = bottoms.map((bottom, index) => `${at(index)},${this.y(bottom).toFixed(1)}`).reverse();
      if (tops.length && tops.some((top, index) => top > bottoms[index])) {
        group.append(make("path", { class: `area ${look}`, d: `M${over.join("L")}L${under.join("L")}Z` }));
      }
      return;
    }
    let path = "", run = [];
    const ground = this.y(0).toFixed(1);
    const end = () => {
      if (!run.length) return;
      path += `M${run.join("L")}${run.length === 1 ? "h0.01" : ""}`;
      if (this.soft && run.length > 1) {
        const [left] = run[0].split(","), [right] = run[run.length - 1].split(",");
        group.append(make("path", { class: `area soft ${look}`, d: `M${left},${ground}L${run.join("L")}L${right},${ground}Z` }));
      }
      run = [];
    };
    tops.forEach((top, index) => { if (top === null) end(); else run.push(`${at(index)},${this.y(top).toFixed(1)}`); });
    end();
    if (path) group.append(make("path", { class: `line ${look}`, d: path }));
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
      value.textContent = short(this.columns[name][index]);
      line.append(value, key);
      this.tip.append(line);
    }
    const rightwards = x < this.width / 2;
    this.tip.style.left = rightwards ? `${x + 10}px` : "auto";
    this.tip.style.right = rightwards ? "auto" : `${this.width - x + 10}px`;
  }
}
