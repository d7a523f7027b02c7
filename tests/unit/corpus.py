"""The corpus: what was tried against the tool, and what may be. Each case must end as it is said here, and never in a stack."""

from __future__ import annotations

from kit.repos import TINY_CONFIG

from unit.hostile import CONFIG, Case, Thing, folder, git, hidden, link, listener, locked, pipe, read_only, remove, unreadable

APP = '{application, other, [{vsn, "1"}, {applications, [kernel, stdlib]}]}.\n'


def yaml(text: str) -> dict[str, str]:
    """An invoke.yaml with this under our key, each line as it is."""
    return {"invoke.yaml": f"beamdock:\n  image: tiny\n  {text}\n"}


# ---- settings in invoke.yaml: the line, and a word of the error
SETTINGS = [
    ("registry: a b", "registry"),
    ("registry: https://ghcr.io/acme", "registry"),
    ("registry: GHCR.io/ACME", "registry"),
    ("registry: user:s3cr3t@h/x", "registry"),
    ("registry: host:port/x", "registry"),
    ("registry: [a]", "registry"),
    ("registry: x/", "registry"),
    ('registry: "x\\ny"', "registry"),
    ("image: Tiny", "image"),
    ("image: tiny:latest", "image"),
    ("image: {a: b}", "image"),
    ("image: ü", "image"),
    ("release: nosuch", "release nosuch"),
    ("release: 5", "release"),
    ("version: 1.0", "version"),
    ('version: "{git,"', "version"),
    ('version: "a. b"', "version"),
    ('version: "{cmd, \\"git status\\"}"', "version"),
    ("profile: nosuch", "profile"),
    ("profile: 1", "profile"),
    ("dockerfile: nosuch", "nosuch"),
    ("dockerfile: src", "src"),
    ("dockerfile: [Dockerfile]", "dockerfile"),
    ("build_packages: gcc", "build_packages"),
    ("build_packages: [gcc, 5]", "build_packages"),
    ("build_packages: {gcc: 1}", "build_packages"),
    ("build_env: [A=1]", "build_env"),
    ("build_env: {A: 1}", "build_env"),
    ("build_args: A=b", "build_args"),
    ("prebuild: [make]", "prebuild"),
    ("rebar3: ./rebar3", "rebar3"),
    ("rebar3: /usr/bin/rebar3", "rebar3"),
    ("dependency_files: [nosuch]", "nosuch"),
    ("dependency_files: [/etc/hostname]", "/etc/hostname"),
    ("dependency_files: ['**x']", r"\*\*x"),
    ("dependency_files: rebar.config", "dependency_files"),
    ("dependency_files: ['src']", "src"),
    ("certificate_authority: nosuch.pem", "nosuch.pem"),
    ("certificate_authority: src", "src"),
    ("incremental: sometimes", "incremental"),
    ("incremental: true", "incremental"),
    ("cache: nosuch", "cache"),
    ("platform: amd64", "platform"),
    ("platform: linux/amd64/v2/x", "platform"),
    ("debian_mirror: http://token@h/", "debian_mirror"),
    ("git_rewrites: {'https://u:s3cr3t@h/': 'git@h:'}", "git_rewrites"),
    ("known_hosts: nosuch", "nosuch"),
    ("ssh: default=nosuch", "nosuch"),
    ("provenance: yes please", "provenance"),
    ("nofile: many", "nofile"),
    ("nofile: 1.5", "nofile"),
    ("nofile: true", "nofile"),
    ("writable: log", "writable"),
    ("secrets: id=x", "secrets"),
    ("nosuch: 1", "unknown setting `nosuch`"),
    ("regstry: x", "did you mean `registry`"),
    ("'': 1", "unknown setting"),
    ("NO: 1", "invoke.yaml:3"),
    ("[a]: b", "invoke.yaml"),
    ("build_base: user:s3cr3t@h/x", "password"),
    ("build_base: 'a b'", "build_base"),
    ('hex_mirror: " https://user:s3cr3t@h/"', "hex_mirror"),
    ("registry: !secret x", "invoke.yaml:3"),
    ("registry: !!python/object:os.system x", "invoke.yaml:3"),
    ("registry: 2026-01-01", "registry"),
    ("build_env: {NO: '1'}", "invoke.yaml:3"),
    ("build_env: {'A=B': c}", "build_env"),
    ("build_env: {'a b': c}", "build_env"),
    ("build_env: {'': c}", "build_env"),
    ("build_env: &a {A: *a}", "invoke.yaml:3"),
    ("build_env: " + "{A: " * 300 + "1" + "}" * 300, "build_env"),
    ("prebuild: " + "x" * 140_000, "prebuild"),
    ('prebuild: "a\\0b"', "prebuild"),
    ('image: "\\0"', "image"),
    ("cache: 'type=gha,oops'", "cache"),
    ("cache: 'type='", "cache"),
    ("known_hosts: ~nosuchuser/x", "nosuchuser"),
    ("ssh: default=~nosuchuser/x", "nosuchuser"),
    ("dependency_files: ['']", "dependency_files"),
    ("dependency_files: ['~nosuchuser/x']", "nosuchuser"),
    ("dependency_files: ['../versions.config']", "versions.config"),
    ("dependency_files: ['src/../../x']", "x"),
    ("rebar3: ../rebar3", "rebar3"),
    ("nofile: -5", "nofile"),
    ("nofile: 0", "nofile"),
    ("platform: linux/nosuch", "platform"),
    ("platform: windows/amd64", "platform"),
    ("writable: ['../../etc']", "writable"),
    ("writable: ['a b']", "writable"),
    ("writable: [/]", "writable"),
    ("secrets: ['']", "secrets"),
    ("secrets: ['id=a,id=b']", "secrets"),
    ("ssh: x y", "ssh"),
    ("network: 'a b'", "network"),
]
# Settings that are in order, as many at once as go together; and a word of the command.
DIGEST = "erlang:27@sha256:" + "0123456789abcdef" * 4
FINE = [
    ["registry: ghcr.io/acme", "release: tiny", 'version: "{git, short}"', "profile: default", "build_packages: [gcc, libssl-dev]",
     "build_env: {A: 'it''s \"so\" $x `y`'}", "build_args: {B: b}", "prebuild: make it && so", "rebar3: rebar3", "dependency_files: ['config/*']",
     "incremental: always", "cache: local", "platform: linux/amd64", "git_rewrites: {'https://h/': 'git@h:'}", "ssh: default", "provenance: yes",
     "writable: [log]", f"build_base: {DIGEST}"],
    ["registry: localhost:5000/erlang", 'version: ""', "build_packages:", "cache: none", "build_base: localhost:5000/erlang:27", "rebar3: ''"],
    ["registry: ''", "build_packages: []", "cache: type=gha"],
]  # fmt: skip
SETTINGS_CASES = [Case(f"setting {line[:70]}", "build --dry-run", 2, word, yaml(line)) for line, word in SETTINGS]
SETTINGS_CASES += [
    Case(f"settings {lines[0]} and more", "build --dry-run", 0, word, yaml("\n  ".join(lines)))
    for lines, word in zip(FINE, ("gcc libssl-dev", "BUILD_BASE=localhost:5000/erlang:27", "docker buildx"))
]

