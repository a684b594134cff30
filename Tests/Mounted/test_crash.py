"""kill -9 of the daemon: the mountpoint heals with the next `pail mount`, and what was promised arrives."""

import contextlib
import errno
import json
import os
import signal
import subprocess
import time

import pytest
from harness import mount_table
from harness.content import pattern, sha256_of
from harness.counting import counting_relay
from harness.processes import wait_for

pytestmark = [pytest.mark.needs("pail"), pytest.mark.deadline(120)]


def _kill_daemon(mount):
    os.kill(mount.daemon(), signal.SIGKILL)
    mount.wait_until_no_daemon()


@contextlib.contextmanager
def _open_over_a_kill(path, mode):
    """A file whose daemon dies while it is open: close() then fails, and says nothing about what was written."""
    file = open(path, mode, buffering=0)
    try:
        yield file
    finally:
        with contextlib.suppress(OSError):
            file.close()


def test_a_stale_mountpoint_is_mounted_again(mount, mnt):
    (mnt / "file").write_text("text")
    mount.flush()
    _kill_daemon(mount)
    with pytest.raises(OSError) as caught:
        os.listdir(mnt)
    assert caught.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    mount.start()
    assert (mnt / "file").read_text() == "text" and len(mount_table.at(mnt)) == 1


def test_a_stale_mountpoint_is_unmounted(mount, mnt):
    _kill_daemon(mount)
    mount.pail("umount", mnt)
    assert not mount_table.at(mnt) and os.listdir(mnt) == []
    mount.start()


def test_fsynced_data_is_in_the_bucket(mount, mnt, bucket):
    with _open_over_a_kill(mnt / "file", "wb") as file:
        file.write(pattern(500_000))
        os.fsync(file.fileno())
        _kill_daemon(mount)
    assert bucket.get("file") == pattern(500_000)
    mount.start()


@pytest.mark.first_server
@pytest.mark.unmounted
def test_a_stale_mount_with_data_is_told(mount, mnt):
    """Exit code 4 and the names of what is staged; then it is not mounted, and the next mount uploads it."""
    with mount.through_relay() as relay:
        (mnt / "first").write_text("uploaded")
        mount.flush()
        relay.set("hold uploads")
        (mnt / "pending").write_bytes(pattern(50_000))
        _kill_daemon(mount)
        result = mount.pail("umount", "--json", mnt, check=False)
        (report,) = json.loads(result.stdout)
        assert result.code == 4 and "pending" in result.stderr and "first" not in result.stderr, str(result)
        assert report["files_left"] == 1 and report["bytes_left"] == 50_000 and report["exit_code"] == 4, report
        assert not mount_table.at(mnt)
        # It is told without a mount, too, and not touched.
        for _ in range(2):
            assert f"left behind by {mnt}: 1 file, " in mount.pail("status").stdout
            assert f"left behind by {mnt}: 1 file, " in mount.pail("status", "--json").stderr
        relay.set("none")
        mount.start()
        assert f"left behind by {mnt}" not in mount.pail("status").stdout


@pytest.mark.first_server
@pytest.mark.unmounted
@pytest.mark.parametrize("again", ["as before", "with other options", "after umount --lazy"])
def test_closed_files_arrive(mount, mnt, bucket, again):
    bucket.put("object", pattern(6_000_000))
    expected = bytearray(pattern(6_000_000))
    with mount.through_relay() as relay:
        (mnt / "first").write_text("uploaded")
        (mnt / "dir").mkdir()
        mount.flush()
        relay.set("hold uploads")
        begin = time.monotonic()
        for index in range(10):
            (mnt / "dir" / f"file{index}").write_bytes(pattern(50_000, index))
        with open(mnt / "object", "r+b", buffering=0) as file:
            os.pwrite(file.fileno(), b"changed", 4_000_000)
        expected[4_000_000:4_000_007] = b"changed"
        assert time.monotonic() - begin < 20, "close() waited for an upload"
        _kill_daemon(mount)
        assert bucket.get("object") == pattern(6_000_000)
        relay.set("none")
        if again == "after umount --lazy":
            result = mount.pail("umount", "--lazy", mnt, check=False)
            assert result.code == 4 and "11 files" in result.stderr and "dir/file3" in result.stderr, str(result)
        mount.start(*(["--ttl", "5", "--part-size", "8M"] if again == "with other options" else []))
        # Nobody touches the files: they arrive by themselves.
        wait_for(lambda: mount.status()["dirty_files"] == 0, 60, "everything recovered is uploaded")
        assert all(bucket.get(f"dir/file{index}") == pattern(50_000, index) for index in range(10))
        assert sha256_of(bucket.get("object")) == sha256_of(expected)
        assert (mnt / "object").read_bytes() == expected


