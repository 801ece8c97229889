//! From sums of raw bytes to results: zero points, bias, requantization.

use std::borrow::Cow;
use std::ops::Range;

use super::vectorized;
use crate::isa::Isa;
use crate::parallel::Shared;

/// Columns that [`Finisher::store`] takes at a time at the most: enough that what is done once a row does not count, and
/// few enough that the sums of a tile's rows stay in the first-level cache.
pub(crate) const WIDTH_MAX: usize = 256;
/// Numbers that loops take at a time.
const LANES: usize = 16;

/// One number for all, or one for each row or column of all batches.
#[derive(Clone)]
pub(crate) struct Numbers<'a, T: Copy>(pub Cow<'a, [T]>);

impl<T: Copy> Numbers<'_, T> {
    pub fn one(value: T) -> Numbers<'static, T> {
        Numbers(Cow::Owned(vec![value]))
    }

    /// The only number, if there is one.
    pub fn single(&self) -> Option<T> {
        if let [one] = *self.0 { Some(one) } else { None }
    }

    #[inline(always)]
    fn at(&self, index: usize) -> T {
        self.single().unwrap_or_else(|| self.0[index])
    }
}

impl Numbers<'_, i32> {
    pub fn is_zero(&self) -> bool {
        self.0.iter().all(|&v| v == 0)
    }

    /// Each plus a number.
    pub fn plus(&self, value: i32) -> Numbers<'static, i32> {
        Numbers(self.0.iter().map(|v| v + value).collect())
    }
}

/// What sums are multiplied with: `(left * right) / result`, each operation rounded.
pub(crate) enum Factors {
    Rows(Numbers<'static, f32>),
    Columns(Vec<f32>),
    Each { left: Numbers<'static, f32>, right: Vec<f32>, result: Numbers<'static, f32> },
}

impl Factors {
    /// `left` and `result` by rows, `right` by columns.
    pub fn new(
        left: Numbers<'static, f32>,
        right: Numbers<'static, f32>,
        result: Numbers<'static, f32>,
    ) -> Factors {
        match (left.single(), right.single(), result.single()) {
            (_, Some(right), _) => {
                let rows = left.0.len().max(result.0.len());
                Factors::Rows(Numbers((0..rows).map(|r| left.at(r) * right / result.at(r)).collect()))
            }
            (Some(left), _, Some(result)) => {
                Factors::Columns(right.0.iter().map(|right| left * right / result).collect())
            }
            _ => Factors::Each { left, right: right.0.into_owned(), result },
        }
    }
}

/// How sums become bytes.
pub(crate) struct Requantize {
    pub factors: Factors,
    /// By rows.
    pub zero: Numbers<'static, i32>,
    pub signed: bool,
}

/// Where results go.
pub(crate) enum Output<'a> {
    Sums(&'a mut [i32]),
    Bytes(&'a mut [u8], Requantize),
}

/// What results are made of, and where they go.
pub(crate) struct Finish<'a> {
    /// Zero points of the left operand by rows, of the right one by columns.
    pub left_zero: Numbers<'a, i32>,
    pub right_zero: Numbers<'a, i32>,
    /// By rows.
    pub bias: Option<&'a [i32]>,
    pub output: Output<'a>,
    /// Numbers by rows are there for so many batches; the others repeat.
    pub period: usize,
    /// Columns of a batch's matrix: the distance of batches in numbers by columns.
    pub columns: usize,
    /// Distance of batches and of rows of the output.
    pub batch: usize,
    pub row: usize,
    /// Columns are those of lines of such a pitch, of which so many at the start are kept.
    pub lines: (usize, usize),
}

/// The output as tasks share it.
enum Place {
    Sums(Shared<i32>, usize),
    Bytes(Shared<u8>, usize),
}

/// What the right operand's columns contribute to their sums.
#[derive(Clone, Copy)]
pub(crate) enum ColumnsPart<'a> {
    /// Nothing.
    None,
    /// The same in every row, to be added.
    Same(&'a [i32]),
    /// Sums of columns, to be multiplied with the zero point of the row and subtracted.
    Scaled(&'a [i32]),
}

/// What a block knows of its sums. Zero points are those of the operands in the engine's form.
pub(crate) struct Tally<'a> {
    pub rows: Range<usize>,
    pub columns: Range<usize>,
    pub batch: usize,
    /// What the columns' sums contribute, if it is not in the sums yet.
    pub columns_part: ColumnsPart<'a>,
}

/// [`Finish`] at work.
pub(crate) struct Finisher<'a> {
    isa: Isa,
    rule: Finish<'a>,
    place: Place,
    m: usize,
    k: i32,
    /// Sums of the left operand's rows; empty where no right zero point needs them.
    row_sums: Vec<i32>,
    row_starts: &'a [usize],
    /// What the engine's form adds to both operands.
    offsets: (i32, i32),
    /// Whether all factors by columns are finite, so that no product of a sum and a factor is NaN.
    is_number: bool,
}

