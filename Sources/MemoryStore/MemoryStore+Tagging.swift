// Tags, which a PUT replaces with none and a copy takes along.

internal import Base
public import ObjectModel
public import ObjectStore

extension MemoryStore {
    public func tags(of key: ObjectKey) async throws(StoreError) -> [ObjectTag] {
        try await perform(RequestRecord(.getTagging, key: key)) { (request) throws(StoreError) in
            _ = try self.object(key, request)
            return self.state.withLock { $0.tags[key] ?? [] }
        }
    }

    public func setTags(_ tags: [ObjectTag], of key: ObjectKey) async throws(StoreError) {
        try await perform(RequestRecord(.putTagging, key: key)) { (request) throws(StoreError) in
            _ = try self.object(key, request)
            guard tags.count <= ObjectTag.countMax else { throw request.error(.invalidRequest, "BadRequest", 400) }
            self.state.withLock { $0.tags[key] = tags }
        }
    }
}
