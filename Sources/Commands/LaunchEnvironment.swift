// What the process was started with, beside its arguments.

internal import Glibc

/// The facts a plan is made from; a value, so that tests can make them up.
public struct LaunchEnvironment: Sendable {
    public var variables: [String: String]
    public var uid: UInt32
    public var gid: UInt32
    /// The home directory; nil when there is none.
    public var home: String?
    /// The directory that relative paths are taken from.
    public var workingDirectory: String
    /// The memory of the machine or of the control group, whichever is smaller, in bytes.
    public var memoryBytes: Int

    public init(
        variables: [String: String] = [:], uid: UInt32, gid: UInt32, home: String?, workingDirectory: String = "/",
        memoryBytes: Int
    ) {
        self.variables = variables
        self.uid = uid
        self.gid = gid
        self.home = home
        self.workingDirectory = workingDirectory
        self.memoryBytes = memoryBytes
    }

    /// This process's.
    public static func current() -> LaunchEnvironment {
        var variables: [String: String] = [:]
        // SAFETY: `environ` is a null-terminated array of C strings; nothing changes the environment meanwhile.
        var entry = environ
        while let pointer = entry.pointee {
            let text = String(cString: pointer)
            if let equals = text.firstIndex(of: "=") {
                variables[String(text[..<equals])] = String(text[text.index(after: equals)...])
            }
            entry += 1
        }
        var home = variables["HOME"] ?? ""
        if home.isEmpty { home = AccountNames.home(geteuid()) ?? "" }
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let directory = getcwd(&buffer, buffer.count).map { String(cString: $0) }
        return LaunchEnvironment(
            variables: variables, uid: geteuid(), gid: getegid(), home: home.isEmpty ? nil : home,
            workingDirectory: directory ?? "/", memoryBytes: MachineMemory.bytes())
    }

    /// The first of these variables that is set and not empty.
    func first(_ names: String...) -> (name: String, value: String)? {
        for name in names {
            if let value = variables[name], !value.isEmpty { return (name, value) }
        }
        return nil
    }

    /// An absolute form of a path, without looking at the file system.
    public func absolute(_ path: String) -> String {
        if path.hasPrefix("/") { return path }
        return workingDirectory == "/" ? "/\(path)" : "\(workingDirectory)/\(path)"
    }
}
