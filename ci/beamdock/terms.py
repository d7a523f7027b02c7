"""beamdock 0.1.0: Erlang terms, read from a text and written again. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import json
import re
from typing import Any, Callable


class Atom(str):
    """An Erlang atom; strings are str, binaries bytes, tuples Tuple, lists list, maps dict."""


class Tuple(tuple):  # type: ignore[type-arg]
    """An Erlang tuple that knows the line it begins on."""

    line = 0


class TermError(ValueError):
    """A text that is no sequence of Erlang terms; line is where reading stopped."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


TOKEN = re.compile(
    r"""(?P<space>(?:\s|%[^\n]*)+)
      | ~?[bBsS]?(?P<triple>\"\"\"[ \t]*\n(?:[^\n]*\n)*?[ \t]*\"\"\")
      | ~?[bBsS]?(?P<string>"(?:[^"\\]|\\.)*")
      | (?P<quoted>'(?:[^'\\]|\\.)*')
      | (?P<float>[+-]?\d[\d_]*\.\d+(?:[eE][+-]?\d+)?)
      | (?P<integer>[+-]?\d[\d_]*(?:\#[0-9a-zA-Z_]+)?)
      | (?P<char>\$(?:\\(?:x\{[0-9a-fA-F]+\}|x[0-9a-fA-F]{2}|[0-7]{1,3}|\^.|.)|[^\\]))
      | (?P<fun>fun\s+[\w@']+:[\w@']+/\d+)
      | (?P<atom>[a-zß-öø-ÿ][\w@]*)
      | (?P<mark><<|>>|=>|\#\{|[\[\](){},./])""",
    re.VERBOSE | re.DOTALL,
)


ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "s": " ", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b", "d": "\x7f"}


def unescape(text: str) -> str:
    """A quoted text without its backslashes."""

    def one(match: re.Match[str]) -> str:
        code = match[1]
        if code[0] == "x":
            return chr(int(code.strip("x{}"), 16))
        if code[0] == "^":
            return chr(ord(code[1]) & 31)
        return chr(int(code, 8)) if code[0] in "01234567" else ESCAPES.get(code, code)

    return re.sub(r"\\(x\{[0-9a-fA-F]+\}|x[0-9a-fA-F]{2}|[0-7]{1,3}|\^.|.)", one, text, flags=re.DOTALL)


class Reader:
    """Erlang terms out of a text, as file:consult/1 reads them (erl_scan and erl_parse:parse_term of OTP 27)."""

    def __init__(self, text: str) -> None:
        text = text.replace("\r\n", "\n").lstrip("\ufeff")
        self.tokens: list[tuple[str, str, int]] = []
        at, line = 0, 1
        while at < len(text):
            match = TOKEN.match(text, at)
            if not match or not match.lastgroup:
                raise TermError(line, f"{text[at : at + 20].split()[0]} is no Erlang term")
            if match.lastgroup != "space":
                self.tokens.append((match.lastgroup, match[match.lastgroup], line))
            at, line = match.end(), line + match[0].count("\n")
        self.tokens.append(("end", "the end of the file", line))
        self.tokens.reverse()

    def take(self, word: str = "") -> tuple[str, str, int]:
        """The next token; with a word, that one or an error."""
        kind, found, line = self.tokens[-1]
        if (word and (kind, found) != ("mark", word)) or (kind == "end" and not word):
            raise TermError(line, f"{word or 'a term'} is missing before {found}")
        return self.tokens.pop()

    def sees(self, *words: str) -> bool:
        return self.tokens[-1][0] == "mark" and self.tokens[-1][1] in words

    def terms(self) -> list[Any]:
        found = []
        while self.tokens[-1][0] != "end":
            found.append(self.term())
            self.take(".")
        return found

    def sequence(self, close: str, item: Callable[[], Any]) -> list[Any]:
        found: list[Any] = []
        while not self.sees(close):
            if found:
                self.take(",")
            found.append(item())
        self.take(close)
        return found

    def pair(self) -> tuple[Any, Any]:
        key = self.term()
        self.take("=>")
        return key if isinstance(key, (str, int, bytes)) else repr(key), self.term()

    def segment(self) -> bytes:
        value = self.term()
        if self.sees("/"):
            self.take()
            self.take()
        return value.encode() if isinstance(value, str) else bytes([value & 255])

    def strings(self) -> str:
        """Strings that stand side by side are one; a triple-quoted one has no indentation and no last newline."""
        text = ""
        while self.tokens[-1][0] in ("string", "triple"):
            kind, word, _ = self.take()
            lines = word.split("\n")
            indent = len(lines[-1]) - 3
            text += unescape(word[1:-1]) if kind == "string" else "\n".join(x[indent:] for x in lines[1:-1])
        return text

    def term(self) -> Any:
        if self.tokens[-1][0] in ("string", "triple"):
            return self.strings()
        kind, word, line = self.take()
        if kind in ("atom", "fun", "quoted"):
            return Atom(unescape(word[1:-1]) if kind == "quoted" else word)
        if kind == "integer":
            base, based, digits = word.partition("#")
            return (-1 if base[0] == "-" else 1) * int(digits, abs(int(base))) if based else int(word)
        if kind == "float":
            return float(word)
        if kind == "char":
            return ord(unescape(word[1:]))
        if word == "{":
            items = Tuple(self.sequence("}", self.term))
            items.line = line
            return items
        if word == "[":
            return self.sequence("]", self.term)
        if word == "#{":
            return dict(self.sequence("}", self.pair))
        if word == "<<":
            return b"".join(self.sequence(">>", self.segment))
        raise TermError(line, f"{word} where a term should begin")


