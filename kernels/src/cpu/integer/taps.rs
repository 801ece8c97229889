//! Operands of convolutions in groups of four channels under one tap.
//!
//! The image is brought into groups once, four channels byte by byte. Under every tap, the columns of such a group are a
//! run of the image, so that tiles read all taps where they are; only the filters' terms have to be in that order, too.

use super::super::planes::{Planes, Run, each_strided};
use super::pack::{Interleave, Interleaving, interleaved};
use super::tile::{GROUP, PANEL};
use crate::isa::Isa;
use crate::parallel::{Shared, parallel_ranges};
use crate::scratch::with_scratch;

/// The groups of a convolution's terms: of each four channels, one for each tap.
#[derive(Clone, Copy)]
pub(crate) struct Taps<'a> {
    /// Channels; the last groups may have fewer than four.
    pub channels: usize,
    pub taps: usize,
    /// Where the first column of each group is, in bytes; the next ones are a group's bytes apart.
    pub offsets: &'a [usize],
}

impl Taps<'_> {
    /// Terms, with those that fill the last groups.
    pub fn terms(&self) -> usize {
        self.offsets.len() * GROUP
    }

    /// The farthest group.
    pub fn reach(&self) -> usize {
        self.offsets.iter().copied().max().unwrap_or(0)
    }

    /// Writes ones for the terms of groups, from the `first` on, and zeros for those that only fill them.
    pub fn pack_ones(&self, first: usize, to: &mut [u8]) {
        for (group, to) in to.chunks_exact_mut(GROUP).enumerate() {
            let channel = (first + group) / self.taps * GROUP;
            to.fill(0);
            to[..GROUP.min(self.channels.saturating_sub(channel))].fill(1);
        }
    }

    /// Bytes from a row to the next in [`Taps::pack_left`].
    pub fn left_row_bytes(&self) -> usize {
        self.terms() + GROUP * PANEL
    }

    /// Writes rows of `[channel][tap]` in groups, with bytes of the other signedness if `flip` says so.
    pub fn pack_left(&self, isa: Isa, data: &[u8], flip: bool, to: &mut [u8]) {
        let (row_bytes, k) = (self.left_row_bytes(), self.taps * self.channels);
        let flip = if flip { 0x80 } else { 0 };
        let to = Shared::new(to);
        parallel_ranges(data.len().checked_div(k).unwrap_or(0), 1, 2 * k, |rows| {
            // SAFETY: tasks write rows of their own.
            let to = unsafe { to.slice(rows.start * row_bytes..rows.end * row_bytes) };
            interleaved(isa, Filters { taps: self, data: &data[rows.start * k..], flip, to });
        });
    }
}

/// Some rows of filters.
struct Filters<'a> {
    taps: &'a Taps<'a>,
    /// From the first row on; what follows the last may be read, too.
    data: &'a [u8],
    flip: u8,
    to: &'a mut [u8],
}

impl Interleaving for Filters<'_> {
    #[inline(always)]
    fn by<I: Interleave>(self) {
        let Taps { taps, channels, .. } = *self.taps;
        let flip = self.flip;
        // What fills groups is zero in the end.
        let filler = [flip; PANEL];
        for (row, to) in self.to.chunks_exact_mut(self.taps.left_row_bytes()).enumerate() {
            let from = &self.data[row * taps * channels..];
            if taps == 1 {
                to[..channels].iter_mut().zip(from).for_each(|(to, from)| *to = from ^ flip);
                to[channels..].fill(0);
                continue;
            }
            for first in (0..channels).step_by(GROUP) {
                for tap in (0..taps).step_by(PANEL) {
                    let mut ends = [filler; GROUP];
                    for (channel, end) in (first..channels).zip(&mut ends) {
                        let from = &from[channel * taps + tap..];
                        match from.first_chunk() {
                            Some(whole) => *end = *whole,
                            None => end[..from.len()].copy_from_slice(from),
                        }
                    }
                    // Where there are fewer taps, what comes after is written later, and the row's end holds a panel more.
                    let to = &mut to[first * taps + tap * GROUP..][..GROUP * PANEL];
                    // SAFETY: rows of a panel, and room for its groups; the processor has the instructions.
                    unsafe { I::panel(ends.each_ref().map(|end| end.as_ptr()), flip, to.as_mut_ptr()) };
                }
            }
        }
    }
}

