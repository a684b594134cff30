// What a read is answered from: stretches of blocks, in order, without a copy.

/// A stretch of one block.
public struct BlockSlice: Sendable {
    public let block: Block
    /// The first byte inside the block.
    public let start: Int
    /// At least one byte.
    public let count: Int

    /// The bytes; usable while `block` lives.
    public var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: block.bytes[start..<start + count]) }
}

/// The bytes of a read, in order. Keeps their blocks alive, and their memory out of the budget, until released: send
/// the reply and let go of it.
///
/// A read inside one block, the common case, costs no allocation.
public struct ReadSlices: Sendable, RandomAccessCollection {
    /// How many bytes there are; exactly the count of the range that was asked for.
    public private(set) var byteCount = 0
    private var first: BlockSlice?
    private var rest: [BlockSlice] = []

    init() {}

    mutating func append(_ slice: BlockSlice) {
        byteCount += slice.count
        if first == nil { first = slice } else { rest.append(slice) }
    }

    public var startIndex: Int { 0 }
    public var endIndex: Int { first == nil ? 0 : 1 + rest.count }

    public subscript(position: Int) -> BlockSlice { position == 0 ? first! : rest[position - 1] }

    /// Calls `body` with the buffers in order, for a gathering write. They are valid during the call.
    public func withUnsafeBuffers<Result>(_ body: (UnsafeBufferPointer<UnsafeRawBufferPointer>) -> Result) -> Result {
        withUnsafeTemporaryAllocation(of: UnsafeRawBufferPointer.self, capacity: Swift.max(count, 1)) { buffers in
            for (position, slice) in enumerated() { buffers.initializeElement(at: position, to: slice.bytes) }
            return withExtendedLifetime(self) {
                body(UnsafeBufferPointer(rebasing: buffers[..<count]))
            }
        }
    }

    /// Copies all bytes to the start of `buffer`, which must have room for `byteCount`.
    public func copy(into buffer: UnsafeMutableRawBufferPointer) {
        precondition(buffer.count >= byteCount, "no room for the bytes of the read")
        var position = 0
        for slice in self {
            buffer.baseAddress!.advanced(by: position).copyMemory(
                from: slice.bytes.baseAddress!, byteCount: slice.count)
            position += slice.count
        }
    }

    /// The bytes as an array; for tests and small reads.
    public var array: [UInt8] {
        [UInt8](unsafeUninitializedCapacity: byteCount) { buffer, count in
            copy(into: UnsafeMutableRawBufferPointer(buffer))
            count = byteCount
        }
    }
}
