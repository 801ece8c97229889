//! Ensembles of decision trees of ai.onnx.ml: all become TreeEnsemble.

use std::collections::{BTreeMap, BTreeSet};

use repops::Tensor;
use repops::attrs::{AttrValue, Attrs};
use repops::dtype::DType;

use super::{as_f32, both_of, label_above, label_of_largest, labels, none, transformed, two, wide_input};
use crate::graph::ValueId;
use crate::onnx::ImportError;
use crate::onnx::call::{Call, Outputs};

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
        4 => "PROBIT",
        other => return Err(call.attribute_error("post_transform", format!("{other} is not known"))),
    };
    let modes = modes.and_then(|modes| call.constant_of(modes)).filter(|modes| modes.dtype == DType::U8);
    let Some(modes) =
        modes.map(|modes| modes.bytes().iter().map(|&mode| i64::from(mode)).collect::<Vec<_>>())
    else {
        return Err(call.attribute_error("nodes_modes", "is no tensor of u8"));
    };
    let mut attrs = call.rest()?.with_ints("nodes_modes", &modes);
    if attrs.get("n_targets").is_none() {
        // Nothing has looked yet whether they are numbers.
        let most = match attrs.get("leaf_targetids") {
            Some(AttrValue::Ints(ids)) => ids.iter().max().copied().unwrap_or(0),
            Some(_) => return Err(call.attribute_error("leaf_targetids", "is no list of integers")),
            None => 0,
        };
        attrs = attrs.with_int("n_targets", most.saturating_add(1));
    }
    let y = call.emit1("TreeEnsemble", attrs, &[Some(x), splits, weights, members])?;
    transformed(call, y, transform)
}

/// TreeEnsembleRegressor, all versions.
pub fn tree_ensemble_regressor(call: &mut Call<'_, '_>) -> Outputs {
    let (x, is_double) = wide_input(call)?;
    let trees = Trees::take(call, "target")?;
    let targets = call.int("n_targets")?.unwrap_or(1);
    let base = numbers(call, "base_values")?;
    let aggregate = call.string("aggregate_function")?.unwrap_or_else(|| "SUM".to_string());
    let transform = call.string("post_transform")?.unwrap_or_else(|| "NONE".to_string());
    finish(call)?;
    let aggregate = match aggregate.as_str() {
        "AVERAGE" => 0,
        "SUM" => 1,
        "MIN" => 2,
        "MAX" => 3,
        other => return Err(call.attribute_error("aggregate_function", format!("{other:?} is not known"))),
    };
    let mut y = trees.emit(call, x, is_double, targets, aggregate)?;
    if !base.is_empty() {
        y = added(call, y, base, is_double)?;
    }
    let y = as_f32(call, y)?;
    transformed(call, y, &transform)
}

/// TreeEnsembleClassifier, all versions: the label of the largest sum of weights, and the sums. Where there are two classes and all
/// weights are of one, a row's label is the second one above a limit.
pub fn tree_ensemble_classifier(call: &mut Call<'_, '_>) -> Outputs {
    let (x, is_double) = wide_input(call)?;
    let mut trees = Trees::take(call, "class")?;
    let (labels, classes) = labels(call, "classlabels_int64s", "classlabels_strings")?;
    let base = numbers(call, "base_values")?;
    let transform = call.string("post_transform")?.unwrap_or_else(|| "NONE".to_string());
    finish(call)?;
    if classes < 2 {
        return Err(call.unsupported("there is one label"));
    }
    let weighted: BTreeSet<i64> = trees.targets.iter().copied().collect();
    let only = if weighted.len() == 1 { weighted.first().copied() } else { None };
    let is_probability = trees.weights.iter().all(|weight| *weight >= 0.0);
    let limit = if is_probability { 0.5 } else { 0.0 };
    match only.filter(|_| classes == 2) {
        // The weights of two classes under the first one's number are the second one's.
        Some(0) if base.len() <= 1 => {
            let mut sum = trees.emit(call, x, is_double, 1, SUM)?;
            if !base.is_empty() {
                sum = added(call, sum, base, is_double)?;
            }
            let label = label_above(call, labels, sum, limit)?;
            let sum = as_f32(call, sum)?;
            Ok(vec![label, both_of(call, sum, &transform, is_probability)?[0]])
        }
        Some(_) if !base.is_empty() => {
            Err(call
                .attribute_error("base_values", "do not say what they are of, where one class has weights"))
        }
        Some(class) => {
            trees.targets.fill(0);
            let sum = trees.emit(call, x, is_double, 1, SUM)?;
            let label = label_above(call, labels, sum, limit)?;
            trees.targets.fill(class);
            let sums = trees.emit(call, x, is_double, 2, SUM)?;
            let sums = as_f32(call, sums)?;
            Ok(vec![label, transformed(call, sums, &transform)?[0]])
        }
        None if ![0, classes].contains(&base.len()) => {
            let problem = format!("{} numbers for {classes} classes", base.len());
            Err(call.attribute_error("base_values", problem))
        }
        None => {
            let mut sums = trees.emit(call, x, is_double, classes as i64, SUM)?;
            if !base.is_empty() {
                sums = added(call, sums, base, is_double)?;
            }
            let label = label_of_largest(call, labels, sums)?;
            let sums = as_f32(call, sums)?;
            Ok(vec![label, transformed(call, sums, &transform)?[0]])
        }
    }
}

