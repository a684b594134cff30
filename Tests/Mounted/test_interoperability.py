"""What pail wrote, read by Debian's s3fs and by rclone, and the reverse: bytes, modes, times, symlinks."""

import contextlib
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from harness import mount_table
from harness.content import make_tree, pattern, sha256
from harness.processes import run, wait_for

pytestmark = [pytest.mark.needs("pail"), pytest.mark.first_user, pytest.mark.first_server]

RCLONE = Path(__file__).resolve().parents[2] / ".build" / "venv" / "bin" / "rclone"
TIME = 1_600_000_000


def _rclone(bucket, *arguments):
    program = shutil.which("rclone") or (str(RCLONE) if RCLONE.exists() else None)
    if not program:
        pytest.skip("no rclone: scripts/install-dependencies test")
    server = bucket.server
    environment = {
        **os.environ, "RCLONE_CONFIG": "/dev/null", "RCLONE_S3_PROVIDER": "Ceph", "RCLONE_S3_ENDPOINT": server.endpoint,
        "RCLONE_S3_ACCESS_KEY_ID": server.access_key, "RCLONE_S3_SECRET_ACCESS_KEY": server.secret_key,
        "RCLONE_S3_NO_CHECK_BUCKET": "true",
    }  # fmt: skip
    return subprocess.run([program, *map(str, arguments)], env=environment, check=True, capture_output=True, timeout=30)


def _remote(bucket, path=""):
    return f":s3:{bucket.name}/{bucket.prefix}{path}".rstrip("/")


@contextlib.contextmanager
def _s3fs(bucket, scratch):
    """The same bucket as s3fs shows it."""
    if not shutil.which("s3fs"):
        pytest.skip("no s3fs: scripts/install-dependencies test")
    if os.geteuid() != 0:
        pytest.skip("s3fs is mounted by root")
    server, directory = bucket.server, scratch / "s3fs"
    directory.mkdir(exist_ok=True)
    keys = scratch / "keys"
    keys.touch(mode=0o600)
    keys.write_text(f"{server.access_key}:{server.secret_key}\n")
    place = f"{bucket.name}:/{bucket.prefix.rstrip('/')}" if bucket.prefix else bucket.name
    run("s3fs", place, directory, "-o", f"url={server.endpoint},passwd_file={keys},use_path_request_style")
    try:
        wait_for(lambda: mount_table.at(directory), 20, "s3fs is mounted")
        yield directory
    finally:
        run("umount", directory)
        wait_for(lambda: not mount_table.at(directory), 20, "s3fs is gone")


def test_s3fs_reads_what_pail_wrote(mount, mnt, bucket, scratch):
    (mnt / "dir").mkdir(mode=0o750)
    (mnt / "dir" / "file").write_bytes(b"text")
    os.chmod(mnt / "dir" / "file", 0o640)
    os.utime(mnt / "dir" / "file", (TIME, TIME))
    os.symlink("dir/file", mnt / "link")
    mount.flush()
    with _s3fs(bucket, scratch) as other:
        assert (other / "dir" / "file").read_bytes() == b"text"
        status = os.stat(other / "dir" / "file")
        assert stat.filemode(status.st_mode) == "-rw-r-----" and int(status.st_mtime) == TIME
        assert (status.st_uid, status.st_gid) == (os.getuid(), os.getgid())
        assert stat.filemode(os.stat(other / "dir").st_mode) == "drwxr-x---"
        # s3fs has the target in the body, and pail has none: it is a link for both, and leads nowhere for s3fs.
        assert stat.S_ISLNK(os.lstat(other / "link").st_mode)


def test_pail_reads_what_s3fs_wrote(mount, mnt, bucket, scratch):
    with _s3fs(bucket, scratch) as other:
        (other / "dir").mkdir(mode=0o750)
        (other / "dir" / "file").write_bytes(b"text")
        os.chmod(other / "dir" / "file", 0o604)
        os.utime(other / "dir" / "file", (TIME, TIME))
        os.symlink("dir/file", other / "link")
    mount.remount()
    assert (mnt / "dir" / "file").read_bytes() == b"text"
    status = os.stat(mnt / "dir" / "file")
    assert stat.filemode(status.st_mode) == "-rw----r--" and int(status.st_mtime) == TIME
    assert stat.filemode(os.stat(mnt / "dir").st_mode) == "drwxr-x---"
    assert os.readlink(mnt / "link") == "dir/file" and (mnt / "link").read_bytes() == b"text"
    with os.scandir(mnt) as entries:
        assert {entry.name: entry.is_symlink() for entry in entries} == {"dir": False, "link": True}


