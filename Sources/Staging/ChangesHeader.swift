// What stands at the front of a `.changes` object, for the person who puts the changes back by hand.

internal import Base
internal import ObjectModel

/// The head of an object that keeps the changed ranges of a file, when its other bytes are gone. Lines of text, ended by an
/// empty one; the bytes of the ranges follow, in the order of the lines.
struct ChangesHeader {
    let text: String

    init(_ snapshot: UploadSnapshot) {
        let identity = snapshot.identity
        var lines = [
            "pail: the changes of a file whose earlier version is gone", "file: \(Self.oneLine(identity.key))",
        ]
        if let base = identity.base { lines.append("version: \(base.etag.value), \(base.byteCount) bytes") }
        lines.append("length: \(identity.byteCount) bytes")
        lines += snapshot.dirty.ranges.map { "range: \($0.count) bytes at \($0.lowerBound)" }
        text = lines.joined(separator: "\n") + "\n\n"
    }

    /// A key may hold line breaks.
    private static func oneLine(_ key: ObjectKey) -> String {
        String(
            decoding: key.string.utf8.flatMap { $0 == 10 || $0 == 13 ? Array("%0\($0 == 10 ? "A" : "D")".utf8) : [$0] },
            as: UTF8.self)
    }
}
