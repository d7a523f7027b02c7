-module(service_discovery_settings).
-moduledoc "Reads settings, which mostly come from the environment, and logs which one cannot be used.".

-export([port/1, zone/1]).

-include_lib("kernel/include/logger.hrl").

-doc "The setting `port` of an application. 0 takes a free port.".
-spec port(atom()) -> {ok, inet:port_number()} | {error, term()}.
port(App) ->
    case application:get_env(App, port) of
        {ok, Port} when is_integer(Port), Port >= 0, Port =< 65535 -> {ok, Port};
        {ok, Other} -> unusable(App, port, Other, "a number from 0 to 65535")
    end.

-doc "The setting `zone` of an application, as labels in lower case.".
-spec zone(atom()) -> {ok, [binary()]} | {error, term()}.
zone(App) ->
    {ok, Zone} = application:get_env(App, zone),
    %% two labels of 63 are put before it, and a whole name has at most 255 bytes
    case re:run(Zone, "\\A[a-z0-9_-]{1,63}(\\.[a-z0-9_-]{1,63})*\\.?\\z", [caseless, {capture, none}]) of
        match when length(Zone) =< 100 ->
            {ok, binary:split(list_to_binary(string:lowercase(Zone)), ~".", [global, trim])};
        _ ->
            unusable(App, zone, Zone, "a domain name of at most 100 characters")
    end.

unusable(App, Name, Value, Wanted) ->
    ?LOG_ERROR("setting ~s of ~s is ~tp, not ~s", [Name, App, Value, Wanted]),
    {error, {unusable_setting, App, Name, Value}}.
