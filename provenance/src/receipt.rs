//! Receipts: a signed claim that a program, given inputs, gives outputs by way of a trace.
//!
//! SPEC.md, "Receipt". A receipt is a JSON object; what is signed is a digest over its canonical form
//! (RFC 8785) without `signature` and `info`. Reading takes any JSON text of that object: white space,
//! key order and escapes change neither digest nor signature. What could be read in two ways (repeated
//! keys, fractions, unknown fields, upper-case hexadecimal) is refused.
//! Invariant of a [`Claim`]: trace root and step count are there exactly at level `operators`, and a
//! fault leaves no outputs.

use std::collections::BTreeMap;

use repops::Digest;
use repops::digest::sha256;
use repops::exec::HashLevel;
use repops::ops::Fault;
use repops::program::SPEC_VERSION;

use crate::json::{INTEGER_MAX, Object, Value};
use crate::keys::{Key, PublicKey, SignatureBytes};

/// The `format` field.
pub const FORMAT: &str = "repops-receipt/0";
/// Larger files are refused unread.
pub const RECEIPT_BYTES_MAX: usize = 1 << 20;
/// What the digest covers before the canonical text.
const DOMAIN: &[u8; 16] = b"repops.receipt.0";
/// Fields that the digest leaves out.
const UNSIGNED: [&str; 2] = ["signature", "info"];

/// What is claimed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    pub program: Digest,
    pub inputs: BTreeMap<String, Digest>,
    /// Empty when the run ended in a fault.
    pub outputs: BTreeMap<String, Digest>,
    pub fault: Option<FaultClaim>,
    /// At level `operators`; `None` is level `outputs`.
    pub trace: Option<TraceClaim>,
    /// What the client chose to make the receipt its own; at most [`INTEGER_MAX`].
    pub nonce: u64,
}

/// The fault that ended the run, and the number of steps run before the one that met it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FaultClaim {
    pub fault: Fault,
    pub step: u64,
}

/// The root of the trace and the number of its records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceClaim {
    pub root: Digest,
    pub steps: u64,
}

/// For people; neither signed nor checked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Info {
    /// What computed, such as `cpu avx2`.
    pub device: Option<String>,
    pub host: Option<String>,
    /// RFC 3339, in UTC.
    pub time: Option<String>,
    /// Of the software that wrote the receipt.
    pub version: Option<String>,
}

/// A claim with its signature. Its form was checked, its signature was not: [`Receipt::validate`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Receipt {
    pub claim: Claim,
    pub signer: PublicKey,
    pub signature: SignatureBytes,
    pub info: Info,
}

/// Why a receipt is none.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReceiptError {
    #[error("the file is larger than {RECEIPT_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the receipt is no JSON that can be accepted: {0}")]
    Json(String),
    #[error("the receipt is {found}, not an object")]
    NotAnObject { found: &'static str },
    #[error("{field}: the field is missing")]
    Missing { field: String },
    #[error("{field}: the field is unknown")]
    Unknown { field: String },
    #[error("{field}: is {found}; {expected} is needed")]
    Type { field: String, expected: &'static str, found: &'static str },
    #[error("{field}: {problem}")]
    Value { field: String, problem: String },
    #[error("format: {found:?} is not supported; this reads {FORMAT:?}")]
    Format { found: String },
    #[error("spec: {found:?} is not supported; this implements {:?}", spec())]
    Spec { found: String },
    #[error("signature: it is not {signer}'s over this claim")]
    Signature { signer: PublicKey },
}

/// The `spec` field.
pub fn spec() -> String {
    format!("{}.{}", SPEC_VERSION.0, SPEC_VERSION.1)
}

impl Claim {
    pub fn level(&self) -> HashLevel {
        if self.trace.is_some() { HashLevel::Operators } else { HashLevel::Outputs }
    }

    /// Signs the claim.
    pub fn sign(self, key: &Key, info: Info) -> Receipt {
        debug_assert!(self.nonce <= INTEGER_MAX && (self.fault.is_none() || self.outputs.is_empty()));
        let signer = key.public();
        let digest = digest_of(&self.to_object(signer));
        Receipt { signature: key.sign(&digest), claim: self, signer, info }
    }

