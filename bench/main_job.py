#!/usr/bin/env python3
"""Speed and size of the everyday commands, as ratios in one run: python bench/main_job.py [RUNS]

Runs on the engine that DOCKER_HOST names, with the bases that INVOKE_BEAMDOCK_*_BASE name: eval "$(ci/engine env)" first.
Commands that are compared take turns, and the median of each counts. `--cold` times ci/quickstart from an empty state
folder instead (two minutes).
"""

from __future__ import annotations

import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run(command: list[str], cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stderr}"
    return done.stdout.strip()


def seconds(command: list[str], cwd: Path) -> float:
    began = time.perf_counter()
    run(command, cwd)
    return time.perf_counter() - began


def medians(commands: list[list[str]], cwd: Path, runs: int) -> list[float]:
    """The median time of each command, in seconds; the commands take turns, after one round that is not counted."""
    rounds = [[seconds(command, cwd) for command in commands] for _ in range(runs + 1)][1:]
    return [statistics.median(times) for times in zip(*rounds)]


def row(what: str, measured: str, allowed: str) -> None:
    print(f"{what:<44} {measured:<42} {allowed}", flush=True)


def file_system(image: str, cwd: Path, folder: str = "/") -> int:
    """Bytes of the files below a folder of an image, hard links counted once."""
    script = f"find {folder} -xdev -type f -printf '%D:%i %s\\n' | sort -u | awk '{{ n += $2 }} END {{ print n }}'"
    return int(run(["docker", "run", "--rm", "--user=0", "--entrypoint=/bin/sh", image, "-c", script], cwd).split()[0])


def everyday(runs: int) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        repo = Path(temporary, "service_discovery")
        run(["git", "clone", "--quiet", str(ROOT), str(repo)], ROOT)
        invoke = [sys.executable, "-m", "invoke"]

        listed, imported = medians([[*invoke, "--list"], [sys.executable, "-c", "import invoke"]], repo, 4 * runs)
        row("invoke --list, over import invoke", f"{listed:.2f} s - {imported:.2f} s = {listed - imported:.2f} s", "0.10 s")

        reference = run([*invoke, "build", "--quiet"], repo)
        plain = shlex.split(run([*invoke, "build", "--dry-run"], repo))
        again, bare = medians([[*invoke, "build"], plain], repo, 2 * runs)
        row("build with nothing to do, over plain buildx", f"{again:.2f} s - {bare:.2f} s = {again - bare:.2f} s", "0.60 s")

        first, bare = medians([[*invoke, "build", "--no-cache"], [*plain, "--no-cache"]], repo, runs)
        row("first build (--no-cache), to plain buildx", f"{first:.1f} s / {bare:.1f} s = {first / bare:.2f}", "1.10")

        base = os.environ.get("INVOKE_BEAMDOCK_RUN_BASE", "debian:bookworm-slim")
        image, under, release = file_system(reference, repo), file_system(base, repo), file_system(reference, repo, "/opt")
        mib = [f"{n / 2**20:.1f}" for n in (image, under, release)]
        row(
            "image, to its base and 1.05 of the release",
            f"{mib[0]} MiB, {mib[1]} + 1.05 * {mib[2]}",
            f"{(under + 1.05 * release) / 2**20:.1f} MiB",
        )
        run(
            [
                "docker",
                "image",
                "rm",
                "--force",
                reference,
                reference.rsplit(":", 1)[0] + ":" + run(["git", "branch", "--show-current"], repo),
            ],
            repo,
        )


def cold() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        clean = {n: v for n, v in os.environ.items() if not n.startswith(("DOCKER_", "ENGINE_", "INVOKE_"))}
        env = {**clean, "XDG_CACHE_HOME": temporary, "ENGINE_PRIVATE": "1"}
        try:
            began = time.perf_counter()
            run(["ci/quickstart"], ROOT, env)
            row("ci/quickstart from an empty state folder", f"{time.perf_counter() - began:.0f} s", "240 s")
        finally:
            run(["ci/engine", "down", "--purge"], ROOT, env)


if __name__ == "__main__":
    if "--cold" in sys.argv:
        cold()
    else:
        everyday(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
