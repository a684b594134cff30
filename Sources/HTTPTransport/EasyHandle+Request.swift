// How a request is spelled in curl's options.

internal import CCurl

extension EasyHandle {
    /// Sets the handle up for a transfer; curl's callbacks then reach `transfer`, which must outlive the use of the
    /// handle in the multi handle.
    func prepare(for transfer: Transfer, configuration: HTTPConfiguration) {
        reset()
        setProtocol(configuration)
        set(CURLOPT_URL, transfer.request.url)
        // The stall and total limits are the loop's; a zero here would mean curl's default of 300 s.
        let connect = transfer.timeouts.connectMilliseconds
        set(CURLOPT_CONNECTTIMEOUT_MS, connect == 0 ? Int(Int32.max) : min(connect, Int(Int32.max)))
        if transfer.request.isOnNewConnection { set(CURLOPT_FRESH_CONNECT, 1) }
        setBody(of: transfer)
        setHeaders(of: transfer.request)
        setCallbacks(to: transfer)
    }

    private func setProtocol(_ configuration: HTTPConfiguration) {
        set(CURLOPT_PROTOCOLS_STR, "http,https")
        set(CURLOPT_HTTP_VERSION, Int(CURL_HTTP_VERSION_1_1))
        set(CURLOPT_NOSIGNAL, 1)
        // A name being resolved must not hold up the loop when its transfer is given up.
        set(CURLOPT_QUICK_EXIT, 1)
        set(CURLOPT_PATH_AS_IS, 1)
        set(CURLOPT_FOLLOWLOCATION, 0)
        set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1)
        set(CURLOPT_USERAGENT, configuration.userAgent)
        // Refused while curl still holds the buffer of a transfer that failed; then it goes on with that one.
        _ = pail_easy_set_long(curl, CURLOPT_BUFFERSIZE, Self.receiveBufferBytes)
        set(CURLOPT_TCP_NODELAY, 1)
        set(CURLOPT_TCP_KEEPALIVE, 1)
        set(CURLOPT_TCP_KEEPIDLE, 30)
        set(CURLOPT_TCP_KEEPINTVL, 10)
        set(CURLOPT_SSLVERSION, Int(CURL_SSLVERSION_TLSv1_2))
        set(CURLOPT_SSL_VERIFYPEER, 1)
        set(CURLOPT_SSL_VERIFYHOST, 2)
        if let path = configuration.caBundlePath {
            set(CURLOPT_CAINFO, path)
            // Else the system's directory would be trusted beside the bundle.
            set(CURLOPT_CAPATH, nil)
        }
    }

    private func setBody(of transfer: Transfer) {
        let method = transfer.request.method
        switch (method, transfer.body != nil) {
        case (.get, false): set(CURLOPT_HTTPGET, 1)
        case (.head, _): set(CURLOPT_NOBODY, 1)
        case (.post, _):
            set(CURLOPT_POST, 1)
            set(CURLOPT_POSTFIELDSIZE_LARGE, offset: transfer.bodyByteCount)
        case (.put, _), (.get, true), (.delete, true):
            set(CURLOPT_UPLOAD, 1)
            set(CURLOPT_INFILESIZE_LARGE, offset: transfer.bodyByteCount)
            if method != .put { set(CURLOPT_CUSTOMREQUEST, method.rawValue) }
        case (.delete, false): set(CURLOPT_CUSTOMREQUEST, method.rawValue)
        }
        if transfer.bodyByteCount > 0 {
            let bytes = min(max(transfer.bodyByteCount, Self.sendBufferBytesMin), Self.sendBufferBytesMax)
            set(CURLOPT_UPLOAD_BUFFERSIZE, bytes)
        }
    }

    private func setHeaders(of request: HTTPRequest) {
        var hasContentType = false
        for (name, value) in request.headers {
            if HTTPResponseHead.isSameName(name, "Content-Length") { continue }
            if HTTPResponseHead.isSameName(name, "Content-Type") { hasContentType = true }
            addHeaderLine(value.isEmpty ? "\(name);" : "\(name): \(value)")
        }
        // No waiting for `100 Continue`, and no type that nobody gave (curl would say form data for POST).
        addHeaderLine("Expect:")
        if !hasContentType { addHeaderLine("Content-Type:") }
        applyHeaderLines()
    }

    private func setCallbacks(to transfer: Transfer) {
        // SAFETY: unretained; the loop keeps a transfer in `running` until after its handle has left the multi handle,
        // and curl calls back only while the handle is in it.
        let pointer = Unmanaged.passUnretained(transfer).toOpaque()
        set(CURLOPT_PRIVATE, pointer: pointer)
        set(CURLOPT_HEADERDATA, pointer: pointer)
        set(CURLOPT_WRITEDATA, pointer: pointer)
        set(CURLOPT_READDATA, pointer: pointer)
        set(CURLOPT_SEEKDATA, pointer: pointer)
        set(CURLOPT_PREREQDATA, pointer: pointer)
        check(pail_easy_set_write(curl, CURLOPT_HEADERFUNCTION, receiveHeader))
        check(pail_easy_set_write(curl, CURLOPT_WRITEFUNCTION, receiveBody))
        check(pail_easy_set_read(curl, readBody))
        check(pail_easy_set_seek(curl, seekBody))
        check(pail_easy_set_prerequest(curl, beginRequest))
    }

    /// curl's limit; larger reads mean fewer system calls and callbacks.
    static let receiveBufferBytes = 512 << 10
    /// curl's smallest.
    static let sendBufferBytesMin = 16 << 10
    /// curl takes up to 2 MiB, and allocates it for each transfer that sends; 512 KiB was the cheapest per byte.
    static let sendBufferBytesMax = 512 << 10
}

