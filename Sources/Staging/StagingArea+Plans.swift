// Plans of changes that take many requests, kept beside the staged files so that the next mount ends what this one began.

internal import Base
internal import Glibc

/// A plan on disk. Thread-safe; the file's name never changes.
public struct StoredPlan: Sendable, Equatable {
    let path: String
    public let bytes: [UInt8]
}

extension StagingArea {
    static let planSuffix = ".plan"
    private static let planMagic: [UInt8] = Array("PAILPLN1".utf8)

    /// Writes a plan; it is there after kill -9 once this returns.
    public func store(plan bytes: [UInt8]) throws(StagingError) -> StoredPlan {
        let path = newPath(suffix: Self.planSuffix)
        let sum = CRC32C.of(bytes)
        var whole = Self.planMagic
        for index in 0..<4 { whole.append(UInt8(truncatingIfNeeded: sum >> (8 * UInt32(index)))) }
        whole += bytes
        let temporary = path + ".new"
        let descriptor = try disk.create(temporary, O_WRONLY | O_TRUNC, "creating")
        defer { close(descriptor) }
        do throws(StagingError) {
            try disk.writeAll(whole, to: descriptor, at: 0, temporary)
        } catch {
            disk.remove(temporary)
            throw error
        }
        guard fsync(descriptor) == 0, disk.rename(temporary, to: path) else {
            let code = errno
            disk.remove(temporary)
            throw .disk(code: code, action: "writing \(path)")
        }
        return StoredPlan(path: path, bytes: bytes)
    }

    /// A plan was carried out, or given up.
    public func remove(_ plan: StoredPlan) { disk.remove(plan.path) }

    /// Reads a plan; nil for what is none, or is damaged.
    static func loadPlan(_ path: String) -> StoredPlan? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { return nil }
        var whole = [UInt8](repeating: 0, count: Int(status.st_size))
        var filled = 0
        while filled < whole.count {
            // SAFETY: the room from `filled` on lies within the array.
            let count = whole.withUnsafeMutableBytes { read(descriptor, $0.baseAddress! + filled, $0.count - filled) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return nil }
            filled += count
        }
        guard whole.count >= 12, whole.starts(with: planMagic) else { return nil }
        let bytes = Array(whole[12...])
        var sum: UInt32 = 0
        for index in 0..<4 { sum |= UInt32(whole[8 + index]) << (8 * UInt32(index)) }
        return sum == CRC32C.of(bytes) ? StoredPlan(path: path, bytes: bytes) : nil
    }
}
