//! Disputes over small programs: over a thousand games with lies of every kind, on either side.
#![forbid(unsafe_code)]

mod programs;

use std::cell::OnceCell;
use std::collections::BTreeMap;

use programs::PROGRAMS;
use repops::digest::bytes_digest;
use repops::ops::OpClass;
use repops::ops::dispute::rule;
use repops::reference::Reference;
use repops_provenance::Key;
use repops_provenance::dispute::simulate::{Dice, Kind, Outcome, Scenario, SimulateError, Stage};
use repops_provenance::dispute::transcript::{decode_events, encode_event};
use repops_provenance::dispute::{
    Body, Followed, Loser, Message, NoDispute, Party, Player, Reason, Received, Recorded, Referee, Terms,
    Transcript,
};

thread_local! {
    static STAGES: [OnceCell<&'static Stage<'static>>; 8] = const { [const { OnceCell::new() }; 8] };
}

/// The honest run of a program, made once a thread.
fn stage(which: usize) -> &'static Stage<'static> {
    STAGES.with(|stages| {
        *stages[which].get_or_init(|| {
            let (program, inputs) = &PROGRAMS[which];
            Box::leak(Box::new(Stage::new(program, inputs, &Reference, bytes_digest).unwrap()))
        })
    })
}

fn loser(party: Party) -> Loser {
    party.into()
}

/// The transcript alone gives the same verdict, from memory and from bytes.
fn check_transcript(outcome: &Outcome) {
    let bytes = outcome.transcript.encode();
    let read = Transcript::decode(&bytes).unwrap();
    assert_eq!(read, outcome.transcript);
    assert_eq!(read.replay().unwrap().verdict(), Some(&outcome.verdict));
    assert!(outcome.bytes < 256 << 10, "{} bytes", outcome.bytes);
    assert!(operand_leaves(outcome) <= 16, "{:?}", outcome.recorded.referee.place());
    let most = outcome.size.rounds_max();
    assert!(outcome.rounds <= most, "{} rounds, at most {most}: {:?}", outcome.rounds, outcome.size);
}

/// The most leaves of one operand that an element with finer terms was decided from; 0 where it was decided otherwise.
fn operand_leaves(outcome: &Outcome) -> usize {
    let place = outcome.recorded.referee.place();
    let has_terms = place.is_some_and(|place| rule(place.step.def()).has_terms());
    let mut messages = outcome.transcript.events.iter().rev().filter_map(|event| event.message.as_ref());
    match messages.find_map(|bytes| Body::decode(&Message::decode(bytes).ok()?.body).ok()) {
        Some(Body::Evidence(evidence)) if has_terms && outcome.verdict.reason == Reason::Element => {
            evidence.tensors.iter().map(|tensor| tensor.leaves.len()).max().unwrap_or(0)
        }
        _ => 0,
    }
}

/// Plays a game, which the liar loses; `None` where there is nothing to lie about.
fn play(which: usize, kind: Kind, step: Option<u64>, seed: u64, liar: Party) -> Option<Outcome> {
    play_on(stage(which), &Scenario { kind, step, seed, liar })
}

fn play_on(stage: &Stage<'_>, scenario: &Scenario) -> Option<Outcome> {
    let outcome = match stage.play(scenario) {
        Ok(outcome) => outcome,
        Err(SimulateError::NoLie { .. }) => return None,
        Err(error) => panic!("{scenario:?}: {error}"),
    };
    let verdict = &outcome.verdict;
    assert_eq!(verdict.loser, loser(scenario.liar), "{scenario:?}: {verdict:?}");
    assert!(outcome.reruns <= 1, "{scenario:?}: {} partial runs", outcome.reruns);
    check_transcript(&outcome);
    Some(outcome)
}

