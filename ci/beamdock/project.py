"""beamdock 0.1.0: all that is read of the files, the settings and git, once. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from .consult import TermError, read_terms
from .declare import Common
from .files import expand_home, read_text
from .git import Tree, read_tree
from .rebar import Release, choose_release, rebar_facts
from .settings import PATH, Settings, check, resolve, yaml_lines
from .tags import current_branch
from .values import Wrong, refuse, shown, writable_folder
from .words import KEY, Out, failure


@dataclass(frozen=True)
class Project:
    """All that is read of the files, the settings and git, once, before anything is planned."""

    root: Path
    settings: Settings
    sources: Mapping[str, str]
    release: Release
    scripted: bool
    tree: Tree
    dockerfile: str
    environ: Mapping[str, str] = field(default_factory=dict)  # the variables that a task was started with
    copy: Optional[Path] = None

    @property
    def image(self) -> str:
        """The image's name in a registry, in the form that the OCI distribution specification asks for."""
        name = self.release.name.lower()
        return self.settings.image or (name if re.fullmatch(PATH, name) else re.sub(r"[^a-z0-9]+", "-", name).strip("-")) or "release"

    @property
    def branch(self) -> str:
        """The branch that is checked out, or that CI says it is building; '' where neither is known."""
        return current_branch(self.tree, self.environ)

    @property
    def repository(self) -> str:
        return "/".join(part for part in (self.settings.registry, self.image) if part)

    @property
    def commit_tag(self) -> str:
        return self.tree.commit + ("-dirty" if self.tree.dirty else "")

    @property
    def files(self) -> Path:
        """The folder that a build's files are read from: the project's, or for a push a copy of it."""
        return self.copy or self.root

    def file(self, name: str) -> Path:
        """Where a file is read that a setting names, from the project's folder or below ~."""
        file = Path(os.path.normpath(self.root / expand_home(name, f"under `{KEY}:` in invoke.yaml")))
        return self.files / file.relative_to(self.root) if file.is_relative_to(self.root) else file

    @property
    def context_folder(self) -> Path:
        """This repo's cache folder: in _build, which rebar3 owns and .dockerignore keeps out."""
        return self.root / "_build" / KEY


def with_config(folder: Path) -> Optional[Path]:
    """The folder of a rebar.config: this one, or one above it."""
    return next((f for f in (folder, *folder.parents) if os.path.lexists(f / "rebar.config")), None)


def read_project(home: Path, configured: Any, environment: Mapping[str, str], environ: Mapping[str, str], flags: Common) -> Project:
    """Everything that is read, in one place: settings, rebar.config, git. Nothing reads them again further down.

    home: the folder of tasks.py; configured: what Invoke has under our key.
    environment: INVOKE_BEAMDOCK_NAME, by name; environ: all other variables."""
    root = with_config(home) or with_config(Path.cwd())
    if not root:
        below = sorted(f.parent.relative_to(home) for pattern in ("*/rebar.config", "*/*/rebar.config") for f in home.glob(pattern))
        hint = (
            f"is {below[0]} the project? Move tasks.py with its folder there, and `cd {below[0]}`"
            if below
            else "tasks.py belongs beside it"
        )
        raise failure(f"there is no rebar.config in {home}, nor above it", hint)
    configured = configured or {}
    if not hasattr(configured, "items"):
        raise failure(f"`{KEY}:` in Invoke's configuration is no table of settings", "`invoke config` lists them")
    # Invoke's own place for it is beside tasks.py.
    files = [f for folder in (home, root) for n in ("invoke.yaml", "invoke.yml") if (f := folder / n).is_file()]
    plain = {n: dict(v) if hasattr(v, "items") else v for n, v in configured.items()}
    settings, sources = resolve(plain, environment, yaml_lines(files[0], plain) if files else {})
    given = {n: check(n, getattr(flags, n), f"--{n}") for n in ("registry", "release") if getattr(flags, n, "")}
    settings, sources = dataclasses.replace(settings, **given), {**sources, **{n: f"--{n}" for n in given}}
    if not settings.hex_mirror and (variable := next((n for n in ("HEX_CDN", "HEX_MIRROR") if environ.get(n)), "")):
        mirror = check("hex_mirror", environ[variable], variable)
        settings, sources = dataclasses.replace(settings, hex_mirror=mirror), {**sources, "hex_mirror": variable}
    scripted = (root / "rebar.config.script").is_file()
    try:
        rebar = rebar_facts(read_text(root / "rebar.config"), settings.profile, scripted)
    except TermError as error:
        raise failure(f"rebar.config:{error.line} can't be read: {error}", error.hint) from None
    release = choose_release(rebar, settings.release, settings.profile)
    try:
        for folder in settings.writable:
            writable_folder(folder, release.name)
    except Wrong as wrong:
        refuse("`writable`", sources["writable"], wrong)
    if settings.version:
        try:
            (version,) = read_terms(f"{settings.version}.")
        except ValueError:
            raise failure(
                f"`version` is {shown(settings.version)}, and should be as rebar.config has it", 'version: "{git, long}", say'
            ) from None
        # What the setting says, the script has not to be guessed at for.
        release, scripted = dataclasses.replace(release, version=version), False
    dockerfile = root / expand_home(settings.dockerfile, f"`dockerfile`, {sources.get('dockerfile', 'default')}")
    text = read_text(dockerfile) if os.path.lexists(dockerfile) else ""
    return Project(root, settings, sources, release, scripted, read_tree(root), text, environ)


def is_incremental(project: Project) -> bool:
    """Does the setting `incremental` let a build go on from the last one's files, here?"""
    mode = project.settings.incremental
    return mode == "always" or (mode == "desk" and not project.environ.get("CI"))


def invoke(project: Project, *tasks: str) -> str:
    """The commands to type next, for the release that these flags chose."""
    chosen = f" --release {project.release.name}" if project.sources.get("release") == "--release" else ""
    return ", ".join(f"invoke {name}{chosen}" for name in tasks)


def announce(project: Project, what: str, out: Out) -> None:
    out.report(f"{project.release.name} {project.tree.commit[:8]} ({project.tree.branch or 'no branch'}): {what}")
