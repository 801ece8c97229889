//! Receipts of generations: a signed claim that a model, given a prompt, chose these tokens.
//!
//! SPEC.md, "Receipts of generations". The tokens stand in the claim itself, so whoever verifies needs the program alone, and
//! computes all rows at once instead of one after the other. Invariant of a [`GenerationClaim`]: prompt and
//! tokens are not empty, and the sampling parameters are in their ranges.

use std::collections::BTreeMap;

use repops::digest::tensor_digest;
use repops::program::{Program, ProgramError};
use repops::sequence::reference::{RowsError, RowsExecutor};
use repops::sequence::sampling::{Draw, Functions, Sampling, choose, log_probability};
use repops::sequence::{Sequence, SequenceError};
use repops::{Digest, Tensor};

use crate::json::{INTEGER_MAX, Object, Value};
use crate::keys::{Key, PublicKey, SignatureBytes};
use crate::receipt::{
    Fields, Info, ReceiptError, bytes_to_hex, hex, is_unsigned, parse_object, signed_digest, spec, value,
};
use crate::verify::BytesDigest;

/// The `format` field.
pub const FORMAT: &str = "repops-generation/0";
const DOMAIN: &[u8; 16] = b"repops.generate0";

/// What is claimed.
#[derive(Clone, PartialEq, Debug)]
pub struct GenerationClaim {
    pub program: Digest,
    pub prompt: Vec<u32>,
    pub tokens: Vec<u32>,
    pub sampling: Sampling,
    pub seed: u64,
    /// What the client chose to make the request its own.
    pub nonce: u64,
    /// Digest of the tokens' log-probabilities, f32 [number of tokens].
    pub logprobs: Digest,
    /// The sequence root over all tokens but the last; `None` at level `outputs`.
    pub trace_root: Option<Digest>,
}

/// A claim with its signature, which was not checked: [`GenerationReceipt::validate`].
#[derive(Clone, PartialEq, Debug)]
pub struct GenerationReceipt {
    pub claim: GenerationClaim,
    pub signer: PublicKey,
    pub signature: SignatureBytes,
    pub info: Info,
}

