//! Where the results of a contraction go.

use std::ops::Range;
use std::sync::atomic::AtomicBool;

use repops::dtype::{DType, Element};
use repops::reduce::Accumulate;

use super::TileElem;
use super::block::{Direct, Target};
use super::pack::{Storage, with_wide_moves};
use super::tile::{prefetch, prefetch_for_write};
use crate::cpu::products::{Epilogue, Simple};
use crate::isa::Isa;
use crate::parallel::Shared;

/// The part of a batch out of what is added to each row of some batches, whose number is given; the others
/// repeat.
pub(crate) fn bias_rows<E>(bias: Option<(&[E], usize)>, batch: usize) -> Option<&[E]> {
    bias.map(|(bias, batches)| {
        let rows = bias.len() / batches;
        &bias[batch % batches * rows..][..rows]
    })
}

/// Matrices with strides, of a type that results are rounded to.
pub(crate) struct StridedTarget<'a, S, E> {
    data: Shared<S>,
    len: usize,
    /// Distance of batches, of rows and of columns.
    batch: usize,
    row: usize,
    column: usize,
    /// As for [`bias_rows`].
    bias: Option<(&'a [E], usize)>,
    not_finite: Option<&'a AtomicBool>,
    /// Columns are those of lines of such a pitch, of which so many at the start are kept.
    lines: (usize, usize),
    epilogue: Option<&'a Epilogue<'a>>,
    simple: Option<Simple<'a>>,
}

/// Results out of sums, the first of which has this number and column, as a tile would store them: blocks of a fixed length,
/// of which the last ends with the last element, for there are few elements.
#[inline(always)]
fn simply<E: TileElem>(
    simple: Option<Simple<'_>>,
    sums: &[E],
    (first, column): (usize, usize),
    to: &mut [E],
) {
    let addend = simple.and_then(|simple| match simple.by_column {
        Some(by_column) => Some(&by_column[column..column + sums.len()]),
        None => simple.addend.map(|addend| &addend[first..first + sums.len()]),
    });
    let addend = addend.map(bytemuck::cast_slice);
    let relu = simple.is_some_and(|simple| simple.relu);
    match to.len() {
        16.. => simple_blocks::<E, 16>(sums, addend, relu, to),
        8.. => simple_blocks::<E, 8>(sums, addend, relu, to),
        4.. => simple_blocks::<E, 4>(sums, addend, relu, to),
        1.. => simple_blocks::<E, 1>(sums, addend, relu, to),
        0 => {}
    }
}

/// [`simply`] for a block's length at the least.
#[inline(always)]
fn simple_blocks<E: TileElem, const N: usize>(sums: &[E], addend: Option<&[E]>, relu: bool, to: &mut [E]) {
    let last = to.len() - N;
    let mut at = 0;
    loop {
        let mut results = [E::ZERO; N];
        results.copy_from_slice(&sums[at..][..N]);
        if let Some(addend) = addend {
            let addend = &addend[at..][..N];
            for i in 0..N {
                results[i] = Accumulate::add(results[i], addend[i]).canonical();
            }
        }
        if relu {
            for result in &mut results {
                *result = TileElem::relu(*result);
            }
        }
        to[at..][..N].copy_from_slice(&results);
        if at == last {
            return;
        }
        at = last.min(at + N);
    }
}

/// How many of the first `count` places on lines of a pitch are kept.
fn kept_before((pitch, width): (usize, usize), count: usize) -> usize {
    count / pitch * width.min(pitch) + (count % pitch).min(width)
}

impl<'a, S, E> StridedTarget<'a, S, E> {
    pub(crate) fn new(data: &mut [S], batch: usize, row: usize, column: usize) -> StridedTarget<'a, S, E> {
        let (len, data) = (data.len(), Shared::new(data));
        let lines = (usize::MAX, usize::MAX);
        let (bias, not_finite, epilogue, simple) = (None, None, None, None);
        StridedTarget { len, data, batch, row, column, bias, not_finite, lines, epilogue, simple }
    }

    /// Lets an epilogue replace the results. Columns are contiguous, and results are f32.
    pub(crate) fn with_epilogue(self, epilogue: Option<&'a Epilogue<'a>>) -> StridedTarget<'a, S, E> {
        debug_assert!(epilogue.is_none() || self.column == 1 && size_of::<S>() == 4);
        StridedTarget {
            epilogue: epilogue.map(Epilogue::claim),
            // Where columns lie on lines and a row has as many results as its last axis, there is one line.
            simple: epilogue.and_then(|epilogue| epilogue.simple_by_column(self.row)),
            ..self
        }
    }

    /// Takes the columns for those of lines `pitch` long, and keeps the first `width` of each.
    pub(crate) fn with_lines(self, pitch: usize, width: usize) -> StridedTarget<'a, S, E> {
        StridedTarget { lines: (pitch, width), ..self }
    }

    /// Adds a bias to each row of `batches` matrices, and tells of results that are not finite.
    pub(crate) fn with_bias(
        self,
        bias: Option<&'a [E]>,
        batches: usize,
        not_finite: &'a AtomicBool,
    ) -> StridedTarget<'a, S, E> {
        let bias = bias.map(|bias| (bias, batches.max(1)));
        StridedTarget { bias, not_finite: Some(not_finite), ..self }
    }
}

