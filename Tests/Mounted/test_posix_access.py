"""POSIX, call by call: who may do what, and what becomes of modes, owners and times.

As in test_posix.py, the outcome on the local disk (ext4) is what is expected.
"""

import itertools
import os
import stat
import time

import pytest
from harness.arena import KINDS, Acting, kind_and_mode, make, opened, rest
from harness.calls import CALLS, UTIME_NOW, UTIME_OMIT, checked, utimensat
from test_posix import ELSEWHERE, GROUP, MEMBER, OTHER, OWNER, compare

pytestmark = [
    pytest.mark.actors("root"), pytest.mark.first_server, pytest.mark.needs("pail"), pytest.mark.no_compare,
    pytest.mark.mount_options("--allow-other"), pytest.mark.deadline(240),
]

FOREIGN = 20300
#: Whom a file of OWNER and GROUP takes each for.
USERS = {
    "owner": (OWNER, ELSEWHERE, ()), "group": (OTHER, GROUP, ()), "member": (MEMBER, ELSEWHERE, (GROUP,)),
    "other": (OTHER, ELSEWHERE, ()),
}
CLASS_SHIFTS = {"owner": 6, "group": 3, "member": 3, "other": 0}
#: root, the owner inside and outside of the file's group, and somebody else.
CHANGERS = {
    "root": (0, 0, ()), "owner": (OWNER, ELSEWHERE, (GROUP,)), "outside": (OWNER, ELSEWHERE, ()),
    "other": (OTHER, ELSEWHERE, (GROUP,)),
}
#: The kinds that keep nodes of their own on a mount without devices.
COMMON_KINDS = ["file", "directory", "symlink", "fifo"]


def owned(path, kind, uid=OWNER, gid=GROUP, mode=None):
    """Makes a file of a kind that belongs to a user."""
    make(path, kind)
    os.lchown(path, uid, gid)
    if mode is not None:
        os.chmod(path, mode)
    return path


def facts(path):
    """What a change of attributes can change."""
    status = os.lstat(path)
    return oct(status.st_mode), status.st_uid, status.st_gid


def test_directories_that_shut_out(mnt, scratch):
    """Every call below directories in which one bit of one class is missing, and which let in one class only."""
    modes = [0o677, 0o577, 0o767, 0o757, 0o776, 0o775, 0o300, 0o030, 0o003, 0o500, 0o005]

    def group(arena):
        aside = arena.fresh(0o777)
        for mode in modes:
            place = arena.fresh()
            for user, (uid, gid, _) in USERS.items():
                for kind in ("file", "directory", "symlink"):
                    owned(f"{place}/{user}-{kind}", kind, uid, gid)
                for name, call in CALLS.items():
                    if call.spoils and call.needs:
                        owned(f"{place}/{user}-{name}", call.needs, uid, gid)
                owned(f"{aside}/{user}-{mode}", "file", uid, gid)
            os.chown(place, OWNER, GROUP)
            os.chmod(place, mode)
            for user, (uid, gid, groups) in USERS.items():
                for name, call in CALLS.items():
                    path = f"{place}/{user}-{name if call.spoils else call.needs}"
                    other = f"{aside}/{user}-{mode}"
                    with Acting(uid, gid, groups):
                        arena.note(f"{name} by {user} in {mode:o}", call.action, path, other)
                    if name == "rename to" and not os.path.lexists(other):
                        os.rename(path, other)
            arena.note(f"left in {mode:o}", lambda: sorted(
                (name, *facts(f"{place}/{name}")) for name in os.listdir(place) if "link to" not in name))

    # What comes as far as making a hard link.
    needed = {"from": 0o1, "to": 0o3}
    compare(mnt, scratch, group, {
        f"link {way} by {user} in {mode:o}": "EPERM" for way, bits in needed.items() for user, mode in
        itertools.product(USERS, modes) if mode >> CLASS_SHIFTS[user] & bits == bits})


