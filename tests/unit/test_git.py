"""git: what the work tree is, and the small git folder that a version reads, the same bytes on every machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from invoke.exceptions import Exit
from kit.repos import Repo

from ci.beamdock import git as room
from ci.beamdock.consult import read_terms
from ci.beamdock.contexts import context_path, write_context, write_contexts
from ci.beamdock.dependencies import dependency_files
from ci.beamdock.git import Tree, read_tree
from ci.beamdock.history import Depth, git_context, history_needed
from ci.beamdock.settings import Settings
from unit.conftest import Shell, copied, said

IDENTITY = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false", "-c", "protocol.file.allow=always"]


def git(path: Path, *args: str, check: bool = True) -> str:
    done = subprocess.run(["git", *IDENTITY, *args], cwd=path, capture_output=True, check=check)
    return done.stdout.decode(errors="surrogateescape").strip()


def tree(path: Path) -> Tree:
    return read_tree(path)


# --------------------------------------------------------------------------------------------------- the work tree


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


# --------------------------------------------------------------------------------------------------- the git context


@pytest.mark.parametrize(
    ("version", "scripted", "sources", "need"),
    [
        ('"1.0"', False, [], "none"),
        ('"git"', False, [], "none"),
        ('"semver"', False, [], "none"),
        ('{file, "VERSION"}', False, [], "none"),
        ("{git, long}", False, [], "long"),
        ("{git, short}", False, [], "short"),
        ("git", False, [], "all"),
        ("semver", False, [], "all"),
        ('{cmd, "git describe"}', False, [], "all"),
        ("{git, latest}", False, [], "all"),
        ('"1.0"', True, [], "all"),
        ("{git, long}", True, [], "all"),
        ("{git, long}", False, ["{application, a, [{vsn, git}]}."], "all"),
        ("{git, long}", False, ["{application, a, [{ vsn ,\n git }]}."], "all"),
        ("{git, long}", False, ["{application, a, [{vsn, {cmd, \"x\"}}]}."], "all"),
        ("{git, long}", False, ["{application, a, [{vsn, {git, short}}]}."], "all"),
        ("{git, long}", False, ["{application, a, [{vsn, semver}]}."], "all"),
        ("{git, long}", False, ["{application, a, [{vsn, \"1.0\"}]}.", "{application, b, [{vsn, \"git\"}]}."], "long"),
        ('"1.0"', False, ["{application, a, [{vsn, git}]}."], "all"),
    ],
)  # fmt: skip
def test_history_needed(version: str, scripted: bool, sources: list[str], need: str) -> None:
    assert history_needed(read_terms(version + ".")[0], scripted, sources) == need


@pytest.mark.parametrize(
    ("version", "sources", "asks"),
    [
        ('{cmd, "git describe --dirty"}', [], '{cmd, "git describe --dirty"}'),
        ('{cmd, "git describe --tags --broken"}', [], '{cmd, "git describe --tags --broken"}'),
        ('{cmd, "git rev-parse --abbrev-ref HEAD"}', [], '{cmd, "git rev-parse --abbrev-ref HEAD"}'),
        ('{cmd, "git status --short"}', [], '{cmd, "git status --short"}'),
        ('{cmd, "git -P diff --quiet || echo x"}', [], '{cmd, "git -P diff --quiet || echo x"}'),
        ('{cmd, "git branch --show-current"}', [], '{cmd, "git branch --show-current"}'),
        ('{cmd, "git log -1 --format=%h -- src"}', [], '{cmd, "git log -1 --format=%h -- src"}'),
        ('"1.0"', ['{application, a, [{vsn, {cmd, "git describe --dirty"}}]}.'], '{vsn, {cmd, "git describe --dirty"}}]}.'),
        ('{cmd, "git describe --tags --always --abbrev=8"}', [], ""),
        ('{cmd, "git log -1 --format=%ct"}', [], ""),
        ('{cmd, "cat VERSION"}', [], ""),
        ('"1.0-git status"', ['{application, a, [{description, "git status"}, {vsn, git}]}.'], ""),
    ],
)
def test_what_commits_and_tags_cannot_answer(version: str, sources: list[str], asks: str) -> None:
    """A version that asks for trees or a branch would be another one in the build: refused, with its own words."""
    term = read_terms(version + ".")[0]
    if not asks:
        assert history_needed(term, False, sources) == "all"
        return
    with pytest.raises(Exit) as caught:
        history_needed(term, False, sources)
    assert (caught.value.code, said(caught).splitlines()[0]) == (
        2, f"error: the version asks git for more than commits and tags: {asks}",
    )  # fmt: skip


@pytest.fixture(scope="module")
def first_tagged(first_repo: Repo, tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """Three commits, a merge, tags of both kinds."""
    repo = copied(first_repo, tmp_path_factory.mktemp("tagged") / "project")
    repo.git("tag", "v0.1")
    repo.write("a", "1")
    repo.commit("second")
    repo.git("tag", "--annotate", "v1.0", "--message=one")
    repo.git("checkout", "--quiet", "-b", "side")
    repo.write("b", "1")
    repo.commit("aside")
    repo.git("checkout", "--quiet", "main")
    repo.write("c", "1")
    repo.commit("third")
    repo.git("merge", "--quiet", "--no-ff", "--message=merge", "side")
    return repo


@pytest.fixture
def tagged(first_tagged: Repo, tmp_path: Path) -> Repo:
    return copied(first_tagged, tmp_path / "project")


NEEDS: tuple[Depth, ...] = ("long", "short", "all")


@pytest.fixture(scope="module")
def bytes_before(first_tagged: Repo) -> dict[str, dict[str, bytes]]:
    """The contexts of an untouched `tagged`."""
    return {need: git_context(first_tagged.path, need) for need in NEEDS}


COMMANDS: dict[str, list[list[str]]] = {
    "gc": [["gc", "--aggressive", "--quiet", "--prune=now"]],
    "repack": [["repack", "-a", "-d", "-f", "--quiet", "--depth=50", "--window=50"]],
    "bitmaps": [["repack", "-a", "-d", "-b", "--quiet"], ["commit-graph", "write", "--reachable"]],
    "packed refs": [["pack-refs", "--all"]],
    "status": [["status"]],
    "configuration": [["config", "core.compression", "9"], ["config", "pack.window", "50"], ["config", "pack.compression", "9"],
                      ["config", "pack.threads", "4"], ["config", "tag.sort", "-refname"]],
    "index version": [["config", "pack.indexVersion", "1"]],
}  # fmt: skip


def disturb(repo: Repo, tmp_path: Path, how: str) -> Path:
    """Do to the repository what must not matter; where to look then."""
    path = repo.path
    for words in COMMANDS.get(how, []):
        git(path, *words)
    if how == "branches":
        git(path, "checkout", "--quiet", "-b", "ahead")
        git(path, "commit", "--quiet", "--allow-empty", "--message=ahead")
        git(path, "tag", "ahead-1")
        git(path, "checkout", "--quiet", "main")
    if how == "stash":
        (path / "a").write_text("stashed")
        git(path, "stash", "--quiet")
    if how in ("clone", "clone of one branch"):
        options = ["--single-branch"] if how != "clone" else []
        git(tmp_path, "clone", "--quiet", *options, f"file://{path}", "clone")
        return tmp_path / "clone"
    if how == "worktree":
        git(path, "worktree", "add", "--quiet", "--detach", str(tmp_path / "wt"))
        return tmp_path / "wt"
    if how == "subfolder":
        (path / "src").mkdir()
        return path / "src"
    return path


DISTURBANCES = [*COMMANDS, "branches", "stash", "clone", "clone of one branch", "worktree", "subfolder"]


@pytest.mark.parametrize("how", DISTURBANCES)
def test_the_same_bytes(tagged: Repo, tmp_path: Path, how: str, bytes_before: dict[str, dict[str, bytes]]) -> None:
    where = disturb(tagged, tmp_path, how)
    assert {need: git_context(where, need) for need in NEEDS} == bytes_before


def test_a_long_version_does_not_depend_on_abbreviations(tagged: Repo, bytes_before: dict[str, dict[str, bytes]]) -> None:
    """Their length grows with a clone's objects; {git, short} alone has it, with the commit alone."""
    tagged.git("config", "core.abbrev", "12")
    assert git_context(tagged.path, "long") == bytes_before["long"]
    assert b"abbrev" not in bytes_before["long"]["config"]
    short = git_context(tagged.path, "short")
    assert b"abbrev = 12\n" in short["config"]
    assert {**short, "config": b""} == {**bytes_before["short"], "config": b""} == {**bytes_before["long"], "config": b""}


