"""`invoke init DIR`: what it writes, what it leaves, what it shows."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest
from kit.engines import ROOT
from kit.repos import TINY_CONFIG, Repo, Result, vendor

from ci.beamdock.rebar import PROD_RELX
from unit.conftest import Shell, rows


@pytest.fixture
def module() -> ModuleType:
    from ci.beamdock import init

    return init


@pytest.fixture
def home(tmp_path: Path) -> Shell:
    """A folder with all that is vendored; no repository, no rebar.config."""
    folder = tmp_path / "source"
    folder.mkdir()
    vendor(folder)
    shutil.copy(ROOT / "ci" / "requirements.txt", folder / "ci")
    return Shell(folder, Repo(folder, "unused"))


@pytest.fixture
def other(tmp_path: Path) -> Repo:
    """A team's repo that has none of our files."""
    made = Repo(tmp_path / "the other one", "unused")
    made.write("rebar.config", TINY_CONFIG)
    made.write(".gitignore", "_build\n")
    made.git("init", "--quiet", "--initial-branch=main")
    made.commit()
    return made


def init(home: Shell, other: Repo, *args: str, code: int = 0) -> Result:
    return home.invoke("init", str(other.path), *args, code=code)


def init_plain(home: Shell, other: Repo, *args: str) -> Result:
    """All but the requirements."""
    return init(home, other, "--no-ci", *args)


def written(done: Result, other: Repo) -> set[str]:
    """The files that it says it wrote; the rooms as one."""
    names = {str(Path(line).relative_to(other.path)) for line in done.out.splitlines()}
    return {"ci/beamdock" if name.startswith("ci/beamdock/") else name for name in names}


def test_plain(home: Shell, other: Repo) -> None:
    """All files, byte by byte; their names on stdout; nothing to paste; what to type next."""
    before = other.everything()
    done = init_plain(home, other)
    assert written(done, other) == {"tasks.py", "Dockerfile", ".dockerignore", "ci/beamdock"}
    names = [str(Path(line).relative_to(other.path)) for line in done.out.splitlines()]
    assert other.everything() == {**before, **{name: (home.path / name).read_bytes() for name in names}}
    assert done.err.splitlines()[0] == f"writing into {other.path}:"
    assert done.err.splitlines()[1:] == [
        f"next, in {other.path}: uv run tasks.py build; or pip install invoke python-on-whales pyyaml, and invoke build"
    ]


def test_with_ci(home: Shell, other: Repo) -> None:
    """The requirements too; and then it can hand all of it on."""
    assert written(init(home, other), other) == {"tasks.py", "Dockerfile", ".dockerignore", "ci/requirements.txt", "ci/beamdock"}
    assert "init " in Shell(other.path, other).invoke("--list").out


def test_twice_changes_nothing(home: Shell, other: Repo) -> None:
    init(home, other)
    before = other.everything()
    again = init(home, other)
    assert (other.everything(), again.out) == (before, "")
    assert "unchanged Dockerfile" in again.err.splitlines()
    assert "writing" not in again.err


def test_dry_run_and_quiet(home: Shell, other: Repo) -> None:
    before = other.everything()
    done = init_plain(home, other, "--dry-run")
    assert other.everything() == before
    assert written(done, other) == {"tasks.py", "Dockerfile", ".dockerignore", "ci/beamdock"}
    assert done.err.startswith("would write into ")
    assert init(home, other, "--quiet").err == ""


def test_an_older_version_is_shown_and_left(home: Shell, other: Repo) -> None:
    """tasks.py and Dockerfile of another version, the latter edited: unified diffs, from theirs to ours."""
    init(home, other)
    other.edit("tasks.py", "beamdock 0.1.0", "beamdock 0.0.9")
    other.edit("Dockerfile", "HTTP_PORT=8080", "HTTP_PORT=80")
    before = other.everything()
    done = init(home, other)
    assert (other.everything(), done.out) == (before, "")
    assert "--- tasks.py (yours)\n+++ tasks.py (beamdock's)\n@@ " in done.err
    assert '\n-"""beamdock 0.0.9: ' in done.err and '\n+"""beamdock 0.1.0: ' in done.err
    assert "\n-    HTTP_PORT=80 \\\n+    HTTP_PORT=8080 \\\n" in done.err


