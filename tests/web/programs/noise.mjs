// Answers what tests in Python ask of the handshake: a line of JSON for each line of JSON.

import { createInterface } from "node:readline";

import { Handshake, prove } from "../../../pgnet_trio/web/noise.js";

const bytes = (hex) => Uint8Array.from(Buffer.from(hex, "hex"));
const hex = (array) => Buffer.from(array).toString("hex");

let handshake;
let cipher;

const answers = {
  begin: ({ prologue, secret }) => hex((handshake = new Handshake(bytes(prologue), bytes(secret))).message),
  read: ({ message }) => {
    const read = handshake.read(bytes(message));
    cipher = read.cipher;
    return [hex(read.serverKey), hex(read.payload), hex(cipher.handshakeHash)];
  },
  encrypt: ({ data }) => hex(cipher.encrypt(bytes(data))),
  decrypt: ({ data }) => hex(cipher.decrypt(bytes(data))),
  prove: ({ token, hash }) => hex(prove(bytes(token), bytes(hash))),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { ask, ...given } = JSON.parse(line);
  let answer;
  try {
    answer = { answer: answers[ask](given) };
  } catch (error) {
    answer = { error: error.message, code: error.code ?? error.name };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
