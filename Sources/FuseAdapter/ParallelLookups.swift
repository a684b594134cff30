// Lookups of one directory side by side.
//
// The kernel sends the next lookup of a directory only when the last is answered, unless FUSE_PARALLEL_DIROPS was agreed on
// at INIT. libfuse 3.14 (Debian 12) takes the wish (FUSE_CAP_PARALLEL_DIROPS) and does not put it in its answer; later
// versions do. Sixteen threads that open files of one directory then wait for each other, a round trip each. So the answer
// is completed on its way out, where `FuseSession` sees every answer.

internal import CFuse
internal import Glibc
internal import Synchronization

enum ParallelLookups {
    /// `FUSE_PARALLEL_DIROPS` of the kernel's protocol, and where `fuse_init_out` has its flags, behind `fuse_out_header`.
    private static let flag: UInt32 = 1 << 18
    private static let flagsOffset = 12
    private static let initReplyBytesMin = 24

    /// Whether the answer to INIT, which is the first of all, is still to come. One process serves one mount.
    private static let awaitsInit = Atomic(true)

    /// To be called with every answer before it is written. Returns whether it is the first one.
    static func completeFirstAnswer(_ vectors: UnsafeMutablePointer<iovec>?, _ count: Int32) -> Bool {
        awaitsInit.load(ordering: .relaxed) && complete(vectors, count)
    }

    /// Adds the flag to the answer to INIT. Older kernels, which do not know it, ignore it.
    private static func complete(_ vectors: UnsafeMutablePointer<iovec>?, _ count: Int32) -> Bool {
        guard awaitsInit.exchange(false, ordering: .relaxed) else { return false }
        guard count >= 2, let answer = vectors?[1], answer.iov_len >= initReplyBytesMin else { return true }
        // SAFETY: `fuse_init_out` is libfuse's own memory, being sent.
        let flags = answer.iov_base.load(fromByteOffset: flagsOffset, as: UInt32.self)
        answer.iov_base.storeBytes(of: flags | flag, toByteOffset: flagsOffset, as: UInt32.self)
        return true
    }
}
