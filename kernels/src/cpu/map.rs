//! Element-wise maps: one body over `Lane`, run with the registers of an instruction set.

use repops::lane::Lane;

use super::lane::VectorLane;
#[cfg(target_arch = "aarch64")]
use super::lane::neon;
#[cfg(target_arch = "x86_64")]
use super::lane::{avx2, avx512};
use crate::isa::Isa;

/// A function of one f32, written over `Lane`.
pub trait Map1 {
    /// The result for every lane of `x`. Implementations are `#[inline(always)]`.
    fn apply<L: Lane>(&self, x: L) -> L;
}

/// A function of two f32, written over `Lane`.
pub trait Map2 {
    /// The result for every lane of `x` and `y`. Implementations are `#[inline(always)]`.
    fn apply<L: Lane>(&self, x: L, y: L) -> L;
}

/// `dst[i] = map(src[i])`.
///
/// # Panics
/// If the lengths differ or this machine lacks `isa`.
#[inline]
pub fn map1<M: Map1>(isa: Isa, map: &M, src: &[f32], dst: &mut [f32]) {
    assert_eq!(src.len(), dst.len(), "source and destination of a map");
    assert!(isa.is_available(), "this machine lacks {}", isa.name());
    match isa {
        Isa::Portable => {
            for (y, &x) in dst.iter_mut().zip(src) {
                *y = map.apply(x);
            }
        }
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `isa` is available.
        Isa::Avx2 => unsafe { map1_avx2(map, src, dst) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `isa` is available.
        Isa::Avx512 => unsafe { map1_avx512(map, src, dst) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: `isa` is available.
        Isa::Neon => unsafe { map1_neon(map, src, dst) },
        #[allow(unreachable_patterns)]
        _ => unreachable!("not available on this architecture"),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn map1_avx2<M: Map1>(map: &M, src: &[f32], dst: &mut [f32]) {
    map1_body::<avx2::F32x8, M>(map, src, dst);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl")]
fn map1_avx512<M: Map1>(map: &M, src: &[f32], dst: &mut [f32]) {
    map1_body::<avx512::F32x16, M>(map, src, dst);
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
fn map1_neon<M: Map1>(map: &M, src: &[f32], dst: &mut [f32]) {
    map1_body::<neon::F32x4, M>(map, src, dst);
}

/// Whole vectors, then the remainder through a vector padded with zeros.
#[inline(always)]
fn map1_body<V: VectorLane, M: Map1>(map: &M, src: &[f32], dst: &mut [f32]) {
    const LANES_MAX: usize = 16;
    const { assert!(V::LANES <= LANES_MAX) };
    let mut sources = src.chunks_exact(V::LANES);
    let mut results = dst.chunks_exact_mut(V::LANES);
    for (x, y) in (&mut sources).zip(&mut results) {
        // SAFETY: both chunks have exactly `LANES` elements.
        unsafe { map.apply(V::load(x.as_ptr())).store(y.as_mut_ptr()) };
    }
    let (x, y) = (sources.remainder(), results.into_remainder());
    if !x.is_empty() {
        let mut padded = [0.0; LANES_MAX];
        padded[..x.len()].copy_from_slice(x);
        // SAFETY: `padded` has at least `LANES` elements.
        unsafe { map.apply(V::load(padded.as_ptr())).store(padded.as_mut_ptr()) };
        y.copy_from_slice(&padded[..y.len()]);
    }
}

/// `dst[i] = map(left[i], right[i])`.
///
/// # Panics
/// If the lengths differ or this machine lacks `isa`.
#[inline]
pub fn map2<M: Map2>(isa: Isa, map: &M, left: &[f32], right: &[f32], dst: &mut [f32]) {
    assert_eq!(left.len(), dst.len(), "left source and destination of a map");
    assert_eq!(right.len(), dst.len(), "right source and destination of a map");
    assert!(isa.is_available(), "this machine lacks {}", isa.name());
    match isa {
        Isa::Portable => {
            for ((z, &x), &y) in dst.iter_mut().zip(left).zip(right) {
                *z = map.apply(x, y);
            }
        }
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `isa` is available.
        Isa::Avx2 => unsafe { map2_avx2(map, left, right, dst) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `isa` is available.
        Isa::Avx512 => unsafe { map2_avx512(map, left, right, dst) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: `isa` is available.
        Isa::Neon => unsafe { map2_neon(map, left, right, dst) },
        #[allow(unreachable_patterns)]
        _ => unreachable!("not available on this architecture"),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn map2_avx2<M: Map2>(map: &M, left: &[f32], right: &[f32], dst: &mut [f32]) {
    map2_body::<avx2::F32x8, M>(map, left, right, dst);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl")]
fn map2_avx512<M: Map2>(map: &M, left: &[f32], right: &[f32], dst: &mut [f32]) {
    map2_body::<avx512::F32x16, M>(map, left, right, dst);
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
fn map2_neon<M: Map2>(map: &M, left: &[f32], right: &[f32], dst: &mut [f32]) {
    map2_body::<neon::F32x4, M>(map, left, right, dst);
}

/// As `map1_body`.
#[inline(always)]
fn map2_body<V: VectorLane, M: Map2>(map: &M, left: &[f32], right: &[f32], dst: &mut [f32]) {
    let whole = dst.len() / V::LANES * V::LANES;
    for start in (0..whole).step_by(V::LANES) {
        let range = start..start + V::LANES;
        let (x, y, z) = (&left[range.clone()], &right[range.clone()], &mut dst[range]);
        // SAFETY: all three have exactly `LANES` elements.
        unsafe { map.apply(V::load(x.as_ptr()), V::load(y.as_ptr())).store(z.as_mut_ptr()) };
    }
    if whole < dst.len() {
        const LANES_MAX: usize = 16;
        const { assert!(V::LANES <= LANES_MAX) };
        let (mut x, mut y) = ([0.0; LANES_MAX], [0.0; LANES_MAX]);
        let rest = dst.len() - whole;
        x[..rest].copy_from_slice(&left[whole..]);
        y[..rest].copy_from_slice(&right[whole..]);
        // SAFETY: both arrays have at least `LANES` elements.
        unsafe { map.apply(V::load(x.as_ptr()), V::load(y.as_ptr())).store(x.as_mut_ptr()) };
        dst[whole..].copy_from_slice(&x[..rest]);
    }
}
