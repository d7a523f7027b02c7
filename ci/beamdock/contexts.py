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
    """Return the folder of a context below the cache folder. Its name goes by the content: two builds of one clone never meet in a
    folder with other files, and what --dry-run has printed stays what it was. name: the context's; files: path -> content."""
    digest = checksum(part for name, content in sorted(files.items()) for part in (os.fsencode(name), content))
    return cache / "contexts" / f"{name}-{digest[:16]}"


def write_contexts(root: Path, cache: Path, contexts: Mapping[str, Files]) -> None:
    """Write the contexts of a build below the cache folder, and remove those that no build has used for long. root: the project's
    folder; contexts: name -> files. Raises Exit where a folder is a link, or can't be written."""
    refuse_links(root, cache / "contexts")
    folder = make_folder(cache / "contexts")
    with writing(folder), lock_folder(folder):
        write_whole(cache / ".gitignore", b"*\n")
        for name, files in contexts.items():
            write_context(context_path(cache, name, files), files)
            os.utime(context_path(cache, name, files))
        for old in find_unused(folder):
            shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Wait until no other process holds the folder's lock, and hold it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def find_unused(folder: Path, kept: int = 8, seconds: float = 3600) -> list[Path]:
    """Return the contexts that can go. Of each name the newest stay, and all that were used within the last hour. docker reads them
    in the first seconds of a build, except `access`: docker reads it where the dependencies are fetched."""
    times = {path: path.lstat().st_mtime for path in folder.iterdir()}
    names = {path: path.name.rpartition("-")[0] for path in times}  # '' is half a context, of a process that was killed
    newest = sorted(times, key=lambda path: times[path], reverse=True)
    stay = {path for name in set(names.values()) - {""} for path in [p for p in newest if names[p] == name][:kept]}
    return [path for path in newest if path not in stay and times[path] < time.time() - seconds]


def write_context(folder: Path, files: Files) -> None:
    """Make a folder hold exactly these files. BuildKit's cache key has their contents and modes, and not their times. So a file's
    mode goes by its content, whatever it is on this machine: a script (of a checkout) can be executed."""
    modes = {name: 0o755 if content.startswith(b"#!") else 0o644 for name, content in files.items()}
    if read_folder(folder) == {name: (content, stat.S_IFREG | modes[name]) for name, content in files.items()}:
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


def read_folder(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return what is in a folder: path -> content and mode. No link is followed, and what is no file has no content."""
    found = {}
    for path in [] if folder.is_symlink() else folder.rglob("*"):
        mode = path.lstat().st_mode
        if not stat.S_ISDIR(mode):
            found[path.relative_to(folder).as_posix()] = (path.read_bytes() if stat.S_ISREG(mode) else b"", mode)
    return found
