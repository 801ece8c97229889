//! The streams of a device, and what is given to which.
//!
//! Work goes to the main stream; work beside other work goes to a second one, which first waits for the main one, and for which the main one
//! waits at a join. A third one takes memory while the main one is recorded. Invariant: memory that work beside was given is
//! used for something else only after a join, or by later work beside.

use std::sync::Mutex;

use cudarc::driver::result::{self, stream::StreamKind};
use cudarc::driver::sys;

use super::{failed, lock};
use crate::Error;
use crate::ledger::Ledger;

pub(super) struct Streams {
    pub main: sys::CUstream,
    pub beside: sys::CUstream,
    /// Is never recorded.
    pub aside: sys::CUstream,
    /// Of the main stream, and of the one beside.
    events: [sys::CUevent; 2],
    turn: Mutex<Turn>,
}

/// Memory: its address, and what was taken for it.
pub(super) type Piece = (sys::CUdeviceptr, usize);

/// How things stand.
#[derive(Default)]
pub(super) struct Turn {
    /// Whether what is given now goes beside.
    pub is_beside: bool,
    /// Works beside so far, and how many of them were waited for.
    pub besides: u64,
    pub joined: u64,
    pub ledger: Ledger<Piece>,
    /// Memory of others that was given up while something is recorded.
    pub late: Vec<Piece>,
}

impl Turn {
    /// Whether nothing is under way beside.
    pub fn is_joined(&self) -> bool {
        self.joined == self.besides
    }
}

impl Streams {
    /// The context is current.
    pub fn new() -> Result<Streams, Error> {
        let stream = || result::stream::create(StreamKind::NonBlocking).map_err(|e| failed("a stream", e));
        let event = || {
            let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING;
            result::event::create(flags).map_err(|e| failed("an event", e))
        };
        let (main, beside, aside) = (stream()?, stream()?, stream()?);
        Ok(Streams { main, beside, aside, events: [event()?, event()?], turn: Mutex::default() })
    }

    /// How things stand; nothing changes while it is held.
    pub fn turn(&self) -> std::sync::MutexGuard<'_, Turn> {
        lock(&self.turn)
    }

    /// The stream of what is given now.
    pub fn of(&self, turn: &Turn) -> sys::CUstream {
        if turn.is_beside { self.beside } else { self.main }
    }

    /// Has the stream beside wait for what the main one was given.
    pub fn fork(&self) -> Result<(), Error> {
        self.order(self.main, self.beside, self.events[0])
    }

    /// Has the main stream wait for all that is beside.
    pub fn join(&self, turn: &mut Turn) -> Result<(), Error> {
        if !turn.is_joined() {
            self.order(self.beside, self.main, self.events[1])?;
            turn.joined = turn.besides;
        }
        Ok(())
    }

    fn order(&self, first: sys::CUstream, then: sys::CUstream, event: sys::CUevent) -> Result<(), Error> {
        let wait = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: streams and events live as long as `self`. A wait is for what was recorded when it was asked for, so that an
        // event may be recorded again at once.
        unsafe {
            result::event::record(event, first).and_then(|()| result::stream::wait_event(then, event, wait))
        }
        .map_err(|e| failed("an event", e))
    }

    /// Waits until everything is done.
    pub fn synchronize(&self) -> Result<(), Error> {
        for stream in [self.main, self.beside, self.aside] {
            // SAFETY: the streams live as long as `self`.
            unsafe { result::stream::synchronize(stream) }.map_err(|e| failed("waiting", e))?;
        }
        Ok(())
    }

    /// Gives them up. The context is current, and nobody uses them any more; the driver finishes what is on them first.
    pub fn destroy(&self) {
        for stream in [self.main, self.beside, self.aside] {
            // SAFETY: as above.
            let _ = unsafe { result::stream::destroy(stream) };
        }
        for event in self.events {
            // SAFETY: as above.
            let _ = unsafe { result::event::destroy(event) };
        }
    }
}
