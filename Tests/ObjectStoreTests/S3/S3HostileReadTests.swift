// GETs from a server that does everything wrong: the right bytes of one version, or an error.

import Base
import Credentials
import FoundationEssentials
import MemoryStore
import ObjectModel
import ObjectStore
import S3Protocol
import Testing

/// Seeds of the normal run; `PAIL_MODEL_SEEDS=FIRST-LAST` sets others.
private let seeds: ClosedRange<Int> = {
    let bounds = ProcessInfo.processInfo.environment["PAIL_MODEL_SEEDS"]?.split(separator: "-").compactMap { Int($0) }
    guard let bounds, bounds.count == 2, bounds[0] <= bounds[1] else { return 1...100 }
    return bounds[0]...bounds[1]
}()

@Suite(.timeLimit(.minutes(5)), .serialized)
struct S3HostileReadTests {
    private func store(_ server: HostileServer) throws -> S3Store {
        S3Store(
            configuration: S3StoreConfiguration(bucket: "bucket", endpoint: try Endpoint(parsing: "http://s3.test")),
            transport: server,
            credentials: FixedCredentials(AWSCredentials(accessKeyID: "AKID", secretAccessKey: "secret")),
            time: SimulatedTime())
    }

    /// What was delivered is kept as it comes, so it must be right also when the GET fails in the end.
    @Test(arguments: seeds)
    func deliversOneVersionOrFails(seed: Int) async throws {
        var dice = SplitMix64(seed: UInt64(seed))
        let server = HostileServer(
            seed: UInt64(seed) &+ 1_000_000, byteCount: Int.random(in: 1...6000, using: &dice),
            faultChance: [0.2, 0.5, 0.9].randomElement(using: &dice)!,
            changeChance: [0, 0.05, 0.3].randomElement(using: &dice)!)
        let store = try store(server)
        let key = ObjectKey("object")!
        for step in 0..<12 {
            let known = server.versions.randomElement(using: &dice)!
            let isPinned = Int.random(in: 0..<4, using: &dice) > 0
            let start = Int.random(in: 0..<known.bytes.count, using: &dice)
            let asked = ByteRange(start, start + Int.random(in: 1...known.bytes.count - start, using: &dice))
            let sink = CollectingSink()
            let result: Result<ObjectInfo, StoreError>
            do throws(StoreError) {
                result = .success(
                    try await store.get(
                        GetRequest(key: key, etag: isPinned ? known.etag : nil, range: asked), into: sink))
            } catch {
                result = .failure(error)
            }
            sink.end()
            let what = "seed \(seed), step \(step), version \(known.number), \(asked): \(result)"
            #expect(sink.breaches == [], "\(what)")
            if let info = sink.info, let range = sink.range, isPinned || info.version.etag != HostileServer.wrongETag {
                let version = server.versions.first { $0.etag == info.version.etag }
                let bytes = try #require(version?.bytes, "\(what) of no version")
                #expect(!isPinned || info.version.etag == known.etag, "\(what)")
                #expect(range == ByteRange(start, min(asked.upperBound, bytes.count)), "\(what)")
                #expect(bytes[range.lowerBound...].starts(with: sink.bytes), "\(what) delivered other bytes")
                if case .success = result { #expect(sink.bytes.count == range.count, "\(what)") }
            } else if sink.info == nil {
                #expect(sink.bytes.isEmpty, "\(what)")
                if case .success = result { Issue.record("\(what), and delivered nothing") }
            }
        }
        server.behave()
        let sink = CollectingSink()
        _ = try await store.get(GetRequest(key: key, etag: nil, range: nil), into: sink)
        #expect(sink.bytes == server.versions.last!.bytes, "seed \(seed): well again")
    }
}
