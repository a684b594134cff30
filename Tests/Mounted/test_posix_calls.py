"""POSIX, call by call: sizes, opening, names and times, what is busy or read-only, bad addresses, the longest names.

As in test_posix.py, the outcome on the local disk (ext4) is what is expected.
"""

import contextlib
import ctypes
import itertools
import mmap
import os
import resource
import shutil
import signal
import subprocess

import pytest
from harness.arena import KINDS, Acting, Arena, Here, kind_and_mode, make, opened, rest
from harness.calls import CALLS, HERE, LIBC, checked, utimensat
from harness.processes import run
from harness.streams import DirectoryStream
from test_posix import compare, conclude, rename
from test_posix_access import COMMON_KINDS, USERS, facts, owned
from test_posix_data import KEEP_SIZE, PUNCH_HOLE, fallocate

pytestmark = [
    pytest.mark.actors("root"), pytest.mark.first_server, pytest.mark.needs("pail"), pytest.mark.no_compare,
    pytest.mark.mount_options("--allow-other"), pytest.mark.deadline(240),
]

FAR = 2**63 - 1


def content(path):
    with open(path, "rb") as file:
        return file.read()


@contextlib.contextmanager
def a_limit_of(size):
    """Files of this process may not become larger, and it is told by EFBIG alone."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@contextlib.contextmanager
def running(path):
    """A program at `path` that runs."""
    shutil.copyfile("/bin/sleep", path)
    os.chmod(path, 0o755)
    program = subprocess.Popen([path, "600"])
    try:
        yield
    finally:
        program.kill()
        program.wait()


# Sizes

def test_truncate_and_ftruncate(mnt, scratch):
    ways = {
        "truncate": lambda path, size: os.truncate(path, size),
        "ftruncate": lambda path, size: with_descriptor(path, os.O_WRONLY, os.ftruncate, size),
        "ftruncate of one to read": lambda path, size: with_descriptor(path, os.O_RDONLY, os.ftruncate, size),
        "ftruncate of a path": lambda path, size: with_descriptor(path, os.O_PATH, os.ftruncate, size),
        "ftruncate of one to append": lambda path, size: with_descriptor(path, os.O_WRONLY | os.O_APPEND,
                                                                         os.ftruncate, size),
    }
    sizes = {"nothing": 0, "less": 5000, "the same": 10_000, "one more": 10_001, "a hole": 1_000_000,
             "below zero": -1, "far below zero": -2**63, "too far": FAR, "nearly too far": FAR - 4096}

    def group(arena):
        place = arena.fresh(0o777)
        cases = list(itertools.product(ways, sizes))
        for way, size in cases:
            with open(f"{place}/{way}-{size}", "wb") as file:
                file.write(b"0123456789" * 1000)
        rest()
        for way, size in cases:
            path, label = f"{place}/{way}-{size}", f"{way} to {size}"
            arena.watch(label, [path], ways[way], path, sizes[size])
            arena.note(f"{label}: size", lambda: os.stat(path).st_size)
            arena.note(f"{label}: content", lambda: content(path).rstrip(b"\0") == (b"0123456789" * 1000)[
                :max(os.stat(path).st_size, 0)])
        for mode, (user, (uid, gid, groups)) in itertools.product((0o200, 0o020, 0o002, 0o577, 0o757, 0o775),
                                                                  USERS.items()):
            path = owned(f"{place}/{mode:o}-{user}", "file", mode=mode)
            rest()
            with Acting(uid, gid, groups):
                arena.watch(f"truncate by {user} of {mode:o}", [path], os.truncate, path, 3)
        for kind in KINDS:
            path = make(f"{place}/{kind}", kind)
            arena.note(f"truncate of {kind}", os.truncate, path, 0)
            if kind in ("file", "directory", "fifo"):
                flag = os.O_RDONLY if kind == "directory" else os.O_RDWR
                for size in (0, -1):
                    arena.note(f"ftruncate of {kind} to {size}", with_descriptor, path, flag, os.ftruncate, size)
                    arena.note(f"fallocate of {kind} to {size}", with_descriptor, path, flag, os.posix_fallocate, 0,
                               size)
        arena.note("ftruncate of nothing", os.ftruncate, 999, 0)
        path = make(f"{place}/limited", "file")
        with a_limit_of(1000):
            arena.note("truncate to the limit", os.truncate, path, 1000)
            arena.note("truncate beyond the limit", os.truncate, path, 1001)
            arena.note("ftruncate beyond the limit", with_descriptor, path, os.O_RDWR, os.ftruncate, 1001)
            arena.note("write beyond the limit", with_descriptor, path, os.O_RDWR, os.pwrite, b"x", 1000)
            arena.note("write over the limit", with_descriptor, path, os.O_RDWR, os.pwrite, b"xyz", 998)
            arena.note("allocate beyond the limit", with_descriptor, path, os.O_RDWR, os.posix_fallocate, 999, 2)
        arena.note("limited: size", lambda: os.stat(path).st_size)
    compare(mnt, scratch, group)


def with_descriptor(path, flags, action, *arguments):
    """Makes a call on an open file. The order of arguments is that of the functions of `os`."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    try:
        return action(descriptor, *arguments)
    finally:
        os.close(descriptor)


