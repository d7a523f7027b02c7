"""What an ignore file keeps out, by BuildKit and by our own reading of it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import kit.rooms  # noqa: F401
from kit.engines import Engine

from ci.beamdock.ignore import find_ignore_file, read_ignore

FILES = """
a a.b ab x.md .md .env .env.local README.md é.md a^b a+b (c) {d} $e [f] f 0 d-e *g \\h #i !j
~ docs/README.md docs/schema.json docs/a/b/schema.json docs/a/b/x.md docs/a.md
test/a_SUITE.erl apps/a/test/x apps/a/src/a.erl apps/a/priv/x.md apps/a/priv/sub/y apps/b/test apps/test/z
_checkouts/c/.env _checkouts/c/.ssh/id_rsa _checkouts/c/tls.key _checkouts/c/src/c.erl
deep/1/2/3/4/x deep/1/2/3/4/y deep/1/x deep/x foo/bar/baz foobar/baz foo.x/bar barfoo bar/foo x/y/z/w A/B
"""
IGNORES = r"""
**/*.md|!docs/**/*.md|docs/a/b
docs|!docs/schema.json
docs|!docs/a|docs/a/b|!docs/a/b/x.md
docs|!docs/a/b/x.md|docs/a/b
docs/a/b/x.md|!docs/a
docs/*|!docs/a/b/schema.json
*|!apps
*|!apps/*/src
**|!**/x
**/test
test
apps/*/test|!apps/a/test/x
**/.env|**/.env.*|**/.ssh|**/*.key
!README.md|*.md
/a|/docs/|./foo/../bar|x//y/./z
**foo
foo**
foo/**
**/foo/**
**/**/x
deep/**/x
deep/**|!deep/1/2
deep/*/x
*/*/x
[ae]|[^a]b|[a-c].b|[!a]
?|??.md
a.b|a?b|a+b|(c)|{d}|$e
\[f\]|\*g|\\h|\#i|\!j
a^b|é*
#i
  docs  |! docs/a.md
!!j|*
***|!A/**
**/|!a
.|./|..
../relfiles|..
**/a/**/b/**
a|!a|a|!./a
foo/bar/..|!foo/bar
deep/1|!deep/1/2/3/4|deep/1/2/3/4/y
**/priv|!**/priv/*.md
\a|\d
[[a]
x[*]y|*[*]*
*/**|!*/a
!*|*/x.md
d-e|[d-f]-e
"""


NAMES = [*FILES.split(), " k", 'l" m ', "new\nline.md", "new\nline/x"]


def test_an_ignore_file_keeps_out_what_buildkit_keeps_out(engine28: Engine, tmp_path: Path) -> None:
    """Many ignore files over one tree of hostile names, in one call."""
    root, out = tmp_path / "context", tmp_path / "out"
    for name in NAMES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    texts = ["", "\ufeffdocs\r\n#a\r\n\r\n!docs/a.md\r\n", *(line.replace("|", "\n") for line in IGNORES.strip("\n").split("\n"))]
    (root / ".dockerignore").write_text("foo\n")
    args, copies = [], ["FROM scratch", "COPY . /counts/"]
    for number, text in enumerate(texts):
        shutil.copytree(root, tmp_path / str(number))
        (tmp_path / str(number) / ".dockerignore").write_text(text)
        args.append(f"--build-context=c{number}={tmp_path / str(number)}")
        copies.append(f"COPY --from=c{number} . /{number}/")
    (root / "Dockerfile").write_text("\n".join(copies))
    (root / "Dockerfile.dockerignore").write_text("test")
    engine28.docker("buildx", "build", *args, f"--output=type=local,dest={out}", str(root))

    def files(folder: Path) -> set[str]:
        return {f"{Path(top, file).relative_to(folder)}" for top, _, found in os.walk(folder) for file in found}

    wrong = {}
    for folder, copied in [(tmp_path / str(number), str(number)) for number in range(len(texts))] + [(root, "counts")]:
        file = find_ignore_file(folder, "Dockerfile")
        assert file
        ignore = read_ignore(file.read_text())
        ours = {path for path in files(folder) if not ignore.excludes(path)}
        if ours != (theirs := files(out / copied)):
            wrong[file.read_text()] = {"ours alone": sorted(ours - theirs), "theirs alone": sorted(theirs - ours)}
    assert not wrong
