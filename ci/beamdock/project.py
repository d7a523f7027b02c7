"""beamdock 0.1.0: all that is read of the files, the settings and git, once. SPDX-License-Identifier: Apache-2.0"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from .configuration import setting_lines
from .consult import TermFile, read_terms
from .files import expand_home, read_text
from .git import Tree, read_tree
from .rebar import Release, choose_release, gather_facts, read_config
from .settings import Settings, merge_settings, override_settings
from .tags import current_branch
from .values import PATH, Wrong, refuse, refuse_wrong_folder, shown
from .words import KEY, Out, failure


@dataclass(frozen=True)
class Project:
    """All that is read of the files, the settings and git, once, before anything is planned.

    sources: where each setting that is set came from; scripted: may a rebar.config.script change the release or its version?
    dockerfile: its text; environ: the variables that a task was started with; copy: for a push, a copy of the project's folder."""

    root: Path
    settings: Settings
    sources: Mapping[str, str]
    rebar_config: TermFile
    release: Release
    scripted: bool
    tree: Tree
    dockerfile: str
    environ: Mapping[str, str] = field(default_factory=dict)
    copy: Optional[Path] = None

    @property
    def image(self) -> str:
        """The image's name in a registry, in the form that the OCI distribution specification asks for."""
        name = self.release.name.lower()
        return self.settings.image or (name if re.fullmatch(PATH, name) else re.sub(r"[^a-z0-9]+", "-", name).strip("-")) or "release"

    @property
    def branch_or_ci(self) -> str:
        """The branch that is checked out, or that CI says it is building; '' where neither is known."""
        return current_branch(self.tree, self.environ)

    @property
    def mounts_prefix(self) -> str:
        """How the ids of this project's cache mounts begin, in the Dockerfile."""
        return self.image.replace("/", "-")

    @property
    def repository(self) -> str:
        """The image's name with the registry's before it, where there is one."""
        return "/".join(part for part in (self.settings.registry, self.image) if part)

    @property
    def commit_tag(self) -> str:
        """The tag of the commit, and of a tree that differs from it."""
        return self.tree.commit + ("-dirty" if self.tree.dirty else "")

    @property
    def source_folder(self) -> Path:
        """The folder that a build's files are read from: the project's, or for a push a copy of it."""
        return self.copy or self.root

    def file(self, name: str) -> Path:
        """Return where a file is read that a setting names, from the project's folder or below ~."""
        file = Path(os.path.normpath(self.root / expand_home(name, f"under `{KEY}:` in invoke.yaml")))
        return self.source_folder / file.relative_to(self.root) if file.is_relative_to(self.root) else file

    @property
    def context_folder(self) -> Path:
        """This repo's cache folder: in _build, which rebar3 owns and .dockerignore keeps out."""
        return self.root / "_build" / KEY


def read_project(
    home: Path, configured: Any, environment: Mapping[str, str], environ: Mapping[str, str], overrides: Mapping[str, str]
) -> Project:
    """Read everything that a task is about, in one place: settings, rebar.config, git. Nothing reads them again further down.

    home: the folder of tasks.py; configured: what Invoke has under our key, of its files.
    environment: INVOKE_BEAMDOCK_NAME, by the setting's name; environ: all other variables.
    overrides: values that flags called like the setting give; none is empty.
    Raises Exit where there is no project, where a setting or rebar.config can't be, and where git finds no commit."""
    root = find_root(home)
    values, lines = read_configuration(home, root, configured)
    settings, sources = merge_settings(values, environment, lines)
    settings, sources = override_settings(settings, sources, {name: (value, f"--{name}") for name, value in overrides.items()})
    settings, sources = override_settings(settings, sources, {} if settings.hex_mirror else hex_mirror_in(environ))
    config = read_config(root)
    scripted = (root / "rebar.config.script").is_file()
    release = choose_release(gather_facts(config.terms, settings.profile, scripted), settings.release, settings.profile)
    check_writable(settings, sources, release)
    if settings.version:
        # Where the setting says the version, nobody has to guess what the script makes of it.
        release, scripted = dataclasses.replace(release, version=parse_version(settings.version)), False
    dockerfile = read_dockerfile(root, settings, sources)
    return Project(root, settings, sources, config, release, scripted, read_tree(root), dockerfile, environ)


