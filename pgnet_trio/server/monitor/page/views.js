// The views of the monitor: each makes its element once, and takes events.

import { actionButton, announce, ban, close, kick, save, unban } from "./actions.js";
import { Chart } from "./chart.js";
import { ask, h, setText } from "./dom.js";
import { bytes, clock, date, duration, milliseconds, number, percent, plural } from "./format.js";
import { Grid } from "./grid.js";
import { showState } from "./state.js";

const link = (table) => h("a", { href: `#/table/${encodeURIComponent(table)}` }, table);

export class Overview {
  constructor() {
    const charts = this.charts = {
      users: new Chart({ label: "Players", format: number }),
      games: new Chart({ label: "Tables", format: number }),
      requests: new Chart({ label: "Requests a second", format: number }),
      lag: new Chart({ label: "Event loop late by", format: milliseconds, least: 0.01 }),
      cpu: new Chart({ label: "Processor", format: percent, least: 0.1 }),
      memory: new Chart({ label: "Memory", format: bytes, least: 64 * 1024 * 1024, top: roundMemory }),
    };
    this.saves = h("dl", { class: "pairs" });
    this.people = h("dl", { class: "pairs" });
    this.ended = h("ul", { class: "ended" });
    this.element = h("div", { class: "overview" },
      ...Object.values(charts).map((chart) => chart.element),
      h("section", { class: "card" }, h("h2", {}, "Connections"), this.people),
      h("section", { class: "card" }, h("h2", {}, "Saves"), this.saves),
      h("section", { class: "card ended-card" }, h("h2", {}, "Tables that have ended"), this.ended));
  }

  on = {
    history: ({ series, step }) => {
      for (const [name, chart] of Object.entries(this.charts)) {
        chart.element.hidden = series[name] === undefined;
        if (series[name] !== undefined) chart.set(series[name], step);
      }
    },
    point: (point) => {
      for (const [name, chart] of Object.entries(this.charts)) if (name in point) chart.add(point[name]);
    },
    now: (now) => {
      for (const [name, chart] of Object.entries(this.charts)) chart.now(now[name]);
      const { saves } = now;
      pairs(this.people, [
        ["Open", number(now.connections)],
        ["Logging in", number(now.logging_in)],
        ["Waiting to come back", number(now.away)],
        ["Registered users", number(now.registered)],
        ["Tasks", number(now.tasks)],
        ["In and out a second", `${bytes(now.received)} · ${bytes(now.sent)}`],
      ]);
      pairs(this.saves, saves.enabled
        ? [["Last", saves.ago === null ? "not yet" : `${duration(saves.ago)} ago`], ["Took", milliseconds(saves.took)],
          ["Games", number(saves.games)], ["Problem", saves.error || "none", saves.error ? "problem" : ""]]
        : [["Nothing is saved", "no save file"]]);
    },
    ended: (ended) => {
      this.ended.replaceChildren(...(ended.length ? ended.map((each) =>
        h("li", {},
          h("span", { class: "quiet time" }, clock(each.time)),
          h("span", {}, h("strong", {}, each.name), each.crashed ? h("span", { class: "badge bad" }, "crashed") : null,
            h("span", { class: "quiet" }, ` ${each.reason}`))))
        : [h("li", { class: "quiet" }, "None lately.")]));
    },
  };
}

function roundMemory(value, least) {
  const step = 64 * 1024 * 1024;
  return Math.ceil(Math.max(value, least) / step) * step;
}

function pairs(list, entries) {
  const key = JSON.stringify(entries);
  if (list.key === key) return;
  list.key = key;
  list.replaceChildren(...entries.flatMap(([term, text, kind]) =>
    [h("dt", {}, term), h("dd", { class: kind ?? "" }, text)]));
}

