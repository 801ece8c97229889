//! Launches that are no operators: fused regions and hashing.

use std::sync::{Arc, OnceLock};

use repops::attrs::Attrs;
use repops::digest::{LEAF_BYTES, leaf_hash, merkle_root};
use repops::dtype::DType;
use repops::ops::{self, EvalCtx};
use repops::region::{Instruction, Region};
use repops::sequence::Row;
use repops::sequence::trace::{row_digest, step_leaf};
use repops::tensor::{Tensor, TensorView};
use repops_cuda::launch::contract::attention::{
    AttentionShape, Live, Past, append_live, attend, attend_live,
};
use repops_cuda::launch::hash::{Bytes, ROOT_BYTES, roots, roots_over};
use repops_cuda::launch::region;
use repops_cuda::launch::roof;
use repops_cuda::launch::row_hash::{RowHashing, StepRows};
use repops_cuda::{Device, View};
use repops_ptx::Interpreter;
use repops_ptx::suite::Draw;

use super::{Check, What};

pub fn checks(long: bool) -> Vec<Check> {
    let mut out = Vec::new();
    let pieces = [
        vec![(0, 0), (16, 1), (0, 55), (32, 56), (1, 64), (7, 1015), (2, 1024), (3, 1025)],
        // As many leaves as threads, groups and warps take.
        (1..=130).map(|bytes| (bytes % 7, bytes)).collect(),
        [1, 2, 31, 32, 64, 127, 128].iter().map(|leaves| (0, leaves * LEAF_BYTES)).collect(),
        vec![(0, 3 * LEAF_BYTES - 400), (5, 13 * LEAF_BYTES), (0, 130 * LEAF_BYTES + 7)],
        // Five groups of leaves, which a second launch combines.
        vec![(0, 4 * 128 * LEAF_BYTES + 77), (16, 40)],
    ];
    for pieces in pieces {
        let name = format!("roots of {pieces:?}");
        out.push(Check {
            name,
            architecture: 75,
            what: What::Other(Box::new(move |device| hash(device, &pieces))),
        });
    }
    out.push(Check {
        name: "chains of products".to_owned(),
        architecture: 75,
        what: What::Other(Box::new(roof_chains)),
    });
    out.push(Check {
        name: "leaves of rows".to_owned(),
        architecture: 75,
        what: What::Other(Box::new(hash_rows)),
    });
    out.push(fused(
        "region of every kind",
        every_kind(),
        &[&[4, 3, 20], &[3, 1], &[]],
        &[4, 1, 20],
        &[4, 3, 20],
    ));
    out.push(fused(
        "region of six axes",
        every_kind(),
        &[&[2, 1, 3, 1, 2, 1], &[1, 2, 1, 3, 1, 2], &[]],
        &[2, 1, 1, 3, 2, 1],
        &[2, 2, 3, 3, 2, 2],
    ));
    for (at, region) in each_function().into_iter().enumerate().filter(|_| long) {
        out.push(fused_of(
            &format!("region of functions {at}"),
            region,
            vec![super::ways::spread(DType::F32, 12_000, 5)],
            &[12_000],
        ));
    }
    out.push(fused("region of one axis", every_kind(), &[&[300], &[300], &[1]], &[300], &[300]));
    out.extend(attentions(long));
    out.extend(vanishing());
    out
}

/// Sums whose last product is negative and too small for a number: the end of a chunk settles that their zero is +0. As many rows as
/// fill whole steps, so that no product behind it settles the sign before.
fn vanishing() -> impl Iterator<Item = Check> {
    [32, 256, 288].into_iter().map(|all| {
        let shape =
            AttentionShape { heads: 16, kv_heads: 1, d: 1, e: 64, scale: 1.0, softcap: 0.0, window: 0 };
        let last = move |value: f32, width: usize| {
            let values: Vec<f32> =
                (0..all * width).map(|at| if at / width + 1 == all { value } else { 0.0 }).collect();
            Tensor::from_slice(&[all, width], &values)
        };
        let wanted = Attended::new();
        let run = move |device: &Interpreter| {
            wanted.get_or_init(|| {
                let q = Tensor::from_slice(&[all, 16], &vec![1.0f32; all * 16]);
                let inputs = [q, last(-5.0, 1), last(-1e-45, 64)];
                let attrs =
                    Attrs::new().with_int("heads", 16).with_int("kv_heads", 1).with_float("scale", 1.0);
                let def = ops::by_name("SequenceAttention").expect("an operator");
                let attrs = def.check_attrs(&attrs).expect("attributes");
                let wanted = evaluate("SequenceAttention", &attrs, &inputs.each_ref());
                (inputs, wanted)
            });
            attend_on(device, &shape, all - 1, 1, Way::Plain, &wanted)
        };
        let name = format!("attention to {all} rows, values that vanish");
        Check { name, architecture: 75, what: What::Other(Box::new(run)) }
    })
}

