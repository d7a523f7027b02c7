"""Dependencies are compiled when they change, and only those that change."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from kit.engines import Engine
from kit.githost import GitHost, git_host
from kit.repos import Desk, Repo, forget, new_repo
from kit.terms import ERRORS, TERMS, reduced_config

from ci.beamdock.consult import read_terms
from ci.beamdock.terms import write_term

CONFIG = """\
{{erl_opts, [debug_info]}}.
{{deps, [{deps}]}}.
{{relx, [{{release, {{shop, "1"}}, [shop, sasl]}}]}}.
{{profiles, [{{prod, [{{relx, [{{mode, prod}}]}}]}}]}}.
"""
TRANSFORM = """\
-module(ready).
-export([parse_transform/2]).
parse_transform(Forms, _) -> [transform(F) || F <- Forms].
transform({function, L, number, 0, _}) -> {function, L, number, 0, [{clause, L, [], [], [{integer, L, NUMBER + word:more()}]}]};
transform(F) -> F.
"""
WORD = "-module(word).\n-export([more/0]).\nmore() -> MORE.\n"
ACTS = "-module(acts).\n-callback act(NUMBER) -> ok.\n"
# A header that `user` includes, and `far` by way of it; a parse transform that `spoken` applies, and that calls `word`; a
# behaviour that `actor` has; and two that nobody's compiling looks at.
LIBRARIES = {
    "plain": {},
    "other": {},
    "acts": {"src/acts.erl": ACTS.replace("NUMBER", "1")},
    "actor": {"src/actor.erl": "-module(actor).\n-behaviour(acts).\n-export([act/1]).\nact(_) -> ok.\n"},
    "word": {"src/word.erl": WORD.replace("MORE", "0")},
    "header": {"include/header.hrl": "-define(NUMBER, 1).\n"},
    "user": {
        "include/user.hrl": '-include_lib("header/include/header.hrl").\n',
        "src/user_of.erl": '-module(user_of).\n-export([number/0]).\n-include("user.hrl").\nnumber() -> ?NUMBER.\n',
    },
    "far": {"src/far.erl": '-module(far).\n-export([number/0]).\n-include_lib("user/include/user.hrl").\nnumber() -> ?NUMBER.\n'},
    "ready": {"src/ready.erl": TRANSFORM.replace("NUMBER", "1")},
    "spoken": {"src/spoken.erl": "-module(spoken).\n-compile({parse_transform, ready}).\n-export([number/0]).\nnumber() -> 0.\n"},
}
NEEDS = {"user": ["header"], "far": ["user"], "ready": ["word"], "spoken": ["ready"], "actor": ["acts"]}


@dataclass(frozen=True)
class Shop:
    """A release with ten dependencies from a git server."""

    desk: Desk
    host: GitHost
    tags: dict[str, str]
    locked: bool = True
    of_profile: str = ""

    def bump(self, name: str, files: dict[str, str] | None = None) -> None:
        """Another version of a dependency, and the release uses it."""
        self.tags[name] = f"v{int(self.tags[name][1:]) + 1}"
        self.host.library(name, {**LIBRARIES[name], **needs(name), **(files or {})}, self.tags[name])
        self.configure()

    def configure(self) -> None:
        deps = ", ".join(self.host.dependency(name, tag) for name, tag in self.tags.items())
        config = CONFIG.format(deps=deps).replace("{mode, prod}]}", f"{{mode, prod}}]}}, {{deps, [{self.of_profile}]}}")
        self.desk.repo.write("rebar.config", config)
        if self.locked:
            pins = ",\n ".join(self.host.pin(name, tag) for name, tag in self.tags.items())
            self.desk.repo.write("rebar.lock", f"[{pins}].\n")

    def compiled(self, *options: str) -> dict[str, tuple[str, str]]:
        """Build the dependencies: their beams, path -> (contents, time)."""
        reference = self.desk.invoke("build", "--target=builder", *options).out
        listing = "cd /app/_build && find */lib -path '*/ebin/*' -type f -printf '%T@ %p ' -exec sha256sum {} ';' | cut -d ' ' -f 1-3"
        rows = [line.split() for line in self.desk.docker("run", "--rm", "--entrypoint=sh", reference, "-c", listing).splitlines()]
        return {path: (digest, time) for time, path, digest in rows}

    def as_from_nothing(self, before: dict[str, tuple[str, str]]) -> tuple[set[str], list[str]]:
        """Build on top of the last build, which must be as one from nothing. The libraries compiled since, and the ones fetched."""
        asked = len(self.host.fetched())
        now = self.compiled()
        fetched = self.host.fetched()[asked:]
        clean = self.compiled("--no-incremental")
        assert {p: digest for p, (digest, _) in now.items()} == {p: digest for p, (digest, _) in clean.items()}
        return {p.split("/")[2] for p, (_, time) in now.items() if p.endswith(".beam") and before.get(p, ("", ""))[1] != time}, fetched


def needs(name: str) -> dict[str, str]:
    applications = ", ".join(["kernel", "stdlib", *NEEDS.get(name, [])])
    return {f"src/{name}.app.src": f'{{application, {name}, [{{vsn, "1"}}, {{applications, [{applications}]}}]}}.\n'}


@pytest.fixture
def shop(tmp_path: Path, engine28: Engine) -> Iterator[Shop]:
    with git_host(tmp_path / "host") as host:
        for name, files in LIBRARIES.items():
            host.library(name, {**needs(name), **files})
        desk = Desk(engine28, new_repo(tmp_path / "shop"))
        applications = ", ".join(["kernel", "stdlib", *LIBRARIES])
        desk.repo.write("src/shop.app.src", f'{{application, shop, [{{vsn, "1"}}, {{applications, [{applications}]}}]}}.\n')
        desk.repo.write("src/shop.erl", "-module(shop).\n")
        desk.repo.settings("  network: host\n")
        made = Shop(desk, host, dict.fromkeys(LIBRARIES, "v1"))
        made.configure()
        desk.repo.commit()
        try:
            yield made
        finally:
            forget(desk.repo.image)


def test_a_bumped_dependency(shop: Shop) -> None:
    """One of ten: it alone is fetched and compiled; no module of the project is."""
    before = shop.compiled()
    shop.desk.invoke("build")
    shop.bump("plain")
    assert shop.as_from_nothing(before) == ({"plain"}, ["plain"])
    assert "work: compiled 0 modules" in shop.desk.invoke("build").err
    shop.bump("plain")
    assert ": dependencies compiled (1 module), 0 modules compiled" in shop.desk.invoke("build").err


def test_another_package_of_the_toolchain(shop: Shop) -> None:
    """All is compiled again, as its C code may need it; nothing is fetched again but what is another version, and it is said why."""
    before = shop.compiled()
    shop.desk.repo.settings("  network: host\n  build_packages: [zlib1g-dev]\n")
    asked = len(shop.host.fetched())
    said = shop.desk.invoke("build").err
    assert shop.host.fetched()[asked:] == []
    assert "\nthe dependencies are compiled again: BUILD_PACKAGES (build argument) is new\n" in said
    assert shop.as_from_nothing(before) == (set(LIBRARIES), [])
    shop.desk.repo.settings("  network: host\n  build_packages: [zlib1g-dev, m4]\n")
    shop.bump("plain")
    del shop.tags["far"]
    shop.configure()
    assert shop.as_from_nothing(before) == (set(LIBRARIES) - {"far"}, ["plain"])


def test_what_a_failed_step_leaves(shop: Shop) -> None:
    """A dependency does not compile: what was fetched, and what was compiled whole, a plugin too, is there at the next try, and at the
    one after. When it compiles, it is the only one that does."""

    def with_plugin() -> None:
        with (shop.desk.repo.path / "rebar.config").open("a") as config:
            config.write(f"{{plugins, [{shop.host.dependency('tool')}]}}.\n")

    shop.host.library("tool", {**needs("tool"), "rebar.config": "{pre_hooks, [{compile, \"echo 'the plugin is compiled'\"}]}.\n"})
    shop.host.library("plain", {**needs("plain"), "src/plain.erl": "-module(plain).\n-export(.\n"}, "v2")
    shop.tags["plain"] = "v2"
    shop.configure()
    with_plugin()
    assert "the plugin is compiled" in shop.desk.invoke("build", code=1).err
    asked = len(shop.host.fetched())
    for _ in range(2):
        said = shop.desk.invoke("build", code=1).err
        assert shop.host.fetched()[asked:] == []
        assert "the plugin is compiled" not in said
    assert said.splitlines()[-2].startswith("error: ") and "plain.erl" in said
    shop.bump("plain")
    with_plugin()
    assert ": dependencies compiled (1 module), " in shop.desk.invoke("build").err
    shop.bump("plain")
    assert shop.as_from_nothing({})[1] == ["plain"]


def test_a_plugin_that_is_not_there(shop: Shop) -> None:
    """No dependency is compiled without it, and none is fetched again at the next try."""
    with (shop.desk.repo.path / "rebar.config").open("a") as config:
        config.write('{plugins, [{lost, {git, "git://127.0.0.1:1/lost", {tag, "v1"}}}]}.\n')
    for _ in range(2):
        said = shop.desk.invoke("build", code=1).err
        assert said.splitlines()[-2].startswith("error: lost can't be fetched from git://127.0.0.1:1/lost")
        # It may have begun when it is ended, and is not let go on.
        assert len(re.findall("===> Compiling (?!_build)", said)) < len(LIBRARIES)
    assert sorted(shop.host.fetched()) == sorted(LIBRARIES)


@pytest.mark.parametrize(
    ("name", "files", "compiled"),
    [
        ("header", {"include/header.hrl": "-define(NUMBER, 2).\n"}, {"header", "user", "far"}),
        ("ready", {"src/ready.erl": TRANSFORM.replace("NUMBER", "2")}, {"ready", "spoken"}),
        # which may apply it itself
        pytest.param("word", {"src/word.erl": WORD.replace("MORE", "2")}, {"word", "spoken", "ready"}, marks=pytest.mark.long),
        pytest.param("acts", {"src/acts.erl": ACTS.replace("NUMBER", "2")}, {"acts", "actor"}, marks=pytest.mark.long),
    ],
    ids=["a header", "a parse transform", "what a parse transform calls", "a behaviour"],
)
def test_what_is_compiled_with_it(shop: Shop, name: str, files: dict[str, str], compiled: set[str]) -> None:
    before = shop.compiled()
    shop.bump(name, files)
    now, fetched = shop.as_from_nothing(before)
    assert (now, fetched) == (compiled, [name])


@pytest.mark.long
def test_a_dependency_of_the_profile_stays(shop: Shop) -> None:
    """The lock does not have it; it is kept as the others are."""
    shop.host.library("own")
    shop = replace(shop, of_profile=shop.host.dependency("own"))
    shop.configure()
    before = shop.compiled()
    assert "prod/lib/own/ebin/own.beam" in before
    shop.bump("plain")
    assert shop.as_from_nothing(before) == ({"plain"}, ["plain"])
    shop.host.library("own", tag="v2")
    shop = replace(shop, of_profile=shop.host.dependency("own", "v2"))
    shop.configure()
    assert "own" in shop.as_from_nothing(before)[0]
    shop = replace(shop, of_profile="")
    shop.configure()
    assert not [path for path in shop.compiled() if "/lib/own/" in path]


def test_a_profile_has_another_version_of_a_dependency(shop: Shop) -> None:
    """Of its own dependencies rebar3 takes what it finds, whatever the lock says."""
    shop.host.library("plain", tag="v2")
    shop.host.library("plain", tag="v3")
    for version in ("v2", "v3"):
        shop = replace(shop, of_profile=shop.host.dependency("plain", version))
        shop.configure()
        shop.as_from_nothing({})
        shop.desk.invoke("build")
        node = shop.desk.invoke("run", "--detach").out
        shop.desk.answers(node)
        assert shop.desk.node(node, "eval", "plain:version().") == version
        shop.desk.sweep()


def test_the_project_has_a_behaviour_of_a_dependency(shop: Shop) -> None:
    """It is told what the behaviour asks for now, as a build from nothing is."""
    shop.desk.repo.write("src/shop.erl", "-module(shop).\n-behaviour(acts).\n-export([act/1]).\nact(_) -> ok.\n")
    shop.desk.invoke("build")
    shop.bump("acts", {"src/acts.erl": "-module(acts).\n-callback act(1) -> ok.\n-callback cut() -> ok.\n"})
    assert "undefined callback function cut/0" in shop.desk.invoke("build").err


@pytest.mark.long
def test_a_header_that_went(shop: Shop) -> None:
    """What includes it can't be compiled any more, and is not left as it was."""
    repo = shop.desk.repo
    repo.write("src/shop.erl", '-module(shop).\n-export([n/0]).\n-include_lib("header/include/header.hrl").\nn() -> ?NUMBER.\n')
    shop.desk.invoke("build")
    (shop.host.repo("header").path / "include/header.hrl").unlink()
    shop.tags["header"] = "v2"
    shop.host.library("header", needs("header"), "v2")
    shop.configure()
    assert "header.hrl" in shop.desk.invoke("build", code=1).err


