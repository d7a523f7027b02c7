-module(service_discovery_http_app).
-moduledoc "Listens for HTTP on the port of the application's setting `port`.".

-behaviour(application).
-behaviour(supervisor).

-export([start/2, stop/1, init/1]).

%% The socket belongs to the process that runs this, which lives as long as the application: an acceptor that is
%% restarted goes on with the same one.
start(_Type, _Args) ->
    maybe
        {ok, Port} ?= service_discovery_settings:port(service_discovery_http),
        {ok, Socket} ?= service_discovery_tcp:listen("HTTP", Port, []),
        case supervisor:start_link({local, service_discovery_http_sup}, ?MODULE, Socket) of
            {ok, Pid} -> {ok, Pid, Socket};
            {error, _} = Error -> gen_tcp:close(Socket), Error
        end
    end.

stop(Socket) ->
    gen_tcp:close(Socket).

init(Socket) ->
    {ok, {#{strategy => rest_for_one},
          service_discovery_tcp:children(#{name => service_discovery_http_connections,
                                           socket => Socket,
                                           max => 1000,
                                           serve => fun service_discovery_http_connection:serve/1})}}.