def test_without_need_nothing(tagged: Repo) -> None:
    assert git_context(tagged.path, "none") == {}


def test_another_commit_makes_other_bytes(tagged: Repo, bytes_before: dict[str, dict[str, bytes]]) -> None:
    tagged.commit("fourth")
    for need in NEEDS:
        assert git_context(tagged.path, need) != bytes_before[need]


def test_tags_count_where_all_is_read_and_only_there(tagged: Repo, bytes_before: dict[str, dict[str, bytes]]) -> None:
    tagged.git("tag", "v2")
    assert git_context(tagged.path, "long") == bytes_before["long"]
    assert git_context(tagged.path, "short") == bytes_before["short"]
    assert git_context(tagged.path, "all") != bytes_before["all"]


def written(repo: Path, folder: Path, need: Depth) -> Path:
    """The context as the build sees it: /git/.git of a folder elsewhere."""
    write_context(folder / ".git", git_context(repo, need))
    return folder


ASKED = [["rev-parse", "HEAD"], ["rev-parse", "--short", "HEAD"], ["describe", "--tags"], ["describe", "--always"], ["tag", "--list"],
         ["rev-list", "--count", "HEAD"], ["rev-list", "HEAD"], ["log", "--format=%H %s %ct"], ["rev-list", "v1.0..HEAD"]]  # fmt: skip


