"""beamdock 0.1.0: what `invoke build` says about files that are not ours. SPDX-License-Identifier: Apache-2.0

It warns, on stderr; it stops nothing and writes nothing.
"""

from __future__ import annotations

import contextlib
import glob
import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invoke.exceptions import Exit

from .consult import TermError, read_terms
from .dependencies import APPLICATION_CONFIGS
from .files import find_files, read_text, real_path
from .git import git
from .leftout import explain_left_out, find_left_out
from .progress import Built, summary
from .project import Project
from .rebar import profile_terms, relx_options
from .templates import ReleaseFiles, declared_variables, line_of, read_release_files, unset_variables, without_comments
from .terms import Atom, Tuple, format_term, tuples, values_of
from .words import KEY, Out

SECRET_KEY = r"(?:\w+_)?(?:password|passwd|secret|secret_key_base|api_key|token|cookie)"


@dataclass(frozen=True)
class Advice:
    """A line about a place (file:line) or a file, and what to do. topic: one advice is enough for it; '' for none."""

    what: str
    hint: str
    topic: str = ""


def written_cookie(where: str) -> Advice:
    """Return the advice about a cookie that is written out there, file:line."""
    hint = "remove the line: each container makes its own; `--env RELX_COOKIE=...` gives several the same"
    return Advice(f"{where} has the cookie written out, which goes into every image", hint, "cookie")


def written_secrets(files: ReleaseFiles, release: str) -> list[Advice]:
    """Return the advice about cookies and passwords that are written out. It never shows the values. release: its name."""
    found = []
    for file, text in files.vm_args.items():
        for match in re.finditer(r"(?m)(?:^|\s)(-setcookie\s+)(?!\S*\$\{)\S+", plain := without_comments(file, text)):
            where = f"{file}:{line_of(plain, match.start(1))}"
            found.append(written_cookie(where))
    if not files.vm_args and not any("vm" in Path(name).name for name in files.missing):
        hint = f"config/vm.args.src with the line `-sname {release}` stands in for it"
        what = f"there is no vm.args, and rebar3 makes one with a cookie that is easily guessed: {release}"
        found.append(Advice(what, hint, "cookie"))
    for file, text in files.sys_config.items():
        plain = without_comments(file, text)
        for match in re.finditer(rf"""(['"]?)\b({SECRET_KEY})\1\s*(?:,|=>)\s*(<<\s*)?~?"((?:[^"\\]|\\.)+)\"""", plain):
            if "${" not in match[4]:
                value = f'<<"${{{match[2].upper()}}}">>' if match[3] else f'"${{{match[2].upper()}}}"'
                rename = "" if file.endswith(".src") else f", in a {Path(file).name}.src that relx's sys_config_src names"
                where = f"{file}:{line_of(plain, match.start(2))}"
                found.append(Advice(f"{where} has `{match[2]}` written out, which goes into every image", f"{value} there{rename}"))
    return found


def missing_overlays(root: Path, relx: list[Tuple]) -> list[tuple[int, str]]:
    """Return line and source of what relx's overlay copies and what is not there. A source with variables, or one that the build makes,
    may be there by then."""
    lines = [t for overlay in values_of(relx, "overlay") for t in tuples(overlay) if t[0] in ("copy", "template")]
    named = [(t.line, t[1].decode(errors="replace") if isinstance(t[1], bytes) else t[1]) for t in lines if isinstance(t[1], (str, bytes))]
    return [
        (line, name)
        for line, name in named
        if not re.match(r"/|(\./)?_build\b|.*\{\{", name) and not glob.glob(f"{glob.escape(str(root))}/{name}")  # noqa: PTH207 (Path.glob raises on "**a" and "")
    ]


def unpinned_plugins(terms: list[Any], profile: str) -> list[str]:
    """Return the names of the plugins of which another build may get another version. rebar.lock pins no plugin; an exact version of
    Hex does, or a tag or a commit of git."""
    parts = [terms, *profile_terms(terms, profile)]
    lists = [found for part in parts for key in ("plugins", "project_plugins") for found in values_of(part, key)]
    plugins = [p for found in lists if isinstance(found, list) for p in found if isinstance(p, Atom) or tuples([p])]

    def is_pinned(plugin: Any) -> bool:
        given = plugin[1:] if isinstance(plugin, Tuple) else ()
        if given and isinstance(given[0], str) and not isinstance(given[0], Atom):
            return bool(re.fullmatch(r"(== *)?\d+\.\d+\.\d+\S*", given[0]))
        return any(t[0] in ("tag", "ref") for source in given for t in tuples(list(source) if isinstance(source, Tuple) else []))

    return list(dict.fromkeys(str(p[0] if isinstance(p, Tuple) else p) for p in plugins if not is_pinned(p)))


def application_configs(root: Path) -> Iterator[list[Any]]:
    """Yield the terms of each application's own rebar.config that can be read."""
    for file in find_files(root, *APPLICATION_CONFIGS):
        with contextlib.suppress(TermError):
            yield read_terms(read_text(file))


def about_checkouts(root: Path) -> list[Advice]:
    """Return the advice about what stands in for dependencies here, and does not in another work tree of the same commit."""
    found = []
    for folder in sorted(f for f in (root / "_checkouts").glob("*") if f.is_symlink() or f.is_dir()):
        name = f"_checkouts/{folder.name}"
        if real_path(root) not in real_path(folder).parents:
            hint = f"a copy of the folder, or a git submodule, in {name}"
            found.append(Advice(f"{name} leads out of the build: the dependency is taken from where rebar.config says", hint))
        elif not git(root, "ls-files", "--", name):
            hint = "move it away for an image that others can build too"
            found.append(Advice(f"{name} takes the place of the dependency, and is in no commit", hint))
    return found


