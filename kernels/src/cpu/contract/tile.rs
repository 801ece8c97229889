//! The register tile: a span of chunks of a contraction for a few rows and columns of the result.
//!
//! One body for every instruction set and element type. Lanes span columns, so the order of the sum is
//! the specification's in every lane: a chain of fused multiply-adds from +0 in ascending order, `+ (+0)`,
//! then `earlier + later` up the tree.

use std::mem::MaybeUninit;

use repops::lane::FloatLane;
use repops::lane::Lane;
use repops::reduce::{Accumulate, CHUNK};

use super::super::lane::VectorLane;
use super::TileElem;

/// Columns of a panel of the right operand.
pub(crate) const PANEL: usize = 16;

/// Levels of the binary counter that a tile keeps for itself.
const SPAN_LEVELS: usize = 2;
/// Terms of a span: what a tile adds up in one call. A power of two of chunks, so that it is a subtree.
pub(crate) const SPAN: usize = CHUNK << SPAN_LEVELS;

/// What one call of a tile computes.
pub(crate) struct Tile<E> {
    /// First element of the left operand's rows: element `(row, k)` is at `row * a_row + k` in place, at
    /// `k * rows + row` when packed, at `offsets[k] + row` when its rows are gathered; then the rows past the
    /// [`HALF`]th of a tile of twice as many are `a_row` farther.
    pub a: *const E,
    pub a_row: usize,
    /// First element of the first panel: `(k, column)` of panel `p` is at `p * b_panel + k * 16 + column`,
    /// or, gathered, at `p * 16 + offsets[k] + column`. There are [`AHEAD`] offsets more than terms.
    pub b: *const E,
    pub b_panel: usize,
    pub offsets: *const usize,
    /// How far ahead panels in place are asked for, for a tile to come.
    pub b_ahead: usize,
    /// Terms: whole chunks, at most a span of them, but for the end of the contraction.
    pub k: usize,
    /// Sums of earlier spans: level `l` of the binary counter at `l * level_stride`, row-major.
    pub levels: *const E,
    pub level_stride: usize,
    /// Levels to add, as bits, from the lowest up.
    pub merge: usize,
    /// Where the sum goes: `(row, column)` at `row * out_row + column`.
    pub out: *mut E,
    pub out_row: usize,
    /// If `out` is the final result, what is done to the sums before they are stored.
    pub last: Option<Finish<E>>,
}

/// What is done to final sums, in this order; in the end NaNs are canonical.
#[derive(Clone, Copy)]
pub(crate) struct Finish<E> {
    /// If not null, what is added to the sums: one element for each row.
    pub bias: *const E,
    /// If not null, what is added then: element `(row, column)` is at `row * addend_row + column`.
    pub addend: *const E,
    pub addend_row: usize,
    pub relu: bool,
    /// If not null, it becomes true where a result is not finite before Relu.
    pub not_finite: *mut bool,
}

impl<E> Finish<E> {
    /// Nothing but canonical NaNs.
    pub(crate) fn none() -> Finish<E> {
        let (bias, addend) = (std::ptr::null(), std::ptr::null());
        Finish { bias, addend, addend_row: 0, relu: false, not_finite: std::ptr::null_mut() }
    }
}

/// Asks for the cache line at `at`, which will be read. Any address will do.
#[inline(always)]
pub(crate) fn prefetch<E>(at: *const E) {
    // SAFETY: a prefetch reads nothing and faults never.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) at, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = at;
}

