-module(service_discovery_tcp_tests).

-behaviour(supervisor).

-include_lib("eunit/include/eunit.hrl").

-export([init/1]).

tcp_test_() ->
    {foreach, fun start/0, fun stop/1,
     [fun(Started) -> {atom_to_list(Name), fun() -> Test(Started) end} end
      || {Name, Test} <- [{max_bounds_the_open_connections, fun max_bounds_the_open_connections/1},
                          {a_crash_takes_one_connection, fun a_crash_takes_one_connection/1},
                          {acceptor_restarts_on_the_same_port, fun acceptor_restarts_on_the_same_port/1},
                          {stops_at_once_with_open_connections, fun stops_at_once_with_open_connections/1}]]}.

%% No IPv6 is no failure; a port that is taken is one.
dual_stack_test_() ->
    Open = fun(Ipv6Result) ->
                   service_discovery_tcp:dual_stack(fun([inet6, {ipv6_v6only, false}]) -> Ipv6Result;
                                                       ([inet]) -> {ok, ipv4}
                                                    end)
           end,
    [?_assertEqual({ok, ipv6}, Open({ok, ipv6})),
     ?_assertEqual({ok, ipv4}, Open({error, eafnosupport})),
     ?_assertEqual({ok, ipv4}, Open({error, eaddrnotavail})),
     ?_assertEqual({error, eaddrinuse}, Open({error, eaddrinuse})),
     ?_assertEqual({error, eacces}, Open({error, eacces}))].

%% Two connections at most; each says hello, then echoes lines.
start() ->
    Level = maps:get(level, logger:get_primary_config()),
    logger:set_primary_config(level, none),
    {ok, Socket} = service_discovery_tcp:listen("test", 0, [{packet, line}]),
    {ok, Port} = inet:port(Socket),
    {ok, Sup} = supervisor:start_link(?MODULE, Socket),
    unlink(Sup),
    {Socket, Port, Sup, Level}.

stop({Socket, _Port, Sup, Level}) ->
    _ = is_process_alive(Sup) andalso gen_server:stop(Sup),
    gen_tcp:close(Socket),
    logger:set_primary_config(level, Level).

init(Socket) ->
    {ok, {#{strategy => rest_for_one},
          service_discovery_tcp:children(#{name => tcp_tests, socket => Socket, max => 2, serve => fun serve/1})}}.

serve(Socket) ->
    ok = gen_tcp:send(Socket, "hello\n"),
    echo(Socket).

echo(Socket) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, ~"crash\n"} -> exit(asked_to);
        {ok, Line} -> ok = gen_tcp:send(Socket, Line), echo(Socket);
        {error, closed} -> gen_tcp:close(Socket)
    end.

connect(Port) ->
    {ok, Client} = gen_tcp:connect({127, 0, 0, 1}, Port, [{active, false}, {packet, line}]),
    Client.

max_bounds_the_open_connections({_, Port, _, _}) ->
    [First, Second, Third] = [connect(Port) || _ <- [1, 2, 3]],
    ?assertEqual({ok, "hello\n"}, gen_tcp:recv(First, 0, 5000)),
    ?assertEqual({ok, "hello\n"}, gen_tcp:recv(Second, 0, 5000)),
    ?assertEqual({error, timeout}, gen_tcp:recv(Third, 0, 50)),
    ok = gen_tcp:close(First),
    ?assertEqual({ok, "hello\n"}, gen_tcp:recv(Third, 0, 5000)).

a_crash_takes_one_connection({_, Port, _, _}) ->
    [First, Second] = [connect(Port) || _ <- [1, 2]],
    [{ok, "hello\n"} = gen_tcp:recv(Client, 0, 5000) || Client <- [First, Second]],
    ok = gen_tcp:send(First, "crash\n"),
    ?assertEqual({error, closed}, gen_tcp:recv(First, 0, 5000)),
    ok = gen_tcp:send(Second, "still here\n"),
    ?assertEqual({ok, "still here\n"}, gen_tcp:recv(Second, 0, 5000)),
    ?assertEqual({ok, "hello\n"}, gen_tcp:recv(connect(Port), 0, 5000)).

acceptor_restarts_on_the_same_port({_, Port, Sup, _}) ->
    {acceptor, Acceptor, _, _} = lists:keyfind(acceptor, 1, supervisor:which_children(Sup)),
    Monitor = monitor(process, Acceptor),
    exit(Acceptor, kill),
    receive {'DOWN', Monitor, _, _, _} -> ok end,
    ?assertEqual({ok, "hello\n"}, gen_tcp:recv(connect(Port), 0, 5000)).

stops_at_once_with_open_connections({_, Port, Sup, _}) ->
    Client = connect(Port),
    {ok, "hello\n"} = gen_tcp:recv(Client, 0, 5000),
    ?assertEqual(ok, gen_server:stop(Sup, shutdown, 1000)),
    ?assertEqual({error, closed}, gen_tcp:recv(Client, 0, 5000)).
