//! Bodies: whole ones to be sent, and those that arrive, up to a limit.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// Bytes, and whatever is to be held until they are sent or nobody wants them.
pub struct Whole<G = ()> {
    bytes: Option<Bytes>,
    _held: G,
}

impl<G> Whole<G> {
    pub fn new(bytes: Vec<u8>, held: G) -> Whole<G> {
        Whole { bytes: Some(bytes.into()).filter(|bytes: &Bytes| !bytes.is_empty()), _held: held }
    }
}

impl<G: Unpin> Body for Whole<G> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

/// Why a body is not there.
pub enum Unread {
    TooLarge,
    /// What the caller holds bodies in has no room.
    NoRoom,
    Broken(hyper::Error),
}

/// A body of at most `most` bytes; `room` is asked for every piece of it.
pub async fn read(
    mut body: Incoming,
    most: usize,
    mut room: impl FnMut(usize) -> bool,
) -> Result<Vec<u8>, Unread> {
    let mut bytes = Vec::new();
    if body.size_hint().lower() > most as u64 {
        return Err(Unread::TooLarge);
    }
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let Ok(piece) = frame.map_err(Unread::Broken)?.into_data() else { continue };
        if bytes.len() + piece.len() > most {
            return Err(Unread::TooLarge);
        }
        if !room(piece.len()) {
            return Err(Unread::NoRoom);
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}
