// Real mounts, holders and unmounts: as root, with tmpfs, bind mounts and FUSE connections that nobody serves.

import Base
import CLinux
import Glibc
import Testing

@testable import Mounts

/// What this machine lets a test do.
enum Possible {
    /// Whether filesystems can be mounted here.
    static let mounts: Bool = {
        guard geteuid() == 0, let scratch = try? TemporaryDirectory() else { return false }
        guard pail_mount("none", scratch.path, "tmpfs", 0, "") == 0 else { return false }
        return pail_umount_bounded(scratch.path, 0, 5_000) == 0
    }()

    static let fuse = mounts && access("/dev/fuse", R_OK | W_OK) == 0
}

/// A FUSE mount without a daemon: while the descriptor is open it hangs, after that it is dead.
private final class UnservedMount {
    private var device: Int32

    init(at path: String, userID: UInt32 = 0) throws {
        device = open("/dev/fuse", O_RDWR | O_CLOEXEC)
        try #require(device >= 0)
        let options = "fd=\(device),rootmode=40000,user_id=\(userID),group_id=0,subtype=pail"
        try #require(pail_mount("s3://bucket", path, "fuse", 0, options) == 0)
    }

    func die() {
        close(device)
        device = -1
    }

    deinit {
        if device >= 0 { close(device) }
    }
}

@Suite(.timeLimit(.minutes(3)), .enabled(if: Possible.mounts, "needs root and the right to mount"))
struct RealMountTests {
    /// MS_BIND of <sys/mount.h>.
    private static let bindFlag: UInt = 4096

    let scratch: TemporaryDirectory

    init() throws {
        scratch = try TemporaryDirectory()
    }

    /// Mounts a tmpfs on a new directory and answers its canonical path.
    private func mountMemory(_ name: String = "m") throws -> ByteString {
        try scratch.makeDirectory(name)
        let path = "\(scratch.path)/\(name)"
        try #require(pail_mount("pail-test", path, "tmpfs", 0, "size=16m") == 0)
        return try MountTable.current().resolve(path)
    }

