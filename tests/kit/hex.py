"""A Hex server as companies have them: real libraries of Debian's source packages, in signed repositories that ask for a key."""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from kit.engines import Engine
from kit.web import listening

# One repository of the company's own, the public one, and an organisation in it: their folders, and the packages of each.
ACME, HEXPM, CORP = "acme", "hexpm", "hexpm/repos/corp"
# Packed and signed by the very code of the builder's rebar3 (hex_core). jiffy's C code is compiled by a hook, since
# Debian has no port compiler for rebar3.
PACKED = r"""
FROM {base}
RUN find /etc/apt -name '*.list' -o -name '*.sources' | xargs sed -i -E 's/^Types: deb$/Types: deb deb-src/; s/^deb (.*)/&\ndeb-src \1/' && \
    apt-get update -qq && \
    apt-get source -qq --download-only --tar-only erlang-idna erlang-jiffy erlang-jose erlang-p1-utils erlang-poolboy erlang-unicode-util-compat && \
    for file in *.orig.tar.*; do tar -xf "$file"; done
COPY <<'CONFIG' jiffy.config
{{pre_hooks, [{{compile, "sh -euc 'mkdir -p priv && cc -O1 -fPIC -shared -Ic_src -I$ERLANG_ROOT_DIR/usr/include -o priv/jiffy.so c_src/*.c c_src/*.cc c_src/double-conversion/*.cc -lstdc++'"}}]}}.
CONFIG
RUN rm */rebar.config.script && mv jiffy.config "$(echo jiffy-*)/rebar.config"
COPY <<'ERL' pack
#!/usr/bin/env escript
main([]) ->
    {{ok, Parts}} = escript:extract(os:find_executable("rebar3"), []),
    {{ok, _}} = zip:extract(proplists:get_value(archive, Parts), [{{cwd, "/rebar3"}}]),
    code:add_pathsa(filelib:wildcard("/rebar3/*/ebin")),
    Key = public_key:generate_key({{rsa, 2048, 65537}}),
    {{_, _, Modulus, Exponent, _, _, _, _, _, _, _}} = Key,
    Private = pem('RSAPrivateKey', Key),
    write("/served/public_key", pem('SubjectPublicKeyInfo', {{'RSAPublicKey', Modulus, Exponent}})),
    [repository(Private, Name, Folder, Apps) || {{Name, Folder, Apps}} <- [
        {{<<"acme">>, "acme", ["jiffy", "jose", "p1_utils"]}},
        {{<<"hexpm">>, "hexpm", ["poolboy", "unicode_util_compat"]}},
        {{<<"corp">>, "hexpm/repos/corp", ["idna"]}}]].

pem(Type, Key) -> public_key:pem_encode([public_key:pem_entry_encode(Type, Key)]).

repository(Private, Name, Folder, Apps) ->
    Packages = [package("/served/" ++ Folder, App) || App <- Apps],
    Put = fun(File, Payload) ->
        write("/served/" ++ Folder ++ "/" ++ File, zlib:gzip(r3_hex_registry:sign_protobuf(Payload, Private)))
    end,
    Put("names", r3_hex_registry:encode_names(#{{repository => Name, packages => [#{{name => N}} || {{N, _}} <- Packages]}})),
    Put("versions", r3_hex_registry:encode_versions(#{{repository => Name,
        packages => [#{{name => N, versions => [V], retired => []}} || {{N, #{{version := V}}}} <- Packages]}})),
    [Put("packages/" ++ binary_to_list(N),
         r3_hex_registry:encode_package(#{{repository => Name, name => N, releases => [Release#{{version => V}} || V <- versions(N, Release)]}})) || {{N, Release}} <- Packages].

%% Of one package there are older versions in the registry, and no tarballs of them.
versions(<<"poolboy">>, #{{version := V}}) -> [<<"1.4.9">>, <<"1.4.10">>, <<"1.5.1">>, <<V/binary, "-rc.1">>, V];
versions(_, #{{version := V}}) -> [V].

package(Folder, App) ->
    [Source] = filelib:wildcard("/src/*" ++ App ++ "*/src/" ++ App ++ ".app.src"),
    Root = filename:dirname(filename:dirname(Source)),
    {{ok, [{{application, _, Keys}}]}} = file:consult(Source),
    Name = list_to_binary(App),
    Version = list_to_binary(proplists:get_value(vsn, Keys)),
    Needs = [<<"unicode_util_compat">> || App =:= "idna"],
    Files = [{{File, filename:join(Root, File)}} || Top <- ["rebar.config*", "src/**", "include/**", "c_src/**"],
                 File <- filelib:wildcard(Top, Root), filelib:is_regular(filename:join(Root, File))],
    {{ok, #{{tarball := Tarball, inner_checksum := Inner, outer_checksum := Outer}}}} = r3_hex_tarball:create(#{{
        <<"name">> => Name, <<"version">> => Version, <<"app">> => Name, <<"build_tools">> => [<<"rebar3">>],
        <<"requirements">> => #{{N => #{{<<"app">> => N, <<"optional">> => false, <<"requirement">> => <<"~> 0.7.0">>,
                                       <<"repository">> => <<"hexpm">>}} || N <- Needs}}}}, Files),
    write(io_lib:format("~s/tarballs/~s-~s.tar", [Folder, Name, Version]), Tarball),
    {{Name, #{{version => Version, inner_checksum => Inner, outer_checksum => Outer,
             dependencies => [#{{package => N, requirement => <<"~> 0.7.0">>, repository => <<"hexpm">>}} || N <- Needs]}}}}.

write(Name, Content) ->
    ok = filelib:ensure_dir(Name),
    ok = file:write_file(Name, Content).
ERL
RUN escript pack
"""


