"""What is in a recording, for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from pgnet_trio.foreign_text import one_line
from pgnet_trio.recording import records

if TYPE_CHECKING:
    from pgnet_trio.recording import StoredRecording

__all__ = ["describe_record", "summary_of"]

LONGEST = 200

_LEFT_OUT = (
    records.TurnBegan,
    records.StepBegan,
    records.ClockRead,
    records.EmptyChanged,
    records.Shown,
)

_BEGINNINGS = {
    "new": "a new game",
    "saved": "from its save",
    "moved": "as it had moved to this server",
    "restarted": "as it was made again, after it had crashed",
    "rematch": "with another game of the same people",
    "reloaded": "as it went on with a changed class",
    "snapshot": "in the middle, from a save string",
    "cut": "in the middle; what was before is gone",
}


def describe_record(record: records.Record) -> str:
    """Return what a record says, in one line."""
    return one_line(_describe(record), LONGEST)


def _describe(record: records.Record) -> str:
    match record:
        case records.PacketCame(player=player, message=message, payload=payload):
            return f"{message!r} from {player}: {_shown(payload)}"
        case records.AnswerCame(player=player, question=question, payload=payload):
            return f"the answer of {player} to question {question}: {_shown(payload)}"
        case records.InputCame(player=player, number=number, payload=payload):
            return f"input {number} of {player}" + ("" if payload is None else f": {payload!r}")
        case records.Joined(sessions=sessions, spectates=spectates):
            names = ", ".join(session.username for session in sessions)
            return f"{names} {'watch' if spectates else 'join'}"
        case records.Left(player=player, reason=reason):
            return f"{player} leaves ({reason})"
        case records.OnlineChanged(player=player, online=online):
            return f"{player} is {'back' if online else 'away'}"
        case records.ClientCame(session=session):
            return f"{session.username} comes with another client"
        case records.Due(what=what):
            return f"a {what} is due"
        case records.SaveAsked():
            return "the game is saved"
        case records.EmptyChecked():
            return "the game may end, if nobody is in it"
        case records.Closed(reason=reason):
            return f"the game is closed: {reason}"
        case records.CallEnded(error=error):
            return "a save or a report is through" + ("" if error is None else f": {error[1]}")
        case records.BotEnded(name=name):
            return f"the bot {name!r} plays no more"
        case records.TimeIsUp(question=question):
            return f"the time for question {question} is up"
        case records.AskBegan(player=player):
            return f"room.ask for {player}"
        case records.QuestionAsked(id=id, player=player):
            return f"question {id} to {player}"
        case records.Answered(status=status, message=message, payload=payload):
            how = f" of status {status}" if status else ""
            return f"an answer{how}, {message!r}: {_shown(payload)}"
        case records.AnsweredLong(digest=digest):
            return f"an answer {_content(b'', digest)}"
        case records.Pushed(content=content, digest=digest):
            return f"a push {_content(content, digest)}"
        case records.Shown(digest=digest):
            return f"a state with the digest {digest:08x}"
        case records.Crashed(kind=kind, text=text):
            return f"{kind}: {text}"
        case records.Ended(reason=reason):
            return f"the end: {reason}"
        case records.Gap(why=why):
            return f"something is missing: {why}"
        case records.ClockRead(value=value):
            return f"room.time() is {value:.6f}"
        case records.StepBegan(number=number):
            return f"a step of coroutine {number}"
        case records.EmptyChanged(is_empty=is_empty):
            return "nobody is in the game" if is_empty else "somebody is in the game"
        case records.OtherTurn():
            return "a turn of the room's own"
        case records.TurnBegan():
            return "a turn"


def _shown(payload: Any) -> str:
    return repr(_decoded(payload))


def _decoded(payload: Any) -> Any:
    return msgspec.msgpack.decode(payload) if isinstance(payload, msgspec.Raw) else payload


def _content(content: bytes, digest: int) -> str:
    if not content:
        return f"with the digest {digest:08x}"
    try:
        return repr(msgspec.msgpack.decode(content))
    except (msgspec.MsgspecError, ValueError):
        return repr(content)


def summary_of(recording: StoredRecording, *, last: int) -> Iterator[str]:
    """Yield what a recording is of, and the last of what is in it, line by line.

    Args:
        recording: The recording.
        last: How many of its events are shown.
    """
    head = recording.head
    turns = sum(isinstance(record, records.TurnBegan) for record in recording.records)
    yield f"{recording.path}"
    yield f"  table    {one_line(head.table)!r}, of {one_line(head.class_name or head.game)}"
    yield f"  begins   {head.began_at}, {_BEGINNINGS[head.beginning]}"
    yield f"  holds    {turns:,} turns, from turn {head.turn + 1:,} on"
    yield f"  written  by pgnet_trio {one_line(head.package)} on Python {one_line(head.python)}"
    for what in head.unrepeatable:
        yield f"  does not replay: {one_line(what)}"
    if recording.problem:
        yield f"  is cut: {recording.problem}"
    events = [record for record in recording.records if not isinstance(record, _LEFT_OUT)]
    if len(events) > last:
        yield f"  ... {len(events) - last:,} earlier ones"
    for record in events[-last:]:
        time = getattr(record, "time", None)
        at = "" if time is None else f"{time:.3f}"
        yield f"  {at:>10}  {describe_record(record)}"
    for each in recording.records:
        if isinstance(each, records.Crashed):
            yield from each.traceback.splitlines()
