// getxattr(2) and its like.

internal import CFuse
internal import FileSystem
internal import Glibc

extension FuseOperations {
    static func addExtendedAttributes(_ table: inout fuse_lowlevel_ops) {
        table.getxattr = { request, number, name, size in
            FuseOperations.respondAttribute(
                request!, number,
                FuseSession.of(request!).fileSystem.extendedAttribute(number, name: FuseOperations.bytes(name!))
            ) { reply, value in reply.attribute(value, room: size) }
        }
        table.listxattr = { request, number, size in
            FuseOperations.respondAttribute(
                request!, number, FuseSession.of(request!).fileSystem.extendedAttributeNames(number)
            ) { reply, names in reply.attribute(names.flatMap { $0 + [0] }, room: size) }
        }
        table.setxattr = { request, number, name, value, size, flags in
            let presence: ExtendedAttributePresence
            switch flags {
            case 0: presence = .any
            case FuseOperations.attributeCreate: presence = .mustBeAbsent
            case FuseOperations.attributeReplace: presence = .mustBePresent
            default:
                Reply(request!).error(EINVAL)
                return
            }
            FuseOperations.respondDone(
                request!, "setxattr", number,
                FuseSession.of(request!).fileSystem.setExtendedAttribute(
                    number, name: FuseOperations.bytes(name!),
                    value: Array(UnsafeRawBufferPointer(start: value, count: size)), presence))
        }
        table.removexattr = { request, number, name in
            FuseOperations.respondDone(
                request!, "removexattr", number,
                FuseSession.of(request!).fileSystem.removeExtendedAttribute(
                    number, name: FuseOperations.bytes(name!)))
        }
    }

    /// XATTR_CREATE and XATTR_REPLACE of <sys/xattr.h>, which Swift does not import.
    private static let attributeCreate: Int32 = 1
    private static let attributeReplace: Int32 = 2

    private static func respondAttribute<Value: Sendable>(
        _ request: fuse_req_t, _ number: UInt64, _ answer: Answer<Value>,
        send: @escaping @Sendable (consuming Reply, Value) -> Void
    ) {
        respond(request, "getxattr", number, answer) { _, reply, value in send(reply, value) }
    }

    /// A name or a symlink's target of the kernel's, as pail has it.
    static func text(_ name: UnsafePointer<CChar>) -> String { KernelName.text(of: bytes(name)) }

    /// The bytes of a C string, which need not be UTF-8.
    static func bytes(_ name: UnsafePointer<CChar>) -> [UInt8] {
        Array(UnsafeRawBufferPointer(start: name, count: strlen(name)))
    }
}
