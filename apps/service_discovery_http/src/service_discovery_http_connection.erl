-module(service_discovery_http_connection).
-moduledoc """
HTTP/1.1 on one connection: reads requests, has `service_discovery_http_api` answer them, writes the answers.

The runtime's own parser (`{packet, http_bin}`) reads request lines and headers. Bodies need a Content-Length.
""".

-export([serve/1]).

-include_lib("kernel/include/logger.hrl").

-define(IDLE_MS, 60_000).               % a kept connection may wait so long for its next request
-define(REQUEST_MS, 10_000).            % a request that has begun must be here within this
-define(MAX_HEADERS, 100).
-define(MAX_BODY, 65_536).              % bytes

-spec serve(gen_tcp:socket()) -> ok.
serve(Socket) ->
    case read_request(Socket) of
        {ok, #{method := Method, path := Path, body := Body, keep_alive := KeepAlive}} ->
            {Status, Headers, Json} = answer(Method, Path, Body),
            case send(Socket, Method, KeepAlive, Status, Headers, Json) of
                ok when KeepAlive -> serve(Socket);
                _ -> gen_tcp:close(Socket)
            end;
        {refuse, Status, Reason} ->
            _ = send(Socket, 'GET', false, Status, [], #{error => Reason}),
            linger(Socket);
        {error, _closed_or_idle} ->
            gen_tcp:close(Socket)
    end.

answer(Method, Path, Body) ->
    try
        service_discovery_http_api:handle(Method, Path, Body)
    catch
        Class:Reason:Stack ->
            ?LOG_ERROR("~s ~tp failed: ~tp", [Method, Path, {Class, Reason, Stack}]),
            {500, [], #{error => ~"internal error"}}
    end.

%% Reading: each step gives {ok, Value}, {refuse, Status, Reason} or {error, Reason}.

read_request(Socket) ->
    ok = inet:setopts(Socket, [{packet, http_bin}]),
    case gen_tcp:recv(Socket, 0, ?IDLE_MS) of
        {ok, {http_request, Method, Target, Version}} when Version >= {1, 0}, Version < {2, 0} ->
            Deadline = now_ms() + ?REQUEST_MS,
            maybe
                {ok, Path} ?= path(Target),
                {ok, Headers} ?= read_headers(Socket, Deadline, []),
                {ok, Length} ?= body_length(Headers),
                ok ?= continue(Socket, Length, Headers),
                {ok, Body} ?= read_body(Socket, Length, Deadline),
                {ok, #{method => Method, path => Path, body => Body,
                       keep_alive => Version >= {1, 1} andalso not says('Connection', "close", Headers)}}
            end;
        {ok, {http_request, _, _, _}} -> {refuse, 505, ~"speak HTTP/1.0 or HTTP/1.1"};
        {ok, {http_error, ~"\r\n"}} -> read_request(Socket);    % an empty line before a request: RFC 9112, 2.2
        {ok, _} -> {refuse, 400, ~"not an HTTP request"};
        {error, emsgsize} -> {refuse, 414, ~"the request line is longer than 8192 bytes"};
        {error, _} = Error -> Error
    end.

path({abs_path, Path}) -> {ok, hd(binary:split(Path, ~"?"))};
path({absoluteURI, _Scheme, _Host, _Port, Path}) -> path({abs_path, Path});
path(_) -> {refuse, 400, ~"the target of the request is not a path"}.

read_headers(_Socket, _Deadline, Headers) when length(Headers) > ?MAX_HEADERS ->
    {refuse, 431, ~"more than 100 headers"};
read_headers(Socket, Deadline, Headers) ->
    case gen_tcp:recv(Socket, 0, left(Deadline)) of
        %% the parser gives well-known names as atoms and the others as binaries, in one case: 'Connection', ~"Expect"
        {ok, {http_header, _, Name, _, Value}} -> read_headers(Socket, Deadline, [{Name, Value} | Headers]);
        {ok, http_eoh} -> {ok, Headers};
        {ok, _} -> {refuse, 400, ~"a header is not one"};
        {error, emsgsize} -> {refuse, 431, ~"a header is longer than 8192 bytes"};
        {error, timeout} -> {refuse, 408, ~"the request did not arrive within 10 s"};
        {error, _} = Error -> Error
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

read_body(_Socket, none, _Deadline) -> {ok, none};
read_body(_Socket, 0, _Deadline) -> {ok, <<>>};
read_body(Socket, Length, Deadline) ->
    ok = inet:setopts(Socket, [{packet, raw}]),
    case gen_tcp:recv(Socket, Length, left(Deadline)) of
        {error, timeout} -> {refuse, 408, ~"the body did not arrive within 10 s"};
        Result -> Result
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
    _ = inet:setopts(Socket, [{packet, raw}]),
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
