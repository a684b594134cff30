// The disk cache, for people.

internal import Base

/// The text of `pail cache status`.
public enum CacheReport {
    /// What is kept of one bucket.
    public struct Row: Sendable, Equatable {
        /// Endpoint and bucket name.
        public var bucket: String
        public var objects: Int
        public var bytes: Int

        public init(bucket: String, objects: Int, bytes: Int) {
            self.bucket = bucket
            self.objects = objects
            self.bytes = bytes
        }
    }

    /// The sum first, then a line for each bucket. The limit is each mount's own: `pail status` tells it.
    public static func lines(directory: String, _ rows: [Row]) -> [String] {
        let objects = rows.reduce(0) { $0 + $1.objects }
        let bytes = rows.reduce(0) { $0 + $1.bytes }
        var table = TextTable([.right, .right])
        for row in rows {
            table.add([ByteCount.describe(row.bytes), Message.count(row.objects, "object"), row.bucket])
        }
        let sum = "\(directory): \(ByteCount.describe(bytes)), \(Message.count(objects, "object"))"
        return [Message.oneLine(sum)] + table.lines.map { Message.oneLine("  \($0)") }
    }
}
