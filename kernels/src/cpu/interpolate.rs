//! Resize of f32 in the modes linear and cubic: one axis after another, the last first.
//!
//! Invariant: an element is `fma(w, next - x, x)`, or the contraction of its taps in ascending order.

use repops::ops::resize::{AxisPlan, Stencil};
use repops::reduce::{CHUNK, contract};

use super::lane::VectorLane;
use super::lane::dispatch::{Vectorized, dispatch};
use crate::isa::Isa;
use crate::parallel::{Shared, parallel_ranges};

/// Whether every element of every axis has a value of its own.
pub(crate) fn is_inside(plans: &[AxisPlan]) -> bool {
    plans.iter().all(|plan| !plan.stencils.contains(&Stencil::Outside))
}

/// Y of X, whose extents are `shape`; the plans are in ascending order of their axes and not none.
pub(crate) fn interpolate(isa: Isa, x: &[f32], shape: &[usize], plans: &[AxisPlan], y: &mut [f32]) {
    let mut extents = shape.to_vec();
    let mut between: Vec<f32> = Vec::new();
    for (at, plan) in plans.iter().enumerate().rev() {
        let from = extents[plan.axis];
        let outer: usize = extents[..plan.axis].iter().product();
        let inner: usize = extents[plan.axis + 1..].iter().product();
        extents[plan.axis] = plan.stencils.len();
        let along = Along { stencils: &plan.stencils, from, inner };
        let first = at + 1 == plans.len();
        if at == 0 {
            along.run(isa, outer, if first { x } else { &between }, y);
        } else {
            let mut next = vec![0.0; outer * plan.stencils.len() * inner];
            along.run(isa, outer, if first { x } else { &between }, &mut next);
            between = next;
        }
    }
}

/// One axis of extent `from`, with `inner` elements at each position.
struct Along<'a> {
    stencils: &'a [Stencil],
    from: usize,
    inner: usize,
}

impl Along<'_> {
    fn run(&self, isa: Isa, outer: usize, x: &[f32], y: &mut [f32]) {
        let line = self.stencils.len();
        let y = Shared::new(y);
        let taps = match self.stencils.first() {
            Some(Stencil::Many(taps)) => taps.len(),
            _ => 2,
        };
        if self.inner == 1 {
            parallel_ranges(outer, 1, 4 * taps * line, |rows| {
                for row in rows {
                    // SAFETY: tasks write rows of their own.
                    let y = unsafe { y.slice(row * line..(row + 1) * line) };
                    let x = &x[row * self.from..][..self.from];
                    dispatch(isa, Row { stencils: self.stencils, x, y });
                }
            });
            return;
        }
        parallel_ranges(outer * line, 1, taps * self.inner, |lines| {
            for at in lines {
                // SAFETY: tasks write lines of their own.
                let y = unsafe { y.slice(at * self.inner..(at + 1) * self.inner) };
                let x = &x[at / line * self.from * self.inner..][..self.from * self.inner];
                dispatch(isa, Line { stencil: &self.stencils[at % line], x, y });
            }
        });
    }
}

/// The last axis: element by element.
struct Row<'a> {
    stencils: &'a [Stencil],
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Vectorized for Row<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: VectorLane>(self) {
        let x = self.x;
        for (y, stencil) in self.y.iter_mut().zip(self.stencils) {
            let value = match stencil {
                Stencil::Outside => 0.0,
                Stencil::One(i) => x[*i],
                Stencil::Two(i, w) => w.mul_add(x[*i + 1] - x[*i], x[*i]),
                Stencil::Many(taps) if taps.len() <= CHUNK => {
                    taps.iter().fold(0.0, |sum: f32, &(i, w)| x[i].mul_add(w, sum)) + 0.0
                }
                Stencil::Many(taps) => contract(taps.len(), |p| Some((x[taps[p].0], taps[p].1))),
            };
            *y = repops::dtype::Element::canonical(value);
        }
    }
}

/// Another axis: all elements at one position of the output.
struct Line<'a> {
    stencil: &'a Stencil,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Vectorized for Line<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: VectorLane>(self) {
        use repops::dtype::Element;
        let (x, inner) = (self.x, self.y.len());
        match self.stencil {
            Stencil::Outside => self.y.fill(0.0),
            Stencil::One(i) => self.y.copy_from_slice(&x[i * inner..][..inner]),
            Stencil::Two(i, w) => {
                let (low, high) = (&x[i * inner..][..inner], &x[(i + 1) * inner..][..inner]);
                for ((y, &low), &high) in self.y.iter_mut().zip(low).zip(high) {
                    *y = w.mul_add(high - low, low).canonical();
                }
            }
            Stencil::Many(taps) if taps.len() <= CHUNK => {
                self.y.fill(0.0);
                for &(i, w) in taps {
                    for (y, &x) in self.y.iter_mut().zip(&x[i * inner..][..inner]) {
                        *y = x.mul_add(w, *y);
                    }
                }
                for y in self.y {
                    *y = (*y + 0.0).canonical();
                }
            }
            Stencil::Many(taps) => {
                for (column, y) in self.y.iter_mut().enumerate() {
                    let term = |p: usize| Some((x[taps[p].0 * inner + column], taps[p].1));
                    *y = contract(taps.len(), term).canonical();
                }
            }
        }
    }
}
