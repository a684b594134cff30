// The order of opens and what it foretells, as tables.

import Testing

@testable import FileSystem

@Suite(.timeLimit(.minutes(3)))
struct SiblingPatternTests {
    static let small = SiblingPattern.Parameters(
        proofCount: 3, unorderedCount: 6, recentCount: 12, depthMin: 2, depthMax: 4, depthGrowth: 2, runCountMax: 2,
        slack: 2,
        missCountMax: 4)

    struct Case: CustomTestStringConvertible {
        let name: String
        var count = 100
        /// Opens, each with the files that it makes wanted.
        let opens: [(Int, [Int])]
        var testDescription: String { name }
    }

    static let cases = [
        Case(name: "two are no proof", opens: [(4, []), (5, [])]),
        Case(name: "the third in a row", opens: [(4, []), (5, []), (6, [7, 8])]),
        Case(name: "backward", opens: [(9, []), (8, []), (7, [6, 5]), (6, [4])]),
        Case(name: "random gets nothing", opens: [(4, []), (50, []), (9, []), (77, []), (20, []), (61, []), (3, [])]),
        Case(name: "the same again is nothing new", opens: [(4, []), (4, []), (4, []), (5, []), (5, [])]),
        Case(
            name: "the depth grows with what is used",
            opens: [(0, []), (1, []), (2, [3, 4]), (3, [5]), (4, [6, 7, 8]), (5, [9]), (6, [10])]),
        Case(name: "the end of the directory", count: 5, opens: [(0, []), (1, []), (2, [3, 4]), (3, []), (4, [])]),
        Case(name: "the beginning, backward", opens: [(3, []), (2, []), (1, [0]), (0, [])]),
        Case(name: "two threads out of order", opens: [(1, []), (0, []), (2, [3, 4]), (4, [5, 6]), (3, [7, 8])]),
        Case(name: "in the middle of its neighbours there is no direction", opens: [(4, []), (6, []), (5, [])]),
        Case(
            name: "one of many readers",
            opens: [(0, []), (50, []), (60, []), (70, []), (1, []), (51, []), (61, []), (71, []), (2, [3, 4])]),
        Case(
            name: "neighbours long ago, in no order",
            opens: [(1, []), (50, []), (60, []), (70, []), (0, []), (52, []), (62, []), (72, []), (2, [])]),
        Case(
            name: "two readers",
            opens: [
                (0, []), (50, []), (1, []), (51, []), (2, [3, 4]), (52, [53, 54]), (3, [5]), (53, [55]),
            ]),
        Case(name: "a jump over some goes on", opens: [(0, []), (1, []), (2, [3, 4]), (5, [6, 7]), (6, [8])]),
    ]

    @Test(arguments: cases)
    func table(_ row: Case) {
        var pattern = SiblingPattern(Self.small)
        for (position, expected) in row.opens {
            let advice = pattern.opened(position, of: row.count)
            #expect(advice.fetch == expected, "open of \(position)")
        }
    }

    private func opens(_ pattern: inout SiblingPattern, _ positions: [Int]) -> [SiblingPattern.Advice] {
        var advice: [SiblingPattern.Advice] = []
        for position in positions { advice.append(pattern.opened(position, of: 1000)) }
        return advice
    }

    @Test func useIsCounted() {
        var pattern = SiblingPattern(Self.small)
        let advice = opens(&pattern, [0, 1, 2, 3, 4, 9])
        #expect(advice.map(\.isUse) == [false, false, false, true, true, false])
    }

    /// A reader that goes elsewhere ends its run; what was fetched in vain is counted, and the next proof is longer.
    @Test func aWrongRunStopsAndIsBelievedLessNextTime() {
        var pattern = SiblingPattern(Self.small)
        _ = opens(&pattern, [0, 1, 2])
        #expect(pattern.aheadCount == 2)
        #expect(opens(&pattern, [100, 300, 200, 500]).map(\.wastedCount) == [0, 0, 0, 2])
        #expect(pattern.aheadCount == 0)
        let again = opens(&pattern, Array(700..<706)).map(\.fetch.isEmpty)
        #expect(again == [true, true, true, true, true, false], "six neighbours now")
    }

    @Test func aRunThatWasUsefulIsBelievedAsBefore() {
        var pattern = SiblingPattern(Self.small)
        _ = opens(&pattern, Array(0..<20) + [100, 300, 200, 500])
        #expect(opens(&pattern, [700, 701, 702]).map(\.fetch.isEmpty) == [true, true, false])
    }

    @Test func whatCouldNotBeHadIsAskedForAgain() {
        var pattern = SiblingPattern(Self.small)
        #expect(opens(&pattern, [0, 1, 2]).last?.fetch == [3, 4])
        pattern.retreat(to: 3)
        #expect(pattern.aheadCount == 0)
        #expect(opens(&pattern, [3]).last?.fetch == [4, 5])
    }

    /// 16 threads that take files from one list: nearly all are foretold, none twice.
    @Test func manyThreadsOnOneList() {
        var pattern = SiblingPattern()
        var foretold: [Int] = []
        var useCount = 0
        for group in 0..<20 {
            // Each group of 16 arrives in an order of its own.
            for index in 0..<16 {
                let advice = pattern.opened(group * 16 + (index * 7 + group) % 16, of: 320)
                foretold += advice.fetch
                if advice.isUse { useCount += 1 }
            }
        }
        #expect(Set(foretold).count == foretold.count)
        #expect(useCount > 280, "\(useCount) of 320")
    }

    enum Event { case asks, file, absent, opened }

    /// Each question with whether it brings bytes along.
    @Test(arguments: [
        ([Event.asks, .file, .opened, .asks, .file, .opened, .asks], [true, true, true]),
        ([.asks, .file, .asks, .asks, .opened, .asks], [true, false, false, true]),
        ([.asks, .absent, .asks, .absent, .asks], [true, true, true]),
        // Two at once: eight may wait.
        (
            [.asks, .asks, .file, .file] + (0..<6).flatMap { _ in [Event.asks, .file] } + [.asks, .opened, .asks],
            [Bool](repeating: true, count: 8) + [false, true]
        ),
    ])
    func lookups(_ events: [Event], _ expected: [Bool]) {
        var lookups = LookupPattern()
        var answers: [Bool] = []
        for event in events {
            switch event {
            case .asks: answers.append(lookups.asks())
            case .file: lookups.answered(isFile: true)
            case .absent: lookups.answered(isFile: false)
            case .opened: lookups.opened()
            }
        }
        #expect(answers == expected)
    }
}
