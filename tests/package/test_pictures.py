"""The pictures of the pages are those that their script draws, and the demo's is a real run."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

FOLDER = Path(__file__).parent.parent.parent / "docs" / "pictures"
DRAWINGS: dict[str, Callable[[], object]] = {
    name: draw
    for script in ("draw.py", "plots.py")
    for name, draw in runpy.run_path(str(FOLDER / script))["PICTURES"].items()
}


def without_chance(svg: str) -> str:
    """Leave the port and the key of a run out."""
    return re.sub(r"(?<=key )[\w+/]+=|(?<=port )\d+", "...", svg)


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_picture_is_what_the_script_draws(name: str) -> None:
    committed = (FOLDER / f"{name}.svg").read_text("utf-8")
    assert without_chance(str(DRAWINGS[name]())) == without_chance(committed), (
        "draw it again: python docs/pictures/draw.py, or plots.py"
    )


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_picture_stays_inside_its_paper(name: str) -> None:
    """A letter is up to 9 pixels wide, about; what is too long shows here before anybody looks."""
    picture = ElementTree.parse(FOLDER / f"{name}.svg").getroot()
    width, height = float(picture.attrib["width"]), float(picture.attrib["height"])
    for text in picture.iter("{http://www.w3.org/2000/svg}text"):
        x, y, letters = float(text.attrib["x"]), float(text.attrib["y"]), len(text.text or "")
        assert 0 < x < width
        assert 0 < y < height
        assert x + letters * 7.8 < width + 10 or "mid" in text.attrib["class"], text.text


def test_every_picture_is_drawn_and_shown() -> None:
    assert {path.stem for path in FOLDER.glob("*.svg")} == set(DRAWINGS)
    root = FOLDER.parent.parent
    pages = [root / "README.md", *(root / "docs").rglob("*.md")]
    shown = re.findall(
        r"!\[[^\]]+\]\([^)]*pictures/(\w+)\.svg\)", "\n".join(it.read_text("utf-8") for it in pages)
    )
    assert set(shown) == set(DRAWINGS)
