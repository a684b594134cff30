// Who keeps a mount busy: the answer's types. How it is found is in HolderScan.swift.

public import Base

/// Everything found that keeps a mount from being unmounted.
public struct MountHolders: Sendable, Equatable {
    /// Processes that hold something on the mount, by pid.
    public var processes: [HolderProcess]
    /// Mounts inside the mount: they must be unmounted first.
    public var nestedMounts: [MountEntry]
    /// Uses by the kernel itself: loop devices and swap files.
    public var kernelUses: [KernelUse]
    /// Processes that this user may not look into; any of them may be a holder.
    public var unreadableProcessCount: Int
    /// False when the search ran out of time: there may be more.
    public var isComplete: Bool

    public init(
        processes: [HolderProcess] = [], nestedMounts: [MountEntry] = [], kernelUses: [KernelUse] = [],
        unreadableProcessCount: Int = 0, isComplete: Bool = true
    ) {
        self.processes = processes
        self.nestedMounts = nestedMounts
        self.kernelUses = kernelUses
        self.unreadableProcessCount = unreadableProcessCount
        self.isComplete = isComplete
    }

    /// Whether nothing was found; unreadable processes may still hold the mount.
    public var isEmpty: Bool { processes.isEmpty && nestedMounts.isEmpty && kernelUses.isEmpty }
}

/// A process and what it holds.
public struct HolderProcess: Sendable, Equatable {
    public var pid: Int32
    public var userID: UInt32
    /// The user's name, or the number when it has none.
    public var user: String
    /// The command line, shortened to `commandLineCharactersMax`, control characters replaced. The bare command name in
    /// brackets when the process shows no command line.
    public var commandLine: String
    /// What it holds, at most `holdingCountMax`, in the order: directories, program, open files, mapped files, sockets.
    public var holdings: [Holding]
    /// How many holdings were left out of `holdings`.
    public var omittedHoldingCount: Int

    public static let commandLineCharactersMax = 120
    public static let holdingCountMax = 16

    public init(
        pid: Int32, userID: UInt32, user: String, commandLine: String, holdings: [Holding],
        omittedHoldingCount: Int = 0
    ) {
        self.pid = pid
        self.userID = userID
        self.user = user
        self.commandLine = commandLine
        self.holdings = holdings
        self.omittedHoldingCount = omittedHoldingCount
    }
}

/// One thing on a mount that a process holds.
public struct Holding: Sendable, Hashable {
    public enum Kind: Sendable, Hashable {
        case workingDirectory
        /// The root directory of a chroot.
        case rootDirectory
        /// The program it runs.
        case executable
        /// An open file or directory, with its descriptor.
        case openFile(descriptor: Int32)
        case mappedFile
        /// A Unix socket bound to a name on the mount.
        case boundSocket(descriptor: Int32)
    }

    public var kind: Kind
    public var path: ByteString
    /// Whether the file was unlinked meanwhile.
    public var isDeleted: Bool

    public init(_ kind: Kind, path: ByteString, isDeleted: Bool = false) {
        self.kind = kind
        self.path = path
        self.isDeleted = isDeleted
    }
}

extension Holding.Kind: CustomStringConvertible {
    /// For people: `working directory`, `open file 3`.
    public var description: String {
        switch self {
        case .workingDirectory: "working directory"
        case .rootDirectory: "root directory"
        case .executable: "running program"
        case .openFile(let descriptor): "open file \(descriptor)"
        case .mappedFile: "mapped file"
        case .boundSocket(let descriptor): "socket \(descriptor)"
        }
    }
}

/// A file on the mount that the kernel itself uses.
public enum KernelUse: Sendable, Hashable {
    /// A loop device, by name (`loop0`), and the file behind it.
    case loopDevice(String, backing: ByteString)
    case swapFile(ByteString)
}
