//! Replaces the placeholders of a command template for one item.

use crate::{marmoset::v1::Item, mesos::v1::CommandInfo};

/// Copies `template` with `{}` replaced by the item's line and `{#}` by its index.
///
/// Looks at `value` and `arguments` only, in one pass: text that was inserted
/// is not looked at again. Without a line, `{}` stays as it is.
pub fn expand(template: &CommandInfo, item: &Item) -> CommandInfo {
    CommandInfo {
        value: template.value.as_deref().map(|value| expand_text(value, item)),
        arguments: template.arguments.iter().map(|text| expand_text(text, item)).collect(),
        ..template.clone()
    }
}

/// Replaces the placeholders of one text.
pub fn expand_text(template: &str, item: &Item) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        let (before, tail) = rest.split_at(at);
        out.push_str(before);
        if let Some(after) = tail.strip_prefix("{#}") {
            out.push_str(&item.index.to_string());
            rest = after;
        } else if let (Some(after), Some(line)) = (tail.strip_prefix("{}"), &item.line) {
            out.push_str(line);
            rest = after;
        } else {
            out.push('{');
            rest = &tail[1..];
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(line: Option<&str>) -> Item {
        Item { index: 7, line: line.map(Into::into), attempt: None }
    }

    #[test]
    fn replaces_once() {
        for (template, line, text) in [
            ("echo {}", Some("a"), "echo a"),
            ("{#}/{}-{}", Some("x"), "7/x-x"),
            ("{}", Some("{#}{}"), "{#}{}"),
            ("{}", None, "{}"),
            ("{#}", None, "7"),
            ("{{}}", Some("a"), "{a}"),
            ("${x} { } {", Some("a"), "${x} { } {"),
            ("ä{}ö", Some("ü"), "äüö"),
        ] {
            assert_eq!(expand_text(template, &item(line)), text, "{template}");
        }
    }

    #[test]
    fn touches_value_and_arguments() {
        let template = CommandInfo {
            value: Some("run-{#}".into()),
            arguments: vec!["{}".into(), "x".into()],
            user: Some("{}".into()),
            ..Default::default()
        };
        let command = expand(&template, &item(Some("l")));
        assert_eq!(command.value.as_deref(), Some("run-7"));
        assert_eq!(command.arguments, ["l", "x"]);
        assert_eq!(command.user.as_deref(), Some("{}"));
    }
}
