"""beamdock 0.1.0: a container of the image, started, and what comes of it. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import enum
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invoke.exceptions import Exit

from .containers import ReleaseImage, container_called, containers_of, describe_age, find_image, is_of_another
from .docker import client, docker, require_docker, run_or_print
from .nodes import how_it_ended, last_lines, look_at_container, wait_for_node
from .options import RunOptions, check_options, run_command, writable_volumes
from .project import Project, next_commands
from .signals import Stopped, deal_with_stop, held, was_stopped
from .stop import ends_within, stop_in_order
from .tags import branch_tag
from .words import WRITABLE_LABEL, Out, failure, print_result, say

# How many seconds a node is waited for, and how many an orderly stop may take.
STARTING, STOPPING = 10, 30


class Mode(enum.Enum):
    """How a container runs, with docker's options for it."""

    FOREGROUND = ("--rm",)
    DETACHED = ("--detach",)
    CONSOLE = ("--interactive", "--tty", "--rm")


@dataclass(frozen=True)
class Launch:
    """A container that is to be started. arguments: of the start script. name: '' for IMAGE-BRANCH. tag: '' for the branch's image.
    waits: whether a detached start waits for the node."""

    mode: Mode
    options: RunOptions
    arguments: tuple[str, ...] = ()
    name: str = ""
    tag: str = ""
    waits: bool = True


@dataclass(frozen=True)
class Prepared:
    """A container that nothing is in the way of. words: of its `docker run`."""

    launch: Launch
    image: ReleaseImage
    name: str
    words: tuple[str, ...]


def prepare_container(project: Project, launch: Launch, out: Out) -> Prepared:
    """Look whether a container of the release can be started, and plan its command. One of its name that has ended is removed. Raises Exit
    where the options or the image don't allow it, or where its name is taken."""
    check_options(launch.options, launch.name)
    require_docker()
    image = find_image(project, launch.tag)
    require_writable(project, launch.options, image)
    name = launch.name or default_name(project)
    make_room(project, name, out)
    words = run_command(project, launch.options, image, [f"--name={name}", *launch.mode.value], launch.arguments)
    return Prepared(launch, image, name, tuple(words))


def start_container(project: Project, prepared: Prepared, out: Out) -> None:
    """Start a container, and see it through: to its end, or detached until its node has started. A dry run prints the command. Raises Exit
    with the container's own code where it ends in the foreground."""
    mode, name = prepared.launch.mode, prepared.name
    age = describe_age(project, prepared.image)
    about = f"{name} ({prepared.image.reference}{age and f', {age}'})"
    if mode is not Mode.DETACHED:
        leave = "Ctrl-G then q leaves, and ends the container" if mode is Mode.CONSOLE else "Ctrl-C stops it in order"
        out.report(f"starting {about}: {leave}")
    if out.dry_run:
        run_or_print(out, *prepared.words)
    elif mode is Mode.DETACHED:
        identity = start_detached(prepared, out)
        ports = docker("port", identity).strip().replace("\n", ", ")
        out.say(f"started {about}{ports and f': {ports}'}\nnext: {next_commands(project, 'logs -f', 'attach', 'stop')}")
        print_result(identity)
    else:
        follow(prepared)


def default_name(project: Project) -> str:
    """Return the name of a container that is given none: IMAGE-BRANCH, or IMAGE-COMMIT on a detached HEAD."""
    branch = branch_tag(project.tree.branch) if project.tree.branch else project.tree.commit[:12]
    return f"{project.image.replace('/', '-')}-{branch}"


def require_writable(project: Project, options: RunOptions, image: ReleaseImage) -> None:
    """Raise Exit where the image was built without one of the folders that will be volumes: docker would make it, and root would own it."""
    wanted = writable_volumes(project, options, image.home)
    built = image.labels.get(WRITABLE_LABEL)
    if built is not None:
        there = {os.path.normpath(Path(image.home, folder)) for folder in built.split()}
        lacking = [folder for folder in wanted if folder not in there]
    else:  # an image from before the label, or of another builder
        test = 'for each do [ -w "$each" ] || echo "$each"; done'
        ask = ["run", "--rm", "--user=1000:1000", "--entrypoint=/bin/sh", image.reference, "-c", test, "sh", *wanted]
        lacking = docker(*ask).splitlines() if wanted else []
    if lacking:
        raise failure(f"{image.reference} was built without the writable {', '.join(lacking)}", next_commands(project, "build"), 1)


