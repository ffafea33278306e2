/**
 * What programs get of a client, as types.
 *
 * @import { Answer, PGNetError } from "./errors.js"
 * @import { Question } from "./questions.js"
 * @module
 */

/**
 * What a game and its pages say to each other, each by its message. A page that is written in
 * TypeScript gives one for its own game, as `pgnet-trio types` writes it: `new Client<MyGameMessages>(...)`.
 *
 * @typedef {object} GameTypes
 * @property {any} state What the game shows.
 * @property {object} requests What players ask of it: the fields of each message.
 * @property {object} [responses] What each request is answered with: a message, and its payload.
 * @property {object} pushes What it pushes.
 * @property {object} questions What it asks.
 * @property {object} answers What players answer.
 */

/**
 * A game of which nothing is known.
 *
 * @typedef {{state: any, requests: Record<string, any>, pushes: Record<string, any>,
 *     questions: Record<string, any>, answers: Record<string, any>}} AnyGame
 */

/**
 * What a request is answered with, where the game takes it.
 *
 * @template {GameTypes} [G=AnyGame]
 * @template {keyof G["requests"]} [M=keyof G["requests"]]
 * @typedef {G extends {responses: infer R}
 *     ? M extends keyof R ? Omit<Answer, "message" | "payload"> & R[M] : Answer
 *     : Answer} AnswerTo
 */

/**
 * What the game says unasked: the name of a typed message or any text, and what belongs to it.
 *
 * @template {GameTypes} [G=AnyGame]
 * @template {keyof G["pushes"]} [M=keyof G["pushes"]]
 * @typedef {{[K in M]: {message: K, payload: G["pushes"][K]}}[M]} Push
 */

/**
 * What the game asks.
 *
 * @template {GameTypes} [G=AnyGame]
 * @template {keyof G["questions"]} [M=keyof G["questions"]]
 * @typedef {{[K in M]: Question<K & string, G["questions"][K], G["answers"]>}[M]} Asked
 */

/**
 * How the user got out of a game.
 *
 * @typedef {object} Left
 * @property {string} game The game's name.
 * @property {string} reason A word for programs: left, kicked, closed, crashed or destroyed.
 * @property {string} message Why, for people.
 */

/**
 * A game in the directory.
 *
 * @typedef {object} GameInfo
 * @property {string} name The name.
 * @property {number} users How many users play.
 * @property {boolean} passwordProtected Whether joining takes a password.
 * @property {string} info What the game says of itself.
 * @property {number | null} maxPlayers How many may play; null where the game does not say.
 * @property {boolean} locked Whether nobody may join now.
 * @property {Record<string, any>} options What the game was created with.
 */

/**
 * Who logs in, and where.
 *
 * @typedef {object} ClientOptions
 * @property {string} username Who logs in; an unknown user is registered, where the server allows it.
 * @property {string} [password] The user's password.
 * @property {string} [inviteCode] A code from the server's admin, for a new user.
 * @property {string} [address] `host`, `host:port`, `[v6]:port`, `ws://…` or `wss://…`; by default the
 *     server that the page came from. Several with commas between them, for several servers that look
 *     like one, are tried in random order.
 * @property {string} [serverKey] The server's public key in base64. The client tells a server with
 *     another key nothing secret. Without it, the first key that the server shows is the only one for
 *     as long as the session lasts.
 * @property {number} [reconnectFor] Seconds for which the client tries to replace a dropped connection:
 *     0 for never, `Infinity` for ever. Left out, they are what the server says. Requests wait meanwhile.
 * @property {NetcodePart} [netcode] What shows games in real time: a `Netcode` of `/pgnet/netcode.js`.
 */

/**
 * What a client lends to its netcode.
 *
 * @typedef {object} NetcodeHost
 * @property {string} username Who plays.
 * @property {() => number} now The time of a clock that never jumps, in seconds.
 * @property {() => number} slept For how many seconds that clock has stood still.
 * @property {() => boolean} isOpen Whether inputs travel now.
 * @property {() => boolean} plays Whether the user is a player, and does not only watch.
 * @property {() => void} flush Sends what waits.
 */

/**
 * What a client calls of its netcode.
 *
 * @typedef {object} NetcodePart
 * @property {(host: NetcodeHost) => void} begin Begins to work for a client.
 * @property {() => void} connected Begins anew with a connection.
 * @property {(time: number | null) => void} entered Begins with another game, or none.
 * @property {(encode: (kind: number, ...fields: unknown[]) => Uint8Array) => Uint8Array[]} envelopes Returns
 *     what is to leave now.
 * @property {(kind: number, values: number[], state: any) => void} take Takes in what the server says.
 */

/**
 * What happens to a client, and what listeners get.
 *
 * @template {GameTypes} [G=AnyGame]
 * @typedef {object} ClientEvents
 * @property {boolean} connection True when the user is logged in, false when the session has ended.
 * @property {boolean} online False when the connection drops, true when it is back.
 * @property {string} status How things are, in words for people.
 * @property {string} announcement What whoever runs the server says to its users.
 * @property {{inviter: string, game: string, game_class: string}} invitation A player invites the user to
 *     a game.
 * @property {any[]} search How a search for a game goes, for `findGame` of `community.js`.
 * @property {string | null} game The game that was joined, or null when it was left, or the session has
 *     ended.
 * @property {Left} left How the user got out of the last game.
 * @property {ReadonlyMap<string, boolean>} players The players in the order of joining, and whether each
 *     is connected.
 * @property {G["state"]} state The latest state of the game, which nobody can change.
 * @property {Push<G>} push What the game says unasked.
 * @property {number} lostPushes How many pushes the server has dropped.
 * @property {Asked<G>} question What the game asks.
 * @property {PGNetError} end Why the session is over.
 */

export {};
