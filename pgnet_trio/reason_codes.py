"""What a server calls its refusals, and the ends of sessions, for programs to tell them apart."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["MAX_REASON_CODE", "ReasonCode"]

MAX_REASON_CODE = 40
"""Characters of a reason code."""


class ReasonCode(StrEnum):
    """Why a server refuses something, or ends a session.

    Each is a str. A later server may have more codes, so an unknown one is no mistake; an older
    server says none, and the code is empty then.
    """

    # Of a log-in.
    WRONG_PASSWORD = "wrong_password"
    """The password of the user, or of the game, is another one."""
    TOO_MANY_ATTEMPTS = "too_many_attempts"
    """Too many wrong passwords lately; wait for a minute."""
    TOO_MANY_REGISTRATIONS = "too_many_registrations"
    """Too many new users from this address lately; wait for an hour."""
    UNKNOWN_USER = "unknown_user"
    """There is no such user, and new ones need an invite code."""
    INVALID_INVITE = "invalid_invite"
    """The invite code is not valid, or was used already."""
    PASSWORD_NEEDED = "password_needed"
    """A user cannot be registered without a password."""
    NAME_NOT_ALLOWED = "name_not_allowed"
    """The name of a new user, or game, breaks the rules for names."""
    NAME_TAKEN = "name_taken"
    """Another user, or game, has this name, or one that looks like it."""
    ADMIN_OFF = "admin_off"
    """The server has no password for the admin, who cannot log in."""
    USER_DELETED = "user_deleted"
    """The user was deleted."""
    ALREADY_CONNECTED = "already_connected"
    """The user is connected with another client, which this server does not replace."""
    SERVER_FULL = "server_full"
    """The server has as many connections, or games, as it takes."""
    BUSY = "busy"
    """The server cannot do this now; try again in some seconds."""
    CANNOT_SAVE = "cannot_save"
    """What has to be saved first cannot be; try again later."""
    SHUTTING_DOWN = "shutting_down"
    """The server ends."""

    # Of a session.
    SESSION_GONE = "session_gone"
    """The server does not know the session any more."""
    TOKEN_NOT_TAKEN = "token_not_taken"
    """The token does not stand for the password any more."""
    MOVED = "moved"
    """The session goes on at another address, which this client cannot be told of."""
    TAKEN_OVER = "taken_over"
    """The user has logged in with another client."""
    KICKED = "kicked"
    """Whoever runs the server has put the user out; the reason says why."""
    PROTOCOL_ERROR = "protocol_error"
    """The client broke the rules of the protocol."""
    TOO_SLOW = "too_slow"
    """Too much waits to be acknowledged: the client reads too slowly, or was away too long."""
    TOO_MANY_REQUESTS = "too_many_requests"
    """Too many requests are under way."""
    TOO_LONG = "too_long"
    """A message is longer than its receiver takes."""
    SERVER_ERROR = "server_error"
    """Something failed in the server; its log says what."""

    # Of a request.
    UNKNOWN_REQUEST = "unknown_request"
    """The server, or the game, has no such request."""
    INVALID_ARGUMENT = "invalid_argument"
    """An argument is unknown, or has a wrong type or value."""
    ADMIN_ONLY = "admin_only"
    """Only the admin may request this."""
    NOT_IN_GAME = "not_in_game"
    """The user is in no game."""
    ALREADY_IN_GAME = "already_in_game"
    """The user is in a game already."""
    UNKNOWN_GAME = "unknown_game"
    """There is no game of this name."""
    TOO_MANY_GAMES = "too_many_games"
    """The user has created as many games as one may."""
    GAME_FULL = "game_full"
    """The game takes no more players."""
    GAME_LOCKED = "game_locked"
    """The game takes nobody now."""
    NOT_WATCHABLE = "not_watchable"
    """The game takes no spectators."""
    SPECTATOR = "spectator"
    """The user only watches the game."""
    SENT_AWAY = "sent_away"
    """The game sent the user away while they joined."""
    GAME_OVER = "game_over"
    """The game ended before it answered."""
    GAME_FAILED = "game_failed"
    """The game raised an error over this, or could not be made."""
    REJECTED = "rejected"
    """The game's rules are against it: the game has said no, and its payload may say more."""
    QUESTION_CLOSED = "question_closed"
    """The game does not wait for an answer to this question any more."""
    CANNOT_TRAVEL = "cannot_travel"
    """The request was carried out, and its response is too long, or nothing that can travel."""
