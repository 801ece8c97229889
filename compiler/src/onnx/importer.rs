//! Graphs, scopes and functions: names become values, nodes go through the import table.
//!
//! Invariant: a name is looked up in the graph that uses it and in the graphs around it, up to the
//! boundary of a function; a node is imported after all that it reads.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use repops::attrs::AttrValue;
use repops::ops::{InferCtx, InferInput, SymTensor, SymType};
use repops::{DType, DimExpr, Tensor};

use super::call::Call;
use super::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, SparseTensorProto,
};
use super::tensor::{self, ExternalFiles};
use super::types::{Place, Sizes};
use super::{ImportError, OPSETS, domain_name, node_name, sort, sparse, table};
use crate::graph::{Block, Definition, Graph, Interface, Node, ValueId};

/// Nodes of the imported graph, functions inlined: a function that calls another twice, which calls
/// another twice, must not fill the memory.
const NODES_MAX: u64 = 1_000_000;
/// Bytes of the names that inlining makes, each of which holds the names of the calls around it.
const NAME_BYTES_MAX: u64 = 1 << 28;
/// Graphs and functions inside of each other.
const NESTING_MAX: usize = 48;
/// Bytes of a constant that inference of shapes looks at.
const KNOWN_BYTES_MAX: usize = 4096;

/// Imports the model.
pub fn import(model: &ModelProto, files: &mut ExternalFiles) -> Result<Graph, ImportError> {
    let graph = model.graph.as_ref().ok_or(ImportError::NoGraph)?;
    let opsets = opsets(&model.opset_import)?;
    if opsets.is_empty() {
        return Err(ImportError::NoOpset);
    }
    let mut importer = Importer {
        graph: Graph { name: graph.name().to_string(), ..Graph::default() },
        files,
        functions: functions(model)?,
        opsets,
        sizes: Sizes::of(&graph.input),
        scopes: Vec::new(),
        open: Vec::new(),
        calls: Vec::new(),
        known: Vec::new(),
        fresh: Cell::new(0),
        node_count: 0,
        streams: 0,
        name_bytes: 0,
        expanded: BTreeMap::new(),
    };
    importer.graph.main = importer.block(graph, Place::ModelInput)?;
    for (index, output) in graph.output.iter().enumerate() {
        let ty = importer.sizes.symbolic(output, Place::Elsewhere)?;
        importer.check_output(index, output.name(), ty.as_ref())?;
        importer.graph.outputs.push(Interface { name: output.name().to_string(), ty });
    }
    let mut graph = importer.graph;
    let main = std::mem::take(&mut graph.main);
    name_values(&main, &mut graph);
    graph.main = main;
    Ok(graph)
}

/// Values that the model does not name are named after their node.
fn name_values(block: &Block, graph: &mut Graph) {
    for node in &block.nodes {
        for output in &node.outputs {
            let value = &mut graph.values[output.index()];
            if value.name.is_empty() {
                value.name = format!("{}#{}", node.origin.name, output.0);
            }
        }
        node.blocks.iter().for_each(|inner| name_values(inner, graph));
    }
}

/// Versions by domain, `ai.onnx` as the empty one.
fn opsets(imports: &[OperatorSetIdProto]) -> Result<BTreeMap<String, i64>, ImportError> {
    let mut out = BTreeMap::new();
    for import in imports {
        let (domain, version) = (canonical_domain(import.domain()).to_string(), import.version());
        if let Some(first) = out.insert(domain.clone(), version)
            && first != version
        {
            let domain = domain_name(&domain).to_string();
            return Err(ImportError::OpsetTwice { domain, first, second: version });
        }
    }
    // Who uses no operator of ai.onnx need not import it.
    if let Some(&version) = out.get("")
        && !OPSETS.contains(&version)
    {
        return Err(ImportError::Opset {
            domain: domain_name("").to_string(),
            version,
            supported: format!("{} to {} are", OPSETS.start(), OPSETS.end()),
        });
    }
    Ok(out)
}