/// The float parameters by name, as receipts order them.
fn parameters(sampling: &mut Sampling) -> [(&'static str, &mut f32); 6] {
    [
        ("frequency_penalty", &mut sampling.frequency_penalty),
        ("min_p", &mut sampling.min_p),
        ("presence_penalty", &mut sampling.presence_penalty),
        ("repetition_penalty", &mut sampling.repetition_penalty),
        ("temperature", &mut sampling.temperature),
        ("top_p", &mut sampling.top_p),
    ]
}

/// The digest of log-probabilities.
pub fn logprobs_digest(logprobs: &[f32]) -> Digest {
    tensor_digest(Tensor::from_slice(&[logprobs.len()], logprobs).view())
}

impl GenerationClaim {
    /// Signs the claim.
    pub fn sign(self, key: &Key, info: Info) -> GenerationReceipt {
        debug_assert!(self.nonce <= INTEGER_MAX && self.seed <= INTEGER_MAX);
        let signer = key.public();
        let digest = signed_digest(DOMAIN, &self.to_object(signer));
        GenerationReceipt { signature: key.sign(&digest), claim: self, signer, info }
    }

    /// The digest of the claim alone, whoever signs it: what everyone who computes the same request has in common.
    pub fn digest(&self) -> Digest {
        signed_digest(DOMAIN, &self.to_fields())
    }

    /// All tokens whose rows were computed: the last one was chosen and read by nobody.
    pub fn rows(&self) -> Vec<u32> {
        let generated = &self.tokens[..self.tokens.len().saturating_sub(1)];
        [self.prompt.as_slice(), generated].concat()
    }

    /// Everything that is signed.
    fn to_object(&self, signer: PublicKey) -> Object {
        let mut object = self.to_fields();
        object.insert("signer", Value::string(signer.to_string()));
        object
    }

    fn to_fields(&self) -> Object {
        let tokens =
            |tokens: &[u32]| Value::Array(tokens.iter().map(|&t| Value::Integer(u64::from(t))).collect());
        let mut sampling = self.sampling;
        let mut fields: BTreeMap<String, Value> = parameters(&mut sampling)
            .into_iter()
            .map(|(name, v)| (name.to_string(), Value::string(format!("{:08x}", v.to_bits()))))
            .collect();
        fields.insert("top_k".to_string(), Value::Integer(u64::from(self.sampling.top_k)));
        let fields = [
            ("format", Value::string(FORMAT)),
            ("spec", Value::string(spec())),
            ("program", hex(&self.program)),
            ("prompt", tokens(&self.prompt)),
            ("tokens", tokens(&self.tokens)),
            ("sampling", Value::Object(fields.into_iter().collect())),
            ("seed", Value::Integer(self.seed)),
            ("nonce", Value::Integer(self.nonce)),
            ("logprobs", hex(&self.logprobs)),
            ("trace_root", self.trace_root.map_or(Value::Null, |root| hex(&root))),
        ];
        fields.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
    }
}

impl GenerationReceipt {
    /// Reads a receipt and checks its form.
    pub fn parse(text: &[u8]) -> Result<GenerationReceipt, ReceiptError> {
        GenerationReceipt::from_object(parse_object(text)?)
    }

    /// The canonical text, signature and info included, and a newline for people.
    pub fn to_json(&self) -> String {
        let mut object = self.claim.to_object(self.signer);
        object.insert("signature", Value::string(bytes_to_hex(&self.signature)));
        object.insert("info", Value::Object(self.info.to_object()));
        Value::Object(object).canonical() + "\n"
    }

    /// What is signed.
    pub fn digest(&self) -> Digest {
        signed_digest(DOMAIN, &self.claim.to_object(self.signer))
    }

    /// Checks the signature.
    pub fn validate(&self) -> Result<(), ReceiptError> {
        if self.signer.verifies(&self.digest(), &self.signature) {
            return Ok(());
        }
        Err(ReceiptError::Signature { signer: self.signer })
    }

    fn from_object(object: Object) -> Result<GenerationReceipt, ReceiptError> {
        let mut fields = Fields { at: "", object };
        fields.kind(FORMAT)?;
        let claim = GenerationClaim {
            program: fields.digest("program")?,
            prompt: tokens(&mut fields, "prompt")?,
            tokens: tokens(&mut fields, "tokens")?,
            sampling: sampling(fields.object("sampling")?)?,
            seed: fields.integer("seed")?,
            nonce: fields.integer("nonce")?,
            logprobs: fields.digest("logprobs")?,
            trace_root: fields.optional_digest("trace_root")?,
        };
        claim.sampling.check().map_err(|e| value("sampling", e.to_string()))?;
        let (signer, signature, info) = fields.envelope()?;
        Ok(GenerationReceipt { claim, signer, signature, info })
    }
}

fn tokens(fields: &mut Fields, field: &str) -> Result<Vec<u32>, ReceiptError> {
    let found = fields.take(field)?;
    let Value::Array(values) = &found else {
        return Err(fields.mistyped(field, "a list of tokens", &found));
    };
    let token = |found: &Value| match found {
        Value::Integer(v) => u32::try_from(*v).map_err(|_| value(field, format!("{v} is no token"))),
        other => Err(fields.mistyped(field, "a list of tokens", other)),
    };
    let tokens = values.iter().map(token).collect::<Result<Vec<u32>, _>>()?;
    if tokens.is_empty() { Err(value(field, "is empty")) } else { Ok(tokens) }
}

fn sampling(mut fields: Fields) -> Result<Sampling, ReceiptError> {
    let mut sampling = Sampling::default();
    for (name, target) in parameters(&mut sampling) {
        let text = fields.string(name)?;
        let plain = text.len() == 8 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let bits = u32::from_str_radix(&text, 16).ok().filter(|_| plain);
        let problem = || value(&format!("sampling.{name}"), "is not 8 lower-case hex digits");
        *target = f32::from_bits(bits.ok_or_else(problem)?);
    }
    let top_k = fields.integer("top_k")?;
    sampling.top_k = u32::try_from(top_k).map_err(|_| value("sampling.top_k", "is too large"))?;
    fields.end()?;
    Ok(sampling)
}

/// Whether a text is a receipt of a generation, or was one.
pub fn is_generation(text: &[u8]) -> bool {
    let Ok(object) = parse_object(text) else { return false };
    matches!(object.get("format"), Some(Value::String(format)) if format == FORMAT)
        || (object.get("prompt").is_some() && object.get("tokens").is_some())
}

/// What differs between a claim and the truth; the first, in this order.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum Difference {
    #[error("{0}")]
    Receipt(ReceiptError),
    #[error("signer: the receipt is signed by {found}, not by {expected}")]
    Signer { expected: PublicKey, found: PublicKey },
    #[error("program: the receipt claims {claimed}, the program given is {found}")]
    Program { claimed: Digest, found: Digest },
    #[error("program: {0}")]
    Constant(ProgramError),
    #[error("token {token} at position {position} is none of the {vocabulary} of the vocabulary")]
    NoToken { position: usize, token: u32, vocabulary: usize },
    #[error("tokens: position {position} holds {claimed}, the model chooses {found}")]
    Token { position: usize, claimed: u32, found: u32 },
    #[error("tokens: the model gives no distribution for position {position}: {problem}")]
    NoDistribution { position: usize, problem: String },
    #[error("position {position}: the model gives another row than the trace holds")]
    Position { position: usize },
    #[error(
        "position {position}: the {what} of attention {attention} are not what the trace says of their step"
    )]
    Row { position: usize, attention: usize, what: &'static str },
    #[error("logprobs: the receipt claims {claimed}, the model gives {found}")]
    Logprobs { claimed: Digest, found: Digest },
    #[error("trace_root: the receipt claims {claimed}, the program gives {found}")]
    TraceRoot { claimed: Digest, found: Digest },
}

