#!/usr/bin/env bash
# pygltflib 1.16.5 loads a glTF file and saves it again, as a game's build step does to rename or
# compress something. One expects a valid file to keep what was not touched. Two parts that the
# specification has are dropped without a word: the weights of a node, which say how far this
# instance of a mesh is morphed, so that an open mouth is closed afterwards; and the extras of the
# asset, where exporters write the author, the license and the source that have to be named
# wherever the model is shown. Extras everywhere else, and the weights of the mesh, are kept.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pygltflib==1.16.5
cat >check.py <<'PY'
import importlib.metadata
import json
import pathlib
import sys

from pygltflib import GLTF2

print("pygltflib", importlib.metadata.version("pygltflib"))
model = {
    "asset": {"version": "2.0", "extras": {"author": "Somebody", "license": "CC-BY-4.0"}},
    "scene": 0,
    "scenes": [{"nodes": [0], "extras": {"kind": "hall"}}],
    "nodes": [{"mesh": 0, "weights": [0.75], "extras": {"health": 0}}],
    "meshes": [
        {
            "primitives": [{"attributes": {"POSITION": 0}, "targets": [{"POSITION": 0}]}],
            "weights": [0.25],
            "extras": {"targetNames": ["open mouth"]},
        }
    ],
    "accessors": [
        {"componentType": 5126, "count": 1, "type": "VEC3", "min": [0, 0, 0], "max": [0, 0, 0]}
    ],
}
pathlib.Path("in.gltf").write_text(json.dumps(model))
GLTF2().load("in.gltf").save("out.gltf")
saved = json.loads(pathlib.Path("out.gltf").read_text())

lost = []
for path in (
    ("asset", "extras"),
    ("scenes", 0, "extras"),
    ("nodes", 0, "weights"),
    ("nodes", 0, "extras"),
    ("meshes", 0, "weights"),
    ("meshes", 0, "extras"),
):
    before, after = model, saved
    for step in path:
        before = before[step]
        after = after.get(step) if isinstance(after, dict) else after[step]
    print(*path, "was", before, "is", after)
    if before != after:
        lost.append(path)
if lost != [("asset", "extras"), ("nodes", 0, "weights")]:
    sys.exit(f"CHANGED: lost is {lost}")
print("AS STATED: the author and a node's weights are gone")
PY
timeout 60 venv/bin/python check.py
