"""push and deps-image: what is in the registry afterwards, and what other machines make of it."""

from __future__ import annotations

import base64
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kit.engines import SECOND_IS_LONG, Engine, poll
from kit.registry import PASSWORD, USER, Registry, serving
from kit.repos import PLAIN, TINY_CONFIG, Desk, tiny_repo


@pytest.fixture(scope="module")
def pusher(tmp_path_factory: pytest.TempPathFactory, engine28: Engine) -> Iterator[Desk]:
    """A repo whose image goes to the registry, pushed once so that later pushes have all in the cache."""
    with tiny_repo(tmp_path_factory.mktemp("pusher")) as repo:
        repo.settings(f"  registry: {engine28.registry}/test\n")
        repo.commit()
        desk = Desk(engine28, repo)
        desk.invoke("push")
        yield desk


def pushed(registry: Registry, desk: Desk) -> set[str]:
    """The tags of the images in the registry; those of the dependencies are test_deps_image's business."""
    return {tag for tag in registry.tags(repository(desk)) if not tag.startswith("deps-")}


def repository(desk: Desk) -> str:
    return f"test/{desk.repo.image}"


def test_pushed_and_run_on_an_empty_machine(tiny_on_each: Desk, registry: Registry, empty_engine: Engine) -> None:
    """The digest that is printed is the registry's for both tags; nothing stays in the engine; another machine runs it. What was built
    is told once, of the dependencies' image and of the image together, and so is a warning."""
    desk = tiny_on_each
    desk.repo.git("checkout", "--quiet", "-b", "feature/ü#1")
    desk.repo.edit("config/vm.args.src", "-sname tiny", "-sname tiny\n-setcookie abc")
    commit = desk.repo.commit()
    where = f"{registry.address}/{repository(desk)}"
    done = desk.invoke("push", "--branch", f"--registry={registry.address}/test")
    digest, manifest = registry.manifest(repository(desk), commit)
    assert done.out == f"{where}@{digest}"
    assert [done.err.count(word) for word in ("\nwarning: ", "\nbuilt in ", ": dependencies compiled")] == [1, 1, 1]
    tags = pushed(registry, desk)
    assert len(tags) == 2
    assert {registry.manifest(repository(desk), tag)[0] for tag in tags} == {digest}
    assert next(iter(tags - {commit})).startswith("feature-u-1-")
    assert "layers" in manifest, "one plain manifest, no index"
    assert desk.engine.images(where) == desk.images == set()
    assert desk.docker("image", "ls", "--quiet", f"--filter=label=beamdock.project={desk.repo.image}") == ""
    container = empty_engine.docker("run", "--detach", "--init", "--read-only", "--tmpfs=/tmp", done.out)
    Desk(empty_engine, desk.repo).answers(container)
    assert empty_engine.docker("exec", container, "/release", "eval", "tiny:answer().") == "42"
    assert empty_engine.docker("stop", container)
    assert empty_engine.docker("inspect", "--format={{.State.ExitCode}}", container) == "0"


def test_an_image_that_was_there_stays(tiny_on_each: Desk, registry: Registry) -> None:
    """push takes away what it has put into the engine, and not what `build` has."""
    where = f"--registry={registry.address}/test"
    tiny_on_each.invoke("build", where)
    here = tiny_on_each.engine.images(f"{registry.address}/{repository(tiny_on_each)}")
    assert len(here) == 2
    tiny_on_each.invoke("push", where)
    assert tiny_on_each.engine.images(f"{registry.address}/{repository(tiny_on_each)}") == here
    assert pushed(registry, tiny_on_each) == {tiny_on_each.repo.head}


