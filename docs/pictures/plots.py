"""Plots what netcode shows: ``python docs/pictures/plots.py``, in the root of the project.

The figures come from `pgnet_trio.netcode` itself, on a small network that is made up here.
"""

from __future__ import annotations

import itertools
import random
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pgnet_trio.netcode import Interpolator, Predictor

FOLDER = Path(__file__).parent
Picture: Any = runpy.run_path(str(FOLDER / "draw.py"))["Picture"]

TICK = 1 / 30
FRAME = 1 / 60
SPEED = 240.0
WIDTH, HEIGHT, TOP, LEFT = 640, 110, 46, 24

STYLE = """<style>
  svg { --shown: #1a7f37; --raw: #cf222e }
  @media (prefers-color-scheme: dark) { svg { --shown: #3fb950; --raw: #ff7b72 } }
  .shown { stroke: var(--shown); stroke-width: 2; fill: none }
  .raw { stroke: var(--raw); stroke-width: 1.5; fill: none }
</style>"""

Line = list[tuple[float, float]]


def step(ship: dict[str, float], wish: float, dt: float) -> None:
    ship["x"] += wish * SPEED * dt


def predictor(**options: Any) -> Predictor[Any, float]:
    return Predictor(step, {"x": 0.0}, dt=TICK, fields=["x"], **options)


def frames(seconds: float) -> list[float]:
    return [number * FRAME for number in range(round(seconds / FRAME))]


def own_ship() -> tuple[Line, Line]:
    """A key is held from 0.2 s to 0.8 s; the server's answer takes 150 ms."""
    predicted, server = predictor(), {"x": 0.0}
    latest, coming = 0.0, []
    shown, raw = [], []
    number = 0
    for now in frames(1.2):
        wish = 1.0 if 0.2 <= now < 0.8 else 0.0
        if now + 1e-9 >= number * TICK:
            number += 1
            predicted.apply(wish, number)
            step(server, wish, TICK)
            coming.append((now + 0.15, server["x"], number))
        while coming and coming[0][0] <= now:
            _, latest, confirmed = coming.pop(0)
            predicted.reconcile({"x": latest}, confirmed, now)
        shown.append((now, predicted.show(now, wish, now - (number - 1) * TICK)["x"]))
        raw.append((now, latest))
    return shown, raw


def another_ship() -> tuple[Line, Line]:
    """It flies evenly; its states have up to 30 ms of jitter, and one is 200 ms late."""
    chance = random.Random(7)
    interpolator: Interpolator[Any] = Interpolator(fields=["x"])
    arrivals, last = [], 0.0
    for tick in range(90):
        late = 0.06 + chance.random() * 0.03 + (0.2 if tick in (12, 58) else 0.0)
        last = max(last, tick * TICK + late)
        arrivals.append((last, tick * TICK))
    latest = 0.0
    shown, raw = [], []
    for now in frames(2.7):
        while arrivals and arrivals[0][0] <= now:
            at, time = arrivals.pop(0)
            latest = time * SPEED
            interpolator.push(time, {"ann": {"x": latest}}, at)
        ships = interpolator.show(now)
        if now >= 1.5:
            shown.append((now - 1.5, ships["ann"]["x"]))
            raw.append((now - 1.5, latest))
    return shown, raw


def a_push() -> tuple[Line, Line]:
    """Somebody pushes the own ship by 60 pixels at the server; the state says so at 0.4 s."""
    smooth, at_once = predictor(), predictor(smooth=0.0)
    shown, raw = [], []
    number = 0
    for now in frames(1.2):
        if now + 1e-9 >= number * TICK:
            number += 1
            for each in (smooth, at_once):
                each.apply(1.0, number)
                pushed = number * TICK * SPEED - (60.0 if now >= 0.4 else 0.0)
                each.reconcile({"x": pushed}, number, now)
        ahead = now - (number - 1) * TICK
        shown.append((now, smooth.show(now, 1.0, ahead)["x"]))
        raw.append((now, at_once.show(now, 1.0, ahead)["x"]))
    return shown, raw


PANELS: list[tuple[str, str, str, Callable[[], tuple[Line, Line]]]] = [
    (
        "Your own ship, a key held for 0.6 s, there and back in 150 ms",
        "predicted: it moves at once",
        "as the server says",
        own_ship,
    ),
    (
        "Another ship, 30 ms of jitter, and one state that is 200 ms late",
        "interpolated: late, and even",
        "each state as it comes",
        another_ship,
    ),
    (
        "Your own ship, pushed back by 60 pixels at the server",
        "the error smoothed",
        "the error at once",
        a_push,
    ),
]


def netcode() -> Any:
    """Where ships are shown over time, with and without each part."""
    picture = Picture(
        WIDTH,
        20 + len(PANELS) * (HEIGHT + TOP + 20),
        "What netcode shows",
        "Three plots of a ship's place over time: prediction begins at once where the server's "
        "state comes 150 ms later; interpolation is an even line where the states as they come are "
        "steps with a gap; and a smoothed error is a bend where the same error at once is a jump.",
    )
    picture.parts.append(STYLE)
    top = 14.0
    for title, with_it, without, figures in PANELS:
        shown, raw = figures()
        picture.text(LEFT, top + 16, title, kind="head")
        picture.text(LEFT, top + 36, f"—  {with_it}", kind="faint")
        picture.text(LEFT + 300, top + 36, f"- -  {without}", kind="faint")
        plot(picture, top + TOP, shown, raw)
        top += HEIGHT + TOP + 20
    return picture


def plot(picture: Any, top: float, shown: Line, raw: Line) -> None:
    values = [value for line in (shown, raw) for _, value in line]
    low, span = min(values), max(values) - min(values)
    seconds = shown[-1][0]

    def place(time: float, value: float) -> str:
        x = LEFT + time / seconds * (WIDTH - 2 * LEFT)
        return f"{x:.1f} {top + HEIGHT - (value - low) / span * (HEIGHT - 10):.1f}"

    steps = [place(*raw[0])]
    for (_, before), (time, value) in itertools.pairwise(raw):
        steps += [place(time, before), place(time, value)]
    picture.edge((LEFT, top + HEIGHT), (WIDTH - LEFT, top + HEIGHT), tip=False)
    picture.parts.append(f'<path class="raw dashed" d="M{" ".join(steps)}"/>')
    line = " ".join(place(time, value) for time, value in shown)
    picture.parts.append(f'<path class="shown" d="M{line}"/>')


PICTURES: dict[str, Callable[[], Any]] = {"netcode": netcode}


if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (FOLDER / f"{name}.svg").write_text(str(draw()), "utf-8")
