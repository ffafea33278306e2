// A small chart of the last hour: a line with an axis that one can read.

import { h, setText, svg } from "./dom.js";

const WIDTH = 300;
const HEIGHT = 72;

/** Minutes that a chart may show: as few as what is known takes. */
const SPANS = [5, 15, 30, 60];

/** A round number that is at least so large, for the top of an axis. */
export function roundUp(value, least) {
  const wanted = Math.max(value, least);
  const power = 10 ** Math.floor(Math.log10(wanted));
  for (const step of [1, 2, 2.5, 5, 10]) if (step * power >= wanted) return step * power;
  return wanted;
}

export class Chart {
  /**
   * @param label What it shows.
   * @param format How a value is shown.
   * @param least The least that the top of the axis is.
   * @param top What rounds the top of the axis; `roundUp` if none.
   */
  constructor({ label, format, least = 1, top = roundUp }) {
    this.format = format;
    this.least = least;
    this.top = top;
    this.values = [];
    this.shown = [];
    this.step = 5;
    this.hovered = null;
    this.value = h("strong", { class: "chart-value" }, "–");
    this.note = h("span", { class: "chart-note quiet" });
    this.line = svg("path", { class: "chart-line" });
    this.area = svg("path", { class: "chart-area" });
    this.cross = svg("line", { class: "chart-cross", y1: 0, y2: HEIGHT, visibility: "hidden" });
    this.highest = h("span", {}, "");
    this.from = h("span");
    this.middle = h("span");
    const drawing = svg(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
      svg("line", { class: "chart-grid", x1: 0, x2: WIDTH, y1: 0.5, y2: 0.5 }),
      svg("line", { class: "chart-grid", x1: 0, x2: WIDTH, y1: HEIGHT / 2, y2: HEIGHT / 2 }),
      svg("line", { class: "chart-base", x1: 0, x2: WIDTH, y1: HEIGHT - 0.5, y2: HEIGHT - 0.5 }),
      this.area,
      this.line,
      this.cross,
    );
    drawing.addEventListener("pointermove", (event) => this.hover(event));
    drawing.addEventListener("pointerleave", () => this.leave());
    this.element = h(
      "section",
      { class: "card chart" },
      h("div", { class: "chart-head" }, h("h2", {}, label), this.value, this.note),
      h("div", { class: "chart-body" },
        h("div", { class: "chart-y" }, this.highest, h("span", {}, "0")),
        h("div", { class: "chart-plot" }, drawing)),
      h("div", { class: "chart-x" }, this.from, this.middle, h("span", {}, "now")),
    );
  }

  set(values, step) {
    this.values = values;
    this.step = step;
    this.draw();
  }

  add(value) {
    this.values.push(value);
    this.values.shift();
    this.draw();
  }

  now(value) {
    this.current = value;
    if (this.hovered === null) setText(this.value, this.format(value));
  }

  draw() {
    const first = this.values.findIndex((value) => value !== null);
    const minutes = first < 0 ? 0 : ((this.values.length - first) * this.step) / 60;
    const span = SPANS.find((each) => each >= minutes) ?? SPANS.at(-1);
    this.shown = this.values.slice(-Math.round((span * 60) / this.step));
    setText(this.from, `${span} min ago`);
    setText(this.middle, String(span / 2));
    const known = this.shown.filter((value) => value !== null);
    const top = this.top(known.length ? Math.max(...known) : 0, this.least);
    setText(this.highest, this.format(top));
    const count = this.shown.length - 1;
    let line = "";
    let area = "";
    let begin = null;
    this.shown.forEach((value, at) => {
      if (value === null) {
        if (begin !== null) area += `L${((at - 1) / count) * WIDTH} ${HEIGHT}Z`;
        begin = null;
        return;
      }
      const x = ((at / count) * WIDTH).toFixed(1);
      const y = (HEIGHT - (Math.min(value, top) / top) * (HEIGHT - 2)).toFixed(1);
      line += `${begin === null ? "M" : "L"}${x} ${y}`;
      area += begin === null ? `M${x} ${HEIGHT}L${x} ${y}` : `L${x} ${y}`;
      begin = begin ?? at;
    });
    if (begin !== null) area += `L${WIDTH} ${HEIGHT}Z`;
    this.line.setAttribute("d", line);
    this.area.setAttribute("d", area);
  }

  hover(event) {
    const box = event.currentTarget.getBoundingClientRect();
    const at = Math.round(((event.clientX - box.left) / box.width) * (this.shown.length - 1));
    const value = this.shown[at];
    if (value === undefined || value === null) return this.leave();
    this.hovered = at;
    const x = (at / (this.shown.length - 1)) * WIDTH;
    this.cross.setAttribute("x1", x);
    this.cross.setAttribute("x2", x);
    this.cross.setAttribute("visibility", "visible");
    setText(this.value, this.format(value));
    const ago = ((this.shown.length - 1 - at) * this.step) / 60;
    setText(this.note, `${ago < 1 ? "just now" : `${Math.round(ago)} min ago`}`);
  }

  leave() {
    this.hovered = null;
    this.cross.setAttribute("visibility", "hidden");
    setText(this.note, "");
    setText(this.value, this.format(this.current));
  }
}
