// Defects of real servers that the suite knows of: each fails, as documented, on that server and no other.

/// The named exceptions. A check that is listed here and passes is an issue too: the table must stay true.
enum Exemptions {
    /// Store name, then check name (or its beginning up to a dot), then why.
    private static let table: [String: [String: String]] = [
        "rgw": [
            "multipart.omittedParts": "wants every part that was sent in the completion",
            "multipart.completionAfterAbort": "answers 500, a completion in progress, for good",
        ],
        "ministack": [
            "multipart.refused-small": "has no smallest part",
            "failure.wrongSecret": "does not check signatures",
            "failure.wrongAccessKey": "does not check signatures",
        ],
        "seaweedfs": [
            "key.slashAtEnd": "drops the body of a key that ends with a slash",
            "key.marker": "drops the properties of a key that ends with a slash",
            "key.doubleSlash": "normalises the key",
            "key.distinct-slashes": "normalises the key",
            "key.dot": "refuses the key",
            "key.dotDot": "refuses the key",
            "key.component256": "refuses the key",
            "key.backslash": "lists the key with a slash instead",
            "key.distinct-slash": "a key cannot be beside the keys below it",
            "list.fileBesideDirectory": "a key cannot be beside the keys below it",
            "key.implicitDirectory": "keeps directories that nobody made",
            "list.emptyComponent": "normalises keys",
            "list.byteOrder": "lists directory by directory",
            "failure.missingBucket": "makes the bucket when something is put into it",
        ],
    ]

    static func reason(store: String, check: String) -> String? {
        guard let checks = table[store] else { return nil }
        if let reason = checks[check] { return reason }
        return check.firstIndex(of: ".").flatMap { checks[String(check[..<$0])] }
    }
}
