"""Settings: from files and the environment, each checked, each with the place it came from."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from invoke.exceptions import Exit

from ci.beamdock import settings as room
from ci.beamdock.settings import FIELDS, SHAPES, Settings, check_setting
from unit.conftest import Shell, said

WHERE = {name: f"invoke.yaml:{i}" for i, name in enumerate(FIELDS, 2)}


def settings_of(configured: dict[str, Any], **environment: str) -> Settings:
    return room.merge_settings(configured, environment, WHERE)[0]


def test_nothing_set_gives_the_defaults() -> None:
    settings, sources = room.merge_settings({}, {}, {})
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
    settings, sources = room.merge_settings({name: value}, {}, WHERE)
    assert getattr(settings, name) == value
    assert sources == {name: WHERE[name]}


QUOTES = "put texts in quotes: YAML reads NO, 1.10 and 2026-01-31 as values of other kinds"

WRONG: list[tuple[str, Any, str, str]] = [
    ("release", 28.2, "28.2, and should be text", 'put it in quotes: release: "28.2"'),
    ("release", 3, "3, and should be text", 'put it in quotes: release: "3"'),
    ("registry", True, "True, and should be text", 'put it in quotes: registry: "True"'),
    ("profile", ["prod"], "['prod'], and should be text", ""),
    ("release", {"a": "b"}, "{'a': …}, and should be text", ""),
    ("runtime_packages", "libssl3", "'libssl3', and should be a list of texts", ""),
    ("runtime_packages", [1], "[1], and should be a list of texts", QUOTES),
    ("runtime_packages", ["a", ["b"]], "['a', …], and should be a list of texts", ""),
    ("build_args", ["A=b"], "['A=b'], and should be a table of texts", ""),
    ("build_args", {"A": 1}, "{'A': …}, and should be a table of texts", QUOTES),
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
    ("build_env", {"A": 1}, "{'A': …}, and should be a table of texts", QUOTES),
    ("build_env", ["A=1"], "['A=1'], and should be a table of texts", ""),
    ("dependency_files", "a", "'a', and should be a list of texts", ""),
    ("prebuild", ["make"], "['make'], and should be text", ""),
]


@pytest.mark.parametrize(("name", "value", "error", "hint"), WRONG)
def test_what_does_not_fit_is_named_with_its_place(name: str, value: Any, error: str, hint: str) -> None:
    with pytest.raises(Exit) as caught:
        settings_of({name: value})
    assert caught.value.code == 2
    first, _, last = said(caught).partition("\n")
    assert first.startswith(f"error: `{name}` is {error}")
    assert first.endswith(f"({WHERE[name]})")
    assert last == (f"hint: {hint}" if hint else "")


def test_a_key_of_a_table_is_text_too() -> None:
    with pytest.raises(Exit, match="build_args"):
        room.merge_settings({"build_args": {1: "a"}}, {}, {})


@pytest.mark.parametrize(
    ("name", "near"), [("runtime_package", "runtime_packages"), ("Registry", "registry"), ("build-args", "build_args")]
)
def test_an_unknown_setting(name: str, near: str) -> None:
    """Refused, with its place and the nearest that there is; an empty one too."""
    for value in ("x", None):
        with pytest.raises(Exit) as caught:
            room.merge_settings({name: value}, {}, {name: "invoke.yaml:7"})
        assert (
            said(caught) == f"error: unknown setting `{name}` (invoke.yaml:7)\nhint: did you mean `{near}`? `invoke config` lists them all"
        )


def test_an_unknown_setting_like_no_other() -> None:
    with pytest.raises(Exit) as caught:
        room.merge_settings({"zzz": "x"}, {}, {})
    assert said(caught) == "error: unknown setting `zzz` (Invoke's configuration)\nhint: `invoke config` lists them all"


def test_none_is_not_set() -> None:
    """`release:` with nothing behind it is the default."""
    assert room.merge_settings(dict.fromkeys(FIELDS), {}, WHERE) == (Settings(), {})


FROM_ENVIRONMENT: list[tuple[str, str, Any]] = [
    ("provenance", "false", False), ("provenance", "FALSE", False), ("provenance", "true", True), ("provenance", "yes", True),
    ("nofile", "1", 1), ("nofile", "1024", 1024), ("release", "28.2", "28.2"), ("release", "0", "0"), ("release", "false", "false"),
    ("release", "null", "null"), ("release", "{a: b", "{a: b"), ("release", "", ""), ("version", "{git, long}", "{git, long}"),
    ("runtime_packages", "[a, b]", ["a", "b"]), ("runtime_packages", "[]", []), ("build_args", "{A: b}", {"A": "b"}),
    ("runtime_packages", "", []), ("build_env", "{A: '1'}", {"A": "1"}), ("prebuild", "make: x", "make: x"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "value"), FROM_ENVIRONMENT)
def test_a_variable_has_the_settings_type(name: str, text: str, value: Any) -> None:
    assert getattr(settings_of({}, **{name: text}), name) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [("nofile", "28.2"), ("nofile", "many"), ("provenance", "0"), ("runtime_packages", "a b"), ("build_args", "{A: 1}"), ("nofile", "]")],
)
def test_a_variable_that_does_not_fit_is_named(name: str, text: str) -> None:
    with pytest.raises(Exit) as caught:
        settings_of({}, **{name: text})
    assert (caught.value.code, f"(INVOKE_BEAMDOCK_{name.upper()})" in said(caught)) == (2, True)


@given(st.sampled_from(list(FIELDS)), st.text(max_size=20))
@example("nofile", "1" * 5000)
@example("nofile", "2026-99-99")
def test_any_text_in_a_variable(name: str, text: str) -> None:
    """A value of the setting's type, or an error; nothing else."""
    try:
        settings = settings_of({}, **{name: text})
    except Exit:
        return
    assert check_setting(name, getattr(settings, name), "") is not None


