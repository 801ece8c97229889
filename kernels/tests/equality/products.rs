//! Regions over products: every case of a product is also computed within a step that replaces its results.

use repops::attrs::Attrs;
use repops::dtype::DType::{self, F32};
use repops::ops::{self, OpDef};
use repops::reference::evaluate_elementwise;
use repops::region::{Instruction, Product, Region, RegionBackend, is_product};
use repops::tensor::Tensor;
use repops_kernels::{Isa, Operand, TileRegions, evaluate_products};

use proptest::test_runner::TestCaseResult;

use super::{compare, fail, garbage_like};

/// What a step makes of its products.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// One result, in the product's place.
    One,
    /// Two equal products, of which one is kept aside.
    Two,
    /// A first result of another type, so that the product has a place of its own.
    Compared,
    /// So little that tiles do it themselves: a residual is added, which of two products is the first; Relu; or both.
    Added,
    AddedTwo,
    Relu,
    AddedRelu,
    /// A number for each column is added.
    AddedColumn,
    /// A number for each channel is added to images, and Relu.
    AddedChannel,
}

const WAYS: [Way; 9] = [
    Way::One,
    Way::Added,
    Way::AddedColumn,
    Way::AddedRelu,
    Way::Two,
    Way::Compared,
    Way::Relu,
    Way::AddedTwo,
    Way::AddedChannel,
];

/// A product's step, and what comes of it.
pub struct Steps {
    regions: Vec<(Way, Region, Vec<Tensor>)>,
    residual: Tensor,
    column: Tensor,
    channel: Tensor,
}

impl Steps {
    /// `None` where the operator is no product of f32, or an input is absent.
    pub fn new(
        def: &OpDef,
        attrs: &Attrs,
        operands: &[Option<Operand<'_>>],
        wanted: &Tensor,
    ) -> Option<Steps> {
        if !is_product(def) || wanted.dtype() != F32 || operands.iter().any(Option::is_none) {
            return None;
        }
        let number = |at: usize| ((at * 37 % 101) as f32 - 50.0) * 0.125;
        let values = |count: usize| (0..count).map(number).collect::<Vec<f32>>();
        let last = wanted.shape().last().copied().unwrap_or(1);
        let residual = Tensor::from_slice(wanted.shape(), &values(wanted.len()));
        let column = Tensor::from_slice(&[last], &values(last));
        let channels = if let [_, channels, _, _] = *wanted.shape() { channels } else { 1 };
        let channel =
            Tensor::from_slice(&[channels, 1, 1][..if channels == 1 { 1 } else { 3 }], &values(channels));
        let product =
            Product { op: def.id, version: def.version, attrs: attrs.clone(), inputs: operands.len() as u16 };
        let mut regions = Vec::new();
        for way in WAYS {
            let count = if matches!(way, Way::Two | Way::AddedTwo) { 2 } else { 1 };
            let region = region(way, vec![product.clone(); count]);
            region.check().expect("a region of the test");
            let products = std::iter::repeat_n(wanted, count);
            let params: Vec<_> =
                products.chain([&residual, &column, &channel]).map(|t| Some(t.view())).collect();
            let expected = evaluate_elementwise(&region, &params).expect("evaluated");
            regions.push((way, region, expected));
        }
        Some(Steps { regions, residual, column, channel })
    }

    /// Checks the ways, one after the other as `turn` counts.
    pub fn check(
        &self,
        isa: Isa,
        turn: usize,
        operands: &[Option<Operand<'_>>],
        place: &dyn Fn() -> String,
    ) -> TestCaseResult {
        let (way, region, expected) = &self.regions[turn % WAYS.len()];
        let Some(kernel) = (TileRegions { isa }).prepare(region) else { return fail(place()) };
        let mut inputs: Vec<Option<Operand<'_>>> = operands.repeat(region.products.len());
        inputs.extend([&self.residual, &self.column, &self.channel].map(|t| Some(Operand::from(t.view()))));
        let mut outputs = garbage_like(expected);
        let mut targets: Vec<_> = outputs.iter_mut().map(Tensor::view_mut).collect();
        if let Err(error) = evaluate_products(isa, region, kernel.as_ref(), &inputs, &mut targets) {
            return fail(format!("{error}, {way:?} of {}", place()));
        }
        for (index, (got, want)) in outputs.iter().zip(expected).enumerate() {
            compare(got, want, || format!("result {index}, {way:?} of {}", place()))?;
        }
        Ok(())
    }
}

/// `sigmoid(p0) * column + residual`, with the last product in the place of the residual where there are two; whether it is
/// greater than the column. Or what the way says.
fn region(way: Way, products: Vec<Product>) -> Region {
    let count = products.len() as u16;
    let (residual, column, channel, next) = (count, count + 1, count + 2, count + 3);
    let step = |name: &str, args: [u16; 2], dtype: DType| {
        let def = ops::by_name(name).expect("an operator");
        let attrs = def.check_attrs(&Attrs::new()).expect("attributes");
        let args = if matches!(name, "Sigmoid" | "Relu") { args[..1].to_vec() } else { args.to_vec() };
        Instruction { op: def.id, version: def.version, attrs, args, dtype }
    };
    let params = vec![F32; usize::from(count) + 3];
    let own = count - 1;
    let simple = match way {
        Way::Added => vec![step("Add", [own, residual], F32)],
        Way::AddedTwo => vec![step("Add", [0, own], F32)],
        Way::Relu => vec![step("Relu", [own; 2], F32)],
        Way::AddedColumn => vec![step("Add", [own, column], F32)],
        Way::AddedChannel => vec![step("Add", [own, channel], F32), step("Relu", [next; 2], F32)],
        Way::AddedRelu => vec![step("Add", [residual, own], F32), step("Relu", [next; 2], F32)],
        Way::One | Way::Two | Way::Compared => vec![],
    };
    if let Some(steps) = simple.len().checked_sub(1) {
        return Region { products, params, instructions: simple, results: vec![next + steps as u16] };
    }
    let added = if way == Way::Two { count - 1 } else { residual };
    let instructions = vec![
        step("Sigmoid", [0, 0], F32),
        step("Mul", [next, column], F32),
        step("Add", [next + 1, added], F32),
        step("Greater", [next + 2, column], DType::Bool),
    ];
    let (value, truth) = (next + 2, next + 3);
    let results = if way == Way::Compared { vec![truth, value] } else { vec![value, truth] };
    Region { products, params, instructions, results }
}
