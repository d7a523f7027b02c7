#!/usr/bin/env python3
# /// script
# requires-python = ">=3.9"
# dependencies = ["invoke>=3.0.3,<4", "python-on-whales>=0.81.0,<1", "pyyaml>=6"]
# ///
"""beamdock 0.1.0: build an Erlang release into a container image, push it, run it, and talk to its node.

A file to copy into a repo, with the Dockerfile and the .dockerignore beside it. SPDX-License-Identifier: Apache-2.0
To upgrade: replace it by a newer one; settings live in invoke.yaml, under `beamdock:`.

Read from top to bottom: settings, the Erlang terms of rebar.config, git, tags, plans, docker, tasks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import fcntl
import hashlib
import importlib.util
import inspect
import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import threading
import time
import tty
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional, TypeVar

import yaml
from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import Task, task

KEY = "beamdock"
# The oldest buildx that the tests run on (Engine 26.1, Debian trixie); named contexts and heredocs came in 0.8.
LEAST_BUILDX = (0, 13)
PROJECT_LABEL = "beamdock.project"
REVISION_LABEL = "org.opencontainers.image.revision"
DEPS_LABEL = "beamdock.deps"


def failure(error: str, hint: str = "", code: int = 2) -> Exit:
    """The one way to fail. code: 2 for wrong use or a missing tool, 1 where the world failed."""
    return Exit(f"error: {error}" + (f"\nhint: {hint}" if hint else ""), code=code)


def say(text: str, quiet: bool = False) -> None:
    """A line for a person, on stderr: stdout is for results."""
    if not quiet:
        print(text, file=sys.stderr, flush=True)


def did_you_mean(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, 1)
    return f"did you mean `{near[0]}`? " if near else ""


# ---------------------------------------------------------------------------------------------------------- settings


def setting(default: Any, about: str, form: str = "", example: str = "") -> Any:
    """A field of Settings. form: a regular expression for the value, where it has one; example: what fits it."""
    metadata = {"help": about, "form": form, "example": example}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


# A name's path in a registry, and a registry with or without one: the OCI distribution specification, <name>.
PATH = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
REGISTRY = rf"[A-Za-z0-9.-]+(:\d+)?(/{PATH})*"


@dataclass(frozen=True)
class Settings:
    """What invoke.yaml may say under `beamdock:`. Scalars can be overridden by INVOKE_BEAMDOCK_NAME."""

    registry: str = setting("", "where images are pushed", REGISTRY, "ghcr.io/acme")
    image: str = setting("", "the image's name (default: the release's)", rf"{PATH}(/{PATH})*", "shop/orders")
    release: str = setting("", "which release (default: the one in rebar.config)")
    version: str = setting("", "the release's version, as Erlang writes it: {git, long} (default: what rebar.config says)")
    profile: str = setting("prod", "the rebar3 profile to release")
    dockerfile: str = setting("Dockerfile", "the Dockerfile, from the project's folder")
    build_base: str = setting("", "the builder's base image (default: the Dockerfile's BUILD_BASE)")
    run_base: str = setting("", "the runner's base image (default: the Dockerfile's RUN_BASE)")
    build_packages: list[str] = setting([], "Debian packages that the build needs")
    runtime_packages: list[str] = setting([], "Debian packages that the running release needs")
    build_env: dict[str, str] = setting({}, "environment of the build: {ERL_COMPILER_OPTIONS: ...}")
    prebuild: str = setting("", "a shell command to run before rebar3, in the project's folder")
    rebar3: str = setting("", "a rebar3 of the repo's own, ./rebar3 for example (default: the base image's)")
    dependency_files: list[str] = setting([], "files that rebar.config.script reads, where they decide the dependencies; patterns")
    debian_mirror: str = setting("", "where packages come from, instead of deb.debian.org/debian")
    certificate_authority: str = setting("", "a file with a company's own certificate authority, PEM")
    build_args: dict[str, str] = setting({}, "more build arguments for the Dockerfile")
    incremental: str = setting(
        "desk", "compile on top of the last build's files: desk (not where CI is set), always, never", "desk|always|never", "never"
    )
    cache: str = setting(
        "deps",
        "what travels between machines: deps, registry, local, none, or buildx's words",
        "deps|registry|local|none|type=.+",
        "type=gha",
    )
    default_branch: str = setting("main", "the branch whose caches a new branch begins with")
    platform: str = setting("", "the platform to build for (default: this machine's)", r"\w+/\w+(/\w+)?", "linux/arm64")
    network: str = setting("", "the network of build steps: host, none (default: the builder's)")
    hex_mirror: str = setting("", "where Hex packages come from, instead of repo.hex.pm (default: HEX_CDN, HEX_MIRROR)")
    ssh: str = setting("", "the SSH agent or keys for private dependencies: default, or default=FILE,FILE")
    known_hosts: str = setting("", "a file with the host keys of private git servers")
    git_rewrites: dict[str, str] = setting({}, "git addresses to replace: {https://github.com/acme/: git@github.com:acme/}")
    secrets: list[str] = setting([], "secrets for private dependencies: id=netrc,src=FILE or id=netrc,env=VARIABLE")
    provenance: bool = setting(False, "attach BuildKit's provenance (makes the tag an index, which some platforms reject)")
    writable: list[str] = setting([], "folders that the release writes into: log, /var/log/shop; relative ones are in its own")
    nofile: int = setting(16384, "open files allowed in `run`: without a limit the BEAM takes gigabytes at start")


FIELDS = {f.name: f for f in dataclasses.fields(Settings)}


def take_environment(environ: Any) -> dict[str, str]:
    """Take our INVOKE_BEAMDOCK_* out of the environment, before Invoke casts them: its `false` is true, a list raises."""
    prefix = f"INVOKE_{KEY.upper()}_"
    return {n[len(prefix) :].lower(): environ.pop(n) for n in list(environ) if n.startswith(prefix)}


# Each type of a setting: what it is in YAML, and how to say so.
SHAPES: dict[Any, tuple[type, str]] = {
    "str": (str, "text"),
    "bool": (bool, "true or false"),
    "int": (int, "a whole number"),
    "list[str]": (list, "a list of texts: [a, b]"),
    "dict[str, str]": (dict, "a table of texts: {NAME: value}"),
}


def check(name: str, value: Any, where: str) -> Any:
    """A setting's value, if it has the setting's type; an error that names it where it has not, or where there is no such setting."""
    if name not in FIELDS:
        raise failure(f"unknown setting `{name}` ({where})", f"{did_you_mean(name, list(FIELDS))}`invoke config` lists them all")
    shape, form = SHAPES[FIELDS[name].type]
    inner = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
    if type(value) is shape and all(isinstance(x, str) for x in inner):
        pattern, example = FIELDS[name].metadata["form"], FIELDS[name].metadata["example"]
        if value and pattern and not re.fullmatch(str(pattern), str(value)):
            raise failure(f"`{name}` is {value!r}, which can't be one ({where})", f"{example} is one")
        return value
    hint = f'put it in quotes: {name}: "{value}"' if shape is str and isinstance(value, (int, float)) else ""
    raise failure(f"`{name}` is {value!r}, and should be {form} ({where})", hint)


def resolve(configured: Mapping[str, Any], environment: Mapping[str, str], lines: Mapping[str, str]) -> tuple[Settings, dict[str, str]]:
    """Settings from what Invoke read of the files, and the environment over it; and where each came from. lines: setting -> file:line."""
    given = {name: (value, lines.get(name, "Invoke's configuration")) for name, value in configured.items()}
    for name, text in environment.items():
        value: Any = text
        if name not in FIELDS or FIELDS[name].type != "str":
            with contextlib.suppress(yaml.YAMLError, ValueError):
                value = yaml.safe_load(text)
        given[name] = value, f"INVOKE_{KEY.upper()}_{name.upper()}"
    checked = {
        name: (check(name, value, where), where) for name, (value, where) in given.items() if value is not None or name not in FIELDS
    }
    return Settings(**{n: v for n, (v, _) in checked.items()}), {n: where for n, (_, where) in checked.items()}


def yaml_lines(file: Path, configured: Mapping[str, Any]) -> dict[str, str]:
    """Where each of our settings stands in an invoke.yaml, if it is this file that gave the value: name -> file:line."""
    try:
        text = file.read_text(encoding="utf-8")
        top, values = yaml.compose(text), yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    ours = [v for k, v in top.value if k.value == KEY] if isinstance(top, yaml.MappingNode) else []
    pairs = ours[0].value if ours and isinstance(ours[0], yaml.MappingNode) else []
    return {k.value: f"{file.name}:{k.start_mark.line + 1}" for k, _ in pairs if configured.get(k.value) == values[KEY].get(k.value)}


# ------------------------------------------------------------------------------------------------------ Erlang terms


class Atom(str):
    """An Erlang atom; strings are str, binaries bytes, tuples Tuple, lists list, maps dict."""


class Tuple(tuple):  # type: ignore[type-arg]
    """An Erlang tuple that knows the line it begins on."""

    line = 0


class TermError(ValueError):
    """A text that is no sequence of Erlang terms; line is where reading stopped."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


TOKEN = re.compile(
    r"""(?P<space>(?:\s|%[^\n]*)+)
      | ~?[bBsS]?(?P<triple>\"\"\"[ \t]*\n(?:[^\n]*\n)*?[ \t]*\"\"\")
      | ~?[bBsS]?(?P<string>"(?:[^"\\]|\\.)*")
      | (?P<quoted>'(?:[^'\\]|\\.)*')
      | (?P<float>[+-]?\d[\d_]*\.\d+(?:[eE][+-]?\d+)?)
      | (?P<integer>[+-]?\d[\d_]*(?:\#[0-9a-zA-Z_]+)?)
      | (?P<char>\$(?:\\(?:x\{[0-9a-fA-F]+\}|x[0-9a-fA-F]{2}|[0-7]{1,3}|\^.|.)|[^\\]))
      | (?P<fun>fun\s+[\w@']+:[\w@']+/\d+)
      | (?P<atom>[a-zß-öø-ÿ][\w@]*)
      | (?P<mark><<|>>|=>|\#\{|[\[\](){},./])""",
    re.VERBOSE | re.DOTALL,
)
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "s": " ", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b", "d": "\x7f"}


def unescape(text: str) -> str:
    """A quoted text without its backslashes."""

    def one(match: re.Match[str]) -> str:
        code = match[1]
        if code[0] == "x":
            return chr(int(code.strip("x{}"), 16))
        if code[0] == "^":
            return chr(ord(code[1]) & 31)
        return chr(int(code, 8)) if code[0] in "01234567" else ESCAPES.get(code, code)

    return re.sub(r"\\(x\{[0-9a-fA-F]+\}|x[0-9a-fA-F]{2}|[0-7]{1,3}|\^.|.)", one, text, flags=re.DOTALL)


class Reader:
    """Erlang terms out of a text, as file:consult/1 reads them (erl_scan and erl_parse:parse_term of OTP 27)."""

    def __init__(self, text: str) -> None:
        text = text.replace("\r\n", "\n").lstrip("\ufeff")
        self.tokens: list[tuple[str, str, int]] = []
        at, line = 0, 1
        while at < len(text):
            match = TOKEN.match(text, at)
            if not match or not match.lastgroup:
                raise TermError(line, f"{text[at : at + 20].split()[0]} is no Erlang term")
            if match.lastgroup != "space":
                self.tokens.append((match.lastgroup, match[match.lastgroup], line))
            at, line = match.end(), line + match[0].count("\n")
        self.tokens.append(("end", "the end of the file", line))
        self.tokens.reverse()

    def take(self, word: str = "") -> tuple[str, str, int]:
        """The next token; with a word, that one or an error."""
        kind, found, line = self.tokens[-1]
        if (word and (kind, found) != ("mark", word)) or (kind == "end" and not word):
            raise TermError(line, f"{word or 'a term'} is missing before {found}")
        return self.tokens.pop()

    def sees(self, *words: str) -> bool:
        return self.tokens[-1][0] == "mark" and self.tokens[-1][1] in words

    def terms(self) -> list[Any]:
        found = []
        while self.tokens[-1][0] != "end":
            found.append(self.term())
            self.take(".")
        return found

    def sequence(self, close: str, item: Callable[[], Any]) -> list[Any]:
        found: list[Any] = []
        while not self.sees(close):
            if found:
                self.take(",")
            found.append(item())
        self.take(close)
        return found

    def pair(self) -> tuple[Any, Any]:
        key = self.term()
        self.take("=>")
        return key if isinstance(key, (str, int, bytes)) else repr(key), self.term()

    def segment(self) -> bytes:
        value = self.term()
        if self.sees("/"):
            self.take()
            self.take()
        return value.encode() if isinstance(value, str) else bytes([value & 255])

    def strings(self) -> str:
        """Strings that stand side by side are one; a triple-quoted one has no indentation and no last newline."""
        text = ""
        while self.tokens[-1][0] in ("string", "triple"):
            kind, word, _ = self.take()
            lines = word.split("\n")
            indent = len(lines[-1]) - 3
            text += unescape(word[1:-1]) if kind == "string" else "\n".join(x[indent:] for x in lines[1:-1])
        return text

    def term(self) -> Any:
        if self.tokens[-1][0] in ("string", "triple"):
            return self.strings()
        kind, word, line = self.take()
        if kind in ("atom", "fun", "quoted"):
            return Atom(unescape(word[1:-1]) if kind == "quoted" else word)
        if kind == "integer":
            base, based, digits = word.partition("#")
            return (-1 if base[0] == "-" else 1) * int(digits, abs(int(base))) if based else int(word)
        if kind == "float":
            return float(word)
        if kind == "char":
            return ord(unescape(word[1:]))
        if word == "{":
            items = Tuple(self.sequence("}", self.term))
            items.line = line
            return items
        if word == "[":
            return self.sequence("]", self.term)
        if word == "#{":
            return dict(self.sequence("}", self.pair))
        if word == "<<":
            return b"".join(self.sequence(">>", self.segment))
        raise TermError(line, f"{word} where a term should begin")


