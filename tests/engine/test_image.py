"""What is in the image, and what is not: configuration, secrets, size, and a node that finds what it needs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from kit.engines import SECOND_IS_LONG, Engine
from kit.repos import Desk, tiny_repo

# Files that a team's folder may well hold, each with the same mark in it; committed or not makes no difference here.
SECRET = "s3cr3t-of-the-team"
SECRETS = (
    ".env", ".env.local", "priv/.env", "config/prod.key", "src/tls.p12", "hex.config", "config/hex.config", "id_rsa", ".ssh/id_ed25519",
    "priv/id_ecdsa", ".netrc", ".erlang.cookie", "priv/.erlang.cookie", "_build/prod/lib/tiny/ebin/old.beam", "invoke.yml", "ci/token",
)  # fmt: skip


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Iterator[Desk]:
    """A release with ssl in it, of a folder full of secrets, built on each engine; prod_compiled and releaser too."""
    with tiny_repo(tmp_path_factory.mktemp("image")) as repo:
        repo.edit("rebar.config", "[tiny, sasl]", "[tiny, sasl, ssl]")
        for name in SECRETS:
            repo.write(name, f"# {SECRET}\n")
        repo.commit()
        desk = Desk(engine, repo)
        desk.invoke("build")
        yield desk
        desk.sweep()


def inspect(desk: Desk, reference: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(desk.docker("image", "inspect", "--format={{json .Config}}", reference))
    return config


def test_configuration(image: Desk) -> None:
    """A numeric user that is not root, UTF-8, one place to write to, the entry point, labels, no cookie and no version left open."""
    config = inspect(image, image.reference())
    assert str(config["User"]).split(":")[0] == "1000"
    assert config["Entrypoint"] == ["/release"]
    env = dict(pair.split("=", 1) for pair in config["Env"])
    assert env.items() >= {"LANG": "C.UTF-8", "RELX_OUT_FILE_PATH": "/tmp", "LOGGER_LEVEL": "info"}.items()
    assert not [name for name in env if re.search("COOKIE|PASSWORD|SECRET|TOKEN", name)]
    assert config["Labels"] == {
        "org.opencontainers.image.revision": image.repo.head,
        "beamdock.project": image.repo.image,
        "beamdock.origin": f"{image.repo.git('rev-list', '--max-parents=0', 'HEAD')} /",
        "beamdock.writable": "",
    }


def test_no_cookie(image: Desk) -> None:
    """No cookie file anywhere, and nothing in the release that sets one."""
    with image.engine.exported(image.reference()) as tar:
        for member in tar:
            assert not member.name.endswith(".erlang.cookie")
            if member.isfile() and member.name.startswith("opt/") and re.search(r"vm\.args|sys\.config", member.name):
                file = tar.extractfile(member)
                text = file.read() if file else b""
                assert not re.search(rb"^\s*-setcookie\s+[^$\s]", text, re.MULTILINE), member.name


@SECOND_IS_LONG
@pytest.mark.parametrize("target", ["runner", "prod_compiled", "releaser"])
def test_secrets_and_git_stay_out(image: Desk, target: str) -> None:
    """None of the folder's secrets and nothing of .git and _build, in the image and in the stages that see the context."""
    reference = image.invoke("build", f"--target={target}").out
    seen = set()
    with image.engine.exported(reference) as tar:
        for member in tar:
            seen.add(member.name)
            assert not re.search(r"(^|/)(\.git|\.ssh)(/|$)", member.name)
            if member.isfile() and member.size < 10_000 and (file := tar.extractfile(member)):
                assert SECRET.encode() not in file.read(), member.name
    assert SECRET not in image.docker("image", "history", "--no-trunc", reference)
    expected = {"runner": "opt/tiny/bin/tiny", "prod_compiled": "app/src/src/tiny.erl", "releaser": "out/root/release"}
    assert expected[target] in seen
    assert not {f"app/src/{name}" for name in ("Dockerfile", "tasks.py", "invoke.yaml", ".dockerignore")} & seen


@SECOND_IS_LONG
def test_both_entry_points(image: Desk) -> None:
    """/release and bin/NAME are the release's script, the second from the working directory too."""
    for script in ("/release", "bin/tiny", "/opt/tiny/bin/tiny"):
        run = ["run", "--detach", "--init", "--read-only", "--tmpfs=/tmp", f"--label=beamdock.project={image.repo.image}"]
        container = image.docker(*run, f"--entrypoint={script}", image.reference(), "foreground")
        image.answers(container)
        assert image.docker("exec", container, script, "ping") == "pong"
        image.sweep()


def test_tls_clients_find_authorities(image: Desk) -> None:
    container = image.start()
    assert int(image.node(container, "eval", "length(public_key:cacerts_get()).")) > 100
    image.sweep()


def size(engine: Engine, reference: str, below: str = "") -> int:
    """Bytes of the files in an image's file system."""
    with engine.exported(reference) as tar:
        return sum(member.size for member in tar if member.isfile() and member.name.startswith(below))


def test_size(image: Desk) -> None:
    """At most the base's bytes and 1.05 times the release's."""
    release = size(image.engine, image.reference(), "opt/tiny/")
    assert release > 10_000_000
    assert size(image.engine, image.reference()) <= size(image.engine, image.engine.run_base) + 1.05 * release


def test_the_release_is_of_the_commit_and_has_no_source(image: Desk) -> None:
    names = image.engine.names(image.reference())
    assert f"opt/tiny/releases/{image.repo.head}/start.boot" in names
    assert "opt/tiny/lib/tiny-1/ebin/tiny.beam" in names
    assert not [name for name in names if name.startswith("opt/tiny/lib/tiny") and name.endswith(".erl")]
