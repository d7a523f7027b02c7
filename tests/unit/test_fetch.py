"""What rebar3 wrote where a dependency could not be fetched (3.24, and 3.28 where it differs), and what `unfetched`, a script of the
Dockerfile, says of it: once more as the build runs it, beside what rebar3 answers to DEBUG."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from kit.engines import ROOT

VERIFYING = "===> Verifying dependencies...\n"
ASKED = """\
===> Getting definition for package poolboy from repo hexpm (#{name => <<"hexpm">>,repo_verify_origin => true,
         repo_name => <<"hexpm">>,
         repo_url => <<"http://127.0.0.1:46697/hexpm">>,
         repo_organization => undefined,api_url => <<"https://hex.pm/api">>,
         repo_verify => true})
"""


def answered(status: int) -> str:
    return f"""\
===> Hex get_package request failed: {{ok,
                                      {{{status},
                                       #{{<<"content-length">> => <<"0">>,
                                         <<"server">> =>
                                          <<"BaseHTTP/0.6 Python/3.11.7">>}},
                                       <<>>}}}}
===> Failed to update package poolboy from repo hexpm
"""


UNSIGNED = "===> The registry repository hexpm uses a record format that has been deprecated for security reasons. The repository should be updated in order to be safer. You can disable this check by setting REBAR_NO_VERIFY_REPO_ORIGIN=1\n"
NOT_FOUND = "===> Package not found in any repo: poolboy\n"
MISMATCH = "===> Checksum mismatch for package poolboy-1.5.2 from repo hexpm\n===> Package not found in any repo: poolboy 1.5.2\n"
CRASH = """\
===> Fetching poolboy v1.5.2
{{error,function_clause,[{{rebar_fetch,format_error,[{{error,{0}}}],[{{file,"rebar_fetch.erl"}},{{line,99}}]}},{{rebar3,handle_error,2,[{{file,"rebar3.erl"}},{{line,376}}]}}]}}
Runtime terminating during boot ({{function_clause,[{{rebar_fetch,format_error,[{{error,{0}}}],[]}}]}})

Crash dump is being written to: erl_crash.dump...done
"""
UNCAUGHT = "===> Uncaught error in rebar_core. Run with DIAGNOSTIC=1 to see stacktrace or consult rebar3.crashdump\n"
UNCAUGHT_WHY = """\
===> Uncaught error: badarg
===> Stack trace to the error location:
[{io,format,
     ["===> Checksum mismatch for package ~ts-~ts from repo ~ts~n",
      [<<"poolboy">>,{{1,5,2},{[],[]}},<<"hexpm">>]],
     [{file,"io.erl"},
      {line,205}]}]
"""
REPORT = '===> When submitting a bug report, please include the output of `rebar3 report "your command"`\n'
PLUGIN = """\
===> throw {error,
               {rebar_app_utils,{missing_package,<<"poolboy">>,undefined}}} [{rebar_app_utils,
                                                                                update_source,
                                                                                3,
                                                                                [{file,
                                                                                  "rebar_app_utils.erl"}]}]
===> Errors loading plugin elseplug. Run rebar3 with DEBUG=1 set to see errors.
"""
UNREADABLE = """\
===> throw {error,
               {rebar_file_utils,
                   {bad_term_file,"/app/_build/default/plugins/badconf/rebar.config",
                       {1,erl_parse,["syntax error before: ",[]]}}}} [{rebar_file_utils,
                                                                       try_consult,
                                                                       1,
                                                                       [{file,"rebar_file_utils.erl"}]}]
