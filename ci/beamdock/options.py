"""beamdock 0.1.0: the options of run and console, checked, and put into docker's words. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .containers import ReleaseImage
from .files import read_text
from .project import Project
from .words import PROJECT_LABEL, failure, in_a_line


@dataclass(frozen=True)
class RunOptions:
    """How a container is to run, in docker's own words; '' and () are docker's defaults. writable: may it write to its root file system?"""

    publish: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    env_file: tuple[str, ...] = ()
    volume: tuple[str, ...] = ()
    network: str = ""
    memory: str = ""
    cpus: str = ""
    writable: bool = False


NUMBERS = r"(?:\d+(?:-\d+)?)"
PORT = re.compile(rf"(?:(?:\[[^\]]*\]|[^:\[\]]*):)?(?:(?P<host>{NUMBERS}?):)?(?P<inside>{NUMBERS})(?:/(?:tcp|udp|sctp))?", re.IGNORECASE)
MEMORY = re.compile(r"(?:\d+|\d*\.\d+) ?(?:[kmgtp]i?)?b?", re.IGNORECASE)
CPUS = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)")
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")


def publish_words(port: str) -> str:
    """Return docker's --publish of a port. Without an address it is on the loopback address; a bare port is the same inside."""
    number, _, protocol = port.partition("/")
    suffix = f"/{protocol}" if protocol else ""
    if re.fullmatch(r"\d+(-\d+)?", number):
        return f"127.0.0.1:{number}:{number}{suffix}"
    return f"127.0.0.1:{number}{suffix}" if re.fullmatch(r"\d+(-\d+)?:\d+(-\d+)?", number) else port


def check_port(port: str) -> None:
    """Raise Exit where a text is no port for --publish."""
    parts = PORT.fullmatch(port)
    if not parts:
        raise failure(f"--publish={in_a_line(port)} is no port", "--publish=8080, 80:8080, 0.0.0.0:80:8080 or 53:8053/udp, for example")
    for numbers, least in ((parts["inside"], 1), (parts["host"] or "", 0)):
        if wrong := next((n for n in re.findall(r"\d+", numbers) if not least <= int(n) <= 65535), ""):
            raise failure(f"--publish={port}: there is no port {wrong}", "ports are 1 to 65535")


def check_variable(name: str, where: str) -> None:
    """Raise Exit where a text can't be the name of a variable. where: who names it."""
    if not name or re.search(r"\s", name):
        raise failure(f"{where}: {in_a_line(name) or 'an empty text'} can't be the name of a variable", "NAME=VALUE, or NAME to pass it on")


def check_volume(volume: str) -> None:
    """Raise Exit where a text is no volume: HOST:CONTAINER, HOST:CONTAINER:OPTIONS or /CONTAINER."""
    parts = volume.split(":")
    inside = parts[1 if len(parts) > 1 else 0]
    if len(parts) > 3 or not all(parts) or not inside.startswith("/"):
        raise failure(f"--volume={in_a_line(volume)} is no volume", "--volume=HOST:CONTAINER, and CONTAINER begins with a slash")


def check_env_file(file: str) -> None:
    """Raise Exit where a file for --env-file is not there, or has a line that names no variable."""
    if not Path(file).exists() or Path(file).is_dir():
        raise failure(f"--env-file={in_a_line(file)}: there is no such file", "a file of NAME=VALUE lines")
    for number, line in enumerate(read_text(Path(file)).splitlines() if Path(file).is_file() else (), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            check_variable(line.partition("=")[0].lstrip(), f"{in_a_line(file)}:{number}")


def check_options(options: RunOptions, name: str = "") -> None:
    """Raise Exit where docker would refuse an option, or the container's name. It is named before anything is done. Of what only the
    engine knows docker says the reason."""
    for port in options.publish:
        check_port(port)
    for pair in options.env:
        check_variable(pair.partition("=")[0], f"--env={in_a_line(pair.partition('=')[0])}")
    for file in options.env_file:
        check_env_file(file)
    for volume in options.volume:
        check_volume(volume)
    if options.memory and not MEMORY.fullmatch(options.memory):
        raise failure(f"--memory={in_a_line(options.memory)} is no amount of memory", "--memory=512m, or 2g")
    if options.cpus and not CPUS.fullmatch(options.cpus):
        raise failure(f"--cpus={in_a_line(options.cpus)} is no number of processors", "--cpus=1.5, for example")
    if name and not NAME.fullmatch(name):
        hint = "letters, digits, _ . and -, the first a letter or a digit"
        raise failure(f"--name={in_a_line(name)} can't be a container's name", hint)


def writable_volumes(project: Project, options: RunOptions, home: str) -> list[str]:
    """Return the folders that the release writes into, and that no --volume is for: each becomes a volume without a name. It begins with
    what the image has there. home: the folder of the release."""
    if options.writable:
        return []
    given = {volume.split(":")[1].rstrip("/") for volume in options.volume if ":" in volume}
    folders = [os.path.normpath(Path(home, folder)) for folder in project.settings.writable]
    return [folder for folder in folders if folder not in given]


def run_command(project: Project, options: RunOptions, image: ReleaseImage, mode: Sequence[str], arguments: Sequence[str]) -> list[str]:
    """Return `docker run` as the BEAM needs it. mode: docker's --detach, or --interactive and so on; arguments: of the start script."""
    command = ["run", "--init", "--tmpfs=/tmp", f"--label={PROJECT_LABEL}={project.image}"]
    command += [f"--ulimit=nofile={project.settings.nofile}:{project.settings.nofile}"]
    command += [] if options.writable else ["--read-only"]
    command += [f"--volume={folder}" for folder in writable_volumes(project, options, image.home)]
    command += ["--user=1000:1000"] if image.user.split(":")[0] in ("", "0", "root") else []
    command += [] if any(entry.startswith(("LANG=", "LC_ALL=")) for entry in image.environment) else ["--env=LANG=C.UTF-8"]
    command += ["--env=TERM"] if "--tty" in mode else []
    command += [f"--publish={publish_words(port)}" for port in options.publish]
    command += [f"--env={pair}" for pair in options.env]
    command += [f"--env-file={file}" for file in options.env_file]
    command += [f"--volume={volume}" for volume in options.volume]
    limits = {"network": options.network, "memory": options.memory, "cpus": options.cpus}
    command += [f"--{name}={value}" for name, value in limits.items() if value]
    return [*command, *mode, image.reference, *arguments]


def variables_given(options: RunOptions, image: ReleaseImage, environ: Mapping[str, str]) -> set[str]:
    """Return the names of the variables that a container will have a value for: the image's, and those of the options. environ: of the
    caller, from which docker takes a variable that is named without a value."""
    files = [line for file in options.env_file if Path(file).is_file() for line in read_text(Path(file)).splitlines()]
    given = [entry if "=" in entry else f"{entry}={environ.get(entry, '')}" for entry in (*files, *options.env)]
    return {name for name, _, value in (entry.partition("=") for entry in (*image.environment, *given)) if value}
