"""The copy that a push is built from: the commit's files as they stand in the tree, out of the reach of edits."""

from __future__ import annotations

import dataclasses
import os
import shutil
import stat
from pathlib import Path

import pytest
from invoke.exceptions import Exit
from kit.repos import Repo

from ci.beamdock.commit import copy_commit
from ci.beamdock.consult import parse_file
from ci.beamdock.project import Project
from ci.beamdock.settings import Settings
from unit.conftest import Shell, project, said
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
    repo.write(".dockerignore", "_build\n.git\n")
    for name, text in (("a.txt", "1\r\n"), ("b.up", "LOUD\n"), ("src/c.erl", "-module(c)."), ("bin/run", "#!/bin/sh\n")):
        repo.write(name, text)
    (repo.path / "bin" / "run").chmod(0o750)
    (repo.path / "link").symlink_to("src")
    repo.commit()
    repo.write("generated/d.erl", "-module(d).")
    repo.write("_build/default/lib/x.beam", "x")
    os.utime(repo.path / "src" / "c.erl", (1, 1))
    with copy_commit(of(repo)) as made:
        assert made.source_folder.name == repo.path.name
        assert listed(made.source_folder) == listed(repo.path)
        assert not (made.source_folder / "_build").exists()
        assert (made.root, made.context_folder) == (repo.path, repo.path / "_build" / "beamdock")
    assert not made.source_folder.exists()


def test_what_docker_is_not_sent_is_not_copied(repo: Repo) -> None:
    """But for what is read all the same: the Dockerfile, the ignore files, and what rebar3 reads. A folder is looked into only where a
    pattern may let in something of it."""
    repo.write(".dockerignore", "*\n!src\n!docs/schema.json\n")
    repo.write("config/company.pem", "PEM")
    for name in ("src/a.erl", "docs/schema.json", "docs/x.md", "priv/x", "rebar.lock"):
        repo.write(name, "")
    repo.commit()
    made = dataclasses.replace(of(repo), settings=Settings(certificate_authority="config/company.pem"))
    with copy_commit(made) as made:
        files = {str(f.relative_to(made.source_folder)) for f in made.source_folder.rglob("*") if f.is_file()}
    assert files == {"src/a.erl", "docs/schema.json", "Dockerfile", ".dockerignore", "rebar.config", "rebar.lock", "config/company.pem"}


def test_without_an_ignore_file(repo: Repo) -> None:
    """All is copied but the cache folder, where the copy itself lies."""
    (repo.path / ".dockerignore").unlink()
    repo.write("_build/default/lib/x.beam", "x")
    repo.commit()
    with copy_commit(of(repo)) as made:
        assert (made.source_folder / "_build" / "default" / "lib" / "x.beam").exists()
        assert not (made.source_folder / "_build" / "beamdock").exists()


def test_an_edit_does_not_reach_the_copy(repo: Repo) -> None:
    with copy_commit(of(repo)) as made:
        repo.write("rebar.config", "edited")
        repo.commit()
        assert made.file("rebar.config").read_text() != "edited"


def test_what_is_not_the_commits_by_then_is_refused(repo: Repo) -> None:
    """Edited, added or committed since git was asked first: nothing is built, and no copy stays."""
    before = of(repo)
    for name, text in (("rebar.config", "{deps, []}."), ("new.erl", "-module(new).")):
        repo.write(name, text)
        with pytest.raises(Exit) as caught, copy_commit(before):
            pytest.fail("it was built")
        assert caught.value.code == 2
        assert said(caught).startswith(f"error: pushing {before.tree.commit[:8]} was refused: 1 file differs from the commit ({name})")
        repo.commit()
        with pytest.raises(Exit) as caught, copy_commit(before):
            pytest.fail("it was built")
        assert (caught.value.code, said(caught).splitlines()[1]) == (1, "hint: run it again")
        before = of(repo)
    assert [f for folder in before.context_folder.iterdir() for f in folder.iterdir()] == []


def test_what_was_read_is_what_is_pushed(repo: Repo) -> None:
    """The release was chosen by a rebar.config that was edited, and is the commit's again by the time that git is asked."""
    read = dataclasses.replace(of(repo), rebar_config=parse_file(b"{deps, []}."))
    with pytest.raises(Exit, match=r"^error: rebar.config was edited while the push began\nhint: run it again$"), copy_commit(read):
        pytest.fail("it was built")


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
    with copy_commit(of(repo)) as made:
        assert (made.source_folder / "lib/x/x.erl").read_text() == "-module(x)."
    repo.write("lib/x/x.erl", "edited")
    with pytest.raises(Exit, match=r"1 file differs from the commit \(lib/x\)"), copy_commit(of(repo)):
        pytest.fail("it was built")


def test_two_at_once_and_what_a_killed_one_left(repo: Repo) -> None:
    repo.write("_build/beamdock/commit-1/project/old", "left")
    repo.write(".dockerignore", "_build\n.git\n")
    repo.commit()
    with copy_commit(of(repo)) as first, copy_commit(of(repo)) as second:
        assert first.source_folder != second.source_folder
        assert listed(first.source_folder) == listed(second.source_folder) == listed(repo.path)
    with copy_commit(of(repo)) as third:
        assert third.source_folder == first.source_folder


def test_checkouts_that_are_in_no_commit(shell: Shell) -> None:
    """They are refused by name, links too; --force says what goes in. Committed ones, and what is kept out of the build, are none."""
    shell.repo.settings("  registry: 127.0.0.1:1/test\n")
    shell.repo.write(".gitignore", "_build/\n_checkouts/theirs/\n_checkouts/linked\n__pycache__/\n")
    shell.repo.write("_checkouts/ours/src/ours.erl", "")
    commit = shell.repo.commit()[:8]
    shell.repo.write("_checkouts/theirs/.env", "secret")
    shell.invoke("push", "--dry-run")
    for name in ("a.erl", "b.erl"):
        shell.repo.write(f"_checkouts/theirs/src/{name}", "")
    for args in ([], ["--dry-run"]):
        assert shell.invoke("push", *args, code=2).err == (
            f"error: pushing {commit} was refused: _checkouts/theirs (2 files) is in no commit\n"
            "hint: move it away, or commit it; --force pushes with it, and says its files"
        )
    said = "_checkouts/theirs (2 files) goes in, and is in no commit: _checkouts/theirs/src/a.erl, _checkouts/theirs/src/b.erl"
    assert said in shell.invoke("push", "--force", "--dry-run").err.splitlines()
    shutil.rmtree(shell.path / "_checkouts" / "theirs")
    (shell.path / "_checkouts" / "linked").symlink_to("ours")
    assert "_checkouts/linked (1 file) is in no commit" in shell.invoke("push", code=2).err
