// The config files of the machine and of the user, and what they say of one mount.

internal import Base

/// What `/etc/pail/config.toml` and `~/.config/pail/config.toml` say. Options and the environment go before it, and it
/// goes before the AWS profile.
public struct Configuration: Sendable, Equatable {
    /// The system's first: a later file goes before an earlier one.
    private let files: [ConfigFile]
    private let home: String?

    /// A mount as the files describe it.
    public struct Mount: Sendable, Equatable {
        /// `s3://BUCKET[/PREFIX]`, as written.
        public let source: String
        /// Nil when the command line has to name it.
        public let mountpoint: String?
    }

    /// Reads the files that exist. Touches the file system.
    /// - Throws: one line on the first thing that is wrong in them; a broken file is never passed over.
    public init(_ environment: LaunchEnvironment) throws(UsageError) {
        var files: [ConfigFile] = []
        for path in Self.paths(environment) {
            if let text = try ConfigText.read(path) { files.append(try ConfigFile(text, path: path)) }
        }
        self.init(files: files, home: environment.home)
    }

    init(files: [ConfigFile], home: String?) {
        self.files = files
        self.home = home
    }

    /// The system's file, then the user's (XDG Base Directory Specification: a relative value is to be ignored).
    static func paths(_ environment: LaunchEnvironment) -> [String] {
        var paths = ["/etc/pail/config.toml"]
        if let (_, base) = environment.first("XDG_CONFIG_HOME"), base.hasPrefix("/") {
            paths.append("\(base)/pail/config.toml")
        } else if let home = environment.home, home.hasPrefix("/") {
            paths.append("\(home)/.config/pail/config.toml")
        }
        return paths
    }

    /// The mount called `name`; of two files that have it, the user's, whole.
    /// - Throws: when there is none; the line names the nearest.
    public func mount(named name: String) throws(UsageError) -> Mount {
        guard let (file, found) = find(name) else {
            let known = files.flatMap { $0.mounts.keys }
            let hint = NearestName.hint(name, among: known)
            throw UsageError(
                "no config file has [mounts.\(LogLine.escaped(name))]; "
                    + "a bucket is mounted with: pail mount s3://BUCKET MOUNTPOINT\(hint)")
        }
        let place = "'mountpoint' of [mounts.\(name)] in \(file.path)"
        return Mount(
            source: found.source,
            mountpoint: try found.mountpoint.map { path throws(UsageError) in try absolute(path, place) })
    }

    /// Whether a mount is called so.
    public func hasMount(named name: String) -> Bool { find(name) != nil }

    /// Options from the defaults, and from the mount of that name if one is given. What the environment says otherwise
    /// is left out: it goes before the files.
    public func options(
        forMount name: String?, environment: LaunchEnvironment
    ) throws(UsageError) -> MountOptions {
        var options = MountOptions()
        var settled: [MountOptionName: (ConfigFile.Settings.Value, origin: String)] = [:]
        func take(_ settings: ConfigFile.Settings, _ section: String, of file: ConfigFile) throws(UsageError) {
            for (option, value) in settings.options {
                settled[option] = (value, "'\(option.rawValue)' of \(section) in \(file.path)")
            }
            for item in settings.list { try options.set(list: item) }
        }
        for file in files { try take(file.defaults, "[defaults]", of: file) }
        if let name, let (file, mount) = find(name) { try take(mount.settings, "[mounts.\(name)]", of: file) }
        for (option, (value, origin)) in settled.sorted(by: { $0.key.rawValue < $1.key.rawValue })
        where !environment.says(option) {
            switch value {
            case .flag(true): try options.set(option, origin: origin)
            case .flag(false): break
            case .text(let text): try options.set(option, try resolved(text, of: option, origin), origin: origin)
            }
        }
        return options
    }

    private func find(_ name: String) -> (ConfigFile, ConfigFile.NamedMount)? {
        for file in files.reversed() {
            if let mount = file.mounts[name] { return (file, mount) }
        }
        return nil
    }

    private func resolved(
        _ text: String, of option: MountOptionName, _ origin: String
    ) throws(UsageError) -> String {
        option.isPath ? try absolute(text, origin) : text
    }

    /// A path in a file must not depend on where somebody stands.
    private func absolute(_ text: String, _ origin: String) throws(UsageError) -> String {
        if text.hasPrefix("/") { return text }
        guard text == "~" || text.hasPrefix("~/"), let home else {
            throw UsageError("\(origin) must begin with / or ~/, not '\(text)'")
        }
        return home + text.dropFirst()
    }
}

extension MountOptionName {
    /// Whether its value names a file or directory.
    var isPath: Bool {
        switch self {
        case .caBundle, .cacheDirectory, .stateDirectory, .logFile, .customerKeyFile: true
        default: false
        }
    }
}

extension LaunchEnvironment {
    /// Whether a variable says what the option would.
    func says(_ option: MountOptionName) -> Bool {
        switch option {
        case .endpoint: first("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL") != nil
        case .region: first("AWS_REGION", "AWS_DEFAULT_REGION") != nil
        // Keys of the environment go before any profile that no option names.
        case .profile: first("AWS_PROFILE", "AWS_ACCESS_KEY_ID") != nil
        case .caBundle: first("AWS_CA_BUNDLE") != nil
        case .cacheDirectory: first("PAIL_CACHE_DIR") != nil
        case .stateDirectory: first("PAIL_STATE_DIR") != nil
        default: false
        }
    }
}