@dataclass
class Hex:
    """A running server: its address, the public key of its repositories, the key it asks for, and what it was asked for."""

    url: str
    public_key: str
    key: str
    folder: Path  # what it serves
    asked: list[str] = field(default_factory=list)
    had: list[str] = field(default_factory=list)  # of these, what the client said it has already, of some server

    def repos(self, *names: str) -> str:
        """The `hex` entry of a rebar.config that uses these: the company's own one, the public one, or the organisation."""
        key = f'repo_public_key => <<"{self.public_key}">>'
        entries = {
            ACME: f'#{{name => <<"acme">>, repo_url => <<"{self.url}/acme">>, {key}}}',
            HEXPM: f'#{{name => <<"hexpm">>, {key}}}',
            CORP: '#{name => <<"hexpm:corp">>}',
        }
        return f"{{hex, [{{repos, [{', '.join(entries[name] for name in names)}]}}]}}.\n"

    def config(self, key: str | None = None) -> str:
        """A hex.config, as `rebar3 hex` writes it, with the key (or another one) for the company's repository and the organisation."""
        entry = f'#{{repo_key => <<"{self.key if key is None else key}">>}}'
        return f'%% coding: utf-8\n#{{<<"acme">> => {entry}, <<"hexpm:corp">> => {entry}}}.\n'


@contextmanager
def hex_server(engine: Engine, folder: Path) -> Iterator[Hex]:
    """The server on a free port of the loopback address; its packages are made once, and kept in the engine's build cache."""
    image = f"test-hex-{uuid.uuid4().hex[:10]}"
    engine.build(PACKED.format(base=engine.build_base).replace("RUN ", "WORKDIR /src\nRUN ", 1), image)
    container = engine.docker("create", image)
    try:
        engine.docker("cp", f"{container}:/served", str(folder))
    finally:
        engine.docker("rm", container)
        engine.docker("rmi", image)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.asked.append(self.path)
            if self.headers["If-None-Match"]:
                server.had.append(self.path)
            private = self.path.startswith((f"/{ACME}/", f"/{CORP}/"))
            file = folder / self.path.strip("/")
            if private and self.headers["Authorization"] != server.key:
                # hex.pm's own answers: none is needed where there is no key, and a wrong one is refused.
                self.answer(401 if self.headers["Authorization"] else 403, b"")
            elif not file.is_file():
                self.answer(404, b"")
            else:
                body = file.read_bytes()
                tag = f'"{hashlib.sha256(body).hexdigest()}"'
                self.answer(304 if self.headers["If-None-Match"] == tag else 200, body, tag)

        def answer(self, status: int, body: bytes, tag: str = "") -> None:
            self.send_response(status)
            if tag:
                self.send_header("ETag", tag)
            self.send_header("Content-Length", str(len(body) if status == 200 else 0))
            self.end_headers()
            self.wfile.write(body if status == 200 else b"")

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    secret = base64.b32encode(uuid.uuid4().bytes).decode().strip("=").lower()
    with listening(Handler) as port:
        server = Hex(f"http://127.0.0.1:{port}", (folder / "public_key").read_text().strip(), secret, folder)
        yield server
