"""beamdock 0.1.0: what decides the dependencies, and nothing else. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .consult import TermError, TermFile, parse_file, read_terms
from .files import find_files, read_bytes, read_text, real_path
from .ignore import Ignore, find_ignore_file, read_ignore
from .rebar import dependency_name
from .settings import Settings
from .terms import Atom, Tuple, tuples, values_of, write_term
from .words import KEY, failure

# Parts of rebar.config that say nothing about dependencies: with --deps_only rebar3 runs no hook of the project's own, and
# compiles a dependency by its own erl_opts (measured: the same beams). What is not named here stays.
NOT_OF_DEPENDENCIES = frozenset(
    "alias cover_enabled cover_excl_apps cover_excl_mods cover_export_enabled cover_opts cover_print_enabled ct_compile_opts ct_opts "
    "ct_readable dialyzer dist_node edoc_opts erl_first_files erl_opts erlfmt escript_comment escript_emu_args escript_incl_apps "
    "escript_main_app escript_name escript_shebang eunit_compile_opts eunit_first_files eunit_opts eunit_tests ex_doc extra_src_dirs hank "
    "minimum_otp_vsn post_hooks pre_hooks proper_opts provider_hooks relx shell src_dirs xref_checks xref_extra_paths xref_ignores "
    "xref_queries xref_warnings".split()
)


# Entries that do not affect compiling the project. `deps` is among them because resume compares the compiled dependencies.
NOT_OF_COMPILING = frozenset({"deps"}) | NOT_OF_DEPENDENCIES - frozenset(
    "erl_first_files erl_opts extra_src_dirs minimum_otp_vsn post_hooks pre_hooks provider_hooks src_dirs".split()
)


# Where rebar3 looks for applications, if it is not told otherwise.
APPLICATION_CONFIGS = ("apps/*/rebar.config", "lib/*/rebar.config")


@dataclass(frozen=True)
class DependencyFiles:
    """The files that decide the dependencies. contents: path -> bytes. parsed: the rebar.configs and rebar.locks of the project and
    its applications that are Erlang terms, by path; not those of checkouts, which are dependencies: their erl_opts count."""

    contents: Mapping[str, bytes]
    parsed: Mapping[str, TermFile]

    @property
    def scripted(self) -> bool:
        """Is there a rebar.config.script, which may read any of the files?"""
        return any(name.endswith("rebar.config.script") for name in self.contents)


# ---------------------------------------------------------------------------------------------------- finding them


def dependency_files(root: Path, settings: Settings, config: TermFile) -> DependencyFiles:
    """Read what decides the dependencies below a project's folder. config: its rebar.config, which is not read again.

    Raises Exit where a setting names a file that is not there, that is outside of the folder, or that the ignore file keeps out."""
    paths = {file.relative_to(root).as_posix(): file for file in find_dependency_files(root, settings)}
    parsed = {"rebar.config": config}
    contents = {path: config.content if path == "rebar.config" else read_bytes(file) for path, file in paths.items()}
    for path, content in contents.items():
        if path not in parsed and Path(path).name in ("rebar.config", "rebar.lock") and not path.startswith("_checkouts/"):
            try:
                parsed[path] = parse_file(content)
            except TermError:
                continue
    if "rebar.lock" not in contents and not any(path.endswith(".script") for path in contents):
        parsed["rebar.config"] = with_application_deps(root, config)
        contents["rebar.config"] = parsed["rebar.config"].content
    return DependencyFiles(contents, parsed)


def find_dependency_files(root: Path, settings: Settings) -> list[Path]:
    """Find what decides the dependencies: what rebar3 reads, the files of checkouts, and what settings name."""
    # These are no secrets, and count where an ignore file has them out too.
    found = [root / name for name in ("rebar.config", "rebar.config.script", "rebar.lock") if os.path.lexists(root / name)]
    of_applications = find_files(root, "*/*/rebar.config", "*/*/rebar.config.script")
    others = [f for f in of_applications if f.relative_to(root).parts[0] not in ("_build", "_checkouts")]
    others += [f for f in find_files(root, "_checkouts/**/*") if not {"_build", ".git"} & set(f.relative_to(root).parts)]
    found += let_in(root, others, settings.dockerfile)
    for pattern in [*settings.dependency_files, *([settings.rebar3] if "/" in settings.rebar3 else [])]:
        found += find_named_files(root, pattern, settings.dockerfile)
    for file in found:
        if not real_path(file).is_relative_to(real_path(root)) and not file.is_relative_to(root / "_checkouts"):
            raise failure(f"{file.relative_to(root)} is a link to {real_path(file)}, outside of the project's folder", OUTSIDE)
    return found


# The build is given no other files.
OUTSIDE = "a copy in the project's folder, or a submodule"


def find_named_files(root: Path, pattern: str, dockerfile: str) -> list[Path]:
    """Find the files that a setting names by a pattern, and that the build sees. Raises Exit where there are none, and for a pattern
    that leads out of the project's folder: the file would be written there too."""
    place = Path(os.path.normpath(root / pattern))
    if not place.is_relative_to(root):
        raise failure(f"{pattern} is outside of the project's folder, and is named under `{KEY}:` in invoke.yaml", OUTSIDE)
    named = find_files(root, str(place.relative_to(root))) if place != root else []
    if not named:
        raise failure(f"{pattern} does not exist, and is named under `{KEY}:` in invoke.yaml")
    seen = let_in(root, named, dockerfile)
    if not seen:
        where, name = os.path.relpath(str(find_ignore_file(root, dockerfile)), root), named[0].relative_to(root)
        hint = f"if it is no secret, add !{name} at the end of {where}"
        raise failure(f"{where} keeps {name} out, which is named under `{KEY}:` in invoke.yaml", hint)
    return seen


