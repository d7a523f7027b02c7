-module(service_discovery_settings_tests).

-include_lib("eunit/include/eunit.hrl").

settings_test_() ->
    {setup, fun() -> logger:set_primary_config(level, none) end,
     fun(_) -> logger:set_primary_config(level, notice) end,
     [?_assertEqual({ok, Port}, port(Port)) || Port <- [0, 1, 8080, 65535]]
     ++ [?_assertMatch({error, {unusable_setting, kernel, port, Port}}, port(Port))
         || Port <- [-1, 65536, "8080", abc, 80.0]]
     ++ [?_assertEqual({ok, Labels}, zone(Zone))
         || {Zone, Labels} <- [{"sd.internal", [~"sd", ~"internal"]}, {"SD.Internal.", [~"sd", ~"internal"]},
                               {"x", [~"x"]}]]
     ++ [?_assertMatch({error, {unusable_setting, kernel, zone, Zone}}, zone(Zone))
         || Zone <- ["", ".", ".x", "a..b", "a b", "a/b", lists:duplicate(64, $a),
                     lists:append(lists:duplicate(51, "a."))]]}.

port(Value) -> with(port, Value, fun service_discovery_settings:port/1).

zone(Value) -> with(zone, Value, fun service_discovery_settings:zone/1).

%% kernel stands for any application that is loaded.
with(Key, Value, Read) ->
    application:set_env(kernel, Key, Value),
    try Read(kernel) after application:unset_env(kernel, Key) end.
