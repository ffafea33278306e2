// What a page in TypeScript relies on. It is compiled, and never run.

import { Client, ConnectFailed, Rejected, SessionLost, guest, type ClientOptions } from "./client.js";
import { findGame, history, leaderboard, onInvitation, writeProfile } from "./community.js";

interface Messages {
  state: { board: number[] };
  requests: { Move: { square: number } };
  pushes: { Said: { text: string }; Dealt: { card: number } };
  questions: { Choose: { options: string[] } };
  answers: { Throw: { what: string } };
}

const client = new Client<Messages>(guest());
await client.connect();
await client.joinGame("table 1", { password: "p", spectate: true, options: { size: 3 } });
const { status, payload } = await client.call("Move", { square: 3 });
status.toFixed();
payload.anything;
// @ts-expect-error There is no such request.
await client.call("Mov", { square: 3 });
// @ts-expect-error There is no such field.
await client.call("Move", { squar: 3 });
// @ts-expect-error It is a number.
client.tell("Move", { square: "3" });
for await (const { payload } of client.pushes("Said")) payload.text.trim();
for await (const push of client.pushes()) {
  if (push.message === "Dealt") push.payload.card.toFixed();
}
for await (const question of client.questions("Choose")) {
  const [first = ""] = question.payload.options;
  question.signal.addEventListener("abort", () => {});
  await question.answer("Throw", { what: first });
  // @ts-expect-error It is no answer.
  await question.answer("Move", { square: 3 });
}
for await (const { board } of client.states()) board.map((square) => square.toFixed());
client.on("state", ({ board }) => board.length);
client.on("players", (players) => players.get("ann") === true);
// @ts-expect-error There is no such event.
client.on("stat", () => {});
const stop: () => void = client.on("push", (push) => push.message === "Said" && push.payload.text);
stop();

const options: ClientOptions = { username: "ann", address: "ws://example.org" };
const untyped = new Client(options);
untyped.call("Anything", { a: 1 }).catch((error) => {
  if (error instanceof Rejected) error.payload.what;
  if (error instanceof SessionLost || error instanceof ConnectFailed) error.code.trim();
});
for await (const push of untyped.pushes("one", "other")) push.payload.what.ever;

const search = findGame(client, { queue: "ranked", properties: { mode: "blitz" } });
for await (const { position, waited } of search) position?.toFixed(waited);
(await search.joined())?.trim();
// @ts-expect-error There is no such option.
findGame(client, { que: "ranked" });
for (const { rank, username } of (await leaderboard(client, "points", { around: "ann" })).entries) username.at(rank);
for (const { endedAt, ratings } of await history(client)) endedAt.getTime() + (ratings["ann"]?.after ?? 0);
(await writeProfile(client, { hat: "red" }, 0)).version.toFixed();
onInvitation(client, async ({ inviter, join }) => inviter.trim() && (await join({ spectate: true })));
client.on("invitation", ({ game_class }) => game_class.trim());
