"""The files that decide the dependencies, and what of a rebar.config does."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from invoke.exceptions import Exit
from kit.repos import Repo
from kit.terms import reduced_config

from ci.beamdock.consult import TermFile, read_terms
from ci.beamdock.dependencies import dependency_files
from ci.beamdock.settings import Settings
from unit.conftest import Shell, plan, said


def deciding_files(root: Path, settings: Settings) -> Mapping[str, bytes]:
    """What decides the dependencies there, by path."""
    return dependency_files(root, settings, TermFile((root / "rebar.config").read_bytes(), [])).contents


def test_dependency_files(repo: Repo) -> None:
    """rebar.config, its script and lock at the top, the applications' own, and checkouts whole; nothing of _build or of git."""
    wanted = ["rebar.config", "rebar.lock", "rebar.config.script", "apps/a/rebar.config", "lib/b/rebar.config.script",
              "_checkouts/x/rebar.config", "_checkouts/x/src/x.erl"]  # fmt: skip
    others = ["README.md", "apps/a/src/a.erl", "_build/default/rebar.config", "_checkouts/x/_build/default/y", "_checkouts/x/.git/HEAD",
              "apps/a/deep/rebar.config", "a/rebar.lock", "rebar3", "config/more.deps", "versions.txt"]  # fmt: skip
    for name in [*wanted, *others]:
        repo.write(name, name)
    expected = {name: name.encode() for name in wanted}
    assert deciding_files(repo.path, Settings()) == expected
    assert deciding_files(repo.path, Settings(rebar3="rebar3")) == expected  # one of the base image's
    settings = Settings(rebar3="./rebar3", dependency_files=["config/*.deps", "versions.txt"])
    more = ("rebar3", "config/more.deps", "versions.txt")
    assert deciding_files(repo.path, settings) == {**expected, **{name: name.encode() for name in more}}


SECRETS = [".env", ".env.prod", ".ssh/id_rsa", "tls.key", "priv/x.pfx", ".netrc", "hex.config"]


def test_what_the_ignore_file_keeps_out_is_in_no_context(repo: Repo) -> None:
    """Secrets in checkouts, and among files that a pattern names. The file that counts is the one beside the Dockerfile."""
    for name in SECRETS:
        repo.write(f"_checkouts/x/{name}", "secret")
        repo.write(f"config/{name}", "secret")
    for name in ("_checkouts/x/src/x.erl", "config/a.deps", "config/README.md"):
        repo.write(name, "")
    settings = Settings(dependency_files=["config/*", "config/**/*"])
    assert set(deciding_files(repo.path, settings)) == {"rebar.config", "_checkouts/x/src/x.erl", "config/a.deps"}
    repo.write("Dockerfile.dockerignore", "**/*.erl\n")
    repo.write("rebar.lock", "[].")
    assert set(deciding_files(repo.path, settings)) >= {f"_checkouts/x/{name}" for name in SECRETS}
    assert "_checkouts/x/src/x.erl" not in deciding_files(repo.path, settings)
    # These are no secrets, and count where they are no part of the project's own context too.
    repo.write("Dockerfile.dockerignore", "*\n")
    assert set(deciding_files(repo.path, Settings())) == {"rebar.config", "rebar.lock"}


@pytest.mark.parametrize(("beside", "file"), [([], ".dockerignore"), (["Dockerfile.dockerignore"], "Dockerfile.dockerignore")])
def test_a_named_file_that_is_kept_out(repo: Repo, beside: list[str], file: str) -> None:
    repo.write("ci/versions.config", "")
    for name in beside:
        repo.write(name, "ci\n")
    with pytest.raises(Exit) as caught:
        deciding_files(repo.path, Settings(dependency_files=["ci/versions.config"]))
    assert caught.value.code == 2
    assert said(caught) == (
        f"error: {file} keeps ci/versions.config out, which is named under `beamdock:` in invoke.yaml\n"
        f"hint: if it is no secret, add !ci/versions.config at the end of {file}"
    )
    with (repo.path / file).open("a") as opened:
        opened.write("!ci/versions.config\n")
    assert "ci/versions.config" in deciding_files(repo.path, Settings(dependency_files=["ci/versions.config"]))


