// HEAD, LIST and GET.

public import Base
public import ObjectModel
internal import S3Protocol

extension S3Store {
    public func head(_ key: ObjectKey) async throws(StoreError) -> ObjectInfo {
        let answer: S3Answer
        do throws(S3CallFailure) {
            answer = try await perform(S3Call(builder.headObject(key)))
        } catch {
            if error.error.httpStatus == 400, error.error.code == nil, let reason = await reasonOfRefusal(key) {
                throw reason
            }
            throw error.error
        }
        do throws(AnswerError) {
            return try ObjectInfo(key, headers: answer.headers)
        } catch {
            throw StoreError(error, answer, operation: .headObject, key: key)
        }
    }

    /// A 400 to HEAD comes without a reason: a GET of one byte is refused for the same one, and says it.
    private func reasonOfRefusal(_ key: ObjectKey) async -> StoreError? {
        do throws(S3CallFailure) {
            _ = try await perform(S3Call(builder.getObject(key, range: ByteRange(0, 1))))
            return nil
        } catch {
            guard error.error.code != nil else { return nil }
            var reason = error.error
            reason.operation = S3Operation.headObject.rawValue
            return reason
        }
    }

    public func list(_ request: ListRequest) async throws(StoreError) -> ListPage {
        let page = try await listAnswer(request)
        return ListPage(objects: page.objects, commonPrefixes: page.commonPrefixes, continuation: page.continuation)
    }

    private func listAnswer(_ request: ListRequest, retry: RetryPolicy? = nil) async throws(StoreError) -> ListAnswer {
        precondition((1...1000).contains(request.entryCountMax), "a page has 1 to 1,000 entries")
        var call = S3Call(
            builder.listObjectsV2(
                prefix: request.prefix, delimiter: request.delimited ? "/" : nil,
                continuation: request.continuation, startAfter: request.startAfter,
                entryCountMax: request.entryCountMax))
        call.retry = retry
        let answer = try await performFinally(call)
        do throws(AnswerError) {
            return try ListAnswer(body: answer.body)
        } catch {
            throw StoreError(error, answer, operation: .listObjectsV2, key: nil)
        }
    }

    public func get(_ request: GetRequest, into sink: any BodySink) async throws(StoreError) -> ObjectInfo {
        if let range = request.range, range.isEmpty {
            throw StoreError(
                .invalidRequest, operation: S3Operation.getObject.rawValue, key: request.key,
                message: "HTTP has no empty range")
        }
        let download = ObjectDownload(request, sink: sink)
        var call = S3Call(download.nextRequest(builder))
        call.download = download
        let everything = call
        let failure = await withTaskCancellationHandler { () -> StoreError? in
            do throws(StoreError) {
                _ = try await performFinally(everything)
                return nil
            } catch {
                return error
            }
        } onCancel: {
            download.cancel()
        }
        if let failure { throw failure }
        guard let info = download.info else { preconditionFailure("a complete download has a head") }
        return info
    }

    /// Finds out whether bucket, prefix, region and credentials can be used, with one request where all is well.
    /// - Parameter retry: shorter than the store's where somebody waits for the answer; nil is the store's.
    /// - Throws: the exact kind: `.bucketNotFound`, `.badCredentials`, `.expiredCredentials`, `.accessDenied`,
    ///   `.unreachable`…
    public func check(prefix: ByteString, retry: RetryPolicy? = nil) async throws(StoreError) {
        _ = try await listAnswer(ListRequest(prefix: prefix, delimited: false, entryCountMax: 1), retry: retry)
    }

    /// `perform` for calls that do not care whether a failed one took effect.
    func performFinally(_ call: S3Call) async throws(StoreError) -> S3Answer {
        do throws(S3CallFailure) {
            return try await perform(call)
        } catch {
            throw error.error
        }
    }
}
