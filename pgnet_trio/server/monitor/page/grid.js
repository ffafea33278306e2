// A table with many rows: sorted, filtered, and only what has changed is drawn anew.

import { h, setText } from "./dom.js";
import { number } from "./format.js";

const SHOWN = 200;

export class Grid {
  /**
   * @param columns Each with `label`, `value(row)` to sort by, `cell(row)` for a text or a node,
   *     and `kind`: "number" for figures, "wide" for what narrow screens leave out.
   * @param empty What is said where there are no rows.
   * @param name What a row is called, in words.
   */
  constructor({ columns, empty, name, sortBy = 0, descending = false, filterText, actions }) {
    this.columns = columns;
    this.empty = empty;
    this.name = name;
    this.sortBy = sortBy;
    this.descending = descending;
    this.filterText = filterText;
    this.actions = actions;
    this.rows = new Map();
    this.drawn = new Map();
    this.filter = "";
    this.shown = SHOWN;
    this.body = h("tbody");
    this.heads = columns.map((column, at) =>
      h("th", { class: column.kind ?? "", scope: "col" },
        h("button", { class: "sort", onclick: () => this.sort(at) }, column.label)));
    const head = h("tr", {}, ...this.heads, actions ? h("th", { class: "actions" }, h("span", { class: "hidden" }, "Actions")) : null);
    this.input = h("input", {
      type: "search", placeholder: `Filter ${name}s`, "aria-label": `Filter ${name}s`,
      oninput: () => { this.filter = this.input.value.trim().toLowerCase(); this.shown = SHOWN; this.draw(); },
    });
    this.count = h("span", { class: "quiet" });
    this.more = h("button", { hidden: true, onclick: () => { this.shown += SHOWN; this.draw(); } });
    this.nothing = h("p", { class: "empty", hidden: true });
    this.element = h("div", { class: "grid" },
      h("div", { class: "toolbar" }, this.input, this.count),
      h("div", { class: "card scroll" }, h("table", {}, h("thead", {}, head), this.body), this.nothing),
      this.more);
    this.markSort();
  }

  /** Take rows that have changed, and the names of those that are gone. */
  take({ all, rows, gone }) {
    if (all) this.rows.clear();
    for (const row of rows) this.rows.set(row.name, row);
    for (const name of gone) this.rows.delete(name);
    if (!this.waits) {
      this.waits = true;
      requestAnimationFrame(() => { this.waits = false; this.draw(); });
    }
  }

  sort(at) {
    this.descending = this.sortBy === at ? !this.descending : this.columns[at].kind === "number";
    this.sortBy = at;
    this.markSort();
    this.draw();
  }

  markSort() {
    this.heads.forEach((head, at) => {
      if (at === this.sortBy) head.setAttribute("aria-sort", this.descending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
  }

  draw() {
    const { value } = this.columns[this.sortBy];
    let found = [...this.rows.values()];
    if (this.filter) found = found.filter((row) => this.filterText(row).toLowerCase().includes(this.filter));
    const sign = this.descending ? -1 : 1;
    found.sort((one, other) => sign * compare(value(one), value(other)) || compare(one.name, other.name));
    const shown = found.slice(0, this.shown);
    const names = new Set(shown.map((row) => row.name));
    for (const [name, drawn] of this.drawn) {
      if (!names.has(name)) {
        drawn.element.remove();
        this.drawn.delete(name);
      }
    }
    let next = this.body.firstElementChild;
    for (const row of shown) {
      let drawn = this.drawn.get(row.name);
      if (drawn === undefined) {
        drawn = this.drawRow(row);
        this.drawn.set(row.name, drawn);
      } else if (drawn.row !== row) this.update(drawn, row);
      if (drawn.element === next) next = next.nextElementSibling;
      else this.body.insertBefore(drawn.element, next);
    }
    setText(this.count, found.length === this.rows.size ? `${number(found.length)} ${this.name}${found.length === 1 ? "" : "s"}`
      : `${number(found.length)} of ${number(this.rows.size)}`);
    this.more.hidden = found.length <= this.shown;
    setText(this.more, `Show ${number(Math.min(SHOWN, found.length - this.shown))} more of ${number(found.length - this.shown)}`);
    this.nothing.hidden = found.length > 0;
    setText(this.nothing, this.rows.size ? `No ${this.name} matches the filter.` : this.empty);
  }

  drawRow(row) {
    const cells = this.columns.map((column) => h("td", { class: column.kind ?? "" }));
    const element = h("tr", {}, ...cells, this.actions ? h("td", { class: "actions" }, ...this.actions(row)) : null);
    const drawn = { element, cells, row: null };
    this.update(drawn, row);
    return drawn;
  }

  update(drawn, row) {
    this.columns.forEach((column, at) => {
      const content = column.cell(row);
      const cell = drawn.cells[at];
      if (typeof content === "string") setText(cell, content);
      else if (drawn.row === null || column.key(row) !== column.key(drawn.row)) cell.replaceChildren(content);
    });
    drawn.row = row;
  }
}

function compare(one, other) {
  if (one === other) return 0;
  // What is not known comes last.
  if (one === null || one === undefined) return 1;
  if (other === null || other === undefined) return -1;
  return typeof one === "string" ? one.localeCompare(other, undefined, { numeric: true }) : one - other;
}
