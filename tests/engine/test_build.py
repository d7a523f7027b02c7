"""invoke build: what it prints, which tags it gives, and what makes it work again."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from kit.engines import SECOND_IS_LONG, Engine, poll
from kit.repos import CI, PLAIN, Desk, Repo
from kit.terminal import ended, typing


def test_reference_on_stdout_and_the_tags(tiny_on_each: Desk) -> None:
    """The commit's tag and the branch's, one image; the reference on stdout, everything else on stderr; never `latest`."""
    desk, commit = tiny_on_each, tiny_on_each.repo.head
    done = desk.invoke("build")
    assert done.out == desk.reference(commit)
    assert "building" in done.err
    assert desk.images == {desk.reference(commit), desk.reference()}
    assert len(set(desk.engine.ids(desk.reference(commit), desk.reference()))) == 1
    again = desk.invoke("release", "--quiet")
    assert (again.out, again.err) == (desk.reference(commit), "")


def test_nothing_to_do(desk: Desk) -> None:
    before = desk.engine.ids(desk.reference())
    done = desk.invoke("build")
    assert done.steps == []
    assert re.search(r"up to date in \d", done.err)
    assert desk.engine.ids(desk.reference()) == before


def test_a_terminal_is_told_what_was_made(tiny_on_each: Desk) -> None:
    """BuildKit's drawn progress does not keep what a step said: its record is asked, which buildx 0.13 can't."""
    desk = tiny_on_each
    desk.repo.edit("src/tiny.erl", "42", "ssl:start(), 42")
    new = desk.engine.name == "TEST_ENGINE_28"
    modules = "1 module compiled" if new else "(release assembled|1 module compiled)"
    for dependencies, answer in ((r"compiled \(0 modules\)" if new else "compiled.*", "41"), ("cached", "43")):
        desk.repo.edit("src/tiny.erl", "42", answer)
        with typing(desk, "build") as child:
            if new:
                child.expect_exact("warning: the release calls functions that are not in it: ssl:start/0 (in tiny:answer/0)\r\n")
            child.expect(rf"built in [\d.]+ s: dependencies {dependencies}, {modules}\r\n")
            assert ended(child) == 0
        desk.repo.edit("src/tiny.erl", answer, "42")


def test_without_a_terminal_a_step_is_a_line(tiny: Desk) -> None:
    """Each with its seconds; all that BuildKit wrote with --verbose; warnings once, at the end, before what was built."""
    tiny.repo.edit("config/vm.args.src", "-sname tiny", "-sname tiny\n-setcookie abc")
    tiny.repo.edit("src/tiny.erl", "42", "ssl:start(), 42")
    lines = tiny.invoke("build", env={"BUILDKIT_PROGRESS": ""}).err.splitlines()
    steps = [line for line in lines if re.match(r" +([\d.]+ s|cached)  \[", line)]
    assert [line for line in steps if re.search(r"[\d.]+ s  \[releaser 1/1\] RUN /scripts/pack$", line)]
    assert 10 < len(steps) <= 20 and len(lines) <= len(steps) + 8
    assert lines[0].startswith("tiny ") and lines[-1].startswith("next: ")
    assert [line.partition(" ")[0] for line in lines[-6:]] == ["warning:", "hint:", "warning:", "hint:", "built", "next:"]
    assert lines[-4] == "warning: the release calls functions that are not in it: ssl:start/0 (in tiny:answer/0)"
    assert len([line for line in lines if line.startswith("warning: ")]) == 2
    assert "transferring context" in tiny.invoke("build", "--verbose", env={"BUILDKIT_PROGRESS": ""}).err


def test_without_a_terminal_a_failure_shows_all(tiny: Desk) -> None:
    """No excerpt of the Dockerfile where the fault is the repo's; it stands where it is the Dockerfile's."""
    tiny.repo.edit("src/tiny.erl", "42.", "42)")
    done = tiny.invoke("build", code=1, env={"BUILDKIT_PROGRESS": ""})
    assert "===> Compiling src/tiny.erl failed" in done.err and "transferring context" in done.err
    assert "--------------------" not in done.err and "ERROR: failed" not in done.err
    tiny.repo.write("Dockerfile", (tiny.repo.path / "Dockerfile").read_text() + "FROM runner AS broken\nRUN exit 7\n")
    tiny.repo.edit("src/tiny.erl", "42)", "42.")
    done = tiny.invoke("build", "--target=broken", code=1, env={"BUILDKIT_PROGRESS": ""})
    assert ">>> RUN exit 7" in done.err
    assert done.err.splitlines()[-2] == "error: a step of the Dockerfile failed with exit code 7: exit 7"


@SECOND_IS_LONG
def test_dirty_tree(tiny_on_each: Desk) -> None:
    """COMMIT-dirty and the branch's tag; the bare commit's stays with what was built from the commit alone."""
    desk, commit = tiny_on_each, tiny_on_each.repo.head
    desk.repo.edit("src/tiny.erl", "42", "43")
    done = desk.invoke("build")
    assert done.out == desk.reference(f"{commit}-dirty")
    assert desk.images == {done.out, desk.reference()}
    assert len(set(desk.engine.ids(done.out, desk.reference()))) == 1
    desk.repo.git("checkout", "--quiet", "src")
    clean = desk.engine.ids(desk.invoke("build").out)
    desk.repo.write("new.txt", "untracked")
    assert desk.invoke("build").out == desk.reference(f"{commit}-dirty")
    assert desk.engine.ids(desk.reference(commit)) == clean


def test_several_at_once_in_one_clone(tiny: Desk) -> None:
    """They give the same new tags at the same moment, and each ends well (with four of them one of three tries failed)."""
    tiny.repo.write("Dockerfile", PLAIN)
    for answer in range(3):
        tiny.repo.edit("src/tiny.erl", "answer() -> ", f"answer() -> {answer} + ")
        tiny.repo.commit()
        tiny.repo.write("new.txt", str(answer))
        words = [sys.executable, "-m", "invoke", "build", "--quiet"]
        builds = [
            subprocess.Popen(words, cwd=tiny.repo.path, env=tiny.engine.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(4)
        ]
        said = {build.communicate() for build in builds}
        assert [build.returncode for build in builds] == [0] * 4, said
        assert said == {(f"{tiny.reference(f'{tiny.repo.head}-dirty')}\n", "")}


def test_target(tiny: Desk) -> None:
    """Another stage has COMMIT-TARGET, and never the branch's tag."""
    commit = tiny.repo.head
    for target in ("builder", "releaser"):
        assert tiny.invoke("build", "--target", target).out == tiny.reference(f"{commit}-{target}")
    assert tiny.images == {tiny.reference(f"{commit}-builder"), tiny.reference(f"{commit}-releaser")}
    assert "rebar 3" in tiny.docker("run", "--rm", tiny.reference(f"{commit}-builder"), "rebar3", "version")
    assert "/out/root/release" in tiny.docker("run", "--rm", tiny.reference(f"{commit}-releaser"), "ls", "/out/root/release")
    tiny.repo.write("new.txt", "untracked")
    assert tiny.invoke("build", "--target=builder").out == tiny.reference(f"{commit}-dirty-builder")


