"""After `invoke init`, `invoke build` works: in a plain repo, and in one that has a Dockerfile and tasks of its own."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.engines import ROOT, Engine
from kit.repos import TINY_CONFIG, Desk, Repo, Result, forget, new_image, run

OWN_TASKS = """\
from invoke import task


@task
def lint(c):
    "Look at the code"
    print("looked at")
"""


@pytest.fixture
def theirs(tmp_path: Path, engine28: Engine) -> Iterator[Desk]:
    """The smallest release in a repo that none of our files is in; the image's name comes from the environment."""
    image = new_image()
    repo = Repo(tmp_path / "théirs", image, {"INVOKE_BEAMDOCK_IMAGE": image})
    repo.write("rebar.config", TINY_CONFIG)
    repo.write("config/vm.args.src", "-sname tiny\n")
    repo.write("src/tiny.app.src", '{application, tiny, [{description, "tiny"}, {vsn, "1"}, {applications, [kernel, stdlib]}]}.\n')
    repo.write("src/tiny.erl", "-module(tiny).\n-export([answer/0]).\nanswer() -> 42.\n")
    repo.write(".gitignore", "_build/\n__pycache__/\n")
    repo.git("init", "--quiet", "--initial-branch=main")
    repo.commit("theirs")
    try:
        yield Desk(engine28, repo)
    finally:
        forget(image)


def init(desk: Desk, *args: str) -> Result:
    return run(desk.engine, Repo(ROOT, "", desk.repo.env), sys.executable, "-m", "invoke", "init", str(desk.repo.path), *args)


def test_plain(theirs: Desk) -> None:
    """Without a prod profile at first: the line that is shown, pasted, is all it takes. And the start script sets what advice
    takes for set: each of these names has a value in the running node's configuration."""
    source = (ROOT / "ci" / "beamdock" / "templates.py").read_text()
    names = set(re.findall(r"\b[A-Z_]{3,}\b", source[source.index("START_SCRIPT = (") : source.index("# The variable in what")]))
    names -= {"START_SCRIPT", "ALWAYS_SET"}
    assert {"ROOTDIR", "EMU", "HOSTNAME"} < names
    probes = ", ".join(f"""{{'{name}', "${{{name}}}"}}""" for name in sorted({*names, "NOT_SET_BY_ANYBODY"}))
    theirs.repo.write("config/sys.config.src", f"[{{kernel, [{{probe, [{probes}]}}]}}].\n")
    theirs.repo.edit("rebar.config", TINY_CONFIG.splitlines()[-1], "")
    theirs.repo.write("rebar.config", (theirs.repo.path / "rebar.config").read_text() + "%% no newline at the end")
    shown = re.search(r"^rebar.config has no profile prod; add:\n  (.*)$", init(theirs).err, re.MULTILINE)
    assert shown
    theirs.repo.write("rebar.config", (theirs.repo.path / "rebar.config").read_text() + f"\n{shown[1]}\n")
    theirs.repo.commit("with beamdock")
    assert "prod profile" not in init(theirs).err
    built = theirs.invoke("build")
    assert built.out == theirs.reference(theirs.repo.head)
    assert re.findall(r"^warning: (.*)$", built.err, re.MULTILINE) == [
        "config/sys.config.src:1 has ${NOT_SET_BY_ANYBODY}, which nothing sets: it becomes an empty text"
    ]
    container = theirs.start(f"--name={theirs.repo.image}")
    written = theirs.docker("exec", container, "stat", "--format=%i %y", "/tmp/sys.config", "/tmp/vm.args")
    assert theirs.node(container, "eval", '[N || {N, ""} <- element(2, application:get_env(kernel, probe))].') == "['NOT_SET_BY_ANYBODY']"
    # A node that boots reads these files meanwhile: whoever asks it leaves them alone.
    assert theirs.docker("exec", container, "stat", "--format=%i %y", "/tmp/sys.config", "/tmp/vm.args") == written
    theirs.sweep()


def test_beside_their_own(theirs: Desk) -> None:
    """Their Dockerfile, ignore file and tasks.py stay and do what they did; ours works from its own file at once, and from
    theirs with the lines that are shown."""
    theirs.repo.write("Dockerfile", f"FROM {theirs.engine.run_base}\nCOPY . /all\n")
    theirs.repo.write(".dockerignore", "*\n!rebar.config\n")
    theirs.repo.write("tasks.py", OWN_TASKS)
    theirs.repo.commit("their own")
    kept = theirs.repo.everything()
    done = init(theirs)
    assert kept.items() <= theirs.repo.everything().items()
    theirs.repo.commit("with beamdock")
    built = run(theirs.engine, theirs.repo, sys.executable, "beamdock.py", "build")
    assert built.out == theirs.reference(theirs.repo.head)
    container = run(theirs.engine, theirs.repo, sys.executable, "beamdock.py", "run", "--detach", f"--name={theirs.repo.image}").out
    theirs.answers(container)
    assert theirs.node(container, "eval", "tiny:answer().") == "42"
    theirs.sweep()

    shown = re.search(r"^tasks.py stays as it is; at its end add\n((?:  .*\n)+)", done.err, re.MULTILINE)
    assert shown
    theirs.repo.write("tasks.py", OWN_TASKS + "\n\n" + re.sub(r"(?m)^  ", "", shown[1]))
    theirs.repo.commit("joined")
    assert theirs.invoke("docker.build").out == theirs.reference(theirs.repo.head)
    assert theirs.invoke("lint").out == "looked at"
    theirs.docker("build", "--quiet", f"--tag={theirs.repo.image}:own", str(theirs.repo.path))
    assert "all/rebar.config" in theirs.engine.names(f"{theirs.repo.image}:own")
    assert "all/src" not in theirs.engine.names(f"{theirs.repo.image}:own")
