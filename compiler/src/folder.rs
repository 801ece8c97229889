//! Files of a model's folder: small ones read whole within limits, large ones mapped.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use repops::Digest;
use repops::program::Source;
use sha2::{Digest as _, Sha256};

use crate::decoder::ModelError;

/// The bytes of a file that may be absent.
pub fn optional(folder: &Path, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, ModelError> {
    let path = folder.join(name);
    let io = |source| ModelError::Io { path: path.clone(), source };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    if !file.metadata().map_err(io)?.is_file() {
        return Err(ModelError::File { path, problem: "is no regular file".to_string() });
    }
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > bytes_max {
        return Err(ModelError::FileSize { path, found: bytes.len() as u64, limit: bytes_max });
    }
    Ok(Some(bytes))
}

/// A file as programs name their sources.
pub fn source(folder: &Path, name: &str) -> Result<Source, ModelError> {
    let path = folder.join(name);
    let bytes = crate::mapped::map_file(&path).map_err(|source| ModelError::Io { path, source })?;
    Ok(source_of(name, &bytes))
}

/// Bytes as programs name their sources.
pub fn source_of(name: &str, bytes: &[u8]) -> Source {
    let file = name.rsplit('/').next().unwrap_or(name).to_string();
    Source { name: file, digest: Digest(Sha256::digest(bytes).into()) }
}
