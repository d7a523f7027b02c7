"""beamdock 0.1.0: the flags of each task, with docker's own names. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Optional

from .declare import Common, flag
from .words import Out


@dataclass(frozen=True)
class BuildFlags(Common):
    """Flags of the tasks that build, with docker's own names."""

    registry: str = flag("", "the registry to push to, instead of the setting's")
    build_arg: Optional[list[str]] = flag(None, "a build argument, NAME=VALUE; may be repeated", many=True)
    secret: Optional[list[str]] = flag(
        None, "a secret of the dependency step, id=NAME,src=FILE or id=NAME,env=VARIABLE; may be repeated", many=True
    )
    ssh: str = flag("", "how to reach private dependencies: default (the SSH agent), or default=FILE of a socket or a key")
    no_cache: bool = flag(False, "build every step anew")
    pull: bool = flag(False, "look for newer base images")
    verbose: bool = flag(False, "show all that BuildKit writes, also where it is not a terminal")

    @property
    def out(self) -> Out:
        return Out(self.quiet, self.dry_run, "plain" if self.verbose else os.environ.get("BUILDKIT_PROGRESS", ""))  # docker's own


@dataclass(frozen=True)
class ImageFlags(BuildFlags):
    """Flags of build and push."""

    tag: Optional[list[str]] = flag(None, "one more tag; may be repeated", many=True)
    target: str = flag("runner", "the stage to build; another stage than runner is tagged COMMIT-STAGE")


@dataclass(frozen=True)
class ReleaseFlags(ImageFlags):
    cache_from: Optional[list[str]] = flag(None, "import this cache too: an image, or type=...; may be repeated", many=True)
    cache_to: Any = flag(None, "export the cache as the setting `cache` says, or --cache-to=type=...", optional=True)
    incremental: bool = flag(True, "compile on top of the last build; --no-incremental compiles from nothing, as push does")
    load: bool = flag(True, "load the image into the engine; --no-load only fills the build cache")
    tarball: str = flag("", "write the release's tarball into this folder, instead of an image")


@dataclass(frozen=True)
class PushFlags(ImageFlags):
    branch: Any = flag(None, "push the branch's tag too; --branch=NAME for a given one", optional=True)
    force: bool = flag(False, "push with _checkouts that are in no commit, and list their files")


@dataclass(frozen=True)
class DepsFlags(BuildFlags):
    push: bool = flag(False, "push the image instead of loading it")
    key: bool = flag(False, "print the key, and build nothing")
    explain: bool = flag(False, "print what decides the key, and what of it has changed since the last build")


@dataclass(frozen=True)
class ConsoleFlags(Common):
    """Flags of run and console, with docker's own names."""

    publish: Optional[list[str]] = flag(
        None, "a port: 8080, 53:8053/udp; on 127.0.0.1 unless an address is given; may be repeated", many=True
    )
    env: Optional[list[str]] = flag(None, "a variable, NAME=VALUE, or NAME to pass it on; may be repeated", many=True)
    env_file: Optional[list[str]] = flag(None, "a file of NAME=VALUE lines; may be repeated", many=True)
    volume: Optional[list[str]] = flag(None, "a folder or file to mount, HOST:CONTAINER; may be repeated", many=True)
    network: str = flag("", "a network to join")
    memory: str = flag("", "memory limit, 512m for example")
    cpus: str = flag("", "processors, 1.5 for example")
    name: str = flag("", "the container's name (default: IMAGE-BRANCH)")
    tag: str = flag("", "the image's tag (default: the branch's)")
    writable: bool = flag(False, "let the container write to its root file system")


@dataclass(frozen=True)
class RunFlags(ConsoleFlags):
    detach: bool = flag(False, "run it in the background, and print the container's id")
    wait: bool = flag(True, "with --detach, wait until the node has started or ended; --no-wait does not wait")


@dataclass(frozen=True)
class ContainerFlags(Common):
    name: str = flag("", "the container's name, where there are several")


@dataclass(frozen=True)
class EvalFlags(ContainerFlags):
    expression: str = flag(None, "an Erlang expression")


@dataclass(frozen=True)
class RpcFlags(ContainerFlags):
    module: str = flag(None, "the module")
    function: str = flag(None, "the function; its arguments follow --, each a term")


@dataclass(frozen=True)
class ShellFlags(ContainerFlags):
    image: Any = flag(None, "open a new container of the branch's image instead, or of --image=REFERENCE", optional=True)


@dataclass(frozen=True)
class LogsFlags(ContainerFlags):
    f: bool = flag(False, "follow what it writes, until Ctrl-C")
    tail: str = flag("", "how many of the last lines to show")


@dataclass(frozen=True)
class StopFlags(ContainerFlags):
    kill: bool = flag(False, "end it at once, and not in order")
    time: int = flag(30, "seconds to wait for the orderly stop")


@dataclass(frozen=True)
class CleanFlags(Common):
    keep: int = flag(3, "how many of the newest images stay, besides this commit's, this branch's and those in use")
    caches: bool = flag(True, "empty its cache mounts too; --no-caches leaves them")


@dataclass(frozen=True)
class InitFlags(Common):
    dry_run: bool = flag(False, "say what would be written, and write nothing")
    dir: str = flag(None, "the other repo's folder")
    ci: bool = flag(True, "copy ci/requirements.txt too; --no-ci leaves it out")
