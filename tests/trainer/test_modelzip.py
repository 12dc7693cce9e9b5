"""The code zip: what is refused, what is unpacked, and how (FfDL contract §1.8, §1.9 rule 9)."""

from __future__ import annotations

import io
import os
import stat
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_ffdl.errors import BadInput
from jupyter_ffdl.learner import codezip
from jupyter_ffdl.trainer import modelzip

LINK = stat.S_IFLNK | 0o777


def entry(name: str, mode: int = 0, *, system: int = 3) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("x")
    info.filename = info.orig_filename = name
    info.external_attr = mode << 16
    info.create_system = system
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def zipped(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes | str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


@pytest.fixture
def make(tmp_path):
    return lambda *entries: zipped(tmp_path / "model.zip", *entries)


def patched(path: Path, *changes: tuple[bytes, bytes]) -> Path:
    content = path.read_bytes()
    for old, new in changes:
        assert old in content
        content = content.replace(old, new)
    path.write_bytes(content)
    return path


def refusal(path: Path, limits: codezip.Limits = codezip.LIMITS) -> BadInput:
    """Return the refusal at submission, after seeing that unpacking refuses the same."""
    with pytest.raises(BadInput) as caught:
        modelzip.inspect(path, "python a.py", limits)
    destination = path.with_name("out")
    with pytest.raises(BadInput):
        codezip.extract(path, destination, "", limits)
    outside = set(path.parent.iterdir()) - {path, destination}
    assert outside == set()
    return caught.value


NAMED = "Model definition content is not a valid ZIP file: entry "


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        pytest.param("/etc/passwd", "is an absolute path", id="an absolute path"),
        pytest.param("//host/share", "is an absolute path", id="a path on a host"),
        pytest.param("../evil.py", "leaves the directory by ..", id="a way up"),
        pytest.param("a/../../evil.py", "leaves the directory by ..", id="a way up in between"),
        pytest.param("a/b/..", "leaves the directory by ..", id="a way up at the end"),
        pytest.param("..\\evil.py", "has a backslash in its name", id="a way up by backslash"),
        pytest.param("C:/evil.py", "begins with a drive letter", id="a drive"),
        pytest.param("c:evil.py", "begins with a drive letter", id="a drive without a slash"),
        pytest.param("n" * 256, "has a name of over 255 bytes", id="256 characters"),
        pytest.param("ü" * 128, "has a name of over 255 bytes", id="256 bytes"),
        pytest.param("d/" * 101 + "f", "is nested too deeply", id="101 directories"),
        pytest.param(("d" * 200 + "/") * 16 + "f", "is nested too deeply", id="3 200 bytes"),
        pytest.param(".", "has no name", id="the directory as a file"),
    ],
)
def test_a_path_that_leaves_the_directory_or_fits_no_disk_is_refused(make, name, problem):
    caught = refusal(make(("ok.py", "1"), (entry(name), "x")))
    assert caught.code == "C102"
    assert caught.field == "model_definition"
    assert caught.message.startswith(f"{NAMED}'{name[:20]}")
    assert caught.message.endswith(f"' {problem}")
    assert caught.hint


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("/etc/passwd", id="an absolute target"),
        pytest.param("../x", id="one up from the top"),
        pytest.param("a/../../x", id="up by a detour"),
        pytest.param("sub/../../x", id="up after a directory"),
        pytest.param("down/../../x", id="up through another link, which leads deeper"),
        pytest.param("abs", id="to a link that is absolute"),
    ],
)
def test_a_link_that_leaves_the_directory_is_refused(make, target):
    others = [(entry("down", LINK), "sub"), (entry("sub/f"), "")]
    if target == "abs":
        others.append((entry("abs", LINK), "/etc"))
    caught = refusal(make((entry("link", LINK), target), *others))
    assert "is a link that leaves the directory, to '" in caught.message


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        (stat.S_IFCHR, "character device"),
        (stat.S_IFBLK, "block device"),
        (stat.S_IFIFO, "pipe"),
        (stat.S_IFSOCK, "socket"),
    ],
)
def test_what_is_no_file_is_refused(make, mode, kind):
    caught = refusal(make((entry("thing", mode | 0o644), "")))
    assert caught.message == f"{NAMED}'thing' is a device, a pipe or a socket"


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        pytest.param(
            [("a", "1"), ("a/b", "2")], "lies below 'a', which is a file", id="below a file"
        ),
        pytest.param(
            [("a/b/c", "1"), ("a/b", "2")], "'a/b/c' lies below 'a/b'", id="the other way"
        ),
        pytest.param(
            [(entry("a", LINK), "b"), ("a/x", "1")], "which is a link", id="through its own link"
        ),
        pytest.param([("a/", ""), ("a", "1")], "'a' is there twice", id="a directory and a file"),
        pytest.param([("a", "1"), ("./a", "2")], "'a' is there twice", id="the same path"),
        pytest.param([("a//b", "1"), ("a/b", "2")], "'a/b' is there twice", id="doubled slashes"),
        pytest.param([(entry("a", LINK), "a")], "is a link in a circle", id="a circle of one"),
        pytest.param(
            [(entry("a", LINK), "b"), (entry("b", LINK), "a")], "in a circle", id="a circle of two"
        ),
        pytest.param([(entry("a", LINK), "")], "is a link to nothing", id="an empty link"),
        pytest.param([(entry("a", LINK), b"\xff")], "not UTF-8", id="a link to no text"),
        pytest.param([(entry("a", LINK), "x" * 1001)], "too long", id="a link to a novel"),
        pytest.param([("a/", "content")], "is a directory with content", id="a full directory"),
    ],
)
def test_entries_that_contradict_each_other_are_refused(make, entries, problem):
    assert problem in refusal(make(*entries)).message


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_refused(make):
    assert "'a' is there twice" in refusal(make(("a", "1"), ("a", "2"))).message


