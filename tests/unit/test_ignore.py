"""Ignore files, in short: tests/engine/test_ignore.py holds the reading of them against BuildKit's."""

from __future__ import annotations

from pathlib import Path

import kit.rooms  # noqa: F401
import pytest

from ci.beamdock.ignore import ignore_file, read_ignore


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
    assert ignore_file(tmp_path, "Dockerfile.beamdock") is None
    (tmp_path / ".dockerignore").touch()
    assert ignore_file(tmp_path, "Dockerfile.beamdock") == tmp_path / ".dockerignore"
    (tmp_path / "Dockerfile.beamdock.dockerignore").touch()
    assert ignore_file(tmp_path, "Dockerfile.beamdock") == tmp_path / "Dockerfile.beamdock.dockerignore"
