"""A git server on the loopback address, and dependencies on it."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kit.engines import poll
from kit.repos import Repo


@dataclass(frozen=True)
class GitHost:
    """git daemon, with the repos below a folder; log is what it wrote."""

    folder: Path
    port: int
    log: Path

    def repo(self, name: str) -> Repo:
        """The repo of a dependency, made if need be."""
        repo = Repo(self.folder / name, name)
        if not repo.path.exists():
            repo.path.mkdir()
            repo.git("init", "--quiet", "--initial-branch=main")
        return repo

    def library(self, name: str, files: dict[str, str] | None = None, tag: str = "v1") -> None:
        """An application with one module of its name, and these files over it; committed and tagged."""
        repo = self.repo(name)
        standard = {
            f"src/{name}.app.src": f'{{application, {name}, [{{vsn, "1"}}, {{applications, [kernel, stdlib]}}]}}.\n',
            f"src/{name}.erl": f"-module({name}).\n-export([version/0]).\nversion() -> {tag}.\n",
        }
        for path, text in {**standard, **(files or {})}.items():
            repo.write(path, text)
        repo.commit(tag)
        repo.git("tag", tag)

    def dependency(self, name: str, tag: str = "v1") -> str:
        """The entry of rebar.config's deps."""
        return f'{{{name}, {{git, "git://127.0.0.1:{self.port}/{name}", {{tag, "{tag}"}}}}}}'

    def pin(self, name: str, tag: str = "v1") -> str:
        """Its entry in rebar.lock."""
        commit = self.repo(name).git("rev-parse", f"{tag}^{{commit}}")
        return f'{{<<"{name}">>,{{git,"git://127.0.0.1:{self.port}/{name}",{{ref,"{commit}"}}}},0}}'

    def fetched(self) -> list[str]:
        """The repos that were asked for, in order, one entry for each request."""
        return re.findall(r"Request upload-pack for '/?([^']+)'", self.log.read_text())


@contextmanager
def git_host(folder: Path) -> Iterator[GitHost]:
    """A git server for as long as the test runs. RUN steps reach it with `network: host`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    repos, log = folder / "repos", folder / "git-daemon.log"
    repos.mkdir(parents=True)
    options = ["--reuseaddr", "--export-all", "--verbose", "--listen=127.0.0.1", f"--port={port}", f"--base-path={repos}"]
    with log.open("w") as out, subprocess.Popen(["git", "daemon", *options], stdout=out, stderr=out) as daemon:
        try:
            poll(lambda: "Ready to rumble" in log.read_text())
            yield GitHost(repos, port, log)
        finally:
            daemon.terminate()
