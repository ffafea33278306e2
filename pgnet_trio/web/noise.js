/**
 * `Noise_NX_25519_ChaChaPoly_BLAKE2s` for the client, who is anonymous and speaks first; revision 34.
 *
 * The primitives are those of the noble packages: no browser has BLAKE2s, and a page that came over
 * plain HTTP gets none of the browser's own cryptography at all.
 *
 * @module
 */

import { chacha20poly1305 } from "@noble/ciphers/chacha.js";
import { montgomery } from "@noble/curves/abstract/montgomery.js";
import { blake2s } from "@noble/hashes/blake2.js";
import { hmac } from "@noble/hashes/hmac.js";

import { CryptoError } from "./errors.js";

const NAME = "Noise_NX_25519_ChaChaPoly_BLAKE2s";
const KEY_SIZE = 32;
const TAG_SIZE = 16;
const MAX_MESSAGE = 65_535;

/** Bytes that each Noise message is longer than what is in it. */
export const OVERHEAD = TAG_SIZE;

/** The longest plaintext of one Noise message. */
export const MAX_PLAINTEXT = MAX_MESSAGE - TAG_SIZE;

const EMPTY = new Uint8Array();
const PRIME = 2n ** 255n - 19n;

// The package's own `x25519` brings the whole Edwards curve, to make keys faster: 7 KB for a
// millisecond in each handshake.
const x25519 = montgomery({
  P: PRIME,
  type: "x25519",
  powPminus2: (x) => power(x, PRIME - 2n),
  adjustScalarBytes: (/** @type {any} */ bytes) => {
    bytes[0] &= 248;
    bytes[31] = (bytes[31] & 127) | 64;
    return bytes;
  },
});

/**
 * @param {bigint} base
 * @param {bigint} exponent
 */
function power(base, exponent) {
  let result = 1n;
  for (let square = base; exponent; exponent >>= 1n) {
    if (exponent & 1n) result = (result * square) % PRIME;
    square = (square * square) % PRIME;
  }
  return result;
}

/** A key and the number of the next message: each number is used once. */
class CipherState {
  #key;
  #nonce = new Uint8Array(12);
  #counter = new DataView(this.#nonce.buffer);

  /** @param {Uint8Array} key The key. */
  constructor(key) {
    this.#key = key;
  }

  /**
   * @param {Uint8Array} plaintext
   * @param {Uint8Array} associated
   */
  encrypt(plaintext, associated = EMPTY) {
    const ciphertext = chacha20poly1305(this.#key, this.#nonce, associated).encrypt(plaintext);
    this.#count();
    return ciphertext;
  }

  /**
   * @param {Uint8Array} ciphertext
   * @param {Uint8Array} associated
   */
  decrypt(ciphertext, associated = EMPTY) {
    let plaintext;
    try {
      plaintext = chacha20poly1305(this.#key, this.#nonce, associated).decrypt(ciphertext);
    } catch {
      throw new CryptoError("a message does not decrypt: somebody on the way altered it");
    }
    this.#count();
    return plaintext;
  }

  #count() {
    const next = this.#counter.getBigUint64(4, true) + 1n;
    if (next === 2n ** 64n - 1n) throw new CryptoError("the numbers of messages are used up");
    this.#counter.setBigUint64(4, next, true);
  }
}

/** The client's handshake: `message` goes out, `read` takes the server's answer. */
export class Handshake {
  #secret;
  /** @type {Uint8Array} */
  #chaining;
  /** @type {Uint8Array} */
  #hash;

  /**
   * @param {Uint8Array} prologue What both sides have to agree on.
   * @param {Uint8Array} secret 32 random bytes, for this handshake alone.
   */
  constructor(prologue, secret) {
    this.#secret = secret;
    this.#chaining = this.#hash = blake2s(new TextEncoder().encode(NAME));
    this.#mixHash(prologue);
    /** What this client sends first: its ephemeral key. */
    this.message = x25519.getPublicKey(secret);
    this.#mixHash(this.message);
    this.#mixHash(EMPTY);
  }

