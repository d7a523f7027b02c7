"""What a build comes to, as a value, before anything talks to docker: its tags, arguments, labels and contexts."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from invoke.exceptions import Exit
from kit.repos import Repo

from ci.beamdock.build import buildx_options
from ci.beamdock.consult import read_terms
from ci.beamdock.contexts import context_path
from ci.beamdock.git import Tree
from ci.beamdock.model import Build, Caches, DepsKey, Inputs, Output, Request
from ci.beamdock.options import RunOptions
from ci.beamdock.plans import target_tags
from ci.beamdock.project import Project
from ci.beamdock.rebar import Facts, Release
from ci.beamdock.settings import Settings
from unit.conftest import DESK, Shell, plan, project, said

COMMIT = "c" * 40


@pytest.mark.parametrize(
    ("dirty", "target", "more", "branch", "tags"),
    [
        ([], "runner", None, "main", [COMMIT, "main"]),
        ([], "runner", None, "", [COMMIT]),
        (["x"], "runner", None, "main", [f"{COMMIT}-dirty", "main"]),
        ([], "builder", None, "main", [f"{COMMIT}-builder"]),
        (["x"], "builder", None, "main", [f"{COMMIT}-dirty-builder"]),
        ([], "runner", ["v1", "v1.0"], "main", [COMMIT, "main", "v1", "v1.0"]),
        ([], "builder", ["b"], "", [f"{COMMIT}-builder", "b"]),
    ],
)
def test_target_tags(tmp_path: Path, dirty: list[str], target: str, more: list[str] | None, branch: str, tags: list[str]) -> None:
    """COMMIT and branch; a dirty tree never has the bare commit's; another stage never the branch's."""
    assert target_tags(project(tmp_path, dirty=dirty), target, branch, more or ()) == tuple(tags)


def test_the_arguments_are_the_settings(tmp_path: Path) -> None:
    """Those that are set, and no empty ones: the Dockerfile has its own defaults."""
    assert plan(tmp_path).build_args == {"PROFILE": "prod", "RELEASE": "tiny", "PROJECT": "tiny"}
    full = plan(
        tmp_path, image="shop/orders", build_base="b", run_base="r", build_packages=["x", "y"], runtime_packages=["z"], profile="p",
        debian_mirror="http://m/debian", rebar3="rebar3", prebuild="make x && true", build_env={"A": "b"},
    )  # fmt: skip
    assert full.build_args == {
        "PROFILE": "p", "RELEASE": "tiny", "PROJECT": "shop-orders", "BUILD_BASE": "b", "RUN_BASE": "r", "BUILD_PACKAGES": "x y",
        "RUNTIME_PACKAGES": "z", "DEBIAN_MIRROR": "http://m/debian", "REBAR3": "rebar3", "PREBUILD": "make x && true", "BUILD_ENV": "A=b",
    }  # fmt: skip


@given(
    st.dictionaries(st.from_regex(r"[A-Z][A-Z_]{0,5}", fullmatch=True), st.text(st.sampled_from("ab '\"$`\\\n#=é"), max_size=8), max_size=3)
)
@settings(max_examples=15)
def test_the_builds_environment_is_for_a_shell(build_env: dict[str, str]) -> None:
    """BUILD_ENV is lines that a shell takes as assignments: each value comes out as it went in."""
    lines = plan(Path("/nowhere"), build_env=build_env).build_args.get("BUILD_ENV", "")
    script = "set -a\n" + lines + "\nexec env -0\n"
    done = subprocess.run(["sh", "-c", script], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True)
    shown = dict(pair.split("=", 1) for pair in done.stdout.split("\0") if pair)
    assert {name: shown[name] for name in build_env} == build_env


def test_a_flags_argument_goes_over_a_settings(tmp_path: Path) -> None:
    made = plan(tmp_path, {"build_arg": ["A=2", "B==x=y", "C="]}, build_args={"A": "1", "D": "4", "PROFILE": "q"}).build_args
    assert {name: made[name] for name in "ABCD"} == {"A": "2", "B": "=x=y", "C": "", "D": "4"}
    assert made["PROFILE"] == "q"


def test_an_argument_without_a_value(tmp_path: Path) -> None:
    with pytest.raises(Exit) as caught:
        plan(tmp_path, {"build_arg": ["TOKEN"]})
    assert (caught.value.code, said(caught)) == (2, "error: --build-arg TOKEN has no value\nhint: --build-arg NAME=VALUE")


@pytest.mark.parametrize("tag", ["", "a/b", "-a", ".a", "a" * 129, "ü", "a:b", "a b", "a\n"])
def test_what_can_be_no_tag(tmp_path: Path, tag: str) -> None:
    with pytest.raises(Exit, match="can't be a tag") as caught:
        plan(tmp_path, tags=["main", tag])
    assert caught.value.code == 2


def test_latest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Exit, match="`latest` is never written") as caught:
        plan(tmp_path, tags=["main", "latest"])
    assert (caught.value.code, "\nhint: --tag with another name" in said(caught)) == (2, True)


def test_a_stage_called_dirty_is_refused(tmp_path: Path) -> None:
    """COMMIT-dirty is the tag of a tree with edits."""
    with pytest.raises(Exit, match="a stage can't be called dirty") as caught:
        target_tags(project(tmp_path), "dirty", "main")
    assert caught.value.code == 2


def test_tags_are_references_each_once(tmp_path: Path) -> None:
    assert plan(tmp_path, tags=["b", "a", "b"], registry="r.example").tags == ("r.example/tiny:b", "r.example/tiny:a")


@pytest.mark.parametrize(("target", "labelled"), [("runner", True), ("releaser", True), ("builder", False), ("tarball", False)])
def test_labels(tmp_path: Path, target: str, labelled: bool) -> None:
    """An image says its commit and project; the dependencies' does not, for they are the same in many commits."""
    labels = plan(tmp_path, target=target, dirty=["x"]).labels
    assert labels == (
        {"org.opencontainers.image.revision": f"{COMMIT}-dirty", "beamdock.project": "tiny", "beamdock.writable": ""} if labelled else {}
    )


