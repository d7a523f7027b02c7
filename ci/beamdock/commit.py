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

from .files import make_folder, read_bytes, read_text, refuse_links
from .git import Tree, git, read_tree
from .ignore import Ignore, find_ignore_file, read_ignore
from .project import Project
from .signals import held
from .words import failure, in_a_line, say


def refuse_edits(tree: Tree) -> None:
    """Raise Exit where files differ from the commit: only a commit is pushed under its name."""
    if not tree.dirty:
        return
    count = len(tree.dirty)
    files = "1 file differs" if count == 1 else f"{count} files differ"
    some = ", ".join(map(in_a_line, tree.dirty[:3])) + (", …" if count > 3 else "")
    hint = "commit, stash or ignore them; `invoke build` works with a dirty tree"
    raise failure(f"pushing {tree.commit[:8]} was refused: {files} from the commit ({some})", hint)


def refuse_checkouts(project: Project, names: Iterable[str], forced: bool) -> None:
    """Raise Exit where files in _checkouts are in no commit: rebar3 takes them instead of a dependency, and git may ignore them.
    names: the files of the deps context; forced: say the files, and go on."""
    links = [f"_checkouts/{file.name}" for file in (project.source_folder / "_checkouts").glob("*") if file.is_symlink()]
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
def copy_commit(project: Project) -> Iterator[Project]:
    """Give the project with a copy of its files to build from, all of them the commit's. docker reads the files seconds later, and more
    than once: without a copy, an edit in between would be pushed under the commit's tag. Raises Exit where files differ from the
    commit, or HEAD has moved."""
    refuse_links(project.root, project.context_folder)
    with claim_folder(project.context_folder) as folder:
        # BuildKit keeps what it was sent by the folder's name. With the project's, what `build` has sent is not sent again.
        copy = folder / (project.root.name or "project")
        copy_tree(project.root, copy, copy_filter(project))
        for name in files_read_here(project):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(project.root / name, copy / name)
        now = read_tree(project.root)
        if now.commit != project.tree.commit:
            raise failure(f"HEAD was {project.tree.commit[:8]} when the push began, and is {now.commit[:8]} now", "run it again", 1)
        refuse_edits(now)
        if read_bytes(copy / "rebar.config") != project.rebar_config.content:
            raise failure("rebar.config was edited while the push began", "run it again", 1)
        yield dataclasses.replace(project, copy=copy)


def copy_filter(project: Project) -> Callable[[str, bool], bool]:
    """Return the question whether a path stays behind, as copy_tree asks it: what docker is not sent stays, and our own folder."""
    file = find_ignore_file(project.root, project.settings.dockerfile)
    rules = read_ignore(read_text(file)) if file else Ignore()
    own = project.context_folder.relative_to(project.root).as_posix()
    return lambda name, is_folder: name == own or (rules.excludes_all(name) if is_folder else rules.excludes(name))


def files_read_here(project: Project) -> list[str]:
    """Return the files that the tasks themselves read for a build, though the ignore file may keep them out."""
    dockerfile, authority = project.settings.dockerfile, project.settings.certificate_authority
    named = [dockerfile, f"{dockerfile}.dockerignore", ".dockerignore", authority, "rebar.config", "rebar.config.script", "rebar.lock"]
    files = [Path(os.path.normpath(project.root / Path(name).expanduser())) for name in named if name]
    return [str(file.relative_to(project.root)) for file in files if file.is_relative_to(project.root) and file.is_file()]


@contextlib.contextmanager
def claim_folder(cache: Path) -> Iterator[Path]:
    """Give an empty folder below the cache folder that no other process has as long as this one lives. It may be one that a killed
    process has left: what is in it goes."""
    for number in itertools.count(1):
        folder = make_folder(cache / f"commit-{number}")
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        try:
            empty_folder(folder)
            yield folder
        finally:
            with held():
                empty_folder(folder)
                os.close(descriptor)
        return


def empty_folder(folder: Path) -> None:
    """Remove the folders that are in a folder."""
    for path in folder.iterdir():
        shutil.rmtree(path, ignore_errors=True)


def copy_tree(root: Path, to: Path, left_out: Callable[[str, bool], bool], folder: str = "") -> None:
    """Copy files, folders and links, with their modes and times: by these BuildKit knows what it has been sent.

    left_out: does a path stay behind, and is it a folder? (of a folder: with all that is in it); folder: the part of root to copy."""
    (to / folder).mkdir()
    for entry in os.scandir(root / folder):
        name, is_folder = f"{folder}/{entry.name}".lstrip("/"), entry.is_dir(follow_symlinks=False)
        # A file that is removed meanwhile shows when git is asked again.
        with contextlib.suppress(FileNotFoundError):
            if left_out(name, is_folder):
                continue
            if is_folder:
                copy_tree(root, to, left_out, name)
            elif entry.is_file() or entry.is_symlink():
                shutil.copy2(entry.path, to / name, follow_symlinks=False)
    shutil.copystat(root / folder, to / folder)
