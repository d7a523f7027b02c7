"""The same tasks.py and Dockerfile on every shape of repo: built, booted, asked and attached to; or refused in one sentence."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.engines import ROOT, Engine, poll
from kit.repos import Desk, forget, new_image
from kit.shapes import REFUSED, SHAPES, Shape
from kit.terminal import ask, leave, typing

TABLE = ROOT / "docs/shapes.md"
IMAGE = new_image()
# What another test of the plain run has as well, each with that test.
LONG = {
    "one application at the top": "each test of the smallest release",
    "umbrella": "test_incremental",
    "applications in lib/": "a submodule, in apps/",
    "several releases, one the default": "several releases; test_dockerfile: one of several",
    "version: a literal": "several releases",
    "version: {git, short}": "test_settings: from any folder; {git, long} in each other shape",
    "version: git": "test_build: a tag elsewhere",
    "application version: git": "version: semver",
    "release in the profile only": "a profile of another name",
    "{mode, prod} over {mode, dev}": "test_incremental has {mode, prod}",
    "no rebar.lock": "test_init; test_dependencies: without a lock",
    "vm.args and sys.config without .src": "test_release: a cookie in vm_args; a link among the files is a sys.config",
    "vm.args.src and sys.config.src": "test_init: plain",
    "checkout dependency": "NIF in a dependency",
    "project in a subfolder of its repository": "test_settings: a project below the repository",
    "git worktree": "test_build: worktree",
    "leex and yecc": "test_incremental: what leex reads",
    "hook that writes a module": "test_incremental: what a hook reads",
    "NIF by make in a hook": "NIF in a dependency",
    "a step before rebar3": "test_release: a cookie that a prebuild writes",
    "OTP 27's keywords as names": "rebar.config.script that reads files and the environment has build_env",
    "no ERTS": "test_dockerfile: no ERTS",
}


def params(shapes: list[Shape]) -> list[object]:
    return [pytest.param(shape, id=shape.name, marks=[pytest.mark.long] if shape.name in LONG else []) for shape in shapes]


@pytest.fixture(scope="module")
def rows(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """The rows of docs/shapes.md, written there with --shapes-table."""
    found: list[str] = []
    yield found
    if request.config.getoption("--shapes-table"):
        head = TABLE.read_text().split("| shape |")[0]
        TABLE.write_text(
            head + "\n".join(["| shape | set in invoke.yaml, or typed | first build | image |", "|---|---|---|---|", *found]) + "\n"
        )


@pytest.fixture(autouse=True, scope="module")
def forgotten() -> Iterator[None]:
    yield
    forget(IMAGE)


@pytest.mark.parametrize("shape", params(SHAPES))
def test_a_shape_builds_boots_and_answers(shape: Shape, engine28: Engine, tmp_path: Path, rows: list[str]) -> None:
    desk = Desk(engine28, shape.make(tmp_path / "repo", IMAGE, engine28))
    # Every other one as CI does it: from nothing, and by way of the tarball.
    env = {"CI": "true"} if SHAPES.index(shape) % 2 else {}
    began = time.monotonic()
    said = desk.invoke("build", *shape.args, env=env).err
    seconds = time.monotonic() - began
    assert " ".join(("next: invoke run", *shape.args)) in said
    container = desk.invoke("run", "--detach", "--tag", desk.repo.head, "--name", IMAGE, *shape.args).out
    try:
        if shape.asked:
            poll(lambda: desk.node(container, "eval", "demo:answer().") == "42")
            with typing(desk, "attach", "--name", IMAGE, *shape.args) as terminal:
                terminal.expect(r"\d+> ?")
                ask(terminal, "demo:answer() + 1.", "43")
                assert leave(terminal) == 0
        else:
            poll(lambda: "erl_child_setup" in desk.docker("top", container))
        version = desk.docker("exec", container, "sh", "-c", "cut -d ' ' -f 2 releases/start_erl.data")
        assert re.fullmatch(shape.version, version), version
        size = int(desk.docker("exec", container, "du", "-sxb", "/", check=False).split()[0]) / 1e6
    finally:
        desk.docker("rm", "--force", container)
    set_by_hand = [*shape.set.splitlines(), *([" ".join(shape.args)] if shape.args else [])]
    rows.append(
        f"| {shape.name} | {'; '.join(f'`{line.strip()}`' for line in set_by_hand) or 'nothing'} | {seconds:.1f} s | {size:.0f} MB |"
    )


@pytest.mark.parametrize("shape", params(REFUSED))
def test_what_cannot_work_is_refused_in_one_sentence(shape: Shape, engine28: Engine, tmp_path: Path) -> None:
    desk = Desk(engine28, shape.make(tmp_path / "repo", IMAGE, engine28))
    code = 2 if shape.says.startswith(("rebar.config:", "git", "more")) else 1
    assert shape.says in desk.invoke("build", code=code).err
    assert desk.reference(desk.repo.head) not in desk.images


def test_the_long_ones_are_shapes() -> None:
    assert set(LONG) <= {shape.name for shape in (*SHAPES, *REFUSED)}


def test_at_least_four_of_five_shapes_need_nothing_set() -> None:
    assert sum(not shape.set and not shape.args for shape in SHAPES) / len(SHAPES) >= 0.8