def test_posix_fallocate(mnt, scratch):
    ranges = {**WITHOUT_A_CHANGE, "over the end": (5, 10), "behind": (20, 10), "nothing": (0, 0),
              "below zero": (-1, 5), "less than nothing": (0, -1), "too far": (FAR - 1, 2), "beyond": (1, FAR)}

    def group(arena):
        place = arena.fresh(0o777)
        for name in ranges:
            make(f"{place}/{name}", "file")
        for kind in COMMON_KINDS:
            make(f"{place}/{kind}", kind)
        rest()
        for name, (offset, length) in ranges.items():
            path, call = f"{place}/{name}", (with_descriptor, os.O_WRONLY, os.posix_fallocate, offset, length)
            if name in WITHOUT_A_CHANGE:
                arena.note(name, call[0], path, *call[1:])
            else:
                arena.watch(name, [path], call[0], path, *call[1:])
            arena.note(f"{name}: content", content, path)
        for flag in (os.O_RDONLY, os.O_PATH, os.O_RDWR | os.O_APPEND):
            arena.note(f"open with {flag:o}", with_descriptor, f"{place}/file", flag, os.posix_fallocate, 0, 20)
        for kind, length in itertools.product(COMMON_KINDS, (0, 1)):
            flag = os.O_RDONLY if kind in ("directory", "symlink") else os.O_RDWR
            arena.note(f"{length} of {kind}", with_descriptor, f"{place}/{kind}", flag, fallocate, 0, 0, length)
        ends = os.pipe()
        arena.note("of a pipe", os.posix_fallocate, ends[1], 0, 1)
        arena.note("of nothing", os.posix_fallocate, 999, 0, 1)
        for each in ends:
            os.close(each)
        for user, name in itertools.product(("root", "other"), ("extend", "punch")):
            change_set_id_file(arena, place, user, name)
    compare(mnt, scratch, group)


def test_posix_fallocate_without_a_change(mnt, scratch):
    """The times move, and the set-id bits go, of a file that has room already, and of one whose size is kept."""
    def group(arena):
        place = arena.fresh(0o777)
        for name in WITHOUT_A_CHANGE:
            make(f"{place}/{name}", "file")
        rest()
        for name, (offset, length) in WITHOUT_A_CHANGE.items():
            path = f"{place}/{name}"
            arena.watch(name, [path], with_descriptor, path, os.O_WRONLY, os.posix_fallocate, offset, length)
        for user in ("root", "other"):
            change_set_id_file(arena, place, user, "keep")
    compare(mnt, scratch, group)


WITHOUT_A_CHANGE = {"inside": (2, 3), "to the end": (0, 7)}


def change_set_id_file(arena, place, user, name):
    mode = {"extend": 0, "keep": KEEP_SIZE, "punch": PUNCH_HOLE | KEEP_SIZE}[name]
    path = owned(f"{place}/{user}-{name}", "file", mode=0o6777)
    with Acting(*{"root": (0, 0, ()), **USERS}[user]):
        arena.note(f"{name} a set-ID file by {user}", with_descriptor, path, os.O_WRONLY, fallocate, mode, 0, 30)
    arena.note(f"{name} a set-ID file by {user}: mode", kind_and_mode, path)


def test_a_write_too_far_leaves_the_file(mnt, scratch):
    def group(arena):
        path = make(arena.fresh() + "/file", "file")
        number = os.open(path, os.O_RDWR)
        for at in (FAR - 10, FAR - 2**20, 2**62):
            arena.note(f"write at {at:x}", os.pwrite, number, b"x", at)
        arena.note("sync", os.fsync, number)
        arena.note("close", os.close, number)
        arena.note("content", content, path)
        # Else the mount could not be unmounted.
        os.truncate(path, 0)
    compare(mnt, scratch, group)


