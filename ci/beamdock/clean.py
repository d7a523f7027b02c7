"""beamdock 0.1.0: `invoke clean` removes what this project has left in the engine. SPDX-License-Identifier: Apache-2.0

An image or a container is the project's where it has the project's label and its image's name. The label alone says too little: an
image that is built FROM one of ours inherits it. A cache mount is the project's where the project's Dockerfile gives its id.

Nothing is forced: docker refuses to remove what is in use, and that stays. Nothing is pruned: a prune, even of one id, makes BuildKit
forget the unused steps of other projects (measured). So a build that mounts the caches empties them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from invoke.exceptions import Exit

from .containers import containers_of
from .contexts import context_path, write_contexts
from .docker import docker, require_docker, run_or_print
from .project import Project
from .settings import Settings
from .tags import branch_tag, deps_tag
from .words import PROJECT_LABEL, Out, failure

UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}  # as docker writes sizes
EMPTY = (0, 4096)  # the bytes of a cache mount with nothing in it: the containerd store counts the mount's own folder


@dataclass(frozen=True)
class Image:
    """An image in the engine. references: its names, REPOSITORY:TAG; created: when, in ISO 8601, UTC."""

    id: str
    references: tuple[str, ...]
    created: str

    @property
    def names(self) -> tuple[str, ...]:
        """What to remove it by: its references, or its id where it has none."""
        return self.references or (self.id,)


@dataclass(frozen=True)
class Layer:
    """A layer of an image. created: when; command: by what; size: its bytes, unpacked."""

    created: str
    command: str
    size: int


@dataclass(frozen=True)
class Cache:
    """A cache mount of BuildKit. mount: its id in the Dockerfile; size: in bytes; free: whether no running build holds it."""

    mount: str
    size: int
    free: bool


@dataclass(frozen=True)
class Leftovers:
    """What may be removed. containers: ids; freed: the bytes of the layers that only these images have, as far as that is known."""

    containers: list[str]
    images: list[Image]
    freed: int


def clean_project(project: Project, keep: int, caches: bool, out: Out) -> None:
    """Remove what the project has left in the engine, and say what went. A dry run prints the commands.

    keep: how many of the newest images stay, besides those of this commit, of this branch and in use; caches: whether the cache mounts
    are emptied. Raises Exit where `keep` is negative, or no engine answers."""
    if keep < 0:
        raise failure(f"--keep {keep} is less than none", "--keep 0 leaves this commit's and this branch's images")
    require_docker()
    leftovers = find_leftovers(project, keep, out)
    containers = [container for container in leftovers.containers if try_to_remove(out, ["rm", "--volumes", container])]
    images = [image for image in leftovers.images if try_to_remove(out, ["image", "rm", *image.names])]
    emptied = empty_mounts(project, out) if caches else {}
    freed = sum(emptied.values()) + (leftovers.freed if images == leftovers.images else 0)
    report_removed(project.image, {"container": len(containers), "image": len(images), "cache": len(emptied)}, freed, out)


def try_to_remove(out: Out, words: Sequence[str], what: str = "") -> bool:
    """Run a docker command that removes something, or print it in a dry run. Return whether it went: docker refuses where it has just
    come into use, and a line says so. what: its name in that line, without it the last word."""
    try:
        run_or_print(out, *words)
    except Exit as error:
        out.say(f"left {what or words[-1]}: {error.message}")
        return False
    return True


def report_removed(image: str, counts: Mapping[str, int], freed: int, out: Out) -> None:
    """Say what was removed. counts: how many of each kind, which is a word in the singular; freed: bytes, 0 for unknown."""
    texts = [f"{n} {kind}{'s' if n != 1 else ''}" for kind, n in counts.items() if n]
    if not texts:
        out.report(f"{image}: nothing to remove")
        return
    out.report(f"{image}: removed {', '.join(texts)}{f'; freed at least {format_size(freed)}' if freed else ''}")
    if counts["image"]:
        out.report("next: docker buildx prune removes old build steps, of all projects")


# ------------------------------------------------------------------------------------------------ containers and images


def find_stopped_containers(project: Project) -> list[str]:
    """Return the ids of the containers that were made of the project's images and don't run."""
    stopped = [each.id for each in containers_of(project) if each.has_ended]
    lines = docker("inspect", "--format={{.Id}} {{.Config.Image}}", *stopped).splitlines() if stopped else []
    pairs = [line.split(" ", 1) for line in lines]
    return [container for container, reference in pairs if names_image(reference, project.image)]


def find_leftovers(project: Project, keep: int, out: Out) -> Leftovers:
    """Return the project's containers that have ended, and its old images: all but this commit's, this branch's, those in use and the
    `keep` newest, of those with a label and of those without."""
    stopped = find_stopped_containers(project)
    label = f"--filter=label={PROJECT_LABEL}={project.image}"
    labelled = inspect_images(docker("image", "ls", "--quiet", "--no-trunc", label).split())
    unlabelled = inspect_images(list_unlabelled_images(project))
    tags = [project.commit_tag, project.tree.commit, *([branch_tag(project.tree.branch)] if project.tree.branch else [])]
    current = {f"{project.repository}:{tag}" for tag in tags}
    candidates = [i for images in (labelled, unlabelled) for i in select_old_images(images, project.image, current, keep)]
    old = [i for i in candidates if not is_in_use(i, stopped)]
    staying = [i for i in (*labelled, *unlabelled) if i not in old]
    return Leftovers(stopped, old, 0 if out.dry_run else measure_own_layers(old, staying))


def list_unlabelled_images(project: Project) -> list[str]:
    """Return the ids of the project's images that have no label, as builds go on from them: of `deps-image`, and of the target builder."""
    tags = rf"{deps_tag('[0-9a-f]{64}')}|[0-9a-f]{{40}}(-dirty)?-builder"
    listed = docker("image", "ls", "--no-trunc", "--format={{.ID}} {{.Tag}}", project.repository).splitlines()
    return [line.split()[0] for line in listed if re.fullmatch(rf"\S+ ({tags})", line)]