/// Rows of a sequence that stand behind others: one at a time, a few, many; keys and values in pages or not.
fn attentions(long: bool) -> impl Iterator<Item = Check> {
    let of = |heads, kv_heads, d, e, window| AttentionShape {
        heads,
        kv_heads,
        d,
        e,
        scale: 0.37,
        softcap: if window > 0 { 2.5 } else { 0.0 },
        window,
    };
    [
        (of(4, 2, 16, 12, 0), 700, 1),
        (of(4, 2, 7, 5, 300), 530, 1),
        (of(2, 1, 12, 20, 0), 1030, 3),
        (of(2, 2, 9, 5, 300), 560, 5),
        (of(1, 1, 8, 68, 0), 0, 140),
        (of(1, 1, 8, 8, 0), 500, 140),
        (of(1, 1, 5, 3, 270), 505, 131),
        (of(16, 2, 16, 64, 0), 0, 1),
        // Queries of several chunks.
        (of(1, 1, 300, 3, 0), 5, 3),
        (of(2, 1, 1040, 3, 0), 5, 1),
    ]
    .into_iter()
    // Parts of as many splits as make trees of every shape.
    .chain([2, 4, 5, 7, 8, 9, 16, 23, 33].map(|chunks| (of(1, 1, 2, 1, 0), chunks * 256 - 3, 1)))
    .chain(
        [64, 96, 127]
            .map(|chunks| (of(1, 1, 2, 1, 0), chunks * 256 - 3, 1))
            .into_iter()
            .filter(move |_| long),
    )
    // Rows of each number of blocks of 4096 that a sum is made of.
    .chain([3, 5].map(|blocks| (of(1, 1, 2, 1, 0), blocks * 4096 - 20, 1)).into_iter().filter(move |_| long))
    .flat_map(|(shape, position, rows): (AttentionShape, usize, usize)| {
        let wanted = Arc::new(OnceLock::new());
        let ways = [Way::Plain, Way::Pages, Way::Live(position.div_ceil(256).next_power_of_two() * 512)];
        ways.into_iter().filter(move |way| rows == 1 || !matches!(way, Way::Live(_))).map(move |way| {
            let name = format!("attention {shape:?} at {position} of {rows} rows, {way:?}");
            let wanted = wanted.clone();
            let run = move |device: &Interpreter| attend_on(device, &shape, position, rows, way, &wanted);
            Check { name, architecture: 75, what: What::Other(Box::new(run)) }
        })
    })
}

/// Where keys and values are.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    Plain,
    Pages,
    /// In pages, with room for so many positions; how many there are stands in the device's memory. The last row is appended.
    Live(usize),
}

/// Queries, keys, values, and what the rows get.
pub type Attended = OnceLock<([Tensor; 3], Tensor)>;

