"""What `invoke build` says of the project's own files, and the pure part of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from invoke.exceptions import Exit
from kit.engines import ROOT
from kit.repos import TINY_CONFIG, Repo

from ci.beamdock.plans import plan_build
from ci.beamdock.progress import Built
from ci.beamdock.settings import Settings
from ci.beamdock.words import Out, failure
from unit.conftest import Shell, project, request


@pytest.fixture
def module() -> ModuleType:
    return load()


def load() -> ModuleType:
    from ci.beamdock import advice

    return advice


def advice(module: ModuleType, root: Path, **given: str) -> list[str]:
    return [one.what for one in module.find_advice(project(root, **given))]


@pytest.fixture
def plain(tmp_path: Path) -> Repo:
    """A project about which there is nothing to say."""
    made = Repo(tmp_path / "plain", "unused")
    made.write("rebar.config", TINY_CONFIG)
    made.write("config/vm.args.src", "-sname tiny\n")
    made.write("Dockerfile", "FROM x AS runner\nENV PORT=1\n")
    return made


def test_nothing_to_say(module: ModuleType, plain: Repo) -> None:
    plain.write("config/sys.config.src", '[{a, [{port, ${PORT}}, {password, "${PASSWORD:-}"}, {token, ""}, {secret, undefined}]}].')
    assert advice(module, plain.path) == []
    assert advice(module, ROOT) == []


@pytest.mark.parametrize("line", ["-setcookie hunter2", "  -setcookie   hunter2", "+Bd -setcookie 'hunter2'"])
def test_a_cookie(module: ModuleType, plain: Repo, line: str) -> None:
    """In a template or not; the value is not shown."""
    said = ["config/vm.args.src:2 has the cookie written out, which goes into every image"]
    plain.write("config/vm.args.src", f"-sname x\n{line}\n")
    assert advice(module, plain.path) == said
    assert "hunter2" not in str(module.find_advice(project(plain.path)))
    plain.write("config/vm.args.src", f"-sname x\n# {line}\n-setcookie ${{COOKIE:-x}}\n")
    assert advice(module, plain.path) == []
    (plain.path / "config" / "vm.args.src").rename(plain.path / "config" / "vm.args")
    plain.edit("rebar.config", '{vm_args_src, "config/vm.args.src"}', '{vm_args, "config/vm.args"}')
    plain.write("config/vm.args", f"-sname x\n{line}\n")
    assert advice(module, plain.path) == [said[0].replace(".src", "")]


@pytest.mark.parametrize("cookie", ["${C}", "${C:-}", "${C:-snowflake}", "shop_${C}", '"${C}"'])
def test_a_vm_args_with_a_cookie_of_the_environment_is_a_template(module: ModuleType, plain: Repo, cookie: str) -> None:
    """The image makes it one, and sets the cookie; other variables are filled in then too."""
    plain.edit("rebar.config", '{vm_args_src, "config/vm.args.src"}', '{vm_args, "config/vm.args"}')
    plain.write("config/vm.args", f"-sname x\n-setcookie {cookie}\n+S ${{N}}\n")
    assert advice(module, plain.path) == ["config/vm.args:3 has ${N}, which nothing sets: it becomes an empty text"]
    plain.write("config/vm.args", "-sname x\n# -setcookie ${C}\n+S ${N}\n")
    assert advice(module, plain.path) == []


def test_a_cookie_of_the_release_is_told_by_what_the_step_wrote(module: ModuleType) -> None:
    log = "#21 1.2 warning: releases/1.0/vm.args:2 has the cookie written out, which goes into every image\n"
    assert [w.what.split(" ")[0] for w in module.find_advice_in_log(log * 2)] == ["releases/1.0/vm.args:2"]
    assert module.find_advice_in_log("#21 1.2 -setcookie x") == []


RELX = "#31 2.0 ===> tiny:answer/0 calls undefined function ssl:start/0\n"
COOKIE = "#31 1.2 warning: releases/1.0/vm.args:2 has the cookie written out, which goes into every image\n"


def test_warnings_come_once_and_above_one_total(module: ModuleType, plain: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    """A cookie that a file and the release tell of, too. They stand above the error of a build that failed, if it was begun."""
    plain.write("config/vm.args.src", "-sname x\n-setcookie hunter2\n")
    it = project(plain.path)
    plan = plan_build(it, request("runner", ["main"]))
    cookie = "warning: config/vm.args.src:2 has the cookie written out, which goes into every image"

    def said() -> list[str]:
        return [line for line in capsys.readouterr().err.splitlines() if not line.startswith("hint: ")]

    with module.report_builds(it, Out()) as builds:
        assert said() == []
        builds.append(Built(plan, "#12 [builder 2/2] RUN x\n#12 3.0 deps: compiled 1 modules\n", 2))
        builds.append(Built(plan, f"#31 [releaser 1/1] RUN x\n{COOKIE}{RELX}", 1.5))
    assert said() == [
        cookie,
        "warning: the release calls functions that are not in it: ssl:start/0 (in tiny:answer/0)",
        "built in 3.5 s: dependencies compiled (1 module), release assembled",
    ]
    for code, lines in ((1, [cookie]), (2, [])):
        with pytest.raises(Exit, match="no"), module.report_builds(it, Out()):
            raise failure("no", code=code)
        assert said() == lines


def test_no_vm_args(module: ModuleType, plain: Repo) -> None:
    """rebar3 then makes one whose cookie is the release's name (measured: 3.24)."""
    plain.edit("rebar.config", '{vm_args_src, "config/vm.args.src"}, ', "")
    assert advice(module, plain.path) == []  # config/vm.args.src is taken without being named
    (plain.path / "config" / "vm.args.src").unlink()
    assert advice(module, plain.path) == ["there is no vm.args, and rebar3 makes one with a cookie that is easily guessed: tiny"]