def inspect_images(ids: Iterable[str]) -> list[Image]:
    """Return the images with these ids, each once."""
    ids = sorted(set(ids))
    inspected = json.loads(docker("image", "inspect", *ids)) if ids else []
    return [Image(i["Id"], tuple(i.get("RepoTags") or ()), i["Created"]) for i in inspected]


def select_old_images(images: Iterable[Image], name: str, current: Collection[str], keep: int) -> list[Image]:
    """Return the images that may go, newest first: all but the `keep` newest and those with a reference in `current`. An image with any
    name that is not the project's stays, and counts for nothing: a person has named it, or it is built on one of ours."""
    ours = [i for i in images if all(names_image(r, name) for r in i.references)]
    newest_first = sorted(ours, key=lambda i: i.created, reverse=True)
    return [i for i in newest_first[keep:] if not set(i.references) & set(current)]


def names_image(reference: str, name: str) -> bool:
    """Is a reference one of the image with this name, in whatever registry? An id may be any image's, and is taken for one."""
    repository = strip_tag(reference)
    return repository == name or repository.endswith(f"/{name}") or reference.startswith("sha256:")


def strip_tag(reference: str) -> str:
    """Return a reference without its tag or digest: HOST:PORT/PATH of HOST:PORT/PATH:TAG or HOST:PORT/PATH@DIGEST."""
    return re.sub(r"(@[^@]*|:[^:/]*)$", "", reference)


def is_in_use(image: Image, stopped: Collection[str]) -> bool:
    """Does a container stand on an image? stopped: ids of containers that don't count, since they are about to be removed."""
    users = docker("ps", "--all", "--quiet", "--no-trunc", f"--filter=ancestor={image.id}").split()
    return any(user not in stopped for user in users)


def measure_own_layers(old: Sequence[Image], staying: Sequence[Image]) -> int:
    """Return the bytes of the layers that only the old images have, 0 where no image stays to compare with: all may be another
    project's too."""
    own = read_layers(old) - read_layers(staying) if old and staying else set()
    return sum(layer.size for layer in own)


def read_layers(images: Iterable[Image]) -> set[Layer]:
    """Return the layers of images. (`docker system df` is no help. Its UniqueSize on the containerd store has the base's blobs in it,
    and it fails where a build ends meanwhile.)"""
    form = "--format={{.CreatedAt}}\t{{.Size}}\t{{.CreatedBy}}"
    lines = [line for i in images for line in docker("history", "--no-trunc", "--human=false", form, i.id).splitlines()]
    rows = [line.split("\t", 2) for line in lines]
    # A command of several lines has its other lines in rows of their own, which are none.
    return {Layer(row[0], row[2], int(row[1])) for row in rows if len(row) == 3 and row[1].isdigit()}


