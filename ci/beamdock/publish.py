"""beamdock 0.1.0: what leaves this machine, or the engine: pushed images, and tarballs. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from invoke.exceptions import Exit

from .build import run_build_plan
from .caches import deps_image_question, is_deps_image
from .docker import ask_docker, docker
from .explain import RegistryFailure
from .files import make_folder, require_folder
from .model import Build
from .plans import plan_deps_image
from .progress import Built
from .project import Project
from .signals import held
from .tags import deps_branch_tag
from .words import KEY, Out, failure, print_result


def require_registry(project: Project) -> None:
    """Raise Exit where no registry is set."""
    if not project.settings.registry:
        raise failure("there is no registry to push to", f"--registry ghcr.io/acme, or `registry:` under `{KEY}:` in invoke.yaml")


def has_deps_image(plan: Build, out: Out) -> bool:
    """Ask the registry whether it has the image of this build's dependencies."""
    image = plan.caches.deps_image
    return bool(image) and is_deps_image(image, ask_docker(deps_image_question(image))[0], out)


def alias_of_deps(plan: Build) -> list[str]:
    """Return the tag under which a branch has its dependencies' image, where a build belongs to a branch and uses such an image."""
    return [deps_branch_tag(plan.request.branch)] if plan.request.branch and plan.caches.deps_image else []


def push_deps_image(plan: Build, out: Out) -> list[Built]:
    """See to it that the registry has the image of a build's dependencies, under its key and as the branch's. Return what was built for
    it; a dry run does nothing.

    A failure is said, and fails nothing, since the image itself can be built without. But it is raised where the registry refuses or
    can't be reached: so it would be with the image.
    """
    if out.dry_run or not plan.caches.deps_image:
        return []
    request, aliases = plan.request, alias_of_deps(plan)
    try:
        if request.no_cache or request.pull or not has_deps_image(plan, out):
            wanted = plan_deps_image(plan.project, dataclasses.replace(request, tags=tuple(aliases)))
            # The registry was asked just now.
            return run_build_plan(wanted.with_caches(wanted.caches.without_deps_image), out)
        for tag in aliases:
            docker("buildx", "imagetools", "create", "--tag", f"{plan.project.repository}:{tag}", plan.caches.deps_image)
    except RegistryFailure:
        raise
    except Exit as error:
        out.say(f"the dependencies' image was not pushed: {str(error.message).removeprefix('error: ').splitlines()[0]}")
    return []


def local_tags(project: Project) -> set[str]:
    """Return the references of this project's repository that the engine holds."""
    return set(docker("image", "ls", "--format={{.Repository}}:{{.Tag}}", project.repository).split())


@contextlib.contextmanager
def leave_no_local_tags(plan: Build, out: Out) -> Iterator[None]:
    """Remove the tags from the engine afterwards that a push has left there.

    On overlay2 an image passes through the engine, whether or not the registry takes it, and stays where the push is stopped.
    """
    if out.dry_run:
        yield
        return
    aliases = [f"{plan.project.repository}:{tag}" for tag in alias_of_deps(plan)]
    pushed, there = {*plan.tags, plan.caches.deps_image, *aliases}, local_tags(plan.project)
    try:
        yield
    finally:
        with held():
            if extra := sorted(pushed & local_tags(plan.project) - there):
                docker("image", "rm", *extra)


def pushed_digest(plan: Build) -> str:
    """Return the digest that every tag of a build points to in the registry, which is asked. Raises Exit where they differ."""
    found = {
        tag: docker("buildx", "imagetools", "inspect", "--format={{json .Manifest.Digest}}", tag).strip().strip('"') for tag in plan.tags
    }
    if len(set(found.values())) != 1:
        raise failure(f"the tags point to different images in the registry: {found}", "was somebody else pushing? run it again", code=1)
    return found[plan.tags[0]]


@contextlib.contextmanager
def tarball_folder(project: Project, given: Path, out: Out) -> Iterator[Path]:
    """Give a folder to write the tarball into, and move it from there to the given one. So it is known which file is the new one: its
    path is the result. A dry run gives the folder that was asked for. Raises Exit where that is no folder."""
    require_folder(given, "--tarball")
    if out.dry_run:
        yield given
        return
    own = project.context_folder / f"tarball-{os.getpid()}"
    try:
        yield own
        make_folder(given)
        for file in own.iterdir():
            print_result(shutil.move(str(file), str(given / file.name)))
    finally:
        shutil.rmtree(own, ignore_errors=True)
