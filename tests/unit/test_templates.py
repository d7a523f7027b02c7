"""Which variables a release's files have, and which of them something sets."""

from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.engines import ROOT

from ci.beamdock import templates

# As relx's extended start script has it, of rebar3 3.24.
REPLACE = r"""{
    while(match($0,"[$]{[^}]*}")) {
        var=substr($0,RSTART+2,RLENGTH -3)
        slen=split(var,arr,":-")
        v=arr[1]
        e=ENVIRON[v]
        gsub("&","\\\\\\&",e)
        if(slen > 1 && e=="") {
            i=index(var, ":-"arr[2])
            def=substr(var,i+2)
            gsub("[$]{"var"}",def)
        } else {
            gsub("[$]{"var"}",e)
        }
    }
}1"""


def filled(text: str, environment: dict[str, str]) -> str:
    """What the start script makes of a template."""
    path = {"PATH": os.environ["PATH"]}
    return subprocess.run(["awk", REPLACE], input=text, env={**path, **environment}, capture_output=True, text=True, check=True).stdout


names = st.sampled_from(["AA", "BB", "CC"])
pieces = st.one_of(
    st.sampled_from(["text", " ", "\n", "$", "{x}", "$AA"]),
    names.map(lambda n: f"${{{n}}}"),
    st.tuples(names, st.sampled_from(["", "def", "1.0", "a b"])).map(lambda t: f"${{{t[0]}:-{t[1]}}}"),
)


@given(st.lists(pieces, max_size=8).map("".join))
def test_variables_are_those_that_the_start_script_would_fill_with_nothing(text: str) -> None:
    """A name is missing if, and only if, the script's own awk puts its value where there is nothing without it."""
    found = {name for name, _ in templates.template_variables("sys.config.src", text)}
    plain = filled(text, {})
    rest = {name: "" for name in ("AA", "BB", "CC")}
    marked = {name: filled(text.replace(":-", ":-D"), {**rest, name: "@"}) for name in rest}
    unset = filled(text.replace(":-", ":-D"), rest)
    for name in rest:
        # With every default made visible, a value without one is the only thing that comes out of nothing.
        assert (name in found) == (len(marked[name].replace("@", "")) < len(marked[name]) and f"${{{name}}}" in text)
        assert marked[name] != unset or f"${{{name}" not in text
    assert plain.count("${") == 0


def test_variables_and_their_lines() -> None:
    text = '%% not ${COMMENT}\n[{a, "${A}"}, {b, "%${B}"}, % ${C}\n {c, ${A}}, {d, ${D:-x}}, {e, "${E:-}"}, {f, $%}, ${F}].\n'
    assert templates.template_variables("config/sys.config.src", text) == [("A", 2), ("B", 2), ("F", 3)]
    assert templates.template_variables("vm.args.src", "-sname x # ${NOT}\n## ${NOR}\n+S ${S}\n-x a#${B}\n") == [("S", 3), ("B", 4)]


def test_missing() -> None:
    """Neither given, nor the start script's own, nor the container's."""
    texts = {"vm.args.src": "-sname ${REL_NAME}@${HOSTNAME}\n+S ${SCHEDULERS}\n", "sys.config.src": "[{x, ${GIVEN}}]."}
    assert templates.unset_variables(texts, {"GIVEN"}) == [("vm.args.src", 2, "SCHEDULERS")]
    assert templates.unset_variables(texts, set())[1] == ("sys.config.src", 1, "GIVEN")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('FROM a\nENV A=1 B=\'x y\' C="p \\" q=r" D=a\\ b E=\n', {"A", "B", "C", "D", "E"}),
        ("FROM a\nENV A some value B=2\n", {"A"}),
        ("FROM a\nenv A=1 \\\n    # a comment\n  B=2 \\\n\n  C=3\nENV D=4\n", {"A", "B", "C", "D"}),
        ("FROM a AS base\nENV A=1\nFROM b AS other\nENV B=1\nFROM base AS runner\nENV C=1\nFROM scratch AS last\nENV D=1", {"A", "C"}),
        ("FROM --platform=linux/amd64 a as Runner\nENV A=1\n", {"A"}),
        ("FROM a\nENV A=1\nFROM b\nENV B=1\n", {"B"}),
        ("FROM a\nCOPY <<'x.erl' <<y /\nENV NO=1\nx.erl\nENV NO=1\ny\nENV A=1\n", {"A"}),
        ("FROM a\nCOPY <<'X' /x\nENV NO=1\nFROM b\nX\nRUN <<-Y cat <<Z\nENV NO=1\n\tY\nENV NO=1\nZ\nENV A=1\n", {"A"}),
        ("FROM a\r\nENV A=1 \\\r\n B=2\r\nRUN echo ENV C=1\r\n", {"A", "B"}),
        ("# ENV NO=1\nFROM a\nARG NO=1\n", set()),
    ],
)
def test_what_a_dockerfile_declares(text: str, expected: set[str]) -> None:
    assert templates.declared_variables(text) == expected


def test_what_ours_declares() -> None:
    assert {"LANG", "HOME", "RELX_OUT_FILE_PATH"} <= templates.declared_variables((ROOT / "Dockerfile").read_text())
    assert "REBAR_BASE_DIR" not in templates.declared_variables((ROOT / "Dockerfile").read_text())


def test_a_string_that_is_not_closed_is_gone_over_once() -> None:
    """Once for each quote in it would be minutes here."""
    text = '[{a, "' + '\\"' * 200_000
    assert [templates.without_comments("sys.config", text + end) for end in ("", "\\", '" % b')] == [text, text + "\\", text + '" ']
