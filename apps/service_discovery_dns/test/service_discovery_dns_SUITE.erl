-module(service_discovery_dns_SUITE).
-moduledoc "Asks a real server on a free port, with OTP's resolver and with packets made by hand.".

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, init_per_suite/1, end_per_suite/1, init_per_group/2, end_per_group/2,
         init_per_testcase/2, end_per_testcase/2]).
-export([addresses/1, srv/1, case_does_not_matter/1, no_such_name/1, no_such_type/1, deleted/1, outside_the_zone/1,
         apex/1, edns/1, any_type/1, other_classes/1, refused_transfers/1, opcodes/1, several_questions/1,
         answers_get_no_answer/1, large_answers/1, largest_answer/1, garbage/1, damaged_queries/1, garbage_over_tcp/1,
         several_over_one_connection/1, ipv6/1, while_registering/1, port_in_use/1, unusable_zone/1]).

all() ->
    [{group, udp}, {group, tcp},
     edns, any_type, other_classes, refused_transfers, opcodes, several_questions, answers_get_no_answer,
     large_answers, largest_answer, garbage, damaged_queries, garbage_over_tcp, several_over_one_connection, ipv6,
     while_registering, port_in_use, unusable_zone].

groups() ->
    Cases = [addresses, srv, case_does_not_matter, no_such_name, no_such_type, deleted, outside_the_zone, apex],
    [{udp, [], Cases}, {tcp, [], Cases}].

init_per_suite(Config) ->
    _ = application:load(service_discovery_dns),
    Config.

end_per_suite(_Config) ->
    application:unload(service_discovery_dns).

init_per_group(Transport, Config) -> [{transport, Transport} | Config].

end_per_group(_Transport, _Config) -> ok.

