//! Messages of a dispute and their one encoding. SPEC.md, "Disputes".
//!
//! Hostile input: at most [`MESSAGE_BYTES_MAX`] bytes, every count is compared with the bytes that are
//! there before anything is allocated, and whatever follows the last field is refused.

use repops::digest::sha256;
use repops::{DType, Digest, Layout};

use crate::keys::{Key, SignatureBytes};

/// The most bytes of one message.
pub const MESSAGE_BYTES_MAX: usize = 224 << 10;
const TAG: &[u8; 16] = b"repops.move.1\0\0\0";

/// What stands before a body: tag, course, round, party, length.
const HEAD_BYTES: usize = 16 + 32 + 4 + 1 + 4;

/// One of the two who dispute.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Party {
    First = 0,
    Second = 1,
}

impl Party {
    pub const BOTH: [Party; 2] = [Party::First, Party::Second];

    pub fn other(self) -> Party {
        Party::BOTH[1 - self as usize]
    }

    fn from_code(code: u8) -> Option<Party> {
        Party::BOTH.get(usize::from(code)).copied()
    }
}

/// What a party says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// Hashes of the frontier of its trace.
    Frontier(Vec<Digest>),
    /// Hashes some levels below a node.
    Nodes(Vec<Digest>),
    /// A step's record as its digest covers it.
    Record(Vec<u8>),
    /// Type of an output, and the frontier of its bytes.
    Output {
        dtype: DType,
        shape: Vec<u64>,
        hashes: Vec<Digest>,
    },
    /// A leaf's bytes.
    Leaf(Vec<u8>),
    /// Values of terms.
    Claims(Vec<u64>),
    /// The element that meets the fault; `u64::MAX`: the step as a whole.
    Witness {
        output: u32,
        element: u64,
    },
    Evidence(Evidence),
}

/// Openings of what both parties agree on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Evidence {
    /// Number of the program's parts; leaves by index, and the other subtrees' hashes.
    pub part_count: u64,
    pub parts: Vec<(u64, Vec<u8>)>,
    pub part_hashes: Vec<Digest>,
    /// Records of the first party's trace.
    pub records: Vec<(u64, Vec<u8>)>,
    pub record_hashes: Vec<Digest>,
    pub tensors: Vec<TensorEvidence>,
    /// Rows of the first party's log, by position; the other entries' hashes.
    pub rows: Vec<RowEvidence>,
    pub row_hashes: Vec<Digest>,
}

/// What steps gave at a position of a sequence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RowEvidence {
    pub position: u64,
    /// Of the carried steps and of the head.
    pub halves: [HalfEvidence; 2],
}

/// Leaves of the steps of one half of a row: steps, digests of their outputs, and the other subtrees' hashes. Without
/// leaves the root alone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HalfEvidence {
    pub leaves: Vec<(u64, Vec<Digest>)>,
    pub hashes: Vec<Digest>,
}

/// Leaves of a tensor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TensorEvidence {
    pub dtype: DType,
    pub layout: Layout,
    pub shape: Vec<u64>,
    pub leaves: Vec<(u64, Vec<u8>)>,
    pub hashes: Vec<Digest>,
}

/// A message as it travels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// The dispute, and everything that was said in it before this round.
    pub course: Digest,
    pub round: u32,
    pub party: Party,
    pub body: Vec<u8>,
    pub signature: SignatureBytes,
}

