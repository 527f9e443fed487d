//! Reads the workspace's own sources as the house rules see them: which file imports
//! which, circles of files, floors of folders, and what has grown too long.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A crate's files and what they import of each other.
pub struct Crate {
    /// Its folder's name.
    pub name: String,
    /// By path inside `src`, without the crate's roots (`lib.rs`, `main.rs`, `bin`).
    pub files: BTreeMap<String, Source>,
    /// The text of `lib.rs`.
    pub root: String,
}

/// One file.
pub struct Source {
    /// Its text.
    pub text: String,
    /// The files of its crate that it imports, outside its tests.
    pub imports: BTreeSet<String>,
}

impl Source {
    /// Without its unit tests, which may look at anything.
    fn code(&self) -> &str {
        code(&self.text)
    }
}

fn code(text: &str) -> &str {
    let tests = ["\n#[cfg(test)]\nmod tests", "\n#[cfg(all(test"];
    let ends = tests.iter().filter_map(|start| text.find(start));
    &text[..ends.min().unwrap_or(text.len())]
}

/// The Rust files below a folder.
pub fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

impl Crate {
    /// Reads the crate in a folder of the workspace.
    pub fn read(workspace: &Path, name: &str) -> Self {
        let src = workspace.join(name).join("src");
        let root = std::fs::read_to_string(src.join("lib.rs")).unwrap_or_default();
        let mut texts = BTreeMap::new();
        for path in rust_files(&src) {
            let inside = path.strip_prefix(&src).expect("it is below");
            let inside = inside.to_str().expect("a path of ours").to_owned();
            if !matches!(&*inside, "lib.rs" | "main.rs") && !inside.starts_with("bin/") {
                let text = std::fs::read_to_string(&path).expect("a source file");
                texts.insert(inside, text);
            }
        }
        let modules: BTreeMap<String, String> = texts
            .keys()
            .map(|file| (module_of(file), file.clone()))
            .collect();
        let files = texts.into_iter().map(|(file, text)| {
            let imports = imports_of(&file, code(&text), &modules);
            (file, Source { text, imports })
        });
        Self {
            name: name.to_owned(),
            files: files.collect(),
            root,
        }
    }

    /// Imports in all.
    pub fn arrow_count(&self) -> usize {
        self.files.values().map(|source| source.imports.len()).sum()
    }

    /// Sets of files that import each other in a circle, largest first.
    pub fn circles(&self) -> Vec<Vec<&str>> {
        let reach: BTreeMap<&str, BTreeSet<&str>> = self
            .files
            .keys()
            .map(|file| (&**file, self.reachable(file)))
            .collect();
        let mut circles: BTreeSet<Vec<&str>> = BTreeSet::new();
        for (file, reached) in &reach {
            let is_mutual = |other: &&&str| reach[**other].contains(file);
            let circle: Vec<&str> = reached.iter().filter(is_mutual).copied().collect();
            if circle.len() > 1 {
                circles.insert(circle);
            }
        }
        let mut circles: Vec<_> = circles.into_iter().collect();
        circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
        circles
    }

    fn reachable(&self, file: &str) -> BTreeSet<&str> {
        let mut reached = BTreeSet::new();
        let mut next: Vec<&str> = self.files[file].imports.iter().map(|f| &**f).collect();
        while let Some(file) = next.pop() {
            if reached.insert(file) {
                next.extend(self.files[file].imports.iter().map(|f| &**f));
            }
        }
        reached
    }

