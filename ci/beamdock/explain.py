"""beamdock 0.1.0: why a docker command failed, and what to do. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Optional

from invoke.exceptions import Exit

from .failed_step import Unexplained, explain_step, hint_for_missing_file, name_of_ignore_file, with_place
from .words import failure, in_a_line


class RegistryFailure(Exit):
    """The registry refuses what is asked of it, or can't be reached: nothing else will go there either."""


class NoSuchImage(Exit):
    """The engine has no image of that name."""


# What docker, buildx and registries say in their last error: its kind, a pattern, what it means, and what to do.
REASONS: list[tuple[type[Exit], str, str, str]] = [
    (
        RegistryFailure,
        r"401 unauth|authentication required|no basic auth|incorrect username",
        "{host} refused the login",
        "docker login {host}",
    ),
    (
        RegistryFailure,
        r"push.*(denied|insufficient_scope|403 forbidden)",
        "{host} refused the push",
        "docker login {host}, as a user who may write there",
    ),
    (Exit, r"denied: |insufficient_scope|403 forbidden", "{host} does not give this image", "docker login {host}, or is the name right?"),
    (
        RegistryFailure,
        r"push.*(method not allowed|unsupported(?! media)|read-only)",
        "{host} does not take pushes (is it read-only?)",
        "--registry names another one",
    ),
    (
        RegistryFailure,
        r"connection refused|no such host|i/o timeout|network is unreachable|tls: |x509: |http response to https",
        "{host} can't be reached",
        "{last}",
    ),
    (
        Exit,
        r'target stage "(?P<stage>runner|builder|tarball)" could not be found',
        "the Dockerfile has no stage called {stage}",
        "is it beamdock's? `dockerfile:` in invoke.yaml names that one, and --target another stage of yours",
    ),
    (
        Exit,
        r"container name \"/(?P<name>[^\"]+)\" is already in use",
        "there is a container called {name}",
        "--name gives this one another; docker ps --all shows whose the other is",
    ),
    (
        Exit,
        r"passphrase protected",
        "the SSH key has a passphrase, which a build can't ask for",
        "ssh-add FILE, and `ssh: default` in invoke.yaml",
    ),
    (Exit, r"ssh: no key found", "what `ssh` names is no SSH key", "a private key, such as ssh-keygen writes"),
    (
        Exit,
        r"during finalize: .*snapshot \S+ does not exist",
        "the engine lost a part of its build cache, as it can where builds overlap or one is stopped (moby/buildkit#6821)",
        "run it again; if that is no help, restart Docker",
    ),
    (Exit, r"port is already allocated|address already in use", "the port is taken", "--publish HOST:CONTAINER with another host port"),
]

ANSI = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def explain_failure(log: str, command: str, root: Optional[Path] = None, dockerfile: str = "Dockerfile") -> Exit:
    """Return the error for what docker wrote: the Dockerfile's own words, else what is known, else docker's last line.

    root: the folder of a build's files, None for another command than a build; dockerfile: its name there.
    """
    text = ANSI.sub("", log).replace("\r", "")
    failed = "".join(re.findall(r"^------\n(.*?)^------$", text, re.MULTILINE | re.DOTALL))  # what the failing step wrote
    if own := re.findall(r"^[\d.]+ ((?:error|hint): .*?)\s*$", failed, re.MULTILINE):
        return Exit("\n".join(with_place(line, root) for line in dict.fromkeys(own)), code=1)
    last = last_words(text)
    return (
        explain_process(last, text, failed, root, dockerfile)
        or explain_names(last, root, dockerfile)
        or explain_reason(last, failed)
        or (NoSuchImage if "no such image" in last.lower() else Exit)(f"error: {command}: {last}", 1)
    )


def last_words(text: str) -> str:
    """Return docker's last error, without what stands before its reason."""
    helpful = re.compile(r"\s*$|Usage: |(Run|See) 'docker .*--help'")  # to somebody who typed the command
    lines = [line for line in text.strip().splitlines() if not helpful.match(line)] or ["it says nothing"]
    last = ([x for x in lines if x.startswith("ERROR: ") or "Error response from daemon: " in x] or lines)[-1]
    return re.sub(r"^(ERROR: |docker: |Error response from daemon: |failed to build: |failed to solve: )+", "", last)


def explain_process(last: str, text: str, failed: str, root: Optional[Path], dockerfile: str) -> Optional[Exit]:
    """Return the error of a RUN step that has failed; None where it was something else. text: all that BuildKit wrote; failed: what it
    repeats of the step at its end."""
    step = re.search(r'process "(?:/bin/sh -c )?(.*)" did not complete successfully: exit code: (\d+)', last)
    if not step:
        return None
    number = re.search(r"^#(\d+) ERROR: process", text, re.MULTILINE)  # in the plain form all that it wrote is there
    wrote = re.findall(rf"^#{number[1]} [\d.]+ (.*)$" if number else r"^[\d.]+ (.*)$", text if number else failed, re.MULTILINE)
    if error := explain_step("\n".join(wrote), "--deps_only" in step[1], root, dockerfile):
        return error
    words = re.sub(r"\s+", " ", step[1].replace('\\"', '"').replace("\\n", " ")).strip()
    what = f"a step of the Dockerfile failed with exit code {step[2]}: {words[:200]}"
    return Unexplained(f"error: {what}\nhint: its output is above", 1)


def explain_names(last: str, root: Optional[Path], dockerfile: str) -> Optional[Exit]:
    """Return the error of a file that docker does not find, or whose name it can't take; None where it was something else."""
    if copied := re.search(r'"/([^"]+)": not found$', last):
        hint = hint_for_missing_file(copied[1], root, dockerfile)
        return failure(f"the Dockerfile copies {copied[1]}, which the build does not find", hint, 1)
    if "invalid UTF-8" in last and root and (names := names_beyond_utf8(root)):
        what = f"{', '.join(map(in_a_line, names[:3]))}{', …' if len(names) > 3 else ''}: the name is not UTF-8, and docker takes no other"
        return failure(what, f"another name; or a line in {name_of_ignore_file(root, dockerfile)}, where the build does not need it", 1)
    return None


def explain_reason(last: str, failed: str) -> Optional[Exit]:
    """Return the error of a reason that is known, of a registry's or another; None where it is not."""
    # On overlay2 the engine pushes, and its errors don't say that they are of a push.
    pushing = re.search(r"> (pushing \S+) with docker", failed)
    reason = f"{pushing[1]} {last}" if pushing else last
    host = re.search(r"https?://(?:[^@/\s]*@)?([^/\s\"]+)|(?:failed to push|pushing) ([^/\s]+)/", reason)
    named = next(filter(None, host.groups())) if host else "the registry"
    for kind, pattern, means, hint in REASONS:
        if found := re.search(pattern, reason, re.IGNORECASE):
            error = means.format(host=named, **found.groupdict())
            return kind(failure(error, hint.format(host=named, last=last.rsplit(": ", 1)[-1])).message, 1)
    return None


def names_beyond_utf8(root: Path) -> list[str]:
    """Return the files and folders below root whose names are not UTF-8."""
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in (".git", "_build")]
        found += [os.path.relpath(Path(folder, name), root) for name in (*folders, *files) if re.search(r"[\ud800-\udfff]", name)]
    return found
