"""Settings: from files and the environment, each checked, each with the place it came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from invoke.exceptions import Exit

from ci.beamdock import settings as room
from ci.beamdock.settings import FIELDS, SHAPES, Settings, check, take_environment, yaml_lines
from unit.conftest import Shell, said

WHERE = {name: f"invoke.yaml:{i}" for i, name in enumerate(FIELDS, 2)}


def resolve(configured: dict[str, Any], **environment: str) -> Settings:
    return room.resolve(configured, environment, WHERE)[0]


def test_nothing_set_gives_the_defaults() -> None:
    settings, sources = room.resolve({}, {}, {})
    assert (settings, sources) == (Settings(), {})


def test_two_settings_share_no_list() -> None:
    assert Settings().build_packages is not Settings().build_packages


RIGHT: list[tuple[str, Any]] = [
    ("registry", "ghcr.io/acme"), ("registry", "127.0.0.1:5000"), ("registry", "REG.example:443/a/b-c"), ("registry", ""),
    ("image", "shop/orders"), ("image", "a"), ("image", "a__b.c-d"), ("platform", "linux/arm64"), ("platform", "linux/arm/v7"),
    ("build_packages", []), ("runtime_packages", ["libssl3", "libstdc++6"]), ("build_args", {"A": "b"}), ("provenance", True),
    ("nofile", 65536), ("build_env", {"ERL_COMPILER_OPTIONS": "[{d, 'X'}]"}), ("prebuild", "./configure && make"), ("rebar3", "./rebar3"),
    ("dependency_files", ["config/*.deps"]), ("debian_mirror", "http://mirror.example/debian"), ("certificate_authority", "~/ca.pem"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), RIGHT)
def test_what_fits_is_taken(name: str, value: Any) -> None:
    settings, sources = room.resolve({name: value}, {}, WHERE)
    assert getattr(settings, name) == value
    assert sources == {name: WHERE[name]}


WRONG: list[tuple[str, Any, str, str]] = [
    ("release", 28.2, "28.2, and should be text", 'put it in quotes: release: "28.2"'),
    ("release", 3, "3, and should be text", 'put it in quotes: release: "3"'),
    ("registry", True, "True, and should be text", 'put it in quotes: registry: "True"'),
    ("profile", ["prod"], "['prod'], and should be text", ""),
    ("release", {"a": "b"}, "{'a': 'b'}, and should be text", ""),
    ("runtime_packages", "libssl3", "'libssl3', and should be a list of texts", ""),
    ("runtime_packages", [1], "[1], and should be a list of texts", ""),
    ("runtime_packages", ["a", ["b"]], "['a', ['b']], and should be a list of texts", ""),
    ("build_args", ["A=b"], "['A=b'], and should be a table of texts", ""),
    ("build_args", {"A": 1}, "{'A': 1}, and should be a table of texts", ""),
    ("provenance", "yes", "'yes', and should be true or false", ""),
    ("provenance", 1, "1, and should be true or false", ""),
    ("nofile", True, "True, and should be a whole number", ""),
    ("nofile", "1024", "'1024', and should be a whole number", ""),
    ("nofile", 1.5, "1.5, and should be a whole number", ""),
    ("registry", "https://ghcr.io", "'https://ghcr.io', which can't be one", "ghcr.io/acme is one"),
    ("registry", "ghcr.io/Acme", "'ghcr.io/Acme', which can't be one", "ghcr.io/acme is one"),
    ("image", "Shop", "'Shop', which can't be one", "shop/orders is one"),
    ("image", "shop:1", "'shop:1', which can't be one", "shop/orders is one"),
    ("image", "a\n", "'a\\n', which can't be one", "shop/orders is one"),
    ("platform", "arm64", "'arm64', which can't be one", "linux/arm64 is one"),
    ("build_env", {"A": 1}, "{'A': 1}, and should be a table of texts", ""),
    ("build_env", ["A=1"], "['A=1'], and should be a table of texts", ""),
    ("dependency_files", "a", "'a', and should be a list of texts", ""),
    ("prebuild", ["make"], "['make'], and should be text", ""),
]


@pytest.mark.parametrize(("name", "value", "error", "hint"), WRONG)
def test_what_does_not_fit_is_named_with_its_place(name: str, value: Any, error: str, hint: str) -> None:
    with pytest.raises(Exit) as caught:
        resolve({name: value})
    assert caught.value.code == 2
    first, _, last = said(caught).partition("\n")
    assert first.startswith(f"error: `{name}` is {error}")
    assert first.endswith(f"({WHERE[name]})")
    assert last == (f"hint: {hint}" if hint else "")


def test_a_key_of_a_table_is_text_too() -> None:
    with pytest.raises(Exit, match="build_args"):
        room.resolve({"build_args": {1: "a"}}, {}, {})


@pytest.mark.parametrize(
    ("name", "near"), [("runtime_package", "runtime_packages"), ("Registry", "registry"), ("build-args", "build_args")]
)
def test_an_unknown_setting(name: str, near: str) -> None:
    """Refused, with its place and the nearest that there is; an empty one too."""
    for value in ("x", None):
        with pytest.raises(Exit) as caught:
            room.resolve({name: value}, {}, {name: "invoke.yaml:7"})
        assert (
            said(caught) == f"error: unknown setting `{name}` (invoke.yaml:7)\nhint: did you mean `{near}`? `invoke config` lists them all"
        )


def test_an_unknown_setting_like_no_other() -> None:
    with pytest.raises(Exit) as caught:
        room.resolve({"zzz": "x"}, {}, {})
    assert said(caught) == "error: unknown setting `zzz` (Invoke's configuration)\nhint: `invoke config` lists them all"


def test_none_is_not_set() -> None:
    """`release:` with nothing behind it is the default."""
    assert room.resolve(dict.fromkeys(FIELDS), {}, WHERE) == (Settings(), {})


FROM_ENVIRONMENT: list[tuple[str, str, Any]] = [
    ("provenance", "false", False), ("provenance", "FALSE", False), ("provenance", "true", True), ("provenance", "yes", True),
    ("nofile", "0", 0), ("nofile", "1024", 1024), ("release", "28.2", "28.2"), ("release", "0", "0"), ("release", "false", "false"),
    ("release", "null", "null"), ("release", "{a: b", "{a: b"), ("release", "", ""), ("version", "{git, long}", "{git, long}"),
    ("runtime_packages", "[a, b]", ["a", "b"]), ("runtime_packages", "[]", []), ("build_args", "{A: b}", {"A": "b"}),
    ("runtime_packages", "", []), ("build_env", "{A: '1'}", {"A": "1"}), ("prebuild", "make: x", "make: x"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "value"), FROM_ENVIRONMENT)
def test_a_variable_has_the_settings_type(name: str, text: str, value: Any) -> None:
    assert getattr(resolve({}, **{name: text}), name) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [("nofile", "28.2"), ("nofile", "many"), ("provenance", "0"), ("runtime_packages", "a b"), ("build_args", "{A: 1}"), ("nofile", "]")],
)
def test_a_variable_that_does_not_fit_is_named(name: str, text: str) -> None:
    with pytest.raises(Exit) as caught:
        resolve({}, **{name: text})
    assert (caught.value.code, f"(INVOKE_BEAMDOCK_{name.upper()})" in said(caught)) == (2, True)


@given(st.sampled_from(list(FIELDS)), st.text(max_size=20))
@example("nofile", "1" * 5000)
@example("nofile", "2026-99-99")
def test_any_text_in_a_variable(name: str, text: str) -> None:
    """A value of the setting's type, or an error; nothing else."""
    try:
        settings = resolve({}, **{name: text})
    except Exit:
        return
    assert check(name, getattr(settings, name), "") is not None


