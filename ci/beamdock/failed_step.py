"""beamdock 0.1.0: why a step of the Dockerfile failed, out of what it wrote, and what to do. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from invoke.exceptions import Exit

from .files import find_files, read_text
from .ignore import find_ignore_file
from .words import KEY, failure


class LookAbove(Exit):
    """A step failed, and only its output, which is above, says what to do."""


class Unexplained(LookAbove):
    """A step failed, and all that is known is which."""


# What a compiler or a shell misses, and the Debian package that has it.
MISSING = re.compile(
    r"fatal error: (?P<header>[^ :]+): No such file|cannot find -l(?P<library>[^\s:]+)"
    r"|env: .(?P<script>[\w+.-]+).: No such file"
    r"|(?:sh|bash): (?:\d+: |line \d+: )?(?:exec: )?(?P<command>[\w+.-]+): (?:command )?not found"
    r"|make[^:\n]*: (?P<made>[\w+.-]+): No such file"
)
PACKAGES = {
    name: package
    for package, names in {
        "autoconf": "autoconf autoreconf",
        "build-essential": "make gcc cc g++ c++",
        "cargo": "cargo rustc",
        "erlang-dev": "ei.h erl_nif.h erl_driver.h",
        "libc6-dev": "stdio.h stdlib.h string.h",
        "libexpat1-dev": "expat expat.h",
        "libicu-dev": "unicode icuuc",
        "liblz4-dev": "lz4 lz4.h",
        "libncurses-dev": "curses.h ncurses.h ncurses tinfo",
        "libpam0g-dev": "security pam",
        "libpq-dev": "libpq-fe.h pq",
        "libsctp-dev": "netinet/sctp.h sctp",
        "libsnappy-dev": "snappy.h snappy-c.h snappy",
        "libsodium-dev": "sodium.h sodium",
        "libsqlite3-dev": "sqlite3.h sqlite3",
        "libssl-dev": "openssl ssl crypto",
        "libtool": "libtoolize libtool",
        "libyaml-dev": "yaml.h yaml",
        "libzstd-dev": "zstd.h zstd",
        "pkgconf": "pkg-config",
        "uuid-dev": "uuid",
        "zlib1g-dev": "zlib.h z",
        **{tool: tool for tool in ("automake", "bison", "cmake", "curl", "flex", "m4", "patch", "perl", "python3", "unzip", "wget")},
    }.items()
    for name in names.split()
}
# A compiler's error: file, line, the line itself, the message; in rebar3's rich form (3.19 and later), and plain.
RICH = re.compile(r"┌─ (\S+):\n[^\n]*\n\s*(\d+) │([^\n]*)\n[^\n]*╰── (?!Warning)([^\n]*)")
PLAIN = re.compile(
    r"^(\S+\.[exyh]rl):(\d+):(?:\d+:)?() (?!Warning)(.*)|^(\S+\.(?:c|cc|cpp|h|hpp)):(\d+):(?:\d+:)?() (?:fatal )?error: (.*)", re.MULTILINE
)
# What rebar3 says of itself while all is well; and of a file that does not compile, where the compiler says more.
PROGRESS = re.compile(
    r"Analyz|Assembl|Build|Compil|Expand|Fetch|Linking|Loading|No entry|Release success|Running|Tarball|Upd|Verifying|Warning"
)
# What a failed step wrote, and what to do; {0} and so on are the pattern's groups.
STEP_HINTS = [
    (r"OTP release (\d+)\S* or later is required", "`build_base: erlang:{0}`, and `run_base` of the same Debian, in invoke.yaml"),
    (
        r"│[^\n]*\bmaybe\b[^\n]*\n[^\n]*syntax error before|syntax error before: '?maybe",
        "`build_env: {{ERL_COMPILER_OPTIONS: '[{{feature,maybe_expr,disable}}]'}}` in invoke.yaml: `maybe` is a keyword since OTP 27",
    ),
    (
        r"Could not resolve host",
        "is there a network in the build? `network: host`, or `git_rewrites` for git, in invoke.yaml; `proxies` in ~/.docker/config.json",
    ),
    (
        r"Failed to update package|Failed to connect to|nxdomain|econnrefused",
        "is there a network in the build? `network: host` in invoke.yaml, or `proxies` in ~/.docker/config.json",
    ),
]
ABSENT = re.compile(r"does not exist|enoent|[Nn]o such file|: not found$")
# Where rebar3 compiles what it has fetched; and what `fetch` says where a dependency's hook has failed, which rebar3 names no more.
FETCHED = re.compile(r"_build/[^/\s]+/(?:(lib|checkouts)|plugins)/([^/\s]+)/")
HOOK = re.compile(r"^fetch: (a hook of (the \w+ \S+) has failed)$", re.MULTILINE)
# What `fetch` says of a package that is to be looked for in these files.
CONFIGS = ("rebar.config", "rebar.config.script", "*/*/rebar.config", "rebar.lock")
PACKAGES_SAID = [
    (re.compile(r"error: (\w+)(?: (\S.*))? is in no repository"), CONFIGS),
    (re.compile(r"error: (\w+) (\S+) of \S+ is another one than rebar\.lock has"), ("rebar.lock",)),
]


def dependency_of(file: str, wrote: str) -> str:
    """Return whose file a compiler's error is in, in the step that compiles the dependencies: `the dependency jiffy`; else ''."""
    fetched, hook = FETCHED.search(file), HOOK.search(wrote)
    if fetched:
        return f"the {'dependency' if fetched[1] else 'plugin'} {fetched[2]}"
    return hook[2] if hook else ""