pub fn attend_on(
    device: &Interpreter,
    shape: &AttentionShape,
    position: usize,
    rows: usize,
    way: Way,
    wanted: &Attended,
) -> Result<(), String> {
    const PAGE: usize = 256;
    let told = |error: repops_cuda::Error| error.to_string();
    let AttentionShape { heads, kv_heads, d, e, .. } = *shape;
    let all = position + rows;
    let (inputs, wanted) = wanted.get_or_init(|| {
        let mut draw = Draw::new(71);
        let inputs =
            [heads * d, kv_heads * d, kv_heads * e].map(|columns| draw.finite_tensor(&[all, columns]));
        let attrs = Attrs::new()
            .with_int("heads", heads as i64)
            .with_int("kv_heads", kv_heads as i64)
            .with_int("window", shape.window as i64)
            .with_float("scale", shape.scale)
            .with_float("softcap", shape.softcap);
        let def = ops::by_name("SequenceAttention").expect("an operator");
        let attrs = def.check_attrs(&attrs).expect("attributes");
        let wanted = evaluate("SequenceAttention", &attrs, &inputs.each_ref());
        (inputs, wanted)
    });
    let tail = |tensor: &Tensor, columns: usize| tensor.bytes()[position * columns * 4..].to_vec();
    let put = |bytes: &[u8]| -> Result<_, String> {
        let buffer = device.alloc(bytes.len()).map_err(told)?;
        device.write(&buffer, 0, bytes).map_err(told)?;
        Ok(buffer)
    };
    let q = put(&tail(&inputs[0], heads * d))?;
    let pages: Vec<u32> = (0..all.div_ceil(PAGE) as u32).rev().map(|page| 2 * page + 1).collect();
    // Pages in another order, with room that nothing is written to between them.
    let laid = |tensor: &Tensor, columns: usize| -> Result<_, String> {
        if matches!(way, Way::Plain) {
            return put(tensor.bytes());
        }
        let buffer = device.alloc(2 * pages.len() * PAGE * columns * 4).map_err(told)?;
        let there = if matches!(way, Way::Live(_)) { position } else { all };
        let bytes = &tensor.bytes()[..there * columns * 4];
        for (page, bytes) in pages.iter().zip(bytes.chunks(PAGE * columns * 4)) {
            device.write(&buffer, *page as usize * PAGE * columns * 4, bytes).map_err(told)?;
        }
        Ok(buffer)
    };
    let (keys, values) = (laid(&inputs[1], kv_heads * d)?, laid(&inputs[2], kv_heads * e)?);
    let table = put(&pages.iter().flat_map(|page| page.to_le_bytes()).collect::<Vec<u8>>())?;
    let out = device.alloc(rows * heads * e * 4).map_err(told)?;
    fn view<B>(buffer: &B, dtype: DType) -> View<'_, B> {
        View { buffer, offset: 0, dtype, shape: &[] }
    }
    let past = Past {
        keys: view(&keys, DType::F32),
        values: view(&values, DType::F32),
        pages: (!matches!(way, Way::Plain)).then_some(view(&table, DType::U32)),
    };
    let (q, to) = (view(&q, DType::F32), view(&out, DType::F32));
    if let Way::Live(most) = way {
        let [k, v] = [put(&tail(&inputs[1], kv_heads * d))?, put(&tail(&inputs[2], kv_heads * e))?];
        let count = put(&(all as u32).to_le_bytes())?;
        let live = Live { count: view(&count, DType::U32), most };
        let row = [view(&k, DType::F32), view(&v, DType::F32)];
        append_live(device, shape, row, &past, &live).map_err(told)?;
        attend_live(device, shape, q, &past, &live, to).map_err(told)?;
    } else {
        attend(device, shape, q, position, rows, &past, to).map_err(told)?;
    }
    let mut found = vec![0; rows * heads * e * 4];
    device.read(&out, 0, &mut found).map_err(told)?;
    if found == tail(wanted, heads * e) { Ok(()) } else { Err("what the rows attend to differs".to_owned()) }
}

