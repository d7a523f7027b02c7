"""beamdock 0.1.0: credentials for private dependencies. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from .contexts import context_path
from .model import ACCESS
from .project import Project
from .words import failure


def git_rules(rewrites: Mapping[str, str]) -> dict[str, bytes]:
    """The git configuration that replaces the beginnings of addresses: git-config(1), url.BASE.insteadOf."""
    rules = "".join(f"[url {json.dumps(base)}]\n\tinsteadOf = {json.dumps(begins)}\n" for begins, base in rewrites.items())
    return {"gitconfig": rules.encode()} if rules else {}


def secrets_for(project: Project, given: Sequence[str], deps: Mapping[str, bytes], environ: Mapping[str, str]) -> tuple[str, ...]:
    """The secrets that were asked for, then those that private dependencies need, as far as they are there and not among the first.
    deps: the files that decide the dependencies."""
    settings, found = project.settings, {}
    configs = [text for name, text in deps.items() if Path(name).name in ("rebar.config", "rebar.config.script")]
    # rebar_hex_repos:auth_config_file/1. A file that may hold keys to publish with goes only where repositories are named.
    hex_config = Path(environ.get("REBAR_GLOBAL_CONFIG_DIR") or Path.home(), ".config", "rebar3", "hex.config")
    if any(b"repos" in text for text in configs):
        if environ.get("HEX_CONFIG"):
            found["hex.config"] = "env=HEX_CONFIG"
        elif hex_config.is_file():
            found["hex.config"] = f"src={hex_config}"
    if settings.known_hosts:
        file = existing(project, settings.known_hosts, f"`known_hosts`, {project.sources.get('known_hosts', '')}")
        found["known_hosts"] = f"src={file}"
    if settings.git_rewrites:
        found["gitconfig"] = f"src={context_path(project.context_folder, ACCESS, git_rules(settings.git_rewrites)) / 'gitconfig'}"
    ids = {part[3:] for secret in given for part in secret.split(",") if part.startswith("id=")}
    at_home = (re.sub(r"(?<==)~(?=/)", lambda _: str(Path.home()), secret) for secret in given)
    return (*at_home, *(f"id={name},{where}" for name, where in found.items() if name not in ids))


def ssh_for(project: Project, given: str, environ: Mapping[str, str]) -> str:
    """What --ssh says. Where no agent runs there is nothing to say: a build whose dependencies are there needs none."""
    name, equals, files = (given or project.settings.ssh).partition("=")
    where = "--ssh" if given else f"`ssh`, {project.sources.get('ssh', '')}"
    if equals:
        return f"{name}=" + ",".join(str(existing(project, file, where)) for file in files.split(","))
    return name if Path(environ.get("SSH_AUTH_SOCK") or "no agent").exists() else ""


def existing(project: Project, name: str, where: str) -> Path:
    """A file that is named, from the project's folder or below ~; an error where it is not there."""
    file = project.root / Path(name).expanduser()
    if not file.exists():
        raise failure(f"{file} does not exist ({where})")
    return file
