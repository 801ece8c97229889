//! The page of a dispute: where it went, the ONNX node that it reached, and what decided it.
//!
//! Invariant: everything that came from a party is escaped; the page runs no script and loads nothing.

use std::fmt::Write as _;

use repops::Digest;
use repops_provenance::dispute::{Ask, Body, Loser, Message, Referee, Transcript};

use crate::dispute;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}\
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%}\
td,th{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ddd;vertical-align:top}\
code{font:13px ui-monospace,monospace;overflow-wrap:anywhere}.lost{color:#a40000;font-weight:600}\
.open{color:#666}@media(prefers-color-scheme:dark){body{background:#16181a;color:#e6e6e6}td,th{border-color:#333}\
.lost{color:#ff8080}a{color:#8ab4f8}}";

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn frame(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{}</title><style>{STYLE}</style><body>{body}</body></html>",
        escaped(title)
    )
}

/// All disputes of a referee.
pub fn index<'a>(disputes: impl Iterator<Item = (Digest, &'a Referee)>) -> String {
    let mut rows = String::new();
    for (id, referee) in disputes {
        let state = match referee.verdict() {
            None => format!("<span class=\"open\">round {}</span>", referee.round()),
            Some(verdict) => format!("{}: {}", verdict.loser, escaped(&verdict.reason.to_string())),
        };
        let _ = write!(rows, "<tr><td><a href=\"/disputes/{id}/page\"><code>{id}</code></a><td>{state}");
    }
    frame("Disputes", &format!("<h1>Disputes</h1><table><tr><th>Dispute<th>Loser and reason{rows}</table>"))
}

/// One dispute.
pub fn dispute(transcript: &Transcript) -> String {
    let Ok(end) = transcript.replay() else { return frame("Dispute", "<h1>This is no dispute</h1>") };
    let mut out = format!("<h1>Dispute <code>{}</code></h1>", end.id());
    match end.verdict() {
        None => out.push_str("<p class=\"open\">It is under way.</p>"),
        Some(verdict) => {
            let key = match verdict.loser {
                Loser::First => Some(end.receipts()[0].signer),
                Loser::Second => Some(end.receipts()[1].signer),
                Loser::Both | Loser::Neither => None,
            };
            let key = key.map_or(String::new(), |key| format!(" <code>{key}</code>"));
            let reason = escaped(&verdict.reason.to_string());
            let _ = write!(out, "<p class=\"lost\">Loser: {}{key}: {reason}.</p>", verdict.loser);
        }
    }
    out.push_str("<h2>Where it got to</h2><table>");
    for (name, value) in dispute::describe(&end) {
        if !value.is_null() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_string);
            let _ = write!(out, "<tr><th>{}<td><code>{}</code>", escaped(&name), escaped(&text));
        }
    }
    out.push_str("</table><h2>Claims</h2><table><tr><th><th>First<th>Second");
    let [a, b] = end.receipts();
    let mut row = |name: &str, first: String, second: String| {
        let _ = write!(out, "<tr><th>{name}<td><code>{first}</code><td><code>{second}</code>");
    };
    row("key", a.signer.to_string(), b.signer.to_string());
    let root = |r: &repops_provenance::Receipt| r.claim.trace.map_or(String::new(), |t| t.root.to_hex());
    let steps = |r: &repops_provenance::Receipt| r.claim.trace.map_or(0, |t| t.steps).to_string();
    row("trace root", root(a), root(b));
    row("records", steps(a), steps(b));
    out.push_str("</table><h2>Rounds</h2><table><tr><th>Round<th>Asked<th>Messages");
    for (round, asked, messages) in rounds(transcript) {
        let _ = write!(out, "<tr><td>{round}<td>{}<td>{}", escaped(&asked), escaped(&messages));
    }
    out.push_str("</table>");
    frame("Dispute", &out)
}

/// What was asked in each round, and what came.
fn rounds(transcript: &Transcript) -> Vec<(u32, String, String)> {
    let mut found: Vec<(u32, String, String)> = Vec::new();
    // From the start again, event by event.
    let empty = Transcript { events: Vec::new(), ..transcript.clone() };
    let Ok(mut referee) = empty.replay() else { return found };
    found.push((0, asked(referee.ask()), String::new()));
    for event in &transcript.events {
        let Some(bytes) = &event.message else {
            referee.tick(event.time);
            continue;
        };
        referee.receive(event.time, bytes);
        if let (Some(last), Ok(message)) = (found.last_mut(), Message::decode(bytes)) {
            let _ = write!(last.2, "{:?}: {} in {} bytes. ", message.party, said(&message.body), bytes.len());
        }
        if found.last().is_some_and(|last| last.0 != referee.round()) {
            found.push((referee.round(), asked(referee.ask()), String::new()));
        }
    }
    found
}

fn asked(ask: &Ask) -> String {
    match ask {
        Ask::Frontier { common } => format!("the traces' frontiers for {common} records"),
        Ask::Nodes { tree, first, height, levels } => {
            format!(
                "{tree:?}: {levels} levels below the node over leaves {first} to {}",
                first + (1 << height) - 1
            )
        }
        Ask::Record { index } => format!("record {index}"),
        Ask::Tensor { of } => format!("{of:?}: type and frontier"),
        Ask::Leaf { index } => format!("leaf {index} of the output"),
        Ask::Claims { terms } => format!("values of {} terms, from {:?}", terms.len(), terms.first()),
        Ask::Witness => "the element that meets the fault".to_string(),
        Ask::Evidence(question) => {
            let text = format!("{question:?}");
            format!("evidence: {}", text.split([' ', '(']).next().unwrap_or(""))
        }
    }
}

fn said(body: &[u8]) -> String {
    match Body::decode(body) {
        Ok(Body::Frontier(h) | Body::Nodes(h)) => format!("{} hashes", h.len()),
        Ok(Body::Record(_)) => "a record".to_string(),
        Ok(Body::Output { dtype, shape, .. }) => format!("{dtype}{shape:?}"),
        Ok(Body::Leaf(_)) => "a leaf".to_string(),
        Ok(Body::Claims(values)) => format!("{} values", values.len()),
        Ok(Body::Witness { output, element }) => format!("output {output}, element {element}"),
        Ok(Body::Evidence(e)) => {
            let leaves: usize = e.tensors.iter().map(|t| t.leaves.len()).sum();
            format!("{} parts, {} records, {leaves} leaves", e.parts.len(), e.records.len())
        }
        Err(error) => error.to_string(),
    }
}
