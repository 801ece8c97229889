//! One step of a session: the rows of several sequences through all steps of the program.
//!
//! Rows stand one below the other, feed by feed. Steps of the head run on fewer rows: those whose logits are wanted,
//! which are the last ones of each feed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use repops::exec::HashLevel;
use repops::ops::{self, EvalCtx, OpError};
use repops::program::ValueId;
use repops::reference::unpack;
use repops::sequence::Row;
use repops::sequence::sampling::Functions;
use repops::sequence::trace::Entry;
use repops::tensor::AlignedBytes;
use repops::{DType, Digest, Layout, Tensor, TensorView, TensorViewMut};
use repops_kernels::isa::Isa;
use repops_kernels::sequence::{self, PAGE, Page, Span};
use repops_kernels::{Kernel, KernelCtx, Operand, evaluate_broadcast, evaluate_products, lookup};

use super::cache::{PageBuffer, PagePlace, SequenceState};
use super::hashing::Leaves;
use super::plan::{How, Operands, Place, PlannedStep, Target, constant};
use super::{Feed, Logits, Session, SessionError, Worker};
use crate::step::views;

/// Buffers, kept between steps.
#[derive(Default)]
pub(super) struct Work {
    buffers: Vec<AlignedBytes>,
    leaves: Leaves,
}

/// The rows of a step of the session.
pub(super) struct Batch {
    pub rows: usize,
    /// Rows that the head is computed for, by their number among all.
    pub head: Vec<usize>,
    /// Those of the head that its tail is computed for at present.
    part: Range<usize>,
    /// For each feed its rows among all, and its head rows among those of the head.
    pub feeds: Vec<(Range<usize>, Range<usize>)>,
    /// The program's inputs.
    pub inputs: Vec<AlignedBytes>,
    /// Rows of carried values that the head reads, when it has fewer.
    picked: BTreeMap<ValueId, AlignedBytes>,
}

