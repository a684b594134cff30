// Blocking work on threads of its own: local disks must not hold up the cooperative pool or a thread of the transport.

internal import Glibc

/// A few named threads that run jobs in order of arrival, and a bounded queue before them. Thread-safe.
///
/// When the last reference dies the threads end, after the jobs that are queued.
public final class WorkThreads: Sendable {
    /// SAFETY: `@unchecked Sendable` because every `var` is touched only under `mutex`.
    private final class Core: @unchecked Sendable {
        let mutex: UnsafeMutablePointer<pthread_mutex_t> = .allocate(capacity: 1)
        let wake: UnsafeMutablePointer<pthread_cond_t> = .allocate(capacity: 1)
        /// Nil once taken: what a closure holds must not live on here.
        var jobs: [(@Sendable () -> Void)?] = []
        var first = 0
        var isEnding = false

        init() {
            pthread_mutex_init(mutex, nil)
            pthread_cond_init(wake, nil)
        }

        deinit {
            pthread_cond_destroy(wake)
            pthread_mutex_destroy(mutex)
            wake.deallocate()
            mutex.deallocate()
        }

        func locked<Result>(_ body: () -> Result) -> Result {
            pthread_mutex_lock(mutex)
            defer { pthread_mutex_unlock(mutex) }
            return body()
        }

        /// Waits for a job; nil when there will be none.
        func next() -> (@Sendable () -> Void)? {
            locked {
                while first == jobs.count {
                    if isEnding { return nil }
                    pthread_cond_wait(wake, mutex)
                }
                let job = jobs[first]
                jobs[first] = nil
                first += 1
                if first * 2 > jobs.count {
                    jobs.removeFirst(first)
                    first = 0
                }
                return job
            }
        }
    }

    private let core = Core()
    private let queueCountMax: Int

    /// - Parameters:
    ///   - name: of the threads; at most 15 bytes are kept.
    ///   - queueCountMax: jobs that may wait.
    public init(name: String, threadCount: Int, queueCountMax: Int) {
        precondition(threadCount > 0 && queueCountMax > 0, "threads and room for a job")
        self.queueCountMax = queueCountMax
        for _ in 0..<threadCount {
            NamedThread.start(name) { [core] in
                while let job = core.next() { job() }
            }
        }
    }

    deinit {
        core.locked {
            core.isEnding = true
            pthread_cond_broadcast(core.wake)
        }
    }

    /// Queues a job; false, changing nothing, when the queue is full.
    public func submit(_ job: @escaping @Sendable () -> Void) -> Bool {
        core.locked {
            guard core.jobs.count - core.first < queueCountMax else { return false }
            core.jobs.append(job)
            pthread_cond_signal(core.wake)
            return true
        }
    }
}
