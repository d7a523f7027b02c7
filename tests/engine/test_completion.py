"""Completion in the shells that this machine need not have: in a container that has them. (bash: unit/test_tasks.py.)"""

from __future__ import annotations

import site
from collections.abc import Iterator

import pexpect
import pytest
from kit.engines import Engine
from kit.repos import Desk, new_image

pytestmark = pytest.mark.long

SHELLS = """\
FROM {base}
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends zsh fish python3 >/dev/null
RUN printf '#!/bin/sh\\nexec python3 -m invoke "$@"\\n' > /usr/local/bin/invoke && chmod 755 /usr/local/bin/invoke
WORKDIR /repo
"""
FISH = "invoke --print-completion-script fish | source; complete --do-complete 'invoke {typed}'"


@pytest.fixture(scope="module")
def image(engine28: Engine) -> Iterator[str]:
    name = f"{new_image()}-shells:1"
    engine28.build(SHELLS.format(base=engine28.run_base), name)
    yield name


def options(tiny: Desk, image: str) -> list[str]:
    """docker run's, for a shell in the repo with this Python's packages."""
    mounts = [f"--volume={tiny.repo.path}:/repo:ro", f"--volume={site.getsitepackages()[0]}:/packages:ro"]
    return ["run", "--rm", *mounts, "--env=PYTHONPATH=/packages", "--env=PYTHONDONTWRITEBYTECODE=1", image]


@pytest.mark.parametrize(("typed", "words"), [("bui", ["build"]), ("at", ["attach"]), ("build --no-c", ["--no-cache"])])
def test_fish(tiny: Desk, image: str, typed: str, words: list[str]) -> None:
    assert tiny.docker(*options(tiny, image), "fish", "--command", FISH.format(typed=typed)).split() == words


def test_zsh(tiny: Desk, image: str) -> None:
    """It completes a task's name, on a terminal; Invoke's own script for zsh knows no more than these."""
    before, *rest = options(tiny, image)
    words = [before, "--interactive", "--tty", *rest, "zsh", "-f"]
    child: pexpect.spawn[str] = pexpect.spawn("docker", words, env=tiny.engine.env, timeout=300, encoding="utf-8", dimensions=(40, 200))
    try:
        child.expect("# ")
        child.send('source <(invoke --print-completion-script zsh); PS1="rea""dy> "\r')
        child.expect_exact("ready> ")
        child.send("invoke bui\t")
        child.expect_exact("uild")
    finally:
        child.close(force=True)
