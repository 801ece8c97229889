//! Programs from files, memory-mapped.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use repops::Program;
use repops::program::ProgramError;
use repops_kernels::MappedFile;

/// Why a program file could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: std::io::Error },
    #[error("{path}: {error}")]
    Program { path: PathBuf, error: ProgramError },
}

/// Maps and checks a program file. Constants stay in the file until they are used.
pub fn load(path: &Path) -> Result<Program, LoadError> {
    let mapped = MappedFile::open(path).map_err(|error| LoadError::Io { path: path.to_path_buf(), error })?;
    Program::decode(Arc::new(mapped)).map_err(|error| LoadError::Program { path: path.to_path_buf(), error })
}
