// Whole objects: HEAD, GET, PUT, DELETE, copy.

internal import Base
public import ObjectModel
public import ObjectStore

extension MemoryStore {
    public func head(_ key: ObjectKey) async throws(StoreError) -> ObjectInfo {
        try await perform(RequestRecord(.headObject, key: key)) { (request) throws(StoreError) in
            try self.object(key, request).info
        }
    }

    public func get(_ wanted: GetRequest, into sink: any BodySink) async throws(StoreError) -> ObjectInfo {
        var record = RequestRecord(.getObject, key: wanted.key)
        record.range = wanted.range
        record.ifMatch = wanted.etag
        return try await perform(record) { (request) async throws(StoreError) in
            if self.requireIfMatch, wanted.etag == nil {
                throw request.error(.invalidRequest, "InvalidRequest", 400, "GET without If-Match")
            }
            let object = try self.object(wanted.key, request)
            if let etag = wanted.etag, etag != object.info.version.etag {
                throw request.error(.preconditionFailed, "PreconditionFailed", 412)
            }
            try self.refuseArchived(object, request)
            var range = ByteRange(0, object.bytes.count)
            if let asked = wanted.range {
                guard !asked.isEmpty else {
                    throw request.error(.invalidRequest, "InvalidArgument", 400, "HTTP has no empty range")
                }
                guard let common = asked.intersection(range), common.lowerBound == asked.lowerBound else {
                    throw request.error(.invalidRange, "InvalidRange", 416)
                }
                range = common
            }
            try await self.deliver(object, range, into: sink, request)
            return object.info
        }
    }

