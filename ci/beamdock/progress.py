"""beamdock 0.1.0: what a build did, out of what BuildKit wrote. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .explain import ANSI
from .model import Build


def stages_run(log: str) -> set[str]:
    """Return the stages of which BuildKit really ran a RUN step, from either form of its progress.

    A cached step whose layers had to be pulled is not called CACHED there; but it wrote nothing.
    """
    stages: dict[str, str] = {}
    cached, wrote, pulled = set[str](), set[str](), set[str]()
    step = ""
    for line in ANSI.sub("", log).splitlines():
        plain = re.match(r"#(\d+) (?:CACHED|\[(?:(\S+) +)?\d+/\d+\] RUN )?", line)
        drawn = re.match(r" *=> (?!=>)(?:CACHED )?(\[(?:(\S+) +)?\d+/\d+\] RUN )?", line)
        if head := plain or drawn:
            step = head[1] or ""
            if head[0].endswith(" RUN "):
                stages[step] = head[2] or "stage"
            if "CACHED" in head[0]:
                cached.add(step)
        if re.match(r"#\d+ \d+\.\d+ | *=> => # ", line):
            wrote.add(step)
        elif re.match(r"(#\d+| *=> =>) (sha256:|extracting )", line):
            pulled.add(step)
    return {stage for step, stage in stages.items() if step not in cached and (step in wrote or step not in pulled)}


@dataclass(frozen=True)
class Built:
    """A build that succeeded: what it was, all that BuildKit wrote, and how long it took."""

    plan: Build
    log: str
    seconds: float


def summary(builds: Sequence[Built]) -> str:
    """Return what the builds of one task did, in words for a person: one total."""
    seconds, plan = sum(built.seconds for built in builds), builds[-1].plan
    logs = {stage: built.log for built in builds for stage in stages_run(built.log)}
    if not logs:
        taken = plan.caches.deps_image and plan.inputs.target == "builder"
        return f"{'dependencies from the registry' if taken else 'up to date'} in {seconds:.1f} s"

    def modules(stage: str, what: str) -> str:
        """Return how many modules a stage has compiled, in words; '' where the log does not say so, as it may not on a terminal, where
        BuildKit draws no output of steps that are over."""
        found = re.search(rf"{what}: compiled (\d+) module", logs.get(stage, ""))
        return f"{found[1]} module{'s' if found[1] != '1' else ''}" if found else ""

    dependencies = "compiled" if "builder" in logs else "from the registry" if plan.caches.deps_image else "cached"
    if some := modules("builder", "deps"):
        dependencies += f" ({some})"
    project = "project compiled" if "prod_compiled" in logs else "release assembled" if "releaser" in logs else "project cached"
    if some := modules("releaser", "work"):
        project = f"{some} compiled"
    return f"built in {seconds:.1f} s: dependencies {dependencies}, {project}"


def last_error(log: str) -> str:
    """Return BuildKit's last error, a line; '' for none."""
    return next((line for line in reversed(log.splitlines()) if line.startswith("ERROR: ")), "")


def is_cache_failure(log: str) -> bool:
    """Did a build fail for a cache? Then it goes without one; not so for a step, a file that is missing, or a push."""
    last = last_error(log)
    if "could not fetch content descriptor" in last:  # a layer that the registry has lost, also where it is to be pushed again
        return True
    of_another = re.search("did not complete|checksum of ref|push", last)
    return not of_another and bool(re.search("cache|deps-[0-9a-f]{64}|docker-image://", last))


def engine_fault(log: str) -> str:
    """Return what went wrong in the engine itself, where the same build may succeed when it is run again; else ''."""
    last = last_error(log)
    if re.search("failed to prepare extraction snapshot .* does not exist", last):  # moby/buildkit#6521, where something else goes on
        return "the engine lost a layer of the image while it unpacked it, as it sometimes does"
    if re.search('image ".*": already exists', last):  # both found no such tag, and one was first to write it
        return "another build gave an image the same tag at this moment"
    return ""
