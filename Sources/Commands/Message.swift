// What pail says on standard error.

internal import Base

/// The form of pail's own messages.
public enum Message {
    /// `pail: TEXT`, on one line whatever the text holds.
    public static func line(_ text: String) -> String { "pail: " + LogLine.escaped(text) }

    /// The text with line breaks and control characters written out.
    public static func oneLine(_ text: String) -> String { LogLine.escaped(text) }

    /// `1 file`, `2 files`.
    public static func count(_ number: Int, _ noun: String, plural: String? = nil) -> String {
        "\(number) \(number == 1 ? noun : plural ?? noun + "s")"
    }
}
