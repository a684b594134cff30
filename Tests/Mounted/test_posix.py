"""POSIX, call by call: each is made on the mount and on the local disk (ext4), and must have the same outcome.

What cannot be the same is in a table of deviations with its outcome here; `doc/semantics.md` has the reasons.
"""

import ctypes
import itertools
import os

import pytest
from harness.arena import KINDS, Arena, Here, as_user, differences, kind_and_mode, make, opened
from harness.calls import CALLS

pytestmark = [
    pytest.mark.actors("root"), pytest.mark.first_server, pytest.mark.needs("pail"), pytest.mark.no_compare,
    pytest.mark.mount_options("--allow-other"), pytest.mark.deadline(120),
]

OWNER, MEMBER, OTHER = 20001, 20002, 20003
GROUP, ELSEWHERE = 20100, 20200
LIBC = ctypes.CDLL(None, use_errno=True)


def compare(mnt, scratch, group, deviations=None):
    """Runs a group of calls in both places, and prints how many checks it made."""
    os.umask(0)
    arenas = []
    for place in (mnt, scratch):
        root = place / "arena"
        root.mkdir()
        root.chmod(0o777)
        arenas.append(Arena(root))
        group(arenas[-1])
    conclude(*arenas, deviations)


def conclude(mount, local, deviations=None):
    """Compares what was noted in both places."""
    problems = differences(mount, local, deviations or {})
    print(f"{len(mount.outcomes)} checks, {len(deviations or {})} deviations")
    assert not problems, "\n".join(problems)


# Names and types

MAKERS = {
    "mkdir": lambda path: os.mkdir(path, 0o751),
    "symlink": lambda path: os.symlink("target", path),
    "mkfifo": lambda path: os.mkfifo(path, 0o640),
    "mknod": lambda path: os.mknod(path, 0o100600),
    "create": lambda path: opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL),
}
OPENS = {
    "read": os.O_RDONLY, "write": os.O_WRONLY, "both": os.O_RDWR, "cut": os.O_WRONLY | os.O_TRUNC,
    "append": os.O_WRONLY | os.O_APPEND, "directory": os.O_RDONLY | os.O_DIRECTORY,
    "no follow": os.O_RDONLY | os.O_NOFOLLOW, "create": os.O_WRONLY | os.O_CREAT,
    "path": os.O_PATH | os.O_NOFOLLOW,
}


def test_making_on_every_kind(mnt, scratch):
    def group(arena):
        for name, action in MAKERS.items():
            path = arena.fresh() + "/new"
            arena.note(f"{name}", action, path)
            arena.note(f"{name}: mode", kind_and_mode, path)
            for kind in KINDS:
                arena.note(f"{name} on {kind}", action, make(arena.fresh() + "/old", kind))
    compare(mnt, scratch, group)


def test_opening_every_kind(mnt, scratch):
    def group(arena):
        for kind in KINDS:
            for name, flags in OPENS.items():
                path = make(arena.fresh() + "/file", kind)
                arena.note(f"{name} {kind}", opened, path, flags | os.O_NONBLOCK)
                arena.note(f"{name} {kind}: afterwards", kind_and_mode, path)
    # A mount has no devices (nodev), as with every FUSE filesystem that is not told otherwise.
    compare(mnt, scratch, group, {
        f"{name} {kind}": "EACCES" for kind in ("character", "block") for name in OPENS
        if name not in ("directory", "path")})


def test_removing_every_kind(mnt, scratch):
    def group(arena):
        for kind in KINDS:
            for name, action in (("unlink", os.unlink), ("rmdir", os.rmdir)):
                path = make(arena.fresh() + "/file", kind)
                arena.note(f"{name} {kind}", action, path)
                arena.note(f"{name} {kind}: still there", os.path.lexists, path)
        full = arena.fresh()
        make(full + "/entry", "file")
        arena.note("rmdir full", os.rmdir, full)
        arena.note("rmdir .", os.rmdir, full + "/.")
        arena.note("rmdir ..", os.rmdir, make(full + "/inner", "directory") + "/..")
        arena.note("unlink missing", os.unlink, full + "/missing")
        arena.note("rmdir missing", os.rmdir, full + "/missing")
        arena.note("unlink with slash", os.unlink, full + "/entry/")
    compare(mnt, scratch, group)


def rename(old, new, flags=0):
    """renameat2(2)."""
    if LIBC.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags) != 0:
        raise OSError(ctypes.get_errno(), "renameat2")


