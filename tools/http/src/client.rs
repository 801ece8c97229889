//! The client: requests over one HTTP/2 connection, which is made when it is needed.
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
    /// One thread beside the caller's, which answers the server's pings.
    runtime: Runtime,
    connection: Mutex<Option<SendRequest<Whole>>>,
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
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
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
                    *self.connection() = None;
                    Err(HttpError::Late { after: self.patience })
                }
            }
        })
    }

    async fn ask_twice(&self, method: &Method, path: &str, body: &[u8]) -> Result<Reply, HttpError> {
        let known = self.connection().clone().filter(|known| !known.is_closed());
        if let Some(known) = known {
            match self.ask_on(known, method, path, body).await {
                // The server may have closed it in the meantime.
                Err(HttpError::Protocol(_)) => {}
                answer => return answer,
            }
        }
        *self.connection() = None;
        let fresh = self.connect().await?;
        *self.connection() = Some(fresh.clone());
        let answer = self.ask_on(fresh, method, path, body).await;
        if matches!(answer, Err(HttpError::Protocol(_))) {
            *self.connection() = None;
        }
        answer
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

    async fn connect(&self) -> Result<SendRequest<Whole>, HttpError> {
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
        self.runtime.spawn(connection);
        Ok(sender)
    }

    fn connection(&self) -> MutexGuard<'_, Option<SendRequest<Whole>>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
