// The way of each request: counted, held, made to fail, executed, held again, answered.

internal import Base
internal import ObjectModel
internal import ObjectStore

extension MemoryStore {
    /// What a request in execution knows of itself.
    struct Request {
        let operation: StoreOperation
        let key: ObjectKey?
        /// Where it stands in the log, and of which log.
        let index: Int
        let generation: Int
        let fault: Fault?

        func error(_ kind: StoreError.Kind, _ code: String? = nil, _ status: Int? = nil, _ message: String = "")
            -> StoreError
        {
            StoreError(
                kind, operation: operation.rawValue, key: key, code: code, httpStatus: status,
                requestID: "memory-\(generation)-\(index)", message: message)
        }

        /// The error that an injected fault shows.
        func injected(_ kind: StoreError.Kind) -> StoreError {
            error(kind, nil, nil, "injected fault")
        }
    }

    func perform<Value>(
        _ record: RequestRecord, _ work: (Request) async throws(StoreError) -> Value
    ) async throws(StoreError) -> Value {
        let request = state.withLock { state in
            state.counts.byOperation[record.operation, default: 0] += 1
            state.inFlightCount += 1
            state.counts.inFlightPeak = max(state.counts.inFlightPeak, state.inFlightCount)
            state.log.append(record)
            return Request(
                operation: record.operation, key: record.key, index: state.log.count - 1,
                generation: state.logGeneration, fault: state.faults.next(operation: record.operation, key: record.key))
        }
        do throws(StoreError) {
            let value = try await execute(request, record, work)
            end(request, .succeeded)
            return value
        } catch {
            end(request, .failed(error.kind))
            throw error
        }
    }

    private func execute<Value>(
        _ request: Request, _ record: RequestRecord, _ work: (Request) async throws(StoreError) -> Value
    ) async throws(StoreError) -> Value {
        try checkCancellation(request)
        await gate.pass(.init(operation: request.operation, stage: .beforeExecution), record)
        try checkCancellation(request)
        switch request.fault {
        case .refused(let kind): throw request.injected(kind)
        case .slow(let nanoseconds):
            do { try await time.sleep(nanoseconds: nanoseconds) } catch { throw request.error(.cancelled) }
        case .blackHole:
            let never = OneShot<Void>()
            await withTaskCancellationHandler {
                await never.wait()
            } onCancel: {
                never.set(())
            }
            throw request.error(.cancelled)
        case .answerLost, .bodyCut, nil: break
        }
        let value = try await work(request)
        await gate.pass(.init(operation: request.operation, stage: .beforeAnswer), record)
        try checkCancellation(request)
        // A cut that the body was too short for still breaks the connection.
        switch request.fault {
        case .answerLost(let kind), .bodyCut(_, let kind):
            var error = request.injected(kind)
            error.mayHaveHappened = true
            throw error
        default: return value
        }
    }

    func checkCancellation(_ request: Request) throws(StoreError) {
        if Task.isCancelled { throw request.error(.cancelled) }
    }

    func note(_ request: Request, bytesSent: Int = 0, bytesReceived: Int = 0) {
        state.withLock { state in
            guard state.logGeneration == request.generation else { return }
            state.counts.bytesSent += bytesSent
            state.counts.bytesReceived += bytesReceived
            state.log[request.index].bytesSent += bytesSent
            state.log[request.index].bytesReceived += bytesReceived
        }
    }

    private func end(_ request: Request, _ outcome: RequestRecord.Outcome) {
        state.withLock { state in
            state.inFlightCount -= 1
            guard state.logGeneration == request.generation else { return }
            if outcome != .succeeded { state.counts.failedCount += 1 }
            state.log[request.index].outcome = outcome
        }
    }

    /// Takes a body in as a server would, twice, in pieces of uneven size: it must be the same both times.
    func receive(_ body: any BodySource, _ request: Request) throws(StoreError) -> [UInt8] {
        let count = body.byteCount
        var cutBytes = Int.max
        if case .bodyCut(let afterBytes, _) = request.fault { cutBytes = afterBytes }
        guard let bytes = readAll(body, count: min(count, cutBytes)) else {
            throw request.error(.sourceFailed, nil, nil, "the source could not be read")
        }
        note(request, bytesSent: bytes.count)
        if case .bodyCut(_, let kind) = request.fault { throw request.injected(kind) }
        guard body.byteCount == count, readAll(body, count: count) == bytes else {
            throw request.error(.sourceFailed, nil, nil, "the source changed between two reads")
        }
        return bytes
    }

    private func readAll(_ body: any BodySource, count: Int) -> [UInt8]? {
        var isComplete = true
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            var offset = 0
            while offset < count, isComplete {
                let piece = min(count - offset, pieceByteCount())
                isComplete = body.read(
                    into: .init(rebasing: UnsafeMutableRawBufferPointer(buffer)[offset..<(offset + piece)]), at: offset)
                offset += piece
            }
            // SAFETY: only counted as initialised when every piece was filled; else the array is dropped unread.
            initialized = isComplete ? count : 0
        }
        return isComplete ? bytes : nil
    }

    /// Sizes as sockets give them: anything.
    func pieceByteCount() -> Int {
        state.withLock { Int.random(in: 1...(256 << 10), using: &$0.random) }
    }
}

extension MemoryStore.State {
    /// An ETag that no write had before, in S3's form.
    mutating func nextETag(partCount: Int? = nil) -> ETag {
        serial += 1
        let digits = Self.hex(random.next()) + Self.hex(serial)
        return ETag(partCount.map { "\(digits)-\($0)" } ?? digits)!
    }

    static func hex(_ value: UInt64) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    /// Publishes an object.
    mutating func store(_ key: ObjectKey, bytes: [UInt8], etag: ETag, properties: ObjectProperties, now: Timestamp) {
        var properties = properties
        tags[key] = nil
        // What S3 answers for an object that was written without one.
        if properties.contentType == nil { properties.contentType = "binary/octet-stream" }
        if properties.storageClass == "STANDARD" { properties.storageClass = nil }
        let info = ObjectInfo(
            version: ObjectVersion(key: key, etag: etag, byteCount: bytes.count),
            lastModified: Timestamp(seconds: now.seconds), properties: properties)
        if objects.updateValue(MemoryStore.Object(bytes: bytes, info: info), forKey: key) == nil {
            keys.insert(key, at: firstIndex { $0 >= key })
        }
    }

    mutating func remove(_ key: ObjectKey) {
        tags[key] = nil
        if objects.removeValue(forKey: key) != nil { keys.remove(at: firstIndex { $0 >= key }) }
    }

    /// The index of the first key for which `predicate` holds; it must hold for all after it.
    func firstIndex(where predicate: (ObjectKey) -> Bool) -> Int {
        var low = 0
        var high = keys.count
        while low < high {
            let middle = (low + high) / 2
            if predicate(keys[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
