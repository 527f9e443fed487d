//! Containers by runc, as a container engine makes them: their own processes, network and mounts, a user
//! without privileges, and a seccomp profile in the engines' format.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::system::Folder;

/// A profile that container engines have by default, as Debian's golang-github-containers-common has it.
pub const DEFAULT_PROFILE: &str = "/usr/share/containers/seccomp.json";

/// A running container; gone when it is dropped.
#[derive(Debug)]
pub struct Container {
    name: String,
    child: Child,
    folder: Folder,
}

impl Container {
    /// Runs a program of this machine's folder `programs` as a user; `shared` is all that it has in common
    /// with others.
    pub fn run(
        (programs, shared): (&Path, &Path),
        uid: u32,
        profile: &Path,
        arguments: &[&str],
        variables: &[&str],
    ) -> Self {
        let folder = Folder::new();
        std::fs::create_dir(folder.path().join("root")).expect("a folder of ours");
        let configuration = configuration((programs, shared), uid, profile, arguments, variables);
        let path = folder.path().join("config.json");
        std::fs::write(path, configuration.to_string()).expect("a file of ours");
        let log = std::fs::File::create(folder.path().join("log")).expect("a file of ours");
        let name = folder.path().file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        let child = runc(&folder)
            .args(["run", "--bundle"])
            .arg(folder.path())
            .arg(&name)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log)
            .spawn()
            .expect("runc");
        Self {
            name,
            child,
            folder,
        }
    }

    /// What its program has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

fn runc(folder: &Folder) -> Command {
    let mut command = Command::new("runc");
    command.arg("--root").arg(folder.path().join("state"));
    command
}

impl Drop for Container {
    fn drop(&mut self) {
        let delete = ["delete", "--force", &self.name];
        // In vain if it has ended by itself.
        let _ = runc(&self.folder).args(delete).output();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of a container:\n{}", self.log());
        }
    }
}

/// In the format of the OCI runtime specification.
fn configuration(
    (programs, shared): (&Path, &Path),
    uid: u32,
    profile: &Path,
    arguments: &[&str],
    variables: &[&str],
) -> Value {
    let mount = |kind: &str, at: &str| json!({"destination": at, "type": kind, "source": kind});
    let bind = |from: &Path, at: &str, access: &str| json!({"destination": at, "type": "bind", "source": from, "options": ["rbind", access]});
    let mut mounts = vec![
        mount("proc", "/proc"),
        mount("tmpfs", "/dev"),
        mount("tmpfs", "/tmp"),
        bind(programs, "/programs", "ro"),
        bind(shared, "/shared", "rw"),
    ];
    let system = ["/usr", "/lib", "/lib64", "/bin", "/etc"];
    let there = system.into_iter().filter(|path| Path::new(path).exists());
    mounts.extend(there.map(|path| bind(Path::new(path), path, "ro")));
    let environment = [&["PATH=/usr/bin:/bin"], variables].concat();
    let namespaces = ["pid", "network", "ipc", "uts", "mount"];
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": uid, "gid": uid},
            "args": arguments,
            "env": environment,
            "cwd": "/",
            "noNewPrivileges": true,
            "capabilities": {"bounding": [], "effective": [], "permitted": []},
        },
        "root": {"path": "root", "readonly": true},
        "hostname": "container",
        "mounts": mounts,
        "linux": {
            "namespaces": namespaces.map(|kind| json!({"type": kind})),
            "seccomp": seccomp(profile),
        },
    })
}

/// An engine's profile as it applies to a process without capabilities on this processor.
fn seccomp(profile: &Path) -> Value {
    let text = std::fs::read_to_string(profile).expect("a profile");
    let profile: Value = serde_json::from_str(&text).expect("JSON");
    let (engines, own) = match std::env::consts::ARCH {
        "x86_64" => ("amd64", "SCMP_ARCH_X86_64"),
        _ => ("arm64", "SCMP_ARCH_AARCH64"),
    };
    let lists = |rule: &Value, when: &str, what: &str| -> Vec<String> {
        let names = rule[when][what].as_array().into_iter().flatten();
        names
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect()
    };
    let applies = |rule: &&Value| {
        let arches = lists(rule, "includes", "arches");
        let is_ours = |arches: &[String]| arches.iter().any(|arch| arch == engines);
        lists(rule, "includes", "caps").is_empty()
            && (arches.is_empty() || is_ours(&arches))
            && !is_ours(&lists(rule, "excludes", "arches"))
    };
    let rules = profile["syscalls"].as_array().into_iter().flatten();
    let rules = rules.filter(applies).map(|rule| {
        let mut own = json!({"names": rule["names"], "action": rule["action"]});
        if rule["args"].as_array().is_some_and(|args| !args.is_empty()) {
            own["args"] = rule["args"].clone();
        }
        own
    });
    let rules: Vec<_> = rules.collect();
    json!({
        "defaultAction": profile["defaultAction"],
        "architectures": [own],
        "syscalls": rules,
    })
}
