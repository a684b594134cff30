// One curl easy handle with what must live as long as it: the error text and the list of header fields.

internal import CCurl
internal import Glibc

/// A reusable curl easy handle. Not thread-safe: owned by one loop's thread.
final class EasyHandle {
    let curl: UnsafeMutableRawPointer
    private let errorText: UnsafeMutablePointer<CChar>
    private var headerList: UnsafeMutablePointer<curl_slist>?

    /// - Parameter share: the curl share handle of the loop; outlives this.
    init(share: UnsafeMutableRawPointer) {
        guard let curl = curl_easy_init() else { preconditionFailure("out of memory allocating a curl handle") }
        self.curl = curl
        errorText = .allocate(capacity: Int(CURL_ERROR_SIZE))
        errorText[0] = 0
        // A reset keeps it.
        check(pail_easy_set_pointer(curl, CURLOPT_SHARE, share))
    }

    deinit {
        curl_easy_cleanup(curl)
        curl_slist_free_all(headerList)
        errorText.deallocate()
    }

    /// Forgets everything of the last request.
    func reset() {
        curl_easy_reset(curl)
        curl_slist_free_all(headerList)
        headerList = nil
        errorText[0] = 0
        check(pail_easy_set_pointer(curl, CURLOPT_ERRORBUFFER, errorText))
    }

    /// curl's words for a failure: the detailed ones if there are any.
    func message(for code: CURLcode) -> String {
        let detail = String(cString: errorText)
        let words = detail.isEmpty ? String(cString: curl_easy_strerror(code)) : detail
        // "Couldn't connect" alone does not tell a closed port from a missing route.
        let systemCode = code == CURLE_COULDNT_CONNECT ? Int32(pail_easy_get_long(curl, CURLINFO_OS_ERRNO)) : 0
        return systemCode == 0 ? words : words + ": " + String(cString: strerror(systemCode))
    }

    func set(_ option: CURLoption, _ value: Int) {
        check(pail_easy_set_long(curl, option, value))
    }

    func set(_ option: CURLoption, offset value: Int) {
        check(pail_easy_set_offset(curl, option, curl_off_t(value)))
    }

    func set(_ option: CURLoption, _ value: String?) {
        check(pail_easy_set_string(curl, option, value))
    }

    func set(_ option: CURLoption, pointer value: UnsafeMutableRawPointer?) {
        check(pail_easy_set_pointer(curl, option, value))
    }

    /// Adds a line of the form that `CURLOPT_HTTPHEADER` takes: `Name: value`, `Name;` (empty), `Name:` (removed).
    func addHeaderLine(_ line: String) {
        guard let list = curl_slist_append(headerList, line) else {
            preconditionFailure("out of memory building a header list")
        }
        headerList = list
    }

    /// Hands the header lines over; call it after the last `addHeaderLine`.
    func applyHeaderLines() {
        check(pail_easy_set_headers(curl, headerList))
    }

    /// The options are constants of ours and the values checked before: a refusal is our bug or a curl without a
    /// feature that we need.
    func check(_ code: CURLcode) {
        precondition(code == CURLE_OK, "libcurl refused an option: \(String(cString: curl_easy_strerror(code)))")
    }
}
