//! Finds the pattern that matches a path: a tree of segments.
//!
//! Where several match, the more specific wins, segment by segment from the left: a
//! literal, then the parameter with the longest prefix (of these the longest suffix),
//! then a whole segment's parameter, then what takes all the rest. If that leads to no
//! end, the next is tried; each node is tried once at most, since one way leads to it.

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

use memchr::memchr;

use super::params::Params;
use super::pattern::Segment;

/// Values by pattern. A clone shares all nodes with the original; to change one of the two
/// copies the nodes on the way to what changes.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    root: Arc<Node>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// Sorted.
    literals: Vec<(Arc<str>, Arc<Node>)>,
    /// Those with longer prefixes first, then those with longer suffixes.
    affixed: Vec<(Affixes, Arc<Node>)>,
    param: Option<Arc<Node>>,
    catch_all: Option<usize>,
    /// Of a pattern that ends here.
    end: Option<usize>,
}

/// What stands before and behind a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Affixes {
    prefix: Arc<str>,
    suffix: Arc<str>,
}

impl Affixes {
    fn compare(&self, prefix: &str, suffix: &str) -> Ordering {
        let of = |prefix: &str, suffix: &str| (Reverse(prefix.len()), Reverse(suffix.len()));
        let by_length = of(&self.prefix, &self.suffix).cmp(&of(prefix, suffix));
        by_length.then_with(|| (&*self.prefix, &*self.suffix).cmp(&(prefix, suffix)))
    }
}

impl Tree {
    /// Sets the value of a pattern of this shape.
    pub fn insert(&mut self, shape: &[Segment], value: usize) {
        let mut node = Arc::make_mut(&mut self.root);
        for segment in shape {
            if *segment == Segment::CatchAll {
                node.catch_all = Some(value);
                return;
            }
            node = node.child_or_new(segment);
        }
        node.end = Some(value);
    }

    /// Takes the pattern of this shape out, and the nodes that are for it alone.
    pub fn remove(&mut self, shape: &[Segment]) {
        Arc::make_mut(&mut self.root).remove(shape);
    }

    /// Whether it has no patterns.
    pub fn is_empty(&self) -> bool {
        self.root.is_empty()
    }

    /// The value of the pattern of this shape.
    pub fn get(&self, shape: &[Segment]) -> Option<usize> {
        let mut node = &*self.root;
        for segment in shape {
            if *segment == Segment::CatchAll {
                return node.catch_all;
            }
            node = node.child(segment)?;
        }
        node.end
    }

    /// The value of the pattern that matches; its parameters are written to `params`.
    #[inline]
    pub fn find(&self, path: &str, params: &mut Params) -> Option<usize> {
        params.clear();
        let rest = path.strip_prefix('/');
        self.root.find(rest, path.len(), params)
    }
}

impl Node {
    fn is_empty(&self) -> bool {
        let has_child =
            !self.literals.is_empty() || !self.affixed.is_empty() || self.param.is_some();
        !has_child && self.catch_all.is_none() && self.end.is_none()
    }

    fn literal_place(&self, text: &str) -> Result<usize, usize> {
        self.literals
            .binary_search_by(|(known, _)| (**known).cmp(text))
    }

    fn affixed_place(&self, prefix: &str, suffix: &str) -> Result<usize, usize> {
        self.affixed
            .binary_search_by(|(known, _)| known.compare(prefix, suffix))
    }

    /// The node behind a segment, which is no catch-all.
    fn child(&self, segment: &Segment) -> Option<&Self> {
        let child = match segment {
            Segment::Literal(text) => &self.literals[self.literal_place(text).ok()?].1,
            Segment::Affixed { prefix, suffix } => {
                &self.affixed[self.affixed_place(prefix, suffix).ok()?].1
            }
            Segment::Param => self.param.as_ref()?,
            Segment::CatchAll => return None,
        };
        Some(child)
    }

    fn child_or_new(&mut self, segment: &Segment) -> &mut Self {
        let child = match segment {
            Segment::Literal(text) => {
                let index = self.literal_place(text).unwrap_or_else(|index| {
                    let new = (Arc::from(&**text), Arc::default());
                    self.literals.insert(index, new);
                    index
                });
                &mut self.literals[index].1
            }
            Segment::Affixed { prefix, suffix } => {
                let index = self.affixed_place(prefix, suffix).unwrap_or_else(|index| {
                    let affixes = Affixes {
                        prefix: Arc::from(&**prefix),
                        suffix: Arc::from(&**suffix),
                    };
                    self.affixed.insert(index, (affixes, Arc::default()));
                    index
                });
                &mut self.affixed[index].1
            }
            Segment::Param => self.param.get_or_insert_default(),
            Segment::CatchAll => unreachable!("nothing is behind a catch-all"),
        };
        Arc::make_mut(child)
    }

