// What whoever knows the second token can do. Each asks once, and says what came of it.

import { ask, h } from "./dom.js";

let may = false;

/** Note whether this page may do anything. */
export function allow(role) {
  may = role === "write";
  document.body.classList.toggle("may-write", may);
}

/** A button that asks and then acts; nothing for whoever only looks. */
export function actionButton(label, options) {
  return may ? h("button", { class: options.danger ? "danger" : "", onclick: () => confirm(options) }, label) : null;
}

/**
 * Ask, and carry out an action.
 *
 * @param title What is asked.
 * @param text What it means.
 * @param fields What comes with it: each with `name`, `label`, and what else an input takes.
 * @param button What the button says.
 * @param action The action's name.
 * @param values What comes with it besides.
 */
export function confirm({ title, text, fields = [], button, danger, action, values = {} }) {
  const dialog = document.getElementById("dialog");
  const inputs = fields.map((field) => [field, makeInput(field)]);
  const problem = h("p", { class: "problem", hidden: true, role: "alert" });
  const go = h("button", { class: danger ? "danger primary" : "primary", type: "submit" }, button);
  const form = h("form", {
    method: "dialog",
    async onsubmit(event) {
      event.preventDefault();
      go.disabled = true;
      try {
        const given = inputs.map(([field, input]) => [field.name, field.read ? field.read(input.value) : input.value]);
        const answer = await ask(`/actions/${action}`, { ...values, ...Object.fromEntries(given) });
        dialog.close();
        toast(answer.text);
      } catch (error) {
        problem.textContent = error.message;
        problem.hidden = false;
        go.disabled = false;
      }
    },
  },
  h("h2", {}, title),
  text ? h("p", { class: "quiet" }, text) : null,
  ...inputs.map(([field, input]) => h("label", {}, field.label, input)),
  problem,
  h("div", { class: "dialog-end" },
    h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), go));
  dialog.replaceChildren(form);
  dialog.showModal();
}

function makeInput(field) {
  if (field.choices) {
    return h("select", { value: field.value },
      ...field.choices.map(([value, label]) => h("option", { value, selected: value === field.value }, label)));
  }
  const { label, name, read, ...rest } = field;
  return h(field.rows ? "textarea" : "input", rest);
}

let hiding;

/** Say something for a moment. */
export function toast(text, isProblem = false) {
  const element = document.getElementById("toast");
  element.textContent = text;
  element.classList.toggle("problem", isProblem);
  element.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => { element.hidden = true; }, 5000);
}

const DURATIONS = [["3600", "1 hour"], ["86400", "1 day"], ["604800", "1 week"], ["2592000", "30 days"], ["0", "For ever"]];

export const kick = (username) => ({
  title: `Kick ${username}?`,
  text: "Their session ends, and they leave their table. They may log in again.",
  fields: [{ name: "reason", label: "What they read", maxLength: 200, placeholder: "The administrator has ended your session." }],
  button: "Kick", danger: true, action: "kick", values: { username },
});

export const ban = (username) => ({
  title: `Ban ${username}?`,
  text: "They are put out, and not let in before the ban ends.",
  fields: [
    { name: "reason", label: "What they read", maxLength: 120 },
    { name: "seconds", label: "For how long", choices: DURATIONS, value: "86400", read: Number },
  ],
  button: "Ban", danger: true, action: "ban", values: { username },
});

export const unban = ({ whom, is_of_a_user }) => ({
  title: `End the ban of ${whom}?`,
  text: is_of_a_user ? "They may log in again." : "Whoever comes from there may log in again.",
  button: "End the ban", action: "unban", values: is_of_a_user ? { username: whom } : { network: whom },
});

export const announce = (table = "") => ({
  title: table ? `Announce something at ${table}` : "Announce something to everybody",
  fields: [{ name: "text", label: "Text", rows: 3, maxLength: 1000, required: true }],
  button: "Announce", action: "announce", values: { table },
});

export const close = (table) => ({
  title: `Close ${table}?`,
  text: "Its players are back in the lobby. What is saved of it is deleted.",
  button: "Close the table", danger: true, action: "close", values: { table },
});

export const save = (table) => ({
  title: `Save ${table} now?`, button: "Save", action: "save", values: { table },
});

export const logLevel = (level) => ({
  title: "What the log has",
  fields: [{
    name: "level", label: "Level", value: level,
    choices: [["DEBUG", "DEBUG: everything"], ["INFO", "INFO"], ["WARNING", "WARNING"], ["ERROR", "ERROR: mistakes alone"]],
  }],
  button: "Set", action: "log-level",
});

export const drain = (inCluster) => ({
  title: "Drain the server?",
  text: inCluster
    ? "It gives its games to the other servers, and ends."
    : "It saves its games and ends. Clients wait until it is back, and go on.",
  button: "Drain", danger: true, action: "drain",
});

export const shutdown = () => ({
  title: "Shut the server down?",
  text: "Its games are saved. All players are told that the server shuts down, and do not come back by themselves.",
  button: "Shut down", danger: true, action: "shutdown",
});
