"""beamdock 0.1.0: the one place that talks to docker. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import termios
import threading
import tty
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from invoke.exceptions import Exit

from .explain import explain_failure
from .screen import Screen
from .signals import check_stopped, held, was_stopped
from .words import Out, failure, print_result

# The oldest buildx that the tests run on (Engine 26.1, Debian trixie); named contexts and heredocs came in 0.8.
LEAST_BUILDX = (0, 13)


def client(*call: str) -> Any:
    """python-on-whales' client, loaded when first used (it takes 0.2 s)."""
    from python_on_whales import DockerClient

    return DockerClient(client_call=list(call) or ["docker"])


@contextlib.contextmanager
def started(words: Sequence[str], **how: Any) -> Iterator[subprocess.Popen[str]]:
    """A docker command, in a session of its own: a terminal's Ctrl-C reaches us alone, and what ends the block ends the command
    with all that it has started. (A plugin that has not spoken to docker yet goes on where docker alone ends.)"""
    check_stopped()
    with held():
        process = subprocess.Popen(words, text=True, start_new_session=True, **how)
    try:
        yield process
    except BaseException:
        with held(), contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.3)
            os.killpg(process.pid, signal.SIGKILL)
        raise


def docker(*args: str) -> str:
    """The output of a docker command that python-on-whales has no call for, or parses too strictly."""
    with started([*map(str, client().docker_cmd), *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        out, err = process.communicate()
    if process.returncode:
        raise explain_failure(err, f"docker {args[0]}")
    return out


@dataclass(frozen=True)
class Builder:
    """What runs the builds. direct: pushes go from it to the registry, and need no copy in the engine; exports: it can export
    caches that are not inline; identity: whose build cache it is."""

    driver: str
    direct: bool
    exports: bool = True
    identity: str = ""


def ask_docker(*questions: Sequence[str]) -> list[tuple[str, str]]:
    """stdout and stderr of several docker commands, run side by side while python-on-whales is loaded."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with contextlib.ExitStack() as all_of_them:
        try:
            asked = [all_of_them.enter_context(started(["docker", *words], **pipes)) for words in questions]
        except FileNotFoundError:
            raise failure("docker is not installed", "https://docs.docker.com/engine/install/") from None
        client()
        return [process.communicate() for process in asked]


def require_engine(version: tuple[str, str]) -> None:
    """Look at what `docker version` said: is there an engine, and is it Docker's?"""
    if broken := re.search(r"^WARNING: Error (?:parsing|loading) config file[: ]+\(?(\S+?)\)?: (.*)", version[1], re.MULTILINE):
        hint = "mend the file, or move it away: docker goes on without the logins and plugins that stand in it"
        raise failure(f"docker can't read its configuration, {broken[1]}: {broken[2]}", hint)
    if "podman" in "".join(version).lower():
        raise failure("docker is podman here, which has no buildx", "install Docker Engine, or set DOCKER_HOST to one")
    if '"Server":{' not in version[0]:
        last = (version[1].strip().splitlines() or ["it says nothing"])[-1]
        raise failure(f"no Docker engine answers: {last}", "start it, or set DOCKER_HOST to one that runs")


def require_docker() -> None:
    """Look, before anything is done, that an engine answers."""
    require_engine(ask_docker(["version", "--format={{json .}}"])[0])


def require_buildx(*more: Sequence[str]) -> tuple[Builder, list[tuple[str, str]]]:
    """Look, before anything is done, that an engine answers and that a new enough buildx has a builder. more: other questions,
    asked at the same time; their answers."""
    questions = [["version", "--format={{json .}}"], ["info", "--format={{json .}}"], ["buildx", "inspect"], *more]
    version, info, inspected, *answers = ask_docker(*questions)
    require_engine(version)
    facts = json.loads(info[0])
    plugin = next((p["Version"] for p in facts["ClientInfo"].get("Plugins") or () if p["Name"] == "buildx"), "")
    number = tuple(int(n) for n in re.findall(r"\d+", plugin)[:2])
    if number < LEAST_BUILDX:
        have = f"buildx {plugin} is too old" if number else "docker has no buildx"
        hint = "apt-get install docker-buildx-plugin (Docker's packages) or docker-buildx (Debian's)"
        raise failure(f"{have}: {'.'.join(map(str, LEAST_BUILDX))} or newer is needed", hint)
    driver = re.search(r"^Driver:\s*(\S+)", inspected[0], re.MULTILINE)
    if not driver:
        raise failure(f"there is no buildx builder: {(inspected[1].strip().splitlines() or ['?'])[-1]}", "docker buildx ls shows them")
    # Older ones push a second time, from the engine's copy (buildx 4f7d145).
    containerd = "containerd.snapshotter" in str(facts["DriverStatus"])
    own = driver[1] != "docker"
    name = re.search(r"^Name:\s*(\S+)", inspected[0], re.MULTILINE)
    identity = str(name[1] if own and name else facts["ID"])
    return Builder(driver[1], own or (containerd and number >= (0, 22)), own or containerd, identity), answers


SHOW_CURSOR = b"\x1b[0m\x1b[?25h"  # and plain text: BuildKit writes this at the end of all that it draws


@contextlib.contextmanager
def watched(screen: Screen) -> Iterator[None]:
    """Pass what is written to stderr meanwhile through a screen, which keeps it: BuildKit writes there itself, and python-on-whales
    lets it, so the reason of a failure is nowhere else to be read. A terminal is stood in for by a pseudo-terminal."""
    real, terminal = os.dup(2), os.isatty(2) and screen.how == "all"
    if terminal:
        reader, writer = os.openpty()
        tty.setraw(writer)
        fcntl.ioctl(writer, termios.TIOCSWINSZ, fcntl.ioctl(2, termios.TIOCGWINSZ, b"\0" * 8))
    else:
        reader, writer = os.pipe()

    def copy() -> None:
        with contextlib.suppress(OSError):  # a pseudo-terminal ends with EIO
            while chunk := os.read(reader, 65536):
                shown = screen.feed(chunk)
                if terminal or not was_stopped():  # else what was drawn would stand half done
                    with contextlib.suppress(OSError):  # nobody reads it any more; docker writes on
                        os.write(real, shown)

    thread = threading.Thread(target=copy, daemon=True)
    sys.stderr.flush()
    os.dup2(writer, 2)
    os.close(writer)
    thread.start()
    try:
        yield
    finally:
        os.dup2(real, 2)
        thread.join()
        if terminal and was_stopped():
            os.write(real, SHOW_CURSOR)
        os.close(reader)
        os.close(real)


def command_of(options: Mapping[str, Any]) -> list[str]:
    """Return the `docker buildx build` that python-on-whales would run for these arguments of its own.

    `false` stands in for docker, and the exception carries the words. Where python-on-whales is asked to stream, it asks no builder first.
    """
    from python_on_whales.exceptions import DockerException

    try:
        list(client("false").buildx.build(**options, stream_logs=True))
    except DockerException as error:
        return ["docker", *error.docker_command[1:]]
    raise AssertionError("false succeeded")


def foreground(command: Sequence[str]) -> int:
    """Run a docker command on this terminal, where Ctrl-C is for what runs in the container, and give its exit code."""
    child = subprocess.Popen([*map(str, client().docker_cmd), *command])
    with ignored(signal.SIGINT):
        return child.wait()


@contextlib.contextmanager
def ignored(number: signal.Signals) -> Iterator[None]:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


def run_or_print(out: Out, *words: str) -> str:
    """Run a docker command that changes something, and return its output; a dry run prints it, and returns ''."""
    if out.dry_run:
        print_result(shlex.join(["docker", *words]))
        return ""
    return docker(*words)


def run_on_terminal(out: Out, words: Sequence[str]) -> None:
    """Run a docker command that a person talks to, or print it in a dry run. Raises Exit with its code where that is not 0."""
    if out.dry_run:
        print_result(shlex.join(["docker", *words]))
    elif code := foreground(words):
        raise Exit(code=code if code > 0 else 128 - code)  # as shells say that a signal has ended it


def stdin_options() -> list[str]:
    """Return docker's options for a command that reads this stdin, be it a terminal or a pipe."""
    return ["--interactive", *(["--tty", "--env=TERM"] if sys.stdin.isatty() else [])]
