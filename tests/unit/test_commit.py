"""The copy that a push is built from: the commit's files as they stand in the tree, out of the reach of edits."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from invoke.exceptions import Exit
from kit.repos import Repo

from ci.beamdock.commit import frozen
from ci.beamdock.project import Project
from unit.conftest import project, said
from unit.test_git import git


def of(repo: Repo) -> Project:
    return project(repo.path, commit=repo.head)


def listed(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Modes, times and contents of files, folders and links, but for what is no file of the build's."""
    names = [f for f in folder.rglob("*") if not {".git", "_build"} & set(f.relative_to(folder).parts)]
    return {str(f.relative_to(folder)): told(f) for f in names}


def told(file: Path) -> tuple[int, int, bytes]:
    mode = file.lstat().st_mode
    content = bytes(file.readlink()) if stat.S_ISLNK(mode) else file.read_bytes() if stat.S_ISREG(mode) else b""
    return mode, 0 if stat.S_ISDIR(mode) else file.lstat().st_mtime_ns, content


def test_the_copy_is_the_tree(repo: Repo) -> None:
    """Modes and times are BuildKit's; bytes are the tree's, whatever attributes and filters make of the commit's; what .gitignore
    hides goes along, and _build does not."""
    repo.git("config", "filter.up.clean", "tr A-Z a-z")
    repo.git("config", "filter.up.smudge", "tr a-z A-Z")
    repo.write(".gitattributes", "*.txt text eol=crlf\n*.up filter=up\nsrc export-ignore\n")
    repo.write(".gitignore", "_build/\ngenerated/\n__pycache__/\n")
    for name, text in (("a.txt", "1\r\n"), ("b.up", "LOUD\n"), ("src/c.erl", "-module(c)."), ("bin/run", "#!/bin/sh\n")):
        repo.write(name, text)
    (repo.path / "bin" / "run").chmod(0o750)
    (repo.path / "link").symlink_to("src")
    repo.commit()
    repo.write("generated/d.erl", "-module(d).")
    repo.write("_build/default/lib/x.beam", "x")
    os.utime(repo.path / "src" / "c.erl", (1, 1))
    with frozen(of(repo)) as made:
        assert made.files.name == repo.path.name
        assert listed(made.files) == listed(repo.path)
        assert not (made.files / "_build").exists()
        assert (made.root, made.context_folder) == (repo.path, repo.path / "_build" / "beamdock")
    assert not made.files.exists()


def test_an_edit_does_not_reach_the_copy(repo: Repo) -> None:
    with frozen(of(repo)) as made:
        repo.write("rebar.config", "edited")
        repo.commit()
        assert made.file("rebar.config").read_text() != "edited"


def test_what_is_not_the_commits_by_then_is_refused(repo: Repo) -> None:
    """Edited, added or committed since git was asked first: nothing is built, and no copy stays."""
    before = of(repo)
    for name, text in (("rebar.config", "{deps, []}."), ("new.erl", "-module(new).")):
        repo.write(name, text)
        with pytest.raises(Exit) as caught, frozen(before):
            pytest.fail("it was built")
        assert caught.value.code == 2
        assert said(caught).startswith(f"error: pushing {before.tree.commit[:8]} was refused: 1 file differs from the commit ({name})")
        repo.commit()
        with pytest.raises(Exit) as caught, frozen(before):
            pytest.fail("it was built")
        assert (caught.value.code, said(caught).splitlines()[1]) == (1, "hint: run it again")
        before = of(repo)
    assert [f for folder in before.context_folder.iterdir() for f in folder.iterdir()] == []


def test_a_submodule(repo: Repo) -> None:
    """Its files are in the copy, and an edit in it is one of the project's."""
    theirs = repo.path.parent / "theirs"
    theirs.mkdir()
    git(theirs, "init", "--quiet")
    (theirs / "x.erl").write_text("-module(x).")
    git(theirs, "add", ".")
    git(theirs, "commit", "--quiet", "--message=x")
    git(repo.path, "submodule", "--quiet", "add", str(theirs), "lib/x")
    repo.commit()
    with frozen(of(repo)) as made:
        assert (made.files / "lib/x/x.erl").read_text() == "-module(x)."
    repo.write("lib/x/x.erl", "edited")
    with pytest.raises(Exit, match=r"1 file differs from the commit \(lib/x\)"), frozen(of(repo)):
        pytest.fail("it was built")


def test_two_at_once_and_what_a_killed_one_left(repo: Repo) -> None:
    repo.write("_build/beamdock/commit-1/project/old", "left")
    with frozen(of(repo)) as first, frozen(of(repo)) as second:
        assert first.files != second.files
        assert listed(first.files) == listed(second.files) == listed(repo.path)
    with frozen(of(repo)) as third:
        assert third.files == first.files
