//! SHA-256 of sixteen messages at once: each of the 32-bit lanes of a register is one message.

use std::arch::x86_64::*;

use super::Hash;
use super::rounds::{
    BLOCK, END_BIT, INITIAL, MESSAGE_BYTES_END, ROUND, last_blocks, message_bits, sixteen_rounds,
    whole_blocks,
};

const LANES: usize = 16;

type Lanes = __m512i;

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn splat(word: u32) -> Lanes {
    _mm512_set1_epi32(word.cast_signed())
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn add(x: Lanes, y: Lanes) -> Lanes {
    _mm512_add_epi32(x, y)
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn xor3(x: Lanes, y: Lanes, z: Lanes) -> Lanes {
    _mm512_ternarylogic_epi32::<0x96>(x, y, z)
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn ch(e: Lanes, f: Lanes, g: Lanes) -> Lanes {
    _mm512_ternarylogic_epi32::<0xca>(e, f, g)
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn maj(a: Lanes, b: Lanes, c: Lanes) -> Lanes {
    _mm512_ternarylogic_epi32::<0xe8>(a, b, c)
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn sum0(x: Lanes) -> Lanes {
    xor3(_mm512_ror_epi32::<2>(x), _mm512_ror_epi32::<13>(x), _mm512_ror_epi32::<22>(x))
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn sum1(x: Lanes) -> Lanes {
    xor3(_mm512_ror_epi32::<6>(x), _mm512_ror_epi32::<11>(x), _mm512_ror_epi32::<25>(x))
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn sigma0(x: Lanes) -> Lanes {
    xor3(_mm512_ror_epi32::<7>(x), _mm512_ror_epi32::<18>(x), _mm512_srli_epi32::<3>(x))
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn sigma1(x: Lanes) -> Lanes {
    xor3(_mm512_ror_epi32::<17>(x), _mm512_ror_epi32::<19>(x), _mm512_srli_epi32::<10>(x))
}

#[target_feature(enable = "avx512f,avx512bw")]
fn compress(state: &mut [Lanes; 8], words: &[Lanes; 16]) {
    let (mut s, mut w) = (*state, *words);
    sixteen_rounds!(s, w, ROUND, false);
    for constants in ROUND[16..].chunks_exact(16) {
        sixteen_rounds!(s, w, constants, true);
    }
    for (sum, s) in state.iter_mut().zip(s) {
        *sum = add(*sum, s);
    }
}

/// Word i of register t is word t of register i.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn transposed(r: &[Lanes; 16]) -> [Lanes; 16] {
    // First 4 x 4 words inside each quarter, then 4 x 4 quarters.
    let mut quads = [splat(0); 16];
    for i in 0..4 {
        let [r0, r1, r2, r3] = [r[4 * i], r[4 * i + 1], r[4 * i + 2], r[4 * i + 3]];
        let (low01, high01) = (_mm512_unpacklo_epi32(r0, r1), _mm512_unpackhi_epi32(r0, r1));
        let (low23, high23) = (_mm512_unpacklo_epi32(r2, r3), _mm512_unpackhi_epi32(r2, r3));
        quads[4 * i] = _mm512_unpacklo_epi64(low01, low23);
        quads[4 * i + 1] = _mm512_unpackhi_epi64(low01, low23);
        quads[4 * i + 2] = _mm512_unpacklo_epi64(high01, high23);
        quads[4 * i + 3] = _mm512_unpackhi_epi64(high01, high23);
    }
    let mut words = [splat(0); 16];
    for i in 0..4 {
        let [q0, q1, q2, q3] = [quads[i], quads[4 + i], quads[8 + i], quads[12 + i]];
        let (even01, odd01) = (_mm512_shuffle_i32x4::<0x88>(q0, q1), _mm512_shuffle_i32x4::<0xdd>(q0, q1));
        let (even23, odd23) = (_mm512_shuffle_i32x4::<0x88>(q2, q3), _mm512_shuffle_i32x4::<0xdd>(q2, q3));
        words[i] = _mm512_shuffle_i32x4::<0x88>(even01, even23);
        words[4 + i] = _mm512_shuffle_i32x4::<0x88>(odd01, odd23);
        words[8 + i] = _mm512_shuffle_i32x4::<0xdd>(even01, even23);
        words[12 + i] = _mm512_shuffle_i32x4::<0xdd>(odd01, odd23);
    }
    words
}

/// The four bytes of every word in turn.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn swapped(words: Lanes) -> Lanes {
    _mm512_shuffle_epi8(words, _mm512_set4_epi32(0x0c0d_0e0f, 0x0809_0a0b, 0x0405_0607, 0x0001_0203))
}

/// Word t of the block at `offset` in every row, at index t, as big-endian numbers.
///
/// # Safety
/// A block can be read at `offset` from each pointer.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
unsafe fn words_of(rows: [*const u8; LANES], offset: usize) -> [Lanes; 16] {
    let mut r = [splat(0); 16];
    for (to, row) in r.iter_mut().zip(rows) {
        // SAFETY: the caller's promise.
        *to = unsafe { _mm512_loadu_si512(row.add(offset).cast()) };
    }
    let mut words = transposed(&r);
    for word in &mut words {
        *word = swapped(*word);
    }
    words
}

/// The words of a block that is `prefix` and the first 63 bytes of those in `words`.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn behind_prefix(prefix: u8, words: &[Lanes; 16]) -> [Lanes; 16] {
    let mut shifted = [splat((prefix as u32) << 24); 16];
    for t in 0..16 {
        let before = if t == 0 { shifted[0] } else { _mm512_slli_epi32::<24>(words[t - 1]) };
        shifted[t] = _mm512_or_si512(before, _mm512_srli_epi32::<8>(words[t]));
    }
    shifted
}

/// The states as bytes.
#[target_feature(enable = "avx512f,avx512bw")]
fn hashes_of(state: &[Lanes; 8]) -> [Hash; LANES] {
    let mut words = [splat(0); 16];
    words[..8].copy_from_slice(state);
    let mut hashes = [[0; 32]; LANES];
    for (hash, words) in hashes.iter_mut().zip(transposed(&words)) {
        // SAFETY: half a register's bytes.
        unsafe { _mm256_storeu_si256(hash.as_mut_ptr().cast(), _mm512_castsi512_si256(swapped(words))) };
    }
    hashes
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn initial() -> [Lanes; 8] {
    let mut state = [splat(0); 8];
    for (lanes, word) in state.iter_mut().zip(INITIAL) {
        *lanes = splat(word);
    }
    state
}

/// Asks for `block` of the messages after these, which usually follow in memory: sixteen places read in turn are more
/// than the processor foresees.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn fetch_next<const BYTES: usize>(rows: [*const u8; LANES], block: usize) {
    if BYTES == BLOCK {
        return;
    }
    for row in rows {
        _mm_prefetch::<_MM_HINT_T1>(row.wrapping_add(LANES * BYTES + block * BLOCK).cast());
    }
}

/// The last block of messages of whole blocks behind a prefix: their last byte, the end, and their length.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn end_of_blocks(last: [u8; LANES], bits: u32) -> [Lanes; 16] {
    let first = last.map(|byte| u32::from(byte) << 24 | END_BIT);
    let mut words = [splat(0); 16];
    // SAFETY: an array as long as a register.
    words[0] = unsafe { _mm512_loadu_si512(first.as_ptr().cast()) };
    words[15] = splat(bits);
    words
}

/// SHA-256 of `PREFIX || message` for each message.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn hash<const PREFIX: u8, const BYTES: usize>(messages: [&[u8; BYTES]; LANES]) -> [Hash; LANES] {
    const { assert!(BYTES.is_multiple_of(BLOCK) && BYTES > 0) };
    let rows = messages.map(|message| message.as_ptr());
    let mut state = initial();
    fetch_next::<BYTES>(rows, 0);
    // SAFETY: the messages' first block.
    let first = unsafe { words_of(rows, 0) };
    compress(&mut state, &behind_prefix(PREFIX, &first));
    for block in 1..BYTES / BLOCK {
        fetch_next::<BYTES>(rows, block);
        // With the prefix, blocks start one byte before multiples of their size.
        // SAFETY: the block ends before the messages do.
        let words = unsafe { words_of(rows, block * BLOCK - 1) };
        compress(&mut state, &words);
    }
    let words = end_of_blocks(messages.map(|message| message[BYTES - 1]), const { message_bits(BYTES) });
    compress(&mut state, &words);
    hashes_of(&state)
}

/// SHA-256 of `PREFIX || message` for each message; all are equally long. Those of `next`, which come after them, are asked
/// for meanwhile: rows that were gathered a while ago have left the near caches.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn hash_slices<const PREFIX: u8>(messages: [&[u8]; LANES], next: [&[u8]; LANES]) -> [Hash; LANES] {
    let len = messages[0].len();
    assert!(messages.iter().all(|message| message.len() == len));
    let rows = messages.map(<[u8]>::as_ptr);
    let mut state = initial();
    for block in 0..whole_blocks(len) {
        for row in next {
            _mm_prefetch::<_MM_HINT_T0>(row.as_ptr().wrapping_add(block * BLOCK).cast());
        }
        let words = if block == 0 {
            // SAFETY: there are whole blocks only from 64 bytes on.
            let words = unsafe { words_of(rows, 0) };
            behind_prefix(PREFIX, &words)
        } else {
            // SAFETY: the block ends before the messages do.
            unsafe { words_of(rows, block * BLOCK - 1) }
        };
        compress(&mut state, &words);
    }
    // Rows of numbers nearly always end so.
    if len.is_multiple_of(BLOCK) && len > 0 && len < MESSAGE_BYTES_END {
        let words = end_of_blocks(messages.map(|message| message[len - 1]), message_bits(len));
        compress(&mut state, &words);
        return hashes_of(&state);
    }
    let ends = messages.map(|message| last_blocks(PREFIX, message));
    let rows = std::array::from_fn(|lane| ends[lane].0.as_ptr());
    for block in 0..ends[0].1 {
        // SAFETY: there are two blocks.
        let words = unsafe { words_of(rows, block * BLOCK) };
        compress(&mut state, &words);
    }
    hashes_of(&state)
}
