"""Modes, times, owners, symlinks, extended attributes, locks, and the figures of the filesystem."""

import errno
import fcntl
import os
import stat
import time

import pytest
from harness.processes import Forked, run

SECOND = 1_000_000_000


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755, 0o400, 0o777])
def test_modes_survive_a_remount(mnt, mount, mode):
    (mnt / "file").write_text("text")
    os.chmod(mnt / "file", mode)
    (mnt / "dir").mkdir()
    os.chmod(mnt / "dir", mode | 0o700)
    assert _mode(mnt / "file") == mode and _mode(mnt / "dir") == mode | 0o700
    mount.remount()
    assert _mode(mnt / "file") == mode
    assert _mode(mnt / "dir") == mode | 0o700 or not mount.bucket.keeps_marker_metadata


def test_umask_and_creation_mode(mnt, mount):
    os.umask(0o027)
    os.close(os.open(mnt / "file", os.O_CREAT | os.O_WRONLY, 0o666))
    os.mkdir(mnt / "dir", 0o777)
    assert _mode(mnt / "file") == 0o640 and _mode(mnt / "dir") == 0o750
    mount.remount()
    assert _mode(mnt / "file") == 0o640
    assert _mode(mnt / "dir") == 0o750 or not mount.bucket.keeps_marker_metadata


def test_times_survive_a_remount(mnt, mount):
    (mnt / "file").write_text("text")
    (mnt / "dir").mkdir()
    wanted = 1_234_567_890 * SECOND + 123_456_789
    for name in ("file", "dir"):
        os.utime(mnt / name, ns=(wanted, wanted))
        assert os.stat(mnt / name).st_mtime_ns == wanted
    mount.remount()
    assert os.stat(mnt / "file").st_mtime_ns == wanted
    assert os.stat(mnt / "dir").st_mtime_ns == wanted or not mount.bucket.keeps_marker_metadata


