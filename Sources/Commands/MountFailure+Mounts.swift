// The mountpoint's problems as a user must see them.

public import Mounts

extension MountFailure {
    /// The problem's own words: it names the mountpoint and, after a semicolon, the remedy.
    public init(_ problem: MountPointProblem) {
        let text = "\(problem)"
        // In bytes: a mountpoint's name may hold anything, so the last semicolon is the one before the remedy.
        guard let semicolon = text.utf8.lastIndex(of: UInt8(ascii: ";")) else {
            self.init(text)
            return
        }
        self.init(String(text[..<semicolon]), remedy: String(text[text.index(after: semicolon)...].drop { $0 == " " }))
    }
}
