"""beamdock 0.1.0: what an ignore file keeps out of a build, as BuildKit reads it. SPDX-License-Identifier: Apache-2.0

Measured against the engine (tests/engine/test_ignore.py); a pattern that docker refuses matches nothing here: docker says so.
"""

from __future__ import annotations

import posixpath
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Optional


@dataclass(frozen=True)
class Ignore:
    """The patterns of an ignore file in their order, with what each matches; one with a leading ! lets in again."""

    patterns: tuple[tuple[str, re.Pattern[str]], ...] = ()
    _folders: dict[str, tuple[bool, ...]] = field(default_factory=dict, repr=False, compare=False)

    def excludes(self, path: str) -> bool:
        """Is a path (relative to the context, with slashes) kept out? The last pattern that matches it, or a folder above it,
        decides."""
        excluded = False
        for (text, _), matches in zip(self.patterns, self._matches(path)):
            excluded = not text.startswith("!") if matches else excluded
        return excluded

    def excludes_all(self, folder: str) -> bool:
        """Is all that is in a folder kept out? Not where a pattern that lets in again may match below it."""
        below = f"{folder}/"
        heads = [re.findall(r"^[\w/]*", pattern.pattern)[0] for text, pattern in self.patterns if text.startswith("!")]
        return self.excludes(folder) and not any(below.startswith(head) or head.startswith(below) for head in heads)

    def names(self, path: str, folder: str) -> bool:
        """Does a pattern that begins with the folder keep the path out?"""
        own = [pattern for text, pattern in self.patterns if text.startswith(f"{folder}/")]
        return any(pattern.fullmatch(str(part)) for pattern in own for part in (path, *PurePosixPath(path).parents))

    def _matches(self, path: str) -> tuple[bool, ...]:
        """Which patterns match the path or a folder above it. BuildKit walks down, and leaves out what would change nothing: a pattern
        that keeps out is not asked of what is out already, nor one that lets in of what is in. For what is below that is no match."""
        parent = posixpath.dirname(path)
        above = self._of_folder(parent) if parent else (False,) * len(self.patterns)
        found, excluded = [], False
        for (text, pattern), inherited in zip(self.patterns, above):
            lets_in = text.startswith("!")
            matches = inherited or (lets_in == excluded and bool(pattern.fullmatch(path)))
            excluded = not lets_in if matches else excluded
            found.append(matches)
        return tuple(found)

    def _of_folder(self, folder: str) -> tuple[bool, ...]:
        if folder not in self._folders:
            self._folders[folder] = self._matches(folder)
        return self._folders[folder]


def read_ignore(text: str) -> Ignore:
    """The patterns of an ignore file's text."""
    found = []
    for number, line in enumerate(text.split("\n")):
        line = line.removeprefix("\ufeff") if number == 0 else line
        words = line.strip()
        if line.startswith("#") or not words:
            continue
        lets_in = words.startswith("!")
        pattern = cleaned(words[lets_in:].strip())
        if matcher := matcher_of(pattern):
            found.append(("!" * lets_in + pattern, matcher))
    return Ignore(tuple(found))


def cleaned(pattern: str) -> str:
    """Without a slash in front or at the end, and without `.` and `..` where they can be done without."""
    if not pattern:
        return ""
    plain = re.sub("^//+", "/", posixpath.normpath(pattern))
    return plain[1:] if len(plain) > 1 and plain.startswith("/") else plain


def matcher_of(pattern: str) -> Optional[re.Pattern[str]]:
    """A pattern as an expression for a whole path; None where docker refuses it."""
    wild = re.compile(r"[*?\[\]\\]")
    if not wild.search(pattern):
        return re.compile(re.escape(pattern))
    if pattern.startswith("**") and not wild.search(pattern[2:]):  # **/x is x too, and **x all that ends so
        return re.compile("(?s:.*)" + re.escape(pattern[2:]) + ("|" + re.escape(pattern[3:]) if pattern.startswith("**/") else ""))
    if pattern.endswith("**") and not wild.search(pattern[:-2]):
        return re.compile(re.escape(pattern[:-2]) + "(?s:.*)")
    tokens = re.findall(r"\*\*/?|\*|\?|\\.|.", pattern, re.DOTALL)
    if tokens and tokens[-1] == "**":
        tokens[-1] = ".*"
    instead = {"**": "(.*/)?", "**/": "(.*/)?", ".*": ".*", "*": "[^/]*", "?": "[^/]"}
    expression = "".join(instead.get(t) or (t if len(t) > 1 or t in "[]^-" else re.escape(t)) for t in tokens)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # FutureWarning: [[ may mean something some day
            return re.compile(expression, re.ASCII)
    except re.error:
        return None


def ignore_file(root: Path, dockerfile: str) -> Optional[Path]:
    """The ignore file that counts for a Dockerfile (relative to root, the context): the one with its name beside it, if there is one."""
    beside = root / f"{dockerfile}.dockerignore"
    return next((file for file in (beside, root / ".dockerignore") if file.is_file()), None)
