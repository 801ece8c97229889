//! Element-wise operators, alone and in regions.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::TestCaseResult;
use repops::attrs::{AttrKind, Attrs};
use repops::dtype::DType::{self, Bool, F32};
use repops::ops::{self, OpClass, OpDef};
use repops::reference::evaluate_region;
use repops::region::{Instruction, Region, RegionBackend};
use repops::tensor::Tensor;
use repops_kernels::{Isa, TileRegions, evaluate_broadcast};

use super::draw::{Data, Fill, cases, fill_any, shrink_to};
use super::{Case, POOLS, compare, garbage_like};

/// What the inputs of an operator can be.
const SIGNATURES: &[&[DType]] =
    &[&[F32], &[F32, F32], &[F32, F32, F32], &[Bool], &[Bool, Bool], &[Bool, F32, F32]];

/// Every operator that can join a region; Cast twice, for its two directions.
fn lane_defs() -> Vec<(&'static OpDef, Option<DType>)> {
    let mut list = Vec::new();
    for &def in ops::all() {
        match def.class {
            OpClass::Elementwise(Some(_)) if def.name == "Cast" => {
                list.extend([(def, Some(F32)), (def, Some(Bool))]);
            }
            OpClass::Elementwise(Some(_)) => list.push((def, None)),
            _ => {}
        }
    }
    assert!(list.len() > 50, "{}", list.len());
    list
}

/// An operator with attributes, and the types of its inputs.
#[derive(Clone, Debug)]
struct Operator {
    name: &'static str,
    attrs: Attrs,
    types: Vec<DType>,
}

impl Operator {
    fn strategy() -> impl Strategy<Value = Operator> {
        (any::<Index>(), any::<[u8; 3]>()).prop_map(|(which, choices)| {
            let (def, to) = *which.get(&lane_defs());
            Operator::new(def, to, &choices)
        })
    }

    /// `choices` pick the attributes' values.
    fn new(def: &'static OpDef, to: Option<DType>, choices: &[u8]) -> Operator {
        let mut attrs = Attrs::new();
        if let Some(to) = to {
            attrs = attrs.with_int("to", i64::from(to.code()));
        }
        let declared = def.attrs.iter().filter(|attr| def.name != "Cast" || attr.name != "to");
        for (attr, choice) in declared.zip(choices.iter().cycle()) {
            attrs = match (attr.kind, attr.name) {
                (AttrKind::Float, name) => {
                    attrs.with_float(name, pick(choice, [0.37f32, 1.0, 0.0, -1.5, 3.0, 1e-20, 1e20]))
                }
                (AttrKind::Int, name @ ("detect_negative" | "detect_positive")) => {
                    attrs.with_int(name, pick(choice, [1i64, 0]))
                }
                (AttrKind::Str, "approximate") => {
                    attrs.with_str("approximate", pick(choice, ["none", "tanh"]))
                }
                _ => attrs,
            };
        }
        let types = SIGNATURES.iter().find(|types| result_type(def, &attrs, types).is_some());
        let alone = if to == Some(F32) { [Bool] } else { [F32] };
        let types = types.map_or(&alone[..], |types| types);
        Operator { name: def.name, attrs, types: types.to_vec() }
    }
}

fn pick<T: Copy, const N: usize>(choice: &u8, from: [T; N]) -> T {
    from[usize::from(*choice) % N]
}

/// The result's type, where the operator joins regions with these attributes and takes these types.
fn result_type(def: &OpDef, attrs: &Attrs, types: &[DType]) -> Option<DType> {
    let OpClass::Elementwise(Some(lane)) = def.class else { return None };
    lane(&def.check_attrs(attrs).ok()?).signature(types)
}

/// The shapes of operands that broadcast with one another.
fn broadcast_shapes(count: usize) -> impl Strategy<Value = Vec<Vec<usize>>> {
    let axis = prop_oneof![
        12 => 1..=9usize,
        4 => 10..=70usize,
        3 => 500..=1300usize,
        1 => Just(70_000usize),
        1 => Just(0usize),
    ];
    let axes = prop::collection::vec((axis, any::<u8>()), 0..=5);
    (axes, prop::collection::vec(0..=3usize, count)).prop_map(move |(axes, dropped)| {
        let mut full: Vec<usize> = axes.iter().map(|(extent, _)| *extent).collect();
        shrink_to(&mut full, 80_000);
        let own = |operand: usize| {
            // Bits 0 .. count: whether the operand has 1 here; more often than not it has the extent.
            let is_one = |bits: u8| bits >> operand & 1 == 1 && bits & 0x40 != 0;
            let shape =
                axes.iter().zip(&full).map(|((_, bits), &extent)| if is_one(*bits) { 1 } else { extent });
            let skip = if dropped[operand] == 3 { dropped.len() } else { 0 };
            shape.skip(skip).collect()
        };
        (0..count).map(own).collect()
    })
}

/// Every place of the repeated axis; long and short runs; nothing.
const SHAPES: &[&[&[usize]]] = &[
    &[&[1300], &[1300], &[1300]],
    &[&[7, 700], &[700], &[1]],
    &[&[2, 30, 40], &[30, 1], &[]],
    &[&[300, 3], &[3], &[300, 1]],
    &[&[5, 1, 9], &[4, 1], &[5, 1, 1]],
    &[&[1], &[2, 3, 100], &[1, 3, 1]],
    &[&[0, 3], &[3], &[1, 1]],
    &[&[], &[], &[]],
    &[&[3, 70_000], &[3, 1], &[70_000]],
];

