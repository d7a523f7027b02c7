-module(service_discovery_http_SUITE).
-moduledoc "A real client, real sockets, a free port; each case begins with no service.".

-include_lib("stdlib/include/assert.hrl").

-export([all/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([lifecycle/1, a_put_says_what_it_made/1, bad_input/1, raw_requests/1, wrong_method/1, head/1, keep_alive/1,
         body_limit/1, expect_continue/1, ipv4_and_ipv6/1, concurrent_registrations/1, one_creates_others_see/1,
         endpoints_are_bounded/1, garbage/1, internal_error/1, stops_with_open_connections/1, port_in_use/1,
         unusable_port/1]).

all() ->
    [lifecycle, a_put_says_what_it_made, bad_input, raw_requests, wrong_method, head, keep_alive, body_limit,
     expect_continue, ipv4_and_ipv6, concurrent_registrations, one_creates_others_see, endpoints_are_bounded, garbage,
     internal_error, stops_with_open_connections, port_in_use, unusable_port].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(inets),
    _ = application:load(service_discovery_http),
    Config.

end_per_suite(_Config) ->
    application:unload(service_discovery_http).

init_per_testcase(_Case, Config) ->
    ok = application:set_env(service_discovery_http, port, 0),
    {ok, _} = application:ensure_all_started(service_discovery_http),
    {ok, #{start := {_, _, [#{socket := Socket}]}}} = supervisor:get_childspec(service_discovery_http_sup, acceptor),
    {ok, Port} = inet:port(Socket),
    [{port, Port} | Config].

end_per_testcase(_Case, _Config) ->
    _ = application:stop(service_discovery_http),
    application:stop(service_discovery).

%% Cases

lifecycle(Config) ->
    ?assertEqual({200, #{~"services" => []}}, request(Config, get, "/services")),
    ?assertEqual({201, #{~"name" => ~"shop", ~"ports" => #{}, ~"endpoints" => #{}}},
                 request(Config, put, "/services/shop")),
    Ports = #{~"http" => #{~"port" => 8000, ~"protocol" => ~"tcp"},
              ~"dns" => #{~"port" => 53, ~"protocol" => ~"udp"}},
    ?assertEqual({200, Ports}, request(Config, put, "/services/shop/ports",
                                       ~B({"http": {"port": 8000}, "dns": {"port": 53, "protocol": "udp"}}))),
    ?assertEqual({201, #{~"ip" => ~"10.0.0.7"}},
                 request(Config, put, "/services/shop/endpoints/web-1", ~B({"ip": "10.0.0.7"}))),
    ?assertEqual({201, #{~"ip" => ~"fd00::7"}},
                 request(Config, put, "/services/shop/endpoints/web-2", ~B({"ip": "FD00:0::7"}))),
    Endpoints = #{~"web-1" => #{~"ip" => ~"10.0.0.7"}, ~"web-2" => #{~"ip" => ~"fd00::7"}},
    ?assertEqual({200, #{~"name" => ~"shop", ~"ports" => Ports, ~"endpoints" => Endpoints}},
                 request(Config, get, "/services/shop")),
    ?assertEqual({200, Ports}, request(Config, get, "/services/shop/ports")),
    ?assertEqual({200, Endpoints}, request(Config, get, "/services/shop/endpoints?since=then")),
    ?assertEqual({200, #{~"ip" => ~"10.0.0.7"}}, request(Config, get, "/services/shop/endpoints/web-1")),
    ?assertEqual({200, #{~"services" => [~"shop"]}}, request(Config, get, "/services")),
    ?assertEqual({200, #{~"status" => ~"ok", ~"services" => 1}}, request(Config, get, "/healthz")),
    ?assertEqual({204, none}, request(Config, delete, "/services/shop/endpoints/web-1")),
    ?assertMatch({404, #{~"error" := _}}, request(Config, get, "/services/shop/endpoints/web-1")),
    ?assertMatch({404, #{~"error" := _}}, request(Config, delete, "/services/shop/endpoints/web-1")),
    ?assertEqual({204, none}, request(Config, delete, "/services/shop")),
    ?assertMatch({404, #{~"error" := _}}, request(Config, get, "/services/shop")),
    ?assertMatch({404, #{~"error" := _}}, request(Config, delete, "/services/shop")).

a_put_says_what_it_made(Config) ->
    Put = fun(Path, Body) -> element(1, request(Config, put, "/services/shop" ++ Path, Body)) end,
    ?assertEqual([201, 200, 200], [Put("", Body) || Body <- [~"", ~"", ~"{}"]]),
    ?assertEqual([201, 200, 200],
                 [Put("/endpoints/web", Body)
                  || Body <- [~B({"ip":"10.0.0.7"}), ~B({"ip":"10.0.0.7"}), ~B({"ip":"10.0.0.8"})]]),
    ?assertEqual({200, #{~"ip" => ~"10.0.0.8"}}, request(Config, get, "/services/shop/endpoints/web")).

bad_input(Config) ->
    {201, _} = request(Config, put, "/services/shop"),
    Before = request(Config, get, "/services/shop"),
    Ports = "/services/shop/ports",
    Endpoint = "/services/shop/endpoints/web",
    Table =
        [{get, "/", ~"", 404}, {get, "/service", ~"", 404}, {get, "/services/", ~"", 404},
         {get, "/healthz/x", ~"", 404},
         {get, "/services/shop/", ~"", 404}, {get, "/services/shop/x", ~"", 404}, {get, "//services", ~"", 404},
         {put, "/services/Shop", ~"", 400}, {put, "/services/a%20b", ~"", 400}, {put, "/services/-", ~"", 400},
         {put, "/services/" ++ lists:duplicate(64, $a), ~"", 400}, {put, "/services/", ~"", 400},
         {put, "/services/%FF", ~"", 400}, {put, "/services/new", ~"{", 400}, {put, "/services/new", ~"[]", 400},
         {put, "/services/new", ~B({"ports": {}}), 400},
         {put, "/services/none/ports", ~"{}", 404}, {put, "/services/none/endpoints/a", ~B({"ip": "10.0.0.7"}), 404},
         {put, "/services/shop/endpoints/A", ~B({"ip": "10.0.0.7"}), 400}]
        ++ [{put, Ports, Body, 400}
            || Body <- [~"", ~" ", ~"{", ~"nil", ~"[]", ~"7", ~B("x"), ~"null", ~"{}{}", <<255>>, ~B({"a": 1e999}),
                        ~B({"http": 8000}), ~B({"http": {}}), ~B({"http": {"port": 8000, "x": 1}}),
                        ~B({"http": {"port": 8000, "protocol": "sctp"}}), ~B({"http": {"port": 8000, "protocol": 6}}),
                        ~B({"http": {"port": 8000, "protocol": null}}), ~B({"": {"port": 8000}}),
                        ~B({"HTTP": {"port": 8000}}), ~B({"sixteenlettersss": {"port": 8000}}),
                        ~B({"ok": {"port": 80}, "http": {"port": 65536}})]]
        ++ [{put, Ports, [~B({"http": {"port": ), Port, ~"}}"], 400}
            || Port <- [~"0", ~"-1", ~"65536", ~"8000.0", ~"8e3", ~B("8000"), ~"null", ~"true", ~"[]", ~"{}",
                        binary:copy(~"9", 1000)]]
        ++ [{put, Endpoint, Body, 400}
            || Body <- [~"", ~"{}", ~"[]", ~B({"IP": "10.0.0.7"}), ~B({"ip": "10.0.0.7", "port": 80})]]
        ++ [{put, Endpoint, [~B({"ip": ), IP, ~"}"], 400}
            || IP <- [~B(""), ~B("10.0.0"), ~B("10.0.0.256"), ~B("10.0.0.7 "), ~B("localhost"), ~B("1"), ~B("::g"),
                      ~B("fe80::1%eth0"), ~B("10.0.0.7\u0000"), ~B("\u0661"), ~"7", ~"null", ~B(["10.0.0.7"])]],
    [case request(Config, Method, Path, iolist_to_binary(Body)) of
         {Status, #{~"error" := Error}} when byte_size(Error) > 5 -> ok;
         Other -> ct:fail("~p ~s ~s: ~p, not ~b", [Method, Path, Body, Other, Status])
     end || {Method, Path, Body, Status} <- Table],
    ?assertEqual(Before, request(Config, get, "/services/shop")),
    ?assertEqual({200, #{~"services" => [~"shop"]}}, request(Config, get, "/services")).

%% Bytes that no client library would send. Each gets an answer of JSON, and where the rest of the connection cannot be
%% trusted, a closed connection.
raw_requests(Config) ->
    {201, _} = request(Config, put, "/services/shop"),
    Put = "PUT /services/shop/ports HTTP/1.1\r\nHost: x\r\n",
    Long = fun(Size) -> lists:duplicate(Size, $a) end,
    Table =
        [{"\r\nGET /healthz HTTP/1.1\r\n\r\n", 200, open}, {"GET /healthz HTTP/1.1\r\nX: \xe4\xff\r\n\r\n", 200, open},
         {"GET http://x/healthz HTTP/1.1\r\n\r\n", 200, open},
         {"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200, closed},
         {"GET /healthz HTTP/1.1\r\nCONNECTION: Foo, Close\r\n\r\n", 200, closed},
         {"GET /healthz HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 200, open},
         {"GET /services/\xff\xfe HTTP/1.1\r\n\r\n", 404, open},
         {"PUT /services/\xff\xfe HTTP/1.1\r\n\r\n", 400, open},
         {"BREW /healthz HTTP/1.1\r\n\r\n", 405, open}, {"get /healthz HTTP/1.1\r\n\r\n", 405, open},
         {[Put, "\r\n"], 411, open},
         {[Put, "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"], 411, closed},
         {[Put, "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}"], 411, closed},
         {[Put, "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"], 400, closed},
         {[Put, "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}"], 200, open},
         {[Put, "Content-Length: 65537\r\n\r\n"], 413, closed},
         {[Put, "Content-Length: 99999999999999999999\r\n\r\n"], 400, closed}]
        ++ [{[Put, "Content-Length: ", Length, "\r\n\r\n{}"], 400, closed}
            || Length <- ["-2", "+2", "0x2", "2 2", "two", "", "2,2", "2.0"]]
        ++ [{Line, 400, closed}
            || Line <- ["hello\r\n\r\n", "GET\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", "\0\0\r\n",
                        "GET * HTTP/1.1\r\n\r\n", "CONNECT x:80 HTTP/1.1\r\n\r\n",
                        "GET /healthz HTTP/1.1\r\nno colon\r\n\r\n",
                        "GET /healthz HTTP/1.1\r\n\xe4: y\r\n\r\n"]]
        ++ [{"GET /healthz HTTP/2.0\r\n\r\n", 505, closed}, {"GET /healthz\r\n\r\n", 505, closed},
            {["GET /", Long(8176), " HTTP/1.1\r\nX: ", Long(8187), "\r\n\r\n"], 404, open}]
        ++ [{["GET /", Long(Size), " HTTP/1.1\r\n\r\n"], 414, closed} || Size <- [8177, 20_000, 1_000_000]]
        ++ [{["GET / HTTP/1.1\r\nX: ", Long(Size), "\r\n\r\n"], 431, closed} || Size <- [8188, 20_000, 1_000_000]]
        ++ [{Long(1_000_000), 414, closed},
            {["GET / HTTP/1.1\r\n", Long(1_000_000), ": x\r\n\r\n"], 431, closed},
            {["GET / HTTP/1.1\r\n", lists:duplicate(102, "X: y\r\n"), "\r\n"], 431, closed}],
    [begin
         Socket = connect(Config),
         ok = gen_tcp:send(Socket, Bytes),
         try {read_answer(Socket), after_answer(Socket)} of
             {{Status, _, _}, State} -> ok;
             Other -> ct:fail("~P: ~p, not ~p", [iolist_to_binary(Bytes), 30, Other, {Status, State}])
         catch
             error:Reason -> ct:fail("~P: ~p", [iolist_to_binary(Bytes), 30, Reason])
         end
     end || {Bytes, Status, State} <- Table].

wrong_method(Config) ->
    [?assertEqual({405, Allow}, begin
                                    {Status, Headers, _} = raw(Config, [Method, " ", Path, " HTTP/1.1\r\n\r\n"]),
                                    {Status, proplists:get_value(~"allow", Headers)}
                                end)
     || {Method, Path, Allow} <- [{"POST", "/healthz", ~"HEAD, GET"}, {"DELETE", "/services", ~"HEAD, GET"},
                                  {"PATCH", "/services/shop", ~"HEAD, GET, PUT, DELETE"},
                                  {"DELETE", "/services/shop/ports", ~"HEAD, GET, PUT"},
                                  {"PUT", "/services/shop/endpoints", ~"HEAD, GET"},
                                  {"OPTIONS", "/services/shop/endpoints/web", ~"HEAD, GET, PUT, DELETE"}]].

head(Config) ->
    Socket = connect(Config),
    %% the second answer is where it is looked for only if the first one had no body
    ok = gen_tcp:send(Socket, "HEAD /services HTTP/1.1\r\n\r\nGET /services HTTP/1.1\r\n\r\n"),
    {200, Headers} = read_head(Socket),
    {200, Headers, Body} = read_answer(Socket),
    ?assertEqual(byte_size(Body), binary_to_integer(proplists:get_value(~"content-length", Headers))).

keep_alive(Config) ->
    Socket = connect(Config),
    [begin
         ok = gen_tcp:send(Socket, Request),
         [?assertMatch({Status, _, _}, read_answer(Socket)) || Status <- Statuses]
     end || {Request, Statuses} <-
                [{"GET /healthz HTTP/1.1\r\n\r\n", [200]},
                 {"PUT /services/shop HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", [201]},
                 {"GET /nothing HTTP/1.1\r\n\r\n", [404]},
                 %% three at once
                 {"PUT /services/a HTTP/1.1\r\n\r\nDELETE /services/a HTTP/1.1\r\n\r\nGET /services/a HTTP/1.1\r\n\r\n",
                  [201, 204, 404]},
                 {"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n", [200]}]],
    ?assertEqual({error, closed}, gen_tcp:recv(Socket, 0, 5000)).

body_limit(Config) ->
    {201, _} = request(Config, put, "/services/shop"),
    Padded = fun(Size) -> iolist_to_binary(["{", lists:duplicate(Size - 2, $\s), "}"]) end,
    ?assertEqual({200, #{}}, request(Config, put, "/services/shop/ports", Padded(65_536))),
    %% the client sends all of it and still gets to read the answer
    ?assertMatch({413, #{~"error" := _}}, request(Config, put, "/services/shop/ports", Padded(65_537))),
    ?assertMatch({413, #{~"error" := _}}, request(Config, put, "/services/shop/ports", Padded(5_000_000))).

expect_continue(Config) ->
    {201, _} = request(Config, put, "/services/shop"),
    Head = "PUT /services/shop/ports HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: ",
    Socket = connect(Config),
    ok = gen_tcp:send(Socket, [Head, "2\r\n\r\n"]),
    ?assertEqual({100, []}, read_head(Socket)),
    ok = gen_tcp:send(Socket, "{}"),
    ?assertMatch({200, _, _}, read_answer(Socket)),
    ?assertMatch({413, _, _}, raw(Config, [Head, "65537\r\n\r\n"])).

ipv4_and_ipv6(Config) ->
    Loopbacks = [{127, 0, 0, 1}]
        ++ [{0, 0, 0, 0, 0, 0, 0, 1}
            || {ok, S} <- [gen_tcp:listen(0, [inet6, {ip, loopback}])], ok =:= gen_tcp:close(S)],
    [begin
         {ok, Socket} = gen_tcp:connect(IP, proplists:get_value(port, Config), [binary, {active, false}]),
         ok = gen_tcp:send(Socket, "GET /healthz HTTP/1.1\r\n\r\n"),
         ?assertMatch({200, _, _}, read_answer(Socket))
     end || IP <- Loopbacks].

concurrent_registrations(Config) ->
    {201, _} = request(Config, put, "/services/shop"),
    Numbers = lists:seq(1, 200),
    Put = fun(N) -> put_endpoint(integer_to_list(N), ["10.0.0.", integer_to_list(N)]) end,
    Statuses = at_once([fun() -> element(1, raw(Config, Put(N))) end || N <- Numbers]),
    ?assertEqual([201], lists:usort(Statuses)),
    {200, Endpoints} = request(Config, get, "/services/shop/endpoints"),
    ?assertEqual(#{integer_to_binary(N) => #{~"ip" => <<"10.0.0.", (integer_to_binary(N))/binary>>} || N <- Numbers},
                 Endpoints).

one_creates_others_see(Config) ->
    Put = "PUT /services/shop HTTP/1.1\r\n\r\n",
    Statuses = at_once([fun() -> element(1, raw(Config, Put)) end || _ <- lists:seq(1, 100)]),
    ?assertEqual([201], [Status || Status <- Statuses, Status =/= 200]),
    ?assertEqual(100, length(Statuses)).

endpoints_are_bounded(Config) ->
    {201, _} = request(Config, put, "/services/shop"),
    Socket = connect(Config),
    Put = fun(N) ->
                  ok = gen_tcp:send(Socket, put_endpoint(integer_to_list(N), "10.0.0.7")),
                  element(1, read_answer(Socket))
          end,
    ?assertEqual([201], lists:usort([Put(N) || N <- lists:seq(1, 400)])),
    ?assertEqual(409, Put(401)),
    ?assertEqual(200, Put(400)),
    {204, none} = request(Config, delete, "/services/shop/endpoints/1"),
    ?assertEqual(201, Put(401)).

garbage(Config) ->
    Before = supervisor:which_children(service_discovery_http_sup),
    _ = at_once([fun() ->
                         Socket = connect(Config),
                         _ = gen_tcp:send(Socket, rand:bytes(rand:uniform(300))),
                         _ = gen_tcp:shutdown(Socket, write),
                         drain(Socket)
                 end || _ <- lists:seq(1, 300)]),
    ?assertEqual(Before, supervisor:which_children(service_discovery_http_sup)),
    ?assertMatch({200, _}, request(Config, get, "/healthz")).

internal_error(Config) ->
    %% without its registry the API cannot but fail
    ok = supervisor:terminate_child(service_discovery_sup, registry),
    ?assertEqual({500, #{~"error" => ~"internal error"}}, request(Config, get, "/healthz")),
    {ok, _} = supervisor:restart_child(service_discovery_sup, registry),
    ?assertMatch({200, _}, request(Config, get, "/healthz")).

stops_with_open_connections(Config) ->
    Sockets = [connect(Config) || _ <- lists:seq(1, 20)],
    [begin
         ok = gen_tcp:send(Socket, "GET /healthz HTTP/1.1\r\n\r\n"),
         {200, _, _} = read_answer(Socket)
     end || Socket <- Sockets],
    ok = gen_tcp:send(hd(Sockets), "PUT /services/shop HTTP/1.1\r\nContent-Le"),
    {Micros, ok} = timer:tc(fun() -> application:stop(service_discovery_http) end),
    ?assert(Micros < 1_000_000),
    [?assertEqual({error, closed}, gen_tcp:recv(Socket, 0, 5000)) || Socket <- Sockets],
    ?assertEqual({error, econnrefused}, gen_tcp:connect({127, 0, 0, 1}, proplists:get_value(port, Config), [])).

port_in_use(_Config) ->
    ok = application:stop(service_discovery_http),
    {ok, Other} = gen_tcp:listen(0, []),
    {ok, Port} = inet:port(Other),
    ok = application:set_env(service_discovery_http, port, Port),
    ?assertMatch({error, {{listen, Port, eaddrinuse}, _}}, application:start(service_discovery_http)).

unusable_port(_Config) ->
    ok = application:stop(service_discovery_http),
    ok = application:set_env(service_discovery_http, port, abc),
    ?assertMatch({error, {{unusable_setting, service_discovery_http, port, abc}, _}},
                 application:start(service_discovery_http)).

%% A client

request(Config, Method, Path) ->
    request(Config, Method, Path, ~"").

request(Config, Method, Path, Body) ->
    Url = "http://127.0.0.1:" ++ integer_to_list(proplists:get_value(port, Config)) ++ Path,
    Request = case Method of
                  put -> {Url, [], "application/json", Body};
                  _ -> {Url, []}
              end,
    %% without {ssl, []} the httpc of OTP 29 wants CA certificates, even here
    {ok, {{_, Status, _}, Headers, Answer}} = httpc:request(Method, Request, [{ssl, []}], [{body_format, binary}]),
    case Answer of
        <<>> ->
            {Status, none};
        _ ->
            "application/json" = proplists:get_value("content-type", Headers),
            {Status, json:decode(Answer)}
    end.

raw(Config, Bytes) ->
    Socket = connect(Config),
    ok = gen_tcp:send(Socket, Bytes),
    Answer = read_answer(Socket),
    ok = gen_tcp:close(Socket),
    Answer.

put_endpoint(Name, IP) ->
    Body = iolist_to_binary([~B({"ip": "), IP, ~B("})]),
    ["PUT /services/shop/endpoints/", Name, " HTTP/1.1\r\n",
     "Content-Length: ", integer_to_list(byte_size(Body)), "\r\n\r\n", Body].

connect(Config) ->
    {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, proplists:get_value(port, Config), [binary, {active, false}]),
    Socket.

read_answer(Socket) ->
    {Status, Headers} = read_head(Socket),
    Length = binary_to_integer(proplists:get_value(~"content-length", Headers, ~"0")),
    ok = inet:setopts(Socket, [{packet, raw}]),
    {ok, Body} = case Length of
                     0 -> {ok, <<>>};
                     _ -> gen_tcp:recv(Socket, Length, 5000)
                 end,
    _ = [json:decode(Body) || Length > 0],
    {Status, Headers, Body}.

read_head(Socket) ->
    ok = inet:setopts(Socket, [{packet, http_bin}]),
    {ok, {http_response, {1, 1}, Status, _}} = gen_tcp:recv(Socket, 0, 5000),
    {Status, read_headers(Socket)}.

read_headers(Socket) ->
    case gen_tcp:recv(Socket, 0, 5000) of
        {ok, {http_header, _, _, Name, Value}} -> [{Name, Value} | read_headers(Socket)];
        {ok, http_eoh} -> []
    end.

after_answer(Socket) ->
    _ = gen_tcp:send(Socket, "GET /healthz HTTP/1.1\r\n\r\n"),
    ok = inet:setopts(Socket, [{packet, http_bin}]),
    case gen_tcp:recv(Socket, 0, 5000) of
        {ok, {http_response, _, 200, _}} -> open;
        {error, closed} -> closed
    end.

drain(Socket) ->
    case gen_tcp:recv(Socket, 0, 5000) of
        {ok, _} -> drain(Socket);
        {error, closed} -> ok
    end.

%% Runs all of them, each in a process of its own, and gives their results.
at_once(Funs) ->
    Pids = [spawn_monitor(fun() -> receive go -> exit({result, Fun()}) end end) || Fun <- Funs],
    [Pid ! go || {Pid, _} <- Pids],
    [receive {'DOWN', Monitor, process, Pid, {result, Result}} -> Result end || {Pid, Monitor} <- Pids].
