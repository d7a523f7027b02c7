"""beamdock 0.1.0: a build, run. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from invoke.exceptions import Exit

from .caches import choose_caches, deps_image_question, is_deps_image, keep_cache, require_export
from .contexts import context_path, write_contexts
from .docker import Builder, ask_docker, command_of, require_buildx, started, watched
from .explain import ANSI, explain_failure
from .failed_step import LookAbove, Unexplained
from .model import LOADED, PUSHED, Build
from .private import ACCESS
from .progress import Built, engine_fault, is_cache_failure, last_error, stages_run
from .project import Project
from .record import Record, place, read_record, why_compiled_again, write_record
from .screen import Screen
from .values import join_line
from .words import Out, failure, print_result, say

# How often a build is run again where it failed for the engine's fault: each of an image's tags can be given by another build at the
# same moment.
MOST_REPEATS = 3


def run_build_plan(plan: Build, out: Out) -> list[Built]:
    """Run what a plan says: an image, a tarball or the dependencies. Return what that did, as a list of one; a dry run prints the command,
    and returns none.

    Raises Exit where docker is missing or too old (2), and where the build fails (1).
    """
    project = plan.project
    require_dockerfile(project)
    folders = {**plan.contexts, **({ACCESS: plan.access} if plan.access else {})}
    if out.dry_run:
        write_contexts(project.root, project.context_folder, folders)
        # Nobody is asked: the command is for docker's own builder, and compiles the dependencies.
        plain = plan.with_caches(plan.caches.without_deps_image)
        print_result(shlex.join(command_of(buildx_options(plain, Builder("docker", direct=False)))))
        return []
    record = read_record(project)
    builder, plan = choose_builder_and_caches(plan, record, out)
    write_contexts(project.root, project.context_folder, folders)
    if why := why_compiled_again(plan, record):
        out.say(why)
    built = run_and_keep_log(plan, builder, out)
    keep_cache(built.plan, built.log, out)
    write_record(built.plan, builder.identity)
    return [built]


def require_dockerfile(project: Project) -> None:
    """Raise Exit where the project has no Dockerfile."""
    if not project.dockerfile:
        file = project.root / project.settings.dockerfile
        raise failure(f"{file} does not exist", "copy beamdock's Dockerfile beside tasks.py, or set `dockerfile:` in invoke.yaml")


def choose_builder_and_caches(plan: Build, record: Record, out: Out) -> tuple[Builder, Build]:
    """Ask docker and the registry, and return what runs the build, and the build with the caches that are of use there.

    A build that exports a cache goes by no record: what it takes from nowhere is not in the export.
    """
    image = plan.caches.deps_image
    places = () if plan.caches.export else record.places_of(plan.deps_key)
    question = [deps_image_question(image)] if image else []
    # Where the record says that the dependencies are compiled, the registry is asked only if that was another builder.
    builder, answers = require_buildx(*([] if places else question))
    require_export(plan.caches, builder.exports)
    is_compiled = place(builder.identity, plan.inputs.store) in places
    if image and not is_compiled and not answers:  # the record has spoken for another builder
        answers = ask_docker(*question)
    has_image = bool(answers) and not is_compiled and is_deps_image(image, answers[0], out)
    return builder, plan.with_caches(choose_caches(plan.caches, is_compiled, has_image))


def buildx_options(plan: Build, builder: Builder) -> dict[str, Any]:
    """Return python-on-whales' arguments for a build."""
    project, request, settings, caches = plan.project, plan.request, plan.project.settings, plan.caches
    contexts = {name: str(context_path(project.context_folder, name, files)) for name, files in plan.contexts.items()}
    if caches.deps_image:
        contexts["builder"] = f"docker-image://{caches.deps_image}"
    return {
        "context_path": str(project.source_folder),
        "file": str(project.file(settings.dockerfile)),
        "target": request.target,
        "tags": list(plan.tags),
        "build_args": dict(plan.build_args),
        "build_contexts": contexts,
        "cache_from": [dict([words.split("=", 1)]) for words in caches.imports] or None,
        "cache_to": caches.export or None,
        "labels": dict(plan.labels),
        "secrets": list(plan.secrets),
        "ssh": plan.ssh or None,
        "pull": request.pull,
        "cache": not request.no_cache,
        "network": settings.network or None,
        "platforms": [settings.platform] if settings.platform else None,
        "provenance": settings.provenance,
        **output_options(plan, builder),
    }


