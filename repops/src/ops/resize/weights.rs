//! Which elements of an axis an output element of Resize takes, and with which weights.

use super::super::OpError;
use super::super::float::Real;
use crate::attrs::Attrs;

/// What one output element takes along one axis.
#[derive(Clone, PartialEq, Debug)]
pub enum Stencil {
    /// Outside of the cropped image.
    Outside,
    /// One element.
    One(usize),
    /// Element i and the next, with the next's weight.
    Two(usize, f32),
    /// Elements with their weights, ascending in the coordinate (edges may repeat).
    Many(Vec<(usize, f32)>),
}

impl Stencil {
    /// The element that mode nearest takes.
    pub fn nearest(&self) -> Option<usize> {
        match self {
            Stencil::One(i) => Some(*i),
            _ => None,
        }
    }
}

/// How one axis changes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct AxisScale {
    pub axis: usize,
    /// Extents; the first is not 0.
    pub from: usize,
    pub to: usize,
    pub scale: f32,
    pub crop: Option<(f32, f32)>,
}

/// What happens to one axis.
pub struct AxisPlan {
    pub axis: usize,
    /// One for each output element along the axis.
    pub stencils: Vec<Stencil>,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Nearest,
    Linear,
    Cubic,
}

#[derive(Clone, Copy, PartialEq)]
enum Rounding {
    PreferFloor,
    PreferCeil,
    Floor,
    Ceil,
}

#[derive(Clone, Copy, PartialEq)]
enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    TfHalfPixelForNn,
    TfCropAndResize,
}

/// The attributes of Resize that say how an axis is sampled.
pub struct Sampling {
    mode: Mode,
    rounding: Rounding,
    coordinates: Coordinates,
    a: f32,
    antialias: bool,
    exclude_outside: bool,
}

impl Sampling {
    pub fn new(attrs: &Attrs) -> Result<Sampling, OpError> {
        let unknown =
            |name: &str| Err(OpError::attr(name, format!("{:?} is none of ONNX's", attrs.str(name))));
        let mode = match attrs.str("mode") {
            "nearest" => Mode::Nearest,
            "linear" => Mode::Linear,
            "cubic" => Mode::Cubic,
            _ => return unknown("mode"),
        };
        let rounding = match attrs.str("nearest_mode") {
            "round_prefer_floor" => Rounding::PreferFloor,
            "round_prefer_ceil" => Rounding::PreferCeil,
            "floor" => Rounding::Floor,
            "ceil" => Rounding::Ceil,
            _ => return unknown("nearest_mode"),
        };
        let coordinates = match attrs.str("coordinate_transformation_mode") {
            "half_pixel" => Coordinates::HalfPixel,
            "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
            "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
            "align_corners" => Coordinates::AlignCorners,
            "asymmetric" => Coordinates::Asymmetric,
            "tf_half_pixel_for_nn" => Coordinates::TfHalfPixelForNn,
            "tf_crop_and_resize" => Coordinates::TfCropAndResize,
            _ => return unknown("coordinate_transformation_mode"),
        };
        let a = attrs.float("cubic_coeff_a");
        if !a.is_finite() {
            return Err(OpError::attr("cubic_coeff_a", "is not finite"));
        }
        let antialias = attrs.int("antialias") != 0 && mode != Mode::Nearest;
        let exclude_outside = attrs.int("exclude_outside") != 0;
        Ok(Sampling { mode, rounding, coordinates, a, antialias, exclude_outside })
    }

    pub fn is_nearest(&self) -> bool {
        self.mode == Mode::Nearest
    }

    /// Whether the roi is needed.
    pub fn crops(&self) -> bool {
        self.coordinates == Coordinates::TfCropAndResize
    }

    /// What output element `o` of an axis takes.
    pub fn stencil(&self, axis: &AxisScale, o: usize) -> Stencil {
        let AxisScale { from, to, scale, crop, .. } = *axis;
        let last = (from - 1) as f32;
        let x = self.coordinate(o as f32, from as f32, to as f32, scale, crop);
        // A NaN, which only a NaN or infinite roi makes, is outside too.
        if crop.is_some() && !(0.0..=last).contains(&x) {
            return Stencil::Outside;
        }
        match (self.mode, self.antialias) {
            (Mode::Nearest, _) => Stencil::One(self.round(x).clamp(0.0, last) as usize),
            (mode, true) => self.antialiased(mode, x, from, scale),
            (Mode::Linear, false) => {
                let x = x.clamp(0.0, last);
                let i = x.floor();
                // The last element has no next; clamped, its weight is 0 anyway.
                if x == i { Stencil::One(i as usize) } else { Stencil::Two(i as usize, x - i) }
            }
            (Mode::Cubic, false) => self.cubic(x, from),
        }
    }

