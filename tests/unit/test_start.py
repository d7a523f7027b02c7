"""Ways to start the tasks without any set-up, and the shells' completion."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from unit.conftest import Shell

BIN = Path(sys.executable).parent


@pytest.fixture(scope="session")
def index() -> dict[str, str]:
    """Where this machine's pip takes packages from, if it is said, for uv and pipx too: the tests' home has no configuration."""
    said = subprocess.run([sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True, check=False)
    url = said.stdout.strip()
    # uv has roots of its own otherwise, and not what a company's machine trusts; the first name is of older versions
    return {"UV_NATIVE_TLS": "1", "UV_SYSTEM_CERTS": "1", **({"UV_DEFAULT_INDEX": url, "PIP_INDEX_URL": url} if url else {})}


@pytest.mark.parametrize("start", ["uv run", "pipx run"])
def test_by_the_header_of_the_script(shell: Shell, index: dict[str, str], start: str) -> None:
    """uv and pipx read what it needs from its header; settings and result are those of `invoke`, from a subfolder too."""
    shell.repo.settings("  runtime_packages: [libsctp1]\n")
    (shell.path / "src" / "deep").mkdir(parents=True)
    for cwd, script in ((".", "tasks.py"), ("src/deep", "../../tasks.py")):
        for task in (["config"], ["build", "--dry-run"], ["ps", "--dry-run", "--release", "nope"]):
            expected = subprocess.run(
                [sys.executable, "-m", "invoke", *task], cwd=shell.path / cwd, capture_output=True, text=True, check=False
            )
            done = subprocess.run(
                [*f"{BIN / start} {script}".split(), *task],
                cwd=shell.path / cwd,
                env={**os.environ, **index, "PATH": f"{BIN}:{os.environ['PATH']}"},
                capture_output=True,
                text=True,
                check=False,
            )
            assert (done.stdout, done.returncode) == (expected.stdout, expected.returncode), done.stderr[-2000:]
            assert done.stderr.endswith(expected.stderr)
    assert "libsctp1" in shell.invoke("config").out


COMPLETE = """\
eval "$(python -m invoke --print-completion-script bash)"
complete -p invoke
COMP_WORDS=(invoke $1)
_complete_invoke invoke "${1##* }"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("typed", "words"), [("bui", {"build"}), ("at", {"attach"}), ("build --no-c", {"--no-cache"}), ("none-such", set())]
)
def test_completion_in_bash(shell: Shell, typed: str, words: set[str]) -> None:
    """What `invoke --print-completion-script bash` prints, sourced in a real bash."""
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", COMPLETE, "bash", typed], cwd=shell.path, env=env, capture_output=True, text=True, check=True)
    first, *found = done.stdout.splitlines()
    assert "-F _complete_invoke" in first and set(filter(None, found)) == words


@pytest.mark.parametrize("name", ["zsh", "fish"])
def test_completion_of_other_shells_is_printed(shell: Shell, name: str) -> None:
    assert "invoke --complete" in shell.invoke("--print-completion-script", name).out.replace("${=collection_arg} ", "")
