"""The disk cache: it answers without a request, survives what may happen to it, and keeps its limits."""

import os
import signal
from pathlib import Path

import pytest
from harness.content import pattern, sha256, sha256_of
from harness.processes import wait_for

pytestmark = [pytest.mark.needs("pail"), pytest.mark.first_server, pytest.mark.deadline(120)]

BIG = 24 << 20
#: The smallest that is accepted.
LIMIT = 64 << 20


def _gets(mount):
    return mount.status()["requests"].get("GetObject", {"count": 0})["count"]


def _disk(mount):
    return mount.status()["cache"]["disk"]


def _segments(mount):
    return [path for path in Path(mount.cache, "blocks").glob("??/*") if path.is_file()]


def _bytes_on_disk(mount):
    return sum(path.stat().st_blocks * 512 for path in Path(mount.cache).rglob("*") if path.is_file())


def _fill(mount, bucket):
    """Two objects, read once and written to the cache."""
    bucket.put("big", pattern(BIG, seed=3))
    bucket.put("small", pattern(1000))
    mount.start()
    assert sha256(mount.path / "big") == sha256_of(pattern(BIG, seed=3))
    assert (mount.path / "small").read_bytes() == pattern(1000)
    mount.stop()
    assert _segments(mount)


def _expect_content(mount):
    # Who asks for a name that is not listed gets the first bytes of the object with the answer.
    assert {"big", "small"} <= set(os.listdir(mount.path))
    assert sha256(mount.path / "big") == sha256_of(pattern(BIG, seed=3))
    assert (mount.path / "small").read_bytes() == pattern(1000)


@pytest.mark.unmounted
def test_a_second_mount_reads_without_a_request(mount, bucket):
    _fill(mount, bucket)
    with mount.through_relay(compare=False) as relay:
        # The cache knows a bucket by its server: through the relay it is another, so it is filled again first.
        _expect_content(mount)
        mount.remount()
        relay.set("deny reads")
        _expect_content(mount)
        assert _gets(mount) == 0
        disk = _disk(mount)
        assert disk["bytes_read"] == BIG + 1000 and disk["corrupt_blocks"] == 0, disk
        mount.stop()


@pytest.mark.unmounted
def test_part_of_a_file_is_kept(mount, bucket):
    bucket.put("big", pattern(BIG, seed=3))
    mount.start()
    with open(mount.path / "big", "rb") as file:
        file.seek(10 << 20)
        assert file.read(1 << 20) == pattern(BIG, seed=3)[10 << 20:11 << 20]
    mount.remount()
    assert sha256(mount.path / "big") == sha256_of(pattern(BIG, seed=3))
    assert _disk(mount)["bytes_read"] >= 1 << 20
    mount.stop()


@pytest.mark.unmounted
def test_a_changed_object_is_read_anew(mount, bucket):
    _fill(mount, bucket)
    bucket.put("small", b"new and of another length")
    bucket.put("big", pattern(BIG, seed=4))
    mount.start()
    assert (mount.path / "small").read_bytes() == b"new and of another length"
    assert sha256(mount.path / "big") == sha256_of(pattern(BIG, seed=4))
    mount.stop()


@pytest.mark.unmounted
def test_killed_while_it_fills(mount, bucket):
    """kill -9 again and again while blocks are written: every byte that is read afterwards is right."""
    bucket.put("big", pattern(BIG, seed=3))
    bucket.put("small", pattern(1000))
    for megabytes in (1, 5, 9, 14, 20):
        mount.start()
        with open(mount.path / "big", "rb") as file:
            for _ in range(megabytes):
                file.read(1 << 20)
            os.kill(mount.daemon(), signal.SIGKILL)
            mount.wait_until_no_daemon()
    mount.start()
    _expect_content(mount)
    assert _disk(mount)["bytes_read"] > 0
    mount.remount()
    _expect_content(mount)
    assert _gets(mount) == 0
    mount.stop()