def test_more_tags_and_a_registry(desk28: Desk) -> None:
    commit, where = desk28.repo.head, f"{desk28.engine.registry}/test/{desk28.repo.image}"
    done = desk28.invoke("build", "--tag=one", "--tag", "v2.0", f"--registry={desk28.engine.registry}/test")
    assert done.out == f"{where}:{commit}"
    assert desk28.engine.images(where) == {f"{where}:{tag}" for tag in (commit, desk28.repo.branch, "one", "v2.0")}
    assert len(set(desk28.engine.ids(*desk28.engine.images(where)))) == 1


def test_build_arg(tiny: Desk) -> None:
    """A build argument of the team's own reaches their Dockerfile, from the command line over the settings."""
    tiny.repo.edit("Dockerfile", "USER 1000:1000", 'ARG A=no\nARG B=no\nENV A="${A}" B="${B}"\nUSER 1000:1000')
    tiny.repo.settings("  build_args: {A: setting, B: setting}\n")
    reference = tiny.invoke("build", "--build-arg", "A=of the line, with = and ü").out
    env = json.loads(tiny.docker("image", "inspect", "--format={{json .Config.Env}}", reference))
    assert {"A=of the line, with = and ü", "B=setting"} <= set(env)


def test_no_cache(tiny: Desk, empty_engine: Engine) -> None:
    """On an engine of its own: a build that runs at the same time shares such steps, and finds none of them cached."""
    desk = Desk(empty_engine, tiny.repo)
    desk.invoke("build")
    assert desk.invoke("build").steps == []
    assert {"base", "builder", "prod_compiled", "releaser", "checked"} <= set(desk.invoke("build", "--no-cache").steps)


