#!/usr/bin/env python3
# /// script
# requires-python = ">=3.9"
# dependencies = ["invoke>=3.0.3,<4", "python-on-whales>=0.81.0,<1", "pyyaml>=6"]
# ///
"""beamdock 0.1.0: build an Erlang release into a container image, push it, run it, and talk to its node.

To copy into a repo with the folder ci/beamdock, the Dockerfile and the .dockerignore. SPDX-License-Identifier: Apache-2.0
To upgrade: replace this file and the folder by newer ones; settings live in invoke.yaml, under `beamdock:`.

Here is every task, in the order of a day. What they are made of is in the rooms of ci/beamdock.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit

if __name__ == "__main__":
    # Invoke loads this file again, as the project's collection, so that the settings are those of `invoke`.
    from invoke.main import program

    here = Path(__file__).resolve()
    try:
        program.run(["invoke", "--search-root", str(here.parent), "--collection", here.stem, *sys.argv[1:]])
    except OSError as error:  # Invoke's own files: where HOME is a file it shows a stack
        sys.exit(f"error: {error.filename}: {error.strerror}")
    sys.exit()


@contextlib.contextmanager
def rooms(*names: str) -> Iterator[None]:
    """Let `from ci.beamdock.NAME import` find the folder ci/beamdock beside this file, or above it. It is loaded under a name of
    its own: a `ci` of the team's, and another copy of ours, stay what they are."""
    home = Path(__file__).resolve().parent
    folder = next((f for f in (base / "ci" / "beamdock" for base in (home, *home.parents)) if (f / "__init__.py").is_file()), None)
    if not folder:
        raise Exit(f"error: there is no folder ci/beamdock in {home}\nhint: copy it whole, from where tasks.py came from", code=2)
    package = f"beamdock_{hashlib.sha256(bytes(folder)).hexdigest()[:12]}"
    if package not in sys.modules:
        spec = importlib.util.spec_from_file_location(package, folder / "__init__.py", submodule_search_locations=[str(folder)])
        assert spec and spec.loader
        sys.modules[package] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[package])
    ours = {"ci": types.ModuleType("ci"), "ci.beamdock": sys.modules[package]}
    ours.update({f"ci.beamdock.{name}": importlib.import_module(f"{package}.{name}") for name in names})
    before = {name: sys.modules.get(name) for name in ours}
    sys.modules.update(ours)
    try:
        yield
    finally:
        for name, module in before.items():
            if module:
                sys.modules[name] = module
            else:
                del sys.modules[name]


with rooms(
    *"advice build caches commit containers declare docker files flags keys model nodes "
    "plans progress project publish settings start tags terms words".split()
):
    from ci.beamdock.advice import warned
    from ci.beamdock.build import build_image
    from ci.beamdock.caches import about_deps, deps_there, explain_key, plan_caches, plan_deps
    from ci.beamdock.commit import frozen, refuse_checkouts, refuse_edits
    from ci.beamdock.containers import container, find_image, remainder, terminal
    from ci.beamdock.declare import Common, command
    from ci.beamdock.docker import act, act_on_terminal, ask_docker, client, docker, require_docker
    from ci.beamdock.files import make_folder, require_folder
    from ci.beamdock.flags import (
        CleanFlags,
        ContainerFlags,
        DepsFlags,
        EvalFlags,
        InitFlags,
        LogsFlags,
        PushFlags,
        ReleaseFlags,
        RpcFlags,
        RunFlags,
        ShellFlags,
        StartFlags,
        StopFlags,
    )
    from ci.beamdock.keys import deps_key
    from ci.beamdock.model import PUSHED
    from ci.beamdock.nodes import call_of, evaluate_on, require_node
    from ci.beamdock.plans import plan_build, target_tags, with_origin
    from ci.beamdock.progress import summary
    from ci.beamdock.project import Project, announce, invoke, read_project
    from ci.beamdock.publish import no_new_tags, push_deps, pushed_digest
    from ci.beamdock.settings import FIELDS, check_yaml, take_environment
    from ci.beamdock.start import start, stop_in_order
    from ci.beamdock.tags import branch_tag
    from ci.beamdock.terms import format_term
    from ci.beamdock.words import KEY, PROJECT_LABEL, failure, open_streams, result, told