@pytest.mark.long
def test_another_source_of_the_same_version(shop: Shop) -> None:
    """rebar3 looks at the version alone, where a package is concerned; here the lock names another commit."""
    before = shop.compiled()
    shop.bump("other", {"src/other.erl": "-module(other).\n-export([version/0]).\nversion() -> fork.\n"})
    assert shop.as_from_nothing(before) == ({"other"}, ["other"])


@pytest.mark.long
def test_there_and_back(shop: Shop) -> None:
    """The older version's header is older than what was compiled with the newer one."""
    first = shop.compiled()
    shop.bump("header", {"include/header.hrl": "-define(NUMBER, 2).\n"})
    second = shop.compiled()
    assert second != first
    shop.tags["header"] = "v1"
    shop.configure()
    shop.host.library("plain", {"src/plain.app.src": needs("plain")["src/plain.app.src"]}, "v2")
    shop.tags["plain"] = "v2"  # a layer of its own, on top of the second
    shop.configure()
    assert shop.as_from_nothing(second)[0] == {"header", "user", "far", "plain"}


def test_after_their_image_was_taken(shop: Shop) -> None:
    """They were compiled elsewhere; another version of one is fetched and compiled alone all the same."""
    shop.desk.repo.settings(f"  network: host\n  registry: {shop.desk.engine.registry}/test\n")
    shop.desk.repo.commit()
    shop.desk.invoke("push")
    assert "dependencies from the registry" in shop.desk.invoke("build").err
    shop.bump("plain")
    asked = len(shop.host.fetched())
    bumped = shop.desk.invoke("build")
    assert ("deps: compiled 1 modules" in bumped.err, shop.host.fetched()[asked:]) == (True, ["plain"])
    assert shop.as_from_nothing(shop.compiled()) == (set(), [])


