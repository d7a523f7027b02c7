"""The work tree, as git tells it: the commit, the branch, and the paths that differ from the commit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from invoke.exceptions import Exit
from kit.repos import Repo

from ci.beamdock import git as room
from ci.beamdock.git import Tree, read_tree
from unit.conftest import Shell, said

IDENTITY = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false", "-c", "protocol.file.allow=always"]


def git(path: Path, *args: str, check: bool = True) -> str:
    done = subprocess.run(["git", *IDENTITY, *args], cwd=path, capture_output=True, check=check)
    return done.stdout.decode(errors="surrogateescape").strip()


def tree(path: Path) -> Tree:
    return read_tree(path)


def test_clean(repo: Repo) -> None:
    assert tree(repo.path) == Tree(repo.head, "main", ())


NAMES = ["plain.txt", "with space", " leading", "trailing ", "line\nfeed", "tab\there", "ü.txt", "日本", "quote\"'", "a\\b", "-x", "1 2",
    "? x", "# branch.oid x", "\udcff\udcfe"]  # fmt: skip


def test_names_of_every_kind(repo: Repo) -> None:
    """Untracked, staged, changed and removed: each path is the very name."""
    for name in NAMES:
        (repo.path / name).write_text(name, errors="surrogateescape")
    assert sorted(tree(repo.path).dirty) == sorted(NAMES)
    git(repo.path, "add", "--all")
    assert sorted(tree(repo.path).dirty) == sorted(NAMES)
    git(repo.path, "commit", "--quiet", "--message=x")
    assert tree(repo.path).dirty == ()
    for name in NAMES:
        (repo.path / name).write_text("another")
    assert sorted(tree(repo.path).dirty) == sorted(NAMES)
    for name in NAMES:
        (repo.path / name).unlink()
    assert sorted(tree(repo.path).dirty) == sorted(NAMES)


def test_rename_and_copy(repo: Repo) -> None:
    """The new path alone, and what follows it is read rightly; from names that look like records too."""
    text = "\n".join(map(str, range(50)))
    for name in ("1 old", "? old", "c"):
        repo.write(name, text + name)
    repo.commit()
    repo.git("mv", "1 old", "new name")
    repo.git("mv", "--", "? old", "2 new")
    repo.write("z last", "x")
    assert set(tree(repo.path).dirty) == {"new name", "2 new", "z last"}
    repo.git("config", "status.renames", "copies")
    repo.write("c", text + "c and more")
    repo.write("copy of c", text + "c")
    repo.git("add", "--all")
    assert set(tree(repo.path).dirty) == {"new name", "2 new", "z last", "c", "copy of c"}


def test_conflict(repo: Repo) -> None:
    repo.write("a b", "1")
    repo.commit()
    repo.git("checkout", "--quiet", "-b", "other")
    repo.write("a b", "2")
    repo.commit()
    repo.git("checkout", "--quiet", "main")
    repo.write("a b", "3")
    repo.commit()
    git(repo.path, "merge", "other", check=False)
    assert tree(repo.path) == Tree(repo.head, "main", ("a b",))


def test_ignored_files_do_not_count(repo: Repo) -> None:
    repo.write("_build/x", "1")
    assert tree(repo.path).dirty == ()


def test_a_changed_mode_counts(repo: Repo) -> None:
    (repo.path / "tasks.py").chmod(0o755)
    assert tree(repo.path).dirty == ("tasks.py",)


def test_submodule(repo: Repo, tmp_path: Path) -> None:
    """One that was changed, or has another commit, makes the tree dirty."""
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    (other / "f").write_text("1")
    git(other, "add", "f")
    git(other, "commit", "--quiet", "--message=x")
    git(repo.path, "submodule", "--quiet", "add", str(other), "lib/sub module")
    repo.commit()
    assert tree(repo.path).dirty == ()
    (repo.path / "lib/sub module/f").write_text("2")
    assert tree(repo.path).dirty == ("lib/sub module",)
    git(repo.path / "lib/sub module", "commit", "--quiet", "--all", "--message=y")
    assert tree(repo.path).dirty == ("lib/sub module",)


def test_worktree(repo: Repo, tmp_path: Path) -> None:
    git(repo.path, "worktree", "add", "--quiet", "-b", "feature/ü#1", str(tmp_path / "wt"))
    assert tree(tmp_path / "wt") == Tree(repo.head, "feature/ü#1", ())


def test_detached(repo: Repo) -> None:
    repo.git("checkout", "--quiet", "--detach")
    assert tree(repo.path) == Tree(repo.head, "", ())


def test_initial(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    with pytest.raises(Exit) as caught:
        tree(tmp_path)
    assert said(caught) == "error: the repository has no commit yet\nhint: images are tagged with the commit: git add, git commit"
    assert caught.value.code == 2


def test_a_project_in_a_subfolder(repo: Repo) -> None:
    """What differs outside of it doesn't count."""
    repo.write("service/rebar.config", "x")
    repo.commit()
    repo.write("elsewhere", "1")
    repo.write("README.md", "1")
    assert tree(repo.path / "service").dirty == ()
    repo.write("service/rebar.config", "y")
    assert tree(repo.path / "service").dirty == ("service/rebar.config",)


def test_a_branch_called_detached(repo: Repo) -> None:
    repo.git("checkout", "--quiet", "-b", "detached")
    assert tree(repo.path).branch == "detached"


def test_a_branch_of_any_bytes(repo: Repo) -> None:
    subprocess.run([b"git", b"checkout", b"--quiet", b"-b", b"b\xff"], cwd=repo.path, check=True)
    assert tree(repo.path).branch == "b\udcff"


def test_looking_changes_nothing(repo: Repo) -> None:
    """The index isn't even refreshed: another git may be at work."""
    index = repo.path / ".git" / "index"
    os.utime(repo.path / "tasks.py")
    before = (index.read_bytes(), index.stat().st_mtime_ns)
    tree(repo.path)
    assert (index.read_bytes(), index.stat().st_mtime_ns) == before


def test_the_users_configuration_hides_nothing(repo: Repo) -> None:
    """On every machine the same tree is dirty or clean."""
    repo.git("config", "status.showUntrackedFiles", "no")
    repo.write("new.erl", "x")
    assert tree(repo.path).dirty == ("new.erl",)


def test_no_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(Exit, match="is in no git repository") as caught:
        tree(tmp_path)
    assert caught.value.code == 2


def test_git_is_asked_in_english(repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What git says is compared with English texts, so git is told to speak it."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").write_text('#!/bin/sh\n[ "$LC_ALL" = C ] || [ "$LC_ALL" = C.UTF-8 ] || exit 1\n')
    (tmp_path / "bin" / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    room.git(repo.path, "status")


def test_no_repository_and_no_commit(shell: Shell, tmp_path: Path) -> None:
    git = shell.path / ".git"
    git.rename(tmp_path / "gone")
    assert "is in no git repository\nhint:" in shell.invoke("config", code=2, env={"GIT_CEILING_DIRECTORIES": str(tmp_path)}).err
    shell.repo.git("init", "--quiet")
    assert shell.invoke("config", code=2).err.startswith("error: the repository has no commit yet\nhint: ")


def test_without_git(shell: Shell, tmp_path: Path) -> None:
    """On a machine that has none."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    assert shell.invoke("config", code=2, env={"PATH": str(tmp_path / "bin")}).err.startswith("error: git is not installed\nhint: ")
