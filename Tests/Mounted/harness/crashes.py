"""Random file operations that end when the daemon is killed, and what must be there afterwards."""

import errno
import os
import random
import time
from dataclasses import dataclass, field, replace

from .content import pattern

NAMES = ["a", "b", "c", "d"]
SLOTS = 3
#: Sizes of single writes; most are small, some are parts of a multipart upload.
SIZES = [1, 100, 4096, 5000, 60_000, 131_072]
LARGE = 1 << 20


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


def make_calls(directory, seed, deadline):
    """Calls on files of a directory until one fails because the daemon is gone, or the time is over. For a process of its
    own; returns the calls in order, of which only the last one may be "unknown", and when that failed (monotonic)."""
    dice, slots, log = random.Random(seed), {}, []
    # Some runs write one large file in order, which is sent while it is written.
    large = dice.random() < 0.3
    while time.monotonic() < deadline:
        call = _large_call(dice, slots, len(log)) if large else _random_call(dice, slots, len(log))
        if call is None:
            continue
        try:
            _make(directory, call, slots)
            log.append(call)
        except FileNotFoundError:
            log.append(replace(call, outcome="refused"))
        except OSError as error:
            log.append(replace(call, outcome="unknown"))
            return log, time.monotonic(), str(error)
    return log, time.monotonic(), ""


def _random_call(dice, slots, count):
    kind = dice.choices(["create", "open", "write", "append", "truncate", "fsync", "close", "rename", "unlink", "chmod"],
                        [14, 10, 34, 8, 4, 6, 14, 6, 4, 3])[0]
    name, to, slot = dice.choice(NAMES), dice.choice(NAMES), dice.randrange(SLOTS)
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


def _large_call(dice, slots, count):
    if 0 not in slots:
        return Call("create", "a", slot=0)
    kind = dice.choices(["append", "fsync", "write", "close"], [100, 1, 2, 1])[0]
    return Call(kind, slot=0, offset=dice.choice([0, 5_000_000]), size=LARGE if kind == "append" else 5000,
                seed=f"{count}")


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
    elif call.kind == "rename":
        os.rename(directory / call.name, directory / call.to)
    elif call.kind == "unlink":
        os.unlink(directory / call.name)
    elif call.kind == "chmod":
        os.chmod(directory / call.name, 0o600)


def _whole(done, wanted):
    """A write that the kernel had begun to split is short when the daemon dies: whether the rest was done, nobody knows."""
    if done != wanted:
        raise OSError(errno.EIO, f"{done} of {wanted} bytes written")


@dataclass
class Model:
    """What is there after some calls: bytes by name, and the open files."""

    files: dict = field(default_factory=dict)
    slots: dict = field(default_factory=dict)

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
        elif call.kind == "unlink":
            del self.files[call.name]

    def copy(self):
        """Another one, with the same files open."""
        twins = {id(data): bytearray(data) for data in [*self.files.values(), *self.slots.values()]}
        return Model({name: twins[id(data)] for name, data in self.files.items()},
                     {slot: twins[id(data)] for slot, data in self.slots.items()})

    def seen(self):
        return {name: bytes(data) for name, data in self.files.items()}


def possible_outcomes(log):
    """The trees that may be there after a kill: every call that was acknowledged counts, and the last one may or may not
    have happened."""
    model = Model()
    for call in log:
        if call.outcome == "done":
            model.apply(call)
    outcomes = [model.seen()]
    if log and log[-1].outcome == "unknown" and log[-1].kind not in ("fsync", "close", "chmod"):
        after = model.copy()
        try:
            after.apply(log[-1])
        except KeyError:
            return outcomes
        outcomes.append(after.seen())
        if log[-1].kind == "rename":
            # Copied, and the old name not removed yet.
            outcomes.append(model.seen() | {log[-1].to: after.seen()[log[-1].to]})
    return outcomes


def is_possible(found, outcomes):
    """Whether a tree is one of the outcomes. A write that was not acknowledged may be there in part, page by page."""
    if found in outcomes:
        return True
    before, after = outcomes[0], outcomes[-1]
    if not found.keys() == before.keys() == after.keys():
        return False
    return all(_is_between(data, before[name], after[name]) for name, data in found.items())


def _is_between(data, before, after):
    """Whether some pages of a write are there: each byte is of one state or the other."""
    if data in (before, after):
        return True
    lengths = sorted((len(before), len(after)))
    return lengths[0] <= len(data) <= lengths[1] and all(
        byte in (before[i:i + 1] + after[i:i + 1]) for i, byte in enumerate(data))


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