// curl's callbacks. They cannot capture: the transfer comes in through the user pointer.

/// SAFETY: of all callbacks: the pointer is that of `setCallbacks`, alive while curl calls back, and the buffers are
/// curl's, valid during the call.
private func transfer(_ pointer: UnsafeMutableRawPointer?) -> Transfer {
    Unmanaged<Transfer>.fromOpaque(pointer!).takeUnretainedValue()
}

private func receiveHeader(
    bytes: UnsafeMutablePointer<CChar>?, size: Int, count: Int, context: UnsafeMutableRawPointer?
) -> Int {
    let line = UnsafeRawBufferPointer(start: bytes, count: size * count)
    return transfer(context).receiveHeader(line) ? line.count : 0
}

private func receiveBody(
    bytes: UnsafeMutablePointer<CChar>?, size: Int, count: Int, context: UnsafeMutableRawPointer?
) -> Int {
    let piece = UnsafeRawBufferPointer(start: bytes, count: size * count)
    return transfer(context).receiveBody(piece) ? piece.count : 0
}

private func readBody(
    bytes: UnsafeMutablePointer<CChar>?, size: Int, count: Int, context: UnsafeMutableRawPointer?
) -> Int {
    let room = UnsafeMutableRawBufferPointer(start: bytes, count: size * count)
    return transfer(context).readBody(into: room) ?? Int(CURL_READFUNC_ABORT)
}

private func seekBody(context: UnsafeMutableRawPointer?, offset: curl_off_t, origin: Int32) -> Int32 {
    let isStart = origin == 0
    return isStart && transfer(context).seekBody(to: Int(offset)) ? CURL_SEEKFUNC_OK : CURL_SEEKFUNC_FAIL
}

private func beginRequest(
    context: UnsafeMutableRawPointer?, remoteAddress: UnsafeMutablePointer<CChar>?,
    localAddress: UnsafeMutablePointer<CChar>?, remotePort: Int32, localPort: Int32
) -> Int32 {
    transfer(context).beginRequest()
    return CURL_PREREQFUNC_OK
}
