//! Conversations as JSON has them: messages with all that templates ask of them, and tools.
//!
//! Invariant: what is read keeps the order of its fields, which is that in which a template writes them.

use minijinja::Value;
use minijinja::value::ValueKind;
use serde::Deserialize;

use super::{Message, Result, TEXT_BYTES_MAX, TextError};

/// What a template is told.
#[derive(Clone, Debug)]
pub struct Conversation {
    pub(crate) messages: Vec<Value>,
    /// None where there are none.
    pub(crate) tools: Value,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Read {
    Messages(Vec<Value>),
    Whole {
        messages: Vec<Value>,
        #[serde(default)]
        tools: Option<Vec<Value>>,
    },
}

impl Conversation {
    pub(crate) fn of(messages: &[Message]) -> Conversation {
        let message = |m: &Message| {
            Value::from_pairs([
                ("role", Value::from(m.role.as_str())),
                ("content", Value::from(m.content.as_str())),
            ])
        };
        Conversation { messages: messages.iter().map(message).collect(), tools: Value::from(()) }
    }

    /// Reads a list of messages, or an object with `messages` and perhaps `tools`. A message has a `role`; what else there is
    /// (`content` as text or in parts, `tool_calls`, `tool_call_id`) is the template's business.
    pub fn parse(json: &[u8]) -> Result<Conversation> {
        let wrong = |problem: String| TextError::Conversation { problem };
        if json.len() > TEXT_BYTES_MAX {
            return Err(TextError::TooLong { found: json.len(), limit: TEXT_BYTES_MAX });
        }
        let (messages, tools) =
            match serde_json::from_slice(json).map_err(|error| wrong(error.to_string()))? {
                Read::Messages(messages) => (messages, None),
                Read::Whole { messages, tools } => (messages, tools),
            };
        for (at, message) in messages.iter().enumerate() {
            let role = message.get_attr("role").map(|role| role.kind());
            if message.kind() != ValueKind::Map || !matches!(role, Ok(ValueKind::String)) {
                return Err(wrong(format!("message {at} is no object with a role")));
            }
        }
        let tools = tools.filter(|tools| !tools.is_empty()).map_or(Value::from(()), Value::from);
        Ok(Conversation { messages, tools })
    }
}

/// The message, with a content that is a text as a list of one part.
pub(crate) fn with_parts(message: &Value) -> Value {
    let Ok(keys) = message.try_iter() else { return message.clone() };
    let field = |key: Value| {
        let value = message.get_item(&key).unwrap_or_default();
        match value.kind() == ValueKind::String && key.as_str() == Some("content") {
            true => {
                (key, Value::from(vec![Value::from_pairs([("type", Value::from("text")), ("text", value)])]))
            }
            false => (key, value),
        }
    };
    Value::from_pairs(keys.map(field))
}