fn roof_chains(device: &Interpreter) -> Result<(), String> {
    let told = |error: repops_cuda::Error| error.to_string();
    let threads = 2 * roof::THREADS;
    let buffer = device.alloc(4 * threads).map_err(told)?;
    let out = View { buffer: &buffer, offset: 0, dtype: DType::F32, shape: &[threads] };
    // Several rounds, and single ones whose chains keep in the sum what each step rounds away: an addend that is not small
    // beside the product, and a factor whose powers neither vanish nor outgrow it. Together they show each of the 128 steps.
    for (factor, term, rounds) in
        [(0.75f32, 0.1f32, 3), (-1.13, 0.77, 1), (1.37, -0.7, 1), (-1.012_345_7, 7.654_321, 1)]
    {
        roof::fma(device, out, factor, term, rounds).map_err(told)?;
        let mut found = vec![0; 4 * threads];
        device.read(&buffer, 0, &mut found).map_err(told)?;
        for (thread, found) in found.chunks_exact(4).enumerate() {
            let end = |first: usize| {
                (0..16 * rounds).fold((thread % 64 + first) as f32, |chain, _| chain.mul_add(factor, term))
            };
            let wanted = (1..8).fold(end(0), |sum, first| sum + end(first));
            if found != wanted.to_le_bytes() {
                return Err(format!("thread {thread} of {factor}: {found:?}, not {wanted:e}"));
            }
        }
    }
    let odd = View { shape: &[threads - 1], ..out };
    roof::fma(device, odd, 0.75, 0.1, 3).err().map(|_| ()).ok_or("not whole blocks".to_owned())
}

fn hash(device: &Interpreter, pieces: &[(usize, usize)]) -> Result<(), String> {
    let told = |error: repops_cuda::Error| error.to_string();
    let end = pieces.iter().map(|(offset, bytes)| offset + bytes).max().unwrap_or(0);
    let bytes: Vec<u8> = (0..end).map(|i| (i * 7 + i / 251) as u8).collect();
    let buffer = device.alloc(end).map_err(told)?;
    device.write(&buffer, 0, &bytes).map_err(told)?;
    let out = device.alloc(pieces.len() * ROOT_BYTES).map_err(told)?;
    let tensors: Vec<Bytes<'_, _>> =
        pieces.iter().map(|&(offset, len)| Bytes { buffer: &buffer, offset, len }).collect();
    roots(device, &tensors, &out, 0).map_err(told)?;
    for (at, &(offset, len)) in pieces.iter().enumerate() {
        let mut found = [0; ROOT_BYTES];
        device.read(&out, at * ROOT_BYTES, &mut found).map_err(told)?;
        let leaves: Vec<_> = bytes[offset..][..len].chunks(LEAF_BYTES).map(leaf_hash).collect();
        if found != merkle_root(&leaves).0 {
            return Err(format!("the root of {len} bytes from {offset} on differs"));
        }
    }
    Ok(())
}

