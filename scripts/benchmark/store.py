"""The other end: the S3 server, the relays in front of it, the objects, and what plain curl can do with them."""

import concurrent.futures
import http.client
import io
import json
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import boto3
from botocore.client import Config

from .processes import Daemon, Failed, TimedOut, run, usage
from .tools import ROOT

FILELOAD = str(ROOT / ".build" / "tools" / "fileload")
BUCKET = "bench"
PART_BYTES = 8 << 20
PARALLEL = 32
MB = 1 << 20
BIG_SEED, FIRST_SEED, SMALL_SEED, MEDIUM_SEED = 1, 1000, 20_000, 30_000
MEDIUM_BYTES = 16 << 10


class Relay:
    """A relay process, and the endpoint of the server behind it."""

    def __init__(self, name: str, target: int, latency_ms: float, rate_mb: float, directory: Path, tls: bool = False):
        self.name = name
        self.description = f"{latency_ms:g} ms to the first byte, {rate_mb:g} MB/s per connection" if latency_ms else "no delay, no limit"
        program = str(ROOT / ".build" / "tools" / "relay")
        self.log = directory / f"relay-{name}.log"
        command = [program, "--target", str(target), "--latency-ms", str(latency_ms), "--rate-mb", str(rate_mb)]
        self.daemon = Daemon(command, self.log)
        deadline = time.monotonic() + 5
        while not (match := re.search(r"listen=(\d+) control=(\d+)", self.log.read_text())):
            if time.monotonic() > deadline:
                raise Failed(f"relay: {self.daemon.last_words()}")
            time.sleep(0.01)
        self.port, self.control = int(match[1]), int(match[2])
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.front = None
        self.ca: Path | None = None
        if tls:
            self.front = TLSFront(self.port, directory / f"tls-{name}")
            self.ca = self.front.ca
            self.endpoint = f"https://127.0.0.1:{self.front.port}"
            self.description += ", https"

    def kill(self) -> None:
        if self.front:
            self.front.daemon.kill()
        self.daemon.kill()

    def ask(self, what: str) -> dict:
        connection = http.client.HTTPConnection("127.0.0.1", self.control, timeout=10)
        connection.request("GET", what)
        counters = json.loads(connection.getresponse().read())
        connection.close()
        return counters


class TLSFront:
    """stunnel before a relay, one connection for each, with a certificate of an authority of its own."""

    def __init__(self, upstream: int, directory: Path):
        if not shutil.which("stunnel"):
            raise Failed("no stunnel: scripts/install-dependencies bench")
        directory.mkdir()
        self.ca = directory / "ca.pem"
        make_certificates(directory)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        configuration = directory / "stunnel.conf"
        configuration.write_text(
            f"foreground = yes\npid =\nsyslog = no\ndebug = warning\n"
            f"[s3]\naccept = 127.0.0.1:{self.port}\nconnect = 127.0.0.1:{upstream}\n"
            f"cert = {directory}/cert.pem\nkey = {directory}/key.pem\n"
            # As a kept connection of a plain server: a response may be long in coming.
            "TIMEOUTidle = 600\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n"
        )
        self.daemon = Daemon(["stunnel", str(configuration)], directory / "log")
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                if self.daemon.ended() or time.monotonic() > deadline:
                    raise Failed(f"stunnel: {self.daemon.last_words()}") from None
                time.sleep(0.02)


def make_certificates(directory: Path) -> None:
    """`ca.pem`, and `cert.pem` and `key.pem` of a server on 127.0.0.1 that it vouches for."""
    (directory / "san").write_text("subjectAltName=IP:127.0.0.1\n")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    for arguments in (
        ["req", "-x509", "-subj", "/CN=benchmark authority", "-days", "7", "-keyout", "ca.key", "-out", "ca.pem", *key],
        ["req", "-subj", "/CN=server", "-keyout", "key.pem", "-out", "csr.pem", *key],
        ["x509", "-req", "-in", "csr.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "7",
         "-extfile", "san", "-out", "cert.pem"],
    ):  # fmt: skip
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True, timeout=30)


