"""Draws the pictures of the pages: ``python docs/pictures/draw.py``, in the root of the project.

Each picture is an SVG with a background and two sets of colours, so that it can be read on a light
and on a dark page. `demo.svg` shows what ``pgnet-trio demo`` printed when this was run last.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import escape

FOLDER = Path(__file__).parent
LINE = 18  # pixels from one line of text to the next

STYLE = """
  svg { --paper: #ffffff; --ink: #1f2328; --faint: #59636e; --line: #8c959f;
        --box: #f0f3f6; --good: #d2f0da; --wait: #fdf0c4; --bad: #fbdad7; --note: #dbe9fb }
  @media (prefers-color-scheme: dark) {
    svg { --paper: #151b23; --ink: #f0f6fc; --faint: #b0b8c1; --line: #7d8590;
          --box: #262d37; --good: #1c4428; --wait: #4d3b0a; --bad: #592621; --note: #1a3a63 } }
  text { fill: var(--ink); font: 14px system-ui, "Segoe UI", "DejaVu Sans", sans-serif }
  .head { font-weight: 600 } .faint { fill: var(--faint) } .mid { text-anchor: middle }
  .code { font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
          font-size: 13px; white-space: pre }
  .paper { fill: var(--paper); stroke: var(--line) } .box { fill: var(--box); stroke: var(--line) }
  .good { fill: var(--good); stroke: var(--line) } .wait { fill: var(--wait); stroke: var(--line) }
  .bad { fill: var(--bad); stroke: var(--line) } .note { fill: var(--note); stroke: var(--line) }
  .edge { stroke: var(--line); stroke-width: 1.5; fill: none }
  .dashed { stroke-dasharray: 5 4 } .tip { fill: var(--line) }
"""


class Picture:
    """Shapes and texts on a background, in pixels from the upper left corner."""

    def __init__(self, width: int, height: int, title: str, description: str) -> None:
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<desc>{escape(description)}</desc>",
            f"<style>{STYLE}</style>",
            '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" '
            'markerHeight="8" orient="auto-start-reverse"><path class="tip" d="M0 0 10 5 0 10z"/>'
            "</marker></defs>",
        ]
        self.box(0.5, 0.5, width - 1, height - 1, kind="paper")

    def box(self, x: float, y: float, width: float, height: float, *, kind: str = "box") -> None:
        self.parts.append(
            f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="6"/>'
        )

    def text(self, x: float, y: float, lines: str, *, kind: str = "") -> None:
        """Write lines, the first with its baseline at *y*."""
        for number, line in enumerate(lines.split("\n")):
            self.parts.append(
                f'<text class="{kind}" x="{x}" y="{y + number * LINE}" xml:space="preserve">'
                f"{escape(line)}</text>"
            )

    def card(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        head: str,
        lines: str = "",
        *,
        kind: str = "box",
        body: str = "",
    ) -> None:
        """Draw a box with a heading and lines below it."""
        self.box(x, y, width, height, kind=kind)
        self.text(x + 12, y + 23, head, kind="head")
        self.text(x + 12, y + 23 + LINE, lines, kind=body)

    def edge(self, *points: tuple[float, float], kind: str = "", tip: bool = True) -> None:
        path = " ".join(f"{x} {y}" for x, y in points)
        end = ' marker-end="url(#tip)"' if tip else ""
        self.parts.append(f'<path class="edge {kind}" d="M{path}"{end}/>')

    def __str__(self) -> str:
        return "\n".join([*self.parts, "</svg>", ""])


def session() -> Picture:
    """The life of a session, and who is told what."""
    picture = Picture(
        960,
        580,
        "The life of a session",
        "A session is online while it has a connection, away while its connection is being "
        "replaced, and gone after a goodbye or when the grace is over.",
    )
    # When: logs in, drops, is back, drops again, the grace is over.
    left, moments = 20, [130, 296, 462, 628, 794]
    right = 940
    for x, event in zip(
        moments,
        [
            "logs in and joins",
            "drops",
            "is back",
            "drops again",
            "the grace is over",
        ],
        strict=True,
    ):
        picture.text(x, 32, event, kind="head")
        picture.edge((x - 8, 44), (x - 8, 306), kind="dashed", tip=False)

    def bar(y: float, begin: float, end: float, kind: str, words: str) -> None:
        picture.box(begin - 8, y, end - begin, 28, kind=kind)
        picture.text(begin + 4, y + 19, words)

    picture.text(left, 75, "connection", kind="head")
    bar(56, moments[0], moments[1], "good", "first")
    bar(56, moments[2], moments[3], "good", "second")
    picture.text(left, 119, "session", kind="head")
    bar(100, moments[0], moments[1], "good", "online")
    bar(100, moments[1], moments[2], "wait", "away, in the grace")
    bar(100, moments[2], moments[3], "good", "online")
    bar(100, moments[3], moments[4], "wait", "away for 30 s")
    bar(100, moments[4], right + 8, "bad", "gone")

    rows = [
        (
            "ann's client",
            [
                "on_connection(True)",
                "on_online(False)",
                "on_online(True)",
                "on_online(False)",
                "SessionLost,\nif it comes back",
            ],
        ),
        (
            "the game",
            ["user_joined", "player_dropped", "player_resumed", "player_dropped", "user_left"],
        ),
        (
            "the others'\non_players",
            ["ann: True", "ann: False", "ann: True", "ann: False", "without ann"],
        ),
    ]
    y = 168
    for who, told in rows:
        picture.text(left, y, who, kind="head")
        for x, words in zip(moments, told, strict=True):
            picture.text(x, y, words, kind="code")
        y += 54
    picture.text(
        20,
        330,
        "While she is away, she keeps her place in the game. Requests, answers, pushes and open\n"
        "questions wait for her, and each is carried out or delivered once.",
        kind="faint",
    )

    picture.text(left, 388, "Three other ends", kind="head")
    ends = [
        (
            "Goodbye",
            "disconnect(), or the end of\nasync with client.",
            "The session is gone at once.\nThe game: user_left.\nNobody waits for her.",
            "good",
        ),
        (
            "Shutdown",
            "The server stops in good order\nand saves the games.",
            "SIGTERM, SIGHUP: it says that it\nrestarts. Her client waits for it.\n"
            "Ctrl-C, shutdown(): goodbye. Her\nclient ends: Disconnected.",
            "wait",
        ),
        (
            "Crash",
            "kill -9, a loss of power. To\nher client this is a drop.",
            "It tries for 60 s. The new server\ndoes not know the session:\n"
            "SessionLost. The client logs in,\nand joins the game again.",
            "bad",
        ),
    ]
    for number, (head, what, then, kind) in enumerate(ends):
        x = 20 + number * 310
        picture.card(x, 404, 300, 156, head, what, kind=kind, body="faint")
        picture.text(x + 12, 404 + 23 + 3 * LINE + 8, then)
    return picture


def turn() -> Picture:
    """One turn, from the packet to the state."""
    picture = Picture(
        960,
        520,
        "One turn, from the packet to the state",
        "A move goes through connection, session and queue to the game's handler; after it the "
        "server calls view, and sends each player what has changed.",
    )
    columns = [
        ("ann's program", 20, 200),
        ("connection", 250, 200),
        ("session", 480, 200),
        ("room", 710, 230),
    ]
    for head, x, width in columns:
        picture.text(x + width / 2, 32, head, kind="head mid")
        picture.edge((x, 42), (x + width, 42), tip=False)
    way = [
        (20, 200, "1  call", "client.call(Play(7))\nsends one packet."),
        (250, 200, "2  decrypt", "A frame that breaks a\nrule goes no further."),
        (480, 200, "3  take in order", "Each request is taken\nonce, after a drop too."),
        (710, 230, "4  wait for the turn", "One turn after the other:\nno lock is needed."),
    ]
    for x, width, head, words in way:
        picture.card(x, 60, width, 86, head, words)
    for begin, end in ((220, 250), (450, 480), (680, 710)):
        picture.edge((begin, 103), (end, 103))
    picture.edge((825, 146), (825, 176))
    picture.card(
        710, 176, 230, 86, "5  the turn", "Game.play(player, play)\nruns to its end.", kind="note"
    )
    picture.edge((825, 262), (825, 292))
    picture.card(
        710,
        292,
        230,
        122,
        "6  after the turn",
        "view(player) for each player,\ncompared with the last one;\nget_lobby_info();\n"
        "what changed is encoded.",
        kind="note",
    )
    picture.edge((710, 353), (680, 353))
    picture.card(
        480,
        292,
        200,
        122,
        "7  put in order",
        "First the state or a patch,\nthen pushes and the\nanswer. Kept until\nacknowledged.",
    )
    picture.edge((480, 353), (450, 353))
    picture.card(
        250,
        292,
        200,
        122,
        "8  encrypt",
        "One frame for each\nplayer, as soon as the\nlink has room.",
    )
    picture.edge((250, 353), (220, 353))
    picture.card(
        20,
        292,
        200,
        122,
        "9  receive",
        "states() yields the state,\npushes() the pushes,\nand call returns.",
        kind="good",
    )
    picture.card(
        20,
        434,
        920,
        66,
        "Other turns",
        "A join, a leave, a drop, a return, a tick and each step of run go the same way from 4 on, "
        "and are followed by 6 to 9.",
        body="faint",
    )
    return picture


def lobby() -> Picture:
    """Lobby, room and seat."""
    picture = Picture(
        960,
        452,
        "Lobby, room and seat",
        "A user who is logged in is in the lobby or in one room; a room runs one game, and has "
        "seats for players, bots among them, and spectators beside them.",
    )
    picture.card(
        20, 20, 920, 372, "Server(TicTacToe)", "one process, one class of games", body="faint"
    )
    picture.card(
        40, 76, 220, 296, "The lobby", "every user who is logged in\nand in no room", body="faint"
    )
    for number, name in enumerate(["dora", "finn"]):
        picture.box(56, 160 + number * 44, 188, 32, kind="good")
        picture.text(68, 181 + number * 44, name)
    picture.text(56, 272, "get_game_dir()", kind="code")
    picture.text(56, 272 + LINE, "lists the rooms.", kind="faint")
    picture.text(56, 326, "A name plays in one\nroom at a time.", kind="faint")

    def seat(x: float, y: float, who: str, how: str, kind: str) -> None:
        picture.box(x, y, 186, 50, kind=kind)
        picture.text(x + 12, y + 21, who)
        picture.text(x + 12, y + 21 + LINE, how, kind="faint")

    picture.card(
        440,
        76,
        480,
        190,
        'The room of "table 1"',
        "runs one game, in a nursery of its own",
        body="faint",
    )
    picture.text(456, 144, "two seats: max_players = 2")
    seat(456, 156, "ann", "player, online", "good")
    seat(456, 210, "bob", "player, away: keeps it", "wait")
    picture.text(690, 144, "beside the seats")
    seat(690, 156, "eve", "spectator: view(None)", "note")
    picture.card(
        440, 282, 480, 90, 'The room of "table 2"', "another game of the same class", body="faint"
    )
    picture.box(690, 294, 186, 50, kind="good")
    picture.text(702, 315, "carl")
    picture.text(702, 333, "player, online", kind="faint")
    picture.text(456, 350, "one free seat, also for a bot", kind="faint")

    picture.edge((260, 150), (440, 150))
    picture.text(350, 142, "create, join, watch", kind="mid")
    picture.edge((440, 212), (260, 212))
    picture.text(350, 204, "leave, kicked, closed", kind="mid")
    picture.text(
        20,
        418,
        "A grace that is over, or a goodbye, takes a user out of the room and out of the lobby.\n"
        "A game that is not persistent ends with its last user; a persistent one stays.",
        kind="faint",
    )
    return picture


def handoff() -> Picture:
    """A game that goes from one server to another while it is played."""
    picture = Picture(
        960,
        560,
        "A game goes to another server while it is played",
        "Server A stops the game between two turns, one transaction makes it server B's, B goes on "
        "with it and says so, and A sends the players there.",
    )
    lines = {"player": 90, "A": 330, "engine": 590, "B": 850}
    heads = {
        "player": "a player",
        "A": "server A, which ends",
        "engine": "the engine",
        "B": "server B",
    }
    for name, x in lines.items():
        picture.text(x, 32, heads[name], kind="head mid")
        picture.edge((x, 42), (x, 500), kind="dashed", tip=False)

    def arrow(y: float, begin: str, end: str, words: str) -> None:
        first, last = lines[begin], lines[end]
        step = 6 if last > first else -6
        picture.edge((first + step, y), (last - step, y))
        picture.text((first + last) / 2, y - 7, words, kind="mid")

    def bar(name: str, begin: float, end: float, kind: str) -> None:
        picture.box(lines[name] - 6, begin, 12, end - begin, kind=kind)

    # Who plays the game, and when nobody does.
    bar("A", 48, 128, "good")
    bar("A", 128, 384, "wait")
    bar("B", 300, 496, "good")
    arrow(76, "player", "A", "a move")
    arrow(104, "A", "player", "its answer")
    picture.text(
        lines["A"] + 14, 142, "stops between two turns; packs up\nsave, players, questions", kind=""
    )
    arrow(178, "player", "A", "another move: it waits")
    arrow(204, "A", "engine", "the game is B's: one commit")
    arrow(238, "engine", "B", "wakes")
    arrow(264, "B", "engine", "accepts it")
    picture.text(lines["B"] - 14 - 236, 296, "makes the game from the save,", kind="faint")
    picture.text(lines["B"] - 14 - 236, 296 + LINE, "with its players and questions", kind="faint")
    arrow(352, "B", "A", "goes on here")
    arrow(384, "A", "player", "moved: go to B")
    arrow(424, "player", "B", "comes back, and says what has arrived; asks again")
    arrow(456, "B", "player", "the answer to the other move, once")
    picture.box(20, 516, 12, 24, kind="good")
    picture.text(40, 533, "plays the game")
    picture.box(180, 516, 12, 24, kind="wait")
    picture.text(200, 533, "keeps what comes, and begins with none of it; some milliseconds")
    return picture


def demo() -> Picture:
    """A terminal, in which ``pgnet-trio demo`` has run."""
    run = subprocess.run(
        [sys.executable, "-m", "pgnet_trio", "demo"], capture_output=True, text=True, check=True
    )
    boards = run.stdout.rstrip().split("\n\n")
    # The moves in the middle are left out: they take more of a page than they tell.
    shown = "\n\n".join([*boards[:3], "    ...", *boards[-2:]])
    lines = ["$ pgnet-trio demo", *shown.split("\n")]
    width = 40 + 8 * max(map(len, lines))
    picture = Picture(
        width,
        62 + LINE * len(lines),
        "A run of pgnet-trio demo",
        "Two clients play a game of tic-tac-toe over an encrypted connection.",
    )
    for number, kind in enumerate(["bad", "wait", "good"]):
        picture.parts.append(f'<circle class="{kind}" cx="{24 + 20 * number}" cy="20" r="6"/>')
    picture.edge((0, 38), (width, 38), tip=False)
    picture.text(20, 62, "\n".join(lines), kind="code")
    return picture


PICTURES: dict[str, Callable[[], Picture]] = {
    "session": session,
    "turn": turn,
    "lobby": lobby,
    "handoff": handoff,
    "demo": demo,
}


if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (FOLDER / f"{name}.svg").write_text(str(draw()), "utf-8")
