"""beamdock 0.1.0: a build, as values. SPDX-License-Identifier: Apache-2.0

A task makes a `Request`. The files, the settings and git make `Inputs` of it, and a `Build` is the whole plan: what can be printed,
compared, and run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Optional

from .project import Project


@dataclass(frozen=True)
class Output:
    """Where the result of a build goes. type: BuildKit's exporter; push: to the registry, not into the engine; folder: of `local`."""

    type: str
    push: bool = False
    folder: str = ""

    @property
    def is_loaded(self) -> bool:
        return self.type == "image" and not self.push


LOADED = Output("image")
PUSHED = Output("image", push=True)
NOWHERE = Output("cacheonly")


@dataclass(frozen=True)
class Request:
    """What a task wants built, beside what the settings say.

    tags: without the repository. branch: whose caches come first. cache_from: caches to import, in buildx's words. exports: whether a
    cache is exported; export_to: where to, in buildx's words ('': as the setting `cache` says). origin: the label of a local image
    that says whose it is.
    """

    target: str
    output: Output
    tags: tuple[str, ...] = ()
    branch: str = ""
    build_args: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    ssh: str = ""
    pull: bool = False
    no_cache: bool = False
    incremental: bool = False
    cache_from: tuple[str, ...] = ()
    exports: bool = False
    export_to: str = ""
    origin: str = ""


@dataclass(frozen=True)
class Inputs:
    """What decides the bytes that a build makes, beside the project's own files. contexts: by name, each path -> content."""

    project: Project
    target: str
    build_args: Mapping[str, str]
    contexts: Mapping[str, Mapping[str, bytes]]

    @property
    def store(self) -> str:
        """The key under which the compiled dependencies stay for the next build; '' where a build compiles from nothing."""
        return self.build_args.get("STORE", "")


@dataclass(frozen=True)
class DepsKey:
    """All that decides the builder stage, which has the compiled dependencies: its checksum, and the SHA-256 of each part by name."""

    checksum: str
    parts: Mapping[str, str]


@dataclass(frozen=True)
class Caches:
    """What a build takes from other machines, and what it leaves for them. All but the image are buildx's words.

    asked: imports that somebody asked for. tried: imports that nobody asked for; they are left out where the dependencies are compiled
    already. deps_image: the image that is the builder stage, where the registry has it. export: '' for none.
    """

    asked: tuple[str, ...] = ()
    tried: tuple[str, ...] = ()
    deps_image: str = ""
    export: str = ""

    @property
    def imports(self) -> tuple[str, ...]:
        return (*self.asked, *self.tried)

    @property
    def without_deps_image(self) -> Caches:
        return dataclasses.replace(self, deps_image="")


@dataclass(frozen=True)
class Build:
    """One `docker buildx build`, planned. tags: whole references. access: files of git's configuration that are mounted as secrets:
    they say how dependencies are reached, not which, and so they are in no layer and no key."""

    inputs: Inputs
    request: Request
    deps_key: DepsKey
    tags: tuple[str, ...]
    labels: Mapping[str, str]
    secrets: tuple[str, ...]
    ssh: str
    access: Mapping[str, bytes]
    caches: Caches = Caches()

    @property
    def project(self) -> Project:
        return self.inputs.project

    @property
    def contexts(self) -> Mapping[str, Mapping[str, bytes]]:
        return self.inputs.contexts

    @property
    def build_args(self) -> Mapping[str, str]:
        return self.inputs.build_args

    def with_caches(self, caches: Optional[Caches]) -> Build:
        """The same build with other caches. None: without any import."""
        return dataclasses.replace(self, caches=caches or Caches(export=self.caches.export))
