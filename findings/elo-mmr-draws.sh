#!/usr/bin/env bash
# Elo-MMR-Py 2.0.0 rates matches of any size, by ten systems, and its page says how to write ties
# down. One expects that a weaker player who draws with a stronger one thirty times gains
# something by it. A match in which all tie, so every drawn duel, is left out without a word, with
# each of the systems, Glicko and TrueSkill among them: no rating moves, no uncertainty shrinks,
# the match is not counted, and who has only drawn so far is not in the result at all.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check Elo-MMR-Py==2.0.0
cat >check.py <<'PY'
import importlib.metadata
import sys

from elo_mmr_py import SUPPORTED_SYSTEMS, Contest, rate_latest

print("Elo-MMR-Py", importlib.metadata.version("Elo-MMR-Py"))
DAY = 86_400
victory = Contest([("Ada", 0, 0), ("Ben", 1, 1)], time_seconds=0)
draws = [Contest([("Ada", 0, 1), ("Ben", 0, 1)], time_seconds=DAY * day) for day in range(1, 31)]


def table(contests, system):
    """Who is rated how, how surely, and after how many matches."""
    return {
        name: (player.rating, player.rating_sig, player.contests_played)
        for name, player in rate_latest(contests, system).items()
    }


differ = []
for system in SUPPORTED_SYSTEMS:
    before, after = table([victory], system), table([victory, *draws], system)
    same = before == after
    print(f"{system}: Ada {before['Ada']}, Ben {before['Ben']}, unchanged by 30 draws: {same}")
    if before != after:
        differ.append(system)
only_draws = table(draws, "mmr")
print(f"with nothing but 30 draws: {only_draws}")
if differ or only_draws:
    sys.exit(f"CHANGED: draws count with {differ or 'those who only drew'}")
print("AS STATED: drawn duels are left out")
PY
timeout 60 venv/bin/python check.py