@pytest.mark.parametrize("ci", ["", pytest.param("true", marks=pytest.mark.long)])
def test_layers_are_compressed(tiny: Desk, ci: str) -> None:
    """Those too that `build`, which compresses nothing, has left."""
    registry, where = Registry(tiny.engine.registry), f"--registry={tiny.engine.registry}/test"
    tiny.invoke("build", where, env={"CI": ci})
    tiny.invoke("push", where, env={"CI": ci})
    for layer in registry.manifest(repository(tiny), tiny.repo.head)[1]["layers"]:
        assert registry.ask(f"{repository(tiny)}/blobs/{layer['digest']}")[1].startswith(b"\x1f\x8b")


NAMES = [
    "main",
    "v1.2",
    "feature/ü#1",
    "feature-u-1",
    "x" * 300,
    "x" * 299 + "y",
    "-x",
    "latest",
    "Main",
    "1" * 40,
    "deps-x",
    "pr-7",
    "日本",
]


@pytest.mark.long
def test_any_branch_name(pusher: Desk) -> None:
    """Every name gives a valid tag of its own, of the same layers; `latest` is never one, and a plain name stays itself."""
    registry, commit = Registry(pusher.engine.registry), pusher.repo.head
    before = pushed(registry, pusher)
    found = {}
    for name in NAMES:
        pusher.invoke("push", f"--branch={name}")
        tags = pushed(registry, pusher)
        assert len(tags - before) == 1, name
        found[name] = (tags - before).pop()
        before = tags
    assert {name: found[name] for name in ("main", "feature-u-1", "Main")} == {n: n for n in ("main", "feature-u-1", "Main")}
    assert not {"latest", "deps-x", "pr-7", "v1.2", "1" * 40, "-x"} & set(found.values())
    # The inline cache, which is in the configuration, grows with each push.
    manifests = [registry.manifest(repository(pusher), tag)[1] for tag in (commit, *found.values())]
    assert len({tuple(layer["digest"] for layer in manifest["layers"]) for manifest in manifests}) == 1


def test_the_branch_that_is_checked_out(pusher: Desk) -> None:
    """--branch alone, on names that only git's plumbing can make too: the tag is the one that --branch=NAME gives."""
    registry, git = Registry(pusher.engine.registry), pusher.repo.git
    for name in ("-x", "feature/ü#1"):
        git("update-ref", f"refs/heads/{name}", "HEAD")
        git("symbolic-ref", "HEAD", f"refs/heads/{name}")
        pusher.invoke("push", f"--branch={name}")
        tags = pushed(registry, pusher)
        said = pusher.invoke("push", "--branch").err
        assert pushed(registry, pusher) == tags
        assert re.search(rf"\({re.escape(name)}\): pushing", said)
    git("symbolic-ref", "HEAD", f"refs/heads/{pusher.repo.branch}")


