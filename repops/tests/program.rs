//! Programs: encode, decode, run by the reference, and what is refused.

use std::sync::Arc;

use repops::attrs::Attrs;
use repops::exec::{Executor, HashLevel, Unobserved};
use repops::ops::{self, SymType};
use repops::program::{
    Block, ConstantBytes, ConstantDecl, Header, Origin, Output, Program, ProgramError, ProgramParts,
    SPEC_VERSION, SlotId, Step, ValueId,
};
use repops::reference::Reference;
use repops::{DType, Digest, DimExpr, Layout, Tensor};

fn step(name: &str, inputs: &[u32], ty: SymType, slot: Option<u32>) -> Step {
    let def = ops::by_name(name).unwrap();
    Step {
        op: def.id,
        version: def.version,
        attrs: def.check_attrs(&Attrs::new()).unwrap(),
        inputs: inputs.iter().map(|&v| Some(ValueId(v))).collect(),
        outputs: vec![Output { ty: Some(ty), slot: slot.map(SlotId) }],
        region: None,
        blocks: vec![],
        origins: vec![Origin {
            name: format!("/{name}"),
            op_type: name.into(),
            domain: "".into(),
            opset: 17,
        }],
    }
}

/// Y = (X W) W, both products in slots of their own.
fn parts(slots: [u32; 2]) -> ProgramParts {
    let w = Tensor::from_slice(&[2, 2], &[1.0f32, 2.0, 3.0, 4.0]);
    let ty = SymType::new(DType::F32, vec![DimExpr::sym("N"), 2i64.into()]);
    let decl = ConstantDecl {
        name: "W".into(),
        dtype: DType::F32,
        shape: vec![2, 2],
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
            steps: vec![
                step("MatMul", &[1, 0], ty.clone(), Some(slots[0])),
                step("MatMul", &[2, 0], ty, Some(slots[1])),
            ],
            results: vec![ValueId(3)],
        }],
    }
}

fn file(program: &Program) -> Vec<u8> {
    let mut out = Vec::new();
    program.write(&mut out).unwrap();
    out
}

#[test]
fn a_program_survives_its_file() {
    let program = Program::new(parts([0, 1])).unwrap();
    let bytes = file(&program);
    let again = Program::decode(Arc::new(bytes.clone())).unwrap();
    assert_eq!(again.digest(), program.digest());
    assert_eq!(file(&again), bytes);
    again.check_constants(repops::digest::bytes_digest).unwrap();
    let x = Tensor::from_slice(&[1, 2], &[1.0f32, 1.0]);
    let run = Reference.execute(&again, &[x], HashLevel::Operators, &mut Unobserved).unwrap();
    assert_eq!(run.result.unwrap()[0].as_slice::<f32>(), [22.0, 32.0]);
    assert_eq!(run.trace.unwrap().records.len(), 2);
}

#[test]
fn every_changed_byte_is_refused() {
    let bytes = file(&Program::new(parts([0, 1])).unwrap());
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let constants_start = bytes.len() - 16;
        match Program::decode(Arc::new(changed)) {
            Err(_) => {}
            Ok(program) => {
                assert!(at >= constants_start, "byte {at} of the graph is not bound");
                assert!(matches!(
                    program.check_constants(repops::digest::bytes_digest),
                    Err(ProgramError::ConstantDigest { .. })
                ));
            }
        }
    }
    for len in 0..bytes.len() {
        assert!(Program::decode(Arc::new(bytes[..len].to_vec())).is_err(), "cut at {len}");
    }
}

#[test]
fn a_live_slot_is_not_overwritten() {
    // The second product reads the first one's slot while it writes it.
    assert!(matches!(Program::new(parts([0, 0])), Err(ProgramError::SlotLive { .. })));
}

#[test]
fn values_are_defined_before_use() {
    let mut forward = parts([0, 1]);
    forward.blocks[0].steps[0].inputs[0] = Some(ValueId(3));
    assert!(matches!(Program::new(forward), Err(ProgramError::UndefinedValue { value: 3, .. })));
    let mut digest = parts([0, 1]);
    digest.constants[0].digest = Digest::default();
    let program = Program::new(digest).unwrap();
    assert!(program.check_constants(repops::digest::bytes_digest).is_err());
}

#[test]
fn panels_are_read_by_contractions_alone() {
    let panels = |parts: &mut ProgramParts| {
        let bytes = vec![0u8; 2 * 16 * 4];
        parts.constants[0].layout = Layout::Panel16;
        parts.constants[0].digest =
            repops::digest::bytes_digest(DType::F32, Layout::Panel16, &[2, 2], &bytes);
        parts.data = vec![ConstantBytes { len: bytes.len(), backing: Arc::new(bytes), offset: 0 }];
    };
    let mut right = parts([0, 1]);
    panels(&mut right);
    Program::new(right).unwrap();
    let mut left = parts([0, 1]);
    panels(&mut left);
    left.blocks[0].steps[1].inputs.swap(0, 1);
    assert!(matches!(Program::new(left), Err(ProgramError::Operator { op: "MatMul", .. })));
    let mut viewed = parts([0, 1]);
    panels(&mut viewed);
    let ty = SymType::new(DType::F32, vec![2i64.into(), 2i64.into()]);
    viewed.blocks[0].steps[1] = step("Identity", &[0], ty, None);
    assert!(matches!(Program::new(viewed), Err(ProgramError::Operator { op: "Identity", .. })));
    let mut result = parts([0, 1]);
    panels(&mut result);
    result.blocks[0].results = vec![ValueId(0)];
    assert!(Program::new(result).is_err());
    // Blocks of filters are another layout.
    let mut filters = parts([0, 1]);
    panels(&mut filters);
    filters.constants[0].layout = Layout::Filters16;
    assert!(matches!(Program::new(filters), Err(ProgramError::Operator { op: "MatMul", .. })));
}
