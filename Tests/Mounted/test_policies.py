"""Buckets that keep what is in them or refuse what is asked: object lock, and policies that deny a part of it."""

import errno
import json
import os
import subprocess

import pytest
from harness.content import pattern
from harness.processes import wait_for
from harness.servers import Bucket

pytestmark = [pytest.mark.needs("pail"), pytest.mark.unmounted, pytest.mark.first_server, pytest.mark.first_user,
              pytest.mark.no_compare, pytest.mark.deadline(180)]


@pytest.fixture
def own(mount):
    """A bucket of the test's own, which the mount is of."""
    server = mount.bucket.server
    given, mount.bucket = mount.bucket, Bucket(server, server.new_bucket(), "")
    own = mount.bucket
    yield own
    mount.bucket = given
    own.client.delete_bucket_policy(Bucket=own.name)
    server.drop_bucket(own.name)


def _deny(bucket, action, *prefixes):
    """Denies an action below some prefixes to everybody."""
    resources = [f"arn:aws:s3:::{bucket.name}/{prefix}*" for prefix in prefixes]
    statement = {"Effect": "Deny", "Principal": "*", "Action": action, "Resource": resources}
    bucket.client.put_bucket_policy(
        Bucket=bucket.name, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))


def _errno(action):
    try:
        action()
    except OSError as error:
        return error.errno
    return 0


def test_a_prefix_that_takes_no_uploads(mount, mnt, own):
    """What cannot be uploaded stays staged, is told with error and age, is tried again ever more rarely, and keeps umount."""
    _deny(own, "s3:PutObject", "closed/")
    own.put("open/old", b"old")
    mount.start()
    (mnt / "open/new").write_text("new")
    mount.flush()
    os.mkdir(mnt / "free")
    assert _errno(lambda: os.mkdir(mnt / "closed")) == errno.EACCES and not (mnt / "closed").exists()
    # A rename into it is refused, and takes nothing away.
    _deny(own, "s3:PutObject", "closed/", "free/")
    assert _errno(lambda: os.rename(mnt / "open/old", mnt / "free/old")) == errno.EACCES
    assert (mnt / "open/old").read_text() == "old" and not os.listdir(mnt / "free")
    for name, size in (("small", 1000), ("large", 20 << 20)):
        descriptor = os.open(mnt / "free" / name, os.O_CREAT | os.O_WRONLY)
        os.write(descriptor, pattern(size))
        assert _errno(lambda: os.fsync(descriptor)) == errno.EACCES
        os.close(descriptor)
    (mnt / "open/later").write_text("later")
    mount.flush(mnt / "open")
    assert own.get("open/later") == b"later", "nothing else is kept back"
    status = mount.status()
    uploads = {each["path"]: each for each in status["uploads"]}
    assert set(uploads) == {"free/small", "free/large"} and status["failed_uploads"] >= 2
    for upload in uploads.values():
        assert "AccessDenied" in upload["last_error"] and upload["age_seconds"] >= 0 and upload["tries"] >= 1
    text = mount.pail("status", mnt).stdout
    assert "free/small" in text and "AccessDenied" in text
    # Again and again, not all the time: the pauses grow from two seconds on.
    wait_for(lambda: all(each["tries"] >= uploads[each["path"]]["tries"] + 1 for each in mount.status()["uploads"]), 30,
             "the next try")
    assert all(each["tries"] < 20 for each in mount.status()["uploads"])
    assert (mnt / "free/large").read_bytes() == pattern(20 << 20)
    result = mount.pail("umount", "--timeout", "2", mnt, check=False)
    assert result.code == 1 and "AccessDenied" in result.stderr and mount.mounted, str(result)
    result = mount.pail("umount", "--force", "--timeout", "1", mnt, check=False)
    assert result.code == 4 and "free/small" in result.stderr and "free/large" in result.stderr, str(result)
    mount.wait_until_no_daemon(30)
    own.client.delete_bucket_policy(Bucket=own.name)
    mount.start()
    mount.flush()
    assert own.get("free/small") == pattern(1000) and own.get("free/large") == pattern(20 << 20)
    mount.stop()


