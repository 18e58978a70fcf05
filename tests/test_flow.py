"""Rows flow one way: every import inside the package points to an earlier room."""

import ast
from pathlib import Path

import pytest
from conftest import tree_of

import instag_hf

PACKAGE = Path(instag_hf.__file__).parent
ROOMS = (
    "errors rows prompts parsing replies engines tagger embeddings normalizer analysis agreement charts quality "
    "selection training mtbench cards hub serving pipeline app testing cli"
).split()
ORDER = {room: place for place, room in enumerate(ROOMS)}


def room_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_rooms(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = (
                [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "instag_hf" else [node.module]
            )
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("instag_hf."))


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_upstream(path):
    room = room_of(path)
    if room in {"__init__", "metrics"}:
        return
    assert room in ORDER, f"{room} is not a room"
    for other in imported_rooms(tree_of(path)):
        if other in {"__version__", room}:
            continue
        assert ORDER[other] < ORDER[room], f"{room} imports {other}, which is downstream"


def test_no_room_is_longer_than_about_400_lines():
    for path in PACKAGE.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 420, path
