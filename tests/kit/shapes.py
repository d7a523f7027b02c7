"""The shapes that Erlang repos come in (of 35 public ones with a release that were read), each small enough to build in seconds."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from kit.engines import Engine
from kit.repos import Repo, vendor

PROD = "{profiles, [{prod, [{relx, [{dev_mode, false}, {include_erts, true}, {include_src, false}, {debug_info, strip}]}]}]}.\n"
COMMIT = r"[0-9a-f]{40}"


def app(name: str, folder: str = "", vsn: str = '"1"', needs: str = "") -> dict[str, str]:
    """An application of one module."""
    where = f"{folder}/src/" if folder else "src/"
    keys = f'[{{description, "{name}"}}, {{vsn, {vsn}}}, {{applications, [kernel, stdlib{needs}]}}]'
    return {
        f"{where}{name}.app.src": f"{{application, {name}, {keys}}}.\n",
        f"{where}{name}.erl": f"-module({name}).\n-export([answer/0]).\nanswer() -> 42.\n",
    }


def rebar(name: str = "demo", vsn: str = "{git, long}", apps: str = "demo", relx: str = "", top: str = "", profiles: str = PROD) -> str:
    """A rebar.config with one release in it, of an extended start script."""
    return f"{{relx, [{{release, {{{name}, {vsn}}}, [{apps}]}}, {{extended_start_script, true}}{relx}]}}.\n{profiles}{top}"


@dataclass(frozen=True)
class Shape:
    """A repo of one shape: files over those of a plain one, what a person must set, and the version that must come out."""

    name: str
    config: str = field(default_factory=rebar)
    files: dict[str, str] = field(default_factory=lambda: app("demo"))
    set: str = ""
    args: tuple[str, ...] = ()
    tag: str = ""
    version: str = COMMIT
    lock: bool = True
    prepare: Callable[[Repo, Engine], Repo] = lambda repo, engine: repo
    folder: str = ""
    says: str = ""
    asked: bool = True

    def make(self, path: Path, image: str, engine: Engine) -> Repo:
        """The repo, committed twice, the tag on the first commit."""
        repo = Repo(path / self.folder, image)
        repo.path.mkdir(parents=True)
        vendor(repo.path)
        repo.git("init", "--quiet", "--initial-branch=main", str(path))
        contents = {"rebar.config": self.config, **({"rebar.lock": "[].\n"} if self.lock else {}), **self.files}
        for name, text in {**contents, ".gitignore": "_build/\n__pycache__/\n"}.items():
            repo.write(name, text)
        repo.settings(self.set)
        repo.commit("one")
        if self.tag:
            repo.git("tag", self.tag)
        repo.commit("two")
        return self.prepare(repo, engine)


def worktree(repo: Repo, engine: Engine) -> Repo:
    path = repo.path.parent / f"{repo.path.name}-worktree"
    repo.git("worktree", "add", "--quiet", "-b", "feature", str(path))
    return Repo(path, repo.image)


def shallow(repo: Repo, engine: Engine) -> Repo:
    path = repo.path.parent / f"{repo.path.name}-shallow"
    repo.git("clone", "--quiet", "--depth=1", f"file://{repo.path}", str(path))
    return Repo(path, repo.image)


def submodule(repo: Repo, engine: Engine) -> Repo:
    other = Repo(repo.path.parent / f"{repo.path.name}-module", repo.image)
    for name, text in app("sub").items():
        other.write(name, text)
    other.git("init", "--quiet", "--initial-branch=main")
    other.commit()
    repo.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other.path), "apps/sub")
    repo.commit()
    return repo


def link(repo: Repo, engine: Engine) -> Repo:
    repo.write("shared/sys.config", "[].\n")
    (repo.path / "config").mkdir()
    (repo.path / "config/sys.config").symlink_to("../shared/sys.config")
    repo.commit()
    return repo


def of_another_user(repo: Repo, engine: Engine) -> Repo:
    """As in CI containers that run as root on a checkout of somebody else; trusted, as git asks for."""
    for folder, _, names in os.walk(repo.path):
        for name in ("", *names):
            os.chown(Path(folder, name), 1234, 1234, follow_symlinks=False)
    trust = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
    return Repo(repo.path, repo.image, trust)


def own_rebar3(repo: Repo, engine: Engine) -> Repo:
    """The rebar3 of the base image, put into the repo as projects do."""
    made = engine.docker("create", engine.build_base)
    engine.docker("cp", "--follow-link", f"{made}:/usr/bin/rebar3", str(repo.path / "rebar3"))
    engine.docker("rm", made)
    repo.commit()
    return repo


MAKEFILE = """\
ERTS := $(shell erl -noshell -eval 'io:format("~s/erts-~s/include", [code:root_dir(), erlang:system_info(version)]), halt().')
all:
\tmkdir -p ../priv && cc -shared -fPIC -I"$(ERTS)" -o ../priv/demo_nif.so demo_nif.c
"""
NIF = """\
#include <erl_nif.h>
static ERL_NIF_TERM answer(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]) { return enif_make_int(env, 42); }
static ErlNifFunc functions[] = {{"answer", 0, answer}};
ERL_NIF_INIT(demo, functions, NULL, NULL, NULL, NULL)
"""
NIF_MODULE = """\
-module(demo).
-export([answer/0]).
-on_load(init/0).
init() -> erlang:load_nif(filename:join(code:priv_dir(demo), "demo_nif"), 0).
answer() -> not_loaded.
"""
NATIVE = {
    **app("native", "_checkouts/native"),
    "_checkouts/native/rebar.config": '{pre_hooks, [{compile, "make -C c_src"}]}.\n',
    "_checkouts/native/src/native.erl": NIF_MODULE.replace("demo", "native"),
    "_checkouts/native/c_src/Makefile": MAKEFILE.replace("demo", "native"),
    "_checkouts/native/c_src/native_nif.c": NIF.replace("demo", "native"),
}
SCRIPT_VERSION = """\
{relx, Relx} = lists:keyfind(relx, 1, CONFIG),
Vsn = string:trim(os:cmd("git describe --tags")),
lists:keyreplace(relx, 1, CONFIG, {relx, [case T of {release, {N, _}, A} -> {release, {N, Vsn}, A}; _ -> T end || T <- Relx]}).
"""
SCRIPT_FILES = """\
{ok, Extra} = file:consult(filename:join(filename:dirname(SCRIPT), "extra.config")),
"yes" = os:getenv("DEMO_BUILD"),
Extra ++ CONFIG.
"""
YECC = "Nonterminals start.\nTerminals word.\nRootsymbol start.\nstart -> word : '$1'.\n"
LEEX = "Definitions.\nRules.\n[a-z]+ : {token, {word, TokenLine, TokenChars}}.\nErlang code.\n"
TAR_TWO = '{relx, [{release, {edge, "1.0.0"}, [demo]}, {release, {lab, "2.0.0"}, [demo, sasl]}, {extended_start_script, true}]}.\n' + PROD
VM_ARGS = "-sname demo\n"

SHAPES = [
    Shape("one application at the top"),
    Shape("umbrella", rebar(apps="demo, two"), {**app("demo", "apps/demo"), **app("two", "apps/two")}),
    Shape("applications in lib/", files=app("demo", "lib/demo")),
    Shape("release named unlike its application, with a hyphen", rebar("'edge-node'")),
    Shape("several releases", TAR_TWO, args=("--release", "lab"), version=r"2\.0\.0"),
    Shape("several releases, one the default", TAR_TWO.replace("{extended", "{default_release, edge}, {extended"), version=r"1\.0\.0"),
    Shape("version: a literal", rebar(vsn='"1.2.3"'), version=r"1\.2\.3"),
    Shape("version: {git, short}", rebar(vsn="{git, short}"), version=r"[0-9a-f]{7,12}"),
    Shape("version: git", rebar(vsn="git"), tag="v1.4.0", version=r"1\.4\.0\+build\.\d+\.ref[0-9a-f]{7,40}"),
    Shape("version: semver", rebar(vsn="semver"), tag="v1.4.0", version=r"1\.4\.0\+build\.\d+\.ref[0-9a-f]{7,40}"),
    Shape("version: {cmd, ...}", rebar(vsn='{cmd, "git describe --tags | tr -d \'\\\\n\'"}'), tag="v1.4.0", version=r"v1\.4\.0-1-g[0-9a-f]+"),
    Shape("version: {file, ...}", rebar(vsn='{file, "VERSION"}'), {**app("demo"), "VERSION": "3.1.4\n"}, version=r"3\.1\.4"),
    Shape("version: set by rebar.config.script", rebar(vsn='"0.1.0"'), {**app("demo"), "rebar.config.script": SCRIPT_VERSION}, tag="v7.0.0",
          version=r"v7\.0\.0-1-g[0-9a-f]+"),
    Shape("application version: git", files=app("demo", vsn="git"), tag="v1.4.0"),
    Shape("rebar.config.script that reads files and the environment", files={**app("demo"), "rebar.config.script": SCRIPT_FILES,
          "extra.config": "{erl_opts, [debug_info]}.\n"}, set="  dependency_files: [extra.config]\n  build_env: {DEMO_BUILD: 'yes'}\n"),
    Shape("no prod profile", rebar(relx=", {dev_mode, false}, {include_erts, true}", profiles=""), set="  profile: default\n"),
    Shape("a profile of another name", rebar(profiles=PROD.replace("{prod", "{container")), set="  profile: container\n"),
    Shape("release in the profile only", PROD.replace("{dev_mode", '{release, {demo, "1.0.0"}, [demo]}, {extended_start_script, true}, {dev_mode'),
          version=r"1\.0\.0"),
    Shape("{mode, prod} over {mode, dev}", rebar(relx=", {mode, dev}", profiles="{profiles, [{prod, [{relx, [{mode, prod}]}]}]}.\n")),
    Shape("no rebar.lock", lock=False),
    Shape("vm.args and sys.config without .src", rebar(relx=', {vm_args, "config/vm.args"}, {sys_config, "config/sys.config"}'),
          {**app("demo"), "config/vm.args": VM_ARGS, "config/sys.config": "[{demo, [{a, 1}]}].\n"}),
    Shape("vm.args.src and sys.config.src", rebar(relx=', {vm_args_src, "config/vm.args.src"}, {sys_config_src, "config/sys.config.src"}'),
          {**app("demo"), "config/vm.args.src": VM_ARGS, "config/sys.config.src": "[{demo, [{level, ${LOGGER_LEVEL}}]}].\n"}),
    Shape("overlay with a template", rebar(relx=', {overlay_vars, "rel/vars.config"}, {overlay, [{mkdir, "etc"}, {template, "rel/t", "etc/t"}]}'),
          {**app("demo"), "rel/vars.config": '{port, "99"}.\n', "rel/t": "{{port}} {{release_name}}\n"}),
    Shape("default start script (no ping, no attach)", rebar().replace(", {extended_start_script, true}", ""), asked=False),
    Shape("checkout dependency", "{deps, [other]}.\n" + rebar(apps="demo, other"), {**app("demo", needs=", other"), **app("other", "_checkouts/other")}),
    Shape("project in a subfolder of its repository", folder="services/demo"),
    Shape("path with spaces and other letters", folder="mein Dienst/a,b=größe"),
    Shape("CRLF files", rebar().replace("\n", "\r\n"), {name: text.replace("\n", "\r\n") for name, text in app("demo").items()}),
    Shape("a link among the files", rebar(relx=', {sys_config, "config/sys.config"}'), prepare=link),
    Shape("git submodule", rebar(apps="demo, sub"), app("demo", "apps/demo"), prepare=submodule),
    Shape("git worktree", rebar(vsn="git"), tag="v1.4.0", version=r"1\.4\.0\+build\.\d+\.ref[0-9a-f]{7,40}", prepare=worktree),
    Shape("shallow clone", prepare=shallow),
    Shape("files of another user", prepare=of_another_user),
    Shape("leex and yecc", files={**app("demo"), "src/demo_lexer.xrl": LEEX, "src/demo_parser.yrl": YECC}),
    Shape("hook that writes a module", rebar(top="{pre_hooks, [{compile, \"sh make.sh\"}]}.\n"),
          {**app("demo"), "make.sh": "echo '-module(made).' > src/made.erl\n"}),
    Shape("_build written out in a hook and an overlay", rebar(relx=', {overlay, [{copy, "_build/prod/lib/demo/ebin/demo.app", "copy.app"}]}',
          top='{post_hooks, [{compile, "ls _build/prod/lib/demo"}]}.\n')),
    Shape("NIF by make in a hook", rebar(top='{pre_hooks, [{compile, "make -C c_src"}]}.\n'),
          {**app("demo"), "src/demo.erl": NIF_MODULE, "c_src/Makefile": MAKEFILE, "c_src/demo_nif.c": NIF}),
    Shape("NIF in a dependency", "{deps, [native]}.\n" + rebar(apps="demo, native"), {**app("demo", needs=", native"), **NATIVE,
          "src/demo.erl": "-module(demo).\n-export([answer/0]).\nanswer() -> native:answer().\n"}),
    Shape("a step before rebar3", files={**app("demo"), "make.sh": "echo '-module(made).' > src/made.erl\n"}, set="  prebuild: sh make.sh\n"),
    Shape("OTP 27's keywords as names", files={**app("demo"), "src/old.erl": "-module(old).\n-export([f/0]).\nf() -> maybe.\n"},
          set="  build_env: {ERL_COMPILER_OPTIONS: '[{feature, maybe_expr, disable}]'}\n"),
    Shape("a rebar3 of the repo's own", set="  rebar3: ./rebar3\n", prepare=own_rebar3),
]  # fmt: skip


# What can't work, and the one sentence that says so.
REFUSED = [
    Shape("several releases, none chosen", TAR_TWO, says="rebar.config:1 has 2 releases, edge and lab"),
    Shape("version: semver in a shallow clone", rebar(vsn="semver"), tag="v1.4.0", prepare=shallow, says="git fetch --unshallow --tags"),
    Shape("version: {cmd, ...} that needs trees", rebar(vsn='{cmd, "git describe --dirty"}'), says="more than commits and tags: {cmd, \"git describe --dirty\"}"),
    Shape("version: ends in a newline", rebar(vsn='{cmd, "git describe --always"}'), says="ends in a newline"),
    Shape("no ERTS", rebar(profiles=PROD.replace("{include_erts, true}", "{include_erts, false}")), says="no Erlang runtime"),
    Shape("no ERTS, as {mode, dev} undoes the profile", rebar(relx=", {mode, dev}"), says="add {mode, prod}"),
    Shape("a header that is not there", rebar(top='{pre_hooks, [{compile, "cc -c -o /dev/null c_src/x.c"}]}.\n'),
          {**app("demo"), "c_src/x.c": "#include <yaml.h>\n"}, says="`build_packages: [libyaml-dev]`"),
    Shape("a tool that is not there", rebar(top='{pre_hooks, [{compile, "cmake ."}]}.\n'), says="`build_packages: [cmake]`"),
    Shape("Elixir dependency", rebar(top='{pre_hooks, [{compile, "mix deps.get"}]}.\n'), says="Elixir dependencies are not supported"),
]  # fmt: skip
