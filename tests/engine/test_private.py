"""Private dependencies, from real servers that ask for credentials: Hex packages, git over SSH and HTTP. And nothing of the credentials stays."""

from __future__ import annotations

import base64
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from kit.engines import SECOND_IS_LONG, Engine, long, poll
from kit.hex import ACME, CORP, HEXPM, Hex, hex_server
from kit.leaks import contents, layers, leaks, said
from kit.registry import Registry
from kit.repos import Desk, forget, new_image, new_repo
from kit.shapes import PROD, app
from kit.sshd import Ssh, git_over_http, git_servers

ASKS = "rebar3 hex organization auth, or your own hand, writes ~/.config/rebar3/hex.config; in CI the variable HEX_CONFIG has its text"


@pytest.fixture(scope="module")
def hex_pm(tmp_path_factory: pytest.TempPathFactory, engine28: Engine) -> Iterator[Hex]:
    with hex_server(engine28, tmp_path_factory.mktemp("hex") / "served") as server:
        yield server


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory, engine28: Engine) -> Iterator[Ssh]:
    """Two servers: one with a library whose headers are a submodule, the other with a plain one."""
    with git_servers(engine28, tmp_path_factory.mktemp("ssh")) as servers:
        servers.one.serve("headers", {"lib_of_one.hrl": "-define(ANSWER, 42).\n"})
        hook = {"rebar.config": '{pre_hooks, [{compile, "git submodule update --init"}]}.\n'}
        code = '-module(lib_of_one).\n-include("lib_of_one.hrl").\n-export([answer/0]).\nanswer() -> ?ANSWER.\n'
        servers.one.serve("lib_of_one", {**app("lib_of_one"), **hook, "src/lib_of_one.erl": code}, ("include", "headers"))
        servers.two.serve("lib_of_two", app("lib_of_two"))
        yield servers


@pytest.fixture
def person(tmp_path: Path, engine: Engine) -> Iterator[Desk]:
    """A person with a home folder of their own and no agent, in front of a new repo and of each engine."""
    with at_desk(tmp_path, engine) as desk:
        yield desk


@pytest.fixture
def person28(tmp_path: Path, engine28: Engine) -> Iterator[Desk]:
    with at_desk(tmp_path, engine28) as desk:
        yield desk


@contextmanager
def at_desk(path: Path, engine: Engine) -> Iterator[Desk]:
    (path / "home").mkdir()
    unset = ("SSH_AUTH_SOCK", "HEX_CDN", "HEX_MIRROR", "HEX_CONFIG", "REBAR_GLOBAL_CONFIG_DIR")
    env = {name: value for name, value in engine.env.items() if name not in unset}
    repo = new_repo(path / "demo")
    for name, text in app("demo").items():
        repo.write(name, text)
    desk = Desk(replace(engine, env={**env, "HOME": str(path / "home")}), repo)
    try:
        yield desk
    finally:
        desk.sweep()
        forget(repo.image)


def uses(desk: Desk, deps: str, apps: str = "", top: str = "", settings: str = "") -> None:
    """The repo's rebar.config and settings, committed; without a lock, which would hold the servers' ports."""
    relx = f'{{relx, [{{release, {{demo, "1"}}, [demo{apps}]}}, {{extended_start_script, true}}]}}.\n'
    desk.repo.write("rebar.config", f"{{deps, [{deps}]}}.\n{top}{relx}{PROD}")
    desk.repo.settings(f"  network: host\n{settings}")
    desk.repo.commit()


def hex_config(desk: Desk, text: str) -> None:
    """Write the person's hex.config, as rebar3 does."""
    file = Path(desk.engine.env["HOME"], ".config/rebar3/hex.config")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def fails(desk: Desk, *args: str, env: dict[str, str] | None = None, task: str = "deps-image") -> tuple[str, str]:
    """Error and hint of a build of the dependencies that must fail, alone or as the first step of the whole build."""
    lines = desk.invoke(task, *args, code=1, env=env).err.splitlines()
    assert [line.partition(": ")[0] for line in lines[-2:]] == ["error", "hint"], lines[-5:]
    return lines[-2].partition(": ")[2], lines[-1].partition(": ")[2]


