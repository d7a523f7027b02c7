-module(service_discovery_dns_udp).
-moduledoc "DNS over UDP. One process answers all: an answer takes a look into a table and no waiting.".

-behaviour(gen_server).

-export([start_link/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-include_lib("kernel/include/logger.hrl").

-define(ACTIVE, 100).                   % packets until the socket asks to be woken again

-spec start_link(inet:port_number(), service_discovery_dns_message:zone()) -> gen_server:start_ret().
start_link(Port, Zone) ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, {Port, Zone}, []).

init({Port, Zone}) ->
    Open = fun(Family) -> gen_udp:open(Port, [binary, {active, ?ACTIVE} | Family]) end,
    case service_discovery_tcp:dual_stack(Open) of
        {ok, _Socket} ->
            {ok, Zone};
        {error, Reason} ->
            ?LOG_ERROR("DNS cannot use UDP port ~b: ~s", [Port, inet:format_error(Reason)]),
            {stop, {udp, Port, Reason}}
    end.

handle_info({udp, Socket, IP, Port, Packet}, Zone) ->
    _ = case service_discovery_dns_message:reply(Packet, udp, Zone) of
            {reply, Reply} -> gen_udp:send(Socket, IP, Port, Reply);
            ignore -> ok
        end,
    {noreply, Zone};
handle_info({udp_passive, Socket}, Zone) ->
    ok = inet:setopts(Socket, [{active, ?ACTIVE}]),
    {noreply, Zone};
handle_info(_Message, Zone) ->
    {noreply, Zone}.

handle_call(_Request, _From, Zone) ->
    {reply, ignored, Zone}.

handle_cast(_Message, Zone) ->
    {noreply, Zone}.
