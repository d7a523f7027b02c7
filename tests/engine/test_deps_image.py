"""The dependencies' image, which travels by the registry: a second, empty engine stands for the fresh machine."""

from __future__ import annotations

import re

import pytest
from kit.engines import Engine, shared_engine
from kit.registry import Registry, refusing
from kit.repos import CI, Desk


def test_push_adds_the_dependencies(shop_on_each: Desk, empty_engine: Engine) -> None:
    """Once, under their key and as the branch's; the engine is left as it was. A fresh machine, of another BuildKit even,
    compiles no dependency."""
    shop = shop_on_each
    first = shop.invoke("push", "--branch")
    wanted = {shop.repo.head, shop.repo.branch, f"deps-{shop.key()}", f"deps-of-{shop.repo.branch}"}
    assert shop.tags() == wanted
    assert shop.engine.images(f"{shop.engine.registry}/test/{shop.repo.image}") == set()
    assert "dependencies compiled" in first.err
    shop.repo.edit("src/tiny.erl", "42", "43")
    shop.repo.commit()
    second = shop.invoke("push", "--branch=other")
    assert "dependencies compiled" not in second.err
    assert "dependencies from the registry" in second.err
    assert shop.tags() == wanted | {shop.repo.head, "other", "deps-of-other"}
    registry, repository = Registry(shop.engine.registry), f"test/{shop.repo.image}"
    assert registry.config(repository, "deps-of-other") == registry.config(repository, f"deps-{shop.key()}")
    shop.repo.edit("rebar.config", "{erl_opts", "{deps, []}.\n{erl_opts")
    shop.repo.commit()
    shop.invoke("push", "--branch=other")
    assert registry.config(repository, "deps-of-other") == registry.config(repository, f"deps-{shop.key()}")
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
    for layer in registry.manifest(repository, f"deps-{shop.key()}")[1]["layers"]:
        assert layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar+zstd"
        assert registry.ask(f"{repository}/blobs/{layer['digest']}")[1].startswith(b"\x28\xb5\x2f\xfd")
    older = Desk(shared_engine("TEST_ENGINE_26"), shop.repo)
    older.repo.edit("src/tiny.erl", "42", "43")
    bases = {"INVOKE_BEAMDOCK_BUILD_BASE": shop.engine.build_base, "INVOKE_BEAMDOCK_RUN_BASE": shop.engine.run_base}
    edited = older.invoke("build", env={**CI, **bases})
    assert "dependencies from the registry" in edited.err
    assert not {"base", "builder"} & set(edited.steps)
    assert older.node(older.start(), "eval", "tiny:answer().") == "43"
    older.sweep()


@pytest.mark.parametrize("option", ["--no-cache", pytest.param("--pull", marks=pytest.mark.long)])
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


def test_a_machine_that_has_them_asks_nobody(shop: Desk) -> None:
    """What was compiled here is not pulled from elsewhere, nor asked for."""
    shop.invoke("build")
    shop.invoke("push")
    shop.repo.edit("src/tiny.erl", "42", "43")
    assert "builder" not in shop.invoke("build").steps
    again = shop.invoke("build", env={"INVOKE_BEAMDOCK_REGISTRY": "127.0.0.1:1/test"})
    assert "importing cache" not in again.err
    assert "going on without" not in again.err


def test_their_image_alone_comes_from_the_registry_too(shop: Desk, empty_engine: Engine) -> None:
    shop.invoke("push")
    taken = Desk(empty_engine, shop.repo).invoke("deps-image")
    assert "dependencies from the registry in " in taken.err
    assert (taken.out, taken.steps) == (f"{shop.engine.registry}/test/{shop.repo.image}:deps-{shop.key()}", [])
    assert empty_engine.docker("run", "--rm", taken.out, "ls") == "_build\nrebar.config\nrebar.lock"


@pytest.mark.parametrize("status", [400, pytest.param(415, marks=pytest.mark.long)])
def test_a_registry_that_refuses_their_image(shop: Desk, status: int) -> None:
    """As one would that knows no zstd: the image itself is pushed all the same."""
    with refusing(Registry(shop.engine.registry), r"/manifests/deps-", status) as address:
        done = shop.invoke("push", "--branch", "--registry", f"{address}/test")
    assert "the dependencies' image was not pushed: " in done.err
    assert shop.tags() == {shop.repo.head, shop.repo.branch}
    assert done.out.startswith(f"{address}/test/{shop.repo.image}@sha256:")


def test_a_registry_that_does_not_answer_fails_nothing(tiny: Desk) -> None:
    done = tiny.invoke("build", env={"INVOKE_BEAMDOCK_REGISTRY": "127.0.0.1:1/test"})
    assert "going on without the dependencies' image: " in done.err
    assert done.out.startswith("127.0.0.1:1/test/")


def test_a_foreign_image_under_the_key(shop: Desk) -> None:
    """It is not taken for the dependencies, and push puts the right one in its place."""
    reference = f"{shop.engine.registry}/test/{shop.repo.image}:deps-{shop.key()}"
    shop.docker("tag", shop.engine.run_base, reference)
    shop.docker("push", "--quiet", reference)
    shop.docker("rmi", reference)
    done = shop.invoke("push")
    assert "dependencies compiled" in done.err
    assert "the registry has them already" in shop.invoke("deps-image", "--push").err


def test_the_old_scheme(shop: Desk, empty_engine: Engine) -> None:
    """The chapter's: a stage pushed by its checksum, then --cache-from it."""
    fresh = Desk(empty_engine, shop.repo)
    setting = {"INVOKE_BEAMDOCK_CACHE": "none"}
    shop.repo.settings()
    pushed = shop.invoke("deps-image", "--push", "--registry", f"{shop.engine.registry}/test").out
    registry, repository = Registry(shop.engine.registry), f"test/{shop.repo.image}"
    digest = registry.manifest(repository, f"deps-{shop.key()}")[0]
    again = shop.invoke("deps-image", "--push", "--registry", f"{shop.engine.registry}/test")
    assert (again.out, "the registry has them already" in again.err) == (pushed, True)
    assert registry.manifest(repository, f"deps-{shop.key()}")[0] == digest
    assert pushed == f"{shop.engine.registry}/test/{shop.repo.image}:deps-{shop.key()}"
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