def test_s3fs_and_pail_in_turn(mount, mnt, bucket, scratch):
    """Each changes what the other made: bytes, modes, owners, names; small files and those of several parts."""
    large = pattern(30_000_000)
    (mnt / "small").write_bytes(b"pail")
    (mnt / "large").write_bytes(large)
    (mnt / "dir").mkdir(mode=0o711)
    os.chown(mnt / "small", 1234, 2345)
    mount.flush()
    with _s3fs(bucket, scratch) as other:
        assert sha256(other / "large") == sha256(mnt / "large")
        status = os.stat(other / "small")
        assert (status.st_uid, status.st_gid) == (1234, 2345)
        with open(other / "small", "ab") as file:
            file.write(b", s3fs")
        os.chmod(other / "small", 0o606)
        with open(other / "large", "r+b") as file:
            file.seek(20_000_000)
            file.write(b"changed by s3fs")
        os.rename(other / "large", other / "dir" / "moved")
        (other / "dir" / "empty").mkdir(mode=0o700)
    mount.remount()
    assert (mnt / "small").read_bytes() == b"pail, s3fs"
    status = os.stat(mnt / "small")
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1234, 2345, 0o606)
    expected = large[:20_000_000] + b"changed by s3fs" + large[20_000_015:]
    assert (mnt / "dir" / "moved").read_bytes() == expected
    assert stat.S_IMODE(os.stat(mnt / "dir" / "empty").st_mode) == 0o700 and sorted(os.listdir(mnt)) == ["dir", "small"]
    with open(mnt / "small", "ab") as file:
        file.write(b", pail")
    os.truncate(mnt / "dir" / "moved", 25_000_000)
    mount.flush()
    with _s3fs(bucket, scratch) as other:
        assert (other / "small").read_bytes() == b"pail, s3fs, pail"
        assert stat.S_IMODE(os.stat(other / "small").st_mode) == 0o606
        assert (other / "dir" / "moved").read_bytes() == expected[:25_000_000]


def test_rclone_finds_nothing_to_do_after_pail(mount, mnt, bucket, scratch):
    """A tree that was copied onto the mount has, for rclone, the sizes, times and sums of the local one."""
    tree = make_tree(scratch / "tree")
    run("cp", "-a", tree, mnt / "tree")
    mount.flush()
    told = _rclone(bucket, "copy", "--dry-run", "--log-level", "INFO", tree, _remote(bucket, "tree")).stderr.decode()
    assert "as --dry-run is set" not in told, told
    told = _rclone(bucket, "check", "--one-way", tree, _remote(bucket, "tree")).stderr.decode()
    assert "0 differences found" in told, told


def test_rclone_reads_what_pail_wrote(mount, mnt, bucket, scratch):
    (mnt / "dir").mkdir()
    (mnt / "dir" / "file").write_bytes(b"text")
    os.utime(mnt / "dir" / "file", ns=(TIME * 10**9, TIME * 10**9 + 250_000_000))
    mount.flush()
    _rclone(bucket, "copy", _remote(bucket), scratch / "copy")
    copy = scratch / "copy" / "dir" / "file"
    assert copy.read_bytes() == b"text" and os.stat(copy).st_mtime_ns == TIME * 10**9 + 250_000_000


def test_pail_reads_what_rclone_wrote(mount, mnt, bucket, scratch):
    source = scratch / "source"
    source.mkdir()
    for name, mode in (("plain", 0o640), ("program", 0o755)):
        (source / name).write_bytes(name.encode())
        os.chmod(source / name, mode)
        os.utime(source / name, ns=(TIME * 10**9, TIME * 10**9 + 500_000_000))
    _rclone(bucket, "copy", source, _remote(bucket, "without"))
    _rclone(bucket, "copy", "--metadata", source, _remote(bucket, "with"))
    # Access times rclone writes as text.
    assert "T" in bucket.head("with/plain")["Metadata"]["atime"]
    accessed = {name: os.stat(source / name).st_atime_ns for name in ("plain", "program")}
    mount.remount()
    for directory in ("without", "with"):
        for name, mode in (("plain", 0o640), ("program", 0o755)):
            path = mnt / directory / name
            assert path.read_bytes() == name.encode()
            assert os.stat(path).st_mtime_ns == TIME * 10**9 + 500_000_000
            assert stat.S_IMODE(os.stat(path).st_mode) == (mode if directory == "with" else 0o644)
    for name, time in accessed.items():
        assert os.stat(mnt / "with" / name).st_atime_ns == time