# ---- whole invoke.yamls
YAMLS = [
    ("", 0, "tiny"),
    ("\n\n# nothing\n", 0, "tiny"),
    ("beamdock:\n", 0, "tiny"),
    ("beamdock: {}\n", 0, "tiny"),
    ("other: {a: [1, 2]}\n", 0, "tiny"),
    ("beamdock:\n\timage: x\n", 2, "invoke.yaml:2"),
    ("beamdock:\n  image: x\n image: y\n", 2, "invoke.yaml:3"),
    ("beamdock: [\n", 2, "invoke.yaml:"),
    ("beamdock: 'x\n", 2, "invoke.yaml:"),
    ("a: b: c\n", 2, "invoke.yaml:1"),
    ("beamdock: {image: tiny, image: tiny}\n", 2, "invoke.yaml:1 has 'image' a second time"),
    ("x: &x {image: a}\ny: &y {release: tiny}\nbeamdock:\n  <<: *x\n  <<: *y\n  image: tiny\n", 0, "tiny"),
    ("\ufeffbeamdock:\n  image: tiny\n", 0, "tiny"),
    ("beamdock:\r\n  image: tiny\r\n", 0, "tiny"),
    ("beamdock: *x\n", 2, "invoke.yaml:1"),
    ("beamdock: x\n", 2, "beamdock"),
    ("beamdock: [a]\n", 2, "beamdock"),
    ("- a\n", 2, "invoke.yaml"),
    ("x\n", 2, "invoke.yaml"),
    ("2026-01-01\n", 2, "invoke.yaml"),
    ("tasks: foo\n", 2, "tasks"),
    ("run: foo\n", 2, "run"),
    ("a: !secret x\n", 2, "invoke.yaml:1"),
    ("&a {b: *a}\n", 2, "invoke.yaml"),
    ("a: &a [*a]\n", 2, "invoke.yaml"),
    ("[" * 1000, 2, "invoke.yaml"),
    ("a: " + "{a: " * 3000, 2, "invoke.yaml"),
    ("? [a]\n: b\n", 2, "invoke.yaml"),
    ("---\na: b\n---\nc: d\n", 2, "invoke.yaml"),
    ("%YAML 9.9\n---\nbeamdock: {}\n", 2, "invoke.yaml"),
    ("\x00", 2, "invoke.yaml"),
    ("beamdock:\n  image: \x1b[31mred\n", 2, "invoke.yaml"),
    ('beamdock:\n  prebuild: "\\e[31mred"\n', 0, r"\\x1b\[31mred"),
    ('beamdock:\n  registry: "\\e[31mred"\n', 2, r"registry.*\\x1b\[31mred"),
    ("beamdock:\n  prebuild: ünï\n", 0, "ünï"),
]
YAML_CASES = [Case(f"invoke.yaml {text[:60]!r}", "config", code, word, {"invoke.yaml": text}) for text, code, word in YAMLS]
YAML_CASES += [
    Case("invoke.yaml in latin-1", "config", 2, "invoke.yaml", {"invoke.yaml": b"beamdock:\n  prebuild: \xe9\n"}),
    Case("invoke.yaml is a folder", "config", 2, "invoke.yaml is a folder", {"invoke.yaml": folder}),
    Case("invoke.yaml is a pipe", "config", 2, "invoke.yaml is a pipe", {"invoke.yaml": pipe}),
    Case("invoke.yaml is a socket", "config", 2, "invoke.yaml", {"invoke.yaml": listener}),
    Case("invoke.yaml is a device", "config", 2, "invoke.yaml is a device", {"invoke.yaml": link("/dev/zero")}),
    Case("invoke.yaml leads nowhere", "config", 2, "invoke.yaml can't be read: no such file", {"invoke.yaml": link("nowhere")}),
    Case("invoke.yaml leads to itself", "config", 2, "invoke.yaml", {"invoke.yaml": link("invoke.yaml")}),
    Case(
        "invoke.yaml is a link",
        "config",
        0,
        "elsewhere",
        {"invoke.yaml": link("other.yaml"), "other.yaml": "beamdock: {prebuild: elsewhere}"},
    ),
    Case("invoke.yaml is unreadable", "config", 2, "invoke.yaml can't be read: permission denied", {"invoke.yaml": unreadable("")}),
    Case("invoke.yml is a pipe", "config", 2, "invoke.yml is a pipe", {"invoke.yaml": remove, "invoke.yml": pipe}),
    Case("invoke.json is a pipe", "config", 2, "invoke.json is a pipe", {"invoke.yaml": remove, "invoke.json": pipe}),
    Case("invoke.json is no JSON", "config", 2, "invoke.json", {"invoke.yaml": remove, "invoke.json": "{"}),
    Case("invoke.json is a list", "config", 2, "invoke.json", {"invoke.yaml": remove, "invoke.json": "[1]"}),
    Case("invoke.json counts", "config", 0, "from-json", {"invoke.yaml": remove, "invoke.json": '{"beamdock": {"prebuild": "from-json"}}'}),
    Case("invoke.py is a folder", "config", 2, "invoke.py is a folder", {"invoke.yaml": remove, "invoke.py": folder}),
    Case("both invoke.yaml and invoke.yml", "config", 0, "tiny", {"invoke.yml": "beamdock: {image: second}"}),
]

