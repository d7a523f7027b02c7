"""Options of run, and logs, ps, shell, diff: where the engines can't differ, so on one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from kit.engines import poll
from kit.repos import Desk, Result, run
from kit.terminal import ask as ask_in
from kit.terminal import ended, leave, typing


def test_environment(desk28: Desk, tmp_path: Path) -> None:
    """--env gives a value or passes one on, --env-file reads a file."""
    (tmp_path / "vars").write_text("FILED=from a file\n# not this\nTWICE=file\n")
    done = desk28.invoke(
        "run",
        "--detach",
        "--env",
        "A=x = 'y' ü",
        "--env=PASSED",
        "--env=TWICE=line",
        "--env-file",
        str(tmp_path / "vars"),
        env={"PASSED": "on"},
    )
    desk28.answers(done.out)
    expected = r'["x = \x{27}y\x{27} \x{fc}", "on", "from a file", "line"]'
    assert desk28.node(done.out, "eval", f'[os:getenv(N) || N <- ["A", "PASSED", "FILED", "TWICE"]] =:= {expected}.') == "true"


def test_limits_name_network_volume(desk28: Desk, tmp_path: Path) -> None:
    (tmp_path / "shared").write_text("of the host")
    network = desk28.docker("network", "create", f"--label=beamdock.project={desk28.repo.image}", f"net-{desk28.repo.image}")
    try:
        name = f"{desk28.repo.image}-chosen"
        container = desk28.start(
            f"--name={name}", "--memory=300m", "--cpus=1.5", f"--network={network}", f"--volume={tmp_path}/shared:/shared:ro"
        )
        facts = json.loads(desk28.docker("inspect", container))[0]
        assert facts["Name"] == f"/{name}"
        assert (facts["HostConfig"]["Memory"], facts["HostConfig"]["NanoCpus"]) == (300 * 2**20, 1_500_000_000)
        assert [n["NetworkID"] for n in facts["NetworkSettings"]["Networks"].values()] == [network]
        assert desk28.docker("exec", container, "cat", "/shared") == "of the host"
        assert f"{name} " in desk28.invoke("ps").out
        desk28.invoke("stop", "--name", name)
    finally:
        desk28.sweep()
        desk28.docker("network", "rm", network)


def test_arguments_keep_their_quoting(desk28: Desk) -> None:
    """What follows -- reaches the start script word by word."""
    desk28.start()
    assert desk28.invoke("shell", "--", "echo", "a  b", "it's", "", "$HOME").out == "a  b it's  $HOME"
    desk28.sweep()
    started = desk28.start("--", "foreground", "-extra", "one  word", "it's", "", "$HOME")
    expected = r'["one  word", "it\x{27}s", "", "$HOME"]'
    assert desk28.node(started, "eval", f"lists:nthtail(1, init:get_plain_arguments()) =:= {expected}.") == "true"


def test_writable_and_diff(desk28: Desk) -> None:
    """diff shows what a container with a writable root has written, and nothing for a read-only one."""
    container = desk28.start("--name=ro-" + desk28.repo.image)
    assert desk28.invoke("diff").out == ""
    desk28.docker("rm", "--force", container)
    container = desk28.start("--writable", "--name=rw-" + desk28.repo.image)
    assert desk28.invoke("diff").out == ""
    desk28.docker("exec", "--user=0", container, "sh", "-c", "echo x > /opt/made && mkdir /usr/sbin/own")
    assert {"A /opt/made", "A /usr/sbin/own", "C /usr/sbin"} <= set(desk28.invoke("diff").out.splitlines())
    assert "docker-init" not in desk28.invoke("diff").out


def test_logs(desk28: Desk) -> None:
    """What the node wrote; the end of it; and on until it ends; of a stopped container too."""
    container = desk28.start('--env=ERL_FLAGS=-eval \'io:format("~ts~n",[<<"first\\nsecond ü"/utf8>>])\'')
    poll(lambda: "second" in desk28.invoke("logs").out)
    assert desk28.invoke("logs").out.splitlines()[-2:] == ["first", "second ü"]
    assert desk28.invoke("logs", "--tail=1").out == "second ü"
    read_by_nobody = desk28.sh(f"{{ {sys.executable} -m invoke logs; echo $? >&2; }} | true")
    assert read_by_nobody.err.splitlines()[-1] == "141"  # as docker's own, in a shell
    with typing(desk28, "logs", "-f") as child:
        child.expect_exact("second ü")
        child.send("\x03")
        child.expect_exact("^C")
        poll(lambda: not child.isalive())
    assert desk28.node(container, "ping") == "pong"
    desk28.docker("stop", container)
    assert "second ü" in desk28.invoke("logs").out


def test_several_containers(desk28: Desk) -> None:
    """Nothing is asked: they are listed with exit code 2, and a name chooses."""
    names = [f"{desk28.repo.image}-{n}" for n in ("a", "b")]
    for name in names:
        desk28.invoke("run", "--detach", "--name", name)
    for task in ("attach --dry-run", "eval 1", "shell", "stop", "logs", "diff"):
        said = desk28.invoke(*task.split(), code=2).err
        assert all(name in said for name in names)
        assert re.search(r"^hint: .*--name", said, re.MULTILINE)
    assert "a-thing" in desk28.invoke("shell", f"--name={names[0]}", "--", "echo", "a-thing").out
    assert "no container called nobody" in desk28.invoke("eval", "1", "--name=nobody", code=1).err
    assert len(desk28.containers("--filter=status=running")) == 2
    table = desk28.invoke("ps").out.splitlines()
    assert [line.split()[0] for line in table] == ["NAMES", *reversed(names)]


def test_no_container(desk28: Desk) -> None:
    for task in ("attach --dry-run", "eval 1", "shell", "stop", "logs", "diff"):
        said = desk28.invoke(*task.split(), code=1).err
        assert said.startswith("error: no container of this project")
        assert "hint: invoke run" in said


def test_a_second_container_of_the_name(desk28: Desk) -> None:
    """A running one is not replaced, and is said to be this project's; one that has ended makes room. Another's is said to be."""
    first = desk28.start()
    said = desk28.invoke("run", "--detach", code=1).err
    error, hint = said.splitlines()[-2:]
    assert error.startswith(f"error: this project's container {desk28.repo.image}-{desk28.repo.branch} is there already (Up ")
    assert re.match("hint: invoke attach .*invoke stop .*--name", hint)
    other = desk28.docker("create", "--name", f"{desk28.repo.image}-other", desk28.engine.run_base)
    assert "it is not this project's" in desk28.invoke("run", f"--name={desk28.repo.image}-other", code=1).err
    desk28.docker("rm", other)
    assert desk28.containers() == [first]
    desk28.docker("kill", first)
    second = desk28.start()
    assert desk28.containers() == [second]


def test_a_port_that_is_taken(desk28: Desk) -> None:
    """The error says so, and no half-made container is left."""
    first = desk28.start("--publish=127.0.0.1::4000", "--name=first-" + desk28.repo.image)
    port = desk28.docker("port", first, "4000").rsplit(":", 1)[1]
    said = desk28.invoke("run", "--detach", f"--publish={port}:4000", code=1).err
    assert "error: the port is taken" in said
    assert desk28.containers() == [first]


def test_dockers_own_reason(desk28: Desk) -> None:
    """What only the engine knows is said in its words, and no half-made container is left."""
    for option, reason in (("--memory=1k", "Minimum memory limit"), ("--network=no-such", "network no-such not found")):
        for how in ([], ["--detach"]):
            assert reason in desk28.invoke("run", option, *how, code=1).err.splitlines()[-1]
    assert desk28.containers() == []


def test_how_a_node_ended(desk28: Desk) -> None:
    """What `run --detach` waits for: its last words, memory, and its own file system; in the foreground a last line says it."""
    crash = "--env=ERL_FLAGS=-eval 'ok=file:write_file(\"/made\",<<>>)' -s erlang halt"
    said = desk28.invoke("run", "--detach", crash, code=1).err
    assert re.search(
        r"^error: .* ended with exit code 1; the last that it wrote:\n(  .*\n)*  .*erofs(.*\n)+hint: .*`writable: ", said, re.MULTILINE
    )
    said = desk28.invoke("run", crash, code=1).err
    assert re.search(r"^error: \S+ ended with exit code 1\nhint: .*`writable: ", said, re.MULTILINE)
    hungry = ["--memory=100m", "--env=ERL_FLAGS=-eval 'binary:copy(<<1>>,500000000)'"]
    assert "was killed for memory: its limit is 100 MiB" in desk28.invoke("run", *hungry, code=137).err.splitlines()[-2]
    desk28.sweep()


def test_no_wait(desk28: Desk) -> None:
    """The id at once, whatever becomes of the node."""
    container = desk28.invoke("run", "--detach", "--no-wait", "--", "no-such-command").out
    assert desk28.docker("wait", container) == "1"


def test_eval_and_rpc(desk28: Desk) -> None:
    """The value alone; an exception is the error. What can't be read is said before the node is asked."""
    desk28.start()
    asked = {
        "tiny:answer()": "42", "X = 1, {error, X}.": "{error,1}", '<<"a\\n\\"b\\\\">>': '<<"a\\n\\"b\\\\">>', "[2, 1] % so": "[2,1]",
        "length(string:copies([$a], 100000))": "100000", "[C || C <- \"\u2603\"]": "[9731]", "self() =:= x": "false",
    }  # fmt: skip
    for expression, value in asked.items():
        done = desk28.invoke("eval", expression)
        assert (done.out, done.err) == (value, "")
    assert desk28.invoke("rpc", "tiny", "answer").out == "42"
    assert desk28.invoke("rpc", "lists", "seq", "--", "1", "3").out == "[1,2,3]"
    for code, words, error in (
        (1, ["eval", "error(boom)"], "error:boom"), (1, ["eval", "throw({error, x})"], "throw:{error,x}"), (1, ["rpc", "tiny", "nope"], "error:undef in tiny:nope/0"),
        (2, ["eval", "1 +"], "can't be read"), (2, ["eval", "["], "can't be read"),
    ):  # fmt: skip
        done = desk28.invoke(*words, code=code)
        assert done.out == "" and error in done.err


