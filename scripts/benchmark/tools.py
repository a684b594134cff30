"""The mount programs that are compared: how each is started, drained and unmounted, at its documented best."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from .processes import Daemon, Failed, TimedOut, run

ROOT = Path(__file__).resolve().parent.parent.parent
READY_SECONDS = 30


def is_mounted(path: Path) -> bool:
    return any(line.split()[4] == str(path) for line in Path("/proc/self/mountinfo").read_text().splitlines())


class FuseControl:
    """The kernel's control filesystem of FUSE, mounted for the benchmark where the system has not mounted it."""

    def __init__(self, directory: Path):
        self.path = Path("/sys/fs/fuse/connections")
        self.own = not is_mounted(self.path)
        if self.own:
            self.path = directory / "fusectl"
            self.path.mkdir()
            run(["mount", "-t", "fusectl", "none", str(self.path)], 10)

    def requests_waiting(self, mountpoint: Path) -> int:
        """How many requests a mount has not answered; releases of closed files are among them."""
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            fields = line.split()
            if fields[4] == str(mountpoint):
                return int((self.path / fields[2].split(":")[1] / "waiting").read_text())
        return 0

    def close(self) -> None:
        if self.own:
            run(["umount", str(self.path)], 10)


class Tool:
    """One mount of one program, with caches of its own under `directory`."""

    name = "?"
    settle_seconds = 0.0  # how long after the last close its disk cache is not yet written down

    def __init__(self, directory: Path, control: FuseControl, relay, keys: tuple[str, str], bucket: str):
        self.directory = directory
        self.control = control
        self.endpoint = relay.endpoint
        # The authority of an https endpoint.
        self.ca: Path | None = relay.ca
        self.access_key, self.secret_key = keys
        self.bucket = bucket
        self.mountpoint = directory / "mnt"
        self.cache = directory / "cache"
        self.daemon: Daemon | None = None

    @staticmethod
    def missing() -> str | None:
        """Why the program cannot be run here, if so."""

    @staticmethod
    def version() -> str:
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def unmount_command(self) -> list[str]:
        return ["fusermount3", "-u", str(self.mountpoint)]

    def environment(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
            "HOME": str(self.directory),
            **({"CURL_CA_BUNDLE": str(self.ca)} if self.ca else {}),
        }

    def drain(self, deadline: float) -> None:
        """Waits until closed files are in S3, where unmounting does not do so itself."""

    def mount(self) -> None:
        self.mountpoint.mkdir(parents=True, exist_ok=True)
        self.cache.mkdir(exist_ok=True)
        self.daemon = Daemon(self.command(), self.directory / "log", self.environment())
        deadline = time.monotonic() + READY_SECONDS
        while not is_mounted(self.mountpoint):
            if self.daemon.ended():
                raise Failed(f"mount: {self.daemon.last_words()}")
            if time.monotonic() > deadline:
                raise Failed(f"mount: not there after {READY_SECONDS} s: {self.daemon.last_words()}")
            time.sleep(0.01)
        # The first answer from the root: what comes after is the workload's time.
        run(["stat", str(self.mountpoint)], READY_SECONDS)

    def unmount(self, deadline: float) -> None:
        self.drain(deadline)
        run(self.unmount_command(), deadline - time.monotonic())
        self.daemon.wait(deadline - time.monotonic())

    def destroy(self) -> None:
        """Ends whatever is left, gently or not, and removes the caches."""
        if self.daemon:
            if is_mounted(self.mountpoint):
                subprocess.run(["fusermount3", "-u", str(self.mountpoint)], capture_output=True, timeout=60)
                try:
                    self.daemon.wait(5)
                except TimedOut:
                    pass
            self.daemon.kill()
            if is_mounted(self.mountpoint):
                subprocess.run(["umount", "-l", str(self.mountpoint)], capture_output=True, timeout=60)
        if not is_mounted(self.mountpoint):  # else the bucket would be emptied with it
            shutil.rmtree(self.directory, ignore_errors=True)


