//! Draws nodes whose attributes and operands must fit each other: tables, trees, patterns, texts and files.
//!
//! Invariant: what is drawn for a row here is valid, but for sizes; [`super::draw`] computes it as it does everything else.

use repops::attrs::{AttrValue, Attrs};
use repops::ops::OpDef;
use repops::packed::{Strings, Value};
use repops::{DType, Tensor};

use super::draw::{Numbers, Pool};

/// Operands and attributes of a node. A constant that is new has the number that it will get.
pub(super) struct Fitted {
    pub attrs: Attrs,
    pub inputs: Vec<Option<usize>>,
    pub new: Vec<Tensor>,
}

/// The rows that are drawn here.
const ROWS: [&str; 8] = [
    "CastFromString",
    "CastToString",
    "ImageDecoder",
    "LabelEncoder",
    "RegexFullMatch",
    "StringNormalizer",
    "TfIdfVectorizer",
    "TreeEnsemble",
];

/// Whether a row is one of them.
pub(super) fn is_fitted(def: &OpDef) -> bool {
    ROWS.contains(&def.name)
}

/// Texts, which are also numbers, words and what patterns match.
pub(super) const TEXTS: [&str; 8] = ["", "a b", "The end", "ä€", " x ", "12", "-0.5", "a,b,,c"];

const PATTERNS: [&str; 7] = [".*", "[a-z ,]+", r"\d+|-?0\.5", "(?i)the END", "", "a(.b)*.*c", r"\w*"];

/// The domain and the name of a row's operator in ONNX.
pub(super) fn in_onnx(def: &OpDef) -> (&'static str, &'static str) {
    match def.name {
        "CastFromString" | "CastToString" => ("", "Cast"),
        "LabelEncoder" | "TreeEnsemble" => (ML, def.name),
        name => ("", name),
    }
}

/// The domain of what is not of ai.onnx, and the version that graphs import.
pub(super) const ML: &str = "ai.onnx.ml";
pub(super) const ML_VERSION: i64 = 5;

impl Pool {
    /// A node of one of [`ROWS`], if the values that there are allow one.
    pub(super) fn fitted(&self, def: &OpDef, numbers: &mut Numbers) -> Option<Fitted> {
        let mut new = Vec::new();
        let is_number = |tensor: &Tensor| tensor.dtype() != DType::Packed;
        let (x, attrs) = match def.name {
            "CastToString" => (self.among(is_number, numbers)?, Attrs::new()),
            "CastFromString" => {
                let to = i64::from(numbers.pick(&super::draw::TYPES).code());
                (self.texts(&mut new, numbers), Attrs::new().with_int("to", to))
            }
            "RegexFullMatch" => {
                let attrs = Attrs::new().with_str("pattern", numbers.pick(&PATTERNS));
                (self.texts(&mut new, numbers), attrs)
            }
            "StringNormalizer" => {
                let words = (0..numbers.below(3)).map(|_| numbers.pick(&TEXTS).to_string()).collect();
                let mut attrs = Attrs::new()
                    .with_str("case_change_action", numbers.pick(&["LOWER", "UPPER", "NONE"]))
                    .with_int("is_case_sensitive", numbers.below(2) as i64);
                attrs.insert("stopwords", AttrValue::Strs(words));
                (self.texts(&mut new, numbers), attrs)
            }
            "ImageDecoder" => {
                let format = numbers.pick(&["RGB", "BGR", "Grayscale"]);
                let is_file = |tensor: &Tensor| tensor.dtype() == DType::U8 && tensor.shape().len() == 1;
                let x = self.among(is_file, numbers).filter(|_| numbers.below(3) == 0);
                let x = x.unwrap_or_else(|| self.add(&mut new, image(numbers)));
                (x, Attrs::new().with_str("pixel_format", format))
            }
            "LabelEncoder" => return self.table(new, numbers),
            "TfIdfVectorizer" => {
                let is_text = |tensor: &Tensor| {
                    matches!(tensor.dtype(), DType::I32 | DType::I64) && matches!(tensor.shape().len(), 1 | 2)
                };
                (self.among(is_text, numbers)?, grams(numbers))
            }
            "TreeEnsemble" => return self.trees(new, numbers),
            _ => return None,
        };
        Some(Fitted { attrs, inputs: vec![Some(x)], new })
    }

    /// One of the values that a node may take.
    fn among(&self, fits: impl Fn(&Tensor) -> bool, numbers: &mut Numbers) -> Option<usize> {
        let found: Vec<usize> =
            self.visible.iter().copied().filter(|&at| fits(&self.values[at].tensor)).collect();
        if found.is_empty() { None } else { Some(numbers.pick(&found)) }
    }

    fn add(&self, new: &mut Vec<Tensor>, tensor: Tensor) -> usize {
        new.push(tensor);
        self.values.len() + new.len() - 1
    }

    /// A tensor of strings.
    fn texts(&self, new: &mut Vec<Tensor>, numbers: &mut Numbers) -> usize {
        let is_text = |tensor: &Tensor| matches!(Value::of(tensor), Ok(Value::Strings(_)));
        match self.among(is_text, numbers) {
            Some(at) => at,
            None => self.add(new, strings(1 + numbers.below(3), numbers)),
        }
    }

