// From the pages of a listing to names.

internal import Base
internal import ObjectModel
internal import ObjectStore

/// Turns the pages of a delimited listing into entries, page by page. A pure value.
///
/// Keys come in the order of their bytes. A key `a` is another name when there is a directory `a/` too, or a folder marker
/// `a_$folder$`; both sort behind it, so such an object is held back until the listing has passed them: hardly ever more
/// than a few. Each name comes once.
struct ListingBuilder {
    private var prefix: ByteString
    /// What follows the prefix in the last key that has come.
    private var last: ByteString = ""
    private var held: [(segment: ByteString, object: ListedObject)] = []
    private var directories: Set<ByteString> = []
    /// The directory's own marker.
    private(set) var marker: ListedObject?
    /// Keys that no name can show.
    private(set) var unnameable: [ObjectKey] = []
    /// Whether some directory was shown as tools of the Hadoop family do it.
    private(set) var hasFolderMarkers = false

    /// What some tools of the Hadoop family leave for a directory `dir`.
    static let folderSuffix: ByteString = "_$folder$"

    init(prefix: ByteString) {
        self.prefix = prefix
    }

    /// Takes a page, and gives the entries that are certain now.
    mutating func add(
        objects: [ListedObject], commonPrefixes: [ByteString], isLast: Bool
    ) -> [(name: FileName, entry: Listing.Entry)] {
        var result: [(name: FileName, entry: Listing.Entry)] = []
        result.reserveCapacity(objects.count + commonPrefixes.count)
        for common in commonPrefixes {
            addDirectory(common.dropFirst(prefix.count).dropLast(1), to: &result)
        }
        for object in objects {
            let segment = object.key.bytes.dropFirst(prefix.count)
            if segment.isEmpty {
                marker = object
            } else if segment.hasSuffix(Self.folderSuffix), object.version.byteCount == 0 {
                hasFolderMarkers = true
                addDirectory(segment.dropLast(Self.folderSuffix.count), to: &result)
            } else if segment.hasSuffix("/") {
                // Servers that list a marker as an object beside its common prefix.
                addDirectory(segment.dropLast(1), to: &result)
            } else {
                held.append((segment, object))
            }
        }
        last = max(objects.last?.key.bytes ?? "", commonPrefixes.last ?? "").dropFirst(
            objects.isEmpty && commonPrefixes.isEmpty ? 0 : prefix.count)
        var stillHeld: [(segment: ByteString, object: ListedObject)] = []
        for (segment, object) in held {
            if !isLast, last < segment + Self.folderSuffix {
                stillHeld.append((segment, object))
                continue
            }
            let isBeside = directories.contains(segment)
            let name = isBeside ? NameCodec.nameBesideDirectory(segment) : NameCodec.name(forSegment: segment)
            if let name { result.append((name, .file(object))) } else { unnameable.append(object.key) }
        }
        held = stillHeld
        return result
    }

    /// The keys are at another prefix from now on. Returns what to ask for, to go on behind those that have come.
    mutating func moved(to prefix: ByteString) -> ListRequest {
        self.prefix = prefix
        var request = ListRequest(prefix: prefix, delimited: true)
        if !last.isEmpty { request.startAfter = ObjectKey(prefix + last) }
        return request
    }

    private mutating func addDirectory(
        _ segment: ByteString, to result: inout [(name: FileName, entry: Listing.Entry)]
    ) {
        guard directories.insert(segment).inserted else { return }
        if let name = NameCodec.name(forSegment: segment) {
            result.append((name, .directory))
        } else if let key = ObjectKey(prefix + segment) {
            unnameable.append(key)
        }
    }
}
