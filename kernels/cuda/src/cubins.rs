//! Machine code assembled ahead of time, embedded beside the PTX: what `cargo xtask cuda cubins` has written.
//!
//! An archive is `RepOps cubins 1\n`, the number of its entries as u32, the entries, and their data, all little-endian. An
//! entry: the module's name behind its length (u8), the architecture (u32), SHA-256 of the PTX that it was assembled from,
//! the data's offset from the end of the entries (u64), its bytes as stored (u64) and as loaded (u64). Data is zlib's.
//!
//! Invariant: what is found was made from the very PTX that is embedded; everything else has the driver compile the PTX.

use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;
use repops::digest::sha256;

use crate::device::Module;

const MAGIC: &[u8] = b"RepOps cubins 1\n";
/// Bytes of one module for one architecture.
const BYTES_MAX: u64 = 64 << 20;

/// The archive of this build, if it has one.
#[cfg(feature = "cubins")]
pub const EMBEDDED: Option<&[u8]> = Some(include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/cubins.bin")));
#[cfg(not(feature = "cubins"))]
pub const EMBEDDED: Option<&[u8]> = None;

/// Machine code of modules for architectures.
pub struct Archive<'a> {
    entries: Vec<Entry<'a>>,
}

/// One module's for one architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub module: &'a str,
    /// As 90 for sm_90.
    pub architecture: u32,
    /// SHA-256 of the PTX.
    pub ptx: [u8; 32],
    stored: &'a [u8],
    bytes: usize,
}

impl<'a> Archive<'a> {
    /// `None` for what is no archive.
    pub fn parse(bytes: &'a [u8]) -> Option<Archive<'a>> {
        let mut rest = bytes.strip_prefix(MAGIC)?;
        let count = u32::from_le_bytes(take(&mut rest)?);
        let mut entries = Vec::new();
        let mut places = Vec::new();
        for _ in 0..count {
            let [length] = take(&mut rest)?;
            let (name, behind) = rest.split_at_checked(length.into())?;
            rest = behind;
            let module = std::str::from_utf8(name).ok()?;
            let architecture = u32::from_le_bytes(take(&mut rest)?);
            let ptx = take(&mut rest)?;
            let [offset, stored, bytes] =
                [take(&mut rest)?, take(&mut rest)?, take(&mut rest)?].map(u64::from_le_bytes);
            if bytes > BYTES_MAX {
                return None;
            }
            places.push((usize::try_from(offset).ok()?, usize::try_from(stored).ok()?));
            entries.push(Entry { module, architecture, ptx, stored: &[], bytes: bytes as usize });
        }
        for (entry, (offset, stored)) in entries.iter_mut().zip(places) {
            entry.stored = rest.get(offset..offset.checked_add(stored)?)?;
        }
        Some(Archive { entries })
    }

    pub fn entries(&self) -> &[Entry<'a>] {
        &self.entries
    }

    /// The code for a device: of those made from this PTX the one for its own architecture, or for the largest smaller one
    /// of the same generation, whose code it runs as it is.
    pub fn find(&self, module: &Module, architecture: u32) -> Option<Entry<'a>> {
        let ptx = sha256(&[module.ptx.as_bytes()]).0;
        let fits = |entry: &&Entry<'_>| {
            let is_near = entry.architecture / 10 == architecture / 10 && entry.architecture <= architecture;
            entry.module == module.name && is_near && entry.ptx == ptx
        };
        self.entries.iter().filter(fits).max_by_key(|entry| entry.architecture).copied()
    }
}

impl Entry<'_> {
    /// The code as the driver takes it; `None` if the data is broken.
    pub fn load(&self) -> Option<Vec<u8>> {
        let code = decompress_to_vec_zlib_with_limit(self.stored, self.bytes).ok()?;
        (code.len() == self.bytes).then_some(code)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    static MODULE: Module = Module { name: Cow::Borrowed("gemm"), ptx: Cow::Borrowed("text") };

    fn archive(entries: &[(&str, u32, &str, &[u8])]) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend((entries.len() as u32).to_le_bytes());
        let mut data: Vec<u8> = Vec::new();
        for (module, architecture, ptx, code) in entries {
            let stored = miniz_oxide::deflate::compress_to_vec_zlib(code, 6);
            out.push(module.len() as u8);
            out.extend(module.bytes());
            out.extend(architecture.to_le_bytes());
            out.extend(sha256(&[ptx.as_bytes()]).0);
            for number in [data.len(), stored.len(), code.len()] {
                out.extend((number as u64).to_le_bytes());
            }
            data.extend(stored);
        }
        out.extend(data);
        out
    }

    #[test]
    fn the_nearest_code_of_the_same_generation_is_found() {
        let bytes = archive(&[
            ("gemm", 75, "text", b"75"),
            ("gemm", 80, "text", b"80"),
            ("gemm", 86, "text", b"86 and more"),
            ("gemm", 89, "other", b"89"),
            ("gemv", 90, "text", b"90"),
        ]);
        let archive = Archive::parse(&bytes).unwrap();
        assert_eq!(archive.entries().len(), 5);
        let code = |architecture| archive.find(&MODULE, architecture).map(|entry| entry.load().unwrap());
        assert_eq!(code(86).unwrap(), b"86 and more");
        assert_eq!(code(89).unwrap(), b"86 and more");
        assert_eq!(code(80).unwrap(), b"80");
        // A newer generation compiles the PTX, and so does one whose code was made from another text.
        assert_eq!(code(90), None);
        assert_eq!(code(121), None);
    }

    #[test]
    fn what_is_broken_is_none() {
        let bytes = archive(&[("gemm", 75, "text", b"code")]);
        for end in 0..bytes.len() {
            assert!(Archive::parse(&bytes[..end]).is_none(), "{end}");
        }
        let mut wrong = bytes.clone();
        let last = wrong.len() - 1;
        wrong[last] ^= 0x55;
        assert_eq!(Archive::parse(&wrong).unwrap().entries()[0].load(), None);
        // Bytes as loaded, too many and too few.
        let at = MAGIC.len() + 4 + 1 + 4 + 4 + 32 + 16;
        for value in [u64::MAX, 3, 5] {
            let mut wrong = bytes.clone();
            wrong[at..at + 8].copy_from_slice(&value.to_le_bytes());
            let code = Archive::parse(&wrong).and_then(|archive| archive.entries()[0].load());
            assert_eq!(code, None, "{value}");
        }
    }

    /// The archive of this build is for this build's texts, all of them.
    #[test]
    fn what_is_embedded_is_of_these_texts() {
        let Some(bytes) = EMBEDDED else { return };
        let archive = Archive::parse(bytes).expect("an archive");
        for entry in archive.entries() {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/generated/");
            let text = std::fs::read(format!("{folder}{}.ptx", entry.module)).expect("a text");
            assert_eq!(sha256(&[&text]).0, entry.ptx, "{} {}", entry.module, entry.architecture);
            assert!(entry.load().expect("data").starts_with(b"\x7fELF"));
        }
        let has = |name: &str| archive.entries().iter().any(|entry| entry.module == name);
        assert!(has("gemm") && has("igemm.80") && has("igemm_wgmma.90a") && has("hash"));
    }
}
