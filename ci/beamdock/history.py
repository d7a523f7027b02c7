"""beamdock 0.1.0: what a version needs of the history, the same bytes on every machine. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .git import git
from .terms import Atom, format_term
from .words import failure

# What a git command may ask that commits and tags alone can't answer.
NEEDS_TREES = re.compile(r"--dirty|--broken|--abbrev-ref|git\s+(-\S+\s+)*(status|diff|ls-files|branch|symbolic-ref|diff-index)|\s--\s+\S")


def history_needed(version: Any, scripted: bool, sources: Sequence[str]) -> str:
    """What the versions read of the history: none, the commit's long or short name, or all (ancestors and tags).
    sources: of .app.src files."""
    form = format_term(version) if not isinstance(version, str) or isinstance(version, Atom) else ""
    inside = "\n".join(re.findall(r"\{\s*vsn\s*,\s*(?:git|semver|\{\s*(?:git|cmd)\b[^\n]*)", "\n".join(sources)))
    if asks := NEEDS_TREES.search(f"{form if form.startswith('{cmd') else ''}\n{inside}"):
        command = next(t for t in (form, *inside.splitlines()) if asks[0] in t)
        raise failure(
            f"the version asks git for more than commits and tags: {command}",
            "the build has no trees and no branch: git describe --tags, say",
        )
    if scripted or inside or re.match(r"git|semver|\{cmd|\{git, (?!long|short)", form):
        return "all"
    return form.strip("{}").partition(", ")[2] if form.startswith("{git") else "none"


def git_context(root: Path, need: str, commit: str = "HEAD") -> dict[str, bytes]:
    """A git folder with what the version reads and nothing else, the same bytes on every machine: path -> content.

    No trees and no blobs; one pack made with the settings that do not depend on the repository's own packs (measured:
    the same after gc, repack, new branches, a stash, and in another clone). `core.abbrev` is the host's own length.
    """
    if need == "none":
        return {}
    head = git(root, "rev-parse", commit).decode().strip()
    sha256 = len(head) == 64
    config = f"[core]\n\trepositoryformatversion = {int(sha256)}\n\tbare = false\n"
    config += "[extensions]\n\tobjectformat = sha256\n" if sha256 else ""
    if need != "long":
        config += f"[core]\n\tabbrev = {len(git(root, 'rev-parse', '--short', commit).strip())}\n"
    files = {"HEAD": f"{head}\n".encode(), "config": config.encode(), "refs/heads/.keep": b"", "objects/info/.keep": b""}
    if need in ("long", "short"):
        names, files["shallow"] = {head}, f"{head}\n".encode()
    else:
        if git(root, "rev-parse", "--is-shallow-repository").strip() == b"true":
            raise failure("the version needs history that this shallow clone lacks", "git fetch --unshallow --tags")
        tags, names = tags_of(root, commit)
        files["packed-refs"] = b"# pack-refs with: peeled fully-peeled sorted \n" + tags
        names |= set(git(root, "rev-list", commit).decode().split())
    with tempfile.TemporaryDirectory() as folder:
        objects = own_objects(root, Path(folder, "objects"))
        fixed = ["-c", "pack.threads=1", "-c", "pack.writeReverseIndex=false", "-c", "pack.indexVersion=2"]
        options = ["--window=0", "--depth=0", "--compression=0", "--no-reuse-delta", "--no-reuse-object", "--quiet"]
        listed = "".join(f"{n}\n" for n in sorted(names)).encode()
        git(root, *fixed, "pack-objects", *options, f"{folder}/pack", stdin=listed, objects=objects)
        for file in Path(folder).glob("pack-*"):
            files[f"objects/pack/{file.name}"] = file.read_bytes()
    return files


def own_objects(root: Path, folder: Path) -> Path:
    """A folder of objects that reads the repository's: git makes a pack where the objects are first, and .git may be read-only."""
    there = Path(root, os.fsdecode(git(root, "rev-parse", "--git-path", "objects").rstrip(b"\n"))).absolute()
    (folder / "info").mkdir(parents=True)
    (folder / "info" / "alternates").write_bytes(os.fsencode(there) + b"\n")
    return folder


def origin_of(root: Path) -> str:
    """What a project is known by, wherever it is cloned: the first commits of its history, and its folder there. '' where a shallow
    clone does not know them."""
    if git(root, "rev-parse", "--is-shallow-repository").strip() == b"true":
        return ""
    first = sorted(git(root, "rev-list", "--max-parents=0", "HEAD").decode().split())
    return f"{' '.join(first)} /{os.fsdecode(git(root, 'rev-parse', '--show-prefix').rstrip())}"


def of_one_project(one: str, other: str) -> bool:
    """Whether two origins are of one project: a history can have several beginnings, and get more. Who has none may be anybody."""
    (*first, folder), (*second, elsewhere) = one.split(" "), other.split(" ")
    return not one or not other or (folder == elsewhere and bool(set(first) & set(second)))


def tags_of(root: Path, commit: str) -> tuple[bytes, set[str]]:
    """The tags that a commit reaches, as git's packed-refs has them, and the names of their objects."""
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
