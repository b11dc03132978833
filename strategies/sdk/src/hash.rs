//! The hashes that a table may depend on.
//!
//! Both are part of every strategy that uses them: another function here is another table there, and
//! data would move. They are integer arithmetic, so they give the same on every machine.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The 64-bit hash of `bytes` under `seed`: XXH3. Meant for ids, once for each node.
#[must_use]
pub fn of_bytes(seed: u64, bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, seed)
}

/// The `n`-th number of the random sequence that starts from `seed`, `n` counting from 0: SplitMix64
/// (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
///
/// It gives each node a sequence of its own, any number of which costs two multiplications. Seed it
/// with a hash: the sequences of near seeds are independent, but equal seeds give equal sequences.
#[must_use]
pub const fn nth(seed: u64, n: u32) -> u64 {
    const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut z = seed.wrapping_add(GOLDEN_GAMMA.wrapping_mul(n as u64 + 1));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_bytes_is_xxh3() {
        // The values of the reference implementation, version 0.8.4.
        let long = [b'n'; 64];
        let reference: [(&[u8], u64, u64); 6] = [
            (b"", 0, 0x2d06_8005_38d3_94c2),
            (b"", 316, 0xab9d_5617_b75f_daba),
            (b"node-0", 316, 0xc9ce_919b_9035_195f),
            (b"node-0", u64::MAX, 0xc9c7_3c35_247d_a129),
            (&long, 0, 0x411a_466a_94c3_3818),
            (&long, 316, 0xe23e_ec65_338c_0d03),
        ];
        for (bytes, seed, expected) in reference {
            assert_eq!(of_bytes(seed, bytes), expected, "{bytes:?} under {seed}");
        }
    }

    #[test]
    fn nth_is_splitmix64() {
        // The published sequence of seed 1234567.
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        for (n, expected) in (0..).zip(published) {
            assert_eq!(nth(1_234_567, n), expected);
        }
    }
}
