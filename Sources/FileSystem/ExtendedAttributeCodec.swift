// `user.*` extended attributes in user metadata.

internal import Base
internal import ObjectModel

/// Extended attributes ↔ `x-amz-meta-*`.
///
/// What other tools read and write as metadata is `user.NAME` here: a name of lower-case letters, digits, `-` and `.`
/// with a value that is text stands under the metadata key NAME, as goofys, geesefs and `aws s3 cp --metadata` have it.
/// Everything else (upper case, `_`, which RGW gives back as `-`, other bytes, values that are no UTF-8 or empty) stands
/// under `pail-xattr-` and the name in hexadecimal, its value as `0s` and base 64, the notation of setfattr(1).
/// s3fs's own form, one key `xattr` with all of them as JSON, is read; what is changed leaves it.
struct ExtendedAttributeCodec {
    static let prefix = Array("user.".utf8)
    private static let encodedKeyPrefix = "pail-xattr-"
    private static let encodedValuePrefix = "0s"

    /// The attributes in an object's metadata, by their whole names (`user.…`).
    static func all(in metadata: [String: String]) -> [[UInt8]: [UInt8]] {
        var result = metadata[S3fsExtendedAttributes.key].map(S3fsExtendedAttributes.decode) ?? [:]
        for (key, value) in metadata {
            // The encoded form is this mount's own and newer than a plain key of the same name.
            if let (name, bytes) = decoded(key, value) {
                result[prefix + name] = bytes
            } else if isShown(key), metadata[encodedKey(Array(key.utf8))] == nil {
                result[prefix + Array(key.utf8)] = Array(value.utf8)
            }
        }
        return result
    }

    /// The value of one attribute; nil when there is none of that name.
    static func value(of name: [UInt8], in metadata: [String: String]) -> [UInt8]? {
        // Most objects have no attribute at all.
        metadata.isEmpty ? nil : all(in: metadata)[name]
    }

    /// Sets an attribute, or removes it with nil.
    static func set(_ name: [UInt8], to value: [UInt8]?, in metadata: inout [String: String]) {
        precondition(name.starts(with: prefix), "only user.* is metadata")
        let short = Array(name.dropFirst(prefix.count))
        if let plain = plainKey(short) { metadata[plain] = nil }
        metadata[encodedKey(short)] = nil
        if let text = metadata[S3fsExtendedAttributes.key] {
            metadata[S3fsExtendedAttributes.key] = S3fsExtendedAttributes.removing(name, from: text)
        }
        guard let value else { return }
        if let plain = plainKey(short), !value.isEmpty, let text = String(validating: value, as: UTF8.self) {
            metadata[plain] = text
        } else {
            metadata[encodedKey(short)] = encodedValuePrefix + Base64.encode(value)
        }
    }

    // MARK: Keys

    /// The metadata key that is the name itself; nil for names that a header cannot carry or that mean something else.
    private static func plainKey(_ name: [UInt8]) -> String? {
        guard name.allSatisfy(isKeyByte) else { return nil }
        let key = String(decoding: name, as: UTF8.self)
        return isShown(key) ? key : nil
    }

    /// Whether a metadata key is an attribute, not pail's or another tool's bookkeeping.
    private static func isShown(_ key: String) -> Bool {
        !key.isEmpty && !reserved.contains(key) && !reservedPrefixes.contains { key.hasPrefix($0) }
    }

    private static let reserved: Set<String> = [
        "mode", "uid", "gid", "mtime", "atime", "ctime", "rdev", "symlink-target", "owner", "group", "permissions",
        S3fsExtendedAttributes.key,
    ]
    /// `--` is how geesefs begins its own keys; `s3.` is where the properties of objects are shown.
    private static let reservedPrefixes = ["goog-reserved-", "pail-", "--", "s3."]

    private static func isKeyByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"),
            UInt8(ascii: "."):
            true
        default: false
        }
    }

    private static func encodedKey(_ name: [UInt8]) -> String {
        encodedKeyPrefix + Hex.encode(name)
    }

    /// The name (without `user.`) and value of an entry in the encoded form; nil when it is not exactly that.
    private static func decoded(_ key: String, _ value: String) -> (name: [UInt8], value: [UInt8])? {
        guard key.hasPrefix(encodedKeyPrefix), value.hasPrefix(encodedValuePrefix),
            let bytes = Base64.decode(value.dropFirst(encodedValuePrefix.count)),
            let name = Hex.decode(String(Substring(key.utf8.dropFirst(encodedKeyPrefix.utf8.count))))
        else { return nil }
        return !name.isEmpty && encodedKey(name) == key ? (name, bytes) : nil
    }
}

/// s3fs's form: `{"user.name":"base 64",…}`, percent-encoded, under one key (its src/s3fs_xml.cpp and fdcache do not
/// escape names).
enum S3fsExtendedAttributes {
    static let key = "xattr"

    /// The `user.*` ones among them; nothing when the text is not in this form.
    static func decode(_ text: String) -> [[UInt8]: [UInt8]] {
        var result: [[UInt8]: [UInt8]] = [:]
        for (name, value) in entries(text) where name.starts(with: ExtendedAttributeCodec.prefix) {
            guard let bytes = Base64.decode(value) else { continue }
            result[name] = bytes
        }
        return result
    }

    /// The text without one of them; nil when none is left.
    static func removing(_ name: [UInt8], from text: String) -> String? {
        let old = entries(text)
        let kept = old.filter { $0.name != name }
        // Also leaves alone what is not in this form.
        guard kept.count < old.count else { return text }
        guard !kept.isEmpty else { return nil }
        let quote = [UInt8(ascii: "\"")]
        let pairs = kept.map { quote + $0.name + Array("\":\"\($0.value)\"".utf8) }
        let json = Array("{".utf8) + pairs.joined(separator: Array(",".utf8)) + Array("}".utf8)
        return PercentText.encode(json)
    }

    private static func entries(_ text: String) -> [(name: [UInt8], value: String)] {
        let json = PercentText.decode(text)
        guard json.first == UInt8(ascii: "{"), json.last == UInt8(ascii: "}") else { return [] }
        return json.dropFirst().dropLast().split(separator: UInt8(ascii: ",")).compactMap { pair in
            let parts = pair.split(separator: UInt8(ascii: "\""), omittingEmptySubsequences: false)
            // Nothing, the name, `:`, the value, nothing.
            guard parts.count == 5, !parts[1].isEmpty else { return nil }
            return (Array(parts[1]), String(decoding: parts[3], as: UTF8.self))
        }
    }
}
