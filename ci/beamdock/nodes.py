"""beamdock 0.1.0: the node in a container: asked, waited for, and what is said of one that ended. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any

from invoke.exceptions import Exit

from .consult import read_terms
from .containers import Container
from .docker import client, docker, run_or_print, started
from .explain import explain_failure
from .terms import Atom, write_term
from .words import Out, failure, in_a_line, print_result, visible

# What the node evaluates: an expression's text, and its value's in lines of hexadecimal digits, "v" or "e" first. The start script
# asks by erl_call or by nodetool, which print texts each in its own way, and neither tells an exception from a value.
ASK = (
    "(fun(Text) -> {Kind, Said} = try "
    "Tokens = case erl_scan:string(Text) of {ok, Ts, _} -> Ts; {error, {_, M, D}, _} -> throw({syntax, M:format_error(D)}) end, "
    "Ended = case Tokens =/= [] andalso element(1, lists:last(Tokens)) =:= dot of true -> Tokens; false -> Tokens ++ [{dot, 1}] end, "
    "Parsed = case erl_parse:parse_exprs(Ended) of {ok, Es} -> Es; {error, {_, P, W}} -> throw({syntax, P:format_error(W)}) end, "
    "Result = try erl_eval:exprs(Parsed, []) of {value, Value, _} -> {value, Value} "
    "catch Class:Reason:Stack -> {Class, Reason, Stack} end, "
    'case Result of {value, V} -> {"v", io_lib:format("~0tp", [V])}; '
    '{C, R, S} -> {"e", io_lib:format("~0tp:~0tp~ts", [C, R, case [io_lib:format(" in ~0tp:~0tp/~b", [F, N, if is_list(A) -> length(A); '
    "true -> A end]) || {F, N, A, _} <- S, F =/= erl_eval] of [] -> []; [Where | _] -> Where end])} end "
    'catch throw:{syntax, What} -> {"s", io_lib:format("~ts", [What])} end, '
    'Hex = lists:flatten([io_lib:format("~2.16.0b", [Byte]) || <<Byte>> <= unicode:characters_to_binary(Said)]), '
    "Lines = fun Cut(L) when length(L) > 60 -> {H, T} = lists:split(60, L), [H | Cut(T)]; Cut(L) -> [L] end, "
    '[Kind | Lines(Hex)] end)(unicode:characters_to_list(base64:decode("TEXT"))).'
)

# Arguments of the node with which the start script, which asks epmd, does not find it.
NO_EPMD = ("-start_epmd", "-epmd_module", "-erl_epmd_port")
BY_PORT = (
    "give it a port instead, and to `attach` the same: `ENV ERL_DIST_PORT=9100` in the Dockerfile, or invoke run --env ERL_DIST_PORT=9100, "
    "and no -start_epmd, -epmd_module or -erl_epmd_port in vm.args"
)
ON_LOOPBACK = "-sname NAME@localhost in vm.args, or -name NAME@127.0.0.1"
DENIED = re.compile(r"\b(erofs|eacces|enoent)\b|Read-only file system|Permission denied")


def run_in_container(identity: str, *words: str) -> tuple[int, str, str]:
    """Run a command in a container, and return its exit code, stdout and stderr."""
    words = (*map(str, client().docker_cmd), "exec", identity, *words)
    with started(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        out, err = process.communicate()
    return process.returncode, out.strip(), err.strip()


def node_arguments(identity: str) -> list[str]:
    """Return the arguments of the Erlang node that runs in a container; [] where there is none."""
    lines = run_in_container(identity, "sh", "-c", "for each in /proc/[0-9]*/cmdline; do cat $each 2>/dev/null; echo; done")[1].splitlines()
    return next((line.split("\0") for line in lines if "\0-bindir\0" in line), [])


def why_out_of_reach(container: Container, said: str) -> Exit:
    """Return the error of a container that is up, and whose start script does not find its node. said: by the start script."""
    name, arguments = container.name, node_arguments(container.id)
    logs = f"invoke logs --name {name} shows what it wrote"
    if not arguments:
        return failure(f"{name} runs, and there is no Erlang node in it yet, or no more", logs, 1)
    if without := next((a for a in NO_EPMD if a in arguments), ""):
        return failure(f"the node in {name} runs, and can't be reached: with {without} no epmd knows its port", BY_PORT, 1)
    if any("inet_dist_use_interface" in a for a in arguments):
        what = "it listens on one address (inet_dist_use_interface), and its name leads to another"
        return failure(f"the node in {name} runs, and can't be reached: {what}", ON_LOOPBACK, 1)
    if "-sname" not in arguments and "-name" not in arguments:
        return failure(f"the node in {name} runs, and has no name: nobody can reach it", "-sname NAME in vm.args", 1)
    if "Node is not running" in said or not said:
        return failure(f"the node in {name} runs, and does not answer: it is still starting, or wants another cookie", logs, 1)
    return failure(f"the node in {name} can't be asked: {visible(said.splitlines()[-1])}", logs, 1)


def require_node(container: Container) -> None:
    """Raise Exit with the reason where the node in a container does not answer. relx's start script says `Node is not running!` for all
    reasons."""
    code, out, err = run_in_container(container.id, "/release", "ping")
    if code or not out.endswith("pong"):
        raise why_out_of_reach(container, err or out)


def evaluate(container: Container, expression: str) -> str:
    """Return the value of an Erlang expression on the node in a container, as text. Raises Exit where the expression can't be read (2),
    raises an exception, or the node does not answer (1)."""
    text = base64.b64encode(expression.encode("utf-8", "surrogateescape")).decode()
    code, out, err = run_in_container(container.id, "/release", "eval", ASK.replace("TEXT", text))
    kind, *digits = re.findall(r'"([^"]*)"', out) or [""]
    if code or kind not in ("v", "e", "s") or not re.fullmatch("[0-9a-f]*", "".join(digits)):
        require_node(container)
        said = (err or out or "it says nothing").splitlines()[-1]
        raise failure(f"the node in {container.name} gave no answer: {visible(said)}", code=1)
    value = bytes.fromhex("".join(digits)).decode()
    if kind == "s":
        raise failure(f"the expression can't be read: {visible(value)}", "invoke eval 'node().', for example")
    if kind == "e":
        raise failure(f"on the node in {container.name}: {visible(value)}", code=1)
    return value


def call_expression(module: str, function: str, arguments: Sequence[str]) -> str:
    """Return the expression that calls a function with these terms. Raises Exit where one of the texts is no Erlang term."""
    terms = []
    for text in arguments:
        try:
            (term,) = read_terms(f"{text}.")
        except ValueError:
            hint = "invoke rpc lists seq -- 1 3, each a word to the shell; invoke eval takes any expression"
            raise failure(f"{in_a_line(text)} is no Erlang term", hint) from None
        terms.append(write_term(term))
    return f"apply({write_term(Atom(module))}, {write_term(Atom(function))}, [{', '.join(terms)}])"


def print_value(container: Container, expression: str, out: Out) -> None:
    """Print the value of an expression on the node in a container; a dry run prints the command that asks for it."""
    if out.dry_run:
        run_or_print(out, "exec", container.id, "/release", "eval", f"{expression}.")
    else:
        print_result(evaluate(container, expression))


def wait_for_node(identity: str, seconds: float) -> bool:
    """Wait until a node has started all of its applications, or its container has ended, so many seconds at most. Has one of them?"""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if docker("inspect", "--format={{.State.Running}}", identity).strip() != "true":
            return True
        if "started,started" in run_in_container(identity, "/release", "eval", "init:get_status().")[1].replace(" ", ""):
            return True
        time.sleep(0.1)
    return False


def last_lines(identity: str) -> list[str]:
    """Return the last lines that a container has written, without how relx's start script starts the node."""
    words = [*map(str, client().docker_cmd), "logs", "--tail=100", identity]
    with started(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        lines = process.communicate()[0].splitlines(keepends=True)
    return [line for line in lines if line.strip() and not line.startswith(("Exec: ", "Root: "))]


def look_at_container(identity: str) -> Mapping[str, Any]:
    """Return what the engine knows of a container: docker's `inspect`."""
    facts: Mapping[str, Any] = json.loads(docker("inspect", identity))[0]
    return facts


def how_it_ended(name: str, facts: Mapping[str, Any], wrote: Sequence[str], seen: bool) -> Exit:
    """Return the error of a container that has ended. facts: of `docker inspect`; wrote: its last lines; seen: do they stand on the
    terminal already? Then its exit code is ours."""
    state = facts["State"]
    code = state["ExitCode"] if seen else 1
    if state["Error"]:  # it never started
        return Exit(explain_failure(state["Error"], "docker start").message, code if code in (126, 127) else 1)
    what = f"{name} ended with exit code {state['ExitCode']}"
    hint = "its output is above" if seen else f"invoke logs --name {name} shows all that it wrote"
    if any(DENIED.search(line) for line in wrote):
        hint = "does it write to its own file system? `writable: [FOLDER]` in invoke.yaml, and invoke build; --writable tries without"
    if state["OOMKilled"]:
        limit = facts["HostConfig"]["Memory"]
        what = f"{name} was killed for memory" + (f": its limit is {limit // 2**20} MiB" if limit else "")
        hint = "--memory with more" if limit else "the machine has too little for it"
    if not seen and wrote:
        what += "; the last that it wrote:" + "".join(f"\n  {visible(line.rstrip())[:300]}" for line in wrote[-8:])
    return failure(what, hint, code)
