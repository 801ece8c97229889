//! The client: requests over one HTTP/2 connection, which is made when it is needed.
//!
//! Everything happens on the thread that asks, while it asks: no request is handed to another thread and back. Between requests
//! nobody reads, so a server may give up a connection that has no request; it is made again.
//!
//! Invariant: an answer comes within the given time or not at all. A request may be sent twice, when the connection on which it was sent
//! first had ended: whoever asks has to mean the same by both.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::body::{Unread, Whole, read};
use crate::{HttpError, Patient, Reply};

/// What may be on the way to this client, of an answer and of a connection.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const WINDOW_BYTES: u32 = 2 << 20;
const HEAD_BYTES_MAX: u32 = 16 << 10;

/// A server somewhere, at `http://HOST:PORT` and perhaps below a path.
pub struct Client {
    url: String,
    authority: String,
    port: u16,
    patience: Duration,
    reply_bytes_max: usize,
    /// Runs on the threads that ask.
    runtime: Runtime,
    connection: Mutex<Option<Connection>>,
}

/// A connection, and what carries it; it is closed when that ends.
struct Connection {
    sender: SendRequest<Whole>,
    task: JoinHandle<()>,
}

impl Client {
    /// `patience` is for a whole request, with the connection that it may need.
    pub fn new(url: &str, patience: Duration, reply_bytes_max: usize) -> Result<Client, HttpError> {
        let failed = |problem| HttpError::Url { url: url.to_string(), problem };
        let url = url.trim_end_matches('/').to_string();
        let uri: Uri = url.parse().map_err(|_| failed("this is no URL"))?;
        if uri.scheme_str() != Some("http") || uri.query().is_some() {
            return Err(failed("http://HOST:PORT is needed"));
        }
        let authority = uri.authority().ok_or_else(|| failed("there is no host"))?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Client {
            authority: authority.host().trim_matches(['[', ']']).to_string(),
            port: authority.port_u16().unwrap_or(80),
            url,
            patience,
            reply_bytes_max,
            runtime,
            connection: Mutex::default(),
        })
    }

    /// Where a path of the server is.
    pub fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.url)
    }

    pub fn get(&self, path: &str) -> Result<Reply, HttpError> {
        self.ask(&Method::GET, path, &[])
    }

    pub fn post(&self, path: &str, body: &[u8]) -> Result<Reply, HttpError> {
        self.ask(&Method::POST, path, body)
    }

    fn ask(&self, method: &Method, path: &str, body: &[u8]) -> Result<Reply, HttpError> {
        self.runtime.block_on(async {
            match timeout(self.patience, self.ask_twice(method, path, body)).await {
                Ok(answer) => answer,
                Err(_) => {
                    // It may be stuck.
                    self.give_up().await;
                    Err(HttpError::Late { after: self.patience })
                }
            }
        })
    }

    async fn ask_twice(&self, method: &Method, path: &str, body: &[u8]) -> Result<Reply, HttpError> {
        let known = self.connection().as_ref().map(|known| known.sender.clone());
        let known = known.filter(|known| !known.is_closed());
        if let Some(known) = known {
            match self.ask_on(known, method, path, body).await {
                // The server may have closed it in the meantime.
                Err(HttpError::Protocol(_)) => {}
                answer => return answer,
            }
        }
        self.give_up().await;
        let fresh = self.connect().await?;
        let sender = fresh.sender.clone();
        *self.connection() = Some(fresh);
        let answer = self.ask_on(sender, method, path, body).await;
        if matches!(answer, Err(HttpError::Protocol(_))) {
            self.give_up().await;
        }
        answer
    }

    /// Closes the connection, if there is one: nobody would read what still comes on it.
    async fn give_up(&self) {
        let known = self.connection().take();
        if let Some(known) = known {
            known.task.abort();
            let _ = known.task.await;
        }
    }

    async fn ask_on(
        &self,
        mut connection: SendRequest<Whole>,
        method: &Method,
        path: &str,
        body: &[u8],
    ) -> Result<Reply, HttpError> {
        connection.ready().await?;
        let problem = "this is no path";
        let failed = |_| HttpError::Url { url: self.at(path), problem };
        let request = Request::builder().method(method).uri(self.at(path));
        let request = request.body(Whole::new(body.to_vec(), ())).map_err(failed)?;
        let (head, body) = connection.send_request(request).await?.into_parts();
        let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        match read(body, self.reply_bytes_max, |_| true).await {
            Ok(body) => Ok(Reply::new(head.status.as_u16(), kind, body)),
            Err(Unread::Broken(error)) => Err(error.into()),
            Err(Unread::TooLarge | Unread::NoRoom) => Err(HttpError::TooLarge { most: self.reply_bytes_max }),
        }
    }

    async fn connect(&self) -> Result<Connection, HttpError> {
        let stream = TcpStream::connect((self.authority.as_str(), self.port)).await?;
        // Without it requests wait for more to be written; no answer depends on it.
        let _ = stream.set_nodelay(true);
        let stream = TokioIo::new(Patient::new(stream, self.patience));
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_header_list_size(HEAD_BYTES_MAX)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .keep_alive_interval(self.patience / 2)
            .keep_alive_timeout(self.patience / 2)
            .handshake(stream)
            .await?;
        // How it ends the requests on it are told.
        let task = self.runtime.spawn(async { drop(connection.await) });
        Ok(Connection { sender, task })
    }

    fn connection(&self) -> MutexGuard<'_, Option<Connection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
