//! Disputes as people and scripts see them: simulated, replayed, and between processes that are killed.
#![forbid(unsafe_code)]

#[allow(dead_code)] // Other tests use the rest of it.
mod fixture;

use std::time::{Duration, Instant};

use fixture::{Folder, Process, folder, free_port, words};
use repops::Tensor;
use repops::sequence::example::Decoder;
use serde_json::json;

const SIMULATE: [&str; 5] = ["dispute", "simulate", "p.rep", "--input", "X:0=x.npy"];

#[test]
fn a_simulated_dispute_names_the_liar_and_can_be_replayed() {
    let folder = folder();
    let further = ["--json", "--seed", "3", "--fault", "0", "--transcript", "t.game"];
    let object = folder.repops(SIMULATE.into_iter().chain(further)).json();
    assert_eq!((&object["loser"], &object["reason"]), (&json!("second"), &json!("element")), "{object}");
    assert_eq!(object["step"], json!(0));
    for name in ["node", "element", "rounds", "bytes", "referee_ms"] {
        assert!(!object[name].is_null(), "{name}: {object}");
    }
    assert!(object["rounds"].as_u64() <= object["rounds_max"].as_u64(), "{object}");
    let replayed = folder.repops(["dispute", "replay", "t.game", "--json"]).json();
    for name in ["loser", "loser_key", "reason", "step", "node", "element", "claimed"] {
        assert_eq!(replayed[name], object[name], "{name}");
    }
    let mut bytes = std::fs::read(folder.path("t.game")).unwrap();
    bytes.truncate(bytes.len() - 1);
    folder.write("cut.game", &bytes);
    folder.repops(["dispute", "replay", "cut.game"]).expect(2);
}

#[test]
fn every_kind_of_lie_loses_on_either_side() {
    let folder = folder();
    let kinds = [
        "output",
        "input",
        "wiring",
        "operator",
        "attribute",
        "constant",
        "length",
        "digest",
        "stale",
        "proof",
        "silence",
        "outcome",
        "fault",
        "path",
    ];
    for kind in kinds {
        for first in [false, true] {
            let side = if first { &["--liar-first"][..] } else { &[] };
            let further = ["--kind", kind, "--json", "--fault", "0"];
            let object =
                folder.repops(SIMULATE.into_iter().chain(further).chain(side.iter().copied())).json();
            assert_eq!(object["loser"], json!(if first { "first" } else { "second" }), "{kind}: {object}");
        }
    }
    let text = folder.repops(SIMULATE.into_iter().chain(["--count", "20"])).expect(0);
    assert!(text.contains("verdicts against the honest party: 0"), "{text}");
    assert!(text.contains("+ 6 rounds: 0"), "{text}");
    folder.repops(SIMULATE.into_iter().chain(["--kind", "mood"])).expect(2);
    folder.repops(SIMULATE.into_iter().chain(["--fault", "99"])).expect(2);
}

const TOKENS: [&str; 9] =
    ["dispute", "simulate", "d.rep", "--tokens", "3,1,4,1,5", "--max-tokens", "6", "--seed", "4"];

fn decoder() -> Folder {
    let folder = Folder::new();
    folder.write_program("d.rep", &Decoder { context: 64, layers: 1, ..Decoder::default() }.program());
    folder
}

#[test]
fn a_disputed_generation_names_position_step_and_token() {
    let folder = decoder();
    let play = |further: &[&str]| folder.repops(TOKENS.into_iter().chain(further.iter().copied()));
    let object = play(&["--json", "--transcript", "g.game"]).json();
    assert_eq!((&object["loser"], &object["reason"]), (&json!("second"), &json!("element")), "{object}");
    for name in ["position", "step", "node", "element", "rounds", "bytes", "referee_ms"] {
        assert!(!object[name].is_null(), "{name}: {object}");
    }
    assert!(object["rounds"].as_u64() <= object["rounds_max"].as_u64(), "{object}");
    let replayed = folder.repops(["dispute", "replay", "g.game", "--page", "g.html", "--json"]).json();
    for name in ["loser", "loser_key", "reason", "position", "step", "node", "element", "claimed"] {
        assert_eq!(replayed[name], object[name], "{name}");
    }
    let page = std::fs::read_to_string(folder.path("g.html")).unwrap();
    assert!(page.contains("sequence root") && page.contains("position"), "{page}");
    for kind in ["wiring", "operator", "length", "digest", "stale", "proof", "silence", "outcome", "token"] {
        let object = play(&["--kind", kind, "--temperature", "0.8", "--top-p", "0.9", "--json"]).json();
        assert_eq!(object["loser"], json!("second"), "{kind}: {object}");
        assert!(kind != "token" || object["token"].is_array(), "{object}");
    }
    let text = play(&["--count", "20"]).expect(0);
    assert!(text.contains("verdicts against the honest party: 0"), "{text}");
    assert!(text.contains("+ 6 rounds: 0"), "{text}");
    play(&["--kind", "input"]).expect(2);
}

