//! Cases are small; what transformers renders with whole templates is held to in `tests/chat_templates.rs`.

use super::*;

fn rendered(source: &str, variables: &str) -> Result<String, TemplateError> {
    let variables: BTreeMap<String, Value> = serde_json::from_str(variables).unwrap();
    ChatTemplate::new("chat_template.jinja", source, variables)?.render(&Conversation::default(), true)
}

/// `json.dumps(x, ensure_ascii=False)`, then with `indent=2`, then with `sort_keys=True`.
#[test]
fn json_is_written_as_python_writes_it() {
    let variables =
        r#"{"x": {"b": [1, 1.0, 1e16, 0.00001, true, null, []], "a": "<é>'\"\u0001\u007f\b\f\n", "c": {}}}"#;
    assert_eq!(
        rendered("{{ x | tojson }}", variables).unwrap(),
        r#"{"b": [1, 1.0, 1e+16, 1e-05, true, null, []], "a": "<é>'\"\u0001"#.to_owned()
            + "\u{7f}"
            + r#"\b\f\n", "c": {}}"#
    );
    assert_eq!(
        rendered("{{ {'k': [1, {'l': 'm'}], 'e': []} | tojson(indent=2) }}", "{}").unwrap(),
        "{\n  \"k\": [\n    1,\n    {\n      \"l\": \"m\"\n    }\n  ],\n  \"e\": []\n}"
    );
    assert_eq!(rendered("{{ {'k': 1, 'e': 2} | tojson(sort_keys=true) }}", "{}").unwrap(), r#"{"e": 2, "k": 1}"#);
}

/// From `str([True, None, 'it\'s', {'k': 1.0}])` in Python.
#[test]
fn values_are_written_as_python_writes_them() {
    let variables = r#"{"x": [true, null, "it's", {"k": 1.0}]}"#;
    assert_eq!(
        rendered("{{ x }} {{ x[0] }} {{ x[1] }}", variables).unwrap(),
        r#"[True, None, "it's", {'k': 1.0}] True None"#
    );
}

#[test]
fn generation_tags_are_of_no_effect_but_on_white_space() {
    let source = "a \n{%- generation -%}\n b{% endgeneration %}\n{%  generation %}c{%+ endgeneration %}";
    assert_eq!(rendered(source, "{}").unwrap(), "abc");
}

#[test]
fn a_refusal_is_told_in_the_templates_own_words_with_file_and_line() {
    let told = rendered("\n{{ raise_exception('roles must alternate') }}", "{}").unwrap_err();
    let (file, message) = ("chat_template.jinja".into(), "roles must alternate".into());
    assert_eq!(told, TemplateError::Refused { file, line: 2, message });
}

#[test]
fn a_template_that_never_ends_is_stopped() {
    let nested = "{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}";
    let doubling = "{% set n = namespace(x='aaaa') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}";
    for source in [nested, doubling] {
        let told = rendered(source, "{}").unwrap_err().to_string();
        assert!(told.starts_with("chat_template.jinja, line 1: the template takes more than 4000000 steps"), "{told}");
    }
    let endless = "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}";
    assert!(rendered(endless, "{}").unwrap_err().to_string().contains("recursion limit exceeded"));
}

#[test]
fn what_is_written_is_limited() {
    let told = rendered("{{ 'a' * 17000000 }}", "{}").unwrap_err().to_string();
    assert!(told.contains("at most 16777216 are taken"), "{told}");
}

#[test]
fn a_template_that_is_not_jinja_is_told_with_file_and_line() {
    let told = ChatTemplate::new("chat_template.jinja", "a\n{% if %}", BTreeMap::new()).unwrap_err().to_string();
    assert!(told.starts_with("chat_template.jinja, line 2: syntax error"), "{told}");
}

#[test]
fn the_time_is_what_it_is_said_to_be_and_otherwise_there_is_none() {
    let source = "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% else %}26 Jul 2024{% endif %}";
    let template = ChatTemplate::new("chat_template.jinja", source, BTreeMap::new()).unwrap();
    assert_eq!(template.render(&Conversation::default(), true).unwrap(), "26 Jul 2024");
    let template = template.with(BTreeMap::new(), Some(Instant(0)));
    assert_eq!(template.render(&Conversation::default(), true).unwrap(), "01 Jan 1970");
}
