#!/usr/bin/env python3
# /// script
# requires-python = ">=3.9"
# dependencies = ["invoke>=3.0.3,<4", "python-on-whales>=0.81.0,<1", "pyyaml>=6"]
# ///
"""beamdock 0.1.0: build an Erlang release into a container image, push it, run it, and talk to its node.

To copy into a repo with the folder ci/beamdock, the Dockerfile and the .dockerignore. SPDX-License-Identifier: Apache-2.0
To upgrade: replace this file and the folder by newer ones; settings live in invoke.yaml, under `beamdock:`.

Here is every task, in the order of a day. The modules in ci/beamdock, its rooms, are what they are made of.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


VERSION = "0.1.0"


def not_whole(error: str) -> Exit:
    return Exit(f"error: {error}\nhint: copy tasks.py and the folder ci/beamdock, whole and of one version", code=2)


def load_package(folder: Path) -> types.ModuleType:
    """Return the package of the rooms in a folder, made when it is first asked for.

    It has a name that nothing else has. A plain `import ci.beamdock` would meet a `ci` of the team's, or a second copy of ours.
    """
    name = f"beamdock_{hashlib.sha256(bytes(folder)).hexdigest()[:12]}"
    if name not in sys.modules:
        file = folder / "__init__.py"
        if not file.is_file():
            raise not_whole(f"{file} is missing")
        text = file.read_bytes()
        if not text.startswith(f'"""beamdock {VERSION}:'.encode()):
            raise not_whole(f"{file} can't be loaded: it is not of version {VERSION}, as tasks.py is")
        package = types.ModuleType(name)
        package.__path__ = [str(folder)]
        try:
            exec(compile(text, file, "exec"), vars(package))
            package.prepare(VERSION, Path(__file__).absolute().parent)
        except (AttributeError, NameError, SyntaxError) as error:  # the file ends too early
            raise not_whole(f"{file} can't be loaded: {error}") from None
        sys.modules[name] = package
    return sys.modules[name]


@contextlib.contextmanager
def rooms(*names: str) -> Iterator[None]:
    """Let `from ci.beamdock.NAME import` find the folder ci/beamdock beside this file, or above it. Raises Exit where the folder is
    not whole, or a Python package is missing."""
    home = Path(__file__).resolve().parent
    folder = next((f for f in (base / "ci" / "beamdock" for base in (home, *home.parents)) if os.path.lexists(f)), None)
    if not folder:
        raise not_whole(f"there is no folder ci/beamdock in {home}")
    before = {name: sys.modules.get(name) for name in ("ci", "ci.beamdock", *(f"ci.beamdock.{name}" for name in names))}
    package = load_package(folder).__name__
    try:
        sys.modules.update({name: types.ModuleType(name) for name in ("ci", "ci.beamdock")})
        sys.modules.update({f"ci.beamdock.{name}": importlib.import_module(f"{package}.{name}") for name in names})
        yield
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("ci.beamdock."):
            raise not_whole(f"{error.name} is imported, and not among the names that rooms() is given") from None
        if error.name and error.name.startswith(f"{package}."):
            raise not_whole(f"{folder / error.name.rpartition('.')[2]}.py is missing") from None
        raise Exit(f"error: Python has no package {error.name}\nhint: pip install invoke python-on-whales pyyaml", code=2) from None
    except (ImportError, SyntaxError) as error:
        file = error.filename if isinstance(error, SyntaxError) else error.path
        raise not_whole(f"{file} can't be loaded: {str(error).replace(package, 'ci.beamdock')}") from None
    finally:
        for name, module in before.items():
            if module:
                sys.modules[name] = module
            else:
                sys.modules.pop(name, None)