/// TreeEnsemble's number of the sum of weights.
const SUM: i64 = 1;

/// What says how often nodes were reached in training is dropped; nothing else may be left.
fn finish(call: &mut Call<'_, '_>) -> Result<(), ImportError> {
    call.ignore("nodes_hitrates");
    call.ignore("nodes_hitrates_as_tensor");
    match call.rest()?.iter().next() {
        None => Ok(()),
        Some((name, _)) => Err(call.attribute_error(name, "is not known")),
    }
}

/// Numbers in a list of f32 or, from version 3 on, in a tensor of f64.
fn numbers(call: &mut Call<'_, '_>, name: &str) -> Result<Vec<f64>, ImportError> {
    let list = call.floats(name)?.unwrap_or_default();
    let tensor_name = format!("{name}_as_tensor");
    let Some(tensor) = call.tensor(&tensor_name)? else {
        return Ok(list.into_iter().map(f64::from).collect());
    };
    let constant = call.constant_proto(&tensor)?;
    let tensor = call.constant_of(constant).and_then(|constant| constant.to_tensor().ok());
    match tensor.as_ref().map(Tensor::dtype) {
        Some(DType::F64) if list.is_empty() => {
            Ok(tensor.map_or(Vec::new(), |t| t.as_slice::<f64>().to_vec()))
        }
        Some(DType::F32) if list.is_empty() => {
            Ok(tensor.map_or(Vec::new(), |t| t.as_slice::<f32>().iter().copied().map(f64::from).collect()))
        }
        _ => Err(call.attribute_error(&tensor_name, "is no tensor of floats, or a list stands beside it")),
    }
}

/// As a constant of the type that the trees are computed in.
fn constant(call: &mut Call<'_, '_>, values: &[f64], is_double: bool) -> ValueId {
    if is_double {
        let mut tensor = Tensor::from_slice(&[values.len()], values);
        tensor.canonicalize();
        return call.constant(&tensor);
    }
    let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
    call.constant_floats(&[values.len()], &values)
}

fn added(
    call: &mut Call<'_, '_>,
    y: ValueId,
    base: Vec<f64>,
    is_double: bool,
) -> Result<ValueId, ImportError> {
    let base = constant(call, &base, is_double);
    two(call, "Add", y, base)
}

/// An older ensemble, which has strings for modes and numbers its nodes within each tree, as TreeEnsemble has it.
struct Trees {
    attrs: Attrs,
    splits: Vec<f64>,
    /// Those of a leaf stand together.
    weights: Vec<f64>,
    /// The target of each weight.
    targets: Vec<i64>,
}

