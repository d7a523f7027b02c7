"""beamdock 0.1.0: what a push does beside the build. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator, Sequence

from invoke.exceptions import Exit

from .build import build_image
from .caches import about_deps, deps_there, plan_deps
from .docker import ask_docker, docker
from .flags import BuildFlags
from .model import PUSHED, Build
from .progress import Built
from .project import Project
from .stop import held
from .words import failure


def push_deps(plan: Build, alias: Sequence[str], branch: str, flags: BuildFlags) -> list[Built]:
    """See to it that the registry has the dependencies' image, under its key and as the branch's. What fails here is said, and
    fails nothing, unless it is the registry: the image itself can be built without. What was built for it, if anything was."""
    try:
        if plan.no_cache or plan.pull or not deps_there(plan.deps, ask_docker(about_deps(plan.deps))[0], flags.out):
            tags = [tag.rpartition(":")[2] for tag in (plan.deps, *alias)]
            return build_image(dataclasses.replace(plan_deps(plan.project, flags, tags, PUSHED, branch), deps=""), flags.out)
        for name in alias:
            docker("buildx", "imagetools", "create", "--tag", name, plan.deps)
    except Exit as error:
        if re.search(r"refused the (login|push)|does not take pushes|can't be reached", str(error.message)):
            raise  # so it will be with the image itself
        flags.out.say(f"the dependencies' image was not pushed: {str(error.message).removeprefix('error: ').splitlines()[0]}")
    return []


def local_tags(project: Project) -> set[str]:
    """The references of this repository that the engine holds."""
    return set(docker("image", "ls", "--format={{.Repository}}:{{.Tag}}", project.repository).split())


@contextlib.contextmanager
def no_new_tags(project: Project, references: Sequence[str]) -> Iterator[None]:
    """Leave none of these in the engine that was not there: on overlay2 the image passes through it, whether or not the registry
    took it, and where the push was stopped."""
    there = local_tags(project)
    try:
        yield
    finally:
        with held():
            if extra := sorted(set(references) & local_tags(project) - there):
                docker("image", "rm", *extra)


def pushed_digest(plan: Build) -> str:
    """The digest that every tag points to in the registry, asked of the registry itself."""
    found = {
        tag: docker("buildx", "imagetools", "inspect", "--format={{json .Manifest.Digest}}", tag).strip().strip('"') for tag in plan.tags
    }
    if len(set(found.values())) != 1:
        raise failure(f"the tags point to different images in the registry: {found}", "was somebody else pushing? run it again", code=1)
    return found[plan.tags[0]]
