//! The hashes that a table may depend on. Another function here is another table, and data would move.

const std = @import("std");

/// The 64-bit hash of `bytes` under `seed`: XXH3. Meant for ids, once for each node.
pub fn ofBytes(seed: u64, bytes: []const u8) u64 {
    return std.hash.XxHash3.hash(seed, bytes);
}

/// The `n`-th number, counting from 0, of the random sequence that starts from `seed`: SplitMix64
/// (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014). Seeds should
/// be hashes: the sequences of near seeds are independent, but equal seeds give equal sequences.
pub fn nth(seed: u64, n: u32) u64 {
    var z = seed +% 0x9e3779b97f4a7c15 *% (@as(u64, n) + 1);
    z = (z ^ (z >> 30)) *% 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) *% 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

test "ofBytes is XXH3" {
    const long: [64]u8 = @splat('n');
    // The values of the reference implementation, version 0.8.4.
    try std.testing.expectEqual(0xc9ce919b9035195f, ofBytes(316, "node-0"));
    try std.testing.expectEqual(0xe23eec65338c0d03, ofBytes(316, &long));
}
