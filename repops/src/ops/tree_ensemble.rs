//! TreeEnsemble: decision trees whose leaves add to targets.

use std::ops::Range;

use super::float::{Float, Real, wide_elements, with_float};
use super::{Arity, AttrDef, EvalCtx, Fault, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue, Attrs};
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::reduce::Accumulate;
use crate::tensor::Tensor;

pub static DEF: OpDef = OpDef {
    id: 780,
    name: "TreeEnsemble",
    version: 1,
    doc: "Inputs X [N, F], splits [nodes], weights, members (a vector), all of one float type. For each row of X every tree is \
          walked, in the order of tree_roots: at node n with x = X[row, nodes_featureids[n]] the true branch is taken if the comparison \
          nodes_modes[n] of x with splits[n] holds (0 <=, 1 <, 2 >=, 3 >, 4 ==, 5 !=, 6: x equals a member of the node's set), and for x = NaN \
          if nodes_missing_value_tracks_true[n] is not 0, whatever the mode. The k-th node of mode 6 has the k-th set; a NaN ends each in members. nodes_trueleafs and \
          nodes_falseleafs say whether a branch is a leaf or a node. Leaf l has leaf_sizes[l] of the weights, which follow those of leaf l - 1. Y [N, n_targets] by aggregate_function: 1: the sum of the leaves' weights for each \
          target, added to +0 one after the other in the order of the trees, and of a leaf's weights; 0: that divided by the number of trees; 2, 3: their minimum, maximum; a \
          target without leaves is +0. Sums of f16 and bf16 are computed in f32 and rounded at the end. Trees with a node that leads to itself are refused. Source: ai.onnx.ml \
          TreeEnsemble-5, without post_transform.",
    inputs: Arity::between(3, 4),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::default(
            "aggregate_function",
            AttrKind::Int,
            || AttrValue::Int(1),
            "0 mean, 1 sum, 2 minimum, 3 maximum.",
        ),
        AttrDef::optional(
            "leaf_sizes",
            AttrKind::Ints,
            "How many successive weights each leaf has; absent: one.",
        ),
        AttrDef::required("leaf_targetids", AttrKind::Ints, "The target of each weight."),
        AttrDef::required("n_targets", AttrKind::Int, "The number of targets."),
        AttrDef::required("nodes_falseleafs", AttrKind::Ints, "Whether the false branch is a leaf."),
        AttrDef::required("nodes_falsenodeids", AttrKind::Ints, "The node or leaf of the false branch."),
        AttrDef::required("nodes_featureids", AttrKind::Ints, "The column that each node looks at."),
        AttrDef::optional(
            "nodes_missing_value_tracks_true",
            AttrKind::Ints,
            "The branch of NaN; absent: false.",
        ),
        AttrDef::required("nodes_modes", AttrKind::Ints, "The comparison of each node."),
        AttrDef::required("nodes_trueleafs", AttrKind::Ints, "Whether the true branch is a leaf."),
        AttrDef::required("nodes_truenodeids", AttrKind::Ints, "The node or leaf of the true branch."),
        AttrDef::required("tree_roots", AttrKind::Ints, "The first node of each tree."),
    ],
    class: OpClass::General,
    infer,
    eval: |ctx| with_float!(ctx.input(0).dtype, evaluate(ctx)),
};

/// No more targets, as none of ONNX's models comes near.
const TARGETS_MAX: i64 = 1 << 24;
/// The mode that looks for a member of a set.
const MEMBER: i64 = 6;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Branch {
    Node(usize),
    Leaf(usize),
}

struct Node {
    mode: i64,
    feature: usize,
    nan: bool,
    branches: [Branch; 2],
}

/// The trees. Every branch leads to a node or a leaf that exists, and every walk ends.
struct Forest {
    nodes: Vec<Node>,
    roots: Vec<usize>,
    /// The weights of each leaf.
    leaves: Vec<Range<usize>>,
    /// The target of each weight.
    targets: Vec<usize>,
    target_count: usize,
    aggregate: i64,
}

