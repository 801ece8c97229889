//! Draws If, Loop and Scan: their blocks are drawn as a graph is, over the values outside and their own parameters.
//!
//! Invariant: what a drawn node gives is what [`repops::control`], which every executor uses, makes of its blocks.

use std::collections::BTreeMap;

use repops::attrs::{AttrValue, Attrs};
use repops::control::{self, BlockRunner};
use repops::ops::{self, OpClass, OpDef, OpError};
use repops::program::{BlockId, Output, Step};
use repops::{DType, Tensor, TensorView};

use super::draw::{Numbers, Pool, compute, is_wanted};
use super::{Body, Known, Node, Origin};

/// Nodes of a block at most.
const NODES_MAX: usize = 3;
/// How often one is drawn.
const TRIES: usize = 60;

impl Pool {
    /// A node with blocks, if what was drawn is one. Otherwise the pool is as it was.
    pub(super) fn control(
        &mut self,
        def: &'static OpDef,
        rows: &[&'static OpDef],
        numbers: &mut Numbers,
    ) -> Option<Node> {
        let before = (self.values.len(), self.visible.clone(), self.streams);
        let was_read: Vec<bool> = self.values.iter().map(|known| known.is_read).collect();
        self.is_inside = true;
        let drawn = match def.name {
            "If" => self.branches(rows, numbers),
            "Loop" => self.body_of_loop(rows, numbers),
            _ => self.body_of_scan(rows, numbers),
        };
        self.is_inside = false;
        let node = drawn.and_then(|drawn| self.finish(def, drawn));
        if node.is_none() {
            self.values.truncate(before.0);
            (self.visible, self.streams) = (before.1, before.2);
            for (known, was_read) in self.values.iter_mut().zip(was_read) {
                known.is_read = was_read;
            }
        }
        node
    }

    /// Runs the blocks, and makes what comes of them values.
    fn finish(&mut self, def: &'static OpDef, drawn: Drawn) -> Option<Node> {
        let Drawn { attrs, inputs, blocks, visible } = drawn;
        // Values of blocks are seen in them only; constants belong to the whole model.
        let is_outer = |at: &usize| *at < visible || self.values[*at].origin == Origin::Constant;
        self.visible = (0..self.values.len())
            .filter(|at| is_outer(at) && self.values[*at].origin != Origin::Inner)
            .collect();
        let attrs = def.check_attrs(&attrs).ok()?;
        let tensors: Vec<Option<Tensor>> =
            inputs.iter().map(|at| at.map(|at| self.values[at].tensor.clone())).collect();
        let views: Vec<Option<TensorView<'_>>> =
            tensors.iter().map(|t| t.as_ref().map(Tensor::view)).collect();
        let step = Step {
            op: def.id,
            version: def.version,
            attrs: attrs.clone(),
            inputs: Vec::new(),
            outputs: vec![Output::default(); blocks[0].results.len() - usize::from(def.name == "Loop")],
            region: None,
            blocks: (0..blocks.len() as u32).map(BlockId).collect(),
            origins: Vec::new(),
        };
        let mut runner = Blocks { pool: self, blocks: &blocks };
        let found = control::execute(&step, &views, &mut runner).ok()?;
        if found.is_empty() || found.iter().any(|tensor| !is_wanted(tensor)) {
            return None;
        }
        for &at in inputs.iter().flatten() {
            self.values[at].is_read = true;
        }
        let first = self.values.len();
        let outputs: Vec<usize> = (first..first + found.len()).collect();
        self.values.extend(found.into_iter().map(|tensor| Known {
            tensor,
            origin: Origin::Node,
            is_read: false,
        }));
        self.visible.extend(&outputs);
        Some(Node { def, attrs, inputs, outputs, blocks })
    }

    /// A condition that some input, node or constant gives.
    fn single(&mut self, dtype: DType, numbers: &mut Numbers, constant: Tensor) -> usize {
        let fits = |at: &&usize| {
            let tensor = &self.values[**at].tensor;
            tensor.dtype() == dtype && tensor.shape().is_empty()
        };
        let found: Vec<usize> = self.visible.iter().filter(fits).copied().collect();
        if !found.is_empty() && numbers.below(4) > 0 {
            return found[numbers.below(found.len())];
        }
        self.define(constant, Origin::Constant)
    }

    fn define(&mut self, tensor: Tensor, origin: Origin) -> usize {
        self.values.push(Known { tensor, origin, is_read: true });
        self.visible.push(self.values.len() - 1);
        self.values.len() - 1
    }

    /// A few nodes over what is visible; at least one.
    fn inner(&mut self, rows: &[&'static OpDef], numbers: &mut Numbers) -> Option<Vec<Node>> {
        let mut nodes = Vec::new();
        for _ in 0..1 + numbers.below(NODES_MAX) {
            nodes.extend((0..TRIES).find_map(|_| {
                let def = rows[numbers.below(rows.len())];
                if matches!(def.class, OpClass::Control) { None } else { self.node(def, rows, numbers) }
            }));
        }
        if nodes.is_empty() { None } else { Some(nodes) }
    }

    /// A value of the type that the nodes give; otherwise `x` as it is.
    fn result(
        &mut self,
        nodes: &mut Vec<Node>,
        like: &Tensor,
        x: Option<usize>,
        numbers: &mut Numbers,
    ) -> Option<usize> {
        let is_like = |at: &usize| {
            let tensor = &self.values[*at].tensor;
            tensor.dtype() == like.dtype() && tensor.shape() == like.shape()
        };
        let found: Vec<usize> =
            nodes.iter().flat_map(|node| node.outputs.iter().copied()).filter(is_like).collect();
        if !found.is_empty() {
            return Some(found[numbers.below(found.len())]);
        }
        let (x, def) = (x?, ops::by_name("Identity")?);
        let tensor = self.values[x].tensor.clone();
        let at = self.define(tensor, Origin::Inner);
        let (attrs, inputs, outputs) = (Attrs::new(), vec![Some(x)], vec![at]);
        nodes.push(Node { def, attrs, inputs, outputs, blocks: Vec::new() });
        Some(at)
    }

    fn branches(&mut self, rows: &[&'static OpDef], numbers: &mut Numbers) -> Option<Drawn> {
        let visible = self.values.len();
        let constant = Tensor::from_bools(&[], &[numbers.below(2) == 1]);
        let condition = self.single(DType::Bool, numbers, constant);
        let outer = self.visible.clone();
        let then = self.inner(rows, numbers)?;
        let given = then.last()?.outputs[0];
        let like = self.values[given].tensor.clone();
        self.visible.clone_from(&outer);
        let mut otherwise = self.inner(rows, numbers)?;
        let same: Vec<usize> =
            outer.iter().copied().filter(|&at| self.values[at].tensor.dtype() == like.dtype()).collect();
        // The other branch may give another shape.
        let other = match same.is_empty() {
            true => None,
            false => Some(same[numbers.below(same.len())]),
        };
        let other = self.result(&mut otherwise, &like, other, numbers)?;
        let body = |name, nodes, result| Body { name, parameters: Vec::new(), nodes, results: vec![result] };
        let blocks = vec![body("then_branch", then, given), body("else_branch", otherwise, other)];
        Some(Drawn { attrs: Attrs::new(), inputs: vec![Some(condition)], blocks, visible })
    }

    /// Values that a block may carry.
    fn carried(&self, most: usize, numbers: &mut Numbers) -> Vec<usize> {
        let is_tensor = |at: &usize| self.values[*at].tensor.dtype() != DType::Packed;
        let found: Vec<usize> = self.visible.iter().copied().filter(is_tensor).collect();
        (0..numbers.below(most + 1))
            .filter(|_| !found.is_empty())
            .map(|_| found[numbers.below(found.len())])
            .collect()
    }

    fn body_of_loop(&mut self, rows: &[&'static OpDef], numbers: &mut Numbers) -> Option<Drawn> {
        let visible = self.values.len();
        let trips = Tensor::scalar(1 + numbers.below(4) as i64);
        let trips = self.define(trips, Origin::Constant);
        let condition = match numbers.below(3) {
            0 => None,
            _ => Some(self.single(DType::Bool, numbers, Tensor::from_bools(&[], &[true]))),
        };
        let initial = self.carried(2, numbers);
        let mut parameters = vec![
            self.define(Tensor::scalar(0i64), Origin::Inner),
            self.define(Tensor::from_bools(&[], &[true]), Origin::Inner),
        ];
        for &at in &initial {
            let tensor = self.values[at].tensor.clone();
            parameters.push(self.define(tensor, Origin::Inner));
        }
        let mut nodes = self.inner(rows, numbers)?;
        let slice = nodes.last()?.outputs[0];
        let mut results = Vec::new();
        for &parameter in &parameters[1..] {
            let like = self.values[parameter].tensor.clone();
            results.push(self.result(&mut nodes, &like, Some(parameter), numbers)?);
        }
        if self.values[slice].tensor.dtype() != DType::Packed && (initial.is_empty() || numbers.below(2) == 0)
        {
            results.push(slice);
        }
        let inputs = [Some(trips), condition].into_iter().chain(initial.into_iter().map(Some)).collect();
        let blocks = vec![Body { name: "body", parameters, nodes, results }];
        Some(Drawn { attrs: Attrs::new(), inputs, blocks, visible })
    }

    fn body_of_scan(&mut self, rows: &[&'static OpDef], numbers: &mut Numbers) -> Option<Drawn> {
        let visible = self.values.len();
        let initial = self.carried(1, numbers);
        let scanned = self
            .carried(1, numbers)
            .first()
            .copied()
            .or_else(|| self.carried(1, numbers).first().copied())?;
        let x = self.values[scanned].tensor.clone();
        let extent = x.shape().first().copied().filter(|extent| (1..=17).contains(extent))?;
        let backwards = numbers.below(2);
        let mut parameters = Vec::new();
        for &at in &initial {
            let tensor = self.values[at].tensor.clone();
            parameters.push(self.define(tensor, Origin::Inner));
        }
        let bytes = x.bytes().len() / extent;
        let start = if backwards == 1 { x.bytes().len() - bytes } else { 0 };
        let mut slice = Tensor::zeros(x.dtype(), &x.shape()[1..]).ok()?;
        slice.bytes_mut().copy_from_slice(&x.bytes()[start..][..bytes]);
        parameters.push(self.define(slice, Origin::Inner));
        let mut nodes = self.inner(rows, numbers)?;
        let given = nodes.last()?.outputs[0];
        if self.values[given].tensor.dtype() == DType::Packed {
            return None;
        }
        let mut results = Vec::new();
        for &parameter in &parameters[..initial.len()] {
            let like = self.values[parameter].tensor.clone();
            results.push(self.result(&mut nodes, &like, Some(parameter), numbers)?);
        }
        results.push(given);
        let mut attrs = Attrs::new().with_int("num_scan_inputs", 1);
        attrs.insert("scan_input_directions", AttrValue::Ints(vec![backwards as i64]));
        attrs.insert("scan_output_directions", AttrValue::Ints(vec![numbers.below(2) as i64]));
        let inputs = initial.into_iter().chain([scanned]).map(Some).collect();
        let blocks = vec![Body { name: "body", parameters, nodes, results }];
        Some(Drawn { attrs, inputs, blocks, visible })
    }
}

/// A node with blocks that has not been run.
struct Drawn {
    attrs: Attrs,
    inputs: Vec<Option<usize>>,
    blocks: Vec<Body>,
    /// Values from this number on are the blocks'.
    visible: usize,
}

struct Blocks<'a> {
    pool: &'a Pool,
    blocks: &'a [Body],
}

impl BlockRunner for Blocks<'_> {
    type Error = OpError;

    fn run_block(&mut self, block: BlockId, _: u64, args: Vec<Tensor>) -> Result<Vec<Tensor>, OpError> {
        let body = &self.blocks[block.index()];
        let mut values: BTreeMap<usize, Tensor> = body.parameters.iter().copied().zip(args).collect();
        for node in &body.nodes {
            let views: Vec<Option<TensorView<'_>>> = node
                .inputs
                .iter()
                .map(|at| at.map(|at| values.get(&at).unwrap_or(&self.pool.values[at].tensor).view()))
                .collect();
            let found = compute(node.def, &node.attrs, &views, node.outputs.len());
            let found = found.ok_or_else(|| OpError::shape("an iteration is no node"))?;
            values.extend(node.outputs.iter().copied().zip(found));
        }
        let value = |at: &usize| values.get(at).unwrap_or(&self.pool.values[*at].tensor).clone();
        Ok(body.results.iter().map(value).collect())
    }

    fn arity(&self, block: BlockId) -> (usize, usize) {
        let body = &self.blocks[block.index()];
        (body.parameters.len(), body.results.len())
    }
}