open_streams()
with told():
    check_yaml(Path(__file__).parent, sys.argv[1:])
ENVIRONMENT = take_environment(os.environ)


def project_of(c: Context, flags: Common) -> Project:
    """The project that a task is about."""
    return read_project(Path(__file__).parent, c.config.get(KEY), ENVIRONMENT, os.environ, flags)


@command(ReleaseFlags, name="build", aliases=["release"])
def build(c: Context, flags: ReleaseFlags) -> None:
    """Build the release's image"""
    project = project_of(c, flags)
    what = f"release {project.release.name} as {project.settings.profile}"
    mode = project.settings.incremental
    incremental = flags.incremental and not flags.cache_to and (mode == "always" or (mode == "desk" and not project.environ.get("CI")))
    branch = project.branch
    if flags.tarball:
        require_folder(Path(flags.tarball), "--tarball")
        # By way of a folder of our own, so that it is known which file is the new one.
        own = project.context_folder / f"tarball-{os.getpid()}"
        folder = Path(flags.tarball) if flags.dry_run else own
        draft = plan_build(project, flags, "tarball", [], {"type": "local", "dest": str(folder)}, incremental)
        plan = plan_caches(draft, branch, flags.cache_to, flags.cache_from or ())
        announce(project, f"packing {what}", flags.out)
        try:
            with warned(project, flags.quiet) as builds:
                builds += build_image(plan, flags.out)
            if builds:
                flags.out.say(summary(builds))
                make_folder(Path(flags.tarball))
                for file in folder.iterdir():
                    result(shutil.move(str(file), str(Path(flags.tarball, file.name))))
        finally:
            shutil.rmtree(own, ignore_errors=True)
        return
    output = {"type": "image"} if flags.load else {"type": "cacheonly"}
    draft = plan_build(project, flags, flags.target, target_tags(project, flags, project.tree.branch), output, incremental)
    draft = with_origin(draft) if flags.load else draft
    plan = plan_caches(draft, branch, flags.cache_to, flags.cache_from or ())
    announce(project, f"building {plan.tags[-1]}, {what}", flags.out)
    with warned(project, flags.quiet) as builds:
        builds += build_image(plan, flags.out)
    if builds:
        flags.out.say(summary(builds))
    if builds and flags.load:
        runs = flags.target == "runner"
        flags.out.say(f"next: {invoke(project, *(('run', 'console', 'push --branch') if runs else (f'shell --image {plan.tags[0]}',)))}")
        result(plan.tags[0])


@command(StartFlags)
def run(c: Context, flags: StartFlags) -> None:
    """Run the image; what follows -- goes to the start script"""
    start(project_of(c, flags), flags, ["--detach"] if flags.detach else [], remainder())


@command(RunFlags)
def console(c: Context, flags: RunFlags) -> None:
    """Run the image with an Erlang shell on this terminal"""
    if not (flags.dry_run or sys.stdin.isatty()):
        raise failure("a console needs a terminal", "invoke run --detach, and invoke attach from a terminal")
    start(project_of(c, flags), flags, ["--interactive", "--tty"], ["console", *remainder()])


@command(ContainerFlags)
def attach(c: Context, flags: ContainerFlags) -> None:
    """Open an Erlang shell on the running node"""
    if not (flags.dry_run or sys.stdin.isatty()):
        raise failure("attach needs a terminal", "invoke eval 'node().' asks the node without one; invoke rpc MODULE FUNCTION calls it")
    chosen = container(project_of(c, flags), flags)
    if not flags.dry_run:
        require_node(chosen["Names"], chosen["ID"])
    flags.out.report(f"{chosen['Names']}: Ctrl-G then q leaves; q() would stop the node")
    act_on_terminal(flags.out, ["exec", *terminal(), chosen["ID"], "/release", "remote_console"])


@command(EvalFlags, name="eval", positional=["expression"])
def evaluation(c: Context, flags: EvalFlags) -> None:
    """Evaluate an Erlang expression on the running node"""
    evaluate_on(container(project_of(c, flags), flags), flags.expression, flags.out)