export class Tables {
  constructor() {
    this.grid = new Grid({
      name: "table",
      empty: "There are no tables.",
      filterText: (row) => `${row.name} ${row.class} ${row.players.join(" ")} ${JSON.stringify(row.options)}`,
      columns: [
        { label: "Table", value: (row) => row.name, key: (row) => `${row.name}${row.locked}${row.persistent}`,
          cell: (row) => h("span", {}, link(row.name), row.locked ? h("span", { class: "badge" }, "locked") : null,
            row.persistent ? null : h("span", { class: "badge warn", title: "It ends with the server" }, "not saved")) },
        { label: "Game", kind: "wide", value: (row) => row.class, cell: (row) => row.class },
        { label: "Players", kind: "number", value: (row) => row.players.length, key: (row) => JSON.stringify([row.players, row.bots]),
          cell: (row) => h("span", { title: row.players.join(", ") }, number(row.players.length),
            row.bots.length ? h("span", { class: "quiet" }, ` (${plural(row.bots.length, "bot")})`) : null) },
        { label: "Watching", kind: "number wide", value: (row) => row.spectators.length, cell: (row) => number(row.spectators.length) },
        { label: "State ≤", kind: "number", value: (row) => row.state_size, cell: (row) => row.state_size ? bytes(row.state_size) : "–" },
        { label: "Waiting", kind: "number wide", value: (row) => row.waiting, cell: (row) => number(row.waiting) },
        { label: "Questions", kind: "number wide", value: (row) => row.questions, cell: (row) => number(row.questions) },
        { label: "Turn", kind: "number wide", value: (row) => row.turn_time, cell: (row) => row.turn_time ? milliseconds(row.turn_time) : "–" },
        { label: "Longest", kind: "number wide", value: (row) => row.longest_turn, cell: (row) => row.longest_turn ? milliseconds(row.longest_turn) : "–" },
        { label: "Late ticks", kind: "number wide", value: (row) => row.missed_ticks, cell: (row) => number(row.missed_ticks) },
        { label: "Waits for", kind: "wide code", value: (row) => row.waits_for[0] ?? "", key: (row) => JSON.stringify(row.waits_for),
          cell: (row) => h("span", { title: row.waits_for.join("\n") }, ...row.waits_for.slice(0, 1).map(shortPlace)) },
        { label: "Options", kind: "wide code", value: (row) => JSON.stringify(row.options),
          cell: (row) => Object.entries(row.options).map(([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`).join(", ").slice(0, 80) },
      ],
    });
    this.element = this.grid.element;
  }

  on = { tables: (data) => this.grid.take(data) };
}

/** A file, a line and a function as "function, file:line". */
function shortPlace(place) {
  const [where, name] = place.split(", in ");
  return `${name ?? ""} ${where.split("/").pop()}`.trim();
}

export class Players {
  constructor() {
    this.offset = 0;
    this.grid = new Grid({
      name: "player",
      empty: "Nobody is logged in.",
      filterText: (row) => `${row.name} ${row.game ?? ""} ${row.address ?? ""}`,
      columns: [
        { label: "Player", value: (row) => row.name, key: (row) => `${row.name}${row.online}`,
          cell: (row) => h("span", {}, row.name, row.online ? null : h("span", { class: "badge warn" }, "away")) },
        { label: "Table", value: (row) => row.game, key: (row) => row.game,
          cell: (row) => row.game === null ? h("span", { class: "quiet" }, "lobby") : link(row.game) },
        { label: "Since", kind: "number wide", value: (row) => row.since, cell: (row) => row.since === null ? "–" : date(row.since) },
        { label: "From", kind: "wide", value: (row) => row.address, cell: (row) => row.address ?? "inside" },
        { label: "Latency", kind: "number", value: (row) => row.latency, cell: (row) => row.latency === null ? "–" : `${Math.max(1, Math.round(row.latency * 1000))} ms` },
        { label: "Protocol", kind: "number wide", value: (row) => row.protocol, cell: (row) => row.protocol },
        { label: "Unacknowledged", kind: "number wide", value: (row) => row.unacknowledged_bytes,
          cell: (row) => row.unacknowledged ? `${number(row.unacknowledged)} · ${bytes(row.unacknowledged_bytes)}` : "0" },
        { label: "Unanswered", kind: "number wide", value: (row) => row.unanswered, cell: (row) => number(row.unanswered) },
        { label: "Dropped", kind: "number wide", value: (row) => row.dropped, cell: (row) => number(row.dropped) },
      ],
      actions: (row) => [actionButton("Kick", kick(row.name)), actionButton("Ban", ban(row.name))],
    });
    this.element = this.grid.element;
  }

  on = { players: (data) => this.grid.take(data) };
}

export class Bans {
  constructor() {
    this.grid = new Grid({
      name: "ban",
      empty: "Nobody is banned.",
      filterText: (row) => `${row.whom} ${row.reason} ${row.by}`,
      columns: [
        { label: "Whom", value: (row) => row.whom, key: (row) => row.name,
          cell: (row) => h("span", {}, row.whom, row.is_of_a_user ? null : h("span", { class: "badge wide" }, "addresses")) },
        { label: "Ends", kind: "number", value: (row) => row.ends ?? Infinity, cell: (row) => row.ends === null ? "never" : date(row.ends) },
        { label: "What they read", kind: "wide", value: (row) => row.reason, cell: (row) => row.reason || "–" },
        { label: "By", kind: "wide", value: (row) => row.by, cell: (row) => row.by || "the program" },
        { label: "Since", kind: "number wide", value: (row) => row.made, cell: (row) => date(row.made) },
      ],
      actions: (row) => [actionButton("End", unban(row))],
    });
    this.element = this.grid.element;
  }

  on = { bans: (data) => this.grid.take(data) };
}

const STATES = { ready: "good", draining: "warn", silent: "bad" };

/** All servers of a cluster, and all of its tables; what is more of them is on their own monitors. */
export class Servers {
  constructor() {
    this.servers = new Grid({
      name: "server",
      empty: "No server is there.",
      filterText: (row) => `${row.label} ${row.address} ${row.state}`,
      columns: [
        { label: "Server", value: (row) => row.label, key: (row) => `${row.label}${row.is_own}`,
          cell: (row) => h("span", { title: `number ${row.name}` }, row.label, row.is_own ? h("span", { class: "badge" }, "this one") : null) },
        { label: "State", value: (row) => row.state, key: (row) => row.state,
          cell: (row) => h("span", { class: `badge first ${STATES[row.state] ?? ""}` }, row.state) },
        { label: "Players", kind: "number", value: (row) => row.players, cell: (row) => number(row.players) },
        { label: "Tables", kind: "number", value: (row) => row.tables, cell: (row) => number(row.tables) },
        { label: "Load", kind: "number wide", value: (row) => row.load, cell: (row) => row.load.toPrecision(2) },
        { label: "Late by", kind: "number wide", value: (row) => row.lag, cell: (row) => milliseconds(row.lag) },
        { label: "Address", kind: "wide", value: (row) => row.address, cell: (row) => row.address },
        { label: "Game", kind: "wide", value: (row) => row.game, cell: (row) => row.game || "–" },
        { label: "Version", kind: "wide", value: (row) => row.version, cell: (row) => row.version || "–" },
      ],
    });
    this.tables = new Grid({
      name: "table",
      empty: "There are no tables.",
      filterText: (row) => `${row.name} ${row.server ?? "only saved"}`,
      columns: [
        { label: "Table", value: (row) => row.name, key: (row) => `${row.name}${row.is_own}${row.locked}`,
          cell: (row) => h("span", {}, row.is_own ? link(row.name) : row.name, row.locked ? h("span", { class: "badge" }, "locked") : null) },
        { label: "Server", value: (row) => row.server ?? "", key: (row) => row.server,
          cell: (row) => row.server === null ? h("span", { class: "quiet" }, "only saved") : row.server },
        { label: "Players", kind: "number", value: (row) => row.players, cell: (row) => number(row.players) },
      ],
    });
    this.problem = h("p", { class: "problem", hidden: true, role: "alert" });
    this.more = h("p", { class: "quiet" });
    this.element = h("div", { class: "servers" },
      h("p", { class: "quiet" }, "All servers of the cluster, as its database knows them. States, latencies, tasks and the log of another server are on that server's own monitor."),
      this.problem, this.servers.element, h("h2", { class: "section" }, "Tables of all servers"), this.tables.element, this.more);
  }

  on = {
    servers: (data) => this.servers.take(data),
    elsewhere: (data) => this.tables.take(data),
    cluster: ({ problem, saved, is_all }) => {
      setText(this.problem, problem);
      this.problem.hidden = !problem;
      setText(this.more, [saved ? `${plural(saved, "table")} only saved, and at no server now.` : "",
        is_all === false ? "There are more tables than are shown here." : ""].join(" ").trim());
    },
  };
}

export class Table {
  constructor(name) {
    this.name = name;
    this.states = new Map();
    this.seats = h("div", { class: "seats" });
    this.questions = h("div", { class: "questions" });
    this.head = h("p", { class: "quiet" });
    this.buttons = h("div", { class: "buttons" },
      actionButton("Announce", announce(name)), actionButton("Save", save(name)),
      actionButton("Close", { ...close(name), danger: true }));
    this.element = h("div", { class: "table-view" },
      h("p", {}, h("a", { href: "#/tables" }, "‹ All tables")),
      h("div", { class: "title" }, h("h2", {}, name), this.buttons),
      this.head, this.questions, this.seats);
  }

  on = {
    table: (data) => {
      if (data.name !== this.name) return;
      this.buttons.hidden = !data.is_there;
      setText(this.head, !data.is_there ? "There is no such table now."
        : !data.seats.length ? "The game shows no state, or nobody has seen one yet."
          : data.is_shared ? "Everybody sees the same. What has changed last is marked."
            : "As each player sees it. What has changed last is marked.");
      for (const { seat, size, state, too_long } of data.states) {
        const key = JSON.stringify(seat);
        const known = this.states.get(key);
        const card = h("section", { class: "card seat" },
          h("h3", {}, seat ?? (data.is_shared ? "Everybody" : "Spectators"), h("span", { class: "quiet" }, ` ${bytes(size)}`)),
          too_long ? h("p", { class: "quiet" }, "Too long to be shown.") : showState(state, known?.state));
        if (known) known.card.replaceWith(card);
        this.states.set(key, { state, card });
      }
      const wanted = data.seats.map((seat) => JSON.stringify(seat));
      for (const [key, { card }] of this.states) {
        if (!wanted.includes(key)) {
          card.remove();
          this.states.delete(key);
        }
      }
      for (const key of wanted) {
        const { card } = this.states.get(key) ?? {};
        if (card && !card.isConnected) this.seats.append(card);
      }
      this.questions.replaceChildren(...(data.questions.length ? [h("section", { class: "card" }, h("h3", {}, "Open questions"),
        h("ul", { class: "plain" }, ...data.questions.map((each) => h("li", {}, h("strong", {}, each.player), ` ${each.message} `,
          h("code", {}, JSON.stringify(each.payload))))))] : []));
    },
  };
}

export class Tasks {
  constructor() {
    this.open = new Map();
    this.tree = h("div", { class: "card tree" }, h("p", { class: "quiet" }, "…"));
    this.element = h("div", {},
      h("p", { class: "quiet" }, "Every task, in the nursery that owns it: what it waits for, and since when. A click shows its stack."),
      this.tree);
  }

  on = {
    tasks: ({ now, root }) => {
      const scroll = window.scrollY;
      this.tree.replaceChildren(this.draw(root, now));
      window.scrollTo(window.scrollX, scroll);
    },
  };

  draw(task, now) {
    this.began ??= now;
    const isRoot = task.name === "<init>";
    const stack = h("div", { class: "stack" });
    const line = h("button", { class: "task", onclick: () => this.toggle(task.id, stack) },
      h("span", { class: "task-name" }, isRoot ? "Trio" : shortName(task.name)),
      task.game || task.user ? h("span", { class: "badge" }, task.game || task.user) : null,
      isRoot ? null : h("span", { class: "quiet" }, task.waits_for === "nothing: it runs" ? "runs" : `waits for ${task.waits_for}`),
      isRoot ? null : h("span", { class: "quiet figure" }, task.since === null ? `over ${duration(now - this.began)}` : duration(now - task.since)));
    if (this.open.has(task.id)) this.fill(task.id, stack);
    return h("div", { class: "branch" }, line, stack, ...(isRoot ? [...task.nurseries].reverse() : task.nurseries).map((nursery) => {
      const left = Object.entries(nursery.left_out);
      return h("div", { class: "nursery" },
        h("p", { class: "nursery-name" }, nursery.name || "nursery"),
        ...nursery.tasks.map((child) => this.draw(child, now)),
        left.length ? h("p", { class: "quiet" }, `and ${left.map(([name, count]) => `${number(count)} more ${shortName(name)}`).join(", ")}`) : null);
    }));
  }

  async toggle(id, stack) {
    if (this.open.delete(id)) {
      stack.replaceChildren();
      return;
    }
    this.open.set(id, null);
    try {
      const { lines } = await ask(`/stack?task=${encodeURIComponent(id)}`);
      this.open.set(id, lines);
    } catch (error) {
      this.open.set(id, [{ file: error.message, line: "", function: "", is_authors: false }]);
    }
    this.fill(id, stack);
  }

  fill(id, stack) {
    const lines = this.open.get(id);
    if (!lines) return;
    stack.replaceChildren(h("ol", {}, ...lines.map((each) =>
      h("li", { class: each.is_authors ? "own" : "", title: each.file }, h("strong", {}, each.function),
        ` ${each.line === "" ? each.file : `${shortPath(each.file)}:${each.line}`}`))));
  }
}

/** A path from its package on; of a file that is in none, its name. */
function shortPath(path) {
  const parts = path.split(/[\\/]/);
  const at = Math.max(parts.lastIndexOf("site-packages") + 1, parts.lastIndexOf("pgnet_trio"));
  return at > 0 ? parts.slice(at).join("/") : parts.at(-1);
}

const shortName = (name) => name.split(".").slice(-2).join(".").replace("<locals>.", "");

const MOST_RECORDS = 2000;
const LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR"];

export class Log {
  constructor(level, setLevel) {
    this.filter = "";
    this.records = [];
    this.list = h("ol", { class: "log" });
    this.input = h("input", { type: "search", placeholder: "Filter the log", "aria-label": "Filter the log",
      oninput: () => { this.filter = this.input.value.trim().toLowerCase(); this.applyFilter(); } });
    this.level = h("select", { "aria-label": "Lowest level", onchange: () => setLevel(this.level.value) },
      ...LEVELS.map((each) => h("option", { value: each, selected: each === level }, `${each} and above`)));
    this.follow = h("input", { type: "checkbox", checked: true });
    this.box = h("div", { class: "card log-box", tabIndex: 0 }, this.list);
    this.element = h("div", { class: "log-view" },
      h("div", { class: "toolbar" }, this.input, this.level, h("label", { class: "check" }, this.follow, "Follow")),
      this.box);
  }

  on = {
    log: (records) => {
      // A stream that has broken begins anew.
      if (this.last !== undefined) records = records.filter((each) => each.number > this.last);
      if (!records.length) return;
      this.last = records.at(-1).number;
      for (const record of records) {
        const element = this.draw(record);
        element.hidden = !this.matches(record);
        this.records.push({ record, element });
        this.list.append(element);
      }
      while (this.records.length > MOST_RECORDS) this.records.shift().element.remove();
      if (this.follow.checked) this.box.scrollTop = this.box.scrollHeight;
    },
  };

  applyFilter() {
    for (const { record, element } of this.records) element.hidden = !this.matches(record);
    if (this.follow.checked) this.box.scrollTop = this.box.scrollHeight;
  }

  matches(record) {
    return !this.filter || `${record.text} ${record.logger} ${record.user ?? ""} ${record.table ?? ""} ${record.error_id ?? ""} ${record.traceback ?? ""}`.toLowerCase().includes(this.filter);
  }

  draw(record) {
    // What the text says already need not stand there twice.
    const fields = ["user", "table", "error_id"].filter((name) => record[name] !== undefined && !record.text.includes(record[name]));
    return h("li", { class: `level-${record.level.toLowerCase()}`, title: [record.logger, record.connection && `connection ${record.connection}`].filter(Boolean).join(", ") },
      h("time", {}, clock(record.time)), h("span", { class: "level" }, record.level),
      h("span", { class: "log-text" }, record.text,
        ...fields.map((name) => h("span", { class: "badge" }, name === "error_id" ? `error ${record[name]}` : record[name])),
        record.traceback ? h("details", {}, h("summary", {}, "Traceback"), h("pre", {}, record.traceback)) : null));
  }
}
