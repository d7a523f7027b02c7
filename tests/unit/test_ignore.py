"""Ignore files, in short: tests/engine/test_ignore.py holds the reading of them against BuildKit's."""

from __future__ import annotations

from pathlib import Path

import kit.rooms  # noqa: F401
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.beamdock.ignore import find_ignore_file, read_ignore


@pytest.mark.parametrize(
    ("text", "path", "out"),
    [
        ("docs", "docs/a/b.md", True),
        ("docs\n!docs/a", "docs/a/b.md", False),
        ("!docs/a\ndocs", "docs/a/b.md", True),
        ("**/*.md", "README.md", True),
        ("*.md", "docs/a.md", False),
        ("/a/\n#b", "a/x", True),
        ("**/.env", "_checkouts/x/.env", True),
        ("[", "[", False),
        ("", "a", False),
    ],
)
def test_the_last_pattern_that_matches_a_path_or_a_folder_above_it_decides(text: str, path: str, out: bool) -> None:
    assert read_ignore(text).excludes(path) is out


def test_the_ignore_file_with_the_dockerfiles_name_counts(tmp_path: Path) -> None:
    assert find_ignore_file(tmp_path, "Dockerfile.beamdock") is None
    (tmp_path / ".dockerignore").touch()
    assert find_ignore_file(tmp_path, "Dockerfile.beamdock") == tmp_path / ".dockerignore"
    (tmp_path / "Dockerfile.beamdock.dockerignore").touch()
    assert find_ignore_file(tmp_path, "Dockerfile.beamdock") == tmp_path / "Dockerfile.beamdock.dockerignore"


PARTS = st.lists(st.sampled_from(["a", "b", "ab", "*", "**", "a*", "[ab]", "?"]), min_size=1, max_size=3).map("/".join)
PATHS = st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=3).map("/".join)


@given(st.lists(st.tuples(st.sampled_from(["", "!"]), PARTS).map("".join), max_size=4), PATHS, PATHS)
def test_a_folder_that_need_not_be_looked_into(patterns: list[str], folder: str, below: str) -> None:
    """Where all of it is said to be kept out, each path in it is."""
    rules = read_ignore("\n".join(patterns))
    assert not rules.excludes_all(folder) or rules.excludes(f"{folder}/{below}")


def test_a_folder_is_looked_into_only_for_what_may_be_let_in() -> None:
    rules = read_ignore("_build\ndocs\nx\n!docs/schema.json\n")
    assert [rules.excludes_all(name) for name in ("_build", "docs", "x", "src")] == [True, False, True, False]
    assert not read_ignore("_build\n!**/*.json\n").excludes_all("_build")
