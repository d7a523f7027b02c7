"""beamdock 0.1.0: files as they are found: what can't be read or written is an error with its name. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .words import failure, reason

KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


def owner_hint(path: Path) -> str:
    """Return what to type where the system refuses access to a path: after one `sudo invoke` it belongs to root."""
    return f"ls -ld {path} shows whose it is; chown and chmod give it back"


def expand_home(name: str, where: str) -> Path:
    """Return a path with its ~ written out. where: who names it. Raises Exit where there is no such home folder."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise failure(f"{name} begins with a user's home folder, and there is none ({where})") from None


def read_bytes(file: Path) -> bytes:
    """Return a file's content. Raises Exit where it can't be read, or is no file: reading a pipe would wait for somebody who writes."""
    try:
        kind = stat.S_IFMT(file.stat().st_mode)
        if kind == stat.S_IFREG:
            return file.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL in it
        hint = owner_hint(file) if isinstance(error, PermissionError) else ""
        raise failure(f"{file} can't be read: {reason(error)}", hint) from None
    raise failure(f"{file} is {KINDS.get(kind, 'a device')}, and should be a file", "move it away, and put a file in its place")


def read_text(file: Path, errors: str = "replace") -> str:
    """Return a file's text. errors: what becomes of bytes that are no UTF-8, as in bytes.decode. Raises Exit as read_bytes does."""
    return read_bytes(file).decode("utf-8", errors)


def find_files(root: Path, *patterns: str) -> list[Path]:
    """Return the files below a folder that match patterns, those of each pattern in order. Folders, pipes and links to nowhere are left
    out: editors have such links for locks (Emacs: .#NAME). Raises Exit where a pattern can't be one."""
    try:
        return [file for pattern in patterns for file in sorted(root.glob(pattern)) if file.is_file()]
    except (NotImplementedError, ValueError):  # an absolute one, or **x
        raise failure(f"{', '.join(patterns)} names no files below {root}", "config/*.config does, for example") from None


def real_path(path: Path) -> Path:
    """Return where a path leads by all its links. (Path.resolve raises where a link leads to itself.)"""
    return Path(os.path.realpath(path))


@contextlib.contextmanager
def writing(place: Path) -> Iterator[None]:
    """Let an error of the system while something is written end as Exit with the path; where a file stands in a folder's place, with
    the file's. place: the path, where the system names none."""
    try:
        yield
    except OSError as error:
        path = Path(error.filename or place)
        wrong = next((p for p in (place, *place.parents) if os.path.lexists(p) and not p.is_dir()), None)
        if wrong and isinstance(error, (FileExistsError, NotADirectoryError)):
            raise failure(f"{wrong} is no folder", "move it away; a folder is made in its place", 1) from None
        hint = owner_hint(path.parent) if isinstance(error, PermissionError) else ""
        raise failure(f"{path} can't be written: {reason(error)}", hint, 1) from None


def refuse_links(root: Path, folder: Path) -> None:
    """Raise Exit where a folder below root, or one on the way to it, is a link: what is written there would be in another folder."""
    for part in (folder, *folder.parents):
        if part != root and part.is_relative_to(root) and part.is_symlink():
            raise failure(f"{part} is a link to {part.readlink()}, and nothing is written through a link", "a folder in its place")


def require_folder(folder: Path, where: str) -> None:
    """Raise Exit where there is no folder and none can be made, since a file stands in the way. where: who names it."""
    there = next(path for path in (folder, *folder.parents) if os.path.lexists(path) or path == path.parent or str(path) == ".")
    if not there.is_dir():
        raise failure(f"{there} is no folder ({where})", "a folder, or a name for one")


def make_folder(folder: Path) -> Path:
    """Make a folder and its parents, where they are not there; return it. Raises Exit where that can't be."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_whole(file: Path, content: bytes) -> None:
    """Write a file at once or not at all, and its folder where there is none. A link in its place is replaced, and not followed.
    Raises Exit where it can't be written."""
    make_folder(file.parent)
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    with writing(file):
        try:
            with fresh.open("xb") as opened:
                opened.write(content)
            fresh.replace(file)
        finally:
            fresh.unlink(missing_ok=True)


@contextlib.contextmanager
def fresh_folder(parent: Path) -> Iterator[Path]:
    """Give a new folder in another one, and remove it at the end if it was not moved away."""
    with writing(parent):
        folder = Path(tempfile.mkdtemp(dir=make_folder(parent)))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
