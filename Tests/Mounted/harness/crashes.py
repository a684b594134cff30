"""Random calls on files and directories that end when the daemon is killed, and what must be there afterwards."""

import errno
import os
import random
import time
from dataclasses import dataclass, field, replace

from .content import pattern

NAMES = ["a", "b", "c", "d"]
#: Of runs that are about directories.
DIRECTORIES = ["x", "y", "x/z"]
PLACES = ["a", "b", "x/a", "x/b", "y/a", "x/z/a"]
SLOTS = 3
#: Sizes of single writes; most are small, some are parts of a multipart upload.
SIZES = [1, 100, 4096, 5000, 60_000, 131_072]
LARGE = 1 << 20
#: An object whose changes are made of parts that the server copies, and of what was changed.
LARGE_OBJECT = 20 << 20

#: What a run is about, and how often: small files, one large file that is written in order and sent meanwhile, one large
#: object that is changed, directories and what is in them.
SUBJECTS = {"files": 40, "stream": 15, "large object": 20, "directories": 25}


@dataclass(frozen=True)
class Call:
    """One system call (or open and truncate together), and what became of it: "done", "refused" or "unknown"."""

    kind: str
    name: str = ""
    to: str = ""
    slot: int = 0
    offset: int = 0
    size: int = 0
    seed: str = ""
    outcome: str = "done"


def subject(seed):
    """What the run of a seed is about: one of `SUBJECTS`."""
    return random.Random(f"subject {seed}").choices(list(SUBJECTS), SUBJECTS.values())[0]


def earlier_objects(seed):
    """What other tools have put where the run of a seed is made: bytes by key. Its directories are implied only."""
    dice = random.Random(f"before {seed}")
    names = PLACES if subject(seed) == "directories" else NAMES
    found = {name: pattern(dice.choice(SIZES), f"before {seed}") for name in names if dice.random() < 0.4}
    if subject(seed) == "large object":
        found["a"] = pattern(LARGE_OBJECT, f"before {seed}")
    return found


def make_calls(directory, seed, deadline):
    """Calls on files of a directory until one fails because the daemon is gone, or the time is over. For a process of its
    own; returns the calls in order, of which only the last one may be "unknown", and when that failed (monotonic)."""
    dice, slots, log = random.Random(seed), {}, []
    choose = {"files": _random_call, "stream": _stream_call, "large object": _change_call,
              "directories": _tree_call}[subject(seed)]
    while time.monotonic() < deadline:
        call = choose(dice, slots, len(log))
        if call is None:
            continue
        try:
            _make(directory, call, slots)
            log.append(call)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY):
                log.append(replace(call, outcome="refused"))
                continue
            log.append(replace(call, outcome="unknown"))
            return log, time.monotonic(), str(error)
    return log, time.monotonic(), ""


def _random_call(dice, slots, count, names=NAMES):
    kind = dice.choices(["create", "open", "write", "append", "truncate", "fsync", "close", "rename", "unlink", "chmod"],
                        [14, 10, 34, 8, 4, 6, 14, 6, 4, 3])[0]
    name, to, slot = dice.choice(names), dice.choice(names), dice.randrange(SLOTS)
    size = dice.choice(SIZES)
    if kind in ("create", "open"):
        return Call(kind, name, slot=slot) if slot not in slots else None
    if kind in ("write", "append", "truncate", "fsync", "close"):
        if slot not in slots:
            return None
        return Call(kind, slot=slot, offset=dice.choice([0, 10, 4096, 200_000]), size=size, seed=f"{count}")
    if kind == "rename" and name == to:
        return None
    return Call(kind, name, to)


def _stream_call(dice, slots, count):
    if 0 not in slots:
        return Call("create", "a", slot=0)
    kind = dice.choices(["append", "fsync", "write", "close"], [100, 1, 2, 1])[0]
    return Call(kind, slot=0, offset=dice.choice([0, 5_000_000]), size=LARGE if kind == "append" else 5000,
                seed=f"{count}")


