// CRC-32C by the processor's own instruction: eight bytes a step instead of a table look-up for each.
//
// The instruction takes three cycles to give its result, and a new one can begin in each: so three stretches of the
// bytes are summed side by side. The sum is linear, so that of the first stretch is carried over the next by what as
// many zeros would make of it, which a table gives for each of its four bytes.

#include "CLinux.h"

#include <stddef.h>
#include <string.h>

#if defined(__x86_64__)

#define WITH_INSTRUCTION __attribute__((target("sse4.2")))
#define STEP8(state, word) __builtin_ia32_crc32di(state, word)
#define STEP1(state, byte) __builtin_ia32_crc32qi((uint32_t)(state), byte)

static int has_instruction(void) { return __builtin_cpu_supports("sse4.2") != 0; }

#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)

#include <arm_acle.h>

#define WITH_INSTRUCTION
#define STEP8(state, word) __crc32cd((uint32_t)(state), word)
#define STEP1(state, byte) __crc32cb((uint32_t)(state), byte)

static int has_instruction(void) { return 1; }

#endif

#ifdef STEP8

enum { STRETCH = 512 };

// What STRETCH zeros make of a state, by its bytes. Written once, by `pail_prepare_crc32c`.
static uint32_t carried[4][256];

static inline uint64_t word_at(const unsigned char *bytes) {
    uint64_t word;
    memcpy(&word, bytes, 8);
    return word;
}

static inline uint32_t carry(uint32_t state) {
    return carried[0][state & 0xff] ^ carried[1][state >> 8 & 0xff] ^ carried[2][state >> 16 & 0xff] ^
        carried[3][state >> 24];
}

WITH_INSTRUCTION static void fill_table(void) {
    for (uint32_t place = 0; place < 4; place++) {
        for (uint32_t byte = 0; byte < 256; byte++) {
            uint64_t state = byte << (8 * place);
            for (int step = 0; step < STRETCH / 8; step++) state = STEP8(state, 0);
            carried[place][byte] = (uint32_t)state;
        }
    }
}

int pail_prepare_crc32c(void) {
    if (!has_instruction()) return 0;
    fill_table();
    return 1;
}

WITH_INSTRUCTION uint32_t pail_crc32c(uint32_t state, const void *bytes, int64_t count) {
    const unsigned char *next = bytes;
    uint64_t first = state;
    for (; count >= 3 * STRETCH; count -= 3 * STRETCH, next += 3 * STRETCH) {
        uint64_t second = 0, third = 0;
        for (int offset = 0; offset < STRETCH; offset += 8) {
            first = STEP8(first, word_at(next + offset));
            second = STEP8(second, word_at(next + STRETCH + offset));
            third = STEP8(third, word_at(next + 2 * STRETCH + offset));
        }
        first = carry(carry((uint32_t)first) ^ (uint32_t)second) ^ (uint32_t)third;
    }
    for (; count >= 8; count -= 8, next += 8) first = STEP8(first, word_at(next));
    uint32_t narrow = (uint32_t)first;
    for (; count > 0; count--) narrow = STEP1(narrow, *next++);
    return narrow;
}

#else

int pail_prepare_crc32c(void) { return 0; }

uint32_t pail_crc32c(uint32_t state, const void *bytes, int64_t count) {
    (void)bytes;
    (void)count;
    return state;
}

#endif