def test_line_ends_are_no_difference(home: Shell, other: Repo) -> None:
    init(home, other)
    (other.path / "tasks.py").write_bytes((other.path / "tasks.py").read_bytes().replace(b"\n", b"\r\n"))
    assert "unchanged tasks.py" in init(home, other).err


def test_their_dockerfile_stays(home: Shell, other: Repo) -> None:
    """Ours gets another name, an ignore file of its own and the setting; theirs, and their ignore file, stay."""
    other.write("Dockerfile", "FROM scratch\n")
    other.write(".dockerignore", "*\n")
    before = other.everything()
    done = init_plain(home, other)
    assert written(done, other) == {"tasks.py", "Dockerfile.beamdock", "Dockerfile.beamdock.dockerignore", "invoke.yaml", "ci/beamdock"}
    after = other.everything()
    assert before.items() <= after.items()
    assert after["Dockerfile.beamdock.dockerignore"] == (home.path / ".dockerignore").read_bytes()
    assert rows(Shell(other.path, other).invoke("config").out)["dockerfile"] == ("Dockerfile.beamdock", "invoke.yaml:2")
    again = init_plain(home, other)
    assert (other.everything(), again.out) == (after, "")
    assert "dockerfile:" not in again.err


def test_their_ignore_file_alone_stays(home: Shell, other: Repo) -> None:
    other.write(".dockerignore", "*\n")
    assert written(init_plain(home, other), other) == {"tasks.py", "Dockerfile", "Dockerfile.dockerignore", "ci/beamdock"}
    assert init_plain(home, other).out == ""


def test_their_setting_says_where(home: Shell, other: Repo) -> None:
    other.write("invoke.yaml", "beamdock:\n  dockerfile: docker/release.Dockerfile\n")
    ours = {"tasks.py", "docker/release.Dockerfile", "docker/release.Dockerfile.dockerignore", "ci/beamdock"}
    assert written(init_plain(home, other), other) == ours
    assert init_plain(home, other).out == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("run:\n  echo: true\n", "invoke.yaml: add\n  beamdock:\n    dockerfile: Dockerfile.beamdock\n"),
        ("beamdock:\n  image: x\n", "invoke.yaml: add under beamdock:\n  dockerfile: Dockerfile.beamdock\n"),
    ],
)
def test_their_invoke_yaml_stays(home: Shell, other: Repo, text: str, shown: str) -> None:
    """The lines to add are shown, and are the right ones."""
    other.write("Dockerfile", "FROM scratch\n")
    other.write("invoke.yaml", text)
    done = init_plain(home, other)
    assert (other.path / "invoke.yaml").read_text() == text
    assert shown in done.err
    lines = shown.split("\n", 1)[1]
    other.write("invoke.yaml", text + (lines if "under" in shown else re.sub(r"(?m)^  ", "", lines)))
    assert rows(Shell(other.path, other).invoke("config").out)["dockerfile"][0] == "Dockerfile.beamdock"
    assert "dockerfile" not in init_plain(home, other).err


