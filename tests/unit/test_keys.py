"""The checksum of all that decides the dependencies, and of nothing else."""

from __future__ import annotations

import platform
import re
from pathlib import Path
from typing import Any

import pytest
import trustme
from kit.repos import Repo

from unit.conftest import DOCKERFILE, plan


def key(root: Path, dockerfile: str = DOCKERFILE, flags: dict[str, Any] | None = None, **given: Any) -> str:
    given.setdefault("image", "shop")
    return plan(root, flags, "builder", dockerfile_text=dockerfile, **given).deps_key.checksum


def test_the_key_is_a_sha256(repo: Repo) -> None:
    assert re.fullmatch("[0-9a-f]{64}", key(repo.path))
    assert key(repo.path) == key(repo.path)


BUILDER = DOCKERFILE.index("ARG STORE")


@pytest.mark.parametrize(
    "declared",
    ["ARG A", "ARG A=0", "  arg A=0", "ARG OTHER A", "ARG OTHER \\ \n  # why\n  A=0", 'ARG "A=x y"', "ARG RUN_BASE=x A", "ONBUILD ARG A"],
)
def test_a_build_argument_counts_where_it_is_declared(repo: Repo, declared: str) -> None:
    dockerfile = f"{DOCKERFILE[:BUILDER]}{declared}\n{DOCKERFILE[BUILDER:]}"
    assert key(repo.path, dockerfile, build_args={"A": "1"}) != key(repo.path, dockerfile)


def test_a_stage_whose_name_begins_as_the_builders(repo: Repo) -> None:
    """It is not taken for the builder."""
    first = DOCKERFILE.replace("FROM base AS builder\n", "FROM base AS builder-base\nRUN true\n\nFROM builder-base AS builder\n")
    assert key(repo.path, first.replace("ARG STORE", "RUN make x\nARG STORE", 1)) != key(repo.path, first)


DECIDES: list[tuple[str, dict[str, str], dict[str, Any]]] = [
    ("rebar.config", {"rebar.config": "{deps, [a]}."}, {}),
    ("rebar.lock", {"rebar.lock": "[]."}, {}),
    ("rebar.config.script", {"rebar.config.script": "CONFIG."}, {}),
    ("an application's rebar.config", {"apps/a/rebar.config": "{deps, [b]}."}, {}),
    ("an application's script", {"lib/a/rebar.config.script": "CONFIG."}, {}),
    ("an empty file", {"apps/a/rebar.config": ""}, {}),
    ("the profile", {}, {"profile": "other"}),
    ("the base", {}, {"build_base": "erlang:28"}),
    ("the packages", {}, {"build_packages": ["libssl-dev"]}),
    ("the platform", {}, {"platform": "linux/riscv64"}),
    ("a checkout", {"_checkouts/x/src/x.erl": "-module(x)."}, {}),
    ("the environment", {}, {"build_env": {"A": "1"}}),
    ("the mirror", {}, {"debian_mirror": "http://m/debian"}),
    ("a rebar3 of the repo's", {"rebar3": "x"}, {"rebar3": "./rebar3"}),
    ("a named file", {"config/a.deps": "x"}, {"dependency_files": ["config/*"]}),
    ("the authority", {"ca.pem": trustme.CA().cert_pem.bytes().decode()}, {"certificate_authority": "ca.pem"}),
]


@pytest.mark.parametrize(("files", "given"), [case[1:] for case in DECIDES], ids=[case[0] for case in DECIDES])
def test_the_key_changes_with_what_decides(repo: Repo, files: dict[str, str], given: dict[str, Any]) -> None:
    before = key(repo.path)
    for name, text in files.items():
        repo.write(name, text)
    assert key(repo.path, **given) != before


@pytest.mark.parametrize(
    "stage", ["FROM ${BUILD_BASE} AS base", "FROM base AS builder", "/scripts/prepare builder", "ARG BUILD_BASE=", "--deps_only"]
)
def test_the_key_changes_with_the_builders_instructions(repo: Repo, stage: str) -> None:
    assert stage in DOCKERFILE
    assert key(repo.path, DOCKERFILE.replace(stage, f"{stage}x", 1)) != key(repo.path)


