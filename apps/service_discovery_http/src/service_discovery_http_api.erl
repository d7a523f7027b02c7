-module(service_discovery_http_api).
-moduledoc """
The paths of the HTTP interface, and what they do. JSON in, JSON out; `{"error": "..."}` says what was wrong.

    GET    /healthz
    GET    /services
    GET    /services/SERVICE
    PUT    /services/SERVICE
    DELETE /services/SERVICE
    GET    /services/SERVICE/ports
    PUT    /services/SERVICE/ports                  {"http": {"port": 8000, "protocol": "tcp"}}
    GET    /services/SERVICE/endpoints
    GET    /services/SERVICE/endpoints/ENDPOINT
    PUT    /services/SERVICE/endpoints/ENDPOINT     {"ip": "10.0.0.7"}
    DELETE /services/SERVICE/endpoints/ENDPOINT

A PUT answers 201 when it made something, else 200, and shows what there is now. `protocol` is tcp unless given.
""".

-export([handle/3]).

-type answer() :: {Status :: 200..599, Headers :: [{iodata(), iodata()}], json:encode_value() | none}.

-doc "`Body` is none where the request had no Content-Length.".
-spec handle(atom() | binary(), binary(), binary() | none) -> answer().
handle('HEAD', Path, Body) ->
    handle('GET', Path, Body);          % the connection leaves the body out
handle(Method, Path, Body) ->
    Resource = binary:split(Path, ~"/", [global]),
    Methods = methods(Resource),
    case lists:member(Method, Methods) of
        true -> answer(do(Method, Resource, Body));
        false when Methods =:= [] -> answer({error, unknown_path});
        false ->
            Allow = lists:join(", ", [atom_to_list(M) || M <- ['HEAD' | Methods]]),
            {405, [{"allow", Allow}], error_json(["only ", Allow, " here"])}
    end.

methods([~"", ~"healthz"]) -> ['GET'];
methods([~"", ~"services"]) -> ['GET'];
methods([~"", ~"services", _]) -> ['GET', 'PUT', 'DELETE'];
methods([~"", ~"services", _, ~"ports"]) -> ['GET', 'PUT'];
methods([~"", ~"services", _, ~"endpoints"]) -> ['GET'];
methods([~"", ~"services", _, ~"endpoints", _]) -> ['GET', 'PUT', 'DELETE'];
methods(_) -> [].

