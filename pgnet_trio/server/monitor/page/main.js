// The monitor: which view is shown, and the stream of events that it lives on.

import { actionButton, allow, announce, drain, logLevel, shutdown } from "./actions.js";
import { h, setText } from "./dom.js";
import { duration, milliseconds, number } from "./format.js";
import { Bans, Log, Overview, Players, Servers, Table, Tables, Tasks } from "./views.js";

const NAMES = [["overview", "Overview"], ["tables", "Tables"], ["players", "Players"], ["bans", "Bans"], ["tasks", "Tasks"], ["log", "Log"]];

const element = (id) => document.getElementById(id);

let stream = null;
let view = null;
let hello = null;
let level = "INFO";

function route() {
  const [, name = "overview", argument = ""] = location.hash.split("/");
  return { name: name || "overview", argument: decodeURIComponent(argument) };
}

async function makeView({ name, argument }) {
  switch (name) {
    case "tables": return new Tables();
    case "table": return new Table(argument);
    case "players": return new Players();
    case "bans": return new Bans();
    case "servers": return new Servers();
    case "tasks": return new Tasks();
    case "log": return new Log(level, (chosen) => { level = chosen; show(); });
    case "playground": return new (await import("./playground.js")).Playground(argument);
    default: return new Overview();
  }
}

async function show() {
  const wanted = route();
  stream?.close();
  view?.leave?.();
  view = await makeView(wanted);
  element("main").replaceChildren(view.element);
  element("main").className = `view-${wanted.name}`;
  markNav(wanted.name === "table" ? "tables" : wanted.name);
  connect(wanted);
}

function connect({ name, argument }) {
  const query = new URLSearchParams({ view: NAMES.some(([each]) => each === name) || ["table", "servers", "playground"].includes(name) ? name : "overview" });
  if (name === "table" || name === "playground") query.set("table", view.name ?? argument);
  if (name === "log") query.set("level", level);
  const mine = new EventSource(`/events?${query}`);
  stream = mine;
  mine.addEventListener("hello", (event) => greet(JSON.parse(event.data)));
  mine.addEventListener("now", (event) => showNow(JSON.parse(event.data)));
  for (const kind of ["history", "point", "ended", "now", "tables", "players", "bans", "servers", "elsewhere", "cluster", "tasks", "log", "table", "forms"]) {
    mine.addEventListener(kind, (event) => {
      if (stream === mine) view.on[kind]?.(JSON.parse(event.data));
    });
  }
  mine.onerror = async () => {
    setHealth("bad", "Connection lost; trying again");
    // A browser gives up by itself where it was refused, and does not say why.
    if (mine.readyState !== EventSource.CLOSED) return;
    const refusal = await whyRefused(mine.url);
    if (stream !== mine) return;
    if (refusal === null) location.assign("/login");
    else {
      if (refusal) setHealth("bad", refusal);
      setTimeout(() => { if (stream === mine) connect(route()); }, 3000);
    }
  };
}

/** What the server says instead of sending events; null where it asks for the token. */
async function whyRefused(url) {
  const ending = new AbortController();
  try {
    const answer = await fetch(url, { signal: ending.signal });
    if (answer.status === 401 || answer.redirected) return null;
    return answer.ok ? "" : (await answer.text()).trim();
  } catch {
    return "";
  } finally {
    ending.abort();
  }
}

function greet(data) {
  const first = hello === null || hello.role !== data.role || hello.development !== data.development;
  hello = data;
  if (!first) return;
  allow(data.role);
  setText(element("game"), data.game);
  setText(element("version"), `pgnet_trio ${data.version}${data.development ? " · development" : ""}`);
  document.title = `${data.game} · Monitor`;
  if (data.in_cluster && !NAMES.some(([name]) => name === "servers")) NAMES.push(["servers", "Servers"]);
  if (data.development && !NAMES.some(([name]) => name === "playground")) NAMES.push(["playground", "Playground"]);
  drawNav();
  const more = [
    actionButton("Announce", announce()),
    actionButton("Log level", { get fields() { return logLevel(current?.log_level).fields; }, ...logLevel("INFO") }),
    actionButton("Drain", drain(data.in_cluster)),
    actionButton("Shut down", shutdown()),
    data.has_tokens ? h("form", { method: "post", action: "/logout" }, h("button", {}, "Log out")) : null,
  ].filter((each) => each !== null);
  element("server-actions").replaceChildren(...(more.length
    ? [h("details", { class: "menu" }, h("summary", {}, "Server"), h("div", { class: "menu-items" }, ...more))] : []));
  // Who only looks has no buttons: what was drawn before this was known has to be drawn anew.
  if (data.role === "write" && view !== null && route().name !== "overview") show();
}

let current = null;

function showNow(now) {
  current = now;
  if (now.is_ending) setHealth("warn", "Shutting down");
  else if (now.saves.error) setHealth("bad", "Cannot save");
  else if (now.lag > 0.25) setHealth("warn", `Late by ${milliseconds(now.lag)}`);
  else setHealth("good", "Running");
  const facts = [["Players", number(now.users)], ["Tables", number(now.games)], ["Up", duration(now.uptime)]];
  const list = element("facts");
  if (list.childElementCount !== facts.length) {
    list.replaceChildren(...facts.map(([term]) => h("div", {}, h("dt", {}, term), h("dd"))));
  }
  facts.forEach(([, text], at) => setText(list.children[at].lastElementChild, text));
}

function setHealth(kind, text) {
  const pill = element("health");
  pill.className = `pill ${kind}`;
  setText(pill, text);
}

function drawNav() {
  element("nav").replaceChildren(...NAMES.map(([name, label]) => h("a", { href: `#/${name}`, id: `nav-${name}` }, label)));
  const { name } = route();
  markNav(name === "table" ? "tables" : name);
}

function markNav(name) {
  for (const item of element("nav").children) {
    if (item.id === `nav-${name}`) {
      item.setAttribute("aria-current", "page");
      // A phone has no room for all of them.
      item.scrollIntoView({ block: "nearest", inline: "nearest" });
    } else item.removeAttribute("aria-current");
  }
}

document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target) || event.target.closest(".menu-items button")) menu.open = false;
  }
});

drawNav();
addEventListener("hashchange", show);
show();
