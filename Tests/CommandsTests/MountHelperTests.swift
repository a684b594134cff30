// The program under the names that mount(8) and umount(8) know, and the words of `pail run`.

import Testing

@testable import Commands

@Suite(.timeLimit(.minutes(3)))
struct MountHelperTests {
    @Test(
        arguments: [
            ("/sbin/mount.pail s3://b /mnt -o rw,_netdev", ["mount", "-o", "_netdev", "--", "s3://b", "/mnt"]),
            ("mount.pail s3://b /mnt -nv -orw -t pail", ["mount", "--", "s3://b", "/mnt"]),
            (
                "mount.fuse.pail -o ro -o ttl=1 s3://b /mnt",
                ["mount", "-o", "ro", "-o", "ttl=1", "--", "s3://b", "/mnt"]
            ),
            (
                "mount.pail s3://b /mnt -s -o frob,ro,ttl=1,x=1,noexec",
                ["mount", "-o", "ro,ttl=1,noexec", "--", "s3://b", "/mnt"]
            ),
            ("/sbin/umount.fuse.pail /mnt", ["umount", "--", "/mnt"]),
            ("umount.fuse.pail -lf -t fuse.pail /mnt", ["umount", "--lazy", "--force", "--", "/mnt"]),
        ] as [(String, [String])])
    func theWordsAreTranslated(line: String, expected: [String]) throws {
        #expect(try MountHelper(line.split(separator: " ").map(String.init))?.arguments() == expected)
    }

    @Test(arguments: [
        "mount.pail s3://b", "mount.pail", "mount.pail a b c", "mount.pail a b -o", "umount.pail",
        "mount.pail a b -N /proc/1/ns/mnt",
    ])
    func whatIsNoCallOfAHelperIsRefused(line: String) {
        let helper = MountHelper(line.split(separator: " ").map(String.init))
        #expect(throws: UsageError.self) { try helper?.arguments() }
    }

    @Test(arguments: [
        ("mount.pail a b -f", true), ("mount.pail a b -vf", true), ("mount.pail a b -of", false),
        ("mount.pail a b -o nofail", false), ("umount.pail -f a", false),
    ])
    func aFakeMountIsKnown(line: String, isFake: Bool) {
        #expect(MountHelper(line.split(separator: " ").map(String.init))?.isFake == isFake)
    }

    @Test func commasInValuesSurviveSloppiness() throws {
        let helper = MountHelper(["mount.pail", "b", "/m", "-s", "-o", "profile=a\\,b,frob"])
        #expect(try helper?.arguments() == ["mount", "-o", "profile=a\\,b", "--", "b", "/m"])
    }

    @Test func otherNamesAreNoHelper() {
        #expect(MountHelper(["/usr/bin/pail", "mount"]) == nil)
        #expect(MountHelper([]) == nil)
    }

    @Test func mountUnderstandsTheCodes() {
        let helper = MountHelper(["mount.pail"])
        #expect(helper?.exitCode(0) == 0 && helper?.exitCode(2) == 1)
        #expect(helper?.exitCode(1) == 32 && helper?.exitCode(3) == 32 && helper?.exitCode(4) == 32)
    }

    @Test func whoMountedIsNotPailsBusiness() throws {
        var options = MountOptions()
        try options.set(list: "user=alice,uhelper=udisks2,_netdev,x-systemd.automount,nofail")
        #expect(options.kernel == KernelMountOptions())
    }

    @Test(arguments: [
        ("s3://b", RunPlace(source: "s3://b", directory: nil)),
        ("s3://b/p=/data", RunPlace(source: "s3://b/p", directory: "/data")),
        ("s3://b/year=2026", RunPlace(source: "s3://b/year=2026", directory: nil)),
        ("s3://b/a=/b/=/srv/x", RunPlace(source: "s3://b/a=/b/", directory: "/srv/x")),
    ])
    func aPlaceNamesItsDirectory(text: String, place: RunPlace) {
        #expect(RunPlace.parse(text) == place)
    }

    @Test(arguments: [
        (["ls", "{}"], ["ls", "/a"]), (["--in={}/x", "{2}{1}"], ["--in=/a/x", "/b/a"]),
        (["{3}", "{0}", "{x}", "{", "}", "{}{"], ["{3}", "{0}", "{x}", "{", "}", "/a{"]),
        (["{{}}", "", "{ }"], ["{/a}", "", "{ }"]),
    ])
    func bracesAreFilled(words: [String], expected: [String]) {
        #expect(RunPlace.filled(words, paths: ["/a", "/b"]) == expected)
    }

    @Test(arguments: [
        ("9464", "127.0.0.1:9464"), (":9464", "127.0.0.1:9464"), ("localhost:1", "127.0.0.1:1"),
        ("0.0.0.0:80", "0.0.0.0:80"), ("[::1]:9464", "[::1]:9464"), ("127.0.0.1:0", "127.0.0.1:0"),
    ])
    func figuresStayOnThisMachineUnlessTold(text: String, address: String) throws {
        #expect(try ListenAddress.parse(text, origin: "--metrics").description == address)
    }

    @Test(arguments: ["", "x", "1.2.3.4", "1.2.3.4:99999", "host.example:1", "1.2.3.4:-1", "1.2.3.4:+1"])
    func otherAddressesAreRefused(text: String) {
        #expect(throws: UsageError.self) { try ListenAddress.parse(text, origin: "--metrics") }
    }
}
