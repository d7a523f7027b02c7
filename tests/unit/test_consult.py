"""Erlang terms are read as Erlang reads them, or refused with their line; and are the same when written and read again."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.terms import ERRORS, TERMS

from ci.beamdock.consult import LimitError, TermError, read_terms
from ci.beamdock.terms import Atom, Opaque, Tuple, write_term


@pytest.mark.parametrize(("text", "value"), TERMS)
def test_constructs(text: str, value: Any) -> None:
    read = read_terms(text)
    assert read == [value]
    assert type(read[0]) is type(value)


def test_several_terms_in_order() -> None:
    assert read_terms('{a, 1}.\n{b, 2}.\n\n%% none\n"c".') == [("a", 1), ("b", 2), "c"]
    assert read_terms("") == read_terms("\n \t%% nothing\n") == []


def test_a_tuple_knows_its_line() -> None:
    """Counted over comments, strings of several lines and CRLF."""
    terms = read_terms('% 1\r\n\r\n{a, "x\r\ny",\r\n {b}}.\n"""\n a\n """. {c}.')
    assert (terms[0].line, terms[0][2].line, terms[2].line) == (3, 5, 8)


@pytest.mark.parametrize(("text", "line", "word"), ERRORS)
def test_errors_name_the_line(text: str, line: int, word: str) -> None:
    with pytest.raises(TermError) as error:
        read_terms(text)
    assert (error.value.line, word in str(error.value)) == (line, True), str(error.value)


NOT_NUMBERS = [
    "2#12",
    "37#1",
    "1#1",
    "0#0",
    "1.0e400",
    r'"\x{110000}"',
    r"'\x{FFFFFFFF}'",
    r'"\x{D800}"',
    r"$\x{FFFE}",
    r'"\x4"',
    r'"\^ü"',
    "16#_",
]


@pytest.mark.parametrize("text", NOT_NUMBERS, ids=lambda t: t[:16])
def test_numbers_and_characters_that_are_none(text: str) -> None:
    """An error with the line where they stand."""
    with pytest.raises(TermError) as error:
        read_terms(f"a.\n\n{text}.")
    assert error.value.line == 3


@pytest.mark.parametrize("opening", ["[", "{", "#{a => ", "{a, [", "[{", "(", "<<"])
@pytest.mark.parametrize("depth", [10, 150, 3_000, 100_000])
def test_deep_nesting(opening: str, depth: int) -> None:
    """Deep terms are read, or refused by name: Erlang reads them."""
    closing = "".join({"[": "]", "{": "}", "(": ")", "<": ">"}[c] for c in reversed(opening) if c in "[{(<")
    text = "\n" + opening * depth + "1" + closing * depth + "."
    if depth > LimitError.brackets:
        with pytest.raises(LimitError, match="brackets are open") as error:
            read_terms(text)
        assert (error.value.line, "beamdock reads" in error.value.hint) == (2, True)
    elif opening != "<<":
        assert read_terms(write_term(read_terms(text)[0]) + ".") == read_terms(text)


def test_a_number_of_many_digits() -> None:
    """Erlang reads it; Python would take long, and refuses some."""
    assert read_terms("9" * 4000 + ".") == [int("9" * 4000)]
    with pytest.raises(LimitError, match="5001 digits") as error:
        read_terms(f"\n-{'9' * 5000}.")
    assert error.value.line == 2


# -------------------------------------------------------------------------------------------------------- round trip

written = st.characters(exclude_categories=["Cs"])
atoms = st.one_of(st.from_regex(r"[a-z][a-zA-Z0-9_@]{0,8}", fullmatch=True), st.text(written, max_size=8)).map(Atom)
keys = st.one_of(atoms, st.integers(), st.binary(max_size=4))
leaves = st.one_of(
    atoms,
    st.integers(),
    st.text(written, max_size=12),
    st.floats(allow_nan=False, allow_infinity=False),
    st.binary(max_size=5),
    st.tuples(atoms, atoms, st.integers(0, 255)).map(lambda t: Opaque(f"fun {write_term(t[0])}:{write_term(t[1])}/{t[2]}")),
    st.tuples(st.integers(), st.integers(0, 70)).map(lambda t: Opaque(f"<<{t[0]}:{t[1]}/little>>")),
    st.lists(st.integers(), min_size=1).map(lambda t: Opaque(f"[{','.join(map(str, t))}|tail]")),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda f: Opaque(f"#{{{write_term(f)}=>[]}}")),
)
terms = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.lists(inner, max_size=4).map(Tuple), st.dictionaries(keys, inner, max_size=3)),
    max_leaves=12,
)
# An odd number of backslashes, quotes and full stops within comments and between any two words.
gaps = st.sampled_from(["", " ", "\n", "\t ", "\r\n", '  %% a "comment", it\'s }]>>. \\\n', "%\n", "\n\n\u00a0"])


def quoted(text: str, quote: str) -> str:
    return quote + text.replace("\\", "\\\\").replace(quote, "\\" + quote) + quote


def words(term: Any) -> list[str]:
    """A term as the words that Erlang writes it in."""
    if isinstance(term, Atom):
        return [quoted(term, "'")]
    if isinstance(term, str):
        return [quoted(term, '"')]
    if isinstance(term, bytes):
        return ["<<", *joined([[str(byte)] for byte in term]), ">>"]
    if isinstance(term, Opaque):
        return [term.text]
    if isinstance(term, float):
        mantissa, e, exponent = repr(term).partition("e")
        return [(mantissa if "." in mantissa else f"{mantissa}.0") + e + exponent]
    if isinstance(term, dict):
        pairs = [[*words(key), "=>", *words(value)] for key, value in term.items()]
        return ["#{", *joined(pairs), "}"]
    if isinstance(term, (list, tuple)):
        inner = joined([words(item) for item in term])
        return ["{", *inner, "}"] if isinstance(term, tuple) else ["[", *inner, "]"]
    return [str(term)]


def joined(parts: list[list[str]]) -> list[str]:
    return [word for i, part in enumerate(parts) for word in ([","] if i else []) + part]


@given(st.lists(terms, max_size=4), st.data())
def test_round_trip(values: list[Any], data: st.DataObject) -> None:
    """Any terms, in any layout with any comments, are read as they were written."""
    text = ""
    for value in values:
        for word in [*words(value), "."]:
            text += data.draw(gaps) + word
        text += "\n"
    assert read_terms(text) == values
    assert [write_term(v) for v in read_terms(text)] == [write_term(v) for v in values]


# -------------------------------------------------------------------------------------------------------------- fuzz

bits = st.sampled_from(["{", "}", "[", "]", "<<", ">>", "#{", "=>", ",", ".", '"', '"""', "'", "$", "\\", "%", "\n", " ", "a", "1",
    "#", "~s", "fun ", "a:b/1", "/", "1.5", "e5", "_", "|", "(", ")", ":8", "/utf8", "-", "<<1:8/", "integer", "unit:8", "#{", "a=>", "[a|"])  # fmt: skip