with rooms(
    *"advice build caches commit configuration containers declare docker flags history model nodes options "
    "plans project publish record settings start stop tags terms words".split()
):
    from ci.beamdock.advice import report_builds, warn_of_run
    from ci.beamdock.build import run_build_plan
    from ci.beamdock.caches import check_cache_words, import_words
    from ci.beamdock.commit import copy_commit, refuse_checkouts, refuse_edits
    from ci.beamdock.configuration import check_configuration, take_environment
    from ci.beamdock.containers import find_container, find_image, written_paths
    from ci.beamdock.declare import Common, command, remainder
    from ci.beamdock.docker import require_docker, run_on_terminal, run_or_print, stdin_options
    from ci.beamdock.flags import (
        BuildFlags,
        CleanFlags,
        ConsoleFlags,
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
        StopFlags,
    )
    from ci.beamdock.history import read_origin
    from ci.beamdock.model import LOADED, NOWHERE, PUSHED, Output, Request
    from ci.beamdock.nodes import call_expression, print_value, require_node
    from ci.beamdock.options import RunOptions, variables_given
    from ci.beamdock.plans import parse_arguments, plan_build, plan_deps_image, target_tags
    from ci.beamdock.project import Project, announce, is_incremental, next_commands, read_project
    from ci.beamdock.publish import has_deps_image, leave_no_local_tags, push_deps_image, pushed_digest, require_registry, tarball_folder
    from ci.beamdock.record import explain_key, read_record
    from ci.beamdock.settings import FIELDS, check_setting
    from ci.beamdock.start import Launch, Mode, prepare_container, start_container
    from ci.beamdock.stop import stop_container
    from ci.beamdock.tags import branch_to_push
    from ci.beamdock.terms import format_term
    from ci.beamdock.words import KEY, PROJECT_LABEL, Out, errors_told, failure, open_streams, print_result

open_streams()
with errors_told():
    check_configuration(Path(__file__).parent, sys.argv[1:], os.environ)
ENVIRONMENT = take_environment(os.environ)


def project_of(c: Context, flags: Common) -> Project:
    """The project that a task is about."""
    overrides = {name: value for name in ("registry", "release") if (value := getattr(flags, name, ""))}
    return read_project(Path(__file__).parent, c.config.get(KEY), ENVIRONMENT, os.environ, overrides)


def request_of(flags: BuildFlags, target: str, output: Output, **more: Any) -> Request:
    """What the flags that all builds share ask for. more: further fields of the request."""
    return Request(
        target,
        output,
        build_args=parse_arguments(flags.build_arg or ()),
        secrets=tuple(check_setting("secrets", flags.secret or [], "--secret")),
        ssh=check_setting("ssh", flags.ssh, "--ssh"),
        pull=flags.pull,
        no_cache=flags.no_cache,
        **more,
    )


def caching_of(flags: ReleaseFlags, project: Project) -> dict[str, Any]:
    """The part of a request that is about caches: the last build's files, the caches to import, and the cache to export.

    The flag `cache_to` is None where it is not given, True where it names nothing, or a text.
    """
    return {
        "branch": project.branch_or_ci,
        "incremental": flags.incremental and flags.cache_to is None and is_incremental(project),
        "cache_from": tuple(import_words(given) for given in flags.cache_from or ()),
        "exports": flags.cache_to is not None,
        "export_to": check_cache_words(flags.cache_to, "--cache-to") if isinstance(flags.cache_to, str) else "",
    }


@command(ReleaseFlags, name="build", aliases=["release"])
def build(c: Context, flags: ReleaseFlags) -> None:
    """Build the release's image"""
    project, out = project_of(c, flags), flags.out
    if flags.tarball:
        pack(project, flags)
        return
    wanted = request_of(
        flags,
        flags.target,
        LOADED if flags.load else NOWHERE,
        tags=target_tags(project, flags.target, project.tree.branch, flags.tag or ()),
        origin=read_origin(project.root) if flags.load else "",
        **caching_of(flags, project),
    )
    plan = plan_build(project, wanted)
    announce(project, f"building {plan.tags[-1]}, release {project.release.name} as {project.settings.profile}", out)
    with report_builds(project, out) as builds:
        builds += run_build_plan(plan, out)
    if builds and flags.load:
        runs = ("run", "console", "push --branch") if flags.target == "runner" else (f"shell --image {plan.tags[0]}",)
        out.say(f"next: {next_commands(project, *runs)}")
        print_result(plan.tags[0])