@pytest.mark.unmounted
def test_damaged_files(mount, bucket):
    _fill(mount, bucket)
    segments = sorted(_segments(mount), key=lambda path: path.stat().st_size)
    for number, path in enumerate(segments):
        data = bytearray(path.read_bytes())
        if number % 2:
            for position in range(5000, len(data), 300_000):
                data[position] ^= 0xFF
        else:
            del data[len(data) // 2:]
        path.write_bytes(data)
    mount.start()
    _expect_content(mount)
    assert _disk(mount)["corrupt_blocks"] >= len(segments)
    mount.remount()
    _expect_content(mount)
    assert _gets(mount) == 0, mount.status()["cache"]
    mount.stop()


@pytest.mark.unmounted
def test_rubbish_in_the_directory(mount, bucket):
    _fill(mount, bucket)
    for path in _segments(mount):
        path.write_bytes(os.urandom(100_000))
    (mount.cache / "mine").write_text("not a block")
    mount.start()
    _expect_content(mount)
    mount.stop()
    assert (mount.cache / "mine").read_text() == "not a block"


@pytest.mark.unmounted
def test_removed_while_mounted(mount, bucket):
    _fill(mount, bucket)
    mount.start()
    for path in _segments(mount):
        path.unlink()
    _expect_content(mount)
    mount.stop()


@pytest.mark.unmounted
@pytest.mark.actors("root")
def test_a_cache_that_cannot_be_written(mount, bucket):
    """A read-only file system, and a file where the directory should be: one line in the log, and all is readable."""
    import subprocess

    _fill(mount, bucket)
    subprocess.run(["mount", "--bind", mount.cache, mount.cache], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", mount.cache], check=True)
        bucket.put("more", pattern(50_000))
        mount.start()
        _expect_content(mount)
        assert _gets(mount) == 0, "what is there can still be read"
        assert (mount.path / "more").read_bytes() == pattern(50_000)
        mount.stop()
    finally:
        subprocess.run(["umount", mount.cache], check=True)
    (mount.scratch / "file").write_text("")
    mount.start("--cache-dir", mount.scratch / "file")
    _expect_content(mount)
    assert mount.status()["cache"]["disk"]["bytes_written"] == 0
    mount.stop()


@pytest.mark.unmounted
@pytest.mark.actors("root")
def test_a_full_cache_disk(mount, bucket):
    import subprocess

    bucket.put("big", pattern(BIG, seed=3))
    bucket.put("small", pattern(1000))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", mount.cache], check=True)
    try:
        mount.start("--cache-free", "0")
        _expect_content(mount)
        mount.stop()
        mount.start("--cache-free", "0")
        _expect_content(mount)
        mount.stop()
    finally:
        subprocess.run(["umount", mount.cache], check=True)


@pytest.mark.unmounted
def test_the_limit_holds(mount, bucket):
    for number in range(5):
        bucket.put(f"file{number}", pattern(BIG, seed=number))
    mount.start("--cache-size", "64M")
    for number in range(5):
        assert sha256(mount.path / f"file{number}") == sha256_of(pattern(BIG, seed=number))
        assert _bytes_on_disk(mount) <= LIMIT + (1 << 20)
    disk = _disk(mount)
    assert disk["limit"] == LIMIT and disk["bytes"] <= LIMIT and disk["evictions"] > 0, disk
    mount.stop()
    assert LIMIT // 4 <= _bytes_on_disk(mount) <= LIMIT + (1 << 20)


@pytest.mark.unmounted
def test_without_a_disk_cache(mount, bucket):
    bucket.put("small", pattern(1000))
    mount.start("--cache-size", "0")
    assert (mount.path / "small").read_bytes() == pattern(1000)
    assert "disk" not in mount.status()["cache"]
    mount.stop()
    assert not os.listdir(mount.cache)


@pytest.mark.unmounted
def test_status_and_clear(mount, bucket):
    assert mount.pail("cache").stdout == f"{mount.cache}: 0 B, 0 objects\n"
    _fill(mount, bucket)
    lines = mount.pail("cache", "status").stdout.splitlines()
    assert len(lines) == 2 and "2 objects" in lines[0] and bucket.name in lines[1], lines
    mount.start()
    _expect_content(mount)
    assert "disk cache" in mount.pail("status", mount.path).stdout
    mount.pail("cache", "clear", "--cache-dir", mount.cache)
    assert not _segments(mount)
    _expect_content(mount)
    mount.remount()
    _expect_content(mount)
    assert _gets(mount) > 0
    wait_for(lambda: _disk(mount)["bytes_written"] == BIG + 1000, 10, "the cache to be filled again")
    mount.stop()


@pytest.mark.unmounted
def test_it_is_the_users_alone(mount, bucket):
    _fill(mount, bucket)
    for path in Path(mount.cache, "blocks").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
    assert Path(mount.cache, "blocks").stat().st_mode & 0o777 == 0o700
