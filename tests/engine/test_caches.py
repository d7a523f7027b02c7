"""Caches that travel, of each kind: a second, empty engine stands for the fresh machine."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from kit.engines import Engine
from kit.registry import Registry
from kit.repos import CI, Desk


def test_a_fresh_machine_with_nothing_new(shop: Desk, empty_engine: Engine) -> None:
    shop.invoke("push", "--branch")
    assert Desk(empty_engine, shop.repo).invoke("build", env=CI).steps == []


def test_a_machine_that_has_them_takes_what_it_is_told_to(shop: Desk) -> None:
    """What else a cache that was asked for has is not known here."""
    shop.invoke("build")
    shop.repo.edit("src/tiny.erl", "42", "43")
    cache = f"{shop.engine.registry}/test/{shop.repo.image}:asked-for"
    assert f"importing cache manifest from {cache}" in shop.invoke("build", f"--cache-from={cache}").err


@pytest.mark.parametrize(
    ("damaged", "task"),
    [
        ("under the key", "build"),
        pytest.param("the branch's", "build", marks=pytest.mark.long),
        ("the branch's", "push"),
        pytest.param("of the default branch", "build", marks=pytest.mark.long),
    ],
)
def test_a_damaged_image(shop: Desk, empty_engine: Engine, damaged: str, task: str) -> None:
    """Its manifest is there, and a layer is not: the build goes on without it, and says so."""
    fresh = Desk(empty_engine, shop.repo)
    shop.invoke("push", "--branch=trunk")
    registry, repository = Registry(shop.engine.registry), f"test/{shop.repo.image}"
    tag = {"under the key": f"deps-{shop.key()}", "the branch's": "trunk"}.get(damaged, "deps-of-trunk")
    if damaged == "under the key":
        fresh.repo.edit("src/tiny.erl", "42", "43")
    elif damaged == "of the default branch":
        fresh.repo.edit("rebar.config", "{erl_opts", "{deps, []}.\n{overrides, []}.\n{erl_opts")
    for layer in registry.manifest(repository, tag)[1]["layers"][-4:]:
        registry.ask(f"{repository}/blobs/{layer['digest']}", method="DELETE")
    done = fresh.invoke(task, env=CI)
    assert "a cache can't be used; once more without: " in done.err
    assert "dependencies compiled" in done.err


def test_a_new_branch_begins_with_the_default_ones(shop: Desk, empty_engine: Engine) -> None:
    """Where the branch has nothing yet and the key is another, the toolchain's layers come from the default branch's dependencies."""
    fresh = Desk(empty_engine, shop.repo)
    shop.invoke("push", "--branch=trunk")
    fresh.repo.edit("rebar.config", "{erl_opts", "{deps, []}.\n{overrides, []}.\n{erl_opts")
    assert fresh.key() not in str(shop.tags())
    done = fresh.invoke("build", env=CI)
    assert "builder" in done.steps
    assert "base" not in done.steps


def test_the_registry_cache(shop_on_each: Desk, empty_engine: Engine) -> None:
    """All stages, on a reference of their own; the older image store can't export it, and says what can."""
    setting, shop, fresh = {"INVOKE_BEAMDOCK_CACHE": "registry"}, shop_on_each, Desk(empty_engine, shop_on_each.repo)
    if shop.engine.name == "TEST_ENGINE_26":
        refused = shop.invoke("push", "--branch", env=setting, code=2).err.splitlines()[-2:]
        assert refused[0] == "error: this engine's image store can't export a cache (type=registry)"
        assert refused[1].startswith("hint: `cache: deps` in invoke.yaml")
        assert shop.tags() == set()
        return
    shop.invoke("push", "--branch", env=setting)
    assert shop.tags() == {shop.repo.head, shop.repo.branch, f"cache-{shop.repo.branch}"}
    fresh.repo.edit("src/tiny.erl", "42", "43")
    done = fresh.invoke("build", env={**CI, **setting})
    assert done.steps == ["checked", "prod_compiled", "releaser"], done.err
    registry, repository = Registry(shop.engine.registry), f"test/{shop.repo.image}"
    for digest in {layer["digest"] for layer in registry.manifest(repository, f"cache-{shop.repo.branch}")[1]["layers"]}:
        registry.ask(f"{repository}/blobs/{digest}", method="DELETE")
    fresh.docker("buildx", "prune", "--all", "--force")
    assert "dependencies compiled" in fresh.invoke("build", env={**CI, **setting}).err


def test_a_local_cache(tiny: Desk, empty_engine: Engine) -> None:
    """A folder, for CI systems that keep folders; nothing is exported unless asked. Its layers are compressed, those too that
    the build before it left without."""
    setting = {"INVOKE_BEAMDOCK_CACHE": "local"}
    folder = tiny.repo.path / "_build/beamdock/cache"
    tiny.invoke("build", env=setting)
    assert not folder.exists()
    for _ in range(2):
        tiny.invoke("build", "--cache-to", env=setting)
        assert sorted(f.name for f in folder.parent.glob("cache*")) == ["cache"]
        (manifest,) = json.loads((folder / "index.json").read_text())["manifests"]
        for layer in json.loads((folder / "blobs" / manifest["digest"].replace(":", "/")).read_text())["layers"]:
            assert (folder / "blobs" / layer["digest"].replace(":", "/")).read_bytes().startswith(b"\x1f\x8b")
    fresh = Desk(empty_engine, tiny.repo)
    assert fresh.invoke("build", env={**setting, **CI}).steps == []


def first(folder: Path) -> Path:
    """The manifest of a local cache."""
    digest = json.loads((folder / "index.json").read_text())["manifests"][0]["digest"]
    return Path(folder / "blobs" / digest.replace(":", "/"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda cache: [f.unlink() for f in (cache / "blobs/sha256").iterdir() if f != first(cache)],
        pytest.param(lambda cache: first(cache).write_text("{}"), marks=pytest.mark.long),
    ],
    ids=["its blobs are gone", "its manifest is empty"],
)
def test_a_damaged_local_cache(tiny: Desk, empty_engine: Engine, damage: Callable[[Path], object]) -> None:
    setting = {"INVOKE_BEAMDOCK_CACHE": "local"}
    tiny.invoke("build", "--cache-to", env=setting)
    damage(tiny.repo.path / "_build/beamdock/cache")
    assert "dependencies compiled" in Desk(empty_engine, tiny.repo).invoke("build", env={**setting, **CI}).err


def test_no_cache_travels(shop: Desk) -> None:
    shop.invoke("push", "--branch", env={"INVOKE_BEAMDOCK_CACHE": "none"})
    assert shop.tags() == {shop.repo.head, shop.repo.branch}


def test_buildxs_own_words(tiny: Desk) -> None:
    command = tiny.invoke("build", "--cache-to", "--dry-run", env={"INVOKE_BEAMDOCK_CACHE": "type=gha,scope=a"}).out
    assert re.findall(r"--cache-(\S+) (\S+)", command) == [("from", "type=gha,scope=a"), ("to", "type=gha,scope=a,ignore-error=true")]


def test_an_export_that_fails(tiny: Desk) -> None:
    """It is said, and fails nothing."""
    done = tiny.invoke("build", "--cache-to=type=registry,ref=127.0.0.1:1/x,mode=max")
    assert "the cache was not exported: " in done.err
    assert done.out
