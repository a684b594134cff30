// Columns of text.

/// Rows lined up in columns two spaces apart; no row ends with spaces.
public struct TextTable: Sendable {
    public enum Alignment: Sendable {
        case left
        case right
    }

    private let alignments: [Alignment]
    private var rows: [[String]] = []

    /// Columns beyond the given alignments are set left.
    public init(_ alignments: [Alignment] = []) {
        self.alignments = alignments
    }

    public mutating func add(_ cells: [String]) {
        rows.append(cells)
    }

    /// The lines, each without a line break.
    public var lines: [String] {
        var widths: [Int] = []
        for row in rows {
            for (column, cell) in row.enumerated() {
                if column == widths.count { widths.append(0) }
                widths[column] = max(widths[column], cell.count)
            }
        }
        return rows.map { row in
            var line = ""
            for (column, cell) in row.enumerated() {
                if column > 0 { line += "  " }
                let padding = String(repeating: " ", count: widths[column] - cell.count)
                let isRight = column < alignments.count && alignments[column] == .right
                line += isRight ? padding + cell : cell + padding
            }
            while line.last == " " { line.removeLast() }
            return line
        }
    }
}