def read_terms(text: str) -> list[Any]:
    """The terms of a rebar.config, or TermError."""
    reader = Reader(text)
    try:
        return reader.terms()
    except TermError:
        raise
    except (ArithmeticError, RecursionError, TypeError, ValueError) as error:
        raise TermError(reader.tokens[-1][2], str(error)) from None


# ------------------------------------------------------------------------------------------------- the rebar3 project


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


def entries(terms: Any, key: str) -> list[Any]:
    """The values of {key, Value} in a list of terms."""
    return [t[1] for t in tuples(terms) if t[0] == key]


def tuples(terms: Any) -> list[Tuple]:
    """The tuples of two or more in a list of terms; none where it is no list."""
    return [t for t in terms if isinstance(t, Tuple) and len(t) > 1] if isinstance(terms, list) else []


def rebar_facts(text: str, profile: str, scripted: bool) -> Rebar:
    """Read a rebar.config. What a profile's relx says counts over the top level's, as rebar3 merges them."""
    terms = read_terms(text)
    profiles = [p for section in entries(terms, "profiles") for p in tuples(section)]
    parts = [*(p[1] for p in profiles if p[0] == profile), terms]
    relx = [t for part in parts for section in entries(part, "relx") for t in tuples(section)]
    named = [t for t in relx if t[0] == "release" and isinstance(t[1], Tuple) and len(t[1]) > 1]
    found: dict[str, Release] = {}
    for t in named:
        found.setdefault(str(t[1][0]), Release(str(t[1][0]), t[1][1], t.line))
    default = next((t[1] for t in relx if t[0] == "default_release" and t[1]), "")
    name = default[0] if isinstance(default, Tuple) else default
    return Rebar(tuple(found.values()), str(name), tuple(str(p[0]) for p in profiles), scripted, has_runtime(terms, "default"))


def has_runtime(terms: Any, profile: str) -> bool:
    """Does relx put the Erlang runtime into the release? Measured (rebar3 3.24): the last option counts; where the profile has
    a relx too, all are sorted by name, so that any mode counts over the rest; and the profile prod begins with {mode, prod}."""
    own = [p[1] for section in entries(terms, "profiles") for p in tuples(section) if p[0] == profile]
    top, mine = ([t for part in parts for section in entries(part, "relx") for t in tuples(section)] for parts in ([terms], own))
    found = profile == "prod"
    for t in sorted([*top, *mine], key=lambda t: str(t[0])) if mine else top:
        if t[0] in ("mode", "include_erts"):
            found = t[1] == "prod" if t[0] == "mode" else t[1] != "false"
        elif t[0] == "dev_mode" and t[1] == "true":
            found = False
    return found


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
# Erlang's reserved words (its reference manual, 1.5): as atoms they stand in quotes.
RESERVED = frozenset(
    "after and andalso band begin bnot bor bsl bsr bxor case catch cond div else end fun if let maybe not of or orelse receive rem try "
    "when xor".split()
)


def write_term(term: Any) -> str:
    """A term in the one form that all its spellings share; ValueError for one that would not be read back the same."""
    if isinstance(term, Atom):
        if term.startswith("fun "):
            raise ValueError(term)
        bare = re.fullmatch(r"[a-z][\w@]*", term, re.ASCII) and term not in RESERVED
        return term if bare else "'" + re.sub(r"([\\'])", r"\\\1", term) + "'"
    if isinstance(term, str):
        return '"' + re.sub(r'([\\"])', r"\\\1", term) + '"'
    if isinstance(term, bytes):
        return '<<"' + re.sub(r'([\\"])', r"\\\1", term.decode("ascii")) + '">>'
    if isinstance(term, dict):
        if any(type(key) not in (Atom, bytes) for key in term):  # the reader has but a likeness of other keys
            raise ValueError("a map")
        pairs = sorted(f"{write_term(key)}=>{write_term(value)}" for key, value in term.items())
        return f"#{{{','.join(pairs)}}}"
    if isinstance(term, (tuple, list)):
        inside = ",".join(map(write_term, term))
        return f"{{{inside}}}" if isinstance(term, tuple) else f"[{inside}]"
    return re.sub(r"^(-?\d+)e", r"\1.0e", repr(term))  # Erlang has no 1e+22


def reduce_config(text: str, profile: str, without: frozenset[str] = NOT_OF_DEPENDENCIES, locked: frozenset[str] = frozenset()) -> str:
    """A rebar.config without what does not concern dependencies, and without its layout; as it is where that is not safe.
    locked: dependencies to leave out too, but for the profile's: of them rebar3 takes what it finds, whatever the lock says."""

    def kept(terms: list[Any], locked: frozenset[str] = frozenset()) -> list[Any]:
        found = [t for t in terms if not (isinstance(t, Tuple) and t and t[0] in without)]
        return [Tuple((t[0], [d for d in t[1] if name_of(d) not in locked])) if is_deps(t) else t for t in found]

    def is_deps(term: Any) -> bool:
        return isinstance(term, Tuple) and len(term) == 2 and term[0] == "deps" and isinstance(term[1], list)

    if "latin-1" in text.lower() and not text.isascii():
        return text  # a comment may say so, and is needed to read it
    try:
        terms = kept(read_terms(text), locked)
        for i, t in enumerate(terms):
            if isinstance(t, Tuple) and len(t) == 2 and t[0] == "profiles":
                terms[i] = Tuple((t[0], [Tuple((p[0], kept(p[1]))) for p in tuples(t[1]) if p[0] == profile]))
        return "".join(f"{write_term(t)}.\n" for t in terms)
    except ValueError:
        return text


def with_deps_of(applications: Iterable[str], own: set[str], text: str) -> str:
    """A rebar.config with the dependencies of applications beside its own, as rebar3 takes them together (the first of a name counts);
    own: the names of all applications, which are no dependencies. As it is where that is not safe, or where there are none."""
    try:
        terms, more = read_terms(text), [d for each in applications for deps in entries(read_terms(each), "deps") for d in deps]
        mine = next((t for t in terms if isinstance(t, Tuple) and len(t) == 2 and t[0] == "deps"), Tuple((Atom("deps"), [])))
        named = own | {name_of(d) for d in mine[1]}
        deps = [*mine[1], *(d for d in more if name_of(d) not in named)]
        if len(deps) == len(mine[1]):
            return text
        return "".join(f"{write_term(t)}.\n" for t in [*(t for t in terms if t is not mine), Tuple((mine[0], deps))])
    except (TypeError, ValueError):
        return text


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


# No option of the top level undoes it.
PROD_RELX = "{relx, [{mode, prod}]}"


def choose_release(rebar: Rebar, wanted: str, profile: str) -> Release:
    """The release to build; an error where rebar.config leaves a choice, or has none."""
    if rebar.releases and not rebar.scripted and profile not in (*rebar.profiles, "default"):
        instead = "`profile: default` in invoke.yaml: its relx has the runtime already" if rebar.runtime else ""
        hint = instead or f"add {{profiles, [{{{profile}, [{PROD_RELX}]}}]}}. or set `profile:` in invoke.yaml"
        raise failure(f"rebar.config has no profile {profile}", did_you_mean(profile, rebar.profiles) + hint)
    names = [r.name for r in rebar.releases]
    wanted = wanted or rebar.default
    if wanted:
        chosen = [r for r in rebar.releases if r.name == wanted]
        if not chosen and not rebar.scripted:
            raise failure(f"rebar.config has no release {wanted}", f"it has {', '.join(names)}" if names else "")
        return chosen[0] if chosen else Release(wanted, "", 0)
    if not names:
        raise failure(
            "rebar.config has no release",
            "add {relx, [{release, {NAME, {git, long}}, [APPLICATION]}]}. or, where a script adds it, set `release:` in invoke.yaml",
        )
    if len(names) > 1:
        raise failure(
            f"rebar.config:{rebar.releases[0].line} has {len(names)} releases, {', '.join(names[:-1])} and {names[-1]}",
            f"choose one: invoke build --release {names[0]}, or `release: {names[0]}` under `{KEY}:` in invoke.yaml",
        )
    return rebar.releases[0]


def erlang(term: Any) -> str:
    """A version's term as Erlang writes it, for people."""
    if isinstance(term, Tuple):
        return "{" + ", ".join(erlang(t) for t in term) + "}"
    return str(term) if isinstance(term, Atom) else json.dumps(term, ensure_ascii=False) if isinstance(term, str) else str(term)


# --------------------------------------------------------------------------------------------------------------- git


@dataclass(frozen=True)
class Tree:
    """The work tree: the commit's full hash, the branch ('' on a detached HEAD), the paths that differ from the commit."""

    commit: str
    branch: str
    dirty: tuple[str, ...]