def test_a_node_out_of_reach(desk28: Desk, tmp_path: Path) -> None:
    """Why the start script does not find it; and what is said to do makes it work."""
    (tmp_path / "args").write_text("-sname tiny\n-start_epmd false\n-erl_epmd_port 9100\n")
    (tmp_path / "bound").write_text("-sname tiny\n-kernel inet_dist_use_interface {127,0,0,1}\n")
    (tmp_path / "named").write_text("-sname tiny@localhost\n-kernel inet_dist_use_interface {127,0,0,1}\n")

    def ask(file: str, code: int) -> Result:
        desk28.sweep()
        container = desk28.invoke("run", "--detach", "--no-wait", f"--volume={tmp_path / file}:/args:ro", "--env=VMARGS_PATH=/args").out
        if code:
            poll(lambda: "can't be reached" in desk28.invoke("eval", "1", code=1).err)
        else:
            desk28.answers(container)
        return desk28.invoke("eval", "node()", code=code)

    assert "no epmd" in (said := ask("args", 1).err) and "ERL_DIST_PORT" in said
    with typing(desk28, "attach") as child:
        child.expect_exact("no epmd")
        assert ended(child) == 1
    assert "@localhost" in ask("bound", 1).err
    assert ask("named", 0).out == "tiny@localhost"
    desk28.sweep()
    desk28.start("--env=ERL_DIST_PORT=9100")
    assert desk28.invoke("eval", "tiny:answer()").out == "42"
    with typing(desk28, "attach") as child:
        child.expect(r"1> ?")
        ask_in(child, "tiny:answer() + 1.", "43")
        assert leave(child) == 0


