"""Wherever tasks.py stands and however it is started: the same settings, the same result, nothing done before it is asked for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import pytest
from kit.repos import vendor

import tasks
from unit.conftest import Shell, rows
from unit.hostile import Thing, link, locked, make, obey_modes, read_only, remove

STAND_IN = '#!/bin/sh\necho "$0 was started" >&2\necho "$0 $*" >> "$STARTED"\nexit 99\n'


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for git and docker on the PATH, which fail; the file where they write that they were started."""
    folder = tmp_path / "stand-ins"
    folder.mkdir()
    for name in ("git", "docker", "podman"):
        (folder / name).write_text(STAND_IN)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("STARTED", str(tmp_path / "started"))
    return tmp_path / "started"


def test_the_list_starts_nothing(shell: Shell, started: Path) -> None:
    """`invoke --list` and a task's help start neither git nor docker."""
    assert "Build the release's image" in shell.invoke("--list").out
    assert "--build-arg" in shell.invoke("--help", "build").out
    assert not started.exists()
    assert shell.invoke("config", code=1).err.startswith("error: git status:")
    assert "git --no-optional-locks" in started.read_text()


def test_the_list_does_not_load_the_docker_client(shell: Shell) -> None:
    done = shell.python("-X", "importtime", "-m", "invoke", "--list")
    assert re.search(r"\| +fcntl$", done.err, re.MULTILINE)  # tasks.py itself was loaded
    assert "python_on_whales" not in done.err


def test_the_list_is_a_page_in_imperatives(shell: Shell) -> None:
    """One sentence each, under 70 characters, every everyday task."""
    lines = [line.split(None, 1) for line in shell.invoke("--list").out.splitlines()[2:] if line.strip()]
    assert {"build", "run", "console", "attach", "shell", "logs", "ps", "stop", "diff", "push", "deps-image", "config"} <= {
        n for n, _ in lines
    }
    for name, about in lines:
        assert about.strip()[0].isupper() or about.startswith("(release)"), name
        assert len(about) < 70, name


@pytest.mark.parametrize("name", ["build", "run", "push", "stop"])
def test_every_parameter_has_a_help_text(shell: Shell, name: str) -> None:
    options = [line for line in shell.invoke("--help", name).out.partition("Options:\n")[2].splitlines() if line]
    assert len(options) > 3
    assert [line for line in options if not re.fullmatch(r"  (-\w, )?--[^ ]+ +[^- ].*|   +\S.*", line)] == []
    assert not any(line.startswith("  -h") for line in options)


def test_from_a_subfolder_and_as_a_script(shell: Shell) -> None:
    """`invoke config` and `python tasks.py config` say the same, from the project's folder and from below it."""
    (shell.path / "src" / "deep").mkdir(parents=True)
    shell.repo.settings("  nofile: 9\n")
    said = shell.invoke("config").out
    assert rows(said)["nofile"] == ("9", "invoke.yaml:3")
    assert shell.invoke("config", cwd="src/deep").out == said
    assert shell.python("tasks.py", "config").out == said
    assert shell.python("../../tasks.py", "config", cwd="src/deep").out == said
    assert shell.python(str(shell.path / "tasks.py"), "config", cwd="/").out == said


def test_as_a_script_its_help_says_how_it_was_started(shell: Shell) -> None:
    assert "Build the release's image" in shell.python("tasks.py", "--list").out


def test_a_variable_counts_for_a_script_too(shell: Shell) -> None:
    done = shell.python("tasks.py", "config", env={"INVOKE_BEAMDOCK_PROVENANCE": "false", "INVOKE_BEAMDOCK_PROFILE": "default"})
    assert rows(done.out)["provenance"] == ("false", "INVOKE_BEAMDOCK_PROVENANCE")
    assert rows(done.out)["profile"] == ("default", "INVOKE_BEAMDOCK_PROFILE")


HOST = """\
from invoke.collection import Collection
from invoke.tasks import task

import beam_tasks


@task
def lint(c):
    "Look at the code"


ns = Collection(lint, Collection.from_module(beam_tasks, name="docker"))
ns.configure({"image": {"x": 1}})
"""


@pytest.fixture
def hosted(shell: Shell) -> Shell:
    """A project with a tasks.py of its own, which has ours under another name in it."""
    (shell.path / "tasks.py").rename(shell.path / "beam_tasks.py")
    shell.repo.write("tasks.py", HOST)
    return shell


