"""The files that decide the dependencies, and what of a rebar.config does."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from invoke.exceptions import Exit
from kit.repos import Repo

from ci.beamdock.consult import TermFile
from ci.beamdock.dependencies import dependency_files
from ci.beamdock.settings import Settings
from unit.conftest import Shell, said


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
