//! From a decoder's configuration and tensors to its graph.
//!
//! Per layer: norm, queries, keys and values, rotation, attention, output, residual; norm, gate and up, down, residual.
//! Nodes carry the names of the tensors that they read.

use std::collections::{BTreeMap, BTreeSet};

use repops::Tensor;
use repops::attrs::Attrs;
use repops::dim::DimExpr;
use repops::dtype::DType;
use repops::ops::{SymType, by_name};
use repops::program::Origin;

use super::config::{Activation, DecoderConfig};
use super::error::ModelError;
use super::names::{Naming, Role};
use super::tensors::{Format, Stored};
use super::{Decoder, Texts, rotary};
use crate::graph::{Block, Constant, Definition, Graph, Interface, Node, ValueId, owned_bytes};

/// The number of positions in types.
const POSITIONS: &str = "S";

/// The graph of a decoder.
pub fn build(decoder: Decoder) -> Result<Graph, ModelError> {
    let Decoder { name, config, naming, tensors, texts } = decoder;
    config.check()?;
    let mut builder = Builder {
        config: &config,
        naming,
        tensors: &tensors,
        used: BTreeSet::new(),
        matrices: BTreeMap::new(),
        graph: Graph { name, ..Graph::default() },
        block: Block::default(),
    };
    builder.model()?;
    let Builder { mut graph, block, used, .. } = builder;
    if let Some(tensor) = tensors.keys().find(|name| !used.contains(*name)) {
        return Err(ModelError::UnusedTensor {
            tensor: tensor.clone(),
            architecture: config.architecture.clone(),
        });
    }
    graph.main = block;
    attach(&mut graph, &texts);
    Ok(graph)
}

/// The texts become constants that no step reads.
pub(crate) fn attach(graph: &mut Graph, texts: &Texts) {
    let mut add = |name: &str, bytes: Vec<u8>| {
        graph.attached.push(Constant {
            name: name.to_string(),
            dtype: DType::U8,
            shape: vec![bytes.len()],
            data: owned_bytes(bytes),
        });
    };
    if let Some(tokenizer) = &texts.tokenizer {
        add("repops:tokenizer.json", tokenizer.clone());
    }
    if let Some(template) = &texts.chat_template {
        add("repops:chat_template", template.clone().into_bytes());
    }
    let generation = serde_json::to_vec(&texts.generation).expect("strings and numbers");
    add("repops:generation.json", generation);
}

/// A matrix `[rows, columns]` as the graph holds it; the product with it has `rows` columns.
#[derive(Clone, Copy)]
struct Matrix {
    value: ValueId,
    format: Format,
    rows: usize,
}

struct Builder<'a> {
    config: &'a DecoderConfig,
    naming: Naming,
    tensors: &'a BTreeMap<String, Stored>,
    /// Names of tensors that have a part.
    used: BTreeSet<String>,
    matrices: BTreeMap<String, Matrix>,
    graph: Graph,
    block: Block,
}

