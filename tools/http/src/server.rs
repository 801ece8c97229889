//! The server: connections that are limited and watched, and a queue of complete requests.
//!
//! A connection begins with HTTP/2's preface or is HTTP/1.1's. It ends when its client goes, stalls, has had no request for
//! a while, or has lasted long enough.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::body::{Unread, Whole, read};
use crate::{HttpError, Limits, Patient, Reply};

/// After a connection that could not be accepted, for want of descriptors for example.
const RECOVERY: Duration = Duration::from_millis(50);
/// How often a server that ends looks whether it can.
const LAST: Duration = Duration::from_millis(5);
/// Streams that a client opened and took back before they were looked at, and errors of its that were answered: with more the
/// connection ends.
const RESETS_MAX: usize = 32;
/// What may be on the way to this server, of a stream and of a connection, and in one frame.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
const WINDOW_BYTES: u32 = 256 << 10;
const FRAME_BYTES: u32 = 16 << 10;
const SEND_BYTES: usize = 64 << 10;
const HEADERS_MAX: usize = 64;

/// A listening server; it ends when this is dropped.
pub struct Server {
    address: SocketAddr,
    requests: Mutex<Receiver<Request>>,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

/// A complete request; when it is dropped, its client is told that it failed.
pub struct Request {
    pub method: Method,
    /// Without the query.
    pub path: String,
    pub version: Version,
    pub body: Vec<u8>,
    reply: oneshot::Sender<Reply>,
}

impl Request {
    /// The path's parts between slashes.
    pub fn parts(&self) -> Vec<&str> {
        self.path.split('/').filter(|part| !part.is_empty()).collect()
    }

