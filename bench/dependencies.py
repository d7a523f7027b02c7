#!/usr/bin/env python3
"""What a change costs in a repo with many dependencies, against the chapter's Dockerfile and script: python bench/dependencies.py

Both build the same project in the same run, taking turns, and the median of each counts. The engine is TEST_ENGINE_28's,
the fresh machine TEST_ENGINE_EMPTY's (all that is on that one is removed, again and again); bench/README.md says how to
get them. Compiled modules are counted by a parse transform in the builder's base, since rebar3 says "Compiling" for every
application it looks at; fetched dependencies by the log of the git daemon that serves them.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import re
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Callable

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from kit.engines import Engine, engine_at, poll
from kit.registry import Registry
from kit.repos import Repo, Result, vendor

LABEL = "beamdock.bench"

# ------------------------------------------------------------------------------------------------------- the project

COUNTING_BASE = """\
ARG BASE
FROM ${BASE}
COPY <<'ERL' /tmp/bench_count.erl
-module(bench_count).
-export([parse_transform/2]).
parse_transform(Forms, _) ->
    io:format(standard_error, "compiled ~s~n", [hd([M || {attribute, _, module, M} <- Forms])]),
    Forms.
ERL
RUN lib=$(erl -noshell -eval 'io:put_chars(code:lib_dir()), halt().')/bench_count-1/ebin && \
    mkdir -p "$lib" && erlc -o "$lib" /tmp/bench_count.erl
