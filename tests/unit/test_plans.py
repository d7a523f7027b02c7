"""Plans: what a build, a run and a choice come to, as values, before anything talks to docker."""

from __future__ import annotations

import dataclasses
import inspect
import os
import platform
import re
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st
from invoke.exceptions import Exit
from kit.repos import Repo
from kit.terms import reduced_config
from python_on_whales import DockerClient

from ci.beamdock.build import buildx_options
from ci.beamdock.consult import read_terms
from ci.beamdock.containers import Container, ReleaseImage, choose_container
from ci.beamdock.contexts import context_path
from ci.beamdock.docker import Builder, command_of
from ci.beamdock.git import Tree
from ci.beamdock.history import is_same_project, read_origin
from ci.beamdock.model import PUSHED, Build, Caches, DepsKey, Inputs, Output, Request
from ci.beamdock.nodes import call_expression
from ci.beamdock.options import RunOptions, check_options, publish_words, run_command
from ci.beamdock.plans import plan_build, target_tags
from ci.beamdock.project import Project
from ci.beamdock.rebar import Facts, Release
from ci.beamdock.settings import Settings
from ci.beamdock.values import PATH
from unit.conftest import DESK, DOCKERFILE, Shell, project, request, said

COMMIT = "c" * 40


def plan(root: Path, flags: dict[str, Any] | None = None, target: str = "runner", tags: list[str] | None = None, **given: Any) -> Build:
    return plan_build(project(root, **given), request(target, tags or ["main"], **(flags or {})))


# -------------------------------------------------------------------------------------------------------------- tags


@pytest.mark.parametrize(
    ("dirty", "target", "more", "branch", "tags"),
    [
        ([], "runner", None, "main", [COMMIT, "main"]),
        ([], "runner", None, "", [COMMIT]),
        (["x"], "runner", None, "main", [f"{COMMIT}-dirty", "main"]),
        ([], "builder", None, "main", [f"{COMMIT}-builder"]),
        (["x"], "builder", None, "main", [f"{COMMIT}-dirty-builder"]),
        ([], "runner", ["v1", "v1.0"], "main", [COMMIT, "main", "v1", "v1.0"]),
        ([], "builder", ["b"], "", [f"{COMMIT}-builder", "b"]),
    ],
)
def test_target_tags(tmp_path: Path, dirty: list[str], target: str, more: list[str] | None, branch: str, tags: list[str]) -> None:
    """COMMIT and branch; a dirty tree never has the bare commit's; another stage never the branch's."""
    assert target_tags(project(tmp_path, dirty=dirty), target, branch, more or ()) == tuple(tags)


@pytest.mark.parametrize(
    ("registry", "image", "repository"),
    [
        ("", "", "tiny"),
        ("", "shop/orders", "shop/orders"),
        ("ghcr.io/acme", "", "ghcr.io/acme/tiny"),
        ("127.0.0.1:5000", "a/b", "127.0.0.1:5000/a/b"),
    ],
)
def test_repository(tmp_path: Path, registry: str, image: str, repository: str) -> None:
    assert project(tmp_path, registry=registry, image=image).repository == repository


@pytest.mark.parametrize(
    ("release", "image"),
    [("service_discovery", "service_discovery"), ("Edge-Node", "edge-node"), ("a.b", "a.b"), ("a b", "a-b"), ("_a_", "a")],
)
def test_an_image_is_called_like_its_release(tmp_path: Path, release: str, image: str) -> None:
    assert project(tmp_path, release).image == image


@given(st.text(st.sampled_from("ab1_.-AÜ "), min_size=1, max_size=8))
def test_an_images_name_is_always_one(release: str) -> None:
    assert re.fullmatch(rf"{PATH}", project(Path("/nowhere"), release).image)


# -------------------------------------------------------------------------------------------------------- plan_build


def test_the_arguments_are_the_settings(tmp_path: Path) -> None:
    """Those that are set, and no empty ones: the Dockerfile has its own defaults."""
    assert plan(tmp_path).build_args == {"PROFILE": "prod", "RELEASE": "tiny", "PROJECT": "tiny"}
    full = plan(
        tmp_path, image="shop/orders", build_base="b", run_base="r", build_packages=["x", "y"], runtime_packages=["z"], profile="p",
        debian_mirror="http://m/debian", rebar3="rebar3", prebuild="make x && true", build_env={"A": "b"},
    )  # fmt: skip
    assert full.build_args == {
        "PROFILE": "p", "RELEASE": "tiny", "PROJECT": "shop-orders", "BUILD_BASE": "b", "RUN_BASE": "r", "BUILD_PACKAGES": "x y",
        "RUNTIME_PACKAGES": "z", "DEBIAN_MIRROR": "http://m/debian", "REBAR3": "rebar3", "PREBUILD": "make x && true", "BUILD_ENV": "A=b",
    }  # fmt: skip


