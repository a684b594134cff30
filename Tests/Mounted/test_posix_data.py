"""POSIX, call by call: times, contents, extended attributes, open files without a name, and locks.

As in test_posix.py, the outcome on the local disk (ext4) is what is expected.
"""

import ctypes
import errno
import fcntl
import mmap
import os
import socket
import stat
import struct
import time

import pytest
from harness.arena import KINDS, as_user, make, outcome
from harness.processes import Forked
from test_posix import LIBC, compare, rename

pytestmark = [
    pytest.mark.actors("root"), pytest.mark.first_server, pytest.mark.needs("pail"), pytest.mark.no_compare,
    pytest.mark.mount_options("--allow-other"), pytest.mark.deadline(120),
]

KEEP_SIZE, PUNCH_HOLE, COLLAPSE, ZERO_RANGE = 1, 2, 8, 16
OFD_SETLK, OFD_GETLK = 37, 36


def fallocate(descriptor, mode, offset, length):
    """fallocate(2), which Python has without the mode only."""
    if LIBC.fallocate(descriptor, mode, ctypes.c_long(offset), ctypes.c_long(length)) != 0:
        raise OSError(ctypes.get_errno(), "fallocate")


def test_which_times_move(mnt, scratch):
    """After each call: which of the times of the file and of its directory have changed."""
    def write(path):
        with open(path, "r+b") as file:
            file.write(b"x")

    actions = {
        "write": write, "truncate": lambda path: os.truncate(path, 3), "chmod": lambda path: os.chmod(path, 0o600),
        "chown": lambda path: os.chown(path, 1, 1), "utime": os.utime,
        "set times": lambda path: os.utime(path, ns=(5, 6)),
        "setxattr": lambda path: os.setxattr(path, "user.x", b"1"), "unlink": os.unlink,
        "rename": lambda path: os.rename(path, path + "2"),
        "create beside": lambda path: os.close(os.open(path + "2", os.O_CREAT | os.O_WRONLY)),
        "mkdir beside": lambda path: os.mkdir(path + "2"),
        "symlink beside": lambda path: os.symlink("x", path + "2"),
        "mkfifo beside": lambda path: os.mkfifo(path + "2"),
        "stat": os.stat, "truncate to the same": lambda path: os.truncate(path, 7),
    }

    def times(path):
        status = os.lstat(path)
        return status.st_mtime_ns, status.st_ctime_ns

    def group(arena):
        for name, action in actions.items():
            place = arena.fresh()
            path = make(f"{place}/file", "file")
            for each in (path, place):
                os.utime(each, ns=(10**18, 10**18))
            time.sleep(0.01)
            before = outcome(times, path), times(place)
            action(path)
            after = outcome(times, path if os.path.lexists(path) else path + "2"), times(place)
            arena.note(f"{name}: file", lambda: [a != b for a, b in zip(before[0], after[0])])
            arena.note(f"{name}: directory", lambda: [a != b for a, b in zip(before[1], after[1])])
        path = make(arena.fresh() + "/file", "file")
        for label, stamp in {"zero": 0, "negative": -(10**9) - 1, "nanoseconds": 1234567890123456789,
                             "far": 2**33 * 10**9 + 7}.items():
            arena.note(f"keep {label}", lambda: (os.utime(path, ns=(stamp, stamp)), os.stat(path).st_mtime_ns))
            arena.note(f"keep {label}: access", lambda: os.stat(path).st_atime_ns)
    compare(mnt, scratch, group)