OWN = 'from invoke import task\n\n\n@task\ndef lint(c):\n    "Look at the code"\n'


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tasks.py", OWN),
        ("tasks.py", OWN + "\n\nfrom invoke import Collection\nns = Collection(lint)\n"),
        ("tasks.py", OWN + "\n\nfrom invoke import Collection\nnamespace: Collection = Collection()\nnamespace.add_task(lint)\n"),
        ("tasks/__init__.py", OWN),
        ("tasks/__init__.py", "from invoke import Collection\nfrom . import more\n\nns = Collection(more)\n"),
    ],
    ids=["no ns", "ns", "namespace", "package", "package with ns"],
)
def test_their_tasks_stay(home: Shell, other: Repo, name: str, text: str) -> None:
    """Ours becomes beamdock.py; the lines that are shown, at the end of theirs, add its tasks to theirs."""
    other.write(name, text)
    if "more" in text:
        other.write("tasks/more.py", OWN)
    shell = Shell(other.path, other)
    listed = set(re.findall(r"^  (\S+)", shell.invoke("--list").out, re.MULTILINE))
    done = init_plain(home, other)
    assert "beamdock.py" in written(done, other) and "tasks.py" not in written(done, other)
    assert (other.path / name).read_text() == text
    shown = re.search(rf"^{name} stays as it is; at its end add\n((?:  .*\n)+)", done.err, re.MULTILINE)
    assert shown and ("sys.modules" in shown[1]) == (not re.search(r"^(ns|namespace)\b", text, re.MULTILINE))
    other.write(name, text + "\n\n" + re.sub(r"(?m)^  ", "", shown[1]))
    now = set(re.findall(r"^  (\S+)", shell.invoke("--list").out, re.MULTILINE))
    assert listed < now and {"docker.build", "docker.push"} <= now
    assert rows(shell.invoke("docker.config").out)["release"][0] == "tiny"
    assert rows(shell.python("beamdock.py", "config").out)["release"][0] == "tiny"
    again = init_plain(home, other)
    assert again.out == "" and "stays as it is" not in again.err


def test_it_hands_on_what_it_made(home: Shell, other: Repo, tmp_path: Path) -> None:
    """From a repo where ours have their second names, to one where they get their first."""
    other.write("Dockerfile", "FROM scratch\n")
    other.write("tasks.py", OWN)
    init(home, other)
    third = Repo(tmp_path / "third", "unused")
    third.write("rebar.config", TINY_CONFIG)
    Shell(other.path, other).python("beamdock.py", "init", "../third")
    for name in ("tasks.py", "Dockerfile", ".dockerignore"):
        assert (third.path / name).read_bytes() == (home.path / name).read_bytes()


def test_refused(home: Shell, other: Repo, tmp_path: Path) -> None:
    """No folder, no project, itself: told before anything is written."""
    (tmp_path / "empty").mkdir()
    home.repo.write("rebar.config", TINY_CONFIG)
    before = home.repo.everything()
    for folder, error in (
        (str(tmp_path / "none"), "there is no folder "),
        (str(tmp_path / "empty"), "there is no rebar.config in "),
        (".", ". is this repo itself"),
        (str(home.path / "ci" / ".."), ""),
        ("--help", "--help is no folder"),
    ):
        done = home.invoke("init", folder, code=2)
        assert done.err.startswith(f"error: {error}") and "\nhint: " in done.err
        assert done.out == ""
    assert home.repo.everything() == before
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_rebar_config_that_is_no_file(home: Shell, other: Repo) -> None:
    """Nothing is written: there is no half copy to clear away."""
    (other.path / "rebar.config").unlink()
    (other.path / "rebar.config").mkdir()
    before = other.everything()
    done = init(home, other, code=2)
    assert done.err.startswith(f"error: {other.path / 'rebar.config'} is a folder, and should be a file")
    assert (done.out, other.everything()) == ("", before)


def test_what_is_in_the_way_stays(home: Shell, other: Repo) -> None:
    """A link to nowhere, a folder."""
    (other.path / "Dockerfile").symlink_to("nowhere")
    (other.path / "tasks.py").mkdir()
    done = init_plain(home, other)
    assert {"beamdock.py", "Dockerfile.beamdock"} <= written(done, other)
    assert (other.path / "Dockerfile").is_symlink() and (other.path / "tasks.py").is_dir()


