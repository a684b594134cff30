// A home directory of a test's own.

import Credentials
import Glibc

/// Has `.aws/`; removed with this object.
final class TemporaryHome: Sendable {
    let path: String

    init(credentials: String? = nil, config: String? = nil) {
        var template = Array("/tmp/pail-home-XXXXXX".utf8CString)
        path = String(cString: mkdtemp(&template))
        mkdir(path + "/.aws", 0o700)
        if let credentials { write(credentials, to: "credentials") }
        if let config { write(config, to: "config") }
    }

    deinit {
        for name in ["credentials", "config", "other"] { unlink("\(path)/.aws/\(name)") }
        rmdir(path + "/.aws/credentials")
        rmdir(path + "/.aws")
        rmdir(path)
    }

    func environment(_ variables: [String: String] = [:]) -> ProcessEnvironment {
        ProcessEnvironment(variables: variables, homeDirectory: path)
    }

    func write(_ text: String, to name: String) {
        let file = fopen("\(path)/.aws/\(name)", "w")!
        fputs(text, file)
        fclose(file)
    }

    func remove(_ name: String) { unlink("\(path)/.aws/\(name)") }

    /// Something that exists and cannot be read, whoever asks.
    func makeDirectory(_ name: String) { mkdir("\(path)/.aws/\(name)", 0o700) }
}
