//! Steps of a session on a device: rows, weights, keys and values lie in its memory.
//!
//! Each attention has a pool of pages there, made with the session; a sequence holds numbers of pages. Rows of keys and values are
//! copied behind each other, as attention over pages reads them. A step without a kernel fetches its inputs and runs on the CPU.
//! Outputs are fetched where they are hashed. Invariant: logits and log are those of a session on the CPU, to the bit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use repops::exec::HashLevel;
use repops::ops::{self, OpError};
use repops::program::{BlockId, ValueId};
use repops::sequence::Row;
use repops::tensor::AlignedBytes;
use repops::{DType, Layout, TensorViewMut};
use repops_cuda::launch::contract::attention::{self, Past};
use repops_cuda::launch::region;
use repops_cuda::table::InputType;
use repops_cuda::{Call, Device, Error, View, lookup};
use repops_kernels::Operand;
use repops_kernels::sequence::{AttentionShape, PAGE};

use super::cache::{PageBuffer, PagePlace, Pages, SequenceState, Slot};
use super::hashing::Leaves;
use super::plan::{How, Operands, Place, PlannedStep, constant};
use super::step::{Batch, compute_on_host};
use super::{Feed, Logits, Session, SessionError, Worker};
use crate::device::Warn;
use crate::device::memory::{Block, Memory};

/// The pages of one attention: rows of `kv_heads * d` and `kv_heads * e` numbers, [`PAGE`] to a page.
struct Pool<B> {
    keys: B,
    values: B,
    free: Arc<Mutex<Vec<u32>>>,
}

/// Those of all attentions, and their device.
pub(super) struct Pools<D: Device> {
    device: D,
    name: String,
    pools: Vec<Pool<D::Buffer>>,
}

/// Bytes of the rows of a page.
fn page_bytes(shape: &AttentionShape) -> (usize, usize) {
    (4 * PAGE * shape.kv_heads * shape.d, 4 * PAGE * shape.kv_heads * shape.e)
}

impl<D: Device> Pools<D> {
    /// As many pages as fit into `bytes`, the same number for each attention.
    pub fn new(
        device: D,
        name: &str,
        shapes: &[AttentionShape],
        bytes: usize,
    ) -> Result<Pools<D>, SessionError> {
        let of_all: usize = shapes.iter().map(page_bytes).map(|(keys, values)| keys + values).sum();
        let count = u32::try_from(bytes / of_all.max(1)).unwrap_or(u32::MAX).clamp(1, 1 << 22);
        let mut pools = Pools { device, name: name.to_owned(), pools: Vec::new() };
        for shape in shapes {
            let (keys, values) = page_bytes(shape);
            let room = |bytes: usize| {
                pools.device.alloc(bytes.saturating_mul(count as usize)).map_err(|error| pools.told(&error))
            };
            let (keys, values) = (room(keys)?, room(values)?);
            // The first ones are taken first.
            let free = Arc::new(Mutex::new((0..count).rev().collect()));
            pools.pools.push(Pool { keys, values, free });
        }
        Ok(pools)
    }

    fn told(&self, error: &Error) -> SessionError {
        SessionError::Device { device: self.name.clone(), problem: error.to_string() }
    }
}

