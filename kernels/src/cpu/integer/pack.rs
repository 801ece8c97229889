//! Bringing operands into the form that tiles read.
//!
//! Invariant: terms past the last are zero on the left side, so what stands there on the right side does
//! not matter.

use std::ops::Range;

use super::engine::Form;
use super::taps::Taps;
use super::tile::{GROUP, PANEL};
use super::vectorized;
use crate::isa::Isa;
use crate::parallel::{Shared, parallel_ranges};

/// Rows of bytes: every `k` of `data` are one.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a> {
    pub data: &'a [u8],
    pub signed: bool,
    /// The first row of each batch.
    pub starts: &'a [usize],
}

/// Where the terms of a right operand are.
#[derive(Clone, Copy)]
pub(crate) enum Terms<'a> {
    /// So far from each other.
    Stride(usize),
    /// Each at an offset of its own.
    Offsets(&'a [usize]),
    /// By fours, as tiles read them: panels of 16 columns, each of groups of four terms of all its columns.
    Groups,
    /// By fours, each group's columns after each other at an offset of its own: for engines that have tiles for it.
    Taps(Taps<'a>),
}

/// Terms by columns; the columns of a term are contiguous, but for groups.
#[derive(Clone, Copy)]
pub(crate) struct Right<'a> {
    pub data: &'a [u8],
    pub signed: bool,
    /// Where each batch begins.
    pub starts: &'a [usize],
    pub terms: Terms<'a>,
}

impl Right<'_> {
    /// Columns of a term.
    #[inline(always)]
    fn columns(&self, batch: usize, term: usize, columns: &Range<usize>) -> &[u8] {
        let offset = match self.terms {
            Terms::Stride(stride) => term * stride,
            Terms::Offsets(offsets) => offsets[term],
            Terms::Groups | Terms::Taps(_) => unreachable!("columns of a group are together"),
        };
        &self.data[self.starts[batch] + offset + columns.start..][..columns.len()]
    }
}

/// Whether the rows of a left operand can be read as they are.
pub(crate) fn left_in_place(form: Form, k: usize, rows: usize) -> bool {
    /// Rows this far apart share their places in the first-level cache.
    const ALIAS: usize = 1 << 11;
    form == Form::Opposite && k.is_multiple_of(GROUP) && (rows < 8 || !k.is_multiple_of(ALIAS))
}

/// Bytes from a row to the next in [`pack_left`].
pub(crate) fn left_row_bytes(form: Form, k: usize) -> usize {
    k.div_ceil(form.terms()) * GROUP + 64
}

/// Bytes from a panel to the next of a right operand of `k` terms that is in groups.
pub(crate) fn group_panel_bytes(k: usize) -> usize {
    k.div_ceil(GROUP) * GROUP * PANEL
}

/// Writes the rows of `data` in an engine's form, with bytes of the other signedness if `flip` says so.
pub(crate) fn pack_left(
    isa: Isa,
    form: Form,
    (data, signed, flip): (&[u8], bool, bool),
    k: usize,
    to: &mut [u8],
) {
    let row_bytes = left_row_bytes(form, k);
    let rows = to.len() / row_bytes;
    let flip = if flip { 0x80 } else { 0 };
    let to = Shared::new(to);
    parallel_ranges(rows, 1, k, |rows| {
        // SAFETY: tasks write rows of their own.
        let to = unsafe { to.slice(rows.start * row_bytes..rows.end * row_bytes) };
        let data = &data[rows.start * k..rows.end * k];
        vectorized(
            isa,
            #[inline(always)]
            || {
                for (from, to) in data.chunks_exact(k).zip(to.chunks_exact_mut(row_bytes)) {
                    let used = if form == Form::Pairs { 2 * k } else { k };
                    to[used..].fill(0);
                    let to = &mut to[..used];
                    match (form, signed) {
                        (Form::Pairs, true) => {
                            for (to, from) in to.chunks_exact_mut(2).zip(from) {
                                to.copy_from_slice(&i16::from(*from as i8).to_le_bytes());
                            }
                        }
                        (Form::Pairs, false) => {
                            for (to, from) in to.chunks_exact_mut(2).zip(from) {
                                to.copy_from_slice(&u16::from(*from).to_le_bytes());
                            }
                        }
                        _ => to.iter_mut().zip(from).for_each(|(to, from)| *to = from ^ flip),
                    }
                }
            },
        );
    });
}

/// Writes ones for `terms` terms of one row.
pub(crate) fn pack_ones(form: Form, terms: usize, to: &mut [u8]) {
    to.fill(0);
    let size = GROUP / form.terms();
    to.chunks_exact_mut(size).take(terms).for_each(|to| to[0] = 1);
}

