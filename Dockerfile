# beamdock 0.1.0: a production image of an Erlang release. Yours to edit. SPDX-License-Identifier: Apache-2.0
# `invoke build` drives it; `invoke build --dry-run` prints the plain `docker buildx build` command that does the same.
#
#   git, deps      two small stages that tasks.py fills from the host, so that only what matters is in the cache keys
#   builder        the toolchain and the compiled dependencies
#   prod_compiled  the project, compiled
#   releaser       the release, packed, unpacked and looked at
#   runner         the image: a plain Debian with the release on it
#
# Longer scripts are files (COPY <<) and not in a RUN, which would print all of its text when it fails. One COPY for each stage
# of them: of several in a row BuildKit lost one where a build was stopped, and all later builds failed until it was restarted.

# Both must be of one Debian or Ubuntu release; the build says so if they are not.
ARG BUILD_BASE=erlang:27.3.4.15
ARG RUN_BASE=debian:bookworm-slim
# What the release is made on. At a desk tasks.py says builder: the project is then compiled where the release is made, in
# one go and on top of what the last build compiled (WORK, below).
ARG COMPILED=prod_compiled

# What the version reads of the history. Filled by --build-context git=DIR, empty without it.
FROM scratch AS git

# What decides the dependencies. Filled by --build-context deps=DIR; without it, the files as they are.
FROM scratch AS deps
COPY rebar.config rebar.loc[k] rebar.config.scrip[t] /

# A company's own certificate authority. Filled by --build-context authority=DIR, with *.crt files in it.
FROM scratch AS authority

# /prepare makes either base ready, the builder's or the runner's; the others are put into the builder's.
FROM scratch AS scripts
COPY --chmod=755 <<'prepare' <<'resume.erl' <<'resume' <<'build' <<'fetch' <<'unfetched' /
#!/bin/sh
# prepare builder|runner BASE PACKAGES MIRROR
set -eu
fail() {
  echo "error: $1"
  echo "hint: $2"
  exit 1
}
[ -e /etc/debian_version ] ||
  fail "$2 is $(. /etc/os-release && echo "$PRETTY_NAME"), not Debian or Ubuntu: a release needs the C library it was built with" \
    '`build_base: erlang:27` and `run_base: debian:bookworm-slim` in invoke.yaml fit together'
packages=$3
bundle=/etc/ssl/certs/ca-certificates.crt
if [ "$1" = builder ]; then
  command -v git >/dev/null || packages="$packages git"
  [ -e $bundle ] || packages="$packages ca-certificates"
else
  # crypto needs OpenSSL's library, which some slim images lack.
  [ -n "$(find /usr/lib /lib -name 'libcrypto.so.*' 2>/dev/null)" ] || packages="$packages openssl"
fi
trust=''
if [ -n "$(ls /authority/*.crt 2>/dev/null)" ]; then
  trust="-o Acquire::https::CAInfo=$bundle"
  mkdir -p /etc/ssl/certs /usr/local/share/ca-certificates
  cp /authority/*.crt /usr/local/share/ca-certificates
  cat /authority/*.crt >> $bundle
fi
if [ -n "$packages" ]; then
  rm -f /etc/apt/apt.conf.d/docker-clean
  export DEBIAN_FRONTEND=noninteractive
  # Another mirror, for these two commands only: what the image says stays as it was.
  [ -z "$4" ] || find /etc/apt -name '*.list' -o -name '*.sources' | while IFS= read -r file; do
    sed -i.theirs -E "s#https?://[a-z.]+\.(debian\.org/debian|ubuntu\.com/ubuntu)#${4%/}#" "$file"
  done
  apt-get update -qq -o APT::Update::Error-Mode=any $trust || fail 'apt-get update failed' 'its output is above: is `network`, or `debian_mirror`, in invoke.yaml the right one?'
  apt-get install -qq -y --no-install-recommends $trust $packages ||
    fail "apt-get can't install: $packages" 'its output is above: are these the names in this release of Debian?'
  find /etc/apt -name '*.theirs' | while IFS= read -r file; do mv "$file" "${file%.theirs}"; done
fi
if [ "$1" = builder ]; then
  mkdir -p /usr/local/lib/beamdock/git/hooks /usr/local/lib/beamdock/git/info
  cp /scripts/build /scripts/fetch /scripts/resume /scripts/unfetched /usr/local/bin
  command -v escript >/dev/null || fail "$2 has no rebar3" '`build_base: erlang:27`, or `build_packages: [rebar3]`, in invoke.yaml'
  # Each start of rebar3 takes 0.1 s less where it is not one archive (measured; `build` below takes it from here). Not where it
  # is a script of somebody's, which does more.
  if rebar3=$(command -v rebar3) && head -n 1 "$rebar3" | grep -aq escript; then
    sha256sum "$rebar3" > /usr/local/lib/beamdock/rebar3.sum
    REBAR_CACHE_DIR=/usr/local/lib/beamdock/rebar3 rebar3 local install >/dev/null 2>&1 &
  fi
  erlc -o /usr/local/lib/beamdock /scripts/resume.erl
  wait
  # Some hooks and overlays have _build written out.
  ln -s "$REBAR_BASE_DIR" _build
  if [ -n "$trust" ]; then
    update-ca-certificates
    mkdir -p /root/.config/rebar3
    echo "{ssl_cacerts_path, \"$bundle\"}." > /root/.config/rebar3/rebar.config
  fi
fi
prepare
%% resume deps|work FOLDER KEY COMMAND...: run a command that compiles on top of what an earlier build left in FOLDER, and
%% leave there what the next one may go on from. rebar3 goes by the times of files; here their contents count: what differs
%% from what was compiled is made newer than what came of it, and where it can't be known what did, all begins from nothing.
-module(resume).
-export([main/0]).
-include_lib("kernel/include/file.hrl").
-define(LIBRARIES, "/app/libraries").
-define(KEPT, "/app/kept").

main() ->
    main(init:get_plain_arguments()),
    halt(0).

main([What, Folder, Key | Command]) ->
    Base = os:getenv("REBAR_BASE_DIR"),
    Profile = filename:join(Base, os:getenv("PROFILE")),
    State = state(Folder, Key),
    Kept = known(State),
    Saved = maps:get(saved, Kept, 0),
    Began = next_second(Saved),
    % A clock that went back makes what is written now look older than what was compiled.
    Known = case os:system_time(second) > Saved of true -> Kept; false -> #{} end,
    Layer = entries(Profile),
    New = case What of
        "deps" -> dependencies(Known, State, Base, Profile, Command);
        "work" -> project(Known, State, Base, Profile, Layer, Command)
    end,
    New =:= maps:remove(saved, Known) orelse save(State, New, case What of
        "deps" -> own(Base);
        "work" -> [{"generated", ".", maps:get(generated, New)}, {"profile", Profile, entries(Profile) -- Layer}]
    end),
    Own = [q(E) || E <- filelib:wildcard(Base ++ "/*/lib/*/ebin"), L <- [filename:dirname(E)], not is_link(L), What =:= "deps" orelse not lists:member("lib/" ++ filename:basename(L), Layer)],
    Beams = answer(ask(["find -H /dev/null ", lists:join(" ", Own), " -name '*.beam' -newermt @", integer_to_list(Began), " -print0"])),
    io:format("~s: compiled ~b modules~n", [What, length(Beams)]).

state(Folder, Key) -> filename:join(Folder, Key ++ "-" ++ toolchain()).
known(State) -> try binary_to_term(read(State ++ "/known")) catch _:_ -> #{} end.

%% Tarballs: 1,000 files of their own take ten times as long to write, and as long again to remove (measured).
save(State, Known, Tarballs) ->
    To = State ++ ".new",
    sh(["rm -rf ", q(To), "; mkdir -p ", q(To)]),
    [pack(filename:join(To, Name ++ ".tar"), Folder, Files) || {Name, Folder, Files} <- Tarballs],
    ok = file:write_file(To ++ "/known", term_to_binary(Known#{saved => os:system_time(second)})),
    % What it knows goes first: half a state must not count as one.
    sh(["rm -f ", q(State ++ "/known"), "; rm -rf ", q(State), "; mv ", q(To), " ", q(State), "; cd ", q(filename:dirname(State)),
        "; ls -t | tail -n +5 | while IFS= read -r old; do rm -f \"$old/known\"; rm -rf \"$old\"; done"]).

pack(File, Folder, Names) ->
    There = [["./", case is_binary(N) of true -> N; false -> unicode:characters_to_binary(N) end, 0] || N <- Names,
        element(1, file:read_link_info(filename:join(Folder, N), [raw])) =:= ok],
    ok = file:write_file(File ++ ".names", There),
    sh([["cd ", q(Folder), "; "] || There =/= []] ++ ["tar --format=posix --null -T ", q(File ++ ".names"), " -cf ", q(File), "; rm ", q(File ++ ".names")]).

unpack(File, Folder) -> ["mkdir -p ", q(Folder), "; tar -C ", q(Folder), " --skip-old-files -xf ", q(File)].

%% What is compiled in a profile: its libraries, and what rebar3 found out of their files.
entries(Profile) -> ["lib/" ++ F || F <- ls(Profile ++ "/lib"), F =/= ".rebar3"] ++ filelib:wildcard("lib/.rebar3/*/*", Profile).

