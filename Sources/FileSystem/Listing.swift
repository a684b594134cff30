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
    /// Nobody has asked for it yet: until when it is believed that other names are absent; monotonic nanoseconds. Nil: for the TTL.
    var aheadUntil: UInt64?
    /// Whether these are all entries. What was remembered from an earlier mount may be some of them.
    var isWhole = true
    private(set) var entries: [FileName: Entry]
    /// Sorted by bytes; made when asked for, and kept from then on. All entries, and the files alone.
    private var sortedNames: [FileName]?
    private var sortedFiles: [FileName]?
    /// The names that are longer than the kernel's, by what is shown for them. Hardly any directory has one.
    private var longNames: [ByteString: FileName] = [:]

    init(startedAt: UInt64, entries: [FileName: Entry]) {
        self.startedAt = startedAt
        self.entries = entries
        for name in entries.keys where name.isLong { longNames[ByteString(name.shown)] = name }
    }

    mutating func reserve(_ count: Int) { entries.reserveCapacity(count) }

    mutating func set(_ name: FileName, _ entry: Entry) {
        let old = entries.updateValue(entry, forKey: name)
        if old == nil {
            sortedNames?.insertSorted(name)
            if name.isLong { longNames[ByteString(name.shown)] = name }
        }
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
        if name.isLong { longNames[ByteString(name.shown)] = nil }
    }

    /// The name for which this one is shown, where that is a longer one.
    func longName(shown text: ByteString) -> FileName? { longNames[text] }

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

    /// The names of files, or of directories, as `entry` is one, from `name` on; at most `count`.
    mutating func names(from name: FileName, count: Int, like entry: Entry) -> [FileName] {
        let all = entry.isFile ? fileNames() : names()
        var result: [FileName] = []
        for next in all[all.sortedPosition(of: name)...] {
            if result.count == count { break }
            if entry.isFile || entries[next] == entry { result.append(next) }
        }
        return result
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
