"""beamdock 0.1.0: credentials for private dependencies. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path

from .contexts import context_path
from .files import expand, read_text
from .project import Project
from .values import line, secret_pairs
from .words import failure

# The folder of git's configuration below the cache folder: its files are mounted as secrets.
ACCESS = "access"


def git_rules(rewrites: Mapping[str, str]) -> dict[str, bytes]:
    """The git configuration that replaces the beginnings of addresses: git-config(1), url.BASE.insteadOf."""
    rules = "".join(f"[url {quoted(base)}]\n\tinsteadOf = {quoted(begins)}\n" for begins, base in rewrites.items())
    return {"gitconfig": rules.encode()} if rules else {}


def quoted(text: str) -> str:
    """A text as git's configuration has it."""
    return json.dumps(text, ensure_ascii=False)


def secrets_for(project: Project, given: Sequence[str], deps: Mapping[str, bytes], environ: Mapping[str, str]) -> tuple[str, ...]:
    """The secrets that were asked for, then those that private dependencies need, as far as they are there and not among the first.
    given: by flags; deps: the files that decide the dependencies."""
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
        file = named_file(project.root, settings.known_hosts, f"`known_hosts`, {project.sources.get('known_hosts', '')}")
        found["known_hosts"] = f"src={file}"
    if settings.git_rewrites:
        found["gitconfig"] = f"src={context_path(project.context_folder, ACCESS, git_rules(settings.git_rewrites)) / 'gitconfig'}"
    # A setting's file is named from the project's folder, a flag's from where one is.
    asked = [found_secret(secret, project.root, f"`secrets`, {project.sources.get('secrets', '')}", environ) for secret in settings.secrets]
    asked += [found_secret(secret, Path(), "--secret", environ) for secret in given]
    ids = {secret["id"] for secret in asked}
    return (
        *(line([f"{name}={value}" for name, value in secret.items()]) for secret in asked),
        *(line([f"id={name}", where]) for name, where in found.items() if name not in ids),
    )


def found_secret(secret: str, base: Path, where: str, environ: Mapping[str, str]) -> dict[str, str]:
    """A secret's parts, if its file or its variable is there. buildx takes a variable that is not set for an empty one."""
    parts = secret_pairs(secret)
    of_file = next((name for name in ("src", "source") if name in parts), "")
    variable = parts.get("env", "" if of_file else parts["id"])
    if of_file and parts.get("type") != "env":
        parts[of_file] = str(named_file(base, parts[of_file], where))
    elif variable not in environ and ("env" in parts or of_file or not Path(variable).is_file()):
        unset = parts.get("env") or parts.get(of_file) or variable
        hint = f"--secret id={parts['id']},src=FILE names a file"
        raise failure(f"the variable {unset} of the secret {parts['id']} is not set ({where})", hint)
    return parts


def ssh_for(project: Project, given: str, environ: Mapping[str, str]) -> str:
    """What --ssh says. Where no agent runs there is nothing to say: a build whose dependencies are there needs none."""
    name, equals, files = (given or project.settings.ssh).partition("=")
    where = "--ssh" if given else f"`ssh`, {project.sources.get('ssh', '')}"
    if not equals:
        return name if Path(environ.get("SSH_AUTH_SOCK") or "no agent").exists() else ""
    keys = [str(named_file(project.root, file, where)) for file in files.split(",")]
    if comma := next((key for key in keys if "," in key), ""):
        raise failure(f"{comma} has a comma in its path, where buildx takes two keys for named ({where})", "a copy, or a link, elsewhere")
    return f"{name}={','.join(keys)}"


def named_file(base: Path, name: str, where: str) -> Path:
    """A file that is named, from a folder or below ~; an error where it is not there. It can be a pipe or a socket too."""
    file = base / expand(name, where)
    if file.is_dir():
        raise failure(f"{file} is a folder, and should be a file ({where})")
    if not file.exists():
        raise failure(f"{file} does not exist ({where})")
    return file


CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\s.*?-----END CERTIFICATE-----", re.DOTALL)


def authority_of(project: Project) -> dict[str, bytes]:
    """The certificates of a company's own authority, and nothing else of its file, which is shown to all who have the image."""
    name, where = project.settings.certificate_authority, f"`certificate_authority`, {project.sources.get('certificate_authority', '')}"
    if not name:
        return {}
    file = named_file(project.root, name, where)
    text = read_text(project.file(name))
    if "PRIVATE KEY-----" in text:
        raise failure(f"{file} has a private key in it ({where})", "its certificates go into the image: name a file of these alone")
    found = CERTIFICATE.findall(text)
    if not found:
        hint = f"it is PEM, -----BEGIN CERTIFICATE----- and so on; openssl x509 -inform der -in {file} makes that of a binary one"
        raise failure(f"{file} has no certificate in it ({where})", hint)
    try:
        for certificate in found:
            ssl.create_default_context(cadata=certificate)
    except (ssl.SSLError, ValueError):
        hint = f"openssl x509 -in {file} -text shows what is in it"
        raise failure(f"{file} has a certificate in it that can't be read ({where})", hint) from None
    return {"authority.crt": "".join(f"{certificate}\n" for certificate in found).encode()}
