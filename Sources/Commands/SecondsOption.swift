// `--timeout SECONDS` of the commands that wait.

/// A span of time from the command line.
public enum SecondsOption {
    /// Nanoseconds; at most a year.
    public static func parse(_ text: String, option: String) throws(UsageError) -> UInt64 {
        UInt64(try OptionValue(text, origin: option).milliseconds()) * 1_000_000
    }
}
