"""Which container a task is about."""

from __future__ import annotations

import pytest
from invoke.exceptions import Exit

from ci.beamdock.containers import Container, choose_container
from unit.conftest import said


def row(name: str, identity: str) -> Container:
    return Container(identity, name, f"{name}:main", "running", "Up 2 minutes")


ONE, TWO = row("sd-main", "3c45f1a0c2"), row("sd-lab", "a917")


@pytest.mark.parametrize(
    ("containers", "name", "found"),
    [([ONE], "", ONE), ([ONE], "sd-main", ONE), ([ONE, TWO], "sd-lab", TWO), ([ONE, TWO], "3c45", ONE), ([ONE, TWO], "a917", TWO)],
)
def test_the_container_that_is_meant(containers: list[Container], name: str, found: Container) -> None:
    assert choose_container(containers, name) == found


def test_a_name_goes_over_an_id() -> None:
    named = row("a", "ffff")
    assert choose_container([TWO, named], "a") == named


@pytest.mark.parametrize(
    ("containers", "name", "code", "error"),
    [
        ([], "", 1, "error: no container of this project is running\nhint: invoke run --detach"),
        ([ONE], "x", 1, "error: no container called x is running\nhint: invoke run --detach"),
        ([ONE], "sd", 1, "error: no container called sd is running\nhint: "),
        ([ONE, TWO], "", 2, "error: this project has 2 containers:\n  sd-main  sd-main:main  Up 2 minutes\n  sd-lab  sd-lab:main  "
         "Up 2 minutes\nhint: choose one: --name sd-main"),
    ],
)  # fmt: skip
def test_no_container_or_several(containers: list[Container], name: str, code: int, error: str) -> None:
    with pytest.raises(Exit) as caught:
        choose_container(containers, name)
    assert (caught.value.code, said(caught).startswith(error)) == (code, True)
