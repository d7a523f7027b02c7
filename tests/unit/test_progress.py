"""BuildKit's progress, plain and drawn: which stages really ran."""

from __future__ import annotations

import pytest

from ci.beamdock.progress import engine_fault, is_cache_failure, stages_run

RAN_PLAIN = """\
#1 [runner_base 1/3] FROM 127.0.0.1:22104/debian:trixie-slim@sha256:cd44
#1 CACHED

#6 [base 2/2] RUN echo base
#6 CACHED

#7 [builder 1/1] RUN echo deps v14377
#7 CACHED

#8 [prod_compiled 1/1] RUN --mount=target=/context sleep 0.3; echo compiled
#8 0.276 compiled
#8 DONE 0.3s

#9 [internal] load build context
#9 DONE 0.0s
#10 exporting to image
#10 DONE 0.0s
"""


RAN_DRAWN = """\
\x1b[?25h\x1b[1A\x1b[0G\x1b[?25l[+] Building 3.0s (8/9)                                          docker:default\r
\x1b[34m => CACHED [base 2/2] RUN echo base                                        0.0s\r
\x1b[0m\x1b[34m => CACHED [builder 1/1] RUN echo deps v14377                              0.0s\r
\x1b[0m => [prod_compiled 1/1] RUN --mount=target=/context sleep 0.3; ech        0.2s\r
\x1b[?25h\x1b[1A\x1b[1A\x1b[0G\x1b[?25l[+] Building 3.1s (9/9) FINISHED                                 docker:default\r
\x1b[34m => [internal] load build definition from multi.df                         0.0s\r
\x1b[0m\x1b[34m => CACHED [runner_base 1/3] FROM 127.0.0.1:22104/debian:trixie-slim@sha2  0.1s\r
\x1b[0m\x1b[34m => CACHED [base 2/2] RUN echo base                                        0.0s\r
\x1b[0m\x1b[34m => CACHED [builder 1/1] RUN echo deps v14377                              0.0s\r
\x1b[0m\x1b[34m => [prod_compiled 1/1] RUN --mount=target=/context sleep 0.3; echo compi  0.8s\r
\x1b[0m\x1b[34m => exporting to image                                                     0.4s\r
\x1b[0m\x1b[34m => => exporting layers                                                    0.2s\r
\x1b[0m\x1b[?25h\r
"""


@pytest.mark.parametrize("log", [RAN_PLAIN, RAN_DRAWN], ids=["plain", "drawn"])
def test_the_stages_that_ran(log: str) -> None:
    assert stages_run(log) == {"prod_compiled"}


def test_all_and_none_ran() -> None:
    drawn = RAN_DRAWN.replace("CACHED ", "")
    plain = RAN_PLAIN.replace(" CACHED", " DONE 0.1s")
    assert stages_run(drawn) == stages_run(plain) == {"base", "builder", "prod_compiled"}
    assert stages_run(RAN_PLAIN.replace("#8 0.276 compiled\n#8 DONE 0.3s", "#8 CACHED")) == set()
    assert stages_run(RAN_DRAWN.replace("=> [prod_compiled", "=> CACHED [prod_compiled")) == set()
    assert stages_run("") == set()


PULLED_PLAIN = """\
#25 [base 1/1] RUN prepare
#25 CACHED

#29 [builder 2/2] RUN --mount=type=ssh     fetch build
#29 sha256:bd96c3dc5e8d145ceffbfac32b0b0fbb33b362897241b056a390384adf741d19 130B / 130B 0.0s done
#29 DONE 1.0s

#29 [builder 2/2] RUN --mount=type=ssh     fetch build
#29 extracting sha256:0c42419f3382b6230dce0b892d4c5b0704b062ad23fab3ed8835293c532f5eaa
#29 ...

#30 [prod_compiled 1/1] RUN compile
#30 extracting sha256:2446eec8b33f4a106b8fed5e55da802d6571ab3f743a9b87e45d9f22468e7aac done
#30 0.276 compiled
#30 DONE 0.3s
"""