def test_hex_packages_of_a_company_and_an_organisation(person28: Desk, hex_pm: Hex) -> None:
    """With the person's own hex.config; a library of C code works; another key makes no step run, and so does none at all."""
    uses(person28, "p1_utils, jiffy, poolboy, idna", ", p1_utils, jiffy, poolboy, idna", hex_pm.repos(ACME, HEXPM, CORP))
    hex_config(person28, hex_pm.config())
    environ = {"HEX_CDN": f"{hex_pm.url}/hexpm"}
    hex_pm.asked.clear()
    done = person28.invoke("build", env=environ)
    assert "builder" in done.steps
    fetched = [path for path in hex_pm.asked if "/tarballs/" in path]
    assert sorted(fetched) == [
        "/acme/tarballs/jiffy-1.1.2.tar", "/acme/tarballs/p1_utils-1.0.26.tar", "/hexpm/repos/corp/tarballs/idna-6.1.1.tar",
        "/hexpm/tarballs/poolboy-1.5.2.tar", "/hexpm/tarballs/unicode_util_compat-0.7.0.tar",
    ]  # fmt: skip
    container = person28.start()
    asked = '{jiffy:decode(<<"[7,true]">>), idna:encode("b\\x{fc}cher.example")}.'
    assert person28.node(container, "eval", asked) == '{[7, true], "xn--bcher-kva.example"}'
    hex_config(person28, hex_pm.config("another"))
    assert person28.invoke("build", env=environ).steps == []
    hex_config(person28, "")
    assert person28.invoke("build", env=environ).steps == []
    Path(person28.engine.env["HOME"], ".config/rebar3/hex.config").unlink()
    assert person28.invoke("build", env=environ).steps == []


def test_the_hex_config_comes_from_a_variable_or_as_a_secret(person28: Desk, hex_pm: Hex) -> None:
    """--secret wins over HEX_CONFIG, which wins over the file."""
    uses(person28, "p1_utils", top=hex_pm.repos(ACME))
    wrong, right = hex_pm.config("wrong"), hex_pm.config()
    hex_config(person28, wrong)
    (person28.repo.path.parent / "right").write_text(right)
    error = "p1_utils can't be fetched: the key in hex.config is refused by acme", "has it expired, or been revoked?"
    assert fails(person28) == error
    assert (
        fails(
            person28,
            "--secret",
            f"id=hex.config,src={person28.repo.path.parent}/right",
            "--secret",
            "id=hex.config,env=WRONG",
            env={"WRONG": wrong},
        )
        == error
    )
    assert person28.invoke(
        "deps-image", "--secret", f"id=hex.config,src={person28.repo.path.parent}/right", env={"HEX_CONFIG": wrong}
    ).steps == ["builder"]
    hex_config(person28, wrong)
    assert "builder" in person28.invoke("deps-image", f"--build-arg=PROJECT={person28.repo.image}-fresh", env={"HEX_CONFIG": right}).steps


@pytest.mark.parametrize("locked", [pytest.param(False, marks=pytest.mark.long), True], ids=["no lock", "locked"])
def test_who_has_the_dependencies_image_needs_no_key(person28: Desk, hex_pm: Hex, locked: bool) -> None:
    """A machine that gets the builder stage as an image asks no repository for anything."""
    uses(person28, "p1_utils", ", p1_utils", hex_pm.repos(ACME))
    hex_config(person28, hex_pm.config())
    if locked:
        home, base = person28.engine.env["HOME"], person28.engine.build_base
        volumes = [f"--volume={person28.repo.path}:/repo", f"--volume={home}/.config/rebar3:/root/.config/rebar3:ro", "--workdir=/repo"]
        person28.docker("run", "--rm", "--network=host", "--env=REBAR_BASE_DIR=/b", *volumes, base, "rebar3", "lock")
        assert "p1_utils" in (person28.repo.path / "rebar.lock").read_text()
        person28.repo.commit()
    image = person28.invoke("deps-image").out
    hex_config(person28, "")
    hex_pm.asked.clear()
    # Another project name: the cache mounts are those of a machine that has never built this.
    options = f"--build-context builder=docker-image://{image}"
    command = person28.invoke("build", "--dry-run", f"--build-arg=PROJECT=fresh-{person28.repo.image}").out
    assert "builder" not in person28.sh(command.replace("buildx build", f"buildx build {options}")).steps
    assert hex_pm.asked == []


