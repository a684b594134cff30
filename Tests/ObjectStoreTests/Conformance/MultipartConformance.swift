// Multipart uploads and server-side copies.

import Base
import MemoryStore
import ObjectModel
import ObjectStore
import Testing

extension Conformance {
    @Suite(.timeLimit(.minutes(5)))
    struct Multipart {
        private static let part = 5 << 20

        /// Sends the parts all at once, last first; returns them in order.
        private static func send(
            _ bench: Bench, _ upload: UploadID, _ key: ObjectKey, _ bodies: [[UInt8]]
        ) async throws -> [UploadedPart] {
            let parts = Lock([UploadedPart]())
            try await inParallel(bodies.count, width: 4) { index in
                let number = bodies.count - index
                let etag = try await bench.store.uploadPart(
                    upload, key: key, number: number, body: ByteArraySource(bodies[number - 1]))
                parts.withLock {
                    $0.append(UploadedPart(number: number, etag: etag, byteCount: bodies[number - 1].count))
                }
            }
            return parts.withLock { $0.sorted { $0.number < $1.number } }
        }

        @Test(arguments: StoreUnderTest.all)
        func twelveMebibytes(_ target: StoreUnderTest) async throws {
            try await Bench.check("multipart.roundTrip", on: target) { bench in
                let key = bench.key("large object")
                let bodies = [Self.part, Self.part, 2 << 20].enumerated().map {
                    randomBytes($1, seed: UInt64($0) + 1)
                }
                let properties = ObjectProperties(metadata: ["mode": "33188"], contentType: "text/plain")
                let upload = try await bench.store.createUpload(key, properties: properties)
                let parts = try await Self.send(bench, upload, key, bodies)
                await bench.expectFailure(.notFound) { () throws(StoreError) in try await bench.store.head(key) }
                #expect(try await bench.store.listParts(upload, key: key) == parts)
                let etag = try await bench.store.completeUpload(upload, key: key, parts: parts, condition: .none)
                let info = try await bench.store.head(key)
                #expect(info.version == ObjectVersion(key: key, etag: etag, byteCount: 12 << 20))
                #expect(info.properties.metadata == properties.metadata)
                #expect(info.properties.contentType == "text/plain")
                try await bench.expectBody(key, Array(bodies.joined()))
                // Across the seam of two parts.
                let seam = ByteRange(Self.part - 10, Self.part + 10)
                #expect(
                    try await bench.get(key, etag: etag, range: seam).bytes
                        == Array(bodies[0].suffix(10) + bodies[1].prefix(10)))
                #expect(try await bench.listAll(bench.prefix).objects.map(\.version) == [info.version])
            }
        }

        /// The last body sent under a number counts, and numbers may have gaps.
        @Test(arguments: StoreUnderTest.all)
        func replacedPart(_ target: StoreUnderTest) async throws {
            try await Bench.check("multipart.replacedPart", on: target) { bench in
                let first = randomBytes(Self.part, seed: 1)
                try await Self.complete(
                    bench, sending: [(3, first), (7, [1, 1]), (7, [2, 2, 2])], completing: [3, 7],
                    gives: first + [2, 2, 2])
            }
        }

        /// Parts that the completion does not name are dropped.
        @Test(arguments: StoreUnderTest.all)
        func omittedParts(_ target: StoreUnderTest) async throws {
            try await Bench.check("multipart.omittedParts", on: target) { bench in
                let first = randomBytes(Self.part, seed: 1)
                try await Self.complete(
                    bench, sending: [(1, [8]), (2, first), (3, [1, 1]), (4, [9])], completing: [2, 3],
                    gives: first + [1, 1])
            }
        }

        private static func complete(
            _ bench: Bench, sending bodies: [(Int, [UInt8])], completing numbers: [Int], gives wanted: [UInt8]
        ) async throws {
            let key = bench.key("object")
            let upload = try await bench.store.createUpload(key, properties: .init())
            var sent: [Int: UploadedPart] = [:]
            for (number, bytes) in bodies {
                let etag = try await bench.store.uploadPart(
                    upload, key: key, number: number, body: ByteArraySource(bytes))
                sent[number] = UploadedPart(number: number, etag: etag, byteCount: bytes.count)
            }
            _ = try await bench.store.completeUpload(
                upload, key: key, parts: numbers.map { sent[$0]! }, condition: .none)
            try await bench.expectBody(key, wanted)
        }

