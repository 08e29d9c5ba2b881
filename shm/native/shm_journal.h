/* Journal file: a header page, then records of 32 bytes and payload, each rounded up to 16 bytes.
 *
 * A record exists once its length is stored (release) and everything before it was written; a
 * process killed at any instruction leaves a whole record or none. Each record's CRC-32C covers the
 * previous one's, so the file is a chain: a changed byte or a missing record breaks it at that place.
 * The chain of a file starts with the checksum in its header page, which covers the end of the
 * previous file's chain.
 */
#ifndef RINGLANE_SHM_JOURNAL_H
#define RINGLANE_SHM_JOURNAL_H

#include "shm_atomics.h"
#include "shm_crc32c.h"

enum shm_journal_verdict {
    SHM_JOURNAL_END = 0,    /* no record stands here */
    SHM_JOURNAL_GOOD = 1,
    SHM_JOURNAL_BROKEN = 2, /* something stands here and it is not the record that was appended */
};

/* The last word of the header page is the checksum of everything before it. */
#define SHM_JOURNAL_HEADER_SUM_AT (SHM_JOURNAL_HEADER_BYTES - 4u)

static inline void shm_journal_header_seal(unsigned char *file) {
    uint32_t sum = shm_crc32c(0, file, SHM_JOURNAL_HEADER_SUM_AT);
    memcpy(file + SHM_JOURNAL_HEADER_SUM_AT, &sum, sizeof(sum));
}

static inline int shm_journal_header_is_good(const unsigned char *file) {
    uint32_t sum;
    memcpy(&sum, file + SHM_JOURNAL_HEADER_SUM_AT, sizeof(sum));
    return sum == shm_crc32c(0, file, SHM_JOURNAL_HEADER_SUM_AT);
}

/* Where the chain of a file starts: the stored sum. (A CRC over data *and* its own CRC would be the same
 * for every file: SHM_JOURNAL_RESIDUE, where early builds started.) */
#define SHM_JOURNAL_RESIDUE 0x48674BC7u

static inline uint32_t shm_journal_header_chain(const unsigned char *file) {
    uint32_t sum;
    memcpy(&sum, file + SHM_JOURNAL_HEADER_SUM_AT, sizeof(sum));
    return sum;
}

static inline uint64_t shm_journal_record_bytes(uint64_t payload_bytes) {
    uint64_t bytes = sizeof(shm_journal_record) + payload_bytes;
    return (bytes + SHM_JOURNAL_ALIGN - 1u) & ~(uint64_t)(SHM_JOURNAL_ALIGN - 1u);
}

static inline uint32_t shm_journal_crc(uint32_t previous, uint64_t sequence, int64_t append_ns, uint16_t kind,
                                       const void *payload, uint32_t length) {
    uint64_t front[3] = {previous | ((uint64_t)kind << 32), sequence, (uint64_t)append_ns};
    return shm_crc32c(shm_crc32c(0, front, sizeof(front)), payload, length);
}

static inline uint32_t shm_journal_length(const shm_journal_record *record) {
    return atomic_load_explicit((shm_a32 *)(uintptr_t)&record->length, memory_order_acquire);
}

/* Appends at `offset`, moves the chain on and returns the offset of the next record, or returns 0
 * and changes nothing when the rest of the file is too small. */
static inline uint64_t shm_journal_append(unsigned char *file, uint64_t size, uint64_t offset, uint32_t *chain,
                                          uint64_t sequence, int64_t append_ns, uint16_t kind, const void *payload,
                                          uint32_t length) {
    uint64_t bytes = shm_journal_record_bytes(length);
    if (offset > size || bytes > size - offset)
        return 0;
    uint64_t next = offset + bytes;
    /* An append that was killed may have left anything behind this record: no record stands there. */
    if (size - next >= sizeof(shm_journal_record)) {
        shm_journal_record *after = (shm_journal_record *)(file + next);
        atomic_store_explicit(&after->length, 0u, memory_order_relaxed);
    }
    shm_journal_record *record = (shm_journal_record *)(file + offset);
    unsigned char *body = file + offset + sizeof(shm_journal_record);
    uint32_t crc = shm_journal_crc(*chain, sequence, append_ns, kind, payload, length);
    memcpy(body, payload, length);
    memset(body + length, 0, bytes - sizeof(shm_journal_record) - length);
    record->crc = crc;
    record->sequence = sequence;
    record->append_ns = append_ns;
    record->kind = kind;
    record->reserved0 = 0;
    record->reserved1 = 0;
    atomic_store_explicit(&record->length, length, memory_order_release); /* SYNC POINT: journal-commit */
    *chain = crc;
    return next;
}

