"""Reading: how many requests and bytes each pattern of access costs, and that every byte is right."""

import csv
import errno
import io
import mmap
import os
import random
import struct
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness.content import pattern
from harness.processes import Forked, in_parallel, run, wait_for

numpy = pytest.importorskip("numpy")
hdf5 = pytest.importorskip("h5py")
netcdf = pytest.importorskip("netCDF4")

pytestmark = [pytest.mark.needs("pail", "s3"), pytest.mark.first_server, pytest.mark.first_user, pytest.mark.unmounted]

BLOCK = 128 << 10
MB = 1 << 20


class Traffic:
    """What the mount has asked for since the last look, once it has gone quiet."""

    def __init__(self, relay):
        self.relay, self.gets, self.others = relay, [], []

    def look(self):
        """Waits until nothing was asked for a moment; read-ahead runs beside the reader."""
        self.gets, self.others = [], []
        quiet = time.monotonic() + 0.25
        while time.monotonic() < quiet:
            for each in self.relay.requests():
                quiet = time.monotonic() + 0.25
                is_listing = "list-type" in each["path"] or each["path"].count("/") < 2
                (self.gets if each["method"] == "GET" and not is_listing else self.others).append(each)
            time.sleep(0.05)
        return self

    @property
    def bytes(self):
        """What the GETs asked for: an answer that was given up is counted whole."""
        return sum(end - begin + 1 for begin, end in self.ranges)

    @property
    def ranges(self):
        return sorted(tuple(map(int, each["range"].removeprefix("bytes=").split("-"))) for each in self.gets)

    def __repr__(self):
        others = [(each["method"], each["path"]) for each in self.others]
        return f"{len(self.gets)} GETs of {self.bytes} bytes: {self.ranges}; others: {others}"


@contextmanager
def mounted(mount):
    """The mount behind a relay that counts, with its root listed."""
    with mount.through_relay(compare=False) as relay:
        os.listdir(mount.path)
        traffic = Traffic(relay)
        traffic.look()
        yield traffic
    mount.stop()