%% Each gives a status and what to show, or {ok, deleted}, or an error.
do('GET', [_, ~"healthz"], _) ->
    {200, #{~"status" => ~"ok", ~"services" => length(service_discovery:names())}};
do('GET', [_, _], _) ->
    {200, #{~"services" => service_discovery:names()}};
do('GET', [_, _, Name | Part], _) ->
    show(200, Name, Part);
do('PUT', [_, _, Name], Body) ->
    maybe
        {ok, Json} ?= object(Body, #{}),
        ok ?= members(Json, [], []),
        {ok, Done} ?= service_discovery:create(Name),
        show(status(Done), Name, [])
    end;
do('PUT', [_, _, Name | [~"ports"] = Part], Body) ->
    maybe
        {ok, Json} ?= object(Body, none),
        {ok, Ports} ?= ports(maps:to_list(Json), #{}),
        {ok, Done} ?= service_discovery:set_ports(Name, Ports),
        show(status(Done), Name, Part)
    end;
do('PUT', [_, _, Name | [~"endpoints", Endpoint] = Part], Body) ->
    maybe
        {ok, Json} ?= object(Body, none),
        ok ?= members(Json, [~"ip"], []),
        {ok, IP} ?= ip(map_get(~"ip", Json)),
        {ok, Done} ?= service_discovery:register(Name, Endpoint, IP),
        show(status(Done), Name, Part)
    end;
do('DELETE', [_, _, Name], _) ->
    service_discovery:delete(Name);
do('DELETE', [_, _, Name, _, Endpoint], _) ->
    service_discovery:unregister(Name, Endpoint).

answer({Status, Json}) when is_integer(Status) -> {Status, [], Json};
answer({ok, deleted}) -> {204, [], none};
answer({error, Reason}) -> {error_status(Reason), [], error_json(error_text(Reason))}.

status(created) -> 201;
status(_) -> 200.

error_status(unknown_path) -> 404;
error_status(unknown_service) -> 404;
error_status(unknown_endpoint) -> 404;
error_status(too_many_endpoints) -> 409;
error_status(no_body) -> 411;
error_status(_) -> 400.

error_json(Text) -> #{~"error" => iolist_to_binary(Text)}.

error_text(unknown_path) -> "nothing here; /services is";
error_text(no_body) -> "this needs a JSON object as its body, and a Content-Length";
error_text(not_json) -> "the body is not JSON";
error_text(not_an_object) -> "the body is not a JSON object";
error_text({not_an_object, Name}) -> [Name, " is not a JSON object"];
error_text({missing, Member}) -> ["member ", Member, " is missing"];
error_text({unknown, Member}) -> ["unknown member ", Member];
error_text(Reason) -> service_discovery:format_error(Reason).

%% From terms to JSON

show(Status, Name, Part) ->
    maybe
        {ok, #{ports := Ports, endpoints := Endpoints}} ?= service_discovery:lookup(Name),
        show(Status, Part, Name, maps:map(fun port_json/2, Ports), maps:map(fun endpoint_json/2, Endpoints))
    end.

show(Status, [], Name, Ports, Endpoints) ->
    {Status, #{~"name" => Name, ~"ports" => Ports, ~"endpoints" => Endpoints}};
show(Status, [~"ports"], _Name, Ports, _Endpoints) ->
    {Status, Ports};
show(Status, [~"endpoints"], _Name, _Ports, Endpoints) ->
    {Status, Endpoints};
show(Status, [~"endpoints", Endpoint], _Name, _Ports, Endpoints) ->
    case Endpoints of
        #{Endpoint := Json} -> {Status, Json};
        #{} -> {error, unknown_endpoint}
    end.

port_json(_Name, #{port := Port, protocol := Protocol}) ->
    #{~"port" => Port, ~"protocol" => atom_to_binary(Protocol)}.

endpoint_json(_Name, IP) ->
    #{~"ip" => list_to_binary(inet:ntoa(IP))}.

%% From JSON to terms; service_discovery checks the values

object(none, none) -> {error, no_body};
object(Empty, Default) when Default =/= none, (Empty =:= none orelse Empty =:= <<>>) -> {ok, Default};
object(Body, _Default) ->
    try json:decode(Body) of
        #{} = Json -> {ok, Json};
        _ -> {error, not_an_object}
    catch
        error:_ -> {error, not_json}
    end.

members(Json, Required, Optional) ->
    case {Required -- maps:keys(Json), maps:keys(Json) -- (Required ++ Optional)} of
        {[], []} -> ok;
        {[Missing | _], _} -> {error, {missing, Missing}};
        {[], [Unknown | _]} -> {error, {unknown, Unknown}}
    end.

ports([], Ports) ->
    {ok, Ports};
ports([{Name, #{} = Json} | Rest], Ports) ->
    maybe
        ok ?= members(Json, [~"port"], [~"protocol"]),
        Port = #{port => map_get(~"port", Json), protocol => protocol(maps:get(~"protocol", Json, ~"tcp"))},
        ports(Rest, Ports#{Name => Port})
    end;
ports([{Name, _} | _], _Ports) ->
    {error, {not_an_object, Name}}.

protocol(~"tcp") -> tcp;
protocol(~"udp") -> udp;
protocol(Other) -> Other.

ip(Text) when is_binary(Text) ->
    %% the parser would drop a zone, as in fe80::1%eth0, without a word
    case binary:match(Text, ~"%") =:= nomatch andalso inet:parse_strict_address(binary_to_list(Text)) of
        {ok, IP} -> {ok, IP};
        _ -> {error, bad_ip}
    end;
ip(_) ->
    {error, bad_ip}.
