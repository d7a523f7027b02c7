"""beamdock 0.1.0: the words that all rooms share, and the one way to fail. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TextIO

from invoke.exceptions import Exit

KEY = "beamdock"


PROJECT_LABEL = "beamdock.project"


REVISION_LABEL = "org.opencontainers.image.revision"


# The folders that an image's user may write into; and where a local image's project begins: the first commits of its history.
WRITABLE_LABEL = "beamdock.writable"
ORIGIN_LABEL = "beamdock.origin"


DEPS_LABEL = "beamdock.deps"


# What a terminal obeys instead of showing it (control characters; marks that turn the direction of the text), and the bytes of
# file names that are not UTF-8, as Python has them.
UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """The text with what can't be seen in it written out: \\x1b. Lines and tabs stay."""

    def written(match: re.Match[str]) -> str:
        code = ord(match[0])
        code = code - 0xDC00 if 0xDC80 <= code <= 0xDCFF else code
        return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"

    return UNSEEN.sub(written, text.replace("\r\n", "\n"))


def in_a_line(text: str) -> str:
    """The text as a part of a line."""
    return visible(text).replace("\n", "\\n")


def reason(error: Exception) -> str:
    """Why the system refused, in its own words."""
    text = getattr(error, "strerror", None) or str(error)
    return text[:1].lower() + text[1:]


def failure(error: str, hint: str = "", code: int = 2) -> Exit:
    """The one way to fail. code: 2 for wrong use or a missing tool, 1 where the world failed."""
    return Exit(f"error: {error}" + (f"\nhint: {hint}" if hint else ""), code=code)


def open_streams() -> None:
    """Open what a shell has closed (2>&-), on nothing. Python writes to stdout where there is no stderr, and the next file that is
    opened would get the stream's number, and what docker says."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            silence(number)
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def silence(number: int) -> None:
    """Let a stream lead to nothing from here on. Else Python tries to write the rest when it ends, and fails."""
    null = os.open(os.devnull, os.O_RDWR)
    if null != number:
        os.dup2(null, number)
        os.close(null)


def write(stream: TextIO, text: str) -> None:
    """Write all of a text at once, and what the stream's encoding lacks as \\u…."""
    encoding = stream.encoding or "utf-8"
    stream.write(visible(text).encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def say(text: str, quiet: bool = False) -> None:
    """A line for a person, on stderr: stdout is for results. Where nobody can be told, nobody is."""
    if not quiet:
        try:
            write(sys.stderr, f"{text}\n")
        except OSError:
            silence(2)


def print_result(text: str) -> None:
    """Print a result, on stdout. Whoever reads it may stop before its end: `invoke config | head -1`."""
    try:
        write(sys.stdout, f"{text}\n")
    except BrokenPipeError:
        silence(1)
    except OSError as error:
        silence(1)
        raise failure(f"the result can't be written to stdout: {reason(error)}", code=1) from None


@dataclass(frozen=True)
class Out:
    """How a task speaks. quiet: only results and errors. dry_run: docker's commands are printed, and none runs. progress: the form in
    which BuildKit is asked to write, `plain` for example; '' for its own choice."""

    quiet: bool = False
    dry_run: bool = False
    progress: str = ""

    def say(self, text: str) -> None:
        """Say a line to the person, unless --quiet was given."""
        say(text, self.quiet)

    def report(self, text: str) -> None:
        """Say what is done now, or was: a dry run does nothing, and says nothing of it."""
        say(text, self.quiet or self.dry_run)


@contextlib.contextmanager
def errors_told() -> Iterator[None]:
    """Say how what is done meanwhile fails. What the system refuses, and no room has words for, is an error with the file's name."""
    try:
        yield
    except OSError as error:
        say(f"error: {f'{error.filename}: ' if error.filename else ''}{reason(error)}")
        raise Exit(code=1) from None
    except ModuleNotFoundError as error:  # python-on-whales is loaded when a task first needs it
        say(f"error: Python has no package {error.name}\nhint: pip install invoke python-on-whales pyyaml")
        raise Exit(code=2) from None
    except Exit as end:
        say(str(end.message), quiet=not end.message)
        raise Exit(code=end.code) from None


def did_you_mean(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, 1)
    return f"did you mean `{near[0]}`? " if near else ""


def checksum(parts: Iterable[bytes]) -> str:
    """SHA-256, in hexadecimal, of a sequence of byte strings: two of them never count as one."""
    key = hashlib.sha256()
    for part in parts:
        key.update(b"%d:%s" % (len(part), part))
    return key.hexdigest()
