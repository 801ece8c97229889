//! From a graph to a module: every node an operation, with its origin as its location.
//!
//! Constants stand first in the program's block, each once; nodes keep their order. Nothing is inferred or changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use repops::digest::Layout;
use repops::ops::SymType;

use crate::graph::{Block as GraphBlock, Constant, Definition, Graph, Node, ValueId};
use crate::mlir::module::New;
use crate::mlir::ops::Applied;
use crate::mlir::{At, Block, Context, Location, Module, Type, Value, ops, origin, tensor};
use crate::passes::Session;
use crate::weights::{Weight, Weights};

/// The session of a compilation of `graph`.
pub fn build<'c>(context: &'c Context, graph: &Graph) -> Session<'c> {
    let module = Module::new(context);
    let mut weights = Weights::default();
    Builder {
        graph,
        module: &module,
        weights: &mut weights,
        values: BTreeMap::new(),
        absent: None,
        nodes: 0,
    }
    .program();
    let mut session = Session::new(module);
    session.weights.replace(weights);
    session.sources = graph.sources.clone();
    session.attached = graph.attached.iter().map(|constant| Arc::new(weight_of(constant))).collect();
    session
}

/// A constant as the store holds it.
fn weight_of(constant: &Constant) -> Weight {
    Weight {
        name: constant.name.clone(),
        dtype: constant.dtype,
        shape: constant.shape.clone(),
        layout: Layout::RowMajor,
        data: constant.data.clone(),
    }
}

struct Builder<'a, 'g> {
    graph: &'g Graph,
    module: &'a Module<'a>,
    weights: &'g mut Weights,
    values: BTreeMap<ValueId, Value<'a>>,
    /// What stands for absent inputs.
    absent: Option<Value<'a>>,
    /// Nodes so far.
    nodes: u32,
}

impl<'a> Builder<'a, '_> {
    fn context(&self) -> &'a Context {
        self.module.context()
    }

    fn program(&mut self) {
        let graph = self.graph;
        let unknown = origin::named(self.context(), "");
        let inputs: Vec<String> =
            graph.main.parameters.iter().map(|&id| graph.value(id).name.clone()).collect();
        let outputs: Vec<String> = graph.outputs.iter().map(|output| output.name.clone()).collect();
        let new = New {
            attributes: vec![
                ("inputs", self.module.strings(&inputs)),
                ("outputs", self.module.strings(&outputs)),
                ("name", self.module.string(&graph.name)),
            ],
            bodies: vec![self.types(&graph.main.parameters)],
            ..New::default()
        };
        let program = self.module.create(At::End(self.module.block()), ops::PROGRAM, unknown, &new);
        let body = program.body(0).expect("created with a body");
        self.constants(body, &graph.main);
        self.block(body, &graph.main, ops::OUTPUT, unknown);
    }

    /// Creates what a block and those inside of it read: constants, and the absent value.
    fn constants(&mut self, body: Block<'a>, block: &GraphBlock) {
        for node in &block.nodes {
            for input in &node.inputs {
                match input {
                    Some(id) => self.constant(body, *id),
                    None if self.absent.is_none() => {
                        let unknown = origin::named(self.context(), "");
                        self.absent = Some(self.module.create_none(At::End(body), unknown));
                    }
                    None => {}
                }
            }
            node.blocks.iter().for_each(|inner| self.constants(body, inner));
        }
        block.results.iter().for_each(|&id| self.constant(body, id));
    }

    fn constant(&mut self, body: Block<'a>, id: ValueId) {
        let Definition::Constant(constant) = self.graph.value(id).definition else { return };
        if self.values.contains_key(&id) {
            return;
        }
        let constant = self.graph.constant(constant);
        let weight = self.weights.add(weight_of(constant));
        let ty = tensor::of(self.context(), Some(&SymType::of(constant.dtype, &constant.shape)));
        let location = origin::named(self.context(), &constant.name);
        let value = self.module.create_constant(At::End(body), location, weight.0, ty);
        self.values.insert(id, value);
    }

    fn types(&self, ids: &[ValueId]) -> Vec<Type<'a>> {
        ids.iter().map(|&id| tensor::of(self.context(), self.graph.value(id).ty.as_ref())).collect()
    }

    fn block(&mut self, body: Block<'a>, block: &GraphBlock, terminator: &str, location: Location<'a>) {
        for (&id, argument) in block.parameters.iter().zip(body.arguments()) {
            self.values.insert(id, argument);
        }
        block.nodes.iter().for_each(|node| self.node(body, node));
        let results: Vec<Value<'a>> = block.results.iter().map(|id| self.values[id]).collect();
        self.module.create_terminator(At::End(body), terminator, location, &results);
    }

    fn node(&mut self, body: Block<'a>, node: &Node) {
        let location = origin::locate(self.context(), &node.origin, self.nodes);
        self.nodes += 1;
        let absent = |this: &Self| this.absent.expect("created where an input is absent");
        let operands =
            node.inputs.iter().map(|input| input.map_or_else(|| absent(self), |id| self.values[&id]));
        let new = New {
            operands: operands.collect(),
            results: vec![tensor::unknown(self.context()); node.outputs.len()],
            bodies: node.blocks.iter().map(|inner| self.types(&inner.parameters)).collect(),
            ..New::default()
        };
        let applied = Applied { op: node.def.name, version: node.def.version, attrs: node.attrs.clone() };
        let op = self.module.create_applied(At::End(body), location, &applied, new);
        for (inner, body) in node.blocks.iter().zip(op.bodies()) {
            self.block(body, inner, ops::YIELD, location);
        }
        for (&id, result) in node.outputs.iter().zip(op.results()) {
            self.values.insert(id, result);
        }
    }
}
