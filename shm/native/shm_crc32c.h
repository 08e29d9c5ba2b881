/* CRC-32C (Castagnoli, RFC 3720 appendix B.4): the checksum with an instruction of its own.
 *
 * `shm_crc32c` extends a running value; start with 0. The instruction is chosen at run time on
 * x86-64 (SSE 4.2) and at compile time on ARM; elsewhere a table of 16 entries does it.
 */
#ifndef RINGLANE_SHM_CRC32C_H
#define RINGLANE_SHM_CRC32C_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#endif

static inline uint32_t shm_crc32c_table(uint32_t crc, const void *data, size_t bytes) {
    /* Remainders of the 16 nibbles, polynomial 0x1EDC6F41 reflected. */
    static const uint32_t nibble[16] = {
        0x00000000u, 0x105EC76Fu, 0x20BD8EDEu, 0x30E349B1u, 0x417B1DBCu, 0x5125DAD3u, 0x61C69362u, 0x7198540Du,
        0x82F63B78u, 0x92A8FC17u, 0xA24BB5A6u, 0xB21572C9u, 0xC38D26C4u, 0xD3D3E1ABu, 0xE330A81Au, 0xF36E6F75u,
    };
    const unsigned char *at = (const unsigned char *)data;
    crc = ~crc;
    while (bytes--) {
        crc ^= *at++;
        crc = (crc >> 4) ^ nibble[crc & 15u];
        crc = (crc >> 4) ^ nibble[crc & 15u];
    }
    return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t shm_crc32c_sse(uint32_t crc, const void *data, size_t bytes) {
    const unsigned char *at = (const unsigned char *)data;
    uint64_t wide = (uint32_t)~crc;
    for (; bytes >= 8; bytes -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    crc = (uint32_t)wide;
    for (; bytes; bytes--, at++)
        crc = __builtin_ia32_crc32qi(crc, *at);
    return ~crc;
}
#endif

static inline uint32_t shm_crc32c(uint32_t crc, const void *data, size_t bytes) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2"))
        return shm_crc32c_sse(crc, data, bytes);
#elif defined(__ARM_FEATURE_CRC32)
    const unsigned char *at = (const unsigned char *)data;
    crc = ~crc;
    for (; bytes >= 8; bytes -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        crc = __crc32cd(crc, word);
    }
    for (; bytes; bytes--, at++)
        crc = __crc32cb(crc, *at);
    return ~crc;
#endif
    return shm_crc32c_table(crc, data, bytes);
}

#endif