def folder(made: Build, name: str) -> str:
    """Where a context is written."""
    return str(context_path(made.project.context_folder, name, made.contexts[name]))


def test_two_plans_share_no_folder_with_other_files(repo: Repo) -> None:
    """Each names its own commit's, whatever HEAD is by now; the same files are in the same folder."""
    (version,) = read_terms("{git, long}.")
    first = repo.head
    second = repo.commit("second")
    one, two, again = (plan(repo.path, version_term=version, commit=commit) for commit in (first, second, first))
    assert [made.contexts["git"]["HEAD"].decode().strip() for made in (one, two)] == [first, second]
    assert folder(one, "git") == folder(again, "git") != folder(two, "git")
    assert folder(one, "deps") == folder(two, "deps")
    assert buildx_options(one, DESK)["build_contexts"] == {name: folder(one, name) for name in ("git", "deps")}


def test_contexts_without_content_are_left_out(repo: Repo) -> None:
    """A fixed version reads no history, so the key has none; `git` is there where it's read."""
    assert set(plan(repo.path).contexts) == {"deps"}
    assert set(plan(repo.path, version_term=read_terms("{git, long}.")[0], commit=repo.head).contexts) == {"deps", "git"}


def test_an_app_src_that_reads_the_history(repo: Repo) -> None:
    repo.write("apps/a/src/a.app.src", "{application, a, [{vsn, git}]}.")
    assert "packed-refs" in plan(repo.path, commit=repo.head).contexts["git"]
    repo.write("apps/a/src/a.app.src", '{application, a, [{vsn, "1"}]}.')
    repo.write("_build/default/lib/b/src/b.app.src", "{application, b, [{vsn, git}]}.")
    assert "git" not in plan(repo.path).contexts


def test_plans_are_values() -> None:
    """Frozen, and equal where they say the same."""
    for kind in (Settings, Project, Build, Caches, DepsKey, Inputs, Output, Request, Release, Facts, Tree, RunOptions):
        assert dataclasses.is_dataclass(kind)
        assert kind.__dataclass_params__.frozen  # type: ignore[union-attr]
    assert plan(Path("/nowhere")) == plan(Path("/nowhere"))


def test_an_environment_that_is_all_quotes(shell: Shell) -> None:
    """For a shell a quote is five characters."""
    shell.repo.settings(f'  build_env: {{A: "{chr(39) * 90_000}"}}\n')
    said = shell.invoke("build", "--dry-run", code=2).err
    assert said.startswith("error: the build argument BUILD_ENV has more than 100000 bytes")
