"""The client's side: playing on a server, a remote one or one of its own."""

from __future__ import annotations

from pgnet_trio.client.client import Client
from pgnet_trio.client.game_items import Entered, Left, LostPushes, StateChanged
from pgnet_trio.client.game_play import GamePlay
from pgnet_trio.client.invitations import Invitation
from pgnet_trio.client.profile import Profile, ProfileConflict
from pgnet_trio.client.questions import Question
from pgnet_trio.client.search import Search

__all__ = [
    "Client",
    "Entered",
    "GamePlay",
    "Invitation",
    "Left",
    "LostPushes",
    "Profile",
    "ProfileConflict",
    "Question",
    "Search",
    "StateChanged",
]