#[test]
fn providers_stand_for_generations() {
    let folder = decoder();
    folder.repops(["keygen", "-o", "a.pem"]).expect(0);
    let liar = folder.repops(["keygen", "-o", "b.pem", "--json"]).json();
    let generate =
        ["generate", "d.rep", "--tokens", "3,1,4,1,5", "--max-tokens", "6", "--temperature", "0.7"];
    folder.repops(generate.into_iter().chain(["--receipt", "a.json", "--key", "a.pem"])).expect(0);
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let _referee =
        Process::start(&folder, &words(&format!("referee serve --listen 127.0.0.1:{port} --data games")));
    let serve = |name: &str, further: &str| {
        let text = format!(
            "provider serve d.rep --claim {name}.json --key {name}.pem --referee {url} --poll-ms 20{further}"
        );
        Process::start(&folder, &words(&text))
    };
    let ports = [0, 1].map(|_| free_port());
    let listen = ports.map(|port| format!(" --listen 127.0.0.1:{port}"));
    let _liar = serve("b", &format!(" --generation a.json --fault random --seed 3{}", listen[1]));
    let _honest = serve("a", &listen[0]);
    for _ in 0..3000 {
        if folder.path("b.json").exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let open = ["dispute", "open", "--claim", "a.json", "--claim", "b.json", "--referee", &url];
    let object = folder.repops(open.into_iter().chain(["--wait", "--json"])).json();
    assert_eq!((&object["loser"], &object["reason"]), (&json!("second"), &json!("element")), "{object}");
    assert_eq!(object["loser_key"], liar["public"], "{object}");
    for (name, port, code) in [("a.json", ports[0], 0), ("b.json", ports[1], 1)] {
        let provider = format!("http://127.0.0.1:{port}");
        let audit = ["audit", "--claim", name, "--program", "d.rep", "--provider", &provider, "--json"];
        let ran = folder.repops(audit.into_iter().chain(["--sample", "100%"]));
        let object = ran.json();
        ran.expect(code);
        assert_eq!(object["sampled"], object["steps"]);
        assert_eq!(object["wrong"].as_array().unwrap().is_empty(), code == 0, "{object}");
    }
    // The liar's claim is of the same tokens: what differs is that it does not follow from them.
    let diff = ["trace", "diff", "--program", "d.rep", "--generation", "a.json"];
    folder.repops(diff).expect(0);
    let other = ["generate", "d.rep", "--tokens", "3,1,4,1,6", "--max-tokens", "6"];
    folder.repops(other.into_iter().chain(["--receipt", "c.json", "--key", "a.pem"])).expect(0);
    let ran = folder.repops(diff.into_iter().chain(["--generation", "c.json", "--json"]));
    assert_eq!((&ran.json()["position"], &ran.json()["step"]), (&json!(4), &json!(null)));
    ran.expect(1);
}

#[test]
fn three_processes_that_are_killed_come_to_the_same_verdict() {
    let folder = folder();
    folder.repops(["keygen", "-o", "a.pem"]).expect(0);
    let liar = folder.repops(["keygen", "-o", "b.pem", "--json"]).json();
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let provider = |name: &str, further: &str| {
        words(&format!(
            "provider serve p.rep --input X:0=x.npy --claim {name}.json --key {name}.pem --referee {url} --poll-ms 20{further}"
        ))
    };
    let all = [
        words(&format!("referee serve --data games --listen 127.0.0.1:{port} --answer-seconds 300")),
        provider("a", ""),
        provider("b", " --fault 0 --seed 3"),
    ];
    let mut running: Vec<Process> = all.iter().map(|arguments| Process::start(&folder, arguments)).collect();
    #[expect(clippy::disallowed_methods, reason = "how long to wait for other processes")]
    let start = Instant::now();
    let open =
        || folder.repops(["dispute", "open", "--claim", "a.json", "--claim", "b.json", "--referee", &url]);
    while open().0.status.code() != Some(0) {
        assert!(start.elapsed() < Duration::from_secs(120), "{}", open().stderr());
        std::thread::sleep(Duration::from_millis(50));
    }
    // Whichever, whenever.
    for round in 0..9 {
        std::thread::sleep(Duration::from_millis(40 + 37 * round % 90));
        let which = [0, 2, 1, 1, 0, 2, 2, 0, 1][round as usize];
        running[which] = Process::start(&folder, &[String::from("--version")]);
        running[which] = Process::start(&folder, &all[which]);
    }
    let open = ["dispute", "open", "--claim", "a.json", "--claim", "b.json", "--referee", &url];
    let wait = open.into_iter().chain(["--wait", "--json", "--transcript", "t.game"]).collect::<Vec<_>>();
    let found = loop {
        let ran = folder.repops(wait.iter().copied());
        if ran.0.status.code() == Some(0) {
            break ran.json();
        }
        assert!(start.elapsed() < Duration::from_secs(240), "{}", ran.stderr());
    };
    assert_eq!((&found["loser"], &found["reason"]), (&json!("second"), &json!("element")), "{found}");
    assert_eq!(found["loser_key"], liar["public"]);
    assert_eq!(found["step"], json!(0));
    // What the store has is what anybody can replay.
    let again = folder.repops(["dispute", "replay", "t.game", "--json"]).json();
    assert_eq!((&again["loser_key"], &again["claimed"]), (&found["loser_key"], &found["claimed"]));
}

#[test]
fn audits_find_a_cheat_and_pass_the_honest() {
    let folder = folder();
    let mut running = Vec::new();
    for (name, further) in [("a", ""), ("b", " --fault 0 --seed 3")] {
        folder.repops(["keygen", "-o", &format!("{name}.pem")]).expect(0);
        let port = free_port();
        let serve = format!(
            "provider serve p.rep --input X:0=x.npy --claim {name}.json --key {name}.pem --listen 127.0.0.1:{port} --checkpoint-every 1{further}"
        );
        running.push((Process::start(&folder, &words(&serve)), port));
    }
    #[expect(clippy::disallowed_methods, reason = "how long to wait for other processes")]
    let start = Instant::now();
    for (name, code) in [("a", 0), ("b", 1)] {
        let url = format!("http://127.0.0.1:{}", running[usize::from(code == 1)].1);
        let claim = format!("{name}.json");
        let audit = [
            "audit",
            "--claim",
            &claim,
            "--program",
            "p.rep",
            "--provider",
            &url,
            "--sample",
            "100%",
            "--json",
        ];
        while !folder.path(&claim).exists() {
            assert!(start.elapsed() < Duration::from_secs(120));
            std::thread::sleep(Duration::from_millis(50));
        }
        // Whoever does not listen yet refuses to open: it gets time.
        let found = |object: &serde_json::Value| {
            let wrong = object["wrong"].as_array().unwrap();
            match code {
                0 => wrong.is_empty(),
                _ => wrong.iter().any(|w| w["why"].as_str().unwrap().contains("what the operator gives")),
            }
        };
        let object = loop {
            let ran = folder.repops(audit);
            let object = ran.json();
            if found(&object) || start.elapsed() > Duration::from_secs(120) {
                ran.expect(code);
                break object;
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        assert!(found(&object), "{object}");
        assert_eq!(object["sampled"], object["steps"]);
        assert_eq!(object["chance"][0]["caught"], json!(1.0));
        assert_eq!(object["wrong"].as_array().unwrap().is_empty(), code == 0, "{object}");
    }
    folder
        .repops([
            "audit",
            "--claim",
            "a.json",
            "--program",
            "p.rep",
            "--provider",
            "http://127.0.0.1:1",
            "--sample",
            "x",
        ])
        .expect(2);
}

#[test]
fn checkpoints_pages_and_regenerated_traces() {
    let folder = folder();
    let plain = folder.repops(SIMULATE.into_iter().chain(["--json", "--seed", "3"])).json();
    let further = ["--json", "--seed", "3", "--checkpoint-every", "1", "--transcript", "t.game"];
    let kept = folder.repops(SIMULATE.into_iter().chain(further)).json();
    assert_eq!(plain["claimed"], kept["claimed"]);
    assert_eq!(plain["kept_bytes"], json!(0));
    folder.repops(SIMULATE.into_iter().chain(["--checkpoint-every", "none"])).expect(2);
    let replayed = folder.repops(["dispute", "replay", "t.game", "--page", "page.html", "--json"]).json();
    assert_eq!(replayed["loser"], json!("second"));
    let page = std::fs::read_to_string(folder.path("page.html")).unwrap();
    assert!(
        page.contains("The bytes that decided") && page.contains(replayed["node"].as_str().unwrap()),
        "{page}"
    );
    assert!(!page.contains("<script"), "{page}");
    folder.repops(["run", "p.rep", "--input", "X:0=x.npy", "--trace", "t.trace"]).expect(0);
    let diff = ["trace", "diff", "--program", "p.rep", "--input", "X:0=x.npy"];
    folder.repops(diff).expect(0);
    folder.repops(diff.into_iter().chain(["t.trace"])).expect(0);
    folder.write_npy("x.npy", &Tensor::from_slice(&[2, 3], &[0.5f32, -1.0, 2.5, 0.1, 0.2, 0.3]));
    folder.repops(diff.into_iter().chain(["t.trace"])).expect(1);
}
