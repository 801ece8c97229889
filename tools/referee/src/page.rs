//! The page of a dispute: where it went, the ONNX node that it reached, and what decided it.
//!
//! Invariant: everything that came from a party is escaped; the page runs no script and loads nothing.

use std::fmt::Write as _;

use repops::digest::LEAF_BYTES;
use repops::{DType, Digest};
use repops_provenance::dispute::ask::Tree;
use repops_provenance::dispute::message::Evidence;
use repops_provenance::dispute::{Ask, Body, Claimed, Loser, Message, Referee, Transcript};

use crate::describe::describe;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;overflow-wrap:anywhere}\
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%}\
td,th{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ddd;vertical-align:top}\
th{white-space:nowrap}code{font:13px ui-monospace,monospace}.lost{color:#a40000;font-weight:600}\
.open{color:#666}.span{position:relative;height:.7rem;min-width:8rem;background:#8883;border-radius:3px}\
.span i{position:absolute;top:0;bottom:0;min-width:3px;background:#3b6fd4;border-radius:3px}small{color:#777}\
details{margin:.4rem 0}pre{font:12px/1.4 ui-monospace,monospace;overflow-x:auto;background:#8881;padding:.6rem}\
.way{font-size:1.05rem}@media(prefers-color-scheme:dark){body{background:#16181a;color:#e6e6e6}td,th{border-color:#333}\
.lost{color:#ff8080}a{color:#8ab4f8}}\
@media(max-width:40rem){td,th{padding:.3rem}.rounds tr,.rounds td{display:block}\
.rounds th,.rounds td:empty{display:none}.rounds td{border:0;padding:.1rem 0}.rounds tr{border-bottom:1px solid #ddd;padding:.4rem 0}}";

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
                Loser::First => Some(end.receipts()[0].signer()),
                Loser::Second => Some(end.receipts()[1].signer()),
                Loser::Both | Loser::Neither => None,
            };
            let key = key.map_or(String::new(), |key| format!(" <code>{key}</code>"));
            let reason = escaped(&verdict.reason.to_string());
            let _ = write!(out, "<p class=\"lost\">Loser: {}{key}: {reason}.</p>", verdict.loser);
        }
    }
    let rounds = rounds(transcript);
    way(&mut out, &end);
    out.push_str("<h2>Claims</h2><table><tr><th><th>First<th>Second");
    let [a, b] = end.receipts();
    let mut row = |name: &str, first: String, second: String| {
        let mark = if first == second { "" } else { " class=\"lost\"" };
        let _ = write!(out, "<tr><th>{name}<td{mark}><code>{first}</code><td{mark}><code>{second}</code>");
    };
    row("key", a.signer().to_string(), b.signer().to_string());
    let root = |r: &Claimed| r.trace().map_or(String::new(), |t| t.0.to_hex());
    let count = |r: &Claimed| r.trace().map_or(0, |t| t.1).to_string();
    match (a.generation(), b.generation()) {
        (Some(one), Some(two)) => {
            row("sequence root", root(a), root(b));
            row("positions", count(a), count(b));
            let text = |tokens: &[u32]| tokens.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
            row("prompt", text(&one.prompt), text(&two.prompt));
            row("tokens", text(&one.tokens), text(&two.tokens));
            row("log-probabilities", one.logprobs.to_hex(), two.logprobs.to_hex());
        }
        _ => {
            row("trace root", root(a), root(b));
            row("records", count(a), count(b));
        }
    }
    if let Some((_, _, [first, second])) = end.element() {
        let dtype = end.types().and_then(|types| types.1.first()).map(|ty| ty.dtype);
        row("the value", value(first, dtype), value(second, dtype));
    }
    out.push_str(
        "</table><h2>The way there</h2><table class=\"rounds\"><tr><th>Round<th>Asked<th>Where<th>Messages",
    );
    for round in &rounds {
        let _ = write!(
            out,
            "<tr><td>{}<td>{}<td>{}<td><small>{}</small>",
            round.number,
            escaped(&round.asked),
            round.span.map_or(String::new(), bar),
            escaped(&round.messages)
        );
    }
    out.push_str("</table>");
    if let Some(evidence) = rounds.iter().rev().find_map(|round| round.evidence.as_ref()) {
        deciding(&mut out, evidence);
    }
    frame("Dispute", &out)
}

/// Where the dispute got to, from the trace inwards.
fn way(out: &mut String, end: &Referee) {
    out.push_str("<h2>Where it got to</h2>");
    if let Some(place) = end.place() {
        let nodes = place.step.origins.iter().map(|o| format!("{} ({})", o.name, o.op_type));
        let nodes = nodes.collect::<Vec<_>>().join(", ");
        let position = place.row.as_ref().map(|row| format!("position {} &rsaquo; ", row.position));
        let _ = write!(
            out,
            "<p class=\"way\">{}{} {} &rsaquo; {} &rsaquo; ONNX node <b>{}</b>",
            position.as_deref().unwrap_or_default(),
            if position.is_some() { "step" } else { "record" },
            place.index,
            escaped(place.step.def().name),
            escaped(&nodes)
        );
        if let Some((top, term, _)) = end.element() {
            let _ = write!(
                out,
                " &rsaquo; {} &rsaquo; {}",
                escaped(&format!("{top:?}")),
                escaped(&format!("{term:?}"))
            );
        }
        out.push_str("</p>");
    }
    out.push_str("<table>");
    for (name, value) in describe(end) {
        if !value.is_null() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_string);
            let _ = write!(out, "<tr><th>{}<td><code>{}</code>", escaped(&name), escaped(&text));
        }
    }
    out.push_str("</table>");
}

/// Bits, and the number that they are where that is known.
fn value(bits: u64, dtype: Option<DType>) -> String {
    match dtype {
        Some(DType::F32) => format!("{bits:#010x} = {:?}", f32::from_bits(bits as u32)),
        _ => format!("{bits:#x}"),
    }
}

/// From leaf, to leaf, of so many.
type Span = (u64, u64, u64);

/// A part of a whole.
fn bar((from, to, of): Span) -> String {
    let of = u128::from(of.max(1));
    let thousandth = |at: u64| (u128::from(at).min(of) * 1000 / of) as u64;
    let (left, width) = (thousandth(from), thousandth(to).saturating_sub(thousandth(from)));
    let style = format!("left:{}.{}%;width:{}.{}%", left / 10, left % 10, width / 10, width % 10);
    format!(
        "<div class=\"span\"><i style=\"{style}\"></i></div><small>{from} to {} of {of}</small>",
        to.saturating_sub(1)
    )
}

/// What the last judgement had before it: the opened parts, records and bytes.
fn deciding(out: &mut String, evidence: &Evidence) {
    out.push_str("<h2>The bytes that decided</h2>");
    let size = |leaves: &[(u64, Vec<u8>)]| leaves.iter().map(|leaf| leaf.1.len()).sum::<usize>();
    let _ = write!(
        out,
        "<p>The last evidence: {} parts of the program ({} bytes), {} records ({} bytes), rows of {} positions, and of \
         tensors:</p>",
        evidence.parts.len(),
        size(&evidence.parts),
        evidence.records.len(),
        size(&evidence.records),
        evidence.rows.len()
    );
    for tensor in &evidence.tensors {
        let _ = write!(
            out,
            "<p><code>{}{:?}</code>: {} leaves, {} hashes beside them</p>",
            tensor.dtype,
            tensor.shape,
            tensor.leaves.len(),
            tensor.hashes.len()
        );
        for (index, bytes) in &tensor.leaves {
            let _ = write!(
                out,
                "<details><summary>bytes {} to {}</summary><pre>{}</pre></details>",
                index * LEAF_BYTES as u64,
                index * LEAF_BYTES as u64 + bytes.len() as u64 - u64::from(!bytes.is_empty()),
                hex(bytes)
            );
        }
    }
}

/// Sixteen bytes a line.
fn hex(bytes: &[u8]) -> String {
    let line = |line: &[u8]| line.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ");
    bytes.chunks(16).map(line).collect::<Vec<_>>().join("\n")
}

/// A round as it went.
struct Round {
    number: u32,
    asked: String,
    span: Option<Span>,
    messages: String,
    evidence: Option<Evidence>,
}

impl Round {
    fn of(referee: &Referee) -> Round {
        let steps = referee.receipts().each_ref().map(|r| r.trace().map_or(0, |trace| trace.1));
        let row = referee.row();
        let leaves = referee.types().and_then(|(_, outputs)| {
            let at = referee.disputed()?.number() as usize;
            let ty = outputs.get(at).or(outputs.first())?;
            Some((ty.len() * ty.dtype.size()).div_ceil(LEAF_BYTES) as u64)
        });
        let of = |tree: &Tree| match tree {
            Tree::Trace | Tree::Log => steps[0].max(steps[1]),
            Tree::Steps => row.heads.as_ref().map_or(1, |heads| heads.count(row.half)),
            Tree::Output => leaves.unwrap_or(1),
        };
        let span = match referee.ask() {
            Ask::Nodes { tree, first, height, .. } => Some((*first, *first + (1 << height), of(tree))),
            Ask::Record { index } => Some((*index, index + 1, of(&Tree::Trace))),
            Ask::Row { position } => Some((*position, position + 1, of(&Tree::Log))),
            Ask::Leaf { index } => Some((*index, index + 1, of(&Tree::Output))),
            _ => None,
        };
        let (number, asked) = (referee.round(), asked(referee.ask()));
        Round { number, asked, span, messages: String::new(), evidence: None }
    }
}

/// What was asked in each round, and what came.
fn rounds(transcript: &Transcript) -> Vec<Round> {
    let mut found: Vec<Round> = Vec::new();
    // From the start again, event by event.
    let empty = Transcript { events: Vec::new(), ..transcript.clone() };
    let Ok(mut referee) = empty.replay() else { return found };
    found.push(Round::of(&referee));
    for event in &transcript.events {
        let Some(bytes) = &event.message else {
            referee.tick(event.time);
            continue;
        };
        referee.receive(event.time, bytes);
        if let (Some(last), Ok(message)) = (found.last_mut(), Message::decode(bytes)) {
            let body = Body::decode(&message.body);
            let _ = write!(
                last.messages,
                "{:?}: {} in {} bytes. ",
                message.party,
                said(&message.body),
                bytes.len()
            );
            if let Ok(Body::Evidence(evidence)) = body {
                last.evidence = Some(evidence);
            }
        }
        if found.last().is_some_and(|last| last.number != referee.round()) {
            found.push(Round::of(&referee));
        }
    }
    found
}

fn asked(ask: &Ask) -> String {
    match ask {
        Ask::Frontier { common } => format!("the frontiers for {common} records or positions"),
        Ask::Row { position } => format!("the roots of position {position}"),
        Ask::Heads => "which steps are the head".to_string(),
        Ask::Path { step } => format!("how step {step} gets into keys or values"),
        Ask::Steps { position, half } => {
            let half = if *half == 0 { "carried steps" } else { "head" };
            format!("the frontier of the {half} at position {position}")
        }
        Ask::Outputs { position, step } => format!("what step {step} gave at position {position}"),
        Ask::Nodes { tree, levels, .. } => {
            let of = match tree {
                Tree::Trace => "records",
                Tree::Log => "positions",
                Tree::Steps => "steps",
                Tree::Output => "kilobytes",
            };
            format!("{} hashes over these {of}", 1 << levels)
        }
        Ask::Record { index } => format!("record {index}"),
        Ask::Tensor { of } => format!("{of:?}: type and frontier"),
        Ask::Leaf { index } => format!("leaf {index} of the output"),
        Ask::Claims { terms } => match terms.first() {
            Some(first) => format!("values of {} terms, from {first:?}", terms.len()),
            None => "values of no terms".to_string(),
        },
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
            let rows = e.rows.len();
            format!("{} parts, {} records, {rows} rows, {leaves} leaves", e.parts.len(), e.records.len())
        }
        Err(error) => error.to_string(),
    }
}
