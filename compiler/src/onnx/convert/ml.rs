//! Operators of ai.onnx.ml: those on floats become operators of the table.

use repops::attrs::Attrs;
use repops::dtype::DType;

use crate::graph::ValueId;
use crate::onnx::ImportError;
use crate::onnx::call::{Call, Outputs};

fn none() -> Attrs {
    Attrs::new()
}

fn two(call: &mut Call<'_, '_>, op: &str, a: ValueId, b: ValueId) -> Result<ValueId, ImportError> {
    call.emit1(op, none(), &[Some(a), Some(b)])
}

/// The input as f32, which these operators compute in.
fn f32_input(call: &mut Call<'_, '_>) -> Result<ValueId, ImportError> {
    let x = call.input(0)?;
    match call.dtype(x) {
        Some(DType::F32) => Ok(x),
        _ => call.emit1("Cast", none().with_int("to", i64::from(DType::F32.code())), &[Some(x)]),
    }
}

/// A list of floats as a vector, if it is there.
fn vector(call: &mut Call<'_, '_>, name: &str) -> Result<Option<ValueId>, ImportError> {
    let values = call.floats(name)?.filter(|values| !values.is_empty());
    Ok(values.map(|values| call.constant_floats(&[values.len()], &values)))
}

/// Binarizer: 1 above the threshold, else 0.
pub fn binarizer(call: &mut Call<'_, '_>) -> Outputs {
    let x = call.input(0)?;
    let threshold = call.float("threshold")?.unwrap_or(0.0);
    call.rest()?;
    let Some(dtype) = call.dtype(x) else { return Err(call.unsupported("the type is not known")) };
    let limit = call.scalar_like(threshold, x)?;
    let above = two(call, "Greater", x, limit)?;
    call.emit("Cast", none().with_int("to", i64::from(dtype.code())), &[Some(above)], 1)
}

/// ArrayFeatureExtractor: elements of the last axis; a vector counts as one row.
pub fn array_feature_extractor(call: &mut Call<'_, '_>) -> Outputs {
    let (x, indices) = (call.input(0)?, call.input(1)?);
    let attrs = call.rest()?;
    let flat = call.constant_ints(&[-1]);
    let indices = two(call, "Reshape", indices, flat)?;
    let rank = call.ty(x).map(|ty| ty.shape.len());
    let y = call.emit1("Gather", attrs.with_int("axis", -1), &[Some(x), Some(indices)])?;
    match rank {
        Some(1) => {
            let row = call.constant_ints(&[1, -1]);
            Ok(vec![two(call, "Reshape", y, row)?])
        }
        Some(_) => Ok(vec![y]),
        None => Err(call.unsupported("the number of axes is not known")),
    }
}

/// Scaler: (X - offset) * scale.
pub fn scaler(call: &mut Call<'_, '_>) -> Outputs {
    let mut y = f32_input(call)?;
    if let Some(offset) = vector(call, "offset")? {
        y = two(call, "Sub", y, offset)?;
    }
    if let Some(scale) = vector(call, "scale")? {
        y = two(call, "Mul", y, scale)?;
    }
    call.rest()?;
    Ok(vec![y])
}

/// Imputer: elements that equal the replaced value become those imputed, one for all columns or one for each.
pub fn imputer(call: &mut Call<'_, '_>) -> Outputs {
    let x = call.input(0)?;
    let floats = vector(call, "imputed_value_floats")?;
    let ints = call.ints("imputed_value_int64s")?.filter(|values| !values.is_empty());
    let replaced = call.float("replaced_value_float")?.unwrap_or(0.0);
    let replaced_int = call.int("replaced_value_int64")?.unwrap_or(0);
    call.rest()?;
    let (imputed, matches) = match (floats, ints) {
        (Some(floats), _) if replaced.is_nan() => (floats, call.emit1("IsNaN", none(), &[Some(x)])?),
        (Some(floats), _) => {
            let replaced = call.constant_floats(&[], &[replaced]);
            (floats, two(call, "Equal", x, replaced)?)
        }
        (None, Some(ints)) => {
            let (ints, replaced) = (call.constant_ints(&ints), call.constant_ints(&[replaced_int]));
            (ints, two(call, "Equal", x, replaced)?)
        }
        (None, None) => return Err(call.unsupported("nothing to impute")),
    };
    call.emit("Where", none(), &[Some(matches), Some(imputed), Some(x)], 1)
}

