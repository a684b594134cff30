// The version of pail.

public enum Version {
    /// By semantic versioning; the newest entry of CHANGELOG.md.
    public static let current = "0.1.0"
}