def test_copies_within_the_kernel(mnt, scratch):
    """copy_file_range, sendfile and splice: ranges inside, over and behind the end, onto themselves, by each way to open."""
    text = bytes(range(256)) * 40

    def copy(source, target, count, at, to, flags=os.O_RDWR):
        first, second = os.open(source, os.O_RDONLY), os.open(target, flags)
        try:
            return os.copy_file_range(first, second, count, at, to)
        finally:
            os.close(first)
            os.close(second)

    def group(arena):
        place = arena.fresh()
        source = f"{place}/source"
        with open(source, "wb") as file:
            file.write(text)
        ranges = {"all": (len(text), 0, 0), "inside": (1000, 37, 4099), "behind the target": (100, 0, 30_000),
                  "over the end": (5000, 9000, 1), "at the end": (10, len(text), 0), "behind the end": (10, 20_000, 0),
                  "nothing": (0, 5, 5), "before": (5, -1, 0), "much": (2**40, 0, 0)}
        for name, (count, at, to) in ranges.items():
            target = make(f"{place}/{name}", "file")
            rest()
            arena.watch(f"copy {name}", [target], copy, source, target, count, at, to)
            arena.note(f"copy {name}: content", content, target)
        for name, (count, at, to) in {"apart": (100, 0, 5000), "over itself": (100, 0, 50), "beside": (100, 0, 100),
                                      "onto the same": (10, 3, 3), "behind its end": (100, 0, len(text) + 10)}.items():
            target = f"{place}/self"
            with open(target, "wb") as file:
                file.write(text)
            arena.note(f"within a file, {name}", copy, target, target, count, at, to)
            arena.note(f"within a file, {name}: content", content, target)
        for flag in (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY | os.O_APPEND, os.O_PATH):
            arena.note(f"to one open with {flag:o}", copy, source, f"{place}/all", 5, 0, 0, flag)
        for kind in ("directory", "fifo"):
            make(f"{place}/{kind}", kind)
            arena.note(f"from a {kind}", lambda: with_descriptor(f"{place}/{kind}", os.O_RDONLY, lambda number: (
                with_descriptor(f"{place}/all", os.O_WRONLY, lambda other: os.copy_file_range(number, other, 5)))))
        for user, (uid, gid, groups) in {"root": (0, 0, ()), "other": USERS["other"]}.items():
            path = owned(f"{place}/set-id-{user}", "file", mode=0o6777)
            with Acting(uid, gid, groups):
                arena.note(f"to a set-ID file by {user}", copy, source, path, 100, 0, 0)
            arena.note(f"to a set-ID file by {user}: mode", kind_and_mode, path)
        with open(source, "rb") as first, open(f"{place}/sent", "w+b") as second:
            for at, count in ((0, 100), (50, 5000), (10_000, 1000), (20_000, 5), (0, 2**31)):
                arena.note(f"sendfile of {count} at {at}", os.sendfile, second.fileno(), first.fileno(), at, count)
            arena.note("sendfile: content", content, f"{place}/sent")
            ends = os.pipe()
            arena.note("splice to a pipe", os.splice, first.fileno(), ends[1], 4000, 10)
            arena.note("splice from a pipe", os.splice, ends[0], second.fileno(), 4000, None, 3)
            arena.note("splice: content", content, f"{place}/sent")
            for each in ends:
                os.close(each)
    compare(mnt, scratch, group)


def test_what_a_directory_tells_of_its_entries(mnt, scratch):
    """The type and the number that come with a name are those of stat."""
    def group(arena):
        place = arena.fresh()
        for kind in KINDS:
            make(f"{place}/{kind}", kind)
        with DirectoryStream(place) as stream:
            arena.note("types", lambda: sorted(stream.kinds().items()))
        arena.note("numbers", lambda: all(entry.inode() == os.lstat(entry.path).st_ino for entry in os.scandir(place)))
        number = os.open(place, os.O_RDONLY)
        arena.note("read", os.read, number, 10)
        arena.note("seek to the beginning", os.lseek, number, 0, os.SEEK_SET)
        arena.note("seek before it", os.lseek, number, -1, os.SEEK_SET)
        arena.note("mmap", lambda: mmap.mmap(number, 10, prot=mmap.PROT_READ) and None)
        os.close(number)
    compare(mnt, scratch, group)


# Opening