def test_keys_are_named_at_a_desk_with_a_lock(person28: Desk, hex_pm: Hex) -> None:
    """As most are met: a package more, on top of a build that had its key."""
    pin = '{{<<"{0}">>,{{pkg,<<"{0}">>,<<"{1}">>}},0}}'
    versions = {"p1_utils": "1.0.26", "jiffy": "1.1.2"}

    def lock(*names: str) -> None:
        uses(person28, ", ".join(names), "".join(f", {name}" for name in names), hex_pm.repos(ACME))
        person28.repo.write("rebar.lock", f"[{', '.join(pin.format(name, versions[name]) for name in names)}].\n")

    lock("p1_utils")
    assert fails(person28, task="build") == ("p1_utils 1.0.26 can't be fetched: acme asks for a key, and there is no hex.config", ASKS)
    hex_config(person28, hex_pm.config())
    assert "builder" in person28.invoke("build").steps
    lock("p1_utils", "jiffy")
    hex_config(person28, hex_pm.config("old"))
    refused = "jiffy 1.1.2 can't be fetched: the key in hex.config is refused by acme"
    assert fails(person28, task="build") == (refused, "has it expired, or been revoked?")
    hex_config(person28, "")
    assert fails(person28, task="build") == ("jiffy 1.1.2 can't be fetched: acme asks for a key, and hex.config is empty", ASKS)
    hex_config(person28, hex_pm.config())
    asked = len(hex_pm.asked)
    assert "builder" in person28.invoke("build").steps
    assert [path for path in hex_pm.asked[asked:] if "/tarballs/" in path] == ["/acme/tarballs/jiffy-1.1.2.tar"]


def test_missing_empty_and_unreadable_keys_are_named(person28: Desk, hex_pm: Hex) -> None:
    uses(person28, "idna", top=hex_pm.repos(HEXPM, CORP), settings=f"  hex_mirror: {hex_pm.url}/hexpm\n")
    assert fails(person28) == ("idna can't be fetched: hexpm:corp asks for a key, and there is no hex.config", ASKS)
    hex_config(person28, "")
    assert fails(person28) == ("idna can't be fetched: hexpm:corp asks for a key, and hex.config is empty", ASKS)
    hex_config(person28, '#{<<"other">> => #{repo_key => <<"k">>}}.\n')
    assert fails(person28) == ("idna can't be fetched: hexpm:corp asks for a key, and hex.config has none for it", ASKS)
    hex_config(person28, "hello")
    assert fails(person28) == ("hex.config can not be read", 'it is one Erlang map: #{<<"acme">> => #{repo_key => <<"KEY">>}}.')
    hex_config(person28, hex_pm.config("old"))
    assert fails(person28)[0] == "idna can't be fetched: the key in hex.config is refused by hexpm:corp"
    person28.repo.edit("invoke.yaml", hex_pm.url, "http://127.0.0.1:9")
    assert fails(person28) == (
        "idna can't be fetched: hexpm hexpm:corp can't be reached", "are `network` and `hex_mirror` in invoke.yaml the right ones?",
    )  # fmt: skip