def test_renaming_every_kind_onto_every_kind(mnt, scratch):
    def group(arena):
        for old, new in itertools.product(KINDS, ["nothing", *KINDS, "full directory"]):
            if old not in ("file", "directory", "symlink", "fifo") and new not in ("nothing", "file", "directory"):
                continue
            place = arena.fresh()
            source, target = make(f"{place}/old", old), f"{place}/new"
            if new == "full directory":
                make(make(target, "directory") + "/entry", "file")
            elif new != "nothing":
                make(target, new)
            arena.note(f"{old} onto {new}", rename, source, target)
            arena.note(f"{old} onto {new}: afterwards", lambda place=place: [
                (name, kind_and_mode(f"{place}/{name}")) for name in sorted(os.listdir(place))])
        place = arena.fresh()
        for name in ("a", "b"):
            make(f"{place}/{name}", "file")
        make(f"{place}/d", "directory")
        arena.note("noreplace", rename, f"{place}/a", f"{place}/b", 1)
        arena.note("noreplace onto itself", rename, f"{place}/a", f"{place}/a", 1)
        arena.note("noreplace of nothing", rename, f"{place}/x", f"{place}/b", 1)
        arena.note("onto itself", rename, f"{place}/a", f"{place}/a")
        arena.note("into itself", rename, f"{place}/d", f"{place}/d/e")
        arena.note("dot", rename, f"{place}/d/.", f"{place}/e")
        arena.note("dot dot", rename, f"{place}/d/..", f"{place}/e")
        arena.note("missing", rename, f"{place}/x", f"{place}/y")
        arena.note("into a missing directory", rename, f"{place}/a", f"{place}/x/y")
        arena.note("below a file", rename, f"{place}/a", f"{place}/b/y")
        arena.note("file with slash", rename, f"{place}/a", f"{place}/y/")
        arena.note("unknown flag", rename, f"{place}/a", f"{place}/b", 64)
        arena.note("both flags", rename, f"{place}/a", f"{place}/b", 3)
    compare(mnt, scratch, group)


def test_paths_that_lead_nowhere(mnt, scratch):
    paths = {
        "missing": "missing", "below missing": "missing/x", "below a file": "file/x", "a loop": "loop",
        "below a loop": "loop/x", "a long name": "n" * 256, "below a long name": "n" * 256 + "/x",
        "a long path": "./" * 2100 + "x", "nothing": "",
    }

    def group(arena):
        for name, call in CALLS.items():
            place = arena.fresh()
            make(f"{place}/file", "file")
            make(f"{place}/aside", "file")
            os.symlink("loop", f"{place}/loop")
            with Here(place):
                for label, path in paths.items():
                    if call.needs is None and label == "missing":
                        continue
                    arena.note(f"{name} {label}", call.action, path, "aside")
                arena.note(f"{name}: nothing came of it", lambda: sorted(os.listdir(".")))
    # The link that leads to itself has a second name on the local disk.
    compare(mnt, scratch, group, {
        "link from a loop": "EPERM", "link from: nothing came of it": ["aside", "file", "loop"]})


def test_hard_links_are_refused(mnt, scratch):
    def group(arena):
        place = arena.fresh()
        for kind in KINDS:
            make(f"{place}/{kind}", kind)
            arena.note(f"link {kind}", lambda path: os.link(path, path + "2", follow_symlinks=False), f"{place}/{kind}")
        arena.note("link onto something", os.link, f"{place}/file", f"{place}/fifo")
        arena.note("link of nothing", os.link, f"{place}/missing", f"{place}/x")
    kinds = [kind for kind in KINDS if kind != "directory"]
    compare(mnt, scratch, group, {f"link {kind}": "EPERM" for kind in kinds})


# Who may do what

def test_directory_modes(mnt, scratch):
    """Each call by owner, group, supplementary group and others, under each mode of the directory."""
    actions = {
        "stat": lambda place: bool(os.stat(f"{place}/file")), "list": lambda place: len(os.listdir(place)),
        "create": lambda place: opened(f"{place}/new", os.O_WRONLY | os.O_CREAT | os.O_EXCL),
        "unlink": lambda place: os.unlink(f"{place}/file"),
        "rename": lambda place: os.rename(f"{place}/file", f"{place}/other"),
        "mkdir": lambda place: os.mkdir(f"{place}/dir"),
    }
    users = {
        "owner": (OWNER, ELSEWHERE, ()), "group": (OTHER, GROUP, ()), "member": (MEMBER, ELSEWHERE, (GROUP,)),
        "other": (OTHER, ELSEWHERE, ()),
    }

    def group(arena):
        for mode in (0o070, 0o333, 0o777):
            for user, (uid, gid, groups) in users.items():
                place = arena.fresh()
                make(f"{place}/file", "file")
                os.chown(place, OWNER, GROUP)
                os.chmod(place, mode)
                for name in ("stat", "list", "create") if mode != 0o777 else actions:
                    arena.note(f"{name} by {user} in {mode:o}",
                               lambda: as_user(uid, gid, actions[name], place, groups=groups))
    compare(mnt, scratch, group)


