//! Receipts over a small program: what verifies, and that every change is refuted and named.
#![forbid(unsafe_code)]

use std::sync::Arc;

use repops::attrs::Attrs;
use repops::exec::{HashLevel, Unobserved};
use repops::ops::{self, SymType};
use repops::program::{
    Block, ConstantBytes, ConstantDecl, Header, Origin, Output, Program, ProgramError, ProgramParts,
    SPEC_VERSION, SlotId, Step, ValueId,
};
use repops::reference::Reference;
use repops::{DType, DimExpr, Layout, Tensor};
use repops_provenance::diff::{self, Part};
use repops_provenance::json::Value;
use repops_provenance::opening::{PartOpening, StepOpening};
use repops_provenance::trace_file::{self, TraceReader};
use repops_provenance::verify::{self, Difference, Unverifiable, Verdict, VerifyOptions, verify};
use repops_provenance::{Info, Key, Receipt, ReceiptError};

fn step(name: &str, inputs: &[u32], ty: SymType, slot: u32) -> Step {
    let def = ops::by_name(name).unwrap();
    Step {
        op: def.id,
        version: def.version,
        attrs: def.check_attrs(&Attrs::new()).unwrap(),
        inputs: inputs.iter().map(|&v| Some(ValueId(v))).collect(),
        outputs: vec![Output { ty: Some(ty), slot: Some(SlotId(slot)) }],
        region: None,
        blocks: vec![],
        origins: vec![Origin {
            name: format!("/layer{slot}/{name}"),
            op_type: name.into(),
            domain: String::new(),
            opset: 17,
        }],
    }
}

/// Y = (X W) W with X `[N, 3]`.
fn parts(weights: [f32; 9]) -> ProgramParts {
    let w = Tensor::from_slice(&[3, 3], &weights);
    let ty = SymType::new(DType::F32, vec![DimExpr::sym("N"), 3i64.into()]);
    let decl = ConstantDecl {
        name: "W".into(),
        dtype: DType::F32,
        shape: vec![3, 3],
        layout: Layout::RowMajor,
        digest: repops::digest::tensor_digest(w.view()),
    };
    let bytes = w.bytes().to_vec();
    ProgramParts {
        header: Header {
            spec: SPEC_VERSION,
            compiler: "test".into(),
            sources: vec![],
            inputs: vec!["X".into()],
            outputs: vec!["Y".into()],
        },
        constants: vec![decl],
        data: vec![ConstantBytes { len: bytes.len(), backing: Arc::new(bytes), offset: 0 }],
        blocks: vec![Block {
            params: vec![Some(ty.clone())],
            steps: vec![step("MatMul", &[1, 0], ty.clone(), 0), step("MatMul", &[2, 0], ty, 1)],
            results: vec![ValueId(3)],
        }],
    }
}

const WEIGHTS: [f32; 9] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.5];

fn program() -> Program {
    Program::new(parts(WEIGHTS)).unwrap()
}

fn input() -> Tensor {
    Tensor::from_slice(&[2, 3], &[0.5f32, -1.0, 2.0, 0.1, 0.2, f32::NAN])
}

fn run_of(program: &Program, level: HashLevel) -> verify::Run {
    verify::run(program, &[input()], level, &Reference, repops::digest::bytes_digest, &mut Unobserved)
        .unwrap()
}

fn receipt(level: HashLevel) -> Receipt {
    let info = Info {
        device: Some("reference".into()),
        time: Some("2026-01-01T00:00:00Z".into()),
        ..Info::default()
    };
    run_of(&program(), level).claim.sign(&Key::from_seed([3; 32]), info)
}

fn verdict(receipt: &Receipt, program: &Program, input: Tensor) -> Verdict {
    verify(receipt, program, &[input], &Reference, &VerifyOptions::default(), &mut Unobserved).unwrap()
}

#[test]
fn honest_receipts_verify() {
    for level in [HashLevel::Outputs, HashLevel::Operators] {
        let made = receipt(level);
        assert_eq!(made.claim.trace.is_some(), level == HashLevel::Operators);
        let read = Receipt::parse(made.to_json().as_bytes()).unwrap();
        assert_eq!(read, made);
        assert_eq!(verdict(&read, &program(), input()), Verdict::Verified);
    }
}