def test_a_dependency_taken_away(shop: Shop) -> None:
    before = shop.compiled()
    del shop.tags["other"]
    shop.desk.repo.edit("src/shop.app.src", ", other", "")
    shop.configure()
    compiled, _ = shop.as_from_nothing(before)
    assert "other" not in compiled
    assert not [path for path in shop.compiled() if "/lib/other/" in path]


def test_the_project_sees_a_dependencys_header(shop: Shop) -> None:
    """Also where the dependency's version goes back, to a header with an older time."""
    shop.desk.repo.write("src/shop.erl", '-module(shop).\n-export([n/0]).\n-include_lib("header/include/header.hrl").\nn() -> ?NUMBER.\n')
    shop.desk.invoke("build")
    shop.bump("header", {"include/header.hrl": "-define(NUMBER, 2).\n"})
    assert "work: compiled 1 modules" in shop.desk.invoke("build").err
    shop.tags["header"] = "v1"
    shop.configure()
    shop.desk.repo.edit("src/shop.app.src", '"1"', '"2"')
    assert "work: compiled 1 modules" in shop.desk.invoke("build").err


@pytest.mark.parametrize(
    ("folder", "described", "config"),
    [
        ("apps/other", "src/other.app.src", ""),
        pytest.param("apps/other", "ebin/other.app", "", marks=pytest.mark.long),
        pytest.param("services/other", "src/other.app.src", '{project_app_dirs, ["services/*", "."]}.\n', marks=pytest.mark.long),
    ],
)
def test_a_fork_of_a_dependency_in_the_tree(shop: Shop, folder: str, described: str, config: str) -> None:
    """rebar3 compiles it over the dependency's beams, and goes by times when it meets those again."""
    shop.bump("other", {"src/other.erl": "-module(other).\n"})
    description = needs("other")["src/other.app.src"].replace("[{", '[{description, ""}, {registered, []}, {modules, [other]}, {', 1)
    for name, text in {described: description, "src/other.erl": "-module(other).\n-export([forked/0]).\nforked() -> true.\n"}.items():
        shop.desk.repo.write(f"{folder}/{name}", text)
        os.utime(shop.desk.repo.path / folder / name, (10**9, 10**9))
    shop.desk.repo.edit("rebar.config", "{erl_opts", config + "{erl_opts")
    first = other_in_the_image(shop)
    shop.desk.repo.edit("src/shop.erl", "(shop).", "(shop).\n-export([f/0]).\nf() -> 1.")
    assert other_in_the_image(shop) == first == other_in_the_image(shop, "--no-incremental")
    shutil.rmtree(shop.desk.repo.path / folder)
    assert other_in_the_image(shop) != first


