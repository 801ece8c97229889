//! NumPy's `.npz`: a ZIP archive of `.npy` members, stored or deflated.
//!
//! Invariant: a member is unpacked only when it is asked for, and to no more bytes than it declares,
//! which deflate could have made of what is there; all members together are bounded too. Encrypted,
//! split and other archives are refused.

use std::collections::BTreeSet;

use repops::{DType, Tensor};

use crate::npy::{self, NpyError};

const END_RECORD: u32 = 0x0605_4b50;
const END_RECORD_BYTES: usize = 22;
const END_RECORD_64: u32 = 0x0606_4b50;
const END_LOCATOR_64: u32 = 0x0706_4b50;
const END_LOCATOR_64_BYTES: usize = 20;
const CENTRAL_HEADER: u32 = 0x0201_4b50;
const CENTRAL_HEADER_BYTES: usize = 46;
const LOCAL_HEADER: u32 = 0x0403_4b50;
const LOCAL_HEADER_BYTES: usize = 30;
/// Deflate makes at most this many bytes of one.
const EXPANSION_MAX: u64 = 1032;
/// All members together unpack to at most this much more than the archive's length, whatever is asked for.
const EXPANSION_TOTAL_MAX: u64 = 1 << 32;

/// Why bytes are no `.npz` that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NpzError {
    #[error("this is no .npz file: it has no ZIP directory at its end")]
    NotZip,
    #[error("the archive's {what} at offset {at} is cut or out of place")]
    Misplaced { what: &'static str, at: u64 },
    #[error("the archive is split over several files")]
    Split,
    #[error("member {name:?} occurs twice")]
    Duplicate { name: String },
    #[error("there is no member {name:?}; there are {members:?}")]
    NoMember { name: String, members: Vec<String> },
    #[error("member {name:?}: {problem}")]
    Member { name: String, problem: &'static str },
    #[error("member {name:?} declares {declared} bytes, which {stored} bytes cannot hold")]
    Bomb { name: String, declared: u64, stored: u64 },
    #[error("the members up to {name:?} declare {declared} bytes; {limit} are the most for this archive")]
    TooLarge { name: String, declared: u64, limit: u64 },
    #[error("member {name:?}: {error}")]
    Npy { name: String, error: NpyError },
}

/// An archive's directory over the archive's bytes.
pub struct Archive<'a> {
    bytes: &'a [u8],
    members: Vec<Member>,
}

/// One member.
struct Member {
    /// Without `.npy`.
    name: String,
    is_deflated: bool,
    crc: u32,
    stored: u64,
    unpacked: u64,
    /// Of the local header.
    offset: u64,
}

/// Reads every member, in the archive's order.
pub fn parse(bytes: &[u8]) -> Result<Vec<(String, Tensor)>, NpzError> {
    let archive = Archive::open(bytes)?;
    let tensor = |name: &str| Ok((name.to_string(), archive.tensor(name, None)?));
    archive.names().map(tensor).collect()
}

impl<'a> Archive<'a> {
    /// Reads the directory.
    pub fn open(bytes: &'a [u8]) -> Result<Archive<'a>, NpzError> {
        let directory = Directory::find(bytes)?;
        let mut members = Vec::new();
        let mut seen = BTreeSet::new();
        let mut at = directory.start;
        let limit = (bytes.len() as u64).saturating_add(EXPANSION_TOTAL_MAX);
        let mut declared = 0u64;
        for _ in 0..directory.entries {
            let (member, next) = read_entry(bytes, at, directory.end)?;
            if !seen.insert(member.name.clone()) {
                return Err(NpzError::Duplicate { name: member.name });
            }
            // Members may share stored bytes, so that the bound on each does not bound all.
            declared = declared.saturating_add(member.unpacked);
            if declared > limit {
                return Err(NpzError::TooLarge { name: member.name, declared, limit });
            }
            members.push(member);
            at = next;
        }
        Ok(Archive { bytes, members })
    }

    /// The members' names without `.npy`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|m| m.name.as_str())
    }