def test_in_a_larger_collection(hosted: Shell) -> None:
    """Tasks are docker.build and so on; settings and variables are read as ever."""
    names = {line.split()[0] for line in hosted.invoke("--list").out.splitlines() if line.startswith("  ")}
    assert {"lint", "docker.build", "docker.deps-image", "docker.config"} <= names
    hosted.repo.settings("  nofile: 9\n")
    shown = rows(hosted.invoke("docker.config", env={"INVOKE_BEAMDOCK_PROVENANCE": "false"}).out)
    assert shown["nofile"] == ("9", "invoke.yaml:3")
    assert shown["provenance"] == ("false", "INVOKE_BEAMDOCK_PROVENANCE")


def test_renamed(shell: Shell) -> None:
    """Under another name, with `invoke --collection` or as a script."""
    (shell.path / "tasks.py").rename(shell.path / "container.py")
    said = shell.invoke("--collection", "container", "config").out
    assert "tiny" in said
    assert shell.python("container.py", "config").out == said


OTHERS = ("ci/__init__.py", "ci/beamdock.py", "beamdock.py", "words.py", "settings.py")


def test_in_any_layout(shell: Shell) -> None:
    """The rooms are loaded by path and under a name of our own: a `ci` of the repo's, and modules called like rooms, are not in
    their way, and from a renamed tasks.py too."""
    for name in OTHERS:
        shell.repo.write(name, "raise SystemExit('another one')\n")
    said = shell.invoke("config").out
    assert "tiny" in said
    (shell.path / "tasks.py").rename(shell.path / "container.py")
    assert shell.invoke("--collection", "container", "config").out == said
    assert shell.python("container.py", "config").out == said


TWO = """\
from invoke.collection import Collection
import importlib.util

def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

one, two = load("one", "beam_tasks.py"), load("two", "other/tasks.py")
assert one.read_project.__globals__ is not two.read_project.__globals__
ns = Collection(Collection.from_module(one, name="one"), Collection.from_module(two, name="two"))
"""


def test_two_copies_in_one_process(hosted: Shell) -> None:
    """Each has the rooms beside it."""
    vendor(hosted.path / "other")
    hosted.repo.write("tasks.py", TWO)
    hosted.repo.edit("other/ci/beamdock/words.py", 'KEY = "beamdock"', 'KEY = "othername"')
    assert "INVOKE_BEAMDOCK_NOFILE" in hosted.invoke("one.config", env={"INVOKE_BEAMDOCK_NOFILE": "9"}).out
    assert "INVOKE_OTHERNAME_NOFILE" in hosted.invoke("two.config", env={"INVOKE_OTHERNAME_NOFILE": "9"}).out


WHOLE = "hint: copy tasks.py and the folder ci/beamdock, whole and of one version"


def test_without_its_folder(shell: Shell) -> None:
    shutil.rmtree(shell.path / "ci")
    assert shell.invoke("config", code=2).err == f"error: there is no folder ci/beamdock in {shell.path}\n{WHOLE}"
    shell.repo.write("ci/beamdock", "")
    missing = f"error: {shell.path}/ci/beamdock/__init__.py is missing\n{WHOLE}"
    assert shell.invoke("config", code=2).err == missing
    (shell.path / "ci" / "beamdock").unlink()
    (shell.path / "ci" / "beamdock").mkdir()
    assert shell.invoke("config", code=2).err == missing