@given(
    st.dictionaries(st.from_regex(r"[A-Z][A-Z_]{0,5}", fullmatch=True), st.text(st.sampled_from("ab '\"$`\\\n#=é"), max_size=8), max_size=3)
)
@settings(max_examples=15)
def test_the_builds_environment_is_for_a_shell(build_env: dict[str, str]) -> None:
    """BUILD_ENV is lines that a shell takes as assignments: each value comes out as it went in."""
    lines = plan(Path("/nowhere"), build_env=build_env).build_args.get("BUILD_ENV", "")
    script = "set -a\n" + lines + "\nexec env -0\n"
    done = subprocess.run(["sh", "-c", script], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True)
    shown = dict(pair.split("=", 1) for pair in done.stdout.split("\0") if pair)
    assert {name: shown[name] for name in build_env} == build_env


def test_a_flags_argument_goes_over_a_settings(tmp_path: Path) -> None:
    made = plan(tmp_path, {"build_arg": ["A=2", "B==x=y", "C="]}, build_args={"A": "1", "D": "4", "PROFILE": "q"}).build_args
    assert {name: made[name] for name in "ABCD"} == {"A": "2", "B": "=x=y", "C": "", "D": "4"}
    assert made["PROFILE"] == "q"


def test_an_argument_without_a_value(tmp_path: Path) -> None:
    with pytest.raises(Exit) as caught:
        plan(tmp_path, {"build_arg": ["TOKEN"]})
    assert (caught.value.code, said(caught)) == (2, "error: --build-arg TOKEN has no value\nhint: --build-arg NAME=VALUE")


@pytest.mark.parametrize("tag", ["", "a/b", "-a", ".a", "a" * 129, "ü", "a:b", "a b", "a\n"])
def test_what_can_be_no_tag(tmp_path: Path, tag: str) -> None:
    with pytest.raises(Exit, match="can't be a tag") as caught:
        plan(tmp_path, tags=["main", tag])
    assert caught.value.code == 2


def test_latest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Exit, match="`latest` is never written") as caught:
        plan(tmp_path, tags=["main", "latest"])
    assert (caught.value.code, "\nhint: --tag with another name" in said(caught)) == (2, True)


def test_a_stage_called_dirty_is_refused(tmp_path: Path) -> None:
    """COMMIT-dirty is the tag of a tree with edits."""
    with pytest.raises(Exit, match="a stage can't be called dirty") as caught:
        target_tags(project(tmp_path), "dirty", "main")
    assert caught.value.code == 2


def test_tags_are_references_each_once(tmp_path: Path) -> None:
    assert plan(tmp_path, tags=["b", "a", "b"], registry="r.example").tags == ("r.example/tiny:b", "r.example/tiny:a")


@pytest.mark.parametrize(("target", "labelled"), [("runner", True), ("releaser", True), ("builder", False), ("tarball", False)])
def test_labels(tmp_path: Path, target: str, labelled: bool) -> None:
    """An image says its commit and project; the dependencies' does not, for they are the same in many commits."""
    labels = plan(tmp_path, target=target, dirty=["x"]).labels
    assert labels == (
        {"org.opencontainers.image.revision": f"{COMMIT}-dirty", "beamdock.project": "tiny", "beamdock.writable": ""} if labelled else {}
    )


def folder(made: Build, name: str) -> str:
    """Where a context is written."""
    return str(context_path(made.project.context_folder, name, made.contexts[name]))


def test_two_plans_share_no_folder_with_other_files(repo: Repo) -> None:
    """Each names its own commit's, whatever HEAD is by now; the same files are in the same folder."""
    (version,) = read_terms("{git, long}.")
    first = repo.head
    second = repo.commit("second")
    one, two, again = (plan(repo.path, version_term=version, commit=commit) for commit in (first, second, first))
    assert [made.contexts["git"]["HEAD"].decode().strip() for made in (one, two)] == [first, second]
    assert folder(one, "git") == folder(again, "git") != folder(two, "git")
    assert folder(one, "deps") == folder(two, "deps")
    assert buildx_options(one, DESK)["build_contexts"] == {name: folder(one, name) for name in ("git", "deps")}


def test_contexts_without_content_are_left_out(repo: Repo) -> None:
    """A fixed version reads no history, so the key has none; `git` is there where it's read."""
    assert set(plan(repo.path).contexts) == {"deps"}
    assert set(plan(repo.path, version_term=read_terms("{git, long}.")[0], commit=repo.head).contexts) == {"deps", "git"}


