"""beamdock 0.1.0: a container, stopped. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import subprocess
import time
from typing import Any

from .containers import Container
from .docker import client, docker, run_or_print, started
from .words import Out


def stop_container(container: Container, seconds: int, kill: bool, out: Out) -> None:
    """Stop a container in order within so many seconds, or kill it, and remove it. One that has ended is only removed."""
    if not container.is_running:
        run_or_print(out, "rm", "--volumes", container.id)
        out.report(f"{container.name} had ended by itself; removed")
        return
    removes_itself = docker("inspect", "--format={{.HostConfig.AutoRemove}}", container.id).strip() == "true"
    if out.dry_run:
        run_or_print(out, *(["kill"] if kill else ["stop", f"--time={seconds}"]), container.id)
    else:
        code = stop_and_wait(container, seconds, kill)
        out.say(f"stopped {container.name}, exit code {code}")
    if not removes_itself:
        run_or_print(out, "rm", "--volumes", container.id)


def stop_and_wait(container: Container, seconds: int, kill: bool) -> str:
    """Stop a container, or kill it, and return its exit code. docker is asked for it before: a container may remove itself."""
    waiting = subprocess.Popen([*map(str, client().docker_cmd), "wait", container.id], stdout=subprocess.PIPE, text=True)
    if kill:
        docker("kill", container.id)
    else:
        stop_in_order(container.id, seconds)
    return waiting.communicate()[0].strip()


def stop_in_order(identity: str, seconds: int) -> None:
    """Stop a container by its signal, and kill it after so many seconds. The signal is sent again, later and later: a node that is only
    starting loses it."""
    engine, nowhere = [*map(str, client().docker_cmd)], {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with started([*engine, "stop", f"--time={seconds}", identity], **nowhere) as child:
        pause = 0.5
        while not ends_within(child, pause):
            with started([*engine, "kill", "--signal=TERM", identity], **nowhere) as again:
                again.wait()
            pause *= 2


def ends_within(child: subprocess.Popen[Any], seconds: float) -> bool:
    """Wait for a process to end, so many seconds at most. Has it ended?"""
    until = time.monotonic() + seconds
    while child.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    return child.poll() is not None