def test_a_variable_goes_over_the_file() -> None:
    settings, sources = room.resolve({"release": "a", "profile": "p"}, {"release": "b"}, WHERE)
    assert (settings.release, settings.profile) == ("b", "p")
    assert sources == {"release": "INVOKE_BEAMDOCK_RELEASE", "profile": WHERE["profile"]}


def test_a_variable_mends_the_file() -> None:
    assert resolve({"release": 28.2}, release="28.2").release == "28.2"


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
    assert yaml_lines(tmp_path / "invoke.yaml", {"image": "a", "release": "b"}) == lines


def test_yaml_lines_of_values_that_others_gave(tmp_path: Path) -> None:
    """A line is named only where Invoke's value is this file's; another file may have gone over it."""
    (tmp_path / "invoke.yaml").write_text("beamdock:\n  image: a\n  nofile: 1\n  build_packages: [x]\n  build_args: {A: b}\n")
    lines = {"image": "invoke.yaml:2", "nofile": "invoke.yaml:3", "build_packages": "invoke.yaml:4", "build_args": "invoke.yaml:5"}
    same = {"image": "a", "nofile": 1, "build_packages": ["x"], "build_args": {"A": "b"}}
    assert yaml_lines(tmp_path / "invoke.yaml", same) == lines
    others = {"image": "b", "nofile": 2, "build_packages": ["x", "y"], "build_args": {"A": "b", "C": "d"}}
    for name, value in others.items():
        assert yaml_lines(tmp_path / "invoke.yaml", {**same, name: value}) == {n: w for n, w in lines.items() if n != name}
    assert yaml_lines(tmp_path / "invoke.yaml", {}) == {}