impl Forest {
    fn new(attrs: &Attrs) -> Result<Forest, OpError> {
        let list = |name: &str| attrs.opt_ints(name).unwrap_or_default();
        let modes = list("nodes_modes");
        let of_nodes = |name: &str| match list(name) {
            values if values.len() == modes.len() => Ok(values),
            values => {
                Err(OpError::attr(name, format!("has {} elements for {} nodes", values.len(), modes.len())))
            }
        };
        let index = |name: &str, value: i64, count: usize| {
            let found = usize::try_from(value).ok().filter(|found| *found < count);
            found.ok_or_else(|| OpError::attr(name, format!("{value} is not below {count}")))
        };
        let target_count = attrs.int("n_targets");
        if !(1..=TARGETS_MAX).contains(&target_count) {
            return Err(OpError::attr("n_targets", format!("{target_count} is not in 1 ..= {TARGETS_MAX}")));
        }
        let targets = list("leaf_targetids");
        let leaves = leaves(attrs.opt_ints("leaf_sizes"), targets.len())?;
        let targets = targets.iter().map(|&id| index("leaf_targetids", id, target_count as usize));
        let features = of_nodes("nodes_featureids")?;
        let nan = match attrs.opt_ints("nodes_missing_value_tracks_true") {
            Some(flags) if !flags.is_empty() => of_nodes("nodes_missing_value_tracks_true")?,
            _ => &[],
        };
        let sides = [("nodes_trueleafs", "nodes_truenodeids"), ("nodes_falseleafs", "nodes_falsenodeids")];
        let mut nodes = Vec::with_capacity(modes.len());
        for (n, &mode) in modes.iter().enumerate() {
            if !(0..=MEMBER).contains(&mode) {
                return Err(OpError::attr("nodes_modes", format!("{mode} is no comparison")));
            }
            let mut branches = [Branch::Leaf(0); 2];
            for (branch, (leafs, ids)) in branches.iter_mut().zip(sides) {
                let (is_leaf, id) = (of_nodes(leafs)?[n] != 0, of_nodes(ids)?[n]);
                *branch = match is_leaf {
                    true => Branch::Leaf(index(ids, id, leaves.len())?),
                    false => Branch::Node(index(ids, id, modes.len())?),
                };
            }
            let feature = index("nodes_featureids", features[n], usize::MAX)?;
            nodes.push(Node { mode, feature, nan: nan.get(n).is_some_and(|&flag| flag != 0), branches });
        }
        let roots = list("tree_roots").iter().map(|&root| index("tree_roots", root, nodes.len()));
        let aggregate = attrs.int("aggregate_function");
        if !(0..=3).contains(&aggregate) {
            return Err(OpError::attr("aggregate_function", format!("{aggregate} is unknown")));
        }
        let forest = Forest {
            roots: roots.collect::<Result<_, _>>()?,
            targets: targets.collect::<Result<_, _>>()?,
            leaves,
            target_count: target_count as usize,
            nodes,
            aggregate,
        };
        forest.check_ends()?;
        Ok(forest)
    }

    /// Whether no node leads to itself: each is entered once, and must not be met again before it is left.
    fn check_ends(&self) -> Result<(), OpError> {
        #[derive(Clone, Copy, PartialEq)]
        enum Seen {
            Never,
            Inside,
            Done,
        }
        let mut seen = vec![Seen::Never; self.nodes.len()];
        for &root in &self.roots {
            // A node, and how many of its branches have been followed.
            let mut path = vec![(root, 0)];
            while let Some((node, followed)) = path.last_mut() {
                let at = *node;
                if seen[at] == Seen::Done || *followed == 2 {
                    seen[at] = Seen::Done;
                    path.pop();
                    continue;
                }
                seen[at] = Seen::Inside;
                let branch = self.nodes[at].branches[*followed];
                *followed += 1;
                match branch {
                    Branch::Node(next) if seen[next] == Seen::Inside => {
                        return Err(OpError::attr(
                            "nodes_truenodeids",
                            format!("node {next} leads to itself"),
                        ));
                    }
                    Branch::Node(next) => path.push((next, 0)),
                    Branch::Leaf(_) => {}
                }
            }
        }
        Ok(())
    }

    /// The leaf at which a row ends in the tree of `root`.
    fn leaf<W: Real>(&self, root: usize, row: &[W], splits: &[W], sets: &[&[W]]) -> usize {
        let mut at = root;
        loop {
            let node = &self.nodes[at];
            let (x, split) = (row[node.feature], splits[at]);
            let holds = match node.mode {
                _ if x.is_nan() => node.nan,
                0 => x <= split,
                1 => x < split,
                2 => x >= split,
                3 => x > split,
                4 => x == split,
                5 => x != split,
                _ => sets[at].contains(&x),
            };
            match node.branches[usize::from(!holds)] {
                Branch::Node(next) => at = next,
                Branch::Leaf(leaf) => return leaf,
            }
        }
    }