def _change_call(dice, slots, count):
    """Changes of the large object, which is not replaced but renamed now and then."""
    if 0 not in slots:
        kind = dice.choices(["open", "rename", "chmod"], [8, 1, 1])[0]
        name, to = dice.sample(["a", "b"], 2)
        return Call(kind, name, to if kind == "rename" else "", slot=0)
    kind = dice.choices(["write", "append", "truncate", "fsync", "close"], [20, 4, 1, 2, 3])[0]
    size = dice.choice([3, 24, 16, 18]) * LARGE + 5 if kind == "truncate" else dice.choice([100, 5000, LARGE])
    return Call(kind, slot=0, offset=dice.randrange(LARGE_OBJECT + LARGE), size=size, seed=f"{count}")


def _tree_call(dice, slots, count):
    if dice.random() < 0.7:
        return _random_call(dice, slots, count, PLACES)
    kind = dice.choices(["mkdir", "rmdir", "move"], [4, 3, 3])[0]
    name, to = dice.choice(DIRECTORIES), dice.choice(DIRECTORIES)
    if kind != "move":
        return Call(kind, name)
    return Call(kind, name, to) if not f"{to}/".startswith(f"{name}/") else None


def _make(directory, call, slots):
    if call.kind in ("create", "open"):
        flags = os.O_RDWR | (os.O_CREAT | os.O_TRUNC if call.kind == "create" else 0)
        slots[call.slot] = (os.open(directory / call.name, flags, 0o644), call.name)
    elif call.kind == "write":
        _whole(os.pwrite(slots[call.slot][0], pattern(call.size, call.seed), call.offset), call.size)
    elif call.kind == "append":
        descriptor = slots[call.slot][0]
        end = os.lseek(descriptor, 0, os.SEEK_END)
        _whole(os.pwrite(descriptor, pattern(call.size, call.seed), end), call.size)
    elif call.kind == "truncate":
        os.ftruncate(slots[call.slot][0], call.size)
    elif call.kind == "fsync":
        os.fsync(slots[call.slot][0])
    elif call.kind == "close":
        descriptor = slots.pop(call.slot)[0]
        os.close(descriptor)
    elif call.kind in ("rename", "move"):
        os.rename(directory / call.name, directory / call.to)
    elif call.kind == "unlink":
        os.unlink(directory / call.name)
    elif call.kind == "chmod":
        os.chmod(directory / call.name, 0o600)
    elif call.kind == "mkdir":
        os.mkdir(directory / call.name)
    elif call.kind == "rmdir":
        os.rmdir(directory / call.name)


def _whole(done, wanted):
    """A write that the kernel had begun to split is short when the daemon dies: whether the rest was done, nobody knows."""
    if done != wanted:
        raise OSError(errno.EIO, f"{done} of {wanted} bytes written")


@dataclass
class Model:
    """What is there after some calls: bytes by path, directories, and the open files."""

    files: dict = field(default_factory=dict)
    directories: set = field(default_factory=set)
    slots: dict = field(default_factory=dict)

    @classmethod
    def of(cls, objects):
        """The tree of a bucket."""
        return cls({path: bytearray(data) for path, data in objects.items() if not path.endswith("/")},
                   directories_of(objects))

    def allows(self, call):
        """Whether a local disk would make the call."""
        there = call.name in self.files or call.name in self.directories
        if call.kind in ("create", "mkdir"):
            return self._has_parent(call.name) and not (call.kind == "mkdir" and there)
        if call.kind == "rmdir":
            return there and self._is_empty(call.name)
        if call.kind == "move":
            return there and self._has_parent(call.to) and self._is_empty(call.to)
        if call.kind == "rename":
            return there and self._has_parent(call.to)
        return there if call.kind in ("open", "unlink", "chmod") else True

    def _has_parent(self, path):
        return "/" not in path or path.rpartition("/")[0] in self.directories

    def _is_empty(self, path):
        return not any(other.startswith(f"{path}/") for other in [*self.files, *self.directories])

    def apply(self, call):
        """Makes the call on the model."""
        if call.kind in ("create", "open"):
            if call.kind == "create":
                self.files.setdefault(call.name, bytearray())
                del self.files[call.name][:]
            self.slots[call.slot] = self.files[call.name]
        elif call.kind in ("write", "append"):
            data = self.slots[call.slot]
            offset = call.offset if call.kind == "write" else len(data)
            if len(data) < offset:
                data.extend(bytes(offset - len(data)))
            data[offset:offset + call.size] = pattern(call.size, call.seed)
        elif call.kind == "truncate":
            data = self.slots[call.slot]
            del data[call.size:]
            data.extend(bytes(call.size - len(data)))
        elif call.kind == "close":
            self.slots.pop(call.slot, None)
        elif call.kind == "rename":
            self.files[call.to] = self.files.pop(call.name)
        elif call.kind == "move":
            self.directories.remove(call.name)
            self.directories.add(call.to)
            below = call.name + "/"
            self.files = {_moved(path, below, call.to): data for path, data in self.files.items()}
            self.directories = {_moved(path, below, call.to) for path in self.directories}
        elif call.kind == "unlink":
            del self.files[call.name]
        elif call.kind == "mkdir":
            self.directories.add(call.name)
        elif call.kind == "rmdir":
            self.directories.remove(call.name)

    def copy(self):
        """Another one, with the same files open."""
        twins = {id(data): bytearray(data) for data in [*self.files.values(), *self.slots.values()]}
        return Model({name: twins[id(data)] for name, data in self.files.items()}, set(self.directories),
                     {slot: twins[id(data)] for slot, data in self.slots.items()})

    def seen(self):
        """As `seen` finds it below a mount."""
        return {name: bytes(data) for name, data in self.files.items()} | {f"{path}/": b"" for path in self.directories}


