"""Folders of files for a build: the same contents and modes on every machine, and nothing of another build's."""

from __future__ import annotations

import os
import shutil
import stat
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from invoke.exceptions import Exit

from ci.beamdock.contexts import context_path, write_context, write_contexts
from unit.conftest import Shell

FILES: Mapping[str, bytes] = {"HEAD": b"x\n", "refs/heads/.keep": b"", "objects/pack/a.pack": b"\0\xff"}


def content(folder: Path) -> dict[str, bytes]:
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def modes(folder: Path) -> set[tuple[bool, int]]:
    return {(p.is_dir(), stat.S_IMODE(p.stat().st_mode)) for p in [folder, *folder.rglob("*")]}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o177])
def test_written_with_fixed_modes(tmp_path: Path, umask: int) -> None:
    (tmp_path / "c").mkdir()
    before = os.umask(umask)
    try:
        write_context(tmp_path / "c" / "git", FILES)
    except PermissionError:
        assert umask == 0o177 and os.geteuid()
        return
    finally:
        os.umask(before)
    assert content(tmp_path / "c" / "git") == FILES
    assert modes(tmp_path / "c" / "git") == {(True, 0o755), (False, 0o644)}


def test_scripts_can_be_executed(tmp_path: Path) -> None:
    """Whatever they are on this machine, where a checkout may have been copied by something that keeps no modes."""
    for _ in range(2):
        write_context(tmp_path / "deps", {"_checkouts/a/configure": b"#!/bin/sh\n", "rebar.lock": b"[].\n"})
        assert modes(tmp_path / "deps" / "_checkouts" / "a") == {(True, 0o755), (False, 0o755)}
        assert stat.S_IMODE((tmp_path / "deps" / "rebar.lock").stat().st_mode) == 0o644


def test_replaced_and_files_gone_removed(tmp_path: Path) -> None:
    folder = tmp_path / "git"
    write_context(folder, {**FILES, "gone/x": b"1"})
    write_context(folder, {**FILES, "HEAD": b"y\n"})
    assert content(folder) == {**FILES, "HEAD": b"y\n"}
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == ["git"]
    assert modes(folder) == {(True, 0o755), (False, 0o644)}


def test_what_is_right_is_left_alone(tmp_path: Path) -> None:
    """Not even its times or inodes change."""
    folder = tmp_path / "git"
    write_context(folder, FILES)

    def state() -> list[tuple[str, int, int]]:
        return [(str(p), p.stat().st_ino, p.stat().st_mtime_ns) for p in sorted([folder, *folder.rglob("*")])]

    before = state()
    write_context(folder, dict(FILES))
    assert state() == before


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    folder = tmp_path / "git"
    write_context(folder, {"a": b"1"})
    write_context(folder, {"a/b": b"1"})
    assert content(folder) == {"a/b": b"1"}


def test_changed_modes_are_mended(tmp_path: Path) -> None:
    """A restored CI cache, a cp, a chmod: the modes are fixed again."""
    folder = tmp_path / "git"
    write_context(folder, FILES)
    (folder / "HEAD").chmod(0o600)
    write_context(folder, FILES)
    assert modes(folder) == {(True, 0o755), (False, 0o644)}