ENV ERL_COMPILER_OPTIONS=[{parse_transform,bench_count}]
"""
CONFIG = """\
{{erl_opts, [debug_info]}}.
{{deps, [{deps}]}}.
{{relx, [{{release, {{big, {{git, long}}}}, [big, sasl]}}, {{sys_config, "config/sys.config"}}, {{vm_args, "config/vm.args"}},
        {{overlay, [{{mkdir, "edit0"}}]}}, {{extended_start_script, true}}]}}.
{{profiles, [{{prod, [{{relx, [{{dev_mode, false}}, {{include_erts, true}}, {{include_src, false}}, {{debug_info, strip}}]}}]}}]}}.
"""


def module(name: str) -> str:
    functions = "\n".join(
        f"f{i}(X) when is_list(X) -> lists:sum([Y * {i} || Y <- X, Y > {i}]);\nf{i}(#{{a := V}}) -> {{V, {i}}};\nf{i}(_) -> {i}."
        for i in range(12)
    )
    return f"-module({name}).\n-export([{', '.join(f'f{i}/1' for i in range(12))}]).\n{functions}\n"


def write_application(repo: Repo, folder: str, name: str, modules: int, needs: Sequence[str] = ()) -> None:
    applications = ", ".join(["kernel", "stdlib", *needs])
    repo.write(f"{folder}src/{name}.app.src", f'{{application, {name}, [{{vsn, "1.0.0"}}, {{applications, [{applications}]}}]}}.\n')
    for i in range(modules):
        repo.write(f"{folder}src/{name}_m{i}.erl", module(f"{name}_m{i}"))


@dataclass
class Dependencies:
    """Git repositories, served on the loopback address."""

    repos: list[Repo]
    port: int
    log: Path

    @property
    def names(self) -> list[str]:
        return [repo.path.name for repo in self.repos]

    def bump(self, repo: Repo, serial: int) -> None:
        """Give one dependency a new tag, once for all who ask for the same, and make a repo use it."""
        dependency = self.repos[serial % len(self.repos)]
        name, tag = dependency.path.name, f"v{serial}"
        if not dependency.git("tag", "--list", tag):
            edit_line(dependency, f"src/{name}_m0.erl", serial)
            dependency.commit()
            dependency.git("tag", tag)
        for file, pinned in (("rebar.config", f'tag, "{tag}'), ("rebar.lock", f'ref, "{dependency.git("rev-parse", tag)}')):
            text = (repo.path / file).read_text()
            repo.write(file, re.sub(rf'(/{name}", \{{)(?:tag|ref), "[^"]+', rf"\g<1>{pinned}", text))


def edit_line(repo: Repo, file: str, serial: int) -> None:
    text = (repo.path / file).read_text()
    repo.write(file, re.sub(r"^f0\(_\) -> \d+", f"f0(_) -> {serial}", text, flags=re.MULTILINE))


@contextlib.contextmanager
def serving_dependencies(folder: Path, number: int) -> Iterator[Dependencies]:
    repos = []
    for i in range(number):
        repo = Repo(folder / f"dep{i}", "")
        write_application(repo, "", repo.path.name, 25)
        repo.write("rebar.config", "{erl_opts, [debug_info]}.\n")
        repo.git("init", "--quiet", "--initial-branch=main")
        repo.commit()
        repo.git("tag", "v0")
        repos.append(repo)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    log = folder / "log"
    options = ["--listen=127.0.0.1", f"--port={port}", "--reuseaddr", "--export-all", "--verbose", f"--base-path={folder}"]
    with log.open("w") as file:
        daemon = subprocess.Popen(["git", "daemon", *options], stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    try:
        poll(lambda: "Ready to rumble" in log.read_text())
        yield Dependencies(repos, port, log)
    finally:
        daemon.terminate()
        daemon.wait()


def write_project(repo: Repo, dependencies: Dependencies, modules: int) -> None:
    write_application(repo, "apps/big/", "big", modules, dependencies.names)
    urls = {name: f"git://127.0.0.1:{dependencies.port}/{name}" for name in dependencies.names}
    repo.write("rebar.config", CONFIG.format(deps=",\n        ".join(f'{{{n}, {{git, "{u}", {{tag, "v0"}}}}}}' for n, u in urls.items())))
    heads = {r.path.name: r.head for r in dependencies.repos}
    lock = ",\n ".join(f'{{<<"{n}">>, {{git, "{urls[n]}", {{ref, "{heads[n]}"}}}}, 0}}' for n in sorted(urls))
    repo.write("rebar.lock", f"[{lock}].\n")
    repo.write("config/sys.config", "[].\n")
    repo.write("config/vm.args", "-sname big\n")
    repo.write("README.md", "0\n")
    repo.write(".gitignore", "_build/\n__pycache__/\n")
    repo.write(".dockerignore", "_build\n")
    repo.git("init", "--quiet", "--initial-branch=main")
    repo.commit()


# --------------------------------------------------------------------------------------------------------- measuring


@dataclass
class Run:
    """One command: its time, that of the buildx command in it, the stages whose RUN steps really ran, the modules compiled,
    the dependencies fetched, and the seconds of each of BuildKit's steps."""

    whole: float = 0
    seconds: float = 0
    steps: list[str] = field(default_factory=list)
    modules: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    parts: dict[str, float] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        return {
            "steps": len(self.steps),
            "dependencies": len({m.rpartition("_")[0] for m in self.modules} - {"big"}),
            "modules": len(self.modules),
            "fetched": len(self.fetched),
        }


@dataclass
class Bench:
    """All that is made has this name in it, and goes with it."""

    name: str
    desk: Engine
    fresh: Engine
    base: str
    dependencies: Dependencies
    serial: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def registry(self) -> str:
        return f"{self.desk.registry}/{self.name}"

    def run(self, engine: Engine, folder: Path, *command: str, **env: str) -> tuple[str, Run]:
        """Run a command; its stdout and what it took."""
        known = len(self.dependencies.log.read_text())
        os.sync()  # what the last run left to write is not this one's
        began = time.perf_counter()
        environment = {**engine.env, "INVOKE_BEAMDOCK_BUILD_BASE": self.base, **env}
        done = subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        whole = time.perf_counter() - began
        assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}"
        log = done.stdout + done.stderr
        modules = re.findall(r"^(?:#\d+ [\d.]+ )?compiled ((?:dep\d+|big)_m\d+)\s*$", log, re.MULTILINE)
        fetched = re.findall(r"Request upload-pack for '/(\w+)'", self.dependencies.log.read_text()[known:])
        said = re.findall(r"^(?:built|up to date) in ([\d.]+) s", log, re.MULTILINE)  # what tasks.py took for buildx, the wrapper aside
        seconds = float(said[-1]) if said else whole
        return done.stdout.strip(), Run(whole, seconds, Result(0, "", log).steps, modules, sorted(set(fetched)), parts(log))


