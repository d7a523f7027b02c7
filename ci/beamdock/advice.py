"""beamdock 0.1.0: what `invoke build` says about files that are not ours. SPDX-License-Identifier: Apache-2.0

It warns, on stderr; it stops nothing and writes nothing.
"""

from __future__ import annotations

import contextlib
import glob
import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invoke.exceptions import Exit

from .consult import TermError, read_terms
from .dependencies import APPLICATION_CONFIGS
from .files import find_files, read_text, real_path
from .git import git
from .leftout import left_out, sentence
from .progress import Built, summary
from .project import Project
from .rebar import profile_terms, relx_options
from .terms import Atom, Tuple, format_term, tuples, values_of
from .words import KEY, Out

# What is in the environment when relx's extended start script fills the templates (rebar3 3.24), and in every container.
START_SCRIPT = (
    "BINDIR EMU ESCRIPT_NAME LD_LIBRARY_PATH PROGNAME RELEASE_NAME RELEASE_PROG RELEASE_VSN RELX_RPC_TIMEOUT REL_NAME ROOTDIR "
    "RUN_ERL_DISABLE_FLOWCNTRL TERM"
)
ALWAYS_SET = frozenset(f"{START_SCRIPT} HOME HOSTNAME PATH PWD".split())
SECRET_KEY = r"(?:\w+_)?(?:password|passwd|secret|secret_key_base|api_key|token|cookie)"
# The variable in what vm.args has for a cookie. The image's entry point sets it, also where a default stands there.
COOKIE_VARIABLE = re.compile(r"-setcookie\s+[^\s$]*\$\{([A-Za-z_]\w*)(?::-[^}]*)?\}")
# A string or a comment, whichever begins first: neither may be looked for in the other.
# One that is not closed ends with the text, so that it is gone over once.
STRING_OR_COMMENT = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|\$\\?["%]|(?P<comment>%[^\n]*)', re.DOTALL)


@dataclass(frozen=True)
class Warning:
    """A line about a place (file:line) or a file, and what to do."""

    what: str
    hint: str
    about: str = ""  # what one warning is enough for


@dataclass(frozen=True)
class Files:
    """The files of a release that relx puts into releases/VERSION: path -> text. Templates are filled when it starts; what is
    absent is named in rebar.config all the same."""

    vm_args: Mapping[str, str]
    sys_config: Mapping[str, str]
    templates: Mapping[str, str]
    absent: tuple[str, ...] = ()


def without_comments(name: str, text: str) -> str:
    """The text with its comments blank, line by line as it was. Of vm.args: `#` at a word's beginning, up to the line's end."""
    if "vm.args" in Path(name).name:
        return re.sub(r"(?m)(^|(?<=\s))#.*$", "", text)
    return STRING_OR_COMMENT.sub(lambda m: "" if m["comment"] else m[0], text)


def line_of(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def variables(name: str, text: str) -> list[tuple[str, int]]:
    """The variables without a default in a template, each with its first line. The start script fills in ${NAME} and
    ${NAME:-default}, within a line; what is set to nothing counts as not set."""
    found: dict[str, int] = {}
    plain = without_comments(name, text)
    for match in re.finditer(r"\$\{([^}\n]*)\}", plain):
        if ":-" not in match[1] and match[1] not in found:
            found[match[1]] = line_of(plain, match.start())
    return list(found.items())


def missing(templates: Mapping[str, str], given: AbstractSet[str]) -> list[tuple[str, int, str]]:
    """File, line and name of each variable that the templates (path -> text) use, and that is neither given nor has a default.

    given: for a build the names that the Dockerfile declares; for a run the names whose values are not empty.
    """
    cookies = {name for text in templates.values() for name in COOKIE_VARIABLE.findall(text)}
    known = given | ALWAYS_SET | cookies
    return [(file, line, name) for file, text in templates.items() for name, line in variables(file, text) if name not in known]


def instructions(dockerfile: str) -> Iterator[tuple[str, str]]:
    """Each instruction's word, in capitals, and the rest of it, with its lines joined; without comments and heredocs."""
    lines = iter(dockerfile.split("\n"))
    for line in lines:
        whole = "" if line.lstrip().startswith("#") else line.strip()
        while whole.endswith("\\") and (more := next(lines, None)) is not None:
            if more.strip() and not more.lstrip().startswith("#"):  # neither comments nor empty lines end an instruction
                whole = whole[:-1] + " " + more.strip()
        word, _, rest = whole.partition(" ")
        if word.upper() in ("COPY", "ADD", "RUN"):
            for end in re.findall(r"<<-?[\"']?([\w.-]+)", rest):
                while next(lines, end).strip() != end:
                    pass
        if word:
            yield word.upper(), rest.strip()


def declared(dockerfile: str, target: str = "runner") -> set[str]:
    """The names that ENV sets in a stage and in the stages it comes from; the last stage where there is none of that name."""
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


def written_cookie(where: str) -> Warning:
    hint = "remove the line: each container makes its own; `--env RELX_COOKIE=...` gives several the same"
    return Warning(f"{where} has the cookie written out, which goes into every image", hint, "cookie")


def literals(files: Files, release: str) -> list[Warning]:
    """Cookies and passwords that are written out. The values themselves are never shown."""
    found = []
    for file, text in files.vm_args.items():
        for match in re.finditer(r"(?m)(?:^|\s)(-setcookie\s+)(?!\S*\$\{)\S+", plain := without_comments(file, text)):
            where = f"{file}:{line_of(plain, match.start(1))}"
            found.append(written_cookie(where))
    if not files.vm_args and not any("vm" in Path(name).name for name in files.absent):
        hint = f"config/vm.args.src with the line `-sname {release}` stands in for it"
        what = f"there is no vm.args, and rebar3 makes one with a cookie that is easily guessed: {release}"
        found.append(Warning(what, hint, "cookie"))
    for file, text in files.sys_config.items():
        plain = without_comments(file, text)
        for match in re.finditer(rf"""(['"]?)\b({SECRET_KEY})\1\s*(?:,|=>)\s*(<<\s*)?~?"((?:[^"\\]|\\.)+)\"""", plain):
            if "${" not in match[4]:
                value = f'<<"${{{match[2].upper()}}}">>' if match[3] else f'"${{{match[2].upper()}}}"'
                rename = "" if file.endswith(".src") else f", in a {Path(file).name}.src that relx's sys_config_src names"
                where = f"{file}:{line_of(plain, match.start(2))}"
                found.append(Warning(f"{where} has `{match[2]}` written out, which goes into every image", f"{value} there{rename}"))
    return found


def release_files(root: Path, relx: list[Tuple], replaces: bool) -> Files:
    """Return what relx takes by its options, or without them: config/vm.args and config/sys.config, each with .src or without
    (measured: rebar3 3.24 looks in no other folder). A vm.args with -setcookie ${NAME} is made a template in the image.

    relx: its options, those that win first; replaces: RELX_REPLACE_OS_VARS is set."""
    taken: dict[str, dict[str, str]] = {"vm_args": {}, "sys_config": {}}
    templates = {}
    absent: list[str] = []
    for kind, found in taken.items():
        named = [(str(name), key.endswith("_src")) for key in (f"{kind}_src", kind) for name in values_of(relx, key)[:1]]
        usual = f"config/{kind.replace('_', '.')}"
        absent += [name for name, _ in named if not (root / name).is_file()]
        for name, filled in named or [(f"{usual}.src", True), (usual, False)]:
            if not found and (root / name).is_file():
                found[name] = read_text(root / name)
                if filled or replaces or (kind == "vm_args" and COOKIE_VARIABLE.search(without_comments(name, found[name]))):
                    templates[name] = found[name]
    return Files(taken["vm_args"], taken["sys_config"], templates, tuple(absent))


def absent_overlays(root: Path, relx: list[Tuple]) -> list[tuple[int, str]]:
    """Line and source of what relx's overlay copies and is not there; what has variables in it, or is made by the build, may be."""
    lines = [t for overlay in values_of(relx, "overlay") for t in tuples(overlay) if t[0] in ("copy", "template")]
    named = [(t.line, t[1].decode(errors="replace") if isinstance(t[1], bytes) else t[1]) for t in lines if isinstance(t[1], (str, bytes))]
    return [
        (line, name)
        for line, name in named
        if not re.match(r"/|(\./)?_build\b|.*\{\{", name) and not glob.glob(f"{glob.escape(str(root))}/{name}")  # noqa: PTH207 (Path.glob raises on "**a" and "")
    ]


def unpinned(terms: list[Any], profile: str) -> list[str]:
    """The plugins of which another build may get another version: rebar.lock pins none. An exact version of Hex, a tag or a commit
    of git does."""
    parts = [terms, *profile_terms(terms, profile)]
    lists = [found for part in parts for key in ("plugins", "project_plugins") for found in values_of(part, key)]
    plugins = [p for found in lists if isinstance(found, list) for p in found if isinstance(p, Atom) or tuples([p])]

    def pinned(plugin: Any) -> bool:
        given = plugin[1:] if isinstance(plugin, Tuple) else ()
        if given and isinstance(given[0], str) and not isinstance(given[0], Atom):
            return bool(re.fullmatch(r"(== *)?\d+\.\d+\.\d+\S*", given[0]))
        return any(t[0] in ("tag", "ref") for source in given for t in tuples(list(source) if isinstance(source, Tuple) else []))

    return list(dict.fromkeys(str(p[0] if isinstance(p, Tuple) else p) for p in plugins if not pinned(p)))


def applications(root: Path) -> Iterator[list[Any]]:
    """The terms of the applications' own rebar.configs."""
    for file in find_files(root, *APPLICATION_CONFIGS):
        with contextlib.suppress(TermError):
            yield read_terms(read_text(file))


def checkouts(root: Path) -> list[Warning]:
    """What stands in for dependencies here, and does not in another work tree of the same commit."""
    found = []
    for folder in sorted(f for f in (root / "_checkouts").glob("*") if f.is_symlink() or f.is_dir()):
        name = f"_checkouts/{folder.name}"
        if real_path(root) not in real_path(folder).parents:
            hint = f"a copy of the folder, or a git submodule, in {name}"
            found.append(Warning(f"{name} leads out of the build: the dependency is taken from where rebar.config says", hint))
        elif not git(root, "ls-files", "--", name):
            hint = "move it away for an image that others can build too"
            found.append(Warning(f"{name} takes the place of the dependency, and is in no commit", hint))
    return found


def warnings(project: Project) -> list[Warning]:
    """All that there is to say about a project's files."""
    root, settings = project.root, project.settings
    terms = project.rebar_config.terms
    relx = relx_options(terms, settings.profile, project.release.name)
    given = declared(project.dockerfile)
    files = release_files(root, relx, "RELX_REPLACE_OS_VARS" in given)
    found = literals(files, project.release.name)
    for file, line, name in missing(files.templates, given):
        hint = f"a default: `{name}=...` in {settings.dockerfile}'s ENV, or ${{{name}:-...}} there; or nothing, and each run must give it"
        found.append(Warning(f"{file}:{line} has ${{{name}}}, which nothing sets: it becomes an empty text", hint))
    if not settings.prebuild:  # it may make them
        for name in files.absent:
            found.append(Warning(f"rebar.config names {name}, which does not exist", "rebar3 makes no release without it"))
        for line, name in absent_overlays(root, relx):
            found.append(Warning(f"rebar.config:{line} copies {name}, which does not exist", "rebar3 makes no release without it"))
    file, found_out = left_out(project)
    if out := [path for path, sure in found_out.items() if not sure]:
        found.append(Warning(*sentence(file, out)))
    everywhere = [terms, *applications(root)]
    plugins = dict.fromkeys(name for each in everywhere for name in unpinned(each, settings.profile))
    if loose := [name for name in plugins if not (root / "_checkouts" / name).exists()]:
        hint = '{NAME, "1.2.3"}, or {NAME, {git, URL, {ref, "..."}}}; rebar.lock pins no plugin'
        found.append(Warning(f"nothing pins the plugin{'s' if len(loose) > 1 else ''} {', '.join(loose)}", hint))
    found += checkouts(root)
    if any(any(values_of(each, "deps")) for each in everywhere) and not (root / "rebar.lock").is_file():
        hint = "rebar3 lock, and commit rebar.lock"
        found.append(Warning("there is no rebar.lock: another build may get other versions of the dependencies", hint))
    unknown = [name for name in ("release", "version") if not getattr(settings, name)]
    if project.scripted and unknown:
        version = format_term(project.release.version) if project.release.version else "unknown"
        taken = {"release": f"release {project.release.name}", "version": f"version {version}"}
        what = f"rebar.config.script may change what rebar.config says, which is {' and '.join(taken[n] for n in unknown)}"
        found.append(Warning(what, f"if so, set {' and '.join(f'`{n}:`' for n in unknown)} under `{KEY}:` in invoke.yaml"))
    return found


def of_release(log: str) -> list[Warning]:
    """What the step that makes the release warned of, if it ran and was not cached: a cookie in a vm.args that no file of the repo
    shows, as the build or an overlay makes it; and by relx functions that are called, and that no application of it has."""
    found = [written_cookie(where) for where in re.findall(r"warning: (releases/\S+:\d+) has the cookie", log)[:1]]
    if calls := re.findall(r"===> (\S+) calls undefined function (\S+)", log):
        some = ", ".join(f"{called} (in {caller})" for caller, called in calls[:3])
        what = f"the release calls functions that are not in it: {some}{f' and {len(calls) - 3} more' if len(calls) > 3 else ''}"
        found.append(Warning(what, "does `applications` in the .app.src name the applications that have them?"))
    return found


@contextlib.contextmanager
def report_builds(project: Project, out: Out) -> Iterator[list[Built]]:
    """Say what there is to warn of once, and what was built, when all that is built meanwhile is over. Warnings stand above an error.

    What has succeeded is to be put into the list.
    """
    found, built = warnings(project), list[Built]()

    def tell() -> None:
        topics = {one.about for one in found} - {""}
        of_log = of_release("\n".join(each.log for each in built))
        for one in [*found, *(w for w in of_log if w.about not in topics)]:
            out.say(f"warning: {one.what}\nhint: {one.hint}")

    try:
        yield built
    except Exit as error:
        if error.code != 2:  # else nothing was begun
            tell()
        raise
    tell()
    if built:
        out.say(summary(built))


def warn_of_run(project: Project, given: set[str], out: Out) -> None:
    """Called before each container starts: what the work tree's templates would be filled with nothing for."""
    relx = relx_options(project.rebar_config.terms, project.settings.profile, project.release.name)
    files = release_files(project.root, relx, "RELX_REPLACE_OS_VARS" in given)
    for file, line, name in missing(files.templates, given):
        out.say(f"warning: {file}:{line} has ${{{name}}}, which nothing sets: it becomes an empty text\nhint: --env {name}=...")
