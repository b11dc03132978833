//! The hashes that a table may depend on. Another function here is another table, and data would move.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The 64-bit hash of `bytes` under `seed`: XXH3. Meant for ids, once for each node.
pub fn of_bytes(seed: u64, bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, seed)
}

/// The `n`-th number, counting from 0, of the random sequence that starts from `seed`: SplitMix64
/// (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014). Seeds should
/// be hashes: the sequences of near seeds are independent, but equal seeds give equal sequences.
pub fn nth(seed: u64, n: u32) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(u64::from(n) + 1));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