/// An image in groups of four channels: `[group][channels by fours][phase][place]`.
pub(crate) struct Groups<'a> {
    pub grid: &'a Planes,
    /// Places of a phase's plane.
    pub len: usize,
    /// Channels of a group.
    pub channels: usize,
    pub image: &'a [u8],
    /// Elements of a channel.
    pub plane: usize,
    /// What is outside of the image.
    pub outside: u8,
}

impl Groups<'_> {
    /// Writes the groups of all channels of all images.
    pub fn fill(&self, isa: Isa, to: &mut [u8]) {
        let phases = &self.grid.used;
        let size = phases.len() * self.len * GROUP;
        // The same of every channel.
        let mut runs = vec![Vec::new(); phases.len()];
        for (&phase, runs) in phases.iter().zip(&mut runs) {
            self.grid.runs(phase, 0, self.len, |run| runs.push(run));
        }
        let count = to.len() / size.max(1);
        let to = Shared::new(to);
        parallel_ranges(count, 1, size, |range| {
            // SAFETY: tasks write planes of their own.
            let to = unsafe { to.slice(range.start * size..range.end * size) };
            with_scratch(GROUP * self.len, |lines: &mut [u8]| {
                interleaved(isa, Fill { groups: self, runs: &runs, first: range.start, lines, to });
            });
        });
    }
}

/// Some groups of channels of an image.
struct Fill<'a> {
    groups: &'a Groups<'a>,
    /// Of each phase.
    runs: &'a [Vec<Run>],
    /// The first four channels.
    first: usize,
    /// Room for a line of four channels.
    lines: &'a mut [u8],
    to: &'a mut [u8],
}

impl Interleaving for Fill<'_> {
    #[inline(always)]
    fn by<I: Interleave>(self) {
        let Groups { grid, len, channels, image, plane, outside } = *self.groups;
        let fours = channels.div_ceil(GROUP);
        let step = grid.phases.1;
        let size = self.runs.len() * len * GROUP;
        for (index, to) in (self.first..).zip(self.to.chunks_exact_mut(size)) {
            let channel = index % fours * GROUP;
            // Past the last channel anything will do.
            let planes: [&[u8]; GROUP] = std::array::from_fn(|c| {
                let channel = index / fours * channels + (channel + c).min(channels - 1);
                &image[channel * plane..][..plane]
            });
            for (runs, to) in self.runs.iter().zip(to.chunks_exact_mut(len * GROUP)) {
                for run in runs {
                    let places = run.places();
                    let to = &mut to[places.start * GROUP..places.end * GROUP];
                    let Some(first) = run.first() else {
                        to.fill(outside);
                        continue;
                    };
                    if step == 1 {
                        interleave::<I>(planes.map(|plane| &plane[first..][..places.len()]), to);
                        continue;
                    }
                    let mut lines = self.lines.chunks_exact_mut(len);
                    let lines = planes.map(|plane| {
                        let line = &mut lines.next().unwrap_or_default()[..places.len()];
                        each_strided(step, &plane[first..], line, |to, from| *to = from);
                        &*line
                    });
                    interleave::<I>(lines, to);
                }
            }
        }
    }
}

/// Brings columns of four rows into groups.
#[inline(always)]
fn interleave<I: Interleave>(rows: [&[u8]; GROUP], to: &mut [u8]) {
    let len = rows[0].len();
    assert!(rows.iter().all(|row| row.len() == len) && to.len() == len * GROUP);
    if len < PANEL {
        for (column, to) in to.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
            *to = rows.map(|row| row[column]);
        }
        return;
    }
    // The last panel ends with the last column, and has some that are done already.
    let last = len - PANEL;
    let mut at = 0;
    loop {
        // SAFETY: the rows have a panel's columns there, and `to` has room for their groups; the processor has the
        // instructions.
        unsafe { I::panel(rows.map(|row| row.as_ptr().add(at)), 0, to.as_mut_ptr().add(at * GROUP)) };
        if at == last {
            return;
        }
        at = last.min(at + PANEL);
    }
}
