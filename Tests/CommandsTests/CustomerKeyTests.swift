// The key of SSE-C: what a file may hold, who may read it, and where it may go.

import Base
import Glibc
import Testing

@testable import Commands

@Suite(.timeLimit(.minutes(3)))
struct CustomerKeyTests {
    static let key = (0..<32).map { UInt8($0 * 7 + 1) }
    static let hexadecimal = key.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()

    @Test(arguments: [
        key, Array(Base64.encode(key).utf8), Array("\n \(Base64.encode(key))\r\n".utf8), Array(hexadecimal.utf8),
        Array("\(hexadecimal.uppercased())\n".utf8),
    ])
    func formsOfAKey(content: [UInt8]) {
        #expect(CustomerKeyFile.key(of: content) == Self.key)
    }

    @Test(
        arguments: [
            [], Array(key.dropLast()), key + [10], Array(Base64.encode(Array(key.dropLast())).utf8),
            Array(hexadecimal.dropLast().utf8), Array(String(repeating: "g", count: 64).utf8), [0xff] + key,
        ] as [[UInt8]])
    func whatIsNoKey(content: [UInt8]) {
        #expect(CustomerKeyFile.key(of: content) == nil)
    }

    private func file(_ content: [UInt8], mode: mode_t) throws -> String {
        var name = Array("/tmp/pail-key-XXXXXX".utf8CString)
        let descriptor = mkstemp(&name)
        defer { close(descriptor) }
        try #require(write(descriptor, content, content.count) == content.count && fchmod(descriptor, mode) == 0)
        return String(decoding: name.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    @Test func aKeyThatEverybodyCanReadIsNone() throws {
        for mode in [0o600, 0o640] as [mode_t] {
            let path = try file(Self.key, mode: mode)
            defer { unlink(path) }
            #expect(try CustomerKeyFile.read(path).bytes == Self.key)
        }
        for mode in [0o644, 0o602] as [mode_t] {
            let path = try file(Self.key, mode: mode)
            defer { unlink(path) }
            let error = #expect(throws: MountFailure.self) { try CustomerKeyFile.read(path) }
            #expect(error?.remedy == "chmod 600 \(path)")
        }
        for path in ["/nowhere/key", "/dev/null", "/tmp"] {
            #expect(throws: MountFailure.self) { try CustomerKeyFile.read(path) }
        }
    }

    @Test func aKeyIsNotPrinted() throws {
        let text = CustomerKeyText(Self.key)
        var dumped = ""
        dump(text, to: &dumped)
        for shown in ["\(text)", String(reflecting: text), dumped] {
            #expect(!shown.contains(Base64.encode(Self.key)), "\(shown)")
        }
    }

    @Test(
        arguments: [
            (nil, nil, true), ("https://s3.example.com", nil, true), ("http://s3.example.com", nil, false),
            ("http://127.0.0.1:9000", nil, true), ("http://localhost", nil, true), ("http://[::1]:9", nil, true),
            ("http://127.evil.example.com", nil, false), ("https://s3.example.com", "AES256", false),
        ] as [(String?, String?, Bool)])
    func aKeyGoesOnlyWhereNobodyListens(endpoint: String?, algorithm: String?, isGood: Bool) throws {
        var options = MountOptions()
        try options.set(.customerKeyFile, "key")
        if let endpoint { try options.set(.endpoint, endpoint) }
        if let algorithm { try options.set(.serverSideEncryption, algorithm) }
        if isGood {
            try options.checkConsistency()
        } else {
            #expect(throws: UsageError.self) { try options.checkConsistency() }
        }
    }
}
