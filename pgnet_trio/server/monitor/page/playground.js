// Made-up players at a table of one's own server: what they send, and what they see.

import { h, setText } from "./dom.js";
import { clock } from "./format.js";
import { showState } from "./state.js";
import { Table } from "./views.js";

const NAMES = ["Ada", "Ben", "Cleo", "Dov", "Emil", "Fay", "Gus", "Hana"];
const MOST_LINES = 60;

const remembered = (key, otherwise) => sessionStorage.getItem(key) ?? otherwise;

export class Playground {
  constructor(table) {
    this.name = table || remembered("table", "playground");
    this.players = [];
    this.forms = { messages: [], takes_any: false, answers: [] };
    this.others = new Table(this.name);
    this.tableInput = h("input", { value: this.name, required: true, maxLength: 50, "aria-label": "Table", onchange: () => this.move() });
    this.nameInput = h("input", { value: NAMES[0], required: true, maxLength: 20, "aria-label": "Player" });
    this.optionsInput = h("input", { placeholder: '{"level": 3}', "aria-label": "Options in JSON" });
    this.problem = h("p", { class: "problem", role: "alert", hidden: true });
    const form = h("form", { class: "toolbar", onsubmit: (event) => { event.preventDefault(); this.join(); } },
      h("label", { class: "field" }, "Table", this.tableInput),
      h("label", { class: "field" }, "Player", this.nameInput),
      h("label", { class: "field" }, "Options, where the table is new", this.optionsInput),
      h("button", { class: "primary" }, "Join"));
    this.cards = h("div", { class: "seats" });
    this.hint = h("p", { class: "quiet" }, "A made-up player is a real one: they log in, join the table, or create it, and see what your players see. Add several to play against yourself.");
    this.othersTitle = h("h2", { class: "section", hidden: true }, "What others see");
    this.element = h("div", { class: "playground" }, form, this.problem, this.hint, this.cards,
      this.othersTitle, this.others.seats);
  }

  on = {
    table: (data) => {
      // Those who are played here have a card of their own.
      const own = new Set(this.players.map((player) => player.username));
      const seats = data.is_shared ? data.seats : data.seats.filter((seat) => !own.has(seat));
      this.othersTitle.hidden = seats.length === 0;
      this.others.on.table({ ...data, seats, states: data.states.filter(({ seat }) => seats.includes(seat)) });
    },
    forms: (forms) => {
      this.forms = forms;
      for (const player of this.players) player.takeForms(forms);
    },
  };

  /** Look at another table. */
  move() {
    const name = this.tableInput.value.trim();
    if (!name || name === this.name) return;
    sessionStorage.setItem("table", name);
    location.hash = `#/playground/${encodeURIComponent(name)}`;
  }

  async join() {
    this.problem.hidden = true;
    try {
      const options = this.optionsInput.value.trim() ? JSON.parse(this.optionsInput.value) : {};
      const { Client } = await import("/playground/client.js");
      const player = new Player(Client, this.nameInput.value.trim(), () => this.leave_(player));
      await player.join(this.name, options);
      this.players.push(player);
      this.cards.append(player.element);
      player.takeForms(this.forms);
      this.nameInput.value = NAMES.find((name) => !this.players.some((each) => each.username === name)) ?? `Player${this.players.length + 1}`;
    } catch (error) {
      this.problem.textContent = error.code === "wrong_password"
        ? `There is a user ${this.nameInput.value.trim()} already, whose password this browser does not know: choose another name.`
        : error.message;
      this.problem.hidden = false;
    }
  }

  leave_(player) {
    this.players = this.players.filter((each) => each !== player);
    player.element.remove();
  }

  /** The view is left. */
  leave() {
    for (const player of this.players) player.client.disconnect();
  }
}

class Player {
  constructor(Client, username, gone) {
    this.username = username;
    this.client = new Client({
      username,
      password: passwordOf(username),
      address: `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/playground/socket`,
    });
    this.questions = new Map();
    this.forms = { messages: [], takes_any: false, answers: [] };
    this.status = h("span", { class: "quiet" });
    this.state = h("div", {}, h("p", { class: "quiet" }, "No state yet."));
    this.asked = h("div", { class: "asked" });
    this.composer = h("div");
    this.lines = h("ol", { class: "lines" });
    this.element = h("section", { class: "card seat player" },
      h("div", { class: "title" }, h("h3", {}, username), this.status,
        h("div", { class: "buttons" }, h("button", { onclick: () => { this.client.disconnect(); gone(); } }, "Leave"))),
      this.asked, this.composer,
      h("h4", {}, "State"), this.state,
      h("h4", {}, "What has happened"), this.lines);
    const { client } = this;
    client.on("state", (state) => this.showState(state));
    client.on("push", ({ message, payload }) => this.note("push", message, payload));
    client.on("announcement", (text) => this.note("told", text));
    client.on("players", (players) => setText(this.status, [...players].map(([name, online]) => online ? name : `${name} (away)`).join(", ")));
    client.on("left", (left) => this.note("out", `${left.reason}: ${left.message}`, undefined, left.reason === "crashed"));
    client.on("end", (error) => this.note("ended", error.message, undefined, true));
    client.on("question", (question) => this.ask(question));
  }

  async join(table, options) {
    await this.client.connect();
    try {
      await this.client.joinGame(table, { options });
    } catch (error) {
      this.client.disconnect();
      throw error;
    }
  }

  showState(state) {
    this.state.replaceChildren(showState(plain(state), this.before));
    this.before = plain(state);
  }