def test_the_mirror_decides_the_dependencies(person28: Desk, hex_pm: Hex) -> None:
    """It is in their key, by a setting or by rebar3's own variables; with a password in it, it is refused and not repeated."""
    uses(person28, "poolboy", top=hex_pm.repos(HEXPM))

    def key(**env: str) -> str:
        return person28.invoke("deps-image", "--key", env=env).out

    plain, mirrored = key(), key(INVOKE_BEAMDOCK_HEX_MIRROR=f"{hex_pm.url}/hexpm")
    assert plain != mirrored
    assert key(HEX_CDN=f"{hex_pm.url}/hexpm") == key(HEX_MIRROR=f"{hex_pm.url}/hexpm") == mirrored
    assert key(HEX_CDN="http://other.example", INVOKE_BEAMDOCK_HEX_MIRROR=f"{hex_pm.url}/hexpm") == mirrored
    hex_pm.asked.clear()
    assert person28.invoke("deps-image", env={"HEX_MIRROR": f"{hex_pm.url}/hexpm"}).steps
    assert "/hexpm/tarballs/poolboy-1.5.2.tar" in hex_pm.asked
    person28.repo.settings("  hex_mirror: https://me:s3cr3t@hex.example\n")
    said = person28.invoke("build", code=2)
    assert said.err == "error: `hex_mirror` has a password or a token in it (invoke.yaml:3)\nhint: it belongs into hex.config"


def test_mirrors_share_no_packages(person28: Desk, hex_pm: Hex, tmp_path: Path) -> None:
    """What one gave is not taken for the other's, whose tarball of the same name may be another. Of its own, what is there counts."""
    uses(person28, "poolboy", top=hex_pm.repos(HEXPM))
    with hex_server(person28.engine, tmp_path / "served") as other:
        for mirror in (hex_pm, other):
            person28.invoke("deps-image", env={"HEX_MIRROR": f"{mirror.url}/hexpm"})
        assert "/hexpm/tarballs/poolboy-1.5.2.tar" in other.asked
        assert other.had == []
        person28.invoke("deps-image", env={"HEX_MIRROR": f"{other.url}/hexpm", "INVOKE_BEAMDOCK_BUILD_ENV": "{ANOTHER: key}"})
        assert other.had


def test_a_plugin_that_is_not_to_be_had_is_an_error(person28: Desk, hex_pm: Hex, ssh: Ssh) -> None:
    """rebar3 goes on without it, and that would be what is cached when the key is there."""
    uses(person28, "", top=f"{{plugins, [p1_utils]}}.\n{hex_pm.repos(ACME)}")
    assert fails(person28) == ("p1_utils can't be fetched: acme asks for a key, and there is no hex.config", ASKS)
    hex_config(person28, hex_pm.config())
    assert person28.invoke("deps-image").steps == ["builder"]
    uses(person28, "", top=f"{{project_plugins, [{git(ssh.two.url, 'lib_of_two')}]}}.\n", settings=pinned(person28, ssh))
    assert fails(person28)[0] == f"lib_of_two can't be fetched from {ssh.two.url}/lib_of_two.git: there is no SSH key"
    assert person28.invoke("deps-image", f"--ssh=default={ssh.key}").steps == ["builder"]
    ssh.one.serve("broken", {**app("broken"), "src/broken.erl": "-module(broken).\n-export(.\n"})
    uses(person28, "", top=f"{{plugins, [{git(ssh.one.url, 'broken')}]}}.\n", settings=pinned(person28, ssh))
    error = fails(person28, f"--ssh=default={ssh.key}")[0]
    assert error.startswith("the plugin broken does not compile: _build/default/plugins/broken/src/broken.erl:2: syntax error before: ")


