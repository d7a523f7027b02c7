"""beamdock 0.1.0: `invoke clean` removes this project's leftovers from the engine. SPDX-License-Identifier: Apache-2.0

What is the project's: containers and images with its label, and cache mounts with an id that its Dockerfile gives them. The
label alone is not enough, as whatever is built FROM one of our images inherits it: the repository counts too. docker itself
refuses to remove what runs, since nothing here is forced. Nothing is pruned either: a prune, of one id too, makes BuildKit
forget the unused steps of other projects (measured), so cache mounts are emptied by a build that mounts them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection as Group
from collections.abc import Sequence
from dataclasses import dataclass

from invoke.exceptions import Exit

from .containers import containers_of
from .contexts import context_path, write_contexts
from .docker import docker, require_docker, run_or_print
from .project import Project
from .tags import branch_tag, deps_tag
from .words import PROJECT_LABEL, Out, failure

UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}  # as docker writes sizes


@dataclass(frozen=True)
class Image:
    """An image of the engine. made: when, ISO 8601 in UTC."""

    identity: str
    references: tuple[str, ...]
    made: str


@dataclass(frozen=True)
class Cache:
    """A cache mount of BuildKit. mount: its id in the Dockerfile; size: in bytes; free: does no running build hold it?"""

    mount: str
    size: int
    free: bool


def repository(reference: str) -> str:
    """Return what stands before the tag or the digest in HOST:PORT/PATH:TAG or PATH@DIGEST."""
    return re.sub(r"(@[^@]*|:[^:/]*)$", "", reference)


def is_of(reference: str, image: str) -> bool:
    """Does a reference name this project's image, in whatever registry? An id names any."""
    name = repository(reference)
    return name == image or name.endswith(f"/{image}") or reference.startswith("sha256:")


def old_images(images: Sequence[Image], image: str, current: Group[str], keep: int) -> list[Image]:
    """Return the images that may go, newest first: all but the `keep` newest, and those of the current references.

    An image with a name that is not the project's stays. Somebody has named it, or built it on ours.
    """
    ours = [i for i in images if all(is_of(r, image) for r in i.references)]
    newest_first = sorted(ours, key=lambda i: i.made, reverse=True)
    return [i for i in newest_first[keep:] if not set(i.references) & set(current)]


def cache_mounts(dockerfile: str, project: str) -> set[str]:
    """Return the ids of the cache mounts in a Dockerfile that begin with ${PROJECT}. They are whole: `a` never means `a-b`'s."""
    return {project + rest for rest in re.findall(r"\bid=\$(?:\{PROJECT\}|PROJECT\b)([\w.-]*)", dockerfile)}


def size_of(text: str) -> int:
    """Return the bytes of a size as docker writes it: 4.096kB, 1.2GB; 0 where it says none (N/A)."""
    match = re.fullmatch(r"([\d.]+)\s*(\w+)", text)
    return round(float(match[1]) * UNITS.get(match[2], 0)) if match else 0


def format_size(size: int) -> str:
    """Return a size in bytes as people read it, with three digits."""
    unit = next((u for u in reversed(UNITS) if size >= UNITS[u]), "B")
    return f"{size / UNITS[unit]:.3g} {unit}"


def read_caches(listing: str) -> list[Cache]:
    """Return the cache mounts in the output of `docker buildx du --verbose`, which separates name and value by blanks or tabs."""
    found = []
    for block in re.split(r"\n\s*\n", listing):
        fields = dict(re.findall(r"^([A-Z][a-z ]*|ID):\s+(.*)$", block, re.MULTILINE))
        if mount := re.search(r' with id "/(.*)"$', fields.get("Description", "")):
            found.append(Cache(mount[1], size_of(fields["Size"]), fields["Reclaimable"] == "true"))
    return found


def full_mounts(mounts: Group[str]) -> dict[str, int]:
    """Return the cache mounts of these ids that have something in them and that no build holds: id -> bytes."""
    listing = docker("buildx", "du", "--verbose", "--filter=type=exec.cachemount") if mounts else ""
    caches = [cache for cache in read_caches(listing) if cache.mount in mounts]
    held = {cache.mount for cache in caches if not cache.free}
    # The containerd store counts the mount's own folder, 4 kB.
    return {cache.mount: cache.size for cache in caches if cache.size not in (0, 4096) and cache.mount not in held}


def run_base(project: Project, dockerfile: str) -> str:
    """Return the base image that the project's own builds stand on. It is surely to be had, and has a shell and `find`."""
    default = re.search(r"(?m)^ARG\s+RUN_BASE=[\"']?([^\s\"']+)", dockerfile)
    given = project.settings.build_args.get("RUN_BASE") or project.settings.run_base
    return given or (default[1] if default else "debian:stable-slim")


def emptying_dockerfile(base: str, mounts: Group[str]) -> str:
    """Return a Dockerfile that empties cache mounts one by one: it never holds one while it waits for another."""
    steps = [f"RUN --mount=type=cache,id={m},sharing=locked,target=/c find /c -mindepth 1 -delete\n" for m in sorted(mounts)]
    return f"FROM {base}\nUSER 0\n{''.join(steps)}"


def read_images(ids: Sequence[str]) -> list[Image]:
    inspected = json.loads(docker("image", "inspect", *ids)) if ids else []
    return [Image(i["Id"], tuple(i.get("RepoTags") or ()), i["Created"]) for i in inspected]