/// Why bytes are no message or no body.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the message cannot be read: {0}")]
pub struct MessageError(pub &'static str);

impl Message {
    pub fn sign(course: Digest, round: u32, party: Party, body: &Body, key: &Key) -> Message {
        let body = body.encode();
        let mut message = Message { course, round, party, body, signature: [0; 64] };
        message.signature = key.sign(&message.digest());
        message
    }

    /// What is signed.
    pub fn digest(&self) -> Digest {
        sha256(&[&self.head(), &self.body])
    }

    /// What stands before the body.
    fn head(&self) -> [u8; HEAD_BYTES] {
        let mut out = [0; HEAD_BYTES];
        let (round, len) = (self.round.to_le_bytes(), (self.body.len() as u32).to_le_bytes());
        let parts: [&[u8]; 5] = [TAG, &self.course.0, &round, &[self.party as u8], &len];
        let mut rest = out.as_mut_slice();
        for part in parts {
            let (own, after) = rest.split_at_mut(part.len());
            own.copy_from_slice(part);
            rest = after;
        }
        out
    }

    /// What is signed, then the signature.
    pub fn encode(&self) -> Vec<u8> {
        [self.head().as_slice(), &self.body, &self.signature].concat()
    }

    pub fn decode(bytes: &[u8]) -> Result<Message, MessageError> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(MessageError("it is too large"));
        }
        let rest = bytes.strip_prefix(TAG).ok_or(MessageError("it is no message"))?;
        let mut rest = Reader(rest);
        let message = Message {
            course: rest.digest()?,
            round: rest.u32()?,
            party: Party::from_code(rest.u8()?).ok_or(MessageError("there is no such party"))?,
            body: rest.bytes()?.to_vec(),
            signature: rest.array()?,
        };
        rest.end()?;
        Ok(message)
    }
}

impl Body {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer(Vec::new());
        match self {
            Body::Frontier(hashes) => out.kind(1).digests(hashes),
            Body::Nodes(hashes) => out.kind(2).digests(hashes),
            Body::Record(bytes) => out.kind(3).bytes(bytes),
            Body::Output { dtype, shape, hashes } => {
                out.kind(4).ty(*dtype, shape);
                out.digests(hashes);
            }
            Body::Leaf(bytes) => out.kind(5).bytes(bytes),
            Body::Claims(values) => out.kind(6).longs(values),
            Body::Witness { output, element } => {
                out.kind(7).u32(*output);
                out.u64(*element);
            }
            Body::Evidence(evidence) => {
                let has_rows = !evidence.rows.is_empty();
                out.kind(if has_rows { 9 } else { 8 }).u64(evidence.part_count);
                out.leaves(&evidence.parts);
                out.digests(&evidence.part_hashes);
                out.leaves(&evidence.records);
                out.digests(&evidence.record_hashes);
                out.u32(evidence.tensors.len() as u32);
                for tensor in &evidence.tensors {
                    out.0.push(tensor.layout as u8);
                    out.ty(tensor.dtype, &tensor.shape);
                    out.leaves(&tensor.leaves);
                    out.digests(&tensor.hashes);
                }
                if has_rows {
                    out.rows(&evidence.rows);
                    out.digests(&evidence.row_hashes);
                }
            }
        }
        out.0
    }

    pub fn decode(bytes: &[u8]) -> Result<Body, MessageError> {
        let mut rest = Reader(bytes);
        let body = match rest.u8()? {
            1 => Body::Frontier(rest.digests()?),
            2 => Body::Nodes(rest.digests()?),
            3 => Body::Record(rest.bytes()?.to_vec()),
            4 => {
                let (dtype, shape) = rest.ty()?;
                Body::Output { dtype, shape, hashes: rest.digests()? }
            }
            5 => Body::Leaf(rest.bytes()?.to_vec()),
            6 => Body::Claims(rest.longs()?),
            7 => Body::Witness { output: rest.u32()?, element: rest.u64()? },
            8 => Body::Evidence(rest.evidence()?),
            9 => {
                let mut evidence = rest.evidence()?;
                evidence.rows = rest.rows()?;
                evidence.row_hashes = rest.digests()?;
                if evidence.rows.is_empty() {
                    return Err(MessageError("it has no rows"));
                }
                Body::Evidence(evidence)
            }
            _ => return Err(MessageError("its kind is unknown")),
        };
        rest.end()?;
        Ok(body)
    }
}

/// Appends little-endian integers and counted lists.
pub(super) struct Writer(pub Vec<u8>);

impl Writer {
    fn kind(&mut self, kind: u8) -> &mut Writer {
        self.0.push(kind);
        self
    }

    pub fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub fn digest(&mut self, digest: &Digest) {
        self.0.extend_from_slice(&digest.0);
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.u32(bytes.len() as u32);
        self.0.extend_from_slice(bytes);
    }

    fn digests(&mut self, digests: &[Digest]) {
        self.u32(digests.len() as u32);
        digests.iter().for_each(|d| self.digest(d));
    }

    fn longs(&mut self, values: &[u64]) {
        self.u32(values.len() as u32);
        values.iter().for_each(|v| self.u64(*v));
    }