  /**
   * Take the server's half.
   *
   * @param {Uint8Array} message The second message of the handshake.
   * @returns {{serverKey: Uint8Array, payload: Uint8Array, cipher: Cipher}} The server's static key,
   *     what it said, and the encryption of what follows.
   */
  read(message) {
    if (message.length < 2 * KEY_SIZE + 2 * TAG_SIZE) throw new CryptoError("the handshake message is too short");
    if (message.length > MAX_MESSAGE) throw new CryptoError("the handshake message is too long");
    const ephemeral = message.slice(0, KEY_SIZE);
    this.#mixHash(ephemeral);
    let cipher = this.#mixKey(this.#shared(ephemeral));
    const sealedKey = message.slice(KEY_SIZE, 2 * KEY_SIZE + TAG_SIZE);
    const serverKey = cipher.decrypt(sealedKey, this.#hash);
    this.#mixHash(sealedKey);
    cipher = this.#mixKey(this.#shared(serverKey));
    const sealedPayload = message.slice(2 * KEY_SIZE + TAG_SIZE);
    const payload = cipher.decrypt(sealedPayload, this.#hash);
    this.#mixHash(sealedPayload);
    const [toServer, fromServer] = derive(this.#chaining, EMPTY);
    return { serverKey, payload, cipher: new Cipher(new CipherState(toServer), new CipherState(fromServer), this.#hash) };
  }

  /** @param {Uint8Array} data */
  #mixHash(data) {
    this.#hash = blake2s(joined([this.#hash, data]));
  }

  /** @param {Uint8Array} secret */
  #mixKey(secret) {
    const [chaining, key] = derive(this.#chaining, secret);
    this.#chaining = chaining;
    return new CipherState(key);
  }

  /** @param {Uint8Array} publicKey */
  #shared(publicKey) {
    try {
      return x25519.getSharedSecret(this.#secret, publicKey);
    } catch {
      throw new CryptoError("a key of the server is a point of low order");
    }
  }
}

/** Encrypts and decrypts the frames of one connection. */
export class Cipher {
  #toServer;
  #fromServer;

  /**
   * @param {CipherState} toServer For what is sent.
   * @param {CipherState} fromServer For what comes.
   * @param {Uint8Array} handshakeHash 32 bytes that no other handshake has.
   */
  constructor(toServer, fromServer, handshakeHash) {
    this.#toServer = toServer;
    this.#fromServer = fromServer;
    /** 32 bytes that no other handshake has; they are not secret. */
    this.handshakeHash = handshakeHash;
  }

  /**
   * Encrypt a frame.
   *
   * @param {Uint8Array} plaintext What is in it: at least one byte.
   */
  encrypt(plaintext) {
    return inPieces(plaintext, MAX_PLAINTEXT, (piece) => this.#toServer.encrypt(piece));
  }

  /**
   * Decrypt the server's next frame.
   *
   * @param {Uint8Array} frame The frame.
   */
  decrypt(frame) {
    const last = frame.length % MAX_MESSAGE;
    if (!frame.length || (last && last <= TAG_SIZE)) throw new CryptoError(`no frame is ${frame.length} bytes long`);
    return inPieces(frame, MAX_MESSAGE, (piece) => this.#fromServer.decrypt(piece));
  }
}

/**
 * Return what proves that this client holds a session's token, on one connection alone.
 *
 * @param {Uint8Array} token The token.
 * @param {Uint8Array} handshakeHash The hash of the connection's handshake.
 */
export function prove(token, handshakeHash) {
  return blake2s(handshakeHash, { key: token });
}

/**
 * @param {Uint8Array} chaining
 * @param {Uint8Array} material
 * @returns {[Uint8Array, Uint8Array]}
 */
function derive(chaining, material) {
  const key = hmac(blake2s, chaining, material);
  const first = hmac(blake2s, key, Uint8Array.of(1));
  return [first, hmac(blake2s, key, joined([first, Uint8Array.of(2)]))];
}

/**
 * @param {Uint8Array} bytes
 * @param {number} size
 * @param {(piece: Uint8Array) => Uint8Array} each
 */
function inPieces(bytes, size, each) {
  if (bytes.length <= size) return each(bytes);
  const pieces = [];
  for (let at = 0; at < bytes.length; at += size) pieces.push(each(bytes.subarray(at, at + size)));
  return joined(pieces);
}

/**
 * Return pieces of bytes as one.
 *
 * @param {Uint8Array[]} pieces The pieces.
 */
export function joined(pieces) {
  const all = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}