def test_opening_with_every_mode(mnt, scratch):
    """Files, directories and FIFOs, each bit of each class alone and alone missing."""
    flags = {
        "read": os.O_RDONLY, "write": os.O_WRONLY, "both": os.O_RDWR, "cut": os.O_RDONLY | os.O_TRUNC,
        "append": os.O_WRONLY | os.O_APPEND, "create": os.O_RDONLY | os.O_CREAT,
        "no access time": os.O_RDONLY | os.O_NOATIME,
    }
    modes = sorted({bits << shift | others for shift in (6, 3, 0) for bits in range(8)
                    for others in (0, 0o777 & ~(7 << shift))})

    def group(arena):
        place = arena.fresh(0o777)
        paths = {kind: owned(f"{place}/{kind}", kind) for kind in ("file", "directory", "fifo")}
        for mode, (kind, path) in itertools.product(modes, paths.items()):
            os.chmod(path, mode)
            for user, (uid, gid, groups) in USERS.items():
                with Acting(uid, gid, groups):
                    for name, flag in flags.items():
                        if kind == "directory" and name not in ("read", "write"):
                            continue
                        arena.note(f"{name} {kind} by {user} with {mode:o}", opened, path, flag | os.O_NONBLOCK)
                    arena.note(f"access {kind} by {user} with {mode:o}", lambda: [
                        os.access(path, bit, effective_ids=True) for bit in (os.R_OK, os.W_OK, os.X_OK)])
                    if kind == "file":
                        arena.note(f"truncate by {user} with {mode:o}", os.truncate, path, 0)
                    if kind == "directory":
                        arena.note(f"enter by {user} with {mode:o}", lambda: bool(os.stat(f"{path}/.")))
    compare(mnt, scratch, group)


def test_chmod(mnt, scratch):
    def group(arena):
        place = arena.fresh(0o777)
        for kind, user in itertools.product(KINDS, CHANGERS):
            owned(f"{place}/{kind}-{user}", kind)
        for kind in KINDS:
            if kind not in ("symlink", "dangling"):
                os.symlink(kind + "-target", f"{place}/to-{kind}")
                owned(f"{place}/{kind}-target", kind)
        rest()
        for kind, (user, (uid, gid, groups)) in itertools.product(KINDS, CHANGERS.items()):
            path = f"{place}/{kind}-{user}"
            with Acting(uid, gid, groups):
                # A refused call leaves the time of change alone.
                arena.watch(f"chmod of {kind} by {user}", [path], os.chmod, path, 0o2751)
                arena.note(f"chmod of {kind} by {user}: mode", kind_and_mode, path)
        for kind in KINDS:
            if kind in ("symlink", "dangling"):
                continue
            link, target = f"{place}/to-{kind}", f"{place}/{kind}-target"
            arena.watch(f"through a link to {kind}", [link, target], os.chmod, link, 0o604)
            arena.note(f"through a link to {kind}: modes", lambda: [kind_and_mode(link), kind_and_mode(target)])
        link = f"{place}/to-file"
        arena.note("of a link itself", checked, "fchmodat", -100, os.fsencode(link), 0o600, 0x100)
        arena.note("of a link itself: mode", kind_and_mode, link)
        # Every mode: the set-group-ID bit goes when its owner is not in the group, and the sticky bit does not.
        specials, modes = range(0, 0o10000, 0o1000), (0, 0o444, 0o222, 0o111, 0o777, 0o640, 0o007, 0o070)
        for kind, user in itertools.product(("file", "directory", "fifo"), ("root", "owner", "outside")):
            path = owned(f"{place}/{kind}-{user}-modes", kind)
            for special, mode in itertools.product(specials, modes):
                with Acting(*CHANGERS[user]):
                    arena.note(f"{kind} to {special | mode:o} by {user}", os.chmod, path, special | mode)
                arena.note(f"{kind} to {special | mode:o} by {user}: mode", kind_and_mode, path)
        path = owned(f"{place}/opened", "file")
        for name, flag in (("reading", os.O_RDONLY), ("writing", os.O_WRONLY), ("its path", os.O_PATH)):
            descriptor = os.open(path, flag)
            arena.note(f"fchmod, open for {name}", os.fchmod, descriptor, 0o6711)
            arena.note(f"fchown, open for {name}", os.fchown, descriptor, MEMBER, GROUP)
            arena.note(f"fchmod, open for {name}: facts", facts, path)
            os.close(descriptor)
        arena.note("fchmod of nothing", os.fchmod, 999, 0o600)
        arena.note("fchown of nothing", os.fchown, 999, 1, 1)
    compare(mnt, scratch, group)