def parts(log: str) -> dict[str, float]:
    """What took time of a build, by the plain progress: step -> seconds."""
    names = dict(re.findall(r"^#(\d+) (?!DONE|CACHED|[\d.]+ )(.{1,60})", log, re.MULTILINE)[::-1])  # the first line of each
    return {names[n]: float(s) for n, s in re.findall(r"^#(\d+) DONE ([\d.]+)s", log, re.MULTILINE) if float(s) >= 0.1 and n in names}


@dataclass
class Chapter:
    """The chapter's Dockerfile and its script's commands."""

    bench: Bench
    repo: Repo
    pushed: str = ""

    def command(self, target: str, *options: str) -> list[str]:
        bases = [f"--build-arg=BUILD_BASE={self.bench.base}", f"--build-arg=RUN_BASE={self.bench.desk.run_base}"]
        file = Path(__file__).resolve().parent / "chapter.Dockerfile"
        fixed = ["docker", "buildx", "build", f"--file={file}", "--network=host", "--provenance=false", "--progress=plain"]
        return [*fixed, *bases, f"--target={target}", *options, "."]

    def docker(self, engine: Engine, target: str, *options: str) -> Run:
        return self.bench.run(engine, self.repo.path, *self.command(target, *options))[1]

    @property
    def image(self) -> str:
        return f"{self.bench.registry}/chapter"

    def cold(self) -> Run:
        """With another rebar.config, and be it by a comment, it begins from nothing."""
        self.repo.write("rebar.config", f"%% {next(self.bench.serial)}\n{(self.repo.path / 'rebar.config').read_text()}")
        return self.build()

    def build(self) -> Run:
        return self.docker(self.bench.desk, "runner", f"--tag={self.image}:main")

    def nothing(self) -> Run:
        return self.build()

    def dependency_image(self) -> str:
        """The stage of the dependencies, by the checksum that the chapter takes."""
        sum_ = subprocess.run(
            "cat rebar.config rebar.lock | cksum", shell=True, cwd=self.repo.path, capture_output=True, text=True, check=True
        )
        return f"{self.image}:builder-{sum_.stdout.split()[0]}"

    def push(self) -> None:
        image = self.dependency_image()
        self.docker(self.bench.desk, "builder", "--cache-to=type=inline", "--push", f"--tag={image}")
        self.docker(self.bench.desk, "runner", f"--cache-from={image}", "--cache-to=type=inline", "--push", f"--tag={self.image}:main")

    def in_ci(self, *more: str) -> Run:
        """As its script does: the branch's image is the cache."""
        caches = [f"--cache-from={image}" for image in (f"{self.image}:main", *more)]
        return self.docker(self.bench.fresh, "runner", *caches, "--cache-to=type=inline", f"--tag={self.image}:{self.repo.head}")

    def in_ci_by_checksum(self) -> Run:
        """With its older scheme too. This order matters: BuildKit misses the dependencies when their image comes first."""
        return self.in_ci(self.dependency_image())


@dataclass
class Ours:
    """tasks.py and the Dockerfile, as they are copied."""

    bench: Bench
    repo: Repo
    pushed: str = ""

    def __post_init__(self) -> None:
        vendor(self.repo.path)
        self.rename()

    def rename(self) -> None:
        """Another image is another project, with cache mounts of its own: nothing is in them."""
        image = f"{self.repo.image}-{next(self.bench.serial)}"
        self.repo.write("invoke.yaml", f"beamdock:\n  image: {image}\n  registry: {self.bench.registry}\n  network: host\n")
        self.repo.commit()

    def invoke(self, engine: Engine, *words: str, **env: str) -> tuple[str, Run]:
        return self.bench.run(engine, self.repo.path, sys.executable, "-m", "invoke", *words, **env)

    def cold(self) -> Run:
        self.rename()
        return self.build()

    def build(self) -> Run:
        return self.invoke(self.bench.desk, "build")[1]

    def nothing(self) -> Run:
        """The buildx command alone, as --dry-run prints it."""
        command = shlex.split(self.invoke(self.bench.desk, "build", "--dry-run")[0])
        return self.bench.run(self.bench.desk, self.repo.path, *command)[1]

    def push(self) -> None:
        self.invoke(self.bench.desk, "push", "--branch")

    def in_ci(self) -> Run:
        return self.invoke(self.bench.fresh, "build", CI="true")[1]


