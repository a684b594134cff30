"""Extended attributes: what becomes of them in the bucket, and programs that copy them."""

import errno
import os

import pytest
from harness.processes import run, sh

pytestmark = [pytest.mark.needs("pail"), pytest.mark.first_user]


def test_attributes_survive_a_remount(mnt, bucket, mount):
    (mnt / "file").write_text("text")
    (mnt / "dir").mkdir()
    values = {"user.colour": b"blue", "user.Case": b"C", "user.binary": bytes(range(256)), "user.empty": b"",
              "user.under_score": b"kept", "user.dotted.name": b"kept",
              "user.text": "größe".encode()}
    places = ["file", "dir"] if mount.bucket.keeps_marker_metadata else ["file"]
    for place in places:
        for name, value in values.items():
            os.setxattr(mnt / place, name, value)
    mount.remount()
    for place in places:
        assert {name: os.getxattr(mnt / place, name) for name in os.listxattr(mnt / place)} == values, place
    assert bucket.head("file")["Metadata"]["colour"] == "blue"
    os.removexattr(mnt / "file", "user.colour")
    with open(mnt / "file", "a") as file:
        file.write("more")
    mount.remount()
    assert sorted(os.listxattr(mnt / "file")) == sorted(set(values) - {"user.colour"})


def test_metadata_of_others_is_attributes(mnt, bucket):
    bucket.client.put_object(Bucket=bucket.name, Key=bucket.prefix + "theirs", Body=b"x",
                             Metadata={"author": "somebody", "project": "apollo"})
    assert os.getxattr(mnt / "theirs", "user.author") == b"somebody"
    assert sorted(os.listxattr(mnt / "theirs")) == ["user.author", "user.project"]
    os.setxattr(mnt / "theirs", "user.author", b"else")
    os.removexattr(mnt / "theirs", "user.project")
    with open(mnt / "theirs", "rb") as file:
        os.fsync(file.fileno())
    assert bucket.head("theirs")["Metadata"]["author"] == "else"
    assert "project" not in bucket.head("theirs")["Metadata"]


def test_the_limit_is_told_at_once(mnt):
    (mnt / "file").write_text("text")
    assert _errno(lambda: os.setxattr(mnt / "file", "user.a", b"v" * 3000)) == errno.E2BIG
    results = [_errno(lambda number=number: os.setxattr(mnt / "file", f"user.n{number}", b"v" * 400))
               for number in range(6)]
    assert results[:4] == [0, 0, 0, 0] and results[-1] == errno.ENOSPC
    os.chmod(mnt / "file", 0o600)
    with open(mnt / "file", "ab") as file:
        file.write(b"more")
        os.fsync(file.fileno())


def test_properties_of_the_object(mnt, bucket):
    bucket.client.put_object(Bucket=bucket.name, Key=bucket.prefix + "page", Body=b"<p>", ContentType="text/html")
    path = mnt / "page"
    assert os.getxattr(path, "user.s3.content-type") == b"text/html" and os.listxattr(path) == []
    assert os.getxattr(path, "user.s3.etag").decode() == bucket.head("page")["ETag"].strip('"')
    assert os.getxattr(path, "user.s3.key").decode() == bucket.prefix + "page"
    os.setxattr(path, "user.s3.content-type", b"text/plain")
    os.setxattr(path, "user.s3.cache-control", b"no-store")
    found = bucket.head("page")
    assert (found["ContentType"], found["CacheControl"]) == ("text/plain", "no-store")
    assert path.read_text() == "<p>"
    for name, value, expected in (("etag", b"x", errno.EPERM), ("unknown", b"x", errno.EOPNOTSUPP),
                                  ("cache-control", b"a\nb", errno.EINVAL), ("tags", b"a=1&a=2", errno.EINVAL)):
        assert _errno(lambda: os.setxattr(path, f"user.s3.{name}", value)) == expected, name
    os.setxattr(path, "user.s3.tags", b"cost%20centre=7&team=blue")
    assert os.getxattr(path, "user.s3.tags") == b"cost%20centre=7&team=blue"
    tags = bucket.client.get_object_tagging(Bucket=bucket.name, Key=bucket.prefix + "page")["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"team": "blue", "cost centre": "7"}
    os.removexattr(path, "user.s3.tags")
    assert _errno(lambda: os.getxattr(path, "user.s3.tags")) == errno.ENODATA


def test_what_the_mount_has_of_a_file(mnt, bucket, mount):
    bucket.put("read", b"x" * 5000)
    assert (mnt / "read").read_bytes() == b"x" * 5000
    assert os.getxattr(mnt / "read", "user.pail.cached-bytes") == b"5000"
    with open(mnt / "written", "wb", buffering=0) as file:
        file.write(b"pending")
        assert os.getxattr(mnt / "written", "user.pail.pending-bytes") == b"7"
        assert _errno(lambda: os.getxattr(mnt / "written", "user.pail.upload-error")) == errno.ENODATA
        os.fsync(file.fileno())
        assert os.getxattr(mnt / "written", "user.pail.pending-bytes") == b"0"
    assert os.listxattr(mnt / "written") == []


@pytest.mark.first_server
def test_many_changes_are_one_request(mnt, bucket, mount):
    """Attributes of a file that is in the bucket: one copy of the object onto itself, two on a machine too busy for the first
    seven calls to come within half a second."""
    bucket.put("file", b"x" * 1_000_000)
    assert (mnt / "file").stat().st_size == 1_000_000
    before = mount.status()["requests"]
    for number in range(5):
        os.setxattr(mnt / "file", f"user.n{number}", b"value")
    os.chmod(mnt / "file", 0o640)
    os.utime(mnt / "file", (1_500_000_000, 1_600_000_000))
    mount.flush()
    after = mount.status()["requests"]

    def added(name):
        return after.get(name, {"count": 0})["count"] - before.get(name, {"count": 0})["count"]
    assert 1 <= added("CopyObject") <= 2 and added("PutObject") == added("GetObject") == 0, after
    metadata = bucket.head("file")["Metadata"]
    assert metadata["n4"] == "value" and int(metadata["mode"]) & 0o777 == 0o640, metadata


def test_programs_that_copy_attributes(mnt, scratch, mount):
    tree = scratch / "tree"
    (tree / "sub").mkdir(parents=True)
    for name, value in (("a", b"one"), ("sub/b", b"two\x00\xff")):
        (tree / name).write_text(name)
        os.setxattr(tree / name, "user.comment", value)
    (tree / "a").chmod(0o640)
    sh(f"""
        rsync -aX {tree}/ {mnt}/rsync
        test -z "$(rsync -aXi {tree}/ {mnt}/rsync)"
        cp -a {tree} {mnt}/cp
        cp -a {mnt}/cp {mnt}/again
        tar -C {tree} --xattrs -cf {mnt}/tree.tar . && mkdir {mnt}/tar && tar -C {mnt}/tar --xattrs -xpf {mnt}/tree.tar
    """)
    mount.remount()
    for copy in ("rsync", "cp", "again", "tar"):
        for name in ("a", "sub/b"):
            assert os.getxattr(mnt / copy / name, "user.comment") == os.getxattr(tree / name, "user.comment"), copy
        assert os.stat(mnt / copy / "a").st_mode & 0o777 == 0o640
    assert run("getfattr", "-d", "--absolute-names", mnt / "tar" / "a").stdout.count("user.comment") == 1


def _errno(action):
    try:
        action()
    except OSError as error:
        return error.errno
    return 0
