// A TCP relay that makes a local S3 server feel like a remote one, and counts what is asked of it.
//
//   relay --target PORT [--listen PORT] [--control PORT] [--latency-ms 30] [--rate-mb 90]
//         [--link-mb 0] [--stall-one-in N] [--slow-one-in N]
//
// Each response starts `latency-ms` after the last byte of its request (or when the server answers, if that is later),
// and each connection carries at most `rate-mb` megabytes (10^6 bytes) a second in each direction; 0 switches either
// off. All connections together get at most `link-mb` from the server, 0 for no such limit. Everything is on 127.0.0.1; port 0 means a free one. The first line of output names the ports:
//
//   relay listen=PORT control=PORT
//
// The control port answers `GET /counters` and `GET /reset` (answers, then starts again from zero) with one JSON
// object; SIGUSR1 prints the same object and starts again from zero. SIGTERM ends the relay.
//
// Stragglers, for one in N GETs of objects (0: none): the answer *stalls*, in turn before its first byte or after
// 64 KiB of it, and nothing moves on its connection any more; or it is *slow*, 512 KiB a second. `GET
// /stragglers?stall=N&slow=N` changes both, starts their turn anew, and answers with the counters.
//
// How it works: one thread, edge-triggered epoll. Response bytes are spliced from socket to socket through a pipe and
// never copied to this process; so are request bodies. Request heads are read, to count them and to know where the
// body ends. HTTP/1.1 pipelining is relayed, but its responses are delayed as if each were the only one.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    PIPE_BYTES = 512 * 1024,
    SCRATCH_BYTES = 64 * 1024,
    HEAD_BYTES_MAX = 64 * 1024,
    SPLICE_BYTES_MIN = 32 * 1024,  // shorter rests of a body are read together with the next head
    CHUNK_BYTES_MIN = 16 * 1024,   // with fewer tokens than this a direction waits for the next tick
    SLOW_BYTES = 512 * 1024,       // a second, of an answer that is to be slow
    STALL_AFTER_BYTES = 64 * 1024,
    BURST_AT_START = 64 * 1024,    // what a message may send at once before the rate holds
    TURN_BYTES = 2 * 1024 * 1024,  // after so much, another connection has its turn
    EVENTS_MAX = 256,
};

static const uint64_t TICK_NANOSECONDS = 2 * 1000 * 1000;
static const uint64_t LAG_NANOSECONDS = 10 * 1000 * 1000;  // a late tick is made up for, up to this

// --- counters ----------------------------------------------------------------------------------------------------

enum verb { GET, LIST, HEAD, PUT, COPY, POST, DELETE, OTHER, VERBS };
static const char *const verb_names[VERBS] = {"GET", "LIST", "HEAD", "PUT", "COPY", "POST", "DELETE", "OTHER"};

static struct {
    uint64_t requests[VERBS];
    uint64_t connections;  // accepted since the last reset
    uint64_t up_bytes, down_bytes;
    uint64_t stalled, slowed;
} counters;

static uint64_t open_connections;

static int format_counters(char *text, size_t size) {
    int length = 0;
    uint64_t total = 0;
    length += snprintf(text + length, size - length, "{\"requests\": {");
    for (int verb = 0; verb < VERBS; verb++) {
        length += snprintf(text + length, size - length, "\"%s\": %" PRIu64 ", ", verb_names[verb],
                           counters.requests[verb]);
        total += counters.requests[verb];
    }
    length += snprintf(text + length, size - length,
                       "\"total\": %" PRIu64 "}, \"connections\": %" PRIu64 ", \"open\": %" PRIu64
                       ", \"up_bytes\": %" PRIu64 ", \"down_bytes\": %" PRIu64 ", \"stalled\": %" PRIu64
                       ", \"slowed\": %" PRIu64 "}\n",
                       total, counters.connections, open_connections, counters.up_bytes, counters.down_bytes,
                       counters.stalled, counters.slowed);
    return length;
}