@command(RpcFlags, positional=["module", "function"])
def rpc(c: Context, flags: RpcFlags) -> None:
    """Call a function on the running node; -- ARGS are its terms"""
    call = call_of(flags.module, flags.function, remainder())
    evaluate_on(container(project_of(c, flags), flags), call, flags.out)


@command(ShellFlags)
def shell(c: Context, flags: ShellFlags) -> None:
    """Open a shell in the running container, or in an image"""
    words = remainder() or ["/bin/sh"]
    if flags.image:
        project = project_of(c, flags)
        require_docker()
        image = flags.image if isinstance(flags.image, str) else find_image(project, "")[0]
        act_on_terminal(flags.out, ["run", "--rm", "--init", *terminal(), f"--entrypoint={words[0]}", image, *words[1:]])
    else:
        act_on_terminal(flags.out, ["exec", *terminal(), container(project_of(c, flags), flags)["ID"], *words])


@command(LogsFlags)
def logs(c: Context, flags: LogsFlags) -> None:
    """Show what the node has written"""
    options = [*(["--follow"] if flags.f else []), *([f"--tail={flags.tail}"] if flags.tail else [])]
    act_on_terminal(flags.out, ["logs", *options, container(project_of(c, flags), flags, stopped=True)["ID"]])


@command(Common)
def ps(c: Context, flags: Common) -> None:
    """List this project's containers"""
    rows = "table {{.Names}}\t{{.Image}}\t{{.Status}}\t{{.Ports}}"
    project = project_of(c, flags)
    require_docker()
    if listed := act(flags.out, "ps", "--all", f"--filter=label={PROJECT_LABEL}={project.image}", f"--format={rows}"):
        result(listed.rstrip("\n"))


@command(StopFlags)
def stop(c: Context, flags: StopFlags) -> None:
    """Stop the running container in order, and remove it"""
    chosen = container(project_of(c, flags), flags, stopped=True)
    if chosen["State"] != "running":
        act(flags.out, "rm", "--volumes", chosen["ID"])
        flags.out.report(f"{chosen['Names']} had ended by itself; removed")
        return
    kept = docker("inspect", "--format={{.HostConfig.AutoRemove}}", chosen["ID"]).strip() == "false"
    waiting = (
        subprocess.Popen([*map(str, client().docker_cmd), "wait", chosen["ID"]], stdout=subprocess.PIPE, text=True)
        if not flags.dry_run
        else None
    )
    if flags.kill or flags.dry_run:
        act(flags.out, *(["kill"] if flags.kill else ["stop", f"--time={flags.time}"]), chosen["ID"])
    else:
        stop_in_order(chosen["ID"], flags.time)
    code = waiting.communicate()[0].strip() if waiting else ""
    if kept:
        act(flags.out, "rm", "--volumes", chosen["ID"])
    flags.out.report(f"stopped {chosen['Names']}, exit code {code}")


@command(ContainerFlags)
def diff(c: Context, flags: ContainerFlags) -> None:
    """Show what the container has written to its file system"""
    lines = (act(flags.out, "diff", container(project_of(c, flags), flags, stopped=True)["ID"]) or "").splitlines()
    # On the containerd store --init shows, though it is the engine's own.
    own = {"A /usr/sbin/docker-init", "A /sbin/docker-init"} & set(lines)
    folders = {f"C {folder}" for line in own for folder in ("/usr/sbin", "/usr", "/sbin") if f"{folder}/" in line}
    used = {line[2:] for line in lines if line not in own | folders}
    if shown := [line for line in lines if line not in own and (line not in folders or any(u.startswith(line[2:]) for u in used))]:
        result("\n".join(shown))