    fn remove(&mut self, shape: &[Segment]) {
        let (first, rest) = match shape {
            [] => {
                self.end = None;
                return;
            }
            [Segment::CatchAll, ..] => {
                self.catch_all = None;
                return;
            }
            [first, rest @ ..] => (first, rest),
        };
        if self.child(first).is_none() {
            return;
        }
        let child = self.child_or_new(first);
        child.remove(rest);
        if !child.is_empty() {
            return;
        }
        match first {
            Segment::Literal(text) => {
                if let Ok(place) = self.literal_place(text) {
                    self.literals.remove(place);
                }
            }
            Segment::Affixed { prefix, suffix } => {
                if let Ok(place) = self.affixed_place(prefix, suffix) {
                    self.affixed.remove(place);
                }
            }
            Segment::Param => self.param = None,
            Segment::CatchAll => {}
        }
    }

    /// `rest` is what follows the last slash that was passed; `None` at the end. It ends at
    /// `end` of the path.
    fn find(&self, rest: Option<&str>, end: usize, params: &mut Params) -> Option<usize> {
        let Some(rest) = rest else { return self.end };
        let start = end - rest.len();
        let (segment, tail) = match memchr(b'/', rest.as_bytes()) {
            Some(slash) => (&rest[..slash], Some(&rest[slash + 1..])),
            None => (rest, None),
        };
        if let Ok(index) = self.literal_place(segment)
            && let Some(found) = self.literals[index].1.find(tail, end, params)
        {
            return Some(found);
        }
        for (Affixes { prefix, suffix }, node) in &self.affixed {
            let value = segment.strip_prefix(&**prefix);
            let value = value.and_then(|rest| rest.strip_suffix(&**suffix));
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                params.push(start + prefix.len(), value);
                if let Some(found) = node.find(tail, end, params) {
                    return Some(found);
                }
                params.pop();
            }
        }
        if let Some(node) = &self.param
            && !segment.is_empty()
        {
            params.push(start, segment);
            if let Some(found) = node.find(tail, end, params) {
                return Some(found);
            }
            params.pop();
        }
        let catch_all = self.catch_all.filter(|_| !rest.is_empty())?;
        params.push(start, rest);
        Some(catch_all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::pattern::Pattern;

    fn tree(patterns: &[&str]) -> Tree {
        let mut tree = Tree::default();
        for (index, pattern) in patterns.iter().enumerate() {
            tree.insert(Pattern::parse(pattern).unwrap().shape(), index);
        }
        tree
    }

    /// Pattern and values of its parameters.
    fn found<'t>(patterns: &[&'t str], path: &'t str) -> Option<(&'t str, Vec<&'t str>)> {
        let mut params = Params::default();
        let index = tree(patterns).find(path, &mut params)?;
        Some((patterns[index], params.values(path).collect()))
    }

    #[test]
    fn the_more_specific_pattern_wins_whatever_the_order() {
        let mut patterns = vec![
            "/",
            "/{*all}",
            "/files/{name}",
            "/files/report-{id}",
            "/files/report-{id}.pdf",
            "/files/{name}.pdf",
            "/files/report-1",
            "/files/{name}/meta",
            "/files/{*rest}",
        ];
        for _ in 0..patterns.len() {
            patterns.rotate_left(1);
            for (path, pattern, params) in [
                ("/", "/", &[][..]),
                ("/x", "/{*all}", &["x"]),
                ("/files/a", "/files/{name}", &["a"]),
                ("/files/report-1", "/files/report-1", &[]),
                ("/files/report-2", "/files/report-{id}", &["2"]),
                ("/files/report-2.pdf", "/files/report-{id}.pdf", &["2"]),
                ("/files/a.pdf", "/files/{name}.pdf", &["a"]),
                ("/files/report-", "/files/{name}", &["report-"]),
                ("/files/report-2/meta", "/files/{name}/meta", &["report-2"]),
                ("/files/a/b", "/files/{*rest}", &["a/b"]),
                ("/files/", "/{*all}", &["files/"]),
                ("//", "/{*all}", &["/"]),
            ] {
                let expected = Some((pattern, params.to_vec()));
                assert_eq!(found(&patterns, path), expected, "{path}");
            }
        }
    }

    #[test]
    fn parameters_match_at_least_one_byte_and_slashes_count() {
        assert_eq!(found(&["/a/{x}"], "/a/"), None);
        assert_eq!(found(&["/a/x{y}"], "/a/x"), None);
        assert_eq!(found(&["/a/{*x}"], "/a/"), None);
        assert_eq!(found(&["/a"], "/a/"), None);
        assert_eq!(found(&["/a/"], "/a"), None);
        assert_eq!(found(&["/{{x}}"], "/{x}"), Some(("/{{x}}", vec![])));
    }

    /// How specific a segment is: its kind, and the lengths of prefix and suffix.
    type Rank = (u8, usize, usize);

    /// What a pattern says, without a tree: the values of its parameters, and for each
    /// segment how specific it is.
    fn matches<'p>(shape: &[Segment], path: &'p str) -> Option<(Vec<Rank>, Vec<&'p str>)> {
        let (mut ranks, mut params) = (Vec::new(), Vec::new());
        let mut rest = path.strip_prefix('/');
        for segment in shape {
            let here = rest?;
            let (first, tail) = here
                .split_once('/')
                .map_or((here, None), |(a, b)| (a, Some(b)));
            match segment {
                Segment::Literal(text) if first == &**text => ranks.push((4, 0, 0)),
                Segment::Affixed { prefix, suffix } => {
                    let value = first.strip_prefix(&**prefix)?.strip_suffix(&**suffix)?;
                    params.push(Some(value).filter(|value| !value.is_empty())?);
                    ranks.push((3, prefix.len(), suffix.len()));
                }
                Segment::Param if !first.is_empty() => {
                    params.push(first);
                    ranks.push((2, 0, 0));
                }
                Segment::CatchAll if !here.is_empty() => {
                    params.push(here);
                    ranks.push((1, 0, 0));
                    return Some((ranks, params));
                }
                _ => return None,
            }
            rest = tail;
        }
        rest.is_none().then_some((ranks, params))
    }

    #[test]
    fn random_sets_in_random_orders_find_what_the_rule_says_also_after_removals() {
        let mut random = fastrand::Rng::with_seed(7);
        let pieces = [
            "a", "b", "ab", "", "{x}", "a{x}", "{x}b", "a{x}b", "ab{x}", "{*x}",
        ];
        let words = ["a", "b", "ab", "aab", "abb", "c", "", "a-b"];
        for _ in 0..3_000 {
            let mut patterns: Vec<Pattern> = Vec::new();
            for _ in 0..random.usize(1..10) {
                let count = random.usize(1..4);
                let text: String = (0..count)
                    .map(|_| format!("/{}", random.choice(pieces).unwrap()))
                    .collect();
                // Of one shape there can be one only.
                if let Ok(pattern) = Pattern::parse(&text)
                    && patterns
                        .iter()
                        .all(|known| known.shape() != pattern.shape())
                {
                    patterns.push(pattern);
                }
            }
            let all = patterns.clone();
            let mut edited = Tree::default();
            for (index, pattern) in all.iter().enumerate() {
                edited.insert(pattern.shape(), index);
                assert_eq!(edited.get(pattern.shape()), Some(index));
            }
            let whole = edited.clone();
            while !patterns.is_empty() {
                random.shuffle(&mut patterns);
                let mut tree = Tree::default();
                for (index, pattern) in patterns.iter().enumerate() {
                    tree.insert(pattern.shape(), index);
                }
                for _ in 0..10 {
                    let count = random.usize(1..5);
                    let path: String = (0..count)
                        .map(|_| format!("/{}", random.choice(words).unwrap()))
                        .collect();
                    let best = patterns
                        .iter()
                        .filter_map(|pattern| Some((matches(pattern.shape(), &path)?, pattern)))
                        .max_by(|a, b| a.0.0.cmp(&b.0.0));
                    let mut params = Params::default();
                    let found = tree
                        .find(&path, &mut params)
                        .map(|index| (&patterns[index], params.values(&path).collect()));
                    assert_eq!(
                        found,
                        best.map(|((_, params), pattern)| (pattern, params)),
                        "{path} among {patterns:?}"
                    );
                    let params = &mut Params::default();
                    let of_edited = edited.find(&path, params).map(|index| &all[index]);
                    assert_eq!(of_edited, found.map(|(pattern, _)| pattern), "{path}");
                }
                let gone = patterns.pop().expect("it is not empty");
                edited.remove(gone.shape());
                assert_eq!(edited.get(gone.shape()), None);
            }
            assert!(edited.is_empty(), "{edited:?} of {all:?}");
            let all = all.iter().enumerate();
            assert!(
                all.into_iter()
                    .all(|(index, pattern)| whole.get(pattern.shape()) == Some(index))
            );
        }
    }
}