@pytest.mark.first_server
def test_a_write_cut_short_never_leaves_half_an_object(mount, mnt, bucket):
    old = pattern(12_000_000, "old")
    bucket.put("object", old)
    with _open_over_a_kill(mnt / "object", "r+b") as file:
        new = bytearray(old)
        for index in range(10):
            os.pwrite(file.fileno(), b"n" * 100_000, index * 1_000_000)
            new[index * 1_000_000:index * 1_000_000 + 100_000] = b"n" * 100_000
        _kill_daemon(mount)
    stored = sha256_of(bucket.get("object"))
    assert stored in (sha256_of(old), sha256_of(new))
    mount.start()
    wait_for(lambda: mount.status()["dirty_files"] == 0, 60, "everything recovered is uploaded")
    assert sha256_of(bucket.get("object")) in (sha256_of(old), sha256_of(new))


@pytest.mark.first_server
def test_a_rename_of_a_directory_is_finished(mount, mnt, bucket):
    bucket.put_many({f"before/{index:03}": pattern(100, index) for index in range(200)})
    os.rename(mnt / "before", mnt / "after")
    _kill_daemon(mount)
    mount.start()
    wait_for(lambda: mount.status()["dirty_files"] == 0, 60, "everything recovered is uploaded")
    assert sorted(os.listdir(mnt / "after")) == [f"{index:03}" for index in range(200)]
    wait_for(lambda: bucket.files() == [f"after/{index:03}" for index in range(200)], 30, "the rename is finished")


@pytest.mark.first_server
def test_programs_get_errors_and_not_hang(mount, mnt):
    (mnt / "file").write_bytes(pattern(100_000))
    with open(mnt / "file", "rb", buffering=0) as file:
        _kill_daemon(mount)
        with pytest.raises(OSError):
            os.fstat(file.fileno()) and os.pread(file.fileno(), 10, 90_000) and os.listdir(mnt)
    mount.start()
    assert (mnt / "file").read_bytes() == pattern(100_000)


# MARK: signals

def _before_it_is_mounted(mount, number):
    process = subprocess.Popen([mount.tool.program, "mount", "--foreground", mount.bucket.source, mount.path],
                               env=mount.environment, stderr=subprocess.DEVNULL)
    # The first answer takes longer than that.
    time.sleep(0.15)
    process.send_signal(number)
    process.wait(20)
    return {}


def _while_nothing_happens(mount, number):
    mount.start()
    files = {"file": pattern(1000)}
    (mount.path / "file").write_bytes(files["file"])
    mount.flush()
    os.kill(mount.daemon(), number)
    return files


def _while_it_uploads(mount, number):
    mount.start()
    files = {"first": b"first", "large": pattern(3_000_000)} | {f"file{index}": pattern(5000, index) for index in range(20)}
    for name, body in files.items():
        (mount.path / name).write_bytes(body)
    os.kill(mount.daemon(), number)
    return files


def _while_it_is_unmounted(mount, number):
    mount.start()
    files = {"first": b"first", "large": pattern(3_000_000)}
    for name, body in files.items():
        (mount.path / name).write_bytes(body)
    daemon = mount.daemon()
    process = subprocess.Popen([mount.tool.program, "umount", mount.path], env=mount.environment,
                               stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    os.kill(daemon, number)
    process.wait(60)
    return files


PHASES = {"starting": _before_it_is_mounted, "idle": _while_nothing_happens, "uploading": _while_it_uploads,
          "unmounting": _while_it_is_unmounted}


@pytest.mark.unmounted
@pytest.mark.first_server
@pytest.mark.needs("pail")
@pytest.mark.deadline(120)
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGKILL"])
@pytest.mark.parametrize("phase", PHASES)
def test_a_signal_at_any_time_loses_nothing(mount, mnt, bucket, phase, name):
    """A request to end uploads first; after SIGKILL the next mount does. Either way the place can be mounted again."""
    with counting_relay(bucket.server.endpoint, latency_ms=300, rate_mb=2) as relay:
        mount.endpoint = relay.endpoint
        files = PHASES[phase](mount, getattr(signal, name))
        mount.wait_until_no_daemon(60)
        if name != "SIGKILL":
            assert not mount_table.at(mnt)
            assert all(bucket.get(key) == body for key, body in files.items())
        mount.start()
        assert all((mnt / key).read_bytes() == body for key, body in files.items())
        mount.stop()
    assert all(bucket.get(key) == body for key, body in files.items())
    assert not bucket.open_uploads()
