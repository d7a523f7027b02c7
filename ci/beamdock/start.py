"""beamdock 0.1.0: a container of the image, started, and what comes of it. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from invoke.exceptions import Exit

from .advice import warn_of_run
from .containers import age, containers_of, find_image, named, of_another
from .docker import act, client, docker, require_docker, started
from .flags import RunFlags, StartFlags
from .nodes import how_it_ended, last_words, look_at_container, wait_for_node
from .options import check_options, run_command, variables_given, volumes
from .project import Project, invoke
from .stop import Stopped, deal_with_stop, held, was_stopped
from .tags import branch_tag
from .words import WRITABLE_LABEL, failure, result, say

# How long a node is waited for, and how long an orderly stop may take.
STARTING, STOPPING = 10, 30


def start(project: Project, flags: RunFlags, mode: Sequence[str], args: Sequence[str]) -> None:
    """What run and console share: find the image, make the command, run it."""
    check_options(flags)
    require_docker()
    reference, config = find_image(project, flags.tag)
    require_writable(project, flags, reference, config)
    branch = branch_tag(project.tree.branch) if project.tree.branch else project.tree.commit[:12]
    name = flags.name or f"{project.image.replace('/', '-')}-{branch}"
    make_room(project, flags, name)
    warn_of_run(project, variables_given(flags, config), flags.out)
    detach, interactive = "--detach" in mode, "--tty" in mode
    words = run_command(project, flags, reference, config, [f"--name={name}", *mode, *([] if detach else ["--rm"])], args)
    old = age(project, config)
    about = f"{name} ({reference}{old and f', {old}'})"
    if not detach:
        leave = "Ctrl-G then q leaves, and ends the container" if interactive else "Ctrl-C stops it in order"
        say(f"starting {about}: {leave}", flags.quiet or flags.dry_run)
    if flags.dry_run:
        act(flags.out, *words)
    elif not detach:
        follow(words, name, interactive)
    else:
        identity = start_detached(words, name, not isinstance(flags, StartFlags) or flags.wait, flags.quiet)
        ports = docker("port", identity).strip().replace("\n", ", ")
        say(f"started {about}{ports and f': {ports}'}\nnext: {invoke(project, 'logs -f', 'attach', 'stop')}", flags.quiet)
        result(identity)


def require_writable(project: Project, flags: RunFlags, reference: str, config: Mapping[str, Any]) -> None:
    """Stop where the image was built without one of the folders that will be volumes: docker would make it, as root's."""
    home = str(config.get("WorkingDir", ""))
    wanted = volumes(project, flags, home)
    built = (config.get("Labels") or {}).get(WRITABLE_LABEL)
    if built is not None:
        there = {os.path.normpath(Path(home or "/", folder)) for folder in built.split()}
        lacking = [folder for folder in wanted if folder not in there]
    else:  # an image from before the label, or of another builder
        test = 'for each do [ -w "$each" ] || echo "$each"; done'
        ask = ["run", "--rm", "--user=1000:1000", "--entrypoint=/bin/sh", reference, "-c", test, "sh", *wanted]
        lacking = docker(*ask).splitlines() if wanted else []
    if lacking:
        raise failure(f"{reference} was built without the writable {', '.join(lacking)}", invoke(project, "build"), 1)


def make_room(project: Project, flags: RunFlags, name: str) -> None:
    """Remove this project's container of that name where it has ended; stop where one runs, or is somebody else's."""
    there = named(name)
    if not there:
        return
    ours = any(row["ID"] == there["ID"] for row in containers_of(project, everything=True)) and not of_another(project, there["origin"])
    if ours and there["State"] in ("exited", "dead", "created"):
        act(flags.out, "rm", "--volumes", there["ID"])
    elif ours:
        hint = f"{invoke(project, 'attach')} opens its shell, {invoke(project, 'stop')} ends it; --name gives this one another name"
        raise failure(f"this project's container {name} is there already ({there['Status']})", hint, 1)
    else:
        hint = f"--name gives this one another; docker stop {name} ends the other"
        raise failure(f"there is a container called {name}, of {there['Image']}, and it is not this project's", hint, 1)


def create(words: Sequence[str]) -> str:
    """Create a container instead of running it, and give its id. It stays when it has ended, to be asked how."""
    return docker("create", *(word for word in words[1:] if word not in ("--rm", "--detach"))).strip()


def remove(identity: str) -> None:
    docker("rm", "--force", "--volumes", identity)


def start_detached(words: Sequence[str], name: str, wait: bool, quiet: bool) -> str:
    """Run a container in the background and give its id. wait: until its node has started, or it has ended."""
    identity = ""
    try:
        with held():
            identity = create(words)
        docker("start", identity)
        up = wait_for_node(identity, STARTING) if wait else True
    except (Exit, Stopped):
        if identity:
            with held():
                remove(identity)
        raise
    facts = look_at_container(identity)
    if facts["State"]["Status"] == "exited":
        raise how_it_ended(name, facts, last_words(identity), seen=False)
    if not up:
        say(f"{name} does not answer yet: invoke logs --name {name} shows what it writes", quiet)
    return identity


def follow(words: Sequence[str], name: str, interactive: bool) -> None:
    """Run a container on this terminal until it ends; its exit code becomes ours. A signal is held, and stops the node in order:
    docker is out of the terminal's reach, since the BEAM with +Bd takes no notice of SIGINT."""
    with held():
        identity = create(words)
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
            wrote = last_words(identity) if facts["State"]["ExitCode"] else []
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
    """Wait for the end of `docker start`; whether a signal brought it."""
    while child.poll() is None and not was_stopped():
        wait(child, 0.2)
    if child.poll() is not None:
        return False
    say(f"stopping {name}")
    while child.poll() is None:  # docker stops nothing where the container is only being started
        stop_in_order(identity, STOPPING)
        wait(child, 0.2)
    return True


def stop_in_order(identity: str, seconds: int) -> None:
    """Stop a container. Its signal is sent again, later and later: a node that is only starting loses it."""
    engine, nowhere = [*map(str, client().docker_cmd)], {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with started([*engine, "stop", f"--time={seconds}", identity], **nowhere) as child:
        pause = 0.5
        while not wait(child, pause):
            with started([*engine, "kill", "--signal=TERM", identity], **nowhere) as again:
                again.wait()
            pause *= 2


def wait(child: subprocess.Popen[Any], seconds: float) -> bool:
    """Whether a process ends within so many seconds."""
    until = time.monotonic() + seconds
    while child.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    return child.poll() is not None