def other_in_the_image(shop: Shop, *options: str) -> str:
    file = "/opt/shop/lib/other-1/ebin/other.beam"
    return shop.desk.docker("run", "--rm", "--entrypoint=sha256sum", shop.desk.invoke("build", *options).out, file)


def test_without_a_lock(shop: Shop) -> None:
    """rebar3 then keeps whatever version is there; all are fetched anew."""
    (shop.desk.repo.path / "rebar.lock").unlink()
    shop = replace(shop, locked=False)
    before = shop.compiled()
    shop.bump("plain")
    compiled, fetched = shop.as_from_nothing(before)
    assert (compiled, set(fetched)) == (set(LIBRARIES), set(LIBRARIES))


@pytest.mark.parametrize("locked", [True, pytest.param(False, marks=pytest.mark.long)], ids=["locked", "no lock"])
def test_dependencies_of_applications_and_of_the_profile(shop: Shop, locked: bool) -> None:
    """An umbrella whose application has one of its own, and one that only the profile has: both are in the layer."""
    repo = shop.desk.repo
    (repo.path / "src/shop.app.src").unlink()
    (repo.path / "src/shop.erl").unlink()
    repo.write("apps/shop/src/shop.app.src", '{application, shop, [{vsn, "1"}, {applications, [kernel, stdlib, plain, other]}]}.\n')
    repo.write("apps/shop/src/shop.erl", "-module(shop).\n")
    repo.write("apps/shop/rebar.config", f"{{deps, [{shop.host.dependency('plain')}]}}.\n")
    prod = f"[{{relx, [{{mode, prod}}]}}, {{deps, [{shop.host.dependency('other')}]}}]"
    repo.write("rebar.config", f'{{relx, [{{release, {{shop, "1"}}, [shop]}}]}}.\n{{profiles, [{{prod, {prod}}}]}}.\n')

    def lock(version: str) -> None:
        repo.write("rebar.lock", f"[{shop.host.pin('plain', version)}].\n")
        if not locked:
            (repo.path / "rebar.lock").unlink()

    lock("v1")
    assert set(shop.host.fetched()) == set()
    assert "builder" in shop.desk.invoke("build").steps
    assert set(shop.host.fetched()) == {"plain", "other"}
    repo.edit("apps/shop/src/shop.erl", "(shop).", "(shop).\n-export([f/0]).\nf() -> plain:version().")
    asked = len(shop.host.fetched())
    assert "builder" not in shop.desk.invoke("build").steps
    assert shop.host.fetched()[asked:] == []
    node = shop.desk.invoke("run", "--detach").out
    shop.desk.answers(node)
    assert shop.desk.node(node, "eval", "{shop:f(), other:version()}.") == "{v1, v1}"
    shop.desk.sweep()
    shop.host.library("plain", needs("plain"), "v2")
    repo.write("apps/shop/rebar.config", f"{{deps, [{shop.host.dependency('plain', 'v2')}]}}.\n")
    lock("v2")
    assert "builder" in shop.desk.invoke("build").steps


