-module(service_discovery_registry).
-moduledoc "Owns the table of services: changes go through this process one by one, readers look into the table.".

-behaviour(gen_server).

-export([start_link/0, change/2, names/0, lookup/1]).
-export([decide/2]).                    % for tests
-export([init/1, handle_call/3, handle_cast/2]).

-type change() :: create | delete
                | {set_ports, service_discovery:ports()}
                | {register, service_discovery:name(), inet:ip_address()}
                | {unregister, service_discovery:name()}.
-type done() :: created | replaced | deleted.

%% So many, with the longest names and IPv6 addresses, still fit into one DNS answer over TCP.
-define(MAX_ENDPOINTS, 400).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

-spec change(service_discovery:name(), change()) -> {ok, done() | unchanged} | {error, service_discovery:reason()}.
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
    Reply = case decide(Change, lookup(Name)) of
                {put, Service, Done} -> ets:insert(?MODULE, {Name, Service}), {ok, Done};
                delete -> ets:delete(?MODULE, Name), {ok, deleted};
                unchanged -> {ok, unchanged};
                {error, _} = Error -> Error
            end,
    {reply, Reply, State}.

handle_cast(_Message, State) ->
    {noreply, State}.

-doc "What a change does to a service that `lookup/1` gave.".
-spec decide(change(), {ok, Service} | {error, unknown_service}) ->
          {put, Service, done()} | delete | unchanged | {error, service_discovery:reason()}
              when Service :: service_discovery:service().
decide(create, {error, unknown_service}) ->
    {put, #{ports => #{}, endpoints => #{}}, created};
decide(create, {ok, _Service}) ->
    unchanged;
decide(_Change, {error, _} = Error) ->
    Error;
decide(delete, {ok, _Service}) ->
    delete;
decide({set_ports, Ports}, {ok, #{ports := Ports}}) ->
    unchanged;
decide({set_ports, Ports}, {ok, Service}) ->
    {put, Service#{ports := Ports}, replaced};
decide({register, Name, IP}, {ok, #{endpoints := Endpoints} = Service}) ->
    case Endpoints of
        #{Name := IP} -> unchanged;
        #{Name := _} -> {put, Service#{endpoints := Endpoints#{Name := IP}}, replaced};
        #{} when map_size(Endpoints) >= ?MAX_ENDPOINTS -> {error, too_many_endpoints};
        #{} -> {put, Service#{endpoints := Endpoints#{Name => IP}}, created}
    end;
decide({unregister, Name}, {ok, #{endpoints := Endpoints} = Service}) ->
    case maps:take(Name, Endpoints) of
        {_IP, Rest} -> {put, Service#{endpoints := Rest}, deleted};
        error -> {error, unknown_endpoint}
    end.
