"""Writes as POSIX promises them: what other handles see, what truncation leaves, and what the bucket holds."""

import errno
import os
import random
import time

import pytest
from harness.content import pattern, sha256_of
from harness.processes import Forked, in_parallel, run

pytestmark = pytest.mark.first_user


def test_a_second_process_sees_writes_at_once(mnt):
    with open(mnt / "file", "w+b", buffering=0) as file:
        for part in range(5):
            file.write(b"%d" % part * 1000)
            expected = b"".join(b"%d" % done * 1000 for done in range(part + 1))
            assert os.pread(file.fileno(), 10_000, 0) == expected
            assert Forked(lambda: (mnt / "file").read_bytes()).result() == expected
            assert os.stat(mnt / "file").st_size == len(expected)


def test_an_open_reader_sees_later_writes(mnt):
    (mnt / "file").write_bytes(b"a" * 100)
    with open(mnt / "file", "rb", buffering=0) as reader:
        assert reader.read() == b"a" * 100
        with open(mnt / "file", "r+b", buffering=0) as writer:
            writer.write(b"b" * 50)
            writer.seek(0, os.SEEK_END)
            writer.write(b"c" * 10)
            assert os.pread(reader.fileno(), 1000, 0) == b"b" * 50 + b"a" * 50 + b"c" * 10


def test_a_second_open_does_not_shorten_the_first(mnt):
    """A second open with a stale size must not truncate what the first has written (s3fs#1022)."""
    with open(mnt / "file", "wb", buffering=0) as first:
        first.write(b"x" * 200_000)
        with open(mnt / "file", "r+b", buffering=0) as second:
            assert os.fstat(second.fileno()).st_size == 200_000
            second.seek(100_000)
            second.write(b"y")
        first.write(b"z" * 10)
    assert (mnt / "file").read_bytes() == b"x" * 100_000 + b"y" + b"x" * 99_999 + b"z" * 10


def test_append(mnt, mount):
    for part in range(4):
        with open(mnt / "file", "ab") as file:
            file.write(b"part %d\n" % part)
        if part == 1:
            mount.remount()
    assert (mnt / "file").read_bytes() == b"part 0\npart 1\npart 2\npart 3\n"


def test_appenders_do_not_overwrite_each_other(mnt):
    (mnt / "log").touch()

    def append(writer):
        with open(mnt / "log", "ab", buffering=0) as file:
            for index in range(100):
                file.write(b"%d %04d\n" % (writer, index))

    in_parallel(*(lambda writer=writer: append(writer) for writer in range(4)))
    lines = (mnt / "log").read_bytes().splitlines()
    assert sorted(lines) == sorted(b"%d %04d" % (writer, index) for writer in range(4) for index in range(100))


@pytest.mark.parametrize("size", [0, 1, 1000, 4096, 99_999, 100_000, 100_001, 5_000_000])
def test_truncate(mnt, mount, size):
    data = pattern(100_000)
    (mnt / "file").write_bytes(data)
    mount.remount()
    os.truncate(mnt / "file", size)
    expected = data[:size] + bytes(max(0, size - 100_000))
    assert os.stat(mnt / "file").st_size == size
    assert (mnt / "file").read_bytes() == expected
    mount.remount()
    assert (mnt / "file").read_bytes() == expected


def test_ftruncate_of_pending_data(mnt):
    with open(mnt / "file", "w+b", buffering=0) as file:
        file.write(b"a" * 10_000)
        os.ftruncate(file.fileno(), 5000)
        os.ftruncate(file.fileno(), 8000)
        os.pwrite(file.fileno(), b"end", 9000)
        assert os.fstat(file.fileno()).st_size == 9003
    assert (mnt / "file").read_bytes() == b"a" * 5000 + bytes(4000) + b"end"


def test_o_trunc(mnt, mount):
    (mnt / "file").write_bytes(pattern(50_000))
    mount.remount()
    descriptor = os.open(mnt / "file", os.O_WRONLY | os.O_TRUNC)
    assert os.fstat(descriptor).st_size == 0
    os.write(descriptor, b"short")
    os.close(descriptor)
    assert (mnt / "file").read_bytes() == b"short"


