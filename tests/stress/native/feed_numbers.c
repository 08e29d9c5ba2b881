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

static void check_crc(void) {
    static unsigned char bytes[4200];
    size_t n = draw(draw(2) ? 200 : 4100), from = draw(64);
    for (size_t i = 0; i < n; i++) bytes[from + i] = (unsigned char)draw(256);
    uint32_t slow = 0xFFFFFFFFu;
    for (size_t i = 0; i < n; i++) {
        slow ^= bytes[from + i];
        for (int k = 0; k < 8; k++) slow = slow & 1 ? 0xEDB88320u ^ slow >> 1 : slow >> 1;
    }
    CHECK(feed_crc((char *)bytes + from, n) == ~slow, "checksum");
    CHECK(feed_crc_by_table(0xFFFFFFFFu, bytes + from, n) == slow, "checksum by table");
    const int folds = feed_crc_folds;
    feed_crc_folds = 0;
    CHECK(feed_crc((char *)bytes + from, n) == ~slow, "checksum where the instruction is not there");
    feed_crc_folds = folds;
}

int main(int count, char **words) {
    if (count != 3) return 2;
    uint64_t rounds = strtoull(words[1], NULL, 10);
    state = strtoull(words[2], NULL, 10);
    feed_crc_init();
    CHECK(feed_crc("123456789", 9) == 0xCBF43926u, "check value of the polynomial");
    for (uint64_t i = 0; i < rounds; i++) {
        check_decimals();
        check_levels();
        if (i % 50 == 0) check_crc();
    }
    printf("%" PRIu64 " folding %d\n", rounds, feed_crc_folds);
    return 0;
}