DOES_NOT: list[tuple[str, dict[str, str], dict[str, Any]]] = [
    ("README", {"README.md": "x"}, {}),
    ("a source", {"src/a.erl": "-module(a).", "apps/a/src/a.erl": "x"}, {}),
    ("configuration", {"config/sys.config.src": "[]."}, {}),
    ("invoke.yaml", {"invoke.yaml": "beamdock: {}"}, {}),
    ("_build", {"_build/default/rebar.config": "x"}, {}),
    ("run_base", {}, {"run_base": "debian:12"}),
    ("runtime packages", {}, {"runtime_packages": ["a"]}),
    ("the prebuild", {}, {"prebuild": "make x"}),
    ("a file that is not named", {"config/a.deps": "x", "rebar3": "x", "ca.pem": "x"}, {}),
    ("the release", {}, {"release": "other"}),
    ("the commit", {}, {"commit": "d" * 40}),
    ("edits", {}, {"dirty": ["x"]}),
    ("the registry", {}, {"registry": "r.example"}),
    ("provenance", {}, {"provenance": True}),
    ("a build argument that no instruction of theirs declares", {}, {"build_args": {"GIT_SHA": "1"}}),
    ("a proxy", {}, {"build_args": {"HTTP_PROXY": "http://p"}}),
    ("this machine's platform, spelt out", {}, {"platform": f"linux/{'amd64' if platform.machine() == 'x86_64' else 'arm64'}"}),
]


@pytest.mark.parametrize(("files", "given"), [case[1:] for case in DOES_NOT], ids=[case[0] for case in DOES_NOT])
def test_the_key_stays_with_what_does_not(repo: Repo, files: dict[str, str], given: dict[str, Any]) -> None:
    before = key(repo.path)
    for name, text in files.items():
        repo.write(name, text)
    assert key(repo.path, **given) == before


def test_the_key_stays_with_the_later_stages(repo: Repo) -> None:
    before, builder, after = DOCKERFILE.partition("--deps_only\n")
    assert key(repo.path, before + builder + after.replace("RUN ", "RUN true; ").replace("ENV ", "ENV A=b ")) == key(repo.path)


def test_the_key_stays_with_comments_and_the_runners_base(repo: Repo) -> None:
    assert key(repo.path, DOCKERFILE.replace("# The project, compiled.", "# The project.")) == key(repo.path)
    assert key(repo.path, "# Mine.\n\n" + DOCKERFILE) == key(repo.path)
    assert key(repo.path, re.sub("ARG RUN_BASE=.*", "ARG RUN_BASE=debian:12", DOCKERFILE)) == key(repo.path)


def test_the_key_changes_with_what_a_named_file_says(repo: Repo) -> None:
    """And with the authority's and rebar3's contents, not with their names alone."""
    given: dict[str, Any] = {"dependency_files": ["a"], "rebar3": "./rebar3", "certificate_authority": "ca.pem"}
    before, after = ([("a", n), ("rebar3", n), ("ca.pem", trustme.CA().cert_pem.bytes().decode())] for n in "12")
    for name, text in before:
        repo.write(name, text)
    keys = [key(repo.path, **given)]
    for name, text in after:
        repo.write(name, text)
        keys.append(key(repo.path, **given))
    assert len(set(keys)) == 4


def test_the_key_stays_with_the_release_where_no_image_is_set(repo: Repo) -> None:
    assert key(repo.path, image="", release="one") == key(repo.path, image="", release="two")


def test_the_key_has_no_seams(repo: Repo) -> None:
    """Neither a file of another name nor one file that holds what two did has the same key."""
    repo.write("apps/a/rebar.config", "x")
    one = key(repo.path)
    (repo.path / "apps/a").rename(repo.path / "apps/b")
    assert key(repo.path) != one
    repo.write("apps/a/rebar.config", "1")
    two = key(repo.path)
    (repo.path / "apps/b/rebar.config").unlink()
    repo.write("apps/a/rebar.config", "1apps/b/rebar.configx")
    assert key(repo.path) != two


def test_a_dockerfile_without_a_builder_counts_whole(tmp_path: Path) -> None:
    assert key(tmp_path, "FROM a\nRUN x\n") != key(tmp_path, "FROM a\nRUN y\n")
