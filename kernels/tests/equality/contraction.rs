//! MatMul, Gemm and MatMulInteger.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestCaseResult;
use repops::attrs::Attrs;
use repops::dtype::DType;

use super::Case;
use super::draw::{Data, Fill, cases, extent, f32_or, fill, shrink_to};

/// Besides f32.
const NUMBERS: [DType; 7] =
    [DType::F64, DType::F16, DType::BF16, DType::I32, DType::I64, DType::U32, DType::U64];

/// Rows, terms, columns.
#[derive(Clone, Copy, Debug)]
struct Product {
    m: usize,
    k: usize,
    n: usize,
}

/// Products that stress one thing each: several chunks of terms with a tile or two of outputs; few rows against
/// many columns; thousands of rows; nothing in particular.
fn product() -> impl Strategy<Value = Product> {
    let terms = || extent(40, &[256, 512, 768, 1024, 1280]);
    let make = |(m, k, n)| Product { m, k, n };
    prop_oneof![
        3 => (extent(14, &[12, 16, 24]), terms(), extent(35, &[16, 32, 48])).prop_map(make),
        2 => (1..=4usize, terms(), extent(70, &[128, 512, 1024])).prop_map(make),
        1 => (extent(64, &[96, 192, 4096]), extent(8, &[16]), extent(9, &[16, 32])).prop_map(make),
        2 => (extent(50, &[48, 64, 96]), extent(60, &[64, 128]), extent(60, &[64, 128])).prop_map(make),
    ]
    .prop_map(|mut p| {
        // The reference is slow.
        while p.m * p.k * p.n > 600_000 {
            if p.m > p.n { p.m = p.m.div_ceil(2) } else { p.n = p.n.div_ceil(2) }
        }
        p
    })
}

/// Leading axes of both operands: the extent, and which operand has 1 instead.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Batch {
    Both(usize),
    Left(usize),
    Right(usize),
}

fn batch() -> impl Strategy<Value = Vec<Batch>> {
    let axis = prop_oneof![
        (1..=3usize).prop_map(Batch::Both),
        (0..=3usize).prop_map(Batch::Left),
        (1..=3usize).prop_map(Batch::Right),
    ];
    prop_oneof![3 => Just(Vec::new()), 2 => prop::collection::vec(axis, 1..=2)]
}

/// How an operand is given.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Full,
    /// Without the leading axes.
    Matrix,
    /// One axis, that of the terms.
    Vector,
}

fn form() -> impl Strategy<Value = Form> {
    prop_oneof![6 => Just(Form::Full), 2 => Just(Form::Matrix), 1 => Just(Form::Vector)]
}

/// The shapes of both operands.
fn operands(product: Product, batch: &[Batch], forms: (Form, Form)) -> (Vec<usize>, Vec<usize>) {
    let Product { m, k, n } = product;
    let mut extents: Vec<usize> = batch
        .iter()
        .map(|axis| match *axis {
            Batch::Both(extent) | Batch::Left(extent) | Batch::Right(extent) => extent,
        })
        .collect();
    shrink_to(&mut extents, 1_000_000 / (m * k * n).max(1));
    let own = |is_left: bool| {
        let other = if is_left { Batch::Right } else { Batch::Left };
        batch.iter().zip(&extents).map(move |(axis, &e)| if *axis == other(axis.extent()) { 1 } else { e })
    };
    let shape = |is_left: bool, form: Form, matrix: [usize; 2]| match form {
        Form::Full => own(is_left).chain(matrix).collect(),
        Form::Matrix => matrix.to_vec(),
        Form::Vector => vec![k],
    };
    (shape(true, forms.0, [m, k]), shape(false, forms.1, [k, n]))
}

impl Batch {
    fn extent(self) -> usize {
        match self {
            Batch::Both(extent) | Batch::Left(extent) | Batch::Right(extent) => extent,
        }
    }
}

fn matmul(dtype: DType, a: &[usize], b: &[usize], fill: Fill) -> TestCaseResult {
    let mut source = fill.source();
    let inputs = vec![source.tensor(dtype, a), source.tensor(dtype, b)];
    let panels: &[usize] = if b.len() >= 2 { &[1] } else { &[] };
    Case::new("MatMul", Attrs::new(), inputs).check_with_panels(panels)
}

#[derive(Clone, Debug)]
struct Gemm {
    product: Product,
    dtype: DType,
    transposed: (bool, bool),
    /// Picks alpha and beta among those that suit the type.
    factors: (usize, usize),
    /// The third operand's form, in the order of `third`.
    third: usize,
}

