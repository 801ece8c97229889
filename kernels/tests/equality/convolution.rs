//! Conv and ConvTranspose.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestCaseResult;
use repops::attrs::Attrs;
use repops::digest::Layout;
use repops::dtype::DType;

use super::Case;
use super::draw::{Data, Fill, cases, extent, f32_or, fill};

const OTHER_FLOATS: [DType; 3] = [DType::F64, DType::F16, DType::BF16];

/// One spatial axis of a window.
#[derive(Clone, Debug)]
pub struct Axis {
    pub kernel: usize,
    pub stride: i64,
    pub dilation: i64,
    pub pads: (i64, i64),
    /// The image's extent beyond the least that the window fits into, pads included.
    pub more: usize,
}

impl Axis {
    pub fn strategy(kernel_max: usize) -> impl Strategy<Value = Axis> {
        let pad = || prop_oneof![2 => Just(0i64), 1 => 1..=3i64];
        let more = prop_oneof![6 => 0..=20usize, 1 => 30..=75usize];
        (1..=kernel_max, 1..=3i64, prop_oneof![2 => Just(1i64), 1 => 1..=3i64], (pad(), pad()), more)
            .prop_map(|(kernel, stride, dilation, pads, more)| Axis { kernel, stride, dilation, pads, more })
    }

    /// Positions that the window spans.
    pub fn reach(&self) -> usize {
        (self.kernel - 1) * self.dilation as usize + 1
    }

    /// The image's extent: with pads that count the window may be wider than the image.
    pub fn image(&self, with_pads: bool) -> usize {
        let pads = if with_pads { (self.pads.0 + self.pads.1) as usize } else { 0 };
        self.reach().saturating_sub(pads).max(1) + self.more
    }
}

/// The attributes that windows have; `auto_pad` other than NOTSET decides the pads itself.
pub fn window_attrs(axes: &[Axis], auto_pad: &str) -> Attrs {
    let list = |value: fn(&Axis) -> i64| axes.iter().map(value).collect::<Vec<i64>>();
    let attrs = Attrs::new()
        .with_ints("strides", &list(|axis| axis.stride))
        .with_ints("dilations", &list(|axis| axis.dilation));
    if auto_pad != "NOTSET" {
        return attrs.with_str("auto_pad", auto_pad);
    }
    let pads = [list(|axis| axis.pads.0), list(|axis| axis.pads.1)].concat();
    attrs.with_ints("pads", &pads)
}

pub fn auto_pad() -> impl Strategy<Value = &'static str> {
    prop_oneof![5 => Just("NOTSET"), 2 => select(&["SAME_UPPER", "SAME_LOWER", "VALID"][..])]
}

/// Halves what the axes have to spare until `cost` is bearable for the reference.
pub fn limit(axes: &mut [Axis], cost_max: usize, cost: impl Fn(&[Axis]) -> usize) {
    while cost(axes) > cost_max {
        match axes.iter_mut().max_by_key(|axis| axis.more) {
            Some(axis) if axis.more > 0 => axis.more /= 2,
            _ => return,
        }
    }
}

#[derive(Clone, Debug)]
struct Conv {
    images: usize,
    groups: usize,
    /// Of one group.
    channels: usize,
    out_channels: usize,
    axes: Vec<Axis>,
    auto_pad: &'static str,
    with_bias: bool,
}

impl Conv {
    /// `channels` and `out_channels` of one group.
    fn strategy(
        groups: impl Strategy<Value = usize>,
        channels: impl Strategy<Value = usize>,
        out_channels: impl Strategy<Value = usize>,
        axes: impl Strategy<Value = Vec<Axis>>,
    ) -> impl Strategy<Value = Conv> {
        let images = prop_oneof![6 => 1..=2usize, 1 => Just(0usize)];
        (images, groups, channels, out_channels, axes, auto_pad(), any::<bool>()).prop_map(
            |(images, groups, channels, out_channels, mut axes, auto_pad, with_bias)| {
                limit(&mut axes, 600_000, |axes| {
                    let per_axis = |axis: &Axis| axis.kernel * (axis.more + 4).div_ceil(axis.stride as usize);
                    images.max(1)
                        * groups
                        * channels
                        * out_channels
                        * axes.iter().map(per_axis).product::<usize>()
                });
                Conv { images, groups, channels, out_channels, axes, auto_pad, with_bias }
            },
        )
    }

    fn check(&self, dtype: DType, fill: Fill) -> TestCaseResult {
        let attrs = window_attrs(&self.axes, self.auto_pad).with_int("group", self.groups as i64);
        let mut x = vec![self.images, self.groups * self.channels];
        x.extend(self.axes.iter().map(|axis| axis.image(self.auto_pad == "NOTSET")));
        let mut w = vec![self.groups * self.out_channels, self.channels];
        w.extend(self.axes.iter().map(|axis| axis.kernel));
        let mut source = fill.source();
        let mut inputs = vec![source.tensor(dtype, &x), source.tensor(dtype, &w)];
        if self.with_bias {
            inputs.push(source.tensor(dtype, &[w[0]]));
        }
        // The layout is for one group of f32; kernels that do not take it are never given it.
        let places: &[usize] = if self.groups == 1 && dtype == DType::F32 { &[1] } else { &[] };
        Case::new("Conv", attrs, inputs).check_in(Layout::Filters16, places)
    }
}

