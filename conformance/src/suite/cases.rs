//! Where the cases of a suite are.
//!
//! A case is a folder with `model.onnx`, or with `model.rep` and `case.json` that a machine with a compiler has made of it, and
//! either ONNX's `test_data_set_N/` (`input_N.pb`, and `output_N.pb` or an empty file `no_outputs`) or the `inputs/NAME.npy` of the
//! bit matrix, which say nothing of outputs.

use std::path::{Path, PathBuf};

use super::SuiteError;

/// The suites that have names: ONNX's, which `node_cases.py` writes side by side into one folder, what `microsoft_cases.py` and
/// `narrow_cases.py`, `type_cases.py` and `version_cases.py` write, cases of what was wrong once, the matrix, and the development models, which `reference.py short` gives
/// their inputs.
pub const SUITES: [&str; 12] = [
    "node",
    "simple",
    "light",
    "pytorch-operator",
    "pytorch-converted",
    "microsoft",
    "narrow",
    "types",
    "versions",
    "found",
    "matrix",
    "models",
];

/// A model with inputs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Case {
    pub name: String,
    pub model: PathBuf,
    pub data: Data,
}

impl Case {
    /// Whether its model was compiled elsewhere.
    pub fn is_program(&self) -> bool {
        self.model.extension().is_some_and(|extension| extension == "rep")
    }
}

/// The inputs of a case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Data {
    /// Folders of `input_N.pb` and `output_N.pb`, by name.
    Protos(Vec<PathBuf>),
    /// A folder of `NAME.npy`.
    Arrays(PathBuf),
}

/// The cases below `folder`, in the order of their names.
pub fn cases(folder: &Path) -> Result<Vec<Case>, SuiteError> {
    let mut out = Vec::new();
    for path in entries(folder)? {
        let models = ["model.onnx", "model.rep"].map(|name| path.join(name));
        let Some(model) = models.into_iter().find(|model| model.is_file()) else { continue };
        let arrays = path.join("inputs");
        let data = match arrays.is_dir() {
            true => Data::Arrays(arrays),
            false => {
                let sets = entries(&path)?.into_iter();
                Data::Protos(sets.filter(|set| name_of(set).starts_with("test_data_set_")).collect())
            }
        };
        out.push(Case { name: name_of(&path), model, data });
    }
    match out.is_empty() {
        true => Err(SuiteError::Empty { path: folder.display().to_string() }),
        false => Ok(out),
    }
}

/// What is in a folder, in the order of names.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, SuiteError> {
    let io = |source| SuiteError::Io { path: folder.display().to_string(), source };
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        out.push(entry.map_err(io)?.path());
    }
    out.sort();
    Ok(out)
}

/// The last part of a path.
pub(super) fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}
