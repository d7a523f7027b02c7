"""beamdock 0.1.0: what was compiled before, here or on another machine. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from invoke.exceptions import Exit

from .docker import Builder, ask_docker
from .explain import ANSI
from .files import read_bytes, write_whole
from .flags import BuildFlags
from .keys import deps_key, deps_reference, digests
from .model import Build
from .plans import plan_build
from .project import Project
from .settings import BASE
from .tags import branch_tag
from .values import Wrong, cache_words, line, refuse_unpassable, shown
from .words import DEPS_LABEL, Out, failure, in_a_line, result

# Of the layers too that a build which compresses none has left.
COMPRESSED = ",compression=gzip,force-compression=true"


def plan_caches(plan: Build, branch: str, export: Any = False, more: Sequence[str] = ()) -> Build:
    """The same build with the caches of other machines: this branch's, then the default branch's. export: True for what the
    setting says, or buildx's own words; more: caches to import first. A branch's tag carries an inline cache, which holds
    what is in the image alone (measured); the dependencies are an image of their own."""
    project, mode = plan.project, plan.project.settings.cache
    default = branch_tag(project.settings.default_branch)
    tags = list(dict.fromkeys([branch_tag(branch) if branch else default, default]))
    folder = project.context_folder / "cache"
    imports, hints, to, deps = [cache_to_import(text) for text in more], [], "", ""
    if isinstance(export, str):
        checked_words(export, "--cache-to")
    if mode == "deps" and project.settings.registry:
        deps, to = deps_reference(plan), "type=inline"
        hints = [f"type=registry,ref={project.repository}:{tag}" for tag in (*tags, f"deps-of-{default}")]
    elif mode == "registry" and project.settings.registry:
        hints = [f"type=registry,ref={project.repository}:cache-{tag}" for tag in tags]
        to = f"type=registry,ref={project.repository}:cache-{tags[0]},mode=max{COMPRESSED}"
    elif mode == "local":
        hints = [line(["type=local", f"src={folder}"])] if (folder / "index.json").is_file() else []
        to = line(["type=local", f"dest={folder}.new", "mode=max"]) + COMPRESSED
    elif "=" in mode:
        imports, to = [*imports, mode], mode
    to = "" if not export else export if isinstance(export, str) else to
    if to == "type=inline" and "BUILDKIT_INLINE_CACHE" in plan.build_args:
        to = ""  # the same in older words; BuildKit refuses both together
    if to and "ignore-error" not in to and to != "type=inline":
        to += ",ignore-error=true"
    if plan.no_cache or plan.pull:
        imports, hints = [], []
        deps = deps if "push" in plan.output and plan.target != "builder" else ""  # push makes it anew first
    return dataclasses.replace(plan, imports=tuple(imports), hints=tuple(hints), export=to, deps=deps)


def checked_words(words: str, flag: str) -> str:
    """buildx's words of a cache, as the setting has them too."""
    try:
        refuse_unpassable([words])
        cache_words(words)
    except Wrong as wrong:
        raise failure(f"{flag} {wrong}", wrong.hint) from None
    return words


def cache_to_import(given: str) -> str:
    """What --cache-from says: an image, or buildx's words."""
    if "=" not in given and not re.fullmatch(BASE, given):
        checked_words(f"type=registry,ref={given}x", "--cache-from")
        raise failure(f"--cache-from is {shown(given)}, which can't be an image", "ghcr.io/acme/shop:main, or type=registry,ref=IMAGE")
    return checked_words(given if "=" in given else f"type=registry,ref={given}", "--cache-from")


def last_build(project: Project) -> dict[str, Any]:
    """What write_record left; nothing where there is none."""
    try:
        record = json.loads(read_bytes(project.context_folder / "deps.json"))
    except (Exit, ValueError, RecursionError):
        return {}
    shapes = {"key": str, "compiled": list, "parts": dict}
    return record if isinstance(record, dict) and all(isinstance(record.get(n), kind) for n, kind in shapes.items()) else {}


def where_compiled(plan: Build, builder: Builder) -> str:
    return f"{builder.identity} {plan.build_args.get('STORE', '')}".strip()


def compiled_before(plan: Build) -> list[str]:
    """The build caches that have these very dependencies compiled, by the last build's record."""
    last = last_build(plan.project)
    return list(last.get("compiled", [])) if last.get("key") == deps_key(plan) else []