def test_no_load(tiny_on_each: Desk) -> None:
    """Only the cache is filled: no image, no reference, and the next build has nothing to run."""
    done = tiny_on_each.invoke("build", "--no-load")
    assert done.steps
    assert (done.out, tiny_on_each.images) == ("", set())
    assert tiny_on_each.invoke("build").steps == []


def test_tarball(desk: Desk, tmp_path: Path) -> None:
    """A tarball that boots wherever it is unpacked on the same system."""
    done = desk.invoke("build", "--tarball", str(tmp_path / "out"))
    assert done.out == str(tmp_path / "out" / f"tiny-{desk.repo.head}.tar.gz")
    script = "mkdir /rel && tar -xzf /tarball/*.tar.gz -C /rel && exec /rel/bin/tiny foreground"
    label = f"--label=beamdock.project={desk.repo.image}"
    container = desk.docker(
        "run", "--detach", "--init", label, f"--volume={tmp_path}/out:/tarball:ro", desk.engine.run_base, "sh", "-c", script
    )
    poll(lambda: desk.docker("exec", container, "/rel/bin/tiny", "ping", check=False) == "pong")
    assert desk.docker("exec", container, "/rel/bin/tiny", "eval", "tiny:answer().") == "42"
    desk.docker("rm", "--force", container)


@SECOND_IS_LONG
def test_dry_run_prints_what_gives_the_same_image(tiny_on_each: Desk) -> None:
    desk = tiny_on_each
    printed = desk.invoke("build", "--dry-run")
    assert printed.out.startswith("docker buildx build ")
    assert desk.images == set()
    ran = desk.sh(printed.out)
    assert "releaser" in ran.steps
    by_hand = desk.engine.ids(desk.reference(desk.repo.head))
    built = desk.invoke("build")
    assert built.steps == []
    assert desk.engine.ids(built.out, desk.reference()) == by_hand * 2


@SECOND_IS_LONG
def test_git_noise_builds_nothing(tiny_on_each: Desk) -> None:
    """What leaves commit and files as they are leaves the image as it is."""
    desk, git = tiny_on_each, tiny_on_each.repo.git
    desk.repo.settings('  version: "{git, long}"\n')
    desk.repo.commit()
    before = desk.engine.ids(desk.invoke("build").out)

    def unchanged(what: str) -> None:
        done = desk.invoke("build")
        assert (done.steps, desk.engine.ids(done.out)) == ([], before), what

    for file in desk.repo.path.glob("src/*"):
        file.touch()
    git("status")
    unchanged("touch, status")
    desk.repo.edit("src/tiny.erl", "42", "43")
    git("stash")
    git("gc", "--aggressive", "--quiet", "--prune=now")
    unchanged("stash, gc")
    other = desk.repo.path.parent / "other"
    git("clone", "--quiet", str(desk.repo.path), str(other))
    git("-C", str(other), "commit", "--quiet", "--allow-empty", "--message=theirs")
    git("-C", str(other), "tag", "theirs")
    git("fetch", "--quiet", "--tags", str(other), f"{desk.repo.branch}:theirs")
    git("branch", "mine")
    unchanged("fetch, branch, tag")


def test_tag_elsewhere_builds_nothing(tiny: Desk) -> None:
    """A version of tags and history reads those of its own ancestors only, and `git describe` answers as it does here."""
    git = tiny.repo.git
    tiny.repo.settings("  version: git\n")
    tiny.repo.edit("rebar.config", "{git, long}", "git")
    tiny.repo.commit()
    git("tag", "--annotate", "--message=1.2.0", "1.2.0")
    tiny.repo.write("src/tiny.hrl", "")
    commit = tiny.repo.commit()
    reference = tiny.invoke("build").out
    version = tiny.docker("run", "--rm", "--entrypoint=cat", reference, "releases/start_erl.data").split()[1]
    assert version == f"1.2.0+build.1.ref{commit[:7]}"
    git("checkout", "--quiet", "-b", "side", "HEAD~1")
    tiny.repo.commit("side")
    git("tag", "--annotate", "--message=9.9.9", "9.9.9")
    git("checkout", "--quiet", tiny.repo.branch)
    git("gc", "--aggressive", "--quiet", "--prune=now")
    before = tiny.engine.ids(reference)
    done = tiny.invoke("build")
    assert (done.steps, tiny.engine.ids(done.out)) == ([], before)


