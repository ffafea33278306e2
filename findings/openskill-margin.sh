#!/usr/bin/env bash
# openskill 6.2.0 takes a margin and scores, so that a clear victory counts for more than a narrow
# one. One expects that of a favourite who loses, the one who was crushed falls furthest. It is
# the other way round: with margin 2, a favourite who loses 0:10 falls by 0.5, and one who loses
# 9:10 falls by 1.7. The margin makes the favourite count as less strong in the comparison, by the
# same amount whoever won, so a crushing defeat looks like one that was to be expected. Who leads
# the ladder and is losing does best to give up.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check openskill==6.2.0
cat >check.py <<'PY'
import importlib.metadata
import sys

from openskill.models import BradleyTerryFull, PlackettLuce, ThurstoneMostellerFull

print("openskill", importlib.metadata.version("openskill"))


def loss(model_class, scores):
    """How far a favourite falls who loses with these scores."""
    model = model_class(margin=2)
    favourite, outsider = model.rating(mu=35, sigma=4), model.rating(mu=20, sigma=4)
    ((after,), _) = model.rate([[favourite], [outsider]], scores=scores)
    return round(favourite.mu - after.mu, 2)


as_stated = True
for model_class in (PlackettLuce, BradleyTerryFull, ThurstoneMostellerFull):
    narrow, crushed = loss(model_class, [9, 10]), loss(model_class, [0, 10])
    print(f"{model_class.__name__}: a favourite who loses 9:10 falls {narrow}, 0:10 {crushed}")
    as_stated = as_stated and crushed < narrow
if not as_stated or loss(PlackettLuce, [0, 10]) != 0.5:
    sys.exit("CHANGED: this is not what the top of this script says")
print("AS STATED: the more clearly a favourite loses, the less is lost")
PY
timeout 60 venv/bin/python check.py
