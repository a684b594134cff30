// The file operations that scripts/bench times, as a program of its own: nothing of the benchmark's interpreter is in
// the measured time, and a mount that hangs hangs this process only.
//
//   fileload generate SEED BYTES                           the bytes of a file of this seed, to stdout
//   fileload verify   SEED [FIRST_PAGE]                    stdin must be those bytes, from this page on; prints the count
//   fileload read     SEED FILE                            reads it all, 1 MiB at a time
//   fileload random   SEED FILE BLOCK_BYTES THREADS COUNT [PERIOD_BYTES]   COUNT reads altogether, at aligned random
//                     offsets; the file repeats itself after PERIOD_BYTES, if given
//   fileload first    SEED FILE...                         the first 4 KiB of each, file N being of seed SEED+N
//   fileload write    SEED FILE BYTES                      a new file, 1 MiB at a time, then fsync
//   fileload patch    SEED FILE OFFSET BYTES               changes a part of it (whole pages), then fsync
//   fileload append   SEED FILE BYTES                      grows it (from a whole page), then fsync
//   fileload write-many SEED DIRECTORY COUNT BYTES         files f0000, f0001, ... of seeds SEED, SEED+1, ...
//   fileload read-many  SEED DIRECTORY COUNT BYTES [THREADS]   reads them, thread N every THREADS-th from f000N on
//
// Each page of 4 KiB can be told from every other page of every file, and a read is checked: exit code 3 and a message
// when a page is not what it should be. Exit code 1: an operation failed, with the reason.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE_BYTES = 4096, PAGE_WORDS = PAGE_BYTES / 8, BUFFER_BYTES = 1 << 20 };

static void die(const char *what, const char *path) {
    fprintf(stderr, "fileload: %s %s: %s\n", what, path, strerror(errno));
    exit(1);
}

// SplitMix64's output function: any two inputs give unrelated words.
static uint64_t mix(uint64_t value) {
    value += 0x9e3779b97f4a7c15;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
    value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
    return value ^ (value >> 31);
}

static uint64_t word_at(uint64_t seed, uint64_t page, uint64_t word) { return mix(mix(seed) ^ (page * PAGE_WORDS + word)); }

static void fill(uint64_t seed, uint64_t offset, uint64_t *words, size_t bytes) {
    for (size_t word = 0; word < (bytes + 7) / 8; word++) {
        words[word] = word_at(seed, offset / PAGE_BYTES + word / PAGE_WORDS, word % PAGE_WORDS);
    }
}

// Looks at the first and the last word of each page, or at all; `bytes` may end inside a page.
static void check(uint64_t seed, uint64_t offset, const char *data, size_t bytes, size_t step, const char *path) {
    for (size_t at = 0; at + 8 <= bytes; at += 8) {
        size_t word = at % PAGE_BYTES / 8;
        if (word % step != 0 && word != PAGE_WORDS - 1) continue;
        uint64_t found;
        memcpy(&found, data + at, 8);
        if (found != word_at(seed, (offset + at) / PAGE_BYTES, word)) {
            fprintf(stderr, "fileload: wrong bytes in %s at offset %zu\n", path, (size_t)(offset + at));
            exit(3);
        }
    }
}