impl<'a> Finisher<'a> {
    pub fn new(
        isa: Isa,
        mut rule: Finish<'a>,
        (m, k): (usize, usize),
        (row_sums, row_starts): (Vec<i32>, &'a [usize]),
        offsets: (i32, i32),
    ) -> Finisher<'a> {
        let place = match &mut rule.output {
            Output::Sums(out) => Place::Sums(Shared::new(out), out.len()),
            Output::Bytes(out, _) => Place::Bytes(Shared::new(out), out.len()),
        };
        let is_number = match &rule.output {
            Output::Bytes(_, Requantize { factors: Factors::Columns(factors), .. }) => {
                factors.iter().all(|factor| factor.is_finite())
            }
            _ => false,
        };
        // Sums wrap, so that the low bits of a length are enough.
        Finisher { isa, rule, place, m, k: k as i32, row_sums, row_starts, offsets, is_number }
    }

    /// What is added to the sums of columns, if it is the same for every row.
    pub fn same_columns(&self) -> Option<i32> {
        self.rule.left_zero.single().map(|zero| (zero + self.offsets.0).wrapping_neg())
    }

    /// Where a tile may store its sums as results: the place of a row's columns, and the distance of rows.
    pub fn direct(
        &self,
        batch: usize,
        rows: &Range<usize>,
        columns: &Range<usize>,
    ) -> Option<(*mut i32, usize)> {
        let Place::Sums(place, len) = &self.place else { return None };
        let plain = self.rule.lines.0 == usize::MAX && self.row_sums.is_empty() && self.rule.bias.is_none();
        if !plain || !columns.len().is_multiple_of(16) || self.rule.left_zero.single().is_none() {
            return None;
        }
        let at = batch * self.rule.batch + rows.start * self.rule.row + columns.start;
        let end = at + (rows.len() - 1) * self.rule.row + columns.len();
        // SAFETY: inside of the output, by the condition.
        (end <= *len && columns.end <= self.rule.columns).then(|| (unsafe { place.0.add(at) }, self.rule.row))
    }

    /// Finishes the sums of a tile and stores the results. With operands `a + p` and `b + q`, whose offsets
    /// `p` and `q` come from the form, and zero points `s` and `t`:
    /// `sum of (a - s) (b - t) = sum of (a + p) (b + q) - (s + p) * sum of (b + q) - (t + q) * (sum of a - K s)`.
    ///
    /// # Safety
    /// Rows and columns are inside of the matrix, and no other thread stores there meanwhile.
    pub unsafe fn store(&self, tally: &Tally<'_>, tile: &mut [i32], stride: usize) {
        let width = tally.columns.len();
        // Loops take whole registers; what is past the last column is not stored.
        let whole = width.next_multiple_of(LANES);
        assert!(whole <= WIDTH_MAX && stride >= whole);
        let first_index = tally.batch % self.rule.period * self.m;
        let start = tally.batch * self.rule.batch;
        let (pitch, _) = self.rule.lines;
        let place = (tally.columns.start / pitch, tally.columns.start % pitch);
        vectorized(
            self.isa,
            #[inline(always)]
            || {
                for (row, sums) in tally.rows.clone().zip(tile.chunks_mut(stride)) {
                    let sums = &mut sums[..whole];
                    let (index, start) = (first_index + row, start + row * self.rule.row);
                    let base = self.center(tally, row, index, sums);
                    match (&self.place, &self.rule.output) {
                        (Place::Sums(place_of, len), _) => {
                            if base != 0 {
                                sums.iter_mut().for_each(|sum| *sum = sum.wrapping_add(base));
                            }
                            self.lines(place, width, |run, at| {
                                let at = start + at..start + at + run.len();
                                assert!(at.end <= *len);
                                // SAFETY: in range; nobody else writes these elements, as the caller promises.
                                unsafe { place_of.slice(at) }.copy_from_slice(&sums[run]);
                            });
                        }
                        (Place::Bytes(..), Output::Bytes(_, rule)) => {
                            let columns = tally.batch * self.rule.columns + tally.columns.start;
                            let columns = columns..columns + width;
                            let row = Row { place, start, width, sums: &*sums };
                            let mut quantized = Requantized {
                                is_number: self.is_number,
                                base,
                                zero: rule.zero.at(index),
                                limits: limits(rule.signed),
                            };
                            match &rule.factors {
                                Factors::Rows(factors) => {
                                    let factor = factors.at(index);
                                    quantized.is_number = factor.is_finite();
                                    // SAFETY: the caller's promise.
                                    unsafe { self.requantize(&row, &quantized, factor) }
                                }
                                // SAFETY: as above.
                                Factors::Columns(factors) => unsafe {
                                    self.requantize(&row, &quantized, &factors[columns]);
                                },
                                Factors::Each { left, right, result } => {
                                    let (left, result) = (left.at(index), result.at(index));
                                    let mut factors = [0.0; WIDTH_MAX];
                                    for (factor, right) in factors.iter_mut().zip(&right[columns]) {
                                        *factor = left * right / result;
                                    }
                                    // SAFETY: as above.
                                    unsafe { self.requantize(&row, &quantized, &factors[..]) }
                                }
                            }
                        }
                        _ => {}
                    }
                }
            },
        );
    }

