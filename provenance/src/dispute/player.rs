//! A party that can answer: it has the program, the inputs and its trace, and runs the program again for
//! whatever else is asked.
//!
//! Invariant: what it says of the disputed step follows from the step's inputs by the rules of
//! `repops::ops::dispute`; what it opens is what the judgement asked for and nothing more.

use std::collections::{BTreeMap, BTreeSet};

use repops::digest::{LEAF_BYTES, Layout, leaf_hash, tensor_digest};
use repops::exec::{ExecError, Executor, HashLevel, Observer, StepEvent};
use repops::ops::dispute::{Evaluator, OpenInputs, Stop, Subject, Term, WHOLE_BYTES_MAX, bits_at};
use repops::ops::{self, Fault};
use repops::program::{Part, Program};
use repops::trace::{Frame, StepRecord, Trace};
use repops::{Digest, Tensor, TensorView};

use super::ask::{Ask, Tree};
use super::facts::{BlockPlan, Facts, Gap, Plan, TensorHeader, row_major, stored_offset};
use super::judge::decide;
use super::kept::Checkpoints;
use super::message::{Body, Evidence, Party, TensorEvidence};
use super::referee::Referee;
use super::{partial, section};

/// Why a party cannot answer.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum PlayerError {
    #[error(transparent)]
    Execution(#[from] ExecError),
    #[error("{0} is not known here")]
    Unknown(&'static str),
    #[error("a term: {0}")]
    Term(#[from] Stop),
    #[error("the program: {0}")]
    Program(#[from] repops::program::ProgramError),
}

/// A tensor's stored bytes.
#[derive(Clone, Debug)]
struct Stored {
    header: TensorHeader,
    bytes: Vec<u8>,
}

/// One party's knowledge.
pub struct Player<'a> {
    program: &'a Program,
    inputs: &'a [Tensor],
    executor: &'a dyn Executor,
    parts: Vec<Vec<u8>>,
    records: Vec<StepRecord>,
    digests: Vec<Digest>,
    tensors: BTreeMap<Digest, Stored>,
    /// Values put in place of what the rules give: a fault of this party.
    presets: Vec<(Term, u64)>,
    kept: Checkpoints,
    /// The step whose terms are evaluated.
    step: Option<(u64, Evaluator, Vec<Option<Tensor>>)>,
    /// Looking for slices of scanned tensors, which themselves are no slices.
    is_searching: bool,
    /// Steps that were run again.
    pub steps_rerun: u64,
}

impl<'a> Player<'a> {
    /// A party that ran `program` on `inputs` and got `trace`.
    pub fn new(
        program: &'a Program,
        inputs: &'a [Tensor],
        trace: Trace,
        executor: &'a dyn Executor,
    ) -> Player<'a> {
        let digests = trace.records.iter().map(StepRecord::digest).collect();
        Player {
            program,
            inputs,
            executor,
            parts: program.digest_leaves(),
            records: trace.records,
            digests,
            tensors: BTreeMap::new(),
            presets: Vec::new(),
            kept: Checkpoints::default(),
            step: None,
            is_searching: false,
            steps_rerun: 0,
        }
    }

    pub(super) fn program(&self) -> &'a Program {
        self.program
    }

    /// Gives it checkpoints of its run.
    pub fn keep_checkpoints(&mut self, kept: Checkpoints) {
        self.kept = kept;
    }

    /// Makes this party's computation faulty at a term of the disputed step.
    pub fn preset(&mut self, term: Term, bits: u64) {
        self.presets.push((term, bits));
    }

    /// Gives it a tensor that no run gives.
    pub fn keep(&mut self, tensor: &Tensor) -> Digest {
        let digest = tensor_digest(tensor.view());
        self.store(digest, tensor.view(), Layout::RowMajor);
        digest
    }

    fn store(&mut self, digest: Digest, view: TensorView<'_>, layout: Layout) {
        let header = TensorHeader { dtype: view.dtype, layout, shape: view.shape.to_vec() };
        self.tensors.insert(digest, Stored { header, bytes: view.bytes.to_vec() });
    }

    /// Makes sure that tensors with these digests are at hand, running the program again where they are
    /// not; those that no run gives stay unknown.
    fn fetch(&mut self, wanted: &[Digest]) -> Result<(), PlayerError> {
        let mut missing: BTreeSet<Digest> = wanted.iter().copied().collect();
        missing.retain(|digest| !self.tensors.contains_key(digest));
        for (index, decl) in self.program.constants().iter().enumerate() {
            if missing.remove(&decl.digest) {
                let bytes = self.program.constant_bytes(repops::program::ConstantId(index as u32));
                let view = TensorView { dtype: decl.dtype, shape: &decl.shape, bytes };
                self.store(decl.digest, view, decl.layout);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        for input in self.inputs {
            let mut input = input.clone();
            input.canonicalize();
            let digest = tensor_digest(input.view());
            if missing.remove(&digest) {
                self.store(digest, input.view(), Layout::RowMajor);
            }
        }
        self.block_parameters(&mut missing);
        let mut at: BTreeMap<(u64, usize), Digest> = BTreeMap::new();
        for (index, record) in self.records.iter().enumerate() {
            for (output, digest) in record.outputs.iter().enumerate() {
                if missing.remove(digest) {
                    at.insert((index as u64, output), *digest);
                }
            }
        }
        // From the checkpoint before it each.
        let mut groups: BTreeMap<Option<usize>, BTreeMap<(u64, usize), Digest>> = BTreeMap::new();
        for (key, digest) in at {
            groups.entry(self.kept.before(key.0)).or_default().insert(key, digest);
        }
        for (checkpoint, wanted) in groups {
            self.run_again(checkpoint, &wanted)?;
        }
        self.scanned_slices(&mut missing)
    }

    /// Runs the program from a checkpoint, or from the start, until it has the wanted outputs.
    fn run_again(
        &mut self,
        checkpoint: Option<usize>,
        wanted: &BTreeMap<(u64, usize), Digest>,
    ) -> Result<(), PlayerError> {
        let Some(last) = wanted.keys().next_back().map(|key| key.0) else { return Ok(()) };
        let section = checkpoint.and_then(|at| self.section(at, last));
        let first = if section.is_some() { checkpoint.map_or(0, |at| self.kept.list[at].records) } else { 0 };
        let mut catcher = Catcher { at: wanted, first, last, found: Vec::new(), steps: 0 };
        let ran = match &section {
            Some((program, inputs)) => self.executor.execute(program, inputs, HashLevel::None, &mut catcher),
            None => self.executor.execute(self.program, self.inputs, HashLevel::None, &mut catcher),
        };
        match ran {
            Ok(_) | Err(ExecError::Interrupted) => {}
            Err(error) => return Err(error.into()),
        }
        self.steps_rerun += catcher.steps;
        for (digest, tensor) in catcher.found {
            self.store(digest, tensor.view(), Layout::RowMajor);
        }
        Ok(())
    }

    /// The steps from a checkpoint to the one with a record, and what they read.
    fn section(&self, checkpoint: usize, last: u64) -> Option<(Program, Vec<Tensor>)> {
        let from = self.kept.list.get(checkpoint)?;
        let end = self.records.get(last as usize)?.path.first()?.step as usize + 1;
        let first_input = self.program.first_param(repops::program::BlockId(0)).index();
        let known = |value: repops::program::ValueId| match from.live.get(&value) {
            Some(tensor) => Some(&**tensor),
            None => value.index().checked_sub(first_input).and_then(|input| self.inputs.get(input)),
        };
        let section = section::of_main(self.program, from.steps..end.max(from.steps), known)?.ok()?;
        let inputs = section.inputs.iter().filter_map(|value| known(*value).cloned()).collect();
        Some((section.program, inputs))
    }

    /// Keeps what blocks are given and no step puts out: iteration numbers, and conditions that hold.
    fn block_parameters(&mut self, missing: &mut BTreeSet<Digest>) {
        let frames = self.records.iter().flat_map(|record| &record.path);
        let iterations: BTreeSet<u64> = frames.map(|frame| frame.iteration).collect();
        for iteration in iterations {
            self.keep_if(missing, Tensor::scalar(iteration as i64));
        }
        self.keep_if(missing, Tensor::from_bools(&[], &[true]));
    }

    /// Keeps slices of scanned tensors that are among the digests.
    fn scanned_slices(&mut self, missing: &mut BTreeSet<Digest>) -> Result<(), PlayerError> {
        if missing.is_empty() || self.is_searching {
            return Ok(());
        }
        self.is_searching = true;
        let found = self.search_scans(missing);
        self.is_searching = false;
        found
    }

    fn search_scans(&mut self, missing: &mut BTreeSet<Digest>) -> Result<(), PlayerError> {
        let scans: Vec<StepRecord> = self.records.iter().filter(|r| r.op == ops::SCAN).cloned().collect();
        for record in scans {
            // A liar's records need not be those of its program.
            let step = crate::diff::step_at(self.program, &record.path).filter(|step| step.op == ops::SCAN);
            let Some(step) = step else { continue };
            let scanned = usize::try_from(step.attrs.int("num_scan_inputs")).unwrap_or(0);
            let first = record.inputs.len().saturating_sub(scanned);
            let axes =
                step.attrs.opt_ints("scan_input_axes").map_or_else(|| vec![0; scanned], <[i64]>::to_vec);
            let Ok(sources) = self.tensors_of(&record.inputs[first..]) else { continue };
            for (tensor, axis) in sources.iter().flatten().zip(axes) {
                let Ok(axis) = ops::infer::normalize_axis(axis, tensor.shape().len()) else { continue };
                for at in 0..tensor.shape()[axis] {
                    if missing.is_empty() {
                        return Ok(());
                    }
                    if let Ok(slice) = repops::control::slice(tensor, axis, at) {
                        self.keep_if(missing, slice);
                    }
                }
            }
        }
        Ok(())
    }

    fn keep_if(&mut self, missing: &mut BTreeSet<Digest>, tensor: Tensor) {
        if missing.remove(&tensor_digest(tensor.view())) {
            self.keep(&tensor);
        }
    }

    fn stored(&mut self, digest: Digest) -> Result<&Stored, PlayerError> {
        self.fetch(&[digest])?;
        self.tensors.get(&digest).ok_or(PlayerError::Unknown("a tensor"))
    }

    /// The answer to what the referee asks.
    pub fn answer(&mut self, referee: &Referee, party: Party) -> Result<Body, PlayerError> {
        Ok(match referee.ask() {
            Ask::Frontier { common } => Body::Frontier(partial::frontier_hashes(&self.digests, *common)),
            Ask::Nodes { tree: Tree::Trace, first, height, levels } => {
                let nodes = partial::nodes(&self.digests, *first, *height, *levels);
                Body::Nodes(nodes.ok_or(PlayerError::Unknown("a node of the trace"))?)
            }
            Ask::Nodes { tree: Tree::Output, first, height, levels } => {
                let hashes = self.output_leaves(referee, party)?;
                let nodes = partial::nodes(&hashes, *first, *height, *levels);
                Body::Nodes(nodes.ok_or(PlayerError::Unknown("a node of the output"))?)
            }
            Ask::Record { index } => {
                let record = self.records.get(*index as usize).ok_or(PlayerError::Unknown("a record"))?;
                Body::Record(record.encode())
            }
            Ask::Tensor { .. } => {
                // One run for the tensor and for what its elements will be computed from.
                if let Some(records) = referee.records() {
                    let record = &records[party as usize];
                    let inputs = record.inputs.iter().flatten();
                    self.fetch(&inputs.chain(&record.outputs).copied().collect::<Vec<_>>())?;
                }
                let hashes = self.output_leaves(referee, party)?;
                let frontier = partial::frontier_hashes(&hashes, hashes.len() as u64);
                let header = &self.output(referee, party)?.header;
                let shape = header.shape.iter().map(|&d| d as u64).collect();
                Body::Output { dtype: header.dtype, shape, hashes: frontier }
            }
            Ask::Leaf { index } => {
                let bytes = &self.output(referee, party)?.bytes;
                let leaf = bytes.chunks(LEAF_BYTES).nth(*index as usize);
                Body::Leaf(leaf.ok_or(PlayerError::Unknown("a leaf"))?.to_vec())
            }
            Ask::Claims { terms } => Body::Claims(self.claims(referee, terms)?),
            Ask::Witness => self.witness(referee, party)?,
            Ask::Evidence(question) => {
                let index = referee.records().and(referee.place()).map_or(u64::MAX, |p| p.index);
                if let Some(records) = referee.records().filter(|_| index != u64::MAX) {
                    let digests: Vec<Digest> = records[0].inputs.iter().flatten().copied().collect();
                    self.fetch(&digests)?;
                }
                // What the judgement finds is the referee's business; what it reads is asked for.
                Body::Evidence(self.evidence(|facts| drop(decide(&referee.context(), question, facts))))
            }
        })
    }

    /// The disputed tensor as this party has it.
    fn output(&mut self, referee: &Referee, party: Party) -> Result<&Stored, PlayerError> {
        let records = referee.records().ok_or(PlayerError::Unknown("the record"))?;
        let of = match referee.ask() {
            Ask::Tensor { of } => Some(*of),
            _ => referee.disputed(),
        };
        let digest = of.and_then(|of| of.digest(&records[party as usize]));
        self.stored(digest.ok_or(PlayerError::Unknown("the disputed tensor"))?)
    }

    fn output_leaves(&mut self, referee: &Referee, party: Party) -> Result<Vec<Digest>, PlayerError> {
        Ok(self.output(referee, party)?.bytes.chunks(LEAF_BYTES).map(leaf_hash).collect())
    }

    /// The inputs of the step under dispute, row-major.
    fn step_inputs(&mut self, referee: &Referee) -> Result<Vec<Option<Tensor>>, PlayerError> {
        let records = referee.records().ok_or(PlayerError::Unknown("the record"))?;
        self.tensors_of(&records[0].inputs)
    }

    /// Tensors by their digests, row-major.
    pub fn tensors_of(&mut self, digests: &[Option<Digest>]) -> Result<Vec<Option<Tensor>>, PlayerError> {
        self.fetch(&digests.iter().flatten().copied().collect::<Vec<_>>())?;
        let tensor = |digest: &Option<Digest>| {
            let Some(digest) = digest else { return Ok(None) };
            let stored = self.tensors.get(digest).ok_or(PlayerError::Unknown("an input"))?;
            row_major(&stored.header, &stored.bytes).map(Some).map_err(|_| PlayerError::Unknown("an input"))
        };
        digests.iter().map(tensor).collect()
    }

    /// Evaluates terms of the step under dispute.
    pub fn claims(&mut self, referee: &Referee, terms: &[Term]) -> Result<Vec<u64>, PlayerError> {
        let place = referee.place().ok_or(PlayerError::Unknown("the step"))?;
        let (inputs, outputs) = referee.types().ok_or(PlayerError::Unknown("the types"))?;
        if self.step.as_ref().is_none_or(|step| step.0 != place.index) {
            let tensors = self.step_inputs(referee)?;
            let mut evaluator = Evaluator::default();
            self.presets.iter().for_each(|(term, bits)| evaluator.set(*term, *bits));
            if self.presets.is_empty() {
                let step = &place.step;
                let region = step.region.as_ref();
                evaluator.run_ahead(
                    &Subject { def: step.def(), attrs: &step.attrs, region, inputs, outputs },
                    &tensors,
                )?;
            }
            self.step = Some((place.index, evaluator, tensors));
        }
        let Some((_, evaluator, tensors)) = &mut self.step else { return Ok(Vec::new()) };
        let step = &place.step;
        let subject =
            Subject { def: step.def(), attrs: &step.attrs, region: step.region.as_ref(), inputs, outputs };
        let mut open = OpenInputs(tensors);
        terms.iter().map(|term| Ok(evaluator.value(&subject, *term, &mut open)?)).collect()
    }

    /// The element that meets the fault this party claims.
    fn witness(&mut self, referee: &Referee, party: Party) -> Result<Body, PlayerError> {
        let place = referee.place().ok_or(PlayerError::Unknown("the step"))?;
        let claimed = referee.records().and_then(|records| records[party as usize].fault);
        let whole = Body::Witness { output: 0, element: u64::MAX };
        let tensors = self.step_inputs(referee)?;
        let bytes: usize = tensors.iter().flatten().map(|t| t.bytes().len()).sum();
        if bytes <= WHOLE_BYTES_MAX / 2 {
            return Ok(whole);
        }
        let step = &place.step;
        let views: Vec<_> = tensors.iter().map(|t| t.as_ref().map(Tensor::view)).collect();
        let Ok(inferred) = ops::infer_known(step.def(), &step.attrs, &views, step.outputs.len()) else {
            return Ok(whole);
        };
        let ty = |t: &Tensor| ops::dispute::TensorType::new(t.dtype(), t.shape());
        let inputs: Vec<_> = tensors.iter().map(|t| t.as_ref().map(ty)).collect();
        let outputs: Vec<_> = inferred
            .iter()
            .map(|i| ops::dispute::TensorType::new(i.ty.dtype, &i.ty.extents().unwrap_or_default()))
            .collect();
        let subject = Subject {
            def: step.def(),
            attrs: &step.attrs,
            region: step.region.as_ref(),
            inputs: &inputs,
            outputs: &outputs,
        };
        for (output, ty) in outputs.iter().enumerate() {
            for element in 0..ty.len() as u64 {
                let term = Term::Output { output: output as u32, element };
                let found = ops::dispute::evaluate(&subject, term, &mut OpenInputs(&tensors));
                if is_fault(&found, claimed) {
                    return Ok(Body::Witness { output: output as u32, element });
                }
            }
        }
        Ok(whole)
    }

    /// Opens what a judgement over everything that this party has reads.
    pub(super) fn evidence(&mut self, judgement: impl FnOnce(&mut dyn Facts)) -> Evidence {
        let mut source = Source::new(self);
        judgement(&mut source);
        let log = source.log;
        self.open(&log)
    }

    /// Opens what a judgement read.
    fn open(&self, log: &Log) -> Evidence {
        let opened = |wanted: &BTreeSet<u64>| wanted.iter().copied().collect::<Vec<u64>>();
        let mut evidence = Evidence { part_count: self.parts.len() as u64, ..Evidence::default() };
        if !log.parts.is_empty() {
            let leaves: Vec<Digest> = self.parts.iter().map(|part| leaf_hash(part)).collect();
            evidence.part_hashes = partial::prove(&leaves, &opened(&log.parts));
            evidence.parts = log.parts.iter().map(|&i| (i, self.parts[i as usize].clone())).collect();
        }
        if !log.records.is_empty() {
            evidence.record_hashes = partial::prove(&self.digests, &opened(&log.records));
            evidence.records = log.records.iter().map(|&i| (i, self.records[i as usize].encode())).collect();
        }
        for (digest, wanted) in &log.tensors {
            let Some(stored) = self.tensors.get(digest) else { continue };
            let chunks: Vec<&[u8]> = stored.bytes.chunks(LEAF_BYTES).collect();
            let leaves: Vec<Digest> = chunks.iter().map(|chunk| leaf_hash(chunk)).collect();
            evidence.tensors.push(TensorEvidence {
                dtype: stored.header.dtype,
                layout: stored.header.layout,
                shape: stored.header.shape.iter().map(|&d| d as u64).collect(),
                leaves: wanted.iter().map(|&i| (i, chunks[i as usize].to_vec())).collect(),
                hashes: partial::prove(&leaves, &opened(wanted)),
            });
        }
        evidence
    }
}

fn is_fault(found: &Result<u64, Stop>, claimed: Option<Fault>) -> bool {
    matches!(found, Err(Stop::Operator(ops::OpError::Fault(fault))) if Some(*fault) == claimed)
}

/// Keeps outputs of a run.
struct Catcher<'a> {
    at: &'a BTreeMap<(u64, usize), Digest>,
    /// Records before the first step of the run.
    first: u64,
    last: u64,
    found: Vec<(Digest, Tensor)>,
    steps: u64,
}

impl Observer for Catcher<'_> {
    fn step(&mut self, event: StepEvent<'_>) {
        self.steps = event.index as u64 + 1;
        let index = self.first + event.index as u64;
        for (output, view) in event.outputs.iter().enumerate() {
            if let Some(digest) = self.at.get(&(index, output))
                && let Ok(tensor) = view.to_tensor()
            {
                self.found.push((*digest, tensor));
            }
        }
    }

    fn interrupted(&mut self) -> bool {
        self.first + self.steps > self.last
    }
}

