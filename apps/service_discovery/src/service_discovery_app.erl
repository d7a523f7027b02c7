-module(service_discovery_app).
-moduledoc "Starts the registry.".

-behaviour(application).
-behaviour(supervisor).

-export([start/2, stop/1, init/1]).

start(_Type, _Args) ->
    supervisor:start_link({local, service_discovery_sup}, ?MODULE, []).

stop(_State) ->
    ok.

init([]) ->
    {ok, {#{}, [#{id => registry, start => {service_discovery_registry, start_link, []}}]}}.
