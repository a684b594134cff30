// What `pail doctor` says of the credentials it found.

public import Base
internal import Control
public import S3Protocol

/// Whom requests are signed for, from where that is known, and for how long.
public enum CredentialReport {
    /// A mount that ends sooner deserves a warning.
    private static let warningSeconds: Int64 = 12 * 3600

    /// - Parameters:
    ///   - origin: as `profile 'default'`.
    ///   - isFile: a mount reads renewed ones from there; else it keeps what it was started with.
    public static func finding(
        _ credentials: AWSCredentials, origin: String, isFile: Bool, now: Timestamp
    ) -> DoctorFinding {
        let text = "access key \(credentials.accessKeyID), from \(origin)"
        guard credentials.sessionToken != nil else { return DoctorFinding(.ok, "credentials", text) }
        let remedy =
            isFile
            ? "renew them in the file before that: mounts read it again when it changes"
            : "a mount keeps the environment it was started with; put them into a profile, which it reads again when it changes"
        guard let expiry = credentials.expiry else {
            return DoctorFinding(
                isFile ? .ok : .warn, "credentials", "\(text), temporary; nothing says when they end", remedy: remedy)
        }
        let seconds = expiry.seconds - now.seconds
        let time = MountStatus.timeText(secondsSince1970: expiry.seconds)
        guard seconds > 0 else {
            return DoctorFinding(.fail, "credentials", "\(text), have ended at \(time)", remedy: "get new ones")
        }
        return DoctorFinding(
            seconds < warningSeconds || !isFile ? .warn : .ok, "credentials",
            "\(text), temporary, until \(time) (in \(Interval.clock(seconds: Double(seconds))))", remedy: remedy)
    }
}
