-module(service_discovery_dns_tcp).
-moduledoc "DNS on one TCP connection. The runtime reads and writes the two bytes of length (`{packet, 2}`).".

-export([serve/2]).

-define(IDLE_MS, 10_000).

-spec serve(gen_tcp:socket(), service_discovery_dns_message:zone()) -> ok.
serve(Socket, Zone) ->
    maybe
        {ok, Packet} ?= gen_tcp:recv(Socket, 0, ?IDLE_MS),
        {reply, Reply} ?= service_discovery_dns_message:reply(Packet, tcp, Zone),
        ok ?= gen_tcp:send(Socket, Reply),
        serve(Socket, Zone)
    else
        _ -> gen_tcp:close(Socket)
    end.
