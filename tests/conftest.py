"""How the tests are shared out: a file's tests one after the other in one process, but the shapes of repos one by one."""

from __future__ import annotations

import pytest

# These two clear the second, empty engine for each test.
TOGETHER = {"test_caches.py": "test_push.py"}


# First, as xdist reads the marks in the same hook.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        name = item.path.name
        if name != "test_shapes.py":
            item.add_marker(pytest.mark.xdist_group(f"{item.path.parent.name}/{TOGETHER.get(name, name)}"))
