/* What the feed does many bytes at a time against doing it byte by byte: decimals, digits, levels, checksums.
 *
 * Usage: feed_numbers ROUNDS SEED. Ends with 0 and prints how many texts were read, or says what differs and aborts.
 */
#include <inttypes.h>
#include <stdio.h>

#include "feeds/native/checksum.h"
#include "feeds/native/object.h"

static uint64_t state;

static uint64_t draw(uint64_t below) { /* splitmix64 */
    uint64_t x = state += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return (x ^ (x >> 31)) % below;
}

#define CHECK(condition, text)                                                                        \
    do {                                                                                              \
        if (!(condition)) {                                                                           \
            printf("%s:%d: %s: %.60s\n", __FILE__, __LINE__, #condition, (text));                     \
            exit(1);                                                                                  \
        }                                                                                             \
    } while (0)

/* A decimal by its rule: digits, at most one point with digits on both sides, then the quote. Returns what stands behind
 * it, 0 where it is none, or no number of 64 bits once zeros at the end of a long one are gone. */
static size_t slow_decimal(const char *p, uint64_t *mantissa, uint32_t *decimals) {
    size_t whole = 0, fraction = 0;
    while (p[whole] >= '0' && p[whole] <= '9') whole++;
    if (!whole) return 0;
    size_t at = whole;
    if (p[at] == '.') {
        while (p[at + 1 + fraction] >= '0' && p[at + 1 + fraction] <= '9') fraction++;
        if (!fraction) return 0;
        at += 1 + fraction;
    }
    if (p[at] != '"') return 0;
    unsigned __int128 v = 0;
    for (int strip = 0;; strip = 1) {
        if (strip)
            while (fraction && p[whole + fraction] == '0') fraction--;
        v = 0;
        int fits = 1;
        for (size_t i = 0; i < whole + (fraction ? 1 + fraction : 0); i++) {
            if (p[i] == '.') continue;
            v = v * 10 + (unsigned)(p[i] - '0');
            if (v > INT64_MAX) fits = 0;
            if (!fits) break;
        }
        if (fits) break;
        if (strip) return 0;
    }
    *mantissa = (uint64_t)v;
    *decimals = (uint32_t)fraction;
    return at;
}

/* mantissa * 10^-decimals of both are equal. */
static int same(uint64_t a, uint32_t a_decimals, uint64_t b, uint32_t b_decimals) {
    unsigned __int128 x = a, y = b;
    for (; a_decimals < b_decimals && x <= UINT64_MAX; a_decimals++) x *= 10;
    for (; b_decimals < a_decimals && y <= UINT64_MAX; b_decimals++) y *= 10;
    return x == y;
}

static size_t random_decimal(char *out) {
    static const char odd[] = "\"./:-+ e0\x7f\x80\xb0\xb9\xff";
    size_t n = 0, whole = 1 + draw(draw(4) ? 8 : 20), fraction = draw(3) ? draw(draw(4) ? 9 : 22) : 0;
    for (size_t i = 0; i < whole; i++) out[n++] = (char)('0' + draw(draw(2) ? 10 : 2));
    if (fraction || !draw(20)) out[n++] = '.';
    for (size_t i = 0; i < fraction; i++) out[n++] = (char)('0' + draw(draw(2) ? 10 : 2));
    out[n] = '"';
    if (!draw(4)) out[draw(n + 1)] = odd[draw(sizeof odd - 1)];
    return n + 1;
}

static void check_decimals(void) {
    char text[160];
    memset(text, 0, sizeof text);
    size_t n = random_decimal(text);
    for (size_t i = n; i < n + 20; i++) text[i] = (char)draw(256);
    text[n + 20] = '"';
    feed_scan s;
    memset(&s, 0, sizeof s);
    s.begin = text;
    s.end = text + sizeof text - FEED_PADDING;
    int64_t mantissa = -1;
    uint64_t expected = 0;
    uint32_t decimals = 0, expected_decimals = 0;
    const char *end = feed_decimal_text(&s, text, &mantissa, &decimals, "x");
    size_t slow = slow_decimal(text, &expected, &expected_decimals);
    CHECK((end ? (size_t)(end - text) : 0) == slow, text);
    if (slow) CHECK(same((uint64_t)mantissa, decimals, expected, expected_decimals), text);
    const char *brief = feed_decimal_short(text, &mantissa, &decimals);
    if (brief) CHECK((size_t)(brief - text) == slow && same((uint64_t)mantissa, decimals, expected, expected_decimals), text);
#ifdef FEED_WIDE
    if (feed_is_wide()) {
        const char *wide = feed_decimal_wide(text, &mantissa, &decimals);
        if (wide) CHECK((size_t)(wide - text) == slow && same((uint64_t)mantissa, decimals, expected, expected_decimals), text);
        CHECK(wide || !brief, text);
    }
#endif
    uint64_t v = 0, w = 0;
    const char *behind = feed_digits(text, &v);
    size_t count = 0;
    for (; text[count] >= '0' && text[count] <= '9'; count++) w = w * 10 + (uint64_t)(text[count] - '0');
    CHECK(behind == text + count && v == w, text);
}

/* A level read by the fast way and by the general one: the same end, the same numbers, the same error. */
static void check_levels(void) {
    char text[320];
    memset(text, 0, sizeof text);
    size_t n = 0;
    text[n++] = '[';
    for (uint64_t i = 0, count = draw(3) ? 2 : draw(6); i < count; i++) {
        if (i) text[n++] = ',';
        if (!draw(20)) text[n++] = ' ';
        text[n++] = '"';
        n += random_decimal(text + n);
    }
    text[n++] = ']';
    if (!draw(4)) text[draw(n)] = "[]\",.:x 0"[draw(9)];
    for (int extra = 0; extra < 3; extra++) {
        feed_level fast, slow;
        feed_scan a, b;
        memset(&fast, 0, sizeof fast);
        memset(&slow, 0, sizeof slow);
        memset(&a, 0, sizeof a);
        a.begin = text;
        a.end = text + n;
        b = a;
        const char *fast_end = feed_level_one(&a, text, &fast, extra, "x"), *slow_end = feed_level_any(&b, text, &slow, extra, "x");
        CHECK(fast_end == slow_end, text);
        CHECK(a.error.code == b.error.code && a.error.offset == b.error.offset, text);
        if (!fast_end) continue;
        CHECK(fast.price == slow.price && fast.quantity == slow.quantity && fast.offset == slow.offset, text);
        CHECK(fast.price_decimals == slow.price_decimals && fast.quantity_decimals == slow.quantity_decimals, text);
        CHECK(a.padded == b.padded, text);
    }
}

static uint32_t slow_crc(const unsigned char *b, size_t n) {
    uint32_t c = 0xFFFFFFFFu;
    for (size_t i = 0; i < n; i++) {
        c ^= b[i];
        for (int k = 0; k < 8; k++) c = c & 1 ? 0xEDB88320u ^ c >> 1 : c >> 1;
    }
    return ~c;
}

/* The CRC of a text from those of its pieces against that of the text, with the instruction and without. */
static void check_crc(void) {
    unsigned char whole[2 * FEED_CHECK_LEVELS * FEED_CHECK_TEXT], padded[FEED_CRC_PIECE + FEED_CHECK_TEXT];
    feed_piece piece[2][FEED_CHECK_LEVELS];
    const int folds = feed_crc_folds;
    const uint32_t count[2] = {(uint32_t)draw(FEED_CHECK_LEVELS + 1), (uint32_t)draw(FEED_CHECK_LEVELS + 1)};
    size_t n = 0;
    for (uint32_t i = 0; i < FEED_CHECK_LEVELS; i++)
        for (int s = 0; s < 2; s++) {
            if (i >= count[s]) continue;
            memset(padded, 0, sizeof padded);
            const uint32_t bytes = (uint32_t)draw(draw(4) ? FEED_CRC_PIECE + 1 : FEED_CHECK_TEXT);
            for (uint32_t k = 0; k < bytes; k++) padded[FEED_CRC_PIECE + k] = (unsigned char)draw(256);
            memcpy(whole + n, padded + FEED_CRC_PIECE, bytes);
            n += bytes;
            piece[s][i].bytes = bytes;
            piece[s][i].crc = feed_crc_piece(padded + FEED_CRC_PIECE + bytes, bytes);
            feed_crc_folds = 0;
            CHECK(piece[s][i].crc == feed_crc_piece(padded + FEED_CRC_PIECE + bytes, bytes), "a piece by table");
            feed_crc_folds = folds;
        }
    for (int k = 0; k < 2; k++) {
        feed_crc_folds = k ? 0 : folds;
        CHECK(~feed_crc_pieces(0xFFFFFFFFu, piece[0], count[0], piece[1], count[1]) == slow_crc(whole, n), "checksum of pieces");
    }
    feed_crc_folds = folds;
    CHECK(~feed_crc_by_table(0xFFFFFFFFu, whole, n) == slow_crc(whole, n), "checksum by table");
}

/* A list of levels against its levels one by one by the general way. */
static void check_lists(void) {
    char text[2000];
    feed_level fast[20], slow[20];
    uint32_t count = 0, expected = 0;
    size_t n = 0;
    const int extra = (int)draw(3);
    memset(text, 0, sizeof text);
    text[n++] = '[';
    for (uint64_t i = 0, levels = draw(12); i < levels; i++) {
        if (i) text[n++] = ',';
        if (!draw(30)) text[n++] = ' ';
        text[n++] = '[';
        for (int k = 0, end = draw(20) ? 2 + extra : (int)draw(5); k < end; k++) {
            if (k) text[n++] = ',';
            text[n++] = '"';
            if (k >= 2) text[n++] = '0', text[n++] = '"';
            else if (draw(3)) n += (size_t)sprintf(text + n, "%d.%02d\"", (int)draw(100000), (int)draw(100));
            else n += random_decimal(text + n);
        }
        text[n++] = ']';
    }
    text[n++] = ']';
    if (!draw(4)) text[draw(n)] = "[]\",.:x 0"[draw(9)];
    feed_scan a, b;
    memset(&a, 0, sizeof a);
    a.begin = text;
    a.end = text + n;
    b = a;
    const char *end = feed_levels(&a, text, fast, &count, extra, "x"), *p = feed_ws(text + 1);
    if (*text != '[') return;
    if (*p == ']') p++;
    else
        for (;;) {
            if (!(p = feed_level_any(&b, p, &slow[expected], extra, "x"))) {
                b.error.index = (int32_t)expected;
                break;
            }
            expected++;
            p = feed_ws(p);
            if (*p == ']') {
                p++;
                break;
            }
            if (*p != ',') {
                p = feed_fail(&b, FEED_E_SYNTAX, p, "x");
                break;
            }
            p = feed_ws(p + 1);
        }
    CHECK(end == p && a.error.code == b.error.code && a.error.offset == b.error.offset, text);
    if (!end) {
        CHECK(a.error.index == b.error.index, text);
        return;
    }
    CHECK(count == expected && a.padded == b.padded, text);
    for (uint32_t i = 0; i < count; i++)
        CHECK(fast[i].price == slow[i].price && fast[i].quantity == slow[i].quantity && fast[i].offset == slow[i].offset &&
                  fast[i].price_decimals == slow[i].price_decimals && fast[i].quantity_decimals == slow[i].quantity_decimals, text);
}

/* The text of a number without zeros at its end: the short way against the general one. */
static void check_texts(void) {
    char fast[64], slow[64];
    int64_t units = 0;
    for (uint64_t i = 0, digits = draw(19); i < digits; i++) units = units * 10 + (int64_t)draw(draw(2) ? 10 : 2);
    const uint32_t exponent = (uint32_t)draw(18);
    const char *end = feed_text_plain(fast, units, exponent), *slow_end = feed_text(slow, units, exponent, -1);
    if (end) CHECK(end - fast == slow_end - slow && memcmp(fast, slow, (size_t)(end - fast)) == 0, slow);
}

int main(int count, char **words) {
    if (count != 3) return 2;
    uint64_t rounds = strtoull(words[1], NULL, 10);
    state = strtoull(words[2], NULL, 10);
    feed_crc_init();
    CHECK(~feed_crc_by_table(0xFFFFFFFFu, (const unsigned char *)"123456789", 9) == 0xCBF43926u, "check value of the polynomial");
    CHECK(feed_crc_by_table(FEED_CHECK_BEGIN, (const unsigned char *)":", 1) == 0xFFFFFFFFu, "what a first colon makes");
    for (uint64_t i = 0; i < rounds; i++) {
        check_decimals();
        check_levels();
        check_lists();
        check_texts();
        if (i % 50 == 0) check_crc();
    }
    printf("%" PRIu64 " folding %d\n", rounds, feed_crc_folds);
    return 0;
}
