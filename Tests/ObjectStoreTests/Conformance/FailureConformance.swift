// Which error a server's refusal becomes. Only servers have buckets, credentials and addresses.

import Base
import MemoryStore
import ObjectModel
import ObjectStore
import Testing

extension Conformance {
    @Suite(.timeLimit(.minutes(5)))
    struct Failures {
        /// Every call must give one of the kinds. HEAD has no body that names the reason, so it may know less.
        private static func everyCall(
            _ bench: Bench, _ kind: StoreError.Kind, head: StoreError.Kind...
        ) async throws {
            let key = bench.key("object")
            await bench.expectFailure(kind) { () throws(StoreError) in
                try await bench.store.list(ListRequest(prefix: "", delimited: true))
            }
            await bench.expectFailure(kind) { () throws(StoreError) in try await bench.get(key) }
            await bench.expectFailure(kind) { () throws(StoreError) in try await bench.put(key, [1]) }
            await bench.expectFailure(kind) { () throws(StoreError) in
                try await bench.store.createUpload(key, properties: .init())
            }
            do throws(StoreError) {
                _ = try await bench.store.head(key)
                Issue.record("HEAD succeeded")
            } catch {
                #expect(([kind] + head).contains(error.kind), "\(error)")
            }
        }

        @Test(arguments: StoreUnderTest.servers)
        func missingBucket(_ target: StoreUnderTest) async throws {
            try await Bench.check("failure.missingBucket", on: target, variation: .missingBucket) { bench in
                try await Self.everyCall(bench, .bucketNotFound, head: .notFound)
            }
        }

        @Test(arguments: StoreUnderTest.servers)
        func wrongSecret(_ target: StoreUnderTest) async throws {
            try await Bench.check("failure.wrongSecret", on: target, variation: .wrongSecret) { bench in
                try await Self.everyCall(bench, .badCredentials, head: .accessDenied)
            }
        }

        @Test(arguments: StoreUnderTest.servers)
        func wrongAccessKey(_ target: StoreUnderTest) async throws {
            try await Bench.check("failure.wrongAccessKey", on: target, variation: .wrongAccessKey) { bench in
                try await Self.everyCall(bench, .badCredentials, head: .accessDenied)
            }
        }

        @Test(arguments: StoreUnderTest.servers)
        func closedPort(_ target: StoreUnderTest) async throws {
            try await Bench.check("failure.closedPort", on: target, variation: .closedPort) { bench in
                try await Self.everyCall(bench, .unreachable)
            }
        }

        @Test(arguments: StoreUnderTest.servers)
        func unknownHost(_ target: StoreUnderTest) async throws {
            try await Bench.check("failure.unknownHost", on: target, variation: .unknownHost) { bench in
                await bench.expectFailure(.unreachable) { () throws(StoreError) in
                    try await bench.store.list(ListRequest(prefix: "", delimited: true))
                }
            }
        }
    }
}
