"""Files larger than the room for them, disks that are full, writers that meet: nothing is lost, and nothing half is published."""

import errno
import hashlib
import os
import random
import subprocess
import time

import pytest
from harness.content import pattern, sha256_of
from harness.exerciser import exercise
from harness.processes import Forked, wait_for

pytestmark = [pytest.mark.needs("pail"), pytest.mark.first_server, pytest.mark.first_user, pytest.mark.deadline(180)]

MEBI = 1 << 20
#: How long the server is away; half a minute in the long mode.
OUTAGE_SECONDS = 30 if os.environ.get("PAIL_TEST_LONG") else 2


@pytest.mark.mount_options("--part-size", "5M", "--staging-size", "24M")
def test_a_file_larger_than_the_staging_limit(mount, mnt, bucket):
    """Parts that are in S3 give their room to the next ones; what is read or changed again comes back from the object."""
    content = bytearray()
    blocks = random.Random(1)
    largest = 0
    with open(mnt / "large", "w+b", buffering=0) as file:
        for _ in range(72):
            block = blocks.randbytes(MEBI)
            assert file.write(block) == MEBI
            content += block
            largest = max(largest, _bytes_below(mount.state))
        # The head of a file is often written last.
        os.pwrite(file.fileno(), b"head", 0)
        content[0:4] = b"head"
        assert os.pread(file.fileno(), 100_000, 11 * MEBI) == content[11 * MEBI:11 * MEBI + 100_000]
        os.fsync(file.fileno())
        assert sha256_of(bucket.get("large")) == sha256_of(content)
    assert largest < 40 * MEBI, f"{largest} bytes were staged under a limit of 24 MiB"
    assert not bucket.open_uploads()


@pytest.mark.skipif(not os.environ.get("PAIL_TEST_LONG"), reason="of the long mode: PAIL_TEST_LONG=1")
@pytest.mark.deadline(1200)
@pytest.mark.mount_options("--staging-size", "1G")
def test_two_gibibytes_under_a_limit_of_one(mount, mnt, bucket):
    digest, blocks = hashlib.sha256(), random.Random(3)
    with open(mnt / "large", "wb", buffering=0) as file:
        for _ in range(2048):
            block = blocks.randbytes(MEBI)
            assert file.write(block) == MEBI
            digest.update(block)
        assert _bytes_below(mount.state) < 1200 * MEBI
        os.fsync(file.fileno())
    assert bucket.sha256("large") == digest.hexdigest()
    assert not bucket.open_uploads()


@pytest.mark.mount_options("--part-size", "5M", "--staging-size", "24M")
def test_random_writes_beyond_the_staging_limit(mnt, bucket):
    content, dice = bytearray(48 * MEBI), random.Random(2)
    with open(mnt / "scattered", "w+b", buffering=0) as file:
        offsets = list(range(0, 48 * MEBI, MEBI))
        dice.shuffle(offsets)
        for offset in offsets:
            block = dice.randbytes(MEBI)
            os.pwrite(file.fileno(), block, offset)
            content[offset:offset + MEBI] = block
    wait_for(lambda: bucket.exists("scattered") and bucket.head("scattered")["ContentLength"] == len(content), 60,
             "the file is uploaded")
    assert sha256_of((mnt / "scattered").read_bytes()) == sha256_of(content)


@pytest.mark.unmounted
@pytest.mark.actors("root")
def test_a_full_disk(mount, mnt, bucket):
    """demands.md, data-loss fault 10: write() says ENOSPC, close() too, and the object stays what it was."""
    old = pattern(300_000, "old")
    bucket.put("object", old)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m,mode=700", "none", mount.state], check=True)
    try:
        mount.start()
        (mnt / "first").write_text("uploaded")
        mount.flush()
        descriptor = os.open(mnt / "object", os.O_RDWR)
        with pytest.raises(OSError) as caught:
            for index in range(40):
                # The last one that finds some room is short.
                done = os.pwrite(descriptor, pattern(MEBI, index), index * MEBI)
                if done < MEBI:
                    os.pwrite(descriptor, pattern(MEBI, index)[done:], index * MEBI + done)
        assert caught.value.errno == errno.ENOSPC
        with pytest.raises(OSError) as caught:
            os.fsync(descriptor)
        assert caught.value.errno == errno.ENOSPC
        with pytest.raises(OSError):
            os.close(descriptor)
        assert bucket.get("object") == old, "half a file was published"
        assert any("write failed" in (each["last_error"] or "") for each in mount.status()["uploads"])
        # Written anew, it is a whole file again.
        (mnt / "object").write_bytes(b"new")
        mount.flush()
        assert bucket.get("object") == b"new"
        mount.compare()
    finally:
        if mount.mounted:
            mount.pail("umount", "--force", "--timeout", "1", mnt, check=False)
        subprocess.run(["umount", "-l", mount.state], check=True)