def test_changes_of_every_kind(mnt, scratch):
    actions = {
        "chmod": lambda path: os.chmod(path, 0o604), "chown": lambda path: os.chown(path, 5, 6),
        "lchown": lambda path: os.lchown(path, 5, 6), "truncate": lambda path: os.truncate(path, 2),
        "extend": lambda path: os.truncate(path, 20), "truncate below zero": lambda path: os.truncate(path, -1),
        "utime": lambda path: os.utime(path, (1, 2)),
        "lutime": lambda path: os.utime(path, (1, 2), follow_symlinks=False), "readlink": os.readlink,
        "list": lambda path: sorted(os.listdir(path)) and None,
        "setxattr": lambda path: os.setxattr(path, "user.x", b"1", follow_symlinks=False),
        "getxattr": lambda path: os.getxattr(path, "user.x", follow_symlinks=False),
        "listxattr": lambda path: os.listxattr(path, follow_symlinks=False),
        "removexattr": lambda path: os.removexattr(path, "user.x", follow_symlinks=False),
    }

    def facts(path):
        status = os.lstat(path)
        size = status.st_size if stat.S_ISREG(status.st_mode) else None
        return oct(status.st_mode), status.st_uid, status.st_gid, size, status.st_rdev

    def group(arena):
        for kind in KINDS:
            for name, action in actions.items():
                path = make(arena.fresh() + "/file", kind)
                arena.note(f"{name} {kind}", action, path)
                arena.note(f"{name} {kind}: facts", facts, path)
    compare(mnt, scratch, group)


def test_contents(mnt, scratch):
    def group(arena):
        path = make(arena.fresh() + "/file", "file")

        def content():
            with open(path, "rb") as file:
                return file.read()

        with open(path, "r+b", buffering=0) as file:
            number = file.fileno()
            for label, action in {
                "pwrite": lambda: os.pwrite(number, b"XY", 2), "pwrite behind": lambda: os.pwrite(number, b"end", 20),
                "pread": lambda: os.pread(number, 100, 0), "pread behind": lambda: os.pread(number, 1, 100),
                "write nothing": lambda: os.pwrite(number, b"", 500), "shorten": lambda: os.ftruncate(number, 10),
                "lengthen": lambda: os.ftruncate(number, 15), "vector": lambda: os.pwritev(number, [b"a", b"bc"], 5),
                "negative": lambda: os.pwrite(number, b"x", -1), "seek": lambda: os.lseek(number, 3, os.SEEK_END),
                "seek before": lambda: os.lseek(number, -30, os.SEEK_END),
                "too far": lambda: os.ftruncate(number, 2**63 - 1),
                "allocate": lambda: fallocate(number, 0, 5, 20),
                "keep size": lambda: fallocate(number, KEEP_SIZE, 0, 99),
                "punch": lambda: fallocate(number, PUNCH_HOLE | KEEP_SIZE, 2, 6),
                "punch behind": lambda: fallocate(number, PUNCH_HOLE | KEEP_SIZE, 20, 60),
                "punch without": lambda: fallocate(number, PUNCH_HOLE, 2, 6),
                "zero": lambda: fallocate(number, ZERO_RANGE, 10, 30),
                "zero keep": lambda: fallocate(number, ZERO_RANGE | KEEP_SIZE, 35, 30),
                "no length": lambda: fallocate(number, 0, 0, 0), "below": lambda: fallocate(number, 0, -1, 5),
                "sync": lambda: os.fsync(number), "data sync": lambda: os.fdatasync(number),
                "advise": lambda: os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED),
            }.items():
                arena.note(label, action)
                arena.note(f"{label}: content", content)
        for mode, flags in (("read only", os.O_RDONLY), ("write only", os.O_WRONLY)):
            number = os.open(path, flags)
            arena.note(f"read of {mode}", os.pread, number, 1, 0)
            arena.note(f"write of {mode}", os.pwrite, number, b"z", 0)
            arena.note(f"truncate of {mode}", os.ftruncate, number, 9)
            arena.note(f"allocate of {mode}", fallocate, number, 0, 0, 12)
            os.close(number)
        arena.note("in the end", content)
        with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
            mapped[3:6] = b"map"
            mapped.flush()
            arena.note("mapped", content)
        appender = os.open(path, os.O_WRONLY | os.O_APPEND)
        arena.note("append", os.pwrite, appender, b"tail", 0)
        os.close(appender)
        arena.note("appended", content)
        directory = os.open(os.path.dirname(path), os.O_RDONLY)
        arena.note("read of a directory", os.read, directory, 1)
        arena.note("sync of a directory", os.fsync, directory)
        os.close(directory)
    compare(mnt, scratch, group)


