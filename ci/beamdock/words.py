"""beamdock 0.1.0: the words that all rooms share, and the one way to fail. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence

from invoke.exceptions import Exit

KEY = "beamdock"


PROJECT_LABEL = "beamdock.project"


REVISION_LABEL = "org.opencontainers.image.revision"


DEPS_LABEL = "beamdock.deps"


def failure(error: str, hint: str = "", code: int = 2) -> Exit:
    """The one way to fail. code: 2 for wrong use or a missing tool, 1 where the world failed."""
    return Exit(f"error: {error}" + (f"\nhint: {hint}" if hint else ""), code=code)


def say(text: str, quiet: bool = False) -> None:
    """A line for a person, on stderr: stdout is for results."""
    if not quiet:
        print(text, file=sys.stderr, flush=True)


def did_you_mean(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, 1)
    return f"did you mean `{near[0]}`? " if near else ""
