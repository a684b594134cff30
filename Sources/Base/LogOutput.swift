// The process's log: a backend for swift-log whose destination and level can change while it runs.

public import Logging
internal import Synchronization

/// Receives the records of every `Logger` of the process. Thread-safe.
///
/// Call `bootstrap` once, first thing in `main`; loggers made earlier keep swift-log's default.
public final class LogOutput: Sendable {
    /// The one that `bootstrap` installs. Starts on standard error, at `warning`.
    public static let shared = LogOutput(sink: .standardError, level: .warning)

    private struct State {
        var sink: LogSink
        var level: Logger.Level
        var repeats: LogRepeats
    }

    private let debugging = Atomic<Bool>(false)
    // Nothing is written while this is held.
    private let state: Lock<State>
    private let time: any TimeSource

    init(sink: LogSink, level: Logger.Level, time: any TimeSource = SystemTime()) {
        state = Lock(State(sink: sink, level: level, repeats: LogRepeats()))
        debugging.store(level <= .debug, ordering: .relaxed)
        self.time = time
    }

    /// Makes `shared` the backend of every `Logger` made from now on. Traps when called twice.
    public static func bootstrap() {
        LoggingSystem.bootstrap { label in LogHandlerToOutput(component: label, output: shared) }
    }

    /// Records below it are dropped. Takes effect at once, for every logger.
    public var level: Logger.Level {
        get { state.withLock { $0.level } }
        set {
            state.withLock { $0.level = newValue }
            debugging.store(newValue <= .debug, ordering: .relaxed)
        }
    }

    /// Whether debug records are written. As cheap as reading a number, for hot paths.
    public var isDebugging: Bool { debugging.load(ordering: .relaxed) }

    /// Opens the file again under the same descriptor, after somebody moved it away (logrotate).
    /// - Returns: false with `errno` when it cannot be; then the old one stays.
    public func reopen(_ path: String) -> Bool {
        state.withLock { $0.sink }.reopen(path)
    }

    /// Sends all further records elsewhere.
    public func redirect(to sink: LogSink) {
        flush()
        state.withLock { $0.sink = sink }
    }

    /// Tells what was held back as repeats. For the end of the process.
    public func flush() {
        let (sink, summaries) = state.withLock { ($0.sink, $0.repeats.drain()) }
        tell(summaries, to: sink)
    }

    func record(
        level: Logger.Level, component: String, message: String, metadata: [(key: String, value: String)]
    ) {
        let body = LogLine.body(level: level, component: component, message: message, metadata: metadata)
        let moment = time.monotonicNanoseconds
        let (sink, verdict) = state.withLock { ($0.sink, $0.repeats.admit(body, at: moment)) }
        tell(verdict.summaries, to: sink)
        if verdict.write { sink.write(body, level: level, now: time.now) }
    }

    private func tell(_ summaries: [LogRepeats.Summary], to sink: LogSink) {
        for summary in summaries {
            let times = summary.count == 1 ? "once more" : "\(summary.count) more times"
            sink.write("info log: repeated \(times): \(summary.body)", level: .info, now: time.now)
        }
    }
}

/// One logger's way into a `LogOutput`.
struct LogHandlerToOutput: LogHandler {
    private let component: String
    private let output: LogOutput
    private var ownLevel: Logger.Level?
    var metadata: Logger.Metadata = [:]

    init(component: String, output: LogOutput) {
        self.component = component
        self.output = output
    }

    /// The output's level, unless this logger was given its own.
    var logLevel: Logger.Level {
        get { ownLevel ?? output.level }
        set { ownLevel = newValue }
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let merged = metadata.merging(event.metadata ?? [:]) { $1 }
        var fields = merged.sorted { $0.key < $1.key }.map { (key: $0.key, value: "\($0.value)") }
        if let error = event.error { fields.append((key: "error", value: "\(error)")) }
        output.record(level: event.level, component: component, message: "\(event.message)", metadata: fields)
    }
}
