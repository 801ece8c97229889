//! What is a sequence program and what is not; the log of the plain way.

use super::example::Decoder;
use super::trace::sequence_root;
use super::*;
use crate::program::ProgramParts;

fn tokens(count: usize) -> Vec<u32> {
    (0..count as u32).map(|i| i * 7 % 50).collect()
}

/// The decoder, changed.
fn changed(change: impl FnOnce(&mut ProgramParts)) -> Result<Sequence, SequenceError> {
    let mut parts = Decoder::default().program().to_parts();
    change(&mut parts);
    Sequence::of(&Program::new(parts).expect("still a program"))
}

fn step_named<'a>(parts: &'a mut ProgramParts, name: &str) -> &'a mut Step {
    parts.blocks[0].steps.iter_mut().find(|s| s.def().name == name).expect("the decoder has one")
}

#[test]
fn a_decoder_is_one() {
    let program = Decoder::default().program();
    let sequence = Sequence::of(&program).expect("a sequence program");
    assert_eq!((sequence.vocabulary, sequence.attention.len()), (50, 2));
    let row = Row { dtype: DType::F32, shape: vec![50] };
    assert_eq!(sequence.rows[program.main().results[0].index()], Some(row));
    // Everything up to the last keys and values is carried, what follows is not.
    let last = *sequence.attention.last().expect("two layers");
    let names: Vec<(&str, bool)> =
        program.main().steps.iter().zip(&sequence.carried).map(|(s, c)| (s.def().name, *c)).collect();
    assert!(names[..last - 6].iter().all(|(_, carried)| *carried), "{names:?}");
    assert!(names[last..].iter().all(|(_, carried)| !carried), "{names:?}");
    let before: Vec<_> = names[last - 5..last].to_vec();
    let rotary = "SequenceRotary";
    // q is for its own row alone; k and v are carried.
    assert_eq!(
        before,
        [("MatMul", false), ("MatMul", true), ("MatMul", true), (rotary, false), (rotary, true)]
    );
}

#[test]
fn rows_do_not_depend_on_later_ones() {
    let program = Decoder { window: 6, ..Decoder::default() }.program();
    let sequence = Sequence::of(&program).expect("a sequence program");
    let tokens = tokens(12);
    let whole = reference::run(&program, &sequence, &tokens, 0).expect("runs");
    for count in [1, 5] {
        let part = reference::run(&program, &sequence, &tokens[..count], 0).expect("runs");
        assert_eq!(part.entries, whole.entries[..count]);
        assert_eq!(part.logits.as_slice::<f32>(), &whole.logits.as_slice::<f32>()[..count * 50]);
    }
    let later = reference::run(&program, &sequence, &tokens, 7).expect("runs");
    assert!(later.entries.iter().enumerate().all(|(p, e)| e.head.is_some() == (p >= 7)));
    let root = |rows: &reference::Rows, first: u64| {
        let digests: Vec<_> = rows.entries.iter().enumerate().map(|(p, e)| e.digest(p as u64)).collect();
        sequence_root(&digests, first)
    };
    assert_ne!(root(&whole, 0), root(&later, 7));
}

#[test]
fn what_mixes_rows_is_refused() {
    let reason = |found: Result<Sequence, SequenceError>| match found {
        Err(error) => error.to_string(),
        Ok(_) => panic!("taken for a sequence program"),
    };
    let found = reason(changed(|parts| parts.header.inputs[0] = "ids".to_string()));
    assert!(found.contains("tokens"), "{found}");
    let found = reason(changed(|parts| parts.header.outputs[0] = "y".to_string()));
    assert!(found.contains("logits"), "{found}");
    // A softmax along the positions.
    let found = reason(changed(|parts| {
        let step = step_named(parts, "Swish");
        let def = crate::ops::by_name("Softmax").expect("a row");
        (step.op, step.version) = (def.id, def.version);
        step.attrs = def.check_attrs(&Attrs::new().with_int("axis", 0)).expect("attributes");
    }));
    assert!(found.contains("Softmax") && found.contains("Swish."), "{found}");
    // A norm over everything.
    let found = reason(changed(|parts| {
        let step = step_named(parts, "RMSNormalization");
        step.attrs = std::mem::take(&mut step.attrs).with_int("axis", 0);
    }));
    assert!(found.contains("RMSNormalization"), "{found}");
    // Two inputs of other kinds.
    let found = reason(changed(|parts| parts.header.inputs[1] = "mask".to_string()));
    assert!(found.contains("mask"), "{found}");
    // Rows that are looked up in rows.
    let found = reason(changed(|parts| {
        let x = parts.constants.len() as u32 + 2;
        let positions = ValueId(x - 1);
        let step = parts.blocks[0].steps.iter_mut().find(|s| s.def().name == "Add").expect("an Add");
        let def = crate::ops::by_name("Gather").expect("a row");
        (step.op, step.version) = (def.id, def.version);
        step.attrs = def.check_attrs(&Attrs::new()).expect("attributes");
        step.inputs = vec![Some(ValueId(x)), Some(positions)];
    }));
    assert!(found.contains("Gather"), "{found}");
}
