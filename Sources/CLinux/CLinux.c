#define _GNU_SOURCE
#include "CLinux.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <malloc.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

_Static_assert(PAIL_UMOUNT_FORCE == MNT_FORCE, "flags of umount2");
_Static_assert(PAIL_UMOUNT_DETACH == MNT_DETACH, "flags of umount2");
_Static_assert(PAIL_UMOUNT_NOFOLLOW == UMOUNT_NOFOLLOW, "flags of umount2");

void pail_set_thread_name(const char *name) {
    prctl(PR_SET_NAME, (unsigned long)name, 0UL, 0UL, 0UL);
}

int pail_punch_hole(int fd, int64_t offset, int64_t length) {
    return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
}

int pail_open_log(const char *path) {
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
    if (fd < 0) return -1;
    struct stat status;
    if (fstat(fd, &status) == 0 && (S_ISREG(status.st_mode) || S_ISCHR(status.st_mode)) &&
        (status.st_uid == geteuid() || status.st_uid == 0))
        return fd;
    close(fd);
    errno = EPERM;
    return -1;
}

int pail_connect_datagram(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
    int code = errno;
    close(fd);
    errno = code;
    return -1;
}

static int signal_pipe[2] = {-1, -1};

static void note_signal(int number) {
    int saved = errno;
    unsigned char byte = (unsigned char)number;
    // A full pipe means that nobody reads it any more; there is nobody to tell.
    ssize_t written = write(signal_pipe[1], &byte, 1);
    (void)written;
    errno = saved;
}

int pail_watch_signals(void) {
    if (signal_pipe[0] >= 0) {
        errno = EBUSY;
        return -1;
    }
    if (pipe2(signal_pipe, O_CLOEXEC) != 0) return -1;
    fcntl(signal_pipe[1], F_SETFL, O_NONBLOCK);
    struct sigaction action = {.sa_handler = note_signal, .sa_flags = SA_RESTART};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    sigaction(SIGUSR2, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signal_pipe[0];
}

int pail_spawn_close_from(void *actions, int first) {
    return posix_spawn_file_actions_addclosefrom_np(actions, first);
}

int pail_forbid_core(void) {
    struct rlimit none = {0, 0};
    // The limit is for files: where core_pattern pipes a dump to a program, it is not asked (core(5)).
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return -1;
    return setrlimit(RLIMIT_CORE, &none);
}

int pail_spread_directories(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -1;
    int flags = 0;
    int result = ioctl(fd, FS_IOC_GETFLAGS, &flags);
    if (result == 0 && !(flags & FS_TOPDIR_FL)) {
        flags |= FS_TOPDIR_FL;
        result = ioctl(fd, FS_IOC_SETFLAGS, &flags);
    }
    int code = errno;
    close(fd);
    errno = code;
    return result;
}

long pail_file_limit(void) {
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (long)limit.rlim_cur : 0;
}

long pail_raise_file_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return -1;
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? (long)limit.rlim_cur : -1;
}

int pail_set_process_name(const char *name) {
    // PR_SET_NAME would name the calling thread; `ps` shows the first one.
    int descriptor = open("/proc/self/comm", O_WRONLY | O_CLOEXEC);
    if (descriptor < 0) return -1;
    ssize_t written = write(descriptor, name, strlen(name));
    close(descriptor);
    return written < 0 ? -1 : 0;
}