@pytest.mark.parametrize(
    ("given", "name"),
    [(Settings(dependency_files=["config/*.deps"]), "config/*.deps"), (Settings(rebar3="./rebar3"), "./rebar3")],
)
def test_a_named_dependency_file_that_is_none(repo: Repo, given: Settings, name: str) -> None:
    (repo.path / "config" / "a.deps").mkdir(parents=True)
    with pytest.raises(Exit) as caught:
        deciding_files(repo.path, given)
    assert (caught.value.code, said(caught)) == (2, f"error: {name} does not exist, and is named under `beamdock:` in invoke.yaml")


@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]])
@pytest.mark.parametrize("setting", ["dependency_files: [{}]", "rebar3: {}"])
def test_a_dependency_file_outside_of_the_project(shell: Shell, setting: str, dry_run: list[str]) -> None:
    """It is named, with the way out, and nothing is written: not beside the context, not with a file of the repo's own in its place."""
    outside = shell.path.parent / "versions.config"
    outside.write_text("theirs")
    (shell.path / "config").mkdir()
    (shell.path / "config" / "linked").symlink_to(outside)
    for name in ("../versions.config", "config/../../versions.*", "../../../../../../../../etc/hostname", str(outside), "config/linked"):
        shell.repo.settings(f"  {setting.format(json.dumps(name))}\n")
        before = shell.repo.everything()
        done = shell.invoke("build", *dry_run, code=2)
        word = "is a link to" if name == "config/linked" else "is outside"
        assert re.fullmatch(rf"error: {re.escape(name)} {word}.*\nhint: a copy in the project's folder, or a submodule", done.err)
        assert (shell.repo.everything(), outside.read_text()) == (before, "theirs")


def test_a_dependency_file_by_another_path_to_it(repo: Repo) -> None:
    """With dots that lead back, whole, or by a link that stays within: its name in the build is one without dots."""
    repo.write("config/a.deps", "x")
    (repo.path / "link").symlink_to("config/a.deps")
    for name in ("config/../config/a.deps", str(repo.path / "config/a.deps"), "./config/*.deps"):
        assert set(deciding_files(repo.path, Settings(dependency_files=[name]))) == {"rebar.config", "config/a.deps"}
    assert deciding_files(repo.path, Settings(dependency_files=["link"]))["link"] == b"x"


def test_a_linked_configuration(repo: Repo) -> None:
    """One that leads out would be a link to nowhere in the build; what is in _checkouts is as it comes."""
    (repo.path.parent / "shared").write_text("{deps, []}.")
    (repo.path / "_checkouts" / "x").mkdir(parents=True)
    (repo.path / "_checkouts" / "x" / "rebar.config").symlink_to(repo.path.parent / "shared")
    assert deciding_files(repo.path, Settings())["_checkouts/x/rebar.config"] == b"{deps, []}."
    (repo.path / "rebar.lock").symlink_to("../shared")
    with pytest.raises(Exit, match=r"^error: rebar.lock is a link to .*/shared, outside of the project's folder"):
        deciding_files(repo.path, Settings())


UMBRELLA = {
    "rebar.config": "{deps, [a]}.\n",
    "apps/one/rebar.config": '{deps, [b, {a, "2"}, two]}.\n',
    "apps/two/src/two.app.src": "{application, two, []}.\n",
    "_checkouts/c/rebar.config": "{deps, [d]}.\n",
    "examples/x/rebar.config": "{deps, [e]}.\n",
}


