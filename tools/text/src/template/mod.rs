//! Chat templates: Jinja as Hugging Face renders it, sandboxed.
//!
//! A template sees the conversation and nothing else: no files, no clock (`strftime_now` is not defined, so templates say the date
//! that they say without one), no other templates. Its recursion and its output are
//! limited; one budget of fuel pays for its steps and for the texts and lists that it makes (`methods.rs` where the engine would
//! count too late). Not limited is what becomes of lists that hold lists many times over: added to each other, or turned into text by `~`.
//! Templates are part of a program, so this is in the hands of whoever chose the program; what clients send is never one.

mod methods;
mod source;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value, context};
use serde::{Deserialize, Serialize};

use super::{Generation, Result, TextError};
use crate::conversation::{Conversation, with_parts};
use methods::{Limited, to_json};

/// Steps of the template's interpreter, or 64 bytes each of what it makes: 32 MB at the most.
const FUEL: u64 = 500_000;
const OUTPUT_BYTES_MAX: usize = super::TEXT_BYTES_MAX;
const RECURSION_MAX: usize = 64;
const NAME: &str = "chat_template";

/// One message of a conversation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Message {
    pub role: String,
    pub content: String,
}

/// A template that has been parsed.
pub struct Template {
    environment: Environment<'static>,
    bos: String,
    eos: String,
    /// Contents are lists of parts for it, and a text would be a list of letters.
    takes_parts: bool,
}

impl Template {
    pub fn new(source: &str, generation: &Generation) -> std::result::Result<Template, String> {
        let mut environment = Environment::new();
        // As transformers sets Jinja up.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| error.to_string())?);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(RECURSION_MAX);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_unknown_method_callback(methods::call);
        environment.add_function("raise_exception", |message: String| -> std::result::Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, format!("{REFUSED}{message}")))
        });
        environment.add_filter("tojson", to_json);
        // The engine goes through none as through an empty list.
        environment.add_test("iterable", |value: &Value| !value.is_none() && value.try_iter().is_ok());
        environment.add_template_owned(NAME, source::plain(source)).map_err(|error| chain(&error))?;
        Ok(Template {
            environment,
            takes_parts: source::takes_parts(source),
            bos: generation.bos_token.clone().unwrap_or_default(),
            eos: generation.eos_token.clone().unwrap_or_default(),
        })
    }

    /// The messages as text; with `answer` up to where the model's answer begins.
    pub fn render(&self, messages: &[Message], answer: bool) -> Result<String> {
        self.render_conversation(&Conversation::of(messages), answer)
    }

    /// The same of a conversation that may have tools, calls of them, and contents in parts.
    pub fn render_conversation(&self, conversation: &Conversation, answer: bool) -> Result<String> {
        let failed = |error: Error| {
            let problem = chain(&error);
            match problem.split_once(REFUSED) {
                Some((_, message)) => TextError::Refused { problem: message.to_string() },
                None => TextError::Template { problem },
            }
        };
        let template = self.environment.get_template(NAME).map_err(failed)?;
        let Conversation { messages, tools } = conversation;
        let messages: Vec<Value> = match self.takes_parts {
            true => messages.iter().map(with_parts).collect(),
            false => messages.clone(),
        };
        // What is not there is none, as transformers has it.
        let values = context! {
            messages => messages,
            tools => tools.clone(),
            documents => (),
            add_generation_prompt => answer,
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
        };
        let mut out = Limited { bytes: Vec::new(), limit: OUTPUT_BYTES_MAX };
        template.render_captured_to(values, &mut out).map_err(failed)?;
        String::from_utf8(out.bytes).map_err(|error| TextError::Template { problem: error.to_string() })
    }
}

/// Tells a refusal by the template from its faults.
const REFUSED: &str = "\u{1}refused\u{1}";

/// An error with what caused it.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(source: &str, messages: &[(&str, &str)]) -> Result<String> {
        let generation = Generation { bos_token: Some("<s>".to_string()), ..Generation::default() };
        let template =
            Template::new(source, &generation).map_err(|problem| TextError::Template { problem })?;
        let message = |(role, content): &(&str, &str)| Message {
            role: (*role).to_string(),
            content: (*content).to_string(),
        };
        template.render(&messages.iter().map(message).collect::<Vec<_>>(), true)
    }

    #[test]
    fn templates_as_models_have_them() {
        let source = "{{ bos_token }}{% for m in messages %}\n    {% if loop.first and m['role'] != 'system' %}\nS{% endif %}\n\
                      [{{ m['role'] }}: {{ m.content.strip() | trim }}]{% endfor %}{% if add_generation_prompt %}A:{% endif %}";
        assert_eq!(rendered(source, &[("user", " hi ")]).unwrap(), "<s>S[user: hi]A:");
        let source = "{%- set ns = namespace(n=0) -%}{%- for m in messages[::-1] -%}{%- set ns.n = ns.n + 1 -%}\
                      {%- if m.content.startswith('<') and '>' in m.content -%}{{ m.content.split('>')[-1].lstrip('\\n') }}{%- endif -%}\
                      {%- endfor -%}{{ ns.n }}{% if strftime_now is defined %}now{% endif %}{{ messages | tojson }}";
        let expected =
            "b2[{\"role\": \"user\", \"content\": \"é\"}, {\"role\": \"user\", \"content\": \"<a>b\"}]";
        assert_eq!(rendered(source, &[("user", "é"), ("user", "<a>b")]).unwrap(), expected);
    }

    #[test]
    fn refusals_and_faults_are_told_apart() {
        let refused = rendered("{{ raise_exception('no system') }}", &[]);
        assert!(matches!(refused, Err(TextError::Refused { problem }) if problem.starts_with("no system")));
        assert!(matches!(rendered("{% for %}", &[]), Err(TextError::Template { .. })));
        assert!(matches!(rendered("{% include 'x' %}", &[]), Err(TextError::Template { .. })));
    }

    #[test]
    fn templates_cannot_run_or_write_without_end() {
        let endless = "{% for a in range(50000) %}{% for b in range(50000) %}{% endfor %}{% endfor %}";
        let error = rendered(endless, &[]).unwrap_err().to_string();
        assert!(error.contains("fuel"), "{error}");
        let loud = "{% set x = 'x' * 100000 %}{% for a in range(50000) %}{{ x }}{% endfor %}";
        let error = rendered(loud, &[]).unwrap_err().to_string();
        assert!(error.contains("more than"), "{error}");
        let deep = "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}";
        assert!(rendered(deep, &[]).is_err());
    }
}
