"""A daemon that dies is replaced under the live mount: programs see a pause, and no "transport endpoint is not connected"."""

import errno
import fcntl
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from harness.content import pattern, sha256_of
from harness.processes import run, wait_for

RELEASE = tuple(int(number) for number in platform.release().split(".")[:2])
pytestmark = [pytest.mark.needs("pail"), pytest.mark.unmounted, pytest.mark.first_server, pytest.mark.deadline(120),
              pytest.mark.skipif(RELEASE < (6, 9), reason="requests are sent again since Linux 6.9")]

OPTIONS = ["--supervised"]


def _kill(mount):
    """Kills the process that serves, and returns its number."""
    pid = mount.status()["pid"]
    os.kill(pid, signal.SIGKILL)
    return pid


def _is_replaced(mount, pid):
    try:
        return mount.status()["pid"] != pid
    except AssertionError:
        return False


def test_names_and_files_go_on(mount, bucket):
    """Whoever works with paths notices nothing but a pause, in whatever directory."""
    bucket.put_many({f"deep/er/file{index}": pattern(5000, index) for index in range(20)})
    mount.start(*OPTIONS)
    device = os.stat(mount.path).st_dev
    wrong, rounds, done = [], [0], threading.Event()

    def work():
        while not done.is_set():
            for index in range(20):
                try:
                    if (mount.path / "deep/er" / f"file{index}").read_bytes() != pattern(5000, index):
                        wrong.append("other bytes")
                    assert len(os.listdir(mount.path / "deep/er")) == 20
                    (mount.path / "new").write_bytes(b"x")
                except OSError as error:
                    wrong.append(error)
            rounds[0] += 1

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for _ in range(3):
            before = rounds[0]
            wait_for(lambda: rounds[0] > before, 20, "the program works")
            pid = _kill(mount)
            wait_for(lambda: _is_replaced(mount, pid), 10, "another process serves")
        before = rounds[0]
        wait_for(lambda: rounds[0] > before + 1, 20, "the program goes on")
    finally:
        done.set()
        worker.join()
    # A file that was open in the moment of a kill may be one that the next process cannot have: it says ESTALE.
    others = [each for each in wrong if not (isinstance(each, OSError) and each.errno == errno.ESTALE)]
    assert not others and len(wrong) <= 6, (wrong[:5], len(wrong))
    assert os.stat(mount.path).st_dev == device, "it is another mount"
    mount.stop()
    mount.wait_until_no_daemon()


def test_open_files_go_on(mount, bucket):
    """Files that are read stay at their version, files that are written keep what was written."""
    content = pattern(3_000_000, "read")
    bucket.put("read", content)
    bucket.put("replaced", content)
    mount.start(*OPTIONS)
    reader, other = os.open(mount.path / "read", os.O_RDONLY), os.open(mount.path / "replaced", os.O_RDONLY)
    writer = os.open(mount.path / "written", os.O_RDWR | os.O_CREAT, 0o640)
    assert os.pread(reader, 1000, 0) == content[:1000] and os.pread(other, 10, 0) == content[:10]
    written = bytearray(pattern(300_000, "written"))
    os.write(writer, written[:200_000])
    for generation in range(2):
        if generation == 1:
            bucket.put("replaced", pattern(3_000_000, "another"))
        pid = _kill(mount)
        wait_for(lambda: _is_replaced(mount, pid), 10, "another process serves")
        offset = 1_000_000 * (generation + 1)
        assert os.pread(reader, 100_000, offset) == content[offset:offset + 100_000]
    with pytest.raises(OSError) as caught:
        os.pread(other, 100_000, 2_500_000)
    assert caught.value.errno == errno.ESTALE
    os.write(writer, written[200_000:])
    assert os.fstat(writer).st_size == len(written)
    assert os.pread(writer, 300_000, 0) == written
    os.fsync(writer)
    assert sha256_of(bucket.get("written")) == sha256_of(written)
    for descriptor in (reader, other, writer):
        os.close(descriptor)
    assert os.stat(mount.path / "written").st_mode & 0o777 == 0o640
    mount.stop()
    mount.wait_until_no_daemon()


