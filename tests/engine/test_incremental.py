"""Compiling on top of the last build: little is compiled, and what comes out is what a build from nothing gives."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from kit.engines import Engine, long, poll
from kit.repos import Desk, Repo, forget, new_repo

CONFIG = """\
{erl_opts, [debug_info]}.
{relx, [{release, {work, "1"}, [one, two, sasl]}, {overlay, [{copy, "sql/*.sql", "sql/"}]}]}.
{ct_opts, [{ct_hooks, [cth_surefire]}]}.
{post_hooks, [{ct, "exit 1"}]}.
{profiles, [{prod, [{relx, [{mode, prod}]}]}]}.
"""
ONE = '-module(one).\n-export([answer/0, size/0]).\n-include("one.hrl").\nanswer() -> 42.\nsize() -> ?SIZE.\n'
TRANSFORM = """\
-module(answers).
-compile([export_all, nowarn_export_all]).
parse_transform (Forms, _) -> [transform(F) || F <- Forms].
transform({function, L, truth, 0, _}) -> {function, L, truth, 0, [{clause, L, [], [], [{integer, L, answer:it()}]}]};
transform(F) -> F.
"""
FILES = {
    "rebar.config": CONFIG,
    "rebar.lock": "[].\n",
    "config/it's müde.config": "[].\n",
    "apps/one/src/one.app.src": '{application, one, [{vsn, "1"}, {applications, [kernel, stdlib]}]}.\n',
    "apps/one/src/one.erl": ONE,
    "apps/one/src/other.erl": "-module(other).\n-export([f/0]).\nf() -> other.\n",
    "apps/one/src/tokens.xrl": "Definitions.\nRules.\n[a-z]+ : {token, {word, TokenLine}}.\nErlang code.\n",
    "apps/one/include/one.hrl": "-define(SIZE, 1).\n",
    "apps/one/priv/tables.sql": "one",
    "apps/two/priv/level.inc": "-define(LEVEL, 1).\n",
    "sql/views.sql": "one",
    "apps/two/src/two.app.src": '{application, two, [{vsn, "1"}, {applications, [kernel, stdlib, one]}]}.\n',
    "apps/two/src/two.erl": '-module(two).\n-export([size/0]).\n-include_lib("one/include/one.hrl").\n-include("../priv/level.inc").\nsize() -> 2 * ?SIZE.\n',
}
MADE = {
    "apps/made/src/made.app.src": '{application, made, [{vsn, "1"}, {applications, [kernel, stdlib]}]}.\n',
    "apps/made/src/answers.erl": TRANSFORM,
    "apps/made/src/answer.erl": "-module(answer).\n-export([it/0]).\nit() -> 42.\n",
    "apps/two/src/user_of.erl": "-module(user_of).\n-compile({parse_transform, answers}).\n-export([truth/0]).\ntruth() -> 0.\n",
}


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repo]:
    """An umbrella with a header that two applications use, a parse transform and a generated module, committed."""
    repo = new_repo(tmp_path_factory.mktemp("work") / "work")
    for name, text in FILES.items():
        repo.write(name, text)
    repo.commit("work")
    try:
        yield repo
    finally:
        forget(repo.image)


@pytest.fixture
def work(repo: Repo, engine28: Engine) -> Iterator[Desk]:
    """The repo as it was committed, but for a file that no build has seen: BuildKit has no layer for it yet."""
    first = repo.head
    repo.write("config/new.config", uuid.uuid4().hex)
    yield Desk(engine28, repo)
    repo.git("switch", "--quiet", "--force", repo.branch)
    repo.git("reset", "--quiet", "--hard", first)
    repo.git("clean", "--quiet", "--force", "-d")


LIST = "cd /app/_build/prod/lib && find -L . -path '*/ebin/*' -type f -printf '%T@ %p ' -exec sha256sum {} ';' | cut -d ' ' -f 1-3"


def beams(desk: Desk, *options: str) -> dict[str, tuple[str, str]]:
    """Build through releaser: the compiled files, path -> (contents, time)."""
    reference = desk.invoke("build", "--target=releaser", *options).out
    rows = [line.split() for line in desk.docker("run", "--rm", "--entrypoint=sh", reference, "-c", LIST).splitlines()]
    found = {path: (digest, time) for time, path, digest in rows}
    assert any(path.endswith(".beam") for path in found)
    return found


def as_from_nothing(desk: Desk, before: dict[str, tuple[str, str]]) -> set[str]:
    """Build on top of the last build; its compiled files must be those of a build from nothing. The modules compiled since."""
    now = beams(desk)
    clean = beams(desk, "--no-incremental")
    assert {path: digest for path, (digest, _) in now.items()} == {path: digest for path, (digest, _) in clean.items()}
    return {Path(path).stem for path, (_, time) in now.items() if path.endswith(".beam") and before.get(path, ("", ""))[1] != time}


ALL = {"one", "other", "tokens", "two"}


def long_ago(repo: Repo, name: str, text: str) -> None:
    """Written by a tool that gives the file an older time."""
    repo.write(name, text)
    os.utime(repo.path / name, (10**9, 10**9))


def newer_files(repo: Repo) -> None:
    """What a fresh clone or a checkout does to the times of what it leaves as it was."""
    for name in FILES:
        (repo.path / name).touch()
    repo.edit("apps/one/src/other.erl", "other.\n", "another.\n")


def lose_a_header(repo: Repo) -> None:
    """The header's users find another one of its name, or are told of it."""
    repo.write("apps/one/src/one.hrl", "-define(SIZE, 9).\n")
    (repo.path / "apps/one/include/one.hrl").rename(repo.path / "apps/one/include/two.hrl")
    repo.edit("apps/two/src/two.erl", "one.hrl", "two.hrl")