impl<D> Pages for Pools<D>
where
    D: Device + Send + Sync,
    D::Buffer: Send + Sync,
{
    fn make(&self, attention: usize, shape: &AttentionShape) -> Result<PagePlace, SessionError> {
        let free = &self.pools[attention].free;
        let number = free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let (keys, values) = page_bytes(shape);
        let wanted = keys + values;
        let number = number.ok_or(SessionError::CacheFull { used: 0, wanted, limit: 0 })?;
        Ok(PagePlace::Slot(Slot { number, free: free.clone() }))
    }

    fn copy(
        &self,
        attention: usize,
        shape: &AttentionShape,
        from: &PagePlace,
    ) -> Result<PagePlace, SessionError> {
        let copy = self.make(attention, shape)?;
        if let (PagePlace::Slot(from), PagePlace::Slot(to)) = (from, &copy) {
            let pool = &self.pools[attention];
            let (keys, values) = page_bytes(shape);
            for (buffer, bytes) in [(&pool.keys, keys), (&pool.values, values)] {
                let at = |slot: &Slot| slot.number as usize * bytes;
                self.device
                    .copy(buffer, at(from), buffer, at(to), bytes)
                    .map_err(|error| self.told(&error))?;
            }
        }
        Ok(copy)
    }

    fn append(
        &self,
        attention: usize,
        shape: &AttentionShape,
        state: &mut SequenceState,
        count: usize,
        rows: [&[f32]; 2],
    ) -> Result<(), SessionError> {
        let pool = &self.pools[attention];
        let slots = slots(&state.pages[attention]);
        let widths = [shape.kv_heads * shape.d, shape.kv_heads * shape.e];
        for ((to, rows), columns) in [&pool.keys, &pool.values].into_iter().zip(rows).zip(widths) {
            each_run(&slots, state.tokens.len(), count, |done, place, run| {
                let rows = &rows[done * columns..][..run * columns];
                self.device.write(to, place * columns * 4, bytemuck::cast_slice(rows))
            })
            .map_err(|error| self.told(&error))?;
        }
        Ok(())
    }

    fn owns(&self, attention: usize, place: &PagePlace) -> bool {
        let PagePlace::Slot(slot) = place else { return false };
        self.pools.get(attention).is_some_and(|pool| Arc::ptr_eq(&pool.free, &slot.free))
    }
}

/// Memory of the device, kept between steps.
pub(super) struct DeviceWork<D: Device> {
    pools: Arc<Pools<D>>,
    warn: Option<Warn>,
    told: BTreeSet<&'static str>,
    memory: Memory<D::Buffer>,
    buffers: Vec<Option<Arc<Block<D::Buffer>>>>,
    leaves: Leaves,
}

/// What the rows of one step of the session have beside buffers.
struct Rows<B> {
    inputs: Vec<Arc<Block<B>>>,
    /// Rows of carried values that the head reads, when it has fewer.
    picked: BTreeMap<ValueId, Arc<Block<B>>>,
}

/// Why a step of the program was not computed on the device.
enum Stop {
    Unsupported,
    Operator(OpError),
    Device(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        match error {
            Error::Unsupported { .. } => Stop::Unsupported,
            Error::Operator(error) => Stop::Operator(error),
            error => Stop::Device(error),
        }
    }
}

impl From<OpError> for Stop {
    fn from(error: OpError) -> Stop {
        Stop::Operator(error)
    }
}

fn full(rows: usize, row: &Row) -> Vec<usize> {
    [&[rows], row.shape.as_slice()].concat()
}