fn canonical_domain(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

/// Domain, name and overload of a function.
type FunctionKey = (String, String, String);

fn function_key(node: &NodeProto) -> FunctionKey {
    let domain = canonical_domain(node.domain()).to_string();
    (domain, node.op_type().to_string(), node.overload().to_string())
}

fn functions(model: &ModelProto) -> Result<BTreeMap<FunctionKey, &FunctionProto>, ImportError> {
    let mut out = BTreeMap::new();
    for function in &model.functions {
        let domain = canonical_domain(function.domain()).to_string();
        let key = (domain, function.name().to_string(), function.overload().to_string());
        if out.insert(key, function).is_some() {
            return Err(ImportError::DefinedTwice {
                graph: "functions".to_string(),
                name: function.name().to_string(),
                by: "another function".to_string(),
            });
        }
    }
    Ok(out)
}

/// The state of an import.
pub(super) struct Importer<'m> {
    pub(super) graph: Graph,
    files: &'m mut ExternalFiles,
    functions: BTreeMap<FunctionKey, &'m FunctionProto>,
    /// Those of the model, or of the function that is being inlined.
    opsets: BTreeMap<String, i64>,
    sizes: Sizes,
    scopes: Vec<Scope>,
    /// The nodes of the blocks that are being built, innermost last.
    open: Vec<Vec<Node>>,
    /// The functions that are being inlined, outermost first.
    calls: Vec<Inlining>,
    /// What is known of each value, for conversions that depend on it.
    known: Vec<Known>,
    fresh: Cell<u32>,
    node_count: u64,
    /// Random nodes so far.
    streams: i64,
    name_bytes: u64,
    /// The number of nodes that a call of a function becomes, for functions that are called.
    expanded: BTreeMap<FunctionKey, u64>,
}

/// The names of one graph or function.
struct Scope {
    graph: String,
    /// An input of a function that the call leaves out is `None`.
    names: BTreeMap<String, Option<ValueId>>,
    /// A function's body sees nothing outside of it.
    is_function: bool,
}

struct Inlining {
    /// Prefix of the names of what the function makes.
    prefix: String,
    /// The attributes that the body refers to by name.
    attributes: BTreeMap<String, AttributeProto>,
}

#[derive(Clone, Default)]
struct Known {
    ty: Option<SymType>,
    sym: Option<SymTensor>,
}

/// The names of a graph's constants.
fn initialized(graph: &GraphProto) -> BTreeSet<&str> {
    let sparse = graph.sparse_initializer.iter().filter_map(|tensor| tensor.values.as_ref());
    graph.initializer.iter().chain(sparse).map(|tensor| tensor.name()).collect()
}

impl<'m> Importer<'m> {
    /// Compares what an output is declared as with what its node gives, as far as both are known.
    fn check_output(&self, index: usize, name: &str, declared: Option<&SymType>) -> Result<(), ImportError> {
        let main = &self.graph.main;
        let Some(&value) = main.results.get(index) else { return Ok(()) };
        let (Some(declared), Some(found)) = (declared, self.type_of(value)) else { return Ok(()) };
        let differ =
            |(a, b): (&DimExpr, &DimExpr)| a.as_const().zip(b.as_const()).is_some_and(|(a, b)| a != b);
        let fits = declared.dtype == found.dtype
            && declared.shape.len() == found.shape.len()
            && !declared.shape.iter().zip(&found.shape).any(differ);
        let is_packed = [declared, found].iter().any(|ty| ty.dtype == DType::Packed);
        if fits || is_packed {
            return Ok(());
        }
        let maker = main.nodes.iter().find(|node| node.outputs.contains(&value));
        let maker = maker.map_or("the model".to_string(), |node| format!("node {:?}", node.origin.name));
        let problem = format!("it is declared as {declared}, {maker} gives {found}");
        Err(ImportError::Value { what: "output", name: name.to_string(), problem })
    }

    fn enter(&mut self, graph: &str, is_function: bool) -> Result<(), ImportError> {
        if self.scopes.len() >= NESTING_MAX {
            let what = format!("graphs and functions inside of each other, at {graph:?}");
            let found = self.scopes.len() as u64 + 1;
            return Err(ImportError::Limit { what, found, limit: NESTING_MAX as u64 });
        }
        self.scopes.push(Scope { graph: graph.to_string(), names: BTreeMap::new(), is_function });
        Ok(())
    }

    /// Imports a graph as a block.
    pub(super) fn block(&mut self, graph: &'m GraphProto, place: Place) -> Result<Block, ImportError> {
        self.enter(graph.name(), false)?;
        self.open.push(Vec::new());
        self.initializers(graph)?;
        let initialized = initialized(graph);
        let mut parameters = Vec::new();
        for input in &graph.input {
            // Models of IR version 3 list initializers among the inputs.
            if initialized.contains(input.name()) {
                continue;
            }
            let ty = self.sizes.symbolic(input, place)?;
            let value = self.graph.add_value(input.name(), Definition::Parameter, ty);
            self.define(input.name(), Some(value), "an input")?;
            parameters.push(value);
        }
        for index in sort::order(graph.name(), &graph.node)? {
            self.node(&graph.node[index])?;
        }
        let results = self.results(graph)?;
        self.scopes.pop();
        let nodes = self.open.pop().expect("pushed above");
        Ok(Block { parameters, nodes, results })
    }

