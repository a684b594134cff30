// How the letters that the random tests name things by are spelled in keys, and by the kernel.

import Base
import MemoryStore
import ObjectModel

@testable import FileSystem

/// The model's paths are of letters; the mount's and the bucket's of what stands for them here.
struct Spelling: Sendable {
    /// A component of a path.
    struct Letter: Sendable {
        /// In keys.
        let segment: String
        /// As the mount shows it.
        let shown: String
        /// Whether something may be made of that name. Others come from other clients alone.
        let isMakeable: Bool

        init(_ segment: String) {
            self.segment = segment
            let name = NameCodec.name(forSegment: ByteString(segment))!
            shown = name.shown
            isMakeable = !segment.isEmpty && !name.isLong
        }
    }

    private let letters: [String: Letter]

    /// Each letter as itself.
    static let plain = Spelling(["a", "b", "c"])

    private init(_ segments: [String]) {
        letters = Dictionary(uniqueKeysWithValues: zip(["a", "b", "c"], segments.map(Letter.init)))
    }

    /// Three names that something between a program and a bucket might take for others, or for each other.
    init(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        let sets: [[String]] = [
            // Twins: texts that look the same, and that `String` calls equal.
            ["\u{e9}", "e\u{301}"], ["K", "\u{212a}"],
            // Characters that swallow the slash before or behind them.
            ["\u{301}x"], ["x\u{600}", "x"], ["\u{600}"], ["\u{200d}"], ["\u{d4e}", "\u{d4e}\u{301}"],
            // What no path can spell, and what looks like what is shown for it.
            [""], ["."], [".."], ["%pail-empty"], ["%pail-%pail-dot"], ["%pail-file-a", "a"],
            // Bytes that are no text.
            [KernelName.text(of: [0xff, 0x61]), KernelName.text(of: [0xff])],
            [KernelName.text(of: [UInt8](repeating: 0x80, count: 60))],
            // Longer than a path may have it, alike but for one byte in the middle.
            ["L", "M"].map { String(repeating: "l", count: 134) + $0 + String(repeating: "l", count: 135) },
            [String(repeating: "ü", count: 128)],
            // What sorts around a slash, and what means something else elsewhere.
            ["a-", "a", "a0"], ["\n", "\r", "\r\n"], ["a b", "a+b", "a%20b"], ["_$folder$x", "~", "\u{10ffff}"],
            ["&amp;", "<", "\u{1}"],
        ]
        var segments: [String] = []
        while segments.count < 3 {
            for segment in sets.randomElement(using: &random)!
            where segments.count < 3 && !segments.contains(where: { $0.utf8.elementsEqual(segment.utf8) }) {
                segments.append(segment)
            }
        }
        self.init(segments.shuffled(using: &random))
    }

    /// Names that are no letters stand for themselves.
    private func components(_ path: String) -> [Letter] {
        path.split(separator: "/").map { letters[String($0)] ?? Letter(String($0)) }
    }

    /// The path below the mount.
    func shown(_ path: String) -> String { components(path).map(\.shown).joined(separator: "/") }

    /// The key of a file.
    func key(_ path: String) -> String { components(path).map(\.segment).joined(separator: "/") }

    /// The letter that a listed name stands for; the name itself where it is none.
    func letter(shown name: String) -> String {
        letters.first { $0.value.shown.utf8.elementsEqual(name.utf8) }?.key ?? name
    }

    /// Whether something may be made under a path's last component.
    func isMakeable(_ path: String) -> Bool { components(path).last!.isMakeable }

    /// Whether an object can have the key of a file, or a directory's marker.
    func isKey(_ path: String, isDirectory: Bool) -> Bool {
        let components = components(path)
        return (isDirectory || components.last?.segment != "")
            && ObjectKey(key(path) + (isDirectory ? "/" : "")) != nil
    }
}