def let_in(root: Path, files: Iterable[Path], dockerfile: str) -> list[Path]:
    """Return the files that the ignore file lets into a build. It keeps secrets out, and what is in this context is in a layer that
    is pushed."""
    file = find_ignore_file(root, dockerfile)
    rules = read_ignore(read_text(file)) if file else Ignore()
    return [f for f in files if not rules.excludes(f.relative_to(root).as_posix())]


# ------------------------------------------------------------------------------------ the dependencies of applications


def with_application_deps(root: Path, config: TermFile) -> TermFile:
    """Return a rebar.config with the dependencies of the project's applications beside its own, as rebar3 takes them together; as it
    is where they have none, or can't be read."""
    try:
        applications = [read_terms(read_text(file)) for file in find_files(root, *APPLICATION_CONFIGS)]
    except TermError:
        return config
    own = {file.name.partition(".")[0] for file in find_files(root, "*/*/src/*.app.src")}  # applications are no dependencies
    merged = merge_deps(config.terms, [deps for terms in applications for deps in values_of(terms, "deps")], own)
    return config if merged is config.terms else written_file(merged, config)


def merge_deps(terms: list[Any], added: Sequence[Any], own: set[str]) -> list[Any]:
    """Return the terms of a rebar.config with more dependencies: of a name, the first counts. added: lists of dependencies; own: names
    that are none."""
    deps = next((t for t in terms if isinstance(t, Tuple) and len(t) == 2 and t[0] == "deps"), Tuple((Atom("deps"), [])))
    if not all(isinstance(each, list) for each in (deps[1], *added)):
        return terms
    known = own | {dependency_name(d) for d in deps[1]}
    fresh = [d for each in added for d in each if dependency_name(d) not in known]
    return [*(t for t in terms if t is not deps), Tuple((deps[0], [*deps[1], *fresh]))] if fresh else terms


# ------------------------------------------------------------------------------------------------------ reducing them


def reduce_files(
    files: DependencyFiles, profile: str, without: frozenset[str] = NOT_OF_DEPENDENCIES, locked: frozenset[str] = frozenset()
) -> dict[str, bytes]:
    """Return the files without what does not matter: path -> bytes. They stay whole where a script reads them.

    profile: the one that is built; without: the names of entries of a rebar.config to leave out; locked: the names of dependencies to
    leave out, since rebar.lock says which versions they have."""
    if files.scripted:
        return dict(files.contents)
    return {**files.contents, **{path: reduce_config(file, profile, without, locked).content for path, file in files.parsed.items()}}


def reduce_config(file: TermFile, profile: str, without: frozenset[str], locked: frozenset[str]) -> TermFile:
    """Return a rebar.config without some entries and dependencies, and without its layout; as it is where that is not safe.

    The profile's own dependencies stay in, whatever the lock says: rebar3 does not pin those. Other profiles go."""
    if b"latin-1" in file.content.lower() and not file.content.isascii():
        return file  # a comment may say so, and is needed to read it
    terms = [without_locked(t, locked) for t in kept(file.terms, without)]
    for i, t in enumerate(terms):
        if isinstance(t, Tuple) and len(t) == 2 and t[0] == "profiles":
            own = [p for p in tuples(t[1]) if p[0] == profile]
            terms[i] = Tuple((t[0], [Tuple((p[0], kept(p[1], without))) if isinstance(p[1], list) else p for p in own]))
    return written_file(terms, file)


def kept(terms: list[Any], without: frozenset[str]) -> list[Any]:
    """Return the terms but for {NAME, ...} of the names to leave out."""
    return [t for t in terms if not (isinstance(t, Tuple) and t and isinstance(t[0], Atom) and t[0] in without)]


def without_locked(term: Any, locked: frozenset[str]) -> Any:
    """Return {deps, Dependencies} without those of these names, and any other term as it is."""
    if isinstance(term, Tuple) and len(term) == 2 and term[0] == "deps" and isinstance(term[1], list):
        return Tuple((term[0], [d for d in term[1] if dependency_name(d) not in locked]))
    return term


def written_file(terms: list[Any], instead: TermFile) -> TermFile:
    """Return a file of these terms, in the one form that all spellings share. instead: the file where they can't be written."""
    try:
        return TermFile("".join(f"{write_term(t)}.\n" for t in terms).encode(errors="surrogateescape"), terms)
    except ValueError:
        return instead
