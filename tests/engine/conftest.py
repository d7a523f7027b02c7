"""Real engines, real repos: what the tests in this folder stand on. ci/test starts the engines and says where they are."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, TypeVar

import pytest

ROOT = Path(__file__).parents[2]
Found = TypeVar("Found")


def poll(ask: Callable[[], Found], seconds: float = 30) -> Found:
    """The first true answer; a failure when there is none in time."""
    until = time.monotonic() + seconds
    while True:
        if answer := ask():
            return answer
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.1)


@dataclass(frozen=True)
class Engine:
    """A Docker engine, as environment variables for whatever is to use it."""

    name: str
    env: dict[str, str]

    def docker(self, *args: str, check: bool = True) -> str:
        done = subprocess.run(["docker", *args], env=self.env, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"docker {shlex.join(args)}: {done.stderr}"
        return done.stdout.strip()

    @property
    def registry(self) -> str:
        return self.env["ENGINE_REGISTRY"]


def engine_at(variable: str) -> Engine:
    """The engine whose state folder ci/test has put into this variable."""
    state = os.environ[variable]
    clean = {n: v for n, v in os.environ.items() if not n.startswith(("DOCKER_", "BUILDX_", "INVOKE_", "CI", "GITHUB_", "NO_COLOR"))}
    exports = subprocess.run(
        [ROOT / "ci/engine", "env"], env={**clean, "ENGINE_STATE": state, "ENGINE_PRIVATE": "1"}, capture_output=True, text=True, check=True
    ).stdout
    printed = subprocess.run(["bash", "-c", f"{exports}\nenv -0"], env=clean, capture_output=True, text=True, check=True).stdout
    return Engine(variable, dict(pair.split("=", 1) for pair in printed.split("\0") if "=" in pair))


@pytest.fixture(scope="session")
def engine28() -> Engine:
    """Engine 28 with the containerd image store."""
    return engine_at("TEST_ENGINE_28")


@pytest.fixture(scope="session")
def engine26() -> Engine:
    """Engine 26 with overlay2: the older half of the users."""
    return engine_at("TEST_ENGINE_26")


@pytest.fixture
def empty_engine() -> Iterator[Engine]:
    """A second machine, with no image and no cache on it."""
    engine = engine_at("TEST_ENGINE_EMPTY")
    yield engine
    engine.docker("system", "prune", "--all", "--force", "--volumes")


@pytest.fixture(params=["TEST_ENGINE_28", "TEST_ENGINE_26"], ids=["engine28", "engine26"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each of the two engines in turn."""
    return engine_at(request.param)


@dataclass(frozen=True)
class Repo:
    """A team's repo with the vendored files in it, and an image name of its own."""

    path: Path
    image: str
    env: dict[str, str] = field(default_factory=dict)

    def git(self, *args: str) -> str:
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
        return subprocess.run(["git", *identity, *args], cwd=self.path, capture_output=True, text=True, check=True).stdout.strip()

    def commit(self, message: str = "change") -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def write(self, name: str, text: str) -> None:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.path / name).read_text()
        assert old in text
        self.write(name, text.replace(old, new))


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


def invoke(engine: Engine, repo: Repo, *args: str, code: int = 0, cwd: str = ".", env: dict[str, str] | None = None) -> Result:
    """Run `invoke ARGS` in the repo as a person would; code is the exit code it must have."""
    done = subprocess.run(
        [sys.executable, "-m", "invoke", *args],
        cwd=repo.path / cwd,
        env={**engine.env, **repo.env, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, f"invoke {shlex.join(args)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return Result(done.returncode, done.stdout.strip(), done.stderr.strip())


def vendor(path: Path) -> None:
    """Copy what a team copies."""
    for name in ("tasks.py", "Dockerfile", ".dockerignore"):
        (path / name).write_bytes((ROOT / name).read_bytes())


def new_repo(path: Path) -> Repo:
    """A git repository at path, with the vendored files and an image name that no other test has."""
    path.mkdir(parents=True, exist_ok=True)
    vendor(path)
    repo = Repo(path, f"test-{uuid.uuid4().hex[:12]}")
    repo.write("invoke.yaml", f"beamdock:\n  image: {repo.image}\n")
    repo.write(".gitignore", "_build/\n__pycache__/\n")
    repo.git("init", "--quiet", "--initial-branch=main")
    return repo


def forget(image: str) -> None:
    """Remove what a test made, on every engine, by its label."""
    for variable in ("TEST_ENGINE_28", "TEST_ENGINE_26", "TEST_ENGINE_EMPTY"):
        engine = engine_at(variable)
        for kind, remove in (("container", ["rm", "--force"]), ("image", ["rmi", "--force"])):
            listed = engine.docker(kind, "ls", "--all", "--quiet", "--no-trunc", f"--filter=label=beamdock.project={image}").split()
            if listed:
                engine.docker(*remove, *sorted(set(listed)))
        named = [r for r in engine.docker("image", "ls", "--format={{.Repository}}:{{.Tag}}").split() if re.search(rf"(^|/){image}:", r)]
        if named:
            engine.docker("rmi", "--force", *named)


TINY_CONFIG = """\
{erl_opts, [debug_info]}.
{relx, [{release, {tiny, {git, long}}, [tiny, sasl]}, {vm_args_src, "config/vm.args.src"}, {extended_start_script, true}]}.
{profiles, [{prod, [{relx, [{dev_mode, false}, {include_erts, true}, {include_src, false}, {debug_info, strip}]}]}]}.
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Repo]:
    """The smallest release that boots: one application, one module, committed."""
    repo = new_repo(tmp_path / "tiny")
    repo.write("rebar.config", TINY_CONFIG)
    repo.write("rebar.lock", "[].\n")
    repo.write("config/vm.args.src", "-sname tiny\n")
    repo.write("src/tiny.app.src", '{application, tiny, [{description, "tiny"}, {vsn, "1"}, {applications, [kernel, stdlib]}]}.\n')
    repo.write("src/tiny.erl", "-module(tiny).\n-export([answer/0]).\nanswer() -> 42.\n")
    repo.commit("tiny")
    yield repo
    forget(repo.image)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repo]:
    """The reference service in a repo of its own, committed."""
    repo = new_repo(tmp_path_factory.mktemp("service") / "service")
    files = subprocess.run(
        ["git", "ls-files", "-z", "rebar.*", "apps", "config"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, files.split("\0")):
        repo.write(name, (ROOT / name).read_text())
    repo.commit("the reference service")
    yield repo
    forget(repo.image)