# ---- INVOKE_BEAMDOCK_*
VARIABLES = [
    ("REGISTRY", "a b", "INVOKE_BEAMDOCK_REGISTRY"),
    ("REGISTRY", "\x1b[31m", "INVOKE_BEAMDOCK_REGISTRY"),
    ("IMAGE", "UPPER", "INVOKE_BEAMDOCK_IMAGE"),
    ("RELEASE", "nosuch", "release nosuch"),
    ("VERSION", "{git", "version"),
    ("BUILD_PACKAGES", "gcc", "INVOKE_BEAMDOCK_BUILD_PACKAGES"),
    ("BUILD_ENV", "A=1", "INVOKE_BEAMDOCK_BUILD_ENV"),
    ("NOFILE", "x", "INVOKE_BEAMDOCK_NOFILE"),
    ("NOFILE", "28.2", "INVOKE_BEAMDOCK_NOFILE"),
    ("PROVENANCE", "maybe", "INVOKE_BEAMDOCK_PROVENANCE"),
    ("HEX_MIRROR", "https://u:s3cr3t@h", "hex_mirror"),
    ("NOSUCH", "1", "unknown setting `nosuch`"),
    ("", "1", "unknown setting"),
    ("REGISTRY_", "x", "unknown setting `registry_`"),
    ("DEPENDENCY_FILES", "['../x']", "x"),
    ("PREBUILD", "make \udce9", "INVOKE_BEAMDOCK_PREBUILD"),
    ("DEFAULT_BRANCH", "\udce9", "INVOKE_BEAMDOCK_DEFAULT_BRANCH"),
    ("BUILD_BASE", "user:s3cr3t@h/x", "password"),
    ("BUILD_ENV", "[[[[", "INVOKE_BEAMDOCK_BUILD_ENV"),
    ("BUILD_ENV", "!secret x", "INVOKE_BEAMDOCK_BUILD_ENV"),
    ("BUILD_ENV", "2026-01-01", "INVOKE_BEAMDOCK_BUILD_ENV"),
    ("BUILD_ENV", "&a {x: *a}", "INVOKE_BEAMDOCK_BUILD_ENV"),
    ("BUILD_ENV", "[" * 1000, "INVOKE_BEAMDOCK_BUILD_ENV"),
    ("SECRETS", "['']", "INVOKE_BEAMDOCK_SECRETS"),
    ("NOFILE", "9" * 5000, "INVOKE_BEAMDOCK_NOFILE"),
]
VARIABLE_CASES = [
    Case(f"INVOKE_BEAMDOCK_{name}={value[:40]!r}", "build --dry-run", 2, word, env={f"INVOKE_BEAMDOCK_{name}": value})
    for name, value, word in VARIABLES
]
FINE_VARIABLES = {"REGISTRY": "ghcr.io/acme", "IMAGE": "", "BUILD_PACKAGES": "[gcc, make]", "BUILD_ENV": "{A: '1'}", "NOFILE": "1024", "PROVENANCE": "false",
                  "PREBUILD": "x" * 1000, "DEFAULT_BRANCH": "a b ü", "RUN_BASE": DIGEST}  # fmt: skip
VARIABLE_CASES += [
    Case("variables in order", "build --dry-run", 0, "gcc make", env={f"INVOKE_BEAMDOCK_{n}": v for n, v in FINE_VARIABLES.items()}),
    Case("an empty variable", "build --dry-run", 0, "docker buildx", env={"INVOKE_BEAMDOCK_BUILD_PACKAGES": ""}),
    Case("HEX_CDN with a password", "config", 2, "HEX_CDN", env={"HEX_CDN": "https://u:s3cr3t@h"}),
    Case("HEX_MIRROR", "config", 0, "HEX_MIRROR", env={"HEX_MIRROR": "https://h"}),
    Case("HOME is nowhere", "build --dry-run", 0, "docker buildx", env={"HOME": "/nowhere"}),
    Case("HOME is empty", "build --dry-run", 0, "docker buildx", env={"HOME": ""}),
    Case("PATH is empty", "config", 2, "git is not installed", env={"PATH": "/nowhere"}),
    Case("SSH_AUTH_SOCK is nowhere", "build --dry-run --ssh default", 0, "docker buildx", env={"SSH_AUTH_SOCK": "/nowhere"}),
    Case("SSH_AUTH_SOCK is long", "build --dry-run --ssh default", 0, "docker buildx", env={"SSH_AUTH_SOCK": "/" + "x" * 200}),
    Case("TMPDIR is nowhere", "build --dry-run", 0, "docker buildx", env={"TMPDIR": "/nowhere"}),
    Case("TMPDIR is a file", "build --dry-run", 0, "docker buildx", env={"TMPDIR": "/dev/null"}),
    Case("GIT_DIR leads elsewhere", "config", 0, "tiny", env={"GIT_DIR": "/nowhere", "GIT_WORK_TREE": "/", "GIT_INDEX_FILE": "/nowhere"}),
    Case("GITHUB_HEAD_REF is no name", "build --dry-run", 0, "docker buildx", env={"CI": "1", "GITHUB_HEAD_REF": "\x1b[31m ../"}),
    Case("BRANCH_NAME is no UTF-8", "build --dry-run", 0, "docker buildx", env={"CI": "1", "BRANCH_NAME": "\udce9"}),
    Case("TERM is nonsense", "config", 0, "tiny", env={"TERM": "\x1b[31m", "COLUMNS": "x", "LINES": "-1"}),
    Case("DOCKER_CONFIG is a file", "build --dry-run", 0, "docker buildx", env={"DOCKER_CONFIG": "/dev/null"}),
    Case("PYTHONIOENCODING is ASCII", "config", 0, r"\\xfcn", yaml("prebuild: ün"), env={"PYTHONIOENCODING": "ascii"}),
    Case("PYTHONIOENCODING is Latin-1", "config", 0, r"\\u20ac", yaml("prebuild: €"), env={"PYTHONIOENCODING": "latin-1"}),
    Case("an error in ASCII", "config", 2, r"registry.*\\xfc", yaml("registry: ü"), env={"PYTHONIOENCODING": "ascii"}),
]