def test_no_half_file(module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted before the last step, there is nothing; the mode is that of any new file."""
    module.write_whole(tmp_path / "whole", b"all")
    (tmp_path / "usual").touch()
    assert (tmp_path / "whole").stat().st_mode == (tmp_path / "usual").stat().st_mode

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        module.write_whole(tmp_path / "half", b"all")
    assert {f.name for f in tmp_path.iterdir()} == {"usual", "whole"}


ERTS = "{profiles, [{prod, [{relx, [{dev_mode, false}, {include_erts, true}]}]}]}.\n"
RELX = '{relx, [{release, {tiny, "1"}, [tiny]}, {extended_start_script, true}]}.\n'


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        (RELX + ERTS, []),
        (RELX, [f"rebar.config has no profile prod; add:\n  {{profiles, [{{prod, [{PROD_RELX}]}}]}}."]),
        (
            RELX + "{profiles, [{test, []}]}.",
            [f"rebar.config has no profile prod; add at rebar.config:2, inside its profiles:\n  {{prod, [{PROD_RELX}]}}"],
        ),
        (
            RELX + "{profiles, [\n {prod, [\n  {relx, [{include_erts, false}]}]}]}.",
            [
                "rebar.config:4 makes a release without the Erlang runtime; add at the end of its relx:\n  {mode, prod}",
            ],
        ),
        (
            RELX.replace("]}.", ", {dev_mode, true}]}.") + "{profiles, [{prod, [{erl_opts, []}]}]}.",
            [
                f"rebar.config:2 makes a release without the Erlang runtime; add inside profile prod:\n  {PROD_RELX}",
            ],
        ),
        (RELX.replace("]}.", ", {dev_mode, true}]}.") + ERTS, []),
        (RELX.replace("]}.", ", {include_erts, false}]}.") + ERTS, []),
        (RELX + "{profiles, [{prod, [{relx, [{mode, prod}]}]}]}.", []),
        (
            RELX.replace("]}.", ", {mode, dev}]}.") + ERTS,
            ["rebar.config:2 makes a release without the Erlang runtime; add at the end of its relx:\n  {mode, prod}"],
        ),
        (
            ERTS + '{relx, [{release, {tiny, "1"}, [tiny]}, {extended_start_script, false}]}.',
            ["rebar.config:2 turns the extended start script off; write instead:\n  {extended_start_script, true}"],
        ),
        (ERTS + '{relx, [{release, {tiny, "1"}, [tiny]}]}.', []),
        ("{relx, [}.", [f"rebar.config:1 can't be read (a term is missing before }}.); does its profile prod have {PROD_RELX}?"]),
    ],
)
def test_what_rebar_config_lacks(module: ModuleType, text: str, advice: list[str]) -> None:
    assert module.advise_on_rebar_config(text, "prod") == advice


def test_no_release_and_no_gitignore(home: Shell, other: Repo) -> None:
    other.write("rebar.config", ERTS)
    (other.path / ".gitignore").unlink()
    said = init(home, other).err
    assert "rebar.config has no release; add, with names of yours:\n" in said
    assert "\n.gitignore: add\n  _build/\n" in said


@pytest.mark.parametrize(("linked", "args"), [("ci", []), ("ci/beamdock", []), ("ci", ["--no-ci"]), ("ci", ["--dry-run"])])
def test_nothing_is_written_through_a_linked_folder(home: Shell, other: Repo, tmp_path: Path, linked: str, args: list[str]) -> None:
    (tmp_path / "theirs").mkdir()
    (other.path / linked).parent.mkdir(exist_ok=True)
    (other.path / linked).symlink_to(tmp_path / "theirs")
    before = other.everything()
    done = init(home, other, *args, code=2)
    assert done.err.startswith(f"error: {other.path / linked} is a link to {tmp_path / 'theirs'}, and nothing is written through a link")
    assert (done.out, other.everything(), list((tmp_path / "theirs").iterdir())) == ("", before, [])
