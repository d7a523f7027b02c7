"""Signals, as what a task is made of meets them."""

from __future__ import annotations

import os
import signal

import pytest
from invoke.exceptions import Exit

from ci.beamdock.docker import started
from ci.beamdock.signals import Stopped, held, stoppable
from unit.conftest import said


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGHUP")])
@pytest.mark.parametrize("before", [signal.SIG_IGN, signal.SIG_DFL])
def test_one_line(number: signal.Signals, name: str, before: signal.Handlers) -> None:
    """Ignored signals count too, but for a SIGHUP, which nohup has ignored; afterwards all is as it was."""
    here, ignored = signal.signal(number, before), number == signal.SIGHUP and before == signal.SIG_IGN
    try:
        if ignored:
            with stoppable():
                send(number)
        else:
            with pytest.raises(Exit) as caught, stoppable():
                send(number)
            assert (caught.value.code, said(caught)) == (1, f"error: stopped by {name}")
        assert signal.getsignal(number) == before
    finally:
        signal.signal(number, here)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_python_drops() -> None:
    """It raises in a finalizer, and Python only prints that: the next docker command is not started."""

    class Odd:
        def __del__(self) -> None:
            send(signal.SIGTERM)

    with pytest.raises(Exit), stoppable():
        Odd()
        with started(["touch", "/nowhere/at/all"]):
            pytest.fail("it was started")


def test_held_until_the_end() -> None:
    done = []
    with pytest.raises(Exit), stoppable(), held():
        send(signal.SIGTERM)
        done.append(1)
    assert done == [1]


def test_what_a_command_has_started_ends_with_it() -> None:
    """A child of a child too, which takes no notice of SIGINT: the pipe has no writer any more."""
    script = "trap '' INT; sh -c 'echo here; sleep 100' & wait"
    reader, writer = os.pipe()
    with os.fdopen(reader) as output:
        with pytest.raises(Stopped), started(["sh", "-c", script], stdout=writer):
            os.close(writer)
            assert output.readline() == "here\n"
            raise Stopped
        assert output.read() == ""