/// Why it could not be found out.
#[derive(Debug, thiserror::Error)]
pub enum Unverifiable {
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    #[error("the rows could not be computed: {0}")]
    Rows(RowsError),
    #[error("the executor gave no trace")]
    NoTrace,
    #[error(transparent)]
    RowLog(#[from] crate::row_log::RowLogError),
}

/// Reads a receipt and checks its form and signature. A receipt that was changed is refuted, whatever the change made of its
/// form.
pub fn open(text: &[u8]) -> Result<Result<GenerationReceipt, Difference>, Unverifiable> {
    match GenerationReceipt::parse(text) {
        Ok(receipt) => match receipt.validate() {
            Ok(()) => Ok(Ok(receipt)),
            Err(error) => Ok(Err(Difference::Receipt(error))),
        },
        Err(error) => match parse_object(text) {
            Ok(object) if object.get("signature").is_some() && is_unsigned(DOMAIN, &object) => {
                Ok(Err(Difference::Receipt(error)))
            }
            _ => Err(error.into()),
        },
    }
}

/// What can be checked before anything is computed: signature, signer, program, constants, tokens.
pub(crate) fn check_head(
    receipt: &GenerationReceipt,
    program: &Program,
    signer: Option<PublicKey>,
    hash: BytesDigest,
) -> Result<Option<Difference>, Unverifiable> {
    if let Err(error) = receipt.validate() {
        return Ok(Some(Difference::Receipt(error)));
    }
    if let Some(expected) = signer
        && expected != receipt.signer
    {
        return Ok(Some(Difference::Signer { expected, found: receipt.signer }));
    }
    let claim = &receipt.claim;
    if claim.program != program.digest() {
        return Ok(Some(Difference::Program { claimed: claim.program, found: program.digest() }));
    }
    if let Err(error) = program.check_constants(hash) {
        return Ok(Some(Difference::Constant(error)));
    }
    let vocabulary = Sequence::of(program)?.vocabulary;
    let all = [claim.prompt.as_slice(), claim.tokens.as_slice()].concat();
    if let Some(position) = all.iter().position(|&t| t as usize >= vocabulary) {
        return Ok(Some(Difference::NoToken { position, token: all[position], vocabulary }));
    }
    Ok(None)
}

/// Checks a claim by computing all its rows at once: `None` when all of it is true.
pub fn verify(
    receipt: &GenerationReceipt,
    program: &Program,
    signer: Option<PublicKey>,
    executor: &dyn RowsExecutor,
    functions: &dyn Functions,
    hash: BytesDigest,
) -> Result<Option<Difference>, Unverifiable> {
    if let Some(difference) = check_head(receipt, program, signer, hash)? {
        return Ok(Some(difference));
    }
    let claim = &receipt.claim;
    let all = [claim.prompt.as_slice(), claim.tokens.as_slice()].concat();
    let first = claim.prompt.len() - 1;
    let mut logprobs = Vec::with_capacity(claim.tokens.len());
    let mut difference = None;
    let mut visit = |position: usize, logits: &[f32]| -> Result<(), RowsError> {
        if difference.is_some() {
            return Ok(());
        }
        let claimed = all[position + 1];
        let draw = Draw { seed: claim.seed, nonce: claim.nonce, position: position as u32 };
        let known = &all[..=position];
        match choose(logits, &claim.sampling, known, claim.prompt.len(), draw, functions) {
            Ok(found) if found == claimed => {
                logprobs.push(log_probability(logits, found, functions));
            }
            Ok(found) => difference = Some(Difference::Token { position: position + 1, claimed, found }),
            Err(error) => {
                let problem = error.to_string();
                difference = Some(Difference::NoDistribution { position: position + 1, problem });
            }
        }
        Ok(())
    };
    let traced = claim.trace_root.is_some();
    let rows = claim.rows();
    let root = executor.rows(program, &rows, first, traced, &mut visit).map_err(Unverifiable::Rows)?;
    if difference.is_some() {
        return Ok(difference);
    }
    let found = logprobs_digest(&logprobs);
    if found != claim.logprobs {
        return Ok(Some(Difference::Logprobs { claimed: claim.logprobs, found }));
    }
    match (claim.trace_root, root) {
        (Some(claimed), Some(found)) if claimed != found => {
            Ok(Some(Difference::TraceRoot { claimed, found }))
        }
        (Some(_), None) => Err(Unverifiable::NoTrace),
        _ => Ok(None),
    }
}