def test_open(mnt, scratch):
    def group(arena):
        flags = {
            "exclusive": os.O_WRONLY | os.O_CREAT | os.O_EXCL, "create": os.O_WRONLY | os.O_CREAT,
            "create without following": os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW,
            "create a directory": os.O_RDONLY | os.O_CREAT | os.O_DIRECTORY,
            "cut without following": os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW, "read and cut": os.O_RDONLY | os.O_TRUNC,
            "directory to write": os.O_WRONLY | os.O_DIRECTORY, "synchronous": os.O_WRONLY | os.O_SYNC,
            "data synchronous": os.O_WRONLY | os.O_DSYNC, "neither to read nor to write": 3,
            "close on exec": os.O_RDONLY | os.O_CLOEXEC, "exclusive alone": os.O_RDWR | os.O_EXCL,
        }
        for kind, (name, flag) in itertools.product(KINDS, flags.items()):
            if kind in ("character", "block") and "exclusive" != name:
                continue  # a mount has no devices: test_posix.py
            place = arena.fresh()
            path = make(f"{place}/entry", kind)
            arena.note(f"{name} {kind}", opened, path, flag | os.O_NONBLOCK)
            arena.note(f"{name} {kind}: left", lambda: [(each, kind_and_mode(f"{place}/{each}"), os.lstat(
                f"{place}/{each}").st_size if each == "nowhere" else None) for each in sorted(os.listdir(place))])
            if kind in ("file", "directory", "symlink"):
                arena.note(f"{name} {kind} and a slash", opened, path + "/", flag | os.O_NONBLOCK)
        place = arena.fresh()
        for name in ("new/", "new/.", "new/..", ".", "..", "./", "missing/../new"):
            for flag in (os.O_RDONLY, os.O_WRONLY, os.O_CREAT | os.O_WRONLY, os.O_CREAT | os.O_EXCL | os.O_WRONLY):
                with Here(place):
                    arena.note(f"{name} with {flag:o}", opened, name, flag)
        # What a file that is made or cut has of times.
        for name in ("empty", "full"):
            make(f"{place}/{name}", "file")
        os.truncate(f"{place}/empty", 0)
        rest()
        for name, path, flag in (("cut", "full", os.O_WRONLY | os.O_TRUNC), ("cut nothing", "empty", os.O_RDWR |
                                 os.O_TRUNC), ("just open", "full", os.O_RDWR), ("open or create", "full", os.O_RDWR |
                                 os.O_CREAT), ("create", "new", os.O_RDWR | os.O_CREAT)):
            watched = [place] if name == "create" else [f"{place}/{path}", place]
            rest()
            arena.watch(f"times: {name}", watched, opened, f"{place}/{path}", flag)
        # Each write of a synchronous file is as far as fsync would bring it.
        for name, flag in (("O_SYNC", os.O_SYNC), ("O_DSYNC", os.O_DSYNC), ("O_DIRECT", os.O_DIRECT)):
            path = f"{place}/{name}"
            if name != "O_DIRECT":
                arena.note(f"{name}: write", lambda: with_descriptor(
                    path, os.O_RDWR | os.O_CREAT | flag, lambda number: [os.write(number, b"text") for _ in range(3)]))
                arena.note(f"{name}: content", content, path)
                arena.note(f"{name}: kept", lambda: with_descriptor(
                    path, os.O_RDWR | flag, lambda number: os.get_inheritable(number)))
        fifo = make(f"{place}/fifo", "fifo")
        arena.note("a FIFO without a reader", opened, fifo, os.O_WRONLY | os.O_NONBLOCK)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        arena.note("a FIFO with a reader", opened, fifo, os.O_WRONLY | os.O_NONBLOCK)
        os.close(reader)
        # O_APPEND writes at the end, wherever the descriptor is.
        path = make(f"{place}/log", "file")
        first, second = (os.open(path, os.O_RDWR | os.O_APPEND) for _ in range(2))
        for number in (first, second, first):
            os.lseek(number, 0, os.SEEK_SET)
            arena.note(f"append {len(arena.outcomes)}", os.write, number, b"line\n")
        arena.note("appended", content, path)
        arena.note("appended: position", os.lseek, second, 0, os.SEEK_CUR)
        for number in (first, second):
            os.close(number)
    compare(mnt, scratch, group)


def test_running_programs_are_busy(mnt, scratch):
    """ETXTBSY: a program that runs is not written to, and one that is open for writing does not run."""
    def group(arena):
        place = arena.fresh()
        path = f"{place}/program"
        with running(path):
            for name, flag in (("read", os.O_RDONLY), ("write", os.O_WRONLY), ("both", os.O_RDWR),
                               ("cut", os.O_WRONLY | os.O_TRUNC), ("append", os.O_WRONLY | os.O_APPEND),
                               ("create", os.O_WRONLY | os.O_CREAT), ("path", os.O_PATH)):
                arena.note(f"{name} while it runs", opened, path, flag)
            arena.note("truncate while it runs", os.truncate, path, 0)
            arena.note("chmod while it runs", os.chmod, path, 0o700)
            arena.note("chown while it runs", os.chown, path, 1, 1)
            arena.note("utime while it runs", os.utime, path, (1, 1))
            arena.note("setxattr while it runs", os.setxattr, path, "user.x", b"1")
            arena.note("size while it runs", lambda: os.stat(path).st_size == os.stat("/bin/sleep").st_size)
            arena.note("rename while it runs", os.rename, path, path + "2")
            arena.note("replace while it runs", os.rename, make(f"{place}/other", "file"), path + "2")
        with running(path):
            arena.note("unlink while it runs", os.unlink, path)
        shutil.copyfile("/bin/true", path)
        os.chmod(path, 0o755)
        for name, flag in (("read", os.O_RDONLY), ("write", os.O_WRONLY), ("append", os.O_WRONLY | os.O_APPEND)):
            descriptor = os.open(path, flag)
            arena.note(f"run while open to {name}", lambda: subprocess.run([path]).returncode)
            os.close(descriptor)
        arena.note("run", lambda: subprocess.run([path]).returncode)
        os.chmod(path, 0o644)
        arena.note("run without the right", lambda: subprocess.run([path]).returncode)
    compare(mnt, scratch, group)


