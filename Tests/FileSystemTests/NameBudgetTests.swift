// What a mount holds of names does not grow with what was looked at.

import Base
import MemoryStore
import Testing

@testable import FileSystem

@Suite(.timeLimit(.minutes(5)))
struct NameBudgetTests {
    /// A kernel that keeps every name it has looked up until it is told to forget it: one of Linux 6.2 or later, which keeps
    /// those that are only expired.
    private final class Kernel: Sendable {
        private struct Name: Hashable {
            let parent: UInt64
            let name: String
        }

        private let fileSystem: FileSystem
        private let names = Lock<[Name: UInt64]>([:])

        init(_ fileSystem: FileSystem) {
            self.fileSystem = fileSystem
            fileSystem.onInvalidation { [self] changes in for change in changes { forget(change) } }
        }

        var count: Int { names.withLock { $0.count } }

        func lookup(_ parent: UInt64, _ name: String) async throws -> UInt64 {
            let status = try await fileSystem.lookup(parent: parent, name: name).get()
            let known = names.withLock { $0.updateValue(status.number, forKey: Name(parent: parent, name: name)) }
            if let known { fileSystem.forget(known, count: 1) }
            return status.number
        }

        private func forget(_ change: KernelInvalidation) {
            guard case .takeBack(let parent, let name) = change,
                let number = names.withLock({ $0.removeValue(forKey: Name(parent: parent, name: name)) })
            else { return }
            fileSystem.forget(number, count: 1)
        }
    }

    private func listedNames(_ fileSystem: FileSystem) -> Int {
        fileSystem.tree.withLock { tree in tree.all.reduce(0) { $0 + ($1.directory?.listing?.entries.count ?? 0) } }
    }

    @Test func aWalkHoldsNoMoreThanItsLimits() async throws {
        let (directories, files, nodeMax, listedMax) = (300, 20, 200, 500)
        let mount = try Mount {
            $0.attributePolicy = .listing
            $0.nodeCountMax = nodeMax
            $0.listedNameCountMax = listedMax
        }
        for directory in 0..<directories {
            for file in 0..<files { mount.store.write("x", at: "d\(directory)/f\(file)") }
        }
        let kernel = Kernel(mount.fileSystem)
        var (found, nodePeak, listedPeak) = (0, 0, 0)
        for _ in 0..<2 {
            for top in try await mount.names("").sorted() {
                let number = try await kernel.lookup(Tree.rootNumber, top)
                for name in try await mount.names(top) {
                    _ = try await kernel.lookup(number, name)
                    found += 1
                }
                nodePeak = max(nodePeak, mount.fileSystem.tree.withLock { $0.all.count })
                listedPeak = max(listedPeak, listedNames(mount.fileSystem))
            }
        }
        #expect(found == 2 * directories * files)
        // The directories above what is in use come beside; and the listing in use may be larger than the limit.
        #expect(nodePeak <= nodeMax + directories + 2 * files, "\(nodePeak) nodes")
        #expect(listedPeak <= listedMax + directories, "\(listedPeak) names listed")
    }

    @Test func whatIsInUseStays() async throws {
        let mount = try Mount {
            $0.attributePolicy = .listing
            $0.nodeCountMax = 10
        }
        for index in 0..<100 { mount.store.write("text \(index)", at: "f\(index)") }
        let kernel = Kernel(mount.fileSystem)
        let open = try await mount.open("f0")
        let pending = try await mount.create("new")
        try await mount.write(pending, [1, 2, 3], at: 0)
        for index in 1..<100 { _ = try await kernel.lookup(Tree.rootNumber, "f\(index)") }
        #expect(kernel.count <= 15, "the limit, and a few that were looked at since")
        #expect(try await mount.readAll(open) == Array("text 0".utf8))
        try await mount.close(open)
        try await mount.close(pending)
        #expect(try await mount.read("new") == [1, 2, 3])
    }

    /// Directories are only expired: somebody may work in one.
    @Test func regression_directoriesKeepTheirPlace() async throws {
        let mount = try Mount {
            $0.attributePolicy = .listing
            $0.nodeCountMax = 10
        }
        for index in 0..<40 { mount.store.write("x", at: index % 2 == 0 ? "f\(index)" : "d\(index)/f") }
        let told = Lock<[KernelInvalidation]>([])
        mount.fileSystem.onInvalidation { changes in told.withLock { $0 += changes } }
        for name in try await mount.names("") {
            _ = try await mount.fileSystem.lookup(parent: Tree.rootNumber, name: name).get()
        }
        let (expired, takenBack) = told.withLock { changes in
            (
                changes.compactMap { if case .entry(_, let name) = $0 { name } else { nil } },
                changes.compactMap { if case .takeBack(_, let name) = $0 { name } else { nil } }
            )
        }
        #expect(!expired.isEmpty && expired.allSatisfy { $0.hasPrefix("d") })
        #expect(!takenBack.isEmpty && takenBack.allSatisfy { $0.hasPrefix("f") })
    }

    /// The millionth invalidation is as near to who tells the kernel as the first: calls that nest would fill the stack.
    @Test func regression_invalidationsDoNotNest() throws {
        let mount = try Mount()
        let places = Lock<[Int]>([])
        mount.fileSystem.onInvalidation { _ in
            var here = 0
            let place = withUnsafeMutablePointer(to: &here) { Int(bitPattern: $0) }
            places.withLock { $0.append(place) }
        }
        for _ in 0..<1000 { mount.fileSystem.refresh(path: "") }
        let found = places.withLock { $0 }
        #expect(found.count == 1000 && found.max()! - found.min()! < 4096)
    }

    /// The inode numbers that a mount remembers of a directory go with its listing, and with the names.
    @Test func regression_inodeNumbersGoWithTheListing() async throws {
        let mount = try Mount(remembers: true) { $0.listedNameCountMax = 30 }
        for index in 0..<20 { try await mount.symlink("a\(index)", to: "x") }
        try await mount.makeDirectory("d")
        for index in 0..<20 { try await mount.symlink("d/f\(index)", to: "x") }
        try await mount.remount()
        try await mount.withNode("d") { status in
            func count() -> Int {
                mount.fileSystem.tree.withLock { $0[status.number]?.directory?.inodes.count ?? -1 }
            }
            _ = try await mount.names("d")
            #expect(count() == 20)
            for index in 0..<5 { mount.store.remove(at: "d/f\(index)") }
            mount.expire()
            _ = try await mount.names("d")
            #expect(count() == 15)
            mount.expire()
            _ = try await mount.names("")
            #expect(count() == 0)
        }
    }

    @Test func theOldestListingsGo() {
        var budget = NameBudget(nodeCountMax: 10, listedNameCountMax: 100)
        func mark(_ node: UInt64, _ count: Int) -> NameBudget.ListingMark {
            .init(node: node, startedAt: 1, count: count)
        }
        #expect(budget.listed(mark(1, 60)).isEmpty)
        #expect(budget.listed(mark(2, 40)).isEmpty)
        #expect(budget.listed(mark(3, 50)).map(\.node) == [1])
        #expect(budget.listed(mark(4, 500)).map(\.node) == [2, 3], "one alone may be larger")
        #expect(budget.listed(mark(5, 1)).map(\.node) == [4])
    }
}
