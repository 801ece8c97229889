//! What a conversion sees of a node: typed attributes, inputs, and how to add operators.

use std::borrow::Cow;
use std::collections::BTreeMap;

use half::{bf16, f16};
use repops::attrs::{AttrValue, Attrs};
use repops::dtype::DType;
use repops::ops::{self, SymType};
use repops::program::Origin;
use repops::{Tensor, TensorView};

use super::importer::Importer;
use super::proto::attribute_proto::AttributeType;
use super::proto::{AttributeProto, GraphProto, NodeProto, SparseTensorProto, TensorProto};
use super::types::Place;
use super::{ImportError, domain_name};
use crate::graph::{Block, Constant, Definition, Node, ValueId};

/// A node that is being converted.
pub struct Call<'a, 'm> {
    importer: &'a mut Importer<'m>,
    node: &'m NodeProto,
    name: String,
    /// The version of the operator that is in force, as the import table has it.
    version: i64,
    inputs: Vec<Option<ValueId>>,
    attributes: BTreeMap<String, Cow<'m, AttributeProto>>,
}

/// The outputs of a conversion, from the first on.
pub type Outputs = Result<Vec<ValueId>, ImportError>;

impl<'a, 'm> Call<'a, 'm> {
    pub(super) fn new(
        importer: &'a mut Importer<'m>,
        node: &'m NodeProto,
        name: String,
        version: i64,
        inputs: Vec<Option<ValueId>>,
        attributes: BTreeMap<String, Cow<'m, AttributeProto>>,
    ) -> Call<'a, 'm> {
        Call { importer, node, name, version, inputs, attributes }
    }

