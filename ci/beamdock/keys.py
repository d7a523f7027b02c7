"""beamdock 0.1.0: the keys under which compiled dependencies and projects are kept. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Mapping

from .dependencies import NOT_OF_COMPILING, NOT_OF_DEPENDENCIES, DependencyFiles, reduce_files
from .model import DepsKey, Inputs
from .project import Project
from .rebar import locked_names
from .words import checksum

# Build arguments of the stages that compile. No compiled file depends on them.
NOT_OF_COMPILED_FILES = ("PROJECT", "RELEASE", "WRITABLE", "COMPILED", "STORE", "WORK")
PROXY = re.compile(r"(?i)(https?|ftp|all|no)_proxy")  # says how a file is reached, not which


def declared_arguments(build_args: Mapping[str, str], instructions: bytes) -> list[tuple[str, str]]:
    """Return the build arguments that these instructions declare with ARG, and that compiled files depend on, sorted by name."""
    lines = re.sub(r"\\[ \t]*\n", " ", re.sub(r"(?m)^\s*#.*\n", "", instructions.decode()))
    declared = re.findall(r"(?mi)^\s*(?:ONBUILD\s+)?ARG\s+(.*)", lines)
    names = {word.strip("\"'").partition("=")[0] for line in declared for word in line.split()} - {*NOT_OF_COMPILED_FILES}
    return [(n, v) for n, v in sorted(build_args.items()) if n in names and not PROXY.fullmatch(n)]


def in_bytes(text: str) -> bytes:
    """Return a text as the system gave it: names of files, and arguments, may not be UTF-8."""
    return text.encode("utf-8", "surrogateescape")


def instructions_through(dockerfile: str, stage: str) -> bytes:
    """Return a Dockerfile's text from its beginning through a stage, without comments and without the ARG of the runner's base. Without
    such a stage it is the whole text."""
    stages = re.split(r"(?mi)^(?=FROM\s)", re.sub(r"(?m)^(#(?!!).*|ARG RUN_BASE(=\S*)?[ \t]*|\s*)\n", "", dockerfile))
    last = next((i for i, text in enumerate(stages) if re.match(rf"(?i)FROM\s+\S+\s+AS\s+{stage}\s", text)), len(stages))
    return "".join(stages[: last + 1]).encode()


def incremental_arguments(project: Project, build_args: Mapping[str, str], files: DependencyFiles, target: str) -> dict[str, str]:
    """Return the build arguments that let a build go on from the last one's files. STORE is the key of the compiled dependencies,
    WORK the key of the compiled project, COMPILED the stage that the release is made from.

    The versions of dependencies and the sources are not in these keys: `resume`, in the Dockerfile, compares them.
    """
    profile = project.settings.profile
    # rebar3 brings what is locked up to date. Of the rest it keeps whatever version is there, so that these names stay in the key.
    lock = files.parsed.get("rebar.lock")
    locked = locked_names(lock.terms if lock else [])

    def key(stage: str, without: frozenset[str]) -> str:
        instructions = instructions_through(project.dockerfile, stage)
        arguments = [in_bytes(f"{n}={v}") for n, v in declared_arguments(build_args, instructions)]
        reduced = sorted(reduce_files(files, profile, without, locked).items())
        contents = [part for name, content in reduced if name != "rebar.lock" for part in (in_bytes(name), content)]
        return checksum([instructions, *arguments, *contents])[:16]

    found = {}
    if target not in ("builder", "prod_compiled", "tarball"):
        found = {"WORK": key("releaser", NOT_OF_COMPILING), "COMPILED": "builder"}
    # In the default profile rebar3 does not show what is no dependency any more, so nothing is kept for the next build.
    return found if profile == "default" else {**found, "STORE": key("builder", NOT_OF_DEPENDENCIES)}


def deps_parts(inputs: Inputs) -> dict[str, bytes]:
    """Return all that decides the builder stage, by name: its instructions, platform, arguments and files."""
    settings = inputs.project.settings
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    instructions = instructions_through(inputs.project.dockerfile, "builder")
    named = {f"{n} (build argument)": in_bytes(v) for n, v in declared_arguments(inputs.build_args, instructions)}
    contexts = [file for name in ("deps", "authority") for file in sorted(inputs.contexts.get(name, {}).items())]
    return {
        f"{settings.dockerfile} through builder": instructions,
        "platform": (settings.platform or f"linux/{machine}").encode(),
        **named,
        **dict(contexts),
    }


def make_deps_key(inputs: Inputs) -> DepsKey:
    """Return the key of the dependencies that a build with these inputs compiles, or takes."""
    parts = deps_parts(inputs)
    whole = checksum(part for name, content in parts.items() for part in (in_bytes(name), content))
    return DepsKey(whole, {name: hashlib.sha256(content).hexdigest() for name, content in parts.items()})