    /// Takes the zero points off. What is left to be added to every sum of the row, the bias among it, is the result.
    /// Loops over single numbers: of loops over blocks of them the compiler makes gathers.
    #[inline(always)]
    fn center(&self, tally: &Tally<'_>, row: usize, index: usize, sums: &mut [i32]) -> i32 {
        let left_zero = self.rule.left_zero.at(index);
        let mut base = self.rule.bias.map_or(0, |bias| bias[index]);
        let rest = match self.row_sums.get(self.row_starts[tally.batch] + row) {
            Some(sum) => sum.wrapping_sub(self.k.wrapping_mul(left_zero)),
            None => 0,
        };
        let q = self.offsets.1;
        if let Some(zero) = self.rule.right_zero.single() {
            base = base.wrapping_sub((zero + q).wrapping_mul(rest));
        } else {
            let first = tally.batch * self.rule.columns + tally.columns.start;
            let zeros = &self.rule.right_zero.0[first..][..tally.columns.len()];
            for (sum, zero) in sums.iter_mut().zip(zeros) {
                *sum = sum.wrapping_sub((zero + q).wrapping_mul(rest));
            }
        }
        match tally.columns_part {
            ColumnsPart::None => {}
            ColumnsPart::Same(columns) => {
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = sum.wrapping_add(*column);
                }
            }
            ColumnsPart::Scaled(columns) => {
                let scale = left_zero + self.offsets.0;
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = sum.wrapping_sub(column.wrapping_mul(scale));
                }
            }
        }
        base
    }

    /// Stores a row's sums as bytes.
    ///
    /// # Safety
    /// As for [`Finisher::store`].
    #[inline(always)]
    unsafe fn requantize(&self, row: &Row<'_>, quantized: &Requantized, factors: impl RowFactors) {
        let Place::Bytes(place, len) = &self.place else { return };
        self.lines(
            row.place,
            row.width,
            #[inline(always)]
            |run, at| {
                let at = row.start + at..row.start + at + run.len();
                assert!(at.end <= *len);
                // SAFETY: in range; nobody else writes these elements, as the caller promises.
                quantized.write(row.sums, factors, run, unsafe { place.slice(at) });
            },
        );
    }

    /// Calls `each` for the columns that are kept, run by run: which they are, counted from the first of `width`
    /// columns, and where they go, counted from the row's start. `place` is the line of the first column, and its
    /// place there.
    #[inline(always)]
    fn lines(&self, place: (usize, usize), width: usize, mut each: impl FnMut(Range<usize>, usize)) {
        let (pitch, kept) = self.rule.lines;
        let (mut line, mut first) = place;
        let mut column = 0;
        while column < width {
            let count = (width - column).min(pitch - first);
            let run = kept.saturating_sub(first).min(count);
            if run > 0 {
                each(column..column + run, line * kept.min(self.rule.row) + first);
            }
            column += count;
            (line, first) = (line + 1, 0);
        }
    }
}

/// A row of a tile.
struct Row<'a> {
    /// The line of the first column, and its place there.
    place: (usize, usize),
    /// Where the row begins in the output.
    start: usize,
    /// Columns.
    width: usize,
    sums: &'a [i32],
}

/// The factors of a row's columns.
trait RowFactors: Copy {
    /// Those of a block, as far as there are any.
    fn block(self, first: usize) -> [f32; LANES];
}

impl RowFactors for f32 {
    #[inline(always)]
    fn block(self, _: usize) -> [f32; LANES] {
        [self; LANES]
    }
}

impl RowFactors for &[f32] {
    #[inline(always)]
    fn block(self, first: usize) -> [f32; LANES] {
        match self[first..].first_chunk() {
            Some(block) => *block,
            None => std::array::from_fn(|i| self.get(first + i).copied().unwrap_or(0.0)),
        }
    }
}

