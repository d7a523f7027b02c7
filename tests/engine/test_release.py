"""What a release asks of its container: folders to write into, and a cookie by a name of its own."""

from __future__ import annotations

import re

import pytest
from kit.repos import Desk
from kit.terminal import ask, leave, typing

WRITES = """\
-module(tiny).
-export([start/2, stop/1]).
start(_, _) ->
    [ok = file:write_file(Name, "written") || Name <- ["log/x", "db/deep/x", "/var/log/tiny/x"]],
    {ok, self()}.
stop(_) -> ok.
"""


def test_folders_that_the_release_writes_into(tiny: Desk) -> None:
    """With the read-only root, with --writable, and as the printed command; and the volumes go with the container."""
    desk = tiny
    desk.repo.settings("  writable: [log, db/deep, /var/log/tiny]\n")
    desk.repo.edit("src/tiny.app.src", "{vsn,", "{mod, {tiny, []}}, {vsn,")
    desk.repo.write("src/tiny.erl", WRITES)
    desk.repo.commit()
    desk.invoke("build")
    before = desk.docker("volume", "ls", "--quiet")
    container = desk.start()
    assert desk.docker("exec", container, "cat", "log/x", "db/deep/x", "/var/log/tiny/x") == "written" * 3
    assert "Read-only" in desk.sh("docker exec " + container + " touch /opt/tiny/bin/x 2>&1 || true").out
    assert desk.invoke("diff").out == ""
    desk.invoke("stop")
    container = desk.start("--writable")
    assert "A /opt/tiny/log/x" in desk.invoke("diff").out.splitlines()
    desk.invoke("stop")
    # A folder of the host in the place of one of them.
    (desk.repo.path / "_build" / "log").mkdir()
    (desk.repo.path / "_build" / "log").chmod(0o777)
    desk.start(f"--volume={desk.repo.path}/_build/log:/opt/tiny/log/")
    assert (desk.repo.path / "_build" / "log" / "x").read_text() == "written"
    desk.invoke("stop")
    assert desk.docker("volume", "ls", "--quiet") == before


@pytest.mark.parametrize(
    ("kind", "line", "given"),
    [
        ("vm_args_src", "-setcookie ${RELX_COOKIE}", [[], ["--env=RELX_COOKIE=hunter2"]]),
        ("vm_args_src", "-setcookie ${COOKIE:-snowflake}", [[], ["--env=COOKIE=hunter2"]]),  # a default is as public as the repo
        ("vm_args", "-setcookie ${RELX_COOKIE}", [[], ["--env=RELX_COOKIE=hunter2"]]),  # which relx would leave as it stands there
        ("prebuild", "-setcookie hunter2", [[]]),
    ],
)
def test_a_cookie_of_the_environment(tiny: Desk, kind: str, line: str, given: list[list[str]]) -> None:
    """Given or not, the node has one, and a console finds it; one that is written out is warned of, also where the build wrote it."""
    made = kind == "prebuild"
    if kind == "vm_args":
        tiny.repo.edit("rebar.config", '{vm_args_src, "config/vm.args.src"}', '{vm_args, "config/vm.args.src"}')
    if made:
        tiny.repo.settings(f"  prebuild: echo {line} >> config/vm.args.src\n")
    else:
        tiny.repo.write("config/vm.args.src", f"-sname tiny\n{line}\n+Bd\n")
    tiny.repo.commit()
    said = tiny.invoke("build").err
    assert "nothing sets" not in said
    assert bool(re.search(r"^warning: releases/\w+/vm.args.src:2 has the cookie written out", said, re.MULTILINE)) == made
    for options in given:
        container = tiny.start(*options)
        cookie = tiny.node(container, "eval", "erlang:get_cookie().")
        assert (cookie == "hunter2") == (bool(options) or made)
        assert cookie == "hunter2" or re.fullmatch("'?[0-9a-f]{48}'?", cookie)
        with typing(tiny, "attach") as terminal:
            terminal.expect(r"\d+> ?")
            ask(terminal, "6 * 7.", "42")
            assert leave(terminal) == 0
        tiny.answers(container)
        tiny.sweep()
