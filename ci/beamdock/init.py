"""beamdock 0.1.0: `invoke init DIR` copies the vendored files into another repo. SPDX-License-Identifier: Apache-2.0

It reads and plans first, and then writes. What stands in the other repo is never written over: where it has files of its own under our
names, ours get other names, and what they need to be found is said.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import yaml

from .consult import TermError, read_terms
from .files import find_files, read_bytes, read_text, refuse_links, require_folder, write_whole
from .rebar import PROD_RELX, first_line, has_runtime, relx_sections, where_to_add
from .terms import tuples, values_of
from .words import KEY, Out, failure, print_result

OURS = re.compile(r"\bbeamdock \d+\.\d+\.\d+")
CONFIGURATIONS = ("invoke.yaml", "invoke.yml", "invoke.json", "invoke.py")  # Invoke reads the first that exists


@dataclass(frozen=True)
class Sources:
    """The contents of the vendored files. others: of those that have one name in every repo, by that name."""

    tasks: bytes
    dockerfile: bytes
    ignore: bytes
    others: Mapping[str, bytes]


@dataclass(frozen=True)
class Names:
    """What our files are called in the other repo, from its folder. ignore: the ignore file."""

    tasks: str
    dockerfile: str
    ignore: str


@dataclass(frozen=True)
class Copy:
    """A file for the other repo. name: from its folder; there: what stands at that place, None for nothing."""

    name: str
    content: bytes
    there: Optional[bytes]

    @property
    def is_same(self) -> bool:
        """Is what stands there the same? Line ends don't count: git may have changed them."""
        return self.there is not None and self.there.replace(b"\r\n", b"\n") == self.content.replace(b"\r\n", b"\n")

    @property
    def difference(self) -> str:
        """The unified diff from theirs to ours."""
        theirs, ours = ((b or b"").decode(errors="replace").splitlines() for b in (self.there, self.content))
        return "\n".join(difflib.unified_diff(theirs, ours, f"{self.name} (yours)", f"{self.name} (beamdock's)", lineterm=""))


def init_repo(tasks: Path, directory: str, with_ci: bool, out: Out) -> None:
    """Copy the vendored files into another repo, print the names of those it writes, and say what its owners have to do. A dry run writes
    nothing.

    tasks: our tasks.py, which the other files are beside; directory: the other repo's, as it was typed; with_ci: ci/requirements.txt too.
    Raises Exit where the directory is no repo to copy into, or a file can't be written in it."""
    target = require_repo(directory, tasks.resolve().parent)
    settings = read_settings(target)
    sources = read_sources(tasks.resolve(), with_ci)
    names = choose_names(target, sources, str(settings.get("dockerfile", "")))
    copies = plan_copies(target, sources, names)
    for copy in copies:
        refuse_links(target, (target / copy.name).parent)
        require_folder((target / copy.name).parent, f"of {copy.name}")
    advice = [  # on what is there now, so before anything is written
        *advise_on_rebar_config(read_text(target / "rebar.config"), str(settings.get("profile", "prod"))),
        *advise_on_setting(target, names.dockerfile, settings),
        *advise_on_tasks(target, names.tasks),
        *advise_on_gitignore(target),
    ]
    write_copies(directory, copies, out)
    for text in advice:
        out.say(text)
    command = "invoke build" if names.tasks == "tasks.py" else "invoke docker.build (with the lines above)"
    out.say(f"next, in {directory}: uv run {names.tasks} build; or pip install invoke python-on-whales pyyaml, and {command}")


def require_repo(directory: str, home: Path) -> Path:
    """Return the folder of the other repo. directory: as it was typed; home: of our tasks.py. Raises Exit where it is none to copy into."""
    target = Path(directory)
    if directory.startswith("-"):  # Invoke takes `init --help` for a folder
        raise failure(f"{directory} is no folder", "invoke init DIR, with options after it; invoke --help init lists them")
    if not target.is_dir():
        raise failure(f"there is no folder {directory}", "invoke init DIR: the folder of the other repo")
    if target.resolve() == home:
        raise failure(f"{directory} is this repo itself", "invoke init DIR: the folder of another one")
    if not os.path.lexists(target / "rebar.config"):
        raise failure(f"there is no rebar.config in {directory}", "DIR is the project's folder, where rebar3 is run")
    return target


# ----------------------------------------------------------------------------------------------------- reading, planning