@dataclass
class Host:
    """rebar3 without docker's builds: in a container that has the work tree in a volume."""

    bench: Bench
    repo: Repo
    image: str
    container: str = ""

    def __enter__(self) -> Host:
        options = ["--network=host", f"--label={LABEL}={self.bench.name}", "--volume=/app", "--workdir=/app/src", "--entrypoint=sleep"]
        self.container = self.bench.desk.docker("run", "--detach", "--init", *options, self.image, "infinity")
        self.bench.desk.docker("cp", f"{self.repo.path}/.", f"{self.container}:/app/src")
        self.sh("git config --global --add safe.directory '*'")
        return self

    def __exit__(self, *_: object) -> None:
        self.bench.desk.docker("rm", "--force", "--volumes", self.container)

    def sh(self, script: str) -> Run:
        return self.bench.run(self.bench.desk, self.repo.path, "docker", "exec", self.container, "sh", "-euc", script)[1]

    def build(self) -> Run:
        return self.sh("rebar3 as prod tar")

    def edit(self, serial: int) -> None:
        self.sh(f"sed -i 's/^f0(_) -> [0-9]*/f0(_) -> {serial}/' {LINE}")


# ------------------------------------------------------------------------------------------------------------- cases

LINE = "apps/big/src/big_m0.erl"
COLUMNS = ("case", "peer", "ours", "ratio", "limit", "invoke", "RUN steps", "deps", "modules", "fetched", "")
WIDTHS = (44, 8, 8, 7, 7, 8, 10, 8, 10, 8, 0)


@dataclass
class Table:
    """The rows as they come, and the raw figures of all runs."""

    raw: dict[str, Any] = field(default_factory=dict)
    kept: bool = True  # the limit and the counts of every row

    @staticmethod
    def line(*cells: str) -> None:
        print("".join(f"{cell:<{width}}" for cell, width in zip(cells, WIDTHS)).rstrip(), flush=True)

    def note(self, text: str) -> None:
        print(f"  {text}", flush=True)

    def keep(self, case: str, runs: Mapping[str, Sequence[Run]]) -> None:
        self.raw[case] = {
            name: [{**dataclasses.asdict(run), "modules": len(run.modules), "counts": run.counts()} for run in runs_]
            for name, runs_ in runs.items()
        }

    def row(
        self,
        case: str,
        peer: float,
        ours: float,
        limit: float,
        counts: Sequence[str] = ("", "", "", ""),
        right: bool = True,
        whole: str = "",
    ) -> None:
        ok = right and ours <= limit * peer
        self.kept = self.kept and ok
        self.line(case, f"{peer:.2f}", f"{ours:.2f}", f"{ours / peer:.2f}", f"{limit:.2f}", whole, *counts, "ok" if ok else "NOT OK")

    def compare(self, case: str, title: str, peer: Sequence[Run], ours: Sequence[Run], limit: float, must: Mapping[str, int]) -> None:
        """A row of two schemes; must: the counts that every run of ours has to have."""
        self.keep(case, {"peer": peer, "ours": ours})
        right = all(run.counts()[name] == number for run in ours for name, number in must.items())
        counts = [f"{'-'.join(spread(peer, name))}/{'-'.join(spread(ours, name))}" for name in Run().counts()]
        self.row(title, median(peer), median(ours), limit, counts, right, f"{statistics.median(run.whole for run in ours):.2f}")


def median(runs: Sequence[Run]) -> float:
    return statistics.median(run.seconds for run in runs)


def spread(runs: Sequence[Run], name: str) -> list[str]:
    """The least and the most of a count, or the one number that all runs have."""
    return [str(n) for n in sorted({f(run.counts()[name] for run in runs) for f in (min, max)})]


