//! Templates in the manner of those that models have, beside what Python's Jinja makes of them (`conformance/chat_templates.py`).
#![forbid(unsafe_code)]

use std::path::Path;

use repops_text::{Conversation, Generation, Template, TextError};
use serde_json::Value;

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/templates").join(name)).unwrap()
}

#[test]
fn templates_give_what_jinja_gives() {
    let generation = Generation {
        bos_token: Some("<s>".to_string()),
        eos_token: Some("</s>".to_string()),
        ..Generation::default()
    };
    let expected: Value = serde_json::from_str(&read("expected.json")).unwrap();
    let (mut compared, mut wrong) = (0, Vec::new());
    for (case, expected) in expected.as_object().unwrap() {
        let [template_name, conversation_name, until] = case.split(", ").collect::<Vec<_>>()[..] else {
            panic!("{case}")
        };
        let template = Template::new(&read(&format!("{template_name}.jinja")), &generation).unwrap();
        let conversation =
            Conversation::parse(read(&format!("conversations/{conversation_name}.json")).as_bytes()).unwrap();
        let found = template.render_conversation(&conversation, until == "answer");
        let is_right = match (&found, expected["text"].as_str(), expected["refused"].as_str()) {
            (Ok(found), Some(text), _) => found == text,
            // Where it was refused is said too.
            (Err(TextError::Refused { problem }), _, Some(refused)) => problem.starts_with(refused),
            (Err(TextError::Template { .. }), None, None) => expected["failed"] == true,
            // Going through a content that is none gives nothing here, and fails there.
            (Ok(_), None, None) => template_name == "parts" && conversation_name == "calls",
            _ => false,
        };
        compared += 1;
        if !is_right {
            wrong.push(format!("{case}\n  {found:?}\n  {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {compared}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(compared > 100);
}

#[test]
fn what_is_no_conversation_is_refused() {
    for text in [
        "",
        "3",
        "{}",
        "[1]",
        "[{\"content\": \"x\"}]",
        "[{\"role\": 3}]",
        "[[]]",
        "{\"messages\": 3}",
        "{\"messages\": [], \"tools\": 3}",
    ] {
        assert!(
            matches!(Conversation::parse(text.as_bytes()), Err(TextError::Conversation { .. })),
            "{text}"
        );
    }
    let deep =
        format!("[{{\"role\": \"user\", \"content\": {}{}}}]", "[".repeat(100_000), "]".repeat(100_000));
    assert!(matches!(Conversation::parse(deep.as_bytes()), Err(TextError::Conversation { .. })));
    let long = vec![b' '; 17 << 20];
    assert!(matches!(Conversation::parse(&long), Err(TextError::TooLong { .. })));
    assert!(Conversation::parse(b"[]").is_ok());
}

#[test]
fn there_is_no_clock() {
    let template = |source: &str| Template::new(source, &Generation::default()).unwrap();
    let guarded =
        template("{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% else %}no date{% endif %}");
    assert_eq!(guarded.render(&[], true).unwrap(), "no date");
    let error = template("{{ strftime_now('%Y') }}").render(&[], true).unwrap_err().to_string();
    assert!(error.contains("strftime_now"), "{error}");
}
