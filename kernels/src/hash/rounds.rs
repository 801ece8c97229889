//! SHA-256 (FIPS 180-4): its numbers, its rounds over lanes, and how messages end.

/// FIPS 180-4, 5.3.3.
pub(super) const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// FIPS 180-4, 4.2.2.
#[rustfmt::skip]
pub(super) static ROUND: [u32; 64] = [
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
];

/// Bytes of a block.
pub(super) const BLOCK: usize = 64;

/// The word in which a message's last byte, in the top byte, is followed by the bit that ends the message.
///
/// All messages here are a byte and whole blocks: their last block is that word, zeros, and their length in bits.
pub(super) const END_BIT: u32 = 0x0080_0000;

/// Messages shorter than this have lengths of one word.
pub(super) const MESSAGE_BYTES_END: usize = 1 << 28;

/// The length in bits of a message of `bytes` bytes behind its prefix.
pub(super) const fn message_bits(bytes: usize) -> u32 {
    assert!(bytes >= BLOCK && bytes.is_multiple_of(BLOCK) && bytes < MESSAGE_BYTES_END);
    8 * (1 + bytes as u32)
}

/// Sixteen rounds of every lane, in terms of the functions of FIPS 180-4, 4.1.2, on lanes that are in scope at the
/// use: `add`, `ch`, `maj`, `sum0`, `sum1`, `sigma0`, `sigma1`, `splat`. With `$extend` each message word is first
/// replaced by the one sixteen rounds later.
#[cfg(target_arch = "x86_64")]
macro_rules! sixteen_rounds {
    ($state:ident, $words:ident, $constants:expr, $extend:literal) => {
        sixteen_rounds!(@each $state, $words, $constants, $extend, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (@each $state:ident, $words:ident, $constants:expr, $extend:literal, $($t:literal)*) => {$(
        if $extend {
            // W[t] = sigma1(W[t - 2]) + W[t - 7] + sigma0(W[t - 15]) + W[t - 16].
            let near = add(sigma1($words[($t + 14) % 16]), $words[($t + 9) % 16]);
            $words[$t] = add(near, add($words[$t], sigma0($words[($t + 1) % 16])));
        }
        // The eight variables keep their registers; their names move on.
        let [a, b, c, d, e, f, g, h] = [0, 1, 2, 3, 4, 5, 6, 7].map(|i: usize| (i + 16 - $t) % 8);
        let input = add(add($state[h], splat($constants[$t])), $words[$t]);
        let first = add(add(input, sum1($state[e])), ch($state[e], $state[f], $state[g]));
        $state[d] = add($state[d], first);
        $state[h] = add(first, add(sum0($state[a]), maj($state[a], $state[b], $state[c])));
    )*};
}
#[cfg(target_arch = "x86_64")]
pub(super) use sixteen_rounds;

/// Blocks at the start of `prefix || message` that are read from a message of `len` bytes.
#[cfg(target_arch = "x86_64")]
pub(super) fn whole_blocks(len: usize) -> usize {
    // Of the first block the prefix is made; it is read with one byte more.
    if len < BLOCK { 0 } else { (len + 1) / BLOCK }
}

/// What follows the whole blocks of `prefix || message`, with the end that FIPS 180-4, 5.1.1, gives it: one or two
/// blocks.
#[cfg(target_arch = "x86_64")]
pub(super) fn last_blocks(prefix: u8, message: &[u8]) -> ([u8; 2 * BLOCK], usize) {
    let mut blocks = [0; 2 * BLOCK];
    let whole = whole_blocks(message.len());
    let used = if whole == 0 {
        blocks[0] = prefix;
        blocks[1..=message.len()].copy_from_slice(message);
        1 + message.len()
    } else {
        let rest = &message[whole * BLOCK - 1..];
        blocks[..rest.len()].copy_from_slice(rest);
        rest.len()
    };
    blocks[used] = 0x80;
    let count = (used + 9).div_ceil(BLOCK);
    let bits = 8 * (1 + message.len() as u64);
    blocks[count * BLOCK - 8..count * BLOCK].copy_from_slice(&bits.to_be_bytes());
    (blocks, count)
}
