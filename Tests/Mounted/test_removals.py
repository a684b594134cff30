"""rm -r: few requests, and nothing that was removed comes back."""

import os
import shutil
import signal

import pytest
from harness.content import pattern

pytestmark = [pytest.mark.needs("pail"), pytest.mark.first_user]


def _fill(bucket, count):
    bucket.put("dir/", b"")
    for index in range(count):
        bucket.put(f"dir/file{index:03}", pattern(100 + index))


def _removals(mount):
    return sum(mount.status()["requests"].get(name, {}).get("count", 0) for name in ("DeleteObject", "DeleteObjects"))


def test_rm_r_is_few_requests(mount, mnt, bucket):
    _fill(bucket, 100)
    mount.remount()
    before = _removals(mount)
    shutil.rmtree(mnt / "dir")
    mount.flush()
    assert _removals(mount) - before <= 50
    assert [key for key in bucket.keys() if key] == [] and os.listdir(mnt) == []


def test_nothing_comes_back(mount, mnt, bucket):
    """What was removed is gone at once for everybody here, and a name that is used again is another file."""
    _fill(bucket, 30)
    for name in sorted(os.listdir(mnt / "dir")):
        os.unlink(mnt / "dir" / name)
    assert os.listdir(mnt / "dir") == []
    (mnt / "dir" / "file007").write_text("new")
    assert os.listdir(mnt / "dir") == ["file007"]
    mount.flush()
    assert bucket.files() == ["dir/file007"] and bucket.get("dir/file007") == b"new"


@pytest.mark.first_server
def test_a_killed_mount_removes_all_the_same(mount, mnt, bucket):
    _fill(bucket, 40)
    for name in sorted(os.listdir(mnt / "dir")):
        os.unlink(mnt / "dir" / name)
    os.kill(mount.daemon(), signal.SIGKILL)
    mount.wait_until_no_daemon()
    mount.start()
    assert os.listdir(mnt / "dir") == []
    mount.flush()
    assert bucket.files() == []
