// The hashes that a table may depend on. Another function here is another table, and data would move.

/**
 * The `n`-th number, counting from 0, of the random sequence that starts from `seed`: SplitMix64 (Steele,
 * Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014). Seeds should be hashes:
 * the sequences of near seeds are independent, but equal seeds give equal sequences.
 */
export function nth(seed: u64, n: u32): u64 {
    let z = seed + 0x9e3779b97f4a7c15 * (<u64>n + 1);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

/**
 * The 64-bit hash of an id of 1 to 64 bytes under `seed`: XXH3, after Yann Collet's specification and
 * reference implementation, xxHash 0.8 (BSD-2-Clause). Longer inputs have rules of their own there.
 */
export function ofId(seed: u64, id: Uint8Array): u64 {
    const bytes = id.dataStart;
    const length = <usize>id.length;
    if (length <= 3) return of1To3(seed, bytes, length);
    if (length <= 8) return of4To8(seed, bytes, length);
    if (length <= 16) return of9To16(seed, bytes, length);
    return of17To64(seed, bytes, length);
}

/** The first 64 bytes of the reference implementation's secret, as little-endian numbers. */
const SECRET: StaticArray<u64> = [
    0xbe4ba423396cfeb8, 0x1cad21f72c81017c, 0xdb979083e96dd4de, 0x1f67b3b7a4a44072,
    0x78e5c0cc4ee679cb, 0x2172ffcc7dd05a82, 0x8e2443f7744608b8, 0x4c263a81e69035e0,
];

function of1To3(seed: u64, bytes: usize, length: usize): u64 {
    const first: u32 = load<u8>(bytes);
    const middle: u32 = load<u8>(bytes + length / 2);
    const last: u32 = load<u8>(bytes + length - 1);
    const combined = (first << 16) | (middle << 24) | last | (<u32>length << 8);
    let h = <u64>combined ^ (((SECRET[0] & 0xffffffff) ^ (SECRET[0] >> 32)) + seed);
    h = (h ^ (h >> 33)) * 0xc2b2ae3d27d4eb4f;
    h = (h ^ (h >> 29)) * 0x165667b19e3779f9;
    return h ^ (h >> 32);
}

function of4To8(seed: u64, bytes: usize, length: usize): u64 {
    seed ^= <u64>bswap<u32>(<u32>seed) << 32;
    const input = <u64>load<u32>(bytes + length - 4) + (<u64>load<u32>(bytes) << 32);
    let h = input ^ ((SECRET[1] ^ SECRET[2]) - seed);
    h = (h ^ rotl<u64>(h, 49) ^ rotl<u64>(h, 24)) * 0x9fb21c651e98df25;
    h = (h ^ ((h >> 35) + length)) * 0x9fb21c651e98df25;
    return h ^ (h >> 28);
}

function of9To16(seed: u64, bytes: usize, length: usize): u64 {
    const low = load<u64>(bytes) ^ ((SECRET[3] ^ SECRET[4]) + seed);
    const high = load<u64>(bytes + length - 8) ^ ((SECRET[5] ^ SECRET[6]) - seed);
    return avalanche(<u64>length + bswap<u64>(low) + high + multiplyAndFold(low, high));
}

function of17To64(seed: u64, bytes: usize, length: usize): u64 {
    let sum = <u64>length * 0x9e3779b185ebca87;
    if (length > 32) {
        sum += mix16(seed, bytes + 16, 4);
        sum += mix16(seed, bytes + length - 32, 6);
    }
    sum += mix16(seed, bytes, 0);
    sum += mix16(seed, bytes + length - 16, 2);
    return avalanche(sum);
}

function mix16(seed: u64, bytes: usize, secret: i32): u64 {
    const low = load<u64>(bytes) ^ (SECRET[secret] + seed);
    const high = load<u64>(bytes + 8) ^ (SECRET[secret + 1] - seed);
    return multiplyAndFold(low, high);
}

function avalanche(h: u64): u64 {
    h = (h ^ (h >> 37)) * 0x165667919e3779f9;
    return h ^ (h >> 32);
}

/** The exclusive or of the two halves of the 128-bit product. */
function multiplyAndFold(a: u64, b: u64): u64 {
    const aLow = a & 0xffffffff, aHigh = a >> 32, bLow = b & 0xffffffff, bHigh = b >> 32;
    const middle = aHigh * bLow + ((aLow * bLow) >> 32);
    const other = aLow * bHigh + (middle & 0xffffffff);
    const high = aHigh * bHigh + (middle >> 32) + (other >> 32);
    return (a * b) ^ high;
}
