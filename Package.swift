// swift-tools-version: 6.1
import PackageDescription

/// Settings of every target of ours: imports are internal unless said otherwise, each file imports what it
/// uses, existentials are spelled out, and a warning is an error.
let strict: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .unsafeFlags(["-warnings-as-errors"]),
]

let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let toml = Target.Dependency.product(name: "TOMLKit", package: "TOMLKit")
let collections = Target.Dependency.product(name: "Collections", package: "swift-collections")

func layer(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: strict)
}

func tests(of name: String, _ more: [Target.Dependency] = []) -> Target {
    .testTarget(name: "\(name)Tests", dependencies: [.init(stringLiteral: name)] + more, swiftSettings: strict)
}

// The allowed imports between these targets are data in scripts/imports.tsv, checked by scripts/check-imports.
let package = Package(
    name: "pail",
    products: [.executable(name: "pail", targets: ["pail"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/LebJe/TOMLKit", exact: "0.6.0"),
    ],
    targets: [
        .systemLibrary(name: "CFuse", pkgConfig: "fuse3", providers: [.apt(["libfuse3-dev"])]),
        .systemLibrary(name: "CCurl", pkgConfig: "libcurl", providers: [.apt(["libcurl4-openssl-dev"])]),
        .systemLibrary(name: "CCrypto", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CExpat", pkgConfig: "expat", providers: [.apt(["libexpat1-dev"])]),
        .systemLibrary(name: "CSQLite", pkgConfig: "sqlite3", providers: [.apt(["libsqlite3-dev"])]),
        .target(name: "CLinux"),

        layer("Base", [logging, "CLinux"]),
        layer("ObjectModel", ["Base"]),
        layer("S3Protocol", ["Base", "ObjectModel", "CCrypto", "CExpat"]),
        layer("HTTPTransport", ["Base", "CCurl"]),
        layer("Credentials", ["Base", "S3Protocol", "HTTPTransport"]),
        layer("ObjectStore", [logging, "Base", "ObjectModel", "S3Protocol", "HTTPTransport", "Credentials"]),
        layer("MemoryStore", ["Base", "ObjectModel", "ObjectStore"]),
        layer("BlockCache", ["Base", "CLinux", "CCrypto", "ObjectModel", "ObjectStore", collections]),
        layer("Staging", ["Base", "CLinux", "ObjectModel", "ObjectStore", logging]),
        layer(
            "FileSystem",
            ["Base", "CCrypto", "CSQLite", "ObjectModel", "ObjectStore", "BlockCache", "Staging", logging, collections]),
        layer("FuseAdapter", ["Base", "BlockCache", "Staging", "FileSystem", "CFuse", logging]),
        layer("Mounts", ["Base", "CLinux"]),
        layer("Control", ["Base", "CLinux"]),
        layer(
            "Commands",
            [logging, toml, "Base", "ObjectModel", "S3Protocol", "Credentials", "ObjectStore", "Mounts", "Control"]),
        .executableTarget(
            name: "pail",
            dependencies: [
                argumentParser, "Commands", "CLinux", logging, "Base", "ObjectModel", "S3Protocol", "HTTPTransport",
                "Credentials",
                "ObjectStore", "BlockCache", "Staging", "FileSystem", "FuseAdapter", "Mounts", "Control",
            ],
            swiftSettings: strict),
        .executableTarget(
            name: "block-cache-benchmark", dependencies: ["Base", "ObjectModel", "ObjectStore", "BlockCache"],
            path: "Benchmarks/BlockCache", swiftSettings: strict),
        .executableTarget(
            name: "transport-benchmark", dependencies: ["HTTPTransport"], path: "Benchmarks/Transport",
            swiftSettings: strict),

        tests(of: "Base"),
        tests(of: "ObjectModel", ["Base"]),
        tests(of: "S3Protocol", ["Base", "ObjectModel"]),
        tests(of: "HTTPTransport", ["Base"]),
        tests(of: "Credentials", ["Base", "S3Protocol"]),
        tests(of: "ObjectStore", ["Base", "ObjectModel", "S3Protocol", "MemoryStore", "HTTPTransport", "Credentials"]),
        tests(of: "BlockCache", ["Base", "ObjectModel", "ObjectStore", "MemoryStore"]),
        tests(of: "Staging", ["Base", "ObjectModel", "ObjectStore", "MemoryStore", logging]),
        tests(of: "FileSystem", ["Base", "ObjectModel", "ObjectStore", "MemoryStore", "BlockCache", "Staging"]),
        tests(of: "FuseAdapter", ["Base", "FileSystem"]),
        tests(of: "Mounts", ["Base", "CLinux"]),
        tests(of: "Control", ["Base", "FileSystem"]),
        tests(
            of: "Commands",
            [
                logging, "Base", "ObjectModel", "S3Protocol", "Credentials", "ObjectStore", "MemoryStore", "Mounts",
                "Control",
            ]),
    ],
    swiftLanguageModes: [.v6]
)
