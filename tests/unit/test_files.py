"""Files as they are found: what can't be read is an error with its name."""

from __future__ import annotations

import pytest

from unit.conftest import Shell


@pytest.mark.parametrize(
    "setting",
    ["certificate_authority: ~nosuchuser/x", "known_hosts: ~nosuchuser/x", "ssh: default=~nosuchuser/x", "dockerfile: ~nosuchuser/x"],
)
def test_a_user_that_is_none(shell: Shell, setting: str) -> None:
    shell.repo.settings(f"  {setting}\n")
    name = setting.partition(":")[0]
    said = shell.invoke("build", "--dry-run", code=2).err
    assert said == f"error: ~nosuchuser/x begins with a user's home folder, and there is none (`{name}`, invoke.yaml:3)"
