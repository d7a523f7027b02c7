"""beamdock 0.1.0: git, asked about the work tree. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from .words import failure


@dataclass(frozen=True)
class Tree:
    """The work tree: the commit's full hash, the branch ('' on a detached HEAD), the paths that differ from the commit."""

    commit: str
    branch: str
    dirty: tuple[str, ...]


def git(root: Path, *args: str, stdin: Optional[bytes] = None, objects: Optional[Path] = None) -> bytes:
    """git's output. Optional locks are off, so that looking never rewrites the index. objects: where git may write objects."""
    # A hook's GIT_DIR would lead elsewhere; git's words are read below.
    env = {**{n: v for n, v in os.environ.items() if n not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")}, "LC_ALL": "C"}
    env |= {"GIT_OBJECT_DIRECTORY": str(objects)} if objects else {}
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(root), *args], input=stdin, capture_output=True, env=env, check=False
        )
    except FileNotFoundError:
        raise failure("git is not installed", "apt-get install git, brew install git") from None
    if done.returncode == 0:
        return done.stdout
    said = done.stderr.decode(errors="replace").strip()
    if "dubious ownership" in said:
        raise failure(
            f"git does not trust {root}, which belongs to another user",
            f"git config --global --add safe.directory {shlex.quote(str(root))}",
        )
    broken = next((folder / ".git" for folder in (root, *root.parents) if os.path.lexists(folder / ".git")), None)
    if "not a git repository" in said and broken:
        raise failure(f"{broken} is damaged: git finds no repository in it", "clone anew, or put back what is missing: HEAD, refs")
    if "not a git repository" in said:
        raise failure(f"{root} is in no git repository", "images are tagged with the commit: git init, git add, git commit")
    command = next(word for word in args if word[0] != "-" and "=" not in word)
    raise failure(f"git {command}: {said.splitlines()[-1] if said else 'failed'}", code=1)


def parse_status(output: bytes) -> Tree:
    """`git status --porcelain=v2 --branch -z`, see git-status(1)."""
    commit, branch, dirty = "", "", []
    records = iter(output.decode(errors="surrogateescape").split("\0"))
    for record in records:
        if record.startswith("# branch.oid "):
            commit = record.split(" ", 2)[2]
        elif record.startswith("# branch.head "):
            branch = record.split(" ", 2)[2]
        elif record[:2] in ("1 ", "u ", "2 "):
            dirty.append(record.split(" ", {"1": 8, "2": 9, "u": 10}[record[0]])[-1])
            if record[0] == "2":
                next(records)  # where it was renamed from
        elif record[:2] == "? ":
            dirty.append(record[2:])
    return Tree(commit, "" if branch == "(detached)" else branch, tuple(dirty))


def look_at(root: Path) -> Tree:
    tree = parse_status(git(root, "status", "--porcelain=v2", "--branch", "--untracked-files=normal", "-z", "--", "."))
    if tree.commit == "(initial)":
        raise failure("the repository has no commit yet", "images are tagged with the commit: git add, git commit")
    return tree