def test_chown(mnt, scratch):
    """Every kind and every pair of ids, by root, by the owner and by others; what is refused moves no time."""
    pairs = {
        "neither": (-1, -1), "the same owner": (OWNER, -1), "the same group": (-1, GROUP), "the same": (OWNER, GROUP),
        "another owner": (OTHER, -1), "another group of theirs": (-1, ELSEWHERE), "a foreign group": (-1, FOREIGN),
        "both": (OTHER, FOREIGN), "themselves": (None, -1),
    }

    def group(arena):
        place = arena.fresh(0o777)
        cases = list(itertools.product(COMMON_KINDS, CHANGERS, pairs))
        for kind, user, pair in cases:
            owned(f"{place}/{kind}-{user}-{pair}", kind)
        os.symlink("target", f"{place}/link")
        owned(f"{place}/target", "file")
        rest()
        for kind, user, pair in cases:
            path, label = f"{place}/{kind}-{user}-{pair}", f"{pair} of {kind} by {user}"
            uid, gid = pairs[pair]
            with Acting(*CHANGERS[user]):
                uid = os.geteuid() if uid is None else uid
                arena.watch(label, [path], os.lchown, path, uid, gid)
            arena.note(f"{label}: facts", facts, path)
        arena.watch("through a link", [f"{place}/link", f"{place}/target"], os.chown, f"{place}/link", 7, 8)
        arena.note("through a link: facts", lambda: [facts(f"{place}/link"), facts(f"{place}/target")])
    compare(mnt, scratch, group)


SET_ID_MODES = (0o777, 0o766, 0o776, 0o677, 0o667, 0o666)


def test_every_change_of_set_id_files(mnt, scratch):
    """Which of the set-user-ID and set-group-ID bits go with a change, for every way to be executable."""
    def append(path):
        with open(path, "ab", buffering=0) as file:
            file.write(b"x")

    changes = {
        "write": append, "truncate": lambda path: os.truncate(path, 1), "lengthen": lambda path: os.truncate(path, 9),
        "cut": lambda path: opened(path, os.O_WRONLY | os.O_TRUNC), "allocate": lambda path: allocate(path, 0, 50),
        "chown of the group": lambda path: os.chown(path, -1, GROUP), "utime": os.utime,
        "setxattr": lambda path: os.setxattr(path, "user.x", b"1"),
    }

    def group(arena):
        place = arena.fresh(0o777)
        for user, (uid, gid, groups) in CHANGERS.items():
            path = owned(f"{place}/{user}", "file")
            for special, mode, (name, change) in itertools.product((0o2000, 0o4000, 0o6000), SET_ID_MODES,
                                                                   changes.items()):
                if user == "outside" and not mode & 0o010:
                    continue  # ext4 takes the bit of those too, since Linux 6.2; the kernel does not ask FUSE for it
                os.chmod(path, special | mode)
                label = f"{name} of {special | mode:o} by {user}"
                with Acting(uid, gid, groups):
                    arena.note(label, change, path)
                arena.note(f"{label}: mode", kind_and_mode, path)
            # Those of a directory say something else, and stay.
            path = owned(f"{place}/{user}-directory", "directory")
            for name, mode in itertools.product(("chown of the group", "utime"), (0o6777, 0o6766)):
                os.chmod(path, mode)
                label = f"{name} of a directory of {mode:o} by {user}"
                with Acting(uid, gid, groups):
                    arena.note(label, changes[name], path)
                arena.note(f"{label}: mode", kind_and_mode, path)
    compare(mnt, scratch, group)


def test_chown_to_neither_of_set_id_files(mnt, scratch):
    def group(arena):
        place = arena.fresh(0o777)
        for user, (uid, gid, groups) in CHANGERS.items():
            path = owned(f"{place}/{user}", "file")
            for special, mode in itertools.product((0o2000, 0o4000, 0o6000), SET_ID_MODES):
                if user == "outside" and not mode & 0o010:
                    continue
                os.chmod(path, special | mode)
                label = f"{special | mode:o} by {user}"
                with Acting(uid, gid, groups):
                    arena.note(label, os.chown, path, -1, -1)
                arena.note(f"{label}: mode", kind_and_mode, path)
    compare(mnt, scratch, group)