def with_rebar_config(folder: Path) -> Optional[Path]:
    """Return the folder of a rebar.config: this one, or the next above it; None where there is none."""
    return next((each for each in (folder, *folder.parents) if os.path.lexists(each / "rebar.config")), None)


def find_root(home: Path) -> Path:
    """Find the project's folder: the one with a rebar.config, from the folder of tasks.py upwards, else from the working directory
    upwards. Raises Exit where there is none."""
    if root := with_rebar_config(home) or with_rebar_config(Path.cwd()):  # the second may be gone, and is seldom asked for
        return root
    below = sorted(f.parent.relative_to(home) for pattern in ("*/rebar.config", "*/*/rebar.config") for f in home.glob(pattern))
    hint = f"is {below[0]} the project? Move tasks.py with its folder there, and `cd {below[0]}`" if below else "tasks.py belongs beside it"
    raise failure(f"there is no rebar.config in {home}, nor above it", hint)


def read_configuration(home: Path, root: Path, configured: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the settings that Invoke has of its files, and where those of invoke.yaml stand: name -> file:line. Raises Exit where
    they are no table."""
    configured = configured or {}
    if not hasattr(configured, "items"):
        raise failure(f"`{KEY}:` in Invoke's configuration is no table of settings", "`invoke config` lists them")
    plain = {name: dict(value) if hasattr(value, "items") else value for name, value in configured.items()}
    # Invoke looks for its file beside tasks.py.
    places = [folder / name for folder in (home, root) for name in ("invoke.yaml", "invoke.yml")]
    file = next((place for place in places if place.is_file()), None)
    return plain, setting_lines(file, plain) if file else {}


def hex_mirror_in(environ: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return the mirror that the variables of Hex and rebar3 name, as an override of the setting; {} where none does."""
    variable = next((name for name in ("HEX_CDN", "HEX_MIRROR") if environ.get(name)), "")
    return {"hex_mirror": (environ[variable], variable)} if variable else {}


def check_writable(settings: Settings, sources: Mapping[str, str], release: Release) -> None:
    """Raise Exit where a folder of the setting `writable` is one that the release's user must not write into."""
    try:
        for folder in settings.writable:
            refuse_wrong_folder(folder, release.name)
    except Wrong as wrong:
        refuse("`writable`", sources["writable"], wrong)


def parse_version(text: str) -> Any:
    """Return the Erlang term of the setting `version`. Raises Exit where it is none, or several."""
    try:
        (version,) = read_terms(f"{text}.")
    except ValueError:
        hint = 'version: "{git, long}", say'
        raise failure(f"`version` is {shown(text)}, and should be as rebar.config has it", hint) from None
    return version


def read_dockerfile(root: Path, settings: Settings, sources: Mapping[str, str]) -> str:
    """Return the Dockerfile's text, '' where there is none. Raises Exit where it can't be read."""
    file = root / expand_home(settings.dockerfile, f"`dockerfile`, {sources.get('dockerfile', 'default')}")
    return read_text(file) if os.path.lexists(file) else ""


def is_incremental(project: Project) -> bool:
    """Does the setting `incremental` let a build go on from the last one's files, here?"""
    mode = project.settings.incremental
    return mode == "always" or (mode == "desk" and not project.environ.get("CI"))


def next_commands(project: Project, *tasks: str) -> str:
    """Return the commands to type next, for the release that the flags chose."""
    chosen = f" --release {project.release.name}" if project.sources.get("release") == "--release" else ""
    return ", ".join(f"invoke {name}{chosen}" for name in tasks)


def announce(project: Project, what: str, out: Out) -> None:
    """Say of which release, commit and branch something is done now."""
    out.report(f"{project.release.name} {project.tree.commit[:8]} ({project.tree.branch or 'no branch'}): {what}")
