//! Files as memory: the one place of the importer with `unsafe`.
//!
//! Invariant: a mapping is read-only and lives as long as any `Bytes` made from it.
#![expect(unsafe_code, reason = "mapping a file is unsafe: another process may change it")]

use std::fs::File;
use std::io;
use std::path::Path;

use bytes::Bytes;

/// The file's bytes, shared and never copied. An empty file gives empty bytes.
pub fn map_file(path: &Path) -> io::Result<Bytes> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    if metadata.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the mapping is private and read-only, and nothing in this process writes to model files.
    // Should another process change or cut the file meanwhile, weights may change or the process be
    // ended by a signal, as with every program that maps its input; digests show the former.
    let map = unsafe { memmap2::MmapOptions::new().map_copy_read_only(&file)? };
    Ok(Bytes::from_owner(map))
}