def _moved(path, below, to):
    return f"{to}/{path[len(below):]}" if path.startswith(below) else path


def directories_of(keys):
    """The directories that keys imply, or are the markers of."""
    parents = (key.split("/")[:-1] for key in keys)
    return {"/".join(parts[:count]) for parts in parents for count in range(1, len(parts) + 1)}


def seen(directory):
    """What is below a directory: bytes by path, and nothing by each path of a directory, which ends with a slash."""
    found = {}
    for path in directory.rglob("*"):
        name = path.relative_to(directory).as_posix()
        found |= {f"{name}/": b""} if path.is_dir() else {name: path.read_bytes()}
    return found


def possible_outcomes(log, objects):
    """The trees that may be there after a kill, of those that were there before: every call that was acknowledged counts,
    and the last one may or may not have happened."""
    model = Model.of(objects)
    for call in log:
        if call.outcome != "unknown":
            assert model.allows(call) == (call.outcome == "done"), f"{call}, where there are {sorted(model.seen())}"
        if call.outcome == "done":
            model.apply(call)
    outcomes = [model.seen()]
    last = log[-1] if log else None
    if last and last.outcome == "unknown" and last.kind not in ("fsync", "close", "chmod") and model.allows(last):
        after = model.copy()
        after.apply(last)
        outcomes.append(after.seen())
        if last.kind == "rename":
            # Copied, and the old name not removed yet.
            outcomes.append(model.seen() | {last.to: after.seen()[last.to]})
    return outcomes


def is_possible(found, outcomes):
    """Whether a tree is one of the outcomes. A write that was not acknowledged may be there in part, page by page."""
    if found in outcomes:
        return True
    before, after = outcomes[0], outcomes[-1]
    if not found.keys() == before.keys() == after.keys():
        return False
    return all(_is_between(data, before[name], after[name]) for name, data in found.items())


BLOCK = 4096


def _is_between(data, before, after):
    """Whether some pages of a write are there: each byte is of one state or the other."""
    if data in (before, after):
        return True
    lengths = sorted((len(before), len(after)))
    if not lengths[0] <= len(data) <= lengths[1]:
        return False
    for at in range(0, len(data), BLOCK):
        have, old, new = (each[at:at + BLOCK] for each in (data, before, after))
        if have not in (old, new) and not all(
                byte in (old[i:i + 1] + new[i:i + 1]) for i, byte in enumerate(have)):
            return False
    return True


def describe(found, outcomes):
    """How a tree differs from each of those that may be."""
    lines = []
    for number, wanted in enumerate(outcomes):
        for name in sorted(found.keys() | wanted.keys()):
            have, want = found.get(name), wanted.get(name)
            if have == want:
                continue
            if have is None or want is None:
                lines.append(f"  outcome {number}: {name} is {'missing' if have is None else 'there'}")
                continue
            at = next((i for i, (x, y) in enumerate(zip(have, want)) if x != y), min(len(have), len(want)))
            zeros = at < len(have) and not any(have[at:at + 4096])
            lines.append(f"  outcome {number}: {name} has {len(have)} bytes, wanted {len(want)}; other from {at}"
                         + (" (zeros)" if zeros else ""))
    return "\n".join(lines)