static uint64_t *allocate(size_t bytes) {
    void *memory = aligned_alloc(PAGE_BYTES, (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES);
    if (!memory) die("allocate", "");
    return memory;
}

static size_t read_at(int file, void *buffer, size_t bytes, uint64_t offset, const char *path) {
    size_t done = 0;
    while (done < bytes) {
        ssize_t got = pread(file, (char *)buffer + done, bytes - done, offset + done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) die("read", path);
        if (got == 0) break;
        done += got;
    }
    return done;
}

static void write_all(int file, uint64_t seed, uint64_t offset, uint64_t bytes, const char *path) {
    uint64_t *buffer = allocate(BUFFER_BYTES);
    for (uint64_t end = offset + bytes; offset < end;) {
        size_t count = end - offset < BUFFER_BYTES ? end - offset : BUFFER_BYTES;
        fill(seed, offset, buffer, count);
        for (size_t done = 0; done < count;) {
            ssize_t sent = write(file, (char *)buffer + done, count - done);
            if (sent < 0 && errno == EINTR) continue;
            if (sent < 0) die("write", path);
            done += sent;
        }
        offset += count;
    }
    free(buffer);
}

static void sync_and_close(int file, const char *path) {
    if (fsync(file) < 0) die("fsync", path);
    if (close(file) < 0) die("close", path);
}

static void read_whole(uint64_t seed, const char *path, uint64_t expected) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) die("open", path);
    struct stat status;
    if (fstat(file, &status) < 0) die("stat", path);
    if (!expected) expected = status.st_size;
    uint64_t *buffer = allocate(BUFFER_BYTES);
    uint64_t offset = 0;
    size_t got;
    while ((got = read_at(file, buffer, BUFFER_BYTES, offset, path)) > 0) {
        check(seed, offset, (char *)buffer, got, PAGE_WORDS, path);
        offset += got;
    }
    if (offset != expected) {
        fprintf(stderr, "fileload: %s has %zu bytes, not %zu\n", path, (size_t)offset, (size_t)expected);
        exit(3);
    }
    free(buffer);
    close(file);
}

struct reader {
    pthread_t thread;
    const char *path;
    int file;
    uint64_t seed, blocks, number, period;
    size_t block_bytes, count;
};

static void *read_randomly(void *argument) {
    struct reader *reader = argument;
    uint64_t *buffer = allocate(reader->block_bytes);
    for (size_t index = 0; index < reader->count; index++) {
        uint64_t offset = mix(reader->number << 32 | index) % reader->blocks * reader->block_bytes;
        if (read_at(reader->file, buffer, reader->block_bytes, offset, reader->path) != reader->block_bytes) {
            fprintf(stderr, "fileload: short read of %s at offset %zu\n", reader->path, (size_t)offset);
            exit(3);
        }
        check(reader->seed, offset % reader->period, (char *)buffer, reader->block_bytes, PAGE_WORDS, reader->path);
    }
    free(buffer);
    return NULL;
}

static void read_random(uint64_t seed, const char *path, size_t block_bytes, size_t threads, size_t count, uint64_t period) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) die("open", path);
    struct stat status;
    if (fstat(file, &status) < 0) die("stat", path);
    struct reader *readers = calloc(threads, sizeof *readers);
    if (!readers) die("allocate", "");
    for (size_t number = 0; number < threads; number++) {
        readers[number] = (struct reader){
            .path = path, .file = file, .seed = seed, .blocks = status.st_size / block_bytes,
            .number = number + 1, .period = period ? period : UINT64_MAX, .block_bytes = block_bytes,
            .count = count / threads,
        };
        errno = pthread_create(&readers[number].thread, NULL, read_randomly, &readers[number]);
        if (errno) die("thread", "");
    }
    for (size_t number = 0; number < threads; number++) pthread_join(readers[number].thread, NULL);
    free(readers);
    close(file);
}

struct many_reader {
    pthread_t thread;
    const char *directory;
    uint64_t seed, first, step, count, bytes;
};

static void *read_every(void *argument) {
    struct many_reader *reader = argument;
    for (uint64_t index = reader->first; index < reader->count; index += reader->step) {
        char path[4096];
        snprintf(path, sizeof path, "%s/f%04d", reader->directory, (int)index);
        read_whole(reader->seed + index, path, reader->bytes);
    }
    return NULL;
}

static void read_many(uint64_t seed, const char *directory, uint64_t count, uint64_t bytes, size_t threads) {
    struct many_reader *readers = calloc(threads, sizeof *readers);
    if (!readers) die("allocate", "");
    for (size_t number = 0; number < threads; number++) {
        readers[number] = (struct many_reader){
            .directory = directory, .seed = seed, .first = number, .step = threads, .count = count, .bytes = bytes,
        };
        errno = pthread_create(&readers[number].thread, NULL, read_every, &readers[number]);
        if (errno) die("thread", "");
    }
    for (size_t number = 0; number < threads; number++) pthread_join(readers[number].thread, NULL);
    free(readers);
}