def test_an_encrypted_zip_is_refused(make):
    path = make(("secret.py", "1"))
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    path.write_bytes(content)
    assert refusal(path).message == f"{NAMED}'secret.py' is encrypted"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compression_that_ffdl_could_not_read_is_refused(tmp_path, method):
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.py", "1")
    assert f"is compressed by method {method}" in refusal(path).message


def test_a_name_that_is_not_utf8_is_refused_by_name(make):
    path = make(("abc.py", "1"))
    assert "not UTF-8" in refusal(patched(path, (b"abc.py", b"\x82bc.py"))).message


def test_a_name_that_claims_to_be_utf8_and_is_not_is_refused(make):
    path = make(("ü.py", "1"))
    assert "not UTF-8" in refusal(patched(path, ("ü".encode(), b"\xff\xff"))).message


def test_a_name_cut_by_a_nul_is_refused(make):
    path = make(("abcdef", "1"))
    assert "NUL" in refusal(patched(path, (b"abcdef", b"ab\x00/.."))).message


def test_content_that_does_not_match_its_checksum_is_refused(make):
    path = make((stored("a.py"), "hello world"))
    caught = refusal(patched(path, (b"hello", b"HELLO")))
    assert caught.message == f"{NAMED}'a.py' cannot be read, it is damaged"


def stored(name: str) -> zipfile.ZipInfo:
    info = entry(name)
    info.compress_type = zipfile.ZIP_STORED
    return info


def test_a_zip_whose_directory_points_before_its_beginning_is_refused(make):
    path = make(("a.py", "1"), ("b.py", "2"))
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x05\x06") + 16
    (offset,) = struct.unpack_from("<L", content, at)
    struct.pack_into("<L", content, at, offset + 20)
    path.write_bytes(content)
    assert refusal(path).message.startswith("Model definition content is not a valid ZIP file")


@pytest.mark.parametrize("cut", [1, 10, 30, 60, 100])
def test_a_zip_that_is_cut_is_refused(make, cut):
    path = make(("a.py", os.urandom(50)))
    path.write_bytes(path.read_bytes()[:-cut])
    assert refusal(path).message == "Model definition content is not a valid ZIP file"


