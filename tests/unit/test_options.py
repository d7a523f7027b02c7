"""The options of run and console: what docker is given, and what is refused before docker is asked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ci.beamdock.containers import ReleaseImage
from ci.beamdock.options import RunOptions, check_options, publish_words, run_command
from unit.conftest import Shell, project

PORTS = [
    ("8080", "127.0.0.1:8080:8080"),
    ("8053/udp", "127.0.0.1:8053:8053/udp"),
    ("53:8053", "127.0.0.1:53:8053"),
    ("53:8053/udp", "127.0.0.1:53:8053/udp"),
    ("0.0.0.0:80:8080", "0.0.0.0:80:8080"),
    ("[::1]:80:8080/tcp", "[::1]:80:8080/tcp"),
    ("127.0.0.1::8080", "127.0.0.1::8080"),
    ("0:8080", "127.0.0.1:0:8080"),
    ("", ""),
    ("nonsense", "nonsense"),
    ("8000-8009:8000-8009", "127.0.0.1:8000-8009:8000-8009"),
    ("8000-8009", "127.0.0.1:8000-8009:8000-8009"),
    ("8000-8009:80/udp", "127.0.0.1:8000-8009:80/udp"),
]


@pytest.mark.parametrize(("port", "docker"), PORTS)
def test_published(port: str, docker: str) -> None:
    """On the loopback address, unless one is given."""
    assert publish_words(port) == docker


@pytest.mark.parametrize(
    ("option", "error"),
    [
        *((f"--publish={port}", f"--publish={port}") for port in ("99999", "", "x", "80:", "0", "80/xyz", "1-70000", "80:70000:1:1")),
        ("--env=", "--env="),
        ("--env==x", "can't be the name"),
        ("--env=A B=c", "A B can't be the name"),
        ("--env-file=/nonexistent", "--env-file=/nonexistent"),
        ("--env-file=/tmp", "--env-file=/tmp"),
        ("--env-file=wrong", "wrong:2: B C can't be the name"),
        *((f"--memory={value}", f"--memory={value}") for value in ("x", "-1", "5x", "m")),
        *((f"--cpus={value}", f"--cpus={value}") for value in ("x", "-1", "1,5", ".")),
        *((f"--volume={value}", f"--volume={value}") for value in ("", ":", "a", "a:b", "/a:", "/a:/b:ro:x")),
        ("--name=a b", "--name=a b"),
    ],
)
def test_an_option_that_docker_would_refuse(shell: Shell, option: str, error: str) -> None:
    """It is named, before docker is asked; there is none here."""
    shell.repo.write("wrong", "# A x\nB C=d\n")
    for task in (["run"], ["run", "--detach"]):
        said = shell.invoke(*task, option, code=2, env={"DOCKER_HOST": "tcp://127.0.0.1:1"}).err
        assert re.match(rf"error: .*{re.escape(error)}", said)
        assert "\nhint: " in said


@pytest.mark.parametrize(
    "option",
    [
        "--publish=80:8080",
        "--publish=[::1]::1-2/UDP",
        "--env=A=",
        "--env=A",
        "--memory=1.5gib",
        "--memory=0",
        "--cpus=.5",
        "--volume=/a",
        "--volume=./a:/b:ro",
    ],
)
def test_an_option_that_docker_takes(option: str) -> None:
    name, _, value = option[2:].partition("=")
    check_options(RunOptions(**{name: (value,) if name in ("publish", "env", "volume") else value}))  # type: ignore[arg-type]


def command(
    options: dict[str, Any] | None = None, config: dict[str, Any] | None = None, mode: tuple[str, ...] = (), **given: Any
) -> list[str]:
    image = ReleaseImage("img:tag", config or {})
    return run_command(project(Path("/nowhere"), **given), RunOptions(**(options or {})), image, mode, ["a", "b c"])


def test_run_is_safe_by_default() -> None:
    words = command(config={"User": "1000:1000", "Env": ["LANG=C.UTF-8"]})
    assert words == [
        "run", "--init", "--tmpfs=/tmp", "--label=beamdock.project=tiny", "--ulimit=nofile=16384:16384", "--read-only",
        "img:tag", "a", "b c",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("user", "forced"),
    [("", True), ("0", True), ("root", True), ("0:0", True), ("root:app", True), ("1000", False), ("app", False), ("1000:0", False)],
)
def test_never_as_root(user: str, forced: bool) -> None:
    assert ("--user=1000:1000" in command(config={"User": user})) == forced


@pytest.mark.parametrize(
    ("env", "forced"),
    [(None, True), ([], True), (["A=b"], True), (["LANG=C.UTF-8"], False), (["LC_ALL=C"], False), (["LANGUAGE=de"], True)],
)
def test_always_with_a_locale(env: list[str] | None, forced: bool) -> None:
    assert ("--env=LANG=C.UTF-8" in command(config={"Env": env})) == forced


def test_flags_in_dockers_words() -> None:
    options = {
        "publish": ("8080", "53:53/udp"), "env": ("A=b c", "HOME"), "env_file": ("f",), "volume": ("/a:/b",), "network": "n",
        "memory": "1g", "cpus": "1.5", "writable": True,
    }  # fmt: skip
    words = command(options, nofile=9)
    for word in ["--publish=127.0.0.1:8080:8080", "--publish=127.0.0.1:53:53/udp", "--env=A=b c", "--env=HOME", "--env-file=f",
                 "--volume=/a:/b",
                 "--network=n", "--memory=1g", "--cpus=1.5", "--ulimit=nofile=9:9"]:  # fmt: skip
        assert words.count(word) == 1
    assert "--read-only" not in words
    assert words[-3:] == ["img:tag", "a", "b c"]


def test_a_users_environment_goes_over_the_locale() -> None:
    """docker takes the last: --env LANG=… of the command line is behind ours."""
    words = command({"env": ("LANG=de_DE.UTF-8",)})
    assert words.index("--env=LANG=de_DE.UTF-8") > words.index("--env=LANG=C.UTF-8")


def test_term_goes_with_a_terminal() -> None:
    assert "--env=TERM" in command(mode=("--interactive", "--tty"))
    assert "--env=TERM" not in command(mode=("--detach",))