/// The sum of each row.
pub(crate) fn row_sums(isa: Isa, left: &Left<'_>, k: usize) -> Vec<i32> {
    let rows = left.data.len().checked_div(k).unwrap_or(0);
    let mut sums = vec![0; rows];
    let to = Shared::new(&mut sums);
    parallel_ranges(rows, 1, k, |rows| {
        // SAFETY: tasks write sums of their own.
        let to = unsafe { to.slice(rows.clone()) };
        let data = &left.data[rows.start * k..rows.end * k];
        vectorized(
            isa,
            #[inline(always)]
            || {
                for (row, to) in data.chunks_exact(k).zip(to) {
                    *to = if left.signed {
                        row.iter().fold(0, |sum: i32, v| sum.wrapping_add(i32::from(*v as i8)))
                    } else {
                        row.iter().fold(0, |sum: i32, v| sum.wrapping_add(i32::from(*v)))
                    };
                }
            },
        );
    });
    sums
}

/// Makes the groups of 16 columns.
pub(super) trait Interleave {
    /// # Safety
    /// Sixteen bytes of each row and 64 bytes at `to` are there; the processor has the instructions.
    unsafe fn panel(rows: [*const u8; 4], flip: u8, to: *mut u8);
}

/// Groups of four bytes.
struct Bytes;

impl Interleave for Bytes {
    #[inline(always)]
    unsafe fn panel(rows: [*const u8; 4], flip: u8, to: *mut u8) {
        let flip = u32::from_ne_bytes([flip; 4]);
        // SAFETY: the caller's promise.
        let rows = unsafe { rows.map(|row| row.cast::<[u8; PANEL]>().read()) };
        let mut groups = [0u32; PANEL];
        for (c, group) in groups.iter_mut().enumerate() {
            let [a, b, c, d] = [0, 1, 2, 3].map(|r: usize| u32::from(rows[r][c]));
            *group = ((a | b << 8 | c << 16 | d << 24) ^ flip).to_le();
        }
        // SAFETY: as above.
        unsafe { to.cast::<[u32; PANEL]>().write_unaligned(groups) }
    }
}

/// Groups of two numbers of 16 bits.
struct Words<const SIGNED: bool>;

impl<const SIGNED: bool> Interleave for Words<SIGNED> {
    #[inline(always)]
    unsafe fn panel(rows: [*const u8; 4], _: u8, to: *mut u8) {
        // SAFETY: the caller's promise.
        let [a, b] = unsafe { [rows[0], rows[1]].map(|row| row.cast::<[u8; PANEL]>().read()) };
        let wide = |v: u8| if SIGNED { u32::from(i16::from(v as i8) as u16) } else { u32::from(v) };
        let mut groups = [0u32; PANEL];
        for (c, group) in groups.iter_mut().enumerate() {
            *group = (wide(a[c]) | wide(b[c]) << 16).to_le();
        }
        // SAFETY: as above.
        unsafe { to.cast::<[u32; PANEL]>().write_unaligned(groups) }
    }
}

/// Groups of four bytes by shuffles of 512 bits.
#[cfg(target_arch = "x86_64")]
struct Shuffled;

#[cfg(target_arch = "x86_64")]
impl Interleave for Shuffled {
    #[inline(always)]
    unsafe fn panel(rows: [*const u8; 4], flip: u8, to: *mut u8) {
        use std::arch::x86_64::*;
        // SAFETY: the caller's promise.
        unsafe {
            let row = |r: usize| _mm_loadu_si128(rows[r].cast());
            let lanes = _mm512_castsi128_si512(row(0));
            let lanes = _mm512_inserti32x4::<1>(lanes, row(1));
            let lanes = _mm512_inserti32x4::<2>(lanes, row(2));
            let lanes = _mm512_inserti32x4::<3>(lanes, row(3));
            // Four columns of every row to each lane, then within lanes by columns.
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            let within =
                _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
            let groups = _mm512_shuffle_epi8(_mm512_permutexvar_epi32(order, lanes), within);
            _mm512_storeu_si512(to.cast(), _mm512_xor_si512(groups, _mm512_set1_epi8(flip as i8)));
        }
    }
}

/// What makes groups of four bytes.
pub(super) trait Interleaving {
    fn by<I: Interleave>(self);
}

/// Runs it with the instructions of a set.
pub(super) fn interleaved(isa: Isa, work: impl Interleaving) {
    assert!(isa.is_available(), "this machine lacks {}", isa.name());
    #[cfg(target_arch = "x86_64")]
    if isa == Isa::Avx512 {
        #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl")]
        fn shuffled(work: impl Interleaving) {
            work.by::<Shuffled>();
        }
        // SAFETY: the instruction set is available.
        return unsafe { shuffled(work) };
    }
    vectorized(
        isa,
        #[inline(always)]
        || work.by::<Bytes>(),
    );
}

/// A part of a right operand to be packed.
pub(crate) struct Part<'a> {
    pub right: &'a Right<'a>,
    pub batch: usize,
    pub terms: Range<usize>,
    pub columns: Range<usize>,
    /// Added to bytes by flipping their highest bit, or 0.
    pub offset: i32,
}

/// Groups of bytes of a part.
struct Packing<'a> {
    part: &'a Part<'a>,
    panel_bytes: usize,
    to: &'a mut [u8],
}

