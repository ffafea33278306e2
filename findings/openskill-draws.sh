#!/usr/bin/env bash
# Four players of different strength draw, and openskill 6.2.0 rates them. One expects them to
# come nearer to each other, and the result not to depend on the order in which a program happens
# to list them. With ThurstoneMostellerFull the strongest and the weakest change places: 30 and 20
# become 22 and 28, so that the strongest player ends below the weakest. With the two models whose
# names end in Part, each team is compared only with those near it in the list, also among those
# who tie: where seven equals draw with one who is stronger, three of the equals gain nothing and
# four do, by their place in the list.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check openskill==6.2.0
cat >check.py <<'PY'
import importlib.metadata
import sys

from openskill.models import (
    BradleyTerryFull,
    BradleyTerryPart,
    PlackettLuce,
    ThurstoneMostellerFull,
    ThurstoneMostellerPart,
)

print("openskill", importlib.metadata.version("openskill"))
FOUR = [30, 20, 25, 25]
EQUALS = [25] * 7
STRONGER = 45


def draw(model_class, strengths):
    """The strengths after a draw of all."""
    model = model_class()
    teams = [[model.rating(mu=strength)] for strength in strengths]
    return [team[0].mu for team in model.rate(teams, ranks=[1] * len(teams))]


swapped, dependent = set(), set()
for model_class in (
    PlackettLuce,
    BradleyTerryFull,
    BradleyTerryPart,
    ThurstoneMostellerFull,
    ThurstoneMostellerPart,
):
    name = model_class.__name__
    strongest, weakest, *_ = draw(model_class, FOUR)
    gains = [round(mu - 25, 2) for mu in draw(model_class, [*EQUALS, STRONGER])[:7]]
    print(f"{name}: 30 and 20 become {strongest:.1f} and {weakest:.1f}")
    print(f"    seven equals gain {gains}")
    if strongest < weakest:
        swapped.add(name)
    if gains[:3] == [0, 0, 0] and all(gain > 0.2 for gain in gains[3:]):
        dependent.add(name)
    elif len(set(gains)) > 1:
        sys.exit(f"CHANGED: the seven gain {gains}")

if swapped != {"ThurstoneMostellerFull"}:
    sys.exit(f"CHANGED: the strongest falls below the weakest with {swapped or 'none'}")
if dependent != {"BradleyTerryPart", "ThurstoneMostellerPart"}:
    sys.exit(f"CHANGED: the order matters with {dependent or 'none'}")
print("AS STATED: a draw turns the ladder round, or depends on the order of the list")
PY
timeout 60 venv/bin/python check.py
