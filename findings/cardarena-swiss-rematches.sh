#!/usr/bin/env bash
# cardarena-tournament-core 1.5.0 pairs Swiss tournaments, "avoiding rematches where possible". One
# expects that two players meet again only if there is no other way, and that nobody sits out
# twice, which is the first rule of byes and counts as a victory here. It pairs from the top, each
# with the best who is left, and never takes a pair back: the last two play what remains. With six
# players and three rounds, 224 of the 512 courses that a tournament can take have a rematch, and
# not one of these was needed. With five players somebody gets two byes in 40 of 64 courses, and in
# 16 of them leads at the end, alone or with others, having played one game.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check cardarena-tournament-core==1.5.0
cat >check.py <<'PY'
import importlib.metadata
import sys
from collections import Counter
from itertools import product

from cardarena_tournament_core.common.models import MatchupOutcome, Player
from cardarena_tournament_core.pairings.swiss import Swiss
from cardarena_tournament_core.scoring.pokemon import PokemonTCG

print("cardarena-tournament-core", importlib.metadata.version("cardarena-tournament-core"))
ROUNDS = 3
WINNERS = (MatchupOutcome.PLAYER1_WINS, MatchupOutcome.PLAYER2_WINS)


def could_avoid(players, met):
    """Whether all can be paired without a pair that has met."""
    if not players:
        return True
    first, *others = players
    return any(
        frozenset((first, other)) not in met
        and could_avoid([player for player in others if player != other], met)
        for other in others
    )


def play(number, results):
    """Whether there was a rematch, whether it was needed, the byes, and the standings."""
    results = iter(results)
    players = [str(index) for index in range(number)]
    swiss = Swiss([Player(id=player, name=player) for player in players])
    met, byes, rounds = set(), Counter(), []
    rematch = needed = False
    for _ in range(ROUNDS):
        paired = swiss.pair()
        met_before = set(met)
        for matchup in paired.matchups:
            if matchup.player2 is None:
                byes[matchup.player1.id] += 1
                continue
            pair = frozenset((matchup.player1.id, matchup.player2.id))
            if pair in met_before:
                rematch = True
                needed = needed or not could_avoid(players, met_before)
            met.add(pair)
            matchup.outcome = next(results)
        swiss.submit_results(paired)
        rounds.append(paired)
    return rematch, needed, byes, PokemonTCG().calculate(rounds)


def every_course(number):
    return product(WINNERS, repeat=ROUNDS * (number // 2))


courses = rematches = needed_ones = 0
for results in every_course(6):
    rematch, needed, _, _ = play(6, results)
    courses += 1
    rematches += rematch
    needed_ones += needed
print(f"six players: {rematches} of {courses} courses with a rematch, needed in {needed_ones}")

others = two_byes = ahead = 0
for results in every_course(5):
    _, _, byes, standings = play(5, results)
    others += 1
    player, number = byes.most_common(1)[0]
    if number > 1:
        two_byes += 1
        points = {standing.player.id: standing.points for standing in standings}
        ahead += points[player] == max(points.values())
print(f"five players: {two_byes} of {others} courses with two byes for one, ahead in {ahead}")

if (courses, rematches, needed_ones) != (512, 224, 0):
    sys.exit("CHANGED: rematches are not what the top of this script says")
if (others, two_byes, ahead) != (64, 40, 16):
    sys.exit("CHANGED: byes are not what the top of this script says")
print("AS STATED: rematches that nobody needed, and two byes for one")
PY
timeout 60 venv/bin/python check.py
