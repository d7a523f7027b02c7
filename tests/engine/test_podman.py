"""Podman in docker's clothes: the real one, of Debian's package, in the three ways it comes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kit.engines import Engine, poll
from kit.repos import Desk, refused

pytestmark = pytest.mark.long

PODMAN = """\
FROM {base} AS installed
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends podman crun netavark >/dev/null
RUN mkdir -p /out/bin /out/lib && for name in podman conmon crun; do \
      cp /usr/bin/$name /out/bin && cp -L $(ldd /usr/bin/$name | grep -o '/[^ ]*') /out/lib; done && cp /usr/lib/podman/netavark /out/bin
FROM scratch
COPY --from=installed /out /
"""
CONFIG = """\
[engine]
conmon_path = ["{0}/conmon"]
helper_binaries_dir = ["{0}/fs/bin"]
runtime = "crun"
[engine.runtimes]
crun = ["{0}/crun"]
"""


@pytest.fixture(scope="module")
def podman(engine28: Engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a podman in it that runs on any Linux, with its own libraries and its storage beside it."""
    folder = tmp_path_factory.mktemp("podman")
    (folder / "Dockerfile").write_text(PODMAN.format(base=engine28.run_base))
    engine28.docker("build", f"--output=type=local,dest={folder}/fs", str(folder))
    (folder / "containers.conf").write_text(CONFIG.format(folder))
    (loader,) = (folder / "fs/lib").glob("ld-linux*")
    storage = f" --storage-driver=vfs --root={folder}/storage --runroot={folder}/run"
    for name, options in (("podman", storage), ("conmon", ""), ("crun", "")):
        words = f"{loader} --library-path {folder}/fs/lib {folder}/fs/bin/{name}{options}"
        (folder / name).write_text(f'#!/bin/sh\nexport CONTAINERS_CONF={folder}/containers.conf\nexec {words} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


@contextmanager
def as_a_service(podman: Path) -> Iterator[dict[str, str]]:
    """Docker's own client, on podman's socket."""
    socket = podman / "podman.sock"
    service = subprocess.Popen([podman / "podman", "system", "service", "--time=0", f"unix://{socket}"], stderr=subprocess.DEVNULL)
    try:
        poll(socket.exists)
        yield {"DOCKER_HOST": f"unix://{socket}"}
    finally:
        service.terminate()
        service.wait()


@contextmanager
def as_the_command(podman: Path, before: str = "") -> Iterator[dict[str, str]]:
    """A `docker` on the PATH that is podman: a link, or with words before it the script of Debian's podman-docker."""
    docker = podman / ("script" if before else "link") / "docker"
    docker.parent.mkdir(exist_ok=True)
    docker.write_text(f'#!/bin/sh\n{before}\nexec {podman}/podman "$@"\n')
    docker.chmod(0o755)
    yield {"PATH": f"{docker.parent}:/usr/bin:/bin"}


EMULATE = '[ -e /etc/containers/nodocker ] || echo "Emulate Docker CLI using podman. Create /etc/containers/nodocker to quiet msg." >&2'


@pytest.mark.parametrize("form", ["link", "podman-docker", "socket"])
def test_podman_is_recognised(tiny: Desk, podman: Path, form: str) -> None:
    clothes = as_a_service(podman) if form == "socket" else as_the_command(podman, EMULATE if form == "podman-docker" else "")
    with clothes as environment:
        for task in ("build", "run", "ps", "stop"):
            error, hint = refused(tiny, task, env=environment)
            assert "podman" in error.lower()
            assert "Docker Engine" in hint