    /// No stencil of the axis has more taps.
    pub fn taps_max(&self, axis: &AxisScale) -> usize {
        if self.antialias { 2 * (2.0 / axis.scale.smaller(1.0)).ceil() as usize + 3 } else { 4 }
    }

    fn coordinate(&self, o: f32, from: f32, to: f32, scale: f32, crop: Option<(f32, f32)>) -> f32 {
        match self.coordinates {
            Coordinates::HalfPixel => (o + 0.5) / scale - 0.5,
            Coordinates::HalfPixelSymmetric => {
                let adjustment = to / (scale * from);
                from / 2.0 * (1.0 - adjustment) + (o + 0.5) / scale - 0.5
            }
            Coordinates::PytorchHalfPixel if to == 1.0 => 0.0,
            Coordinates::PytorchHalfPixel => (o + 0.5) / scale - 0.5,
            Coordinates::AlignCorners if to == 1.0 => 0.0,
            Coordinates::AlignCorners => o * (from - 1.0) / (to - 1.0),
            Coordinates::Asymmetric => o / scale,
            Coordinates::TfHalfPixelForNn => (o + 0.5) / scale,
            Coordinates::TfCropAndResize => {
                let (start, end) = crop.unwrap_or((0.0, 1.0));
                if to == 1.0 {
                    0.5 * (start + end) * (from - 1.0)
                } else {
                    start * (from - 1.0) + o * (end - start) * (from - 1.0) / (to - 1.0)
                }
            }
        }
    }

    /// The integer that mode nearest takes for `x`.
    fn round(&self, x: f32) -> f32 {
        let floor = x.floor();
        // Exact wherever it can be 0.5.
        let rest = x - floor;
        match self.rounding {
            Rounding::Floor => floor,
            Rounding::Ceil => x.ceil(),
            Rounding::PreferFloor => floor + f32::from(u8::from(rest > 0.5)),
            Rounding::PreferCeil => floor + f32::from(u8::from(rest >= 0.5)),
        }
    }

    fn cubic(&self, x: f32, from: usize) -> Stencil {
        let floor = x.floor();
        let t = x - floor;
        let weights =
            [self.keys_far(1.0 + t), self.keys_near(t), self.keys_near(1.0 - t), self.keys_far(2.0 - t)];
        let taps = weights.iter().enumerate().map(|(k, &w)| (floor as i64 - 1 + k as i64, w));
        self.placed(taps.collect(), from)
    }

    /// Keys' kernel for distances up to 1. Source: R. G. Keys, "Cubic convolution interpolation for
    /// digital image processing", IEEE Trans. ASSP 29(6), 1981.
    fn keys_near(&self, d: f32) -> f32 {
        ((self.a + 2.0) * d - (self.a + 3.0)) * d * d + 1.0
    }

    /// Keys' kernel for distances from 1 to 2.
    fn keys_far(&self, d: f32) -> f32 {
        ((self.a * d - 5.0 * self.a) * d + 8.0 * self.a) * d - 4.0 * self.a
    }

    fn antialiased(&self, mode: Mode, x: f32, from: usize, scale: f32) -> Stencil {
        let s = scale.smaller(1.0);
        let support = if mode == Mode::Linear { 1.0 } else { 2.0 };
        // scale is at least 1 / from or so: an output element exists. So the taps are few times `from`.
        let reach = (support / s).ceil() as i64 + 1;
        let center = x.floor() as i64;
        let taps = (center.saturating_sub(reach)..=center.saturating_add(reach)).filter_map(|i| {
            let d = ((i as f32 - x) * s).abs();
            let weight = match mode {
                Mode::Cubic if d <= 1.0 => self.keys_near(d),
                Mode::Cubic => self.keys_far(d),
                _ => 1.0 - d,
            };
            (d < support).then_some((i, weight))
        });
        let mut taps: Vec<(i64, f32)> = taps.collect();
        normalize(&mut taps);
        self.placed(taps, from)
    }

    /// Moves taps outside of the axis to its edges, or takes their weight away.
    fn placed(&self, mut taps: Vec<(i64, f32)>, from: usize) -> Stencil {
        if self.exclude_outside {
            for (i, weight) in &mut taps {
                if *i < 0 || *i >= from as i64 {
                    *weight = 0.0;
                }
            }
            normalize(&mut taps);
        }
        Stencil::Many(taps.into_iter().map(|(i, w)| (i.clamp(0, from as i64 - 1) as usize, w)).collect())
    }
}

/// Divides weights by their sum in ascending order.
fn normalize(taps: &mut [(i64, f32)]) {
    let sum = taps.iter().fold(0.0, |sum, (_, w)| sum + w);
    for (_, weight) in taps {
        *weight /= sum;
    }
}
