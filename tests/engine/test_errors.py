"""Bad input: error and hint, exit code 2, and nothing changed: no file, no image, no container."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from kit.engines import long
from kit.repos import TINY_CONFIG, Desk, Repo, refused


def no_git(repo: Repo) -> None:
    shutil.rmtree(repo.path / ".git")


def no_commit(repo: Repo) -> None:
    no_git(repo)
    repo.git("init", "--quiet")


def no_rebar_config(repo: Repo) -> None:
    (repo.path / "rebar.config").unlink()


def config(text: str) -> Callable[[Repo], None]:
    """A rebar.config of this text."""

    def write(repo: Repo) -> None:
        repo.write("rebar.config", text)

    return write


TWO = TINY_CONFIG.replace("{relx, [", '{relx, [{release, {edge, "1"}, [tiny]},\n        ', 1)
WRONG_REPOS: dict[str, tuple[Callable[[Repo], None], str, str]] = {
    "no git": (no_git, "is in no git repository", "git init"),
    "no commit": (no_commit, "has no commit yet", "git commit"),
    "no rebar.config": (no_rebar_config, "there is no rebar.config", "tasks.py belongs beside"),
    "unfinished term": (config("{erl_opts, []}.\n{deps, [\n"), "rebar.config:3", "full stop"),
    "no full stop": (config("{erl_opts, []}.\n\n{deps, []}\n{relx, []}.\n"), "rebar.config:4", "full stop"),
    "no Erlang": (config("{erl_opts, []}.\n}\n"), "rebar.config:2", "full stop"),
    "no release": (config("{erl_opts, []}.\n"), "rebar.config has no release", "add {relx, "),
    "several releases": (config(TWO), "rebar.config:2 has 2 releases, edge and tiny", "--release edge"),
}


@pytest.mark.parametrize("name", long(WRONG_REPOS, "unfinished term", "no Erlang"))
def test_a_repo_that_can_not_be_built(tiny: Desk, name: str) -> None:
    spoil, what, way_out = WRONG_REPOS[name]
    spoil(tiny.repo)
    for task in ("build", "push", "run", "deps-image"):
        error, hint = refused(tiny, task)
        assert what in error
        assert way_out in hint


def test_a_name_that_is_not_there(tiny: Desk) -> None:
    """A profile, a release."""
    error, hint = refused(tiny, "build", env={"INVOKE_BEAMDOCK_PROFILE": "prodd"})
    assert "no profile prodd" in error
    assert "did you mean `prod`?" in hint
    error, hint = refused(tiny, "build", "--release=tinny")
    assert "no release tinny" in error
    assert "tiny" in hint


def test_flags_that_can_not_be(tiny: Desk) -> None:
    assert "has no value" in refused(tiny, "build", "--build-arg=A")[0]
    assert "can't be a tag" in refused(tiny, "build", "--tag=a/b")[0]


def test_no_dockerfile(tiny: Desk) -> None:
    error, hint = refused(tiny, "build", env={"INVOKE_BEAMDOCK_DOCKERFILE": "Dockerfil"})
    assert "Dockerfil does not exist" in error
    assert "dockerfile:" in hint


TASKS = ("build", "run", "attach --dry-run", "eval 1", "shell", "logs", "ps", "stop", "diff")


def test_no_engine(tiny: Desk, tmp_path: Path) -> None:
    for task in TASKS:
        error, hint = refused(tiny, *task.split(), env={"DOCKER_HOST": f"unix://{tmp_path}/none.sock"})
        assert "no Docker engine answers" in error
        assert "DOCKER_HOST" in hint


def test_no_docker(tiny: Desk, tmp_path: Path) -> None:
    """A PATH with git on it, and no docker."""
    (tmp_path / "git").symlink_to(str(shutil.which("git")))
    for task in TASKS:
        error, hint = refused(tiny, *task.split(), env={"PATH": str(tmp_path)})
        assert "docker is not installed" in error
        assert hint


def test_no_git(tiny: Desk, tmp_path: Path) -> None:
    (tmp_path / "docker").symlink_to(str(shutil.which("docker", path=tiny.engine.env["PATH"])))
    error, hint = refused(tiny, "build", env={"PATH": str(tmp_path)})
    assert "git is not installed" in error
    assert hint


def test_no_buildx(tiny: Desk, tmp_path: Path) -> None:
    for task in ("build", "push", "deps-image"):
        error, hint = refused(tiny, task, *PUSHING.get(task, ()), env={"DOCKER_CONFIG": str(tmp_path)})
        assert "docker has no buildx: 0.13 or newer is needed" in error
        assert "docker-buildx" in hint


PUSHING = {"push": ("--registry=127.0.0.1:1/test",)}
OLD_BUILDX = """\
#!/bin/sh
case $1 in
  docker-cli-plugin-metadata) echo '{"SchemaVersion": "0.1.0", "Vendor": "Docker Inc.", "Version": "v0.9.1"}' ;;
  *) echo "unknown flag: --build-context" >&2; exit 125 ;;
