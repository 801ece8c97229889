//! Disputes over small programs: over a thousand games with lies of every kind, on either side.
#![forbid(unsafe_code)]

use std::cell::OnceCell;
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use repops::attrs::Attrs;
use repops::digest::bytes_digest;
use repops::ops::{self, OpClass, SymType};
use repops::program::{
    Block, BlockId, ConstantBytes, ConstantDecl, Header, Origin, Output, Program, ProgramParts, SPEC_VERSION,
    Step, ValueId,
};
use repops::reference::{Reference, pack_panel16};
use repops::region::{Instruction, Region};
use repops::{DType, Layout, Tensor};
use repops_provenance::Key;
use repops_provenance::dispute::simulate::{Dice, Kind, Outcome, Scenario, SimulateError, Stage};
use repops_provenance::dispute::{
    Body, Loser, Message, NoDispute, Party, Reason, Received, Recorded, Referee, Terms, Transcript,
};

/// Builds a program block by block.
#[derive(Default)]
struct Builder {
    constants: Vec<(ConstantDecl, Vec<u8>)>,
}

impl Builder {
    fn constant(&mut self, tensor: &Tensor, layout: Layout) -> u32 {
        let bytes = match layout {
            Layout::RowMajor => tensor.bytes().to_vec(),
            Layout::Panel16 => pack_panel16(tensor.view()),
        };
        let decl = ConstantDecl {
            name: String::new(),
            dtype: tensor.dtype(),
            shape: tensor.shape().to_vec(),
            layout,
            digest: bytes_digest(tensor.dtype(), layout, tensor.shape(), &bytes),
        };
        self.constants.push((decl, bytes));
        self.constants.len() as u32 - 1
    }

    fn program(self, inputs: usize, outputs: usize, blocks: Vec<Block>) -> Program {
        let names = |letter: &str, count: usize| (0..count).map(|i| format!("{letter}{i}")).collect();
        let (constants, data): (Vec<_>, Vec<_>) = self.constants.into_iter().unzip();
        let bytes =
            |bytes: Vec<u8>| ConstantBytes { len: bytes.len(), backing: Arc::new(aligned(bytes)), offset: 0 };
        Program::new(ProgramParts {
            header: Header {
                spec: SPEC_VERSION,
                compiler: "test".into(),
                sources: vec![],
                inputs: names("x", inputs),
                outputs: names("y", outputs),
            },
            constants,
            data: data.into_iter().map(bytes).collect(),
            blocks,
        })
        .unwrap()
    }
}

fn aligned(bytes: Vec<u8>) -> repops::tensor::AlignedBytes {
    repops::tensor::AlignedBytes::copy_of(&bytes).unwrap()
}

fn step(name: &str, attrs: Attrs, inputs: &[u32], outputs: usize, blocks: &[u32]) -> Step {
    let def = ops::by_name(name).unwrap();
    Step {
        op: def.id,
        version: def.version,
        attrs: def.check_attrs(&attrs).unwrap(),
        inputs: inputs.iter().map(|&v| Some(ValueId(v))).collect(),
        outputs: vec![Output::default(); outputs],
        region: None,
        blocks: blocks.iter().map(|&b| BlockId(b)).collect(),
        origins: vec![Origin {
            name: format!("/{name}"),
            op_type: name.into(),
            domain: String::new(),
            opset: 17,
        }],
    }
}

fn plain(name: &str, inputs: &[u32]) -> Step {
    step(name, Attrs::new(), inputs, 1, &[])
}

fn block(params: usize, steps: Vec<Step>, results: &[u32]) -> Block {
    Block { params: vec![None; params], steps, results: results.iter().map(|&v| ValueId(v)).collect() }
}

fn noise(shape: &[usize], seed: u64) -> Tensor {
    let mut dice = Dice(seed);
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| (dice.roll() >> 40) as f32 / 8_388_608.0 - 1.0).collect();
    Tensor::from_slice(shape, &values)
}

fn f32_of(shape: &[i64]) -> SymType {
    SymType::new(DType::F32, shape.iter().map(|&d| d.into()).collect())
}

