//! What a party has signed in disputes: a file to which every message is added, and on disk, before it is sent.
//!
//! Invariant: what a call has added is on disk when it returns, whole or not at all, whenever the process is killed; one process at a
//! time has the file. One write and one wait for the disk a message: it is what a party does most often.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use repops::Digest;
use repops::digest::sha256;
use repops_provenance::dispute::MESSAGE_BYTES_MAX;

use crate::{RefereeError, Result};

const TAG: &[u8; 16] = b"repops.said.0\0\0\0";
/// Before a message: course, round, length. After it the beginning of a digest of all that.
const HEAD_BYTES: usize = 32 + 4 + 4;
const CHECK_BYTES: usize = 8;

/// Where a message stands.
type Places = BTreeMap<(Digest, u32), (u64, usize)>;

pub struct Said {
    file: File,
    name: String,
    end: u64,
    places: Places,
}

impl Said {
    /// Opens the file, or makes one. A message that was cut at its end was never sent, and is dropped.
    pub fn open(path: &Path) -> Result<Said> {
        let name = path.display().to_string();
        let failed = |problem: &str| RefereeError::Store { name: name.clone(), problem: problem.to_string() };
        let of_file = |source| RefereeError::File { path: path.to_path_buf(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(of_file)?;
        file.try_lock().map_err(|_| failed("another process has it"))?;
        let len = file.metadata().map_err(of_file)?.len();
        if len < TAG.len() as u64 {
            // New, or killed before anything was said.
            file.set_len(0)
                .and_then(|()| file.write_all(TAG))
                .and_then(|()| file.sync_all())
                .map_err(of_file)?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            // Its name is to be on disk too, where folders can be asked for that.
            if let Ok(folder) = File::open(folder.unwrap_or(Path::new("."))) {
                let _ = folder.sync_all();
            }
            return Ok(Said { file, name, end: TAG.len() as u64, places: Places::new() });
        }
        let (places, end) =
            read(&file, len).map_err(of_file)?.ok_or_else(|| failed("it is no log of messages"))?;
        if len - end > (HEAD_BYTES + MESSAGE_BYTES_MAX + CHECK_BYTES) as u64 {
            return Err(failed("it is damaged"));
        }
        if end < len {
            file.set_len(end).and_then(|()| file.sync_all()).map_err(of_file)?;
        }
        Ok(Said { file, name, end, places })
    }

    fn failed(&self, problem: &dyn std::fmt::Display) -> RefereeError {
        RefereeError::Store { name: self.name.clone(), problem: problem.to_string() }
    }

    /// Keeps what was signed in a round, in this course of a dispute.
    pub fn add(&mut self, course: Digest, round: u32, message: &[u8]) -> Result<()> {
        if message.len() > MESSAGE_BYTES_MAX {
            return Err(self.failed(&"the message is too large"));
        }
        let mut bytes = Vec::with_capacity(HEAD_BYTES + message.len() + CHECK_BYTES);
        bytes.extend_from_slice(&course.0);
        bytes.extend_from_slice(&round.to_le_bytes());
        bytes.extend_from_slice(&(message.len() as u32).to_le_bytes());
        bytes.extend_from_slice(message);
        let check = sha256(&[&bytes]);
        bytes.extend_from_slice(&check.0[..CHECK_BYTES]);
        let written = self.file.seek(SeekFrom::Start(self.end)).and_then(|_| self.file.write_all(&bytes));
        written.and_then(|()| self.file.sync_data()).map_err(|error| self.failed(&error))?;
        self.places.insert((course, round), (self.end + HEAD_BYTES as u64, message.len()));
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// What was signed in a round, in this course of a dispute.
    pub fn find(&mut self, course: Digest, round: u32) -> Result<Option<Vec<u8>>> {
        let Some(&(at, len)) = self.places.get(&(course, round)) else { return Ok(None) };
        let mut message = vec![0; len];
        let read = self.file.seek(SeekFrom::Start(at)).and_then(|_| self.file.read_exact(&mut message));
        read.map_err(|error| self.failed(&error))?;
        Ok(Some(message))
    }
}

/// The whole messages of a file and where the last ends; `None` where it is something else.
fn read(file: &File, len: u64) -> std::io::Result<Option<(Places, u64)>> {
    let mut file = std::io::BufReader::new(file);
    let mut tag = [0; TAG.len()];
    file.read_exact(&mut tag)?;
    if tag != *TAG {
        return Ok(None);
    }
    let (mut places, mut end) = (Places::new(), TAG.len() as u64);
    let mut bytes = Vec::new();
    while len - end >= (HEAD_BYTES + CHECK_BYTES) as u64 {
        bytes.resize(HEAD_BYTES, 0);
        file.read_exact(&mut bytes)?;
        let count = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let (round, size) = (count(32), count(36) as usize);
        if size > MESSAGE_BYTES_MAX || len - end < (HEAD_BYTES + size + CHECK_BYTES) as u64 {
            break;
        }
        bytes.resize(HEAD_BYTES + size + CHECK_BYTES, 0);
        file.read_exact(&mut bytes[HEAD_BYTES..])?;
        let (said, check) = bytes.split_at(HEAD_BYTES + size);
        if sha256(&[said]).0[..CHECK_BYTES] != *check {
            break;
        }
        let mut course = Digest::default();
        course.0.copy_from_slice(&said[..32]);
        places.insert((course, round), (end + HEAD_BYTES as u64, size));
        end += bytes.len() as u64;
    }
    Ok(Some((places, end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COURSES: [Digest; 2] = [Digest([1; 32]), Digest([2; 32])];

    #[test]
    fn what_was_said_is_found_again_and_what_was_cut_is_dropped() {
        let folder = std::env::temp_dir().join(format!("repops-said-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("a.said");
        {
            let mut said = Said::open(&path).unwrap();
            assert!(Said::open(&path).is_err(), "two processes would have it");
            said.add(COURSES[0], 3, b"words").unwrap();
            said.add(COURSES[1], 0, b"others").unwrap();
            assert_eq!(said.find(COURSES[0], 3).unwrap(), Some(b"words".to_vec()));
            said.add(COURSES[1], 1, b"").unwrap();
            assert!(said.add(COURSES[1], 2, &vec![0; MESSAGE_BYTES_MAX + 1]).is_err());
        }
        let whole = std::fs::read(&path).unwrap();
        let found = || {
            let mut said = Said::open(&path).unwrap();
            [(0, 3), (1, 0), (1, 1), (0, 2)].map(|(course, round)| said.find(COURSES[course], round).unwrap())
        };
        assert_eq!(found(), [Some(b"words".to_vec()), Some(b"others".to_vec()), Some(vec![]), None]);
        // Killed in the middle of every write.
        let first = TAG.len() + HEAD_BYTES + 5 + CHECK_BYTES;
        for len in 0..whole.len() {
            std::fs::write(&path, &whole[..len]).unwrap();
            let kept = found();
            assert_eq!(kept[0].is_some(), len >= first, "{len}");
            assert_eq!((kept[2].is_some(), kept[3].is_some()), (false, false), "{len}");
            let mut said = Said::open(&path).unwrap();
            said.add(COURSES[0], 2, b"again").unwrap();
            drop(said);
            assert_eq!(found()[3], Some(b"again".to_vec()), "{len}");
        }
        // A file that the system has made longer than what was written to it.
        std::fs::write(&path, [&whole[..first], &[0; 5000]].concat()).unwrap();
        assert_eq!(found(), [Some(b"words".to_vec()), None, None, None]);
        let mut damaged = whole.clone();
        damaged[TAG.len() + HEAD_BYTES] ^= 1;
        damaged.resize(1 << 20, 0);
        for bytes in [damaged.as_slice(), b"something else altogether"] {
            std::fs::write(&path, bytes).unwrap();
            assert!(Said::open(&path).is_err());
            assert_eq!(std::fs::read(&path).unwrap(), bytes, "it is left as it is");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
