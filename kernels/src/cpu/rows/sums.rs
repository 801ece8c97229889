//! Row sums: blocks of 4096; in each, 64 interleaved accumulators folded by halving; blocks combined by the
//! tree. Invariant: the very additions of `repops::reduce::row_sum`, in an order that it allows.

use repops::lane::FloatLane;
use repops::lane_op::arithmetic::{maximum, minimum};
use repops::reduce::{BLOCK, LANES};

use super::super::lane::VectorLane;

/// Combines parts, pushed from the left, by the tree: a binary counter of complete subtrees.
pub(crate) struct Tree<T> {
    levels: [T; usize::BITS as usize],
    count: usize,
}

impl<T: FloatLane<Scalar = f32>> Tree<T> {
    #[inline(always)]
    pub(crate) fn new() -> Tree<T> {
        Tree { levels: [T::splat(0.0); usize::BITS as usize], count: 0 }
    }

    #[inline(always)]
    pub(crate) fn push(&mut self, part: T) {
        let mut sum = part;
        let complete = self.count.trailing_ones() as usize;
        for level in 0..complete {
            sum = self.levels[level].add(sum);
        }
        self.levels[complete] = sum;
        self.count += 1;
    }

    #[inline(always)]
    pub(crate) fn sum(&self) -> T {
        if self.count == 0 {
            return T::splat(0.0);
        }
        let mut bits = self.count;
        let mut sum = self.levels[bits.trailing_zeros() as usize];
        bits &= bits - 1;
        while bits != 0 {
            sum = self.levels[bits.trailing_zeros() as usize].add(sum);
            bits &= bits - 1;
        }
        sum
    }
}

/// Folds accumulators by halving strides. Those from `active` on are +0, or not there; none is -0, so that adding them
/// changes nothing and is left out.
#[inline(always)]
pub(crate) fn fold<T: FloatLane>(lanes: &mut [T], active: usize) -> T {
    let mut stride = LANES / 2;
    while stride > 0 {
        for j in 0..stride.min(active.saturating_sub(stride)) {
            lanes[j] = lanes[j].add(lanes[j + stride]);
        }
        stride /= 2;
    }
    lanes[0]
}

/// Folds the accumulators that are left by halving strides, from this one on.
#[inline(always)]
fn fold_from(lanes: &mut [f32; LANES], mut stride: usize) -> f32 {
    while stride > 0 {
        for j in 0..stride {
            lanes[j] += lanes[j + stride];
        }
        stride /= 2;
    }
    lanes[0]
}

/// The row sum of `term(vector of elements, their offset)` over `0 .. len`. `term` is called with offsets
/// `V::LANES` apart, and for a remainder with the number of elements that count.
#[inline(always)]
pub(crate) fn sum_terms<V: VectorLane>(len: usize, term: impl FnMut(usize, usize) -> V) -> f32 {
    sum_terms_from::<V>(0, len, term)
}

/// The same where the elements before `first`, a multiple of 64, are +0 and left out.
#[inline(always)]
pub(crate) fn sum_terms_from<V: VectorLane>(
    first: usize,
    len: usize,
    term: impl FnMut(usize, usize) -> V,
) -> f32 {
    if const { V::LANES == 16 } {
        sum_in_registers::<V, { LANES / 16 }>(first, len, term)
    } else if const { V::LANES == 8 } {
        sum_in_registers::<V, { LANES / 8 }>(first, len, term)
    } else if const { V::LANES == 4 } {
        sum_in_registers::<V, { LANES / 4 }>(first, len, term)
    } else {
        sum_in_registers::<V, LANES>(first, len, term)
    }
}

