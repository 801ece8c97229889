//! Disputes over generations of tiny decoders: lies of every kind, at every step and position.
#![forbid(unsafe_code)]

use std::cell::OnceCell;
use std::collections::BTreeMap;

use repops::blocks::Format;
use repops::digest::bytes_digest;
use repops::reference::Reference;
use repops::sequence::Sequence;
use repops::sequence::example::Decoder;
use repops::sequence::reference::run;
use repops::sequence::sampling::{Draw, Plain, Sampling, choose};
use repops::{Digest, Program};
use repops_provenance::Info;
use repops_provenance::dispute::audit::{Finding, Opening};
use repops_provenance::dispute::audit_rows::{self, Place, Places};
use repops_provenance::dispute::simulate::{Dice, GenerationStage, Kind, Outcome, Scenario, SimulateError};
use repops_provenance::dispute::{Keep, Loser, NoDispute, Party, Player, Reason, Transcript};
use repops_provenance::generation::{GenerationClaim, verify};
use repops_provenance::row_log::{self, LogDifference};

/// Decoders of two layers, dense and in blocks, with and without windows, and ways to sample.
fn program(which: usize) -> (Program, Sampling) {
    let sampling = Sampling::default();
    match which {
        0 => (Decoder { layers: 1, ..Decoder::default() }.program(), sampling),
        1 => {
            let decoder = Decoder { vocabulary: 700, window: 5, ..Decoder::default() };
            (
                decoder.program(),
                Sampling { temperature: 0.9, top_k: 300, top_p: 0.9, min_p: 0.01, ..sampling },
            )
        }
        _ => {
            let decoder = Decoder { format: Some(Format::Q8_0), vocabulary: 300, ..Decoder::default() };
            (
                decoder.program(),
                Sampling { temperature: 1.0, repetition_penalty: 1.2, top_p: 0.8, ..sampling },
            )
        }
    }
}

/// Generates in the plain way.
fn generate(program: &Program, sampling: Sampling, prompt: &[u32], count: usize) -> GenerationClaim {
    let sequence = Sequence::of(program).unwrap();
    let mut all = prompt.to_vec();
    for _ in 0..count {
        let rows = run(program, &sequence, &all, prompt.len() - 1).unwrap();
        let logits = rows.logits.as_slice::<f32>().rchunks_exact(sequence.vocabulary).next().unwrap();
        let draw = Draw { seed: 7, nonce: 3, position: all.len() as u32 - 1 };
        all.push(choose(logits, &sampling, &all, prompt.len(), draw, &Plain).unwrap());
    }
    GenerationClaim {
        program: program.digest(),
        prompt: prompt.to_vec(),
        tokens: all[prompt.len()..].to_vec(),
        sampling,
        seed: 7,
        nonce: 3,
        logprobs: Digest::default(),
        trace_root: None,
    }
}

thread_local! {
    static STAGES: [OnceCell<&'static GenerationStage<'static>>; 3] = const { [const { OnceCell::new() }; 3] };
}

fn stage(which: usize) -> &'static GenerationStage<'static> {
    STAGES.with(|stages| {
        *stages[which].get_or_init(|| {
            let (program, sampling) = program(which);
            let program = Box::leak(Box::new(program));
            let claim = generate(program, sampling, &[3, 1, 4, 1, 5], [3, 8, 14][which]);
            let keep = if which == 1 { Keep::Steps(5) } else { Keep::Nothing };
            let stage = GenerationStage::regenerate(program, claim, &Reference, bytes_digest, keep).unwrap();
            Box::leak(Box::new(stage))
        })
    })
}

/// Plays a game; the honest party wins, and the transcript says so again.
fn play(which: usize, kind: Kind, step: Option<u64>, seed: u64, liar: Party) -> Option<Outcome> {
    let scenario = Scenario { kind, step, seed, liar };
    let outcome = match stage(which).play(&scenario) {
        Ok(outcome) => outcome,
        Err(SimulateError::NoLie { .. }) => return None,
        Err(error) => panic!("{which} {scenario:?}: {error}"),
    };
    assert_eq!(outcome.verdict.loser, liar.into(), "{which} {scenario:?}: {:?}", outcome.verdict);
    let bytes = outcome.transcript.encode();
    let read = Transcript::decode(&bytes).unwrap();
    assert_eq!(read.replay().unwrap().verdict(), Some(&outcome.verdict));
    assert!(outcome.bytes < 256 << 10, "{} bytes", outcome.bytes);
    let most = outcome.size.rounds_max();
    assert!(outcome.rounds <= most, "{} rounds, at most {most}: {:?}", outcome.rounds, outcome.size);
    assert!(outcome.reruns <= 1, "{which} {scenario:?}: {} partial runs", outcome.reruns);
    Some(outcome)
}

#[test]
fn an_honest_log_is_what_verifies() {
    for which in 0..3 {
        let stage = stage(which);
        let receipt = stage.claim.clone().sign(&repops_provenance::Key::from_seed([1; 32]), Info::default());
        let found = verify(&receipt, stage.program, None, &Reference, &Plain, bytes_digest).unwrap();
        assert_eq!(found, None, "{which}");
    }
}