def test_a_file_that_rebar_config_names_and_that_is_not_there(module: ModuleType, plain: Repo) -> None:
    """Then rebar3 makes no release, and no vm.args either."""
    plain.edit("rebar.config", "{vm_args_src,", '{sys_config, "rel/sys.config"}, {vm_args_src,')
    (plain.path / "config" / "vm.args.src").unlink()
    missing = [f"rebar.config names {name}, which does not exist" for name in ("config/vm.args.src", "rel/sys.config")]
    assert advice(module, plain.path) == missing
    assert advice(module, plain.path, prebuild="make") == []
    plain.write("rel/sys.config", "[].\n")
    assert advice(module, plain.path) == missing[:1]


def test_an_overlay(module: ModuleType, plain: Repo) -> None:
    """What it copies is there, or has a variable in its name, or is made by rebar3."""
    overlay = """{overlay, [
  {mkdir, "etc"}, {copy, "rel/a", "a"}, {template, "rel/{{name}}.t", "b"}, {copy, "_build/default/x", "x"}, {copy, "rel/*.d", "d"},
  {copy, "rel/gone", "gone"},
  {template, <<"rel/t">>, "t"}, {copy, "rel/dir/", "dir"}, {copy, "./rel/a", "a2"}]}"""
    plain.edit("rebar.config", "{vm_args_src,", f"{overlay}, {{vm_args_src,")
    for name in ("rel/a", "rel/x.d", "rel/dir/x"):
        plain.write(name, "x")
    assert advice(module, plain.path) == [
        "rebar.config:4 copies rel/gone, which does not exist",
        "rebar.config:5 copies rel/t, which does not exist",
    ]


@pytest.mark.parametrize(
    ("plugins", "loose"),
    [
        ("[]", ""),
        ("[pc]", " pc"),
        ('[{pc, "1.15.0"}, {a, {git, "u", {tag, "1"}}}, {b, {git, "u", {ref, "abc"}}}, {c, "== 1.2.3"}, {d, "1.2.3", {pkg, dd}}]', ""),
        ('[{pc, "~> 1.15"}, {a, {git, "u", {branch, "main"}}}, {b, {git, "u"}}, {c, {pkg, cc}}, {d, "1.2"}]', "s pc, a, b, c, d"),
        ('[{a, {git_subdir, "u", {branch, "main"}, "x"}}, {b, {git_subdir, "u", {tag, "1"}, "x"}}, here]', " a"),
    ],
)
@pytest.mark.parametrize("key", ["plugins", "project_plugins"])
def test_plugins_that_nothing_pins(module: ModuleType, plain: Repo, key: str, plugins: str, loose: str) -> None:
    """In one line, of the top level, of the profile and of an application; not what is a checkout."""
    plain.git("init", "--quiet")
    plain.write("_checkouts/here/rebar.config", "")
    plain.commit()
    said = [f"nothing pins the plugin{loose}"] if loose else []
    plain.write("rebar.config", f"{{{key}, {plugins}}}.\n" + TINY_CONFIG)
    assert advice(module, plain.path) == said
    plain.write("rebar.config", TINY_CONFIG.replace("{prod, [", f"{{test, [{{plugins, [other]}}]}}, {{prod, [{{{key}, {plugins}}}, "))
    assert advice(module, plain.path) == said
    plain.write("rebar.config", TINY_CONFIG)
    plain.write("apps/a/rebar.config", f"{{{key}, {plugins}}}.\n")
    plain.write("apps/b/rebar.config", "{not, readable")
    assert advice(module, plain.path) == said


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ('{password, "hunter2"}', "password", '"${PASSWORD}"'),
        ('{db_password , <<"hunter2">>}', "db_password", '<<"${DB_PASSWORD}">>'),
        ("#{'api_key' => \"hunter2\"}", "api_key", '"${API_KEY}"'),
        ('{passwd, ~"hunter2"}', "passwd", '"${PASSWD}"'),
        ('{secret,\n  "hunter2"}', "secret", '"${SECRET}"'),
        ('{"token", "hunter2"}', "token", '"${TOKEN}"'),
        ('{cookie, "hunter2 % \\" ${A:-}"}', "", ""),
        ('{cookie, "hunter2 % \\" "}', "cookie", '"${COOKIE}"'),
        ('{token_url, "http://x"}, {cookie_name, "sid"}, {password, ""}, {password, read}, {x, password}, "y"', "", ""),
        ('% {password, "hunter2"}', "", ""),
        ('{x, "{password, \\"a\\"}"}', "", ""),
    ],
)
def test_a_password(module: ModuleType, plain: Repo, text: str, key: str, value: str) -> None:
    plain.write("config/sys.config.src", f"[\n{text}\n].\n")
    found = module.find_advice(project(plain.path))
    assert [one.what for one in found] == ([f"config/sys.config.src:2 has `{key}` written out, which goes into every image"] if key else [])
    assert [one.hint for one in found] == ([f"{value} there"] if key else [])
    assert "hunter2" not in str(found)


