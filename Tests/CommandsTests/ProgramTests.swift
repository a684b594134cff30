// The program as scripts see it: exit codes, and lines on the right stream.

import Glibc
import Testing

@testable import Commands

@Suite(.timeLimit(.minutes(3)))
struct ProgramTests {
    @Test(
        arguments: [
            ([], "which command?"),
            (["frobnicate"], "frobnicate"),
            (["--frob"], "--frob"),
            (["mount"], "source"),
            (["mount", "s3://b"], "mountpoint"),
            (["mount", "s3://b", "/tmp", "more"], "more"),
            (["mount", "--frob", "s3://b", "/tmp"], "--frob"),
            (["mount", "s3://", "/tmp"], "'s3://' alone"),
            (["mount", "/dev/sda", "/tmp"], "names no bucket"),
            (["mount", "--memory", "lots", "s3://b", "/tmp"], "--memory must be a size"),
            (["mount", "--memory", "s3://b", "/tmp"], "--memory must be a size"),
            (["mount", "-o", "frob", "s3://b", "/tmp"], "unknown mount option 'frob'"),
            (["mount", "-o", "ttl", "s3://b", "/tmp"], "-o ttl needs a value"),
            (["mount", "--endpoint", "localhost:9000", "s3://b", "/tmp"], "--endpoint must begin with http"),
            (["mount", "--metrics", "here", "s3://b", "/tmp"], "--metrics must be ADDRESS:PORT"),
            (["mount", "nobody-calls-a-mount-so"], "no config file has [mounts.nobody-calls-a-mount-so]"),
            (["umount", "--all", "/tmp"], "--all takes no mountpoints"),
            (["run", "s3://b"], "no command"),
            (["run", "s3://b", "ls"], "ls"),
            (["run", "-f", "s3://b", "--", "ls"], "--foreground means nothing"),
            (["run", "--", "ls"], "source"),
            (["mount", "--cache-size", "1M", "s3://b", "/tmp"], "--cache-size must be 0"),
            (["mount", "--cache-free", "100", "s3://b", "/tmp"], "--cache-free must be a number from 0 to 99"),
            (["cache", "purge"], "purge"),
            (["cache", "--cache-dir", ""], "--cache-dir needs a value"),
            (["umount"], "mountpoints"),
            (["umount", "--timeout", "soon", "/tmp"], "--timeout must be a number of seconds"),
            (["flush"], "paths"),
            (["doctor"], "source"),
            (["doctor", "s3://"], "'s3://' alone"),
            (["status", "/a", "/b"], "/b"),
            (["daemon", "s3://b", "/tmp"], "is started by 'pail mount' only"),
        ] as [([String], String)])
    func wrongUsageIsTwo(arguments: [String], words: String) {
        let result = Program.run(arguments)
        #expect(result.exitCode == 2)
        #expect(result.output.isEmpty)
        #expect(result.errors.hasPrefix("pail: "))
        #expect(result.errors.contains(words), "\(result.errors)")
    }

    @Test(arguments: [
        (["--version"], "pail \(Version.current)\n"), (["--help"], "umount"), (["help", "mount"], "--endpoint"),
        (["mount", "--help"], "s3://BUCKET[/PREFIX] MOUNTPOINT"), (["umount", "-h"], "--lazy"),
        (["help", "status"], "--watch"), (["help", "run"], "{} in ARG"), (["help", "flush"], "PATH..."),
        (["help", "refresh"], "PATH..."), (["help", "warm"], "--jobs"), (["help", "doctor"], "s3://BUCKET"),
    ])
    func helpIsOnStandardOutput(arguments: [String], words: String) {
        let result = Program.run(arguments)
        #expect(result.exitCode == 0)
        #expect(result.errors.isEmpty)
        #expect(result.output.contains(words), "\(result.output)")
    }

    @Test func helpListsWhatWorksAndNothingElse() {
        let general = Program.run(["--help"]).output
        #expect(!general.contains("\n  daemon "))
        let mount = Program.run(["help", "mount"]).output
        for option in MountOptionName.allCases {
            #expect(mount.contains("--\(option.rawValue)"), "--\(option.rawValue)")
        }
    }

    @Test(arguments: [
        (
            ["mount", "s3://b", "/nonexistent/mnt"],
            "pail: cannot mount s3://b: the mountpoint /nonexistent/mnt does not exist"
        ),
        (["mount", "s3://b/p", "/usr"], "pail: cannot mount s3://b/p/: the mountpoint /usr is not empty"),
        (
            ["mount", "s3://b", "/etc/passwd"],
            "pail: cannot mount s3://b: the mountpoint /etc/passwd is not a directory"
        ),
        (["umount", "/usr/lib"], "pail: /usr/lib is not "),
        (["umount", "/nonexistent"], "pail: /nonexistent is not "),
        (["status", "/usr"], "pail: /usr is not in a mount of pail's"),
        (["flush", "/usr"], "pail: /usr is not in a mount of pail's"),
    ])
    func failuresAreOneLineAndOne(arguments: [String], words: String) {
        let result = Program.run(arguments)
        #expect(result.exitCode == 1)
        #expect(result.output.isEmpty)
        #expect(result.errors.hasPrefix(words), "\(result.errors)")
        #expect(result.errors.split(separator: "\n").count == 1)
    }

    @Test func aWrongVariableIsNamed() {
        let result = Program.run(["mount", "s3://b", "/tmp"], environment: ["AWS_ENDPOINT_URL=localhost"])
        #expect(result.exitCode == 2)
        #expect(result.errors.contains("$AWS_ENDPOINT_URL must begin with http"))
    }
}