class Pail(Tool):
    name = "pail"
    program = Path(os.environ.get("PAIL", ROOT / ".build" / "release" / "pail"))

    @classmethod
    def missing(cls):
        return None if cls.program.exists() else f"no {cls.program}: swift build -c release --static-swift-stdlib"

    @classmethod
    def version(cls):
        return run([str(cls.program), "--version"], 10).strip()

    def command(self):
        return [
            str(self.program), "mount", "--foreground", "--endpoint", self.endpoint, "--region", "us-east-1",
            "--state-dir", str(self.directory / "state"), "--cache-dir", str(self.cache),
            *(["--ca-bundle", str(self.ca)] if self.ca else []),
            f"s3://{self.bucket}", str(self.mountpoint),
        ]  # fmt: skip

    def unmount_command(self):
        return [str(self.program), "umount", "--timeout", "600", str(self.mountpoint)]


class S3FS(Tool):
    name = "s3fs"

    @staticmethod
    def missing():
        return None if shutil.which("s3fs") else "no s3fs: scripts/install-dependencies bench"

    @staticmethod
    def version():
        return run(["s3fs", "--version"], 10).splitlines()[0].split("(")[0].replace("Amazon Simple Storage Service File System", "s3fs").strip()

    def command(self):
        keys = self.directory / "passwd"
        keys.touch(mode=0o600)
        keys.write_text(f"{self.access_key}:{self.secret_key}\n")
        options = {
            "url": self.endpoint,
            "passwd_file": keys,
            "use_cache": self.cache,
            # More than the default of 5, which cannot fill a link of 30 ms.
            "parallel_count": 16,
            "multireq_max": 32,
            "max_stat_cache_size": 200_000,
        }
        text = ",".join(["use_path_request_style", *(f"{name}={value}" for name, value in options.items())])
        return ["s3fs", self.bucket, str(self.mountpoint), "-f", "-o", text]


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path):
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class Rclone(Tool):
    name = "rclone"
    settle_seconds = 6.0  # --vfs-handle-caching is 5 s
    program = ROOT / ".build" / "venv" / "bin" / "rclone"

    @classmethod
    def missing(cls):
        return None if cls.program.exists() else "no rclone: scripts/install-dependencies bench"

    @classmethod
    def version(cls):
        return run([str(cls.program), "version"], 10).splitlines()[0].strip()

    def command(self):
        return [
            str(self.program), "mount", f":s3:{self.bucket}", str(self.mountpoint), "--config", "/dev/null",
            "--s3-provider", "Ceph", "--s3-endpoint", self.endpoint, "--s3-env-auth", "--s3-force-path-style",
            "--s3-no-check-bucket", "--cache-dir", str(self.cache),
            # What its documentation recommends for speed on S3, and uploads that start at close.
            "--vfs-cache-mode", "full", "--vfs-read-chunk-streams", "16", "--vfs-read-chunk-size", "4M",
            "--vfs-write-back", "0s", "--transfers", "16",
            *(["--ca-cert", str(self.ca)] if self.ca else []),
            "--rc", "--rc-addr", f"unix://{self.directory}/rc", "--rc-no-auth",
        ]  # fmt: skip

    def drain(self, deadline):
        # rclone uploads when the kernel releases the file, some time after close(), and gives up what is not uploaded
        # when it is unmounted: its documentation says to ask until there is none.
        while True:
            while self.control.requests_waiting(self.mountpoint) and time.monotonic() < deadline:
                time.sleep(0.005)
            connection = UnixConnection(self.directory / "rc")
            connection.request("POST", "/vfs/stats", body="{}", headers={"Content-Type": "application/json"})
            cache = json.loads(connection.getresponse().read()).get("diskCache", {})
            connection.close()
            if cache.get("erroredFiles"):
                raise Failed(f"rclone: {cache['erroredFiles']} uploads failed")
            if not cache.get("uploadsInProgress") and not cache.get("uploadsQueued"):
                return
            if time.monotonic() > deadline:
                raise TimedOut
            time.sleep(0.02)


TOOLS = {tool.name: tool for tool in (Pail, S3FS, Rclone)}