CI = {
    "github": {"GITHUB_REF_NAME": "by-github", "GITHUB_REF_TYPE": "branch", "GITHUB_HEAD_REF": ""},
    "github-pr": {"GITHUB_REF_NAME": "7/merge", "GITHUB_REF_TYPE": "branch", "GITHUB_HEAD_REF": "by-github-pr"},
    "gitlab": {"CI_COMMIT_BRANCH": "by-gitlab"},
    "gitlab-mr": {"CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "by-gitlab-mr"},
    "circleci": {"CIRCLE_BRANCH": "by-circleci"},
    "buildkite": {"BUILDKITE_BRANCH": "by-buildkite"},
    "jenkins": {"GIT_BRANCH": "origin/by-jenkins"},
    "jenkins-multi": {"BRANCH_NAME": "by-jenkins-multi"},
    "jenkins-pr": {"BRANCH_NAME": "PR-7", "CHANGE_BRANCH": "by-jenkins-pr"},
    "cloud-build": {"BRANCH_NAME": "by-cloud-build", "COMMIT_SHA": "1" * 40},
}


def test_a_detached_head_in_ci(pusher: Desk) -> None:
    """What each CI system sets says the branch; a build of a tag has none, and that is said."""
    registry = Registry(pusher.engine.registry)
    pusher.repo.git("checkout", "--quiet", "--detach")
    try:
        for system, variables in CI.items():
            assert f"/{repository(pusher)}:by-{system} " in pusher.invoke("push", "--branch", "--dry-run", env=variables).out
        pusher.invoke("push", "--branch", env=CI["jenkins-pr"])
        assert "by-jenkins-pr" in pushed(registry, pusher)
        tags = pushed(registry, pusher)
        for variables in ({}, {"GITHUB_REF_NAME": "v1", "GITHUB_REF_TYPE": "tag"}, {"BUILDKITE_BRANCH": "v1", "BUILDKITE_TAG": "v1"}):
            said = pusher.invoke("push", "--branch", code=2, env=variables).err
            assert "error: HEAD is detached" in said
            assert "hint: --branch=NAME" in said
        assert pushed(registry, pusher) == tags
        pusher.invoke("push", "--branch=given", env=CI["gitlab"])
        assert pushed(registry, pusher) == tags | {"given"}
        assert pusher.invoke("push").out.startswith(f"{registry.address}/{repository(pusher)}@sha256:")
    finally:
        pusher.repo.git("checkout", "--quiet", pusher.repo.branch)


def test_a_dirty_tree_is_refused(pusher: Desk) -> None:
    registry = Registry(pusher.engine.registry)
    tags = pushed(registry, pusher)
    pusher.repo.edit("src/tiny.erl", "42", "43")
    try:
        said = pusher.invoke("push", "--branch=dirty", code=2).err
    finally:
        pusher.repo.git("checkout", "--quiet", "src")
    assert "1 file differs from the commit (src/tiny.erl)" in said
    assert pushed(registry, pusher) == tags


def test_other_targets_and_tags(pusher: Desk) -> None:
    registry, commit = Registry(pusher.engine.registry), pusher.repo.head
    before = pushed(registry, pusher)
    done = pusher.invoke("push", "--branch", "--target=releaser", "--tag=mine")
    assert pushed(registry, pusher) - before == {f"{commit}-releaser", "mine"}
    assert done.out.endswith(registry.manifest(repository(pusher), f"{commit}-releaser")[0])


def test_no_registry(desk28: Desk) -> None:
    said = desk28.invoke("push", code=2).err
    assert "error: there is no registry to push to" in said
    assert "hint: --registry" in said


def failure_of(done_err: str) -> tuple[str, str]:
    """The last two lines: error and hint."""
    error, hint = done_err.splitlines()[-2:]
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    return error, hint


def test_an_unreachable_registry(tiny_on_each: Desk) -> None:
    error, _ = failure_of(tiny_on_each.invoke("push", "--registry=127.0.0.1:1/test", code=1).err)
    assert "127.0.0.1:1 can't be reached" in error
    assert tiny_on_each.images == set()
    assert tiny_on_each.engine.images(f"127.0.0.1:1/test/{tiny_on_each.repo.image}") == set()


@SECOND_IS_LONG
def test_a_registry_that_asks_for_a_login(tiny_on_each: Desk, tmp_path: Path) -> None:
    """Refused without a login and with a wrong one, and no password is shown; with the right one it is pushed."""
    desk = tiny_on_each
    with serving(desk.engine, tmp_path / "registry", auth=True) as registry:
        where = f"--registry={registry.address}/test"
        error, hint = failure_of(desk.invoke("push", where, code=1).err)
        assert "refused the login" in error
        assert hint == f"hint: docker login {registry.address}"
        config = tmp_path / "docker"
        config.mkdir()
        (config / "cli-plugins").symlink_to(Path(desk.engine.env["DOCKER_CONFIG"]) / "cli-plugins")
        auth = {"DOCKER_CONFIG": str(config)}

        def login(password: str) -> None:
            secret = base64.b64encode(f"{USER}:{password}".encode()).decode()
            (config / "config.json").write_text(json.dumps({"auths": {registry.address: {"auth": secret}}}))

        login("wrong-passw0rd")
        done = desk.invoke("push", where, code=1, env=auth)
        assert "refused the login" in failure_of(done.err)[0]
        assert "wrong-passw0rd" not in done.out + done.err
        login(PASSWORD)
        assert desk.invoke("push", where, env=auth).out.startswith(f"{registry.address}/test/{desk.repo.image}@sha256:")


def test_a_read_only_registry(tiny: Desk, tmp_path: Path) -> None:
    with serving(tiny.engine, tmp_path / "registry", readonly=True) as registry:
        error, _ = failure_of(tiny.invoke("push", f"--registry={registry.address}/test", code=1).err)
        assert "read-only" in error
        assert registry.tags(repository(tiny)) == set()
        assert tiny.engine.images(f"{registry.address}/{repository(tiny)}") == set()


def test_deps_image(pusher: Desk, empty_engine: Engine) -> None:
    """The key needs no engine; the image is there under it, with the dependency stage in it, for another machine to use."""
    registry = Registry(pusher.engine.registry)
    key = pusher.invoke("deps-image", "--key", env={"DOCKER_HOST": "tcp://127.0.0.1:1"}).out
    assert re.fullmatch(r"[0-9a-f]{64}", key)
    reference = f"{registry.address}/{repository(pusher)}:deps-{key}"
    assert pusher.invoke("deps-image", "--push").out == reference
    assert f"deps-{key}" in registry.tags(repository(pusher))
    assert pusher.engine.images(f"{registry.address}/{repository(pusher)}") == set()
    assert "rebar.config" in empty_engine.docker("run", "--rm", reference, "ls", "/app/src").split()
    assert pusher.invoke("deps-image").out == reference
    assert pusher.engine.images(f"{registry.address}/{repository(pusher)}") == {reference}


def test_the_key_follows_what_decides_the_dependencies(tiny: Desk) -> None:
    """The same for another name, place and source; another for the configuration, the profile, the base and the stage."""

    def key(*args: str, **env: str) -> str:
        return tiny.invoke("deps-image", "--key", *args, env=env).out

    first = key()
    tiny.repo.edit("src/tiny.erl", "42", "43")
    tiny.repo.write("README.md", "new")
    tiny.repo.edit("Dockerfile", "LOGGER_LEVEL=info", "LOGGER_LEVEL=debug")
    tiny.repo.commit()
    assert key() == first
    assert key(INVOKE_BEAMDOCK_RUN_BASE="debian:other") == first
    assert key("--build-arg=NOTHING_DECLARES=it") == first
    others = {
        key(INVOKE_BEAMDOCK_PROFILE="default"),
        key(INVOKE_BEAMDOCK_BUILD_BASE="erlang:26"),
        key(INVOKE_BEAMDOCK_PLATFORM="linux/s390x"),
        key("--build-arg=REBAR3=other"),
    }
    tiny.repo.write("rebar.lock", '{"1.2.0", [{<<"jsone">>, {pkg, <<"jsone">>, <<"1.8.1">>}, 0}]}.\n')
    others.add(key())
    tiny.repo.edit("rebar.config", "{erl_opts, [debug_info]}.", "{erl_opts, [debug_info]}.\n{deps, [jsone]}.")
    others.add(key())
    tiny.repo.write("apps/one/rebar.config", "{deps, []}.")
    others.add(key())
    tiny.repo.edit("Dockerfile", "compile --deps_only", "compile --deps_only ")
    others.add(key())
    assert len(others | {first}) == 9


def test_an_edit_while_it_begins_is_never_pushed(shop: Desk, tmp_path: Path) -> None:
    """At whatever moment a source and the configuration are edited (and committed), what is under the commit's tag is the commit's, or
    nothing is. The deps context, the version and the sources are of one and the same commit."""
    desk, registry, said = shop, Registry(shop.engine.registry), tmp_path / "said"
    desk.repo.write("Dockerfile", PLAIN)
    copies = desk.repo.path / "_build" / "beamdock"
    moments: dict[str, Callable[[], object]] = {
        "started": lambda: True,
        "copied": lambda: list(copies.glob("commit-*/tiny/src/tiny.erl")),
        "dependencies": lambda: "#1 " in said.read_text(),
        "image": lambda: "[runner" in said.read_text(),
    }
    for number, name in enumerate(["started", "copied", "copied and committed", "dependencies", "image and committed"]):
        desk.repo.write("src/tiny.erl", str(number))
        desk.repo.write("rebar.config", f"{{deps, [d{number}]}}.\n{TINY_CONFIG}")
        commit = desk.repo.commit()
        words, env = [sys.executable, "-m", "invoke", "push"], {"BUILDKIT_PROGRESS": "plain", **desk.engine.env}
        with said.open("w") as file:
            push = subprocess.Popen(words, cwd=desk.repo.path, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=file)
        poll(moments[name.split()[0]])
        desk.repo.write("src/tiny.erl", "edited")
        desk.repo.write("rebar.config", f"{{deps, [edited]}}.\n{TINY_CONFIG}")
        if "committed" in name:
            desk.repo.commit()
        if push.wait(300) == 0:
            read = [registry.file(repository(desk), commit, f) for f in ("app/src/tiny.erl", "deps/rebar.config", "git/HEAD")]
            assert [read[0], read[1].split(b"\n")[0], read[2]] == [b"%d" % number, b"{deps,[d%d]}." % number, commit.encode() + b"\n"]
        else:
            assert commit not in registry.tags(repository(desk))
            assert re.search(r"error: (pushing .* was refused: .* from the commit|HEAD was .*, and is .* now)", said.read_text())
        assert push.returncode == 0 or name.split()[0] in ("started", "copied"), said.read_text()
        desk.repo.git("checkout", "--quiet", ".")
    assert [f for folder in copies.glob("commit-*") for f in folder.iterdir()] == []


@SECOND_IS_LONG
def test_stopped_at_once_and_in_order(shop_on_each: Desk, registry: Registry, tmp_path: Path) -> None:
    """Each signal ends a push within a second and with one line, while docker is asked and while a step runs; in the background of a
    script too, where SIGINT is ignored. Nothing is in the registry, nothing new in the engine or the cache folder."""
    desk, said = shop_on_each, tmp_path / "said"
    desk.repo.edit("Dockerfile", "    fetch ${STORE", "    sleep 60; fetch ${STORE")
    desk.repo.commit()
    folder = desk.repo.path / "_build" / "beamdock"
    for moment, number, name in (("pushing", signal.SIGINT, "Ctrl-C"), ("sleep 60", signal.SIGTERM, "SIGTERM"), ("sleep 60", 2, "Ctrl-C")):
        with said.open("w") as file:
            push = subprocess.Popen(
                [sys.executable, "-m", "invoke", "push", "--branch"],
                cwd=desk.repo.path,
                env={"BUILDKIT_PROGRESS": "plain", **desk.engine.env, **desk.repo.env},
                stdin=subprocess.DEVNULL,
                stderr=file,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
            )
            poll(lambda text=moment: text in said.read_text())  # type: ignore[misc]
            push.send_signal(number)
            began = time.monotonic()
            assert push.wait(300) == 1
            assert time.monotonic() - began < 2  # one, on a machine with nothing else to do
        assert said.read_text().splitlines()[-1] == f"error: stopped by {name}"
        assert [word for word in ("Traceback", "CANCELED", "hint: ") if word in said.read_text()] == []
        assert registry.tags(repository(desk)) == set()
        assert desk.engine.images(f"{registry.address}/{repository(desk)}") == set()
        assert [f.name for f in folder.rglob("*") if f.name.startswith("tmp") and "bytecode" not in f.parts] == []