def release_alone(repo: Repo) -> None:
    """What no module is compiled of."""
    repo.write("config/sys.config", "[].")
    repo.edit("rebar.config", "sasl]", "sasl, crypto]")


def data(repo: Repo) -> None:
    """What the release takes as it is: files of priv and of an overlay, edited and new."""
    for name in ("apps/one/priv/tables.sql", "apps/one/priv/templates/new.html", "sql/views.sql", "sql/new.sql"):
        repo.write(name, "two")


# What a person does, and the modules that must be compiled again for it: what rebar3 need not look at stays.
EDITS: dict[str, tuple[Callable[[Repo], None], set[str]]] = {
    "a module": (lambda r: r.edit("apps/one/src/one.erl", "42", "43"), {"one"}),
    "a module with an older time": (
        lambda r: long_ago(r, "apps/one/src/other.erl", FILES["apps/one/src/other.erl"] + "g() -> 1.\n"),
        {"other"},
    ),
    "a module, and newer times of all others": (newer_files, {"other"}),
    "a new module": (lambda r: r.write("apps/two/src/three.erl", "-module(three).\n"), {"three"}),
    "a header with an older time": (lambda r: long_ago(r, "apps/one/include/one.hrl", "-define(SIZE, 8).\n"), {"one", "two"}),
    "relx, and a new sys.config": (release_alone, set()),
    "files of priv and of an overlay": (data, set()),
    "a file of priv that a module includes": (lambda r: r.write("apps/two/priv/level.inc", "-define(LEVEL, 2).\n"), ALL),
    "a header that hides another": (lambda r: r.write("apps/one/src/one.hrl", "-define(SIZE, 9).\n"), ALL),
    "a module deleted": (lambda r: (r.path / "apps/one/src/other.erl").unlink(), ALL - {"other"}),
    "a header deleted": (lose_a_header, ALL),
    "erl_opts": (lambda r: r.edit("rebar.config", "[debug_info]", "[debug_info, {d, 'X'}]"), ALL),
    "an option taken away": (lambda r: r.edit("rebar.config", "[debug_info]", "[]"), ALL),
    "what leex reads": (lambda r: r.edit("apps/one/src/tokens.xrl", "word", "name"), ALL),
}


