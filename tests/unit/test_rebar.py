"""What rebar.config says of releases: which one is built, and whether it has a runtime."""

from __future__ import annotations

import pytest
from invoke.exceptions import Exit

from ci.beamdock.consult import read_terms
from ci.beamdock.rebar import Facts, Release, choose_release, gather_facts, has_runtime, locked_names, relx_options
from ci.beamdock.terms import values_of
from unit.test_caches import LOCK

# ------------------------------------------------------------------------------------------------------ rebar.config

TWO = '{relx, [{release, {one, "1"}, [a]},\n {release, {two, {git, short}}, [b]}]}.\n{profiles, [{prod, []}]}.'


def facts(text: str, profile: str = "prod", scripted: bool = False) -> Facts:
    return gather_facts(read_terms(text), profile, scripted)


def chosen(text: str, wanted: str = "", profile: str = "prod", scripted: bool = False) -> Release:
    return choose_release(facts(text, profile, scripted), wanted, profile)


def test_one_release() -> None:
    release = chosen("{profiles, [{prod, []}]}.\n{relx, [\n {release, {sd, {git, long}}, [sd]}]}.")
    assert (release.name, release.version, release.line) == ("sd", ("git", "long"), 3)


@pytest.mark.parametrize("default", ["two", '{two, "2"}', "{two, {git, short}}", 'two, "2"'])
def test_default_release(default: str) -> None:
    """One of several is chosen by {default_release, …} in either of its forms."""
    assert chosen(TWO.replace("{relx, [", "{relx, [{default_release, " + default + "}, ")).name == "two"


def test_a_wish_goes_over_the_default() -> None:
    assert chosen(TWO.replace("{relx, [", "{relx, [{default_release, two}, "), "one").name == "one"


def test_the_profiles_relx_goes_over_the_top() -> None:
    text = (
        '{relx, [{release, {sd, "top"}, []}, {default_release, other}]}.\n'
        '{profiles, [{test, [{relx, [{release, {t, "t"}, []}]}]},\n '
        '{prod, [{relx, [{release, {sd, "prod"}, []}, {default_release, sd}]}]}]}.'
    )
    assert (chosen(text).version, chosen(text).line) == ("prod", 3)
    assert [r.name for r in facts(text).releases] == ["sd"]
    assert facts(text).default == "sd"
    assert chosen(text, "t", "test").version == "t"


def test_a_release_that_only_the_profile_has() -> None:
    assert chosen('{profiles, [{prod, [{relx, [{release, {sd, "1"}, []}]}]}]}.').name == "sd"


def test_a_release_with_a_configuration_of_its_own() -> None:
    """{release, {Name, Vsn}, Apps, Config} is one too."""
    assert chosen('{relx, [{release, {sd, "1"}, [a], [{dev_mode, true}]}]}. {profiles, [{prod, []}]}.').name == "sd"


@pytest.mark.parametrize("top", ['{{vm_args, "top"}}, {}', '{}, {{vm_args, "top"}}'])
def test_the_options_of_a_release_win(top: str) -> None:
    """Measured (rebar3 3.24): whichever stands first. Another release's are none of its own."""
    releases = '{release, {a, "1"}, [a], [{vm_args, "a"}]}, {release, {b, "1"}, [b], [{vm_args, "b"}]}'
    terms = read_terms(f'{{relx, [{top.format(releases)}]}}. {{profiles, [{{prod, [{{relx, [{{vm_args, "prod"}}]}}]}}]}}.')
    assert values_of(relx_options(terms, "prod", "a"), "vm_args") == ["a", "prod", "top"]
    assert values_of(relx_options(terms, "default", "b"), "vm_args") == ["b", "top"]
    assert values_of(relx_options(terms, "test"), "vm_args") == ["top"]


# What rebar3 3.24 made of each: top level, the profile's relx (None: the profile has none), profile, is there a runtime?
RUNTIME = [
    ("", None, "prod", True),
    ("", "{include_src, false}", "prod", True),
    ("", "{dev_mode, true}", "prod", False),
    ("", None, "container", False),
    ("{dev_mode, false}", "{include_src, false}", "container", False),
    ("{mode, dev}", "{dev_mode, false}, {include_erts, true}", "prod", False),
    ("{mode, minimal}", "{dev_mode, false}, {include_erts, true}", "prod", False),
    ("{mode, dev}", "{mode, prod}", "prod", True),
    ("{mode, dev}", "{mode, prod}, {dev_mode, false}, {include_erts, true}", "prod", True),
    ("{mode, dev}", "{include_erts, false}, {mode, prod}", "prod", True),
    ("{mode, dev}", "{mode, prod}, {mode, minimal}", "prod", False),
    ("{mode, dev}", "{mode, dev}, {mode, prod}", "prod", True),
    ("{dev_mode, true}, {include_erts, false}", "{mode, prod}", "prod", True),
    ("{dev_mode, true}", "{include_erts, true}", "prod", True),
    ("{dev_mode, true}, {include_erts, true}", None, "prod", True),
    ("{mode, prod}, {dev_mode, false}, {include_erts, false}", "{include_erts, true}", "prod", True),
    ("{mode, prod}", "{include_erts, false}", "container", True),
    ("{mode, prod}", None, "default", True),
    ("{mode, minimal}", None, "default", False),
    ("", None, "default", False),
    ("{dev_mode, false}", None, "default", False),
    ("{include_erts, true}", None, "default", True),
    ("{mode, prod}, {include_erts, false}", None, "default", False),
    ("{include_erts, false}, {mode, prod}", None, "default", True),
]


