"""The workloads. Each knows how to prepare a run, what to time, how to verify it, and what plain curl needs for it."""

import zlib
from pathlib import Path

from .processes import Failed, run
from .report import Run
from .store import BIG_SEED, BUCKET, FILELOAD, FIRST_SEED, MB, PART_BYTES, SMALL_SEED, Curl, Relay, Store


#: What the server is asked to copy at once where an object is changed.
COPY_BYTES = 32 << 20


class Workload:
    """One row of the table. `run` does the timed work through the mount; everything in it is another process."""

    name = ""  # for --only
    title = ""
    until_stored = False  # the time ends when the mount is gone and all is in S3, not when the command ends
    # "same": `warm_up` runs on the same mount; "dropped": then the kernel's caches are dropped; "again": then it is mounted
    # anew, its disk cache kept
    warm = ""
    needs_prefix = False  # works in a directory of its own

    def __init__(self, store: Store):
        self.store = store
        self.sizes = store.sizes

    def prepare(self, prefix: str) -> None:
        pass

    def warm_up(self, mount: Path, seconds: float) -> None:
        pass

    def run(self, mount: Path, prefix: str, seconds: float) -> None:
        raise NotImplementedError

    def note(self, run: Run) -> str:
        """What else the table says of a tool's run."""
        return ""

    def verify(self, prefix: str) -> None:
        """Raises `Failed` when S3 does not hold what was written. Not timed."""

    def limit(self, relay: Relay, prefix: str) -> Curl | None:
        return None


# --- reading ------------------------------------------------------------------------------------------------------


class ReadBig(Workload):
    name = "read-big"

    def __init__(self, store):
        super().__init__(store)
        self.title = f"cold sequential read {self.sizes['big'] // MB} MiB"

    def run(self, mount, prefix, seconds):
        run([FILELOAD, "read", str(BIG_SEED), str(mount / "big")], seconds)

    def limit(self, relay, prefix):
        curl = Curl(self.store, relay)
        for first in range(0, self.sizes["big"], PART_BYTES):
            curl.get("big", first, min(first + PART_BYTES, self.sizes["big"]) - 1)
        return curl


class RereadDisk(ReadBig):
    name = "reread-disk"
    warm = "again"

    def __init__(self, store):
        super().__init__(store)
        self.title = f"re-read {self.sizes['big'] // MB} MiB from disk cache, remounted"

    def warm_up(self, mount, seconds):
        self.run(mount, "", seconds)

    def limit(self, relay, prefix):
        return None


class RereadWarm(RereadDisk):
    name = "reread-warm"
    warm = "same"

    def __init__(self, store):
        super().__init__(store)
        self.title = f"re-read {self.sizes['big'] // MB} MiB, same mount, warm"


class FirstByte(Workload):
    name = "first-byte"

    def __init__(self, store):
        super().__init__(store)
        self.title = f"first 4 KiB of {self.sizes['first']} objects, one by one"

    def run(self, mount, prefix, seconds):
        files = [str(mount / f"first/f{index:04}") for index in range(self.sizes["first"])]
        run([FILELOAD, "first", str(FIRST_SEED), *files], seconds)

    def limit(self, relay, prefix):
        curl = Curl(self.store, relay, parallel=1)
        for index in range(self.sizes["first"]):
            curl.get(f"first/f{index:04}", 0, 4095)
        return curl


class RandomRead(Workload):
    def __init__(self, store, block_bytes, threads):
        super().__init__(store)
        self.block_bytes, self.threads = block_bytes, threads
        self.count = self.sizes["random"] * (8 if threads > 1 else 1)
        self.name = f"random-{block_bytes // 1024}k-{threads}"
        self.title = f"{self.count} random reads of {block_bytes // 1024} KiB, {threads} thread{'s' * (threads > 1)}"

    def run(self, mount, prefix, seconds):
        numbers = [str(self.block_bytes), str(self.threads), str(self.count)]
        run([FILELOAD, "random", str(BIG_SEED), str(mount / "big"), *numbers], seconds)

    def limit(self, relay, prefix):
        curl = Curl(self.store, relay, parallel=self.threads)
        blocks = self.sizes["big"] // self.block_bytes
        for index in range(self.count):
            first = index * 7919 % blocks * self.block_bytes
            curl.get("big", first, first + self.block_bytes - 1)
        return curl


