"""What is read of the files, the settings and git: an image's name, and its repository."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.beamdock.values import PATH
from unit.conftest import Shell, project


@pytest.mark.parametrize(
    ("registry", "image", "repository"),
    [
        ("", "", "tiny"),
        ("", "shop/orders", "shop/orders"),
        ("ghcr.io/acme", "", "ghcr.io/acme/tiny"),
        ("127.0.0.1:5000", "a/b", "127.0.0.1:5000/a/b"),
    ],
)
def test_repository(tmp_path: Path, registry: str, image: str, repository: str) -> None:
    assert project(tmp_path, registry=registry, image=image).repository == repository


@pytest.mark.parametrize(
    ("release", "image"),
    [("service_discovery", "service_discovery"), ("Edge-Node", "edge-node"), ("a.b", "a.b"), ("a b", "a-b"), ("_a_", "a")],
)
def test_an_image_is_called_like_its_release(tmp_path: Path, release: str, image: str) -> None:
    assert project(tmp_path, release).image == image


@given(st.text(st.sampled_from("ab1_.-AÜ "), min_size=1, max_size=8))
def test_an_images_name_is_always_one(release: str) -> None:
    assert re.fullmatch(rf"{PATH}", project(Path("/nowhere"), release).image)


def test_the_release_is_not_given_away(shell: Shell) -> None:
    for folder, code in (("/opt/tiny", 2), ("/opt/tiny/", 2), ("/opt/tiny/bin", 2), ("/opt/tiny/log", 0), ("/opt/other", 0)):
        shell.repo.settings(f"  writable: [log, {folder}]\n")
        said = shell.invoke("config", code=code).err
        assert said.startswith(f"error: `writable` has '{folder}' in it, where the release's code is (invoke.yaml:3)" if code else "")
