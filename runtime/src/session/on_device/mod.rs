//! Steps of a session on a device: rows, weights, keys and values lie in its memory.
//!
//! Each attention has a pool of pages there ([`pools`]); all rows of a step of the session lie in one piece of memory
//! ([`places`]), and are hashed where they are ([`log`]): 32 bytes for each row come back, and logits, or tokens chosen there. A step of the program without
//! a kernel fetches its inputs and runs on the CPU. Where each sequence gets one row, numbers of positions are in the device's
//! memory, so that the work of all steps is recorded once and replayed ([`live`]). Invariant: logits and log are those of a session on the
//! CPU, to the bit.

mod live;
mod log;
mod places;
mod pools;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use repops::DType;
use repops::exec::HashLevel;
use repops::ops::{self, OpError};
use repops::program::BlockId;
use repops::tensor::AlignedBytes;
use repops_cuda::launch::contract::attention::{self, Past};
use repops_cuda::launch::region;
use repops_cuda::launch::sampling::{self, CHOSEN_BYTES, Choice};
use repops_cuda::table::InputType;
use repops_cuda::{Call, Device, Error, View, lookup};
use repops_kernels::Operand;
use repops_kernels::sequence::AttentionShape;

use super::plan::{How, Operands, Place, PlannedStep};
use super::step::{Batch, compute_on_host, operands, shapes, targets};
use super::{Chosen, Feed, Given, Logits, Session, SessionError, Wish, Worker};
use crate::Regions;
use crate::device::Warn;
use crate::device::memory::Memory;
use live::{LiveRows, Recordings};
use log::Log;
use places::{Pick, Places, Source};
pub(super) use pools::Pools;
use pools::{each_run, slots};

/// The most bytes of rows that are all kept until the end of a step of the session, so that they are hashed together.
const KEPT_BYTES_MAX: usize = 64 << 20;
/// Plans kept.
const SHAPES_MAX: usize = 32;

/// Memory of the device, kept between steps.
pub(super) struct DeviceWork<D: Device> {
    pools: Arc<Pools<D>>,
    warn: Option<Warn>,
    told: BTreeSet<&'static str>,
    /// Constants, and regions that were made ready.
    memory: Memory<D::Buffer>,
    /// By numbers of rows and of head rows.
    shapes: BTreeMap<(usize, usize), Arc<Shape<D::Buffer>>>,
    recordings: Recordings<D::Recording>,
    /// [`KEPT_BYTES_MAX`].
    kept_bytes_max: usize,
    room: Growing<D::Buffer>,
    tables: Growing<D::Buffer>,
    leaves: Growing<D::Buffer>,
    roots: Growing<D::Buffer>,
}

/// What depends on numbers of rows alone.
struct Shape<B> {
    places: Places,
    log: Option<Log<B>>,
}

/// A buffer that is made anew when it is too small; its contents are of no use then.
struct Growing<B>(Option<(Arc<B>, usize)>);

impl<B> Growing<B> {
    /// Says in `is_new` whether it was made anew.
    fn at_least<D: Device<Buffer = B>>(
        &mut self,
        device: &D,
        bytes: usize,
        is_new: &mut bool,
    ) -> Result<Arc<B>, Error> {
        if let Some((buffer, capacity)) = &self.0
            && *capacity >= bytes
        {
            return Ok(buffer.clone());
        }
        *is_new = true;
        // The old one is free before.
        self.0 = None;
        // Kernels may be handed the address of no rows.
        let bytes = bytes.max(256);
        let buffer = Arc::new(device.alloc(bytes)?);
        self.0 = Some((buffer.clone(), bytes));
        Ok(buffer)
    }
}

/// One step of the session.
struct Turn<'a, B> {
    session: &'a Session,
    batch: &'a Batch,
    shape: Arc<Shape<B>>,
    room: Arc<B>,
    /// The numbers of pages, by attention and feed from these bytes on.
    tables: Arc<B>,
    table_at: Vec<usize>,
    /// Leaves and roots of what is hashed.
    hashes: Option<(Arc<B>, Arc<B>)>,
    /// Where the numbers of positions are on the device.
    live: Option<LiveRows>,
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

