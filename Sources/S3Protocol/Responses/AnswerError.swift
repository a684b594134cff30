// An answer of success that does not say what it should.

/// Why an answer cannot be used.
public enum AnswerError: Error, Sendable, Equatable, CustomStringConvertible {
    case xml(XMLError)
    /// The document is of another kind.
    case unexpectedRoot(String)
    /// An element or header field is missing or has no valid value.
    case invalidField(String)

    public var description: String {
        switch self {
        case .xml(.malformed(let line)): "the answer is not well-formed XML (line \(line))"
        case .xml(.hasDocumentType): "the answer is XML with a document type"
        case .xml(.exceedsLimits): "the answer is XML beyond all limits"
        case .unexpectedRoot(let name): "the answer is an unexpected '\(name.prefix(100))' document"
        case .invalidField(let name): "the answer has no valid '\(name)'"
        }
    }
}

extension XMLDocument {
    /// Parses a body that must have one of these roots.
    static func parse(
        _ body: [UInt8], roots: [String], wrapper: String? = nil,
        onRecord: @escaping (XMLRecord) -> Void = { _ in }
    ) throws(AnswerError) -> XMLDocument {
        let document: XMLDocument
        do throws(XMLError) {
            document = try parse(body, wrapper: wrapper, onRecord: onRecord)
        } catch {
            throw .xml(error)
        }
        guard roots.contains(document.root) else { throw .unexpectedRoot(document.root) }
        return document
    }
}