class SmallRead(Workload):
    name = "small-read"

    def __init__(self, store):
        super().__init__(store)
        self.title = f"read {self.sizes['small']} files of 4 KiB"

    def run(self, mount, prefix, seconds):
        run([FILELOAD, "read-many", str(SMALL_SEED), str(mount / "small"), str(self.sizes["small"]), "4096"], seconds)

    def limit(self, relay, prefix):
        curl = Curl(self.store, relay)
        for index in range(self.sizes["small"]):
            curl.get(f"small/f{index:04}")
        return curl


# --- names --------------------------------------------------------------------------------------------------------


def lists(store: Store, relay: Relay, prefix: str) -> Curl:
    """The pages of a listing, one after the other: a page's token is known only from the page before."""
    curl = Curl(store, relay, parallel=1)
    token = None
    while True:
        parameters = {"Prefix": prefix, **({"ContinuationToken": token} if token else {})}
        curl.add(curl.url("list_objects_v2", **parameters))
        token = store.client.list_objects_v2(Bucket=BUCKET, **parameters).get("NextContinuationToken")
        if not token:
            return curl


class List(Workload):
    def __init__(self, store, name, options):
        super().__init__(store)
        self.name, self.options = name, options
        self.title = f"ls {' '.join(options) + ' ' if options else ''}of {self.sizes['list']} entries"

    def run(self, mount, prefix, seconds):
        lines = run(["env", "LC_ALL=C", "ls", *self.options, str(mount / "list")], seconds).splitlines()
        found = sum("entry-" in line for line in lines)
        if found != self.sizes["list"]:
            raise Failed(f"ls shows {found} entries of {self.sizes['list']}")

    def limit(self, relay, prefix):
        return lists(self.store, relay, "list/")


class Find(Workload):
    name = "find"

    def __init__(self, store):
        super().__init__(store)
        self.title = f"find over {self.sizes['tree']} files in {self.sizes['tree'] // 10} directories"

    def run(self, mount, prefix, seconds):
        found = len(run(["find", str(mount / "tree"), "-type", "f"], seconds).splitlines())
        if found != self.sizes["tree"]:
            raise Failed(f"find shows {found} files of {self.sizes['tree']}")

    def limit(self, relay, prefix):
        return lists(self.store, relay, "tree/")


# --- writing ------------------------------------------------------------------------------------------------------


class Writing(Workload):
    until_stored = True
    needs_prefix = True


