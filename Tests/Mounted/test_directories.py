"""Directories: made, removed, listed while they change, and the errors of misuse."""

import errno
import itertools
import os
import random
import signal
import stat
import time

import pytest
from harness.counting import counting_relay
from harness.processes import Forked
from harness.streams import DirectoryStream


def test_mkdir_survives_a_remount(mnt, mount):
    (mnt / "a" / "b" / "c").mkdir(parents=True)
    mount.remount()
    assert (mnt / "a" / "b" / "c").is_dir() and os.listdir(mnt / "a" / "b" / "c") == []


def test_mkdir_of_an_existing_name(mnt):
    (mnt / "dir").mkdir()
    (mnt / "file").touch()
    for name in ("dir", "file"):
        with pytest.raises(FileExistsError):
            os.mkdir(mnt / name)


def test_mkdir_has_one_winner(mnt):
    def race():
        wins = 0
        for index in range(20):
            try:
                os.mkdir(mnt / f"lock{index}")
                wins += 1
            except FileExistsError:
                pass
        return wins

    racers = [Forked(race) for _ in range(4)]
    assert sum(racer.result() for racer in racers) == 20


def test_mkdir_is_a_lock_among_machines(mnt, bucket):
    """Also where this mount believes that the name is free: who was faster is told by the store."""
    (mnt / "shared").mkdir()
    time.sleep(1.1)
    for index in range(5):
        name = f"shared/lock{index}"
        assert not (mnt / name).exists()
        bucket.put(name + "/", b"")
        with pytest.raises(FileExistsError):
            os.mkdir(mnt / name)
    # And where a lock was given back, however early.
    (mnt / "new").mkdir()
    for _ in range(3):
        (mnt / "new/lock").mkdir()
        os.rmdir(mnt / "new/lock")
    bucket.put("new/lock/", b"")
    with pytest.raises(FileExistsError):
        os.mkdir(mnt / "new/lock")


@pytest.mark.unmounted
@pytest.mark.first_server
def test_a_tree_of_directories_is_few_requests(mount, mnt, bucket):
    """As tar and cp -a make it: a directory, its mode, and its time in the end, each a call of its own."""
    with counting_relay(bucket.server.endpoint) as relay:
        mount.endpoint = relay.endpoint
        mount.start()
        relay.reset()
        begin = time.monotonic()
        for index in range(30):
            os.makedirs(mnt / f"tree/d{index}/below")
        for index in range(30):
            os.chmod(mnt / f"tree/d{index}", 0o750)
            os.utime(mnt / f"tree/d{index}", (1_000_000, 1_000_000))
        seconds = time.monotonic() - begin
        mount.flush()
        sent = relay.counts()["PUT"]
        mount.stop()
    # A marker may be on its way when the next change of it comes.
    assert 61 <= sent <= 91, sent
    # One round trip for each call would be 3.6 s.
    assert seconds < 1.5, f"{seconds:.2f} s"
    assert len([key for key in bucket.keys() if key.startswith("tree/")]) == 61
    mount.endpoint = None
    mount.start()
    found = os.stat(mnt / "tree/d7")
    assert stat.S_IMODE(found.st_mode) == 0o750 and found.st_mtime == 1_000_000
    mount.stop()


@pytest.mark.needs("pail")
@pytest.mark.unmounted
def test_directories_survive_kill(mount, mnt):
    """What was acknowledged is there with the next mount at once, and in the bucket in the end."""
    with mount.through_relay() as relay:
        (mnt / "tree").mkdir()
        relay.set("503")
        for index in range(20):
            os.makedirs(mnt / f"tree/d{index}")
            os.chmod(mnt / f"tree/d{index}", 0o700 + index)
        os.kill(mount.daemon(), signal.SIGKILL)
        mount.wait_until_no_daemon()
        relay.set("none")
        mount.start()
        for _ in range(2):
            assert sorted(os.listdir(mnt / "tree")) == sorted(f"d{index}" for index in range(20))
            for index in range(20):
                assert stat.S_IMODE(os.stat(mnt / f"tree/d{index}").st_mode) == 0o700 + index
            mount.remount()


