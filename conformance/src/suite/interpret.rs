//! Executes an imported graph node by node by the operators' reference evaluation: no compiler pass, no
//! program, no kernel. What it finds wrong is wrong in the import or in an operator's row.

use std::collections::BTreeMap;

use repops::control::{self, BlockRunner};
use repops::ops::{self, EvalCtx, OpClass, OpError};
use repops::program::{BlockId, Output, Step};
use repops::{Tensor, TensorView};
use repops_compiler::graph::{Block, Graph, Node, ValueId};

/// A node that cannot be executed.
#[derive(Debug, thiserror::Error)]
pub enum InterpretError {
    #[error("node {node:?} ({op}): {source}")]
    Node { node: String, op: &'static str, source: OpError },
    #[error("node {node:?} ({op}): {inner}")]
    Inside { node: String, op: &'static str, inner: String },
    #[error("node {node:?} ({op}): inferred {inferred}, evaluated {evaluated}")]
    Inference { node: String, op: &'static str, inferred: String, evaluated: String },
    #[error(transparent)]
    Op(#[from] OpError),
}

/// The graph's outputs for the given inputs.
pub fn run(graph: &Graph, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, InterpretError> {
    let mut run = Run { graph, values: BTreeMap::new() };
    run.block(&graph.main, inputs)
}

struct Run<'g> {
    graph: &'g Graph,
    values: BTreeMap<ValueId, Tensor>,
}

impl<'g> Run<'g> {
    fn block(&mut self, block: &'g Block, args: Vec<Tensor>) -> Result<Vec<Tensor>, InterpretError> {
        if args.len() != block.parameters.len() {
            let (expected, found) = (block.parameters.len().to_string(), args.len());
            return Err(OpError::InputCount { expected, found }.into());
        }
        self.values.extend(block.parameters.iter().copied().zip(args));
        for node in &block.nodes {
            let outputs = self.node(node)?;
            self.values.extend(node.outputs.iter().copied().zip(outputs));
        }
        block.results.iter().map(|id| self.value(*id)).collect()
    }

    fn value(&self, id: ValueId) -> Result<Tensor, InterpretError> {
        match self.graph.as_constant(id) {
            Some(constant) => Ok(constant.to_tensor().map_err(OpError::from)?),
            None => Ok(self.values[&id].clone()),
        }
    }

    fn node(&mut self, node: &'g Node) -> Result<Vec<Tensor>, InterpretError> {
        let inputs: Vec<Option<Tensor>> =
            node.inputs.iter().map(|id| id.map(|id| self.value(id)).transpose()).collect::<Result<_, _>>()?;
        let views: Vec<Option<TensorView<'_>>> =
            inputs.iter().map(|t| t.as_ref().map(Tensor::view)).collect();
        let (name, op) = (node.origin.name.clone(), node.def.name);
        if matches!(node.def.class, OpClass::Control) {
            let outputs = control::execute(&step(node), &views, &mut Blocks { run: self, node });
            return outputs.map_err(|inner| InterpretError::Inside {
                node: name,
                op,
                inner: inner.to_string(),
            });
        }
        let known = ops::infer_known(node.def, &node.attrs, &views, node.outputs.len());
        let ctx = EvalCtx { attrs: &node.attrs, inputs: &views, outputs: node.outputs.len() };
        let outputs = known.and_then(|inferred| Ok((inferred, node.def.evaluate(&ctx)?)));
        let (inferred, outputs) =
            outputs.map_err(|source| InterpretError::Node { node: name.clone(), op, source })?;
        for (inferred, output) in inferred.iter().zip(&outputs) {
            let fits = match inferred.ty.extents() {
                Some(extents) => extents == output.shape(),
                // A size that depends on data.
                None => inferred.ty.shape.len() == output.shape().len(),
            };
            if inferred.ty.dtype != output.dtype() || !fits {
                let (inferred, evaluated) = (inferred.ty.to_string(), format!("{output:?}"));
                return Err(InterpretError::Inference { node: name, op, inferred, evaluated });
            }
            if !output.is_canonical() {
                let source = OpError::Unsupported("gives a NaN that is not canonical".to_string());
                return Err(InterpretError::Node { node: name, op, source });
            }
        }
        Ok(outputs)
    }
}

/// The step that a control-flow node would be; its blocks are numbered as the node has them.
fn step(node: &Node) -> Step {
    Step {
        op: node.def.id,
        version: node.def.version,
        attrs: node.attrs.clone(),
        inputs: Vec::new(),
        outputs: node.outputs.iter().map(|_| Output::default()).collect(),
        region: None,
        blocks: (0..node.blocks.len() as u32).map(BlockId).collect(),
        origins: vec![node.origin.clone()],
    }
}

struct Blocks<'r, 'g> {
    run: &'r mut Run<'g>,
    node: &'g Node,
}

impl BlockRunner for Blocks<'_, '_> {
    type Error = InterpretError;

    fn run_block(
        &mut self,
        block: BlockId,
        _: u64,
        args: Vec<Tensor>,
    ) -> Result<Vec<Tensor>, InterpretError> {
        self.run.block(&self.node.blocks[block.index()], args)
    }

    fn arity(&self, block: BlockId) -> (usize, usize) {
        let block = &self.node.blocks[block.index()];
        (block.parameters.len(), block.results.len())
    }
}
