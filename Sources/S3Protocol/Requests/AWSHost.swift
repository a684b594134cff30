// The pattern of AWS's S3 host names (<https://docs.aws.amazon.com/general/latest/gr/s3.html>).

/// `s3[-fips][.dualstack].REGION.amazonaws.com[.cn]`, and the old forms `s3.amazonaws.com` and `s3-REGION.amazonaws.com`.
struct AWSHost: Sendable, Hashable {
    /// Nil in the global name.
    var region: String?
    var isDualStack: Bool
    var isFIPS: Bool

    init(region: String, isDualStack: Bool, isFIPS: Bool) {
        self.region = region
        self.isDualStack = isDualStack
        self.isFIPS = isFIPS
    }

    /// Nil for any other host, AWS's private ones (VPC endpoints) among them.
    init?(parsing host: String) {
        let suffix = host.hasSuffix(".amazonaws.com.cn") ? ".amazonaws.com.cn" : ".amazonaws.com"
        guard host.hasSuffix(suffix) else { return nil }
        var labels = host.dropLast(suffix.utf8.count).split(separator: ".", omittingEmptySubsequences: false)[...]
        guard let service = labels.popFirst() else { return nil }
        isFIPS = service == "s3-fips"
        isDualStack = labels.first == "dualstack"
        if isDualStack { labels = labels.dropFirst() }
        if service == "s3" || isFIPS {
            guard labels.count <= 1, labels.first.map({ $0 != "" && $0 != "vpce" }) ?? !isDualStack else { return nil }
            region = labels.first.map(String.init)
        } else if service.hasPrefix("s3-"), labels.isEmpty, service != "s3-external-1", service != "s3-accelerate" {
            region = String(service.dropFirst(3))
        } else {
            return nil
        }
    }

    var name: String {
        let middle = (isFIPS ? "s3-fips" : "s3") + (isDualStack ? ".dualstack" : "")
        guard let region else { return "\(middle).amazonaws.com" }
        return "\(middle).\(region).amazonaws.com" + (region.hasPrefix("cn-") ? ".cn" : "")
    }
}