def find_advice(project: Project) -> list[Advice]:
    """Return all that there is to say about a project's files before they are built."""
    relx = relx_options(project.rebar_config.terms, project.settings.profile, project.release.name)
    given = declared_variables(project.dockerfile)
    files = read_release_files(project.root, relx, "RELX_REPLACE_OS_VARS" in given)
    return [
        *written_secrets(files, project.release.name),
        *about_variables(files, given, project.settings.dockerfile),
        *about_missing_files(project, files, relx),
        *about_left_out_files(project),
        *about_dependencies(project),
        *about_script(project),
    ]


def about_variables(files: ReleaseFiles, given: AbstractSet[str], dockerfile: str) -> list[Advice]:
    """Return the advice about variables in templates that nothing sets. given: the names that the Dockerfile declares."""
    return [
        Advice(
            f"{file}:{line} has ${{{name}}}, which nothing sets: it becomes an empty text",
            f"a default: `{name}=...` in {dockerfile}'s ENV, or ${{{name}:-...}} there; or nothing, and each run must give it",
        )
        for file, line, name in unset_variables(files.templates, given)
    ]


def about_missing_files(project: Project, files: ReleaseFiles, relx: list[Tuple]) -> list[Advice]:
    """Return the advice about files that rebar.config names and that are not there. The setting `prebuild` may make them."""
    if project.settings.prebuild:
        return []
    named = [f"rebar.config names {name}" for name in files.missing]
    copied = [f"rebar.config:{line} copies {name}" for line, name in missing_overlays(project.root, relx)]
    return [Advice(f"{what}, which does not exist", "rebar3 makes no release without it") for what in (*named, *copied)]


def about_left_out_files(project: Project) -> list[Advice]:
    """Return the advice about files that the ignore file keeps out, and that the release may miss."""
    file, found = find_left_out(project)
    paths = [path for path, sure in found.items() if not sure]
    return [Advice(*explain_left_out(file, paths))] if paths else []


def about_dependencies(project: Project) -> list[Advice]:
    """Return the advice about plugins and dependencies of which another build may get other versions."""
    found, root = [], project.root
    configs = [project.rebar_config.terms, *application_configs(root)]
    plugins = dict.fromkeys(name for terms in configs for name in unpinned_plugins(terms, project.settings.profile))
    if loose := [name for name in plugins if not (root / "_checkouts" / name).exists()]:
        hint = '{NAME, "1.2.3"}, or {NAME, {git, URL, {ref, "..."}}}; rebar.lock pins no plugin'
        found.append(Advice(f"nothing pins the plugin{'s' if len(loose) > 1 else ''} {', '.join(loose)}", hint))
    found += about_checkouts(root)
    if any(any(values_of(terms, "deps")) for terms in configs) and not (root / "rebar.lock").is_file():
        hint = "rebar3 lock, and commit rebar.lock"
        found.append(Advice("there is no rebar.lock: another build may get other versions of the dependencies", hint))
    return found


def about_script(project: Project) -> list[Advice]:
    """Return the advice about a rebar.config.script that may change what no setting says: the release, or its version."""
    unknown = [name for name in ("release", "version") if not getattr(project.settings, name)]
    if not project.scripted or not unknown:
        return []
    version = format_term(project.release.version) if project.release.version else "unknown"
    taken = {"release": f"release {project.release.name}", "version": f"version {version}"}
    what = f"rebar.config.script may change what rebar.config says, which is {' and '.join(taken[n] for n in unknown)}"
    return [Advice(what, f"if so, set {' and '.join(f'`{n}:`' for n in unknown)} under `{KEY}:` in invoke.yaml")]


def find_advice_in_log(log: str) -> list[Advice]:
    """Return what the step that makes the release warned of, if it ran and was not cached.

    Its own warning is of a cookie in a vm.args that no file of the repo shows, since the build or an overlay makes it. relx warns of
    functions that are called, and that no application of the release has."""
    found = [written_cookie(where) for where in re.findall(r"warning: (releases/\S+:\d+) has the cookie", log)[:1]]
    if calls := re.findall(r"===> (\S+) calls undefined function (\S+)", log):
        some = ", ".join(f"{called} (in {caller})" for caller, called in calls[:3])
        what = f"the release calls functions that are not in it: {some}{f' and {len(calls) - 3} more' if len(calls) > 3 else ''}"
        found.append(Advice(what, "does `applications` in the .app.src name the applications that have them?"))
    return found


@contextlib.contextmanager
def report_builds(project: Project, out: Out) -> Iterator[list[Built]]:
    """Say what there is to warn of once, and what was built, when all that is built meanwhile is over. Warnings stand above an error.

    What has succeeded is to be put into the list.
    """
    found, built = find_advice(project), list[Built]()

    def tell() -> None:
        topics = {one.topic for one in found} - {""}
        of_log = find_advice_in_log("\n".join(each.log for each in built))
        for one in [*found, *(w for w in of_log if w.topic not in topics)]:
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
    """Warn, before a container starts, of variables that the work tree's templates use and that nothing sets. given: the names whose
    values are not empty."""
    relx = relx_options(project.rebar_config.terms, project.settings.profile, project.release.name)
    files = read_release_files(project.root, relx, "RELX_REPLACE_OS_VARS" in given)
    for file, line, name in unset_variables(files.templates, given):
        out.say(f"warning: {file}:{line} has ${{{name}}}, which nothing sets: it becomes an empty text\nhint: --env {name}=...")
