"""A rebar.config or a rebar.lock of terms that rebar3 would refuse, in every place: an error or a plan, and never a stack."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from invoke.exceptions import Exit
from kit.repos import Repo

from ci.beamdock.advice import find_advice
from ci.beamdock.consult import read_terms
from ci.beamdock.init import advise_on_rebar_config
from ci.beamdock.model import Build
from ci.beamdock.plans import plan_build, target_tags
from ci.beamdock.project import read_project
from ci.beamdock.terms import write_term
from unit.conftest import Shell, request

CONFIG = """\
{deps, [cowboy, {recon, "2.5.5"}, {own, {git, "https://git.example/own.git", {tag, "1"}}}, {pkg, "1.0.0", {pkg, other}}]}.
{plugins, [rebar3_hex, {pc, "1.15.0"}, {own, {git, "https://git.example/p.git", {ref, "abc"}}}]}.
{relx, [{release, {shop, {git, short}}, [shop, sasl], [{vm_args, "config/vm.args"}]}, {default_release, {shop, "1"}}, {mode, dev},
        {sys_config_src, "config/sys.config.src"}, {overlay, [{copy, "README.md", "doc"}, {mkdir, "log"}]},
        {extended_start_script, false}]}.
{profiles, [{prod, [{deps, [eper]}, {plugins, [x]}, {relx, [{include_erts, false}, {dev_mode, true}]}]}]}.
"""
LOCK = """\
{"1.2.0", [{<<"cowboy">>, {pkg, <<"cowboy">>, <<"2.10.0">>}, 0}, {<<"own">>, {git, "https://git.example/own.git", {ref, "abc"}}, 0}]}.
[{pkg_hash, [{<<"cowboy">>, <<"FF">>}]}].
"""
ODD = read_terms('1. foo. "text". "". [x]. {x}. [1, {}, {2, 3}, [a]]. {[a], #{}}. <<255>>. #{a => 1}. [a|b]. "\\0". "**a/../[". \'a\\nb\'.')


def variants(term: Any, turn: Iterator[Any]) -> Iterator[Any]:
    """A term with one of the odd ones in its place, and in the place of each that is in it."""
    yield next(turn)
    for i, inner in enumerate(term if isinstance(term, (list, tuple)) else []):
        for other in variants(inner, turn):
            yield type(term)([*term[:i], other, *term[i + 1 :]])


def outcome(root: Path) -> Build | str:
    """The plan of a build with its warnings, or the error."""
    try:
        project = read_project(root, {}, {}, {}, {})
        find_advice(project)
        return plan_build(project, request("runner", target_tags(project, "runner", "main"), incremental=True))
    except Exit as error:
        assert error.code == 2
        return str(error.message)


@pytest.mark.parametrize("name", ["rebar.config", "rebar.lock"])
def test_something_odd_in_each_place(name: str, repo: Repo) -> None:
    texts = {"rebar.config": CONFIG, "rebar.lock": LOCK}
    for file, text in texts.items():
        repo.write(file, text)
    assert isinstance(outcome(repo.path), Build)
    outcomes = set()
    for terms in variants(read_terms(texts[name]), cycle(ODD)):
        text = "".join(f"{write_term(term)}.\n" for term in (terms if isinstance(terms, list) else [terms]))
        repo.write(name, text)
        outcomes.add(type(outcome(repo.path)))
        if name == "rebar.config":
            assert isinstance(advise_on_rebar_config(text, "prod"), list)
    assert outcomes == ({Build, str} if name == "rebar.config" else {Build})


def test_a_build_reads_each_text_once(repo: Repo) -> None:
    """However large they are: the settings, the warnings and the keys take the same terms. Only an application's text is asked for
    twice, for its plugins and for its dependencies."""
    repo.write("rebar.config", CONFIG)
    repo.write("rebar.lock", LOCK)
    repo.write("apps/one/rebar.config", "{deps, []}.")
    read_terms.cache_clear()
    assert isinstance(outcome(repo.path), Build)
    assert read_terms.cache_info().misses == 3
    assert read_terms.cache_info().hits == 1


REST = '{relx, [{release, {tiny, "1"}, [tiny]}]}. {profiles, [{prod, [{relx, [{mode, prod}]}]}]}.'


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (f"{{plugins, 1}}. {REST}", ""),
        (f"{{deps, foo}}. {REST}", ""),
        (f"{{[deps], foo}}. {{}}. 1. {REST}", ""),
        (f'{{plugins, [{{}}, "x", {{"y"}}]}}. {REST}', ""),
        (REST.replace("[tiny]}", '[tiny]}, {overlay, [{copy, "", "x"}, {copy, "a**b", "x"}, {copy, x, "\\0"}]}'), ""),
        ("{relx, 1}.", "rebar.config has no release"),
        ("{profiles, [x]}.", "rebar.config has no release"),
        ("{relx, [{release, {x}}]}.", "rebar.config has no release"),
        (REST.replace("{tiny,", '{"tiny",'), 'rebar.config:1 has a release with the name "tiny"'),
        (REST.replace("{tiny,", "{1,"), "rebar.config:1 has a release with the name 1"),
        (REST.replace("{tiny,", "{'a/b',"), "rebar.config:1 has a release with the name a/b"),
        (REST.replace("{tiny,", "{'..',"), "rebar.config:1 has a release with the name .."),
        (REST.replace("{tiny,", "{'a\\0b',"), "rebar.config:1 has a release with the name a"),
        (REST.replace("tiny", "\x00\x07tiny"), ""),
        (REST.replace('"1"', '"\\x{D800}"'), r"rebar.config:1 can't be read: \x{D800} is no character"),
        ("[" * 3_000, "rebar.config:1 can't be read: 321 brackets are open\nhint: beamdock reads 320 levels"),
        ("[" * 100_000 + "]" * 100_000 + ".", "rebar.config:1 can't be read: 321 brackets are open\nhint: beamdock reads 320 levels"),
        (
            f"a.\n{{b, c | d}}. {REST}",
            "rebar.config:2 can't be read: , is missing before | d}. {relx, [{relea\nhint: rebar3 reads it the same way",
        ),
        (f"{{a, [b|c]}}. {{b, <<1:8/integer-unit:8>>}}. {{c, fun m:f/1}}. {REST}", ""),
    ],
    ids=lambda text: text[:40],
)
def test_the_commands_end_in_a_plan_or_an_error(text: str, error: str, shell: Shell, tmp_path: Path) -> None:
    shell.repo.write("rebar.config", text)
    for task in (["config"], ["build", "--dry-run"]):
        assert shell.invoke(*task, code=2 if error else 0).err.startswith(f"error: {error}" if error else "")
    other = Repo(tmp_path / "other", "unused")
    other.write("rebar.config", text)
    assert "would write" in shell.invoke("init", str(other.path), "--no-ci", "--dry-run").err