/// Asks for the cache line at `at` in the second-level cache. Any address will do.
#[inline(always)]
pub(crate) fn prefetch_later<E>(at: *const E) {
    // SAFETY: a prefetch reads nothing and faults never.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(at.cast());
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("prfm pldl2keep, [{0}]", in(reg) at, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = at;
}

/// Asks for the cache line at `at`, which will be written. Any address will do.
#[inline(always)]
pub(crate) fn prefetch_for_write<E>(at: *mut E) {
    // SAFETY: a prefetch reads nothing and faults never.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!("prefetchw [{0}]", in(reg) at, options(nostack, preserves_flags, readonly));
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("prfm pstl1keep, [{0}]", in(reg) at, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = at;
}

/// A pointer of which the compiler knows nothing else. Rows of an operand in place are addressed by one pointer for three
/// of them, the distance of rows and its double; left to itself the compiler adds up the address of every row in every
/// step, and the additions take issue slots of the multiply-adds.
#[expect(clippy::pointers_in_nomem_asm_block, reason = "nothing is read through it there")]
#[inline(always)]
fn own_register<E>(mut at: *const E) -> *const E {
    // SAFETY: no instruction.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    unsafe {
        std::arch::asm!("/* {0} */", inout(reg) at, options(nostack, preserves_flags, nomem, pure));
    }
    at
}

/// Half of the rows of the highest tile of gathered rows: its halves may be on two lines.
pub(crate) const HALF: usize = 7;

/// Rows of a tile below which it asks for no later panels: fewer take them as fast as memory gives them.
const ASKING_ROWS: usize = 4;

/// Terms that the elements of a gathered operand are asked for ahead of their use.
pub(crate) const AHEAD: usize = 8;

/// A tile of a fixed number of rows and panels.
///
/// # Safety
/// The pointers of the tile are valid for those rows and panels, and the processor has the instructions.
pub(crate) type TileFn<E> = unsafe fn(&Tile<E>);

/// How a tile finds its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The left operand packed, the right one in panels.
    Packed,
    /// The left operand in place, the right one in panels.
    InPlace,
    /// The left operand in place, each term of the right one at an offset of its own.
    Gathered,
    /// Each term of the left operand at an offset of its own, where rows are neighbours; the right one in panels.
    GatheredRows,
}

/// The tiles of one instruction set and element type.
pub(crate) struct TileSet<E: 'static> {
    /// The most rows of a tile, and of one whose rows are gathered.
    pub rows_max: usize,
    pub gathered_max: usize,
    /// The best number of panels for a block of so many rows: a power of two.
    pub panels: fn(rows: usize) -> usize,
    /// The tile of so many rows and panels. `None`: narrower only.
    pub pick: fn(rows: usize, panels: usize, form: Form) -> Option<TileFn<E>>,
}

/// A register of elements that contractions accumulate.
pub(crate) trait TileLane: Copy {
    type Elem: Copy;
    const LANES: usize;
    /// # Safety
    /// `from` points at `LANES` readable elements.
    unsafe fn load(from: *const Self::Elem) -> Self;
    /// # Safety
    /// `to` points at `LANES` writable elements.
    unsafe fn store(self, to: *mut Self::Elem);
    fn splat(element: Self::Elem) -> Self;
    fn zero() -> Self;
    fn fma(self, b: Self, c: Self) -> Self;
    fn add(self, other: Self) -> Self;
    fn canonical(self) -> Self;
    /// As the operator of that name has it.
    fn relu(self) -> Self;
    /// Whether an element is NaN.
    fn has_nan(self) -> bool;
}

