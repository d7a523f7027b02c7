"""beamdock 0.1.0: what rebar.config says of releases and profiles. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .consult import TermError, TermFile, parse_file
from .files import read_bytes
from .terms import Atom, Tuple, format_term, tuples, values_of
from .words import KEY, did_you_mean, failure


def read_config(root: Path) -> TermFile:
    """Read the rebar.config of a project. Raises Exit where it can't be read, or is no sequence of Erlang terms."""
    try:
        return parse_file(read_bytes(root / "rebar.config"))
    except TermError as error:
        raise failure(f"rebar.config:{error.line} can't be read: {error}", error.hint) from None


# ---------------------------------------------------------------------------------------------------- relx's options


def profile_terms(terms: Any, profile: str) -> list[Any]:
    """Return what each {profiles, [{PROFILE, Terms}]} has for a profile: lists of terms, in a config that rebar3 takes."""
    return [p[1] for section in values_of(terms, "profiles") for p in tuples(section) if p[0] == profile]


def relx_sections(terms: Any, profile: str) -> list[Tuple]:
    """Return each {relx, Options} that counts for a profile: the profile's own first, then those of the top level."""
    return [t for part in [*profile_terms(terms, profile), terms] for t in tuples(part) if t[0] == "relx"]


def relx_options(terms: Any, profile: str, release: str = "") -> list[Tuple]:
    """Return relx's options for a profile, those that win first: the release's own, then the profile's, then the top level's.

    release: whose own options, {release, {NAME, VERSION}, Applications, Options}; without it none.
    Measured (rebar3 3.24): relx takes a release's own option over that of the top level, whichever stands first."""
    options = options_in(relx_sections(terms, profile))
    own = [option for t in releases_named(options, release) if len(t) > 3 for option in tuples(t[3])]
    return [*own, *options]


def options_in(sections: Iterable[Tuple]) -> list[Tuple]:
    """Return the options in {relx, Options} tuples, in their order."""
    return [option for section in sections for option in tuples(section[1])]


def releases_named(options: Iterable[Tuple], name: str) -> list[Tuple]:
    """Return each {release, {NAME, ...}, ...} of that name among relx's options."""
    return [t for t in options if t[0] == "release" and isinstance(t[1], Tuple) and t[1][:1] == (name,)]


def has_runtime(terms: Any, profile: str) -> bool:
    """Does relx put the Erlang runtime into the release?

    Measured (rebar3 3.24): the last option counts. Where the profile has a relx too, rebar3 sorts all options by name, so that any
    mode counts over the rest. The profile prod begins with {mode, prod}."""
    top = options_in(t for t in tuples(terms) if t[0] == "relx")
    own = options_in(t for part in profile_terms(terms, profile) for t in tuples(part) if t[0] == "relx")
    found = profile == "prod"
    for t in sorted([*top, *own], key=lambda t: str(t[0])) if own else top:
        if t[0] in ("mode", "include_erts"):
            found = t[1] == "prod" if t[0] == "mode" else t[1] != "false"
        elif t[0] == "dev_mode" and t[1] == "true":
            found = False
    return found


# ---------------------------------------------------------------------------------------------------------- releases


@dataclass(frozen=True)
class Release:
    """A release as relx knows it. version: the Erlang term that stands there; line: where it stands, 0 for nowhere."""

    name: str
    version: Any
    line: int


@dataclass(frozen=True)
class Facts:
    """What rebar.config says that a release is chosen by. default: the name in default_release, or ''."""

    releases: tuple[Release, ...]
    default: str
    profiles: tuple[str, ...]
    scripted: bool  # is there a rebar.config.script, which may say more?
    runtime: bool = False  # does the release have the Erlang runtime without any profile?
    profiles_line: int = 0  # where {profiles, ...} stands, and {relx, ...} at the top level; 0 for nowhere
    relx_line: int = 0


def gather_facts(terms: list[Any], profile: str, scripted: bool) -> Facts:
    """Gather what a rebar.config says of its releases. What a profile's relx says counts over the top level's, as rebar3 merges them.
    Raises Exit where a release has a name that relx can't use."""
    relx = relx_options(terms, profile)
    found: dict[str, Release] = {}
    for t in relx:
        if t[0] == "release" and isinstance(t[1], Tuple) and len(t[1]) > 1:
            name = release_name(t)
            found.setdefault(name, Release(name, t[1][1], t.line))
    default = next((t[1] for t in relx if t[0] == "default_release" and t[1]), "")
    default = default[0] if isinstance(default, Tuple) else default
    profiles = [str(p[0]) for section in values_of(terms, "profiles") for p in tuples(section)]
    lines = [first_line(terms, key) for key in ("profiles", "relx")]
    return Facts(tuple(found.values()), str(default), tuple(profiles), scripted, has_runtime(terms, "default"), *lines)