/// The same, by so many registers, which together are the lanes.
#[inline(always)]
fn sum_in_registers<V: VectorLane, const REGISTERS: usize>(
    first: usize,
    len: usize,
    mut term: impl FnMut(usize, usize) -> V,
) -> f32 {
    assert!(REGISTERS * V::LANES == LANES);
    let mut tree = Tree::<f32>::new();
    for _ in 0..first / BLOCK {
        tree.push(0.0);
    }
    let mut start = first;
    while start < len {
        let end = len.min((start / BLOCK + 1) * BLOCK);
        let mut sums = [V::splat(0.0); REGISTERS];
        let mut at = start;
        while at + LANES <= end {
            for r in 0..REGISTERS {
                sums[r] = sums[r].add(term(at + r * V::LANES, V::LANES));
            }
            at += LANES;
        }
        let mut lanes = [0.0f32; LANES];
        if at == end {
            // Registers are folded first, as far as a stride is of whole ones.
            let mut stride = REGISTERS / 2;
            while stride > 0 {
                for r in 0..stride {
                    sums[r] = sums[r].add(sums[r + stride]);
                }
                stride /= 2;
            }
            // SAFETY: a register is no longer than the array.
            unsafe { sums[0].store(lanes.as_mut_ptr()) };
            tree.push(fold_from(&mut lanes, V::LANES / 2));
            start = end;
            continue;
        }
        for (r, sum) in sums.iter().enumerate() {
            // SAFETY: the registers fill the array.
            unsafe { sum.store(lanes.as_mut_ptr().add(r * V::LANES)) };
        }
        let mut lane = 0;
        while at < end {
            let count = V::LANES.min(end - at);
            let mut values = [0.0f32; LANES];
            // SAFETY: the array has at least `V::LANES` elements.
            unsafe { term(at, count).store(values.as_mut_ptr()) };
            for (sum, value) in lanes[lane..lane + count].iter_mut().zip(&values) {
                *sum += value;
            }
            at += count;
            lane += count;
        }
        tree.push(fold(&mut lanes, LANES));
        start = end;
    }
    tree.sum()
}

/// The vector at `x[at ..]`; where fewer than `V::LANES` elements count, the others are +0.
#[inline(always)]
pub(crate) fn load<V: VectorLane>(x: &[f32], at: usize, count: usize) -> V {
    if count == V::LANES {
        let x = &x[at..at + V::LANES];
        // SAFETY: as many elements as lanes.
        return unsafe { V::load(x.as_ptr()) };
    }
    let mut padded = [0.0f32; LANES];
    padded[..count].copy_from_slice(&x[at..at + count]);
    // SAFETY: the array has at least `V::LANES` elements.
    unsafe { V::load(padded.as_ptr()) }
}

/// Stores as many lanes as `to` is long.
#[inline(always)]
pub(crate) fn store<V: VectorLane>(value: V, to: &mut [f32]) {
    if to.len() == V::LANES {
        // SAFETY: as many elements as lanes.
        return unsafe { value.store(to.as_mut_ptr()) };
    }
    let mut lanes = [0.0f32; LANES];
    // SAFETY: the array has at least `V::LANES` elements.
    unsafe { value.store(lanes.as_mut_ptr()) };
    to.copy_from_slice(&lanes[..to.len()]);
}

/// `y[i] = f(y[i])`, by whole registers; what `f` makes of numbers past the end does not matter.
#[inline(always)]
pub(crate) fn in_place<V: VectorLane>(y: &mut [f32], f: impl Fn(V) -> V) {
    let mut chunks = y.chunks_exact_mut(V::LANES);
    for chunk in &mut chunks {
        // SAFETY: as many elements as lanes.
        unsafe { f(V::load(chunk.as_ptr())).store(chunk.as_mut_ptr()) };
    }
    let rest = chunks.into_remainder();
    if !rest.is_empty() {
        store(f(load(rest, 0, rest.len())), rest);
    }
}

/// The row sum of `term(x[i])`.
#[inline(always)]
pub(crate) fn sum<V: VectorLane>(x: &[f32], term: impl Fn(V) -> V) -> f32 {
    sum_terms::<V>(
        x.len(),
        #[inline(always)]
        |at, count| term(load(x, at, count)),
    )
}

/// Row sums of neighbouring columns: of `term(x[i * stride + lane])` over `0 .. len`.
///
/// # Safety
/// `V::LANES` elements are readable at every `i * stride`.
#[inline(always)]
pub(crate) unsafe fn sum_columns<V: VectorLane>(
    x: *const f32,
    len: usize,
    stride: usize,
    term: impl Fn(V) -> V,
) -> V {
    let mut tree = Tree::<V>::new();
    let mut start = 0;
    while start < len {
        let end = len.min(start + BLOCK);
        let mut lanes = [V::splat(0.0); LANES];
        for i in start..end {
            let lane = &mut lanes[(i - start) % LANES];
            // SAFETY: the caller's promise.
            *lane = lane.add(term(unsafe { V::load(x.add(i * stride)) }));
        }
        tree.push(fold(&mut lanes, end - start));
        start = end;
    }
    tree.sum()
}

