"""beamdock 0.1.0: Erlang terms out of a text, read as file:consult/1 reads them. SPDX-License-Identifier: Apache-2.0

Measured against erl_scan and erl_parse:parse_term of OTP 27. Reading goes over the text once.
"""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass, field
from typing import Any, Optional

from .terms import RESERVED, Atom, Opaque, Segment, Tuple, as_binary, as_list, as_map, write_term


class TermError(ValueError):
    """A text that is no sequence of Erlang terms, or goes beyond what is read here; line is where reading stopped."""

    hint = "rebar3 reads it the same way: terms, each with a full stop"

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


class LimitError(TermError):
    """A text that Erlang may read. Python's own limits, on recursion and on int(), lie above these."""

    brackets, digits = 320, 4000
    hint = f"beamdock reads {brackets} levels of brackets and numbers of {digits} digits"


NOT_ATOMS = RESERVED - {"maybe", "else"}  # these two are reserved since OTP 27 only
SPECIFIERS = frozenset("integer float binary bytes bitstring bits utf8 utf16 utf32 signed unsigned big little native unit".split())
BLANK, NAME, DECIMAL = r"[\0-\x20\x80-\xa0]", r"[A-Za-z0-9_@À-ÖØ-öø-ÿ]", r"[0-9]+(?:_[0-9]+)*"
TOKEN = re.compile(
    rf"""{BLANK}*(?:%[^\n]*{BLANK}*)*(?:
        (?P<atom>[a-zß-öø-ÿ]{NAME}*)
      | (?P<mark>[][{{}}(),|:/\#]|<<|>>|=>|[+-](?![0-9]))
      | (?P<string>"(?!"")[^"\\]*")
      | (?P<float>[+-]?{DECIMAL}\.{DECIMAL}(?:[eE][+-]?{DECIMAL})?)
      | (?P<integer>[+-]?{DECIMAL}(?:\#[0-9A-Za-z]+(?:_[0-9A-Za-z]+)*)?)
      | (?P<quoted>'[^'\\]*')
      | (?P<stop>\.(?={BLANK}|%|\Z))
      | (?P<opening>~[bBsS]?(?:"{{3,}}|["'/|`\#(\[{{<])|"{{3,}}|["'])  # of what Reader.read_quoted reads to its end
      | (?P<char>\$)
      | (?P<end>\Z)
      | (?P<other>.)
    )""",
    re.VERBOSE | re.DOTALL,
)
ESCAPE = re.compile(r"\\(?:x\{([0-9a-fA-F]+)\}|x([0-9a-fA-F]{2})|([0-7]{1,3})|\^([?-_a-z])|(.))", re.DOTALL)
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "s": " ", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b", "d": "\x7f"}
QUOTES = {"(": ")", "[": "]", "{": "}", "<": ">"}  # of sigils, where they differ from each other
BRACKETS = {"{": "}", "[": "]", "(": ")", "<<": ">>", "#": "}"}


@dataclass
class Open:
    """A bracket that is open, and the terms in it so far. at: its place in the text; tail: the | of a list has been read."""

    word: str
    at: int
    line: int
    items: list[Any] = field(default_factory=list)
    tail: bool = False


