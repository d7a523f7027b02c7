"""A plan in docker's own words: what is run, and what --dry-run prints."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from kit.repos import Repo
from python_on_whales import DockerClient

from ci.beamdock.build import buildx_options
from ci.beamdock.docker import Builder, command_of
from ci.beamdock.model import PUSHED
from unit.conftest import DESK, Shell, copied, plan
from unit.test_plans import COMMIT, folder

EVERYTHING: dict[str, Any] = {
    "registry": "r.example", "network": "host", "platform": "linux/arm64", "provenance": True, "secrets": ["id=a,src=/etc/hosts"], "ssh": "default",
    "build_args": {"TOKEN": "it's $x"}, "dockerfile": "docker/Dockerfile",
}  # fmt: skip


@pytest.mark.parametrize("given", [{}, EVERYTHING], ids=["plain", "everything"])
def test_options_are_parameters_of_python_on_whales(tmp_path: Path, given: dict[str, Any]) -> None:
    options = buildx_options(plan(tmp_path, **given), DESK)
    inspect.signature(DockerClient().buildx.build).bind(**options)
    assert "push" not in options and "load" not in options  # these come with the builder's kind


def test_the_command(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is run and what --dry-run prints: each setting and flag once, in docker's own words."""
    monkeypatch.setenv("SSH_AUTH_SOCK", str(repo.path))
    made = plan(repo.path, {"no_cache": True, "pull": True}, tags=["main", COMMIT], **EVERYTHING)
    words = command_of(buildx_options(made, DESK))
    assert words[:3] == ["docker", "buildx", "build"]
    assert words[-1] == str(repo.path)
    text = "\n".join(w if not w.startswith("--") else f"\n{w}" for w in words[3:-1]).replace("=", "\n", 0)
    pairs = {tuple(re.split(r"[\n=]", option.strip(), maxsplit=1)) for option in text.split("\n\n")}
    assert {
        ("--file", str(repo.path / "docker/Dockerfile")), ("--target", "runner"), ("--network", "host"), ("--ssh", "default"),
        ("--tag", "r.example/tiny:main"), ("--tag", f"r.example/tiny:{COMMIT}"), ("--build-arg", "TOKEN=it's $x"),
        ("--build-arg", "PROFILE=prod"),
        ("--build-context", f"deps={folder(made, 'deps')}"), ("--label", "beamdock.project=tiny"), ("--secret", "id=a,src=/etc/hosts"),
        ("--output", "type=image,compression=uncompressed"),
    } <= pairs, pairs  # fmt: skip
    assert {"--no-cache", "--pull"} <= set(words)
    assert "linux/arm64" in " ".join(words)


def test_the_plain_command_has_no_switches(tmp_path: Path) -> None:
    words = command_of(buildx_options(plan(tmp_path), DESK))
    assert not {"--no-cache", "--pull", "--push", "--load", "--ssh", "--network", "--platform", "--secret"} & {
        w.split("=")[0] for w in words
    }


def test_a_push_goes_by_what_runs_it(tmp_path: Path) -> None:
    """Where a builder pushes by itself, no copy is left in the engine."""
    made = plan(tmp_path, {"output": PUSHED})
    told = [buildx_options(made, Builder("docker", direct))["output"] for direct in (True, False)]
    assert told[1] == {"type": "image", "push": "true"}
    assert told[0] == {**told[1], "store": "false", "compression": "gzip", "force-compression": "true"}


def test_a_path_with_a_comma(repo: Repo, tmp_path: Path) -> None:
    """buildx reads its words as CSV, and so they are written."""
    there = copied(repo, tmp_path / "a,b")
    there.write("ci/known_hosts", "h ssh-ed25519 AAAA\n")
    there.write("_build/beamdock/cache/index.json", "{}")
    there.settings("  cache: local\n  known_hosts: ci/known_hosts\n  git_rewrites: {'https://h/': 'git@h:'}\n")
    shell, build = Shell(there.path, there), f"{there.path}/_build/beamdock"
    words = shlex.split(shell.invoke("build", "--dry-run", "--cache-to").out)
    assert {f'id=known_hosts,"src={there.path}/ci/known_hosts"', f'type=local,"src={build}/cache"'} <= set(words)
    assert [w for w in words if w.startswith(f'type=local,"dest={build}/cache.new",mode=max,')]
    assert [w for w in words if w.startswith(f'id=gitconfig,"src={build}/') and w.endswith('/gitconfig"')]
    words = shlex.split(shell.invoke("build", "--dry-run", f"--tarball={there.path}/out").out)
    assert f'type=local,"dest={there.path}/out"' in words
    there.write("key", "")
    said = shell.invoke("build", "--dry-run", "--ssh=default=key", code=2).err
    assert said.startswith(f"error: {there.path}/key has a comma in its path, where buildx takes two keys for named (--ssh)")