    /// Imports a graph in place, its inputs being `args`; gives its outputs.
    pub(super) fn inline_graph(
        &mut self,
        graph: &'m GraphProto,
        args: &[ValueId],
    ) -> Result<Vec<ValueId>, ImportError> {
        self.enter(graph.name(), false)?;
        self.initializers(graph)?;
        let initialized = initialized(graph);
        let inputs = graph.input.iter().filter(|input| !initialized.contains(input.name()));
        for (input, value) in inputs.zip(args) {
            self.define(input.name(), Some(*value), "an input")?;
        }
        for index in sort::order(graph.name(), &graph.node)? {
            self.node(&graph.node[index])?;
        }
        let results = self.results(graph)?;
        self.scopes.pop();
        Ok(results)
    }

    /// The constant of a sparse tensor.
    pub(super) fn sparse(&mut self, name: &str, tensor: &SparseTensorProto) -> Result<ValueId, ImportError> {
        let constant = sparse::constant(name, tensor, self.files)?;
        Ok(self.graph.add_constant(constant))
    }

    fn initializers(&mut self, graph: &'m GraphProto) -> Result<(), ImportError> {
        for sparse in &graph.sparse_initializer {
            let name = sparse.values.as_ref().map_or("", |v| v.name());
            let value = self.sparse(name, sparse)?;
            self.define(name, Some(value), "an initializer")?;
        }
        for tensor in &graph.initializer {
            let constant = tensor::constant(tensor.name(), tensor, self.files)?;
            let value = self.graph.add_constant(constant);
            self.define(tensor.name(), Some(value), "an initializer")?;
        }
        Ok(())
    }

    fn results(&self, graph: &GraphProto) -> Result<Vec<ValueId>, ImportError> {
        let mut results = Vec::new();
        for output in &graph.output {
            let user = format!("output of graph {:?}", graph.name());
            let value = self.lookup(output.name(), &user)?;
            results.push(value.ok_or_else(|| undefined(&user, output.name()))?);
        }
        Ok(results)
    }

    /// Gives a value its name. A graph inside of others must not use names that it sees of them: ONNX's IR, "Names within a
    /// graph".
    fn define(&mut self, name: &str, value: Option<ValueId>, by: &str) -> Result<(), ImportError> {
        for scope in self.scopes.iter().rev() {
            if scope.names.contains_key(name) {
                return Err(ImportError::DefinedTwice {
                    graph: scope.graph.clone(),
                    name: name.to_string(),
                    by: by.to_string(),
                });
            }
            if scope.is_function {
                break;
            }
        }
        let scope = self.scopes.last_mut().expect("a graph is open");
        scope.names.insert(name.to_string(), value);
        Ok(())
    }

    fn lookup(&self, name: &str, user: &str) -> Result<Option<ValueId>, ImportError> {
        for scope in self.scopes.iter().rev() {
            if let Some(value) = scope.names.get(name) {
                return Ok(*value);
            }
            if scope.is_function {
                break;
            }
        }
        Err(undefined(user, name))
    }

    fn node(&mut self, node: &'m NodeProto) -> Result<(), ImportError> {
        let prefix = self.calls.last().map_or("", |call| call.prefix.as_str());
        let name = format!("{prefix}{}", node_name(node));
        if !prefix.is_empty() {
            self.name_bytes += name.len() as u64;
        }
        if self.name_bytes > NAME_BYTES_MAX {
            let what = "bytes of names of inlined nodes".to_string();
            return Err(ImportError::Limit { what, found: self.name_bytes, limit: NAME_BYTES_MAX });
        }
        let user = format!("node {name:?} ({})", node.op_type());
        let mut inputs = Vec::with_capacity(node.input.len());
        for input in &node.input {
            inputs.push(if input.is_empty() { None } else { self.lookup(input, &user)? });
        }
        let attributes = self.attributes(node, &name)?;
        let domain = canonical_domain(node.domain());
        let key = function_key(node);
        let outputs = match self.functions.get(&key) {
            Some(&function) => self.inline(function, key, &name, inputs, attributes)?,
            None => {
                let version = self.opsets.get(domain).copied();
                let (version, convert) =
                    table::find(domain, node.op_type(), version).map_err(|supported| {
                        ImportError::UnknownOperator {
                            node: name.clone(),
                            op_type: node.op_type().to_string(),
                            domain: domain_name(domain).to_string(),
                            opset: version.unwrap_or(0),
                            supported,
                        }
                    })?;
                convert(&mut Call::new(self, node, name.clone(), version, inputs, attributes))?
            }
        };
        let by = format!("node {name:?}");
        let mut outputs = outputs.into_iter();
        for output in &node.output {
            // Outputs that the conversion does not make stay undefined: using one is the error.
            let Some(value) = outputs.next() else { break };
            if !output.is_empty() {
                self.define(output, Some(value), &by)?;
                self.rename(value, output);
            }
        }
        Ok(())
    }

