"""beamdock 0.1.0: what decides the dependencies, and nothing else. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .consult import read_terms
from .files import find_files, read_bytes, read_text, real_path
from .ignore import Ignore, ignore_file, read_ignore
from .rebar import name_of
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


# The same of compiling the project: its dependencies are looked at as they are then, by their compiled files.
NOT_OF_COMPILING = frozenset({"deps"}) | NOT_OF_DEPENDENCIES - frozenset(
    "erl_first_files erl_opts extra_src_dirs minimum_otp_vsn post_hooks pre_hooks provider_hooks src_dirs".split()
)


REDUCED = ("rebar.config", "rebar.lock")


OF_APPLICATIONS = ("apps/*/rebar.config", "lib/*/rebar.config")  # where rebar3 looks for them, if it is not told otherwise


def reduce_config(text: str, profile: str, without: frozenset[str] = NOT_OF_DEPENDENCIES, locked: frozenset[str] = frozenset()) -> str:
    """A rebar.config without what does not concern dependencies, and without its layout; as it is where that is not safe.
    locked: dependencies to leave out too, but for the profile's: of them rebar3 takes what it finds, whatever the lock says."""

    def kept(terms: list[Any], locked: frozenset[str] = frozenset()) -> list[Any]:
        found = [t for t in terms if not (isinstance(t, Tuple) and t and isinstance(t[0], Atom) and t[0] in without)]
        return [Tuple((t[0], [d for d in t[1] if name_of(d) not in locked])) if is_deps(t) else t for t in found]

    def is_deps(term: Any) -> bool:
        return isinstance(term, Tuple) and len(term) == 2 and term[0] == "deps" and isinstance(term[1], list)

    if "latin-1" in text.lower() and not text.isascii():
        return text  # a comment may say so, and is needed to read it
    try:
        terms = kept(read_terms(text), locked)
        for i, t in enumerate(terms):
            if isinstance(t, Tuple) and len(t) == 2 and t[0] == "profiles":
                own = [p for p in tuples(t[1]) if p[0] == profile]
                terms[i] = Tuple((t[0], [Tuple((p[0], kept(p[1]))) if isinstance(p[1], list) else p for p in own]))
        return "".join(f"{write_term(t)}.\n" for t in terms)
    except ValueError:
        return text


def with_deps_of(applications: Iterable[str], own: set[str], text: str) -> str:
    """A rebar.config with the dependencies of applications beside its own, as rebar3 takes them together (the first of a name counts);
    own: the names of all applications, which are no dependencies. As it is where that is not safe, or where there are none."""
    try:
        terms, more = read_terms(text), [d for each in applications for deps in values_of(read_terms(each), "deps") for d in deps]
        mine = next((t for t in terms if isinstance(t, Tuple) and len(t) == 2 and t[0] == "deps"), Tuple((Atom("deps"), [])))
        named = own | {name_of(d) for d in mine[1]}
        deps = [*mine[1], *(d for d in more if name_of(d) not in named)]
        if len(deps) == len(mine[1]):
            return text
        return "".join(f"{write_term(t)}.\n" for t in [*(t for t in terms if t is not mine), Tuple((mine[0], deps))])
    except (TypeError, ValueError):
        return text


# The build is given no other files.
OUTSIDE = "a copy in the project's folder, or a submodule"


def named_files(root: Path, pattern: str) -> list[Path]:
    """The files that a setting names, by a pattern. None is outside of the project's folder: it would be written there too."""
    place = Path(os.path.normpath(root / pattern))
    if not place.is_relative_to(root):
        raise failure(f"{pattern} is outside of the project's folder, and is named under `{KEY}:` in invoke.yaml", OUTSIDE)
    named = find_files(root, str(place.relative_to(root))) if place != root else []
    if not named:
        raise failure(f"{pattern} does not exist, and is named under `{KEY}:` in invoke.yaml")
    return named


def let_in(root: Path, files: Iterable[Path], dockerfile: str) -> list[Path]:
    """Those that the ignore file lets into a build. It keeps secrets out, and what is in this context is in a layer that is pushed."""
    file = ignore_file(root, dockerfile)
    rules = read_ignore(read_text(file)) if file else Ignore()
    return [f for f in files if not rules.excludes(f.relative_to(root).as_posix())]


def dependency_files(root: Path, settings: Settings) -> dict[str, bytes]:
    """What decides the dependencies: path -> content. Checkouts are dependencies that are there."""
    # These are no secrets, and count where an ignore file has them out too.
    found = [root / name for name in ("rebar.config", "rebar.config.script", "rebar.lock") if os.path.lexists(root / name)]
    own = find_files(root, "*/*/rebar.config", "*/*/rebar.config.script")
    more = [f for f in own if f.relative_to(root).parts[0] not in ("_build", "_checkouts")]
    more += [f for f in find_files(root, "_checkouts/**/*") if not {"_build", ".git"} & set(f.relative_to(root).parts)]
    found += let_in(root, more, settings.dockerfile)
    for pattern in [*settings.dependency_files, *([settings.rebar3] if "/" in settings.rebar3 else [])]:
        named = named_files(root, pattern)
        if not let_in(root, named, settings.dockerfile):
            where, name = os.path.relpath(str(ignore_file(root, settings.dockerfile)), root), named[0].relative_to(root)
            hint = f"if it is no secret, add !{name} at the end of {where}"
            raise failure(f"{where} keeps {name} out, which is named under `{KEY}:` in invoke.yaml", hint)
        found += let_in(root, named, settings.dockerfile)
    for file in found:
        if not real_path(file).is_relative_to(real_path(root)) and not file.is_relative_to(root / "_checkouts"):
            raise failure(f"{file.relative_to(root)} is a link to {real_path(file)}, outside of the project's folder", OUTSIDE)
    files = {f.relative_to(root).as_posix(): read_bytes(f) for f in found}
    scripted = any(name.endswith(".script") for name in files)
    if "rebar.lock" not in files and "rebar.config" in files and not scripted:
        names = {f.name.partition(".")[0] for f in find_files(root, "*/*/src/*.app.src")}
        texts = [read_text(f) for f in find_files(root, *OF_APPLICATIONS)]
        files["rebar.config"] = with_deps_of(texts, names, files["rebar.config"].decode(errors="surrogateescape")).encode(
            errors="surrogateescape"
        )
    return files


def reduced(
    files: Mapping[str, bytes], profile: str, without: frozenset[str] = NOT_OF_DEPENDENCIES, locked: frozenset[str] = frozenset()
) -> dict[str, bytes]:
    """The same files without what does not matter; whole where a script reads them, as it may look at anything."""
    if any(name.endswith("rebar.config.script") for name in files):
        return dict(files)
    # A checkout is a dependency: its own erl_opts count.
    own = {name: content for name, content in files.items() if Path(name).name in REDUCED and not name.startswith("_checkouts/")}
    texts = {name: content.decode(errors="surrogateescape") for name, content in own.items()}
    few = {name: reduce_config(text, profile, without, locked).encode(errors="surrogateescape") for name, text in texts.items()}
    return {**files, **few}
