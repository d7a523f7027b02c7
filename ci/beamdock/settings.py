"""beamdock 0.1.0: what invoke.yaml and the environment may say, and whether it can be so. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from .files import read_text
from .words import KEY, did_you_mean, failure


def setting(default: Any, about: str, form: str = "", example: str = "") -> Any:
    """A field of Settings. form: a regular expression for the value, where it has one; example: what fits it."""
    metadata = {"help": about, "form": form, "example": example}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


# A name's path in a registry, and a registry with or without one: the OCI distribution specification, <name>.
PATH = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"


REGISTRY = rf"[A-Za-z0-9.-]+(:\d+)?(/{PATH})*"


@dataclass(frozen=True)
class Settings:
    """What invoke.yaml may say under `beamdock:`. Scalars can be overridden by INVOKE_BEAMDOCK_NAME."""

    registry: str = setting("", "where images are pushed", REGISTRY, "ghcr.io/acme")
    image: str = setting("", "the image's name (default: the release's)", rf"{PATH}(/{PATH})*", "shop/orders")
    release: str = setting("", "which release (default: the one in rebar.config)")
    version: str = setting("", "the release's version, as Erlang writes it: {git, long} (default: what rebar.config says)")
    profile: str = setting("prod", "the rebar3 profile to release")
    dockerfile: str = setting("Dockerfile", "the Dockerfile, from the project's folder")
    build_base: str = setting("", "the builder's base image (default: the Dockerfile's BUILD_BASE)")
    run_base: str = setting("", "the runner's base image (default: the Dockerfile's RUN_BASE)")
    build_packages: list[str] = setting([], "Debian packages that the build needs")
    runtime_packages: list[str] = setting([], "Debian packages that the running release needs")
    build_env: dict[str, str] = setting({}, "environment of the build: {ERL_COMPILER_OPTIONS: ...}")
    prebuild: str = setting("", "a shell command to run before rebar3, in the project's folder")
    rebar3: str = setting("", "a rebar3 of the repo's own, ./rebar3 for example (default: the base image's)")
    dependency_files: list[str] = setting([], "files that rebar.config.script reads, where they decide the dependencies; patterns")
    debian_mirror: str = setting("", "where packages come from, instead of deb.debian.org/debian")
    certificate_authority: str = setting("", "a file with a company's own certificate authority, PEM")
    build_args: dict[str, str] = setting({}, "more build arguments for the Dockerfile")
    incremental: str = setting(
        "desk", "compile on top of the last build's files: desk (not where CI is set), always, never", "desk|always|never", "never"
    )
    cache: str = setting(
        "deps",
        "what travels between machines: deps, registry, local, none, or buildx's words",
        "deps|registry|local|none|type=.+",
        "type=gha",
    )
    default_branch: str = setting("main", "the branch whose caches a new branch begins with")
    platform: str = setting("", "the platform to build for (default: this machine's)", r"\w+/\w+(/\w+)?", "linux/arm64")
    network: str = setting("", "the network of build steps: host, none (default: the builder's)")
    hex_mirror: str = setting("", "where Hex packages come from, instead of repo.hex.pm (default: HEX_CDN, HEX_MIRROR)")
    ssh: str = setting("", "the SSH agent or keys for private dependencies: default, or default=FILE,FILE")
    known_hosts: str = setting("", "a file with the host keys of private git servers")
    git_rewrites: dict[str, str] = setting({}, "git addresses to replace: {https://github.com/acme/: git@github.com:acme/}")
    secrets: list[str] = setting([], "secrets for private dependencies: id=netrc,src=FILE or id=netrc,env=VARIABLE")
    provenance: bool = setting(False, "attach BuildKit's provenance (makes the tag an index, which some platforms reject)")
    writable: list[str] = setting([], "folders that the release writes into: log, /var/log/shop; relative ones are in its own")
    nofile: int = setting(16384, "open files allowed in `run`: without a limit the BEAM takes gigabytes at start")


FIELDS = {f.name: f for f in dataclasses.fields(Settings)}


def take_environment(environ: Any) -> dict[str, str]:
    """Take our INVOKE_BEAMDOCK_* out of the environment, before Invoke casts them: its `false` is true, a list raises."""
    prefix = f"INVOKE_{KEY.upper()}_"
    return {n[len(prefix) :].lower(): environ.pop(n) for n in list(environ) if n.startswith(prefix)}


# Each type of a setting: what it is in YAML, and how to say so.
SHAPES: dict[Any, tuple[type, str]] = {
    "str": (str, "text"),
    "bool": (bool, "true or false"),
    "int": (int, "a whole number"),
    "list[str]": (list, "a list of texts: [a, b]"),
    "dict[str, str]": (dict, "a table of texts: {NAME: value}"),
}


def check(name: str, value: Any, where: str) -> Any:
    """A setting's value, if it has the setting's type; an error that names it where it has not, or where there is no such setting."""
    if name not in FIELDS:
        raise failure(f"unknown setting `{name}` ({where})", f"{did_you_mean(name, list(FIELDS))}`invoke config` lists them all")
    shape, form = SHAPES[FIELDS[name].type]
    inner = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
    if type(value) is shape and all(isinstance(x, str) for x in inner):
        pattern, example = FIELDS[name].metadata["form"], FIELDS[name].metadata["example"]
        if value and pattern and not re.fullmatch(str(pattern), str(value)):
            raise failure(f"`{name}` is {value!r}, which can't be one ({where})", f"{example} is one")
        return value
    hint = f'put it in quotes: {name}: "{value}"' if shape is str and isinstance(value, (int, float)) else ""
    raise failure(f"`{name}` is {value!r}, and should be {form} ({where})", hint)


def resolve(configured: Mapping[str, Any], environment: Mapping[str, str], lines: Mapping[str, str]) -> tuple[Settings, dict[str, str]]:
    """Settings from what Invoke read of the files, and the environment over it; and where each came from. lines: setting -> file:line."""
    given = {name: (value, lines.get(name, "Invoke's configuration")) for name, value in configured.items()}
    for name, text in environment.items():
        value: Any = text
        if name not in FIELDS or FIELDS[name].type != "str":
            with contextlib.suppress(yaml.YAMLError, ValueError):
                value = yaml.safe_load(text)
        given[name] = value, f"INVOKE_{KEY.upper()}_{name.upper()}"
    checked = {
        name: (check(name, value, where), where) for name, (value, where) in given.items() if value is not None or name not in FIELDS
    }
    return Settings(**{n: v for n, (v, _) in checked.items()}), {n: where for n, (_, where) in checked.items()}


def yaml_lines(file: Path, configured: Mapping[str, Any]) -> dict[str, str]:
    """Where each of our settings stands in an invoke.yaml, if it is this file that gave the value: name -> file:line."""
    try:
        text = file.read_text(encoding="utf-8")
        top, values = yaml.compose(text), yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    ours = [v for k, v in top.value if k.value == KEY] if isinstance(top, yaml.MappingNode) else []
    pairs = ours[0].value if ours and isinstance(ours[0], yaml.MappingNode) else []
    return {k.value: f"{file.name}:{k.start_mark.line + 1}" for k, _ in pairs if configured.get(k.value) == values[KEY].get(k.value)}


def refuse_passwords(settings: Settings, sources: Mapping[str, str]) -> None:
    """Addresses are seen in many places: in the image's history, in errors, in the repo."""
    addresses = {
        "hex_mirror": [settings.hex_mirror],
        "debian_mirror": [settings.debian_mirror],
        "git_rewrites": [*settings.git_rewrites, *settings.git_rewrites.values()],
    }
    for name, values in addresses.items():
        if any(re.match(r"https?://[^/]*@|\w+://[^/]*:[^/]*@", value) for value in values):
            hints = {"hex_mirror": "it belongs into hex.config", "debian_mirror": "a mirror that asks for none is needed"}
            hint = hints.get(name, "it belongs into netrc: --secret id=netrc,src=FILE")
            raise failure(f"`{name}` has a password or a token in it ({sources.get(name, 'default')})", hint)


def check_yaml(folder: Path) -> None:
    """An invoke.yaml that can't be read is an error here, on loading: Invoke reads it next, and would show a stack, or wait."""
    names = ("invoke.yaml", "invoke.yml", "invoke.json", "invoke.py")
    file = next((folder / name for name in names if os.path.lexists(folder / name)), None)
    try:
        text = read_text(file, "strict") if file else ""
        if file and file.suffix != ".py":
            yaml.compose(text, Loader=yaml.SafeLoader)
    except (ValueError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file.name if file else ''}{f':{mark.line + 1}' if mark else ''}"
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise failure(f"{where} can't be read: {problem}", "it is YAML: name: value, indented alike") from None
