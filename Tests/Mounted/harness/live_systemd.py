"""A systemd of the test's own, alive in namespaces: its units, its /etc and its /run are nobody else's."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

from .processes import run, wait_for

SYSTEMD = "/lib/systemd/systemd"
# What every service needs, and has nothing to wait for here.
TARGETS = ("start", "sysinit", "basic", "shutdown", "network-online", "nss-lookup", "remote-fs")

# $1: the directory of units, $2: what is put over /etc.
_START = """
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/etc/upper /run/etc/work
cp -r "$2/." /run/etc/upper
mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/etc/upper,workdir=/run/etc/work /etc
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 none /sys/fs/cgroup
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_UNIT_PATH="$1" \\
    %s --system --unit=start.target --log-target=console --log-level=info --show-status=no
""" % SYSTEMD


class LiveSystemd:
    """A context in which it runs. `unavailable` is set, and nothing runs, where the machine does not allow it."""

    def __init__(self, directory: Path, units: dict[str, str], etc: dict[str, str]):
        self.unavailable = None
        self._log = directory / "systemd.log"
        self._units, self._etc = directory / "units", directory / "etc"
        targets = {f"{name}.target": f"[Unit]\nDescription={name}\n" for name in TARGETS}
        for root, files in ((self._units, targets | units), (self._etc, etc)):
            for name, text in files.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text)
                (root / name).chmod(0o600)

    def __enter__(self):
        if os.geteuid() != 0 or not os.path.exists(SYSTEMD) or not shutil.which("unshare"):
            self.unavailable = "no systemd, or not root"
            return self
        with open(self._log, "w") as log:
            self._process = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--fork", "--cgroup", "--kill-child", "bash", "-ec", _START, "start",
                 self._units, self._etc],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_for(self._is_up, 20, "systemd to run")
        except AssertionError:
            self.unavailable = f"systemd does not run here: {self.log()[-500:]}"
            self.__exit__()
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait(20)

    def _pid(self):
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return children[0] if children else None

    def _is_up(self):
        assert self._process.poll() is None, "it has ended"
        return self._pid() and self.run("systemctl", "is-system-running", check=False).stdout.strip() == "running"

    def log(self):
        return self._log.read_text()

    def run(self, *command, **options):
        """Runs a program where it runs."""
        return run("nsenter", "-t", self._pid(), "-m", "-p", "--", *command, **options)

    def main_pid(self, unit):
        """The process of a service, as the service's own namespace numbers it; 0 for none."""
        return int(self.run("systemctl", "show", "--property=MainPID", "--value", unit).stdout)