# Terms that are written otherwise than they were read, or in quotes alone.
ODD = r'''
{erl_opts, []}.
{deps, []}.
{overrides, [{override, plain, [
    {'end', "a \"quoted\" \\ \n \x{263a} \xfc ü"}, {'maybe', 1.5e22}, {'Atom', 1.0e-7, -0.5}, {'else', $a, $\n, 16#ff, -2#11},
    {b, <<"bin\"ary\\">>, <<1, 2>>}, {m, #{a => [], <<"b">> => {}}}, {'\'', 'ü', 'or', a@b, '9a'}, "one " "string", [a, [b]], 1_000,
    fun lists:map/2, [a|b], #{"a" => 1, a => 1.0, 1 => {}}, <<"\xfc", 5:3, "ab":16/little>>, <<"日"/utf8>>, [(c)|"d"], - 1,
    ~"a\n", ~S(b\c), "two
    lines", """
      a "quoted"
       text
      """
]}]}.
'''


def test_erlang_reads_the_reduced_config_as_the_same_terms(engine28: Engine, tmp_path: Path) -> None:
    """But for what was left out."""
    few = reduced_config(ODD)
    assert "erl_opts" not in few
    (tmp_path / "all").write_text(ODD)
    (tmp_path / "few").write_text(few)
    ask = 'R = fun(F) -> {ok, T} = file:consult("/it/" ++ F), T end, true = lists:keydelete(erl_opts, 1, R("all")) =:= R("few"), halt().'
    engine28.docker("run", "--rm", f"--volume={tmp_path}:/it:ro", engine28.build_base, "erl", "-noshell", "-eval", ask)


