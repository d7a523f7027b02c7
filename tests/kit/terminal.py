"""A terminal with a person at it: `invoke` on a pseudo-terminal."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pexpect

from kit.repos import Desk


def heed_hangup() -> None:
    """Whoever runs the tests may do it under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@contextmanager
def typing(desk: Desk, *args: str) -> Iterator[pexpect.spawn[str]]:
    """`invoke ARGS` on a terminal of its own; what it leaves running is hung up on."""
    child: pexpect.spawn[str] = pexpect.spawn(
        sys.executable,
        ["-m", "invoke", *args],
        cwd=str(desk.repo.path),
        env={**desk.engine.env, **desk.repo.env, "TERM": "xterm"},
        timeout=300,
        encoding="utf-8",
        dimensions=(40, 200),
        preexec_fn=heed_hangup,
    )
    try:
        yield child
    finally:
        child.close(force=True)


def ask(child: pexpect.spawn[str], expression: str, answer: str) -> None:
    """Type an Erlang expression at the shell's prompt, and wait for its answer and the next prompt."""
    child.send(f"{expression}\r")
    child.expect_exact(answer)
    child.expect(r"\d+> ?")


def leave(child: pexpect.spawn[str]) -> int:
    """Ctrl-G q, as the task's first line says; the exit code."""
    child.send("\x07")
    child.expect("-->")
    child.send("q\r")
    return ended(child)


def ended(child: pexpect.spawn[str]) -> int:
    """Wait for the end; the exit code, or minus the signal."""
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus if child.exitstatus is not None else -(child.signalstatus or 0)


def hang_up(child: pexpect.spawn[str]) -> None:
    """Take the terminal itself away, as closing its window does; what runs on it gets SIGHUP, and can write nowhere."""
    process: Any = vars(child)["ptyproc"]
    process.fileobj.close()