# Names and times

def test_what_a_rename_moves(mnt, scratch):
    """The times of both directories and of the file, its number and attributes, the directories' links."""
    def group(arena):
        cases = list(itertools.product(COMMON_KINDS + ["socket"], ("within", "across", "replacing", "refused")))
        places = {}
        for kind, way in cases:
            old, new = places[kind, way] = arena.fresh(0o777), arena.fresh(0o777)
            owned(f"{old}/entry", kind)
            os.utime(f"{old}/entry", ns=(10**18, 10**18 + 7), follow_symlinks=False)
            if way == "replacing":
                make(f"{new}/entry", "directory" if kind == "directory" else "file")
            if way == "refused":
                make(f"{new}/entry", "file" if kind == "directory" else "directory")
        rest()
        for kind, way in cases:
            old, new = places[kind, way]
            source, target = f"{old}/entry", f"{old}/moved" if way == "within" else f"{new}/entry"
            before = os.lstat(source)
            arena.watch(f"{kind} {way}", [old, new] + [source] * (way == "refused"), os.rename, source, target)
            arena.note(f"{kind} {way}: left", lambda: [sorted(os.listdir(each)) for each in (old, new)])
            after = os.lstat(source if way == "refused" else target)
            arena.note(f"{kind} {way}: the same file", lambda: before.st_ino == after.st_ino)
            arena.note(f"{kind} {way}: time of change moved", lambda: before.st_ctime_ns != after.st_ctime_ns)
            arena.note(f"{kind} {way}: facts", lambda: (after.st_mode, after.st_uid, after.st_gid, after.st_mtime_ns))
        # The names '.' and '..' lead where they should after a directory has moved.
        old, new = arena.fresh(), arena.fresh()
        make(make(f"{old}/a", "directory") + "/b", "directory")
        number = os.open(f"{old}/a/b", os.O_RDONLY)
        arena.note("a directory with another in it", os.rename, f"{old}/a", f"{new}/c")
        arena.note("its parent", lambda: os.path.samefile(f"{new}/c/..", new))
        arena.note("an open one", lambda: os.path.samestat(os.fstat(number), os.stat(f"{new}/c/b")))
        arena.note("an open one's parent", lambda: os.path.samestat(
            os.stat("..", dir_fd=number), os.stat(f"{new}/c")))
        arena.note("made in an open one", lambda: os.mkdir("d", dir_fd=number))
        arena.note("made in an open one: there", os.listdir, f"{new}/c/b")
        os.close(number)
        for flag in (0, 1):
            arena.note(f"a symlink to itself, {flag}", rename, make(f"{old}/l{flag}", "symlink"), f"{old}/l{flag}",
                       flag)
            arena.note(f"into a file, {flag}", rename, make(f"{old}/f{flag}", "file"), f"{old}/f{flag}/x", flag)
            arena.note(f"a parent onto its child, {flag}", rename, f"{new}/c", f"{new}/c/b", flag)
            arena.note(f"a child onto its parent, {flag}", rename, f"{new}/c/b", f"{new}/c", flag)
            for name in (".", "..", "b/.", "b/..", "b/"):
                arena.note(f"from {name}, {flag}", rename, f"{new}/c/{name}", f"{new}/x{len(arena.outcomes)}", flag)
                arena.note(f"to {name}, {flag}", rename, make(f"{new}/y{len(arena.outcomes)}", "directory"),
                           f"{new}/c/{name}", flag)
    compare(mnt, scratch, group)