@dataclass
class Suite:
    """Both schemes in front of the same project."""

    bench: Bench
    chapter: Chapter
    ours: Ours
    table: Table
    runs: int
    large: int
    warm: bool = False

    def warm_up(self) -> None:
        if not self.warm:
            self.chapter.build()
            self.ours.build()
        self.warm = True

    def turns(self, edit: Callable[[Repo, int], object], build: str, runs: int, fresh: bool = False) -> tuple[list[Run], list[Run]]:
        """Both schemes, one after the other, in another order each time: the edit, then the build."""
        found: tuple[list[Run], list[Run]] = ([], [])
        for turn in range(runs):
            serial = next(self.bench.serial)
            for i in ((0, 1), (1, 0))[turn % 2]:
                scheme = (self.chapter, self.ours)[i]
                if fresh:
                    self.new_machine()
                edit(scheme.repo, serial)
                found[i].append(getattr(scheme, build)())
        return found

    def new_machine(self) -> None:
        """Nothing on the engine, and a checkout without what builds leave beside the sources."""
        self.ours.repo.git("clean", "-dfxq")
        clear(self.bench.fresh)

    def cold(self) -> None:
        # With another line too: the chapter's image would be the last one's, and neither copied nor exported.
        peer, ours = self.turns(lambda repo, serial: edit_line(repo, LINE, serial), "cold", max(1, self.runs - 1))
        self.table.compare("cold", "cold", peer, ours, 1.0, {})
        self.warm = True

    def nothing(self) -> None:
        self.warm_up()

        def noise(repo: Repo, serial: int) -> None:
            (repo.path / "rebar.lock").touch()  # in a file that is edited already git notes no time
            subprocess.run(["git", "status"], cwd=repo.path, stdout=subprocess.DEVNULL, check=True)

        peer, ours = self.turns(noise, "nothing", self.runs)
        self.table.compare("nothing", "nothing changed (touch, git status)", peer, ours, 0.05, {"steps": 0})
        whole = [self.ours.build() for _ in ours]
        self.table.keep("nothing, invoke build", {"ours": whole})
        total = statistics.median(run.whole for run in whole)
        self.table.note(f"invoke build itself: {total:.2f} s, {total - median(ours):.2f} s of it the wrapper's (at most 0.60)")

    def at_desk(self, case: str, title: str, edit: Callable[[Repo, int], object], limit: float, **must: int) -> None:
        self.warm_up()
        peer, ours = self.turns(edit, "build", self.runs)
        self.table.compare(case, title, peer, ours, limit, must)

    def line(self) -> None:
        self.at_desk("line", "one line", lambda repo, serial: edit_line(repo, LINE, serial), 0.45, modules=1)

    def relx(self) -> None:
        def edit(repo: Repo, serial: int) -> None:
            text = (repo.path / "rebar.config").read_text()
            repo.write("rebar.config", re.sub(r'mkdir, "edit\d+"', f'mkdir, "edit{serial}"', text))

        self.at_desk("relx", "relx edit in rebar.config", edit, 0.25, dependencies=0)

    def bump(self) -> None:
        self.at_desk("bump", "one dependency bumped", self.bench.dependencies.bump, 0.4, dependencies=1, modules=25, fetched=1)

    def docs(self) -> None:
        def edit(repo: Repo, serial: int) -> None:
            repo.write("README.md", f"{serial}\n")
            repo.commit()

        self.at_desk("docs", "docs-only commit", edit, 0.35, modules=0)

    def publish(self) -> None:
        for scheme in (self.chapter, self.ours):
            if scheme.repo.git("status", "--porcelain"):
                scheme.repo.commit()
            if scheme.pushed != scheme.repo.head:
                scheme.push()
                scheme.pushed = scheme.repo.head

    def fresh(self) -> None:
        self.publish()
        peer, ours = self.turns(lambda repo, serial: None, "in_ci", self.runs, fresh=True)
        self.table.compare("fresh", "fresh machine, no change", peer, ours, 1.1, {"modules": 0})
        whole = statistics.median(run.whole for run in ours)
        self.table.note(f"invoke build itself, with what it asks the registry before: {whole:.2f} s, {whole / median(peer):.2f}")

    def fresh_line(self) -> None:
        """All of them take turns: a machine that others use too is not the same for long."""
        self.publish()
        floor: list[tuple[Run, Run, Run]] = []
        found: dict[str, list[Run]] = {"peer": [], "by checksum": [], "ours": []}
        builds = {"peer": self.chapter.in_ci, "by checksum": self.chapter.in_ci_by_checksum, "ours": self.ours.in_ci}
        for turn in range(max(1, self.runs - 1)):
            floor.append(self.floor())
            for name, build in list(builds.items())[:: (1, -1)[turn % 2]]:
                self.new_machine()
                repo = (self.ours if name == "ours" else self.chapter).repo
                edit_line(repo, LINE, next(self.bench.serial))
                repo.commit()
                found[name].append(build())
        peer, by_checksum, ours = found["peer"], found["by checksum"], found["ours"]
        self.table.compare("fresh-line", "fresh machine, one line", peer, ours, 0.8, {"dependencies": 0, "fetched": 0})
        self.table.compare("fresh-line, by checksum", "  to the chapter's older scheme", by_checksum, ours, 0.8, {})
        pull, compiled, packed = (median(part) for part in zip(*floor))
        self.table.keep("floor", dict(zip(("pull", "compile", "tar"), zip(*floor))))
        self.table.row("  invoke build, to the floor", pull + compiled + packed, statistics.median(run.whole for run in ours), 1.15)
        self.table.note(
            f"the floor: base pulled in {pull:.1f} s, application compiled in {compiled:.1f} s, rebar3 as prod tar {packed:.1f} s"
        )

    def floor(self) -> tuple[Run, Run, Run]:
        """What a fresh machine can't do without, one by one."""
        clear(self.bench.fresh)
        pull = self.bench.run(self.bench.fresh, self.chapter.repo.path, "docker", "pull", "--quiet", self.bench.base)[1]
        image = f"{self.bench.registry}/floor:1"
        self.chapter.docker(self.bench.desk, "builder", f"--tag={image}")
        with Host(self.bench, self.chapter.repo, image) as host:
            return pull, host.sh("rebar3 as prod compile"), host.sh("rebar3 as prod tar")

    def host(self) -> None:
        """rebar3 alone, and a release of many more modules."""
        self.warm_up()
        repo = Repo(self.ours.repo.path.parent / "large", "large")
        write_project(repo, self.bench.dependencies, self.large)
        large = Ours(self.bench, repo)
        with Host(self.bench, self.chapter.repo, self.bench.base) as small_host, Host(self.bench, repo, self.bench.base) as large_host:
            builders: dict[str, Host | Ours] = {"host": small_host, "host, large": large_host, "ours": self.ours, "ours, large": large}
            cold = {name: [builder.build()] for name, builder in builders.items()}
            self.table.keep("host, cold", cold)
            lines: dict[str, list[Run]] = {name: [] for name in builders}
            for _ in range(self.runs):
                serial = next(self.bench.serial)
                for name, builder in builders.items():
                    if isinstance(builder, Host):
                        builder.edit(serial)
                    else:
                        edit_line(builder.repo, LINE, serial)
                    lines[name].append(builder.build())
        self.table.keep("host, one line", lines)
        took = {name: median(runs) for name, runs in lines.items()}
        modules = max(run.counts()["modules"] for run in (*lines["ours"], *lines["ours, large"]))
        growth = took["host, large"] / took["host"], took["ours, large"] / took["ours"]
        self.table.row(f"{self.large} modules, one line: growth", *growth, 1.0, ("", "", f"/{modules}", ""))
        more = self.large - len(list((self.ours.repo.path / "apps/big/src").glob("*.erl")))
        each = [1000 * (took[f"{name}, large"] - took[name]) / more for name in ("host", "ours")]
        self.table.note("a module more costs {:.2f} ms on the host, {:.2f} ms here".format(*each))
        for name in ("host", "host, large", "ours", "ours, large"):
            first = "" if name == "ours" else f"cold {median(cold[name]):.1f} s, "
            self.table.note(f"{name}: {first}one line {took[name]:.1f} s")


