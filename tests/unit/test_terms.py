"""Erlang terms as people read them."""

from __future__ import annotations

import pytest

from ci.beamdock.consult import read_terms
from ci.beamdock.terms import format_term


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("{git, long}", "{git, long}"),
        ('"1.0"', '"1.0"'),
        ("git", "git"),
        ('{cmd, "git describe"}', '{cmd, "git describe"}'),
        ('{file, "V"}', '{file, "V"}'),
    ],
)
def test_a_version_as_erlang_writes_it(text: str, shown: str) -> None:
    assert format_term(read_terms(text + ".")[0]) == shown
