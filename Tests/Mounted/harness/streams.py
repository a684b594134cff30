"""Directory streams (opendir, telldir, seekdir) and inotify, which Python has no functions for."""

import ctypes
import os
import select
import struct
import time

_LIBC = ctypes.CDLL(None, use_errno=True)


class _Dirent(ctypes.Structure):
    _fields_ = [("number", ctypes.c_uint64), ("offset", ctypes.c_int64), ("length", ctypes.c_ushort),
                ("kind", ctypes.c_ubyte), ("name", ctypes.c_char * 256)]


_LIBC.opendir.restype = ctypes.c_void_p
_LIBC.readdir.restype = ctypes.POINTER(_Dirent)
_LIBC.telldir.restype = ctypes.c_long


class DirectoryStream:
    """A directory that is read entry by entry, with positions to return to."""

    def __init__(self, path):
        self._stream = ctypes.c_void_p(_LIBC.opendir(os.fsencode(path)))
        if not self._stream:
            raise OSError(ctypes.get_errno(), "opendir", path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        _LIBC.closedir(self._stream)

    def __iter__(self):
        """The names from here to the end, without `.` and `..`."""
        return (name for name, _ in self._entries())

    def kinds(self):
        """The types that come with the names from here to the end (`d_type`)."""
        return dict(self._entries())

    def _entries(self):
        while True:
            ctypes.set_errno(0)
            entry = _LIBC.readdir(self._stream)
            if not entry:
                if ctypes.get_errno():
                    raise OSError(ctypes.get_errno(), "readdir")
                return
            name = os.fsdecode(entry.contents.name)
            if name not in (".", ".."):
                yield name, entry.contents.kind

    def tell(self):
        return _LIBC.telldir(self._stream)

    def seek(self, position):
        _LIBC.seekdir(self._stream, ctypes.c_long(position))

    def rewind(self):
        _LIBC.rewinddir(self._stream)


class Inotify:
    """What the kernel tells of watched files, as (path, bits of the event, name)."""

    DELETE_SELF, CREATE, DELETE, MODIFY, ATTRIBUTES = 0x400, 0x100, 0x200, 0x2, 0x4

    def __init__(self, *paths, events=0xFFF):
        self._descriptor = _LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._paths = {}
        for path in paths:
            watch = _LIBC.inotify_add_watch(self._descriptor, os.fsencode(path), events)
            if watch < 0:
                raise OSError(ctypes.get_errno(), "inotify_add_watch", path)
            self._paths[watch] = path
        self.heard = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self._descriptor)

    def hears(self, path, event, seconds):
        """Whether an event of a path has come, or comes within a time."""
        end = time.monotonic() + seconds
        while not any(each == path and bits & event for each, bits, _ in self.heard):
            if not select.select([self._descriptor], [], [], max(0, end - time.monotonic()))[0]:
                return False
            data = os.read(self._descriptor, 1 << 16)
            while data:
                watch, bits, _, length = struct.unpack("iIII", data[:16])
                self.heard.append((self._paths[watch], bits, os.fsdecode(data[16:16 + length].rstrip(b"\0"))))
                data = data[16 + length:]
        return True
