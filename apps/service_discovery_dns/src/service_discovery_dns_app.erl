-module(service_discovery_dns_app).
-moduledoc "Answers DNS over UDP and TCP on the port and for the zone of the application's settings `port` and `zone`.".

-behaviour(application).
-behaviour(supervisor).

-export([start/2, stop/1, init/1]).

start(_Type, _Args) ->
    maybe
        {ok, Port} ?= service_discovery_settings:port(service_discovery_dns),
        {ok, Zone} ?= service_discovery_settings:zone(service_discovery_dns),
        {ok, Socket} ?= service_discovery_tcp:listen(["DNS for ", lists:join($., Zone)], Port, [{packet, 2}]),
        case supervisor:start_link({local, service_discovery_dns_sup}, ?MODULE, {Socket, Zone}) of
            {ok, Pid} -> {ok, Pid, Socket};
            {error, _} = Error -> gen_tcp:close(Socket), Error
        end
    end.

stop(Socket) ->
    gen_tcp:close(Socket).

init({Socket, Zone}) ->
    {ok, Port} = inet:port(Socket),     % UDP on the same one, also where the setting was 0
    Tcp = service_discovery_tcp:children(#{name => service_discovery_dns_connections,
                                           socket => Socket,
                                           max => 100,
                                           serve => fun(Client) -> service_discovery_dns_tcp:serve(Client, Zone) end}),
    {ok, {#{strategy => rest_for_one},
          [#{id => udp, start => {service_discovery_dns_udp, start_link, [Port, Zone]}} | Tcp]}}.
