"""tasks.py and its rooms, for tests of functions: after `import kit.rooms` a test has them as `from ci.beamdock.ROOM import NAME`."""

from __future__ import annotations

import importlib
import os
import sys

from kit.engines import ROOT

# tasks.py takes its variables out of the environment when it is imported; the tests of other folders need them.
before = dict(os.environ)
sys.path.insert(0, str(ROOT))
tasks = importlib.import_module("tasks")
os.environ.update(before)

ROOMS = sorted(file.stem for file in (ROOT / "ci" / "beamdock").glob("*.py") if file.stem != "__init__")
tasks.rooms(*ROOMS).__enter__()  # never left: the names stay
