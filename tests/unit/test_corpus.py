"""Hostile use: whatever is in the files, the settings and the streams, a task ends with 0, 1 or 2, and a failure with its words."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.repos import Result

from ci.beamdock.settings import FIELDS
from unit.conftest import Shell, plain_environment
from unit.corpus import CASES, PROCESSES
from unit.hostile import Case, Corpus, faults, new_corpora, report, run_all


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> list[Corpus]:
    home = tmp_path_factory.mktemp("home")
    nowhere = {"DOCKER_HOST": f"unix://{home}/no.sock"}
    return new_corpora(tmp_path_factory.mktemp("corpus"), {**plain_environment(home), **nowhere}, 2)


@pytest.fixture(scope="module")
def corpus(corpora: list[Corpus]) -> Corpus:
    return corpora[0]


def test_the_corpus(corpora: list[Corpus]) -> None:
    """Every case ends as it must, within 10 s on two cores that have nothing else to do (17 s one at a time)."""
    assert len({case.name for case in CASES}) == len(CASES) > 300
    found = [report(case, done, wrong) for case, done in run_all(corpora, CASES) if (wrong := faults(case, done))]
    assert not found, f"{len(found)} of {len(CASES)} cases:\n" + "\n".join(found)


@pytest.mark.parametrize("name", PROCESSES)
def test_as_a_process(corpus: Corpus, name: str) -> None:
    """The same in a process of its own, with the shell's streams."""
    (case,) = (case for case in CASES if case.name == name)
    corpus.prepare(case)
    done = corpus.run_process(case)
    assert not faults(case, done), report(case, done, faults(case, done))


def script(corpus: Corpus, cwd: Path, **env: str) -> Result:
    """`python tasks.py config`, started in a folder."""
    corpus.prepare(Case("", "", 0))
    command = [sys.executable, str(corpus.place / "tasks.py"), "config"]
    done = subprocess.run(command, cwd=cwd, env={**corpus.env, **env}, capture_output=True, text=True, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


def test_a_home_that_is_a_file(corpus: Corpus) -> None:
    """Invoke itself reads there first; as a script tasks.py has the words for it."""
    done = script(corpus, Path("/"), HOME="/dev/null")
    assert (done.code, done.err) == (1, "error: /dev/null/.invoke.yaml: Not a directory\n")


def test_a_working_directory_that_is_gone(corpus: Corpus, tmp_path: Path) -> None:
    corpus.prepare(Case("", "", 0))
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f"rmdir {gone}; exec {sys.executable} {corpus.place}/tasks.py config"
    done = subprocess.run(["sh", "-c", command], cwd=gone, env=corpus.env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "tiny" in done.stdout


def test_a_disk_that_is_full(corpus: Corpus) -> None:
    """The error names the file, and nothing half done stays. (A limit for files stands in for the disk.)"""
    files = {"big": "x" * 100_000, "invoke.yaml": "beamdock: {dependency_files: [big], version: '1'}"}
    case = Case("full", "build --dry-run", 1, r"_build/beamdock/contexts can't be written: file too large", files, room=50_000)
    done = corpus.run(case)
    assert not faults(case, done), report(case, done, faults(case, done))
    assert list((corpus.place / "_build/beamdock/contexts").iterdir()) == []


def test_a_build_goes_on_when_nobody_reads_what_it_says(shell: Shell) -> None:
    """`invoke build 2>&1 | head`: docker's words are still taken from it, or it would wait for ever."""
    code = "import os, tasks\nwith tasks.rooms('docker', 'screen'):\n from ci.beamdock.docker import watched\n from ci.beamdock.screen import Screen\n"
    code += "screen = Screen('all')\nwith watched(screen):\n os.write(2, b'x' * 300_000)\nprint(len(screen.log))"
    command = ["sh", "-c", 'exec "$0" -c "$1" 2>/dev/full', sys.executable, code]
    done = subprocess.run(command, cwd=shell.path, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (0, "300000\n")


def values() -> st.SearchStrategy[object]:
    """What YAML can say."""
    texts = st.text(st.characters(codec="utf-8"), max_size=20)
    plain = st.one_of(texts, st.integers(), st.booleans(), st.none(), st.floats(), st.dates())
    return st.recursive(
        plain, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)), max_leaves=5
    )


# A name of one part: no slash, and no NUL.
NAMES = (
    st.binary(min_size=1, max_size=60)
    .map(lambda raw: os.fsdecode(raw.replace(b"\0", b"x").replace(b"/", b"-")))
    .filter(lambda n: n not in (".", ".."))
)


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), values(), max_size=2), NAMES, NAMES)
def test_whatever_there_is(corpus: Corpus, given: dict[str, object], branch: str, name: str) -> None:
    """Any settings, any name of a branch, and any names of files: an image's command, or an error."""
    text = yaml.safe_dump({"beamdock": given}, allow_unicode=True)
    head = b"ref: refs/heads/" + os.fsencode(branch) + b"\n"
    files = {"invoke.yaml": text, f"apps/{name}/rebar.config": "", f"apps/{name}/src/{name}.app.src": ""}
    case = Case("any", "build --dry-run", None, "docker buildx|error: ", {**files, ".git/HEAD": head})
    done = corpus.run(case)
    assert not faults(case, done), f"{text!r} {branch!r} {name!r}\n{report(case, done, faults(case, done))}"
