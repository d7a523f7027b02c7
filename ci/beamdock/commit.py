"""beamdock 0.1.0: a copy of the project's files that no edit reaches any more, for a push. SPDX-License-Identifier: Apache-2.0

The files are copied as they are, and git is asked before and after whether they are the commit's. No `git archive` or checkout:
what .gitignore hides and the build reads (generated sources) belongs into the image as it does in a build, and line ends, filters,
LFS, submodules, export-ignore and modes, which are in BuildKit's cache keys, are right in the tree already.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import itertools
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Callable

from .files import make_folder, read_text, refuse_links
from .git import Tree, git, read_tree
from .ignore import Ignore, ignore_file, read_ignore
from .project import Project
from .stop import held
from .words import failure, in_a_line, say


def refuse_edits(tree: Tree) -> None:
    """Only a commit is pushed under its name."""
    if tree.dirty:
        count, some = len(tree.dirty), ", ".join(map(in_a_line, tree.dirty[:3]))
        files = "1 file differs" if count == 1 else f"{count} files differ"
        raise failure(
            f"pushing {tree.commit[:8]} was refused: {files} from the commit ({some}{', …' if count > 3 else ''})",
            "commit, stash or ignore them; `invoke build` works with a dirty tree",
        )


def refuse_checkouts(project: Project, names: Iterable[str], forced: bool) -> None:
    """Nor is what git ignores where it takes the place of a dependency. names: what the deps context has."""
    links = [f"_checkouts/{file.name}" for file in (project.files / "_checkouts").glob("*") if file.is_symlink()]
    there = {name for name in names if name.startswith("_checkouts/")} | {*links}
    known = git(project.root, "ls-files", "-z", "--recurse-submodules", "--", "_checkouts") if there else b""
    loose = sorted(there - {*known.decode(errors="surrogateescape").split("\0")})
    for checkout, files in itertools.groupby(loose, lambda name: "/".join(name.split("/")[:2])):
        given = list(files)
        what = f"{in_a_line(checkout)} ({len(given)} file{'s' if len(given) > 1 else ''})"
        if not forced:
            hint = "move it away, or commit it; --force pushes with it, and says its files"
            raise failure(f"pushing {project.tree.commit[:8]} was refused: {what} is in no commit", hint)
        say(f"{what} goes in, and is in no commit: {', '.join(map(in_a_line, given))}")


@contextlib.contextmanager
def frozen(project: Project) -> Iterator[Project]:
    """The project, with a copy of its files to build from, which are the commit's. docker reads them seconds later, and more than
    once: an edit meanwhile would be under the commit's tag."""
    refuse_links(project.root, project.context_folder)
    with own_folder(project.context_folder) as folder:
        # BuildKit keeps what it was sent by the folder's name: so what `build` has sent is not sent again.
        copy = folder / (project.root.name or "project")
        copy_tree(project.root, copy, left_out(project))
        for name in read_by_us(project):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(project.root / name, copy / name)
        now = read_tree(project.root)
        if now.commit != project.tree.commit:
            raise failure(f"HEAD was {project.tree.commit[:8]} when the push began, and is {now.commit[:8]} now", "run it again", 1)
        refuse_edits(now)
        yield dataclasses.replace(project, copy=copy)


def left_out(project: Project) -> Callable[[str, bool], bool]:
    """Whether a path stays behind (and is it a folder, with all that is in it?): what docker is not sent, and our own folder."""
    file = ignore_file(project.root, project.settings.dockerfile)
    rules = read_ignore(read_text(file)) if file else Ignore()
    own = project.context_folder.relative_to(project.root).as_posix()
    return lambda name, is_folder: name == own or (rules.excludes_all(name) if is_folder else rules.excludes(name))


def read_by_us(project: Project) -> list[str]:
    """The files that a build reads though the ignore file may keep them out."""
    dockerfile, authority = project.settings.dockerfile, project.settings.certificate_authority
    named = [dockerfile, f"{dockerfile}.dockerignore", ".dockerignore", authority, "rebar.config", "rebar.config.script", "rebar.lock"]
    files = [Path(os.path.normpath(project.root / Path(name).expanduser())) for name in named if name]
    return [str(file.relative_to(project.root)) for file in files if file.is_relative_to(project.root) and file.is_file()]


@contextlib.contextmanager
def own_folder(cache: Path) -> Iterator[Path]:
    """An empty folder that no other process has as long as this one lives; what one that was killed has left in it goes."""
    for number in itertools.count(1):
        folder = make_folder(cache / f"commit-{number}")
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        try:
            clear(folder)
            yield folder
        finally:
            with held():
                clear(folder)
                os.close(descriptor)
        return


def clear(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path, ignore_errors=True)


def copy_tree(root: Path, to: Path, left_out: Callable[[str, bool], bool], folder: str = "") -> None:
    """Copy files, folders and links, with their modes and times: by these BuildKit knows what it has been sent. left_out: whether a
    path stays behind; folder: what of root is copied."""
    (to / folder).mkdir()
    for entry in os.scandir(root / folder):
        name, is_folder = f"{folder}/{entry.name}".lstrip("/"), entry.is_dir(follow_symlinks=False)
        # What goes meanwhile is missed when git looks again.
        with contextlib.suppress(FileNotFoundError):
            if left_out(name, is_folder):
                continue
            if is_folder:
                copy_tree(root, to, left_out, name)
            elif entry.is_file() or entry.is_symlink():
                shutil.copy2(entry.path, to / name, follow_symlinks=False)
    shutil.copystat(root / folder, to / folder)