impl From<Stop> for Error {
    fn from(stop: Stop) -> Error {
        match stop {
            Stop::Unsupported => Error::unsupported("a step of the program"),
            Stop::Operator(error) => Error::Operator(error),
            Stop::Device(error) => error,
        }
    }
}

impl<D> Worker for DeviceWork<D>
where
    D: Device + Send + Sync,
    D::Buffer: Send + Sync,
{
    fn step(&mut self, session: &Session, feeds: &mut [Feed<'_>]) -> Result<Logits, SessionError> {
        match self.step_choosing(session, feeds, &[])? {
            Given::Logits(logits) => Ok(logits),
            Given::Chosen(_) => unreachable!("nothing was wished for"),
        }
    }

    fn step_choosing(
        &mut self,
        session: &Session,
        feeds: &mut [Feed<'_>],
        wishes: &[Option<Wish<'_>>],
    ) -> Result<Given, SessionError> {
        let plan = &session.plan;
        for feed in feeds.iter_mut() {
            let room = session.pages.as_ref();
            feed.state.reserve(feed.tokens.len(), &plan.attention, &session.budget, room)?;
        }
        let batch = Batch::new(session, feeds)?;
        let pools = self.pools.clone();
        let told = |error: Error| pools.told(&error);
        let turn = self.begin(session, &batch, feeds).map_err(told)?;
        self.run(&turn, feeds).map_err(|(index, stop)| {
            let step =
                index.and_then(|index| plan.steps.get(index)).map_or_else(String::new, |s| s.name.clone());
            match stop {
                Stop::Operator(error) => {
                    let position = feeds.first().map_or(0, |feed| feed.state.tokens.len());
                    SessionError::Step { step, position, error }
                }
                Stop::Device(error) => told(error),
                Stop::Unsupported => SessionError::Unsupported { step, problem: "no kernel".to_owned() },
            }
        })?;
        let choices = choices(&batch, wishes);
        let chosen = match &choices {
            Some(choices) => Some(self.choose(&turn, choices).map_err(told)?),
            None => None,
        };
        let log = self.roots(&turn).map_err(told)?;
        let values =
            if chosen.is_none() { self.logits(&turn).map_err(told)? } else { AlignedBytes::default() };
        let logits = batch.append(feeds, log, values, session.sequence.vocabulary);
        let Some(chosen) = chosen else { return Ok(Given::Logits(logits)) };
        let mut chosen = chosen.into_iter();
        let of =
            |(_, head): &(Range<usize>, Range<usize>)| if head.is_empty() { None } else { chosen.next() };
        Ok(Given::Chosen(batch.feeds.iter().map(of).collect()))
    }
}

/// A choice for every row of the head; `None` where one of them is not wished for.
fn choices<'a>(batch: &Batch, wishes: &[Option<Wish<'a>>]) -> Option<Vec<Choice<'a>>> {
    let mut choices = Vec::with_capacity(batch.head.len());
    for (at, (_, head)) in batch.feeds.iter().enumerate().filter(|(_, (_, head))| !head.is_empty()) {
        let wish = wishes.get(at).copied().flatten()?;
        if head.len() != 1 {
            return None;
        }
        let Wish { sampling, tokens, prompt, draw } = wish;
        choices.push(Choice { row: head.start, sampling, tokens, prompt, draw });
    }
    (!choices.is_empty()).then_some(choices)
}

/// Why not all steps of the program were computed, and which one was not.
type Stopped = (Option<usize>, Stop);

/// The roots of rows and of head rows.
type Roots = (Vec<repops::Digest>, Vec<repops::Digest>);

impl<D: Device> DeviceWork<D> {
    pub fn new(pools: Arc<Pools<D>>, regions: &Regions, warn: Option<Warn>) -> DeviceWork<D> {
        DeviceWork {
            pools,
            warn,
            told: BTreeSet::new(),
            memory: Memory::new(regions),
            shapes: BTreeMap::new(),
            recordings: Recordings::default(),
            kept_bytes_max: KEPT_BYTES_MAX,
            room: Growing(None),
            tables: Growing(None),
            leaves: Growing(None),
            roots: Growing(None),
        }
    }

