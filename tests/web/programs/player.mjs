// A page that does what a test says: a line of JSON for each thing to do, and a line with the outcome.
//
// Its arguments: where the client is, and a JSON of what is odd about the page.

import { createInterface } from "node:readline";

const [path, oddities = "{}"] = process.argv.slice(2);
const { Client, guest } = await import(path);
const community = await import(path.replace(/client\.js$/, "community.js"));

// `speed` lets time pass faster; no socket opens to what is `blocked`; without `timers` none is ever due; `slept` is for how long.
const page = { speed: 1, timers: true, hidden: false, slept: 0, ...JSON.parse(oddities) };

const reported = [];
const sockets = [];
// The states of the sockets when a key was made for them.
const keysMade = [];
/** @type {any} */
let listener = {};

const environment = {
  now: () => (performance.now() / 1000) * page.speed,
  slept: () => page.slept,
  startTimer: (seconds, callback) => {
    if (!page.timers) return () => {};
    const timer = setTimeout(callback, (seconds * 1000) / page.speed);
    return () => clearTimeout(timer);
  },
  randomBytes: (size) => {
    if (size === 32) keysMade.push(sockets.at(-1).readyState);
    return crypto.getRandomValues(new Uint8Array(size));
  },
  openSocket: (url, protocols) => {
    if (page.blocked && url.includes(page.blocked)) throw new Error("this page may not connect there");
    const socket = new WebSocket(url, protocols);
    sockets.push(socket);
    return socket;
  },
  hidden: () => page.hidden,
  watchPage: (given) => {
    listener = given;
    return () => (listener = {});
  },
  report: (error) => reported.push(String(error)),
};

const clients = new Map();
const lists = new Map();
const questions = new Map();
const searches = new Map();
let latest;

/** Collects what an iterator gives, or listeners get, under a name. */
const collect = (name) => {
  const list = [];
  lists.set(name, list);
  return list;
};

const noting = (entered) => ({
  begin: () => {},
  connected: () => {},
  entered: (time) => entered.push(time === null ? null : "a game"),
  envelopes: () => [],
  take: () => {},
});

const told = (event, value) => {
  if (event === "question") questions.set(value.id, value);
  if (value instanceof Error) return { name: value.name, code: value.code, message: value.message };
  if (value && event === "question") {
    const { id, message, payload, secondsLeft, isOpen } = value;
    return { id, message, payload, secondsLeft, isOpen };
  }
  return value;
};

const deeds = {
  new: async ({ name = "main", ...options }) => {
    // Notes what netcode is told of games.
    if (options.netcode) options.netcode = noting(collect("entered"));
    latest = new Client(options, environment);
    clients.set(name, latest);
  },
  use: async (name) => (latest = clients.get(name)),
  get: async (property) => latest[property],
  keysMade: async () => keysMade,
  time: async () => latest.time(),
  on: async (event, name = event) => {
    const list = collect(name);
    const stop = latest.on(event, (value) => list.push(told(event, value)));
    deeds.stop = async () => stop();
  },
  fail: async (event) => {
    latest.on(event, () => {
      throw new Error(`a listener of ${event}`);
    });
  },
  reported: async () => reported,
  // Ends the session when something happens.
  end_at: async (event) => {
    const client = latest;
    client.on(event, () => client.disconnect());
  },
  // Listens to one thing only when another happens for the second time.
  listen_at: async (event, other) => {
    const list = collect(other);
    let count = 0;
    latest.on(event, () => ++count === 2 && latest.on(other, (value) => list.push(told(other, value))));
  },
  // Loops until the iterator ends, and notes how.
  loop: async (what, ...messages) => {
    const list = collect([what, ...messages].join(" "));
    const event = what === "questions" ? "question" : what;
    (async () => {
      try {
        for await (const item of latest[what](...messages)) list.push(told(event, item));
        list.push("end");
      } catch (error) {
        list.push(told("error", error));
      }
    })();
  },
  // Takes some items of an iterator, and leaves the loop.
  take: async (count, what, ...messages) => {
    const taken = [];
    for await (const item of latest[what](...messages)) {
      taken.push(told(what === "questions" ? "question" : what, item));
      if (taken.length === count) break;
    }
    return taken;
  },
  list: async (name) => lists.get(name),
  // Waits until a list has so many items.
  wait: async (name, count) => {
    while (lists.get(name).length < count) await new Promise((resolve) => setTimeout(resolve, 5));
    return lists.get(name);
  },
  // Asks numbered things all at once, loudly and quietly in turns, and returns what was answered.
  flood: async (first, count) => {
    const answers = [];
    for (let number = first; number < first + count; number++) {
      answers.push(latest.call("loud", { number, padding: ".".repeat(200) }));
      latest.tell("quiet", { number: -1 - number });
    }
    return (await Promise.all(answers)).map(({ payload }) => payload.number);
  },
  // Calls a function of community.js with the client.
  community: async (name, ...given) => await community[name](latest, ...given),
  // Looks for a game, and notes under a name how it goes.
  find: async (name, wanted) => {
    const search = community.findGame(latest, wanted);
    searches.set(name, search);
    const list = collect(name);
    (async () => {
      try {
        for await (const { position, isFound } of search) list.push({ position, isFound });
        list.push({ game: await search.joined() });
      } catch (error) {
        list.push(told("error", error));
      }
    })();
  },
  search: async (name, what, ...given) => {
    const search = searches.get(name);
    return typeof search[what] === "function" ? await search[what](...given) : search[what];
  },
  // Waits until a property of a search has a value.
  until: async (name, what, value) => {
    while (searches.get(name)[what] !== value) await new Promise((resolve) => setTimeout(resolve, 5));
  },
  invitations: async () => {
    const list = collect("invitations");
    deeds.accept = async () => await list.at(-1).join();
    deeds.stop = community.onInvitation(latest, (invitation) => list.push(invitation));
  },
  answer: async (id, message, payload) => await questions.get(id).answer(message, payload),
  question: async (id) => told("question", questions.get(id)),
  // Waits until a question is no longer open.
  closed: async (id) => {
    const { signal } = questions.get(id);
    if (!signal.aborted) await new Promise((resolve) => signal.addEventListener("abort", resolve));
  },
  page: async (changes) => Object.assign(page, changes) && undefined,
  tell_page: async (what) => listener[what]?.(),
  sockets: async () => sockets.length,
  isFrozen: async () => Object.isFrozen(latest.state),
  guest: async (options, kept, storages) => {
    const stored = new Map(Object.entries(kept));
    const storage = {
      getItem: (key) => {
        if (storages === "broken") throw new Error("refused");
        return stored.get(key) ?? null;
      },
      setItem: (key, value) => {
        if (storages === "broken") throw new Error("refused");
        stored.set(key, value);
      },
    };
    globalThis.localStorage = storage;
    return [guest(options), Object.fromEntries(stored)];
  },
};

const plain = (_, value) => {
  if (typeof value === "bigint") return { int: String(value) };
  if (value instanceof Map) return [...value];
  return value === Infinity ? "Infinity" : value;
};

for await (const line of createInterface({ input: process.stdin })) {
  const { id, deed, given } = JSON.parse(line);
  const act = deeds[deed] ?? ((...args) => latest[deed](...args));
  Promise.resolve()
    .then(() => act(...given))
    .then(
      (value) => ({ value }),
      (error) => ({ error: { name: error.name, code: error.code, message: error.message, payload: error.payload } }),
    )
    .then((outcome) => process.stdout.write(`${JSON.stringify({ id, ...outcome }, plain)}\n`));
}
process.exit();