@pytest.mark.parametrize(
    "content", [b"", b"no zip", b"PK", b"\x1f\x8b\x08", b"PK\x05\x06" + b"\xff" * 18]
)
def test_what_is_no_zip_is_refused(tmp_path, content):
    path = tmp_path / "model.zip"
    path.write_bytes(content)
    caught = refusal(path)
    assert caught.message == "Model definition content is not a valid ZIP file"
    assert caught.hint == "Send a zip of the directory that holds your code"


def test_a_bomb_is_refused_by_what_it_declares(make):
    path = make(("zeros", bytes(1_000_001)))
    caught = refusal(path, codezip.Limits(bytes=1_000_000))
    assert "unpacks to more than 1000000 bytes" in caught.message
    assert not path.with_name("out").exists()


def test_a_bomb_that_lies_about_its_size_writes_no_more_than_it_declares(make):
    path = make(("zeros", bytes(5_000_000)))
    size = struct.pack("<L", 5_000_000)
    caught = refusal(patched(path, (size, struct.pack("<L", 10))))
    assert "damaged" in caught.message
    assert sum(f.stat().st_size for f in path.with_name("out").iterdir()) <= 10


def test_a_file_that_declares_more_than_it_has_is_refused(make):
    path = make(("a", bytes(100)))
    size = struct.pack("<L", 100)
    assert refusal(patched(path, (size, struct.pack("<L", 200))))


def test_many_small_bombs_are_counted_together(make):
    path = make(*[(f"{n}", bytes(100_000)) for n in range(20)])
    caught = refusal(path, codezip.Limits(bytes=1_000_000))
    assert "unpacks to more than 1000000 bytes" in caught.message


def test_too_many_entries_are_refused(make):
    path = make(*[(f"{n}", "") for n in range(11)])
    assert "it has 11 entries, at most 10" in refusal(path, codezip.Limits(entries=10)).message


@pytest.mark.timeout(20)
def test_links_cannot_keep_the_checker_busy(make):
    long = "/".join(["d"] * 400)
    chain = [(entry(f"l{n:05}", LINK), f"{'./' * 400}l{n + 1:05}") for n in range(1000)]
    assert "link" in refusal(make(("d/x", "1"), *chain, (entry("last", LINK), long))).message


# Unpacking


def unpacked(path: Path, destination: Path, prefix: str = "") -> dict[str, int]:
    codezip.extract(path, destination, prefix)
    return {
        str(place.relative_to(destination)): stat.S_IMODE(place.lstat().st_mode)
        for place in sorted(destination.rglob("*"))
        if not place.is_symlink()
    }


def test_modes_are_restored_without_privileges(make, tmp_path):
    path = make(
        (entry("plain.py", stat.S_IFREG | 0o640), "1"),
        (entry("tool", stat.S_IFREG | 0o4755), "1"),
        (entry("sgid", stat.S_IFREG | 0o2644), "1"),
        (entry("closed", stat.S_IFREG | 0o400), "1"),
        (entry("shebang.py", stat.S_IFREG | 0o644), "#!/usr/bin/env python\n"),
        (entry("run.sh", stat.S_IFREG | 0o644), "echo\n"),
        (entry("no-mode.py", stat.S_IFREG), "1"),
        (entry("windows.py", 0o644, system=0), "1"),
        (entry("dir/", stat.S_IFDIR | 0o500), ""),
        (entry("dir/inner.py", stat.S_IFREG | 0o644), "1"),
        (entry("shared/", stat.S_IFDIR | 0o3777), ""),
        (entry("implied/f", stat.S_IFREG | 0o644), "1"),
    )
    found = unpacked(path, tmp_path / "out")
    found.pop("implied")
    assert {name: oct(mode) for name, mode in found.items()} == {
        "plain.py": "0o640",
        "tool": "0o755",
        "sgid": "0o644",
        "closed": "0o600",
        "shebang.py": "0o755",
        "run.sh": "0o755",
        "no-mode.py": "0o644",
        "windows.py": "0o644",
        "dir": "0o700",
        "dir/inner.py": "0o644",
        "shared": "0o777",
        "implied/f": "0o644",
    }


