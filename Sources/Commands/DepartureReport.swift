// What came of an unmount, for programs: `pail umount --json`.
//
// The JSON keys are a promise to scripts, as those of `pail status --json` are; doc/status.md describes them.

internal import FoundationEssentials
public import Mounts

/// The result for one mountpoint.
public struct DepartureReport: Sendable, Encodable, Equatable {
    public enum Outcome: String, Sendable, Encodable {
        case unmounted, detached, busy, failed
        case notMounted = "not_mounted"
        case notPermitted = "not_permitted"
        /// Data is not in S3 yet, and nothing was said that would allow a detach.
        case kept
    }

    /// Canonical.
    public var mountpoint: String
    public var source: String?
    public var outcome = Outcome.failed
    /// What `pail umount` of this mount alone exits with.
    public var exitCode: Int32 = 0
    /// Not in S3 when the command ended; nil when everything is, or when it cannot be known.
    public var filesLeft: Int?
    public var bytesLeft: Int?
    public var holders: Holders?
    /// What was said on standard error.
    public var messages: [String] = []

    /// Who keeps the mount busy.
    public struct Holders: Sendable, Encodable, Equatable {
        public var processes: [Process]
        public var nestedMounts: [String]
        /// `loop device loop0: /mnt/image`, …
        public var kernelUses: [String]
        /// Processes that could not be looked into; of other users, unless root asks.
        public var unreadableProcesses: Int
        /// Whether the search came to its end.
        public var isComplete: Bool

        public struct Process: Sendable, Encodable, Equatable {
            public var pid: Int32
            public var user: String
            public var command: String
            public var holds: [Hold]
        }

        public struct Hold: Sendable, Encodable, Equatable {
            /// `working directory`, `open file 3`, …
            public var kind: String
            public var path: String
            public var isDeleted: Bool

            enum CodingKeys: String, CodingKey {
                case kind, path
                case isDeleted = "deleted"
            }
        }

        enum CodingKeys: String, CodingKey {
            case processes
            case nestedMounts = "nested_mounts"
            case kernelUses = "kernel_uses"
            case unreadableProcesses = "unreadable_processes"
            case isComplete = "complete"
        }
    }

    enum CodingKeys: String, CodingKey {
        case mountpoint, source, outcome, holders, messages
        case exitCode = "exit_code"
        case filesLeft = "files_left"
        case bytesLeft = "bytes_left"
    }

    public init(mountpoint: String) {
        self.mountpoint = mountpoint
    }

    /// Takes over how the unmount itself ended.
    public mutating func take(_ outcome: UnmountOutcome) {
        switch outcome {
        case .unmounted: self.outcome = .unmounted
        case .detached: self.outcome = .detached
        case .notMounted: self.outcome = .notMounted
        case .notPermitted: self.outcome = .notPermitted
        case .failed: self.outcome = .failed
        case .stillBusy(let found):
            self.outcome = .busy
            holders = Holders(found)
        }
    }

    /// The array that is printed, keys sorted.
    public static func json(_ reports: [DepartureReport]) -> String {
        String(decoding: JSONText.encode(reports), as: UTF8.self)
    }
}

extension DepartureReport.Holders {
    init(_ found: MountHolders) {
        processes = found.processes.map { process in
            Process(
                pid: process.pid, user: process.user, command: process.commandLine,
                holds: process.holdings.map {
                    Hold(kind: "\($0.kind)", path: "\($0.path)", isDeleted: $0.isDeleted)
                })
        }
        nestedMounts = found.nestedMounts.map { "\($0.mountpoint)" }
        kernelUses = found.kernelUses.map { use in
            switch use {
            case .loopDevice(let name, let backing): "loop device \(name): \(backing)"
            case .swapFile(let path): "swap file: \(path)"
            }
        }
        unreadableProcesses = found.unreadableProcessCount
        isComplete = found.isComplete
    }
}
