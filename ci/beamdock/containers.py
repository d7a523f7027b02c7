"""beamdock 0.1.0: containers of the image: started, found, talked to. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from invoke.exceptions import Exit

from .advice import warn_of_run
from .docker import act, act_on_terminal, docker, exit_code, require_docker
from .files import read_text
from .flags import ContainerFlags, RunFlags
from .git import git
from .project import Project, invoke
from .tags import branch_tag
from .words import PROJECT_LABEL, REVISION_LABEL, failure, result, say


def published(port: str) -> str:
    """docker's --publish, with a bare port meaning the same one on the loopback address."""
    number, _, protocol = port.partition("/")
    suffix = f"/{protocol}" if protocol else ""
    if re.fullmatch(r"\d+(-\d+)?", number):
        return f"127.0.0.1:{number}:{number}{suffix}"
    return f"127.0.0.1:{number}{suffix}" if re.fullmatch(r"\d+(-\d+)?:\d+(-\d+)?", number) else port


def volumes(project: Project, flags: RunFlags, home: str) -> list[str]:
    """A volume without a name, which begins with what the image has there, for each folder that the release writes into."""
    given = {volume.split(":")[1].rstrip("/") for volume in flags.volume or () if ":" in volume}
    folders = [os.path.normpath(f"{'' if folder.startswith('/') else home}/{folder}") for folder in project.settings.writable]
    return [f"--volume={folder}" for folder in folders if folder not in given]


def run_command(
    project: Project, flags: RunFlags, image: str, config: Mapping[str, Any], mode: Sequence[str], args: Sequence[str]
) -> list[str]:
    """`docker run` as the BEAM needs it. config: the image's own, mode: --detach or --interactive and so on."""
    command = ["run", "--init", "--tmpfs=/tmp", f"--label={PROJECT_LABEL}={project.image}"]
    command += [f"--ulimit=nofile={project.settings.nofile}:{project.settings.nofile}"]
    command += [] if flags.writable else ["--read-only", *volumes(project, flags, str(config.get("WorkingDir", "")))]
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


def choose_container(containers: Sequence[Mapping[str, str]], name: str) -> Mapping[str, str]:
    """The one container that is meant, of rows of `docker ps`; an error that lists them where there are several."""
    named = [c for c in containers if c["Names"] == name] or [c for c in containers if not name or c["ID"].startswith(name)]
    if len(named) == 1:
        return named[0]
    if named:
        lines = "".join(f"\n  {c['Names']}  {c['Image']}  {c['Status']}" for c in named)
        raise failure(f"this project has {len(named)} containers:{lines}", f"choose one: --name {named[0]['Names']}")
    what = f"no container called {name}" if name else "no container of this project"
    raise failure(f"{what} is running", "invoke run --detach starts one; invoke ps lists them", code=1)


def containers_of(project: Project, everything: bool = False) -> list[dict[str, str]]:
    """This project's containers, found by their label, as `docker ps` describes them; running ones, or everything."""
    options = ["--no-trunc", f"--filter=label={PROJECT_LABEL}={project.image}", "--format={{json .}}"]
    return [json.loads(line) for line in docker("ps", *options, *(["--all"] if everything else [])).splitlines()]


def remainder() -> list[str]:
    """What follows `--`, from the command line itself: Invoke's own joins it with spaces and loses the quoting."""
    return sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []


def find_image(project: Project, tag: str) -> tuple[str, dict[str, Any]]:
    """The reference of the branch's image (or a given tag's) and its configuration; says when it is behind the commit."""
    tag = tag or (branch_tag(project.tree.branch) if project.tree.branch else project.commit_tag)
    reference = f"{project.repository}:{tag}"
    try:
        config: dict[str, Any] = json.loads(docker("image", "inspect", "--format={{json .Config}}", reference))
    except Exit:
        raise failure(f"there is no image {reference}", invoke(project, "build"), code=1) from None
    return reference, config


def age(project: Project, config: Mapping[str, Any]) -> str:
    """How the image's commit stands to the work tree's, in words; '' where they are the same."""
    revision = (config.get("Labels") or {}).get(REVISION_LABEL, "")
    if revision == project.commit_tag:
        return ""
    built, _, dirty = revision.partition("-")
    if built == project.tree.commit:
        return "built before the last edits" if dirty else "built from the commit; the tree has edits since"
    try:
        behind = int(git(project.root, "rev-list", "--count", f"{built}..HEAD"))
    except Exit:
        return "built from another history"
    return f"{behind} commit{'s' if behind != 1 else ''} behind HEAD" if behind else "built from a later commit"


def start(project: Project, flags: RunFlags, mode: Sequence[str], args: Sequence[str]) -> None:
    """What run and console share: find the image, make the command, run it."""
    require_docker()
    reference, image_config = find_image(project, flags.tag)
    name = flags.name or f"{project.release.name}-{branch_tag(project.tree.branch) if project.tree.branch else project.tree.commit[:12]}"
    for gone in containers_of(project, everything=True):
        if gone["Names"] == name and gone["State"] in ("exited", "dead", "created"):
            act(flags, "rm", "--volumes", gone["ID"])
    warn_of_run(project, variables_given(flags, image_config), flags)
    detach, interactive = "--detach" in mode, "--tty" in mode
    words = run_command(project, flags, reference, image_config, [f"--name={name}", *mode, *([] if detach else ["--rm"])], args)
    old = age(project, image_config)
    about = f"{name} ({reference}{old and f', {old}'})"
    if not detach:
        leave = "Ctrl-G then q leaves, and ends the container" if interactive else "Ctrl-C stops it in order"
        say(f"starting {about}: {leave}", flags.quiet or flags.dry_run)
        act_on_terminal(flags, words, stop="" if interactive else name)
        return
    try:
        identity = act(flags, *words)
    except Exit:
        for half in (c for c in containers_of(project, everything=True) if c["Names"] == name and c["State"] == "created"):
            docker("rm", "--volumes", half["ID"])
        raise
    if identity:
        if ended := exit_code(identity.strip(), seconds=1.5):
            raise failure(f"{name} ended at once, with exit code {ended}", f"invoke logs --name {name} shows what it wrote", 1)
        ports = docker("port", identity.strip()).strip().replace("\n", ", ")
        say(f"started {about}{ports and f': {ports}'}\nnext: {invoke(project, 'logs -f', 'attach', 'stop')}", flags.quiet)
        result(identity.strip())


def container(project: Project, flags: ContainerFlags, stopped: bool = False) -> Mapping[str, str]:
    """The container that a task is about: a running one; with stopped, one that has ended where none runs."""
    require_docker()
    everything = containers_of(project, everything=True)
    running = [row for row in everything if row["State"] == "running"]
    if not running and not stopped and any(flags.name in ("", row["Names"]) for row in everything):
        row = next(row for row in everything if flags.name in ("", row["Names"]))
        raise failure(
            f"{row['Names']} runs no more: {row['Status']}", "invoke logs shows what it wrote; invoke run --detach starts another", 1
        )
    return choose_container(everything if stopped and (flags.name or not running) else running, flags.name)


def terminal() -> list[str]:
    """docker's options for a command that reads this stdin, be it a terminal or a pipe."""
    return ["--interactive", *(["--tty", "--env=TERM"] if sys.stdin.isatty() else [])]