/// Rows of steps as leaves, and the roots over them: rows of nothing, of parts of a leaf, of many groups; steps of one output
/// and of several, whose messages end everywhere in a block.
fn hash_rows(device: &Interpreter) -> Result<(), String> {
    let told = |error: repops_cuda::Error| error.to_string();
    let row = |dtype, shape: &[usize]| Row { dtype, shape: shape.to_vec() };
    let (f32, byte) = (DType::F32, DType::U8);
    let steps: Vec<(u32, usize, Vec<Row>)> = vec![
        (3, 5, vec![row(f32, &[7])]),
        (0x0102_0304, 2, vec![row(byte, &[1025]), row(byte, &[0]), row(byte, &[])]),
        (7, 1, vec![row(byte, &[3 * 128 * LEAF_BYTES + 5])]),
        (8, 1, vec![row(byte, &[2 * 128 * LEAF_BYTES])]),
        (9, 1, vec![row(f32, &[2, 3, 5, 1, 1, 1]), row(f32, &[256]), row(f32, &[1; 9]), row(byte, &[3, 9])]),
        (10, 0, vec![row(f32, &[3])]),
        (11, 130, vec![row(byte, &[1]), row(f32, &[600])]),
        (12, 3, vec![row(byte, &[64]); 9]),
        // Last leaves that end at every byte of a block, in the first, the second and the third.
        (13, 1, (1..=130).map(|n| row(byte, &[n])).collect()),
    ];
    let mut bytes: Vec<u8> = Vec::new();
    let (mut plan, mut wanted) = (Vec::new(), Vec::new());
    for (number, rows, outputs) in &steps {
        let mut places = Vec::new();
        for output in outputs {
            // Rows of an odd size begin anywhere.
            bytes.resize(bytes.len().next_multiple_of(16), 0);
            places.push((bytes.len(), output));
            bytes.extend((0..rows * output.bytes()).map(|i| (i * 7 + i / 251 + places.len()) as u8));
        }
        let leaf = |at: usize| {
            let of = |(from, row): &(usize, &Row)| {
                row_digest(row, &bytes[from + at * row.bytes()..][..row.bytes()])
            };
            step_leaf(*number, &places.iter().map(of).collect::<Vec<_>>())
        };
        let to = wanted.len();
        wanted.extend((0..*rows).map(leaf));
        plan.push(StepRows { number: *number, rows: *rows, outputs: places, to, stride: 1 });
    }
    // The other way round.
    let last = wanted.len() - 1;
    for step in &mut plan {
        step.to = last - step.to;
        step.stride = usize::MAX;
    }
    wanted.reverse();
    plan.retain(|step| step.rows > 0);
    let base = device.alloc(bytes.len()).map_err(told)?;
    device.write(&base, 0, &bytes).map_err(told)?;
    let out = device.alloc(wanted.len() * ROOT_BYTES).map_err(told)?;
    RowHashing::new(device, &plan).map_err(told)?.launch(device, &base, &out).map_err(told)?;
    let mut found = vec![0; wanted.len() * ROOT_BYTES];
    device.read(&out, 0, &mut found).map_err(told)?;
    let differs = |(found, wanted): (&[u8], &repops::Digest)| found != wanted.0;
    if let Some(at) = found.chunks_exact(ROOT_BYTES).zip(&wanted).position(differs) {
        return Err(format!("leaf {at} differs"));
    }
    let groups = [(0, 1), (1, wanted.len() - 1), (3, 0), (2, 128), (7, 3)];
    let roots = device.alloc(groups.len() * ROOT_BYTES).map_err(told)?;
    roots_over(device, &out, &groups, &roots, 0).map_err(told)?;
    let mut found = vec![0; groups.len() * ROOT_BYTES];
    device.read(&roots, 0, &mut found).map_err(told)?;
    let roots: Vec<_> = groups.iter().map(|&(at, count)| merkle_root(&wanted[at..][..count])).collect();
    if found.chunks_exact(ROOT_BYTES).zip(&roots).any(differs) {
        return Err("a root over leaves differs".to_owned());
    }
    Ok(())
}

pub fn step(name: &str, attrs: Attrs, args: &[u16], dtype: DType) -> Instruction {
    let def = ops::by_name(name).expect("an operator");
    let attrs = def.check_attrs(&attrs).expect("attributes");
    Instruction { op: def.id, version: def.version, attrs, args: args.to_vec(), dtype }
}

/// Regions in which each function has a result of its own.
fn each_function() -> Vec<Region> {
    let none = Attrs::new;
    let all = [
        ("Exp", none()),
        ("Log", none()),
        ("Erf", none()),
        ("Sin", none()),
        ("Cos", none()),
        ("Tan", none()),
        ("Asin", none()),
        ("Acos", none()),
        ("Atan", none()),
        ("Sinh", none()),
        ("Cosh", none()),
        ("Tanh", none()),
        ("Softplus", none()),
        ("Mish", none()),
        ("Gelu", none()),
        ("Gelu", none().with_str("approximate", "tanh")),
        ("Sigmoid", none()),
        ("Elu", none().with_float("alpha", 0.7)),
        ("Selu", none().with_float("alpha", 1.1).with_float("gamma", 1.2)),
        ("Swish", none().with_float("alpha", 1.7)),
        ("Celu", none().with_float("alpha", 1.4)),
        ("Pow", none()),
    ];
    let regions = all.chunks(8).map(|ops| {
        let instructions: Vec<Instruction> = ops
            .iter()
            .map(|(op, attrs)| {
                let args: &[u16] = if *op == "Pow" { &[1, 2] } else { &[0] };
                step(op, attrs.clone(), args, DType::F32)
            })
            .collect();
        // The last one is a power of others' results.
        let results = (1..=instructions.len() as u16).collect();
        Region { products: Vec::new(), params: vec![DType::F32], instructions, results }
    });
    regions.collect()
}