static void read_first(uint64_t seed, const char *path) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) die("open", path);
    uint64_t *buffer = allocate(PAGE_BYTES);
    size_t got = read_at(file, buffer, PAGE_BYTES, 0, path);
    if (got != PAGE_BYTES) {
        fprintf(stderr, "fileload: %s gave %zu bytes\n", path, got);
        exit(3);
    }
    check(seed, 0, (char *)buffer, got, PAGE_WORDS, path);
    free(buffer);
    close(file);
}

static void verify_input(uint64_t seed, uint64_t offset) {
    char *buffer = (char *)allocate(BUFFER_BYTES);
    uint64_t total = 0;
    for (;;) {
        size_t filled = fread(buffer, 1, BUFFER_BYTES, stdin);
        if (filled == 0) break;
        check(seed, offset + total, buffer, filled, 1, "the input");
        total += filled;
    }
    printf("%zu\n", (size_t)total);
    free(buffer);
}

static uint64_t number(const char *text) {
    char *end;
    uint64_t value = strtoull(text, &end, 10);
    if (!*text || *end) {
        fprintf(stderr, "fileload: not a number: %s\n", text);
        exit(2);
    }
    return value;
}

static int create(const char *path, int flags) {
    int file = open(path, flags | O_WRONLY | O_CLOEXEC, 0644);
    if (file < 0) die("open", path);
    return file;
}

int main(int argc, char **argv) {
    const char *command = argc > 2 ? argv[1] : "";
    uint64_t seed = argc > 2 ? number(argv[2]) : 0;
    if (!strcmp(command, "generate") && argc == 4) {
        write_all(STDOUT_FILENO, seed, 0, number(argv[3]), "stdout");
    } else if (!strcmp(command, "verify") && (argc == 3 || argc == 4)) {
        verify_input(seed, argc == 4 ? number(argv[3]) * PAGE_BYTES : 0);
    } else if (!strcmp(command, "read") && argc == 4) {
        read_whole(seed, argv[3], 0);
    } else if (!strcmp(command, "random") && (argc == 7 || argc == 8)) {
        uint64_t period = argc == 8 ? number(argv[7]) : 0;
        read_random(seed, argv[3], number(argv[4]), number(argv[5]), number(argv[6]), period);
    } else if (!strcmp(command, "first") && argc > 3) {
        for (int index = 3; index < argc; index++) read_first(seed + index - 3, argv[index]);
    } else if (!strcmp(command, "write") && argc == 5) {
        int file = create(argv[3], O_CREAT | O_TRUNC);
        write_all(file, seed, 0, number(argv[4]), argv[3]);
        sync_and_close(file, argv[3]);
    } else if (!strcmp(command, "patch") && argc == 6) {
        int file = create(argv[3], 0);
        uint64_t offset = number(argv[4]);
        if (lseek(file, offset, SEEK_SET) < 0) die("seek", argv[3]);
        write_all(file, seed, offset, number(argv[5]), argv[3]);
        sync_and_close(file, argv[3]);
    } else if (!strcmp(command, "append") && argc == 5) {
        int file = create(argv[3], O_APPEND);
        struct stat status;
        if (fstat(file, &status) < 0) die("stat", argv[3]);
        write_all(file, seed, status.st_size, number(argv[4]), argv[3]);
        sync_and_close(file, argv[3]);
    } else if (!strcmp(command, "read-many") && (argc == 6 || argc == 7)) {
        size_t threads = argc == 7 ? number(argv[6]) : 1;
        read_many(seed, argv[3], number(argv[4]), number(argv[5]), threads);
    } else if (!strcmp(command, "write-many") && argc == 6) {
        uint64_t bytes = number(argv[5]);
        for (uint64_t index = 0; index < number(argv[4]); index++) {
            char path[4096];
            snprintf(path, sizeof path, "%s/f%04d", argv[3], (int)index);
            int file = create(path, O_CREAT | O_TRUNC);
            write_all(file, seed + index, 0, bytes, path);
            if (close(file) < 0) die("close", path);
        }
    } else {
        fprintf(stderr, "usage: see the top of scripts/bench-tools/fileload.c\n");
        return 2;
    }
}