def test_an_image_of_before(tiny: Desk) -> None:
    """One that was built without what is `writable` now, and another project's of the same name, are not run."""
    tiny.invoke("build")
    tiny.repo.settings("  writable: [log, /var/spool/x]\n")
    said = tiny.invoke("run", "--detach", code=1).err
    assert "was built without the writable /opt/tiny/log, /var/spool/x\nhint: invoke build" in said
    tiny.engine.build(f"FROM {tiny.reference()}\nLABEL beamdock.writable=log\n", tiny.reference())
    assert "was built without the writable /var/spool/x\n" in tiny.invoke("run", "--detach", code=1).err
    tiny.repo.settings()
    tiny.repo.git("checkout", "--quiet", "--orphan", "other")
    tiny.repo.commit("another project")
    tiny.repo.git("branch", "--quiet", "--move", "--force", tiny.repo.branch)
    for task in ("run --detach", "run"):
        said = tiny.invoke(*task.split(), code=1).err
        assert f"error: {tiny.reference()} is another project's image" in said
    tiny.invoke("build")
    tiny.start()


def test_no_image(tiny: Desk) -> None:
    for task in ("run", "run --detach"):
        said = tiny.invoke(*task.split(), code=1).err
        assert f"error: there is no image {tiny.reference()}" in said
        assert "hint: invoke build" in said
    assert tiny.containers() == []
    assert f"there is no image {tiny.reference('other')}" in tiny.invoke("run", "--tag=other", code=1).err