def test_a_prefix_that_keeps_its_objects(mount, mnt, own):
    """A removal or a rename that is refused leaves all as it was, here and in the bucket, and says so in one line."""
    bodies = {"keep/file": b"text", "keep/dir/inner": b"inner"} | {f"keep/many/{index}": b"x" for index in range(40)}
    own.put_many(bodies)
    own.put("keep/dir/", Metadata={"mode": "16877"})
    _deny(own, "s3:DeleteObject", "keep/")
    before = own.keys()
    mount.start()
    assert _errno(lambda: os.unlink(mnt / "keep/file")) == errno.EACCES
    assert _errno(lambda: os.rename(mnt / "keep/file", mnt / "elsewhere")) == errno.EACCES
    assert _errno(lambda: os.rename(mnt / "keep/dir", mnt / "elsewhere")) == errno.EACCES
    assert _errno(lambda: os.rename(mnt / "keep/many", mnt / "many")) == errno.EACCES
    refused = subprocess.run(["rm", "-r", str(mnt / "keep/many")], capture_output=True, text=True)
    assert refused.returncode != 0, "rm was not told"
    for _ in range(2):
        assert sorted(os.listdir(mnt)) == ["keep"] and (mnt / "keep/file").read_bytes() == b"text"
        assert sorted(os.listdir(mnt / "keep")) == ["dir", "file", "many"]
        assert os.listdir(mnt / "keep/dir") == ["inner"] and (mnt / "keep/dir/inner").read_bytes() == b"inner"
        assert len(os.listdir(mnt / "keep/many")) == 40
        assert own.keys() == before
        mount.remount()
    lines = [line for line in mount.log.read_text().splitlines() if "AccessDenied" in line and "keep/file" in line]
    assert lines and all("DeleteObject" in line for line in lines), lines
    # Changed they may be.
    (mnt / "keep/file").write_text("changed")
    mount.stop()
    assert own.get("keep/file") == b"changed" and own.keys() == before


def test_object_lock(mount, mnt, own):
    """Retention and legal hold keep versions: names come and go as always, and each version that was kept is there."""
    server = own.server
    locked = Bucket(server, own.name + "-locked", "")
    server.client().create_bucket(Bucket=locked.name, ObjectLockEnabledForBucket=True)
    locked.client.put_object_lock_configuration(
        Bucket=locked.name,
        ObjectLockConfiguration={"ObjectLockEnabled": "Enabled",
                                 "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}})
    locked.put("held", b"held")
    locked.client.put_object_legal_hold(Bucket=locked.name, Key="held", LegalHold={"Status": "ON"})
    mount.bucket = locked
    try:
        mount.start()
        (mnt / "held").write_text("changed")
        (mnt / "large").write_bytes(pattern(20 << 20))
        (mnt / "new").write_text("new")
        mount.flush()
        os.rename(mnt / "new", mnt / "renamed")
        os.rename(mnt / "large", mnt / "larger")
        os.unlink(mnt / "held")
        with open(mnt / "larger", "r+b") as file:
            file.write(b"head")
        assert sorted(os.listdir(mnt)) == ["larger", "renamed"]
        mount.stop()
        assert locked.keys() == ["larger", "renamed"] and locked.get("renamed") == b"new"
        assert locked.get("larger") == b"head" + pattern(20 << 20)[4:]
        versions = locked.client.list_object_versions(Bucket=locked.name)["Versions"]
        bodies = [locked.get("held", VersionId=each["VersionId"]) for each in versions if each["Key"] == "held"]
        assert sorted(bodies) == [b"changed", b"held"]
    finally:
        mount.bucket = own
        for each in locked.client.list_object_versions(Bucket=locked.name).get("Versions", []):
            locked.client.put_object_legal_hold(
                Bucket=locked.name, Key=each["Key"], VersionId=each["VersionId"], LegalHold={"Status": "OFF"})
            locked.client.delete_object(Bucket=locked.name, Key=each["Key"], VersionId=each["VersionId"],
                                        BypassGovernanceRetention=True)
