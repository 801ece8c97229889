//! Requests and answers, and what hostile clients achieve.
#![forbid(unsafe_code)]

mod attacks;

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use repops_http::{Client, HttpError, Limits, Reply, Server, Version};

const PATIENCE: Duration = Duration::from_millis(800);

fn limits() -> Limits {
    Limits { patience: PATIENCE, lifetime: 4 * PATIENCE, body_bytes_max: 100_000, ..Limits::default() }
}

/// A server that says what it was asked, and ends with this.
struct Echo {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    fn start(address: &str, limits: Limits) -> Echo {
        let server = Server::listen(address, limits).unwrap();
        let (address, is_over) = (server.address(), Arc::new(AtomicBool::new(false)));
        let over = is_over.clone();
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::SeqCst) {
                let Some(request) = server.next(Duration::from_millis(20)) else { continue };
                match request.parts().as_slice() {
                    ["large"] => request.answer(Reply::new(200, "text/plain", vec![b'a'; 3_000_000])),
                    ["late"] => {
                        std::thread::sleep(Duration::from_secs(1));
                        request.answer(Reply::new(200, "text/plain", "at last"));
                    }
                    ["never"] => drop(request),
                    _ => {
                        let is_two = request.version == Version::HTTP_2;
                        let version = if is_two { 2 } else { 1 };
                        let (method, path) = (request.method.clone(), request.path.clone());
                        let text = format!("{version} {method} {path} {}", request.body.len());
                        request.answer(Reply::new(200, "text/plain", text));
                    }
                }
            }
        });
        Echo { address, is_over, thread: Some(thread) }
    }

    fn client(&self) -> Client {
        Client::new(&format!("http://{}", self.address), Duration::from_secs(20), 4_000_000).unwrap()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn text(reply: Result<Reply, HttpError>) -> (u16, String) {
    let reply = reply.unwrap();
    (reply.status, String::from_utf8(reply.body).unwrap())
}

#[test]
fn programs_speak_http_2_and_browsers_http_1() {
    let server = Echo::start("127.0.0.1:0", limits());
    let client = server.client();
    assert_eq!(text(client.get("a/b?c=d")), (200, "2 GET /a/b 0".to_string()));
    assert_eq!(text(client.post("a", &[7; 100_000])), (200, "2 POST /a 100000".to_string()));
    assert_eq!(text(client.post("a", &[7; 100_001])).0, 413);
    assert_eq!(text(client.get("never")).0, 500);
    assert_eq!(client.get("large").unwrap().body.len(), 3_000_000);
    assert!(matches!(client.get("two words"), Err(HttpError::Url { .. })));
    let page = attacks::browse(server.address, "/page");
    assert!(page.starts_with("HTTP/1.1 200") && page.ends_with("1 GET /page 0"), "{page}");
    let small = Client::new(&format!("http://{}/below/", server.address), PATIENCE, 1000).unwrap();
    assert!(matches!(small.get("large"), Ok(reply) if reply.body.starts_with(b"2 GET /below/large")));
    let root = Client::new(&format!("http://{}", server.address), PATIENCE, 1000).unwrap();
    assert!(matches!(root.get("large"), Err(HttpError::TooLarge { most: 1000 })));
    assert!(matches!(root.get("late"), Err(HttpError::Late { .. })));
    for bad in ["https://h", "h:1", "http://", "http://h/?q", "file:///x"] {
        assert!(matches!(Client::new(bad, PATIENCE, 1), Err(HttpError::Url { .. })), "{bad}");
    }
    assert!(matches!(Server::listen("nowhere.invalid:1", limits()), Err(HttpError::Listen { .. })));
}

#[test]
fn clients_connect_again() {
    let server = Echo::start("127.0.0.1:0", limits());
    let (client, address) = (server.client(), server.address.to_string());
    assert_eq!(text(client.get("a")).0, 200);
    // Too long without a request.
    std::thread::sleep(PATIENCE * 2);
    assert_eq!(text(client.get("a")).0, 200);
    drop(server);
    assert!(client.get("a").is_err());
    let _server = Echo::start(&address, limits());
    assert_eq!(text(client.get("a")).0, 200);
    // Longer than a connection lasts.
    for _ in 0..40 {
        assert_eq!(text(client.get("a")).0, 200);
        std::thread::sleep(PATIENCE / 8);
    }
}

#[test]
fn attacks_end_and_disturb_nobody() {
    let server = Echo::start("127.0.0.1:0", limits());
    let client = server.client();
    let expected = (200, "2 POST /as/before 5".to_string());
    for (name, bytes) in attacks::all("/a") {
        let streams: Vec<TcpStream> = (0..3).map(|_| attacks::start(server.address, &bytes)).collect();
        assert_eq!(text(client.post("as/before", b"words")), expected, "{name}");
        for stream in &streams {
            assert!(attacks::is_ended(stream, 10 * PATIENCE), "{name}: it goes on");
        }
    }
    // All at once.
    let streams: Vec<TcpStream> =
        attacks::all("/a").iter().map(|(_, bytes)| attacks::start(server.address, bytes)).collect();
    assert_eq!(text(client.post("as/before", b"words")), expected);
    drop(streams);
    assert_eq!(text(server.client().post("as/before", b"words")), expected);
}

#[test]
fn one_address_has_so_many_connections_and_the_server_so_many_bytes() {
    let few = Limits { connections_of_one_max: 3, held_bytes_max: 50_000, ..limits() };
    let server = Echo::start("127.0.0.1:0", few);
    let idle: Vec<TcpStream> = (0..3).map(|_| attacks::start(server.address, b"")).collect();
    // They are accepted in order.
    let turned_away = attacks::start(server.address, b"");
    assert!(attacks::is_ended(&turned_away, 10 * PATIENCE));
    assert!(idle.iter().all(|stream| attacks::is_ended(stream, 10 * PATIENCE)));
    let client = server.client();
    assert_eq!(text(client.post("a", &[1; 40_000])).0, 200);
    assert_eq!(text(client.post("a", &[1; 60_000])).0, 503);
    // An answer that is larger than all of it waits until it is alone.
    assert_eq!(client.get("large").unwrap().body.len(), 3_000_000);
}
