/**
 * The envelopes of the protocol: what can stand in a frame. "Envelopes" in the protocol's page says
 * what each one means.
 *
 * @module
 */

import { CodecError, ProtocolError } from "./errors.js";
import { Reader } from "./msgpack_reader.js";
import { Writer } from "./msgpack_writer.js";
import { kindOf } from "./plain_data.js";

/** The numbers of the kinds. */
export const HELLO = 0;
export const LOG_IN = 1;
export const RESUME = 2;
export const WELCOME = 3;
export const RESUMED = 4;
export const SESSION_GONE = 5;
export const REFUSAL = 6;
export const REQUEST = 7;
export const RESPONSE = 8;
export const PUSH = 9;
export const STATE = 10;
export const PATCH = 11;
export const LAST_STATE = 12;
export const QUESTION = 13;
export const WITHDRAWAL = 14;
export const ANSWER = 15;
export const GAME = 16;
export const ACKNOWLEDGEMENT = 17;
export const FULL_STATE = 18;
export const PING = 19;
export const PONG = 20;
export const GOODBYE = 21;
export const RESTART = 22;
export const LOST = 23;
export const COLUMN_PATCH = 24;
export const MOVED = 25;
export const SEARCH = 26;
export const TIME = 29;
export const MOMENT = 30;

/** The beginning of the pushes that are the server's own; one that is not known means nothing. */
export const RESERVED = "__pgnet__.";

/** The push that says who is in the game. */
export const PLAYERS = RESERVED + "players";

/** The push with what whoever runs the server says to its users. */
export const ANNOUNCEMENT = RESERVED + "announcement";

/** The push that tells a user that a player has invited them to a game. */
export const INVITATION = RESERVED + "invitation";

/** Characters of a reason, which is a text for people. */
export const MAX_REASON = 200;

/** The kinds that the client counts. */
export const COUNTED = new Set([RESPONSE, PUSH, LAST_STATE, QUESTION, WITHDRAWAL, GAME, LOST, SEARCH]);

/**
 * @typedef {{kind: 0, maxFrameSize: number | null, features: string[] | null}} Hello
 * @typedef {{kind: 3, message: string, token: Uint8Array, loginToken: Uint8Array,
 *     times: {grace: number, reconnectFor: number} | null}} Welcome
 * @typedef {{kind: 4, lastRequest: number}} Resumed
 * @typedef {{kind: 5 | 6 | 21 | 22, reason: string, code: string}} Ending
 * @typedef {{kind: 8, id: number, status: number, message: string, payload: any,
 *     createdOn: string | null, code: string}} Response
 * @typedef {{kind: 9, message: string, payload: any}} PushEnvelope
 * @typedef {{kind: 10 | 12, version: number, data: any}} StateEnvelope
 * @typedef {{kind: 11 | 24, base: number, version: number, patch: any}} PatchEnvelope
 * @typedef {{kind: 13, id: number, message: string, payload: any, deadline: number | null,
 *     time: number}} QuestionEnvelope
 * @typedef {{kind: 14, id: number}} Withdrawal
 * @typedef {{kind: 16, name: string | null, heartbeatRate: number, time: number, reason: string,
 *     message: string}} GameEnvelope
 * @typedef {{kind: 17, received: number}} Acknowledgement
 * @typedef {{kind: 19 | 20}} PingOrPong
 * @typedef {{kind: 23, count: number}} Lost
 * @typedef {{kind: 25, address: string, reason: string, loginToken: Uint8Array}} Moved
 * @typedef {{kind: 26, fields: any[]}} SearchEnvelope
 * @typedef {{kind: 29 | 30, values: number[]}} TimeOrMoment
 * @typedef {Hello | Welcome | Resumed | Ending | Response | PushEnvelope | StateEnvelope
 *     | PatchEnvelope | QuestionEnvelope | Withdrawal | GameEnvelope | Acknowledgement | PingOrPong
 *     | Lost | Moved | SearchEnvelope | TimeOrMoment} Envelope
 */

/**
 * An envelope, and how many bytes it took.
 *
 * @typedef {{envelope: Envelope, size: number}} Sized
 */

/**
 * Read the envelopes in a frame of the server.
 *
 * @param {Uint8Array} plaintext What is in the frame.
 * @returns {Sized[]}
 */
export function readFrame(plaintext) {
  const reader = new Reader(plaintext);
  /** @type {Sized[]} */
  const envelopes = [];
  try {
    for (let left = reader.arrayHead(); left; left--) {
      const start = reader.position;
      const envelope = readEnvelope(reader);
      envelopes.push({ envelope, size: reader.position - start });
    }
    reader.end();
  } catch (error) {
    if (error instanceof ProtocolError) throw error;
    throw new ProtocolError(`expected an array of envelopes: ${/** @type {Error} */ (error).message}`);
  }
  return envelopes;
}

/**
 * @param {Reader} reader
 * @returns {Envelope}
 */
