// copy_file_range(2), fallocate(2), and the two ways of lseek(2) that the kernel asks for.

internal import CFuse
internal import FileSystem
internal import Glibc

extension FuseOperations {
    static func addRanges(_ table: inout fuse_lowlevel_ops) {
        table.copy_file_range = { request, _, offset, source, number, targetOffset, target, count, flags in
            guard flags == 0 else {
                Reply(request!).error(EINVAL)
                return
            }
            FuseOperations.respond(
                request!, "copy_file_range", number,
                FuseSession.of(request!).fileSystem.copyRange(
                    from: FuseSession.fileHandle(source!), offset: Int(offset), to: FuseSession.fileHandle(target!),
                    offset: Int(targetOffset), count: count,
                    endsPrivileges: FuseOperations.writesEndPrivileges(request!))
            ) { _, reply, count in reply.written(count) }
        }
        table.fallocate = { request, number, mode, offset, count, info in
            let allocation: RangeAllocation
            switch mode {
            case 0: allocation = .extend
            case FuseOperations.keepSize: allocation = .reserve
            case FuseOperations.keepSize | FuseOperations.punchHole: allocation = .punch
            case FuseOperations.zeroRange: allocation = .zero(extends: true)
            case FuseOperations.zeroRange | FuseOperations.keepSize: allocation = .zero(extends: false)
            default:
                Reply(request!).error(EOPNOTSUPP)
                return
            }
            FuseOperations.respondDone(
                request!, "fallocate", number,
                FuseSession.of(request!).fileSystem.allocate(
                    FuseSession.fileHandle(info!), allocation, offset: Int(offset), count: Int(count),
                    endsPrivileges: FuseOperations.writesEndPrivileges(request!)))
        }
        table.lseek = { request, number, offset, whence, info in
            FuseOperations.respond(
                request!, "lseek", number,
                FuseSession.of(request!).fileSystem.seek(
                    FuseSession.fileHandle(info!), from: Int(offset), toHole: whence == FuseOperations.seekHole)
            ) { _, reply, offset in reply.offset(offset) }
        }
    }

    /// FALLOC_FL_* of <linux/falloc.h> and SEEK_HOLE of <unistd.h>, which Swift does not import.
    private static let keepSize: Int32 = 1
    private static let punchHole: Int32 = 2
    private static let zeroRange: Int32 = 16
    private static let seekHole: Int32 = 4
}
