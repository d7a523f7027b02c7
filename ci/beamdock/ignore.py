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
        """Is a path kept out? The last pattern that matches the path, or a folder above it, decides. path: relative to the context,
        with slashes."""
        excluded = False
        for (text, _), matches in zip(self.patterns, self._matches(path)):
            excluded = not text.startswith("!") if matches else excluded
        return excluded

    def excludes_all(self, folder: str) -> bool:
        """Is everything in a folder kept out? The answer is no where a pattern that lets in again may match below the folder."""
        below = f"{folder}/"
        heads = [re.findall(r"^[\w/]*", pattern.pattern)[0] for text, pattern in self.patterns if text.startswith("!")]
        return self.excludes(folder) and not any(below.startswith(head) or head.startswith(below) for head in heads)

    def names(self, path: str, folder: str) -> bool:
        """Does a pattern that begins with a folder match a path in it, or a folder above the path?"""
        own = [pattern for text, pattern in self.patterns if text.startswith(f"{folder}/")]
        return any(pattern.fullmatch(str(part)) for pattern in own for part in (path, *PurePosixPath(path).parents))

    def _matches(self, path: str) -> tuple[bool, ...]:
        """Return for each pattern whether it matches a path, or a folder above the path.

        BuildKit walks down from the root, and skips each question whose answer changes nothing: a pattern that keeps out is not tried
        on a path that is out already, nor a pattern that lets in on a path that is in. Below such a path the pattern counts as one that
        does not match."""
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
    """Read an ignore file's text. A pattern that docker refuses is left out: docker says so itself."""
    found = []
    for number, line in enumerate(text.split("\n")):
        line = line.removeprefix("\ufeff") if number == 0 else line
        words = line.strip()
        if line.startswith("#") or not words:
            continue
        lets_in = words.startswith("!")
        pattern = normalize(words[lets_in:].strip())
        if matcher := compile_pattern(pattern):
            found.append(("!" * lets_in + pattern, matcher))
    return Ignore(tuple(found))


def normalize(pattern: str) -> str:
    """Return a pattern without a slash in front or at the end, and without each `.` and `..` that can be resolved."""
    if not pattern:
        return ""
    plain = re.sub("^//+", "/", posixpath.normpath(pattern))
    return plain[1:] if len(plain) > 1 and plain.startswith("/") else plain


def compile_pattern(pattern: str) -> Optional[re.Pattern[str]]:
    """Return the regular expression of a pattern, for a whole path; None where docker refuses the pattern."""
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


def find_ignore_file(root: Path, dockerfile: str) -> Optional[Path]:
    """Find the ignore file that counts for a Dockerfile: the one beside it with its name, else the context's. None where there is
    neither. root: the context; dockerfile: the Dockerfile's path from there."""
    beside = root / f"{dockerfile}.dockerignore"
    return next((file for file in (beside, root / ".dockerignore") if file.is_file()), None)
