"""Names and attributes over mounts: what a remount asks, what an offline mount shows, and what listings cost."""

import errno
import os
import signal
from pathlib import Path

import pytest
from harness.content import pattern

pytestmark = [pytest.mark.needs("pail"), pytest.mark.first_server, pytest.mark.deadline(120)]


def _requests(mount, verb):
    return mount.status()["requests"].get(verb, {"count": 0})["count"]


def _attributes(directory):
    """Everything `ls -l` shows, without times of access."""
    found = {}
    for name in sorted(os.listdir(directory)):
        status = os.lstat(f"{directory}/{name}")
        found[name] = (status.st_mode, status.st_uid, status.st_gid, status.st_size, status.st_mtime_ns, status.st_ino)
    return found


def _make(mount):
    """Files, a symlink and a directory with attributes of their own."""
    mount.start()
    top = mount.path / "d"
    top.mkdir()
    for index in range(40):
        path = top / f"f{index}"
        path.write_bytes(pattern(index + 1))
        os.chmod(path, 0o600 + index % 8)
        os.utime(path, ns=(5, 10**18 + index))
    os.symlink("f1", top / "link")
    (top / "sub").mkdir(mode=0o700)
    mount.flush()
    return _attributes(top)


@pytest.mark.unmounted
def test_a_remount_asks_for_no_attributes(mount):
    before = _make(mount)
    mount.remount()
    assert _attributes(mount.path / "d") == before
    asked = _requests(mount, "HeadObject") + _requests(mount, "GetObject")
    # The directory itself was not listed by anybody: it is asked for.
    assert asked <= 2
    # Killed, it remembers too.
    os.kill(mount.daemon(), signal.SIGKILL)
    mount.wait_until_no_daemon()
    mount.start()
    assert _attributes(mount.path / "d") == before
    assert _requests(mount, "HeadObject") + _requests(mount, "GetObject") <= 2
    mount.stop()


@pytest.mark.unmounted
def test_inode_numbers_stay(mount, bucket):
    bucket.put("foreign", b"x")
    bucket.put("dir/x", b"x")
    mount.start()
    (mount.path / "old").write_bytes(b"1")
    os.rename(mount.path / "old", mount.path / "new")
    (mount.path / "old").write_bytes(b"2")
    mount.flush()
    numbers = {entry.name: entry.inode() for entry in os.scandir(mount.path)}
    assert numbers == {name: os.lstat(mount.path / name).st_ino for name in numbers}
    assert len(set(numbers.values())) == 4
    mount.remount()
    assert {entry.name: entry.inode() for entry in os.scandir(mount.path)} == numbers
    mount.stop()


@pytest.mark.unmounted
def test_damage_is_harmless(mount):
    before = _make(mount)
    without_numbers = {name: values[:5] for name, values in before.items()}
    for damage in ("cut", "fill", "remove"):
        mount.stop()
        files = list(Path(mount.cache, "names").glob("*.sqlite*"))
        assert files
        for file in files:
            if damage == "cut":
                os.truncate(file, file.stat().st_size // 3)
            elif damage == "fill":
                file.write_bytes(b"\xa5" * file.stat().st_size)
            else:
                file.unlink()
        mount.start()
        after = _attributes(mount.path / "d")
        assert {name: values[:5] for name, values in after.items()} == without_numbers
    mount.stop()


@pytest.mark.unmounted
def test_an_offline_mount_shows_names_and_data(mount, bucket):
    bucket.put("far/unseen", b"x")
    before = _make(mount)
    top = mount.path / "d"
    assert (top / "f7").read_bytes() == pattern(8)
    mount.remount()
    # What is listed is remembered; what is read is cached on disk.
    assert set(os.listdir(mount.path)) == {"d", "far"}
    assert _attributes(top) == before
    assert (top / "f7").read_bytes() == pattern(8)
    mount.stop()
    mount.start("--offline")
    assert set(os.listdir(mount.path)) == {"d", "far"}
    assert _attributes(top) == before
    assert os.readlink(top / "link") == "f1"
    assert (top / "f7").read_bytes() == pattern(8)
    with pytest.raises(OSError) as raised:
        os.stat(mount.path / "far" / "unseen")
    assert raised.value.errno != errno.ENOENT, "unknown is not absent"
    assert sum(entry["count"] for entry in mount.status()["requests"].values()) == 0
    mount.stop()


@pytest.mark.unmounted
def test_a_foreign_directory_is_sampled(mount, bucket):
    bucket.put_many({f"big/{index:05}": b"x" for index in range(1100)})
    mount.start()
    assert len(_attributes(mount.path / "big")) == 1100
    assert _requests(mount, "HeadObject") + _requests(mount, "GetObject") <= 66
    # One for the mount itself, one or two for the name `big`, and two pages.
    assert _requests(mount, "ListObjectsV2") <= 6
    mount.stop()


@pytest.mark.unmounted
def test_a_walk_costs_few_listings(mount, bucket):
    bucket.put_many({f"w/{directory:03}/{index}": b"x" for directory in range(60) for index in range(5)})
    mount.start()
    found = [name for _, directories, files in os.walk(mount.path / "w") for name in directories + files]
    assert len(found) == 60 + 300
    assert _requests(mount, "ListObjectsV2") <= 10
    assert _requests(mount, "HeadObject") + _requests(mount, "GetObject") <= 4
    mount.stop()