// --- connections -------------------------------------------------------------------------------------------------

// Where the relay is in a client's stream of requests.
//   IN_HEAD -> IN_HEAD (no body) | IN_BODY | IN_CHUNK_SIZE | OPAQUE (not HTTP: relayed unread from here on)
//   IN_BODY -> IN_HEAD;  IN_CHUNK_SIZE -> IN_CHUNK | IN_TRAILER;  IN_CHUNK -> IN_CHUNK_SIZE;  IN_TRAILER -> IN_HEAD
enum request_state { IN_HEAD, IN_BODY, IN_CHUNK_SIZE, IN_CHUNK, IN_TRAILER, OPAQUE };

struct request {
    enum request_state state;
    uint64_t remaining;  // bytes of the body or chunk still to come
    char *text;          // the head, or the chunk-size or trailer line, as far as it has come
    size_t length, capacity;
};

struct flow {  // one direction of a connection
    int from, to;
    bool readable, writable;
    bool ended, shut;  // `from` said that it has no more; `to` was told
    int pipe[2];       // -1 when it holds nothing
    size_t in_pipe;
    char *pending;  // read by this process and not yet written
    size_t pending_at, pending_end;
    uint64_t tokens, refilled_at;
    uint64_t rate;  // bytes per second; 0 is without a limit
    uint64_t *counter;
};

enum kind { LISTENER, CONTROL_LISTENER, CONTROL, SIGNALS, CLIENT, SERVER };

struct endpoint {
    enum kind kind;
    int descriptor;
    struct connection *connection;
};

struct connection {
    struct endpoint client, server;
    struct flow up, down;
    struct request request;
    bool stalls;            // nothing comes back any more once `stall_after` bytes have
    uint64_t stall_after;
    bool holding;  // the response must not start before `release_at`
    uint64_t release_at;
    bool delayed, throttled, ready, dead;  // which lists it is in
    TAILQ_ENTRY(connection) in_delayed, in_throttled, in_ready, in_dead;
};

TAILQ_HEAD(connections, connection);
static struct connections delayed = TAILQ_HEAD_INITIALIZER(delayed);  // in order of release_at: latency is one for all
static struct connections throttled = TAILQ_HEAD_INITIALIZER(throttled);
static struct connections ready = TAILQ_HEAD_INITIALIZER(ready);
static struct connections dead = TAILQ_HEAD_INITIALIZER(dead);

static uint64_t latency_nanoseconds = 30 * 1000 * 1000;
static uint64_t rate_bytes = 90 * 1000 * 1000;  // per second
static uint64_t link_bytes;                      // per second
static uint64_t link_tokens, link_refilled_at;  // shared by all answers
static bool link_is_empty;                      // what was asked last got nothing because of it
static unsigned stall_one_in, slow_one_in;
static uint64_t gets;  // since those were set
static struct sockaddr_in target;
static int epoll;
static uint64_t now;
static char scratch[SCRATCH_BYTES];