def test_a_request_under_way_comes_again(mount, bucket):
    """A read that the dead process had begun is answered by the next one."""
    content = pattern(3_000_000, "slow")
    bucket.put("slow", content)
    with mount.through_relay(*OPTIONS, compare=False) as relay:
        descriptor = os.open(mount.path / "slow", os.O_RDONLY)
        got = []
        relay.set("stop")
        reader = threading.Thread(target=lambda: got.append(os.pread(descriptor, 100_000, 2_500_000)))
        reader.start()
        wait_for(lambda: any(each["operation"] == "read" for each in mount.status()["waiting"]), 10, "the read waits")
        os.kill(mount.status()["pid"], signal.SIGKILL)
        relay.set("none")
        reader.join(30)
        assert got == [content[2_500_000:2_600_000]]
        os.close(descriptor)
        mount.stop()


def test_a_mount_that_cannot_be_kept_is_given_up(mount):
    """What kills each process is not tried for ever: the mount goes away, and nothing is left."""
    mount.start(*OPTIONS)
    (mount.path / "kept").write_text("kept")
    mount.flush()
    for _ in range(5):
        pid = _kill(mount)
        wait_for(lambda: not mount.daemons() or _is_replaced(mount, pid), 20, "another process, or none")
        if not mount.daemons():
            break
    mount.wait_until_no_daemon()
    assert not mount.mounted
    time.sleep(0.1)
    mount.start()
    assert (mount.path / "kept").read_text() == "kept"
    mount.stop()


def test_the_log_is_opened_again_by_both(mount):
    """SIGHUP to the supervisor: what it says later is in the new file."""
    mount.start(*OPTIONS, "--log-file", str(mount.log))
    pid = mount.status()["pid"]
    with open(f"/proc/{pid}/stat") as file:
        supervisor = int(file.read().rpartition(")")[2].split()[1])
    old = mount.log.with_suffix(".1")
    mount.log.rename(old)
    os.kill(supervisor, signal.SIGHUP)
    wait_for(lambda: mount.log.exists() and mount.log.read_text().count("opened again") == 2, 10, "the new log")
    _kill(mount)
    wait_for(lambda: _is_replaced(mount, pid), 10, "another process serves")
    assert "another one goes on" in mount.log.read_text() and "another one goes on" not in old.read_text()
    mount.stop()


@pytest.mark.parametrize("words", [["mount", "--foreground"], ["run"], ["run", "-o", "supervised"]], ids=" ".join)
def test_where_nobody_supervises(mount, bucket, words):
    mnt = [mount.path] if words[0] == "mount" else ["--", "true"]
    result = mount.pail(*words, *([] if "-o" in words else OPTIONS), bucket.source, *mnt, check=False)
    assert result.code == 2 and "--supervised" in result.stderr and len(result.stderr.splitlines()) <= 2, str(result)


# MARK: another program, on purpose

def _another(mount, name, program=None):
    """A copy of the program (or another one) as a file of its own, which `pail upgrade` is then called as."""
    path = mount.scratch / name
    shutil.copy(program or mount.tool.program, path)
    return path


def _upgrade(mount, program, check=True):
    return run(program, "upgrade", mount.path, check=check, timeout=120, actor=mount.actor, env=mount.environment)


def _ask(mount, request):
    """The last line that the mount's socket answers to a request."""
    # FNV-1a of the mountpoint.
    number = 0xcbf29ce484222325
    for byte in os.fsencode(mount.path):
        number = (number ^ byte) * 0x100000001b3 % 2**64
    directory = Path("/run/pail") if mount.actor.uid == 0 else mount.runtime / "pail"
    path = directory / f"{number:016x}.sock"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(path))
        connection.sendall(json.dumps(request).encode() + b"\n")
        for line in connection.makefile():
            answer = json.loads(line)
            if answer["reply"] != "progress":
                return answer
    return None


