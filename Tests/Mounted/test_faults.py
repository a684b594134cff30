"""A server that refuses, is busy, or no longer answers: errors are told, nothing is lost, nothing hangs for ever."""

import errno
import os
import signal
import subprocess
import time

import pytest
from harness import mount_table
from harness.content import pattern
from harness.processes import Forked, run, wait_for
from harness.servers import Bucket

pytestmark = [pytest.mark.needs("pail"), pytest.mark.unmounted, pytest.mark.first_server, pytest.mark.first_user,
              pytest.mark.deadline(320)]

#: How long a few operations in a row may wait for a server that does not answer, in seconds: each at most a minute.
ANSWER_MAX = 200


def test_the_first_upload_is_refused(mount, mnt, scratch):
    (scratch / "source").write_bytes(pattern(100_000))
    with mount.through_relay() as relay:
        relay.set("deny uploads")
        failed = run("cp", scratch / "source", mnt / "copy", check=False)
        assert failed.code != 0, "cp did not hear that its file cannot be uploaded"
        assert mount.status()["failed_uploads"] >= 1
        # Staged all the same: it goes up once that is possible, which the comparison sees.
        assert (mnt / "copy").read_bytes() == pattern(100_000)
    assert mount.bucket.get("copy") == pattern(100_000)


def test_fsync_tells_that_an_upload_is_refused(mount, mnt):
    with mount.through_relay() as relay:
        (mnt / "first").write_text("uploaded")
        mount.flush()
        relay.set("deny uploads")
        with open(mnt / "file", "wb", buffering=0) as file:
            file.write(b"data")
            with pytest.raises(OSError) as caught:
                os.fsync(file.fileno())
            assert caught.value.errno in (errno.EACCES, errno.EPERM, errno.EIO)
        status = mount.status()
        assert status["dirty_files"] == 1 and [each["path"] for each in status["uploads"]] == ["file"]
        assert "AccessDenied" in str(status["uploads"]) + str(status["last_errors"])
    assert mount.bucket.get("file") == b"data"


def test_a_refused_change_leaves_the_old_object(mount, mnt, bucket):
    bucket.put("object", pattern(6_000_000))
    with mount.through_relay() as relay:
        (mnt / "first").write_text("uploaded")
        mount.flush()
        relay.set("deny uploads")
        with open(mnt / "object", "r+b", buffering=0) as file:
            os.pwrite(file.fileno(), b"new", 3_000_000)
            with pytest.raises(OSError):
                os.fsync(file.fileno())
        assert bucket.get("object") == pattern(6_000_000)
    assert bucket.get("object")[2_999_999:3_000_004] == pattern(6_000_000)[2_999_999:3_000_000] + b"new" + pattern(
        6_000_000)[3_000_003:3_000_004]


@pytest.mark.no_compare
def test_the_bucket_is_removed(mount, mnt):
    """Under a live mount: what is written stays staged and is told, and arrives once there is a bucket of that name."""
    server = mount.bucket.server
    mount.bucket = Bucket(server, server.new_bucket(), "")
    try:
        mount.start()
        (mnt / "first").write_text("uploaded")
        mount.flush()
        assert os.listdir(mnt) == ["first"], "what is there is known for a while"
        server.drop_bucket(mount.bucket.name)
        descriptor = os.open(mnt / "file", os.O_CREAT | os.O_WRONLY)
        os.write(descriptor, b"data")
        with pytest.raises(OSError) as caught:
            os.fsync(descriptor)
        assert caught.value.errno in (errno.EIO, errno.ENXIO), caught.value
        try:
            os.close(descriptor)
        except OSError:
            pass
        status = mount.status()
        assert status["dirty_files"] == 1
        upload, = status["uploads"]
        assert upload["path"] == "file" and "NoSuchBucket" in upload["last_error"] and upload["age_seconds"] >= 0
        result = mount.pail("umount", mnt, check=False)
        assert result.code == 1 and "NoSuchBucket" in result.stderr and mount.mounted, str(result)
        result = mount.pail("umount", "--force", "--timeout", "1", mnt, check=False)
        assert result.code == 4 and "file" in result.stderr and not mount.mounted, str(result)
        mount.wait_until_no_daemon(30)
        server.client().create_bucket(Bucket=mount.bucket.name)
        mount.start()
        mount.flush()
        assert mount.bucket.get("file") == b"data"
        mount.stop()
    finally:
        server.drop_bucket(mount.bucket.name)


