"""Processes that keep a mount busy, one for each way."""

import ctypes
import mmap
import os
import subprocess
import time
from contextlib import contextmanager

from .processes import Forked, wait_for

WAYS = ["working directory", "open file", "mapped file", "root directory", "program"]


@contextmanager
def holding(way, directory, seconds):
    """Keeps `directory` (which gets the file `held`) busy in a process for `seconds`. Yields its pid."""
    file = directory / "held"
    if way == "program":
        with open("/bin/sleep", "rb") as source:
            file.write_bytes(source.read())
        file.chmod(0o755)
        holder = subprocess.Popen([str(file), str(seconds)])
    else:
        file.write_bytes(b"held" * 1000)
    if way == "working directory":
        holder = subprocess.Popen(["sleep", str(seconds)], cwd=directory)
    elif way == "open file":
        with open(file, "rb") as opened:
            holder = subprocess.Popen(["sleep", str(seconds)], stdin=opened)
    elif way in ("mapped file", "root directory"):
        holder = Forked(_map if way == "mapped file" else _change_root, file, seconds)
    try:
        if way == "mapped file":
            wait_for(lambda: _maps(holder.pid, file), 10, "the file is mapped")
        if way == "root directory":
            wait_for(lambda: os.readlink(f"/proc/{holder.pid}/root") == str(directory), 10, "the root is changed")
        yield holder.pid
    finally:
        holder.kill()
        if isinstance(holder, subprocess.Popen):
            holder.wait()


def _maps(pid, file):
    try:
        return str(file) in _read(f"/proc/{pid}/maps")
    except PermissionError:
        return False  # not yet: see _map


def _map(file, seconds):
    # A process that has changed its user hides its /proc entries from that user until it says otherwise (PR_SET_DUMPABLE).
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
    with open(file, "rb") as opened:
        memory = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    # mmap keeps a descriptor of its own, which would be an open file as well.
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}") == str(file):
                os.close(int(name))
        except OSError:
            pass
    time.sleep(seconds)
    return len(memory)


def _change_root(file, seconds):
    os.chroot(file.parent)
    time.sleep(seconds)


def _read(path):
    with open(path) as file:
        return file.read()
