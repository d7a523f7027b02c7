"""beamdock 0.1.0: tasks made of a function and the dataclass of its flags. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, TypeVar, cast

from invoke.context import Context
from invoke.tasks import Task, task

from .signals import stoppable
from .words import Out, errors_told, failure


def flag(default: Any, about: str, many: bool = False, optional: bool = False) -> Any:
    """Declare a flag, as a field of a dataclass. about: its help text; many: it may be repeated; optional: its value may be left out."""
    return field(default=default, metadata={"help": about, "many": many, "optional": optional})


@dataclass(frozen=True)
class Common:
    """Flags that every task has."""

    dry_run: bool = flag(False, "print the docker commands, and run none")
    quiet: bool = flag(False, "print only results and errors")
    release: str = flag("", "the release, where rebar.config has several")

    @property
    def out(self) -> Out:
        """How the task speaks."""
        return Out(self.quiet, self.dry_run)


def parse_number(name: str, text: str) -> int:
    """Return the value of a flag that is a number. Raises Exit where the text is none."""
    if not re.fullmatch(r"-?\d{1,18}", text, re.ASCII):
        raise failure(f"--{name} {text} is no whole number", f"--{name}=3, for example")
    return int(text)


def remainder(argv: Sequence[str]) -> list[str]:
    """Return what follows `--` on a command line. Invoke's own joins it with blanks, and loses the quoting."""
    return list(argv[argv.index("--") + 1 :]) if "--" in argv else []


Flags = TypeVar("Flags", bound=Common)


def command(
    kind: type[Flags], name: str = "", aliases: Sequence[str] = (), positional: Sequence[str] = ()
) -> Callable[[Callable[[Context, Flags], None]], Task[Any]]:
    """Make a function a task. The fields of its flags' dataclass are the task's parameters, and their texts its help.

    kind: the dataclass; name: the task's, by default the function's; positional: parameters without a default that are written
    without --NAME."""
    flags = dataclasses.fields(kind)
    numbers = [f.name for f in flags if type(f.default) is int]

    def decorate(body: Callable[[Context, Flags], None]) -> Task[Any]:

        def run(c: Context, **values: Any) -> None:
            with errors_told(), stoppable():
                given = {name: parse_number(name, values[name]) for name in numbers}
                body(c, kind(**{**values, **given}))

        run.__signature__ = make_signature(kind)  # type: ignore[attr-defined]
        run.__doc__, run.__name__ = body.__doc__, body.__name__
        made: Any = task(
            run,
            name=name or body.__name__,
            aliases=tuple(aliases),
            help={f.name.replace("_", "-"): f.metadata["help"] for f in flags},
            iterable=[f.name for f in flags if f.metadata["many"]],
            optional=[f.name for f in flags if f.metadata["optional"]],
            positional=list(positional),
            auto_shortflags=False,
        )
        return cast("Task[Any]", made)

    return decorate


def make_signature(kind: type[Common]) -> inspect.Signature:
    """Return the parameters of a task with these flags. A number is one of texts: Invoke shows a stack for a text that is no number."""
    one = inspect.Parameter.POSITIONAL_OR_KEYWORD
    defaults = {f.name: str(f.default) if type(f.default) is int else f.default for f in dataclasses.fields(kind)}
    parameters = [inspect.Parameter(name, one, default=default) for name, default in defaults.items()]
    return inspect.Signature([inspect.Parameter("c", one), *parameters])
