// Extended attributes: user metadata, and the properties of objects.

internal import Base
internal import ObjectModel
internal import ObjectStore
internal import Staging

/// What setxattr(2) demands of the name: XATTR_CREATE, XATTR_REPLACE, or neither.
public enum ExtendedAttributePresence: Sendable {
    case any
    case mustBeAbsent
    case mustBePresent
}

extension FileSystem {
    // MARK: Reading

    /// The value of an extended attribute, by its whole name.
    public func extendedAttribute(_ number: UInt64, name: [UInt8]) -> Answer<[UInt8]> {
        guard let node = node(number) else { return .fail(.stale) }
        switch ExtendedAttributeName(name) {
        case .unsupported: return .fail(.unsupported)
        case .absent: return .fail(.noAttribute)
        case .metadata(let name):
            return withProperties(of: node) { properties in
                ExtendedAttributeCodec.value(of: name, in: properties.metadata)
            }
        case .mount(let attribute): return value(of: attribute, node)
        case .object(let attribute):
            if attribute.isProperty {
                return withProperties(of: node) { properties in properties[attribute].map { Array($0.utf8) } }
            }
            return .later { () async throws(FileSystemError) in
                guard let text = try await self.value(of: attribute, node) else { throw FileSystemError(.noAttribute) }
                return Array(text.utf8)
            }
        }
    }

    /// The names of the extended attributes of a node; those of `user.s3.*` and `user.pail.*` are not among them.
    public func extendedAttributeNames(_ number: UInt64) -> Answer<[[UInt8]]> {
        guard let node = node(number) else { return .fail(.stale) }
        return withProperties(of: node) { properties in
            ExtendedAttributeCodec.all(in: properties.metadata).keys.sorted { $0.lexicographicallyPrecedes($1) }
        }
    }

    private func withProperties<Value: Sendable>(
        of node: Node, _ body: @escaping @Sendable (ObjectProperties) -> Value?
    ) -> Answer<Value> {
        if let properties = knownProperties(node) {
            return body(properties).map { .ready($0) } ?? .fail(.noAttribute)
        }
        return .later { () async throws(FileSystemError) in
            guard let value = body(try await self.properties(of: node)) else { throw FileSystemError(.noAttribute) }
            return value
        }
    }

    /// The properties of a node's object as far as they are known and fresh.
    private func knownProperties(_ node: Node) -> ObjectProperties? {
        if let file = node.stagedFile { return file.properties }
        let (properties, mayServe) = node.state.withLock { state in
            (
                state.properties,
                state.isUnlinked || state.hasPendingMarker || state.openCount > 0 || isFresh(state.validatedAt)
            )
        }
        if node.kind == .directory, tree.withLock({ $0[node.number]?.directory?.hasMarker == false }) {
            return ObjectProperties()
        }
        return mayServe ? properties : nil
    }

    private func properties(of node: Node) async throws(FileSystemError) -> ObjectProperties {
        if let known = knownProperties(node) { return known }
        if node.kind == .directory {
            guard let marker = markerKey(of: node) else { return ObjectProperties() }
            let found = try await head(marker)?.properties
            node.state.withLock { if let found, $0.properties == nil { $0.properties = found } }
            return found ?? ObjectProperties()
        }
        try await validate(node)
        try await learnProperties(node)
        return node.state.withLock { $0.properties } ?? ObjectProperties()
    }

    /// What only the store can tell, or the version does.
    private func value(of attribute: ObjectAttribute, _ node: Node) async throws(FileSystemError) -> String? {
        let version: ObjectVersion? = node.state.withLock { state in
            switch state.content {
            case .none: nil
            case .clean(let version): version
            // What is pending has no ETag yet.
            case .staged(let file): file.publishedVersion
            }
        }
        let key = version?.key ?? node.stagedFile?.key ?? markerKey(of: node)
        switch attribute {
        case .key: return key?.string
        case .etag:
            if node.kind != .directory { return version?.etag.value }
            guard let key else { return nil }
            return try await head(key)?.version.etag.value
        case .versionID:
            guard let key, node.stagedFile == nil else { return nil }
            return try await head(key)?.versionID
        case .tags:
            guard let key else { return nil }
            do throws(StoreError) {
                let tags = try await store.tags(of: key)
                return tags.isEmpty ? nil : ObjectTag.text(of: tags)
            } catch {
                // A file that is still to be uploaded, or a directory without a marker.
                if error.kind == .notFound { return nil }
                throw FileSystemError(error)
            }
        case .storageClass, .contentType, .cacheControl, .contentEncoding, .contentDisposition, .contentLanguage:
            preconditionFailure("a property")
        }
    }

    func markerKey(of node: Node) -> ObjectKey? {
        guard node.kind == .directory, node.number != Tree.rootNumber else { return nil }
        return tree.withLock { $0[node.number]?.prefix(root: configuration.prefix).flatMap { ObjectKey($0) } }
    }

    // MARK: Changing

    /// Sets an extended attribute. That of a file with pending data travels with the data; else the object is copied onto
    /// itself a moment later, together with other changes.
    public func setExtendedAttribute(
        _ number: UInt64, name: [UInt8], value: [UInt8], _ presence: ExtendedAttributePresence = .any
    ) -> Answer<Void> {
        change(number, name: name, to: value, presence)
    }

    public func removeExtendedAttribute(_ number: UInt64, name: [UInt8]) -> Answer<Void> {
        change(number, name: name, to: nil, .mustBePresent)
    }