def test_several_at_once(tmp_path: Path) -> None:
    """Builds in one repo: each ends without an error and finds its own contexts, and nothing lies beside them."""
    errors: list[Exception] = []
    states: list[dict[str, bytes]] = [{f"f{i}": bytes([n // 2]) * 9 for i in range(10)} for n in range(4)]

    def write(state: dict[str, bytes]) -> None:
        try:
            for _ in range(15):
                write_contexts(tmp_path, tmp_path, {"git": state})
                assert content(context_path(tmp_path, "git", state)) == state
        except (OSError, AssertionError, Exit) as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(state,)) for state in states]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert {f.name for f in (tmp_path / "contexts").iterdir()} == {context_path(tmp_path, "git", state).name for state in states}


def test_contexts_do_not_pile_up(tmp_path: Path) -> None:
    """The newest few of each name stay, and what was used within the hour; half a context of a build that was killed goes."""

    def names() -> set[str]:
        return {f.name for f in (tmp_path / "contexts").iterdir()}

    made = [context_path(tmp_path, "git", {"HEAD": bytes([n])}) for n in range(12)]
    for n, _ in enumerate(made):
        write_contexts(tmp_path, tmp_path, {"git": {"HEAD": bytes([n])}})
    (tmp_path / "contexts" / "tmpx8a").mkdir()
    assert names() == {"tmpx8a", *(path.name for path in made)}
    long_ago = time.time() - 4000
    for n, path in enumerate([*made, tmp_path / "contexts" / "tmpx8a"]):
        os.utime(path, (long_ago + n, long_ago + n))
    write_contexts(tmp_path, tmp_path, {"git": {"HEAD": bytes([2])}, "deps": {"a": b""}})
    assert names() == {path.name for path in [made[2], *made[5:], context_path(tmp_path, "deps", {"a": b""})]}


@pytest.mark.parametrize("linked", ["_build", "_build/beamdock", "_build/beamdock/contexts"])
def test_nothing_is_written_through_a_link(shell: Shell, linked: str) -> None:
    theirs = shell.path.parent / "theirs"
    theirs.mkdir()
    (shell.path / linked).parent.mkdir(parents=True, exist_ok=True)
    (shell.path / linked).symlink_to(theirs)
    done = shell.invoke("build", "--dry-run", code=2)
    assert (
        done.err
        == f"error: {shell.path / linked} is a link to {theirs}, and nothing is written through a link\nhint: a folder in its place"
    )
    assert list(theirs.iterdir()) == []


def test_a_link_in_the_place_of_a_file_of_ours(shell: Shell) -> None:
    """It is replaced, or was one of an older version's that is not written any more; what it leads to stays."""
    theirs = shell.path.parent / "theirs"
    theirs.write_text("theirs")
    folder = shell.path / "_build" / "beamdock"
    folder.mkdir(parents=True)
    for name in (".gitignore", "deps.lock", "deps"):
        (folder / name).symlink_to(theirs)
    shell.invoke("build", "--dry-run")
    assert (theirs.read_text(), (folder / ".gitignore").is_symlink()) == ("theirs", False)


def test_a_link_is_no_context(tmp_path: Path) -> None:
    """Neither a context's folder nor a file in it is written through a link, or taken for what it leads to."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "HEAD").write_bytes(b"x\n")
    folder = tmp_path / "git"
    folder.symlink_to(tmp_path / "theirs")
    write_context(folder, {"HEAD": b"y\n"})
    assert not folder.is_symlink()
    (folder / "HEAD").unlink()
    (folder / "HEAD").symlink_to(tmp_path / "theirs" / "HEAD")
    write_context(folder, {"HEAD": b"x\n"})
    assert not (folder / "HEAD").is_symlink()
    assert content(tmp_path / "theirs") == {"HEAD": b"x\n"}


def test_a_build_from_another_umask_is_the_same(shell: Shell) -> None:
    """--dry-run under umask 077 leaves what one under 022 does."""
    shell.invoke("build", "--dry-run")
    first = {str(p): (stat.S_IMODE(p.stat().st_mode), p.read_bytes() if p.is_file() else b"") for p in contexts(shell)}
    shutil.rmtree(shell.path / "_build" / "beamdock")
    before = os.umask(0o077)
    try:
        shell.invoke("build", "--dry-run")
    finally:
        os.umask(before)
    assert {str(p): (stat.S_IMODE(p.stat().st_mode), p.read_bytes() if p.is_file() else b"") for p in contexts(shell)} == first


def contexts(shell: Shell) -> list[Path]:
    return sorted((shell.path / "_build" / "beamdock" / "contexts").glob("*-*/**/*"))
