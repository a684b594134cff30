// A store that does not answer: what is known serves, what is not known is an error.

import Base
import BlockCache
import MemoryStore
import ObjectModel
import ObjectStore
import Testing

@testable import FileSystem

@Suite(.timeLimit(.minutes(5)))
struct OutageTests {
    private static let second: UInt64 = 1_000_000_000

    enum Event { case failed, answered }

    /// Events at seconds, and whether the store is out at a second.
    @Test(
        arguments: [
            ([], 0, false),
            ([(10, Event.failed)], 10, true),
            ([(10, .failed)], 14, true),
            ([(10, .failed)], 15, false),
            ([(10, .failed), (16, .failed)], 20, true),
            ([(10, .failed), (11, .answered)], 12, false),
        ] as [([(UInt64, Event)], UInt64, Bool)])
    func table(events: [(UInt64, Event)], at: UInt64, isOut: Bool) {
        var outage = StoreOutage()
        for (seconds, event) in events {
            switch event {
            case .failed: outage.failed(now: seconds * Self.second)
            case .answered: outage.answered()
            }
        }
        #expect(outage.isOut(now: at * Self.second) == isOut)
    }

    @Test(arguments: [StoreError.Kind.timedOut, .unreachable], [AttributePolicy.adaptive, .listing])
    func whatIsKnownServes(kind: StoreError.Kind, policy: AttributePolicy) async throws {
        let mount = try Mount { $0.attributePolicy = policy }
        mount.store.write(pattern(3000), at: "d/read")
        mount.store.write(pattern(500), at: "d/seen")
        mount.store.write("x", at: "d/unseen")
        try await mount.withNode("d") { _ in
            _ = try await mount.names("d")
            _ = try await mount.read("d/read")
            _ = try await mount.status("d/seen")
            mount.expire()
            mount.store.setFaults(FaultPlan().adding(.refused(kind), when: .always))
            for _ in 0..<2 {
                let bytes = try await mount.read("d/read")
                #expect(bytes == pattern(3000))
                let size = try await mount.status("d/seen").byteCount
                #expect(size == 500)
                let names = try await mount.names("d")
                #expect(names == ["read", "seen", "unseen"])
                let expected: FileSystemError.Kind = kind == .timedOut ? .timedOut : .unreachable
                let absent = await failure { _ = try await mount.status("d/none") }
                #expect(absent == expected, "unknown is not absent, not even beside a listing that has expired")
                let elsewhere = await failure { _ = try await mount.names("e") }
                #expect(elsewhere == expected)
                // In the second round the store is asked again, and does not answer again.
                mount.time.advance(seconds: 6)
            }
            mount.store.setFaults(FaultPlan())
            mount.store.write("changed", at: "d/read")
            let now = try await mount.text("d/read")
            #expect(now == "changed")
            let absent = await failure { _ = try await mount.status("d/none") }
            #expect(absent == .notFound)
        }
    }

    /// Once it is known to be away, it is not asked at each step.
    @Test func itIsNotAskedAgainAndAgain() async throws {
        let mount = try Mount()
        mount.store.write("x", at: "d/f")
        try await mount.withNode("d") { _ in
            _ = try await mount.names("d")
            _ = try await mount.text("d/f")
            mount.expire()
            mount.store.setFaults(.unreachable)
            _ = try await mount.text("d/f")
            let counts = try await mount.requests {
                for _ in 0..<10 {
                    _ = try await mount.text("d/f")
                    _ = try await mount.names("d")
                }
            }
            #expect(counts.total == 0, "\(counts)")
        }
    }

    @Test func otherErrorsAreNoOutage() async throws {
        let mount = try Mount()
        mount.store.write("x", at: "d/f")
        try await mount.withNode("d") { _ in
            _ = try await mount.text("d/f")
            mount.expire()
            mount.store.setFaults(FaultPlan().adding(.accessDenied, when: .always))
            let kind = await failure { _ = try await mount.text("d/f") }
            #expect(kind == .accessDenied)
        }
    }

    @Test func offlineAsksNothing() async throws {
        let mount = try Mount { $0.isOffline = true }
        mount.store.write("x", at: "d/f")
        let pool = BufferPool(limitBytes: 16 * Mount.blockBytes, bufferBytes: Mount.blockBytes)
        let offline = FileSystem(
            store: OfflineStore(), cache: BlockCache(store: OfflineStore(), pool: pool), area: mount.area,
            queue: mount.queue, markers: mount.fileSystem.markers, configuration: mount.fileSystem.configuration,
            time: mount.time,
            log: mount.fileSystem.log)
        let counts = try await mount.requests {
            let kind = await failure { _ = try await offline.lookup(parent: 1, name: "d").get() }
            #expect(kind == .unreachable)
        }
        #expect(counts.total == 0)
    }

    @Test func directOpensAskInAnyCase() async throws {
        let mount = try Mount()
        mount.store.write("x", at: "f")
        let file = try await mount.open("f")
        let counts = try await mount.requests {
            let handle = try await mount.fileSystem.open(file.number, mayWrite: false, mustAsk: true).get()
            mount.fileSystem.release(handle)
        }
        #expect(counts.total == 1, "\(counts)")
        mount.store.setFaults(.unreachable)
        let kind = await failure {
            _ = try await mount.fileSystem.open(file.number, mayWrite: false, mustAsk: true).get()
        }
        #expect(kind == .unreachable)
        mount.store.setFaults(FaultPlan())
        mount.store.write("y", at: "f")
        let stale = await failure {
            _ = try await mount.fileSystem.open(file.number, mayWrite: false, mustAsk: true).get()
        }
        #expect(stale == .stale, "the kernel looks the name up again")
        try await mount.close(file)
    }

    @Test func refreshForgetsWhatIsBelowAndNothingElse() async throws {
        let mount = try Mount()
        for key in ["d/a", "d/sub/b", "e/c"] { mount.store.write("old", at: key) }
        let told = Lock<[KernelInvalidation]>([])
        mount.fileSystem.onInvalidation { changes in told.withLock { $0 += changes } }
        try await mount.withNode("d/sub") { _ in
            try await mount.withNode("e/c") { _ in
                for path in ["d", "d/sub", "e"] { _ = try await mount.names(path) }
                for path in ["d/a", "d/sub/b"] { _ = try await mount.text(path) }
                let absent = await failure { _ = try await mount.status("d/sub/new") }
                #expect(absent == .notFound)
                mount.store.write("newer", at: "d/a")
                mount.store.write("newer", at: "d/sub/new")
                mount.store.remove(at: "d/sub/b")
                #expect(mount.fileSystem.refresh(path: "d"))
                #expect(told.withLock { $0 }.contains { if case .entry(_, "new") = $0 { true } else { false } })
                let texts = [try await mount.text("d/a"), try await mount.text("d/sub/new")]
                #expect(texts == ["newer", "newer"])
                let names = try await mount.names("d/sub")
                #expect(names == ["new"])
                let elsewhere = try await mount.requests { _ = try await mount.names("e") }
                #expect(elsewhere.total == 0)
            }
        }
        #expect(!mount.fileSystem.refresh(path: "nothing/known"))
    }
}
