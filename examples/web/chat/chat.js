import { Client, guest } from "/pgnet/client.js";

const ROOM = "chat";
const MOST_LINES = 500;

const page = (id) => document.getElementById(id);
const say = (id, text) => (page(id).textContent = text);

/** @type {Client} */
let client;

page("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  enter(page("name").value);
});

page("talk").addEventListener("submit", async (event) => {
  event.preventDefault();
  const line = page("line").value;
  page("line").value = "";
  try {
    await client.call("Say", { line });
    say("problem", "");
  } catch (error) {
    // Refused, or nobody knows whether it was heard: what was typed is not lost.
    page("line").value ||= line;
    say("problem", error.message);
  }
});

/** Log in under a name, which this browser alone has the password of. */
async function enter(username) {
  client = new Client(guest({ username }));
  client.on("status", (text) => say("status", text));
  client.on("push", ({ payload }) => addLine(payload.line));
  client.on("players", showPeople);
  // A server that knows nothing of this page any more tells the last lines again.
  client.on("connection", (connected) => connected && page("lines").replaceChildren());
  client.on("end", (error) => ask(error.message));
  try {
    await client.connect();
    if (client.game === null) await client.joinGame(ROOM);
    // This page was loaded again within the grace period, and is in the room still.
    else (await client.call("Recent")).payload.lines.forEach(addLine);
  } catch (error) {
    client.disconnect();
    ask(error.message);
    return;
  }
  sessionStorage.setItem("name", username);
  page("enter").hidden = true;
  page("talk").hidden = false;
  say("problem", "");
  page("line").focus();
}

function ask(problem) {
  page("enter").hidden = false;
  page("talk").hidden = true;
  say("problem", problem);
  page("name").focus();
}

function addLine(text) {
  const list = page("lines");
  const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  const line = document.createElement("li");
  const [, name, words] = text.match(/^(\w+): (.*)$/s) ?? [];
  if (name === undefined) line.className = "news";
  else if (name === client.username) line.className = "mine";
  else line.append(Object.assign(document.createElement("b"), { textContent: name }));
  // As text, and never as HTML: it comes from other people.
  line.append(words ?? text.replace(/^\* /, ""));
  list.append(line);
  if (list.children.length > MOST_LINES) list.firstChild.remove();
  if (isAtEnd) list.scrollTop = list.scrollHeight;
}

function showPeople(players) {
  const names = [...players].map(([name, isOnline]) => {
    const person = document.createElement("li");
    person.textContent = name;
    person.className = isOnline ? "" : "away";
    return person;
  });
  page("people").replaceChildren(...names);
}

// Each tab may have a name of its own, and has it still when it is loaded again.
const name = sessionStorage.getItem("name");
if (name) enter(name);
else ask("");