int pail_terminal_columns(int fd) {
    struct winsize size;
    if (!isatty(fd)) return 0;
    return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

int pail_terminal_rows(int fd) {
    struct winsize size;
    if (!isatty(fd)) return 0;
    return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 ? size.ws_row : 24;
}

int pail_open_process(int pid) {
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

static int64_t monotonic_milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

enum bounded_call { BOUNDED_UMOUNT, BOUNDED_STATFS, BOUNDED_STAT_DIRECTORY };

// Only async-signal-safe functions are called in the child: other threads of the parent may have held any lock at
// the moment of the fork.
static int run_bounded(enum bounded_call call, const char *path, int flags, int timeout_milliseconds) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return -1;
    pid_t child = fork();
    if (child < 0) {
        int saved = errno;
        close(ends[0]);
        close(ends[1]);
        errno = saved;
        return -1;
    }
    if (child == 0) {
        // A child that gets stuck must hold neither the caller's pipes nor a directory of the mount.
        if (ends[1] > 0) close_range(0, (unsigned)ends[1] - 1, 0);
        close_range((unsigned)ends[1] + 1, ~0U, 0);
        if (chdir("/") != 0) _exit(1);
        int failed;
        if (call == BOUNDED_UMOUNT) {
            failed = umount2(path, flags);
        } else if (call == BOUNDED_STAT_DIRECTORY) {
            struct stat information;
            failed = stat(path, &information);
            if (!failed && !S_ISDIR(information.st_mode)) {
                failed = 1;
                errno = ENOTDIR;
            }
        } else {
            struct statfs information;
            failed = statfs(path, &information);
        }
        int code = failed ? errno : 0;
        ssize_t written = write(ends[1], &code, sizeof code);
        _exit(written == (ssize_t)sizeof code ? 0 : 1);
    }
    close(ends[1]);
    int64_t deadline = monotonic_milliseconds() + timeout_milliseconds;
    int ready;
    do {
        int64_t left = deadline - monotonic_milliseconds();
        struct pollfd watch = {.fd = ends[0], .events = POLLIN};
        ready = poll(&watch, 1, left > 0 ? (int)left : 0);
    } while (ready < 0 && errno == EINTR);
    int code = -1;
    if (ready > 0) {
        ssize_t got;
        do got = read(ends[0], &code, sizeof code);
        while (got < 0 && errno == EINTR);
        if (got != (ssize_t)sizeof code) code = EIO;
        close(ends[0]);
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {}
        return code;
    }
    close(ends[0]);
    kill(child, SIGKILL);
    waitpid(child, NULL, WNOHANG);
    errno = ETIMEDOUT;
    return -1;
}

int pail_umount_bounded(const char *path, int flags, int timeout_milliseconds) {
    return run_bounded(BOUNDED_UMOUNT, path, flags, timeout_milliseconds);
}

int pail_statfs_bounded(const char *path, int timeout_milliseconds) {
    return run_bounded(BOUNDED_STATFS, path, 0, timeout_milliseconds);
}

int pail_stat_directory_bounded(const char *path, int timeout_milliseconds) {
    return run_bounded(BOUNDED_STAT_DIRECTORY, path, 0, timeout_milliseconds);
}

int pail_mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data) {
    return mount(source, target, type, flags, data);
}

static int write_text(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    ssize_t written = write(fd, text, strlen(text));
    int saved = errno;
    close(fd);
    errno = saved;
    return written == (ssize_t)strlen(text) ? 0 : -1;
}

static int enter_namespace(void) {
    uid_t user = geteuid();
    gid_t group = getegid();
    if (unshare(CLONE_NEWNS) != 0) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return -1;
        char map[64];
        snprintf(map, sizeof map, "%u %u 1", user, user);
        if (write_text("/proc/self/uid_map", map) != 0) return -1;
        // user_namespaces(7): without that a group could be dropped, and with it what it forbids.
        if (write_text("/proc/self/setgroups", "deny") != 0 && errno != ENOENT) return -1;
        snprintf(map, sizeof map, "%u %u 1", group, group);
        if (write_text("/proc/self/gid_map", map) != 0) return -1;
    }
    // What is mounted outside later still shows; what is mounted here does not get out.
    return mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL);
}

int pail_enter_private_namespace(void) {
    // A half-made namespace cannot be left again: the child shows whether all of it is allowed.
    pid_t child = fork();
    if (child < 0) return -1;
    if (child == 0) {
        int code = enter_namespace() == 0 ? 0 : errno;
        // Distributions that restrict user namespaces let one be made, and then give it no rights.
        if (code == 0 && mount("none", "/", "tmpfs", 0, NULL) != 0 && errno == EPERM) code = EPERM;
        _exit(code < 255 ? code : EPERM);
    }
    int status;
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) return -1;
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        errno = WIFEXITED(status) ? WEXITSTATUS(status) : EPERM;
        return -1;
    }
    return enter_namespace();
}

int pail_share_mount_right(int is_shared) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    if (syscall(SYS_capget, &header, data) != 0) return -1;
    unsigned *inheritable = &data[CAP_TO_INDEX(CAP_SYS_ADMIN)].inheritable;
    if (is_shared) *inheritable |= CAP_TO_MASK(CAP_SYS_ADMIN);
    else *inheritable &= ~CAP_TO_MASK(CAP_SYS_ADMIN);
    // Without being inheritable a capability is not ambient either (capabilities(7)).
    if (syscall(SYS_capset, &header, data) != 0) return -1;
    if (!is_shared) return 0;
    return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN, 0, 0);
}

