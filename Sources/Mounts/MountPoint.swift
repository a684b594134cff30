// The checks before a mount, so that everything the user can put right is said in one line before anything is started.

public import Base
internal import Glibc

/// A directory that is about to be mounted on.
public struct MountPoint: Sendable {
    public var environment: FuseEnvironment
    /// Whether a directory with entries will do; they are hidden while mounted.
    public var allowsEntries: Bool
    /// Whether other users, or root alone, shall have access to the mount.
    public var allowsOthers: Bool

    public init(
        environment: FuseEnvironment = FuseEnvironment(), allowsEntries: Bool = false, allowsOthers: Bool = false
    ) {
        self.environment = environment
        self.allowsEntries = allowsEntries
        self.allowsOthers = allowsOthers
    }

    /// Makes sure that `path` can be mounted on, and answers its canonical form. A dead FUSE mount found there is taken away
    /// first (lazily: its holders can do nothing with it any more).
    public func prepare(_ path: String) async throws(MountPointProblem) -> ByteString {
        let canonical: ByteString
        do {
            canonical = try MountTable.current().resolve(path)
        } catch {
            throw .inaccessible(ByteString(path), errno: error.errno)
        }
        try environment.check(allowOther: allowsOthers)
        // Crash upon crash can leave several dead mounts on one another.
        for _ in 0..<16 {
            guard let table = try? MountTable.current(), let mount = table.mount(at: canonical) else { break }
            if mount.fileSystemType == "autofs" { return canonical }
            guard mount.isFuse else { break }
            switch mount.liveness() {
            case .live: throw .alreadyMounted(mount)
            case .unresponsive: throw .unresponsive(mount)
            case .stale: break
            }
            let outcome = await Unmounter().unmount(
                UnmountRequest(mountpoint: canonical, timeoutNanoseconds: 0, whenBusy: .detach))
            switch outcome {
            case .unmounted, .detached, .notMounted: break
            case .stillBusy, .notPermitted, .failed: throw .staleMountStays(mount, outcome)
            }
        }
        try checkDirectory(canonical)
        return canonical
    }

    private func checkDirectory(_ path: ByteString) throws(MountPointProblem) {
        var information = stat()
        guard stat(path.string, &information) == 0 else {
            switch errno {
            case ENOENT: throw .missing(path)
            case ENOTDIR: throw .notDirectory(path)
            default: throw .inaccessible(path, errno: errno)
            }
        }
        guard information.st_mode & S_IFMT == S_IFDIR else { throw .notDirectory(path) }
        if !allowsEntries {
            do {
                if let entry = try ProcFile.names(in: path.string).min() {
                    throw MountPointProblem.notEmpty(path, entry: entry)
                }
            } catch let problem as MountPointProblem {
                throw problem
            } catch let error as SystemCallError {
                throw .inaccessible(path, errno: error.errno)
            } catch {
                throw .inaccessible(path, errno: EIO)
            }
        }
        if environment.userID != 0, access(path.string, W_OK) != 0 { throw .notWritable(path) }
    }
}