        @Test(arguments: StoreUnderTest.all)
        func manyParts(_ target: StoreUnderTest) async throws {
            try await Bench.check("multipart.manyParts", on: target) { bench in
                let key = bench.key("object")
                let upload = try await bench.store.createUpload(key, properties: .init())
                let sent = Lock([UploadedPart]())
                // More than ListParts answers in one page.
                try await inParallel(1100, width: 16) { index in
                    let etag = try await bench.store.uploadPart(
                        upload, key: key, number: index + 1, body: ByteArraySource([UInt8(index & 255)]))
                    sent.withLock { $0.append(UploadedPart(number: index + 1, etag: etag, byteCount: 1)) }
                }
                let wanted = sent.withLock { $0.sorted { $0.number < $1.number } }
                let found = try await bench.store.listParts(upload, key: key)
                let isSame = found == wanted
                #expect(isSame, "\(found.count) parts listed")
                try await bench.store.abortUpload(upload, key: key)
            }
        }

        @Test(arguments: StoreUnderTest.all, ["order", "etag", "missing", "none", "small", "twice"])
        func refusedCompletion(_ target: StoreUnderTest, fault: String) async throws {
            try await Bench.check("multipart.refused-\(fault)", on: target) { bench in
                let key = bench.key("object")
                let upload = try await bench.store.createUpload(key, properties: .init())
                let sizes = fault == "small" ? [1000, 1000] : [Self.part, 1000]
                let good = try await Self.send(bench, upload, key, sizes.map { randomBytes($0, seed: UInt64($0)) })
                let parts: [UploadedPart] =
                    switch fault {
                    case "order": good.reversed()
                    case "etag": [good[0], UploadedPart(number: 2, etag: good[0].etag, byteCount: 1000)]
                    case "missing": good + [UploadedPart(number: 3, etag: good[1].etag, byteCount: 1000)]
                    case "none": []
                    case "twice": [good[0], good[0], good[1]]
                    default: good
                    }
                await bench.expectFailure(.invalidRequest) { () throws(StoreError) in
                    try await bench.store.completeUpload(upload, key: key, parts: parts, condition: .none)
                }
                await bench.expectFailure(.notFound) { () throws(StoreError) in try await bench.store.head(key) }
                try await bench.store.abortUpload(upload, key: key)
            }
        }

        @Test(arguments: StoreUnderTest.all)
        func abort(_ target: StoreUnderTest) async throws {
            try await Bench.check("multipart.abort", on: target) { bench in
                let key = bench.key("object")
                let upload = try await bench.store.createUpload(key, properties: .init())
                _ = try await bench.store.uploadPart(upload, key: key, number: 1, body: ByteArraySource([1]))
                try await bench.store.abortUpload(upload, key: key)
                let ofPart = await bench.expectFailure(.notFound) { () throws(StoreError) in
                    try await bench.store.uploadPart(upload, key: key, number: 2, body: ByteArraySource([1]))
                }
                let ofList = await bench.expectFailure(.notFound) { () throws(StoreError) in
                    try await bench.store.listParts(upload, key: key)
                }
                #expect(ofPart?.isLostUpload == true && ofList?.isLostUpload == true)
                try await bench.store.abortUpload(upload, key: key)
                await bench.expectFailure(.notFound) { () throws(StoreError) in try await bench.store.head(key) }
            }
        }

        @Test(arguments: StoreUnderTest.all)
        func completionAfterAbort(_ target: StoreUnderTest) async throws {
            try await Bench.check("multipart.completionAfterAbort", on: target) { bench in
                let key = bench.key("object")
                let upload = try await bench.store.createUpload(key, properties: .init())
                let part = try await bench.store.uploadPart(upload, key: key, number: 1, body: ByteArraySource([1]))
                try await bench.store.abortUpload(upload, key: key)
                let failure = await bench.expectFailure(.notFound) { () throws(StoreError) in
                    try await bench.store.completeUpload(
                        upload, key: key, parts: [.init(number: 1, etag: part, byteCount: 1)], condition: .none)
                }
                #expect(failure?.isLostUpload == true)
                await bench.expectFailure(.notFound) { () throws(StoreError) in try await bench.store.head(key) }
            }
        }

