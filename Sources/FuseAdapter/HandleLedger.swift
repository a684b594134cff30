// Which files are open, in memory that outlives the process: what a successor needs to go on in its place.

internal import Base
internal import Glibc
internal import FileSystem
internal import Synchronization

/// Open handles, and what was agreed with the kernel at INIT. Thread-safe.
///
/// A file without a name in a shared mapping; a supervisor holds it too. One process writes at a time. A note is a copy of
/// some hundred bytes at open() and a store at release. Whoever reads it does so after the writer's death, which may have come in the middle of a
/// note: its handle number is stored last.
public final class HandleLedger: @unchecked Sendable {
    /// An open file, by the number that the kernel knows it by.
    struct Entry: Equatable {
        /// Of a directory that is only known, its own number.
        var handle: UInt64
        var facts: OpenFileFacts
        var isDirectory = false
    }

    public static let byteCount = headerBytes + slotCount * slotBytes
    private static let headerBytes = 4096
    private static let slotBytes = 1536
    /// Files that are open beyond this are not noted, nor such with very long paths: a successor has ESTALE for them.
    private static let slotCount = 4096
    private static let textOffset = 32
    private static let directoryFlag: UInt32 = 2
    private static let requestOffset = 1024
    private static let answerOffset = 2048
    private static let messageBytesMax = 1000

    // SAFETY: a mapping of `byteCount` bytes for the life of the object. Slots are written under `slots`' lock.
    private let memory: UnsafeMutableRawBufferPointer
    private struct Noted {
        let index: Int
        var facts: OpenFileFacts
        let handle: FileHandle?
    }
    private struct Slots {
        var byHandle: [UInt64: Noted] = [:]
        var free: [Int] = []
        var usedCount = 0
    }
    private let slots = Lock(Slots())

    /// Maps the memory behind a descriptor, which may be closed afterwards. Nil when that cannot be done.
    public init?(descriptor: Int32) {
        // PROT_READ | PROT_WRITE, MAP_SHARED
        guard let start = mmap(nil, Self.byteCount, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0),
            start != UnsafeMutableRawPointer(bitPattern: -1)
        else { return nil }
        memory = UnsafeMutableRawBufferPointer(start: start, count: Self.byteCount)
    }

    deinit {
        munmap(memory.baseAddress, memory.count)
    }

    /// The arrangement of the memory, for processes of other versions; 0 before anything is in it.
    private static let layout: UInt64 = 1

    /// Whether what an earlier process wrote is in an arrangement that this one knows.
    var isReadable: Bool { memory.load(as: UInt64.self) == Self.layout }

    // MARK: INIT

    /// What the kernel asked first; empty before.
    var initRequest: [UInt8] {
        get { message(at: Self.requestOffset) }
        set {
            memory.storeBytes(of: Self.layout, as: UInt64.self)
            setMessage(newValue, at: Self.requestOffset)
        }
    }

    /// What it was answered.
    var initAnswer: [UInt8] {
        get { message(at: Self.answerOffset) }
        set { setMessage(newValue, at: Self.answerOffset) }
    }

    private func message(at offset: Int) -> [UInt8] {
        let count = min(memory.load(fromByteOffset: offset, as: Int.self), Self.messageBytesMax)
        guard count > 0 else { return [] }
        return Array(memory[offset + 8..<offset + 8 + count])
    }

    private func setMessage(_ bytes: [UInt8], at offset: Int) {
        guard bytes.count <= Self.messageBytesMax else { return }
        memory.storeBytes(of: 0, toByteOffset: offset, as: Int.self)
        UnsafeMutableRawBufferPointer(rebasing: memory[(offset + 8)...]).copyBytes(from: bytes)
        memory.storeBytes(of: bytes.count, toByteOffset: offset, as: Int.self)
    }

    // MARK: Open files

    /// - Parameter handle: what `refresh` asks about.
    func note(_ entry: Entry, of handle: FileHandle? = nil) {
        guard let text = Self.text(entry.facts) else { return }
        slots.withLock { slots in
            guard let index = slots.free.popLast() ?? next(&slots) else { return }
            write(entry, text, at: index)
            slots.byHandle[entry.handle] = Noted(index: index, facts: entry.facts, handle: handle)
        }
    }

    /// Notes what has changed of open files: names and versions.
    func refresh(_ facts: (FileHandle) -> OpenFileFacts) {
        // Asked without the lock, and noted if the handle is still open then.
        let open = slots.withLock { $0.byHandle.compactMap { number, noted in noted.handle.map { (number, $0) } } }
        for (number, handle) in open {
            let now = facts(handle)
            slots.withLock { slots in
                guard var noted = slots.byHandle[number] else { return }
                // The kernel goes on using the number that it was told.
                var changed = now
                changed.number = noted.facts.number
                guard changed != noted.facts, let text = Self.text(changed) else { return }
                noted.facts = changed
                slots.byHandle[number] = noted
                write(Entry(handle: number, facts: changed), text, at: noted.index)
            }
        }
    }