def unlabelled_images(project: Project) -> list[str]:
    """Return the ids of the project's images without a label, since builds go on from them: those of deps-image, and of
    `build --target builder`."""
    listed = docker("image", "ls", "--no-trunc", "--format={{.ID}} {{.Tag}}", project.repository).splitlines()
    tags = re.compile(deps_tag("[0-9a-f]{64}") + "|[0-9a-f]{40}(-dirty)?-builder")
    return [identity for identity, tag in (line.split() for line in listed) if tags.fullmatch(tag)]


def stopped_containers(project: Project) -> list[str]:
    """Return the ids of this project's containers that have ended, if one of its images is what they were made of."""
    still = [each.id for each in containers_of(project) if each.has_ended]
    lines = docker("inspect", "--format={{.Id}} {{.Config.Image}}", *still).splitlines() if still else []
    return [line.split(" ", 1)[0] for line in lines if is_of(line.split(" ", 1)[1], project.image)]


def is_in_use(image: Image, going: Group[str]) -> bool:
    """Is an image some container's? Those that are about to be removed don't count."""
    return bool(set(docker("ps", "--all", "--quiet", "--no-trunc", f"--filter=ancestor={image.identity}").split()) - set(going))


def layers(images: Sequence[Image]) -> set[tuple[str, str, int]]:
    """Return the layers of images: when and by what each was made, and its bytes, unpacked.

    `docker system df` is no help. On the containerd store its UniqueSize has the base's blobs in it, and it fails when a build ends
    meanwhile.
    """
    form = "--format={{.CreatedAt}}\t{{.Size}}\t{{.CreatedBy}}"
    listed = [docker("history", "--no-trunc", "--human=false", form, i.identity).splitlines() for i in images]
    rows = [line.split("\t", 2) for lines in listed for line in lines]
    return {(row[0], row[2], int(row[1])) for row in rows if len(row) == 3 and row[1].isdigit()}


def try_to_remove(out: Out, words: Sequence[str], what: str = "") -> bool:
    """Run a docker command that removes something. Did it? Where docker refuses, since it has just come into use, that is said."""
    try:
        run_or_print(out, *words)
    except Exit as error:
        out.say(f"left {what or words[-1]}: {error.message}")
        return False
    return True


def empty_mounts(project: Project, out: Out) -> dict[str, int]:
    """Empty the project's cache mounts, and return which, with the bytes that each had in it."""
    full = full_mounts(cache_mounts(project.dockerfile, project.image.replace("/", "-")))
    if not full:
        return {}
    files = {"Dockerfile": emptying_dockerfile(run_base(project, project.dockerfile), full).encode()}
    write_contexts(project.root, project.context_folder, {"clean": files})
    folder = context_path(project.context_folder, "clean", files)
    platform = [f"--platform={project.settings.platform}"] if project.settings.platform else []
    build = ["buildx", "build", "--no-cache", "--network=none", "--output=type=cacheonly", *platform, str(folder)]
    is_done = try_to_remove(out, build, "its caches") and not out.dry_run
    left = full_mounts(full) if is_done else full
    return {mount: size - left.get(mount, 0) for mount, size in full.items() if size > left.get(mount, 0)}


@dataclass(frozen=True)
class Leftovers:
    """What may be removed. containers: ids. freed: the bytes of layers that only these images have, as far as that is known."""

    containers: list[str]
    images: list[Image]
    freed: int


def find_leftovers(project: Project, keep: int, out: Out) -> Leftovers:
    """Return the project's containers that have ended, and its old images: all but the newest `keep`, this commit's, this branch's, and
    those in use."""
    going = stopped_containers(project)
    label = f"--filter=label={PROJECT_LABEL}={project.image}"
    tags = [project.commit_tag, project.tree.commit, *([branch_tag(project.tree.branch)] if project.tree.branch else [])]
    current = {f"{project.repository}:{tag}" for tag in tags}
    labelled = read_images(sorted(set(docker("image", "ls", "--quiet", "--no-trunc", label).split())))
    others = read_images(sorted(set(unlabelled_images(project))))
    old = [i for images in (labelled, others) for i in old_images(images, project.image, current, keep) if not is_in_use(i, going)]
    stay = [i for i in (*labelled, *others) if i not in old]
    # Without an image that stays there is nothing to compare with: all layers may be another project's too.
    own = layers(old) - layers(stay) if old and stay and not out.dry_run else set()
    return Leftovers(going, old, sum(size for _, _, size in own))


def clean_project(project: Project, keep: int, caches: bool, out: Out) -> None:
    """Remove what the project left in the engine, and say what and how much. keep: how many of the newest images stay; caches: whether its
    cache mounts are emptied too. A dry run prints the commands. Raises Exit where no engine answers."""
    if keep < 0:
        raise failure(f"--keep {keep} is less than none", "--keep 0 leaves this commit's and this branch's images")
    require_docker()
    leftovers = find_leftovers(project, keep, out)
    containers = [identity for identity in leftovers.containers if try_to_remove(out, ["rm", "--volumes", identity])]
    images = [i for i in leftovers.images if try_to_remove(out, ["image", "rm", *(i.references or [i.identity])])]
    emptied = empty_mounts(project, out) if caches else {}
    freed = sum(emptied.values()) + (leftovers.freed if images == leftovers.images else 0)
    counts = {"container": len(containers), "image": len(images), "cache": len(emptied)}
    texts = [f"{n} {kind}{'s' if n != 1 else ''}" for kind, n in counts.items() if n]
    if not texts:
        out.report(f"{project.image}: nothing to remove")
        return
    out.report(f"{project.image}: removed {', '.join(texts)}{f'; freed at least {format_size(freed)}' if freed else ''}")
    if images:
        out.report("next: docker buildx prune removes old build steps, of all projects")