impl<D> Worker for DeviceWork<D>
where
    D: Device + Send + Sync,
    D::Buffer: Send + Sync,
{
    fn step(&mut self, session: &Session, feeds: &mut [Feed<'_>]) -> Result<Logits, SessionError> {
        let plan = &session.plan;
        for feed in feeds.iter_mut() {
            let room = session.pages.as_ref();
            feed.state.reserve(feed.tokens.len(), &plan.attention, &session.budget, room)?;
        }
        let batch = Batch::new(session, feeds)?;
        let traced = session.level == HashLevel::Operators;
        self.buffers.resize_with(plan.buffers, || None);
        self.leaves.begin(batch.rows, batch.head.len());
        let mut rows = Rows { inputs: Vec::new(), picked: BTreeMap::new() };
        for input in &batch.inputs {
            let block = self.uploaded(input.as_slice()).map_err(|error| self.pools.told(&error))?;
            rows.inputs.push(block);
        }
        for (index, step) in plan.steps.iter().enumerate() {
            let position = feeds.first().map_or(0, |feed| feed.state.tokens.len());
            let named = |stop: Stop, pools: &Pools<D>| match stop {
                Stop::Operator(error) => SessionError::Step { step: step.name.clone(), position, error },
                Stop::Device(error) => pools.told(&error),
                Stop::Unsupported => {
                    SessionError::Unsupported { step: step.name.clone(), problem: "no kernel".to_owned() }
                }
            };
            self.compute(session, index, step, &batch, &mut rows, feeds)
                .map_err(|stop| named(stop, &self.pools))?;
            if traced && batch.count(step.head) > 0 {
                self.hash(session, index, step, &batch, &mut rows)
                    .map_err(|stop| named(stop, &self.pools))?;
            }
        }
        let log = traced.then(|| self.leaves.finish());
        let vocabulary = session.sequence.vocabulary;
        let values = match batch.head.len() {
            0 => AlignedBytes::default(),
            count => {
                let bytes =
                    self.fetched(session, &plan.logits, true, &batch, &mut rows, 4 * count * vocabulary);
                AlignedBytes::copy_of(bytes.map_err(|error| self.pools.told(&error))?.as_slice())?
            }
        };
        Ok(batch.append(feeds, log, values, vocabulary))
    }
}

impl<D: Device> DeviceWork<D> {
    pub fn new(pools: Arc<Pools<D>>, warn: Option<Warn>) -> DeviceWork<D> {
        DeviceWork {
            pools,
            warn,
            told: BTreeSet::new(),
            memory: Memory::default(),
            buffers: Vec::new(),
            leaves: Leaves::default(),
        }
    }

    /// Memory that nothing else holds.
    fn room(&mut self, len: usize) -> Result<Arc<Block<D::Buffer>>, Error> {
        let block = self.memory.take(&self.pools.device, 0, None, len)?;
        self.memory.keep(0, None, &block);
        Ok(block)
    }

    fn uploaded(&mut self, bytes: &[u8]) -> Result<Arc<Block<D::Buffer>>, Error> {
        let block = self.room(bytes.len())?;
        self.pools.device.write(&block.buffer, 0, bytes)?;
        Ok(block)
    }

    /// Where the rows of an operand are that a step of the head, or another, reads.
    fn place(
        &mut self,
        session: &Session,
        operand: &Operands,
        head: bool,
        batch: &Batch,
        rows: &mut Rows<D::Buffer>,
    ) -> Result<Arc<Block<D::Buffer>>, Error> {
        let all = match operand.place {
            Place::Constant(id) => {
                let bytes = session.program.constant_bytes(id);
                return self.memory.constant(&self.pools.device, id, bytes);
            }
            Place::Input(at) => rows.inputs[at].clone(),
            Place::Buffer(at) => match &self.buffers[at] {
                Some(block) => block.clone(),
                // Nothing has been computed for no rows.
                None => self.room(0)?,
            },
        };
        let Some(row) = operand.row.as_ref().filter(|_| head && !operand.head && batch.picks()) else {
            return Ok(all);
        };
        if let Some(known) = rows.picked.get(&operand.value) {
            return Ok(known.clone());
        }
        let size = row.bytes();
        let picked = self.room(batch.head.len() * size)?;
        for (all_rows, head_rows) in &batch.feeds {
            // The head's rows are the last ones of a feed.
            let from = (all_rows.end - head_rows.len()) * size;
            let (to, bytes) = (head_rows.start * size, head_rows.len() * size);
            if bytes > 0 {
                self.pools.device.copy(&all.buffer, from, &picked.buffer, to, bytes)?;
            }
        }
        rows.picked.insert(operand.value, picked.clone());
        Ok(picked)
    }

    /// The first bytes of an operand's rows, on the host.
    fn fetched(
        &mut self,
        session: &Session,
        operand: &Operands,
        head: bool,
        batch: &Batch,
        rows: &mut Rows<D::Buffer>,
        len: usize,
    ) -> Result<AlignedBytes, Error> {
        let block = self.place(session, operand, head, batch, rows)?;
        let mut bytes = AlignedBytes::zeros(len).map_err(OpError::from)?;
        if len > 0 {
            self.pools.device.read(&block.buffer, 0, bytes.as_mut_slice())?;
        }
        Ok(bytes)
    }

    /// Makes room for the outputs of a step; those that are views of an input have none of their own.
    fn outputs(&mut self, step: &PlannedStep, rows: usize) -> Result<Vec<Arc<Block<D::Buffer>>>, Error> {
        let mut outputs = Vec::new();
        for (target, at) in step.outputs.iter().filter_map(|target| Some((target, target.buffer?))) {
            let len = rows * target.row.bytes();
            let known = self.buffers[at].take().filter(|block| block.capacity >= len);
            outputs.push(match known {
                Some(block) => block,
                None => self.memory.take(&self.pools.device, 0, None, len)?,
            });
        }
        Ok(outputs)
    }

    /// Computes the outputs of a step for its rows.
    fn compute(
        &mut self,
        session: &Session,
        index: usize,
        step: &PlannedStep,
        batch: &Batch,
        rows: &mut Rows<D::Buffer>,
        feeds: &[Feed<'_>],
    ) -> Result<(), Stop> {
        let count = batch.count(step.head);
        if count == 0 && !matches!(step.how, How::Attention(..)) {
            return Ok(());
        }
        let mut there = Vec::with_capacity(step.inputs.len());
        for (at, input) in step.inputs.iter().enumerate() {
            // Keys and values are appended for all rows.
            let head = step.head && !(matches!(step.how, How::Attention(..)) && at > 0);
            there.push(match input {
                Some(operand) => Some(self.place(session, operand, head, batch, rows)?),
                None => None,
            });
        }
        let outputs = self.outputs(step, count)?;
        let done = match &step.how {
            How::Attention(number, shape) => {
                self.attend(step, *number, shape, batch, feeds, (&there, &outputs))
            }
            How::View => match (outputs.first(), there.first()) {
                (Some(to), Some(Some(from))) => {
                    let bytes = count * step.outputs[0].row.bytes();
                    let device = &self.pools.device;
                    if bytes > 0 {
                        device.copy(&from.buffer, 0, &to.buffer, 0, bytes).map_err(Stop::from)
                    } else {
                        Ok(())
                    }
                }
                _ => Ok(()),
            },
            _ => self.launch(session, index, step, count, batch, (&there, &outputs)),
        };
        let done = match done {
            Err(Stop::Unsupported) => self.on_host(session, step, count, (&there, &outputs)),
            done => done,
        };
        for (at, block) in step.outputs.iter().filter_map(|target| target.buffer).zip(outputs) {
            self.buffers[at] = Some(block);
        }
        done
    }

    fn launch(
        &mut self,
        session: &Session,
        index: usize,
        step: &PlannedStep,
        count: usize,
        batch: &Batch,
        (there, outputs): Operated<'_, D::Buffer>,
    ) -> Result<(), Stop> {
        let shapes: Vec<Vec<usize>> = step
            .inputs
            .iter()
            .map(|input| {
                input.as_ref().and_then(|i| i.row.as_ref()).map(|row| full(count, row)).unwrap_or_default()
            })
            .collect();
        let out_shapes: Vec<Vec<usize>> =
            step.outputs.iter().map(|target| full(count, &target.row)).collect();
        // Constants as the program has them; rows whose bytes the host has are the program's inputs alone.
        let known: Vec<Option<Operand<'_>>> = step
            .inputs
            .iter()
            .zip(&shapes)
            .map(|(input, shape)| {
                let input = input.as_ref()?;
                Some(match (&input.row, input.place) {
                    (None, Place::Constant(id)) => constant(&session.program, id),
                    (row, place) => {
                        let row = row.as_ref()?;
                        let bytes = match place {
                            Place::Input(at) if !batch.picks() || !step.head => batch.inputs[at].as_slice(),
                            _ => &[],
                        };
                        Operand { dtype: row.dtype, shape, bytes, layout: Layout::RowMajor }
                    }
                })
            })
            .collect();
        let view = |operand: &Operand<'_>| !operand.bytes.is_empty();
        let inputs: Vec<Option<repops_cuda::Operand<'_, D::Buffer>>> = known
            .iter()
            .zip(there)
            .map(|(operand, block)| {
                let (operand, block) = (operand.as_ref()?, block.as_ref()?);
                let Operand { dtype, shape, layout, bytes } = *operand;
                let host = view(operand).then_some(bytes);
                let view = View { buffer: &block.buffer, offset: 0, dtype, shape };
                Some(repops_cuda::Operand { view, layout, host })
            })
            .collect();
        let targets: Vec<Option<View<'_, D::Buffer>>> = outputs
            .iter()
            .zip(step.outputs.iter().zip(&out_shapes).filter(|(target, _)| target.buffer.is_some()))
            .map(|(block, (target, shape))| {
                Some(View { buffer: &block.buffer, offset: 0, dtype: target.row.dtype, shape })
            })
            .collect();
        let device = &self.pools.device;
        if let Some(fused) = &session.program.block(BlockId(0)).steps[index].region {
            let prepared = self.memory.region(device, (0, index), fused)?.ok_or(Stop::Unsupported)?;
            let inputs: Vec<_> = inputs.iter().flatten().map(|operand| operand.view).collect();
            let targets: Vec<_> = targets.iter().flatten().copied().collect();
            return Ok(region::launch(device, &prepared, &inputs, &targets)?);
        }
        let types: Vec<Option<InputType<'_>>> = known
            .iter()
            .map(|operand| {
                let operand = operand.as_ref()?;
                let Operand { dtype, shape, layout, .. } = *operand;
                Some(InputType { dtype, shape, layout, on_host: view(operand) })
            })
            .collect();
        let (op, version) = step.op;
        let launch = lookup::<D>(op, version, &step.attrs, &types).ok_or(Stop::Unsupported)?;
        let op = ops::by_id(op, version).ok_or(Stop::Unsupported)?;
        Ok(launch(device, &Call { op, attrs: &step.attrs, inputs: &inputs, outputs: &targets })?)
    }

    /// A step for which there is no kernel.
    fn on_host(
        &mut self,
        session: &Session,
        step: &PlannedStep,
        count: usize,
        (there, outputs): Operated<'_, D::Buffer>,
    ) -> Result<(), Stop> {
        if let Some(def) = ops::by_id(step.op.0, step.op.1)
            && self.told.insert(def.name)
            && let Some(warn) = &self.warn
        {
            warn(&format!("{} has no kernel on {}; the CPU computes it", def.name, self.pools.name));
        }
        let device = &self.pools.device;
        let mut fetched: Vec<AlignedBytes> = Vec::new();
        for (input, block) in step.inputs.iter().zip(there) {
            let len = match (input.as_ref().and_then(|input| input.row.as_ref()), block) {
                (Some(row), Some(_)) => count * row.bytes(),
                _ => 0,
            };
            let mut bytes = AlignedBytes::zeros(len).map_err(OpError::from)?;
            if let (Some(block), true) = (block, len > 0) {
                device.read(&block.buffer, 0, bytes.as_mut_slice())?;
            }
            fetched.push(bytes);
        }
        let shapes: Vec<Vec<usize>> = step
            .inputs
            .iter()
            .map(|input| {
                input.as_ref().and_then(|i| i.row.as_ref()).map(|row| full(count, row)).unwrap_or_default()
            })
            .collect();
        let operands: Vec<Option<Operand<'_>>> = step
            .inputs
            .iter()
            .zip(&shapes)
            .zip(&fetched)
            .map(|((input, shape), bytes)| {
                let input = input.as_ref()?;
                Some(match (&input.row, input.place) {
                    (None, Place::Constant(id)) => constant(&session.program, id),
                    (row, _) => Operand {
                        dtype: row.as_ref()?.dtype,
                        shape,
                        bytes: bytes.as_slice(),
                        layout: Layout::RowMajor,
                    },
                })
            })
            .collect();
        let owned: Vec<_> = step.outputs.iter().filter(|target| target.buffer.is_some()).collect();
        let out_shapes: Vec<Vec<usize>> = owned.iter().map(|target| full(count, &target.row)).collect();
        let mut results = Vec::new();
        for target in &owned {
            results.push(AlignedBytes::zeros(count * target.row.bytes()).map_err(OpError::from)?);
        }
        let mut targets: Vec<TensorViewMut<'_>> = results
            .iter_mut()
            .zip(&owned)
            .zip(&out_shapes)
            .map(|((bytes, target), shape)| TensorViewMut {
                dtype: target.row.dtype,
                shape,
                bytes: bytes.as_mut_slice(),
            })
            .collect();
        compute_on_host(session, step, &step.how, &operands, &out_shapes, &mut targets)?;
        drop(targets);
        for (block, bytes) in outputs.iter().zip(&results) {
            device.write(&block.buffer, 0, bytes.as_slice())?;
        }
        Ok(())
    }

    /// Appends keys and values of all rows, and attends for the rows of the step.
    fn attend(
        &mut self,
        step: &PlannedStep,
        number: usize,
        shape: &AttentionShape,
        batch: &Batch,
        feeds: &[Feed<'_>],
        (there, outputs): Operated<'_, D::Buffer>,
    ) -> Result<(), Stop> {
        let (Some(Some(q)), Some(Some(k)), Some(Some(v)), Some(out)) =
            (there.first(), there.get(1), there.get(2), outputs.first())
        else {
            return Err(Stop::Unsupported);
        };
        let shape = attention::AttentionShape {
            heads: shape.heads,
            kv_heads: shape.kv_heads,
            d: shape.d,
            e: shape.e,
            scale: shape.scale,
            softcap: shape.softcap,
            window: shape.window,
        };
        for (feed, (all, head)) in feeds.iter().zip(&batch.feeds) {
            let pages = slots(&feed.state.pages[number]);
            let pool = &self.pools.pools[number];
            let device = &self.pools.device;
            for (from, to, columns) in
                [(k, &pool.keys, shape.kv_heads * shape.d), (v, &pool.values, shape.kv_heads * shape.e)]
            {
                each_run(&pages, feed.state.tokens.len(), all.len(), |done, place, run| {
                    let row = columns * 4;
                    device.copy(&from.buffer, (all.start + done) * row, to, place * row, run * row)
                })?;
            }
            let rows = if step.head { head.clone() } else { all.clone() };
            if rows.is_empty() {
                continue;
            }
            let position = feed.state.tokens.len() + all.len() - rows.len();
            let table: Vec<u8> = pages.iter().flat_map(|page| page.to_le_bytes()).collect();
            let table = self.uploaded(&table)?;
            let pool = &self.pools.pools[number];
            let view = |buffer, offset, dtype| View { buffer, offset, dtype, shape: &[] };
            let past = Past {
                keys: view(&pool.keys, 0, DType::F32),
                values: view(&pool.values, 0, DType::F32),
                pages: Some(view(&table.buffer, 0, DType::U32)),
            };
            let q = view(&q.buffer, rows.start * shape.heads * shape.d * 4, DType::F32);
            let to = view(&out.buffer, rows.start * shape.heads * shape.e * 4, DType::F32);
            attention::attend(&self.pools.device, &shape, q, position, rows.len(), &past, to)?;
        }
        Ok(())
    }

    fn hash(
        &mut self,
        session: &Session,
        index: usize,
        step: &PlannedStep,
        batch: &Batch,
        rows: &mut Rows<D::Buffer>,
    ) -> Result<(), Stop> {
        let count = batch.count(step.head);
        let mut bytes = Vec::with_capacity(step.outputs.len());
        for target in &step.outputs {
            let len = count * target.row.bytes();
            let mut fetched = AlignedBytes::zeros(len).map_err(OpError::from)?;
            let block = match (target.buffer, step.inputs.first()) {
                (Some(at), _) => self.buffers[at].clone().ok_or(Stop::Unsupported)?,
                (None, Some(Some(viewed))) => self.place(session, viewed, step.head, batch, rows)?,
                (None, _) => return Err(Stop::Unsupported),
            };
            if len > 0 {
                self.pools.device.read(&block.buffer, 0, fetched.as_mut_slice())?;
            }
            bytes.push(fetched);
        }
        let outputs: Vec<(&Row, &[u8])> =
            step.outputs.iter().zip(&bytes).map(|(target, bytes)| (&target.row, bytes.as_slice())).collect();
        self.leaves.add(index, step.head, &outputs);
        Ok(())
    }
}

/// Blocks of inputs and of outputs.
type Operated<'a, B> = (&'a [Option<Arc<Block<B>>>], &'a [Arc<Block<B>>]);

/// The numbers of pages; those that are not in a pool were refused before.
fn slots(pages: &[Arc<PageBuffer>]) -> Vec<u32> {
    let number = |place: &PagePlace| match place {
        PagePlace::Slot(slot) => Some(slot.number),
        PagePlace::Host { .. } => None,
    };
    pages.iter().filter_map(|page| number(&page.place)).collect()
}

/// `count` rows from position `first` on as runs that do not leave a page: how many rows are before the run, the row of the pool
/// where it begins, and its length.
fn each_run(
    slots: &[u32],
    first: usize,
    count: usize,
    mut visit: impl FnMut(usize, usize, usize) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut done = 0;
    while done < count {
        let (page, at) = ((first + done) / PAGE, (first + done) % PAGE);
        let run = (PAGE - at).min(count - done);
        visit(done, slots[page] as usize * PAGE + at, run)?;
        done += run;
    }
    Ok(())
}
