// Requests that speak of handles and nodes of an earlier process of the same mount.

internal import Base
internal import FileSystem
internal import Glibc

/// Turns them into requests that this process understands, before libfuse sees them. Thread-safe.
///
/// A handle's number has the generation of the process that gave it out in its highest byte, a node's in its highest 16 bits; so a
/// request of this generation costs two comparisons. The layouts are those of <linux/fuse.h>.
///
/// The kernel keeps an inode as long as it is told the same number for it, and with it locks, pages, and who stands there: so what is
/// known by an earlier number is told by that one (`kernelNumber`), for the life of this process. Its node must live as long, and
/// what the kernel forgets of it is not passed on.
public final class EarlierRequests: Sendable {
    enum Verdict: Equatable {
        /// It is for this process, perhaps with other numbers than it came with.
        case serve
        /// Nobody here can serve it.
        case answer(errno: Int32)
        /// It is about a directory that has to be looked up first; to be judged again then. Nothing was changed.
        case lookUp(number: UInt64, names: [String])
    }

    private struct Known {
        /// Handles that were opened anew, by their earlier numbers.
        var handles: [UInt64: UInt64] = [:]
        /// Nodes of this process by their earlier numbers, and the other way round.
        var nodes: [UInt64: UInt64] = [:]
        var numbers: [UInt64: UInt64] = [:]
        /// Directories that have not been looked up in this process, by their earlier numbers, and the other way round.
        /// By bytes: texts that look the same are equal for `String`.
        var directories: [UInt64: [ByteString]] = [:]
        var directoryNumbers: [[ByteString]: UInt64] = [:]

        mutating func bind(_ number: UInt64, to node: UInt64) {
            nodes[number] = node
            if numbers[node] == nil { numbers[node] = number }
        }

        mutating func drop(_ number: UInt64) {
            if let names = directories.removeValue(forKey: number) { directoryNumbers[names] = nil }
        }
    }

    static let handleShift: UInt64 = 56
    /// Where a node's number has the generation that gave it out.
    public static let nodeShift: UInt64 = 48
    /// The last generation that has a number: it is a byte of a handle's.
    public static let generationMax: UInt64 = 255
    private static let headerBytes = 40
    private static let nodeOffset = 16

    private let generation: UInt64
    private let names: @Sendable (_ node: UInt64) -> [String]?
    private let onReleased: @Sendable (_ handle: UInt64) -> Void
    private let known = Lock(Known())

    /// - Parameters:
    ///   - names: of a node of this process, from the mount's root on; nil when it has none.
    ///   - onReleased: told of an earlier handle that is about to be released.
    init(
        generation: UInt64, names: @escaping @Sendable (_ node: UInt64) -> [String]?,
        onReleased: @escaping @Sendable (_ handle: UInt64) -> Void
    ) {
        self.generation = generation
        self.names = names
        self.onReleased = onReleased
    }

    /// The earlier handle is served by a new one, and its node by one that has a reference for it.
    func add(_ earlier: HandleLedger.Entry, handle: UInt64, node: UInt64) {
        known.withLock { known in
            known.handles[earlier.handle] = handle
            known.bind(earlier.facts.number, to: node)
        }
    }

    /// A directory that the kernel knew.
    func add(directory number: UInt64, names: [String]) {
        let names = names.map { ByteString($0) }
        known.withLock { known in
            known.directories[number] = names
            known.directoryNumbers[names] = number
        }
    }

    /// A directory was looked up, and its node has a reference for it; nil: it is not there any more.
    func found(_ number: UInt64, node: UInt64?) {
        known.withLock { known in
            known.drop(number)
            if let node { known.bind(number, to: node) }
        }
    }

    /// What has not been looked up yet: for the next process.
    var directories: [(number: UInt64, names: [String])] {
        known.withLock { $0.directories.map { ($0.key, $0.value.map(\.string)) } }
    }

    /// By which number the kernel knows a node of this process, or is to know it from now on. With `isDirectory` the caller is
    /// about to tell it, with a reference.
    func kernelNumber(_ node: UInt64, isDirectory: Bool = false) -> UInt64 {
        let (number, mayBeKnown) = known.withLock { ($0.numbers[node], isDirectory && !$0.directories.isEmpty) }
        if let number { return number }
        guard mayBeKnown, let names = names(node)?.map({ ByteString($0) }) else { return node }
        return known.withLock { known in
            guard let number = known.directoryNumbers[names] else { return node }
            known.drop(number)
            known.bind(number, to: node)
            return number
        }
    }

    /// - Parameter message: a whole request, which may be changed.
    func judge(_ message: UnsafeMutableRawBufferPointer) -> Verdict {
        guard message.count >= Self.headerBytes else { return .serve }
        let code = message.loadUnaligned(fromByteOffset: 4, as: UInt32.self)
        guard !FuseOpcode.isUnanswered(code) else { return .serve }
        var places = [Self.nodeOffset]
        if let offset = FuseOpcode.otherNodeOffset(code), message.count >= Self.headerBytes + offset + 8 {
            places.append(Self.headerBytes + offset)
        }
        for place in places {
            let number = message.loadUnaligned(fromByteOffset: place, as: UInt64.self)
            guard number >> Self.nodeShift != generation, number > 1 else { continue }
            if let names = known.withLock({ $0.directories[number] }) {
                return .lookUp(number: number, names: names.map(\.string))
            }
        }
        for place in places {
            let number = message.loadUnaligned(fromByteOffset: place, as: UInt64.self)
            guard number >> Self.nodeShift != generation, number > 1 else { continue }
            if let node = known.withLock({ $0.nodes[number] }) {
                message.storeBytes(of: node, toByteOffset: place, as: UInt64.self)
            }
        }
        if let offset = FuseOpcode.movedNameOffset(code) { forgetDirectories(message, nameOffset: offset) }
        guard let opcode = Opcode(rawValue: code) else { return .serve }
        for offset in opcode.handleOffsets(in: message) {
            let place = Self.headerBytes + offset
            guard message.count >= place + 8 else { return .serve }
            let handle = message.loadUnaligned(fromByteOffset: place, as: UInt64.self)
            guard handle >> Self.handleShift != generation else { continue }
            guard let other = known.withLock({ $0.handles[handle] }) else {
                // Whatever was open is open no more.
                return .answer(errno: opcode == .release || opcode == .releaseDirectory ? 0 : ESTALE)
            }
            message.storeBytes(of: other, toByteOffset: place, as: UInt64.self)
            if opcode == .release {
                known.withLock { $0.handles[handle] = nil }
                onReleased(handle)
            }
        }
        return .serve
    }

    /// A rename or rmdir: what is below that name and has not been looked up will be elsewhere, or nowhere.
    private func forgetDirectories(_ message: UnsafeMutableRawBufferPointer, nameOffset: Int) {
        guard known.withLock({ !$0.directories.isEmpty }), message.count > Self.headerBytes + nameOffset,
            let above = names(message.loadUnaligned(fromByteOffset: Self.nodeOffset, as: UInt64.self))
        else { return }
        let bytes = message[(Self.headerBytes + nameOffset)...].prefix { $0 != 0 }
        let moved = (above + [KernelName.text(of: Array(bytes))]).map { ByteString($0) }
        known.withLock { known in
            for (number, names) in known.directories where names.starts(with: moved) { known.drop(number) }
        }
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
