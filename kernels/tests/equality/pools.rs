//! Poolings.

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use repops::attrs::Attrs;
use repops::dtype::DType::F32;

use super::Case;
use super::convolution::{Axis, auto_pad, limit, window_attrs};
use super::draw::{Data, Fill, cases, fill, shape, small_extent};

#[derive(Clone, Debug)]
struct Pool {
    images: usize,
    channels: usize,
    axes: Vec<Axis>,
    auto_pad: &'static str,
    ceil: bool,
}

impl Pool {
    fn strategy() -> impl Strategy<Value = Pool> {
        let axes = prop_oneof![
            3 => prop::collection::vec(Axis::strategy(5), 1..=2),
            1 => prop::collection::vec(Axis::strategy(3), 3),
            1 => prop::collection::vec(Axis::strategy(13), 1..=2),
        ];
        (small_extent(2), small_extent(9), axes, auto_pad(), any::<bool>()).prop_map(
            |(images, channels, mut axes, auto_pad, ceil)| {
                limit(&mut axes, 200_000, |axes| {
                    let per_axis = |axis: &Axis| axis.kernel * (axis.more + 4).div_ceil(axis.stride as usize);
                    images.max(1) * channels * axes.iter().map(per_axis).product::<usize>()
                });
                // ONNX allows pads below the window's extent only.
                for axis in &mut axes {
                    let most = axis.kernel as i64 - 1;
                    axis.pads = (axis.pads.0.min(most), axis.pads.1.min(most));
                }
                Pool { images, channels, axes, auto_pad, ceil }
            },
        )
    }

    fn shape(&self) -> Vec<usize> {
        let image = self.axes.iter().map(|axis| axis.image(self.auto_pad == "NOTSET"));
        [self.images, self.channels].into_iter().chain(image).collect()
    }

    fn attrs(&self) -> Attrs {
        let kernel: Vec<i64> = self.axes.iter().map(|axis| axis.kernel as i64).collect();
        window_attrs(&self.axes, self.auto_pad)
            .with_ints("kernel_shape", &kernel)
            .with_int("ceil_mode", i64::from(self.ceil))
    }
}

proptest! {
    #![proptest_config(cases(120))]

    #[test]
    fn max_pool(pool in Pool::strategy(), with_indices in any::<bool>(), column_major in any::<bool>(), fill in fill()) {
        let inputs = vec![Some(fill.source().tensor(F32, &pool.shape()))];
        let attrs = pool.attrs().with_int("storage_order", i64::from(column_major));
        Case { op: "MaxPool", attrs, inputs, outputs: 1 + usize::from(with_indices) }.check()?;
    }

    #[test]
    fn average_pool(pool in Pool::strategy(), include_pad in any::<bool>(), fill in fill()) {
        let attrs = pool.attrs().with_int("count_include_pad", i64::from(include_pad));
        Case::new("AveragePool", attrs, vec![fill.source().tensor(F32, &pool.shape())]).check()?;
    }

    #[test]
    fn global_pools(is_max in any::<bool>(), shape in shape(3, 5, 20_000), fill in fill()) {
        let name = if is_max { "GlobalMaxPool" } else { "GlobalAveragePool" };
        Case::new(name, Attrs::new(), vec![fill.source().tensor(F32, &shape)]).check()?;
    }
}

/// Outputs without elements; more taps than accumulators; planes of more than 4096 elements.
#[test]
fn corners() -> TestCaseResult {
    for data in [Data::Plain, Data::Laden] {
        let mut source = Fill::new(data, 5).source();
        for shape in [[0, 2, 5, 6], [2, 0, 5, 6], [2, 3, 0, 6], [2, 3, 5, 0]] {
            let x = source.tensor(F32, &shape);
            let attrs = Attrs::new().with_ints("kernel_shape", &[2, 2]).with_str("auto_pad", "SAME_UPPER");
            Case::new("MaxPool", attrs.clone(), vec![x.clone()]).check()?;
            Case::new("AveragePool", attrs, vec![x]).check()?;
        }
        let x = source.tensor(F32, &[1, 2, 30, 31]);
        let attrs = Attrs::new().with_ints("kernel_shape", &[9, 10]);
        Case::new("AveragePool", attrs, vec![x]).check()?;
        for shape in [[1, 3, 64, 64], [1, 3, 67, 63]] {
            let x = source.tensor(F32, &shape);
            Case::new("GlobalAveragePool", Attrs::new(), vec![x.clone()]).check()?;
            Case::new("GlobalMaxPool", Attrs::new(), vec![x]).check()?;
        }
    }
    Ok(())
}
