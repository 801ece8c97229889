//! Graphs: many launches handed to the device as one.
//!
//! Work is recorded each time it is wanted and laid over the graph of the last time under the same number: nodes stay,
//! arguments change. So whoever enqueues need not know that there are graphs.

use std::collections::BTreeMap;

use cudarc::driver::{result, sys};

use super::{Driver, failed, lock};
use crate::Error;

/// Graphs kept.
const GRAPHS_MAX: usize = 16;

/// Executable graphs, by the number of their work.
#[derive(Default)]
pub(super) struct Graphs(BTreeMap<u64, Executable>);

struct Executable(sys::CUgraphExec);

// SAFETY: a name that the driver takes in any thread; it is used behind a mutex alone.
unsafe impl Send for Executable {}

impl Drop for Executable {
    fn drop(&mut self) {
        // SAFETY: it was made by the driver and is given up once; one that runs is finished first.
        let _ = unsafe { result::graph::exec_destroy(self.0) };
    }
}

/// A recorded graph, destroyed when it goes.
struct Recorded(sys::CUgraph);

impl Drop for Recorded {
    fn drop(&mut self) {
        // SAFETY: as above.
        let _ = unsafe { result::graph::destroy(self.0) };
    }
}

impl Driver {
    /// Has `work` enqueue launches and copies between buffers as one graph. `work` must not allocate, read, write or
    /// wait. Works of one `number` have the same launches, with other arguments perhaps.
    pub fn as_graph(&self, number: u64, work: &mut dyn FnMut() -> Result<(), Error>) -> Result<(), Error> {
        let (inner, mut graphs) = (&self.inner, lock(&self.graphs));
        inner.bind()?;
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives; whatever happens, recording is ended below.
        unsafe { result::stream::begin_capture(inner.stream, mode) }.map_err(|e| failed("a graph", e))?;
        let worked = work();
        // SAFETY: recording was begun.
        let recorded = unsafe { result::stream::end_capture(inner.stream) };
        worked?;
        let recorded = Recorded(recorded.map_err(|e| failed("a graph", e))?);
        let fits = graphs.0.get(&number).is_some_and(|known| update(known, &recorded));
        if !fits {
            // SAFETY: the graph was made by the driver just now.
            let made =
                unsafe { result::graph::instantiate(recorded.0, sys::CUgraphInstantiate_flags_enum(0)) };
            let made = Executable(made.map_err(|e| failed("a graph", e))?);
            if graphs.0.len() == GRAPHS_MAX && !graphs.0.contains_key(&number) {
                graphs.0.pop_first();
            }
            graphs.0.insert(number, made);
        }
        let known = &graphs.0[&number];
        // SAFETY: graph and stream live, in the same context.
        unsafe { result::graph::launch(known.0, inner.stream) }.map_err(|e| failed("a graph", e))
    }
}

/// Lays a recorded graph over an executable one; `false` when it is another one.
fn update(known: &Executable, recorded: &Recorded) -> bool {
    let mut info = sys::CUgraphExecUpdateResultInfo_st {
        result: sys::CUgraphExecUpdateResult::CU_GRAPH_EXEC_UPDATE_SUCCESS,
        errorNode: std::ptr::null_mut(),
        errorFromNode: std::ptr::null_mut(),
    };
    // SAFETY: both were made by the driver and live; the place for the answer is a local.
    unsafe { sys::cuGraphExecUpdate_v2(known.0, recorded.0, &mut info) }.result().is_ok()
}
