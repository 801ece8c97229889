//! Trace files: the records of a run, as bytes.
//!
//! All integers are little-endian. How records are kept in a file binds nobody: what is committed to is the root.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | magic `89 "REPTRC" 0a` |
//! | 4, 4 | version 1; zero |
//! | 32 | program digest |
//! | 8 | number of records |
//! | 4, n | for each record its length and its encoding, the very bytes that the step digest covers |
//! | 32 | trace root |
//!
//! Invariant: reading streams; no more than one record is in memory, lengths are checked before they are
//! allocated, and the file is accepted only if its root is that of its records and nothing follows.

use std::io::{self, Read, Write};

use repops::digest::sha256;
use repops::ops::{Fault, VARIADIC_MAX};
use repops::program::NESTING_MAX;
use repops::trace::{Frame, StepRecord, Trace, trace_root};
use repops::{Digest, Program};

const MAGIC: [u8; 8] = *b"\x89REPTRC\n";
const VERSION: u32 = 1;
const STEP_TAG: &[u8; 16] = b"repops.step.0\0\0\0";
/// Enough for every operator: tag, path, operator, body, inputs, outputs, fault.
const RECORD_BYTES_MAX: usize = 128 + 16 * (NESTING_MAX + 1) + 64 * VARIADIC_MAX;

/// Why a file is no trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    #[error("this is no trace: the first bytes are not the format's")]
    Magic,
    #[error("trace version {found} is not supported; this reads version {VERSION}")]
    Version { found: u32 },
    #[error("the trace is cut at offset {at}")]
    Truncated { at: u64 },
    #[error("bytes that belong to nothing start at offset {at}")]
    TrailingBytes { at: u64 },
    #[error("record {index} at offset {at} declares {len} bytes; at most {RECORD_BYTES_MAX} are allowed")]
    RecordLength { index: u64, at: u64, len: u32 },
    #[error("record {index} at offset {at}: {problem}")]
    Record { index: u64, at: u64, problem: &'static str },
    #[error("the records have root {found}, but the trace declares {declared}")]
    Root { declared: Digest, found: Digest },
    #[error(transparent)]
    Io(io::Error),
}

/// Writes a trace file.
pub fn write(out: &mut dyn Write, program: &Digest, trace: &Trace) -> io::Result<()> {
    out.write_all(&MAGIC)?;
    out.write_all(&VERSION.to_le_bytes())?;
    out.write_all(&[0; 4])?;
    out.write_all(&program.0)?;
    out.write_all(&(trace.records.len() as u64).to_le_bytes())?;
    for record in &trace.records {
        let bytes = record.encode();
        out.write_all(&(bytes.len() as u32).to_le_bytes())?;
        out.write_all(&bytes)?;
    }
    out.write_all(&trace.root().0)
}

/// A trace with the program that it claims to be of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TraceFile {
    pub program: Digest,
    pub trace: Trace,
}

impl TraceFile {
    /// Reads a whole trace.
    pub fn read(input: impl Read) -> Result<TraceFile, TraceError> {
        let mut reader = TraceReader::new(input)?;
        let mut trace = Trace::default();
        while let Some(record) = reader.next_record()? {
            trace.records.push(record);
        }
        Ok(TraceFile { program: reader.program, trace })
    }

    /// Whether the trace says that it is of this program.
    pub fn is_of(&self, program: &Program) -> bool {
        self.program == program.digest()
    }
}

/// Reads a trace record by record. The root is checked when the last record has been read, so nothing is
/// to be believed before [`TraceReader::next_record`] gave `None`.
pub struct TraceReader<R> {
    input: R,
    /// Offset of the next byte.
    at: u64,
    program: Digest,
    count: u64,
    steps: Vec<Digest>,
    is_checked: bool,
}

impl<R: Read> TraceReader<R> {
    pub fn new(input: R) -> Result<TraceReader<R>, TraceError> {
        let mut reader = TraceReader {
            input,
            at: 0,
            program: Digest::default(),
            count: 0,
            steps: Vec::new(),
            is_checked: false,
        };
        if reader.array::<8>()? != MAGIC {
            return Err(TraceError::Magic);
        }
        let found = u32::from_le_bytes(reader.array()?);
        if found != VERSION {
            return Err(TraceError::Version { found });
        }
        if reader.array::<4>()? != [0; 4] {
            return Err(TraceError::Magic);
        }
        reader.program = Digest(reader.array()?);
        reader.count = u64::from_le_bytes(reader.array()?);
        Ok(reader)
    }

    /// The digest of the program that the trace claims to be of.
    pub fn program(&self) -> Digest {
        self.program
    }

    /// The number of records that the header declares.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The next record; `None` when all were read and the root is right.
    pub fn next_record(&mut self) -> Result<Option<StepRecord>, TraceError> {
        let index = self.steps.len() as u64;
        if index == self.count {
            return self.check_end().map(|()| None);
        }
        let at = self.at;
        let len = u32::from_le_bytes(self.array()?);
        if len as usize > RECORD_BYTES_MAX {
            return Err(TraceError::RecordLength { index, at, len });
        }
        let mut bytes = vec![0; len as usize];
        self.fill(&mut bytes)?;
        let record = decode_record(&bytes).map_err(|problem| TraceError::Record { index, at, problem })?;
        self.steps.push(sha256(&[&bytes]));
        Ok(Some(record))
    }

