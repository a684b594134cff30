"""The system calls that take a path, as a table: what each needs at its path, and how it is made."""

import ctypes
import os
import stat
from dataclasses import dataclass
from typing import Callable

from .arena import opened

LIBC = ctypes.CDLL(None, use_errno=True)
HERE = -100
UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2


def checked(name, *arguments):
    """A function of the C library that answers -1 and sets errno when it fails."""
    ctypes.set_errno(0)
    answer = getattr(LIBC, name)(*arguments)
    if answer < 0:
        raise OSError(ctypes.get_errno(), name)
    return answer


def utimensat(path, access, change, follow=True):
    """utimensat(2) with two pairs of seconds and nanoseconds (of a descriptor, where `path` is a number)."""
    times = (ctypes.c_long * 4)(*access, *change)
    if isinstance(path, int):
        return checked("futimens", path, times)
    return checked("utimensat", HERE, os.fsencode(path), times, 0 if follow else 0x100)


@dataclass(frozen=True)
class Call:
    """A call on a path, at which must be a file of the kind `needs`. `spoils`: it uses that up, or makes it.

    `action` takes the path and another one, at which a file is; what is renamed goes there with `2` added.
    """

    needs: str | None
    action: Callable
    changes: bool = True
    spoils: bool = False


CALLS = {
    "stat": Call("file", lambda path, _: bool(os.stat(path)), changes=False),
    "lstat": Call("symlink", lambda path, _: bool(os.lstat(path)), changes=False),
    "statvfs": Call("file", lambda path, _: bool(os.statvfs(path).f_blocks), changes=False),
    "access": Call("file", lambda path, _: os.access(path, os.R_OK, effective_ids=True), changes=False),
    "readlink": Call("symlink", lambda path, _: os.readlink(path), changes=False),
    "list": Call("directory", lambda path, _: os.listdir(path), changes=False),
    "open to read": Call("file", lambda path, _: opened(path, os.O_RDONLY | os.O_NONBLOCK), changes=False),
    "getxattr": Call("file", lambda path, _: os.getxattr(path, "user.x"), changes=False),
    "listxattr": Call("file", lambda path, _: os.listxattr(path), changes=False),
    "open to write": Call("file", lambda path, _: opened(path, os.O_WRONLY | os.O_NONBLOCK)),
    "open to cut": Call("file", lambda path, _: opened(path, os.O_RDONLY | os.O_TRUNC | os.O_NONBLOCK)),
    "open to create": Call("file", lambda path, _: opened(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK)),
    "truncate": Call("file", lambda path, _: os.truncate(path, 3)),
    "chmod": Call("file", lambda path, _: os.chmod(path, 0o666)),
    "chown": Call("file", lambda path, _: os.chown(path, -1, -1)),
    "lchown": Call("symlink", lambda path, _: os.lchown(path, os.geteuid(), -1)),
    "utime": Call("file", lambda path, _: os.utime(path, (5, 6))),
    "touch": Call("file", lambda path, _: os.utime(path)),
    "lutime": Call("symlink", lambda path, _: os.utime(path, (5, 6), follow_symlinks=False)),
    "setxattr": Call("file", lambda path, _: os.setxattr(path, "user.y", b"1")),
    "removexattr": Call("file", lambda path, _: os.removexattr(path, "user.x")),
    "unlink": Call("file", lambda path, _: os.unlink(path), spoils=True),
    "rmdir": Call("directory", lambda path, _: os.rmdir(path), spoils=True),
    "rename from": Call("file", lambda path, other: os.rename(path, other + "2"), spoils=True),
    "link from": Call("file", lambda path, other: os.link(path, other + "3"), spoils=True),
    "rename to": Call(None, lambda path, other: os.rename(other, path), spoils=True),
    "link to": Call(None, lambda path, other: os.link(other, path), spoils=True),
    "create": Call(None, lambda path, _: opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL), spoils=True),
    "mkdir": Call(None, lambda path, _: os.mkdir(path), spoils=True),
    "mkfifo": Call(None, lambda path, _: os.mkfifo(path), spoils=True),
    "mknod": Call(None, lambda path, _: os.mknod(path, stat.S_IFREG | 0o600), spoils=True),
    "mknod of a socket": Call(None, lambda path, _: os.mknod(path, stat.S_IFSOCK | 0o600), spoils=True),
    "symlink": Call(None, lambda path, _: os.symlink("target", path), spoils=True),
}