def write_record(plan: Build, builder: Builder) -> None:
    """Note, for the next build and for --explain, what decided the dependencies and which build caches have them compiled."""
    places = {*compiled_before(plan), *([] if plan.deps else [where_compiled(plan, builder)])}
    record = {"key": deps_key(plan), "compiled": sorted(places), "parts": digests(plan)}
    write_whole(plan.project.context_folder / "deps.json", json.dumps(record, indent=1).encode())


def about_deps(reference: str) -> list[str]:
    """docker's words to ask the registry for a dependency image."""
    return ["buildx", "imagetools", "inspect", "--format={{json .Image}}", reference]


def deps_there(reference: str, answer: tuple[str, str], out: Out) -> bool:
    """Has the registry this dependency image, and is it one of ours? A registry that does not answer has none."""
    found, err = answer
    if err.strip() and not found.strip() and "not found" not in err:
        out.say(f"going on without the dependencies' image: {err.strip().splitlines()[-1].removeprefix('ERROR: ')}")
    return f'"{DEPS_LABEL}":"{reference.rpartition("deps-")[2]}"' in found.replace(" ", "")


def with_caches(plan: Build, builder: Builder, known: Sequence[str], answers: Sequence[tuple[str, str]], out: Out) -> Build:
    """The build with the caches that are there and of use; an error where the engine can't export what it should. known: the
    build caches that need no help; answers: of the registry, about the dependencies' image, where it was asked already."""
    if plan.export and plan.export != "type=inline" and not builder.exports:
        raise failure(
            f"this engine's image store can't export a cache ({plan.export.split(',')[0]})",
            "`cache: deps` in invoke.yaml needs none; or switch on its containerd image store, or `docker buildx create --use`",
        )
    if where_compiled(plan, builder) in known:
        return dataclasses.replace(plan, hints=(), deps="")
    if not plan.deps:
        return plan
    if not deps_there(plan.deps, (answers or ask_docker(about_deps(plan.deps)))[0], out):
        return dataclasses.replace(plan, deps="")
    return dataclasses.replace(plan, hints=tuple(text for text in plan.hints if ":deps-of-" not in text))


def keep_cache(plan: Build, log: str, out: Out) -> None:
    """After a build: put a local cache in the place of the last one; say when an export failed, which BuildKit only shows."""
    fresh = plan.project.context_folder / "cache.new"
    if (fresh / "index.json").is_file():
        shutil.rmtree(fresh.with_suffix(""), ignore_errors=True)
        fresh.replace(fresh.with_suffix(""))
    if plan.export and (failed := re.search(r"^#(\d+) exporting cache.*(?:\n.*)*?^#\1 ERROR:? (.*)$", ANSI.sub("", log), re.MULTILINE)):
        out.say(f"the cache was not exported: {failed[2]}")


def plan_deps(project: Project, flags: BuildFlags, tags: Sequence[str], output: Mapping[str, str], branch: str) -> Build:
    """The build of the dependencies' image, which says in a label whose key it has."""
    plan = plan_caches(plan_build(project, flags, "builder", tags, output), branch, export="push" in output)
    return dataclasses.replace(plan, labels={DEPS_LABEL: deps_key(plan)})


def explain_key(plan: Build) -> None:
    """Print what goes into the dependencies' key, and how it stands to the last build."""
    parts = digests(plan)
    before = last_build(plan.project).get("parts")
    rows = [(name, parts.get(name, "-")[:12], "" if before is None else how) for name, how in compared(before or {}, parts).items()]
    width = max(len(in_a_line(name)) for name, _, _ in rows)
    for name, digest, how in rows:
        result(f"{in_a_line(name):<{width}}  {digest:<12}  {how}".rstrip())


def compared(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """How each part of the dependencies' key stands to the last build's: new, same, changed or gone. Both by name."""
    found = {name: "new" if name not in before else "same" if before[name] == digest else "changed" for name, digest in now.items()}
    return {**found, **{name: "gone" for name in before if name not in now}}


def why_again(plan: Build) -> str:
    """Why all dependencies are compiled again, where the last build's can't be gone on from; '' where they can, or are not compiled.
    Another version of one is in rebar.config and rebar.lock, and is compiled by itself."""
    before = last_build(plan.project).get("parts")
    if not before or plan.deps or compiled_before(plan):
        return ""
    parts = {name: how for name, how in compared(before, digests(plan)).items() if how != "same"}
    at_a_desk = "STORE" in plan.build_args
    names = [f"{name} is {how}" for name, how in parts.items() if not at_a_desk or Path(name).name not in ("rebar.config", "rebar.lock")]
    return f"the dependencies are compiled again: {', '.join(map(in_a_line, names[:3]))}" if names else ""