def test_another_program_goes_on(mount, bucket):
    """`pail upgrade` under a program that reads, writes, makes and renames, holds locks, and stands in a directory."""
    content = pattern(3_000_000, "read")
    bucket.put("read", content)
    bucket.put("deep/er/file", content)
    mount.start(*OPTIONS)
    reader, writer = os.open(mount.path / "read", os.O_RDONLY), os.open(mount.path / "written", os.O_RDWR | os.O_CREAT)
    fcntl.flock(reader, fcntl.LOCK_EX)
    fcntl.lockf(writer, fcntl.LOCK_EX)
    # Somebody else stands in a directory.
    standing = subprocess.Popen(["sh", "-c", "while read line; do ls | tr '\\n' ' '; cat file | wc -c; pwd; done"],
                                cwd=mount.path / "deep/er", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    wrong, rounds, done = [], [0], threading.Event()
    written = bytearray()

    def work():
        while not done.is_set():
            try:
                offset = rounds[0] * 4096 % 2_990_000
                assert os.pread(reader, 4096, offset) == content[offset:offset + 4096]
                piece = pattern(10_000, rounds[0])
                os.write(writer, piece)
                written.extend(piece)
                os.mkdir(mount.path / f"made{rounds[0]}")
                assert {"read", "deep", f"made{rounds[0]}"} <= set(os.listdir(mount.path))
                (mount.path / "new").write_bytes(b"x")
                os.rename(mount.path / "new", mount.path / f"made{rounds[0]}" / "renamed")
            except OSError as error:
                wrong.append((rounds[0], error))
            rounds[0] += 1

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for index in range(2):
            before, old = rounds[0], mount.status()
            wait_for(lambda: rounds[0] > before, 20, "the program works")
            program = _another(mount, f"pail{index}")
            said = _upgrade(mount, program).stdout
            new = mount.status()
            standing.stdin.write("\n")
            standing.stdin.flush()
            assert [standing.stdout.readline() for _ in range(2)] == ["file 3000000\n", f"{mount.path}/deep/er\n"]
            assert new["program"] == str(program) and new["pid"] != old["pid"] and str(new["pid"]) in said, said
        before = rounds[0]
        wait_for(lambda: rounds[0] > before + 1, 20, "the program goes on")
        # Whom the kernel has given a lock keeps it.
        other = os.open(mount.path / "read", os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(other)
    finally:
        done.set()
        worker.join()
    assert not wrong, (wrong[:5], len(wrong))
    os.fsync(writer)
    assert sha256_of(bucket.get("written")) == sha256_of(written)
    os.close(reader)
    os.close(writer)
    standing.communicate()
    assert all((mount.path / f"made{index}/renamed").read_bytes() == b"x" for index in range(rounds[0]))
    mount.stop()
    mount.wait_until_no_daemon()


@pytest.mark.parametrize("script", ["exit 3", "[ $1 = --version ] || exit 0", "[ $1 = --version ] || kill -9 $$"],
                         ids=["no version", "ends at once", "is killed at once"])
def test_a_program_that_does_not_serve(mount, bucket, script):
    """The earlier program goes on, with all that was open and pending."""
    content = pattern(300_000, "read")
    bucket.put("read", content)
    mount.start(*OPTIONS)
    reader, writer = os.open(mount.path / "read", os.O_RDONLY), os.open(mount.path / "written", os.O_RDWR | os.O_CREAT)
    os.write(writer, b"one ")
    old = mount.status()
    bad = mount.scratch / "bad"
    bad.write_text(f"#!/bin/sh\n{script}\n")
    bad.chmod(0o755)
    answer = _ask(mount, {"version": 1, "request": "upgrade", "program": str(bad)})
    if script == "exit 3":
        assert answer["reply"] == "error" and "code 3" in answer["error"]["message"], answer
        assert mount.status()["pid"] == old["pid"]
    else:
        assert answer["reply"] == "done", answer
        wait_for(lambda: _is_replaced(mount, old["pid"]), 30, "the earlier program serves again")
        assert mount.status()["program"] == old["program"]
    os.write(writer, b"two")
    os.fsync(writer)
    assert bucket.get("written") == b"one two" and os.pread(reader, 400_000, 0) == content
    os.close(reader)
    os.close(writer)
    mount.stop()
    mount.wait_until_no_daemon()


def test_who_cannot_hand_over(mount):
    """Without a supervisor a new program needs a new mount, and that is said."""
    mount.start()
    pid = mount.status()["pid"]
    result = _upgrade(mount, mount.tool.program, check=False)
    assert result.code == 1 and "--supervised" in result.stderr and mount.status()["pid"] == pid, str(result)
    mount.stop()