@pytest.mark.parametrize("text", ["- a\n", "text\n", "[1, 2]\n"])
def test_yaml_lines_of_no_table(tmp_path: Path, text: str) -> None:
    (tmp_path / "invoke.yaml").write_text(text)
    assert yaml_lines(tmp_path / "invoke.yaml", {"image": "a"}) == {}


def test_yaml_lines_without_a_file(tmp_path: Path) -> None:
    assert yaml_lines(tmp_path / "none.yaml", {"image": "a"}) == {}


@given(st.dictionaries(st.sampled_from(list(FIELDS)), st.sampled_from(["a", 1, True, None, [], ["x"], {"a": "b"}, 1.5, {"a": 1}])))
def test_resolve_gives_settings_or_an_error(configured: dict[str, Any]) -> None:
    """Whatever a file says, it's settings of the right types or an error; a value is never changed."""
    try:
        settings, sources = room.resolve(configured, {}, WHERE)
    except Exit as error:
        assert error.code == 2
        return
    given_ones = {n: v for n, v in configured.items() if v is not None}
    assert {n: getattr(settings, n) for n in given_ones} == given_ones
    assert set(sources) == set(given_ones)


def test_every_setting_has_a_form_and_an_about() -> None:
    for name, field in FIELDS.items():
        assert field.type in SHAPES, name
        assert field.metadata["help"], name
        if form := field.metadata["form"]:
            assert check(name, field.metadata["example"], "") and form


# ------------------------------------------------------------------------------------------------- through real Invoke


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


@pytest.mark.parametrize(("text", "error"), WRONG_FILES)
def test_a_wrong_file(shell: Shell, text: str, error: str) -> None:
    shell.repo.write("invoke.yaml", text)
    assert shell.invoke("config", code=2).err.startswith(error)


def test_a_wrong_variable(shell: Shell) -> None:
    """An unknown one of ours is refused; others are not ours."""
    done = shell.invoke("config", code=2, env={"INVOKE_BEAMDOCK_BUILDBASE": "x"})
    assert done.err.startswith("error: unknown setting `buildbase` (INVOKE_BEAMDOCK_BUILDBASE)\nhint: did you mean `build_base`?")


def test_a_flag_is_checked_like_a_setting(shell: Shell) -> None:
    done = shell.invoke("build", "--dry-run", "--registry=https://x", code=2)
    assert done.err.startswith("error: `registry` is 'https://x', which can't be one (--registry)")