def test_with_half_of_its_folder(shell: Shell) -> None:
    """A room is missing, or ends in the middle: one that all tasks need, and one that a single task needs."""
    rooms = shell.path / "ci" / "beamdock"
    for room, task in (("words.py", "config"), ("files.py", "--list"), ("init.py", "init ."), ("__init__.py", "config")):
        text = (rooms / room).read_text()
        (rooms / room).unlink()
        assert shell.invoke(*task.split(), code=2).err == f"error: {rooms}/{room} is missing\n{WHOLE}"
        (rooms / room).write_text(text[: len(text) // 2] + '\n"')
        said = shell.invoke(*task.split(), code=2).err
        assert re.fullmatch(rf"error: {rooms}/{room} can't be loaded: .+ \({room}, line \d+\)\n{WHOLE}", said)
        (rooms / room).write_bytes(bytes(len(text)))
        assert (
            shell.invoke(*task.split(), code=2).err
            == f"error: {rooms}/{room} can't be loaded: it is not of version {tasks.VERSION}, as tasks.py is\n{WHOLE}"
        )
        (rooms / room).write_text(text)


def test_with_a_folder_that_ends_before_its_loader(shell: Shell) -> None:
    text = (shell.path / "ci" / "beamdock" / "__init__.py").read_text()
    for cut in ("def prepare", "class RoomLoader"):
        shell.repo.write("ci/beamdock/__init__.py", text[: text.index(cut)])
        said = shell.invoke("--list", code=2).err
        assert re.fullmatch(rf"error: {shell.path}/ci/beamdock/__init__\.py can't be loaded: .+\n{WHOLE}", said)


def test_with_a_folder_of_another_version(shell: Shell) -> None:
    """Of rooms, all or one, or of tasks.py; and of the same version, where a name is missing."""
    rooms = shell.path / "ci" / "beamdock"
    shell.repo.edit("ci/beamdock/git.py", f"beamdock {tasks.VERSION}:", "beamdock 0.0.9:")
    said = f"error: {rooms}/git.py can't be loaded: it is not of version {tasks.VERSION}, as tasks.py is\n{WHOLE}"
    assert shell.invoke("config", code=2).err == said
    assert shell.python("tasks.py", "config", code=2).err == said
    shell.repo.edit("ci/beamdock/git.py", "beamdock 0.0.9:", f"beamdock {tasks.VERSION}:")
    shell.repo.edit("tasks.py", f'"{tasks.VERSION}"', '"9.0.0"')
    other = f"error: {rooms}/__init__.py can't be loaded: it is not of version 9.0.0, as tasks.py is\n{WHOLE}"
    assert shell.invoke("--list", code=2).err == other
    shell.repo.edit("tasks.py", '"9.0.0"', f'"{tasks.VERSION}"')
    shell.repo.edit("ci/beamdock/words.py", "def errors_told(", "def errors_said(")
    assert shell.invoke("config", code=2).err == (
        f"error: {rooms}/words.py can't be loaded: cannot import name 'errors_told' from 'ci.beamdock.words' ({rooms}/words.py)\n{WHOLE}"
    )


def test_every_file_says_its_version(shell: Shell) -> None:
    """What a room's loader compares, and what an upgrade will."""
    heads = {file.name: file.read_text().splitlines()[0] for file in (shell.path / "ci" / "beamdock").glob("*.py")}
    assert [name for name, head in heads.items() if not head.startswith(f'"""beamdock {tasks.VERSION}: ')] == []
    for name in ("tasks.py", "Dockerfile", ".dockerignore"):
        assert f"beamdock {tasks.VERSION}: " in "".join((shell.path / name).read_text().splitlines()[:6]), name


@pytest.mark.parametrize(("package", "task"), [("yaml", "config"), ("python_on_whales", "build --dry-run")])
def test_without_a_python_package(shell: Shell, package: str, task: str) -> None:
    """One that is needed to load the rooms, and one that is loaded when docker is first needed."""
    shell.repo.write(f"lib/{package}.py", "import no_such_module\n")
    done = shell.python("-m", "invoke", *task.split(), code=2, env={"PYTHONPATH": str(shell.path / "lib")})
    assert done.err == "error: Python has no package no_such_module\nhint: pip install invoke python-on-whales pyyaml"


BYTECODE = {"PYTHONDONTWRITEBYTECODE": ""}  # as everywhere but in these tests


def compiled(root: Path) -> set[str]:
    """The files of bytecode in a folder."""
    return {file.relative_to(root).as_posix() for file in root.rglob("*.pyc")}


def test_bytecode_is_kept_in_build(shell: Shell) -> None:
    """And nowhere else in the repo; git sees none of it, also where _build is in no .gitignore. A later start compiles no room."""
    shell.repo.write(".gitignore", "")
    shell.repo.commit()
    shell.python("-m", "invoke", "--list", env=BYTECODE)
    assert shell.repo.git("status", "--porcelain") == ""
    kept = f"_build/beamdock/bytecode{shell.path}/ci/beamdock/"
    found = compiled(shell.path)
    assert {name.rpartition("/")[0] + "/" for name in found} == {kept}
    assert {"words", "build"} <= {name.rpartition("/")[2].split(".")[0] for name in found}
    said = shell.python("-v", "-m", "invoke", "--list", env=BYTECODE).err
    assert f"# code object from '{shell.path}/{kept}words." in said
    assert f"# code object from {shell.path}/ci/beamdock" not in said and "# wrote" not in said
    (shell.path / "other").mkdir()
    shell.python("-m", "invoke", "init", "other", code=2, env=BYTECODE)
    assert {name.rpartition("/")[2].split(".")[0] for name in compiled(shell.path) - found} == {"init"}
    shell.repo.edit("ci/beamdock/words.py", 'KEY = "beamdock"', 'KEY = "othername"')
    assert "tiny" in shell.python("-m", "invoke", "config", env={**BYTECODE, "INVOKE_OTHERNAME_NOFILE": "9"}).out


PLACES: dict[str, Mapping[str, Thing]] = {
    "_build is a file": {"_build": ""},
    "_build is a link": {"_build": link("../elsewhere")},
    "_build is read-only": {"_build": read_only()},
    "beamdock is a link": {"_build/beamdock": link("../../elsewhere")},
    "bytecode is a file": {"_build/beamdock/bytecode": ""},
    "bytecode is a link": {"_build/beamdock/bytecode": link("../../../elsewhere")},
    "bytecode is read-only": {"_build/beamdock/bytecode": read_only(".gitignore")},
    "the repo is read-only": {".": locked},
    "there is no rebar.config": {"rebar.config": remove},
}


@pytest.mark.parametrize("place", PLACES)
def test_without_a_place_for_bytecode(shell: Shell, place: str) -> None:
    """The rooms are loaded without a word, and nothing is written, least of all through a link."""
    elsewhere = shell.path.parent / "elsewhere"
    elsewhere.mkdir()
    make(shell.path, PLACES[place])
    words = [sys.executable, "-c", "import sys; sys.dont_write_bytecode = True; import tasks; print(*tasks.ns.tasks)"]
    env = {**os.environ, **BYTECODE}
    done = subprocess.run(words, cwd=shell.path, env=env, preexec_fn=obey_modes, capture_output=True, text=True, check=True)
    assert "deps-image" in done.stdout and done.stderr == ""
    assert compiled(shell.path) == set() and not [*elsewhere.iterdir()]


PROCESS = """\
import importlib, sys, types

def state():
    return {name: [*value] if isinstance(value, list) else value for name, value in vars(sys).items()
            if name not in ("modules", "path_importer_cache", "getrefcount")}

import invoke.collection, yaml, difflib
sys.modules["ci"] = mine = types.ModuleType("ci")
sys.pycache_prefix, sys.dont_write_bytecode = PREFIX, WRITE
before = state()
import tasks
after = state()
assert sys.modules["ci"] is mine and "ci.beamdock" not in sys.modules
print([name for name in {**before, **after} if before.get(name) != after.get(name)])
"""


@pytest.mark.parametrize("values", ["None, True", "None, False", "'/nowhere', False"])
def test_the_process_is_as_before(shell: Shell, values: str) -> None:
    """Nothing of Python's is changed by loading: neither where it keeps bytecode, nor whether, nor where it looks for modules."""
    code = PROCESS.replace("PREFIX, WRITE", values)
    assert shell.python("-c", code, env=BYTECODE).out == "[]"
    assert {name.split("/")[0] for name in compiled(shell.path)} <= {"_build", "__pycache__"}  # tasks.py's own is Python's


def test_the_release_of_every_task(shell: Shell) -> None:
    """--release is a flag of all tasks, goes over the setting, and is checked like one."""
    for made in tasks.ns.tasks.values():
        assert {"release", "dry_run", "quiet"} <= {argument.attr_name or argument.name for argument in made.get_arguments()}, made.name
    shell.repo.edit("rebar.config", "{relx, [{release, {tiny,", '{relx, [{release, {second, "2"}, []}, {release, {tiny,')
    assert shell.invoke("config", code=2).err.startswith(
        "error: rebar.config:2 has 2 releases, second and tiny\nhint: choose one: invoke build --release "
    )
    assert rows(shell.invoke("config", "--release=second").out)["release"] == ("second", "--release")
    assert " --build-arg RELEASE=tiny " in shell.invoke("build", "--dry-run", "--release=tiny").out
    assert shell.invoke("config", "--release=third", code=2).err.startswith("error: rebar.config has no release third")


def test_dry_run_prints_one_command_and_needs_no_docker(shell: Shell, started: Path) -> None:
    """Ready to paste: the contexts it names are there; no docker was started."""
    (started.parent / "stand-ins" / "git").unlink()
    shell.repo.write(".gitignore", "__pycache__/\n")
    shell.repo.commit()
    done = shell.invoke("build", "--dry-run")
    assert done.out.startswith("docker buildx build ")
    assert len(done.out.splitlines()) == 1
    contexts = dict(word.split("=", 1) for word in done.out.split() if word.startswith(("git=", "deps=")))
    assert all(Path(folder).is_dir() for folder in contexts.values()) and set(contexts) == {"git", "deps"}
    assert done.err.splitlines() == [
        "warning: rebar.config names config/vm.args.src, which does not exist",
        "hint: rebar3 makes no release without it",
    ]
    assert not started.exists()
    assert shell.repo.git("status", "--porcelain") == ""


def test_what_a_stage_gives_is_in_no_folder_of_the_root() -> None:
    """BuildKit walks all of the folder that a path is in: of a stage with a whole system in it that is slow (bench/README.md)."""
    text = (Path(tasks.__file__).parent / "Dockerfile").read_text()
    whole = r"--(?:mount=)?from=(?:builder|prod_compiled|releaser|checked|runner_base)\b"
    sources = re.findall(rf"^COPY (?:--\S+ )*{whole}(?: --\S+)* (\S+) |{whole}(?:,\S+?)*?,source=([^,\s]+)", text, re.MULTILINE)
    paths = [PurePosixPath(copied or mounted) for copied, mounted in sources]
    assert len(paths) == len(re.findall(whole, text)) > 4
    assert [path for path in paths if len(path.parts) < 3] == []


BIN = Path(sys.executable).parent


@pytest.fixture(scope="session")
def index() -> dict[str, str]:
    """Where this machine's pip takes packages from, if it is said, for uv and pipx too: the tests' home has no configuration."""
    said = subprocess.run([sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True, check=False)
    url = said.stdout.strip()
    # uv has roots of its own otherwise, and not what a company's machine trusts; the first name is of older versions
    return {"UV_NATIVE_TLS": "1", "UV_SYSTEM_CERTS": "1", **({"UV_DEFAULT_INDEX": url, "PIP_INDEX_URL": url} if url else {})}


@pytest.mark.parametrize("start", ["uv run", "pipx run"])
def test_by_the_header_of_the_script(shell: Shell, index: dict[str, str], start: str) -> None:
    """uv and pipx read what it needs from its header; settings and result are those of `invoke`, from a subfolder too."""
    shell.repo.settings("  runtime_packages: [libsctp1]\n")
    (shell.path / "src" / "deep").mkdir(parents=True)
    for cwd, script in ((".", "tasks.py"), ("src/deep", "../../tasks.py")):
        for task in (["config"], ["build", "--dry-run"], ["ps", "--dry-run", "--release", "nope"]):
            expected = subprocess.run(
                [sys.executable, "-m", "invoke", *task], cwd=shell.path / cwd, capture_output=True, text=True, check=False
            )
            done = subprocess.run(
                [*f"{BIN / start} {script}".split(), *task],
                cwd=shell.path / cwd,
                env={**os.environ, **index, "PATH": f"{BIN}:{os.environ['PATH']}"},
                capture_output=True,
                text=True,
                check=False,
            )
            assert (done.stdout, done.returncode) == (expected.stdout, expected.returncode), done.stderr[-2000:]
            assert done.stderr.endswith(expected.stderr)
    assert "libsctp1" in shell.invoke("config").out


COMPLETE = """\
eval "$(python -m invoke --print-completion-script bash)"
complete -p invoke
COMP_WORDS=(invoke $1)
_complete_invoke invoke "${1##* }"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("typed", "words"), [("bui", {"build"}), ("at", {"attach"}), ("build --no-c", {"--no-cache"}), ("none-such", set())]
)
def test_completion_in_bash(shell: Shell, typed: str, words: set[str]) -> None:
    """What `invoke --print-completion-script bash` prints, sourced in a real bash."""
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", COMPLETE, "bash", typed], cwd=shell.path, env=env, capture_output=True, text=True, check=True)
    first, *found = done.stdout.splitlines()
    assert "-F _complete_invoke" in first and set(filter(None, found)) == words


@pytest.mark.parametrize("name", ["zsh", "fish"])
def test_completion_of_other_shells_is_printed(shell: Shell, name: str) -> None:
    assert "invoke --complete" in shell.invoke("--print-completion-script", name).out.replace("${=collection_arg} ", "")
