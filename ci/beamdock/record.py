"""beamdock 0.1.0: what the last build of this clone left for the next one, in deps.json. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from invoke.exceptions import Exit

from .files import read_bytes, write_whole
from .model import Build, DepsKey
from .project import Project
from .words import in_a_line, print_result


@dataclass(frozen=True)
class Record:
    """The dependencies of the last build. key: their key's checksum. places: the build caches that have them compiled. parts: the SHA-256
    of each part of the key by name, None where no build has left a record."""

    key: str = ""
    places: tuple[str, ...] = ()
    parts: Optional[Mapping[str, str]] = None

    def places_of(self, key: DepsKey) -> tuple[str, ...]:
        """Return the build caches that have the dependencies of this key compiled."""
        return self.places if self.key == key.checksum else ()


def place(identity: str, store: str) -> str:
    """Return the name of a build cache in a record. identity: of its builder; store: the key of compiled dependencies in it, or ''."""
    return f"{identity} {store}".strip()


def read_record(project: Project) -> Record:
    """Return what the last build left. A file that is missing or damaged is no record."""
    try:
        record = json.loads(read_bytes(project.context_folder / "deps.json"))
    except (Exit, ValueError, RecursionError):
        return Record()
    shapes = {"key": str, "compiled": list, "parts": dict}
    if not isinstance(record, dict) or not all(isinstance(record.get(name), kind) for name, kind in shapes.items()):
        return Record()
    return Record(record["key"], tuple(record["compiled"]), record["parts"])


def write_record(plan: Build, identity: str) -> None:
    """Note what a build that has succeeded compiled, or took from another machine. identity: of its builder."""
    places = {*read_record(plan.project).places_of(plan.deps_key)}
    if not plan.caches.deps_image:
        places.add(place(identity, plan.inputs.store))
    record = {"key": plan.deps_key.checksum, "compiled": sorted(places), "parts": plan.deps_key.parts}
    write_whole(plan.project.context_folder / "deps.json", json.dumps(record, indent=1).encode())


def compare_parts(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """Return how each part of the dependencies' key stands to the last build's: new, same, changed or gone. Both are by name."""
    found = {name: "new" if name not in before else "same" if before[name] == digest else "changed" for name, digest in now.items()}
    return {**found, **{name: "gone" for name in before if name not in now}}


def explain_key(key: DepsKey, record: Record) -> None:
    """Print what decides the dependencies' key, and how each part stands to the last build's."""
    rows = [
        (name, key.parts.get(name, "-")[:12], "" if record.parts is None else how)
        for name, how in compare_parts(record.parts or {}, key.parts).items()
    ]
    width = max(len(in_a_line(name)) for name, _, _ in rows)
    for name, digest, how in rows:
        print_result(f"{in_a_line(name):<{width}}  {digest:<12}  {how}".rstrip())


def why_compiled_again(plan: Build, record: Record) -> str:
    """Return why a build compiles all dependencies, in words for a person; '' where it goes on from the last build, or compiles none.

    Another version of one dependency is no reason at a desk: it is in rebar.config and rebar.lock, and compiled by itself.
    """
    if not record.parts or plan.caches.deps_image or record.places_of(plan.deps_key):
        return ""
    parts = {name: how for name, how in compare_parts(record.parts, plan.deps_key.parts).items() if how != "same"}
    of_versions = ("rebar.config", "rebar.lock") if plan.inputs.store else ()
    names = [f"{name} is {how}" for name, how in parts.items() if Path(name).name not in of_versions]
    return f"the dependencies are compiled again: {', '.join(map(in_a_line, names[:3]))}" if names else ""