def test_file_modes(mnt, scratch):
    users = {
        "owner": (OWNER, ELSEWHERE, ()), "group": (OTHER, GROUP, ()), "member": (MEMBER, ELSEWHERE, (GROUP,)),
        "other": (OTHER, ELSEWHERE, ()),
    }

    def group(arena):
        for mode in (0o400, 0o040, 0o020, 0o004, 0o777, 0o000):
            path = make(arena.fresh() + "/file", "file")
            os.chown(path, OWNER, GROUP)
            os.chmod(path, mode)
            for user, (uid, gid, groups) in users.items():
                for name, flags in (("read", os.O_RDONLY), ("write", os.O_WRONLY)):
                    arena.note(f"{name} by {user} of {mode:o}",
                               lambda: as_user(uid, gid, opened, path, flags, groups=groups))
                arena.note(f"access by {user} of {mode:o}",
                           lambda: as_user(uid, gid, lambda: [os.access(path, bit) for bit in (4, 2, 1)],
                                           groups=groups))
                for name, action in (("chmod", lambda: os.chmod(path, mode)), ("utime", lambda: os.utime(path)),
                                     ("set times", lambda: os.utime(path, (1, 1))),
                                     ("chgrp", lambda: os.chown(path, -1, GROUP)),
                                     ("chgrp elsewhere", lambda: os.chown(path, -1, 20300)),
                                     ("chown", lambda: os.chown(path, OTHER, -1))):
                    if mode in (0o777, 0o000):
                        arena.note(f"{name} by {user} of {mode:o}", lambda: as_user(uid, gid, action, groups=groups))
    compare(mnt, scratch, group)


def test_sticky_directories(mnt, scratch):
    def group(arena):
        for owner, actor in itertools.product((OWNER, OTHER), (OWNER, MEMBER, OTHER)):
            for name in ("unlink", "rename away", "rename onto", "rmdir"):
                place = arena.fresh(0o1777)
                os.chown(place, MEMBER, GROUP)
                theirs = "dir" if name == "rmdir" else "theirs"
                os.chown(make(f"{place}/{theirs}", "directory" if name == "rmdir" else "file"), owner, GROUP)
                if name == "rename onto":
                    os.chown(make(f"{place}/mine", "file"), actor, GROUP)
                action = {
                    "unlink": lambda: os.unlink(f"{place}/theirs"),
                    "rename away": lambda: os.rename(f"{place}/theirs", f"{place}/away"),
                    "rename onto": lambda: os.rename(f"{place}/mine", f"{place}/theirs"),
                    "rmdir": lambda: os.rmdir(f"{place}/dir"),
                }[name]
                arena.note(f"{name}, of {owner}, by {actor}", lambda: as_user(actor, ELSEWHERE, action))
    compare(mnt, scratch, group)


def test_set_id_bits(mnt, scratch):
    def append(path):
        with open(path, "ab") as file:
            file.write(b"x")

    def group(arena):
        changes = {
            "write": append, "truncate": lambda path: os.truncate(path, 1),
            "chown": lambda path: os.chown(path, -1, GROUP),
            "chmod": lambda path: os.chmod(path, 0o6711), "utime": os.utime,
        }
        for mode, (name, change) in itertools.product((0o6777, 0o2767), changes.items()):
            for user in ("root", "owner", "other"):
                path = make(arena.fresh() + "/file", "file")
                os.chown(path, OWNER, GROUP)
                os.chmod(path, mode)
                label = f"{name} of {mode:o} by {user}"
                if user == "root":
                    arena.note(label, change, path)
                else:
                    uid = OWNER if user == "owner" else OTHER
                    arena.note(label, lambda: as_user(uid, ELSEWHERE, change, path, groups=(GROUP,)))
                arena.note(f"{label}: mode", kind_and_mode, path)
        # What is made in a set-group-ID directory belongs to its group.
        place = arena.fresh()
        os.chown(place, OWNER, GROUP)
        os.chmod(place, 0o2777)
        for name, action in MAKERS.items():
            arena.note(f"inherit: {name}", lambda: as_user(OTHER, ELSEWHERE, action, f"{place}/{name}"))
            arena.note(f"inherit: {name}: group", lambda: os.lstat(f"{place}/{name}").st_gid)
            arena.note(f"inherit: {name}: mode", kind_and_mode, f"{place}/{name}")
        arena.note("inherit: set-group-ID file", lambda: as_user(
            OTHER, ELSEWHERE, lambda: opened(f"{place}/s", os.O_WRONLY | os.O_CREAT, 0o2775)))
        arena.note("inherit: set-group-ID file: mode", kind_and_mode, f"{place}/s")
    compare(mnt, scratch, group)
