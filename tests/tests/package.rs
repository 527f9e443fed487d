//! The Debian package, which `SLOTWAY_DEB` names (`deploy/debian/build.sh` makes it): it installs a hub that
//! runs in its sandbox, an upgrade refuses nobody, and nothing is left when it goes.

use std::path::PathBuf;
use std::process::Command;

use slotway_tests::has_program;
use slotway_tests::machine::Machine;

fn package() -> Option<PathBuf> {
    let path = std::env::var_os("SLOTWAY_DEB").map(PathBuf::from);
    if path.is_none() {
        println!("skipped: SLOTWAY_DEB names no package (just deb)");
    }
    path
}

/// Every file of the system, and every user, but what changes by itself.
const LISTED: &str = "(find /etc /opt /usr /var -xdev \\( -path /var/log -o -path /var/cache -o -path /var/tmp \
     -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/lib/systemd \\) -prune -o -print; \
     getent passwd; getent group) | grep -v 'passwd-$\\|group-$\\|shadow-$\\|[.]pwd[.]lock' | sort";

#[test]
fn lintian_finds_no_error() {
    let Some(package) = package() else { return };
    if !has_program("lintian") {
        return;
    }
    let output = Command::new("lintian")
        .args(["--allow-root", "--fail-on", "error"])
        .arg(&package)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
}

#[test]
fn it_is_installed_serves_is_upgraded_without_a_refusal_and_leaves_nothing() {
    let Some(package) = package() else { return };
    let Some(machine) = Machine::boot() else {
        return;
    };
    let package = package.display();
    // The same again, as a later version.
    machine.must(&format!(
        "cd /tmp && dpkg-deb -R {package} next && sed -i 's/^Version: .*/Version: 9.9.9-1/' next/DEBIAN/control \
         && dpkg-deb -b next next.deb && rm -r next"
    ));
    let before = machine.must(LISTED);

    machine.must(&format!("apt-get install -y {package}"));
    machine.must("systemctl is-active slotway-hub && systemctl is-enabled slotway-hub");
    machine.must("slotway-hub check-config && man -w slotway-hub && slotway-hub --version");
    machine.must("test $(stat -c %U /proc/$(systemctl show -P MainPID slotway-hub)) = slotway");
    machine.must(&format!(
        "install {} /usr/local/bin/echo-worker",
        env!("CARGO_BIN_EXE_demo")
    ));
    machine.write(
        "/usr/local/bin/echo",
        "#!/bin/sh\nexec echo-worker role echo http://127.0.0.1:3200 echo\n",
    );
    machine.must("chmod 755 /usr/local/bin/echo && systemctl start slotway-worker@echo");
    machine.wait_for("curl -sf http://127.0.0.1:3200/api/items/1");
    machine.must("slotway-hub workers --socket /run/slotway/attach.sock | grep echo");
    // Configuration is the operator's.
    machine.must("sed -i '1i queue = 7' /etc/slotway/hub.toml");

    let hub = machine.must("systemctl show -P MainPID slotway-hub");
    machine.must(
        "sh -c 'while ! test -e /tmp/enough; do curl -s -o /dev/null -w \"%{http_code}\\n\" \
         http://127.0.0.1:3200/api/items/1; done > /tmp/statuses; touch /tmp/done' >/dev/null 2>&1 &",
    );
    machine.must("apt-get install -y /tmp/next.deb");
    let hub = hub.trim();
    machine.wait_for(&format!(
        "test $(systemctl show -P MainPID slotway-hub) != {hub}"
    ));
    machine.wait_for(&format!("! test -e /proc/{hub}"));
    machine.must("touch /tmp/enough");
    machine.wait_for("test -e /tmp/done");
    let statuses = machine.must("sort /tmp/statuses | uniq -c");
    assert_eq!(statuses.lines().count(), 1, "{statuses}");
    assert!(statuses.trim_end().ends_with(" 200"), "{statuses}");
    machine.must("grep -q 'queue = 7' /etc/slotway/hub.toml");
    machine.must("systemctl is-active slotway-hub");

    machine.must("systemctl stop slotway-worker@echo && rm /usr/local/bin/echo*");
    machine.must("apt-get remove -y slotway-hub && ! systemctl is-active slotway-hub");
    machine.must("test -e /etc/slotway/hub.toml");
    machine.must("apt-get purge -y slotway-hub && rm /tmp/next.deb");
    machine.must("! ls -d /run/slotway* /var/log/slotway*");
    let after = machine.must(LISTED);
    let (before, after): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    let left: Vec<_> = after.iter().filter(|line| !before.contains(line)).collect();
    assert!(left.is_empty(), "left behind: {left:#?}");
}
