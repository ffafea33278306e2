// What a page does with the types of `typed_game.ts`, and what they keep it from.
// A line that the compiler has to refuse is marked so.

import { Client } from "../../pgnet_trio/web/client.js";
import type { Card, CardInput, CardsMessages, Played, Table } from "./typed_game";

export async function play(): Promise<string> {
  const client = new Client<CardsMessages>({ username: "ann" });
  const card: CardInput = { suit: "hearts" };
  const response = await client.call("Play", { card });
  await client.call("Play", { card, where: { x: 1 }, level: 1, how: "fast", by_seat: { 3: [null] } });
  await client.call("Play", { card, moves: [{ kind: "step", to: 3 }, { kind: "jump" }] });
  await client.call("Nothing");
  await client.call("default", { new: 1, größe: 1.5 });
  client.tell("Tree", { value: 1, children: [{ value: 2 }] });
  client.on("push", (push) => {
    if (push.message === "Played") push.payload.card.rank.toFixed();
  });
  for await (const { payload } of client.pushes("Played")) {
    const played: Played = payload;
    played.at.slice();
  }
  for await (const question of client.questions("Choose")) {
    await question.answer("Chosen", { card: question.payload.cards[0] ?? card });
    // @ts-expect-error That is no answer to a question.
    await question.answer("Played", { card });
  }

  // @ts-expect-error There is no such request.
  await client.call("Bid", {});
  // @ts-expect-error The card is missing.
  await client.call("Play", {});
  // @ts-expect-error Nothing says that it is a step.
  await client.call("Play", { card, moves: [{ to: 3 }] });
  // @ts-expect-error There is no such suit.
  await client.call("Play", { card: { suit: "stars" } });
  // @ts-expect-error There is no such field.
  client.tell("Nothing", { now: true });
  // @ts-expect-error There is no such field in any of the responses.
  response.payload.nothing;
  // @ts-expect-error There is no such push.
  client.pushes("Dealt");
  // @ts-expect-error What a page sends may lack what it is shown.
  const shown: Card = card;

  const table: Table | null | undefined = client.state;
  if (table) return `${table.page.items[0]?.suit ?? "none"} ${table.seats.items[0]} ${shown.rank}`;
  return response.message === "Played" ? response.payload.at : response.message;
}