#[test]
fn every_step_of_every_position_is_named() {
    let stage = stage(0);
    let mut named = 0;
    for record in 0..stage.records() {
        let liar = if record % 2 == 0 { Party::First } else { Party::Second };
        let Some(outcome) = play(0, Kind::Output, Some(record), record, liar) else {
            let (position, step) = stage.place(record);
            assert!(!stage.log.has(position, step), "record {record} can be wrong");
            continue;
        };
        let referee = &outcome.recorded.referee;
        let place = referee.place().expect("a place");
        let row = place.row.as_ref().expect("a row");
        assert_eq!((row.position, place.index), stage.place(record));
        assert_eq!(place.step.origins, stage.program.main().steps[place.index as usize].origins);
        let (_, term, _) = referee.element().expect("an element");
        assert_eq!(Some(term), outcome.term.or(Some(term)), "the wrong term itself is reached");
        named += 1;
    }
    assert!(named > 80, "{named} records");
}

#[test]
fn two_claims_that_both_may_be_true_have_no_loser() {
    let stage = stage(0);
    let mut short = stage.claim.clone();
    short.tokens.pop();
    let other =
        GenerationStage::regenerate(stage.program, short, &Reference, bytes_digest, Keep::Nothing).unwrap();
    let keys = [1u8, 2].map(|n| repops_provenance::Key::from_seed([n; 32]));
    let receipts = [
        stage.claim.clone().sign(&keys[0], Info::default()),
        other.claim.clone().sign(&keys[1], Info::default()),
    ];
    use repops_provenance::dispute::{Message, Referee, Terms};
    let mut referee = Referee::open(receipts, Terms { answer_ms: 1000, number: 0 }, 0).unwrap();
    let mut players = [stage.honest().0, other.honest().0];
    while referee.verdict().is_none() {
        for party in Party::BOTH {
            if referee.owes(party) {
                let body = players[party as usize].answer(&referee, party).unwrap();
                let key = &keys[party as usize];
                let message = Message::sign(referee.course(), referee.round(), party, &body, key);
                referee.receive(1, &message.encode());
            }
        }
    }
    let verdict = referee.verdict().unwrap();
    assert!(
        matches!((verdict.loser, &verdict.reason), (Loser::Neither, Reason::Undecided(_))),
        "{verdict:?}"
    );
}

#[test]
fn the_honest_party_never_loses() {
    let (mut dice, mut counts) = (Dice(7), BTreeMap::new());
    while counts.values().sum::<u64>() < 400 {
        let kind = Kind::ALL[dice.below(Kind::ALL.len() as u64) as usize];
        let liar = Party::BOTH[dice.below(2) as usize];
        if play(dice.below(3) as usize, kind, None, dice.roll(), liar).is_some() {
            *counts.entry(kind).or_insert(0) += 1;
        }
    }
    println!("{counts:?}");
    // A log names neither inputs nor attributes, and a sequence program has no branches.
    let none = [Kind::Input, Kind::Attribute, Kind::Constant, Kind::Fault, Kind::Path];
    for kind in Kind::ALL.into_iter().filter(|kind| !none.contains(kind)) {
        assert!(counts.get(&kind).is_some_and(|count| *count >= 15), "{kind:?}: {counts:?}");
    }
}

#[test]
fn tokens_follow_from_logits() {
    let mut dice = Dice(8);
    for game in 0..200 {
        let liar = Party::BOTH[game % 2];
        let outcome = play(game % 3, Kind::Token, None, dice.roll(), liar).expect("another token");
        assert_eq!(outcome.verdict.reason, Reason::Token);
    }
}

