//! The worked examples of SPEC.md are computed and compared with its text.
//!
//! `REPOPS_BLESS=1 cargo test -p repops-conformance --test spec` writes them anew.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use repops::attrs::Attrs;
use repops::digest::{bytes_digest, leaf_hash, merkle_root, tensor_digest};
use repops::exec::{Executor, HashLevel, Unobserved};
use repops::ops::{self, EvalCtx, SymType};
use repops::packed::{Strings, Value};
use repops::program::{
    Block, ConstantBytes, ConstantDecl, Header, Origin, Output, Program, ProgramParts, SPEC_VERSION, SlotId,
    Source, Step, ValueId,
};
use repops::reduce::{contract, row_sum};
use repops::reference::Reference;
use repops::{DType, DimExpr, Layout, Tensor};
use repops_provenance::receipt::TraceClaim;
use repops_provenance::{Claim, Info, Key};

type Example = (&'static str, fn() -> String);

const EXAMPLES: &[Example] = &[
    ("packed", packed),
    ("conversions", conversions),
    ("functions", functions),
    ("contraction", contraction),
    ("row-sum", row_sums),
    ("tensor-digest", tensor_digests),
    ("program", program),
    ("trace", trace),
    ("receipt", receipt),
];

#[test]
fn examples_are_what_the_text_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../SPEC.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut written = String::new();
    let mut seen = Vec::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("```example ") {
        let (before, block) = rest.split_at(at);
        let name_end = block.find('\n').unwrap();
        let name = &block["```example ".len()..name_end];
        let end = block[name_end..].find("\n```").unwrap() + name_end + 1;
        let (_, compute) = EXAMPLES.iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("{name}"));
        write!(written, "{before}```example {name}\n{}```", compute()).unwrap();
        seen.push(name.to_string());
        rest = &block[end + 3..];
    }
    written.push_str(rest);
    let names: Vec<&str> = EXAMPLES.iter().map(|(n, _)| *n).collect();
    assert_eq!(seen, names, "every example stands in the text once, in this order");
    if std::env::var_os("REPOPS_BLESS").is_some() {
        std::fs::write(&path, &written).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    for (number, (found, computed)) in text.lines().zip(written.lines()).enumerate() {
        assert_eq!(found, computed, "SPEC.md, line {}", number + 1);
    }
    assert_eq!(text.len(), written.len());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn bits(values: &[f32]) -> String {
    values.iter().map(|v| format!("{:08x}", v.to_bits())).collect::<Vec<_>>().join(" ")
}

/// An operator's reference evaluation on row-major inputs.
fn eval(name: &str, attrs: Attrs, inputs: &[&Tensor]) -> Tensor {
    let def = ops::by_name(name).unwrap();
    let attrs = def.check_attrs(&attrs).unwrap();
    let inputs: Vec<_> = inputs.iter().map(|t| Some(t.view())).collect();
    ops::infer_known(def, &attrs, &inputs, 1).unwrap();
    (def.eval)(&EvalCtx { attrs: &attrs, inputs: &inputs, outputs: 1 }).unwrap().swap_remove(0)
}

fn conversions() -> String {
    let mut out = String::new();
    let cases = [
        (DType::I32, vec![2.9f32, -2.9, 3e9, -3e9, f32::NAN, f32::NEG_INFINITY]),
        (DType::U8, vec![255.9, 256.0, -1.0, 0.5]),
        (DType::F16, vec![1.0, 65519.0, 65520.0, f32::from_bits(0x3300_0000), f32::from_bits(0x3300_0001)]),
        (DType::BF16, vec![f32::from_bits(0x3f80_8000), f32::from_bits(0x3f81_8000), f32::MAX]),
        (DType::F8E4M3FN, vec![448.0, 464.1, 0.0009765625, -0.0, f32::NAN]),
        (DType::F8E5M2, vec![1.125, 61439.0, f32::NEG_INFINITY]),
        (DType::F8E8M0, vec![1.0, 1.25, 0.0, -1.0]),
        (DType::I4, vec![-8.0, 7.9, 8.0, f32::NAN]),
        (DType::Bool, vec![0.0, -0.0, f32::from_bits(1), f32::NAN]),
    ];
    for (to, values) in cases {
        let from = Tensor::from_slice(&[values.len()], &values);
        let cast = eval("Cast", Attrs::new().with_int("to", to.code() as i64), &[&from]);
        let big_endian = |element: &[u8]| hex(&element.iter().rev().copied().collect::<Vec<_>>());
        let results: Vec<String> = cast.bytes().chunks(to.size()).map(big_endian).collect();
        writeln!(out, "f32 {} -> {to} {}", bits(&values), results.join(" ")).unwrap();
    }
    out
}

fn packed() -> String {
    let strings = Value::Strings(Strings::new(&[2], ["a", ""])).into_tensor();
    let one = Value::Tensor(Tensor::from_slice(&[1], &[1.0f32]));
    let sequence = Value::Sequence(vec![one]).into_tensor();
    let mut out = String::new();
    for (what, value) in
        [("[\"a\", \"\"], strings of shape [2]", strings), ("the sequence of f32[1] 3f800000", sequence)]
    {
        let digest = tensor_digest(value.view());
        writeln!(out, "{what}\n  bytes   {}\n  digest  {digest}", hex(value.bytes())).unwrap();
    }
    out
}

fn functions() -> String {
    let mut out = String::new();
    let x = [0.5f32, -1.0, 3.0, f32::from_bits(1), -0.0, 100.0];
    writeln!(out, "x        {}", bits(&x)).unwrap();
    for name in ["Exp", "Log", "Sin", "Cos", "Tanh", "Erf", "Sigmoid"] {
        let y = eval(name, Attrs::new(), &[&Tensor::from_slice(&[x.len()], &x)]);
        writeln!(out, "{name:<8} {}", bits(y.as_slice())).unwrap();
    }
    out
}

fn contraction() -> String {
    let a = |p: usize| (p as f32 + 1.0) * 0.125;
    let b = |p: usize| 1.0 / (p as f32 + 3.0);
    let mut out = String::from("a[p] = (p + 1) * 0.125, b[p] = 1 / (p + 3), rounded to f32\n");
    for n in [1, 2, 256, 257, 512, 513, 1000] {
        let sum = contract(n, |p| Some((a(p), b(p))));
        writeln!(out, "n = {n:<4} {:08x}", sum.to_bits()).unwrap();
    }
    let skipped = contract(513, |p| (p % 3 != 1).then(|| (a(p), b(p))));
    writeln!(out, "n = 513, positions with p mod 3 = 1 skipped: {:08x}", skipped.to_bits()).unwrap();
    out
}

fn row_sums() -> String {
    let x = |i: usize| 1.0 / (i as f32 + 3.0);
    let mut out = String::from("x[i] = 1 / (i + 3), rounded to f32\n");
    for n in [0, 1, 63, 64, 65, 4096, 4097, 10000] {
        writeln!(out, "n = {n:<5} {:08x}", row_sum(n, x).to_bits()).unwrap();
    }
    out
}

fn tensor_digests() -> String {
    let mut out = String::new();
    let small = Tensor::from_slice(&[2, 3], &[1.0f32, -0.0, 0.5, 2.0, f32::from_bits(1), f32::INFINITY]);
    writeln!(out, "f32[2, 3] bytes {}", hex(small.bytes())).unwrap();
    writeln!(out, "  leaf    {}", leaf_hash(small.bytes())).unwrap();
    writeln!(out, "  digest  {}", tensor_digest(small.view())).unwrap();
    let bytes: Vec<u8> = (0..2500u32).map(|i| (i * 7 + i / 256) as u8).collect();
    let leaves: Vec<_> = bytes.chunks(1024).map(leaf_hash).collect();
    let shortened: Vec<String> = leaves.iter().map(|l| format!("{}..", hex(&l.0[..8]))).collect();
    writeln!(out, "u8[2500], element i = low byte of 7 i + floor(i / 256)").unwrap();
    writeln!(out, "  leaves  {}", shortened.join(" ")).unwrap();
    writeln!(out, "  root    {}", merkle_root(&leaves)).unwrap();
    writeln!(out, "  digest  {}", bytes_digest(DType::U8, Layout::RowMajor, &[2500], &bytes)).unwrap();
    let empty = Tensor::zeros(DType::I64, &[0, 4]).unwrap();
    writeln!(out, "i64[0, 4]").unwrap();
    writeln!(out, "  digest  {}", tensor_digest(empty.view())).unwrap();
    out
}

/// Y = Relu(X W): X is f32[N, 2], W a constant.
fn example_program() -> Program {
    let w = Tensor::from_slice(&[2, 2], &[1.0f32, -2.0, 3.0, 0.5]);
    let ty = SymType::new(DType::F32, vec![DimExpr::sym("N"), 2i64.into()]);
    let step = |name: &str, inputs: &[u32], slot: Option<u32>| {
        let def = ops::by_name(name).unwrap();
        Step {
            op: def.id,
            version: def.version,
            attrs: def.check_attrs(&Attrs::new()).unwrap(),
            inputs: inputs.iter().map(|&v| Some(ValueId(v))).collect(),
            outputs: vec![Output { ty: Some(ty.clone()), slot: slot.map(SlotId) }],
            region: None,
            blocks: vec![],
            origins: vec![Origin {
                name: format!("/{name}"),
                op_type: name.to_string(),
                domain: String::new(),
                opset: 17,
            }],
        }
    };
    let bytes = w.bytes().to_vec();
    Program::new(ProgramParts {
        header: Header {
            spec: SPEC_VERSION,
            compiler: "by hand".to_string(),
            sources: vec![Source { name: "m.onnx".to_string(), digest: repops::digest::sha256(&[b"m"]) }],
            inputs: vec!["X".to_string()],
            outputs: vec!["Y".to_string()],
        },
        constants: vec![ConstantDecl {
            name: "W".to_string(),
            dtype: DType::F32,
            shape: vec![2, 2],
            layout: Layout::RowMajor,
            digest: tensor_digest(w.view()),
        }],
        data: vec![ConstantBytes { len: bytes.len(), backing: Arc::new(bytes), offset: 0 }],
        blocks: vec![Block {
            params: vec![Some(ty.clone())],
            steps: vec![step("MatMul", &[1, 0], Some(0)), step("Relu", &[2], None)],
            results: vec![ValueId(3)],
        }],
    })
    .unwrap()
}

fn program() -> String {
    let program = example_program();
    let mut file = Vec::new();
    program.write(&mut file).unwrap();
    let mut out = String::from("Y = Relu(MatMul(X, W)), the file\n");
    for line in file.chunks(32) {
        writeln!(out, "  {}", hex(line)).unwrap();
    }
    writeln!(out, "digest {}", program.digest()).unwrap();
    out
}

fn example_run() -> (Program, Tensor, Tensor, repops::trace::Trace) {
    let program = example_program();
    let x = Tensor::from_slice(&[1, 2], &[0.5f32, -1.0]);
    let inputs = [x.clone()];
    let run = Reference.execute(&program, &inputs, HashLevel::Operators, &mut Unobserved).unwrap();
    (program, x, run.result.unwrap().swap_remove(0), run.trace.unwrap())
}

fn trace() -> String {
    let (_, x, y, trace) = example_run();
    let mut out = String::from("the program of section 7 on X = f32[1, 2]\n");
    writeln!(out, "X       {} digest {}", bits(x.as_slice()), tensor_digest(x.view())).unwrap();
    for (index, record) in trace.records.iter().enumerate() {
        writeln!(out, "record {index}").unwrap();
        for line in record.encode().chunks(48) {
            writeln!(out, "  {}", hex(line)).unwrap();
        }
        writeln!(out, "  body   {}", record.body).unwrap();
        writeln!(out, "  step   {}", record.digest()).unwrap();
    }
    writeln!(out, "Y       {} digest {}", bits(y.as_slice()), tensor_digest(y.view())).unwrap();
    writeln!(out, "root    {}", trace.root()).unwrap();
    out
}

fn receipt() -> String {
    let (program, x, y, trace) = example_run();
    let claim = Claim {
        program: program.digest(),
        inputs: [("X".to_string(), tensor_digest(x.view()))].into(),
        outputs: [("Y".to_string(), tensor_digest(y.view()))].into(),
        fault: None,
        trace: Some(TraceClaim { root: trace.root(), steps: trace.records.len() as u64 }),
        nonce: 7,
    };
    let receipt = claim.sign(&Key::from_seed([1; 32]), Info::default());
    assert_eq!(receipt.validate(), Ok(()));
    let mut out = String::from("for that run, nonce 7, secret key 32 bytes 01\n");
    for line in receipt.signed_text().as_bytes().chunks(96) {
        writeln!(out, "  {}", std::str::from_utf8(line).unwrap()).unwrap();
    }
    writeln!(out, "(in one line, without the breaks and leading spaces)").unwrap();
    writeln!(out, "digest    {}", receipt.digest()).unwrap();
    writeln!(out, "signature {}", hex(&receipt.signature)).unwrap();
    out
}