    /// Reads one member; `expected` as in [`npy::parse_as`].
    pub fn tensor(&self, name: &str, expected: Option<DType>) -> Result<Tensor, NpzError> {
        let member = self.members.iter().find(|m| m.name == name).ok_or_else(|| NpzError::NoMember {
            name: name.to_string(),
            members: self.names().take(16).map(str::to_string).collect(),
        })?;
        let problem = |problem| NpzError::Member { name: name.to_string(), problem };
        let stored = self.stored_bytes(member)?;
        let unpacked;
        let npy = if member.is_deflated {
            let limit = usize::try_from(member.unpacked).map_err(|_| problem("it is too large"))?;
            unpacked = miniz_oxide::inflate::decompress_to_vec_with_limit(stored, limit)
                .map_err(|_| problem("its deflated data are damaged or longer than declared"))?;
            unpacked.as_slice()
        } else {
            stored
        };
        if npy.len() as u64 != member.unpacked {
            return Err(problem("it is not as long as declared"));
        }
        if crc32(npy) != member.crc {
            return Err(problem("its checksum is wrong"));
        }
        npy::parse_as(npy, expected).map_err(|error| NpzError::Npy { name: name.to_string(), error })
    }

    fn stored_bytes(&self, member: &Member) -> Result<&'a [u8], NpzError> {
        let header = record(self.bytes, member.offset, LOCAL_HEADER, LOCAL_HEADER_BYTES, "member")?;
        // The local header repeats name and extra field, perhaps with other lengths.
        let skip = LOCAL_HEADER_BYTES as u64 + half(header, 26) as u64 + half(header, 28) as u64;
        let start = member.offset.saturating_add(skip);
        slice(self.bytes, start, member.stored)
            .ok_or(NpzError::Misplaced { what: "member", at: member.offset })
    }
}

/// Where the central directory is.
struct Directory {
    start: u64,
    end: u64,
    entries: u64,
}

impl Directory {
    fn find(bytes: &[u8]) -> Result<Directory, NpzError> {
        let at = find_end_record(bytes).ok_or(NpzError::NotZip)?;
        let record = &bytes[at..];
        if half(record, 4) != 0 || half(record, 6) != 0 || half(record, 8) != half(record, 10) {
            return Err(NpzError::Split);
        }
        let (mut entries, mut len, mut start) =
            (half(record, 10) as u64, word(record, 12) as u64, word(record, 16) as u64);
        let mut limit = at as u64;
        if entries == 0xffff || len == 0xffff_ffff || start == 0xffff_ffff {
            let misplaced = NpzError::Misplaced { what: "64-bit directory", at: at as u64 };
            let locator = at.checked_sub(END_LOCATOR_64_BYTES).map(|at| &bytes[at..]);
            let locator = locator.filter(|l| word(l, 0) == END_LOCATOR_64).ok_or(misplaced.clone())?;
            limit = long(locator, 8);
            let wide = self::record(bytes, limit, END_RECORD_64, 56, "64-bit directory")?;
            (entries, len, start) = (long(wide, 32), long(wide, 40), long(wide, 48));
        }
        let end = start.checked_add(len).filter(|&end| end <= limit);
        let end = end.ok_or(NpzError::Misplaced { what: "directory", at: start })?;
        if entries > len / CENTRAL_HEADER_BYTES as u64 {
            return Err(NpzError::Misplaced { what: "directory", at: start });
        }
        Ok(Directory { start, end, entries })
    }
}

/// The end record is the last thing in the file but for its own comment.
fn find_end_record(bytes: &[u8]) -> Option<usize> {
    let last = bytes.len().checked_sub(END_RECORD_BYTES)?;
    let first = last.saturating_sub(u16::MAX as usize);
    (first..=last).rev().find(|&at| {
        let record = &bytes[at..];
        word(record, 0) == END_RECORD && half(record, 20) as usize == record.len() - END_RECORD_BYTES
    })
}

