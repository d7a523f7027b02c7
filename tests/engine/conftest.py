"""Real engines, real repos: what the tests in this folder stand on. ci/test starts the engines and says where they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from kit.engines import Engine, engine_at, shared_engine
from kit.registry import Registry
from kit.repos import Desk, service_repo, tiny_repo


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--shapes-table", action="store_true", help="write what the shapes took into docs/shapes.md")


@pytest.fixture(scope="session", params=["TEST_ENGINE_28", "TEST_ENGINE_26"], ids=["engine28", "engine26"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine in turn: 28 with the containerd image store, 26 with overlay2 (the older half of the users)."""
    return shared_engine(request.param)


@pytest.fixture(scope="session")
def engine28() -> Engine:
    """Engine 28 alone, where the engines can't differ."""
    return shared_engine("TEST_ENGINE_28")


@pytest.fixture
def empty_engine() -> Iterator[Engine]:
    """A second machine, with no image and no cache on it; one test's at a time."""
    engine = engine_at("TEST_ENGINE_EMPTY")
    with engine.alone():
        clear(engine)
        assert engine.docker("image", "ls", "--quiet") == ""
        yield engine
        clear(engine)


def clear(engine: Engine) -> None:
    """Leave nothing on an engine, whatever was there: an interrupted run, say, cleans nothing up."""
    if left := engine.docker("ps", "--all", "--quiet").split():
        engine.docker("rm", "--force", *left)
    engine.docker("system", "prune", "--all", "--force", "--volumes")


@pytest.fixture
def registry(engine: Engine) -> Registry:
    """The registry that all engines share."""
    return Registry(engine.registry)


@pytest.fixture
def tiny(tmp_path: Path, engine28: Engine) -> Iterator[Desk]:
    """The smallest release, not built yet, in front of Engine 28."""
    with tiny_repo(tmp_path) as repo:
        yield Desk(engine28, repo)


@pytest.fixture
def tiny_on_each(tmp_path: Path, engine: Engine) -> Iterator[Desk]:
    """The smallest release, not built yet, in front of each engine."""
    with tiny_repo(tmp_path) as repo:
        yield Desk(engine, repo)


@pytest.fixture
def shop(tiny: Desk) -> Desk:
    """The smallest release, to be pushed to the shared registry."""
    return to_push(tiny)


@pytest.fixture
def shop_on_each(tiny_on_each: Desk) -> Desk:
    """The same in front of each engine."""
    return to_push(tiny_on_each)


def to_push(desk: Desk) -> Desk:
    desk.repo.settings(f"  registry: {desk.engine.registry}/test\n  default_branch: trunk\n")
    desk.repo.commit()
    return desk


@pytest.fixture(scope="session")
def built_on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Engine], Desk]]:
    """The smallest release, built once on an engine, for tests that change neither the repo nor the image."""
    desks: dict[str, Desk] = {}
    with ExitStack() as repos:

        def build(engine: Engine) -> Desk:
            if engine.name not in desks:
                desk = Desk(engine, repos.enter_context(tiny_repo(tmp_path_factory.mktemp("built"))))
                desk.invoke("build")
                desks[engine.name] = desk
            return desks[engine.name]

        yield build


@pytest.fixture
def desk(built_on: Callable[[Engine], Desk], engine: Engine) -> Iterator[Desk]:
    """A built repo on each engine, with no container before and none after."""
    yield built_on(engine)
    built_on(engine).sweep()


@pytest.fixture
def desk28(built_on: Callable[[Engine], Desk], engine28: Engine) -> Iterator[Desk]:
    """The same on Engine 28 alone."""
    yield built_on(engine28)
    built_on(engine28).sweep()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, engine28: Engine) -> Iterator[Desk]:
    """The reference service, built."""
    with service_repo(tmp_path_factory.mktemp("service")) as repo:
        desk = Desk(engine28, repo)
        desk.invoke("build")
        yield desk
