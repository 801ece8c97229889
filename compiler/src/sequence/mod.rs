//! Decoders exported to ONNX with a cache of keys and values, as sequence programs.
//!
//! An export is a function of new tokens, a mask, perhaps positions, and the keys and values of earlier tokens. Run on a
//! whole sequence with an empty cache it is a function of the tokens alone, and that function is what is converted: every
//! value is followed node by node as what it is under one sequence of S tokens, nothing cached, nothing masked: a constant,
//! a size, something that follows from positions ([`grid`]), something with one row a position ([`view`]), or scores and
//! weights on the way from queries and keys to an attention ([`attention`]). Sizes and types are those of the operators' own
//! inference.
//!
//! Invariant: a model is converted only if every node on the way to its logits is understood; else the first one that is not
//! is named. What is made is proven to be a sequence program once more, by `repops::sequence`, when it is loaded.

mod attention;
mod builder;
mod elements;
mod grid;
mod positions;
mod products;
mod rows;
mod view;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use repops::Tensor;
use repops::dim::DimExpr;
use repops::dtype::DType;
use repops::ops::infer::{InferCtx, InferInput};
use repops::ops::{EvalCtx, OpClass, OpDef, SymTensor, SymType};
use repops::tensor::TensorView;

use crate::graph::{Block, Constant, Definition, Graph, Interface, Node, ValueId};
use attention::{Scores, Weights};
use builder::Builder;
use grid::{Form, Linear, POSITIONS, linear_size, positions as positions_dim};
use view::View;

/// Why a model is no sequence program.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotSequence {
    #[error("input {name:?} keeps the model from being a sequence program: {reason}")]
    Input { name: String, reason: String },
    #[error("output {name:?} keeps the model from being a sequence program: {reason}")]
    Output { name: String, reason: String },
    #[error("node {node:?} ({op_type}) keeps the model from being a sequence program: {reason}")]
    Node { node: String, op_type: String, reason: String },
}

/// Why a node cannot be converted.
#[derive(Debug)]
struct Refusal(String);

impl Refusal {
    fn new(reason: &str) -> Refusal {
        Refusal(reason.to_string())
    }
}

const TOKENS: &str = "input_ids";
const LOGITS: &str = "logits";
/// The most bytes of operands and elements of a result that are computed here; what is larger is folded with the rest.
const COMPUTED_MAX: usize = 4 << 20;

/// Whether a model has the inputs and outputs of a decoder, and whether it has a cache.
pub fn looks_like_a_decoder(graph: &Graph) -> Option<bool> {
    let inputs = || graph.main.parameters.iter().map(|&id| graph.value(id).name.as_str());
    let has = inputs().any(|name| name == TOKENS) && graph.outputs.iter().any(|o| o.name == LOGITS);
    has.then(|| inputs().any(is_past))
}

fn is_past(name: &str) -> bool {
    name.starts_with("past") || name.starts_with("cache.")
}

/// What a value of the export is.
#[derive(Clone)]
enum What {
    Constant(Known),
    /// Integers in terms of S: the type's `sym`.
    Size,
    Grid(Form),
    Rows(View),
    Scores(Scores),
    Weights(Weights),
    /// Nothing that is converted reads it.
    Other(&'static str),
}

#[derive(Clone)]
struct Known {
    /// In the program.
    id: ValueId,
    /// Unless it is computed by nodes of the program.
    data: Option<Arc<Constant>>,
    /// The matrix that it is the transpose of.
    transpose_of: Option<ValueId>,
}

#[derive(Clone)]
struct Value {
    ty: SymType,
    sym: Option<SymTensor>,
    what: What,
}

impl Value {
    fn tensor(&self) -> Option<Tensor> {
        match &self.what {
            What::Constant(Known { data: Some(data), .. }) => data.to_tensor().ok(),
            _ => None,
        }
    }

    /// Integers that are known.
    fn ints(&self) -> Option<Vec<i64>> {
        match &self.sym {
            Some(sym) => sym.elements.iter().map(DimExpr::as_const).collect(),
            None => self.tensor()?.view().to_i64s(),
        }
    }

    fn is_one_element(&self) -> bool {
        self.ty.shape.iter().all(|d| d.as_const() == Some(1))
    }

