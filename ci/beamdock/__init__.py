"""beamdock 0.1.0: how the rooms behind tasks.py are loaded. SPDX-License-Identifier: Apache-2.0

The folder is copied whole and replaced whole. Python never imports this file: tasks.py runs it before it loads the first room.
"""

from __future__ import annotations

import contextlib
import sys
from importlib.machinery import FileFinder, SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Optional


def prepare(version: str, home: Path) -> None:
    """Let Python find the rooms in this folder with the loader below. version: that of tasks.py; home: the folder that it is in."""
    RoomLoader.version, RoomLoader.bytecode = version, bytecode_folder(home)
    sys.path_importer_cache[__path__[0]] = FileFinder(__path__[0], (RoomLoader, [".py"]))


def bytecode_folder(home: Path) -> Optional[str]:
    """The folder for the rooms' bytecode: in the project's _build, with a .gitignore for it. None where nothing can be written there,
    or only through a link, and where Python was asked to write none."""
    root = next((folder for folder in (home, *home.parents) if (folder / "rebar.config").is_file()), None)
    if not root or sys.flags.dont_write_bytecode:
        return None
    ours = root / "_build" / "beamdock"
    folder = ours / "bytecode"
    if any(part.is_symlink() for part in (ours.parent, ours, folder)):
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError), (folder / ".gitignore").open("xb") as file:
            file.write(b"*\n")
    except OSError:
        return None
    return str(folder)


class RoomLoader(SourceFileLoader):
    """Loads a room that is of the right version, with its bytecode. Invoke turns bytecode off for all modules; compiling the rooms
    at each start is half of what `invoke --list` takes beyond `import invoke`."""

    version = ""
    bytecode: Optional[str] = None

    def get_code(self, fullname: str) -> Optional[CodeType]:
        """The room's code. Raises ImportError where its first line names another version."""
        with Path(self.path).open("rb") as file:
            if not file.readline().startswith(f'"""beamdock {self.version}:'.encode()):
                raise ImportError(f"it is not of version {self.version}, as tasks.py is", path=self.path)
        before = sys.pycache_prefix, sys.dont_write_bytecode
        sys.pycache_prefix, sys.dont_write_bytecode = self.bytecode, not self.bytecode
        try:
            return super().get_code(fullname)
        finally:
            sys.pycache_prefix, sys.dont_write_bytecode = before
