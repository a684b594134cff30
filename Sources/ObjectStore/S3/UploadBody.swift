// The body of a PUT or a part, with the digests that go ahead of it.

internal import Base
internal import HTTPTransport
internal import S3Protocol

/// A source that was read once, so that its checksum and signature can be in the header, and is read again while it is
/// sent.
final class UploadBody: HTTPBodySource {
    /// Nil where the signed SHA-256 is all that goes with it.
    let checksum: BodyChecksum?
    let payload: PayloadHash
    /// Of the body; what the ETag of a plain object is. Nil where it was not computed.
    let md5Hex: String?
    private let source: (any BodySource)?

    var byteCount: Int { source?.byteCount ?? 0 }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) -> Bool {
        guard let source, source.read(into: buffer, at: offset) else { return false }
        source.noteSent(upTo: offset + buffer.count)
        return true
    }

    /// Reads the source through. Gives other tasks their turn between pieces.
    /// - Parameters:
    ///   - isPayloadSigned: whether the body's SHA-256 goes into the signature.
    ///   - integrity: the checksum beside it; nil for none.
    /// - Throws: `.sourceFailed` or `.cancelled`.
    init(
        _ source: (any BodySource)?, isPayloadSigned: Bool, integrity: S3StoreConfiguration.Integrity?
    ) async throws(UploadBodyError) {
        self.source = source
        let sums = Sums(isPayloadSigned: isPayloadSigned, integrity: integrity)
        let byteCount = source?.byteCount ?? 0
        if let source, byteCount > 0 {
            let pieceBytes = min(byteCount, 512 << 10)
            let piece = Piece(byteCount: pieceBytes)
            var offset = 0
            while offset < byteCount {
                if Task.isCancelled { throw .cancelled }
                let window = UnsafeMutableRawBufferPointer(
                    rebasing: piece.bytes[0..<min(pieceBytes, byteCount - offset)])
                guard source.read(into: window, at: offset) else { throw .sourceFailed }
                sums.update(UnsafeRawBufferPointer(window))
                offset += window.count
                if offset < byteCount { await Task.yield() }
            }
        }
        (checksum, payload, md5Hex) = sums.finish()
    }

    /// One byte, signed as another: a server that compares the two refuses it.
    static func forged() -> UploadBody { UploadBody(OneByte(), payload: .of([UInt8(ascii: "y")])) }

    private init(_ source: any BodySource, payload: PayloadHash) {
        self.source = source
        self.payload = payload
        (checksum, md5Hex) = (nil, nil)
    }

    private final class OneByte: BodySource {
        var byteCount: Int { 1 }

        func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) -> Bool {
            buffer[0] = UInt8(ascii: "x")
            return true
        }
    }

    /// `md5Hex`, by reading the source once more where it was not needed before; nil when that fails.
    func computeMD5Hex() async -> String? {
        if let md5Hex { return md5Hex }
        return try? await UploadBody(source, isPayloadSigned: false, integrity: .contentMD5).md5Hex
    }

    /// The digests while they run; used by one task.
    private final class Sums {
        private var md5: Digest?
        private var sha256: Digest?
        private var crc64: CRC64NVME?

        init(isPayloadSigned: Bool, integrity: S3StoreConfiguration.Integrity?) {
            md5 = integrity == .contentMD5 ? Digest(.md5) : nil
            crc64 = integrity == .crc64NVME ? CRC64NVME() : nil
            sha256 = isPayloadSigned ? Digest(.sha256) : nil
        }

        func update(_ bytes: UnsafeRawBufferPointer) {
            md5?.update(bytes)
            crc64?.update(bytes)
            sha256?.update(bytes)
        }

        func finish() -> (BodyChecksum?, PayloadHash, String?) {
            var payload = PayloadHash.unsigned
            if let sha256 = sha256.take() { payload = .sha256(Hex.encode(sha256.finish())) }
            if let crc64 { return (.crc64NVME(crc64.value), payload, nil) }
            guard let digest = md5.take()?.finish() else { return (nil, payload, nil) }
            return (.md5(digest), payload, Hex.encode(digest))
        }
    }

    /// A buffer of one digest pass.
    private final class Piece {
        let bytes: UnsafeMutableRawBufferPointer

        init(byteCount: Int) {
            bytes = .allocate(byteCount: byteCount, alignment: 4096)
        }

        deinit {
            bytes.deallocate()
        }
    }
}

enum UploadBodyError: Error {
    case sourceFailed
    case cancelled
}

/// The XML body of a POST.
final class DocumentBody: HTTPBodySource {
    private let bytes: [UInt8]

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    var byteCount: Int { bytes.count }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) -> Bool {
        bytes.withUnsafeBytes { buffer.copyMemory(from: .init(rebasing: $0[offset..<(offset + buffer.count)])) }
        return true
    }
}