    /// Gives a value that a node has made the name that the model has for it.
    fn rename(&mut self, value: ValueId, name: &str) {
        let prefix = self.calls.last().map_or("", |call| call.prefix.as_str());
        let value = &mut self.graph.values[value.index()];
        if value.definition == Definition::Output && value.name.is_empty() {
            value.name = format!("{prefix}{name}");
        }
    }

    /// A node's attributes by name, references to the function's own resolved.
    fn attributes(
        &self,
        node: &'m NodeProto,
        name: &str,
    ) -> Result<BTreeMap<String, Cow<'m, AttributeProto>>, ImportError> {
        let mut out = BTreeMap::new();
        for attribute in &node.attribute {
            let key = attribute.name();
            let value = match attribute.ref_attr_name() {
                "" => Cow::Borrowed(attribute),
                outer => match self.calls.last().and_then(|call| call.attributes.get(outer)) {
                    Some(found) => Cow::Owned(found.clone()),
                    // The caller does not give it and it has no default: absent here as well.
                    None => continue,
                },
            };
            if out.insert(key.to_string(), value).is_some() {
                return Err(ImportError::Attribute {
                    node: name.to_string(),
                    op_type: node.op_type().to_string(),
                    attribute: key.to_string(),
                    problem: "is given twice".to_string(),
                });
            }
        }
        Ok(out)
    }

    /// The body of a function of the model in place of a call; gives the call's outputs.
    fn inline(
        &mut self,
        function: &'m FunctionProto,
        key: FunctionKey,
        name: &str,
        inputs: Vec<Option<ValueId>>,
        mut given: BTreeMap<String, Cow<'m, AttributeProto>>,
    ) -> Result<Vec<ValueId>, ImportError> {
        let size = self.expanded_size(&key, function, 0)?;
        if self.node_count.saturating_add(size) > NODES_MAX {
            let what = format!("nodes, functions inlined, at node {name:?}");
            let found = self.node_count.saturating_add(size);
            return Err(ImportError::Limit { what, found, limit: NODES_MAX });
        }
        if inputs.len() > function.input.len() {
            return Err(ImportError::Unsupported {
                node: name.to_string(),
                op_type: function.name().to_string(),
                problem: format!("has {} inputs, the function {}", inputs.len(), function.input.len()),
            });
        }
        let mut attributes = BTreeMap::new();
        for declared in &function.attribute {
            if let Some(value) = given.remove(declared) {
                attributes.insert(declared.clone(), value.into_owned());
            }
        }
        for default in &function.attribute_proto {
            let value = given.remove(default.name()).map_or_else(|| default.clone(), Cow::into_owned);
            attributes.insert(default.name().to_string(), value);
        }
        if let Some((extra, _)) = given.pop_first() {
            return Err(ImportError::Attribute {
                node: name.to_string(),
                op_type: function.name().to_string(),
                attribute: extra,
                problem: "is not declared by the function".to_string(),
            });
        }
        let label = format!("function {}", function.name());
        self.enter(&label, true)?;
        let mut inputs = inputs.into_iter();
        for input in &function.input {
            self.define(input, inputs.next().flatten(), "an input")?;
        }
        let own_opsets = opsets(&function.opset_import)?;
        let outer_opsets = std::mem::replace(&mut self.opsets, own_opsets);
        self.calls.push(Inlining { prefix: format!("{name}/"), attributes });
        for index in sort::order(&label, &function.node)? {
            self.node(&function.node[index])?;
        }
        let mut outputs = Vec::new();
        for output in &function.output {
            let user = format!("output of {label}");
            outputs.push(self.lookup(output, &user)?.ok_or_else(|| undefined(&user, output))?);
        }
        self.calls.pop();
        self.opsets = outer_opsets;
        self.scopes.pop();
        Ok(outputs)
    }

    /// The number of nodes that a call becomes, found without making them; each function is looked at once.
    fn expanded_size(
        &mut self,
        key: &FunctionKey,
        function: &'m FunctionProto,
        depth: usize,
    ) -> Result<u64, ImportError> {
        if let Some(size) = self.expanded.get(key) {
            return Ok(*size);
        }
        // A function that calls itself never gets its size, so this ends it.
        if depth > NESTING_MAX {
            return Err(ImportError::RecursiveFunction { name: function.name().to_string() });
        }
        let mut size = 0u64;
        let mut open: Vec<&'m NodeProto> = function.node.iter().collect();
        while let Some(node) = open.pop() {
            let graphs = node.attribute.iter().flat_map(sort::subgraphs);
            open.extend(graphs.flat_map(|g| &g.node));
            let callee = function_key(node);
            let inner = match self.functions.get(&callee) {
                Some(&inner) => self.expanded_size(&callee, inner, depth + 1)?,
                None => 1,
            };
            size = size.saturating_add(inner);
        }
        self.expanded.insert(key.clone(), size);
        Ok(size)
    }

    /// Appends a node to the innermost open block.
    ///
    /// Random operators are numbered, so that two nodes never draw the same numbers.
    pub(super) fn push(&mut self, mut node: Node) -> Result<(), ImportError> {
        if node.attrs.get("stream").is_some() {
            node.attrs.insert("stream", AttrValue::Int(self.streams));
            self.streams += 1;
        }
        self.node_count += 1;
        if self.node_count > NODES_MAX {
            let what = format!("nodes, functions inlined, at node {:?}", node.origin.name);
            return Err(ImportError::Limit { what, found: self.node_count, limit: NODES_MAX });
        }
        self.infer(&node);
        self.open.last_mut().expect("a block is open").push(node);
        Ok(())
    }

    /// Nodes go into a new block from here on.
    pub(super) fn open_block(&mut self) {
        self.open.push(Vec::new());
    }

    /// The nodes since [`Importer::open_block`].
    pub(super) fn close_block(&mut self) -> Vec<Node> {
        self.open.pop().expect("opened before")
    }

    /// What is known of a value's type at this point.
    pub(super) fn type_of(&self, value: ValueId) -> Option<&SymType> {
        let known = self.known.get(value.index()).and_then(|k| k.ty.as_ref());
        known.or(self.graph.value(value).ty.as_ref())
    }

    pub(super) fn opset(&self, domain: &str) -> Option<i64> {
        self.opsets.get(canonical_domain(domain)).copied()
    }

    pub(super) fn tensor(
        &mut self,
        name: &str,
        tensor: &super::proto::TensorProto,
    ) -> Result<ValueId, ImportError> {
        let constant = tensor::constant(name, tensor, self.files)?;
        Ok(self.graph.add_constant(constant))
    }

    /// Infers types for the conversions that ask for them. What cannot be inferred stays unknown: errors
    /// are the inference pass's to report.
    fn infer(&mut self, node: &Node) {
        if !node.blocks.is_empty() {
            return;
        }
        let small = |id: ValueId| -> Option<Tensor> {
            let constant = self.graph.as_constant(id).filter(|c| c.bytes().len() <= KNOWN_BYTES_MAX)?;
            constant.to_tensor().ok()
        };
        let tensors: Vec<Option<Tensor>> = node.inputs.iter().map(|i| i.and_then(small)).collect();
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for (id, tensor) in node.inputs.iter().zip(&tensors) {
            let Some(id) = id else {
                inputs.push(None);
                continue;
            };
            let Some(ty) = self.type_of(*id) else { return };
            let sym = self.known.get(id.index()).and_then(|k| k.sym.as_ref());
            inputs.push(Some(InferInput { ty, tensor: tensor.as_ref().map(Tensor::view), sym }));
        }
        let (attrs, outputs) = (&node.attrs, node.outputs.len());
        let ctx = InferCtx { attrs, inputs: &inputs, outputs, fresh: &self.fresh };
        let Ok(inferred) = node.def.infer(&ctx) else { return };
        for (output, inferred) in node.outputs.iter().zip(inferred) {
            if self.known.len() <= output.index() {
                self.known.resize(output.index() + 1, Known::default());
            }
            self.known[output.index()] = Known { ty: Some(inferred.ty), sym: inferred.sym };
        }
    }
}

fn undefined(user: &str, name: &str) -> ImportError {
    ImportError::Undefined { user: user.to_string(), name: name.to_string() }
}