@contextmanager
def opened(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def assert_disjoint(ranges):
    assert all(first[1] < second[0] for first, second in zip(ranges, ranges[1:])), f"asked twice: {ranges}"


def test_one_page_of_a_large_object(mount, mnt, bucket):
    data = pattern(20 * MB)
    bucket.put("object", data)
    with mounted(mount) as traffic, opened(mnt / "object") as file:
        for offset in (11 * MB + 4096, 5 * MB, 17 * MB + 65536):
            assert os.pread(file, 4096, offset) == data[offset:offset + 4096]
            seen = traffic.look()
            # The question what the object is brought its first block.
            pages = [begin for begin, _ in seen.ranges if begin > 0]
            assert len(pages) == 1 and len(seen.gets) <= 2 and seen.bytes <= BLOCK, (offset, seen)


def test_a_small_object_after_ls(mount, mnt, bucket):
    bodies = {f"file{number}": pattern(20_000, number) for number in range(3)}
    bucket.put_many(bodies)
    with mounted(mount) as traffic:
        for name, body in bodies.items():
            assert (mnt / name).read_bytes() == body
            seen = traffic.look()
            assert len(seen.gets) <= 1, (name, seen)
            assert not [each for each in seen.others if each["method"] == "HEAD"], (name, seen)


def test_sequential(mount, mnt, bucket):
    data = pattern(24 * MB)
    bucket.put("object", data)
    with mounted(mount) as traffic:
        assert (mnt / "object").read_bytes() == data
        seen = traffic.look()
        assert_disjoint(seen.ranges)
        assert seen.bytes == len(data) and len(seen.gets) <= 48, seen
        assert (mnt / "object").read_bytes() == data
        seen = traffic.look()
        assert not seen.gets, f"read again: {seen}"


def test_the_head_of_an_object(mount, mnt, bucket):
    data = pattern(24 * MB)
    bucket.put("object", data)
    with mounted(mount) as traffic:
        with opened(mnt / "object") as file:
            assert os.read(file, 4096) == data[:4096]
        seen = traffic.look()
        assert len(seen.gets) <= 2 and seen.bytes <= 4 * BLOCK, seen


@pytest.mark.parametrize("step", [MB, -MB], ids=["forward", "backward"])
def test_stride(mount, mnt, bucket, step):
    data = pattern(32 * MB)
    bucket.put("object", data)
    offsets = list(range(0, 32 * MB, MB))[::1 if step > 0 else -1]
    with mounted(mount) as traffic:
        with opened(mnt / "object") as file:
            for offset in offsets:
                assert os.pread(file, 8192, offset + 5000) == data[offset + 5000:offset + 13192]
        seen = traffic.look()
        assert_disjoint(seen.ranges)
        assert len(seen.gets) <= len(offsets) + 3 and seen.bytes <= 2 * BLOCK * len(offsets), seen


def test_backward(mount, mnt, bucket):
    data = pattern(8 * MB)
    bucket.put("object", data)
    with mounted(mount) as traffic:
        with opened(mnt / "object") as file:
            for offset in range(8 * MB - 65536, -1, -65536):
                assert os.pread(file, 65536, offset) == data[offset:offset + 65536]
        seen = traffic.look()
        assert_disjoint(seen.ranges)
        assert seen.bytes == len(data) and len(seen.gets) <= len(data) // BLOCK, seen


def test_two_streams_of_one_handle(mount, mnt, bucket):
    data = pattern(32 * MB)
    bucket.put("object", data)
    half = 16 * MB
    with mounted(mount) as traffic:
        with opened(mnt / "object") as file:
            for offset in range(0, 8 * MB, 65536):
                assert os.pread(file, 65536, offset) == data[offset:offset + 65536]
                assert os.pread(file, 65536, half + offset) == data[half + offset:half + offset + 65536]
        seen = traffic.look()
        assert_disjoint(seen.ranges)
        assert len(seen.gets) <= 64, seen


def test_two_readers_of_one_block(mount, mnt, bucket):
    data = pattern(8 * MB)
    bucket.put("object", data)

    def read():
        with opened(mnt / "object") as file:
            return os.pread(file, 4096, 5 * MB)

    with mounted(mount) as traffic:
        assert in_parallel(*[read] * 4) == [data[5 * MB:5 * MB + 4096]] * 4
        seen = traffic.look()
        pages = [begin for begin, _ in seen.ranges if begin > 0]
        assert len(pages) == 1 and seen.bytes <= BLOCK, seen


def bytes_read(body):
    """How many bytes this process has asked the kernel for in `body`."""
    def so_far():
        return int(Path("/proc/self/io").read_text().split()[1])

    before = so_far()
    result = body()
    return result, so_far() - before


def slice_of_hdf5(path):
    with hdf5.File(path) as file:
        return file["grid"][::4]


def slice_of_netcdf(path):
    with netcdf.Dataset(path) as dataset:
        return dataset["t2m"][::4]


@pytest.mark.parametrize("form", ["hdf5", "netcdf4"])
def test_a_slice_with_a_stride(mount, mnt, scratch, bucket, form):
    shape, chunk = (24, 512, 1024), (1, 512, 512)
    data = numpy.random.default_rng(1).random(shape, dtype="f4")
    local = scratch / "grid"
    if form == "hdf5":
        with hdf5.File(local, "w") as file:
            file.create_dataset("grid", data=data, chunks=chunk)
        read = slice_of_hdf5
    else:
        with netcdf.Dataset(local, "w") as dataset:
            for name, size in zip(("time", "lat", "lon"), shape, strict=True):
                dataset.createDimension(name, size)
            dataset.createVariable("t2m", "f4", ("time", "lat", "lon"), chunksizes=chunk)[:] = data
        read = slice_of_netcdf
    bucket.put("grid", local.read_bytes())
    values, needed = Forked(lambda: bytes_read(lambda: read(local))).result()
    assert numpy.array_equal(values, data[::4]) and needed >= data[::4].nbytes
    with mounted(mount) as traffic:
        assert numpy.array_equal(Forked(lambda: read(mnt / "grid")).result(), data[::4])
        seen = traffic.look()
        assert seen.bytes <= 1.5 * needed, f"the library reads {needed} bytes; {seen.bytes / needed:.2f} times: {seen}"
        # Shorter windows are more of them: 49 to 61 were seen.
        assert len(seen.gets) <= 80, seen


def test_fio_verifies(mount, mnt, scratch, bucket):
    job = ["--name=job", "--bs=4k", "--size=12m", "--verify=crc32c", "--verify_fatal=1", "--ioengine=psync"]
    run("fio", *job, f"--filename={scratch / 'data'}", "--rw=write", "--do_verify=0", cwd=scratch)
    bucket.put("data", (scratch / "data").read_bytes())
    with mounted(mount):
        for way in ("randread", "read"):
            # `--readonly` is fio's own promise not to write.
            answer = run("fio", *job, f"--filename={mnt / 'data'}", f"--rw={way}", "--readonly", "--numjobs=4",
                         "--thread", cwd=scratch)
            assert "err= 0" in answer.stdout, answer


def test_mapped(mount, mnt, bucket):
    data = pattern(6 * MB + 123)
    bucket.put("object", data)
    with mounted(mount), open(mnt / "object", "rb") as file, \
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        places = random.Random(7)
        for _ in range(100):
            offset = places.randrange(len(data))
            assert mapped[offset:offset + 5000] == data[offset:offset + 5000]
        assert mapped[:] == data


def test_csv(mount, mnt, bucket):
    rows = [[str(number), f"value {number % 97}", f"{number / 7:.6f}"] for number in range(60_000)]
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    bucket.put("table.csv", text.getvalue().encode())
    with mounted(mount) as traffic:
        with open(mnt / "table.csv", newline="") as file:
            assert list(csv.reader(file)) == rows
        assert_disjoint(traffic.look().ranges)


def versioned(number, size):
    """Records of 16 bytes that say which version they are of, and where they are."""
    return b"".join(struct.pack("<QQ", number, offset) for offset in range(0, size, 16))


@pytest.mark.deadline(120)
def test_an_object_that_changes_while_it_is_read(mount, mnt, bucket):
    size = 4 * MB
    bucket.put("object", versioned(1, size))
    done = mount.scratch / "done"

    def read(seed):
        places, shown, stale = random.Random(seed), set(), 0
        while not done.exists():
            versions = set()
            with opened(mnt / "object") as file:
                for _ in range(40):
                    offset = places.randrange(0, size - 65536) // 16 * 16
                    try:
                        data = os.pread(file, places.choice((16, 4096, 65536)), offset)
                    except OSError as error:
                        assert error.errno == errno.ESTALE, error
                        stale += 1
                        break
                    for at in range(0, len(data), 16):
                        number, place = struct.unpack_from("<QQ", data, at)
                        assert place == offset + at, f"bytes of {place} at {offset + at}"
                        versions.add(number)
                    assert len(versions) == 1, f"one open file shows versions {versions}"
                    time.sleep(0.002)
            shown |= versions
        return len(shown), stale

    mount.start("--ttl", "1")
    readers = [Forked(read, seed) for seed in range(3)]
    for number in range(2, 8):
        time.sleep(0.7)
        bucket.put("object", versioned(number, size))

    def shows_the_last():
        try:
            return (mnt / "object").read_bytes() == versioned(7, size)
        except OSError as error:
            # Opened as the version before, which another reader has seen bytes of.
            assert error.errno == errno.ESTALE, error
            return False

    try:
        wait_for(shows_the_last, 20, "the last version")
    finally:
        done.touch()
    results = [each.result() for each in readers]
    assert any(count > 1 for count, _ in results), f"the readers saw no change: {results}"
    mount.stop()
