//! The hub under a real systemd: its units with their sandbox, what it says of itself, whose sockets it
//! takes, and that it is the same service through an upgrade.

use std::path::{Path, PathBuf};

use slotway_tests::machine::Machine;

/// The repository.
fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A machine with the units, the hub and a worker, all out of the program that these tests have.
fn machine() -> Option<Machine> {
    let machine = Machine::boot()?;
    let demo = env!("CARGO_BIN_EXE_demo");
    let deploy = workspace().join("deploy").canonicalize().unwrap();
    let deploy = deploy.display();
    machine.must(&format!(
        "mkdir -p /usr/lib/slotway /etc/slotway && install {demo} /usr/lib/slotway/demo && \
         cp {deploy}/systemd/* /etc/systemd/system/ && cp {deploy}/debian/hub.toml /etc/slotway/ && \
         systemd-sysusers {deploy}/debian/sysusers.conf"
    ));
    let script = |path: &str, role: &str| {
        let text = format!("#!/bin/sh\nexec /usr/lib/slotway/demo role {role}\n");
        machine.write(path, &text);
        machine.must(&format!("chmod 755 {path}"));
    };
    script("/usr/bin/slotway-hub", "hub \"$@\"");
    script("/usr/local/bin/echo", "echo http://127.0.0.1:3200 echo");
    machine.must("systemctl daemon-reload");
    Some(machine)
}

fn property(machine: &Machine, name: &str) -> String {
    let value = machine.must(&format!("systemctl show -P {name} slotway-hub"));
    value.trim().to_owned()
}

#[test]
fn the_units_are_right_and_leave_the_hub_little() {
    let Some(machine) = machine() else { return };
    machine.must("touch /usr/local/bin/i && chmod 755 /usr/local/bin/i");
    let verified = machine.run(
        "systemd-analyze verify --man=no /etc/systemd/system/slotway-hub.service \
         /etc/systemd/system/slotway-hub.socket /etc/systemd/system/slotway-worker@.service",
    );
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(
        verified.status.success() && !said.contains("slotway"),
        "{said}"
    );
    for (unit, most) in [("slotway-hub.service", 15), ("slotway-worker@.service", 25)] {
        // In tenths; more is an error.
        machine.must(&format!(
            "systemd-analyze security --offline=yes --threshold={most} /etc/systemd/system/{unit}"
        ));
    }
}

#[test]
fn a_hub_in_its_sandbox_serves_reloads_and_is_the_same_service_through_an_upgrade() {
    let Some(machine) = machine() else { return };
    machine.must("systemctl start slotway-hub slotway-worker@echo");
    machine.wait_for("curl -sf http://127.0.0.1:3200/api/items/1");
    assert_eq!(
        machine.must("curl -s http://127.0.0.1:3200/api/items/7"),
        "item 7"
    );
    let worker = machine.must("ps -o user= -C demo");
    assert!(
        worker.contains("slotway") && !worker.contains("root"),
        "{worker}"
    );
    let log = machine.must("journalctl --no-pager -u slotway-hub");
    assert!(
        log.contains("engine io_uring"),
        "the sandbox leaves it its ring: {log}"
    );
    assert!(!log.contains("WARN"), "{log}");
    // A second hub, and one with wrong flags, say why they do not start.
    let refused = machine.run("slotway-hub --config /etc/slotway/hub.toml");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is in use by another hub"));

    machine.must("sed -i '$a body_bytes_max = 5' /etc/slotway/hub.toml");
    // The last table of the file would have it: the key belongs before the tables.
    machine.must("sed -i '/body_bytes_max/d; 1i body_bytes_max = 5' /etc/slotway/hub.toml");
    machine.must("systemctl reload slotway-hub");
    let post = "curl -s -o /dev/null -w '%{http_code}' -d 123456 http://127.0.0.1:3200/api/echo";
    machine.wait_for(&format!("test $({post}) = 413"));
    machine.must("sed -i '1s/.*/body_bytes_mix = 9/' /etc/slotway/hub.toml");
    assert!(!machine.run("systemctl reload slotway-hub").status.success());
    let log = machine.must("journalctl --no-pager -u slotway-hub");
    assert!(log.contains("did you mean body_bytes_max"), "{log}");
    assert_eq!(machine.must(post), "413", "nothing has changed");
    machine.must("sed -i 1d /etc/slotway/hub.toml");

    // Requests go on while the program is replaced.
    let before = property(&machine, "MainPID");
    machine.must(
        "sh -c 'for i in $(seq 400); do curl -s -o /dev/null -w \"%{http_code}\\n\" \
         http://127.0.0.1:3200/api/items/1; done > /tmp/statuses; touch /tmp/done' >/dev/null 2>&1 &",
    );
    machine.must("systemctl kill --kill-whom=main -s USR2 slotway-hub");
    machine.wait_for(&format!(
        "test $(systemctl show -P MainPID slotway-hub) != {before}"
    ));
    machine.wait_for(&format!("! test -e /proc/{before}"));
    machine.wait_for("test -e /tmp/done");
    assert_eq!(
        machine.must("sort /tmp/statuses | uniq -c").trim(),
        "400 200"
    );
    assert_eq!(property(&machine, "ActiveState"), "active");
    assert_eq!(property(&machine, "NRestarts"), "0");
    assert_eq!(machine.must(post), "200", "it has read its configuration");

    // Its end is the service's: a crash is seen, and a stop waits.
    machine.must("systemctl kill --kill-whom=main -s ABRT slotway-hub");
    machine.wait_for("test $(systemctl show -P NRestarts slotway-hub) = 1");
    machine.wait_for("curl -sf http://127.0.0.1:3200/api/items/1");
    let before = property(&machine, "MainPID");
    machine.must("systemctl kill --kill-whom=main -s USR2 slotway-hub");
    machine.wait_for(&format!(
        "test $(systemctl show -P MainPID slotway-hub) != {before}"
    ));
    machine.must("systemctl stop slotway-hub");
    assert_eq!(property(&machine, "Result"), "success");
    assert_eq!(machine.must("ls -A /run/slotway"), "", "nothing is left");
    machine.must("systemctl start slotway-hub");
    machine.wait_for("curl -sf http://127.0.0.1:3200/api/items/1");
}