# ---- flags
FLAGS = [
    ("build --dry-run --release nosuch", 2, "release nosuch"),
    ("build --dry-run --registry 'a b'", 2, "--registry"),
    ("build --dry-run --registry ''", 0, "docker buildx"),
    ("build --dry-run --build-arg A", 2, "--build-arg A"),
    ("build --dry-run --build-arg A=", 0, "A="),
    ("build --dry-run --build-arg =", 2, "--build-arg = has no name"),
    ("build --dry-run --build-arg A=ü", 0, "A=ü"),
    ("build --dry-run --tag latest", 2, "latest"),
    ("build --dry-run --tag 'a b'", 2, "can't be a tag"),
    ("build --dry-run --tag -x", 2, "can't be a tag"),
    ("build --dry-run --tag ''", 2, "can't be a tag"),
    (f"build --dry-run --tag {'long' * 33}", 2, "can't be a tag"),
    (f"build --dry-run --tag {'x' * 128}", 0, "docker buildx"),
    ("build --dry-run --target dirty", 2, "dirty"),
    ("build --dry-run --target builder", 0, "-builder"),
    ("build --dry-run --target 'a b'", 2, "can't be a stage"),
    ("build --dry-run --secret id=x,src=/nowhere", 2, "/nowhere does not exist .--secret"),
    ("build --dry-run --ssh default=/nowhere", 2, "/nowhere"),
    ("build --dry-run --cache-to=type=gha", 0, "type=gha"),
    ("build --dry-run --no-cache --pull", 0, "no-cache"),
    ("build --dry-run --no-load", 0, "cacheonly"),
    ("build --dry-run --tarball /dev/null", 2, "/dev/null"),
    ("build --dry-run --tarball /nowhere", 0, "docker buildx"),
    ("build --dry-run --tarball rebar.config", 2, "rebar.config"),
    ("build --dry-run --tarball rebar.config/x", 2, "rebar.config"),
    ("build --dry-run --tarball out", 0, "docker buildx"),
    ("build --dry-run --tarball ''", 0, "docker buildx"),
    ("push --dry-run", 2, "registry"),
    ("push --dry-run --registry r.example", 0, "docker buildx"),
    ("push --dry-run --registry r.example --branch", 0, "r.example/tiny:main"),
    ("push --dry-run --registry r.example --branch=../../x", 0, "docker buildx"),
    ("push --dry-run --registry r.example --branch=latest", 0, "docker buildx"),
    ("push --dry-run --registry r.example --branch=", 2, "--branch"),
    ("push --dry-run --registry user:s3cr3t@r.example", 2, "--registry"),
    ("build --dry-run --target ''", 2, "--target"),
    ("build --dry-run --secret ''", 2, "--secret"),
    ("build --dry-run --secret s3cr3t", 2, "--secret"),
    ("build --dry-run --ssh 'x y'", 2, "--ssh"),
    ("build --dry-run --cache-to=type=gha,oops", 2, "--cache-to"),
    ("build --dry-run --cache-from=type=", 2, "--cache-from"),
    ("build --dry-run --build-arg A=https://u:s3cr3t@h/", 2, "--build-arg"),
    (f"build --dry-run --build-arg A={'x' * 100_000}", 2, "--build-arg"),
    ("build --dry-run --tarball ~nosuchuser/x", 0, "docker buildx"),
    ("push --dry-run --registry r.example --tag latest", 2, "latest"),
    ("deps-image --key", 0, "^[0-9a-f]{64}$"),
    ("deps-image --explain", 0, "rebar.config"),
    ("deps-image --key --registry 'a b'", 2, "--registry"),
    ("deps-image --dry-run --push", 2, "registry"),
    ("deps-image --dry-run", 0, "docker buildx"),
    ("config --release nosuch", 2, "release nosuch"),
    ("clean --keep x", 2, "--keep x is no whole number"),
    ("clean --keep -1", 2, "--keep -1"),
    ("clean --keep 1.5", 2, "--keep 1.5 is no whole number"),
    ("clean --keep 99999999999999999999999", 2, "--keep"),
    ("clean --dry-run --keep 0", 2, "docker"),
    ("stop --time x", 2, "--time x is no whole number"),
    ("stop --time 1e3", 2, "--time 1e3 is no whole number"),
    ("stop", 2, "docker"),
    ("ps", 2, "docker"),
    ("attach", 2, "eval"),
    ("run", 2, "docker"),
    ("run --publish 99999", 2, "no port 99999"),
    ("run --publish 80:x", 2, "--publish=80:x is no port"),
    ("run --publish ''", 2, "--publish"),
    ("run --env=", 2, "--env="),
    ("run --env 'a b=1'", 2, "--env=a b: a b can't be the name"),
    ("run --env-file /nowhere", 2, "--env-file=/nowhere: there is no such file"),
    ("run --env-file src", 2, "--env-file=src: there is no such file"),
    ("run --env-file invoke.yaml", 2, "invoke.yaml:2: image: tiny can't be the name"),
    ("run --volume=", 2, "--volume= is no volume"),
    ("run --volume a:b", 2, "--volume=a:b is no volume"),
    ("run --memory x", 2, "--memory=x is no amount"),
    ("run --cpus x", 2, "--cpus=x is no number"),
    ("run --name ../x", 2, "--name=../x can't be"),
    ("run --name '\x1b[31m'", 2, "--name="),
    ("eval node()", 2, "docker"),
    ("rpc lists seq -- 1 x[", 2, r"x\[ is no Erlang term"),
    ("rpc lists seq -- '\x1b[31m'", 2, r"\\x1b\[31m is no Erlang term"),
    ("rpc lists seq -- 1 3", 2, "docker"),
    ("rpc 'a b' '' --", 2, "docker"),
    ("console", 2, "terminal"),
    ("build", 2, "docker"),
    ("init /nowhere", 2, "/nowhere"),
    ("init .", 2, "itself"),
    ("init --dry-run src", 2, "rebar.config"),
    ("init rebar.config", 2, "rebar.config"),
    ("init --nosuch", 2, "--nosuch"),
    ("init ''", 2, "folder"),
]
FLAG_CASES = [Case(args[:80], args, code, word) for args, code, word in FLAGS]

