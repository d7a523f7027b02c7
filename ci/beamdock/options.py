"""beamdock 0.1.0: the options of run and console, checked, and put into docker's words. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .files import read_text
from .flags import RunFlags
from .project import Project
from .words import PROJECT_LABEL, failure, in_a_line

NUMBERS = r"(?:\d+(?:-\d+)?)"
PORT = re.compile(rf"(?:(?:\[[^\]]*\]|[^:\[\]]*):)?(?:(?P<host>{NUMBERS}?):)?(?P<inside>{NUMBERS})(?:/(?:tcp|udp|sctp))?", re.IGNORECASE)
MEMORY = re.compile(r"(?:\d+|\d*\.\d+) ?(?:[kmgtp]i?)?b?", re.IGNORECASE)
CPUS = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)")
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")


def published(port: str) -> str:
    """docker's --publish, with a bare port meaning the same one on the loopback address."""
    number, _, protocol = port.partition("/")
    suffix = f"/{protocol}" if protocol else ""
    if re.fullmatch(r"\d+(-\d+)?", number):
        return f"127.0.0.1:{number}:{number}{suffix}"
    return f"127.0.0.1:{number}{suffix}" if re.fullmatch(r"\d+(-\d+)?:\d+(-\d+)?", number) else port


def check_port(port: str) -> None:
    parts = PORT.fullmatch(port)
    if not parts:
        raise failure(f"--publish={in_a_line(port)} is no port", "--publish=8080, 80:8080, 0.0.0.0:80:8080 or 53:8053/udp, for example")
    for numbers, least in ((parts["inside"], 1), (parts["host"] or "", 0)):
        if wrong := next((n for n in re.findall(r"\d+", numbers) if not least <= int(n) <= 65535), ""):
            raise failure(f"--publish={port}: there is no port {wrong}", "ports are 1 to 65535")


def check_variable(name: str, where: str) -> None:
    if not name or re.search(r"\s", name):
        raise failure(f"{where}: {in_a_line(name) or 'an empty text'} can't be the name of a variable", "NAME=VALUE, or NAME to pass it on")


def check_volume(volume: str) -> None:
    parts = volume.split(":")
    inside = parts[1 if len(parts) > 1 else 0]
    if len(parts) > 3 or not all(parts) or not inside.startswith("/"):
        raise failure(f"--volume={in_a_line(volume)} is no volume", "--volume=HOST:CONTAINER, and CONTAINER begins with a slash")


def check_options(flags: RunFlags) -> None:
    """Refuse by name, before anything is done, what docker would refuse; of what only the engine knows docker says the reason."""
    for port in flags.publish or ():
        check_port(port)
    for pair in flags.env or ():
        check_variable(pair.partition("=")[0], f"--env={in_a_line(pair.partition('=')[0])}")
    for file in flags.env_file or ():
        if not Path(file).exists() or Path(file).is_dir():
            raise failure(f"--env-file={in_a_line(file)}: there is no such file", "a file of NAME=VALUE lines")
        for number, line in enumerate(read_text(Path(file)).splitlines() if Path(file).is_file() else (), 1):
            if line.strip() and not line.lstrip().startswith("#"):
                check_variable(line.partition("=")[0].lstrip(), f"{in_a_line(file)}:{number}")
    for volume in flags.volume or ():
        check_volume(volume)
    if flags.memory and not MEMORY.fullmatch(flags.memory):
        raise failure(f"--memory={in_a_line(flags.memory)} is no amount of memory", "--memory=512m, or 2g")
    if flags.cpus and not CPUS.fullmatch(flags.cpus):
        raise failure(f"--cpus={in_a_line(flags.cpus)} is no number of processors", "--cpus=1.5, for example")
    if flags.name and not NAME.fullmatch(flags.name):
        hint = "letters, digits, _ . and -, the first a letter or a digit"
        raise failure(f"--name={in_a_line(flags.name)} can't be a container's name", hint)


def volumes(project: Project, flags: RunFlags, home: str) -> list[str]:
    """The folders that the release writes into, each to be a volume without a name, which begins with what the image has there."""
    if flags.writable:
        return []
    given = {volume.split(":")[1].rstrip("/") for volume in flags.volume or () if ":" in volume}
    folders = [os.path.normpath(Path(home or "/", folder)) for folder in project.settings.writable]
    return [folder for folder in folders if folder not in given]


def run_command(
    project: Project, flags: RunFlags, image: str, config: Mapping[str, Any], mode: Sequence[str], args: Sequence[str]
) -> list[str]:
    """`docker run` as the BEAM needs it. config: the image's own, mode: --detach or --interactive and so on."""
    command = ["run", "--init", "--tmpfs=/tmp", f"--label={PROJECT_LABEL}={project.image}"]
    command += [f"--ulimit=nofile={project.settings.nofile}:{project.settings.nofile}"]
    command += [] if flags.writable else ["--read-only"]
    command += [f"--volume={folder}" for folder in volumes(project, flags, str(config.get("WorkingDir", "")))]
    command += ["--user=1000:1000"] if str(config.get("User", "")).split(":")[0] in ("", "0", "root") else []
    command += [] if any(e.startswith(("LANG=", "LC_ALL=")) for e in config.get("Env") or ()) else ["--env=LANG=C.UTF-8"]
    command += ["--env=TERM"] if "--tty" in mode else []
    repeated = {
        "publish": [published(p) for p in flags.publish or ()],
        "env": flags.env,
        "env-file": flags.env_file,
        "volume": flags.volume,
    }
    command += [f"--{name}={value}" for name, values in repeated.items() for value in values or ()]
    command += [f"--{name}={getattr(flags, name)}" for name in ("network", "memory", "cpus") if getattr(flags, name)]
    return [*command, *mode, image, *args]


def variables_given(flags: RunFlags, config: Mapping[str, Any]) -> set[str]:
    """The environment variables that a container will have a value for: the image's, and those of the flags."""
    files = [line for file in flags.env_file or () if Path(file).is_file() for line in read_text(Path(file)).splitlines()]
    pairs = [(entry.partition("=") if "=" in entry else (entry, "=", os.environ.get(entry, ""))) for entry in (*files, *(flags.env or ()))]
    return {name for name, _, value in [*(e.partition("=") for e in config.get("Env") or ()), *pairs] if value}
