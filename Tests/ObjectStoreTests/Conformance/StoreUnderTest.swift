// Which stores the conformance suite runs on: the one in memory always, real servers when the environment names them.

import Base
import MemoryStore
import ObjectModel
import ObjectStore
import Testing

/// A store that must keep the contract.
struct StoreUnderTest: Sendable, CustomTestStringConvertible {
    /// Deviations from the normal way to it, each of which must give an error of its kind.
    enum Variation: Sendable, CaseIterable {
        case standard
        case wrongSecret
        case wrongAccessKey
        case missingBucket
        /// Nothing listens there.
        case closedPort
        /// A name that does not resolve.
        case unknownHost
        /// Pretends that one request copies only 6 MiB.
        case smallSingleCopy
    }

    /// The key of the exemption table: `memory`, `rgw`, `seaweedfs`…
    let name: String
    /// Whether requests go over a network to a server that knows buckets and credentials.
    let isServer: Bool
    let make: @Sendable (Variation) async throws -> any ObjectStore

    var testDescription: String { name }

    static let memory = StoreUnderTest(name: "memory", isServer: false) { variation in
        var capabilities = StoreCapabilities()
        if variation == .smallSingleCopy { capabilities.singlePutBytesMax = 6 << 20 }
        return MemoryStore(capabilities: capabilities)
    }
}
