//! Files that appear whole or not at all.
//!
//! Invariant: a file is written under a temporary name beside its place, synced, and then renamed; what
//! was staged and not committed is removed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Files to be put in place together, once all of them are written.
#[derive(Default)]
pub struct Staged {
    files: Vec<(PathBuf, PathBuf)>,
}

/// A file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct WriteError {
    pub path: PathBuf,
    pub source: io::Error,
}

/// Writes one file.
pub fn write(path: &Path, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), WriteError> {
    let mut staged = Staged::default();
    staged.write(path, content)?;
    staged.commit()
}

impl Staged {
    pub fn new() -> Staged {
        Staged::default()
    }

    /// Writes and syncs a file under a temporary name.
    pub fn write(
        &mut self,
        path: &Path,
        content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), WriteError> {
        let failed = |source| WriteError { path: path.to_owned(), source };
        let path = match destination(path).map_err(failed)? {
            Destination::File(path) => path,
            Destination::Stream(file) => {
                let mut out = BufWriter::with_capacity(1 << 16, file);
                return content(&mut out).and_then(|()| out.flush()).map_err(failed);
            }
        };
        if self.files.iter().any(|(_, other)| *other == path) {
            return Err(failed(io::Error::other("two outputs would be written here")));
        }
        let temporary = temporary_beside(&path).map_err(failed)?;
        let file = File::create_new(&temporary).map_err(failed)?;
        // From here on `drop` removes it.
        self.files.push((temporary, path));
        let mut out = BufWriter::with_capacity(1 << 16, file);
        content(&mut out).and_then(|()| out.flush()).and_then(|()| out.get_ref().sync_all()).map_err(failed)
    }

    /// Puts every file in its place; if one cannot be, none stays.
    pub fn commit(mut self) -> Result<(), WriteError> {
        let failed = |path: &Path, source| WriteError { path: path.to_owned(), source };
        // What would fail is looked for before files that are there already are replaced.
        if let Some((_, path)) = self.files.iter().find(|(_, path)| path.is_dir()) {
            return Err(failed(path, io::Error::from(io::ErrorKind::IsADirectory)));
        }
        for (index, (temporary, path)) in self.files.iter().enumerate() {
            if let Err(source) = fs::rename(temporary, path) {
                for (_, placed) in &self.files[..index] {
                    // The error to tell is the one that led here.
                    let _ = fs::remove_file(placed);
                }
                return Err(failed(path, source));
            }
        }
        for (_, path) in self.files.drain(..) {
            sync_folder(&path);
        }
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        for (temporary, _) in &self.files {
            // Already renamed, or there is nothing better to do.
            let _ = fs::remove_file(temporary);
        }
    }
}

/// What a path leads to.
enum Destination {
    /// A file, or nothing yet: the path without links and dots.
    File(PathBuf),
    /// A device or a pipe. It is written as it is: a file in its place would take it away from everybody.
    Stream(File),
}

fn destination(path: &Path) -> io::Result<Destination> {
    let name = path.file_name().ok_or_else(|| io::Error::other("this names no file"))?;
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(io::Error::from(io::ErrorKind::IsADirectory)),
        Ok(found) if found.is_file() => Ok(Destination::File(fs::canonicalize(path)?)),
        Ok(_) => Ok(Destination::Stream(File::options().write(true).open(path)?)),
        Err(_) => Ok(Destination::File(fs::canonicalize(folder_of(path))?.join(name))),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A name that no other file has, in the same folder, so that renaming stays within a file system.
fn temporary_beside(path: &Path) -> io::Result<PathBuf> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().ok_or_else(|| io::Error::other("this names no file"))?;
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}-{number}.tmp", std::process::id()));
    Ok(path.with_file_name(temporary))
}

/// Makes the new name durable where the system lets a folder be synced.
fn sync_folder(path: &Path) {
    if let Ok(folder) = File::open(folder_of(path)) {
        let _ = folder.sync_all();
    }
}
