"""What a step wrote that failed, as one error: the compiler's or rebar3's, and what to do where that is known."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ci.beamdock.explain import explain_failure
from unit.test_explain import BUILD, STEP_DRAWN, STEP_PLAIN, told


@pytest.mark.parametrize("log", [STEP_PLAIN, STEP_DRAWN], ids=["plain", "drawn"])
def test_a_failing_step(log: str) -> None:
    """The step as the Dockerfile has it, its exit code, and nothing that was given as a build argument."""
    assert told(log) == "error: a step of the Dockerfile failed with exit code 7: echo $TOKEN; exit 7\nhint: its output is above"


def test_the_dockerfiles_own_words() -> None:
    """`error:` and `hint:` lines that a step wrote are the error, each once, from either form."""
    plain = STEP_PLAIN.replace("#5 0.207 s3cr3t-value", "#5 0.222 error: this and that\n#5 0.223 hint: do so").replace(
        "0.207 s3cr3t-value", "0.222 error: this and that\n0.223 hint: do so"
    )
    drawn = STEP_DRAWN.replace("0.349 s3cr3t-value\r", "0.222 error: this and that\r\n0.223 hint: do so\r")
    assert told(plain) == told(drawn) == "error: this and that\nhint: do so"


def test_the_words_of_another_step_are_not_it() -> None:
    """Any tool may begin a line with `error:`; only what the failing step wrote, between its lines of hyphens, counts."""
    log = STEP_PLAIN.replace(
        "#4 CACHED\n", "#4 CACHED\n\n#3 [builder 1/1] RUN configure\n#3 0.1 error: no such thing, going on without\n#3 DONE 0.2s\n"
    )
    assert told(log) == told(STEP_PLAIN)
    assert told(STEP_PLAIN + "0.1 error: after it\n") == told(STEP_PLAIN)


def failing(*wrote: str, log: str = STEP_PLAIN) -> str:
    """The log of a step that wrote these lines before it failed."""
    lines = [f"0.{n} {line}" for n, line in enumerate(wrote, 210)]
    log = log.replace("#5 0.207 s3cr3t-value", "\n".join(f"#5 {line}" for line in lines))
    return re.sub(r"(exit 7:(\r?)\n)0\.\d+ s3cr3t-value", lambda m: m[1] + f"{m[2]}\n".join(lines), log)


# What compilers, linkers and shells say (gcc 12, ld, dash, bash, env, make 4.3, rebar3's port compiler).
MISSES: list[tuple[str, str, str]] = [
    ("c_src/x.c:3:10: fatal error: openssl/ssl.h: No such file or directory", "openssl/ssl.h", "libssl-dev"),
    ("x.c:1:10: fatal error: erl_nif.h: No such file or directory", "erl_nif.h", "erlang-dev"),
    ("x.c:1:10: fatal error: netinet/sctp.h: No such file or directory", "netinet/sctp.h", "libsctp-dev"),
    ("/usr/bin/ld: cannot find -lsodium: No such file or directory", "sodium", "libsodium-dev"),
    ("/usr/bin/ld: cannot find -lz", "z", "zlib1g-dev"),
    ("/bin/sh: 1: cmake: not found", "cmake", "cmake"),
    ("/bin/sh: 1: exec: cc: not found", "cc", "build-essential"),
    ("bash: line 1: autoreconf: command not found", "autoreconf", "autoconf"),
    ("make[1]: g++: No such file or directory", "g++", "build-essential"),
    ("sh: cargo: not found", "cargo", "cargo"),
    ("/usr/bin/env: ‘python3’: No such file or directory", "python3", "python3"),
    ("/usr/bin/env: 'perl': No such file or directory", "perl", "perl"),
]


@pytest.mark.parametrize("log", [STEP_PLAIN, STEP_DRAWN], ids=["plain", "drawn"])
@pytest.mark.parametrize(("wrote", "what", "package"), MISSES, ids=[case[1] for case in MISSES])
def test_what_a_compiler_misses(log: str, wrote: str, what: str, package: str) -> None:
    """A header, a library or a tool: the Debian package that has it, as the line for invoke.yaml."""
    text = told(failing("===> Compiling x", wrote, "===> Hook failed", log=log))
    assert text == f"error: the build needs {what}\nhint: `build_packages: [{package}]` under `beamdock:` in invoke.yaml"


@pytest.mark.parametrize("tool", ["mix", "elixir"])
def test_a_dependency_of_elixir(tool: str) -> None:
    text = told(failing(f"/bin/sh: 1: {tool}: not found"))
    assert text == "error: a dependency wants Elixir, which this build does not have\nhint: Elixir dependencies are not supported"


@pytest.mark.parametrize(
    "wrote",
    ["/usr/bin/ld: cannot find -lours", "/bin/sh: 1: ours: not found",
     "escript: cmake: not found in path", "cmake: command: not found"],
)  # fmt: skip
def test_what_no_package_is_known_for(wrote: str) -> None:
    """Then the step itself is the error, and its output says the rest."""
    assert told(failing(wrote)) == told(STEP_PLAIN)


# What rebar3 3.24 and compilers wrote, the error, and the hint.
ABOVE = "its output is above"


WROTE: list[tuple[str, str, str]] = [
    (
        """\