def test_a_write_moves_the_modification_time(mnt, mount):
    (mnt / "file").write_text("text")
    os.utime(mnt / "file", (SECOND // 2, SECOND // 2))
    begin = time.time()
    with open(mnt / "file", "a") as file:
        file.write("more")
    written = os.stat(mnt / "file").st_mtime
    assert begin - 2 <= written <= time.time() + 2
    mount.remount()
    assert abs(os.stat(mnt / "file").st_mtime - written) < 0.001


def test_reading_does_not_move_the_modification_time(mnt, mount):
    (mnt / "file").write_text("text")
    before = os.stat(mnt / "file").st_mtime_ns
    time.sleep(0.05)
    (mnt / "file").read_text()
    mount.remount()
    assert os.stat(mnt / "file").st_mtime_ns == before


def test_touch_to_now(mnt):
    (mnt / "file").write_text("text")
    os.utime(mnt / "file", (0, 0))
    begin = time.time()
    os.utime(mnt / "file")
    assert abs(os.stat(mnt / "file").st_mtime - begin) < 2
    assert (mnt / "file").read_text() == "text"


def test_owner_is_who_wrote(mnt, mount):
    (mnt / "file").write_text("text")
    (mnt / "dir").mkdir()
    mount.remount()
    for name in ("file", "dir", "."):  # without metadata, the owner is who mounts
        status = os.stat(mnt / name)
        assert (status.st_uid, status.st_gid) == (os.geteuid(), os.getegid()), name


@pytest.mark.actors("root")
def test_chown_survives_a_remount(mnt, mount):
    (mnt / "file").write_text("text")
    os.chown(mnt / "file", 1234, 2345)
    mount.remount()
    status = os.stat(mnt / "file")
    assert (status.st_uid, status.st_gid) == (1234, 2345) and (mnt / "file").read_text() == "text"


@pytest.mark.parametrize("target", ["file", "/etc/hostname", "missing", "../..", "a" * 1000, "with space/ünï"])
def test_symlinks_survive_a_remount(mnt, mount, target):
    os.symlink(target, mnt / "link")
    assert os.readlink(mnt / "link") == target
    assert os.lstat(mnt / "link").st_size == len(target.encode())
    mount.remount()
    assert stat.S_ISLNK(os.lstat(mnt / "link").st_mode) and os.readlink(mnt / "link") == target
    assert os.listdir(mnt) == ["link"]


def test_symlinks_are_followed(mnt):
    (mnt / "dir").mkdir()
    (mnt / "dir" / "file").write_text("text")
    os.symlink("dir", mnt / "to dir")
    os.symlink("to dir/file", mnt / "to file")
    os.symlink("loop", mnt / "loop")
    assert (mnt / "to file").read_text() == "text"
    (mnt / "to file").write_text("changed")
    assert (mnt / "dir" / "file").read_text() == "changed"
    with pytest.raises(OSError) as caught:
        (mnt / "loop").read_text()
    assert caught.value.errno == errno.ELOOP
    with pytest.raises(FileExistsError):
        os.symlink("again", mnt / "loop")
    os.unlink(mnt / "to dir")
    assert (mnt / "dir" / "file").exists()


def test_symlink_renamed(mnt, mount):
    os.symlink("target", mnt / "before")
    os.rename(mnt / "before", mnt / "after")
    mount.remount()
    assert os.listdir(mnt) == ["after"] and os.readlink(mnt / "after") == "target"


def test_hard_links_work_or_are_refused(mnt):
    (mnt / "file").write_text("text")
    try:
        os.link(mnt / "file", mnt / "second")
    except OSError as error:
        assert error.errno in (errno.EPERM, errno.EOPNOTSUPP)
        assert os.listdir(mnt) == ["file"] and (mnt / "file").read_text() == "text"
    else:
        assert os.path.samefile(mnt / "file", mnt / "second") and os.stat(mnt / "file").st_nlink == 2


@pytest.mark.no_compare
def test_fifos_work_or_are_refused(mnt):
    try:
        os.mkfifo(mnt / "fifo")
    except OSError as error:
        assert error.errno in (errno.EPERM, errno.EOPNOTSUPP)
        assert os.listdir(mnt) == []
    else:
        assert stat.S_ISFIFO(os.lstat(mnt / "fifo").st_mode)


def test_statfs(mnt):
    figures = os.statvfs(mnt)
    assert figures.f_bsize >= 512 and figures.f_bsize & (figures.f_bsize - 1) == 0
    assert 0 < figures.f_bavail <= figures.f_bfree <= figures.f_blocks
    assert figures.f_blocks * figures.f_frsize < 2**63 and figures.f_namemax == 255
    assert int(run("df", "--output=avail", "-B1", mnt).stdout.split()[1]) > 1 << 30


def test_stat_of_a_file(mnt):
    (mnt / "file").write_bytes(b"x" * 5000)
    status = os.stat(mnt / "file")
    assert stat.S_ISREG(status.st_mode) and status.st_size == 5000 and status.st_nlink == 1
    assert status.st_blocks * 512 >= 4096 and status.st_blksize >= 512
    assert status.st_ino == next(entry.inode() for entry in os.scandir(mnt) if entry.name == "file")


@pytest.mark.needs("pail")
def test_extended_attributes(mnt, bucket, mount):
    (mnt / "file").write_text("text")
    try:
        os.setxattr(mnt / "file", "user.colour", b"blue")
    except OSError as error:
        assert error.errno == errno.EOPNOTSUPP
        pytest.skip("extended attributes are not there yet")
    mount.remount()
    assert os.getxattr(mnt / "file", "user.colour") == b"blue" and "user.colour" in os.listxattr(mnt / "file")
    assert bucket.head("file")["Metadata"]["colour"] == "blue"


def test_cp_and_ls_get_along_with_extended_attributes(mnt):
    (mnt / "file").write_text("text")
    run("cp", "--preserve=all", mnt / "file", mnt / "copy")
    assert "copy" in run("ls", "-la", mnt).stdout
    with pytest.raises(OSError) as caught:
        os.getxattr(mnt / "file", "user.missing")
    assert caught.value.errno in (errno.ENODATA, errno.EOPNOTSUPP)


@pytest.mark.parametrize("lock", [fcntl.flock, fcntl.lockf], ids=["flock", "fcntl"])
def test_locks_between_processes(mnt, lock):
    (mnt / "file").write_text("text")

    def try_lock():
        with open(mnt / "file", "r+") as file:
            try:
                lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    with open(mnt / "file", "r+") as file:
        lock(file, fcntl.LOCK_EX)
        assert Forked(try_lock).result() is False
        lock(file, fcntl.LOCK_UN)
        assert Forked(try_lock).result() is True


def _mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)