"""
NOT_LOADED = "===> Errors loading plugin {badconf,\n                               {path, [],\n      x}}. Run rebar3 with DEBUG=1 set to see errors.\n"
BAD_CONFIG = 'rebar.config\'s plugin badconf can\'t be loaded: {error, {rebar_file_utils, {bad_term_file,"/app/_build/default/plugins/badconf/rebar.config", {1,erl_parse,["syntax error before: ",[]]}}}}'  # fmt: skip
SIGNED_BY = 'hex, [{repos, [#{name => <<"hexpm">>, repo_public_key => <<"-----BEGIN PUBLIC KEY...">>}]}]}.'
MIRROR = "is `hex_mirror` in invoke.yaml the right one?"
ANEW = f"{MIRROR} Where it was published anew, `invoke clean` forgets the old one"
LOCKED = f"{MIRROR} Where it was published anew, `rebar3 upgrade poolboy` locks what there is now"
DIFFERS = "poolboy 1.5.2 of hexpm is another one than rebar.lock has: the checksums differ"
# What rebar3 wrote; what it writes to DEBUG; the plugin that it went on without; the error, and the hint.
CASES: dict[str, tuple[str, str, str, str, str]] = {
    "a checksum that is not the lock's": (MISMATCH, MISMATCH, "", DIFFERS, LOCKED),
    "the same, of 3.28": (UNCAUGHT + REPORT, UNCAUGHT + UNCAUGHT_WHY + REPORT, "", DIFFERS, LOCKED),
    "a tarball that is not the registry's": (
        CRASH.format('{rebar_pkg_resource,{bad_registry_checksum,<<"poolboy">>,<<"1.5.2">>,1089,3431}}'), "", "",
        "poolboy 1.5.2 is another tarball than its registry says: the checksums differ", ANEW,
    ),
    "a tarball that is none": (CRASH.format("{hex_tarball,{tarball,bad_header}}"), "", "", "poolboy 1.5.2 is a damaged tarball", ANEW),
    "another key": (
        UNSIGNED + NOT_FOUND, UNSIGNED + NOT_FOUND, "", "poolboy can't be fetched: what hexpm sends is not signed with the key of hex.pm",
        f"a mirror with a key of its own: rebar.config, {{{SIGNED_BY}",
    ),
    "no package": (
        answered(404) + NOT_FOUND, answered(404) + NOT_FOUND, "", "poolboy is in no repository",
        f"hexpm has no package of this name: is it right, and {MIRROR}",
    ),
    "a mirror out of order": (
        answered(503) + NOT_FOUND, answered(503) + NOT_FOUND, "", "poolboy can't be fetched: hexpm answers 503", MIRROR,
    ),
    "a tarball that is not there": (
        "===> Fetching poolboy v1.5.2\n===> Failed to fetch and copy dep: poolboy-1.5.2\n",
        "===> Making request to get package poolboy from repo hexpm\n===> Request for package poolboy-1.5.2 failed: status code 404\n", "",
        "poolboy 1.5.2 can't be fetched: hexpm answers 404", MIRROR,
    ),
    "what a plugin needs": (
        answered(404) + PLUGIN, answered(404) + PLUGIN, "elseplug", "poolboy, which the plugin elseplug needs, is in no repository",
        f"hexpm has no package of this name: is it right, and {MIRROR}",
    ),
    "a plugin that is not Erlang": (
        NOT_LOADED, UNREADABLE + NOT_LOADED, "badconf", BAD_CONFIG, '`build_env: {DEBUG: "1"}` in invoke.yaml shows all that rebar3 says of it',
    ),
}  # fmt: skip


def unfetched(folder: Path, wrote: str, answers: str, plugin: str = "", **env: str) -> str:
    """What the script writes; in the place of rebar3 is what it wrote."""
    script = re.search(r"^(#!/bin/sh\n# unfetched SAID.*?)^unfetched$", (ROOT / "Dockerfile").read_text(), re.MULTILINE | re.DOTALL)
    assert script
    (folder / "unfetched").write_text(script[1])
    (folder / "said").write_text(VERIFYING + wrote)
    (folder / "answers").write_text(VERIFYING + ASKED + answers)
    (folder / "rebar.config").touch()
    words = ["sh", "unfetched", "said", plugin, "cat", "answers"]
    done = subprocess.run(words, cwd=folder, env={**os.environ, "HEX_MIRROR": "https://hex.example", **env}, capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("name", CASES)
def test_why_nothing_was_fetched(tmp_path: Path, name: str) -> None:
    wrote, answers, plugin, error, hint = CASES[name]
    assert unfetched(tmp_path, wrote, answers, plugin) == f"error: {error}\nhint: {hint}\n"


def test_a_repository_of_another_key_than_rebar_config_has(tmp_path: Path) -> None:
    (tmp_path / "rebar.config").write_text('{hex, [{repos, [#{name => <<"hexpm">>, repo_public_key => <<"...">>}]}]}.\n')
    unreadable = "===> Hex get_package request failed: {error,bad_key}\n" + NOT_FOUND
    for answers in (UNSIGNED + NOT_FOUND, unreadable):
        said = unfetched(tmp_path, NOT_FOUND, answers)
        assert said.startswith("error: poolboy can't be fetched: what hexpm sends is not signed with the repo_public_key in rebar.config\n")
        assert "REBAR_NO_VERIFY_REPO_ORIGIN" in said


def test_debug_is_not_asked_for_twice(tmp_path: Path) -> None:
    said = unfetched(tmp_path, NOT_LOADED, UNREADABLE + NOT_LOADED, "badconf", BUILD_ENV="DEBUG='1'")
    assert said == f'error: {BAD_CONFIG}\nhint: rebar3 says why above, before "Errors loading plugin"\n'


def test_no_key_of_a_repository_is_repeated(tmp_path: Path) -> None:
    """rebar3 writes the configuration of a repository into its answers."""
    crash = '===> error {bad,#{repo_key => <<"s3cr3t">>,url => "https://u:s3cr3t@hex.example"}} [{a,b,c,[]}]\n'
    assert "s3cr3t" not in unfetched(tmp_path, NOT_LOADED, crash + NOT_LOADED, "badconf")


LOST = """\
===> Fetching lost (from {git,"git://127.0.0.1:1/lost",{tag,"v2"}})
===> Errors loading plugin {lost,{git,"git://127.0.0.1:1/lost",
                                      {tag,"v2"}}}. Run rebar3 with DEBUG=1 set to see errors.
