//! What a party has signed: the receipt of a run or of a generation.

use repops::Digest;

use crate::generation::{self, GenerationClaim, GenerationReceipt};
use crate::json::Value;
use crate::keys::PublicKey;
use crate::receipt::{Claim, Receipt, ReceiptError, parse_object};

/// The claim of a dispute, with its signature.
#[derive(Clone, PartialEq, Debug)]
pub enum Claimed {
    Run(Receipt),
    Generation(GenerationReceipt),
}

impl From<Receipt> for Claimed {
    fn from(receipt: Receipt) -> Claimed {
        Claimed::Run(receipt)
    }
}

impl From<GenerationReceipt> for Claimed {
    fn from(receipt: GenerationReceipt) -> Claimed {
        Claimed::Generation(receipt)
    }
}

impl Claimed {
    /// Reads a receipt of either kind and checks its form.
    pub fn parse(text: &[u8]) -> Result<Claimed, ReceiptError> {
        let object = parse_object(text)?;
        match object.get("format") {
            Some(Value::String(format)) if format == generation::FORMAT => {
                GenerationReceipt::parse(text).map(Claimed::Generation)
            }
            _ => Receipt::parse(text).map(Claimed::Run),
        }
    }

    pub fn to_json(&self) -> String {
        match self {
            Claimed::Run(receipt) => receipt.to_json(),
            Claimed::Generation(receipt) => receipt.to_json(),
        }
    }

    pub fn signer(&self) -> PublicKey {
        match self {
            Claimed::Run(receipt) => receipt.signer,
            Claimed::Generation(receipt) => receipt.signer,
        }
    }

    /// What is signed.
    pub fn digest(&self) -> Digest {
        match self {
            Claimed::Run(receipt) => receipt.digest(),
            Claimed::Generation(receipt) => receipt.digest(),
        }
    }

    /// Checks the signature.
    pub fn validate(&self) -> Result<(), ReceiptError> {
        match self {
            Claimed::Run(receipt) => receipt.validate(),
            Claimed::Generation(receipt) => receipt.validate(),
        }
    }

    pub fn program(&self) -> Digest {
        match self {
            Claimed::Run(receipt) => receipt.claim.program,
            Claimed::Generation(receipt) => receipt.claim.program,
        }
    }

    pub fn run(&self) -> Option<&Claim> {
        match self {
            Claimed::Run(receipt) => Some(&receipt.claim),
            Claimed::Generation(_) => None,
        }
    }

    pub fn generation(&self) -> Option<&GenerationClaim> {
        match self {
            Claimed::Run(_) => None,
            Claimed::Generation(receipt) => Some(&receipt.claim),
        }
    }

    /// The root of the trace or of the sequence, and the number of its records or positions.
    pub fn trace(&self) -> Option<(Digest, u64)> {
        match self {
            Claimed::Run(receipt) => receipt.claim.trace.map(|trace| (trace.root, trace.steps)),
            Claimed::Generation(receipt) => {
                let positions = receipt.claim.prompt.len() + receipt.claim.tokens.len();
                receipt.claim.trace_root.map(|root| (root, (positions as u64).saturating_sub(1)))
            }
        }
    }
}
