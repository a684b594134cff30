// What answers to conditional requests teach of a server.

import Testing

@testable import ObjectStore

struct ConditionStateTests {
    /// Many writers that are refused at once because of the spelling have seen one thing, not one each.
    @Test func regression_refusalsThatWereSentAtOnceAreOne() {
        var state = ConditionState(support: .unknown)
        let quoted = state
        for _ in 0..<12 { state.noteVainRefusal(of: quoted, hasSpellings: true) }
        #expect(state.support == .unknown && !state.isQuoted)
        let bare = state
        state.noteAccepted(isQuoted: false)
        for _ in 0..<12 { state.noteVainRefusal(of: bare, hasSpellings: true) }
        #expect(state.support == .unknown && !state.isQuoted)
    }

    @Test func twoRefusalsInEachSpellingAreAServerThatCannot() {
        var state = ConditionState(support: .unknown)
        for index in 0..<4 {
            #expect(state.support == .unknown && state.isQuoted == (index % 2 == 0))
            let known = state
            for _ in 0..<3 { state.noteVainRefusal(of: known, hasSpellings: true) }
        }
        #expect(state.support == .broken)
    }
}
