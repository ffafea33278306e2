"""Rules of games for tests of netcode: the same stand in ``programs/netcode.mjs``."""

from __future__ import annotations

import math
from typing import Any

import attrs

__all__ = ["Ship", "Thrust", "drive", "fly", "turn"]


@attrs.frozen
class Thrust:
    x: float
    y: float


@attrs.define
class Ship:
    x: float = 0.0
    y: float = 0.0
    across: float = 0.0
    down: float = 0.0
    gems: int = 0


def fly(ship: Ship, thrust: Thrust, dt: float) -> None:
    """Thrust, drag, and a top speed: + - * / and a square root."""
    ship.across += (thrust.x * 400 - ship.across * 1.5) * dt
    ship.down += (thrust.y * 400 - ship.down * 1.5) * dt
    speed = math.sqrt(ship.across * ship.across + ship.down * ship.down)
    if speed > 250:
        ship.across *= 250 / speed
        ship.down *= 250 / speed
    ship.x += ship.across * dt
    ship.y += ship.down * dt


def drive(car: dict[str, Any], wish: dict[str, Any], dt: float) -> None:
    """The same rule for plain data."""
    car["across"] += (wish["x"] * 400 - car["across"] * 1.5) * dt
    car["down"] += (wish["y"] * 400 - car["down"] * 1.5) * dt
    speed = math.sqrt(car["across"] * car["across"] + car["down"] * car["down"])
    if speed > 250:
        car["across"] *= 250 / speed
        car["down"] *= 250 / speed
    car["x"] += car["across"] * dt
    car["y"] += car["down"] * dt


def turn(car: dict[str, Any], wish: dict[str, Any], dt: float) -> dict[str, Any]:
    """A heading: sine and cosine, which differ in their last bits between languages."""
    heading = car["heading"] + wish["x"] * 3 * dt
    return {
        "x": car["x"] + math.cos(heading) * 200 * dt,
        "y": car["y"] + math.sin(heading) * 200 * dt,
        "heading": heading,
    }