# ---- rebar.config and what is read beside it
CONFIGS = [
    ("", 2, "no release"),
    ("{relx, [", 2, "rebar.config:1"),
    ("{relx, []}", 2, "rebar.config:1"),
    ("{relx, []}.\n", 2, "no release"),
    ("{relx, x}.", 2, "no release"),
    ("{relx, [{release, x}]}.", 2, "no release"),
    ("{relx, [{release, {}, []}]}.", 2, "no release"),
    ('{relx, [{release, {a, "1"}, [a]}]}.', 2, "profile prod"),
    ("foo(bar).", 2, "rebar.config:1"),
    ("\x00", 2, "no release"),
    ("{erl_opts, [debug_info]}", 2, "rebar.config:1"),
    ("%% nothing", 2, "no release"),
    ("}", 2, "rebar.config:1"),
    ("\x1b[31m", 2, "rebar.config:1"),
    ("\u202e", 2, r"rebar.config:1.*\\u202e"),
    (CONFIG + '{deps, [a, {b, "1"}]}.', 0, "docker buildx"),
    (CONFIG + "{deps, x}.", 0, "docker buildx"),
    (CONFIG + "{plugins, [rebar3_hex]}.", 0, "docker buildx"),
    (CONFIG + '"unterminated', 2, "rebar.config:4"),
    (CONFIG + "'unterminated", 2, "rebar.config:4"),
    ('{relx, [{release, {a, "1"}, [a]}, {release, {b, "1"}, [b]}]}. {profiles, [{prod, []}]}.', 2, "2 releases"),
    (CONFIG.replace("\n", "\r\n"), 0, "docker buildx"),
    ("\ufeff" + CONFIG, 0, "docker buildx"),
]
REBAR_CASES = [Case(f"rebar.config {text[-40:]!r}", "build --dry-run", code, word, {"rebar.config": text}) for text, code, word in CONFIGS]
REBAR_CASES += [
    Case("rebar.config in latin-1", "build --dry-run", 0, "docker buildx", {"rebar.config": b"%% \xe9\n" + CONFIG.encode()}),
    Case("rebar.config is gone", "config", 2, "rebar.config", {"rebar.config": remove}),
]
for path in ("rebar.config", "rebar.lock", "rebar.config.script"):
    REBAR_CASES += [
        Case(f"{path} is a folder", "build --dry-run", 2, f"{path} is a folder", {path: folder}),
        Case(f"{path} is a pipe", "build --dry-run", 2, f"{path} is a pipe", {path: pipe}),
        Case(f"{path} leads nowhere", "build --dry-run", 2, f"{path} can't be read: no such file", {path: link("nowhere")}),
        Case(f"{path} is unreadable", "build --dry-run", 2, f"{path} can't be read: permission denied", {path: unreadable("")}),
    ]
REBAR_CASES += [
    Case("rebar.config is a socket", "build --dry-run", 2, "rebar.config is a socket", {"rebar.config": listener}),
    Case("rebar.config is a device", "build --dry-run", 2, "rebar.config is a device", {"rebar.config": link("/dev/zero")}),
    Case("rebar.config leads to itself", "build --dry-run", 2, "rebar.config", {"rebar.config": link("rebar.config")}),
]
REBAR_CASES += [
    Case("rebar.lock is no term", "build --dry-run", 0, "docker buildx", {"rebar.lock": "<<<"}),
    Case("rebar.lock is empty", "build --dry-run", 0, "docker buildx", {"rebar.lock": ""}),
    Case("rebar.lock is binary", "deps-image --key", 0, "", {"rebar.lock": bytes(range(256))}),
    Case("a script, and no release", "config", 2, "release", {"rebar.config": "", "rebar.config.script": "CONFIG."}),
    Case("a script", "build --dry-run", 0, "docker buildx", {"rebar.config.script": "CONFIG."}),
    Case("an application's rebar.config is a folder", "build --dry-run", 0, "docker buildx", {"apps/a/rebar.config": folder}),
    Case("an application's rebar.config is a pipe", "build --dry-run", 0, "docker buildx", {"apps/a/rebar.config": pipe}),
    Case("an application's rebar.config leads nowhere", "build --dry-run", 0, "docker buildx", {"apps/a/rebar.config": link("x")}),
    Case(
        "an application's rebar.config is unreadable",
        "build --dry-run",
        2,
        "apps/a/rebar.config can't",
        {"apps/a/rebar.config": unreadable("")},
    ),
    Case("an application's rebar.config is no term", "build --dry-run", 0, "docker buildx", {"apps/a/rebar.config": "{{{"}),
]

# ---- .app.src
SOURCES: list[tuple[str, dict[str, Thing], int, str]] = [
    ("Emacs holds it", {"src/.#tiny.app.src": link("me@host.1234:5678")}, 0, "docker buildx"),
    ("Emacs holds an application's", {"apps/a/src/.#a.app.src": link("me@host.1:2"), "apps/a/src/a.app.src": APP}, 0, "docker buildx"),
    ("is a folder", {"src/other.app.src": folder}, 0, "docker buildx"),
    ("is a pipe", {"src/other.app.src": pipe}, 0, "docker buildx"),
    ("is a socket", {"src/o.app.src": listener}, 0, "docker buildx"),
    ("leads to itself", {"src/other.app.src": link("other.app.src")}, 0, "docker buildx"),
    ("is unreadable", {"src/other.app.src": unreadable("")}, 2, "src/other.app.src can't be read: permission denied"),
    ("is empty", {"src/tiny.app.src": ""}, 0, "docker buildx"),
    ("is no term", {"src/tiny.app.src": "{{{"}, 0, "docker buildx"),
    ("is binary", {"src/tiny.app.src": bytes(range(256))}, 0, "docker buildx"),
    ("asks git for trees", {"src/tiny.app.src": '{application, tiny, [{vsn, {cmd, "git describe --dirty"}}]}.'}, 2, "git describe --dirty"),
    ("is one of many", {f"apps/a{i}/src/a{i}.app.src": APP for i in range(50)}, 0, "docker buildx"),
]  # fmt: skip
SOURCE_CASES = [Case(f"an .app.src {name}", "build --dry-run", code, word, files) for name, files, code, word in SOURCES]

