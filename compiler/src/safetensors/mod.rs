//! Safetensors: one file, or several with an index, as Hugging Face folders hold them.
//!
//! Headers are read by the crate `safetensors`, which checks that tensors' bytes follow each other without gaps; here
//! names, types and the files that an index may name are checked. Tensors' bytes stay in the mapped files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use bytes::Bytes;
use repops::program::Source;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::decoder::{Format, ModelError, Stored};
use crate::folder;

/// Files of a model.
const SHARDS_MAX: usize = 1 << 10;
const INDEX_BYTES_MAX: u64 = 64 << 20;
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The tensors of one file.
pub fn parse(file: &Bytes) -> Result<BTreeMap<String, Stored>, ModelError> {
    let malformed = |problem: String| ModelError::Malformed { offset: 0, problem };
    let (header, metadata) =
        SafeTensors::read_metadata(file).map_err(|error| malformed(error.to_string()))?;
    let data = header + 8;
    let mut tensors = BTreeMap::new();
    for name in metadata.offset_keys() {
        let wrong = |problem: String| ModelError::Tensor { tensor: name.clone(), problem };
        let info = metadata.info(&name).ok_or_else(|| wrong("is not in the header".to_string()))?;
        let format = match info.dtype {
            Dtype::F32 => Format::F32,
            Dtype::F16 => Format::F16,
            Dtype::BF16 => Format::BF16,
            other => {
                let problem = format!("its type is {other:?}, which is not supported; F32, F16 and BF16 are");
                return Err(wrong(problem));
            }
        };
        let (start, end) = info.data_offsets;
        let place = data.checked_add(start).zip(data.checked_add(end));
        let (start, end) = place
            .filter(|&(start, end)| start <= end && end <= file.len())
            .ok_or_else(|| wrong(format!("bytes {start} to {end} are not in the file")))?;
        let dtype = format.dtype().expect("a dense format");
        let needed = repops::tensor::byte_len(dtype, &info.shape)?;
        if needed != end - start || needed == 0 {
            return Err(wrong(format!(
                "shape {:?} takes {needed} bytes, {} are there",
                info.shape,
                end - start
            )));
        }
        let stored = Stored { format, shape: info.shape.clone(), bytes: file.slice(start..end) };
        if tensors.insert(name.clone(), stored).is_some() {
            return Err(ModelError::Tensor { tensor: name, problem: "is there twice".to_string() });
        }
    }
    Ok(tensors)
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The tensors of a folder, and its files of weights in the order of their names.
pub fn load(path: &Path) -> Result<(BTreeMap<String, Stored>, Vec<Source>), ModelError> {
    let Some(index) = folder::optional(path, INDEX, INDEX_BYTES_MAX)? else {
        return Ok((parse_at(path, SINGLE)?, vec![folder::source(path, SINGLE)?]));
    };
    let at = || path.join(INDEX);
    let file = |problem: String| ModelError::File { path: at(), problem };
    let index: Index = serde_json::from_slice(&index).map_err(|error| file(error.to_string()))?;
    let names: BTreeSet<&String> = index.weight_map.values().collect();
    if names.len() > SHARDS_MAX {
        return Err(file(format!("{} files are above the limit of {SHARDS_MAX}", names.len())));
    }
    let (mut tensors, mut sources) = (BTreeMap::new(), Vec::new());
    for name in names {
        if !is_plain(name) {
            return Err(file(format!("{name:?} is no name of a file beside it")));
        }
        for (tensor, stored) in parse_at(path, name)? {
            if index.weight_map.get(&tensor) != Some(name) {
                let problem = format!("the index does not place it in {name:?}");
                return Err(ModelError::Tensor { tensor, problem });
            }
            tensors.insert(tensor, stored);
        }
        sources.push(folder::source(path, name)?);
    }
    match index.weight_map.keys().find(|name| !tensors.contains_key(*name)) {
        Some(missing) => Err(ModelError::NoTensor { tensor: missing.clone() }),
        None => Ok((tensors, sources)),
    }
}

/// A file's name without any way out of its folder, on every system.
fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
        && !name.contains(['/', '\\', ':', '\0'])
}

fn parse_at(folder: &Path, name: &str) -> Result<BTreeMap<String, Stored>, ModelError> {
    let path = folder.join(name);
    let file =
        crate::mapped::map_file(&path).map_err(|source| ModelError::Io { path: path.clone(), source })?;
    parse(&file).map_err(|error| match error {
        ModelError::Malformed { problem, .. } => ModelError::File { path, problem },
        other => other,
    })
}
