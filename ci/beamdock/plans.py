"""beamdock 0.1.0: a build planned from settings and flags. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Mapping, Sequence

from .dependencies import dependency_files, reduced
from .files import find, read_text
from .flags import BuildFlags, ImageFlags
from .history import git_context, history_needed, origin_of
from .keys import states
from .leftout import refuse_left_out
from .model import ACCESS, Build
from .private import authority_of, git_rules, secrets_for, ssh_for
from .project import Project
from .settings import check
from .tags import VALID_TAG, branch_tag
from .values import MOST_BYTES, shown, shown_name
from .words import ORIGIN_LABEL, PROJECT_LABEL, REVISION_LABEL, WRITABLE_LABEL, failure


def plan_build(
    project: Project, flags: BuildFlags, target: str, tags: Sequence[str], output: Mapping[str, str], incremental: bool = False
) -> Build:
    """A build from settings and flags. tags: without the repository; incremental: on top of the last build's files."""
    settings = project.settings
    build_args = {
        "BUILD_BASE": settings.build_base,
        "RUN_BASE": settings.run_base,
        "PROFILE": settings.profile,
        "RELEASE": project.release.name,
        "PROJECT": project.image.replace("/", "-"),
        "BUILD_PACKAGES": " ".join(settings.build_packages),
        "RUNTIME_PACKAGES": " ".join(settings.runtime_packages),
        "DEBIAN_MIRROR": settings.debian_mirror,
        "HEX_MIRROR": settings.hex_mirror,
        "REBAR3": settings.rebar3,
        "PREBUILD": settings.prebuild,
        "WRITABLE": " ".join(settings.writable),
        "BUILD_ENV": "\n".join(f"{name}={shlex.quote(value)}" for name, value in settings.build_env.items()),
    }
    build_args = {**{name: value for name, value in build_args.items() if value}, **settings.build_args}
    build_args.update(given_arguments(flags.build_arg or ()))
    for tag in tags:
        if tag == "latest":
            raise failure("`latest` is never written: it says nothing of what is in the image", "--tag with another name")
        if not VALID_TAG.fullmatch(tag):
            raise failure(f"{shown(tag)} can't be a tag", "letters, digits, _ . and -, at most 128, the first a letter, a digit or _")
    if long := next((name for name, value in build_args.items() if len(value.encode("utf-8", "surrogateescape")) > MOST_BYTES), ""):
        raise failure(f"the build argument {long} has more than {MOST_BYTES} bytes", "what is longer belongs into a file")
    if target in ("runner", "tarball"):
        refuse_left_out(project)
    files = dependency_files(project.files, settings)
    if incremental and not flags.no_cache:
        build_args.update(states(project, build_args, files, target))
    contexts = {"deps": reduced(files, settings.profile), ACCESS: git_rules(settings.git_rewrites)}
    if target != "builder":
        sources = [read_text(file) for file in find(project.files, "src/*.app.src", "*/src/*.app.src", "*/*/src/*.app.src")]
        need = history_needed(project.release.version, project.scripted, sources)
        contexts["git"] = git_context(project.root, need, project.tree.commit)
    contexts["authority"] = authority_of(project)
    image = target not in ("builder", "tarball")
    labels = {REVISION_LABEL: project.commit_tag, PROJECT_LABEL: project.image, WRITABLE_LABEL: " ".join(settings.writable)}
    return Build(
        project=project,
        target=target,
        tags=tuple(f"{project.repository}:{tag}" for tag in dict.fromkeys(tags)),
        build_args=build_args,
        contexts={name: files for name, files in contexts.items() if files},
        labels=labels if image else {},
        secrets=secrets_for(project, check("secrets", flags.secret or [], "--secret"), contexts["deps"], project.environ),
        ssh=ssh_for(project, check("ssh", flags.ssh, "--ssh"), project.environ),
        pull=flags.pull,
        no_cache=flags.no_cache,
        output=output,
    )


def given_arguments(words: Sequence[str]) -> dict[str, str]:
    """The build arguments that flags give."""
    given = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not equals:
            what = f"{shown_name(name)} has no value" if name else f"{word[:1]} has no name"
            raise failure(f"--build-arg {what}", "--build-arg NAME=VALUE")
        given[name] = value
    check("build_args", given, "--build-arg")
    return given


def with_origin(plan: Build) -> Build:
    """The plan of a local image, with a label that says whose it is. In a registry its name says that, and what is pushed from a
    shallow clone has the same bytes."""
    origin = origin_of(plan.project.root) if plan.labels else ""
    return dataclasses.replace(plan, labels={**plan.labels, ORIGIN_LABEL: origin}) if origin else plan


def target_tags(project: Project, flags: ImageFlags, branch: str) -> list[str]:
    """The commit's tag and the branch's, or COMMIT-TARGET alone for another stage than the runner; then --tag."""
    tags = [project.commit_tag, *([branch_tag(branch)] if branch else [])]
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", flags.target, re.ASCII):
        raise failure(f"--target {shown(flags.target)} can't be a stage", "the Dockerfile has them: --target runner")
    if flags.target == "dirty":
        raise failure("a stage can't be called dirty", f"{project.tree.commit[:8]}…-dirty is the tag of a tree with edits")
    if flags.target != "runner":
        tags = [f"{project.commit_tag}-{flags.target}"]
    return [*tags, *(flags.tag or ())]