===> Compiling demo
===> Compiling src/demo.erl failed
   ┌─ src/demo.erl:
   │
 2 │  -export([f/0, g/0]).
   │   ╰── Warning: something

   ┌─ src/demo.erl:
   │
 3 │  f() -> 1
   │         ╰── syntax error before: g


   ┌─ src/demo.erl:
   │
 2 │  -export([f/0]).
   │   ╰── function f/0 undefined
""",
        "src/demo.erl:3: syntax error before: g",
        ABOVE,
    ),
    (
        "===> Compiling src/demo.erl failed\n   ┌─ src/demo.erl:\n   │\n 3 │  f() -> maybe.\n   │              ╰── syntax error before: '.'\n",
        "src/demo.erl:3: syntax error before: '.'",
        "`build_env: {ERL_COMPILER_OPTIONS: '[{feature,maybe_expr,disable}]'}` in invoke.yaml: `maybe` is a keyword since OTP 27",
    ),
    ("src/demo.erl:1:2: Warning: x\n/app/src/src/demo.erl:3:8: syntax error before: x", "src/demo.erl:3: syntax error before: x", ABOVE),
    (
        "c_src/x.c:1:1: warning: y\nc_src/x.c:7:10: fatal error: ours.h: No such file or directory",
        "c_src/x.c:7: ours.h: No such file or directory",
        ABOVE,
    ),
    (
        "===> Assembling release demo-1...\n===> The vm.args file specified for this release (/app/src/config/vm.args) does not exist!",
        "The vm.args file specified for this release (config/vm.args) does not exist!",
        "config/vm.args is not in the repo either: is its name right? What is to be made before rebar3 runs, `prebuild` makes",
    ),
    (
        "===> The vm.args file specified for this release (/app/src/kept/out) does not exist!",
        "The vm.args file specified for this release (kept/out) does not exist!",
        ".dockerignore keeps kept/out out of the build: add !kept/out at its end",
    ),
    (
        '===> Unable to copy from /app/src/kept/out to /app/_build/prod/rel/demo/x because of {copy_failed,\n    "/app/src/kept/out",\n     enoent}',
        'Unable to copy from kept/out to /app/_build/prod/rel/demo/x because of {copy_failed, "kept/out", enoent}',
        ".dockerignore keeps kept/out out of the build: add !kept/out at its end",
    ),
    (
        "===> OTP release 28 or later is required. Version in use: 27.3.4.1",
        "OTP release 28 or later is required. Version in use: 27.3.4.1",
        "`build_base: erlang:28`, and `run_base` of the same Debian, in invoke.yaml",
    ),
    (
        "===> Verifying dependencies...\n===> Failed to update package cowboy from repo hexpm\n===> Package not found in any repo: cowboy",
        "Package not found in any repo: cowboy",
        "is there a network in the build? `network: host` in invoke.yaml, or `proxies` in ~/.docker/config.json",
    ),
    (
        "fatal: unable to access 'https://github.com/x/y.git/': Could not resolve host: github.com\n===> Hook for compile failed!",
        "Hook for compile failed!",
        "is there a network in the build? `network: host`, or `git_rewrites` for git, in invoke.yaml; `proxies` in ~/.docker/config.json",
    ),
    (
        '===> Failed to fetch and copy dep: {git,"https://u:s3cr3t-value@x.example/a.git",\n                 {tag,"1"}}',
        'Failed to fetch and copy dep: {git,"https://x.example/a.git", {tag,"1"}}',
        ABOVE,
    ),
    ("===> Application needed for release not found: cowboy", "Application needed for release not found: cowboy", ABOVE),
]


@pytest.mark.parametrize("log", [STEP_PLAIN, STEP_DRAWN], ids=["plain", "drawn"])
@pytest.mark.parametrize(("wrote", "error", "hint"), WROTE, ids=[case[1][:40] for case in WROTE])
def test_what_a_step_wrote(log: str, wrote: str, error: str, hint: str, tmp_path: Path) -> None:
    """The compiler's first error, or rebar3's last; and what to do where that is known."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "out").touch()
    told = explain_failure(failing(*wrote.splitlines(), log=log), BUILD, tmp_path)
    assert str(told.message) == f"error: {error}\nhint: {hint}"