/// Normalizer: rows divided by their largest element (MAX), the sum of absolute values (L1), or the root of the sum of squares (L2).
pub fn normalizer(call: &mut Call<'_, '_>) -> Outputs {
    let x = f32_input(call)?;
    let norm = call.string("norm")?.unwrap_or_else(|| "MAX".to_string());
    call.rest()?;
    let axis = none().with_int("axis", -1);
    match norm.as_str() {
        "L1" => call.emit("LpNormalization", axis.with_int("p", 1), &[Some(x)], 1),
        "L2" => call.emit("LpNormalization", axis.with_int("p", 2), &[Some(x)], 1),
        "MAX" => {
            let axes = call.constant_ints(&[-1]);
            let most = two(call, "ReduceMax", x, axes)?;
            Ok(vec![two(call, "Div", x, most)?])
        }
        other => Err(call.attribute_error("norm", format!("{other:?} is not known"))),
    }
}

/// LinearRegressor: X * coefficients' + intercepts.
pub fn linear_regressor(call: &mut Call<'_, '_>) -> Outputs {
    let x = f32_input(call)?;
    let coefficients = call.floats("coefficients")?.unwrap_or_default();
    let targets = call.int("targets")?.unwrap_or(1);
    let intercepts = vector(call, "intercepts")?;
    let transform = call.string("post_transform")?;
    call.rest()?;
    let targets = usize::try_from(targets).ok().filter(|n| *n > 0 && coefficients.len().is_multiple_of(*n));
    let Some(targets) = targets else {
        return Err(call.attribute_error("targets", "does not divide the coefficients"));
    };
    let weights = call.constant_floats(&[targets, coefficients.len() / targets], &coefficients);
    let attrs = none().with_int("transB", 1);
    let y = call.emit1("Gemm", attrs, &[Some(x), Some(weights), intercepts])?;
    transformed(call, y, transform.as_deref().unwrap_or("NONE"))
}

/// FeatureVectorizer: the inputs side by side, as f32.
pub fn feature_vectorizer(call: &mut Call<'_, '_>) -> Outputs {
    let sizes = call.ints("inputdimensions")?.unwrap_or_default();
    call.rest()?;
    let mut parts = Vec::new();
    for (index, input) in call.inputs().into_iter().enumerate() {
        let Some(input) = input else { return Err(call.unsupported("an input is missing")) };
        let ty = call.ty(input).filter(|ty| ty.shape.len() == 2);
        let width = ty.and_then(|ty| ty.shape[1].as_const());
        if width.is_none() || width != sizes.get(index).copied() {
            return Err(call.unsupported("inputs that are not as wide as inputdimensions says"));
        }
        let to = none().with_int("to", i64::from(DType::F32.code()));
        parts.push(Some(call.emit1("Cast", to, &[Some(input)])?));
    }
    call.emit("Concat", none().with_int("axis", 1), &parts, 1)
}

/// What is done with scores at the end.
fn transformed(call: &mut Call<'_, '_>, y: ValueId, transform: &str) -> Outputs {
    match transform {
        "NONE" => Ok(vec![y]),
        "SOFTMAX" => call.emit("Softmax", none().with_int("axis", -1), &[Some(y)], 1),
        "LOGISTIC" => call.emit("Sigmoid", none(), &[Some(y)], 1),
        other => Err(call.attribute_error("post_transform", format!("{other} is not supported"))),
    }
}

