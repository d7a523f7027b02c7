"""What Invoke reads: the files of the project and of the user, where each setting stands in them, and files that can't be used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from ci.beamdock.configuration import setting_lines, take_environment
from ci.beamdock.settings import FIELDS
from unit.conftest import Shell


def test_take_environment() -> None:
    """Ours are taken out, so that Invoke doesn't cast them; others stay."""
    environ = {"INVOKE_BEAMDOCK_BUILD_BASE": "x", "INVOKE_BEAMDOCK_ZZZ": "", "INVOKE_BEAMDOCKER": "y", "INVOKE_DEBUG": "1", "HOME": "/"}
    assert take_environment(environ) == {"build_base": "x", "zzz": ""}
    assert environ == {"INVOKE_BEAMDOCKER": "y", "INVOKE_DEBUG": "1", "HOME": "/"}


YAML = [
    ("beamdock:\n  image: a\n\n  # why\n  release: b\n", {"image": "invoke.yaml:2", "release": "invoke.yaml:5"}),
    ("run: {echo: true}\nbeamdock: {image: a,\n  release: b}\n", {"image": "invoke.yaml:2", "release": "invoke.yaml:3"}),
    ("\ufeffbeamdock:\n  image: a\n", {"image": "invoke.yaml:2"}),
    ("beamdock:\r\n  image: a\r\n", {"image": "invoke.yaml:2"}),
    ("beamdock:\n", {}),
    ("beamdock: {}\n", {}),
    ("beamdock: text\n", {}),
    ("beamdock: [a]\n", {}),
    ("other: {image: a}\n", {}),
    ("", {}),
    ("# nothing\n", {}),
    ("beamdock: {a\n", {}),
]


@pytest.mark.parametrize(("text", "lines"), YAML)
def test_yaml_lines(tmp_path: Path, text: str, lines: dict[str, str]) -> None:
    (tmp_path / "invoke.yaml").write_bytes(text.encode())
    assert setting_lines(tmp_path / "invoke.yaml", {"image": "a", "release": "b"}) == lines


def test_yaml_lines_of_values_that_others_gave(tmp_path: Path) -> None:
    """A line is named only where Invoke's value is this file's; another file may have gone over it."""
    (tmp_path / "invoke.yaml").write_text("beamdock:\n  image: a\n  nofile: 1\n  build_packages: [x]\n  build_args: {A: b}\n")
    lines = {"image": "invoke.yaml:2", "nofile": "invoke.yaml:3", "build_packages": "invoke.yaml:4", "build_args": "invoke.yaml:5"}
    same = {"image": "a", "nofile": 1, "build_packages": ["x"], "build_args": {"A": "b"}}
    assert setting_lines(tmp_path / "invoke.yaml", same) == lines
    others = {"image": "b", "nofile": 2, "build_packages": ["x", "y"], "build_args": {"A": "b", "C": "d"}}
    for name, value in others.items():
        assert setting_lines(tmp_path / "invoke.yaml", {**same, name: value}) == {n: w for n, w in lines.items() if n != name}
    assert setting_lines(tmp_path / "invoke.yaml", {}) == {}


@pytest.mark.parametrize("text", ["- a\n", "text\n", "[1, 2]\n"])
def test_yaml_lines_of_no_table(tmp_path: Path, text: str) -> None:
    (tmp_path / "invoke.yaml").write_text(text)
    assert setting_lines(tmp_path / "invoke.yaml", {"image": "a"}) == {}


def test_yaml_lines_without_a_file(tmp_path: Path) -> None:
    assert setting_lines(tmp_path / "none.yaml", {"image": "a"}) == {}


def test_of_the_project(shell: Shell) -> None:
    """Each value with its place: a line of invoke.yaml, a variable, rebar.config, the default; flags over them."""
    shell.repo.settings("  nofile: 9\n  provenance: true\n  build_args: {A: b}\n")
    shown = shell.config(env={"INVOKE_BEAMDOCK_PROVENANCE": "false", "INVOKE_BEAMDOCK_RUNTIME_PACKAGES": "[a, b]", "INVOKE_OTHER": "x"})
    assert set(shown) == set(FIELDS)
    assert shown["nofile"] == ("9", "invoke.yaml:3")
    assert shown["provenance"] == ("false", "INVOKE_BEAMDOCK_PROVENANCE")
    assert shown["runtime_packages"] == ("a b", "INVOKE_BEAMDOCK_RUNTIME_PACKAGES")
    assert shown["build_args"] == ("A=b", "invoke.yaml:5")
    assert shown["release"] == ("tiny", "rebar.config:2")
    assert shown["version"] == ("{git, long}", "rebar.config:2")
    assert shown["profile"] == ("prod", "default")
    assert shown["image"] == (shell.repo.image, "invoke.yaml:2")


def test_of_the_user(shell: Shell, tmp_path: Path) -> None:
    """~/.invoke.yaml is read, and is under the project's."""
    home = tmp_path / "someone"
    home.mkdir()
    (home / ".invoke.yaml").write_text("beamdock:\n  image: mine\n  profile: default\n")
    shown = shell.config(env={"HOME": str(home)})
    assert shown["profile"] == ("default", "Invoke's configuration")
    assert shown["image"][0] == shell.repo.image


def test_of_another_file(shell: Shell, tmp_path: Path) -> None:
    """`invoke -f FILE` goes over the project's."""
    (tmp_path / "other.yaml").write_text(yaml.safe_dump({"beamdock": {"image": "shop/other", "nofile": 7}}))
    shown = shell.config("-f", str(tmp_path / "other.yaml"))
    assert (shown["image"][0], shown["nofile"][0]) == ("shop/other", "7")