@pytest.mark.parametrize(
    ("files", "deps"),
    [
        ({}, "{deps,[a,b]}.\n"),
        ({"rebar.lock": "[].\n"}, "{deps,[a]}.\n"),
        ({"rebar.config": "{plugins, [p]}.\n"}, '{plugins,[p]}.\n{deps,[b,{a,"2"}]}.\n'),
        ({"rebar.config.script": "CONFIG."}, "{deps, [a]}.\n"),
        ({"apps/one/rebar.config": "{deps, ["}, "{deps,[a]}.\n"),
    ],
    ids=["no lock", "a lock", "none at the top", "a script", "not readable"],
)
def test_the_dependencies_of_applications(repo: Repo, files: dict[str, str], deps: str) -> None:
    """Where no lock has them they stand beside those of the top; not an application of the project itself, nor what is none."""
    for name, text in {**UMBRELLA, **files}.items():
        repo.write(name, text)
    assert plan(repo.path).contexts["deps"]["rebar.config"].decode() == deps


CONFIG = """\
%% why
{erl_opts, [debug_info]}.
{deps, [{jsx, "3.1.0"}, {'Odd-name', {git, "https://example.com/x", {tag, "v1"}}}]}.
{plugins, [{rebar3_hex, "7.0.8"}]}.
{overrides, [{override, jsx, [{erl_opts, [debug_info]}]}]}.
{relx, [{release, {a, "1"}, [a]}]}.
{profiles, [{prod, [{relx, [{mode, prod}]}, {deps, [recon]}]}, {test, [{deps, [meck]}]}]}.
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("%% why\n", ""),
        ("[debug_info]}.\n{deps", "[debug_info, {d, 'X'}]}.\n{deps"),
        ('{release, {a, "1"}, [a]}', '{release, {a, "2"}, [a, sasl]}'),
        ("{mode, prod}", "{dev_mode, false}"),
        ("[meck]", "[meck, proper]"),
        ('{jsx, "3.1.0"}', '{jsx,\n  "3.1.0"}'),
        ("'Odd-name'", "'\\x4fdd-name'"),
    ],
)
def test_what_does_not_concern_dependencies_leaves_the_reduced_config(old: str, new: str) -> None:
    changed = CONFIG.replace(old, new)
    assert changed != CONFIG
    assert reduced_config(changed, "prod") == reduced_config(CONFIG)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("3.1.0", "3.1.1"),
        ("v1", "v2"),
        ("7.0.8", "7.0.9"),
        ("{override, jsx, [{erl_opts, [debug_info]}]}", "{override, jsx, [{erl_opts, []}]}"),
        ("[recon]", "[recon, gproc]"),
        ("{plugins", "{hex, [{repos, []}]}.\n{plugins"),
        ("{plugins", "{nobody_knows, 1}.\n{plugins"),
    ],
)
def test_what_decides_dependencies_changes_the_reduced_config(old: str, new: str) -> None:
    assert reduced_config(CONFIG.replace(old, new), "prod") != reduced_config(CONFIG)


def test_the_reduced_config_reads_back_as_the_same_terms() -> None:
    kept = {"deps", "plugins", "overrides", "profiles"}
    reduced = read_terms(reduced_config(CONFIG))
    assert [t[0] for t in reduced] == [t[0] for t in read_terms(CONFIG) if t[0] in kept]
    assert reduced[0] == read_terms(CONFIG)[1]


@pytest.mark.parametrize(
    "term",
    ['{deps, [{a, #{"x" => 1, x => {}}}]}', "{x, fun lists:map/2}", '{x, <<"\\x{fc}", 1:7>>}', "{x, [a|b]}", "{[x], y}", "{#{}, 1}", "x"],
)
def test_terms_that_python_has_no_type_for_are_reduced_too(term: str) -> None:
    """Their layout goes, they stay."""
    reduced = reduced_config(f"%% why\n {term.replace(',', ' , ')} . {{erl_opts, []}}.")
    assert reduced == reduced_config(f"{term}.")
    assert read_terms(reduced) == read_terms(f"{term}.")


@pytest.mark.parametrize(
    "text",
    ["{deps, [}.", '%% coding: Latin-1\n{x, "\udcfc"}.'],
)
def test_a_config_that_can_not_be_reduced_safely_goes_in_whole(text: str) -> None:
    assert reduced_config(text) == text