init_per_testcase(_Case, Config) ->
    ok = application:set_env(service_discovery_dns, port, 0),
    ok = application:set_env(service_discovery_dns, zone, "SD.test."),
    {ok, _} = application:ensure_all_started(service_discovery_dns),
    {ok, #{start := {_, _, [#{socket := Socket}]}}} = supervisor:get_childspec(service_discovery_dns_sup, acceptor),
    {ok, Port} = inet:port(Socket),
    {ok, _} = service_discovery:create(~"shop"),
    {ok, _} = service_discovery:set_ports(~"shop", #{~"http" => #{port => 8000, protocol => tcp},
                                                     ~"dns" => #{port => 53, protocol => udp}}),
    {ok, _} = service_discovery:register(~"shop", ~"web-1", {10, 0, 0, 7}),
    {ok, _} = service_discovery:register(~"shop", ~"web-2", {10, 0, 0, 8}),
    {ok, _} = service_discovery:register(~"shop", ~"web-3", {16#fd00, 0, 0, 0, 0, 0, 0, 7}),
    {ok, _} = service_discovery:create(~"empty"),
    [{port, Port} | Config].

end_per_testcase(_Case, _Config) ->
    _ = application:stop(service_discovery_dns),
    application:stop(service_discovery).

%% Cases

addresses(Config) ->
    ?assertEqual([{10, 0, 0, 7}, {10, 0, 0, 8}], answers(Config, "shop.sd.test", a)),
    ?assertEqual([{16#fd00, 0, 0, 0, 0, 0, 0, 7}], answers(Config, "shop.sd.test", aaaa)),
    ?assertEqual([{10, 0, 0, 8}], answers(Config, "web-2.shop.sd.test", a)),
    ?assertEqual([{16#fd00, 0, 0, 0, 0, 0, 0, 7}], answers(Config, "web-3.shop.sd.test", aaaa)).

srv(Config) ->
    ?assertEqual([{0, 0, 8000, "web-1.shop.sd.test"}, {0, 0, 8000, "web-2.shop.sd.test"},
                  {0, 0, 8000, "web-3.shop.sd.test"}],
                 answers(Config, "_http._tcp.shop.sd.test", srv)),
    ?assertMatch([{0, 0, 53, _} | _], answers(Config, "_dns._udp.shop.sd.test", srv)),
    {ok, Message} = resolve(Config, "_http._tcp.shop.sd.test", srv),
    ?assertEqual([{"web-1.shop.sd.test", a, {10, 0, 0, 7}}, {"web-2.shop.sd.test", a, {10, 0, 0, 8}},
                  {"web-3.shop.sd.test", aaaa, {16#fd00, 0, 0, 0, 0, 0, 0, 7}}],
                 lists:sort([{inet_dns:rr(RR, domain), inet_dns:rr(RR, type), inet_dns:rr(RR, data)}
                             || RR <- inet_dns:msg(Message, arlist)])).

case_does_not_matter(Config) ->
    {ok, Message} = resolve(Config, "_HTTP._Tcp.sHoP.SD.tESt", srv),
    ?assertEqual(3, length(inet_dns:msg(Message, anlist))),
    %% and the question comes back as it was asked, which resolvers check
    [Question] = inet_dns:msg(Message, qdlist),
    ?assertEqual("_HTTP._Tcp.sHoP.SD.tESt", inet_dns:dns_query(Question, domain)).

no_such_name(Config) ->
    [?assertEqual({Name, {nxdomain, soa}}, {Name, resolve_error(Config, Name, Type)})
     || {Name, Type} <- [{"none.sd.test", a}, {"web-9.shop.sd.test", a}, {"x.web-1.shop.sd.test", a},
                         {"_none._tcp.shop.sd.test", srv}, {"_http._udp.shop.sd.test", srv},
                         {"_http._sctp.shop.sd.test", srv}, {"http._tcp.shop.sd.test", srv},
                         {"_http._tcp.none.sd.test", srv}, {"_tcp.empty.sd.test", a}, {"_tcp.sd.test", a},
                         {"a.b.c.d.e.f.sd.test", a}, {"sh\\.op.sd.test", a}, {"sh\\\\op.sd.test", a}]].

no_such_type(Config) ->
    [begin
         {ok, Message} = resolve(Config, Name, Type),
         ?assertEqual({Name, []}, {Name, inet_dns:msg(Message, anlist)}),
         ?assertEqual([soa], [inet_dns:rr(RR, type) || RR <- inet_dns:msg(Message, nslist)])
     end || {Name, Type} <- [{"shop.sd.test", srv}, {"shop.sd.test", mx}, {"web-1.shop.sd.test", aaaa},
                             {"empty.sd.test", a}, {"_http._tcp.shop.sd.test", a}, {"_tcp.shop.sd.test", srv},
                             {"_udp.shop.sd.test", a}, {"sd.test", a}]].

deleted(Config) ->
    {ok, deleted} = service_discovery:unregister(~"shop", ~"web-1"),
    ?assertEqual([{10, 0, 0, 8}], answers(Config, "shop.sd.test", a)),
    {ok, deleted} = service_discovery:delete(~"shop"),
    ?assertEqual({nxdomain, soa}, resolve_error(Config, "shop.sd.test", a)).

outside_the_zone(Config) ->
    [?assertEqual({Name, {refused, none}}, {Name, resolve_error(Config, Name, a)})
     || Name <- ["example.com", "test", ".", "shop.sd.test.example.com", "xsd.test", "shop\\.sd.test"]].

apex(Config) ->
    ?assertMatch([{"sd.test", "hostmaster.sd.test", _, _, _, _, 5}], answers(Config, "sd.test", soa)).

edns(Config) ->
    Ask = fun(Additional) -> ask(Config, query_packet("shop.sd.test", a, Additional)) end,
    Opt = fun(Fields) -> inet_dns:make_rr([{type, opt}, {udp_payload_size, 4096} | Fields]) end,
    %% the rcode of the header, the OPT records and the number of answers
    Summary = fun(Packet) ->
                      {ok, Message} = inet_dns:decode(Packet),
                      {rcode(Packet),
                       [{inet_dns:rr(RR, udp_payload_size), inet_dns:rr(RR, ext_rcode)}
                        || RR <- inet_dns:msg(Message, arlist)],
                       length(inet_dns:msg(Message, anlist))}
              end,
    ?assertEqual({0, [], 2}, Summary(Ask([]))),
    %% the cookie is what dig sends
    ?assertEqual({0, [{1232, 0}], 2}, Summary(Ask([Opt([{do, true}, {data, <<10:16, 8:16, 1:64>>}])]))),
    ?assertEqual({0, [{1232, 1}], 0}, Summary(Ask([Opt([{version, 1}])]))),
    ?assertEqual(1, rcode(Ask([Opt([]), Opt([])]))).

any_type(Config) ->
    {ok, Message} = inet_dns:decode(ask(Config, query_packet("shop.sd.test", any, []))),
    ?assertEqual([a, a, aaaa], lists:sort([inet_dns:rr(RR, type) || RR <- inet_dns:msg(Message, anlist)])).

other_classes(Config) ->
    Ask = fun(Class) -> ask(Config, query_packet("shop.sd.test", a, Class, [])) end,
    ?assertEqual([5, 5, 5, 5], [rcode(Ask(Class)) || Class <- [chaos, hs, none, 17]]),
    {ok, Message} = inet_dns:decode(Ask(any)),
    ?assertEqual(2, length(inet_dns:msg(Message, anlist))).

refused_transfers(Config) ->
    ?assertEqual([5, 5], [rcode(ask(Config, query_packet("sd.test", Type, []))) || Type <- [axfr, ixfr]]).

opcodes(Config) ->
    <<Head:17, 0:4, Rest/bitstring>> = query_packet("shop.sd.test", a, []),
    [?assertMatch(<<_:16, 1:1, Opcode:4, _:7, 4:4, 0:64>>, ask(Config, <<Head:17, Opcode:4, Rest/bitstring>>))
     || Opcode <- lists:seq(1, 15)].

several_questions(Config) ->
    <<Id:32, 1:16, Rest:48/bits, Question/binary>> = query_packet("shop.sd.test", a, []),
    ?assertEqual(1, rcode(ask(Config, <<Id:32, 2:16, Rest/bits, Question/binary, Question/binary>>))),
    ?assertEqual(1, rcode(ask(Config, <<Id:32, 0:16, Rest/bits>>))).

%% Two servers that answer each other's errors would never stop.
answers_get_no_answer(Config) ->
    Query = query_packet("shop.sd.test", a, []),
    Answer = ask(Config, Query),
    Socket = udp(Config),
    [ok = gen_udp:send(Socket, Packet) || Packet <- [Answer, <<>>, <<1>>, binary:part(Query, 0, 11)]],
    ok = gen_udp:send(Socket, Query),
    ?assertEqual({ok, Answer}, recv(Socket)),
    ?assertEqual({error, timeout}, gen_udp:recv(Socket, 0, 50)).

large_answers(Config) ->
    [{ok, created} = service_discovery:register(~"shop", <<"node-", (integer_to_binary(N))/binary>>, {10, 1, 0, N})
     || N <- lists:seq(1, 100)],
    Ask = fun(Extra) -> ask(Config, query_packet("_http._tcp.shop.sd.test", srv, Extra)) end,
    %% taken apart by hand: OTP 27's inet_dns (not 29's) fails on an answer that is marked as truncated, yet well formed
    Opt = fun(Size) -> [inet_dns:make_rr([{type, opt}, {udp_payload_size, Size}])] end,
    ?assertMatch(<<4711:16, 1:1, 0:4, 1:1, 1:1, _:9, 1:16, 0:48, _/binary>> = Packet when byte_size(Packet) =< 512,
                 Ask([])),
    ?assertMatch(<<_:22, 1:1, _:9, 1:16, 0:32, 1:16, _/binary>> = Packet when byte_size(Packet) =< 512, Ask(Opt(1))),
    %% a resolver then asks again over TCP
    Tcp = [{transport, tcp} | Config],
    ?assertEqual(103, length(answers(Tcp, "_http._tcp.shop.sd.test", srv))),
    ?assertEqual(102, length(answers(Tcp, "shop.sd.test", a))),
    %% and with EDNS there is room for more
    [{ok, deleted} = service_discovery:unregister(~"shop", <<"node-", (integer_to_binary(N))/binary>>)
     || N <- lists:seq(31, 100)],
    ?assertMatch(<<_:22, 1:1, _/bits>>, Ask([])),
    ?assertMatch(<<_:22, 0:1, _:9, 1:16, 33:16, _/binary>> = Packet when byte_size(Packet) > 512, Ask(Opt(65535))),
    ?assert(byte_size(Ask(Opt(65535))) =< 1232).

%% As many endpoints as there may be, with the longest names.
largest_answer(Config) ->
    Service = binary:copy(~"s", 63),
    {ok, created} = service_discovery:create(Service),
    {ok, replaced} = service_discovery:set_ports(Service, #{~"fifteen-letters" => #{port => 65535, protocol => udp}}),
    Name = fun(N) -> iolist_to_binary(string:pad(integer_to_list(N), 63, leading, $e)) end,
    [{ok, created} = service_discovery:register(Service, Name(N), {65535, 1, 2, 3, 4, 5, 6, N})
     || N <- lists:seq(1, 400)],
    Domain = binary_to_list(Service) ++ ".sd.test",
    Tcp = [{transport, tcp} | Config],
    ?assertEqual(400, length(answers(Tcp, "_fifteen-letters._udp." ++ Domain, srv))),
    ?assertEqual(400, length(answers(Tcp, Domain, aaaa))).

garbage(Config) ->
    Before = supervisor:which_children(service_discovery_dns_sup),
    Noise = [rand:bytes(rand:uniform(600)) || _ <- lists:seq(1, 2000)]
        ++ [<<(rand:bytes(2))/binary, 1, 0, 0, Qd, 0, An, 0, Ns, 0, Ar, (rand:bytes(rand:uniform(80)))/binary>>
            || Qd <- [0, 1, 255], An <- [0, 1], Ns <- [0, 255], Ar <- [0, 1], _ <- lists:seq(1, 50)],
    Socket = udp(Config),
    Query = query_packet("shop.sd.test", a, []),
    _ = [begin
             ok = gen_udp:send(Socket, Packet),
             %% an answer to a question in between: nothing is lost for want of room, and all before it is done with
             N rem 50 =:= 0 andalso ?assertEqual(0, rcode(ask(Config, Query)))
         end || {N, Packet} <- lists:enumerate(Noise)],
    ?assertEqual([{10, 0, 0, 7}, {10, 0, 0, 8}], answers(Config, "shop.sd.test", a)),
    ?assertEqual(Before, supervisor:which_children(service_discovery_dns_sup)).

%% Every query that differs in one byte, and every one cut short, gets an answer that can be decoded, or none.
damaged_queries(Config) ->
    Query = query_packet("_http._tcp.shop.sd.test", srv,
                         [inet_dns:make_rr([{type, opt}, {data, <<10:16, 8:16, 1:64>>}])]),
    Cut = [binary:part(Query, 0, Size) || Size <- lists:seq(0, byte_size(Query) - 1)],
    Changed = [begin
                   <<Head:At/binary, Byte, Tail/binary>> = Query,
                   <<Head/binary, (Byte bxor Bits), Tail/binary>>
               end || At <- lists:seq(2, byte_size(Query) - 1), Bits <- [1, 2, 4, 8, 16, 32, 64, 128, 16#c0, 255]],
    [begin
         ?assertMatch({ok, _}, inet_dns:decode(Reply)),
         ?assertNotEqual(2, rcode(Reply))
     end || Packet <- Cut ++ Changed, Transport <- [udp, tcp], Reply <- replies(Packet, Transport)],
    ?assertEqual(0, rcode(ask(Config, Query))).

garbage_over_tcp(Config) ->
    Before = supervisor:which_children(service_discovery_dns_sup),
    [begin
         Socket = tcp(Config, raw),
         ok = gen_tcp:send(Socket, Bytes),
         ok = gen_tcp:shutdown(Socket, write),
         ?assertEqual({error, closed}, gen_tcp:recv(Socket, 0, 5000))
     end || Bytes <- [<<>>, <<0>>, <<0, 0>>, <<0, 3, 1, 2, 3>>, <<255, 255, 1>>, "GET / HTTP/1.1\r\n\r\n"]],
    ?assertEqual([{10, 0, 0, 7}, {10, 0, 0, 8}], answers([{transport, tcp} | Config], "shop.sd.test", a)),
    ?assertEqual(Before, supervisor:which_children(service_discovery_dns_sup)).

several_over_one_connection(Config) ->
    Socket = tcp(Config, 2),
    Query = query_packet("shop.sd.test", a, []),
    ok = gen_tcp:send(Socket, Query),
    ok = gen_tcp:send(Socket, Query),
    {ok, First} = gen_tcp:recv(Socket, 0, 5000),
    {ok, Second} = gen_tcp:recv(Socket, 0, 5000),
    ?assertEqual(First, Second),
    ?assertEqual(0, rcode(First)).

ipv6(Config) ->
    case gen_udp:open(0, [inet6, binary, {active, false}, {ip, loopback}]) of
        {ok, Socket} ->
            ok = gen_udp:send(Socket, {0, 0, 0, 0, 0, 0, 0, 1}, proplists:get_value(port, Config),
                              query_packet("shop.sd.test", a, [])),
            {ok, {_, _, Reply}} = gen_udp:recv(Socket, 0, 5000),
            ?assertEqual(0, rcode(Reply));
        {error, Reason} ->
            {comment, ["no IPv6 here: ", inet:format_error(Reason)]}
    end.

%% What a reader sees while the endpoints come and go is always one of the states that were.
while_registering(Config) ->
    Writer = spawn_link(fun Loop() ->
                                {ok, _} = service_discovery:register(~"empty", ~"one", {10, 9, 0, 1}),
                                {ok, _} = service_discovery:register(~"empty", ~"one", {10, 9, 0, 2}),
                                Loop()
                        end),
    {ok, _} = service_discovery:register(~"empty", ~"one", {10, 9, 0, 1}),
    Query = query_packet("empty.sd.test", a, []),
    Seen = [begin
                {ok, Message} = inet_dns:decode(ask(Config, Query)),
                [inet_dns:rr(RR, data) || RR <- inet_dns:msg(Message, anlist)]
            end || _ <- lists:seq(1, 500)],
    unlink(Writer),
    exit(Writer, kill),
    ?assertEqual([], lists:usort(Seen) -- [[{10, 9, 0, 1}], [{10, 9, 0, 2}]]).

%% A port of which another has the UDP half.
port_in_use(_Config) ->
    ok = application:stop(service_discovery_dns),
    {ok, Other} = gen_udp:open(0),
    {ok, Port} = inet:port(Other),
    ok = application:set_env(service_discovery_dns, port, Port),
    ?assertMatch({error, {{shutdown, {failed_to_start_child, udp, {udp, Port, eaddrinuse}}}, _}},
                 application:start(service_discovery_dns)),
    ok = gen_udp:close(Other),
    ?assertEqual(ok, application:start(service_discovery_dns)).

unusable_zone(_Config) ->
    ok = application:stop(service_discovery_dns),
    ok = application:set_env(service_discovery_dns, zone, "a..b"),
    ?assertMatch({error, {{unusable_setting, service_discovery_dns, zone, "a..b"}, _}},
                 application:start(service_discovery_dns)).

%% A client

resolve(Config, Name, Type) ->
    inet_res:resolve(Name, in, Type, [{nameservers, [{{127, 0, 0, 1}, proplists:get_value(port, Config)}]},
                                      {usevc, proplists:get_value(transport, Config) =:= tcp}, {nxdomain_reply, true},
                                      {retry, 1}, {timeout, 5000}]).

answers(Config, Name, Type) ->
    {ok, Message} = resolve(Config, Name, Type),
    lists:sort([inet_dns:rr(RR, data) || RR <- inet_dns:msg(Message, anlist)]).

resolve_error(Config, Name, Type) ->
    case resolve(Config, Name, Type) of
        {error, {Reason, Message}} ->
            {Reason, case inet_dns:msg(Message, nslist) of
                         [RR] -> inet_dns:rr(RR, type);
                         [] -> none
                     end};
        Other ->
            Other
    end.

query_packet(Name, Type, Additional) ->
    query_packet(Name, Type, in, Additional).

query_packet(Name, Type, Class, Additional) ->
    Question = inet_dns:make_dns_query([{domain, Name}, {type, Type}, {class, Class}]),
    Header = inet_dns:make_header([{id, 4711}, {opcode, 'query'}]),
    inet_dns:encode(inet_dns:make_msg([{header, Header}, {qdlist, [Question]}, {arlist, Additional}])).

ask(Config, Packet) ->
    Socket = udp(Config),
    ok = gen_udp:send(Socket, Packet),
    {ok, Reply} = recv(Socket),
    ok = gen_udp:close(Socket),
    Reply.

udp(Config) ->
    {ok, Socket} = gen_udp:open(0, [binary, {active, false}]),
    ok = gen_udp:connect(Socket, {127, 0, 0, 1}, proplists:get_value(port, Config)),
    Socket.

recv(Socket) ->
    case gen_udp:recv(Socket, 0, 5000) of
        {ok, {_, _, Packet}} -> {ok, Packet};
        {error, _} = Error -> Error
    end.

tcp(Config, Packet) ->
    {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, proplists:get_value(port, Config),
                                   [binary, {active, false}, {packet, Packet}]),
    Socket.

rcode(<<_:28, RCode:4, _/binary>>) -> RCode.

replies(Packet, Transport) ->
    case service_discovery_dns_message:reply(Packet, Transport, [~"sd", ~"test"]) of
        {reply, Reply} -> [Reply];
        ignore -> []
    end.