def test_the_place_of_another_files_setting(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("beamdock: {image: shop/other}\n")
    assert not shell.config("-f", str(tmp_path / "other.yaml"))["image"][1].startswith("invoke.yaml")


WRONG_FILES = [
    (
        "beamdock:\n  image: a\n  runtime_package: [x]\n",
        "error: unknown setting `runtime_package` (invoke.yaml:3)\nhint: did you mean `runtime_packages`?",
    ),
    (
        "beamdock:\n  release: 28.2\n",
        'error: `release` is 28.2, and should be text (invoke.yaml:2)\nhint: put it in quotes: release: "28.2"',
    ),
    ("beamdock: text\n", "error: `beamdock:` in Invoke's configuration is no table of settings"),
    ("beamdock: [a]\n", "error: `beamdock:` in Invoke's configuration is no table of settings"),
]


NO_TEXT = "has a name that is no text\nhint: YAML reads NO, ON, 1 and dates as values of other kinds: put the name in quotes"


TWICE = "YAML takes the last alone, without a word: make one of the two"


TAGGED = "values have none here; `secrets` names a secret's file or variable"


# What parses, and Invoke would show a stack for, or we: it reads the file when tasks.py is loaded already.
WRONG_FILES += [
    *((text, "error: invoke.yaml is no table of settings") for text in ("- a\n", "text\n", "28\n", "2026-01-31\n", "[[]]\n")),
    ("a: 1\nNO: x\n", f"error: invoke.yaml:2 {NO_TEXT}"), ("beamdock:\n  build_env:\n    ON: x\n", f"error: invoke.yaml:3 {NO_TEXT}"),
    ("a:\n- b\n- 2026-01-31: x\n", f"error: invoke.yaml:3 {NO_TEXT}"), ("? [a, b]\n: c\n", f"error: invoke.yaml:1 {NO_TEXT}"),
    ("beamdock:\n  build_packages: [a]\n  release: b\n  build_packages: [c]\n", f"error: invoke.yaml:4 has 'build_packages' a second time, after line 2\nhint: {TWICE}"),
    ("beamdock: {release: a}\nbeamdock: {image: b}\n", "error: invoke.yaml:2 has 'beamdock' a second time, after line 1"),
    ("a: [{b: 1, b: 1}]\n", "error: invoke.yaml:1 has 'b' a second time, after line 1"),
    ("a: x\nb: !secret y\n", f"error: invoke.yaml:2 has the tag '!secret'\nhint: {TAGGED}"),
    ("a: [!!python/name:os.system x]\n", "error: invoke.yaml:1 has the tag 'tag:yaml.org,2002:python/name:os.system'"),
    ("!x {a: b}\n", "error: invoke.yaml:1 has the tag '!x'"),
    ("a: &a\n  b: *a\n", "error: invoke.yaml:1 has a value in itself, by its anchor"), ("&a [*a]\n", "error: invoke.yaml is no table of settings"),
    ("beamdock: &a\n  build_args: *a\n", "error: invoke.yaml:1 has a value in itself"), ("a: &a [x, *a]\n", "error: invoke.yaml:1 has a value in itself"),
    ("a: " + "{b: " * 3000 + "}" * 3000, "error: invoke.yaml can't be read: its values are in each other, hundreds deep"),
    ("a: " + "[" * 3000 + "]" * 3000, "error: invoke.yaml can't be read: its values are in each other, hundreds deep"),
    *((f"{name}: foo\n", f"error: invoke.yaml:1 has no table as `{name}`, which is Invoke's own") for name in ("tasks", "run", "sudo", "timeouts")),
    ("a: 1\ntasks:\n", "error: invoke.yaml:2 has no table as `tasks`, which is Invoke's own"),
    ("run: {echo: {a: b}}\n", "error: Invoke can't use its configuration (AmbiguousMergeError)\nhint: it is in invoke.yaml, "),
    ("beamdock: {a_b: 1, a: {b: 2}}\n", "error: Invoke can't use its configuration (AmbiguousEnvVar)"),
    ("a: 2026-99-99\n", "error: invoke.yaml can't be read: month must be in 1..12"),
    ("a: !!bool x\n", "error: invoke.yaml can't be read: 'x'"), ("a: !!timestamp x\n", "error: invoke.yaml can't be read: "),
    ("a: !!map [b]\n", "error: invoke.yaml:1 can't be read: expected a mapping node, but found sequence"),
    ("<<: x\n", "error: invoke.yaml:1 can't be read: expected a mapping"),
    ("beamdock:\n  release: 2026-01-31\n", "error: `release` is 2026-01-31, and should be text (invoke.yaml:2)"),
    ("beamdock:\n  prebuild: !!binary aGVsbG8=\n", "error: `prebuild` is …, and should be text (invoke.yaml:2)"),
    ("beamdock:\n  build_packages: !!set {a}\n", "error: `build_packages` is ['a'], and should be a list of texts"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(WRONG_FILES)))
def test_a_wrong_file(shell: Shell, number: int) -> None:
    """In the project's invoke.yaml, and in one that Invoke's own option names, in each of its forms in turn."""
    text, error = WRONG_FILES[number]
    shell.repo.write("invoke.yaml", text)
    assert shell.invoke("config", code=2).err.startswith(error)
    (shell.path / "invoke.yaml").rename(shell.path / "other.yaml")
    words = (["-f", "other.yaml"], ["--config", "other.yaml"], ["--config=other.yaml"])[number % 3]
    said = shell.invoke(*words, "config", code=2).err
    assert (
        re.match(re.escape(error).replace("invoke\\.yaml:", ".*").replace("invoke\\.yaml", ".*"), said) or "Invoke's configuration" in said
    ), said