def test_what_a_repository_does_not_have(person28: Desk, hex_pm: Hex) -> None:
    """A version and a plugin's name: where they stand, and what there is. A package that the lock, or the registry, has another
    checksum of; and a mirror with a key of its own, which rebar.config lacks."""
    mirror = f"  hex_mirror: {hex_pm.url}/hexpm\n"
    right = "is `hex_mirror` in invoke.yaml the right one?"

    def said(deps: str, top: str) -> tuple[str, str]:
        uses(person28, deps, top=top, settings=mirror)
        return fails(person28)

    # First: what rebar3 has been told of a package it does not ask again.
    error, hint = said("poolboy", "")
    assert error == "poolboy can't be fetched: what hexpm sends is not signed with the key of hex.pm"
    assert "repo_public_key" in hint
    repos = hex_pm.repos(HEXPM)
    newest = "hexpm has 1.5.2, 1.5.2-rc.1, 1.5.1, 1.4.10, 1.4.9"
    assert said('{poolboy, "~> 9.0"}', repos) == ("poolboy ~> 9.0 is in no repository (rebar.config:1)", newest)
    error, hint = said("", f'%% 2\n{{plugins, ["poolbuy", poolbuy]}}.\n{repos}'.replace('"poolbuy", ', ""))
    assert error == "poolbuy is in no repository (rebar.config:3)"
    assert hint == f"hexpm has no package of this name: is it right, and {right}"
    tarball = hex_pm.folder / "hexpm" / "tarballs" / "poolboy-1.5.2.tar"
    content = tarball.read_bytes()
    tarball.write_bytes(content + b"\0" * 1024)  # as long a tarball of the same files
    try:
        error, _ = said("poolboy", repos)
    finally:
        tarball.write_bytes(content)
    assert error == "poolboy 1.5.2 is another tarball than its registry says: the checksums differ"
    checksums = "".join(f',{{{kind},[{{<<"poolboy">>,<<"{64 * "A"}">>}}]}}' for kind in ("pkg_hash", "pkg_hash_ext"))
    person28.repo.write("rebar.lock", f'{{"1.2.0",[{{<<"poolboy">>,{{pkg,<<"poolboy">>,<<"1.5.2">>}},0}}]}}.\n[{checksums[1:]}].\n')
    assert said("poolboy", repos)[0] == "poolboy 1.5.2 of hexpm is another one than rebar.lock has: the checksums differ (rebar.lock:1)"


def git(server_url: str, name: str) -> str:
    return f'{{{name}, {{git, "{server_url}/{name}.git", {{branch, "main"}}}}}}'


def pinned(desk: Desk, ssh: Ssh) -> str:
    desk.repo.write("ci/known_hosts", ssh.one.known_host + ssh.two.known_host)
    return "  known_hosts: ci/known_hosts\n"


def test_git_over_ssh_with_an_agent(person28: Desk, ssh: Ssh) -> None:
    """Two hosts, and a submodule of a dependency; afterwards a machine without an agent has nothing to do."""
    deps = f"{git(ssh.one.url, 'lib_of_one')}, {git(ssh.two.url, 'lib_of_two')}"
    uses(person28, deps, ", lib_of_one, lib_of_two", settings=f"{pinned(person28, ssh)}  ssh: default\n")
    assert "builder" in person28.invoke("build", env={"SSH_AUTH_SOCK": str(ssh.agent)}).steps
    container = person28.start()
    assert person28.node(container, "eval", "lib_of_one:answer() + lib_of_two:answer().") == "84"
    assert person28.invoke("build").steps == []
    pinned(person28, replace(ssh, two=ssh.one))
    assert person28.invoke("build").steps == []


@SECOND_IS_LONG
def test_git_over_ssh_with_a_key_and_rewritten_addresses(person: Desk, ssh: Ssh) -> None:
    """The address that stands in rebar.config leads nowhere; another key or another rule afterwards makes no step run."""
    rules = f"  git_rewrites:\n    https://git.example/acme/: {ssh.two.url}/\n"
    uses(person, git("https://git.example/acme", "lib_of_two"), settings=f"{pinned(person, ssh)}{rules}  ssh: default={ssh.key}\n")
    done = person.invoke("deps-image")
    assert done.steps[-1:] == ["builder"]
    left = {f"root/{name}" for name in (".netrc", ".gitconfig", ".ssh/known_hosts", ".config/rebar3/hex.config")}
    assert left & person.engine.names(done.out) == set()
    person.repo.edit("invoke.yaml", str(ssh.key), str(ssh.stranger))
    assert person.invoke("deps-image").steps == []
    person.repo.edit("invoke.yaml", "    https://git.example/acme/", "    https://elsewhere.example/")
    assert person.invoke("deps-image").steps == []


@contextmanager
def empty_agent(socket: Path) -> Iterator[str]:
    """An SSH agent that holds no key."""
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL) as agent:
        try:
            poll(socket.exists)
            yield str(socket)
        finally:
            agent.terminate()