/// A bit of everything that has no blocks.
fn layers() -> (Program, Vec<Tensor>) {
    let mut b = Builder::default();
    let w = b.constant(&noise(&[300, 20], 1), Layout::Panel16);
    let bias = b.constant(&noise(&[20], 2), Layout::RowMajor);
    let indices = b.constant(&Tensor::from_slice(&[3], &[4i64, 0, -2]), Layout::RowMajor);
    let axes = b.constant(&Tensor::from_slice(&[1], &[1i64]), Layout::RowMajor);
    let k = b.constant(&Tensor::from_slice(&[1], &[2i64]), Layout::RowMajor);
    let x = 5;
    let mut region = step("Region", Attrs::new(), &[6, bias], 1, &[]);
    let op = |name: &str| ops::by_name(name).unwrap();
    let instruction = |name: &str, args: &[u16]| Instruction {
        op: op(name).id,
        version: op(name).version,
        attrs: op(name).check_attrs(&Attrs::new()).unwrap(),
        args: args.to_vec(),
        dtype: DType::F32,
    };
    region.region = Some(Region {
        params: vec![DType::F32; 2],
        instructions: vec![instruction("Add", &[0, 1]), instruction("Tanh", &[2])],
        results: vec![3],
    });
    let axis = |axis: i64| Attrs::new().with_int("axis", axis);
    let mut main = block(
        1,
        vec![
            plain("MatMul", &[x, w]),                        // 6: [6, 20]
            region,                                          // 7
            plain("Softmax", &[7]),                          // 8
            plain("LayerNormalization", &[8, bias]),         // 9
            plain("Transpose", &[9]),                        // 10: [20, 6]
            step("Gather", axis(1), &[10, indices], 1, &[]), // 11: [20, 3]
            plain("ReduceMean", &[11, axes]),                // 12: [20, 1]
            step("Concat", axis(1), &[11, 12], 1, &[]),      // 13: [20, 4]
            step("TopK", axis(1), &[13, k], 2, &[]),         // 14, 15: [20, 2]
            plain("Shape", &[13]),                           // 16
            plain("Gemm", &[14, 13]),                        // 17: refused below, replaced
        ],
        &[14, 15, 16, 17],
    );
    main.steps[10] = step("Gemm", Attrs::new().with_int("transA", 1), &[14, 13], 1, &[]);
    main.params[0] = Some(f32_of(&[6, 300]));
    (b.program(1, 4, vec![main]), vec![noise(&[6, 300], 3)])
}

/// If in Loop, values passed through iterations and from outside.
fn control() -> (Program, Vec<Tensor>) {
    let mut b = Builder::default();
    let trips = b.constant(&Tensor::scalar(4i64), Layout::RowMajor);
    let yes = b.constant(&Tensor::from_bools(&[], &[true]), Layout::RowMajor);
    let two = b.constant(&Tensor::scalar(2i64), Layout::RowMajor);
    // Values: 0..3 constants; 3 x; main steps: 4 Relu, 5 5 Loop (two outputs: 5, 6), 7 Add.
    let main = block(
        1,
        vec![
            plain("Relu", &[3]),
            step("Loop", Attrs::new(), &[trips, yes, 4, 3], 2, &[1]),
            plain("Add", &[5, 6]),
        ],
        &[7],
    );
    // Block 1, values from 8: iteration 8, condition 9, carried 10, 11; Less 12, If 13, Identity 14.
    let body = block(
        4,
        vec![plain("Less", &[8, two]), step("If", Attrs::new(), &[12], 1, &[2, 3]), plain("Identity", &[9])],
        &[14, 13, 11],
    );
    // Block 2: 15 = Mul(10, 11); block 3: 16 = Sub(10, 4), 17 = Neg(16).
    let then = block(0, vec![plain("Mul", &[10, 11])], &[15]);
    let other = block(0, vec![plain("Sub", &[10, 4]), plain("Neg", &[16])], &[17]);
    let mut blocks = vec![main, body, then, other];
    blocks[0].params[0] = Some(f32_of(&[3, 5]));
    (b.program(1, 1, blocks), vec![noise(&[3, 5], 9)])
}