def test_open_files_without_a_name(mnt, scratch):
    def group(arena):
        for how in ("unlink", "replace"):
            place = arena.fresh()
            path = make(f"{place}/file", "file")
            with open(path, "r+b", buffering=0) as file:
                number = file.fileno()
                if how == "unlink":
                    os.unlink(path)
                else:
                    os.rename(make(f"{place}/new", "directory" if how == "directory" else "file"), path)
                for label, action in {
                    "links": lambda: os.fstat(number).st_nlink, "size": lambda: os.fstat(number).st_size,
                    "read": lambda: os.pread(number, 100, 0), "write": lambda: os.pwrite(number, b"more", 20),
                    "size after": lambda: os.fstat(number).st_size, "cut": lambda: os.ftruncate(number, 5),
                    "read after": lambda: os.pread(number, 100, 0), "chmod": lambda: os.fchmod(number, 0o600),
                    "mode": lambda: oct(os.fstat(number).st_mode), "chown": lambda: os.fchown(number, 3, 4),
                    "owner": lambda: os.fstat(number).st_uid, "utime": lambda: os.utime(number, (1, 2)),
                    "time": lambda: os.fstat(number).st_mtime, "setxattr": lambda: os.setxattr(number, "user.a", b"b"),
                    "getxattr": lambda: os.getxattr(number, "user.a"), "sync": lambda: os.fsync(number),
                    "allocate": lambda: fallocate(number, 0, 0, 30), "lock": lambda: fcntl.lockf(file, fcntl.LOCK_EX),
                    "again": lambda: os.close(os.open(f"/proc/self/fd/{number}", os.O_RDWR)),
                }.items():
                    arena.note(f"{how}: {label}", action)
            arena.note(f"{how}: left", lambda: sorted(os.listdir(place)))
        gone = arena.fresh()
        number = os.open(gone, os.O_RDONLY)
        os.rmdir(gone)
        arena.note("removed directory: links", lambda: os.fstat(number).st_nlink)
        arena.note("removed directory: list", os.listdir, number)
        arena.note("removed directory: create", lambda: os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=number))
        arena.note("removed directory: mkdir", lambda: os.mkdir("x", dir_fd=number))
        os.close(number)
    compare(mnt, scratch, group)