def test_what_is_missing_for_git_is_named(person28: Desk, ssh: Ssh) -> None:
    """No agent, an agent without keys, an unknown key, no known_hosts, another host key, no such repository."""
    without = person28.engine.build(f"FROM {person28.engine.build_base}\nRUN rm /usr/bin/ssh", f"{person28.repo.image}-base:no-ssh")
    url = f"{ssh.one.url}/lib_of_one.git"
    what = f"lib_of_one can't be fetched from {url}"
    uses(person28, git(ssh.one.url, "lib_of_one"), settings=pinned(person28, ssh))
    ask = "`ssh: default` in invoke.yaml passes on the keys of your agent, if one runs (SSH_AUTH_SOCK); `ssh: default=FILE` a key"
    assert fails(person28) == (f"{what}: there is no SSH key", ask)
    assert fails(person28, "--ssh=default") == (f"{what}: there is no SSH key", ask)
    assert fails(person28, env={"INVOKE_BEAMDOCK_BUILD_BASE": without}) == (
        f"{what}: the builder has no ssh", "`build_packages: [openssh-client]` in invoke.yaml",
    )  # fmt: skip
    person28.docker("rmi", without)
    assert fails(person28, f"--ssh=default={ssh.stranger}")[0] == f"{what}: the SSH key is refused (1 tried)"
    with empty_agent(person28.repo.path.parent / "agent") as socket:
        assert fails(person28, "--ssh=default", env={"SSH_AUTH_SOCK": socket}) == (f"{what}: the SSH agent holds no key", "ssh-add FILE")
    person28.repo.write("ci/known_hosts", ssh.one.known_host.replace(ssh.one.known_host.split()[2], ssh.two.known_host.split()[2]))
    agent = {"SSH_AUTH_SOCK": str(ssh.agent)}
    assert fails(person28, "--ssh=default", env=agent)[0] == f"{what}: its host key is another one than known_hosts has"
    uses(person28, git(ssh.one.url, "lib_of_one"), settings="  ssh: default\n")
    assert fails(person28, env=agent) == (
        f"{what}: its host key is not known",
        "`known_hosts: FILE` in invoke.yaml names a file in the repo with the line that the owner of the host publishes",
    )
    uses(person28, git(ssh.one.url, "nothing"), settings=pinned(person28, ssh))
    assert fails(person28, "--ssh=default", env=agent)[0].startswith(f"nothing can't be fetched from {ssh.one.url}/nothing.git: ")
    uses(person28, git(ssh.one.url, "lib_of_one"), settings="  known_hosts: nowhere\n")
    error = person28.invoke("deps-image", code=2).err
    assert error == f"error: {person28.repo.path}/nowhere does not exist (`known_hosts`, invoke.yaml:4)"


def test_git_over_http_with_a_token(person28: Desk, ssh: Ssh) -> None:
    with git_over_http(ssh.two.folder, "me", "t0k3n-of-the-test") as url:
        uses(person28, git(url, "lib_of_two"))
        netrc = person28.repo.path.parent / "netrc"
        what = f"lib_of_two can't be fetched from {url}/lib_of_two.git"
        assert fails(person28) == (
            f"{what}: it asks for a password", "--secret id=netrc,src=FILE gives one; `git_rewrites` in invoke.yaml makes it SSH",
        )  # fmt: skip
        netrc.write_text("machine 127.0.0.1 login me password wrong\n")
        assert fails(person28, f"--secret=id=netrc,src={netrc}") == (
            f"{what}: the password in netrc is refused", "has the token expired, and is it for this host?",
        )  # fmt: skip
        token = "machine 127.0.0.1 login me password t0k3n-of-the-test\n"
        assert person28.invoke("deps-image", "--secret=id=netrc,env=NETRC", env={"NETRC": token}).steps[-1:] == ["builder"]


