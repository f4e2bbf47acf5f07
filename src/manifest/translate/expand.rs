//! `$(NAME)` in commands, arguments and values of environment variables.

/// Replaces each `$(NAME)` for which `value_of` has a value. An unknown one stays as it is; `$$` becomes `$`, so that
/// `$$(NAME)` becomes `$(NAME)` unexpanded. These are the Kubernetes API's rules for `command`, `args` and `env`.
pub(super) fn expand<'a>(text: &str, value_of: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, reference) = rest.split_at(at);
        expanded.push_str(before);
        rest = &reference[1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match value_of(name) {
                Some(value) => expanded.push_str(value),
                None => expanded.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            expanded.push('$');
        }
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::expand;

    fn expanded(text: &str) -> String {
        expand(text, |name| match name {
            "A" => Some("1"),
            "EMPTY" => Some(""),
            "REF" => Some("$(A)"),
            "B C" => Some("space"),
            _ => None,
        })
    }

    #[test]
    fn references_are_replaced_as_kubernetes_does() {
        for (text, result) in [
            ("", ""),
            ("plain", "plain"),
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$(EMPTY)", ""),
            ("$(B C)", "space"),
            ("$(NOPE)", "$(NOPE)"),
            ("$()", "$()"),
            // A value is not expanded again.
            ("$(REF)", "$(A)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$$$$(A)", "$$(A)"),
            ("$$", "$"),
            ("$", "$"),
            ("a$", "a$"),
            ("$A", "$A"),
            ("${A}", "${A}"),
            ("$(A", "$(A"),
            ("$(A$(A)", "$(A$(A)"),
            ("50$ für $(A)", "50$ für 1"),
            ("$ü$(A)", "$ü1"),
        ] {
            assert_eq!(expanded(text), result, "{text}");
        }
    }
}
