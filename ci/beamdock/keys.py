"""beamdock 0.1.0: the keys under which compiled dependencies and projects are kept. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Mapping

from .dependencies import NOT_OF_COMPILING, NOT_OF_DEPENDENCIES, reduced
from .model import Build
from .project import Project
from .rebar import locked_names
from .words import checksum

# Build arguments of the stages that compile which no compiled file depends on.
NOT_OF_BUILDING = ("PROJECT", "RELEASE", "WRITABLE", "COMPILED", "STORE", "WORK")


def of_building(build_args: Mapping[str, str], instructions: bytes) -> list[tuple[str, str]]:
    """The build arguments that what these instructions compile depends on: those they declare."""
    lines = re.sub(r"\\[ \t]*\n", " ", re.sub(r"(?m)^\s*#.*\n", "", instructions.decode()))
    declared = re.findall(r"(?mi)^\s*(?:ONBUILD\s+)?ARG\s+(.*)", lines)
    names = {word.strip("\"'").partition("=")[0] for line in declared for word in line.split()} - {*NOT_OF_BUILDING}
    proxy = re.compile(r"(?i)(https?|ftp|all|no)_proxy")  # says how, not what
    return [(n, v) for n, v in sorted(build_args.items()) if n in names and not proxy.fullmatch(n)]


def in_bytes(text: str) -> bytes:
    """A text as it came from the system: names of files and arguments may be no UTF-8."""
    return text.encode("utf-8", "surrogateescape")


def until(dockerfile: str, stage: str) -> bytes:
    """A Dockerfile through a stage, without its comments and what concerns the runner; all of it where there is no such stage."""
    stages = re.split(r"(?mi)^(?=FROM\s)", re.sub(r"(?m)^(#(?!!).*|ARG RUN_BASE(=\S*)?[ \t]*|\s*)\n", "", dockerfile))
    last = next((i for i, text in enumerate(stages) if re.match(rf"(?i)FROM\s+\S+\s+AS\s+{stage}\s", text)), len(stages))
    return "".join(stages[: last + 1]).encode()


def states(project: Project, build_args: Mapping[str, str], files: Mapping[str, bytes], target: str) -> dict[str, str]:
    """Under what keys compiled dependencies (STORE) and the compiled project (WORK) are kept for the next build. What changes
    without changing a key, the versions of dependencies and the sources, is for `resume` in the Dockerfile to see."""
    profile = project.settings.profile
    # rebar3 brings what is locked up to date, and leaves other versions of the rest as they are.
    locked = locked_names(files.get("rebar.lock", b"").decode(errors="replace"))

    def key(stage: str, without: frozenset[str]) -> str:
        instructions = until(project.dockerfile, stage)
        arguments = [in_bytes(f"{n}={v}") for n, v in of_building(build_args, instructions)]
        few = reduced({n: c for n, c in files.items() if n != "rebar.lock"}, profile, without, locked)
        return checksum([instructions, *arguments, *(part for n, c in sorted(few.items()) for part in (in_bytes(n), c))])[:16]

    found = {}
    if target not in ("builder", "prod_compiled", "tarball"):
        found = {"WORK": key("releaser", NOT_OF_COMPILING), "COMPILED": "builder"}
    # In the default profile rebar3 does not show what is no dependency any more.
    return found if profile == "default" else {**found, "STORE": key("builder", NOT_OF_DEPENDENCIES)}


def deps_parts(plan: Build) -> dict[str, bytes]:
    """All that decides the builder stage, by name: its inputs, its instructions, arguments, base and platform."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    instructions = until(plan.project.dockerfile, "builder")
    named = {f"{n} (build argument)": in_bytes(v) for n, v in of_building(plan.build_args, instructions)}
    contexts = [file for name in ("deps", "authority") for file in sorted(plan.contexts.get(name, {}).items())]
    return {
        f"{plan.project.settings.dockerfile} through builder": instructions,
        "platform": (plan.project.settings.platform or f"linux/{machine}").encode(),
        **named,
        **dict(contexts),
    }


def deps_key(plan: Build) -> str:
    """The checksum of all that decides the builder stage."""
    return checksum(part for name, content in deps_parts(plan).items() for part in (in_bytes(name), content))


def deps_reference(plan: Build) -> str:
    return f"{plan.project.repository}:deps-{deps_key(plan)}"


def digests(plan: Build) -> dict[str, str]:
    """SHA-256 of all that decides the dependencies, by name."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in deps_parts(plan).items()}
