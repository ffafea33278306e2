"""The dashboard and the alert rules ask for metrics that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # its types are a package of their own
from prometheus_client.parser import text_string_to_metric_families

from tests.kit.monitoring import READ, look, monitored

DOCS = Path(__file__).parent.parent.parent / "docs"
FOLDER = DOCS / "monitoring"

ELSEWHERE = {"up"}
"""What Prometheus itself knows."""

WORD = re.compile(r"\b(?:pgnet|process)_\w+|\bup\b")


async def known_names() -> set[str]:
    """Every name that a query may have, from what a server really says."""
    async with monitored() as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        text = (await look(server, "/metrics", token=READ)).body.decode()
    names = set(ELSEWHERE)
    for family in text_string_to_metric_families(text):
        ends = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("_total",)}
        names |= {f"{family.name}{end}" for end in ends.get(family.type, ("",))}
    return names


def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load((FOLDER / "alerts.yml").read_text("utf-8"))["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "grafana-dashboard.json").read_text("utf-8"))
    return found


def queries() -> Iterator[str]:
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]


async def test_dashboard_alerts_and_guide_ask_for_metrics_that_there_are() -> None:
    known = await known_names()
    asked = [*queries(), *(rule["expr"] for rule in rules())]
    names = {name for query in asked for name in WORD.findall(re.sub('"[^"]*"', "", query))}
    unknown = names - known
    assert not unknown
    guide = (DOCS / "how-to" / "metrics.md").read_text("utf-8")
    told = {name for name in re.findall(r"`(\w+)`", guide) if WORD.fullmatch(name)}
    # A histogram is told of by its name alone, and of the process there is more than is told.
    known = {re.sub("_(bucket|count|sum)$", "", name) for name in known}
    assert not told - known
    assert not {name for name in known if name.startswith("pgnet_")} - told


def test_each_alert_says_what_to_do() -> None:
    found = rules()
    assert len(found) == 10
    for rule in found:
        assert rule["annotations"]["action"].endswith("."), rule["alert"]
        assert "instance" in rule["annotations"]["summary"]


def test_each_panel_has_a_place_and_a_question() -> None:
    panels = dashboard()["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(set(ids)) == len(ids)
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)
    for panel in panels:
        assert panel["type"] == "row" or panel["targets"]


@pytest.mark.parametrize("query", [*queries(), *(rule["expr"] for rule in rules())])
def test_the_brackets_of_a_query_match(query: str) -> None:
    stack = []
    for sign in re.sub(r'"[^"]*"', "", query):
        if sign in "([{":
            stack.append(sign)
        elif sign in ")]}":
            assert "([{".index(stack.pop()) == ")]}".index(sign)
    assert not stack
