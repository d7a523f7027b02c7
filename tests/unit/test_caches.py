"""What a build goes on from: its keys, and the caches of other machines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kit.repos import Repo

from ci.beamdock.build import buildx_options
from ci.beamdock.caches import import_words
from ci.beamdock.docker import command_of
from ci.beamdock.model import Build, Caches
from ci.beamdock.plans import plan_build
from unit.conftest import DESK, project, request

LOCK = '[{<<"cowboy">>,{pkg,<<"cowboy">>,<<"2.10.0">>},0},\n {<<"gun">>,{git,"https://g/gun",{ref,"abc"}},0}].\n'
CONFIG = '{erl_opts, [debug_info]}.\n{deps, [cowboy, {gun, {git, "https://g/gun", {tag, "1"}}}]}.\n{relx, [{release, {a, "1"}, [a]}]}.\n'


def plan(root: Path, target: str = "runner", incremental: bool = False, flags: dict[str, Any] | None = None, **given: Any) -> Build:
    return plan_build(project(root, **given), request(target, ["main"], incremental=incremental, **(flags or {})))


def keys(repo: Repo, **given: Any) -> tuple[str, str]:
    arguments = plan(repo.path, incremental=True, **given).build_args
    return arguments["STORE"], arguments["WORK"]


@pytest.fixture
def locked(repo: Repo) -> Repo:
    repo.write("rebar.config", CONFIG)
    repo.write("rebar.lock", LOCK)
    return repo


# An edit, and whether the compiled dependencies and the compiled project may be gone on from after it.
EDITS: list[tuple[str, str, str, bool, bool]] = [
    ("a locked version", "rebar.lock", LOCK.replace("2.10.0", "2.11.0"), True, True),
    ("a lock that can't be read", "rebar.lock", "{", False, True),
    ("a locked dependency", "rebar.config", CONFIG.replace('"1"}}', '"2"}}'), True, True),
    ("one that is not locked", "rebar.config", CONFIG.replace("[cowboy,", "[cowboy, {jsx, {git, a, {tag, b}}},"), False, True),
    ("a profile's, never locked", "rebar.config", CONFIG + "{profiles, [{prod, [{deps, [recon]}]}]}.\n", False, False),
    ("relx", "rebar.config", CONFIG.replace('{a, "1"}', '{a, "2"}'), True, True),
    ("shell", "rebar.config", CONFIG + "{shell, [{apps, [a]}]}.\n", True, True),
    ("erl_opts", "rebar.config", CONFIG.replace("debug_info", "no_debug_info"), True, False),
    ("hooks", "rebar.config", CONFIG + '{pre_hooks, [{compile, "make"}]}.\n', True, False),
    ("overrides", "rebar.config", CONFIG + "{overrides, [{del, gun, [{erl_opts, [warnings_as_errors]}]}]}.\n", False, False),
    ("plugins", "rebar.config", CONFIG + "{plugins, [rebar3_gpb_plugin]}.\n", False, False),
    ("an application's erl_opts", "apps/a/rebar.config", "{erl_opts, [a]}.\n", False, False),
    ("a script", "rebar.config.script", "CONFIG.\n", False, False),
    ("a source", "src/a.erl", "-module(a).\n", True, True),
]


@pytest.mark.parametrize(("file", "text", "store", "work"), [e[1:] for e in EDITS], ids=[e[0] for e in EDITS])
def test_what_a_build_goes_on_from(locked: Repo, file: str, text: str, store: bool, work: bool) -> None:
    before = keys(locked)
    locked.write(file, text)
    after = keys(locked)
    assert (after[0] == before[0], after[1] == before[1]) == (store, work)


@pytest.mark.parametrize(
    ("given", "store", "work"),
    [
        ({"prebuild": "make"}, True, False),
        ({"build_env": {"A": "1"}}, False, False),
        ({"build_base": "erlang:28"}, False, False),
        ({"runtime_packages": ["a"]}, True, True),
        ({"run_base": "debian:12"}, True, True),
        ({"release": "b"}, True, True),
        ({"registry": "r.example"}, True, True),
        ({"dockerfile_text": "FROM x\n"}, False, False),
    ],
)
def test_which_settings_do(locked: Repo, given: dict[str, Any], store: bool, work: bool) -> None:
    before, after = keys(locked, image="shop"), keys(locked, image="shop", **given)
    assert (after[0] == before[0], after[1] == before[1]) == (store, work)


def test_the_keys_are_not_of_the_dependencies(locked: Repo) -> None:
    """At a desk and in CI the dependencies' image is the same."""
    assert plan(locked.path, incremental=True).deps_key == plan(locked.path).deps_key


