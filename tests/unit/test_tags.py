"""Tags: valid for any branch name, never two branches with one, never a branch with another form's."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ci.beamdock.git import Tree
from ci.beamdock.tags import branch_tag, current_branch
from unit.conftest import Shell

# The OCI distribution specification, <reference> as a tag.
VALID = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", re.ASCII)
# The forms of the other tags, written down here anew: commits with their suffixes, dates and versions, dependencies,
# pull requests, caches, signatures by digest, architectures, `latest`.
OTHERS = [
    r"[0-9a-f]{40}(-[A-Za-z0-9_.-]+)?",
    r"[0-9a-f]{64}(-[A-Za-z0-9_.-]+)?",
    r"v?[0-9][A-Za-z0-9_.-]*",
    r"latest",
    r"deps-[A-Za-z0-9_.-]*",
    r"(pr|mr)-[0-9]+",
    r"cache-.*",
    r"sha256-.*",
    r".*-(amd64|arm64|arm|386|riscv64|s390x|ppc64le)",
    r".*-arm-?v[5-8]",
]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
LOOKALIKES = [
    "latest", "main", "release", "deps", "deps-", f"deps-{'a' * 64}", "pr-12", "mr-3", "v1.2", "1.2.3", "20261124", "v", "x-amd64",
    "x-arm-v7", "x-armv7", "amd64", COMMIT, f"{COMMIT}-dirty", f"{COMMIT}-runner", COMMIT.upper(), COMMIT[:8], "a" * 64,
    f"sha256-{'b' * 64}.sig", f"sha256-{'b' * 64}", "cache-x", "x-0123456789abcdef", "branch-x", "branch-pr-12-0123456789abcdef",
    "feature/ü#1", "feature-u-1", "-x", ".x", "x.", "_", "a" * 127, "a" * 128, "a" * 129, "a" * 300, "ü", "…", "\udcff", "b\udcff",
    "é", "e\u0301", "Main", "MAIN", "feature/x", "feature-x", "feature--x", "feature_x", "hotfix/v1.2", "a/amd64", "a/arm/v7",
]  # fmt: skip


def permitted(name: str) -> bool:
    """git-check-ref-format(1), for what follows refs/heads/."""
    parts = name.split("/")
    return (
        not re.search(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{", name)
        and all(p and not p.startswith(".") and not p.endswith(".lock") for p in parts)
        and not name.endswith(".")
        and name not in ("@", "HEAD")
    )


letters = st.one_of(
    st.sampled_from(list("abcABC019-_./#ü")),
    st.characters(min_codepoint=0x21, max_codepoint=0x2FFF, exclude_categories=["Cs", "Cc"]),
    st.integers(0xDC80, 0xDCFF).map(chr),
)
names = st.text(letters, min_size=1, max_size=300).filter(permitted)
pieces = st.sampled_from(
    ["deps", "pr", "mr", "v1", "1", "latest", "cache", "sha256", "amd64", "arm", "v7", "branch", "dirty", COMMIT, "0123456789abcdef", "x"]
)
lookalikes = st.lists(pieces, min_size=1, max_size=4).flatmap(lambda p: st.sampled_from(["-", "/", ".", "_", ""]).map(lambda s: s.join(p)))
branches = st.one_of(names, lookalikes.filter(permitted), st.sampled_from(LOOKALIKES))


def other_form(tag: str) -> bool:
    return any(re.fullmatch(form, tag) for form in OTHERS)


@given(branches)
def test_valid_and_no_other_form(branch: str) -> None:
    """Whatever a branch is called, its tag is valid and none that a commit, a release and so on would have."""
    tag = branch_tag(branch)
    assert VALID.fullmatch(tag)
    assert not other_form(tag)


@pytest.mark.parametrize("branch", LOOKALIKES, ids=ascii)
def test_valid_lookalikes(branch: str) -> None:
    tag = branch_tag(branch)
    assert VALID.fullmatch(tag)
    assert not other_form(tag)


@given(branches, branches)
@example("e\u0301", "é")
@example("Ж", "ж")
@example("feature/x", "feature-x")
@example("a\udcff", "a\udcfe")
def test_two_branches_have_two_tags(one: str, other: str) -> None:
    assume(one != other)
    assert branch_tag(one) != branch_tag(other)


def test_the_lookalikes_and_what_they_encode_to_are_all_apart() -> None:
    """Injective over names that were made to collide, and over branches called like another one's tag, three deep."""
    seen, now = set(LOOKALIKES), set(LOOKALIKES)
    for _ in range(3):
        now = {branch_tag(name) for name in now}
        seen |= now
    assert len({branch_tag(name) for name in seen}) == len(seen)


@given(branches)
def test_a_branch_called_like_anothers_tag(branch: str) -> None:
    """Where a name is encoded, a branch that is called like the result gets another tag."""
    once = branch_tag(branch)
    if once != branch:
        assert branch_tag(once) != once


@given(st.text("abcxyz", min_size=1, max_size=20), st.data())
def test_case_makes_a_difference(name: str, data: st.DataObject) -> None:
    other = "".join(c.upper() if data.draw(st.booleans()) else c for c in name)
    assume(other != name)
    assert branch_tag(name) != branch_tag(other)


