"""beamdock 0.1.0: why a docker command or a step of a build failed, and what to do. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from invoke.exceptions import Exit

from .files import find, read_text
from .ignore import ignore_file
from .words import KEY, failure, in_a_line

# What docker and buildx say of a registry that refuses, or that nobody reaches: what it means, and what to do.
REGISTRY_REASONS = [
    (r"401 unauth|authentication required|no basic auth|incorrect username", "{host} refused the login", "docker login {host}"),
    (r"push.*(denied|insufficient_scope|403 forbidden)", "{host} refused the push", "docker login {host}, as a user who may write there"),
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
]
# The same of all else that they say in their last error.
REASONS = [
    (r"denied: |insufficient_scope|403 forbidden", "{host} does not give this image", "docker login {host}, or is the name right?"),
    (
        r'target stage "(?P<stage>runner|builder|tarball)" could not be found',
        "the Dockerfile has no stage called {stage}",
        "is it beamdock's? `dockerfile:` in invoke.yaml names that one, and --target another stage of yours",
    ),
    (
        r"container name \"/(?P<name>[^\"]+)\" is already in use",
        "there is a container called {name}",
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


ANSI = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def name_of_ignore_file(root: Path, dockerfile: str) -> str:
    """The file that says what docker is not given, from the root."""
    found = ignore_file(root, dockerfile)
    return str(found.relative_to(root)) if found else ".dockerignore"


def absent(path: str, root: Optional[Path], dockerfile: str) -> str:
    """What to do about a file that a build does not find."""
    if root and (root / path).exists():
        return f"{name_of_ignore_file(root, dockerfile)} keeps {path} out of the build: add !{path} at its end"
    return f"{path} is not in the repo either: is its name right? What is to be made before rebar3 runs, `prebuild` makes"


def misnamed(root: Path) -> list[str]:
    """The files and folders below root whose names are not UTF-8."""
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in (".git", "_build")]
        found += [os.path.relpath(Path(folder, name), root) for name in (*folders, *files) if re.search(r"[\ud800-\udfff]", name)]
    return found


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


def dependency(file: str, wrote: str) -> str:
    """The dependency that a compiler's error in this file is of, where the dependencies were compiled; else ''."""
    fetched, hook = FETCHED.search(file), HOOK.search(wrote)
    if fetched:
        return f"the {'dependency' if fetched[1] else 'plugin'} {fetched[2]}"
    return hook[2] if hook else ""


def place(root: Path, package: str, version: str, names: Sequence[str]) -> str:
    """FILE:LINE of the first line in these files that names a package, and of one with its version before all others; '' where
    none does, as of what a dependency asks for."""
    lines = [
        (f"{file.relative_to(root)}:{number}", line.partition("%")[0])
        for file in find(root, *names)
        for number, line in enumerate(read_text(file).split("\n"), 1)
    ]
    named = [(where, line) for where, line in lines if re.search(rf"(?<!\w){re.escape(package)}(?!\w)", line)]
    with_version = [where for where, line in named if version and f'"{version}"' in line]
    return next(iter([*with_version, *(where for where, _ in named)]), "")


def placed(error: str, root: Optional[Path]) -> str:
    """What `fetch` says, and where it stands in the project's files if it is of a package."""
    for pattern, names in PACKAGES_SAID:
        found = pattern.match(error)
        where = place(root, found[1], found[2] or "", names) if root and found else ""
        if where:
            return f"{error} ({where})"
    return error


def explain_step(wrote: str, of_dependencies: bool, root: Optional[Path], dockerfile: str) -> Optional[Exit]:
    """The error for what a failed step wrote: what its end says is missing, the compiler's first error, or rebar3's last. Nothing
    else of it is repeated, as it may be a secret. of_dependencies: is it the step that compiles them? root: the build's context."""
    missing = MISSING.search("\n".join(wrote.splitlines()[-10:]))  # before that, it went on without
    what = str(next(filter(None, missing.groups()))) if missing else ""
    if what in ("mix", "elixir"):
        return failure("a dependency wants Elixir, which this build does not have", "Elixir dependencies are not supported", 1)
    if package := PACKAGES.get(what) or PACKAGES.get(what.split("/")[0]):
        needs = f"{dependency('', wrote) or 'the build'} needs {what}"
        return failure(needs, f"`build_packages: [{package}]` under `{KEY}:` in invoke.yaml", 1)
    said = [m[1] for m in re.finditer(r"^===> (.*(?:\n[ \t]+\S.*)*)", wrote, re.MULTILINE) if not PROGRESS.match(m[1])]
    compiled = RICH.search(wrote) or PLAIN.search(wrote)
    if compiled:
        file, line, _, text = (part for part in compiled.groups() if part is not None)
        broken = dependency(file, wrote) if of_dependencies else ""
        error = f"{broken}{' does not compile: ' if broken else ''}{file}:{line}: {text.strip()}"
    elif hook := HOOK.search(wrote):
        error = hook[1]
    elif said:
        error = re.sub(r"//[^@/\s]*@", "//", re.sub(r"\s+", " ", said[-1]).strip())[:300]
    else:
        return None
    hints = [hint.format(*found.groups()) for pattern, hint in STEP_HINTS if (found := re.search(pattern, wrote))]
    path = re.search(r"/app/src/([^\s\"'(){}\[\],]+)", error)
    if path and ABSENT.search(error):
        hints.append(absent(path[1], root, dockerfile))
    error = error.replace("/app/src/", "")
    return failure(error, hints[0], 1) if hints else LookAbove(f"error: {error}\nhint: its output is above", 1)


