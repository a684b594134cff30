// What a store keeps of an object beside its bytes: checksums, metadata, versions, names.

internal import Base
internal import ObjectModel
internal import ObjectStore

extension StoreExamination {
    /// Characters that servers and XML have trouble with, and two that many tools use.
    static let oddName = "a b+c%25&<>\"'é\u{1}\n.txt"

    /// Sends a body that is not what its checksum says.
    func examineChecksums(_ key: ObjectKey, _ report: (DoctorFinding) -> Void) async {
        let body = ChangingSource(byteCount: 4096)
        do throws(StoreError) {
            _ = try await store.put(PutRequest(key: key, body: body))
            // A store that reads a body once cannot be deceived.
            if body.wasReadTwice {
                report(
                    DoctorFinding(
                        .fail, "checksums", "a body is kept that is not what its checksum says",
                        remedy: "this server does not notice damage on the way to it; use https, or another server"))
                return
            }
        } catch  where error.kind == .malformedResponse {
            report(
                DoctorFinding(
                    .warn, "checksums", "are not verified by the server",
                    remedy: "pail compares ETags after each upload, and sends again what arrived damaged"))
            return
        } catch  where error.kind == .sourceFailed || error.kind == .invalidRequest {
            // Refused: BadDigest and the like.
        } catch {
            report(DoctorFinding(.warn, "checksums", Self.text(error), remedy: "not known whether bodies are verified"))
            return
        }
        report(DoctorFinding(.ok, "checksums", "verified by the server before it keeps a body"))
    }

    /// Writes as much metadata as S3 promises to keep, with text that headers cannot carry as it is.
    func examineMetadata(_ key: ObjectKey, _ report: (DoctorFinding) -> Void) async {
        var metadata = ["pail-text": "größer 雪"]
        // Names and values count: https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html
        let used = ObjectProperties.metadataByteCount(name: "pail-text", value: metadata["pail-text"]!)
        let rest = ObjectProperties.metadataByteCountMax - used - "pail-fill".utf8.count
        metadata["pail-fill"] = String(repeating: "x", count: rest)
        do throws(StoreError) {
            let properties = ObjectProperties(metadata: metadata, contentType: "text/plain")
            _ = try await store.put(PutRequest(key: key, body: nil, properties: properties))
            let found = try await store.head(key).properties.metadata
            let size = ByteCount.describe(ObjectProperties.metadataByteCountMax)
            let isKept = metadata.allSatisfy { found[$0.key] == $0.value }
            report(
                isKept
                    ? DoctorFinding(.ok, "metadata", "\(size) for an object, in any language")
                    : DoctorFinding(
                        .warn, "metadata", "comes back changed",
                        remedy: "owners, modes, times and extended attributes may be lost; see --attributes listing"))
        } catch {
            report(
                DoctorFinding(
                    .warn, "metadata", Self.text(error), remedy: "extended attributes may be refused sooner than on S3")
            )
        }
    }

    func examineVersions(_ key: ObjectKey, _ report: (DoctorFinding) -> Void) async {
        do throws(StoreError) {
            let isVersioned = try await store.head(key).versionID.map { $0 != "null" } ?? false
            report(
                DoctorFinding(
                    .ok, "versions",
                    isVersioned
                        ? "the bucket keeps what is overwritten and removed; a lifecycle rule should end that some day"
                        : "not kept: what is overwritten or removed is gone"))
        } catch {
            report(DoctorFinding(.warn, "versions", Self.text(error), remedy: "grant s3:GetObject on the bucket"))
        }
    }

    /// Writes a key that listings must encode, and looks for it in one.
    /// - Parameter oddPrefix: what the key begins with, and no other one.
    func examineNames(_ key: ObjectKey, below oddPrefix: ByteString, _ report: (DoctorFinding) -> Void) async {
        do throws(StoreError) {
            _ = try await store.put(PutRequest(key: key, body: nil))
            let page = try await store.list(
                ListRequest(prefix: oddPrefix, delimited: false, entryCountMax: 2))
            report(
                page.objects.map(\.key) == [key]
                    ? DoctorFinding(.ok, "names", "any character, in keys and listings")
                    : DoctorFinding(
                        .warn, "names", "a key with unusual characters comes back changed in listings",
                        remedy: "keep to letters, digits and -_. in names"))
        } catch {
            report(
                DoctorFinding(
                    .warn, "names", "a key with unusual characters is refused: \(Self.text(error))",
                    remedy: "keep to letters, digits and -_. in names"))
        }
    }
}

/// A body that has other bytes when it is read for the second time: what damage on the way looks like to a server.
private final class ChangingSource: BodySource {
    let byteCount: Int
    private let readCount = Lock(0)

    init(byteCount: Int) {
        self.byteCount = byteCount
    }

    var wasReadTwice: Bool { readCount.withLock { $0 > 1 } }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) -> Bool {
        let count = readCount.withLock { count in
            if offset == 0 { count += 1 }
            return count
        }
        buffer.initializeMemory(as: UInt8.self, repeating: count == 1 ? 0x61 : 0x62)
        return true
    }
}
