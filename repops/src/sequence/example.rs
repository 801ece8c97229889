//! Small decoders built by hand: for tests and examples in every crate, where no compiler is at hand.

use std::sync::Arc;

use crate::attrs::Attrs;
use crate::blocks::Format;
use crate::digest::{Layout, bytes_digest};
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::ops::{self, SymType};
use crate::program::{
    Block, ConstantBytes, ConstantDecl, Header, Origin, Output, Program, ProgramParts, SPEC_VERSION, Step,
    ValueId,
};
use crate::reference::pack;
use crate::tensor::Tensor;

/// Sizes of a decoder.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    pub layers: usize,
    pub hidden: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub inner: usize,
    pub vocabulary: usize,
    /// Positions of the rotary tables.
    pub context: usize,
    pub window: usize,
    /// How the matrices are stored: f32 panels, or blocks (then hidden and inner are multiples of the block's positions).
    pub format: Option<Format>,
    pub seed: u32,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder {
            layers: 2,
            hidden: 32,
            heads: 4,
            kv_heads: 2,
            inner: 64,
            vocabulary: 50,
            context: 1024,
            window: 0,
            format: None,
            seed: 1,
        }
    }
}

#[derive(Clone, Copy)]
enum Ref {
    Constant(usize),
    Value(usize),
}

#[derive(Default)]
struct Builder {
    constants: Vec<(ConstantDecl, Vec<u8>)>,
    steps: Vec<Step>,
    inputs: Vec<Vec<Ref>>,
    noise: u32,
}

impl Builder {
    /// A number in (-1, 1) with 24 bits.
    fn number(&mut self) -> f32 {
        // xorshift32
        self.noise ^= self.noise << 13;
        self.noise ^= self.noise >> 17;
        self.noise ^= self.noise << 5;
        (self.noise >> 8) as f32 / (1u32 << 23) as f32 - 1.0
    }

    fn tensor(&mut self, shape: &[usize], scale: f32, offset: f32) -> Tensor {
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| self.number() * scale + offset).collect();
        Tensor::from_slice(shape, &values)
    }

    fn constant(&mut self, name: &str, tensor: &Tensor, layout: Layout) -> Ref {
        let bytes = match layout {
            Layout::RowMajor => tensor.bytes().to_vec(),
            layout => pack(tensor.view(), layout),
        };
        let (dtype, shape) = (tensor.dtype(), tensor.shape().to_vec());
        let digest = bytes_digest(dtype, layout, &shape, &bytes);
        self.constants.push((ConstantDecl { name: name.to_string(), dtype, shape, layout, digest }, bytes));
        Ref::Constant(self.constants.len() - 1)
    }

    fn step(&mut self, name: &str, attrs: Attrs, inputs: &[Ref], columns: usize) -> Ref {
        let def = ops::by_name(name).expect("a row of the table");
        let ty = SymType::new(DType::F32, vec![DimExpr::sym("S"), DimExpr::Const(columns as i64)]);
        self.inputs.push(inputs.to_vec());
        self.steps.push(Step {
            op: def.id,
            version: def.version,
            attrs: def.check_attrs(&attrs).expect("attributes of the row"),
            inputs: Vec::new(),
            outputs: vec![Output { ty: Some(ty), slot: None }],
            region: None,
            blocks: Vec::new(),
            origins: vec![Origin {
                name: format!("{name}.{}", self.steps.len()),
                op_type: name.to_string(),
                domain: String::new(),
                opset: 24,
            }],
        });
        Ref::Value(1 + self.steps.len())
    }

    /// A matrix [k, n] of small numbers, and whether it is in blocks.
    fn matrix(&mut self, name: &str, k: usize, n: usize, format: Option<Format>) -> Ref {
        let Some(format) = format else {
            let tensor = self.tensor(&[k, n], 0.3, 0.0);
            return self.constant(name, &tensor, Layout::Panel16);
        };
        let shape = [n.div_ceil(16), k / format.positions(), format.bytes()];
        let mut bytes: Vec<u8> =
            (0..shape.iter().product()).map(|_| (self.number() * 128.0) as i32 as u8).collect();
        let halves = if matches!(format, Format::Q4_1 | Format::Q4K) { 32 } else { 16 };
        for block in bytes.chunks_exact_mut(format.bytes()) {
            for half in block[..2 * halves].chunks_exact_mut(2) {
                half.copy_from_slice(&half::f16::from_f32(self.number() * 0.004).to_le_bytes());
            }
        }
        self.constant(name, &Tensor::from_slice(&shape, &bytes), Layout::RowMajor)
    }

    fn product(&mut self, x: Ref, w: Ref, n: usize, format: Option<Format>) -> Ref {
        match format {
            None => self.step("MatMul", Attrs::new(), &[x, w], n),
            Some(format) => {
                let attrs = Attrs::new().with_int("columns", n as i64).with_str("format", format.name());
                self.step("MatMulBlocks", attrs, &[x, w], n)
            }
        }
    }
}

