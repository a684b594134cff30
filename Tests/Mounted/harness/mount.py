"""A mount of one test: its directories, its daemon, and the comparison of every file with the bucket."""

import json
import os
from contextlib import contextmanager
from pathlib import Path

from . import mount_table
from .content import digests
from .fakes import Relay
from .processes import MARK, processes_of, run, wait_for
from .servers import REGION

#: What may stay in the state directory after everything is uploaded: indexes and journals, no data.
STATE_BYTES_MAX = 8 << 20
#: What a daemon calls itself.
DAEMON = "pail"


class Mount:
    """Directories of a test (`directory`, `path` of the mount, `scratch` on the local disk) and its tool.

    Methods run as `actor`, or from any process that can become `actor`.
    """

    def __init__(self, tool, actor, bucket, directory, mark, options=()):
        self.tool, self.actor, self.bucket, self.mark = tool, actor, bucket, mark
        self.directory, self.options = Path(directory), list(options)
        self.path, self.scratch, self.home = (self.directory / name for name in ("mnt", "scratch", "home"))
        self.state, self.cache, self.runtime = (self.directory / name for name in ("state", "cache", "run"))
        self.log = self.directory / "daemon.log"
        #: The endpoint that pail is given, when it is not the server's own.
        self.endpoint = None
        for each in (self.directory, self.path, self.scratch, self.home, self.state, self.cache, self.runtime):
            each.mkdir(mode=0o700 if each == self.runtime else 0o755, exist_ok=True)
            actor.owns(each)

    @property
    def environment(self):
        """Everything that a program of the test gets: nothing comes from who runs the suite."""
        values = {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "HOME": str(self.home),
            "TMPDIR": str(self.scratch),
            "XDG_RUNTIME_DIR": str(self.runtime),
            "PAIL_STATE_DIR": str(self.state),
            "PAIL_CACHE_DIR": str(self.cache),
            "GIT_CONFIG_NOSYSTEM": "1",
            MARK: self.mark,
        }
        server = getattr(self.bucket, "server", None)
        if server is not None:
            values |= {
                "AWS_ACCESS_KEY_ID": server.access_key,
                "AWS_SECRET_ACCESS_KEY": server.secret_key,
                "AWS_ENDPOINT_URL_S3": self.endpoint or server.endpoint,
                "AWS_REGION": REGION,
                # Nobody answers there: a test must not ask the machine's cloud for credentials.
                "AWS_EC2_METADATA_DISABLED": "true",
            }
        return values

    # MARK: life

    def start(self, *options):
        """Mounts, with the test's own options unless others are given."""
        self.tool.start(self, list(options) or self.options)

    def stop(self, timeout=120):
        """Unmounts once everything is uploaded. Nothing of the mount may be left."""
        self.tool.stop(self, timeout)
        assert not mount_table.at(self.path) or not self.tool.features, "still in the mount table after umount"

    def remount(self, *options):
        self.stop()
        self.start(*options)

    def flush(self, path=None):
        """Waits until the data of `path` (all by default) is in the bucket."""
        self.tool.flush(self, path or self.path)

    @property
    def mounted(self):
        return bool(mount_table.at(self.path)) or not self.tool.features

    # MARK: pail's own commands

    def pail(self, *arguments, check=True, timeout=60, environment=None, **options):
        """Runs `pail ARGUMENTS` with this test's environment, changed by `environment` (None removes a variable)."""
        values = self.environment | (environment or {})
        return run(self.tool.program, *arguments, check=check, timeout=timeout, actor=self.actor,
                   env={name: value for name, value in values.items() if value is not None}, **options)

    def status(self):
        """The JSON of `pail status` for this mount."""
        answer = json.loads(self.pail("status", "--json", self.path).stdout)
        assert answer["mountpoint"] == str(self.path), answer
        return answer

    @contextmanager
    def through_relay(self, *options, compare=True):
        """Mounts through a `Relay`, which it yields. At the end the faults stop, and files and bucket are compared."""
        with Relay(self.bucket.server.endpoint) as relay:
            self.endpoint = relay.endpoint
            self.start(*options)
            yield relay
            relay.set("none")
            if compare:
                self.compare()

    def daemons(self):
        """The processes that serve this mount."""
        found = processes_of(self.mark, self.directory)
        return [each for each in found if _program(each.pid) in (os.path.realpath(self.tool.program), DAEMON)]

    def daemon(self):
        found = self.daemons()
        assert len(found) == 1, f"one daemon expected: {found}"
        return found[0].pid

    def wait_until_no_daemon(self, timeout=10):
        wait_for(lambda: not self.daemons(), timeout, "the daemon's end")

    # MARK: comparison

    def compare(self):
        """Every regular file through the mount is an object with the same bytes, and there is no other object.

        Reads through the mount, unmounts (which must upload everything), then reads the bucket.
        """
        seen = digests(self.path)
        if self.tool.features:
            self.stop()
        stored = {key: self.bucket.sha256(key) for key in self.bucket.files() if not self._is_link(key)}
        assert seen == stored, _difference(seen, stored)
        if "pail" in self.tool.features:
            self.wait_until_no_daemon()
            left = _bytes_below(self.state)
            assert left <= STATE_BYTES_MAX, f"{left} bytes left in the state directory after everything is uploaded"

    def _is_link(self, key):
        """Whether an object is a symlink: an S3 client sees them as objects, the tree walk does not."""
        if not self.tool.features:
            return False
        mode = self.bucket.head(key)["Metadata"].get("mode", "0")
        return mode.isdigit() and int(mode) & 0o170000 == 0o120000


def _program(pid):
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        # The program of a process that may not be traced cannot be read by its user: its name must do.
        try:
            name = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
        except OSError:
            return None
        return DAEMON if name == DAEMON else os.path.realpath(name) if name else None


def _bytes_below(directory):
    total = 0
    for parent, _, names in os.walk(directory):
        for name in names:
            total += os.lstat(os.path.join(parent, name)).st_blocks * 512
    return total


def _difference(seen, stored):
    lines = []
    for key in sorted(seen.keys() | stored.keys()):
        if key not in stored:
            lines.append(f"  in the mount only: {key!r}")
        elif key not in seen:
            lines.append(f"  in the bucket only: {key!r}")
        elif seen[key] != stored[key]:
            lines.append(f"  other bytes: {key!r}")
    return f"mount and bucket differ in {len(lines)} of {len(seen)} files:\n" + "\n".join(lines[:20])
