"""run, console, attach and what is around them, on each engine: the node boots, answers, and ends in order."""

from __future__ import annotations

import signal
import time

import pexpect
import pytest
from kit.engines import SECOND_IS_LONG, poll
from kit.repos import Desk
from kit.terminal import ask, ended, hang_up, leave, typing

LEAVING = "Ctrl-G then q leaves"


def test_boots_read_only_as_any_user(desk: Desk) -> None:
    """No write to the root file system, whoever it runs as; ping and eval answer, and nothing is logged that is not the release's."""
    label = f"--label=beamdock.project={desk.repo.image}"
    container = desk.docker("run", "--detach", "--init", label, "--user=54321:54321", "--read-only", "--tmpfs=/tmp", desk.reference())
    desk.answers(container)
    assert desk.node(container, "eval", "tiny:answer().") == "42"
    assert desk.docker("exec", container, "id", "-u") == "54321"
    assert "Read-only" in desk.docker("exec", container, "sh", "-c", "touch /opt/tiny/x 2>&1; true")


def test_run_detached(desk: Desk) -> None:
    """The id on stdout; the node runs safe by default."""
    done = desk.invoke("run", "--detach")
    assert desk.containers() == [done.out]
    desk.answers(done.out)
    inside = desk.docker(
        "exec", done.out, "sh", "-c", "id -u; ulimit -n; echo $LANG; touch /x 2>&1; touch /tmp/x && stat -c %a /tmp; cat /proc/1/comm"
    )
    assert inside.splitlines()[:3] == ["1000", "16384", "C.UTF-8"]
    assert "Read-only file system" in inside
    assert inside.splitlines()[-2] == "1777"
    assert "init" in inside.splitlines()[-1]
    assert desk.node(done.out, "eval", "file:native_name_encoding().") == "utf8"
    zombies = "grep -l '^State:.Z' /proc/[0-9]*/status | wc -l"
    assert desk.docker("exec", done.out, "sh", "-c", zombies) == "0"


@SECOND_IS_LONG
def test_each_container_has_a_cookie_of_its_own(desk: Desk) -> None:
    """Random, not in the logs, and the node's clients in the container find it."""
    cookies = set()
    for name in ("one", "two"):
        container = desk.start("--name", f"{desk.repo.image}-{name}")
        cookies.add(desk.node(container, "eval", "erlang:get_cookie()."))
        logs = desk.docker("logs", container)
        assert not any(cookie in logs for cookie in cookies)
        assert "cookie" not in logs.lower()
    assert len(cookies) == 2
    assert all(len(cookie) >= 24 for cookie in cookies)


def test_a_given_cookie(desk: Desk) -> None:
    """RELX_COOKIE is the node's and its remote console's."""
    container = desk.start("--env=RELX_COOKIE=chosen-one")
    assert desk.node(container, "eval", "erlang:get_cookie().") == "'chosen-one'"
    with typing(desk, "attach") as child:
        child.expect(r"1> ?")
        ask(child, "{erlang:get_cookie(), tiny:answer()}.", "{'chosen-one',42}")
        assert leave(child) == 0


def test_stop(desk: Desk) -> None:
    """In order: exit code 0, at once, and nothing is left."""
    container = desk.start()
    waiting = time.monotonic()
    done = desk.invoke("stop")
    assert time.monotonic() - waiting < 10
    assert "exit code 0" in done.err
    assert desk.containers() == []
    assert desk.docker("inspect", container, check=False) == "[]"
    desk.start()
    assert "exit code 137" in desk.invoke("stop", "--kill").err
    assert desk.containers() == []


def test_attach(desk: Desk) -> None:
    """A shell on the running node; leaving it leaves the node."""
    container = desk.start()
    with typing(desk, "attach") as child:
        child.expect_exact(LEAVING)
        child.expect(r"1> ?")
        ask(child, "{node(), tiny:answer()}.", f"{{tiny@{container[:12]},42}}")
        ask(child, "persistent_term:put(here, was), ok.", "ok")
        ask(child, '[X || X <- "ünï→☃"].', '"ünï→☃"')
        assert leave(child) == 0
    assert desk.node(container, "eval", "persistent_term:get(here).") == "was"
    assert desk.containers("--filter=status=running") == [container]


