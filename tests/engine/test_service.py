"""The reference service: it does what it says, over HTTP and DNS, from outside of its container; and its own suites pass."""

from __future__ import annotations

import json
import re
import socket
import struct
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from kit.engines import ROOT, poll
from kit.repos import Desk

A, SRV, AAAA = 1, 33, 28
NXDOMAIN = 3


@dataclass(frozen=True)
class Running:
    """The service in a container: its HTTP and DNS ports on the loopback address."""

    desk: Desk
    container: str
    http: int
    dns: int

    def ask(self, method: str, path: str, body: object = None, raw: bytes | None = None) -> tuple[int, Any]:
        """Status and JSON of an answer."""
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")

    def query(self, name: str, kind: int) -> tuple[int, list[bytes]]:
        """The response code and the data of the answers of one DNS question over UDP."""
        question = b"".join(struct.pack("B", len(label)) + label.encode() for label in name.split(".")) + b"\0"
        packet = struct.pack(">6H", 4711, 0x0100, 1, 0, 0, 0) + question + struct.pack(">2H", kind, 1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(60)
            udp.sendto(packet, ("127.0.0.1", self.dns))
            answer = udp.recv(65535)
        number, flags, _, count, _, _ = struct.unpack(">6H", answer[:12])
        assert number == 4711
        assert flags & 0x8000, "an answer"
        records, at = [], len(packet)
        for _ in range(count):
            while answer[at] and answer[at] < 0xC0:
                at += answer[at] + 1
            at += 2 if answer[at] else 1
            got, _, _, length = struct.unpack(">2HIH", answer[at : at + 10])
            assert got == kind
            records.append(answer[at + 10 : at + 10 + length])
            at += 10 + length
        return flags & 15, records


@pytest.fixture(scope="module")
def running(service: Desk) -> Iterator[Running]:
    """The service, with a shop of two endpoints and two ports registered."""
    container = service.invoke("run", "--detach", "--publish=127.0.0.1::8080", "--publish=127.0.0.1::8053/udp").out

    def port(inside: str) -> int:
        return int(service.docker("port", container, inside).rsplit(":", 1)[1])

    there = Running(service, container, port("8080"), port("8053/udp"))

    def healthy() -> bool:
        try:
            return there.ask("GET", "/healthz")[0] == 200
        except OSError:
            return False

    poll(healthy)
    assert there.ask("PUT", "/services/shop")[0] == 201
    assert there.ask("PUT", "/services/shop/endpoints/web-1", {"ip": "10.0.0.7"})[0] == 201
    assert there.ask("PUT", "/services/shop/endpoints/web-2", {"ip": "10.0.0.8"})[0] == 201
    assert there.ask("PUT", "/services/shop/ports", PORTS)[0] == 200
    yield there
    service.sweep()


PORTS = {"http": {"port": 8000, "protocol": "tcp"}, "chat": {"port": 9000, "protocol": "udp"}}


def test_what_was_registered_is_read_back(running: Running) -> None:
    endpoints = {"web-1": {"ip": "10.0.0.7"}, "web-2": {"ip": "10.0.0.8"}}
    assert running.ask("GET", "/services/shop") == (200, {"name": "shop", "ports": PORTS, "endpoints": endpoints})
    assert running.ask("GET", "/services/shop/ports") == (200, PORTS)
    assert running.ask("GET", "/services/shop/endpoints/web-1") == (200, {"ip": "10.0.0.7"})
    assert "shop" in running.ask("GET", "/services")[1]["services"]
    assert running.ask("GET", "/healthz")[1]["status"] == "ok"


def test_dns(running: Running) -> None:
    """A answers with the endpoints' addresses, SRV with the port and a target each."""
    code, addresses = running.query("shop.sd.internal", A)
    assert (code, sorted(socket.inet_ntoa(data) for data in addresses)) == (0, ["10.0.0.7", "10.0.0.8"])
    for name, port in (("_http._tcp.shop.sd.internal", 8000), ("_chat._udp.shop.sd.internal", 9000)):
        code, services = running.query(name, SRV)
        assert (code, len(services)) == (0, 2)
        assert {struct.unpack(">H", data[4:6])[0] for data in services} == {port}
    assert running.query("SHOP.sd.INTERNAL", A)[0] == 0
    assert running.query("nothing.sd.internal", A) == (NXDOMAIN, [])
    assert running.query("shop.sd.internal", AAAA) == (0, [])


def test_changes_are_seen(running: Running) -> None:
    assert running.ask("PUT", "/services/depot")[0] == 201
    assert running.ask("PUT", "/services/depot")[0] == 200
    assert running.ask("PUT", "/services/depot/endpoints/one", {"ip": "192.0.2.1"})[0] == 201
    assert running.ask("PUT", "/services/depot/endpoints/one", {"ip": "192.0.2.2"})[0] == 200
    assert running.query("depot.sd.internal", A) == (0, [socket.inet_aton("192.0.2.2")])
    assert running.ask("DELETE", "/services/depot")[0] == 204
    assert running.ask("GET", "/services/depot")[0] == 404
    assert running.query("depot.sd.internal", A) == (NXDOMAIN, [])


WRONG: list[tuple[str, str, bytes | None, int]] = [
    ("PUT", "/services/-x", None, 400),
    ("PUT", "/services/UPPER", None, 400),
    ("PUT", f"/services/{'x' * 64}", None, 400),
    ("PUT", "/services/shop/endpoints/a", b'{"ip": "10.0.0.300"}', 400),
    ("PUT", "/services/shop/endpoints/a", b'{"ip": 7}', 400),
    ("PUT", "/services/shop/endpoints/a", b'{"ipp": "10.0.0.1"}', 400),
    ("PUT", "/services/shop/endpoints/a", b"{", 400),
    ("PUT", "/services/shop/endpoints/a", b"[]", 400),
    ("PUT", "/services/shop/endpoints/a", b'"\xff\xfe"', 400),
    ("PUT", "/services/shop/ports", b'{"http": {"port": 0}}', 400),
    ("PUT", "/services/shop/ports", b'{"http": {"port": 65536}}', 400),
    ("PUT", "/services/shop/ports", b'{"http": {"port": "80"}}', 400),
    ("PUT", "/services/shop/ports", b'{"http": {"port": 80, "protocol": "sctp"}}', 400),
    ("PUT", "/services/shop/ports", b'{"http": 80}', 400),
    ("PUT", "/services/nobody/ports", b'{"http": {"port": 80}}', 404),
    ("PUT", "/services/nobody/endpoints/a", b'{"ip": "10.0.0.1"}', 404),
    ("GET", "/services/nobody", None, 404),
    ("GET", "/elsewhere", None, 404),
    ("DELETE", "/services/shop/endpoints/nobody", None, 404),
    ("POST", "/services/shop", b"{}", 405),
]


def test_bad_input(running: Running) -> None:
    """A 4xx with a reason, and the service goes on as it was."""
    before = running.ask("GET", "/services/shop")
    for method, path, body, status in WRONG:
        got, answer = running.ask(method, path, raw=body)
        assert (got, type(answer["error"])) == (status, str), (method, path, body, answer)
        assert len(answer["error"]) > 5
    for packet in (b"", b"x", b"\0" * 12, b"\xff" * 600):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(packet, ("127.0.0.1", running.dns))
    with socket.create_connection(("127.0.0.1", running.http), timeout=300) as tcp:
        tcp.sendall(b"\x16\x03\x01 no HTTP at all\r\n\r\n")
        assert re.match(rb"HTTP/1\.[01] 4\d\d ", tcp.recv(1000))
    assert running.ask("GET", "/services/shop") == before
    assert running.query("shop.sd.internal", A)[0] == 0
    logs = running.desk.docker("logs", running.container)
    assert not re.search(r"crash|exception|error:", logs, re.IGNORECASE), logs


def test_the_node(running: Running) -> None:
    """ping and eval answer, the version is the commit's, the logs are one line an event, and it stops with 0."""
    desk = running.desk
    assert desk.node(running.container, "ping") == "pong"
    releases = desk.node(running.container, "eval", "release_handler:which_releases(permanent).")
    assert desk.repo.head in releases
    assert re.search(r"^\S+ info: .*shop: endpoint web-1 created", desk.docker("logs", running.container), re.MULTILINE)
    other = desk.start("--name=other-" + desk.repo.image, "--env=LOGGER_LEVEL=warning", "--env=HTTP_PORT=0")
    assert " info: " not in desk.docker("logs", other)
    assert "exit code 0" in desk.invoke("stop", "--name=other-" + desk.repo.image).err


def test_its_own_suites(service: Desk) -> None:
    """Run in the build base, on a copy of the sources; some tests of each were executed, and none failed."""
    copy = "cp -r /src/apps /src/config /src/rebar.* /work/ && cd /work && rebar3 eunit && rebar3 ct"
    label = f"--label=beamdock.project={service.repo.image}"
    done = service.sh(f"docker run --rm {label} --tmpfs=/work:exec --volume={ROOT}:/src:ro {service.engine.build_base} sh -c '{copy}'")
    text = re.sub(r"\x1b\[[0-9;]*m", "", done.out)
    for said in (r"(\d+) tests, 0 failures", r"All (\d+) tests passed"):
        counted = re.search(said, text)
        assert counted and int(counted[1]) > 5, text