@pytest.mark.parametrize("what", long(EDITS, "a header that hides another", "an option taken away"))
def test_an_edit(work: Desk, what: str) -> None:
    edit, compiled = EDITS[what]
    before = beams(work)
    assert {Path(path).stem for path in before if path.endswith(".beam")} == ALL
    edit(work.repo)
    assert as_from_nothing(work, before) == compiled


@pytest.mark.long
def test_a_header_dated_ahead(work: Desk) -> None:
    """It is not newer than what was compiled with it for ever."""
    os.utime(work.repo.path / "apps/one/include/one.hrl", (4 * 10**9, 4 * 10**9))
    before = beams(work)
    work.repo.edit("apps/one/src/other.erl", "other.\n", "another.\n")
    assert as_from_nothing(work, before) == {"other"}


def test_a_parse_transform(work: Desk) -> None:
    """Also what it calls, which rebar3 can't see: where there is one, all is compiled anew."""
    for name, text in MADE.items():
        work.repo.write(name, text)
    before = beams(work)
    work.repo.edit("apps/made/src/answer.erl", "42", "43")
    assert as_from_nothing(work, before) == ALL | {"answers", "answer", "user_of"}


@pytest.mark.long
def test_a_parse_transform_that_is_none_any_more(work: Desk) -> None:
    """What it once wrote goes with it."""
    for name, text in MADE.items():
        work.repo.write(name, text)
    wrote = 'parse_transform(Forms, _) -> file:write_file("/app/_build/prod/lib/two/ebin/made.txt", ""), Forms.\n'
    work.repo.write("apps/made/src/answers.erl", "-module(answers).\n-export([parse_transform/2]).\n" + wrote)
    before = beams(work)
    assert "./two/ebin/made.txt" in before
    work.repo.write("apps/made/src/answers.erl", "-module(answers).\n")
    work.repo.write("apps/two/src/user_of.erl", "-module(user_of).\n")
    assert as_from_nothing(work, before) == ALL | {"answers", "answer", "user_of"}


def test_what_a_hook_reads(work: Desk) -> None:
    """It may write modules from it, and leave older ones."""
    work.repo.write("rebar.config", CONFIG + """{pre_hooks, [{compile, "sh make.sh"}]}.\n""")
    work.repo.write("make.sh", 'for n in $(cat config/tables.config); do echo "-module($n)." > apps/one/src/$n.erl; done\n')
    work.repo.write("config/tables.config", "red blue\n")
    before = beams(work)
    assert {"./one/ebin/red.beam", "./one/ebin/blue.beam"} <= set(before)
    work.repo.write("config/tables.config", "red\n")
    assert as_from_nothing(work, before) == ALL | {"red"}


@pytest.mark.long
def test_what_a_hook_wrote_comes_into_the_repo(work: Desk) -> None:
    """It is kept, until there is a file of its name."""
    work.repo.write("rebar.config", CONFIG + """{pre_hooks, [{compile, "sh make.sh"}]}.\n""")
    work.repo.write("make.sh", "[ -e apps/one/src/made.erl ] || { echo '-module(made).' > apps/one/src/made.erl; touch \"it's müde\"; }\n")
    before = beams(work)
    work.repo.edit("apps/one/src/other.erl", "other.\n", "another.\n")
    kept = beams(work)
    assert kept["./one/ebin/made.beam"] == before["./one/ebin/made.beam"]
    work.repo.write("apps/one/src/made.erl", "-module(made).\n-export([f/0]).\nf() -> theirs.\n")
    assert as_from_nothing(work, kept) == {"made"}


@pytest.mark.long
def test_a_source_that_a_hook_rewrites(work: Desk) -> None:
    """It may do otherwise the next time: all is compiled anew."""
    work.repo.write("rebar.config", CONFIG + """{pre_hooks, [{compile, "sh make.sh"}]}.\n""")
    work.repo.write("make.sh", "[ -e seen ] || sed -i s/42/43/ apps/one/src/one.erl; touch seen\n")
    rewritten = beams(work)
    work.repo.edit("apps/one/src/other.erl", "other.\n", "another.\n")
    assert as_from_nothing(work, rewritten) == ALL


