//! Files as memory: the one place of the importer with `unsafe`. Model files are read so, and what is too large for the heap is
//! written to a file without a name and read so.
//!
//! Invariant: a mapping is read-only and lives as long as any `Bytes` made from it.
#![expect(unsafe_code, reason = "mapping a file is unsafe: another process may change it")]

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// The same bytes in a file of their own, which goes away with them: memory that the system may write back and take.
pub fn spill(bytes: &[u8]) -> io::Result<Bytes> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("repops-weights-{}-{number}", std::process::id()));
    // Never a file that is there already, or that a link leads to.
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    let removed = std::fs::remove_file(&path);
    file.write_all(bytes)?;
    removed?;
    if bytes.is_empty() {
        return Ok(Bytes::new());
    }
    // SAFETY: the mapping is private and read-only, and the file has no name by which anything else could open it.
    let map = unsafe { memmap2::MmapOptions::new().map_copy_read_only(&file)? };
    Ok(Bytes::from_owner(map))
}
