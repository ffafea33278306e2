// Answers what tests in Python ask of the parts of the client: a line of JSON for each line of JSON.

import { createInterface } from "node:readline";

import { redirected, urlOf, urlsOf } from "../../../pgnet_trio/web/address.js";
import { applyColumns, growth } from "../../../pgnet_trio/web/columns.js";
import * as wire from "../../../pgnet_trio/web/envelopes.js";
import { decode, encode } from "../../../pgnet_trio/web/msgpack.js";
import { apply } from "../../../pgnet_trio/web/patch.js";

const bytes = (hex) => Uint8Array.from(Buffer.from(hex, "hex"));
const hex = (array) => Buffer.from(array).toString("hex");

const isFrozen = (value) =>
  typeof value !== "object" || value === null || (Object.isFrozen(value) && Object.values(value).every(isFrozen));

const answers = {
  recode: ({ data }) => hex(encode(decode(bytes(data)))),
  json: ({ json }) => hex(encode(JSON.parse(json))),
  keys: ({ data }) => Object.keys(decode(bytes(data))),
  apply: ({ old, patch, columns }) => {
    const state = decode(bytes(old), { frozen: true });
    const change = decode(bytes(patch), { wholeFloats: true });
    const next = (columns ? applyColumns : apply)(state, change);
    if (!isFrozen(next)) throw new Error("the new state is not frozen");
    if (hex(encode(state)) !== hex(encode(decode(bytes(old))))) throw new Error("the old state has changed");
    return { next: hex(encode(next)), growth: columns ? growth(change) : 0 };
  },
  frame: ({ data }) =>
    wire.readFrame(bytes(data)).map(({ envelope, size }) => ({
      size,
      ...envelope,
      ...Object.fromEntries(
        Object.entries(envelope)
          .filter(([, value]) => value instanceof Uint8Array)
          .map(([key, value]) => [key, hex(value)]),
      ),
      ...Object.fromEntries(
        ["payload", "data"].filter((key) => key in envelope).map((key) => [key, hex(encode(envelope[key]))]),
      ),
      patch: undefined,
    })),
  request: ({ message, payload, quiet, id }) =>
    hex(wire.numbered(wire.encodeRequest(message, decode(bytes(payload)), quiet), id)),
  answer: ({ question, message, payload, id }) =>
    hex(wire.numbered(wire.encodeAnswer(question, message, decode(bytes(payload))), id)),
  logIn: ({ username, password, inviteCode }) => hex(wire.encodeLogIn(username, password, inviteCode)),
  url: ({ address }) => urlOf(address),
  urls: ({ addresses }) => urlsOf(addresses),
  redirected: ({ url, address }) => redirected(url, address),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { ask, ...given } = JSON.parse(line);
  let answer;
  try {
    answer = { answer: answers[ask](given) };
  } catch (error) {
    answer = { error: error.message, code: error.code ?? error.name };
  }
  process.stdout.write(`${JSON.stringify(answer, (_, value) => (typeof value === "bigint" ? String(value) : value))}\n`);
}