/// The exact maximum or minimum of a row; of no elements the infinity.
#[inline(always)]
pub(crate) fn extreme<V: VectorLane>(x: &[f32], largest: bool) -> f32 {
    let start = if largest { f32::NEG_INFINITY } else { f32::INFINITY };
    let pick = |a: V, b: V| if largest { maximum(a, b) } else { minimum(a, b) };
    let mut best = [V::splat(start); 4];
    let mut chunks = x.chunks_exact(4 * V::LANES);
    for chunk in &mut chunks {
        for (r, best) in best.iter_mut().enumerate() {
            // SAFETY: the chunk has four times as many elements as lanes.
            *best = pick(*best, unsafe { V::load(chunk.as_ptr().add(r * V::LANES)) });
        }
    }
    let best = pick(pick(best[0], best[1]), pick(best[2], best[3]));
    let mut lanes = [start; LANES];
    // SAFETY: the array has at least `V::LANES` elements.
    unsafe { best.store(lanes.as_mut_ptr()) };
    let rest = lanes[..V::LANES].iter().chain(chunks.remainder());
    rest.fold(start, |a, &b| if largest { maximum(a, b) } else { minimum(a, b) })
}

/// A number of the row that none exceeds, where no element is NaN; whatever, where one is. Of no elements -infinity.
#[inline(always)]
pub(crate) fn greatest_number<V: VectorLane>(x: &[f32]) -> f32 {
    let mut best = [V::splat(f32::NEG_INFINITY); 8];
    let mut chunks = x.chunks_exact(8 * V::LANES);
    for chunk in &mut chunks {
        for (r, best) in best.iter_mut().enumerate() {
            // SAFETY: the chunk has eight times as many elements as lanes.
            *best = unsafe { V::load(chunk.as_ptr().add(r * V::LANES)) }.if_greater(*best);
        }
    }
    let mut rest = chunks.remainder().chunks_exact(V::LANES);
    for chunk in &mut rest {
        // SAFETY: as many elements as lanes.
        best[0] = unsafe { V::load(chunk.as_ptr()) }.if_greater(best[0]);
    }
    let [a, b, c, d, e, f, g, h] = best;
    let best =
        (a.if_greater(b).if_greater(c.if_greater(d))).if_greater(e.if_greater(f).if_greater(g.if_greater(h)));
    let mut lanes = [f32::NEG_INFINITY; LANES];
    // SAFETY: the array has at least `V::LANES` elements.
    unsafe { best.store(lanes.as_mut_ptr()) };
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut stride = V::LANES / 2;
    while stride > 0 {
        for j in 0..stride {
            lanes[j] = larger(lanes[j], lanes[j + stride]);
        }
        stride /= 2;
    }
    rest.remainder().iter().fold(lanes[0], |a, &b| larger(a, b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::lane::dispatch::{Vectorized, dispatch};
    use crate::isa::Isa;

    struct Sum<'a>(&'a [f32]);
    impl Vectorized for Sum<'_> {
        type Output = f32;
        #[inline(always)]
        fn run<V: VectorLane>(self) -> f32 {
            sum::<V>(
                self.0,
                #[inline(always)]
                |x| x,
            )
        }
    }

    #[test]
    fn every_length_has_the_reference_order() {
        let x: Vec<f32> =
            (0..40_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 9) as f32 * 1e-4 - 300.0).collect();
        let lengths = (0..200).chain([4095, 4096, 4097, 8192, 8200, 12_288, 12_300, 40_000]);
        for len in lengths {
            let want = repops::reduce::row_sum(len, |i| x[i]);
            for isa in Isa::available() {
                assert_eq!(
                    dispatch(isa, Sum(&x[..len])).to_bits(),
                    want.to_bits(),
                    "{len} with {}",
                    isa.name()
                );
            }
        }
    }
}