def find_package(root: Path, package: str, version: str, names: Sequence[str]) -> str:
    """Return FILE:LINE of the first line in these files that names a package with its version, else of the first that names it; '' where
    none does: then a dependency asks for it."""
    lines = [
        (f"{file.relative_to(root)}:{number}", line.partition("%")[0])
        for file in find_files(root, *names)
        for number, line in enumerate(read_text(file).split("\n"), 1)
    ]
    named = [(where, line) for where, line in lines if re.search(rf"(?<!\w){re.escape(package)}(?!\w)", line)]
    with_version = [where for where, line in named if version and f'"{version}"' in line]
    return next(iter([*with_version, *(where for where, _ in named)]), "")


def with_place(error: str, root: Optional[Path]) -> str:
    """Return what `fetch`, in the Dockerfile, says, and where its package stands in the project's files if it is of one."""
    for pattern, names in PACKAGES_SAID:
        found = pattern.match(error)
        where = find_package(root, found[1], found[2] or "", names) if root and found else ""
        if where:
            return f"{error} ({where})"
    return error


def name_of_ignore_file(root: Path, dockerfile: str) -> str:
    """Return the name of the ignore file that counts, from the root."""
    found = find_ignore_file(root, dockerfile)
    return str(found.relative_to(root)) if found else ".dockerignore"


def hint_for_missing_file(path: str, root: Optional[Path], dockerfile: str) -> str:
    """Return what to do about a file that a build does not find. root: of the build's files; dockerfile: its name there."""
    if root and (root / path).exists():
        return f"{name_of_ignore_file(root, dockerfile)} keeps {path} out of the build: add !{path} at its end"
    return f"{path} is not in the repo either: is its name right? What is to be made before rebar3 runs, `prebuild` makes"


def explain_step(wrote: str, of_dependencies: bool, root: Optional[Path], dockerfile: str) -> Optional[Exit]:
    """Return the error for what a failed step wrote: what its end says is missing, else the compiler's first error, else rebar3's last.
    None where there is none of these.

    Nothing else of what it wrote is repeated, as it may be a secret. of_dependencies: is it the step that compiles them?
    """
    if lacking := explain_lacking_tool(wrote):
        return lacking
    error = compiler_error(wrote, of_dependencies) or hook_error(wrote) or rebar3_error(wrote)
    if not error:
        return None
    hints = [hint.format(*found.groups()) for pattern, hint in STEP_HINTS if (found := re.search(pattern, wrote))]
    path = re.search(r"/app/src/([^\s\"'(){}\[\],]+)", error)
    if path and ABSENT.search(error):
        hints.append(hint_for_missing_file(path[1], root, dockerfile))
    error = error.replace("/app/src/", "")
    return failure(error, hints[0], 1) if hints else LookAbove(f"error: {error}\nhint: its output is above", 1)


def explain_lacking_tool(wrote: str) -> Optional[Exit]:
    """Return the error for a tool, a header or a library that the build image lacks; None where the step's end names none."""
    missing = MISSING.search("\n".join(wrote.splitlines()[-10:]))  # before that, it went on without
    what = str(next(filter(None, missing.groups()))) if missing else ""
    if what in ("mix", "elixir"):
        return failure("a dependency wants Elixir, which this build does not have", "Elixir dependencies are not supported", 1)
    package = PACKAGES.get(what) or PACKAGES.get(what.split("/")[0])
    if not package:
        return None
    needs = f"{dependency_of('', wrote) or 'the build'} needs {what}"
    return failure(needs, f"`build_packages: [{package}]` under `{KEY}:` in invoke.yaml", 1)


def compiler_error(wrote: str, of_dependencies: bool) -> str:
    """Return a compiler's first error: FILE:LINE: TEXT, with the dependency that does not compile before it; '' for none."""
    compiled = RICH.search(wrote) or PLAIN.search(wrote)
    if not compiled:
        return ""
    file, line, _, text = (part for part in compiled.groups() if part is not None)
    broken = dependency_of(file, wrote) if of_dependencies else ""
    return f"{broken}{' does not compile: ' if broken else ''}{file}:{line}: {text.strip()}"


def hook_error(wrote: str) -> str:
    """Return what `fetch` says of a dependency's hook that has failed; '' for none."""
    hook = HOOK.search(wrote)
    return hook[1] if hook else ""


def rebar3_error(wrote: str) -> str:
    """Return rebar3's last line that is no word of its progress, without passwords in addresses; '' for none."""
    said = [m[1] for m in re.finditer(r"^===> (.*(?:\n[ \t]+\S.*)*)", wrote, re.MULTILINE) if not PROGRESS.match(m[1])]
    return re.sub(r"//[^@/\s]*@", "//", re.sub(r"\s+", " ", said[-1]).strip())[:300] if said else ""