    fn check_end(&mut self) -> Result<(), TraceError> {
        if self.is_checked {
            return Ok(());
        }
        let declared = Digest(self.array()?);
        let found = trace_root(&self.steps);
        if declared != found {
            return Err(TraceError::Root { declared, found });
        }
        match self.input.read(&mut [0]).map_err(TraceError::Io)? {
            0 => self.is_checked = true,
            _ => return Err(TraceError::TrailingBytes { at: self.at }),
        }
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], TraceError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), TraceError> {
        self.input.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => TraceError::Truncated { at: self.at },
            _ => TraceError::Io(error),
        })?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}

/// The inverse of [`StepRecord::encode`]; only what that would write is accepted.
pub fn decode_record(bytes: &[u8]) -> Result<StepRecord, &'static str> {
    let mut rest = bytes.strip_prefix(STEP_TAG).ok_or("it is no step record")?;
    let path = list(&mut rest, 16, |rest| {
        Ok(Frame { block: word(rest)?, step: word(rest)?, iteration: u64::from_le_bytes(take(rest)?) })
    })?;
    if path.is_empty() || path.len() > NESTING_MAX + 1 {
        return Err("its path is empty or too deep");
    }
    let record = StepRecord {
        path,
        op: u16::from_le_bytes(take(&mut rest)?),
        version: u16::from_le_bytes(take(&mut rest)?),
        body: Digest(take(&mut rest)?),
        inputs: list(&mut rest, 32, |rest| {
            let digest = Digest(take(rest)?);
            Ok((digest != Digest::default()).then_some(digest))
        })?,
        outputs: list(&mut rest, 32, |rest| Ok(Digest(take(rest)?)))?,
        fault: match word(&mut rest)? {
            0 => None,
            code => Some(Fault::from_code(code).ok_or("its fault is unknown")?),
        },
    };
    if rest.is_empty() { Ok(record) } else { Err("bytes that belong to nothing follow it") }
}

/// A 4-byte count and that many items of `size` bytes, which must be there before anything is allocated.
fn list<T>(
    rest: &mut &[u8],
    size: usize,
    item: impl Fn(&mut &[u8]) -> Result<T, &'static str>,
) -> Result<Vec<T>, &'static str> {
    let count = word(rest)? as usize;
    if count > rest.len() / size {
        return Err("it is cut");
    }
    (0..count).map(|_| item(rest)).collect()
}

fn word(rest: &mut &[u8]) -> Result<u32, &'static str> {
    take(rest).map(u32::from_le_bytes)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], &'static str> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or("it is cut")?;
    *rest = tail;
    Ok(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(step: u32, inputs: usize, fault: Option<Fault>) -> StepRecord {
        let digest = |i: usize| sha256(&[&[i as u8]]);
        StepRecord {
            path: vec![
                Frame { block: 0, step, iteration: 0 },
                Frame { block: 2, step: 1, iteration: u64::MAX },
            ],
            op: 300,
            version: 1,
            body: digest(9),
            inputs: (0..inputs).map(|i| (i % 2 == 0).then(|| digest(i))).collect(),
            outputs: if fault.is_some() { vec![] } else { vec![digest(77)] },
            fault,
        }
    }

    fn file() -> (Trace, Vec<u8>) {
        let records = vec![record(0, 0, None), record(1, 5, None), record(2, 1, Some(Fault::BadShape))];
        let trace = Trace { records };
        let mut bytes = Vec::new();
        write(&mut bytes, &sha256(&[b"program"]), &trace).unwrap();
        (trace, bytes)
    }

    #[test]
    fn a_trace_survives_its_file() {
        let (trace, bytes) = file();
        let read = TraceFile::read(bytes.as_slice()).unwrap();
        assert_eq!(read, TraceFile { program: sha256(&[b"program"]), trace });
        let mut empty = Vec::new();
        write(&mut empty, &Digest::default(), &Trace::default()).unwrap();
        assert_eq!(TraceFile::read(empty.as_slice()).unwrap().trace, Trace::default());
    }

    #[test]
    fn every_cut_and_change_is_found() {
        let (_, bytes) = file();
        for len in 0..bytes.len() {
            let cut = TraceFile::read(&bytes[..len]);
            assert!(matches!(cut, Err(TraceError::Truncated { .. })), "cut at {len}: {cut:?}");
        }
        let program = 16..48;
        for at in (0..bytes.len()).filter(|at| !program.contains(at)) {
            for bit in [1, 0x80] {
                let mut changed = bytes.clone();
                changed[at] ^= bit;
                assert!(TraceFile::read(changed.as_slice()).is_err(), "byte {at}");
            }
        }
        let mut longer = bytes;
        longer.push(0);
        assert!(matches!(TraceFile::read(longer.as_slice()), Err(TraceError::TrailingBytes { .. })));
    }

    #[test]
    fn declared_sizes_are_not_believed() {
        let (_, mut bytes) = file();
        bytes[48..56].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(TraceFile::read(bytes.as_slice()).is_err());
        bytes[56..60].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(
            TraceFile::read(bytes.as_slice()),
            Err(TraceError::RecordLength { index: 0, at: 56, len: u32::MAX })
        ));
    }
}