def test_extended_attributes(mnt, scratch):
    def group(arena):
        path = make(arena.fresh() + "/file", "file")
        values = {
            "text": b"plain", "empty": b"", "binary": bytes(range(256)), "zeros": bytes(9), "utf-8": "ü日".encode(),
            "line": b"a\nb\r\n", "blank": b"  two  ", "word": b"=?UTF-8?B?YQ==?=", "long": b"v" * 600,
        }
        names = ["user.a", "user.UPPER", "user.two words", "user.a.b-c_d", "user.mode", "user.ü", "user." + "n" * 200,
                 "user.pail-xattr-a", "user.\udcff"]
        for label, value in values.items():
            arena.note(f"set {label}", os.setxattr, path, "user.value", value)
            arena.note(f"get {label}", os.getxattr, path, "user.value")
        for name in names:
            arena.note(f"set {name!r}", os.setxattr, path, name, b"x")
            arena.note(f"get {name!r}", os.getxattr, path, name)
            arena.note(f"list {name!r}", lambda: sorted(os.listxattr(path)))
            arena.note(f"remove {name!r}", os.removexattr, path, name)
        for label, action in {
            "create": lambda: os.setxattr(path, "user.c", b"1", os.XATTR_CREATE),
            "create again": lambda: os.setxattr(path, "user.c", b"1", os.XATTR_CREATE),
            "replace": lambda: os.setxattr(path, "user.c", b"2", os.XATTR_REPLACE),
            "replace nothing": lambda: os.setxattr(path, "user.d", b"2", os.XATTR_REPLACE),
            "get missing": lambda: os.getxattr(path, "user.d"),
            "remove missing": lambda: os.removexattr(path, "user.d"),
            "no name": lambda: os.setxattr(path, "user.", b"x"), "no namespace": lambda: os.setxattr(path, "x", b"x"),
            "a long name": lambda: os.setxattr(path, "user." + "n" * 251, b"x"),
            "both flags": lambda: os.setxattr(path, "user.e", b"x", 3),
            "too little room": lambda: LIBC.getxattr(os.fsencode(path), b"user.c", ctypes.create_string_buffer(1), 0),
            "by another": lambda: as_user(20001, 20001, os.setxattr, path, "user.c", b"3"),
            "read by another": lambda: as_user(20001, 20001, os.getxattr, path, "user.c"),
            "too long": lambda: os.setxattr(path, "user.f", bytes(70_000)),
        }.items():
            arena.note(label, action)
        directory = arena.fresh()
        arena.note("of a directory", os.setxattr, directory, "user.a", b"d")
        arena.note("of a directory: get", os.getxattr, directory, "user.a")
        for name in ("system.posix_acl_access", "system.posix_acl_default", "trusted.a", "security.a"):
            arena.note(f"get {name}", os.getxattr, path, name)
    compare(mnt, scratch, group, {
        # Access control lists are refused (and would be ENODATA where there is none).
        "get system.posix_acl_access": "ENOTSUP", "get system.posix_acl_default": "ENOTSUP",
        "no name": "ENOTSUP",
        # XATTR_CREATE with XATTR_REPLACE is a contradiction; ext4 looks at one of them.
        "both flags": "EINVAL",
    })


def lock_call(descriptor, command, kind, start, length):
    """fcntl(2) with a struct flock; what F_GETLK finds, as the type."""
    packed = struct.pack("hhqqixxxx", kind, os.SEEK_SET, start, length, 0)
    return struct.unpack("hhqqixxxx", fcntl.fcntl(descriptor, command, packed))[0]


def test_locks(mnt, scratch):
    """Who gets which lock beside another process's, and what ends one."""
    def group(arena):
        path = make(arena.fresh() + "/file", "file")
        ways = {
            "flock": (lambda file, kind: fcntl.flock(file, kind | fcntl.LOCK_NB), fcntl.LOCK_SH, fcntl.LOCK_EX),
            "fcntl": (lambda file, kind: lock_call(file.fileno(), fcntl.F_SETLK, kind, 0, 10), fcntl.F_RDLCK,
                      fcntl.F_WRLCK),
            "OFD": (lambda file, kind: lock_call(file.fileno(), OFD_SETLK, kind, 0, 10), fcntl.F_RDLCK, fcntl.F_WRLCK),
        }

        def attempt(way, kind):
            with open(path, "r+b") as file:
                return outcome(lambda: ways[way][0](file, kind) and None)

        for held, *held_kinds in ((name, way[1], way[2]) for name, way in ways.items()):
            for held_kind in held_kinds:
                for wanted, (_, shared, exclusive) in ways.items():
                    for wanted_kind in (shared, exclusive):
                        label = f"{held} {held_kind}, then {wanted} {wanted_kind}"

                        def beside(wanted=wanted, wanted_kind=wanted_kind):
                            return Forked(attempt, wanted, wanted_kind).result()

                        with open(path, "r+b") as file:
                            ways[held][0](file, held_kind)
                            arena.note(f"{label}: another process", beside)
                            arena.note(f"{label}: this process", attempt, wanted, wanted_kind)
                            arena.note(f"{label}: a second open closed", beside)
                        arena.note(f"{label}: closed", beside)
        with open(path, "r+b") as file:
            lock_call(file.fileno(), fcntl.F_SETLK, fcntl.F_WRLCK, 100, 50)
            for start, length in ((0, 100), (0, 101), (99, 1), (100, 1), (149, 1), (150, 1), (150, 0), (0, 0)):
                arena.note(f"range {start}+{length}", lambda: Forked(lambda: outcome(
                    lambda: lock_call(os.open(path, os.O_RDWR), fcntl.F_SETLK, fcntl.F_WRLCK, start, length))).result())
            arena.note("who holds it", lambda: Forked(
                lambda: lock_call(os.open(path, os.O_RDWR), fcntl.F_GETLK, fcntl.F_RDLCK, 0, 0)).result())
        duplicate = os.open(path, os.O_RDWR)
        fcntl.flock(duplicate, fcntl.LOCK_EX)
        child = os.dup(duplicate)
        os.close(duplicate)
        arena.note("a duplicate keeps flock", lambda: Forked(attempt, "flock", fcntl.LOCK_EX).result())
        os.close(child)
        arena.note("the last close ends it", lambda: Forked(attempt, "flock", fcntl.LOCK_EX).result())
    compare(mnt, scratch, group)