def test_console(desk: Desk) -> None:
    """The node itself on the terminal; leaving ends it and removes the container."""
    with typing(desk, "console") as child:
        child.expect_exact(LEAVING)
        child.expect(r"1> ?")
        ask(child, 'tiny:answer() + 1, "ünï→☃".', '"ünï→☃"')
        ask(child, "init:get_argument(sname).", '["tiny"]')
        assert len(desk.containers("--filter=status=running")) == 1
        leave(child)
    poll(lambda: desk.containers() == [])


@SECOND_IS_LONG
def test_ctrl_c_stops_a_foreground_run_in_order(desk: Desk) -> None:
    with typing(desk, "run", "--env=ERL_FLAGS=") as child:
        child.expect_exact("Ctrl-C stops it in order")
        (container,) = poll(desk.containers)
        desk.answers(container)
        child.send("\x03")
        child.expect_exact("stopping")
        assert ended(child) == 0
    assert desk.containers() == []


@SECOND_IS_LONG
def test_a_signal_at_any_moment(desk: Desk) -> None:
    """Before the container is there, while it is made and while the node boots: it is stopped in order, and at once."""
    for moment, number in zip((0, 0.1, 0.2, 0.35, 0.6, 1), 3 * (signal.SIGINT, signal.SIGTERM)):
        with typing(desk, "run") as child:
            child.expect_exact("starting")
            time.sleep(moment)
            child.kill(number)
            waiting = time.monotonic()
            assert ended(child) in (0, 1, 143), moment  # the node's, ours where there was none, the start script's
            assert time.monotonic() - waiting < 9
        assert desk.containers() == []


def handles(desk: Desk, number: signal.Signals) -> bool:
    """Does the BEAM of the container handle a signal already? Before that it is ended by it."""
    (container,) = desk.containers()
    rows = [row.split() for row in desk.docker("top", container, "-o", "pid,caught,comm").splitlines()]
    return any("beam" in row[-1] and int(row[1], 16) >> (number - 1) & 1 for row in rows)


@SECOND_IS_LONG
def test_a_signal_that_the_node_drops(desk: Desk) -> None:
    """The BEAM drops one that comes before its kernel listens. It is sent again, and the node ends long before it is killed."""
    for number in 3 * (signal.SIGINT, signal.SIGTERM):
        with typing(desk, "run") as child:
            poll(lambda: desk.containers("--filter=status=running"))
            poll(lambda: handles(desk, signal.SIGTERM))
            child.kill(number)
            waiting = time.monotonic()
            assert ended(child) in (0, 143)
            assert time.monotonic() - waiting < 9
        assert desk.containers() == []


@SECOND_IS_LONG
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_closed_terminal_leaves_no_container(desk: Desk, number: signal.Signals) -> None:
    """A terminal that is closed, and a plain kill, end a foreground run as Ctrl-C does."""
    with typing(desk, "run") as child:
        (container,) = poll(desk.containers)
        desk.answers(container)
        child.kill(number)
        child.expect(pexpect.EOF)
    poll(lambda: desk.containers() == [])


@SECOND_IS_LONG
def test_a_terminal_that_is_gone(desk: Desk) -> None:
    """The same, when the terminal itself goes away and nothing can be written any more."""
    with typing(desk, "run") as child:
        (container,) = poll(desk.containers)
        desk.answers(container)
        hang_up(child)
        poll(lambda: desk.containers() == [])


def test_the_exit_code_is_the_nodes(desk: Desk) -> None:
    """What the node ends with is what `invoke run` ends with."""
    desk.invoke("run", "--", "console_boot_that_is_not", code=desk_code(desk))
    assert desk.containers() == []


def desk_code(desk: Desk) -> int:
    """What the start script itself ends with for a word that it does not know."""
    container = desk.docker(
        "create", f"--label=beamdock.project={desk.repo.image}", "--tmpfs=/tmp", desk.reference(), "console_boot_that_is_not"
    )
    desk.docker("start", container)
    code = int(desk.docker("wait", container))
    desk.docker("rm", container)
    assert code != 0
    return code
