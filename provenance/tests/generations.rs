//! Receipts of generations: made, read, changed, verified by the plain way.

use repops::digest::bytes_digest;
use repops::reference::Reference;
use repops::sequence::Sequence;
use repops::sequence::example::Decoder;
use repops::sequence::reference::RowsExecutor;
use repops::sequence::sampling::{Draw, Plain, Sampling, choose, log_probability};
use repops::sequence::trace::{Entry, sequence_root};
use repops::{Digest, Program};
use repops_provenance::generation::{
    Difference, GenerationClaim, GenerationReceipt, Unverifiable, logprobs_digest, open, verify,
};
use repops_provenance::{Info, Key, row_log};

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

/// A claim's trace file.
fn row_log(program: &Program, claim: &GenerationClaim) -> Vec<u8> {
    let mut logprobs = Vec::new();
    let all = [claim.prompt.as_slice(), claim.tokens.as_slice()].concat();
    Reference
        .rows(program, &claim.rows(), claim.prompt.len() - 1, false, &mut |position, logits| {
            logprobs.push(log_probability(logits, all[position + 1], &Plain));
            Ok(())
        })
        .expect("rows");
    let mut file = Vec::new();
    row_log::write(program, claim, &logprobs, &Reference, &mut file).expect("it is the claim's");
    file
}

fn spot(
    claim: &GenerationClaim,
    program: &Program,
    file: &[u8],
    positions: &[usize],
) -> Result<Option<Difference>, Unverifiable> {
    let receipt = claim.clone().sign(&key(), Info::default());
    row_log::spot(&receipt, program, None, &mut &file[..], positions, &Reference, &Plain, bytes_digest)
}

#[test]
fn single_positions_verify_and_forged_ones_do_not() {
    let program = Decoder::default().program();
    let sampling = Sampling { temperature: 0.8, top_k: 20, ..Sampling::default() };
    let claim = generate(&program, &[1, 2, 3], 6, sampling, 42);
    let file = row_log(&program, &claim);
    let every: Vec<usize> = (0..8).collect();
    assert_eq!(spot(&claim, &program, &file, &every).unwrap(), None);
    for position in 0..8 {
        assert_eq!(spot(&claim, &program, &file, &[position]).unwrap(), None, "{position}");
    }

    // Every byte is bound: no change goes unseen, whichever position is drawn.
    let header = 72;
    for at in (0..file.len()).step_by(61) {
        let mut forged = file.clone();
        forged[at] ^= 1;
        match spot(&claim, &program, &forged, &[]) {
            Ok(None) => panic!("byte {at}"),
            Ok(Some(_)) => assert!(at >= header, "byte {at}"),
            Err(error) => assert!(at < header, "byte {at}: {error}"),
        }
    }
    // A row of keys or values that its leaf does not hold, in the record of position 1.
    let record = (file.len() - header - 4 * claim.tokens.len()) / 8;
    let mut forged = file.clone();
    let at = header + 4 * claim.tokens.len() + 2 * record - 5;
    forged[at] ^= 0x80;
    let found = spot(&claim, &program, &forged, &[5]).unwrap();
    assert!(matches!(found, Some(Difference::Row { position: 1, what: "values", .. })), "{found:?}");
    // Cut short, and longer.
    for len in [0, 10, header, header + 30, file.len() - 1] {
        assert!(spot(&claim, &program, &file[..len], &[0]).is_err(), "{len}");
    }
    assert!(spot(&claim, &program, &[file.as_slice(), &[0]].concat(), &[0]).is_err());
    // Another claim's file.
    let other = generate(&program, &[1, 2, 4], 6, sampling, 42);
    let found = spot(&other, &program, &file, &[]).unwrap();
    assert!(matches!(found, Some(Difference::Logprobs { .. } | Difference::TraceRoot { .. })), "{found:?}");
}

/// A forger's log: consistent in itself, but one position was not computed by the program.
#[test]
fn a_forged_position_is_found_where_it_is_looked_at_and_only_there() {
    let program = Decoder::default().program();
    let other = Decoder { seed: 9, ..Decoder::default() }.program();
    let honest = generate(&program, &[1, 2, 3], 6, Sampling::default(), 0);
    let mut file = row_log(&program, &honest);
    let tokens = honest.rows();
    let (header, count) = (72 + 4 * honest.tokens.len(), tokens.len());
    let record = (file.len() - header) / count;
    // The last position's head, as another program would have it, and the root that follows.
    let foreign = Reference.rows(&other, &tokens, 2, true, &mut |_, _| Ok(())).expect("rows");
    let forged_head = foreign.expect("traced");
    let at = header + (count - 1) * record;
    file[at..at + 32].copy_from_slice(&forged_head.0);
    let sequence = Sequence::of(&program).expect("a sequence program");
    let rows = repops::sequence::reference::run(&program, &sequence, &tokens, 2).expect("rows");
    let digests: Vec<Digest> = rows
        .entries
        .iter()
        .enumerate()
        .map(|(p, entry)| {
            let forged = p == count - 1;
            let head = if forged { Some(forged_head) } else { entry.head };
            Entry { head, ..*entry }.digest(p as u64)
        })
        .collect();
    let claim = GenerationClaim { trace_root: Some(sequence_root(&digests, 2)), ..honest };
    let others: Vec<usize> = (0..count - 1).collect();
    assert_eq!(spot(&claim, &program, &file, &others).unwrap(), None, "nobody looked");
    let found = spot(&claim, &program, &file, &[count - 1]).unwrap();
    assert_eq!(found, Some(Difference::Position { position: count - 1 }));
    for _ in 0..20 {
        let drawn = row_log::draw(3, count).unwrap();
        assert!(drawn.len() == 3 && drawn.windows(2).all(|w| w[0] < w[1]) && drawn[2] < count);
    }
}