#[test]
fn every_kind_of_nan_is_one_input() {
    let mut other = input();
    other.as_mut_slice::<f32>()[5] = f32::from_bits(0xffc0_1234);
    assert_eq!(verdict(&receipt(HashLevel::Operators), &program(), other), Verdict::Verified);
}

#[test]
fn white_space_and_key_order_do_not_matter() {
    let made = receipt(HashLevel::Operators);
    let json: serde_json::Value = serde_json::from_str(&made.to_json()).unwrap();
    let pretty = serde_json::to_string_pretty(&json).unwrap();
    assert_ne!(pretty, made.to_json());
    assert_eq!(Receipt::parse(pretty.as_bytes()).unwrap().validate(), Ok(()));
}

#[test]
fn every_changed_field_is_refuted() {
    let text = receipt(HashLevel::Operators).to_json();
    let Value::Object(object) = Value::parse(text.as_bytes()).unwrap() else { panic!("an object") };
    let mut tried = 0;
    for (field, value) in object.iter().filter(|(field, _)| *field != "info") {
        for changed in variants(value) {
            let mut copy = object.clone();
            copy.insert(field, changed);
            let text = Value::Object(copy).canonical();
            let opened = verify::open(text.as_bytes()).unwrap_or_else(|e| panic!("{field}: {e}: {text}"));
            assert!(matches!(opened, Err(Difference::Receipt(_))), "{field}: {text}");
            tried += 1;
        }
        let mut copy = object.clone();
        copy.remove(field);
        let opened = verify::open(Value::Object(copy).canonical().as_bytes());
        assert!(matches!(opened, Ok(Err(Difference::Receipt(_)))), "without {field}: {opened:?}");
    }
    assert!(tried > 30);
    let mut copy = object.clone();
    copy.insert("note", Value::Null);
    assert!(matches!(
        verify::open(Value::Object(copy).canonical().as_bytes()),
        Ok(Err(Difference::Receipt(ReceiptError::Unknown { .. })))
    ));
}

/// Other values of the same type, and of others.
fn variants(value: &Value) -> Vec<Value> {
    let mut out = vec![Value::Bool(true), Value::Array(vec![])];
    match value {
        Value::Integer(v) => out.extend([Value::Integer(v + 1), Value::Null]),
        Value::String(text) => {
            for at in [0, text.len() / 2, text.len() - 1] {
                let other = if text.as_bytes()[at] == b'0' { "1" } else { "0" };
                let mut changed = text.clone();
                changed.replace_range(at..at + 1, other);
                out.push(Value::String(changed));
            }
            out.extend([Value::string(""), Value::Null, Value::String(text.to_uppercase() + "A")]);
        }
        Value::Object(object) => {
            for (key, inner) in object.iter() {
                for changed in variants(inner) {
                    let mut copy = object.clone();
                    copy.insert(key, changed);
                    out.push(Value::Object(copy));
                }
                let mut copy = object.clone();
                copy.remove(key);
                out.push(Value::Object(copy));
            }
        }
        _ => out.push(Value::Integer(1)),
    }
    out
}