# ---- Dockerfile
DOCKERFILES: list[tuple[str, Thing, int, str]] = [
    ("is gone", remove, 2, "Dockerfile does not exist"),
    ("is a folder", folder, 2, "Dockerfile is a folder"),
    ("is a pipe", pipe, 2, "Dockerfile is a pipe"),
    ("leads nowhere", link("nowhere"), 2, "Dockerfile can't be read: no such file"),
    ("leads to itself", link("Dockerfile"), 2, "Dockerfile"),
    ("is a device", link("/dev/zero"), 2, "Dockerfile is a device"),
    ("is unreadable", unreadable(""), 2, "Dockerfile can't be read: permission denied"),
    ("is binary", bytes(range(256)), 0, "docker buildx"),
    ("has one line", "FROM scratch", 0, "docker buildx"),
    ("has an endless line", "FROM scratch\nRUN \\\n", 0, "docker buildx"),
    ("has an open heredoc", "FROM x AS runner\nRUN <<EOF\necho\n", 0, "docker buildx"),
    ("has odd instructions", "FROM\nFROM a\nENV\nENV =\nARG\nCOPY\nRUN\n", 0, "docker buildx"),
    ("has no runner", "FROM a AS other\n", 0, "docker buildx"),
]
DOCKERFILE_CASES = [
    Case(f"Dockerfile {name}", "build --dry-run", code, word, {"Dockerfile": what}) for name, what, code, word in DOCKERFILES
]

# ---- .dockerignore, and what goes into the release
BESIDE: list[tuple[str, dict[str, Thing], int, str]] = [
    (".dockerignore is gone", {".dockerignore": remove}, 0, "docker buildx"),
    (".dockerignore is a folder", {".dockerignore": folder}, 0, "docker buildx"),
    (".dockerignore is a pipe", {".dockerignore": pipe}, 0, "docker buildx"),
    (".dockerignore is unreadable", {".dockerignore": unreadable("")}, 2, ".dockerignore can't be read: permission denied"),
    (".dockerignore leads nowhere", {".dockerignore": link("nowhere")}, 0, "docker buildx"),
    (".dockerignore is binary", {".dockerignore": bytes(range(256))}, 0, "docker buildx"),
    (".dockerignore has odd patterns", {".dockerignore": "[\n!\n!!\n\\\n**x**\n[z-a]\n../..\n/\n//\n.\n"}, 0, "docker buildx"),
    (".dockerignore keeps all out", {".dockerignore": "*" * 200}, 2, ".dockerignore keeps config/vm.args.src out of the build"),
    ("vm.args.src is a folder", {"config/vm.args.src": folder}, 0, "docker buildx"),
    ("vm.args.src is a pipe", {"config/vm.args.src": pipe}, 0, "docker buildx"),
    ("vm.args.src leads nowhere", {"config/vm.args.src": link("nowhere")}, 0, "docker buildx"),
    ("vm.args.src is unreadable", {"config/vm.args.src": unreadable("")}, 2, "config/vm.args.src can't be read: permission denied"),
    ("vm.args.src is binary", {"config/vm.args.src": bytes(range(256))}, 0, "docker buildx"),
    ("sys.config is a pipe", {"config/sys.config": pipe}, 0, "docker buildx"),
    ("sys.config.src is unreadable", {"config/sys.config.src": unreadable("")}, 2, "config/sys.config.src can't be read: permission denied"),
    ("sys.config.src has control characters", {"config/sys.config.src": "[{a, ${\x1b[31mX}, ${\u202e}}]."}, 0, "docker buildx"),
    ("config is a file", {"config": ""}, 0, "docker buildx"),
    ("config is unreadable", {"config": hidden}, 1, "config/vm.args.src: permission denied"),
    ("src is unreadable", {"src": hidden}, 0, "docker buildx"),
    ("apps is a file", {"apps": ""}, 0, "docker buildx"),
    ("apps is a pipe", {"apps": pipe}, 0, "docker buildx"),
    ("apps leads upwards", {"apps/a": link("../..")}, 0, "docker buildx"),
    (".gitmodules is nonsense", {".gitmodules": "[submodule"}, 0, "docker buildx"),
]  # fmt: skip
BESIDE_CASES = [Case(name, "build --dry-run", code, word, files) for name, files, code, word in BESIDE]

# ---- _build, and what cannot be written
BUILD = "_build/beamdock"
PLACES: list[tuple[str, dict[str, Thing], int, str]] = [
    ("_build is a file", {"_build": ""}, 1, "_build is no folder"),
    ("_build leads nowhere", {"_build": link("/nowhere/x")}, 2, "_build is a link to /nowhere/x"),
    ("_build leads to itself", {"_build": link("_build")}, 2, "_build is a link to _build"),
    ("_build is a pipe", {"_build": pipe}, 1, "_build is no folder"),
    ("_build/beamdock is a file", {BUILD: ""}, 1, "_build/beamdock is no folder"),
    ("_build/beamdock leads nowhere", {BUILD: link("nowhere")}, 2, "_build/beamdock is a link to nowhere"),
    ("_build is read-only", {"_build": read_only()}, 1, "can't be written: permission denied"),
    ("_build/beamdock is root's", {BUILD: read_only("deps.lock", "deps.json", ".gitignore")}, 1, "can't be written: permission denied"),
    ("_build/beamdock/deps is root's", {f"{BUILD}/deps": read_only("rebar.config")}, 0, "docker buildx"),
    ("contexts is a file", {f"{BUILD}/contexts": ""}, 1, "contexts is no folder"),
    ("contexts leads nowhere", {f"{BUILD}/contexts": link("nowhere")}, 2, "contexts is a link to nowhere"),
    ("contexts is a pipe", {f"{BUILD}/contexts": pipe}, 1, "contexts is no folder"),
    ("contexts is root's", {f"{BUILD}/contexts": read_only("deps-1/rebar.config")}, 1, "can't be written: permission denied"),
    ("contexts is unreadable", {f"{BUILD}/contexts": hidden}, 1, "contexts can't be written: permission denied"),
    ("contexts has odd things in it", {f"{BUILD}/contexts/deps-1": pipe, f"{BUILD}/contexts/x": link("x"), f"{BUILD}/contexts/-": ""}, 0, "docker buildx"),
    (".gitignore is a folder", {f"{BUILD}/.gitignore": folder}, 1, ".gitignore"),
    (".gitignore is a link", {f"{BUILD}/.gitignore": link("../../rebar.config")}, 0, "docker buildx"),
    (".gitignore is unreadable", {f"{BUILD}/.gitignore": unreadable("")}, 0, "docker buildx"),
    ("the repo is read-only", {".": locked}, 1, "_build can't be written: permission denied"),
    (".git/objects is read-only", {"rebar.config": TINY_CONFIG, ".git/objects": locked, ".git/objects/pack": locked}, 0, "docker buildx"),
]  # fmt: skip
PLACE_CASES = [Case(name, "build --dry-run", code, word, files) for name, files, code, word in PLACES]
PLACE_CASES += [
    Case("a read-only repo has a configuration", "config", 0, "tiny", {".": locked, ".git": locked}),
    Case("a read-only repo has a key", "deps-image --key", 0, "", {".": locked, ".git": locked}),
]
RECORDS = ["", "{", "[1, 2]", "null", "{}", '{"key": 5}', '{"key": "x", "compiled": 5, "parts": []}', '{"parts": {"a": 1}}',
           '{"key": "x", "compiled": [], "parts": {"a": [1]}}', "\x00", "[" * 100_000]  # fmt: skip
