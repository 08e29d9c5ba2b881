/* CRC-32 (IEEE 802.3, reflected 0xEDB88320) of a text from the CRCs of its pieces: what venues take over a book's texts.
 *
 * A register is a polynomial modulo the CRC's, its bit 31 the constant. Beginning with 0 it is linear in the text, so that a
 * piece with n bytes behind it adds its own register times x^8n, whatever the others are. The products are added up
 * unreduced. They are carry-less multiplications: by the processor's instruction where it has it (looked up once, at run
 * time), else by shifts. Both give the same for every text.
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

#define FEED_CRC_PIECE 32u /* a piece of at most so many bytes is taken at once */
#define FEED_CRC_BEHIND_MAX 8192u

/* One piece of a text: its register, begun with 0, and its length. */
typedef struct feed_piece {
    int64_t key; /* the owner's */
    uint32_t crc;
    uint32_t bytes;
} feed_piece;

static uint32_t feed_crc_table[4][256];
static uint32_t feed_crc_power[FEED_CRC_BEHIND_MAX]; /* x^8n */
static int feed_crc_folds;                           /* whether the instruction is there */

static inline void feed_crc_init(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++) c = c & 1 ? 0xEDB88320u ^ c >> 1 : c >> 1;
        feed_crc_table[0][i] = c;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int k = 1; k < 4; k++)
            feed_crc_table[k][i] = feed_crc_table[k - 1][i] >> 8 ^ feed_crc_table[0][feed_crc_table[k - 1][i] & 255];
    uint32_t power = UINT32_C(1) << 31;
    for (uint32_t i = 0; i < FEED_CRC_BEHIND_MAX; i++) {
        feed_crc_power[i] = power;
        power = feed_crc_table[0][power & 255] ^ power >> 8;
    }
#ifdef FEED_CRC_FOLDS
    feed_crc_folds = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
#endif
}

/* Goes on with a register over four zeros. */
static inline uint32_t feed_crc_zeros(uint32_t c) {
    return feed_crc_table[3][c & 255] ^ feed_crc_table[2][c >> 8 & 255] ^ feed_crc_table[1][c >> 16 & 255] ^
           feed_crc_table[0][c >> 24];
}

/* Goes on with the register `c` over n bytes. */
static inline uint32_t feed_crc_by_table(uint32_t c, const unsigned char *b, size_t n) {
    for (; n >= 4; n -= 4, b += 4) {
        uint32_t w;
        memcpy(&w, b, 4);
        c = feed_crc_zeros(c ^ w);
    }
    while (n--) c = feed_crc_table[0][(c ^ *b++) & 255] ^ c >> 8;
    return c;
}

/* The product of two registers, not reduced. */
static inline uint64_t feed_crc_times(uint32_t a, uint32_t b) {
    uint64_t part[16] = {0, b}, product = 0;
    for (uint32_t i = 2; i < 16; i++) part[i] = i & 1 ? part[i - 1] ^ b : part[i / 2] << 1;
    for (int shift = 28; shift >= 0; shift -= 4) product = product << 4 ^ part[a >> shift & 15];
    return product;
}

/* A sum of products as a register. */
static inline uint32_t feed_crc_reduce(uint64_t products) {
    products <<= 1;
    return (uint32_t)(products >> 32) ^ feed_crc_zeros((uint32_t)products);
}

#ifdef FEED_CRC_FOLDS
#define FEED_CRC_TARGET __attribute__((target("pclmul,sse4.1")))

/* The register of FEED_CRC_PIECE bytes, begun with 0. After Gopal et al., "Fast CRC Computation for Generic Polynomials
 * Using PCLMULQDQ Instruction" (Intel, 2009): one half is folded over the other, 16 bytes are made 8, and a Barrett
 * reduction makes 4 of them. The constants are x^n modulo the polynomial, reflected. */