def test_git_answers_the_same_in_it(tagged: Repo, tmp_path: Path) -> None:
    """HEAD, its short form, describe, the log: as in the repository itself."""
    folder = written(tagged.path, tmp_path / "w", "all")
    for words in ASKED:
        assert git(folder, *words) == git(tagged.path, *words), words
    assert git(folder, "fsck", "--connectivity-only", check=False).count("missing commit") == 0


def test_no_trees_and_no_files(tagged: Repo, tmp_path: Path) -> None:
    """Commits and tags alone: no source gets in."""
    folder = written(tagged.path, tmp_path / "w", "all")
    kinds = git(folder, "cat-file", "--batch-all-objects", "--batch-check=%(objecttype)").split()
    assert set(kinds) == {"commit", "tag"}
    assert kinds.count("commit") == 5


@pytest.mark.parametrize("short", ["", "12"])
def test_the_commit_alone_knows_nothing_else(tagged: Repo, tmp_path: Path, short: str) -> None:
    if short:
        tagged.git("config", "core.abbrev", short)
    folder = written(tagged.path, tmp_path / "w", "short")
    assert git(folder, "rev-parse", "HEAD") == tagged.head
    assert git(folder, "rev-parse", "--short", "HEAD") == git(tagged.path, "rev-parse", "--short", "HEAD")
    assert git(folder, "rev-list", "HEAD") == tagged.head
    assert git(folder, "cat-file", "--batch-all-objects", "--batch-check=%(objectname) %(objecttype)") == f"{tagged.head} commit"
    assert git(folder, "tag") == git(folder, "branch", "--list", "main") == ""


def test_nothing_of_the_machine_is_in_it(tagged: Repo) -> None:
    """No path, no remote, no user, no branch's name."""
    tagged.git("remote", "add", "origin", "https://user:secret@example.com/x.git")
    for need in NEEDS:
        files = git_context(tagged.path, need)
        text = b"".join(files[name] for name in files if not name.startswith("objects"))
        for word in (str(tagged.path), "secret", "side", "main"):
            assert word.encode() not in text
        assert not [name for name in files if name.endswith((".rev", ".bitmap"))]


def test_a_shallow_clone(tagged: Repo, tmp_path: Path) -> None:
    """The commit is enough for {git, long}; where the history is read, an error says how to get it."""
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{tagged.path}", "shallow")
    assert git_context(tmp_path / "shallow", "long")["HEAD"] == f"{tagged.head}\n".encode()
    with pytest.raises(Exit) as caught:
        git_context(tmp_path / "shallow", "all")
    assert said(caught) == "error: the version needs history that this shallow clone lacks\nhint: git fetch --unshallow --tags"


