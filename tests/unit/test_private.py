"""Private dependencies: which secrets a build is given, and what stands in settings."""

from __future__ import annotations

import os
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
import trustme
from invoke.exceptions import Exit
from kit.repos import Repo
from kit.terms import reduced_config

from ci.beamdock.build import buildx_options
from ci.beamdock.contexts import context_path
from ci.beamdock.explain import explain_failure
from ci.beamdock.plans import plan_build
from ci.beamdock.private import ACCESS, find_secrets, find_ssh, gitconfig_files
from unit.conftest import DESK, Shell, plan, project, request, rows, said
from unit.test_plans import folder

REPOS = '{hex, [{repos, [#{name => <<"acme">>, repo_url => <<"https://hex.example">>}]}]}.\n'
DEPS = {"rebar.config": REPOS.encode()}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with a hex.config in it."""
    home = tmp_path / "home"
    (home / ".config/rebar3").mkdir(parents=True)
    (home / ".config/rebar3/hex.config").write_text("#{}.\n")
    monkeypatch.setenv("HOME", str(home))
    return home


def secrets(
    root: Path, given: list[str], deps: dict[str, bytes] | None = None, environ: dict[str, str] | None = None, **settings: Any
) -> list[str]:
    return list(find_secrets(project(root, **settings), given, DEPS if deps is None else deps, environ or {}))


def test_the_hex_config_goes_where_repositories_are_named(tmp_path: Path, home: Path) -> None:
    """The file may hold keys to publish with. An app's own rebar.config counts, and a script, which can't be read, does not hide it."""
    mine = [f"id=hex.config,src={home}/.config/rebar3/hex.config"]
    assert secrets(tmp_path, []) == mine
    assert secrets(tmp_path, [], {"rebar.config": b"", "apps/a/rebar.config": REPOS.encode()}) == mine
    assert secrets(tmp_path, [], {"rebar.config": b"", "rebar.config.script": b"[{hex, [{repos, []}]}]."}) == mine
    assert secrets(tmp_path, [], {"rebar.config": b"{deps, [cowboy]}.", "rebar.lock": b"repos"}) == []
    (home / ".config/rebar3/hex.config").unlink()
    assert secrets(tmp_path, []) == []


def test_the_hex_config_is_where_rebar3_has_it(tmp_path: Path, home: Path) -> None:
    """REBAR_GLOBAL_CONFIG_DIR stands for the home folder."""
    other = tmp_path / "other"
    assert secrets(tmp_path, [], environ={"REBAR_GLOBAL_CONFIG_DIR": str(other)}) == []
    (other / ".config/rebar3").mkdir(parents=True)
    (other / ".config/rebar3/hex.config").touch()
    assert secrets(tmp_path, [], environ={"REBAR_GLOBAL_CONFIG_DIR": str(other)}) == [
        f"id=hex.config,src={other}/.config/rebar3/hex.config"
    ]


def test_what_is_asked_for_wins(tmp_path: Path, home: Path) -> None:
    environ = {"HEX_CONFIG": "#{}."}
    assert secrets(tmp_path, [], environ=environ) == ["id=hex.config,env=HEX_CONFIG"]
    for asked in ("id=hex.config,src=/etc/hosts", "type=file,id=hex.config,src=/etc/hosts"):
        assert secrets(tmp_path, [asked], environ=environ) == [asked]
    (home / ".netrc").touch()
    assert secrets(tmp_path, ["id=netrc,src=~/.netrc"], {}) == [f"id=netrc,src={home}/.netrc"]


def test_rewrites_are_git_s_own(tmp_path: Path) -> None:
    """As git itself reads them; the longest beginning counts."""
    rules = {
        "https://git.example/": "ssh://git@git.example/",
        "https://git.example/acme/": "git@other.example:acme/",
        'https://"x\\y/': "a:b/",
    }
    made = project(tmp_path, git_rewrites=rules)
    plan = plan_build(made, request("builder"))
    assert plan.secrets == (f"id=gitconfig,src={context_path(made.context_folder, ACCESS, gitconfig_files(rules))}/gitconfig",)
    assert "access" not in buildx_options(plan, DESK)["build_contexts"]
    file = tmp_path / "gitconfig"
    file.write_bytes(plan.access["gitconfig"])
    env = {"GIT_CONFIG_GLOBAL": str(file), "PATH": "/usr/bin:/bin"}
    addresses = ["https://git.example/x.git", "https://git.example/acme/y.git", 'https://"x\\y/z']
    told = [
        subprocess.run(["git", "ls-remote", "--get-url", a], env=env, capture_output=True, text=True, check=True).stdout.strip()
        for a in addresses
    ]
    assert told == ["ssh://git@git.example/x.git", "git@other.example:acme/y.git", "a:b/z"]
    assert plan.deps_key == plan_build(project(tmp_path), request("builder")).deps_key


def test_an_agent_is_asked_for_where_one_runs(tmp_path: Path) -> None:
    made, agent = project(tmp_path, ssh="default"), {"SSH_AUTH_SOCK": str(tmp_path)}
    assert find_ssh(made, "", agent) == find_ssh(project(tmp_path), "default", agent) == "default"
    assert [find_ssh(made, "", environ) for environ in ({}, {"SSH_AUTH_SOCK": ""}, {"SSH_AUTH_SOCK": f"{tmp_path}/gone"})] == [
        "",
        "",
        "",
    ]
    assert find_ssh(project(tmp_path), "", agent) == ""


@pytest.mark.parametrize(
    ("problem", "error"),
    [
        (
            "this private key is passphrase protected",
            "error: the SSH key has a passphrase, which a build can't ask for\nhint: ssh-add FILE, ",
        ),
        ("no key found", "error: what `ssh` names is no SSH key\nhint: "),
    ],
)
def test_keys_that_are_of_no_use(problem: str, error: str) -> None:
    """buildx's words (0.29.1) for what --ssh names."""
    log = f'ERROR: failed to build: failed to convert agent config {{default [/k] false}}: failed to convert agent config for ID: "default": failed to parse /k: ssh: {problem}'
    assert str(explain_failure(log, "docker buildx build").message).startswith(error)


