"""Objects that other tools made, and changes that they make while the bucket is mounted."""

import os
import stat
import time

import pytest
from botocore.exceptions import ClientError
from harness.content import pattern
from harness.processes import wait_for
from harness.streams import Inotify

pytestmark = [pytest.mark.needs("s3"), pytest.mark.first_user]


def test_plain_objects_are_usable_without_flags(mnt, bucket):
    bucket.put("file", pattern(70_000))
    bucket.put("implicit/deep/file", b"deep")
    bucket.put("marker/")
    bucket.put("both/")
    bucket.put("both/file", b"x")
    assert sorted(os.listdir(mnt)) == ["both", "file", "implicit", "marker"]
    for parent, directories, names in os.walk(mnt):
        for name in directories + names:
            status = os.stat(os.path.join(parent, name))
            assert stat.S_IMODE(status.st_mode) == (0o755 if name in directories else 0o644), name
            assert (status.st_uid, status.st_gid) == (os.geteuid(), os.getegid()), name
    assert (mnt / "file").read_bytes() == pattern(70_000) and os.listdir(mnt / "marker") == []
    assert abs(os.stat(mnt / "file").st_mtime - bucket.head("file")["LastModified"].timestamp()) < 1
    with open(mnt / "file", "ab") as file:
        file.write(b"appended")
    (mnt / "implicit" / "deep" / "new").write_text("new")
    (mnt / "marker" / "new").write_text("new")


def test_lookup_without_a_listing(mnt, bucket):
    bucket.put("a/b/c/file", b"text")
    assert (mnt / "a" / "b" / "c" / "file").read_text() == "text"
    assert not (mnt / "a" / "b" / "missing").exists() and not (mnt / "missing" / "deep").exists()


@pytest.mark.no_compare
def test_a_file_beside_a_directory_of_its_name(mnt, bucket):
    _require_keys(bucket, {"a": b"the file", "a/b": b"below"})
    names = os.listdir(mnt)
    directories = [name for name in names if stat.S_ISDIR(os.stat(mnt / name).st_mode)]
    files = [name for name in names if stat.S_ISREG(os.stat(mnt / name).st_mode)]
    assert len(names) == len(set(names)) == 2 and len(directories) == 1 and len(files) == 1, names
    assert (mnt / directories[0] / "b").read_text() == "below"
    assert (mnt / files[0]).read_text() == "the file"


@pytest.mark.no_compare
def test_keys_that_no_path_can_spell(mnt, bucket):
    odd = ("dir//file", "dir/./file", "dir/../file", "/file", "x" * 300)
    _require_keys(bucket, {key: key.encode() for key in odd})
    bucket.put("dir/plain", b"plain")
    assert (mnt / "dir" / "plain").read_text() == "plain"
    for parent, directories, names in os.walk(mnt):
        assert len(directories + names) == len(set(directories + names))
        for name in directories + names:
            os.lstat(os.path.join(parent, name))
    assert bucket.get("dir//file") == b"dir//file"


def test_metadata_of_s3fs(mnt, bucket):
    when = "1234567890"
    bucket.put("file", b"text", Metadata={"mode": str(0o100640), "mtime": when, "uid": str(os.geteuid()),
                                          "gid": str(os.getegid())})
    bucket.put("link", b"file", Metadata={"mode": str(0o120777)})
    bucket.put("dir/", b"", Metadata={"mode": str(0o040700)})
    bucket.put("dir/entry", b"x")
    mode = stat.S_IMODE(os.stat(mnt / "dir").st_mode)
    assert mode == 0o700 or not bucket.keeps_marker_metadata
    status = os.stat(mnt / "file")
    assert stat.S_IMODE(status.st_mode) == 0o640 and int(status.st_mtime) == int(when)
    assert os.readlink(mnt / "link") == "file" and (mnt / "link").read_text() == "text"


def test_content_type_and_metadata_survive_an_edit(mnt, bucket, mount):
    bucket.put("page.html", b"<p>old</p>", ContentType="text/x-special", Metadata={"colour": "blue"})
    os.chmod(mnt / "page.html", 0o600)
    with open(mnt / "page.html", "ab") as file:
        file.write(b"<p>new</p>")
    mount.flush()
    head = bucket.head("page.html")
    assert head["ContentType"] == "text/x-special" and head["Metadata"].get("colour") == "blue"


@pytest.mark.needs("pail")
@pytest.mark.mount_options("--ttl", "1")
def test_remote_changes_are_seen_after_the_ttl(mnt, bucket):
    for name in ("changed", "longer", "deleted", "steady"):
        bucket.put(name, b"old " + name.encode())
    assert sorted(os.listdir(mnt)) == ["changed", "deleted", "longer", "steady"]
    for name in os.listdir(mnt):
        assert (mnt / name).read_bytes() == b"old " + name.encode()
    assert not (mnt / "added").exists()
    bucket.put("changed", b"new changed")  # the same size
    bucket.put("longer", pattern(100_000))
    bucket.put("added", b"added")
    bucket.put("dir/added", b"added")
    bucket.delete("deleted")
    time.sleep(1.2)
    assert (mnt / "changed").read_bytes() == b"new changed"
    assert (mnt / "longer").read_bytes() == pattern(100_000) and os.stat(mnt / "longer").st_size == 100_000
    assert (mnt / "added").read_bytes() == b"added"
    assert sorted(os.listdir(mnt)) == ["added", "changed", "dir", "longer", "steady"]
    assert not (mnt / "deleted").exists()


