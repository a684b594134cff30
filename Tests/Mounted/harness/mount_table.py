"""The kernel's mount table, and the last resorts for mounts that do not go away."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """One line of /proc/self/mountinfo."""

    path: str
    filesystem: str
    source: str
    minor: int
    options: str


def entries():
    """Every mount that this process sees."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        head, tail = line.split(" - ", 1)
        fields, (filesystem, source, options) = head.split(), tail.split(" ", 2)
        path = fields[4].encode().decode("unicode_escape").encode("latin-1").decode(errors="replace")
        minor = int(fields[2].split(":")[1])
        found.append(Entry(path, filesystem, source, minor, fields[5] + "," + options))
    return found


def at(path):
    """The mounts exactly at `path`, oldest first."""
    path = os.fspath(path)
    return [each for each in entries() if each.path == path]


def under(directory):
    """The mounts at or below `directory`, innermost first."""
    directory = os.fspath(directory)
    below = [each for each in entries() if each.path == directory or each.path.startswith(directory + "/")]
    return list(reversed(below))


def abort(entry):
    """Makes every outstanding request of a FUSE mount fail, so that its users can die."""
    try:
        Path(f"/sys/fs/fuse/connections/{entry.minor}/abort").write_text("1")
    except OSError:
        pass  # no fusectl here: killing the daemon does the same


def detach(entry):
    """Takes the mount out of the tree at once, busy or not."""
    subprocess.run(["umount", "--lazy", entry.path], check=False, capture_output=True, timeout=20)
