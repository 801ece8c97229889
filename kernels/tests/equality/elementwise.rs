//! Element-wise operators, alone and in regions.

use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::ops::{self, OpClass};
use repops::reference::evaluate_region;
use repops::region::{Instruction, Region, RegionBackend};
use repops::tensor::Tensor;
use repops_kernels::{Isa, TileRegions, evaluate_broadcast};

use super::{Case, Data, POOLS, Random, compare, random};

/// Shapes that broadcast: long and short runs, every place of the repeated axis.
const SHAPES: &[&[&[usize]]] = &[
    &[&[1300], &[1300], &[1300]],
    &[&[7, 700], &[700], &[1]],
    &[&[2, 30, 40], &[30, 1], &[]],
    &[&[300, 3], &[3], &[300, 1]],
    &[&[5, 1, 9], &[4, 1], &[5, 1, 1]],
    &[&[1], &[2, 3, 100], &[1, 3, 1]],
    &[&[0, 3], &[3], &[1, 1]],
    &[&[], &[], &[]],
    &[&[3, 70000], &[3, 1], &[70000]],
];

fn lane_ops() -> Vec<(&'static str, Vec<DType>, Attrs)> {
    use DType::{Bool, F32};
    let mut list = Vec::new();
    for def in ops::all() {
        let OpClass::Elementwise(Some(lane)) = def.class else { continue };
        let mut attrs = Attrs::new();
        if def.name == "Cast" {
            for (from, to) in [(Bool, F32), (F32, Bool)] {
                list.push((def.name, vec![from], Attrs::new().with_int("to", to.code() as i64)));
            }
            continue;
        }
        for attr in def.attrs {
            if attr.name == "alpha" {
                attrs = attrs.with_float("alpha", 0.37);
            }
        }
        let checked = def.check_attrs(&attrs).unwrap();
        let types: &[&[DType]] =
            &[&[F32], &[F32, F32], &[F32, F32, F32], &[Bool], &[Bool, Bool], &[Bool, F32, F32]];
        let types = types.iter().find(|types| lane(&checked).signature(types).is_some());
        list.push((def.name, types.unwrap_or_else(|| panic!("{}", def.name)).to_vec(), attrs));
    }
    assert!(list.len() > 50, "{}", list.len());
    list
}

#[test]
fn every_lane_operator() {
    for (name, types, attrs) in lane_ops() {
        let mut source = Random(name.len() as u64);
        for shapes in SHAPES {
            let full = shapes.iter().take(types.len());
            let unidirectional = ["PRelu", "Clip"].contains(&name);
            let inputs = types.iter().zip(full).enumerate().map(|(index, (&dtype, shape))| {
                // Limits are single elements; a slope does not widen.
                let shape = if unidirectional && index > 0 { &[] } else { *shape };
                random(dtype, shape, Data::Laden, &mut source)
            });
            Case::new(name, attrs.clone(), inputs.collect()).check();
        }
    }
}

#[test]
fn folds_and_limits() {
    let mut source = Random(3);
    let mut draw = |shape: &[usize]| random(DType::F32, shape, Data::Laden, &mut source);
    for name in ["Max", "Min", "Sum"] {
        for count in [1, 2, 3, 5] {
            let inputs = (0..count).map(|i| draw(if i % 2 == 0 { &[4, 50] } else { &[50] })).collect();
            Case::new(name, Attrs::new(), inputs).check();
        }
    }
    let (x, low, high) = (draw(&[40, 7]), draw(&[]), draw(&[]));
    for limits in
        [[None, None], [Some(low.clone()), None], [None, Some(high.clone())], [Some(low), Some(high)]]
    {
        let mut inputs = vec![Some(x.clone())];
        inputs.extend(limits);
        Case { op: "Clip", attrs: Attrs::new(), inputs, outputs: 1 }.check();
    }
}

/// A random region over these inputs.
fn draw_region(params: &[DType], source: &mut Random) -> Region {
    let operators = lane_ops();
    let mut types = params.to_vec();
    let mut instructions = Vec::new();
    while instructions.len() < 14 {
        let (name, wanted, attrs) = &operators[source.below(operators.len())];
        let args: Option<Vec<u16>> = wanted
            .iter()
            .map(|dtype| {
                let fitting: Vec<u16> =
                    (0..types.len() as u16).filter(|&v| types[v as usize] == *dtype).collect();
                // Later values more often, so that chains get long.
                (!fitting.is_empty())
                    .then(|| fitting[source.below(fitting.len()).max(source.below(fitting.len()))])
            })
            .collect();
        let Some(args) = args else { continue };
        let def = ops::by_name(name).unwrap();
        let attrs = def.check_attrs(attrs).unwrap();
        let OpClass::Elementwise(Some(lane)) = def.class else { unreachable!() };
        let dtype = lane(&attrs).signature(wanted).unwrap();
        types.push(dtype);
        instructions.push(Instruction { op: def.id, version: def.version, attrs, args, dtype });
    }
    let last = types.len() as u16 - 1;
    let mut results = vec![last, last - 3, params.len() as u16 + source.below(14) as u16];
    if source.below(2) == 0 {
        results.dedup();
    }
    Region { params: params.to_vec(), instructions, results }
}

#[test]
fn regions_are_the_operators_one_by_one() {
    let mut source = Random(21);
    for round in 0..40 {
        let params: Vec<DType> =
            (0..1 + source.below(4)).map(|i| if i == 2 { DType::Bool } else { DType::F32 }).collect();
        let region = draw_region(&params, &mut source);
        region.check().unwrap();
        let shapes = SHAPES[round % SHAPES.len()];
        let mut inputs: Vec<Tensor> = Vec::new();
        for (index, &dtype) in params.iter().enumerate() {
            inputs.push(random(dtype, shapes[index % shapes.len()], Data::Laden, &mut source));
        }
        let views: Vec<_> = inputs.iter().map(Tensor::view).collect();
        let optional: Vec<_> = views.iter().map(|v| Some(*v)).collect();
        let wanted = evaluate_region(&region, &optional).unwrap();
        for isa in Isa::available() {
            let kernel = TileRegions { isa }.prepare(&region).unwrap();
            for pool in POOLS.iter() {
                let mut outputs = wanted.clone();
                outputs.iter_mut().for_each(|o| o.bytes_mut().fill(0xa5));
                let full = wanted[0].shape();
                let mut targets: Vec<_> = outputs.iter_mut().map(Tensor::view_mut).collect();
                pool.install(|| evaluate_broadcast(kernel.as_ref(), full, &views, &mut targets));
                for (got, want) in outputs.iter().zip(&wanted) {
                    compare(got, want, &format!("region {round} with {}", isa.name()));
                }
            }
        }
    }
}
