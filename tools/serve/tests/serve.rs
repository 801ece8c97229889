//! The server as its clients see it, over a small model.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use repops::reference::Reference;
use repops::sequence::example::Decoder;
use repops::sequence::sampling::Plain;
use repops_provenance::Key;
use repops_provenance::generation::{GenerationReceipt, verify};
use repops_provenance::row_log;
use repops_runtime::session::{Session, SessionOptions};
use repops_runtime::{Runtime, RuntimeOptions};
use repops_serve::{ServeOptions, serve_on};
use repops_text::Text;
use serde_json::{Value, json};

const END: u32 = 256;
const CONTEXT: usize = 128;

/// Byte-level tokens without merges, and one that ends answers.
fn text() -> Text {
    let printable = |b: u32| (33..=126).contains(&b) || (161..=172).contains(&b) || (174..=255).contains(&b);
    let mut next = 256;
    let mut vocab = serde_json::Map::new();
    for byte in 0..256u32 {
        let code = if printable(byte) { byte } else { next };
        next += u32::from(!printable(byte));
        vocab.insert(char::from_u32(code).unwrap().to_string(), byte.into());
    }
    let bytes =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [{"id": END, "content": "<|end|>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true}],
        "pre_tokenizer": bytes, "decoder": bytes,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": []},
    });
    let template = "{% for m in messages %}{% if m.role == 'mute' %}{{ raise_exception('mute may not speak') }}{% endif %}\
                    {{ m.role }}:{{ m.content }};{% endfor %}";
    let generation = json!({"context_length": CONTEXT, "eos_token_ids": [END]});
    let (tokenizer, generation) = (tokenizer.to_string(), generation.to_string());
    Text::new(tokenizer.as_bytes(), Some(template.as_bytes()), generation.as_bytes()).unwrap()
}