    fn is_empty(&self) -> bool {
        self.ty.shape.iter().any(|d| d.as_const() == Some(0))
    }
}

/// The sequence program of an export.
pub fn of_export(graph: &Graph) -> Result<Graph, NotSequence> {
    let mut walk = Walk {
        source: graph,
        values: vec![None; graph.values.len()],
        constants: BTreeMap::new(),
        out: Builder::new(&graph.name),
        fresh: Cell::new(0),
    };
    for &id in &graph.main.parameters {
        let name = &graph.value(id).name;
        let refuse = |reason: Refusal| NotSequence::Input { name: name.clone(), reason: reason.0 };
        let value = walk.parameter(id).map_err(refuse)?;
        walk.values[id.index()] = Some(value);
    }
    walk.block(&graph.main)?;
    walk.finish()
}

struct Walk<'g> {
    source: &'g Graph,
    values: Vec<Option<Value>>,
    /// The source's constants in the program.
    constants: BTreeMap<u32, Known>,
    out: Builder,
    fresh: Cell<u32>,
}

impl Walk<'_> {
    fn parameter(&mut self, id: ValueId) -> Result<Value, Refusal> {
        let value = self.source.value(id);
        let ty = value.ty.as_ref().ok_or_else(|| Refusal::new("its type is not known"))?;
        let (name, dtype, rank) = (value.name.as_str(), ty.dtype, ty.shape.len());
        let two = vec![DimExpr::Const(1), positions_dim()];
        let integer = matches!(dtype, DType::I64 | DType::I32);
        if is_past(name) {
            // The first size that is not fixed is the batch, the last one the length of the past.
            let open: Vec<usize> = (0..rank).filter(|&axis| ty.shape[axis].as_const().is_none()).collect();
            let (batch, past) = match open[..] {
                [past] => (None, past),
                [batch, past] => (Some(batch), past),
                _ => return Err(Refusal::new("it has not one size that is the number of cached positions")),
            };
            let extent = |axis: usize| match axis {
                _ if axis == past => 0,
                _ if Some(axis) == batch => 1,
                _ => ty.shape[axis].as_extent().unwrap_or(0),
            };
            let shape: Vec<usize> = (0..rank).map(extent).collect();
            let tensor = Tensor::zeros(dtype, &shape).map_err(|error| Refusal(error.to_string()))?;
            return Ok(self.constant(&tensor));
        }
        let linear = |along: Vec<i64>| What::Grid(Form::Linear(Linear { c: 0, s: 0, along }));
        let (shape, what) = match name {
            TOKENS if rank == 2 && integer => {
                let mut base = self.out.tokens;
                if dtype == DType::I32 {
                    base = elements::cast(&mut self.out, base, DType::I32)?;
                }
                let axes = [view::Extent::Size(1), view::Extent::Rows];
                (two, What::Rows(View::plain(base, dtype, &axes)))
            }
            "attention_mask" if rank == 2 => {
                let one = Tensor::scalar(1i64);
                (two, What::Grid(Form::Same(elements::converted(&one, dtype)?)))
            }
            "position_ids" if rank == 2 && integer => (two, linear(vec![0, 1])),
            "cache_position" if rank == 1 && integer => (vec![positions_dim()], linear(vec![1])),
            "use_cache_branch" if dtype == DType::Bool => {
                let shape: Vec<usize> = vec![1; rank];
                return Ok(self.constant(&Tensor::from_bools(&shape, &[false])));
            }
            _ => {
                let known = "input_ids, attention_mask, position_ids, cache_position, use_cache_branch and past keys and values";
                return Err(Refusal(format!("its meaning as {ty} is not known; {known} have one")));
            }
        };
        Ok(Value { ty: SymType::new(dtype, shape), sym: None, what })
    }

    fn constant(&mut self, tensor: &Tensor) -> Value {
        let (id, data) = self.out.tensor(tensor);
        let what = What::Constant(Known { id, data: Some(data), transpose_of: None });
        Value { ty: SymType::of(tensor.dtype(), tensor.shape()), sym: None, what }
    }

    /// The value that an input of a node is.
    fn value(&mut self, id: ValueId) -> Result<Value, Refusal> {
        if let Definition::Constant(constant) = self.source.value(id).definition {
            let source = self.source.constant(constant);
            let out = &mut self.out;
            let known = self.constants.entry(constant.0).or_insert_with(|| Known {
                id: out.constant(source),
                data: Some(Arc::new(source.clone())),
                transpose_of: None,
            });
            let ty = SymType::of(source.dtype, &source.shape);
            return Ok(Value { ty, sym: None, what: What::Constant(known.clone()) });
        }
        let value = self.values[id.index()].clone();
        value.ok_or_else(|| Refusal::new("it reads what is not computed before it"))
    }

    fn block(&mut self, block: &Block) -> Result<(), NotSequence> {
        for node in &block.nodes {
            self.out.origin = node.origin.clone();
            let refuse = |refusal: Refusal| NotSequence::Node {
                node: node.origin.name.clone(),
                op_type: node.origin.op_type.clone(),
                reason: refusal.0,
            };
            if node.def.name == "If" {
                let branch = self.branch(node).map_err(refuse)?;
                self.block(&node.blocks[branch])?;
                for (output, result) in node.outputs.iter().zip(&node.blocks[branch].results) {
                    self.values[output.index()] = Some(self.value(*result).map_err(refuse)?);
                }
                continue;
            }
            for (output, value) in node.outputs.iter().zip(self.node(node).map_err(refuse)?) {
                self.values[output.index()] = Some(value);
            }
        }
        Ok(())
    }

    /// Which branch of an If is taken.
    fn branch(&mut self, node: &Node) -> Result<usize, Refusal> {
        let unknown = || Refusal::new("which branch it takes is not known");
        let condition = self.value(node.inputs[0].ok_or_else(unknown)?)?;
        let tensor = match &condition.what {
            What::Grid(Form::Same(value)) => Some(value.clone()),
            _ => condition.tensor(),
        };
        let tensor = tensor.filter(|t| t.dtype() == DType::Bool && t.len() == 1).ok_or_else(unknown)?;
        // then, else
        Ok(usize::from(tensor.bytes()[0] == 0))
    }

    fn node(&mut self, node: &Node) -> Result<Vec<Value>, Refusal> {
        let def = node.def;
        if matches!(def.class, OpClass::Control) {
            return Err(Refusal::new("it is control flow"));
        }
        let mut inputs: Vec<Option<Value>> = Vec::with_capacity(node.inputs.len());
        for input in &node.inputs {
            inputs.push(input.map(|id| self.value(id)).transpose()?);
        }
        let count = node.outputs.len();
        let types = self.infer(node, &inputs)?;
        if let Some(computed) = self.computed(node, &inputs, &types)? {
            return Ok(computed);
        }
        // Integers that inference knows in terms of sizes.
        let sizes = |value: &Option<Value>| {
            value.as_ref().is_none_or(|v| matches!(v.what, What::Size | What::Constant(_)))
        };
        let of_shape = matches!(def.name, "Shape" | "Size");
        if (of_shape || inputs.iter().all(sizes)) && types.iter().all(|(_, sym)| sym.is_some()) {
            return Ok(types.into_iter().map(|(ty, sym)| self.size(ty, sym)).collect());
        }
        let call = Call { node, def, inputs, types, outputs: count };
        self.convert(&call)
    }

    /// A size, or a constant if it is known.
    fn size(&mut self, ty: SymType, sym: Option<SymTensor>) -> Value {
        let known: Option<Vec<i64>> =
            sym.as_ref().and_then(|sym| sym.elements.iter().map(DimExpr::as_const).collect());
        if let (Some(known), Some(shape)) = (known, ty.extents())
            && let Ok(tensor) = elements::converted(&Tensor::from_slice(&shape, &known), ty.dtype)
        {
            return self.constant(&tensor);
        }
        Value { ty, sym, what: What::Size }
    }

    /// The operator's own inference.
    fn infer(
        &self,
        node: &Node,
        inputs: &[Option<Value>],
    ) -> Result<Vec<(SymType, Option<SymTensor>)>, Refusal> {
        let small = |value: &Value| value.ty.extents().is_some_and(|e| e.iter().product::<usize>() <= 4096);
        let tensors: Vec<Option<Tensor>> = inputs
            .iter()
            .map(|value| value.as_ref().filter(|value| small(value)).and_then(Value::tensor))
            .collect();
        let seen: Vec<Option<InferInput<'_>>> = inputs
            .iter()
            .zip(&tensors)
            .map(|(value, tensor)| {
                let value = value.as_ref()?;
                let tensor = tensor.as_ref().map(Tensor::view);
                Some(InferInput { ty: &value.ty, tensor, sym: value.sym.as_ref() })
            })
            .collect();
        let ctx =
            InferCtx { attrs: &node.attrs, inputs: &seen, outputs: node.outputs.len(), fresh: &self.fresh };
        let inferred = node.def.infer(&ctx).map_err(|error| Refusal(error.to_string()))?;
        Ok(inferred.into_iter().map(|one| (one.ty, one.sym)).collect())
    }

    /// What depends on constants alone: computed here if it is small, else by nodes that are folded later.
    fn computed(
        &mut self,
        node: &Node,
        inputs: &[Option<Value>],
        types: &[(SymType, Option<SymTensor>)],
    ) -> Result<Option<Vec<Value>>, Refusal> {
        let mut known: Vec<Option<&Known>> = Vec::new();
        for input in inputs {
            match input.as_ref().map(|value| &value.what) {
                None => known.push(None),
                Some(What::Constant(constant)) => known.push(Some(constant)),
                Some(_) => return Ok(None),
            }
        }
        let bytes = |known: &&Known| known.data.as_ref().map_or(usize::MAX, |data| data.bytes().len());
        let read = known.iter().flatten().map(bytes).fold(0usize, usize::saturating_add);
        let made = types.iter().map(|(ty, _)| ty.extents().map_or(0, |e| e.iter().product::<usize>()));
        if read <= COMPUTED_MAX && made.fold(0usize, usize::saturating_add) <= COMPUTED_MAX {
            let tensors: Option<Vec<Option<Tensor>>> = inputs
                .iter()
                .map(|value| match value {
                    None => Some(None),
                    Some(value) => value.tensor().map(Some),
                })
                .collect();
            let tensors = tensors.ok_or_else(|| Refusal::new("a constant cannot be read"))?;
            let views: Vec<Option<TensorView<'_>>> =
                tensors.iter().map(|t| t.as_ref().map(Tensor::view)).collect();
            let results = evaluate(node.def, node, &views)?;
            return Ok(Some(results.iter().map(|tensor| self.constant(tensor)).collect()));
        }
        let ids: Vec<Option<ValueId>> = known.iter().map(|known| known.map(|k| k.id)).collect();
        let swaps = node.def.name == "Transpose" && node.attrs.opt_ints("perm") == Some(&[1, 0]);
        let transpose_of = ids.first().copied().flatten().filter(|_| swaps);
        let out = self.out.nodes(node.def.name, node.attrs.clone(), &ids, node.outputs.len())?;
        let value = |(id, (ty, sym)): (ValueId, &(SymType, Option<SymTensor>))| Value {
            ty: ty.clone(),
            sym: sym.clone(),
            what: What::Constant(Known { id, data: None, transpose_of }),
        };
        Ok(Some(out.into_iter().zip(types).map(value).collect()))
    }

    fn finish(mut self) -> Result<Graph, NotSequence> {
        let refuse = |refusal: Refusal| NotSequence::Output { name: LOGITS.to_string(), reason: refusal.0 };
        let no = |reason: &str| refuse(Refusal::new(reason));
        let at = self.source.outputs.iter().position(|output| output.name == LOGITS);
        let result = self.source.main.results[at.ok_or_else(|| no("there is none"))?];
        let value = self.value(result).map_err(refuse)?;
        let What::Rows(view) = &value.what else { return Err(no("it has not one row a position")) };
        if view.rank() != 3 || !view.is_rows(1) || view.extent(0) != 1 {
            return Err(no("it is not one row of a vocabulary for every position"));
        }
        let vocabulary = view.extent(2);
        let mut logits = self.out.gather(view, &[Some(2)]).map_err(refuse)?;
        if value.ty.dtype != DType::F32 {
            logits = elements::cast(&mut self.out, logits, DType::F32).map_err(refuse)?;
        }
        let Builder { mut graph, mut block, .. } = self.out;
        block.results = vec![logits];
        graph.main = block;
        let shape = vec![DimExpr::sym(POSITIONS), DimExpr::from(vocabulary)];
        graph.outputs =
            vec![Interface { name: LOGITS.to_string(), ty: Some(SymType::new(DType::F32, shape)) }];
        graph.sources = self.source.sources.clone();
        graph.attached = self.source.attached.clone();
        Ok(graph)
    }
}