def test_an_app_src_that_reads_the_history(repo: Repo) -> None:
    repo.write("apps/a/src/a.app.src", "{application, a, [{vsn, git}]}.")
    assert "packed-refs" in plan(repo.path, commit=repo.head).contexts["git"]
    repo.write("apps/a/src/a.app.src", '{application, a, [{vsn, "1"}]}.')
    repo.write("_build/default/lib/b/src/b.app.src", "{application, b, [{vsn, git}]}.")
    assert "git" not in plan(repo.path).contexts


def test_a_certificate_authority(repo: Repo) -> None:
    """A context with the one file, whatever it's called, of the project's folder, of home or of anywhere."""
    ours, at_home = (trustme.CA().cert_pem.bytes() for _ in range(2))
    repo.write("certs/company.pem", ours.decode())
    home = Path(os.environ["HOME"])
    (home / "company.pem").write_bytes(at_home)
    for where, content in (("certs/company.pem", ours), (str(repo.path / "certs/company.pem"), ours), ("~/company.pem", at_home)):
        made = plan(repo.path, certificate_authority=where)
        assert made.contexts["authority"] == {"authority.crt": content}
        assert buildx_options(made, DESK)["build_contexts"]["authority"] == folder(made, "authority")
    assert "authority" not in plan(repo.path).contexts


def test_of_an_authority_only_certificates_go_in(repo: Repo) -> None:
    """Whatever else its file says stays out of the image; a file with a key, or without a certificate, is refused."""
    one, other = trustme.CA(), trustme.CA()
    certificates = one.cert_pem.bytes() + other.cert_pem.bytes()
    (repo.path / "ca.pem").write_bytes(b"# the password is s3cr3t\r\n" + one.cert_pem.bytes() + b"subject=x\n" + other.cert_pem.bytes())
    assert plan(repo.path, certificate_authority="ca.pem").contexts["authority"] == {"authority.crt": certificates}
    key, binary = one.private_key_pem.bytes(), ssl.PEM_cert_to_DER_cert(one.cert_pem.bytes().decode())
    cut = certificates.replace(b"\n", b"\nAAAA", 1)
    wrong = [
        (key, "has a private key in it"), (certificates + key, "has a private key in it"), (b"PEM", "has no certificate in it"),
        (b"", "has no certificate in it"), (binary, "has no certificate in it"), (cut, "has a certificate in it that can't be read"),
    ]  # fmt: skip
    for content, error in wrong:
        (repo.path / "ca.pem").write_bytes(content)
        with pytest.raises(Exit) as caught:
            plan(repo.path, certificate_authority="ca.pem")
        assert (caught.value.code, said(caught).startswith(f"error: {repo.path}/ca.pem {error} (`certificate_authority`")) == (2, True)
    for name, error in (("none", "does not exist"), ("config", "is a folder, and should be a file")):
        (repo.path / "config").mkdir(exist_ok=True)
        with pytest.raises(Exit, match=f"{repo.path}/{name} {error}"):
            plan(repo.path, certificate_authority=name)


# ----------------------------------------------------------------------------------------------------------- options

EVERYTHING: dict[str, Any] = {
    "registry": "r.example", "network": "host", "platform": "linux/arm64", "provenance": True, "secrets": ["id=a,src=/etc/hosts"], "ssh": "default",
    "build_args": {"TOKEN": "it's $x"}, "dockerfile": "docker/Dockerfile",
}  # fmt: skip


@pytest.mark.parametrize("given", [{}, EVERYTHING], ids=["plain", "everything"])
def test_options_are_parameters_of_python_on_whales(tmp_path: Path, given: dict[str, Any]) -> None:
    options = buildx_options(plan(tmp_path, **given), DESK)
    inspect.signature(DockerClient().buildx.build).bind(**options)
    assert "push" not in options and "load" not in options  # these come with the builder's kind


