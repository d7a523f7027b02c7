"""beamdock 0.1.0: what invoke.yaml and the environment may say, and whether it can be so. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

import yaml

from . import values
from .values import Wrong, refuse, shown, shown_name
from .words import KEY, did_you_mean, failure


def setting(default: Any, about: str, form: str = "", example: str = "") -> Any:
    """Declare a field of Settings. form: a regular expression for a text, for each of a list, or for each name in a table; example: what
    fits it."""
    metadata = {"help": about, "form": form, "example": example}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """What invoke.yaml may say under `beamdock:`. Scalars can be overridden by INVOKE_BEAMDOCK_NAME."""

    registry: str = setting("", "where images are pushed", values.REGISTRY, "ghcr.io/acme")
    image: str = setting("", "the image's name (default: the release's)", rf"{values.PATH}(/{values.PATH})*", "shop/orders")
    release: str = setting("", "which release (default: the one in rebar.config)")
    version: str = setting("", "the release's version, as Erlang writes it: {git, long} (default: what rebar.config says)")
    profile: str = setting("prod", "the rebar3 profile to release", r"[^\s/,]+", "prod")
    dockerfile: str = setting("Dockerfile", "the Dockerfile, from the project's folder")
    build_base: str = setting("", "the builder's base image (default: the Dockerfile's BUILD_BASE)", values.BASE, "erlang:27")
    run_base: str = setting("", "the runner's base image (default: the Dockerfile's RUN_BASE)", values.BASE, "debian:trixie-slim")
    build_packages: list[str] = setting([], "Debian packages that the build needs", values.PACKAGE, "libssl-dev")
    runtime_packages: list[str] = setting([], "Debian packages that the running release needs", values.PACKAGE, "libssl3")
    build_env: dict[str, str] = setting(
        {}, "environment of the build: {ERL_COMPILER_OPTIONS: ...}", values.VARIABLE, "ERL_COMPILER_OPTIONS"
    )
    prebuild: str = setting("", "a shell command to run before rebar3, in the project's folder")
    rebar3: str = setting("", "a rebar3 of the repo's own, ./rebar3 for example (default: the base image's)")
    dependency_files: list[str] = setting([], "files that rebar.config.script reads, where they decide the dependencies; patterns")
    debian_mirror: str = setting(
        "", "where packages come from, instead of deb.debian.org/debian", values.WEB, "https://mirror.example/debian"
    )
    certificate_authority: str = setting("", "a file with a company's own certificate authority, PEM")
    build_args: dict[str, str] = setting({}, "more build arguments for the Dockerfile", r"[^\s=]+", "HTTP_PROXY")
    incremental: str = setting(
        "desk", "compile on top of the last build's files: desk (not where CI is set), always, never", "desk|always|never", "never"
    )
    cache: str = setting(
        "deps",
        "what travels between machines: deps, registry, local, none, or buildx's words",
        r"deps|registry|local|none|\S.*=.*",
        "type=gha",
    )
    default_branch: str = setting("main", "the branch whose caches a new branch begins with")
    platform: str = setting(
        "", "the platform to build for (default: this machine's)", rf"linux/({values.ARCHITECTURES})(/v\d+)?", "linux/arm64"
    )
    network: str = setting("", "the network of build steps: host, none (default: the builder's)", "default|host|none", "host")
    hex_mirror: str = setting(
        "", "where Hex packages come from, instead of repo.hex.pm (default: HEX_CDN, HEX_MIRROR)", values.WEB, "https://hex.example/mirror"
    )
    ssh: str = setting(
        "",
        "the SSH agent or keys for private dependencies: default, or default=FILE,FILE",
        r"[A-Za-z0-9][\w.-]*(=[^,\n]+(,[^,\n]+)*)?",
        "default=~/.ssh/id_ed25519",
    )
    known_hosts: str = setting("", "a file with the host keys of private git servers")
    git_rewrites: dict[str, str] = setting(
        {}, "git addresses to replace: {https://github.com/acme/: git@github.com:acme/}", r"[^\s\x00-\x1f\x7f]+", "https://github.com/acme/"
    )
    secrets: list[str] = setting([], "secrets for private dependencies: id=netrc,src=FILE or id=netrc,env=VARIABLE")
    provenance: bool = setting(False, "attach BuildKit's provenance (makes the tag an index, which some platforms reject)")
    writable: list[str] = setting([], "folders that the release writes into: log, /var/log/shop; relative ones are in its own")
    nofile: int = setting(16384, "open files allowed in `run`: without a limit the BEAM takes gigabytes at start")


FIELDS = {f.name: f for f in dataclasses.fields(Settings)}


# ---------------------------------------------------------------------------------------------------- taking them in

# Settings, and the source of each that is set: invoke.yaml:3, INVOKE_BEAMDOCK_NAME, --release.
Settled = tuple[Settings, dict[str, str]]


def merge_settings(configured: Mapping[str, Any], environment: Mapping[str, str], lines: Mapping[str, str]) -> Settled:
    """Make settings of what Invoke's files say, and of the environment over it. Raises Exit for a value that can't be, or a name that
    is no setting.

    configured: the files' values, by name; environment: texts, by the setting's name; lines: where the values stand, as file:line."""
    given = {name: (value, lines.get(name, "Invoke's configuration")) for name, value in configured.items()}
    for name, text in environment.items():
        given[name] = parse_variable(name, text), f"INVOKE_{KEY.upper()}_{name.upper()}"
    return override_settings(Settings(), {}, {n: (v, source) for n, (v, source) in given.items() if v is not None or n not in FIELDS})


def parse_variable(name: str, text: str) -> Any:
    """Return a setting's value out of a variable's text: as it is where the setting is a text, else what YAML reads in it."""
    if name in FIELDS and FIELDS[name].type == "str":
        return text
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


def override_settings(settings: Settings, sources: Mapping[str, str], given: Mapping[str, tuple[Any, str]]) -> Settled:
    """Set some settings anew. given: name -> value and its source. Raises Exit for a value that can't be, or a name that is no
    setting."""
    checked = {name: check_setting(name, value, source) for name, (value, source) in given.items()}
    return dataclasses.replace(settings, **checked), {**sources, **{name: source for name, (_, source) in given.items()}}


# ------------------------------------------------------------------------------------------------------ checking one

# Each type of a setting: what it is in YAML, and how to say so.
SHAPES: dict[Any, tuple[type, str]] = {
    "str": (str, "text"),
    "bool": (bool, "true or false"),
    "int": (int, "a whole number"),
    "list[str]": (list, "a list of texts: [a, b]"),
    "dict[str, str]": (dict, "a table of texts: {NAME: value}"),
}


def check_setting(name: str, value: Any, where: str) -> Any:
    """Return a setting's value if it can be one. where: its source, for the error; a flag gives values too that a setting could.

    Raises Exit where it can't be, and where there is no such setting."""
    if name not in FIELDS:
        hint = did_you_mean(str(name), list(FIELDS))
        raise failure(f"unknown setting `{shown_name(name)}` ({where})", f"{hint}`invoke config` lists them all")
    shape, form = SHAPES[FIELDS[name].type]
    inner: list[Any] = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    if type(value) is not shape or not all(isinstance(x, str) for x in inner):
        hint = f'put it in quotes: {name}: "{shown(value)}"' if shape is str and isinstance(value, (int, float)) else ""
        if type(value) is shape and not any(isinstance(x, (list, dict)) for x in inner):
            hint = "put texts in quotes: YAML reads NO, 1.10 and 2026-01-31 as values of other kinds"
        raise failure(f"`{name}` is {shown(value)}, and should be {form} ({where})", hint)
    try:
        refuse_wrong_value(name, value, [value] if isinstance(value, str) else inner)
    except Wrong as wrong:
        refuse(f"`{name}`", where, wrong)
    return value


