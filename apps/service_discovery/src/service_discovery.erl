-module(service_discovery).
-moduledoc """
What the service knows: services, each with named ports and endpoints. Nothing is kept on disk.

    1> service_discovery:create(~"shop").
    {ok,created}
    2> service_discovery:set_ports(~"shop", #{~"http" => #{port => 8000, protocol => tcp}}).
    {ok,replaced}
    3> service_discovery:register(~"shop", ~"web-1", {10, 0, 0, 7}).
    {ok,created}

All names are labels of DNS names: 1 to 63 of a-z, 0-9 and hyphen, no hyphen at either end; a port's name has at most
15 (RFC 6335).
""".

-export([create/1, delete/1, names/0, lookup/1, set_ports/2, register/3, unregister/2, format_error/1]).
-export_type([name/0, ports/0, service/0, reason/0]).

-include_lib("kernel/include/logger.hrl").

-type name() :: binary().
-type ports() :: #{name() => #{port := inet:port_number(), protocol := tcp | udp}}.
-type service() :: #{ports := ports(), endpoints := #{name() => inet:ip_address()}}.
-type reason() :: bad_name | bad_port_name | {bad_port | bad_protocol, name()} | bad_ip
                | unknown_service | unknown_endpoint | too_many_endpoints.

-doc "Makes a service without ports and endpoints, unless there is one of that name.".
-spec create(name()) -> {ok, created | unchanged} | {error, reason()}.
create(Name) ->
    maybe
        ok ?= check(is_label(Name, 63), bad_name),
        change(Name, create)
    end.

-doc "Removes a service with all that was registered for it.".
-spec delete(name()) -> {ok, deleted} | {error, reason()}.
delete(Name) ->
    change(Name, delete).

-doc "The names of all services, sorted.".
-spec names() -> [name()].
names() ->
    service_discovery_registry:names().

-spec lookup(name()) -> {ok, service()} | {error, unknown_service}.
lookup(Name) ->
    service_discovery_registry:lookup(Name).

-doc "Sets a service's ports, in place of those it had.".
-spec set_ports(name(), #{name() => #{port := term(), protocol := term()}}) ->
          {ok, replaced | unchanged} | {error, reason()}.
set_ports(Name, Ports) ->
    maybe
        ok ?= check_ports(maps:to_list(Ports)),
        change(Name, {set_ports, Ports})
    end.

-doc "Registers an endpoint of a service, or gives it another address.".
-spec register(name(), name(), inet:ip_address()) -> {ok, created | replaced | unchanged} | {error, reason()}.
register(Name, Endpoint, IP) ->
    maybe
        ok ?= check(is_label(Endpoint, 63), bad_name),
        ok ?= check(inet:is_ip_address(IP), bad_ip),
        change(Name, {register, Endpoint, IP})
    end.

-spec unregister(name(), name()) -> {ok, deleted} | {error, reason()}.
unregister(Name, Endpoint) ->
    change(Name, {unregister, Endpoint}).

-doc "One line for people.".
-spec format_error(reason()) -> iolist().
format_error(bad_name) -> "a name is 1 to 63 of a-z, 0-9 and hyphen, with no hyphen at either end";
format_error(bad_port_name) -> "a port's name is 1 to 15 of a-z, 0-9 and hyphen, with no hyphen at either end";
format_error({bad_port, Name}) -> [Name, ": a port is a number from 1 to 65535"];
format_error({bad_protocol, Name}) -> [Name, ": a protocol is tcp or udp"];
format_error(bad_ip) -> "ip is not an IPv4 or IPv6 address";
format_error(unknown_service) -> "no service of that name";
format_error(unknown_endpoint) -> "no endpoint of that name";
format_error(too_many_endpoints) -> "the service has as many endpoints as fit into a DNS answer".

change(Name, Change) ->
    Result = service_discovery_registry:change(Name, Change),
    log(Result, Name, Change),
    Result.

log({ok, unchanged}, _Name, _Change) -> ok;
log({ok, Done}, Name, {register, Endpoint, IP}) ->
    ?LOG_INFO("~s: endpoint ~s ~s, at ~s", [Name, Endpoint, Done, inet:ntoa(IP)]);
log({ok, Done}, Name, {unregister, Endpoint}) -> ?LOG_INFO("~s: endpoint ~s ~s", [Name, Endpoint, Done]);
log({ok, Done}, Name, {set_ports, Ports}) -> ?LOG_INFO("~s: ports ~s, now ~b", [Name, Done, map_size(Ports)]);
log({ok, Done}, Name, _CreateOrDelete) -> ?LOG_INFO("~s ~s", [Name, Done]);
log({error, _Reason}, _Name, _Change) -> ok.

check_ports([]) ->
    ok;
check_ports([{Name, #{port := Port, protocol := Protocol}} | Ports]) ->
    maybe
        ok ?= check(is_label(Name, 15), bad_port_name),
        ok ?= check(is_integer(Port) andalso Port >= 1 andalso Port =< 65535, {bad_port, Name}),
        ok ?= check(lists:member(Protocol, [tcp, udp]), {bad_protocol, Name}),
        check_ports(Ports)
    end.

is_label(Name, Max) ->
    is_binary(Name) andalso byte_size(Name) =< Max
        andalso re:run(Name, "\\A[a-z0-9]([a-z0-9-]*[a-z0-9])?\\z", [{capture, none}]) =:= match.

check(true, _Reason) -> ok;
check(false, Reason) -> {error, Reason}.
