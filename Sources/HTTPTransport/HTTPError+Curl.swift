// curl's result codes in our terms.

internal import CCurl

extension HTTPError.Kind {
    /// - Parameters:
    ///   - isSent: whether curl had begun to send the request.
    ///   - isHeadComplete: whether the final head of the response had come.
    init(_ code: CURLcode, isSent: Bool, isHeadComplete: Bool) {
        switch code {
        case CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_RESOLVE_PROXY:
            self = .resolve
        case CURLE_COULDNT_CONNECT, CURLE_PROXY, CURLE_INTERFACE_FAILED:
            self = .connect
        case CURLE_SSL_CONNECT_ERROR, CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CACERT_BADFILE, CURLE_SSL_CERTPROBLEM,
            CURLE_SSL_CIPHER, CURLE_SSL_ISSUER_ERROR, CURLE_SSL_CRL_BADFILE, CURLE_SSL_ENGINE_NOTFOUND,
            CURLE_SSL_ENGINE_SETFAILED, CURLE_SSL_ENGINE_INITFAILED, CURLE_SSL_PINNEDPUBKEYNOTMATCH,
            CURLE_SSL_INVALIDCERTSTATUS, CURLE_SSL_CLIENTCERT, CURLE_USE_SSL_FAILED:
            self = .tls
        // The loop watches the other limits itself.
        case CURLE_OPERATION_TIMEDOUT:
            self = .timedOut(isSent ? .total : .connect)
        case CURLE_SEND_ERROR, CURLE_SEND_FAIL_REWIND:
            self = .sendFailed
        // A connection that is reset during a proxy's or a TLS handshake shows up here too.
        case CURLE_RECV_ERROR, CURLE_GOT_NOTHING, CURLE_PARTIAL_FILE:
            self = isSent ? .receiveFailed : .connect
        case CURLE_URL_MALFORMAT, CURLE_BAD_FUNCTION_ARGUMENT:
            self = .invalidRequest
        // An unknown scheme, or an answer of HTTP/0.9.
        case CURLE_UNSUPPORTED_PROTOCOL:
            self = isSent ? .malformedResponse : .invalidRequest
        case CURLE_WEIRD_SERVER_REPLY, CURLE_BAD_CONTENT_ENCODING, CURLE_HTTP2, CURLE_WRITE_ERROR:
            self = .malformedResponse
        // curl says so when one header line exceeds its own limit of 100 KB.
        case CURLE_OUT_OF_MEMORY:
            self = isSent && !isHeadComplete ? .responseTooLarge : .other
        default:
            self = .other
        }
    }
}
