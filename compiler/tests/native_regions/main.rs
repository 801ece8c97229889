//! Native code, for this machine's CPU and for devices, has the reference's bits: for every element-wise operator of the table, and for
//! regions made of them.

mod device;

use proptest::prelude::*;
use repops::attrs::Attrs;
use repops::ops::{self, OpClass, OpDef};
use repops::reference::evaluate_region;
use repops::region::{Instruction, Region, RegionArg, RegionBackend};
use repops::{DType, Tensor, TensorView};
use repops_compiler::native::regions::NativeRegions;

const TYPES: [DType; 2] = [DType::F32, DType::Bool];

/// Values that meet every exponent, both signs, NaNs, infinities, subnormals and integers.
fn numbers(count: usize, seed: u32) -> Tensor {
    let special = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -0.5,
        2.5,
        -3.5,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MIN_POSITIVE,
        f32::from_bits(1),
        f32::from_bits(0x8000_0001),
        f32::MAX,
        f32::MIN,
        repops::dtype::NAN_F32,
        88.7,
        -104.0,
        8_388_609.0,
    ];
    let value = |i: u32| match (i ^ seed) % 4 {
        0 => special[((i / 4) ^ seed) as usize % special.len()],
        1 => f32::from_bits((i ^ seed).wrapping_mul(0x9E37_79B1)),
        _ => ((i ^ seed).wrapping_mul(0x85EB_CA6B) >> 8) as f32 / (1 << 20) as f32 - 8.0,
    };
    let mut tensor = Tensor::from_slice(&[count], &(0..count as u32).map(value).collect::<Vec<f32>>());
    tensor.canonicalize();
    tensor
}

fn truths(count: usize, seed: u32) -> Tensor {
    let value = |i: u32| (i ^ seed).wrapping_mul(0x9E37_79B1) >> 31 == 1;
    Tensor::from_bools(&[count], &(0..count as u32).map(value).collect::<Vec<bool>>())
}

fn inputs(region: &Region, count: usize, seed: u32) -> Vec<Tensor> {
    let input = |(index, dtype): (u32, &DType)| match dtype {
        DType::Bool => truths(count, seed ^ (index << 8)),
        _ => numbers(count, seed ^ (index << 8)),
    };
    (1..).zip(&region.params).map(input).collect()
}

#[track_caller]
fn check(native: &NativeRegions, region: &Region, count: usize, seed: u32) {
    region.check().unwrap();
    let inputs = inputs(region, count, seed);
    let views: Vec<Option<TensorView<'_>>> = inputs.iter().map(|tensor| Some(tensor.view())).collect();
    let expected = evaluate_region(region, &views).unwrap();
    let kernel = native.prepare(region).unwrap_or_else(|| panic!("not compiled: {region:?}"));
    let args: Vec<RegionArg<'_>> = inputs.iter().map(|tensor| RegionArg::Slice(tensor.bytes())).collect();
    let mut found: Vec<Tensor> =
        expected.iter().map(|tensor| Tensor::zeros(tensor.dtype(), tensor.shape()).unwrap()).collect();
    let mut outputs: Vec<&mut [u8]> = found.iter_mut().map(|tensor| tensor.bytes_mut()).collect();
    kernel.evaluate(count, &args, &mut outputs);
    for (expected, found) in expected.iter().zip(&found) {
        let size = expected.dtype().size();
        let differs = expected.bytes().chunks(size).zip(found.bytes().chunks(size)).position(|(a, b)| a != b);
        if let Some(at) = differs {
            let args: Vec<String> = inputs
                .iter()
                .map(|t| format!("{:x?}", &t.bytes()[at * t.dtype().size()..][..t.dtype().size()]))
                .collect();
            panic!(
                "element {at}: expected {:x?}, found {:x?} for {args:?} in {region:?}",
                &expected.bytes()[at * size..][..size],
                &found.bytes()[at * size..][..size],
            );
        }
    }
    device::check(native, region, &inputs);
    device::check(native, region, &device::broadcast(region, seed));
}