def test_odd_tags(tagged: Repo, tmp_path: Path) -> None:
    """Of a file, of a tree, of another line of history, with letters of every kind."""
    git(tagged.path, "tag", "blob", "HEAD:rebar.config")
    git(tagged.path, "tag", "tree", "HEAD^{tree}")
    git(tagged.path, "tag", "rel/ü-1")
    folder = written(tagged.path, tmp_path / "w", "all")
    assert git(folder, "tag", "--list").split() == ["rel/ü-1", "v0.1", "v1.0"]
    assert git(folder, "describe", "--tags") == git(tagged.path, "describe", "--tags")


def test_a_tag_of_a_tag(tagged: Repo, tmp_path: Path) -> None:
    git(tagged.path, "tag", "--annotate", "inner", "--message=x")
    git(tagged.path, "tag", "--annotate", "outer", "--message=x", "inner")
    git(tagged.path, "tag", "--delete", "inner")
    folder = written(tagged.path, tmp_path / "w", "all")
    assert git(folder, "describe") == git(tagged.path, "describe") == "outer"


def test_a_tag_of_any_bytes(tagged: Repo, tmp_path: Path) -> None:
    subprocess.run([b"git", b"tag", b"t\xff"], cwd=tagged.path, check=True)
    folder = written(tagged.path, tmp_path / "w", "all")
    assert git(folder, "describe", "--tags") == "t\udcff"


def test_sha256_repository(tmp_path: Path) -> None:
    """Commits of 64 digits."""
    git(tmp_path, "init", "--quiet", "--object-format=sha256", "r")
    git(tmp_path / "r", "commit", "--quiet", "--allow-empty", "--message=x")
    folder = written(tmp_path / "r", tmp_path / "w", "long")
    assert git(folder, "rev-parse", "HEAD", check=False) == git(tmp_path / "r", "rev-parse", "HEAD")


def test_dependency_files(repo: Repo) -> None:
    """rebar.config, its script and lock at the top, the applications' own, and checkouts whole; nothing of _build or of git."""
    wanted = ["rebar.config", "rebar.lock", "rebar.config.script", "apps/a/rebar.config", "lib/b/rebar.config.script",
              "_checkouts/x/rebar.config", "_checkouts/x/src/x.erl"]  # fmt: skip
    others = ["README.md", "apps/a/src/a.erl", "_build/default/rebar.config", "_checkouts/x/_build/default/y", "_checkouts/x/.git/HEAD",
              "apps/a/deep/rebar.config", "a/rebar.lock", "rebar3", "config/more.deps", "versions.txt"]  # fmt: skip
    for name in [*wanted, *others]:
        repo.write(name, name)
    expected = {name: name.encode() for name in wanted}
    assert dependency_files(repo.path, Settings()) == expected
    assert dependency_files(repo.path, Settings(rebar3="rebar3")) == expected  # one of the base image's
    settings = Settings(rebar3="./rebar3", dependency_files=["config/*.deps", "versions.txt"])
    more = ("rebar3", "config/more.deps", "versions.txt")
    assert dependency_files(repo.path, settings) == {**expected, **{name: name.encode() for name in more}}


SECRETS = [".env", ".env.prod", ".ssh/id_rsa", "tls.key", "priv/x.pfx", ".netrc", "hex.config"]


def test_what_the_ignore_file_keeps_out_is_in_no_context(repo: Repo) -> None:
    """Secrets in checkouts, and among files that a pattern names. The file that counts is the one beside the Dockerfile."""
    for name in SECRETS:
        repo.write(f"_checkouts/x/{name}", "secret")
        repo.write(f"config/{name}", "secret")
    for name in ("_checkouts/x/src/x.erl", "config/a.deps", "config/README.md"):
        repo.write(name, "")
    settings = Settings(dependency_files=["config/*", "config/**/*"])
    assert set(dependency_files(repo.path, settings)) == {"rebar.config", "_checkouts/x/src/x.erl", "config/a.deps"}
    repo.write("Dockerfile.dockerignore", "**/*.erl\n")
    repo.write("rebar.lock", "[].")
    assert set(dependency_files(repo.path, settings)) >= {f"_checkouts/x/{name}" for name in SECRETS}
    assert "_checkouts/x/src/x.erl" not in dependency_files(repo.path, settings)
    # These are no secrets, and count where they are no part of the project's own context too.
    repo.write("Dockerfile.dockerignore", "*\n")
    assert set(dependency_files(repo.path, Settings())) == {"rebar.config", "rebar.lock"}


