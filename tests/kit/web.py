"""A Debian mirror and a proxy as companies have them: both pass on to where the base images' packages come from, and remember."""

from __future__ import annotations

import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trustme

UPSTREAM = "http://deb.debian.org"
# Of a request or an answer, what is for one connection only (RFC 9110, 7.6.1).
HOP = {"connection", "host", "proxy-connection", "transfer-encoding", "content-length", "accept-encoding"}


@dataclass
class Web:
    """A running server: its port, and the paths it was asked for."""

    port: int
    asked: list[str] = field(default_factory=list)


@contextmanager
def listening(handler: Callable[..., BaseHTTPRequestHandler], context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server on the loopback address, of TLS with a context; its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def passing_on(authority: trustme.CA | None = None) -> Iterator[Web]:
    """A server on the loopback address that answers /debian/… as a mirror, and http://… as a proxy; with an authority, over TLS."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # apt wants TLS connections closed in order, and these stay open

        def do_GET(self) -> None:
            web.asked.append(self.path)
            url = self.path if self.path.startswith("http://") else UPSTREAM + self.path
            headers = {n: v for n, v in self.headers.items() if n.lower() not in HOP}
            try:
                with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=300) as answer:
                    status, found, body = answer.status, answer.headers, answer.read()
            except urllib.error.HTTPError as error:
                status, found, body = error.code, error.headers, error.read()
            self.send_response(status)
            for name, value in found.items():
                if name.lower() not in HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if authority else None
    if authority and context:
        authority.issue_cert("localhost").configure_cert(context)
    with listening(Handler, context) as port:
        web = Web(port)
        yield web


def write_authority(authority: trustme.CA, file: Path) -> None:
    authority.cert_pem.write_to_path(str(file))