def test_removing_moves_the_times_of_the_directory(mnt, scratch):
    def group(arena):
        removals = {"unlink": os.unlink, "rmdir": os.rmdir}
        places = {(kind, name): arena.fresh(0o777) for kind in KINDS for name in removals}
        for (kind, _), place in places.items():
            make(f"{place}/entry", kind)
        full = arena.fresh()
        make(make(f"{full}/directory", "directory") + "/entry", "file")
        rest()
        for (kind, name), place in places.items():
            arena.watch(f"{name} of {kind}", [place], removals[name], f"{place}/entry")
            arena.note(f"{name} of {kind}: links", lambda: os.stat(place).st_nlink >= 1)
        arena.watch("rmdir of a full one", [full, f"{full}/directory"], os.rmdir, f"{full}/directory")
        arena.watch("rmdir of one with a slash", [full], os.rmdir, make(f"{full}/slash", "directory") + "/")
        for name in (".", "..", "directory/.", "directory/..", "./directory"):
            with Here(full):
                arena.note(f"rmdir of {name}", os.rmdir, name)
        # A file that is open, and its name made again by another.
        path = make(f"{full}/open", "file")
        number = os.open(path, os.O_RDWR)
        os.unlink(path)
        arena.note("open: links", lambda: os.fstat(number).st_nlink)
        make(path, "directory")
        arena.note("open: written", os.pwrite, number, b"more", 7)
        arena.note("open: read", os.pread, number, 100, 0)
        os.close(number)
        arena.note("the new one", kind_and_mode, path)
    compare(mnt, scratch, group)


def test_losing_its_name_moves_the_time_of_change(mnt, scratch):
    def group(arena):
        for how, action in {"unlink": os.unlink, "replace": lambda path: os.rename(path + "2", path)}.items():
            path = make(arena.fresh() + "/file", "file")
            make(path + "2", "file")
            with open(path, "rb") as file:
                rest()
                before = os.fstat(file.fileno()).st_ctime_ns
                action(path)
                arena.note(how, lambda: os.fstat(file.fileno()).st_ctime_ns != before)
    compare(mnt, scratch, group)


def test_links_of_directories(mnt, scratch):
    def group(arena):
        place, other = arena.fresh(), arena.fresh()
        count = lambda: [os.stat(each).st_nlink for each in (place, other)]  # noqa: E731
        arena.note("empty", count)
        os.mkdir(f"{place}/a")
        make(f"{place}/file", "file")
        arena.note("mkdir", count)
        os.rename(f"{place}/a", f"{other}/a")
        arena.note("rename", count)
        os.rmdir(f"{other}/a")
        arena.note("rmdir", count)
    # How many directories are in one is known by listing it only.
    compare(mnt, scratch, group, {"mkdir": [2, 2], "rename": [2, 2]})


def test_symlinks_of_every_length(mnt, scratch):
    lengths = (1, 100, 255, 256, 1000, 1500, 4000, 4095, 4096)

    def group(arena):
        place = arena.fresh(0o777)
        for length in lengths:
            target, path = ("../" * 2000)[:length], f"{place}/{length}"
            arena.note(f"{length} bytes", os.symlink, target, path)
            arena.note(f"{length} bytes: read", lambda: os.readlink(path) == target)
            arena.note(f"{length} bytes: size", lambda: os.lstat(path).st_size)
            arena.note(f"{length} bytes: buffer too small", lambda: LIBC.readlink(
                os.fsencode(path), ctypes.create_string_buffer(1), 1))
        for name, target in {"nothing": "", "a slash": "/", "bytes": b"\xff\x80".decode("utf-8", "surrogateescape"),
                             "lines": "a\nb", "letters": "größe/日本", "blanks": "  "}.items():
            arena.note(f"to {name}", os.symlink, target, f"{place}/{name}")
            arena.note(f"to {name}: read", os.readlink, f"{place}/{name}")
        place = arena.fresh(0o777)
        os.mkdir(f"{place}/directory")
        os.symlink("directory", f"{place}/0")
        for number in range(1, 45):
            os.symlink(str(number - 1), f"{place}/{number}")
        for number in (38, 39, 40, 41, 44):
            arena.note(f"{number + 1} in a row", lambda: bool(os.stat(f"{place}/{number}")))
            arena.note(f"{number + 1} in a row, to make", opened, f"{place}/{number}/x", os.O_CREAT | os.O_WRONLY)
    compare(mnt, scratch, group)


# Other filesystems

