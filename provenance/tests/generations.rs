//! Receipts of generations: made, read, changed, verified by the plain way.

use repops::digest::bytes_digest;
use repops::reference::Reference;
use repops::sequence::example::Decoder;
use repops::sequence::reference::RowsExecutor;
use repops::sequence::sampling::{Draw, Plain, Sampling, choose, log_probability};
use repops::{Digest, Program};
use repops_provenance::generation::{
    Difference, GenerationClaim, GenerationReceipt, logprobs_digest, open, verify,
};
use repops_provenance::{Info, Key};

fn key() -> Key {
    Key::from_seed([7; 32])
}

/// Generates token by token, each time from the beginning.
fn generate(
    program: &Program,
    prompt: &[u32],
    count: usize,
    sampling: Sampling,
    seed: u64,
) -> GenerationClaim {
    let mut all = prompt.to_vec();
    let mut logprobs = Vec::new();
    let mut root = None;
    for _ in 0..count {
        let last = all.len() - 1;
        let mut next = None;
        root = Reference
            .rows(program, &all, prompt.len() - 1, true, &mut |position, logits| {
                if position == last {
                    let draw = Draw { seed, nonce: 5, position: position as u32 };
                    let token = choose(logits, &sampling, &all, prompt.len(), draw, &Plain)?;
                    next = Some((token, log_probability(logits, token, &Plain)));
                }
                Ok(())
            })
            .expect("rows");
        let (token, logprob) = next.expect("the last row");
        all.push(token);
        logprobs.push(logprob);
    }
    GenerationClaim {
        program: program.digest(),
        prompt: prompt.to_vec(),
        tokens: all[prompt.len()..].to_vec(),
        sampling,
        seed,
        nonce: 5,
        logprobs: logprobs_digest(&logprobs),
        trace_root: root,
    }
}

fn difference(claim: GenerationClaim, program: &Program) -> Option<Difference> {
    let receipt = claim.sign(&key(), Info::default());
    verify(&receipt, program, None, &Reference, &Plain, bytes_digest).expect("it can be found out")
}

#[test]
fn what_was_generated_verifies_and_nothing_else_does() {
    let program = Decoder::default().program();
    let sampling = Sampling { temperature: 0.8, top_k: 20, top_p: 0.9, ..Sampling::default() };
    let claim = generate(&program, &[1, 2, 3], 6, sampling, 42);
    assert_eq!(difference(claim.clone(), &program), None);
    let outputs = GenerationClaim { trace_root: None, ..claim.clone() };
    assert_eq!(difference(outputs, &program), None);
    let greedy = generate(&program, &[9], 3, Sampling::default(), 0);
    assert_eq!(difference(greedy, &program), None);

    let mut tokens = claim.tokens.clone();
    tokens[4] = (tokens[4] + 1) % 50;
    let changed = difference(GenerationClaim { tokens, ..claim.clone() }, &program);
    assert!(matches!(changed, Some(Difference::Token { position: 7, .. })), "{changed:?}");
    let changed = difference(GenerationClaim { prompt: vec![1, 2, 50], ..claim.clone() }, &program);
    assert!(matches!(changed, Some(Difference::NoToken { position: 2, token: 50, .. })), "{changed:?}");
    let changed = difference(GenerationClaim { logprobs: Digest([1; 32]), ..claim.clone() }, &program);
    assert!(matches!(changed, Some(Difference::Logprobs { .. })), "{changed:?}");
    let changed =
        difference(GenerationClaim { trace_root: Some(Digest([1; 32])), ..claim.clone() }, &program);
    assert!(matches!(changed, Some(Difference::TraceRoot { .. })), "{changed:?}");
    let changed = difference(GenerationClaim { program: Digest([1; 32]), ..claim.clone() }, &program);
    assert!(matches!(changed, Some(Difference::Program { .. })), "{changed:?}");
    // Six draws that all come out the same under another seed or nonce would be a wonder.
    let changed = difference(GenerationClaim { seed: 43, ..claim.clone() }, &program);
    assert!(matches!(changed, Some(Difference::Token { .. })), "{changed:?}");
    let changed = difference(GenerationClaim { nonce: 6, ..claim }, &program);
    assert!(matches!(changed, Some(Difference::Token { .. })), "{changed:?}");
}

#[test]
fn receipts_survive_their_text_and_no_change_does() {
    let program = Decoder { layers: 1, ..Decoder::default() }.program();
    let claim = generate(&program, &[1, 2], 2, Sampling::default(), 3);
    let info = Info { device: Some("by hand".to_string()), ..Info::default() };
    let receipt = claim.sign(&key(), info);
    let text = receipt.to_json();
    assert_eq!(GenerationReceipt::parse(text.as_bytes()), Ok(receipt.clone()));
    assert!(matches!(open(text.as_bytes()), Ok(Ok(_))));
    // Every field that is signed.
    for (from, to) in [
        ("\"seed\":3", "\"seed\":4"),
        ("\"nonce\":5", "\"nonce\":6"),
        ("\"prompt\":[1,2]", "\"prompt\":[1,3]"),
        ("\"top_k\":0", "\"top_k\":1"),
        ("\"top_p\":\"3f800000\"", "\"top_p\":\"3f700000\""),
        ("\"temperature\":\"00000000\"", "\"temperature\":\"7fc00000\""),
        ("\"prompt\":[1,2]", "\"prompt\":[]"),
        ("\"spec\"", "\"speck\""),
    ] {
        assert!(text.contains(from), "{from} in {text}");
        let changed = text.replacen(from, to, 1);
        assert!(matches!(open(changed.as_bytes()), Ok(Err(Difference::Receipt(_)))), "{to}");
    }
    // Information is for people.
    let informed = text.replace("by hand", "by foot");
    assert!(matches!(open(informed.as_bytes()), Ok(Ok(_))));
    assert!(open(b"{}").is_err());
    assert!(open(b"").is_err());
    let other = Key::from_seed([8; 32]);
    let again = receipt.claim.clone().sign(&other, Info::default());
    assert_ne!(again.digest(), receipt.digest());
    assert_eq!(again.claim.digest(), receipt.claim.digest());
    let signer = Some(other.public());
    let found = verify(&receipt, &program, signer, &Reference, &Plain, bytes_digest).expect("found out");
    assert!(matches!(found, Some(Difference::Signer { .. })));
}
