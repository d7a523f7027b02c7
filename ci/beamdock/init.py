"""beamdock 0.1.0: `invoke init DIR` copies the vendored files into another repo. SPDX-License-Identifier: Apache-2.0

Reads first and plans (pure, from texts), then writes; what stands in the other repo is never written over.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import yaml

from .consult import TermError, read_terms
from .files import find_files, read_bytes, read_text, refuse_links, write_whole
from .rebar import PROD_RELX, has_runtime, relx_sections, where_to_add
from .terms import tuples
from .words import KEY, Out, failure, result

OURS = re.compile(r"\bbeamdock \d+\.\d+\.\d+")
CONFIGURATIONS = ("invoke.yaml", "invoke.yml", "invoke.json", "invoke.py")  # Invoke reads the first that exists


def is_ours(text: str, source: str) -> bool:
    """Is a text a version of this vendored file? `beamdock X.Y.Z` in its head says so, or the same first line."""
    head = text.split("\n")[:10]
    return bool(OURS.search("\n".join(head))) or head[0].strip() == source.split("\n")[0].strip() != ""


def lines_for_collection(theirs: str) -> str:
    """Return what to add to a tasks.py of theirs, so that our tasks are docker.build and so on; '' where it has that already."""
    if re.search(r"^\s*(import beamdock|from beamdock)\b", theirs, re.MULTILINE):
        return ""
    own = re.search(r"^(ns|namespace)\b[^=\n]*=[^=]", theirs, re.MULTILINE)
    name = own[1] if own else "ns"
    made = "" if own else "import sys\nns = Collection.from_module(sys.modules[__name__])\n"
    return f'from invoke import Collection\nimport beamdock\n{made}{name}.add_collection(Collection.from_module(beamdock, name="docker"))'


def relx_advice(text: str, profile: str) -> list[str]:
    """Return what a rebar.config lacks for an image, as lines for a person: where, and what to paste."""
    try:
        terms = read_terms(text)
    except TermError as error:
        return [f"rebar.config:{error.line} can't be read ({error}); does its profile {profile} have {PROD_RELX}?"]
    groups = [t for t in tuples(terms) if t[0] == "profiles"]
    chosen = [p for g in groups for p in tuples(g[1]) if p[0] == profile]
    sections = relx_sections(terms, profile)
    options: dict[str, Any] = {str(t[0]): t[1] for section in reversed(sections) for t in tuples(section[1])}
    advice = []
    if "release" not in options:
        where, paste = where_to_add(
            "relx", "{release, {NAME, {git, long}}, [APPLICATION]}", next((t.line for t in tuples(terms) if t[0] == "relx"), 0)
        )
        advice.append(f"rebar.config has no release; add{where}, with names of yours:\n  {paste}")
    if not chosen and profile != "default":
        where, paste = where_to_add("profiles", f"{{{profile}, [{PROD_RELX}]}}", groups[0].line if groups else 0)
        advice.append(f"rebar.config has no profile {profile}; add{where}:\n  {paste}")
    elif sections and not has_runtime(terms, profile):
        mine = [t for p in chosen for t in tuples(p[1]) if t[0] == "relx"]
        line = (mine or chosen or sections)[0].line
        inside = f"add inside profile {profile}" if chosen and not mine else "add at the end of its relx"
        paste = PROD_RELX if chosen and not mine else "{mode, prod}"
        advice.append(f"rebar.config:{line} makes a release without the Erlang runtime; {inside}:\n  {paste}")
    if options.get("extended_start_script") == "false":
        advice.append(
            f"rebar.config:{sections[-1].line} turns the extended start script off; write instead:\n  {{extended_start_script, true}}"
        )
    return advice


@dataclass(frozen=True)
class Copy:
    """A file that is to be in the other repo. there: what stands at its place now, None for nothing."""

    name: str
    content: bytes
    there: Optional[bytes]

    @property
    def is_same(self) -> bool:
        """Is the very file there already? Line ends don't count: git may have changed them."""
        return self.there is not None and self.there.replace(b"\r\n", b"\n") == self.content.replace(b"\r\n", b"\n")

    @property
    def difference(self) -> str:
        """The difference from theirs to ours, as a unified diff."""
        theirs, ours = ((b or b"").decode(errors="replace").splitlines() for b in (self.there, self.content))
        return "\n".join(difflib.unified_diff(theirs, ours, f"{self.name} (yours)", f"{self.name} (beamdock's)", lineterm=""))


def read_place(file: Path) -> Optional[bytes]:
    """Return what stands at a path: None for nothing, no bytes for a folder or a link to nowhere."""
    return read_bytes(file) if file.is_file() else b"" if os.path.lexists(file) else None


def read_source(folder: Path, *names: str) -> bytes:
    """Return the first of these that is a file: a repo that `init` made has some under their second name. Raises Exit where none is."""
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if not found:
        raise failure(f"there is no {names[0]} in {folder} to copy", "it belongs beside tasks.py, as beamdock has it")
    return read_bytes(found)