    /// Imports from a floor to one that is not below it. `floors` are the rooms (top-level
    /// folders and files), from the lowest floor up; rooms of one floor stand side by side.
    pub fn upward<'c>(&'c self, floors: &[&[&str]]) -> Vec<(&'c str, &'c str)> {
        let floor_of = |file: &str| {
            let room = room_of(file);
            let floor = floors.iter().position(|rooms| rooms.contains(&room));
            floor.unwrap_or_else(|| panic!("{}: {room} has no floor", self.name))
        };
        let mut upward = Vec::new();
        for (file, source) in &self.files {
            for other in &source.imports {
                let is_same_room = room_of(file) == room_of(other);
                if !is_same_room && floor_of(other) >= floor_of(file) {
                    upward.push((&**file, &**other));
                }
            }
        }
        upward
    }

    /// Rooms: top-level folders and files.
    pub fn rooms(&self) -> BTreeSet<&str> {
        self.files.keys().map(|file| room_of(file)).collect()
    }

    /// `impl` blocks of types that another folder defines: the file and the type.
    pub fn foreign_impls(&self) -> Vec<(&str, String)> {
        let mut homes: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for (file, source) in &self.files {
            for name in defined_types(source.code()) {
                homes.entry(name).or_default().insert(folder_of(file));
            }
        }
        let mut foreign = Vec::new();
        for (file, source) in &self.files {
            for name in implemented_types(source.code()) {
                let homes = homes.get(&name);
                if homes.is_some_and(|homes| !homes.contains(folder_of(file))) {
                    foreign.push((&**file, name));
                }
            }
        }
        foreign
    }
}

/// The top-level folder or file.
fn room_of(file: &str) -> &str {
    let first = file.split('/').next().unwrap_or(file);
    first.strip_suffix(".rs").unwrap_or(first)
}

fn folder_of(file: &str) -> &str {
    file.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn module_of(file: &str) -> String {
    let path = file.strip_suffix(".rs").unwrap_or(file);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.replace('/', "::")
}

/// The files that paths in a file's code lead to.
fn imports_of(file: &str, code: &str, modules: &BTreeMap<String, String>) -> BTreeSet<String> {
    let module = module_of(file);
    let lines = code.lines().map(str::trim_start);
    let code: String = lines
        .filter(|line| !line.starts_with("//"))
        .fold(String::new(), |text, line| text + line + "\n");
    let mut paths = Vec::new();
    for (start, _) in code.match_indices("crate::") {
        let is_whole_word = !code[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        if is_whole_word {
            expand("", &code[start + "crate::".len()..], &mut paths);
        }
    }
    let parent = module.rsplit_once("::").map_or("", |(parent, _)| parent);
    for (start, _) in code.match_indices("use super::") {
        expand(parent, &code[start + "use super::".len()..], &mut paths);
    }
    for (start, _) in code.match_indices("use ") {
        let rest = &code[start + "use ".len()..];
        let first = rest.split("::").next().unwrap_or_default();
        if modules.contains_key(&format!("{module}::{first}")) {
            expand(&module, rest, &mut paths);
        }
    }
    let found = paths.iter().filter_map(|path| file_of(path, modules));
    found.filter(|found| found != file).collect()
}

/// The module that a path leads to: the longest beginning that is one.
fn file_of(path: &str, modules: &BTreeMap<String, String>) -> Option<String> {
    let mut path = path;
    loop {
        if let Some(file) = modules.get(path) {
            return Some(file.clone());
        }
        path = path.rsplit_once("::")?.0;
    }
}

/// Expands `a::{b, c::{d, e}}` into paths; returns the rest of the text behind it.
fn expand<'t>(prefix: &str, text: &'t str, paths: &mut Vec<String>) -> &'t str {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let join = |prefix: &str, word: &str| match (prefix, word) {
        ("", word) => word.to_owned(),
        (prefix, "" | "self") => prefix.to_owned(),
        (prefix, word) => format!("{prefix}::{word}"),
    };
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = expand(prefix, rest, paths).trim_start();
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => return rest.strip_prefix('}').unwrap_or(rest),
            }
        }
    }
    let end = text.find(|c| !is_word(c)).unwrap_or(text.len());
    let path = join(prefix, &text[..end]);
    if let Some(rest) = text[end..].strip_prefix("::") {
        return expand(&path, rest, paths);
    }
    // After a last comma there is nothing.
    if end > 0 {
        paths.push(path);
    }
    let rest = &text[end..];
    // `as name`
    rest.strip_prefix(" as ").map_or(rest, |rest| {
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        &rest[end..]
    })
}

