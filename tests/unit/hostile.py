"""What runs the corpus: a case is a repo with something wrong in it, a command, and how that must end."""

from __future__ import annotations

import compileall
import ctypes
import gc
import hashlib
import importlib
import importlib.util
import itertools
import os
import re
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional, Union

from kit.repos import TINY_CONFIG, Repo, Result, new_repo

from unit.conftest import become_invoke

importlib.import_module("python_on_whales")  # here, and not in each fork

CONFIG = TINY_CONFIG.replace("{git, long}", '"1"')  # a version that asks git for nothing, which takes half as long
Thing = Union[str, bytes, Callable[[Path], object]]


@dataclass(frozen=True)
class Case:
    """files: path -> what is made there, a text or one of the functions below; says: an expression that its words match (those on
    stdout, where it succeeds); streams: as a shell writes them; room: bytes that a file may have, as on a full disk."""

    name: str
    args: str
    code: Optional[int]  # None: 0, 1 or 2
    says: str = ""
    files: Mapping[str, Thing] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    streams: str = ""
    cwd: str = "."
    room: int = resource.RLIM_INFINITY


# ---- what may stand at a path


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def folder(path: Path) -> None:
    path.mkdir(parents=True)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def listener(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def unreadable(text: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.write_text(text)
        path.chmod(0)

    return make


def read_only(*files: str) -> Callable[[Path], None]:
    """A folder that nobody may write into, with these files in it, as after one `sudo invoke`."""

    def make(path: Path) -> None:
        for name in files:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text("")
            (path / name).chmod(0o444)
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o555)

    return make


def hidden(path: Path) -> None:
    """A folder that nobody may look into."""
    path.mkdir(parents=True)
    path.chmod(0)


def locked(path: Path) -> None:
    """The folder that is there, for nobody to write into."""
    path.chmod(0o555)


def git(*args: str) -> Callable[[Path], object]:
    """A git command in the repo: with the path "." """
    return lambda path: Repo(path, "").git(*args)


KEEP = {locked}  # of these functions: they take what is there


def make(root: Path, files: Mapping[str, Thing]) -> None:
    for name, thing in files.items():
        path = root / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if name != "." and thing not in KEEP:
            remove(path)
        if callable(thing):
            thing(path)
        else:
            path.write_bytes(thing if isinstance(thing, bytes) else thing.encode())


# ---- the process


def obey_modes() -> None:
    """Root reads and writes everything; without these capabilities it is as everybody."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        header, words = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            assert libc.prctl(24, capability, 0, 0, 0) == 0  # PR_CAPBSET_DROP: for git and docker
        assert libc.capget(header, words) == 0
        for i in (0, 1, 2):
            words[i] &= ~0b110
        assert libc.capset(header, words) == 0


@contextmanager
def opened(streams: str, out: int, err: int) -> Iterator[list[Optional[int]]]:
    """stdin, stdout and stderr, as a shell's words have them: 2>&-, 1>/dev/full, `1|` for a reader that has gone."""
    with ExitStack() as stack:

        def file(name: str, flags: int) -> int:
            number = os.open(name, flags)
            stack.callback(os.close, number)
            return number

        found: list[Optional[int]] = [file(os.devnull, os.O_RDONLY), out, err]
        for word in streams.split():
            number, how = int(word[0]), word[1:]
            if how in (">&-", "<&-"):
                found[number] = None
            elif how == "|":
                reader, writer = os.pipe()
                os.close(reader)
                stack.callback(os.close, writer)
                found[number] = writer
            else:
                found[number] = file(how[1:], os.O_RDWR)
        yield found


def unlock(folder: Path) -> None:
    """Let what cases have locked be removed."""
    for inner, _, _ in os.walk(folder):
        Path(inner).chmod(0o755)


def copy_over(source: Path, target: Path) -> None:
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True)
    elif os.path.lexists(source):
        shutil.copy2(source, target, follow_symlinks=False)


@dataclass(frozen=True)
class Running:
    """A case that has been started."""

    case: Case
    child: int
    out: int
    err: int

    def result(self) -> Result:
        """How it ended. Waits for that."""
        code = os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])
        texts = []
        for number in (self.out, self.err):
            with os.fdopen(number, "rb") as file:
                file.seek(0)
                texts.append(file.read().decode(errors="replace"))
        return Result(code, *texts)