impl<E: TileElem, S: Storage<E>> Target<E> for StridedTarget<'_, S, E> {
    fn bias(&self, batch: usize) -> Option<&[E]> {
        bias_rows(self.bias, batch)
    }

    fn not_finite(&self) -> Option<&AtomicBool> {
        self.not_finite
    }

    fn direct(&self, batch: usize, row: usize, columns: Range<usize>) -> Option<Direct<E>> {
        let (pitch, width) = self.lines;
        let (line, first) = (columns.start / pitch, columns.start % pitch);
        let at = batch * self.batch + row * self.row + line * width.min(self.row) + first;
        let own = self.column == 1
            && S::DTYPE == E::DTYPE
            && first + columns.len() <= width.min(self.row)
            && at + columns.len() <= self.len;
        own.then(|| {
            let (addend, addend_row) = match self.simple {
                Some(Simple { by_column: Some(by_column), .. }) => (Some(&by_column[columns.start..]), 0),
                Some(Simple { addend: Some(addend), .. }) => (Some(&addend[at..]), self.row),
                _ => (None, 0),
            };
            Direct {
                // SAFETY: inside of the slice, by the condition.
                out: unsafe { self.data.0.add(at) }.cast::<E>(),
                row: self.row,
                addend: addend.map_or(std::ptr::null(), |addend| addend.as_ptr().cast::<E>()),
                addend_row,
                relu: self.simple.is_some_and(|simple| simple.relu),
            }
        })
    }

    unsafe fn finish(&self, batch: usize, rows: Range<usize>, columns: Range<usize>) {
        let Some(epilogue) = self.epilogue.filter(|_| self.simple.is_none()) else { return };
        let within = [columns.start, columns.end].map(|column| kept_before(self.lines, column).min(self.row));
        let first = batch * self.batch + rows.start * self.row;
        let results = Shared(self.data.0.cast::<f32>());
        // SAFETY: the caller's promise; results are f32.
        unsafe { epilogue.apply_rows(results, first, rows.len(), self.row, within[0]..within[1]) };
    }

    unsafe fn store(
        &self,
        batch: usize,
        rows: Range<usize>,
        columns: Range<usize>,
        tile: &[E],
        stride: usize,
    ) {
        let (pitch, width) = self.lines;
        let mut column = columns.start;
        while column < columns.end {
            let (line, first) = (column / pitch, column % pitch);
            let count = (columns.end - column).min(pitch - first);
            let kept = width.saturating_sub(first).min(count);
            let from = column - columns.start;
            let start = batch * self.batch + (line * width.min(self.row) + first) * self.column;
            column += count;
            let Some(last) = kept.checked_sub(1) else { continue };
            with_wide_moves(
                #[inline(always)]
                || {
                    for (row, tile) in rows.clone().zip(tile.chunks_exact(stride)) {
                        let (tile, at) = (&tile[from..][..kept], start + row * self.row);
                        assert!(at + last * self.column < self.len);
                        if self.column == 1 && S::DTYPE == E::DTYPE {
                            // Tiles are canonical already.
                            // SAFETY: as below.
                            let to = unsafe { self.data.slice(at..at + kept) };
                            simply::<E>(
                                self.simple,
                                tile,
                                (at, columns.start + from),
                                bytemuck::cast_slice_mut(to),
                            );
                            continue;
                        }
                        for (i, &value) in tile.iter().enumerate() {
                            // SAFETY: in range; nobody else writes this element, as the caller promises.
                            unsafe { *self.data.0.add(at + i * self.column) = S::narrow(value) };
                        }
                    }
                },
            );
        }
    }
}