#[test]
fn what_is_no_receipt_refutes_nobody() {
    let text = receipt(HashLevel::Operators).to_json();
    let unreadable: [&[u8]; 6] =
        [b"", b"{", b"{}", b"[]", b"{\"a\": 1.5}", &text.as_bytes()[..text.len() / 2]];
    for text in unreadable {
        assert!(matches!(verify::open(text), Err(Unverifiable::Receipt(_))));
    }
    let large = vec![b' '; repops_provenance::receipt::RECEIPT_BYTES_MAX + 1];
    assert_eq!(Receipt::parse(&large), Err(ReceiptError::TooLarge));
    let twice = text.replacen("\"nonce\":0", "\"nonce\":0,\"nonce\":0", 1);
    assert!(matches!(Receipt::parse(twice.as_bytes()), Err(ReceiptError::Json(m)) if m.contains("twice")));
    // Signed as it is, but of a kind that this version does not know.
    let Value::Object(mut object) = Value::parse(text.as_bytes()).unwrap() else { panic!("an object") };
    object.insert("format", Value::string("repops-receipt/9"));
    object.remove("signature");
    object.remove("info");
    let canonical = Value::Object(object.clone()).canonical();
    let digest = repops::digest::sha256(&[b"repops.receipt.0", canonical.as_bytes()]);
    let signature: String =
        Key::from_seed([3; 32]).sign(&digest).iter().map(|b| format!("{b:02x}")).collect();
    object.insert("signature", Value::String(signature));
    object.insert("info", Value::Object(Default::default()));
    let opened = verify::open(Value::Object(object).canonical().as_bytes());
    assert!(matches!(opened, Err(Unverifiable::Receipt(ReceiptError::Format { .. }))), "{opened:?}");
}

#[test]
fn the_informational_part_is_not_signed() {
    let mut made = receipt(HashLevel::Operators);
    let digest = made.digest();
    made.info = Info { host: Some("elsewhere".into()), ..Info::default() };
    assert_eq!((made.digest(), made.validate()), (digest, Ok(())));
}

/// A claim that its signer did sign, with one thing changed.
fn lie(change: impl Fn(&mut repops_provenance::Claim)) -> Receipt {
    let mut claim = run_of(&program(), HashLevel::Operators).claim;
    change(&mut claim);
    claim.sign(&Key::from_seed([4; 32]), Info::default())
}

#[test]
fn signed_lies_are_refuted_and_named() {
    let zero = repops::Digest::default();
    let cases: Vec<(Receipt, &str)> = vec![
        (lie(|c| c.program = zero), "program: "),
        (lie(|c| *c.inputs.get_mut("X").unwrap() = zero), "inputs.X: "),
        (lie(|c| c.inputs.clear()), "inputs: the receipt claims nothing of \"X\""),
        (lie(|c| c.inputs.extend([("Z".to_string(), zero)])), "inputs: the receipt claims \"Z\""),
        (lie(|c| *c.outputs.get_mut("Y").unwrap() = zero), "outputs.Y: "),
        (lie(|c| c.outputs.clear()), "outputs: the receipt claims nothing of \"Y\""),
        (lie(|c| c.outputs.extend([("Z".to_string(), zero)])), "outputs: the receipt claims \"Z\""),
        (lie(|c| c.trace.as_mut().unwrap().steps += 1), "steps: the receipt claims 3"),
        (lie(|c| c.trace.as_mut().unwrap().root = zero), "trace_root: "),
        (
            lie(|c| {
                c.outputs.clear();
                let fault = ops::Fault::DivisionByZero;
                c.fault = Some(repops_provenance::receipt::FaultClaim { fault, step: 1 });
            }),
            "fault: ",
        ),
    ];
    for (receipt, expected) in cases {
        let receipt = Receipt::parse(receipt.to_json().as_bytes()).unwrap();
        let Verdict::Refuted(difference) = verdict(&receipt, &program(), input()) else {
            panic!("{expected} was verified")
        };
        assert!(difference.to_string().starts_with(expected), "{difference}");
    }
}

#[test]
fn another_program_input_or_signer_is_refuted() {
    let made = receipt(HashLevel::Operators);
    let mut weights = WEIGHTS;
    weights[4] = 5.0000005;
    let other = Program::new(parts(weights)).unwrap();
    assert!(matches!(verdict(&made, &other, input()), Verdict::Refuted(Difference::Program { .. })));
    let zeros = Tensor::zeros(DType::F32, &[2, 3]).unwrap();
    assert!(matches!(verdict(&made, &program(), zeros), Verdict::Refuted(Difference::Input { .. })));
    // The declared digest is the original's, the bytes are not.
    let mut doctored = parts(WEIGHTS);
    doctored.data = parts(weights).data;
    let doctored = Program::new(doctored).unwrap();
    assert_eq!(doctored.digest(), program().digest());
    assert!(matches!(
        verdict(&made, &doctored, input()),
        Verdict::Refuted(Difference::Constant(ProgramError::ConstantDigest { .. }))
    ));
    let wanted = VerifyOptions { signer: Some(Key::from_seed([9; 32]).public()), ..VerifyOptions::default() };
    let found = verify(&made, &program(), &[input()], &Reference, &wanted, &mut Unobserved).unwrap();
    assert!(matches!(found, Verdict::Refuted(Difference::Signer { .. })));
}

