-module(service_discovery_dns_message).
-moduledoc """
From a DNS query to its answer.

    SERVICE.ZONE                    A, AAAA     the addresses of all endpoints
    ENDPOINT.SERVICE.ZONE           A, AAAA     that of one
    _PORT._PROTOCOL.SERVICE.ZONE    SRV         port and name of each endpoint, with their addresses beside it

A name that is not there gets NXDOMAIN, one without that type an empty answer, both with the zone's SOA; a name outside
the zone gets REFUSED. What is no query gets no answer.

OTP's `inet_dns` encodes and decodes. Its header file with the records is in no package of Debian, hence its functions.
""".

-export([reply/3]).
-export_type([zone/0]).

-include_lib("kernel/include/logger.hrl").

-type zone() :: [binary()].             % labels in lower case

-define(FORMERR, 1).
-define(SERVFAIL, 2).
-define(NXDOMAIN, 3).
-define(NOTIMP, 4).
-define(REFUSED, 5).
-define(BADVERS, 16).                   % its upper bits stand in the OPT record

-define(TTL, 5).                        % seconds; also for names that are not there
-define(UDP_SIZE, 1232).                % bytes that pass everywhere unfragmented (DNS flag day 2020)

-spec reply(binary(), udp | tcp, zone()) -> {reply, iodata()} | ignore.
reply(<<Id:16, 0:1, Opcode:4, _:2, RD:1, _/bitstring>> = Packet, Transport, Zone) when byte_size(Packet) >= 12 ->
    try
        0 =:= Opcode orelse throw(?NOTIMP),
        answer(parse(Packet), Transport, Zone)
    catch
        throw:RCode ->
            {reply, header(Id, Opcode, RD, RCode)};
        Class:Reason:Stack ->
            ?LOG_ERROR("answering a DNS query failed: ~tp", [{Class, Reason, Stack}]),
            {reply, header(Id, Opcode, RD, ?SERVFAIL)}
    end;
reply(_AnswerOrGarbage, _Transport, _Zone) ->
    ignore.

%% An answer of just a header, to a query that cannot be repeated in it.
header(Id, Opcode, RD, RCode) ->
    <<Id:16, 1:1, Opcode:4, 0:2, RD:1, 0:4, RCode:4, 0:64>>.

parse(Packet) ->
    %% inet_dns expects some of what arrives to be well formed, and fails with other things than {error, _}
    Decoded = try inet_dns:decode(Packet) catch error:_ -> {error, formerr} end,
    case Decoded of
        {ok, Message} ->
            case inet_dns:msg(Message, qdlist) of
                [Question] ->
                    #{header => inet_dns:msg(Message, header), question => Question,
                      edns => [RR || RR <- inet_dns:msg(Message, arlist), inet_dns:rr(RR, type) =:= opt]};
                _ ->
                    throw(?FORMERR)
            end;
        {error, _} ->
            throw(?FORMERR)
    end.

