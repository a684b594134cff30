// What one complete listing said about a directory.

internal import Base
internal import ObjectModel

/// The entries of a directory as the store listed them, kept true by what this mount changed since.
struct Listing: Sendable {
    enum Entry: Sendable, Equatable {
        case file(ListedObject)
        case directory
    }

    /// When the listing began; monotonic nanoseconds.
    let startedAt: UInt64
    private(set) var entries: [FileName: Entry]
    /// Sorted by bytes; made when asked for, and kept from then on. All entries, and the files alone.
    private var sortedNames: [FileName]?
    private var sortedFiles: [FileName]?

    init(startedAt: UInt64, entries: [FileName: Entry]) {
        self.startedAt = startedAt
        self.entries = entries
    }

    mutating func set(_ name: FileName, _ entry: Entry) {
        let old = entries.updateValue(entry, forKey: name)
        if old == nil { sortedNames?.insertSorted(name) }
        switch (old?.isFile ?? false, entry.isFile) {
        case (false, true): sortedFiles?.insertSorted(name)
        case (true, false): sortedFiles?.removeSorted(name)
        default: break
        }
    }

    mutating func remove(_ name: FileName) {
        guard let old = entries.removeValue(forKey: name) else { return }
        sortedNames?.removeSorted(name)
        if old.isFile { sortedFiles?.removeSorted(name) }
    }

    mutating func names() -> [FileName] {
        if let sortedNames { return sortedNames }
        let names = entries.keys.sorted()
        sortedNames = names
        return names
    }

    /// The names of the files, without directories.
    mutating func fileNames() -> [FileName] {
        if let sortedFiles { return sortedFiles }
        let files = names().filter { entries[$0]!.isFile }
        sortedFiles = files
        return files
    }

    /// Where a file stands among `fileNames()`.
    mutating func filePosition(of name: FileName) -> Int? {
        let files = fileNames()
        let position = files.sortedPosition(of: name)
        return position < files.count && files[position] == name ? position : nil
    }

    /// The names from `name` on, at most `count`.
    mutating func names(from name: FileName, count: Int) -> ArraySlice<FileName> {
        let all = names()
        let start = all.sortedPosition(of: name)
        return all[start..<min(start + count, all.count)]
    }
}

extension Listing.Entry {
    var isFile: Bool {
        if case .file = self { return true }
        return false
    }
}

extension [FileName] {
    /// Where a name stands, or would, among sorted ones.
    fileprivate func sortedPosition(of name: FileName) -> Int {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if self[middle] < name { low = middle + 1 } else { high = middle }
        }
        return low
    }

    fileprivate mutating func insertSorted(_ name: FileName) {
        insert(name, at: sortedPosition(of: name))
    }

    fileprivate mutating func removeSorted(_ name: FileName) {
        let position = sortedPosition(of: name)
        if position < count, self[position] == name { remove(at: position) }
    }
}

/// Collects the pages of a listing.
struct ListingBuilder {
    private let prefix: ByteString
    private var files: [(segment: ByteString, object: ListedObject)] = []
    private var directories: Set<ByteString> = []
    private(set) var hasMarker = false
    /// Keys that no name can show.
    private(set) var unnameable: [ObjectKey] = []

    /// What some tools of the Hadoop family leave for a directory `dir`.
    private static let folderSuffix = "_$folder$"

    init(prefix: ByteString) {
        self.prefix = prefix
    }

    mutating func add(objects: [ListedObject], commonPrefixes: [ByteString]) {
        for common in commonPrefixes {
            let segment = common.dropFirst(prefix.count)
            directories.insert(ByteString(String(segment.string.dropLast())))
        }
        for object in objects {
            let segment = object.key.bytes.dropFirst(prefix.count)
            if segment.isEmpty {
                hasMarker = true
            } else if segment.string.hasSuffix(Self.folderSuffix), object.version.byteCount == 0 {
                directories.insert(ByteString(String(segment.string.dropLast(Self.folderSuffix.count))))
            } else if segment.string.hasSuffix("/") {
                // Servers that list a marker as an object beside its common prefix.
                directories.insert(ByteString(String(segment.string.dropLast())))
            } else {
                files.append((segment, object))
            }
        }
    }

    mutating func finish() -> [FileName: Listing.Entry] {
        var entries: [FileName: Listing.Entry] = [:]
        entries.reserveCapacity(files.count + directories.count)
        for segment in directories {
            if let name = NameCodec.name(forSegment: segment) {
                entries[name] = .directory
            } else if let key = ObjectKey(prefix + segment) {
                unnameable.append(key)
            }
        }
        for (segment, object) in files {
            let isBeside = directories.contains(segment)
            let name = isBeside ? NameCodec.nameBesideDirectory(segment) : NameCodec.name(forSegment: segment)
            if let name { entries[name] = .file(object) } else { unnameable.append(object.key) }
        }
        return entries
    }
}
