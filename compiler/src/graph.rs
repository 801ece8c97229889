//! The imported model: a plain graph in terms of the operator table, before it becomes a module.
//!
//! Invariant of a [`Graph`] that the importer returns: every value is defined exactly once and before
//! every use (in its block or in a block around it), every node names a row of the operator table with
//! checked and complete attributes, and constants' bytes are canonical. Nothing here knows protobuf.

use std::sync::Arc;

use repops::Tensor;
use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::ops::{OpDef, SymType};
use repops::program::{Backing, ConstantBytes, Origin, Source};
use repops::tensor::{TensorError, TensorView};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(pub u32);
        impl $name {
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    )* };
}
ids!(
    /// A value, by position in [`Graph::values`]. Blocks share one numbering.
    ValueId,
    /// A constant, by position in [`Graph::constants`].
    ConstantId
);

/// A model.
#[derive(Clone, Default)]
pub struct Graph {
    pub name: String,
    /// The model file first, then external data files in the order of their names.
    pub sources: Vec<Source>,
    pub values: Vec<Value>,
    pub constants: Vec<Constant>,
    /// The main block; its parameters are the model's inputs, its results the model's outputs.
    pub main: Block,
    /// One for each result of the main block.
    pub outputs: Vec<Interface>,
    /// Constants that no node reads and the program carries all the same: a tokenizer, a template.
    pub attached: Vec<Constant>,
}

/// A value of the graph.
#[derive(Clone, Debug)]
pub struct Value {
    /// ONNX's name where the value has one, else one derived from its node's. Unique in its block.
    pub name: String,
    pub definition: Definition,
    /// What the model declares, for parameters of blocks; inference finds the others.
    pub ty: Option<SymType>,
}

/// What makes a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Definition {
    Parameter,
    Constant(ConstantId),
    Output,
}

/// An output of the model: its name, and its type as far as the model declares it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    pub name: String,
    pub ty: Option<SymType>,
}

/// Nodes with parameters and results. Every node stands after those that make its inputs.
#[derive(Clone, Default, Debug)]
pub struct Block {
    pub parameters: Vec<ValueId>,
    pub nodes: Vec<Node>,
    pub results: Vec<ValueId>,
}

/// An operator of the table, applied.
#[derive(Clone)]
pub struct Node {
    pub def: &'static OpDef,
    pub attrs: Attrs,
    /// Absent optional inputs are `None`; the last one is present.
    pub inputs: Vec<Option<ValueId>>,
    pub outputs: Vec<ValueId>,
    /// If: then, else. Loop and Scan: the body. They see the values of the blocks around them.
    pub blocks: Vec<Block>,
    pub origin: Origin,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node({} {:?})", self.def.name, self.origin.name)
    }
}

/// A tensor of the model. Its bytes stay where they are (a mapped file) unless they had to be changed.
#[derive(Clone)]
pub struct Constant {
    pub name: String,
    pub dtype: DType,
    pub shape: Vec<usize>,
    /// Row-major, little-endian, canonical, as long as type and shape say. Not always aligned.
    pub data: ConstantBytes,
}

impl Constant {
    /// A constant that owns its bytes.
    pub fn from_tensor(name: &str, tensor: &Tensor) -> Constant {
        Constant {
            name: name.to_string(),
            dtype: tensor.dtype(),
            shape: tensor.shape().to_vec(),
            data: owned_bytes(tensor.bytes().to_vec()),
        }
    }

    pub fn bytes(&self) -> &[u8] {
        self.data.as_slice()
    }

    /// The bytes in place, where they happen to be aligned for the type.
    pub fn view(&self) -> Option<TensorView<'_>> {
        let bytes = self.bytes();
        let aligned = (bytes.as_ptr() as usize).is_multiple_of(self.dtype.size());
        aligned.then_some(TensorView { dtype: self.dtype, shape: &self.shape, bytes })
    }

    /// A copy.
    pub fn to_tensor(&self) -> Result<Tensor, TensorError> {
        Tensor::from_bytes(self.dtype, &self.shape, self.bytes())
    }
}

impl std::fmt::Debug for Constant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Constant({:?} {}{:?})", self.name, self.dtype, self.shape)
    }
}