#[test]
fn missing_inputs_refute_nobody() {
    let found = verify(
        &receipt(HashLevel::Outputs),
        &program(),
        &[],
        &Reference,
        &VerifyOptions::default(),
        &mut Unobserved,
    );
    assert!(matches!(found, Err(Unverifiable::Execution(_))));
}

#[test]
fn traces_part_at_the_step_with_the_flipped_weight() {
    let mut weights = WEIGHTS;
    weights[4] = f32::from_bits(weights[4].to_bits() ^ (1 << 22));
    let other = Program::new(parts(weights)).unwrap();
    let file = |program: &Program| {
        let mut bytes = Vec::new();
        let trace = run_of(program, HashLevel::Operators).execution.trace.unwrap();
        trace_file::write(&mut bytes, &program.digest(), &trace).unwrap();
        bytes
    };
    let (a, b) = (file(&program()), file(&other));
    let compare = |a: &[u8], b: &[u8]| {
        let (mut a, mut b) = (TraceReader::new(a).unwrap(), TraceReader::new(b).unwrap());
        diff::first_difference(&mut a, &mut b).unwrap()
    };
    assert_eq!(compare(&a, &a), None);
    let found = compare(&a, &b).unwrap();
    assert_eq!(found.index, 0);
    assert_eq!(found.what, [Part::Input(1), Part::Output(0)]);
    let record = found.first.unwrap();
    let step = diff::step_at(&program(), &record.path).unwrap().clone();
    assert_eq!(step.origins[0].name, "/layer0/MatMul");
    let capture = |p: &Program| diff::capture(p, &[input()], 0, &Reference, &mut Unobserved).unwrap();
    let (first, second) = (capture(&program()), capture(&other));
    assert!(first.is_as_recorded(&record) && !second.is_as_recorded(&record));
    let (count, shown) = diff::elements(&first.outputs[0], &second.outputs[0], 8).unwrap();
    // The second row is NaN in both.
    assert_eq!((count, shown.len()), (1, 1));
    assert_eq!(shown[0].at, [0, 1]);
    assert!(diff::capture(&other, &[input()], 2, &Reference, &mut Unobserved).is_err());
}

#[test]
fn steps_and_parts_are_opened() {
    let program = program();
    let trace = run_of(&program, HashLevel::Operators).execution.trace.unwrap();
    for index in 0..2 {
        let opening = StepOpening::prove(&trace, index).unwrap();
        assert_eq!(opening.verify(trace.root()), Ok(()));
        let mut changed = opening;
        changed.record.outputs[0].0[0] ^= 1;
        assert!(changed.verify(trace.root()).is_err());
    }
    assert_eq!(StepOpening::prove(&trace, 2), None);
    let leaves = program.digest_leaves();
    assert_eq!(leaves.iter().map(|leaf| leaf[0]).collect::<Vec<_>>(), [0, 1, 2, 3, 3]);
    for index in 0..leaves.len() {
        let opening = PartOpening::prove(&program, index).unwrap();
        assert_eq!(opening.verify(program.digest()), Ok(()));
        let mut changed = opening;
        changed.part[0] ^= 1;
        assert!(changed.verify(program.digest()).is_err());
    }
}

#[test]
fn key_files_are_private_and_never_replaced() {
    let folder = std::env::temp_dir().join(format!("repops-keys-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("key.pem");
    let _ = std::fs::remove_file(&path);
    let key = Key::generate().unwrap();
    key.create(&path).unwrap();
    assert_eq!(Key::load(&path).unwrap().public(), key.public());
    assert!(matches!(
        Key::generate().unwrap().create(&path),
        Err(repops_provenance::KeyError::Exists { .. })
    ));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