    /// The set of each node; of those that have none an empty one.
    fn sets<'a, W: Real>(&self, members: &'a [W]) -> Option<Vec<&'a [W]>> {
        let mut rest = members;
        let sets = self.nodes.iter().map(|node| {
            if node.mode != MEMBER {
                return Some(&[][..]);
            }
            let end = rest.iter().position(|value| value.is_nan())?;
            let set = &rest[..end];
            rest = &rest[end + 1..];
            Some(set)
        });
        let sets = sets.collect::<Option<Vec<_>>>()?;
        rest.is_empty().then_some(sets)
    }
}

/// The weights of each leaf, one after the other.
fn leaves(sizes: Option<&[i64]>, weights: usize) -> Result<Vec<Range<usize>>, OpError> {
    let Some(sizes) = sizes else { return Ok((0..weights).map(|at| at..at + 1).collect()) };
    let mut end = 0usize;
    let ranges = sizes.iter().map(|&size| {
        let start = end;
        let next = usize::try_from(size).ok().and_then(|size| start.checked_add(size));
        end = next.filter(|end| *end <= weights)?;
        Some(start..end)
    });
    let ranges = ranges.collect::<Option<Vec<_>>>().filter(|_| end == weights);
    ranges.ok_or_else(|| OpError::attr("leaf_sizes", format!("do not divide {weights} weights")))
}

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.require(0, "a float", DType::is_float)?;
    let forest = Forest::new(ctx.attrs)?;
    let [rows, columns] = ctx.shape(0)? else {
        return Err(OpError::shape(format!("{} has not two axes", ctx.input(0)?.ty)));
    };
    let used = forest.nodes.iter().map(|node| node.feature + 1).max().unwrap_or(0);
    if columns.as_extent().is_some_and(|columns| columns < used) {
        return Err(OpError::shape(format!("{columns} features where a node looks at number {}", used - 1)));
    }
    for (index, what, count) in [(1, "splits", forest.nodes.len()), (2, "weights", forest.targets.len())] {
        ctx.require_same(index, dtype)?;
        let fits = match ctx.shape(index)? {
            [n] => n.as_extent().is_none_or(|n| n == count),
            _ => false,
        };
        if !fits {
            return Err(OpError::shape(format!("{what} is not a vector of {count} elements")));
        }
    }
    if let Some(members) = ctx.optional(3) {
        ctx.require_same(3, dtype)?;
        if members.ty.shape.len() != 1 {
            return Err(OpError::shape("members is not a vector"));
        }
    } else if forest.nodes.iter().any(|node| node.mode == MEMBER) {
        return Err(OpError::MissingInput { index: 3 });
    }
    Ok(vec![Inferred::new(dtype, vec![rows.clone(), DimExpr::from(forest.target_count)])])
}