def test_nothing_of_the_credentials_stays(person28: Desk, hex_pm: Hex, ssh: Ssh) -> None:
    """In no layer, configuration, history, attestation, cache record or blob, and in no output; of the pushed image, the
    dependencies' image, the stage with the release in it, and a cache of all stages."""
    registry, image = Registry(person28.engine.registry), person28.repo.image
    deps = f"p1_utils, {git(ssh.one.url, 'lib_of_one')}"
    options = f"{pinned(person28, ssh)}  ssh: default={ssh.key}\n  registry: {registry.address}/test\n"
    uses(person28, deps, ", p1_utils, lib_of_one", hex_pm.repos(ACME), options)
    hex_config(person28, hex_pm.config())
    runs = [
        person28.invoke("push", "--branch=main"),
        person28.invoke("deps-image", "--push", env={"INVOKE_BEAMDOCK_PROVENANCE": "true"}),
        person28.invoke("build", "--target=releaser"),
        person28.invoke("config"),
        person28.invoke("push", "--dry-run", "--tag=all"),
    ]
    # All that BuildKit can tell of a build, and a cache of all stages.
    more = f"--attest type=provenance,mode=max --cache-to type=registry,mode=max,ref={registry.address}/test/{image}:cache"
    runs.append(person28.sh(re.sub(r"--provenance[= ]false", more, runs[-1].out, flags=re.IGNORECASE)))
    hex_config(person28, hex_pm.config(hex_pm.key + "-expired"))
    runs.append(person28.invoke("deps-image", f"--build-arg=PROJECT={image}-fresh", code=1))
    person28.docker("tag", f"{registry.address}/test/{image}:{person28.repo.head}-releaser", f"{registry.address}/test/{image}:releaser")
    person28.docker("push", "--quiet", f"{registry.address}/test/{image}:releaser")
    base = layers(registry, person28.engine.build_base) | layers(registry, person28.engine.run_base)
    places = dict(contents(registry, f"test/{image}", base))
    assert any(b"llbDefinition" in content and b"hex.config" in content for name, content in places.items() if "in-toto" in name)
    assert any("cacheconfig" in name for name in places)
    places.update(
        place for reference in person28.engine.images(f"{registry.address}/test/{image}") for place in said(person28.engine, reference)
    )
    places.update((f"output of {i}", f"{run.out}\n{run.err}".encode()) for i, run in enumerate(runs))
    assert leaks(["lib_of_one/ebin/lib_of_one.beam"], places.items()) != []
    assert leaks([hex_pm.key, ssh.key.read_text()], places.items()) == []


@pytest.mark.parametrize("place", long(("layer", "zstd", "base64", "environment", "output"), "layer", "environment"))
def test_the_search_finds_what_is_planted(place: str, tmp_path: Path, engine28: Engine, ssh: Ssh) -> None:
    """In a file of a layer, as it is and in base64, whatever compresses the layer; in an ENV; in the output."""
    secret, registry, name = ssh.key.read_text(), Registry(engine28.registry), f"{new_image()}-{place}"
    line = secret.splitlines()[2]
    reference = f"{registry.address}/test/{name}:one"
    (tmp_path / "file").write_text(
        {"layer": f"x{line}x", "zstd": f"x{line}x", "base64": base64.encodebytes(f"xy{secret}z".encode()).decode()}.get(place, "nothing")
    )
    (tmp_path / "Dockerfile").write_text(
        f"FROM {engine28.run_base}\nCOPY file /\n"
        + (f"ENV KEY={line}\n" if place == "environment" else "")
        + (f"RUN echo {line}\n" if place == "output" else "")
    )
    push = "--output=type=image,push=true,compression=zstd,force-compression=true" if place == "zstd" else "--push"
    build = ["docker", "buildx", "build", "--progress=plain", "--provenance=false", push, f"--tag={reference}", str(tmp_path)]
    try:
        output = subprocess.run(build, env=engine28.env, capture_output=True, text=True, check=True).stderr
        places = {**dict(contents(registry, f"test/{name}", layers(registry, engine28.run_base))), "output": output.encode()}
        found = leaks([secret], places.items())
        kinds = {"layer": "tar", "zstd": "tar.zstd", "base64": "tar", "environment": "container.image", "output": "output"}
        assert any(kinds[place] in where for where in found), found
        assert leaks([Path(ssh.stranger).read_text()], places.items()) == []
    finally:
        registry.remove(f"test/{name}")
