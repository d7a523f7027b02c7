"""beamdock 0.1.0: a build planned from settings and a request. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Mapping, Sequence

from .caches import plan_caches
from .dependencies import dependency_files, reduce_files
from .files import find_files, read_text
from .history import git_context, history_needed
from .keys import in_bytes, incremental_arguments, make_deps_key
from .leftout import refuse_left_out
from .model import Build, DepsKey, Inputs, Request
from .private import find_secrets, find_ssh, gitconfig_files, read_authority
from .project import Project
from .settings import check_setting
from .tags import VALID_TAG, branch_tag, deps_tag
from .values import MOST_BYTES, shown, shown_name
from .words import DEPS_LABEL, ORIGIN_LABEL, PROJECT_LABEL, REVISION_LABEL, WRITABLE_LABEL, failure


def plan_build(project: Project, request: Request) -> Build:
    """Return the plan of what a task wants built: an image, a tarball, or a stage. Raises Exit where the request, the settings or the
    project's files don't allow it."""
    check_tags(request.tags)
    inputs = read_inputs(project, request)
    labels = image_labels(project, request) if request.target not in ("builder", "tarball") else {}
    return assemble_plan(inputs, request, make_deps_key(inputs), labels)


def plan_deps_image(project: Project, request: Request) -> Build:
    """Return the plan of the dependencies' image: the stage `builder`, with the key as its tag (the request's come after it) and as a
    label. Raises Exit as plan_build does."""
    check_tags(request.tags)
    request = dataclasses.replace(request, target="builder", incremental=False)
    inputs = read_inputs(project, request)
    key = make_deps_key(inputs)
    tagged = dataclasses.replace(request, tags=(deps_tag(key.checksum), *request.tags))
    return assemble_plan(inputs, tagged, key, {DEPS_LABEL: key.checksum})


def assemble_plan(inputs: Inputs, request: Request, key: DepsKey, labels: Mapping[str, str]) -> Build:
    """Return the plan that inputs, a key and labels make, with the secrets and the caches that go with them."""
    project = inputs.project
    return Build(
        inputs=inputs,
        request=request,
        deps_key=key,
        tags=tuple(f"{project.repository}:{tag}" for tag in dict.fromkeys(request.tags)),
        labels=labels,
        secrets=find_secrets(project, request.secrets, inputs.contexts.get("deps", {}), project.environ),
        ssh=find_ssh(project, request.ssh, project.environ),
        access=gitconfig_files(project.settings.git_rewrites),
        caches=plan_caches(inputs, request, key),
    )


def read_inputs(project: Project, request: Request) -> Inputs:
    """Return what decides the bytes of a build, from the settings, the project's files and git."""
    settings, target = project.settings, request.target
    build_args = {**arguments_of_settings(project), **settings.build_args, **request.build_args}
    if too_long := next((name for name, value in build_args.items() if len(in_bytes(value)) > MOST_BYTES), ""):
        raise failure(f"the build argument {too_long} has more than {MOST_BYTES} bytes", "what is longer belongs into a file")
    if target in ("runner", "tarball"):
        refuse_left_out(project)
    files = dependency_files(project.source_folder, settings, project.rebar_config)
    if request.incremental and not request.no_cache:
        build_args.update(incremental_arguments(project, build_args, files, target))
    contexts = {"deps": reduce_files(files, settings.profile), "authority": read_authority(project)}
    if target != "builder":
        contexts["git"] = version_history(project)
    return Inputs(project, target, build_args, {name: content for name, content in contexts.items() if content})


def arguments_of_settings(project: Project) -> dict[str, str]:
    """Return the Dockerfile's build arguments that settings stand for. What a setting leaves empty is the Dockerfile's to say."""
    settings = project.settings
    build_args = {
        "BUILD_BASE": settings.build_base,
        "RUN_BASE": settings.run_base,
        "PROFILE": settings.profile,
        "RELEASE": project.release.name,
        "PROJECT": project.mounts_prefix,
        "BUILD_PACKAGES": " ".join(settings.build_packages),
        "RUNTIME_PACKAGES": " ".join(settings.runtime_packages),
        "DEBIAN_MIRROR": settings.debian_mirror,
        "HEX_MIRROR": settings.hex_mirror,
        "REBAR3": settings.rebar3,
        "PREBUILD": settings.prebuild,
        "WRITABLE": " ".join(settings.writable),
        "BUILD_ENV": "\n".join(f"{name}={shlex.quote(value)}" for name, value in settings.build_env.items()),
    }
    return {name: value for name, value in build_args.items() if value}


def version_history(project: Project) -> dict[str, bytes]:
    """Return the git folder from which the build reads its version: path -> content."""
    sources = [read_text(file) for file in find_files(project.source_folder, "src/*.app.src", "*/src/*.app.src", "*/*/src/*.app.src")]
    need = history_needed(project.release.version, project.scripted, sources)
    return git_context(project.root, need, project.tree.commit)


def image_labels(project: Project, request: Request) -> dict[str, str]:
    """Return the labels of a release's image.

    An image that stays in the engine says whose it is. One that is pushed does not: its name in the registry says that, and a push from
    a shallow clone, which does not know its origin, makes the same bytes.
    """
    labels = {REVISION_LABEL: project.commit_tag, PROJECT_LABEL: project.image, WRITABLE_LABEL: " ".join(project.settings.writable)}
    return {**labels, ORIGIN_LABEL: request.origin} if request.origin else labels


def parse_arguments(words: Sequence[str]) -> dict[str, str]:
    """Return the build arguments that --build-arg gives, NAME=VALUE each. Raises Exit where one can't be."""
    given = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not equals:
            what = f"{shown_name(name)} has no value" if name else f"{word[:1]} has no name"
            raise failure(f"--build-arg {what}", "--build-arg NAME=VALUE")
        given[name] = value
    check_setting("build_args", given, "--build-arg")
    return given


def check_tags(tags: Sequence[str]) -> None:
    """Raise Exit where one of these can't be a tag, or says nothing of what is in the image."""
    for tag in tags:
        if tag == "latest":
            raise failure("`latest` is never written: it says nothing of what is in the image", "--tag with another name")
        if not VALID_TAG.fullmatch(tag):
            raise failure(f"{shown(tag)} can't be a tag", "letters, digits, _ . and -, at most 128, the first a letter, a digit or _")


def target_tags(project: Project, target: str, branch: str, more: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the tags of an image: the commit's and the branch's (none for ''), or COMMIT-TARGET alone for another stage than the
    runner; then those of --tag. Raises Exit where the target can't be a stage."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", target, re.ASCII):
        raise failure(f"--target {shown(target)} can't be a stage", "the Dockerfile has them: --target runner")
    if target == "dirty":
        raise failure("a stage can't be called dirty", f"{project.tree.commit[:8]}…-dirty is the tag of a tree with edits")
    if target != "runner":
        return (f"{project.commit_tag}-{target}", *more)
    return (project.commit_tag, *([branch_tag(branch)] if branch else []), *more)
