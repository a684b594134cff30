"""rm -r: few requests, and nothing that was removed comes back."""

import os
import shutil
import signal

import pytest
from harness.content import pattern
from harness.counting import counting_relay

pytestmark = [pytest.mark.needs("pail"), pytest.mark.first_user]


def _fill(bucket, count):
    bucket.put("dir/", b"")
    for index in range(count):
        bucket.put(f"dir/file{index:03}", pattern(100 + index))


def _removals(mount):
    return sum(mount.status()["requests"].get(name, {}).get("count", 0) for name in ("DeleteObject", "DeleteObjects"))


@pytest.mark.unmounted
def test_rm_r_is_few_requests(mount, mnt, bucket):
    _fill(bucket, 100)
    # As far away as a server usually is: what goes together is what has gathered during a request.
    with counting_relay(bucket.server.endpoint, latency_ms=20) as relay:
        mount.endpoint = relay.endpoint
        mount.start()
        shutil.rmtree(mnt / "dir")
        mount.flush()
        assert _removals(mount) <= 50
        assert os.listdir(mnt) == []
        mount.stop()
    assert [key for key in bucket.keys() if key] == []


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
