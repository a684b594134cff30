// How a staged file is about to lose its key: for a mount that finds the journal of one that was killed meanwhile.

public import ObjectModel
internal import ObjectStore

/// What a call that was begun takes the file's key for. Once that is done the file is gone, whatever was pending of it:
/// nobody has changed the object but the call itself.
public enum Departure: Sendable, Equatable {
    /// unlink(2): the key's object is about to be deleted.
    case removal
    /// rename(2) onto the file: a copy of another object is about to take its key.
    case replacement(PublicationMark, ETag)
    /// rename(2) onto the file: another staged file, of that place in the state directory, is about to take its key.
    case replacementByStaged(String)
    /// Another client has replaced the object and what the file was made from is gone: another staged file, of that key, is
    /// about to keep what was changed.
    case savedAs(ObjectKey)

    /// Whether what stands under the key now, nil for no object, is what the call was to leave there. A copy has the
    /// metadata of its source; where that has no mark, the ETag tells, unless the copy was made in parts.
    /// - Parameter base: what stood there before. As long as it does, nothing was replaced, however alike they are.
    func isDone(leaving found: ObjectInfo?, base: ObjectVersion?) -> Bool {
        switch self {
        case .removal: return found == nil
        case .replacement(let mark, let etag):
            guard let found, found.version != base else { return false }
            return mark.metadata.isEmpty
                ? found.version.etag == etag && found.version.byteCount == mark.byteCount : mark.isMark(of: found)
        case .replacementByStaged, .savedAs: return false
        }
    }
}