===> Fetching word (from {git,"git://127.0.0.1:1/word",
               {tag,"v1"}})
"""


def test_a_plugin_that_git_can_not_fetch_is_named(tmp_path: Path) -> None:
    """And not the dependency that was fetched after it."""
    assert unfetched(tmp_path, LOST, "", "lost").startswith("error: lost can't be fetched from git://127.0.0.1:1/lost: ")


HOOK = """\
===> Running hooks for compile in app zlast (/app/_build/default/lib/zlast) with configuration:
===> 	{pre_hooks, []}.
===> Running hooks for compile in app hooked (/app/_build/default/lib/hooked) with configuration:
===> 	{pre_hooks, [{compile,"cc -c c_src/x.c"}]}.
c_src/x.c:1:18: error: 'g' undeclared (first use in this function)
===> Hook for compile failed!
"""


def test_whose_hook_has_failed(tmp_path: Path) -> None:
    """rebar3 does not name it; what the compiler said is above, and is the error."""
    wrote = "c_src/x.c:1:18: error: 'g' undeclared (first use in this function)\n===> Hook for compile failed!\n\n"
    assert unfetched(tmp_path, wrote, HOOK) == "fetch: a hook of the dependency hooked has failed\n"
    plugin = HOOK.replace("default/lib/hooked", "default/plugins/hooked")
    assert unfetched(tmp_path, wrote, plugin, "hooked") == "fetch: a hook of the plugin hooked has failed\n"


def test_what_does_not_compile_has_been_fetched(tmp_path: Path) -> None:
    wrote = "===> Compiling broken\n===> Compiling _build/default/lib/broken/src/broken.erl failed\n"
    assert unfetched(tmp_path, wrote, "") == ""