FEED_CRC_TARGET static uint32_t feed_crc_by_folding(const unsigned char *b) {
    const __m128i by_16 = _mm_set_epi64x(0x00ccaa009e, 0x01751997d0), by_4 = _mm_set_epi64x(0, 0x0163cd6124);
    const __m128i barrett = _mm_set_epi64x(0x01f7011641, 0x01db710641), low = _mm_setr_epi32(~0, 0, ~0, 0);
    const __m128i x = _mm_loadu_si128((const __m128i *)b);
    const __m128i y = _mm_xor_si128(_mm_xor_si128(_mm_clmulepi64_si128(x, by_16, 0x00), _mm_clmulepi64_si128(x, by_16, 0x11)),
                                    _mm_loadu_si128((const __m128i *)(b + 16)));
    __m128i z = _mm_xor_si128(_mm_srli_si128(y, 8), _mm_clmulepi64_si128(y, by_16, 0x10));
    z = _mm_xor_si128(_mm_srli_si128(z, 4), _mm_clmulepi64_si128(_mm_and_si128(z, low), by_4, 0x00));
    const __m128i q = _mm_and_si128(_mm_clmulepi64_si128(_mm_and_si128(z, low), barrett, 0x10), low);
    return (uint32_t)_mm_extract_epi32(_mm_xor_si128(z, _mm_clmulepi64_si128(q, barrett, 0x00)), 1);
}

FEED_CRC_TARGET static uint64_t feed_crc_sum_folded(uint32_t from, const feed_piece *first, uint32_t firsts,
                                                    const feed_piece *second, uint32_t seconds) {
    __m128i sum = _mm_setzero_si128();
    uint32_t n = 0;
    for (uint32_t i = firsts > seconds ? firsts : seconds; i-- > 0;) {
        if (i < seconds) {
            sum = _mm_xor_si128(sum, _mm_clmulepi64_si128(_mm_cvtsi32_si128((int)second[i].crc),
                                                          _mm_cvtsi32_si128((int)feed_crc_power[n]), 0));
            n += second[i].bytes;
        }
        if (i < firsts) {
            sum = _mm_xor_si128(sum, _mm_clmulepi64_si128(_mm_cvtsi32_si128((int)first[i].crc),
                                                          _mm_cvtsi32_si128((int)feed_crc_power[n]), 0));
            n += first[i].bytes;
        }
    }
    sum = _mm_xor_si128(sum, _mm_clmulepi64_si128(_mm_cvtsi32_si128((int)from), _mm_cvtsi32_si128((int)feed_crc_power[n]), 0));
    return (uint64_t)_mm_cvtsi128_si64(sum);
}
#endif

/* The register of a piece that ends at `end`, begun with 0; FEED_CRC_PIECE zeros stand before it. */
static inline uint32_t feed_crc_piece(const unsigned char *end, uint32_t bytes) {
#ifdef FEED_CRC_FOLDS
    /* A register that is 0 stays so over zeros. */
    if (bytes <= FEED_CRC_PIECE && feed_crc_folds) return feed_crc_by_folding(end - FEED_CRC_PIECE);
#endif
    return feed_crc_by_table(0, end - bytes, bytes);
}

/* The register, begun with `from`, of the pieces of two lists in turn, as far as there are any. Fewer than
 * FEED_CRC_BEHIND_MAX bytes in all. */
static inline uint32_t feed_crc_pieces(uint32_t from, const feed_piece *first, uint32_t firsts, const feed_piece *second,
                                       uint32_t seconds) {
    uint64_t sum = 0;
    uint32_t n = 0;
#ifdef FEED_CRC_FOLDS
    if (feed_crc_folds) return feed_crc_reduce(feed_crc_sum_folded(from, first, firsts, second, seconds));
#endif
    for (uint32_t i = firsts > seconds ? firsts : seconds; i-- > 0;) {
        if (i < seconds) {
            sum ^= feed_crc_times(second[i].crc, feed_crc_power[n]);
            n += second[i].bytes;
        }
        if (i < firsts) {
            sum ^= feed_crc_times(first[i].crc, feed_crc_power[n]);
            n += first[i].bytes;
        }
    }
    return feed_crc_reduce(sum ^ feed_crc_times(from, feed_crc_power[n]));
}

#endif