/// Axes with windows of at most `kernel_max`.
fn axes(count: std::ops::RangeInclusive<usize>, kernel_max: usize) -> impl Strategy<Value = Vec<Axis>> {
    prop::collection::vec(Axis::strategy(kernel_max), count)
}

/// Outputs in tiles and beside them.
fn tile() -> impl Strategy<Value = usize> {
    prop_oneof![1..=14usize, select(&[15usize, 16, 17, 24, 33][..])]
}

proptest! {
    #![proptest_config(cases(80))]

    #[test]
    fn conv(
        conv in Conv::strategy(1..=3usize, 1..=9usize, tile(), axes(1..=2, 5)),
        dtype in f32_or(&OTHER_FLOATS),
        fill in fill(),
    ) {
        conv.check(dtype, fill)?;
    }

    /// More terms than a chunk holds: 256 / 9 channels and more.
    #[test]
    fn conv_of_several_chunks(
        conv in Conv::strategy(1..=2usize, extent(60, &[29, 57, 86, 256, 512]), 1..=20usize, axes(1..=2, 3)),
        dtype in f32_or(&OTHER_FLOATS),
        fill in fill(),
    ) {
        conv.check(dtype, fill)?;
    }

    #[test]
    fn conv_depthwise(
        conv in Conv::strategy(1..=5usize, Just(1usize), 1..=2usize, axes(2..=2, 7)),
        dtype in f32_or(&OTHER_FLOATS),
        fill in fill(),
    ) {
        conv.check(dtype, fill)?;
    }

    /// Kernels of 3 x 3 and 5 x 5, whose taps are written out.
    #[test]
    fn conv_depthwise_of_usual_kernels(
        conv in Conv::strategy(1..=5usize, Just(1usize), 1..=2usize, axes(2..=2, 5)),
        kernel in select(&[3usize, 5][..]),
        strides in (1..=2i64, 1..=3i64),
        fill in fill(),
    ) {
        let mut conv = conv;
        for (axis, stride) in conv.axes.iter_mut().zip([strides.0, strides.1]) {
            (axis.kernel, axis.stride) = (kernel, stride);
        }
        conv.axes[0].dilation = 1;
        conv.check(DType::F32, fill)?;
    }

    #[test]
    fn conv_three_axes(
        conv in Conv::strategy(1..=2usize, 1..=4usize, 1..=5usize, axes(3..=3, 3)),
        fill in fill(),
    ) {
        conv.check(DType::F32, fill)?;
    }

    #[test]
    fn conv_transpose(
        (images, groups, channels, out_channels) in (1..=2usize, 1..=2usize, extent(9, &[24, 64]), 1..=14usize),
        axes in axes(1..=2, 4),
        paddings in (0..=1i64, 0..=1i64),
        auto_pad in auto_pad(),
        with_bias in any::<bool>(),
        dtype in f32_or(&OTHER_FLOATS),
        fill in fill(),
    ) {
        let mut axes = axes;
        limit(&mut axes, 150_000, |axes| {
            let per_axis = |axis: &Axis| axis.kernel * (axis.more + 1) * axis.stride as usize;
            images * groups * channels * out_channels * axes.iter().map(per_axis).product::<usize>()
        });
        for axis in &mut axes {
            // Pads cut the output, of which something must be left.
            let most = axis.reach() as i64 - 1;
            axis.pads.0 = axis.pads.0.min(most);
            axis.pads.1 = axis.pads.1.min(most - axis.pads.0);
        }
        let paddings = &[paddings.0, paddings.1][..axes.len()];
        let attrs = window_attrs(&axes, auto_pad)
            .with_int("group", groups as i64)
            .with_ints("output_padding", paddings);
        let mut x = vec![images, groups * channels];
        x.extend(axes.iter().map(|axis| axis.more + 1));
        let mut w = vec![groups * channels, out_channels];
        w.extend(axes.iter().map(|axis| axis.kernel));
        let mut source = fill.source();
        let mut inputs = vec![source.tensor(dtype, &x), source.tensor(dtype, &w)];
        if with_bias {
            inputs.push(source.tensor(dtype, &[groups * out_channels]));
        }
        Case::new("ConvTranspose", attrs, inputs).check()?;
    }
}

