"""The Dockerfile by itself: it lints clean, and what would make an image that can't run fails its build, with the way out."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from kit.engines import ROOT, Engine
from kit.repos import TINY_CONFIG, Desk


def failed(desk: Desk, *args: str, env: dict[str, str] | None = None) -> tuple[str, str]:
    """Error and hint of a build that must fail and leave no image."""
    done = desk.invoke("build", *args, code=1, env=env)
    lines = done.err.splitlines()
    assert [line.partition(": ")[0] for line in lines[-2:]] == ["error", "hint"], done.err
    assert (done.out, desk.images) == ("", set())
    return lines[-2].partition(": ")[2], lines[-1].partition(": ")[2]


def test_no_erts(tiny: Desk) -> None:
    tiny.repo.edit("rebar.config", "{include_erts, true}", "{include_erts, false}")
    tiny.repo.commit()
    error, hint = failed(tiny)
    assert error == "the release has no Erlang runtime in it (profile prod)"
    assert hint == "rebar.config, last inside {profiles, [{prod, [{relx, [ ... ]}]}]}: add {mode, prod}"


def test_plain_buildx_without_the_history(tiny: Desk) -> None:
    """`docker buildx build .` stops at the version 0.0.0 and prints what to add, which is what --dry-run prints."""
    bases = f"--build-arg=BUILD_BASE={tiny.engine.build_base} --build-arg=RUN_BASE={tiny.engine.run_base}"
    said = tiny.sh(f"docker buildx build --tag={tiny.reference('plain')} {bases} .", code=1).err
    assert "error: the release's version is 0.0.0" in said
    assert "--build-context git=DIR" in said
    assert tiny.images == set()
    added = f"--build-context={git_printed(tiny)}"
    tiny.sh(f"docker buildx build --load --provenance=false --tag={tiny.reference('plain')} {added} {bases} .")
    container = tiny.start("--tag=plain", f"--name=plain-{tiny.repo.image}")
    assert tiny.node(container, "eval", "tiny:answer().") == "42"


def git_printed(desk: Desk, *args: str) -> str:
    """git=DIR, as --dry-run prints it."""
    return next(word for word in shlex.split(desk.invoke("build", "--dry-run", *args).out) if word.startswith("git="))


def hook(desk: Desk, before_or_after: str, task: str, script: str) -> None:
    """Give the project a hook, committed."""
    desk.repo.write("hook.sh", f"set -eu\n{script}\n")
    desk.repo.write("rebar.config", TINY_CONFIG + f'{{{before_or_after}_hooks, [{{{task}, "sh hook.sh"}}]}}.\n')
    desk.repo.commit()


# Takes the boot script out of the packed release, as a careless overlay or hook would.
NO_BOOT = """\
cd $REBAR_BASE_DIR/prod/rel/tiny
mkdir x
tar -xzf *.tar.gz -C x
rm x/releases/*/start.boot
tar -czf *.tar.gz -C x .
"""


def test_no_boot_script(tiny: Desk) -> None:
    hook(tiny, "post", "tar", NO_BOOT)
    error, hint = failed(tiny)
    assert error == f"the release has no boot script, releases/{tiny.repo.head}/start.boot"
    assert hint


def test_no_start_script(tiny: Desk) -> None:
    tiny.repo.edit("rebar.config", "{extended_start_script, true}", "{extended_start_script, false}, {generate_start_script, false}")
    tiny.repo.commit()
    error, hint = failed(tiny)
    assert "no start script, bin/tiny" in error
    assert "{extended_start_script, true}" in hint


def native(desk: Desk, libraries: str) -> None:
    """Give the release a shared object in priv/, linked to these libraries."""
    desk.repo.write("c_src/nif.c", "int nif(void) { return 0; }\n")
    hook(desk, "pre", "compile", f"mkdir -p priv\ngcc -shared -fPIC -Wl,--no-as-needed -o priv/nif.so c_src/nif.c {libraries}")


def test_a_library_that_the_runner_lacks(tiny: Desk) -> None:
    """File, library and package are named; with that package in the settings the image builds and the library loads."""
    desk = tiny
    native(desk, "-lyaml -lsctp")
    desk.repo.settings("  build_packages: [libyaml-dev, libsctp-dev]\n")
    done = desk.invoke("build", code=1)
    base = desk.engine.run_base
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert errors == [f"error: lib/tiny-1/priv/nif.so needs {so}, which {base} lacks" for so in ("libyaml-0.so.2", "libsctp.so.1")]
    hints = [line for line in done.err.splitlines() if line.startswith("hint: ")]
    assert "libyaml-0-2" in " ".join(hints)
    assert "libsctp1" in " ".join(hints)
    assert desk.images == set()
    desk.repo.settings("  build_packages: [libyaml-dev, libsctp-dev]\n  runtime_packages: [libyaml-0-2, libsctp1]\n")
    desk.invoke("build")
    libraries = desk.docker("run", "--rm", "--entrypoint=sh", desk.reference(), "-c", "ldd lib/tiny-1/priv/nif.so")
    assert "libyaml-0.so.2 => /" in libraries
    assert "not found" not in libraries


def test_a_library_of_no_package(tiny: Desk) -> None:
    """One that the build made itself and did not put into the release: no package can be named, and the file and the library still are."""
    native(tiny, "/usr/local/lib/libown.so")
    tiny.repo.edit(
        "Dockerfile", "ln -s \"$REBAR_BASE_DIR\" _build\n",
        "ln -s \"$REBAR_BASE_DIR\" _build\necho 'int own;' | gcc -shared -Wl,-soname,libown.so.3 -o /usr/local/lib/libown.so -xc -\n",
    )  # fmt: skip
    error, hint = failed(tiny)
    assert error == f"lib/tiny-1/priv/nif.so needs libown.so.3, which {tiny.engine.run_base} lacks"
    assert "runtime_packages" in hint


ALPINE = """\
FROM {base} AS installed
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends busybox-static >/dev/null
RUN mkdir -p /a/bin /a/etc && cp /bin/busybox /a/bin && for i in $(/bin/busybox --list); do ln -s busybox /a/bin/$i || true; done
RUN printf 'NAME="Alpine Linux"\\nID=alpine\\nVERSION_ID=3.22.1\\nPRETTY_NAME="Alpine Linux v3.22"\\n' > /a/etc/os-release
RUN echo 3.22.1 > /a/etc/alpine-release
FROM scratch
COPY --from=installed /a /
LABEL beamdock.project={project}
"""


def test_alpine_is_refused(tiny: Desk) -> None:
    """With the reason and what would fit."""
    alpine = tiny.engine.build(ALPINE.format(base=tiny.engine.run_base, project=tiny.repo.image), f"alpine-{tiny.repo.image}:3.22")
    for which in ("BUILD_BASE", "RUN_BASE"):
        error, hint = failed(tiny, env={f"INVOKE_BEAMDOCK_{which}": alpine})
        assert re.match(f"{re.escape(alpine)} is Alpine Linux v3.22.* Debian or Ubuntu", error), which
        assert "debian:" in hint and "erlang:" in hint, which
    tiny.docker("rmi", "--force", alpine)


def test_bases_of_two_debian_releases_are_refused(tiny: Desk) -> None:
    change = "RUN sed -i 's/trixie/bookworm/; s/VERSION_ID=.*/VERSION_ID=12/' /etc/os-release /usr/lib/os-release"
    label = f"LABEL beamdock.project={tiny.repo.image}"
    older = tiny.engine.build(f"FROM {tiny.engine.run_base}\n{change}\n{label}\n", f"older-{tiny.repo.image}:12")
    error, hint = failed(tiny, env={"INVOKE_BEAMDOCK_RUN_BASE": older})
    assert error == f"the release was built on debian trixie and would run on debian bookworm ({older})"
    assert "build_base" in hint and "run_base" in hint
    tiny.docker("rmi", "--force", older)