def read_sources(tasks: Path, with_ci: bool) -> Sources:
    """Return the contents of the vendored files. tasks: our tasks.py, which the others are beside. A repo that `init` made may have some
    under their second name. Raises Exit where one is missing."""
    home = tasks.parent
    second = read_place(home / "Dockerfile.beamdock") or b""
    dockerfile = "Dockerfile.beamdock" if is_ours(second, b"") else "Dockerfile"
    others = {f"ci/{KEY}/{file.name}": read_bytes(file) for file in find_files(home / "ci" / KEY, "*.py")}
    if with_ci:
        others["ci/requirements.txt"] = read_source(home, "ci/requirements.txt")
    ignore = read_source(home, "Dockerfile.beamdock.dockerignore", "Dockerfile.dockerignore", ".dockerignore")
    return Sources(read_bytes(tasks), read_source(home, dockerfile), ignore, others)


def read_source(folder: Path, *names: str) -> bytes:
    """Return the content of the first of these that is a file. Raises Exit where none is."""
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if not found:
        raise failure(f"there is no {names[0]} in {folder} to copy", "it belongs beside tasks.py, as beamdock has it")
    return read_bytes(found)


def read_place(file: Path) -> Optional[bytes]:
    """Return what stands at a path: None for nothing, no bytes for a folder or a link to nowhere. Raises Exit where it can't be read."""
    if file.is_file():
        return read_bytes(file)
    return b"" if os.path.lexists(file) else None


def read_their_text(file: Path) -> str:
    """Return the text at a path of the other repo, '' where no file is there."""
    return (read_place(file) or b"").decode(errors="replace")


def read_settings(target: Path) -> dict[str, Any]:
    """Return what the other repo's invoke.yaml says under `beamdock:`; nothing where it has none, or is no YAML."""
    file = next((target / name for name in CONFIGURATIONS if (target / name).is_file()), None)
    found: Any = None
    if file and file.suffix in (".yaml", ".yml", ".json"):
        with contextlib.suppress(yaml.YAMLError):
            found = yaml.safe_load(read_text(file))
    section = found.get(KEY) if isinstance(found, dict) else None
    return section if isinstance(section, dict) else {}


def choose_names(target: Path, sources: Sources, setting: str) -> Names:
    """Return names for our files that nothing of theirs has. setting: the `dockerfile` of their invoke.yaml, or ''."""
    has_package = os.path.lexists(target / "tasks" / "__init__.py")
    tasks = "beamdock.py" if has_package or is_foreign(target / "tasks.py", sources.tasks) else "tasks.py"
    dockerfile = setting or ("Dockerfile.beamdock" if is_foreign(target / "Dockerfile", sources.dockerfile) else "Dockerfile")
    # BuildKit reads an ignore file that is named after the Dockerfile before any other, so theirs stays as it is.
    is_general = dockerfile == "Dockerfile" and not is_foreign(target / ".dockerignore", sources.ignore)
    return Names(tasks, dockerfile, ".dockerignore" if is_general else f"{dockerfile}.dockerignore")


def is_foreign(file: Path, source: bytes) -> bool:
    """Does something stand at a path that is no version of this vendored file? source: its content."""
    there = read_place(file)
    return there is not None and not is_ours(there, source)


def is_ours(content: bytes, source: bytes) -> bool:
    """Is a content a version of this vendored file? `beamdock X.Y.Z` in its first ten lines says so, or the same first line. source: the
    vendored file's content; b'' has no first line."""
    head = content.decode(errors="replace").split("\n")[:10]
    first = source.decode(errors="replace").split("\n")[0].strip()
    return bool(OURS.search("\n".join(head))) or (first != "" and first == head[0].strip())


def plan_copies(target: Path, sources: Sources, names: Names) -> list[Copy]:
    """Return the files for the other repo, with what stands there. It gets an invoke.yaml where it has no configuration, and ours is not
    the Dockerfile that is taken without one."""
    files = {names.tasks: sources.tasks, names.dockerfile: sources.dockerfile, names.ignore: sources.ignore, **sources.others}
    if names.dockerfile != "Dockerfile" and not find_configuration(target):
        files["invoke.yaml"] = f"{KEY}:\n  dockerfile: {names.dockerfile}\n".encode()
    return [Copy(name, content, read_place(target / name)) for name, content in files.items()]


def find_configuration(target: Path) -> str:
    """Return the name of the file, or of what stands in its place, that Invoke takes for the other repo's configuration; '' for none."""
    return next((name for name in CONFIGURATIONS if os.path.lexists(target / name)), "")