impl Decoder {
    /// The program: embedding, layers of attention and gated products, head, with weights from a seed.
    pub fn program(&self) -> Program {
        let Decoder { hidden, heads, kv_heads, inner, vocabulary, format, .. } = *self;
        let d = hidden / heads;
        let mut b = Builder { noise: self.seed.wrapping_mul(0x9e37_79b9) | 1, ..Builder::default() };
        let (tokens, positions) = (Ref::Value(0), Ref::Value(1));
        let head = b.matrix("embedding", hidden, vocabulary, format);
        let spelled = format.map_or("dense", Format::name);
        let attrs = Attrs::new().with_int("columns", vocabulary as i64).with_str("format", spelled);
        let mut x = b.step("Embedding", attrs, &[tokens, head], hidden);
        let table = |b: &mut Builder, name: &str| {
            let table = b.tensor(&[self.context, d / 2], 1.0, 0.0);
            let table = b.constant(name, &table, Layout::RowMajor);
            b.step("Gather", Attrs::new(), &[table, positions], d / 2)
        };
        let (cos, sin) = (table(&mut b, "cos"), table(&mut b, "sin"));
        let norm = |b: &mut Builder, x: Ref| {
            let scale = b.tensor(&[hidden], 0.1, 1.0);
            let scale = b.constant("norm", &scale, Layout::RowMajor);
            b.step("RMSNormalization", Attrs::new(), &[x, scale], hidden)
        };
        for _ in 0..self.layers {
            let h = norm(&mut b, x);
            let mut project = |h: Ref, n: usize| {
                let w = b.matrix("projection", hidden, n, format);
                b.product(h, w, n, format)
            };
            let (q, k, v) = (project(h, hidden), project(h, kv_heads * d), project(h, kv_heads * d));
            let rotary = |heads: usize| Attrs::new().with_int("heads", heads as i64);
            let q = b.step("SequenceRotary", rotary(heads), &[q, cos, sin], hidden);
            let k = b.step("SequenceRotary", rotary(kv_heads), &[k, cos, sin], kv_heads * d);
            let attrs = rotary(heads)
                .with_int("kv_heads", kv_heads as i64)
                .with_float("scale", 0.35)
                .with_int("window", self.window as i64);
            let y = b.step("SequenceAttention", attrs, &[q, k, v], hidden);
            let w = b.matrix("output", hidden, hidden, format);
            let y = b.product(y, w, hidden, format);
            x = b.step("Add", Attrs::new(), &[x, y], hidden);
            let h = norm(&mut b, x);
            let (w, u) = (b.matrix("gate", hidden, inner, format), b.matrix("up", hidden, inner, format));
            let (gate, up) = (b.product(h, w, inner, format), b.product(h, u, inner, format));
            let gate = b.step("Swish", Attrs::new(), &[gate], inner);
            let y = b.step("Mul", Attrs::new(), &[gate, up], inner);
            let w = b.matrix("down", inner, hidden, format);
            let y = b.product(y, w, hidden, format);
            x = b.step("Add", Attrs::new(), &[x, y], hidden);
        }
        let h = norm(&mut b, x);
        let logits = b.product(h, head, vocabulary, format);
        let count = b.constants.len();
        let id = |r: Ref| match r {
            Ref::Constant(at) => ValueId(at as u32),
            Ref::Value(at) => ValueId((count + at) as u32),
        };
        for (step, inputs) in b.steps.iter_mut().zip(&b.inputs) {
            step.inputs = inputs.iter().map(|r| Some(id(*r))).collect();
        }
        let rows = SymType::new(DType::I64, vec![DimExpr::sym("S")]);
        let (constants, bytes): (Vec<_>, Vec<_>) = b.constants.into_iter().unzip();
        let data = |bytes: Vec<u8>| {
            let len = bytes.len();
            let aligned = crate::tensor::AlignedBytes::copy_of(&bytes).expect("a small constant");
            ConstantBytes { backing: Arc::new(aligned), offset: 0, len }
        };
        Program::new(ProgramParts {
            header: Header {
                spec: SPEC_VERSION,
                compiler: "by hand".to_string(),
                sources: Vec::new(),
                inputs: vec![super::TOKENS.to_string(), super::POSITIONS.to_string()],
                outputs: vec![super::LOGITS.to_string()],
            },
            constants,
            data: bytes.into_iter().map(data).collect(),
            blocks: vec![Block {
                params: vec![Some(rows.clone()), Some(rows)],
                steps: b.steps,
                results: vec![id(logits)],
            }],
        })
        .expect("a program that passes its checks")
    }
}
