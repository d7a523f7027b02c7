"""beamdock 0.1.0: the form of each tag, and which branch is built. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from typing import Union

from .git import Tree
from .words import failure

# The forms that no branch's tag has, whatever the branch is called. Some are kept free for tags that are still to come.
OTHER_FORMS = re.compile(
    r"""[0-9a-f]{40}([0-9a-f]{24})?(-.*)?                 # a commit; of a dirty tree, of a target
      | v?\d.*                                            # releases and dates
      | latest
      | (deps|pr|mr|cache|sha256)-.*                      # dependencies, pull requests, caches, signatures
      | .*-(386|amd64|arm|arm64|loong64|mips64le|ppc64le|riscv64|s390x)(-?v\d+)?""",
    re.VERBOSE | re.DOTALL,
)


# The form of a tag that branch_tag makes of a name that can't be one.
ENCODED = re.compile(r".*-[0-9a-f]{16}", re.DOTALL)

VALID_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")  # the OCI distribution specification, <reference> as a tag


def branch_tag(branch: str) -> str:
    """Return a branch's tag: its name where that is a tag of no other form, else a readable part and 64 bits of its SHA-256."""
    if VALID_TAG.fullmatch(branch) and not OTHER_FORMS.fullmatch(branch) and not ENCODED.fullmatch(branch):
        return branch
    plain = unicodedata.normalize("NFKD", branch).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^A-Za-z0-9_.]+", "-", plain).strip("-.")[:100].rstrip("-.") or "branch"
    tag = f"{slug}-{hashlib.sha256(branch.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"
    return f"branch-{tag}" if OTHER_FORMS.fullmatch(tag) else tag


# The variables in which CI systems that check out a detached HEAD say the branch. Beside each: other variables, and the value each
# must have ('': it is not set) for the name to be a branch's. From each system's list of predefined variables.
CI_BRANCHES = [
    ("GITHUB_HEAD_REF", {}),
    ("GITHUB_REF_NAME", {"GITHUB_REF_TYPE": "branch"}),
    ("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", {}),
    ("CI_COMMIT_BRANCH", {}),
    ("CIRCLE_BRANCH", {}),
    ("BUILDKITE_BRANCH", {"BUILDKITE_TAG": ""}),
    ("CHANGE_BRANCH", {}),  # Jenkins, a change request of a multibranch pipeline
    ("BRANCH_NAME", {"TAG_NAME": ""}),  # Jenkins, Cloud Build
    ("GIT_BRANCH", {"TAG_NAME": ""}),  # Jenkins, a plain pipeline: origin/NAME
]


def current_branch(tree: Tree, environ: Mapping[str, str]) -> str:
    """Return the branch that is checked out, or the one that CI says it is building; '' where neither is known. environ: the variables
    that a task was started with."""
    if tree.branch:
        return tree.branch
    for variable, conditions in CI_BRANCHES:
        if environ.get(variable) and all(environ.get(name, "") == value for name, value in conditions.items()):
            name = environ[variable]
            if variable == "GIT_BRANCH":  # of a build by commit it says `detached`
                return "" if name == "detached" else name.removeprefix("origin/")
            return name
    return ""


def branch_to_push(current: str, given: Union[bool, str]) -> str:
    """Return the branch whose tag a push moves. given: of --branch, True where it names none; current: the branch that is built.
    Raises Exit where there is none."""
    if isinstance(given, str):
        if not given.strip():
            hint = "is the variable set that should have the name? --branch alone takes the branch that is checked out"
            raise failure("--branch= names no branch", hint)
        return given
    if not current:
        raise failure("HEAD is detached, and no CI variable says which branch it is", "--branch=NAME")
    return current


def deps_tag(key: str) -> str:
    """Return the tag of the image that has the dependencies of a key compiled."""
    return f"deps-{key}"


def deps_branch_tag(branch: str) -> str:
    """Return the tag of the image that has a branch's dependencies compiled."""
    return f"deps-of-{branch_tag(branch)}"


def cache_tag(branch: str) -> str:
    """Return the tag of a branch's cache (`cache: registry`)."""
    return f"cache-{branch_tag(branch)}"