@dataclass(frozen=True)
class Corpus:
    """A repo that each case has a copy of. The copy's place is the same for all: Python finds its modules compiled."""

    template: Repo
    env: Mapping[str, str]
    place: Path
    touched: list[str] = field(default_factory=list)  # by the case that is in its place

    @property
    def package(self) -> str:
        """The name under which the place's rooms are loaded."""
        return f"beamdock_{hashlib.sha256(bytes(self.place / 'ci' / 'beamdock')).hexdigest()[:12]}"

    def prepare(self, case: Case) -> None:
        """Put the case's repo into its place. Of the last case's only what it had touched is taken back, which is faster."""
        parts = {name.split("/")[0] for name in self.touched} | {"_build"}
        if parts & {".", "..", ".git"} or not self.place.exists():
            unlock(self.place.parent)
            shutil.rmtree(self.place.parent, ignore_errors=True)
            shutil.copytree(self.template.path, self.place, symlinks=True)
        else:
            for part in parts:
                unlock(self.place / part)
                remove(self.place / part)
                copy_over(self.template.path / part, self.place / part)
        self.touched[:] = case.files
        make(self.place, case.files)

    def start(self, case: Case) -> Running:
        """Start a case in a fork of this process. It ends after 8 s, whatever it waits for."""
        out, err = os.memfd_create("stdout"), os.memfd_create("stderr")
        with opened(case.streams, out, err) as streams:
            child = os.fork()
            if not child:
                gc.disable()  # it would copy the parent's memory
                signal.alarm(8)
                obey_modes()
                resource.setrlimit(resource.RLIMIT_FSIZE, (case.room, resource.RLIM_INFINITY))
                become_invoke(shlex.split(case.args), self.place / case.cwd, {**self.env, **case.env}, streams, self.package)
        return Running(case, child, out, err)

    def run(self, case: Case) -> Result:
        """Put a case into its place, and run it."""
        self.prepare(case)
        return self.start(case).result()

    def run_process(self, case: Case) -> Result:
        """Run a case as a shell does."""
        streams = case.streams.replace("1|", "")
        command = f"{shlex.quote(sys.executable)} -m invoke {case.args} {streams}" + (" | true" if "1|" in case.streams else "")
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=self.place / case.cwd,
            env={**self.env, **case.env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            preexec_fn=obey_modes,
            timeout=60,
            check=False,
        )
        return Result(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def new_corpora(folder: Path, env: Mapping[str, str], count: int) -> list[Corpus]:
    """The smallest repo that is in order: an application, and a release of it. What is the same in all copies is a link.
    It has several places, so that several cases can run at once."""
    repo = new_repo(folder / "template", "main")
    shutil.rmtree(repo.path / ".git" / "hooks", ignore_errors=True)
    (repo.path / "ci").rename(folder / "ci")
    (repo.path / "ci").symlink_to(folder / "ci")
    repo.write("rebar.config", CONFIG)
    repo.write("rebar.lock", "[].\n")
    repo.write("config/vm.args.src", "-sname tiny\n")
    repo.write("src/tiny.app.src", '{application, tiny, [{vsn, "1"}, {applications, [kernel, stdlib]}]}.\n')
    repo.write("ci/requirements.txt", "invoke\n")
    repo.write("invoke.yaml", "beamdock:\n  image: tiny\n")
    repo.commit("tiny")
    repo.git("repack", "-adq")
    for compiled in (repo.path, folder / "ci"):
        compileall.compile_dir(compiled, quiet=1)
    corpora = [Corpus(repo, env, folder / f"copy{number}" / "project") for number in range(count)]
    for corpus in corpora:
        corpus.prepare(Case("", "", 0))
        spec = importlib.util.spec_from_file_location("tasks", corpus.place / "tasks.py")
        assert spec and spec.loader
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    gc.collect()
    gc.freeze()
    return corpora


def run_all(corpora: Sequence[Corpus], cases: Iterable[Case]) -> Iterator[tuple[Case, Result]]:
    """Run cases, as many at once as there are places."""
    running: list[Running] = []
    for case, corpus in zip(cases, itertools.cycle(corpora)):
        if len(running) == len(corpora):
            yield running[0].case, running.pop(0).result()
        corpus.prepare(case)
        running.append(corpus.start(case))
    yield from ((each.case, each.result()) for each in running)


def faults(case: Case, done: Result) -> list[str]:
    """How a case ended other than it must."""
    words = done.out if done.code == 0 else done.err
    last = [line.partition(": ")[0] for line in done.err.rstrip("\n").split("\n")]
    heard = not re.search(r"2(>&-|>/dev/full|\|)", case.streams)
    found = {
        f"exit code {done.code}, and not {case.code}": done.code not in ((0, 1, 2) if case.code is None else (case.code,)),
        "a stack": re.search(r"Traceback|Exception ignored|^  File \"", done.err + done.out, re.MULTILINE),
        f"no word of {case.says!r}": (heard or done.code == 0) and not re.search(case.says, words),
        "no error at the end": heard and done.code and "error" not in last[-2:],
        "a control character": re.search(r"[\x00-\x08\x0b-\x1f\x7f]", done.out + done.err),
    }
    return [fault for fault, there in found.items() if there]


def report(case: Case, done: Result, found: Sequence[str]) -> str:
    return (
        f"{case.name}: {'; '.join(found)}\n  invoke {case.args} {case.streams}\n  stdout: {done.out[-500:]!r}\n  stderr: {done.err[-1500:]}"
    )
