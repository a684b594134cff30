"""Names that other tools trip over: each is made, listed, read, renamed, remounted and seen as a key."""

import errno
import hashlib
import os
import unicodedata
import uuid

import pytest
from botocore.exceptions import ClientError
from harness.content import pattern
from harness.servers import Bucket

pytestmark = pytest.mark.first_user

NAMES = [
    "plain", "two words", " leading space", "trailing space ", "a+b", "100%", "%41%2F", "~home", "it's", 'say "hi"',
    "a&b", "<angle>", "semi;colon", "hash#tag", "what?", "star*", "[brackets]", "{braces}", "$HOME", "`tick`", "a=b",
    "a,b", "a:b", "a@b", "pipe|", "caret^", "bang!", "(round)", "-rf", "--help", ".hidden", "..twodots", "...",
    "back\\slash", "new\nline", "tab\there", "bell\x07", "ż" * 100, "日本語", "Ω≈ç√", "emoji 🪣", "\u200bzero width",
    unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é"), "n" * 255, "ö" * 127, "UPPER", "upper",
]


@pytest.fixture
def names(bucket):
    """The names that this server can hold: SeaweedFS takes a backslash for a slash."""
    return [name for name in NAMES if "\\" not in name or _keeps(bucket, name)]


@pytest.mark.deadline(120)
def test_files(mnt, bucket, mount, names):
    problems = [f"{name!r}: {problem}" for name in names if (problem := _problem_of_a_file(mnt, name))]
    assert not problems, "\n".join(problems)
    assert sorted(os.listdir(mnt)) == sorted(names)
    mount.remount()
    assert sorted(os.listdir(mnt)) == sorted(names)
    assert sorted(bucket.files()) == sorted(names)
    for name in names:
        assert (mnt / name).read_bytes() == pattern(100, name), repr(name)


@pytest.mark.deadline(120)
def test_directories(mnt, bucket, mount, names):
    for name in names:
        os.mkdir(mnt / name)
        (mnt / name / name).write_text(name)
    mount.remount()
    assert sorted(os.listdir(mnt)) == sorted(names)
    for name in names:
        assert os.listdir(mnt / name) == [name], repr(name)
        assert (mnt / name / name).read_text() == name
    assert sorted(bucket.files()) == sorted(f"{name}/{name}" for name in names)


@pytest.mark.deadline(120)
def test_renames(mnt, names):
    (mnt / "file").write_text("content")
    before = "file"
    for name in names:
        os.rename(mnt / before, mnt / name)
        assert os.listdir(mnt) == [name]
        assert (mnt / name).read_text() == "content", repr(name)
        before = name


@pytest.mark.needs("s3")
@pytest.mark.deadline(120)
def test_objects_of_others(mnt, bucket, mount, names):
    bucket.put_many({f"theirs/{name}": name.encode() for name in names})
    assert sorted(os.listdir(mnt / "theirs")) == sorted(names)
    for name in names:
        assert (mnt / "theirs" / name).read_text() == name, repr(name)
        os.unlink(mnt / "theirs" / name)
    # Removals that follow each other are acknowledged when they are journalled.
    mount.flush()
    assert not [key for key in bucket.files() if key.startswith("theirs/")]


def test_names_that_are_no_utf8(mnt, bucket, mount):
    """Keys are UTF-8, names are bytes: what is no UTF-8 is escaped in the key, and is the same name on the next mount."""
    names = [b"caf\xe9", b"\xff", b"\xc3", b"a\xff%", b"\xed\xa0\x80"]
    top = os.fsencode(mnt)
    for name in names:
        with open(top + b"/" + name, "wb") as file:
            file.write(name)
        os.mkdir(top + b"/" + name + b".d")
        os.symlink(b"to/" + name, top + b"/" + name + b".l")
    everything = sorted(name + suffix for name in names for suffix in (b"", b".d", b".l"))
    assert sorted(os.listdir(top)) == everything
    mount.remount()
    assert sorted(os.listdir(top)) == everything
    for name in names:
        with open(top + b"/" + name, "rb") as file:
            assert file.read() == name
        assert os.readlink(top + b"/" + name + b".l") == b"to/" + name
    if hasattr(bucket, "server"):
        assert "%pail-bytes-caf%E9" in bucket.files()
    # The escaped form is not a second name of the file.
    assert not os.path.lexists(mnt / "%pail-bytes-caf%E9")
    for name in names:
        os.rename(top + b"/" + name, top + b"/" + name + b".new")
        os.unlink(top + b"/" + name + b".new")
        os.rmdir(top + b"/" + name + b".d")
        os.unlink(top + b"/" + name + b".l")
    assert os.listdir(top) == []


@pytest.mark.needs("pail")
@pytest.mark.first_server
def test_names_that_look_escaped(mnt, mount):
    names = ["%pail-", "%pail-x", "%pail-file", "%pail-dot", "%pail-bytes-a", "%pail-%pail-dot"]
    for name in names:
        (mnt / name).write_text(name)
    for name in ("%pail-file-a", "%pail-empty"):
        with pytest.raises(OSError) as caught:
            (mnt / name).touch()
        assert caught.value.errno == 22  # EINVAL: they would be listed as other names
    assert sorted(os.listdir(mnt)) == sorted(names)
    mount.remount()
    assert sorted(os.listdir(mnt)) == sorted(names)
    for name in names:
        assert (mnt / name).read_text() == name
        os.unlink(mnt / name)


