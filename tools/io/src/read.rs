//! A tensor from a file, by the file's extension.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use repops::ops::SymType;
use repops::tensor::TENSOR_BYTES_MAX;
use repops::{DType, Tensor};

use crate::npy::{self, NpyError};
use crate::npz::{Archive, NpzError};
use crate::raw::{self, RawError};
use crate::tensor_proto::{self, ProtoError};

/// A pipe or a device has no size that could be checked; this is where reading one ends.
const STREAM_BYTES_MAX: u64 = 1 << 32;

/// Where a tensor comes from and what it is to be.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub path: &'a Path,
    /// The name of the input: the member of an archive.
    pub name: &'a str,
    /// The declared type, as far as it is known.
    pub declared: Option<&'a SymType>,
    /// An element type that the user names: for bfloat16, which `.npy` cannot name, and for raw files.
    pub dtype: Option<DType>,
}

/// Why a file gives no tensor.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", path.display())]
pub struct ReadError {
    pub path: PathBuf,
    pub error: FormatError,
}

/// What is wrong with the file's contents.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the file is larger than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("the extension {extension:?} is none of npy, npz, pb, bin, raw")]
    Extension { extension: String },
    #[error(transparent)]
    Npy(#[from] NpyError),
    #[error(transparent)]
    Npz(#[from] NpzError),
    #[error("the archive holds several tensors and none is named {name:?}: {members:?}")]
    WhichMember { name: String, members: Vec<String> },
    #[error(transparent)]
    Proto(#[from] ProtoError),
    #[error(transparent)]
    Raw(#[from] RawError),
    #[error("the file holds {found} elements; {expected} was asked for")]
    DType { expected: DType, found: DType },
}

/// Reads a tensor.
pub fn read_tensor(source: Source<'_>) -> Result<Tensor, ReadError> {
    read(source).map_err(|error| ReadError { path: source.path.to_owned(), error })
}

fn read(source: Source<'_>) -> Result<Tensor, FormatError> {
    let extension = source.path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let expected = source.dtype.or(source.declared.map(|ty| ty.dtype));
    let tensor = match extension.as_str() {
        "npy" => npy::parse_as(&read_file(source.path)?, expected)?,
        "npz" => {
            let bytes = read_file(source.path)?;
            let archive = Archive::open(&bytes)?;
            archive.tensor(member_of(&archive, source.name)?, expected)?
        }
        "pb" => tensor_proto::parse(&read_file(source.path)?)?,
        "bin" | "raw" => raw::parse(&read_file(source.path)?, source.declared, source.dtype)?,
        _ => return Err(FormatError::Extension { extension }),
    };
    match source.dtype {
        Some(expected) if expected != tensor.dtype() => {
            Err(FormatError::DType { expected, found: tensor.dtype() })
        }
        _ => Ok(tensor),
    }
}

/// The member with the input's name, or the only one.
fn member_of<'a>(archive: &'a Archive<'_>, name: &'a str) -> Result<&'a str, FormatError> {
    let members: Vec<&str> = archive.names().collect();
    match members.as_slice() {
        [only] => Ok(only),
        _ if members.contains(&name) => Ok(name),
        _ => Err(FormatError::WhichMember {
            name: name.to_string(),
            members: members.iter().take(16).map(|m| m.to_string()).collect(),
        }),
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, FormatError> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let limit = if metadata.is_file() { TENSOR_BYTES_MAX } else { STREAM_BYTES_MAX };
    if metadata.len() > limit {
        return Err(FormatError::TooLarge { limit });
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(FormatError::TooLarge { limit });
    }
    Ok(bytes)
}
