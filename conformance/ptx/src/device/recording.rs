//! Calls that are put down and done later, again and again.
//!
//! Invariant: what is given back while something is recorded counts as not written from that place on.

use std::sync::{Arc, Mutex};

use repops_cuda::{Error, Kernel};

use super::{State, locked};
use crate::{Shape, Value};

/// What a device is told to do.
#[derive(Debug)]
pub(super) enum Doing {
    Launch {
        kernel: Kernel,
        shape: Shape,
        values: Vec<Value>,
    },
    /// Numbers of buffers, and offsets.
    Copy {
        from: (u32, usize),
        to: (u32, usize),
        bytes: usize,
    },
    /// What follows is done beside what comes later.
    Beside,
    Back,
    Join,
    /// A buffer's bytes are lost.
    Forget(u32),
}

/// Launches and copies.
#[derive(Debug)]
pub struct Recording {
    calls: Vec<Doing>,
    own: Vec<u32>,
    state: Arc<Mutex<State>>,
}

impl Drop for Recording {
    fn drop(&mut self) {
        let mut state = locked(&self.state);
        for number in state.ledger.release(&self.own) {
            state.machine.memory.free(number);
        }
    }
}

impl State {
    /// A turn to work beside, back, or a wait for it: it counts now, and when it is replayed.
    pub(super) fn turn(&mut self, doing: Doing) -> Result<(), Error> {
        let done = self.do_now(&doing);
        if self.ledger.is_open() {
            self.calls.push(doing);
        }
        done
    }

    pub(super) fn turn_aside(&mut self) -> Result<(), Error> {
        if self.machine.memory.order.beside > 0 {
            return Err(Error::unsupported("work beside work that is beside other work"));
        }
        self.turn(Doing::Beside)
    }

    pub(super) fn begin_recording(&mut self) -> Result<(), Error> {
        let order = self.machine.memory.order;
        if order.beside > 0 || order.joined < self.besides || !self.ledger.begin() {
            return Err(Error::unsupported("recording while something is recorded, or work is beside"));
        }
        Ok(())
    }

    /// What was recorded, and whether it can be replayed. Whoever holds the lock gives it back before the recording goes.
    pub(super) fn end_recording(
        &mut self,
        done: Result<(), Error>,
        state: &Arc<Mutex<State>>,
    ) -> (Recording, Result<(), Error>) {
        let (calls, own) = (std::mem::take(&mut self.calls), self.ledger.end());
        let is_joined = self.machine.memory.order.joined == self.besides;
        self.machine.memory.order.joined = self.besides;
        let done = match done {
            Ok(()) if !is_joined => Err(Error::unsupported("a recording that leaves work beside")),
            done => done,
        };
        (Recording { calls, own, state: state.clone() }, done)
    }

    pub(super) fn replay(&mut self, recording: &Recording) -> Result<(), Error> {
        self.at_once("replaying", true)?;
        self.replays += 1;
        recording.calls.iter().try_for_each(|call| self.do_now(call))
    }
}
