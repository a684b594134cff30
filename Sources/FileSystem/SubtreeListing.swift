// From a listing without delimiter to the listings of many directories.

internal import Base
internal import ObjectModel

/// Collects keys in their order and gives the directories of which all keys have been seen. A pure value.
///
/// All keys below a directory stand together, so a directory is whole once a key that is not below it has come after one
/// that is (or the listing is over). That holds for servers that list by the bytes of keys; `isInOrder` tells.
struct SubtreeListing {
    private struct Open {
        let prefix: ByteString
        var objects: [ListedObject] = []
        var commonPrefixes: [ByteString] = []
        var below: [FileName: ListedDirectory] = [:]
    }

    let startedAt: UInt64
    /// The first is the directory whose children are wanted; its own files are none of ours.
    private var path: [Open]
    private var lastKey: ByteString = ""
    private(set) var isInOrder = true
    private(set) var unnameable: [ObjectKey] = []
    private(set) var hasFolderMarkers = false

    init(prefix: ByteString, startedAt: UInt64) {
        self.startedAt = startedAt
        path = [Open(prefix: prefix)]
    }

    /// The children that are whole.
    var children: [FileName: ListedDirectory] { path[0].below }

    mutating func add(_ objects: [ListedObject]) {
        for object in objects {
            let key = object.key.bytes
            guard key > lastKey, key.hasPrefix(path[0].prefix) else {
                isInOrder = false
                return
            }
            lastKey = key
            while path.count > 1, !key.hasPrefix(path[path.count - 1].prefix) { close() }
            open(key)
            if path.count > 1 { path[path.count - 1].objects.append(object) }
        }
    }

    /// The listing is over.
    mutating func finish() {
        while path.count > 1 { close() }
    }

    /// Opens the directories between the innermost open one and a key below it.
    private mutating func open(_ key: ByteString) {
        var start = path[path.count - 1].prefix.count
        let bytes = Array(key.utf8)
        while let slash = bytes[start...].firstIndex(of: UInt8(ascii: "/")) {
            start = slash + 1
            path.append(Open(prefix: ByteString(String(decoding: bytes[..<start], as: UTF8.self))))
        }
    }

    private mutating func close() {
        let done = path.removeLast()
        var builder = ListingBuilder(prefix: done.prefix)
        let names = builder.add(objects: done.objects, commonPrefixes: done.commonPrefixes, isLast: true)
        unnameable += builder.unnameable
        if builder.hasFolderMarkers { hasFolderMarkers = true }
        let above = path[path.count - 1].prefix.count
        path[path.count - 1].commonPrefixes.append(done.prefix)
        let segment = done.prefix.dropFirst(above).dropLast(1)
        guard let name = NameCodec.name(forSegment: segment) else { return }
        path[path.count - 1].below[name] = ListedDirectory(
            startedAt: startedAt, names: names.map { ListedName(name: $0.name, entry: $0.entry) },
            marker: builder.marker, below: done.below)
    }
}
