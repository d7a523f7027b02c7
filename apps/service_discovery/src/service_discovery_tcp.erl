-module(service_discovery_tcp).
-moduledoc """
A TCP listener for a supervisor: an acceptor, and a supervisor for the processes that serve one connection each.

At most `max` connections are open; further clients wait in the kernel's queue.
""".

-behaviour(supervisor).

-export([listen/3, dual_stack/1, children/1]).
-export([start_connections/2, start_acceptor/1, acceptor/1, start_connection/2]).
-export([init/1]).

-include_lib("kernel/include/logger.hrl").

-type settings() :: #{name := atom(),                           % registered name of the connections' supervisor
                      socket := gen_tcp:socket(),
                      max := pos_integer(),
                      serve := fun((gen_tcp:socket()) -> term())}.

-doc "Opens the listening socket and logs which port it has. `What` names the server in the log.".
-spec listen(iodata(), inet:port_number(), [gen_tcp:listen_option()]) -> {ok, gen_tcp:socket()} | {error, term()}.
listen(What, Port, Options) ->
    All = [binary, {active, false}, {reuseaddr, true}, {nodelay, true}, {backlog, 1024},
           {send_timeout, 5_000}, {send_timeout_close, true} | Options],
    case dual_stack(fun(Family) -> gen_tcp:listen(Port, Family ++ All) end) of
        {ok, Socket} ->
            {ok, Actual} = inet:port(Socket),
            ?LOG_NOTICE("~s listens on port ~b", [What, Actual]),
            {ok, Socket};
        {error, Reason} ->
            ?LOG_ERROR("~s cannot listen on port ~b: ~s", [What, Port, inet:format_error(Reason)]),
            {error, {listen, Port, Reason}}
    end.

-doc "IPv6 and IPv4 on one socket, or IPv4 alone where there is no IPv6.".
-spec dual_stack(fun(([inet | inet6 | {ipv6_v6only, false}]) -> Result)) -> Result
              when Result :: {ok, term()} | {error, inet:posix()}.
dual_stack(Open) ->
    case Open([inet6, {ipv6_v6only, false}]) of
        {error, Reason} when Reason =/= eaddrinuse, Reason =/= eacces -> Open([inet]);
        Result -> Result
    end.

-doc "For a supervisor whose strategy is rest_for_one.".
-spec children(settings()) -> [supervisor:child_spec()].
children(#{name := Name, serve := Serve} = Settings) ->
    [#{id => connections, type => supervisor, start => {?MODULE, start_connections, [Name, Serve]}},
     #{id => acceptor, start => {?MODULE, start_acceptor, [Settings]}}].

-doc false.
start_connections(Name, Serve) ->
    supervisor:start_link({local, Name}, ?MODULE, Serve).

init(Serve) ->
    {ok, {#{strategy => simple_one_for_one},
          [#{id => connection, restart => temporary, start => {?MODULE, start_connection, [Serve]}}]}}.

-doc false.
start_connection(Serve, Socket) ->
    {ok, proc_lib:spawn_link(fun() -> Serve(Socket) end)}.

-doc false.
start_acceptor(Settings) ->
    {ok, proc_lib:spawn_link(?MODULE, acceptor, [Settings])}.

-doc false.
acceptor(Settings) ->
    accept(Settings, 0).

accept(#{max := Max} = Settings, Open) when Open >= Max ->
    receive {'DOWN', _, process, _, _} -> accept(Settings, Open - 1) end;
accept(#{socket := Listening, name := Connections} = Settings, Open) ->
    case gen_tcp:accept(Listening) of
        {ok, Socket} ->
            {ok, Pid} = supervisor:start_child(Connections, [Socket]),
            _ = monitor(process, Pid),
            %% It may be served and over by now; then the socket is still ours to close.
            _ = [gen_tcp:close(Socket) || ok =/= gen_tcp:controlling_process(Socket, Pid)],
            accept(Settings, ended(Open + 1));
        {error, closed} ->
            exit(listening_socket_closed);
        {error, Reason} ->              % econnaborted, or no file descriptor left: passes
            ?LOG_WARNING("~s: accept failed: ~s", [Connections, inet:format_error(Reason)]),
            receive after 100 -> accept(Settings, Open) end
    end.

%% Takes account of the connections that ended meanwhile.
ended(Open) ->
    receive {'DOWN', _, process, _, _} -> ended(Open - 1) after 0 -> Open end.
