//! A recorded dispute again, from its file.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use repops_provenance::dispute::{Referee, Transcript};

use crate::{RefereeError, Result};

/// Larger transcripts are refused.
const TRANSCRIPT_BYTES_MAX: u64 = 1 << 30;

/// A transcript, and the referee's state after it.
pub fn replay(path: &Path) -> Result<(Transcript, Referee)> {
    let failed = |source| RefereeError::File { path: path.to_path_buf(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(TRANSCRIPT_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    let transcript = Transcript::decode(&bytes)?;
    let referee = transcript.replay()?;
    Ok((transcript, referee))
}

/// The most memory that this process had resident, its code included, where the system says it.
pub fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}
