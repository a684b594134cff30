// The tags of objects.

public import ObjectModel
internal import S3Protocol

extension S3Store {
    public func tags(of key: ObjectKey) async throws(StoreError) -> [ObjectTag] {
        let answer = try await performFinally(S3Call(builder.getObjectTagging(key)))
        do throws(AnswerError) {
            return try WriteAnswers.tags(answer.body)
        } catch {
            throw StoreError(error, answer, operation: .getObjectTagging, key: key)
        }
    }

    public func setTags(_ tags: [ObjectTag], of key: ObjectKey) async throws(StoreError) {
        _ = try await performFinally(S3Call(builder.putObjectTagging(key, tags: tags)))
    }
}
