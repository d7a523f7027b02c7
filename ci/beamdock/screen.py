"""beamdock 0.1.0: what a person sees while BuildKit builds. SPDX-License-Identifier: Apache-2.0

BuildKit draws on a terminal, and that is passed on as it is. Elsewhere (CI, a pipe) it writes 140 lines and more for a success:
there each step that is over gets one line, and all that BuildKit wrote is shown where the build fails.
"""

from __future__ import annotations

import re

from .explain import ANSI

STEP = re.compile(r"#(\d+) ((?:\[(?:\S+ +)?\d+/\d+\]|exporting (?:to|cache)) .*)")
OVER = re.compile(r"#(\d+) (?:DONE ([\d.]+)s|(CACHED|CANCELED|ERROR\b))")
# Where BuildKit's last words begin: the failed step once more, then an excerpt of the Dockerfile, then its error.
LAST_WORDS = re.compile(rb"(?m)^(?:\x1b\[[0-9;?]*[a-zA-Z])*------\r?\n")
MARK = re.compile(rb"(?:\x1b\[[0-9;?]*[a-zA-Z]?)*-{0,6}\r?")
WIDTH = 100


def short(step: str) -> str:
    """A step's instruction on one line, without its mounts and digests."""
    plain = re.sub(r" --(?:mount|chmod)=\S+", "", re.sub(r"@sha256:[0-9a-f]{64}", "", step))
    plain = re.sub(r"\s+", " ", plain)
    return plain if len(plain) <= WIDTH else f"{plain[: WIDTH - 1]}…"


class Screen:
    """Decides what of BuildKit's output is shown, and when. how: `all` as it comes, `steps` a line for each, or `none`."""

    def __init__(self, how: str) -> None:
        self.how = how
        self.written = b""
        self.shown = 0  # how much of it has been looked at
        self.names: dict[str, str] = {}

    @property
    def log(self) -> str:
        return self.written.decode(errors="replace")

    def feed(self, chunk: bytes) -> bytes:
        """What to show now that BuildKit has written this too."""
        self.written += chunk
        if self.how == "none":
            return b""
        if self.how == "all":
            return self.until_last_words()
        lines = self.written[self.shown :].split(b"\n")[:-1]
        self.shown += sum(len(line) + 1 for line in lines)
        return "".join(filter(None, (self.line(line.decode(errors="replace")) for line in lines))).encode()

    def until_last_words(self) -> bytes:
        """The last words wait for the build's end, and so does a line that may become their first."""
        end = LAST_WORDS.search(self.written, self.written.rfind(b"\n", 0, self.shown) + 1)
        stop = end.start() if end else len(self.written)
        tail = self.written.rfind(b"\n", 0, stop) + 1
        if not end and MARK.fullmatch(self.written, tail):
            stop = tail
        now, self.shown = self.written[self.shown : stop], max(self.shown, stop)
        return now

    def line(self, text: str) -> str:
        """A step that is over, for a line of BuildKit's plain progress; '' for all other lines."""
        if step := STEP.match(text):
            self.names[step[1]] = short(step[2])
        over = OVER.match(text)
        if not over or over[1] not in self.names:
            return ""
        return f"{f'{over[2]} s' if over[2] else over[3].lower():>9}  {self.names.pop(over[1])}\n"

    def end(self, failed: bool, explained: bool) -> bytes:
        """What is left to show when the build is over. explained: its error is said in our own words, which need no excerpt of
        the Dockerfile below them."""
        if self.how == "none":
            return b""
        if self.how == "steps":
            if not failed:
                return b""
            self.shown = 0
        rest = self.written[self.shown :]
        words = LAST_WORDS.search(rest)
        if not explained or not words:
            return rest
        if re.search(rb"(?m)^#\d+ ", self.written):  # in the plain form all that the step wrote is above already
            return rest[: words.start()]
        last = ANSI.sub("", rest[words.start() :].decode(errors="replace")).replace("\r", "")
        return rest[: words.start()] + "".join(re.findall(r"^------\n.*?^------\n", last, re.MULTILINE | re.DOTALL)).encode()
