"""POSIX calls made the same way in two directories, on the mount and on a local disk, and their outcomes compared."""

import errno
import os
import pickle
import socket
import stat
import time

#: The kinds of files that a name can lead to.
KINDS = ["file", "directory", "symlink", "dangling", "fifo", "socket", "character", "block"]


class Arena:
    """A directory to act in. `outcomes` has what each call gave: a value, or the name of its error."""

    def __init__(self, root):
        self.root, self.outcomes, self._number = os.fspath(root), {}, 0

    def fresh(self, mode=0o755):
        """A new directory, for one call or a few that belong together."""
        self._number += 1
        path = f"{self.root}/{self._number}"
        os.mkdir(path)
        os.chmod(path, mode)
        return path

    def note(self, label, action, *arguments):
        """Makes a call and books its outcome under a label, which is used once."""
        assert label not in self.outcomes, f"'{label}' twice"
        self.outcomes[label] = outcome(action, *arguments)
        return self.outcomes[label]

    def watch(self, label, paths, action, *arguments):
        """Makes a call and books its outcome, and which of the paths' times (of content, of change) it has moved.

        `rest()` comes between making the paths and this.
        """
        before = [outcome(_times, path) for path in paths]
        self.note(label, action, *arguments)
        self.note(f"{label}: moved", lambda: [
            [old != new for old, new in zip(first, outcome(_times, path))] if isinstance(first, tuple) else first
            for first, path in zip(before, paths)])


def outcome(action, *arguments):
    """What a call returns, or the name of its error."""
    try:
        return action(*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno, error.errno)


def make(path, kind):
    """Makes a file of a kind."""
    if kind == "file":
        with open(path, "w") as file:
            file.write("content")
    elif kind == "directory":
        os.mkdir(path)
    elif kind == "symlink":
        os.symlink(".", path)
    elif kind == "dangling":
        os.symlink("nowhere", path)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        listener = socket.socket(socket.AF_UNIX)
        with Here(os.path.dirname(path)):  # a socket's address is at most 107 bytes
            listener.bind(os.path.basename(path))
        listener.close()
    else:
        bits = stat.S_IFCHR if kind == "character" else stat.S_IFBLK
        os.mknod(path, bits | 0o644, os.makedev(7, 250))
    return path


class Here:
    """Works in a directory for a while."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        self.before = os.open(".", os.O_RDONLY)
        os.chdir(self.path)

    def __exit__(self, *_):
        os.fchdir(self.before)
        os.close(self.before)


class Acting:
    """Acts as another user for a while, without a process of its own: calls are checked against the effective ids."""

    def __init__(self, uid, gid, groups=()):
        self.uid, self.gid, self.groups = uid, gid, list(groups)

    def __enter__(self):
        self.before = os.geteuid(), os.getegid(), os.getgroups()
        os.setgroups(self.groups)
        os.setegid(self.gid)
        os.seteuid(self.uid)

    def __exit__(self, *_):
        uid, gid, groups = self.before
        os.seteuid(uid)
        os.setegid(gid)
        os.setgroups(groups)


def as_user(uid, gid, action, *arguments, groups=()):
    """The outcome of a call made by another user, in a process of its own."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setgroups(list(groups))
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        os.write(write, pickle.dumps(outcome(action, *arguments)))
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        data = pipe.read()
    os.waitpid(pid, 0)
    return pickle.loads(data)


def rest():
    """Waits until the clock of files (4 ms, or 10) has moved on, so that a later change has a later time."""
    time.sleep(0.03)


def _times(path):
    status = os.lstat(path)
    return status.st_mtime_ns, status.st_ctime_ns


def kind_and_mode(path):
    """The type and the permission bits behind a name, not following a symlink."""
    return oct(os.lstat(path).st_mode)


def opened(path, flags, mode=0o644):
    """Whether open(2) succeeds, as something to compare."""
    os.close(os.open(path, flags, mode))
    return "opened"


def differences(mount, local, deviations):
    """Where two arenas differ, but for the deviations that are known; and the known ones that do not show."""
    assert mount.outcomes.keys() == local.outcomes.keys()
    found = {label: (value, local.outcomes[label]) for label, value in mount.outcomes.items()
             if value != local.outcomes[label]}
    lines = [f"{label}: {here!r}, on a local disk {there!r}" for label, (here, there) in found.items()
             if deviations.get(label) != here]
    return lines + [f"{label}: no deviation any more" for label in deviations.keys() - found.keys()]