    fn ty(&mut self, dtype: DType, shape: &[u64]) {
        self.0.push(dtype.code());
        self.longs(shape);
    }

    fn rows(&mut self, rows: &[RowEvidence]) {
        self.u32(rows.len() as u32);
        for row in rows {
            self.u64(row.position);
            for half in &row.halves {
                self.u32(half.leaves.len() as u32);
                for (step, outputs) in &half.leaves {
                    self.u64(*step);
                    self.digests(outputs);
                }
                self.digests(&half.hashes);
            }
        }
    }

    fn leaves(&mut self, leaves: &[(u64, Vec<u8>)]) {
        self.u32(leaves.len() as u32);
        for (index, bytes) in leaves {
            self.u64(*index);
            self.bytes(bytes);
        }
    }
}

/// Takes them off again.
pub(super) struct Reader<'a>(pub &'a [u8]);

const CUT: MessageError = MessageError("it is cut");

impl<'a> Reader<'a> {
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], MessageError> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(CUT)?;
        self.0 = tail;
        Ok(*head)
    }

    pub fn u8(&mut self) -> Result<u8, MessageError> {
        self.array::<1>().map(|b| b[0])
    }

    pub fn u32(&mut self) -> Result<u32, MessageError> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, MessageError> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn digest(&mut self) -> Result<Digest, MessageError> {
        self.array().map(Digest)
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], MessageError> {
        let len = self.u32()? as usize;
        let (head, tail) = self.0.split_at_checked(len).ok_or(CUT)?;
        self.0 = tail;
        Ok(head)
    }

    /// A count of items of at least `size` bytes each.
    fn list<T>(
        &mut self,
        size: usize,
        item: impl Fn(&mut Reader<'a>) -> Result<T, MessageError>,
    ) -> Result<Vec<T>, MessageError> {
        let count = self.u32()? as usize;
        if count > self.0.len() / size {
            return Err(CUT);
        }
        (0..count).map(|_| item(self)).collect()
    }

    fn digests(&mut self) -> Result<Vec<Digest>, MessageError> {
        self.list(32, Reader::digest)
    }

    fn longs(&mut self) -> Result<Vec<u64>, MessageError> {
        self.list(8, Reader::u64)
    }

    fn leaves(&mut self) -> Result<Vec<(u64, Vec<u8>)>, MessageError> {
        self.list(12, |rest| Ok((rest.u64()?, rest.bytes()?.to_vec())))
    }

    fn ty(&mut self) -> Result<(DType, Vec<u64>), MessageError> {
        let dtype = DType::from_any_code(u32::from(self.u8()?));
        let dtype = dtype.ok_or(MessageError("an element type is unknown"))?;
        let shape = self.longs()?;
        if shape.len() > repops::tensor::RANK_MAX {
            return Err(MessageError("a shape has too many axes"));
        }
        Ok((dtype, shape))
    }

    fn evidence(&mut self) -> Result<Evidence, MessageError> {
        Ok(Evidence {
            part_count: self.u64()?,
            parts: self.leaves()?,
            part_hashes: self.digests()?,
            records: self.leaves()?,
            record_hashes: self.digests()?,
            tensors: self.list(14, |rest| {
                let layout = Layout::from_code(u32::from(rest.u8()?));
                let layout = layout.ok_or(MessageError("a layout is unknown"))?;
                let (dtype, shape) = rest.ty()?;
                Ok(TensorEvidence { dtype, layout, shape, leaves: rest.leaves()?, hashes: rest.digests()? })
            })?,
            ..Evidence::default()
        })
    }

    fn rows(&mut self) -> Result<Vec<RowEvidence>, MessageError> {
        fn half(rest: &mut Reader<'_>) -> Result<HalfEvidence, MessageError> {
            let leaves = rest.list(12, |rest| Ok((rest.u64()?, rest.digests()?)))?;
            Ok(HalfEvidence { leaves, hashes: rest.digests()? })
        }
        self.list(24, |rest| Ok(RowEvidence { position: rest.u64()?, halves: [half(rest)?, half(rest)?] }))
    }

    pub fn end(&self) -> Result<(), MessageError> {
        if self.0.is_empty() { Ok(()) } else { Err(MessageError("bytes that belong to nothing follow it")) }
    }
}
