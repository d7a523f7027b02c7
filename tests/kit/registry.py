"""Registries: questions to their HTTP API, and servers of our own that refuse."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import re
import subprocess
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from kit.engines import Engine, poll
from kit.web import listening

MANIFESTS = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in ("oci.image.manifest.v1", "oci.image.index.v1", "docker.distribution.manifest.v2", "docker.distribution.manifest.list.v2")
)
USER, PASSWORD = "beamdock", "not-so-secret"
HTPASSWD = f"{USER}:$2b$04$D3KUZkBiooS.i5hZLbN9TuQGLWmtATknAn92YFKAgQ8y1mIzbg3/S\n"  # bcrypt of PASSWORD


@dataclass(frozen=True)
class Registry:
    """A registry at HOST:PORT, asked over HTTP."""

    address: str

    def ask(self, path: str, method: str = "GET") -> tuple[dict[str, str], bytes]:
        request = urllib.request.Request(f"http://{self.address}/v2/{path}", method=method, headers={"Accept": MANIFESTS})
        with urllib.request.urlopen(request, timeout=300) as answer:
            return {name.lower(): value for name, value in answer.headers.items()}, answer.read()

    def manifest(self, repository: str, tag: str) -> tuple[str, dict[str, Any]]:
        """A tag's digest, computed from the bytes that the registry gives for it, and its manifest."""
        headers, body = self.ask(f"{repository}/manifests/{tag}")
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        assert headers["docker-content-digest"] == digest
        return digest, json.loads(body)

    def config(self, repository: str, tag: str) -> str:
        """The digest of an image's configuration, by way of an index too."""
        manifest = self.manifest(repository, tag)[1]
        while "config" not in manifest:
            manifest = self.manifest(repository, manifest["manifests"][0]["digest"])[1]
        return str(manifest["config"]["digest"])

    def file(self, repository: str, tag: str, name: str) -> bytes:
        """A file of an image, out of its layers."""
        for layer in reversed(self.manifest(repository, tag)[1]["layers"]):
            with tarfile.open(fileobj=io.BytesIO(self.ask(f"{repository}/blobs/{layer['digest']}")[1])) as tar:
                if name in tar.getnames():
                    content = tar.extractfile(name)
                    assert content
                    return content.read()
        raise AssertionError(f"{name} is in no layer")

    def tags(self, repository: str) -> set[str]:
        """All tags of a repository; none where there is no such repository."""
        try:
            return set(json.loads(self.ask(f"{repository}/tags/list")[1])["tags"] or ())
        except urllib.error.HTTPError as error:
            assert error.code == 404
            return set()

    def remove(self, repository: str) -> None:
        for digest in {self.manifest(repository, tag)[0] for tag in self.tags(repository)}:
            self.ask(f"{repository}/manifests/{digest}", method="DELETE")


@contextmanager
def refusing(registry: Registry, path: str, status: int) -> Iterator[str]:
    """The address of a server that passes all on to a registry, but for what is put under paths that match."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        default_request_version = "HTTP/1.1"  # by its answer to TLS BuildKit knows that this is none

        def handle_one(self) -> None:
            body = (
                b"".join(self.chunks())
                if self.headers.get("Transfer-Encoding")
                else self.rfile.read(int(self.headers.get("Content-Length", 0)))
            )
            if self.command == "PUT" and re.search(path, self.path):
                self.answer(status, {}, json.dumps({"errors": [{"code": "MANIFEST_INVALID", "message": "not this one"}]}).encode())
                return
            headers = {n: v for n, v in self.headers.items() if n.lower() not in ("transfer-encoding", "content-length", "connection")}
            connection = http.client.HTTPConnection(registry.address, timeout=300)
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            self.answer(answer.status, dict(answer.getheaders()), answer.read())
            connection.close()

        do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = handle_one

        def chunks(self) -> Iterator[bytes]:
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()

        def answer(self, code: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(code)
            for name, value in headers.items():
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with listening(Handler) as port:
        yield f"127.0.0.1:{port}"


@contextmanager
def serving(engine: Engine, folder: Path, auth: bool = False, readonly: bool = False) -> Iterator[Registry]:
    """A docker-registry of our own, of the engine's packages, on a port that it picks itself."""
    binary = next(engine.state.glob("root/**/bin/docker-registry"))
    folder.mkdir()
    (folder / "htpasswd").write_text(HTPASSWD)
    config: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "info", "formatter": "text"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "maintenance": {"readonly": {"enabled": readonly}}},
        "http": {"addr": "127.0.0.1:0"},
    }
    if auth:
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
    (folder / "config.yml").write_text(json.dumps(config))
    with (folder / "log").open("w") as log:
        server = subprocess.Popen([binary, "serve", folder / "config.yml"], stdout=log, stderr=log)
    try:
        found = poll(lambda: re.search(r"listening on (127\.0\.0\.1:\d+)", (folder / "log").read_text()))
        yield Registry(found[1] if found else "")
    finally:
        server.terminate()
        server.wait()