@pytest.mark.parametrize(("top", "own", "profile", "there"), RUNTIME)
def test_is_there_a_runtime(top: str, own: str | None, profile: str, there: bool) -> None:
    relx = f'{{relx, [{{release, {{a, "1"}}, [a]}}{top and f", {top}"}]}}.'
    profiles = f"{{profiles, [{{{profile}, [{'' if own is None else f'{{relx, [{own}]}}'}]}}]}}."
    assert has_runtime(read_terms(f"{relx} {profiles}"), profile) == there


REFUSED: list[tuple[str, str, str, str]] = [
    (TWO, "", "prod", "rebar.config:1 has 2 releases, one and two\nhint: choose one: invoke build --release one,"),
    (TWO, "three", "prod", "rebar.config has no release three\nhint: it has one, two"),
    (TWO, "", "pord", "rebar.config has no profile pord\nhint: did you mean `prod`?"),
    ("{erl_opts, []}. {profiles, [{prod, []}]}.", "", "prod", "rebar.config has no release\nhint: add {relx,"),
    ("{relx, []}.", "", "prod", "rebar.config has no release\nhint: add at rebar.config:1, inside its relx {release,"),
    (
        '{relx, [{release, {a, "1"}, []}]}.\n{profiles, [{test, []}]}.',
        "",
        "prod",
        "rebar.config has no profile prod\nhint: add at rebar.config:2, inside its profiles {prod, [{relx, [{mode, prod}]}]} or",
    ),
    ('{relx, [{release, {a, "1"}, []}]}.', "", "prod", "rebar.config has no profile prod\nhint: add {profiles,"),
    ('{relx, [{release, {a, "1"}, []}, {mode, prod}]}.', "", "prod", "rebar.config has no profile prod\nhint: `profile: default` in"),
    ("", "", "prod", "rebar.config has no release\nhint"),
]


@pytest.mark.parametrize(("text", "wanted", "profile", "error"), REFUSED)
def test_what_leaves_a_choice_or_has_none(text: str, wanted: str, profile: str, error: str) -> None:
    with pytest.raises(Exit) as caught:
        chosen(text, wanted, profile)
    assert caught.value.code == 2
    assert str(caught.value.message).startswith(f"error: {error}")


def test_the_proposed_profile_is_one() -> None:
    """What the hint says to add makes the error go away."""
    text = '{relx, [{release, {a, "1"}, []}]}.\n'
    with pytest.raises(Exit) as caught:
        chosen(text)
    added = str(caught.value.message).split("add ", 1)[1].split(" or set", 1)[0]
    assert chosen(text + added).name == "a"


def test_the_default_profile_is_always_there() -> None:
    assert chosen('{relx, [{release, {a, "1"}, []}]}.', profile="default").name == "a"


def test_a_script_may_add_what_is_wanted() -> None:
    """With a rebar.config.script, a named release or profile is taken at its word; without a name there is none to take."""
    assert chosen(TWO, "three", scripted=True).name == "three"
    assert chosen(TWO, "one", "other", scripted=True).name == "one"
    with pytest.raises(Exit, match="has no release"):
        chosen("", scripted=True)


ODD = [
    "{relx, 1}.", "{relx, foo}.", "{relx, [1, a, {}]}.", "{relx, [{release}]}.", "{relx, [{release, {}}]}.", "{relx, [{release, {a}}]}.",
    "{relx, [{release, a}]}.", "{relx, [{default_release, {}}]}.", "{relx}.", "{profiles, 1}.", "{profiles, [{}]}.",
    "{profiles, [{prod}]}.", "{profiles, [{prod, 1}]}.", "{profiles, [{prod, a}]}.", "{profiles}.", "{profiles, []}.", "a.", "[].", "{}.",
]  # fmt: skip


@pytest.mark.parametrize("text", ODD)
def test_odd_shapes_are_no_release(text: str) -> None:
    """A rebar.config of terms that relx would refuse has no release; reading it is no crash."""
    with pytest.raises(Exit, match=r"no (release|profile)"):
        chosen(text)


@pytest.mark.parametrize(
    ("lock", "names"),
    [
        (LOCK, {"cowboy", "gun"}),
        ('{"1.2.0",\n[{<<"jsx">>,{pkg,<<"jsx">>,<<"3">>},1}]}.\n[{pkg_hash,[{<<"jsx">>, <<"AB">>}]}].\n', {"jsx"}),
        ("[].", set()),
        ("", set()),
        ("a.", set()),
        ('{"1.2.0", a}.', set()),
    ],
)
def test_what_a_lock_pins(lock: str, names: set[str]) -> None:
    assert locked_names(read_terms(lock)) == names
