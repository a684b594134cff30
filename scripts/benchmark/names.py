"""The set `names`: what names and directories are judged by."""

from .processes import Failed, run
from .report import Run
from .store import Store
from .workloads import Find, List, Remove, Rename, Untar, Workload

#: The sizes whose objects the set needs.
NAMES_PARTS = {"list", "tree", "small", "directory", "tar"}

#: The seconds that each row is to reach behind the relay of 30 ms, and the HEADs.
TARGETS = {
    "ls": (0.80, None), "ls-l": (0.95, 64), "ls-l-own": (0.95, 0), "find": (0.38, None),
    "rename": (1.5, None), "remove": (0.8, None), "untar": (1.8, None),
}  # fmt: skip


class Judged:
    """A workload whose row says which target it is to reach."""

    def note(self, run: Run) -> str:
        seconds, heads = TARGETS[self.name]
        text = f"target {seconds:.2f} s"
        return text if heads is None else f"{text}, {run.requests.get('HEAD', 0)} HEADs of {heads}"


class JudgedList(Judged, List):
    pass


class JudgedFind(Judged, Find):
    pass


class JudgedRename(Judged, Rename):
    pass


class JudgedRemove(Judged, Remove):
    pass


class JudgedUntar(Judged, Untar):
    pass


class ListOwn(Judged, Workload):
    """`ls -l` of objects that have POSIX metadata, after a remount that remembers them."""

    name = "ls-l-own"
    warm = "again"

    def __init__(self, store: Store):
        super().__init__(store)
        self.title = f"ls -l of {self.sizes['list']} entries with POSIX metadata, remounted"

    def prepare(self, prefix):
        # What pail wrote: the tools that pail is compared with read the same metadata.
        if self.store.keys_under("own/"):
            return
        metadata = {"mode": "33184", "uid": "0", "gid": "0", "mtime": "1700000000.5"}
        self.store.put_many([(f"own/entry-{index:05}.dat", b"0123456789") for index in range(self.sizes["list"])], metadata)

    def warm_up(self, mount, seconds):
        run(["env", "LC_ALL=C", "ls", "-l", str(mount / "own")], seconds)

    def run(self, mount, prefix, seconds):
        lines = run(["env", "LC_ALL=C", "ls", "-l", str(mount / "own")], seconds).splitlines()
        found = sum("entry-" in line and line.startswith("-rw-r-----") for line in lines)
        if found != self.sizes["list"]:
            raise Failed(f"ls shows {found} entries of {self.sizes['list']} with their mode")


def names_workloads(store: Store) -> list[Workload]:
    return [
        JudgedList(store, "ls", []),
        JudgedList(store, "ls-l", ["-l"]),
        ListOwn(store),
        JudgedFind(store),
        JudgedRename(store),
        JudgedRemove(store),
        JudgedUntar(store),
    ]
