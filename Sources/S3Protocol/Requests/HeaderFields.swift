// Header fields of requests and responses, in the form that the transport takes and gives.

/// Header fields in order; names compare without case (RFC 9110, 5.1).
public struct HeaderFields: Sendable {
    public var fields: [(name: String, value: String)]

    public init(_ fields: [(name: String, value: String)] = []) {
        self.fields = fields
    }

    /// The first field of this name. Setting replaces it, adds it, or with nil removes it.
    public subscript(_ name: String) -> String? {
        get { fields.first { Self.isSameName($0.name, name) }?.value }
        set {
            let index = fields.firstIndex { Self.isSameName($0.name, name) }
            switch (index, newValue) {
            case (let index?, let value?): fields[index].value = value
            case (let index?, nil): fields.remove(at: index)
            case (nil, let value?): fields.append((name, value))
            case (nil, nil): break
            }
        }
    }

    static func isSameName(_ left: String, _ right: String) -> Bool {
        left.utf8.count == right.utf8.count && zip(left.utf8, right.utf8).allSatisfy { lower($0) == lower($1) }
    }

    static func lower(_ byte: UInt8) -> UInt8 {
        (0x41...0x5A).contains(byte) ? byte | 0x20 : byte
    }
}