@pytest.mark.parametrize(("beside", "file"), [([], ".dockerignore"), (["Dockerfile.dockerignore"], "Dockerfile.dockerignore")])
def test_a_named_file_that_is_kept_out(repo: Repo, beside: list[str], file: str) -> None:
    repo.write("ci/versions.config", "")
    for name in beside:
        repo.write(name, "ci\n")
    with pytest.raises(Exit) as caught:
        dependency_files(repo.path, Settings(dependency_files=["ci/versions.config"]))
    assert caught.value.code == 2
    assert said(caught) == (
        f"error: {file} keeps ci/versions.config out, which is named under `beamdock:` in invoke.yaml\n"
        f"hint: if it is no secret, add !ci/versions.config at the end of {file}"
    )
    with (repo.path / file).open("a") as opened:
        opened.write("!ci/versions.config\n")
    assert "ci/versions.config" in dependency_files(repo.path, Settings(dependency_files=["ci/versions.config"]))


@pytest.mark.parametrize(
    ("given", "name"),
    [(Settings(dependency_files=["config/*.deps"]), "config/*.deps"), (Settings(rebar3="./rebar3"), "./rebar3")],
)
def test_a_named_dependency_file_that_is_none(repo: Repo, given: Settings, name: str) -> None:
    (repo.path / "config" / "a.deps").mkdir(parents=True)
    with pytest.raises(Exit) as caught:
        dependency_files(repo.path, given)
    assert (caught.value.code, said(caught)) == (2, f"error: {name} does not exist, and is named under `beamdock:` in invoke.yaml")


@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]])
@pytest.mark.parametrize("setting", ["dependency_files: [{}]", "rebar3: {}"])
def test_a_dependency_file_outside_of_the_project(shell: Shell, setting: str, dry_run: list[str]) -> None:
    """It is named, with the way out, and nothing is written: not beside the context, not with a file of the repo's own in its place."""
    outside = shell.path.parent / "versions.config"
    outside.write_text("theirs")
    (shell.path / "config").mkdir()
    (shell.path / "config" / "linked").symlink_to(outside)
    for name in ("../versions.config", "config/../../versions.*", "../../../../../../../../etc/hostname", str(outside), "config/linked"):
        shell.repo.settings(f"  {setting.format(json.dumps(name))}\n")
        before = shell.repo.everything()
        done = shell.invoke("build", *dry_run, code=2)
        word = "is a link to" if name == "config/linked" else "is outside"
        assert re.fullmatch(rf"error: {re.escape(name)} {word}.*\nhint: a copy in the project's folder, or a submodule", done.err)
        assert (shell.repo.everything(), outside.read_text()) == (before, "theirs")


def test_a_dependency_file_by_another_path_to_it(repo: Repo) -> None:
    """With dots that lead back, whole, or by a link that stays within: its name in the build is one without dots."""
    repo.write("config/a.deps", "x")
    (repo.path / "link").symlink_to("config/a.deps")
    for name in ("config/../config/a.deps", str(repo.path / "config/a.deps"), "./config/*.deps"):
        assert set(dependency_files(repo.path, Settings(dependency_files=[name]))) == {"rebar.config", "config/a.deps"}
    assert dependency_files(repo.path, Settings(dependency_files=["link"]))["link"] == b"x"


def test_a_linked_configuration(repo: Repo) -> None:
    """One that leads out would be a link to nowhere in the build; what is in _checkouts is as it comes."""
    (repo.path.parent / "shared").write_text("{deps, []}.")
    (repo.path / "_checkouts" / "x").mkdir(parents=True)
    (repo.path / "_checkouts" / "x" / "rebar.config").symlink_to(repo.path.parent / "shared")
    assert dependency_files(repo.path, Settings())["_checkouts/x/rebar.config"] == b"{deps, []}."
    (repo.path / "rebar.lock").symlink_to("../shared")
    with pytest.raises(Exit, match=r"^error: rebar.lock is a link to .*/shared, outside of the project's folder"):
        dependency_files(repo.path, Settings())


