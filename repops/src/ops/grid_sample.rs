//! GridSample: an image read at given coordinates.

use super::float::{Float, Real, wide_elements, with_float};
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue, Attrs};
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::reduce::{Accumulate, contract};
use crate::tensor::{Tensor, element_count};

pub static DEF: OpDef = OpDef {
    id: 408,
    name: "GridSample",
    version: 1,
    doc: "Y[n, c, o..] = X[n, c] read at grid[n, o.., :], whose entries are the coordinates of the spatial axes, last axis \
          first, in -1 .. 1. All in X's wide type, each operation rounded. Along an axis of extent L: x = ((g + 1) / 2) * (L - 1) \
          with align_corners, else ((g + 1) * L - 1) / 2. padding_mode border limits x, and every tap, to 0 .. L - 1; \
          reflection mirrors x, and every tap, at 0 and L - 1 (align_corners) or -0.5 and L - 0.5: d = |x - low|, q = floor(d / \
          (high - low)), r = d - q * (high - low), low + r where q is even, high - r where odd, then limits to 0 .. L - 1 (0 where L \
          is 1 and aligned); zeros: taps outside are +0. nearest: the integer nearest to x, \
          ties to even. linear: taps floor(x) and the next with weights 1 - w and w, w = x - floor(x). cubic (2 spatial axes): taps \
          floor(x) - 1 .. + 2 with Keys' weights as Resize has them, a = -0.75. Y = the contraction (SPEC.md) over all taps in row-major order \
          of the values and weights, a tap's weight being the product of those of its axes, first axis first. A \
          coordinate that is not finite reads NaN taps: Y is NaN. f64 in f64, f16 and bf16 in f32, rounded once. Source: ONNX \
          GridSample-16, -20, -22.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::default("align_corners", AttrKind::Int, || AttrValue::Int(0), "1: -1 and 1 are centres."),
        AttrDef::default(
            "mode",
            AttrKind::Str,
            || AttrValue::Str("linear".to_string()),
            "linear, nearest or cubic.",
        ),
        AttrDef::default(
            "padding_mode",
            AttrKind::Str,
            || AttrValue::Str("zeros".to_string()),
            "zeros, border or reflection.",
        ),
    ],
    class: OpClass::General,
    infer,
    eval: |ctx| with_float!(ctx.input(0).dtype, sample(ctx)),
};

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Linear,
    Nearest,
    Cubic,
}

#[derive(Clone, Copy, PartialEq)]
enum Padding {
    Zeros,
    Border,
    Reflection,
}

fn modes(attrs: &Attrs) -> Result<(Mode, Padding), OpError> {
    let mode = match attrs.str("mode") {
        "linear" => Mode::Linear,
        "nearest" => Mode::Nearest,
        "cubic" => Mode::Cubic,
        other => return Err(OpError::attr("mode", format!("{other:?} is none of ONNX's"))),
    };
    let padding = match attrs.str("padding_mode") {
        "zeros" => Padding::Zeros,
        "border" => Padding::Border,
        "reflection" => Padding::Reflection,
        other => return Err(OpError::attr("padding_mode", format!("{other:?} is none of ONNX's"))),
    };
    Ok((mode, padding))
}

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.require(0, "a float", DType::is_float)?;
    // Coordinates of more precision than X would have to be rounded first.
    ctx.require(1, "a float of X's precision", |d| d.is_float() && (d != DType::F64 || d == dtype))?;
    let (mode, _) = modes(ctx.attrs)?;
    let (x, grid) = (ctx.shape(0)?, ctx.shape(1)?);
    if x.len() < 3 || grid.len() != x.len() {
        return Err(OpError::shape(format!("X has {} axes, the grid {}", x.len(), grid.len())));
    }
    let spatial = x.len() - 2;
    if mode == Mode::Cubic && spatial != 2 {
        return Err(OpError::attr("mode", "cubic is for two spatial axes"));
    }
    if spatial > 3 {
        return Err(OpError::shape("more than three spatial axes"));
    }
    let differ =
        |a: &DimExpr, b: &DimExpr| matches!((a.as_const(), b.as_const()), (Some(a), Some(b)) if a != b);
    if differ(&x[0], &grid[0]) || differ(&grid[x.len() - 1], &DimExpr::from(spatial)) {
        return Err(OpError::shape("the grid does not fit X"));
    }
    if x[2..].iter().any(|d| d.as_const() == Some(0)) {
        return Err(OpError::shape("the image is empty"));
    }
    let mut shape = x[..2].to_vec();
    shape.extend_from_slice(&grid[1..x.len() - 1]);
    Ok(vec![Inferred::new(dtype, shape)])
}

