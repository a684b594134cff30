"""Reading: what it costs in requests and memory, changes of others, a server that is away."""

import errno
import mmap
import os
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness.content import pattern
from harness.counting import counting_relay

pytestmark = [pytest.mark.needs("pail"), pytest.mark.first_server, pytest.mark.unmounted, pytest.mark.no_compare,
              pytest.mark.deadline(180)]

COUNT, BYTES = 200, 16_384
#: One each; late answers are raced, by at most one request in twenty.
GETS_MAX = COUNT + 2 + COUNT // 20


@contextmanager
def counted(mount, *options, **relay_options):
    """Mounts through a relay that counts; yields it."""
    with counting_relay(mount.bucket.server.endpoint, **relay_options) as relay:
        mount.endpoint = relay.endpoint
        mount.start(*options)
        yield relay
        mount.stop()


def bodies(count=COUNT, size=BYTES):
    return {f"dir/f{index:04}": pattern(size - index) for index in range(count)}


def check(path, body):
    assert path.read_bytes() == body, path


# MARK: requests

@pytest.mark.parametrize("listed", [True, False], ids=["listed", "unlisted"])
def test_small_files_in_order_come_ahead(mount, mnt, bucket, listed):
    files = bodies()
    bucket.put_many(files)
    with counted(mount) as relay:
        if listed:
            assert len(os.listdir(mnt / "dir")) == COUNT
        relay.reset()
        begin = time.monotonic()
        for name, body in files.items():
            check(mnt / name, body)
        seconds = time.monotonic() - begin
        counts = relay.counts()
        assert counts.get("HEAD", 0) == 0 and counts["GET"] <= GETS_MAX and counts.get("LIST", 0) <= 5, counts
        # One round trip each would be 30 ms each.
        assert seconds < COUNT * 0.020, f"{seconds:.2f} s for {COUNT} files"
        status = mount.status()["prefetch"]
        assert status["used"] > COUNT * 0.7 and status["wasted"] <= 64, status