/// The reference evaluation.
fn evaluate(def: &OpDef, node: &Node, inputs: &[Option<TensorView<'_>>]) -> Result<Vec<Tensor>, Refusal> {
    let ctx = EvalCtx { attrs: &node.attrs, inputs, outputs: node.outputs.len() };
    (def.eval)(&ctx).map_err(|error| Refusal(error.to_string()))
}

/// A node that is being converted.
struct Call<'n> {
    node: &'n Node,
    def: &'static OpDef,
    inputs: Vec<Option<Value>>,
    types: Vec<(SymType, Option<SymTensor>)>,
    outputs: usize,
}

impl Call<'_> {
    fn input(&self, index: usize) -> Result<&Value, Refusal> {
        let missing = || Refusal(format!("input {index} is missing"));
        self.inputs.get(index).and_then(Option::as_ref).ok_or_else(missing)
    }

    fn optional(&self, index: usize) -> Option<&Value> {
        self.inputs.get(index).and_then(Option::as_ref)
    }

    fn ty(&self) -> &SymType {
        &self.types[0].0
    }

    /// One output.
    fn gives(&self, what: What) -> Vec<Value> {
        self.gives_all(vec![what])
    }

    /// The first outputs; what comes after is not converted.
    fn gives_all(&self, whats: Vec<What>) -> Vec<Value> {
        let mut whats = whats.into_iter();
        let value = |(ty, sym): &(SymType, Option<SymTensor>)| Value {
            ty: ty.clone(),
            sym: sym.clone(),
            what: whats.next().unwrap_or(What::Other("it reads an output that is not converted")),
        };
        self.types.iter().take(self.outputs).map(value).collect()
    }

    /// An axis, counted from the end if it is negative.
    fn axis(&self, axis: i64, rank: usize) -> Result<usize, Refusal> {
        let axis = if axis < 0 { axis + rank as i64 } else { axis };
        let found = usize::try_from(axis).ok().filter(|&axis| axis < rank);
        found.ok_or_else(|| Refusal(format!("it has no axis {axis}")))
    }
}

