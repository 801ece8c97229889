//! A file mapped into memory, read-only.

use std::fs::File;
use std::io;
use std::path::Path;

/// The bytes of a file, without reading them first. Whoever maps a file sees to it that nobody writes to
/// it meanwhile: a file that shrinks ends the process when the lost part is read.
#[derive(Debug)]
pub struct MappedFile {
    /// `None`: the file is empty, and nothing can be mapped.
    map: Option<memmap2::Mmap>,
}

impl MappedFile {
    pub fn open(path: impl AsRef<Path>) -> io::Result<MappedFile> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        if metadata.len() == 0 {
            return Ok(MappedFile { map: None });
        }
        // SAFETY: the mapping is private and read-only; that the file keeps its content is the caller's
        // part, as the type's documentation says.
        let map = unsafe { memmap2::MmapOptions::new().map(&file)? };
        Ok(MappedFile { map: Some(map) })
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        self.map.as_deref().unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_content_and_empty_files() {
        let dir = std::env::temp_dir().join(format!("repops-mapped-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (full, empty) = (dir.join("full"), dir.join("empty"));
        std::fs::write(&full, b"content").unwrap();
        std::fs::write(&empty, b"").unwrap();
        assert_eq!(MappedFile::open(&full).unwrap().as_ref(), b"content");
        assert_eq!(MappedFile::open(&empty).unwrap().as_ref(), b"");
        assert!(MappedFile::open(&dir).is_err());
        assert!(MappedFile::open(dir.join("absent")).is_err());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
