//! The configuration file: what is wrong with one is all said, flags and variables go before it, and a
//! hub that serves takes what has changed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;
use slotway_tests::http;
use slotway_tests::system::{Folder, HubPart, wait_until};

slotway_tests::on_each_engine! {
    a_hub_takes_its_configuration_from_a_file
    what_can_change_changes_at_a_signal_and_by_command
    a_configuration_that_is_wrong_changes_nothing
}

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

fn file(folder: &Folder, text: &str) -> PathBuf {
    let path = folder.path().join("hub.toml");
    std::fs::write(&path, text).unwrap();
    path
}

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(program())
        .args(["role", "hub"])
        .args(arguments)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn asks(hub: &HubPart, words: &[&str]) -> Output {
    let socket = hub.socket.to_str().unwrap();
    run(&[words, &["--socket", socket]].concat(), &[])
}

#[test]
fn everything_that_is_wrong_is_said_at_once_with_its_place() {
    let folder = Folder::new();
    let path = file(
        &folder,
        r#"slots = "many"
queue = -1
listn = "127.0.0.1:80"
io = "urng"
timeout = "1ms"
drain-timeout = "3s"
instrumentation = "yes"
arena_bytes = [1, 2]
listen = ["127.0.0.1:3200", "nowhere"]
attach_user = "no-such-user"
access_log_sample = 0
bind = {}

[[attach]]
usr = "root"

[[attach]]
user = "root"
group = "root"
routes = ["/x/{*rest}", "shop"]

[[route]]
path = "/a/{b"
timeout = "5m"

[[route]]
path = "/a"
concurrency = 0
"#,
    );
    let output = run(&["check-config", path.to_str().unwrap()], &[]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for (line, words) in [
        (1, "slots: expected a whole number, not \"many\""),
        (2, "queue: \"-1\""),
        (3, "listn: there is no such key; did you mean listen?"),
        (4, "io: \"urng\""),
        (5, "timeout: \"1ms\": expected 10ms to 24h"),
        (
            6,
            "drain-timeout: there is no such key; did you mean drain_timeout?",
        ),
        (7, "instrumentation: expected true or false, not \"yes\""),
        (8, "arena_bytes: expected one value, not a list"),
        (9, "listen: \"nowhere\": expected address:port"),
        (
            10,
            "attach_user: \"no-such-user\": there is no user of this name",
        ),
        (11, "access_log_sample: \"0\""),
        (12, "bind: expected a text in quotes, not a table"),
        (
            15,
            "[[attach]] usr: there is no such key; did you mean user?",
        ),
        (17, "[[attach]]: expected user or group, and not both"),
        (20, "[[attach]] routes: \"shop\": expected a route like"),
        (23, "[[route]] path: \"/a/{b\""),
        (
            28,
            "[[route]] concurrency: \"0\": expected a whole number, 1 or more",
        ),
    ] {
        let place = format!("{}:{line}: ", path.display());
        let is_it = |said: &str| said.contains(&place) && said.contains(words);
        assert!(said.lines().any(is_it), "{line} {words}:\n{said}");
    }
}

#[test]
fn what_is_no_toml_a_contradiction_or_missing_is_an_error_with_its_place() {
    let folder = Folder::new();
    for (written, words) in [
        ("slots = 1\nslots = 2\n", ":2: not TOML: duplicate key"),
        ("slots = \n", ":1: not TOML"),
        ("access_log_format = \"json\"\n", ":1: access_log_format: "),
        (
            "listen = \"127.0.0.1:1\"\nport = 2\n",
            "cannot be used with",
        ),
        (
            "bind = \"0.0.0.0\"\n",
            "0.0.0.0:3200 can be reached from elsewhere",
        ),
        (
            "internal = \"socket\"\n",
            "--internal socket needs a Unix socket",
        ),
        ("slots = 0\n", "--reactors, --slots, --arena-bytes"),
        (
            "secret_file = \"/no/such/file\"\n",
            "--secret-file /no/such/file",
        ),
        (
            "attach_user = \"root\"\n[[attach]]\nuser = 0\nnames = [\"x\"]\n",
            "may attach without limits",
        ),
    ] {
        let path = file(&folder, written);
        let output = run(&["--config", path.to_str().unwrap()], &[]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{written} {said}");
        assert!(said.contains(words), "{written}{said}");
    }
    let output = run(&["--config", "/no/such/file.toml"], &[]);
    let said = text(&output.stderr);
    assert!(said.contains("/no/such/file.toml: cannot read"), "{said}");
    // A wrong flag is said beside a wrong file.
    let path = file(&folder, "slits = 1\n");
    let output = run(&["--config", path.to_str().unwrap(), "--slots", "x"], &[]);
    let said = text(&output.stderr);
    assert!(
        said.contains("did you mean slots") && said.contains("'x'"),
        "{said}"
    );
}

#[test]
fn flags_go_before_variables_and_those_before_the_file() {
    let folder = Folder::new();
    let written = "slots = 1\nqueue = 1\nstreams = 1\nlisten = \"127.0.0.1:1\"\nserver_timing = true\n\
                   [[route]]\npath = \"/a\"\nqueue = 3\n";
    let path = file(&folder, written);
    let path = path.to_str().unwrap();
    let show = |flags: &[&str], variables: &[(&str, &str)]| {
        let output = run(&[&["config", "--config", path], flags].concat(), variables);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let shown = text(&output.stdout);
        move |name: &str| {
            let is_it = |line: &&str| line.split_whitespace().next() == Some(name);
            let line = shown
                .lines()
                .find(is_it)
                .unwrap_or_else(|| panic!("{name} in {shown}"));
            line.split_whitespace()
                .skip(1)
                .collect::<Vec<_>>()
                .join(" ")
        }
    };
    let find = show(
        &["--slots", "3", "--server-timing=false"],
        &[("SLOTWAY_SLOTS", "2"), ("SLOTWAY_QUEUE", "2")],
    );
    assert_eq!(find("slots"), "3 command line");
    assert_eq!(find("queue"), "2 environment");
    assert_eq!(find("streams"), format!("1 {path}:3"));
    assert_eq!(find("server-timing"), "off command line");
    assert_eq!(find("ping"), "5s default");
    assert_eq!(
        find("[[route]]"),
        format!("path = \"/a\", queue = 3 {path}:6")
    );
    // Where to listen is said in two ways, of which the file's is not the first.
    let find = show(&["--port", "7"], &[]);
    assert_eq!(
        (&*find("port"), &*find("listen")),
        ("7 command line", "default")
    );
    let find = show(&[], &[("HUB_BIND", "127.0.0.2")]);
    assert_eq!(find("bind"), "127.0.0.2 environment");
    let output = run(&["check-config", path], &[]);
    assert_eq!(text(&output.stdout), format!("{path} is right\n"));
}

#[test]
fn a_variable_that_is_wrong_or_misspelt_is_named() {
    let output = run(&[], &[("SLOTWAY_SLOTS", "many")]);
    let said = text(&output.stderr);
    assert!(
        said.contains("SLOTWAY_SLOTS: ") && said.contains("'many'"),
        "{said}"
    );
    let output = run(&["check-config", "--port", "7"], &[("SLOTWAY_SLOT", "9")]);
    assert_eq!(text(&output.stdout), "the flags are right\n");
    let said = text(&output.stderr);
    assert!(
        said.contains("SLOTWAY_SLOT in the environment is no setting; did you mean SLOTWAY_SLOTS?"),
        "{said}"
    );
    // What Kubernetes says of a service of that name is no port of the hub's.
    let output = run(
        &["check-config", "--slots", "7"],
        &[("SLOTWAY_PORT", "tcp://10.0.0.1:3200")],
    );
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        text(&output.stderr)
    );
}

fn a_hub_takes_its_configuration_from_a_file(io: &str) {
    let folder = Folder::new();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "0123456789abcdef\n").unwrap();
    let written = format!(
        "io = \"{io}\"\nlisten = [\"127.0.0.1:0\"]\nown_paths = \"/_hub\"\ndrain_timeout = 5\n\
         secret_file = \"{}\"\n",
        secret.display()
    );
    let path = file(&folder, &written);
    let hub = HubPart::start_listening(program(), &["--config", path.to_str().unwrap()]);
    assert_eq!(http::get(hub.address, "/_hub/health").status, 200);
    let page = http::get(hub.address, "/_hub/_slotway/").text();
    assert!(
        page.contains(&format!("{}:3", path.display())),
        "the page says where from"
    );
}

