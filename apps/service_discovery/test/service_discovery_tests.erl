-module(service_discovery_tests).

-include_lib("eunit/include/eunit.hrl").

-define(LONGEST, "a23456789-123456789-123456789-123456789-123456789-123456789-123").

api_test_() ->
    {foreach,
     fun() -> {ok, Apps} = application:ensure_all_started(service_discovery), Apps end,
     fun(Apps) -> [ok = application:stop(App) || App <- lists:reverse(Apps)] end,
     [fun lifecycle/0, fun names_are_sorted/0, fun nothing_survives_a_restart/0, fun registry_comes_back/0]
     ++ [{"name " ++ Name, fun() -> ?assertEqual({ok, created}, service_discovery:create(list_to_binary(Name))) end}
         || Name <- ["a", "7", "shop", "shop-2", "a--b", ?LONGEST]]
     ++ [{lists:flatten(io_lib:format("no name ~tp", [Name])),
          fun() ->
                  ?assertEqual({error, bad_name}, service_discovery:create(Name)),
                  ?assertEqual([], service_discovery:names())
          end}
         || Name <- [<<>>, ~"-a", ~"a-", ~"-", ~"Shop", ~"a_b", ~"a.b", ~"a b", ~"a\n", ~"\x{e4}", <<255>>, <<0>>,
                     ~"_http", list_to_binary(?LONGEST ++ "4"), "shop", shop, 7]]}.

lifecycle() ->
    Ports = #{~"http" => #{port => 8000, protocol => tcp}},
    ?assertEqual({error, unknown_service}, service_discovery:lookup(~"shop")),
    ?assertEqual({error, unknown_service}, service_discovery:set_ports(~"shop", Ports)),
    ?assertEqual({error, unknown_service}, service_discovery:register(~"shop", ~"web-1", {10, 0, 0, 7})),
    ?assertEqual({error, unknown_service}, service_discovery:unregister(~"shop", ~"web-1")),
    ?assertEqual({error, unknown_service}, service_discovery:delete(~"shop")),
    ?assertEqual({ok, created}, service_discovery:create(~"shop")),
    ?assertEqual({ok, replaced}, service_discovery:set_ports(~"shop", Ports)),
    ?assertEqual({ok, unchanged}, service_discovery:set_ports(~"shop", Ports)),
    ?assertEqual({ok, created}, service_discovery:register(~"shop", ~"web-1", {10, 0, 0, 7})),
    ?assertEqual({ok, unchanged}, service_discovery:register(~"shop", ~"web-1", {10, 0, 0, 7})),
    ?assertEqual({ok, replaced}, service_discovery:register(~"shop", ~"web-1", {0, 0, 0, 0, 0, 0, 0, 1})),
    ?assertEqual({ok, unchanged}, service_discovery:create(~"shop")),
    ?assertEqual({ok, #{ports => Ports, endpoints => #{~"web-1" => {0, 0, 0, 0, 0, 0, 0, 1}}}},
                 service_discovery:lookup(~"shop")),
    ?assertEqual({error, unknown_endpoint}, service_discovery:unregister(~"shop", ~"web-2")),
    ?assertEqual({ok, deleted}, service_discovery:unregister(~"shop", ~"web-1")),
    ?assertEqual({ok, #{ports => Ports, endpoints => #{}}}, service_discovery:lookup(~"shop")),
    ?assertEqual({ok, deleted}, service_discovery:delete(~"shop")),
    ?assertEqual({error, unknown_service}, service_discovery:lookup(~"shop")).

names_are_sorted() ->
    [{ok, created} = service_discovery:create(Name) || Name <- [~"b", ~"c", ~"a"]],
    ?assertEqual([~"a", ~"b", ~"c"], service_discovery:names()).

nothing_survives_a_restart() ->
    ?assertEqual([], service_discovery:names()),
    {ok, created} = service_discovery:create(~"shop").

registry_comes_back() ->
    {ok, created} = service_discovery:create(~"shop"),
    Registry = whereis(service_discovery_registry),
    Monitor = monitor(process, Registry),
    exit(Registry, kill),
    receive {'DOWN', Monitor, _, _, _} -> ok end,
    %% the supervisor answers once it has dealt with the exit
    [{registry, New, _, _}] = supervisor:which_children(service_discovery_sup),
    ?assertNotEqual(Registry, New),
    ?assertEqual({ok, created}, service_discovery:create(~"shop")).

refused_values_test_() ->
    Port = fun(Value) -> #{~"http" => #{port => Value, protocol => tcp}} end,
    [?_assertEqual({error, {bad_port, ~"http"}}, service_discovery:set_ports(~"shop", Port(Value)))
     || Value <- [0, -1, 65536, 8000.0, ~"8000", null, true, #{}]]
    ++ [?_assertEqual({error, {bad_protocol, ~"http"}},
                      service_discovery:set_ports(~"shop", #{~"http" => #{port => 80, protocol => Value}}))
        || Value <- [sctp, ~"tcp", null, 6]]
    ++ [?_assertEqual({error, bad_port_name},
                      service_discovery:set_ports(~"shop", #{Name => #{port => 80, protocol => tcp}}))
        || Name <- [~"", ~"HTTP", ~"sixteen-letters-", ~"sixteenlettersss", ~"_http"]]
    ++ [?_assertEqual({error, bad_name}, service_discovery:register(~"shop", ~"Web", {10, 0, 0, 7}))]
    ++ [?_assertEqual({error, bad_ip}, service_discovery:register(~"shop", ~"web", IP))
        || IP <- ["10.0.0.7", ~"10.0.0.7", {10, 0, 0}, {10, 0, 0, 256}, {1, 2, 3, 4, 5, 6, 7, 65536}]].

every_reason_has_a_text_test_() ->
    [?_assert(iolist_size(service_discovery:format_error(Reason)) > 10)
     || Reason <- [bad_name, bad_port_name, {bad_port, ~"http"}, {bad_protocol, ~"http"}, bad_ip, unknown_service,
                   unknown_endpoint, too_many_endpoints]].

endpoints_are_bounded_test() ->
    Endpoints = #{integer_to_binary(N) => {10, 0, N div 256, N rem 256} || N <- lists:seq(1, 400)},
    Service = {ok, #{ports => #{}, endpoints => Endpoints}},
    Register = fun(Name) -> service_discovery_registry:decide({register, Name, {10, 1, 1, 1}}, Service) end,
    ?assertEqual({error, too_many_endpoints}, Register(~"401")),
    ?assertMatch({put, _, replaced}, Register(~"400")).
