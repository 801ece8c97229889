//! What a hostile client may send, written by hand, byte by byte (RFC 9113).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// Enough of anything to be too much.
const MANY: u32 = 4000;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// `POST` or `GET` of a path, as fields of HPACK's static table (RFC 7541, appendix A).
fn fields(is_post: bool, path: &str) -> Vec<u8> {
    let mut bytes = vec![if is_post { 0x83 } else { 0x82 }, 0x86, 0x44, path.len() as u8];
    bytes.extend(path.as_bytes());
    bytes.extend(b"\x41\x01h");
    bytes
}

/// The preface and settings, and then these frames.
fn session(frames: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    frames.into_iter().for_each(|frame| bytes.extend(frame));
    bytes
}

/// Attacks on a server, by name.
pub fn all(path: &str) -> Vec<(&'static str, Vec<u8>)> {
    let streams = || (0..MANY).map(|n| 2 * n + 1);
    let (get, post) = (fields(false, path), fields(true, path));
    let open = |stream, flags| frame(HEADERS, flags, stream, &post);
    vec![
        ("garbage", vec![0xa5; 8192]),
        ("garbage after the preface", [PREFACE, &[0xa5; 8192]].concat()),
        ("half a preface", PREFACE[..11].to_vec()),
        ("a preface and silence", PREFACE.to_vec()),
        ("a stream that stalls", session([open(1, END_HEADERS), frame(DATA, 0, 1, b"{\"first\": ")])),
        (
            "more than the window",
            session(
                [open(1, END_HEADERS)].into_iter().chain((0..64).map(|_| frame(DATA, 0, 1, &[b' '; 16384]))),
            ),
        ),
        (
            "a frame that is too long",
            session([open(1, END_HEADERS), [&[0xff; 3][..], &[DATA, 0, 0, 0, 0, 1]].concat()]),
        ),
        ("many streams", session(streams().map(|stream| open(stream, END_HEADERS)))),
        (
            "streams that are taken back",
            session(streams().flat_map(|stream| {
                [
                    frame(HEADERS, END_HEADERS | END_STREAM, stream, &get),
                    frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]),
                ]
            })),
        ),
        (
            "a head without an end",
            session([open(1, 0)].into_iter().chain((0..MANY).map(|_| {
                // A field that no table has: "a" with 1000 bytes.
                let field = [&b"\x00\x01a\x7f\xe9\x06"[..], &[b'a'; 1000]].concat();
                frame(CONTINUATION, 0, 1, &field)
            }))),
        ),
        ("pings", session((0..MANY).map(|_| frame(PING, 0, 0, &[7; 8])))),
        ("settings", session((0..MANY).map(|_| frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1])))),
        (
            "answers that nobody reads",
            session(
                // No window for answers at all.
                [frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])].into_iter().chain(
                    streams().take(8).map(|stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &get)),
                ),
            ),
        ),
        ("a slow head of HTTP/1.1", b"GET / HTTP/1.1\r\nHost: h\r\nX: ".to_vec()),
        (
            "a body that does not come",
            format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 9999\r\n\r\n").into_bytes(),
        ),
        (
            "a body of any length",
            format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999\r\n\r\nxx").into_bytes(),
        ),
    ]
}

/// Sends as much as is taken.
pub fn start(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let _ = stream.write_all(bytes);
    stream
}

/// Whether the server ends the connection within that time.
pub fn is_ended(mut stream: &TcpStream, within: Duration) -> bool {
    #[expect(clippy::disallowed_methods, reason = "how long to wait for another side")]
    let start = std::time::Instant::now();
    let mut piece = [0; 16 << 10];
    while start.elapsed() < within {
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        match stream.read(&mut piece) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => return true,
        }
    }
    false
}

/// The answer to a request of HTTP/1.1, as browsers make it.
pub fn browse(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text
}
