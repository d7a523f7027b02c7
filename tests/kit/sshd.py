"""Git servers as companies have them: Debian's sshd in containers, each with a host key of its own; and one over HTTP with a password."""

from __future__ import annotations

import base64
import functools
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

from kit.engines import Engine, poll
from kit.repos import Repo
from kit.web import listening

# The entry is a tool too: keys and the agent come from the same image, so that the machine itself needs none of it.
SSHD = """\
FROM {base}
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends openssh-server git >/dev/null && \\
    mkdir -p /run/sshd && useradd --create-home --shell /usr/bin/git-shell --password '*' git && \\
    git config --system --add safe.directory '*'
CMD ["/usr/sbin/sshd", "-D", "-e", "-h", "/keys/host", "-o", "StrictModes=no", "-o", "AuthorizedKeysFile=/keys/user.pub", "-o", "PasswordAuthentication=no"]
"""


@dataclass(frozen=True)
class GitServer:
    """A running server: the folder of its bare repositories, where it is reached, and the line that pins its host key."""

    folder: Path
    url: str
    known_host: str

    def serve(self, name: str, files: dict[str, str], submodule: tuple[str, str] | None = None) -> str:
        """Make a repository of these files, with a submodule (path, url) where wanted; the commit."""
        work = Repo(self.folder / f"{name}.work", name)
        work.path.mkdir()
        work.git("init", "--quiet", "--initial-branch=main")
        for path, text in files.items():
            work.write(path, text)
        work.git("add", "--all")
        if submodule:
            path, target = submodule
            work.write(".gitmodules", f'[submodule "{path}"]\n\tpath = {path}\n\turl = {self.url}/{target}.git\n')
            work.git("add", "--all")
            work.git("update-index", "--add", "--cacheinfo", f"160000,{Repo(self.folder / f'{target}.work', target).head},{path}")
        work.git("commit", "--quiet", "--message", "one")
        work.git("clone", "--quiet", "--bare", ".", str(self.folder / f"{name}.git"))
        bare = Repo(self.folder / f"{name}.git", name)
        bare.git("update-server-info")
        return work.head


@dataclass(frozen=True)
class Ssh:
    """Two servers, the user's private key that both let in, one that none does, and the socket of an agent that holds the first."""

    one: GitServer
    two: GitServer
    key: Path
    stranger: Path
    agent: Path


@contextmanager
def git_servers(engine: Engine, folder: Path) -> Iterator[Ssh]:
    """Two servers on free ports of the loopback address, under two names of it, and an agent."""
    image = f"test-sshd-{uuid.uuid4().hex[:10]}"
    engine.build(SSHD.format(base=engine.run_base), image)
    containers: list[str] = []

    def start(*args: str) -> str:
        containers.append(engine.docker("run", "--detach", "--rm", *args))
        return containers[-1]

    def keygen(path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        engine.docker(
            "run", "--rm", f"--volume={path.parent}:/keys", image, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"/keys/{path.name}"
        )
        return path

    def server(name: str, host: str) -> GitServer:
        (folder / name / "repos").mkdir(parents=True)
        public = keygen(folder / name / "host").with_suffix(".pub").read_text()
        (folder / name / "user.pub").write_text((folder / "user.pub").read_text())
        volumes = [f"--volume={folder / name}:/keys:ro", f"--volume={folder / name / 'repos'}:/repos:ro"]
        container = start(*volumes, "--publish=127.0.0.1::22", image)
        port = engine.docker("port", container, "22").rpartition(":")[2]
        poll(lambda: "Server listening" in logs(container))
        return GitServer(folder / name / "repos", f"ssh://git@{host}:{port}/repos", f"[{host}]:{port} {' '.join(public.split()[:2])}\n")

    def logs(container: str) -> str:
        return subprocess.run(["docker", "logs", container], env=engine.env, capture_output=True, text=True, check=True).stderr

    try:
        key, stranger = keygen(folder / "user"), keygen(folder / "stranger")
        agent = start(f"--volume={folder}:/keys", image, "ssh-agent", "-D", "-a", "/keys/agent")
        poll((folder / "agent").exists)
        engine.docker("exec", "--env=SSH_AUTH_SOCK=/keys/agent", agent, "ssh-add", "-q", "/keys/user")
        yield Ssh(server("one", "127.0.0.1"), server("two", "localhost"), key, stranger, folder / "agent")
    finally:
        for container in containers:
            engine.docker("kill", container, check=False)
        engine.docker("rmi", "--force", image)


@contextmanager
def git_over_http(folder: Path, user: str, password: str) -> Iterator[str]:
    """The same repositories over HTTP (git's plain form of it: files), for who has the password; the address."""
    expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers["Authorization"] == expected:
                return super().do_GET()
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            return self.end_headers()

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with listening(functools.partial(Handler, directory=str(folder))) as port:
        yield f"http://127.0.0.1:{port}"