def test_what_is_mounted_on_is_busy(mnt, scratch):
    """EBUSY for a directory on which something is mounted, EXDEV between two filesystems."""
    def group(arena):
        place = arena.fresh(0o777)
        point = make(f"{place}/point", "directory")
        make(f"{place}/empty", "directory")
        make(f"{place}/file", "file")
        run("mount", "-t", "tmpfs", "tmpfs", point)
        try:
            make(f"{point}/inside", "file")
            arena.note("rmdir", os.rmdir, point)
            arena.note("unlink", os.unlink, point)
            arena.note("rename", os.rename, point, f"{place}/elsewhere")
            arena.note("rename onto", os.rename, f"{place}/empty", point)
            arena.note("rmdir of the parent", os.rmdir, place)
            for name, source, target in (("into", "file", "point/file"), ("out of", "point/inside", "inside"),
                                         ("a directory into", "empty", "point/empty")):
                arena.note(f"rename {name}", os.rename, f"{place}/{source}", f"{place}/{target}")
                arena.note(f"link {name}", os.link, f"{place}/{source}", f"{place}/{target}")
        finally:
            run("umount", point)
        arena.note("rmdir afterwards", os.rmdir, point)
        arena.note("left", lambda: sorted(os.listdir(place)))
    compare(mnt, scratch, group)


CHANGES_OF_DESCRIPTORS = {
    "fchmod": lambda number: os.fchmod(number, 0o600), "fchown": lambda number: os.fchown(number, 1, 1),
    "futimens": lambda number: utimensat(number, (1, 0), (1, 0)),
    "fsetxattr": lambda number: os.setxattr(number, "user.y", b"1"),
    "fremovexattr": lambda number: os.removexattr(number, "user.x"), "fsync": os.fsync,
    "ftruncate": lambda number: os.ftruncate(number, 1), "write": lambda number: os.write(number, b"x"),
    "fallocate": lambda number: fallocate(number, 0, 0, 50),
}


@pytest.mark.unmounted
def test_read_only(mount, mnt, scratch):
    """EROFS, or what comes before it: every call on every kind, by root and by another, where nothing may change."""
    def prepare(place):
        place.chmod(0o755)
        place = place / "arena"
        place.mkdir()
        place.chmod(0o777)
        make(f"{place}/aside", "file")
        for kind in KINDS:
            make(f"{place}/{kind}", kind)
        os.setxattr(place / "file", "user.x", b"1")

    def group(arena):
        place = arena.root
        for user, who in {"root": (0, 0, ()), "other": USERS["other"]}.items():
            with Acting(*who):
                for name, call in CALLS.items():
                    paths = {"new": f"{place}/new", "missing": f"{place}/missing/x", "below a file": f"{place}/file/x"}
                    kinds = COMMON_KINDS + ["socket"] if name.startswith("open") else KINDS
                    paths |= {kind: f"{place}/{kind}" for kind in kinds}
                    if call.needs and not call.changes:
                        paths = {call.needs: f"{place}/{call.needs}"}
                    for label, path in paths.items():
                        arena.note(f"{name} {label} by {user}", call.action, path, f"{place}/aside")
                arena.note(f"rename without replacing by {user}", rename, f"{place}/aside", f"{place}/new", 1)
                for name, action in CHANGES_OF_DESCRIPTORS.items():
                    arena.note(f"{name} by {user}", with_descriptor, f"{place}/file", os.O_RDONLY, action)
                arena.note(f"access by {user}", lambda: os.access(f"{place}/file", os.W_OK, effective_ids=True))
                arena.note(f"write to a FIFO by {user}", opened, f"{place}/fifo", os.O_RDWR)
        arena.note("left", lambda: sorted((name, *facts(f"{place}/{name}")) for name in os.listdir(place)))
        arena.note("content", content, f"{place}/file")

    os.umask(0)
    local = scratch / "read-only"
    local.mkdir()
    mount.start("--allow-other")
    for place in (mnt, local):
        prepare(place)
    mount.stop()
    mount.start("--allow-other", "--read-only")
    run("mount", "--bind", local, local)
    try:
        run("mount", "-o", "remount,bind,ro", local)
        arenas = [Arena(place / "arena") for place in (mnt, local)]
        for arena in arenas:
            group(arena)
    finally:
        run("umount", local)
    mount.stop()
    conclude(*arenas)


# Addresses and lengths

