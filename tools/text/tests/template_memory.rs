//! Hostile templates: none makes more than the fuel of a rendering pays for, whatever it joins, repeats or fills up.

use std::alloc::System;

use cap::Cap;
use repops_text::{Generation, Message, Template};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Twice the 32 MB that fuel pays for: while a text is joined to another both are there.
const BYTES_MAX: usize = 64 << 20;

/// A text of 2^20 letters.
const LONG: &str = "{% set ns = namespace(x='x' * 1048576, a=[]) %}";

const HOSTILE: &[&str] = &[
    "{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "{% for i in range(60) %}{% set ns.x = ns.x * 2 %}{% endfor %}",
    "{% for i in range(60) %}{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}{% endfor %}",
    "{% for i in range(60000) %}{% set ns.a = ns.a + [ns.x ~ i] %}{% endfor %}",
    "{% set y = ns.x * 100000000 %}",
    "{% set y = ns.x.replace('x', ns.x) %}",
    "{% set y = ns.x.replace('', ns.x, 1000000) %}",
    "{% set y = ns.x | replace('x', ns.x) %}",
    "{% set y = ns.x.join(range(100000)) %}",
    "{% set y = ns.x.join([1] * 1000000) %}",
    "{% set y = [ns.x] * 1000000 %}{% set z = ','.join([y]) %}",
    "{% set y = [ns.x] * 1000000 %}{% set z = ','.join(y) %}",
    "{% set y = [ns.x] * 1000000 %}{% set z = y | join(',') %}",
    "{% set y = [ns.x] * 1000000 %}{% set z = y | tojson %}",
    "{% set y = [ns.x] * 1000000 %}{{ y }}",
    "{% set y = '{:1000000000}'.format('') %}",
    "{% set y = '{}'.format([ns.x] * 1000000) %}",
    "{% set y = ('{:9999}' * 100000).format('') %}",
    "{% set y = '%1000000000s' | format('') %}",
    "{% set y = (ns.x * 28).split('x') %}",
    "{% set y = (ns.x * 28).split('') %}",
    "{% set y = ('\\n' * 30000000).splitlines() %}",
    "{% set y = (ns.x * 28).rsplit('x') %}",
    "{% set y = ('x ' * 14000000).rsplit() %}",
    "{% set y = (ns.x * 28).partition('y') %}",
    "{% set y = [1] * 10000000 %}{% set z = y | tojson(sort_keys=true) %}",
    "{% set y = ('é' * 10000000) | tojson(ensure_ascii=true) %}",
    "{% set y = ([1] * 1000) | tojson(separators=(ns.x, ns.x)) %}",
    "{% set y = (ns.x * 28).upper() %}",
    "{% set y = ns.x | indent(1000000000) %}",
    "{% set y = ns.x | center(1000000000) %}",
    "{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a | tojson }}",
    "{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a }}",
    "{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ','.join([ns.a]) }}",
];

#[test]
fn no_template_takes_more_memory_than_its_fuel_pays_for() {
    let messages = [Message { role: "user".to_string(), content: "hello".to_string() }];
    let before = ALLOCATOR.allocated();
    for source in HOSTILE {
        let template = Template::new(&format!("{LONG}{source}"), &Generation::default()).unwrap();
        let rendered = template.render(&messages, true);
        assert!(rendered.is_err(), "{source} gives {} bytes", rendered.unwrap().len());
        let most = ALLOCATOR.max_allocated() - before;
        assert!(most <= BYTES_MAX, "{source} takes {most} bytes");
    }
    // The text itself can be paid for many times.
    let harmless = "{% set y = ns.x.replace('x', 'yz').upper() %}{{ y | length }}{{ ','.join(['a', 1, 'b']) }}{{ '{}-{:>3}'.format('a', 1) }}";
    let template = Template::new(&format!("{LONG}{harmless}"), &Generation::default()).unwrap();
    assert_eq!(template.render(&messages, true).unwrap(), "2097152a,1,ba-  1");
}