/// What a judgement read.
#[derive(Default)]
struct Log {
    parts: BTreeSet<u64>,
    records: BTreeSet<u64>,
    tensors: BTreeMap<Digest, BTreeSet<u64>>,
}

/// Facts of a party that has everything; remembers what was asked for.
struct Source<'p, 'a> {
    player: &'p mut Player<'a>,
    log: Log,
}

impl<'p, 'a> Source<'p, 'a> {
    fn new(player: &'p mut Player<'a>) -> Source<'p, 'a> {
        Source { player, log: Log::default() }
    }

    fn stored(&mut self, digest: Digest) -> Result<Stored, Gap> {
        let stored = self.player.stored(digest).map_err(|_| Gap::Missing("a tensor"))?.clone();
        self.log.tensors.entry(digest).or_default();
        Ok(stored)
    }
}

impl Facts for Source<'_, '_> {
    fn plan(&mut self) -> Result<Plan, Gap> {
        let program = self.player.program;
        let constants = program.constants().len() as u64;
        // The blocks, and a neighbour on each side that shows that these are all.
        let end = (constants + 1 + program.blocks().len() as u64).min(self.player.parts.len() as u64 - 1);
        self.log.parts.extend(constants..=end);
        let block = |b: &repops::program::Block| BlockPlan {
            params: b.params.len() as u32,
            steps: b.steps.len() as u32,
            results: b.results.clone(),
        };
        Ok(Plan { constants: constants as u32, blocks: program.blocks().iter().map(block).collect() })
    }

