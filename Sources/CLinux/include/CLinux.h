// What Swift's Glibc module lacks: GNU extensions, variadic system calls, and Linux-only constants.
//
// The header uses plain C types only: including system headers here under _GNU_SOURCE would define their types a
// second time, differently from Swift's Glibc module.
#ifndef PAIL_CLINUX_H
#define PAIL_CLINUX_H

#include <stddef.h>
#include <stdint.h>

/// Names the calling thread; the kernel keeps 15 bytes.
void pail_set_thread_name(const char *name);

/// fallocate(2) with FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE. 0, or -1 with errno.
int pail_punch_hole(int fd, int64_t offset, int64_t length);

/// Opens a log for appending: made with mode 0600, close-on-exec, refused (EPERM) unless a plain
/// file or terminal owned by the caller or the superuser. A descriptor, or -1 with errno.
int pail_open_log(const char *path);

/// A datagram socket connected to a Unix address, close-on-exec. A descriptor, or -1 with errno.
int pail_connect_datagram(const char *path);

/// Catches SIGINT, SIGTERM, SIGHUP and SIGUSR2: each is written as one byte to the descriptor returned, close-on-exec. SIGPIPE is
/// ignored from now on. Call once. A descriptor to read from, or -1 with errno.
int pail_watch_signals(void);

/// Adds to a `posix_spawn_file_actions_t` that every descriptor from `first` on is closed. 0 or an errno.
int pail_spawn_close_from(void *actions, int first);

/// Lets no core of the process be dumped, to a file or a program, nor others of its user look into its memory: 0, or -1 with errno.
/// What is in /proc of it belongs to root then.
int pail_forbid_core(void);

/// Asks the filesystem to put the directories that are made in this one far from each other, as ext4 can. 0, or -1 with errno:
/// others have no use for that.
int pail_spread_directories(const char *path);

/// How many descriptors the process may have open; 0 when that cannot be said.
long pail_file_limit(void);

/// Lets the process have as many descriptors open as it may grant itself: the new limit, or -1 with errno.
long pail_raise_file_limit(void);

/// Sets the name by which `ps` and `top` know the process, whichever thread calls: 0, or -1 with errno. At most 15 bytes.
int pail_set_process_name(const char *name);

/// Columns of the terminal behind a descriptor; 0 when it is none.
int pail_terminal_columns(int fd);
/// Its rows, likewise.
int pail_terminal_rows(int fd);

/// pidfd_open(2): a descriptor that becomes readable when the process ends, close-on-exec. -1 with errno.
int pail_open_process(int pid);

/// Flags of umount2(2), from <sys/mount.h>.
enum {
    PAIL_UMOUNT_FORCE = 1,
    PAIL_UMOUNT_DETACH = 2,
    PAIL_UMOUNT_NOFOLLOW = 8,
};

/// umount2(2) and statfs(2) in a short-lived child process, so that neither the caller nor its exit waits for a
/// filesystem that does not answer: a thread inside such a call cannot be killed once the filesystem has read
/// the request. 0: done. Positive: the errno of the call. -1 with errno: ETIMEDOUT when the call did not come back within
/// `timeout_milliseconds` (the child is left to end by itself), or why the child could not be started.
int pail_umount_bounded(const char *path, int flags, int timeout_milliseconds);
int pail_statfs_bounded(const char *path, int timeout_milliseconds);
/// The same for stat(2) of a directory; ENOTDIR when it is something else.
int pail_stat_directory_bounded(const char *path, int timeout_milliseconds);

/// mount(2), for tests and for private namespaces. 0, or -1 with errno.
int pail_mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data);

/// Moves the calling process, which must have one thread, into a mount namespace of its own, where what it mounts is seen
/// by nobody outside; without the right to do so, into a user namespace of its own too, where the caller keeps its user and
/// group. Tried by a child process first: 0 when done, -1 with errno when not allowed here, and then nothing has changed.
int pail_enter_private_namespace(void);

/// Lets the programs that the process executes from now on mount and unmount in its namespace (the ambient capability
/// CAP_SYS_ADMIN), or takes that from them again. Means nothing to root, who needs no leave. 0, or -1 with errno.
int pail_share_mount_right(int is_shared);

/// Adds to a `posix_spawnattr_t` that the child gets every signal's default action and an empty mask: 0 or an errno.
int pail_spawn_default_signals(void *attributes);

/// Whether the terminal behind a descriptor sends its signals to this process's group.
int pail_is_foreground(int fd);

/// open(2) with O_PATH | O_CLOEXEC: a descriptor that asks nothing of the filesystem. -1 with errno.
int pail_open_path(const char *path);

/// pipe2(2) and accept4(2) with O_CLOEXEC: no program that another thread starts meanwhile inherits the descriptors.
/// -1 with errno.
int pail_pipe(int ends[2]);
int pail_accept(int listener);

/// Two ends of a local channel, close-on-exec, above the numbers that children are given: 0, or -1 with errno.
int pail_channel(int ends[2]);
/// Sends a byte over a channel, which says what it means, and a descriptor with it unless that is -1: 0, or -1 with errno.
int pail_send_message(int channel, char kind, int descriptor);
/// Receives one. `descriptor` gets what came with it, close-on-exec, or -1. The byte, or -1 when the other end is closed.
int pail_receive_message(int channel, int *descriptor);
/// Memory that processes share by its descriptor, close-on-exec, all zero. -1 with errno.
int pail_shared_memory(const char *name, int64_t count);

/// A TCP socket that listens on a numeric address (IPv4 or IPv6), close-on-exec; `actual` gets the port. -1 with errno.
int pail_listen_tcp(const char *host, uint16_t port, uint16_t *actual);

/// Whether the processor has an instruction for CRC-32C. To be called once, before the first `pail_crc32c`, which needs it.
int pail_prepare_crc32c(void);
/// Goes on with a CRC-32C over `count` bytes; `state` is the inverted value (0xffffffff at the start).
uint32_t pail_crc32c(uint32_t state, const void *bytes, int64_t count);

/// open(2) below a directory with O_NOATIME where that is allowed. `flags` and `mode` as in open(2), O_CLOEXEC and
/// O_NOFOLLOW are added. A descriptor, or -1 with errno.
int pail_open_at(int directory, const char *name, int flags, unsigned mode);

/// preadv(2) and pwritev(2); `vectors` is an array of `struct iovec`. Bytes moved, or -1 with errno.
int64_t pail_read_vectors(int fd, const void *vectors, int count, int64_t offset);
int64_t pail_write_vectors(int fd, const void *vectors, int count, int64_t offset);

/// fgetxattr(2): the length of the value, or -1 with errno.
int64_t pail_get_xattr(int fd, const char *name, void *value, size_t room);

/// Sets or clears O_DIRECT of an open file: transfers go between the disk and aligned memory, past the page cache.
/// 0, or -1 with errno (EINVAL where the file system has no such thing).
int pail_set_direct(int fd, int is_direct);

/// memmem(3): the offset of the first `needle` in `bytes`, or -1.
int64_t pail_find_bytes(const void *bytes, int64_t count, const void *needle, int64_t needle_count);

/// Limits how many arenas malloc makes for threads; each keeps what was freed in it. Before threads start.
void pail_limit_malloc_arenas(int count);

#endif