# The settings with an address in them, and where the password belongs that some write into it.
PASSWORDS = {
    "hex_mirror": "it belongs into hex.config",
    "debian_mirror": "a mirror that asks for none is needed",
    **dict.fromkeys(("registry", "image", "build_base", "run_base", "cache"), "docker login keeps it, outside of the repo"),
}

ADDRESSES = {*PASSWORDS, "git_rewrites", "build_args"}


def refuse_wrong_value(name: str, value: Any, texts: Sequence[str]) -> None:
    """Raise Wrong where a value of the right type can't be. texts: all texts that it is made of."""
    values.refuse_unpassable(texts)
    if name == "build_args":
        for argument, text in value.items():
            refuse_wrong_argument(argument, text)
    else:
        hint = PASSWORDS.get(name, "it belongs into netrc: --secret id=netrc,src=FILE")
        # A shell fills in $USER:$TOKEN@ later: there is no password yet.
        plain = [values.SHELL_PASSWORD.sub("", text) for text in texts] if name == "prebuild" else texts
        values.refuse_password(plain, name in ADDRESSES, hint)
    form, example = FIELDS[name].metadata["form"], FIELDS[name].metadata["example"]
    if value == "" and FIELDS[name].default:
        raise Wrong("is empty", f"{FIELDS[name].default} is what counts where it is not set at all")
    for text in [*value] if isinstance(value, (list, dict)) else [value] if value else []:
        if form and not re.fullmatch(form, str(text)):
            what = f"is {shown(text)}, which" if text is value else f"has {shown(text)} in it, which"
            raise Wrong(f"{what} can't be one", f"{example} is one")
    if name in RULES:
        RULES[name](value)


