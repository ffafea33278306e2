// What a page does with the types of `typed_game.ts`, and what they keep it from.
// A line that the compiler has to refuse is marked so.

import type { Card, CardInput, CardsMessages, Played, Table } from "./typed_game";

interface Message {
  message: string;
  payload: object;
}

interface Messages {
  requests: Record<string, { payload: object; answer: Message }>;
  pushes: Record<string, object>;
  questions: Record<string, { payload: object; answer: Message }>;
  state: unknown;
}

/** A client whose messages are known. */
declare class Client<M extends Messages> {
  readonly state: M["state"] | undefined;
  call<K extends keyof M["requests"] & string>(
    message: K,
    payload: M["requests"][K]["payload"],
  ): Promise<M["requests"][K]["answer"]>;
  onPush<K extends keyof M["pushes"] & string>(message: K, listener: (payload: M["pushes"][K]) => void): void;
  answer<K extends keyof M["questions"] & string>(
    question: K,
    message: M["questions"][K]["answer"]["message"],
    payload: M["questions"][K]["answer"]["payload"],
  ): void;
}

export async function play(client: Client<CardsMessages>): Promise<string> {
  const card: CardInput = { suit: "hearts" };
  const answer = await client.call("Play", { card });
  await client.call("Play", { card, where: { x: 1 }, level: 1, how: "fast", by_seat: { 3: [null] } });
  await client.call("Nothing", {});
  await client.call("default", { new: 1, größe: 1.5 });
  await client.call("Tree", { value: 1, children: [{ value: 2 }] });
  client.onPush("Played", (played: Played) => played.card.rank.toFixed());
  client.answer("Choose", "Chosen", { card });

  // @ts-expect-error There is no such request.
  await client.call("Bid", {});
  // @ts-expect-error The card is missing.
  await client.call("Play", {});
  // @ts-expect-error There is no such suit.
  await client.call("Play", { card: { suit: "stars" } });
  // @ts-expect-error There is no such field.
  await client.call("Nothing", { now: true });
  // @ts-expect-error There is no such push.
  client.onPush("Dealt", () => undefined);
  // @ts-expect-error That is not the answer to this question.
  client.answer("Choose", "Played", { card });
  // @ts-expect-error What a page sends may lack what it is shown.
  const shown: Card = card;

  const table: Table | null | undefined = client.state;
  if (table) return `${table.page.items[0]?.suit ?? "none"} ${table.seats.items[0]} ${shown.rank}`;
  return answer.message === "Played" ? answer.payload.at : answer.message;
}
