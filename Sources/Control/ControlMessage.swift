// The protocol of the control socket: JSON objects, one a line. The client sends a request; the mount answers with any
// number of `progress` lines and one last line. Several requests may follow one another on a connection.
//
//     → {"version":1,"request":"flush","path":"run7/result.nc","timeout_seconds":30}
//     ← {"version":1,"reply":"progress","progress":{"files_left":1,"bytes_left":1048576,"bytes_per_second":90000000}}
//     ← {"version":1,"reply":"done"}
//     → {"version":1,"request":"status"}
//     ← {"version":1,"reply":"status","status":{…}}
//     ← {"version":1,"reply":"error","error":{"code":"not_found","message":"…"}}

internal import FoundationEssentials

/// The version of the protocol; a request of another one is refused.
public let controlProtocolVersion = 1

/// What a client asks.
public enum ControlRequest: Sendable, Equatable {
    case ping
    case status
    /// Path: relative to the mountpoint, or absolute. Timeout in seconds; nil waits as long as it takes.
    case flush(path: String, timeoutSeconds: Double?)
    case drain
    case refresh(path: String)
    /// Hands the mount over to another program, by its absolute path. Answered before it does.
    case upgrade(program: String)
}

/// One line of an answer.
public enum ControlReply: Sendable, Equatable {
    /// More lines follow. Sent at least every `ControlServer.heartbeatSeconds`, so that a client can tell long work from a dead
    /// mount; nil when the work has not told anything yet.
    case progress(UploadProgress?)
    /// The answer to `ping`, `flush`, `refresh` and `upgrade`.
    case done
    case status(MountStatus)
    case drained(DrainResult)
    case failed(ControlError)

    /// Whether no more lines follow for this request.
    public var isFinal: Bool {
        if case .progress = self { return false }
        return true
    }
}

extension ControlRequest: Codable {
    private enum CodingKeys: String, CodingKey {
        case version, request, path, program
        case timeoutSeconds = "timeout_seconds"
    }

    private enum Name: String, Codable {
        case ping, status, flush, drain, refresh, upgrade
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        let version = try container.decode(Int.self, forKey: .version)
        guard version == controlProtocolVersion else {
            throw ControlError(
                .unsupportedVersion,
                "this mount speaks version \(controlProtocolVersion) of the control protocol, the client version \(version)"
            )
        }
        switch try container.decode(Name.self, forKey: .request) {
        case .ping: self = .ping
        case .status: self = .status
        case .drain: self = .drain
        case .refresh: self = .refresh(path: try container.decode(String.self, forKey: .path))
        case .upgrade: self = .upgrade(program: try container.decode(String.self, forKey: .program))
        case .flush:
            let timeout = try container.decodeIfPresent(Double.self, forKey: .timeoutSeconds)
            if let timeout, !(0...1e9).contains(timeout) {
                throw ControlError(.malformed, "timeout_seconds is out of range")
            }
            self = .flush(path: try container.decode(String.self, forKey: .path), timeoutSeconds: timeout)
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(controlProtocolVersion, forKey: .version)
        switch self {
        case .ping: try container.encode(Name.ping, forKey: .request)
        case .status: try container.encode(Name.status, forKey: .request)
        case .drain: try container.encode(Name.drain, forKey: .request)
        case .refresh(let path):
            try container.encode(Name.refresh, forKey: .request)
            try container.encode(path, forKey: .path)
        case .upgrade(let program):
            try container.encode(Name.upgrade, forKey: .request)
            try container.encode(program, forKey: .program)
        case .flush(let path, let timeoutSeconds):
            try container.encode(Name.flush, forKey: .request)
            try container.encode(path, forKey: .path)
            try container.encodeIfPresent(timeoutSeconds, forKey: .timeoutSeconds)
        }
    }
}

extension ControlReply: Codable {
    private enum CodingKeys: String, CodingKey {
        case version, reply, progress, status, result, error
    }

    private enum Name: String, Codable {
        case progress, done, status, drained, error
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        switch try container.decode(Name.self, forKey: .reply) {
        case .progress: self = .progress(try container.decodeIfPresent(UploadProgress.self, forKey: .progress))
        case .done: self = .done
        case .status: self = .status(try container.decode(MountStatus.self, forKey: .status))
        case .drained: self = .drained(try container.decode(DrainResult.self, forKey: .result))
        case .error: self = .failed(try container.decode(ControlError.self, forKey: .error))
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(controlProtocolVersion, forKey: .version)
        switch self {
        case .progress(let progress):
            try container.encode(Name.progress, forKey: .reply)
            try container.encodeIfPresent(progress, forKey: .progress)
        case .done: try container.encode(Name.done, forKey: .reply)
        case .status(let status):
            try container.encode(Name.status, forKey: .reply)
            try container.encode(status, forKey: .status)
        case .drained(let result):
            try container.encode(Name.drained, forKey: .reply)
            try container.encode(result, forKey: .result)
        case .failed(let error):
            try container.encode(Name.error, forKey: .reply)
            try container.encode(error, forKey: .error)
        }
    }
}