static void die(const char *what) {
    fprintf(stderr, "relay: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t clock_nanoseconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void watch(struct endpoint *endpoint, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = endpoint};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, endpoint->descriptor, &event) < 0) die("epoll_ctl");
}

static void close_connection(struct connection *c) {
    if (c->dead) return;
    c->dead = true;
    close(c->client.descriptor);
    close(c->server.descriptor);
    if (c->delayed) TAILQ_REMOVE(&delayed, c, in_delayed);
    if (c->throttled) TAILQ_REMOVE(&throttled, c, in_throttled);
    if (c->ready) TAILQ_REMOVE(&ready, c, in_ready);
    // Freed after the batch of events, which may name it again.
    TAILQ_INSERT_TAIL(&dead, c, in_dead);
    open_connections--;
}

static void wait_for_tick(struct connection *c) {
    if (c->throttled) return;
    c->throttled = true;
    TAILQ_INSERT_TAIL(&throttled, c, in_throttled);
}

static void wait_for_turn(struct connection *c) {
    if (c->ready) return;
    c->ready = true;
    TAILQ_INSERT_TAIL(&ready, c, in_ready);
}

// --- rate --------------------------------------------------------------------------------------------------------

static void refill(struct flow *flow) {
    uint64_t elapsed = now - flow->refilled_at;
    if (elapsed > LAG_NANOSECONDS) elapsed = LAG_NANOSECONDS;
    uint64_t most = flow->rate * LAG_NANOSECONDS / 1000000000;
    if (most < BURST_AT_START) most = BURST_AT_START;
    flow->tokens += elapsed * flow->rate / 1000000000;
    if (flow->tokens > most) flow->tokens = most;
    flow->refilled_at = now;
}

// A new message does not profit from the silence before it.
static void begin_message(struct flow *flow) {
    refill(flow);
    if (flow->tokens > BURST_AT_START) flow->tokens = BURST_AT_START;
}

static size_t allowance(struct flow *flow) {
    uint64_t most = PIPE_BYTES;
    if (flow->rate) {
        refill(flow);
        most = flow->tokens;
    }
    if (link_bytes && flow->counter == &counters.down_bytes) {
        uint64_t elapsed = now - link_refilled_at;
        link_refilled_at = now;
        link_tokens += (elapsed < LAG_NANOSECONDS ? elapsed : LAG_NANOSECONDS) * link_bytes / 1000000000;
        if (link_tokens > 2 * BURST_AT_START) link_tokens = 2 * BURST_AT_START;
        // One piece at a time, so that all have their turn.
        uint64_t share = link_tokens < CHUNK_BYTES_MIN ? link_tokens : CHUNK_BYTES_MIN;
        if (share < most) most = share;
        link_is_empty = share < CHUNK_BYTES_MIN;
    }
    return most < CHUNK_BYTES_MIN ? 0 : most;
}

static void spend(struct flow *flow, size_t bytes) {
    *flow->counter += bytes;
    if (flow->rate) flow->tokens -= bytes < flow->tokens ? bytes : flow->tokens;
    if (link_bytes && flow->counter == &counters.down_bytes) {
        link_tokens -= bytes < link_tokens ? bytes : link_tokens;
    }
}

// --- pipes: kept for the next who needs one, so that an idle connection has none -----------------------------------

static int (*idle_pipes)[2];
static size_t idle_count, idle_capacity;

static bool take_pipe(struct flow *flow) {
    if (flow->pipe[0] >= 0) return true;
    if (idle_count) {
        memcpy(flow->pipe, idle_pipes[--idle_count], sizeof flow->pipe);
        return true;
    }
    if (pipe2(flow->pipe, O_NONBLOCK | O_CLOEXEC) < 0) return false;
    fcntl(flow->pipe[1], F_SETPIPE_SZ, PIPE_BYTES);  // smaller is slower, not wrong
    return true;
}

static void give_pipe(struct flow *flow) {
    if (flow->pipe[0] < 0) return;
    if (flow->in_pipe) {  // bytes of a dead connection
        close(flow->pipe[0]);
        close(flow->pipe[1]);
    } else {
        if (idle_count == idle_capacity) {
            idle_capacity = idle_capacity ? idle_capacity * 2 : 64;
            idle_pipes = realloc(idle_pipes, idle_capacity * sizeof *idle_pipes);
            if (!idle_pipes) die("realloc");
        }
        memcpy(idle_pipes[idle_count++], flow->pipe, sizeof flow->pipe);
    }
    flow->pipe[0] = flow->pipe[1] = -1;
}

// --- requests ----------------------------------------------------------------------------------------------------

static bool has(const char *text, size_t length, const char *word) { return memmem(text, length, word, strlen(word)); }

// The value of a header field, or NULL. `head` ends in an empty line.
static const char *field(const char *head, size_t length, const char *name) {
    const char *end = head + length;
    size_t name_length = strlen(name);
    for (const char *line = memchr(head, '\n', length); line && ++line < end; line = memchr(line, '\n', end - line)) {
        if ((size_t)(end - line) > name_length && line[name_length] == ':' && !strncasecmp(line, name, name_length)) {
            for (line += name_length + 1; line < end && (*line == ' ' || *line == '\t'); line++) {
            }
            return line;
        }
    }
    return NULL;
}

static enum verb classify(const char *head, size_t length) {
    const char *line_end = memchr(head, '\n', length);
    size_t line_length = line_end - head;
    const char *query = memchr(head, '?', line_length);
    if (!strncmp(head, "GET ", 4)) {
        if (query) {
            size_t query_length = line_end - query;
            if (has(query, query_length, "list-type=") || has(query, query_length, "prefix=") ||
                has(query, query_length, "delimiter=") || has(query, query_length, "max-keys="))
                return LIST;
        }
        return GET;
    }
    if (!strncmp(head, "PUT ", 4)) return field(head, length, "x-amz-copy-source") ? COPY : PUT;
    if (!strncmp(head, "HEAD ", 5)) return HEAD;
    if (!strncmp(head, "POST ", 5)) return POST;
    if (!strncmp(head, "DELETE ", 7)) return DELETE;
    return OTHER;
}

static void request_ended(struct connection *c) {
    c->request.state = IN_HEAD;
    if (latency_nanoseconds == 0) {
        begin_message(&c->down);
        return;
    }
    if (c->delayed) return;  // a pipelined request: the one before it is delayed still
    c->holding = true;
    c->release_at = now + latency_nanoseconds;
    c->delayed = true;
    TAILQ_INSERT_TAIL(&delayed, c, in_delayed);
}

// Decides whether the answer to a GET is one of those that straggle.
static void choose_straggler(struct connection *c) {
    gets++;
    c->down.rate = rate_bytes;
    if (stall_one_in && gets % stall_one_in == 0) {
        c->stalls = true;
        c->stall_after = gets / stall_one_in % 2 ? 0 : STALL_AFTER_BYTES;
        counters.stalled++;
    } else if (slow_one_in && gets % slow_one_in == 0) {
        refill(&c->down);
        c->down.rate = SLOW_BYTES;
        counters.slowed++;
    }
}

static void head_ended(struct connection *c, const char *head, size_t length) {
    struct request *request = &c->request;
    enum verb verb = classify(head, length);
    counters.requests[verb]++;
    if (verb == GET) choose_straggler(c);
    begin_message(&c->up);
    const char *coding = field(head, length, "transfer-encoding");
    if (coding && !strncasecmp(coding, "chunked", 7)) {
        request->state = IN_CHUNK_SIZE;
        return;
    }
    const char *content_length = field(head, length, "content-length");
    request->remaining = content_length ? strtoull(content_length, NULL, 10) : 0;
    if (request->remaining) {
        request->state = IN_BODY;
    } else {
        request_ended(c);
    }
}

// Appends to the text of the request up to and including `end`. Whether `end` was reached; `used` is what was taken.
static bool collect(struct request *request, const char *bytes, size_t count, const char *end, size_t *used) {
    size_t end_length = strlen(end);
    size_t before = request->length;
    if (before + count > request->capacity) {
        request->capacity = before + count + 1024;
        request->text = realloc(request->text, request->capacity);
        if (!request->text) die("realloc");
    }
    memcpy(request->text + before, bytes, count);
    request->length += count;
    size_t from = before >= end_length - 1 ? before - (end_length - 1) : 0;
    const char *found = memmem(request->text + from, request->length - from, end, end_length);
    if (!found) {
        *used = count;
        if (request->length > HEAD_BYTES_MAX) request->state = OPAQUE;
        return false;
    }
    request->length = found + end_length - request->text;
    *used = request->length - before;
    return true;
}

static void parse(struct connection *c, const char *bytes, size_t count) {
    struct request *request = &c->request;
    while (count && request->state != OPAQUE) {
        size_t used = 0;
        switch (request->state) {
        case IN_HEAD:
            if (request->length == 0 && (*bytes == '\r' || *bytes == '\n')) {  // allowed between requests
                used = 1;
            } else if (collect(request, bytes, count, "\r\n\r\n", &used)) {
                size_t length = request->length;
                request->length = 0;
                head_ended(c, request->text, length);
            }
            break;
        case IN_BODY:
        case IN_CHUNK:
            used = count < request->remaining ? count : request->remaining;
            request->remaining -= used;
            if (request->remaining == 0) {
                if (request->state == IN_BODY) {
                    request_ended(c);
                } else {
                    request->state = IN_CHUNK_SIZE;
                }
            }
            break;
        case IN_CHUNK_SIZE:
            if (collect(request, bytes, count, "\r\n", &used)) {
                uint64_t size = strtoull(request->text, NULL, 16);
                request->length = 0;
                request->remaining = size + 2;  // with the line end behind it
                request->state = size ? IN_CHUNK : IN_TRAILER;
            }
            break;
        case IN_TRAILER:
            if (collect(request, bytes, count, "\r\n", &used)) {
                bool empty = request->length == 2;
                request->length = 0;
                if (empty) request_ended(c);
            }
            break;
        case OPAQUE:
            break;
        }
        bytes += used;
        count -= used;
    }
}

// --- moving bytes ------------------------------------------------------------------------------------------------

// Writes what was read before. Whether the flow may read on; false too when the connection was closed.
static bool drain(struct connection *c, struct flow *flow) {
    while (flow->pending_at < flow->pending_end) {
        if (!flow->writable) return false;
        ssize_t sent =
            send(flow->to, flow->pending + flow->pending_at, flow->pending_end - flow->pending_at, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && errno == EAGAIN) {
            flow->writable = false;
        } else if (sent < 0) {
            close_connection(c);
            return false;
        } else {
            flow->pending_at += sent;
        }
    }
    while (flow->in_pipe) {
        if (!flow->writable) return false;
        ssize_t sent = splice(flow->pipe[0], NULL, flow->to, NULL, flow->in_pipe, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && errno == EAGAIN) {
            flow->writable = false;
        } else if (sent <= 0) {
            close_connection(c);
            return false;
        } else {
            flow->in_pipe -= sent;
        }
    }
    give_pipe(flow);
    if (flow->ended && !flow->shut) {
        flow->shut = true;
        shutdown(flow->to, SHUT_WR);
        if (c->up.shut && c->down.shut) close_connection(c);
    }
    return !flow->ended;
}

static ssize_t read_by_splice(struct flow *flow, size_t most) {
    if (!take_pipe(flow)) die("pipe2");
    // The pipe is empty here, so EAGAIN speaks of the socket.
    ssize_t got = splice(flow->from, NULL, flow->pipe[1], NULL, most, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    if (got > 0) flow->in_pipe += got;
    return got;
}

static ssize_t read_and_parse(struct connection *c, struct flow *flow, size_t most) {
    ssize_t got = recv(flow->from, scratch, most < SCRATCH_BYTES ? most : SCRATCH_BYTES, 0);
    if (got <= 0) return got;
    parse(c, scratch, got);
    ssize_t sent = flow->writable ? send(flow->to, scratch, got, MSG_NOSIGNAL) : 0;
    if (sent < 0) {  // drain() will meet the error again, and knows what to do
        sent = 0;
    }
    if (sent < got) {
        if (!flow->pending && !(flow->pending = malloc(SCRATCH_BYTES))) die("malloc");
        memcpy(flow->pending, scratch + sent, got - sent);
        flow->pending_at = 0;
        flow->pending_end = got - sent;
    }
    return got;
}

static void pump(struct connection *c, struct flow *flow) {
    bool up = flow == &c->up;
    size_t moved = 0;
    while (!c->dead) {
        if (!drain(c, flow)) return;
        if (!flow->readable || (!up && c->holding)) return;
        if (moved >= TURN_BYTES) {
            wait_for_turn(c);
            return;
        }
        if (!up && c->stalls && c->stall_after == 0) return;
        size_t most = allowance(flow);
        if (most == 0) {
            wait_for_tick(c);
            return;
        }
        if (most > PIPE_BYTES) most = PIPE_BYTES;
        if (!up && c->stalls && most > c->stall_after) most = c->stall_after;
        ssize_t got;
        if (!up || c->request.state == OPAQUE) {
            got = read_by_splice(flow, most);
        } else if (c->request.state == IN_BODY && c->request.remaining >= SPLICE_BYTES_MIN) {
            got = read_by_splice(flow, most < c->request.remaining ? most : c->request.remaining);
            if (got > 0) {
                c->request.remaining -= got;
                if (c->request.remaining == 0) request_ended(c);
            }
        } else {
            got = read_and_parse(c, flow, most);
        }
        if (got > 0) {
            moved += got;
            spend(flow, got);
            if (!up && c->stalls) c->stall_after -= got;
            if (!up && link_bytes) {
                wait_for_tick(c);
                return;
            }
        } else if (got == 0) {
            flow->ended = true;
        } else if (errno == EAGAIN) {
            flow->readable = false;
        } else if (errno != EINTR) {
            close_connection(c);
        }
    }
}

// --- events ------------------------------------------------------------------------------------------------------

static void start_flow(struct flow *flow, int from, int to, uint64_t *counter) {
    *flow = (struct flow){.from = from, .to = to, .pipe = {-1, -1}, .counter = counter};
    flow->tokens = BURST_AT_START;
    flow->refilled_at = now;
    flow->rate = rate_bytes;
}

static void accept_clients(int listener) {
    for (;;) {
        int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client < 0) return;
        int server = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (server < 0) {
            close(client);
            return;
        }
        int one = 1;
        setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (connect(server, (struct sockaddr *)&target, sizeof target) < 0 && errno != EINPROGRESS) {
            close(client);
            close(server);
            continue;
        }
        struct connection *c = calloc(1, sizeof *c);
        if (!c) die("calloc");
        c->client = (struct endpoint){CLIENT, client, c};
        c->server = (struct endpoint){SERVER, server, c};
        start_flow(&c->up, client, server, &counters.up_bytes);
        start_flow(&c->down, server, client, &counters.down_bytes);
        counters.connections++;
        open_connections++;
        watch(&c->client, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
        watch(&c->server, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
    }
}

static void relay_event(struct endpoint *endpoint, uint32_t events) {
    struct connection *c = endpoint->connection;
    if (c->dead) return;
    // Of a stalled answer nobody would see the end of the connection.
    bool is_left = c->stalls && endpoint->kind == CLIENT && (events & (EPOLLRDHUP | EPOLLHUP));
    if (events & EPOLLERR || is_left) {
        close_connection(c);
        return;
    }
    bool in = events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP);
    bool out = events & EPOLLOUT;
    if (endpoint->kind == CLIENT) {
        c->up.readable |= in;
        c->down.writable |= out;
    } else {
        c->down.readable |= in;
        c->up.writable |= out;
    }
    pump(c, &c->up);
    if (!c->dead) pump(c, &c->down);
}

static void accept_control(int listener) {
    int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client < 0) return;
    struct endpoint *endpoint = malloc(sizeof *endpoint);
    if (!endpoint) die("malloc");
    *endpoint = (struct endpoint){CONTROL, client, NULL};
    watch(endpoint, EPOLLIN | EPOLLRDHUP);
}

static void answer_control(struct endpoint *endpoint) {
    char request[4096], body[1024], answer[2048];
    ssize_t got = recv(endpoint->descriptor, request, sizeof request - 1, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got > 0) {
        request[got] = 0;
        bool reset = !strncmp(request, "GET /reset", 10);
        bool known = reset || !strncmp(request, "GET /counters", 13);
        unsigned stall, slow;
        if (sscanf(request, "GET /stragglers?stall=%u&slow=%u", &stall, &slow) == 2) {
            known = true;
            stall_one_in = stall;
            slow_one_in = slow;
            gets = 0;
        }
        int length = known ? format_counters(body, sizeof body)
                           : snprintf(body, sizeof body, "/counters, /reset, /stragglers?stall=N&slow=N\n");
        if (reset) memset(&counters, 0, sizeof counters);
        int total = snprintf(answer, sizeof answer,
                             "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
                             "Connection: close\r\n\r\n%s",
                             known ? "200 OK" : "404 Not Found", length, body);
        // An answer this short always fits into the socket's buffer.
        (void)!send(endpoint->descriptor, answer, total, MSG_NOSIGNAL);
    }
    close(endpoint->descriptor);
    free(endpoint);
}

static void answer_signal(int descriptor) {
    struct signalfd_siginfo info;
    if (read(descriptor, &info, sizeof info) != sizeof info) return;
    if (info.ssi_signo != SIGUSR1) exit(0);
    char text[1024];
    format_counters(text, sizeof text);
    fputs(text, stdout);
    fflush(stdout);
    memset(&counters, 0, sizeof counters);
}

static void release_delayed(void) {
    struct connection *c;
    while ((c = TAILQ_FIRST(&delayed)) && c->release_at <= now) {
        TAILQ_REMOVE(&delayed, c, in_delayed);
        c->delayed = c->holding = false;
        begin_message(&c->down);
        pump(c, &c->down);
    }
}

// Lets each member of the list go on once; who must wait again stands in the list anew. Those that the link had nothing
// for are the first next time: else the same few would have all of it.
static void pump_throttled(void) {
    struct connections turn = TAILQ_HEAD_INITIALIZER(turn), unserved = TAILQ_HEAD_INITIALIZER(unserved);
    TAILQ_CONCAT(&turn, &throttled, in_throttled);
    struct connection *c;
    while ((c = TAILQ_FIRST(&turn))) {
        TAILQ_REMOVE(&turn, c, in_throttled);
        c->throttled = false;
        link_is_empty = false;
        pump(c, &c->up);
        if (!c->dead) pump(c, &c->down);
        if (link_is_empty && c->throttled) {
            TAILQ_REMOVE(&throttled, c, in_throttled);
            TAILQ_INSERT_TAIL(&unserved, c, in_throttled);
        }
    }
    TAILQ_CONCAT(&unserved, &throttled, in_throttled);
    TAILQ_CONCAT(&throttled, &unserved, in_throttled);
}

static void pump_ready(void) {
    struct connections turn = TAILQ_HEAD_INITIALIZER(turn);
    TAILQ_CONCAT(&turn, &ready, in_ready);
    struct connection *c;
    while ((c = TAILQ_FIRST(&turn))) {
        TAILQ_REMOVE(&turn, c, in_ready);
        c->ready = false;
        pump(c, &c->up);
        if (!c->dead) pump(c, &c->down);
    }
}

static void bury_dead(void) {
    struct connection *c;
    while ((c = TAILQ_FIRST(&dead))) {
        TAILQ_REMOVE(&dead, c, in_dead);
        give_pipe(&c->up);
        give_pipe(&c->down);
        free(c->up.pending);
        free(c->down.pending);
        free(c->request.text);
        free(c);
    }
}

static void serve(void) {
    struct epoll_event events[EVENTS_MAX];
    uint64_t next_tick = 0;
    for (;;) {
        uint64_t wake = UINT64_MAX;
        if (!TAILQ_EMPTY(&delayed)) wake = TAILQ_FIRST(&delayed)->release_at;
        if (!TAILQ_EMPTY(&throttled) && next_tick < wake) wake = next_tick;
        now = clock_nanoseconds();
        if (!TAILQ_EMPTY(&ready)) wake = now;
        uint64_t wait = wake > now ? wake - now : 0;
        struct timespec timeout = {.tv_sec = wait / 1000000000, .tv_nsec = wait % 1000000000};
        int count = epoll_pwait2(epoll, events, EVENTS_MAX, wake == UINT64_MAX ? NULL : &timeout, NULL);
        if (count < 0 && errno != EINTR) die("epoll_pwait2");
        now = clock_nanoseconds();
        for (int index = 0; index < count; index++) {
            struct endpoint *endpoint = events[index].data.ptr;
            switch (endpoint->kind) {
            case LISTENER: accept_clients(endpoint->descriptor); break;
            case CONTROL_LISTENER: accept_control(endpoint->descriptor); break;
            case CONTROL: answer_control(endpoint); break;
            case SIGNALS: answer_signal(endpoint->descriptor); break;
            case CLIENT:
            case SERVER: relay_event(endpoint, events[index].events); break;
            }
        }
        release_delayed();
        if (!TAILQ_EMPTY(&throttled) && now >= next_tick) {
            next_tick = now + TICK_NANOSECONDS;
            pump_throttled();
        }
        pump_ready();
        bury_dead();
    }
}

static int listen_on(int port, int *bound) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0) die("socket");
    int one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0) die("bind");
    if (listen(listener, 4096) < 0) die("listen");
    socklen_t size = sizeof address;
    getsockname(listener, (struct sockaddr *)&address, &size);
    *bound = ntohs(address.sin_port);
    return listener;
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"target", required_argument, 0, 't'},     {"listen", required_argument, 0, 'l'},
        {"control", required_argument, 0, 'c'},    {"latency-ms", required_argument, 0, 'm'},
        {"rate-mb", required_argument, 0, 'r'},    {"stall-one-in", required_argument, 0, 's'},
        {"slow-one-in", required_argument, 0, 'w'}, {"link-mb", required_argument, 0, 'k'},
        {0},
    };
    int target_port = 0, listen_port = 0, control_port = 0, option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 't': target_port = atoi(optarg); break;
        case 'l': listen_port = atoi(optarg); break;
        case 'c': control_port = atoi(optarg); break;
        case 'm': latency_nanoseconds = (uint64_t)(atof(optarg) * 1e6); break;
        case 'r': rate_bytes = (uint64_t)(atof(optarg) * 1e6); break;
        case 'k': link_bytes = (uint64_t)(atof(optarg) * 1e6); break;
        case 's': stall_one_in = strtoul(optarg, NULL, 10); break;
        case 'w': slow_one_in = strtoul(optarg, NULL, 10); break;
        default: return 2;
        }
    }
    if (!target_port) {
        fprintf(stderr, "usage: relay --target PORT [--listen PORT] [--control PORT] [--latency-ms N] [--rate-mb N] "
                        "[--link-mb N] [--stall-one-in N] [--slow-one-in N]\n");
        return 2;
    }
    target = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(target_port)};
    target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);

    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0) die("epoll_create1");
    static struct endpoint listener = {.kind = LISTENER}, control = {.kind = CONTROL_LISTENER};
    static struct endpoint signals = {.kind = SIGNALS};
    listener.descriptor = listen_on(listen_port, &listen_port);
    control.descriptor = listen_on(control_port, &control_port);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);  // splice to a closed socket raises it
    signals.descriptor = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (signals.descriptor < 0) die("signalfd");
    watch(&listener, EPOLLIN);
    watch(&control, EPOLLIN);
    watch(&signals, EPOLLIN);

    printf("relay listen=%d control=%d\n", listen_port, control_port);
    fflush(stdout);
    serve();
}