int pail_spawn_default_signals(void *attributes) {
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    short flags;
    int code = posix_spawnattr_getflags(attributes, &flags);
    if (code == 0) code = posix_spawnattr_setsigdefault(attributes, &all);
    if (code == 0) code = posix_spawnattr_setsigmask(attributes, &none);
    if (code != 0) return code;
    return posix_spawnattr_setflags(attributes, (short)(flags | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK));
}

int pail_is_foreground(int fd) {
    return tcgetpgrp(fd) == getpgrp();
}

int pail_open_path(const char *path) {
    return open(path, O_PATH | O_CLOEXEC);
}

int pail_pipe(int ends[2]) {
    return pipe2(ends, O_CLOEXEC);
}

int pail_listen_tcp(const char *host, uint16_t port, uint16_t *actual) {
    struct sockaddr_storage address = {0};
    struct sockaddr_in *four = (struct sockaddr_in *)&address;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&address;
    socklen_t size;
    if (inet_pton(AF_INET, host, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons(port);
        size = sizeof *four;
    } else if (inet_pton(AF_INET6, host, &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6;
        six->sin6_port = htons(port);
        size = sizeof *six;
    } else {
        errno = EADDRNOTAVAIL;
        return -1;
    }
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    int yes = 1;
    // A daemon that is started again right away gets its port back.
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, (struct sockaddr *)&address, size) == 0 && listen(fd, 16) == 0 &&
        getsockname(fd, (struct sockaddr *)&address, &size) == 0) {
        *actual = ntohs(address.ss_family == AF_INET ? four->sin_port : six->sin6_port);
        return fd;
    }
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

int pail_accept(int listener) {
    return accept4(listener, NULL, NULL, SOCK_CLOEXEC);
}

int pail_channel(int ends[2]) {
    int low[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, low) != 0) return -1;
    for (int i = 0; i < 2; i++) {
        ends[i] = fcntl(low[i], F_DUPFD_CLOEXEC, 10);
        close(low[i]);
    }
    if (ends[0] >= 0 && ends[1] >= 0) return 0;
    for (int i = 0; i < 2; i++) {
        if (ends[i] >= 0) close(ends[i]);
    }
    return -1;
}

int pail_send_message(int channel, char kind, int descriptor) {
    struct iovec vector = {&kind, 1};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    if (descriptor >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control.space;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
    }
    return sendmsg(channel, &message, MSG_NOSIGNAL) == 1 ? 0 : -1;
}

int pail_receive_message(int channel, int *descriptor) {
    char kind = 0;
    struct iovec vector = {&kind, 1};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control.space};
    *descriptor = -1;
    if (recvmsg(channel, &message, MSG_CMSG_CLOEXEC) != 1) return -1;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
        memcpy(descriptor, CMSG_DATA(header), sizeof(int));
    }
    return (unsigned char)kind;
}

int pail_shared_memory(const char *name, int64_t count) {
    int fd = memfd_create(name, MFD_CLOEXEC);
    if (fd < 0) return -1;
    if (ftruncate(fd, count) == 0) return fd;
    close(fd);
    return -1;
}

int64_t pail_find_bytes(const void *bytes, int64_t count, const void *needle, int64_t needle_count) {
    const void *found = memmem(bytes, (size_t)count, needle, (size_t)needle_count);
    return found ? (const char *)found - (const char *)bytes : -1;
}

int pail_open_at(int directory, const char *name, int flags, unsigned mode) {
    int fd = openat(directory, name, flags | O_CLOEXEC | O_NOFOLLOW | O_NOATIME, mode);
    // Only the owner of a file may open it so.
    if (fd < 0 && errno == EPERM) fd = openat(directory, name, flags | O_CLOEXEC | O_NOFOLLOW, mode);
    return fd;
}

int64_t pail_read_vectors(int fd, const void *vectors, int count, int64_t offset) {
    return preadv(fd, vectors, count, offset);
}

int64_t pail_write_vectors(int fd, const void *vectors, int count, int64_t offset) {
    return pwritev(fd, vectors, count, offset);
}

int64_t pail_get_xattr(int fd, const char *name, void *value, size_t room) {
    return fgetxattr(fd, name, value, room);
}

int pail_set_direct(int fd, int is_direct) {
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0) return -1;
    return fcntl(fd, F_SETFL, is_direct ? flags | O_DIRECT : flags & ~O_DIRECT);
}

void pail_limit_malloc_arenas(int count) {
    // Fails for a wrong number only.
    (void)mallopt(M_ARENA_MAX, count);
}