#[test]
fn systemd_ends_a_hub_that_stands_still_and_says_how_it_is() {
    let Some(machine) = machine() else { return };
    machine.must("mkdir -p /etc/systemd/system/slotway-hub.service.d");
    machine.write(
        "/etc/systemd/system/slotway-hub.service.d/test.conf",
        "[Service]\nWatchdogSec=1500ms\n",
    );
    machine.must("systemctl daemon-reload && systemctl start slotway-hub slotway-worker@echo");
    machine.wait_for("systemctl show -P StatusText slotway-hub | grep -q '1 workers'");
    let status = property(&machine, "StatusText");
    assert!(status.contains("connections"), "{status}");
    let before = property(&machine, "MainPID");
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(property(&machine, "MainPID"), before, "it lives");
    machine.must(&format!("kill -STOP {before}"));
    machine.wait_for("test $(systemctl show -P NRestarts slotway-hub) = 1");
    machine.wait_for("curl -sf http://127.0.0.1:3200/api/items/1");
}

#[test]
fn sockets_that_systemd_opens_keep_clients_and_workers_through_restarts() {
    let Some(machine) = machine() else { return };
    machine.must(
        "sed -i 's/^ListenStream=.*/&\\nListenStream=127.0.0.1:3200\\nReusePort=yes/' \
         /etc/systemd/system/slotway-hub.socket && \
         sed -i '1i reactors = 2' /etc/slotway/hub.toml",
    );
    machine.write(
        "/etc/systemd/system/slotway-ops.socket",
        "[Socket]\nListenStream=/run/slotway-ops.sock\nFileDescriptorName=ops\n\
         Service=slotway-hub.service\n[Install]\nWantedBy=sockets.target\n",
    );
    machine
        .must("systemctl daemon-reload && systemctl start slotway-hub.socket slotway-ops.socket");
    assert_eq!(property(&machine, "ActiveState"), "inactive");
    // The worker comes first, and a request starts the hub.
    machine.must("systemctl start slotway-worker@echo --no-block");
    machine.wait_for("curl -sf http://127.0.0.1:3200/api/items/1");
    let log = machine.must("journalctl --no-pager -u slotway-hub");
    assert!(
        log.contains("reactors 2") && log.contains("/run/slotway/attach.sock"),
        "{log}"
    );
    let ready = "curl -sf --unix-socket /run/slotway-ops.sock http://hub/ready";
    machine.must(ready);
    let before = property(&machine, "MainPID");
    machine.must("systemctl kill --kill-whom=main -s USR2 slotway-hub");
    machine.wait_for(&format!(
        "test $(systemctl show -P MainPID slotway-hub) != {before}"
    ));
    // Neither a restart nor a death refuses anybody: they wait.
    for end in [
        "systemctl restart slotway-hub",
        "systemctl kill --kill-whom=main -s KILL slotway-hub",
    ] {
        machine.must(end);
        let answer = machine.must("curl -sS --retry 0 -m 10 http://127.0.0.1:3200/health");
        assert!(answer.contains("workers"), "{answer}");
        machine.wait_for("curl -sf http://127.0.0.1:3200/api/items/1");
        machine.must(ready);
    }
    machine.must("systemctl stop slotway-hub slotway-hub.socket");
    assert!(
        !machine
            .run("ls /run/slotway/attach.sock.lock")
            .status
            .success()
    );
}
