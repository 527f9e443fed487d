//! A route pattern and the names of its parameters, as the hub reads them:
//! `{name}`, `{*rest}`, and `{{` for a brace.

/// A route's pattern, with the names of its parameters.
#[derive(Debug)]
pub(crate) struct RoutePattern {
    path: String,
    param_names: Vec<String>,
}

impl RoutePattern {
    pub fn new(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            param_names: param_names(path),
        }
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn param_names(&self) -> impl Iterator<Item = &str> {
        self.param_names.iter().map(String::as_str)
    }

    #[inline]
    pub fn param_index(&self, name: &str) -> Option<usize> {
        self.param_names.iter().position(|known| known == name)
    }
}

fn param_names(path: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = path;
    while let Some(open) = rest.find('{') {
        rest = &rest[open + 1..];
        if let Some(tail) = rest.strip_prefix('{') {
            rest = tail;
            continue;
        }
        let Some(close) = rest.find('}') else { break };
        names.push(rest[..close].trim_start_matches('*').to_owned());
        rest = &rest[close + 1..];
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_names_are_found_in_order_and_escaped_braces_are_none() {
        for (path, expected) in [
            ("/", &[][..]),
            ("/a/{id}", &["id"]),
            ("/{a}/x-{b}.png/{*rest}", &["a", "b", "rest"]),
            ("/{{a}}/{b}", &["b"]),
        ] {
            assert_eq!(param_names(path), expected, "{path}");
        }
    }
}
