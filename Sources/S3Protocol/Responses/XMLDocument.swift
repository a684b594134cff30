// Reading the XML of answers with libexpat, hardened: no document type (so no entities of the sender's making), bounded
// depth, text and size.

internal import CExpat

/// Why a body is not the XML that S3 sends.
public enum XMLError: Error, Sendable, Equatable {
    /// Not well-formed, or it ends early.
    case malformed(line: Int)
    /// It has a document type declaration: S3 sends none, and entity bombs need one.
    case hasDocumentType
    /// More nested, or longer in one piece, than any answer of S3's.
    case exceedsLimits
}

/// S3's answers are flat: a root, its plain fields, and records of plain fields.
///
///     <ListBucketResult> <IsTruncated>false</IsTruncated> <Contents> <Key>a</Key> … </Contents> … </ListBucketResult>
struct XMLDocument {
    /// The root's name, without a namespace prefix.
    var root = ""
    /// The text directly in the root, where it has no children.
    var text = ""
    /// The root's children that have no children of their own.
    var fields: [XMLField] = []
    /// Whether characters that XML cannot carry were replaced: keys in the document may not be what they seem.
    var isMended = false

    subscript(_ name: String) -> String? { fields.first { $0.name == name }?.text }

    /// Parses a whole body; each record is handed over as it ends.
    /// - Parameter wrapper: the name of a child of the root whose children count as the root's.
    static func parse(
        _ bytes: [UInt8], wrapper: String? = nil, onRecord: @escaping (XMLRecord) -> Void = { _ in }
    ) throws(XMLError) -> XMLDocument {
        let mended = XMLMending.mend(bytes)
        let bytes = mended ?? bytes
        let reader = XMLReader(wrapper: wrapper, onRecord: onRecord)
        // Some servers send blanks before the declaration to keep the connection awake.
        var start = 0
        while start < bytes.count, [0x20, 0x09, 0x0A, 0x0D].contains(bytes[start]) { start += 1 }
        while start < bytes.count {
            let end = min(start + XMLReader.pieceBytesMax, bytes.count)
            let failure = bytes.withUnsafeBytes { reader.feed(UnsafeRawBufferPointer(rebasing: $0[start..<end])) }
            if let failure { throw failure }
            start = end
        }
        var document = try reader.finish()
        document.isMended = mended != nil
        return document
    }
}

struct XMLField {
    let name: String
    let text: String
}

/// A child of the root that has children, such as `Contents`. Deeper levels (`Owner/ID`) are left out.
struct XMLRecord {
    let name: String
    let fields: [XMLField]

    subscript(_ name: String) -> String? { fields.first { $0.name == name }?.text }
}

/// One parse. The state is fed by expat's callbacks, which run inside `feed` and `finish`.
final class XMLReader {
    static let depthMax = 32
    /// Of one element. The longest that S3 sends is a key, at most 3 KiB encoded.
    static let textBytesMax = 1 << 20
    /// expat takes 32-bit lengths.
    static let pieceBytesMax = 1 << 24

    private let parser: XML_Parser
    private let wrapper: String?
    private let onRecord: (XMLRecord) -> Void
    private var document = XMLDocument()
    private var depth = 0
    private var text: [UInt8] = []
    private var recordFields: [XMLField] = []
    private var hasChildren = false
    private var failure: XMLError?

    init(wrapper: String? = nil, onRecord: @escaping (XMLRecord) -> Void) {
        guard let parser = XML_ParserCreate("UTF-8") else { preconditionFailure("out of memory creating a parser") }
        self.parser = parser
        self.wrapper = wrapper
        self.onRecord = onRecord
        // SAFETY: unretained: the parser is freed in `deinit`, and calls back only inside calls of ours.
        XML_SetUserData(parser, Unmanaged.passUnretained(self).toOpaque())
        XML_SetElementHandler(
            parser, { context, name, _ in reader(context).began(name) },
            { context, name in reader(context).ended(name) }
        )
        XML_SetCharacterDataHandler(parser) { context, bytes, count in reader(context).received(bytes, Int(count)) }
        XML_SetStartDoctypeDeclHandler(parser) { context, _, _, _, _ in reader(context).stop(.hasDocumentType) }
    }

    deinit {
        XML_ParserFree(parser)
    }

    /// Parses the next piece; what is wrong with it, or nil.
    func feed(_ bytes: UnsafeRawBufferPointer) -> XMLError? {
        run(bytes, isFinal: false)
    }

    func finish() throws(XMLError) -> XMLDocument {
        if let failure = run(UnsafeRawBufferPointer(start: nil, count: 0), isFinal: true) { throw failure }
        return document
    }

    private func run(_ bytes: UnsafeRawBufferPointer, isFinal: Bool) -> XMLError? {
        let status = XML_Parse(
            parser, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), Int32(bytes.count), isFinal ? 1 : 0)
        if let failure { return failure }
        return status == XML_STATUS_OK ? nil : .malformed(line: Int(XML_GetCurrentLineNumber(parser)))
    }

    fileprivate func stop(_ error: XMLError) {
        if failure == nil { failure = error }
        XML_StopParser(parser, 0)
    }

    fileprivate func began(_ name: UnsafePointer<CChar>?) {
        if failure != nil || isWrapper(name) { return }
        depth += 1
        if depth > Self.depthMax { return stop(.exceedsLimits) }
        if depth == 1 { document.root = Self.localName(name) }
        if depth == 2 {
            recordFields.removeAll(keepingCapacity: true)
            hasChildren = false
        }
        if depth == 3 { hasChildren = true }
        text.removeAll(keepingCapacity: true)
    }

    fileprivate func received(_ bytes: UnsafePointer<CChar>?, _ count: Int) {
        if failure != nil { return }
        if text.count + count > Self.textBytesMax { return stop(.exceedsLimits) }
        // SAFETY: expat's buffer of `count` bytes, valid during the callback.
        text.append(contentsOf: UnsafeRawBufferPointer(start: bytes, count: count))
    }

    fileprivate func ended(_ name: UnsafePointer<CChar>?) {
        if failure != nil || isWrapper(name) { return }
        switch depth {
        case 1:
            document.text = String(decoding: text, as: UTF8.self)
        case 2 where hasChildren:
            onRecord(XMLRecord(name: Self.localName(name), fields: recordFields))
        case 2:
            document.fields.append(XMLField(name: Self.localName(name), text: String(decoding: text, as: UTF8.self)))
        case 3:
            recordFields.append(XMLField(name: Self.localName(name), text: String(decoding: text, as: UTF8.self)))
        default: break
        }
        // A parent's text is only what stands after its last child: blanks.
        text.removeAll(keepingCapacity: true)
        depth -= 1
    }

    /// Its end comes at the same depth, since its beginning was not counted.
    private func isWrapper(_ name: UnsafePointer<CChar>?) -> Bool {
        guard depth == 1, let wrapper else { return false }
        return Self.localName(name) == wrapper
    }

    private static func localName(_ name: UnsafePointer<CChar>?) -> String {
        guard let name else { return "" }
        let full = String(cString: name)
        return full.utf8.lastIndex(of: UInt8(ascii: ":")).map { String(full[full.index(after: $0)...]) } ?? full
    }
}

/// SAFETY: the pointer is the one that `XMLReader.init` set, alive during each call of the parser.
private func reader(_ context: UnsafeMutableRawPointer?) -> XMLReader {
    Unmanaged<XMLReader>.fromOpaque(context!).takeUnretainedValue()
}