def refuse_wrong_argument(name: str, text: str) -> None:
    """Raise Wrong where a build argument can't be. One that a setting stands for can be what the setting can be."""
    field = FIELDS.get(name.lower())
    try:
        # BuildKit keeps a proxy's address out of the image's history, and that is where one with a password belongs.
        if not re.fullmatch("(?i)(https?|ftp|all)_proxy", name):
            values.refuse_password([text], True, PASSWORDS.get(name.lower(), "a secret is given with --secret"))
        if field and text and field.type == "str":
            refuse_wrong_value(field.name, text, [text])
        if field and text and field.type == "list[str]":
            refuse_wrong_value(field.name, text.split(), text.split())
    except Wrong as wrong:
        raise Wrong(f"{shown_name(name)} {wrong}", wrong.hint) from None


def refuse_wrong_cache_mode(value: str) -> None:
    """Raise Wrong where `cache` has words that buildx would not take."""
    if "=" in value:
        values.refuse_wrong_cache(value)


def refuse_wrong_rewrites(value: Mapping[str, str]) -> None:
    """Raise Wrong where an address is to be replaced by none."""
    if wrong := next((begins for begins, base in value.items() if not re.fullmatch(r"[^\s\x00-\x1f\x7f]+", base)), None):
        raise Wrong(f"has nothing, or a blank, in place of {shown(wrong)}", "{https://github.com/acme/: git@github.com:acme/}")


def refuse_wrong_limit(value: int) -> None:
    """Raise Wrong where so many files can't be open."""
    if not 0 < value < 2**31:
        raise Wrong(f"is {shown(value)}, and so many files can't be open", "16384 is the default")


def refuse_wrong_length(value: str) -> None:
    """Raise Wrong for a name that is longer than registries and docker take: the OCI distribution specification, <name>."""
    if len(value) > 255:
        raise Wrong(f"has {len(value)} characters, and 255 are the most")


def of_each(rule: Callable[[str], Any]) -> Callable[[Sequence[str]], None]:
    """Make a rule for a text one for a list of texts."""

    def refuse_any(texts: Sequence[str]) -> None:
        for text in texts:
            rule(text)

    return refuse_any


# Rules that a form does not say. Each raises Wrong.
RULES: dict[str, Callable[[Any], None]] = {
    "cache": refuse_wrong_cache_mode,
    "git_rewrites": refuse_wrong_rewrites,
    "nofile": refuse_wrong_limit,
    "dependency_files": of_each(values.refuse_wrong_pattern),
    "secrets": of_each(values.parse_secret),
    "writable": of_each(values.refuse_wrong_folder),
    "registry": refuse_wrong_length,
    "image": refuse_wrong_length,
}
