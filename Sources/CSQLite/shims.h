#ifndef PAIL_CSQLITE_SHIMS_H
#define PAIL_CSQLITE_SHIMS_H

#include <sqlite3.h>

/* SQLITE_TRANSIENT is a cast that Swift does not import: SQLite copies the bytes before this returns. */
static inline int pail_sqlite_bind_blob(sqlite3_stmt *statement, int index, const void *bytes, int count) {
    /* A null pointer would bind NULL, not an empty blob. */
    return sqlite3_bind_blob(statement, index, bytes ? bytes : "", count, SQLITE_TRANSIENT);
}

#endif
