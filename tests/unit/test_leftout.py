"""What a release is made of and its build does not see stops it, with the lines to add."""

from __future__ import annotations

import re

import pytest

from unit.conftest import Shell

APP = '{application, tiny, [{vsn, "1"}, {applications, [kernel, stdlib]}]}.\n'
STOPPED: list[tuple[str, str, str]] = [  # in relx, a file, its line
    ('{overlay, [{copy, "README.md", "sql/"}]}', "README.md", "!README.md"),
    ('{overlay, [{copy, "./README.md", "sql/"}]}', "README.md", "!README.md"),
    ('{overlay, [{copy, "test/*", "sql/"}]}', "test/a.sql", "!test/a.sql"),
    ('{overlay, [{copy, "test", "sql/"}]}', "test/deep/a.sql", "!test/deep/a.sql"),
    ('{overlay, [{template, "docs/a.tpl", "etc/a"}]}', "docs/a.tpl", "!docs/a.tpl"),
    ('{overlay, [{copy, "config/dev.key", "etc/"}]}', "config/dev.key", "!config/dev.key"),  # a secret that is named
    ('{overlay_vars, "docs/vars.config"}', "docs/vars.config", "!docs/vars.config"),
    ('{sys_config, "docs/sys.config"}', "docs/sys.config", "!docs/sys.config"),
    ('{sys_config_src, <<"docs/sys.config">>}', "docs/sys.config", "!docs/sys.config"),
    ("{include_src, false}", "priv/notes.md", "!priv/notes.md"),
    ("{include_src, false}", "apps/in/priv/deep/notes.md", "!apps/in/priv/deep/notes.md"),
    ("{include_src, false}", "priv/a[1].md", r"!priv/a\[1].md"),
]
GOES_ON: list[tuple[str, str, str]] = [  # in relx, a file, a line in the ignore file
    ('{overlay, [{copy, "{{what}}.md", "sql/"}]}', "README.md", ""),
    ('{overlay, [{copy, "_build/x", "sql/"}]}', "_build/x", ""),
    ('{overlay, [{copy, "README.md", "sql/"}]}', "README.md", "!README.md"),
    ('{overlay, [{copy, "nothing.md", "sql/"}]}', "README.md", ""),
    ('{overlay, [{copy, "doc/made.html", "sql/"}]}', "doc/made.html", ""),  # which git ignores, as the build makes it
    ("{include_src, false}", "priv/notes.md", "priv/*.md"),  # which is meant
    ("{include_src, false}", "priv/.env", ""),
    ("{include_src, false}", "apps/out/priv/notes.md", ""),  # of no application in the release
    ("{include_src, false}", "test/a.sql", ""),
]


@pytest.fixture
def umbrella(shell: Shell) -> Shell:
    shell.repo.write("src/tiny.app.src", APP.replace("stdlib]", "stdlib, in]"))
    for name in ("in", "out"):
        shell.repo.write(f"apps/{name}/src/{name}.app.src", APP.replace("tiny,", f"{name},"))
    shell.repo.write(".gitignore", "_build/\ndoc/made.html\n")
    return shell


def write(shell: Shell, relx: str, file: str) -> None:
    shell.repo.edit("rebar.config", "{extended_start_script, true}", f"{{extended_start_script, true}}, {relx}")
    shell.repo.write(file, "[].\n")
    shell.repo.commit()


@pytest.mark.parametrize(("relx", "file", "line"), STOPPED)
def test_a_file_that_the_build_would_not_see_stops_it(umbrella: Shell, relx: str, file: str, line: str) -> None:
    """The line that is shown, pasted, is all it takes."""
    write(umbrella, relx, file)
    error = umbrella.invoke("build", "--dry-run", code=2).err
    assert error.endswith(f"(or without the mark what is to stay out): {line}")
    assert f"error: .dockerignore keeps {file} out of the build, which the release takes" in error
    umbrella.repo.write(".dockerignore", (umbrella.path / ".dockerignore").read_text() + line + "\n")
    umbrella.invoke("build", "--dry-run")


@pytest.mark.parametrize(("relx", "file", "line"), GOES_ON)
def test_what_may_be_made_or_is_meant_to_stay_out_stops_nothing(umbrella: Shell, relx: str, file: str, line: str) -> None:
    umbrella.repo.write(".dockerignore", (umbrella.path / ".dockerignore").read_text() + line + "\n")
    write(umbrella, relx, file)
    umbrella.invoke("build", "--dry-run")


def test_where_nobody_knows_it_is_a_warning(umbrella: Shell) -> None:
    """With `prebuild`, which may make the file."""
    umbrella.repo.settings("  prebuild: make\n")
    write(umbrella, '{overlay, [{copy, "README.md", "sql/"}]}', "README.md")
    assert re.search(r"^warning: .dockerignore keeps README.md out", umbrella.invoke("build", "--dry-run").err, re.MULTILINE)


def test_the_ignore_file_that_counts_is_named(umbrella: Shell) -> None:
    umbrella.repo.settings("  dockerfile: Dockerfile.beamdock\n")
    for name in ("Dockerfile", ".dockerignore"):
        new = "Dockerfile.beamdock" if name == "Dockerfile" else "Dockerfile.beamdock.dockerignore"
        (umbrella.path / name).rename(umbrella.path / new)
    write(umbrella, '{overlay, [{copy, "README.md", "sql/"}]}', "README.md")
    assert "error: Dockerfile.beamdock.dockerignore keeps README.md" in umbrella.invoke("build", "--dry-run", code=2).err