/// How coordinates along one axis are read.
struct Axis<W> {
    extent: W,
    align: bool,
    padding: Padding,
}

impl<W: Real> Axis<W> {
    /// The element at an integral coordinate: an index, or nothing outside.
    fn index(&self, at: W) -> Option<usize> {
        let at = match self.padding {
            Padding::Reflection => self.reflected(at),
            _ => at,
        };
        let last = self.extent - W::ONE;
        if self.padding == Padding::Zeros && (at < W::ZERO || at > last) {
            return None;
        }
        Some(at.larger(W::ZERO).smaller(last).to_f64() as usize)
    }

    fn coordinate(&self, g: W) -> W {
        let two = W::from_f64(2.0);
        let x = if self.align {
            (g + W::ONE) / two * (self.extent - W::ONE)
        } else {
            ((g + W::ONE) * self.extent - W::ONE) / two
        };
        match self.padding {
            Padding::Zeros => x,
            Padding::Border => x.larger(W::ZERO).smaller(self.extent - W::ONE),
            Padding::Reflection => self.reflected(x),
        }
    }

    fn reflected(&self, x: W) -> W {
        let half = W::from_f64(0.5);
        let (low, high) =
            if self.align { (W::ZERO, self.extent - W::ONE) } else { (-half, self.extent - half) };
        let range = high - low;
        if range == W::ZERO {
            return if x.is_nan() { x } else { W::ZERO };
        }
        let distance = (x - low).abs();
        let turns = (distance / range).floor();
        let rest = distance - turns * range;
        let odd = turns - W::from_f64(2.0) * (turns * half).floor() != W::ZERO;
        let x = if odd { high - rest } else { low + rest };
        x.larger(W::ZERO).smaller(self.extent - W::ONE)
    }

    /// The taps of a finite coordinate, ascending, with their weights.
    fn taps(&self, x: W, mode: Mode) -> Vec<(Option<usize>, W)> {
        let floor = x.floor();
        let rest = x - floor;
        match mode {
            Mode::Nearest => vec![(self.index(x.round_ties_even()), W::ONE)],
            Mode::Linear => {
                vec![(self.index(floor), W::ONE - rest), (self.index(floor + W::ONE), rest)]
            }
            Mode::Cubic => {
                let weights = [
                    keys_far(W::ONE + rest),
                    keys_near(rest),
                    keys_near(W::ONE - rest),
                    keys_far(W::from_f64(2.0) - rest),
                ];
                let offsets = [-1.0, 0.0, 1.0, 2.0].map(|offset| floor + W::from_f64(offset));
                offsets.into_iter().zip(weights).map(|(at, weight)| (self.index(at), weight)).collect()
            }
        }
    }
}

/// Keys' kernel with a = -0.75 for distances up to 1.
fn keys_near<W: Real>(d: W) -> W {
    let c = W::from_f64;
    (c(1.25) * d - c(2.25)) * d * d + c(1.0)
}

/// Keys' kernel with a = -0.75 for distances from 1 to 2.
fn keys_far<W: Real>(d: W) -> W {
    let c = W::from_f64;
    ((c(-0.75) * d - c(-3.75)) * d + c(-6.0)) * d - c(-3.0)
}

fn sample<T: Float>(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let (x, grid) = (ctx.input(0), ctx.input(1));
    let image = &x.shape[2..];
    let out = &grid.shape[1..grid.shape.len() - 1];
    let mut y = Tensor::zeros(T::DTYPE, &[&x.shape[..2], out].concat())?;
    let (channels, plane, count) = (x.shape[1], element_count(image), element_count(out));
    let points = wide_elements::<T::Wide>(grid);
    let elements = x.as_slice::<T>();
    let values = y.as_mut_slice::<T>();
    for (at, point) in points.chunks_exact(image.len()).enumerate() {
        let (n, position) = (at / count, at % count);
        let found = taps(ctx.attrs, image, point)?;
        let (finite, taps) = (found.is_some(), found.unwrap_or_default());
        for channel in 0..channels {
            let image = &elements[(n * channels + channel) * plane..][..plane];
            let sum = contract(taps.len(), |p| {
                let (from, weight) = taps[p];
                Some((from.map_or(T::Wide::ZERO, |from| image[from].widen()), weight))
            });
            values[(n * channels + channel) * count + position] =
                T::narrow(if finite { sum } else { T::Wide::NAN });
        }
    }
    Ok(vec![y])
}