/// The operator with default attributes, and the types it takes in a region; `None` if it joins none.
fn fusable(def: &'static OpDef) -> Option<(Attrs, Vec<DType>, DType)> {
    let OpClass::Elementwise(Some(lane)) = def.class else { return None };
    let given = match def.name {
        "Cast" => Attrs::new().with_int("to", 1),
        _ => Attrs::new(),
    };
    let attrs = def.check_attrs(&given).unwrap_or_else(|error| panic!("{}: {error}", def.name));
    let op = lane(&attrs);
    let mut candidates: Vec<Vec<DType>> = vec![Vec::new()];
    for _ in 0..3 {
        let longer = candidates.iter().flat_map(|args| TYPES.map(|ty| [args.as_slice(), &[ty]].concat()));
        candidates.extend(longer.collect::<Vec<_>>());
        candidates.sort();
        candidates.dedup();
    }
    let args = candidates.into_iter().find(|args| op.signature(args).is_some())?;
    let result = op.signature(&args)?;
    Some((attrs, args, result))
}

#[test]
fn every_operator_alone() {
    let native = NativeRegions::new().unwrap();
    let mut tested = 0;
    for def in ops::all() {
        let Some((attrs, params, dtype)) = fusable(def) else { continue };
        let args = (0..params.len() as u16).collect();
        let result = params.len() as u16;
        let instruction = Instruction { op: def.id, version: def.version, attrs, args, dtype };
        let region =
            Region { products: Vec::new(), params, instructions: vec![instruction], results: vec![result] };
        for (count, seed) in [(20_011, 0), (7, 1), (1, 2)] {
            check(&native, &region, count, seed);
        }
        tested += 1;
    }
    assert!(tested > 40, "only {tested} operators were found");
}

/// A region from a list of choices: each picks an operator, and its arguments among the values of the right types.
fn grown(choices: &[(usize, [usize; 3])]) -> Region {
    let operators: Vec<_> = ops::all().iter().filter_map(|def| Some((*def, fusable(def)?))).collect();
    let params = vec![DType::F32, DType::F32, DType::Bool];
    let mut types = params.clone();
    let mut instructions = Vec::new();
    for (operator, picks) in choices {
        let (def, (attrs, takes, dtype)) = &operators[operator % operators.len()];
        let pick = |(ty, pick): (&DType, &usize)| {
            let fitting: Vec<u16> =
                (0u16..).zip(&types).filter(|(_, other)| *other == ty).map(|(at, _)| at).collect();
            // Later values more often, so that chains grow.
            fitting[fitting.len() - 1 - (pick * pick / 7) % fitting.len()]
        };
        let args = takes.iter().zip(picks).map(pick).collect();
        instructions.push(Instruction {
            op: def.id,
            version: def.version,
            attrs: attrs.clone(),
            args,
            dtype: *dtype,
        });
        types.push(*dtype);
    }
    let last = types.len() as u16 - 1;
    let results = if instructions.len() > 2 { vec![last, last - 1] } else { vec![last] };
    Region { products: Vec::new(), params, instructions, results }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn regions_of_many_operators(
        choices in prop::collection::vec((0usize..1000, [0usize..7, 0usize..7, 0usize..7]), 1..12),
        seed in any::<u32>(),
    ) {
        let native = NativeRegions::new().unwrap();
        check(&native, &grown(&choices), 1_003, seed);
    }
}

#[test]
fn equal_regions_are_compiled_once() {
    let native = NativeRegions::new().unwrap();
    let region = grown(&[(0, [0; 3]), (3, [1; 3])]);
    let (a, b) = (native.prepare(&region).unwrap(), native.prepare(&region).unwrap());
    assert!(std::sync::Arc::ptr_eq(&a, &b));
}

#[test]
fn huge_regions_are_left_to_others() {
    let native = NativeRegions::new().unwrap();
    let mish = ops::by_name("Mish").unwrap();
    let instruction = |at: u16| Instruction {
        op: mish.id,
        version: mish.version,
        attrs: Attrs::new(),
        args: vec![at],
        dtype: DType::F32,
    };
    let chain = |length: u16| Region {
        products: Vec::new(),
        params: vec![DType::F32],
        instructions: (0..length).map(instruction).collect(),
        results: vec![length],
    };
    chain(256).check().unwrap();
    assert!(native.prepare(&chain(256)).is_none());
    assert!(native.prepare(&chain(3)).is_some());
}
