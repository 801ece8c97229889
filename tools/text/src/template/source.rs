//! What a template's text says before it is read as Jinja.

/// Where a tag's inner text lies, after `{%` and before `%}`.
fn tags(source: &str) -> impl Iterator<Item = std::ops::Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let begin = at + source[at..].find("{%")? + 2;
        let end = begin + source[begin..].find("%}")?;
        at = end + 2;
        Some(begin..end)
    })
}

/// The template without the blocks that mark a model's answers (`generation`), which transformers adds to Jinja: what is in them stays.
pub(super) fn plain(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut from = 0;
    for tag in tags(source) {
        let inner = &source[tag.clone()];
        let word = inner.trim_matches(['-', '+']).trim();
        let other = match word {
            "generation" => "if true",
            "endgeneration" => "endif",
            _ => continue,
        };
        out.push_str(&source[from..tag.start]);
        out.push_str(&inner.replacen(word, other, 1));
        from = tag.end;
    }
    out.push_str(&source[from..]);
    out
}

/// Whether the template goes through a message's content part by part and never asks whether it is a text.
pub(super) fn takes_parts(source: &str) -> bool {
    let is_loop = |inner: &str| {
        let inner = inner.trim_matches(['-', '+']).trim();
        let Some((_, list)) = inner.strip_prefix("for ").and_then(|rest| rest.split_once(" in ")) else {
            return false;
        };
        let list = list.split(['|']).next().unwrap_or_default();
        let list = list.split(" if ").next().unwrap_or_default().trim();
        [".content", "['content']", "[\"content\"]"].iter().any(|end| list.ends_with(end))
    };
    !source.contains("is string")
        && !source.contains("is not string")
        && tags(source).any(|tag| is_loop(&source[tag]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_answers_stay_and_nothing_else_changes() {
        let source = "a{%- generation -%} generation {%endgeneration+%}b{% if generation %}{% end";
        assert_eq!(plain(source), "a{%- if true -%} generation {%endif+%}b{% if generation %}{% end");
        for same in ["", "{%", "{% %}", "%}{%", "{{ generation }}"] {
            assert_eq!(plain(same), same);
        }
    }

    #[test]
    fn templates_that_take_parts_are_known_by_their_loops() {
        let takes = [
            "{%- for part in message['content'] -%}",
            "{% for c in m.content | list %}",
            "{% for c in m[\"content\"] if c.text %}",
        ];
        for source in takes {
            assert!(takes_parts(source), "{source}");
            assert!(!takes_parts(&format!("{{% if m.content is string %}}{source}")), "{source}");
        }
        for source in
            ["{% for m in messages %}", "{% for c in contents %}", "for c in m.content", "{% for %}", "{%"]
        {
            assert!(!takes_parts(source), "{source}");
        }
    }
}
