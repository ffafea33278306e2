#!/usr/bin/env bash
# PyTMX 3.32 loads maps of the editor Tiled; its `visible_layers` is what a game draws. One
# expects what the editor shows. A layer inside a hidden group is drawn all the same, and at full
# strength in a faded one, at a place as if the group had not been moved, since of a group's
# settings nothing reaches its layers and no layer knows its group. And objects that are made from
# a template have neither name, type, size nor properties, only where they stand and what this one
# object changes: the template is not read at all, and there is no error. pytiled_parser 2.2.9
# reads both in the same file.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check PyTMX==3.32 pytiled_parser==2.2.9
cat >check.py <<'PY'
import importlib.metadata
import pathlib
import sys

import pytiled_parser
import pytmx

for name in ("PyTMX", "pytiled_parser"):
    print(name, importlib.metadata.version(name))
pathlib.Path("chest.tx").write_text(
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<template><object name="chest" type="container" width="16" height="16">'
    '<properties><property name="gold" type="int" value="5"/></properties></object></template>'
)
tiles = '<data encoding="csv">0,0,0,0</data>'
pathlib.Path("map.tmx").write_text(
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<map version="1.10" tiledversion="1.11.2" orientation="orthogonal" renderorder="right-down"'
    ' width="2" height="2" tilewidth="16" tileheight="16" infinite="0" nextlayerid="5"'
    ' nextobjectid="3">'
    '<group id="1" name="cellar" visible="0" opacity="0.5" offsetx="100" offsety="50">'
    f'<layer id="2" name="floor" width="2" height="2">{tiles}</layer></group>'
    f'<layer id="3" name="yard" width="2" height="2">{tiles}</layer>'
    '<objectgroup id="4" name="things"><object id="1" template="chest.tx" x="1" y="2"/>'
    '<object id="2" template="chest.tx" x="3" y="4"><properties>'
    '<property name="gold" type="int" value="9"/></properties></object></objectgroup></map>'
)

loaded = pytmx.TiledMap("map.tmx")
drawn = [layer.name for layer in loaded.visible_layers]
floor = loaded.get_layer_by_name("floor")
placed = (floor.visible, floor.opacity, floor.offsetx, floor.offsety)
chests = [
    (each.name, each.type, each.width, dict(each.properties)) for each in loaded.objects
]
print("PyTMX draws", drawn, "the floor is (visible, opacity, x, y)", placed)
print("PyTMX has chests", chests)

parsed = pytiled_parser.parse_map(pathlib.Path("map.tmx"))
group, _, things = parsed.layers
other_group = (group.visible, group.opacity, *group.offset, [each.name for each in group.layers])
other_chests = [
    (each.name, each.class_, each.size.width, each.properties) for each in things.tiled_objects
]
print("pytiled_parser has the group", other_group)
print("pytiled_parser has chests", other_chests)

as_stated = (
    "floor" in drawn
    and placed == (True, 1, 0, 0)
    and chests == [(None, None, 0, {}), (None, None, 0, {"gold": 9})]
    and other_group == (False, 0.5, 100, 50, ["floor"])
    and other_chests
    == [("chest", "container", 16, {"gold": 5}), ("chest", "container", 16, {"gold": 9})]
)
if not as_stated:
    sys.exit("CHANGED: this is not what the top of this script says")
print("AS STATED: hidden groups are drawn, and templates are not read")
PY
timeout 60 venv/bin/python check.py