/// A scan with a state and slices.
fn scan() -> (Program, Vec<Tensor>) {
    let mut b = Builder::default();
    let start = b.constant(&noise(&[4], 21), Layout::RowMajor);
    // Values: 0 constant; 1 x; 2, 3 Scan; 4 Exp. Body from 5: state 5, slice 6; Add 7, Tanh 8.
    let attrs = Attrs::new()
        .with_int("num_scan_inputs", 1)
        .with_ints("scan_input_directions", &[1])
        .with_ints("scan_output_axes", &[-1]);
    let mut main = block(1, vec![step("Scan", attrs, &[start, 1], 2, &[1]), plain("Exp", &[3])], &[2, 4]);
    main.params[0] = Some(f32_of(&[3, 4]));
    let body = block(2, vec![plain("Add", &[5, 6]), plain("Tanh", &[7])], &[7, 8]);
    (b.program(1, 2, vec![main, body]), vec![noise(&[3, 4], 22)])
}

/// A run that ends in a fault.
fn faulty() -> (Program, Vec<Tensor>) {
    let b = Builder::default();
    let mut main = block(2, vec![plain("Neg", &[0]), plain("Div", &[2, 1]), plain("Abs", &[3])], &[4]);
    main.params = vec![Some(SymType::new(DType::I64, vec![3i64.into()])); 2];
    let inputs = vec![Tensor::from_slice(&[3], &[7i64, 8, 9]), Tensor::from_slice(&[3], &[1i64, 0, 2])];
    (b.program(2, 1, vec![main]), inputs)
}

/// Large enough for trees of leaves and of chunks.
fn wide() -> (Program, Vec<Tensor>) {
    let mut b = Builder::default();
    let w = b.constant(&noise(&[5000, 3], 1), Layout::RowMajor);
    let one = b.constant(&Tensor::from_slice(&[1], &[1i64]), Layout::RowMajor);
    let mut main = block(
        1,
        vec![
            plain("MatMul", &[2, w]),
            plain("ReduceSum", &[2, one]),
            plain("Softmax", &[2]),
            plain("ReduceMax", &[2, one]),
            plain("Exp", &[2]),
        ],
        &[3, 4, 5, 6, 7],
    );
    main.params[0] = Some(f32_of(&[2, 5000]));
    (b.program(1, 5, vec![main]), vec![noise(&[2, 5000], 5)])
}

/// Operators whose elements have terms beneath terms.
fn deep() -> (Program, Vec<Tensor>) {
    let mut b = Builder::default();
    let [w, r, kernel] = [(&[1, 12, 8][..], 1), (&[1, 12, 4], 2), (&[2, 1, 3, 3], 3)]
        .map(|(shape, seed)| b.constant(&noise(shape, seed), Layout::RowMajor));
    let lengths = b.constant(&Tensor::from_slice(&[2], &[6i32, 4]), Layout::RowMajor);
    let scales = b.constant(&Tensor::from_slice(&[4], &[1.0f32, 1.0, 1.5, 2.0]), Layout::RowMajor);
    let rows = b.constant(&Tensor::from_slice(&[2, 1], &[5i64, 1]), Layout::RowMajor);
    // Inputs 6: [1, 2, 6, 8], 7: [6, 2, 8], 8: [2, 2, 8]; steps from 9.
    let heads = Attrs::new().with_int("is_causal", 1);
    let mut gru = step("GRU", Attrs::new(), &[7, w, r, lengths], 2, &[]);
    gru.inputs = [Some(7), Some(w), Some(r), None, Some(lengths)].map(|v| v.map(ValueId)).to_vec();
    let mut resize = step("Resize", Attrs::new().with_str("mode", "linear"), &[6, scales], 1, &[]);
    resize.inputs = [Some(6), None, Some(scales)].map(|v| v.map(ValueId)).to_vec();
    let pool = Attrs::new().with_ints("kernel_shape", &[2, 3]);
    let steps = vec![
        step("Attention", heads, &[6, 6, 6], 1, &[]), // 9
        gru,                                          // 10, 11
        resize,                                       // 12
        step("ConvTranspose", Attrs::new().with_ints("strides", &[2, 1]), &[6, kernel], 1, &[]), // 13
        step("Einsum", Attrs::new().with_str("equation", "abcd,cbd->ac"), &[9, 7], 1, &[]), // 14
        step("MaxPool", pool.clone(), &[12], 2, &[]), // 15, 16
        step("AveragePool", pool, &[12], 1, &[]),     // 17
        step("ArgMax", Attrs::new().with_int("axis", 1), &[14], 1, &[]), // 18
        step("DynamicQuantizeLinear", Attrs::new(), &[9], 3, &[]), // 19, 20, 21
        step("ScatterND", Attrs::new(), &[7, rows, 8], 1, &[]), // 22
    ];
    let mut main = block(3, steps, &[10, 11, 13, 15, 16, 17, 18, 19, 20, 21, 22]);
    main.params = vec![Some(f32_of(&[1, 2, 6, 8])), Some(f32_of(&[6, 2, 8])), Some(f32_of(&[2, 2, 8]))];
    let inputs = vec![noise(&[1, 2, 6, 8], 7), noise(&[6, 2, 8], 8), noise(&[2, 2, 8], 9)];
    (b.program(3, 11, vec![main]), inputs)
}

