"""What travels from one machine to the next: a second, empty engine stands for the fresh machine."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from kit.engines import Engine, engine_at
from kit.registry import Registry, refusing
from kit.repos import Desk


@pytest.fixture
def shop(tiny: Desk) -> Desk:
    """The smallest release, to be pushed to the shared registry."""
    return pushing(tiny)


@pytest.fixture
def shop_on_each(tiny_on_each: Desk) -> Desk:
    """The same in front of each engine."""
    return pushing(tiny_on_each)


def pushing(desk: Desk) -> Desk:
    desk.repo.settings(f"  registry: {desk.engine.registry}/test\n  default_branch: trunk\n")
    desk.repo.commit()
    return desk


def tags(desk: Desk) -> set[str]:
    return Registry(desk.engine.registry).tags(f"test/{desk.repo.image}")


def key(desk: Desk) -> str:
    return desk.invoke("deps-image", "--key").out


CI = {"CI": "true"}


def test_push_adds_the_dependencies(shop_on_each: Desk, empty_engine: Engine) -> None:
    """Once, under their key and as the branch's; the engine is left as it was. A fresh machine, of another BuildKit even,
    compiles no dependency."""
    shop = shop_on_each
    first = shop.invoke("push", "--branch")
    wanted = {shop.repo.head, shop.repo.branch, f"deps-{key(shop)}", f"deps-of-{shop.repo.branch}"}
    assert tags(shop) == wanted
    assert shop.engine.images(f"{shop.engine.registry}/test/{shop.repo.image}") == set()
    assert "dependencies compiled" in first.err
    shop.repo.edit("src/tiny.erl", "42", "43")
    shop.repo.commit()
    second = shop.invoke("push", "--branch=other")
    assert "dependencies compiled" not in second.err
    assert "dependencies from the registry" in second.err
    assert tags(shop) == wanted | {shop.repo.head, "other", "deps-of-other"}
    registry, repository = Registry(shop.engine.registry), f"test/{shop.repo.image}"
    assert registry.config(repository, "deps-of-other") == registry.config(repository, f"deps-{key(shop)}")
    shop.repo.edit("rebar.config", "{erl_opts", "{deps, []}.\n{erl_opts")
    shop.repo.commit()
    shop.invoke("push", "--branch=other")
    assert registry.config(repository, "deps-of-other") == registry.config(repository, f"deps-{key(shop)}")
    assert registry.config(repository, "deps-of-other") != registry.config(repository, f"deps-of-{shop.repo.branch}")
    fresh = Desk(empty_engine, shop.repo)
    fresh.repo.edit("src/tiny.erl", "43", "44")
    edited = fresh.invoke("build", env=CI)
    assert "dependencies from the registry" in edited.err
    assert not {"base", "builder"} & set(edited.steps)
    assert fresh.node(fresh.start(), "eval", "tiny:answer().") == "44"
    fresh.sweep()


def test_an_older_engine_takes_them(shop: Desk) -> None:
    """Though their layers are compressed with zstd, those of the base too."""
    shop.invoke("push", "--branch")
    registry, repository = Registry(shop.engine.registry), f"test/{shop.repo.image}"
    for layer in registry.manifest(repository, f"deps-{key(shop)}")[1]["layers"]:
        assert layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar+zstd"
        assert registry.ask(f"{repository}/blobs/{layer['digest']}")[1].startswith(b"\x28\xb5\x2f\xfd")
    older = Desk(engine_at("TEST_ENGINE_26"), shop.repo)
    older.repo.edit("src/tiny.erl", "42", "43")
    bases = {"INVOKE_BEAMDOCK_BUILD_BASE": shop.engine.build_base, "INVOKE_BEAMDOCK_RUN_BASE": shop.engine.run_base}
    edited = older.invoke("build", env={**CI, **bases})
    assert "dependencies from the registry" in edited.err
    assert not {"base", "builder"} & set(edited.steps)
    assert older.node(older.start(), "eval", "tiny:answer().") == "43"
    older.sweep()


@pytest.mark.parametrize("option", ["--no-cache", "--pull"])
def test_what_is_made_anew_is_pushed_anew(shop: Desk, empty_engine: Engine, option: str) -> None:
    """The dependencies too, when their base is another one under the same name. (On an engine of its own, as test_no_cache.)"""
    registry, repository, desk = Registry(shop.engine.registry), f"test/{shop.repo.image}", Desk(empty_engine, shop.repo)
    base = f"{registry.address}/{repository}-base:1"
    env = {"INVOKE_BEAMDOCK_BUILD_BASE": base}

    def push(*options: str) -> str:
        desk.invoke("push", *options, env=env)
        return registry.manifest(repository, f"deps-{desk.invoke('deps-image', '--key', env=env).out}")[0]

    try:
        found = []
        for number, options in enumerate([[], [], [option]]):
            desk.engine.build(f"FROM {desk.engine.build_base}\nRUN echo {number} > /number\n", base)
            desk.docker("push", "--quiet", base)
            found.append(push(*options))
        assert found[0] == found[1] != found[2]
    finally:
        registry.remove(f"{repository}-base")


def test_a_fresh_machine_with_nothing_new(shop: Desk, empty_engine: Engine) -> None:
    shop.invoke("push", "--branch")
    assert Desk(empty_engine, shop.repo).invoke("build", env=CI).steps == []


def test_a_machine_that_has_them_asks_nobody(shop: Desk) -> None:
    """What was compiled here is not pulled from elsewhere, nor asked for."""
    shop.invoke("build")
    shop.invoke("push")
    shop.repo.edit("src/tiny.erl", "42", "43")
    assert "builder" not in shop.invoke("build").steps
    again = shop.invoke("build", env={"INVOKE_BEAMDOCK_REGISTRY": "127.0.0.1:1/test"})
    assert "importing cache" not in again.err
    assert "going on without" not in again.err


def test_a_machine_that_has_them_takes_what_it_is_told_to(shop: Desk) -> None:
    """What else a cache that was asked for has is not known here."""
    shop.invoke("build")
    shop.repo.edit("src/tiny.erl", "42", "43")
    cache = f"{shop.engine.registry}/test/{shop.repo.image}:asked-for"
    assert f"importing cache manifest from {cache}" in shop.invoke("build", f"--cache-from={cache}").err


def test_their_image_alone_comes_from_the_registry_too(shop: Desk, empty_engine: Engine) -> None:
    shop.invoke("push")
    taken = Desk(empty_engine, shop.repo).invoke("deps-image")
    assert "dependencies from the registry in " in taken.err
    assert (taken.out, taken.steps) == (f"{shop.engine.registry}/test/{shop.repo.image}:deps-{key(shop)}", [])
    assert empty_engine.docker("run", "--rm", taken.out, "ls") == "_build\nrebar.config\nrebar.lock"


@pytest.mark.parametrize("status", [400, 415])
def test_a_registry_that_refuses_their_image(shop: Desk, status: int) -> None:
    """As one would that knows no zstd: the image itself is pushed all the same."""
    with refusing(Registry(shop.engine.registry), r"/manifests/deps-", status) as address:
        done = shop.invoke("push", "--branch", "--registry", f"{address}/test")
    assert "the dependencies' image was not pushed: " in done.err
    assert tags(shop) == {shop.repo.head, shop.repo.branch}
    assert done.out.startswith(f"{address}/test/{shop.repo.image}@sha256:")


def test_a_registry_that_does_not_answer_fails_nothing(tiny: Desk) -> None:
    done = tiny.invoke("build", env={"INVOKE_BEAMDOCK_REGISTRY": "127.0.0.1:1/test"})
    assert "going on without the dependencies' image: " in done.err
    assert done.out.startswith("127.0.0.1:1/test/")


def test_a_foreign_image_under_the_key(shop: Desk) -> None:
    """It is not taken for the dependencies, and push puts the right one in its place."""
    reference = f"{shop.engine.registry}/test/{shop.repo.image}:deps-{key(shop)}"
    shop.docker("tag", shop.engine.run_base, reference)
    shop.docker("push", "--quiet", reference)
    shop.docker("rmi", reference)
    done = shop.invoke("push")
    assert "dependencies compiled" in done.err
    assert "dependencies from the registry" in done.err


@pytest.mark.parametrize(
    ("damaged", "task"),
    [("under the key", "build"), ("the branch's", "build"), ("the branch's", "push"), ("of the default branch", "build")],
)
def test_a_damaged_image(shop: Desk, empty_engine: Engine, damaged: str, task: str) -> None:
    """Its manifest is there, and a layer is not: the build goes on without it, and says so."""
    fresh = Desk(empty_engine, shop.repo)
    shop.invoke("push", "--branch=trunk")
    registry, repository = Registry(shop.engine.registry), f"test/{shop.repo.image}"
    tag = {"under the key": f"deps-{key(shop)}", "the branch's": "trunk"}.get(damaged, "deps-of-trunk")
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
    assert key(fresh) not in str(tags(shop))
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
        assert tags(shop) == set()
        return
    shop.invoke("push", "--branch", env=setting)
    assert tags(shop) == {shop.repo.head, shop.repo.branch, f"cache-{shop.repo.branch}"}
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
        lambda cache: first(cache).write_text("{}"),
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
    assert tags(shop) == {shop.repo.head, shop.repo.branch}


def test_buildxs_own_words(tiny: Desk) -> None:
    command = tiny.invoke("build", "--cache-to", "--dry-run", env={"INVOKE_BEAMDOCK_CACHE": "type=gha,scope=a"}).out
    assert re.findall(r"--cache-(\S+) (\S+)", command) == [("from", "type=gha,scope=a"), ("to", "type=gha,scope=a,ignore-error=true")]


def test_an_export_that_fails(tiny: Desk) -> None:
    """It is said, and fails nothing."""
    done = tiny.invoke("build", "--cache-to=type=registry,ref=127.0.0.1:1/x,mode=max")
    assert "the cache was not exported: " in done.err
    assert done.out


def test_the_old_scheme(shop: Desk, empty_engine: Engine) -> None:
    """The chapter's: a stage pushed by its checksum, then --cache-from it."""
    fresh = Desk(empty_engine, shop.repo)
    setting = {"INVOKE_BEAMDOCK_CACHE": "none"}
    shop.repo.settings()
    pushed = shop.invoke("deps-image", "--push", "--registry", f"{shop.engine.registry}/test").out
    registry, repository = Registry(shop.engine.registry), f"test/{shop.repo.image}"
    digest = registry.manifest(repository, f"deps-{key(shop)}")[0]
    again = shop.invoke("deps-image", "--push", "--registry", f"{shop.engine.registry}/test")
    assert (again.out, "the registry has them already" in again.err) == (pushed, True)
    assert registry.manifest(repository, f"deps-{key(shop)}")[0] == digest
    assert pushed == f"{shop.engine.registry}/test/{shop.repo.image}:deps-{key(shop)}"
    assert "builder" not in fresh.invoke("build", f"--cache-from={pushed}", env={**CI, **setting}).steps


def test_what_decides_the_key(tiny: Desk) -> None:
    """--key asks no engine; --explain tells what has changed since the last build."""
    nowhere = {"DOCKER_HOST": "tcp://127.0.0.1:1"}
    assert re.fullmatch("[0-9a-f]{64}", tiny.invoke("deps-image", "--key", env=nowhere).out)
    rows = [re.split(r"  +", line) for line in tiny.invoke("deps-image", "--explain", env=nowhere).out.splitlines()]
    assert {"rebar.config", "rebar.lock", "platform", "Dockerfile through builder"} <= {row[0] for row in rows}
    tiny.invoke("build")
    tiny.repo.edit("rebar.config", "{erl_opts", "{deps, []}.\n{erl_opts")
    (tiny.repo.path / "rebar.lock").unlink()
    tiny.repo.settings("  build_packages: [make]\n")
    rows = [re.split(r"  +", line) for line in tiny.invoke("deps-image", "--explain", env=nowhere).out.splitlines()]
    assert {row[0]: row[2] for row in rows if row[2] != "same"} == {
        "rebar.config": "changed",
        "rebar.lock": "gone",
        "BUILD_PACKAGES (build argument)": "new",
    }
