"""beamdock 0.1.0: the files of a release that are filled in when it starts, and with what. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from .files import read_text
from .terms import Tuple, values_of

# What is in the environment when relx's extended start script fills the templates (rebar3 3.24), and in every container.
START_SCRIPT = (
    "BINDIR EMU ESCRIPT_NAME LD_LIBRARY_PATH PROGNAME RELEASE_NAME RELEASE_PROG RELEASE_VSN RELX_RPC_TIMEOUT REL_NAME ROOTDIR "
    "RUN_ERL_DISABLE_FLOWCNTRL TERM"
)
ALWAYS_SET = frozenset(f"{START_SCRIPT} HOME HOSTNAME PATH PWD".split())
# The variable in what vm.args has for a cookie. The image's entry point sets it, also where a default stands there.
COOKIE_VARIABLE = re.compile(r"-setcookie\s+[^\s$]*\$\{([A-Za-z_]\w*)(?::-[^}]*)?\}")
# A string or a comment, whichever begins first: neither may be looked for in the other.
# One that is not closed ends with the text, so that it is gone over once.
STRING_OR_COMMENT = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|\$\\?["%]|(?P<comment>%[^\n]*)', re.DOTALL)


@dataclass(frozen=True)
class ReleaseFiles:
    """The files of a release that relx puts into releases/VERSION: path -> text. Templates are filled in when it starts; missing files
    are named in rebar.config and are not there."""

    vm_args: Mapping[str, str]
    sys_config: Mapping[str, str]
    templates: Mapping[str, str]
    missing: tuple[str, ...] = ()


def without_comments(name: str, text: str) -> str:
    """Return a text without its comments, with the same lines. In a vm.args a comment is `#` at a word's beginning."""
    if "vm.args" in Path(name).name:
        return re.sub(r"(?m)(^|(?<=\s))#.*$", "", text)
    return STRING_OR_COMMENT.sub(lambda m: "" if m["comment"] else m[0], text)


def line_of(text: str, at: int) -> int:
    """Return the number of the line that a place in a text is on."""
    return text.count("\n", 0, at) + 1


def template_variables(name: str, text: str) -> list[tuple[str, int]]:
    """Return the variables without a default in a template, each with its first line. name: the file's.

    The start script fills in ${NAME} and ${NAME:-default}, within a line. What is set to nothing counts as not set."""
    found: dict[str, int] = {}
    plain = without_comments(name, text)
    for match in re.finditer(r"\$\{([^}\n]*)\}", plain):
        if ":-" not in match[1] and match[1] not in found:
            found[match[1]] = line_of(plain, match.start())
    return list(found.items())


def unset_variables(templates: Mapping[str, str], given: AbstractSet[str]) -> list[tuple[str, int, str]]:
    """Return file, line and name of each variable in templates (path -> text) that has no default and that nothing sets.

    given: for a build the names that the Dockerfile declares; for a run the names whose values are not empty.
    """
    cookies = {name for text in templates.values() for name in COOKIE_VARIABLE.findall(text)}
    known = given | ALWAYS_SET | cookies
    return [(file, line, name) for file, text in templates.items() for name, line in template_variables(file, text) if name not in known]


def instructions(dockerfile: str) -> Iterator[tuple[str, str]]:
    """Yield the word of each instruction, in capitals, and the rest with its lines joined; without comments and heredocs."""
    lines = iter(dockerfile.split("\n"))
    for line in lines:
        whole = "" if line.lstrip().startswith("#") else line.strip()
        while whole.endswith("\\") and (follows := next(lines, None)) is not None:
            if follows.strip() and not follows.lstrip().startswith("#"):  # neither comments nor empty lines end an instruction
                whole = whole[:-1] + " " + follows.strip()
        word, _, rest = whole.partition(" ")
        if word.upper() in ("COPY", "ADD", "RUN"):
            for end in re.findall(r"<<-?[\"']?([\w.-]+)", rest):
                while next(lines, end).strip() != end:
                    pass
        if word:
            yield word.upper(), rest.strip()


def declared_variables(dockerfile: str, target: str = "runner") -> set[str]:
    """Return the names that ENV sets in a stage and in the stages it comes from. Without such a stage, the last one counts."""
    stages: dict[str, set[str]] = {}
    names: set[str] = set()
    for word, rest in instructions(dockerfile):
        if word == "FROM":
            words = [w for w in rest.split() if not w.startswith("--")]
            names = set(stages.get(words[0].lower(), ())) if words else set()
            stages[words[2].lower() if len(words) > 2 else str(len(stages))] = names
        elif word == "ENV" and re.match(r"[^\s=]+=", rest):
            names.update(re.findall(r"""([^\s=]+)=(?:"(?:[^"\\]|\\.)*"|'[^']*'|\\.|[^\s"'\\])*""", rest))
        elif word == "ENV" and rest:
            names.add(rest.split()[0])
    return stages.get(target.lower(), names)


def read_release_files(root: Path, relx: list[Tuple], replaces: bool) -> ReleaseFiles:
    """Return what relx takes by its options, or without them: config/vm.args and config/sys.config, each with .src or without
    (measured: rebar3 3.24 looks in no other folder). A vm.args with -setcookie ${NAME} is made a template in the image.

    relx: its options, those that win first; replaces: RELX_REPLACE_OS_VARS is set."""
    taken: dict[str, dict[str, str]] = {"vm_args": {}, "sys_config": {}}
    templates = {}
    missing: list[str] = []
    for kind, found in taken.items():
        named = [(str(name), key.endswith("_src")) for key in (f"{kind}_src", kind) for name in values_of(relx, key)[:1]]
        usual = f"config/{kind.replace('_', '.')}"
        missing += [name for name, _ in named if not (root / name).is_file()]
        for name, filled in named or [(f"{usual}.src", True), (usual, False)]:
            if not found and (root / name).is_file():
                found[name] = read_text(root / name)
                if filled or replaces or (kind == "vm_args" and COOKIE_VARIABLE.search(without_comments(name, found[name]))):
                    templates[name] = found[name]
    return ReleaseFiles(taken["vm_args"], taken["sys_config"], templates, tuple(missing))