# What is read on purpose though OTP 27 refuses it: older ones read it, or it does no harm.
LENIENT = {"maybe.", "\ufeffa."}


def test_erlang_reads_terms_and_errors_as_python_does(engine28: Engine, tmp_path: Path) -> None:
    """Each text of terms, and each as it is written again: the same terms. Each text that is none: an error of its own."""
    texts = [text for text, _ in TERMS if text not in LENIENT]
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.text").write_bytes(text.encode())
        (tmp_path / f"{number}.again").write_text("".join(f"{write_term(term)}.\n" for term in read_terms(text)))
    for number, (text, _, _) in enumerate(ERRORS):
        (tmp_path / f"{number}.wrong").write_bytes(text.encode())
    ask = (
        'C = fun(F) -> try file:consult(F) catch _:_ -> error end end, W = fun(P) -> filelib:wildcard("/it/*." ++ P) end,'
        'io:format("~w~n~w~n", [[F || F <- W("text"), begin {ok, T} = C(F), {ok, T} =/= C(filename:rootname(F) ++ ".again") end],'
        '[F || F <- W("wrong"), element(1, C(F)) =:= ok]]), halt().'
    )
    said = engine28.docker("run", "--rm", f"--volume={tmp_path}:/it:ro", engine28.build_base, "erl", "-noshell", "-eval", ask)
    assert said.split() == ["[]", "[]"]


NOT_THEIRS: dict[str, Callable[[Repo], object]] = {
    "relx": lambda r: r.edit("rebar.config", "sasl]", "sasl, crypto]"),
    "erl_opts": lambda r: r.edit("rebar.config", "debug_info", "debug_info, {d, 'X'}"),
    "comments and layout": lambda r: r.edit("rebar.config", "{deps, [", "% what it needs\n{deps,\n  ["),
    "shell": lambda r: r.write("rebar.config", (r.path / "rebar.config").read_text() + "{shell, [{apps, [shop]}]}.\n"),
    "a source": lambda r: r.edit("src/shop.erl", "(shop).", "(shop).\n-export([f/0]).\nf() -> 1."),
    "README": lambda r: r.write("README.md", "x"),
    "a test": lambda r: r.write("test/a_SUITE.erl", "x"),
    "ci": lambda r: r.write("ci/x.yml", "x"),
    "commit --amend": lambda r: r.git("commit", "--amend", "--quiet", "--message=other"),
    "a prebuild": lambda r: r.settings("  network: host\n  prebuild: 'true'\n"),
}


def test_what_does_not_concern_them(shop: Shop) -> None:
    """The layer stays, and rebar3 is not even asked."""
    key = shop.desk.key()
    assert "builder" in shop.desk.invoke("build").steps
    for what, edit in NOT_THEIRS.items():
        edit(shop.desk.repo)
        assert "builder" not in shop.desk.invoke("build").steps, what
        assert shop.desk.key() == key, what
