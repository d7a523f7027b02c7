"""beamdock 0.1.0: folders of files for a build, with contents and modes that depend on no machine. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from .files import fresh_folder, make_folder, refuse_links, write_whole, writing
from .words import checksum

Files = Mapping[str, bytes]


def context_path(cache: Path, name: str, files: Files) -> Path:
    """The folder of a context below the cache folder. It goes by the content: two builds of one clone never meet in a folder with
    other files, and what --dry-run has printed stays what it was."""
    digest = checksum(part for name, content in sorted(files.items()) for part in (os.fsencode(name), content))
    return cache / "contexts" / f"{name}-{digest[:16]}"


def write_contexts(root: Path, cache: Path, contexts: Mapping[str, Files]) -> None:
    """Write the contexts of a build, and remove those that no build has used for long. root: the project's folder."""
    refuse_links(root, cache / "contexts")
    folder = make_folder(cache / "contexts")
    with writing(folder), locked(folder):
        write_whole(cache / ".gitignore", b"*\n")
        for name, files in contexts.items():
            write_context(context_path(cache, name, files), files)
            os.utime(context_path(cache, name, files))
        for old in unused(folder):
            shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only one in a folder, of those that ask."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def unused(folder: Path, kept: int = 8, seconds: float = 3600) -> list[Path]:
    """The contexts that can go: of each name the newest few stay, and all that were used within the last hour. docker reads them
    in the first seconds of a build, but for `access`, which it reads where the dependencies are fetched."""
    times = {path: path.lstat().st_mtime for path in folder.iterdir()}
    names = {path: path.name.rpartition("-")[0] for path in times}  # '' is half a context, which somebody's end has left
    newest = sorted(times, key=lambda path: times[path], reverse=True)
    stay = {path for name in set(names.values()) - {""} for path in [p for p in newest if names[p] == name][:kept]}
    return [path for path in newest if path not in stay and times[path] < time.time() - seconds]


def write_context(folder: Path, files: Files) -> None:
    """Make a folder hold exactly these files. Contents and modes are in the cache key, times are not; and so modes go by the
    contents, whatever they are on this machine: scripts (of checkouts) can be executed."""
    modes = {name: 0o755 if content.startswith(b"#!") else 0o644 for name, content in files.items()}
    if content_of(folder) == {name: (content, stat.S_IFREG | modes[name]) for name, content in files.items()}:
        return
    with fresh_folder(folder.parent) as fresh, fresh_folder(folder.parent) as old:
        for name, content in files.items():
            target = fresh / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        for path in [fresh, *fresh.rglob("*")]:
            path.chmod(modes.get(path.relative_to(fresh).as_posix(), 0o755))
        if os.path.lexists(folder):
            folder.replace(old / "old")
        fresh.replace(folder)


def content_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    """The files in a folder, with their modes; a link is none, whatever it leads to."""
    there = {f: f.lstat().st_mode for f in folder.rglob("*") if f.is_symlink() or not f.is_dir()} if not folder.is_symlink() else {}
    return {f.relative_to(folder).as_posix(): (f.read_bytes() if stat.S_ISREG(mode) else b"", mode) for f, mode in there.items()}
