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
        // Sums wrap, so that the low bits of a length are enough.
        Finisher { isa, rule, place, m, k: k as i32, row_sums, row_starts, offsets }
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
        vectorized(
            self.isa,
            #[inline(always)]
            || {
                for (row, sums) in tally.rows.clone().zip(tile.chunks_mut(stride)) {
                    let sums = &mut sums[..whole];
                    let index = tally.batch % self.rule.period * self.m + row;
                    self.center(tally, row, index, sums);
                    let start = tally.batch * self.rule.batch + row * self.rule.row;
                    match (&self.place, &self.rule.output) {
                        (Place::Sums(place, len), _) => {
                            // SAFETY: the caller's promise.
                            unsafe { self.lines(place, *len, start, &tally.columns, sums) }
                        }
                        (Place::Bytes(place, len), Output::Bytes(_, rule)) => {
                            let mut bytes = [0; WIDTH_MAX];
                            self.requantize(rule, tally, index, sums, &mut bytes[..whole]);
                            // SAFETY: the caller's promise.
                            unsafe { self.lines(place, *len, start, &tally.columns, &bytes) }
                        }
                        _ => {}
                    }
                }
            },
        );
    }

    /// Takes the zero points off, and adds the bias. Loops over single numbers: of loops over blocks of them the compiler
    /// makes gathers.
    #[inline(always)]
    fn center(&self, tally: &Tally<'_>, row: usize, index: usize, sums: &mut [i32]) {
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
            ColumnsPart::None => {
                if base != 0 {
                    sums.iter_mut().for_each(|sum| *sum = sum.wrapping_add(base));
                }
            }
            ColumnsPart::Same(columns) => {
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = sum.wrapping_add(base).wrapping_add(*column);
                }
            }
            ColumnsPart::Scaled(columns) => {
                let scale = left_zero + self.offsets.0;
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = sum.wrapping_add(base).wrapping_sub(column.wrapping_mul(scale));
                }
            }
        }
    }

    #[inline(always)]
    fn requantize(&self, rule: &Requantize, tally: &Tally<'_>, index: usize, sums: &[i32], to: &mut [u8]) {
        let zero = rule.zero.at(index);
        let first = tally.batch * self.rule.columns + tally.columns.start;
        match &rule.factors {
            Factors::Rows(factors) => {
                let factor = factors.at(index);
                let (low, high) = limits(rule.signed);
                let sums = sums.as_chunks::<LANES>().0;
                for (to, sums) in to.as_chunks_mut::<LANES>().0.iter_mut().zip(sums) {
                    for (to, sum) in to.iter_mut().zip(sums) {
                        *to = quantized(*sum as f32 * factor, zero, low, high);
                    }
                }
            }
            Factors::Columns(factors) => {
                let factors = &factors[first..][..tally.columns.len()];
                let whole = factors.len() / LANES * LANES;
                scaled(rule.signed, zero, sums, factors, to);
                if whole < sums.len() {
                    let mut padded = [0.0; LANES];
                    padded[..factors.len() - whole].copy_from_slice(&factors[whole..]);
                    scaled(rule.signed, zero, &sums[whole..], &padded, &mut to[whole..]);
                }
            }
            Factors::Each { left, right, result } => {
                let (left, result) = (left.at(index), result.at(index));
                let mut factors = [0.0; WIDTH_MAX];
                for (factor, right) in factors.iter_mut().zip(&right[first..][..tally.columns.len()]) {
                    *factor = left * right / result;
                }
                scaled(rule.signed, zero, sums, &factors, to);
            }
        }
    }

    /// Stores the results of a row's columns.
    ///
    /// # Safety
    /// As for [`Finisher::store`].
    #[inline(always)]
    unsafe fn lines<T: Copy>(
        &self,
        place: &Shared<T>,
        len: usize,
        start: usize,
        columns: &Range<usize>,
        results: &[T],
    ) {
        let (pitch, width) = self.rule.lines;
        let mut column = columns.start;
        while column < columns.end {
            let (line, first) = (column / pitch, column % pitch);
            let count = (columns.end - column).min(pitch - first);
            let kept = width.saturating_sub(first).min(count);
            if kept > 0 {
                let at = start + line * width.min(self.rule.row) + first;
                assert!(at + kept <= len);
                // SAFETY: in range; nobody else writes these elements, as the caller promises.
                let to = unsafe { place.slice(at..at + kept) };
                to.copy_from_slice(&results[column - columns.start..][..kept]);
            }
            column += count;
        }
    }
}

#[inline(always)]
fn scaled(signed: bool, zero: i32, sums: &[i32], factors: &[f32], to: &mut [u8]) {
    let (low, high) = limits(signed);
    let (sums, factors) = (sums.as_chunks::<LANES>().0, factors.as_chunks::<LANES>().0);
    for ((to, sums), factors) in to.as_chunks_mut::<LANES>().0.iter_mut().zip(sums).zip(factors) {
        for ((to, sum), factor) in to.iter_mut().zip(sums).zip(factors) {
            *to = quantized(*sum as f32 * factor, zero, low, high);
        }
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
    /// Numbers of this binade are integers: adding rounds, ties to even, and leaves the integer in the low bits.
    const INTEGERS: f32 = 12_582_912.0;
    let shifted = value.clamp(-BOUND, BOUND) + INTEGERS;
    let steps = if value.is_nan() { 0 } else { shifted.to_bits() as i32 - INTEGERS.to_bits() as i32 };
    (steps + zero).clamp(low, high) as u8
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
