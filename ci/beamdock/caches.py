"""beamdock 0.1.0: what a build takes from other machines, and leaves for them. SPDX-License-Identifier: Apache-2.0

The dependencies travel as an image of their own, IMAGE:deps-KEY, by the default of the setting `cache`. A branch's tag carries an inline
cache beside it; that holds what is in the image alone (measured).
"""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

from .explain import ANSI
from .model import Build, Caches, DepsKey, Inputs, Request
from .project import Project
from .tags import branch_tag, cache_tag, deps_branch_tag, deps_tag
from .values import BASE, Wrong, join_line, refuse_unpassable, refuse_wrong_cache, shown
from .words import DEPS_LABEL, Out, failure

# force-compression: an earlier build may have left layers that are not compressed.
COMPRESSED = ",compression=gzip,force-compression=true"
INLINE = "type=inline"


def check_cache_words(words: str, flag: str) -> str:
    """Return buildx's words of a cache, as a flag has them. Raises Exit where they can't be."""
    try:
        refuse_unpassable([words])
        refuse_wrong_cache(words)
    except Wrong as wrong:
        raise failure(f"{flag} {wrong}", wrong.hint) from None
    return words


def import_words(given: str) -> str:
    """Return buildx's words for what --cache-from says: an image, or such words. Raises Exit where it is neither."""
    if "=" not in given and not re.fullmatch(BASE, given):
        check_cache_words(f"type=registry,ref={given}x", "--cache-from")
        raise failure(f"--cache-from is {shown(given)}, which can't be an image", "ghcr.io/acme/shop:main, or type=registry,ref=IMAGE")
    return check_cache_words(given if "=" in given else f"type=registry,ref={given}", "--cache-from")


def local_cache(project: Project) -> Path:
    """Return the folder of `cache: local`."""
    return project.context_folder / "cache"


def plan_caches(inputs: Inputs, request: Request, key: DepsKey) -> Caches:
    """Return all caches that a build could use, before anybody is asked whether they are there: this branch's, then the default
    branch's; and where it exports one, if the request wants that. key: of its dependencies."""
    project, mode = inputs.project, inputs.project.settings.cache
    caches = offered_caches(project, request.branch, key)
    if "=" in mode:
        caches = Caches(asked=(mode,), export=mode)
    asked = (*request.cache_from, *caches.asked)
    export = export_words(request.export_to or caches.export, inputs) if request.exports else ""
    if request.pull or request.no_cache:
        # `push` makes the dependencies' image anew before the image itself, which then takes that one.
        pushes_both = request.output.push and inputs.target != "builder"
        return Caches(export=export, deps_image=caches.deps_image if pushes_both else "")
    return dataclasses.replace(caches, asked=asked, export=export)


def offered_caches(project: Project, branch: str, key: DepsKey) -> Caches:
    """Return the caches that the setting `cache` stands for, where it is one of our own words."""
    mode, registry, repository = project.settings.cache, project.settings.registry, project.repository
    default = project.settings.default_branch
    branches = list(dict.fromkeys([branch or default, default]))
    if mode == "deps" and registry:
        tags = [*(branch_tag(name) for name in branches), deps_branch_tag(default)]
        tried = tuple(f"type=registry,ref={repository}:{tag}" for tag in dict.fromkeys(tags))
        return Caches(tried=tried, deps_image=f"{repository}:{deps_tag(key.checksum)}", export=INLINE)
    if mode == "registry" and registry:
        tags = list(dict.fromkeys(cache_tag(name) for name in branches))
        tried = tuple(f"type=registry,ref={repository}:{tag}" for tag in tags)
        return Caches(tried=tried, export=f"type=registry,ref={repository}:{tags[0]},mode=max{COMPRESSED}")
    if mode == "local":
        folder = local_cache(project)
        tried = (join_line(["type=local", f"src={folder}"]),) if (folder / "index.json").is_file() else ()
        return Caches(tried=tried, export=join_line(["type=local", f"dest={folder}.new", "mode=max"]) + COMPRESSED)
    return Caches()


def export_words(words: str, inputs: Inputs) -> str:
    """Return buildx's words of an export whose failure fails no build; '' for none."""
    if words == INLINE:
        # BUILDKIT_INLINE_CACHE says the same in older words, and BuildKit refuses both together.
        return "" if "BUILDKIT_INLINE_CACHE" in inputs.build_args else words
    return f"{words},ignore-error=true" if words and "ignore-error" not in words else words


def deps_image_question(reference: str) -> list[str]:
    """Return docker's words to ask the registry for an image of dependencies."""
    return ["buildx", "imagetools", "inspect", "--format={{json .Image}}", reference]


def is_deps_image(reference: str, answer: tuple[str, str], out: Out) -> bool:
    """Has the registry this image of dependencies, and is it one of ours? A registry that does not answer has none.

    answer: docker's stdout and stderr to the question.
    """
    found, error = answer
    if error.strip() and not found.strip() and "not found" not in error:
        out.say(f"going on without the dependencies' image: {error.strip().splitlines()[-1].removeprefix('ERROR: ')}")
    return f'"{DEPS_LABEL}":"{reference.rpartition("deps-")[2]}"' in found.replace(" ", "")


def choose_caches(caches: Caches, is_compiled: bool, has_image: bool) -> Caches:
    """Return the caches that are of use. is_compiled: whether this builder has the dependencies compiled; has_image: whether the registry
    has their image."""
    if is_compiled:
        return dataclasses.replace(caches, tried=(), deps_image="")
    if not caches.deps_image:
        return caches
    if not has_image:
        return caches.without_deps_image
    # Older dependencies are no help where these very ones are there.
    return dataclasses.replace(caches, tried=tuple(words for words in caches.tried if ":deps-of-" not in words))


def require_export(caches: Caches, can_export: bool) -> None:
    """Raise Exit where a build exports a cache and its builder can't."""
    if caches.export and caches.export != INLINE and not can_export:
        raise failure(
            f"this engine's image store can't export a cache ({caches.export.split(',')[0]})",
            "`cache: deps` in invoke.yaml needs none; or switch on its containerd image store, or `docker buildx create --use`",
        )


def keep_cache(plan: Build, log: str, out: Out) -> None:
    """After a build, put a local cache in the place of the last one, and say when an export failed: BuildKit only shows that."""
    folder = local_cache(plan.project)
    fresh = folder.with_name(f"{folder.name}.new")
    if (fresh / "index.json").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        fresh.replace(folder)
    failed = re.search(r"^#(\d+) exporting cache.*(?:\n.*)*?^#\1 ERROR:? (.*)$", ANSI.sub("", log), re.MULTILINE)
    if plan.caches.export and failed:
        out.say(f"the cache was not exported: {failed[2]}")