def write_copies(directory: str, copies: Sequence[Copy], out: Out) -> None:
    """Write the files that are not there yet, and print their names; show how the others differ. A dry run writes none. directory:
    the other repo's, as it was typed. Raises Exit where a file can't be written."""
    target = Path(directory)
    if any(copy.there is None for copy in copies):
        out.say(f"{'would write' if out.dry_run else 'writing'} into {directory}:")
    for copy in copies:
        if copy.there is None:
            if not out.dry_run:
                write_whole(target / copy.name, copy.content)
            print_result(str(target / copy.name))
        elif copy.is_same:
            out.say(f"unchanged {copy.name}")
        else:
            out.say(f"left {copy.name} as it is, which differs:\n{copy.difference}")


# ------------------------------------------------------------------------- what only the owners can do: texts, with lines to paste


def advise_on_setting(target: Path, dockerfile: str, settings: Mapping[str, Any]) -> list[str]:
    """Return how their configuration has to name our Dockerfile, where it has to and doesn't. Where they have none, ours says it.
    settings: those under `beamdock:`."""
    file = find_configuration(target)
    if not file or dockerfile == "Dockerfile" or "dockerfile" in settings:
        return []
    if settings:
        return [f"{file}: add under {KEY}:\n  dockerfile: {dockerfile}"]
    return [f"{file}: add\n  {KEY}:\n    dockerfile: {dockerfile}"]


def advise_on_tasks(target: Path, name: str) -> list[str]:
    """Return what to add to their tasks, where ours are in a file beside them. name: of ours."""
    if name == "tasks.py":
        return []
    theirs = next(n for n in ("tasks/__init__.py", "tasks.py") if os.path.lexists(target / n))
    lines = lines_for_collection(read_their_text(target / theirs))
    return [f"{theirs} stays as it is; at its end add\n  " + "\n  ".join(lines)] if lines else []


def lines_for_collection(theirs: str) -> list[str]:
    """Return the lines that make our tasks docker.build and so on, at the end of a tasks.py of theirs; none where it imports ours."""
    if re.search(r"^\s*(import beamdock|from beamdock)\b", theirs, re.MULTILINE):
        return []
    own = re.search(r"^(ns|namespace)\b[^=\n]*=[^=]", theirs, re.MULTILINE)
    name = own[1] if own else "ns"
    made = [] if own else ["import sys", "ns = Collection.from_module(sys.modules[__name__])"]
    imports = ["from invoke import Collection", "import beamdock"]
    return [*imports, *made, f'{name}.add_collection(Collection.from_module(beamdock, name="docker"))']


def advise_on_gitignore(target: Path) -> list[str]:
    """Return what their .gitignore lacks: rebar3's folder, which our caches are in."""
    ignored = re.search(r"^\s*/?(\*\*/)?_build\b", read_their_text(target / ".gitignore"), re.MULTILINE)
    return [] if ignored else [".gitignore: add\n  _build/"]


def advise_on_rebar_config(text: str, profile: str) -> list[str]:
    """Return what a rebar.config lacks for an image, each with its place and what to paste. profile: that the release is made with."""
    try:
        terms = read_terms(text)
    except TermError as error:
        return [f"rebar.config:{error.line} can't be read ({error}); does its profile {profile} have {PROD_RELX}?"]
    sections = relx_sections(terms, profile)
    # An option of the profile counts over that of the top level.
    options = {str(option[0]): option[1] for section in reversed(sections) for option in tuples(section[1])}
    advice = []
    if "release" not in options:
        where, paste = where_to_add("relx", "{release, {NAME, {git, long}}, [APPLICATION]}", first_line(terms, "relx"))
        advice.append(f"rebar.config has no release; add{where}, with names of yours:\n  {paste}")
    advice += advise_on_runtime(terms, profile)
    if options.get("extended_start_script") == "false":
        where = f"rebar.config:{sections[-1].line}"
        advice.append(f"{where} turns the extended start script off; write instead:\n  {{extended_start_script, true}}")
    return advice


def advise_on_runtime(terms: Any, profile: str) -> list[str]:
    """Return how the release gets the Erlang runtime into it, where it has none: its profile is missing, or has other options."""
    chosen = [p for section in values_of(terms, "profiles") for p in tuples(section) if p[0] == profile]
    if not chosen and profile != "default":
        where, paste = where_to_add("profiles", f"{{{profile}, [{PROD_RELX}]}}", first_line(terms, "profiles"))
        return [f"rebar.config has no profile {profile}; add{where}:\n  {paste}"]
    sections = relx_sections(terms, profile)
    if not sections or has_runtime(terms, profile):
        return []
    if chosen and not any(values_of(p[1], "relx") for p in chosen):
        line, place, entry = chosen[0].line, f"inside profile {profile}", PROD_RELX
    else:
        line, place, entry = sections[0].line, "at the end of its relx", "{mode, prod}"
    return [f"rebar.config:{line} makes a release without the Erlang runtime; add {place}:\n  {entry}"]