class LookAbove(Exit):
    """A step of the Dockerfile failed, and only its output, which is above, says what to do."""


class Unexplained(LookAbove):
    """A step of the Dockerfile failed, and all that is known is which."""


class RegistryFailure(Exit):
    """The registry refuses what is asked of it, or can't be reached: nothing else will go there either."""


def explain(log: str, command: str, root: Optional[Path] = None, dockerfile: str = "Dockerfile") -> Exit:
    """The error for what docker wrote: the Dockerfile's own words first, then what is known, then its last line. root: the
    build's context; dockerfile: its name there."""
    text = ANSI.sub("", log).replace("\r", "")
    failed = "".join(re.findall(r"^------\n(.*?)^------$", text, re.MULTILINE | re.DOTALL))  # what the failing step wrote
    own = re.findall(r"^[\d.]+ ((?:error|hint): .*?)\s*$", failed, re.MULTILINE)
    if own:
        return Exit("\n".join(placed(line, root) for line in dict.fromkeys(own)), code=1)
    helpful = re.compile(r"\s*$|Usage: |(Run|See) 'docker .*--help'")  # to somebody who typed the command
    lines = [line for line in text.strip().splitlines() if not helpful.match(line)] or ["it says nothing"]
    last = ([x for x in lines if x.startswith("ERROR: ") or "Error response from daemon: " in x] or lines)[-1]
    last = re.sub(r"^(ERROR: |docker: |Error response from daemon: |failed to build: |failed to solve: )+", "", last)
    step = re.search(r'process "(?:/bin/sh -c )?(.*)" did not complete successfully: exit code: (\d+)', last)
    if step:
        number = re.search(r"^#(\d+) ERROR: process", text, re.MULTILINE)  # in the plain form all that it wrote is there
        wrote = re.findall(rf"^#{number[1]} [\d.]+ (.*)$" if number else r"^[\d.]+ (.*)$", text if number else failed, re.MULTILINE)
        if error := explain_step("\n".join(wrote), "--deps_only" in step[1], root, dockerfile):
            return error
        words = re.sub(r"\s+", " ", step[1].replace('\\"', '"').replace("\\n", " ")).strip()
        what = f"a step of the Dockerfile failed with exit code {step[2]}: {words[:200]}"
        return Unexplained(f"error: {what}\nhint: its output is above", 1)
    if copied := re.search(r'"/([^"]+)": not found$', last):
        return failure(f"the Dockerfile copies {copied[1]}, which the build does not find", absent(copied[1], root, dockerfile), 1)
    if "invalid UTF-8" in last and root and (names := misnamed(root)):
        what = f"{', '.join(map(in_a_line, names[:3]))}{', …' if len(names) > 3 else ''}: the name is not UTF-8, and docker takes no other"
        return failure(what, f"another name; or a line in {name_of_ignore_file(root, dockerfile)}, where the build does not need it", 1)
    # On overlay2 the engine pushes, and its errors don't say that they are of a push.
    pushing = re.search(r"> (pushing \S+) with docker", failed)
    reason = f"{pushing[1]} {last}" if pushing else last
    host = re.search(r"https?://(?:[^@/\s]*@)?([^/\s\"]+)|(?:failed to push|pushing) ([^/\s]+)/", reason)
    named = next(filter(None, host.groups())) if host else "the registry"
    for pattern, means, hint in [*REGISTRY_REASONS, *REASONS]:
        if found := re.search(pattern, reason, re.IGNORECASE):
            told = failure(means.format(host=named, **found.groupdict()), hint.format(host=named, last=last.rsplit(": ", 1)[-1]), 1)
            return RegistryFailure(told.message, 1) if (pattern, means, hint) in REGISTRY_REASONS else told
    return failure(f"{command}: {last}", code=1)