CASES: dict[str, Callable[[Suite], None]] = {
    "cold": Suite.cold,
    "nothing": Suite.nothing,
    "line": Suite.line,
    "relx": Suite.relx,
    "bump": Suite.bump,
    "docs": Suite.docs,
    "fresh": Suite.fresh,
    "fresh-line": Suite.fresh_line,
    "host": Suite.host,
}


# ---------------------------------------------------------------------------------------------------------- clean up


def clear(engine: Engine) -> None:
    """Leave nothing on the fresh machine."""
    if left := engine.docker("ps", "--all", "--quiet").split():
        engine.docker("rm", "--force", *left)
    # The images last: with them containerd frees what nothing holds any more, at once.
    engine.docker("buildx", "prune", "--all", "--force")
    engine.docker("system", "prune", "--all", "--force", "--volumes")
    # ext4 gives no inode away again that was freed in the last minutes, as long as its table is in memory, and looks at each of
    # them for each new file (find_inode_bit in fs/ext4/ialloc.c): a machine that was just cleared would be the slower one.
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("1")
    # What any machine has in memory before a build.
    engine.docker("buildx", "version")
    subprocess.run([sys.executable, "-m", "invoke", "--version"], stdout=subprocess.DEVNULL, check=True)
    subprocess.run([sys.executable, "-c", "import python_on_whales, yaml"], check=True)


