// The doctor, on stores and machines with known illnesses.

import Base
import Glibc
import MemoryStore
import Mounts
import ObjectModel
import ObjectStore
import Testing

@testable import Commands

@Suite(.timeLimit(.minutes(3)))
struct ExaminationTests {
    static func findings(_ store: any ObjectStore, time: SimulatedTime = SimulatedTime()) async -> [String:
        DoctorFinding]
    {
        let found = Lock([String: DoctorFinding]())
        await StoreExamination(store: store, prefix: "p/", token: "x1", time: time).run { finding in
            found.withLock { $0[finding.subject] = finding }
        }
        return found.withLock { $0 }
    }

    static func isClean(_ store: MemoryStore) async throws -> Bool {
        try await store.list(ListRequest(prefix: "", delimited: false)).objects.isEmpty
    }

    @Test func aGoodStore() async throws {
        let store = MemoryStore()
        let found = await Self.findings(store)
        let subjects = [
            "list", "write", "read", "conditional put", "copy", "conditional copy", "part copy", "conditional complete",
            "multipart", "checksums", "metadata", "versions", "names", "delete",
        ]
        for subject in subjects { #expect(found[subject]?.grade == .ok, "\(subject): \(found[subject]?.text ?? "-")") }
        #expect(found.count == subjects.count)
        #expect(try await Self.isClean(store))
    }

    @Test func aStoreWithoutConditions() async throws {
        var capabilities = StoreCapabilities()
        capabilities.conditionalPut = false
        capabilities.conditionalComplete = false
        capabilities.partCopy = false
        let store = MemoryStore(capabilities: capabilities)
        let found = await Self.findings(store)
        for subject in ["conditional put", "conditional complete", "part copy"] {
            #expect(found[subject]?.grade == .warn, "\(subject): \(found[subject]?.text ?? "-")")
        }
        for subject in ["list", "write", "read", "copy", "conditional copy", "multipart", "delete"] {
            #expect(found[subject]?.grade == .ok, "\(subject): \(found[subject]?.text ?? "-")")
        }
        #expect(try await Self.isClean(store))
    }

    @Test(arguments: [
        (StoreOperation.putObject, "write", DoctorFinding.Grade.warn), (.listObjects, "list", .fail),
        (.getObject, "read", .fail), (.copyObject, "copy", .fail), (.createUpload, "multipart", .fail),
        (.completeUpload, "conditional complete", .warn), (.uploadPartCopy, "part copy", .warn),
        (.deleteObject, "delete", .fail),
    ])
    func whatIsDeniedIsNamed(operation: StoreOperation, subject: String, grade: DoctorFinding.Grade) async {
        let store = MemoryStore()
        store.setFaults(FaultPlan().adding(.accessDenied, on: operation, when: .always))
        let found = await Self.findings(store)
        #expect(found[subject]?.grade == grade, "\(found[subject]?.text ?? "-")")
        #expect(found[subject]?.remedy != nil)
    }

    @Test(arguments: [("/dev/null", DoctorFinding.Grade.ok), ("/nonexistent", .fail)])
    func theFuseDevice(path: String, grade: DoctorFinding.Grade) {
        var found: [DoctorFinding] = []
        let fuse = FuseEnvironment(
            devicePath: path, configurationPath: "/nonexistent", programDirectories: [], userID: 1000)
        MachineExamination.run(
            fuse, stateDirectory: "/nonexistent/a/b", cacheDirectory: "/nonexistent/c", cacheFreePercent: 0
        ) { found.append($0) }
        #expect(
            found.map(\.subject)
                == ["fuse device", "fusermount3", "user_allow_other", "state directory", "cache directory"])
        #expect(found[0].grade == grade)
        #expect(found[1].grade == .fail)
        #expect(found[2].grade == .warn)
        #expect(!found[3].text.hasPrefix("0 B"))
        #expect(found[4].grade == .ok && found[4].text.contains("/nonexistent/c"))
    }

    @Test(
        arguments: [
            (0o755, UInt32(1000), DoctorFinding.Grade.fail), (0o4755, 1000, .ok), (0o755, 0, .ok),
        ] as [(UInt32, UInt32, DoctorFinding.Grade)])
    func fusermountNeedsItsBit(mode: UInt32, userID: UInt32, grade: DoctorFinding.Grade) {
        let directory = "/tmp/pail-doctor-\(getpid())-\(mode)-\(userID)"
        mkdir(directory, 0o755)
        close(open("\(directory)/fusermount3", O_CREAT | O_WRONLY, 0o755))
        chmod("\(directory)/fusermount3", mode)
        defer {
            unlink("\(directory)/fusermount3")
            rmdir(directory)
        }
        var found: [DoctorFinding] = []
        MachineExamination.run(
            FuseEnvironment(programDirectories: [directory], userID: userID), stateDirectory: "/", cacheDirectory: "",
            cacheFreePercent: 100
        ) { found.append($0) }
        #expect(found[1].grade == grade && found.last?.subject == "state directory")
    }

    /// Where less is free than the cache has to leave, nothing would be written to it.
    @Test func aCacheWithoutRoomIsTold() {
        var found: [DoctorFinding] = []
        MachineExamination.run(
            FuseEnvironment(), stateDirectory: "/", cacheDirectory: "/nonexistent", cacheFreePercent: 100
        ) { found.append($0) }
        #expect(found.last?.grade == .warn && found.last?.remedy?.contains("--cache-free") == true)
    }
}
