"""Repos without an engine: what the tests in this folder stand on."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Optional

import pytest
from hypothesis import settings
from invoke.exceptions import Exit
from invoke.main import program
from kit.engines import NOT_OURS, ROOT
from kit.repos import TINY_CONFIG, Repo, Result, new_repo

import tasks
from ci.beamdock.consult import TermFile
from ci.beamdock.docker import Builder
from ci.beamdock.git import Tree
from ci.beamdock.model import LOADED, Build, Request
from ci.beamdock.plans import parse_arguments, plan_build
from ci.beamdock.project import Project
from ci.beamdock.rebar import Release, read_config
from ci.beamdock.settings import Settings

settings.register_profile("unit", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("unit")


def plain_environment(home: Path) -> dict[str, str]:
    """The environment without what the person who runs the tests has set, and with a home of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(NOT_OURS)}
    return {**kept, "HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1", "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture(scope="session")
def home_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def nobody(home_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the user's git configuration or CI's variables."""
    for name in list(os.environ):
        if name.startswith(NOT_OURS):
            monkeypatch.delenv(name)
    for name, value in plain_environment(home_folder).items():
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
        return ended(Result(done.returncode, done.stdout.strip(), done.stderr.strip()), args, code)

    def invoke(self, *args: str, code: int = 0, cwd: str = ".", env: Mapping[str, str] | None = None) -> Result:
        """Run `invoke ARGS` in the repo, in a fork of this process: Python and Invoke are loaded already."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = os.fork()
            if not child:
                with Path(os.devnull).open() as nothing:
                    streams = (nothing.fileno(), out.fileno(), err.fileno())
                    become_invoke(args, self.path / cwd, {**os.environ, **(env or {})}, streams)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode().strip())
        return ended(Result(status, *texts), args, code)

    def config(self, *args: str, cwd: str = ".", env: Mapping[str, str] | None = None) -> dict[str, tuple[str, str]]:
        """What `invoke ARGS config` shows: setting -> value and source."""
        return rows(self.invoke(*args, "config", cwd=cwd, env=env).out)


def ended(done: Result, args: Sequence[str], code: int) -> Result:
    assert done.code == code, f"{args} ended with {done.code}\n{done.out}\n{done.err}"
    assert "Traceback" not in done.err, done.err
    return done


def become_invoke(args: Sequence[str], cwd: Path, env: Mapping[str, str], streams: Sequence[Optional[int]], package: str = "-") -> NoReturn:
    """In a fork: what `python -m invoke ARGS` is in that folder. Nothing of this process's tasks.py is left. streams: what stdin,
    stdout and stderr are, None for closed; package: the rooms that are loaded already, by the name that this folder's have."""
    code = 1
    try:
        for number, (stream, name, mode) in enumerate(zip(streams, ("stdin", "stdout", "stderr"), "rww")):
            if stream is None:
                os.close(number)
            else:
                os.dup2(stream, number)
            opened = None if stream is None else os.fdopen(number, mode, encoding=env.get("PYTHONIOENCODING"), closefd=False)
            setattr(sys, name, opened)
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(env)
        sys.path[:] = [str(cwd), *(p for p in sys.path if Path(p) not in (ROOT, ROOT / "tests"))]
        for name in [n for n in sys.modules if re.match(rf"(tasks|ci)$|ci\.|beamdock_(?!{package[9:]})", n)]:
            del sys.modules[name]
        importlib.invalidate_caches()
        sys.argv = ["invoke", *args]
        program.run()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            print(end="", flush=True)
            print(end="", flush=True, file=sys.stderr)
        except OSError:
            code = 120  # as Python ends
        os._exit(code)


def rows(text: str) -> dict[str, tuple[str, str]]:
    """The rows of `invoke config`: setting -> value and source."""
    cells: list[Sequence[str]] = [[c.strip() for c in line.split("  ") if c.strip()] for line in text.splitlines()]
    return {row[0]: (row[1], row[2]) for row in cells}


def copied(repo: Repo, path: Path) -> Repo:
    """The same repository at another path: a copy takes no git."""
    shutil.copytree(repo.path, path, symlinks=True)
    return Repo(path, repo.image)


@pytest.fixture(scope="session")
def first_repo(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """What `repo` is a copy of."""
    made = new_repo(tmp_path_factory.mktemp("first") / "project", "main")
    shutil.rmtree(made.path / ".git" / "hooks", ignore_errors=True)
    made.write("rebar.config", TINY_CONFIG)
    made.commit("first")
    return made


DOCKERFILE = (ROOT / "Dockerfile").read_text()


@pytest.fixture
def repo(first_repo: Repo, tmp_path: Path) -> Repo:
    """A git repository with one commit of the vendored files and a rebar.config."""
    return copied(first_repo, tmp_path / "project")


@pytest.fixture
def shell(repo: Repo) -> Shell:
    return Shell(repo.path, repo)


def project(root: Path, release: str = "tiny", commit: str = "c" * 40, dirty: Sequence[str] = (), **given: Any) -> Project:
    """A project with these settings, of no repository."""
    tree = Tree(commit, "main", tuple(dirty))
    version = given.pop("version_term", "1.0")
    there = root / "Dockerfile"
    dockerfile = given.pop("dockerfile_text", there.read_text() if there.exists() else DOCKERFILE)
    config = read_config(root) if (root / "rebar.config").exists() else TermFile(b"", [])
    return Project(root, Settings(**given), {}, config, Release(release, version, 1), False, tree, dockerfile, os.environ)


# What runs the builds at most desks: the engine itself.
DESK = Builder("docker", direct=False)


def request(target: str = "runner", tags: Sequence[str] = (), **given: Any) -> Request:
    """What a task asks for. given: further fields; build_arg as the flag has it."""
    arguments = parse_arguments(given.pop("build_arg", ()))
    return Request(**{"target": target, "output": LOADED, "tags": tuple(tags), "build_args": arguments, **given})


def plan(root: Path, flags: dict[str, Any] | None = None, target: str = "runner", tags: list[str] | None = None, **given: Any) -> Build:
    """A build that was asked for, planned. flags: fields of the request; given: settings."""
    return plan_build(project(root, **given), request(target, tags or ["main"], **(flags or {})))


def said(error: pytest.ExceptionInfo[Exit]) -> str:
    """The text of a failure."""
    return str(error.value.message)
