"""beamdock 0.1.0: a build, run. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import dataclasses
import re
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any

from .advice import warn
from .caches import about_deps, compiled_before, keep_cache, with_caches, write_record
from .contexts import write_context
from .declare import Common
from .docker import Builder, command_of, require_buildx, started, watched
from .explain import ANSI, explain
from .files import write_whole
from .model import Build
from .progress import of_cache, of_engine, summary
from .words import failure, result, say


def run_build(plan: Build, more: Mapping[str, Any], quiet: bool) -> tuple[bool, str]:
    """Run a build: whether it succeeded, and all that it wrote."""
    words = command_of(plan, **more)
    with watched(quiet) as log, started(words, stdout=subprocess.DEVNULL) as process:
        code = process.wait()
    return code == 0, b"".join(log).decode(errors="replace")


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


def build_image(plan: Build, flags: Common) -> bool:
    """Write the contexts, run the build and say what it did; with --dry-run print the command, and give False."""
    project = plan.project
    if not project.dockerfile:
        file = project.root / project.settings.dockerfile
        raise failure(f"{file} does not exist", "copy beamdock's Dockerfile beside tasks.py, or set `dockerfile:` in invoke.yaml")
    known = [] if plan.export else compiled_before(plan)
    answers: Sequence[tuple[str, str]] = ()
    builder = Builder("docker", direct=False)
    if not flags.dry_run:
        builder, answers = require_buildx(*([about_deps(plan.deps)] if plan.deps and not known else []))
    warn(plan, flags)
    plan = dataclasses.replace(plan, deps="") if flags.dry_run else with_caches(plan, builder, known, answers, flags)
    for name, files in plan.contexts.items():
        write_context(project.context_folder / name, files)
    write_whole(project.context_folder / ".gitignore", b"*\n")
    more = output_by(plan, builder)
    if flags.dry_run:
        result(shlex.join(command_of(plan, **more)))
        return False
    began = time.monotonic()
    good, log = run_build(plan, more, flags.quiet)
    if not good and of_engine(log):
        say("the engine lost a layer of the image while it unpacked it, as it sometimes does; once more", flags.quiet)
        good, log = run_build(plan, more, flags.quiet)
    if not good and (plan.imports or plan.hints or plan.deps) and of_cache(log):
        say(f"a cache can't be used; once more without: {str(explain(log, 'docker buildx build').message).splitlines()[0]}", flags.quiet)
        plan = dataclasses.replace(plan, imports=(), hints=(), deps="")
        good, log = run_build(plan, more, flags.quiet)
    if not good:
        error = explain(log, "docker buildx build", project.root)
        if flags.quiet and "output is above" in str(error.message):
            say("".join(re.findall(r"^------\n(.*?)^------\n", ANSI.sub("", log), re.MULTILINE | re.DOTALL)))
        raise error
    keep_cache(plan, log, flags)
    write_record(plan, builder)
    say(summary(plan, log, time.monotonic() - began), flags.quiet)
    return True
