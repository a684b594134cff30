// What `pail doctor` found.

/// One finding of the doctor.
public struct DoctorFinding: Sendable, Equatable {
    public enum Grade: String, Sendable {
        case ok
        /// Works, with a limitation.
        case warn
        /// Does not work.
        case fail = "FAIL"
    }

    public var grade: Grade
    /// What was looked at: `endpoint`, `conditional put`.
    public var subject: String
    public var text: String
    /// What to do; nil when there is nothing to do.
    public var remedy: String?

    public init(_ grade: Grade, _ subject: String, _ text: String, remedy: String? = nil) {
        self.grade = grade
        self.subject = subject
        self.text = text
        self.remedy = remedy
    }

    /// `ok    endpoint            http://… answers in 12 ms`, one line.
    public var line: String {
        let sentence = text + (remedy.map { "; \($0)" } ?? "")
        return Self.padded(grade.rawValue, 4) + "  " + Self.padded(subject, 22) + "  " + Message.oneLine(sentence)
    }

    private static func padded(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }
}