    private func change(
        _ number: UInt64, name: [UInt8], to value: [UInt8]?, _ presence: ExtendedAttributePresence
    ) -> Answer<Void> {
        guard !configuration.isReadOnly else { return .fail(.readOnly) }
        guard let node = node(number) else { return .fail(.stale) }
        switch ExtendedAttributeName(name) {
        case .unsupported, .absent: return .fail(.unsupported)
        case .metadata(let name):
            return .later { () async throws(FileSystemError) in
                try await self.changing(.node(number)) { () async throws(FileSystemError) in
                    try await self.changeProperties(of: node) { properties throws(FileSystemError) in
                        let isPresent = ExtendedAttributeCodec.value(of: name, in: properties.metadata) != nil
                        try presence.check(isPresent)
                        ExtendedAttributeCodec.set(name, to: value, in: &properties.metadata)
                    }
                }
            }
        case .mount: return .fail(.notPermitted)
        case .object(.tags):
            return .later { () async throws(FileSystemError) in
                // Not to an object whose copy is made already.
                try await self.changing(.node(number)) { () async throws(FileSystemError) in
                    try await self.setTags(of: node, value, presence)
                }
            }
        case .object(let attribute):
            guard attribute.isProperty else { return .fail(.notPermitted) }
            return .later { () async throws(FileSystemError) in
                try await self.setProperty(attribute, of: node, to: value, presence)
            }
        }
    }

    /// Changes the properties that a node's object has, or is to have.
    private func changeProperties(
        of node: Node, _ change: (inout ObjectProperties) throws(FileSystemError) -> Void
    ) async throws(FileSystemError) {
        guard node.number != Tree.rootNumber else { throw FileSystemError(.unsupported) }
        if node.kind == .directory {
            guard let marker = markerKey(of: node) else { throw FileSystemError(.stale) }
            try await learnMarker(marker, of: node)
            _ = try await properties(of: node)
            let now = time.now
            try await changeMarker(marker, of: node) { attributes, properties throws(FileSystemError) in
                try change(&properties)
                attributes.changed = now
                try check(properties, attributes, .directory)
            }
            return
        }
        try await learnProperties(node)
        try withWritePin(node) { () throws(FileSystemError) in
            let file = try stage(node)
            let now = time.now
            // Together, so that another change of the same file is not lost.
            try node.state.withLock { state throws(FileSystemError) in
                var attributes = state.attributes
                attributes.changed = now
                var properties = file.properties
                try change(&properties)
                try check(properties, attributes, node.kind)
                AttributeCodec.encode(attributes, kind: node.kind, into: &properties)
                do throws(StagingError) { try file.setProperties(properties) } catch { throw FileSystemError(error) }
                state.attributes = attributes
                state.properties = properties
                state.changedAt = nowNanoseconds
            }
        }
        // No close() will follow where nobody has the file open for writing.
        if let file = node.stagedFile, node.state.withLock({ $0.writerCount == 0 && !$0.isUnlinked }) {
            queue.submit(file)
        }
    }

    /// Refuses what S3 would refuse later, when it is too late to tell.
    private func check(
        _ properties: ObjectProperties, _ attributes: FileAttributes, _ kind: FileKind
    ) throws(FileSystemError) {
        let largest = properties.metadata.map { ObjectProperties.metadataByteCount(name: $0.key, value: $0.value) }
            .max()
        guard largest ?? 0 <= ObjectProperties.metadataByteCountMax else { throw FileSystemError(.attributeTooLarge) }
        var whole = properties
        AttributeCodec.encode(attributes, kind: kind, into: &whole)
        guard whole.metadataByteCount <= ObjectProperties.metadataByteCountMax else { throw FileSystemError(.noSpace) }
    }

    /// Changes a property, in the store when this returns: whoever sets a storage class wants to know whether there is
    /// such a one. If the store refuses, everything stays as it was.
    private func setProperty(
        _ attribute: ObjectAttribute, of node: Node, to value: [UInt8]?, _ presence: ExtendedAttributePresence
    ) async throws(FileSystemError) {
        let text = try value.map { bytes throws(FileSystemError) in try ObjectAttribute.propertyValue(bytes) } ?? nil
        var before: String?
        try await changing(.node(node.number)) { () async throws(FileSystemError) in
            try await changeProperties(of: node) { properties throws(FileSystemError) in
                before = properties[attribute]
                try presence.check(before != nil)
                properties[attribute] = text
            }
        }
        guard let file = node.stagedFile, !node.state.withLock({ $0.isUnlinked }) else { return }
        do throws(FileSystemError) {
            try await bring(file)
        } catch {
            let old = before
            try? await changeProperties(of: node) { $0[attribute] = old }
            throw error
        }
    }

    private func setTags(
        of node: Node, _ value: [UInt8]?, _ presence: ExtendedAttributePresence
    ) async throws(FileSystemError) {
        guard let tags = ObjectTag.parse(value.map { String(decoding: $0, as: UTF8.self) } ?? "") else {
            throw FileSystemError(.invalidArgument)
        }
        if let file = node.stagedFile { try await bring(file) }
        guard let key = node.state.withLock({ $0.objectVersion?.key }) ?? markerKey(of: node) else {
            throw FileSystemError(.unsupported)
        }
        let refusal: Result<Void, FileSystemError>
        do throws(StoreError) {
            let isPresent = presence == .any ? false : try await !store.tags(of: key).isEmpty
            let verdict = Result { () throws(FileSystemError) in try presence.check(isPresent) }
            if case .success = verdict { try await store.setTags(tags, of: key) }
            refusal = verdict
        } catch {
            throw FileSystemError(error)
        }
        try refusal.get()
    }
}

extension ExtendedAttributePresence {
    fileprivate func check(_ isPresent: Bool) throws(FileSystemError) {
        switch self {
        case .any: return
        case .mustBeAbsent: if isPresent { throw FileSystemError(.alreadyExists) }
        case .mustBePresent: if !isPresent { throw FileSystemError(.noAttribute) }
        }
    }
}
