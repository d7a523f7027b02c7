"""beamdock 0.1.0: a build, as a value. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .contexts import context_path
from .project import Project
from .values import line

# Not a build context, though written as one: its files are mounted as secrets, which are in no layer and no cache key. They
# say how dependencies are reached, and not which.
ACCESS = "access"


@dataclass(frozen=True)
class Build:
    """One `docker buildx build`. options() are python-on-whales' own arguments for it."""

    project: Project
    target: str
    tags: tuple[str, ...]
    build_args: Mapping[str, str]
    contexts: Mapping[str, Mapping[str, bytes]]
    labels: Mapping[str, str]
    secrets: tuple[str, ...]
    ssh: str
    pull: bool
    no_cache: bool
    output: Mapping[str, str]
    imports: tuple[str, ...] = ()  # of caches, in buildx's words
    hints: tuple[str, ...] = ()  # the same that no one asked for: not where the dependencies were compiled
    export: str = ""
    deps: str = ""  # the image that is the builder stage where the registry has it

    def options(self) -> dict[str, Any]:
        settings = self.project.settings
        return {
            "context_path": str(self.project.files),
            "file": str(self.project.file(settings.dockerfile)),
            "target": self.target,
            "tags": list(self.tags),
            "build_args": dict(self.build_args),
            "build_contexts": {
                **{n: str(context_path(self.project.context_folder, n, files)) for n, files in self.contexts.items() if n != ACCESS},
                **({"builder": f"docker-image://{self.deps}"} if self.deps else {}),
            },
            "cache_from": [dict([text.split("=", 1)]) for text in (*self.imports, *self.hints)] or None,
            "cache_to": self.export or None,
            "labels": dict(self.labels),
            "secrets": list(self.secrets),
            "ssh": self.ssh or None,
            "pull": self.pull,
            "cache": not self.no_cache,
            "network": settings.network or None,
            "platforms": [settings.platform] if settings.platform else None,
            "provenance": settings.provenance,
            "output": dict(pair.split("=", 1) for pair in (line([f"{n}={v}"]) for n, v in self.output.items())),
        }


PUSHED = {"type": "image", "push": "true"}