def test_a_variable_goes_over_the_file() -> None:
    settings, sources = room.merge_settings({"release": "a", "profile": "p"}, {"release": "b"}, WHERE)
    assert (settings.release, settings.profile) == ("b", "p")
    assert sources == {"release": "INVOKE_BEAMDOCK_RELEASE", "profile": WHERE["profile"]}


def test_a_variable_mends_the_file() -> None:
    assert settings_of({"release": 28.2}, release="28.2").release == "28.2"


@given(st.dictionaries(st.sampled_from(list(FIELDS)), st.sampled_from(["a", 1, True, None, [], ["x"], {"a": "b"}, 1.5, {"a": 1}])))
def test_merging_gives_settings_or_an_error(configured: dict[str, Any]) -> None:
    """Whatever a file says, it's settings of the right types or an error; a value is never changed."""
    try:
        settings, sources = room.merge_settings(configured, {}, WHERE)
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
        if field.metadata["form"]:
            fits = field.metadata["example"]
            shape = SHAPES[field.type][0]
            assert check_setting(name, [fits] if shape is list else {fits: "x"} if shape is dict else fits, "")


REFUSED: list[tuple[str, Any, str]] = [
    ("nofile", -5, "`nofile` is -5, and so many files can't be open"), ("nofile", 0, "`nofile` is 0, and"), ("nofile", 2**31, "`nofile` is 2147483648, and"),
    *(("platform", value, f"`platform` is '{value}', which can't be one") for value in ("linux/nosuch", "windows/amd64", "linux/amd64,linux/arm64", "linux/arm/v7/x")),
    ("network", "my-net", "`network` is 'my-net', which can't be one"),
    ("profile", "", "`profile` is empty"), ("dockerfile", "", "`dockerfile` is empty"), ("cache", "", "`cache` is empty"),
    ("profile", "a b", "`profile` is 'a b', which can't be one"), ("profile", "../x", "`profile` is '../x', which can't be one"),
    ("build_env", {"A=B": "1"}, "`build_env` has 'A=B' in it, which can't be one"), ("build_env", {"A B": "1"}, "`build_env` has 'A B' in it, which"),
    ("build_env", {"": "1"}, "`build_env` has '' in it, which"), ("build_env", {"A;reboot;B": "1"}, "`build_env` has 'A;reboot;B' in it, which"),
    ("build_args", {"A=B": "1"}, "`build_args` has 'A=B' in it, which can't be one"), ("build_args", {"A B": "1"}, "`build_args` has 'A B' in it, which"),
    ("build_args", {"": "1"}, "`build_args` has '' in it, which"),
    ("build_args", {"WRITABLE": "log ../../etc"}, "`build_args` WRITABLE has '../../etc' in it, and .. leads out"),
    ("build_args", {"PROFILE": "a b"}, "`build_args` PROFILE is 'a b', which can't be one"),
    ("build_packages", ["a b"], "`build_packages` has 'a b' in it, which can't be one"), ("runtime_packages", ["-oX=y"], "`runtime_packages` has '-oX=y' in it, which"),
    ("runtime_packages", [""], "`runtime_packages` has '' in it, which"), ("image", "a" * 256, "`image` has 256 characters, and 255 are the most"),
    ("debian_mirror", "mirror.example/debian", "`debian_mirror` is 'mirror.example/debian', which can't be one"),
    ("hex_mirror", "https://a b", "`hex_mirror` is 'https://a b', which can't be one"),
    ("build_base", "erlang 27", "`build_base` is 'erlang 27', which can't be one"), ("run_base", "x@y", "`run_base` is '…@y', which can't be one"),
    ("ssh", "default=", "`ssh` is 'default=', which can't be one"), ("ssh", "=x", "`ssh` is '=x', which"), ("ssh", "a b", "`ssh` is 'a b', which"),
    ("ssh", "default=a,,b", "`ssh` is 'default=a,,b', which"), ("git_rewrites", {"": "x"}, "`git_rewrites` has '' in it, which"),
    ("git_rewrites", {"https://x/": ""}, "`git_rewrites` has nothing, or a blank, in place of 'https://x/'"),
    *(("secrets", [value], "`secrets` should be id=NAME,src=FILE or id=NAME,env=VARIABLE")
      for value in ("", "s3cr3t", "id=", "src=x", "id=a,value=s3cr3t", "id=a,type=text,src=b", "id=a,,env=B", "id=a,src")),
    ("secrets", ['id=a,"src'], "`secrets` is no line of CSV"),
    *(("cache", value, "`cache` should be buildx's words, as in type=gha,scope=main, and a part of it is no NAME=VALUE")
      for value in ("type=gha,oops", "type=", "type=gha,", "type=gha,=x")),
    ("cache", "ref=x", "`cache` says no type"), ("cache", "oops", "`cache` is 'oops', which can't be one"),
    ("dependency_files", [""], "`dependency_files` has an empty pattern in it"), ("dependency_files", ["a**b"], "`dependency_files` has 'a**b' in it; **"),
    *(("writable", [value], "`writable` has an empty folder in it") for value in ("", " ")),
    *(("writable", [value], f"`writable` has {value!r} in it; a folder's name is") for value in ("a b", "a\nb", "a:b", "*", "-x", "$HOME", "a;b", "a'b")),
    *(("writable", [value], f"`writable` has {value!r} in it, and .. leads out") for value in ("..", "../../etc", "/opt/x/../../etc", "log/..")),
    *(("writable", [value], f"`writable` has {value!r} in it, which is the system's") for value in (
        "/", "//", "/.", "/etc", "//etc/x", "/etc/ssl", "/usr/local/bin", "/bin", "/lib", "/lib64", "/sbin", "/proc", "/sys/x", "/dev/shm", "/root", "/boot", "/opt",
        "/opt/", "/var", "/home", "/run", "/tmp", "/var/lib")),
    *(("writable", [value], f"`writable` has {value!r} in it, where the release's code is") for value in (".", "./", "bin", "lib", "releases", "releases/1", "erts-15.2/bin")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "error"), REFUSED)