def test_refused_is_not_absent(mount, mnt, bucket):
    bucket.put("dir/file", b"text")
    with mount.through_relay() as relay:
        relay.set("deny all")
        for action in (lambda: os.stat(mnt / "dir" / "file"), lambda: os.listdir(mnt / "dir"),
                       lambda: os.stat(mnt / "missing"), lambda: (mnt / "dir" / "file").read_text()):
            with pytest.raises(OSError) as caught:
                action()
            assert caught.value.errno in (errno.EACCES, errno.EPERM, errno.EIO), caught.value
        relay.set("none")
        # Nothing of it was remembered.
        assert (mnt / "dir" / "file").read_text() == "text" and not (mnt / "missing").exists()


def test_a_busy_server_is_waited_for(mount, mnt, bucket):
    bucket.put("dir/file", b"text")
    with mount.through_relay() as relay:
        relay.set("busy")

        def end():
            time.sleep(4)
            relay.set("none")

        ending = Forked(end)
        assert (mnt / "dir" / "file").read_text() == "text"
        ending.result()
        relay.set("busy")
        ending = Forked(end)
        with open(mnt / "new", "wb", buffering=0) as file:
            file.write(b"new")
            os.fsync(file.fileno())
        ending.result()
    assert bucket.get("new") == b"new"


def test_a_process_waiting_for_a_dead_server_can_be_killed(mount, mnt, bucket):
    bucket.put("file", pattern(1_000_000))
    with mount.through_relay() as relay:
        assert os.listdir(mnt) == ["file"]
        relay.set("stop")
        reader = subprocess.Popen(["cat", str(mnt / "file")], stdout=subprocess.DEVNULL)
        time.sleep(1)
        assert reader.poll() is None, "nothing answered, and yet cat has ended"
        begin = time.monotonic()
        reader.send_signal(signal.SIGKILL)
        reader.wait(10)
        assert time.monotonic() - begin < 5
        # The figures of the filesystem ask nobody.
        run("df", mnt, timeout=5)
        relay.set("none")
        assert (mnt / "file").read_bytes() == pattern(1_000_000)


def test_a_dead_server_gives_errors_in_bounded_time(mount, mnt, bucket):
    bucket.put("dir/file", b"text")
    with mount.through_relay() as relay:
        # Opened now: without the server nobody could tell that its name is new.
        pending = os.open(mnt / "pending", os.O_CREAT | os.O_WRONLY)
        relay.set("stop")

        def outcome(action):
            begin = time.monotonic()
            try:
                action()
            except OSError as error:
                return error.errno, time.monotonic() - begin
            return 0, time.monotonic() - begin

        def sync():
            os.write(pending, b"data")
            os.fsync(pending)

        actions = {"stat": lambda: os.stat(mnt / "dir" / "file"), "list": lambda: os.listdir(mnt / "dir"),
                   "read": lambda: (mnt / "dir" / "file").read_text(), "fsync": sync}
        waiting = {name: Forked(outcome, action) for name, action in actions.items()}
        outcomes = {name: each.result(ANSWER_MAX) for name, each in waiting.items()}
        expected = {errno.ETIMEDOUT, errno.EIO, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EAGAIN}
        assert all(number in expected for number, _ in outcomes.values()), outcomes
        relay.set("none")
        os.close(pending)
        assert (mnt / "dir" / "file").read_text() == "text"
    assert bucket.get("pending") == b"data"


@pytest.mark.parametrize("option", ["--lazy", "--force"])
def test_umount_while_the_server_is_dead(mount, mnt, option):
    with mount.through_relay(compare=False) as relay:
        (mnt / "first").write_text("uploaded")
        mount.flush()
        os.listdir(mnt)  # a name is new only to who knows all names; without the server nobody could tell
        relay.set("stop")
        (mnt / "pending").write_text("pending")
        result = mount.pail("umount", option, "--timeout", "3", mnt, check=False, timeout=60)
        assert result.code == 4, str(result)
        assert "pending" in result.output, "the file that is not in S3 yet is not named"
        assert not mount_table.at(mnt)
        relay.set("none")
        if mount.daemons():
            wait_for(lambda: not mount.daemons(), 60, "the daemon uploads what is left, and ends")
        mount.start()
        wait_for(lambda: mount.bucket.exists("pending"), 30, "the pending file is uploaded")
        assert (mnt / "pending").read_text() == "pending"
        mount.compare()