impl Batch {
    pub fn new(session: &Session, feeds: &[Feed<'_>]) -> Result<Batch, SessionError> {
        let mut batch = Batch {
            rows: 0,
            head: Vec::new(),
            part: 0..0,
            feeds: Vec::new(),
            inputs: Vec::new(),
            picked: BTreeMap::new(),
        };
        let (mut tokens, mut positions): (Vec<i64>, Vec<i64>) = (Vec::new(), Vec::new());
        for feed in feeds {
            let (start, head_start) = (batch.rows, batch.head.len());
            for (at, &token) in feed.tokens.iter().enumerate() {
                let position = feed.state.tokens.len() + at;
                tokens.push(i64::from(token));
                positions.push(position as i64);
                if position >= feed.logits_from {
                    batch.head.push(batch.rows);
                }
                batch.rows += 1;
            }
            batch.feeds.push((start..batch.rows, head_start..batch.head.len()));
        }
        for index in 0..session.program.header().inputs.len() {
            let values = if index == session.sequence.tokens { &tokens } else { &positions };
            batch.inputs.push(AlignedBytes::copy_of(bytemuck::cast_slice(values))?);
        }
        batch.part = 0..batch.head.len();
        Ok(batch)
    }

    /// The number of rows of a value or step.
    pub fn count(&self, head: bool) -> usize {
        if head { self.head.len() } else { self.rows }
    }

    /// The number of rows that a step computes at present.
    fn count_of(&self, step: &PlannedStep) -> usize {
        if step.tail { self.part.len() } else { self.count(step.head) }
    }

    /// Appends the rows to their states, with the leaves of their logs if there are any.
    pub fn append(
        &self,
        feeds: &mut [Feed<'_>],
        log: Option<(Vec<Digest>, Vec<Digest>)>,
        values: AlignedBytes,
        vocabulary: usize,
    ) -> Logits {
        for (feed, (all, of_head)) in feeds.iter_mut().zip(&self.feeds) {
            let state = &mut *feed.state;
            if let Some((carried, heads)) = &log {
                let first_head = all.len() - of_head.len();
                for at in 0..all.len() {
                    let head = (at >= first_head).then(|| heads[of_head.start + at - first_head]);
                    state.entries.push(Entry {
                        token: feed.tokens[at],
                        carried: carried[all.start + at],
                        head,
                    });
                }
            }
            state.tokens.extend_from_slice(feed.tokens);
        }
        let ranges = self.feeds.iter().map(|(_, head)| head.clone()).collect();
        Logits { values, vocabulary, ranges }
    }

    /// Whether the head's rows are others than all rows.
    pub fn picks(&self) -> bool {
        self.head.len() != self.rows
    }
}

impl Worker for Work {
    fn step(&mut self, session: &Session, feeds: &mut [Feed<'_>]) -> Result<Logits, SessionError> {
        let mut batch = self.body(session, feeds)?;
        self.tail(session, &mut batch, feeds)?;
        let values = self.logits(session, &batch)?;
        Ok(self.finish(session, batch, feeds, values))
    }

    fn in_parts(&mut self) -> Option<&mut Work> {
        Some(self)
    }
}

impl Work {
    /// Computes all steps but the tail.
    pub(super) fn body(&mut self, session: &Session, feeds: &mut [Feed<'_>]) -> Result<Batch, SessionError> {
        let plan = &session.plan;
        for feed in feeds.iter_mut() {
            feed.state.reserve(
                feed.tokens.len(),
                &plan.attention,
                &session.budget,
                session.pages.as_ref(),
            )?;
        }
        let mut batch = Batch::new(session, feeds)?;
        self.buffers.resize_with(plan.buffers, AlignedBytes::default);
        self.leaves.begin(batch.rows, batch.head.len());
        self.steps(session, 0..plan.tail, &mut batch, feeds)?;
        Ok(batch)
    }

    /// Waits for what is hashed beside: between two tasks of the pool.
    pub(super) fn settle(&self) {
        self.leaves.settle();
    }

    /// Computes the tail for the batch's part of the head.
    fn tail(
        &mut self,
        session: &Session,
        batch: &mut Batch,
        feeds: &mut [Feed<'_>],
    ) -> Result<(), SessionError> {
        self.steps(session, session.plan.tail..session.plan.steps.len(), batch, feeds)
    }

    /// Computes the tail for some rows of the head; gives their logits.
    pub(super) fn part<'a>(
        &'a mut self,
        session: &'a Session,
        batch: &'a mut Batch,
        feeds: &mut [Feed<'_>],
        part: Range<usize>,
    ) -> Result<&'a [f32], SessionError> {
        batch.part = part;
        self.tail(session, batch, feeds)?;
        self.settle();
        let rows = Rows { session, buffers: &self.buffers, batch };
        let all = rows.in_part(&session.plan.logits);
        Ok(floats(&all[..4 * batch.part.len() * session.sequence.vocabulary]))
    }

    /// Appends what was computed to the states.
    pub(super) fn finish(
        &mut self,
        session: &Session,
        batch: Batch,
        feeds: &mut [Feed<'_>],
        logits: AlignedBytes,
    ) -> Logits {
        let log = (session.level == HashLevel::Operators).then(|| self.leaves.finish());
        batch.append(feeds, log, logits, session.sequence.vocabulary)
    }

    fn steps(
        &mut self,
        session: &Session,
        numbers: Range<usize>,
        batch: &mut Batch,
        feeds: &mut [Feed<'_>],
    ) -> Result<(), SessionError> {
        let traced = session.level == HashLevel::Operators;
        for (index, step) in session.plan.steps[numbers.clone()].iter().enumerate() {
            self.compute(session, step, batch, feeds)?;
            if traced && batch.count_of(step) > 0 {
                self.hash(session, numbers.start + index, step, batch);
            }
        }
        Ok(())
    }

    /// The logits of all rows of the head: a copy, so that their buffer serves again.
    fn logits(&self, session: &Session, batch: &Batch) -> Result<AlignedBytes, SessionError> {
        let bytes = 4 * batch.head.len() * session.sequence.vocabulary;
        let rows = Rows { session, buffers: &self.buffers, batch };
        let all = if bytes == 0 { &[] } else { &rows.all_bytes(&session.plan.logits)[..bytes] };
        Ok(AlignedBytes::copy_of(all)?)
    }

    /// Computes the outputs of a step for its rows.
    fn compute(
        &mut self,
        session: &Session,
        step: &PlannedStep,
        batch: &mut Batch,
        feeds: &mut [Feed<'_>],
    ) -> Result<(), SessionError> {
        let rows = batch.count_of(step);
        if step.head && batch.picks() && rows > 0 {
            self.pick(session, step, batch)?;
        }
        // The outputs' buffers are taken out, so that inputs can be read meanwhile.
        let mut outputs = Vec::with_capacity(step.outputs.len());
        for (target, at) in step.outputs.iter().filter_map(|target| Some((target, target.buffer?))) {
            let mut buffer = std::mem::take(&mut self.buffers[at]);
            let len = rows * target.row.bytes();
            if buffer.capacity() < len {
                buffer = AlignedBytes::zeros(len)?;
            }
            buffer.set_len(len);
            outputs.push(buffer);
        }
        let view = Rows { session, buffers: &self.buffers, batch };
        let result = match &step.how {
            How::Attention(number, shape) => view.attend(step, *number, shape, feeds, &mut outputs[0]),
            _ if rows == 0 => Ok(()),
            how => view.evaluate(step, how, rows, &mut outputs),
        };
        for (at, buffer) in step.outputs.iter().filter_map(|target| target.buffer).zip(outputs) {
            self.buffers[at] = buffer;
        }
        result.map_err(|error| {
            let position = feeds.first().map_or(0, |feed| feed.state.tokens.len());
            SessionError::Step { step: step.name.clone(), position, error }
        })
    }

    /// Copies the head's rows of what a step of the head reads and others have computed.
    fn pick(&self, session: &Session, step: &PlannedStep, batch: &mut Batch) -> Result<(), SessionError> {
        let mut picked = Vec::new();
        for (index, input) in step.inputs.iter().enumerate() {
            let Some(Operands { value, row: Some(row), head: false, .. }) = input else { continue };
            // Keys and values are appended for all rows.
            let carried = matches!(step.how, How::Attention(..)) && index > 0;
            if carried || batch.picked.contains_key(value) {
                continue;
            }
            let rows = Rows { session, buffers: &self.buffers, batch };
            let (size, from) = (row.bytes(), rows.all_bytes(input.as_ref().expect("it is there")));
            let mut bytes = AlignedBytes::zeros(batch.head.len() * size)?;
            for (out, at) in bytes.as_mut_slice().chunks_exact_mut(size.max(1)).zip(&batch.head) {
                out.copy_from_slice(&from[at * size..][..size]);
            }
            picked.push((*value, bytes));
        }
        batch.picked.extend(picked);
        Ok(())
    }

    fn hash(&mut self, session: &Session, index: usize, step: &PlannedStep, batch: &Batch) {
        let view = Rows { session, buffers: &self.buffers, batch };
        let bytes = |target: &Target| {
            let all = match (target.buffer, step.inputs.first()) {
                (Some(buffer), _) => self.buffers[buffer].as_slice(),
                (None, Some(Some(viewed))) => view.read_by(step, viewed),
                (None, _) => unreachable!("a view has an input"),
            };
            &all[..batch.count_of(step) * target.row.bytes()]
        };
        let outputs: Vec<(&Row, &[u8])> = step.outputs.iter().map(|t| (&t.row, bytes(t))).collect();
        let rows = if step.tail { batch.part.clone() } else { 0..batch.count(step.head) };
        self.leaves.add_part(index, step.head, rows, &outputs);
    }
}

/// The values of a batch.
struct Rows<'a> {
    session: &'a Session,
    buffers: &'a [AlignedBytes],
    batch: &'a Batch,
}

impl<'a> Rows<'a> {
    /// The bytes of a value that has rows, as computed.
    fn all_bytes(&self, operand: &Operands) -> &'a [u8] {
        match operand.place {
            Place::Constant(id) => self.session.program.constant_bytes(id),
            Place::Input(at) => self.batch.inputs[at].as_slice(),
            Place::Buffer(at) => self.buffers[at].as_slice(),
        }
    }

    /// The bytes that a step of the head, or another, reads.
    fn read(&self, operand: &Operands, head: bool) -> &'a [u8] {
        if head
            && !operand.head
            && self.batch.picks()
            && let Some(picked) = self.batch.picked.get(&operand.value)
        {
            return picked.as_slice();
        }
        self.all_bytes(operand)
    }

    /// The same, from the first row on that the step computes.
    fn read_by(&self, step: &PlannedStep, operand: &Operands) -> &'a [u8] {
        if step.tail { self.in_part(operand) } else { self.read(operand, step.head) }
    }

    /// What the tail reads, from the first row of the part on. Values of the tail are those of the part alone.
    fn in_part(&self, operand: &Operands) -> &'a [u8] {
        let first = if operand.tail { 0 } else { self.batch.part.start };
        &self.read(operand, true)[first * operand.row.as_ref().map_or(0, Row::bytes)..]
    }

    fn evaluate(
        &self,
        step: &PlannedStep,
        how: &How,
        rows: usize,
        outputs: &mut [AlignedBytes],
    ) -> Result<(), OpError> {
        let session = self.session;
        let (in_shapes, out_shapes) = shapes(step, rows);
        let operands = operands(session, step, &in_shapes, |operand| {
            let row_bytes = operand.row.as_ref().map_or(0, Row::bytes);
            &self.read_by(step, operand)[..rows * row_bytes]
        });
        let mut targets = targets(step, &out_shapes, outputs);
        compute_on_host(session, step, how, &operands, &out_shapes, &mut targets)
    }

    /// Appends keys and values of all rows, and attends for the rows of the step.
    fn attend(
        &self,
        step: &PlannedStep,
        number: usize,
        shape: &sequence::AttentionShape,
        feeds: &mut [Feed<'_>],
        output: &mut AlignedBytes,
    ) -> Result<(), OpError> {
        let input = |index: usize| step.inputs[index].as_ref().expect("attention has three inputs");
        let (k, v) = (floats(self.all_bytes(input(1))), floats(self.all_bytes(input(2))));
        let (k_row, v_row) = (shape.kv_heads * shape.d, shape.kv_heads * shape.e);
        for (feed, (rows, _)) in feeds.iter_mut().zip(&self.batch.feeds) {
            append(shape, feed.state, number, rows.len(), &k[rows.start * k_row..], &v[rows.start * v_row..]);
        }
        let rows = self.batch.count(step.head);
        if rows == 0 {
            return Ok(());
        }
        let q = floats(self.read(input(0), step.head));
        let pages: Vec<Vec<Page<'_>>> =
            feeds.iter().map(|feed| feed.state.pages[number].iter().map(page).collect()).collect();
        let spans: Vec<Span<'_>> = feeds
            .iter()
            .zip(&self.batch.feeds)
            .zip(&pages)
            .map(|((feed, (all, head)), pages)| {
                let rows = if step.head { head.clone() } else { all.clone() };
                let position = feed.state.tokens.len() + all.len() - rows.len();
                Span { rows, position, pages }
            })
            .filter(|span| !span.rows.is_empty())
            .collect();
        let columns = shape.heads * shape.d;
        let out = floats_mut(output.as_mut_slice());
        sequence::attend(self.session.runtime.isa, shape, &q[..rows * columns], out, &spans);
        Ok(())
    }
}

/// The shapes of a step's inputs and outputs for so many rows; those of constants are not asked for.
pub(super) fn shapes(step: &PlannedStep, rows: usize) -> (Vec<Vec<usize>>, Vec<Vec<usize>>) {
    let full = |row: &Row| [&[rows], row.shape.as_slice()].concat();
    let of =
        |input: &Option<Operands>| input.as_ref().and_then(|i| i.row.as_ref()).map(full).unwrap_or_default();
    let outputs = step.outputs.iter().map(|target| full(&target.row)).collect();
    (step.inputs.iter().map(of).collect(), outputs)
}

/// A step's operands: constants as the program has them, rows of these shapes with the bytes that `bytes` says, input by input.
pub(super) fn operands<'a>(
    session: &'a Session,
    step: &PlannedStep,
    shapes: &'a [Vec<usize>],
    mut bytes: impl FnMut(&Operands) -> &'a [u8],
) -> Vec<Option<Operand<'a>>> {
    let mut of = |(input, shape): (&Option<Operands>, &'a Vec<usize>)| {
        let input = input.as_ref()?;
        Some(match (&input.row, input.place) {
            (None, Place::Constant(id)) => constant(&session.program, id),
            (row, _) => {
                let row = row.as_ref().expect("what is no constant has rows");
                Operand { dtype: row.dtype, shape, bytes: bytes(input), layout: Layout::RowMajor }
            }
        })
    };
    step.inputs.iter().zip(shapes).map(&mut of).collect()
}

/// A step's outputs in the buffers of those that have one.
pub(super) fn targets<'a>(
    step: &PlannedStep,
    shapes: &'a [Vec<usize>],
    buffers: &'a mut [AlignedBytes],
) -> Vec<TensorViewMut<'a>> {
    let owned = step.outputs.iter().zip(shapes).filter(|(target, _)| target.buffer.is_some());
    let view = |(buffer, (target, shape)): (&'a mut AlignedBytes, (&Target, &'a Vec<usize>))| TensorViewMut {
        dtype: target.row.dtype,
        shape,
        bytes: buffer.as_mut_slice(),
    };
    buffers.iter_mut().zip(owned).map(view).collect()
}