def test_a_base_without_rebar3(tiny: Desk) -> None:
    error, hint = failed(tiny, env={"INVOKE_BEAMDOCK_BUILD_BASE": tiny.engine.run_base})
    assert error.endswith(" has no rebar3")
    assert "erlang:27" in hint


def test_one_of_several_releases(tiny: Desk) -> None:
    """The one that is chosen is built, by flag and by setting; plain buildx without a choice fails with the names."""
    two = TINY_CONFIG.replace("{relx, [", '{relx, [{release, {edge, "1.0"}, [sasl, tiny]}, ', 1)
    tiny.repo.write("rebar.config", two)
    commit = tiny.repo.commit()
    for release, args, env in (("edge", ["--release=edge"], {}), ("tiny", [], {"INVOKE_BEAMDOCK_RELEASE": "tiny"})):
        assert tiny.invoke("build", *args, env=env).out == tiny.reference(commit)
        there = tiny.docker("run", "--rm", "--entrypoint=ls", tiny.reference(), "/opt")
        assert there == release
    bases = f"--build-arg=BUILD_BASE={tiny.engine.build_base} --build-arg=RUN_BASE={tiny.engine.run_base}"
    said = tiny.sh(f"docker buildx build --build-context={git_printed(tiny, '--release=tiny')} {bases} .", code=1).err
    assert "several releases" in said
    assert "RELEASE=" in said


def test_hadolint_is_silent() -> None:
    hadolint = shutil.which("hadolint") or str(Path(sys.executable).with_name("hadolint"))
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_buildx_check_is_silent(engine28: Engine) -> None:
    bases = [f"--build-arg=BUILD_BASE={engine28.build_base}", f"--build-arg=RUN_BASE={engine28.run_base}"]
    done = subprocess.run(
        ["docker", "buildx", "build", "--check", *bases, "."], cwd=ROOT, env=engine28.env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "no warnings found" in done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
