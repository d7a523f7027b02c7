"""beamdock 0.1.0: what a version needs of the history, the same bytes on every machine. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

from .git import git
from .terms import Atom, format_term
from .words import failure

# What a version reads of the history: nothing, the commit's whole or short name, or all of it: ancestors and tags.
Depth = Literal["none", "long", "short", "all"]

# Questions of a git command that commits and tags alone can't answer.
NEEDS_TREES = re.compile(r"--dirty|--broken|--abbrev-ref|git\s+(-\S+\s+)*(status|diff|ls-files|branch|symbolic-ref|diff-index)|\s--\s+\S")

# A version in an .app.src file that is read from git, or from a command.
READS_GIT = re.compile(r"\{\s*vsn\s*,\s*(?:git|semver|\{\s*(?:git|cmd)\b[^\n]*)")


def history_needed(version: Any, scripted: bool, sources: Sequence[str]) -> Depth:
    """Return how much of the history the versions read. version: the release's, as an Erlang term; scripted: a rebar.config.script may
    change it; sources: the texts of .app.src files. Raises Exit where a version asks git for what the build does not have."""
    form = format_term(version) if not isinstance(version, str) or isinstance(version, Atom) else ""
    inside = READS_GIT.findall("\n".join(sources))
    for asked in [form if form.startswith("{cmd") else "", *inside]:
        if NEEDS_TREES.search(asked):
            hint = "the build has no trees and no branch: git describe --tags, say"
            raise failure(f"the version asks git for more than commits and tags: {' '.join(asked.split())}", hint)
    if scripted or inside:
        return "all"
    if form == "{git, long}":
        return "long"
    if form == "{git, short}":
        return "short"
    return "all" if re.match(r"git|semver|\{(cmd|git)\b", form) else "none"


def git_context(root: Path, depth: Depth, commit: str = "HEAD") -> dict[str, bytes]:
    """Return a git folder with what a version reads and nothing else, the same bytes on every machine: path -> content.

    It has no trees and no blobs. Its one pack is made with settings that do not depend on the repository's own packs (measured: the
    same after gc, repack, new branches, a stash, and in another clone). `core.abbrev` is the host's own length of a short name.
    Raises Exit where a shallow clone lacks the history.
    """
    if depth == "none":
        return {}
    head = git(root, "rev-parse", commit).decode().strip()
    files = {"HEAD": f"{head}\n".encode(), "refs/heads/.keep": b"", "objects/info/.keep": b""}
    sha256 = len(head) == 64
    config = f"[core]\n\trepositoryformatversion = {int(sha256)}\n\tbare = false\n"
    if sha256:
        config += "[extensions]\n\tobjectformat = sha256\n"
    if depth != "long":
        config += f"[core]\n\tabbrev = {len(git(root, 'rev-parse', '--short', commit).strip())}\n"
    files["config"] = config.encode()
    if depth == "all":
        if is_shallow(root):
            raise failure("the version needs history that this shallow clone lacks", "git fetch --unshallow --tags")
        tags, names = read_tags(root, commit)
        files["packed-refs"] = b"# pack-refs with: peeled fully-peeled sorted \n" + tags
        names |= set(git(root, "rev-list", commit).decode().split())
    else:
        names, files["shallow"] = {head}, f"{head}\n".encode()
    return {**files, **pack_objects(root, names)}


def pack_objects(root: Path, names: Collection[str]) -> dict[str, bytes]:
    """Return a pack of these objects, and its index: path in the git folder -> content."""
    settings = ["-c", "pack.threads=1", "-c", "pack.writeReverseIndex=false", "-c", "pack.indexVersion=2"]
    options = ["--window=0", "--depth=0", "--compression=0", "--no-reuse-delta", "--no-reuse-object", "--quiet"]
    listed = "".join(f"{name}\n" for name in sorted(names)).encode()
    with tempfile.TemporaryDirectory() as folder:
        objects = make_object_folder(root, Path(folder, "objects"))
        git(root, *settings, "pack-objects", *options, f"{folder}/pack", stdin=listed, objects=objects)
        return {f"objects/pack/{file.name}": file.read_bytes() for file in Path(folder).glob("pack-*")}


def make_object_folder(root: Path, folder: Path) -> Path:
    """Make a folder of objects that reads the repository's, for git to write into: it makes a pack beside the objects first, and .git
    may be read-only."""
    there = Path(root, os.fsdecode(git(root, "rev-parse", "--git-path", "objects").rstrip(b"\n"))).absolute()
    (folder / "info").mkdir(parents=True)
    (folder / "info" / "alternates").write_bytes(os.fsencode(there) + b"\n")
    return folder


def is_shallow(root: Path) -> bool:
    """Does the clone lack a part of the history?"""
    return git(root, "rev-parse", "--is-shallow-repository").strip() == b"true"


def read_tags(root: Path, commit: str) -> tuple[bytes, set[str]]:
    """Return the tags that a commit reaches, as lines of git's packed-refs, and the names of the tags' own objects."""
    lines, names = b"", set()
    form = "--format=%(objectname) %(refname) %(object) %(type)"
    for line in git(root, "for-each-ref", "--merged", commit, "--sort=refname", form, "refs/tags").splitlines():
        name, reference, target, kind = line.split(b" ")
        names.add(name.decode())
        while kind == b"tag":  # a tag of a tag
            names.add(target.decode())
            target, kind = (word.split(b" ")[1] for word in git(root, "cat-file", "tag", target.decode()).splitlines()[:2])
        lines += name + b" " + reference + b"\n" + (b"^" + target + b"\n" if target else b"")
    return lines, names


def read_origin(root: Path) -> str:
    """Return what tells a project from others wherever it is cloned: the first commits of its history, and its folder there.
    '' where a shallow clone does not have the first commits."""
    if is_shallow(root):
        return ""
    first = sorted(git(root, "rev-list", "--max-parents=0", "HEAD").decode().split())
    return f"{' '.join(first)} /{os.fsdecode(git(root, 'rev-parse', '--show-prefix').rstrip())}"


def is_same_project(one: str, other: str) -> bool:
    """Can two origins be of one project? A history can have several first commits, and get more. An origin of '' can be any
    project's."""
    if not one or not other:
        return True
    (*first, folder), (*second, elsewhere) = one.split(" "), other.split(" ")
    return folder == elsewhere and bool(set(first) & set(second))
