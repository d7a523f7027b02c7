-module(service_discovery_http_connection).
-moduledoc """
HTTP/1.1 on one connection: reads requests, has `service_discovery_http_api` answer them, writes the answers.

The runtime's own parser reads request lines and headers: `erlang:decode_packet/3`, not the socket option
`{packet, http}`, which closes the socket on a line that is too long, so that nothing can be answered. Bodies need a
Content-Length.
""".

-export([serve/1]).

-include_lib("kernel/include/logger.hrl").

-define(IDLE_MS, 60_000).               % a connection may wait so long for its next request
-define(REQUEST_MS, 10_000).            % a request that has begun must be here within this
-define(MAX_LINE, 8_192).               % bytes of the request line, and of each header
-define(MAX_HEADERS, 100).
-define(MAX_BODY, 65_536).              % bytes

-spec serve(gen_tcp:socket()) -> ok.
serve(Socket) ->
    serve(Socket, <<>>).

%% `Buffer` is what was read beyond the last request.
serve(Socket, Buffer) ->
    case read_request(Socket, Buffer) of
        {ok, #{method := Method, path := Path, body := Body, keep_alive := KeepAlive}, Rest} ->
            {Status, Headers, Json} = answer(Method, Path, Body),
            case send(Socket, Method, KeepAlive, Status, Headers, Json) of
                ok when KeepAlive -> serve(Socket, Rest);
                _ -> linger(Socket)
            end;
        {refuse, Status, Reason} ->
            _ = send(Socket, 'GET', false, Status, [], #{~"error" => Reason}),
            linger(Socket);
        {error, _ClosedOrIdle} ->
            gen_tcp:close(Socket)
    end.

answer(Method, Path, Body) ->
    try
        service_discovery_http_api:handle(Method, Path, Body)
    catch
        Class:Reason:Stack ->
            ?LOG_ERROR("~s ~tp failed: ~tp", [Method, Path, {Class, Reason, Stack}]),
            {500, [], #{~"error" => ~"internal error"}}
    end.

%% Reading: each step gives {ok, Value, Rest}, {refuse, Status, Reason} or {error, Reason}.

read_request(Socket, Buffer0) ->
    maybe
        {ok, {Method, Path, Version}, Buffer1} ?= read_request_line(Socket, Buffer0, now_ms() + ?IDLE_MS),
        Deadline = now_ms() + ?REQUEST_MS,
        {ok, Headers, Buffer2} ?= read_headers(Socket, Buffer1, Deadline, []),
        {ok, Length} ?= body_length(Headers),
        ok ?= continue(Socket, Length, Headers),
        {ok, Body, Buffer3} ?= read_body(Socket, Buffer2, Deadline, Length),
        KeepAlive = Version >= {1, 1} andalso not says('Connection', "close", Headers),
        {ok, #{method => Method, path => Path, body => Body, keep_alive => KeepAlive}, Buffer3}
    end.

read_request_line(Socket, Buffer, Deadline) ->
    case next(http_bin, Socket, Buffer, Deadline) of
        {ok, {http_request, _, _, Version}, _} when Version < {1, 0}; Version >= {2, 0} ->
            {refuse, 505, ~"speak HTTP/1.0 or HTTP/1.1"};
        {ok, {http_request, Method, {abs_path, Path}, Version}, Rest} ->
            {ok, {Method, hd(binary:split(Path, ~"?")), Version}, Rest};
        {ok, {http_request, Method, {absoluteURI, _, _, _, Path}, Version}, Rest} ->
            {ok, {Method, hd(binary:split(Path, ~"?")), Version}, Rest};
        {ok, {http_request, _, _, _}, _} -> {refuse, 400, ~"the target of the request is not a path"};
        %% RFC 9112, 2.2: an empty line before a request is no harm
        {ok, {http_error, ~"\r\n"}, Rest} -> read_request_line(Socket, Rest, Deadline);
        {ok, _, _} -> {refuse, 400, ~"not an HTTP request"};
        too_long -> {refuse, 414, ~"the request line is longer than 8192 bytes"};
        {error, _} = Error -> Error
    end.

read_headers(_Socket, _Buffer, _Deadline, Headers) when length(Headers) > ?MAX_HEADERS ->
    {refuse, 431, ~"more than 100 headers"};
read_headers(Socket, Buffer, Deadline, Headers) ->
    case next(httph_bin, Socket, Buffer, Deadline) of
        %% the parser gives well-known names as atoms and the others as binaries, in one case: 'Connection', ~"Expect"
        {ok, {http_header, _, Name, _, Value}, Rest} -> read_headers(Socket, Rest, Deadline, [{Name, Value} | Headers]);
        {ok, http_eoh, Rest} -> {ok, Headers, Rest};
        {ok, _, _} -> {refuse, 400, ~"a header is not one"};
        too_long -> {refuse, 431, ~"a header is longer than 8192 bytes"};
        {error, timeout} -> {refuse, 408, ~"the request did not arrive within 10 s"};
        {error, _} = Error -> Error
    end.

%% The next line of the buffer, parsed, with as much more from the socket as it takes.
next(Type, Socket, Buffer, Deadline) ->
    case erlang:decode_packet(Type, Buffer, []) of
        {ok, _, Rest} when byte_size(Buffer) - byte_size(Rest) > ?MAX_LINE -> too_long;
        {ok, Packet, Rest} -> {ok, Packet, Rest};
        {error, _} = Error -> Error;
        {more, _} when byte_size(Buffer) > ?MAX_LINE -> too_long;
        {more, _} ->
            maybe
                {ok, Bytes} ?= gen_tcp:recv(Socket, 0, left(Deadline)),
                next(Type, Socket, <<Buffer/binary, Bytes/binary>>, Deadline)
            end
    end.

says(Name, Pattern, Headers) ->
    lists:any(fun({N, Value}) -> N =:= Name andalso matches(Value, "\\b" ++ Pattern ++ "\\b") end, Headers).

matches(Value, Pattern) ->
    re:run(Value, Pattern, [caseless, {capture, none}]) =:= match.

%% none, where the request gives no length, is not 0: what needs a body can then answer 411.
body_length(Headers) ->
    Encoded = lists:keymember('Transfer-Encoding', 1, Headers),
    case lists:usort([Value || {'Content-Length', Value} <- Headers]) of
        _ when Encoded -> {refuse, 411, ~"send a Content-Length; encoded transfers are not read"};
        [] -> {ok, none};
        [Value] -> body_length(matches(Value, "\\A[0-9]{1,18}\\z"), Value);
        _ -> {refuse, 400, ~"more than one Content-Length"}
    end.

body_length(false, _Value) ->
    {refuse, 400, ~"Content-Length is not a number of bytes"};
body_length(true, Value) ->
    case binary_to_integer(Value) of
        Length when Length =< ?MAX_BODY -> {ok, Length};
        _ -> {refuse, 413, ~"the body is larger than 65536 bytes"}
    end.

continue(Socket, Length, Headers) ->
    case is_integer(Length) andalso says(~"Expect", "100-continue", Headers) of
        true -> gen_tcp:send(Socket, ~"HTTP/1.1 100 Continue\r\n\r\n");
        false -> ok
    end.

read_body(_Socket, Buffer, _Deadline, none) ->
    {ok, none, Buffer};
read_body(Socket, Buffer, Deadline, Length) ->
    case Buffer of
        <<Body:Length/binary, Rest/binary>> -> {ok, Body, Rest};
        _ ->
            case gen_tcp:recv(Socket, Length - byte_size(Buffer), left(Deadline)) of
                {ok, Bytes} -> {ok, <<Buffer/binary, Bytes/binary>>, <<>>};
                {error, timeout} -> {refuse, 408, ~"the body did not arrive within 10 s"};
                {error, _} = Error -> Error
            end
    end.

now_ms() -> erlang:monotonic_time(millisecond).

left(Deadline) -> max(0, Deadline - now_ms()).

%% Writing

send(Socket, Method, KeepAlive, Status, Headers, Json) ->
    Body = case Json of
               none -> <<>>;
               _ -> [json:encode(Json), $\n]
           end,
    Lines = [["content-type: application/json\r\n" || Json =/= none],
             %% RFC 9110, 8.6: no length on a 204
             [["content-length: ", integer_to_binary(iolist_size(Body)), "\r\n"] || Status =/= 204],
             ["connection: close\r\n" || not KeepAlive],
             [[Name, ": ", Value, "\r\n"] || {Name, Value} <- Headers]],
    gen_tcp:send(Socket, ["HTTP/1.1 ", status(Status), "\r\n", Lines, "\r\n", [Body || Method =/= 'HEAD']]).

%% Closing with unread bytes in the socket resets the connection, and the client may never see the answer: read what
%% it is still sending, within reason, before closing.
linger(Socket) ->
    _ = gen_tcp:shutdown(Socket, write),
    drain(Socket, now_ms() + 2_000).

drain(Socket, Deadline) ->
    case gen_tcp:recv(Socket, 0, left(Deadline)) of
        {ok, _} -> drain(Socket, Deadline);
        {error, _} -> gen_tcp:close(Socket)
    end.

status(200) -> "200 OK";
status(201) -> "201 Created";
status(204) -> "204 No Content";
status(400) -> "400 Bad Request";
status(404) -> "404 Not Found";
status(405) -> "405 Method Not Allowed";
status(408) -> "408 Request Timeout";
status(409) -> "409 Conflict";
status(411) -> "411 Length Required";
status(413) -> "413 Content Too Large";
status(414) -> "414 URI Too Long";
status(431) -> "431 Request Header Fields Too Large";
status(500) -> "500 Internal Server Error";
status(505) -> "505 HTTP Version Not Supported".
