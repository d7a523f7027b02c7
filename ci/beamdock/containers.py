"""beamdock 0.1.0: this project's containers and images in the engine, found. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from invoke.exceptions import Exit

from .docker import docker, require_docker
from .explain import NoSuchImage
from .git import git
from .history import is_same_project, read_origin
from .project import Project, next_commands
from .tags import branch_tag
from .words import ORIGIN_LABEL, PROJECT_LABEL, REVISION_LABEL, failure


@dataclass(frozen=True)
class Container:
    """A container, as `docker ps` describes it. origin: the label that says whose project's it is."""

    id: str
    name: str
    image: str
    state: str
    status: str
    origin: str = ""

    @property
    def is_running(self) -> bool:
        return self.state == "running"

    @property
    def has_ended(self) -> bool:
        return self.state in ("exited", "dead", "created")


@dataclass(frozen=True)
class ReleaseImage:
    """An image of the release in the engine. config: its configuration, as the OCI image specification has it."""

    reference: str
    config: Mapping[str, Any]

    @property
    def labels(self) -> Mapping[str, str]:
        return self.config.get("Labels") or {}

    @property
    def environment(self) -> Sequence[str]:
        return self.config.get("Env") or ()

    @property
    def user(self) -> str:
        return str(self.config.get("User") or "")

    @property
    def home(self) -> str:
        """The folder of the release."""
        return str(self.config.get("WorkingDir") or "/")


def list_containers(*filters: str) -> list[Container]:
    """Return the containers that docker's filters let through, whether they run or not."""
    form = f'{{{{json .}}}}\t{{{{.Label "{ORIGIN_LABEL}"}}}}'
    listed = docker("ps", "--all", "--no-trunc", *(f"--filter={each}" for each in filters), f"--format={form}").splitlines()
    found = []
    for text, _, origin in (line.partition("\t") for line in listed):
        row = json.loads(text)
        found.append(Container(row["ID"], row["Names"], row["Image"], row["State"], row["Status"], origin))
    return found


def containers_of(project: Project) -> list[Container]:
    """Return this project's containers, which have its label, whether they run or not."""
    return list_containers(f"label={PROJECT_LABEL}={project.image}")


def container_called(name: str) -> Optional[Container]:
    """Return the container of that name, whoever's it is."""
    return next(iter(list_containers(f"name=^/?{re.escape(name)}$")), None)


def find_container(project: Project, name: str, stopped: bool = False) -> Container:
    """Return the container that a task is about: the one that runs. Where several do, or the name is given, that one. stopped: where
    none runs, one that has ended will do. Raises Exit where there is none, or more than one."""
    require_docker()
    there = containers_of(project)
    running = [each for each in there if each.is_running]
    ended = next((each for each in there if name in ("", each.name)), None)
    if ended and not running and not stopped:
        hint = "invoke logs shows what it wrote; invoke run --detach starts another"
        raise failure(f"{ended.name} runs no more: {ended.status}", hint, 1)
    return choose_container(there if stopped and (name or not running) else running, name)


def choose_container(containers: Sequence[Container], name: str) -> Container:
    """Return the one of these that a name, or the beginning of an id, means; '' means the only one. Raises Exit where that is none, or
    several."""
    named = [c for c in containers if c.name == name] or [c for c in containers if c.id.startswith(name)]
    if len(named) == 1:
        return named[0]
    if named:
        lines = "".join(f"\n  {c.name}  {c.image}  {c.status}" for c in named)
        raise failure(f"this project has {len(named)} containers:{lines}", f"choose one: --name {named[0].name}")
    what = f"no container called {name}" if name else "no container of this project"
    raise failure(f"{what} is running", "invoke run --detach starts one; invoke ps lists them", code=1)


def is_of_another(project: Project, origin: str) -> bool:
    """Is an image or a container with this label of another project, which calls its image the same?"""
    return bool(origin) and not is_same_project(origin, read_origin(project.root))


def find_image(project: Project, tag: str = "") -> ReleaseImage:
    """Return the branch's image, or that of a given tag. Raises Exit where the engine has none, or another project's."""
    tag = tag or (branch_tag(project.tree.branch) if project.tree.branch else project.commit_tag)
    reference = f"{project.repository}:{tag}"
    try:
        image = ReleaseImage(reference, json.loads(docker("image", "inspect", "--format={{json .Config}}", reference)))
    except NoSuchImage:
        raise failure(f"there is no image {reference}", next_commands(project, "build"), code=1) from None
    if is_of_another(project, image.labels.get(ORIGIN_LABEL, "")):
        hint = f"another `image:` in invoke.yaml, for one of the two; {next_commands(project, 'build')} puts this project's in its place"
        raise failure(f"{reference} is another project's image, of the same name", hint, 1)
    return image


def describe_age(project: Project, image: ReleaseImage) -> str:
    """Return how the image's commit stands to the work tree's, in words; '' where they are the same."""
    revision = image.labels.get(REVISION_LABEL, "")
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


def written_paths(listed: str) -> list[str]:
    """Return what `docker diff` has listed, without what the engine itself has written: on the containerd store --init shows."""
    lines = listed.splitlines()
    own = {"A /usr/sbin/docker-init", "A /sbin/docker-init"} & set(lines)
    folders = {f"C {folder}" for line in own for folder in ("/usr/sbin", "/usr", "/sbin") if f"{folder}/" in line}
    written = {line[2:] for line in lines if line not in own | folders}
    return [line for line in lines if line not in own and (line not in folders or any(w.startswith(line[2:]) for w in written))]