/// Bytes that belong to nobody else, as a constant's.
pub fn owned_bytes(bytes: Vec<u8>) -> ConstantBytes {
    let len = bytes.len();
    let backing: Backing = Arc::new(bytes);
    ConstantBytes { backing, offset: 0, len }
}

impl Graph {
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    pub fn constant(&self, id: ConstantId) -> &Constant {
        &self.constants[id.index()]
    }

    /// The constant that a value is, if it is one.
    pub fn as_constant(&self, id: ValueId) -> Option<&Constant> {
        match self.value(id).definition {
            Definition::Constant(constant) => Some(self.constant(constant)),
            _ => None,
        }
    }

    /// Adds a value and gives its id.
    pub fn add_value(&mut self, name: &str, definition: Definition, ty: Option<SymType>) -> ValueId {
        let id = ValueId(u32::try_from(self.values.len()).expect("the importer bounds the number of values"));
        self.values.push(Value { name: name.to_string(), definition, ty });
        id
    }

    /// Adds a constant and the value that it is.
    pub fn add_constant(&mut self, constant: Constant) -> ValueId {
        let id = u32::try_from(self.constants.len()).expect("the importer bounds the number of constants");
        let ty = SymType::of(constant.dtype, &constant.shape);
        let value = self.add_value(&constant.name, Definition::Constant(ConstantId(id)), Some(ty));
        self.constants.push(constant);
        value
    }

    /// The number of nodes, those of inner blocks included.
    pub fn node_count(&self) -> usize {
        fn count(block: &Block) -> usize {
            block.nodes.iter().map(|node| 1 + node.blocks.iter().map(count).sum::<usize>()).sum()
        }
        count(&self.main)
    }
}

/// One line for each parameter, constant, node and result: for tests and for people.
impl std::fmt::Display for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, constant) in self.constants.iter().enumerate() {
            write!(f, "const c{index} {:?}: {}{:?}", constant.name, constant.dtype, constant.shape)?;
            if constant.shape.len() <= 1 && constant.shape.iter().product::<usize>() <= 8 {
                match constant.to_tensor().ok().and_then(|t| t.view().to_i64s()) {
                    Some(values) => write!(f, " = {values:?}")?,
                    None => write!(f, " = 0x{}", hex(constant.bytes()))?,
                }
            }
            writeln!(f)?;
        }
        self.write_block(f, &self.main, 0)?;
        for (output, id) in self.outputs.iter().zip(&self.main.results) {
            let ty = output.ty.as_ref().map_or("?".to_string(), |t| t.to_string());
            writeln!(f, "output {:?}: {ty} = {}", output.name, self.reference(*id))?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Graph({:?}, {} nodes, {} constants)", self.name, self.node_count(), self.constants.len())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

impl Graph {
    fn reference(&self, id: ValueId) -> String {
        match self.value(id).definition {
            Definition::Constant(constant) => format!("c{}", constant.0),
            _ => format!("%{}", self.value(id).name),
        }
    }

    fn write_block(&self, f: &mut std::fmt::Formatter<'_>, block: &Block, depth: usize) -> std::fmt::Result {
        let indent = "  ".repeat(depth);
        for id in &block.parameters {
            let value = self.value(*id);
            let ty = value.ty.as_ref().map_or("?".to_string(), |t| t.to_string());
            writeln!(f, "{indent}param %{}: {ty}", value.name)?;
        }
        for node in &block.nodes {
            let outputs: Vec<String> = node.outputs.iter().map(|o| self.reference(*o)).collect();
            let inputs: Vec<String> =
                node.inputs.iter().map(|i| i.map_or("-".to_string(), |i| self.reference(i))).collect();
            write!(f, "{indent}{} = {}({})", outputs.join(", "), node.def.name, inputs.join(", "))?;
            if !node.attrs.is_empty() {
                write!(f, " {}", node.attrs)?;
            }
            writeln!(f)?;
            for inner in &node.blocks {
                writeln!(f, "{indent}  block")?;
                self.write_block(f, inner, depth + 2)?;
                let results: Vec<String> = inner.results.iter().map(|r| self.reference(*r)).collect();
                writeln!(f, "{indent}    results {}", results.join(", "))?;
            }
        }
        Ok(())
    }
}