#[test]
fn two_liars_come_to_an_end() {
    let (mut dice, mut played) = (Dice(9), 0);
    while played < 150 {
        let which = dice.below(3) as usize;
        let [a, b] = Party::BOTH.map(|liar| {
            let kind = Kind::ALL[dice.below(Kind::ALL.len() as u64) as usize];
            Scenario { kind, step: None, seed: dice.roll(), liar }
        });
        match stage(which).play_liars([&a, &b]) {
            Ok(outcome) => {
                let referee = outcome.transcript.replay().unwrap();
                assert_eq!(referee.verdict(), Some(&outcome.verdict));
                played += 1;
            }
            Err(SimulateError::NoLie { .. } | SimulateError::Open(NoDispute::Agreement)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn damaged_transcripts_neither_panic_nor_hang() {
    use repops_provenance::dispute::simulate::replay_signed_anew;
    let mut dice = Dice(11);
    for kind in [Kind::Output, Kind::Token, Kind::Outcome, Kind::Wiring, Kind::Digest] {
        let outcome = play(0, kind, None, 5, Party::Second).expect("a lie");
        let transcript = outcome.transcript;
        let bytes = transcript.encode();
        if let Some(folder) = std::env::var_os("REPOPS_CORPUS")
            && bytes.len() < 40_000
        {
            let name = format!("generation-{}", kind.name());
            std::fs::write(std::path::Path::new(&folder).join(name), &bytes).unwrap();
        }
        assert!(replay_signed_anew(&bytes));
        for _ in 0..60 {
            let mut damaged = transcript.clone();
            let event = dice.below(damaged.events.len() as u64) as usize;
            let Some(message) = damaged.events[event].message.as_mut() else { continue };
            let (start, end) = (16 + 32 + 4 + 1 + 4, message.len() - 64);
            for _ in 0..1 + dice.below(3) {
                let at = start + dice.below((end - start) as u64) as usize;
                message[at] = [0, 1, 0xff, message[at] ^ 0x80][dice.below(4) as usize];
            }
            replay_signed_anew(&damaged.encode());
        }
    }
}

/// What an auditor finds at a place; no opening is a refusal.
fn audit(player: &mut Player<'_>, program: &Program, claim: &GenerationClaim, index: u64) -> Option<Finding> {
    let bytes = player.open_place(claim, index).ok()?.encode();
    let opening = Opening::decode(&bytes).unwrap();
    Some(audit_rows::check(program, claim, &opening, &Reference, &Plain, bytes_digest))
}

#[test]
fn an_honest_generation_passes_every_audit() {
    for which in 0..3 {
        let stage = stage(which);
        let (mut player, claim) = stage.honest();
        let places = Places::of(stage.program, &claim).unwrap();
        assert_eq!(places.at(places.count()), None);
        for index in (0..places.count()).step_by([1, 7, 11][which]) {
            let found = audit(&mut player, stage.program, &claim, index);
            assert_eq!(found, Some(Finding::Right), "{which}: {:?}", places.at(index));
        }
    }
}

#[test]
fn a_lie_in_a_generation_is_caught_at_its_place() {
    let stage = stage(0);
    let places = Places::of(stage.program, &stage.claim).unwrap();
    let (mut caught, mut passed) = (0, 0);
    for index in 0..places.count() {
        let (kind, record) = match places.at(index).unwrap() {
            Place::Step { position, step } => {
                (Kind::Output, Some(position * stage.log.heads.steps + u64::from(step)))
            }
            Place::Choice { .. } if index % 2 == 0 => (Kind::Token, None),
            Place::Choice { .. } => (Kind::Outcome, None),
        };
        let scenario = Scenario { kind, step: record, seed: index, liar: Party::Second };
        let (mut player, claim) = stage.liar(&scenario).unwrap();
        let places = Places::of(stage.program, &claim).unwrap();
        // Where the lie is: at its step, or at one of the tokens.
        let at: Vec<u64> = match record {
            Some(_) => vec![index],
            None => {
                (0..places.count()).filter(|i| matches!(places.at(*i), Some(Place::Choice { .. }))).collect()
            }
        };
        let found: Vec<_> =
            at.iter().map(|index| audit(&mut player, stage.program, &claim, *index)).collect();
        let is_caught = found.iter().any(|found| matches!(found, None | Some(Finding::Wrong(_))));
        assert!(is_caught, "{scenario:?}: {found:?}");
        caught += 1;
        if index > 0
            && record.is_some()
            && audit(&mut player, stage.program, &claim, 0) == Some(Finding::Right)
        {
            passed += 1;
        }
    }
    println!("{caught} caught, {passed} of them right elsewhere");
    assert!(caught > 80 && passed > 50);
}

#[test]
fn logs_differ_where_a_row_does() {
    let stage = stage(0);
    let rows = stage.log.entries_of();
    assert_eq!(row_log::first_difference(stage.program, &rows, &rows).unwrap(), None);
    for record in 0..stage.records() {
        let (position, step) = stage.place(record);
        if !stage.log.has(position, step) {
            continue;
        }
        let mut other = stage.log.clone();
        other.lie(position, step as u32, vec![Digest([9; 32])]);
        let found = row_log::first_difference(stage.program, &rows, &other.entries_of()).unwrap();
        let expected = LogDifference::Step { position: position as usize, step: step as usize };
        assert_eq!(found, Some(expected));
    }
    let mut file = Vec::new();
    let logprobs = stage.log.logprobs.as_slice();
    row_log::write(stage.program, &stage.claim, logprobs, &Reference, &mut file).unwrap();
    let stored = row_log::read(stage.program, &stage.claim, &mut file.as_slice()).unwrap();
    assert_eq!(row_log::first_difference(stage.program, &rows, &stored).unwrap(), None);
    let last = file.len() - 1;
    file[last] ^= 1;
    // The last bytes are a row, which the entries do not hold themselves.
    let again = row_log::read(stage.program, &stage.claim, &mut file.as_slice());
    assert!(again.is_ok() || matches!(again, Err(row_log::RowLogError::Root { .. })));
    assert!(row_log::read(stage.program, &stage.claim, &mut &file[..last]).is_err());
}