fn what_can_change_changes_at_a_signal_and_by_command(io: &str) {
    let folder = Folder::new();
    let path = file(&folder, "body_bytes_max = 10\nslots = 9\n");
    let flags = ["--io", io, "--config", path.to_str().unwrap()];
    let (hub, _worker) = (HubPart::start(program(), &flags), ());
    let _worker = hub.start_worker("echo", "echo");
    let echo = |body: &[u8]| http::request(hub.address, "POST", "/api/echo", body).status;
    assert_eq!((echo(b"0123456789"), echo(b"0123456789a")), (200, 413));
    file(&folder, "body_bytes_max = 11\nslots = 9\n");
    hub.part.signal(Signal::HUP);
    hub.part.wait_for_log("taken: body-bytes-max");
    wait_until("it has it", || echo(b"0123456789a") == 200);
    file(&folder, "slots = 10\n");
    let reloaded = asks(&hub, &["reload"]);
    let said = text(&reloaded.stdout);
    assert_eq!(
        said,
        "taken: body-bytes-max\nwaits for a new start of the hub: slots\n"
    );
    wait_until("it has it", || echo(b"0123456789ab") == 200);
    hub.part
        .wait_for_log("wait for a new start of the hub: slots");
    // The page says what is, not what is to be.
    let page = http::get(hub.address, "/_slotway/").text();
    assert!(page.contains(&format!("{}:2", path.display())), "{page}");
}

fn a_configuration_that_is_wrong_changes_nothing(io: &str) {
    let folder = Folder::new();
    let path = file(&folder, "body_bytes_max = 10\n");
    let flags = ["--io", io, "--config", path.to_str().unwrap()];
    let hub = HubPart::start(program(), &flags);
    let _worker = hub.start_worker("echo", "echo");
    file(&folder, "body_bytes_max = 20\nslits = 9\n");
    hub.part.signal(Signal::HUP);
    hub.part
        .wait_for_log("configuration not taken, nothing changes");
    let reloaded = asks(&hub, &["reload"]);
    let said = text(&reloaded.stderr);
    assert!(
        !reloaded.status.success() && said.contains(":2: slits: there is no such key"),
        "{said}"
    );
    std::fs::remove_file(&path).unwrap();
    let reloaded = asks(&hub, &["reload"]);
    assert!(text(&reloaded.stderr).contains("cannot read the configuration"));
    let echo = |body: &[u8]| http::request(hub.address, "POST", "/api/echo", body).status;
    assert_eq!((echo(b"0123456789"), echo(b"0123456789a")), (200, 413));
}