def test_what_can_not_be_is_refused(name: str, value: Any, error: str) -> None:
    with pytest.raises(Exit) as caught:
        settings_of({name: value})
    first = said(caught).partition("\nhint: ")[0]
    assert (caught.value.code, first[: len(error) + 7]) == (2, f"error: {error}")
    assert first.endswith(f"({WHERE[name]})")
    assert "s3cr3t" not in said(caught)


FITS: list[tuple[str, Any]] = [
    ("build_base", f"erlang:27@sha256:{'0a' * 32}"), ("build_base", "localhost:5000/erlang:27"), ("run_base", "[::1]:5000/debian:trixie-slim"),
    ("build_base", f"localhost:5000/erlang:27@sha256:{'0a' * 32}"), ("build_args", {"BUILD_BASE": f"erlang:27@sha256:{'0a' * 32}"}),
    ("git_rewrites", {"https://github.com/acme/": "git@github.com:acme/"}), ("git_rewrites", {"https://host/x": "ssh://git@host/x"}),
    ("git_rewrites", {"git@a.example:": "ssh://git@b.example:2222/"}), ("hex_mirror", "https://hex.example:8443/@scope/x"),
    ("build_args", {"HTTP_PROXY": "http://me:s3cr3t@proxy.example:3128", "EMAIL": "a@b.example"}),
    ("prebuild", "curl https://$USER:$TOKEN@h/x"), ("prebuild", "git config user.email a@b.example"), ("platform", "linux/arm/v7"),
    ("secrets", ["id=netrc,src=~/.netrc", "type=env,id=a,env=B", 'id=a,"src=/a,b"', "id=TOKEN"]), ("ssh", "default"), ("ssh", "default=a,~/b c"),
    ("cache", "type=gha"), ("cache", 'type=local,"dest=/a,b"'), ("cache", f"type=registry,ref=r.example:5000/a:b@sha256:{'0a' * 32}"),
    ("writable", ["log", "./data/", "lib/shop-1.0/priv/www", "/var/log/shop", "/opt/shop/log", "/var/lib/shop", "/data", "bilder@2/ü", "/run/shop"]),
    ("dependency_files", ["config/**/*.deps", "a"]), ("build_packages", ["libc++-dev", "g++:arm64", "nodejs=20.1~x/y"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), FITS)
def test_what_only_looks_odd_is_taken(name: str, value: Any) -> None:
    assert getattr(settings_of({name: value}), name) == value


WITH_PASSWORDS = [
    "user:s3cr3t@h/x", "https://user:s3cr3t@h/", " https://user:s3cr3t@h/", "https://s3cr3t@h/", "HTTPS://s3cr3t@h", "ssh://git:s3cr3t@h/x", "//user:s3cr3t@h",
    "https://user:a/s3cr3t@h/", "https://user:s3cr3t#1@h/", "\tuser:s3cr3t@h:5000/x", ":s3cr3t@h", "https://user:s3cr3t@[::1]/",
]  # fmt: skip


@pytest.mark.parametrize("address", WITH_PASSWORDS)
def test_a_password_is_refused_and_never_shown(shell: Shell, address: str) -> None:
    """In each setting and flag that has an address, and variables that stand for one; the error has its name."""
    texts = ["registry", "image", "build_base", "run_base", "debian_mirror", "hex_mirror"]
    found: list[tuple[str, Any]] = [(name, address) for name in texts]
    found += [("build_args", {"BUILD_BASE": address}), ("build_args", {"OTHER": address}), ("cache", f"type=registry,ref={address}")]
    found += [("git_rewrites", {address: "x"}), ("git_rewrites", {"x": address})]
    if "://" in address:
        found += [("build_env", {"X": address}), ("prebuild", f"curl {address}")]
    for name, value in found:
        with pytest.raises(Exit) as caught:
            settings_of({name: value})
        assert "has a password or a token in it" in said(caught), (name, value)
        assert said(caught).startswith(f"error: `{name}` "), (name, value)
        assert "s3cr3t" not in said(caught)
    flags = [f"--registry={address}", f"--build-arg=BUILD_BASE={address}", f"--build-arg=X={address}", f"--cache-from={address}"]
    for flag in (*flags, f"--cache-from=type=registry,ref={address}", f"--cache-to=type=registry,ref={address}"):
        done = shell.invoke("build", "--dry-run", flag, code=2)
        assert "has a password or a token in it" in done.err, flag
        assert "s3cr3t" not in done.out + done.err
    for variable in ("HEX_CDN", "HEX_MIRROR", "INVOKE_BEAMDOCK_REGISTRY", "INVOKE_BEAMDOCK_BUILD_BASE"):
        done = shell.invoke("config", env={variable: address}, code=2)
        assert f"has a password or a token in it ({variable})" in done.err
        assert "s3cr3t" not in done.out + done.err


UNPASSABLE = [("a\0b", "a NUL character"), ("\ud800", "\\ud800 in it, which is no character"), ("\udcff", "\\udcff in it, which"),
              ("ü" * 60_000, "12000"), ("-----BEGIN RSA PRIVATE KEY-----\nMIIE", "a private key in it")]  # fmt: skip


@pytest.mark.parametrize(("text", "error"), UNPASSABLE, ids=["NUL", "surrogate", "byte", "long", "key"])
def test_what_no_command_can_be_given(text: str, error: str) -> None:
    """In any setting that is made of texts, alone or in a list or a table, as a name there too."""
    for name, field in FIELDS.items():
        shape = SHAPES[field.type][0]
        values: dict[type, list[Any]] = {str: [text], list: [["a", text]], dict: [{"A": text}, {text: "a"}]}
        for value in values.get(shape, []):
            with pytest.raises(Exit) as caught:
                settings_of({name: value})
            assert (caught.value.code, f"`{name}` has {error}" in said(caught)) == (2, True), said(caught)[:200]
            assert len(said(caught)) < 400


NESTED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.dates() | st.binary(max_size=5) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers() | st.booleans(), inner, max_size=3),
    max_leaves=5,
)
SECRET = st.sampled_from(
    ["{}user:s3cr3t@{}", "{}https://s3cr3t@{}", "{}ssh://a:s3cr3t@{}", "{}x=https://a:s3cr3t@b/{}", "{}type=x,ref=u:s3cr3t@{}"]
)
PARTS = st.text(st.sampled_from("ab:/@ ,=.\n'\"\\#?[]{}-"), max_size=6)
SECRETS = st.builds(str.format, SECRET, PARTS, PARTS)
ANY = (
    NESTED | SECRETS | st.lists(SECRETS | NESTED, max_size=3) | st.dictionaries(SECRETS | st.text(max_size=4), SECRETS | NESTED, max_size=3)
)


