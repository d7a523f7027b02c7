"""What a build is given of the history: the same bytes on every machine, and as much as its version reads."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from invoke.exceptions import Exit
from kit.repos import Repo

from ci.beamdock.consult import read_terms
from ci.beamdock.contexts import write_context
from ci.beamdock.history import Depth, git_context, history_needed, is_same_project, read_origin
from unit.conftest import Shell, copied, said
from unit.test_git import git


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


def test_the_same_bytes_in_every_process(tagged: Repo, bytes_before: dict[str, dict[str, bytes]]) -> None:
    """The order of Python's sets, which is another one in each process, doesn't matter."""
    code = "import pathlib, tasks\nwith tasks.rooms('history'):\n from ci.beamdock.history import Depth, git_context\n"
    code += "print(sorted(git_context(pathlib.Path(), 'all').items()))"
    done = Shell(tagged.path, tagged).python("-c", code, env={"PYTHONHASHSEED": "1"})
    assert done.out == str(sorted(bytes_before["all"].items()))


def test_one_project_in_two_clones(repo: Repo, tmp_path: Path) -> None:
    """The first commits of the history and the folder in it; a shallow clone does not know, and may be any."""
    origin = read_origin(repo.path)
    assert origin == f"{repo.head} /"
    repo.commit("second")
    repo.git("clone", "--quiet", str(repo.path), str(tmp_path / "clone"))
    repo.git("clone", "--quiet", "--depth=1", f"file://{repo.path}", str(tmp_path / "shallow"))
    assert read_origin(tmp_path / "clone") == read_origin(repo.path) == origin
    assert read_origin(tmp_path / "shallow") == ""
    assert is_same_project(origin, "") and is_same_project(origin, f"{'0' * 40} {origin}")
    (tmp_path / "clone" / "sub").mkdir()
    assert not is_same_project(origin, read_origin(tmp_path / "clone" / "sub"))
    assert not is_same_project(origin, f"{'0' * 40} /")