impl Gemm {
    fn strategy() -> impl Strategy<Value = Gemm> {
        let flags = (any::<bool>(), any::<bool>());
        (product(), f32_or(&NUMBERS), flags, (0..3usize, 0..3usize), 0..7usize).prop_map(
            |(product, dtype, transposed, factors, third)| Gemm {
                product,
                dtype,
                transposed,
                factors,
                third,
            },
        )
    }

    fn check(&self, fill: Fill) -> TestCaseResult {
        let Product { m, k, n } = self.product;
        let (trans_a, trans_b) = self.transposed;
        let factors = if self.dtype.is_float() { [1.0f32, 0.7, -2.0] } else { [1.0, 3.0, -2.0] };
        let attrs = Attrs::new()
            .with_int("transA", i64::from(trans_a))
            .with_int("transB", i64::from(trans_b))
            .with_float("alpha", factors[self.factors.0])
            .with_float("beta", factors[self.factors.1]);
        let mut source = fill.source();
        let a = if trans_a { [k, m] } else { [m, k] };
        let b = if trans_b { [n, k] } else { [k, n] };
        let mut inputs = vec![source.tensor(self.dtype, &a), source.tensor(self.dtype, &b)];
        let third: [Option<&[usize]>; 7] =
            [None, Some(&[]), Some(&[n]), Some(&[1]), Some(&[m, n]), Some(&[m, 1]), Some(&[1, n])];
        if let Some(shape) = third[self.third] {
            inputs.push(source.tensor(self.dtype, shape));
        }
        Case::new("Gemm", attrs, inputs).check_with_panels(if trans_b { &[] } else { &[1] })
    }
}

/// MatMulInteger's zero points.
#[derive(Clone, Copy, Debug)]
enum Zero {
    Absent,
    Scalar,
    One,
    /// One a row of A, or one a column of B.
    Each,
}

fn zero() -> impl Strategy<Value = Zero> {
    select(&[Zero::Absent, Zero::Scalar, Zero::One, Zero::Each][..])
}

impl Zero {
    fn shape(self, each: usize) -> Option<Vec<usize>> {
        match self {
            Zero::Absent => None,
            Zero::Scalar => Some(vec![]),
            Zero::One => Some(vec![1]),
            Zero::Each => Some(vec![each]),
        }
    }
}

proptest! {
    #![proptest_config(cases(110))]

    #[test]
    fn matmul_products(
        (product, batch, forms) in (product(), batch(), (form(), form())),
        dtype in f32_or(&NUMBERS),
        fill in fill(),
    ) {
        let (a, b) = operands(product, &batch, forms);
        matmul(dtype, &a, &b, fill)?;
    }

    #[test]
    fn gemm_options(gemm in Gemm::strategy(), fill in fill()) {
        gemm.check(fill)?;
    }

    #[test]
    fn matmul_integer(
        (product, batch) in (product(), batch()),
        signed in (any::<bool>(), any::<bool>()),
        zeros in (zero(), zero()),
        fill in fill(),
    ) {
        let (a, b) = operands(product, &batch, (Form::Full, Form::Full));
        let byte = |signed| if signed { DType::I8 } else { DType::U8 };
        let (left, right) = (byte(signed.0), byte(signed.1));
        let mut source = fill.source();
        let mut inputs = vec![Some(source.tensor(left, &a)), Some(source.tensor(right, &b))];
        inputs.push(zeros.0.shape(product.m).map(|shape| source.tensor(left, &shape)));
        inputs.push(zeros.1.shape(product.n).map(|shape| source.tensor(right, &shape)));
        Case { op: "MatMulInteger", attrs: Attrs::new(), inputs, outputs: 1 }.check()?;
    }
}

/// Operands without elements, single elements, whole blocks of each size.
#[test]
fn corners() -> TestCaseResult {
    let shapes: &[(&[usize], &[usize])] = &[
        (&[1, 1], &[1, 1]),
        (&[12, 256], &[256, 32]),
        (&[25, 1793], &[1793, 17]),
        (&[200, 300], &[300, 50]),
        (&[1, 1300], &[1300, 1100]),
        // Rows longer than the blocks in which a step replaces its product.
        (&[2, 3], &[3, 20_000]),
        (&[30, 40], &[40, 1500]),
        (&[300], &[300]),
        (&[0, 7], &[7, 3]),
        (&[4, 0], &[0, 3]),
        (&[4, 3], &[3, 0]),
        (&[1, 0], &[0, 40]),
        (&[0, 4, 5], &[5, 2]),
        (&[2, 1, 4, 300], &[3, 300, 20]),
    ];
    for (index, (a, b)) in shapes.iter().enumerate() {
        for data in [Data::Plain, Data::Laden] {
            matmul(DType::F32, a, b, Fill::new(data, index as u64))?;
        }
    }
    Ok(())
}
