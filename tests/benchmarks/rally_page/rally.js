// Two of these pages answer each hit of the other, and the first one notes how long that takes.
import { Client, guest } from "/pgnet/client.js";

const client = new Client(guest({ storage: sessionStorage }));
const times = [];
let hitAt = 0;

window.rally = async (isFirst, hits) => {
  await client.connect();
  await client.joinGame("rally");
  for await (const { hits: count, players } of client.states()) {
    if (count >= hits) break;
    if (players < 2 || (count % 2 === 0) !== isFirst) continue;
    if (hitAt) times.push(performance.now() - hitAt);
    hitAt = performance.now();
    void client.call("Hit");
  }
  return times;
};