@pytest.mark.long
def test_what_leex_wrote_long_ago(work: Desk) -> None:
    """It lies in the work tree, from a compilation on the host, and leex writes over it."""
    stale = "-module(tokens).\n-export([stale/0]).\nstale() -> true.\n"
    long_ago(work.repo, "apps/one/src/tokens.erl", stale)
    before = beams(work)
    work.repo.edit("apps/one/src/other.erl", "other.\n", "another.\n")
    assert as_from_nothing(work, before) == {"tokens", "other"}
    long_ago(work.repo, "apps/one/src/tokens.erl", stale + "% edited\n")
    assert as_from_nothing(work, before) == ALL


@pytest.mark.long
def test_a_link_that_leads_elsewhere(work: Desk) -> None:
    work.repo.write("variants/a.erl", "-module(chosen).\n-export([f/0]).\nf() -> a.\n")
    work.repo.write("variants/b.erl", "-module(chosen).\n-export([f/0]).\nf() -> b.\n")
    link = work.repo.path / "apps/one/src/chosen.erl"
    link.symlink_to("../../../variants/a.erl")
    before = beams(work)
    link.unlink()
    link.symlink_to("../../../variants/b.erl")
    assert as_from_nothing(work, before) == ALL | {"chosen"}


def test_a_branch_switched_there_and_back(work: Desk) -> None:
    """git writes the files anew, and their times say nothing of what was compiled from them."""
    first = beams(work)
    work.repo.git("switch", "--quiet", "--create", "other")
    work.repo.edit("apps/one/include/one.hrl", "1", "2")
    work.repo.git("commit", "--quiet", "--all", "--message=other")
    other = beams(work)
    assert other != first
    work.repo.git("switch", "--quiet", work.repo.branch)
    assert as_from_nothing(work, other) == {"one", "two"}


@pytest.mark.long
def test_a_file_system_of_its_own_for_what_is_compiled(work: Desk) -> None:
    """Where folders can't be moved into it."""
    run = "RUN --mount=from=release_scripts,target=/scripts"
    work.repo.edit("Dockerfile", run, f"{run} --mount=type=tmpfs,target=/app/_build/prod/lib")
    work.invoke("build")
    work.repo.edit("apps/one/src/other.erl", "other.\n", "another.\n")
    assert "work: compiled 1 modules" in work.invoke("build", "--tag=grown").err
    work.invoke("build", "--no-incremental", "--tag=clean")
    grown, clean = ({n: f for n, f in contents(work, tag).items() if n.endswith(".beam")} for tag in ("grown", "clean"))
    assert grown == clean


def test_two_worktrees_take_turns(work: Desk, tmp_path: Path) -> None:
    work.repo.git("worktree", "add", "--quiet", str(tmp_path / "second"))
    second = Desk(work.engine, Repo(tmp_path / "second", work.repo.image))
    second.repo.edit("apps/one/src/one.erl", "42", "44")
    mine, theirs = beams(work), beams(second)
    assert mine["./one/ebin/one.beam"][0] != theirs["./one/ebin/one.beam"][0]
    work.repo.write("apps/one/src/other.erl", FILES["apps/one/src/other.erl"] + "% a comment\n")
    assert as_from_nothing(work, theirs) == {"one", "other"}


def test_a_build_killed_in_the_middle(work: Desk, tmp_path: Path) -> None:
    """What a killed build leaves is what the one before left."""
    work.repo.settings("  prebuild: echo waiting; while [ -e config/wait.config ]; do sleep 0.1; done\n")
    before = beams(work)
    work.repo.edit("apps/one/src/one.erl", "42", "45")
    work.repo.write("config/wait.config", "")
    command = [sys.executable, "-m", "invoke", "build", "--target=releaser", "--verbose"]
    said = tmp_path / "said"
    with (
        said.open("w") as file,
        subprocess.Popen(command, cwd=work.repo.path, env=work.engine.env, stdout=file, stderr=file, start_new_session=True) as build,
    ):
        try:
            poll(lambda: re.search(r"^#\d+ [\d.]+ waiting", said.read_text(), re.MULTILINE))
        finally:
            os.killpg(build.pid, signal.SIGTERM)
    (work.repo.path / "config/wait.config").unlink()
    assert as_from_nothing(work, before) == {"one"}