class WriteBig(Writing):
    name = "write-big"

    def __init__(self, store):
        super().__init__(store)
        self.title = f"sequential write {self.sizes['big'] // MB} MiB + fsync"

    def run(self, mount, prefix, seconds):
        run([FILELOAD, "write", "2", str(mount / prefix / "big"), str(self.sizes["big"])], seconds)

    def verify(self, prefix):
        count = self.store.verify(f"{prefix}/big", seed=2)
        if count != self.sizes["big"]:
            raise Failed(f"{count} bytes in S3 of {self.sizes['big']}")

    def limit(self, relay, prefix):
        curl = Curl(self.store, relay)
        part = self.store.directory / "part"
        if not part.exists():
            run([FILELOAD, "write", "3", str(part), str(PART_BYTES)], 60)
        client, key = self.store.client, f"{prefix}/limit"
        upload = client.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
        for number in range(1, -(-self.sizes["big"] // PART_BYTES) + 1):
            url = curl.url("upload_part", Key=key, UploadId=upload, PartNumber=number)
            curl.add(url, upload_file=str(part))
        curl.after = lambda: client.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload)
        return curl


class SmallWrite(Writing):
    name = "small-write"
    count_name = "small"  # the size that says how many

    def __init__(self, store):
        super().__init__(store)
        self.count = self.sizes[self.count_name]
        self.title = f"write {self.count} files of 4 KiB"

    def run(self, mount, prefix, seconds):
        run([FILELOAD, "write-many", "40000", str(mount / prefix), str(self.count), "4096"], seconds)

    def verify(self, prefix):
        verify_sizes(self.store, prefix, {f"{prefix}/f{index:04}": 4096 for index in range(self.count)})
        middle = self.count // 2
        self.store.verify(f"{prefix}/f{middle:04}", seed=40_000 + middle)

    def limit(self, relay, prefix):
        curl = Curl(self.store, relay)
        file = self.store.directory / "small" / "f0000"
        for index in range(self.count):
            curl.add(curl.url("put_object", Key=f"{prefix}/l{index:04}"), upload_file=str(file))
        return curl


class Untar(Writing):
    name = "untar"

    def __init__(self, store):
        super().__init__(store)
        self.title = f"untar {len(store.tar_files)} source files in {len(store.tar_directories)} directories"

    def run(self, mount, prefix, seconds):
        run(["tar", "-xf", str(self.store.tar), "-C", str(mount / prefix), "--no-same-owner"], seconds)

    def verify(self, prefix):
        present = self.store.keys_under(f"{prefix}/source/")
        missing = [name for name in self.store.tar_files if f"{prefix}/{name}" not in present]
        if missing:
            raise Failed(f"{len(missing)} files are not in S3, {missing[0]} first")
        for name, crc in list(self.store.tar_files.items())[::20]:
            body = self.store.client.get_object(Bucket=BUCKET, Key=f"{prefix}/{name}")["Body"].read()
            if zlib.crc32(body) != crc:
                raise Failed(f"{name} differs in S3")

    def limit(self, relay, prefix):
        curl = Curl(self.store, relay)
        files = self.store.directory / "tree"
        if not files.exists():
            files.mkdir()
            run(["tar", "-xf", str(self.store.tar), "-C", str(files)], 60)
        for name in self.store.tar_files:
            curl.add(curl.url("put_object", Key=f"{prefix}/{name}"), upload_file=str(files / name))
        return curl


class ChangeBig(Writing):
    """A change of 4 KiB to an object that is there already."""

    object_name = "big"  # the object, and the size that says how large it is

    def __init__(self, store):
        super().__init__(store)
        self.object_bytes = self.sizes[self.object_name]

    def prepare(self, prefix):
        self.store.copy_object(self.object_name, f"{prefix}/big")

    def verify(self, prefix):
        key, pages = f"{prefix}/big", self.object_bytes // 4096
        size = self.store.client.head_object(Bucket=BUCKET, Key=key)["ContentLength"]
        if size != self.expected_bytes():
            raise Failed(f"{size} bytes in S3, not {self.expected_bytes()}")
        # What was there before, at both ends and around the change.
        self.store.verify(key, BIG_SEED, 0, 256)
        self.store.verify(key, BIG_SEED, pages // 2 - 256, 256)
        self.store.verify(key, BIG_SEED, pages // 2 + 1, 256)
        self.verify_change(key, pages)

    def expected_bytes(self) -> int:
        return self.object_bytes

    def limit(self, relay, prefix):
        # An object is never changed: the server copies what stays, and that alone is timed here.
        curl = Curl(self.store, relay)
        client, key, source = self.store.client, f"{prefix}/limit", f"{prefix}/big"
        upload = client.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
        for number in range(-(-self.object_bytes // COPY_BYTES)):
            last = min((number + 1) * COPY_BYTES, self.object_bytes) - 1
            ranges = {"CopySource": {"Bucket": BUCKET, "Key": source}, "CopySourceRange": f"bytes={number * COPY_BYTES}-{last}"}
            url = curl.url("upload_part_copy", Key=key, UploadId=upload, PartNumber=number + 1, **ranges)
            headers = {
                "x-amz-copy-source": f"{BUCKET}/{source}", "x-amz-copy-source-range": ranges["CopySourceRange"],
                "Content-Length": "0",
            }
            curl.add(url, request="PUT", header=[f"{name}: {value}" for name, value in headers.items()])
        curl.after = lambda: client.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload)
        return curl


class Overwrite(ChangeBig):
    name = "overwrite"

    def __init__(self, store):
        super().__init__(store)
        self.title = f"overwrite 4 KiB inside {self.object_bytes // MB} MiB + fsync"

    def run(self, mount, prefix, seconds):
        middle = self.object_bytes // 2
        run([FILELOAD, "patch", "5", str(mount / prefix / "big"), str(middle), "4096"], seconds)

    def verify_change(self, key, pages):
        self.store.verify(key, 5, pages // 2, 1)
        self.store.verify(key, BIG_SEED, pages - 256, 256)


class Append(ChangeBig):
    name = "append"

    def __init__(self, store):
        super().__init__(store)
        self.title = f"append 4 KiB to {self.object_bytes // MB} MiB + fsync"

    def expected_bytes(self):
        return self.object_bytes + 4096

    def run(self, mount, prefix, seconds):
        run([FILELOAD, "append", str(BIG_SEED), str(mount / prefix / "big"), "4096"], seconds)

    def verify_change(self, key, pages):
        self.store.verify(key, BIG_SEED, pages - 256, 257)


class OfDirectory(Writing):
    """Something done to a directory of files."""

    def prepare(self, prefix):
        self.store.make_prefix(f"{prefix}/from")
        body = (self.store.directory / "small" / "f0000").read_bytes()
        self.store.put_many([(f"{prefix}/from/f{index:04}", body) for index in range(self.sizes["directory"])])


class Rename(OfDirectory):
    name = "rename"

    def __init__(self, store):
        super().__init__(store)
        self.title = f"rename a directory of {self.sizes['directory']}"

    def run(self, mount, prefix, seconds):
        run(["mv", str(mount / prefix / "from"), str(mount / prefix / "to")], seconds)

    def verify(self, prefix):
        verify_sizes(self.store, prefix, {f"{prefix}/to/f{index:04}": 4096 for index in range(self.sizes["directory"])})
        self.store.verify(f"{prefix}/to/f0000", SMALL_SEED)

    def limit(self, relay, prefix):
        # Copies side by side, then deletions side by side: two runs of curl, counted together.
        curl, delete = Curl(self.store, relay), Curl(self.store, relay)
        for index in range(self.sizes["directory"]):
            source = {"Bucket": BUCKET, "Key": f"{prefix}/from/f{index:04}"}
            url = curl.url("copy_object", Key=f"{prefix}/to/f{index:04}", CopySource=source)
            header = f"x-amz-copy-source: {BUCKET}/{source['Key']}"
            curl.add(url, request="PUT", header=header)
            delete.add(delete.url("delete_object", Key=source["Key"]), request="DELETE")
        curl.then = delete
        return curl


class Remove(OfDirectory):
    name = "remove"

    def __init__(self, store):
        super().__init__(store)
        self.title = f"rm -r of a directory of {self.sizes['directory']}"

    def run(self, mount, prefix, seconds):
        run(["rm", "-r", str(mount / prefix / "from")], seconds)

    def verify(self, prefix):
        verify_sizes(self.store, prefix, {})

    def limit(self, relay, prefix):
        curl = Curl(self.store, relay)
        for index in range(self.sizes["directory"]):
            curl.add(curl.url("delete_object", Key=f"{prefix}/from/f{index:04}"), request="DELETE")
        return curl


def verify_sizes(store: Store, prefix: str, expected: dict[str, int]) -> None:
    """The files under the prefix must be exactly these; directory markers may be there or not."""
    present = {key: size for key, size in store.keys_under(prefix + "/").items() if not key.endswith("/")}
    if present != expected:
        missing = sorted(set(expected) - set(present))
        extra = sorted(set(present) - set(expected))
        raise Failed(f"in S3: {len(present)} of {len(expected)} files, missing {missing[:1]}, unexpected {extra[:1]}")


def all_workloads(store: Store) -> list[Workload]:
    return [
        ReadBig(store),
        FirstByte(store),
        RandomRead(store, 4096, 1),
        RandomRead(store, 4096, 16),
        RandomRead(store, 65536, 1),
        RandomRead(store, 65536, 16),
        RereadDisk(store),
        RereadWarm(store),
        SmallRead(store),
        List(store, "ls", []),
        List(store, "ls-l", ["-l"]),
        Find(store),
        WriteBig(store),
        SmallWrite(store),
        Overwrite(store),
        Append(store),
        Rename(store),
        Remove(store),
        Untar(store),
    ]
