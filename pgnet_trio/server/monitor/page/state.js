// A state as a tree of lines, in which what has changed is marked.

import { h } from "./dom.js";

const LONGEST_LINE = 44;
const MOST_LINES = 2000;

/**
 * Show a state.
 *
 * @param state The state as plain data.
 * @param before The one before; undefined for none.
 */
export function showState(state, before) {
  const lines = { left: MOST_LINES };
  const element = h("div", { class: "state" });
  add(element, "", state, before, before !== undefined, lines);
  if (lines.left <= 0) element.append(h("p", { class: "quiet" }, "The rest is left out."));
  return element;
}

function add(parent, key, value, before, known, lines) {
  if (lines.left <= 0) return;
  lines.left -= 1;
  const isNew = known && JSON.stringify(value) !== JSON.stringify(before);
  const label = key === "" ? null : h("span", { class: "state-key" }, `${key}: `);
  if (!isTree(value)) {
    parent.append(h("div", { class: `state-line${isNew ? " changed" : ""}` }, label, leaf(value)));
    return;
  }
  const block = h("div", { class: "state-block" });
  const entries = Array.isArray(value) ? value.map((each, at) => [String(at), each]) : Object.entries(value);
  for (const [name, each] of entries) {
    const had = known && before !== null && typeof before === "object" && Object.hasOwn(before, name);
    add(block, name, each, had ? before[name] : undefined, known, lines);
  }
  if (key !== "") parent.append(h("div", { class: "state-line" }, label));
  parent.append(block);
}

function isTree(value) {
  if (value === null || typeof value !== "object") return false;
  const text = JSON.stringify(value);
  return text.length > LONGEST_LINE || Object.values(value).some((each) => each !== null && typeof each === "object" && Object.keys(each).length > 0 && text.length > 40);
}

function leaf(value) {
  const kind = value === null ? "null" : Array.isArray(value) ? "list" : typeof value;
  const text = typeof value === "object" ? JSON.stringify(value) : typeof value === "string" ? JSON.stringify(value) : String(value);
  return h("span", { class: `state-${kind}` }, text);
}