def test_a_password_in_a_file_that_is_no_template(module: ModuleType, plain: Repo) -> None:
    plain.write("config/sys.config", '[{password, "hunter2"}].')
    assert module.find_advice(project(plain.path))[0].hint == ('"${PASSWORD}" there, in a sys.config.src that relx\'s sys_config_src names')


def test_a_variable_that_nothing_sets(module: ModuleType, plain: Repo) -> None:
    """By file and line; in what the profile names, and in plain files where RELX_REPLACE_OS_VARS makes templates of them."""
    plain.write("rel/prod.args", "-sname tiny\n+S ${SCHEDULERS}\n")
    plain.write("config/sys.config", "[{x, ${Y}}].")
    assert advice(module, plain.path) == []
    plain.edit("rebar.config", "{include_erts, true}", '{include_erts, true}, {vm_args_src, "rel/prod.args"}')
    assert advice(module, plain.path) == ["rel/prod.args:2 has ${SCHEDULERS}, which nothing sets: it becomes an empty text"]
    assert "`SCHEDULERS=...` in Dockerfile's ENV" in module.find_advice(project(plain.path))[0].hint
    plain.edit("Dockerfile", "PORT=1", "SCHEDULERS=2")
    assert advice(module, plain.path) == []
    plain.edit("Dockerfile", "ENV", "ENV RELX_REPLACE_OS_VARS=true")
    assert advice(module, plain.path) == ["config/sys.config:1 has ${Y}, which nothing sets: it becomes an empty text"]


def test_no_lock(module: ModuleType, plain: Repo) -> None:
    """Where there are dependencies to lock."""
    plain.write("rebar.config", "{deps, []}.\n" + TINY_CONFIG)
    assert advice(module, plain.path) == []
    plain.write("rebar.config", "{deps, [cowboy]}.\n" + TINY_CONFIG)
    assert advice(module, plain.path) == ["there is no rebar.lock: another build may get other versions of the dependencies"]
    plain.write("rebar.lock", "[].\n")
    assert advice(module, plain.path) == []


def test_checkouts(module: ModuleType, plain: Repo) -> None:
    """Those that another machine does not have: a link, and a folder that is in no commit."""
    plain.git("init", "--quiet")
    plain.write("_checkouts/mine/src/mine.erl", "-module(mine).\n")
    (plain.path / "_checkouts/inside").symlink_to("../config")
    plain.commit()
    assert advice(module, plain.path) == []
    plain.write("_checkouts/theirs/src/theirs.erl", "-module(theirs).\n")
    (plain.path / "_checkouts/linked").symlink_to("/usr")
    (plain.path / "_checkouts/nowhere").symlink_to("../../nowhere")
    assert advice(module, plain.path) == [
        "_checkouts/linked leads out of the build: the dependency is taken from where rebar.config says",
        "_checkouts/nowhere leads out of the build: the dependency is taken from where rebar.config says",
        "_checkouts/theirs takes the place of the dependency, and is in no commit",
    ]


def test_a_script(module: ModuleType, plain: Repo) -> None:
    """What a rebar.config.script may change, unless settings decide it."""
    said = "rebar.config.script may change what rebar.config says, which is "

    def scripted(**given: Any) -> list[str]:
        made = dataclasses.replace(project(plain.path), settings=Settings(**given), scripted=True)
        return [one.what for one in module.find_advice(made)]

    assert scripted() == [f'{said}release tiny and version "1.0"']
    assert scripted(release="tiny") == [f'{said}version "1.0"']
    assert scripted(release="tiny", version="{git, long}") == []


def test_build_warns_and_goes_on(shell: Shell) -> None:
    """On stderr, not with --quiet; nothing is rewritten."""
    shell.repo.write("config/vm.args.src", "-sname x\n-setcookie hunter2\n+S ${N}\n")
    before = (shell.path / "config" / "vm.args.src").read_bytes()
    done = shell.invoke("build", "--dry-run")
    assert done.out.startswith("docker buildx build ")
    assert done.err.splitlines()[::2] == [
        "warning: config/vm.args.src:2 has the cookie written out, which goes into every image",
        "warning: config/vm.args.src:3 has ${N}, which nothing sets: it becomes an empty text",
    ]
    assert all(line.startswith("hint: ") for line in done.err.splitlines()[1::2])
    assert shell.invoke("build", "--dry-run", "--quiet").err == ""
    assert (shell.path / "config" / "vm.args.src").read_bytes() == before