def allocate(path, offset, length):
    """posix_fallocate(3) of a path."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.posix_fallocate(descriptor, offset, length)
    finally:
        os.close(descriptor)


MAKERS = {
    "create": lambda path, mode: opened(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode), "mkdir": os.mkdir,
    "mkfifo": os.mkfifo, "mknod": lambda path, mode: os.mknod(path, stat.S_IFREG | mode),
    "mknod of a fifo": lambda path, mode: os.mknod(path, stat.S_IFIFO | mode),
    "mknod of a socket": lambda path, mode: os.mknod(path, stat.S_IFSOCK | mode),
    "symlink": lambda path, mode: os.symlink("target", path),
    "character device": lambda path, mode: os.mknod(path, stat.S_IFCHR | mode, os.makedev(1, 3)),
    "block device": lambda path, mode: os.mknod(path, stat.S_IFBLK | mode, os.makedev(7, 0)),
}


def test_who_owns_what_is_made(mnt, scratch):
    """Owner, group, mode under each umask, and the directory's times, of what each maker makes."""
    umasks, modes = (0, 0o022, 0o077, 0o151, 0o777), (0o777, 0o644, 0o4755, 0o2755, 0o1777, 0)

    def group(arena):
        for shared in (0o777, 0o2777):
            place = arena.fresh()
            os.chown(place, OWNER, GROUP)
            os.chmod(place, shared)
            for user, (uid, gid, groups) in {"root": (0, 0, ()), **USERS}.items():
                for name, maker in MAKERS.items():
                    path, label = f"{place}/{user}-{name}", f"{name} by {user} in {shared:o}"
                    with Acting(uid, gid, groups):
                        arena.note(label, maker, path, 0o2755)
                    arena.note(f"{label}: facts", facts, path)
        place = arena.fresh(0o777)
        for (name, maker), umask, mode in itertools.product(MAKERS.items(), umasks, modes):
            if "device" in name or (name == "symlink" and mode):
                continue
            path, label = f"{place}/{name}-{umask:o}-{mode:o}", f"{name} of {mode:o} under {umask:o}"
            with Acting(OTHER, ELSEWHERE):
                os.umask(umask)
                arena.note(label, maker, path, mode)
                os.umask(0)
            arena.note(f"{label}: facts", facts, path)
        places = {name: arena.fresh(0o777) for name in MAKERS}
        refused = {name: arena.fresh(0o755) for name in MAKERS}
        rest()
        for name, maker in MAKERS.items():
            arena.watch(f"{name}: times of the directory", [places[name]], maker, f"{places[name]}/new", 0o600)
            with Acting(OTHER, ELSEWHERE):
                arena.watch(f"{name}: refused", [refused[name]], maker, f"{refused[name]}/new", 0o600)
        for number in range(16):
            arena.note(f"mknod of type {number:o}", os.mknod, f"{arena.fresh()}/node", number << 12 | 0o600)
    compare(mnt, scratch, group)


def test_sticky_directories_from_both_sides(mnt, scratch):
    """What of another's, and of one's own, may leave, enter and be replaced in a sticky directory."""
    def group(arena):
        owners = (OTHER, OWNER)
        for kind, mine, theirs in itertools.product(COMMON_KINDS, owners, owners):
            replaced = "directory" if kind == "directory" else "file"
            for name in ("remove", "rename away", "rename in", "rename within", "replace from elsewhere"):
                label = f"{name} {kind} of {theirs} in a directory of {mine}"
                place, elsewhere = arena.fresh(), arena.fresh(0o777)
                os.chown(place, mine, GROUP)
                os.chmod(place, 0o1777)
                if name in ("rename in", "replace from elsewhere"):
                    owned(f"{elsewhere}/entry", kind, OTHER, GROUP)
                else:
                    owned(f"{place}/entry", kind, theirs, GROUP)
                if name == "replace from elsewhere":
                    owned(f"{place}/target", replaced, theirs, GROUP)
                action = {
                    "remove": lambda: (os.rmdir if kind == "directory" else os.unlink)(f"{place}/entry"),
                    "rename away": lambda: os.rename(f"{place}/entry", f"{elsewhere}/away"),
                    "rename in": lambda: os.rename(f"{elsewhere}/entry", f"{place}/target"),
                    "rename within": lambda: os.rename(f"{place}/entry", f"{place}/target"),
                    "replace from elsewhere": lambda: os.rename(f"{elsewhere}/entry", f"{place}/target"),
                }[name]
                with Acting(OTHER, ELSEWHERE):
                    arena.note(label, action)
                arena.note(f"{label}: left", lambda: [sorted(os.listdir(each)) for each in (place, elsewhere)])
        # A directory that goes to another parent has its '..' changed: one must be able to write to it.
        for mode, owner in itertools.product((0o755, 0o555, 0o777), (OTHER, OWNER)):
            old, new = arena.fresh(0o777), arena.fresh(0o777)
            owned(f"{old}/directory", "directory", owner, GROUP, mode)
            with Acting(OTHER, ELSEWHERE):
                arena.note(f"a directory of {owner}, {mode:o}, within its parent", os.rename, f"{old}/directory",
                           f"{old}/moved")
                arena.note(f"a directory of {owner}, {mode:o}, to another parent", os.rename, f"{old}/moved",
                           f"{new}/directory")
            arena.note(f"a directory of {owner}, {mode:o}: left", lambda: [os.listdir(old), os.listdir(new)])
    compare(mnt, scratch, group)