fn evaluate<T: Float>(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let forest = Forest::new(ctx.attrs)?;
    let x = ctx.input(0);
    let values: Vec<T::Wide> = wide_elements(x);
    let (splits, weights) = (wide_elements::<T::Wide>(ctx.input(1)), wide_elements::<T::Wide>(ctx.input(2)));
    let members: Vec<T::Wide> = ctx.optional(3).map(wide_elements).unwrap_or_default();
    let sets = forest.sets(&members).ok_or(OpError::Fault(Fault::BadShape))?;
    let (rows, columns) = (x.shape[0], x.shape[1]);
    let mut y = Tensor::zeros(T::DTYPE, &[rows, forest.target_count])?;
    for (row, out) in y.as_mut_slice::<T>().chunks_exact_mut(forest.target_count).enumerate() {
        let row = &values[row * columns..][..columns];
        let mut found: Vec<Option<T::Wide>> = vec![None; forest.target_count];
        for &root in &forest.roots {
            let leaf = forest.leaf(root, row, &splits, &sets);
            for at in forest.leaves[leaf].clone() {
                let (slot, weight) = (&mut found[forest.targets[at]], weights[at]);
                *slot = Some(match (forest.aggregate, *slot) {
                    (0 | 1, sum) => sum.unwrap_or(T::Wide::ZERO) + weight,
                    (_, None) => weight,
                    (2, Some(least)) => least.smaller(weight),
                    (_, Some(largest)) => largest.larger(weight),
                });
            }
        }
        for (out, value) in out.iter_mut().zip(found) {
            let value = value.unwrap_or(T::Wide::ZERO);
            let trees = T::Wide::count(forest.roots.len());
            *out = T::narrow(if forest.aggregate == 0 { value / trees } else { value });
        }
    }
    // Without trees the mean would be 0 / 0.
    if forest.roots.is_empty() {
        y = Tensor::zeros(T::DTYPE, &[rows, forest.target_count])?;
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::{run, try_run};

    /// x0 <= 1 ? leaf 0 : (x1 in {3, 5} ? leaf 1 : leaf 2), and the second node alone.
    fn attrs(aggregate: i64) -> Attrs {
        Attrs::new()
            .with_int("aggregate_function", aggregate)
            .with_int("n_targets", 2)
            .with_ints("leaf_targetids", &[0, 1, 0])
            .with_ints("nodes_featureids", &[0, 1])
            .with_ints("nodes_modes", &[0, 6])
            .with_ints("nodes_trueleafs", &[1, 1])
            .with_ints("nodes_truenodeids", &[0, 1])
            .with_ints("nodes_falseleafs", &[0, 1])
            .with_ints("nodes_falsenodeids", &[1, 2])
            .with_ints("tree_roots", &[0, 1])
    }

    fn inputs() -> [Tensor; 4] {
        [
            Tensor::from_slice(&[4, 2], &[1.0f32, 3.0, 2.0, 5.0, f32::NAN, 4.0, 2.0, f32::NAN]),
            Tensor::from_slice(&[2], &[1.0f32, 0.0]),
            Tensor::from_slice(&[3], &[1.0f32, 10.0, -100.0]),
            Tensor::from_slice(&[3], &[3.0f32, 5.0, f32::NAN]),
        ]
    }

    fn go(attrs: Attrs) -> Vec<f32> {
        let [x, splits, weights, members] = inputs();
        run("TreeEnsemble", attrs, &[&x, &splits, &weights, &members]).as_slice::<f32>().to_vec()
    }

    #[test]
    fn leaves_are_aggregated() {
        assert_eq!(go(attrs(1)), [1.0, 10.0, 0.0, 20.0, -200.0, 0.0, -200.0, 0.0]);
        assert_eq!(go(attrs(0)), [0.5, 5.0, 0.0, 10.0, -100.0, 0.0, -100.0, 0.0]);
        assert_eq!(go(attrs(2)), [1.0, 10.0, 0.0, 10.0, -100.0, 0.0, -100.0, 0.0]);
        let nan = attrs(3).with_ints("nodes_missing_value_tracks_true", &[1, 1]);
        assert_eq!(go(nan), [1.0, 10.0, 0.0, 10.0, 1.0, 0.0, 0.0, 10.0]);
        assert_eq!(go(attrs(0).with_ints("tree_roots", &[])), [0.0; 8]);
        // Both weights in the first leaf, none in the second.
        let sizes = attrs(1).with_ints("leaf_sizes", &[2, 0, 1]);
        assert_eq!(go(sizes), [1.0, 10.0, 0.0, 0.0, -200.0, 0.0, -200.0, 0.0]);
    }

    #[test]
    fn trees_that_are_none_are_refused() {
        let [x, splits, weights, members] = inputs();
        let all = [&x, &splits, &weights, &members];
        for (name, bad) in [
            ("nodes_falseleafs", vec![0, 0]),
            ("nodes_falsenodeids", vec![1, 3]),
            ("nodes_featureids", vec![0, 2]),
            ("nodes_featureids", vec![0]),
            ("nodes_modes", vec![0, 7]),
            ("leaf_targetids", vec![0, 1, 2]),
            ("tree_roots", vec![-1]),
            ("leaf_sizes", vec![1, 1]),
            ("leaf_sizes", vec![2, -1, 2]),
            ("leaf_sizes", vec![1, 1, i64::MAX]),
        ] {
            let ids = if name == "nodes_falseleafs" { vec![1, 0] } else { vec![1, 2] };
            let attrs = attrs(1).with_ints("nodes_falsenodeids", &ids).with_ints(name, &bad);
            assert!(try_run("TreeEnsemble", attrs, &all).is_err(), "{name} {bad:?}");
        }
        assert!(try_run("TreeEnsemble", attrs(1), &all[..3]).is_err(), "no members");
        let short = Tensor::from_slice(&[2], &[3.0f32, 5.0]);
        let found = try_run("TreeEnsemble", attrs(1), &[&x, &splits, &weights, &short]);
        assert_eq!(found.unwrap_err(), OpError::Fault(Fault::BadShape));
    }
}
