//! HTTP between programs that do not trust each other: HTTP/2 with prior knowledge (RFC 9113, section 3.3), and on the same port
//! HTTP/1.1 for browsers.
//!
//! A server puts complete requests into a queue, from which ordinary threads take and answer them; a client waits for its
//! answer. Invariant: what strangers send, or fail to send or to read, costs a bounded number of connections, streams, bytes and
//! seconds ([`Limits`]), and never disturbs another's request. Nothing here knows what the messages say: who said something, and
//! whether it has been said before, is for signatures to tell.
#![forbid(unsafe_code)]
#![deny(clippy::float_arithmetic)]

mod body;
mod client;
mod patient;
mod server;

use std::time::Duration;

pub use client::Client;
pub use hyper::{Method, Version};
pub use patient::Patient;
pub use server::{Request, Server};

/// How much of a server strangers may have.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once, in all and of one address; others are closed at once.
    pub connections_max: usize,
    pub connections_of_one_max: usize,
    /// Requests at once on one connection.
    pub streams_max: u32,
    /// Requests that wait for somebody to take them; others are told to come again.
    pub waiting_max: usize,
    /// Bytes of a request's head, and of its body.
    pub head_bytes_max: u32,
    pub body_bytes_max: usize,
    /// Bytes of all bodies and answers that are held at a time.
    pub held_bytes_max: u32,
    /// How long a head and a body may take to arrive, a connection may have no request, a client may take nothing of what is
    /// written to it, and an answer may wait for room.
    pub patience: Duration,
    /// How long a connection may last, whatever it does; clients connect again.
    pub lifetime: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 256,
            connections_of_one_max: 32,
            streams_max: 8,
            waiting_max: 64,
            head_bytes_max: 16 << 10,
            body_bytes_max: 256 << 10,
            held_bytes_max: 64 << 20,
            patience: Duration::from_secs(20),
            lifetime: Duration::from_secs(300),
        }
    }
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    pub status: u16,
    pub kind: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn new(status: u16, kind: &str, body: impl Into<Vec<u8>>) -> Reply {
        Reply { status, kind: kind.to_string(), body: body.into() }
    }

    fn text(status: u16, text: &str) -> Reply {
        Reply::new(status, "text/plain; charset=utf-8", text)
    }

    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Why there is no server, or no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("{listen}: {source}")]
    Listen { listen: String, source: std::io::Error },
    #[error("{url}: {problem}")]
    Url { url: String, problem: &'static str },
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Protocol(#[from] hyper::Error),
    #[error("no answer within {} s", after.as_secs())]
    Late { after: Duration },
    #[error("an answer of more than {most} bytes")]
    TooLarge { most: usize },
}