def test_links_that_stay_inside_are_made(make, tmp_path):
    path = make(
        (entry("data/a.txt"), "content"),
        (entry("data/up", LINK), "../code/b.py"),
        (entry("code/b.py"), "b"),
        (entry("d", LINK), "data"),
        (entry("again", LINK), "d/./a.txt"),
        (entry("dangling", LINK), "later"),
    )
    written = codezip.extract(path, tmp_path / "out")
    assert sorted(written) == ["again", "code/b.py", "d", "dangling", "data/a.txt", "data/up"]
    assert (tmp_path / "out/again").read_text() == "content"
    assert (tmp_path / "out/data/up").read_text() == "b"


def test_names_in_utf8_survive_with_and_without_the_flag(make, tmp_path):
    path = make(("grün.py", "1"))
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 7), (b"PK\x01\x02", 9)):
        content[content.index(signature) + offset] &= ~0x08 & 0xFF
    path.write_bytes(content)
    assert list(unpacked(path, tmp_path / "out")) == ["grün.py"]


def test_an_empty_zip_is_a_directory_without_files(make, tmp_path):
    path = make()
    assert modelzip.inspect(path, "c").entries == ()
    assert unpacked(path, tmp_path / "out") == {}


def test_unpacking_again_gives_the_same(make, tmp_path):
    path = make((entry("a/", stat.S_IFDIR | 0o500), ""), ("a/b.sh", "1"), (entry("l", LINK), "a"))
    once = unpacked(path, tmp_path / "out")
    (tmp_path / "out/a/b.sh").write_text("changed")
    assert unpacked(path, tmp_path / "out") == once
    assert (tmp_path / "out/a/b.sh").read_text() == "1"