    /// ETag and path; nil when they do not fit, or there is no path. A removed file keeps its last note: it is ESTALE then.
    private static func text(_ facts: OpenFileFacts) -> (etag: [UInt8], path: [UInt8])? {
        let etag = Array((facts.etag ?? "").utf8)
        let path = Array(facts.names.joined(separator: "/").utf8)
        guard !path.isEmpty, textOffset + etag.count + path.count <= slotBytes else { return nil }
        return (etag, path)
    }

    private func write(_ entry: Entry, _ text: (etag: [UInt8], path: [UInt8]), at index: Int) {
        let start = Self.headerBytes + index * Self.slotBytes
        // Not there while it changes. The compiler must not move these stores: another process reads the memory after our
        // death.
        memory.storeBytes(of: 0, toByteOffset: start, as: UInt64.self)
        atomicMemoryFence(ordering: .releasing)
        memory.storeBytes(of: entry.facts.number, toByteOffset: start + 8, as: UInt64.self)
        memory.storeBytes(
            of: entry.isDirectory ? Self.directoryFlag : entry.facts.mayWrite ? 1 : 0, toByteOffset: start + 16,
            as: UInt32.self)
        memory.storeBytes(of: UInt16(text.etag.count), toByteOffset: start + 20, as: UInt16.self)
        memory.storeBytes(of: UInt16(text.path.count), toByteOffset: start + 22, as: UInt16.self)
        UnsafeMutableRawBufferPointer(rebasing: memory[(start + Self.textOffset)...])
            .copyBytes(from: text.etag + text.path)
        atomicMemoryFence(ordering: .releasing)
        memory.storeBytes(of: entry.handle, toByteOffset: start, as: UInt64.self)
    }

    private func next(_ slots: inout Slots) -> Int? {
        guard slots.usedCount < Self.slotCount else { return nil }
        defer { slots.usedCount += 1 }
        return slots.usedCount
    }

    func forget(_ handle: UInt64) {
        slots.withLock { slots in
            guard let index = slots.byHandle.removeValue(forKey: handle)?.index else { return }
            memory.storeBytes(of: 0, toByteOffset: Self.headerBytes + index * Self.slotBytes, as: UInt64.self)
            slots.free.append(index)
        }
    }

    /// What the earlier process had open. All of it stays noted, so that a process that dies on taking over loses nothing: each is
    /// to be kept (`keep`) or forgotten.
    func entries() -> [Entry] {
        slots.withLock { slots in
            slots = Slots()
            var entries: [Entry] = []
            for index in 0..<Self.slotCount {
                guard let entry = entry(at: index) else {
                    slots.free.append(index)
                    continue
                }
                slots.byHandle[entry.handle] = Noted(index: index, facts: entry.facts, handle: nil)
                entries.append(entry)
            }
            slots.usedCount = Self.slotCount
            slots.free.reverse()
            return entries
        }
    }

    private func entry(at index: Int) -> Entry? {
        let start = Self.headerBytes + index * Self.slotBytes
        let handle = memory.load(fromByteOffset: start, as: UInt64.self)
        guard handle != 0 else { return nil }
        let etagBytes = Int(memory.load(fromByteOffset: start + 20, as: UInt16.self))
        let pathBytes = Int(memory.load(fromByteOffset: start + 22, as: UInt16.self))
        guard Self.textOffset + etagBytes + pathBytes <= Self.slotBytes else { return nil }
        let text = start + Self.textOffset
        let etag = String(decoding: memory[text..<text + etagBytes], as: UTF8.self)
        let path = String(decoding: memory[text + etagBytes..<text + etagBytes + pathBytes], as: UTF8.self)
        let flags = memory.load(fromByteOffset: start + 16, as: UInt32.self)
        let facts = OpenFileFacts(
            number: memory.load(fromByteOffset: start + 8, as: UInt64.self), mayWrite: flags == 1,
            names: path.pathComponents(), etag: etag.isEmpty ? nil : etag)
        return Entry(handle: handle, facts: facts, isDirectory: flags == Self.directoryFlag)
    }

    /// An earlier process's file is open in this one, as `handle`; the kernel goes on using the first numbers.
    func keep(_ entry: Entry, as handle: FileHandle) {
        slots.withLock { slots in
            guard let noted = slots.byHandle[entry.handle] else { return }
            slots.byHandle[entry.handle] = Noted(index: noted.index, facts: noted.facts, handle: handle)
        }
    }
}
