// What a program does while its mount's process dies.

import Testing

/// Calls on a mount where files of more than 4 KiB are sent in parts of 4 KiB, those of 8 KiB and more while they are written,
/// and 24,000 bytes are all that may be staged.
struct CrashScenario: Sendable, CustomTestStringConvertible {
    enum Step: Sendable {
        case call(RandomCall)
        /// Everything is brought to the store.
        case drain
        /// What is on its way has arrived.
        case settle
        /// Another client writes an object that is pending here, changed in a range of bytes.
        case conflict(String, count: Int, changed: Range<Int>)
    }

    let name: String
    /// What other tools have put: how many bytes, by key.
    var objects: [String: Int] = [:]
    /// Calls before anything may go wrong.
    var earlier: [RandomCall] = []
    let steps: [Step]

    var testDescription: String { name }

    private init(
        _ name: String, on objects: [String: Int] = [:], after earlier: [RandomCall] = [],
        _ steps: Step...
    ) {
        (self.name, self.objects, self.earlier, self.steps) = (name, objects, earlier, steps)
    }

    static let all: [CrashScenario] = [
        Self("small new file", .create("f"), .write(0, 3000), .close, .drain),
        Self("empty new file", .create("f"), .close, .drain),
        Self("overwrite of a small object", on: ["f": 3000], .open("f"), .truncate(0), .write(0, 2000), .close, .drain),
        Self("change inside a small object", on: ["f": 3000], .open("f"), .write(1000, 500), .close, .drain),
        Self("the same bytes twice", .create("f"), .write(0, 3000), .write(1000, 500, fill: 9), .close, .drain),
        Self(
            "sent while it is written", .create("f"), .write(0, 4096), .write(4096, 4096), .write(8192, 4096), .settle,
            .write(12_288, 4096), .write(16_384, 1000), .close, .drain),
        Self(
            "a part that was sent is written again", .create("f"), .write(0, 8192), .write(8192, 8192), .settle,
            .write(5000, 200, fill: 9), .write(4000, 200, fill: 8), .close, .drain),
        Self(
            "cut below what was sent", .create("f"), .write(0, 8192), .write(8192, 8192), .settle, .truncate(6000),
            .write(6000, 3000, fill: 9), .close, .drain),
        Self(
            "change inside a large object", on: ["f": 40_960], .open("f"), .write(9000, 100), .write(30_000, 5000),
            .close,
            .drain),
        Self("append to a large object", on: ["f": 20_480], .open("f"), .write(20_480, 3000), .close, .drain),
        Self(
            "truncate down and up", on: ["f": 20_480], .open("f"), .truncate(9000), .truncate(15_000),
            .write(14_000, 100), .close, .drain),
        Self(
            "truncate to nothing and write", on: ["f": 20_480], .open("f"), .truncate(0), .write(0, 9000), .close,
            .drain),
        Self("truncate of what nobody has open", on: ["f": 20_480], .call(.truncate("f", 9000)), .drain),
        Self(
            "a hole and what stands behind it", on: ["f": 3000], .open("f"), .write(9000, 100), .truncate(9050),
            .write(20_000, 10), .close, .drain),
        Self(
            "changed between two uploads", on: ["f": 20_480], .open("f"), .write(100, 100), .drain,
            .write(9000, 100, fill: 9), .truncate(10_000), .drain, .write(0, 4096, fill: 7), .close, .drain),
        Self(
            "fsync in between", .create("f"), .write(0, 3000), .call(.synchronise(slot: 0)), .write(3000, 4096),
            .call(.synchronise(slot: 0)), .close, .drain),
        Self(
            "attributes alone", on: ["f": 3000], .call(.chmod("f", 0o600)), .call(.setModified("f", 1_000_000)), .drain),
        Self(
            "attributes of a large new file", .create("f"), .write(0, 8192), .write(8192, 4096), .settle,
            .call(.chmod("f", 0o600)), .close, .call(.setModified("f", 1_000_000)), .drain),

        Self("rename of a pending file", .create("f"), .write(0, 3000), .close, .rename("f", "g"), .drain),
        Self(
            "rename of a file that is being sent", .create("f"), .write(0, 8192), .write(8192, 4096), .settle,
            .rename("f", "g"), .write(12_288, 100), .close, .drain),
        Self("rename of a stored file", on: ["f": 3000], .rename("f", "g"), .drain),
        Self(
            "rename of a changed file", on: ["f": 3000], .open("f"), .write(10, 100), .close, .rename("f", "g"), .drain),
        Self(
            "rename of a changed file that is open", on: ["f": 20_480], .open("f"), .write(10, 100), .rename("f", "g"),
            .write(9000, 100), .close, .drain),
        Self("rename of a stored file onto a stored one", on: ["f": 3000, "g": 2000], .rename("f", "g"), .drain),
        Self(
            "rename of a pending file onto a stored one", on: ["g": 2000], .create("f"), .write(0, 3000), .close,
            .rename("f", "g"), .drain),
        Self(
            "rename of a pending file onto a pending one", .create("g"), .write(0, 2000), .close, .create("f"),
            .write(0, 3000, fill: 9), .close, .rename("f", "g"), .drain),
        Self(
            "rename of a stored file onto a changed one", on: ["g": 20_480],
            after: [.writeFile("f", count: 3000, fill: 4)],
            .drain, .open("g"), .write(0, 100), .close, .rename("f", "g"), .drain),
        Self(
            "rename of a file that has replaced another one", on: ["g": 2000], .create("f"), .write(0, 3000), .close,
            .rename("f", "g"), .rename("g", "h"), .drain),
        Self(
            "rename onto a file that is open and changed", on: ["g": 20_480],
            .call(.open(slot: 1, "g", write: true)), .call(.write(slot: 1, offset: 100, count: 50, fill: 5)),
            .create("f"), .write(0, 3000), .close, .rename("f", "g"),
            .call(.write(slot: 1, offset: 9000, count: 50, fill: 5)), .call(.close(slot: 1)), .drain),
        Self(
            "save by renaming, twice", on: ["doc": 3000], .create("tmp"), .write(0, 2000), .close,
            .rename("tmp", "doc"),
            .create("tmp"), .write(0, 2500, fill: 9), .close, .rename("tmp", "doc"), .drain),

        Self("unlink of a pending file", .create("f"), .write(0, 3000), .close, .call(.unlink("f")), .drain),
        Self(
            "unlink of a file that is being sent", .create("f"), .write(0, 8192), .write(8192, 4096), .settle,
            .call(.unlink("f")), .close, .drain),
        Self(
            "unlink of a changed file", on: ["f": 20_480], .open("f"), .write(100, 100), .close, .call(.unlink("f")),
            .drain),
        Self(
            "unlink of a large file that is open and changed", on: ["f": 20_480], .open("f"), .write(100, 100),
            .call(.unlink("f")), .write(9000, 100), .close, .drain),
        Self(
            "unlink of many stored files", on: ["a": 10, "b": 20, "c": 30, "d": 40], .call(.unlink("a")),
            .call(.unlink("b")), .call(.unlink("c")), .call(.unlink("d")), .create("d"), .write(0, 100), .close,
            .drain, .call(.unlink("d")), .drain),
        Self(
            "unlink and make anew", .create("f"), .write(0, 3000), .close, .call(.unlink("f")), .create("f"),
            .write(0, 2000, fill: 9), .close, .drain),

        Self(
            "more than may be staged", .create("f"), .write(0, 8192), .write(8192, 8192), .write(16_384, 8192),
            .write(24_576, 8192), .write(32_768, 8192), .close, .drain),
        Self(
            "freed bytes are written again", .create("f"), .write(0, 8192), .write(8192, 8192), .write(16_384, 8192),
            .write(24_576, 8192), .write(100, 200, fill: 9), .close, .drain),
        Self(
            "a file with freed bytes is renamed", .create("f"), .write(0, 8192), .write(8192, 8192),
            .write(16_384, 8192), .write(24_576, 8192), .rename("f", "g"), .write(32_768, 100), .close, .drain),
        Self(
            "a file with freed bytes is cut", .create("f"), .write(0, 8192), .write(8192, 8192), .write(16_384, 8192),
            .write(24_576, 8192), .truncate(10_000), .close, .drain),
        Self(
            "a file with freed bytes is removed", .create("f"), .write(0, 8192), .write(8192, 8192),
            .write(16_384, 8192), .write(24_576, 8192), .call(.unlink("f")), .close, .drain),

        Self(
            "conflict", on: ["f": 3000], .open("f"), .truncate(0), .write(0, 2000), .close,
            .conflict("f", count: 500, changed: 0..<2000), .drain),
        Self(
            "conflict of a part of a large object", on: ["f": 20_480], .open("f"), .write(9000, 100), .close,
            .conflict("f", count: 500, changed: 9000..<9100), .drain),
        Self(
            "conflict of a new file", .create("f"), .write(0, 2000), .conflict("f", count: 500, changed: 0..<2000),
            .drain),
        Self(
            "conflict of a file that was sent", .create("f"), .write(0, 8192), .write(8192, 4096), .settle,
            .conflict("f", count: 500, changed: 0..<2000), .drain),
        Self(
            "conflict of a file with freed bytes", .create("f"), .write(0, 8192), .write(8192, 8192),
            .write(16_384, 8192), .write(24_576, 8192), .conflict("f", count: 500, changed: 0..<2000), .drain),

        Self(
            "a directory made, filled, emptied and removed", .call(.makeDirectory("d", mode: 0o755)), .create("d/f"),
            .write(0, 100), .close, .drain, .call(.unlink("d/f")), .call(.removeDirectory("d")), .drain),
        Self("the last file of an implied directory", on: ["d/f": 100], .call(.unlink("d/f")), .drain),
        Self(
            "rename of a directory", on: ["d/a": 100, "d/b": 3000, "d/e/c": 20, "x": 1], .create("d/new"),
            .write(0, 2000),
            .close, .rename("d", "g"), .drain),
        Self(
            "rename of a directory with files that are open", on: ["d/a": 20_480], .open("d/a"), .write(100, 100),
            .rename("d", "g"), .write(9000, 100), .close, .drain),
        Self(
            "rename of a directory of which much is removed",
            on: ["d/a": 10, "d/b": 20, "d/c": 30, "d/e": 40, "d/f": 50],
            .call(.unlink("d/a")), .call(.unlink("d/b")), .call(.unlink("d/c")), .call(.unlink("d/e")),
            .rename("d", "g"), .create("d"), .write(0, 100), .close, .drain),
        Self(
            "rename of a directory onto an empty one", on: ["d/a": 100],
            after: [.makeDirectory("g", mode: 0o700), .makeDirectory("d/e", mode: 0o700)], .rename("d", "g"), .drain),
        Self("a symlink", .call(.symlink("l", "f")), .rename("l", "m"), .call(.unlink("m")), .drain),
    ]
}

extension CrashScenario.Step {
    static func create(_ path: String) -> Self { .call(.create(slot: 0, path, mode: 0o644)) }
    static func open(_ path: String) -> Self { .call(.open(slot: 0, path, write: true)) }
    static func write(_ offset: Int, _ count: Int, fill: UInt8 = 3) -> Self {
        .call(.write(slot: 0, offset: offset, count: count, fill: fill))
    }
    static func truncate(_ count: Int) -> Self { .call(.truncateOpen(slot: 0, count)) }
    static var close: Self { .call(.close(slot: 0)) }
    static func rename(_ old: String, _ new: String) -> Self { .call(.rename(old, new, mustBeNew: false)) }
}