/// One entry of the central directory and the offset of the next.
fn read_entry(bytes: &[u8], at: u64, end: u64) -> Result<(Member, u64), NpzError> {
    let header = record(bytes, at, CENTRAL_HEADER, CENTRAL_HEADER_BYTES, "directory entry")?;
    let misplaced = || NpzError::Misplaced { what: "directory entry", at };
    let [name_len, extra_len, comment_len] = [28, 30, 32].map(|field| half(header, field) as u64);
    let name_at = at + CENTRAL_HEADER_BYTES as u64;
    let name = slice(bytes, name_at, name_len).ok_or_else(misplaced)?;
    let extra = slice(bytes, name_at + name_len, extra_len).ok_or_else(misplaced)?;
    let next = name_at + name_len + extra_len + comment_len;
    if next > end {
        return Err(misplaced());
    }
    let name = String::from_utf8_lossy(name).into_owned();
    let name = name.strip_suffix(".npy").map(str::to_string).unwrap_or(name);
    let problem = |problem| NpzError::Member { name: name.clone(), problem };
    if half(header, 8) & 1 != 0 {
        return Err(problem("it is encrypted"));
    }
    let is_deflated = match half(header, 10) {
        0 => false,
        8 => true,
        _ => return Err(problem("it is packed in a way other than deflate")),
    };
    let mut wide = extra_field_64(extra);
    let mut widen = |narrow: u32| match narrow {
        u32::MAX => {
            let (value, rest) = wide.split_first_chunk::<8>()?;
            wide = rest;
            Some(u64::from_le_bytes(*value))
        }
        narrow => Some(narrow as u64),
    };
    // In this order in the 64-bit field too.
    let (Some(unpacked), Some(stored), Some(offset)) =
        (widen(word(header, 24)), widen(word(header, 20)), widen(word(header, 42)))
    else {
        return Err(problem("its 64-bit sizes are missing"));
    };
    let possible = if is_deflated { stored.saturating_mul(EXPANSION_MAX).saturating_add(64) } else { stored };
    if unpacked > possible || stored > bytes.len() as u64 {
        return Err(NpzError::Bomb { name, declared: unpacked, stored });
    }
    Ok((Member { is_deflated, crc: word(header, 16), stored, unpacked, offset, name }, next))
}

/// The contents of the extra field 1 (64-bit sizes), or nothing.
fn extra_field_64(mut extra: &[u8]) -> &[u8] {
    while extra.len() >= 4 {
        let (id, len) = (half(extra, 0), half(extra, 2) as usize);
        let Some(field) = extra.get(4..4 + len) else { break };
        if id == 1 {
            return field;
        }
        extra = &extra[4 + len..];
    }
    &[]
}

/// `len` bytes at `at`, which start with `signature`.
fn record<'a>(
    bytes: &'a [u8],
    at: u64,
    signature: u32,
    len: usize,
    what: &'static str,
) -> Result<&'a [u8], NpzError> {
    slice(bytes, at, len as u64)
        .filter(|record| word(record, 0) == signature)
        .ok_or(NpzError::Misplaced { what, at })
}

fn slice(bytes: &[u8], at: u64, len: u64) -> Option<&[u8]> {
    let end = at.checked_add(len)?;
    bytes.get(usize::try_from(at).ok()?..usize::try_from(end).ok()?)
}

/// Fixed-size fields of records whose length was checked.
fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn long(bytes: &[u8], at: usize) -> u64 {
    word(bytes, at) as u64 | (word(bytes, at + 4) as u64) << 32
}

/// CRC-32 of ISO 3309, as ZIP uses it.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = crc_table();
    !bytes.iter().fold(!0u32, |crc, &byte| crc >> 8 ^ TABLE[(crc as u8 ^ byte) as usize])
}

const fn crc_table() -> [u32; 256] {
    let mut table = [0u32; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
}
