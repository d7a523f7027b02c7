"""What is done once for all tests, in the process that the others are started from."""

from __future__ import annotations

import os

import kit.rooms  # noqa: F401  (the tests say `from ci.beamdock.ROOM import`)
import pytest
from kit.repos import sweep


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput") and "TEST_ENGINE_28" in os.environ:
        sweep()
