// Requests that speak of handles and nodes of an earlier process of the same mount.

internal import Base
internal import FileSystem
internal import Glibc

/// Turns them into requests that this process understands, before libfuse sees them. Thread-safe.
///
/// A handle's number has the generation of the process that gave it out in its highest byte, a node's in its highest 16 bits; so a
/// request of this generation costs two comparisons. The layouts are those of <linux/fuse.h>.
public final class EarlierRequests: Sendable {
    enum Verdict: Equatable {
        /// It is for this process, perhaps with other numbers than it came with.
        case serve
        /// Nobody here can serve it.
        case answer(errno: Int32)
    }

    private struct Known {
        /// Handles that were opened anew, by their earlier numbers.
        var handles: [UInt64: (handle: UInt64, node: UInt64)] = [:]
        /// Their nodes, and how many of these handles are open.
        var nodes: [UInt64: (node: UInt64, count: Int)] = [:]
    }

    static let handleShift: UInt64 = 56
    /// Where a node's number has the generation that gave it out.
    public static let nodeShift: UInt64 = 48
    /// A generation is a byte of a handle's number.
    /// The last generation that has a number: it is a byte of a handle's.
    public static let generationMax: UInt64 = 255
    private static let headerBytes = 40

    private let generation: UInt64
    private let onReleased: @Sendable (_ handle: UInt64, _ node: UInt64) -> Void
    private let known = Lock(Known())

    /// - Parameter onReleased: told of an earlier handle that is about to be released, and of the node of this process that
    ///   had a reference for it.
    init(generation: UInt64, onReleased: @escaping @Sendable (_ handle: UInt64, _ node: UInt64) -> Void) {
        self.generation = generation
        self.onReleased = onReleased
    }

    /// The earlier handle is served by a new one, whose node has a reference for it.
    func add(_ earlier: HandleLedger.Entry, handle: UInt64, node: UInt64) {
        known.withLock { known in
            known.handles[earlier.handle] = (handle, node)
            known.nodes[earlier.facts.number, default: (node, 0)].count += 1
        }
    }

    /// - Parameter message: a whole request, which may be changed.
    func judge(_ message: UnsafeMutableRawBufferPointer) -> Verdict {
        guard message.count >= Self.headerBytes,
            let opcode = Opcode(rawValue: message.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
        else { return .serve }
        let node = message.loadUnaligned(fromByteOffset: 16, as: UInt64.self)
        if node >> Self.nodeShift != generation, node != 1, let other = known.withLock({ $0.nodes[node]?.node }) {
            message.storeBytes(of: other, toByteOffset: 16, as: UInt64.self)
        }
        if opcode == .copyFileRange, message.count >= Self.headerBytes + 24 {
            let target = message.loadUnaligned(fromByteOffset: Self.headerBytes + 16, as: UInt64.self)
            if let other = known.withLock({ $0.nodes[target]?.node }) {
                message.storeBytes(of: other, toByteOffset: Self.headerBytes + 16, as: UInt64.self)
            }
        }
        for offset in opcode.handleOffsets(in: message) {
            let place = Self.headerBytes + offset
            guard message.count >= place + 8 else { return .serve }
            let handle = message.loadUnaligned(fromByteOffset: place, as: UInt64.self)
            guard handle >> Self.handleShift != generation else { continue }
            guard let (other, _) = known.withLock({ $0.handles[handle] }) else {
                // Whatever was open is open no more.
                return .answer(errno: opcode == .release || opcode == .releaseDirectory ? 0 : ESTALE)
            }
            message.storeBytes(of: other, toByteOffset: place, as: UInt64.self)
            if opcode == .release { forget(handle, of: node) }
        }
        return .serve
    }

    private func forget(_ handle: UInt64, of node: UInt64) {
        let released = known.withLock { known in
            let count = known.nodes[node]?.count ?? 0
            if count <= 1 { known.nodes[node] = nil } else { known.nodes[node]!.count = count - 1 }
            return known.handles.removeValue(forKey: handle)?.node
        }
        if let released { onReleased(handle, released) }
    }

    /// The operations that have a handle.
    private enum Opcode: UInt32 {
        case getAttributes = 3
        case setAttributes = 4
        case read = 15
        case write = 16
        case release = 18
        case fsync = 20
        case flush = 25
        case readDirectory = 28
        case releaseDirectory = 29
        case fsyncDirectory = 30
        case fallocate = 43
        case readDirectoryPlus = 44
        case lseek = 46
        case copyFileRange = 47

        /// Where the body has handles. FUSE_GETATTR_FH and FATTR_FH say whether there is one.
        func handleOffsets(in message: UnsafeMutableRawBufferPointer) -> [Int] {
            switch self {
            case .getAttributes: flag(message, 1) ? [8] : []
            case .setAttributes: flag(message, 1 << 6) ? [8] : []
            case .copyFileRange: [0, 24]
            // fsyncdir needs no handle.
            case .fsyncDirectory: []
            default: [0]
            }
        }

        private func flag(_ message: UnsafeMutableRawBufferPointer, _ bit: UInt32) -> Bool {
            message.count >= headerBytes + 16
                && message.loadUnaligned(fromByteOffset: headerBytes, as: UInt32.self) & bit != 0
        }
    }
}
