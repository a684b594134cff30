// Numbers that follow from text alone, the same in every process.

internal import Base
internal import ObjectModel

/// FNV-1a of 64 bits with a final mix (that of SplitMix64), which spreads what differs in the last bytes only.
/// Whoever makes two names collide on purpose gains nothing by it.
enum StableHash {
    static func of(_ parts: String.UTF8View...) -> UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for part in parts {
            for byte in part { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
            // No text has this byte: parts do not run into each other.
            hash = (hash ^ 0xff) &* 0x100_0000_01b3
        }
        hash = (hash ^ (hash >> 30)) &* 0xbf58_476d_1ce4_e5b9
        hash = (hash ^ (hash >> 27)) &* 0x94d0_49bb_1331_11eb
        return hash ^ (hash >> 31)
    }
}

/// What `stat` shows as the inode number. Not what the kernel knows nodes by: that is `Node.number`.
///
/// It follows from key and ETag, so it is the same after a remount and on another machine, and a replaced object is another
/// file. What this mount makes or moves has a number of its own, which the attribute store keeps. Two of n objects share
/// one with a chance of n²/2⁶⁴.
enum InodeNumber {
    static let root: UInt64 = 1
    /// Positive as a signed number too; 0 and the root's are nobody's.
    private static func bounded(_ number: UInt64) -> UInt64 { max(2, number & 0x7fff_ffff_ffff_ffff) }

    static func of(_ version: ObjectVersion) -> UInt64 {
        bounded(StableHash.of(version.key.bytes.utf8, version.etag.value.utf8))
    }

    /// Of a directory, by its key prefix.
    static func of(directory prefix: ByteString) -> UInt64 { bounded(StableHash.of(prefix.utf8)) }

    /// Of something new.
    static func new() -> UInt64 { bounded(UInt64.random(in: .min ... .max)) }
}
