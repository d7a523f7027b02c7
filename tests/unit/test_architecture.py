"""docs/architecture.md lists the rooms in layers, and each room imports only rooms of the layers above its own."""

from __future__ import annotations

import ast
import re

import pytest
from kit.engines import ROOT
from kit.rooms import ROOMS

LIST = (ROOT / "docs/architecture.md").read_text().partition("\n## The rooms\n")[2].partition("\n## ")[0]
LAYERS = {
    room: number
    for number, layer in enumerate(re.split(r"^\*\*\d+\. ", LIST, flags=re.MULTILINE))
    for room in re.findall(r"^- `(\w+)`: .", layer, re.MULTILINE)
}


def imported(room: str) -> set[str]:
    """The rooms that a room imports, anywhere in it."""
    tree = ast.parse((ROOT / f"ci/beamdock/{room}.py").read_text())
    found = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]
    return {name for node in found for name in ([node.module] if node.module else [alias.name for alias in node.names])}


def test_each_room_has_one_place() -> None:
    assert sorted(re.findall(r"^- `(\w+)`: .", LIST, re.MULTILINE)) == ROOMS


@pytest.mark.parametrize("room", ROOMS)
def test_imports_run_one_way(room: str) -> None:
    assert {name for name in imported(room) if LAYERS[name] >= LAYERS[room]} == set()


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_what_a_page_names_is_there(page: str) -> None:
    """ROOM.NAME, and `NAME` in `ci/beamdock/ROOM.py`."""
    text = (ROOT / page).read_text()
    named = re.findall(rf"(?<![\w/])({'|'.join(ROOMS)})\.(?!(?:py|config|lock)\b)([a-z]\w+)", text)
    named += [(room, name) for name, room in re.findall(r"`(\w+)` in\s+`ci/beamdock/(\w+)\.py`", text)]
    assert named
    for room, name in named:
        assert re.search(rf"^(def |class )?{name}\b", (ROOT / f"ci/beamdock/{room}.py").read_text(), re.MULTILINE), f"{room}.{name}"
