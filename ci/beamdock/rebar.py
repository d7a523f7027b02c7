"""beamdock 0.1.0: what rebar.config says of releases and profiles. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from .consult import read_terms
from .terms import Atom, Tuple, format_term, tuples, values_of
from .words import KEY, did_you_mean, failure


@dataclass(frozen=True)
class Release:
    """A release as relx knows it: its version is the Erlang term that stands there, line is where."""

    name: str
    version: Any
    line: int


@dataclass(frozen=True)
class Rebar:
    """What rebar.config says that matters here."""

    releases: tuple[Release, ...]
    default: str
    profiles: tuple[str, ...]
    scripted: bool
    runtime: bool = False  # does the release have the Erlang runtime without any profile?
    profiles_line: int = 0  # where {profiles, ...} stands, and {relx, ...} at the top level; 0 for nowhere
    relx_line: int = 0


def rebar_facts(text: str, profile: str, scripted: bool) -> Rebar:
    """Read a rebar.config. What a profile's relx says counts over the top level's, as rebar3 merges them."""
    terms = read_terms(text)
    profiles = [p for section in values_of(terms, "profiles") for p in tuples(section)]
    parts = [*(p[1] for p in profiles if p[0] == profile), terms]
    relx = [t for part in parts for section in values_of(part, "relx") for t in tuples(section)]
    named = [t for t in relx if t[0] == "release" and isinstance(t[1], Tuple) and len(t[1]) > 1]
    found: dict[str, Release] = {}
    for t in named:
        name, version = t[1][:2]
        # Measured (rebar3 3.24): of other names relx makes a crash, or a folder of releases somewhere else.
        if not isinstance(name, Atom) or not re.fullmatch(r"[^/]*[^/.][^/]*", name) or not name.isprintable():
            what = f"rebar.config:{t.line} has a release with the name {format_term(name)}"
            raise failure(what, "a name is an atom: {release, {shop, ...")
        found.setdefault(str(name), Release(str(name), version, t.line))
    default = next((t[1] for t in relx if t[0] == "default_release" and t[1]), "")
    default = default[0] if isinstance(default, Tuple) else default
    lines = [next((t.line for t in tuples(terms) if t[0] == key), 0) for key in ("profiles", "relx")]
    return Rebar(tuple(found.values()), str(default), tuple(str(p[0]) for p in profiles), scripted, has_runtime(terms, "default"), *lines)


def has_runtime(terms: Any, profile: str) -> bool:
    """Does relx put the Erlang runtime into the release? Measured (rebar3 3.24): the last option counts; where the profile has
    a relx too, all are sorted by name, so that any mode counts over the rest; and the profile prod begins with {mode, prod}."""
    own = [p[1] for section in values_of(terms, "profiles") for p in tuples(section) if p[0] == profile]
    top, mine = ([t for part in parts for section in values_of(part, "relx") for t in tuples(section)] for parts in ([terms], own))
    found = profile == "prod"
    for t in sorted([*top, *mine], key=lambda t: str(t[0])) if mine else top:
        if t[0] in ("mode", "include_erts"):
            found = t[1] == "prod" if t[0] == "mode" else t[1] != "false"
        elif t[0] == "dev_mode" and t[1] == "true":
            found = False
    return found


def name_of(dependency: Any) -> str:
    """The name in an entry of deps or of rebar.lock."""
    name = dependency[0] if isinstance(dependency, Tuple) and dependency else dependency
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)


def locked_names(lock: str) -> frozenset[str]:
    """The dependencies that a rebar.lock pins; none where it can't be read."""
    try:
        terms = read_terms(lock)
    except ValueError:
        return frozenset()
    first = terms[0] if terms else []
    pinned = first[1] if isinstance(first, Tuple) and len(first) == 2 else first
    return frozenset(map(name_of, pinned)) if isinstance(pinned, list) else frozenset()


def where_to_add(key: str, entry: str, line: int) -> tuple[str, str]:
    """Where to paste an entry of a list in rebar.config, and what. Of a second {profiles, ...} or {relx, ...} rebar3 would forget the
    other's entries in silence. line: where the first stands, or 0."""
    return (f" at rebar.config:{line}, inside its {key}", entry) if line else ("", f"{{{key}, [{entry}]}}.")


# No option of the top level undoes it.
PROD_RELX = "{relx, [{mode, prod}]}"


def choose_release(rebar: Rebar, wanted: str, profile: str) -> Release:
    """The release to build; an error where rebar.config leaves a choice, or has none."""
    if rebar.releases and not rebar.scripted and profile not in (*rebar.profiles, "default"):
        instead = "`profile: default` in invoke.yaml: its relx has the runtime already" if rebar.runtime else ""
        where, paste = where_to_add("profiles", f"{{{profile}, [{PROD_RELX}]}}", rebar.profiles_line)
        hint = instead or f"add{where} {paste} or set `profile:` in invoke.yaml"
        raise failure(f"rebar.config has no profile {profile}", did_you_mean(profile, rebar.profiles) + hint)
    names = [r.name for r in rebar.releases]
    wanted = wanted or rebar.default
    if wanted:
        chosen = [r for r in rebar.releases if r.name == wanted]
        if not chosen and not rebar.scripted:
            raise failure(f"rebar.config has no release {wanted}", f"it has {', '.join(names)}" if names else "")
        return chosen[0] if chosen else Release(wanted, "", 0)
    if not names:
        where, paste = where_to_add("relx", "{release, {NAME, {git, long}}, [APPLICATION]}", rebar.relx_line)
        raise failure("rebar.config has no release", f"add{where} {paste} or, where a script adds it, set `release:` in invoke.yaml")
    if len(names) > 1:
        raise failure(
            f"rebar.config:{rebar.releases[0].line} has {len(names)} releases, {', '.join(names[:-1])} and {names[-1]}",
            f"choose one: invoke build --release {names[0]}, or `release: {names[0]}` under `{KEY}:` in invoke.yaml",
        )
    return rebar.releases[0]
