//! `cargo xtask cuda cubins`: the machine code that the audit checks, as one archive to embed.
//!
//! `kernels/cuda/src/cubins.rs` says how an archive is laid out; a build with the feature `cubins` embeds it.
//! Invariant: every shipped text is in it for every architecture that it is assembled for.

use sha2::{Digest, Sha256};

use super::audit::{Job, Tools, jobs};
use crate::command::{self, Error, Result};

const ARCHIVE: &str = "kernels/cuda/cubins.bin";
const MAGIC: &[u8] = b"RepOps cubins 1\n";
/// zlib's effort: half the bytes of the first levels are not worth ten times the time.
const LEVEL: u8 = 9;

pub fn write() -> Result<()> {
    let tools = Tools::provide()?;
    let jobs = jobs(&[])?;
    let codes = super::audit::each(&jobs, |job, scratch| {
        let cubin = tools.cubin(job, scratch)?;
        std::fs::read(&cubin).map_err(|source| Error::file("reading", &cubin, source))
    })?;
    let (mut head, mut data) = (MAGIC.to_vec(), Vec::new());
    head.extend((jobs.len() as u32).to_le_bytes());
    let mut all = 0;
    for (job, code) in jobs.iter().zip(codes) {
        let Job { ptx, architecture, .. } = job;
        let name = ptx.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let stored = miniz_oxide::deflate::compress_to_vec_zlib(&code, LEVEL);
        head.push(name.len() as u8);
        head.extend(name.bytes());
        head.extend(architecture.to_le_bytes());
        head.extend(Sha256::digest(command::read_text(ptx)?));
        for number in [data.len(), stored.len(), code.len()] {
            head.extend((number as u64).to_le_bytes());
        }
        data.extend(stored);
        all += code.len();
    }
    head.extend(data);
    command::write(&command::root().join(ARCHIVE), &head)?;
    println!("wrote {ARCHIVE}: {} codes of {all} bytes in {} bytes", jobs.len(), head.len());
    Ok(())
}
