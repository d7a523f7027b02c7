"""What the node in a running container is asked."""

from __future__ import annotations

import re

from ci.beamdock.nodes import call_expression
from unit.conftest import Shell


def test_what_the_running_node_is_asked(shell: Shell) -> None:
    """attach needs a terminal, and names what does not; arguments of rpc are terms."""
    said = shell.invoke("attach", code=2).err
    assert re.match("error: attach needs a terminal\nhint: invoke eval", said)
    assert "[a is no Erlang term" in shell.invoke("rpc", "m", "f", "--", "1", "[a", code=2).err
    assert call_expression("a b", "f", ["1", '[x, "y"]']) == "apply('a b', f, [1, [x,\"y\"]])"
    assert "--time x" in shell.invoke("stop", "--time", "x", code=2).err
