// The few XML bodies that are sent.

/// Writes nested elements of text.
struct XMLText {
    private let root: String
    private var text: String

    init(root: String) {
        self.root = root
        text = "<\(root) xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
    }

    mutating func add(_ name: String, _ value: String) {
        text += "<\(name)>"
        for scalar in value.unicodeScalars {
            switch scalar {
            case "&": text += "&amp;"
            case "<": text += "&lt;"
            case ">": text += "&gt;"
            case "\"": text += "&quot;"
            // Raw line ends would be normalised by the reader.
            case "\r", "\n", "\t": text += "&#\(scalar.value);"
            default: text.unicodeScalars.append(scalar)
            }
        }
        text += "</\(name)>"
    }

    mutating func add(_ name: String, _ fill: (inout XMLText) -> Void) {
        text += "<\(name)>"
        fill(&self)
        text += "</\(name)>"
    }

    /// The document's bytes.
    func finish() -> [UInt8] { Array((text + "</\(root)>").utf8) }
}
