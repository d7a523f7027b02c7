"""What README.md and the other pages say of settings, tasks, flags and each other is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from invoke.collection import Collection
from invoke.parser import Parser
from kit.engines import ROOT

import tasks
from ci.beamdock.settings import FIELDS, Settings

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), ROOT / "bench/README.md"]
CONTEXTS = {context.name: context for context in tasks.ns.to_contexts()}
NESTED = Collection(Collection.from_module(tasks, name="docker")).to_contexts()


def plain(markdown: str) -> str:
    """A page without its code blocks."""
    return re.sub(r"(?m)^ {4}.*$", "", markdown)


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", plain(page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(markdown: str) -> list[str]:
    """What a page gives to type, in code blocks and in code within a line: the words after `invoke`, and before --."""
    code = [*re.findall(r"(?m)^ {4}(.*)$", markdown), *re.findall(r"`([^`\n]+)`", plain(markdown))]
    found = [text for line in code for text in re.findall(r"(?:^|\$\(|[$&:,] )invoke ([a-z](?:(?! {2,}|, invoke| #| -- ).)*)", line)]
    return [text.rstrip(")") if text.count(")") > text.count("(") else text for text in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    """Each link to a file of this repo leads to one, and to a heading that is there."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not target.startswith("https://"):
            name, _, heading = target.partition("#")
            file = page.parent / name if name else page
            assert file.exists(), target
            assert not heading or heading in anchors(file), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands(page: Path) -> None:
    """Invoke takes each command that a page shows: there are such tasks and flags."""
    for command in commands(page.read_text()):
        name, *words = shlex.split(command)
        parser = Parser(contexts=[*CONTEXTS.values(), *NESTED])
        assert name in parser.contexts, command
        if words:  # the name alone may stand for the task in a sentence
            parser.parse_argv([name, *words])


def test_every_setting_is_in_the_table() -> None:
    """docs/settings.md has each setting once, in the order of `invoke config`, with its default."""
    table = (ROOT / "docs/settings.md").read_text().partition("## The table")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) ?\| (.+) \|$", table, re.MULTILINE)
    assert [name for name, _, _ in rows] == [*FIELDS]
    for name, default, _ in rows:
        value = getattr(Settings(), name)
        assert default == f"`{str(value).lower() if isinstance(value, bool) else value}`" or not (value or isinstance(value, bool)), name


def test_every_task_and_flag_is_in_the_page() -> None:
    """docs/tasks.md has a heading or a row for each task, and names each flag, or the --no-FLAG of one that is on."""
    page = (ROOT / "docs/tasks.md").read_text()
    for name, context in CONTEXTS.items():
        assert re.search(rf"^(###|\|) `invoke {name}\b", page, re.MULTILINE), name
        off = {flag: inverse for inverse, flag in context.inverse_flags.items()}
        for flag in context.flags:
            positional = any(flag in [f"--{n}" for n in argument.names] and argument.positional for argument in context.args.values())
            assert positional or re.search(rf"`[^`]*{off.get(flag, flag)}\b", page), f"{name} {flag}"


def test_the_hooks_are_the_linters() -> None:
    """.pre-commit-config.yaml runs what `ci/test --lint` runs."""
    block = re.search(r"^ *shellcheck .*\n(?: *\w.*\n)+", (ROOT / "ci/test").read_text(), re.MULTILINE)
    assert block
    files = {".", '"${scripts[@]}"', "Dockerfile", "--force-exclude"}  # pre-commit gives the files
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    linters, entries = block[0].splitlines(), [hook["entry"] for hook in hooks]
    assert [[w for w in line.split() if w not in files] for line in linters] == [
        [w for w in line.split() if w not in files] for line in entries
    ]