@given(st.sampled_from([*FIELDS, "unknown"]), ANY)
@example("nofile", 10**5000)
@example("release", "user:s3cr3t@h")
@example("build_args", {"A": datetime.date(2026, 1, 31)})
@settings(max_examples=400)
def test_any_value_is_a_setting_or_an_error(name: str, value: Any) -> None:
    """merge_settings() gives Settings, or an error that ends in 2 and never shows a password."""
    try:
        made, _ = room.merge_settings({name: value}, {}, {})
    except Exit as error:
        assert (error.code, str(error.message)[:7]) == (2, "error: ")
        assert "s3cr3t" not in str(error.message)
        assert len(str(error.message)) < 1000
    else:
        assert value is None or getattr(made, name) == value


@given(
    st.sampled_from([n for n in FIELDS if FIELDS[n].type != "str"]),
    st.text() | SECRETS | st.sampled_from(["&a [*a]", "!x y", "2026-01-31"]),
)
@example("runtime_packages", "[" * 3000)  # once: reading it takes half a second
@example("build_args", "{a: " * 3000)
@settings(max_examples=150)
def test_any_variable_is_a_setting_or_an_error(name: str, text: str) -> None:
    try:
        room.merge_settings({}, {name: text}, {})
    except Exit as error:
        assert (error.code, "s3cr3t" in str(error.message)) == (2, False)


