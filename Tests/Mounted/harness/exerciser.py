"""Random calls on one file against a shadow in memory, in the manner of fsx: reads, writes, mappings, truncates, holes, reopening."""

import ctypes
import mmap
import os
import random

LENGTH_MAX = 24 << 20
#: FALLOC_FL_KEEP_SIZE and FALLOC_FL_PUNCH_HOLE of linux/falloc.h
PUNCH = 0x01 | 0x02


def exercise(path, seed, count, after=lambda: None):
    """Makes `count` random calls on the file at `path` and compares every byte that is read; returns the bytes it has at the
    end. `after` is called now and then, with the file closed."""
    dice, shadow = random.Random(f"exerciser {seed}"), bytearray()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        for step in range(count):
            label = f"seed {seed}, step {step}"
            kind = dice.choices(["read", "write", "mapread", "mapwrite", "truncate", "punch", "fsync", "reopen"],
                                [24, 34, 10, 10, 6, 6, 4, 4])[0]
            offset = dice.randrange(len(shadow) + 1 if dice.random() < 0.9 else LENGTH_MAX // 2)
            size = dice.choice([1, 100, 4096, 65_536, 300_000, 2_000_000]) if dice.random() < 0.9 else 5_500_000
            if kind == "read":
                data = os.pread(descriptor, size, offset)
                assert data == shadow[offset:offset + size], _where(label, data, shadow[offset:offset + size], offset)
            elif kind == "write" and offset + size <= LENGTH_MAX:
                data = dice.randbytes(size)
                _put(shadow, offset, data)
                assert os.pwrite(descriptor, data, offset) == size, label
            elif kind == "mapread" and shadow:
                with mmap.mmap(descriptor, len(shadow), prot=mmap.PROT_READ) as mapping:
                    data = mapping[offset:offset + size]
                    assert data == shadow[offset:offset + size], _where(label, data, shadow[offset:offset + size], offset)
            elif kind == "mapwrite" and offset < len(shadow):
                data = dice.randbytes(min(size, len(shadow) - offset))
                _put(shadow, offset, data)
                with mmap.mmap(descriptor, len(shadow)) as mapping:
                    mapping[offset:offset + len(data)] = data
            elif kind == "truncate":
                length = dice.choice([0, offset, min(offset + size, LENGTH_MAX)])
                del shadow[length:]
                _put(shadow, length, b"")
                os.ftruncate(descriptor, length)
            elif kind == "punch":
                end = min(offset + size, len(shadow))
                if offset < end:
                    shadow[offset:end] = bytes(end - offset)
                _punch(descriptor, offset, size)
            elif kind == "fsync":
                os.fsync(descriptor)
            elif kind == "reopen":
                os.close(descriptor)
                if dice.random() < 0.3:
                    after()
                descriptor = os.open(path, os.O_RDWR)
            assert os.fstat(descriptor).st_size == len(shadow), f"{label}: length after {kind}"
    finally:
        os.close(descriptor)
    return bytes(shadow)


def _punch(descriptor, offset, size):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fallocate(descriptor, PUNCH, ctypes.c_int64(offset), ctypes.c_int64(size)) != 0:
        raise OSError(ctypes.get_errno(), "fallocate")


def _put(shadow, offset, data):
    if len(shadow) < offset:
        shadow.extend(bytes(offset - len(shadow)))
    shadow[offset:offset + len(data)] = data


def _where(label, have, want, offset):
    at = next((i for i, (x, y) in enumerate(zip(have, want)) if x != y), min(len(have), len(want)))
    return f"{label}: {len(have)} bytes for {len(want)}, other from {offset + at}"
