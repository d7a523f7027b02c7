"""beamdock 0.1.0: why a step of a build failed, and what to do. SPDX-License-Identifier: Apache-2.0

Without it `invoke build` shows what the step wrote, and no more. What the Dockerfile says itself goes over what is found here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from invoke.exceptions import Exit

if TYPE_CHECKING:
    import tasks as core
else:
    import beamdock_tasks as core

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
        r"Failed to update package|Could not resolve host|Failed to connect to|nxdomain|econnrefused",
        "is there a network in the build? `network: host` in invoke.yaml, or `proxies` in ~/.docker/config.json",
    ),
]
ABSENT = re.compile(r"does not exist|enoent|[Nn]o such file|: not found$")


def explain_step(wrote: str, root: Optional[Path]) -> Optional[Exit]:
    """The error for what a failed step wrote: what its end says is missing, the compiler's first error, or rebar3's last. Nothing
    else of it is repeated, as it may be a secret. root: the build's context."""
    missing = MISSING.search("\n".join(wrote.splitlines()[-10:]))  # before that, it went on without
    what = str(next(filter(None, missing.groups()))) if missing else ""
    if what in ("mix", "elixir"):
        return core.failure("a dependency wants Elixir, which this build does not have", "Elixir dependencies are not supported", 1)
    if package := PACKAGES.get(what) or PACKAGES.get(what.split("/")[0]):
        return core.failure(f"the build needs {what}", f"`build_packages: [{package}]` under `{core.KEY}:` in invoke.yaml", 1)
    said = [m[1] for m in re.finditer(r"^===> (.*(?:\n[ \t]+\S.*)*)", wrote, re.MULTILINE) if not PROGRESS.match(m[1])]
    compiled = RICH.search(wrote) or PLAIN.search(wrote)
    if compiled:
        file, line, _, text = (part for part in compiled.groups() if part is not None)
        error = f"{file}:{line}: {text.strip()}"
    elif said:
        error = re.sub(r"//[^@/\s]*@", "//", re.sub(r"\s+", " ", said[-1]).strip())[:300]
    else:
        return None
    hints = [hint.format(*found.groups()) for pattern, hint in STEP_HINTS if (found := re.search(pattern, wrote))]
    path = re.search(r"/app/src/([^\s\"'(){}\[\],]+)", error)
    if path and ABSENT.search(error):
        hints.append(core.absent(path[1], root))
    return core.failure(error.replace("/app/src/", ""), hints[0] if hints else "its output is above", 1)


core.EXPLAIN_STEP.append(explain_step)
