/**
 * How a client that has logged in anew, after a lost session, gets back into its game.
 *
 * @import { Answer } from "./errors.js"
 * @module
 */

/** The requests that lead into a game. */
export const CREATE_GAME = "__pgnet__.create_game";
export const JOIN_GAME = "__pgnet__.join_game";

/** Remembers how the user got into the game, to ask for the same again. */
export class WayBack {
  /** @type {Record<string, any> | null} */
  #payload = null;

  /** Whether there is a way back; there is none where another client has joined for this user. */
  get isKnown() {
    return this.#payload !== null;
  }

  /**
   * Note a request that has led into a game.
   *
   * @param {Record<string, any>} payload What was asked.
   * @param {Pick<Answer, "payload">} answer What the server said.
   * @param {Set<string>} features The features in use.
   */
  noteJoined(payload, answer, features) {
    // A server with codes says what the game is called: no name may have been given.
    const { options: asked, unlisted: _, ...rest } = payload;
    const { name = rest.name, options = features.has("rejoin") ? undefined : asked, unlisted } = answer.payload;
    this.#payload = { ...rest, name, ...(options && { options }), ...(unlisted && { unlisted }) };
  }

  /** Forget the way into a game that the user is out of. */
  forget() {
    this.#payload = null;
  }

  /**
   * Return what to join with; null where there is nothing to ask for.
   *
   * @param {Set<string>} features The features in use.
   */
  payload(features) {
    if (!this.#payload) return null;
    const { options, unlisted, ...rest } = this.#payload;
    // Another server takes options for a new game only, and the game may be there.
    if (options && features.has("rejoin")) rest.options = options;
    if (features.has("tables")) Object.assign(rest, { rejoin: true }, unlisted && { unlisted });
    return rest;
  }
}
