"""beamdock 0.1.0: what invoke.yaml and the environment may say, and whether it can be so. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from invoke.config import Config
from invoke.exceptions import AmbiguousEnvVar, UncastableEnvVar, UnpicklableConfigMember

from . import values
from .files import read_text
from .values import Wrong, refuse, shown, shown_name
from .words import KEY, did_you_mean, failure


def setting(default: Any, about: str, form: str = "", example: str = "") -> Any:
    """A field of Settings. form: a regular expression for a text, for each of a list, or for each name in a table; example: what
    fits it."""
    metadata = {"help": about, "form": form, "example": example}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


# A name's path in a registry, and a registry with or without one: the OCI distribution specification, <name>.
PATH = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"


REGISTRY = rf"[A-Za-z0-9.-]+(:\d+)?(/{PATH})*"


# An image to build on, or a stage of an own Dockerfile.
BASE = r"[A-Za-z0-9\[][A-Za-z0-9\[\]._:/-]*(@\w+:[0-9a-fA-F]+)?"


WEB = r"https?://[^\s#|&\\'\"]+"


PACKAGE = r"[A-Za-z0-9]\S*"


VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"


@dataclass(frozen=True)
class Settings:
    """What invoke.yaml may say under `beamdock:`. Scalars can be overridden by INVOKE_BEAMDOCK_NAME."""

    registry: str = setting("", "where images are pushed", REGISTRY, "ghcr.io/acme")
    image: str = setting("", "the image's name (default: the release's)", rf"{PATH}(/{PATH})*", "shop/orders")
    release: str = setting("", "which release (default: the one in rebar.config)")
    version: str = setting("", "the release's version, as Erlang writes it: {git, long} (default: what rebar.config says)")
    profile: str = setting("prod", "the rebar3 profile to release", r"[^\s/,]+", "prod")
    dockerfile: str = setting("Dockerfile", "the Dockerfile, from the project's folder")
    build_base: str = setting("", "the builder's base image (default: the Dockerfile's BUILD_BASE)", BASE, "erlang:27")
    run_base: str = setting("", "the runner's base image (default: the Dockerfile's RUN_BASE)", BASE, "debian:trixie-slim")
    build_packages: list[str] = setting([], "Debian packages that the build needs", PACKAGE, "libssl-dev")
    runtime_packages: list[str] = setting([], "Debian packages that the running release needs", PACKAGE, "libssl3")
    build_env: dict[str, str] = setting(
        {}, "environment of the build: {ERL_COMPILER_OPTIONS: ...}", "[A-Za-z_][A-Za-z0-9_]*", "ERL_COMPILER_OPTIONS"
    )
    prebuild: str = setting("", "a shell command to run before rebar3, in the project's folder")
    rebar3: str = setting("", "a rebar3 of the repo's own, ./rebar3 for example (default: the base image's)")
    dependency_files: list[str] = setting([], "files that rebar.config.script reads, where they decide the dependencies; patterns")
    debian_mirror: str = setting("", "where packages come from, instead of deb.debian.org/debian", WEB, "https://mirror.example/debian")
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
        "", "where Hex packages come from, instead of repo.hex.pm (default: HEX_CDN, HEX_MIRROR)", WEB, "https://hex.example/mirror"
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
    """A setting's value, if it can be one; an error that names it where it can't, or where there is no such setting. What a flag
    gives, and a setting could, is checked here too."""
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
        refuse_wrong(name, value, [value] if isinstance(value, str) else inner)
    except Wrong as wrong:
        refuse(f"`{name}`", where, wrong)
    return value


# A password that these have in them has a place of its own.
PASSWORDS = {
    "hex_mirror": "it belongs into hex.config",
    "debian_mirror": "a mirror that asks for none is needed",
    **dict.fromkeys(("registry", "image", "build_base", "run_base", "cache"), "docker login keeps it, outside of the repo"),
}

ADDRESSES = {*PASSWORDS, "git_rewrites", "build_args"}


def refuse_wrong(name: str, value: Any, texts: Sequence[str]) -> None:
    """What is wrong with a value of the right type. texts: all that it is made of."""
    values.refuse_unpassable(texts)
    if name == "build_args":
        for argument, text in value.items():
            refuse_wrong_argument(argument, text)
    else:
        hint = PASSWORDS.get(name, "it belongs into netrc: --secret id=netrc,src=FILE")
        for_shell = name == "prebuild"
        values.refuse_password([values.VARIABLES.sub("", x) if for_shell else x for x in texts], name in ADDRESSES, hint)
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
    """A build argument that a setting stands for can be what the setting can be."""
    field = FIELDS.get(name.lower())
    try:
        # BuildKit keeps a proxy's address out of the image's history, and that is where one with a password belongs.
        if not re.fullmatch("(?i)(https?|ftp|all)_proxy", name):
            values.refuse_password([text], True, PASSWORDS.get(name.lower(), "a secret is given with --secret"))
        if field and text and field.type == "str":
            refuse_wrong(field.name, text, [text])
        if field and text and field.type == "list[str]":
            refuse_wrong(field.name, text.split(), text.split())
    except Wrong as wrong:
        raise Wrong(f"{shown_name(name)} {wrong}", wrong.hint) from None


def check_cache(value: str) -> None:
    if "=" in value:
        values.cache_words(value)


def check_rewrites(value: Mapping[str, str]) -> None:
    if wrong := next((begins for begins, base in value.items() if not re.fullmatch(r"[^\s\x00-\x1f\x7f]+", base)), None):
        raise Wrong(f"has nothing, or a blank, in place of {shown(wrong)}", "{https://github.com/acme/: git@github.com:acme/}")


def check_files(value: int) -> None:
    if not 0 < value < 2**31:
        raise Wrong(f"is {shown(value)}, and so many files can't be open", "16384 is the default")


def each(rule: Any) -> Any:
    def of_all(value: Sequence[str]) -> None:
        for text in value:
            rule(text)

    return of_all


# What more than a form there is to a setting.
RULES: dict[str, Any] = {
    "cache": check_cache,
    "git_rewrites": check_rewrites,
    "nofile": check_files,
    "dependency_files": each(values.pattern),
    "secrets": each(values.secret_pairs),
    "writable": each(values.writable_folder),
    "registry": lambda value: check_length(value),
    "image": lambda value: check_length(value),
}


def check_length(value: str) -> None:
    """255 is the most that registries and docker take: the OCI distribution specification, <name>."""
    if len(value) > 255:
        raise Wrong(f"has {len(value)} characters, and 255 are the most")


Settled = tuple[Settings, dict[str, str]]  # with where each setting that is set came from: invoke.yaml:3, INVOKE_BEAMDOCK_NAME, --release


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
    values = {name: check(name, value, source) for name, (value, source) in given.items()}
    return dataclasses.replace(settings, **values), {**sources, **{name: source for name, (_, source) in given.items()}}


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


def check_yaml(folder: Path, words: Sequence[str]) -> None:
    """What Invoke reads next and would show a stack for is an error here, on loading. words: of the command line, which may name
    another file."""
    named = next((words[i + 1] for i, word in enumerate(words[:-1]) if word in ("-f", "--config")), "")
    named = next((word[9:] for word in words if word.startswith("--config=")), named) or os.environ.get("INVOKE_RUNTIME_CONFIG", "")
    more = Path(named) if named.endswith((".yaml", ".yml", ".json")) and os.path.lexists(named) else None
    names = ("invoke.yaml", "invoke.yml", "invoke.json", "invoke.py")
    own = next((folder / name for name in names if os.path.lexists(folder / name)), None)
    for file in (own, more):
        if file:
            check_file(file)
    wrong = (AmbiguousEnvVar, AttributeError, OSError, RecursionError, TypeError, UncastableEnvVar, UnpicklableConfigMember, ValueError)
    try:
        # Settings of the user and of the machine are read already, and count here.
        config = Config(project_location=folder, runtime_path=more)
        config.load_project()
        config.load_runtime()
        config.load_shell_env()
    except wrong as error:
        hint = "it is in invoke.yaml, ~/.invoke.yaml or /etc/invoke.yaml, and in variables called INVOKE_…"
        raise failure(f"Invoke can't use its configuration ({type(error).__name__})", hint) from None


def check_file(file: Path) -> None:
    """Is a file YAML, and a table of what Invoke can use?"""
    try:
        text = read_text(file, "strict")
        if file.suffix != ".py":
            check_table(file.name, yaml.compose(text, Loader=yaml.SafeLoader))
            yaml.safe_load(text)
    except RecursionError:
        raise failure(f"{file.name} can't be read: its values are in each other, hundreds deep") from None
    except (AttributeError, LookupError, TypeError, ValueError, yaml.YAMLError) as error:  # of values that are not as their tags say
        mark = getattr(error, "problem_mark", None)
        where = f"{file.name}{f':{mark.line + 1}' if mark else ''}"
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise failure(f"{where} can't be read: {problem}", "it is YAML: name: value, indented alike") from None


def check_table(file: str, top: Any) -> None:
    """Is what a file has a table of what Invoke can use?"""
    if top is None:
        return
    if not isinstance(top, yaml.MappingNode):
        raise failure(f"{file} is no table of settings", f"{KEY}:, and indented below it name: value")
    check_node(file, top, (), set())
    for key, value in top.value:
        if isinstance(Config.global_defaults().get(key.value), dict) and not isinstance(value, yaml.MappingNode):
            raise failure(f"{file}:{key.start_mark.line + 1} has no table as `{key.value}`, which is Invoke's own", INVOKE_DOCS)


INVOKE_DOCS = "https://docs.pyinvoke.org, in Configuration, says what can be in it"


def check_node(file: str, node: Any, above: tuple[Any, ...], done: set[int]) -> None:
    """Is a value, with all that is in it, plain? above: the values that it is in; done: those that were looked at."""
    where = f"{file}:{node.start_mark.line + 1}"
    if node in above:
        raise failure(f"{where} has a value in itself, by its anchor", "an anchor is used outside of what it names")
    if node.tag not in (*yaml.SafeLoader.yaml_constructors, "tag:yaml.org,2002:merge", "tag:yaml.org,2002:value"):
        raise failure(f"{where} has the tag {shown(node.tag)}", "values have none here; `secrets` names a secret's file or variable")
    names: dict[str, int] = {}
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        line = key.start_mark.line + 1
        if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
            hint = "YAML reads NO, ON, 1 and dates as values of other kinds: put the name in quotes"
            raise failure(f"{file}:{line} has a name that is no text", hint)
        if key.value in names and key.value != "<<":
            what = f"{file}:{line} has {shown(key.value)} a second time, after line {names[key.value]}"
            raise failure(what, "YAML takes the last alone, without a word: make one of the two")
        names[key.value] = line
        if id(value) not in done:
            check_node(file, value, (*above, node), done)
    for value in node.value if isinstance(node, yaml.SequenceNode) else ():
        if id(value) not in done:
            check_node(file, value, (*above, node), done)
    done.add(id(node))
