"""The set `reading`: what reading is judged by, in about twenty minutes for three tools behind the relay."""

from .processes import run
from .report import Run
from .store import BIG_SEED, FILELOAD, MB, MEDIUM_BYTES, MEDIUM_SEED, Curl, Store
from .workloads import FirstByte, ReadBig, RereadWarm, Workload

#: The sizes whose objects the set needs.
READING_PARTS = {"big", "huge", "first", "medium"}


class Sequential(ReadBig):
    """`read-big`, with the processor time of a gigabyte."""

    def note(self, run: Run) -> str:
        return f"{run.cpu_seconds / (self.sizes['big'] / 1e9):.2f} CPU s per GB" if run.cpu_seconds else ""


class RereadDropped(RereadWarm):
    name = "reread-dropped"
    warm = "dropped"

    def __init__(self, store: Store):
        super().__init__(store)
        self.title = f"re-read {self.sizes['big'] // MB} MiB, same mount, the kernel's cache dropped"


class RandomOfHuge(Workload):
    """Reads at random offsets of an object that no cache holds."""

    def __init__(self, store: Store, block_bytes: int, threads: int, count: int):
        super().__init__(store)
        self.block_bytes, self.threads, self.count = block_bytes, threads, count
        self.name = f"huge-{block_bytes // 1024}k-{threads}"
        how = f"{threads} threads x {count // threads}" if threads > 1 else f"{count}, one at a time"
        self.title = f"random {block_bytes // 1024} KiB reads of {self.sizes['huge'] // MB} MiB, {how}"

    def run(self, mount, prefix, seconds):
        numbers = [self.block_bytes, self.threads, self.count, self.sizes["big"]]
        run([FILELOAD, "random", str(BIG_SEED), str(mount / "huge"), *map(str, numbers)], seconds)

    def note(self, run: Run) -> str:
        return f"{run.down_bytes / self.count / 1024:.0f} KiB fetched per read"

    def limit(self, relay, prefix):
        curl = Curl(self.store, relay, parallel=self.threads)
        blocks = self.sizes["huge"] // self.block_bytes
        for index in range(self.count):
            first = index * 7919 % blocks * self.block_bytes
            curl.get("huge", first, first + self.block_bytes - 1)
        return curl


class MediumRead(Workload):
    def __init__(self, store: Store, threads: int):
        super().__init__(store)
        self.threads = threads
        self.name = f"medium-{threads}"
        how = f"by {threads} threads" if threads > 1 else "one after another"
        self.title = f"read {self.sizes['medium']} objects of {MEDIUM_BYTES // 1024} KiB, {how}"

    def run(self, mount, prefix, seconds):
        numbers = [self.sizes["medium"], MEDIUM_BYTES, self.threads]
        run([FILELOAD, "read-many", str(MEDIUM_SEED), str(mount / "medium"), *map(str, numbers)], seconds)

    def limit(self, relay, prefix):
        # One by one each costs its round trip, which is the limit then.
        curl = Curl(self.store, relay, parallel=self.threads)
        for index in range(self.sizes["medium"]):
            curl.get(f"medium/f{index:04}")
        return curl


def reading_workloads(store: Store) -> list[Workload]:
    return [
        Sequential(store),
        FirstByte(store),
        RandomOfHuge(store, 4096, 1, store.sizes["random"]),
        RandomOfHuge(store, 65536, 16, 16 * 25),
        RereadDropped(store),
        RereadWarm(store),
        MediumRead(store, 1),
        MediumRead(store, 16),
    ]
