"""Many files, large files, large directories."""

import os
import random
import resource

import pytest
from harness.content import pattern, sha256, sha256_of, write_large
from harness.fakes import canned_s3
from harness.many_keys import ManyKeys
from harness.processes import in_parallel

# Much work: once is enough.
pytestmark = [pytest.mark.first_server, pytest.mark.first_user]


@pytest.mark.deadline(300)
def test_a_thousand_small_files(mnt, mount):
    for index in range(1000):
        (mnt / f"file{index:04}").write_bytes(pattern(index * 5, index))
    assert len(os.listdir(mnt)) == 1000
    mount.remount()
    for index in range(1000):
        assert (mnt / f"file{index:04}").read_bytes() == pattern(index * 5, index)


@pytest.mark.unmounted
@pytest.mark.needs("pail")
def test_more_files_than_a_shell_may_have_open(mnt, mount, bucket):
    """Each file that is not in S3 yet takes the daemon two descriptors; what a shell grants is not the limit."""
    limit = (128, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    mount.pail("mount", bucket.source, mnt, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limit))
    files = [open(mnt / f"file{index}", "wb", buffering=0) for index in range(300)]
    for index, file in enumerate(files):
        file.write(pattern(100, index))
    for file in files:
        file.close()
    mount.pail("umount", mnt)
    assert all(bucket.get(f"file{index}") == pattern(100, index) for index in range(300))


@pytest.mark.unmounted
@pytest.mark.needs("pail")
@pytest.mark.deadline(120)
def test_names_take_little_memory(mnt, mount):
    """Some 0.5 KB each, in a walk; of how many of them is in `NameBudgetTests`."""
    def held():
        with open(f"/proc/{mount.daemon()}/status") as status:
            return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmRSS:"))

    with canned_s3(ManyKeys(20, 1000)) as endpoint:
        mount.pail("mount", "--endpoint", endpoint, "s3://bucket", mnt)
        before = held()
        names = [name for _, _, files in os.walk(mnt) for name in files]
        assert len(names) == 20_000 and len(set(names)) == 1000
        each = (held() - before) / len(names)
        mount.pail("umount", mnt)
    print(f"{each:.0f} bytes for each name")
    assert each < 2000


@pytest.mark.deadline(300)
def test_300_megabytes(mnt, mount, bucket):
    digest = write_large(mnt / "large", 300)
    assert os.stat(mnt / "large").st_size == 300 << 20
    mount.remount()
    assert bucket.sha256("large") == digest
    assert sha256(mnt / "large") == digest


@pytest.mark.deadline(180)
def test_a_large_file_changed_in_place(mnt, mount, bucket):
    write_large(mnt / "large", 64)
    mount.remount()
    source, expected = random.Random(5), bytearray((mnt / "large").read_bytes())
    mount.remount()
    with open(mnt / "large", "r+b", buffering=0) as file:
        for _ in range(40):
            offset, piece = source.randrange(len(expected)), source.randbytes(source.randrange(1, 50_000))
            piece = piece[:len(expected) - offset]
            os.pwrite(file.fileno(), piece, offset)
            expected[offset:offset + len(piece)] = piece
        os.fsync(file.fileno())
    with open(mnt / "large", "ab") as file:
        file.write(b"appended")
    expected += b"appended"
    mount.remount()
    assert bucket.sha256("large") == sha256_of(expected) == sha256(mnt / "large")


@pytest.mark.no_compare
@pytest.mark.deadline(180)
def test_a_directory_of_3000(mnt, bucket, mount):
    bucket.put_many({f"many/entry {index:04}": str(index).encode() for index in range(3000)})
    names = os.listdir(mnt / "many")
    assert len(names) == 3000 and len(set(names)) == 3000
    with os.scandir(mnt / "many") as entries:
        sizes = {entry.name: entry.stat().st_size for entry in entries}
    assert sizes == {f"entry {index:04}": len(str(index)) for index in range(3000)}
    assert (mnt / "many" / "entry 2999").read_text() == "2999"
    assert not (mnt / "many" / "entry 3000").exists()


@pytest.mark.deadline(120)
def test_eight_readers_of_one_file_at_random(mnt, mount):
    write_large(mnt / "large", 64)
    reference = (mnt / "large").read_bytes()
    mount.remount()

    def read(seed):
        source = random.Random(seed)
        with open(mnt / "large", "rb", buffering=0) as file:
            for _ in range(100):
                size = source.choice((1, 100, 4096, 70_000, 400_000))
                offset = source.randrange(len(reference))
                wanted = reference[offset:offset + size]
                got = os.pread(file.fileno(), size, offset)
                assert got == wanted, f"other bytes at {offset}, {size}"
        return True

    assert in_parallel(*(lambda seed=seed: read(seed) for seed in range(8)), timeout=100) == [True] * 8


@pytest.mark.deadline(120)
def test_writers_in_parallel(mnt):
    def write(writer):
        os.mkdir(mnt / f"dir{writer}")
        for index in range(25):
            (mnt / f"dir{writer}" / f"file{index}").write_bytes(pattern(20_000 + index, f"{writer}/{index}"))
            (mnt / f"shared {writer} {index}").write_bytes(pattern(100, f"{writer}.{index}"))
        return writer

    assert in_parallel(*(lambda writer=writer: write(writer) for writer in range(6)), timeout=100) == list(range(6))
    for writer in range(6):
        for index in range(25):
            assert (mnt / f"dir{writer}" / f"file{index}").read_bytes() == pattern(20_000 + index, f"{writer}/{index}")
            assert (mnt / f"shared {writer} {index}").read_bytes() == pattern(100, f"{writer}.{index}")


def test_two_writers_of_one_file(mnt):
    (mnt / "file").write_bytes(bytes(1_000_000))

    def write(half):
        with open(mnt / "file", "r+b", buffering=0) as file:
            for offset in range(half, 100, 2):
                os.pwrite(file.fileno(), bytes([offset + 1]) * 10_000, offset * 10_000)
        return True

    in_parallel(lambda: write(0), lambda: write(1))
    assert (mnt / "file").read_bytes() == b"".join(bytes([offset + 1]) * 10_000 for offset in range(100))
