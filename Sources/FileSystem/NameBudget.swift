// How many names a mount holds in memory, and which go when it is too many.

internal import DequeModule

/// The order in which nodes and listings came, and when there are too many of them. A value of the tree's, guarded with it.
///
/// A node lives as long as the kernel refers to it, and the kernel refers to all that it has ever looked up until its own
/// memory is short. So the oldest are taken back by telling the kernel to forget their names: what is in use stays, and
/// comes round again. Listings are dropped, the oldest first; they cost a request when they are wanted again.
struct NameBudget {
    struct ListingMark {
        let node: UInt64
        /// Which listing of that directory it was; monotonic nanoseconds.
        let startedAt: UInt64
        let count: Int
    }

    let nodeCountMax: Int
    let listedNameCountMax: Int
    private var nodes: Deque<UInt64> = []
    private var listings: Deque<ListingMark> = []
    /// Names in all `listings`.
    private(set) var listedNameCount = 0

    /// How many nodes are looked at for each that comes: more than one, so that those in use, and directories, do not stop it.
    static let looksPerNode = 4

    init(nodeCountMax: Int, listedNameCountMax: Int) {
        self.nodeCountMax = nodeCountMax
        self.listedNameCountMax = listedNameCountMax
    }

    /// A node has come.
    mutating func added(_ number: UInt64) {
        nodes.append(number)
    }

    /// The oldest node, to be given up or to be `kept`, where there are too many of them; it may be gone by itself.
    mutating func next(of count: Int) -> UInt64? {
        // What is gone by itself does not gather here.
        guard count > nodeCountMax || nodes.count > 2 * nodeCountMax else { return nil }
        return nodes.count > 1 ? nodes.removeFirst() : nil
    }

    /// A node that was looked at is still there.
    mutating func kept(_ number: UInt64) { nodes.append(number) }

    /// A directory was listed. Returns the listings to drop: never this one.
    mutating func listed(_ mark: ListingMark) -> [ListingMark] {
        listings.append(mark)
        listedNameCount += mark.count
        var result: [ListingMark] = []
        while listedNameCount > listedNameCountMax, listings.count > 1 {
            let oldest = listings.removeFirst()
            listedNameCount -= oldest.count
            result.append(oldest)
        }
        return result
    }
}
