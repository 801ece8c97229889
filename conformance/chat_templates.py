"""What Jinja, set up as Hugging Face's transformers sets it up, makes of the templates and conversations in tools/text/tests/templates.

    python3 chat_templates.py

Writes expected.json there, which `cargo test -p repops-text --test templates` compares with. Needs jinja2. The templates are the
project's own, in the manner of those that models have.
"""

import json
import pathlib

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

FOLDER = pathlib.Path(__file__).parent.parent / "tools" / "text" / "tests" / "templates"


class Refused(Exception):
    pass


class Answer(Extension):
    """`generation`, which marks what a model answered: here nothing but what is in it."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.Scope(body, lineno=line)


def environment():
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Answer, loopcontrols])

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def refuse(message):
        raise Refused(message)

    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = refuse
    return made


def in_parts(message):
    """As servers give contents to templates that know only lists of parts."""
    if isinstance(message["content"], str):
        return {**message, "content": [{"type": "text", "text": message["content"]}]}
    return message


def rendered(template, conversation, answer):
    try:
        text = template.render(
            messages=conversation["messages"], tools=conversation.get("tools"), documents=None,
            add_generation_prompt=answer, bos_token="<s>", eos_token="</s>",
        )
        return {"text": text}
    except Refused as refusal:
        return {"refused": str(refusal)}
    except (jinja2.TemplateError, TypeError):
        return {"failed": True}


def main():
    conversations = {path.stem: json.loads(path.read_text()) for path in sorted((FOLDER / "conversations").glob("*.json"))}
    expected = {}
    for path in sorted(FOLDER.glob("*.jinja")):
        template = environment().from_string(path.read_text())
        for name, conversation in conversations.items():
            if path.stem == "parts":
                conversation = {**conversation, "messages": [in_parts(message) for message in conversation["messages"]]}
            for answer in (True, False):
                expected[f"{path.stem}, {name}, {'answer' if answer else 'whole'}"] = rendered(template, conversation, answer)
    text = json.dumps(expected, ensure_ascii=False, indent=1)
    (FOLDER / "expected.json").write_text(text + "\n")
    kinds = [next(iter(found)) for found in expected.values()]
    print({kind: kinds.count(kind) for kind in sorted(set(kinds))})


if __name__ == "__main__":
    main()