#[test]
fn every_kind_of_lie_is_found_at_every_step() {
    for which in 0..PROGRAMS.len() {
        let count = stage(which).trace.records.len() as u64;
        for kind in Kind::ALL {
            for step in 0..count {
                for liar in Party::BOTH {
                    play(which, kind, Some(step), step + 77, liar);
                }
            }
        }
    }
}

/// The bound of rounds counts nothing for finding the record: there is one.
#[test]
fn a_single_step_is_disputed_as_briefly() {
    let mut played = BTreeMap::new();
    for which in [0, 2, 3, 5] {
        let (program, inputs) = &PROGRAMS[which];
        for (program, inputs) in programs::single_steps(program, inputs) {
            let stage = Stage::new(&program, &inputs, &Reference, bytes_digest).unwrap();
            assert_eq!(stage.trace.records.len(), 1);
            let name = program.main().steps[0].def().name;
            for kind in Kind::ALL {
                for seed in 0..if kind == Kind::Output { 12 } else { 2 } {
                    let liar = Party::BOTH[seed as usize % 2];
                    let scenario = Scenario { kind, step: Some(0), seed, liar };
                    let Some(outcome) = play_on(&stage, &scenario) else { continue };
                    let most = played.entry((name, kind)).or_insert(0);
                    *most = outcome.rounds.max(*most);
                }
            }
        }
    }
    println!("at most {:?} rounds", played.values().max());
    assert!(played.contains_key(&("Div", Kind::Fault)));
    for name in ["MatMul", "Region", "ProductRegion", "Attention", "GRU", "Resize", "TopK"] {
        assert!(played.contains_key(&(name, Kind::Output)), "{name}");
    }
}

/// Plays random games of one of them, and says how many there were of each kind.
fn count_games(wanted: u64, mut game: impl FnMut(&mut Dice) -> Vec<Kind>) -> BTreeMap<Kind, u64> {
    let (mut dice, mut counts, mut played) = (Dice(20_260), BTreeMap::new(), 0);
    while played < wanted {
        let kinds = game(&mut dice);
        played += u64::from(!kinds.is_empty());
        kinds.into_iter().for_each(|kind| *counts.entry(kind).or_insert(0) += 1);
    }
    println!("{played} games: {counts:?}");
    counts
}

fn any_kind(dice: &mut Dice) -> Kind {
    Kind::ALL[dice.below(Kind::ALL.len() as u64) as usize]
}

#[test]
fn the_honest_party_never_loses() {
    let counts = count_games(1500, |dice| {
        let (which, kind) = (dice.below(PROGRAMS.len() as u64) as usize, any_kind(dice));
        let liar = Party::BOTH[dice.below(2) as usize];
        play(which, kind, None, dice.roll(), liar).map(|_| kind).into_iter().collect()
    });
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Token) {
        assert!(counts.get(&kind).is_some_and(|count| *count >= 60), "{kind:?}: {counts:?}");
    }
}

#[test]
fn two_liars_come_to_an_end() {
    let mut losers = BTreeMap::new();
    let counts = count_games(700, |dice| {
        let (which, kinds) = (dice.below(PROGRAMS.len() as u64) as usize, [any_kind(dice), any_kind(dice)]);
        let scenario = |party: Party, dice: &mut Dice| Scenario {
            kind: kinds[party as usize],
            step: None,
            seed: dice.roll(),
            liar: party,
        };
        let (a, b) = (scenario(Party::First, dice), scenario(Party::Second, dice));
        match stage(which).play_liars([&a, &b]) {
            Ok(outcome) => {
                check_transcript(&outcome);
                *losers.entry(outcome.verdict.loser.to_string()).or_insert(0) += 1;
                kinds.to_vec()
            }
            Err(SimulateError::NoLie { .. } | SimulateError::Open(NoDispute::Agreement)) => Vec::new(),
            Err(error) => panic!("{error}"),
        }
    });
    println!("{losers:?}");
    assert!(counts.values().all(|count| *count >= 40), "{counts:?}");
}