class Reader:
    """Terms out of a text. kind and word are the next token's, and match says where it stands."""

    def __init__(self, text: str) -> None:
        self.text, self.line, self.counted = text, 1, 0
        self.atoms: dict[str, Atom] = {}
        self.go_to(int(text.startswith("\ufeff")))

    def go_to(self, at: int) -> None:
        """Make the token at a place the next one."""
        self.tokens = TOKEN.finditer(self.text, at)
        self.advance()

    def advance(self) -> None:
        self.match = match = next(self.tokens)
        self.kind = kind = match.lastgroup or ""
        self.word = match[kind]

    def take(self, word: str) -> None:
        if self.word != word:
            raise self.error_of_missing(word)
        self.advance()

    def error(self, what: str, at: Optional[int] = None, kind: type[TermError] = TermError) -> TermError:
        return kind(self.text.count("\n", 0, self.match.start(self.kind) if at is None else at) + 1, what)

    def error_of_missing(self, what: str) -> TermError:
        found = {"end": "the end of the file", "stop": "the full stop"}.get(self.kind)
        place = f"before {found or excerpt(self.text, self.match.start(self.kind))}"
        return self.error("a blank is missing after the full stop" if self.word == "." and not found else f"{what} is missing {place}")

    def read_all(self) -> list[Any]:
        found = []
        while self.kind != "end":
            found.append(self.read_term())
            if self.kind != "stop":
                raise self.error_of_missing(". (a full stop)")
            self.advance()
        return found

    def read_term(self) -> Any:
        """The next term. Brackets are kept in a list, and not on Python's stack, which is short."""
        opened: list[Open] = []
        while True:
            if self.kind == "mark" and self.word in BRACKETS:
                opened.append(self.open_bracket(len(opened)))
            elif not opened:
                return self.read_leaf()
            else:
                opened[-1].items.append(self.read_leaf())
            while True:
                inner = opened[-1]
                if inner.word == "<<" and self.word in ("/", ":") and inner.items:
                    inner.items[-1] = self.read_segment(inner.items[-1])
                if self.word != BRACKETS[inner.word]:
                    break
                self.advance()
                value = self.close_bracket(opened.pop())
                if not opened:
                    return value
                opened[-1].items.append(value)
            if inner.items:
                self.take_separator(inner)

    def open_bracket(self, depth: int) -> Open:
        word, at = self.word, self.match.start("mark")
        if depth == LimitError.brackets:
            raise self.error(f"{depth + 1} brackets are open", kind=LimitError)
        self.line, self.counted = self.line + self.text.count("\n", self.counted, at), at
        self.advance()
        if word == "#":
            self.take("{")
        return Open(word, at, self.line)

    def take_separator(self, opened: Open) -> None:
        """What stands between two terms in a bracket."""
        if opened.word == "[" and self.word == "|" and not opened.tail:
            opened.tail = True
            self.advance()
        elif opened.word == "(" or opened.tail:
            raise self.error_of_missing(BRACKETS[opened.word])
        else:
            self.take("=>" if opened.word == "#" and len(opened.items) % 2 else ",")

    def close_bracket(self, opened: Open) -> Any:
        """The term that a bracket makes of what is in it."""
        if opened.word == "{":
            made = Tuple(opened.items)
            made.line = opened.line
            return made
        if opened.word == "[":
            return as_list(opened.items) if opened.tail else opened.items
        if opened.word == "(" and opened.items:
            return opened.items[0]
        if opened.word == "(" or (opened.word == "#" and len(opened.items) % 2):
            raise self.error(f"{'=>' if opened.items else 'a term'} is missing before {BRACKETS[opened.word]}", opened.at)
        if opened.word == "#":
            return as_map(opened.items)
        wrong = next((i for i in opened.items if type(i) not in (str, int, Segment)), None)
        if wrong is not None:
            raise self.error(f"{excerpt(write_term(wrong))} can't stand in a binary as it is", opened.at)
        return as_binary(opened.items)

    def read_segment(self, value: Any) -> str:
        """A part of a binary, with the size and the types that follow it."""
        text = ""
        if self.word == ":":
            self.advance()
            text = f":{self.read_number()}"
        before = "/"
        while self.word == before:
            self.advance()
            name = self.word
            if name not in SPECIFIERS:
                raise self.error(f"{excerpt(name)} is no type in a binary")
            self.advance()
            if name == "unit":
                self.take(":")
                name = f"unit:{self.read_number()}"
            text, before = f"{text}{before}{name}", "-"
        if text == "/utf8" and type(value) is str:
            return value.encode("utf-8", "replace").decode("latin-1")  # a string of bytes
        return Segment(write_term(value) + text)

    def read_leaf(self) -> Any:
        """A term that has no others in it."""
        kind, word = self.kind, self.word
        if kind == "atom" or kind == "quoted":
            if word in NOT_ATOMS:
                return self.read_fun()
            self.advance()
            name = word if kind == "atom" else word[1:-1]
            known = self.atoms.get(name)
            return self.atoms.setdefault(name, Atom(name)) if known is None else known
        if kind == "string" or word.startswith('"'):
            return self.read_strings()
        if kind == "opening":
            return self.read_quoted()
        if word == "+" or word == "-":
            self.advance()
            return self.read_number() * (-1 if word == "-" else 1)
        return self.read_number()

    def read_fun(self) -> Opaque:
        """fun MODULE:NAME/ARITY, the one term that begins with a reserved word."""
        if self.word != "fun":
            raise self.error(f"{self.word} is a reserved word: as an atom it is '{self.word}'")
        self.advance()
        parts = []
        for before, kind in (("", Atom), (":", Atom), ("/", int)):
            if before:
                self.take(before)
            parts.append(None if self.word in NOT_ATOMS else self.read_leaf())
            if type(parts[-1]) is not kind:
                raise self.error("of funs there is only fun MODULE:NAME/ARITY")
        return Opaque(f"fun {write_term(parts[0])}:{write_term(parts[1])}/{parts[2]}")

    def read_number(self) -> Any:
        """A number or a character, in parentheses or without."""
        depth = 0
        while self.word == "(":
            self.advance()
            depth += 1
        if self.kind not in ("integer", "float", "char"):
            raise self.error_of_missing("a number" if depth else "a term")
        value = self.read_character() if self.kind == "char" else self.read_digits()
        for _ in range(depth):
            self.take(")")
        return value

    def read_digits(self) -> int | float:
        kind, word = self.kind, self.word
        if len(word) > LimitError.digits:
            raise self.error(f"this number has {len(word)} digits", kind=LimitError)
        base, based, digits = word.lstrip("+-").partition("#")
        try:
            value = float(base) if kind == "float" else int(digits, min(max(int(base), 1), 37)) if based else int(base)
        except ValueError:  # of a base that is none of 2 to 36, say
            value = math.inf
        if value == math.inf:
            raise self.error(f"{excerpt(word)} is no number")
        self.advance()
        return -value if word[0] == "-" else value

    def read_character(self) -> int:
        at = self.match.end()
        escape = ESCAPE.match(self.text, at)
        if at == len(self.text):
            raise self.error("a character is missing after $")
        value = self.decode_escape(escape) if escape else ord(self.text[at])
        self.go_to(escape.end() if escape else at + 1)
        return value

    def read_strings(self) -> str:
        """A string, and those that follow it: side by side they are one."""
        parts = []
        while self.kind == "string" or (self.kind == "opening" and self.word[0] == '"'):
            if self.kind == "opening":
                parts.append(self.read_quoted())
            else:
                parts.append(self.word[1:-1])
                self.advance()
        return "".join(parts)

    def read_quoted(self) -> Any:
        """A text in quotes, or a sigil: the next token is no more than its beginning."""
        opening, begin = self.word, self.match.end()
        mark = opening.lstrip("~bBsS")
        prefix = opening[: -len(mark)]
        if mark.startswith('"""'):
            raw, (text, end) = prefix not in ("~b", "~s"), self.read_block(mark, begin)
        else:
            raw, close = prefix in ("~B", "~S"), re.escape(QUOTES.get(mark, mark))
            stops = re.compile(close if raw else rf"\\.|{close}", re.DOTALL).finditer(self.text, begin)
            stop = next((m for m in stops if m[0][0] != "\\"), None)
            if not stop:
                raise self.error(f"{excerpt(self.text, begin - len(opening))} is not closed")
            text, end = self.text[begin : stop.start()], stop.end()
        if not raw and "\\" in text:
            text = ESCAPE.sub(lambda escape: chr(self.decode_escape(escape, begin)), text)
        self.go_to(end)
        return Atom(text) if opening == "'" else text.encode("utf-8", "replace") if prefix in ("~", "~b", "~B") else text

    def read_block(self, mark: str, begin: int) -> tuple[str, int]:
        """A triple-quoted text without its indentation, and where it ends: at the first line that begins with that many quotes."""
        first = re.compile(rf"(?:(?!\n){BLANK})*\n").match(self.text, begin)
        lasts = re.compile(r'^([^\S\n]*)("{3,})', re.MULTILINE).finditer(self.text, first.end() if first else begin)
        last = next((m for m in lasts if len(m[2]) >= len(mark)), None)
        if not first or not last:
            raise self.error(f"{mark[:20]} is not closed" if first else f"a line feed is missing after {mark[:20]}")
        indent = last[1]
        lines = self.text[first.end() : last.start()].split("\n")[:-1]
        if any(line.strip("\r") and not line.startswith(indent) for line in lines):
            raise self.error("a line is indented less than the quotes that close it")
        text = "\n".join(line[len(indent) :] if line.startswith(indent) else line for line in lines)
        return text.removesuffix("\r"), last.start(2) + len(mark)

    def decode_escape(self, escape: re.Match[str], begin: int = 0) -> int:
        """The character that a backslash stands for. begin: where the text of the match begins."""
        hexadecimal, octal, control, other = escape[1] or escape[2], escape[3], escape[4], escape[5]
        if control:
            return 127 if control == "?" else ord(control) & 31
        code = int(hexadecimal, 16) if hexadecimal else int(octal, 8) if octal else ord(ESCAPES.get(other, other))
        if other in ("x", "^") or code > 0x10FFFF or 0xD800 <= code <= 0xDFFF or code in (0xFFFE, 0xFFFF):
            raise self.error(f"{excerpt(escape[0])} is no character", begin + escape.start())
        return code


def excerpt(text: str, at: int = 0) -> str:
    """Return the beginning of a text from a place on, within its line."""
    return text[at : at + 20].split("\n")[0]


@functools.lru_cache(maxsize=8)
def read_terms(text: str) -> list[Any]:
    """Read all terms of a text. Raises TermError where it has others. The list is kept for the next caller: nobody changes it."""
    return Reader(text).read_all()


@dataclass(frozen=True)
class TermFile:
    """A file of Erlang terms, parsed once. content: its bytes; terms: what they say, a list that nobody changes."""

    content: bytes
    terms: list[Any]


def parse_file(content: bytes) -> TermFile:
    """Parse a file's content. Raises TermError where it is no sequence of terms. Bytes that are no UTF-8 become what `surrogateescape`
    makes of them: written again, the terms have the same bytes."""
    return TermFile(content, read_terms(content.decode(errors="surrogateescape")))
