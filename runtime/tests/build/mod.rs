//! Small programs, built without a compiler.
#![allow(dead_code, reason = "each test program uses some")]

use std::sync::Arc;

use repops::attrs::Attrs;
use repops::ops::{self, SymType};
use repops::program::{
    Block, BlockId, ConstantBytes, ConstantDecl, Header, Output, Program, ProgramParts, SPEC_VERSION, SlotId,
    Step, ValueId,
};
use repops::reference::pack;
use repops::region::{Instruction, Product, Region};
use repops::{DType, DimExpr, Layout, Tensor};

/// Builds programs without a compiler.
#[derive(Default)]
pub struct Builder {
    constants: Vec<ConstantDecl>,
    data: Vec<ConstantBytes>,
    pub blocks: Vec<Block>,
}

impl Builder {
    pub fn constant(&mut self, tensor: &Tensor, layout: Layout) {
        let bytes = match layout {
            Layout::RowMajor => tensor.bytes().to_vec(),
            layout => pack(tensor.view(), layout),
        };
        self.constants.push(ConstantDecl {
            name: String::new(),
            dtype: tensor.dtype(),
            shape: tensor.shape().to_vec(),
            layout,
            digest: repops::digest::bytes_digest(tensor.dtype(), layout, tensor.shape(), &bytes),
        });
        self.data.push(ConstantBytes { len: bytes.len(), backing: Arc::new(bytes), offset: 0 });
    }

    pub fn finish(self, inputs: &[&str], outputs: &[&str]) -> Program {
        let names = |list: &[&str]| list.iter().map(|n| n.to_string()).collect();
        let header = Header {
            spec: SPEC_VERSION,
            compiler: "test".to_string(),
            sources: vec![],
            inputs: names(inputs),
            outputs: names(outputs),
        };
        let Builder { constants, data, blocks } = self;
        // Through the file, so that constants are aligned as they are when mapped.
        let program = Program::new(ProgramParts { header, constants, data, blocks });
        let mut file = Vec::new();
        program.unwrap().write(&mut file).unwrap();
        Program::decode(Arc::new(file)).unwrap()
    }
}

pub fn apply(name: &str, attrs: Attrs, inputs: &[Option<u32>], slots: &[Option<u32>]) -> Step {
    let def = ops::by_name(name).unwrap();
    Step {
        op: def.id,
        version: def.version,
        attrs: def.check_attrs(&attrs).unwrap(),
        inputs: inputs.iter().map(|v| v.map(ValueId)).collect(),
        outputs: slots.iter().map(|s| Output { ty: None, slot: s.map(SlotId) }).collect(),
        region: None,
        blocks: vec![],
        origins: vec![],
    }
}

pub fn instruction(name: &str, args: &[u16]) -> Instruction {
    let def = ops::by_name(name).unwrap();
    Instruction {
        op: def.id,
        version: def.version,
        attrs: def.check_attrs(&Attrs::new()).unwrap(),
        args: args.to_vec(),
        dtype: DType::F32,
    }
}

pub fn product(name: &str, inputs: u16) -> Product {
    let def = ops::by_name(name).unwrap();
    let attrs = def.check_attrs(&Attrs::new()).unwrap();
    Product { op: def.id, version: def.version, attrs, inputs }
}

/// Reproducible values with a few extremes among them.
pub fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let value = |_| match next() % 97 {
        0 => f32::from_bits((next() as u32) & 0x007f_ffff),
        1 => -0.0,
        _ => (next() >> 40) as f32 / (1u32 << 22) as f32 - 2.0,
    };
    (0..count).map(value).collect()
}

/// Relu(Reshape(Region(MatMul(X, W), B))), and two products within a step; K over several chunks.
pub fn layer(k: usize, n: usize, layout: Layout) -> Program {
    let mut builder = Builder::default();
    builder.constant(&Tensor::from_slice(&[k, n], &values(k * n, 1)), layout);
    builder.constant(&Tensor::from_slice(&[n], &values(n, 2)), Layout::RowMajor);
    builder.constant(&Tensor::from_slice(&[2], &[0i64, n as i64]), Layout::RowMajor);
    let x = SymType::new(DType::F32, vec![DimExpr::sym("N"), k.into()]);
    let mut region = apply("Region", Attrs::new(), &[Some(4), Some(1)], &[Some(1)]);
    region.region = Some(Region {
        products: Vec::new(),
        params: vec![DType::F32, DType::F32],
        instructions: vec![
            instruction("Add", &[0, 1]),
            instruction("Relu", &[2]),
            instruction("Exp", &[3]),
            instruction("Mul", &[4, 2]),
        ],
        results: vec![5],
    });
    let mut gated = apply("ProductRegion", Attrs::new(), &[3, 0, 3, 0, 1, 7].map(Some), &[Some(0)]);
    gated.region = Some(Region {
        products: vec![product("MatMul", 2), product("Gemm", 3)],
        params: vec![DType::F32; 3],
        instructions: vec![
            instruction("Sigmoid", &[0]),
            instruction("Mul", &[3, 1]),
            instruction("Sub", &[4, 2]),
        ],
        results: vec![5, 3],
    });
    gated.outputs.push(Output { ty: None, slot: None });
    builder.blocks = vec![Block {
        params: vec![Some(x)],
        steps: vec![
            apply("MatMul", Attrs::new(), &[Some(3), Some(0)], &[Some(0)]),
            region,
            apply("Reshape", Attrs::new(), &[Some(5), Some(2)], &[None]),
            apply("Relu", Attrs::new(), &[Some(6)], &[None]),
            gated,
        ],
        results: [7, 6, 8, 9].map(ValueId).to_vec(),
    }];
    builder.finish(&["X"], &["Y", "Z", "G", "S"])
}

