"""beamdock 0.1.0: containers of the image: started, found, talked to. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from invoke.exceptions import Exit

from .docker import docker, require_docker
from .flags import ContainerFlags
from .git import git
from .history import is_same_project, read_origin
from .project import Project, invoke
from .tags import branch_tag
from .words import ORIGIN_LABEL, PROJECT_LABEL, REVISION_LABEL, failure


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


def named(name: str) -> Optional[dict[str, str]]:
    """The container of that name, whoever's it is, as `docker ps` describes it; with `origin`, the label."""
    form = f'{{{{json .}}}}\t{{{{.Label "{ORIGIN_LABEL}"}}}}'
    lines = docker("ps", "--all", "--no-trunc", f"--filter=name=^/?{re.escape(name)}$", f"--format={form}").splitlines()
    return next(({**json.loads(row), "origin": origin} for row, _, origin in (line.partition("\t") for line in lines)), None)


def of_another(project: Project, origin: str) -> bool:
    """Whether an image or a container with this label is of another project, which calls its image the same."""
    return bool(origin) and not is_same_project(origin, read_origin(project.root))


def remainder() -> list[str]:
    """What follows `--`, from the command line itself: Invoke's own joins it with spaces and loses the quoting."""
    return sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []


def find_image(project: Project, tag: str) -> tuple[str, dict[str, Any]]:
    """The reference of the branch's image (or a given tag's) and its configuration."""
    tag = tag or (branch_tag(project.tree.branch) if project.tree.branch else project.commit_tag)
    reference = f"{project.repository}:{tag}"
    try:
        config: dict[str, Any] = json.loads(docker("image", "inspect", "--format={{json .Config}}", reference))
    except Exit:
        raise failure(f"there is no image {reference}", invoke(project, "build"), code=1) from None
    if of_another(project, (config.get("Labels") or {}).get(ORIGIN_LABEL, "")):
        hint = f"another `image:` in invoke.yaml, for one of the two; {invoke(project, 'build')} puts this project's in its place"
        raise failure(f"{reference} is another project's image, of the same name", hint, 1)
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