impl Builder<'_> {
    fn model(&mut self) -> Result<(), ModelError> {
        let config = self.config;
        let tokens = self.input("tokens");
        let positions = self.input("positions");
        let embedding = self.embedding()?;
        let mut x = self.embed(tokens, embedding)?;
        if let Some(scale) = config.embedding_scale {
            x = self.with_scalar("Mul", "embedding_scale", x, scale)?;
        }
        let angles = self.angles(positions)?;
        for (layer, spec) in config.layers.iter().enumerate() {
            let attended = self.attention(layer, spec.window, x, angles[spec.rope])?;
            x = self.node("Add", &format!("blk.{layer}.attn_residual"), Attrs::new(), &[x, attended])?;
            let fed = self.feed_forward(layer, x)?;
            x = self.node("Add", &format!("blk.{layer}.ffn_residual"), Attrs::new(), &[x, fed])?;
        }
        let x = self.norm(Role::FinalNorm, x, config.hidden)?;
        let head = self.head(embedding)?;
        let mut logits = self.product(&self.naming.of(Role::Head), x, head)?;
        if config.logit_softcap > 0.0 {
            logits = self.with_scalar("Div", "logit_softcap_div", logits, config.logit_softcap)?;
            logits = self.node("Tanh", "logit_softcap_tanh", Attrs::new(), &[logits])?;
            logits = self.with_scalar("Mul", "logit_softcap_mul", logits, config.logit_softcap)?;
        }
        let shape = vec![DimExpr::sym(POSITIONS), DimExpr::from(head.rows)];
        self.block.results = vec![logits];
        self.graph.outputs =
            vec![Interface { name: "logits".to_string(), ty: Some(SymType::new(DType::F32, shape)) }];
        Ok(())
    }

    fn input(&mut self, name: &str) -> ValueId {
        let ty = SymType::new(DType::I64, vec![DimExpr::sym(POSITIONS)]);
        let id = self.graph.add_value(name, Definition::Parameter, Some(ty));
        self.block.parameters.push(id);
        id
    }

    /// The rows of every rotation's tables at the positions.
    fn angles(&mut self, positions: ValueId) -> Result<Vec<[ValueId; 2]>, ModelError> {
        let mut angles = Vec::new();
        for (index, rope) in self.config.ropes.iter().enumerate() {
            let (cos, sin) = rotary::tables(rope, self.config.context)?;
            let mut gather = |name: String, table: &Tensor| {
                let table = self.graph.add_constant(Constant::from_tensor(&format!("{name}_table"), table));
                self.node("Gather", &name, Attrs::new().with_int("axis", 0), &[table, positions])
            };
            angles.push([
                gather(format!("rope.{index}.cos"), &cos)?,
                gather(format!("rope.{index}.sin"), &sin)?,
            ]);
        }
        Ok(angles)
    }

    fn attention(
        &mut self,
        layer: usize,
        window: usize,
        x: ValueId,
        angles: [ValueId; 2],
    ) -> Result<ValueId, ModelError> {
        let config = self.config;
        let (heads, kv_heads, d, e) = (config.heads, config.kv_heads, config.key_dim, config.value_dim);
        let rope = &config.ropes[config.layers[layer].rope];
        let h = self.norm(Role::AttentionNorm(layer), x, config.hidden)?;
        let q = self.linear(Role::Query(layer), h, heads * d, config.hidden, config.qkv_bias)?;
        let k = self.linear(Role::Key(layer), h, kv_heads * d, config.hidden, config.qkv_bias)?;
        let v = self.linear(Role::Value(layer), h, kv_heads * e, config.hidden, config.qkv_bias)?;
        let mut rotated = Vec::new();
        for (role, x, heads) in [(Role::QueryNorm(layer), q, heads), (Role::KeyNorm(layer), k, kv_heads)] {
            let x = if config.qk_norm { self.norm_heads(role, x, heads)? } else { x };
            let what = if matches!(role, Role::QueryNorm(_)) { "q" } else { "k" };
            let attrs = Attrs::new()
                .with_int("heads", heads as i64)
                .with_int("interleaved", i64::from(rope.interleaved));
            let name = format!("blk.{layer}.rope_{what}");
            rotated.push(self.node("SequenceRotary", &name, attrs, &[x, angles[0], angles[1]])?);
        }
        let attrs = Attrs::new()
            .with_int("heads", heads as i64)
            .with_int("kv_heads", kv_heads as i64)
            .with_float("scale", config.attention_scale)
            .with_int("window", window as i64)
            .with_float("softcap", config.attention_softcap);
        let name = format!("blk.{layer}.attention");
        let y = self.node("SequenceAttention", &name, attrs, &[rotated[0], rotated[1], v])?;
        let role = Role::AttentionOutput(layer);
        let y = self.linear(role, y, config.hidden, heads * e, config.output_bias)?;
        if config.post_norms { self.norm(Role::PostAttentionNorm(layer), y, config.hidden) } else { Ok(y) }
    }

    fn feed_forward(&mut self, layer: usize, x: ValueId) -> Result<ValueId, ModelError> {
        let config = self.config;
        let (hidden, inner, bias) = (config.hidden, config.intermediate, config.mlp_bias);
        let h = self.norm(Role::FeedForwardNorm(layer), x, hidden)?;
        let gate = self.linear(Role::Gate(layer), h, inner, hidden, bias)?;
        let up = self.linear(Role::Up(layer), h, inner, hidden, bias)?;
        let (op, attrs) = match config.activation {
            Activation::Silu => ("Swish", Attrs::new()),
            Activation::GeluTanh => ("Gelu", Attrs::new().with_str("approximate", "tanh")),
        };
        let activated = self.node(op, &format!("blk.{layer}.ffn_act"), attrs, &[gate])?;
        let product = self.node("Mul", &format!("blk.{layer}.ffn_mul"), Attrs::new(), &[activated, up])?;
        let y = self.linear(Role::Down(layer), product, hidden, inner, bias)?;
        if config.post_norms { self.norm(Role::PostFeedForwardNorm(layer), y, hidden) } else { Ok(y) }
    }

    /// The tensor `name`, which has a part now.
    fn stored(&mut self, name: &str) -> Result<&Stored, ModelError> {
        let stored =
            self.tensors.get(name).ok_or_else(|| ModelError::NoTensor { tensor: name.to_string() })?;
        self.used.insert(name.to_string());
        Ok(stored)
    }

    fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> Result<Matrix, ModelError> {
        if let Some(matrix) = self.matrices.get(name) {
            return Ok(*matrix);
        }
        let stored = self.stored(name)?;
        let format = stored.format;
        let constant = stored.to_matrix(name, rows, columns)?;
        let matrix = Matrix { value: self.graph.add_constant(constant), format, rows };
        self.matrices.insert(name.to_string(), matrix);
        Ok(matrix)
    }

    fn embedding(&mut self) -> Result<Matrix, ModelError> {
        let name = format!("{}.weight", self.naming.of(Role::Embedding));
        let rows = self.stored(&name)?.shape[0];
        self.matrix(&name, rows, self.config.hidden)
    }

    fn head(&mut self, embedding: Matrix) -> Result<Matrix, ModelError> {
        let name = format!("{}.weight", self.naming.of(Role::Head));
        if self.config.tied {
            // A second copy may be there.
            self.used.insert(name);
            return Ok(embedding);
        }
        self.matrix(&name, embedding.rows, self.config.hidden)
    }

    fn embed(&mut self, tokens: ValueId, matrix: Matrix) -> Result<ValueId, ModelError> {
        let (format, transposed) = match matrix.format {
            Format::Blocks(format) => (format.name(), 0),
            _ => ("dense", 1),
        };
        let attrs = Attrs::new()
            .with_str("format", format)
            .with_int("columns", matrix.rows as i64)
            .with_int("transposed", transposed);
        self.node("Embedding", &self.naming.of(Role::Embedding), attrs, &[tokens, matrix.value])
    }

    /// x W^T, with the bias where there is one.
    fn linear(
        &mut self,
        role: Role,
        x: ValueId,
        rows: usize,
        columns: usize,
        bias: bool,
    ) -> Result<ValueId, ModelError> {
        let name = self.naming.of(role);
        let matrix = self.matrix(&format!("{name}.weight"), rows, columns)?;
        let y = self.product(&name, x, matrix)?;
        if !bias {
            return Ok(y);
        }
        let source = format!("{name}.bias");
        let bias = self.stored(&source)?.to_f32(&source, &[rows])?;
        let bias = self.graph.add_constant(Constant::from_tensor(&source, &bias));
        self.node("Add", &source, Attrs::new(), &[y, bias])
    }

    fn product(&mut self, name: &str, x: ValueId, matrix: Matrix) -> Result<ValueId, ModelError> {
        match matrix.format {
            Format::Blocks(format) => {
                let attrs =
                    Attrs::new().with_str("format", format.name()).with_int("columns", matrix.rows as i64);
                self.node("MatMulBlocks", name, attrs, &[x, matrix.value])
            }
            _ => self.node("Gemm", name, Attrs::new().with_int("transB", 1), &[x, matrix.value]),
        }
    }

    fn norm_weight(&mut self, role: Role, length: usize) -> Result<ValueId, ModelError> {
        let source = format!("{}.weight", self.naming.of(role));
        let mut weight = self.stored(&source)?.to_f32(&source, &[length])?;
        if self.config.norm_plus_one {
            rotary::plus_one(&mut weight);
        }
        Ok(self.graph.add_constant(Constant::from_tensor(&source, &weight)))
    }

    fn norm(&mut self, role: Role, x: ValueId, length: usize) -> Result<ValueId, ModelError> {
        let weight = self.norm_weight(role, length)?;
        let attrs = Attrs::new().with_float("epsilon", self.config.norm_epsilon);
        self.node("RMSNormalization", &self.naming.of(role), attrs, &[x, weight])
    }

    /// Every head's elements normalized alone: rows become `[heads, d]` meanwhile.
    fn norm_heads(&mut self, role: Role, x: ValueId, heads: usize) -> Result<ValueId, ModelError> {
        let (name, d) = (self.naming.of(role), self.config.key_dim);
        let apart = self.shape(&format!("{name}.apart"), &[0, heads as i64, d as i64]);
        let joined = self.shape(&format!("{name}.joined"), &[0, (heads * d) as i64]);
        let x = self.node("Reshape", &format!("{name}.apart"), Attrs::new(), &[x, apart])?;
        let x = self.norm(role, x, d)?;
        self.node("Reshape", &format!("{name}.joined"), Attrs::new(), &[x, joined])
    }

    fn shape(&mut self, name: &str, extents: &[i64]) -> ValueId {
        let tensor = Tensor::from_slice(&[extents.len()], extents);
        self.graph.add_constant(Constant::from_tensor(&format!("{name}.shape"), &tensor))
    }

    fn with_scalar(&mut self, op: &str, name: &str, x: ValueId, value: f32) -> Result<ValueId, ModelError> {
        let tensor = Tensor::scalar(value);
        let value = self.graph.add_constant(Constant::from_tensor(&format!("{name}.value"), &tensor));
        self.node(op, name, Attrs::new(), &[x, value])
    }

    fn node(
        &mut self,
        op: &str,
        name: &str,
        attrs: Attrs,
        inputs: &[ValueId],
    ) -> Result<ValueId, ModelError> {
        let wrong = |source| ModelError::Op { node: name.to_string(), source };
        let missing = || repops::ops::OpError::Unsupported(format!("the operator table has no {op}"));
        let def = by_name(op).ok_or_else(|| wrong(missing()))?;
        let attrs = def.check_attrs(&attrs).map_err(wrong)?;
        let output = self.graph.add_value(name, Definition::Output, None);
        self.block.nodes.push(Node {
            def,
            attrs,
            inputs: inputs.iter().copied().map(Some).collect(),
            outputs: vec![output],
            blocks: Vec::new(),
            origin: Origin {
                name: name.to_string(),
                op_type: op.to_string(),
                domain: String::new(),
                opset: 0,
            },
        });
        Ok(output)
    }
}