/// TreeEnsemble: tensors in attributes become inputs.
pub fn tree_ensemble(call: &mut Call<'_, '_>) -> Outputs {
    let x = call.input(0)?;
    let mut given = |name: &str| match call.tensor(name)? {
        Some(tensor) => call.constant_proto(&tensor).map(Some),
        None => Ok(None),
    };
    let (splits, weights) = (given("nodes_splits")?, given("leaf_weights")?);
    let (members, modes) = (given("membership_values")?, given("nodes_modes")?);
    call.ignore("nodes_hitrates");
    let transform = match call.int("post_transform")?.unwrap_or(0) {
        0 => "NONE",
        1 => "SOFTMAX",
        2 => "LOGISTIC",
        3 => "SOFTMAX_ZERO",
        _ => "PROBIT",
    };
    let modes = modes.and_then(|modes| call.constant_of(modes)).filter(|modes| modes.dtype == DType::U8);
    let Some(modes) =
        modes.map(|modes| modes.bytes().iter().map(|&mode| i64::from(mode)).collect::<Vec<_>>())
    else {
        return Err(call.attribute_error("nodes_modes", "is no tensor of u8"));
    };
    let mut attrs = call.rest()?.with_ints("nodes_modes", &modes);
    if attrs.get("n_targets").is_none() {
        let most = attrs.opt_ints("leaf_targetids").and_then(|ids| ids.iter().max().copied()).unwrap_or(0);
        attrs = attrs.with_int("n_targets", most.saturating_add(1));
    }
    let y = call.emit1("TreeEnsemble", attrs, &[Some(x), splits, weights, members])?;
    transformed(call, y, transform)
}

/// The lists of an older ensemble that has strings for modes and numbers its nodes within each tree.
struct Nodes {
    trees: Vec<i64>,
    ids: Vec<i64>,
    modes: Vec<String>,
    branches: [Vec<i64>; 2],
}

impl Nodes {
    /// The place of a node of a tree.
    fn find(&self, tree: i64, id: i64) -> Option<usize> {
        self.trees.iter().zip(&self.ids).position(|found| found == (&tree, &id))
    }
}

