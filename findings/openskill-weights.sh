#!/usr/bin/env bash
# openskill 6.2.0 takes weights, which its manual calls each player's contribution. One expects
# that equal weights change nothing, and that in a duel the heavier player moves more. In a duel
# they say nothing: 2 and 1 do what 1 and 2 do, and what 7 and 7 do, since the weights of each
# team alone are stretched to the range from 1 to 2, and of one value that makes 2. And the 2
# doubles what a winner gains and halves what a loser loses: with any weights each duel creates
# four points out of nothing, so a ladder that passes its weights along inflates, and who plays
# most leads it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check openskill==6.2.0
cat >check.py <<'PY'
import importlib.metadata
import sys

from openskill.models import PlackettLuce

print("openskill", importlib.metadata.version("openskill"))
model = PlackettLuce()


def duel(weights=None):
    """How far the winner and the loser of a duel of two new players move."""
    (winner,), (loser,) = model.rate([[model.rating()], [model.rating()]], weights=weights)
    return round(winner.mu - 25, 3), round(loser.mu - 25, 3)


seen = {str(weights): duel(weights) for weights in (None, [[2], [1]], [[1], [2]], [[7], [7]])}
for weights, (gain, loss) in seen.items():
    print(f"weights {weights}: winner {gain:+}, loser {loss:+}, together {gain + loss:+.3f}")

# A season in which both win in turn.
a, b = model.rating(), model.rating()
for number in range(100):
    teams = [[a], [b]] if number % 2 else [[b], [a]]
    ((winner,), (loser,)) = model.rate(teams, weights=[[1], [1]])
    a, b = (winner, loser) if number % 2 else (loser, winner)
print(f"two equals after 100 duels with weights of 1: {a.mu:.1f} and {b.mu:.1f}")

plain, *weighted = seen.values()
as_stated = (
    plain == (2.635, -2.635)
    and set(weighted) == {(5.271, -1.318)}
    and min(a.mu, b.mu) > 75
)
if not as_stated:
    sys.exit("CHANGED: this is not what the top of this script says")
print("AS STATED: in a duel any weights double the gain and halve the loss")
PY
timeout 60 venv/bin/python check.py
