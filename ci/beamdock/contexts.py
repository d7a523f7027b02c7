"""beamdock 0.1.0: folders of files for a build, with contents and modes that depend on no machine. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path


def write_context(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make a folder hold exactly these files. Contents and modes are in the cache key, times are not; and so modes go by the
    contents, whatever they are on this machine: scripts (of checkouts) can be executed."""
    modes = {name: 0o755 if content.startswith(b"#!") else 0o644 for name, content in files.items()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        there = {f.relative_to(folder).as_posix(): (f.read_bytes(), f.stat().st_mode & 0o777) for f in folder.rglob("*") if f.is_file()}
        if there == {name: (content, modes[name]) for name, content in files.items()}:
            return
        fresh = Path(tempfile.mkdtemp(dir=folder.parent))
        for name, content in files.items():
            target = fresh / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        for path in [fresh, *fresh.rglob("*")]:
            path.chmod(modes.get(path.relative_to(fresh).as_posix(), 0o755))
        if folder.exists():
            folder.replace(fresh.with_suffix(".old"))
        fresh.replace(folder)
        shutil.rmtree(fresh.with_suffix(".old"), ignore_errors=True)
