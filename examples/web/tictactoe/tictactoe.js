import { Client, guest } from "/pgnet/client.js";
// Each tab is a player of its own. Without the storage, all tabs of a browser are one player.
const client = new Client(guest({ storage: sessionStorage }));
const page = (id) => document.getElementById(id);
const say = (id, text) => (page(id).textContent = text);
const send = (...message) => client.call(...message).catch((error) => say("news", error.message));
page("board").innerHTML = "<button></button>".repeat(9);
const buttons = [...page("board").children];
buttons.forEach((button, index) => (button.onclick = () => send("Move", { square: index + 1 })));
page("again").onclick = () => send("Again");
client.on("status", (text) => say("status", text));
for (const event of ["state", "players"]) client.on(event, () => client.state && show(client.state));
function show({ squares, seats, turn, result }) {
  squares.forEach((mark, index) => (buttons[index].value = buttons[index].textContent = mark));
  for (const mark of ["X", "O"]) {
    say(mark, `${mark} ${seats[mark] === client.username ? "you" : (seats[mark] ?? "…")}`);
    page(mark).className = client.players.get(seats[mark]) === false ? "away" : "";
  }
  const names = Object.values(seats); // who is alone plays both sides; who watches takes a seat
  if (names.length < 2 && !names.includes(client.username)) client.leaveGame().then(sit, () => {});
  const mover = seats[turn] ?? names[0] ?? "nobody";
  say("news", result || (mover === client.username ? `Your turn: ${turn}` : `${mover}'s turn`));
  page("again").hidden = !result;
}
await client.connect();
// A page that is loaded again is in the game still. Where both seats are taken, watch.
const join = (options) => client.joinGame("table 1", options);
const sit = () => join().catch(() => join({ spectate: true }));
if (!client.game) await sit();
