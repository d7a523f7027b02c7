"""beamdock 0.1.0: tasks made of a function and the dataclass of its flags. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, TypeVar, cast

from invoke.context import Context
from invoke.tasks import Task, task

from .stop import stoppable


def flag(default: Any, about: str, many: bool = False, optional: bool = False) -> Any:
    return field(default=default, metadata={"help": about, "many": many, "optional": optional})


@dataclass(frozen=True)
class Common:
    """Flags that every task has."""

    dry_run: bool = flag(False, "print the docker commands, and run none")
    quiet: bool = flag(False, "print only results and errors")
    release: str = flag("", "the release, where rebar.config has several")


Flags = TypeVar("Flags", bound=Common)


def command(
    kind: type[Flags], name: str = "", aliases: Sequence[str] = (), positional: Sequence[str] = ()
) -> Callable[[Callable[[Context, Flags], None]], Task[Any]]:
    """Make a function a task: the fields of its flags' dataclass are the task's parameters, their metadata its help.
    positional: parameters without a default that are written without --NAME."""

    def decorate(body: Callable[[Context, Flags], None]) -> Task[Any]:
        flags = dataclasses.fields(kind)

        def run(c: Context, **values: Any) -> None:
            with stoppable():
                body(c, kind(**values))

        one = inspect.Parameter.POSITIONAL_OR_KEYWORD
        parameters = [inspect.Parameter(f.name, one, default=f.default) for f in flags]
        run.__signature__ = inspect.Signature([inspect.Parameter("c", one), *parameters])  # type: ignore[attr-defined]
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