/// Computes a step that is no attention from operands at hand.
pub(super) fn compute_on_host(
    session: &Session,
    step: &PlannedStep,
    how: &How,
    operands: &[Option<Operand<'_>>],
    out_shapes: &[Vec<usize>],
    targets: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    match how {
        How::Kernel(kernel) => {
            let ctx = KernelCtx::new(session.runtime.isa, &step.attrs);
            kernel(&ctx, operands, targets)
        }
        How::Region(kernel) => {
            evaluate_broadcast(kernel.as_ref(), &out_shapes[0], &views(operands), targets);
            Ok(())
        }
        How::Products(kernel, region) => {
            evaluate_products(session.runtime.isa, region, kernel.as_ref(), operands, targets)
        }
        How::View => {
            // Where the view has no place of its own there is nothing to do.
            if let Some(target) = targets.first_mut() {
                let from = operands.first().and_then(Option::as_ref).expect("a view has an input");
                target.bytes.copy_from_slice(from.bytes);
            }
            Ok(())
        }
        How::Reference => by_reference(step, operands, targets),
        How::Attention(..) => unreachable!("attention has its own way"),
    }
}

fn by_reference(
    step: &PlannedStep,
    operands: &[Option<Operand<'_>>],
    targets: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let mut unpacked: Vec<Option<Tensor>> = Vec::new();
    for operand in operands {
        unpacked.push(match operand {
            Some(o) if o.layout != Layout::RowMajor => Some(unpack(o.dtype, o.shape, o.layout, o.bytes)?),
            _ => None,
        });
    }
    let views: Vec<Option<TensorView<'_>>> = operands
        .iter()
        .zip(&unpacked)
        .map(|(operand, tensor)| match (operand, tensor) {
            (_, Some(tensor)) => Some(tensor.view()),
            (Some(o), None) => Some(TensorView { dtype: o.dtype, shape: o.shape, bytes: o.bytes }),
            (None, None) => None,
        })
        .collect();
    let (op, version) = step.op;
    let def = ops::by_id(op, version).expect("a checked program names operators of the table");
    let computed = def.evaluate(&EvalCtx { attrs: &step.attrs, inputs: &views, outputs: targets.len() })?;
    for (target, tensor) in targets.iter_mut().zip(computed) {
        if target.dtype != tensor.dtype() || target.shape != tensor.shape() {
            return Err(OpError::shape("the operator gave another shape than was proven"));
        }
        target.bytes.copy_from_slice(tensor.bytes());
    }
    Ok(())
}

fn page(page: &Arc<PageBuffer>) -> Page<'_> {
    match &page.place {
        PagePlace::Host { keys, values } => {
            Page { keys: floats(keys.as_slice()), values: floats(values.as_slice()) }
        }
        PagePlace::Slot(_) => unreachable!("a session takes states with pages of its own alone"),
    }
}

/// Appends `count` rows of keys and values to a state's pages, which have room.
pub(super) fn append(
    shape: &sequence::AttentionShape,
    state: &mut SequenceState,
    number: usize,
    count: usize,
    k: &[f32],
    v: &[f32],
) {
    let (k_row, v_row) = (shape.kv_heads * shape.d, shape.kv_heads * shape.e);
    let first = state.tokens.len();
    let mut done = 0;
    while done < count {
        let (page, at) = ((first + done) / PAGE, (first + done) % PAGE);
        let n = (PAGE - at).min(count - done);
        let page = Arc::get_mut(&mut state.pages[number][page]).expect("reserved for this sequence alone");
        let (k, v) = (&k[done * k_row..][..n * k_row], &v[done * v_row..][..n * v_row]);
        let PagePlace::Host { keys, values } = &mut page.place else {
            unreachable!("a session takes states with pages of its own alone")
        };
        let keys = floats_mut(keys.as_mut_slice());
        sequence::append(shape, k, v, at, keys, floats_mut(values.as_mut_slice()));
        done += n;
    }
}

pub(super) fn floats(bytes: &[u8]) -> &[f32] {
    bytemuck::cast_slice(bytes)
}

fn floats_mut(bytes: &mut [u8]) -> &mut [f32] {
    bytemuck::cast_slice_mut(bytes)
}

/// The functions of sampling, by kernels.
pub struct Vectorized {
    isa: Isa,
    exp: Option<Kernel>,
    log: Option<Kernel>,
    attrs: repops::attrs::Attrs,
}

impl Vectorized {
    pub fn new(isa: Isa) -> Vectorized {
        let kernel = |name: &str| {
            let def = ops::by_name(name)?;
            lookup(def.id, def.version, &[Some(DType::F32)])
        };
        Vectorized { isa, exp: kernel("Exp"), log: kernel("Log"), attrs: repops::attrs::Attrs::new() }
    }

    fn apply(&self, kernel: Option<Kernel>, values: &mut [f32], plain: fn(f32) -> f32) {
        let shape = [values.len()];
        let input = values.to_vec();
        let operand = Operand {
            dtype: DType::F32,
            shape: &shape,
            bytes: bytemuck::cast_slice(&input),
            layout: Layout::RowMajor,
        };
        let out = TensorViewMut { dtype: DType::F32, shape: &shape, bytes: bytemuck::cast_slice_mut(values) };
        let ctx = KernelCtx::new(self.isa, &self.attrs);
        let done = kernel.is_some_and(|kernel| kernel(&ctx, &[Some(operand)], &mut [out]).is_ok());
        if !done {
            values.copy_from_slice(&input);
            values.iter_mut().for_each(|v| *v = plain(*v));
        }
    }
}

impl Functions for Vectorized {
    fn exp(&self, values: &mut [f32]) {
        self.apply(self.exp, values, repops::scalar::exp);
    }

    fn log(&self, values: &mut [f32]) {
        self.apply(self.log, values, repops::scalar::log);
    }
}
