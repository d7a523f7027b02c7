"""Networks as companies have them: a mirror of Debian's packages, a proxy, an authority of their own, credential helpers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import trustme
from kit.registry import PASSWORD, USER, serving
from kit.repos import Desk
from kit.web import passing_on, write_authority

PACKAGE = "  network: host\n  runtime_packages: [libsctp1]\n"


def installed(desk: Desk, package: str) -> bool:
    return package in desk.docker("run", "--rm", "--entrypoint=ls", desk.reference(), "/var/lib/dpkg/info")


def test_packages_come_from_the_mirror_that_is_set(tiny: Desk) -> None:
    """The image's own sources stay what they were."""
    with passing_on() as web:
        tiny.repo.settings(f"{PACKAGE}  debian_mirror: http://127.0.0.1:{web.port}/debian/\n")
        tiny.invoke("build")
        assert any(path.startswith("/debian/pool/") and "libsctp1" in path for path in web.asked)
    assert installed(tiny, "libsctp1")
    sources = "cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null; find /etc/apt -name '*.theirs'"
    assert "127.0.0.1" not in tiny.docker("run", "--rm", "--entrypoint=sh", tiny.reference(), "-c", sources)


def test_a_company_authority_is_trusted_in_the_build_and_in_the_image(tiny: Desk) -> None:
    """Without it the mirror's certificate is refused."""
    authority = trustme.CA()
    write_authority(authority, tiny.repo.path / "authority.pem")
    with passing_on(authority) as web:
        mirror = f"{PACKAGE}  debian_mirror: https://localhost:{web.port}/debian\n"
        tiny.repo.settings(mirror)
        assert "apt-get update failed" in tiny.invoke("build", code=1).err
        tiny.repo.settings(f"{mirror}  certificate_authority: authority.pem\n")
        tiny.invoke("build")
    bundle = tiny.docker("run", "--rm", "--entrypoint=cat", tiny.reference(), "/etc/ssl/certs/ca-certificates.crt")
    assert authority.cert_pem.bytes().decode().strip() in bundle


def test_the_proxy_of_dockers_configuration_is_used_and_not_kept(tiny: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "docker"
    folder.mkdir()
    (folder / "cli-plugins").symlink_to(Path(tiny.engine.env["DOCKER_CONFIG"], "cli-plugins"))
    with passing_on() as web:
        (folder / "config.json").write_text(json.dumps({"proxies": {"default": {"httpProxy": f"http://127.0.0.1:{web.port}"}}}))
        tiny.repo.settings(PACKAGE)
        tiny.invoke("build", env={"DOCKER_CONFIG": str(folder)})
        assert any(path.startswith("http://") and "libsctp1" in path for path in web.asked)
        assert str(web.port) not in tiny.docker("image", "inspect", tiny.reference()) + tiny.docker(
            "history", "--no-trunc", tiny.reference()
        )
    assert installed(tiny, "libsctp1")


def test_a_credential_helper_gives_the_password(tiny: Desk, tmp_path: Path) -> None:
    """docker's own: a program called docker-credential-NAME on the PATH (docker-credential-helpers' protocol)."""
    folder, tools = tmp_path / "docker", tmp_path / "tools"
    folder.mkdir()
    tools.mkdir()
    helper = tools / "docker-credential-team"
    (folder / "cli-plugins").symlink_to(Path(tiny.engine.env["DOCKER_CONFIG"], "cli-plugins"))
    with serving(tiny.engine, tmp_path / "registry", auth=True) as registry:
        answer = json.dumps({"ServerURL": registry.address, "Username": USER, "Secret": PASSWORD})
        helper.write_text(f"#!/bin/sh\n[ \"$1\" = get ] && echo '{answer}'\n")
        helper.chmod(0o755)
        (folder / "config.json").write_text(json.dumps({"credHelpers": {registry.address: "team"}}))
        env = {"DOCKER_CONFIG": str(folder), "PATH": f"{tools}{os.pathsep}{tiny.engine.env['PATH']}"}
        tiny.repo.settings()
        tiny.repo.commit()
        where = f"{registry.address}/behind/a/path"
        assert tiny.invoke("push", "--registry", where, env=env).out.startswith(f"{where}/{tiny.repo.image}@sha256:")
        said = tiny.invoke("push", "--registry", where, "--tag", "again", code=1).err
        assert PASSWORD not in said
        assert "refused the login" in said


def test_the_network_of_build_steps_is_a_setting(tiny: Desk) -> None:
    """`none` has none: a package can't be installed."""
    tiny.repo.settings("  network: none\n  runtime_packages: [libsctp1]\n")
    assert "apt-get update failed" in tiny.invoke("build", code=1).err
