// JSON of the values that go between the processes of one mount.

internal import FoundationEssentials

/// One-line JSON.
public enum JSONText {
    /// UTF-8 without line breaks, keys in a stable order.
    public static func encode(_ value: some Encodable) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        do {
            return Array(try encoder.encode(value))
        } catch {
            // Only values of ours come here, and none holds what JSON cannot say.
            preconditionFailure("\(error)")
        }
    }

    /// Nil when the bytes are not that value.
    public static func decode<Value: Decodable>(_ type: Value.Type, from bytes: some Sequence<UInt8>) -> Value? {
        try? JSONDecoder().decode(type, from: Data(bytes))
    }
}