def test_o_excl(mnt):
    os.close(os.open(mnt / "file", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    with pytest.raises(FileExistsError):
        os.open(mnt / "file", os.O_CREAT | os.O_EXCL | os.O_WRONLY)


def test_o_excl_has_one_winner(mnt):
    start = time.monotonic() + 0.3

    def race(racer):
        wins = 0
        time.sleep(max(0, start - time.monotonic()))
        for index in range(20):
            try:
                descriptor = os.open(mnt / f"lock{index}", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            except FileExistsError:
                continue
            os.write(descriptor, b"%d" % racer)
            os.close(descriptor)
            wins += 1
        return wins

    assert sum(in_parallel(*(lambda racer=racer: race(racer) for racer in range(4)))) == 20
    assert all(len((mnt / f"lock{index}").read_bytes()) == 1 for index in range(20))


def test_holes_are_zeros(mnt, mount):
    with open(mnt / "sparse", "wb") as file:
        file.seek(10_000_000)
        file.write(b"end")
        file.seek(3_000_000)
        file.write(b"middle")
    expected = bytes(3_000_000) + b"middle" + bytes(10_000_000 - 3_000_006) + b"end"
    assert (mnt / "sparse").read_bytes() == expected
    mount.remount()
    assert (mnt / "sparse").read_bytes() == expected


@pytest.mark.parametrize("size", [10, 4096, 1_000_000, 20_000_003])
def test_one_byte_in_the_middle_of_an_object(mnt, bucket, size):
    """The rest of an object that was never read must stay (s3fs#918)."""
    data = bytearray(pattern(size))
    bucket.put("object", bytes(data))
    with open(mnt / "object", "r+b", buffering=0) as file:
        os.pwrite(file.fileno(), b"!", size // 2)
    data[size // 2] = ord("!")
    assert sha256_of((mnt / "object").read_bytes()) == sha256_of(data)


def test_scattered_writes(mnt, bucket):
    source, data = random.Random(3), bytearray(pattern(8_000_000))
    bucket.put("object", bytes(data))
    with open(mnt / "object", "r+b", buffering=0) as file:
        for _ in range(200):
            offset, piece = source.randrange(len(data) + 5000), source.randbytes(source.randrange(1, 20_000))
            if offset > len(data):
                data.extend(bytes(offset - len(data)))
            data[offset:offset + len(piece)] = piece
            os.pwrite(file.fileno(), piece, offset)
            check = source.randrange(len(data))
            assert os.pread(file.fileno(), 3000, check) == data[check:check + 3000]
        assert os.fstat(file.fileno()).st_size == len(data)
    assert sha256_of((mnt / "object").read_bytes()) == sha256_of(data)


def test_read_and_write_on_one_handle(mnt, mount):
    (mnt / "file").write_bytes(b"0123456789" * 1000)
    mount.remount()
    with open(mnt / "file", "r+b", buffering=0) as file:
        assert file.read(10) == b"0123456789"
        file.write(b"XX")
        assert file.read(8) == b"23456789"
        assert os.pread(file.fileno(), 14, 8) == b"89XX2345678901"[:14]


def test_fsync_then_the_object_is_there(mnt, bucket):
    with open(mnt / "file", "wb", buffering=0) as file:
        file.write(pattern(70_000))
        os.fsync(file.fileno())
        assert bucket.get("file") == pattern(70_000)
        file.write(b"more")
        os.fdatasync(file.fileno())
        assert bucket.get("file") == pattern(70_000) + b"more"


def test_close_then_umount_then_the_object_is_there(mnt, bucket, mount):
    (mnt / "file").write_bytes(pattern(70_000))
    mount.stop()
    assert bucket.get("file") == pattern(70_000)
    mount.start()


def test_flush_then_the_object_is_there(mnt, bucket, mount):
    (mnt / "dir").mkdir()
    (mnt / "dir" / "file").write_bytes(pattern(70_000))
    (mnt / "dir" / "empty").touch()
    mount.flush(mnt / "dir")
    assert bucket.get("dir/file") == pattern(70_000)
    assert bucket.get("dir/empty") == b""


def test_unlink_while_open(mnt, bucket):
    with open(mnt / "file", "w+b", buffering=0) as file:
        file.write(b"before")
        os.unlink(mnt / "file")
        assert os.listdir(mnt) == []
        file.write(b" after")
        assert os.pread(file.fileno(), 100, 0) == b"before after"
        os.ftruncate(file.fileno(), 3)
        assert os.fstat(file.fileno()).st_size == 3
    assert os.listdir(mnt) == [] and not bucket.exists("file")


def test_unlink_of_an_object_while_open(mnt, bucket):
    data = pattern(3_000_000)
    bucket.put("object", data)
    with open(mnt / "object", "rb", buffering=0) as file:
        os.unlink(mnt / "object")
        assert not (mnt / "object").exists()
        (mnt / "object").write_text("another file of the same name")
        assert os.pread(file.fileno(), 1000, 2_500_000) == data[2_500_000:2_501_000]
    assert (mnt / "object").read_text() == "another file of the same name"


def test_closing_in_a_child_does_not_end_the_parents_write(mnt):
    """A forked child's exit flushes the shared handle (goofys#273)."""
    with open(mnt / "file", "wb", buffering=0) as file:
        file.write(b"before ")
        Forked(lambda: os.close(file.fileno())).result()
        copy = os.dup(file.fileno())
        os.close(copy)
        file.write(b"after")
    assert (mnt / "file").read_bytes() == b"before after"


def test_write_to_a_handle_opened_for_reading(mnt):
    (mnt / "file").write_text("text")
    with open(mnt / "file", "rb") as file, pytest.raises(OSError) as caught:
        os.write(file.fileno(), b"x")
    assert caught.value.errno == errno.EBADF


def test_empty_files(mnt, bucket, mount):
    (mnt / "touched").touch()
    open(mnt / "opened", "w").close()
    os.close(os.open(mnt / "created", os.O_CREAT | os.O_WRONLY, 0o600))
    mount.remount()
    assert {name: os.stat(mnt / name).st_size for name in os.listdir(mnt)} == dict.fromkeys(
        ("touched", "opened", "created"), 0)
    assert [bucket.get(key) for key in bucket.files()] == [b""] * 3


def test_reading_past_the_end(mnt):
    (mnt / "file").write_bytes(b"0123456789")
    with open(mnt / "file", "rb", buffering=0) as file:
        assert os.pread(file.fileno(), 100, 5) == b"56789"
        assert os.pread(file.fileno(), 100, 10) == b"" and os.pread(file.fileno(), 100, 10_000_000) == b""


def test_seek_data_and_hole_are_sane(mnt):
    (mnt / "file").write_bytes(pattern(100_000))
    with open(mnt / "file", "rb", buffering=0) as file:
        assert os.lseek(file.fileno(), 0, os.SEEK_DATA) == 0
        assert os.lseek(file.fileno(), 0, os.SEEK_HOLE) == 100_000


def test_fallocate_reserves_or_refuses(mnt):
    with open(mnt / "file", "w+b", buffering=0) as file:
        file.write(b"data")
        try:
            os.posix_fallocate(file.fileno(), 0, 100_000)
        except OSError as error:
            assert error.errno in (errno.EOPNOTSUPP, errno.EINVAL)
            return
        assert os.fstat(file.fileno()).st_size == 100_000
    assert (mnt / "file").read_bytes() == b"data" + bytes(99_996)


def test_copy_file_range(mnt, scratch):
    (mnt / "source").write_bytes(pattern(3_000_000))
    with open(mnt / "source", "rb") as source, open(mnt / "copy", "wb") as copy:
        done = 0
        while count := os.copy_file_range(source.fileno(), copy.fileno(), 1 << 20):
            done += count
    assert done == 3_000_000 and (mnt / "copy").read_bytes() == pattern(3_000_000)


@pytest.mark.needs("pail")
def test_cp_of_a_large_object_is_made_by_the_server(mnt, bucket):
    data = pattern(40 << 20)
    bucket.put("source", data)
    run("cp", mnt / "source", mnt / "copy")
    # Three parts of up to 16 MiB, as the server copies; what is sent has five of 8 MiB.
    assert bucket.head("copy")["ETag"].strip('"').endswith("-3")
    os.unlink(mnt / "source")
    assert bucket.get("copy") == data
    run("cp", "--preserve=all", mnt / "copy", mnt / "again")
    with open(mnt / "again", "r+b") as file:
        file.seek(5)
        file.write(b"changed")
    assert (mnt / "again").read_bytes() == data[:5] + b"changed" + data[12:]


def test_sync_of_the_whole_system(mnt):
    (mnt / "file").write_text("text")
    os.sync()
    assert (mnt / "file").read_text() == "text"