    private func deliver(
        _ object: Object, _ range: ByteRange, into sink: any BodySink, _ request: Request
    ) async throws(StoreError) {
        var cutBytes = Int.max
        if case .bodyCut(let afterBytes, _) = request.fault { cutBytes = afterBytes }
        sink.begin(object.info, range: range)
        let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 16)
        defer { scratch.deallocate() }
        var offset = range.lowerBound
        let end = min(range.upperBound, cutBytes < range.count ? range.lowerBound + cutBytes : range.upperBound)
        while offset < end {
            try checkCancellation(request)
            let piece = min(end - offset, pieceByteCount())
            // SAFETY: `scratch` lives until this function returns; a sink that keeps the pointer reads rubbish.
            let window = UnsafeMutableRawBufferPointer(rebasing: scratch[0..<piece])
            object.bytes.withUnsafeBytes { window.copyMemory(from: .init(rebasing: $0[offset..<(offset + piece)])) }
            note(request, bytesReceived: piece)
            sink.receive(UnsafeRawBufferPointer(window))
            _ = window.initializeMemory(as: UInt8.self, repeating: 0xdb)
            offset += piece
            await Task.yield()
        }
        if case .bodyCut(_, let kind) = request.fault { throw request.injected(kind) }
    }

    public func put(_ wanted: PutRequest) async throws(StoreError) -> ETag {
        var record = RequestRecord(.putObject, key: wanted.key)
        record.note(wanted.condition)
        return try await perform(record) { (request) throws(StoreError) in
            let capabilities = self.capabilities
            try self.check(wanted.properties, request)
            guard wanted.condition == .none || capabilities.conditionalPut else {
                throw request.error(.unsupported, "NotImplemented", 501, "conditional PutObject")
            }
            guard (wanted.body?.byteCount ?? 0) <= capabilities.singlePutBytesMax else {
                throw request.error(.tooLarge, "EntityTooLarge", 400)
            }
            let bytes: [UInt8] = if let body = wanted.body { try self.receive(body, request) } else { [] }
            try self.checkCancellation(request)
            let now = self.time.now
            return try self.state.withLock { (state) throws(StoreError) in
                try state.check(wanted.condition, wanted.key, request)
                let etag = state.nextETag()
                state.store(wanted.key, bytes: bytes, etag: etag, properties: wanted.properties, now: now)
                return etag
            }
        }
    }

    public func delete(_ key: ObjectKey) async throws(StoreError) {
        try await perform(RequestRecord(.deleteObject, key: key)) { (_) throws(StoreError) in
            self.state.withLock { $0.remove(key) }
        }
    }

    public func delete(_ keys: [ObjectKey]) async throws(StoreError) -> [(key: ObjectKey, error: StoreError)] {
        var failures: [(key: ObjectKey, error: StoreError)] = []
        // DeleteObjects takes at most 1,000 keys.
        for start in stride(from: 0, to: keys.count, by: 1000) {
            let batch = keys[start..<min(start + 1000, keys.count)]
            var record = RequestRecord(.deleteObjects)
            record.keyCount = batch.count
            failures += try await perform(record) { (request) throws(StoreError) in
                self.state.withLock { state in
                    batch.compactMap { key in
                        if case .refused(let kind) = state.faults.nextOfKey(operation: .deleteObjects, key: key) {
                            return (key, StoreError(kind, operation: request.operation.rawValue, key: key))
                        }
                        state.remove(key)
                        return nil
                    }
                }
            }
        }
        return failures
    }

    public func copy(_ wanted: CopyRequest) async throws(StoreError) -> ETag {
        let source = wanted.source
        guard source.byteCount <= capabilities.singlePutBytesMax else { return try await copyByParts(wanted) }
        var record = RequestRecord(.copyObject, key: wanted.destination)
        record.ifMatch = source.etag
        return try await perform(record) { (request) throws(StoreError) in
            if let properties = wanted.properties { try self.check(properties, request) }
            if source.key == wanted.destination, wanted.properties == nil {
                throw request.error(.invalidRequest, "InvalidRequest", 400, "a copy onto itself that changes nothing")
            }
            let object = try self.source(source, request)
            let now = self.time.now
            var copied = object.info.properties
            copied.storageClass = wanted.storageClass
            let properties = wanted.properties ?? copied
            return self.state.withLock { state in
                let etag = state.nextETag()
                let tags = state.tags[source.key]
                state.store(wanted.destination, bytes: object.bytes, etag: etag, properties: properties, now: now)
                state.tags[wanted.destination] = tags
                return etag
            }
        }
    }

    /// As a client copies what one CopyObject does not take.
    private func copyByParts(_ wanted: CopyRequest) async throws(StoreError) -> ETag {
        let properties: ObjectProperties
        if let replacement = wanted.properties {
            properties = replacement
        } else {
            properties = try await head(wanted.source.key).properties
        }
        let upload = try await createUpload(wanted.destination, properties: properties)
        do throws(StoreError) {
            let capabilities = capabilities
            let partBytes = min(
                capabilities.partBytesMax,
                max(
                    capabilities.partBytesMin, capabilities.singlePutBytesMax,
                    (wanted.source.byteCount + capabilities.partCountMax - 1) / capabilities.partCountMax))
            var parts: [UploadedPart] = []
            var offset = 0
            while offset < wanted.source.byteCount {
                let range = ByteRange(offset, min(offset + partBytes, wanted.source.byteCount))
                let etag = try await uploadPartCopy(
                    upload, key: wanted.destination, number: parts.count + 1, source: wanted.source, range: range)
                parts.append(UploadedPart(number: parts.count + 1, etag: etag, byteCount: range.count))
                offset = range.upperBound
            }
            return try await completeUpload(upload, key: wanted.destination, parts: parts, condition: .none)
        } catch {
            try? await abortUpload(upload, key: wanted.destination)
            throw error
        }
    }

    // MARK: Rules

    func object(_ key: ObjectKey, _ request: Request) throws(StoreError) -> Object {
        guard let object = state.withLock({ $0.objects[key] }) else {
            throw request.error(.notFound, "NoSuchKey", 404)
        }
        return object
    }

    /// The source of a copy, in exactly the version asked for.
    func source(_ source: ObjectVersion, _ request: Request) throws(StoreError) -> Object {
        let object = try object(source.key, request)
        guard object.info.version.etag == source.etag else {
            throw request.error(.preconditionFailed, "PreconditionFailed", 412)
        }
        guard object.bytes.count == source.byteCount else {
            throw request.error(
                .invalidRequest, "InvalidArgument", 400, "the size of the source is not that of its ETag")
        }
        try refuseArchived(object, request)
        return object
    }

    private func refuseArchived(_ object: Object, _ request: Request) throws(StoreError) {
        switch object.info.properties.storageClass {
        case "GLACIER", "DEEP_ARCHIVE": throw request.error(.archived, "InvalidObjectState", 403)
        default: break
        }
    }

    /// User metadata: at most 2 KB of names and values
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html>), and only what an HTTP header
    /// carries without change: lower-case token names. Values may be any text, which a store encodes for its headers.
    func check(_ properties: ObjectProperties, _ request: Request) throws(StoreError) {
        guard properties.metadataByteCount <= ObjectProperties.metadataByteCountMax else {
            throw request.error(.tooLarge, "MetadataTooLarge", 400)
        }
        for name in properties.metadata.keys {
            let isToken = name.utf8.allSatisfy { byte in
                (0x61...0x7a).contains(byte) || (0x30...0x39).contains(byte) || "!#$%&'*+-.^_`|~".utf8.contains(byte)
            }
            guard isToken, !name.isEmpty else {
                throw request.error(.invalidRequest, "InvalidArgument", 400, "metadata name '\(name)'")
            }
        }
        let headers = [
            properties.contentType, properties.cacheControl, properties.contentEncoding,
            properties.contentDisposition, properties.contentLanguage, properties.storageClass,
        ]
        guard headers.allSatisfy({ $0?.isHeaderValue ?? true }) else {
            throw request.error(.invalidRequest, "InvalidArgument", 400, "a header that HTTP cannot carry")
        }
    }
}

extension String {
    fileprivate var isHeaderValue: Bool {
        utf8.allSatisfy { (0x20...0x7e).contains($0) } && utf8.first != 0x20 && utf8.last != 0x20
    }
}

extension RequestRecord {
    mutating func note(_ condition: WriteCondition) {
        switch condition {
        case .none: break
        case .ifMatch(let etag): ifMatch = etag
        case .ifAbsent: ifAbsent = true
        }
    }
}

extension MemoryStore.State {
    func check(_ condition: WriteCondition, _ key: ObjectKey, _ request: MemoryStore.Request) throws(StoreError) {
        switch condition {
        case .none: return
        case .ifAbsent:
            guard objects[key] == nil else { throw request.error(.preconditionFailed, "PreconditionFailed", 412) }
        case .ifMatch(let etag):
            guard let object = objects[key], object.info.version.etag == etag else {
                throw request.error(.preconditionFailed, "PreconditionFailed", 412)
            }
        }
    }
}
