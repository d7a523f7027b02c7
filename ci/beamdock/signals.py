"""beamdock 0.1.0: how a task ends where Ctrl-C, SIGTERM or a closed terminal ends it. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

from .words import failure

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """No Exit, after some of which a task goes on; and no KeyboardInterrupt, at which subprocess first waits for its child."""


class Handler:
    """The handler of these signals. It also notes them: Python drops an exception that is raised in a callback of its own."""

    def __init__(self) -> None:
        self.name = ""
        self.held = 0

    def __call__(self, number: int, frame: Any) -> None:
        self.name = signal.Signals(number).name
        if not self.held:
            raise Stopped


def installed() -> Handler:
    """The handler that counts; one without effect where there is none of ours."""
    handler = signal.getsignal(signal.SIGINT)
    return handler if isinstance(handler, Handler) else Handler()


def was_stopped() -> bool:
    """Has a signal come that nothing has dealt with?"""
    return bool(installed().name)


def check_stopped() -> None:
    """Raise again what was dropped, but for what tidies up."""
    if was_stopped() and not installed().held:
        raise Stopped


def deal_with_stop() -> None:
    """Let the signal that came count no more: what is done has obeyed it."""
    installed().name = ""


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """End with one line where a signal comes. SIGINT counts in the background of a script too, where the shell has it ignored:
    docker would end there, and the task go on. A SIGHUP that nohup has ignored stays so."""
    handler = Handler()
    wanted = [number for number in SIGNALS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in wanted}
    try:
        yield
        check_stopped()
    except Stopped:
        raise failure(f"stopped by {'Ctrl-C' if handler.name == 'SIGINT' else handler.name}", code=1) from None
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Let signals count after the block: for what must not end half done."""
    handler = installed()
    before, handler.held = handler.name, handler.held + 1
    try:
        yield
    finally:
        handler.held -= 1
        if not before:
            check_stopped()