function readEnvelope(reader) {
  const count = reader.arrayHead();
  if (!count) throw new ProtocolError("expected an envelope, got an empty array");
  const kind = reader.int();
  const fields = count - 1;
  /**
   * @param {number} least
   * @param {number} most
   */
  const expect = (least, most = least) => {
    if (fields < least || fields > most) {
      throw new ProtocolError(`envelope ${kind}: expected ${least} fields, got ${fields}`);
    }
  };
  switch (kind) {
    case HELLO:
      expect(1, 2);
      return {
        kind,
        maxFrameSize: reader.nil() ? null : reader.int(),
        features: fields < 2 || reader.nil() ? null : readTexts(reader),
      };
    case WELCOME:
      // The two times come together.
      expect(2, fields === 4 ? 3 : 5);
      return {
        kind,
        message: reader.text(),
        token: reader.bin(),
        loginToken: fields < 3 ? new Uint8Array() : reader.bin(),
        times: fields < 5 ? null : { grace: readSeconds(reader), reconnectFor: readSeconds(reader) },
      };
    case RESUMED:
      expect(1);
      return { kind, lastRequest: reader.int() };
    case SESSION_GONE:
    case REFUSAL:
    case GOODBYE:
    case RESTART:
      expect(1, kind === RESTART ? 1 : 2);
      return {
        kind,
        reason: [...reader.text()].slice(0, MAX_REASON).join(""),
        code: fields < 2 ? "" : reader.text(),
      };
    case RESPONSE: {
      expect(4, 6);
      const [id, status] = [reader.int(), Number(reader.anyInt())];
      const [message, payload] = [reader.text(), reader.map()];
      const createdOn = fields < 5 || reader.nil() ? null : reader.text();
      return { kind, id, status, message, payload, createdOn, code: fields < 6 ? "" : reader.text() };
    }
    case PUSH: {
      expect(2);
      const message = reader.text();
      // An object would forget the order of players whose names are digits.
      return { kind, message, payload: reader.map({ maps: message === PLAYERS }) };
    }
    case STATE:
    case LAST_STATE:
      expect(2);
      return { kind, version: reader.int(), data: reader.data({ frozen: true }) };
    case PATCH:
    case COLUMN_PATCH:
      expect(3);
      return { kind, base: reader.int(), version: reader.int(), patch: reader.data({ wholeFloats: true }) };
    case QUESTION: {
      expect(5);
      const [id, message, payload] = [reader.int(), reader.text(), reader.map()];
      return { kind, id, message, payload, deadline: reader.nil() ? null : reader.float(), time: reader.float() };
    }
    case WITHDRAWAL:
      expect(1);
      return { kind, id: reader.int() };
    case GAME:
      expect(5);
      return {
        kind,
        name: reader.nil() ? null : reader.text(),
        heartbeatRate: reader.float(),
        time: reader.float(),
        reason: reader.text(),
        message: reader.text(),
      };
    case ACKNOWLEDGEMENT:
      expect(1);
      return { kind, received: reader.int() };
    case PING:
    case PONG:
      expect(0);
      return { kind };
    case LOST:
      expect(1);
      return { kind, count: reader.int() };
    case MOVED:
      expect(2, 3);
      return {
        kind,
        address: reader.text(),
        reason: reader.text(),
        loginToken: fields < 3 ? new Uint8Array() : reader.bin(),
      };
    case SEARCH:
      expect(2, 9);
      return { kind, fields: Array.from({ length: fields }, () => reader.data({})) };
    case TIME:
    case MOMENT:
      expect(2, 3);
      return { kind, values: [reader.int(), reader.float(), fields < 3 ? 0 : reader.float()] };
  }
  throw new ProtocolError(`expected an envelope of a server, got kind ${kind}`);
}

/** @param {Reader} reader */
function readSeconds(reader) {
  return reader.nil() ? Infinity : reader.float();
}

/** @param {Reader} reader */
function readTexts(reader) {
  const texts = [];
  for (let left = reader.arrayHead(); left; left--) texts.push(reader.text());
  return texts;
}

/**
 * Return an envelope of fields that are plain data.
 *
 * @param {number} kind The kind.
 * @param {...unknown} fields The fields.
 */
export function encodeEnvelope(kind, ...fields) {
  const writer = new Writer().arrayHead(fields.length + 1).int(kind);
  for (const field of fields) {
    if (field instanceof Uint8Array) writer.bin(field);
    else writer.data(field, "field");
  }
  return writer.finish();
}

/**
 * Return a log-in.
 *
 * @param {string} username The user.
 * @param {string} password Their password.
 * @param {string} inviteCode An invite for a new user, or empty.
 */
export function encodeLogIn(username, password, inviteCode) {
  return new Writer()
    .arrayHead(4)
    .int(LOG_IN)
    .text(username, "username")
    .text(password, "password")
    .text(inviteCode, "inviteCode")
    .finish();
}

/**
 * Return a request without the number that it gets when it is sent: see `numbered`.
 *
 * @param {string} message What is asked.
 * @param {unknown} payload What belongs to it: an object.
 * @param {boolean} quiet Whether no response is wanted.
 */
export function encodeRequest(message, payload, quiet) {
  const writer = new Writer().arrayHead(quiet ? 5 : 4).int(REQUEST).text(message, "message");
  writePayload(writer, payload);
  if (quiet) writer.data(true, "quiet");
  return writer.finish();
}

/**
 * Return an answer to a question without its number: see `numbered`.
 *
 * @param {number} question The question's number.
 * @param {string} message The answer.
 * @param {unknown} payload What belongs to it: an object.
 */
export function encodeAnswer(question, message, payload) {
  const writer = new Writer().arrayHead(5).int(ANSWER).int(question).text(message, "message");
  writePayload(writer, payload);
  return writer.finish();
}

/**
 * Put its number into a request or an answer.
 *
 * @param {Uint8Array} body What `encodeRequest` or `encodeAnswer` has returned.
 * @param {number} id The number.
 */
export function numbered(body, id) {
  // The head of the array and the kind take a byte each; the number follows them.
  return new Writer().raw(body.subarray(0, 2)).int(id).raw(body.subarray(2)).finish();
}

/**
 * @param {Writer} writer
 * @param {unknown} payload
 */
function writePayload(writer, payload) {
  if (typeof payload !== "object" || payload === null || Array.isArray(payload)) {
    throw new CodecError(`payload: expected an object, got ${kindOf(payload)}`);
  }
  writer.data(payload, "payload");
}
