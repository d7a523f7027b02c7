#!/usr/bin/env python3
"""How fast Erlang terms are read, at one size and at eight times that, which must take eight times as long: python bench/terms.py"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Callable

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ci.beamdock.consult import read_terms

# A text of n pieces each.
TEXTS: dict[str, Callable[[int], str]] = {
    "dependencies": lambda n: "{deps, [\n" + '  {cowboy, {git, "https://git.example/cowboy.git", {tag, "2.10.0"}}}, %% why\n' * n + " a]}.",
    "small terms": lambda n: "{a, 1}.\n" * n,
    "a string of many lines": lambda n: '{a, "' + "some text\n" * n + '"}.',
    "a string of escapes": lambda n: '{a, "' + '\\n\\"' * n + '"}.',
    "strings side by side": lambda n: "{a, " + '"abc" ' * n + "}.",
    "numbers": lambda n: "[" + "12345, " * n + "0].",
    "comments": lambda n: "%% a comment of some words\n" * n + "a.",
}


def seconds(text: str) -> float:
    read_terms.cache_clear()
    began = time.process_time()
    read_terms(text)
    return time.process_time() - began


def main() -> None:
    for name, made in TEXTS.items():
        pieces = 500_000 // (len(made(1001)) - len(made(1000)))
        small, large = made(pieces), made(8 * pieces)
        once, eight = min(seconds(small) for _ in range(3)), seconds(large)
        print(f"{name:<24} {len(large) / 1e6 / eight:7.1f} MB a second; {eight / once:5.1f} times as long for 8 times as much", flush=True)


if __name__ == "__main__":
    main()