class Store:
    """The bucket of the benchmark, spoken to directly: what is prepared and verified is not counted."""

    def __init__(self, directory: Path, kind: str, sizes: dict[str, int]):
        self.directory = directory
        self.sizes = sizes
        self.kind = kind
        # RGW in memory: what the server's disk does would be measured otherwise, and on fewer cores.
        options = ["--memory"] if kind == "rgw" else []
        line = run([str(ROOT / "scripts" / "s3-server"), "start", str(directory / "server"), "--kind", kind, *options], 180)
        fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
        self.keys = (fields["access_key"], fields["secret_key"])
        self.endpoint = fields["endpoint"]
        self.port = int(self.endpoint.rsplit(":", 1)[1])
        settings = json.loads((directory / "server" / "server.json").read_text())
        self.pids = [process["pid"] for process in settings["processes"]]
        self.client = self.make_client(self.endpoint)

    def cpu_seconds(self) -> float:
        return usage(self.pids).cpu_seconds

    def make_client(self, endpoint: str):
        return boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.keys[0],
            aws_secret_access_key=self.keys[1],
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                max_pool_connections=32,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    # --- objects ---

    def put_many(self, objects: list[tuple[str, bytes]], metadata: dict[str, str] | None = None) -> None:
        def put(item):
            self.client.put_object(Bucket=BUCKET, Key=item[0], Body=item[1], Metadata=metadata or {})

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            list(pool.map(put, objects))

    def put_generated(self, key: str, seed: int, size: int) -> None:
        process = subprocess.Popen([FILELOAD, "generate", str(seed), str(size)], stdout=subprocess.PIPE)
        self.client.upload_fileobj(process.stdout, BUCKET, key)
        if process.wait() != 0:
            raise Failed("fileload generate")

    def prepare(self, parts: set[str]) -> None:
        """The objects that the workloads share: those of the sizes that are named."""
        sizes = self.sizes
        self.client.create_bucket(Bucket=BUCKET)
        if "big" in parts:
            self.put_generated("big", BIG_SEED, sizes["big"])
        if "change" in parts:
            self.put_generated("change", BIG_SEED, sizes["change"])
        if "huge" in parts:
            self.make_huge()
        if "first" in parts:
            for index in range(sizes["first"]):
                self.put_generated(f"first/f{index:04}", FIRST_SEED + index, 8 * MB)
        if "list" in parts:
            self.put_many([(f"list/entry-{index:05}.dat", b"0123456789") for index in range(sizes["list"])])
        if "tree" in parts:
            per_directory = 10
            names = [f"tree/d{index // per_directory:03}/f{index % per_directory}" for index in range(sizes["tree"])]
            self.put_many([(name, b"0123456789") for name in names])
        if "small" in parts:
            self.put_files("small", SMALL_SEED, sizes["small"], 4096)
        if "medium" in parts:
            self.put_files("medium", MEDIUM_SEED, sizes["medium"], MEDIUM_BYTES)
        if "tar" in parts:
            self.make_source_tree()

    def put_files(self, name: str, seed: int, count: int, size: int) -> None:
        directory = self.directory / name
        directory.mkdir()
        run([FILELOAD, "write-many", str(seed), str(directory), str(count), str(size)], 60)
        self.put_many([(f"{name}/{path.name}", path.read_bytes()) for path in sorted(directory.iterdir())])

    def make_huge(self) -> None:
        """An object that repeats `big`, put together by the server."""
        big, client = self.sizes["big"], self.client
        upload = client.create_multipart_upload(Bucket=BUCKET, Key="huge")["UploadId"]
        part_bytes = min(256 * MB, big)

        def copy(number: int) -> dict:
            first = (number - 1) * part_bytes % big
            answer = client.upload_part_copy(
                Bucket=BUCKET, Key="huge", UploadId=upload, PartNumber=number,
                CopySource={"Bucket": BUCKET, "Key": "big"}, CopySourceRange=f"bytes={first}-{first + part_bytes - 1}",
            )  # fmt: skip
            return {"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]}

        if big % part_bytes or self.sizes["huge"] % part_bytes:
            raise Failed("--sizes: huge must be a multiple of big or of 256M, and big of 256M where it is larger")
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            parts = list(pool.map(copy, range(1, self.sizes["huge"] // part_bytes + 1)))
        client.complete_multipart_upload(Bucket=BUCKET, Key="huge", UploadId=upload, MultipartUpload={"Parts": parts})

    def make_source_tree(self) -> None:
        """A tar of real source files and their directories: of Python's own library, spread over all of it."""
        library = Path(json.__file__).parent.parent
        everything = [
            path for path in sorted(library.rglob("*.py"))
            if not {"test", "tests", "site-packages", "dist-packages"} & set(path.relative_to(library).parts)
        ]  # fmt: skip
        count = self.sizes["tar"]
        if len(everything) < count:
            raise Failed(f"--sizes: Python's library has {len(everything)} files, not {count}")
        self.tar = self.directory / "source.tar"
        self.tar_files: dict[str, int] = {}
        self.tar_directories: set[str] = set()
        with tarfile.open(self.tar, "w") as archive:

            def add(name: str, data: bytes | None) -> None:
                info = tarfile.TarInfo(name)
                info.mtime = 1_700_000_000
                if data is None:
                    info.type, info.mode = tarfile.DIRTYPE, 0o755
                    archive.addfile(info)
                else:
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))

            for index in range(count):
                path = everything[index * len(everything) // count]
                name = Path("source") / path.relative_to(library)
                for directory in reversed(name.parents[:-1]):
                    if str(directory) not in self.tar_directories:
                        self.tar_directories.add(str(directory))
                        add(str(directory), None)
                data = path.read_bytes()
                add(str(name), data)
                self.tar_files[str(name)] = zlib.crc32(data)

    def make_prefix(self, prefix: str) -> None:
        """A directory that every tool sees."""
        self.client.put_object(Bucket=BUCKET, Key=f"{prefix}/", Body=b"", ContentType="application/x-directory")

    def copy_object(self, name: str, key: str) -> None:
        self.client.copy({"Bucket": BUCKET, "Key": name}, BUCKET, key)

    def keys_under(self, prefix: str) -> dict[str, int]:
        found = {}
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
            for item in page.get("Contents", []):
                found[item["Key"]] = item["Size"]
        return found

    def remove_prefix(self, prefix: str) -> None:
        keys = list(self.keys_under(prefix + "/"))
        for start in range(0, len(keys), 1000):
            batch = [{"Key": key} for key in keys[start : start + 1000]]
            self.client.delete_objects(Bucket=BUCKET, Delete={"Objects": batch, "Quiet": True})

    def verify(self, key: str, seed: int, first_page: int = 0, pages: int | None = None) -> int:
        """Compares the object, or some pages of it, with what it must hold; the number of bytes compared."""
        options = {"Range": f"bytes={first_page * 4096}-{(first_page + pages) * 4096 - 1}"} if pages else {}
        url = self.client.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": key}, ExpiresIn=3600)
        header = ["-H", f"Range: {options['Range']}"] if options else []
        curl = subprocess.Popen(["curl", "-sf", *header, url], stdout=subprocess.PIPE)
        try:
            count = int(run([FILELOAD, "verify", str(seed), str(first_page)], 300, stdin=curl.stdout))
        finally:
            curl.stdout.close()
            status = curl.wait()
        if status != 0:
            raise Failed(f"{key}: not readable from S3 (curl {status})")
        return count


class Curl:
    """One curl that makes many requests side by side, and the seconds that it takes."""

    def __init__(self, store: Store, relay: Relay, parallel: int = PARALLEL):
        self.client = store.make_client(relay.endpoint)
        self.ca = relay.ca
        self.parallel = parallel
        self.entries: list[str] = []
        self.then: Curl | None = None  # what can start only after all of these
        self.after: Callable[[], object] | None = None  # not timed

    def url(self, operation: str, **parameters) -> str:
        return self.client.generate_presigned_url(operation, Params={"Bucket": BUCKET, **parameters}, ExpiresIn=7200)

    def add(self, url: str, **options: str | list[str]) -> None:
        """A request, and curl's options for it; a list gives one several times."""
        lines = [f'url = "{url}"', 'output = "/dev/null"', 'write-out = "%{http_code}\\n"', "silent"]
        if self.ca:
            lines.append(f'cacert = "{self.ca}"')
        for name, values in options.items():
            lines += [f'{name.replace("_", "-")} = "{value}"' for value in ([values] if isinstance(values, str) else values)]
        self.entries.append("\n".join(lines))

    def get(self, key: str, first: int | None = None, last: int | None = None) -> None:
        options = {} if first is None else {"range": f"{first}-{last}"}
        self.add(self.url("get_object", Key=key), **options)

    def run(self, seconds: float) -> float:
        parallel = f"parallel\nparallel-immediate\nparallel-max = {self.parallel}\n" if self.parallel > 1 else ""
        configuration = parallel + "\nnext\n".join(self.entries) + "\n"
        start = time.perf_counter()
        try:
            result = subprocess.run(
                ["curl", "--config", "-"], input=configuration, capture_output=True, text=True, timeout=seconds
            )
        except subprocess.TimeoutExpired:
            raise TimedOut from None
        taken = time.perf_counter() - start
        statuses = result.stdout.split()
        wrong = [status for status in statuses if status not in ("200", "204", "206")]
        if result.returncode or wrong or len(statuses) != len(self.entries):
            raise Failed(f"curl: exit {result.returncode}, {len(statuses)} answers, wrong: {wrong[:3]} {result.stderr[-200:]}")
        return taken


def stop_server(directory: Path) -> None:
    """Stops the server of a store, also one that was not yet ready."""
    if (directory / "server" / "server.json").exists():
        subprocess.run([str(ROOT / "scripts" / "s3-server"), "stop", str(directory / "server")], check=False)


def warn(message: str) -> None:
    print(f"bench: {message}", file=sys.stderr)
