"""Who runs a test: root, or an ordinary user who is made for the run."""

import os
import pwd
import shutil
import stat
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass

FUSE_DEVICE = "/dev/fuse"


@dataclass(frozen=True)
class Actor:
    """A user that tests run as."""

    name: str
    uid: int
    gid: int

    def become(self):
        """Gives up root for good in this process. The kernel compares all the ids when a mount is private."""
        if os.geteuid() == 0 and self.uid != 0:
            os.setgroups([])
            os.setresgid(self.gid, self.gid, self.gid)
            os.setresuid(self.uid, self.uid, self.uid)

    def owns(self, *paths):
        for path in paths:
            os.chown(path, self.uid, self.gid)


def current():
    """The user of this process."""
    return Actor("root" if os.geteuid() == 0 else "user", os.geteuid(), os.getegid())


@contextmanager
def temporary_user(name):
    """An ordinary user without a home directory, removed at the end."""
    # Ids far from the ordinary range, so that no file of another user changes hands by reuse.
    subprocess.run(["useradd", "--no-create-home", "--shell", "/bin/sh", "--key", "UID_MIN=40000", "--key",
                    "UID_MAX=59000", name], check=True, capture_output=True)
    try:
        entry = pwd.getpwnam(name)
        yield Actor("user", entry.pw_uid, entry.pw_gid)
    finally:
        subprocess.run(["userdel", "--force", name], check=False, capture_output=True)


@contextmanager
def fuse_for_everyone():
    """Lets ordinary users open /dev/fuse, as distributions do, and puts the old mode back."""
    if not os.path.exists(FUSE_DEVICE):
        yield
        return
    before = stat.S_IMODE(os.stat(FUSE_DEVICE).st_mode)
    os.chmod(FUSE_DEVICE, 0o666)
    try:
        yield
    finally:
        os.chmod(FUSE_DEVICE, before)


def reachable(path, actor):
    """Whether `actor` can run the program at `path`."""
    from .processes import as_actor
    return as_actor(actor, os.access, os.fspath(path), os.X_OK)


def copy_for_everyone(program, directory):
    """A copy of `program` that every user can run."""
    target = os.path.join(directory, os.path.basename(program))
    shutil.copyfile(program, target)
    os.chmod(target, 0o755)
    return target