/// Of three numbers and a truth, with every kind of instruction and many functions.
fn every_kind() -> Region {
    use DType::{Bool, F32};
    let none = Attrs::new;
    let cast = |dtype: DType| Attrs::new().with_int("to", i64::from(dtype.code()));
    let mut instructions = vec![
        step("Add", none(), &[0, 1], F32),                             // 4
        step("Sigmoid", none(), &[4], F32),                            // 5
        step("LeakyRelu", none().with_float("alpha", 0.3), &[0], F32), // 6
        step("Pow", none(), &[5, 6], F32),                             // 7
        step("Less", none(), &[7, 2], Bool),                           // 8
        step("IsNaN", none(), &[7], Bool),                             // 9
        step("Or", none(), &[8, 3], Bool),                             // 10
        step("Not", none(), &[9], Bool),                               // 11
        step("Xor", none(), &[10, 11], Bool),                          // 12
        step("Where", none(), &[12, 7, 4], F32),                       // 13
        step("Cast", cast(F32), &[12], F32),                           // 14
        step("Cast", cast(Bool), &[13], Bool),                         // 15
        step("Clip", none(), &[13, 14, 2], F32),                       // 16
        step("Elu", none().with_float("alpha", 0.7), &[16], F32),      // 17
        step("Max", none(), &[17, 6], F32),                            // 18
    ];
    let mut results = vec![18, 15, 12, 7];
    let unary = [
        "Abs",
        "Neg",
        "Sign",
        "Floor",
        "Ceil",
        "Round",
        "Sqrt",
        "Reciprocal",
        "Relu",
        "HardSwish",
        "Softsign",
        "Exp",
        "Log",
        "Erf",
        "Sin",
        "Cos",
        "Tan",
        "Asin",
        "Acos",
        "Atan",
        "Sinh",
        "Cosh",
        "Tanh",
        "Softplus",
        "Mish",
        "Gelu",
    ];
    let with_parameters = [
        ("HardSigmoid", none().with_float("alpha", 0.3).with_float("beta", 0.6)),
        ("Shrink", none().with_float("lambd", 0.4).with_float("bias", 0.1)),
        ("ThresholdedRelu", none().with_float("alpha", 0.7)),
        ("Selu", none().with_float("alpha", 1.1).with_float("gamma", 1.2)),
        ("Swish", none().with_float("alpha", 1.7)),
        ("Celu", none().with_float("alpha", 1.4)),
        ("Gelu", none().with_str("approximate", "tanh")),
        ("Sigmoid", none()),
    ];
    let unary: Vec<(&str, Attrs)> = unary.into_iter().map(|op| (op, none())).chain(with_parameters).collect();
    let mut push = |op: &str, attrs: Attrs, args: &[u16], dtype: DType| {
        instructions.push(step(op, attrs, args, dtype));
        3 + instructions.len() as u16
    };
    // Each result is the sum of a few: a wrong one shows unless it cancels.
    for ops in unary.chunks(9) {
        let mut sum = 1;
        for (op, attrs) in ops {
            let value = push(op, attrs.clone(), &[1], F32);
            // What is no number would hide the others.
            let is_nan = push("IsNaN", none(), &[value], Bool);
            let value = push("Where", none(), &[is_nan, 0, value], F32);
            sum = push("Add", none(), &[sum, value], F32);
        }
        results.push(sum);
    }
    for op in ["Sub", "Mul", "Div", "Min", "PRelu"] {
        let value = push(op, none(), &[0, 2], F32);
        let chosen = push("Greater", none(), &[value, 1], Bool);
        results[0] = push("Where", none(), &[chosen, value, results[0]], F32);
    }
    for op in ["Equal", "LessOrEqual", "GreaterOrEqual"] {
        let value = push(op, none(), &[0, 1], Bool);
        results[2] = push("Xor", none(), &[results[2], value], Bool);
    }
    for (negative, positive) in [(0, 1), (1, 0), (1, 1), (0, 0)] {
        let attrs = none().with_int("detect_negative", negative).with_int("detect_positive", positive);
        let value = push("IsInf", attrs, &[2], Bool);
        results[2] = push("Xor", none(), &[results[2], value], Bool);
    }
    let both = push("And", none(), &[results[2], 3], Bool);
    results[1] = push("Xor", none(), &[results[1], both], Bool);
    Region { products: Vec::new(), params: vec![F32, F32, F32, Bool], instructions, results }
}