@pytest.mark.unmounted
@pytest.mark.actors("root")
def test_a_file_larger_than_the_disk(mount, mnt, bucket):
    """On a full disk a writer waits for the parts that are on their way, which give their room to what comes."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "none", mount.state], check=True)
    try:
        mount.start("--part-size", "5M")
        content = b"".join(pattern(MEBI, index) for index in range(60))
        with open(mnt / "large", "wb", buffering=0) as file:
            done = 0
            while done < len(content):
                done += file.write(content[done:done + MEBI])
            os.fsync(file.fileno())
        assert bucket.sha256("large") == sha256_of(content)
        assert not bucket.open_uploads()
        mount.compare()
    finally:
        if mount.mounted:
            mount.pail("umount", "--force", "--timeout", "1", mnt, check=False)
        subprocess.run(["umount", "-l", mount.state], check=True)


def test_two_mounts_write_one_file(mount, mnt, bucket, scratch):
    """Each adds its lines to the same file; whoever is too late is told, and no line that fsync acknowledged is lost."""
    other = mount.directory / "other"
    other.mkdir()
    state = {"PAIL_STATE_DIR": str(scratch / "state"), "PAIL_CACHE_DIR": str(scratch / "cache")}
    mount.pail("mount", bucket.source, other, "--ttl", "0", environment=state)
    try:
        writers = [Forked(_add_lines, path / "shared", name) for path, name in ((mnt, "one"), (other, "two"))]
        acknowledged = [line for writer in writers for line in writer.result(120)]
    finally:
        mount.pail("umount", other, timeout=60, environment=state)
    assert len(acknowledged) > 10, "hardly a line was written"
    mount.flush()
    kept = b"".join(bucket.get(key) for key in bucket.files() if key == "shared" or ".conflict-" in key)
    lost = [line for line in acknowledged if line.encode() not in kept]
    assert not lost, f"{len(lost)} of {len(acknowledged)} lines are nowhere: {lost[:5]}"
    bucket_now = {key for key in bucket.files()}
    assert "shared" in bucket_now
    mount.remount()


def _add_lines(path, name):
    done = []
    for index in range(15):
        line = f"{name} {index}\n"
        try:
            with open(path, "ab", buffering=0) as file:
                file.write(line.encode())
                os.fsync(file.fileno())
            done.append(line)
        except OSError as error:
            assert error.errno in (errno.ESTALE, errno.EEXIST, errno.ENOENT), error
        time.sleep(0.02)
    return done


@pytest.mark.mount_options("--part-size", "5M")
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_exerciser(mount, mnt, bucket, seed):
    content = exercise(mnt / "file", seed, 60)
    mount.flush()
    assert sha256_of(bucket.get("file")) == sha256_of(content)


@pytest.mark.unmounted
@pytest.mark.deadline(180 + 2 * OUTAGE_SECONDS)
@pytest.mark.mount_options("--part-size", "5M")
@pytest.mark.parametrize("fault", ["stop", "busy", "deny uploads"])
def test_uploads_go_on_when_the_server_is_back(mount, mnt, bucket, fault):
    """A server that dies, throttles or denies while files large and small are written: they arrive once it is well."""
    large = pattern(40 * MEBI, "large")
    bucket.put("object", pattern(6_000_000))
    with mount.through_relay(*mount.options) as relay:
        (mnt / "first").write_text("uploaded")
        mount.flush()
        # What is there is known for a while, so new files need no answer.
        assert set(os.listdir(mnt)) == {"first", "object"}
        descriptors = [os.open(mnt / name, flags) for name, flags in
                       (("large", os.O_CREAT | os.O_WRONLY), ("object", os.O_WRONLY))]
        for offset in range(0, len(large), MEBI):
            if offset == 35 * MEBI:
                # Parts of it are on their way by now.
                relay.set(fault)
            os.pwrite(descriptors[0], large[offset:offset + MEBI], offset)
        os.pwrite(descriptors[1], b"changed", 3_000_000)
        for index in range(5):
            _close_in_trouble(os.open(mnt / f"file{index}", os.O_CREAT | os.O_WRONLY), pattern(100_000, index))
        for descriptor in descriptors:
            _close_in_trouble(descriptor)
        time.sleep(OUTAGE_SECONDS)
        assert mount.status()["dirty_files"] == 7, "what could not be sent is listed"
        relay.set("none")
        wait_for(lambda: mount.status()["dirty_files"] == 0, 90 + OUTAGE_SECONDS, "all is uploaded once the server is back")
        assert bucket.sha256("large") == sha256_of(large)
        assert bucket.get("object")[2_999_999:3_000_008] == (
            pattern(6_000_000)[2_999_999:3_000_000] + b"changed" + pattern(6_000_000)[3_000_007:3_000_008])
        assert not bucket.open_uploads()


def _close_in_trouble(descriptor, data=b""):
    """While uploads fail, close() may say so: what was written is kept all the same."""
    try:
        os.write(descriptor, data)
        os.close(descriptor)
    except OSError as error:
        assert error.errno in (errno.EIO, errno.EACCES, errno.EAGAIN, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.EBUSY), error


@pytest.mark.mount_options("--part-size", "5M")
def test_a_rename_and_an_unlink_of_a_file_being_sent(mount, mnt, bucket):
    """demands.md, data-loss faults 4, 5 and 7: what acts on a name acts on the pending data."""
    content = pattern(40 * MEBI, "sent")
    with open(mnt / "before", "wb", buffering=0) as file:
        for offset in range(0, len(content), MEBI):
            file.write(content[offset:offset + MEBI])
        os.rename(mnt / "before", mnt / "after")
        os.utime(mnt / "after", (1_600_000_000, 1_600_000_000))
        os.chmod(mnt / "after", 0o640)
    with open(mnt / "removed", "wb", buffering=0) as file:
        for offset in range(0, len(content), MEBI):
            file.write(content[offset:offset + MEBI])
        os.unlink(mnt / "removed")
    mount.flush()
    wait_for(lambda: bucket.files() == ["after"] and not bucket.open_uploads(), 60, "only the renamed file is left")
    assert sha256_of(bucket.get("after")) == sha256_of(content)
    status = os.stat(mnt / "after")
    assert (status.st_mode & 0o777, int(status.st_mtime)) == (0o640, 1_600_000_000)
    mount.remount()
    status = os.stat(mnt / "after")
    assert (status.st_mode & 0o777, int(status.st_mtime)) == (0o640, 1_600_000_000)


def _bytes_below(directory):
    total = 0
    for parent, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512
            except FileNotFoundError:
                pass
    return total
