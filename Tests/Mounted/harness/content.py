"""File contents that can be told apart, and digests of files and trees."""

import hashlib
import os
import random
import stat


def pattern(size, seed=1):
    """`size` bytes, the same for the same seed; no block of them is like another."""
    return random.Random(f"{seed}/{size}").randbytes(size)


def write_large(path, megabytes, seed=1):
    """Writes a file of random blocks by 1 MiB writes and returns its SHA-256."""
    source, digest = random.Random(seed), hashlib.sha256()
    with open(path, "wb") as file:
        for _ in range(megabytes):
            block = source.randbytes(1 << 20)
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def sha256(path):
    """SHA-256 of a file, read by 1 MiB."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_of(data):
    return hashlib.sha256(data).hexdigest()


def digests(directory):
    """SHA-256 of every regular file below `directory`, by relative path."""
    directory, found = os.fspath(directory), {}
    for parent, _, names in os.walk(directory, onerror=_raise):
        for name in names:
            path = os.path.join(parent, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                found[os.path.relpath(path, directory)] = sha256(path)
    return found


def make_tree(directory):
    """A small source tree: nested directories, modes, old times, an empty file, an empty directory, a symlink."""
    os.makedirs(directory / "src" / "deep" / "deeper")
    os.makedirs(directory / "empty")
    for index in range(24):
        parent = directory / ("src", "src/deep", "src/deep/deeper")[index % 3]
        (parent / f"file{index:02}.txt").write_bytes(pattern(index * 977, index))
    (directory / "src" / "none").touch()
    script = directory / "run.sh"
    script.write_text("#!/bin/sh\necho ran\n")
    script.chmod(0o755)
    (directory / "secret").write_text("secret\n")
    (directory / "secret").chmod(0o600)
    os.symlink("src/file00.txt", directory / "link")
    # Depth first, so that the time of a directory is set after its entries are there.
    for parent, children, names in os.walk(directory, topdown=False):
        for name in names + children:
            path = os.path.join(parent, name)
            os.utime(path, (1_500_000_000, 1_500_000_000 + len(name)), follow_symlinks=False)
    return directory


def describe(directory, directories=True):
    """Type, mode, size or target, and modification second of everything below `directory`, by relative path.

    Without `directories`, a directory has its type only.
    """
    found = {}
    for parent, children, names in os.walk(directory, onerror=_raise):
        for name in children + names:
            path = os.path.join(parent, name)
            status = os.lstat(path)
            mode, time = oct(stat.S_IMODE(status.st_mode)), int(status.st_mtime)
            if stat.S_ISLNK(status.st_mode):
                facts = ("link", os.readlink(path))
            elif stat.S_ISDIR(status.st_mode):
                facts = ("directory", mode, time) if directories else ("directory",)
            else:
                facts = ("file", mode, time, status.st_size, sha256(path))
            found[os.path.relpath(path, directory)] = facts
    return found


def _raise(error):
    raise error