        // MARK: Conditions

        @Test(arguments: StoreUnderTest.all)
        func completeIfAbsent(_ target: StoreUnderTest) async throws {
            try await Bench.check("multipart.ifAbsent", on: target) { bench in
                try await Self.complete(bench, existing: nil, .ifAbsent, succeeds: true)
                try await Self.complete(bench, existing: [1], .ifAbsent, succeeds: false)
            }
        }

        @Test(arguments: StoreUnderTest.all)
        func completeIfMatch(_ target: StoreUnderTest) async throws {
            try await Bench.check("multipart.ifMatch", on: target) { bench in
                let key = bench.key("object")
                let etag = try await bench.put(key, [1])
                try await Self.complete(bench, existing: nil, .ifMatch(etag), succeeds: true)
                try await Self.complete(bench, existing: nil, .ifMatch(etag), succeeds: false)
            }
        }

        private static func complete(
            _ bench: Bench, existing: [UInt8]?, _ condition: WriteCondition, succeeds: Bool
        ) async throws {
            let key = bench.key("object")
            if let existing { try await bench.put(key, existing) }
            let before = try? await bench.get(key).bytes
            let upload = try await bench.store.createUpload(key, properties: .init())
            let parts = try await send(bench, upload, key, [[9, 9, 9]])
            if succeeds {
                let etag = try await bench.store.completeUpload(upload, key: key, parts: parts, condition: condition)
                #expect(try await bench.store.head(key).version.etag == etag)
                try await bench.expectBody(key, [9, 9, 9])
            } else {
                await bench.expectFailure(.preconditionFailed) { () throws(StoreError) in
                    try await bench.store.completeUpload(upload, key: key, parts: parts, condition: condition)
                }
                try await bench.expectBody(key, before ?? [])
                try await bench.store.abortUpload(upload, key: key)
            }
        }

        // MARK: Parts by copy

        @Test(arguments: StoreUnderTest.all)
        func partCopy(_ target: StoreUnderTest) async throws {
            try await Bench.check("multipart.partCopy", on: target) { bench in
                let sourceKey = bench.key("source + 100%")
                let bytes = randomBytes(12 << 20, seed: 4)
                let etag = try await bench.put(sourceKey, bytes)
                let source = ObjectVersion(key: sourceKey, etag: etag, byteCount: bytes.count)
                let key = bench.key("object")
                let upload = try await bench.store.createUpload(key, properties: .init())
                let middle = randomBytes(Self.part, seed: 5)
                let ranges = [ByteRange(1, Self.part + 4), ByteRange(11 << 20, 12 << 20)]
                let first = try await bench.store.uploadPartCopy(
                    upload, key: key, number: 1, source: source, range: ranges[0])
                let second = try await bench.store.uploadPart(
                    upload, key: key, number: 2, body: ByteArraySource(middle))
                let third = try await bench.store.uploadPartCopy(
                    upload, key: key, number: 3, source: source, range: ranges[1])
                let parts = [
                    UploadedPart(number: 1, etag: first, byteCount: ranges[0].count),
                    UploadedPart(number: 2, etag: second, byteCount: middle.count),
                    UploadedPart(number: 3, etag: third, byteCount: ranges[1].count),
                ]
                #expect(try await bench.store.listParts(upload, key: key) == parts)
                _ = try await bench.store.completeUpload(upload, key: key, parts: parts, condition: .none)
                try await bench.expectBody(key, Array(bytes[1..<(Self.part + 4)] + middle + bytes[(11 << 20)...]))
            }
        }

        /// The source's name is what was asked for, not what it decodes to.
        @Test(arguments: StoreUnderTest.all, ["a%20b", "a+b", "a%2Bb", "100%", "%zz"])
        func partCopyOfLookalikes(_ target: StoreUnderTest, name: String) async throws {
            try await Bench.check("multipart.partCopyOfLookalikes", on: target) { bench in
                for other in ["a b", "a+b"] where other != name { try await bench.put(bench.key(other), [1, 1]) }
                let etag = try await bench.put(bench.key(name), [2, 2])
                let source = ObjectVersion(key: bench.key(name), etag: etag, byteCount: 2)
                let key = bench.key("object")
                let upload = try await bench.store.createUpload(key, properties: .init())
                let part = try await bench.store.uploadPartCopy(
                    upload, key: key, number: 1, source: source, range: ByteRange(0, 2))
                _ = try await bench.store.completeUpload(
                    upload, key: key, parts: [.init(number: 1, etag: part, byteCount: 2)], condition: .none)
                try await bench.expectBody(key, [2, 2])
            }
        }