/// Matrices whose columns are rows of the results, each plus a number of its own: pixels by channels.
pub(crate) struct TurnedTarget<'a, S, E> {
    data: Shared<S>,
    len: usize,
    /// Rows of the results, and their length.
    columns: usize,
    row: usize,
    bias: Option<&'a [E]>,
    not_finite: &'a AtomicBool,
    /// Whether registers turn what is stored.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code))]
    by_registers: bool,
    /// As for [`StridedTarget`], of rows.
    lines: (usize, usize),
    epilogue: Option<&'a Epilogue<'a>>,
    simple: Option<Simple<'a>>,
}

impl<'a, S: Element, E: Element> TurnedTarget<'a, S, E> {
    /// `columns` rows of `row` results for each batch.
    pub(crate) fn new(
        data: &mut [S],
        columns: usize,
        row: usize,
        bias: Option<&'a [E]>,
        not_finite: &'a AtomicBool,
    ) -> TurnedTarget<'a, S, E> {
        let lines = (usize::MAX, usize::MAX);
        let (len, data) = (data.len(), Shared::new(data));
        let (epilogue, simple) = (None, None);
        let by_registers = E::DTYPE == DType::F32 && S::DTYPE == DType::F32 && Isa::Avx512.is_available();
        TurnedTarget { len, data, columns, row, bias, not_finite, by_registers, lines, epilogue, simple }
    }

    /// Lets an epilogue replace the results, which are f32.
    pub(crate) fn with_epilogue(self, epilogue: Option<&'a Epilogue<'a>>) -> TurnedTarget<'a, S, E> {
        debug_assert!(epilogue.is_none() || size_of::<S>() == 4);
        TurnedTarget {
            epilogue: epilogue.map(Epilogue::claim),
            simple: epilogue.and_then(Epilogue::simple),
            ..self
        }
    }

    /// Takes the rows for those of lines `pitch` long, and keeps the first `width` of each.
    pub(crate) fn with_lines(self, pitch: usize, width: usize) -> TurnedTarget<'a, S, E> {
        TurnedTarget { lines: (pitch, width), ..self }
    }
}

impl<E: TileElem, S: Storage<E>> Target<E> for TurnedTarget<'_, S, E> {
    fn not_finite(&self) -> Option<&AtomicBool> {
        Some(self.not_finite)
    }

    fn direct(&self, _: usize, _: usize, _: Range<usize>) -> Option<Direct<E>> {
        None
    }

    fn ahead(&self, batch: usize, rows: Range<usize>, columns: Range<usize>) {
        let (pitch, width) = self.lines;
        // Few are on two lines, of which those of the first are asked for.
        let first = rows.start / pitch * width.min(self.row) + rows.start % pitch;
        let addend = self.simple.and_then(|simple| simple.addend);
        for column in columns {
            let at = (batch * self.columns + column) * self.row + first;
            prefetch_for_write(self.data.0.wrapping_add(at));
            prefetch_for_write(self.data.0.wrapping_add(at + rows.len() - 1));
            if let Some(addend) = addend {
                prefetch(addend.as_ptr().wrapping_add(at));
                prefetch(addend.as_ptr().wrapping_add(at + rows.len() - 1));
            }
        }
    }

    unsafe fn finish(&self, batch: usize, rows: Range<usize>, columns: Range<usize>) {
        let Some(epilogue) = self.epilogue.filter(|_| self.simple.is_none()) else { return };
        let within = [rows.start, rows.end].map(|row| kept_before(self.lines, row).min(self.row));
        let first = (batch * self.columns + columns.start) * self.row;
        let results = Shared(self.data.0.cast::<f32>());
        // SAFETY: the caller's promise; results are f32.
        unsafe { epilogue.apply_rows(results, first, columns.len(), self.row, within[0]..within[1]) };
    }

    unsafe fn store(
        &self,
        batch: usize,
        rows: Range<usize>,
        columns: Range<usize>,
        tile: &[E],
        stride: usize,
    ) {
        const BLOCK: usize = 16;
        assert!(stride.is_multiple_of(BLOCK) && tile.len() >= rows.len() * stride);
        let (pitch, line_width) = self.lines;
        let mut next = rows.start;
        while next < rows.end {
            let first = next - rows.start;
            let (line, place) = (next / pitch, next % pitch);
            let run = (pitch - place).min(rows.end - next).min(BLOCK);
            next += run;
            let count = line_width.saturating_sub(place).min(run);
            if count == 0 {
                continue;
            }
            let result = line * line_width.min(self.row) + place;
            for (at, column) in columns.clone().enumerate().step_by(BLOCK) {
                let width = BLOCK.min(columns.end - column);
                let bias = self.bias.map(|bias| &bias[column..column + width]);
                let start = (batch * self.columns + column) * self.row + result;
                assert!(start + (width - 1) * self.row + count <= self.len);
                let tile = &tile[first * stride + at..];
                #[cfg(target_arch = "x86_64")]
                if self.by_registers {
                    let bias = bias.map(bytemuck::cast_slice::<E, f32>);
                    // SAFETY: this machine has AVX-512, rows have whole panels, as asserted, and the results are in range; nobody else writes
                    // these elements, as the caller promises.
                    unsafe {
                        let to = self.data.0.add(start).cast::<f32>();
                        let tile = (tile.as_ptr().cast::<f32>(), stride);
                        let addend = self.simple.and_then(|simple| simple.addend);
                        let addend =
                            addend.map(|addend| &addend[start..start + (width - 1) * self.row + count]);
                        let after = super::avx512::Turned {
                            bias,
                            addend,
                            relu: self.simple.is_some_and(|simple| simple.relu),
                        };
                        super::avx512::store_turned(tile, (count, width), &after, (to, self.row));
                    }
                    continue;
                }
                for c in 0..width {
                    let start = start + c * self.row;
                    // SAFETY: as above.
                    let to = unsafe { self.data.slice(start..start + count) };
                    for (r, to) in to.iter_mut().enumerate() {
                        let mut sum = tile[r * stride + c];
                        sum = bias.map_or(sum, |bias| Accumulate::add(sum, bias[c]));
                        if let Some(simple) = self.simple {
                            let mut result = [sum];
                            simply::<E>(Some(simple), &[sum], (start + r, 0), &mut result);
                            sum = result[0];
                        }
                        *to = S::narrow(sum);
                    }
                }
            }
        }
    }
}