def test_bad_addresses(mnt, scratch):
    """EFAULT for a path, a buffer or a structure that is not in memory; nothing is made or changed."""
    bad, huge = ctypes.c_void_p(8), ctypes.c_void_p(2**62)
    room = ctypes.create_string_buffer(4096)

    def call(name, *arguments):
        return checked(name, *(ctypes.c_long(each) if isinstance(each, int) else each for each in arguments))

    def group(arena):
        place = arena.fresh(0o777)
        path = os.fsencode(make(f"{place}/file", "file"))
        os.setxattr(path, "user.x", b"value")
        link = os.fsencode(make(f"{place}/link", "symlink"))
        new = os.fsencode(f"{place}/new")
        number, directory = os.open(path, os.O_RDWR), os.open(place, os.O_RDONLY)
        for where, address in (("low", bad), ("high", huge)):
            for name, arguments in {
                "chmod": (0o600,), "chown": (1, 1), "lchown": (1, 1), "truncate": (0,), "unlink": (), "rmdir": (),
                "mkdir": (0o700,), "mknod": (0o100600, 0), "open": (0,), "creat": (0o600,), "readlink": (room, 99),
                "stat": (room,), "lstat": (room,), "statfs": (room,), "access": (4,), "chdir": (),
                "setxattr": (b"user.y", b"1", 1, 0), "getxattr": (b"user.x", room, 99), "listxattr": (room, 99),
                "removexattr": (b"user.x",),
            }.items():
                arena.note(f"path of {name}, {where}", call, name, address, *arguments)
            arena.note(f"path of utimensat, {where}", call, "utimensat", HERE, address, room, 0)
            arena.note(f"path to open and create, {where}", call, "open", address, 0o101, 0o600)
            for name in ("symlink", "rename", "link"):
                arena.note(f"first path of {name}, {where}", call, name, address, new)
                arena.note(f"second path of {name}, {where}", call, name, path, address)
            arena.note(f"renameat2, {where}", call, "renameat2", HERE, path, HERE, address, 1)
            for name, arguments in {
                "readlink": (link, address, 99), "stat": (path, address), "lstat": (path, address),
                "statfs": (path, address), "utimensat": (HERE, path, address, 0), "futimens": (number, address),
                "setxattr": (path, b"user.y", address, 9, 0), "setxattr's name": (path, address, b"1", 1, 0),
                "getxattr": (path, b"user.x", address, 99), "getxattr's name": (path, address, room, 99),
                "fgetxattr": (number, b"user.x", address, 99), "fsetxattr": (number, b"user.y", address, 9, 0),
                "listxattr": (path, address, 99), "read": (number, address, 5), "pread": (number, address, 5, 0),
                "pread behind": (number, address, 5, 100), "pread nothing": (number, address, 0, 0),
                "write": (number, address, 5), "pwrite": (number, address, 5, 0),
                "getdents64": (directory, address, 4096), "fstat": (number, address), "fstatfs": (number, address),
                "readv": (number, address, 1), "writev": (number, address, 1),
                "statx": (HERE, path, 0, 0x7ff, address),
            }.items():
                arena.note(f"{name}, {where}", call, name.split()[0].removesuffix("'s"), *arguments)
        arena.note("content", content, path)
        arena.note("left", lambda: sorted(os.listdir(place)))
        arena.note("attributes", lambda: [sorted(os.listxattr(path)), facts(path)])
        os.close(number)
        os.close(directory)
    compare(mnt, scratch, group)


def test_the_longest_names_and_paths(mnt, scratch):
    """Each call with a name of 255 and of 256 bytes, and with paths of 4,095 and 4,096."""
    def group(arena):
        place = arena.fresh(0o777)
        with Here(place):
            for number, (name, call) in enumerate(CALLS.items()):
                make(f"aside{number}", "file")
                for length in (255, 256):
                    path = f"{number:03}" + "n" * (length - 3)
                    if length == 255 and call.needs:
                        make(path, call.needs)
                    arena.note(f"{name} a name of {length}", call.action, path, f"aside{number}")
                    if length == 255 and name == "rename to":
                        os.rename(path, f"aside{number}")
                for length in (4095, 4096):
                    path = "./" * 2020 + "/" * (length - 4040 - 3) + f"p{number:02}"
                    if call.needs and length == 4095:
                        make(path[-3:], call.needs)
                    arena.note(f"{name} a path of {length}", call.action, path, f"aside{number}")
            links = tuple(f"{letter}{list(CALLS).index('link to'):0{digits}}" for letter, digits in (("", 3), ("p", 2)))
            arena.note("left", lambda: sorted((each, kind_and_mode(each)) for each in os.listdir(".")
                                              if not each.startswith(("aside", *links))))
        here = arena.fresh()
        before = os.open(".", os.O_RDONLY)
        try:
            os.chdir(here)
            for depth in range(1, 21):
                arena.note(f"{depth} directories of 180 bytes", lambda: os.mkdir("d" * 180) or os.chdir("d" * 180))
            arena.note("a file at the end", opened, "file", os.O_CREAT | os.O_WRONLY)
        finally:
            os.fchdir(before)
            os.close(before)
    # A key of S3 has 1,024 bytes at most.
    compare(mnt, scratch, group, {
        f"link {way}": "EPERM" for way in ("from a name of 255", "from a path of 4095", "to a name of 255",
                                           "to a path of 4095")
    } | {f"{depth} directories of 180 bytes": "ENAMETOOLONG" for depth in range(6, 21)})