def test_utimensat(mnt, scratch):
    """Each pair of given, present and omitted times, by each user; on each kind of file, by root."""
    now, omit, given = (0, UTIME_NOW), (7, UTIME_OMIT), (1_500_000_000, 123_456_789)
    pairs = {
        "now, now": (now, now), "omit, omit": (omit, omit), "now, omit": (now, omit), "omit, now": (omit, now),
        "given, given": (given, given), "given, omit": (given, omit), "omit, given": (omit, given),
        "given, now": (given, now), "now, given": (now, given), "too many": (given, (1, 10**9)),
        "negative": ((1, -1), given), "too many, omit": ((1, 10**9), omit), "before 1970": ((-5, 5), (-5, 999_999_999)),
        "after 2038": ((2**31 + 9, 1), (2**32 + 9, 2)),
    }
    users = {"root": (0, 0, ()), "owner": USERS["owner"], "writer": USERS["member"], "reader": USERS["other"]}
    before = 10**18

    def times(path):
        """The two times, those of the present as that."""
        status = os.lstat(path)
        return ["now" if abs(each / 1e9 - time.time()) < 900 else each for each in (status.st_atime_ns,
                                                                                   status.st_mtime_ns)]

    def group(arena):
        place = arena.fresh(0o777)
        cases = [(pair, user, "file") for pair in (*pairs, "none") for user in users]
        cases += [(pair, "root", kind) for pair in pairs for kind in COMMON_KINDS if kind != "file"]
        cases += [(pair, "reader", "directory") for pair in pairs]
        for pair, user, kind in cases:
            path = owned(f"{place}/{kind}-{user}-{pair}", kind)
            if kind != "symlink":
                os.chmod(path, 0o664)
            os.utime(path, ns=(before, before), follow_symlinks=False)
        rest()
        for pair, user, kind in cases:
            path, label = f"{place}/{kind}-{user}-{pair}", f"{pair} of {kind} by {user}"
            with Acting(*users[user]):
                if pair == "none":
                    arena.watch(label, [path], os.utime, path)
                else:
                    arena.watch(label, [path], utimensat, path, *pairs[pair], kind != "symlink")
            arena.note(f"{label}: times", times, path)
        path = owned(f"{place}/opened", "file")
        for name, flag in (("reading", os.O_RDONLY), ("writing", os.O_WRONLY), ("its path", os.O_PATH)):
            descriptor = os.open(path, flag)
            for pair in pairs:
                arena.note(f"{pair}, open for {name}", utimensat, descriptor, *pairs[pair])
                arena.note(f"{pair}, open for {name}: times", times, path)
            os.close(descriptor)
        os.symlink("opened", f"{place}/to it")
        os.utime(f"{place}/to it", ns=(before, before), follow_symlinks=False)
        for follow in (True, False):
            arena.note(f"through a link: {follow}", utimensat, f"{place}/to it", given, given, follow)
            arena.note(f"through a link: {follow}: times", lambda: [times(path)[1], times(f"{place}/to it")[1]])
        arena.note("unknown flag", lambda: checked("utimensat", -100, os.fsencode(path), None, 1))
    compare(mnt, scratch, group)
