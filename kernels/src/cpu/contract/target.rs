//! Where the results of a contraction go.

use std::ops::Range;
use std::sync::atomic::AtomicBool;

use super::TileElem;
use super::block::Target;
use super::pack::Storage;
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
}

impl<'a, S, E> StridedTarget<'a, S, E> {
    pub(crate) fn new(data: &mut [S], batch: usize, row: usize, column: usize) -> StridedTarget<'a, S, E> {
        let (len, data) = (data.len(), Shared::new(data));
        let lines = (usize::MAX, usize::MAX);
        StridedTarget { len, data, batch, row, column, bias: None, not_finite: None, lines }
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

    fn direct(&self, batch: usize, row: usize, columns: Range<usize>) -> Option<(*mut E, usize)> {
        let (pitch, width) = self.lines;
        let (line, first) = (columns.start / pitch, columns.start % pitch);
        let at = batch * self.batch + row * self.row + line * width.min(self.row) + first;
        let own = self.column == 1
            && S::DTYPE == E::DTYPE
            && first + columns.len() <= width.min(self.row)
            && at + columns.len() <= self.len;
        // SAFETY: inside of the slice, by the condition.
        own.then(|| (unsafe { self.data.0.add(at) }.cast::<E>(), self.row))
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
        for (row, tile) in rows.zip(tile.chunks_exact(stride)) {
            let start = batch * self.batch + row * self.row;
            let mut column = columns.start;
            while column < columns.end {
                let (line, first) = (column / pitch, column % pitch);
                let count = (columns.end - column).min(pitch - first);
                let kept = width.saturating_sub(first).min(count);
                let tile = &tile[column - columns.start..][..kept];
                let at = start + (line * width.min(self.row) + first) * self.column;
                column += count;
                let Some(last) = kept.checked_sub(1) else { continue };
                assert!(at + last * self.column < self.len);
                if self.column == 1 && S::DTYPE == E::DTYPE {
                    // Tiles are canonical already.
                    // SAFETY: as below.
                    let to = unsafe { self.data.slice(at..at + kept) };
                    to.copy_from_slice(bytemuck::cast_slice(tile));
                    continue;
                }
                for (i, &value) in tile.iter().enumerate() {
                    // SAFETY: in range; nobody else writes this element, as the caller promises.
                    unsafe { *self.data.0.add(at + i * self.column) = S::narrow(value) };
                }
            }
        }
    }
}

/// Row-major matrices whose sums pass through a function, row by row, before they are stored.
pub(crate) struct RowTarget<S, F> {
    data: Shared<S>,
    len: usize,
    /// Distance of batches and of rows.
    batch: usize,
    row: usize,
    /// `finish(batch, row, columns, sums, results)`; results are canonical.
    finish: F,
}

impl<S, F> RowTarget<S, F> {
    pub(crate) fn new(data: &mut [S], batch: usize, row: usize, finish: F) -> RowTarget<S, F> {
        RowTarget { len: data.len(), data: Shared::new(data), batch, row, finish }
    }
}

impl<E, S, F> Target<E> for RowTarget<S, F>
where
    E: TileElem,
    S: Storage<E>,
    F: Fn(usize, usize, Range<usize>, &[E], &mut [S]) + Sync,
{
    fn direct(&self, _: usize, _: usize, _: Range<usize>) -> Option<(*mut E, usize)> {
        None
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
            (self.finish)(batch, row, columns.clone(), &tile[..columns.len()], out);
        }
    }
}
