"""beamdock 0.1.0: a build, run. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .caches import about_deps, compiled_before, keep_cache, why_again, with_caches, write_record
from .contexts import write_contexts
from .docker import Builder, ask_docker, command_of, require_buildx, started, watched
from .explain import ANSI, Unexplained, explain
from .model import Build
from .progress import Built, engine_fault, last_error, of_cache, stages_run
from .screen import Screen
from .words import Out, failure, result, say


def run_build(plan: Build, more: Mapping[str, Any], screen: Screen) -> bool:
    """Run a build, and give whether it succeeded; the screen has all that it wrote."""
    words = command_of(plan, **more)
    with watched(screen), started(words, stdout=subprocess.DEVNULL) as process:
        return process.wait() == 0


def whole_log(screen: Screen, metadata: Path) -> str:
    """All that the steps of a build wrote. On a terminal BuildKit draws no output of steps that are over: there its own record is
    read, which buildx can since 0.20; with older ones it is what was drawn."""
    if metadata.is_file():
        reference = str(json.loads(metadata.read_text()).get("buildx.build.ref", ""))
        out, err = ask_docker(["buildx", "history", "logs", "--progress=plain", reference.rpartition("/")[2]])[0]
        if re.search(r"^#\d+ ", out + err, re.MULTILINE):
            return out + err
    return screen.log


def output_by(plan: Build, builder: Builder) -> dict[str, Any]:
    """What python-on-whales is told of the output beside the plan's, by what runs the build."""
    loaded = plan.output == {"type": "image"}
    if loaded and builder.driver != "docker":
        return {"output": {}, "load": True}  # the docker driver builds in the engine; others must hand the image over
    if loaded and not plan.export:
        # gzip would take up to a tenth of a build (measured); what is pushed must not have layers of it.
        return {"output": {**plan.output, "compression": "uncompressed"}}
    if plan.output.get("push") and builder.driver == "docker" and builder.direct:
        # What is pulled to build on is unpacked in half the time (measured).
        how = {"compression": "zstd", "oci-mediatypes": "true"} if plan.target == "builder" else {"compression": "gzip"}
        return {"output": {**plan.output, "store": "false", **how, "force-compression": "true"}}
    return {}


def screen_for(out: Out) -> Screen:
    """The screen of a build: BuildKit's own words on a terminal, and where a form of them was asked for; else a line a step."""
    whole = os.isatty(2) or out.progress
    return Screen("none" if out.quiet else "all" if whole else "steps")


def run_to_the_end(plan: Build, more: Mapping[str, Any], out: Out) -> Built:
    """Run a build, and again where it failed for the engine's fault, or for a cache's; what it did, or the error for people."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        metadata = Path(folder, "metadata.json")
        if os.isatty(2) and not out.quiet:
            more = {**more, "metadata_file": metadata}
        if out.progress:
            more = {**more, "progress": out.progress}
        good = run_build(plan, more, screen := screen_for(out))
        for _ in range(3):  # each of an image's tags can be given by another build at the same moment
            if not good and (fault := engine_fault(screen.log)):
                out.say(f"{fault}; once more")
                good = run_build(plan, more, screen := screen_for(out))
        if not good and (plan.imports or plan.hints or plan.deps) and of_cache(screen.log):
            reason = str(explain(screen.log, "docker buildx build").message).splitlines()[0]
            out.say(f"a cache can't be used; once more without: {reason}")
            plan = dataclasses.replace(plan, imports=(), hints=(), deps="")
            good = run_build(plan, more, screen := screen_for(out))
        error = None if good else explain(screen.log, "docker buildx build", plan.project.root, plan.project.settings.dockerfile)
        show(screen.end(not good, not isinstance(error, Unexplained) and "did not complete" in last_error(screen.log)))
        if error:
            if out.quiet and "output is above" in str(error.message):
                say("".join(re.findall(r"^------\n(.*?)^------\n", ANSI.sub("", screen.log), re.MULTILINE | re.DOTALL)))
            raise error
        seconds = time.monotonic() - began
        return Built(plan, whole_log(screen, metadata) if stages_run(screen.log) else screen.log, seconds)


def show(written: bytes) -> None:
    sys.stderr.flush()
    with contextlib.suppress(OSError):  # nobody may be there to be told
        while written:
            written = written[os.write(2, written) :]


def build_image(plan: Build, out: Out) -> list[Built]:
    """Write the contexts, run the build and say what it did; with --dry-run print the command, and give none."""
    project = plan.project
    if not project.dockerfile:
        file = project.root / project.settings.dockerfile
        raise failure(f"{file} does not exist", "copy beamdock's Dockerfile beside tasks.py, or set `dockerfile:` in invoke.yaml")
    known = [] if plan.export else compiled_before(plan)
    answers: Sequence[tuple[str, str]] = ()
    builder = Builder("docker", direct=False)
    if not out.dry_run:
        builder, answers = require_buildx(*([about_deps(plan.deps)] if plan.deps and not known else []))
    plan = dataclasses.replace(plan, deps="") if out.dry_run else with_caches(plan, builder, known, answers, out)
    write_contexts(project.root, project.context_folder, plan.contexts)
    more = output_by(plan, builder)
    if out.dry_run:
        result(shlex.join(command_of(plan, **more)))
        return []
    if why := why_again(plan):
        out.say(why)
    built = run_to_the_end(plan, more, out)
    keep_cache(built.plan, built.log, out)
    write_record(built.plan, builder)
    return [built]
