"""beamdock 0.1.0: what a value can be, whichever setting or flag it was given by. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import csv
import io
import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from .words import failure

# Go's names of the architectures that Linux images are made for.
ARCHITECTURES = "386|amd64|arm|arm64|loong64|mips64le|ppc64le|riscv64|s390x"

# Linux passes on no argument of 128 KiB or more, and most values become a part of one.
MOST_BYTES = 100_000

# ------------------------------------------------------------------------------------------------- forms of a text

# A name's path in a registry, and a registry with or without one: the OCI distribution specification, <name>.
PATH = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
REGISTRY = rf"[A-Za-z0-9.-]+(:\d+)?(/{PATH})*"
# An image to build on, or a stage of an own Dockerfile.
BASE = r"[A-Za-z0-9\[][A-Za-z0-9\[\]._:/-]*(@\w+:[0-9a-fA-F]+)?"
WEB = r"https?://[^\s#|&\\'\"]+"
PACKAGE = r"[A-Za-z0-9]\S*"
VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"


class Wrong(ValueError):
    """A value that can't be one. The text follows the value's name: `has a blank in it`. hint: what can be."""

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint


def refuse(name: str, where: str, wrong: Wrong) -> NoReturn:
    """Raise Exit for a wrong value. name: of its setting or flag; where: its source."""
    raise failure(f"{name} {wrong} ({where})", wrong.hint) from None


def shown(value: Any) -> str:
    """Return a value as an error shows it: short, and without what may be a password: values of tables, and all before an @."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{shown(key)}: …' for key in list(value)[:5])}}}"
    if isinstance(value, (list, tuple, set, frozenset)):
        few = [shown(x) if isinstance(x, (str, int, float)) else "…" for x in list(value)[:5]]
        return f"[{', '.join([*few, *(['…'] if len(value) > 5 else [])])}]"
    text = repr(f"…@{value.rpartition('@')[2]}" if "@" in value else value) if isinstance(value, str) else number_text(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def shown_name(text: Any) -> str:
    """Return a name as an error shows it: like a value, without quotes."""
    return shown(text)[1:-1] if isinstance(text, str) else shown(text)


def number_text(value: Any) -> str:
    """Return a number or a date as text. Python writes no number of more than 4,300 digits."""
    if isinstance(value, bytes):
        return "…"
    try:
        return str(value)
    except ValueError:
        return "a number of thousands of digits"


# ------------------------------------------------------------------------------------------------------------- texts


def refuse_unpassable(texts: Sequence[str]) -> None:
    """Raise Wrong for what no command can be given: NUL, half a character, too many bytes; and for a key, which belongs into a file."""
    for text in texts:
        if "\0" in text:
            raise Wrong("has a NUL character in it")
        if half := re.search("[\ud800-\udfff]", text):
            raise Wrong(f"has \\u{ord(half[0]):x} in it, which is no character", "texts are UTF-8")
        if "PRIVATE KEY-----" in text:
            raise Wrong("has a private key in it", "a secret's file or variable is named: secrets: [id=key,src=FILE]")
    size = sum(len(text.encode()) + 1 for text in texts)
    if size > MOST_BYTES:
        raise Wrong(f"has {size} bytes, and {MOST_BYTES} are the most", "what is longer belongs into a file")


# A user or more before the host of a web address; a password before any other; one with characters that an address can't have.
IN_URL = re.compile(r"(?i)https?://[^/?#]*@|://[^/?#@:]*:[^/?#]*@|://[^/?#@]*:(?!\d*(?:[/?#]|$))[^@]*@")
# What follows an @ too.
DIGEST = re.compile(r"\w+:[0-9a-fA-F]{32,}\b")


def has_password(word: str, address: bool) -> bool:
    """Is there a password, or a token, in a word? address: is the word one, or an image, with nothing else that says so?"""
    *before, after = word.split("@")
    if "://" in word:
        return bool(before and IN_URL.search(word))
    return address and any(":" in part for part in before) and not DIGEST.match(after)


# Variables for a shell in the place of a password: https://$USER:$TOKEN@host.
SHELL_PASSWORD = re.compile(r"(\$\{?\w+\}?:?)+@")


def refuse_password(texts: Sequence[str], address: bool, hint: str) -> None:
    """Raise Wrong where a text has a password in it: the image's history, errors and the repo show it. address: is each text an
    address, or an image? hint: where the password belongs."""
    if any(has_password(word, address) for text in texts for word in text.split()):
        raise Wrong("has a password or a token in it", hint)


# ------------------------------------------------------------------------------------------------ buildx's own words


def split_line(words: str) -> list[str]:
    """Return the fields of a line of CSV, as which buildx reads type=local,dest=FOLDER and id=NAME,src=FILE. Raises Wrong."""
    try:
        lines = list(csv.reader([words], strict=True))
    except csv.Error:
        raise Wrong("is no line of CSV, which buildx reads it as", '"src=/a,b" is a field with a comma in it, quotes and all') from None
    return lines[0] if lines else []


def join_line(parts: Sequence[str]) -> str:
    """Return fields as a line of CSV: those with a comma in them are quoted."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(parts)
    return text.getvalue()


def parse_pairs(words: str, form: str) -> dict[str, str]:
    """Return the fields NAME=VALUE of a line, by name. form: what they should be, for the error. Raises Wrong."""
    found = {}
    for part in split_line(words):
        name, equals, value = part.partition("=")
        if not (equals and re.fullmatch(r"[A-Za-z][\w.-]*", name, re.ASCII) and value.strip()):
            raise Wrong(f"should be {form}, and a part of it is no NAME=VALUE")
        found[name.lower()] = value
    return found


def refuse_wrong_cache(words: str) -> None:
    """Raise Wrong where these are no words of buildx for a cache, as --cache-from and --cache-to take them."""
    refuse_password([words], True, "docker login keeps it")
    if "type" not in parse_pairs(words, "buildx's words, as in type=gha,scope=main"):
        raise Wrong("says no type", "type=registry,ref=IMAGE, for example")


def parse_secret(secret: str) -> dict[str, str]:
    """Return the parts of a secret, by name. Raises Wrong, which does not show the text: it may be the secret."""
    form = "id=NAME,src=FILE or id=NAME,env=VARIABLE"
    found = parse_pairs(secret, form)
    known = {"id", "src", "source", "env", "type"}
    if "id" not in found or not set(found) <= known or found.get("type", "file") not in ("file", "env"):
        raise Wrong(f"should be {form}")
    return found


# ----------------------------------------------------------------------------------------------------------- folders

# The system's own. In others, /var and /home and /opt say, a folder below may be the release's.
SYSTEM = re.compile(r"/(bin|boot|dev|etc|lib\w*|proc|root|sbin|sys|usr)(/.*)?|/|/(home|media|mnt|opt|run|srv|tmp|var)|/var/(cache|lib|run)")
# The release's own code, which its user must not be able to change.
CODE = re.compile(r"\.|(bin|lib|releases|erts-[^/]*)|(bin|releases|erts-[^/]*)/.*")


def refuse_wrong_folder(folder: str, release: str = "") -> None:
    """Raise Wrong for a folder that can't be given to the release's user. release: its name, where it is known."""
    plain = re.sub("^//+", "/", posixpath.normpath(folder))
    own = plain[len(f"/opt/{release}/") :] if release and f"{plain}/".startswith(f"/opt/{release}/") else plain
    if not folder.strip():
        raise Wrong("has an empty folder in it")
    if re.search(r"[^\w./@%+,=-]", folder) or folder.startswith("-"):
        raise Wrong(f"has {shown(folder)} in it; a folder's name is letters, digits and any of . _ @ % + , = -", "[log, /var/log/shop]")
    if ".." in folder.split("/"):
        raise Wrong(f"has {shown(folder)} in it, and .. leads out of the release's folder", "/var/log/shop, written whole")
    if SYSTEM.fullmatch(plain):
        raise Wrong(f"has {shown(folder)} in it, which is the system's", "a folder of the release's own: [log, /var/log/shop]")
    if CODE.fullmatch(own or "."):
        raise Wrong(f"has {shown(folder)} in it, where the release's code is", "a folder of its own beside it: [log, data]")


def refuse_wrong_pattern(text: str) -> None:
    """Raise Wrong for what is neither a file nor a pattern of pathlib's."""
    if not text.strip():
        raise Wrong("has an empty pattern in it", "[versions.config, config/*.deps]")
    if any("**" in part and part != "**" for part in text.split("/")):
        raise Wrong(f"has {shown(text)} in it; ** stands for folders, and alone between slashes", "config/**/*.deps")