# ------------------------------------------------------------------------------------------------------ write_context

FILES: Mapping[str, bytes] = {"HEAD": b"x\n", "refs/heads/.keep": b"", "objects/pack/a.pack": b"\0\xff"}


def content(folder: Path) -> dict[str, bytes]:
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def modes(folder: Path) -> set[tuple[bool, int]]:
    return {(p.is_dir(), stat.S_IMODE(p.stat().st_mode)) for p in [folder, *folder.rglob("*")]}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o177])
def test_written_with_fixed_modes(tmp_path: Path, umask: int) -> None:
    (tmp_path / "c").mkdir()
    before = os.umask(umask)
    try:
        write_context(tmp_path / "c" / "git", FILES)
    except PermissionError:
        assert umask == 0o177 and os.geteuid()
        return
    finally:
        os.umask(before)
    assert content(tmp_path / "c" / "git") == FILES
    assert modes(tmp_path / "c" / "git") == {(True, 0o755), (False, 0o644)}


def test_scripts_can_be_executed(tmp_path: Path) -> None:
    """Whatever they are on this machine, where a checkout may have been copied by something that keeps no modes."""
    for _ in range(2):
        write_context(tmp_path / "deps", {"_checkouts/a/configure": b"#!/bin/sh\n", "rebar.lock": b"[].\n"})
        assert modes(tmp_path / "deps" / "_checkouts" / "a") == {(True, 0o755), (False, 0o755)}
        assert stat.S_IMODE((tmp_path / "deps" / "rebar.lock").stat().st_mode) == 0o644


def test_replaced_and_files_gone_removed(tmp_path: Path) -> None:
    folder = tmp_path / "git"
    write_context(folder, {**FILES, "gone/x": b"1"})
    write_context(folder, {**FILES, "HEAD": b"y\n"})
    assert content(folder) == {**FILES, "HEAD": b"y\n"}
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == ["git"]
    assert modes(folder) == {(True, 0o755), (False, 0o644)}


def test_what_is_right_is_left_alone(tmp_path: Path) -> None:
    """Not even its times or inodes change."""
    folder = tmp_path / "git"
    write_context(folder, FILES)

    def state() -> list[tuple[str, int, int]]:
        return [(str(p), p.stat().st_ino, p.stat().st_mtime_ns) for p in sorted([folder, *folder.rglob("*")])]

    before = state()
    write_context(folder, dict(FILES))
    assert state() == before


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    folder = tmp_path / "git"
    write_context(folder, {"a": b"1"})
    write_context(folder, {"a/b": b"1"})
    assert content(folder) == {"a/b": b"1"}


def test_changed_modes_are_mended(tmp_path: Path) -> None:
    """A restored CI cache, a cp, a chmod: the modes are fixed again."""
    folder = tmp_path / "git"
    write_context(folder, FILES)
    (folder / "HEAD").chmod(0o600)
    write_context(folder, FILES)
    assert modes(folder) == {(True, 0o755), (False, 0o644)}