anything = st.text(st.characters(exclude_categories=[]), max_size=60)


@given(st.one_of(anything, st.lists(bits, max_size=30).map("".join), st.lists(bits, max_size=30).map(" ".join)))
def test_any_text(text: str) -> None:
    """Terms or TermError, nothing else; and what was read is written in a form that is read as the same, and written the same."""
    try:
        read = read_terms(text)
    except TermError as error:
        assert 1 <= error.line <= text.count("\n") + 1
        assert str(error)
    else:
        written = [write_term(term) for term in read]
        again = read_terms("".join(f"{term}.\n" for term in written))
        assert (again, [write_term(term) for term in again]) == (read, written)


LONG = ['"', "'", '"""', '"""\n', " ", "\n", "%", "%\n", "\\", '"\\', "$", "$\\", "1", "1_", "1.", "fun ", "fun", "fun a:", "~b", "a",
    "<<", "'\"", '" ', '"a" ', '"\\n" ', "{a,1}.\n", "a,", "-(", "fun fun ", "[a|", "<<1:8/", "~s", "~s(", "#", "#{a=>", '""', "9", "\t\"\"\"\n", "1e", "-", "_", "[", "{a,"]  # fmt: skip


@pytest.mark.parametrize("piece", LONG)
@pytest.mark.parametrize("around", ["{}", '"""\n{}', '"{}', "'{}", "fun {}"])
def test_long_texts_take_no_time(piece: str, around: str) -> None:
    """100 kB of anything are read or refused within a second."""
    text = around.replace("{}", piece * (100_000 // len(piece)))
    began = time.process_time()
    with contextlib.suppress(TermError):
        read_terms(text)
    assert time.process_time() - began < 1