    pub fn op_type(&self) -> &'m str {
        self.node.op_type()
    }

    pub fn version(&self) -> i64 {
        self.version
    }

    pub fn inputs(&self) -> Vec<Option<ValueId>> {
        self.inputs.clone()
    }

    pub fn optional(&self, index: usize) -> Option<ValueId> {
        self.inputs.get(index).copied().flatten()
    }

    pub fn input(&self, index: usize) -> Result<ValueId, ImportError> {
        let missing = || self.op_error(ops::OpError::MissingInput { index });
        self.optional(index).ok_or_else(missing)
    }

    /// The number of outputs, up to the last that has a name.
    pub fn outputs(&self) -> usize {
        self.node.output.iter().rposition(|o| !o.is_empty()).map_or(0, |last| last + 1)
    }

    /// The number of outputs, also of those at the end that have no name.
    pub fn declared_outputs(&self) -> usize {
        self.node.output.len()
    }

    /// Whether the output has a name, so that something may use it.
    pub fn has_output(&self, index: usize) -> bool {
        self.node.output.get(index).is_some_and(|o| !o.is_empty())
    }

    /// What is known of an input's type: not every type is known while importing.
    pub fn ty(&self, value: ValueId) -> Option<&SymType> {
        self.importer.type_of(value)
    }

    pub fn dtype(&self, value: ValueId) -> Option<DType> {
        self.ty(value).map(|ty| ty.dtype)
    }

    /// The bytes of an input that is a constant.
    pub fn constant_of(&self, value: ValueId) -> Option<&Constant> {
        self.importer.graph.as_constant(value)
    }

    // Errors.

    pub fn unsupported(&self, problem: impl Into<String>) -> ImportError {
        let (node, op_type) = (self.name.clone(), self.op_type().to_string());
        ImportError::Unsupported { node, op_type, problem: problem.into() }
    }

    pub fn attribute_error(&self, attribute: &str, problem: impl Into<String>) -> ImportError {
        ImportError::Attribute {
            node: self.name.clone(),
            op_type: self.op_type().to_string(),
            attribute: attribute.to_string(),
            problem: problem.into(),
        }
    }

    fn op_error(&self, source: ops::OpError) -> ImportError {
        ImportError::Op { node: self.name.clone(), op_type: self.op_type().to_string(), source }
    }

    // Attributes. Each is taken, so that `rest` is what no conversion has looked at.

    fn take(&mut self, name: &str, kind: AttributeType) -> Result<Option<AttributeProto>, ImportError> {
        let Some(attribute) = self.attributes.remove(name) else { return Ok(None) };
        let found = kind_of(&attribute);
        if found != kind {
            let problem = format!("is {}; {} is needed", found.as_str_name(), kind.as_str_name());
            return Err(self.attribute_error(name, problem));
        }
        Ok(Some(attribute.into_owned()))
    }

    pub fn int(&mut self, name: &str) -> Result<Option<i64>, ImportError> {
        Ok(self.take(name, AttributeType::Int)?.map(|a| a.i()))
    }

    pub fn float(&mut self, name: &str) -> Result<Option<f32>, ImportError> {
        Ok(self.take(name, AttributeType::Float)?.map(|a| a.f()))
    }

    pub fn ints(&mut self, name: &str) -> Result<Option<Vec<i64>>, ImportError> {
        Ok(self.take(name, AttributeType::Ints)?.map(|a| a.ints))
    }

    pub fn floats(&mut self, name: &str) -> Result<Option<Vec<f32>>, ImportError> {
        Ok(self.take(name, AttributeType::Floats)?.map(|a| a.floats))
    }

    pub fn string(&mut self, name: &str) -> Result<Option<String>, ImportError> {
        let Some(attribute) = self.take(name, AttributeType::String)? else { return Ok(None) };
        match String::from_utf8(attribute.s().to_vec()) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(self.attribute_error(name, "is not UTF-8")),
        }
    }

    pub fn strings(&mut self, name: &str) -> Result<Option<Vec<String>>, ImportError> {
        let Some(attribute) = self.take(name, AttributeType::Strings)? else { return Ok(None) };
        let texts = attribute.strings.iter().map(|text| String::from_utf8(text.to_vec()));
        let texts = texts.collect::<Result<Vec<_>, _>>();
        texts.map(Some).map_err(|_| self.attribute_error(name, "is not UTF-8"))
    }

    pub fn tensor(&mut self, name: &str) -> Result<Option<TensorProto>, ImportError> {
        Ok(self.take(name, AttributeType::Tensor)?.and_then(|a| a.t))
    }

    pub fn sparse_tensor(&mut self, name: &str) -> Result<Option<SparseTensorProto>, ImportError> {
        Ok(self.take(name, AttributeType::SparseTensor)?.and_then(|a| a.sparse_tensor))
    }

    pub fn required_int(&mut self, name: &str) -> Result<i64, ImportError> {
        self.int(name)?.ok_or_else(|| self.attribute_error(name, "is missing"))
    }

    pub fn required_ints(&mut self, name: &str) -> Result<Vec<i64>, ImportError> {
        self.ints(name)?.ok_or_else(|| self.attribute_error(name, "is missing"))
    }

    /// Drops an attribute that changes nothing.
    pub fn ignore(&mut self, name: &str) {
        self.attributes.remove(name);
    }

    pub fn has_attribute(&self, name: &str) -> bool {
        self.attributes.contains_key(name)
    }

    /// Imports the graph in an attribute. It sees the names of the graphs around it.
    pub fn block(&mut self, name: &str) -> Result<Block, ImportError> {
        match self.attributes.remove(name) {
            Some(Cow::Borrowed(attribute)) => match &attribute.g {
                Some(graph) => self.importer.block(graph, Place::Elsewhere),
                None => Err(self.attribute_error(name, "is no graph")),
            },
            Some(Cow::Owned(_)) => {
                Err(self.attribute_error(name, "is a graph handed to a function, which is not supported"))
            }
            None => Err(self.attribute_error(name, "is missing")),
        }
    }

    /// The graph in an attribute, which becomes nodes by [`Call::inline`].
    pub fn graph(&mut self, name: &str) -> Result<&'m GraphProto, ImportError> {
        let graph = match self.attributes.remove(name) {
            Some(Cow::Borrowed(attribute)) => attribute.g.as_ref(),
            _ => None,
        };
        graph.ok_or_else(|| self.attribute_error(name, "is no graph"))
    }

    /// Imports a graph in place of itself, its inputs being `args`; gives its outputs.
    pub fn inline(&mut self, graph: &'m GraphProto, args: &[ValueId]) -> Result<Vec<ValueId>, ImportError> {
        if graph.input.len() != args.len() {
            let (found, expected) = (graph.input.len(), args.len());
            return Err(self.unsupported(format!("its graph has {found} inputs, not {expected}")));
        }
        self.importer.inline_graph(graph, args)
    }

    /// [`Call::inline`] with one input and one output.
    pub fn apply_graph(&mut self, name: &str, x: ValueId) -> Result<ValueId, ImportError> {
        let graph = self.graph(name)?;
        let [y] = self.inline(graph, &[x])?[..] else {
            return Err(self.attribute_error(name, "has not one output"));
        };
        Ok(y)
    }

    /// A block with that many parameters, made of what `fill` adds; it gives the results.
    pub fn block_of(
        &mut self,
        parameters: usize,
        fill: impl FnOnce(&mut Self, &[ValueId]) -> Result<Vec<ValueId>, ImportError>,
    ) -> Result<Block, ImportError> {
        let name = |index: usize| format!("{}#{index}", self.name);
        let names: Vec<String> = (0..parameters).map(name).collect();
        let graph = &mut self.importer.graph;
        let parameters: Vec<ValueId> =
            names.iter().map(|name| graph.add_value(name, Definition::Parameter, None)).collect();
        self.importer.open_block();
        let results = fill(self, &parameters);
        let nodes = self.importer.close_block();
        Ok(Block { parameters, nodes, results: results? })
    }

    /// The attributes that have not been taken, as the operator table's.
    pub fn rest(&mut self) -> Result<Attrs, ImportError> {
        let mut out = Attrs::new();
        for (name, attribute) in std::mem::take(&mut self.attributes) {
            let value = match kind_of(&attribute) {
                AttributeType::Int => AttrValue::Int(attribute.i()),
                AttributeType::Float => AttrValue::Float(attribute.f()),
                AttributeType::String => match std::str::from_utf8(attribute.s()) {
                    Ok(text) => AttrValue::Str(text.to_string()),
                    Err(_) => return Err(self.attribute_error(&name, "is not UTF-8")),
                },
                AttributeType::Ints => AttrValue::Ints(attribute.ints.clone()),
                AttributeType::Floats => AttrValue::Floats(attribute.floats.clone()),
                AttributeType::Strings => {
                    let text = attribute.strings.iter().map(|s| String::from_utf8(s.to_vec()));
                    match text.collect::<Result<Vec<_>, _>>() {
                        Ok(list) => AttrValue::Strs(list),
                        Err(_) => return Err(self.attribute_error(&name, "is not UTF-8")),
                    }
                }
                other => {
                    let problem = format!("has the kind {}, which does not fit here", other.as_str_name());
                    return Err(self.attribute_error(&name, problem));
                }
            };
            out.insert(&name, value);
        }
        Ok(out)
    }

    // What a conversion makes.

    /// Adds an operator of the table; gives its outputs.
    pub fn emit(
        &mut self,
        op: &str,
        attrs: Attrs,
        inputs: &[Option<ValueId>],
        outputs: usize,
    ) -> Result<Vec<ValueId>, ImportError> {
        self.emit_with_blocks(op, attrs, inputs, outputs, Vec::new())
    }

    /// Adds an operator with one output.
    pub fn emit1(
        &mut self,
        op: &str,
        attrs: Attrs,
        inputs: &[Option<ValueId>],
    ) -> Result<ValueId, ImportError> {
        Ok(self.emit(op, attrs, inputs, 1)?[0])
    }

    pub fn emit_with_blocks(
        &mut self,
        op: &str,
        attrs: Attrs,
        inputs: &[Option<ValueId>],
        outputs: usize,
        blocks: Vec<Block>,
    ) -> Result<Vec<ValueId>, ImportError> {
        let Some(def) = ops::by_name(op) else {
            return Err(self.unknown_operator(format!("the operator table has no {op}")));
        };
        let attrs = def.check_attrs(&attrs).map_err(|e| self.op_error(e))?;
        let count = inputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        let inputs = inputs[..count].to_vec();
        let present: Vec<bool> = inputs.iter().map(Option::is_some).collect();
        def.check_arity(&present, outputs).map_err(|e| self.op_error(e))?;
        let ids: Vec<ValueId> =
            (0..outputs).map(|_| self.importer.graph.add_value("", Definition::Output, None)).collect();
        let origin = self.origin();
        self.importer.push(Node { def, attrs, inputs, outputs: ids.clone(), blocks, origin })?;
        Ok(ids)
    }

    fn unknown_operator(&self, supported: String) -> ImportError {
        ImportError::UnknownOperator {
            node: self.name.clone(),
            op_type: self.op_type().to_string(),
            domain: domain_name(self.node.domain()).to_string(),
            opset: self.version,
            supported,
        }
    }

    fn origin(&self) -> Origin {
        let opset = self.importer.opset(self.node.domain()).and_then(|v| u32::try_from(v).ok()).unwrap_or(0);
        let domain = if self.node.domain() == "ai.onnx" { "" } else { self.node.domain() };
        Origin {
            name: self.name.clone(),
            op_type: self.op_type().to_string(),
            domain: domain.to_string(),
            opset,
        }
    }

    /// Adds a constant that the model does not name.
    pub fn constant(&mut self, tensor: &Tensor) -> ValueId {
        self.importer.graph.add_constant(Constant::from_tensor("", tensor))
    }

    pub fn constant_ints(&mut self, values: &[i64]) -> ValueId {
        self.constant(&Tensor::from_slice(&[values.len()], values))
    }

    pub fn constant_floats(&mut self, shape: &[usize], values: &[f32]) -> ValueId {
        let mut tensor = Tensor::from_slice(shape, values);
        tensor.canonicalize();
        self.constant(&tensor)
    }

    /// A constant of a tensor of the model, named after the node's output.
    pub fn constant_proto(&mut self, tensor: &TensorProto) -> Result<ValueId, ImportError> {
        let name = self.node.output.first().cloned().unwrap_or_default();
        self.importer.tensor(&name, tensor)
    }

    /// A constant of a sparse tensor of the model, named after the node's output.
    pub fn constant_sparse(&mut self, tensor: &SparseTensorProto) -> Result<ValueId, ImportError> {
        let name = self.node.output.first().cloned().unwrap_or_default();
        self.importer.sparse(&name, tensor)
    }

    /// A scalar of the type of `like`: the older forms of operators have f32 attributes where the newer
    /// ones have an input of the data's type.
    pub fn scalar_like(&mut self, value: f32, like: ValueId) -> Result<ValueId, ImportError> {
        let tensor = match self.dtype(like) {
            Some(DType::F32) => Tensor::scalar(value),
            Some(DType::F64) => Tensor::scalar(f64::from(value)),
            Some(DType::F16) => Tensor::scalar(f16::from_f32(value)),
            Some(DType::BF16) => Tensor::scalar(bf16::from_f32(value)),
            // Operators that had float attributes took no integers then, or only as whole numbers.
            Some(DType::I64) => Tensor::scalar(value as i64),
            Some(DType::I32) => Tensor::scalar(value as i32),
            Some(other) => return Err(self.unsupported(format!("this version does not take {other}"))),
            None => {
                let scalar = self.constant(&Tensor::scalar(value));
                return self.emit1("CastLike", Attrs::new(), &[Some(scalar), Some(like)]);
            }
        };
        Ok(self.constant(&tensor))
    }

    /// The integers of an input that is a constant.
    pub fn known_ints(&self, value: ValueId) -> Option<Vec<i64>> {
        let tensor = self.constant_of(value)?.to_tensor().ok()?;
        let view: TensorView<'_> = tensor.view();
        view.to_i64s()
    }
}

/// The kind of an attribute: as declared, or by what it holds (files of IR version 1 do not declare it).
fn kind_of(attribute: &AttributeProto) -> AttributeType {
    match attribute.r#type() {
        AttributeType::Undefined => {}
        declared => return declared,
    }
    let held = [
        (attribute.f.is_some(), AttributeType::Float),
        (attribute.i.is_some(), AttributeType::Int),
        (attribute.s.is_some(), AttributeType::String),
        (attribute.t.is_some(), AttributeType::Tensor),
        (attribute.g.is_some(), AttributeType::Graph),
        (!attribute.floats.is_empty(), AttributeType::Floats),
        (!attribute.ints.is_empty(), AttributeType::Ints),
        (!attribute.strings.is_empty(), AttributeType::Strings),
    ];
    held.into_iter().find(|(has, _)| *has).map_or(AttributeType::Undefined, |(_, kind)| kind)
}