%% The dependencies. rebar3 fetches what is another version now, and compiles it and what has a behaviour of it (a test); then
%% what was compiled with the old one.
dependencies(Known, State, Base, Profile, Command) ->
    Before = maps:get(libraries, Known, #{}),
    Locks = locks(),
    Known =:= #{} orelse sh(unpack(State ++ "/libraries.tar", Base)),
    Known =/= #{} orelse seed(State, Base, Locks),
    Partial = maps:get(partial, Known, false),
    % rebar3 looks at versions alone, and two sources may have the same.
    Old = maps:get(locks, Known, #{}),
    [sh(["rm -rf ", q(D ++ "/lib/" ++ Name)]) || Name <- maps:keys(Old), maps:get(Name, Old) =/= maps:get(Name, Locks, none), D <- [Base ++ "/default", Profile]],
    First = run(Command),
    Now = libraries(Base, Profile),
    Changed = changed(Before, Now),
    Transforms = transforms(Changed, Before, Now),
    Names = spread(lists:usort(Transforms ++ [list_to_binary(filename:basename(F)) || F <- headers(Changed, Before, Now)]), maps:keys(Now)),
    Users = users(Names, maps:keys(Now) -- Changed),
    % What is no longer a dependency is not linked into the profile.
    Gone = ls(Base ++ "/default/lib") -- ls(Profile ++ "/lib"),
    Anew = Before =/= #{} andalso ((First =/= 0 andalso not Partial) orelse Gone =/= [] orelse moved(Before, Now) orelse everywhere(Transforms)
        orelse [L || L <- Changed, What <- [native, plugins], is_map_key(L, Before), differs(What, L, Before, Now)] =/= []),
    Libraries = if
        Anew -> sh(["rm -rf ", q(Base)]), run(Command) =:= 0 orelse leave(State, Known, Base, Profile, Locks, 1), libraries(Base, Profile);
        First =/= 0 -> leave(State, Known, Base, Profile, Locks, First);
        Before =/= #{}, Users =/= [] ->
            [sh(["rm -rf ", q(L ++ "/ebin")]) || L <- Users],
            run(Command) =:= 0 orelse halt(1),
            libraries(Base, Profile);
        true -> Now
    end,
    % For the next step, which finds the same layer.
    ok = file:write_file(?LIBRARIES, term_to_binary(Libraries)),
    #{libraries => Libraries, locks => Locks}.

%% End with what has been fetched, and compiled whole: the next try goes on from there. Not where it is less than was there, as
%% where nothing could be fetched.
leave(State, Known, Base, Profile, Locks, Code) ->
    Libraries = libraries(Base, Profile),
    Whole = [L || L <- maps:keys(Libraries), is_whole(L)],
    [sh(["rm -rf ", q(L ++ "/ebin")]) || L <- maps:keys(Libraries) -- Whole],
    Old = maps:get(locks, Known, #{}),
    Pin = fun(L, In) -> maps:get(filename:basename(L), In, none) end,
    Lost = [L || L <- maps:keys(maps:get(libraries, Known, #{})) -- Whole, Pin(L, Old) =:= Pin(L, Locks)],
    Lost =/= [] orelse save(State, #{libraries => maps:with(Whole, Libraries), locks => Locks, partial => true}, own(Base)),
    halt(Code).

%% rebar3 writes the .app files when all dependencies are compiled, so that after a failure the beams alone tell.
is_whole(Library) ->
    Modules = [filename:basename(F, ".erl") || F <- filelib:wildcard(Library ++ "/src/**/*.erl")],
    Missing = [M || M <- Modules, not filelib:is_file(Library ++ "/ebin/" ++ M ++ ".beam")],
    filelib:wildcard(Library ++ "/ebin/*.app") =/= [] orelse (Modules =/= [] andalso Missing =:= []).

%% Another state of the project, with other packages in its toolchain, say: what git has fetched for it can stay where the lock
%% wants that very commit, without what was compiled in it. Packages of Hex are in rebar3's own cache.
seed(State, Base, Locks) ->
    Tar = lists:last(["" | [F || {_, F} <- lists:sort([{filelib:last_modified(F), F} || F <- filelib:wildcard(filename:dirname(State) ++ "/*/libraries.tar")])]]),
    Pins = [{Name, Ref} || {Name, {{_, {git, _, {ref, Ref}}, _}, _}} <- maps:to_list(Locks)],
    From = Base ++ "/seed",
    Tar =:= "" orelse Pins =:= [] orelse sh([["mkdir -p ", q(From), " ", q(Base ++ "/default/lib"), "; tar -C ", q(From), " -xf ", q(Tar), " ./default/lib || true\n"],
        [["library=", q([From, "/default/lib/", Name]), "; if [ \"$(git -C \"$library\" rev-parse HEAD 2>/dev/null)\" = ", q(Ref), " ] && "
            "git -C \"$library\" reset --quiet --hard && git -C \"$library\" clean -ffdxq; then mv \"$library\" ", q(Base ++ "/default/lib"), "; fi\n"] || {Name, Ref} <- Pins],
        "rm -rf ", q(From)]).

%% What rebar.lock says of each dependency: its source, and the digests of packages.
locks() ->
    {Pins, Digests} = case file:consult("rebar.lock") of
        {ok, [{_, L} | More]} -> {L, More};
        {ok, [L | More]} -> {L, More};
        _ -> {[], []}
    end,
    #{binary_to_list(Name) => {Pin, [proplists:get_value(Name, D) || Ds <- Digests, {_, D} <- Ds]} || Pin <- Pins, Name <- [element(1, Pin)]}.

%% The project: the context's files, with the times they had, and what compilers and hooks wrote beside them.
project(Known, State, Base, Profile, Layer, Command) ->
    Old = maps:get(files, Known, #{}),
    Before = maps:get(libraries, Known, #{}),
    Now = case file:read_file(?LIBRARIES) of {ok, Written} -> binary_to_term(Written); _ -> libraries(Base, Profile) end,
    keep(Base, Now, locks()),
    % Beside looking at the context (5,000 modules: 0.2 s less).
    Copy = [ask("cp -a --no-preserve=links /context/. ."), ask([unpack(State ++ "/profile.tar", ?KEPT) || Old =/= #{}])],
    Grep = ask("cd /context; find . -type f -print0 | xargs -0r grep -lZ 'parse_transform *(' || [ $? = 123 ]"),
    {New, Dates, Folders} = tree("/context"),
    Changed = changed(Before, Now),
    Plugins = digest([read(F) || F <- filelib:wildcard(Base ++ "/*/plugins/*/ebin/*.beam")]),
    Hooks = os:getenv("PREBUILD", "") =/= "" orelse lists:any(fun has_hooks/1, [filename:join("/context", F) || F <- maps:keys(New),
        string:prefix(filename:basename(F), "rebar.config") =/= nomatch]),
    Called = answer(Grep) =/= [],
    % One that is none any more may have written what is still there.
    Transforms = Called orelse maps:get(called, Known, true),
    Safe = Old =/= #{} andalso maps:get(plugins, Known) =:= Plugins
        andalso maps:keys(maps:merge(Old, Before)) -- maps:keys(maps:merge(New, Now)) =:= []
        andalso transforms(Changed, Before, Now) =:= [] andalso not moved(Before, Now)
        andalso (Changed =:= [] orelse not (Hooks orelse Transforms))
        andalso not (Hooks andalso maps:get(rewritten, Known))
        andalso [A || A <- applications(maps:keys(New)), lists:member(A, Layer)] =:= []
        andalso lists:all(fun(F) -> is_safe(F, Old, New, Hooks, Transforms) end, [F || F <- maps:keys(New), maps:get(F, Old, new) =/= maps:get(F, New)]),
    [answer(C) || C <- Copy],
    Time = os:system_time(second),
    Since = if
        Safe ->
            sh(unpack(State ++ "/generated.tar", ".")),
            [move(filename:join(?KEPT, E), filename:join(Profile, E)) || E <- entries(?KEPT) -- Layer],
            touch([L || L <- Changed, differs(headers, L, Before, Now)]),
            maps:filter(fun(F, _) -> maps:get(F, Old) =:= maps:get(F, New) end, maps:get(times, Known));
        true -> Dates
    end,
    Gone = ask("rm -rf " ?KEPT),
    Times = maps:map(fun(F, Date) ->
        Then = min(Time, maps:get(F, Since, Time)),
        Then =:= Date orelse (ok = file:write_file_info(F, #file_info{mtime = Then}, [raw, {time, posix}])),
        Then
    end, Dates),
    Code = run(Command),
    Code =:= 0 orelse halt(Code),
    answer(Gone),
    {Made, _, Within} = tree("."),
    Besides = maps:from_keys((Within -- Folders) ++ maps:keys(maps:without([<<"_build">>, <<"rebar.lock">> | maps:keys(New)], Made)), true),
    #{libraries => Now, files => New, plugins => Plugins, times => Times, called => Called,
        generated => [F || F <- maps:keys(Besides), not is_map_key(filename:dirname(F), Besides)],
        rewritten => lists:any(fun(F) -> element(2, maps:get(F, Made, {gone, gone})) =/= element(2, maps:get(F, New)) end, maps:keys(New))}.

%% Dependencies that came with an image and were not compiled here: another version of one can go on from them too.
keep(Base, Libraries, Locks) ->
    case os:getenv("STORE", "") of
        "" -> ok;
        Key ->
            State = state("/store", Key),
            maps:get(locks, known(State), none) =:= Locks orelse
                save(State, #{libraries => Libraries, locks => Locks}, own(Base))
    end.

%% What is kept of the dependencies: all but the profile's links to them.
own(Base) ->
    Profile = filename:join(os:getenv("PROFILE"), "lib"),
    [{"libraries", Base, ["default" | [F || L <- ls(filename:join(Base, Profile)), F <- [filename:join(Profile, L)], not is_link(filename:join(Base, F))]]}].

%% Does a rebar.config run something before or after a step of the build? Where it can't be read as terms, the letters tell.
has_hooks(File) ->
    case filename:basename(File) =:= <<"rebar.config">> andalso file:consult(File) of
        {ok, Terms} -> hooks(Terms);
        _ -> binary:match(read(File), [<<"pre_hooks">>, <<"post_hooks">>, <<"provider_hooks">>]) =/= nomatch
    end.

%% In whatever profile or override they stand. Hooks of the tests and of the shell do not run here; ct_hooks are none of these.
hooks({provider_hooks, Hooks}) when is_list(Hooks) -> [P || {_, Of} <- Hooks, is_list(Of), P <- Of, runs_here(element(1, P))] =/= [];
hooks({What, Hooks}) when What =:= pre_hooks orelse What =:= post_hooks, is_list(Hooks) ->
    [H || H <- Hooks, is_tuple(H), tuple_size(H) > 1, runs_here(element(tuple_size(H) - 1, H))] =/= [];
hooks(Term) when is_tuple(Term) -> hooks(tuple_to_list(Term));
hooks(Terms) when is_list(Terms) -> lists:any(fun hooks/1, Terms);
hooks(_) -> false.

runs_here(Step) -> not lists:member(Step, [ct, eunit, proper, cover, dialyzer, xref, edoc, shell, clean, escriptize]).

%% May rebar3 go on after this file has changed? It finds what an edited module or header concerns. It does not find what
%% else a new header hides, what a parse transform calls, what a hook reads, where a link leads now, or other options; and
%% leex and yecc go by times, which are not the host's here.
is_safe(File, Old, New, Hooks, Transforms) ->
    Rebar = filename:basename(File) =:= <<"rebar.config">>,
    Deep = not lists:member(length(filename:split(File)), [1, 3]), % these are in WORK
    Link = lists:keymember(link, 1, [maps:get(File, Old, {}), maps:get(File, New)]),
    case filename:extension(File) of
        _ when Link -> false;
        <<".erl">> -> not Transforms andalso [E || E <- [".xrl", ".yrl"], is_map_key(iolist_to_binary([filename:rootname(File), E]), New)] =:= [];
        <<".hrl">> -> not Transforms andalso not Hooks andalso is_map_key(File, Old);
        <<".config">> when Rebar, Deep -> false;
        Other when Other =:= <<".src">>; Other =:= <<".config">>; Other =:= <<".args">>; Other =:= <<".lock">>; Other =:= <<".script">>; Other =:= <<".md">> ->
            not Hooks;
        _ -> not Hooks andalso not Transforms andalso is_data(File) andalso not is_included(File, maps:keys(New))
    end.

%% What only the release takes: files below priv, and those outside of the applications' folders, which an overlay may name.
is_data(File) ->
    Parts = filename:split(File),
    lists:member(<<"priv">>, Parts) orelse not lists:any(fun(P) -> lists:member(P, [<<"src">>, <<"include">>, <<"c_src">>, <<"asn1">>, <<"mibs">>]) end, Parts).

%% Does a source take in a file of that name, whatever its extension is: -include("sizes.inc"), or a -doc of OTP 27?
is_included(File, Files) ->
    Name = re:replace(filename:basename(File), "[^A-Za-z0-9_]", "\\\\&", [global]),
    {ok, Form} = re:compile(["(?:include(?:_lib)?\\s*\\(|\\{\\s*file\\s*,)\\s*\"[^\"\\n]*", Name, "\""]),
    [F || F <- Files, lists:member(filename:extension(F), [<<".erl">>, <<".hrl">>, <<".xrl">>, <<".yrl">>]),
        re:run(read(filename:join("/context", F)), Form) =/= nomatch] =/= [].

%% The entries of the applications that rebar3 finds among these files. Where a dependency has the name of one, it compiles the
%% one over the other, and nothing tells afterwards whose beams they are.
applications(Files) ->
    Where = case binary:match(<<(read("/context/rebar.config"))/binary, (read("/context/rebar.config.script"))/binary>>, <<"project_app_dirs">>) of
        nomatch -> "(?:(?:apps|lib)/[^/]+/)?";
        _ -> "(?:.*/)?"
    end,
    ["lib/" ++ Name || F <- Files, {match, [Name]} <- [re:run(F, ["^", Where, "(?:src|ebin)/([^/]+)\\.app(?:\\.src.*)?$"], [{capture, all_but_first, list}])]].

%% Compiled libraries, folder -> what of it concerns those that are compiled with it.
libraries(Base, Profile) ->
    Folders = [F || D <- [Base ++ "/default", Profile], F <- filelib:wildcard(D ++ "/{lib,checkouts}/*"), not is_link(F)],
    maps:from_list(side_by_side(fun(F) -> {F, library(F)} end, Folders)).

library(Folder) ->
    Beams = [{filename:basename(F, ".beam"), read(F)} || F <- filelib:wildcard(Folder ++ "/ebin/*.beam")],
    Digest = fun(Pattern) -> digest([{F, read(F)} || F <- filelib:wildcard(Folder ++ Pattern)]) end,
    Calls = [A || F <- filelib:wildcard(Folder ++ "/ebin/*.app"), {ok, [{application, _, P}]} <- [file:consult(F)], A <- proplists:get_value(applications, P, [])],
    Config = [T || F <- filelib:wildcard(Folder ++ "/rebar.config"), {ok, Terms} <- [file:consult(F)], T <- Terms, is_tuple(T),
        lists:member(element(1, T), [plugins, project_plugins, provider_hooks])],
    #{code => digest(Beams), headers => #{F => digest(read(F)) || F <- filelib:wildcard(Folder ++ "/{src,include}/**/*.hrl")},
      native => Digest("/{c_src,include,src}/**/*.{h,hh,hpp}"), plugins => digest({Config, read(Folder ++ "/rebar.config.script")}),
      calls => Calls, transforms => [list_to_binary(M) || {M, Bytes} <- Beams, binary:match(Bytes, <<"parse_transform">>) =/= nomatch,
        {ok, {_, [{exports, Exports}]}} <- [beam_lib:chunks(Bytes, [exports])], lists:member({parse_transform, 2}, Exports)]}.

changed(Before, Now) -> [L || L <- maps:keys(Now), lists:any(fun(What) -> differs(What, L, Before, Now) end, [code, headers, native])].

%% The headers of these libraries that are others now.
headers(Changed, Before, Now) ->
    [F || L <- Changed, Old <- [maps:get(headers, maps:get(L, Before, #{}), #{})], {F, Digest} <- maps:to_list(maps:get(headers, maps:get(L, Now))),
        maps:get(F, Old, Digest) =/= Digest].

%% Has a header come or gone, in a library that was there? Then another may be found in its place.
moved(Before, Now) ->
    [L || {L, #{headers := Old}} <- maps:to_list(Before), #{headers := New} <- [maps:get(L, Now, #{})], maps:keys(Old) =/= maps:keys(New)] =/= [].

%% These names, and those of the headers that name one of them.
spread(Names, Libraries) ->
    Found = [list_to_binary(filename:basename(F)) || Names =/= [], L <- Libraries, F <- filelib:wildcard(L ++ "/{src,include}/**/*.hrl"),
        binary:match(read(F), Names) =/= nomatch],
    case lists:usort(Names ++ Found) of
        Names -> Names;
        More -> spread(More, Libraries)
    end.

differs(What, Library, Before, Now) -> maps:get(What, maps:get(Library, Before, #{}), new) =/= maps:get(What, maps:get(Library, Now)).

%% The parse transforms which may do something else now: those of changed libraries, and those that call one.
transforms(Changed, Before, Now) ->
    All = maps:to_list(Before) ++ maps:to_list(Now),
    Reached = reach(lists:usort([list_to_atom(filename:basename(L)) || L <- Changed]), All),
    [T || {L, #{transforms := Ts}} <- All, lists:member(list_to_atom(filename:basename(L)), Reached), T <- Ts].

%% These applications, and those that call them.
reach(Names, All) ->
    case lists:usort(Names ++ [list_to_atom(filename:basename(L)) || {L, #{calls := Calls}} <- All, Calls -- Names =/= Calls]) of
        Names -> Names;
        More -> reach(More, All)
    end.

%% Does the project's configuration apply one of these parse transforms to dependencies?
everywhere(Transforms) -> users([<<Key/binary, T/binary>> || T <- Transforms, Key <- [<<"parse_transform,">>, <<"parse_transform, ">>]], ["."]) =/= [].

%% The libraries that name one of these parse transforms or headers.
users([], _) -> [];
users(Names, Libraries) ->
    Uses = fun(F) -> binary:match(read(F), Names) =/= nomatch end,
    [L || L <- Libraries, lists:any(Uses, [F || P <- ["/rebar.config*", "/{src,include}/**/*.{erl,hrl}"], F <- filelib:wildcard(L ++ P)])].

touch(Libraries) -> [file:change_time(F, calendar:local_time()) || L <- Libraries, F <- filelib:wildcard(L ++ "/{src,include}/**/*.hrl")].

%% What is below a folder: path -> what a file is, and its contents' digest; path -> the second of its last change; the folders.
%% These tools read 5,000 files in a quarter of the time that it takes here (measured).
tree(Root) ->
    Asked = [ask(["cd ", q(Root), " && find . ", What]) || What <- ["-mindepth 1 -printf '%y\\0%m\\0%Ts\\0%P\\0%l\\0'",
        "-type f -print0 | xargs -0r sha256sum --zero"]],
    [Listed, Sums] = [answer(A) || A <- Asked],
    Digests = maps:from_list([{F, Sum} || <<Sum:64/binary, "  ./", F/binary>> <- Sums]),
    Rows = rows(Listed),
    {maps:from_list([{F, case Type of
        <<"f">> -> {Mode, maps:get(F, Digests)};
        _ -> {link, Target}
    end} || {Type, Mode, _, F, Target} <- Rows, Type =/= <<"d">>]),
        maps:from_list([{F, binary_to_integer(Time)} || {<<"f">>, _, Time, F, _} <- Rows]), [F || {<<"d">>, _, _, F, _} <- Rows]}.

rows([Type, Mode, Time, File, Target | Rest]) -> [{Type, Mode, Time, File, Target} | rows(Rest)];
rows([]) -> [].

%% Times are of whole seconds: nothing that is written now may look as old as what was compiled last.
next_second(Saved) ->
    Now = os:system_time(second),
    if
        Now =:= Saved -> timer:sleep(50), next_second(Saved);
        true -> Now
    end.

toolchain() ->
    Files = [code:root_dir() ++ "/releases/*/OTP_VERSION", "/var/lib/dpkg/status", case os:find_executable("rebar3") of false -> ""; F -> F end],
    lists:sublist(binary_to_list(binary:encode_hex(digest([read(File) || P <- Files, File <- filelib:wildcard(P)]))), 12).

%% lists:map/2 by as many processes as there are processors.
side_by_side(Fun, List) ->
    Size = length(List) div erlang:system_info(schedulers_online) + 1,
    Parts = [lists:sublist(List, I, Size) || I <- lists:seq(1, length(List), Size)],
    Me = self(),
    Processes = [spawn_link(fun() -> Me ! {self(), lists:map(Fun, Part)} end) || Part <- Parts],
    lists:append([receive {Process, Results} -> Results end || Process <- Processes]).

move(File, To) ->
    ok = filelib:ensure_dir(To),
    case file:rename(File, To) of
        {error, exdev} -> sh(["mv ", q(File), " ", q(To)]);
        ok -> ok
    end.
is_link(File) -> element(1, file:read_link_all(File)) =:= ok.
ls(Folder) -> case file:list_dir_all(Folder) of {ok, Names} -> lists:sort(Names); _ -> [] end.
read(File) -> case prim_file:read_file(File) of {ok, Bytes} -> Bytes; _ -> <<>> end.
digest(Term) -> erlang:md5(term_to_binary(Term)).
q(Path) -> ["'", string:replace(Path, "'", "'\\''", all), "'"].
sh(Script) -> 0 = run(["sh", "-euc", unicode:characters_to_list(Script)]).

run([Name | Arguments]) ->
    Port = open_port({spawn_executable, os:find_executable(Name)}, [{args, Arguments}, exit_status, nouse_stdio]),
    receive {Port, {exit_status, Code}} -> Code end.

%% A script that runs beside us, and later what it has to say: texts that each end with a zero.
ask(Script) -> open_port({spawn_executable, os:find_executable("sh")}, [{args, ["-euc", unicode:characters_to_list(Script)]}, exit_status, binary]).
answer(Port) -> answer(Port, []).
answer(Port, Said) ->
    receive
        {Port, {data, More}} -> answer(Port, [Said, More]);
        {Port, {exit_status, Code}} -> 0 = Code, lists:droplast(binary:split(iolist_to_binary(Said), <<0>>, [global]))
    end.
resume.erl
#!/bin/sh
ERL_CRASH_DUMP=/dev/null exec erl -noinput -boot no_dot_erlang -pa /usr/local/lib/beamdock -s resume main -extra "$@"
resume
#!/bin/sh
# build ARGUMENT...: rebar3 as this repo wants it. BUILD_ENV has lines of NAME='VALUE'; REBAR3 may be a file in the repo.
set -eu
set -a
eval "${BUILD_ENV:-}"
set +a
# With a first heap of 1 MiB the compiler's processes collect less, which is a 20th of its time (measured).
export ERL_FLAGS="+hms 131072 ${ERL_FLAGS:-}"
# What `fetch` learned of the packages: rebar3 asks their repositories again otherwise, which a later step may have no key for.
if [ -d /app/packages ]; then export REBAR_CACHE_DIR="${REBAR_CACHE_DIR:-/app/packages}"; fi
case ${REBAR3:=rebar3} in */*) exec escript "$REBAR3" "$@" ;; esac
if ! command -v "$REBAR3" >/dev/null; then
  echo 'error: the builder has no rebar3'
  echo 'hint: `build_base: erlang:27`, or `build_packages: [rebar3]`, in invoke.yaml'
  exit 1
fi
installed=/usr/local/lib/beamdock/rebar3
if [ "$REBAR3" = rebar3 ] && [ -x $installed/bin/rebar3 ] && [ "$(sha256sum "$(command -v rebar3)")" = "$(cat $installed.sum)" ]; then
  unset REBAR3_VSN
  REBAR3=$installed/bin/rebar3
fi
exec "$REBAR3" "$@"
build
#!/bin/sh
# fetch COMMAND...: run it with the secrets that are mounted; where a dependency can't be fetched, say which and why.
# Secrets are in no layer and no cache key, and so how a host is reached (known_hosts, gitconfig) comes as one too.
set -eu
hex=/run/secrets/hex.config
# rebar3 crashes on an empty one.
if [ -s $hex ]; then
  mkdir -p /root/.config/rebar3
  ln -sf $hex /root/.config/rebar3/hex.config
fi
# A template of its own: git would copy 14 samples of hooks into each dependency.
export GIT_TERMINAL_PROMPT=0 GIT_TEMPLATE_DIR=/usr/local/lib/beamdock/git GIT_SSH_COMMAND='ssh -o BatchMode=yes -o StrictHostKeyChecking=yes'
# What is kept of one mirror's packages is wrong for another's: their tarballs and signatures may differ.
mirror=$({ echo "${HEX_MIRROR:-}"; grep -ho 'repo_\(url\|public_key\)[^}]*' rebar.config rebar.config.script 2>/dev/null || true; } | grep . | cksum)
[ "$mirror" = "$(printf '' | cksum)" ] || export REBAR_CACHE_DIR="/root/.cache/rebar3/mirrors/${mirror%% *}"
packages=${REBAR_CACHE_DIR:-/root/.cache/rebar3}/hex/packages.idx
said=$(mktemp)
code=$(mktemp)
lost=$(mktemp)
trap 'rm -f "$said" "$code" "$lost" /root/.config/rebar3/hex.config' EXIT
# rebar3 goes on without a plugin. That would be what is cached, whatever credentials come next: one of rebar.config's own must be
# there. It says so before it compiles the dependencies, which may take minutes: they are not begun. `resume`, which waits for
# rebar3 at a desk, keeps what is there.
end_rebar3() {
  for each in $(grep -lsa -e --deps_only /proc/[0-9]*/cmdline | xargs -r grep -lsa beam | xargs -r grep -Lsa resume); do
    each=${each%/cmdline}
    kill -9 "${each#/proc/}" 2>/dev/null || true
  done
}
{ "$@" 2>&1 && echo 0 > "$code" || echo 1 > "$code"; } | while IFS= read -r line; do
  printf '%s\n' "$line"
  printf '%s\n' "$line" >> "$said"
  case $line in
    '===> Errors loading plugin '*)
      name=$(echo "$line" | sed 's/^===> Errors loading plugin {*\([a-zA-Z0-9_]*\).*/\1/')
      if grep -qw "$name" rebar.config* ./*/*/rebar.config* 2>/dev/null; then echo "$name" > "$lost"; fi
      ;;
    '===> Analyzing '* | '===> Compiling '*) if [ -s "$lost" ]; then end_rebar3; fi ;;
  esac
done
plugin=$(cat "$lost")
if [ "$(cat "$code")" = 0 ] && [ -z "$plugin" ]; then
  mkdir -p /app/packages/hex
  [ ! -e "$packages" ] || cp "$packages" /app/packages/hex
  exit 0
fi
/usr/local/bin/unfetched "$said" "$plugin" "$@"
exit 1
fetch
#!/bin/sh
# unfetched SAID PLUGIN COMMAND...: say why COMMAND could not fetch a dependency. SAID: the file with what it wrote; PLUGIN: the
# one that rebar3 went on without, or ''. Where something else was wrong, as where a dependency does not compile, say nothing.
set -eu
said=$1
plugin=$2
shift 2
hex=/run/secrets/hex.config
index=${REBAR_CACHE_DIR:-/root/.cache/rebar3}/hex/packages.idx
asked=$(mktemp)
trap 'rm -f "$asked"' EXIT
fail() {
  echo "error: $1"
  echo "hint: $2"
  exit 1
}
# What rebar3 says, a line each: it breaks long ones.
flat() { tr -s ' \n' ' ' | sed 's/ ===> /\n/g; s/^===> //'; }
# Ask once more, for what it says to DEBUG alone; its words are not shown, as keys are among them.
ask() { DEBUG=1 "$@" 2>&1 | flat > "$asked"; }
# REPOSITORY has VERSION, VERSION...: the five newest versions of a package, of each repository that was asked.
newest() {
  erl -noinput -boot no_dot_erlang -eval '
    [Index, Name] = init:get_plain_arguments(),
    {ok, Table} = ets:file2tab(Index),
    Found = [{Repository, {Numbers, element(1, Rest) =:= [], Rest}} || {package, {N, {Numbers, Rest}, Repository}, _, _, _, _} <- ets:tab2list(Table), binary_to_list(N) =:= Name],
    Written = fun({Numbers, _, {Before, Build}}) ->
        Dots = fun(Parts) -> lists:join(".", [if is_integer(P) -> integer_to_list(P); true -> P end || P <- Parts]) end,
        [Dots(tuple_to_list(Numbers)), [["-", Dots(Before)] || Before =/= []], [["+", Dots(Build)] || Build =/= []]]
    end,
    Newest = fun(R) -> lists:sublist(lists:reverse(lists:sort([V || {R1, V} <- Found, R1 =:= R])), 5) end,
    io:put_chars(lists:join("; ", [[R, " has ", lists:join(", ", [Written(V) || V <- Newest(R)])] || R <- lists:usort([R || {R, _} <- Found])])),
    halt().' -extra "$index" "$1" 2>/dev/null || true
}
lines=$(flat < "$said")

# rebar3 does not show what git says, so git is asked again.
url=$(echo "$lines" | sed -nE "s/^(Failed to fetch and copy dep:|Errors loading plugin \{$plugin,) *\{git[^\"]*\"([^\"]*)\".*/\2/p" | tail -n 1)
if [ -n "$url" ]; then
  what="$(echo "$lines" | grep -F "\"$url\"" | sed -n 's/^Fetching \([^ ]*\) (from.*/\1/p' | tail -n 1) can't be fetched from $(echo "$url" | sed 's#\(https\{0,1\}://\)[^@/]*@#\1#')"
  reason=$(git ls-remote "$url" 2>&1 >/dev/null) || true
else
  what="$(echo "$lines" | sed -n 's/^Compiling \([^ ]*\).*/\1/p' | tail -n 1) can't fetch what it needs"
  reason=$(grep -v '^===>' "$said") || true
fi
case $reason in
  *'IDENTIFICATION HAS CHANGED'*)
    fail "$what: its host key is another one than known_hosts has" 'has its owner announced a new one? It belongs into the file that `known_hosts` names' ;;
  *'ssh: not found'*)
    fail "$what: the builder has no ssh" '`build_packages: [openssh-client]` in invoke.yaml' ;;
  *'Host key verification failed'*)
    fail "$what: its host key is not known" '`known_hosts: FILE` in invoke.yaml names a file in the repo with the line that the owner of the host publishes' ;;
  *'Permission denied (publickey'*)
    keys=$(ssh-add -l 2>/dev/null | grep -c ':') || true
    if [ ! -S "${SSH_AUTH_SOCK:-}" ]; then
      fail "$what: there is no SSH key" '`ssh: default` in invoke.yaml passes on the keys of your agent, if one runs (SSH_AUTH_SOCK); `ssh: default=FILE` a key'
    elif [ "$keys" = 0 ]; then
      fail "$what: the SSH agent holds no key" 'ssh-add FILE'
    fi
    fail "$what: the SSH key is refused ($keys tried)" 'is it registered there, and not expired? `ssh-add -l` lists what the agent holds' ;;
  *'terminal prompts disabled'* | *'Authentication failed'*)
    [ -s /root/.netrc ] || fail "$what: it asks for a password" '--secret id=netrc,src=FILE gives one; `git_rewrites` in invoke.yaml makes it SSH'
    fail "$what: the password in netrc is refused" 'has the token expired, and is it for this host?' ;;
  ?*) [ -z "$url" ] || fail "$what: $(echo "$reason" | sed -n '/^fatal: /h; ${x;s/^fatal: //;p}')" \
    'is the address right, and does `network` in invoke.yaml let the build reach it? `git_rewrites` names another place that has it' ;;
esac

if grep -q '^===> Error found in repos auth config' "$said"; then
  fail 'hex.config can not be read' "it is one Erlang map: #{<<\"acme\">> => #{repo_key => <<\"KEY\">>}}."
fi
# rebar3 crashes where a tarball is not what it should be.
if [ -n "${HEX_MIRROR:-}" ]; then mirror='is `hex_mirror` in invoke.yaml the right one'; else mirror='is the repository the right one'; fi
fetched=$(echo "$lines" | sed -n 's/^Fetching \([^ ]*\) v\([^ ]*\).*/\1 \2/p' | tail -n 1)
kept='Where it was published anew, `invoke clean` forgets the old one'
case $lines in
  *'{bad_registry_checksum,'*) fail "$fetched is another tarball than its registry says: the checksums differ" "$mirror? $kept" ;;
  *'{hex_tarball,{'*) fail "$fetched is a damaged tarball" "$mirror? $kept" ;;
esac

package=$(echo "$lines" | sed -n 's/^Package not found in any repo: \(.*[^ ]\) *$/\1/p; s/^Failed to fetch and copy dep: \([a-z].*[^ ]\) *$/\1/p' | tail -n 1 | sed 's/-\([0-9]\)/ \1/')
# Where it does not compile, the compiler has said why.
! grep -q '^===> Compiling .* failed$' "$said" || exit 0
if grep -q '^===> Hook for .* failed' "$said"; then
  ask "$@"
  whose=$(sed -n '/^Running hooks for .* in app /h; /^Hook for .* failed/{x; s/.* in app \([^ ]*\) (\([^)]*\)).*/\1 \2/p; q}' "$asked")
  case $whose in
    */plugins/*) echo "fetch: a hook of the plugin ${whose%% *} has failed" ;;
    ?*) echo "fetch: a hook of the dependency ${whose%% *} has failed" ;;
  esac
  exit 0
fi
if [ -n "$package$plugin" ] || grep -q '^===> Uncaught error' "$said"; then
  ask "$@"
  lines="$lines
$(cat "$asked")"
  [ -n "$package" ] || package=$(sed -n 's/.*{missing_package,<<"\([^"]*\)">>,\(<<"\([^"]*\)">>\)\{0,1\}.*/\1 \3/p' "$asked" | sed 's/ $//' | tail -n 1)
  package=${package:-$plugin}
  name=${package%% *}
  [ -z "$plugin" ] || [ "$name" = "$plugin" ] || package="$package, which the plugin $plugin needs,"
  # Where the lock has another checksum than the registry, rebar3 says no more than that it found nothing; 3.28 crashes over saying it.
  differs=$(echo "$lines" | sed -nE '
    s/^Checksum mismatch for package ([a-z0-9_]+)-([^ ]+) from repo ([^ ]+).*/\1 \2 of \3/p
    s/.*Checksum mismatch [^"]*", \[<<"([^"]+)">>,\{\{([0-9]+),([0-9]+),([0-9]+)\},.*,<<"([^"]+)">>\].*/\1 \2.\3.\4 of \5/p' | tail -n 1)
  case $differs in
    "${name:+$name }"?*) fail "$differs is another one than rebar.lock has: the checksums differ" \
      "$mirror? Where it was published anew, \`rebar3 upgrade ${differs%% *}\` locks what there is now" ;;
  esac
  answers=$(sed -nE '
    s/^(Getting definition for|Making request to get) package [^ ]+ from repo ([^ ]+).*/\2/; t keep
    s/^The registry repository .* record format .*/unsigned/; t show
    s/.* failed: (\{ok, ?\{|status code )([0-9]+).*/\2/; t show
    s/.* failed: .*(failed_connect|timeout).*/unreachable/; t show
    s/.* failed: .*bad_key.*/bad_key/; t show
    b
    :keep
    h; b
    :show
    G; s/\n/ /p' "$asked" | sort -u)
  asking=$(echo "$answers" | sed -n 's/^40[13] //p')
  for repository in $asking; do
    whose='rebar3 hex organization auth, or your own hand, writes ~/.config/rebar3/hex.config; in CI the variable HEX_CONFIG has its text'
    [ -e $hex ] || fail "$package can't be fetched: $repository asks for a key, and there is no hex.config" "$whose"
    [ -s $hex ] || fail "$package can't be fetched: $repository asks for a key, and hex.config is empty" "$whose"
    grep -qF "<<\"$repository\"" $hex || fail "$package can't be fetched: $repository asks for a key, and hex.config has none for it" "$whose"
  done
  [ -z "$asking" ] || fail "$package can't be fetched: the key in hex.config is refused by $(echo $asking)" 'has it expired, or been revoked?'
  away=$(echo "$answers" | sed -n 's/^unreachable //p')
  [ -z "$away" ] || fail "$package can't be fetched: $(echo $away) can't be reached" 'are `network` and `hex_mirror` in invoke.yaml the right ones?'
  unsigned=$(echo "$answers" | sed -n 's/^\(unsigned\|bad_key\) //p' | head -n 1)
  if [ -n "$unsigned" ]; then
    where="#{name => <<\"$unsigned\">>, repo_public_key => <<\"-----BEGIN PUBLIC KEY...\">>}"
    if grep -q "repo_public_key" rebar.config* 2>/dev/null; then
      fail "$package can't be fetched: what $unsigned sends is not signed with the repo_public_key in rebar.config" \
        'has the mirror a new key? One that calls its repository otherwise needs `build_env: {REBAR_NO_VERIFY_REPO_ORIGIN: "1"}` in invoke.yaml'
    fi
    fail "$package can't be fetched: what $unsigned sends is not signed with the key of hex.pm" \
      "a mirror with a key of its own: rebar.config, {hex, [{repos, [$where]}]}."
  fi
  status=$(echo "$answers" | sed -n '/^404 /d; s/^\([0-9]*\) \(.*\)/\2 answers \1/p' | head -n 1)
  [ -z "$status" ] || fail "$package can't be fetched: $status" "$mirror?"
  none=$(echo "$answers" | sed -n 's/^404 //p')
  if echo "$lines" | grep -q "^Package not found in any repo: $name\|{missing_package,<<\"$name\">>"; then
    has=$(newest "$name")
    [ -z "$has" ] || fail "$package is in no repository" "$has"
    [ -z "$none" ] || fail "$package is in no repository" "$(echo $none) has no package of this name: is it right, and $mirror?"
  fi
  [ -z "$none" ] || fail "$package can't be fetched: $(echo $none) answers 404" "$mirror?"
fi
if [ -n "$plugin" ]; then
  why=$(sed -nE "/^(throw|error|exit) /h; /^Errors loading plugin \\{?$plugin\\b/{x; s/^[a-z]+ (.*)/\\1/; s/ \\[\\{.*//; p; q}" "$asked" | sed 's#//[^@/ ]*@#//#g; s/repo_key *=> *<<"[^"]*"/repo_key => <<"..."/g' | cut -c 1-200)
  case ${BUILD_ENV:-} in
    *DEBUG=*) more='rebar3 says why above, before "Errors loading plugin"' ;;
    *) more='`build_env: {DEBUG: "1"}` in invoke.yaml shows all that rebar3 says of it' ;;
  esac
  fail "rebar.config's plugin $plugin can't be loaded${why:+: $why}" "$more"
fi
unfetched

# The toolchain. Made anew when the base, the packages or the scripts change.
FROM ${BUILD_BASE} AS base
ARG PROJECT=beamdock
ARG BUILD_BASE
ARG BUILD_PACKAGES=""
ARG DEBIAN_MIRROR=""
ENV REBAR_BASE_DIR=/app/_build LANG=C.UTF-8
WORKDIR /app/src
RUN --mount=from=scripts,target=/scripts --mount=from=authority,target=/authority \
    --mount=type=cache,id=${PROJECT}-apt-lists,sharing=locked,target=/var/lib/apt/lists \
    --mount=type=cache,id=${PROJECT}-apt,sharing=locked,target=/var/cache/apt \
    /scripts/prepare builder "$BUILD_BASE" "$BUILD_PACKAGES" "$DEBIAN_MIRROR"

# The dependencies, compiled. Made anew when what decides them changes, never for a change of the project's sources.
# STORE: which earlier builds' files to go on from; tasks.py sets it at a desk. Without it all is compiled from nothing.
FROM base AS builder
ARG PROFILE=prod
ARG REBAR3=rebar3
ARG BUILD_ENV=""
ARG STORE=""
ARG HEX_MIRROR
COPY --from=deps / ./
RUN --mount=type=cache,id=${PROJECT}-hex,sharing=locked,target=/root/.cache/rebar3 \
    --mount=type=secret,id=hex.config \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    --mount=type=secret,id=gitconfig,target=/root/.gitconfig \
    --mount=type=secret,id=known_hosts,target=/root/.ssh/known_hosts \
    --mount=type=ssh \
    --mount=type=cache,id=${PROJECT}-store,sharing=locked,target=/store \
    fetch ${STORE:+resume deps /store "$STORE"} build as "$PROFILE" compile --deps_only

# The project, compiled. Made anew when its sources change. They are copied from the bind mount, so that compilers and
# hooks may write among them, and the next stage finds the very files that were compiled and compiles none again.
FROM builder AS prod_compiled
# Once more, as the builder may be an image that was made elsewhere: --build-context builder=docker-image://REFERENCE.
ARG PROJECT=beamdock
ARG PROFILE=prod
ARG REBAR3=rebar3
ARG BUILD_ENV=""
ARG PREBUILD=""
# A step does not end before the disk has all that was written to it, and that is the base too where it was pulled a moment
# ago: it is written while the compilers run.
RUN --mount=target=/context \
    sync -f . & cp -a /context/. . && sh -euc "$PREBUILD" && build as "$PROFILE" compile

# The scripts of the release.
FROM scratch AS release_scripts
COPY --chmod=755 <<'assemble' <<'pack' /
#!/bin/sh
set -eu
[ -z "$WORK" ] || sh -euc "$PREBUILD"
if [ -e /git/HEAD ]; then
  cp -a /git .git
  git config --global --add safe.directory '*'
fi
# At a desk without the detour of a compressed tarball, which takes as long as all else but assembling; but for what hooks into it.
if [ -n "$WORK" ] && ! grep -qsw tar rebar.config rebar.config.script; then what=release; else what=tar; fi
build as "$PROFILE" $what ${RELEASE:+--relname "$RELEASE"} || {
  [ -n "$RELEASE" ] || echo 'hint: where rebar.config has several releases, --build-arg RELEASE=NAME chooses one'
  exit 1
}
rm -rf .git
assemble
#!/bin/sh
set -eu
fail() {
  echo "error: $1"
  echo "hint: $2"
  exit 1
}
if [ -n "$WORK" ]; then resume work /work "$WORK" /scripts/assemble; else /scripts/assemble; fi
set -- "$REBAR_BASE_DIR/$PROFILE"/rel/*/
name=$(basename "$1")
home=/opt/${RELEASE:-release}
mkdir -p "/out/root$home" /out/tarball
if ! ls "$1"*.tar.gz >/dev/null 2>&1; then
  if [ -n "$(find "$1" -type l -print -quit)" ]; then
    ! ls -d "$1"erts-* >/dev/null 2>&1 || cp -rL --preserve=mode "$1." "/out/root$home"
  else
    rmdir "/out/root$home"
    mv "$1" "/out/root$home"
  fi
else
  tar -xzf "$1"*.tar.gz -C "/out/root$home"
  mv "$1"*.tar.gz /out/tarball
fi
cd "/out/root$home"
ls -d erts-* >/dev/null 2>&1 ||
  fail "the release has no Erlang runtime in it (profile $PROFILE)" \
    "rebar.config, last inside {profiles, [{$PROFILE, [{relx, [ ... ]}]}]}: add {mode, prod}"
version=$(cut -d ' ' -f 2 releases/start_erl.data)
[ "$version" != 0.0.0 ] ||
  fail "the release's version is 0.0.0, which is what relx writes when it can't read the history" \
    '`invoke build` passes it, and `invoke build --dry-run` prints what to add here: --build-context git=DIR'
[ ! -d "releases/$version
" ] ||
  fail "the version, $version, ends in a newline, and such a release does not boot" "rebar.config, in {cmd, \"...\"}: add | tr -d '\\\\n'"
[ -e "releases/$version/start.boot" ] || [ ! -e "releases/$version/$name.boot" ] || cp "releases/$version/$name.boot" "releases/$version/start.boot"
[ -e "releases/$version/start.boot" ] ||
  fail "the release has no boot script, releases/$version/start.boot" "does something in rebar.config's overlay remove it?"
[ -x "bin/$name" ] ||
  fail "the release has no start script, bin/$name" 'rebar.config, in its relx and in that of its profile: one {extended_start_script, true}, and none that is false'

# Folders that the release writes into, for the user who runs it; relative ones are in its own.
for folder in $WRITABLE; do
  case $folder in /*) ;; *) folder=$home/$folder ;; esac
  mkdir -p "/out/root$folder"
  chown -R 1000:1000 "/out/root$folder"
done

# The entry point. A node without -setcookie and its remote consoles read their cookie from this file: a random one, or
# what RELX_COOKIE says. Where vm.args has -setcookie ${NAME}, it is the value of NAME, unless that is given: a default that
# stands there is as public as the repo. The start script fills in a vm.args.src alone, so a vm.args with ${NAME} becomes one.
args=$(ls "releases/$version/vm.args.src" "releases/$version/vm.args" 2>/dev/null | head -n 1)
named=
if [ -n "$args" ]; then
  named=$(sed -n 's/^[^#]*-setcookie[[:space:]]\{1,\}[^[:space:]$]*${\([A-Za-z_][A-Za-z0-9_]*\)\(:-[^}]*\)\{0,1\}}.*/\1/p' "$args" | head -n 1)
  written=$(sed -n '/^[^#]*-setcookie[[:space:]]\{1,\}[^[:space:]$]\{1,\}\([[:space:]]\|$\)/=' "$args" | head -n 1)
  # `invoke build` repeats this from the step's output: a build that takes the step from the cache has said it before.
  [ -z "$written" ] || echo "warning: $args:$written has the cookie written out, which goes into every image"
  [ -z "$named" ] || [ "${args%.src}" != "$args" ] || mv "$args" "$args.src"
fi
[ -z "$named" ] || named="export $named=\"\${$named:-\$(cat \"\$cookie\")}\""
cat > /out/root/release <<ENTRY
#!/bin/sh
set -eu
cookie=\${HOME:-/tmp}/.erlang.cookie
if [ -n "\${RELX_COOKIE:-}" ] || [ ! -e "\$cookie" ]; then
  umask 077
  printf %s "\${RELX_COOKIE:-\$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')}" > "\$cookie.\$\$"
  chmod 400 "\$cookie.\$\$"
  mv -f "\$cookie.\$\$" "\$cookie"
  umask 022
fi
$named
# Who asks a node has files of its own: the start script writes them anew, and a node that boots would read half of one.
case "\${1:-}" in eval | rpc | ping | pid | stop | restart | reboot | status | remote_console | remote | remsh)
  export RELX_OUT_FILE_PATH="\${RELX_OUT_FILE_PATH:-/tmp}/asked-by-\$(id -u)"
  mkdir -p "\$RELX_OUT_FILE_PATH" ;;
esac
exec $home/bin/$name "\$@"
ENTRY
chmod 755 /out/root/release
pack

# The release, packed by relx and unpacked: tar renames the boot script and takes only what the release names. Made anew
# when the project or the version changes. /out/root becomes the image's root, and is no folder of / itself: for its cache key
# BuildKit walks all of the folder that a path is in (scanPath in its cache/contenthash), which of / was 0.3 s at each change.
# WORK: as STORE, for the project.
FROM ${COMPILED} AS releaser
ARG PROJECT=beamdock
ARG PROFILE=prod
ARG REBAR3=rebar3
ARG BUILD_ENV=""
ARG PREBUILD=""
ARG RELEASE=""
ARG WRITABLE=""
ARG STORE=""
ARG WORK=""
RUN --mount=from=release_scripts,target=/scripts \
    --mount=target=/context \
    --mount=from=git,target=/git \
    --mount=type=cache,id=${PROJECT}-store,sharing=locked,target=/store \
    --mount=type=cache,id=${PROJECT}-work,sharing=locked,target=/work \
    /scripts/pack

# The packed release alone, for `invoke build --tarball DIR`.
FROM scratch AS tarball
COPY --from=releaser /out/tarball/ /

# What the release stands on. Made anew when the base or the packages change.
FROM ${RUN_BASE} AS runner_base
ARG PROJECT=beamdock
ARG RUN_BASE
ARG RUNTIME_PACKAGES=""
ARG DEBIAN_MIRROR=""
RUN --mount=from=scripts,source=/prepare,target=/scripts/prepare --mount=from=authority,target=/authority \
    --mount=type=cache,id=${PROJECT}-apt-lists,sharing=locked,target=/var/lib/apt/lists \
    --mount=type=cache,id=${PROJECT}-apt,sharing=locked,target=/var/cache/apt \
    /scripts/prepare runner "$RUN_BASE" "$RUNTIME_PACKAGES" "$DEBIAN_MIRROR"
# TLS clients look here for the authorities they trust.
COPY --from=builder /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt

FROM scratch AS check_script
COPY --chmod=755 <<'check' /
#!/bin/sh
set -eu
debian() { (. "$1" && echo "$ID ${VERSION_CODENAME:-${VERSION_ID:-}}"); }
built=$(debian /releaser/etc/os-release)
here=$(debian /etc/os-release)
if [ "$built" != "$here" ]; then
  echo "error: the release was built on $built and would run on $here ($RUN_BASE)"
  echo 'hint: `build_base` and `run_base` in invoke.yaml must be of one distribution release'
  exit 1
fi
cd "/opt/${RELEASE:-release}"
elf=$(printf '\177ELF')
LC_ALL=C grep -rlae "^$elf" --exclude='*.beam' . > /tmp/files || true
# One by one, which takes twice as long, only where one lacks something.
if ! xargs -d '\n' -r ldd < /tmp/files 2>&1 | grep -q -e 'not found' -e 'unknown exit code'; then : > /tmp/files; fi
while IFS= read -r file; do
  [ "$(head -c 4 "$file" | tr -d '\0')" = "$elf" ] || continue
  ldd "$file" 2>&1 | grep 'not found' | while IFS= read -r line; do
    library=$(echo "$line" | sed -n 's/^[[:space:]]*\([^ ]*\) => not found.*/\1/p')
    echo "error: ${file#./} needs ${library:-${line#*: }}, which $RUN_BASE lacks"
    # The builder's dpkg knows which package has it.
    package=$(grep -l "/$library\$" /releaser/var/lib/dpkg/info/*.list 2>/dev/null | sed -n '1s/.*\///; 1s/\.list$//; 1s/:.*//p; 1p' | head -n 1)
    if [ -n "$package" ]; then
      echo "hint: \`runtime_packages: [$package]\` under \`beamdock:\` in invoke.yaml"
    else
      echo "hint: add the Debian package that has it to \`runtime_packages\` in invoke.yaml, or the folder of the library to the file's RPATH"
    fi
  done
done < /tmp/files > /tmp/missing
cat /tmp/missing
[ ! -s /tmp/missing ]
mkdir -p /passed/nothing
check

# The release, looked at where it will run: every ELF file of it must find its libraries.
FROM runner_base AS checked
ARG RELEASE=""
# Only what is read is mounted, and from a stage that seldom changes: BuildKit reads all of a mount for the cache key (all
# of releaser, the whole builder's base, took it 2 s at each change).
RUN --mount=from=check_script,target=/scripts \
    --mount=from=builder,source=/etc/os-release,target=/releaser/etc/os-release \
    --mount=from=builder,source=/var/lib/dpkg/info,target=/releaser/var/lib/dpkg/info \
    --mount=from=releaser,source=/out/root/opt,target=/opt \
    /scripts/check

# The image. Its last COPY copies nothing: it makes the image wait for the checks.
FROM runner_base AS runner
ARG RELEASE=""
WORKDIR /opt/${RELEASE:-release}
# All that is written goes here: what the start script makes of the templates, and the cookie.
ENV RELX_OUT_FILE_PATH=/tmp HOME=/tmp LANG=C.UTF-8
# Defaults of the variables in sys.config.src and vm.args.src; `invoke run --env NAME=VALUE` overrides them. Edit freely.
ENV LOGGER_LEVEL=info \
    HTTP_PORT=8080 \
    DNS_PORT=8053
COPY --from=releaser /out/root /
COPY --from=checked /passed/nothing /
USER 1000:1000
ENTRYPOINT ["/release"]
CMD ["foreground"]