#[test]
fn faults_at_control_flow_are_named() {
    let control = [1, 4, 6].map(|which| {
        let mut found = BTreeMap::new();
        for step in 0..stage(which).trace.records.len() as u64 {
            let seeds = |kind| if kind == Kind::Output { 12 } else { 2 };
            let games = Kind::ALL.into_iter().flat_map(|kind| (0..seeds(kind)).map(move |seed| (kind, seed)));
            for (kind, seed) in games {
                let Some(outcome) = play(which, kind, Some(step), seed, Party::Second) else { continue };
                let Some(place) = outcome.recorded.referee.place() else { continue };
                if !matches!(kind, Kind::Path | Kind::Outcome | Kind::Length) {
                    assert_eq!(place.index, step, "{which} {kind:?}");
                }
                let name = place.step.def().name;
                *found.entry((name, outcome.verdict.reason.word())).or_insert(0) += 1;
            }
        }
        found
    });
    println!("{control:?}");
    // A condition, what If and Loop put out, slices, and the fault of slices that do not stack.
    for (which, expected) in [
        (0, ("Less", "element")),
        (0, ("If", "output")),
        (0, ("Loop", "output")),
        (1, ("Scan", "element")),
        (1, ("Add", "input")),
        (2, ("Loop", "fault")),
        (2, ("Exp", "fault")),
    ] {
        assert!(control[which].contains_key(&expected), "{expected:?}: {:?}", control[which]);
    }
}

#[test]
fn another_way_through_the_program_loses() {
    let mut reasons = BTreeMap::new();
    for which in [0, 1, 2, 4, 6] {
        for step in 0..stage(which).trace.records.len() as u64 {
            for seed in 0..12 {
                let liar = Party::BOTH[seed as usize % 2];
                let Some(outcome) = play(which, Kind::Path, Some(step), seed, liar) else { continue };
                *reasons.entry(outcome.verdict.reason.word()).or_insert(0) += 1;
            }
        }
    }
    println!("{reasons:?}");
    assert!(reasons["path"] > 100, "{reasons:?}");
}

#[test]
fn a_fault_in_an_accumulator_is_found_in_its_chunk() {
    let stage = stage(3);
    let mut deepest = 0;
    for seed in 0..40 {
        let scenario = Scenario { kind: Kind::Output, step: Some(0), seed, liar: Party::Second };
        let outcome = stage.play(&scenario).unwrap();
        assert_eq!((outcome.verdict.loser, &outcome.verdict.reason), (Loser::Second, &Reason::Element));
        let referee = &outcome.recorded.referee;
        assert_eq!(referee.place().unwrap().step.origins[0].name, "/MatMul");
        let (_, term, _) = referee.element().unwrap();
        assert_eq!(Some(term), outcome.term.or(Some(term)), "the wrong term itself is reached");
        deepest += u32::from(matches!(term, repops::ops::dispute::Term::Lane { .. }));
    }
    assert!(deepest > 5, "{deepest} of 40 faults were in accumulators");
}

fn open(seed: u64) -> (Recorded, &'static Stage<'static>) {
    let stage = stage(0);
    let key = |n: u8| Key::from_seed([n; 32]);
    let a = stage.claim.clone().sign(&key(1), Default::default());
    let mut wrong = stage.claim.clone();
    wrong.trace.as_mut().unwrap().root.0[0] ^= 1;
    let b = wrong.sign(&key(2), Default::default());
    let terms = Terms { answer_ms: 1000, number: seed };
    (Recorded::open([a, b], terms, 10).unwrap(), stage)
}