def first_line(terms: Any, key: str) -> int:
    """Return the line of the first {key, Value} in a list of terms, 0 for none."""
    return next((t.line for t in tuples(terms) if t[0] == key), 0)


def release_name(release: Tuple) -> str:
    """Return the name in {release, {NAME, VERSION}, ...}. Raises Exit for one that relx can't use.

    Measured (rebar3 3.24): of other names relx makes a crash, or a folder of releases somewhere else."""
    name = release[1][0]
    if not isinstance(name, Atom) or not re.fullmatch(r"[^/]*[^/.][^/]*", name) or not name.isprintable():
        what = f"rebar.config:{release.line} has a release with the name {format_term(name)}"
        raise failure(what, "a name is an atom: {release, {shop, ...")
    return str(name)


# In a profile, {mode, prod} wins over every relx option of the top level.
PROD_RELX = "{relx, [{mode, prod}]}"


def where_to_add(key: str, entry: str, line: int) -> tuple[str, str]:
    """Return where to paste an entry of a list in rebar.config, and what to paste. line: where the first {KEY, ...} stands, or 0.

    Of a second {profiles, ...} or {relx, ...} rebar3 would forget the other's entries in silence."""
    return (f" at rebar.config:{line}, inside its {key}", entry) if line else ("", f"{{{key}, [{entry}]}}.")


def choose_release(facts: Facts, wanted: str, profile: str) -> Release:
    """Choose the release to build. wanted: the name that was asked for, or ''. Raises Exit where there is no such release or profile,
    and where rebar.config leaves a choice."""
    require_profile(facts, profile)
    names = [r.name for r in facts.releases]
    wanted = wanted or facts.default
    if wanted:
        chosen = [r for r in facts.releases if r.name == wanted]
        if not chosen and not facts.scripted:
            raise failure(f"rebar.config has no release {wanted}", f"it has {', '.join(names)}" if names else "")
        return chosen[0] if chosen else Release(wanted, "", 0)
    if not names:
        where, paste = where_to_add("relx", "{release, {NAME, {git, long}}, [APPLICATION]}", facts.relx_line)
        raise failure("rebar.config has no release", f"add{where} {paste} or, where a script adds it, set `release:` in invoke.yaml")
    if len(names) > 1:
        raise failure(
            f"rebar.config:{facts.releases[0].line} has {len(names)} releases, {', '.join(names[:-1])} and {names[-1]}",
            f"choose one: invoke build --release {names[0]}, or `release: {names[0]}` under `{KEY}:` in invoke.yaml",
        )
    return facts.releases[0]


def require_profile(facts: Facts, profile: str) -> None:
    """Raise Exit where there are releases and no such profile. A script may add it."""
    if facts.releases and not facts.scripted and profile not in (*facts.profiles, "default"):
        instead = "`profile: default` in invoke.yaml: its relx has the runtime already" if facts.runtime else ""
        where, paste = where_to_add("profiles", f"{{{profile}, [{PROD_RELX}]}}", facts.profiles_line)
        hint = instead or f"add{where} {paste} or set `profile:` in invoke.yaml"
        raise failure(f"rebar.config has no profile {profile}", did_you_mean(profile, facts.profiles) + hint)


# ------------------------------------------------------------------------------------------------------ dependencies


def dependency_name(dependency: Any) -> str:
    """Return the name in an entry of deps or of rebar.lock."""
    name = dependency[0] if isinstance(dependency, Tuple) and dependency else dependency
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)


def locked_names(terms: list[Any]) -> frozenset[str]:
    """Return the names of the dependencies that a rebar.lock pins. terms: the lock's, none where there is no lock."""
    first = terms[0] if terms else []
    pinned = first[1] if isinstance(first, Tuple) and len(first) == 2 else first
    return frozenset(map(dependency_name, pinned)) if isinstance(pinned, list) else frozenset()
