//! What lies in `deploy/` beside units and balancers: the Kubernetes manifests are valid, and as restricted as
//! their namespace says.

use std::path::{Path, PathBuf};
use std::process::Command;

use slotway_tests::has_program;

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