#[test]
fn strangers_and_the_past_are_ignored() {
    let (mut recorded, _) = open(1);
    let id = recorded.referee.id();
    let body = Body::Nodes(vec![]);
    let by = |key: u8, id, round| {
        Message::sign(id, round, Party::First, &body, &Key::from_seed([key; 32])).encode()
    };
    let (other, _) = open(2);
    for bytes in [
        vec![],
        vec![0; 300_000],
        b"repops.move.1\0\0\0".to_vec(),
        by(3, id, 0),
        by(1, other.referee.id(), 0),
        // A round that has not begun has no course yet.
        by(1, id, 1),
    ] {
        assert!(matches!(recorded.receive(20, &bytes), Received::Ignored(_)));
    }
    assert_eq!(recorded.referee.verdict(), None);
    assert_eq!(recorded.transcript.events, []);
    // The party itself is held to what it signs.
    assert_eq!(recorded.receive(20, &by(1, id, 0)), Received::Accepted);
    let verdict = recorded.referee.verdict().unwrap();
    assert_eq!((verdict.loser, &verdict.reason), (Loser::First, &Reason::Malformed));
}

/// A game whose parties follow by themselves; `between` sees each state before it is answered.
fn follow_to_the_end(
    recorded: &mut Recorded,
    mut players: [Player<'_>; 2],
    mut between: impl FnMut(&mut Recorded, &mut Player<'_>),
) {
    let receipts = recorded.referee.receipts().clone();
    let begun = Transcript::decode(&recorded.transcript.encode()).unwrap();
    let mut followed = receipts.map(|own| Followed::new(&begun, &own).unwrap().unwrap());
    while recorded.referee.verdict().is_none() {
        for party in Party::BOTH {
            let own = &mut followed[party as usize];
            let news = &recorded.transcript.events[own.events() as usize..];
            let news: Vec<u8> = news.iter().flat_map(encode_event).collect();
            own.go_on(&decode_events(&news).unwrap());
            assert_eq!(own.state().course(), recorded.referee.course());
            assert_eq!((own.party(), own.owes()), (party, recorded.referee.owes(party)));
            if own.owes() {
                if party == Party::First {
                    between(recorded, &mut players[0]);
                }
                let body = players[party as usize].answer(own.state(), party).unwrap();
                let (course, round) = (own.state().course(), own.state().round());
                let message = Message::sign(course, round, party, &body, &key_of(party)).encode();
                assert_eq!(recorded.receive(20, &message), Received::Accepted);
            }
        }
    }
}

fn key_of(party: Party) -> Key {
    Key::from_seed([1 + party as u8; 32])
}

/// A dispute of an honest party, the first, with a liar, and both players.
fn disputed(which: usize, seed: u64) -> (Recorded, [Player<'static>; 2]) {
    let stage = stage(which);
    let scenario = Scenario { kind: Kind::Output, step: None, seed, liar: Party::Second };
    let ((honest, claim), (liar, wrong)) = (stage.honest(), stage.liar(&scenario).unwrap());
    let sign = |claim: repops_provenance::Claim, party| claim.sign(&key_of(party), Default::default());
    let receipts = [sign(claim, Party::First), sign(wrong, Party::Second)];
    let recorded = Recorded::open(receipts, Terms { answer_ms: 1000, number: seed }, 10).unwrap();
    (recorded, [honest, liar])
}

#[test]
fn what_nobody_signed_misleads_nobody() {
    let mut dice = Dice(3);
    let mut misled = 0;
    for seed in 0..60 {
        let (mut recorded, players) = disputed(seed as usize % PROGRAMS.len(), seed);
        follow_to_the_end(&mut recorded, players, |recorded, player| {
            // A faithless referee shows the honest party what it likes in the other's name, and asks it to go on from there.
            let mut shown = recorded.transcript.clone();
            let last = shown.events.iter_mut().rev().find_map(|event| {
                let bytes = event.message.as_mut()?;
                Message::decode(bytes).ok().filter(|message| message.party == Party::Second)?;
                Some(bytes)
            });
            let Some(bytes) = last else { return };
            let mut message = Message::decode(bytes).unwrap();
            let at = dice.below(message.body.len() as u64) as usize;
            message.body[at] ^= 1 << dice.below(8);
            *bytes = message.encode();
            let own = recorded.referee.receipts()[0].clone();
            let followed = Followed::new(&shown, &own).unwrap().unwrap();
            let state = followed.state();
            if !followed.owes() || state.course() == recorded.referee.course() {
                // It has lost there, or is asked the same as here.
                return;
            }
            let Ok(body) = player.answer(state, Party::First) else { return };
            let message =
                Message::sign(state.course(), state.round(), Party::First, &body, &key_of(Party::First));
            // What it signed there it has not said here.
            let received = recorded.receive(20, &message.encode());
            assert_eq!(received, Received::Ignored("it answers something else"));
            misled += 1;
        });
        let verdict = recorded.referee.verdict().unwrap();
        assert_eq!(verdict.loser, Loser::Second, "{verdict:?}");
        let replayed = recorded.transcript.replay().unwrap();
        assert_eq!(replayed.verdict(), Some(verdict));
    }
    // Most changes make hashes wrong, by which the other side has lost there.
    assert!(misled > 15, "{misled} answers to what nobody said");
}

#[test]
fn whoever_is_not_asked_and_speaks_loses() {
    let mut spoke = 0;
    for seed in 0..20 {
        let (mut recorded, players) = disputed(0, seed);
        let mut rounds = Vec::new();
        follow_to_the_end(&mut recorded, players, |recorded, _| {
            // Rounds in which the second party has nothing to say, and has said nothing.
            let referee = &recorded.referee;
            let last = recorded.transcript.events.last().and_then(|event| event.message.as_ref());
            let last = last.and_then(|bytes| Message::decode(bytes).ok());
            let has_said = last.is_some_and(|last| last.round == referee.round());
            if !referee.owes(Party::Second) && !has_said {
                rounds.push(recorded.clone());
            }
        });
        for mut early in rounds {
            let (course, round) = (early.referee.course(), early.referee.round());
            let body = Body::Nodes(vec![]);
            let message = Message::sign(course, round, Party::Second, &body, &key_of(Party::Second));
            assert_eq!(early.receive(20, &message.encode()), Received::Accepted);
            let verdict = early.referee.verdict().unwrap();
            assert_eq!((verdict.loser, &verdict.reason), (Loser::Second, &Reason::OutOfTurn));
            spoke += 1;
        }
    }
    assert!(spoke > 0);
}

#[test]
fn a_party_answers_for_its_own_receipt_alone() {
    let (recorded, _) = disputed(0, 1);
    let (other, _) = open(1);
    let stranger = other.referee.receipts()[1].clone();
    assert!(Followed::new(&recorded.transcript, &stranger).unwrap().is_none());
}

#[test]
fn equivocation_loses_and_repetition_does_not() {
    let (mut recorded, stage) = open(1);
    let id = recorded.referee.id();
    let key = Key::from_seed([1; 32]);
    let hashes: Vec<_> = stage.trace.records.iter().map(|r| r.digest()).collect();
    let good = repops_provenance::dispute::partial::frontier_hashes(&hashes, hashes.len() as u64);
    let good = Message::sign(id, 0, Party::First, &Body::Frontier(good), &key).encode();
    assert_eq!(recorded.receive(20, &good), Received::Accepted);
    assert_eq!(recorded.receive(30, &good), Received::Ignored("it has been received before"));
    assert_eq!(recorded.referee.verdict(), None);
    let other = Message::sign(id, 0, Party::First, &Body::Frontier(vec![]), &key).encode();
    assert_eq!(recorded.receive(40, &other), Received::Accepted);
    assert_eq!(recorded.referee.verdict().unwrap().reason, Reason::Equivocation);
}

#[test]
fn silence_loses_after_the_deadline_and_not_before() {
    let (mut recorded, _) = open(1);
    recorded.tick(1010);
    assert_eq!(recorded.referee.verdict(), None);
    recorded.tick(1011);
    let verdict = recorded.referee.verdict().unwrap();
    assert_eq!((verdict.loser, &verdict.reason), (Loser::Both, &Reason::Silent));
    let replayed = Transcript::decode(&recorded.transcript.encode()).unwrap().replay().unwrap();
    assert_eq!(replayed.verdict(), recorded.referee.verdict());
}

#[test]
fn what_is_no_dispute_is_refused() {
    let stage = stage(0);
    let sign = |claim: &repops_provenance::Claim, n: u8| {
        claim.clone().sign(&Key::from_seed([n; 32]), Default::default())
    };
    let terms = Terms { answer_ms: 1, number: 0 };
    let open = |a, b| Referee::open([a, b], terms, 0).map(|_| ()).unwrap_err();
    let honest = &stage.claim;
    assert_eq!(open(sign(honest, 1), sign(honest, 2)), NoDispute::Agreement);
    assert_eq!(open(sign(honest, 1), sign(honest, 1)), NoDispute::OneParty);
    let mut other = honest.clone();
    other.trace = None;
    assert_eq!(open(sign(honest, 1), sign(&other, 2)), NoDispute::NoTrace { which: "second" });
    let mut other = honest.clone();
    other.program.0[3] ^= 1;
    assert_eq!(open(sign(honest, 1), sign(&other, 2)), NoDispute::Different("programs"));
    let mut other = sign(honest, 2);
    other.claim.nonce = 7;
    assert!(matches!(open(sign(honest, 1), other), NoDispute::Receipt { which: "second", .. }));
}

#[test]
fn the_programs_hold_every_rule_but_rare_ones() {
    let classes = PROGRAMS.iter().flat_map(|(p, _)| p.blocks()).flat_map(|b| &b.steps);
    let control = classes.filter(|s| matches!(s.def().class, OpClass::Control)).count();
    assert_eq!(control, 5);
}

/// Transcripts of one game of each kind, for every program.
fn transcripts() -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for which in 0..PROGRAMS.len() {
        for kind in [Kind::Output, Kind::Input, Kind::Length, Kind::Fault, Kind::Outcome] {
            let scenario = Scenario { kind, step: None, seed: 5, liar: Party::Second };
            if let Ok(outcome) = stage(which).play(&scenario) {
                found.push((format!("{which}-{}", kind.name()), outcome.transcript.encode()));
            }
        }
    }
    found
}

#[test]
fn damaged_transcripts_neither_panic_nor_hang() {
    use repops_provenance::dispute::simulate::replay_signed_anew;
    let transcripts = transcripts();
    if let Some(folder) = std::env::var_os("REPOPS_CORPUS") {
        for (name, bytes) in transcripts.iter().filter(|(_, bytes)| bytes.len() < 40_000) {
            std::fs::write(std::path::Path::new(&folder).join(name), bytes).unwrap();
        }
    }
    let mut dice = Dice(11);
    for (_, bytes) in &transcripts {
        assert!(replay_signed_anew(bytes));
        let messages = Transcript::decode(bytes).unwrap();
        for _ in 0..30 {
            // Anywhere, which the formats find.
            let mut damaged = bytes.clone();
            let at = dice.below(damaged.len() as u64) as usize;
            damaged[at] ^= 1 << dice.below(8);
            replay_signed_anew(&damaged);
            // In a body, which the referee finds.
            let mut transcript = messages.clone();
            let event = dice.below(transcript.events.len() as u64) as usize;
            let Some(message) = transcript.events[event].message.as_mut() else { continue };
            let (start, end) = (16 + 32 + 4 + 1 + 4, message.len() - 64);
            for _ in 0..1 + dice.below(3) {
                let at = start + dice.below((end - start) as u64) as usize;
                message[at] = [0, 1, 0xff, message[at] ^ 0x80][dice.below(4) as usize];
            }
            replay_signed_anew(&transcript.encode());
        }
    }
}