def test_rmdir(mnt, mount):
    (mnt / "dir").mkdir()
    os.rmdir(mnt / "dir")
    assert not (mnt / "dir").exists() and os.listdir(mnt) == []
    mount.remount()
    assert os.listdir(mnt) == []


def test_rmdir_of_a_full_directory(mnt, bucket):
    (mnt / "dir").mkdir()
    (mnt / "dir" / "pending").write_text("just written")
    bucket.put("implicit/entry", b"x")
    for name in ("dir", "implicit"):
        with pytest.raises(OSError) as caught:
            os.rmdir(mnt / name)
        assert caught.value.errno == errno.ENOTEMPTY
    assert (mnt / "dir" / "pending").read_text() == "just written"


@pytest.mark.parametrize(("action", "expected"), [
    (lambda mnt: os.rmdir(mnt / "file"), {errno.ENOTDIR}),
    (lambda mnt: os.rmdir(mnt / "missing"), {errno.ENOENT}),
    (lambda mnt: os.unlink(mnt / "dir"), {errno.EISDIR, errno.EPERM}),
    (lambda mnt: os.unlink(mnt / "missing"), {errno.ENOENT}),
    (lambda mnt: os.open(mnt / "dir", os.O_WRONLY), {errno.EISDIR}),
    (lambda mnt: os.open(mnt / "dir", os.O_CREAT | os.O_WRONLY), {errno.EISDIR}),
    (lambda mnt: os.open(mnt / "file" / "below", os.O_RDONLY), {errno.ENOTDIR}),
    (lambda mnt: os.open(mnt / "missing" / "new", os.O_CREAT | os.O_WRONLY), {errno.ENOENT}),
    (lambda mnt: os.open(mnt / "file", os.O_DIRECTORY), {errno.ENOTDIR}),
    (lambda mnt: os.mkdir(mnt / "missing" / "new"), {errno.ENOENT}),
    (lambda mnt: os.mkdir(mnt / "file" / "new"), {errno.ENOTDIR}),
    (lambda mnt: os.listdir(mnt / "file"), {errno.ENOTDIR}),
    (lambda mnt: os.truncate(mnt / "dir", 0), {errno.EISDIR}),
    (lambda mnt: os.stat(f"{mnt}/file/"), {errno.ENOTDIR}),
], ids=["rmdir file", "rmdir missing", "unlink dir", "unlink missing", "write dir", "create dir", "below file",
        "create in missing", "file as dir", "mkdir in missing", "mkdir in file", "list file", "truncate dir",
        "file slash"])
def test_refusals(mnt, action, expected):
    (mnt / "file").write_text("text")
    (mnt / "dir").mkdir()
    with pytest.raises(OSError) as caught:
        action(mnt)
    assert caught.value.errno in expected
    assert sorted(os.listdir(mnt)) == ["dir", "file"]


def test_dot_and_dot_dot(mnt):
    (mnt / "a" / "b").mkdir(parents=True)
    assert os.path.samefile(mnt / "a" / "b" / "..", mnt / "a") and os.path.samefile(mnt / "a" / ".", mnt / "a")
    assert stat.S_ISDIR(os.stat(mnt / ".." / "mnt").st_mode)


def test_removing_the_last_file_keeps_the_directory(mnt, bucket, mount):
    bucket.put("implicit/deep/only", b"x")
    os.unlink(mnt / "implicit" / "deep" / "only")
    assert os.listdir(mnt / "implicit") == ["deep"] and os.listdir(mnt / "implicit" / "deep") == []
    mount.remount()
    assert os.listdir(mnt / "implicit" / "deep") == []


def test_moving_the_last_file_keeps_the_directory(mnt, bucket, mount):
    bucket.put("implicit/only", b"x")
    os.rename(mnt / "implicit" / "only", mnt / "moved")
    mount.remount()
    assert sorted(os.listdir(mnt)) == ["implicit", "moved"] and os.listdir(mnt / "implicit") == []