# Kills a build in the middle of keeping what it made, where there is a file of this name.
DEADLY = """\
FROM {base}
RUN for what in tar mv; do \
      printf '#!/bin/sh\\ncase "$*" in *" -cf "*|*".new"*) [ ! -e /context/kill-%s ] || kill -9 -1 ;; esac\\nexec /usr/bin/%s "$@"\\n' $what $what \
        > /usr/local/bin/$what; \
      chmod +x /usr/local/bin/$what; \
    done
"""


@pytest.mark.parametrize(
    ("where", "compiled"),
    [pytest.param("tar", {"one"}, id="while it writes", marks=pytest.mark.long), pytest.param("mv", ALL, id="while it puts it in place")],
)
def test_a_build_killed_while_it_keeps_what_it_made(work: Desk, where: str, compiled: set[str]) -> None:
    """Half of it counts as none: the one of before is taken, or all is compiled."""
    base = work.engine.build(DEADLY.format(base=work.engine.build_base), f"{work.repo.image}-base:{where}")
    desk = replace(work, engine=replace(work.engine, env={**work.engine.env, "INVOKE_BEAMDOCK_BUILD_BASE": base}))
    before = beams(desk)
    desk.repo.edit("apps/one/src/one.erl", "42", "47")
    desk.repo.write(f"kill-{where}", "")
    assert "exit code: 137" in desk.invoke("build", "--target=releaser", code=1).err
    (desk.repo.path / f"kill-{where}").unlink()
    assert as_from_nothing(desk, before) == compiled
    desk.docker("rmi", "--force", base)


def test_the_image_is_the_same(work: Desk) -> None:
    """Every file of the release, whichever way it was compiled; and a build after it compiles nothing."""
    work.invoke("build")
    work.repo.edit("apps/one/src/one.erl", "42", "46")
    references = [work.invoke("build", "--tag=grown").out, work.invoke("build", "--no-incremental", "--tag=clean").out]
    assert references[0] == references[1]
    grown, clean = (contents(work, tag) for tag in ("grown", "clean"))
    own = "opt/work/releases/work.rel"  # a second one, which only the tarball has
    assert {name: grown.get(name) for name in clean if name != own} == {name: file for name, file in clean.items() if name != own}
    # What the tarball, by way of which an image from nothing is made, leaves out of a release.
    left_out = re.compile(r"opt/work/(erts-.*/bin/(ct_run|dialyzer|erlc|typer)|lib/.*\.(appup|hrl)|releases/1/start\.script)")
    assert [name for name in set(grown) - set(clean) if not left_out.fullmatch(name)] == []
    assert work.invoke("build").steps == []


def contents(desk: Desk, tag: str) -> dict[str, tuple[int, bytes]]:
    """The files of the release in an image: path -> (mode, contents)."""
    with desk.engine.exported(desk.reference(tag)) as tar:
        files = [m for m in tar.getmembers() if m.isfile() and m.name.startswith("opt/")]
        return {m.name: (m.mode, file.read()) for m in files if (file := tar.extractfile(m))}


@pytest.mark.parametrize(("setting", "env", "task"), [("desk", {"CI": "true"}, "build"), ("never", {}, "build"), ("always", {}, "push")])
def test_when_it_is_off(work: Desk, setting: str, env: dict[str, str], task: str) -> None:
    """In CI, by the setting, and always for push."""
    work.repo.settings(f"  incremental: {setting}\n  registry: {work.engine.registry}/test\n")
    command = work.invoke(task, "--dry-run", env=env).out if task == "build" else clean_push(work)
    assert "WORK=" not in command
    assert "STORE=" not in command
    assert "WORK=" in work.invoke("build", "--dry-run", env={"INVOKE_BEAMDOCK_INCREMENTAL": "always", "CI": "true"}).out


def clean_push(desk: Desk) -> str:
    desk.repo.commit()
    return desk.invoke("push", "--dry-run").out
