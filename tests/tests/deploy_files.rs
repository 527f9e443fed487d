//! What lies in `deploy/` beside units: the Kubernetes manifests are valid, and as restricted as their namespace
//! says; and the balancers take their configurations.

use std::path::{Path, PathBuf};
use std::process::Command;

use slotway_tests::has_program;
use slotway_tests::system::Folder;

fn manifests() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes");
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// The rules of the pod security standard `restricted` that these manifests are about.
const RESTRICTED: &str = r#"
import sys, yaml
wrong = []
pods = 0
for path in sys.argv[1:]:
    for document in yaml.safe_load_all(open(path)):
        pod = document.get("spec", {}).get("template", {}).get("spec")
        if pod is None:
            continue
        pods += 1
        context = pod["securityContext"]
        if context.get("runAsNonRoot") is not True:
            wrong.append(f"{path}: runAsNonRoot")
        if context["seccompProfile"]["type"] not in ("RuntimeDefault", "Localhost"):
            wrong.append(f"{path}: seccompProfile")
        for name in ("hostNetwork", "hostPID", "hostIPC"):
            if pod.get(name):
                wrong.append(f"{path}: {name}")
        kinds = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
        for volume in pod.get("volumes", []):
            if not set(volume) - {"name"} <= kinds:
                wrong.append(f"{path}: volume {volume['name']}")
        for container in pod.get("initContainers", []) + pod["containers"]:
            own = container["securityContext"]
            where = f"{path}: {container['name']}"
            if own.get("allowPrivilegeEscalation") is not False:
                wrong.append(f"{where}: allowPrivilegeEscalation")
            if own["capabilities"] != {"drop": ["ALL"]}:
                wrong.append(f"{where}: capabilities")
            if own.get("runAsUser") == 0 or own.get("privileged"):
                wrong.append(f"{where}: privileges")
print("\n".join(wrong))
sys.exit(1 if wrong or pods == 0 else 0)
"#;

#[test]
fn the_manifests_are_valid_and_restricted() {
    if !has_program("kubernetes-validate") {
        return;
    }
    let valid = Command::new("kubernetes-validate")
        .arg("--strict")
        .args(manifests())
        .output()
        .unwrap();
    let said = [valid.stdout, valid.stderr].concat();
    assert!(valid.status.success(), "{}", String::from_utf8_lossy(&said));
    // PyYAML comes with it.
    let restricted = Command::new("python3")
        .args(["-c", RESTRICTED])
        .args(manifests())
        .output()
        .unwrap();
    let said = [restricted.stdout, restricted.stderr].concat();
    assert!(
        restricted.status.success(),
        "{}",
        String::from_utf8_lossy(&said)
    );
}

/// Certificate and key of a site, and both in one file, as `HAProxy` wants them.
fn certificate(folder: &Folder) -> Option<[String; 3]> {
    let paths = ["site.pem", "site.key", "joined.pem"].map(|name| folder.path().join(name));
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ])
        .args(["-subj", "/CN=site.example", "-out"])
        .arg(&paths[0])
        .arg("-keyout")
        .arg(&paths[1])
        .output();
    if !made.is_ok_and(|made| made.status.success()) {
        println!("skipped: openssl is not here");
        return None;
    }
    let both = [&paths[0], &paths[1]].map(|path| std::fs::read(path).unwrap());
    std::fs::write(&paths[2], both.concat()).unwrap();
    Some(paths.map(|path| path.to_str().unwrap().to_owned()))
}

/// A balancer's configuration with these changes, looked at by the balancer.
fn check(folder: &Folder, name: &str, file: &str, changes: &[(&str, &str)], arguments: &[&str]) {
    if !Path::new("/usr/sbin").join(name).exists() && !has_program(name) {
        return;
    }
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/balancers");
    let mut text = std::fs::read_to_string(deploy.join(file)).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let path = folder.path().join(file);
    std::fs::write(&path, text).unwrap();
    let search = std::env::var("PATH").unwrap_or_default();
    let output = Command::new(name)
        .env("PATH", format!("{search}:/usr/sbin"))
        .env("HUB_SECRET", "0123456789abcdef")
        .env("HOME", folder.path())
        .current_dir(folder.path())
        .args(arguments)
        .arg(&path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {said}");
}

#[test]
fn the_balancers_take_their_configurations() {
    let folder = Folder::new();
    let Some([certificate, key, joined]) = certificate(&folder) else {
        return;
    };
    let changes = [("/etc/haproxy/site.pem", joined.as_str())];
    check(&folder, "haproxy", "haproxy.cfg", &changes, &["-c", "-f"]);
    let prefix = folder.path().to_str().unwrap();
    let changes = [
        ("/etc/nginx/site.pem", certificate.as_str()),
        ("/etc/nginx/site.key", &key),
        ("worker_processes auto;", "error_log stderr; pid nginx.pid;"),
    ];
    check(
        &folder,
        "nginx",
        "nginx.conf",
        &changes,
        &["-t", "-p", prefix, "-c"],
    );
    let arguments = ["validate", "--adapter", "caddyfile", "--config"];
    check(&folder, "caddy", "Caddyfile", &[], &arguments);
}
