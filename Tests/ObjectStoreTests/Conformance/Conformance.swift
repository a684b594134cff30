// The contract of `ObjectStore`, as tests that every store must pass.

import Testing

/// All checks; each runs on every store, and is named for the exemption table.
@Suite(ConformanceReport())
enum Conformance {}