    /// Everything that is signed.
    fn to_object(&self, signer: PublicKey) -> Object {
        let digests = |map: &BTreeMap<String, Digest>| {
            Value::Object(map.iter().map(|(name, d)| (name.clone(), hex(d))).collect())
        };
        let fault = |claim: FaultClaim| {
            let fields = [("code", claim.fault as u64), ("step", claim.step)];
            Value::Object(fields.map(|(name, v)| (name.to_string(), Value::Integer(v))).into_iter().collect())
        };
        let fields = [
            ("format", Value::string(FORMAT)),
            ("spec", Value::string(spec())),
            ("program", hex(&self.program)),
            ("level", Value::string(if self.trace.is_some() { "operators" } else { "outputs" })),
            ("inputs", digests(&self.inputs)),
            ("outputs", digests(&self.outputs)),
            ("fault", self.fault.map_or(Value::Null, fault)),
            ("trace_root", self.trace.map_or(Value::Null, |t| hex(&t.root))),
            ("steps", self.trace.map_or(Value::Null, |t| Value::Integer(t.steps))),
            ("nonce", Value::Integer(self.nonce)),
            ("signer", Value::string(signer.to_string())),
        ];
        fields.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
    }
}

impl Receipt {
    /// Reads a receipt and checks its form. SPEC.md, "Receipt".
    pub fn parse(text: &[u8]) -> Result<Receipt, ReceiptError> {
        Receipt::from_object(parse_object(text)?)
    }

    /// The canonical text, signature and info included, and a newline for people.
    pub fn to_json(&self) -> String {
        let mut object = self.claim.to_object(self.signer);
        object.insert("signature", Value::string(bytes_to_hex(&self.signature)));
        object.insert("info", Value::Object(self.info.to_object()));
        Value::Object(object).canonical() + "\n"
    }

    /// The text that the digest covers: the claim and its signer in canonical JSON.
    pub fn signed_text(&self) -> String {
        Value::Object(self.claim.to_object(self.signer)).canonical()
    }

    /// What is signed: SHA-256 over the domain tag and the canonical JSON without `signature` and `info`.
    pub fn digest(&self) -> Digest {
        digest_of(&self.claim.to_object(self.signer))
    }

    /// Checks the signature; together with [`Receipt::parse`], everything that needs no running.
    pub fn validate(&self) -> Result<(), ReceiptError> {
        if self.signer.verifies(&self.digest(), &self.signature) {
            return Ok(());
        }
        Err(ReceiptError::Signature { signer: self.signer })
    }

    fn from_object(object: Object) -> Result<Receipt, ReceiptError> {
        let mut fields = Fields { at: "", object };
        fields.kind(FORMAT)?;
        let level = fields.string("level")?;
        let root = fields.optional_digest("trace_root")?;
        let steps = fields.optional_integer("steps")?;
        let claim = Claim {
            program: fields.digest("program")?,
            inputs: fields.digests("inputs")?,
            outputs: fields.digests("outputs")?,
            fault: fields.fault()?,
            trace: trace_claim(&level, root, steps)?,
            nonce: fields.integer("nonce")?,
        };
        if claim.fault.is_some() && !claim.outputs.is_empty() {
            return Err(value("outputs", "a run that ended in a fault has none"));
        }
        let (signer, signature, info) = fields.envelope()?;
        Ok(Receipt { claim, signer, signature, info })
    }
}

/// Whether a text whose form [`Receipt::parse`] refuses is a receipt that was changed after it was signed.
/// One that is validly signed as it is comes from its signer: then it is of a kind that this version does
/// not know, which refutes nothing.
pub fn was_changed(text: &[u8]) -> bool {
    let Ok(object) = parse_object(text) else { return false };
    let marks = ["format", "signer", "signature"];
    if marks.into_iter().filter(|field| object.get(field).is_some()).count() < 2 {
        return false;
    }
    is_unsigned(DOMAIN, &object)
}

pub(crate) fn parse_object(text: &[u8]) -> Result<Object, ReceiptError> {
    if text.len() > RECEIPT_BYTES_MAX {
        return Err(ReceiptError::TooLarge);
    }
    match Value::parse(text).map_err(|e| ReceiptError::Json(e.to_string()))? {
        Value::Object(object) => Ok(object),
        other => Err(ReceiptError::NotAnObject { found: other.kind() }),
    }
}