def git(root: Path, *args: str, stdin: Optional[bytes] = None) -> bytes:
    """git's output. Optional locks are off, so that looking never rewrites the index."""
    # A hook's GIT_DIR would lead elsewhere; git's words are read below.
    env = {**{n: v for n, v in os.environ.items() if n not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")}, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(root), *args], input=stdin, capture_output=True, env=env, check=False
        )
    except FileNotFoundError:
        raise failure("git is not installed", "apt-get install git, brew install git") from None
    if done.returncode == 0:
        return done.stdout
    said = done.stderr.decode(errors="replace").strip()
    if "dubious ownership" in said:
        raise failure(
            f"git does not trust {root}, which belongs to another user",
            f"git config --global --add safe.directory {shlex.quote(str(root))}",
        )
    if "not a git repository" in said:
        raise failure(f"{root} is in no git repository", "images are tagged with the commit: git init, git add, git commit")
    raise failure(f"git {args[0]}: {said.splitlines()[-1] if said else 'failed'}", code=1)


def parse_status(output: bytes) -> Tree:
    """`git status --porcelain=v2 --branch -z`, see git-status(1)."""
    commit, branch, dirty = "", "", []
    records = iter(output.decode(errors="surrogateescape").split("\0"))
    for record in records:
        if record.startswith("# branch.oid "):
            commit = record.split(" ", 2)[2]
        elif record.startswith("# branch.head "):
            branch = record.split(" ", 2)[2]
        elif record[:2] in ("1 ", "u ", "2 "):
            dirty.append(record.split(" ", {"1": 8, "2": 9, "u": 10}[record[0]])[-1])
            if record[0] == "2":
                next(records)  # where it was renamed from
        elif record[:2] == "? ":
            dirty.append(record[2:])
    return Tree(commit, "" if branch == "(detached)" else branch, tuple(dirty))


def look_at(root: Path) -> Tree:
    tree = parse_status(git(root, "status", "--porcelain=v2", "--branch", "--untracked-files=normal", "-z", "--", "."))
    if tree.commit == "(initial)":
        raise failure("the repository has no commit yet", "images are tagged with the commit: git add, git commit")
    return tree


# What a git command may ask that commits and tags alone can't answer.
NEEDS_TREES = re.compile(r"--dirty|--broken|--abbrev-ref|git\s+(-\S+\s+)*(status|diff|ls-files|branch|symbolic-ref|diff-index)|\s--\s+\S")


def history_needed(version: Any, scripted: bool, sources: Sequence[str]) -> str:
    """What the versions read of the history: none, the commit's long or short name, or all (ancestors and tags).
    sources: of .app.src files."""
    form = erlang(version) if not isinstance(version, str) or isinstance(version, Atom) else ""
    inside = "\n".join(re.findall(r"\{\s*vsn\s*,\s*(?:git|semver|\{\s*(?:git|cmd)\b[^\n]*)", "\n".join(sources)))
    if asks := NEEDS_TREES.search(f"{form if form.startswith('{cmd') else ''}\n{inside}"):
        command = next(t for t in (form, *inside.splitlines()) if asks[0] in t)
        raise failure(
            f"the version asks git for more than commits and tags: {command}",
            "the build has no trees and no branch: git describe --tags, say",
        )
    if scripted or inside or re.match(r"git|semver|\{cmd|\{git, (?!long|short)", form):
        return "all"
    return form.strip("{}").partition(", ")[2] if form.startswith("{git") else "none"


def git_context(root: Path, need: str) -> dict[str, bytes]:
    """A git folder with what the version reads and nothing else, the same bytes on every machine: path -> content.

    No trees and no blobs; one pack made with the settings that do not depend on the repository's own packs (measured:
    the same after gc, repack, new branches, a stash, and in another clone). `core.abbrev` is the host's own length.
    """
    if need == "none":
        return {}
    head = git(root, "rev-parse", "HEAD").decode().strip()
    sha256 = len(head) == 64
    config = f"[core]\n\trepositoryformatversion = {int(sha256)}\n\tbare = false\n"
    config += "[extensions]\n\tobjectformat = sha256\n" if sha256 else ""
    if need != "long":
        config += f"[core]\n\tabbrev = {len(git(root, 'rev-parse', '--short', 'HEAD').strip())}\n"
    files = {"HEAD": f"{head}\n".encode(), "config": config.encode(), "refs/heads/.keep": b"", "objects/info/.keep": b""}
    if need in ("long", "short"):
        names, files["shallow"] = {head}, f"{head}\n".encode()
    else:
        if git(root, "rev-parse", "--is-shallow-repository").strip() == b"true":
            raise failure("the version needs history that this shallow clone lacks", "git fetch --unshallow --tags")
        tags, names = tags_of(root)
        files["packed-refs"] = b"# pack-refs with: peeled fully-peeled sorted \n" + tags
        names |= set(git(root, "rev-list", "HEAD").decode().split())
    with tempfile.TemporaryDirectory() as folder:
        fixed = ["-c", "pack.threads=1", "-c", "pack.writeReverseIndex=false", "-c", "pack.indexVersion=2"]
        options = ["--window=0", "--depth=0", "--compression=0", "--no-reuse-delta", "--no-reuse-object", "--quiet"]
        git(root, *fixed, "pack-objects", *options, f"{folder}/pack", stdin="".join(f"{n}\n" for n in sorted(names)).encode())
        for file in Path(folder).iterdir():
            files[f"objects/pack/{file.name}"] = file.read_bytes()
    return files


def tags_of(root: Path) -> tuple[bytes, set[str]]:
    """The tags that HEAD reaches, as git's packed-refs has them, and the names of their objects."""
    lines, names = b"", set()
    form = "--format=%(objectname) %(refname) %(object) %(type)"
    for line in git(root, "for-each-ref", "--merged", "HEAD", "--sort=refname", form, "refs/tags").splitlines():
        name, reference, target, kind = line.split(b" ")
        names.add(name.decode())
        while kind == b"tag":  # a tag of a tag
            names.add(target.decode())
            target, kind = (word.split(b" ")[1] for word in git(root, "cat-file", "tag", target.decode()).splitlines()[:2])
        lines += name + b" " + reference + b"\n" + (b"^" + target + b"\n" if target else b"")
    return lines, names


def dependency_files(root: Path, settings: Settings) -> dict[str, bytes]:
    """What decides the dependencies: path -> content. Checkouts are dependencies that are there."""
    patterns = ["rebar.config", "rebar.config.script", "rebar.lock", "*/*/rebar.config", "*/*/rebar.config.script"]
    found = [f for p in patterns for f in root.glob(p) if f.relative_to(root).parts[0] not in ("_build", "_checkouts")]
    found += [f for f in root.glob("_checkouts/**/*") if not {"_build", ".git"} & set(f.relative_to(root).parts)]
    for pattern in [*settings.dependency_files, *([settings.rebar3] if "/" in settings.rebar3 else [])]:
        named = [f for f in root.glob(pattern) if f.is_file()]
        if not named:
            raise failure(f"{pattern} does not exist, and is named under `{KEY}:` in invoke.yaml")
        found += named
    files = {f.relative_to(root).as_posix(): f.read_bytes() for f in found if f.is_file()}
    scripted = any(name.endswith(".script") for name in files)
    if "rebar.lock" not in files and "rebar.config" in files and not scripted:
        own = {f.name.partition(".")[0] for f in root.glob("*/*/src/*.app.src")}
        texts = [f.read_text(errors="replace") for pattern in OF_APPLICATIONS for f in sorted(root.glob(pattern))]
        files["rebar.config"] = with_deps_of(texts, own, files["rebar.config"].decode(errors="surrogateescape")).encode(
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


def write_context(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make a folder hold exactly these files. Contents and modes are in the cache key, times are not; and so modes go by the
    contents, whatever they are on this machine: scripts (of checkouts) can be executed."""
    modes = {name: 0o755 if content.startswith(b"#!") else 0o644 for name, content in files.items()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        there = {f.relative_to(folder).as_posix(): (f.read_bytes(), f.stat().st_mode & 0o777) for f in folder.rglob("*") if f.is_file()}
        if there == {name: (content, modes[name]) for name, content in files.items()}:
            return
        fresh = Path(tempfile.mkdtemp(dir=folder.parent))
        for name, content in files.items():
            target = fresh / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        for path in [fresh, *fresh.rglob("*")]:
            path.chmod(modes.get(path.relative_to(fresh).as_posix(), 0o755))
        if folder.exists():
            folder.replace(fresh.with_suffix(".old"))
        fresh.replace(folder)
        shutil.rmtree(fresh.with_suffix(".old"), ignore_errors=True)


# ----------------------------------------------------------------------------------------------- private dependencies

# Not a build context, though written as one: its files are mounted as secrets, which are in no layer and no cache key. They
# say how dependencies are reached, and not which.
ACCESS = "access"


def git_rules(rewrites: Mapping[str, str]) -> dict[str, bytes]:
    """The git configuration that replaces the beginnings of addresses: git-config(1), url.BASE.insteadOf."""
    rules = "".join(f"[url {json.dumps(base)}]\n\tinsteadOf = {json.dumps(begins)}\n" for begins, base in rewrites.items())
    return {"gitconfig": rules.encode()} if rules else {}


def secrets_for(project: Project, given: Sequence[str], deps: Mapping[str, bytes], environ: Mapping[str, str]) -> tuple[str, ...]:
    """The secrets that were asked for, then those that private dependencies need, as far as they are there and not among the first.
    deps: the files that decide the dependencies."""
    settings, found = project.settings, {}
    configs = [text for name, text in deps.items() if Path(name).name in ("rebar.config", "rebar.config.script")]
    # rebar_hex_repos:auth_config_file/1. A file that may hold keys to publish with goes only where repositories are named.
    hex_config = Path(environ.get("REBAR_GLOBAL_CONFIG_DIR") or Path.home(), ".config", "rebar3", "hex.config")
    if any(b"repos" in text for text in configs):
        if environ.get("HEX_CONFIG"):
            found["hex.config"] = "env=HEX_CONFIG"
        elif hex_config.is_file():
            found["hex.config"] = f"src={hex_config}"
    if settings.known_hosts:
        file = existing(project, settings.known_hosts, f"`known_hosts`, {project.sources.get('known_hosts', '')}")
        found["known_hosts"] = f"src={file}"
    if settings.git_rewrites:
        found["gitconfig"] = f"src={project.context_folder / ACCESS / 'gitconfig'}"
    ids = {part[3:] for secret in given for part in secret.split(",") if part.startswith("id=")}
    at_home = (re.sub(r"(?<==)~(?=/)", lambda _: str(Path.home()), secret) for secret in given)
    return (*at_home, *(f"id={name},{where}" for name, where in found.items() if name not in ids))


def ssh_for(project: Project, given: str, environ: Mapping[str, str]) -> str:
    """What --ssh says. Where no agent runs there is nothing to say: a build whose dependencies are there needs none."""
    name, equals, files = (given or project.settings.ssh).partition("=")
    where = "--ssh" if given else f"`ssh`, {project.sources.get('ssh', '')}"
    if equals:
        return f"{name}=" + ",".join(str(existing(project, file, where)) for file in files.split(","))
    return name if Path(environ.get("SSH_AUTH_SOCK") or "no agent").exists() else ""


def existing(project: Project, name: str, where: str) -> Path:
    """A file that is named, from the project's folder or below ~; an error where it is not there."""
    file = project.root / Path(name).expanduser()
    if not file.exists():
        raise failure(f"{file} does not exist ({where})")
    return file


def refuse_passwords(settings: Settings, sources: Mapping[str, str]) -> None:
    """Addresses are seen in many places: in the image's history, in errors, in the repo."""
    addresses = {
        "hex_mirror": [settings.hex_mirror],
        "debian_mirror": [settings.debian_mirror],
        "git_rewrites": [*settings.git_rewrites, *settings.git_rewrites.values()],
    }
    for name, values in addresses.items():
        if any(re.match(r"https?://[^/]*@|\w+://[^/]*:[^/]*@", value) for value in values):
            hints = {"hex_mirror": "it belongs into hex.config", "debian_mirror": "a mirror that asks for none is needed"}
            hint = hints.get(name, "it belongs into netrc: --secret id=netrc,src=FILE")
            raise failure(f"`{name}` has a password or a token in it ({sources.get(name, 'default')})", hint)


# -------------------------------------------------------------------------------------------------------------- tags

# No branch's tag has one of these forms, whatever the branch is called; some of them are for tags that are still to come.
OTHER_FORMS = re.compile(
    r"""[0-9a-f]{40}([0-9a-f]{24})?(-.*)?                 # a commit; of a dirty tree, of a target
      | v?\d.*                                            # releases and dates
      | latest
      | (deps|pr|mr|cache|sha256)-.*                      # dependencies, pull requests, caches, signatures
      | .*-(386|amd64|arm|arm64|loong64|mips64le|ppc64le|riscv64|s390x)(-?v\d+)?""",
    re.VERBOSE | re.DOTALL,
)
ENCODED = re.compile(r".*-[0-9a-f]{16}", re.DOTALL)
VALID_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")  # the OCI distribution specification, <reference> as a tag


def branch_tag(branch: str) -> str:
    """A branch's tag: its name where that is a tag of no other form, else a readable part and 64 bits of its SHA-256."""
    if VALID_TAG.fullmatch(branch) and not OTHER_FORMS.fullmatch(branch) and not ENCODED.fullmatch(branch):
        return branch
    plain = unicodedata.normalize("NFKD", branch).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^A-Za-z0-9_.]+", "-", plain).strip("-.")[:100].rstrip("-.") or "branch"
    tag = f"{slug}-{hashlib.sha256(branch.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"
    return f"branch-{tag}" if OTHER_FORMS.fullmatch(tag) else tag


# Where a CI system that checks out a detached HEAD says which branch it is: the variable, and what must be unset or
# set with it for the name to be a branch. From each system's list of predefined variables.
CI_BRANCHES = [
    ("GITHUB_HEAD_REF", {}),
    ("GITHUB_REF_NAME", {"GITHUB_REF_TYPE": "branch"}),
    ("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", {}),
    ("CI_COMMIT_BRANCH", {}),
    ("CIRCLE_BRANCH", {}),
    ("BUILDKITE_BRANCH", {"BUILDKITE_TAG": ""}),
    ("CHANGE_BRANCH", {}),  # Jenkins, a change request of a multibranch pipeline
    ("BRANCH_NAME", {"TAG_NAME": ""}),  # Jenkins, Cloud Build
    ("GIT_BRANCH", {"TAG_NAME": ""}),  # Jenkins, a plain pipeline: origin/NAME
]


def current_branch(tree: Tree, environ: Mapping[str, str]) -> str:
    """The branch that is checked out, or that CI says it is building; '' where neither is known."""
    if tree.branch:
        return tree.branch
    for variable, conditions in CI_BRANCHES:
        if environ.get(variable) and all(environ.get(name, "") == value for name, value in conditions.items()):
            name = environ[variable]
            if variable == "GIT_BRANCH":  # of a build by commit it says `detached`
                return "" if name == "detached" else name.removeprefix("origin/")
            return name
    return ""


# ------------------------------------------------------------------------------------------------------------- plans


@dataclass(frozen=True)
class Project:
    """All that is read of the files, the settings and git, once, before anything is planned."""

    root: Path
    settings: Settings
    sources: Mapping[str, str]
    release: Release
    scripted: bool
    tree: Tree
    dockerfile: str

    @property
    def image(self) -> str:
        """The image's name in a registry, in the form that the OCI distribution specification asks for."""
        name = self.release.name.lower()
        return self.settings.image or (name if re.fullmatch(PATH, name) else re.sub(r"[^a-z0-9]+", "-", name).strip("-")) or "release"

    @property
    def repository(self) -> str:
        return "/".join(part for part in (self.settings.registry, self.image) if part)

    @property
    def commit_tag(self) -> str:
        return self.tree.commit + ("-dirty" if self.tree.dirty else "")

    @property
    def context_folder(self) -> Path:
        """This repo's cache folder: in _build, which rebar3 owns and .dockerignore keeps out."""
        return self.root / "_build" / KEY


@dataclass(frozen=True)
class Build:
    """One `docker buildx build`. options() are python-on-whales' own arguments for it."""

    project: Project
    target: str
    tags: tuple[str, ...]
    build_args: Mapping[str, str]
    contexts: Mapping[str, Mapping[str, bytes]]
    labels: Mapping[str, str]
    secrets: tuple[str, ...]
    ssh: str
    pull: bool
    no_cache: bool
    output: Mapping[str, str]
    imports: tuple[str, ...] = ()  # of caches, in buildx's words
    hints: tuple[str, ...] = ()  # the same that no one asked for: not where the dependencies were compiled
    export: str = ""
    deps: str = ""  # the image that is the builder stage where the registry has it

    def options(self) -> dict[str, Any]:
        settings, root = self.project.settings, self.project.root
        return {
            "context_path": str(root),
            "file": str(root / settings.dockerfile),
            "target": self.target,
            "tags": list(self.tags),
            "build_args": dict(self.build_args),
            "build_contexts": {
                **{name: str(self.project.context_folder / name) for name in self.contexts if name != ACCESS},
                **({"builder": f"docker-image://{self.deps}"} if self.deps else {}),
            },
            "cache_from": [dict(pair.split("=", 1) for pair in text.split(",")) for text in (*self.imports, *self.hints)] or None,
            "cache_to": self.export or None,
            "labels": dict(self.labels),
            "secrets": list(self.secrets),
            "ssh": self.ssh or None,
            "pull": self.pull,
            "cache": not self.no_cache,
            "network": settings.network or None,
            "platforms": [settings.platform] if settings.platform else None,
            "provenance": settings.provenance,
            "output": dict(self.output),
        }


PUSHED = {"type": "image", "push": "true"}


def flag(default: Any, about: str, many: bool = False, optional: bool = False) -> Any:
    return field(default=default, metadata={"help": about, "many": many, "optional": optional})


@dataclass(frozen=True)
class Common:
    """Flags that every task has."""

    dry_run: bool = flag(False, "print the docker commands, and run none")
    quiet: bool = flag(False, "print only results and errors")
    release: str = flag("", "the release, where rebar.config has several")


@dataclass(frozen=True)
class BuildFlags(Common):
    """Flags of the tasks that build, with docker's own names."""

    registry: str = flag("", "the registry, instead of the setting")
    build_arg: Optional[list[str]] = flag(None, "a build argument, NAME=VALUE; may be repeated", many=True)
    secret: Optional[list[str]] = flag(None, "id=NAME,src=PATH or id=NAME,env=VARIABLE; may be repeated", many=True)
    ssh: str = flag("", "default, or default=FILE of a socket or a key")
    no_cache: bool = flag(False, "build every step anew")
    pull: bool = flag(False, "look for newer base images")


@dataclass(frozen=True)
class ImageFlags(BuildFlags):
    """Flags of build and push."""

    tag: Optional[list[str]] = flag(None, "one more tag; may be repeated", many=True)
    target: str = flag("runner", "the stage to build; others than runner are tagged COMMIT-TARGET")


@dataclass(frozen=True)
class ReleaseFlags(ImageFlags):
    cache_from: Optional[list[str]] = flag(None, "import this cache too: an image, or type=...; may be repeated", many=True)
    cache_to: Any = flag(None, "export the cache as the setting `cache` says, or --cache-to=type=...", optional=True)
    incremental: bool = flag(True, "compile on top of the last build; CI and push compile from nothing")
    load: bool = flag(True, "load the image into the engine; --no-load only fills the build cache")
    tarball: str = flag("", "write the release's tarball into this folder, instead of an image")


@dataclass(frozen=True)
class PushFlags(ImageFlags):
    branch: Any = flag(None, "push the branch's tag too; --branch=NAME for a given one", optional=True)


@dataclass(frozen=True)
class DepsFlags(BuildFlags):
    push: bool = flag(False, "push the image instead of loading it")
    key: bool = flag(False, "print the key, and build nothing")
    explain: bool = flag(False, "print what decides the key, and what of it has changed since the last build")


def plan_build(
    project: Project, flags: BuildFlags, target: str, tags: Sequence[str], output: Mapping[str, str], incremental: bool = False
) -> Build:
    """A build from settings and flags. tags: without the repository; incremental: on top of the last build's files."""
    settings = project.settings
    build_args = {
        "BUILD_BASE": settings.build_base,
        "RUN_BASE": settings.run_base,
        "PROFILE": settings.profile,
        "RELEASE": project.release.name,
        "PROJECT": project.image.replace("/", "-"),
        "BUILD_PACKAGES": " ".join(settings.build_packages),
        "RUNTIME_PACKAGES": " ".join(settings.runtime_packages),
        "DEBIAN_MIRROR": settings.debian_mirror,
        "HEX_MIRROR": settings.hex_mirror,
        "REBAR3": settings.rebar3,
        "PREBUILD": settings.prebuild,
        "WRITABLE": " ".join(settings.writable),
        "BUILD_ENV": "\n".join(f"{name}={shlex.quote(value)}" for name, value in settings.build_env.items()),
    }
    build_args = {**{name: value for name, value in build_args.items() if value}, **settings.build_args}
    for pair in flags.build_arg or ():
        name, equals, value = pair.partition("=")
        if not equals:
            raise failure(f"--build-arg {name} has no value", f"--build-arg {name}=VALUE")
        build_args[name] = value
    for tag in tags:
        if tag == "latest":
            raise failure("`latest` is never written: it says nothing of what is in the image", "--tag with another name")
        if not VALID_TAG.fullmatch(tag):
            raise failure(f"{tag!r} can't be a tag", "letters, digits, _ . and -, at most 128, the first a letter, a digit or _")
    files = dependency_files(project.root, settings)
    if incremental and not flags.no_cache:
        build_args.update(states(project, build_args, files, target))
    contexts = {"deps": reduced(files, settings.profile), ACCESS: git_rules(settings.git_rewrites)}
    if target != "builder":
        sources = [f.read_text(errors="replace") for p in ("src", "*/src", "*/*/src") for f in project.root.glob(f"{p}/*.app.src")]
        contexts["git"] = git_context(project.root, history_needed(project.release.version, project.scripted, sources))
    if settings.certificate_authority:
        file = project.root / Path(settings.certificate_authority).expanduser()
        if not file.is_file():
            raise failure(f"{file} does not exist, and is the certificate_authority in invoke.yaml")
        contexts["authority"] = {"authority.crt": file.read_bytes()}
    image = target not in ("builder", "tarball")
    return Build(
        project=project,
        target=target,
        tags=tuple(f"{project.repository}:{tag}" for tag in dict.fromkeys(tags)),
        build_args=build_args,
        contexts={name: files for name, files in contexts.items() if files},
        labels={REVISION_LABEL: project.commit_tag, PROJECT_LABEL: project.image} if image else {},
        secrets=secrets_for(project, (*settings.secrets, *(flags.secret or ())), contexts["deps"], os.environ),
        ssh=ssh_for(project, flags.ssh, os.environ),
        pull=flags.pull,
        no_cache=flags.no_cache,
        output=output,
    )


def target_tags(project: Project, flags: ImageFlags, branch: str) -> list[str]:
    """The commit's tag and the branch's, or COMMIT-TARGET alone for another stage than the runner; then --tag."""
    tags = [project.commit_tag, *([branch_tag(branch)] if branch else [])]
    if flags.target == "dirty":
        raise failure("a stage can't be called dirty", f"{project.tree.commit[:8]}…-dirty is the tag of a tree with edits")
    if flags.target != "runner":
        tags = [f"{project.commit_tag}-{flags.target}"]
    return [*tags, *(flags.tag or ())]


# Build arguments of the stages that compile which no compiled file depends on.
NOT_OF_BUILDING = ("PROJECT", "RELEASE", "WRITABLE", "COMPILED", "STORE", "WORK")


def of_building(build_args: Mapping[str, str], instructions: bytes) -> list[tuple[str, str]]:
    """The build arguments that what these instructions compile depends on: those they declare."""
    lines = re.sub(r"\\[ \t]*\n", " ", re.sub(r"(?m)^\s*#.*\n", "", instructions.decode()))
    declared = re.findall(r"(?mi)^\s*(?:ONBUILD\s+)?ARG\s+(.*)", lines)
    names = {word.strip("\"'").partition("=")[0] for line in declared for word in line.split()} - {*NOT_OF_BUILDING}
    proxy = re.compile(r"(?i)(https?|ftp|all|no)_proxy")  # says how, not what
    return [(n, v) for n, v in sorted(build_args.items()) if n in names and not proxy.fullmatch(n)]


def checksum(parts: Iterable[bytes]) -> str:
    """SHA-256, in hexadecimal, of a sequence of byte strings: two of them never count as one."""
    key = hashlib.sha256()
    for part in parts:
        key.update(b"%d:%s" % (len(part), part))
    return key.hexdigest()


def until(dockerfile: str, stage: str) -> bytes:
    """A Dockerfile through a stage, without its comments and what concerns the runner; all of it where there is no such stage."""
    stages = re.split(r"(?mi)^(?=FROM\s)", re.sub(r"(?m)^(#(?!!).*|ARG RUN_BASE(=\S*)?[ \t]*|\s*)\n", "", dockerfile))
    last = next((i for i, text in enumerate(stages) if re.match(rf"(?i)FROM\s+\S+\s+AS\s+{stage}\s", text)), len(stages))
    return "".join(stages[: last + 1]).encode()


def states(project: Project, build_args: Mapping[str, str], files: Mapping[str, bytes], target: str) -> dict[str, str]:
    """Under what keys compiled dependencies (STORE) and the compiled project (WORK) are kept for the next build. What changes
    without changing a key, the versions of dependencies and the sources, is for `resume` in the Dockerfile to see."""
    profile = project.settings.profile
    # rebar3 brings what is locked up to date, and leaves other versions of the rest as they are.
    locked = locked_names(files.get("rebar.lock", b"").decode(errors="replace"))

    def key(stage: str, without: frozenset[str]) -> str:
        instructions = until(project.dockerfile, stage)
        arguments = [f"{n}={v}".encode() for n, v in of_building(build_args, instructions)]
        few = reduced({n: c for n, c in files.items() if n != "rebar.lock"}, profile, without, locked)
        return checksum([instructions, *arguments, *(part for n, c in sorted(few.items()) for part in (n.encode(), c))])[:16]

    found = {}
    if target not in ("builder", "prod_compiled", "tarball"):
        found = {"WORK": key("releaser", NOT_OF_COMPILING), "COMPILED": "builder"}
    # In the default profile rebar3 does not show what is no dependency any more.
    return found if profile == "default" else {**found, "STORE": key("builder", NOT_OF_DEPENDENCIES)}


def deps_parts(plan: Build) -> dict[str, bytes]:
    """All that decides the builder stage, by name: its inputs, its instructions, arguments, base and platform."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    instructions = until(plan.project.dockerfile, "builder")
    named = {f"{n} (build argument)": v.encode() for n, v in of_building(plan.build_args, instructions)}
    contexts = [file for name in ("deps", "authority") for file in sorted(plan.contexts.get(name, {}).items())]
    return {
        f"{plan.project.settings.dockerfile} through builder": instructions,
        "platform": (plan.project.settings.platform or f"linux/{machine}").encode(),
        **named,
        **dict(contexts),
    }


def deps_key(plan: Build) -> str:
    """The checksum of all that decides the builder stage."""
    return checksum(part for name, content in deps_parts(plan).items() for part in (name.encode(), content))


def deps_reference(plan: Build) -> str:
    return f"{plan.project.repository}:deps-{deps_key(plan)}"


# Of the layers too that a build which compresses none has left.
COMPRESSED = ",compression=gzip,force-compression=true"


def plan_caches(plan: Build, branch: str, export: Any = False, more: Sequence[str] = ()) -> Build:
    """The same build with the caches of other machines: this branch's, then the default branch's. export: True for what the
    setting says, or buildx's own words; more: caches to import first. A branch's tag carries an inline cache, which holds
    what is in the image alone (measured); the dependencies are an image of their own."""
    project, mode = plan.project, plan.project.settings.cache
    default = branch_tag(project.settings.default_branch)
    tags = list(dict.fromkeys([branch_tag(branch) if branch else default, default]))
    folder = project.context_folder / "cache"
    imports, hints, to, deps = [text if "=" in text else f"type=registry,ref={text}" for text in more], [], "", ""
    if mode == "deps" and project.settings.registry:
        deps, to = deps_reference(plan), "type=inline"
        hints = [f"type=registry,ref={project.repository}:{tag}" for tag in (*tags, f"deps-of-{default}")]
    elif mode == "registry" and project.settings.registry:
        hints = [f"type=registry,ref={project.repository}:cache-{tag}" for tag in tags]
        to = f"type=registry,ref={project.repository}:cache-{tags[0]},mode=max{COMPRESSED}"
    elif mode == "local":
        hints = [f"type=local,src={folder}"] if (folder / "index.json").is_file() else []
        to = f"type=local,dest={folder}.new,mode=max{COMPRESSED}"
    elif "=" in mode:
        imports, to = [*imports, mode], mode
    to = "" if not export else export if isinstance(export, str) else to
    if to == "type=inline" and "BUILDKIT_INLINE_CACHE" in plan.build_args:
        to = ""  # the same in older words; BuildKit refuses both together
    if to and "ignore-error" not in to and to != "type=inline":
        to += ",ignore-error=true"
    if plan.no_cache or plan.pull:
        imports, hints = [], []
        deps = deps if "push" in plan.output and plan.target != "builder" else ""  # push makes it anew first
    return dataclasses.replace(plan, imports=tuple(imports), hints=tuple(hints), export=to, deps=deps)


@dataclass(frozen=True)
class RunFlags(Common):
    """Flags of run and console, with docker's own names."""

    publish: Optional[list[str]] = flag(
        None, "a port: 8080, 53:8053/udp; on 127.0.0.1 unless an address is given; may be repeated", many=True
    )
    env: Optional[list[str]] = flag(None, "NAME=VALUE, or NAME to pass it on; may be repeated", many=True)
    env_file: Optional[list[str]] = flag(None, "a file of NAME=VALUE lines; may be repeated", many=True)
    volume: Optional[list[str]] = flag(None, "HOST:CONTAINER; may be repeated", many=True)
    network: str = flag("", "a network to join")
    memory: str = flag("", "memory limit, 512m for example")
    cpus: str = flag("", "processors, 1.5 for example")
    name: str = flag("", "the container's name (default: RELEASE-BRANCH)")
    tag: str = flag("", "the image's tag (default: the branch's)")
    writable: bool = flag(False, "let the container write to its root file system")


def published(port: str) -> str:
    """docker's --publish, with a bare port meaning the same one on the loopback address."""
    number, _, protocol = port.partition("/")
    suffix = f"/{protocol}" if protocol else ""
    if re.fullmatch(r"\d+(-\d+)?", number):
        return f"127.0.0.1:{number}:{number}{suffix}"
    return f"127.0.0.1:{number}{suffix}" if re.fullmatch(r"\d+(-\d+)?:\d+(-\d+)?", number) else port


def volumes(project: Project, flags: RunFlags, home: str) -> list[str]:
    """A volume without a name, which begins with what the image has there, for each folder that the release writes into."""
    given = {volume.split(":")[1].rstrip("/") for volume in flags.volume or () if ":" in volume}
    folders = [os.path.normpath(f"{'' if folder.startswith('/') else home}/{folder}") for folder in project.settings.writable]
    return [f"--volume={folder}" for folder in folders if folder not in given]


def run_command(
    project: Project, flags: RunFlags, image: str, config: Mapping[str, Any], mode: Sequence[str], args: Sequence[str]
) -> list[str]:
    """`docker run` as the BEAM needs it. config: the image's own, mode: --detach or --interactive and so on."""
    command = ["run", "--init", "--tmpfs=/tmp", f"--label={PROJECT_LABEL}={project.image}"]
    command += [f"--ulimit=nofile={project.settings.nofile}:{project.settings.nofile}"]
    command += [] if flags.writable else ["--read-only", *volumes(project, flags, str(config.get("WorkingDir", "")))]
    command += ["--user=1000:1000"] if str(config.get("User", "")).split(":")[0] in ("", "0", "root") else []
    command += [] if any(e.startswith(("LANG=", "LC_ALL=")) for e in config.get("Env") or ()) else ["--env=LANG=C.UTF-8"]
    command += ["--env=TERM"] if "--tty" in mode else []
    repeated = {
        "publish": [published(p) for p in flags.publish or ()],
        "env": flags.env,
        "env-file": flags.env_file,
        "volume": flags.volume,
    }
    command += [f"--{name}={value}" for name, values in repeated.items() for value in values or ()]
    command += [f"--{name}={getattr(flags, name)}" for name in ("network", "memory", "cpus") if getattr(flags, name)]
    return [*command, *mode, image, *args]


def variables_given(flags: RunFlags, config: Mapping[str, Any]) -> set[str]:
    """The environment variables that a container will have a value for: the image's, and those of the flags."""
    files = [line for file in flags.env_file or () if Path(file).is_file() for line in Path(file).read_text(errors="replace").splitlines()]
    pairs = [(entry.partition("=") if "=" in entry else (entry, "=", os.environ.get(entry, ""))) for entry in (*files, *(flags.env or ()))]
    return {name for name, _, value in [*(e.partition("=") for e in config.get("Env") or ()), *pairs] if value}


def choose_container(containers: Sequence[Mapping[str, str]], name: str) -> Mapping[str, str]:
    """The one container that is meant, of rows of `docker ps`; an error that lists them where there are several."""
    named = [c for c in containers if c["Names"] == name] or [c for c in containers if not name or c["ID"].startswith(name)]
    if len(named) == 1:
        return named[0]
    if named:
        lines = "".join(f"\n  {c['Names']}  {c['Image']}  {c['Status']}" for c in named)
        raise failure(f"this project has {len(named)} containers:{lines}", f"choose one: --name {named[0]['Names']}")
    what = f"no container called {name}" if name else "no container of this project"
    raise failure(f"{what} is running", "invoke run --detach starts one; invoke ps lists them", code=1)


# ------------------------------------------------------------------------------------------------------------ docker


def client(*call: str) -> Any:
    """python-on-whales' client, loaded when first used (it takes 0.2 s)."""
    from python_on_whales import DockerClient

    return DockerClient(client_call=list(call) or ["docker"])


def docker(*args: str) -> str:
    """The output of a docker command that python-on-whales has no call for, or parses too strictly."""
    done = subprocess.run([*map(str, client().docker_cmd), *args], capture_output=True, text=True, check=False)
    if done.returncode:
        raise explain(done.stderr, f"docker {args[0]}")
    return done.stdout


@dataclass(frozen=True)
class Builder:
    """What runs the builds. direct: pushes go from it to the registry, and need no copy in the engine; exports: it can export
    caches that are not inline; identity: whose build cache it is."""

    driver: str
    direct: bool
    exports: bool = True
    identity: str = ""


def ask_docker(*questions: Sequence[str]) -> list[tuple[str, str]]:
    """stdout and stderr of several docker commands, run side by side while python-on-whales is loaded."""
    try:
        asked = [subprocess.Popen(["docker", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for words in questions]
    except FileNotFoundError:
        raise failure("docker is not installed", "https://docs.docker.com/engine/install/, or on Debian ci/engine up") from None
    client()
    return [process.communicate() for process in asked]


def require_engine(version: tuple[str, str]) -> None:
    """Look at what `docker version` said: is there an engine, and is it Docker's?"""
    if "podman" in "".join(version).lower():
        raise failure("docker is podman here, which has no buildx", "install Docker Engine, or set DOCKER_HOST to one")
    if '"Server":{' not in version[0]:
        last = (version[1].strip().splitlines() or ["it says nothing"])[-1]
        raise failure(f"no Docker engine answers: {last}", "start it, set DOCKER_HOST, or on Debian ci/engine up")


def require_docker() -> None:
    """Look, before anything is done, that an engine answers."""
    require_engine(ask_docker(["version", "--format={{json .}}"])[0])


def require_buildx(*more: Sequence[str]) -> tuple[Builder, list[tuple[str, str]]]:
    """Look, before anything is done, that an engine answers and that a new enough buildx has a builder. more: other questions,
    asked at the same time; their answers."""
    questions = [["version", "--format={{json .}}"], ["info", "--format={{json .}}"], ["buildx", "inspect"], *more]
    version, info, inspected, *answers = ask_docker(*questions)
    require_engine(version)
    facts = json.loads(info[0])
    plugin = next((p["Version"] for p in facts["ClientInfo"].get("Plugins") or () if p["Name"] == "buildx"), "")
    number = tuple(int(n) for n in re.findall(r"\d+", plugin)[:2])
    if number < LEAST_BUILDX:
        have = f"buildx {plugin} is too old" if number else "docker has no buildx"
        hint = "apt-get install docker-buildx-plugin (Docker's packages) or docker-buildx (Debian's)"
        raise failure(f"{have}: {'.'.join(map(str, LEAST_BUILDX))} or newer is needed", hint)
    driver = re.search(r"^Driver:\s*(\S+)", inspected[0], re.MULTILINE)
    if not driver:
        raise failure(f"there is no buildx builder: {(inspected[1].strip().splitlines() or ['?'])[-1]}", "docker buildx ls shows them")
    # Older ones push a second time, from the engine's copy (buildx 4f7d145).
    containerd = "containerd.snapshotter" in str(facts["DriverStatus"])
    own = driver[1] != "docker"
    name = re.search(r"^Name:\s*(\S+)", inspected[0], re.MULTILINE)
    identity = str(name[1] if own and name else facts["ID"])
    return Builder(driver[1], own or (containerd and number >= (0, 22)), own or containerd, identity), answers


@contextlib.contextmanager
def watched(quiet: bool) -> Iterator[list[bytes]]:
    """Keep what is written to stderr meanwhile, and pass it on: BuildKit draws on the terminal itself, and python-on-whales
    lets it, so the reason of a failure is nowhere else to be read. A terminal is stood in for by a pseudo-terminal."""
    real, chunks = os.dup(2), list[bytes]()
    if os.isatty(2) and not quiet:
        reader, writer = os.openpty()
        tty.setraw(writer)
        fcntl.ioctl(writer, termios.TIOCSWINSZ, fcntl.ioctl(2, termios.TIOCGWINSZ, b"\0" * 8))
    else:
        reader, writer = os.pipe()

    def copy() -> None:
        with contextlib.suppress(OSError):  # a pseudo-terminal ends with EIO
            while chunk := os.read(reader, 65536):
                chunks.append(chunk)
                if not quiet:
                    os.write(real, chunk)

    thread = threading.Thread(target=copy, daemon=True)
    sys.stderr.flush()
    os.dup2(writer, 2)
    os.close(writer)
    thread.start()
    try:
        yield chunks
    finally:
        os.dup2(real, 2)
        thread.join()
        os.close(reader)
        os.close(real)


# What docker, buildx and registries say (in their last error), what it means, and what to do.
REASONS = [
    (r"401 unauth|authentication required|no basic auth|incorrect username", "{host} refused the login", "docker login {host}"),
    (r"push.*(denied|insufficient_scope|403 forbidden)", "{host} refused the push", "docker login {host}, as a user who may write there"),
    (r"denied: |insufficient_scope|403 forbidden", "{host} does not give this image", "docker login {host}, or is the name right?"),
    (
        r"push.*(method not allowed|unsupported(?! media)|read-only)",
        "{host} does not take pushes (is it read-only?)",
        "--registry names another one",
    ),
    (
        r"connection refused|no such host|i/o timeout|network is unreachable|tls: |x509: |http response to https",
        "{host} can't be reached",
        "{last}",
    ),
    (
        r"already in use by container",
        "there is a container of that name",
        "--name gives this one another; docker ps --all shows whose the other is",
    ),
    (
        r"passphrase protected",
        "the SSH key has a passphrase, which a build can't ask for",
        "ssh-add FILE, and `ssh: default` in invoke.yaml",
    ),
    (r"ssh: no key found", "what `ssh` names is no SSH key", "a private key, such as ssh-keygen writes"),
    (
        r"during finalize: .*snapshot \S+ does not exist",
        "the engine lost a part of its build cache, as it can where builds overlap or one is stopped (moby/buildkit#6821)",
        "run it again; if that is no help, restart Docker",
    ),
    (r"port is already allocated|address already in use", "the port is taken", "--publish HOST:CONTAINER with another host port"),
]
# What capabilities know of a failed step, from what it wrote and the build's context; None where they know nothing.
EXPLAIN_STEP: list[Callable[[str, Optional[Path]], Optional[Exit]]] = []
ANSI = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def absent(path: str, root: Optional[Path]) -> str:
    """What to do about a file that a build does not find."""
    if root and (root / path).exists():
        return f".dockerignore keeps {path} out of the build: add !{path} at its end"
    return f"{path} is not in the repo either: is its name right? What is to be made before rebar3 runs, `prebuild` makes"


def explain(log: str, command: str, root: Optional[Path] = None) -> Exit:
    """The error for what docker wrote: the Dockerfile's own words first, then what is known, then its last line. root: the
    build's context."""
    text = ANSI.sub("", log).replace("\r", "")
    failed = "".join(re.findall(r"^------\n(.*?)^------$", text, re.MULTILINE | re.DOTALL))  # what the failing step wrote
    own = re.findall(r"^[\d.]+ ((?:error|hint): .*?)\s*$", failed, re.MULTILINE)
    if own:
        return Exit("\n".join(dict.fromkeys(own)), code=1)
    lines = text.strip().splitlines() or ["it says nothing"]
    last = ([x for x in lines if x.startswith("ERROR: ") or "Error response from daemon: " in x] or lines)[-1]
    last = re.sub(r"^(ERROR: |docker: |Error response from daemon: |failed to build: |failed to solve: )+", "", last)
    step = re.search(r'process "(?:/bin/sh -c )?(.*)" did not complete successfully: exit code: (\d+)', last)
    if step:
        number = re.search(r"^#(\d+) ERROR: process", text, re.MULTILINE)  # in the plain form all that it wrote is there
        wrote = re.findall(rf"^#{number[1]} [\d.]+ (.*)$" if number else r"^[\d.]+ (.*)$", text if number else failed, re.MULTILINE)
        if error := next(filter(None, (look("\n".join(wrote), root) for look in EXPLAIN_STEP)), None):
            return error
        words = re.sub(r"\s+", " ", step[1].replace('\\"', '"').replace("\\n", " ")).strip()
        return failure(f"a step of the Dockerfile failed with exit code {step[2]}: {words[:200]}", "its output is above", 1)
    if copied := re.search(r'"/([^"]+)": not found$', last):
        return failure(f"the Dockerfile copies {copied[1]}, which the build does not find", absent(copied[1], root), 1)
    # On overlay2 the engine pushes, and its errors don't say that they are of a push.
    pushing = re.search(r"> (pushing \S+) with docker", failed)
    reason = f"{pushing[1]} {last}" if pushing else last
    host = re.search(r"https?://(?:[^@/\s]*@)?([^/\s\"]+)|(?:failed to push|pushing) ([^/\s]+)/", reason)
    named = next(filter(None, host.groups())) if host else "the registry"
    for pattern, means, hint in REASONS:
        if re.search(pattern, reason, re.IGNORECASE):
            return failure(means.format(host=named), hint.format(host=named, last=last.rsplit(": ", 1)[-1]), 1)
    return failure(f"{command}: {last}", code=1)


def stages_run(log: str) -> set[str]:
    """The stages of which BuildKit really ran a RUN step, from either form of its progress. A cached step whose layers had to be
    pulled is not called CACHED there; but it wrote nothing."""
    stages: dict[str, str] = {}
    cached, wrote, pulled = set[str](), set[str](), set[str]()
    step = ""
    for line in ANSI.sub("", log).splitlines():
        plain = re.match(r"#(\d+) (?:CACHED|\[(?:(\S+) +)?\d+/\d+\] RUN )?", line)
        drawn = re.match(r" *=> (?!=>)(?:CACHED )?(\[(?:(\S+) +)?\d+/\d+\] RUN )?", line)
        if head := plain or drawn:
            step = head[1] or ""
            if head[0].endswith(" RUN "):
                stages[step] = head[2] or "stage"
            if "CACHED" in head[0]:
                cached.add(step)
        if re.match(r"#\d+ \d+\.\d+ | *=> => # ", line):
            wrote.add(step)
        elif re.match(r"(#\d+| *=> =>) (sha256:|extracting )", line):
            pulled.add(step)
    return {stage for step, stage in stages.items() if step not in cached and (step in wrote or step not in pulled)}


# What capabilities have to say before a build, and before a container starts (with the variables that it is given a value for).
BEFORE_BUILD: list[Callable[[Build, Common], None]] = []
BEFORE_RUN: list[Callable[[Project, set[str], Common], None]] = []


def command_of(plan: Build, **more: Any) -> list[str]:
    """The command that python-on-whales would run: `false` stands in for docker, and the exception carries the words."""
    from python_on_whales.exceptions import DockerException

    try:
        client("false").buildx.build(**{**plan.options(), **more})
    except DockerException as error:
        return ["docker", *error.docker_command[1:]]
    raise AssertionError("false succeeded")


def last_build(project: Project) -> dict[str, Any]:
    """What write_record left; nothing where there is none."""
    with contextlib.suppress(OSError, ValueError):
        return dict(json.loads((project.context_folder / "deps.json").read_text()))
    return {}


def where_compiled(plan: Build, builder: Builder) -> str:
    return f"{builder.identity} {plan.build_args.get('STORE', '')}".strip()


def compiled_before(plan: Build) -> list[str]:
    """The build caches that have these very dependencies compiled, by the last build's record."""
    last = last_build(plan.project)
    return list(last.get("compiled", [])) if last.get("key") == deps_key(plan) else []


def digests(plan: Build) -> dict[str, str]:
    """SHA-256 of all that decides the dependencies, by name."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in deps_parts(plan).items()}


def write_record(plan: Build, builder: Builder) -> None:
    """Note, for the next build and for --explain, what decided the dependencies and which build caches have them compiled."""
    places = {*compiled_before(plan), *([] if plan.deps else [where_compiled(plan, builder)])}
    record = {"key": deps_key(plan), "compiled": sorted(places), "parts": digests(plan)}
    (plan.project.context_folder / "deps.json").write_text(json.dumps(record, indent=1))


def about_deps(reference: str) -> list[str]:
    """docker's words to ask the registry for a dependency image."""
    return ["buildx", "imagetools", "inspect", "--format={{json .Image}}", reference]


def deps_there(reference: str, answer: tuple[str, str], quiet: bool) -> bool:
    """Has the registry this dependency image, and is it one of ours? A registry that does not answer has none."""
    out, err = answer
    if err.strip() and not out.strip() and "not found" not in err:
        say(f"going on without the dependencies' image: {err.strip().splitlines()[-1].removeprefix('ERROR: ')}", quiet)
    return f'"{DEPS_LABEL}":"{reference.rpartition("deps-")[2]}"' in out.replace(" ", "")


def with_caches(plan: Build, builder: Builder, known: Sequence[str], answers: Sequence[tuple[str, str]], flags: Common) -> Build:
    """The build with the caches that are there and of use; an error where the engine can't export what it should. known: the
    build caches that need no help; answers: of the registry, about the dependencies' image, where it was asked already."""
    if plan.export and plan.export != "type=inline" and not builder.exports:
        raise failure(
            f"this engine's image store can't export a cache ({plan.export.split(',')[0]})",
            "`cache: deps` in invoke.yaml needs none; or switch on its containerd image store, or `docker buildx create --use`",
        )
    if where_compiled(plan, builder) in known:
        return dataclasses.replace(plan, hints=(), deps="")
    if not plan.deps:
        return plan
    if not deps_there(plan.deps, (answers or ask_docker(about_deps(plan.deps)))[0], flags.quiet):
        return dataclasses.replace(plan, deps="")
    return dataclasses.replace(plan, hints=tuple(text for text in plan.hints if ":deps-of-" not in text))


def run_build(plan: Build, more: Mapping[str, Any], quiet: bool) -> tuple[bool, str]:
    """Run a build: whether it succeeded, and all that it wrote."""
    from python_on_whales.exceptions import DockerException

    log: list[bytes] = []
    try:
        with watched(quiet) as log:
            client().buildx.build(**{**plan.options(), **more})
    except DockerException:
        return False, b"".join(log).decode(errors="replace")
    return True, b"".join(log).decode(errors="replace")


def output_by(plan: Build, builder: Builder) -> dict[str, Any]:
    """What python-on-whales is told of the output beside the plan's, by what runs the build."""
    loaded = plan.output == {"type": "image"}
    if loaded and builder.driver != "docker":
        return {"output": {}, "load": True}  # the docker driver builds in the engine; others must hand the image over
    if loaded and not plan.export:
        # gzip would take up to a tenth of a build (measured); what is pushed must not have layers of it.
        return {"output": {**plan.output, "compression": "uncompressed"}}
    if plan.output.get("push") and builder.driver == "docker" and builder.direct:
        # What is pulled to build on is unpacked in half the time (measured).
        how = {"compression": "zstd", "oci-mediatypes": "true"} if plan.target == "builder" else {"compression": "gzip"}
        return {"output": {**plan.output, "store": "false", **how, "force-compression": "true"}}
    return {}


def build_image(plan: Build, flags: Common) -> bool:
    """Write the contexts, run the build and say what it did; with --dry-run print the command, and give False."""
    project = plan.project
    if not project.dockerfile:
        file = project.root / project.settings.dockerfile
        raise failure(f"{file} does not exist", "copy beamdock's Dockerfile beside tasks.py, or set `dockerfile:` in invoke.yaml")
    known = [] if plan.export else compiled_before(plan)
    answers: Sequence[tuple[str, str]] = ()
    builder = Builder("docker", direct=False)
    if not flags.dry_run:
        builder, answers = require_buildx(*([about_deps(plan.deps)] if plan.deps and not known else []))
    for look in BEFORE_BUILD:
        look(plan, flags)
    plan = dataclasses.replace(plan, deps="") if flags.dry_run else with_caches(plan, builder, known, answers, flags)
    for name, files in plan.contexts.items():
        write_context(project.context_folder / name, files)
    project.context_folder.mkdir(parents=True, exist_ok=True)
    (project.context_folder / ".gitignore").write_text("*\n")
    more = output_by(plan, builder)
    if flags.dry_run:
        print(shlex.join(command_of(plan, **more)))
        return False
    began = time.monotonic()
    good, log = run_build(plan, more, flags.quiet)
    if not good and of_engine(log):
        say("the engine lost a layer of the image while it unpacked it, as it sometimes does; once more", flags.quiet)
        good, log = run_build(plan, more, flags.quiet)
    if not good and (plan.imports or plan.hints or plan.deps) and of_cache(log):
        say(f"a cache can't be used; once more without: {str(explain(log, 'docker buildx build').message).splitlines()[0]}", flags.quiet)
        plan = dataclasses.replace(plan, imports=(), hints=(), deps="")
        good, log = run_build(plan, more, flags.quiet)
    if not good:
        error = explain(log, "docker buildx build", project.root)
        if flags.quiet and "output is above" in str(error.message):
            say("".join(re.findall(r"^------\n(.*?)^------\n", ANSI.sub("", log), re.MULTILINE | re.DOTALL)))
        raise error
    keep_cache(plan, log, flags)
    write_record(plan, builder)
    say(summary(plan, log, time.monotonic() - began), flags.quiet)
    return True


def summary(plan: Build, log: str, seconds: float) -> str:
    """What a build did, for a person."""
    ran = stages_run(log)
    if not ran:
        taken = plan.deps and plan.target == "builder"
        return f"{'dependencies from the registry' if taken else 'up to date'} in {seconds:.1f} s"

    def modules(stage: str, what: str) -> str:
        """How many a stage has compiled, where it says so. On a terminal it does not: BuildKit draws no output of steps that are over."""
        found = re.search(rf"{what}: compiled (\d+) module", log) if stage in ran else None
        return f"{found[1]} module{'s' if found[1] != '1' else ''}" if found else ""

    dependencies = "from the registry" if plan.deps else "compiled" if "builder" in ran else "cached"
    if some := modules("builder", "deps"):
        dependencies += f" ({some})"
    project = "project compiled" if "prod_compiled" in ran else "release assembled" if "releaser" in ran else "project cached"
    if some := modules("releaser", "work"):
        project = f"{some} compiled"
    return f"built in {seconds:.1f} s: dependencies {dependencies}, {project}"


def last_error(log: str) -> str:
    return next((line for line in reversed(log.splitlines()) if line.startswith("ERROR: ")), "")


def of_cache(log: str) -> bool:
    """Did a build fail for a cache, and not for a step, a file that is missing, or a push?"""
    last = last_error(log)
    if "could not fetch content descriptor" in last:  # a layer that the registry has lost, also where it is to be pushed again
        return True
    return bool(re.search("cache|deps-[0-9a-f]{64}|docker-image://", last)) and not re.search("did not complete|checksum of ref|push", last)


def of_engine(log: str) -> bool:
    """Did a build fail for a fault of the engine's own? On the containerd store it loses a layer while it unpacks the image, where
    something else goes on at the same time (moby/buildkit#6521)."""
    return bool(re.search("failed to prepare extraction snapshot .* does not exist", last_error(log)))


def keep_cache(plan: Build, log: str, flags: Common) -> None:
    """After a build: put a local cache in the place of the last one; say when an export failed, which BuildKit only shows."""
    fresh = plan.project.context_folder / "cache.new"
    if (fresh / "index.json").is_file():
        shutil.rmtree(fresh.with_suffix(""), ignore_errors=True)
        fresh.replace(fresh.with_suffix(""))
    if plan.export and (failed := re.search(r"^#(\d+) exporting cache.*(?:\n.*)*?^#\1 ERROR:? (.*)$", ANSI.sub("", log), re.MULTILINE)):
        say(f"the cache was not exported: {failed[2]}", flags.quiet)


def foreground(command: Sequence[str], stop: str = "") -> int:
    """Run a docker command on this terminal, and give its exit code. stop: the container that Ctrl-C stops in order; the
    command is then out of the terminal's reach, since the BEAM with +Bd takes no notice of SIGINT."""
    child = subprocess.Popen([*map(str, client().docker_cmd), *command], start_new_session=bool(stop))
    if not stop:
        with ignored(signal.SIGINT):
            return child.wait()

    def end(number: int, frame: Any) -> None:
        subprocess.Popen([*map(str, client().docker_cmd), "stop", stop], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with contextlib.suppress(OSError):  # the terminal may be gone
            say(f"stopping {stop}")

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        return child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def ignored(number: signal.Signals) -> Iterator[None]:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


def exit_code(container: str, seconds: Optional[float] = None) -> str:
    """Wait for a container's end and give its exit code; '' where it still runs after so many seconds."""
    waiting = [*map(str, client().docker_cmd), "wait", container]
    try:
        return subprocess.run(waiting, capture_output=True, text=True, timeout=seconds, check=False).stdout.strip()
    except subprocess.TimeoutExpired:
        return ""


def act(flags: Common, *words: str) -> Optional[str]:
    """The output of a docker command that changes something; with --dry-run it is printed instead, and there is none."""
    if flags.dry_run:
        print(shlex.join(["docker", *words]))
        return None
    return docker(*words)


def act_on_terminal(flags: Common, words: Sequence[str], stop: str = "") -> None:
    """The same for a command that a person talks to; its exit code becomes ours."""
    if flags.dry_run:
        print(shlex.join(["docker", *words]))
    elif code := foreground(words, stop):
        raise Exit(code=code)


def containers_of(project: Project, everything: bool = False) -> list[dict[str, str]]:
    """This project's containers, found by their label, as `docker ps` describes them; running ones, or everything."""
    options = ["--no-trunc", f"--filter=label={PROJECT_LABEL}={project.image}", "--format={{json .}}"]
    return [json.loads(line) for line in docker("ps", *options, *(["--all"] if everything else [])).splitlines()]


# ------------------------------------------------------------------------------------------------------------- tasks

Flags = TypeVar("Flags", bound=Common)
# In the order of a day.
ALL: list[Task] = []  # type: ignore[type-arg]


def command(
    kind: type[Flags], name: str = "", aliases: Sequence[str] = ()
) -> Callable[[Callable[[Context, Flags], None]], Callable[[Context, Flags], None]]:
    """Make a function a task: the fields of its flags' dataclass are the task's parameters, their metadata its help."""

    def decorate(body: Callable[[Context, Flags], None]) -> Callable[[Context, Flags], None]:
        flags = dataclasses.fields(kind)

        def run(c: Context, **values: Any) -> None:
            body(c, kind(**values))

        one = inspect.Parameter.POSITIONAL_OR_KEYWORD
        parameters = [inspect.Parameter(f.name, one, default=f.default) for f in flags]
        run.__signature__ = inspect.Signature([inspect.Parameter("c", one), *parameters])  # type: ignore[attr-defined]
        run.__doc__, run.__name__ = body.__doc__, body.__name__
        made: Any = task(
            run,
            name=name or body.__name__,
            aliases=tuple(aliases),
            help={f.name.replace("_", "-"): f.metadata["help"] for f in flags},
            iterable=[f.name for f in flags if f.metadata["many"]],
            optional=[f.name for f in flags if f.metadata["optional"]],
            auto_shortflags=False,
        )
        ALL.append(made)
        return body

    return decorate


def project_of(c: Context, flags: Common) -> Project:
    """Everything that is read, in one place: settings, rebar.config, git. Nothing reads them again further down."""
    folders = [f for start in (Path(__file__).parent, Path.cwd()) for f in (start, *start.parents)]
    root = next((f for f in folders if (f / "rebar.config").is_file()), None)
    if not root:
        raise failure(f"there is no rebar.config in {Path(__file__).parent}, nor above it", "tasks.py belongs beside it")
    configured = c.config.get(KEY) or {}
    if not hasattr(configured, "items"):
        raise failure(f"`{KEY}:` in Invoke's configuration is no table of settings", "`invoke config` lists them")
    # Invoke's own place for it is beside tasks.py.
    files = [f for folder in (Path(__file__).parent, root) for n in ("invoke.yaml", "invoke.yml") if (f := folder / n).is_file()]
    plain = {n: dict(v) if hasattr(v, "items") else v for n, v in configured.items()}
    settings, sources = resolve(plain, ENVIRONMENT, yaml_lines(files[0], plain) if files else {})
    given = {n: check(n, getattr(flags, n), f"--{n}") for n in ("registry", "release") if getattr(flags, n, "")}
    settings, sources = dataclasses.replace(settings, **given), {**sources, **{n: f"--{n}" for n in given}}
    if not settings.hex_mirror and (variable := next((n for n in ("HEX_CDN", "HEX_MIRROR") if os.environ.get(n)), "")):
        settings, sources = dataclasses.replace(settings, hex_mirror=os.environ[variable]), {**sources, "hex_mirror": variable}
    refuse_passwords(settings, sources)
    scripted = (root / "rebar.config.script").is_file()
    try:
        rebar = rebar_facts((root / "rebar.config").read_text(encoding="utf-8", errors="replace"), settings.profile, scripted)
    except TermError as error:
        raise failure(
            f"rebar.config:{error.line} can't be read: {error}", "rebar3 reads it the same way: terms, each with a full stop"
        ) from None
    release = choose_release(rebar, settings.release, settings.profile)
    if settings.version:
        try:
            (version,) = read_terms(f"{settings.version}.")
        except ValueError:
            raise failure(
                f"`version` is {settings.version!r}, and should be as rebar.config has it", 'version: "{git, long}", say'
            ) from None
        # What the setting says, the script has not to be guessed at for.
        release, scripted = dataclasses.replace(release, version=version), False
    dockerfile = root / settings.dockerfile
    text = dockerfile.read_text(errors="replace") if dockerfile.is_file() else ""
    return Project(root, settings, sources, release, scripted, look_at(root), text)


def invoke(project: Project, *tasks: str) -> str:
    """The commands to type next, for the release that these flags chose."""
    chosen = f" --release {project.release.name}" if project.sources.get("release") == "--release" else ""
    return ", ".join(f"invoke {name}{chosen}" for name in tasks)


def announce(project: Project, what: str, flags: Common) -> None:
    say(f"{project.release.name} {project.tree.commit[:8]} ({project.tree.branch or 'no branch'}): {what}", flags.quiet or flags.dry_run)


@command(ReleaseFlags, name="build", aliases=["release"])
def build(c: Context, flags: ReleaseFlags) -> None:
    """Build the release's image"""
    project = project_of(c, flags)
    what = f"release {project.release.name} as {project.settings.profile}"
    mode = project.settings.incremental
    incremental = flags.incremental and not flags.cache_to and (mode == "always" or (mode == "desk" and not os.environ.get("CI")))
    branch = current_branch(project.tree, os.environ)
    if flags.tarball:
        # By way of a folder of our own, so that it is known which file is the new one.
        folder = Path(flags.tarball) if flags.dry_run else project.context_folder / "tarball"
        shutil.rmtree(project.context_folder / "tarball", ignore_errors=True)
        announce(project, f"packing {what}", flags)
        draft = plan_build(project, flags, "tarball", [], {"type": "local", "dest": str(folder)}, incremental)
        if build_image(plan_caches(draft, branch, flags.cache_to, flags.cache_from or ()), flags):
            Path(flags.tarball).mkdir(parents=True, exist_ok=True)
            print(*(shutil.move(file, Path(flags.tarball, file.name)) for file in folder.iterdir()), sep="\n")
        return
    output = {"type": "image"} if flags.load else {"type": "cacheonly"}
    plan = plan_build(project, flags, flags.target, target_tags(project, flags, project.tree.branch), output, incremental)
    announce(project, f"building {plan.tags[-1]}, {what}", flags)
    if build_image(plan_caches(plan, branch, flags.cache_to, flags.cache_from or ()), flags) and flags.load:
        runs = flags.target == "runner"
        say(f"next: {invoke(project, *(('run', 'console', 'push --branch') if runs else (f'shell --image {plan.tags[0]}',)))}", flags.quiet)
        print(plan.tags[0])


def remainder() -> list[str]:
    """What follows `--`, from the command line itself: Invoke's own joins it with spaces and loses the quoting."""
    return sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []


def find_image(project: Project, tag: str) -> tuple[str, dict[str, Any]]:
    """The reference of the branch's image (or a given tag's) and its configuration; says when it is behind the commit."""
    tag = tag or (branch_tag(project.tree.branch) if project.tree.branch else project.commit_tag)
    reference = f"{project.repository}:{tag}"
    try:
        config: dict[str, Any] = json.loads(docker("image", "inspect", "--format={{json .Config}}", reference))
    except Exit:
        raise failure(f"there is no image {reference}", invoke(project, "build"), code=1) from None
    return reference, config


def age(project: Project, config: Mapping[str, Any]) -> str:
    """How the image's commit stands to the work tree's, in words; '' where they are the same."""
    revision = (config.get("Labels") or {}).get(REVISION_LABEL, "")
    if revision == project.commit_tag:
        return ""
    built, _, dirty = revision.partition("-")
    if built == project.tree.commit:
        return "built before the last edits" if dirty else "built from the commit; the tree has edits since"
    try:
        behind = int(git(project.root, "rev-list", "--count", f"{built}..HEAD"))
    except Exit:
        return "built from another history"
    return f"{behind} commit{'s' if behind != 1 else ''} behind HEAD" if behind else "built from a later commit"


def start(c: Context, flags: RunFlags, mode: Sequence[str], args: Sequence[str]) -> None:
    """What run and console share: find the image, make the command, run it."""
    project = project_of(c, flags)
    require_docker()
    reference, image_config = find_image(project, flags.tag)
    name = flags.name or f"{project.release.name}-{branch_tag(project.tree.branch) if project.tree.branch else project.tree.commit[:12]}"
    for gone in containers_of(project, everything=True):
        if gone["Names"] == name and gone["State"] in ("exited", "dead", "created"):
            act(flags, "rm", "--volumes", gone["ID"])
    for look in BEFORE_RUN:
        look(project, variables_given(flags, image_config), flags)
    detach, interactive = "--detach" in mode, "--tty" in mode
    words = run_command(project, flags, reference, image_config, [f"--name={name}", *mode, *([] if detach else ["--rm"])], args)
    old = age(project, image_config)
    about = f"{name} ({reference}{old and f', {old}'})"
    if not detach:
        leave = "Ctrl-G then q leaves, and ends the container" if interactive else "Ctrl-C stops it in order"
        say(f"starting {about}: {leave}", flags.quiet or flags.dry_run)
        act_on_terminal(flags, words, stop="" if interactive else name)
        return
    try:
        identity = act(flags, *words)
    except Exit:
        for half in (c for c in containers_of(project, everything=True) if c["Names"] == name and c["State"] == "created"):
            docker("rm", "--volumes", half["ID"])
        raise
    if identity:
        if ended := exit_code(identity.strip(), seconds=1.5):
            raise failure(f"{name} ended at once, with exit code {ended}", f"invoke logs --name {name} shows what it wrote", 1)
        ports = docker("port", identity.strip()).strip().replace("\n", ", ")
        say(f"started {about}{ports and f': {ports}'}\nnext: {invoke(project, 'logs -f', 'attach', 'stop')}", flags.quiet)
        print(identity.strip())


@dataclass(frozen=True)
class StartFlags(RunFlags):
    detach: bool = flag(False, "run it in the background, and print the container's id")


@command(StartFlags)
def run(c: Context, flags: StartFlags) -> None:
    """Run the image; what follows -- goes to the start script"""
    start(c, flags, ["--detach"] if flags.detach else [], remainder())


@command(RunFlags)
def console(c: Context, flags: RunFlags) -> None:
    """Run the image with an Erlang shell on this terminal"""
    if not (flags.dry_run or sys.stdin.isatty()):
        raise failure("a console needs a terminal", "invoke run --detach, and invoke attach from a terminal")
    start(c, flags, ["--interactive", "--tty"], ["console", *remainder()])


@dataclass(frozen=True)
class ContainerFlags(Common):
    name: str = flag("", "the container, where there are several")


def container(c: Context, flags: ContainerFlags, stopped: bool = False) -> Mapping[str, str]:
    """The container that a task is about: a running one; with stopped, one that has ended where none runs."""
    project = project_of(c, flags)
    require_docker()
    everything = containers_of(project, everything=True)
    running = [row for row in everything if row["State"] == "running"]
    if not running and not stopped and any(flags.name in ("", row["Names"]) for row in everything):
        row = next(row for row in everything if flags.name in ("", row["Names"]))
        raise failure(
            f"{row['Names']} runs no more: {row['Status']}", "invoke logs shows what it wrote; invoke run --detach starts another", 1
        )
    return choose_container(everything if stopped and (flags.name or not running) else running, flags.name)


def terminal() -> list[str]:
    """docker's options for a command that reads this stdin, be it a terminal or a pipe."""
    return ["--interactive", *(["--tty", "--env=TERM"] if sys.stdin.isatty() else [])]


@command(ContainerFlags)
def attach(c: Context, flags: ContainerFlags) -> None:
    """Open an Erlang shell on the running node"""
    chosen = container(c, flags)
    say(f"{chosen['Names']}: Ctrl-G then q leaves; q() would stop the node", flags.quiet or flags.dry_run)
    act_on_terminal(flags, ["exec", *terminal(), chosen["ID"], "/release", "remote_console"])


@dataclass(frozen=True)
class ShellFlags(ContainerFlags):
    image: Any = flag(None, "look into the branch's image instead, or into --image=REFERENCE", optional=True)


@command(ShellFlags)
def shell(c: Context, flags: ShellFlags) -> None:
    """Open a shell in the running container, or in an image"""
    words = remainder() or ["/bin/sh"]
    if flags.image:
        project = project_of(c, flags)
        require_docker()
        image = flags.image if isinstance(flags.image, str) else find_image(project, "")[0]
        act_on_terminal(flags, ["run", "--rm", "--init", *terminal(), f"--entrypoint={words[0]}", image, *words[1:]])
    else:
        act_on_terminal(flags, ["exec", *terminal(), container(c, flags)["ID"], *words])


@dataclass(frozen=True)
class LogsFlags(ContainerFlags):
    f: bool = flag(False, "follow: go on until Ctrl-C")
    tail: str = flag("", "only so many lines of the end")


@command(LogsFlags)
def logs(c: Context, flags: LogsFlags) -> None:
    """Show what the node has written"""
    options = [*(["--follow"] if flags.f else []), *([f"--tail={flags.tail}"] if flags.tail else [])]
    act_on_terminal(flags, ["logs", *options, container(c, flags, stopped=True)["ID"]])


@command(Common)
def ps(c: Context, flags: Common) -> None:
    """List this project's containers"""
    rows = "table {{.Names}}\t{{.Image}}\t{{.Status}}\t{{.Ports}}"
    project = project_of(c, flags)
    require_docker()
    print(act(flags, "ps", "--all", f"--filter=label={PROJECT_LABEL}={project.image}", f"--format={rows}") or "", end="")


@dataclass(frozen=True)
class StopFlags(ContainerFlags):
    kill: bool = flag(False, "end it at once, without an orderly stop")
    time: int = flag(30, "seconds to wait for the orderly stop")


@command(StopFlags)
def stop(c: Context, flags: StopFlags) -> None:
    """Stop the running container in order, and remove it"""
    chosen = container(c, flags, stopped=True)
    if chosen["State"] != "running":
        act(flags, "rm", "--volumes", chosen["ID"])
        say(f"{chosen['Names']} had ended by itself; removed", flags.quiet or flags.dry_run)
        return
    kept = docker("inspect", "--format={{.HostConfig.AutoRemove}}", chosen["ID"]).strip() == "false"
    waiting = (
        subprocess.Popen([*map(str, client().docker_cmd), "wait", chosen["ID"]], stdout=subprocess.PIPE, text=True)
        if not flags.dry_run
        else None
    )
    act(flags, *(["kill"] if flags.kill else ["stop", f"--time={flags.time}"]), chosen["ID"])
    code = waiting.communicate()[0].strip() if waiting else ""
    if kept:
        act(flags, "rm", "--volumes", chosen["ID"])
    say(f"stopped {chosen['Names']}, exit code {code}", flags.quiet or flags.dry_run)


@command(ContainerFlags)
def diff(c: Context, flags: ContainerFlags) -> None:
    """Show what the container has written to its file system"""
    lines = (act(flags, "diff", container(c, flags, stopped=True)["ID"]) or "").splitlines()
    # On the containerd store --init shows, though it is the engine's own.
    own = {"A /usr/sbin/docker-init", "A /sbin/docker-init"} & set(lines)
    folders = {f"C {folder}" for line in own for folder in ("/usr/sbin", "/usr", "/sbin") if f"{folder}/" in line}
    used = {line[2:] for line in lines if line not in own | folders}
    print(
        "".join(f"{line}\n" for line in lines if line not in own and (line not in folders or any(u.startswith(line[2:]) for u in used))),
        end="",
    )


@command(PushFlags)
def push(c: Context, flags: PushFlags) -> None:
    """Build and push the commit's image"""
    project = project_of(c, flags)
    if not project.settings.registry:
        raise failure("there is no registry to push to", f"--registry ghcr.io/acme, or `registry:` under `{KEY}:` in invoke.yaml")
    if project.tree.dirty:
        count, some = len(project.tree.dirty), ", ".join(project.tree.dirty[:3])
        files = "1 file differs" if count == 1 else f"{count} files differ"
        raise failure(
            f"pushing {project.tree.commit[:8]} was refused: {files} from the commit ({some}{', …' if count > 3 else ''})",
            "commit, stash or ignore them; `invoke build` works with a dirty tree",
        )
    branch = flags.branch if isinstance(flags.branch, str) else current_branch(project.tree, os.environ)
    if flags.branch and not branch:
        raise failure("HEAD is detached, and no CI variable says which branch it is", "--branch=NAME")
    tags = target_tags(project, flags, branch if flags.branch else "")
    plan = plan_caches(plan_build(project, flags, flags.target, tags, PUSHED), branch, export=True)
    announce(project, f"pushing {project.repository}", flags)
    there = set() if flags.dry_run else local_tags(project)
    alias = [f"{project.repository}:deps-of-{branch_tag(branch)}"] if branch and plan.deps else []
    pushed = [*plan.tags, plan.deps, *alias]
    try:
        if plan.deps and not flags.dry_run:
            push_deps(plan, alias, branch, flags)
        done = build_image(plan, flags)
    finally:
        # On overlay2 the image passes through the engine, whether or not the registry took it.
        if not flags.dry_run and (extra := sorted(set(pushed) & local_tags(project) - there)):
            docker("image", "rm", *extra)
    if done:
        digest = pushed_digest(plan)
        say(f"pushed {' and '.join(tag.rsplit(':', 1)[1] for tag in plan.tags)}", flags.quiet)
        print(f"{project.repository}@{digest}")


def push_deps(plan: Build, alias: Sequence[str], branch: str, flags: BuildFlags) -> None:
    """See to it that the registry has the dependencies' image, under its key and as the branch's. What fails here is said, and
    fails nothing, unless it is the registry: the image itself can be built without."""
    try:
        if plan.no_cache or plan.pull or not deps_there(plan.deps, ask_docker(about_deps(plan.deps))[0], flags.quiet):
            tags = [tag.rpartition(":")[2] for tag in (plan.deps, *alias)]
            build_image(dataclasses.replace(plan_deps(plan.project, flags, tags, PUSHED, branch), deps=""), flags)
            return
        for name in alias:
            docker("buildx", "imagetools", "create", "--tag", name, plan.deps)
    except Exit as error:
        if re.search(r"refused the (login|push)|does not take pushes|can't be reached", str(error.message)):
            raise  # so it will be with the image itself
        say(f"the dependencies' image was not pushed: {str(error.message).removeprefix('error: ').splitlines()[0]}", flags.quiet)


def local_tags(project: Project) -> set[str]:
    """The references of this repository that the engine holds."""
    return set(docker("image", "ls", "--format={{.Repository}}:{{.Tag}}", project.repository).split())


def pushed_digest(plan: Build) -> str:
    """The digest that every tag points to in the registry, asked of the registry itself."""
    found = {
        tag: docker("buildx", "imagetools", "inspect", "--format={{json .Manifest.Digest}}", tag).strip().strip('"') for tag in plan.tags
    }
    if len(set(found.values())) != 1:
        raise failure(f"the tags point to different images in the registry: {found}", "was somebody else pushing? run it again", code=1)
    return found[plan.tags[0]]


def plan_deps(project: Project, flags: BuildFlags, tags: Sequence[str], output: Mapping[str, str], branch: str) -> Build:
    """The build of the dependencies' image, which says in a label whose key it has."""
    plan = plan_caches(plan_build(project, flags, "builder", tags, output), branch, export="push" in output)
    return dataclasses.replace(plan, labels={DEPS_LABEL: deps_key(plan)})


@command(DepsFlags)
def deps_image(c: Context, flags: DepsFlags) -> None:
    """Build the dependencies alone, as IMAGE:deps-CHECKSUM"""
    project = project_of(c, flags)
    output = PUSHED if flags.push else {"type": "image"}
    draft = plan_build(project, flags, "builder", [], output)
    if flags.explain:
        explain_key(draft)
    if flags.key:
        print(deps_key(draft))
    if flags.key or flags.explain:
        return
    if flags.push and not project.settings.registry:
        raise failure("there is no registry to push to", f"--registry ghcr.io/acme, or `registry:` under `{KEY}:` in invoke.yaml")
    plan = plan_deps(project, flags, [f"deps-{deps_key(draft)}"], output, current_branch(project.tree, os.environ))
    announce(project, f"building the dependencies, {plan.tags[0]}", flags)
    if flags.push and plan.deps and not flags.dry_run:
        if deps_there(plan.deps, ask_docker(about_deps(plan.deps))[0], flags.quiet):
            say("the registry has them already", flags.quiet)
            print(plan.tags[0])
            return
        plan = dataclasses.replace(plan, deps="")  # asked once
    if build_image(plan, flags):
        print(plan.tags[0])


def explain_key(plan: Build) -> None:
    """Print what goes into the dependencies' key, and how it stands to the last build."""
    parts = digests(plan)
    before = last_build(plan.project).get("parts")
    rows = [(name, digest[:12], "" if before is None else state(before.get(name), digest)) for name, digest in parts.items()]
    rows += [(name, "-", "gone") for name in before or {} if name not in parts]
    width = max(len(name) for name, _, _ in rows)
    for name, digest, how in rows:
        print(f"{name:<{width}}  {digest:<12}  {how}".rstrip())


def state(before: Optional[str], now: str) -> str:
    return "new" if before is None else "same" if before == now else "changed"


@command(Common)
def config(c: Context, flags: Common) -> None:
    """Show each setting's value and where it came from"""
    project = project_of(c, flags)
    settings, sources = project.settings, project.sources
    where = f"rebar.config:{project.release.line}" if project.release.line else "default"
    rows = []
    for name in FIELDS:
        value, source = getattr(settings, name), sources.get(name, "default")
        if name == "release" and not value:
            value, source = project.release.name, where
        if name == "version" and not value:
            value, source = erlang(project.release.version) if project.release.version else "", where
        if name == "image" and not value:
            value, source = project.image, "the release's name"
        text = (
            " ".join(value)
            if isinstance(value, list)
            else " ".join(f"{k}={v}" for k, v in value.items())
            if isinstance(value, dict)
            else str(value)
        )
        rows.append((name, text.lower() if isinstance(value, bool) else text or "-", source))
    widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
    for row in rows:
        print(f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}")


def load_capabilities(folder: Path) -> None:
    """Load the modules of ci/beamdock, which add tasks to ALL. By path and under names of our own: a repo may have a `ci` too,
    and this file may have another name."""
    sys.modules.setdefault(f"{KEY}_tasks", sys.modules[__name__])
    for file in sorted(folder.glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"{KEY}_{file.stem}", file)
        if spec and spec.loader:
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)


if __name__ == "__main__":
    # Invoke loads this file again, as the project's collection, so that the settings are those of `invoke`.
    from invoke.main import program

    here = Path(__file__).resolve()
    program.run(["invoke", "--search-root", str(here.parent), "--collection", here.stem, *sys.argv[1:]])
    sys.exit()


def check_yaml(folder: Path) -> None:
    """An invoke.yaml that is no YAML is an error here, on loading: Invoke reads it next, and would show a stack."""
    file = next((folder / name for name in ("invoke.yaml", "invoke.yml") if (folder / name).is_file()), None)
    try:
        if file:
            yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (ValueError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file.name if file else ''}{f':{mark.line + 1}' if mark else ''}"
        raise failure(f"{where} can't be read: {getattr(error, 'problem', error)}", "it is YAML: name: value, indented alike") from None


check_yaml(Path(__file__).parent)
ENVIRONMENT = take_environment(os.environ)
load_capabilities(Path(__file__).parent / "ci" / KEY)
ns = Collection(*ALL)
ns.configure({"tasks": {"auto_dash_names": True}})