# --------------------------------------------------------------------------------------------------------------- caches


def empty_mounts(project: Project, out: Out) -> dict[str, int]:
    """Empty the project's cache mounts that no build holds. Return those that were emptied, with the bytes that went: id -> bytes. A dry
    run prints the command, and empties none."""
    full = measure_mounts(find_mounts(project.dockerfile, project.mounts_prefix))
    if not full:
        return {}
    files = {"Dockerfile": emptying_dockerfile(choose_base(project.settings, project.dockerfile), full).encode()}
    write_contexts(project.root, project.context_folder, {"clean": files})  # in a dry run too: the command names the folder
    folder = context_path(project.context_folder, "clean", files)
    platform = [f"--platform={project.settings.platform}"] if project.settings.platform else []
    words = ["buildx", "build", "--no-cache", "--network=none", "--output=type=cacheonly", *platform, str(folder)]
    if not try_to_remove(out, words, "its caches") or out.dry_run:
        return {}
    left = measure_mounts(full)
    return {mount: size - left.get(mount, 0) for mount, size in full.items() if size > left.get(mount, 0)}


def find_mounts(dockerfile: str, project: str) -> set[str]:
    """Return the ids of the cache mounts in a Dockerfile that begin with ${PROJECT}. They are whole ids, so `a` never means `a-b`'s.
    project: the value of that argument."""
    return {project + rest for rest in re.findall(r"\bid=\$(?:\{PROJECT\}|PROJECT\b)([\w.-]*)", dockerfile)}


def measure_mounts(mounts: Collection[str]) -> dict[str, int]:
    """Return the cache mounts of these ids that have something in them and that no build holds: id -> bytes."""
    listing = docker("buildx", "du", "--verbose", "--filter=type=exec.cachemount") if mounts else ""
    caches = [cache for cache in parse_caches(listing) if cache.mount in mounts]
    held = {cache.mount for cache in caches if not cache.free}
    return {cache.mount: cache.size for cache in caches if cache.size not in EMPTY and cache.mount not in held}


def parse_caches(listing: str) -> list[Cache]:
    """Return the cache mounts in what `docker buildx du --verbose` has written. It separates name and value by blanks or tabs."""
    found = []
    for block in re.split(r"\n\s*\n", listing):
        fields = dict(re.findall(r"^([A-Z][a-z ]*|ID):\s+(.*)$", block, re.MULTILINE))
        mount = re.search(r' with id "/(.*)"$', fields.get("Description", ""))
        if mount:
            found.append(Cache(mount[1], parse_size(fields["Size"]), fields["Reclaimable"] == "true"))
    return found


def parse_size(text: str) -> int:
    """Return the bytes of a size as docker writes it: 4.096kB, 1.2GB; 0 where it says none (N/A)."""
    match = re.fullmatch(r"([\d.]+)\s*(\w+)", text)
    return round(float(match[1]) * UNITS.get(match[2], 0)) if match else 0


def format_size(size: int) -> str:
    """Return a size in bytes for people, with three digits: 5.12 MB."""
    unit = next((u for u in reversed(UNITS) if size >= UNITS[u]), "B")
    return f"{size / UNITS[unit]:.3g} {unit}"


def choose_base(settings: Settings, dockerfile: str) -> str:
    """Return the base image that the project's own builds stand on: it is surely to be had, and has a shell and `find`. dockerfile: the
    project's, whose RUN_BASE counts where no setting gives one."""
    default = re.search(r"(?m)^ARG\s+RUN_BASE=[\"']?([^\s\"']+)", dockerfile)
    given = settings.build_args.get("RUN_BASE") or settings.run_base
    return given or (default[1] if default else "debian:stable-slim")


def emptying_dockerfile(base: str, mounts: Iterable[str]) -> str:
    """Return a Dockerfile that empties cache mounts, one a step: so it never holds one while it waits for another."""
    steps = [f"RUN --mount=type=cache,id={m},sharing=locked,target=/c find /c -mindepth 1 -delete\n" for m in sorted(mounts)]
    return f"FROM {base}\nUSER 0\n{''.join(steps)}"