/// Row-major matrices whose sums pass through a function, row by row, before they are stored.
pub(crate) struct RowTarget<'a, S, F> {
    data: Shared<S>,
    len: usize,
    /// Distance of batches and of rows.
    batch: usize,
    row: usize,
    /// `through(batch, row, columns, sums, results)`; results are canonical.
    through: F,
    epilogue: Option<&'a Epilogue<'a>>,
}

impl<'a, S, F> RowTarget<'a, S, F> {
    pub(crate) fn new(data: &mut [S], batch: usize, row: usize, through: F) -> RowTarget<'a, S, F> {
        RowTarget { len: data.len(), data: Shared::new(data), batch, row, through, epilogue: None }
    }

    /// Lets an epilogue replace the results, which are f32.
    pub(crate) fn with_epilogue(self, epilogue: Option<&'a Epilogue<'a>>) -> RowTarget<'a, S, F> {
        debug_assert!(epilogue.is_none() || size_of::<S>() == 4);
        RowTarget { epilogue: epilogue.map(Epilogue::claim), ..self }
    }
}

impl<E, S, F> Target<E> for RowTarget<'_, S, F>
where
    E: TileElem,
    S: Storage<E>,
    F: Fn(usize, usize, Range<usize>, &[E], &mut [S]) + Sync,
{
    fn direct(&self, _: usize, _: usize, _: Range<usize>) -> Option<Direct<E>> {
        None
    }

    unsafe fn finish(&self, batch: usize, rows: Range<usize>, columns: Range<usize>) {
        let Some(epilogue) = self.epilogue else { return };
        let first = batch * self.batch + rows.start * self.row;
        let results = Shared(self.data.0.cast::<f32>());
        // SAFETY: the caller's promise; results are f32.
        unsafe { epilogue.apply_rows(results, first, rows.len(), self.row, columns) };
    }

    unsafe fn store(
        &self,
        batch: usize,
        rows: Range<usize>,
        columns: Range<usize>,
        tile: &[E],
        stride: usize,
    ) {
        for (row, tile) in rows.zip(tile.chunks_exact(stride)) {
            let start = batch * self.batch + row * self.row + columns.start;
            assert!(start + columns.len() <= self.len);
            // SAFETY: in range; nobody else writes these elements, as the caller promises.
            let out = unsafe { self.data.slice(start..start + columns.len()) };
            (self.through)(batch, row, columns.clone(), &tile[..columns.len()], out);
        }
    }
}
