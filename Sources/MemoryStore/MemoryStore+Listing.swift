// ListObjectsV2: the order of UTF-8 bytes, common prefixes, tokens bound to their listing.

internal import Base
internal import ObjectModel
public import ObjectStore

extension MemoryStore {
    public func list(_ wanted: ListRequest) async throws(StoreError) -> ListPage {
        var record = RequestRecord(.listObjects)
        record.prefix = wanted.prefix.string
        return try await perform(record) { (request) throws(StoreError) in
            guard (1...1000).contains(wanted.entryCountMax), wanted.prefix.count <= ObjectKey.byteCountMax else {
                throw request.error(.invalidRequest, "InvalidArgument", 400)
            }
            let key = ListingToken.key(of: wanted, salt: self.tokenSalt)
            let after: ByteString?
            if let text = wanted.continuation {
                guard let token = ListingToken.position(in: text, key: key) else {
                    throw request.error(.invalidRequest, "InvalidArgument", 400, "a token of another listing")
                }
                after = token
            } else {
                after = wanted.startAfter?.bytes
            }
            return self.state.withLock { $0.page(wanted, after: after, tokenKey: key) }
        }
    }
}

extension MemoryStore.State {
    /// - Parameter after: the last entry of the page before (a key, or a common prefix and thus all keys under it).
    fileprivate func page(_ wanted: ListRequest, after: ByteString?, tokenKey: UInt64) -> ListPage {
        var page = ListPage(objects: [], commonPrefixes: [], continuation: nil)
        var last: ByteString?
        // S3 takes `startAfter` for a key, and only its own tokens for positions behind a whole common prefix.
        let skipsGroup = wanted.continuation != nil && wanted.delimited && (after?.utf8.last == UInt8(ascii: "/"))
        var index = firstIndex { key in
            guard key.bytes >= wanted.prefix else { return false }
            guard let after else { return true }
            if skipsGroup, after.count > wanted.prefix.count, key.bytes.hasPrefix(after) { return false }
            return key.bytes > after
        }
        while index < keys.count, keys[index].bytes.hasPrefix(wanted.prefix) {
            if page.objects.count + page.commonPrefixes.count == wanted.entryCountMax {
                page.continuation = last.map { ListingToken.make(position: $0, key: tokenKey) }
                break
            }
            let key = keys[index]
            if wanted.delimited, let group = key.bytes.group(after: wanted.prefix) {
                page.commonPrefixes.append(group)
                last = group
                index = firstIndex { $0.bytes > group && !$0.bytes.hasPrefix(group) }
            } else {
                let info = objects[key]!.info
                page.objects.append(
                    ListedObject(
                        version: info.version, lastModified: info.lastModified,
                        storageClass: info.properties.storageClass))
                last = key.bytes
                index += 1
            }
        }
        return page
    }
}

extension ByteString {
    /// The beginning of the text up to the first `/` that follows the prefix; nil when there is none.
    fileprivate func group(after prefix: ByteString) -> ByteString? {
        let rest = utf8.dropFirst(prefix.count)
        guard let slash = rest.firstIndex(of: UInt8(ascii: "/")) else { return nil }
        return ByteString(String(decoding: utf8[...slash], as: UTF8.self))
    }
}

/// Opaque to clients: hexadecimal digits of a position, and a mark of the listing it belongs to.
private enum ListingToken {
    /// What a listing's pages have in common.
    static func key(of request: ListRequest, salt: UInt64) -> UInt64 {
        // FNV-1a (<http://www.isthe.com/chongo/tech/comp/fnv/>): stable within the process is all that is needed.
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325 ^ salt
        for byte in Array(request.prefix.utf8) + [request.delimited ? 1 : 0] {
            hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3
        }
        return hash
    }

    static func make(position: ByteString, key: UInt64) -> String {
        let mask = UInt8(truncatingIfNeeded: key)
        let bytes = position.utf8.flatMap { byte in
            [UInt8](String((byte ^ mask) >> 4, radix: 16).utf8) + [UInt8](String((byte ^ mask) & 15, radix: 16).utf8)
        }
        return MemoryStore.State.hex(key) + String(decoding: bytes, as: UTF8.self)
    }

    static func position(in token: String, key: UInt64) -> ByteString? {
        guard token.hasPrefix(MemoryStore.State.hex(key)) else { return nil }
        let mask = UInt8(truncatingIfNeeded: key)
        let digits = Array(token.utf8.dropFirst(16))
        guard digits.count % 2 == 0, !digits.isEmpty else { return nil }
        var bytes: [UInt8] = []
        for index in stride(from: 0, to: digits.count, by: 2) {
            guard let byte = UInt8(String(decoding: digits[index...(index + 1)], as: UTF8.self), radix: 16) else {
                return nil
            }
            bytes.append(byte ^ mask)
        }
        return ByteString(String(decoding: bytes, as: UTF8.self))
    }
}
