/* CRC-32 (IEEE 802.3, reflected 0xEDB88320): the checksum that venues take over a book's texts.
 *
 * By carry-less multiplication where the processor has the instruction (looked up once, at run time), else by tables,
 * sixteen bytes at a time. Both give the same for every text.
 */
#ifndef RINGLANE_FEED_CRC32_H
#define RINGLANE_FEED_CRC32_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define FEED_CRC_FOLDS 1
#include <immintrin.h>
#endif

#define FEED_CRC_FOLD_MIN 64u

static uint32_t feed_crc_table[16][256];
static int feed_crc_folds; /* whether the instruction is there */

static inline void feed_crc_init(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++) c = c & 1 ? 0xEDB88320u ^ c >> 1 : c >> 1;
        feed_crc_table[0][i] = c;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int k = 1; k < 16; k++)
            feed_crc_table[k][i] = feed_crc_table[k - 1][i] >> 8 ^ feed_crc_table[0][feed_crc_table[k - 1][i] & 255];
#ifdef FEED_CRC_FOLDS
    feed_crc_folds = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
#endif
}

/* Goes on with the register `c` over n bytes. */
static inline uint32_t feed_crc_by_table(uint32_t c, const unsigned char *b, size_t n) {
    for (; n >= 16; n -= 16, b += 16) {
        uint32_t w[4];
        memcpy(w, b, 16);
        w[0] ^= c;
        c = 0;
        for (int k = 0; k < 4; k++) {
            const uint32_t(*t)[256] = &feed_crc_table[12 - 4 * k];
            c ^= t[3][w[k] & 255] ^ t[2][w[k] >> 8 & 255] ^ t[1][w[k] >> 16 & 255] ^ t[0][w[k] >> 24];
        }
    }
    while (n--) c = feed_crc_table[0][(c ^ *b++) & 255] ^ c >> 8;
    return c;
}

#ifdef FEED_CRC_FOLDS
#define FEED_CRC_TARGET __attribute__((target("pclmul,sse4.1")))

/* `x` moved on by the distance of the constants `k`, and what stands there. */
FEED_CRC_TARGET static inline __m128i feed_crc_fold(__m128i x, __m128i k, __m128i there) {
    return _mm_xor_si128(_mm_xor_si128(_mm_clmulepi64_si128(x, k, 0x00), _mm_clmulepi64_si128(x, k, 0x11)), there);
}

/* The same as feed_crc_by_table for n >= FEED_CRC_FOLD_MIN, a multiple of 16. After Gopal et al., "Fast CRC Computation
 * for Generic Polynomials Using PCLMULQDQ Instruction" (Intel, 2009): four lines of 16 bytes are folded over the text,
 * then into one, which a Barrett reduction makes 32 bits. The constants are x^n modulo the polynomial, reflected. */
FEED_CRC_TARGET static uint32_t feed_crc_by_folding(uint32_t c, const unsigned char *b, size_t n) {
    const __m128i by_64 = _mm_set_epi64x(0x01c6e41596, 0x0154442bd4), by_16 = _mm_set_epi64x(0x00ccaa009e, 0x01751997d0);
    const __m128i by_4 = _mm_set_epi64x(0, 0x0163cd6124), barrett = _mm_set_epi64x(0x01f7011641, 0x01db710641);
    const __m128i low = _mm_setr_epi32(~0, 0, ~0, 0);
    const __m128i *at = (const __m128i *)b;
    __m128i x[4];
    for (int i = 0; i < 4; i++) x[i] = _mm_loadu_si128(at + i);
    x[0] = _mm_xor_si128(x[0], _mm_cvtsi32_si128((int)c));
    for (at += 4, n -= 64; n >= 64; at += 4, n -= 64)
        for (int i = 0; i < 4; i++) x[i] = feed_crc_fold(x[i], by_64, _mm_loadu_si128(at + i));
    for (int i = 1; i < 4; i++) x[0] = feed_crc_fold(x[0], by_16, x[i]);
    for (; n >= 16; at++, n -= 16) x[0] = feed_crc_fold(x[0], by_16, _mm_loadu_si128(at));
    __m128i y = _mm_xor_si128(_mm_srli_si128(x[0], 8), _mm_clmulepi64_si128(x[0], by_16, 0x10));
    y = _mm_xor_si128(_mm_srli_si128(y, 4), _mm_clmulepi64_si128(_mm_and_si128(y, low), by_4, 0x00));
    __m128i q = _mm_and_si128(_mm_clmulepi64_si128(_mm_and_si128(y, low), barrett, 0x10), low);
    return (uint32_t)_mm_extract_epi32(_mm_xor_si128(y, _mm_clmulepi64_si128(q, barrett, 0x00)), 1);
}
#endif

/* CRC-32 of n bytes; feed_crc_init came before. */
static inline uint32_t feed_crc(const char *p, size_t n) {
    const unsigned char *b = (const unsigned char *)p;
    uint32_t c = 0xFFFFFFFFu;
#ifdef FEED_CRC_FOLDS
    if (n >= FEED_CRC_FOLD_MIN && feed_crc_folds) {
        const size_t folded = n & ~(size_t)15;
        c = feed_crc_by_folding(c, b, folded);
        b += folded;
        n -= folded;
    }
#endif
    return ~feed_crc_by_table(c, b, n);
}

#endif
