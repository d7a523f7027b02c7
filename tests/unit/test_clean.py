"""The pure part of `invoke clean`: which cache mounts are the project's, and the build that empties them."""

from __future__ import annotations

from types import ModuleType

import pytest
from kit.engines import ROOT

from ci.beamdock.settings import Settings


@pytest.fixture
def module() -> ModuleType:
    from ci.beamdock import clean

    return clean


def test_the_mounts_of_a_dockerfile(module: ModuleType) -> None:
    """Whole ids: neither another project's, nor those of fixed names, which projects share."""
    text = "RUN --mount=type=cache,id=${PROJECT}-hex,target=/a --mount=type=cache,target=/b,id=$PROJECT-apt x\nRUN --mount=type=cache,id=npm x\n"
    assert module.find_mounts(text, "shop") == {"shop-hex", "shop-apt"}
    ours = (ROOT / "Dockerfile").read_text()
    assert {"shop-hex", "shop-apt", "shop-apt-lists"} <= module.find_mounts(ours, "shop")
    assert len(module.find_mounts(ours, "shop")) == len({line for line in ours.split() if line.startswith("--mount=type=cache")})


def test_the_build_that_empties_them(module: ModuleType) -> None:
    """One step a mount, so that it never holds one while it waits for another."""
    lines = module.emptying_dockerfile("debian:x", {"b", "a"}).splitlines()
    assert lines[:2] == ["FROM debian:x", "USER 0"]
    assert [line.split("id=")[1].split(",")[0] for line in lines[2:]] == ["a", "b"]
    assert all(line.count("--mount=") == 1 and ",sharing=locked," in line for line in lines[2:])


def test_the_base_it_stands_on(module: ModuleType) -> None:
    """That of the project's own builds."""
    text = 'ARG BUILD_BASE=a:1\nARG RUN_BASE="b:1"\nFROM ${RUN_BASE}\n'
    assert module.choose_base(Settings(), text) == "b:1"
    assert module.choose_base(Settings(run_base="c:1"), text) == "c:1"
    assert module.choose_base(Settings(run_base="c:1", build_args={"RUN_BASE": "d:1"}), text) == "d:1"
    assert module.choose_base(Settings(), "FROM x\n") == "debian:stable-slim"


LISTING = """\
ID:           a1
Size:         3.019MB
Reclaimable:  true
Description:  cached mount /c from exec /bin/sh -c x with id "/shop-hex"

ID:\t\tb2
Size:\t\t0B
Reclaimable:\tfalse
Description:\tcached mount /c from exec /bin/sh -c x with id "/shop-apt"

ID:           c3
Size:         1GB
Reclaimable:  true
Description:  mount / from exec /bin/sh -c x
"""


def test_what_buildx_lists(module: ModuleType) -> None:
    """Of buildx 0.29 and 0.13: cache mounts alone."""
    assert [(c.mount, c.size, c.free) for c in module.parse_caches(LISTING)] == [("shop-hex", 3_019_000, True), ("shop-apt", 0, False)]
