"""`invoke clean` on real engines: what goes, and above all what stays."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.engines import SECOND_IS_LONG, Engine, poll
from kit.repos import TINY_CONFIG, Desk, Repo, forget, new_image, tiny_repo, vendor

# The least that `invoke build` and `invoke run` drive: two megabytes of its own in each image, some kilobytes more in each, and two
# cache mounts, one of them used.
DOCKERFILE = """\
ARG RUN_BASE
FROM ${RUN_BASE} AS runner
ARG PROJECT
COPY version /version
RUN --mount=type=cache,id=${PROJECT}-hex,target=/hex --mount=type=cache,id=$PROJECT-apt,target=/apt \\
    head -c 3000000 /dev/urandom > /hex/kept && mkdir -p /hex/.deep/er && date > /hex/.deep/er/file && head -c $((2000000 + 0x$(cat /version)000)) /dev/urandom > /own
CMD ["sleep", "1000"]
"""


def project(engine: Engine, path: Path, image: str) -> Desk:
    """A repo with an image name of its own and the capability, and nothing built yet."""
    path.mkdir()
    repo = Repo(path, image)
    vendor(path)
    repo.settings()
    repo.write("Dockerfile", DOCKERFILE)
    repo.write("rebar.config", TINY_CONFIG)
    repo.write(".gitignore", "_build/\n__pycache__/\n")
    repo.git("init", "--quiet", "--initial-branch=main")
    return Desk(engine, repo)


def build(desk: Desk, *versions: str) -> list[str]:
    """Build a commit for each version; the commits."""
    commits = []
    for version in versions:
        desk.repo.write("version", version)
        commits.append(desk.repo.commit(version))
        desk.invoke("build", "--quiet")
        time.sleep(0.01)
    return commits


def mounts(desk: Desk) -> set[str]:
    """The names of the engine's cache mounts that begin with the image's name, and have something in them."""
    listing = desk.docker("buildx", "du", "--verbose", "--filter=type=exec.cachemount")
    blocks = [b for b in re.split(r"\n\s*\n", listing) if not re.search(r"^Size:\s+(0B|4\.096kB)$", b, re.MULTILINE)]
    return set(re.findall(rf' with id "/({desk.repo.image}[^"]*)"$', "\n".join(blocks), re.MULTILINE))


def inside(desk: Desk, mount: str) -> str:
    """The files in a cache mount, as a build sees them. (--no-cache would empty it.)"""
    step = f"RUN --mount=type=cache,id={mount},target=/c ls -AR /c > /found # {time.time_ns()}"
    dockerfile = f"FROM {desk.engine.run_base} AS looked\n{step}\nFROM scratch\nCOPY --from=looked /found /\n"
    folder = desk.repo.path / "_build" / mount
    desk.repo.write(f"_build/{mount}/Dockerfile", dockerfile)
    desk.docker("buildx", "build", "--quiet", f"--output={folder}", str(folder))
    return (folder / "found").read_text().strip()


@pytest.fixture
def two(tmp_path: Path, engine: Engine) -> Iterator[tuple[Desk, Desk]]:
    """Two projects on each engine; the other one's name begins with the first one's, and with one of its caches' names."""
    image = new_image()
    mine, other = project(engine, tmp_path / "mine", image), project(engine, tmp_path / "other", f"{image}-hex")
    try:
        yield mine, other
    finally:
        for desk in (mine, other):
            desk.sweep()
            forget(desk.repo.image)


@SECOND_IS_LONG
def test_what_goes_and_what_stays(two: tuple[Desk, Desk]) -> None:
    mine, other = two
    image = mine.repo.image
    a, b, c, d, e = build(mine, "a", "b", "c", "d", "e")
    others = build(other, "a", "b")
    derived = mine.engine.build(f"FROM {image}:{c}\nRUN echo more > /more\n", f"derived-{image}:latest")
    running = mine.invoke("run", "--detach", f"--tag={a}", "--name", f"{image}-runs").out
    stopped = mine.invoke("run", "--detach", f"--tag={b}", "--name", f"{image}-stopped").out
    foreign = [mine.docker("create", derived), other.invoke("run", "--detach", "--name", f"{image}-other").out]
    mine.docker("stop", "--time=0", stopped, foreign[1])
    everything = (sorted(mine.containers()), mine.images, mounts(mine))
    assert mounts(mine) == {f"{image}-hex", f"{image}-hex-hex"}

    dry = mine.invoke("clean", "--keep=2", "--dry-run")
    assert (sorted(mine.containers()), mine.images, mounts(mine)) == everything
    assert dry.out.splitlines()[:3] == [f"docker rm --volumes {stopped}", *(f"docker image rm {image}:{old}" for old in (c, b))]
    assert dry.out.splitlines()[3].startswith("docker buildx build ") and "prune" not in dry.out
    assert dry.err == ""

    done = mine.invoke("clean", "--keep=2")
    assert done.out == ""
    said = re.fullmatch(
        rf"{image}: removed 1 container, 2 images, 1 cache; freed at least ([\d.]+) MB\nnext: docker buildx prune .*", done.err
    )
    # A cache mount of three megabytes, and the two megabytes that b had for itself; c's are the derived image's too.
    assert said and 5 <= float(said[1]) <= 5.2, done.err
    # a runs; d and e are the newest, and e is the commit's and the branch's. What is built on c needs only its layers.
    assert mine.images == {f"{image}:{tag}" for tag in (a, d, e, "main")}
    assert mounts(mine) == {f"{image}-hex-hex"}
    assert inside(mine, f"{image}-hex") == "/c:"
    assert "/c/.deep/er:" in inside(other, f"{image}-hex-hex")
    assert mine.docker("inspect", "--format={{.State.Running}}", running) == "true"
    assert mine.docker("ps", "--all", "--quiet", "--no-trunc", f"--filter=id={foreign[0]}") == foreign[0]
    assert mine.docker("ps", "--all", "--quiet", "--no-trunc", f"--filter=id={foreign[1]}") == foreign[1]
    assert other.images == {f"{other.repo.image}:{tag}" for tag in (*others, "main")}
    assert mine.invoke("clean", "--keep=2").err == f"{image}: nothing to remove"
    assert mine.engine.docker("run", "--rm", derived, "cat", "/more") == "more"
    mine.docker("rm", foreign[0])
    mine.docker("image", "rm", derived)


