// Content types by extension, for what browsers and data tools ask S3 for.

/// The usual media type of a file name; nil leaves the store's default.
enum ContentType {
    private static let byExtension: [String: String] = [
        "avi": "video/x-msvideo", "bmp": "image/bmp", "bz2": "application/x-bzip2", "css": "text/css",
        "csv": "text/csv", "gif": "image/gif", "gz": "application/gzip", "h5": "application/x-hdf5",
        "hdf5": "application/x-hdf5", "htm": "text/html", "html": "text/html", "jpeg": "image/jpeg",
        "jpg": "image/jpeg", "js": "text/javascript", "json": "application/json", "md": "text/markdown",
        "mp3": "audio/mpeg", "mp4": "video/mp4", "nc": "application/x-netcdf",
        "parquet": "application/vnd.apache.parquet",
        "pdf": "application/pdf", "png": "image/png", "svg": "image/svg+xml", "tar": "application/x-tar",
        "tif": "image/tiff", "tiff": "image/tiff", "tsv": "text/tab-separated-values", "txt": "text/plain",
        "wav": "audio/x-wav", "webp": "image/webp", "xml": "application/xml", "yaml": "application/yaml",
        "yml": "application/yaml", "zip": "application/zip",
    ]

    static func of(_ name: FileName) -> String? { of(path: name.string) }

    /// The same of a key: of its last component.
    static func of(path: String) -> String? {
        let name = path.utf8.lastIndex(of: 0x2f).map { path[path.utf8.index(after: $0)...] } ?? path[...]
        guard let dot = name.utf8.lastIndex(of: 0x2e) else { return nil }
        return byExtension[name[name.utf8.index(after: dot)...].lowercased()]
    }
}
