"""Where a setting comes from, and that it counts the same however and from wherever the tasks are started."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from kit.repos import Desk, Repo, run, vendor


def test_from_any_folder_and_as_a_script(tiny: Desk) -> None:
    tiny.repo.settings('  registry: ghcr.io/acme\n  version: "{git, short}"\n')
    tiny.repo.write("apps/x/src/x.erl", "-module(x).\n")
    tiny.repo.commit()
    expected = tiny.invoke("build", "--dry-run")
    assert f"ghcr.io/acme/{tiny.repo.image}:{tiny.repo.head}" in expected.out
    for folder in ("apps/x", "src", "apps/x/src"):
        assert tiny.invoke("build", "--dry-run", cwd=folder) == expected
    for folder in (".", "apps/x"):
        script = str(tiny.repo.path / "tasks.py")
        assert run(tiny.engine, tiny.repo, sys.executable, script, "build", "--dry-run", cwd=folder) == expected
    assert run(tiny.engine, tiny.repo, sys.executable, "tasks.py", "build", "--dry-run") == expected


def test_in_a_larger_collection_under_another_name(tiny: Desk) -> None:
    """A team's tasks.py may hold ours as one collection among its own."""
    expected = tiny.invoke("config")
    tiny.repo.write("beamdock.py", (tiny.repo.path / "tasks.py").read_text())
    team = """\
from invoke.collection import Collection
from invoke.tasks import task

import beamdock


@task
def lint(c):
    print("linted")


ns = Collection(lint)
ns.add_collection(Collection.from_module(beamdock, name="docker"))
ns.configure({"run": {"echo": True}})
"""
    tiny.repo.write("tasks.py", team)
    assert tiny.invoke("docker.config") == expected
    assert tiny.invoke("lint", "docker.build", "--dry-run").out.startswith("linted\ndocker buildx build ")


def test_a_project_below_the_repository(tiny: Desk, tmp_path: Path) -> None:
    """The commit is the repository's; dirty is what differs in the project's own folder."""
    folder = tiny.repo.path / "services" / "sub"
    sub = Repo(folder, tiny.repo.image, branch=tiny.repo.branch)
    for name in ("rebar.config", "rebar.lock", "config/vm.args.src", "src/tiny.app.src", "src/tiny.erl", "invoke.yaml"):
        sub.write(name, (tiny.repo.path / name).read_text())
        (tiny.repo.path / name).unlink()
    vendor(folder)
    for name in ("tasks.py", "Dockerfile", ".dockerignore"):
        (tiny.repo.path / name).unlink()
    commit = tiny.repo.commit()
    tiny.repo.write("elsewhere.txt", "not the project's")
    desk = Desk(tiny.engine, sub)
    reference = desk.invoke("build").out
    assert reference == desk.reference(commit)
    assert commit in desk.docker("run", "--rm", "--entrypoint=cat", reference, "releases/start_erl.data")


def test_what_counts(tiny: Desk) -> None:
    """A variable counts over invoke.yaml and that over rebar.config; `invoke config` says which it was, with the line."""
    tiny.repo.settings("  nofile: 2048\n\n  registry: ghcr.io/acme\n")

    def rows(**env: str) -> dict[str, tuple[str, str]]:
        table = tiny.invoke("config", env=env).out.splitlines()
        return {name: (value, source) for name, value, source in (tuple(filter(None, map(str.strip, line.split("  ")))) for line in table)}

    found = rows(INVOKE_BEAMDOCK_REGISTRY="quay.io/x", INVOKE_BEAMDOCK_PROVENANCE="false", INVOKE_RUN_ECHO="1", INVOKE_OTHER="x")
    assert found["registry"] == ("quay.io/x", "INVOKE_BEAMDOCK_REGISTRY")
    assert found["nofile"] == ("2048", "invoke.yaml:3")
    assert found["release"] == ("tiny", "rebar.config:2")
    assert found["version"] == ("{git, long}", "rebar.config:2")
    assert found["provenance"] == ("false", "INVOKE_BEAMDOCK_PROVENANCE")
    assert found["profile"] == ("prod", "default")
    assert rows()["registry"] == ("ghcr.io/acme", "invoke.yaml:5")


def test_a_setting_reaches_the_container(desk28: Desk) -> None:
    container = desk28.invoke("run", "--detach", env={"INVOKE_BEAMDOCK_NOFILE": "1234"}).out
    desk28.answers(container)
    assert desk28.docker("exec", container, "sh", "-c", "ulimit -n") == "1234"
    limits = json.loads(desk28.docker("inspect", "--format={{json .HostConfig.Ulimits}}", container))
    assert [(x["Name"], x["Soft"], x["Hard"]) for x in limits] == [("nofile", 1234, 1234)]


def test_the_list_needs_nothing(tiny: Desk, tmp_path: Path) -> None:
    """`invoke --list` in a repo without rebar.config, without git and docker on the PATH: every task, one line each."""
    (tiny.repo.path / "rebar.config").unlink()
    listed = tiny.invoke("--list", env={"PATH": str(tmp_path)}).out
    for name in ["build", "run", "console", "attach", "shell", "logs", "ps", "stop", "diff", "push", "deps-image", "config"]:
        (line,) = [x for x in listed.splitlines() if x.split()[:1] == [name]]
        assert 10 < len(line.split(maxsplit=1)[1]) < 70 + len(name)
