/* XXH3 of 1 to 64 bytes, after Yann Collet's specification and reference implementation, xxHash 0.8
 * (BSD-2-Clause). Longer inputs have rules of their own there, which ids do not need. */

#include "hash.h"

/* The first 64 bytes of the reference implementation's secret, as little-endian numbers. */
static const uint64_t SECRET[8] = {
    0xbe4ba423396cfeb8, 0x1cad21f72c81017c, 0xdb979083e96dd4de, 0x1f67b3b7a4a44072,
    0x78e5c0cc4ee679cb, 0x2172ffcc7dd05a82, 0x8e2443f7744608b8, 0x4c263a81e69035e0,
};

static uint32_t read32(const char *bytes)
{
    uint32_t number;
    __builtin_memcpy(&number, bytes, sizeof number);
    return number;
}

static uint64_t read64(const char *bytes)
{
    uint64_t number;
    __builtin_memcpy(&number, bytes, sizeof number);
    return number;
}

static uint64_t rotate_left(uint64_t number, int bits)
{
    return number << bits | number >> (64 - bits);
}

/* The exclusive or of the two halves of the 128-bit product. */
static uint64_t multiply_and_fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t avalanche(uint64_t h)
{
    h = (h ^ h >> 37) * 0x165667919e3779f9;
    return h ^ h >> 32;
}

static uint64_t hash_1_to_3(uint64_t seed, const char *bytes, size_t length)
{
    uint32_t first = (uint8_t)bytes[0], middle = (uint8_t)bytes[length / 2];
    uint32_t last = (uint8_t)bytes[length - 1];
    uint32_t combined = first << 16 | middle << 24 | last | (uint32_t)length << 8;
    uint64_t h = combined ^ (((uint32_t)SECRET[0] ^ SECRET[0] >> 32) + seed);
    h = (h ^ h >> 33) * 0xc2b2ae3d27d4eb4f;
    h = (h ^ h >> 29) * 0x165667b19e3779f9;
    return h ^ h >> 32;
}

static uint64_t hash_4_to_8(uint64_t seed, const char *bytes, size_t length)
{
    seed ^= (uint64_t)__builtin_bswap32((uint32_t)seed) << 32;
    uint64_t input = read32(bytes + length - 4) + ((uint64_t)read32(bytes) << 32);
    uint64_t h = input ^ ((SECRET[1] ^ SECRET[2]) - seed);
    h = (h ^ rotate_left(h, 49) ^ rotate_left(h, 24)) * 0x9fb21c651e98df25;
    h = (h ^ ((h >> 35) + length)) * 0x9fb21c651e98df25;
    return h ^ h >> 28;
}

static uint64_t hash_9_to_16(uint64_t seed, const char *bytes, size_t length)
{
    uint64_t low = read64(bytes) ^ ((SECRET[3] ^ SECRET[4]) + seed);
    uint64_t high = read64(bytes + length - 8) ^ ((SECRET[5] ^ SECRET[6]) - seed);
    return avalanche(length + __builtin_bswap64(low) + high + multiply_and_fold(low, high));
}

static uint64_t mix_16(uint64_t seed, const char *bytes, const uint64_t *secret)
{
    return multiply_and_fold(read64(bytes) ^ (secret[0] + seed), read64(bytes + 8) ^ (secret[1] - seed));
}

static uint64_t hash_17_to_64(uint64_t seed, const char *bytes, size_t length)
{
    uint64_t sum = length * 0x9e3779b185ebca87;
    if (length > 32) {
        sum += mix_16(seed, bytes + 16, SECRET + 4);
        sum += mix_16(seed, bytes + length - 32, SECRET + 6);
    }
    sum += mix_16(seed, bytes, SECRET);
    sum += mix_16(seed, bytes + length - 16, SECRET + 2);
    return avalanche(sum);
}

uint64_t hash_of_id(uint64_t seed, const char *bytes, size_t length)
{
    if (length <= 3)
        return hash_1_to_3(seed, bytes, length);
    if (length <= 8)
        return hash_4_to_8(seed, bytes, length);
    if (length <= 16)
        return hash_9_to_16(seed, bytes, length);
    return hash_17_to_64(seed, bytes, length);
}