impl Walk<'_> {
    fn convert(&mut self, call: &Call<'_>) -> Result<Vec<Value>, Refusal> {
        let everywhere = call.optional(0).is_some_and(|v| matches!(v.what, What::Grid(Form::Same(_))));
        let indexed = everywhere && matches!(call.def.name, "Gather" | "GatherND" | "GatherElements");
        for value in call.inputs.iter().flatten() {
            if let What::Other(reason) = value.what
                && !indexed
            {
                return Err(Refusal::new(reason));
            }
        }
        let is = |test: fn(&What) -> bool| call.inputs.iter().flatten().any(|value| test(&value.what));
        if is(|what| matches!(what, What::Scores(_) | What::Weights(_))) {
            return self.on_scores(call);
        }
        if matches!(call.def.name, "Attention") {
            return self.attention(call);
        }
        if is(|what| matches!(what, What::Rows(_))) || self.meets_values(call) {
            return self.on_rows(call);
        }
        self.on_positions(call)
    }

    /// Whether positions meet numbers that differ, so that they become rows.
    fn meets_values(&self, call: &Call<'_>) -> bool {
        let varied = |value: &Value| matches!(value.what, What::Constant(_)) && !value.is_one_element();
        let grids = call.inputs.iter().flatten().any(|value| matches!(value.what, What::Grid(_)));
        let first = call.inputs.first().and_then(Option::as_ref);
        match call.def.name {
            "MatMul" | "Gemm" => grids,
            "Gather" => first.is_some_and(varied) && grids,
            "Cos" | "Sin" | "Exp" | "Pow" | "Sqrt" => grids,
            _ => elements::is_elementwise(call.def) && grids && call.inputs.iter().flatten().any(varied),
        }
    }

    /// A value as rows; positions themselves are rows, too.
    fn rows_of(&mut self, value: &Value) -> Result<Option<View>, Refusal> {
        match &value.what {
            What::Rows(view) => Ok(Some(view.clone())),
            What::Grid(Form::Linear(linear)) => self.rows_of_positions(value, linear).map(Some),
            What::Constant(_) => Ok(None),
            What::Grid(Form::Same(_)) | What::Size => Ok(None),
            _ => Err(Refusal::new("a mask meets rows")),
        }
    }

    fn rows_of_positions(&mut self, value: &Value, linear: &Linear) -> Result<View, Refusal> {
        let axes: Vec<usize> = (0..linear.along.len()).filter(|&axis| linear.along[axis] != 0).collect();
        let [axis] = axes[..] else { return Err(Refusal::new("it depends on two positions")) };
        if linear.along[axis] != 1 || linear.s != 0 {
            return Err(Refusal::new("it counts positions otherwise than one by one"));
        }
        let mut base = self.out.positions();
        if linear.c != 0 {
            let by = self.out.tensor(&Tensor::scalar(linear.c)).0;
            base = self.out.node("Add", repops::attrs::Attrs::new(), &[base, by])?;
        }
        if value.ty.dtype != DType::I64 {
            base = elements::cast(&mut self.out, base, value.ty.dtype)?;
        }
        let extents: Option<Vec<view::Extent>> = value
            .ty
            .shape
            .iter()
            .enumerate()
            .map(|(at, extent)| match extent.as_const() {
                Some(1) => Some(view::Extent::Size(1)),
                None if at == axis && linear_size(extent) == Some((0, 1)) => Some(view::Extent::Rows),
                _ => None,
            })
            .collect();
        let extents = extents.ok_or_else(|| Refusal::new("positions are repeated"))?;
        Ok(View::plain(base, value.ty.dtype, &extents))
    }
}