RECORD_CASES = [
    Case(f"deps.json {text[:50]!r}", "deps-image --explain", 0, "rebar.config", {f"{BUILD}/deps.json": text}) for text in RECORDS
]
RECORD_CASES += [
    Case("deps.json is a folder", "deps-image --explain", 0, "rebar.config", {f"{BUILD}/deps.json": folder}),
    Case("deps.json is a pipe", "deps-image --explain", 0, "rebar.config", {f"{BUILD}/deps.json": pipe}),
    Case("deps.json is unreadable", "deps-image --explain", 0, "rebar.config", {f"{BUILD}/deps.json": unreadable("")}),
    Case("deps.json leads nowhere", "deps-image --explain", 0, "rebar.config", {f"{BUILD}/deps.json": link("nowhere")}),
]

# ---- names of files and folders
NAMES = ["a b", "-x", "a\nb", "a\x1b[31mb", "ü", "a,b", "a=b", "a\\b", "$(x)", "[x",
         "x" * 200, "é" * 100, b"\xe9".decode("utf-8", "surrogateescape"), "\u202egnp"]  # fmt: skip
NAME_CASES = [
    Case(
        f"an application called {name[:40]!r}",
        "build --dry-run",
        0,
        "docker buildx",
        {f"apps/{name}/rebar.config": "", f"apps/{name}/src/x.app.src": APP},
    )
    for name in NAMES
]
NAME_CASES += [
    Case(
        f"a file called {name[:40]!r} is not committed", "push --dry-run --registry r.example", 2, "1 file differs", {f"src/{name}.erl": ""}
    )
    for name in NAMES[:4]
]
NAME_CASES += [Case(f"a key with {name[:40]!r}", "deps-image --explain", 0, word, {f"apps/{name}/rebar.config": ""})
    for name, word in [("a\x1b[31mb", r"a\\x1b\[31mb"), ("a\nb", r"a\\nb/rebar"), (b"\xe9".decode("utf-8", "surrogateescape"), r"\\xe9"), ("ü", "ü")]]  # fmt: skip

# ---- branches and the state of git
BRANCHES = ["feature/x", "ü#1", "latest", "v1.0", "deps-x", "a" * 200, "x.lock-", "a@b", "x-amd64",
            "abcd" * 10, b"\xe9".decode("utf-8", "surrogateescape"), "a;b|c&d"]  # fmt: skip
BRANCH_CASES = [
    Case(
        f"branch {name[:40]!r}",
        "build --dry-run",
        0,
        "docker buildx",
        {".": git("checkout", "-q", "-b", name), "rebar.config": TINY_CONFIG},
    )
    for name in BRANCHES
]
GIT: list[tuple[str, dict[str, Thing], int, str]] = [
    ("no git", {".git": remove}, 2, "in no git repository"),
    (".git is empty", {".git": folder}, 2, r"\.git"),
    (".git is a file", {".git": "nonsense"}, 1, "invalid gitfile"),
    (".git leads nowhere", {".git": "gitdir: /nowhere\n"}, 2, r"\.git is damaged"),
    (".git is a pipe", {".git": pipe}, 2, r"\.git"),
    (".git is unreadable", {".git": unreadable("")}, 1, "ermission denied"),
    ("HEAD is gone", {".git/HEAD": remove}, 2, r"\.git"),
    ("HEAD is empty", {".git/HEAD": ""}, 2, r"\.git"),
    ("HEAD is nonsense", {".git/HEAD": "nonsense"}, 2, r"\.git"),
    ("HEAD is detached", {".": git("checkout", "-q", "--detach")}, 0, "docker buildx"),
    ("HEAD is unborn", {".git/HEAD": "ref: refs/heads/new\n"}, 2, "no commit yet"),
    ("HEAD is a commit that is gone", {".git/HEAD": "1" * 40 + "\n"}, 1, "git"),
    ("the branch is nonsense", {".git/refs/heads/main": "nonsense"}, 2, "commit"),
    ("config is nonsense", {".git/config": "["}, 1, "git"),
    ("config is of the future", {".git/config": "[core]\n\trepositoryformatversion = 99\n"}, 1, "git"),
    ("config is unreadable", {".git/config": unreadable("")}, 1, "git"),
    ("the index is nonsense", {".git/index": "nonsense"}, 1, "git"),
    ("the index is gone", {".git/index": remove}, 0, "docker buildx"),
    ("the objects are gone", {".git/objects/pack": remove}, 1, "git"),
    ("the refs are gone", {".git/refs": remove}, 2, r"\.git"),
    ("the branch has a control character", {".git/HEAD": "ref: refs/heads/\x1b[31m\n"}, 2, ""),
    ("a bare repository", {".git/config": "[core]\n\tbare = true\n"}, 0, "docker buildx"),
]
GIT_CASES = [Case(f"git: {name}", "build --dry-run", code, word, {"rebar.config": TINY_CONFIG, **files}) for name, files, code, word in GIT]