def test_small_files_by_many_threads(mount, mnt, bucket):
    files = bodies()
    bucket.put_many(files)
    with counted(mount) as relay:
        rest, lock, failures = iter(files.items()), threading.Lock(), []

        def work():
            while True:
                with lock:
                    name, body = next(rest, (None, None))
                if name is None:
                    return
                if (mnt / name).read_bytes() != body:
                    failures.append(name)

        os.listdir(mnt / "dir")
        relay.reset()
        begin = time.monotonic()
        threads = [threading.Thread(target=work) for _ in range(16)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        seconds = time.monotonic() - begin
        assert not failures
        assert relay.counts()["GET"] <= GETS_MAX and seconds < COUNT * 0.010, (relay.counts(), seconds)


def test_the_heads_of_files_are_one_request_each(mount, mnt, bucket):
    files = {f"dir/f{index:02}": pattern(2_000_000 + index) for index in range(20)}
    bucket.put_many(files)
    with counted(mount) as relay:
        os.listdir(mnt / "dir")
        relay.reset()
        for name, body in files.items():
            with open(mnt / name, "rb", buffering=0) as file:
                assert file.read(4096) == body[:4096]
        counts = relay.counts()
        assert counts == {"GET": 20, "total": 20}, counts


def test_random_opens_bring_nothing_else(mount, mnt, bucket):
    files = list(bodies().items())
    bucket.put_many(dict(files))
    with counted(mount, latency_ms=0) as relay:
        os.listdir(mnt / "dir")
        relay.reset()
        for index in range(40):
            name, body = files[index * 73 % 199]
            check(mnt / name, body)
        assert relay.counts() == {"GET": 40, "total": 40}, relay.counts()


def test_names_of_one_directory_are_looked_up_side_by_side(mount, mnt, bucket):
    files = bodies(16)
    bucket.put_many(files)
    with counted(mount, "--no-sibling-prefetch", latency_ms=400):
        os.stat(mnt / "dir")
        start = time.monotonic()
        threads = [threading.Thread(target=check, args=(mnt / name, body)) for name, body in files.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # One after another they would take sixteen times 400 ms.
        assert time.monotonic() - start < 3.5


def test_it_can_be_switched_off(mount, mnt, bucket):
    files = bodies(30)
    bucket.put_many(files)
    with counted(mount, "--no-sibling-prefetch", latency_ms=0):
        for name, body in files.items():
            check(mnt / name, body)
        assert mount.status()["prefetch"] == {"files": 0, "used": 0, "wasted": 0}


# MARK: the kernel's cache

def dropped_caches():
    fields = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
    return fields.get("drop_pagecache")


@pytest.mark.mount_options("--ttl", "1")
def test_the_kernel_keeps_pages_while_the_object_is_the_same(mount, mnt, bucket):
    body = pattern(3_000_000)
    bucket.put("file", body)
    with counted(mount, "--ttl", "1") as relay:
        # Whoever drops the caches of the whole machine meanwhile spoils the try, and is counted by the kernel.
        for _ in range(3):
            check(mnt / "file", body)
            time.sleep(1.2)
            before, drops = mount.status()["cache"], dropped_caches()
            relay.reset()
            check(mnt / "file", body)
            after = mount.status()["cache"]
            if dropped_caches() == drops:
                break
        again = after["hits"] + after["misses"] - before["hits"] - before["misses"]
        assert again == 0, f"pages were read again by {again} requests"
        counts = relay.counts()
        assert counts.get("GET", 0) == 0 and counts["total"] <= 3, counts
        # Another object of the same length: seen at the first open after the TTL, mapped or read.
        other = bytes(reversed(body))
        bucket.put("file", other)
        time.sleep(1.2)
        with open(mnt / "file", "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            assert view[:] == other
        check(mnt / "file", other)


def test_direct_opens_see_the_object_as_it_is(mount, mnt, bucket):
    bucket.put("file", pattern(1_000_000))
    mount.start("--ttl", "3600")
    check(mnt / "file", pattern(1_000_000))
    other = bytes(reversed(pattern(1_000_000)))
    bucket.put("file", other)
    descriptor = os.open(mnt / "file", os.O_RDONLY | os.O_DIRECT)
    try:
        seen = b""
        while piece := os.read(descriptor, 300_000):  # no alignment is needed
            seen += piece
    finally:
        os.close(descriptor)
    assert seen == other
    check(mnt / "file", other)
    mount.stop()


def test_the_kernel_reads_ahead_in_large_pieces(mount, mnt):
    if os.geteuid() != 0:
        pytest.skip("only root may raise it")
    mount.start()
    device = os.stat(mnt).st_dev
    path = f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb"
    assert int(Path(path).read_text()) >= 512
    mount.stop()


# MARK: refresh and warm

def test_refresh_shows_changes_of_others_at_once(mount, mnt, bucket):
    bucket.put_many({"dir/changed": b"old", "dir/removed": b"old", "other/file": b"old"})
    mount.start("--ttl", "3600")
    assert sorted(os.listdir(mnt / "dir")) == ["changed", "removed"]
    assert (mnt / "dir" / "changed").read_bytes() == (mnt / "other" / "file").read_bytes() == b"old"
    assert (mnt / "dir" / "removed").exists() and not (mnt / "dir" / "added").exists()
    bucket.put_many({"dir/changed": b"newer", "dir/added": b"added", "other/file": b"newer"})
    bucket.delete("dir/removed")
    assert (mnt / "dir" / "changed").read_bytes() == b"old" and not (mnt / "dir" / "added").exists()
    mount.pail("refresh", mnt / "dir")
    assert (mnt / "dir" / "added").read_bytes() == b"added"
    assert (mnt / "dir" / "changed").read_bytes() == b"newer"
    assert not (mnt / "dir" / "removed").exists()
    assert sorted(os.listdir(mnt / "dir")) == ["added", "changed"]
    assert (mnt / "other" / "file").read_bytes() == b"old", "not of other places"
    mount.pail("refresh", mnt)
    assert (mnt / "other" / "file").read_bytes() == b"newer"
    refused = mount.pail("refresh", "/", check=False)
    assert refused.code == 1 and "not in a mount" in refused.stderr
    mount.stop()


def test_warm_reads_a_tree_into_the_cache(mount, mnt, bucket):
    files = bodies(60) | {"dir/sub/large": pattern(3_000_000)}
    bucket.put_many(files)
    with counted(mount) as relay:
        told = mount.pail("warm", "--jobs", "4", mnt / "dir")
        assert "61 files" in told.stdout, told.stdout
        relay.reset()
        for name, body in files.items():
            check(mnt / name, body)
        assert relay.counts().get("GET", 0) == 0, relay.counts()
        missing = mount.pail("warm", mnt / "dir" / "f0001", mnt / "none", check=False)
        assert missing.code == 1 and "none: No such file" in missing.stderr, missing.stderr
        assert "1 file" in missing.stdout
        assert mount.pail("warm", "--jobs", "none", mnt, check=False).code == 2


def test_warm_brings_what_only_the_kernel_has(mount, mnt, bucket):
    """What the kernel holds is read through the mount all the same, so that the mount has it."""
    bucket.put("large", pattern(30_000_000))
    mount.start("--memory", "32M")
    check(mnt / "large", pattern(30_000_000))
    mount.pail("cache", "clear", "--cache-dir", mount.cache)
    assert "1 file" in mount.pail("warm", mnt / "large").stdout
    assert os.getxattr(mnt / "large", "user.pail.cached-bytes") == b"30000000"
    mount.stop()


def test_warm_stops_at_the_size_of_the_cache(mount, mnt, bucket):
    bucket.put_many({f"dir/f{index}": pattern(10_000_000) for index in range(6)})
    mount.start("--memory", "32M", "--cache-size", "0")
    told = mount.pail("warm", mnt / "dir")
    assert "3 files" in told.stdout and "3 files of" in told.stderr and "left out" in told.stderr, (told.stdout, told.stderr)
    mount.stop()


# MARK: a server that is away

def test_what_is_known_goes_on_without_the_server(mount, mnt, bucket):
    bucket.put_many({"dir/read": pattern(700_000), "dir/unread": pattern(900_000)})
    with mount.through_relay("--ttl", "1", compare=False) as relay:
        assert sorted(os.listdir(mnt / "dir")) == ["read", "unread"]
        check(mnt / "dir" / "read", pattern(700_000))
        os.stat(mnt / "dir" / "unread")
        relay.set("stop")
        time.sleep(1.5)
        check(mnt / "dir" / "read", pattern(700_000))
        begin = time.monotonic()
        assert os.stat(mnt / "dir" / "read").st_size == 700_000
        assert sorted(os.listdir(mnt / "dir")) == ["read", "unread"]
        assert os.stat(mnt / "dir" / "unread").st_size == 900_000
        assert time.monotonic() - begin < 4, "asked again and again"
        with pytest.raises(OSError) as caught:
            os.stat(mnt / "dir" / "never-seen")
        assert caught.value.errno in (errno.ETIMEDOUT, errno.EHOSTUNREACH), "unknown is not absent"
        relay.set("none")
        time.sleep(6)
        assert not (mnt / "dir" / "never-seen").exists()
        check(mnt / "dir" / "unread", pattern(900_000))
        mount.stop()


def test_offline_sends_nothing(mount, mnt, bucket):
    bucket.put("file", b"text")
    with counting_relay(mount.bucket.server.endpoint) as relay:
        mount.endpoint = relay.endpoint
        mount.start("--offline")
        for action in (lambda: os.listdir(mnt), lambda: os.stat(mnt / "file")):
            with pytest.raises(OSError) as caught:
                action()
            assert caught.value.errno in (errno.ETIMEDOUT, errno.EHOSTUNREACH)
        with pytest.raises(OSError) as caught:
            (mnt / "new").write_text("x")
        assert caught.value.errno in (errno.EROFS, errno.EHOSTUNREACH)
        mount.stop()
        assert relay.counts() == {"total": 0} or relay.counts() == {}, relay.counts()


# MARK: memory

def test_memory_holds_with_500_open_files(mount, mnt, bucket):
    count, size = 500, 1_000_000
    body = pattern(size)
    bucket.put_many({f"dir/f{index:03}": body for index in range(count)})
    mount.start("--memory", "64M")
    files = [open(mnt / "dir" / f"f{index:03}", "rb", buffering=0) for index in range(count)]
    failures = []

    def work(mine):
        for offset in range(0, size, 100_000):
            for file in mine:
                if os.pread(file.fileno(), 100_000, offset) != body[offset:offset + 100_000]:
                    failures.append(file.name)

    threads = [threading.Thread(target=work, args=(files[index::25],)) for index in range(25)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    for file in files:
        file.close()
    assert not failures
    peak = next(int(line.split()[1]) for line in Path(f"/proc/{mount.daemon()}/status").read_text().splitlines()
                if line.startswith("VmHWM:"))
    print(f"peak {peak // 1024} MiB")
    mount.stop()
    assert peak < (64 + 64) << 10, f"{peak // 1024} MiB"