def read_terms(text: str) -> list[Any]:
    """The terms of a rebar.config, or TermError."""
    reader = Reader(text)
    try:
        return reader.terms()
    except TermError:
        raise
    except (ArithmeticError, RecursionError, TypeError, ValueError) as error:
        raise TermError(reader.tokens[-1][2], str(error)) from None


def entries(terms: Any, key: str) -> list[Any]:
    """The values of {key, Value} in a list of terms."""
    return [t[1] for t in tuples(terms) if t[0] == key]


def tuples(terms: Any) -> list[Tuple]:
    """The tuples of two or more in a list of terms; none where it is no list."""
    return [t for t in terms if isinstance(t, Tuple) and len(t) > 1] if isinstance(terms, list) else []


# Erlang's reserved words (its reference manual, 1.5): as atoms they stand in quotes.
RESERVED = frozenset(
    "after and andalso band begin bnot bor bsl bsr bxor case catch cond div else end fun if let maybe not of or orelse receive rem try "
    "when xor".split()
)


def write_term(term: Any) -> str:
    """A term in the one form that all its spellings share; ValueError for one that would not be read back the same."""
    if isinstance(term, Atom):
        if term.startswith("fun "):
            raise ValueError(term)
        bare = re.fullmatch(r"[a-z][\w@]*", term, re.ASCII) and term not in RESERVED
        return term if bare else "'" + re.sub(r"([\\'])", r"\\\1", term) + "'"
    if isinstance(term, str):
        return '"' + re.sub(r'([\\"])', r"\\\1", term) + '"'
    if isinstance(term, bytes):
        return '<<"' + re.sub(r'([\\"])', r"\\\1", term.decode("ascii")) + '">>'
    if isinstance(term, dict):
        if any(type(key) not in (Atom, bytes) for key in term):  # the reader has but a likeness of other keys
            raise ValueError("a map")
        pairs = sorted(f"{write_term(key)}=>{write_term(value)}" for key, value in term.items())
        return f"#{{{','.join(pairs)}}}"
    if isinstance(term, (tuple, list)):
        inside = ",".join(map(write_term, term))
        return f"{{{inside}}}" if isinstance(term, tuple) else f"[{inside}]"
    return re.sub(r"^(-?\d+)e", r"\1.0e", repr(term))  # Erlang has no 1e+22


def erlang(term: Any) -> str:
    """A version's term as Erlang writes it, for people."""
    if isinstance(term, Tuple):
        return "{" + ", ".join(erlang(t) for t in term) + "}"
    return str(term) if isinstance(term, Atom) else json.dumps(term, ensure_ascii=False) if isinstance(term, str) else str(term)