    /// LabelEncoder: keys as X has them, and others.
    fn table(&self, mut new: Vec<Tensor>, numbers: &mut Numbers) -> Option<Fitted> {
        let has_elements =
            |tensor: &Tensor| matches!(Value::of(tensor), Ok(Value::Strings(_) | Value::Tensor(_)));
        let x = self.among(has_elements, numbers)?;
        let count = 1 + numbers.below(4);
        let mut column = |pool: &Pool, dtype, count| match dtype {
            DType::Packed => strings(count, numbers),
            dtype => pool.tensor(dtype, &[count], numbers),
        };
        let to = [DType::I64, DType::F32, DType::Packed, DType::F64][count - 1];
        let columns = [(self.values[x].tensor.dtype(), count), (to, count), (to, 1)];
        let mut inputs = vec![Some(x)];
        for (dtype, count) in columns {
            let tensor = column(self, dtype, count);
            inputs.push(Some(self.add(&mut new, tensor)));
        }
        Some(Fitted { attrs: Attrs::new(), inputs, new })
    }

    /// TreeEnsemble: a chain of nodes whose true branches are leaves, walked from one or two places.
    fn trees(&self, mut new: Vec<Tensor>, numbers: &mut Numbers) -> Option<Fitted> {
        let has_features = |tensor: &Tensor| {
            tensor.dtype().is_float() && matches!(tensor.shape(), [_, columns] if *columns > 0)
        };
        let x = self.among(has_features, numbers)?;
        let (dtype, columns) = (self.values[x].tensor.dtype(), self.values[x].tensor.shape()[1]);
        let count = 1 + numbers.below(5);
        let targets = 1 + numbers.below(3);
        let mut draw =
            |n: usize, below: usize| -> Vec<i64> { (0..n).map(|_| numbers.below(below) as i64).collect() };
        let (modes, features, nan) = (draw(count, 6), draw(count, columns), draw(count, 2));
        let (leaf_targets, aggregate) = (draw(count + 1, targets), draw(1, 4)[0]);
        // A second root, or none.
        let others = draw(1, 2)[0] as usize;
        let roots = [vec![0], draw(others, count)].concat();
        let last = count as i64 - 1;
        let false_leafs: Vec<i64> = (0..=last).map(|at| i64::from(at == last)).collect();
        let attrs = Attrs::new()
            .with_int("aggregate_function", aggregate)
            .with_int("n_targets", targets as i64)
            .with_ints("leaf_targetids", &leaf_targets)
            .with_ints("nodes_featureids", &features)
            .with_ints("nodes_missing_value_tracks_true", &nan)
            .with_ints("nodes_modes", &modes)
            .with_ints("nodes_trueleafs", &vec![1; count])
            .with_ints("nodes_truenodeids", &(0..count as i64).collect::<Vec<_>>())
            .with_ints("nodes_falseleafs", &false_leafs)
            .with_ints("nodes_falsenodeids", &(1..=count as i64).collect::<Vec<_>>())
            .with_ints("tree_roots", &roots);
        let (splits, weights) =
            (self.tensor(dtype, &[count], numbers), self.tensor(dtype, &[count + 1], numbers));
        let inputs = vec![Some(x), Some(self.add(&mut new, splits)), Some(self.add(&mut new, weights))];
        Some(Fitted { attrs, inputs, new })
    }
}

fn strings(count: usize, numbers: &mut Numbers) -> Tensor {
    Strings::new(&[count], (0..count).map(|_| numbers.pick(&TEXTS))).into_tensor()
}

/// Pools of single elements and of pairs.
fn grams(numbers: &mut Numbers) -> Attrs {
    let (singles, pairs) = (1 + numbers.below(3), numbers.below(3));
    let pool: Vec<i64> = (0..singles + 2 * pairs).map(|_| numbers.below(6) as i64 - 1).collect();
    let coordinates: Vec<i64> = (0..(singles + pairs) as i64).rev().collect();
    let mut attrs = Attrs::new()
        .with_str("mode", numbers.pick(&["TF", "IDF", "TFIDF"]))
        .with_int("min_gram_length", 1)
        .with_int("max_gram_length", 2)
        .with_int("max_skip_count", numbers.below(3) as i64)
        .with_ints("ngram_counts", &[0, singles as i64])
        .with_ints("ngram_indexes", &coordinates)
        .with_ints("pool_int64s", &pool);
    if numbers.below(2) == 0 {
        let weights = coordinates.iter().map(|_| numbers.pick(&[0.5, 1.0, 3.0])).collect();
        attrs.insert("weights", AttrValue::Floats(weights));
    }
    attrs
}

/// A picture of a few pixels, sometimes cut off.
fn image(numbers: &mut Numbers) -> Tensor {
    let (width, height) = (1 + numbers.below(3), 1 + numbers.below(3));
    let (magic, samples) = numbers.pick(&[("P5", 1), ("P6", 3)]);
    let mut file = format!("{magic}\n{width} {height}\n255\n").into_bytes();
    file.extend((0..width * height * samples).map(|_| numbers.below(256) as u8));
    if numbers.below(5) == 0 {
        file.truncate(file.len() - 1);
    }
    Tensor::from_slice(&[file.len()], &file)
}
