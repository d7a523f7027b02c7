"""beamdock 0.1.0: credentials for private dependencies. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path

from .contexts import context_path
from .files import expand_home, read_text
from .project import Project
from .values import join_line, parse_secret
from .words import failure

# The folder of git's configuration below the cache folder: its files are mounted as secrets.
ACCESS = "access"


def gitconfig_files(rewrites: Mapping[str, str]) -> dict[str, bytes]:
    """Return the context with the git configuration that replaces the beginnings of addresses (git-config(1), url.BASE.insteadOf): no
    file where there is nothing to replace. rewrites: the beginning of an address -> what stands in its place."""
    rules = "".join(f"[url {quote(base)}]\n\tinsteadOf = {quote(begins)}\n" for begins, base in rewrites.items())
    return {"gitconfig": rules.encode()} if rules else {}


def quote(text: str) -> str:
    """Write a text as git's configuration has it."""
    return json.dumps(text, ensure_ascii=False)


def place_of(project: Project, setting: str) -> str:
    """Say where a setting was given, for an error."""
    return f"`{setting}`, {project.sources.get(setting, '')}"


def find_secrets(project: Project, given: Sequence[str], deps: Mapping[str, bytes], environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return a build's secrets in buildx's words: those that were asked for, then those that private dependencies need, as far as they
    are there and none of the first has their id.

    given: of --secret; deps: the files that decide the dependencies. Raises Exit where a secret's file or variable is not there."""
    # A setting's file is named from the project's folder, a flag's from the folder that the person is in.
    asked = [read_secret(secret, project.root, place_of(project, "secrets"), environ) for secret in project.settings.secrets]
    asked += [read_secret(secret, Path(), "--secret", environ) for secret in given]
    ids = {secret["id"] for secret in asked}
    found = find_dependency_secrets(project, deps, environ)
    return (
        *(join_line([f"{name}={value}" for name, value in secret.items()]) for secret in asked),
        *(join_line([f"id={name}", source]) for name, source in found.items() if name not in ids),
    )


def find_dependency_secrets(project: Project, deps: Mapping[str, bytes], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the secrets that private dependencies need and that are there: id -> src=FILE or env=VARIABLE."""
    settings, found = project.settings, {}
    configs = [text for name, text in deps.items() if Path(name).name in ("rebar.config", "rebar.config.script")]
    # hex.config may hold keys to publish with: it goes only where a rebar.config names repositories.
    if any(b"repos" in text for text in configs):
        hex_config = Path(environ.get("REBAR_GLOBAL_CONFIG_DIR") or Path.home(), ".config", "rebar3", "hex.config")  # as rebar3 finds it
        if environ.get("HEX_CONFIG"):
            found["hex.config"] = "env=HEX_CONFIG"
        elif hex_config.is_file():
            found["hex.config"] = f"src={hex_config}"
    if settings.known_hosts:
        found["known_hosts"] = f"src={require_file(project.root, settings.known_hosts, place_of(project, 'known_hosts'))}"
    if settings.git_rewrites:
        folder = context_path(project.context_folder, ACCESS, gitconfig_files(settings.git_rewrites))
        found["gitconfig"] = f"src={folder / 'gitconfig'}"
    return found


def read_secret(secret: str, base: Path, where: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the parts of a secret. base: the folder that its file is named from; where: who names it.

    Raises Exit where its file or its variable is not there: buildx takes a variable that is not set for an empty one."""
    parts = parse_secret(secret)
    of_file = next((name for name in ("src", "source") if name in parts), "")
    variable = parts.get("env", "" if of_file else parts["id"])
    if of_file and parts.get("type") != "env":
        parts[of_file] = str(require_file(base, parts[of_file], where))
    elif variable not in environ and ("env" in parts or of_file or not Path(variable).is_file()):
        unset = parts.get("env") or parts.get(of_file) or variable
        hint = f"--secret id={parts['id']},src=FILE names a file"
        raise failure(f"the variable {unset} of the secret {parts['id']} is not set ({where})", hint)
    return parts


def find_ssh(project: Project, given: str, environ: Mapping[str, str]) -> str:
    """Return what --ssh is given in buildx's words, with the paths of keys. It is '' where no agent runs: a build whose dependencies are
    there already needs none. given: of the flag, which goes over the setting. Raises Exit where a key is not there."""
    name, equals, files = (given or project.settings.ssh).partition("=")
    where = "--ssh" if given else place_of(project, "ssh")
    if not equals:
        return name if Path(environ.get("SSH_AUTH_SOCK") or "no agent").exists() else ""
    keys = [str(require_file(project.root, file, where)) for file in files.split(",")]
    if comma := next((key for key in keys if "," in key), ""):
        raise failure(f"{comma} has a comma in its path, where buildx takes two keys for named ({where})", "a copy, or a link, elsewhere")
    return f"{name}={','.join(keys)}"


def require_file(base: Path, name: str, where: str) -> Path:
    """Return the path of a file that is named from a folder, or below ~. It can be a pipe or a socket too. where: who names it.
    Raises Exit where it is a folder, or is not there."""
    file = base / expand_home(name, where)
    if file.is_dir():
        raise failure(f"{file} is a folder, and should be a file ({where})")
    if not file.exists():
        raise failure(f"{file} does not exist ({where})")
    return file


CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\s.*?-----END CERTIFICATE-----", re.DOTALL)


def read_authority(project: Project) -> dict[str, bytes]:
    """Return the context with the certificates of a company's own authority: no file where the setting names none. Nothing else of the
    named file is in it, since all who have the image can read it. Raises Exit where the file has a private key, or no certificate."""
    name, where = project.settings.certificate_authority, place_of(project, "certificate_authority")
    if not name:
        return {}
    file = require_file(project.root, name, where)
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