# ---- checkouts and links
CHECKOUTS: list[tuple[str, dict[str, Thing], int, str]] = [
    ("is empty", {"_checkouts": folder}, 0, "docker buildx"),
    ("is a file", {"_checkouts": ""}, 0, "docker buildx"),
    ("leads nowhere", {"_checkouts": link("nowhere")}, 0, "docker buildx"),
    ("leads to itself", {"_checkouts/a": link("a")}, 0, "docker buildx"),
    ("leads upwards", {"_checkouts/a": link("../..")}, 0, "docker buildx"),
    ("leads out", {"_checkouts/a": link("/etc")}, 0, "docker buildx"),
    ("has a pipe", {"_checkouts/a/src/a.app.src": APP, "_checkouts/a/pipe": pipe}, 0, "docker buildx"),
    ("has an unreadable file", {"_checkouts/a/src/a.app.src": APP, "_checkouts/a/x": unreadable("")}, 2, "_checkouts/a/x can't be read"),
    ("has a broken link", {"_checkouts/a/src/a.app.src": APP, "_checkouts/a/x": link("nowhere")}, 0, "docker buildx"),
    ("has odd names", {"_checkouts/a\x1b/x y": "", "_checkouts/é/ü": ""}, 0, "docker buildx"),
]  # fmt: skip
CHECKOUT_CASES = [Case(f"_checkouts {name}", "build --dry-run", code, word, files) for name, files, code, word in CHECKOUTS]

# ---- streams
STREAMS = [
    ("config", "1|", 0, ""),
    ("config", "1>/dev/full", 1, "stdout: no space left on device"),
    ("config", "1>&-", 0, ""),
    ("config", "2>&-", 0, "tiny"),
    ("config", "0<&-", 0, "tiny"),
    ("config", "0<&- 1>&- 2>&-", 0, ""),
    ("config", "2>/dev/full", 0, "tiny"),
    ("config --release x", "2>&-", 2, ""),
    ("config --release x", "2>/dev/full", 2, ""),
    ("config --release x", "2|", 2, ""),
    ("config --release x", "1>&-", 2, "release x"),
    ("build --dry-run", "1|", 0, ""),
    ("build --dry-run", "1>/dev/full", 1, "stdout"),
    ("build --dry-run", "2>&-", 0, "^docker buildx [^\n]*\n$"),
    ("build --dry-run", "2>/dev/full", 0, "docker buildx"),
    ("build --dry-run", "0<&- 2>&-", 0, "^docker buildx [^\n]*\n$"),
    ("deps-image --key", "2>&-", 0, "^[0-9a-f]{64}\n$"),
    ("deps-image --key", "1>/dev/full", 1, "stdout"),
    ("deps-image --explain", "1>/dev/full", 1, "stdout"),
    ("deps-image --explain", "1|", 0, ""),
    ("attach", "0<&-", 2, "eval"),
    ("console", "0<&-", 2, "terminal"),
    ("shell", "0<&-", 2, "docker"),
    ("init --dry-run ../target", "1>/dev/full", 1, "stdout"),
]
STREAM_CASES = [
    Case(
        f"{args} {streams}",
        args,
        code,
        word,
        {"config/sys.config.src": "[{a, ${X}}].", "../target/rebar.config": CONFIG},
        streams=streams,
    )
    for args, streams, code, word in STREAMS
]

# ---- init
INITS: list[tuple[str, dict[str, Thing], int, str]] = [
    ("tasks.py is a folder", {"tasks.py": folder}, 0, ""),
    ("Dockerfile is a folder", {"Dockerfile": folder}, 0, ""),
    ("Dockerfile is a pipe", {"Dockerfile": pipe}, 0, ""),
    ("Dockerfile leads nowhere", {"Dockerfile": link("nowhere")}, 0, ""),
    ("Dockerfile is unreadable", {"Dockerfile": unreadable("")}, 2, "Dockerfile can't be read"),
    ("ci is a file", {"ci": ""}, 2, "ci is no folder"),
    ("ci leads nowhere", {"ci": link("nowhere")}, 2, "ci is a link to nowhere"),
    ("rebar.config is a folder", {"rebar.config": folder}, 2, "rebar.config is a folder"),
    ("rebar.config is a pipe", {"rebar.config": pipe}, 2, "rebar.config is a pipe"),
    ("rebar.config is unreadable", {"rebar.config": unreadable("")}, 2, "rebar.config can't be read"),
    ("rebar.config is no term", {"rebar.config": "{{{"}, 0, ""),
    ("invoke.yaml is nonsense", {"invoke.yaml": "["}, 0, ""),
    ("invoke.yaml is a list", {"invoke.yaml": "[1]"}, 0, ""),
    ("invoke.yaml is binary", {"invoke.yaml": bytes(range(256))}, 0, ""),
    ("invoke.yaml is a pipe", {"invoke.yaml": pipe}, 0, ""),
    ("invoke.yaml is unreadable", {"invoke.yaml": unreadable("")}, 2, "invoke.yaml can't be read"),
    (".gitignore is a folder", {".gitignore": folder}, 0, ""),
    ("the folder is read-only", {".": locked}, 1, "can't be written: permission denied"),
    ("names have control characters", {"Dockerfile": "FROM \x1b[31mx\n", "tasks.py": "\x1b"}, 0, ""),
]
INIT_CASES = [
    Case(
        f"init: {name}",
        "init ../target",
        code,
        word,
        {"../target/rebar.config": CONFIG, **{f"../target/{k}": v for k, v in files.items()}},
    )
    for name, files, code, word in INITS
]

CASES = [*SETTINGS_CASES, *YAML_CASES, *VARIABLE_CASES, *FLAG_CASES, *REBAR_CASES, *SOURCE_CASES, *DOCKERFILE_CASES, *BESIDE_CASES, *PLACE_CASES, *RECORD_CASES,
         *NAME_CASES, *BRANCH_CASES, *GIT_CASES, *CHECKOUT_CASES, *STREAM_CASES, *INIT_CASES]  # fmt: skip
# Some of all kinds, which are run as processes too.
PROCESSES = ["setting registry: user:s3cr3t@h/x", "setting rebar3: /usr/bin/rebar3", "invoke.yaml is a pipe", "invoke.yaml '\\x00'",
             "INVOKE_BEAMDOCK_NOFILE='28.2'", "PYTHONIOENCODING is ASCII", "clean --keep x", "rebar.config is a pipe", "rebar.lock is unreadable",
             "an .app.src Emacs holds it", "Dockerfile is a folder", "_build leads nowhere", "_build/beamdock is root's", "the repo is read-only",
             "git: HEAD is gone", "config 1|", "config 1>/dev/full", "build --dry-run 2>&-", "console 0<&-", "config --release x 2>/dev/full"]  # fmt: skip
