//! The cases that criterion times and callgrind counts: the same shapes in both.

use repops::attrs::Attrs;
use repops::tensor::Tensor;
use repops_kernels::Isa;

use crate::{Case, drawn};

/// `[m, k] x [k, n]` in f32, the right side in panels or in row-major order.
pub fn product(isa: Isa, m: usize, k: usize, n: usize, in_panels: bool) -> Case {
    let panels: &[usize] = if in_panels { &[1] } else { &[] };
    let inputs = vec![drawn(&[m, k]), drawn(&[k, n])];
    let layout = if in_panels { "panel" } else { "row" };
    let name = format!("MatMul {m}x{k}x{n} {layout}");
    Case::operator(isa, "MatMul", &Attrs::new(), inputs, panels).named(name, 2 * (m * k * n) as u64)
}

/// `[m, k] x [k, n]` of 8-bit integers, sums in i32.
pub fn product_int8(isa: Isa, m: usize, k: usize, n: usize) -> Case {
    let bytes = |count: usize| (0..count).map(|i| (i * 7 % 251) as u8).collect::<Vec<u8>>();
    let signed: Vec<i8> = bytes(k * n).into_iter().map(|b| b as i8).collect();
    let inputs = vec![
        Tensor::from_slice(&[m, k], &bytes(m * k)),
        Tensor::from_slice(&[k, n], &signed),
        Tensor::scalar(128u8),
        Tensor::scalar(0i8),
    ];
    Case::operator(isa, "MatMulInteger", &Attrs::new(), inputs, &[])
        .named(format!("MatMulInteger {m}x{k}x{n}"), 2 * (m * k * n) as u64)
}

/// A layer of a convolutional network, batch 1, padded to keep its size but for the stride.
#[derive(Clone, Copy)]
pub struct Layer {
    pub channels: usize,
    pub size: usize,
    pub out: usize,
    pub kernel: usize,
    pub stride: usize,
    pub groups: usize,
}

pub fn convolution(isa: Isa, layer: Layer) -> Case {
    let Layer { channels, size, out, kernel, stride, groups } = layer;
    let (pad, side) = (kernel as i64 / 2, kernel as i64);
    let attrs = Attrs::new()
        .with_ints("kernel_shape", &[side; 2])
        .with_ints("strides", &[stride as i64; 2])
        .with_ints("pads", &[pad; 4])
        .with_int("group", groups as i64);
    let inputs = vec![
        drawn(&[1, channels, size, size]),
        drawn(&[out, channels / groups, kernel, kernel]),
        drawn(&[out]),
    ];
    let pixels = size.div_ceil(stride).pow(2);
    let flops = 2 * pixels * out * channels / groups * kernel * kernel;
    let name = format!("Conv {channels}x{size}x{size} to {out}, {kernel}x{kernel} /{stride} in {groups}");
    Case::operator(isa, "Conv", &attrs, inputs, &[]).named(name, flops as u64)
}

pub fn softmax(isa: Isa, rows: usize, width: usize) -> Case {
    Case::operator(isa, "Softmax", &Attrs::new(), vec![drawn(&[rows, width])], &[])
        .named(format!("Softmax {rows}x{width}"), 8 * (rows * width) as u64)
}

pub fn layer_norm(isa: Isa, rows: usize, width: usize) -> Case {
    let inputs = vec![drawn(&[rows, width]), drawn(&[width]), drawn(&[width])];
    Case::operator(isa, "LayerNormalization", &Attrs::new(), inputs, &[])
        .named(format!("LayerNormalization {rows}x{width}"), 8 * (rows * width) as u64)
}

pub fn exp(isa: Isa, count: usize) -> Case {
    Case::region(isa, &[("Exp", &[0])], drawn(&[count]), &[])
        .named(format!("Region exp {count}"), 8 * count as u64)
}

/// `x * 0.5 * (1 + erf(x / sqrt 2))` in five operators, as exporters write it.
pub fn gelu(isa: Isa, count: usize) -> Case {
    let scalars = [std::f32::consts::FRAC_1_SQRT_2, 1.0, 0.5];
    let steps: [(&str, &[u16]); 5] =
        [("Mul", &[0, 1]), ("Erf", &[4]), ("Add", &[5, 2]), ("Mul", &[0, 6]), ("Mul", &[7, 3])];
    Case::region(isa, &steps, drawn(&[count]), &scalars)
        .named(format!("Region gelu {count}"), 8 * count as u64)
}

/// Layers of ResNet-50 and MobileNetV2: 3x3, 1x1, strided, depthwise.
pub const LAYERS: [Layer; 6] = [
    Layer { channels: 64, size: 56, out: 64, kernel: 3, stride: 1, groups: 1 },
    Layer { channels: 64, size: 56, out: 256, kernel: 1, stride: 1, groups: 1 },
    Layer { channels: 128, size: 56, out: 128, kernel: 3, stride: 2, groups: 1 },
    Layer { channels: 512, size: 7, out: 512, kernel: 3, stride: 1, groups: 1 },
    Layer { channels: 32, size: 112, out: 32, kernel: 3, stride: 1, groups: 32 },
    Layer { channels: 96, size: 112, out: 96, kernel: 3, stride: 2, groups: 96 },
];

/// The key kernels at sizes that callgrind gets through in seconds.
pub fn key_kernels(isa: Isa) -> Vec<Case> {
    let mut cases = vec![
        product(isa, 96, 256, 256, true),
        product(isa, 96, 256, 256, false),
        product(isa, 37, 300, 123, true),
        product(isa, 1, 1024, 1024, true),
        product_int8(isa, 64, 256, 256),
        softmax(isa, 64, 1000),
        layer_norm(isa, 64, 1000),
        exp(isa, 1 << 16),
        gelu(isa, 1 << 16),
    ];
    let small = |layer: Layer| Layer { size: layer.size.min(28), ..layer };
    cases.extend(LAYERS.iter().filter(|layer| layer.out <= 128).map(|layer| convolution(isa, small(*layer))));
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_kernels_run_and_have_names_of_their_own() {
        let mut names = std::collections::BTreeSet::new();
        for mut case in key_kernels(Isa::Portable) {
            case.call();
            assert!(case.output().bytes().iter().any(|&byte| byte != 0), "{}", case.name);
            assert!(names.insert(case.name.clone()), "{}", case.name);
            assert!(case.amount > 0, "{}", case.name);
        }
    }

    #[test]
    fn the_layouts_agree() {
        let (mut row, mut panel) =
            (product(Isa::Portable, 3, 40, 17, false), product(Isa::Portable, 3, 40, 17, true));
        row.call();
        panel.call();
        assert_eq!(row.output().bytes(), panel.output().bytes());
    }
}
