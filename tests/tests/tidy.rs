//! The rules of the house (CONTRIBUTING.md): folders that import downwards only, files and
//! functions that fit a head, maps that name every file, one truth for every command.

use std::path::{Path, PathBuf};

use slotway_tests::tidy::{Crate, long_functions, rust_files};

/// Lines of a file, its unit tests included.
const FILE_LINES_MAX: usize = 500;
/// Lines of a function.
const FUNCTION_LINES_MAX: usize = 80;

/// Each crate's rooms, from the lowest floor up.
const FLOORS: [(&str, &[&[&str]]); 5] = [
    (
        "hub",
        &[
            &["limits"],
            &[
                "blocking",
                "clock",
                "decimal",
                "foreign_fd",
                "logging",
                "metrics",
            ],
            &["access_log"],
            &["routing"],
            &["lanes"],
            &["http"],
            &["config", "events"],
            &["shared"],
            &["status"],
            &["control", "reactor"],
            &["wire"],
            &["proxy"],
            &["sse"],
            &["front"],
            &["lifecycle"],
            &["cli", "parts"],
        ],
    ),
    (
        "worker-sdk",
        &[
            &["limits", "clock", "error"],
            &["hub"],
            &["session"],
            &["exchange"],
            &["handler"],
            &["serve", "tower"],
            &["worker"],
            &["seed"],
        ],
    ),
    (
        "shm-proto",
        &[
            &["limits", "atomic", "api", "field", "offsets", "accounts"],
            &[
                "method",
                "tagged",
                "trailers",
                "byte_ring",
                "credentials",
                "doorbell",
            ],
            &["claim", "ring", "layout"],
            &["geometry"],
            &["memory", "message"],
            &["message_head"],
            &["admin", "packet", "region", "registration", "upgrade"],
            &["file_body"],
        ],
    ),
    (
        "net",
        &[
            &["address", "readable", "uring", "local_peer"],
            &["direct"],
            &["engine", "socket", "timer"],
            &["bell", "hangup", "stream"],
            &["connect", "listener"],
        ],
    ),
    (
        "loadgen",
        &[
            &["limits", "random", "units"],
            &["fill", "schedule", "spread", "target", "tls", "websocket"],
            &["workload"],
            &["load"],
            &["echo", "environment"],
            &["noise", "gate"],
            &["report"],
            &["compare", "curve"],
            &["cli"],
        ],
    ),
];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("it is in the workspace")
        .to_owned()
}

fn crates() -> impl Iterator<Item = (Crate, &'static [&'static [&'static str]])> {
    FLOORS
        .into_iter()
        .map(|(name, floors)| (Crate::read(&workspace(), name), floors))
}

fn assert_nothing(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut found = Vec::new();
    for (own, _) in crates() {
        let circles = own.circles();
        let circles = circles.iter().map(|circle| circle.join(" ↔ "));
        found.extend(circles.map(|circle| format!("{}: {circle}", own.name)));
    }
    assert_nothing("circles", &found);
}

#[test]
fn imports_go_down_the_floors() {
    let mut found = Vec::new();
    for (own, floors) in crates() {
        let upward = own.upward(floors);
        let upward = upward.iter().map(|(from, to)| format!("{from} → {to}"));
        found.extend(upward.map(|arrow| format!("{}: {arrow}", own.name)));
    }
    assert_nothing("imports that do not go down", &found);
}

#[test]
fn a_type_s_own_methods_stand_in_its_folder() {
    let mut found = Vec::new();
    for (own, _) in crates() {
        let foreign = own.foreign_impls().into_iter();
        found.extend(foreign.map(|(file, name)| format!("{}/{file}: impl {name}", own.name)));
    }
    assert_nothing("impls outside their types' folders", &found);
}

#[test]
fn every_room_stands_on_its_crate_s_map_and_every_file_in_its_folder_s_face() {
    let mut found = Vec::new();
    for (own, _) in crates() {
        let missing = own.rooms().into_iter();
        let missing = missing.filter(|room| !names(doc_of(&own.root), room));
        found.extend(missing.map(|room| format!("{}/lib.rs does not name {room}", own.name)));
        for file in own.files.keys() {
            let Some((folder, name)) = file.rsplit_once('/') else {
                continue;
            };
            let face = own.files.get(&format!("{folder}/mod.rs"));
            let face = face.map_or("", |face| doc_of(&face.text));
            let name = name.trim_end_matches(".rs");
            if name != "mod" && !names(face, name) {
                found.push(format!("{}/{folder}/mod.rs does not name {name}", own.name));
            }
        }
    }
    assert_nothing("maps with holes", &found);
}

/// The text at the top of a file.
fn doc_of(text: &str) -> &str {
    let end = text.lines().take_while(|line| line.starts_with("//!"));
    let bytes = end.map(|line| line.len() + 1).sum::<usize>();
    &text[..bytes.min(text.len())]
}

/// Whether a text has a word.
fn names(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|found| found == word)
}

fn all_sources() -> Vec<(String, String)> {
    let workspace = workspace();
    let folders = [
        "hub",
        "worker-sdk",
        "shm-proto",
        "net",
        "loadgen",
        "tests",
        "fuzz",
    ];
    let files = folders
        .iter()
        .flat_map(|folder| rust_files(&workspace.join(folder)));
    let named = files.map(|path| {
        let name = path.strip_prefix(&workspace).expect("it is below");
        let text = std::fs::read_to_string(&path).expect("a source file");
        (name.display().to_string(), text)
    });
    named.collect()
}

#[test]
fn files_and_functions_are_short() {
    let mut found = Vec::new();
    for (name, text) in all_sources() {
        let line_count = text.lines().count();
        if line_count > FILE_LINES_MAX {
            found.push(format!("{name}: {line_count} lines"));
        }
        for (function, length) in long_functions(&text, FUNCTION_LINES_MAX) {
            found.push(format!("{name}: fn {function} has {length} lines"));
        }
    }
    assert_nothing("too long", &found);
}

#[test]
fn no_comment_sends_its_reader_to_the_module() {
    let phrase = ["See the", "module."].join(" ");
    let sources = all_sources().into_iter();
    let found = sources.filter(|(_, text)| text.contains(&phrase));
    let found: Vec<_> = found.map(|(name, _)| name).collect();
    assert_nothing("comments that say nothing", &found);
}

#[test]
fn just_and_ci_run_the_same_lines() {
    let read = |name: &str| {
        let text = std::fs::read_to_string(workspace().join(name)).expect(name);
        let text = text.replace("\\\n", " ");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let just = std::fs::read_to_string(workspace().join("justfile")).expect("justfile");
    let ci = read(".ci/run");
    let mut found = Vec::new();
    for recipe in [
        "fmt",
        "clippy",
        "deny",
        "audit",
        "test",
        "loom",
        "miri",
        "doc",
        "differential",
    ] {
        let start = format!("\n{recipe}:\n");
        let (_, body) = just.split_once(&start).expect(recipe);
        let lines = body.lines().take_while(|line| line.starts_with("    "));
        for line in lines {
            let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
            if !ci.contains(&line) {
                found.push(format!("{recipe}: {line}"));
            }
        }
    }
    assert_nothing("recipes that .ci/run does not run", &found);
}

#[test]
fn path_dependencies_have_versions() {
    let manifest = std::fs::read_to_string(workspace().join("Cargo.toml")).expect("a manifest");
    let paths = manifest.lines().filter(|line| line.contains("path ="));
    let found: Vec<_> = paths
        .filter(|line| !line.contains("version ="))
        .map(str::to_owned)
        .collect();
    assert_nothing("path dependencies without a version", &found);
}