fn defined_types(code: &str) -> Vec<String> {
    let words = code.lines().filter_map(|line| {
        let line = line.trim_start_matches("pub(crate) ");
        let line = line.trim_start_matches("pub(super) ");
        let line = line.trim_start_matches("pub ");
        let rest = ["struct ", "enum ", "union "]
            .iter()
            .find_map(|kind| line.strip_prefix(kind))?;
        Some(word(rest).to_owned())
    });
    words.collect()
}

/// Types of the inherent `impl`s that begin a line.
fn implemented_types(code: &str) -> Vec<String> {
    let types = code.lines().filter_map(|line| {
        let rest = line.strip_prefix("impl")?;
        let rest = skip_generics(rest).trim_start();
        // A trait's may stand with the trait.
        (!rest.contains(" for ")).then(|| word(rest).to_owned())
    });
    types.collect()
}

fn skip_generics(text: &str) -> &str {
    if !text.starts_with('<') {
        return text;
    }
    let mut depth = 0;
    let mut before = ' ';
    for (index, c) in text.char_indices() {
        match c {
            '<' => depth += 1,
            '>' if before != '-' => depth -= 1,
            _ => {}
        }
        before = c;
        if depth == 0 {
            return &text[index + 1..];
        }
    }
    ""
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

/// Functions with more lines than that: name and length. A function ends at the brace that
/// stands where its own line begins, as rustfmt puts it.
pub fn long_functions(text: &str, line_count_max: usize) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut long = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_before_fn = |word: &&&str| {
            ["pub", "async", "const", "unsafe"].contains(*word) || word.starts_with("pub(")
        };
        let before = words.iter().take_while(is_before_fn).count();
        if words.get(before) != Some(&"fn") {
            continue;
        }
        let closing = format!("{}}}", " ".repeat(indent));
        let end = lines[start..].iter().position(|line| *line == closing);
        if let Some(length) = end.filter(|length| length + 1 > line_count_max) {
            let name = words.get(before + 1).unwrap_or(&"");
            long.push((word(name).to_owned(), length + 1));
        }
    }
    long
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_found_however_they_are_written() {
        let modules = ["a", "a::b", "a::c", "d"];
        let modules: BTreeMap<String, String> = modules
            .iter()
            .map(|module| ((*module).to_owned(), format!("{module}.rs")))
            .collect();
        let imports = |file: &str, code: &str| {
            let found = imports_of(file, code, &modules);
            found.into_iter().collect::<Vec<_>>().join(" ")
        };
        let grouped = "use crate::a::{\n    b::{X, Y as Z},\n    c,\n};\nuse crate::d::W;";
        assert_eq!(imports("e.rs", grouped), "a::b.rs a::c.rs d.rs");
        assert_eq!(imports("a/b.rs", "use super::c::X;"), "a::c.rs");
        assert_eq!(imports("a/mod.rs", "mod b;\nuse b::X;"), "a::b.rs");
        assert_eq!(imports("d.rs", "let x = crate::a::b::f();"), "a::b.rs");
        assert_eq!(imports("d.rs", "// crate::a::b\nuse slotway_crate::a;"), "");
    }

    #[test]
    fn functions_are_measured_from_their_first_line_to_their_brace() {
        let text = "impl A {\n    pub fn long() {\n        a();\n    }\n}\nfn short() {\n}\n";
        assert_eq!(long_functions(text, 2), [("long".to_owned(), 3)]);
    }

    #[test]
    fn types_and_their_impls_are_named_without_generics() {
        let code =
            "pub struct A<T>(T);\nimpl<T: Fn() -> u8> A<T> {\n}\nimpl Clone for A<u8> {\n}\n";
        assert_eq!(defined_types(code), ["A"]);
        assert_eq!(implemented_types(code), ["A"]);
    }
}