/// TreeEnsembleRegressor, all versions: TreeEnsemble, where each leaf has one weight.
pub fn tree_ensemble_regressor(call: &mut Call<'_, '_>) -> Outputs {
    let x = f32_input(call)?;
    let nodes = Nodes {
        trees: call.required_ints("nodes_treeids")?,
        ids: call.required_ints("nodes_nodeids")?,
        modes: call.strings("nodes_modes")?.unwrap_or_default(),
        branches: [call.required_ints("nodes_truenodeids")?, call.required_ints("nodes_falsenodeids")?],
    };
    let features = call.required_ints("nodes_featureids")?;
    let splits = call.floats("nodes_values")?.unwrap_or_default();
    let nan = call.ints("nodes_missing_value_tracks_true")?.unwrap_or_default();
    let [leaf_trees, leaf_nodes, leaf_targets] =
        ["target_treeids", "target_nodeids", "target_ids"].map(|name| call.required_ints(name));
    let (leaf_trees, leaf_nodes, leaf_targets) = (leaf_trees?, leaf_nodes?, leaf_targets?);
    let weights = call.floats("target_weights")?.unwrap_or_default();
    let n_targets = call.int("n_targets")?.unwrap_or(1);
    let base = vector(call, "base_values")?;
    let aggregate = call.string("aggregate_function")?.unwrap_or_else(|| "SUM".to_string());
    let transform = call.string("post_transform")?;
    call.ignore("nodes_hitrates");
    call.rest()?;
    let count = nodes.modes.len();
    let lists = [&nodes.trees, &nodes.ids, &nodes.branches[0], &nodes.branches[1], &features];
    let leaves = [leaf_nodes.len(), leaf_targets.len(), weights.len()];
    let is_even = lists.iter().all(|list| list.len() == count) && splits.len() == count;
    if !is_even || leaves != [leaf_trees.len(); 3] || ![0, count].contains(&nan.len()) || count > NODES_MAX {
        return Err(call.unsupported("lists of nodes or leaves that are not of one length, or too long"));
    }
    // Inner nodes by their places, leaves by the places of their weights.
    let mut leaf_of = vec![None; count];
    for (at, (&tree, &id)) in leaf_trees.iter().zip(&leaf_nodes).enumerate() {
        let place =
            nodes.find(tree, id).filter(|&place| nodes.modes[place] == "LEAF" && leaf_of[place].is_none());
        let Some(place) = place else {
            return Err(call.unsupported("a weight that is not the one of a leaf"));
        };
        leaf_of[place] = Some(at as i64);
    }
    let (mut modes, mut roots) = (Vec::new(), Vec::new());
    let mut links = [(Vec::new(), Vec::new()), (Vec::new(), Vec::new())];
    let mut has_parent = vec![false; count];
    for at in 0..count {
        let mode = match nodes.modes[at].as_str() {
            "BRANCH_LEQ" => 0,
            "BRANCH_LT" => 1,
            "BRANCH_GTE" => 2,
            "BRANCH_GT" => 3,
            "BRANCH_EQ" => 4,
            "BRANCH_NEQ" => 5,
            // Never walked to: a leaf is entered by its weight. A tree that is one leaf is a node that has only it.
            "LEAF" => 0,
            other => return Err(call.attribute_error("nodes_modes", format!("{other:?} is not known"))),
        };
        modes.push(mode);
        for (side, (is_leaf, to)) in links.iter_mut().enumerate() {
            let own = leaf_of[at];
            let next = match own {
                Some(_) => Some(at),
                None => nodes.find(nodes.trees[at], nodes.branches[side][at]).filter(|next| *next != at),
            };
            let Some(next) = next.filter(|_| own.is_some() || nodes.modes[at] != "LEAF") else {
                return Err(call.unsupported("a leaf without a weight, or a branch to no node"));
            };
            has_parent[next] |= own.is_none();
            is_leaf.push(i64::from(leaf_of[next].is_some()));
            to.push(leaf_of[next].unwrap_or(next as i64));
        }
    }
    roots.extend((0..count).filter(|&at| !has_parent[at]).map(|at| at as i64));
    let [(true_leafs, true_ids), (false_leafs, false_ids)] = links;
    let aggregate = match aggregate.as_str() {
        "AVERAGE" => 0,
        "SUM" => 1,
        "MIN" => 2,
        "MAX" => 3,
        other => return Err(call.attribute_error("aggregate_function", format!("{other:?} is not known"))),
    };
    let features: Vec<i64> = features
        .iter()
        .zip(&leaf_of)
        .map(|(&feature, leaf)| if leaf.is_some() { 0 } else { feature })
        .collect();
    let mut attrs = none()
        .with_int("aggregate_function", aggregate)
        .with_int("n_targets", n_targets)
        .with_ints("leaf_targetids", &leaf_targets)
        .with_ints("nodes_featureids", &features)
        .with_ints("nodes_modes", &modes)
        .with_ints("nodes_trueleafs", &true_leafs)
        .with_ints("nodes_truenodeids", &true_ids)
        .with_ints("nodes_falseleafs", &false_leafs)
        .with_ints("nodes_falsenodeids", &false_ids)
        .with_ints("tree_roots", &roots);
    if !nan.is_empty() {
        attrs = attrs.with_ints("nodes_missing_value_tracks_true", &nan);
    }
    let splits = call.constant_floats(&[count], &splits);
    let weights = call.constant_floats(&[weights.len()], &weights);
    let mut y = call.emit1("TreeEnsemble", attrs, &[Some(x), Some(splits), Some(weights)])?;
    if let Some(base) = base {
        y = two(call, "Add", y, base)?;
    }
    transformed(call, y, transform.as_deref().unwrap_or("NONE"))
}

/// Nodes are looked for one by one.
const NODES_MAX: usize = 1 << 14;
