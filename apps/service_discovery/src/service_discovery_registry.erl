-module(service_discovery_registry).
-moduledoc "Owns the table of services. Changes go through this process one after the other; readers look into the table.".

-behaviour(gen_server).

-export([start_link/0, change/2, names/0, lookup/1]).
-export([apply_change/2]).              % for tests
-export([init/1, handle_call/3, handle_cast/2]).

-type change() :: create | delete
                | {set_ports, service_discovery:ports()}
                | {register, service_discovery:name(), inet:ip_address()}
                | {unregister, service_discovery:name()}.
-type done() :: created | replaced | unchanged | deleted.

%% So many, with the longest names and IPv6, still fit into one DNS answer over TCP.
-define(MAX_ENDPOINTS, 400).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

-spec change(service_discovery:name(), change()) -> {ok, done()} | {error, service_discovery:reason()}.
change(Name, Change) ->
    gen_server:call(?MODULE, {change, Name, Change}).

-spec names() -> [service_discovery:name()].
names() ->
    lists:sort(ets:select(?MODULE, [{{'$1', '_'}, [], ['$1']}])).

-spec lookup(service_discovery:name()) -> {ok, service_discovery:service()} | {error, unknown_service}.
lookup(Name) ->
    case ets:lookup(?MODULE, Name) of
        [{_, Service}] -> {ok, Service};
        [] -> {error, unknown_service}
    end.

init([]) ->
    ?MODULE = ets:new(?MODULE, [named_table, protected, {read_concurrency, true}]),
    {ok, none}.

handle_call({change, Name, Change}, _From, State) ->
    case apply_change(Change, lookup(Name)) of
        {Done, Service} ->
            ets:insert(?MODULE, {Name, Service}),
            {reply, {ok, Done}, State};
        deleted ->
            ets:delete(?MODULE, Name),
            {reply, {ok, deleted}, State};
        Other ->
            {reply, Other, State}
    end.

handle_cast(_Message, State) ->
    {noreply, State}.

-doc false.
apply_change(create, {error, unknown_service}) ->
    {created, #{ports => #{}, endpoints => #{}}};
apply_change(create, {ok, _Service}) ->
    {ok, unchanged};
apply_change(_Change, {error, _} = Error) ->
    Error;
apply_change(delete, {ok, _Service}) ->
    deleted;
apply_change({set_ports, Ports}, {ok, #{ports := Ports}}) ->
    {ok, unchanged};
apply_change({set_ports, Ports}, {ok, Service}) ->
    {replaced, Service#{ports := Ports}};
apply_change({register, Name, IP}, {ok, #{endpoints := Endpoints} = Service}) ->
    case Endpoints of
        #{Name := IP} -> {ok, unchanged};
        #{Name := _} -> {replaced, Service#{endpoints := Endpoints#{Name := IP}}};
        #{} when map_size(Endpoints) >= ?MAX_ENDPOINTS -> {error, too_many_endpoints};
        #{} -> {created, Service#{endpoints := Endpoints#{Name => IP}}}
    end;
apply_change({unregister, Name}, {ok, #{endpoints := Endpoints} = Service}) ->
    case maps:take(Name, Endpoints) of
        {_IP, Rest} -> {deleted, Service#{endpoints := Rest}};
        error -> {error, unknown_endpoint}
    end.
