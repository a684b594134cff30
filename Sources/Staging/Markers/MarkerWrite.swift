// A directory's marker that was acknowledged before the store had it.

internal import Base
public import ObjectModel

/// What a directory's marker is to become.
public struct MarkerWrite: Sendable, Equatable {
    public let key: ObjectKey
    public let properties: ObjectProperties
    /// The metadata of the marker that is changed: only as long as it is that one. Nil: there was none, the directory is new.
    public let replaced: [String: String]?

    public init(key: ObjectKey, properties: ObjectProperties, replaced: [String: String]?) {
        self.key = key
        self.properties = properties
        self.replaced = replaced
    }
}

typealias MarkerJournal = RequestJournal<MarkerWrite>

extension MarkerWrite: JournalledRequest {
    static let journalSuffix = ".markers"

    func encode(into encoder: inout ByteEncoder) {
        encoder.put(key.string)
        encoder.put(properties)
        encoder.put(replaced != nil)
        if let replaced { encoder.put(ObjectProperties(metadata: replaced)) }
    }

    init?(from decoder: inout ByteDecoder) {
        guard let key = decoder.string().flatMap({ ObjectKey($0) }), let properties = decoder.properties(),
            let isChange = decoder.bool()
        else { return nil }
        var replaced: [String: String]?
        if isChange {
            guard let found = decoder.properties() else { return nil }
            replaced = found.metadata
        }
        self.init(key: key, properties: properties, replaced: replaced)
    }
}