def test_keys_are_files_that_are_there(tmp_path: Path, home: Path) -> None:
    (home / "id").touch()
    (tmp_path / "deploy").touch()
    assert find_ssh(project(tmp_path), "default=~/id,deploy", {}) == f"default={home}/id,{tmp_path}/deploy"
    with pytest.raises(Exit, match=rf"error: {tmp_path}/none does not exist \(--ssh\)"):
        find_ssh(project(tmp_path), "default=none", {})
    with pytest.raises(Exit, match=r"none does not exist \(`known_hosts`, "):
        secrets(tmp_path, [], {}, known_hosts="none")


@pytest.mark.parametrize(
    ("setting", "hint"),
    [
        ("  hex_mirror: https://me:s3cr3t@hex.example/mirror\n", "it belongs into hex.config"),
        ("  hex_mirror: https://s3cr3t@hex.example/mirror\n", "it belongs into hex.config"),
        ("  git_rewrites: {'https://git.example/': 'https://s3cr3t@git.example/'}\n", "it belongs into netrc: --secret id=netrc,src=FILE"),
        (
            "  git_rewrites: {'ssh://git:s3cr3t@git.example/': 'https://git.example/'}\n",
            "it belongs into netrc: --secret id=netrc,src=FILE",
        ),
    ],
)
def test_passwords_in_addresses_are_refused(shell: Shell, setting: str, hint: str) -> None:
    shell.repo.settings(setting)
    said = shell.invoke("config", code=2)
    name = setting.split(":")[0].strip()
    assert said.err.strip() == f"error: `{name}` has a password or a token in it (invoke.yaml:3)\nhint: {hint}"
    assert "s3cr3t" not in said.out + said.err


def test_where_the_mirror_comes_from_is_shown(shell: Shell) -> None:
    """The setting, else HEX_CDN, else HEX_MIRROR, as rebar3 has it."""
    env = {"HEX_CDN": "https://cdn.example", "HEX_MIRROR": "https://mirror.example"}
    assert rows(shell.invoke("config", env=env).out)["hex_mirror"] == ("https://cdn.example", "HEX_CDN")
    del env["HEX_CDN"]
    assert rows(shell.invoke("config", env=env).out)["hex_mirror"] == ("https://mirror.example", "HEX_MIRROR")
    shell.repo.settings("  hex_mirror: https://ours.example\n")
    assert rows(shell.invoke("config", env=env).out)["hex_mirror"] == ("https://ours.example", "invoke.yaml:3")
    shell.repo.settings("  git_rewrites: {'https://git.example/': 'ssh://git@git.example:2222/', 'https://a.example/': 'git@b.example:'}\n")
    assert "ssh://git@git.example:2222/" in shell.invoke("config").out


def test_a_repository_in_rebar_config_does_not_spoil_the_reducer(repo: Repo) -> None:
    """The `hex` entry is kept in one form, and what does not concern dependencies is left out beside it."""
    reduced = reduced_config(f"{{erl_opts, []}}.\n{REPOS}")
    assert reduced == '{hex,[{repos,[#{name=><<"acme">>,repo_url=><<"https://hex.example">>}]}]}.\n'
    assert reduced_config(REPOS.replace('name => <<"acme">>, ', "").replace("}]}", ', name => <<"acme">>}]}')) == reduced
    assert reduced_config(f"%% here\n{REPOS.replace(', ', ',  ')}") == reduced
    assert reduced_config('{hex, #{"text" => 1}}.') == '{hex,#{"text"=>1}}.\n'


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


def test_a_setting_names_its_files_from_the_projects_folder(shell: Shell) -> None:
    """A flag from where one is."""
    shell.repo.write("src/deep/mine", "")
    shell.repo.write("ours", "")
    shell.repo.settings("  secrets: ['id=a,src=ours']\n")
    command = shell.invoke("build", "--dry-run", "--secret", "id=b,src=mine", cwd="src/deep").out
    assert f"--secret id=a,src={shell.path}/ours --secret id=b,src=mine" in command
    shell.repo.settings("  secrets: ['id=a,src=mine']\n")
    assert shell.invoke("build", "--dry-run", code=2).err == f"error: {shell.path}/mine does not exist (`secrets`, invoke.yaml:3)"
