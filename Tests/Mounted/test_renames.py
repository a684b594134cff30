"""Renames: of files and directories, with data still pending, over open files, and those that must fail."""

import ctypes
import errno
import os
import stat
import time

import pytest
from harness.content import describe, make_tree, pattern
from harness.processes import run

pytestmark = pytest.mark.first_user

NOREPLACE, EXCHANGE = 1, 2


def test_file(mnt, bucket, mount):
    (mnt / "before").write_bytes(pattern(100_000))
    mount.remount()
    os.rename(mnt / "before", mnt / "after")
    assert os.listdir(mnt) == ["after"] and (mnt / "after").read_bytes() == pattern(100_000)
    mount.flush()
    assert bucket.files() == ["after"]


def test_over_an_existing_file(mnt, bucket):
    (mnt / "new").write_bytes(b"new")
    (mnt / "old").write_bytes(b"old content")
    os.rename(mnt / "new", mnt / "old")
    assert os.listdir(mnt) == ["old"] and (mnt / "old").read_bytes() == b"new"


def test_before_close(mnt, bucket):
    """Data still pending follows the name; the stub of the old name does not win (s3fs#898)."""
    with open(mnt / "before", "wb", buffering=0) as file:
        file.write(b"first ")
        os.rename(mnt / "before", mnt / "after")
        file.write(b"second")
        assert (mnt / "after").read_bytes() == b"first second"
    assert os.listdir(mnt) == ["after"] and (mnt / "after").read_bytes() == b"first second"


def test_after_close_before_upload(mnt, bucket, mount):
    for index in range(20):
        (mnt / f"file{index}").write_bytes(pattern(10_000 + index))
        os.rename(mnt / f"file{index}", mnt / f"renamed{index}")
    mount.flush()
    assert bucket.files() == sorted(f"renamed{index}" for index in range(20))
    assert all(bucket.get(f"renamed{index}") == pattern(10_000 + index) for index in range(20))


@pytest.mark.needs("pail")
@pytest.mark.first_server
def test_a_file_that_is_renamed_once_it_is_closed_is_sent_once(mnt, mount):
    """What rsync, pip and editors do with each file. It costs four requests, one after another: at 30 ms 125 ms a file."""
    (mnt / "first").write_bytes(b"x")
    mount.flush()
    late = 0
    for index in range(50):
        started = time.monotonic()
        (mnt / ".temporary").write_bytes(pattern(5000 + index))
        os.rename(mnt / ".temporary", mnt / f"file{index}")
        # A busy machine may keep us from the rename until the pause that ends a burst is over.
        late += time.monotonic() - started > 0.045
    mount.flush()
    requests = mount.status()["requests"]
    assert requests.get("CopyObject", {"count": 0})["count"] <= 10 + late, (late, requests)
    # The first one, and its repetition, which shows what the server makes of conditions.
    assert requests["PutObject"]["count"] <= 12 + 50 + late, (late, requests)


@pytest.mark.parametrize("change", ["touch", "chmod", "truncate"])
def test_then_a_change_of_attributes(mnt, bucket, mount, change):
    """A change right after a rename must not make a fresh empty file (s3fs#1453)."""
    (mnt / "before").write_bytes(pattern(300_000))
    (mnt / "before").read_bytes()
    os.rename(mnt / "before", mnt / "after")
    if change == "touch":
        os.utime(mnt / "after", (1_000_000_000, 1_000_000_000))
    elif change == "chmod":
        os.chmod(mnt / "after", 0o600)
    else:
        os.truncate(mnt / "after", 200_000)
    expected = pattern(300_000)[:200_000 if change == "truncate" else None]
    mount.flush()
    assert bucket.get("after") == expected and (mnt / "after").read_bytes() == expected


@pytest.mark.parametrize("change", ["utime", "chmod", "link away and back"])
def test_change_before_close(mnt, bucket, mount, change):
    """Times and modes set while data is pending must not publish the stub (s3fs#1345)."""
    with open(mnt / "file", "wb", buffering=0) as file:
        file.write(pattern(50_000))
        if change == "utime":
            os.utime(mnt / "file", (1_000_000_000, 1_000_000_000))
        elif change == "chmod":
            os.chmod(mnt / "file", 0o600)
        else:
            os.rename(mnt / "file", mnt / "other")
            os.rename(mnt / "other", mnt / "file")
    mount.flush()
    assert bucket.get("file") == pattern(50_000) == (mnt / "file").read_bytes()
    status = os.stat(mnt / "file")
    if change == "utime":
        assert int(status.st_mtime) == 1_000_000_000
    if change == "chmod":
        assert stat.S_IMODE(status.st_mode) == 0o600


def test_over_an_open_file(mnt):
    (mnt / "target").write_bytes(b"old content")
    with open(mnt / "target", "rb", buffering=0) as file:
        (mnt / "new").write_bytes(b"new")
        os.rename(mnt / "new", mnt / "target")
        assert file.read() == b"old content"
    assert (mnt / "target").read_bytes() == b"new"


def test_chain(mnt, mount):
    (mnt / "a").write_text("1")
    (mnt / "b").write_text("2")
    for before, after in (("a", "swap"), ("b", "a"), ("swap", "b")):
        os.rename(mnt / before, mnt / after)
    mount.remount()
    assert (mnt / "a").read_text() == "2" and (mnt / "b").read_text() == "1"