impl Interleaving for Packing<'_> {
    #[inline(always)]
    fn by<I: Interleave>(self) {
        self.part.groups::<I, 4>(self.panel_bytes, self.to);
    }
}

impl Part<'_> {
    /// Writes `[panel][group][16 columns]`, panels `panel_bytes` apart. What is past the last column is
    /// unspecified. Of a right operand in groups, terms and columns start with a whole group and panel; `k` are its terms.
    pub fn pack(&self, isa: Isa, form: Form, k: usize, panel_bytes: usize, to: &mut [u8]) {
        assert!(isa.is_available(), "this machine lacks {}", isa.name());
        if matches!(self.right.terms, Terms::Groups) {
            return vectorized(
                isa,
                #[inline(always)]
                || match (form, self.right.signed) {
                    (Form::Pairs, true) => self.widened::<true>(k, panel_bytes, to),
                    (Form::Pairs, false) => self.widened::<false>(k, panel_bytes, to),
                    _ => self.copied(k, panel_bytes, to),
                },
            );
        }
        if form != Form::Pairs {
            return interleaved(isa, Packing { part: self, panel_bytes, to });
        }
        vectorized(
            isa,
            #[inline(always)]
            || match self.right.signed {
                true => self.groups::<Words<true>, 2>(panel_bytes, to),
                false => self.groups::<Words<false>, 2>(panel_bytes, to),
            },
        );
    }

    /// The groups of a panel of an operand that has them.
    fn own_groups(&self, k: usize, panel: usize) -> &[[u8; GROUP * PANEL]] {
        assert!(self.terms.start.is_multiple_of(GROUP) && self.columns.start.is_multiple_of(PANEL));
        let start =
            self.right.starts[self.batch] + (self.columns.start / PANEL + panel) * group_panel_bytes(k);
        let groups = self.right.data[start..][..group_panel_bytes(k)].as_chunks().0;
        &groups[self.terms.start / GROUP..self.terms.end.div_ceil(GROUP)]
    }

    /// Groups of four bytes as they are, or of the other signedness.
    #[inline(always)]
    fn copied(&self, k: usize, panel_bytes: usize, to: &mut [u8]) {
        let flip = if self.offset == 0 { 0 } else { 0x80 };
        for (panel, to) in to.chunks_mut(panel_bytes).enumerate().take(self.columns.len().div_ceil(PANEL)) {
            for (to, from) in to.as_chunks_mut().0.iter_mut().zip(self.own_groups(k, panel)) {
                *to = from.map(
                    #[inline(always)]
                    |byte| byte ^ flip,
                );
            }
        }
    }

    /// Groups of four bytes as two groups of two numbers.
    #[inline(always)]
    fn widened<const SIGNED: bool>(&self, k: usize, panel_bytes: usize, to: &mut [u8]) {
        let groups = self.terms.len().div_ceil(2);
        for (panel, to) in to.chunks_mut(panel_bytes).enumerate().take(self.columns.len().div_ceil(PANEL)) {
            let pairs = to.as_chunks_mut::<{ GROUP * PANEL }>().0[..groups].chunks_mut(2);
            for (pairs, from) in pairs.zip(self.own_groups(k, panel)) {
                for (half, pair) in pairs.iter_mut().enumerate() {
                    for (number, to) in pair.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                        let byte = from[number / 2 * GROUP + 2 * half + number % 2];
                        let wide = if SIGNED { i16::from(byte as i8) as u16 } else { u16::from(byte) };
                        *to = wide.to_le_bytes();
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn groups<I: Interleave, const TERMS: usize>(&self, panel_bytes: usize, to: &mut [u8]) {
        let flip = if self.offset == 0 { 0 } else { 0x80 };
        let width = self.columns.len();
        let (whole, rest) = (width / PANEL, width % PANEL);
        let panels = width.div_ceil(PANEL);
        let groups = self.terms.len().div_ceil(TERMS);
        if panels == 0 || groups == 0 {
            return;
        }
        assert!(to.len() >= (panels - 1) * panel_bytes + groups * GROUP * PANEL);
        for group in 0..groups {
            let first = self.terms.start + group * TERMS;
            // Any term will do past the last.
            let row = |t: usize| {
                let term = (first + t % TERMS).min(self.terms.end - 1);
                self.right.columns(self.batch, term, &self.columns)
            };
            let rows = [row(0), row(1), row(2), row(3)];
            // SAFETY: rows have `width` bytes, and `to` holds the panels.
            unsafe {
                let to = to.as_mut_ptr().add(group * GROUP * PANEL);
                for panel in 0..whole {
                    I::panel(
                        rows.map(|row| row.as_ptr().add(panel * PANEL)),
                        flip,
                        to.add(panel * panel_bytes),
                    );
                }
                if rest > 0 {
                    let mut ends = [[0; PANEL]; 4];
                    for (end, row) in ends.iter_mut().zip(rows) {
                        end[..rest].copy_from_slice(&row[whole * PANEL..]);
                    }
                    I::panel(ends.each_ref().map(|end| end.as_ptr()), flip, to.add(whole * panel_bytes));
                }
            }
        }
    }
}
