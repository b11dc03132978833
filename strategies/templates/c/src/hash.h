/* The hashes that a table may depend on. Another function here is another table, and data would move. */
#ifndef HASH_H
#define HASH_H

#include <stddef.h>
#include <stdint.h>

/* The 64-bit hash of an id of 1 to 64 bytes under `seed`: XXH3, as far as ids need it. */
uint64_t hash_of_id(uint64_t seed, const char *bytes, size_t length);

/* The `n`-th number, counting from 0, of the random sequence that starts from `seed`: SplitMix64
 * (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014). Seeds should
 * be hashes: the sequences of near seeds are independent, but equal seeds give equal sequences. */
static inline uint64_t hash_nth(uint64_t seed, uint32_t n)
{
    uint64_t z = seed + 0x9e3779b97f4a7c15 * ((uint64_t)n + 1);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

#endif