def test_a_commit_of_documents_compiles_nothing(tiny: Desk) -> None:
    """It is another version: that is written into the release, which is looked at again. In CI too, where all is from nothing."""
    desk, unused = tiny, "function f/0 is unused"  # what the compiler says, whenever it compiles this
    desk.repo.write("src/odd.erl", "-module(odd).\nf() -> 1.\n")
    for env in ({}, CI):
        assert unused in desk.invoke("build", env=env).err
        desk.repo.write("README.md", str(env))
        desk.repo.write("test/tiny_SUITE.erl", f"% {env}")
        desk.repo.commit()
        done = desk.invoke("build", env=env)
        assert done.steps == ["checked", "releaser"]
        assert env or "0 modules compiled" in done.err
        assert unused not in done.err


def test_what_an_edit_builds_again(tiny: Desk) -> None:
    """Nothing, of what a release does not read. Of a source, neither the toolchain nor the dependencies, and the edit is in the image. Of
    the dependencies, these."""
    desk = tiny
    desk.invoke("build")
    for name in ("README.md", "tests/unit/test_x.py", "test/tiny_SUITE.erl", ".github/workflows/ci.yml", "doc/x.txt"):
        desk.repo.write(name, "new")
    assert desk.invoke("build").steps == []
    desk.repo.edit("invoke.yaml", "beamdock:", "# a comment\nbeamdock:")
    assert desk.invoke("build").steps == []
    desk.repo.edit("src/tiny.erl", "42", "43")
    done = desk.invoke("build")
    assert done.steps == ["checked", "releaser"]
    assert not {"base", "builder", "runner_base"} & set(done.steps)
    container = desk.start()
    assert desk.node(container, "eval", "tiny:answer().") == "43"
    desk.repo.edit("rebar.config", "{erl_opts, [debug_info]}.", "{erl_opts, [debug_info]}.\n{deps, []}.")
    assert "builder" in desk.invoke("build").steps


def test_worktree(tiny: Desk) -> None:
    """Where .git is a file that points elsewhere, the version is right all the same."""
    folder = tiny.repo.path.parent / "worktree"
    tiny.repo.git("worktree", "add", "--quiet", "-b", "side", str(folder))
    there = Desk(tiny.engine, Repo(folder, tiny.repo.image, branch="side"))
    commit = there.repo.commit("side")
    reference = there.invoke("build").out
    assert there.images == {reference, there.reference("side")}
    assert commit in there.docker("run", "--rm", "--entrypoint=cat", reference, "releases/start_erl.data")


SCRIPT = """\
case file:read_file("/root/.config/rebar3/hex.config") of
    {ok, Secret} when Secret =/= <<>> -> io:format("secret of ~b bytes~n", [byte_size(Secret)]);
    _ -> ok
end,
case os:getenv("SSH_AUTH_SOCK") of
    false -> ok;
    _ -> io:format("key: ~ts~n", [os:cmd("ssh-add -l")])
end,
CONFIG.
"""


def test_secrets_are_shown_to_a_step_and_leave_no_trace(tiny: Desk, tmp_path: Path) -> None:
    """--secret and --ssh reach the dependency step; neither a file nor the history of any stage holds them."""
    desk = tiny
    key = desk.docker("run", "--rm", desk.engine.build_base, "sh", "-c", "ssh-keygen -qt ed25519 -N '' -C the-key -f /k && cat /k")
    (tmp_path / "key").write_text(f"{key}\n")
    (tmp_path / "key").chmod(0o600)
    secret = f'#{{token => <<"{"s3cr3t" * 9}">>}}.'
    (tmp_path / "hex.config").write_text(secret)
    desk.repo.write("rebar.config.script", SCRIPT)
    options = [f"--secret=id=hex.config,src={tmp_path}/hex.config", f"--ssh=default={tmp_path}/key"]
    done = desk.invoke("build", *options)
    assert f"secret of {len(secret)} bytes" in done.err
    assert "(ED25519)" in done.err
    for reference in (done.out, desk.invoke("build", "--target=releaser", *options).out):
        with desk.engine.exported(reference) as tar:
            for member in tar:
                if member.isfile() and (file := tar.extractfile(member)):
                    assert b"s3cr3ts3cr3t" not in file.read(), member.name
        assert "s3cr3t" not in desk.docker("image", "history", "--no-trunc", reference) + desk.docker("image", "inspect", reference)