/// A convolution with a bias, whose 48 filters of 20 channels lie in `layout`.
pub fn convolution(layout: Layout) -> Program {
    let mut builder = Builder::default();
    builder.constant(&Tensor::from_slice(&[48, 20, 3, 3], &values(48 * 180, 1)), layout);
    builder.constant(&Tensor::from_slice(&[48], &values(48, 2)), Layout::RowMajor);
    let extents = |c: usize| vec![DimExpr::sym("N"), c.into(), DimExpr::sym("H"), 9usize.into()];
    let pads = Attrs::new().with_ints("pads", &[1; 4]);
    let relu = apply("Relu", Attrs::new(), &[Some(3)], &[None]);
    builder.blocks = vec![Block {
        params: vec![Some(SymType::new(DType::F32, extents(20)))],
        steps: vec![apply("Conv", pads, &[Some(2), Some(0), Some(1)], &[Some(0)]), relu],
        results: vec![ValueId(4)],
    }];
    builder.finish(&["X"], &["Y"])
}

/// Views of a constant, of a view, of an input and in the shape they had, each used again.
pub fn views() -> Program {
    let mut builder = Builder::default();
    builder.constant(&Tensor::from_slice(&[6, 500], &values(3000, 4)), Layout::RowMajor);
    builder.constant(&Tensor::from_slice(&[2], &[500i64, 6]), Layout::RowMajor);
    builder.constant(&Tensor::from_slice(&[1], &[3000i64]), Layout::RowMajor);
    builder.constant(&Tensor::from_slice(&[2], &[6i64, 500]), Layout::RowMajor);
    let reshape = |from, shape| apply("Reshape", Attrs::new(), &[Some(from), Some(shape)], &[None]);
    builder.blocks = vec![Block {
        params: vec![Some(SymType::new(DType::F32, vec![500usize.into(), 6usize.into()]))],
        steps: vec![
            reshape(0, 1),
            reshape(5, 2),
            apply("Add", Attrs::new(), &[Some(4), Some(5)], &[None]),
            reshape(0, 3),
            reshape(4, 2),
            apply("Mul", Attrs::new(), &[Some(6), Some(9)], &[None]),
        ],
        results: vec![ValueId(7), ValueId(8), ValueId(10)],
    }];
    builder.finish(&["X"], &["A", "B", "C"])
}

/// Loop: V becomes (V + 1) V0 in each of M iterations; V + 1 is a scan output.
pub fn looping() -> Program {
    let mut builder = Builder::default();
    builder.constant(&Tensor::scalar(1.0f32), Layout::RowMajor);
    let scalar = |dtype| Some(SymType::new(dtype, vec![]));
    let vector = SymType::new(DType::F32, vec![DimExpr::sym("N")]);
    let mut step = apply("Loop", Attrs::new(), &[Some(1), None, Some(2)], &[None, None]);
    step.outputs[1].ty = Some(SymType::new(DType::F32, vec![0i64.into(), DimExpr::sym("N")]));
    step.blocks = vec![BlockId(1)];
    let main = Block {
        params: vec![scalar(DType::I64), Some(vector.clone())],
        steps: vec![step, apply("Relu", Attrs::new(), &[Some(3)], &[None])],
        results: vec![ValueId(5), ValueId(4)],
    };
    // Values: 0 the constant; 1, 2 parameters; 3, 4 of Loop; 5 of Relu; 6, 7, 8 the body's parameters.
    let body = Block {
        params: vec![scalar(DType::I64), scalar(DType::Bool), Some(vector)],
        steps: vec![
            apply("Add", Attrs::new(), &[Some(8), Some(0)], &[Some(0)]),
            apply("Mul", Attrs::new(), &[Some(9), Some(2)], &[Some(1)]),
        ],
        results: vec![ValueId(7), ValueId(10), ValueId(9)],
    };
    builder.blocks = vec![main, body];
    builder.finish(&["M", "V"], &["Y", "S"])
}

/// A quotient that meets a fault where B is 0, after a sum, before another.
pub fn dividing() -> Program {
    let mut builder = Builder::default();
    let ty = Some(SymType::new(DType::I64, vec![DimExpr::sym("N")]));
    builder.blocks = vec![Block {
        params: vec![ty.clone(), ty],
        steps: vec![
            apply("Add", Attrs::new(), &[Some(0), Some(1)], &[None]),
            apply("Div", Attrs::new(), &[Some(0), Some(1)], &[None]),
            apply("Add", Attrs::new(), &[Some(3), Some(1)], &[None]),
        ],
        results: vec![ValueId(4)],
    }];
    builder.finish(&["A", "B"], &["C"])
}
