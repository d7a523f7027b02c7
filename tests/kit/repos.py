"""Repos as teams have them, and a desk: such a repo, in front of an engine, with a person who types `invoke`."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from kit.engines import ROOT, Engine, engine_at, poll
from kit.registry import Registry


@dataclass(frozen=True)
class Repo:
    """A team's repo with the vendored files in it, and an image name of its own."""

    path: Path
    image: str
    env: dict[str, str] = field(default_factory=dict)
    branch: str = "main"  # where it counts, of its own too: containers are called IMAGE-BRANCH

    def git(self, *args: str) -> str:
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false", "-c", "gc.auto=0"]
        return subprocess.run(
            ["git", *identity, *args], cwd=self.path, env={**os.environ, **self.env}, capture_output=True, text=True, check=True
        ).stdout.strip()

    def commit(self, message: str = "change") -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.head

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    def write(self, name: str, text: str) -> None:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.path / name).read_text()
        assert old in text
        self.write(name, text.replace(old, new))

    def settings(self, text: str = "") -> None:
        """Write invoke.yaml: the image's name, and these lines."""
        self.write("invoke.yaml", f"beamdock:\n  image: {self.image}\n{text}")

    def everything(self) -> dict[str, bytes]:
        """Every file there is, except git's own, and the bytecode that loading the rooms leaves."""
        files = (f for f in self.path.rglob("*") if f.is_file() and not {".git", "bytecode"} & set(f.parts))
        return {str(f.relative_to(self.path)): f.read_bytes() for f in files}


@dataclass(frozen=True)
class Result:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def steps(self) -> list[str]:
        """The RUN steps that BuildKit really ran, each by its stage: what was neither cached, of its plain progress, nor pulled."""
        found = dict(re.findall(r"^#(\d+) \[(\S+) +\d+/\d+\] RUN ", self.err, re.MULTILINE))
        cached, pulled, wrote = (
            set(re.findall(rf"^#(\d+) {what}", self.err, re.MULTILINE)) for what in ("CACHED", "(?:extracting )?sha256:", r"[\d.]+ ")
        )
        return sorted(stage for number, stage in found.items() if number not in cached and number not in pulled - wrote)