def test_no_dependencies_are_kept_for_the_default_profile(locked: Repo) -> None:
    assert "STORE" not in plan(locked.path, incremental=True, profile="default").build_args


def test_no_cache_goes_on_from_nothing(locked: Repo) -> None:
    made = plan(locked.path, incremental=True, flags={"no_cache": True, "branch": "main"}, registry="r.example")
    assert not {"STORE", "WORK"} & set(made.build_args)
    assert made.caches == Caches()


def caches(root: Path, branch: str = "main", export: bool = False, target: str = "runner", **given: Any) -> tuple[list[str], str, str]:
    """Imports, export and the image of the dependencies, with the registry and the key cut short."""
    made = plan(root, target, flags={"branch": branch, "exports": export}, image="shop", registry="r.example", **given)
    short = [text.replace("type=registry,ref=r.example/shop:", "") for text in made.caches.imports]
    export_to = made.caches.export.replace("type=registry,ref=r.example/shop:", "")
    return short, export_to, made.caches.deps_image.replace(made.deps_key.checksum, "KEY")


DEPS = "r.example/shop:deps-KEY"


@pytest.mark.parametrize(
    ("branch", "given", "found"),
    [
        ("main", {}, (["main", "deps-of-main"], "type=inline", DEPS)),
        ("x", {}, (["x", "main", "deps-of-main"], "type=inline", DEPS)),
        ("", {}, (["main", "deps-of-main"], "type=inline", DEPS)),
        ("feature/ü#1", {"default_branch": "trunk"}, (["feature-u-1-a67949545c6281e1", "trunk", "deps-of-trunk"], "type=inline", DEPS)),
        ("x", {"target": "builder"}, (["x", "main", "deps-of-main"], "type=inline", DEPS)),
        (
            "x",
            {"cache": "registry"},
            (["cache-x", "cache-main"], "cache-x,mode=max,compression=gzip,force-compression=true,ignore-error=true", ""),
        ),
        ("x", {"cache": "none"}, ([], "", "")),
        ("main", {"build_args": {"BUILDKIT_INLINE_CACHE": "1"}}, (["main", "deps-of-main"], "", DEPS)),
        ("x", {"cache": "type=s3,bucket=b"}, (["type=s3,bucket=b"], "type=s3,bucket=b,ignore-error=true", "")),
    ],
)
def test_the_caches_of_a_push(repo: Repo, branch: str, given: dict[str, Any], found: tuple[list[str], str, str]) -> None:
    assert caches(repo.path, branch, export=True, **given) == found


def test_a_build_exports_none(repo: Repo) -> None:
    assert caches(repo.path)[1] == ""


def test_nothing_is_imported_without_a_registry(repo: Repo) -> None:
    asked = tuple(import_words(words) for words in ("r/x:y", "type=gha"))
    made = plan(repo.path, flags={"branch": "main", "cache_from": asked})
    assert made.caches == Caches(asked=("type=registry,ref=r/x:y", "type=gha"))
    words = [w for w in command_of(buildx_options(made, DESK)) if w.startswith("type=")]
    assert words == ["type=registry,ref=r/x:y", "type=gha", "type=image,compression=uncompressed"]