static inline int shm_journal_is_zero(const unsigned char *at, uint64_t bytes) {
    for (uint64_t i = 0; i < bytes; i++)
        if (at[i])
            return 0;
    return 1;
}

/* First byte in [begin, end) that is not zero; `end` when there is none. */
static inline uint64_t shm_journal_first_set(const unsigned char *file, uint64_t begin, uint64_t end) {
    uint64_t at = begin;
    while (at < end && at % 8u) {
        if (file[at])
            return at;
        at++;
    }
    for (; end - at >= 64u; at += 64u) {
        uint64_t words[8], any = 0;
        memcpy(words, file + at, sizeof(words));
        for (int i = 0; i < 8; i++)
            any |= words[i];
        if (any)
            break;
    }
    while (at < end && !file[at])
        at++;
    return at;
}

/* What stands at `offset`, given the chain so far and the sequence that is due. */
static inline int shm_journal_check(const unsigned char *file, uint64_t size, uint64_t offset, uint32_t chain,
                                    uint64_t sequence) {
    if (offset > size || size - offset < sizeof(shm_journal_record))
        return SHM_JOURNAL_END;
    const shm_journal_record *record = (const shm_journal_record *)(file + offset);
    uint32_t length = shm_journal_length(record);
    if (!length)
        return SHM_JOURNAL_END;
    uint64_t bytes = shm_journal_record_bytes(length);
    if (bytes > size - offset || record->sequence != sequence || record->reserved0 || record->reserved1)
        return SHM_JOURNAL_BROKEN;
    const unsigned char *body = file + offset + sizeof(shm_journal_record);
    if (!shm_journal_is_zero(body + length, bytes - sizeof(shm_journal_record) - length))
        return SHM_JOURNAL_BROKEN;
    if (record->crc != shm_journal_crc(chain, sequence, record->append_ns, record->kind, body, length))
        return SHM_JOURNAL_BROKEN;
    return SHM_JOURNAL_GOOD;
}

/* Whether the record that is due at `offset` was appended once, because its successor stands in
 * this file: then what is wrong at `offset` is damage and not the torn end of an append. Returns the
 * successor's offset, or 0. The successor's chain is tried with the checksum that stands in the damaged
 * record and with the one its content has, as the damage may be in either. */
static inline uint64_t shm_journal_successor(const unsigned char *file, uint64_t size, uint64_t offset, uint32_t chain,
                                             uint64_t sequence) {
    if (offset > size || size - offset < sizeof(shm_journal_record))
        return 0;
    const shm_journal_record *damaged = (const shm_journal_record *)(file + offset);
    uint32_t length = shm_journal_length(damaged);
    /* Fresh space: nothing was ever begun here. */
    if (!length && shm_journal_is_zero(file + offset, sizeof(shm_journal_record)))
        return 0;
    uint32_t stored = damaged->crc, computed = stored;
    if (length && shm_journal_record_bytes(length) <= size - offset)
        computed = shm_journal_crc(chain, sequence, damaged->append_ns, damaged->kind,
                                   file + offset + sizeof(shm_journal_record), length);
    for (uint64_t at = offset + sizeof(shm_journal_record); size - at >= sizeof(shm_journal_record);
         at += SHM_JOURNAL_ALIGN) {
        const shm_journal_record *record = (const shm_journal_record *)(file + at);
        if (record->sequence != sequence + 1)
            continue;
        if (shm_journal_check(file, size, at, stored, sequence + 1) == SHM_JOURNAL_GOOD ||
            shm_journal_check(file, size, at, computed, sequence + 1) == SHM_JOURNAL_GOOD)
            return at;
    }
    return 0;
}

#endif