def test_several_at_once(tmp_path: Path) -> None:
    """Builds in one repo: each ends without an error and finds its own contexts, and nothing lies beside them."""
    errors: list[Exception] = []
    states: list[dict[str, bytes]] = [{f"f{i}": bytes([n // 2]) * 9 for i in range(10)} for n in range(4)]

    def write(state: dict[str, bytes]) -> None:
        try:
            for _ in range(15):
                write_contexts(tmp_path, tmp_path, {"git": state})
                assert content(context_path(tmp_path, "git", state)) == state
        except (OSError, AssertionError, Exit) as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(state,)) for state in states]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert {f.name for f in (tmp_path / "contexts").iterdir()} == {context_path(tmp_path, "git", state).name for state in states}


def test_contexts_do_not_pile_up(tmp_path: Path) -> None:
    """The newest few of each name stay, and what was used within the hour; half a context of a build that was killed goes."""

    def names() -> set[str]:
        return {f.name for f in (tmp_path / "contexts").iterdir()}

    made = [context_path(tmp_path, "git", {"HEAD": bytes([n])}) for n in range(12)]
    for n, _ in enumerate(made):
        write_contexts(tmp_path, tmp_path, {"git": {"HEAD": bytes([n])}})
    (tmp_path / "contexts" / "tmpx8a").mkdir()
    assert names() == {"tmpx8a", *(path.name for path in made)}
    long_ago = time.time() - 4000
    for n, path in enumerate([*made, tmp_path / "contexts" / "tmpx8a"]):
        os.utime(path, (long_ago + n, long_ago + n))
    write_contexts(tmp_path, tmp_path, {"git": {"HEAD": bytes([2])}, "deps": {"a": b""}})
    assert names() == {path.name for path in [made[2], *made[5:], context_path(tmp_path, "deps", {"a": b""})]}


@pytest.mark.parametrize("linked", ["_build", "_build/beamdock", "_build/beamdock/contexts"])
def test_nothing_is_written_through_a_link(shell: Shell, linked: str) -> None:
    theirs = shell.path.parent / "theirs"
    theirs.mkdir()
    (shell.path / linked).parent.mkdir(parents=True, exist_ok=True)
    (shell.path / linked).symlink_to(theirs)
    done = shell.invoke("build", "--dry-run", code=2)
    assert (
        done.err
        == f"error: {shell.path / linked} is a link to {theirs}, and nothing is written through a link\nhint: a folder in its place"
    )
    assert list(theirs.iterdir()) == []


def test_a_link_in_the_place_of_a_file_of_ours(shell: Shell) -> None:
    """It is replaced, or was one of an older version's that is not written any more; what it leads to stays."""
    theirs = shell.path.parent / "theirs"
    theirs.write_text("theirs")
    folder = shell.path / "_build" / "beamdock"
    folder.mkdir(parents=True)
    for name in (".gitignore", "deps.lock", "deps"):
        (folder / name).symlink_to(theirs)
    shell.invoke("build", "--dry-run")
    assert (theirs.read_text(), (folder / ".gitignore").is_symlink()) == ("theirs", False)


def test_a_link_is_no_context(tmp_path: Path) -> None:
    """Neither a context's folder nor a file in it is written through a link, or taken for what it leads to."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "HEAD").write_bytes(b"x\n")
    folder = tmp_path / "git"
    folder.symlink_to(tmp_path / "theirs")
    write_context(folder, {"HEAD": b"y\n"})
    assert not folder.is_symlink()
    (folder / "HEAD").unlink()
    (folder / "HEAD").symlink_to(tmp_path / "theirs" / "HEAD")
    write_context(folder, {"HEAD": b"x\n"})
    assert not (folder / "HEAD").is_symlink()
    assert content(tmp_path / "theirs") == {"HEAD": b"x\n"}


def test_a_build_from_another_umask_is_the_same(shell: Shell) -> None:
    """--dry-run under umask 077 leaves what one under 022 does."""
    shell.invoke("build", "--dry-run")
    first = {str(p): (stat.S_IMODE(p.stat().st_mode), p.read_bytes() if p.is_file() else b"") for p in contexts(shell)}
    shutil.rmtree(shell.path / "_build" / "beamdock")
    before = os.umask(0o077)
    try:
        shell.invoke("build", "--dry-run")
    finally:
        os.umask(before)
    assert {str(p): (stat.S_IMODE(p.stat().st_mode), p.read_bytes() if p.is_file() else b"") for p in contexts(shell)} == first


def contexts(shell: Shell) -> list[Path]:
    return sorted((shell.path / "_build" / "beamdock" / "contexts").glob("*-*/**/*"))


def test_the_same_bytes_in_every_process(tagged: Repo, bytes_before: dict[str, dict[str, bytes]]) -> None:
    """The order of Python's sets, which is another one in each process, doesn't matter."""
    code = "import pathlib, tasks\nwith tasks.rooms('history'):\n from ci.beamdock.history import Depth, git_context\n"
    code += "print(sorted(git_context(pathlib.Path(), 'all').items()))"
    done = Shell(tagged.path, tagged).python("-c", code, env={"PYTHONHASHSEED": "1"})
    assert done.out == str(sorted(bytes_before["all"].items()))