def test_the_command(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is run and what --dry-run prints: each setting and flag once, in docker's own words."""
    monkeypatch.setenv("SSH_AUTH_SOCK", str(repo.path))
    made = plan(repo.path, {"no_cache": True, "pull": True}, tags=["main", COMMIT], **EVERYTHING)
    words = command_of(buildx_options(made, DESK))
    assert words[:3] == ["docker", "buildx", "build"]
    assert words[-1] == str(repo.path)
    text = "\n".join(w if not w.startswith("--") else f"\n{w}" for w in words[3:-1]).replace("=", "\n", 0)
    pairs = {tuple(re.split(r"[\n=]", option.strip(), maxsplit=1)) for option in text.split("\n\n")}
    assert {
        ("--file", str(repo.path / "docker/Dockerfile")), ("--target", "runner"), ("--network", "host"), ("--ssh", "default"),
        ("--tag", "r.example/tiny:main"), ("--tag", f"r.example/tiny:{COMMIT}"), ("--build-arg", "TOKEN=it's $x"),
        ("--build-arg", "PROFILE=prod"),
        ("--build-context", f"deps={folder(made, 'deps')}"), ("--label", "beamdock.project=tiny"), ("--secret", "id=a,src=/etc/hosts"),
        ("--output", "type=image,compression=uncompressed"),
    } <= pairs, pairs  # fmt: skip
    assert {"--no-cache", "--pull"} <= set(words)
    assert "linux/arm64" in " ".join(words)


def test_the_plain_command_has_no_switches(tmp_path: Path) -> None:
    words = command_of(buildx_options(plan(tmp_path), DESK))
    assert not {"--no-cache", "--pull", "--push", "--load", "--ssh", "--network", "--platform", "--secret"} & {
        w.split("=")[0] for w in words
    }


def test_a_push_goes_by_what_runs_it(tmp_path: Path) -> None:
    """Where a builder pushes by itself, no copy is left in the engine."""
    made = plan(tmp_path, {"output": PUSHED})
    told = [buildx_options(made, Builder("docker", direct))["output"] for direct in (True, False)]
    assert told[1] == {"type": "image", "push": "true"}
    assert told[0] == {**told[1], "store": "false", "compression": "gzip", "force-compression": "true"}


# ---------------------------------------------------------------------------------------------------------- deps_key


def key(root: Path, dockerfile: str = DOCKERFILE, flags: dict[str, Any] | None = None, **given: Any) -> str:
    given.setdefault("image", "shop")
    return plan(root, flags, "builder", dockerfile_text=dockerfile, **given).deps_key.checksum


def test_the_key_is_a_sha256(repo: Repo) -> None:
    assert re.fullmatch("[0-9a-f]{64}", key(repo.path))
    assert key(repo.path) == key(repo.path)


BUILDER = DOCKERFILE.index("ARG STORE")


@pytest.mark.parametrize(
    "declared",
    ["ARG A", "ARG A=0", "  arg A=0", "ARG OTHER A", "ARG OTHER \\ \n  # why\n  A=0", 'ARG "A=x y"', "ARG RUN_BASE=x A", "ONBUILD ARG A"],
)
def test_a_build_argument_counts_where_it_is_declared(repo: Repo, declared: str) -> None:
    dockerfile = f"{DOCKERFILE[:BUILDER]}{declared}\n{DOCKERFILE[BUILDER:]}"
    assert key(repo.path, dockerfile, build_args={"A": "1"}) != key(repo.path, dockerfile)


def test_a_stage_whose_name_begins_as_the_builders(repo: Repo) -> None:
    """It is not taken for the builder."""
    first = DOCKERFILE.replace("FROM base AS builder\n", "FROM base AS builder-base\nRUN true\n\nFROM builder-base AS builder\n")
    assert key(repo.path, first.replace("ARG STORE", "RUN make x\nARG STORE", 1)) != key(repo.path, first)


DECIDES: list[tuple[str, dict[str, str], dict[str, Any]]] = [
    ("rebar.config", {"rebar.config": "{deps, [a]}."}, {}),
    ("rebar.lock", {"rebar.lock": "[]."}, {}),
    ("rebar.config.script", {"rebar.config.script": "CONFIG."}, {}),
    ("an application's rebar.config", {"apps/a/rebar.config": "{deps, [b]}."}, {}),
    ("an application's script", {"lib/a/rebar.config.script": "CONFIG."}, {}),
    ("an empty file", {"apps/a/rebar.config": ""}, {}),
    ("the profile", {}, {"profile": "other"}),
    ("the base", {}, {"build_base": "erlang:28"}),
    ("the packages", {}, {"build_packages": ["libssl-dev"]}),
    ("the platform", {}, {"platform": "linux/riscv64"}),
    ("a checkout", {"_checkouts/x/src/x.erl": "-module(x)."}, {}),
    ("the environment", {}, {"build_env": {"A": "1"}}),
    ("the mirror", {}, {"debian_mirror": "http://m/debian"}),
    ("a rebar3 of the repo's", {"rebar3": "x"}, {"rebar3": "./rebar3"}),
    ("a named file", {"config/a.deps": "x"}, {"dependency_files": ["config/*"]}),
    ("the authority", {"ca.pem": trustme.CA().cert_pem.bytes().decode()}, {"certificate_authority": "ca.pem"}),
]


@pytest.mark.parametrize(("files", "given"), [case[1:] for case in DECIDES], ids=[case[0] for case in DECIDES])
def test_the_key_changes_with_what_decides(repo: Repo, files: dict[str, str], given: dict[str, Any]) -> None:
    before = key(repo.path)
    for name, text in files.items():
        repo.write(name, text)
    assert key(repo.path, **given) != before


UMBRELLA = {
    "rebar.config": "{deps, [a]}.\n",
    "apps/one/rebar.config": '{deps, [b, {a, "2"}, two]}.\n',
    "apps/two/src/two.app.src": "{application, two, []}.\n",
    "_checkouts/c/rebar.config": "{deps, [d]}.\n",
    "examples/x/rebar.config": "{deps, [e]}.\n",
}


@pytest.mark.parametrize(
    ("files", "deps"),
    [
        ({}, "{deps,[a,b]}.\n"),
        ({"rebar.lock": "[].\n"}, "{deps,[a]}.\n"),
        ({"rebar.config": "{plugins, [p]}.\n"}, '{plugins,[p]}.\n{deps,[b,{a,"2"}]}.\n'),
        ({"rebar.config.script": "CONFIG."}, "{deps, [a]}.\n"),
        ({"apps/one/rebar.config": "{deps, ["}, "{deps,[a]}.\n"),
    ],
    ids=["no lock", "a lock", "none at the top", "a script", "not readable"],
)
def test_the_dependencies_of_applications(repo: Repo, files: dict[str, str], deps: str) -> None:
    """Where no lock has them they stand beside those of the top; not an application of the project itself, nor what is none."""
    for name, text in {**UMBRELLA, **files}.items():
        repo.write(name, text)
    assert plan(repo.path).contexts["deps"]["rebar.config"].decode() == deps


@pytest.mark.parametrize(
    "stage", ["FROM ${BUILD_BASE} AS base", "FROM base AS builder", "/scripts/prepare builder", "ARG BUILD_BASE=", "--deps_only"]
)
def test_the_key_changes_with_the_builders_instructions(repo: Repo, stage: str) -> None:
    assert stage in DOCKERFILE
    assert key(repo.path, DOCKERFILE.replace(stage, f"{stage}x", 1)) != key(repo.path)


DOES_NOT: list[tuple[str, dict[str, str], dict[str, Any]]] = [
    ("README", {"README.md": "x"}, {}),
    ("a source", {"src/a.erl": "-module(a).", "apps/a/src/a.erl": "x"}, {}),
    ("configuration", {"config/sys.config.src": "[]."}, {}),
    ("invoke.yaml", {"invoke.yaml": "beamdock: {}"}, {}),
    ("_build", {"_build/default/rebar.config": "x"}, {}),
    ("run_base", {}, {"run_base": "debian:12"}),
    ("runtime packages", {}, {"runtime_packages": ["a"]}),
    ("the prebuild", {}, {"prebuild": "make x"}),
    ("a file that is not named", {"config/a.deps": "x", "rebar3": "x", "ca.pem": "x"}, {}),
    ("the release", {}, {"release": "other"}),
    ("the commit", {}, {"commit": "d" * 40}),
    ("edits", {}, {"dirty": ["x"]}),
    ("the registry", {}, {"registry": "r.example"}),
    ("provenance", {}, {"provenance": True}),
    ("a build argument that no instruction of theirs declares", {}, {"build_args": {"GIT_SHA": "1"}}),
    ("a proxy", {}, {"build_args": {"HTTP_PROXY": "http://p"}}),
    ("this machine's platform, spelt out", {}, {"platform": f"linux/{'amd64' if platform.machine() == 'x86_64' else 'arm64'}"}),
]


@pytest.mark.parametrize(("files", "given"), [case[1:] for case in DOES_NOT], ids=[case[0] for case in DOES_NOT])
def test_the_key_stays_with_what_does_not(repo: Repo, files: dict[str, str], given: dict[str, Any]) -> None:
    before = key(repo.path)
    for name, text in files.items():
        repo.write(name, text)
    assert key(repo.path, **given) == before


def test_the_key_stays_with_the_later_stages(repo: Repo) -> None:
    before, builder, after = DOCKERFILE.partition("--deps_only\n")
    assert key(repo.path, before + builder + after.replace("RUN ", "RUN true; ").replace("ENV ", "ENV A=b ")) == key(repo.path)


def test_the_key_stays_with_comments_and_the_runners_base(repo: Repo) -> None:
    assert key(repo.path, DOCKERFILE.replace("# The project, compiled.", "# The project.")) == key(repo.path)
    assert key(repo.path, "# Mine.\n\n" + DOCKERFILE) == key(repo.path)
    assert key(repo.path, re.sub("ARG RUN_BASE=.*", "ARG RUN_BASE=debian:12", DOCKERFILE)) == key(repo.path)


def test_the_key_changes_with_what_a_named_file_says(repo: Repo) -> None:
    """And with the authority's and rebar3's contents, not with their names alone."""
    given: dict[str, Any] = {"dependency_files": ["a"], "rebar3": "./rebar3", "certificate_authority": "ca.pem"}
    before, after = ([("a", n), ("rebar3", n), ("ca.pem", trustme.CA().cert_pem.bytes().decode())] for n in "12")
    for name, text in before:
        repo.write(name, text)
    keys = [key(repo.path, **given)]
    for name, text in after:
        repo.write(name, text)
        keys.append(key(repo.path, **given))
    assert len(set(keys)) == 4


def test_the_key_stays_with_the_release_where_no_image_is_set(repo: Repo) -> None:
    assert key(repo.path, image="", release="one") == key(repo.path, image="", release="two")


def test_the_key_has_no_seams(repo: Repo) -> None:
    """Neither a file of another name nor one file that holds what two did has the same key."""
    repo.write("apps/a/rebar.config", "x")
    one = key(repo.path)
    (repo.path / "apps/a").rename(repo.path / "apps/b")
    assert key(repo.path) != one
    repo.write("apps/a/rebar.config", "1")
    two = key(repo.path)
    (repo.path / "apps/b/rebar.config").unlink()
    repo.write("apps/a/rebar.config", "1apps/b/rebar.configx")
    assert key(repo.path) != two


def test_a_dockerfile_without_a_builder_counts_whole(tmp_path: Path) -> None:
    assert key(tmp_path, "FROM a\nRUN x\n") != key(tmp_path, "FROM a\nRUN y\n")


# --------------------------------------------------------------------------------------------------------------- run

PORTS = [
    ("8080", "127.0.0.1:8080:8080"),
    ("8053/udp", "127.0.0.1:8053:8053/udp"),
    ("53:8053", "127.0.0.1:53:8053"),
    ("53:8053/udp", "127.0.0.1:53:8053/udp"),
    ("0.0.0.0:80:8080", "0.0.0.0:80:8080"),
    ("[::1]:80:8080/tcp", "[::1]:80:8080/tcp"),
    ("127.0.0.1::8080", "127.0.0.1::8080"),
    ("0:8080", "127.0.0.1:0:8080"),
    ("", ""),
    ("nonsense", "nonsense"),
    ("8000-8009:8000-8009", "127.0.0.1:8000-8009:8000-8009"),
    ("8000-8009", "127.0.0.1:8000-8009:8000-8009"),
    ("8000-8009:80/udp", "127.0.0.1:8000-8009:80/udp"),
]


@pytest.mark.parametrize(("port", "docker"), PORTS)
def test_published(port: str, docker: str) -> None:
    """On the loopback address, unless one is given."""
    assert publish_words(port) == docker


@pytest.mark.parametrize(
    ("option", "error"),
    [
        *((f"--publish={port}", f"--publish={port}") for port in ("99999", "", "x", "80:", "0", "80/xyz", "1-70000", "80:70000:1:1")),
        ("--env=", "--env="),
        ("--env==x", "can't be the name"),
        ("--env=A B=c", "A B can't be the name"),
        ("--env-file=/nonexistent", "--env-file=/nonexistent"),
        ("--env-file=/tmp", "--env-file=/tmp"),
        ("--env-file=wrong", "wrong:2: B C can't be the name"),
        *((f"--memory={value}", f"--memory={value}") for value in ("x", "-1", "5x", "m")),
        *((f"--cpus={value}", f"--cpus={value}") for value in ("x", "-1", "1,5", ".")),
        *((f"--volume={value}", f"--volume={value}") for value in ("", ":", "a", "a:b", "/a:", "/a:/b:ro:x")),
        ("--name=a b", "--name=a b"),
    ],
)
def test_an_option_that_docker_would_refuse(shell: Shell, option: str, error: str) -> None:
    """It is named, before docker is asked; there is none here."""
    shell.repo.write("wrong", "# A x\nB C=d\n")
    for task in (["run"], ["run", "--detach"]):
        said = shell.invoke(*task, option, code=2, env={"DOCKER_HOST": "tcp://127.0.0.1:1"}).err
        assert re.match(rf"error: .*{re.escape(error)}", said)
        assert "\nhint: " in said


@pytest.mark.parametrize(
    "option",
    [
        "--publish=80:8080",
        "--publish=[::1]::1-2/UDP",
        "--env=A=",
        "--env=A",
        "--memory=1.5gib",
        "--memory=0",
        "--cpus=.5",
        "--volume=/a",
        "--volume=./a:/b:ro",
    ],
)
def test_an_option_that_docker_takes(option: str) -> None:
    name, _, value = option[2:].partition("=")
    check_options(RunOptions(**{name: (value,) if name in ("publish", "env", "volume") else value}))  # type: ignore[arg-type]


def test_what_the_running_node_is_asked(shell: Shell) -> None:
    """attach needs a terminal, and names what does not; arguments of rpc are terms."""
    said = shell.invoke("attach", code=2).err
    assert re.match("error: attach needs a terminal\nhint: invoke eval", said)
    assert "[a is no Erlang term" in shell.invoke("rpc", "m", "f", "--", "1", "[a", code=2).err
    assert call_expression("a b", "f", ["1", '[x, "y"]']) == "apply('a b', f, [1, [x,\"y\"]])"
    assert "--time x" in shell.invoke("stop", "--time", "x", code=2).err


def test_one_project_in_two_clones(repo: Repo, tmp_path: Path) -> None:
    """The first commits of the history and the folder in it; a shallow clone does not know, and may be any."""
    origin = read_origin(repo.path)
    assert origin == f"{repo.head} /"
    repo.commit("second")
    repo.git("clone", "--quiet", str(repo.path), str(tmp_path / "clone"))
    repo.git("clone", "--quiet", "--depth=1", f"file://{repo.path}", str(tmp_path / "shallow"))
    assert read_origin(tmp_path / "clone") == read_origin(repo.path) == origin
    assert read_origin(tmp_path / "shallow") == ""
    assert is_same_project(origin, "") and is_same_project(origin, f"{'0' * 40} {origin}")
    (tmp_path / "clone" / "sub").mkdir()
    assert not is_same_project(origin, read_origin(tmp_path / "clone" / "sub"))
    assert not is_same_project(origin, f"{'0' * 40} /")


def command(
    options: dict[str, Any] | None = None, config: dict[str, Any] | None = None, mode: tuple[str, ...] = (), **given: Any
) -> list[str]:
    image = ReleaseImage("img:tag", config or {})
    return run_command(project(Path("/nowhere"), **given), RunOptions(**(options or {})), image, mode, ["a", "b c"])


def test_run_is_safe_by_default() -> None:
    words = command(config={"User": "1000:1000", "Env": ["LANG=C.UTF-8"]})
    assert words == [
        "run", "--init", "--tmpfs=/tmp", "--label=beamdock.project=tiny", "--ulimit=nofile=16384:16384", "--read-only",
        "img:tag", "a", "b c",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("user", "forced"),
    [("", True), ("0", True), ("root", True), ("0:0", True), ("root:app", True), ("1000", False), ("app", False), ("1000:0", False)],
)
def test_never_as_root(user: str, forced: bool) -> None:
    assert ("--user=1000:1000" in command(config={"User": user})) == forced


@pytest.mark.parametrize(
    ("env", "forced"),
    [(None, True), ([], True), (["A=b"], True), (["LANG=C.UTF-8"], False), (["LC_ALL=C"], False), (["LANGUAGE=de"], True)],
)
def test_always_with_a_locale(env: list[str] | None, forced: bool) -> None:
    assert ("--env=LANG=C.UTF-8" in command(config={"Env": env})) == forced


def test_flags_in_dockers_words() -> None:
    options = {
        "publish": ("8080", "53:53/udp"), "env": ("A=b c", "HOME"), "env_file": ("f",), "volume": ("/a:/b",), "network": "n",
        "memory": "1g", "cpus": "1.5", "writable": True,
    }  # fmt: skip
    words = command(options, nofile=9)
    for word in ["--publish=127.0.0.1:8080:8080", "--publish=127.0.0.1:53:53/udp", "--env=A=b c", "--env=HOME", "--env-file=f",
                 "--volume=/a:/b",
                 "--network=n", "--memory=1g", "--cpus=1.5", "--ulimit=nofile=9:9"]:  # fmt: skip
        assert words.count(word) == 1
    assert "--read-only" not in words
    assert words[-3:] == ["img:tag", "a", "b c"]


def test_a_users_environment_goes_over_the_locale() -> None:
    """docker takes the last: --env LANG=… of the command line is behind ours."""
    words = command({"env": ("LANG=de_DE.UTF-8",)})
    assert words.index("--env=LANG=de_DE.UTF-8") > words.index("--env=LANG=C.UTF-8")


def test_term_goes_with_a_terminal() -> None:
    assert "--env=TERM" in command(mode=("--interactive", "--tty"))
    assert "--env=TERM" not in command(mode=("--detach",))


# --------------------------------------------------------------------------------------------------------- container


def row(name: str, identity: str) -> Container:
    return Container(identity, name, f"{name}:main", "running", "Up 2 minutes")


ONE, TWO = row("sd-main", "3c45f1a0c2"), row("sd-lab", "a917")


@pytest.mark.parametrize(
    ("containers", "name", "found"),
    [([ONE], "", ONE), ([ONE], "sd-main", ONE), ([ONE, TWO], "sd-lab", TWO), ([ONE, TWO], "3c45", ONE), ([ONE, TWO], "a917", TWO)],
)
def test_the_container_that_is_meant(containers: list[Container], name: str, found: Container) -> None:
    assert choose_container(containers, name) == found


def test_a_name_goes_over_an_id() -> None:
    named = row("a", "ffff")
    assert choose_container([TWO, named], "a") == named


@pytest.mark.parametrize(
    ("containers", "name", "code", "error"),
    [
        ([], "", 1, "error: no container of this project is running\nhint: invoke run --detach"),
        ([ONE], "x", 1, "error: no container called x is running\nhint: invoke run --detach"),
        ([ONE], "sd", 1, "error: no container called sd is running\nhint: "),
        ([ONE, TWO], "", 2, "error: this project has 2 containers:\n  sd-main  sd-main:main  Up 2 minutes\n  sd-lab  sd-lab:main  "
         "Up 2 minutes\nhint: choose one: --name sd-main"),
    ],
)  # fmt: skip
def test_no_container_or_several(containers: list[Container], name: str, code: int, error: str) -> None:
    with pytest.raises(Exit) as caught:
        choose_container(containers, name)
    assert (caught.value.code, said(caught).startswith(error)) == (code, True)


def test_plans_are_values() -> None:
    """Frozen, and equal where they say the same."""
    for kind in (Settings, Project, Build, Caches, DepsKey, Inputs, Output, Request, Release, Facts, Tree, RunOptions):
        assert dataclasses.is_dataclass(kind)
        assert kind.__dataclass_params__.frozen  # type: ignore[union-attr]
    assert plan(Path("/nowhere")) == plan(Path("/nowhere"))


# ------------------------------------------------------------------------------------------------- what decides the dependencies

CONFIG = """\
%% why
{erl_opts, [debug_info]}.
{deps, [{jsx, "3.1.0"}, {'Odd-name', {git, "https://example.com/x", {tag, "v1"}}}]}.
{plugins, [{rebar3_hex, "7.0.8"}]}.
{overrides, [{override, jsx, [{erl_opts, [debug_info]}]}]}.
{relx, [{release, {a, "1"}, [a]}]}.
{profiles, [{prod, [{relx, [{mode, prod}]}, {deps, [recon]}]}, {test, [{deps, [meck]}]}]}.
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("%% why\n", ""),
        ("[debug_info]}.\n{deps", "[debug_info, {d, 'X'}]}.\n{deps"),
        ('{release, {a, "1"}, [a]}', '{release, {a, "2"}, [a, sasl]}'),
        ("{mode, prod}", "{dev_mode, false}"),
        ("[meck]", "[meck, proper]"),
        ('{jsx, "3.1.0"}', '{jsx,\n  "3.1.0"}'),
        ("'Odd-name'", "'\\x4fdd-name'"),
    ],
)
def test_what_does_not_concern_dependencies_leaves_the_reduced_config(old: str, new: str) -> None:
    changed = CONFIG.replace(old, new)
    assert changed != CONFIG
    assert reduced_config(changed, "prod") == reduced_config(CONFIG)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("3.1.0", "3.1.1"),
        ("v1", "v2"),
        ("7.0.8", "7.0.9"),
        ("{override, jsx, [{erl_opts, [debug_info]}]}", "{override, jsx, [{erl_opts, []}]}"),
        ("[recon]", "[recon, gproc]"),
        ("{plugins", "{hex, [{repos, []}]}.\n{plugins"),
        ("{plugins", "{nobody_knows, 1}.\n{plugins"),
    ],
)
def test_what_decides_dependencies_changes_the_reduced_config(old: str, new: str) -> None:
    assert reduced_config(CONFIG.replace(old, new), "prod") != reduced_config(CONFIG)


def test_the_reduced_config_reads_back_as_the_same_terms() -> None:
    kept = {"deps", "plugins", "overrides", "profiles"}
    reduced = read_terms(reduced_config(CONFIG))
    assert [t[0] for t in reduced] == [t[0] for t in read_terms(CONFIG) if t[0] in kept]
    assert reduced[0] == read_terms(CONFIG)[1]


@pytest.mark.parametrize(
    "term",
    ['{deps, [{a, #{"x" => 1, x => {}}}]}', "{x, fun lists:map/2}", '{x, <<"\\x{fc}", 1:7>>}', "{x, [a|b]}", "{[x], y}", "{#{}, 1}", "x"],
)
def test_terms_that_python_has_no_type_for_are_reduced_too(term: str) -> None:
    """Their layout goes, they stay."""
    reduced = reduced_config(f"%% why\n {term.replace(',', ' , ')} . {{erl_opts, []}}.")
    assert reduced == reduced_config(f"{term}.")
    assert read_terms(reduced) == read_terms(f"{term}.")


@pytest.mark.parametrize(
    "text",
    ["{deps, [}.", '%% coding: Latin-1\n{x, "\udcfc"}.'],
)
def test_a_config_that_can_not_be_reduced_safely_goes_in_whole(text: str) -> None:
    assert reduced_config(text) == text