/// What a point reads: offsets in the image, if they are within it, and weights, in the order of the contraction; `None` where it
/// is not finite.
pub(super) fn taps<W: Real>(
    attrs: &Attrs,
    image: &[usize],
    point: &[W],
) -> Result<Option<Vec<(Option<usize>, W)>>, OpError> {
    let (mode, padding) = modes(attrs)?;
    let align = attrs.int("align_corners") != 0;
    let axis = |&extent: &usize| Axis { extent: W::count(extent), align, padding };
    let axes: Vec<Axis<W>> = image.iter().map(axis).collect();
    // The grid names the last axis first.
    let coordinates: Vec<W> =
        axes.iter().zip(point.iter().rev()).map(|(axis, g)| axis.coordinate(*g)).collect();
    let finite = point.iter().chain(&coordinates).all(|v| v.abs() < W::INFINITY);
    Ok(finite.then(|| window(&axes, &coordinates, image, mode)))
}

/// The taps of all axes, in row-major order: offset in the image, weight.
fn window<W: Real>(
    axes: &[Axis<W>],
    coordinates: &[W],
    image: &[usize],
    mode: Mode,
) -> Vec<(Option<usize>, W)> {
    let mut all: Vec<(Option<usize>, W)> = vec![(Some(0), W::ONE)];
    for (index, (axis, x)) in axes.iter().zip(coordinates).enumerate() {
        let along = axis.taps(*x, mode);
        all = all
            .iter()
            .flat_map(|base| along.iter().map(move |tap| (*base, *tap)))
            .map(|((base, product), (tap, weight))| {
                (base.zip(tap).map(|(base, tap)| base * image[index] + tap), product * weight)
            })
            .collect();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_bits, noise, output, run};

    fn attrs(mode: &str, padding: &str, align: i64) -> Attrs {
        Attrs::new().with_str("mode", mode).with_str("padding_mode", padding).with_int("align_corners", align)
    }

    #[test]
    fn linear_follows_the_formula() {
        let (x, grid) = (noise(&[1, 2, 3, 4], 1), noise(&[1, 5, 1, 2], 2));
        let y = output("GridSample", &attrs("linear", "border", 1), &[&x, &grid]);
        let (v, g) = (x.as_slice::<f32>(), grid.as_slice::<f32>());
        for at in 0..10 {
            let (c, o) = (at / 5, at % 5);
            let w = (g[o * 2] + 1.0) / 2.0 * 3.0;
            let h = (g[o * 2 + 1] + 1.0) / 2.0 * 2.0;
            let mut sum = 0.0f32;
            for (i, j) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let weight = |x: f32, k: usize| if k == 0 { 1.0 - (x - x.floor()) } else { x - x.floor() };
                let value = v[c * 12 + (h.floor() as usize + i).min(2) * 4 + (w.floor() as usize + j).min(3)];
                sum = value.mul_add(weight(h, i) * weight(w, j), sum);
            }
            assert_eq!(y.as_slice::<f32>()[at].to_bits(), (sum + 0.0).to_bits());
        }
    }

    #[test]
    fn outside_of_the_image() {
        let x = Tensor::from_slice(&[1, 1, 4], &[1.0f32, 2.0, 3.0, 4.0]);
        // Coordinates -2, -1, 4, 6 and 9 without alignment.
        let g: Vec<f32> =
            [-2.0f32, -1.0, 4.0, 6.0, 9.0].iter().map(|x| (2.0 * x + 1.0) / 4.0 - 1.0).collect();
        let grid = Tensor::from_slice(&[1, 5, 1], &g);
        let go = |padding: &str| output("GridSample", &attrs("nearest", padding, 0), &[&x, &grid]);
        assert_bits(&go("zeros"), &[1, 1, 5], &[0.0f32; 5]);
        assert_bits(&go("border"), &[1, 1, 5], &[1.0f32, 1.0, 4.0, 4.0, 4.0]);
        assert_bits(&go("reflection"), &[1, 1, 5], &[2.0f32, 1.0, 4.0, 2.0, 2.0]);
    }

    #[test]
    fn hostile_grids() {
        let x = noise(&[1, 1, 2, 2], 1);
        for bad in [f32::NAN, f32::INFINITY, f32::MAX] {
            for (mode, padding) in [("cubic", "reflection"), ("linear", "border"), ("nearest", "zeros")] {
                let grid = Tensor::from_slice(&[1, 1, 1, 2], &[bad, 0.0]);
                let y = output("GridSample", &attrs(mode, padding, 0), &[&x, &grid]);
                assert!(bad == f32::MAX || y.as_slice::<f32>()[0].is_nan());
            }
        }
        assert!(run("GridSample", &Attrs::new(), &[&x, &noise(&[1, 1, 1, 3], 1)]).is_err());
        assert!(run("GridSample", &attrs("sharp", "zeros", 0), &[&x, &noise(&[1, 1, 1, 2], 1)]).is_err());
    }
}