    /// Whether nobody waits for an answer any more. A request may be kept as long as its client waits; it takes no thread.
    pub fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    pub fn answer(self, reply: Reply) {
        // Whoever has gone away will ask again.
        let _ = self.reply.send(reply);
    }
}

impl Server {
    pub fn listen(address: &str, limits: Limits) -> Result<Server, HttpError> {
        let failed = |source| HttpError::Listen { listen: address.to_string(), source };
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind(address)).map_err(failed)?;
        let address = listener.local_addr()?;
        let (queue, requests) = sync_channel(limits.waiting_max);
        let held = Arc::new(Semaphore::new(limits.held_bytes_max as usize));
        let shared =
            Arc::new(Shared { limits, queue, held, places: Mutex::default(), open: AtomicUsize::new(0) });
        runtime.spawn(accept(listener, shared.clone()));
        Ok(Server { address, requests: Mutex::new(requests), shared, runtime: Some(runtime) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next request, if one comes in that time; any number of threads may wait.
    pub fn next(&self, wait: Duration) -> Option<Request> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.recv_timeout(wait).ok()
    }

    /// Ends the server once all that was answered is sent, and after `most` in any case. Requests that nobody has answered fail.
    pub fn finish(self, most: Duration) {
        let Some(runtime) = &self.runtime else { return };
        if let Ok(requests) = self.requests.lock() {
            requests.try_iter().for_each(drop);
        }
        runtime.block_on(async {
            let sent = async {
                while self.shared.open.load(Ordering::SeqCst) > 0 {
                    sleep(LAST).await;
                }
            };
            let _ = timeout(most, sent).await;
            // What the connections were handed they write at once.
            sleep(LAST).await;
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What all connections have in common.
struct Shared {
    limits: Limits,
    queue: SyncSender<Request>,
    /// Room for bodies and answers, in bytes.
    held: Arc<Semaphore>,
    /// Connections by address.
    places: Mutex<BTreeMap<IpAddr, usize>>,
    /// Requests under way.
    open: AtomicUsize,
}

impl Shared {
    fn places(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(self: &Arc<Shared>, address: IpAddr) -> Option<Place> {
        let mut places = self.places();
        let is_full = places.values().sum::<usize>() >= self.limits.connections_max;
        let own = places.entry(address).or_default();
        if is_full || *own >= self.limits.connections_of_one_max {
            if *own == 0 {
                places.remove(&address);
            }
            return None;
        }
        *own += 1;
        Some(Place { shared: self.clone(), address })
    }
}

/// A connection's place.
struct Place {
    shared: Arc<Shared>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.shared.places();
        if let Some(own) = places.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                places.remove(&self.address);
            }
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, address)) = listener.accept().await else {
            sleep(RECOVERY).await;
            continue;
        };
        // Closed at once where there is no place: its client tries again, and others are not kept waiting behind it.
        if let Some(place) = shared.place(address.ip()) {
            tokio::spawn(connection(stream, place));
        }
    }
}

/// How busy a connection is.
struct Activity(Mutex<(usize, Instant)>);

impl Activity {
    fn state(&self) -> MutexGuard<'_, (usize, Instant)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since when there has been no request, if there is none.
    fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        (state.0 == 0).then_some(state.1)
    }
}

/// A request under way, until its answer is sent.
struct Open {
    activity: Arc<Activity>,
    shared: Arc<Shared>,
}

impl Open {
    fn new(activity: &Arc<Activity>, shared: &Arc<Shared>) -> Open {
        activity.state().0 += 1;
        shared.open.fetch_add(1, Ordering::SeqCst);
        Open { activity: activity.clone(), shared: shared.clone() }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.activity.state();
        *state = (state.0 - 1, Instant::now());
        self.shared.open.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn connection(stream: TcpStream, place: Place) {
    let limits = &place.shared.limits;
    let patience = limits.patience;
    // Without it answers wait for more to be written; no answer depends on it.
    let _ = stream.set_nodelay(true);
    let activity = Arc::new(Activity(Mutex::new((0, Instant::now()))));
    let service = service_fn(|request| {
        let (shared, open) = (place.shared.clone(), Open::new(&activity, &place.shared));
        async move { Ok::<_, Infallible>(respond(request, shared, open).await) }
    });
    let http = protocols(limits);
    let stream = TokioIo::new(Patient::new(stream, patience));
    let mut connection = pin!(http.serve_connection(stream, service));
    let end = Instant::now() + limits.lifetime;
    loop {
        let until = activity.idle_since().unwrap_or_else(Instant::now) + patience;
        // How a connection ends concerns its client alone.
        if timeout_at(until.min(end), connection.as_mut()).await.is_ok() {
            return;
        }
        let now = Instant::now();
        if end <= now || activity.idle_since().is_some_and(|since| since + patience <= now) {
            break;
        }
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(patience, connection).await;
}

fn protocols(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.patience)
        .max_buf_size(limits.head_bytes_max.max(8 << 10) as usize)
        .max_headers(HEADERS_MAX);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_max)
        .max_header_list_size(limits.head_bytes_max)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .max_send_buf_size(SEND_BYTES)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .keep_alive_interval(limits.patience / 2)
        .keep_alive_timeout(limits.patience / 2);
    http
}

type Answer = Response<Whole<(Open, Option<OwnedSemaphorePermit>)>>;

async fn respond(request: hyper::Request<Incoming>, shared: Arc<Shared>, open: Open) -> Answer {
    let reply = answer(request, &shared).await;
    let bytes = reply.body.len().min(shared.limits.held_bytes_max as usize) as u32;
    // Who writes answers has them in memory already; they wait here, not in the connections.
    let room = timeout(shared.limits.patience, shared.held.clone().acquire_many_owned(bytes)).await;
    let (reply, room) = match room {
        Ok(Ok(room)) => (reply, Some(room)),
        _ => (Reply::text(503, "too much is being sent at the moment\n"), None),
    };
    let mut response = Response::new(Whole::new(reply.body, (open, room)));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(kind) = HeaderValue::from_str(&reply.kind) {
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    response
}

/// The queue's answer, or why the request does not get there.
async fn answer(request: hyper::Request<Incoming>, shared: &Shared) -> Reply {
    let limits = &shared.limits;
    let (head, body) = request.into_parts();
    let mut held: Option<OwnedSemaphorePermit> = None;
    let room = |bytes: usize| {
        let Ok(more) = shared.held.clone().try_acquire_many_owned(bytes as u32) else { return false };
        match &mut held {
            Some(held) => held.merge(more),
            None => held = Some(more),
        }
        true
    };
    let body = match within(limits.patience, read(body, limits.body_bytes_max, room)).await {
        None => return Reply::text(408, "the request's body takes too long\n"),
        Some(Err(Unread::TooLarge)) => {
            return Reply::text(413, &format!("more than {} bytes\n", limits.body_bytes_max));
        }
        Some(Err(Unread::NoRoom)) => return Reply::text(503, "too much is being received at the moment\n"),
        Some(Err(Unread::Broken(error))) => return Reply::text(400, &format!("{error}\n")),
        Some(Ok(body)) => body,
    };
    let (reply, answered) = oneshot::channel();
    let path = head.uri.path().to_string();
    let request = Request { method: head.method, path, version: head.version, body, reply };
    if shared.queue.try_send(request).is_err() {
        return Reply::text(503, "too many requests are waiting\n");
    }
    answered.await.unwrap_or_else(|_| Reply::text(500, "there is no answer\n"))
}

async fn within<T>(patience: Duration, what: impl Future<Output = T>) -> Option<T> {
    timeout(patience, what).await.ok()
}