def make_room(project: Project, name: str, out: Out) -> None:
    """Remove this project's container of that name where it has ended. Raises Exit where it runs, or is somebody else's."""
    there = container_called(name)
    if not there:
        return
    is_ours = any(each.id == there.id for each in containers_of(project)) and not is_of_another(project, there.origin)
    if is_ours and there.has_ended:
        run_or_print(out, "rm", "--volumes", there.id)
    elif is_ours:
        attach, stop = next_commands(project, "attach"), next_commands(project, "stop")
        hint = f"{attach} opens its shell, {stop} ends it; --name gives this one another name"
        raise failure(f"this project's container {name} is there already ({there.status})", hint, 1)
    else:
        hint = f"--name gives this one another; docker stop {name} ends the other"
        raise failure(f"there is a container called {name}, of {there.image}, and it is not this project's", hint, 1)


def create(words: Sequence[str]) -> str:
    """Create the container of a `docker run`, and return its id. It stays when it has ended, to be asked how."""
    return docker("create", *(word for word in words[1:] if word not in ("--rm", "--detach"))).strip()


def remove(identity: str) -> None:
    """Remove a container with its volumes, whether it runs or not."""
    docker("rm", "--force", "--volumes", identity)


def start_detached(prepared: Prepared, out: Out) -> str:
    """Run a container in the background, wait until its node has started or it has ended, and return its id. Raises Exit where it has
    ended by then."""
    identity, name = "", prepared.name
    try:
        with held():
            identity = create(prepared.words)
        docker("start", identity)
        has_settled = wait_for_node(identity, STARTING) if prepared.launch.waits else True
    except (Exit, Stopped):
        if identity:
            with held():
                remove(identity)
        raise
    facts = look_at_container(identity)
    if facts["State"]["Status"] == "exited":
        raise how_it_ended(name, facts, last_lines(identity), seen=False)
    if not has_settled:
        out.say(f"{name} does not answer yet: invoke logs --name {name} shows what it writes")
    return identity


def follow(prepared: Prepared) -> None:
    """Run a container on this terminal until it ends, and raise Exit with its code.

    A signal is held, and stops the node in order. docker is out of the terminal's reach, since the BEAM with +Bd takes no notice of
    SIGINT.
    """
    name, interactive = prepared.name, prepared.launch.mode is Mode.CONSOLE
    with held():
        identity = create(prepared.words)
        try:
            if was_stopped():
                return
            options = ["--interactive"] if interactive else []
            command = [*map(str, client().docker_cmd), "start", "--attach", *options, identity]
            with subprocess.Popen(command, start_new_session=not interactive) as child:
                stopped = wait_or_stop(child, identity, name)
            facts = look_at_container(identity)
            if stopped:
                deal_with_stop()
            wrote = last_lines(identity) if facts["State"]["ExitCode"] else []
        finally:
            remove(identity)
    code = facts["State"]["ExitCode"]
    if code and not (stopped or interactive):
        if wrote and not wrote[-1].endswith("\n"):
            say("")  # a crash dump's line has no end
        raise how_it_ended(name, facts, wrote, seen=True)
    if code:
        raise Exit(code=code)


def wait_or_stop(child: subprocess.Popen[Any], identity: str, name: str) -> bool:
    """Wait for the end of `docker start`, and stop the container where a signal comes. Did a signal come?"""
    while child.poll() is None and not was_stopped():
        ends_within(child, 0.2)
    if child.poll() is not None:
        return False
    say(f"stopping {name}")
    while child.poll() is None:  # docker stops nothing where the container is only being started
        stop_in_order(identity, STOPPING)
        ends_within(child, 0.2)
    return True