def plan_copies(script: Path, target: Path, setting: str, with_ci: bool) -> list[Copy]:
    """Return the files that the other repo lacks, under names that are free there. script: our tasks.py; setting: the `dockerfile` that
    their invoke.yaml names, or ''; with_ci: requirements.txt too."""
    home, tasks = script.parent, script.read_bytes()
    image = read_source(
        home, *(n for n in ("Dockerfile.beamdock", "Dockerfile") if is_ours((read_place(home / n) or b"").decode(), "")), "Dockerfile"
    )
    ignore = read_source(home, "Dockerfile.beamdock.dockerignore", "Dockerfile.dockerignore", ".dockerignore")

    def foreign(name: str, ours: bytes) -> bool:
        there = read_place(target / name)
        return there is not None and not is_ours(there.decode(errors="replace"), ours.decode())

    package = os.path.lexists(target / "tasks" / "__init__.py")
    dockerfile = setting or ("Dockerfile.beamdock" if foreign("Dockerfile", image) else "Dockerfile")
    # BuildKit reads an ignore file named after the Dockerfile first, and theirs stays theirs.
    general = dockerfile == "Dockerfile" and not foreign(".dockerignore", ignore)
    files = {
        "beamdock.py" if package or foreign("tasks.py", tasks) else "tasks.py": tasks,
        dockerfile: image,
        ".dockerignore" if general else f"{dockerfile}.dockerignore": ignore,
    }
    files.update({f"ci/{KEY}/{f.name}": read_bytes(f) for f in find_files(home / "ci" / KEY, "*.py")})
    if with_ci:
        files["ci/requirements.txt"] = read_source(home, "ci/requirements.txt")
    if dockerfile != "Dockerfile" and not any(os.path.lexists(target / name) for name in CONFIGURATIONS):
        files["invoke.yaml"] = f"{KEY}:\n  dockerfile: {dockerfile}\n".encode()
    return [Copy(name, content, read_place(target / name)) for name, content in files.items()]


def read_settings(target: Path) -> dict[str, Any]:
    """Return what their invoke.yaml says under `beamdock:`."""
    file = next((target / name for name in CONFIGURATIONS if (target / name).is_file()), None)
    found: Any = None
    if file and file.suffix in (".yaml", ".yml", ".json"):
        with contextlib.suppress(yaml.YAMLError):
            found = yaml.safe_load(read_text(file))
    section = found.get(KEY) if isinstance(found, dict) else None
    return section if isinstance(section, dict) else {}


def list_what_is_left(target: Path, copies: Sequence[Copy], settings: dict[str, Any]) -> list[str]:
    """Return what only the other repo's owners can do: lines to paste, and where."""
    names = [copy.name for copy in copies]
    todo = relx_advice(read_text(target / "rebar.config"), str(settings.get("profile", "prod")))
    if names[1] != "Dockerfile" and "invoke.yaml" not in names and "dockerfile" not in settings:
        file = next(name for name in CONFIGURATIONS if os.path.lexists(target / name))
        lines = f"under {KEY}:\n  " if settings else f"\n  {KEY}:\n    "
        todo.append(f"{file}: add {lines}dockerfile: {names[1]}".replace("add \n", "add\n"))
    if names[0] == "beamdock.py":
        theirs = next(n for n in ("tasks/__init__.py", "tasks.py") if os.path.lexists(target / n))
        if lines := lines_for_collection((read_place(target / theirs) or b"").decode(errors="replace")):
            todo.append(f"{theirs} stays as it is; at its end add\n  " + lines.replace("\n", "\n  "))
    ignored = (read_place(target / ".gitignore") or b"").decode(errors="replace")
    if not re.search(r"^\s*/?(\*\*/)?_build\b", ignored, re.MULTILINE):
        todo.append(".gitignore: add\n  _build/")
    return todo


def require_repo(directory: str, home: Path) -> Path:
    """Return the folder of the other repo. Raises Exit where it is none to copy into. home: the folder of our tasks.py."""
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


def init_repo(tasks: Path, directory: str, with_ci: bool, out: Out) -> None:
    """Copy the vendored files into another repo, and say what only its owners can do. tasks: our tasks.py; with_ci: requirements.txt too.
    A dry run says what would be written. Raises Exit where the directory is no repo to copy into."""
    target = require_repo(directory, tasks.resolve().parent)
    settings = read_settings(target)
    copies = plan_copies(tasks.resolve(), target, str(settings.get("dockerfile", "")), with_ci)
    for copy in copies:
        refuse_links(target, (target / copy.name).parent)
    if any(copy.there is None for copy in copies):
        out.say(f"{'would write' if out.dry_run else 'writing'} into {directory}:")
    for copy in copies:
        if copy.there is None:
            if not out.dry_run:
                write_whole(target / copy.name, copy.content)
            result(str(target / copy.name))
        elif copy.is_same:
            out.say(f"unchanged {copy.name}")
        else:
            out.say(f"left {copy.name} as it is, which differs:\n{copy.difference}")
    for text in list_what_is_left(target, copies, settings):
        out.say(text)
    script = copies[0].name
    invoke = "invoke build" if script == "tasks.py" else "invoke docker.build (with the lines above)"
    out.say(f"next, in {directory}: uv run {script} build; or pip install invoke python-on-whales pyyaml, and {invoke}")
