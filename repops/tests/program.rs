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
use repops::region::{Instruction, Product, Region};
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

/// Y = Relu(X W + Z) with Z = X W: the second product within a step, and not stored.
fn with_product() -> ProgramParts {
    let mut parts = parts([0, 1]);
    let (matmul, add, relu) = ("MatMul", "Add", "Relu");
    let row = |name: &str| ops::by_name(name).unwrap();
    let instruction = |name: &str, args: &[u16]| {
        let (op, version, attrs, args) = (row(name).id, row(name).version, Attrs::new(), args.to_vec());
        Instruction { op, version, attrs, args, dtype: DType::F32 }
    };
    let last = &mut parts.blocks[0].steps[1];
    let ty = last.outputs[0].ty.clone().unwrap();
    *last = step("ProductRegion", &[1, 0, 2], ty, Some(1));
    let (op, version, attrs) = (row(matmul).id, row(matmul).version, Attrs::new());
    last.region = Some(Region {
        products: vec![Product { op, version, attrs, inputs: 2 }],
        params: vec![DType::F32; 2],
        instructions: vec![instruction(add, &[0, 1]), instruction(relu, &[2])],
        results: vec![3],
    });
    parts
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
fn a_product_within_a_step_is_computed_and_not_recorded() {
    let bytes = file(&Program::new(with_product()).unwrap());
    let program = Program::decode(Arc::new(bytes.clone())).unwrap();
    assert_eq!(file(&program), bytes);
    let x = Tensor::from_slice(&[1, 2], &[1.0f32, -1.0]);
    let run = Reference.execute(&program, &[x], HashLevel::Operators, &mut Unobserved).unwrap();
    assert_eq!(run.result.unwrap()[0].as_slice::<f32>(), [0.0, 0.0]);
    let records = run.trace.unwrap().records;
    assert_eq!((records.len(), records[1].inputs.len(), records[1].outputs.len()), (2, 3, 1));
    // What the body says is bound by the record.
    let mut other = with_product();
    other.blocks[0].steps[1].region.as_mut().unwrap().products[0].inputs = 2;
    let digest = |parts: &ProgramParts| parts.blocks[0].steps[1].body_digest();
    assert_eq!(digest(&other), records[1].body);
    other.blocks[0].steps[1].region.as_mut().unwrap().products[0].version = 2;
    assert_ne!(digest(&other), records[1].body);
}

#[test]
fn bodies_with_products_are_checked() {
    type Change = fn(&mut Step);
    fn region(step: &mut Step) -> &mut Region {
        step.region.as_mut().unwrap()
    }
    let changes: [(&str, Change); 12] = [
        ("no products", |s| region(s).products.clear()),
        ("a Region with them", |s| s.op = ops::REGION),
        ("no body", |s| s.region = None),
        ("one more input", |s| s.inputs.push(s.inputs[2])),
        ("an input less", |s| s.inputs.truncate(2)),
        ("an absent input", |s| s.inputs[0] = None),
        ("too many products", |s| {
            let one = region(s).products[0].clone();
            region(s).products = vec![one; 5];
            region(s).params = vec![DType::F32; 6];
        }),
        ("another operator", |s| region(s).products[0].op = ops::by_name("Softmax").unwrap().id),
        ("an unknown version", |s| region(s).products[0].version = 9),
        ("too few inputs", |s| region(s).products[0].inputs = 1),
        ("too many inputs", |s| region(s).products[0].inputs = 3),
        ("another type", |s| region(s).params[0] = DType::Bool),
    ];
    for (what, change) in changes {
        let mut parts = with_product();
        change(&mut parts.blocks[0].steps[1]);
        assert!(Program::new(parts).is_err(), "{what}");
    }
    // Sizes are known when the step runs.
    let mut larger = with_product();
    larger.blocks[0].steps[1].inputs[2] = Some(ValueId(0));
    let program = Program::new(larger).unwrap();
    for (rows, fits) in [(2, true), (1, false), (3, false)] {
        let x = Tensor::from_slice(&[rows, 2], &vec![1.0f32; 2 * rows]);
        let run = Reference.execute(&program, &[x], HashLevel::Operators, &mut Unobserved);
        assert_eq!(run.is_ok(), fits, "{rows} rows");
    }
}

#[test]
fn every_changed_byte_is_refused() {
    for parts in [parts([0, 1]), with_product()] {
        changed_bytes_are_refused(parts);
    }
}

fn changed_bytes_are_refused(parts: ProgramParts) {
    let bytes = file(&Program::new(parts).unwrap());
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
    let laid_out = |parts: &mut ProgramParts, dtype: DType, layout: Layout| {
        let bytes = vec![0u8; repops::program::stored_byte_len(dtype, &[2, 2], layout).unwrap()];
        let digest = repops::digest::bytes_digest(dtype, layout, &[2, 2], &bytes);
        let constant = &mut parts.constants[0];
        (constant.dtype, constant.layout, constant.digest) = (dtype, layout, digest);
        parts.data = vec![ConstantBytes { len: bytes.len(), backing: Arc::new(bytes), offset: 0 }];
    };
    let panels = |parts: &mut ProgramParts| laid_out(parts, DType::F32, Layout::Panel16);
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
    // Within a step: a product's right operand, but not its left one, and nothing that is read element by element.
    let mut product = with_product();
    panels(&mut product);
    Program::new(product.clone()).unwrap();
    for inputs in [[0, 1, 2], [1, 1, 0]] {
        product.blocks[0].steps[1].inputs = inputs.map(|v| Some(ValueId(v))).to_vec();
        assert!(matches!(
            Program::new(product.clone()),
            Err(ProgramError::Operator { op: "ProductRegion", .. })
        ));
    }
    // Blocks of filters and groups of bytes are other layouts.
    for layout in [Layout::Filters16, Layout::Groups4] {
        let mut other = parts([0, 1]);
        laid_out(&mut other, DType::F32, layout);
        assert!(matches!(Program::new(other), Err(ProgramError::Operator { op: "MatMul", .. })));
    }
    // Groups are of bytes, and the right operand of products of integers.
    let ty = SymType::new(DType::I32, vec![2i64.into(), 2i64.into()]);
    for (dtype, inputs, right) in
        [(DType::I8, [1, 0], true), (DType::I8, [0, 1], false), (DType::F32, [1, 0], false)]
    {
        let mut integers = parts([0, 1]);
        laid_out(&mut integers, dtype, Layout::Groups4);
        integers.blocks[0].steps[0].inputs = [1, 1].map(|v| Some(ValueId(v))).to_vec();
        integers.blocks[0].steps[1] = step("MatMulInteger", &inputs, ty.clone(), None);
        let found = Program::new(integers);
        let refused = matches!(found, Err(ProgramError::Operator { op: "MatMulInteger", .. }));
        assert_eq!((found.is_ok(), refused), (right, !right), "{dtype:?} {inputs:?}: {found:?}");
    }
}
