"""What is done once for all tests, in the process that the others are started from."""

from __future__ import annotations

import os
from pathlib import PurePath

import kit.rooms  # noqa: F401  (the tests say `from ci.beamdock.ROOM import`)
import pytest
from kit.repos import sweep
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

# Files whose tests are one worker's: those that want the empty engine, for which two workers would wait, and those that share what
# is built for a file once. Of all others each test goes to the next worker that is free.
TOGETHER = {
    **dict.fromkeys(("test_caches", "test_deps_image", "test_push"), "the empty engine"),
    **{file: file for file in ("test_completion", "test_image", "test_podman", "test_private", "test_service")},
}


class ByWhatTheyShare(LoadScopeScheduling):  # type: ignore[misc]
    """The largest groups first, then single tests: the workers end at about the same time."""

    def _split_scope(self, nodeid: str) -> str:
        return TOGETHER.get(PurePath(nodeid.partition("::")[0]).stem, nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling | None:
    """`--dist=loadgroup`: xdist's own does nothing with this pytest."""
    return ByWhatTheyShare(config, log) if config.getoption("dist") == "loadgroup" else None


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput") and "TEST_ENGINE_28" in os.environ:
        sweep()
