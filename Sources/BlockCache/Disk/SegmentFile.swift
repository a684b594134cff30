// One segment file: looking it up, reading blocks that are what they were, and adding blocks. Blocking calls only.

internal import Base
internal import Glibc

/// A segment that was found, open for reading. Used by one thread at a time.
///
/// A file that is removed or replaced meanwhile stays readable here.
final class SegmentFile {
    let name: SegmentName
    private(set) var header: SegmentHeader
    private let file: DiskFile
    private let calls: DiskCalls

    private init(_ name: SegmentName, _ header: SegmentHeader, _ file: consuming DiskFile, _ calls: DiskCalls) {
        self.name = name
        self.header = header
        self.file = file
        self.calls = calls
    }

    enum Finding {
        case found(SegmentFile)
        case absent
        /// A file of that name holds something else: another format, a torn header, another version by an odd chance.
        case foreign
    }

    static func open(
        _ identity: SegmentIdentity, named name: SegmentName, in directory: BlockDirectory, forWriting: Bool = false
    ) throws(DiskError) -> Finding {
        guard let file = try directory.open(name, forWriting: forWriting) else { return .absent }
        let page = try directory.calls.readBytes(file, count: SegmentHeader.byteCount, at: 0)
        guard let header = SegmentHeader.parse(page), header.identity == identity else { return .foreign }
        directory.calls.willReadPieces(file)
        return .found(SegmentFile(name, header, file, directory.calls))
    }

    /// Whether a block was written; its bytes may still turn out to be damaged.
    func has(_ block: Int) -> Bool { header.table[block - header.identity.blocks.lowerBound] != 0 }

    /// Reads neighbouring blocks, by one call.
    /// - Parameter destinations: room for each block.
    /// - Returns: how many of them, from the first on, are what was written; the next is missing or damaged.
    func read(_ blocks: Range<Int>, into destinations: [UnsafeMutableRawPointer]) throws(DiskError) -> Int {
        let identity = header.identity
        // The last block of an object is read with the rest of its page, which is not there: for direct transfers.
        let alignment = DiskCalls.directAlignment
        let vectors = zip(blocks, destinations).map { index, memory in
            iovec(
                iov_base: memory,
                iov_len: (identity.byteCount(ofBlock: index) + alignment - 1) / alignment * alignment)
        }
        let done = try calls.read(file, vectors, at: identity.fileOffset(ofBlock: blocks.lowerBound))
        var end = 0
        for (position, vector) in vectors.enumerated() {
            let byteCount = identity.byteCount(ofBlock: blocks.lowerBound + position)
            end += byteCount
            let mark = header.table[blocks.lowerBound + position - identity.blocks.lowerBound]
            // SAFETY: the bytes were just read into memory that belongs to this call.
            let bytes = UnsafeRawBufferPointer(start: vector.iov_base, count: byteCount)
            guard end <= done, mark != 0, SegmentHeader.mark(bytes) == mark else { return position }
        }
        return vectors.count
    }

    // MARK: Changing; the file was opened for it

    /// Adds the blocks that are not there, neighbours by one call: first the bytes, then their marks.
    /// - Returns: the blocks that were added.
    func add(_ blocks: [(index: Int, block: Block)]) throws(DiskError) -> [(index: Int, block: Block)] {
        let identity = header.identity
        let new = blocks.filter { !has($0.index) }
        for run in runs(new.map(\.index)) {
            let members = new.filter { run.contains($0.index) }
            try SegmentFile.write(members, of: identity, to: file, calls)
            for member in members { mark(member) }
            try writeMarks(run)
        }
        return new
    }

    /// Makes a whole new segment file with these blocks.
    static func make(
        _ identity: SegmentIdentity, named name: SegmentName, in directory: BlockDirectory, bornSeconds: UInt32,
        _ blocks: [(index: Int, block: Block)]
    ) throws(DiskError) -> SegmentHeader {
        var header = SegmentHeader(identity, bornSeconds: bornSeconds)
        for (index, block) in blocks {
            header.table[index - identity.blocks.lowerBound] = block.mark
        }
        let page = header.encoded()
        try directory.make(name) { file throws(DiskError) in
            let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: page.count, alignment: 4096)
            defer { memory.deallocate() }
            memory.copyBytes(from: page)
            var rest = blocks[...]
            var first = [iovec(iov_base: memory.baseAddress, iov_len: memory.count)]
            if blocks.count == 1, blocks[0].index == identity.blocks.lowerBound {
                // A small object is one call: the header and the block behind it.
                first += SegmentFile.vectors(blocks)
                rest = []
            }
            try directory.calls.write(file, first, at: 0)
            for run in runs(rest.map(\.index)) {
                try SegmentFile.write(rest.filter { run.contains($0.index) }, of: identity, to: file, directory.calls)
            }
        }
        return header
    }

    /// Forgets blocks whose bytes may not be what they were, so that they are written again.
    func drop(_ blocks: Range<Int>) throws(DiskError) {
        for block in blocks { header.table[block - header.identity.blocks.lowerBound] = 0 }
        try writeMarks(blocks)
    }

    /// Notes that blocks were found again.
    func noteUse(_ seconds: UInt32) throws(DiskError) {
        header.lastUseSeconds = seconds
        header.useCount &+= 1
        let bytes = header.encoded()[SegmentHeader.Field.lastUseSeconds..<SegmentHeader.Field.useCount + 4]
        try calls.writeBytes(file, Array(bytes), at: SegmentHeader.Field.lastUseSeconds)
    }

    /// Whether the file has no name any more: what was added to it is gone with it.
    func isRemoved() throws(DiskError) -> Bool { try calls.status(file).st_nlink == 0 }

    private func mark(_ member: (index: Int, block: Block)) {
        header.table[member.index - header.identity.blocks.lowerBound] = member.block.mark
    }

    /// Writes no other entries than these: other processes add blocks at the same time.
    private func writeMarks(_ blocks: Range<Int>) throws(DiskError) {
        let first = blocks.lowerBound - header.identity.blocks.lowerBound
        let bytes = header.table[first..<first + blocks.count].flatMap { mark in
            (0..<4).map { UInt8(truncatingIfNeeded: mark >> (8 * UInt32($0))) }
        }
        try calls.writeBytes(file, bytes, at: SegmentHeader.Field.table + 4 * first)
    }

    /// Writes neighbouring blocks. The end of an object that does not fill its page goes by itself, so that all before
    /// it can go past the page cache.
    private static func write(
        _ blocks: [(index: Int, block: Block)], of identity: SegmentIdentity, to file: borrowing DiskFile,
        _ calls: DiskCalls
    ) throws(DiskError) {
        var whole = blocks
        if let last = blocks.last, last.block.byteCount % DiskCalls.directAlignment != 0 {
            try calls.write(file, vectors([last]), at: identity.fileOffset(ofBlock: last.index))
            whole.removeLast()
        }
        if let first = whole.first {
            try calls.write(file, vectors(whole), at: identity.fileOffset(ofBlock: first.index))
        }
    }

    private static func vectors(_ blocks: [(index: Int, block: Block)]) -> [iovec] {
        // SAFETY: written from only; the caller holds the blocks over the call.
        blocks.map { iovec(iov_base: UnsafeMutableRawPointer(mutating: $0.block.pointer), iov_len: $0.block.byteCount) }
    }
}