def forget(bench: Bench) -> None:
    """Remove what was made, but for the desk's build cache: that is the engine's own to forget."""
    clear(bench.fresh)
    if left := bench.desk.docker("ps", "--all", "--quiet", f"--filter=label={LABEL}={bench.name}").split():
        bench.desk.docker("rm", "--force", "--volumes", *left)
    references = bench.desk.docker("image", "ls", "--format={{.Repository}}:{{.Tag}}").split()
    if ours := [reference for reference in references if reference.startswith(f"{bench.registry}/")]:
        bench.desk.docker("image", "rm", "--force", *ours)
    repositories = {reference.partition("/")[2].rpartition(":")[0] for reference in ours}
    registry = Registry(bench.desk.registry)
    for repository in {f"{bench.name}/chapter", f"{bench.name}/base", *repositories}:
        registry.remove(repository)


@contextlib.contextmanager
def prepared(folder: Path, dependencies: int, modules: int) -> Iterator[tuple[Bench, Chapter, Ours]]:
    """The servers, the counting base and a repo for each scheme."""
    desk, fresh = engine_at("TEST_ENGINE_28"), engine_at("TEST_ENGINE_EMPTY")
    name = f"bench{uuid.uuid4().hex[:8]}"
    with serving_dependencies(folder / "dependencies", dependencies) as served:
        bench = Bench(name, desk, fresh, f"{desk.registry}/{name}/base:1", served)
        try:
            desk.build(COUNTING_BASE.replace("ARG BASE\n", f"ARG BASE={desk.build_base}\n"), bench.base)
            desk.docker("push", "--quiet", bench.base)
            desk.docker("pull", "--quiet", desk.run_base)
            repos = [Repo(folder / scheme, scheme) for scheme in ("chapter", "ours")]
            for repo in repos:
                write_project(repo, served, modules)
            yield bench, Chapter(bench, repos[0]), Ours(bench, repos[1])
        finally:
            forget(bench)


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed with many dependencies, against the chapter's scheme")
    parser.add_argument("--dependencies", type=int, default=20, help="git dependencies of 25 modules each (20)")
    parser.add_argument("--modules", type=int, default=500, help="modules of the application (500)")
    parser.add_argument("--large", type=int, default=0, help="modules of the large application (10 times --modules)")
    parser.add_argument("--runs", type=int, default=3, help="runs of the cheap cases; the others have one less (3)")
    parser.add_argument("--case", choices=CASES, action="append", help="this one only; may be repeated")
    parser.add_argument("--json", type=Path, help="a file for the raw figures of all runs")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    table = Table()
    with (
        tempfile.TemporaryDirectory() as temporary,
        prepared(Path(temporary), options.dependencies, options.modules) as (bench, chapter, ours),
    ):
        suite = Suite(bench, chapter, ours, table, options.runs, options.large or 10 * options.modules)
        table.line(*COLUMNS)
        for name in options.case or CASES:
            CASES[name](suite)
            if options.json:
                options.json.write_text(json.dumps(table.raw, indent=1))
    sys.exit(0 if table.kept else 1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