esac
"""


@pytest.mark.parametrize("text", ["{ bad", '{"auths": []}'])
def test_a_broken_configuration_of_docker(tiny: Desk, tmp_path: Path, text: str) -> None:
    """docker goes on without it, and so without its logins, and without a buildx that only it names."""
    (tmp_path / "config.json").write_text(text)
    for task in ("build", "ps"):
        error, hint = refused(tiny, task, env={"DOCKER_CONFIG": str(tmp_path)})
        assert error.startswith(f"docker can't read its configuration, {tmp_path}/config.json: ")
        assert hint.startswith("mend the file, or move it away")


def test_an_old_buildx(tiny: Desk, tmp_path: Path) -> None:
    plugin = tmp_path / "cli-plugins" / "docker-buildx"
    plugin.parent.mkdir()
    plugin.write_text(OLD_BUILDX)
    plugin.chmod(0o755)
    for task in ("build", "push", "deps-image"):
        error, _ = refused(tiny, task, *PUSHING.get(task, ()), env={"DOCKER_CONFIG": str(tmp_path)})
        assert "buildx v0.9.1 is too old: 0.13 or newer is needed" in error


WRONG_SETTINGS = {
    "unknown": ("  runtime_package: [a]\n", "unknown setting `runtime_package` (invoke.yaml:3)", "did you mean `runtime_packages`?"),
    "far from any": ("  zzz: 1\n", "unknown setting `zzz` (invoke.yaml:3)", "invoke config"),
    "text for a list": ("  runtime_packages: libyaml-0-2\n", "should be a list of texts: [a, b] (invoke.yaml:3)", ""),
    "list for a text": ("\n  profile: [prod]\n", "should be text (invoke.yaml:4)", ""),
    "number for a text": ("  version: 1.10\n", "`version` is 1.1, and should be text (invoke.yaml:3)", "in quotes"),
    "text for a flag": ("  provenance: maybe\n", "should be true or false (invoke.yaml:3)", ""),
    "flag for a number": ("  nofile: true\n", "should be a whole number (invoke.yaml:3)", ""),
    "list for a table": ("  build_args: [A=1]\n", "should be a table of texts", ""),
    "number in a table": ("  build_args: {A: 1}\n", "should be a table of texts", ""),
}


@pytest.mark.parametrize("name", long(WRONG_SETTINGS, *list(WRONG_SETTINGS)[3:]))
def test_a_wrong_setting(tiny: Desk, name: str) -> None:
    """The error says which, what it should be, and where it stands."""
    text, what, way_out = WRONG_SETTINGS[name]
    tiny.repo.settings(text)
    for task in ("build", "config"):
        said = tiny.invoke(task, code=2).err
        assert said.startswith("error: ")
        assert what in said.splitlines()[0]
        assert way_out in said
    assert tiny.images == set()


WRONG_VARIABLES = {
    "RUNTIME_PACKAGE": ("[a]", "unknown setting `runtime_package` (INVOKE_BEAMDOCK_RUNTIME_PACKAGE)"),
    "RUNTIME_PACKAGES": ("libyaml-0-2", "should be a list of texts: [a, b] (INVOKE_BEAMDOCK_RUNTIME_PACKAGES)"),
    "NOFILE": ("28.2", "should be a whole number (INVOKE_BEAMDOCK_NOFILE)"),
    "PROVENANCE": ("sometimes", "should be true or false (INVOKE_BEAMDOCK_PROVENANCE)"),
}


@pytest.mark.parametrize("name", long(WRONG_VARIABLES, "RUNTIME_PACKAGES", "PROVENANCE"))
def test_a_wrong_variable(tiny: Desk, name: str) -> None:
    value, what = WRONG_VARIABLES[name]
    said = tiny.invoke("build", code=2, env={f"INVOKE_BEAMDOCK_{name}": value}).err
    assert said.startswith("error: ")
    assert what in said.splitlines()[0]
    assert tiny.images == set()


def test_broken_yaml(tiny: Desk) -> None:
    """An invoke.yaml that does not parse is named, and shows no stack."""
    tiny.repo.write("invoke.yaml", "beamdock:\n  image: [\n")
    assert "invoke.yaml" in tiny.invoke("build", code=2).err


def test_a_table_that_is_none(tiny: Desk) -> None:
    tiny.repo.write("invoke.yaml", "beamdock: yes please\n")
    assert "no table of settings" in tiny.invoke("build", code=2).err


def test_an_error_of_the_build_is_explained(tiny: Desk) -> None:
    """A source that does not compile: exit code 1, the compiler's own words, no image. A file that .dockerignore keeps out: nothing is
    begun."""
    tiny.repo.edit("src/tiny.erl", "42.", "42)")
    done = tiny.invoke("build", code=1)
    assert done.err.splitlines()[-2:] == ["error: src/tiny.erl:3: syntax error before: ')'", "hint: its output is above"]
    assert (done.out, tiny.images) == ("", set())
    tiny.repo.edit("src/tiny.erl", "42)", "42.")
    tiny.repo.edit("rebar.config", '"config/vm.args.src"', '"docs/vm.args.src"')
    tiny.repo.write("docs/vm.args.src", "-sname tiny\n")
    done = tiny.invoke("build", code=2)
    assert done.err.splitlines()[-2:] == [
        "error: .dockerignore keeps docs/vm.args.src out of the build, which the release takes",
        "hint: add at its end (or without the mark what is to stay out): !docs/vm.args.src",
    ]
    tiny.repo.write(".dockerignore", (tiny.repo.path / ".dockerignore").read_text() + "\n!docs/vm.args.src\n")
    tiny.invoke("build")