fn check_operator(operator: &Operator, shapes: &[Vec<usize>], fill: Fill) -> TestCaseResult {
    let mut source = fill.source();
    let unidirectional = ["PRelu", "Clip"].contains(&operator.name);
    let inputs = operator.types.iter().zip(shapes).enumerate().map(|(index, (&dtype, shape))| {
        // Limits are single elements; a slope does not widen.
        let shape = if unidirectional && index > 0 { &[][..] } else { shape };
        source.tensor(dtype, shape)
    });
    Case::new(operator.name, operator.attrs.clone(), inputs.collect()).check()
}

/// An instruction to be: an operator, and which of the fitting values before it are its arguments.
type Draft = (Operator, [Index; 3]);

/// A region of these instructions, but for those for whose arguments there is nothing; none of nothing.
fn region(params: &[DType], drafts: &[Draft], results: &[Index]) -> Option<Region> {
    let mut types = params.to_vec();
    let mut instructions = Vec::new();
    for (operator, choices) in drafts {
        let def = ops::by_name(operator.name)?;
        let Some(dtype) = result_type(def, &operator.attrs, &operator.types) else { continue };
        let argument = |(wanted, choice): (&DType, &Index)| {
            let fitting: Vec<u16> =
                (0..types.len() as u16).filter(|&v| types[v as usize] == *wanted).collect();
            // The latest ones, so that chains get long.
            let latest = &fitting[fitting.len().saturating_sub(4)..];
            (!latest.is_empty()).then(|| *choice.get(latest))
        };
        let Some(args) = operator.types.iter().zip(choices).map(argument).collect::<Option<Vec<u16>>>()
        else {
            continue;
        };
        types.push(dtype);
        let attrs = def.check_attrs(&operator.attrs).unwrap();
        instructions.push(Instruction { op: def.id, version: def.version, attrs, args, dtype });
    }
    if instructions.is_empty() {
        return None;
    }
    let pick = |index: &Index| (params.len() + index.index(instructions.len())) as u16;
    let mut results: Vec<u16> = results.iter().map(pick).collect();
    results.push(types.len() as u16 - 1);
    Some(Region { products: Vec::new(), params: params.to_vec(), instructions, results })
}

proptest! {
    #![proptest_config(cases(250))]

    #[test]
    fn operators(operator in Operator::strategy(), shapes in broadcast_shapes(3), fill in fill_any()) {
        check_operator(&operator, &shapes, fill)?;
    }

    #[test]
    fn folds(
        name in select(&["Max", "Min", "Sum"][..]),
        (count, shapes) in (1..=6usize, broadcast_shapes(6)),
        fill in fill_any(),
    ) {
        let mut source = fill.source();
        let inputs = shapes.iter().take(count).map(|shape| source.tensor(F32, shape));
        Case::new(name, Attrs::new(), inputs.collect()).check()?;
    }

    #[test]
    fn limits(has in any::<[bool; 2]>(), shape in broadcast_shapes(1), fill in fill_any()) {
        let mut source = fill.source();
        let mut inputs = vec![Some(source.tensor(F32, &shape[0]))];
        inputs.extend(has.map(|has| has.then(|| source.tensor(F32, &[]))));
        Case { op: "Clip", attrs: Attrs::new(), inputs, outputs: 1 }.check()?;
    }

    #[test]
    fn regions_are_the_operators_one_by_one(
        params in prop::collection::vec(select(&[F32, F32, F32, Bool][..]), 1..=4),
        drafts in prop::collection::vec((Operator::strategy(), any::<[Index; 3]>()), 1..=20),
        results in prop::collection::vec(any::<Index>(), 0..=2),
        shapes in broadcast_shapes(4),
        fill in fill_any(),
    ) {
        let Some(region) = region(&params, &drafts, &results) else { return Ok(()) };
        check_region(&region, &shapes, fill)?;
    }
}

fn check_region(region: &Region, shapes: &[Vec<usize>], fill: Fill) -> TestCaseResult {
    region.check().unwrap();
    let mut source = fill.source();
    let inputs: Vec<Tensor> =
        region.params.iter().zip(shapes).map(|(&dtype, shape)| source.tensor(dtype, shape)).collect();
    let views: Vec<_> = inputs.iter().map(Tensor::view).collect();
    let optional: Vec<_> = views.iter().map(|v| Some(*v)).collect();
    let wanted = evaluate_region(region, &optional).unwrap();
    for isa in Isa::available() {
        let kernel = TileRegions { isa }.prepare(region).unwrap();
        for pool in POOLS.iter() {
            let mut outputs = garbage_like(&wanted);
            let full = wanted[0].shape();
            let mut targets: Vec<_> = outputs.iter_mut().map(Tensor::view_mut).collect();
            pool.install(|| evaluate_broadcast(kernel.as_ref(), full, &views, &mut targets));
            for (index, (got, want)) in outputs.iter().zip(&wanted).enumerate() {
                let threads = pool.current_num_threads();
                compare(got, want, || format!("result {index} with {} on {threads} threads", isa.name()))?;
            }
        }
    }
    Ok(())
}

/// Each operator over each kind of broadcasting: what a draw may leave out.
#[test]
fn every_operator() -> TestCaseResult {
    for (at, (def, to)) in lane_defs().into_iter().enumerate() {
        let operator = Operator::new(def, to, &[0; 3]);
        for (index, shapes) in SHAPES.iter().enumerate() {
            let shapes: Vec<Vec<usize>> = shapes.iter().map(|shape| shape.to_vec()).collect();
            let data = if index % 2 == 0 { Data::Bits } else { Data::Laden };
            check_operator(&operator, &shapes, Fill::new(data, (at * SHAPES.len() + index) as u64))?;
        }
    }
    Ok(())
}