def test_a_step_that_nobody_can_explain() -> None:
    """What it wrote is above, and its command is named."""
    assert told(failing("something else", log=STEP_PLAIN)).startswith("error: a step of the Dockerfile failed with exit code ")


DEPENDENCIES = 'fetch ${STORE:+resume deps /store "$STORE"} build as "$PROFILE" compile --deps_only'


RICH = """\
===> Compiling broken
===> Compiling _build/default/{0}/broken/src/broken.erl failed
   ┌─ _build/default/{0}/broken/src/broken.erl:
   │
 4 │  g() -> 2.
   │  ╰── syntax error before: g
"""


C_ERROR = "c_src/x.c:1:18: error: ‘g’ undeclared (first use in this function)\n===> Hook for compile failed!\n"


IN_DEPENDENCIES: list[tuple[str, str]] = [
    (RICH.format("lib"), "error: the dependency broken does not compile: _build/default/lib/broken/src/broken.erl:4: syntax error before: g"),
    (RICH.format("plugins"), "error: the plugin broken does not compile: _build/default/plugins/broken/src/broken.erl:4: syntax error before: g"),
    (
        f"{C_ERROR}fetch: a hook of the dependency hooked has failed",
        "error: the dependency hooked does not compile: c_src/x.c:1: ‘g’ undeclared (first use in this function)",
    ),
    ("===> Hook for compile failed!\nfetch: a hook of the plugin hooked has failed", "error: a hook of the plugin hooked has failed"),
    (
        "x.c:1:10: fatal error: yaml.h: No such file or directory\n===> Hook for compile failed!\nfetch: a hook of the dependency fast_yaml has failed",
        "error: the dependency fast_yaml needs yaml.h\nhint: `build_packages: [libyaml-dev]`",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("wrote", "error"), IN_DEPENDENCIES, ids=[case[1][:40] for case in IN_DEPENDENCIES])
def test_whose_error_it_is(wrote: str, error: str) -> None:
    """Where the dependencies are compiled. In the project's own step the path is that of its own application."""
    log = failing(*wrote.splitlines())
    assert told(log.replace("echo $TOKEN; exit 7", DEPENDENCIES)).startswith(error)
    assert "does not compile" not in told(failing(*RICH.format("lib").splitlines()))


REBAR_CONFIG = """\
{erl_opts, [debug_info]}. % poolboy 2.0
{deps, [
    cowboy, cowboy_telemetry,
    {poolboy,
        "9.9.9"}
]}.
{profiles, [{prod, [{deps, [{telemetry, "~> 2.0"}]}]}, {test, [{deps, [{telemetry, "1.0.0"}]}]}]}.
"""


LOCK = """\
{"1.2.0",
[{<<"cowlib">>,{pkg,<<"cowlib">>,<<"2.12.1">>},1},
 {<<"poolboy">>,{pkg,<<"poolboy">>,<<"1.5.2">>},0}]}.
"""


NOWHERE = "is in no repository"


LOCKS = "is another one than rebar.lock has: the checksums differ"


PLACES = [
    (f"poolboy 9.9.9 {NOWHERE}", " (rebar.config:4)"),
    (f"poolboy 1.5.2 {NOWHERE}", " (rebar.lock:3)"),
    (f"poolboy {NOWHERE}", " (rebar.config:4)"),
    (f"cowboy {NOWHERE}", " (rebar.config:3)"),
    (f"telemetry ~> 2.0 {NOWHERE}", " (rebar.config:7)"),
    (f"cowlib 2.12.1 {NOWHERE}", " (rebar.lock:2)"),
    (f"idna 9.0.0 {NOWHERE}", ""),
    (f"own 1.0.0 {NOWHERE}", " (apps/shop/rebar.config:1)"),
    (f"poolboy 1.5.2 of hexpm {LOCKS}", " (rebar.lock:3)"),
    (f"poolboy, which the plugin x needs, {NOWHERE}", ""),
    ("poolboy can't be fetched: hexpm can't be reached", ""),
]


@pytest.mark.parametrize(("error", "place"), PLACES, ids=[case[0][:40] for case in PLACES])
def test_where_a_package_is_asked_for(error: str, place: str, tmp_path: Path) -> None:
    """The line of its version, or else the first that names it; a dependency's own dependency has none but the lock's."""
    (tmp_path / "rebar.config").write_text(REBAR_CONFIG)
    (tmp_path / "rebar.lock").write_text(LOCK)
    (tmp_path / "apps" / "shop").mkdir(parents=True)
    (tmp_path / "apps" / "shop" / "rebar.config").write_text('{deps, [{own, "1.0.0"}]}.\n')
    found = explain_failure(failing(f"error: {error}", "hint: so"), BUILD, tmp_path)
    assert str(found.message) == f"error: {error}{place}\nhint: so"


def test_what_another_step_missed_is_not_it() -> None:
    log = STEP_PLAIN.replace("#4 CACHED\n", "#4 CACHED\n\n#3 [a 1/1] RUN x\n#3 0.1 /bin/sh: 1: cmake: not found\n#3 DONE 0.2s\n")
    assert told(log) == told(STEP_PLAIN)


def test_what_a_step_went_on_without_is_not_it() -> None:
    """A hook that looked for curl and did without; the compiler's error comes later."""
    later = [*(f"===> Compiling dep{i}" for i in range(10)), "src/shop.erl:3: syntax error before: foo"]
    assert told(failing("sh: 1: curl: not found", *later, log=STEP_PLAIN)).startswith("error: src/shop.erl:3: syntax error before: foo\n")


def test_the_dockerfiles_own_words_go_over_what_is_missing() -> None:
    assert told(failing("/bin/sh: 1: cmake: not found", "error: no cmake", "hint: get one")) == "error: no cmake\nhint: get one"


@pytest.mark.parametrize("program", ["/bin/bash -c echo $TOKEN; exit 3", "/etc/passwd", "/bin/bash -euo pipefail -c x"])
def test_a_failing_step_of_another_shell(program: str) -> None:
    text = told(f'ERROR: failed to build: failed to solve: process "{program}" did not complete successfully: exit code: 3\n')
    assert text.startswith("error: a step of the Dockerfile failed with exit code 3: ")