def test_listing_while_entries_come_and_go(mnt):
    """Entries that are there all the time are in every listing, once."""
    steady = {f"steady{index}" for index in range(200)}
    for name in steady:
        (mnt / name).touch()

    def churn():
        for turn in range(100):
            (mnt / f"temporary{turn}").write_text("x")
            if turn >= 5:
                os.unlink(mnt / f"temporary{turn - 5}")

    churning = Forked(churn)
    try:
        for _ in range(30):
            names = os.listdir(mnt)
            assert len(names) == len(set(names)), "a name is listed twice"
            assert steady <= set(names), f"not listed: {sorted(steady - set(names))[:5]}"
        churning.result(60)
    finally:
        churning.kill()


def test_removing_entries_while_listing(mnt):
    """What rm -r does: unlink what readdir gives, and nothing is skipped."""
    for index in range(500):
        (mnt / f"file{index}").touch()
    with os.scandir(mnt) as entries:
        for entry in entries:
            os.unlink(entry.path)
    assert os.listdir(mnt) == []


@pytest.mark.first_user
@pytest.mark.first_server
@pytest.mark.no_compare  # empty files, of which reading each takes a while
def test_positions_in_a_directory_that_changes(mnt):
    """telldir and seekdir: from each position come the same names as before, whatever came and went meanwhile."""
    chance = random.Random(7)
    steady = {f"steady{index}" for index in range(700)}
    passing = [f"passing{index}" for index in range(300)]
    for name in sorted([*steady, *passing], key=lambda _: chance.random()):
        (mnt / name).touch()
    with DirectoryStream(mnt) as stream:
        order, positions = [], [stream.tell()]
        for name in stream:
            order.append(name)
            positions.append(stream.tell())
        assert sorted(order) == sorted([*steady, *passing])
        for turn in range(3):
            for name in passing[turn * 100:turn * 100 + 100]:
                os.unlink(mnt / name)
            for index in range(50):
                (mnt / f"new{turn}-{index}").touch()
            for index in chance.sample(range(len(positions)), 40):
                stream.seek(positions[index])
                expected = [name for name in order[index:] if name in steady]
                found = list(itertools.islice((name for name in stream if name in steady), 20))
                assert found == expected[:20], (turn, index)
            # From a place in the middle to the end: nothing missing, nothing twice.
            index = chance.randrange(len(positions))
            stream.seek(positions[index])
            rest = list(stream)
            assert len(rest) == len(set(rest)) and {name for name in order[index:] if name in steady} <= set(rest)
        stream.rewind()
        names = list(stream)
    assert sorted(names) == sorted(os.listdir(mnt)) == sorted([*steady, *(
        f"new{turn}-{index}" for turn in range(3) for index in range(50))])


@pytest.mark.first_user
@pytest.mark.first_server
@pytest.mark.no_compare  # empty files, of which reading each takes a while
def test_a_stream_that_is_read_while_names_come_and_go(mnt):
    """A name that is there from the beginning to the end is read once, and no name twice."""
    names = [f"file{index:04}" for index in range(1000)]
    for name in names:
        (mnt / name).touch()
    with DirectoryStream(mnt) as stream:
        seen, removed = [], set()
        for number, name in enumerate(stream):
            seen.append(name)
            if number % 10 == 0:
                victim = f"file{(number * 7 + 500) % 1000:04}"
                if victim not in removed:
                    os.unlink(mnt / victim)
                    removed.add(victim)
                (mnt / f"added{number}").touch()
    assert len(seen) == len(set(seen)), "a name was read twice"
    assert set(names) - removed <= set(seen), "a name was missed"
    assert set(os.listdir(mnt)) >= set(names) - removed


def test_a_held_directory_can_be_listed_again(mnt):
    for index in range(50):
        (mnt / f"file{index}").touch()
    descriptor = os.open(mnt, os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert len(os.listdir(descriptor)) == 50
        (mnt / "late").touch()
        assert len(os.listdir(descriptor)) == 51
    finally:
        os.close(descriptor)


def test_a_removed_directory_in_use(mnt):
    (mnt / "dir").mkdir()
    descriptor = os.open(mnt / "dir", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.rmdir(mnt / "dir")
        with pytest.raises(FileNotFoundError):
            os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor)
    finally:
        os.close(descriptor)
    assert os.listdir(mnt) == []
