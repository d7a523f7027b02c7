"""Repos without an engine: what the tests in this folder stand on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from kit.engines import NOT_OURS, ROOT
from kit.repos import TINY_CONFIG, Repo, Result, new_repo

# tasks.py takes its variables out of the environment when it is imported; the tests of other folders need them.
sys.path.insert(0, str(ROOT))
before = dict(os.environ)
from invoke.exceptions import Exit  # noqa: E402

import tasks  # noqa: E402

os.environ.update(before)

settings.register_profile("unit", deadline=None, derandomize=True, max_examples=100)
settings.load_profile("unit")


def plain_environment(home: Path) -> dict[str, str]:
    """The environment without what the person who runs the tests has set, and with a home of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(NOT_OURS)}
    return {**kept, "HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1", "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture(autouse=True)
def nobody(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the user's git configuration or CI's variables."""
    home = tmp_path_factory.mktemp("home")
    for name in list(os.environ):
        if name.startswith(NOT_OURS):
            monkeypatch.delenv(name)
    for name, value in plain_environment(home).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tasks, "ENVIRONMENT", {})


@dataclass(frozen=True)
class Shell:
    """A person without docker in the repo at path."""

    path: Path
    repo: Repo

    def python(self, *args: str, code: int = 0, cwd: str = ".", env: Mapping[str, str] | None = None) -> Result:
        """Run python ARGS in the repo; code is the exit code it must have."""
        done = subprocess.run(
            [sys.executable, *args],
            cwd=self.path / cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, f"{args} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return Result(done.returncode, done.stdout.strip(), done.stderr.strip())

    def invoke(self, *args: str, code: int = 0, cwd: str = ".", env: Mapping[str, str] | None = None) -> Result:
        return self.python("-m", "invoke", *args, code=code, cwd=cwd, env=env)

    def config(self, *args: str, cwd: str = ".", env: Mapping[str, str] | None = None) -> dict[str, tuple[str, str]]:
        """What `invoke ARGS config` shows: setting -> value and source."""
        return rows(self.invoke(*args, "config", cwd=cwd, env=env).out)


def rows(text: str) -> dict[str, tuple[str, str]]:
    """The rows of `invoke config`: setting -> value and source."""
    cells: list[Sequence[str]] = [[c.strip() for c in line.split("  ") if c.strip()] for line in text.splitlines()]
    return {row[0]: (row[1], row[2]) for row in cells}


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    """A git repository with one commit of the vendored files and a rebar.config."""
    made = new_repo(tmp_path / "project")
    made.write("rebar.config", TINY_CONFIG)
    made.commit("first")
    return made


@pytest.fixture
def shell(repo: Repo) -> Shell:
    return Shell(repo.path, repo)


def project(root: Path, release: str = "tiny", commit: str = "c" * 40, dirty: Sequence[str] = (), **given: Any) -> tasks.Project:
    """A project with these settings, of no repository."""
    tree = tasks.Tree(commit, "main", tuple(dirty))
    version = given.pop("version_term", "1.0")
    return tasks.Project(root, tasks.Settings(**given), {}, tasks.Release(release, version, 1), False, tree)


def said(error: pytest.ExceptionInfo[Exit]) -> str:
    """The text of a failure."""
    return str(error.value.message)