/// What is signed of an object, under the domain of its kind of receipt.
fn digest_of(object: &Object) -> Digest {
    signed_digest(DOMAIN, object)
}

pub(crate) fn signed_digest(domain: &[u8; 16], object: &Object) -> Digest {
    let mut signed = object.clone();
    for field in UNSIGNED {
        signed.remove(field);
    }
    sha256(&[domain, Value::Object(signed).canonical().as_bytes()])
}

/// Whether an object that names a signer and a signature is not signed so under a domain.
pub(crate) fn is_unsigned(domain: &[u8; 16], object: &Object) -> bool {
    let string = |field: &str| match object.get(field) {
        Some(Value::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let signer = string("signer").and_then(PublicKey::from_hex);
    let signature = string("signature").and_then(signature_from_hex);
    !matches!((signer, signature), (Some(by), Some(bytes)) if by.verifies(&signed_digest(domain, object), &bytes))
}

fn trace_claim(
    level: &str,
    root: Option<Digest>,
    steps: Option<u64>,
) -> Result<Option<TraceClaim>, ReceiptError> {
    match (level, root, steps) {
        ("operators", Some(root), Some(steps)) => Ok(Some(TraceClaim { root, steps })),
        ("outputs", None, None) => Ok(None),
        ("operators", None, _) | ("outputs", Some(_), _) => {
            Err(value("trace_root", "is there exactly at level \"operators\""))
        }
        ("operators" | "outputs", ..) => Err(value("steps", "is there exactly at level \"operators\"")),
        _ => Err(value("level", "is neither \"outputs\" nor \"operators\"")),
    }
}

impl Info {
    pub(crate) fn to_object(&self) -> Object {
        let fields = [
            ("device", &self.device),
            ("host", &self.host),
            ("time", &self.time),
            ("version", &self.version),
        ];
        let present = fields.into_iter().filter_map(|(name, v)| Some((name, v.as_ref()?)));
        present.map(|(name, v)| (name.to_string(), Value::string(v))).collect()
    }

    pub(crate) fn from_fields(mut fields: Fields) -> Result<Info, ReceiptError> {
        let info = Info {
            device: fields.optional_string("device")?,
            host: fields.optional_string("host")?,
            time: fields.optional_string("time")?,
            version: fields.optional_string("version")?,
        };
        fields.end()?;
        Ok(info)
    }
}

/// The fields of an object, taken one by one; `end` refuses what is left.
pub(crate) struct Fields {
    /// The object's own name and a dot, or nothing for the receipt itself.
    pub at: &'static str,
    pub object: Object,
}

impl Fields {
    fn name(&self, field: &str) -> String {
        format!("{}{field}", self.at)
    }

    pub fn take(&mut self, field: &str) -> Result<Value, ReceiptError> {
        self.object.remove(field).ok_or_else(|| ReceiptError::Missing { field: self.name(field) })
    }

    pub fn mistyped(&self, field: &str, expected: &'static str, found: &Value) -> ReceiptError {
        ReceiptError::Type { field: self.name(field), expected, found: found.kind() }
    }

    pub fn string(&mut self, field: &str) -> Result<String, ReceiptError> {
        match self.take(field)? {
            Value::String(text) => Ok(text),
            other => Err(self.mistyped(field, "a string", &other)),
        }
    }

    pub fn optional_string(&mut self, field: &str) -> Result<Option<String>, ReceiptError> {
        self.object.get(field).is_some().then(|| self.string(field)).transpose()
    }

    pub fn integer(&mut self, field: &str) -> Result<u64, ReceiptError> {
        match self.take(field)? {
            Value::Integer(v) => Ok(v),
            other => Err(self.mistyped(field, "an integer", &other)),
        }
    }

    /// Null or an integer; the field must be there.
    pub fn optional_integer(&mut self, field: &str) -> Result<Option<u64>, ReceiptError> {
        match self.take(field)? {
            Value::Null => Ok(None),
            Value::Integer(v) => Ok(Some(v)),
            other => Err(self.mistyped(field, "null or an integer", &other)),
        }
    }

    pub fn digest(&mut self, field: &str) -> Result<Digest, ReceiptError> {
        let found = self.take(field)?;
        self.to_digest(field, &found)
    }

    pub fn optional_digest(&mut self, field: &str) -> Result<Option<Digest>, ReceiptError> {
        match self.take(field)? {
            Value::Null => Ok(None),
            found => self.to_digest(field, &found).map(Some),
        }
    }

    fn to_digest(&self, field: &str, found: &Value) -> Result<Digest, ReceiptError> {
        let Value::String(text) = found else {
            return Err(self.mistyped(field, "a digest in hexadecimal", found));
        };
        Digest::from_hex(text).ok_or_else(|| value(&self.name(field), "is not 64 lower-case hex digits"))
    }

    pub fn object(&mut self, field: &'static str) -> Result<Fields, ReceiptError> {
        let at = match field {
            "inputs" => "inputs.",
            "outputs" => "outputs.",
            "fault" => "fault.",
            "sampling" => "sampling.",
            _ => "info.",
        };
        match self.take(field)? {
            Value::Object(object) => Ok(Fields { at, object }),
            other => Err(self.mistyped(field, "an object", &other)),
        }
    }

    fn digests(&mut self, field: &'static str) -> Result<BTreeMap<String, Digest>, ReceiptError> {
        let fields = self.object(field)?;
        let entry = |(name, found): (&str, &Value)| Ok((name.to_string(), fields.to_digest(name, found)?));
        fields.object.iter().map(entry).collect()
    }

    fn fault(&mut self) -> Result<Option<FaultClaim>, ReceiptError> {
        if let Some(Value::Null) = self.object.get("fault") {
            self.take("fault")?;
            return Ok(None);
        }
        let mut fields = self.object("fault")?;
        let code = fields.integer("code")?;
        let fault = u32::try_from(code).ok().and_then(Fault::from_code);
        let fault = fault.ok_or_else(|| value("fault.code", format!("{code} is no fault")))?;
        let step = fields.integer("step")?;
        fields.end()?;
        Ok(Some(FaultClaim { fault, step }))
    }

    /// The fields that every receipt begins with: its format, which must be this one, and the specification's version.
    pub fn kind(&mut self, format: &str) -> Result<(), ReceiptError> {
        let found = self.string("format")?;
        if found != format {
            return Err(ReceiptError::Format { found });
        }
        let found = self.string("spec")?;
        if found == spec() { Ok(()) } else { Err(ReceiptError::Spec { found }) }
    }

    /// The fields that every receipt ends with, after which there is none.
    pub fn envelope(&mut self) -> Result<(PublicKey, SignatureBytes, Info), ReceiptError> {
        let signer = self.string("signer")?;
        let signer =
            PublicKey::from_hex(&signer).ok_or_else(|| value("signer", "is not 64 lower-case hex digits"))?;
        let signature = self.string("signature")?;
        let signature = signature_from_hex(&signature)
            .ok_or_else(|| value("signature", "is not 128 lower-case hex digits"))?;
        let info = Info::from_fields(self.object("info")?)?;
        self.end()?;
        Ok((signer, signature, info))
    }

    pub fn end(&self) -> Result<(), ReceiptError> {
        match self.object.iter().next() {
            Some((field, _)) => Err(ReceiptError::Unknown { field: self.name(field) }),
            None => Ok(()),
        }
    }
}

pub(crate) fn value(field: &str, problem: impl Into<String>) -> ReceiptError {
    ReceiptError::Value { field: field.to_string(), problem: problem.into() }
}

pub(crate) fn hex(digest: &Digest) -> Value {
    Value::String(digest.to_hex())
}

pub(crate) fn bytes_to_hex(bytes: &SignatureBytes) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn signature_from_hex(text: &str) -> Option<SignatureBytes> {
    let (low, high) = text.split_at_checked(64)?;
    let mut out = [0; 64];
    out[..32].copy_from_slice(&Digest::from_hex(low)?.0);
    out[32..].copy_from_slice(&Digest::from_hex(high)?.0);
    Some(out)
}