def test_a_killed_holder_loses_its_lock(mnt):
    path = make(f"{mnt}/file", "file")

    def hold():
        file = open(path, "r+b")
        fcntl.lockf(file, fcntl.LOCK_EX)
        fcntl.flock(file, fcntl.LOCK_EX)
        os.kill(os.getpid(), 9)

    pid = os.fork()
    if pid == 0:
        hold()
    os.waitpid(pid, 0)
    with open(path, "r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_fifos_and_sockets_work(mnt, mount):
    os.mkfifo(mnt / "fifo")
    reader = Forked(lambda: open(mnt / "fifo").read())
    with open(mnt / "fifo", "w") as writer:
        writer.write("through the pipe")
    assert reader.result() == "through the pipe"
    os.chdir(mnt)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        listener.listen()
        client = Forked(_talk, "socket")
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"hello")
        assert client.result() == b"hello"
    os.chdir("/")
    os.mknod(mnt / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.chmod(mnt / "null", 0o640)
    os.rename(mnt / "null", mnt / "moved")
    mount.remount()
    for name, kind in (("fifo", stat.S_IFIFO), ("socket", stat.S_IFSOCK), ("moved", stat.S_IFCHR)):
        assert stat.S_IFMT(os.lstat(mnt / name).st_mode) == kind, name
    status = os.lstat(mnt / "moved")
    assert (status.st_rdev, stat.S_IMODE(status.st_mode)) == (os.makedev(1, 3), 0o640)


def _talk(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        return client.recv(100)


def test_temporary_files_without_a_name_are_refused(mnt):
    """O_TMPFILE: libfuse 3.14 has no operation for it, so that programs take their other way."""
    with pytest.raises(OSError) as caught:
        os.open(mnt, os.O_TMPFILE | os.O_RDWR)
    assert caught.value.errno == errno.EOPNOTSUPP


def test_no_request_for_statfs(mnt):
    status = os.statvfs(mnt)
    assert 0 < status.f_bfree <= status.f_blocks < 2**62 and status.f_blocks * status.f_frsize < 2**63
    assert status.f_files > 0 and status.f_namemax == 255


def test_renaming_over_an_open_file_with_a_lock(mnt):
    make(f"{mnt}/a", "file")
    make(f"{mnt}/b", "file")
    with open(mnt / "b", "r+b") as held:
        fcntl.lockf(held, fcntl.LOCK_EX)
        rename(f"{mnt}/a", f"{mnt}/b")
        with open(mnt / "b", "r+b") as new:
            assert Forked(lambda: outcome(lambda: fcntl.lockf(new, fcntl.LOCK_EX | fcntl.LOCK_NB))).result() is None