PULLED_DRAWN = """\
\x1b[0m => [builder 2/2] RUN --mount=type=ssh     fetch build                     3.7s\r
\x1b[0m => => sha256:0c42419f3382b6230dce0b892d4c5b0704b062ad23fa 169MB / 169MB      0.8s\r
\x1b[0m => => extracting sha256:0c42419f3382b6230dce0b892d4c5b0704b062ad23f          2.7s\r
\x1b[0m => [prod_compiled 1/1] RUN compile                                         0.2s\r
\x1b[0m => => # compiled                                                                \r
\x1b[0m => exporting to image                                                      0.2s\r
\x1b[0m => => extracting sha256:0c42419f3382b6230dce0b892d4c5b0704b062ad23f          0.1s\r
"""


@pytest.mark.parametrize("log", [PULLED_PLAIN, PULLED_DRAWN], ids=["plain", "drawn"])
def test_what_was_pulled_did_not_run(log: str) -> None:
    """Engine 28 does not call it CACHED."""
    assert stages_run(log) == {"prod_compiled"}


def test_one_digit_of_a_step_is_not_another() -> None:
    """#1 cached does not make #10 so."""
    assert stages_run("#1 [a 1/1] RUN x\n#1 CACHED\n#10 [b 1/1] RUN y\n#10 DONE 0.1s\n") == {"b"}
    assert stages_run("#1 [a 1/1] RUN x\n#1 DONE 0.1s\n#10 [b 1/1] RUN y\n#10 CACHED\n") == {"a"}


def test_drawn_before_it_was_known_to_be_cached() -> None:
    assert stages_run(" => [a 1/1] RUN x   0.0s\r\n\x1b[1A => CACHED [a 1/1] RUN x   0.0s\r\n") == set()


def test_what_a_step_writes_is_no_step() -> None:
    assert stages_run("#5 [a 1/1] RUN x\n#5 0.1 #6 [b 1/1] RUN y\n#5 0.2 CACHED\n#5 DONE 0.3s\n") == {"a"}


@pytest.mark.parametrize("title", ["[my-stage 1/1]", "[stage-2 1/1]", "[1/2]"])
def test_stages_with_other_names(title: str) -> None:
    """The Dockerfile is the user's: any step that ran counts. Real titles of buildx 0.29."""
    name = title.strip("[]").split()[0] if " " in title else "stage"
    assert stages_run(f"#7 {title} RUN echo x\n#7 DONE 0.4s\n") == {name}
    assert stages_run(f"#7 {title} RUN echo x\n#7 CACHED\n") == set()
    assert stages_run(f" => {title} RUN echo x   0.4s\r\n") == {name}
    assert stages_run(f" => CACHED {title} RUN echo x   0.4s\r\n") == set()


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ("ERROR: failed to solve: r.example/shop:deps-" + "a" * 64 + ": not found", True),
        ("ERROR: failed to solve: failed to configure registry cache importer: x", True),
        ('ERROR: process "/bin/sh -c make cache" did not complete successfully: exit code: 2', False),
        ('ERROR: failed to compute cache key: failed to calculate checksum of ref a::b: "/x": not found', False),
        ("ERROR: debian:nonsuch: not found", False),
        ("ERROR: failed to solve: failed to push r.example/shop:deps-" + "a" * 64 + ": denied", False),
    ],
)
def test_what_fails_for_a_cache(last: str, expected: bool) -> None:
    assert is_cache_failure(f"#1 something\n{last}\n") == expected


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (
            'ERROR: failed to build: failed to solve: failed to prepare extraction snapshot "extract-467320197-fhvc sha256:4c87f1138": '
            "parent snapshot sha256:50e936adb does not exist: not found",
            "the engine lost a layer of the image while it unpacked it, as it sometimes does",
        ),
        (
            'ERROR: failed to build: failed to solve: image "x:1-dirty": already exists',
            "another build gave an image the same tag at this moment",
        ),
        ("ERROR: debian:nonsuch: not found", ""),
        ("ERROR: mkdir x: already exists", ""),
    ],
)
def test_what_the_engine_sometimes_does(last: str, expected: str) -> None:
    """The first two are what Engine 28 said (moby/buildkit#6521, and two builds at once)."""
    assert engine_fault(f"#1 something\n{last}\n") == expected
