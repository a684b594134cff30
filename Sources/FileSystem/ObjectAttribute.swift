// The properties of objects as extended attributes.

internal import ObjectModel

/// What `user.s3.NAME` shows and changes. Not listed by listxattr(2), so that `cp -a` and rsync do not try to copy it.
enum ObjectAttribute: String, CaseIterable {
    case etag
    case key
    case versionID = "version-id"
    case tags
    case storageClass = "storage-class"
    case contentType = "content-type"
    case cacheControl = "cache-control"
    case contentEncoding = "content-encoding"
    case contentDisposition = "content-disposition"
    case contentLanguage = "content-language"

    /// Whether it is a property, which a copy of the object onto itself can change.
    var isProperty: Bool {
        switch self {
        case .etag, .key, .versionID, .tags: false
        case .storageClass, .contentType, .cacheControl, .contentEncoding, .contentDisposition, .contentLanguage: true
        }
    }

    /// The property's new value of what a program wrote: a header field's text, for which programs may end the line.
    static func propertyValue(_ bytes: [UInt8]) throws(FileSystemError) -> String? {
        let text = String(decoding: bytes, as: UTF8.self)
        guard ObjectProperties.isHeaderText(text) else { throw FileSystemError(.invalidArgument) }
        return text.isEmpty ? nil : text
    }
}

extension ObjectProperties {
    /// The property that an attribute shows; nil for those that are none.
    subscript(_ attribute: ObjectAttribute) -> String? {
        get { Self.path(attribute).flatMap { self[keyPath: $0] } }
        set { if let path = Self.path(attribute) { self[keyPath: path] = newValue } }
    }

    private static func path(_ attribute: ObjectAttribute) -> WritableKeyPath<ObjectProperties, String?>? {
        switch attribute {
        case .etag, .key, .versionID, .tags: nil
        case .storageClass: \.storageClass
        case .contentType: \.contentType
        case .cacheControl: \.cacheControl
        case .contentEncoding: \.contentEncoding
        case .contentDisposition: \.contentDisposition
        case .contentLanguage: \.contentLanguage
        }
    }
}

/// What the name of an extended attribute means.
enum ExtendedAttributeName {
    /// User metadata; the whole name.
    case metadata([UInt8])
    case object(ObjectAttribute)
    case mount(MountAttribute)
    /// Of another namespace, or `user.s3.` or `user.pail.` and something unknown.
    case unsupported
    /// Namespaces that have nothing here: asked for all the time, never there.
    case absent

    private static let objectPrefix = Array("user.s3.".utf8)
    private static let mountPrefix = Array("user.pail.".utf8)

    init(_ name: [UInt8]) {
        if name.starts(with: Self.objectPrefix) {
            let short = String(decoding: name.dropFirst(Self.objectPrefix.count), as: UTF8.self)
            self = ObjectAttribute(rawValue: short).map { .object($0) } ?? .unsupported
        } else if name.starts(with: Self.mountPrefix) {
            let short = String(decoding: name.dropFirst(Self.mountPrefix.count), as: UTF8.self)
            self = MountAttribute(rawValue: short).map { .mount($0) } ?? .unsupported
        } else if name.starts(with: ExtendedAttributeCodec.prefix), name.count > ExtendedAttributeCodec.prefix.count {
            self = .metadata(name)
        } else if name.starts(with: "security.".utf8) || name.starts(with: "trusted.".utf8) {
            self = .absent
        } else {
            // POSIX ACLs (system.posix_acl_*) among them: programs take ENOTSUP for "use the mode bits".
            self = .unsupported
        }
    }
}
