"""Docker engines that the tests stand on, and what to ask of them."""

from __future__ import annotations

import fcntl
import functools
import os
import shlex
import subprocess
import tarfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Callable, TypeVar

import pytest

ROOT = Path(__file__).parents[2]
# Variables of the person who runs the tests that would change what they see.
NOT_OURS = ("DOCKER_", "BUILDX_", "BUILDKIT_", "INVOKE_", "CI", "GITHUB_", "GIT_", "NO_COLOR", "XDG_")
Found = TypeVar("Found")

# Of a test on each engine: what concerns the older one little is long there.
SECOND_IS_LONG = pytest.mark.parametrize(
    "engine",
    [pytest.param("TEST_ENGINE_28", id="engine28"), pytest.param("TEST_ENGINE_26", id="engine26", marks=pytest.mark.long)],
    indirect=True,
    scope="session",
)


def long(cases: Iterable[str], *named: str) -> list[object]:
    """The cases of a test, those named as long."""
    return [pytest.param(case, marks=pytest.mark.long) if case in named else case for case in cases]


def poll(ask: Callable[[], Found], seconds: float = 300) -> Found:
    """The first true answer; a failure when there is none in minutes: a machine may be busy, and where all is well that costs nothing."""
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
    state: Path
    env: dict[str, str]

    def docker(self, *args: str, check: bool = True) -> str:
        """docker's stdout; without check, whatever it said and however it ended."""
        done = subprocess.run(["docker", *args], env=self.env, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"docker {shlex.join(args)}: {done.stderr}"
        return done.stdout.strip()

    @property
    def registry(self) -> str:
        return self.env["ENGINE_REGISTRY"]

    @property
    def run_base(self) -> str:
        return self.env["INVOKE_BEAMDOCK_RUN_BASE"]

    @property
    def build_base(self) -> str:
        return self.env["INVOKE_BEAMDOCK_BUILD_BASE"]

    def build(self, dockerfile: str, tag: str) -> str:
        """An image of a Dockerfile alone, without tasks.py."""
        with TemporaryDirectory() as folder:  # buildx leaves what it makes of `-` in /tmp
            Path(folder, "Dockerfile").write_text(dockerfile)
            self.docker("build", "--quiet", "--provenance=false", f"--tag={tag}", folder)
        return tag

    def ids(self, *references: str) -> list[str]:
        return [self.docker("image", "inspect", "--format={{.Id}}", reference) for reference in references]

    def references(self) -> list[str]:
        """Those of all images. docker can't list them while one goes at the same time, on the containerd store."""

        def listed() -> list[str]:
            ask = ["docker", "image", "ls", "--format={{.Repository}}:{{.Tag}}"]
            done = subprocess.run(ask, env=self.env, capture_output=True, text=True, check=False)
            return ["", *done.stdout.split()] if done.returncode == 0 else []

        return poll(listed)[1:]

    def images(self, repository: str) -> set[str]:
        """The references of a repository that this engine holds."""
        return set(self.docker("image", "ls", "--format={{.Repository}}:{{.Tag}}", repository).split())

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One process's at a time, of those that ask."""
        with (self.state / "test.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def exported(self, image: str) -> Iterator[tarfile.TarFile]:
        """The file system of an image, as a tar file."""
        with TemporaryDirectory() as folder:
            container = self.docker("create", image, "/nothing")
            try:
                self.docker("export", f"--output={folder}/fs.tar", container)
            finally:
                self.docker("rm", container)
            with tarfile.open(f"{folder}/fs.tar") as tar:
                yield tar

    def names(self, image: str) -> set[str]:
        """All paths of an image's file system, without the leading slash."""
        with self.exported(image) as tar:
            return set(tar.getnames())


@functools.cache
def engine_at(variable: str) -> Engine:
    """The engine whose state folder ci/test has put into this variable."""
    state = os.environ[variable]
    clean = {n: v for n, v in os.environ.items() if not n.startswith(NOT_OURS)}
    exports = subprocess.run(
        [ROOT / "ci/engine", "env"], env={**clean, "ENGINE_STATE": state, "ENGINE_PRIVATE": "1"}, capture_output=True, text=True, check=True
    ).stdout
    printed = subprocess.run(["bash", "-c", f"{exports}\nenv -0"], env=clean, capture_output=True, text=True, check=True).stdout
    return Engine(variable, Path(state), dict(pair.split("=", 1) for pair in printed.split("\0") if "=" in pair))


@functools.cache
def shared_engine(variable: str) -> Engine:
    """The same, for tests that go side by side: it has built, while no test ran on it, what is the same in each project's build.

    A step that a build has run, and that a longer build beside it shares, lets the builds after it find nothing on top of it
    (https://github.com/moby/buildkit/pull/6954): the tests of what a second build runs fail on an engine that is new.
    """
    engine = engine_at(variable)
    bases = [f"--build-arg=BUILD_BASE={engine.build_base}", f"--build-arg=RUN_BASE={engine.run_base}"]
    no_project = f"--build-context=builder=docker-image://{engine.build_base}"
    with engine.alone():
        for stage in ("base", "release_scripts", "runner_base", "check_script"):
            engine.docker("buildx", "build", f"--target={stage}", *bases, no_project, "--output=type=cacheonly", str(ROOT))
    return engine