struct Server {
    address: SocketAddr,
    session: Arc<Session>,
    end: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(options: ServeOptions) -> Server {
        let model = Decoder { vocabulary: 257, context: CONTEXT, ..Decoder::default() };
        let runtime = Runtime::new(RuntimeOptions { threads: 2, ..RuntimeOptions::default() }).unwrap();
        let session = Session::new(Arc::new(runtime), Arc::new(model.program()), SessionOptions::default());
        let session = Arc::new(session.unwrap());
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let (told, address) = std::sync::mpsc::channel();
        let served = session.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                told.send(listener.local_addr().unwrap()).unwrap();
                let end = async {
                    let _ = ended.await;
                };
                serve_on(listener, served, text(), Key::from_seed([3; 32]), options, end).await.unwrap();
            });
        });
        Server { address: address.recv().unwrap(), session, end: Some(end), thread: Some(thread) }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn agent() -> ureq::Agent {
        let timeout = Some(Duration::from_secs(60));
        ureq::Agent::config_builder().http_status_as_error(false).timeout_global(timeout).build().into()
    }

    /// Status, the receipt's id, and the body.
    fn get(&self, path: &str) -> (u16, String) {
        let mut response = Server::agent().get(self.url(path)).call().unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    }

    fn post(&self, path: &str, body: &str) -> (u16, Option<String>, String) {
        let request = Server::agent().post(self.url(path)).header("content-type", "application/json");
        let mut response = request.send(body).unwrap();
        let id = response.headers().get("x-repops-receipt").map(|id| id.to_str().unwrap().to_string());
        (response.status().as_u16(), id, response.body_mut().read_to_string().unwrap())
    }

    fn complete(&self, request: &Value) -> (Value, String) {
        let (status, id, body) = self.post("/v1/completions", &request.to_string());
        assert_eq!(status, 200, "{body}");
        (serde_json::from_str(&body).unwrap(), id.unwrap())
    }

    fn receipt(&self, id: &str) -> GenerationReceipt {
        let (status, body) = self.get(&format!("/v1/receipts/{id}"));
        assert_eq!(status, 200, "{body}");
        GenerationReceipt::parse(body.as_bytes()).unwrap()
    }

    fn metric(&self, name: &str) -> u64 {
        let (_, text) = self.get("/metrics");
        let line = text.lines().find(|line| line.starts_with(&format!("repops_{name} "))).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    fn wait_for(&self, name: &str, value: u64) {
        for _ in 0..500 {
            if self.metric(name) >= value {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{name} never became {value}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.end.take().map(|end| end.send(()));
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(ended.is_none_or(|ended| ended.is_ok()) || std::thread::panicking());
    }
}

fn request(prompt: &str, tokens: u64, seed: u64) -> Value {
    json!({"prompt": prompt, "max_tokens": tokens, "temperature": 1.0, "seed": seed, "nonce": 7})
}

#[test]
fn answers_have_receipts_that_anybody_can_verify() {
    let server = Server::start(ServeOptions { model: "small".to_string(), ..ServeOptions::default() });
    assert_eq!(server.get("/healthz"), (200, "ok\n".to_string()));
    let (_, models) = server.get("/v1/models");
    assert_eq!(serde_json::from_str::<Value>(&models).unwrap()["data"][0]["id"], "small");
    assert_eq!(server.get("/v1/models/small").0, 200);
    assert_eq!(server.get("/v1/models/large").0, 404);
    let (status, page) = server.get("/");
    assert!(status == 200 && page.contains("<form"));

    let (answer, id) = server.complete(&request("hello", 12, 5));
    assert_eq!(answer["object"], "text_completion");
    assert_eq!(answer["usage"]["prompt_tokens"], 5);
    let receipt = server.receipt(&id);
    assert_eq!(answer["id"], id.as_str());
    assert_eq!(answer["receipt"]["digest"], receipt.claim.digest().to_hex());
    assert_eq!(receipt.claim.prompt, [104, 101, 108, 108, 111]);
    assert_eq!((receipt.claim.seed, receipt.claim.nonce), (5, 7));
    assert!(receipt.claim.trace_root.is_some());
    let shown = text().decode(&receipt.claim.tokens).unwrap();
    assert_eq!(answer["choices"][0]["text"], shown.as_str());
    // By the plainest executor, and by the server's own.
    let program = server.session.program();
    let hash = repops::digest::bytes_digest;
    let found = verify(&receipt, program, Some(Key::from_seed([3; 32]).public()), &Reference, &Plain, hash);
    assert_eq!(found.unwrap(), None);
    let (status, _, verified) = server.post(&format!("/v1/receipts/{id}/verify"), "");
    assert_eq!((status, verified.as_str()), (200, r#"{"difference":null,"verified":true}"#));
    assert_eq!(server.get("/v1/receipts/none").0, 404);
}

#[test]
fn streams_say_the_same_as_answers_in_one_piece() {
    let server = Server::start(ServeOptions::default());
    let mut chat = json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "max_completion_tokens": 16, "temperature": 0.9, "seed": 2, "logprobs": true});
    let (status, id, body) = server.post("/v1/chat/completions", &chat.to_string());
    assert_eq!(status, 200, "{body}");
    let whole: Value = serde_json::from_str(&body).unwrap();
    let content = whole["choices"][0]["message"]["content"].as_str().unwrap();
    let digest = server.receipt(&id.unwrap()).claim.digest();

    chat["stream"] = json!(true);
    chat["stream_options"] = json!({"include_usage": true});
    let (status, id, body) = server.post("/v1/chat/completions", &chat.to_string());
    assert_eq!(status, 200, "{body}");
    assert!(body.ends_with("data: [DONE]\n\n"), "{body}");
    let events: Vec<Value> = body
        .split("\n\n")
        .filter_map(|event| serde_json::from_str(event.strip_prefix("data: ")?).ok())
        .collect();
    let said: String =
        events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(said, content);
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    let last = &events[events.len() - 2]["choices"][0]["finish_reason"];
    assert_eq!(last, &whole["choices"][0]["finish_reason"]);
    assert_eq!(events[events.len() - 1]["usage"], whole["usage"]);
    let logged = |events: &[Value]| -> Vec<Value> {
        let logs = events.iter().filter_map(|event| event["choices"][0]["logprobs"]["content"].as_array());
        logs.flatten().map(|entry| entry["logprob"].clone()).collect()
    };
    assert_eq!(logged(&events), logged(std::slice::from_ref(&whole)));
    assert_eq!(server.receipt(&id.unwrap()).claim.digest(), digest);
}

#[test]
fn strangers_change_nothing() {
    let server = Server::start(ServeOptions::default());
    let alone: Vec<_> = (0..12)
        .map(|seed| {
            let (answer, id) = server.complete(&request(&"ab".repeat(1 + seed as usize), 10 + seed, seed));
            (answer["choices"][0]["text"].clone(), server.receipt(&id).claim.digest())
        })
        .collect();
    let together: Vec<_> = std::thread::scope(|scope| {
        let server = &server;
        let ask = |seed: u64| {
            scope.spawn(move || {
                let (answer, id) =
                    server.complete(&request(&"ab".repeat(1 + seed as usize), 10 + seed, seed));
                (answer["choices"][0]["text"].clone(), server.receipt(&id).claim.digest())
            })
        };
        let running: Vec<_> = (0..12).map(ask).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(alone, together);
}

#[test]
fn stop_strings_end_answers_and_are_not_shown() {
    let server = Server::start(ServeOptions::default());
    let (answer, _) = server.complete(&request("hello", 40, 1));
    let whole = answer["choices"][0]["text"].as_str().unwrap().to_string();
    // Any character in the middle.
    let at = whole.char_indices().nth(whole.chars().count() / 2).unwrap().0;
    let stop = whole[at..].chars().next().unwrap().to_string();
    let mut stopping = request("hello", 40, 1);
    stopping["stop"] = json!([stop]);
    let (answer, id) = server.complete(&stopping);
    assert_eq!(answer["choices"][0]["text"], whole[..whole.find(&stop).unwrap()]);
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    let receipt = server.receipt(&id);
    assert_eq!(answer["usage"]["completion_tokens"], receipt.claim.tokens.len());
    assert!(receipt.claim.tokens.len() < 40);
}

#[test]
fn what_cannot_be_answered_is_refused_and_hurts_nobody() {
    let options = ServeOptions { body_bytes_max: 10_000, tokens_max: 100, ..ServeOptions::default() };
    let server = Server::start(options);
    let refused = |path: &str, body: &str| {
        let (status, _, answer) = server.post(path, body);
        let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{answer} is no JSON"));
        assert!(answer["error"]["message"].is_string(), "{answer}");
        (status, answer["error"]["param"].as_str().unwrap_or("").to_string())
    };
    let with = |field: &str, value: Value| {
        let mut body = request("hello", 4, 1);
        body[field] = value;
        refused("/v1/completions", &body.to_string())
    };
    let plain = |status: u16| (status, String::new());
    assert_eq!(refused("/v1/completions", "{"), plain(400));
    assert_eq!(refused("/v1/completions", "\u{0}\u{1}"), plain(400));
    assert_eq!(refused("/v1/completions", "{\"prompt\": 5}"), plain(400));
    assert_eq!(
        refused("/v1/completions", &format!("{{\"prompt\": \"{}\"}}", "a".repeat(20_000))),
        plain(413)
    );
    assert_eq!(refused("/v1/nothing", "{}"), plain(404));
    assert_eq!(refused("/v1/models", "{}"), plain(405));
    let field = |name: &str| (400, name.to_string());
    assert_eq!(with("temperature", json!(-1)), field("temperature"));
    assert_eq!(with("temperature", json!(1e30)), field("temperature"));
    assert_eq!(with("top_p", json!(0)), field("top_p"));
    assert_eq!(with("n", json!(0)), field("n"));
    assert_eq!(with("n", json!(17)), field("n"));
    assert_eq!(with("best_of", json!(3)), field("best_of"));
    assert_eq!(with("logprobs", json!(6)), field("logprobs"));
    assert_eq!(with("seed", json!(-4)), field("seed"));
    assert_eq!(with("max_tokens", json!(0)), field("max_tokens"));
    assert_eq!(with("max_tokens", json!(101)), field("max_tokens"));
    assert_eq!(with("stop", json!(vec!["x"; 17])), field("stop"));
    assert_eq!(with("logit_bias", json!({"5": 1})), field("logit_bias"));
    assert_eq!(with("model", json!("gpt")), (404, "model".to_string()));
    assert_eq!(with("prompt", json!("")), field("prompt"));
    assert_eq!(with("prompt", json!([1, 2, 9999])), plain(400));
    assert_eq!(with("prompt", json!("a".repeat(CONTEXT))), field("prompt"));
    assert_eq!(with("prompt", json!(["a", "b"])), field("prompt"));
    let messages =
        |messages: Value| refused("/v1/chat/completions", &json!({"messages": messages}).to_string());
    assert_eq!(messages(json!([])), field("messages"));
    let top = json!({"messages": [{"role": "user", "content": "a"}], "logprobs": true, "top_logprobs": 21});
    assert_eq!(refused("/v1/chat/completions", &top.to_string()), field("top_logprobs"));
    assert_eq!(messages(json!([{"role": "mute", "content": "a"}])), field("messages"));
    assert_eq!(
        messages(json!([{"role": "user", "content": [{"type": "image_url"}]}])),
        field("messages[0].content")
    );
    assert_eq!(server.complete(&request("hello", 4, 1)).0["usage"]["total_tokens"], 9);
    assert_eq!(server.session.cache_limit(), SessionOptions::default().cache_bytes);
}

#[test]
fn several_answers_are_those_of_consecutive_seeds() {
    let server = Server::start(ServeOptions::default());
    let alone: Vec<(Value, String)> = (3..6)
        .map(|seed| {
            let (answer, id) = server.complete(&request("hello", 12, seed));
            (answer["choices"][0]["text"].clone(), server.receipt(&id).claim.digest().to_hex())
        })
        .collect();
    let mut three = request("hello", 12, 3);
    three["n"] = json!(3);
    let (answer, ids) = server.complete(&three);
    let choices = answer["choices"].as_array().unwrap();
    assert_eq!(answer["usage"]["prompt_tokens"], 5);
    for (at, (choice, id)) in choices.iter().zip(ids.split(", ")).enumerate() {
        assert_eq!(choice["index"], at);
        assert_eq!(
            (&choice["text"], choice["receipt"]["digest"].as_str().unwrap()),
            (&alone[at].0, &*alone[at].1)
        );
        assert_eq!(choice["receipt"]["id"], id);
        assert_eq!(server.receipt(id).claim.seed, 3 + at as u64);
    }
    assert_eq!(choices.len(), 3);
    // The same as events.
    three["stream"] = json!(true);
    let (status, _, body) = server.post("/v1/completions", &three.to_string());
    assert_eq!(status, 200, "{body}");
    assert_eq!(body.matches("data: [DONE]").count(), 1);
    let mut said = vec![String::new(); 3];
    for event in body.split("\n\n").filter_map(|event| event.strip_prefix("data: ")) {
        let Ok(event) = serde_json::from_str::<Value>(event) else { continue };
        let choice = &event["choices"][0];
        said[choice["index"].as_u64().unwrap() as usize].push_str(choice["text"].as_str().unwrap());
    }
    assert_eq!(said, alone.iter().map(|(text, _)| text.as_str().unwrap()).collect::<Vec<_>>());
}

#[test]
fn the_likeliest_tokens_are_told_of() {
    let server = Server::start(ServeOptions::default());
    let mut chat = json!({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 8, "temperature": 0,
        "logprobs": true, "top_logprobs": 3});
    let (status, _, body) = server.post("/v1/chat/completions", &chat.to_string());
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    let content = answer["choices"][0]["logprobs"]["content"].as_array().unwrap();
    for token in content {
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 3);
        // Greedy: the chosen one is the likeliest.
        assert_eq!((&top[0]["token"], &top[0]["logprob"]), (&token["token"], &token["logprob"]));
        let logprobs: Vec<f64> = top.iter().map(|other| other["logprob"].as_f64().unwrap()).collect();
        assert!(logprobs.is_sorted_by(|a, b| a >= b), "{logprobs:?}");
    }
    assert_eq!(content.len() as u64, answer["usage"]["completion_tokens"].as_u64().unwrap());
    chat["top_logprobs"] = json!(0);
    let (_, _, body) = server.post("/v1/chat/completions", &chat.to_string());
    let plain: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(plain["choices"][0]["message"], answer["choices"][0]["message"]);
    assert_eq!(plain["choices"][0]["logprobs"]["content"][0]["top_logprobs"], json!([]));
    let mut old = request("hello", 4, 1);
    old["logprobs"] = json!(2);
    let (answer, _) = server.complete(&old);
    let log = &answer["choices"][0]["logprobs"];
    let counts = ["tokens", "token_logprobs", "top_logprobs", "text_offset"]
        .map(|name| log[name].as_array().unwrap().len());
    assert_eq!(counts, [4; 4]);
    assert_eq!(log["text_offset"][0], 0);
}

#[test]
fn single_positions_of_an_answer_can_be_checked() {
    let server = Server::start(ServeOptions::default());
    let (_, id) = server.complete(&request("hello", 12, 5));
    let mut response = Server::agent().get(server.url(&format!("/v1/receipts/{id}/trace"))).call().unwrap();
    assert_eq!(response.status().as_u16(), 200);
    let file = response.body_mut().read_to_vec().unwrap();
    let (receipt, program) = (server.receipt(&id), server.session.program());
    let hash = repops::digest::bytes_digest;
    let check = |file: &[u8]| {
        row_log::spot(&receipt, program, None, &mut &*file, &[0, 5, 15], &Reference, &Plain, hash)
    };
    assert_eq!(check(&file).unwrap(), None);
    let mut other = file.clone();
    *other.last_mut().unwrap() ^= 1;
    assert!(!matches!(check(&other), Ok(None)));
    assert_eq!(server.get("/v1/receipts/none/trace").0, 404);
    let small = Server::start(ServeOptions { trace_bytes_max: 1000, ..ServeOptions::default() });
    let (_, id) = small.complete(&request("hello", 12, 5));
    assert_eq!(small.get(&format!("/v1/receipts/{id}/trace")).0, 413);
}

/// Whether the server closes this connection within some seconds.
fn is_closed(client: &mut TcpStream) -> bool {
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut rest = Vec::new();
    match client.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn who_stalls_is_cut_off() {
    let patience = Duration::from_millis(300);
    let options = ServeOptions { patience, connections_max: 8, ..ServeOptions::default() };
    let server = Server::start(options);
    let said = |bytes: &str| {
        let mut client = TcpStream::connect(server.address).unwrap();
        client.write_all(bytes.as_bytes()).unwrap();
        client
    };
    // Nothing; half a head; a head without its body; a request, and then nothing; more of them than there are places.
    for bytes in [
        "",
        "POST /v1/completions HT",
        "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{",
        "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
    ] {
        let mut clients: Vec<TcpStream> = (0..12).map(|_| said(bytes)).collect();
        assert!(clients.iter_mut().all(is_closed), "{bytes:?}");
    }
    assert_eq!(server.complete(&request("hello", 4, 1)).0["usage"]["completion_tokens"], 4);
}

#[test]
fn who_does_not_read_is_cut_off() {
    let patience = Duration::from_millis(300);
    let server = Server::start(ServeOptions { patience, connections_max: 1, ..ServeOptions::default() });
    // Questions whose answers nobody takes, until the system's buffers are full.
    let mut client = TcpStream::connect(server.address).unwrap();
    client.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    let question = "GET / HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
    let asked = (0..10_000).take_while(|_| client.write_all(question.as_bytes()).is_ok()).count();
    assert!(asked < 10_000);
    // The only place is free again.
    assert_eq!(server.get("/healthz").0, 200);
}

#[test]
fn who_leaves_is_forgotten() {
    let server = Server::start(ServeOptions::default());
    let mut body = request("hello", 120, 1);
    body["stream"] = json!(true);
    let body = body.to_string();
    let mut left = 0;
    for _ in 0..20 {
        let mut client = TcpStream::connect(server.address).unwrap();
        let head =
            format!("POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
        client.write_all(head.as_bytes()).unwrap();
        client.write_all(body.as_bytes()).unwrap();
        let mut some = [0; 16];
        client.read_exact(&mut some).unwrap();
        drop(client);
        left += 1;
    }
    // Each is over, one way or the other, and none stays.
    for _ in 0..500 {
        if server.metric("requests_cancelled_total") + server.metric("requests_finished_total") == left {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(server.metric("requests_cancelled_total") + server.metric("requests_finished_total"), left);
    assert_eq!(server.metric("requests_active"), 0);
    assert_eq!(server.complete(&request("hello", 4, 1)).0["usage"]["completion_tokens"], 4);
}

#[test]
fn a_shutdown_lets_answers_finish() {
    let mut server = Server::start(ServeOptions::default());
    let url = server.url("/v1/completions");
    let client = std::thread::spawn(move || {
        let body = request("hello", 110, 1).to_string();
        let mut response = Server::agent().post(url).send(body.as_str()).unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    });
    server.wait_for("requests_accepted_total", 1);
    server.end.take().unwrap().send(()).unwrap();
    let (status, body) = client.join().unwrap();
    assert_eq!(status, 200, "{body}");
    assert!(
        serde_json::from_str::<Value>(&body).unwrap()["usage"]["completion_tokens"].as_u64().unwrap() > 0
    );
}
