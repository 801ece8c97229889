//! Connections: so many at once, and each with a client that must not stall.
//!
//! A client has some time to send the head of a request (also of the next one on the same connection), and some to take
//! what is written to it; the time for a request's body is the handlers' affair. Whoever takes longer is cut off.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use repops_http::Patient;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Bytes of a connection that wait to be read or written; the head of a request must fit.
const BUFFER_BYTES: usize = 64 << 10;
/// After a connection that could not be accepted, for want of descriptors for example.
const RECOVERY: Duration = Duration::from_millis(50);

/// Serves connections until `end`, then lets those that are open finish their answers.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    connections_max: usize,
    patience: Duration,
    end: impl Future<Output = ()>,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(patience).max_buf_size(BUFFER_BYTES);
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(connections_max.clamp(1, Semaphore::MAX_PERMITS)));
    let mut end = pin!(end);
    loop {
        // With all places taken others wait for the system to let them in.
        let place = tokio::select! {
            () = &mut end => break,
            place = places.clone().acquire_owned() => place,
        };
        let accepted = tokio::select! {
            () = &mut end => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(RECOVERY).await;
            continue;
        };
        // Without it events wait for others; no answer depends on it.
        let _ = stream.set_nodelay(true);
        let stream = Patient::new(stream, patience);
        let service = TowerToHyperService::new(router.clone());
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // How a connection ends concerns its client alone.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    graceful.shutdown().await;
}
