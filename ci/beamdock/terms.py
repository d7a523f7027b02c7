"""beamdock 0.1.0: Erlang terms as values: written in one form, and looked into. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any


class Atom(str):
    """An Erlang atom; strings are str, binaries bytes, tuples Tuple, lists list, maps dict, the rest Opaque."""


class Tuple(tuple):  # type: ignore[type-arg]
    """An Erlang tuple that knows the line it begins on."""

    line = 0


@dataclass(frozen=True)
class Opaque:
    """A term that Python has no type for, as write_term writes it: a fun, a binary with sizes or types, an improper list, a map
    with other keys than atoms, binaries and integers."""

    text: str

    def __str__(self) -> str:
        return self.text


class Segment(str):
    """A part of a binary that has a size or a type, as it is written."""


# Erlang's reserved words (its reference manual, 1.5): as atoms they stand in quotes.
RESERVED = frozenset(
    "after and andalso band begin bnot bor bsl bsr bxor case catch cond div else end fun if let maybe not of or orelse receive rem try "
    "when xor".split()
)
PLAIN, PRINTABLE = re.compile(r"[a-z][\w@]*", re.ASCII), re.compile(rb"[ -~]+")


def write_term(term: Any) -> str:
    """Write a term in the one form that all its spellings share. Raises ValueError for a number of more digits than Python writes."""
    if isinstance(term, Atom):
        bare = PLAIN.fullmatch(term) and term not in RESERVED
        return term if bare else "'" + re.sub(r"([\\'])", r"\\\1", term) + "'"
    if isinstance(term, str):
        return '"' + re.sub(r'([\\"])', r"\\\1", term) + '"'
    if isinstance(term, bytes):
        return f"<<{write_term(term.decode())}>>" if PRINTABLE.fullmatch(term) else f"<<{','.join(map(str, term))}>>"
    if isinstance(term, dict):
        pairs = sorted(f"{write_term(key)}=>{write_term(value)}" for key, value in term.items())
        return f"#{{{','.join(pairs)}}}"
    if isinstance(term, (tuple, list)):
        inside = ",".join(map(write_term, term))
        return f"{{{inside}}}" if isinstance(term, tuple) else f"[{inside}]"
    if isinstance(term, Opaque):
        return term.text
    return re.sub(r"^(-?\d+)e", r"\1.0e", repr(term))  # Erlang has no 1e+22


def format_term(term: Any) -> str:
    """Write a term for people, as it may stand in rebar.config: {git, long}."""
    if isinstance(term, (Tuple, list)):
        inside = ", ".join(map(format_term, term))
        return f"{{{inside}}}" if isinstance(term, Tuple) else f"[{inside}]"
    return str(term) if isinstance(term, Atom) else json.dumps(term, ensure_ascii=False) if isinstance(term, str) else write_term(term)


def values_of(terms: Any, key: str) -> list[Any]:
    """Return the value of each {key, Value} in a list of terms."""
    return [t[1] for t in tuples(terms) if t[0] == key]


def tuples(terms: Any) -> list[Tuple]:
    """Return the tuples of two elements or more that begin with an atom; none where `terms` is no list."""
    return [t for t in terms if isinstance(t, Tuple) and len(t) > 1 and isinstance(t[0], Atom)] if isinstance(terms, list) else []


def as_list(items: list[Any]) -> Any:
    """Return what [a, b | last] is: a list where the last is one."""
    *first, tail = items
    if isinstance(tail, list) or type(tail) is str:
        return first + [ord(c) if isinstance(c, str) and type(tail) is str else c for c in tail]
    return Opaque(f"[{','.join(map(write_term, first))}|{write_term(tail)}]")


def as_map(items: list[Any]) -> Any:
    """Return the map of keys and values by turns. The last value of a key counts."""
    # Python takes an atom and a string, and 1 and 1.0, for one key.
    found = {write_term(key): (key, value) for key, value in zip(items[::2], items[1::2])}
    if all(type(key) in (Atom, bytes, int) for key, _ in found.values()):
        return dict(found.values())
    return Opaque("#{" + ",".join(f"{key}=>{write_term(value)}" for key, (_, value) in sorted(found.items())) + "}")


def as_binary(items: list[Any]) -> Any:
    """Return the binary of strings, integers and segments. A character and an integer give eight bits each."""
    parts = [i if isinstance(i, Segment) else bytes(ord(c) & 255 for c in i) if isinstance(i, str) else bytes([i & 255]) for i in items]
    plain = [part for part in parts if isinstance(part, bytes)]
    if len(plain) == len(parts):
        return b"".join(plain)
    return Opaque(f"<<{','.join(part if isinstance(part, str) else write_term(part)[2:-2] for part in parts if part)}>>")