  note(kind, text, payload, isProblem = false) {
    this.lines.prepend(h("li", { class: isProblem ? "bad" : "" },
      h("time", {}, clock(Date.now() / 1000)), h("strong", {}, kind),
      h("span", { class: "lines-text" }, text, payload === undefined || Object.keys(payload).length === 0 ? null : h("code", {}, ` ${json(payload)}`))));
    while (this.lines.childElementCount > MOST_LINES) this.lines.lastChild.remove();
  }

  ask(question) {
    this.questions.set(question, null);
    question.signal.addEventListener("abort", () => { this.questions.delete(question); this.drawQuestions(); });
    this.drawQuestions();
  }

  drawQuestions() {
    this.asked.replaceChildren(...[...this.questions.keys()].map((question) => {
      const known = this.forms.answers.find((each) => each.player === this.username && each.message === question.message);
      return h("div", { class: "question" },
        h("p", {}, h("strong", {}, question.message), " ", h("code", {}, json(question.payload))),
        makeForm(known?.form ?? { message: "", fields: null }, "Answer", async (message, payload) => {
          await question.answer(message, payload);
          this.note("answered", message, payload);
        }, (error) => this.note("refused", error.message, undefined, true)));
    }));
  }

  takeForms(forms) {
    const key = JSON.stringify([forms.messages, forms.takes_any]);
    this.forms = forms;
    this.drawQuestions();
    if (this.formsKey === key) return;
    this.formsKey = key;
    const all = [...forms.messages, ...(forms.takes_any ? [{ message: "", fields: null }] : [])];
    if (!all.length) return;
    const place = h("div");
    const show = (form) => place.replaceChildren(makeForm(form, "Send", (message, payload) => this.send(message, payload),
      (error) => this.note("refused", error.message, undefined, true)));
    const select = h("select", { "aria-label": "Message", onchange: () => show(all[select.selectedIndex]) },
      ...all.map((form) => h("option", {}, form.message || "any packet …")));
    this.composer.replaceChildren(h("div", { class: "composer" }, all.length > 1 ? h("label", { class: "field" }, "Message", select)
      : h("strong", {}, all[0].message || "A packet"), place));
    show(all[0]);
  }

  async send(message, payload) {
    this.note("sent", message, payload);
    const answer = await this.client.request(message, payload);
    this.note("answer", answer.message || "taken", answer.payload, answer.status !== 0);
  }
}

/** A form made of a model's fields; without fields, one for any message. */
function makeForm(form, button, submit, fail) {
  const name = form.fields === null ? h("input", { required: true, "aria-label": "Message", placeholder: "message" }) : null;
  const fields = form.fields ?? [{ name: "payload", kind: "json", hint: "JSON", choices: [], nullable: false, required: false, default: {} }];
  const inputs = fields.map((field) => [field, makeInput(field)]);
  const element = h("form", { class: "message-form", async onsubmit(event) {
    event.preventDefault();
    try {
      let payload = {};
      for (const [field, input] of inputs) {
        const value = read(field, input);
        if (value !== undefined) payload[field.name] = value;
      }
      if (form.fields === null) payload = payload.payload ?? {};
      await submit(name ? name.value : form.message, payload);
    } catch (error) {
      fail(error);
    }
  } },
  name ? h("label", { class: "field" }, "Message", name) : null,
  ...inputs.map(([field, input]) => h("label", { class: field.kind === "bool" ? "check" : "field" }, field.kind === "bool" ? input : null,
    h("span", {}, field.name, h("span", { class: "quiet" }, ` ${field.hint}${field.nullable ? " or None" : ""}`)), field.kind === "bool" ? null : input)),
  h("button", { class: "primary" }, button));
  return element;
}

function makeInput(field) {
  const given = field.default === null ? "" : field.default;
  switch (field.kind) {
    case "bool": return h("input", { type: "checkbox", checked: field.default === true });
    case "int": return h("input", { type: "number", step: 1, value: given, required: field.required && !field.nullable });
    case "float": return h("input", { type: "number", step: "any", value: given, required: field.required && !field.nullable });
    case "choice": return h("select", {}, ...(field.nullable ? [h("option", { value: "" }, "None")] : []),
      ...field.choices.map((choice) => h("option", { value: JSON.stringify(choice), selected: choice === field.default }, String(choice))));
    case "text": return h("input", { value: given });
    default: return h("textarea", { rows: 2, value: field.default === null ? "" : JSON.stringify(field.default), placeholder: "JSON" });
  }
}

function read(field, input) {
  if (field.kind === "bool") return input.checked;
  if (field.kind === "text") return input.value === "" && field.nullable ? null : input.value;
  if (input.value === "") return field.nullable ? null : field.required ? fail(field) : undefined;
  if (field.kind === "int" || field.kind === "float") return Number(input.value);
  try {
    return JSON.parse(input.value);
  } catch (error) {
    throw new Error(`${field.name}: expected JSON; ${error.message}`);
  }
}

function fail(field) {
  throw new Error(`${field.name}: expected a value`);
}

/** A state as plain objects, as JSON has them. */
const plain = (value) => (value === null || value === undefined ? null : JSON.parse(json(value)));
const json = (value) => JSON.stringify(value, (_, each) => (typeof each === "bigint" ? Number(each) : each));

/** The same player has the same password in this browser, today and tomorrow: they may be saved. */
function passwordOf(username) {
  const key = `password of ${username}`;
  const known = localStorage.getItem(key) ?? crypto.getRandomValues(new Uint32Array(4)).join("-");
  localStorage.setItem(key, known);
  return known;
}
