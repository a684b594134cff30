"""The programs that can mount: pail, s3fs to compare with, and none (a local directory) to try the suite itself."""

import os

from . import mount_table
from .processes import run, wait_for


class Pail:
    """pail itself."""

    features = {"s3", "pail"}

    def __init__(self, program):
        self.program = program

    def start(self, mount, options):
        run(self.program, "mount", "--log-file", mount.log, *options, mount.bucket.source, mount.path, timeout=30,
            env=mount.environment, actor=mount.actor)

    def stop(self, mount, timeout):
        run(self.program, "umount", "--timeout", str(timeout), mount.path, timeout=timeout + 20,
            env=mount.environment, actor=mount.actor)

    def flush(self, mount, path):
        run(self.program, "flush", "--timeout", "120", path, timeout=140, env=mount.environment, actor=mount.actor)


class S3fs:
    """Debian's s3fs, which shows what the suite finds in another program."""

    features = {"s3"}

    def start(self, mount, _options):
        server, bucket = mount.bucket.server, mount.bucket
        secrets = mount.directory / "passwd-s3fs"
        secrets.write_text(f"{server.access_key}:{server.secret_key}\n")
        secrets.chmod(0o600)
        mount.actor.owns(secrets)
        where = f"{bucket.name}:/{bucket.prefix.rstrip('/')}" if bucket.prefix else bucket.name
        run("s3fs", where, mount.path, "-o", f"url={server.endpoint}", "-o", "use_path_request_style", "-o",
            f"passwd_file={secrets}", "-o", f"logfile={mount.log}", env=mount.environment, actor=mount.actor)
        wait_for(lambda: mount_table.at(mount.path), 10, "s3fs in the mount table")

    def stop(self, mount, timeout):
        def gone():
            run("fusermount", "-u", mount.path, check=False, actor=mount.actor)
            return not mount_table.at(mount.path)
        wait_for(gone, timeout, "s3fs unmounted")

    def flush(self, mount, path):
        pass  # s3fs uploads at close


class Local:
    """No mount at all: the directory itself."""

    features = set()

    def start(self, mount, _options):
        assert os.path.isdir(mount.path)

    def stop(self, mount, timeout):
        pass

    def flush(self, mount, path):
        pass