impl<V: VectorLane> TileLane for V {
    type Elem = f32;
    const LANES: usize = <V as VectorLane>::LANES;
    #[inline(always)]
    unsafe fn load(from: *const f32) -> V {
        // SAFETY: the caller's promise.
        unsafe { <V as VectorLane>::load(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { <V as VectorLane>::store(self, to) }
    }
    #[inline(always)]
    fn splat(element: f32) -> V {
        <V as FloatLane>::splat(element)
    }
    #[inline(always)]
    fn zero() -> V {
        <V as FloatLane>::splat(0.0)
    }
    #[inline(always)]
    fn fma(self, b: V, c: V) -> V {
        FloatLane::fma(self, b, c)
    }
    #[inline(always)]
    fn add(self, other: V) -> V {
        FloatLane::add(self, other)
    }
    #[inline(always)]
    fn canonical(self) -> V {
        Lane::canonical_nan(self)
    }
    #[inline(always)]
    fn relu(self) -> V {
        let zero = <V as FloatLane>::splat(0.0);
        V::select(self.less_equal(zero), zero, self)
    }
    #[inline(always)]
    fn has_nan(self) -> bool {
        !V::all(FloatLane::equal(self, self))
    }
}

/// A scalar as a register of one lane; compilers make vectors of neighbouring ones.
#[derive(Clone, Copy)]
pub(crate) struct One<E>(E);

impl<E: TileElem> TileLane for One<E> {
    type Elem = E;
    const LANES: usize = 1;
    #[inline(always)]
    unsafe fn load(from: *const E) -> Self {
        // SAFETY: the caller's promise.
        One(unsafe { *from })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut E) {
        // SAFETY: the caller's promise.
        unsafe { *to = self.0 }
    }
    #[inline(always)]
    fn splat(element: E) -> Self {
        One(element)
    }
    #[inline(always)]
    fn zero() -> Self {
        One(E::ZERO)
    }
    #[inline(always)]
    fn fma(self, b: Self, c: Self) -> Self {
        One(self.0.fma(b.0, c.0))
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        One(Accumulate::add(self.0, other.0))
    }
    #[inline(always)]
    fn canonical(self) -> Self {
        One(self.0.canonical())
    }
    #[inline(always)]
    fn relu(self) -> Self {
        One(TileElem::relu(self.0))
    }
    #[inline(always)]
    fn has_nan(self) -> bool {
        TileElem::is_nan(self.0)
    }
}

/// Where the next term is.
struct At<E, const ROWS: usize> {
    a: *const E,
    b: *const E,
    offset: *const usize,
    /// Of every third row, where the left operand is in place.
    thirds: [*const E; ROWS],
}

/// Terms of a large tile that one step of its loop takes. With a step for each, a chunk ends a loop too long for the
/// processor to foresee its end, so it seems: tiles of AVX2 took two to three parts in a hundred longer.
const TOGETHER: usize = 4;

/// Terms that one step of a tile's loop takes.
const fn together<V: TileLane, const ROWS: usize, const VECTORS: usize>() -> usize {
    if V::LANES >= 8 && ROWS * VECTORS >= 8 { TOGETHER } else { 1 }
}

/// Adds some terms to the sums.
///
/// # Safety
/// As for [`chunk_sums`], of `TERMS` terms.
#[inline(always)]
unsafe fn add_terms<
    V: TileLane,
    const ROWS: usize,
    const VECTORS: usize,
    const PACKED: bool,
    const GATHERED: bool,
    const TERMS: usize,
>(
    t: &Tile<V::Elem>,
    at: &mut At<V::Elem, ROWS>,
    acc: &mut [[V; VECTORS]; ROWS],
) {
    let per_panel = PANEL / V::LANES;
    let b_panel = if GATHERED && !PACKED { PANEL } else { t.b_panel };
    let column = |v: usize| (v / per_panel) * b_panel + (v % per_panel) * V::LANES;
    let (mut a, mut b, mut offset) = (at.a, at.b, at.offset);
    // Rows past a half may begin elsewhere.
    let halves = const { GATHERED && PACKED && ROWS == 2 * HALF };
    let second = if halves { t.a.wrapping_add(t.a_row) } else { t.a };
    let mut a_second = second;
    for term in 0..TERMS {
        // SAFETY: `a` and `b` stay inside of the operands; the caller's promise.
        unsafe {
            if GATHERED && PACKED {
                a = t.a.add(*offset);
                a_second = second.wrapping_add(*offset);
                prefetch(t.a.wrapping_add(*offset.add(AHEAD)));
                offset = offset.add(1);
            } else if GATHERED {
                b = t.b.add(*offset);
                let ahead = t.b.wrapping_add(*offset.add(AHEAD));
                for v in (0..VECTORS).step_by(per_panel) {
                    prefetch(ahead.wrapping_add(column(v)));
                }
                offset = offset.add(1);
            }
            let mut right = [V::zero(); VECTORS];
            for v in 0..VECTORS {
                right[v] = V::load(b.add(column(v)));
            }
            if (PACKED || !GATHERED) && ROWS >= ASKING_ROWS {
                for v in (0..VECTORS).step_by(per_panel) {
                    prefetch_later(b.wrapping_add(column(v) + t.b_ahead));
                }
            }
            for r in 0..ROWS {
                let left = match (PACKED, halves && r >= HALF) {
                    (true, false) => a.add(r),
                    (true, true) => a_second.add(r),
                    (false, _) => at.thirds[r / 3].wrapping_add(r % 3 * t.a_row + term),
                };
                let left = V::splat(*left);
                for v in 0..VECTORS {
                    acc[r][v] = left.fma(right[v], acc[r][v]);
                }
            }
            if PACKED && !GATHERED {
                a = a.add(ROWS);
            }
            if PACKED || !GATHERED {
                b = b.add(PANEL);
            }
        }
    }
    if !PACKED {
        for third in &mut at.thirds[..ROWS.div_ceil(3)] {
            *third = own_register(third.wrapping_add(TERMS));
        }
    }
    (at.a, at.b, at.offset) = (a, b, offset);
}

/// The sums of one chunk. A function of its own, in which every index into the sums is known when its loops are unrolled: they
/// live in registers however much else the compiler sees through. Next to iterators over them that were not inlined it stored all
/// of them with every term, which took half the speed.
///
/// # Safety
/// As for [`TileFn`]; `terms` more are there.
#[inline(always)]
unsafe fn chunk_sums<
    V: TileLane,
    const ROWS: usize,
    const VECTORS: usize,
    const PACKED: bool,
    const GATHERED: bool,
>(
    t: &Tile<V::Elem>,
    at: &mut At<V::Elem, ROWS>,
    terms: usize,
) -> [[V; VECTORS]; ROWS] {
    let mut acc = [[V::zero(); VECTORS]; ROWS];
    let mut rest = terms;
    // SAFETY: the operands have `terms` terms more; the caller's promise.
    unsafe {
        while rest >= const { together::<V, ROWS, VECTORS>() } {
            if const { together::<V, ROWS, VECTORS>() == TOGETHER } {
                add_terms::<V, ROWS, VECTORS, PACKED, GATHERED, TOGETHER>(t, at, &mut acc);
            } else {
                add_terms::<V, ROWS, VECTORS, PACKED, GATHERED, 1>(t, at, &mut acc);
            }
            rest -= const { together::<V, ROWS, VECTORS>() };
        }
        for _ in 0..rest {
            add_terms::<V, ROWS, VECTORS, PACKED, GATHERED, 1>(t, at, &mut acc);
        }
    }
    for r in 0..ROWS {
        for v in 0..VECTORS {
            acc[r][v] = acc[r][v].add(V::zero());
        }
    }
    acc
}

/// Makes results of final sums.
///
/// # Safety
/// As for [`TileFn`].
#[inline(always)]
unsafe fn finished<V: TileLane, const ROWS: usize, const VECTORS: usize>(
    finish: &Finish<V::Elem>,
    acc: &mut [[V; VECTORS]; ROWS],
) {
    if !finish.bias.is_null() {
        for r in 0..ROWS {
            // SAFETY: an element for each row; the caller's promise.
            let bias = V::splat(unsafe { *finish.bias.add(r) });
            for v in 0..VECTORS {
                acc[r][v] = acc[r][v].add(bias);
            }
        }
    }
    if !finish.addend.is_null() {
        for r in 0..ROWS {
            for v in 0..VECTORS {
                // SAFETY: an element for each of the tile's; the caller's promise.
                let addend = unsafe { V::load(finish.addend.add(r * finish.addend_row + v * V::LANES)) };
                acc[r][v] = acc[r][v].add(addend);
            }
        }
    }
    // One pass finds whether any result is not finite, by a product with zero; four chains, for one would be waited for. It
    // is rare that one is, and making NaNs canonical takes six operations a register.
    let mut seen = [V::zero(); 4];
    for r in 0..ROWS {
        for v in 0..VECTORS {
            let chain = (r * VECTORS + v) % 4;
            seen[chain] = acc[r][v].fma(V::zero(), seen[chain]);
        }
    }
    if seen[0].add(seen[1]).add(seen[2].add(seen[3])).has_nan() {
        if !finish.not_finite.is_null() {
            // SAFETY: the caller's promise.
            unsafe { *finish.not_finite = true };
        }
        for r in 0..ROWS {
            for v in 0..VECTORS {
                acc[r][v] = acc[r][v].canonical();
            }
        }
    }
    if finish.relu {
        for r in 0..ROWS {
            for v in 0..VECTORS {
                acc[r][v] = acc[r][v].relu();
            }
        }
    }
}

/// `ROWS` rows by `VECTORS` registers of columns.
///
/// # Safety
/// As for [`TileFn`].
#[inline(always)]
pub(crate) unsafe fn tile<
    V: TileLane,
    const ROWS: usize,
    const VECTORS: usize,
    const PACKED: bool,
    const GATHERED: bool,
>(
    t: &Tile<V::Elem>,
) {
    let per_panel = PANEL / V::LANES;
    // Left as it is: zeroing it takes as long as a few dozen terms.
    let mut earlier = [const { MaybeUninit::<[[V; VECTORS]; ROWS]>::uninit() }; SPAN_LEVELS];
    let thirds = std::array::from_fn(|i| t.a.wrapping_add(3 * i * t.a_row));
    let mut at = At { a: t.a, b: t.b, offset: t.offsets, thirds };
    let (mut rest, mut chunk) = (t.k, 0usize);
    // The lines of the result, and of what is added, arrive while the terms are added up.
    for r in 0..ROWS {
        for v in (0..VECTORS).step_by(per_panel) {
            prefetch_for_write(t.out.wrapping_add(r * t.out_row + v * V::LANES));
        }
    }
    if let Some(finish) = t.last.filter(|finish| !finish.addend.is_null()) {
        for r in 0..ROWS {
            for v in (0..VECTORS).step_by(per_panel) {
                prefetch(finish.addend.wrapping_add(r * finish.addend_row + v * V::LANES));
            }
        }
    }
    let mut acc = loop {
        let terms = rest.min(CHUNK);
        // SAFETY: as for the whole: a span's terms, one chunk of them after the other.
        let mut acc = unsafe { chunk_sums::<V, ROWS, VECTORS, PACKED, GATHERED>(t, &mut at, terms) };
        rest -= terms;
        // Binary counter: chunk i completes the subtrees of its trailing one bits; the last completes all.
        let free = chunk.trailing_ones() as usize;
        let merge = if rest == 0 { chunk } else { (1 << free) - 1 };
        for (level, earlier) in earlier.iter().enumerate() {
            if merge >> level & 1 == 1 {
                // SAFETY: bit l of the counter is set after its level l was written.
                let earlier = unsafe { earlier.assume_init_ref() };
                for (row, earlier) in acc.iter_mut().zip(earlier) {
                    for (sum, earlier) in row.iter_mut().zip(earlier) {
                        *sum = earlier.add(*sum);
                    }
                }
            }
        }
        if rest == 0 {
            break acc;
        }
        earlier[free].write(acc);
        chunk += 1;
    };
    let mut merge = t.merge;
    while merge != 0 {
        let level = merge.trailing_zeros() as usize;
        merge &= merge - 1;
        for r in 0..ROWS {
            for v in 0..VECTORS {
                // SAFETY: a level holds a whole tile; the caller's promise.
                let earlier =
                    unsafe { V::load(t.levels.add(level * t.level_stride + (r * VECTORS + v) * V::LANES)) };
                acc[r][v] = earlier.add(acc[r][v]);
            }
        }
    }
    if let Some(finish) = &t.last {
        // SAFETY: the caller's promise.
        unsafe { finished(finish, &mut acc) };
    }
    for r in 0..ROWS {
        for v in 0..VECTORS {
            // SAFETY: the output holds a whole tile; the caller's promise.
            unsafe { acc[r][v].store(t.out.add(r * t.out_row + v * V::LANES)) };
        }
    }
}

/// A `TileSet` out of `entry::<Lane, ROWS, VECTORS, PACKED, GATHERED>`: `panels => vectors : [rows] [rows of tiles whose rows
/// are gathered besides]`.
macro_rules! tile_set {
    ($entry:ident::<$lane:ty> of $elem:ty, rows_max $rows_max:literal, panels $choice:expr;
     $($p:literal => $vectors:literal : [$($r:literal)*] [$($g:literal)*];)*) => {{
        fn pick(rows: usize, panels: usize, form: Form) -> Option<TileFn<$elem>> {
            match (panels, rows, form) {
                $($(
                    ($p, $r, Form::Packed) => Some($entry::<$lane, $r, $vectors, true, false> as TileFn<$elem>),
                    ($p, $r, Form::InPlace) => Some($entry::<$lane, $r, $vectors, false, false> as TileFn<$elem>),
                    ($p, $r, Form::Gathered) => Some($entry::<$lane, $r, $vectors, false, true> as TileFn<$elem>),
                    ($p, $r, Form::GatheredRows) => Some($entry::<$lane, $r, $vectors, true, true> as TileFn<$elem>),
                )*
                $(
                    ($p, $g, Form::GatheredRows) => Some($entry::<$lane, $g, $vectors, true, true> as TileFn<$elem>),
                )*)*
                _ => None,
            }
        }
        /// The most rows of all.
        const GATHERED: usize = {
            let (mut most, rows, mut at) = ($rows_max, [0, $($($g,)*)*], 0);
            while at < rows.len() {
                most = if rows[at] > most { rows[at] } else { most };
                at += 1;
            }
            most
        };
        static SET: TileSet<$elem> =
            TileSet { rows_max: $rows_max, gathered_max: GATHERED, panels: $choice, pick };
        &SET
    }};
}
pub(crate) use tile_set;

/// Four rows by one panel of scalars.
macro_rules! scalar_set {
    ($entry:ident, $elem:ty) => {
        tile_set!($entry::<One<$elem>> of $elem, rows_max 4, panels |_| 1; 1 => 16 : [1 2 3 4] [];)
    };
}
pub(crate) use scalar_set;
