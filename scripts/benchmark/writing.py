"""The set `writing`: what writing is judged by, in about ten minutes for three tools behind the relay."""

from .report import Run
from .store import Store
from .workloads import Append, Overwrite, SmallWrite, WriteBig

#: The sizes whose objects the set needs.
WRITING_PARTS = {"change", "small"}


class WriteLarge(WriteBig):
    """`write-big` until fsync() has answered, with the processor time of a gigabyte."""

    name = "write-large"
    until_stored = False

    def note(self, run: Run) -> str:
        if not run.cpu_seconds:
            return f"{self.sizes['big'] / 1e6 / run.seconds:.0f} MB/s"
        return f"{self.sizes['big'] / 1e6 / run.seconds:.0f} MB/s, {run.cpu_seconds / (self.sizes['big'] / 1e9):.2f} CPU s per GB"


class FilesStored(SmallWrite):
    """Small files until all are in S3 and the mount is gone."""

    name = "files-stored"
    count_name = "written"

    def note(self, run: Run) -> str:
        return f"{run.seconds / self.count * 1000:.2f} ms each"


class FilesClosed(FilesStored):
    """The same until the last close() has returned; that they are in S3 in the end is verified all the same."""

    name = "files-closed"
    until_stored = False

    def __init__(self, store: Store):
        super().__init__(store)
        self.title += ", until the last close()"

    def limit(self, relay, prefix):
        return None


class ChangeInside(Overwrite):
    name = "change-4k"
    until_stored = False
    object_name = "change"

    def note(self, run: Run) -> str:
        return f"{run.up_bytes / 1e6:.2f} MB sent"


class AppendToLarge(Append):
    name = "append-4k"
    until_stored = False
    object_name = "change"

    def note(self, run: Run) -> str:
        return f"{run.up_bytes / 1e6:.2f} MB sent"


def writing_workloads(store: Store) -> list:
    return [WriteLarge(store), FilesStored(store), FilesClosed(store), ChangeInside(store), AppendToLarge(store)]