@SECOND_IS_LONG
def test_the_commit_and_the_branch_stay(two: tuple[Desk, Desk]) -> None:
    """--keep 0 from an older commit: its image, and the branch's, which is another one; not with --keep -1."""
    mine, _ = two
    image = mine.repo.image
    a, b, c = build(mine, "a", "b", "c")
    mine.repo.git("checkout", "--quiet", "-B", "main", b)
    mine.invoke("clean", "--keep", "0")
    assert mine.images == {f"{image}:{tag}" for tag in (b, c, "main")}
    assert mine.invoke("clean", "--keep=-1", code=2).err.startswith("error: --keep -1 is less than none\nhint: ")
    assert a not in mine.images


@SECOND_IS_LONG
def test_three_stay_by_default_and_what_is_tagged_by_hand(two: tuple[Desk, Desk]) -> None:
    mine, _ = two
    image = mine.repo.image
    a, b, c, d, e = build(mine, "a", "b", "c", "d", "e")
    mine.docker("tag", f"{image}:{a}", f"mine-{image}:rollback")
    mine.invoke("clean", "--quiet")
    assert mine.images == {f"{image}:{tag}" for tag in (a, c, d, e, "main")}
    assert b not in mine.images
    mine.docker("image", "rm", f"mine-{image}:rollback")


@SECOND_IS_LONG
def test_the_printed_commands_do_the_same(two: tuple[Desk, Desk]) -> None:
    """As they are, in a shell; a second clean then finds nothing."""
    mine, other = two
    build(mine, "a", "b", "c")
    build(other, "a")
    mine.docker("stop", "--time=0", mine.invoke("run", "--detach", "--name", f"{mine.repo.image}-runs").out)
    mine.sh(mine.invoke("clean", "--keep=1", "--dry-run").out)
    assert len(mine.images) == 2 and mine.containers() == []
    assert mine.invoke("clean", "--keep=1").err == f"{mine.repo.image}: nothing to remove"
    assert len(other.images) == 2 and mounts(mine) == {f"{other.repo.image}-hex"}


def test_a_cache_in_use_stays(two: tuple[Desk, Desk]) -> None:
    """While a build of the project runs, its caches are not to be had."""
    mine, _ = two
    build(mine, "a")
    mine.repo.edit("Dockerfile", "> /own", "> /own && echo begun && sleep 1000")
    log = mine.repo.path / "_build" / "log"
    with log.open("w") as file:
        going = subprocess.Popen(
            [sys.executable, "-m", "invoke", "build", "--verbose"],
            cwd=mine.repo.path,
            env=mine.engine.env,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        poll(lambda: re.search(r"^#\d+ [\d.]+ begun", log.read_text(), re.MULTILINE))
        mine.invoke("clean")
        assert going.poll() is None
    finally:
        os.killpg(going.pid, signal.SIGTERM)
        going.wait()
    assert "kept" in inside(mine, f"{mine.repo.image}-hex")


@SECOND_IS_LONG
def test_no_caches_leaves_them(two: tuple[Desk, Desk]) -> None:
    mine, _ = two
    build(mine, "a", "b", "c")
    assert "cache" not in mine.invoke("clean", "--no-caches", "--keep=0").err
    assert mounts(mine) == {f"{mine.repo.image}-hex"}


@SECOND_IS_LONG
def test_another_project_builds_nothing_anew(tmp_path: Path, engine: Engine) -> None:
    """After `clean` of one real project, every step of another is still cached; and its own mounts are empty, locked ones too."""
    with tiny_repo(tmp_path / "mine") as repo, tiny_repo(tmp_path / "other") as beside:
        mine, other = Desk(engine, repo), Desk(engine, beside)
        for desk in (other, mine):
            desk.repo.settings("  prebuild: echo x > /work/kept\n")
            desk.repo.commit()
            desk.invoke("build")
        mine.repo.commit("another")
        mine.invoke("build")
        assert "kept" in inside(mine, f"{repo.image}-work")
        assert mine.invoke("clean", "--keep=0").err.startswith(f"{repo.image}: removed 1 image")
        assert mounts(mine) == set() and inside(mine, f"{repo.image}-work") == "/c:"
        again = other.invoke("build")
        assert (again.steps, again.err.splitlines()[-2].split(" in ")[0]) == ([], "up to date"), again.err
        # And with the image gone too: nothing that it was made of has been forgotten.
        mine.invoke("build")
        mine.docker("image", "rm", "--force", *sorted(mine.images))
        mine.invoke("clean")
        assert other.invoke("build").steps == []
