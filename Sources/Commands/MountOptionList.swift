// The list after `-o`, as mount(8) and fstab write it.

/// Splitting of `-o OPT[,OPT...]`.
enum MountOptionList {
    /// The items, in order; empty ones are dropped. A backslash takes the next character literally, so a value may hold
    /// a comma (`\,`) or a backslash (`\\`).
    static func split(_ text: String) throws(UsageError) -> [String] {
        var items: [String] = []
        var item = ""
        var escaped = false
        for character in text {
            if escaped {
                item.append(character)
                escaped = false
            } else if character == "\\" {
                escaped = true
            } else if character == "," {
                items.append(item)
                item = ""
            } else {
                item.append(character)
            }
        }
        if escaped { throw UsageError("-o ends with a single backslash: '\(text)'") }
        items.append(item)
        return items.filter { !$0.isEmpty }
    }

    /// `name=value` or `name`.
    static func pair(_ item: String) -> (name: String, value: String?) {
        guard let equals = item.firstIndex(of: "=") else { return (item, nil) }
        return (String(item[..<equals]), String(item[item.index(after: equals)...]))
    }
}