WRONG_FLAGS: list[tuple[list[str], str]] = [
    (["--target", ""], "error: --target '' can't be a stage\nhint: the Dockerfile has them: --target runner"),
    (["--target", "a b"], "error: --target 'a b' can't be a stage"), (["--target", "-x"], "error: --target '-x' can't be a stage"),
    (["--tag", ""], "error: '' can't be a tag"), (["--tag", "user:s3cr3t@h"], "error: '…@h' can't be a tag"),
    (["--build-arg", "=x"], "error: --build-arg = has no name"), (["--build-arg", ""], "error: --build-arg  has no name"),
    (["--build-arg", "A B=x"], "error: `build_args` has 'A B' in it, which can't be one (--build-arg)"),
    (["--build-arg", "WRITABLE=../../etc"], "error: `build_args` WRITABLE has '../../etc' in it, and .. leads out"),
    (["--build-arg", f"A={'x' * 110_000}"], "error: `build_args` has 110003 bytes, and 100000 are the most (--build-arg)"),
    *((["--secret", text], "error: `secrets` should be id=NAME,src=FILE or id=NAME,env=VARIABLE") for text in ("", "s3cr3t", "id=,src=x", "src=x")),
    (["--secret", "id=a,src=none"], "error: none does not exist (--secret)"), (["--secret", "id=a,src=config"], "error: config is a folder, and should be a file"),
    (["--secret", "id=a,env=UNSET"], "error: the variable UNSET of the secret a is not set (--secret)\nhint: --secret id=a,src=FILE names a file"),
    (["--secret", "id=UNSET"], "error: the variable UNSET of the secret UNSET is not set (--secret)"),
    (["--secret", "id=a,src=~nosuchuser/x"], "error: ~nosuchuser/x begins with a user's home folder, and there is none (--secret)"),
    (["--ssh", "default=~nosuchuser/x"], "error: ~nosuchuser/x begins with a user's home folder, and there is none (--ssh)"),
    (["--ssh", "default=none"], "error: {root}/none does not exist (--ssh)"), (["--ssh", "a b"], "error: `ssh` is 'a b', which can't be one (--ssh)"),
    (["--ssh", "default="], "error: `ssh` is 'default=', which can't be one (--ssh)\nhint: default=~/.ssh/id_ed25519 is one"),
    (["--cache-from=type=gha,oops"], "error: --cache-from should be buildx's words"), (["--cache-to=type=gha,oops"], "error: --cache-to should be buildx's words"),
    (["--cache-to=oops"], "error: --cache-to should be buildx's words"), (["--cache-to=ref=x"], "error: --cache-to says no type"),
    (["--cache-from=a b"], "error: --cache-from is 'a b', which can't be an image"), (["--cache-from="], "error: --cache-from is '', which can't be an image"),
    (["--cache-from=type=registry,ref=user:s3cr3t@h/x"], "error: --cache-from has a password or a token in it"),
    (["--cache-to="], "error: --cache-to says no type"), (["--registry", "user:s3cr3t@h/x"], "error: `registry` has a password or a token in it"),
]  # fmt: skip


@pytest.mark.parametrize(("flags", "error"), WRONG_FLAGS, ids=range(len(WRONG_FLAGS)))
def test_a_wrong_flag(shell: Shell, flags: list[str], error: str) -> None:
    """The rule is the setting's, and no docker is asked."""
    (shell.path / "config").mkdir(exist_ok=True)
    said = shell.invoke("build", *flags, env={"PATH": "/usr/bin:/bin", "DOCKER_HOST": "unix:///nowhere"}, code=2)
    assert said.err.startswith(error.format(root=shell.path))
    assert "s3cr3t" not in said.out + said.err


def test_a_wrong_variable(shell: Shell) -> None:
    """An unknown one of ours is refused; others are not ours."""
    done = shell.invoke("config", code=2, env={"INVOKE_BEAMDOCK_BUILDBASE": "x"})
    assert done.err.startswith("error: unknown setting `buildbase` (INVOKE_BEAMDOCK_BUILDBASE)\nhint: did you mean `build_base`?")


def test_a_flag_is_checked_like_a_setting(shell: Shell) -> None:
    done = shell.invoke("build", "--dry-run", "--registry=https://x", code=2)
    assert done.err.startswith("error: `registry` is 'https://x', which can't be one (--registry)")
