// What libfuse 3.14 (Debian 12) does not agree on with the kernel, though both could.
//
// Its answer to INIT is completed on its way out, where `FuseSession` sees every answer. Later versions of libfuse agree on
// these themselves. Older kernels, which do not know a flag, ignore it.

internal import CFuse
internal import Glibc
internal import Synchronization

enum InitAnswer {
    /// `FUSE_PARALLEL_DIROPS`: lookups of one directory side by side. Without it the kernel sends the next when the last is
    /// answered, and sixteen threads that open files of one directory wait for each other, a round trip each. libfuse takes
    /// the wish (FUSE_CAP_PARALLEL_DIROPS) and does not put it in its answer.
    private static let parallelLookups: UInt32 = 1 << 18
    /// `FUSE_HANDLE_KILLPRIV_V2`: we take set-user-ID and set-group-ID bits away ourselves (`AttributeChanges.endsPrivileges`).
    /// Without it the kernel asks before each write(2) for an attribute that might have to go (`security.capability`).
    private static let endingOfPrivileges: UInt32 = 1 << 28

    /// Where `fuse_init_out` has its flags, behind `fuse_out_header`.
    private static let flagsOffset = 12
    private static let initReplyBytesMin = 24

    /// Whether the answer to INIT, which is the first of all, is still to come. One process serves one mount.
    private static let awaitsInit = Atomic(true)

    /// To be called with every answer before it is written. Returns whether it is the first one.
    static func completeFirst(_ vectors: UnsafeMutablePointer<iovec>?, _ count: Int32) -> Bool {
        awaitsInit.load(ordering: .relaxed) && complete(vectors, count)
    }

    private static func complete(_ vectors: UnsafeMutablePointer<iovec>?, _ count: Int32) -> Bool {
        guard awaitsInit.exchange(false, ordering: .relaxed) else { return false }
        guard count >= 2, let answer = vectors?[1], answer.iov_len >= initReplyBytesMin else { return true }
        // SAFETY: `fuse_init_out` is libfuse's own memory, being sent.
        let flags = answer.iov_base.load(fromByteOffset: flagsOffset, as: UInt32.self)
        answer.iov_base.storeBytes(
            of: flags | parallelLookups | endingOfPrivileges, toByteOffset: flagsOffset, as: UInt32.self)
        return true
    }
}
