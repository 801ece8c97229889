//! How disputes travel: HTTP/2 between the processes, pages for browsers, and hostile clients in between.
#![forbid(unsafe_code)]

#[path = "../../http/tests/attacks/mod.rs"]
#[allow(dead_code)] // Other tests use the rest of it.
mod attacks;
#[allow(dead_code)] // Other tests use the rest of it.
mod fixture;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fixture::{Process, folder, free_port, words};
use repops_http::Client;
use serde_json::json;

/// Passes connections on, and keeps how each began.
fn recorder(to: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<Vec<u8>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, begun) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let kept = begun.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(to) else { continue };
            let (back_from, back_to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || carry(back_from, back_to, None));
            let kept = kept.clone();
            std::thread::spawn(move || carry(client, server, Some(kept)));
        }
    });
    (address, begun)
}

fn carry(mut from: TcpStream, mut to: TcpStream, begun: Option<Arc<Mutex<Vec<Vec<u8>>>>>) {
    let mut first = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        let room = attacks::PREFACE.len() - first.len();
        first.extend_from_slice(&piece[..count.min(room)]);
        if to.write_all(&piece[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
    if let Some(begun) = begun.filter(|_| !first.is_empty()) {
        begun.lock().unwrap().push(first);
    }
}

#[test]
fn disputes_go_over_http_2_whatever_strangers_send() {
    let folder = folder();
    for name in ["a", "b"] {
        folder.repops(["keygen", "-o", &format!("{name}.pem")]).expect(0);
    }
    let port = free_port();
    let referee = SocketAddr::from(([127, 0, 0, 1], port));
    let (address, begun) = recorder(referee);
    let url = format!("http://{address}");
    let _referee = Process::start(&folder, &words(&format!("referee serve --listen {referee} --data games")));
    let provider = |name: &str, further: &str| {
        let text = format!(
            "provider serve p.rep --input X:0=x.npy --claim {name}.json --key {name}.pem --referee {url} --poll-ms 20 --until-over{further}"
        );
        Process::start(&folder, &words(&text))
    };
    let parties = [provider("a", ""), provider("b", " --fault 0 --seed 3")];
    let open = ["dispute", "open", "--claim", "a.json", "--claim", "b.json", "--referee", &url];
    #[expect(clippy::disallowed_methods, reason = "how long to wait for other processes")]
    let start = std::time::Instant::now();
    let opened = loop {
        let ran = folder.repops(open.into_iter().chain(["--json"]));
        if ran.0.status.code() == Some(0) {
            break ran.json();
        }
        assert!(start.elapsed() < Duration::from_secs(120), "{}", ran.stderr());
        std::thread::sleep(Duration::from_millis(50));
    };
    // While the parties answer, and for as long as the referee bears it.
    let id = opened["id"].as_str().unwrap();
    let messages = format!("/disputes/{id}/messages");
    let attacking: Vec<TcpStream> =
        attacks::all(&messages).iter().map(|(_, bytes)| attacks::start(referee, bytes)).collect();
    let found = folder.repops(open.into_iter().chain(["--wait", "--json"])).json();
    assert_eq!((&found["loser"], &found["reason"]), (&json!("second"), &json!("element")), "{found}");

    let client = Client::new(&format!("http://{referee}"), Duration::from_secs(20), 1 << 20).unwrap();
    let ignored = client.post(&messages[1..], b"words").unwrap();
    assert_eq!(ignored.status, 200, "{ignored:?}");
    assert!(String::from_utf8_lossy(&ignored.body).contains("ignored"), "{ignored:?}");
    assert_eq!(client.post(&messages[1..], &[0; 300_000]).unwrap().status, 413);
    assert_eq!(client.post("disputes", &[b' '; 3_000_000]).unwrap().status, 413);
    assert_eq!(client.post("disputes", b"{}").unwrap().status, 400);
    assert_eq!(client.get("disputes/00").unwrap().status, 404);
    assert_eq!(client.get("elsewhere").unwrap().status, 404);
    for path in ["/".to_string(), format!("/disputes/{id}/page")] {
        let page = attacks::browse(referee, &path);
        assert!(page.starts_with("HTTP/1.1 200") && page.contains("second"), "{page}");
    }
    drop(attacking);
    for party in parties {
        party.wait();
    }
    let begun = begun.lock().unwrap();
    assert!(begun.len() >= 4, "two parties and two that open");
    for first in begun.iter() {
        assert_eq!(first, attacks::PREFACE, "{}", String::from_utf8_lossy(first));
    }
}