def pack(project: Project, flags: ReleaseFlags) -> None:
    """Make the release's tarball instead of an image."""
    with tarball_folder(project, Path(flags.tarball), flags.out) as folder, report_builds(project, flags.out) as builds:
        wanted = request_of(flags, "tarball", Output("local", folder=str(folder)), **caching_of(flags, project))
        plan = plan_build(project, wanted)
        announce(project, f"packing release {project.release.name} as {project.settings.profile}", flags.out)
        builds += run_build_plan(plan, flags.out)


def launch_of(flags: ConsoleFlags, mode: Mode, *arguments: str) -> Launch:
    """What the flags of run and console ask for."""
    options = RunOptions(
        publish=tuple(flags.publish or ()),
        env=tuple(flags.env or ()),
        env_file=tuple(flags.env_file or ()),
        volume=tuple(flags.volume or ()),
        network=flags.network,
        memory=flags.memory,
        cpus=flags.cpus,
        writable=flags.writable,
    )
    return Launch(mode, options, arguments, flags.name, flags.tag, waits=getattr(flags, "wait", True))


def launch(project: Project, wanted: Launch, out: Out) -> None:
    """Start a container, after a word on what its environment lacks."""
    prepared = prepare_container(project, wanted, out)
    warn_of_run(project, variables_given(wanted.options, prepared.image, project.environ), out)
    start_container(project, prepared, out)


@command(RunFlags)
def run(c: Context, flags: RunFlags) -> None:
    """Run the image; what follows -- goes to the start script"""
    mode = Mode.DETACHED if flags.detach else Mode.FOREGROUND
    launch(project_of(c, flags), launch_of(flags, mode, *remainder(sys.argv)), flags.out)


@command(ConsoleFlags)
def console(c: Context, flags: ConsoleFlags) -> None:
    """Run the image with an Erlang shell on this terminal"""
    if not (flags.dry_run or sys.stdin.isatty()):
        raise failure("a console needs a terminal", "invoke run --detach, and invoke attach from a terminal")
    launch(project_of(c, flags), launch_of(flags, Mode.CONSOLE, "console", *remainder(sys.argv)), flags.out)


@command(ContainerFlags)
def attach(c: Context, flags: ContainerFlags) -> None:
    """Open an Erlang shell on the running node"""
    if not (flags.dry_run or sys.stdin.isatty()):
        raise failure("attach needs a terminal", "invoke eval 'node().' asks the node without one; invoke rpc MODULE FUNCTION calls it")
    container = find_container(project_of(c, flags), flags.name)
    if not flags.dry_run:
        require_node(container)
    flags.out.report(f"{container.name}: Ctrl-G then q leaves; q() would stop the node")
    run_on_terminal(flags.out, ["exec", *stdin_options(), container.id, "/release", "remote_console"])


@command(EvalFlags, name="eval", positional=["expression"])
def evaluation(c: Context, flags: EvalFlags) -> None:
    """Evaluate an Erlang expression on the running node"""
    print_value(find_container(project_of(c, flags), flags.name), flags.expression, flags.out)


@command(RpcFlags, positional=["module", "function"])
def rpc(c: Context, flags: RpcFlags) -> None:
    """Call a function on the running node; -- ARGS are its terms"""
    call = call_expression(flags.module, flags.function, remainder(sys.argv))
    print_value(find_container(project_of(c, flags), flags.name), call, flags.out)


@command(ShellFlags)
def shell(c: Context, flags: ShellFlags) -> None:
    """Open a shell in the running container, or in an image"""
    project, words = project_of(c, flags), remainder(sys.argv) or ["/bin/sh"]
    if flags.image:
        require_docker()
        image = flags.image if isinstance(flags.image, str) else find_image(project).reference
        run_on_terminal(flags.out, ["run", "--rm", "--init", *stdin_options(), f"--entrypoint={words[0]}", image, *words[1:]])
    else:
        run_on_terminal(flags.out, ["exec", *stdin_options(), find_container(project, flags.name).id, *words])


@command(LogsFlags)
def logs(c: Context, flags: LogsFlags) -> None:
    """Show what the node has written"""
    options = [*(["--follow"] if flags.f else []), *([f"--tail={flags.tail}"] if flags.tail else [])]
    run_on_terminal(flags.out, ["logs", *options, find_container(project_of(c, flags), flags.name, stopped=True).id])


