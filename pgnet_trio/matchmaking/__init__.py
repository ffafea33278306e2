"""Who is put into one game: queues, tickets, and the rules by which tickets make a match.

Nothing here knows a clock, a task or a socket. What counts as a match is a function of the tickets
and of how long each has waited; the server (`pgnet_trio.server.matchmaking`) says when to look, and
carries out what is found.
"""

from __future__ import annotations

from pgnet_trio.matchmaking.pool import Entry, Offer, Pool
from pgnet_trio.matchmaking.queue import Queue, queues_of
from pgnet_trio.matchmaking.rounds import Round, play_round
from pgnet_trio.matchmaking.tickets import Rule, Ticket
from pgnet_trio.matchmaking.widening import Widening

__all__ = [
    "Entry",
    "Offer",
    "Pool",
    "Queue",
    "Round",
    "Rule",
    "Ticket",
    "Widening",
    "play_round",
    "queues_of",
]
