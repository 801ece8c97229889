//! Recordings: launches and copies that the driver takes as one graph.
//!
//! Invariant: memory that was taken while a graph was recorded is its own as long as it is there.

use std::sync::Arc;

use cudarc::driver::{result, sys};

use super::streams::Piece;
use super::{Inner, failed};
use crate::Error;

/// A graph that can be launched.
pub struct Recording {
    graph: Executable,
    own: Vec<Piece>,
    owner: Arc<Inner>,
}

struct Executable(sys::CUgraphExec);

// SAFETY: a name that the driver takes in any thread.
unsafe impl Send for Executable {}
// SAFETY: as above; nothing of it is changed but by the driver.
unsafe impl Sync for Executable {}

impl Drop for Executable {
    fn drop(&mut self) {
        // SAFETY: it was made by the driver and is given up once; one that runs is finished first.
        let _ = unsafe { result::graph::exec_destroy(self.0) };
    }
}

/// A graph as it was recorded, destroyed when it goes.
struct Recorded(sys::CUgraph);

impl Drop for Recorded {
    fn drop(&mut self) {
        // SAFETY: as above.
        let _ = unsafe { result::graph::destroy(self.0) };
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        give_back(&self.owner, &self.own);
    }
}

/// Frees a recording's memory after everything that the main stream was given, the graph itself too.
fn give_back(owner: &Inner, own: &[Piece]) {
    if owner.bind().is_err() {
        return;
    }
    let free = owner.streams.turn().ledger.release(own);
    for piece in free {
        owner.memory.give_back(owner.streams.main, false, piece);
    }
}

impl Inner {
    pub(super) fn record(
        self: &Arc<Inner>,
        work: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<Recording, Error> {
        self.bind()?;
        let stream = self.streams.main;
        {
            let mut turn = self.streams.turn();
            if turn.is_beside || !turn.is_joined() || !turn.ledger.begin() {
                return Err(Error::unsupported("recording while something is recorded, or work is beside"));
            }
        }
        // Memory is taken, on another stream, while this one is recorded; nothing may still use it.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        let begun = self.streams.synchronize().and_then(|()| {
            // SAFETY: the stream lives; whatever happens, recording is ended below.
            unsafe { result::stream::begin_capture(stream, mode) }.map_err(|e| failed("a graph", e))
        });
        let (mut worked, mut recorded) = (Ok(()), None);
        if begun.is_ok() {
            worked = work();
            // SAFETY: recording was begun.
            recorded = Some(unsafe { result::stream::end_capture(stream) });
        }
        let (own, late) = {
            let mut turn = self.streams.turn();
            if worked.is_ok() && !turn.is_joined() {
                worked = Err(Error::unsupported("a recording that leaves work beside"));
            }
            turn.joined = turn.besides;
            (turn.ledger.end(), std::mem::take(&mut turn.late))
        };
        for piece in late {
            self.memory.give_back(stream, false, piece);
        }
        let made = || -> Result<Executable, Error> {
            begun?;
            worked?;
            let recorded = recorded.ok_or_else(|| Error::unsupported("recording"))?;
            let recorded = Recorded(recorded.map_err(|e| failed("a graph", e))?);
            let flags = sys::CUgraphInstantiate_flags_enum(0);
            // SAFETY: the graph was made by the driver just now.
            let made = unsafe { result::graph::instantiate(recorded.0, flags) };
            Ok(Executable(made.map_err(|e| failed("a graph", e))?))
        };
        match made() {
            Ok(graph) => Ok(Recording { graph, own, owner: self.clone() }),
            Err(error) => {
                give_back(self, &own);
                Err(error)
            }
        }
    }

    pub(super) fn replay(&self, recording: &Recording) -> Result<(), Error> {
        self.bind()?;
        let turn = self.streams.turn();
        if turn.is_beside || turn.ledger.is_open() {
            return Err(Error::unsupported("replaying in a recording, or beside other work"));
        }
        // SAFETY: graph and stream live, in the same context.
        unsafe { result::graph::launch(recording.graph.0, self.streams.main) }
            .map_err(|e| failed("a graph", e))
    }
}