        @Test(arguments: StoreUnderTest.all)
        func partCopyOntoItself(_ target: StoreUnderTest) async throws {
            try await Bench.check("multipart.partCopyOntoItself", on: target) { bench in
                // An append to a large object: its own old bytes, then new ones.
                let key = bench.key("object")
                let bytes = randomBytes(6 << 20, seed: 4)
                let etag = try await bench.put(key, bytes)
                let source = ObjectVersion(key: key, etag: etag, byteCount: bytes.count)
                let upload = try await bench.store.createUpload(key, properties: .init())
                let copied = try await bench.store.uploadPartCopy(
                    upload, key: key, number: 1, source: source, range: ByteRange(0, bytes.count))
                let added = try await bench.store.uploadPart(upload, key: key, number: 2, body: ByteArraySource([7]))
                _ = try await bench.store.completeUpload(
                    upload, key: key,
                    parts: [
                        .init(number: 1, etag: copied, byteCount: bytes.count),
                        .init(number: 2, etag: added, byteCount: 1),
                    ], condition: .none)
                try await bench.expectBody(key, bytes + [7])
            }
        }

        @Test(arguments: StoreUnderTest.all)
        func partCopyOfChangedSource(_ target: StoreUnderTest) async throws {
            try await Bench.check("multipart.partCopyOfChangedSource", on: target) { bench in
                let sourceKey = bench.key("source")
                let old = try await bench.put(sourceKey, randomBytes(6 << 20, seed: 1))
                let source = ObjectVersion(key: sourceKey, etag: old, byteCount: 6 << 20)
                let key = bench.key("object")
                // What a store learns from copies that succeed must not make it careless.
                _ = try await bench.store.copy(CopyRequest(source: source, destination: bench.key("copy")))
                let other = try await bench.store.createUpload(key, properties: .init())
                for number in 1...2 {
                    _ = try await bench.store.uploadPartCopy(
                        other, key: key, number: number, source: source, range: ByteRange(0, 6 << 20))
                }
                try await bench.store.abortUpload(other, key: key)
                try await bench.put(sourceKey, randomBytes(6 << 20, seed: 2))
                let upload = try await bench.store.createUpload(key, properties: .init())
                await bench.expectFailure(.preconditionFailed) { () throws(StoreError) in
                    try await bench.store.uploadPartCopy(
                        upload, key: key, number: 1, source: source, range: ByteRange(0, 6 << 20))
                }
                try await bench.store.delete(sourceKey)
                await bench.expectFailure(.notFound) { () throws(StoreError) in
                    try await bench.store.uploadPartCopy(
                        upload, key: key, number: 1, source: source, range: ByteRange(0, 6 << 20))
                }
                // Without a condition, that the source was another shows when the part is made already.
                let parts = try await bench.store.listParts(upload, key: key)
                #expect(parts.isEmpty || !bench.store.capabilities.conditionalCopySource)
                try await bench.store.abortUpload(upload, key: key)
            }
        }
    }

    @Suite(.timeLimit(.minutes(5)))
    struct Copies {
        static let properties: ObjectProperties = {
            var properties = ObjectProperties(metadata: ["mode": "33188", "note": "a"], contentType: "text/plain")
            properties.cacheControl = "no-cache"
            return properties
        }()

        @Test(arguments: StoreUnderTest.all, [0, 1000])
        func keepsProperties(_ target: StoreUnderTest, byteCount: Int) async throws {
            try await Bench.check("copy.keepsProperties", on: target) { bench in
                let bytes = randomBytes(byteCount, seed: 1)
                let etag = try await bench.put(bench.key("source"), bytes, properties: Self.properties)
                let copied = try await bench.store.copy(
                    CopyRequest(
                        source: .init(key: bench.key("source"), etag: etag, byteCount: byteCount),
                        destination: bench.key("copy")))
                let info = try await bench.store.head(bench.key("copy"))
                #expect(info.version == .init(key: bench.key("copy"), etag: copied, byteCount: byteCount))
                #expect(info.properties == Self.properties)
                try await bench.expectBody(bench.key("copy"), bytes)
                try await bench.expectBody(bench.key("source"), bytes)
            }
        }

        @Test(arguments: StoreUnderTest.all, ["copy", "source"])
        func replacesProperties(_ target: StoreUnderTest, destination: String) async throws {
            try await Bench.check("copy.replacesProperties", on: target) { bench in
                let bytes = randomBytes(1000, seed: 1)
                let etag = try await bench.put(bench.key("source"), bytes, properties: Self.properties)
                let replacement = ObjectProperties(metadata: ["mode": "33152"], contentType: "text/csv")
                let copied = try await bench.store.copy(
                    CopyRequest(
                        source: .init(key: bench.key("source"), etag: etag, byteCount: 1000),
                        destination: bench.key(destination), properties: replacement))
                let info = try await bench.store.head(bench.key(destination))
                #expect(info.version.etag == copied)
                #expect(info.properties.metadata == replacement.metadata)
                #expect(info.properties.contentType == "text/csv")
                try await bench.expectBody(bench.key(destination), bytes)
            }
        }

        @Test(arguments: StoreUnderTest.all)
        func changedSource(_ target: StoreUnderTest) async throws {
            try await Bench.check("copy.changedSource", on: target) { bench in
                let old = try await bench.put(bench.key("source"), [1])
                try await bench.put(bench.key("source"), [2])
                let source = ObjectVersion(key: bench.key("source"), etag: old, byteCount: 1)
                await bench.expectFailure(.preconditionFailed) { () throws(StoreError) in
                    try await bench.store.copy(CopyRequest(source: source, destination: bench.key("copy")))
                }
                await bench.expectFailure(.notFound) { () throws(StoreError) in
                    try await bench.store.head(bench.key("copy"))
                }
            }
        }

        @Test(arguments: StoreUnderTest.all)
        func absentSource(_ target: StoreUnderTest) async throws {
            try await Bench.check("copy.absentSource", on: target) { bench in
                let old = try await bench.put(bench.key("source"), [1])
                try await bench.store.delete(bench.key("source"))
                let source = ObjectVersion(key: bench.key("source"), etag: old, byteCount: 1)
                await bench.expectFailure(.notFound) { () throws(StoreError) in
                    try await bench.store.copy(CopyRequest(source: source, destination: bench.key("copy")))
                }
            }
        }

        /// Larger than one request copies: by parts, with the properties kept or replaced.
        @Test(arguments: StoreUnderTest.all, [false, true])
        func byParts(_ target: StoreUnderTest, replaces: Bool) async throws {
            try await Bench.check("copy.byParts", on: target, variation: .smallSingleCopy) { bench in
                let key = bench.key("source \u{e9}")
                let body = randomBytes((13 << 20) + 5, seed: 6)
                let upload = try await bench.store.createUpload(key, properties: Self.properties)
                var parts: [UploadedPart] = []
                for offset in stride(from: 0, to: body.count, by: 5 << 20) {
                    let piece = Array(body[offset..<min(offset + (5 << 20), body.count)])
                    let number = parts.count + 1
                    let etag = try await bench.store.uploadPart(
                        upload, key: key, number: number, body: ByteArraySource(piece))
                    parts.append(.init(number: number, etag: etag, byteCount: piece.count))
                }
                let etag = try await bench.store.completeUpload(upload, key: key, parts: parts, condition: .none)
                let replacement = replaces ? ObjectProperties(metadata: ["x": "y"], contentType: "text/csv") : nil
                let source = ObjectVersion(key: key, etag: etag, byteCount: body.count)
                let copied = try await bench.store.copy(
                    CopyRequest(source: source, destination: bench.key("copy"), properties: replacement))
                let info = try await bench.store.head(bench.key("copy"))
                #expect(info.version == .init(key: bench.key("copy"), etag: copied, byteCount: body.count))
                #expect(info.properties.metadata == (replacement ?? Self.properties).metadata)
                #expect(info.properties.contentType == (replacement ?? Self.properties).contentType)
                try await bench.expectBody(bench.key("copy"), body)
            }
        }
    }
}
