// Multipart uploads, with every rule of
// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html> and CompleteMultipartUpload enforced.

internal import Base
public import ObjectModel
public import ObjectStore

extension MemoryStore {
    /// The largest object, in bytes.
    private static let objectBytesMax = 5 << 40

    public func createUpload(_ key: ObjectKey, properties: ObjectProperties) async throws(StoreError) -> UploadID {
        try await perform(RequestRecord(.createUpload, key: key)) { (request) throws(StoreError) in
            try self.check(properties, request)
            let now = self.time.now
            return self.state.withLock { state in
                state.serial += 1
                let id = UploadID("upload-\(State.hex(state.random.next()))-\(state.serial)")
                state.uploads[id] = Upload(key: key, properties: properties, created: now)
                return id
            }
        }
    }

    public func uploadPart(
        _ upload: UploadID, key: ObjectKey, number: Int, body: any BodySource
    ) async throws(StoreError) -> ETag {
        var record = RequestRecord(.uploadPart, key: key)
        record.partNumber = number
        return try await perform(record) { (request) throws(StoreError) in
            try self.check(upload, key, number, request)
            guard body.byteCount <= self.capabilities.partBytesMax else {
                throw request.error(.tooLarge, "EntityTooLarge", 400)
            }
            return try self.keep(try self.receive(body, request), upload, key, number, request)
        }
    }

    public func uploadPartCopy(
        _ upload: UploadID, key: ObjectKey, number: Int, source: ObjectVersion, range: ByteRange
    ) async throws(StoreError) -> ETag {
        var record = RequestRecord(.uploadPartCopy, key: key)
        record.partNumber = number
        record.range = range
        record.ifMatch = source.etag
        return try await perform(record) { (request) throws(StoreError) in
            let capabilities = self.capabilities
            guard capabilities.partCopy else { throw request.error(.unsupported, "NotImplemented", 501) }
            try self.check(upload, key, number, request)
            let object = try self.source(source, request)
            guard !range.isEmpty, range.upperBound <= object.bytes.count else {
                throw request.error(.invalidRange, "InvalidRange", 416)
            }
            guard range.count <= capabilities.partBytesMax else {
                throw request.error(.tooLarge, "EntityTooLarge", 400)
            }
            // "You can copy a range only if the source object is greater than 5 MB"
            // (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html>).
            guard range.count == object.bytes.count || object.bytes.count > capabilities.partBytesMin else {
                throw request.error(.invalidRequest, "InvalidRequest", 400, "a range of a source so small")
            }
            return try self.keep(Array(object.bytes[range.lowerBound..<range.upperBound]), upload, key, number, request)
        }
    }

    public func completeUpload(
        _ upload: UploadID, key: ObjectKey, parts: [UploadedPart], condition: WriteCondition
    ) async throws(StoreError) -> ETag {
        var record = RequestRecord(.completeUpload, key: key)
        record.note(condition)
        return try await perform(record) { (request) throws(StoreError) in
            let now = self.time.now
            return try self.state.withLock { (state) throws(StoreError) in
                guard condition == .none || state.capabilities.conditionalComplete else {
                    throw request.error(.unsupported, "NotImplemented", 501, "conditional CompleteMultipartUpload")
                }
                let open = try state.upload(upload, key, request)
                let bytes = try state.assemble(parts, of: open, request)
                guard bytes.count <= Self.objectBytesMax else { throw request.error(.tooLarge, "EntityTooLarge", 400) }
                // A failed condition leaves the upload as it is.
                try state.check(condition, key, request)
                state.uploads[upload] = nil
                let etag = state.nextETag(partCount: parts.count)
                state.store(key, bytes: bytes, etag: etag, properties: open.properties, now: now)
                return etag
            }
        }
    }

    public func abortUpload(_ upload: UploadID, key: ObjectKey) async throws(StoreError) {
        try await perform(RequestRecord(.abortUpload, key: key)) { (request) throws(StoreError) in
            try self.state.withLock { (state) throws(StoreError) in
                guard let open = state.uploads[upload] else { return }
                guard open.key == key else { throw request.error(.invalidRequest, "InvalidArgument", 400, "other key") }
                state.uploads[upload] = nil
            }
        }
    }

    public func listParts(_ upload: UploadID, key: ObjectKey) async throws(StoreError) -> [UploadedPart] {
        try await perform(RequestRecord(.listParts, key: key)) { (request) throws(StoreError) in
            try self.state.withLock { (state) throws(StoreError) in
                try state.upload(upload, key, request).listed
            }
        }
    }

    private func check(_ upload: UploadID, _ key: ObjectKey, _ number: Int, _ request: Request) throws(StoreError) {
        guard (1...capabilities.partCountMax).contains(number) else {
            throw request.error(.invalidRequest, "InvalidArgument", 400, "part number \(number)")
        }
        _ = try state.withLock { (state) throws(StoreError) in try state.upload(upload, key, request) }
    }

    /// Keeps a part, unless the upload ended while the part was on its way.
    private func keep(
        _ bytes: [UInt8], _ upload: UploadID, _ key: ObjectKey, _ number: Int, _ request: Request
    ) throws(StoreError) -> ETag {
        try checkCancellation(request)
        return try state.withLock { (state) throws(StoreError) in
            _ = try state.upload(upload, key, request)
            let etag = state.nextETag()
            state.uploads[upload]!.parts[number] = Upload.Part(bytes: bytes, etag: etag)
            return etag
        }
    }
}

extension MemoryStore.Upload {
    /// By number.
    var listed: [UploadedPart] {
        parts.sorted { $0.key < $1.key }.map { number, part in
            UploadedPart(number: number, etag: part.etag, byteCount: part.bytes.count)
        }
    }
}

extension MemoryStore.State {
    fileprivate func upload(
        _ id: UploadID, _ key: ObjectKey, _ request: MemoryStore.Request
    ) throws(StoreError) -> MemoryStore.Upload {
        guard let upload = uploads[id], upload.key == key else {
            throw request.error(.notFound, "NoSuchUpload", 404)
        }
        return upload
    }

    fileprivate func assemble(
        _ parts: [UploadedPart], of upload: MemoryStore.Upload, _ request: MemoryStore.Request
    ) throws(StoreError) -> [UInt8] {
        guard !parts.isEmpty else { throw request.error(.invalidRequest, "MalformedXML", 400, "no parts") }
        guard zip(parts, parts.dropFirst()).allSatisfy({ $0.number < $1.number }) else {
            throw request.error(.invalidRequest, "InvalidPartOrder", 400)
        }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(parts.reduce(0) { $0 + max(0, $1.byteCount) })
        for (index, part) in parts.enumerated() {
            guard let held = upload.parts[part.number], held.etag == part.etag else {
                throw request.error(.invalidRequest, "InvalidPart", 400, "part \(part.number)")
            }
            guard held.bytes.count == part.byteCount else {
                throw request.error(.invalidRequest, "InvalidPart", 400, "size of part \(part.number)")
            }
            guard index == parts.count - 1 || held.bytes.count >= capabilities.partBytesMin else {
                throw request.error(.invalidRequest, "EntityTooSmall", 400, "part \(part.number)")
            }
            bytes += held.bytes
        }
        return bytes
    }
}