@pytest.mark.parametrize(
    "name", ["main", "master", "feature-x", "release", "deps", "pr", "develop", "release_27.x", "a.b", "dependabot", "A", "_x", "a" * 128]
)
def test_ordinary_names_stay(name: str) -> None:
    assert branch_tag(name) == name


@pytest.mark.parametrize(
    ("name", "readable"), [("feature/ü#1", "feature-u-1-"), ("-x", "x-"), ("日本", "branch-"), ("fix/a b", "fix-a-b-")]
)
def test_encoded_names_stay_readable(name: str, readable: str) -> None:
    tag = branch_tag(name)
    assert re.fullmatch(re.escape(readable) + "[0-9a-f]{16}", tag)


def test_the_code_is_of_the_bytes_that_git_has() -> None:
    """So another implementation (a CI's clean-up, say) can compute it: SHA-256 of the name's bytes."""
    assert branch_tag("b/\udcff").endswith(hashlib.sha256(b"b/\xff").hexdigest()[:16])


def test_git_permits_the_names_that_are_tried(tmp_path: Path) -> None:
    """What these tests take for a branch's name, git does too."""
    (tmp_path / "r").mkdir()
    for name in filter(permitted, LOOKALIKES):
        words = [b"git", b"check-ref-format", b"refs/heads/" + name.encode("utf-8", "surrogateescape")]
        assert subprocess.run(words, check=False).returncode == 0, ascii(name)


CI: list[tuple[str, dict[str, str], str]] = [
    ("nothing", {}, ""),
    ("github-push", {"GITHUB_REF_NAME": "feature/x", "GITHUB_REF_TYPE": "branch", "GITHUB_HEAD_REF": ""}, "feature/x"),
    ("github-pull-request", {"GITHUB_REF_NAME": "12/merge", "GITHUB_REF_TYPE": "branch", "GITHUB_HEAD_REF": "fix/y"}, "fix/y"),
    ("github-tag", {"GITHUB_REF_NAME": "v1.0", "GITHUB_REF_TYPE": "tag", "GITHUB_HEAD_REF": ""}, ""),
    ("gitlab-branch", {"CI_COMMIT_BRANCH": "main", "CI_COMMIT_REF_NAME": "main"}, "main"),
    ("gitlab-merge-request", {"CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "fix/y", "CI_COMMIT_REF_NAME": "fix/y"}, "fix/y"),
    ("gitlab-tag", {"CI_COMMIT_TAG": "v1", "CI_COMMIT_REF_NAME": "v1"}, ""),
    ("circleci", {"CIRCLE_BRANCH": "main"}, "main"),
    ("circleci-tag", {"CIRCLE_TAG": "v1"}, ""),
    ("buildkite", {"BUILDKITE_BRANCH": "main", "BUILDKITE_TAG": ""}, "main"),
    ("buildkite-tag", {"BUILDKITE_BRANCH": "v1", "BUILDKITE_TAG": "v1"}, ""),
    ("jenkins-multibranch", {"BRANCH_NAME": "feature/x", "GIT_BRANCH": "feature/x"}, "feature/x"),
    ("jenkins-pull-request", {"BRANCH_NAME": "PR-7", "CHANGE_BRANCH": "fix/y", "CHANGE_ID": "7", "GIT_BRANCH": "PR-7"}, "fix/y"),
    ("jenkins-tag", {"BRANCH_NAME": "v1", "TAG_NAME": "v1", "GIT_BRANCH": "v1"}, ""),
    ("jenkins-plain", {"GIT_BRANCH": "origin/feature/x", "GIT_LOCAL_BRANCH": "feature/x"}, "feature/x"),
    ("jenkins-plain-local", {"GIT_BRANCH": "feature/x"}, "feature/x"),
    ("jenkins-plain-detached", {"GIT_BRANCH": "detached"}, ""),
    ("cloud-build", {"BRANCH_NAME": "main", "TAG_NAME": ""}, "main"),
    ("cloud-build-tag", {"BRANCH_NAME": "", "TAG_NAME": "v1"}, ""),
]  # fmt: skip


@pytest.mark.parametrize(("environ", "branch"), [pytest.param(e, b, id=n) for n, e, b in CI])
def test_branch_on_ci(environ: dict[str, str], branch: str) -> None:
    """On a detached HEAD, what the CI system says; a build of a tag is of no branch."""
    assert current_branch(Tree(COMMIT, "", ()), environ) == branch


def test_a_branch_that_is_checked_out_wins() -> None:
    assert current_branch(Tree(COMMIT, "here", ()), {"GITHUB_REF_NAME": "there", "GITHUB_REF_TYPE": "branch"}) == "here"


@pytest.mark.parametrize("branch", ["", " "])
def test_a_branch_without_a_name(shell: Shell, branch: str) -> None:
    """It is an unset variable of CI: the commit's tag alone was pushed, without a word."""
    said = shell.invoke("push", "--registry=r.example", f"--branch={branch}", "--dry-run", code=2)
    assert said.err.startswith("error: --branch= names no branch\nhint: is the variable set that should have the name?")