/// Windows of more taps than two chunks hold, and images of thousands of rows.
#[test]
fn corners() -> TestCaseResult {
    let axis = |kernel, more, stride, pad| Axis { kernel, stride, dilation: 1, pads: (pad, pad), more };
    let conv = |groups, channels, out_channels, axes: &[Axis]| Conv {
        images: 1,
        groups,
        channels,
        out_channels,
        axes: axes.to_vec(),
        auto_pad: "NOTSET",
        with_bias: true,
    };
    for data in [Data::Plain, Data::Laden] {
        let fill = Fill::new(data, 3);
        conv(2, 1, 1, &[axis(31, 8, 1, 5), axis(17, 12, 1, 5)]).check(DType::F32, fill)?;
        conv(1, 70, 13, &[axis(3, 7, 1, 1), axis(3, 9, 1, 1)]).check(DType::F32, fill)?;
        conv(1, 3, 5, &[axis(3, 64, 1, 1), axis(3, 66, 1, 1)]).check(DType::F32, fill)?;
        conv(1, 2, 17, &[axis(1, 4100, 1, 0)]).check(DType::F32, fill)?;
        // Blocks of filters: pixels of one line and of several in a tile, more rows than a block has, several spans.
        conv(1, 70, 33, &[axis(3, 7, 1, 1), axis(3, 12, 1, 1)]).check(DType::F32, fill)?;
        conv(1, 600, 48, &[axis(1, 6, 1, 0), axis(1, 40, 1, 0)]).check(DType::F32, fill)?;
        // Fewer pixels than a panel has columns, at the very end of the image; images of one pixel.
        conv(1, 300, 48, &[axis(1, 0, 1, 0), axis(1, 0, 1, 0)]).check(DType::F32, fill)?;
        conv(1, 300, 20, &[axis(1, 2, 1, 0), axis(1, 3, 1, 0)]).check(DType::F32, fill)?;
        conv(1, 70, 40, &[axis(3, 0, 1, 1), axis(3, 1, 1, 1)]).check(DType::F32, fill)?;
        conv(1, 33, 530, &[axis(3, 20, 2, 1), axis(5, 22, 2, 2)]).check(DType::F32, fill)?;
    }
    Ok(())
}

/// Tiles follow lines, by blocks of filters and by rows of them: two in a tile, the last one alone, one, and parts of one; strides, several
/// blocks of rows, several spans, an odd number of panels, several images.
#[test]
fn lines_of_tiles() -> TestCaseResult {
    let axis = |kernel, stride, out: usize| {
        let pad = (kernel / 2) as i64;
        Axis { kernel, stride, dilation: 1, pads: (pad, pad), more: (out - 1) * stride as usize }
    };
    let cases = [
        (1, 118, 48, 3, 1, (7, 7)),
        (2, 3, 33, 3, 2, (6, 7)),
        (1, 2, 16, 5, 1, (1, 7)),
        (1, 30, 32, 3, 1, (14, 14)),
        (2, 3, 70, 3, 2, (5, 14)),
        (1, 3, 64, 7, 2, (6, 28)),
        (1, 4, 20, 3, 1, (40, 20)),
        (1, 2, 40, 3, 1, (9, 56)),
        (1, 2, 33, 3, 1, (3, 300)),
        (1, 2, 16, 3, 2, (77, 7)),
        (1, 5, 16, 2, 1, (4, 13)),
        // Lines of whole panels.
        (1, 118, 7, 3, 1, (3, 32)),
        (2, 3, 13, 3, 2, (5, 32)),
        (1, 2, 25, 3, 1, (7, 112)),
        (1, 1, 3, 7, 2, (33, 64)),
        (1, 2, 5, 3, 1, (1, 96)),
    ];
    for (images, channels, out_channels, kernel, stride, (lines, width)) in cases {
        let axes = vec![axis(kernel, stride, lines), axis(kernel, stride, width)];
        let conv =
            Conv { images, groups: 1, channels, out_channels, axes, auto_pad: "NOTSET", with_bias: true };
        for data in [Data::Plain, Data::Laden] {
            conv.check(DType::F32, Fill::new(data, 5))?;
        }
    }
    Ok(())
}

/// Lines of the padded image are far longer than those of the result: whole blocks lie between two of them.
#[test]
fn lines_that_are_mostly_not_kept() -> TestCaseResult {
    for (filters, height, width, kernel) in [(3, 3, 900, 890), (20, 2, 700, 600)] {
        let mut source = Fill::new(Data::Plain, 7).source();
        let x = source.tensor(DType::F32, &[1, 2, height, width]);
        let w = source.tensor(DType::F32, &[filters, 2, 1, kernel]);
        let bias = source.tensor(DType::F32, &[filters]);
        Case::new("Conv", Attrs::new(), vec![x, w, bias]).check_in(Layout::Filters16, &[1])?;
    }
    Ok(())
}

#[test]
fn a_weight_that_is_not_finite_is_not_multiplied_outside_of_the_image() -> TestCaseResult {
    for weight in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
        for channels in [1, 3] {
            let mut source = Fill::new(Data::Plain, 1).source();
            let x = source.tensor(DType::F32, &[1, channels, 6, 7]);
            for groups in [1, channels] {
                let mut w = source.tensor(DType::F32, &[channels, channels / groups, 3, 3]);
                w.as_mut_slice::<f32>()[1] = weight;
                w.canonicalize();
                let attrs = Attrs::new().with_ints("pads", &[1; 4]).with_int("group", groups as i64);
                let places: &[usize] = if groups == 1 { &[1] } else { &[] };
                Case::new("Conv", attrs, vec![x.clone(), w]).check_in(Layout::Filters16, places)?;
            }
        }
    }
    Ok(())
}
