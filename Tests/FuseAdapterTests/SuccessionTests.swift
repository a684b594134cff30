// What one process leaves to the next that serves the same mount.

import Base
import Glibc
import Testing

@testable import FileSystem
@testable import FuseAdapter

@Suite(.timeLimit(.minutes(3)))
struct SuccessionTests {
    // MARK: The ledger

    private func ledgers() throws -> (first: HandleLedger, second: HandleLedger) {
        var name = Array("/tmp/pail-ledger-XXXXXX".utf8CString)
        let memory = mkstemp(&name)
        defer { close(memory) }
        unlink(name)
        try #require(ftruncate(memory, off_t(HandleLedger.byteCount)) == 0)
        return (try #require(HandleLedger(descriptor: memory)), try #require(HandleLedger(descriptor: memory)))
    }

    private func entry(_ handle: UInt64, _ names: [String] = ["a", "b é"], etag: String? = "e1") -> HandleLedger.Entry {
        HandleLedger.Entry(
            handle: handle, facts: OpenFileFacts(number: handle + 1, mayWrite: etag == nil, names: names, etag: etag))
    }

    @Test func theNextProcessReadsWhatIsOpen() throws {
        let (first, second) = try ledgers()
        for number in 1...5 as ClosedRange<UInt64> { first.note(entry(number * 16, etag: number == 2 ? nil : "e")) }
        first.forget(16)
        first.forget(16)
        first.note(entry(7 * 16))
        first.initRequest = [1, 2, 3]
        first.initAnswer = [4]
        let expected = [entry(7 * 16), entry(2 * 16, etag: nil)] + [3, 4, 5].map { entry($0 * 16, etag: "e") }
        #expect(second.entries() == expected)
        #expect(second.isReadable)
        #expect(second.initRequest == [1, 2, 3] && second.initAnswer == [4])
    }

    @Test func whatChangesIsNotedAnew() throws {
        let (first, second) = try ledgers()
        let attributes = FileAttributes(permissions: 0o644, uid: 0, gid: 0, time: Timestamp(seconds: 0))
        let state = Node.State(content: .none, attributes: attributes, validatedAt: 0)
        let handle = FileHandle(node: Node(number: 5, kind: .file, inode: 5, state: state), mayWrite: false)
        first.note(entry(16), of: handle)
        first.note(entry(32), of: handle)
        first.forget(32)
        first.refresh { _ in OpenFileFacts(number: 99, mayWrite: false, names: ["c"], etag: "e2") }
        var expected = entry(16, ["c"], etag: "e2")
        expected.facts.number = 17
        #expect(second.entries() == [expected], "by the number that the kernel knows")
    }

    /// Two spellings of one name are two names.
    @Test func regression_aRenameToTheOtherUnicodeFormIsNoted() throws {
        let (first, second) = try ledgers()
        let attributes = FileAttributes(permissions: 0o644, uid: 0, gid: 0, time: Timestamp(seconds: 0))
        let state = Node.State(content: .none, attributes: attributes, validatedAt: 0)
        let handle = FileHandle(node: Node(number: 5, kind: .file, inode: 5, state: state), mayWrite: false)
        first.note(entry(16, ["\u{e9}"]), of: handle)
        first.refresh { _ in OpenFileFacts(number: 17, mayWrite: false, names: ["e\u{301}"], etag: "e1") }
        #expect(second.entries().map { $0.facts.names.map { Array($0.utf8) } } == [[Array("e\u{301}".utf8)]])
    }

    @Test func whatDoesNotFitIsNotNoted() throws {
        let (first, second) = try ledgers()
        first.note(entry(16, [String(repeating: "x", count: 2000)]))
        first.note(entry(32, []))
        first.initRequest = [UInt8](repeating: 1, count: 5000)
        for number in 1...5000 as ClosedRange<UInt64> { first.note(entry(number * 64)) }
        #expect(second.entries().count == 4096)
        #expect(second.initRequest.isEmpty)
    }

    /// A slash and a combining mark behind it are one character, and two bytes.
    @Test func regression_namesThatBeginWithACombiningMark() throws {
        let (first, second) = try ledgers()
        let odd = entry(16, ["a", "\u{301}b", "\u{308}"])
        first.note(odd)
        #expect(second.entries() == [odd])
    }

    // MARK: Requests

    /// A request with these 64-bit words as its body.
    private func request(_ opcode: UInt32, node: UInt64, _ body: [UInt64]) -> [UInt8] {
        let bytes = FuseTrafficTests.request(opcode, unique: 8, node: node)
        return bytes + body.flatMap { word in withUnsafeBytes(of: word.littleEndian) { Array($0) } }
    }

    private func word(_ bytes: [UInt8], at offset: Int) -> UInt64 {
        bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: UInt64.self) }
    }

    private static let old: UInt64 = 0x7f00_0000_1000
    private static let new: UInt64 = 2 << 56 | 0x7f00_0000_2000

    private func earlier() -> (EarlierRequests, released: Lock<[UInt64]>) {
        let released = Lock<[UInt64]>([])
        let earlier = EarlierRequests(generation: 2) {
            [1: [], 2 << 48 | 6: ["d"], 2 << 48 | 7: ["d", "e"]][$0]
        } onReleased: { handle in
            released.withLock { $0.append(handle) }
        }
        earlier.add(
            .init(handle: Self.old, facts: OpenFileFacts(number: 9, mayWrite: false, names: ["f"], etag: "e")),
            handle: Self.new, node: 2 << 48 | 5)
        return (earlier, released)
    }

    /// Operation, node, body; the verdict, and node and body afterwards.
    @Test(
        arguments: [
            (15, 9, [old, 100], .serve, 2 << 48 | 5, [new, 100]),
            (15, 9, [old + 16, 100], .answer(errno: ESTALE), 2 << 48 | 5, [old + 16, 100]),
            (15, 2 << 48 | 5, [new, 100], .serve, 2 << 48 | 5, [new, 100]),
            (18, 8, [1 << 56 | 64, 0], .answer(errno: 0), 8, [1 << 56 | 64, 0]),
            (29, 8, [64, 0], .answer(errno: 0), 8, [64, 0]), (28, 8, [64, 0], .answer(errno: ESTALE), 8, [64, 0]),
            (1, 8, [0x61], .serve, 8, [0x61]), (1, 1, [0x61], .serve, 1, [0x61]), (2, 9, [1], .serve, 9, [1]),
            (14, 9, [0], .serve, 2 << 48 | 5, [0]),
            (3, 9, [1, old], .serve, 2 << 48 | 5, [1, new]), (3, 9, [0, 77], .serve, 2 << 48 | 5, [0, 77]),
            (4, 9, [1 << 6, old], .serve, 2 << 48 | 5, [1 << 6, new]), (30, 8, [64, 0], .serve, 8, [64, 0]),
            (47, 9, [old, 0, 9, new], .serve, 2 << 48 | 5, [new, 0, 2 << 48 | 5, new]),
            (47, 9, [old, 0, 7, 3], .answer(errno: ESTALE), 2 << 48 | 5, [new, 0, 7, 3]),
            (15, 9, [], .serve, 2 << 48 | 5, []),
        ] as [(UInt32, UInt64, [UInt64], EarlierRequests.Verdict, UInt64, [UInt64])])
    fileprivate func requestsOfEarlierProcesses(
        opcode: UInt32, node: UInt64, body: [UInt64], verdict: EarlierRequests.Verdict, nodeAfter: UInt64,
        bodyAfter: [UInt64]
    ) {
        let (earlier, released) = earlier()
        var bytes = request(opcode, node: node, body)
        #expect(bytes.withUnsafeMutableBytes { earlier.judge($0) } == verdict)
        #expect(word(bytes, at: 16) == nodeAfter)
        #expect((0..<body.count).map { word(bytes, at: 40 + 8 * $0) } == bodyAfter)
        #expect(released.withLock { $0 }.isEmpty)
    }

    @Test func aReleasedHandleIsForgotten() {
        let (earlier, released) = earlier()
        var bytes = request(18, node: 9, [Self.old, 0])
        #expect(bytes.withUnsafeMutableBytes { earlier.judge($0) } == .serve)
        #expect(word(bytes, at: 40) == Self.new)
        #expect(released.withLock { $0 } == [Self.old])
        bytes = request(15, node: 9, [Self.old, 0])
        #expect(bytes.withUnsafeMutableBytes { earlier.judge($0) } == .answer(errno: ESTALE))
        #expect(word(bytes, at: 16) == 2 << 48 | 5, "the kernel may know its node for other reasons")
    }

    @Test func aNodeKeepsTheNumberThatTheKernelKnows() {
        let (earlier, _) = earlier()
        #expect(earlier.kernelNumber(2 << 48 | 5) == 9 && earlier.kernelNumber(2 << 48 | 8) == 2 << 48 | 8)
        // A second number of it, which an open file has: both lead there, and the first is told.
        earlier.add(
            .init(handle: 64, facts: OpenFileFacts(number: 10, mayWrite: false, names: ["f"], etag: "e")),
            handle: Self.new, node: 2 << 48 | 5)
        #expect(earlier.kernelNumber(2 << 48 | 5) == 9)
        for (opcode, body, after) in [
            (1, [0x61], [0x61]), (13, [9, 0x61], [2 << 48 | 5, 0x61]), (45, [9, 0, 0x61], [2 << 48 | 5, 0, 0x61]),
        ] as [(UInt32, [UInt64], [UInt64])] {
            var bytes = request(opcode, node: 10, body)
            #expect(bytes.withUnsafeMutableBytes { earlier.judge($0) } == .serve)
            #expect(word(bytes, at: 16) == 2 << 48 | 5)
            #expect((0..<body.count).map { word(bytes, at: 40 + 8 * $0) } == after, "\(opcode)")
        }
    }

    @Test func directoriesAreLookedUpWhenSomebodyAsks() {
        let (earlier, _) = earlier()
        earlier.add(directory: 20, names: ["d"])
        earlier.add(directory: 21, names: ["d", "e"])
        var bytes = request(1, node: 20, [0x61])
        #expect(bytes.withUnsafeMutableBytes { earlier.judge($0) } == .lookUp(number: 20, names: ["d"]))
        #expect(word(bytes, at: 16) == 20, "nothing is changed before")
        earlier.found(20, node: 2 << 48 | 6)
        #expect(bytes.withUnsafeMutableBytes { earlier.judge($0) } == .serve)
        #expect(word(bytes, at: 16) == 2 << 48 | 6)
        // One that is told to the kernel keeps its number, too.
        #expect(earlier.kernelNumber(2 << 48 | 7, isDirectory: true) == 21 && earlier.directories.isEmpty)
        earlier.add(directory: 22, names: ["g"])
        earlier.found(22, node: nil)
        bytes = request(1, node: 22, [0x61])
        #expect(bytes.withUnsafeMutableBytes { earlier.judge($0) } == .serve)
        #expect(word(bytes, at: 16) == 22, "nobody knows it")
    }

    /// Who stands below a directory that is renamed must not find itself in another that has its name later.
    @Test(arguments: [(11, [0x64]), (12, [1, 0x64]), (45, [1, 0, 0x64])] as [(UInt32, [UInt64])])
    fileprivate func whatIsMovedIsNotLookedUpByItsOldName(opcode: UInt32, body: [UInt64]) {
        let (earlier, _) = earlier()
        for (number, names) in [(20, ["d"]), (21, ["d", "e"]), (22, ["dd"])] as [(UInt64, [String])] {
            earlier.add(directory: number, names: names)
        }
        var bytes = request(opcode, node: 1, body)
        #expect(bytes.withUnsafeMutableBytes { earlier.judge($0) } == .serve)
        #expect(earlier.directories.map(\.number) == [22])
    }

    /// Names are told apart by their bytes, and need not be UTF-8.
    @Test(arguments: [([0x81_cc65], 21), ([0xa9c3], 20), ([0xff], 22)] as [([UInt64], UInt64)])
    fileprivate func regression_whatIsMovedIsKnownByItsBytes(body: [UInt64], number: UInt64) {
        let (earlier, _) = earlier()
        for (number, name) in zip(UInt64(20)..., ["\u{e9}", "e\u{301}", KernelName.text(of: [0xff])]) {
            earlier.add(directory: number, names: [name])
        }
        var bytes = request(11, node: 1, body)
        #expect(bytes.withUnsafeMutableBytes { earlier.judge($0) } == .serve)
        #expect(earlier.directories.map(\.number).sorted() == [20, 21, 22].filter { $0 != number })
    }

    @Test func noRequestIsReadBeyondItsEnd() {
        for opcode in 0...50 as ClosedRange<UInt32> {
            let (earlier, _) = earlier()
            let whole = request(opcode, node: 9, [1 << 6 | 1, Self.old, 9, Self.old])
            for count in 0...whole.count {
                var bytes = Array(whole.prefix(count))
                _ = bytes.withUnsafeMutableBytes { earlier.judge($0) }
            }
        }
    }
}
