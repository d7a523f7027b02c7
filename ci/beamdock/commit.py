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
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

from .files import make_folder, refuse_links
from .git import Tree, look_at
from .project import Project
from .stop import held
from .words import failure, in_a_line


def refuse_edits(tree: Tree) -> None:
    """Only a commit is pushed under its name."""
    if tree.dirty:
        count, some = len(tree.dirty), ", ".join(map(in_a_line, tree.dirty[:3]))
        files = "1 file differs" if count == 1 else f"{count} files differ"
        raise failure(
            f"pushing {tree.commit[:8]} was refused: {files} from the commit ({some}{', …' if count > 3 else ''})",
            "commit, stash or ignore them; `invoke build` works with a dirty tree",
        )


@contextlib.contextmanager
def frozen(project: Project) -> Iterator[Project]:
    """The project, with a copy of its files to build from, which are the commit's. docker reads them seconds later, and more than
    once: an edit meanwhile would be under the commit's tag."""
    refuse_links(project.root, project.context_folder)
    with own_folder(project.context_folder) as folder:
        # BuildKit keeps what it was sent by the folder's name: so what `build` has sent is not sent again.
        copy = folder / (project.root.name or "project")
        copy_tree(project.root, copy, lambda path: path == str(project.root / "_build") or path.endswith("/.git"))
        now = look_at(project.root)
        if now.commit != project.tree.commit:
            raise failure(f"HEAD was {project.tree.commit[:8]} when the push began, and is {now.commit[:8]} now", "run it again", 1)
        refuse_edits(now)
        yield dataclasses.replace(project, copy=copy)


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


def copy_tree(root: Path, to: Path, left_out: Callable[[str], bool]) -> None:
    """Copy files, folders and links, with their modes and times: by these BuildKit knows what it has been sent. left_out: whether a
    path stays behind, with all that is in it."""
    to.mkdir()
    for entry in os.scandir(root):
        if left_out(entry.path):
            continue
        # What goes meanwhile is missed when git looks again.
        with contextlib.suppress(FileNotFoundError):
            if entry.is_dir(follow_symlinks=False):
                copy_tree(Path(entry.path), to / entry.name, left_out)
            elif entry.is_file() or entry.is_symlink():
                shutil.copy2(entry.path, to / entry.name, follow_symlinks=False)
    shutil.copystat(root, to)