def test_a_kill_in_the_middle_is_repaired_by_the_next_call(make, tmp_path):
    contents = {f"d/{n:03}": os.urandom(100_000) for n in range(300)}
    path = make(*contents.items(), (entry("link", LINK), "d/000"))
    out = tmp_path / "out"
    code = (
        "import sys; from pathlib import Path; from jupyter_ffdl.learner import codezip\n"
        "codezip.extract(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, path, out])
    while not (out / "d/020").exists():
        assert process.poll() is None
    process.kill()
    process.wait()
    whole = list((out / "d").iterdir())
    assert all(place.read_bytes() == contents[f"d/{place.name}"] for place in whole)
    codezip.extract(path, out)
    assert {f"d/{p.name}": p.read_bytes() for p in (out / "d").iterdir()} == contents
    assert sorted(place.name for place in out.iterdir()) == ["d", "link"]


def test_a_file_of_the_user_may_have_our_temporary_name(make, tmp_path):
    path = make((".codezip.part", "1"), ("b", "2"), (".codezip.part~", "3"))
    codezip.extract(path, tmp_path / "out")
    assert {p.name: p.read_text() for p in (tmp_path / "out").iterdir()} == {
        ".codezip.part": "1",
        "b": "2",
        ".codezip.part~": "3",
    }


def test_the_learner_unpacks_with_the_standard_library_alone():
    code = (
        "import sys; import jupyter_ffdl.learner.codezip;"
        "print({'yaml', 'pydantic', 'tornado', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


# The directory D (§1.8)


@pytest.mark.parametrize(
    ("names", "command", "prefix"),
    [
        pytest.param(["p/a.py", "p/b.py"], "python a.py", "p", id="the command names a file below"),
        pytest.param(["p/", "p/a.py"], "./a.py", "p", id="by ./"),
        pytest.param(["p/s/a.py"], "cd x; python s/a.py>log", "p", id="in a directory below"),
        pytest.param(["p/s/a.py"], "ls s", "p", id="the directory itself"),
        pytest.param(["p/c.yml"], "run --config=c.yml", "p", id="after an equals sign"),
        pytest.param(["p/a.py"], "python p/a.py", "", id="the command names the directory"),
        pytest.param(["p/a.py", "p/t/x"], "python p/a.py t", "", id="one word fits as it is"),
        pytest.param(["p/a.py", "q.py"], "python a.py", "", id="not all lie below"),
        pytest.param(["p/a.py"], "python /a.py", "", id="an absolute path"),
        pytest.param(["p/a.py"], "python b.py", "", id="another file"),
        pytest.param(["a.py"], "python a.py", "", id="no directory at all"),
        pytest.param(["p/a.py"], "", "", id="no command"),
    ],
)
def test_the_only_directory_is_left_out_where_the_command_wants_it(
    make, tmp_path, names, command, prefix
):
    found = modelzip.inspect(make(*[(name, "") for name in names]), command)
    assert found.strip_prefix == prefix
    assert bool(found.warnings) == bool(prefix)
    codezip.extract(tmp_path / "model.zip", tmp_path / "out", prefix)
    below = tmp_path / "out"
    for shipped in found.entries:
        assert (below / shipped.path).is_file()
    assert (below / "p").exists() == (prefix == "" and names != ["a.py"])


def test_a_stripped_directory_is_named_in_a_warning(make):
    (note,) = modelzip.inspect(make(("p/a.py", "")), "python a.py").warnings
    assert note.message == (
        "All files lie in 'p': its content becomes MODEL_DIR, because the command names 'a.py'"
    )


def test_a_link_that_needs_the_stripped_directory_is_refused_at_submission(make):
    path = make(("p/a.py", "1"), (entry("p/l", LINK), "../p/a.py"))
    assert modelzip.inspect(path, "python p/a.py").strip_prefix == ""
    with pytest.raises(BadInput, match="leaves the directory"):
        modelzip.inspect(path, "python a.py")


def test_the_trainer_sees_files_sizes_and_texts(make):
    path = make(("p/", ""), ("p/a.py", "open('/job/x')"), ("p/b.bin", b"\0\1"), ("p/e", ""))
    found = modelzip.inspect(path, "python a.py")
    assert [(e.path, e.size) for e in found.entries] == [("a.py", 14), ("b.bin", 2), ("e", 0)]
    assert found.total_bytes == 16
    assert found.texts == {"a.py": b"open('/job/x')", "e": b""}


# The rule beside the tables: a zip is unpacked inside, or refused.

NAMES = st.lists(
    st.sampled_from(["a", "b", "..", ".", "", "/", "l", "C:", "ü", "\\", "a.sh"]),
    min_size=1,
    max_size=4,
).map("/".join)
ENTRIES = st.lists(
    st.tuples(NAMES, st.sampled_from([0, 0o100644, 0o40755, LINK, 0o10644]), NAMES), max_size=6
)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(ENTRIES)
def test_nothing_is_ever_written_outside(tmp_path_factory, entries):
    base = tmp_path_factory.mktemp("zip")
    path = zipped(base / "model.zip", *[(entry(name, mode), text) for name, mode, text in entries])
    try:
        codezip.extract(path, base / "out")
    except BadInput as e:
        refused = e
    else:
        refused = None
    if refused is None:
        assert {place.name for place in base.iterdir()} == {"model.zip", "out"}
        for place in (base / "out").rglob("*"):
            assert place.is_symlink() or place.resolve().is_relative_to(base)
            assert place.resolve().is_relative_to((base / "out").resolve())
        modelzip.inspect(path, "")
    else:
        assert refused.code == "C102"
        assert {place.name for place in base.iterdir()} <= {"model.zip", "out"}


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_damaged_zip_is_refused_or_read_but_never_an_error_of_ours(tmp_path_factory, damage):
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("d/a.py", "print(1)\n" * 20)
        archive.writestr(entry("link", LINK), "d/a.py")
        archive.writestr(stored("b.sh"), "echo\n")
    content = bytearray(whole.getvalue())
    for at, byte in damage:
        content[at % len(content)] = byte
    path = tmp_path_factory.mktemp("zip") / "model.zip"
    path.write_bytes(content)
    try:
        found = modelzip.inspect(path, "python a.py")
    except BadInput as e:
        assert e.code == "C102"  # noqa: PT017 (either end is right)
    else:
        assert found.total_bytes < 10_000