def test_into_another_directory(mnt):
    (mnt / "one").mkdir()
    (mnt / "two").mkdir()
    (mnt / "one" / "file").write_text("text")
    os.rename(mnt / "one" / "file", mnt / "two" / "moved")
    assert os.listdir(mnt / "one") == [] and (mnt / "two" / "moved").read_text() == "text"


def test_directory(mnt, scratch, mount):
    run("cp", "-a", make_tree(scratch / "tree"), mnt / "before")
    kept = mount.bucket.keeps_marker_metadata
    mount.remount()
    expected = describe(scratch / "tree", directories=kept)
    os.rename(mnt / "before", mnt / "after")
    assert os.listdir(mnt) == ["after"] and describe(mnt / "after", directories=kept) == expected
    mount.remount()
    assert os.listdir(mnt) == ["after"] and describe(mnt / "after", directories=kept) == expected


def test_directory_with_pending_data(mnt, bucket, mount):
    (mnt / "dir" / "sub").mkdir(parents=True)
    (mnt / "dir" / "closed").write_bytes(pattern(10_000))
    with open(mnt / "dir" / "sub" / "open", "wb", buffering=0) as file:
        file.write(b"before ")
        os.rename(mnt / "dir", mnt / "moved")
        file.write(b"after")
        (mnt / "moved" / "new").write_text("new")
    mount.flush()
    assert bucket.files() == ["moved/closed", "moved/new", "moved/sub/open"]
    assert bucket.get("moved/sub/open") == b"before after" and bucket.get("moved/closed") == pattern(10_000)


def test_directory_of_objects(mnt, bucket, mount):
    """A directory that no marker makes, made by another tool."""
    bucket.put_many({f"dir/{name}": name.encode() for name in ("a", "b/c", "b/d/e")})
    os.rename(mnt / "dir", mnt / "other")
    mount.flush()
    assert bucket.files() == ["other/a", "other/b/c", "other/b/d/e"]
    assert (mnt / "other" / "b" / "d" / "e").read_text() == "b/d/e" and not (mnt / "dir").exists()


def test_directory_over_an_empty_one(mnt):
    (mnt / "one").mkdir()
    (mnt / "one" / "file").touch()
    (mnt / "two").mkdir()
    os.rename(mnt / "one", mnt / "two")
    assert os.listdir(mnt) == ["two"] and os.listdir(mnt / "two") == ["file"]


def test_working_directory_survives(mnt):
    (mnt / "before").mkdir()
    os.chdir(mnt / "before")
    os.rename(mnt / "before", mnt / "after")
    with open("file", "w") as file:
        file.write("text")
    assert (mnt / "after" / "file").read_text() == "text" and os.getcwd() == str(mnt / "after")
    os.chdir("/")


@pytest.mark.parametrize(("source", "target", "expected"), [
    ("dir", "dir/inside", {errno.EINVAL}),
    ("dir", "full", {errno.ENOTEMPTY, errno.EEXIST}),
    ("file", "dir", {errno.EISDIR}),
    ("dir", "file", {errno.ENOTDIR}),
    ("missing", "other", {errno.ENOENT}),
    ("file", "missing/other", {errno.ENOENT}),
    ("file/", "other", {errno.ENOTDIR}),
])
def test_refusals(mnt, source, target, expected):
    (mnt / "file").write_text("file")
    (mnt / "dir").mkdir()
    (mnt / "full" / "entry").mkdir(parents=True)
    with pytest.raises(OSError) as caught:
        os.rename(f"{mnt}/{source}", f"{mnt}/{target}")
    assert caught.value.errno in expected
    assert sorted(os.listdir(mnt)) == ["dir", "file", "full"] and (mnt / "file").read_text() == "file"


def test_onto_itself(mnt):
    (mnt / "file").write_text("text")
    os.rename(mnt / "file", mnt / "file")
    assert (mnt / "file").read_text() == "text"


def test_noreplace(mnt):
    (mnt / "a").write_text("a")
    (mnt / "b").write_text("b")
    assert _renameat2(mnt / "a", mnt / "b", NOREPLACE) == errno.EEXIST
    assert (mnt / "a").read_text() == "a" and (mnt / "b").read_text() == "b"
    assert _renameat2(mnt / "a", mnt / "c", NOREPLACE) in (0, errno.EINVAL)


def test_exchange_is_done_or_refused(mnt):
    (mnt / "a").write_text("a")
    (mnt / "b").write_text("b")
    answer = _renameat2(mnt / "a", mnt / "b", EXCHANGE)
    assert answer in (0, errno.EINVAL)
    expected = ("b", "a") if answer == 0 else ("a", "b")
    assert ((mnt / "a").read_text(), (mnt / "b").read_text()) == expected


def _renameat2(source, target, flags):
    """0 or the errno."""
    library = ctypes.CDLL(None, use_errno=True)
    here = -100  # AT_FDCWD
    if library.renameat2(here, os.fsencode(source), here, os.fsencode(target), flags) == 0:
        return 0
    return ctypes.get_errno()