@pytest.mark.needs("pail")
@pytest.mark.mount_options("--ttl", "1")
def test_an_open_file_never_mixes_two_versions(mnt, bucket, mount):
    size = 20_000_000
    bucket.put("object", b"1" * size)
    with open(mnt / "object", "rb", buffering=0) as file:
        first = os.pread(file.fileno(), 4096, 0)
        bucket.put("object", b"2" * size)
        time.sleep(1.2)
        try:
            later = os.pread(file.fileno(), 4096, size - 4096)
        except OSError as error:
            assert error.errno == 116  # ESTALE
            later = b""
    assert first == b"1" * 4096 and later in (b"", b"1" * 4096)
    assert (mnt / "object").read_bytes() == b"2" * size


@pytest.mark.needs("pail")
@pytest.mark.first_server
@pytest.mark.parametrize("name", [
    "plain", "größe", os.fsdecode(b"no \xff utf-8"),
], ids=["plain", "utf-8", "bytes"])
def test_inotify_hears_of_a_remote_removal(mnt, mount, bucket, name):
    """Who watches a file is told that another client has removed it, once the directory is listed after `pail refresh`.

    A lookup of the name does not do: its own answer may have dropped the name before the kernel is told. Who watches
    the directory only hears nothing: the kernel tells that of removals by itself alone.
    """
    for each in (name, "kept"):
        (mnt / each).write_text("text")
    mount.flush()
    assert sorted(os.listdir(mnt)) == sorted([name, "kept"])
    with Inotify(mnt / name, mnt / "kept") as watch:
        key, = set(bucket.files()) - {"kept"}
        bucket.delete(key)
        mount.pail("refresh", mnt)
        assert os.listdir(mnt) == ["kept"]
        assert watch.hears(mnt / name, Inotify.DELETE_SELF, 10)
        assert not watch.hears(mnt / "kept", Inotify.DELETE_SELF, 0.1)
        os.unlink(mnt / "kept")
        assert watch.hears(mnt / "kept", Inotify.DELETE_SELF, 10)


@pytest.mark.needs("pail")
@pytest.mark.no_compare
@pytest.mark.mount_options("--ttl", "1")
def test_the_loser_of_two_writers_is_told(mnt, bucket, mount):
    """A change by another client between our open and our upload is not overwritten in silence."""
    bucket.put("object", b"base")
    _require_conditional_writes(bucket)
    with open(mnt / "object", "r+b", buffering=0) as file:
        file.write(b"ours")
        bucket.put("object", b"theirs")
        with pytest.raises(OSError) as caught:
            os.fsync(file.fileno())
        assert caught.value.errno == 116  # ESTALE
    assert bucket.get("object") == b"theirs"
    conflict = wait_for(lambda: [key for key in bucket.files() if key.startswith("object.conflict-")], 20,
                        "our bytes kept beside it")
    assert bucket.get(conflict[0]) == b"ours"


@pytest.mark.needs("pail")
@pytest.mark.whole_bucket
def test_a_whole_bucket(mnt, bucket, mount):
    bucket.put("file", b"text")
    bucket.put("dir/file", b"below")
    (mnt / "new").write_text("new")
    assert sorted(os.listdir(mnt)) == ["dir", "file", "new"] and (mnt / "dir" / "file").read_text() == "below"
    mount.remount()
    assert bucket.files() == ["dir/file", "file", "new"]


@pytest.mark.needs("pail")
def test_a_prefix_shows_nothing_of_its_neighbours(mnt, bucket):
    bucket.client.put_object(Bucket=bucket.name, Key=bucket.prefix[:-1] + "1/file", Body=b"neighbour")
    bucket.client.put_object(Bucket=bucket.name, Key="outside", Body=b"outside")
    (mnt / "inside").write_text("inside")
    assert os.listdir(mnt) == ["inside"] and not (mnt / ".." / "outside").exists()


def test_objects_written_are_plain(mnt, bucket, mount):
    """What lies in the bucket is the file's bytes under the file's path, readable by any S3 tool."""
    (mnt / "dir").mkdir()
    (mnt / "dir" / "report.html").write_text("<p>report</p>")
    mount.flush()
    assert bucket.get("dir/report.html") == b"<p>report</p>"
    head = bucket.head("dir/report.html")
    assert head["ContentType"].startswith("text/html") or head["ContentType"] in (
        "binary/octet-stream", "application/octet-stream")
    assert "ContentEncoding" not in head


def _require_keys(bucket, bodies):
    """Puts objects whose keys some servers refuse or change, SeaweedFS for one; skips there."""
    try:
        for key, body in bodies.items():
            bucket.put(key, body)
    except ClientError as error:
        pytest.skip(f"this server refuses such keys: {error}")
    if not set(bodies) <= set(bucket.keys()):
        pytest.skip("this server changes such keys")


def _require_conditional_writes(bucket):
    """Skips on a store that ignores or mishandles If-Match on PUT, as Ceph 16 does."""
    tag = bucket.put("probe", b"1")["ETag"]
    bucket.put("probe", b"2")
    try:
        bucket.put("probe", b"3", IfMatch=tag)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 412:
            bucket.delete("probe")
            return
    bucket.delete("probe")
    pytest.skip("this store does not check If-Match of a PUT")