/// How a row's sums become bytes.
struct Requantized {
    /// Whether no product of a sum and a factor is NaN.
    is_number: bool,
    /// What is added to sums.
    base: i32,
    zero: i32,
    limits: (i32, i32),
}

impl Requantized {
    /// Writes the results of a run of columns.
    #[inline(always)]
    fn write(&self, sums: &[i32], factors: impl RowFactors, run: Range<usize>, to: &mut [u8]) {
        let (low, high) = self.limits;
        if self.is_number {
            // Rounding keeps the order of numbers and integers as they are, so that the limits may come first.
            let (least, most) = ((low - self.zero) as f32, (high - self.zero) as f32);
            in_blocks(
                sums,
                factors,
                run,
                to,
                #[inline(always)]
                |sum, factor| {
                    let value = sum.wrapping_add(self.base) as f32 * factor;
                    let value = if value < least { least } else { value };
                    let value = if value > most { most } else { value };
                    (nearest(value) as u8).wrapping_add(self.zero as u8)
                },
            );
        } else {
            in_blocks(
                sums,
                factors,
                run,
                to,
                #[inline(always)]
                |sum, factor| quantized(sum.wrapping_add(self.base) as f32 * factor, self.zero, low, high),
            );
        }
    }
}

/// Writes what `each` makes of a run of a row's sums, at least a block of which there are.
#[inline(always)]
fn in_blocks(
    sums: &[i32],
    factors: impl RowFactors,
    run: Range<usize>,
    to: &mut [u8],
    each: impl Fn(i32, f32) -> u8,
) {
    #[inline(always)]
    fn block(
        (sums, factors): (&[i32], impl RowFactors),
        at: usize,
        to: &mut [u8; LANES],
        each: impl Fn(i32, f32) -> u8,
    ) {
        let sums = sums[at..].first_chunk::<LANES>().expect("a block of sums");
        // Values, so that compilers see that results do not change them.
        let (sums, factors, mut bytes) = (*sums, factors.block(at), [0; LANES]);
        for i in 0..LANES {
            bytes[i] = each(sums[i], factors[i]);
        }
        *to = bytes;
    }
    let from = (sums, factors);
    if run.len() < LANES {
        let at = run.start.min(sums.len() - LANES);
        let mut bytes = [0; LANES];
        block(from, at, &mut bytes, each);
        to.copy_from_slice(&bytes[run.start - at..][..run.len()]);
        return;
    }
    // The last block ends with the last column, and has some that are done already.
    let last = run.len() - LANES;
    let mut at = 0;
    loop {
        if let Some(to) = to[at..].first_chunk_mut() {
            block(from, run.start + at, to, &each);
        }
        if at == last {
            return;
        }
        at = last.min(at + LANES);
    }
}

/// The least and the greatest number of a type of eight bits.
#[inline(always)]
pub(crate) fn limits(signed: bool) -> (i32, i32) {
    if signed { (-128, 127) } else { (0, 255) }
}

/// `value` rounded to an integer, ties to even (NaN is 0), plus `zero`, limited; as a byte.
#[inline(always)]
pub(crate) fn quantized(value: f32, zero: i32, low: i32, high: i32) -> u8 {
    /// Past this every result is limited, whatever the zero point.
    const BOUND: f32 = 1024.0;
    let steps = if value.is_nan() { 0 } else { nearest(value.clamp(-BOUND, BOUND)) };
    (steps + zero).clamp(low, high) as u8
}

/// A number of a few thousand at the most, rounded to an integer, ties to even.
#[inline(always)]
fn nearest(value: f32) -> i32 {
    /// Numbers of this binade are integers: adding rounds, ties to even, and leaves the integer in the low bits.
    const INTEGERS: f32 = 12_582_912.0;
    ((value + INTEGERS).to_bits() as i32).wrapping_sub(INTEGERS.to_bits() as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantization_is_that_of_the_reference() {
        let by_words = |value: f32, zero: i32, signed: bool| {
            let (low, high) = limits(signed);
            let steps = (value.round_ties_even() as i64).saturating_add(i64::from(zero));
            steps.clamp(i64::from(low), i64::from(high)) as u8
        };
        for signed in [false, true] {
            let (low, high) = limits(signed);
            for zero in [low, -1.max(low), 0, 3, high] {
                let check = |value: f32| {
                    let got = quantized(value, zero, low, high);
                    assert_eq!(got, by_words(value, zero, signed), "{value:e} {zero} {signed}");
                };
                (-2100..2100).for_each(|i| check(i as f32 * 0.25));
                for bits in (0..=u32::MAX).step_by(65_521) {
                    check(f32::from_bits(bits));
                }
            }
        }
    }
}