    /// The plan for such numbers of rows.
    fn shape(&mut self, session: &Session, rows: usize, head: usize) -> Result<Arc<Shape<D::Buffer>>, Error> {
        if let Some(known) = self.shapes.get(&(rows, head)) {
            return Ok(known.clone());
        }
        let plan = &session.plan;
        let inputs = session.program.header().inputs.len();
        let traced = session.level == HashLevel::Operators;
        let mut places = Places::new(plan, inputs, rows, head, true)?;
        if places.bytes > self.kept_bytes_max {
            places = Places::new(plan, inputs, rows, head, false)?;
        }
        let log = if traced { Some(Log::new(&self.pools.device, plan, &places)?) } else { None };
        if self.shapes.len() == SHAPES_MAX {
            // Recordings read what plans hold.
            self.recordings.clear();
            self.shapes.clear();
        }
        let shape = Arc::new(Shape { places, log });
        self.shapes.insert((rows, head), shape.clone());
        Ok(shape)
    }

    /// Puts the program's inputs and the numbers of pages on the device.
    fn begin<'a>(
        &mut self,
        session: &'a Session,
        batch: &'a Batch,
        feeds: &[Feed<'_>],
    ) -> Result<Turn<'a, D::Buffer>, Error> {
        let shape = self.shape(session, batch.rows, batch.head.len())?;
        let device = &self.pools.device;
        // Of a step that failed.
        device.join()?;
        let mut is_new = false;
        let room = self.room.at_least(device, shape.places.bytes, &mut is_new)?;
        for (input, at) in batch.inputs.iter().zip(&shape.places.inputs) {
            device.write(&room, *at, input.as_slice())?;
        }
        let live = LiveRows::of(&shape.places, batch, feeds);
        let mut numbers: Vec<u32> = live.iter().flat_map(|live| live.counts(feeds)).collect();
        let mut table_at = Vec::new();
        for attention in 0..session.plan.attention.len() {
            for feed in feeds {
                table_at.push(4 * numbers.len());
                let end = numbers.len() + live.as_ref().map_or(0, |live| live.pages);
                numbers.extend(slots(&feed.state.pages[attention]));
                numbers.resize(numbers.len().max(end), 0);
            }
        }
        let tables = self.tables.at_least(device, 4 * numbers.len(), &mut is_new)?;
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        device.write(&tables, 0, &bytes)?;
        let hashes = match &shape.log {
            Some(log) => Some((
                self.leaves.at_least(device, log.leaf_bytes(), &mut is_new)?,
                self.roots.at_least(device, log.root_bytes(), &mut is_new)?,
            )),
            None => None,
        };
        if is_new {
            self.recordings.clear();
        }
        Ok(Turn { session, batch, shape, room, tables, table_at, hashes, live })
    }

    /// Computes the steps of the program but for those that were computed early, and hashes all.
    fn steps(
        &mut self,
        turn: &Turn<'_, D::Buffer>,
        feeds: &[Feed<'_>],
        early: impl Fn(usize) -> bool,
    ) -> Result<(), Stopped> {
        let pools = self.pools.clone();
        for (index, step) in turn.session.plan.steps.iter().enumerate() {
            if !early(index) {
                self.compute(turn, index, step, feeds).map_err(|stop| (Some(index), stop))?;
            }
            if let (Some(log), Some((leaves, _))) = (&turn.shape.log, &turn.hashes) {
                let hashed = log.after(&pools.device, index, &turn.room, leaves);
                hashed.map_err(|error| (None, Stop::Device(error)))?;
            }
        }
        let places = &turn.shape.places;
        self.pick(turn, &places.logits.0).map_err(|error| (None, Stop::Device(error)))?;
        if let (Some(log), Some((leaves, roots))) = (&turn.shape.log, &turn.hashes) {
            log.finish(&pools.device, leaves, roots).map_err(|error| (None, Stop::Device(error)))?;
        }
        Ok(())
    }

    /// Fetches the roots of the rows.
    fn roots(&mut self, turn: &Turn<'_, D::Buffer>) -> Result<Option<Roots>, Error> {
        let (Some(log), Some((_, roots))) = (&turn.shape.log, &turn.hashes) else { return Ok(None) };
        let mut bytes = vec![0; log.root_bytes()];
        self.pools.device.read(roots, 0, &mut bytes)?;
        Ok(Some(log.digests(&bytes)))
    }

    /// Fetches the logits.
    fn logits(&mut self, turn: &Turn<'_, D::Buffer>) -> Result<AlignedBytes, Error> {
        let places = &turn.shape.places;
        let bytes = 4 * places.head * turn.session.sequence.vocabulary;
        let mut logits = AlignedBytes::zeros(bytes).map_err(OpError::from)?;
        if bytes > 0 {
            self.pools.device.read(&turn.room, places.logits.1, logits.as_mut_slice())?;
        }
        Ok(logits)
    }

    /// Chooses tokens from the logits where they are.
    fn choose(&mut self, turn: &Turn<'_, D::Buffer>, choices: &[Choice<'_>]) -> Result<Vec<Chosen>, Error> {
        let device = &self.pools.device;
        let places = &turn.shape.places;
        let shape = [places.head, turn.session.sequence.vocabulary];
        let logits = View { buffer: &*turn.room, offset: places.logits.1, dtype: DType::F32, shape: &shape };
        let mut bytes = vec![0; choices.len() * CHOSEN_BYTES];
        let out = device.alloc(bytes.len())?;
        let to = View { buffer: &out, offset: 0, dtype: DType::U8, shape: &[] };
        sampling::choose(device, logits, choices, to)?;
        device.read(&out, 0, &mut bytes)?;
        Ok(bytes.as_chunks::<CHOSEN_BYTES>().0.iter().map(sampling::chosen).collect())
    }

    /// Copies the head's rows together.
    fn pick(&self, turn: &Turn<'_, D::Buffer>, picks: &[Pick]) -> Result<(), Error> {
        for Pick { from, to, row_bytes } in picks {
            for (all, head) in &turn.batch.feeds {
                // The head's rows are the last ones of a feed.
                let from = from + (all.end - head.len()) * row_bytes;
                let (to, bytes) = (to + head.start * row_bytes, head.len() * row_bytes);
                if bytes > 0 {
                    self.pools.device.copy(&turn.room, from, &turn.room, to, bytes)?;
                }
            }
        }
        Ok(())
    }

    /// Computes the outputs of a step for its rows.
    fn compute(
        &mut self,
        turn: &Turn<'_, D::Buffer>,
        index: usize,
        step: &PlannedStep,
        feeds: &[Feed<'_>],
    ) -> Result<(), Stop> {
        let places = &turn.shape.places;
        let count = places.count(step.head);
        let at = &places.steps[index];
        if count > 0 {
            self.pick(turn, &at.picks)?;
        }
        match &step.how {
            How::Attention(number, shape) => self.attend(turn, index, step, (*number, shape), feeds),
            _ if count == 0 => Ok(()),
            How::View => match (step.outputs.first(), at.inputs.first(), at.outputs.first()) {
                (Some(target), Some(Some(Source::Room(from))), Some(to)) if target.buffer.is_some() => {
                    let bytes = count * target.row.bytes();
                    Ok(self.pools.device.copy(&turn.room, *from, &turn.room, *to, bytes)?)
                }
                _ => Ok(()),
            },
            _ => match self.launch(turn, index, step, count) {
                Err(Stop::Unsupported) => self.on_host(turn, index, step, count),
                done => done,
            },
        }
    }

    fn launch(
        &mut self,
        turn: &Turn<'_, D::Buffer>,
        index: usize,
        step: &PlannedStep,
        count: usize,
    ) -> Result<(), Stop> {
        let (session, batch) = (turn.session, turn.batch);
        let at = &turn.shape.places.steps[index];
        let device = &self.pools.device;
        let mut constants = Vec::with_capacity(at.inputs.len());
        for source in &at.inputs {
            constants.push(match source {
                Some(Source::Constant(id)) => {
                    Some(self.memory.constant(device, *id, session.program.constant_bytes(*id))?)
                }
                _ => None,
            });
        }
        let (in_shapes, out_shapes) = shapes(step, count);
        // Rows whose bytes the host has are the program's inputs alone.
        let known = operands(session, step, &in_shapes, |operand| match operand.place {
            Place::Input(at) if !batch.picks() || !step.head => batch.inputs[at].as_slice(),
            _ => &[],
        });
        let inputs: Vec<Option<repops_cuda::Operand<'_, D::Buffer>>> = known
            .iter()
            .zip(at.inputs.iter().zip(&constants))
            .map(|(operand, (source, constant))| {
                let Operand { dtype, shape, layout, bytes } = *operand.as_ref()?;
                let host = (!bytes.is_empty()).then_some(bytes);
                let (buffer, offset) = match (source.as_ref()?, constant) {
                    (Source::Room(at), _) => (&*turn.room, *at),
                    (Source::Constant(_), constant) => (&constant.as_ref()?.buffer, 0),
                };
                Some(repops_cuda::Operand { view: View { buffer, offset, dtype, shape }, layout, host })
            })
            .collect();
        let targets: Vec<Option<View<'_, D::Buffer>>> = step
            .outputs
            .iter()
            .zip(&at.outputs)
            .zip(&out_shapes)
            .map(|((target, at), shape)| {
                Some(View { buffer: &*turn.room, offset: *at, dtype: target.row.dtype, shape })
            })
            .collect();
        if let Some(fused) = &session.program.block(BlockId(0)).steps[index].region {
            let prepared = self.memory.region(device, (0, index), fused)?.ok_or(Stop::Unsupported)?;
            let targets: Vec<_> = targets.iter().flatten().copied().collect();
            return Ok(region::launch(device, fused, &prepared, &inputs, &targets)?);
        }
        let types: Vec<Option<InputType<'_>>> = inputs
            .iter()
            .map(|operand| {
                let repops_cuda::Operand { view, layout, host } = operand.as_ref()?;
                let (dtype, shape) = (view.dtype, view.shape);
                Some(InputType { dtype, shape, layout: *layout, on_host: host.is_some() })
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
        turn: &Turn<'_, D::Buffer>,
        index: usize,
        step: &PlannedStep,
        count: usize,
    ) -> Result<(), Stop> {
        if let Some(def) = ops::by_id(step.op.0, step.op.1)
            && self.told.insert(def.name)
            && let Some(warn) = &self.warn
        {
            warn(&format!("{} has no kernel on {}; the CPU computes it", def.name, self.pools.name));
        }
        let (device, at) = (&self.pools.device, &turn.shape.places.steps[index]);
        let (in_shapes, out_shapes) = shapes(step, count);
        let mut fetched: Vec<AlignedBytes> = Vec::new();
        for (input, source) in step.inputs.iter().zip(&at.inputs) {
            let row = input.as_ref().and_then(|input| input.row.as_ref());
            fetched.push(match (row, source) {
                (Some(row), Some(Source::Room(at))) => {
                    let mut bytes = AlignedBytes::zeros(count * row.bytes()).map_err(OpError::from)?;
                    device.read(&turn.room, *at, bytes.as_mut_slice())?;
                    bytes
                }
                _ => AlignedBytes::default(),
            });
        }
        let rows = step.inputs.iter().zip(&fetched);
        let has_rows = |input: &Option<Operands>| input.as_ref().is_some_and(|input| input.row.is_some());
        let mut at_hand = rows.filter(|(input, _)| has_rows(input)).map(|(_, bytes)| bytes.as_slice());
        let operands = operands(turn.session, step, &in_shapes, |_| at_hand.next().unwrap_or_default());
        let mut results = Vec::new();
        for target in step.outputs.iter().filter(|target| target.buffer.is_some()) {
            results.push(AlignedBytes::zeros(count * target.row.bytes()).map_err(OpError::from)?);
        }
        let mut to = targets(step, &out_shapes, &mut results);
        compute_on_host(turn.session, step, &step.how, &operands, &out_shapes, &mut to)?;
        drop(to);
        let owned = step.outputs.iter().zip(&at.outputs).filter(|(target, _)| target.buffer.is_some());
        for ((_, at), bytes) in owned.zip(&results) {
            device.write(&turn.room, *at, bytes.as_slice())?;
        }
        Ok(())
    }

    /// Appends keys and values of all rows, and attends for the rows of the step.
    fn attend(
        &mut self,
        turn: &Turn<'_, D::Buffer>,
        index: usize,
        step: &PlannedStep,
        (number, shape): (usize, &AttentionShape),
        feeds: &[Feed<'_>],
    ) -> Result<(), Stop> {
        let at = &turn.shape.places.steps[index];
        let room = |source: Option<&Option<Source>>| match source {
            Some(Some(Source::Room(at))) => Ok(*at),
            _ => Err(Stop::Unsupported),
        };
        let [q, k, v] = [0, 1, 2].map(|input| room(at.inputs.get(input)));
        let (q, k, v) = (q?, k?, v?);
        let out = *at.outputs.first().ok_or(Stop::Unsupported)?;
        let shape = attention::AttentionShape {
            heads: shape.heads,
            kv_heads: shape.kv_heads,
            d: shape.d,
            e: shape.e,
            scale: shape.scale,
            softcap: shape.softcap,
            window: shape.window,
        };
        let (device, pool) = (&self.pools.device, &self.pools.pools[number]);
        let tables = turn.table_at[number * feeds.len()..].iter();
        let view = |buffer, offset, dtype| View { buffer, offset, dtype, shape: &[] };
        for (nth, ((feed, (all, head)), table)) in feeds.iter().zip(&turn.batch.feeds).zip(tables).enumerate()
        {
            let past = Past {
                keys: view(&pool.keys, 0, DType::F32),
                values: view(&pool.values, 0, DType::F32),
                pages: Some(view(&*turn.tables, *table, DType::U32)),
            };
            let (q_row, out_row) = (shape.heads * shape.d * 4, shape.heads * shape.e * 4);
            if let Some(rows) = &turn.live {
                let count = view(&*turn.tables, 4 * nth, DType::U32);
                let live = attention::Live { count, most: rows.positions() };
                let row =
                    |from, columns: usize| view(&*turn.room, from + all.start * columns * 4, DType::F32);
                let added = [row(k, shape.kv_heads * shape.d), row(v, shape.kv_heads * shape.e)];
                attention::append_live(device, &shape, added, &past, &live)?;
                let q = view(&*turn.room, q + all.start * q_row, DType::F32);
                let to = view(&*turn.room, out + all.start * out_row, DType::F32);
                attention::attend_live(device, &shape, q, &past, &live, to)?;
                continue;
            }
            let pages = slots(&feed.state.pages[number]);
            for (from, to, columns) in
                [(k, &pool.keys, shape.kv_heads * shape.d), (v, &pool.values, shape.kv_heads * shape.e)]
            {
                each_run(&pages, feed.state.tokens.len(), all.len(), |done, place, run| {
                    let row = columns * 4;
                    device.copy(&turn.room, from + (all.start + done) * row, to, place * row, run * row)
                })?;
            }
            let rows = if step.head { head.clone() } else { all.clone() };
            if rows.is_empty() {
                continue;
            }
            let position = feed.state.tokens.len() + all.len() - rows.len();
            let q = view(&*turn.room, q + rows.start * q_row, DType::F32);
            let to = view(&*turn.room, out + rows.start * out_row, DType::F32);
            attention::attend(device, &shape, q, position, rows.len(), &past, to)?;
        }
        Ok(())
    }
}
