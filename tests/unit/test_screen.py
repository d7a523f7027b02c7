"""What is shown of BuildKit's output while it builds, and at its end. The texts are what buildx 0.29 wrote."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.beamdock.screen import Screen, short

RUN = (
    '[builder 2/2] RUN --mount=type=cache,id=x-hex,target=/root/.cache     --mount=type=ssh     fetch  build as "prod" compile --deps_only'
)
PLAIN = f"""\
#0 building with "default" instance using docker driver

#1 [internal] load build definition from Dockerfile
#1 DONE 0.0s

#18 [base 1/3] FROM 127.0.0.1:5000/erlang:27@sha256:{"b" * 64}
#18 CACHED

#27 {RUN}
#27 0.422 ===> Verifying dependencies...
#27 DONE 12.5s

#30 importing cache manifest from 127.0.0.1:5000/x:main
#30 ERROR: 127.0.0.1:5000/x:main: not found

#34 exporting to image
#34 naming to docker.io/library/x:main done
#34 DONE 0.2s
"""
FAILED = f"""\
#27 {RUN}
#27 0.422 ===> Compiling src/tiny.erl failed
#27 ERROR: process "/bin/sh -c fetch build" did not complete successfully: exit code: 1
"""
EXCERPT = """\
Dockerfile:520
--------------------
 519 |     --mount=type=ssh
 520 | >>> RUN fetch
--------------------
ERROR: failed to build: failed to solve: process "/bin/sh -c fetch build" did not complete successfully: exit code: 1
"""
BLOCK = """\
------
 > [builder 2/2] RUN fetch:
0.422 ===> Compiling src/tiny.erl failed
------
"""


def seen(screen: Screen, text: str, size: int, failed: bool, explained: bool) -> tuple[str, str]:
    """What is shown meanwhile, and at the end, of a text that comes in pieces."""
    data = text.encode()
    shown = b"".join(screen.feed(data[i : i + size]) for i in range(0, len(data), size))
    assert screen.log == text
    return shown.decode(), screen.end(failed, explained).decode()


@pytest.mark.parametrize("size", [1, 7, 10000])
def test_a_line_for_each_step_that_is_over(size: int) -> None:
    shown, last = seen(Screen("steps"), PLAIN, size, failed=False, explained=False)
    assert shown.splitlines() == [
        "   cached  [base 1/3] FROM 127.0.0.1:5000/erlang:27",
        '   12.5 s  [builder 2/2] RUN fetch build as "prod" compile --deps_only',
        "    0.2 s  exporting to image",
    ]
    assert last == ""


@pytest.mark.parametrize("size", [1, 7, 10000])
@pytest.mark.parametrize(("explained", "kept"), [(True, FAILED), (False, FAILED + BLOCK + EXCERPT)])
def test_all_of_a_failure(size: int, explained: bool, kept: str) -> None:
    """Without the excerpt of the Dockerfile, and without the same again, where the error is said in our own words."""
    shown, last = seen(Screen("steps"), FAILED + BLOCK + EXCERPT, size, True, explained)
    assert shown == '    error  [builder 2/2] RUN fetch build as "prod" compile --deps_only\n'
    assert last == kept


DRAWN = "\x1b[?25h\x1b[1A\x1b[0G\x1b[?25l[+] Building 3.0s (8/9)\r\n\x1b[31m => ERROR [builder 2/2] RUN fetch   0.2s\r\n\x1b[0m\x1b[?25h"


@pytest.mark.parametrize("size", [1, 7, 10000])
@pytest.mark.parametrize(("explained", "kept"), [(True, BLOCK), (False, BLOCK + EXCERPT)])
def test_a_failure_on_a_terminal(size: int, explained: bool, kept: str) -> None:
    """What is drawn keeps little: what the failed step wrote stays."""
    shown, last = seen(Screen("all"), DRAWN + "\n" + BLOCK + EXCERPT, size, True, explained)
    assert (shown, last) == (DRAWN + "\n", kept)


def test_quiet() -> None:
    assert seen(Screen("none"), FAILED + BLOCK, 9, failed=True, explained=False) == ("", "")


def test_a_long_step_is_cut() -> None:
    assert len(short("[a 1/2] RUN " + "x" * 200)) == 100


@given(st.lists(st.sampled_from(["------\n", "---", "\n", "#1 x\n", "\x1b[0m", "a", "------", "\r\n"]), max_size=30), st.integers(1, 9))
def test_nothing_is_lost_or_shown_twice(pieces: list[str], size: int) -> None:
    text = "".join(pieces)
    assert "".join(seen(Screen("all"), text, size, failed=True, explained=False)) == text