    fn part(&mut self, leaf: u64) -> Result<Part, Gap> {
        let part = self.player.parts.get(leaf as usize).ok_or(Gap::Missing("a part"))?;
        let part = Part::decode(part).map_err(|_| Gap::Missing("a part of the program"))?;
        self.log.parts.insert(leaf);
        Ok(part)
    }

    fn producer(&mut self, value: u32) -> Result<u64, Gap> {
        let program = self.player.program;
        let mut leaf = 1 + program.constants().len() as u64 + program.blocks().len() as u64;
        for block in 0..program.blocks().len() as u32 {
            let block = repops::program::BlockId(block);
            for (first, step) in program.first_outputs(block).iter().zip(&program.block(block).steps) {
                if value.checked_sub(first.0).is_some_and(|k| (k as usize) < step.outputs.len()) {
                    self.log.parts.insert(leaf);
                    return Ok(leaf);
                }
                leaf += 1;
            }
        }
        Err(Gap::Missing("the step that gives a value"))
    }

    fn record(&mut self, index: u64) -> Result<StepRecord, Gap> {
        let record = self.player.records.get(index as usize).cloned().ok_or(Gap::Missing("a record"))?;
        self.log.records.insert(index);
        Ok(record)
    }

    fn record_of(&mut self, path: &[Frame], before: u64) -> Result<StepRecord, Gap> {
        let earlier = self.player.records.iter().take(before as usize);
        let index = earlier.enumerate().find(|(_, record)| record.path == path).map(|(i, _)| i as u64);
        self.record(index.ok_or(Gap::Missing("the record of an earlier step"))?)
    }