impl Trees {
    /// From the attributes; those of leaves begin with `kind`.
    fn take(call: &mut Call<'_, '_>, kind: &str) -> Result<Trees, ImportError> {
        let trees = call.required_ints("nodes_treeids")?;
        let ids = call.required_ints("nodes_nodeids")?;
        let modes = call.strings("nodes_modes")?.unwrap_or_default();
        let branches = [call.required_ints("nodes_truenodeids")?, call.required_ints("nodes_falsenodeids")?];
        let features = call.required_ints("nodes_featureids")?;
        let splits = numbers(call, "nodes_values")?;
        let nan = call.ints("nodes_missing_value_tracks_true")?.unwrap_or_default();
        let leaf_trees = call.required_ints(&format!("{kind}_treeids"))?;
        let leaf_nodes = call.required_ints(&format!("{kind}_nodeids"))?;
        let targets = call.required_ints(&format!("{kind}_ids"))?;
        let weights = numbers(call, &format!("{kind}_weights"))?;
        let count = modes.len();
        let lists = [&trees, &ids, &branches[0], &branches[1], &features];
        let is_even = lists.iter().all(|list| list.len() == count)
            && splits.len() == count
            && [0, count].contains(&nan.len());
        let of_leaves = [leaf_nodes.len(), targets.len(), weights.len()];
        if !is_even || of_leaves != [leaf_trees.len(); 3] {
            return Err(call.unsupported("lists of nodes or of weights that are not of one length"));
        }
        let mut places = BTreeMap::new();
        for (at, key) in trees.iter().copied().zip(ids.iter().copied()).enumerate() {
            if places.insert(key, at).is_some() {
                return Err(call.unsupported(format!("two nodes {} of tree {}", key.1, key.0)));
            }
        }
        // The weights of each leaf, in the order of the lists.
        let mut of_leaf: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, key) in leaf_trees.iter().copied().zip(leaf_nodes.iter().copied()).enumerate() {
            match places.get(&key).filter(|place| modes[**place] == "LEAF") {
                Some(place) => of_leaf.entry(*place).or_default().push(at),
                None => return Err(call.unsupported("a weight that is not of a leaf")),
            }
        }
        // Leaves by their places among those with weights.
        let leaf_of: BTreeMap<usize, i64> = of_leaf.keys().copied().zip(0..).collect();
        let order: Vec<usize> = of_leaf.values().flatten().copied().collect();
        let sizes: Vec<i64> = of_leaf.values().map(|weights| weights.len() as i64).collect();
        let (mut numbers, mut columns) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut links = [(Vec::new(), Vec::new()), (Vec::new(), Vec::new())];
        let mut has_parent = vec![false; count];
        for at in 0..count {
            let own = leaf_of.get(&at).copied();
            numbers.push(match modes[at].as_str() {
                "BRANCH_LEQ" => 0,
                "BRANCH_LT" => 1,
                "BRANCH_GTE" => 2,
                "BRANCH_GT" => 3,
                "BRANCH_EQ" => 4,
                "BRANCH_NEQ" => 5,
                // Never walked to: a leaf is entered by its weights. A tree that is one leaf is a node that has only it.
                "LEAF" => 0,
                other => return Err(call.attribute_error("nodes_modes", format!("{other:?} is not known"))),
            });
            columns.push(if own.is_some() { 0 } else { features[at] });
            for (side, (is_leaf, to)) in links.iter_mut().enumerate() {
                let next = match own {
                    Some(_) => Some(at),
                    None if modes[at] == "LEAF" => None,
                    None => places.get(&(trees[at], branches[side][at])).copied().filter(|next| *next != at),
                };
                let Some(next) = next else {
                    return Err(call.unsupported("a leaf without a weight, or a branch to no node"));
                };
                has_parent[next] |= own.is_none();
                let leaf = leaf_of.get(&next).copied();
                is_leaf.push(i64::from(leaf.is_some()));
                to.push(leaf.unwrap_or(next as i64));
            }
        }
        let roots: Vec<i64> = (0..count).filter(|&at| !has_parent[at]).map(|at| at as i64).collect();
        let [(true_leafs, true_ids), (false_leafs, false_ids)] = links;
        let mut attrs = none()
            .with_ints("nodes_featureids", &columns)
            .with_ints("nodes_modes", &numbers)
            .with_ints("nodes_trueleafs", &true_leafs)
            .with_ints("nodes_truenodeids", &true_ids)
            .with_ints("nodes_falseleafs", &false_leafs)
            .with_ints("nodes_falsenodeids", &false_ids)
            .with_ints("tree_roots", &roots);
        if !nan.is_empty() {
            attrs = attrs.with_ints("nodes_missing_value_tracks_true", &nan);
        }
        if sizes.iter().any(|size| *size != 1) {
            attrs = attrs.with_ints("leaf_sizes", &sizes);
        }
        let (weights, targets) = order.iter().map(|&at| (weights[at], targets[at])).unzip();
        Ok(Trees { attrs, splits, weights, targets })
    }

    fn emit(
        &self,
        call: &mut Call<'_, '_>,
        x: ValueId,
        is_double: bool,
        targets: i64,
        aggregate: i64,
    ) -> Result<ValueId, ImportError> {
        let attrs = self
            .attrs
            .clone()
            .with_int("aggregate_function", aggregate)
            .with_int("n_targets", targets)
            .with_ints("leaf_targetids", &self.targets);
        let splits = constant(call, &self.splits, is_double);
        let weights = constant(call, &self.weights, is_double);
        call.emit1("TreeEnsemble", attrs, &[Some(x), Some(splits), Some(weights)])
    }
}