    private func holders(of path: ByteString) throws -> MountHolders {
        let table = try MountTable.current()
        // A loaded machine gets the time it needs: what is found is tested here, not how fast.
        return .find(of: try #require(table.mount(at: path)), in: table, deadlineMilliseconds: 30_000)
    }

    private func unmount(
        _ path: ByteString, seconds: UInt64 = 0, whenBusy: UnmountRequest.WhenBusy = .report,
        onBusy: @Sendable (UnmountProgress) -> Void = { _ in }
    ) async -> UnmountOutcome {
        await Unmounter().unmount(
            UnmountRequest(mountpoint: path, timeoutNanoseconds: seconds * 1_000_000_000, whenBusy: whenBusy),
            onBusy: onBusy)
    }

    @Test(arguments: ["plain", "with space", "new\nline", "tab\tback\\slash#", "Zürich 数", "(deleted)", "a (deleted)"])
    func mountpointsOfAnyNameAreFoundAndUnmounted(name: String) async throws {
        let path = try mountMemory(name)
        let entry = try #require(try MountTable.current().mount(at: path))
        #expect(entry.fileSystemType == "tmpfs")
        #expect(entry.source == "pail-test")
        #expect(entry.mountpoint.string.hasSuffix("/\(name)"))
        let shell = try HoldingShell("cd \"$DIRECTORY\"", environment: ["DIRECTORY=\(path)"])
        let found = try holders(of: path)
        #expect(found.processes.map(\.pid) == [shell.pid])
        #expect(found.processes.first?.user == "root")
        #expect(found.processes.first?.commandLine.hasPrefix("/bin/sh -c") == true)
        shell.release()
        #expect(try holders(of: path).isEmpty)
        #expect(await unmount(path, seconds: 10) == .unmounted)
        #expect(await unmount(path) == .notMounted)
    }

    /// Ways to hold `$M`, and what the search must say of them.
    enum Hold: String, CaseIterable, Sendable {
        case workingDirectory, openFile, deletedFile, mappedFile, executable, rootDirectory

        var script: String {
            switch self {
            case .workingDirectory: "mkdir \"$M/d\"; cd \"$M/d\""
            case .openFile: "exec 5>\"$M/a file\""
            case .deletedFile: "exec 5>\"$M/gone\"; rm \"$M/gone\""
            case .mappedFile, .executable, .rootDirectory: ""
            }
        }

        var kind: Holding.Kind {
            switch self {
            case .workingDirectory: .workingDirectory
            case .openFile, .deletedFile: .openFile(descriptor: 5)
            case .mappedFile: .mappedFile
            case .executable: .executable
            case .rootDirectory: .rootDirectory
            }
        }

        var path: String {
            switch self {
            case .workingDirectory: "/d"
            case .openFile: "/a file"
            case .deletedFile: "/gone"
            case .mappedFile: "/lib.so"
            case .executable: "/bin/sh"
            case .rootDirectory: ""
            }
        }
    }

    private func hold(_ path: ByteString, _ way: Hold) throws -> HoldingShell {
        var prefix: [String] = []
        var environment = ["M=\(path)"]
        let copy = HoldingShell.copyOfTheShell(in: path.string)
        switch way {
        case .workingDirectory, .openFile, .deletedFile: break
        case .mappedFile:
            try #require(copy)
            let library = try #require(HoldingShell.libraryPath)
            let result = ChildProgram.run(["cp", "-L", library, "\(path)/lib.so"], timeoutMilliseconds: 10_000)
            try #require(result == .exited(0, message: ""))
            environment.append("LD_PRELOAD=\(path)/lib.so")
        case .executable:
            try #require(copy)
            prefix = ["\(path)/bin/sh", "-c", "echo ready; read line"]
        case .rootDirectory:
            try #require(copy)
            prefix = ["chroot", path.string]
        }
        return try HoldingShell(way.script, prefix: prefix, environment: environment)
    }

    @Test(arguments: Hold.allCases)
    func eachWayToHoldAMountIsNamedAndWaitedFor(way: Hold) async throws {
        let path = try mountMemory("busy-\(way.rawValue)")
        let shell = try hold(path, way)
        let expected = Holding(way.kind, path: path + ByteString(way.path), isDeleted: way == .deletedFile)
        let process = try #require(try holders(of: path).processes.first { $0.pid == shell.pid })
        #expect(process.holdings.contains(expected), "found \(process.holdings)")

        guard case .stillBusy(let named) = await unmount(path) else {
            Issue.record("a held mount was unmounted")
            return
        }
        #expect(named.processes.map(\.pid) == [shell.pid])

        let held = Lock(shell as HoldingShell?)
        let outcome = await unmount(path, seconds: 20) { progress in
            guard progress.attempt == 2 else { return }
            #expect(progress.holders?.processes.map(\.pid) == [shell.pid])
            held.withLock { shell in
                shell?.release()
                shell = nil
            }
        }
        #expect(outcome == .unmounted)
    }

    @Test func aNamedSocketHolds() throws {
        let path = try mountMemory()
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: "\(path)/s".utf8) }
        let bound = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        try #require(bound == 0)
        let process = try #require(try holders(of: path).processes.first)
        #expect(process.pid == getpid())
        #expect(process.holdings == [Holding(.boundSocket(descriptor: descriptor), path: path + "/s")])
    }

    @Test func ofStackedMountsTheTopOneGoes() async throws {
        let path = try mountMemory()
        let below = try #require(try MountTable.current().mount(at: path))
        let shell = try HoldingShell("cd \"$M\"", environment: ["M=\(path)"])
        #expect(try mountMemory() == path)
        let top = try #require(try MountTable.current().mount(at: path))
        #expect(top.id != below.id)
        #expect(try MountTable.current().stack(at: path) == [below, top])
        // The shell sits in the covered mount: the same path, another mount.
        let table = try MountTable.current()
        #expect(MountHolders.find(of: top, in: table, deadlineMilliseconds: 30_000).processes.isEmpty)
        let busyBelow = MountHolders.find(of: below, in: table, deadlineMilliseconds: 30_000)
        #expect(busyBelow.processes.map(\.pid) == [shell.pid])
        #expect(busyBelow.nestedMounts == [top])
        #expect(await unmount(path) == .unmounted)
        #expect(try MountTable.current().mount(at: path) == below)
        shell.release()
        #expect(await unmount(path, seconds: 10) == .unmounted)
        #expect(await unmount(path) == .notMounted)
    }

    @Test func bindMountsAreMountsOfTheirOwn() async throws {
        let original = try mountMemory("original")
        try scratch.makeDirectory("bound")
        let bound = "\(scratch.path)/bound"
        try #require(pail_mount(original.string, bound, "", Self.bindFlag, "") == 0)
        let path = try MountTable.current().resolve(bound)
        let shell = try HoldingShell("exec 3>\"$M/x\"", environment: ["M=\(path)"])
        #expect(try holders(of: path).processes.map(\.pid) == [shell.pid])
        #expect(try holders(of: original).isEmpty)
        #expect(await unmount(original) == .unmounted)
        shell.release()
        #expect(await unmount(path, seconds: 10) == .unmounted)
    }

    @Test func nestedMountsKeepTheOuterOneBusy() async throws {
        let outer = try mountMemory("outer")
        let inner = try mountMemory("outer/inner")
        guard case .stillBusy(let holders) = await unmount(outer) else {
            Issue.record("an outer mount was unmounted")
            return
        }
        #expect(holders.nestedMounts.map(\.mountpoint) == [inner])
        #expect(holders.processes.isEmpty)
        #expect(await unmount(inner) == .unmounted)
        #expect(await unmount(outer) == .unmounted)
    }

    @Test func aHeldMountCanBeDetached() async throws {
        let path = try mountMemory()
        let shell = try HoldingShell("cd \"$M\"", environment: ["M=\(path)"])
        #expect(await unmount(path, whenBusy: .detach) == .detached)
        #expect(try MountTable.current().mount(at: path) == nil)
        shell.release()
    }

    @Test func anotherNamespaceDoesNotKeepOursBusy() async throws {
        let path = try mountMemory()
        // unshare gives the shell a copy of the mount, and its working directory moves there with it.
        let shell = try HoldingShell(
            "cd \"$M\"", prefix: ["unshare", "--mount", "--propagation", "private"], environment: ["M=\(path)"])
        #expect(try holders(of: path).isEmpty)
        #expect(await unmount(path) == .unmounted)
        shell.release()
    }

    @Test(.enabled(if: Possible.fuse))
    func aMountWithoutDaemonIsUnresponsiveThenStale() async throws {
        try scratch.makeDirectory("dead end")
        let mount = try UnservedMount(at: "\(scratch.path)/dead end")
        let path = try MountTable.current().resolve("\(scratch.path)/dead end")
        let entry = try #require(try MountTable.current().mount(at: path))
        #expect(entry.isPail && entry.source == "s3://bucket")
        let start = SystemTime().monotonicNanoseconds
        #expect(entry.liveness(timeoutMilliseconds: 100) == .unresponsive)
        // A path inside is taken as it is, and nobody hangs.
        #expect(try MountTable.current().resolve("\(path)/a/../b") == path + "/b")
        #expect(try MountTable.current().resolve("\(path)/.") == path)
        #expect((SystemTime().monotonicNanoseconds - start) < 10_000_000_000)
        await #expect(throws: MountPointProblem.unresponsive(entry)) { try await MountPoint().prepare(path.string) }

        mount.die()
        #expect(entry.isStale())
        #expect(try await MountPoint().prepare(path.string) == path)
        #expect(try MountTable.current().mount(at: path) == nil)
    }

    @Test(.enabled(if: Possible.fuse))
    func forceTakesAHungMountFromItsHolders() async throws {
        try scratch.makeDirectory("m")
        let mount = try UnservedMount(at: "\(scratch.path)/m")
        defer { mount.die() }
        let path = try MountTable.current().resolve("\(scratch.path)/m")
        // O_PATH asks nothing of the daemon, yet holds the mount.
        let descriptor = pail_open_path(path.string)
        defer { close(descriptor) }
        guard case .stillBusy(let holders) = await unmount(path) else {
            Issue.record("a held mount was unmounted")
            return
        }
        #expect(holders.processes.map(\.pid) == [getpid()])
        #expect(holders.processes.first?.holdings == [Holding(.openFile(descriptor: descriptor), path: path)])
        #expect(await unmount(path, whenBusy: .force) == .detached)
    }

    @Test(.enabled(if: Possible.fuse && FuseEnvironment().fusermountPath != nil))
    func anOrdinaryUserUnmountsOwnMountsOnly() throws {
        let nobody = UnmountCalls(
            fusermountPrefix: ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"], triesSystemCall: false)
        try scratch.makeDirectory("own mount")
        try scratch.makeDirectory("foreign")
        let own = try UnservedMount(at: "\(scratch.path)/own mount", userID: 65_534)
        let foreign = try UnservedMount(at: "\(scratch.path)/foreign", userID: 0)
        defer {
            own.die()
            foreign.die()
        }
        let table = try MountTable.current()
        let ownEntry = try #require(table.mount(at: try table.resolve("\(scratch.path)/own mount")))
        let foreignEntry = try #require(table.mount(at: try table.resolve("\(scratch.path)/foreign")))
        #expect(ownEntry.fuseUserID == 65_534)

        let descriptor = pail_open_path(ownEntry.mountpoint.string)
        #expect(nobody.attempt(.plain, on: ownEntry) == .busy)
        close(descriptor)
        #expect(nobody.attempt(.plain, on: ownEntry) == .done)
        guard case .notPermitted = nobody.attempt(.plain, on: foreignEntry) else {
            Issue.record("somebody else's mount was unmounted")
            return
        }
        #expect(try MountTable.current().mount(at: ownEntry.mountpoint) == nil)
        #expect(try MountTable.current().mount(at: foreignEntry.mountpoint) == foreignEntry)
    }
}