@command(PushFlags)
def push(c: Context, flags: PushFlags) -> None:
    """Build and push the commit's image"""
    project = project_of(c, flags)
    if not project.settings.registry:
        raise failure("there is no registry to push to", f"--registry ghcr.io/acme, or `registry:` under `{KEY}:` in invoke.yaml")
    refuse_edits(project.tree)
    if isinstance(flags.branch, str) and not flags.branch.strip():
        hint = "is the variable set that should have the name? --branch alone takes the branch that is checked out"
        raise failure("--branch= names no branch", hint)
    branch = flags.branch if isinstance(flags.branch, str) else project.branch
    if flags.branch and not branch:
        raise failure("HEAD is detached, and no CI variable says which branch it is", "--branch=NAME")
    tags = target_tags(project, flags, branch if flags.branch else "")
    with contextlib.nullcontext(project) if flags.dry_run else frozen(project) as copied:
        plan = plan_caches(plan_build(copied, flags, flags.target, tags, PUSHED), branch, export=True)
        refuse_checkouts(copied, plan.contexts["deps"], flags.force)
        announce(project, f"pushing {project.repository}", flags.out)
        alias = [f"{project.repository}:deps-of-{branch_tag(branch)}"] if branch and plan.deps else []
        temporary = contextlib.nullcontext() if flags.dry_run else no_new_tags(project, [*plan.tags, plan.deps, *alias])
        with temporary, warned(project, flags.quiet) as builds:
            if plan.deps and not flags.dry_run:
                builds += push_deps(plan, alias, branch, flags)
            builds += build_image(plan, flags.out)
    if builds:
        flags.out.say(summary(builds))
        digest = pushed_digest(plan)
        flags.out.say(f"pushed {' and '.join(tag.rsplit(':', 1)[1] for tag in plan.tags)}")
        result(f"{project.repository}@{digest}")


@command(DepsFlags)
def deps_image(c: Context, flags: DepsFlags) -> None:
    """Build the dependencies alone, as IMAGE:deps-CHECKSUM"""
    project = project_of(c, flags)
    output = PUSHED if flags.push else {"type": "image"}
    draft = plan_build(project, flags, "builder", [], output)
    if flags.explain:
        explain_key(draft)
    if flags.key:
        result(deps_key(draft))
    if flags.key or flags.explain:
        return
    if flags.push and not project.settings.registry:
        raise failure("there is no registry to push to", f"--registry ghcr.io/acme, or `registry:` under `{KEY}:` in invoke.yaml")
    plan = plan_deps(project, flags, [f"deps-{deps_key(draft)}"], output, project.branch)
    announce(project, f"building the dependencies, {plan.tags[0]}", flags.out)
    if flags.push and plan.deps and not flags.dry_run:
        if deps_there(plan.deps, ask_docker(about_deps(plan.deps))[0], flags.out):
            flags.out.say("the registry has them already")
            result(plan.tags[0])
            return
        plan = dataclasses.replace(plan, deps="")  # asked once
    with warned(project, flags.quiet) as builds:
        builds += build_image(plan, flags.out)
    if builds:
        flags.out.say(summary(builds))
        result(plan.tags[0])


@command(Common)
def config(c: Context, flags: Common) -> None:
    """Show each setting's value and where it came from"""
    project = project_of(c, flags)
    settings, sources = project.settings, project.sources
    where = f"rebar.config:{project.release.line}" if project.release.line else "default"
    rows = []
    for name in FIELDS:
        value, source = getattr(settings, name), sources.get(name, "default")
        if name == "release" and not value:
            value, source = project.release.name, where
        if name == "version" and not value:
            value, source = format_term(project.release.version) if project.release.version else "", where
        if name == "image" and not value:
            value, source = project.image, "the release's name"
        text = (
            " ".join(value)
            if isinstance(value, list)
            else " ".join(f"{k}={v}" for k, v in value.items())
            if isinstance(value, dict)
            else str(value)
        )
        rows.append((name, text.lower() if isinstance(value, bool) else text or "-", source))
    widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
    result("\n".join(f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}" for row in rows))


@command(InitFlags, positional=["dir"])
def init(c: Context, flags: InitFlags) -> None:
    """Copy tasks.py and the Dockerfile into another repo"""
    with rooms("init"):
        from ci.beamdock.init import init_repo
    init_repo(Path(__file__), flags)


@command(CleanFlags)
def clean(c: Context, flags: CleanFlags) -> None:
    """Remove this project's old images, containers and caches"""
    with rooms("clean"):
        from ci.beamdock.clean import clean_project
    clean_project(project_of(c, flags), flags)


ns = Collection(build, run, console, attach, evaluation, rpc, shell, logs, ps, stop, diff, push, deps_image, config, init, clean)
ns.configure({"tasks": {"auto_dash_names": True}})
