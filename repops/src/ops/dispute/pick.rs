//! Where the largest or smallest element of a row or window is, and the range of all elements.
//!
//! Element and place are one number: the element's rank in the upper half, in the lower half the place, counted
//! so that of equal elements the one that is wanted is the largest. The largest of these numbers is found like any
//! maximum.

use super::pool::Windows;
use super::reduce::RowMap;
use super::series::{Formula, Kind, Series};
use super::wide::{Wide, integer};
use super::{Inputs, Stop, Subject, TensorType, Term};
use crate::dtype::DType;
use crate::ops::float::Real;
use crate::ops::rows::axis_flags;
use crate::ops::window::unravel;

/// The series of places; MaxPool has its values in series 0.
pub(super) const BEST: u8 = 1;

pub(super) enum Pick<'a> {
    Place(Place<'a>),
    /// DynamicQuantizeLinear.
    Range(Range<'a>),
    /// The elements are too wide for a rank: by the row or plane.
    Row,
}

impl<'a> Pick<'a> {
    pub fn new(subject: &'a Subject<'a>) -> Result<Pick<'a>, Stop> {
        let x = subject.input(0)?;
        if subject.def.name == "DynamicQuantizeLinear" {
            return Ok(Pick::Range(Range { x, subject }));
        }
        if x.dtype.size() > 4 {
            return Ok(Pick::Row);
        }
        let rows = match subject.def.name {
            "MaxPool" => Rows::Windows(Windows::of(subject)?),
            _ => {
                let axis = subject.attrs.int("axis");
                Rows::Axis(RowMap::new(&x.shape, axis_flags(&[axis], x.shape.len())?))
            }
        };
        Ok(Pick::Place(Place { x, rows, subject }))
    }
}

enum Rows {
    Axis(RowMap),
    Windows(Windows),
}

/// ArgMax, ArgMin, Hardmax, and the second output of MaxPool. Series 1 of a row is its best element.
pub(super) struct Place<'a> {
    x: &'a TensorType,
    rows: Rows,
    subject: &'a Subject<'a>,
}

/// Ascending in the element's value; zeros are equal.
fn rank(dtype: DType, bits: u64) -> u32 {
    if !dtype.is_float() {
        return (integer(dtype, bits) - i128::from(i32::MIN)) as u32;
    }
    let bits = <f32 as Wide>::widen(dtype, bits).to_bits();
    match (bits, bits >> 31) {
        (0x8000_0000, _) => 0x8000_0000,
        (_, 0) => bits | 0x8000_0000,
        _ => !bits,
    }
}

impl Place<'_> {
    fn key(&self, at: usize, bits: u64) -> u64 {
        let is_nan = self.x.dtype.is_float() && <f32 as Wide>::widen(self.x.dtype, bits).is_nan();
        let unsigned = self.x.dtype == DType::U32;
        let rank = if unsigned { bits as u32 } else { rank(self.x.dtype, bits) };
        // NaN goes before any number, whether the largest or the smallest is wanted.
        let rank = match self.subject.def.name == "ArgMin" {
            _ if is_nan => u32::MAX,
            true => !rank,
            false => rank,
        };
        let wants_last =
            self.subject.def.name.starts_with("Arg") && self.subject.attrs.int("select_last_index") != 0;
        let place = if wants_last { at as u32 } else { u32::MAX - at as u32 };
        u64::from(rank) << 32 | u64::from(place)
    }

    fn place_of(&self, key: u64) -> usize {
        // The place of an index is the same function again.
        (self.key(key as u32 as usize, 0) & 0xffff_ffff) as usize
    }

    fn row(&self, element: usize) -> usize {
        match &self.rows {
            Rows::Axis(rows) if self.subject.def.name == "Hardmax" => rows.row_of(element),
            _ => element,
        }
    }
}

impl Formula<u64> for Place<'_> {
    fn series(&self, series: u8, row: usize) -> Option<Series<u64>> {
        let len = match &self.rows {
            Rows::Axis(rows) => rows.len(),
            Rows::Windows(windows) => windows.len(row),
        };
        (series == BEST && u32::try_from(len).is_ok()).then(|| Series::new(Kind::Maximum, len))
    }

    fn factors(
        &self,
        _series: u8,
        row: usize,
        at: usize,
        _claims: &[u64],
        inputs: &mut dyn Inputs,
    ) -> Result<Option<(u64, u64)>, Stop> {
        let from = match &self.rows {
            Rows::Axis(rows) => rows.element(row, at),
            Rows::Windows(windows) => windows.at(row, at),
        };
        Ok(Some((self.key(at, inputs.element(0, from as u64)?), 0)))
    }

    fn output_needs(&self, _output: u32, element: usize) -> Result<Vec<Term>, Stop> {
        let row = self.row(element);
        Ok(vec![self.series(BEST, row).ok_or(Stop::NoTerm)?.top(BEST, row)])
    }

    fn output(&self, output: u32, element: usize, claims: &[u64], _: &mut dyn Inputs) -> Result<u64, Stop> {
        let place = self.place_of(*claims.first().ok_or(Stop::NoTerm)?);
        match &self.rows {
            Rows::Windows(windows) if windows.len(element) == 0 => Ok((-1i64) as u64),
            Rows::Windows(windows) => {
                let column_major = self.subject.attrs.int("storage_order") != 0;
                Ok(windows.index(element, place, column_major) as u64)
            }
            Rows::Axis(_) if self.subject.def.name == "Hardmax" => {
                let rank = self.x.shape.len();
                let axis = axis_flags(&[self.subject.attrs.int("axis")], rank)?.iter().position(|a| *a);
                let own = unravel(element, &self.x.shape)[axis.ok_or(Stop::NoTerm)?];
                let one = if own == place { f32::ONE } else { 0.0 };
                Ok(one.narrow(self.subject.output(output)?.dtype))
            }
            Rows::Axis(_) => Ok(place as u64),
        }
    }
}

/// Series 0 is the least of all elements and +0, series 1 the greatest.
pub(super) struct Range<'a> {
    x: &'a TensorType,
    subject: &'a Subject<'a>,
}

impl Formula<f32> for Range<'_> {
    fn series(&self, series: u8, _row: usize) -> Option<Series<f32>> {
        match series {
            0 => Some(Series::new(Kind::Minimum, self.x.len())),
            1 => Some(Series::new(Kind::Maximum, self.x.len())),
            _ => None,
        }
    }

    fn factors(
        &self,
        _series: u8,
        _row: usize,
        at: usize,
        _claims: &[f32],
        inputs: &mut dyn Inputs,
    ) -> Result<Option<(f32, f32)>, Stop> {
        Ok(Some((f32::from_bits(inputs.element(0, at as u64)? as u32), 1.0)))
    }

    fn output_needs(&self, _output: u32, _element: usize) -> Result<Vec<Term>, Stop> {
        Ok([0, 1].into_iter().filter_map(|s| self.series(s, 0).map(|series| series.top(s, 0))).collect())
    }

    fn output(
        &self,
        output: u32,
        element: usize,
        claims: &[f32],
        inputs: &mut dyn Inputs,
    ) -> Result<u64, Stop> {
        let &[low, high] = claims else { return Err(Stop::NoTerm) };
        let (scale, zero) = crate::ops::dynamic_quantize_linear::parameters(low, high);
        Ok(match output {
            0 => {
                let x = f32::from_bits(inputs.element(0, element as u64)? as u32);
                u64::from(crate::ops::dynamic_quantize_linear::quantized(x, scale, zero))
            }
            1 => scale.narrow(self.subject.output(1)?.dtype),
            _ => u64::from(zero),
        })
    }
}