answer(#{question := Question, edns := Edns} = Query, Transport, Zone) ->
    [Domain, Type, Class] = inet_dns:dns_query(Question, [domain, type, class]),
    {RCode, Answer, Authority, Additional} =
        case [Opt || Opt <- Edns, inet_dns:rr(Opt, version) > 0] of
            [] -> find(labels(Domain), Domain, Type, Class, Zone);
            [_] -> {?BADVERS, [], [], []}
        end,
    Encode = fun(Truncated, Sections) -> encode(Query, RCode, Truncated, Sections) end,
    fit(max_size(Transport, Edns),
        [fun() -> Encode(false, {Answer, Authority, Additional}) end,
         fun() -> Encode(false, {Answer, Authority, []}) end,
         fun() -> Encode(true, {[], [], []}) end]).

%% The first that is small enough; the last one always is.
fit(_Size, [Last]) ->
    {reply, Last()};
fit(Size, [Encode | Rest]) ->
    case Encode() of
        Reply when byte_size(Reply) =< Size -> {reply, Reply};
        _ -> fit(Size, Rest)
    end.

max_size(tcp, _Edns) -> 65_535;
max_size(udp, []) -> 512;
max_size(udp, [Opt | _]) -> min(?UDP_SIZE, max(512, inet_dns:rr(Opt, udp_payload_size))).

encode(#{header := Header, question := Question, edns := Edns}, RCode, Truncated, {Answer, Authority, Additional}) ->
    Opt = [inet_dns:make_rr([{type, opt}, {udp_payload_size, ?UDP_SIZE}, {ext_rcode, RCode bsr 4}])
           || Edns =/= []],
    inet_dns:encode(
      inet_dns:make_msg(
        [{header, inet_dns:make_header([{id, inet_dns:header(Header, id)}, {qr, true}, {opcode, 'query'},
                                        {aa, RCode =:= 0 orelse RCode =:= ?NXDOMAIN}, {tc, Truncated},
                                        {rd, inet_dns:header(Header, rd)}, {rcode, RCode band 15}])},
         {qdlist, [Question]}, {anlist, Answer}, {nslist, Authority}, {arlist, Additional ++ Opt}])).

%% The labels of a name in lower case. inet_dns gives it as a string, with \. for a dot that is part of a label. No name
%% here has one: the backslash stays, and the label matches nothing.
labels(".") -> [];
labels(Domain) -> labels(Domain, <<>>).

labels([$\\, C | Rest], Label) -> labels(Rest, <<Label/binary, $\\, C>>);
labels([$. | Rest], Label) -> [Label | labels(Rest, <<>>)];
labels([C | Rest], Label) when C >= $A, C =< $Z -> labels(Rest, <<Label/binary, (C + 32)>>);
labels([C | Rest], Label) -> labels(Rest, <<Label/binary, C>>);
labels([], Label) -> [Label].

find(Labels, Domain, Type, Class, Zone) ->
    Below = length(Labels) - length(Zone),
    case Below >= 0 andalso lists:split(Below, Labels) of
        {Name, Zone} when Class =:= in orelse Class =:= any, Type =/= axfr, Type =/= ixfr ->
            in_zone(records(Name, Zone), Domain, Type, Zone);
        _ ->
            {?REFUSED, [], [], []}
    end.

in_zone(nothing, _Domain, _Type, Zone) ->
    {?NXDOMAIN, [], [soa(Zone)], []};
in_zone({Records, Additional}, Domain, Type, Zone) ->
    case [rr(Domain, T, Data) || {T, Data} <- Records, T =:= Type orelse Type =:= any] of
        [] -> {0, [], [soa(Zone)], []};
        Answer -> {0, Answer, [], Additional}
    end.

%% What there is at a name: its records, and what to send along.
records([], Zone) ->
    {[{soa, soa_data(Zone)}], []};
records(Name, Zone) ->
    case service_discovery:lookup(lists:last(Name)) of
        {ok, Service} -> service_records(Name, Service, Zone);
        {error, unknown_service} -> nothing
    end.

service_records([_Service], #{endpoints := Endpoints}, _Zone) ->
    {[address(IP) || IP <- maps:values(Endpoints)], []};
service_records([<<$_, Protocol/binary>>, _Service], #{ports := Ports}, _Zone) ->
    %% nothing at this name, but there are names below it (RFC 8020)
    case [P || #{protocol := P} <- maps:values(Ports), atom_to_binary(P) =:= Protocol] of
        [] -> nothing;
        _ -> {[], []}
    end;
service_records([Endpoint, _Service], #{endpoints := Endpoints}, _Zone) ->
    case Endpoints of
        #{Endpoint := IP} -> {[address(IP)], []};
        #{} -> nothing
    end;
service_records([<<$_, Port/binary>>, <<$_, Protocol/binary>>, Service],
                #{ports := Ports, endpoints := Endpoints}, Zone) ->
    case Ports of
        #{Port := #{port := Number, protocol := P}} when P =:= tcp, Protocol =:= ~"tcp";
                                                         P =:= udp, Protocol =:= ~"udp" ->
            Targets = [{name([Endpoint, Service | Zone]), address(IP)} || Endpoint := IP <- Endpoints],
            {[{srv, {0, 0, Number, Target}} || {Target, _} <- Targets],
             [rr(Target, Type, Data) || {Target, {Type, Data}} <- Targets]};
        #{} ->
            nothing
    end;
service_records(_Name, _Service, _Zone) ->
    nothing.

address(IP) when tuple_size(IP) =:= 4 -> {a, IP};
address(IP) -> {aaaa, IP}.

soa(Zone) ->
    rr(name(Zone), soa, soa_data(Zone)).

%% The zone has no name server of a name of its own: the zone's name stands for it. Nobody transfers it, so its serial
%% number and times mean nothing, but for the last: how long to remember that a name is not there.
soa_data(Zone) ->
    {name(Zone), "hostmaster." ++ name(Zone), 1, 3600, 600, 86_400, ?TTL}.

rr(Domain, Type, Data) ->
    inet_dns:make_rr([{domain, Domain}, {type, Type}, {class, in}, {ttl, ?TTL}, {data, Data}]).

name(Labels) ->
    binary_to_list(iolist_to_binary(lists:join($., Labels))).
