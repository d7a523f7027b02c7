"""beamdock 0.1.0: what Invoke reads of its configuration, and whether it can be read. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Optional

import yaml
from invoke.config import Config
from invoke.exceptions import AmbiguousEnvVar, UncastableEnvVar, UnpicklableConfigMember

from .files import read_text
from .values import shown
from .words import KEY, failure


def take_environment(environ: MutableMapping[str, str]) -> dict[str, str]:
    """Take our INVOKE_BEAMDOCK_NAME out of the environment, and return their texts by the setting's name.

    Invoke would cast them: for it `false` is true, and a list an error."""
    prefix = f"INVOKE_{KEY.upper()}_"
    return {n[len(prefix) :].lower(): environ.pop(n) for n in list(environ) if n.startswith(prefix)}


def setting_lines(file: Path, configured: Mapping[str, Any]) -> dict[str, str]:
    """Return where our settings stand in an invoke.yaml: name -> file:line. A setting is left out where another file gave its value.

    configured: the values that Invoke has, by name."""
    try:
        text = file.read_text(encoding="utf-8")
        top, values = yaml.compose(text), yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    ours = [v for k, v in top.value if k.value == KEY] if isinstance(top, yaml.MappingNode) else []
    pairs = ours[0].value if ours and isinstance(ours[0], yaml.MappingNode) else []
    return {k.value: f"{file.name}:{k.start_mark.line + 1}" for k, _ in pairs if configured.get(k.value) == values[KEY].get(k.value)}


def check_configuration(folder: Path, words: Sequence[str], environ: Mapping[str, str]) -> None:
    """Raise Exit where Invoke can't read its configuration: it would show a stack.

    folder: of tasks.py, where its files are; words: the command line, and environ: the environment, which may name one file more."""
    named = runtime_file(words, environ)
    names = ("invoke.yaml", "invoke.yml", "invoke.json", "invoke.py")
    own = next((folder / name for name in names if os.path.lexists(folder / name)), None)
    for file in (own, named):
        if file:
            check_yaml_file(file)
    wrong = (AmbiguousEnvVar, AttributeError, OSError, RecursionError, TypeError, UncastableEnvVar, UnpicklableConfigMember, ValueError)
    try:
        # Settings of the user and of the machine are read already, and count here.
        config = Config(project_location=folder, runtime_path=named)
        config.load_project()
        config.load_runtime()
        config.load_shell_env()
    except wrong as error:
        hint = "it is in invoke.yaml, ~/.invoke.yaml or /etc/invoke.yaml, and in variables called INVOKE_…"
        raise failure(f"Invoke can't use its configuration ({type(error).__name__})", hint) from None


def runtime_file(words: Sequence[str], environ: Mapping[str, str]) -> Optional[Path]:
    """Return the file that -f, --config or INVOKE_RUNTIME_CONFIG names, if it is there and in a form that Invoke reads as data."""
    named = next((words[i + 1] for i, word in enumerate(words[:-1]) if word in ("-f", "--config")), "")
    named = next((word[9:] for word in words if word.startswith("--config=")), named) or environ.get("INVOKE_RUNTIME_CONFIG", "")
    return Path(named) if named.endswith((".yaml", ".yml", ".json")) and os.path.lexists(named) else None


def check_yaml_file(file: Path) -> None:
    """Raise Exit where a file can't be read, is no YAML, or no table of what Invoke can use."""
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
    """Raise Exit where a file's content is no table of what Invoke can use. file: its name; top: its first node, None for an empty file."""
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
    """Raise Exit where a value, or one in it, is not plain. above: the values that it is in; done: those that were looked at."""
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
