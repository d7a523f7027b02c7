"""beamdock 0.1.0: git, asked about the work tree. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from invoke.exceptions import Exit

from .words import failure

# A git hook sets these for the repository that it runs in, which need not be the project's.
OF_HOOKS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")


@dataclass(frozen=True)
class Tree:
    """The work tree: the commit's full hash, the branch ('' on a detached HEAD), the paths that differ from the commit."""

    commit: str
    branch: str
    dirty: tuple[str, ...]


def git(root: Path, *args: str, stdin: Optional[bytes] = None, objects: Optional[Path] = None) -> bytes:
    """Run git in a folder, and return its output. It takes no optional locks, so that a question never rewrites the index.

    objects: the folder that git writes objects into, instead of the repository's. Raises Exit where git is not installed (code 2),
    where it finds no repository that it may use (2), and where it fails otherwise (1)."""
    # git needs the person's own variables: HOME, SSH_AUTH_SOCK, proxies. Its words are read in English.
    env = {name: value for name, value in os.environ.items() if name not in OF_HOOKS}
    env["LC_ALL"] = "C"
    if objects:
        env["GIT_OBJECT_DIRECTORY"] = str(objects)
    command = ["git", "--no-optional-locks", "-C", str(root), *args]
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, env=env, check=False)
    except FileNotFoundError:
        raise failure("git is not installed", "apt-get install git, brew install git") from None
    if done.returncode != 0:
        raise explain_git(root, args, done.stderr.decode(errors="replace").strip())
    return done.stdout


def explain_git(root: Path, args: Sequence[str], said: str) -> Exit:
    """Return the error for a git command that failed. said: its stderr."""
    if "dubious ownership" in said:
        hint = f"git config --global --add safe.directory {shlex.quote(str(root))}"
        return failure(f"git does not trust {root}, which belongs to another user", hint)
    if "not a git repository" in said:
        broken = next((folder / ".git" for folder in (root, *root.parents) if os.path.lexists(folder / ".git")), None)
        if broken:
            return failure(f"{broken} is damaged: git finds no repository in it", "clone anew, or put back what is missing: HEAD, refs")
        return failure(f"{root} is in no git repository", "images are tagged with the commit: git init, git add, git commit")
    command = next(word for word in args if word[0] != "-" and "=" not in word)  # options come first: -c NAME=VALUE
    return failure(f"git {command}: {said.splitlines()[-1] if said else 'failed'}", code=1)


def parse_status(output: bytes) -> Tree:
    """Return the work tree that `git status --porcelain=v2 --branch -z` describes. Its records are in git-status(1)."""
    commit, branch, dirty = "", "", []
    records = iter(output.decode(errors="surrogateescape").split("\0"))
    for record in records:
        kind = record[:2]
        if record.startswith("# branch.oid "):
            commit = record.split(" ", 2)[2]
        elif record.startswith("# branch.head "):
            branch = record.split(" ", 2)[2]
        elif kind in ("1 ", "2 ", "u "):
            before_the_path = {"1 ": 8, "2 ": 9, "u ": 10}[kind]
            dirty.append(record.split(" ", before_the_path)[-1])
            if kind == "2 ":
                next(records)  # the path that it was renamed from
        elif kind == "? ":
            dirty.append(record[2:])
    return Tree(commit, "" if branch == "(detached)" else branch, tuple(dirty))


def read_tree(root: Path) -> Tree:
    """Ask git about the work tree, as far as it is below a folder. Raises Exit where git can't tell, or there is no commit yet."""
    tree = parse_status(git(root, "status", "--porcelain=v2", "--branch", "--untracked-files=normal", "-z", "--", "."))
    if tree.commit == "(initial)":
        raise failure("the repository has no commit yet", "images are tagged with the commit: git add, git commit")
    return tree
