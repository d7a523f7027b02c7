"""beamdock 0.1.0: files of the release that the ignore file keeps out of the build. SPDX-License-Identifier: Apache-2.0

relx says nothing of them where a pattern or a folder is copied, and the image lacks them.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .consult import TermError, read_terms
from .files import find_files, read_text
from .git import git
from .ignore import find_ignore_file, read_ignore
from .project import Project
from .rebar import releases_named, relx_options
from .terms import Tuple, tuples, values_of
from .words import failure, in_a_line

# What nobody means to ship, unless it is named.
SECRETS = read_ignore(
    "**/.env\n**/.env.*\n**/.netrc\n**/.ssh\n**/.erlang.cookie\n**/hex.config\n**/id_rsa*\n**/id_ed25519*\n**/id_ecdsa*\n"
    "**/*.key\n**/*.p12\n**/*.pfx"
)
APPLICATIONS = ("src/*.app.src", "apps/*/src/*.app.src", "lib/*/src/*.app.src")
USUAL = {"sys_config": "config/sys.config", "vm_args": "config/vm.args"}


def copied_sources(relx: list[Tuple]) -> list[str]:
    """Return what relx takes from the project's folder, as rebar.config names it: files, folders and patterns."""
    copied = [t[1] for overlay in values_of(relx, "overlay") for t in tuples(overlay) if t[0] in ("copy", "template")]
    for kind, usual in USUAL.items():
        copied += [*values_of(relx, f"{kind}_src")[:1], *values_of(relx, kind)[:1]] or [f"{usual}.src", usual]
    named = [s.decode(errors="replace") if isinstance(s, bytes) else s for s in [*copied, *values_of(relx, "overlay_vars")]]
    # Of an absolute one, of what the build makes and of what a variable names, nothing is known here.
    return [s for s in dict.fromkeys(s for s in named if isinstance(s, str)) if s and not re.match(r"/|(\./)?_build\b|.*[{\0]", s)]


def priv_folders(root: Path, relx: list[Tuple], release: str) -> list[str]:
    """Return the folders priv of the project's applications in the release: those that it names, and those that these need.

    release: its name."""
    found: dict[str, tuple[str, list[str]]] = {}
    for file in find_files(root, *APPLICATIONS):
        with contextlib.suppress(TermError):
            for t in tuples(read_terms(read_text(file))):
                needs = [n for key in ("applications", "included_applications") for n in values_of(t[-1], key)]
                folder = file.parent.parent.relative_to(root) / "priv"
                found[str(t[1])] = (folder.as_posix(), [str(n) for names in needs if isinstance(names, list) for n in names])
    wanted = [str(a[0] if isinstance(a, Tuple) and a else a) for t in releases_named(relx, release)[:1] for a in joined(t[2:3])]
    inside: dict[str, str] = {}
    while wanted:
        if (name := wanted.pop()) in found and name not in inside:
            inside[name] = found[name][0]
            wanted += found[name][1]
    return sorted(inside.values())


def joined(lists: Iterable[Any]) -> list[Any]:
    """Return the elements of all that are lists."""
    return [one for found in lists if isinstance(found, list) for one in found]


def files_of_source(root: Path, source: str) -> Iterator[str]:
    """Yield the files that a source names, relative to root."""
    for place in glob.glob(f"{glob.escape(str(root))}/{source}"):  # noqa: PTH207 (Path.glob raises on "**a" and "")
        path = os.path.relpath(place, root)
        if path == "." or path.startswith(".."):
            continue
        if not Path(place).is_dir() or Path(place).is_symlink():
            yield path
        for folder, _, names in os.walk(place):
            yield from (os.path.relpath(Path(folder, name), root) for name in names)


def find_left_out(project: Project) -> tuple[str, dict[str, bool]]:
    """Return the ignore file, and the files that the release would have and the build does not see: path -> does it miss them for sure?

    The build may make a file that git ignores. Nobody knows what `prebuild` and a script make. A secret stays out unless it is named.
    What the ignore file names below the source, as in priv/README.md, is meant to stay out."""
    root = project.source_folder
    file = find_ignore_file(root, project.settings.dockerfile)
    if not file:
        return "", {}
    ignore = read_ignore(read_text(file))
    relx = relx_options(project.rebar_config.terms, project.settings.profile, project.release.name)
    found: dict[str, bool] = {}
    for source in [*copied_sources(relx), *map(glob.escape, priv_folders(root, relx, project.release.name))]:
        fixed = re.split(r"[*?\[]", source)[0].rstrip("/")
        for path in files_of_source(root, source):
            if ignore.excludes(path) and not ignore.names(path, fixed):
                found[path] = found.get(path, False) or path == os.path.normpath(source) or not SECRETS.excludes(path)
    if found:
        listing = ("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *list(found)[:500])
        tracked = git(project.root, "--literal-pathspecs", *listing)
        kept = set(os.fsdecode(tracked).split("\0"))
        found = {path: sure for path, sure in found.items() if path in kept}
    if project.settings.prebuild or project.scripted:
        found = dict.fromkeys(found, False)
    return os.path.relpath(file, root), found


def explain_left_out(file: str, paths: list[str]) -> tuple[str, str]:
    """Return what is the case, and as a hint the lines that let the files in."""
    some = ", ".join(map(in_a_line, paths[:3])) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
    lines = ["!" + in_a_line(re.sub(r"([*?[])", r"\\\1", path)) for path in paths]
    what = f"{file} keeps {some} out of the build, which the release takes"
    return what, f"add at its end{', a line each' if len(lines) > 1 else ''} (or without the mark what is to stay out): {', '.join(lines)}"


def refuse_left_out(project: Project) -> None:
    """Raise Exit where the release would lack files, of which relx says nothing."""
    file, found = find_left_out(project)
    if paths := [path for path, sure in found.items() if sure]:
        raise failure(*explain_left_out(file, paths))