    fn header(&mut self, tensor: Digest) -> Result<TensorHeader, Gap> {
        Ok(self.stored_header(tensor)?.0)
    }

    fn element(&mut self, tensor: Digest, at: u64) -> Result<u64, Gap> {
        let (header, _) = self.stored_header(tensor)?;
        let offset = stored_offset(&header, at).ok_or(Gap::Stop(Stop::NoTerm))?;
        self.log.tensors.entry(tensor).or_default().insert((offset / LEAF_BYTES) as u64);
        let stored = self.player.tensors.get(&tensor).ok_or(Gap::Missing("a tensor"))?;
        bits_at(header.dtype, &stored.bytes, offset / header.dtype.size()).ok_or(Gap::Stop(Stop::NoTerm))
    }

    fn whole(&mut self, tensor: Digest) -> Result<Tensor, Gap> {
        let (_, bytes) = self.stored_header(tensor)?;
        if bytes > WHOLE_BYTES_MAX {
            return Err(Gap::Stop(Stop::TooLarge { bytes }));
        }
        let stored = self.stored(tensor)?;
        let leaves = 0..stored.bytes.len().div_ceil(LEAF_BYTES) as u64;
        self.log.tensors.entry(tensor).or_default().extend(leaves);
        row_major(&stored.header, &stored.bytes)
    }
}

impl Source<'_, '_> {
    /// Header and number of bytes, without copying the bytes.
    fn stored_header(&mut self, digest: Digest) -> Result<(TensorHeader, usize), Gap> {
        let stored = self.player.stored(digest).map_err(|_| Gap::Missing("a tensor"))?;
        let found = (stored.header.clone(), stored.bytes.len());
        self.log.tensors.entry(digest).or_default();
        Ok(found)
    }
}