@pytest.mark.needs("pail")
@pytest.mark.first_server
def test_a_name_comes_back(mnt, bucket):
    """An object beside a directory of its name has the name as soon as the directory is gone, whatever the TTL."""
    bucket.put("a", b"object")
    bucket.put("a/b", b"inside")
    if len(bucket.keys()) < 2:
        pytest.skip("this server cannot hold both")
    assert sorted(os.listdir(mnt)) == ["%pail-file-a", "a"]
    assert (mnt / "%pail-file-a").read_bytes() == b"object"
    os.unlink(mnt / "a" / "b")
    os.rmdir(mnt / "a")
    assert os.listdir(mnt) == ["a"] and (mnt / "a").read_bytes() == b"object"
    assert not os.path.lexists(mnt / "%pail-file-a")


@pytest.mark.needs("s3")
@pytest.mark.deadline(60)
def test_objects_with_names_that_are_too_long(mnt, bucket, mount):
    """Names over 255 bytes are shown by their SHA-256, and lead to the object on every mount."""
    names = ["n" * 256 + ".tar.gz", "ö" * 200 + "x.csv"]
    keys = [key for name in names for key in (name, f"d/{name}", f"in-{name}/file")]
    if not all(_keeps(bucket, key) for key in keys):
        pytest.skip("this server cannot hold them")
    bucket.put_many({key: key.encode() for key in keys})

    def shown(name):
        data = name.encode()
        digest = hashlib.sha256(data).hexdigest()
        head, tail = (part.decode(errors="ignore") for part in (data[:96], data[-32:]))
        return f"%pail-long-{digest}-{head}~{tail}"

    paths = {key: "/".join(shown(part) if len(part.encode()) > 255 else part for part in key.split("/")) for key in keys}
    for turn in range(2):
        found = sorted(os.path.relpath(os.path.join(top, name), mnt) for top, _, files in os.walk(mnt) for name in files)
        assert found == sorted(paths.values())
        mount.remount()
        for key, path in paths.items():
            assert (mnt / path).read_text() == (key if turn == 0 else "changed")
            (mnt / path).write_text("changed")
    with pytest.raises(OSError) as caught:
        (mnt / shown("x" * 300)).touch()
    assert caught.value.errno == errno.EINVAL
    mount.flush()
    assert sorted(bucket.files()) == sorted(keys)
    os.rename(mnt / paths[keys[0]], mnt / "short")
    for key in keys[1:]:
        os.unlink(mnt / paths[key])
        assert not os.path.lexists(mnt / paths[key])
    mount.flush()
    assert [key for key in bucket.files() if not key.endswith("/")] == ["short"]


def test_too_long_a_name(mnt):
    with pytest.raises(OSError) as caught:
        (mnt / ("n" * 256)).touch()
    assert caught.value.errno == 36  # ENAMETOOLONG


def test_deep_directories(mnt, mount):
    path = mnt
    for level in range(40):
        path = path / f"level{level}"
        path.mkdir()
        (path / "file").write_text(str(level))
    mount.remount()
    found = [(len(os.path.relpath(parent, mnt).split("/")), names) for parent, _, names in os.walk(mnt) if names]
    assert found == [(level, ["file"]) for level in range(1, 41)]
    assert (path / "file").read_text() == "39"


def test_a_key_of_almost_1024_bytes(mnt, bucket, place):
    room = 1000 - len(getattr(bucket, "prefix", ""))
    path = mnt
    while room > 203:
        path = path / ("d" * 200)
        room -= 201
    os.makedirs(path)
    (path / ("f" * room)).write_text("deep")
    assert (path / ("f" * room)).read_text() == "deep"


@pytest.mark.needs("pail")
def test_a_key_over_1024_bytes_is_refused(mnt):
    path = mnt / "/".join(["d" * 200] * 5)
    os.makedirs(path)
    with pytest.raises(OSError) as caught:
        (path / ("f" * 200)).write_text("too deep")
    assert caught.value.errno == 36  # ENAMETOOLONG
    assert os.listdir(path) == []


def _keeps(bucket, name):
    """Tried under a prefix of its own: SeaweedFS may leave a directory behind."""
    if not hasattr(bucket, "server"):
        return True
    probe = Bucket(bucket.server, bucket.name, f"probe-{uuid.uuid4().hex}/")
    try:
        probe.put(name)
    except ClientError:
        return False
    kept = probe.keys() == [name]
    probe.clear()
    return kept


def _problem_of_a_file(mnt, name):
    try:
        data = pattern(100, name)
        (mnt / name).write_bytes(data)
        if (mnt / name).read_bytes() != data:
            return "other bytes"
        if os.stat(mnt / name).st_size != 100:
            return "other size"
        if name not in os.listdir(mnt):
            return "not listed"
        return None
    except OSError as error:
        return str(error)
