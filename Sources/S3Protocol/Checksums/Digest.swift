// Cryptographic digests over OpenSSL.

internal import CCrypto

/// A running digest of bytes that come in pieces.
public struct Digest: ~Copyable {
    public enum Algorithm: Sendable {
        case md5
        case sha256
    }

    private let context: OpaquePointer
    private let byteCount: Int

    public init(_ algorithm: Algorithm) {
        guard let context = EVP_MD_CTX_new() else { preconditionFailure("out of memory allocating a digest") }
        self.context = context
        let (type, byteCount) =
            switch algorithm {
            case .md5: (EVP_md5(), 16)
            case .sha256: (EVP_sha256(), 32)
            }
        self.byteCount = byteCount
        let code = EVP_DigestInit_ex(context, type, nil)
        precondition(code == 1, "OpenSSL refuses the digest \(algorithm) (a FIPS-only build has no MD5)")
    }

    deinit {
        EVP_MD_CTX_free(context)
    }

    public mutating func update(_ bytes: UnsafeRawBufferPointer) {
        let code = EVP_DigestUpdate(context, bytes.baseAddress, bytes.count)
        precondition(code == 1, "EVP_DigestUpdate failed")
    }

    /// The digest of all bytes: 16 bytes for MD5, 32 for SHA-256.
    public consuming func finish() -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: byteCount) { buffer, count in
            let code = EVP_DigestFinal_ex(context, buffer.baseAddress, nil)
            precondition(code == 1, "EVP_DigestFinal_ex failed")
            count = byteCount
        }
    }

    public static func of(_ bytes: UnsafeRawBufferPointer, _ algorithm: Algorithm) -> [UInt8] {
        var digest = Digest(algorithm)
        digest.update(bytes)
        return digest.finish()
    }

    public static func of(_ bytes: [UInt8], _ algorithm: Algorithm) -> [UInt8] {
        bytes.withUnsafeBytes { of($0, algorithm) }
    }
}

/// HMAC with SHA-256 (RFC 2104).
enum HMACSHA256 {
    static func of(_ text: String, key: [UInt8]) -> [UInt8] {
        var text = text
        return text.withUTF8 { message in
            [UInt8](unsafeUninitializedCapacity: 32) { buffer, count in
                let result = HMAC(
                    EVP_sha256(), key, Int32(key.count), message.baseAddress, message.count, buffer.baseAddress, nil)
                precondition(result != nil, "HMAC failed")
                count = 32
            }
        }
    }
}
