"""How the tables of a save file change from version to version, and those of a database.

The statements are for SQLite and for PostgreSQL, where the same tables are; `BYTEA` is SQLite's
`BLOB`. Version 2 is older than both words, see `pgnet_trio.storage.sqlite_schema`.

A release never changes a version that another release has made: it adds one. Each is one
transaction, and needs nothing but the one before.
"""

from __future__ import annotations

import re

__all__ = ["MIGRATIONS", "SCHEMA_VERSION", "TABLES"]

_STANDINGS = """
    CREATE TABLE results (id BYTEA NOT NULL PRIMARY KEY, played BYTEA NOT NULL);
    CREATE TABLE histories (
        username BYTEA NOT NULL, number BIGINT NOT NULL, result BYTEA NOT NULL,
        PRIMARY KEY (username, number)
    );
    CREATE INDEX histories_by_result ON histories (result);
    CREATE TABLE leaderboards (
        id BIGINT NOT NULL PRIMARY KEY, name BYTEA NOT NULL UNIQUE, lowest_first BIGINT NOT NULL
    );
    CREATE TABLE scores (
        username BYTEA NOT NULL, board BIGINT NOT NULL, points BIGINT NOT NULL,
        PRIMARY KEY (username, board)
    );
    CREATE INDEX scores_in_order ON scores (board, points, username);
    CREATE TABLE score_ranges (
        board BIGINT NOT NULL, low BIGINT NOT NULL, players BIGINT NOT NULL,
        PRIMARY KEY (board, low)
    );
    CREATE TABLE ratings (
        username BYTEA NOT NULL, queue BYTEA NOT NULL,
        mu DOUBLE PRECISION NOT NULL, sigma DOUBLE PRECISION NOT NULL,
        PRIMARY KEY (username, queue)
    )
"""

_MODERATION = """
    CREATE TABLE bans (
        subject BYTEA NOT NULL PRIMARY KEY, reason BYTEA NOT NULL, banned_by BYTEA NOT NULL,
        made BIGINT NOT NULL, ends BIGINT
    );
    CREATE TABLE roles (
        username BYTEA NOT NULL PRIMARY KEY, role BYTEA NOT NULL
    );
    CREATE TABLE reset_codes (
        username BYTEA NOT NULL PRIMARY KEY, digest BYTEA NOT NULL, expires BIGINT NOT NULL,
        used_by BYTEA NOT NULL
    );
    CREATE TABLE profiles (
        username BYTEA NOT NULL PRIMARY KEY, version BIGINT NOT NULL, data BYTEA NOT NULL
    );
    CREATE TABLE audit (
        number BIGINT NOT NULL PRIMARY KEY, id BYTEA NOT NULL UNIQUE, time BIGINT NOT NULL,
        done_by BYTEA NOT NULL, did BYTEA NOT NULL, details BYTEA NOT NULL
    )
"""

_DELETIONS = """
    CREATE TABLE deletions (
        username BYTEA NOT NULL PRIMARY KEY, deleted DOUBLE PRECISION NOT NULL
    );
    CREATE INDEX deletions_in_order ON deletions (deleted)
"""

# Ranges begin at any line of a leaderboard, also between two players with the same score.
_RANGES = """
    ALTER TABLE score_ranges RENAME TO score_ranges_before;
    CREATE TABLE score_ranges (
        board BIGINT NOT NULL, low BIGINT NOT NULL, low_name BYTEA NOT NULL DEFAULT '',
        players BIGINT NOT NULL, PRIMARY KEY (board, low, low_name)
    );
    INSERT INTO score_ranges (board, low, players)
        SELECT board, low, players FROM score_ranges_before;
    DROP TABLE score_ranges_before
"""

MIGRATIONS = {3: f"{_STANDINGS};{_MODERATION}", 4: f"{_DELETIONS};{_RANGES}"}
"""The statements that make each version of the one before, with semicolons between them."""

SCHEMA_VERSION = max(MIGRATIONS)
"""Which tables there are, and what they mean."""

TABLES = sorted(set(re.findall(r"CREATE TABLE (\w+)", "".join(MIGRATIONS.values()))))
"""The tables that they make, for which other save files than SQLite's have no place."""