fn fused(name: &str, region: Region, numbers: &[&[usize]], truth: &[usize], shape: &[usize]) -> Check {
    let mut draw = Draw::new(70);
    let mut inputs: Vec<Tensor> = numbers.iter().map(|shape| draw.hard_tensor(shape)).collect();
    inputs.push(draw.any_tensor(DType::Bool, truth));
    for input in &mut inputs {
        input.canonicalize();
    }
    fused_of(name, region, inputs, shape)
}

fn fused_of(name: &str, region: Region, inputs: Vec<Tensor>, shape: &[usize]) -> Check {
    let shape = shape.to_vec();
    let wanted = OnceLock::new();
    let run = move |device: &Interpreter| {
        let wanted: &Vec<Tensor> = wanted.get_or_init(|| reference(&region, &inputs, &shape));
        launch(device, &region, &inputs, wanted)
    };
    Check { name: name.to_owned(), architecture: 75, what: What::Other(Box::new(run)) }
}

/// The instructions one after the other, on whole tensors.
pub fn reference(region: &Region, inputs: &[Tensor], shape: &[usize]) -> Vec<Tensor> {
    let extents: Vec<i64> = shape.iter().map(|&extent| extent as i64).collect();
    let extents = Tensor::from_slice(&[shape.len()], &extents);
    let mut values: Vec<Tensor> =
        inputs.iter().map(|input| evaluate("Expand", &Attrs::new(), &[input, &extents])).collect();
    for instruction in &region.instructions {
        let name = ops::by_id(instruction.op, instruction.version).expect("known").name;
        let args: Vec<&Tensor> = instruction.args.iter().map(|&arg| &values[usize::from(arg)]).collect();
        values.push(evaluate(name, &instruction.attrs, &args));
    }
    region.results.iter().map(|&result| values[usize::from(result)].clone()).collect()
}

fn evaluate(name: &str, attrs: &Attrs, args: &[&Tensor]) -> Tensor {
    let def = ops::by_name(name).expect("an operator");
    let views: Vec<Option<TensorView<'_>>> = args.iter().map(|tensor| Some(tensor.view())).collect();
    def.evaluate(&EvalCtx { attrs, inputs: &views, outputs: 1 }).expect("no fault").remove(0)
}

pub fn launch(
    device: &Interpreter,
    region: &Region,
    inputs: &[Tensor],
    wanted: &[Tensor],
) -> Result<(), String> {
    let told = |error: repops_cuda::Error| error.to_string();
    let mut buffers = Vec::new();
    for input in inputs {
        let buffer = device.alloc(input.bytes().len()).map_err(told)?;
        device.write(&buffer, 0, input.bytes()).map_err(told)?;
        buffers.push(buffer);
    }
    let mut outputs = Vec::new();
    for tensor in wanted {
        outputs.push(device.alloc(tensor.bytes().len()).map_err(told)?);
    }
    let prepared =
        region::prepare(device, region, None).map_err(told)?.ok_or("the kernel does not take it")?;
    region::launch_elementwise(device, &prepared, &views_of(inputs, &buffers), &views_of(wanted, &outputs))
        .map_err(told)?;
    for (at, (tensor, buffer)) in wanted.iter().zip(&outputs).enumerate() {
        let mut found = vec![0; tensor.bytes().len()];
        device.read(buffer, 0, &mut found).map_err(told)?;
        if found != tensor.bytes() {
            return Err(format!("result {at} of the region differs"));
        }
    }
    Ok(())
}

fn views_of<'a, B>(tensors: &'a [Tensor], buffers: &'a [B]) -> Vec<View<'a, B>> {
    let of = |(tensor, buffer): (&'a Tensor, &'a B)| View {
        buffer,
        offset: 0,
        dtype: tensor.dtype(),
        shape: tensor.shape(),
    };
    tensors.iter().zip(buffers).map(of).collect()
}