def output_options(plan: Build, builder: Builder) -> dict[str, Any]:
    """Return python-on-whales' arguments for where the result goes, as it suits what runs the build."""
    output = plan.request.output
    if output == LOADED and builder.driver != "docker":
        return {"output": {}, "load": True}  # the docker driver builds in the engine; others must hand the image over
    options = {"type": output.type}
    if output.folder:
        options["dest"] = output.folder
    if output.push:
        options["push"] = "true"
    if output == LOADED and not plan.caches.export:
        # gzip would take up to a tenth of a local build (measured). Layers that are pushed are always compressed.
        options["compression"] = "uncompressed"
    if output == PUSHED and builder.driver == "docker" and builder.direct:
        # A zstd layer that is pulled to build on is unpacked in half the time (measured).
        how = {"compression": "zstd", "oci-mediatypes": "true"} if plan.request.target == "builder" else {"compression": "gzip"}
        options.update({"store": "false", **how, "force-compression": "true"})
    return {"output": dict(pair.split("=", 1) for pair in (join_line([f"{name}={value}"]) for name, value in options.items()))}


def run_and_keep_log(plan: Build, builder: Builder, out: Out) -> Built:
    """Run a build, again where that helps, and return what it did. Raises Exit with the reason for people where it fails."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        metadata = Path(folder, "metadata.json")
        more: dict[str, Any] = {"metadata_file": metadata} if os.isatty(2) and not out.quiet else {}
        more |= {"progress": out.progress} if out.progress else {}
        plan, screen, is_good = run_with_retries(plan, builder, more, out)
        if not is_good:
            raise show_failure(plan, screen, out)
        show(screen.end(failed=False, explained=False))
        log = whole_log(screen, metadata) if stages_run(screen.log) else screen.log
    return Built(plan, log, time.monotonic() - began)


def run_with_retries(plan: Build, builder: Builder, more: Mapping[str, Any], out: Out) -> tuple[Build, Screen, bool]:
    """Run a build, and again where it failed for the engine's fault or for a cache's. Return the build of the last run, its screen, and
    whether it succeeded. more: further arguments of python-on-whales."""
    repeats = 0
    while True:
        screen = screen_for(out)
        if run_once({**buildx_options(plan, builder), **more}, screen):
            return plan, screen, True
        if repeats < MOST_REPEATS and (fault := engine_fault(screen.log)):
            repeats += 1
            out.say(f"{fault}; once more")
        elif (plan.caches.imports or plan.caches.deps_image) and is_cache_failure(screen.log):
            reason = str(explain_failure(screen.log, "docker buildx build").message).splitlines()[0]
            out.say(f"a cache can't be used; once more without: {reason}")
            plan = plan.with_caches(None)
        else:
            return plan, screen, False


def run_once(options: Mapping[str, Any], screen: Screen) -> bool:
    """Run a build, and return whether it succeeded; the screen has all that it wrote."""
    words = command_of(options)
    with watched(screen), started(words, stdout=subprocess.DEVNULL) as process:
        return process.wait() == 0


def show_failure(plan: Build, screen: Screen, out: Out) -> Exit:
    """Show what is left of a failed build's output, and return its error."""
    error = explain_failure(screen.log, "docker buildx build", plan.project.root, plan.project.settings.dockerfile)
    in_our_words = not isinstance(error, Unexplained)
    show(screen.end(failed=True, explained=in_our_words and "did not complete" in last_error(screen.log)))
    if out.quiet and isinstance(error, LookAbove):
        say("".join(re.findall(r"^------\n(.*?)^------\n", ANSI.sub("", screen.log), re.MULTILINE | re.DOTALL)))
    return error


def screen_for(out: Out) -> Screen:
    """Return the screen of a build: BuildKit's own words on a terminal, and where a form of them was asked for; else a line a step."""
    return Screen("none" if out.quiet else "all" if os.isatty(2) or out.progress else "steps")


def whole_log(screen: Screen, metadata: Path) -> str:
    """Return all that the steps of a build wrote.

    On a terminal BuildKit draws no output of steps that are over. There its own record is read, as buildx can since 0.20; with an older
    one it is what was drawn.
    """
    if metadata.is_file():
        reference = str(json.loads(metadata.read_text()).get("buildx.build.ref", ""))
        out, err = ask_docker(["buildx", "history", "logs", "--progress=plain", reference.rpartition("/")[2]])[0]
        if re.search(r"^#\d+ ", out + err, re.MULTILINE):
            return out + err
    return screen.log


def show(written: bytes) -> None:
    """Write bytes to stderr as they are."""
    sys.stderr.flush()
    with contextlib.suppress(OSError):  # nobody may be there to be told
        while written:
            written = written[os.write(2, written) :]