def run(engine: Engine, repo: Repo, *words: str, code: int = 0, cwd: str = ".", env: dict[str, str] | None = None) -> Result:
    """Run a command in the repo; code is the exit code it must have. Of env, an empty value removes the variable."""
    # All of BuildKit's plain progress: Result.steps reads it.
    merged = {"BUILDKIT_PROGRESS": "plain", **engine.env, **repo.env, **(env or {})}
    done = subprocess.run(
        words,
        cwd=repo.path / cwd,
        env={name: value for name, value in merged.items() if value or name not in (env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, f"{shlex.join(words)} ended with {done.returncode}\n{done.stdout}\n{done.stderr[-3000:]}"
    assert "Traceback" not in done.stderr, done.stderr
    return Result(done.returncode, done.stdout.strip(), done.stderr.strip())


# What makes a machine a CI's.
CI = {"CI": "true"}


@dataclass(frozen=True)
class Desk:
    """A repo in front of an engine."""

    engine: Engine
    repo: Repo

    def invoke(self, *args: str, code: int = 0, cwd: str = ".", env: dict[str, str] | None = None) -> Result:
        """Run `invoke ARGS` in the repo as a person would."""
        return run(self.engine, self.repo, sys.executable, "-m", "invoke", *args, code=code, cwd=cwd, env=env)

    def sh(self, command: str, code: int = 0) -> Result:
        """Run a line of shell in the repo."""
        return run(self.engine, self.repo, "sh", "-c", command, code=code)

    def docker(self, *args: str, check: bool = True) -> str:
        return self.engine.docker(*args, check=check)

    def reference(self, tag: str = "") -> str:
        return f"{self.repo.image}:{tag or self.repo.branch}"

    @property
    def images(self) -> set[str]:
        return self.engine.images(self.repo.image)

    def tags(self) -> set[str]:
        """Those that the registry has of the repo's image."""
        return Registry(self.engine.registry).tags(f"test/{self.repo.image}")

    def key(self) -> str:
        """That of the dependencies."""
        return self.invoke("deps-image", "--key").out

    def containers(self, *options: str) -> list[str]:
        """The ids of the repo's containers, in any state."""
        return self.docker("ps", "--all", "--quiet", "--no-trunc", f"--filter=label=beamdock.project={self.repo.image}", *options).split()

    def start(self, *args: str) -> str:
        """Start a container in the background and wait for its node, as the task does, and longer on a busy machine; its id."""
        done = self.invoke("run", "--detach", *args)
        if "does not answer yet" in done.err:
            self.answers(done.out)
        return done.out

    def node(self, container: str, *args: str) -> str:
        """What the release's start script says in a running container."""
        return self.docker("exec", container, "/release", *args, check=False)

    def answers(self, container: str) -> None:
        poll(lambda: self.node(container, "ping") == "pong")

    def sweep(self) -> None:
        """Remove the containers."""
        if found := self.containers():
            self.docker("rm", "--force", *found)


def refused(desk: Desk, *args: str, code: int = 2, env: dict[str, str] | None = None, cwd: str = ".") -> tuple[str, str]:
    """Error and hint of a task that must change nothing."""
    before = desk.repo.everything()
    done = desk.invoke(*args, code=code, env=env, cwd=cwd)
    assert done.out == ""
    lines = done.err.splitlines()
    assert [line.partition(": ")[0] for line in lines[-2:]] == ["error", "hint"], done.err
    assert desk.repo.everything() == before
    assert desk.images == set()
    return lines[-2].partition(": ")[2], lines[-1].partition(": ")[2]


# This run of the tests, in all of its processes: what its images' names begin with.
RUN = os.environ.setdefault("BEAMDOCK_TESTS", f"t{uuid.uuid4().hex[:6]}")


def new_image() -> str:
    """A name that no other test's image has."""
    return f"{RUN}{uuid.uuid4().hex[:8]}"


def vendor(path: Path) -> None:
    """Copy what a team copies: three files, and the folder ci/beamdock."""
    for name in (
        "tasks.py",
        "Dockerfile",
        ".dockerignore",
        *(f"ci/beamdock/{file.name}" for file in (ROOT / "ci" / "beamdock").glob("*.py")),
    ):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes((ROOT / name).read_bytes())


def new_repo(path: Path, branch: str = "") -> Repo:
    """A git repository at path, with the vendored files and an image name that no other test has."""
    path.mkdir(parents=True)
    image = new_image()
    repo = Repo(path, image, branch=branch or f"b-{image}")
    vendor(path)
    repo.settings()
    repo.write(".gitignore", "_build/\n__pycache__/\n")
    repo.git("init", "--quiet", f"--initial-branch={repo.branch}")
    return repo


TINY_CONFIG = """\
{erl_opts, [debug_info]}.
{relx, [{release, {tiny, {git, long}}, [tiny, sasl]}, {vm_args_src, "config/vm.args.src"}, {extended_start_script, true}]}.
{profiles, [{prod, [{relx, [{dev_mode, false}, {include_erts, true}, {include_src, false}, {debug_info, strip}]}]}]}.
"""


# A Dockerfile whose image is what the build was given: it takes no time.
PLAIN = """\
FROM scratch AS git
FROM scratch AS deps
FROM scratch AS builder
COPY --from=deps / /deps/
FROM builder AS runner
COPY --from=git / /git/
COPY . /app/
"""


@contextmanager
def tiny_repo(folder: Path) -> Iterator[Repo]:
    """The smallest release that boots: one application, one module, committed."""
    repo = new_repo(folder / "tiny")
    repo.write("rebar.config", TINY_CONFIG)
    repo.write("rebar.lock", "[].\n")
    repo.write("config/vm.args.src", "-sname tiny\n")
    repo.write("src/tiny.app.src", '{application, tiny, [{description, "tiny"}, {vsn, "1"}, {applications, [kernel, stdlib]}]}.\n')
    repo.write("src/tiny.erl", "-module(tiny).\n-export([answer/0]).\nanswer() -> 42.\n")
    repo.commit("tiny")
    try:
        yield repo
    finally:
        forget(repo.image)


@contextmanager
def service_repo(folder: Path) -> Iterator[Repo]:
    """The reference service in a repo of its own, committed."""
    repo = new_repo(folder / "service")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "rebar.*", "apps", "config"]
    for name in filter(None, subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")):
        if (ROOT / name).exists():
            repo.write(name, (ROOT / name).read_text())
    repo.commit("the reference service")
    try:
        yield repo
    finally:
        forget(repo.image)


def shared_engines() -> list[Engine]:
    """Those that are up: `ci/test --quick` has one."""
    return [engine_at(variable) for variable in ("TEST_ENGINE_28", "TEST_ENGINE_26") if variable in os.environ]


def forget(image: str) -> None:
    """Remove the containers and what is in the registry. Images stay until all tests have ended (sweep): where one is removed
    while another is unpacked, the engine may lose a layer of the second (moby/buildkit#6521)."""
    for engine in shared_engines():
        if left := engine.docker("ps", "--all", "--quiet", f"--filter=label=beamdock.project={image}").split():
            engine.docker("rm", "--force", "--volumes", *left, check=False)  # some may just be going by themselves
    Registry(engine_at("TEST_ENGINE_28").registry).remove(f"test/{image}")


def sweep() -> None:
    """Remove this run's images, on both engines, and those that lost their names."""
    for engine in shared_engines():
        if named := [r for r in engine.references() if re.search(rf"(^|/)[a-z-]*{RUN}", r)]:
            engine.docker("rmi", "--force", *named)
        engine.docker("image", "prune", "--force")