def test_an_image_that_is_behind(tiny: Desk) -> None:
    """Every start says how the image's commit stands to the tree's."""
    tiny.invoke("build")

    def said(*args: str) -> str:
        return tiny.invoke("run", *args, "--", "eval", "1.", code=1).err

    assert "HEAD" not in said() and "edits" not in said()
    tiny.repo.write("new.txt", "x")
    assert "the tree has edits since" in said()
    tiny.repo.commit()
    assert "1 commit behind HEAD" in said()
    tiny.repo.commit()
    assert "2 commits behind HEAD" in said()
    tiny.repo.write("newer.txt", "x")
    tiny.invoke("build")
    assert "behind" not in said()
    assert "built before the last edits" not in said()


def test_tasks_in_one_line(tiny: Desk) -> None:
    """`invoke build run --detach`, and `invoke build console` on a terminal."""
    done = tiny.invoke("build", "run", "--detach")
    reference, container = done.out.splitlines()
    assert reference == tiny.reference(tiny.repo.head)
    tiny.answers(container)
    assert "exit code 0" in tiny.invoke("stop").err
    with typing(tiny, "build", "console") as child:
        child.expect(r"1> ?")
        child.send("tiny:answer() * 2.\r")
        child.expect_exact("84")


def test_shell(desk28: Desk) -> None:
    """In the running container, with a terminal and without; the command's own exit code passes through."""
    container = desk28.start()
    assert container.startswith(desk28.invoke("shell", "--", "cat", "/etc/hostname").out)
    desk28.invoke("shell", "--", "sh", "-c", "exit 7", code=7)
    piped = subprocess.run(
        ["sh", "-c", "echo 'echo $((6 * 7))' | python -m invoke shell"],
        cwd=desk28.repo.path, env=desk28.engine.env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert piped.stdout.strip() == "42"
    with typing(desk28, "shell") as child:
        child.expect(r"\$ ")
        child.send("id -u; tty; exit 3\r")
        child.expect_exact("1000")
        child.expect_exact("/dev/pts/")
        poll(lambda: not child.isalive())
        assert child.exitstatus == 3


def test_shell_in_an_image_that_does_not_boot(desk28: Desk) -> None:
    broken = f"{desk28.repo.image}:broken"
    desk28.engine.build(f"FROM {desk28.reference()}\nUSER 0\nRUN rm -r /release\nUSER 1000\n", broken)
    said = desk28.invoke("run", "--tag=broken", code=127).err
    assert "/release" in said
    assert desk28.invoke("shell", "--image", broken, "--", "ls", "/opt").out == "tiny"
    assert desk28.containers() == []


def test_dry_run_prints_what_runs(desk28: Desk) -> None:
    """--dry-run starts nothing, and its line run by a shell does what the task does."""
    printed = desk28.invoke("run", "--detach", "--dry-run", "--env=A=it's b", "--", "foreground", "-extra", "c  d")
    assert desk28.containers() == []
    container = run(desk28.engine, desk28.repo, "sh", "-c", printed.out).out
    desk28.answers(container)
    assert desk28.node(container, "eval", '{os:getenv("A"), lists:last(init:get_plain_arguments())} =:= {"it\'s b", "c  d"}.') == "true"
    for task in ("stop", "attach", "shell", "logs", "diff", "stop --kill"):
        assert desk28.invoke(*task.split(), "--dry-run").out.startswith("docker ")
    assert desk28.containers("--filter=status=running") == [container]


def test_quiet(desk28: Desk) -> None:
    """Only results: an id, a digest, nothing."""
    done = desk28.invoke("run", "--detach", "--quiet")
    assert (done.out, done.err) == (desk28.containers()[0], "")
    done = desk28.invoke("stop", "--quiet")
    assert (done.out, done.err) == ("", "")
