"""What is read of the files, the settings and git: an image's name, and its repository."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.beamdock.values import PATH
from unit.conftest import Shell, project, rows


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


def test_in_a_folder_of_the_project(shell: Shell) -> None:
    """A tasks.py in tools/ finds the rebar.config above it."""
    (shell.path / "tools").mkdir()
    (shell.path / "tasks.py").rename(shell.path / "tools" / "tasks.py")
    assert rows(shell.python("tools/tasks.py", "config").out)["release"] == ("tiny", "rebar.config:2")


def test_in_a_folder_of_the_project_with_its_settings(shell: Shell) -> None:
    """They are where Invoke looks for them, beside tasks.py; each is said to be of its line there."""
    shell.repo.settings("  nofile: 9\n")
    (shell.path / "tools").mkdir()
    for name in ("tasks.py", "invoke.yaml"):
        (shell.path / name).rename(shell.path / "tools" / name)
    assert rows(shell.python("tools/tasks.py", "config").out)["nofile"] == ("9", "invoke.yaml:3")


def test_without_rebar_config(shell: Shell) -> None:
    (shell.path / "rebar.config").unlink()
    assert shell.invoke("config", code=2).err.startswith("error: there is no rebar.config in")


def test_above_the_project(shell: Shell) -> None:
    """From the git root above a project in a subfolder: it says where to go."""
    (shell.path / "services" / "shop").mkdir(parents=True)
    (shell.path / "rebar.config").rename(shell.path / "services" / "shop" / "rebar.config")
    hint = shell.invoke("config", code=2).err.splitlines()[-1]
    assert hint == "hint: is services/shop the project? Move tasks.py with its folder there, and `cd services/shop`"


def test_a_rebar_config_that_does_not_parse(shell: Shell) -> None:
    shell.repo.write("rebar.config", "{erl_opts, []}.\n{relx, [}.\n")
    assert shell.invoke("config", code=2).err.startswith("error: rebar.config:2 can't be read: ")


@pytest.mark.parametrize("version", ["{git, long", "1.2.3", "Version"])
def test_a_version_that_does_not_parse(shell: Shell, version: str) -> None:
    shell.repo.settings(f'  version: "{version}"\n')
    assert "`version`" in shell.invoke("config", code=2).err