static PROGRAMS: LazyLock<Vec<(Program, Vec<Tensor>)>> =
    LazyLock::new(|| vec![layers(), control(), faulty(), wide(), scan(), deep()]);

thread_local! {
    static STAGES: [OnceCell<&'static Stage<'static>>; 6] = const { [const { OnceCell::new() }; 6] };
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
}

/// Control-flow steps' own faults are not decided.
fn may_stay_open(which: usize, kind: Kind) -> bool {
    matches!(which, 1 | 4) && kind == Kind::Fault
}

fn play(which: usize, kind: Kind, step: Option<u64>, seed: u64, liar: Party) {
    let scenario = Scenario { kind, step, seed, liar };
    let outcome = match stage(which).play(&scenario) {
        Ok(outcome) => outcome,
        Err(SimulateError::NoLie { .. }) => return,
        Err(error) => panic!("{which} {scenario:?}: {error}"),
    };
    let verdict = &outcome.verdict;
    if may_stay_open(which, kind) {
        assert_ne!(verdict.loser, loser(liar.other()), "{which} {scenario:?}: {verdict:?}");
    } else {
        assert_eq!(verdict.loser, loser(liar), "{which} {scenario:?}: {verdict:?}");
    }
    check_transcript(&outcome);
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 1200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_honest_party_never_loses(
        which in 0..6usize, kind in 0..Kind::ALL.len(), seed: u64, first: bool,
    ) {
        play(which, Kind::ALL[kind], None, seed, if first { Party::First } else { Party::Second });
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 700, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_liars_come_to_an_end(which in 0..6usize, a in 0..Kind::ALL.len(), b in 0..Kind::ALL.len(), seed: u64) {
        let scenario = |kind, liar, seed| Scenario { kind: Kind::ALL[kind], step: None, seed, liar };
        let (a, b) = (scenario(a, Party::First, seed), scenario(b, Party::Second, !seed));
        match stage(which).play_liars([&a, &b]) {
            Ok(outcome) => check_transcript(&outcome),
            Err(SimulateError::NoLie { .. } | SimulateError::Open(NoDispute::Agreement)) => {}
            Err(error) => panic!("{error}"),
        }
    }
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
        b"repops.move.0\0\0\0".to_vec(),
        by(3, id, 0),
        by(1, other.referee.id(), 0),
    ] {
        assert!(matches!(recorded.receive(20, &bytes), Received::Ignored(_)));
    }
    assert_eq!(recorded.referee.verdict(), None);
    assert_eq!(recorded.transcript.events, []);
    // The party itself is held to what it signs.
    for (round, reason) in [(0, Reason::Malformed), (1, Reason::OutOfTurn)] {
        let mut again = recorded.clone();
        assert_eq!(again.receive(20, &by(1, id, round)), Received::Accepted);
        let verdict = again.referee.verdict().unwrap();
        assert_eq!((verdict.loser, &verdict.reason), (Loser::First, &reason));
    }
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
    assert_eq!(control, 3);
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
        for _ in 0..60 {
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
