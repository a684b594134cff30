// The program as mount(8) and umount(8) call it: `mount.pail SOURCE DIR -o OPTIONS`, `umount.fuse.pail DIR`.
//
// With the first, a line of fstab says `s3://bucket/prefix /srv/data pail _netdev,nofail,allow_other 0 0`. With the second, umount(8)
// and so systemd wait until everything is in S3.

/// The command line of a mount helper, by mount(8), "External helpers", and umount(8).
public struct MountHelper: Sendable {
    private enum Kind {
        case mount
        case umount
    }

    /// mount(8), "Exit status".
    private static let incorrectInvocation: Int32 = 1
    private static let mountFailure: Int32 = 32

    private let kind: Kind
    private let words: [String]

    /// Nil unless the program was called by such a name.
    public init?(_ words: [String]) {
        guard let name = words.first?.split(separator: "/").last else { return nil }
        switch name {
        case "mount.pail", "mount.fuse.pail": kind = .mount
        case "umount.pail", "umount.fuse.pail": kind = .umount
        default: return nil
        }
        self.words = Array(words.dropFirst())
    }

    /// Whether nothing is to be done but look at the options (`mount -f`).
    public var isFake: Bool {
        // Letters up to the first that takes a value: `-o` may stand in one word with others.
        kind == .mount
            && words.contains { $0.hasPrefix("-") && $0.dropFirst().prefix { !"oNt".contains($0) }.contains("f") }
    }

    /// The same as a command line of pail's.
    public func arguments() throws(UsageError) -> [String] {
        var places: [String] = []
        var lists: [String] = []
        var letters: Set<Character> = []
        var rest = words[...]
        while let word = rest.popFirst() {
            guard word.hasPrefix("-"), word.count > 1 else {
                places.append(word)
                continue
            }
            for (index, letter) in word.dropFirst().enumerated() {
                guard "oNt".contains(letter) else {
                    letters.insert(letter)
                    continue
                }
                // The value is the rest of the word, or the next one.
                let joined = String(word.dropFirst(index + 2))
                guard let value = joined.isEmpty ? rest.popFirst() : joined else {
                    throw UsageError("-\(letter) needs a value")
                }
                if letter == "N" { throw UsageError("-N (another mount namespace) is not possible; use nsenter(1)") }
                if letter == "o" { lists.append(value) }
                break
            }
        }
        switch kind {
        case .mount:
            guard places.count == 2 else { throw UsageError("mount.pail takes a source and a directory") }
            let isSloppy = letters.contains("s")
            let items = try lists.map { list throws(UsageError) in
                try Self.list(list) { !isSloppy || Self.isKnown($0) }
            }.filter { !$0.isEmpty }
            return ["mount"] + items.flatMap { ["-o", $0] } + ["--"] + places
        case .umount:
            guard places.count == 1 else { throw UsageError("umount.fuse.pail takes one directory") }
            return ["umount"] + (letters.contains("l") ? ["--lazy"] : []) + (letters.contains("f") ? ["--force"] : [])
                + ["--"] + places
        }
    }

    /// The exit code that mount(8) understands.
    public func exitCode(_ code: Int32) -> Int32 {
        switch ExitStatus(rawValue: code) {
        case .done: 0
        case .usage: Self.incorrectInvocation
        default: Self.mountFailure
        }
    }

    /// The list without `rw`, which libmount says wherever nobody said `ro`, and which would undo what a config file says;
    /// and without what is not wanted.
    private static func list(_ list: String, where isWanted: (String) -> Bool) throws(UsageError) -> String {
        try MountOptionList.split(list).filter { $0 != "rw" && isWanted($0) }.map { item in
            // As it was before the split.
            String(item.flatMap { $0 == "," || $0 == "\\" ? ["\\", $0] : [$0] })
        }.joined(separator: ",")
    }

    /// Whether pail knows the option (`mount -s` leaves out the others); one with a wrong value stays, to be told.
    private static func isKnown(_ item: String) -> Bool {
        let (name, value) = MountOptionList.pair(item)
        var kernel = KernelMountOptions()
        return MountOptionName(listed: name) != nil || ["ro", "remount"].contains(name)
            || kernel.take(name, value: value)
    }
}