@command(Common)
def ps(c: Context, flags: Common) -> None:
    """List this project's containers"""
    project, rows = project_of(c, flags), "table {{.Names}}\t{{.Image}}\t{{.Status}}\t{{.Ports}}"
    require_docker()
    if listed := run_or_print(flags.out, "ps", "--all", f"--filter=label={PROJECT_LABEL}={project.image}", f"--format={rows}"):
        print_result(listed.rstrip("\n"))


@command(StopFlags)
def stop(c: Context, flags: StopFlags) -> None:
    """Stop the running container in order, and remove it"""
    stop_container(find_container(project_of(c, flags), flags.name, stopped=True), flags.time, flags.kill, flags.out)


@command(ContainerFlags)
def diff(c: Context, flags: ContainerFlags) -> None:
    """Show what the container has written to its file system"""
    listed = run_or_print(flags.out, "diff", find_container(project_of(c, flags), flags.name, stopped=True).id)
    if written := written_paths(listed):
        print_result("\n".join(written))


@command(PushFlags)
def push(c: Context, flags: PushFlags) -> None:
    """Build and push the commit's image"""
    project, out = project_of(c, flags), flags.out
    require_registry(project)
    refuse_edits(project.tree)
    branch = project.branch_or_ci if flags.branch is None else branch_to_push(project.branch_or_ci, flags.branch)
    tags = target_tags(project, flags.target, "" if flags.branch is None else branch, flags.tag or ())
    with contextlib.nullcontext(project) if out.dry_run else copy_commit(project) as copied:
        plan = plan_build(copied, request_of(flags, flags.target, PUSHED, tags=tags, branch=branch, exports=True))
        refuse_checkouts(copied, plan.contexts["deps"], flags.force)
        announce(project, f"pushing {project.repository}", out)
        with leave_no_local_tags(plan, out), report_builds(project, out) as builds:
            builds += push_deps_image(plan, out)
            builds += run_build_plan(plan, out)
    if builds:
        digest = pushed_digest(plan)
        out.say(f"pushed {' and '.join(tag.rsplit(':', 1)[1] for tag in plan.tags)}")
        print_result(f"{project.repository}@{digest}")


@command(DepsFlags)
def deps_image(c: Context, flags: DepsFlags) -> None:
    """Build the dependencies alone, as IMAGE:deps-KEY"""
    project, out = project_of(c, flags), flags.out
    plan = plan_deps_image(
        project, request_of(flags, "builder", PUSHED if flags.push else LOADED, branch=project.branch_or_ci, exports=flags.push)
    )
    if flags.explain:
        explain_key(plan.deps_key, read_record(project))
    if flags.key:
        print_result(plan.deps_key.checksum)
    if flags.key or flags.explain:
        return
    if flags.push:
        require_registry(project)
    announce(project, f"building the dependencies, {plan.tags[0]}", out)
    if flags.push and not out.dry_run:
        if has_deps_image(plan, out):
            out.say("the registry has them already")
            print_result(plan.tags[0])
            return
        plan = plan.with_caches(plan.caches.without_deps_image)  # the registry was asked just now
    with report_builds(project, out) as builds:
        builds += run_build_plan(plan, out)
    if builds:
        print_result(plan.tags[0])


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
    print_result("\n".join(f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}" for row in rows))


@command(InitFlags, positional=["dir"])
def init(c: Context, flags: InitFlags) -> None:
    """Copy the vendored files into another repo"""
    with rooms("init"):
        from ci.beamdock.init import init_repo
    init_repo(Path(__file__), flags.dir, flags.ci, flags.out)


@command(CleanFlags)
def clean(c: Context, flags: CleanFlags) -> None:
    """Remove this project's old images, containers and caches"""
    with rooms("clean"):
        from ci.beamdock.clean import clean_project
    clean_project(project_of(c, flags), flags.keep, flags.caches, flags.out)


ns = Collection(build, run, console, attach, evaluation, rpc, shell, logs, ps, stop, diff, push, deps_image, config, init, clean)
ns.configure({"tasks": {"auto_dash_names": True}})
